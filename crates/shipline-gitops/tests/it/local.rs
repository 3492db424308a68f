use std::fs;
use std::path::Path;

use shipline_engine::backend::GitopsRepo;
use shipline_engine::error::BackendError;
use shipline_engine::error::ErrorClass;
use shipline_gitops::{CommitSigner, LocalGitops, LocalSettings, record};
use shipline_testkit::contract::gitops::{deployment, manifest, suite, target};

use crate::support::{BRANCH, Bare, Clone, commit, file, messages, settings, world};

const WEB: &str = "staging/web/deployment.yaml";

#[test]
fn keeps_the_contract() {
    suite(&world);
}

fn seed(directory: &Path) -> std::path::PathBuf {
    let seed = directory.join("seed");
    fs::create_dir_all(seed.join("staging/web/empty")).unwrap();
    fs::create_dir_all(seed.join("staging/web-2")).unwrap();
    fs::write(seed.join(WEB), manifest("web", "old")).unwrap();
    fs::write(seed.join("staging/web-2/x.yaml"), "a: b\n").unwrap();
    fs::write(seed.join("README.md"), "hello\n").unwrap();
    std::os::unix::fs::symlink("README.md", seed.join("link")).unwrap();
    seed
}

fn seeded(directory: &Path) -> LocalGitops {
    LocalGitops::new(LocalSettings {
        seed: Some(seed(directory)),
        ..settings(&directory.join("deep/gitops.git"))
    })
}

#[test]
fn a_new_repository_begins_with_its_seed() {
    let directory = tempfile::tempdir().unwrap();
    let repository = seeded(directory.path());
    let notes = repository.prepare().unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("created"), "{notes:?}");
    assert_eq!(repository.prepare().unwrap(), Vec::<String>::new());
    let git = git2::Repository::open(directory.path().join("deep/gitops.git")).unwrap();
    assert!(git.is_bare());
    assert_eq!(git.head().unwrap().name(), Ok("refs/heads/main"));
    assert_eq!(file(&git, WEB), Some(manifest("web", "old")));
    assert_eq!(file(&git, "link").as_deref(), Some("README.md"));
    assert_eq!(messages(&git).len(), 1);
    let fsck = git.odb().unwrap();
    fsck.foreach(|id| fsck.read(*id).is_ok()).unwrap();
}

#[test]
fn a_changed_seed_is_told_and_not_applied() {
    let directory = tempfile::tempdir().unwrap();
    let repository = seeded(directory.path());
    repository.prepare().unwrap();
    let deployed = repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    fs::write(directory.path().join("seed/README.md"), "changed\n").unwrap();
    let notes = repository.prepare().unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("has changed since"), "{notes:?}");
    let state = repository
        .snapshot()
        .unwrap()
        .read(&[target("web")])
        .unwrap();
    assert_eq!(state.commit.as_str(), deployed.commit);
}

#[test]
fn what_a_killed_creation_left_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join("deep/.gitops.git.new/objects");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("half"), "x").unwrap();
    let repository = seeded(directory.path());
    repository.prepare().unwrap();
    assert!(!directory.path().join("deep/.gitops.git.new").exists());
    assert!(
        !directory
            .path()
            .join("deep/gitops.git/objects/half")
            .exists()
    );
}

#[test]
fn an_empty_repository_is_filled_from_the_seed() {
    let bare = Bare::new();
    let repository = LocalGitops::new(LocalSettings {
        seed: Some(seed(bare.directory.path())),
        ..settings(&bare.path())
    });
    assert_eq!(repository.prepare().unwrap().len(), 1);
    assert_eq!(bare.repository().prepare().unwrap().len(), 0);
    assert_eq!(file(&bare.git(), WEB), Some(manifest("web", "old")));
}

#[test]
fn a_filling_that_was_cut_off_is_completed() {
    let bare = Bare::new();
    let mut settings = settings(&bare.path());
    settings.seed = Some(seed(bare.directory.path()));
    let repository = LocalGitops::new(settings);
    repository.prepare().unwrap();
    // As if the process had been killed when the seed had its name, and the branch not yet.
    bare.git().find_reference(BRANCH).unwrap().delete().unwrap();
    repository.prepare().unwrap();
    assert!(bare.git().find_reference(BRANCH).is_ok());
}

#[test]
fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let check = |repository: &LocalGitops, part: &str| {
        let error = repository.prepare().unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
        assert!(error.message.contains(part), "{}", error.message);
        assert!(!error.hints.is_empty());
        let error = repository
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
    };
    check(
        &LocalGitops::new(settings(&directory.path().join("none"))),
        "none",
    );
    fs::write(directory.path().join("file"), "x").unwrap();
    check(
        &LocalGitops::new(settings(directory.path())),
        "open the GitOps repository",
    );
    let bare = Bare::new();
    check(&bare.repository(), "branch main");
    let missing = LocalGitops::new(LocalSettings {
        seed: Some(directory.path().join("no-seed")),
        ..settings(&directory.path().join("new.git"))
    });
    let error = missing.prepare().unwrap_err();
    assert!(error.message.contains("no-seed"), "{}", error.message);
    assert!(!directory.path().join("new.git").exists());
}

#[test]
fn commits_carry_who_when_and_what() {
    let bare = Bare::with(&[(WEB, &manifest("web", "old"))]);
    let ours = deployment("d1", &[("web", "new")]);
    bare.repository().deploy(&ours).unwrap();
    let git = bare.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    assert_eq!(head.author().to_string(), "Ada <ada@example.com>");
    assert_eq!(
        head.committer().to_string(),
        "Shipline <shipline@localhost>"
    );
    assert_eq!(head.time().seconds(), ours.time);
    let record = record::parse(head.message().unwrap()).unwrap();
    assert_eq!(record.id, "d1");
    assert_eq!(record.images[0].change.from, "r.example:5000/team/web:old");
    assert_eq!(record.images[0].change.line, 10);
    assert_eq!(record.images[0].source_commit, Some("b".repeat(40)));
    let mut by_hand = deployment("d4", &[("web", "newest")]);
    by_hand.committer = Some("Grace <grace@example.com>".into());
    bare.repository().deploy(&by_hand).unwrap();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    assert_eq!(head.committer().to_string(), "Grace <grace@example.com>");
    let mut nobody = deployment("d2", &[("web", "newer")]);
    nobody.author = None;
    bare.repository().deploy(&nobody).unwrap();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    assert_eq!(head.author().to_string(), "Shipline <shipline@localhost>");
    nobody.author = Some("Ada".into());
    nobody.id = "d3".into();
    nobody.images[0].tag = "newest".parse().unwrap();
    let error = bare.repository().deploy(&nobody).unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
}

#[test]
fn an_executable_manifest_stays_executable() {
    let bare = Bare::with(&[("x", "x")]);
    let git = bare.git();
    let blob = git.blob(manifest("web", "old").as_bytes()).unwrap();
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert(WEB, blob, git2::FileMode::BlobExecutable);
    let parent = git.head().unwrap().peel_to_commit().unwrap();
    let tree = update
        .create_updated(&git, &parent.tree().unwrap())
        .unwrap();
    let tree = git.find_tree(tree).unwrap();
    let who = parent.author();
    git.commit(Some("HEAD"), &who, &who, "m", &tree, &[&parent])
        .unwrap();
    bare.repository()
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    let tree = git.head().unwrap().peel_to_tree().unwrap();
    assert_eq!(tree.get_path(Path::new(WEB)).unwrap().filemode(), 0o100_755);
}

#[test]
fn a_lock_that_nobody_holds_any_more_is_removed() {
    let bare = Bare::with(&[(WEB, &manifest("web", "old"))]);
    let lock = bare.path().join("refs/heads/main.lock");
    let held = fs::File::create(&lock).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    held.set_modified(old).unwrap();
    assert!(
        bare.repository()
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap()
            .made
    );
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_named() {
    let bare = Bare::with(&[(WEB, &manifest("web", "old"))]);
    let lock = bare.path().join("refs/heads/main.lock");
    fs::File::create(&lock).unwrap();
    let hasty = LocalGitops::new(LocalSettings {
        deadline: std::time::Duration::from_millis(30),
        ..settings(&bare.path())
    });
    let error = hasty
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Retryable);
    assert!(error.hints[0].contains("main.lock"), "{:?}", error.hints);
    assert_eq!(hasty.waits_for(), None);
    assert_eq!(messages(&bare.git()).len(), 1);
}

#[test]
fn a_clean_checkout_moves_along() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old")), ("a", "a")]);
    fs::write(clone.directory.path().join("untracked"), "x").unwrap();
    let repository = LocalGitops::new(settings(clone.directory.path()));
    repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert_eq!(clone.on_disk(WEB), manifest("web", "new"));
    assert_eq!(clone.changed(), ["untracked"]);
}

#[test]
fn a_branch_that_another_work_tree_has_is_not_moved_under_it() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    let git = clone.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    git.branch("side", &head, false).unwrap();
    git.set_head("refs/heads/side").unwrap();
    let deployment = deployment("d", &[("web", "new")]);
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("other");
    let mut options = git2::WorktreeAddOptions::new();
    let main = git.find_reference(BRANCH).unwrap();
    git.worktree("other", &other, Some(options.reference(Some(&main))))
        .unwrap();
    let error = LocalGitops::new(settings(clone.directory.path()))
        .deploy(&deployment)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    assert!(error.message.contains("checked out in"), "{error}");
    // In that work tree the files move along.
    let there = LocalGitops::new(settings(&other));
    assert!(there.deploy(&deployment).unwrap().made);
    let text = std::fs::read_to_string(other.join(WEB)).unwrap();
    assert_eq!(text, manifest("web", "new"));
    // And what is left of a work tree that is gone is in nobody's way.
    std::fs::remove_dir_all(&other).unwrap();
    let again = self::deployment("e", &[("web", "newer")]);
    let main = LocalGitops::new(settings(clone.directory.path()));
    assert!(main.deploy(&again).unwrap().made);
}

#[test]
fn a_dirty_checkout_is_refused() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old")), ("a", "a")]);
    let repository = LocalGitops::new(settings(clone.directory.path()));
    let ours = deployment("d", &[("web", "new")]);
    fs::write(clone.directory.path().join("a"), "b").unwrap();
    for refused in [repository.deploy(&ours), repository.preview(&ours)] {
        let error = refused.unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        assert!(
            error.message.contains("uncommitted changes (a)"),
            "{}",
            error.message
        );
    }
    assert_eq!(messages(&clone.git()).len(), 1);
    let git = clone.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    git.branch("other", &head, false).unwrap();
    git.set_head("refs/heads/other").unwrap();
    assert!(
        repository.deploy(&ours).unwrap().made,
        "the branch is not checked out"
    );
    assert_eq!(clone.on_disk(WEB), manifest("web", "old"));
}

#[test]
fn a_checkout_that_was_left_behind_catches_up() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    let repository = LocalGitops::new(settings(clone.directory.path()));
    let ours = deployment("d", &[("web", "new")]);
    repository.deploy(&ours).unwrap();
    // As if the process had been killed between the ref and the files.
    let git = clone.git();
    let before = git
        .head()
        .unwrap()
        .peel_to_commit()
        .unwrap()
        .parent(0)
        .unwrap();
    let mut checkout = git2::build::CheckoutBuilder::new();
    git.checkout_tree(before.as_object(), Some(checkout.force()))
        .unwrap();
    assert_eq!(clone.changed(), [WEB]);
    let again = repository.deploy(&ours).unwrap();
    assert!(!again.made);
    assert_eq!(clone.changed(), Vec::<String>::new());
    assert_eq!(clone.on_disk(WEB), manifest("web", "new"));
}

#[test]
fn ten_thousand_manifests_are_looked_through() {
    let files: Vec<(String, String)> = (0..10_000)
        .map(|n| {
            let component = format!("c{n}");
            (
                format!("staging/{component}/deployment.yaml"),
                manifest(&component, "old"),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(p, t)| (p.as_str(), t.as_str()))
        .collect();
    let bare = Bare::new();
    commit(&bare.git(), &files);
    let names: Vec<String> = (0..6).map(|n| format!("c{}", n * 1500)).collect();
    let tags: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "new")).collect();
    let started = std::time::Instant::now();
    let deployed = bare.repository().deploy(&deployment("d", &tags)).unwrap();
    println!("6 of 10000 manifests: {:?}", started.elapsed());
    assert_eq!(deployed.changes.len(), 6);
    let git = bare.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    let (new, old) = (
        head.tree().unwrap(),
        head.parent(0).unwrap().tree().unwrap(),
    );
    let diff = git.diff_tree_to_tree(Some(&old), Some(&new), None).unwrap();
    let stats = diff.stats().unwrap();
    assert_eq!(
        (stats.files_changed(), stats.insertions(), stats.deletions()),
        (6, 6, 6)
    );
}

#[test]
fn a_signed_commit_carries_what_the_signer_gave() {
    /// Signs by repeating what it signs.
    #[derive(Debug)]
    struct Echo;
    impl CommitSigner for Echo {
        fn sign(&self, commit: &[u8]) -> Result<String, BackendError> {
            let text = std::str::from_utf8(commit).unwrap();
            Ok(format!("BEGIN\n{text}END"))
        }
    }
    let bare = Bare::with(&[(WEB, &manifest("web", "old"))]);
    let repository = LocalGitops::new(LocalSettings {
        signer: Some(std::sync::Arc::new(Echo)),
        ..settings(&bare.path())
    });
    let ours = deployment("d1", &[("web", "new")]);
    let commit = repository.deploy(&ours).unwrap().commit;
    let git = bare.git();
    let id = git2::Oid::from_str(&commit).unwrap();
    let (signature, content) = git.extract_signature(&id, None).unwrap();
    let content = String::from_utf8(content.to_vec()).unwrap();
    assert!(
        content.contains("author Ada <ada@example.com>"),
        "{content}"
    );
    assert_eq!(
        String::from_utf8(signature.to_vec()).unwrap(),
        format!("BEGIN\n{content}END")
    );
    assert!(!repository.deploy(&ours).unwrap().made);
}

#[test]
fn a_repository_whose_files_are_elsewhere_is_refused() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    let elsewhere = tempfile::tempdir().unwrap();
    let git = clone.git();
    let path = elsewhere.path().to_str().unwrap();
    git.config()
        .unwrap()
        .set_str("core.worktree", path)
        .unwrap();
    let repository = LocalGitops::new(settings(clone.directory.path()));
    let error = repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(error.message.contains("its files are elsewhere"), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // The folder of git's own data is as good a name for a checkout.
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    let repository = LocalGitops::new(settings(&clone.directory.path().join(".git")));
    repository
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    assert_eq!(clone.on_disk(WEB), manifest("web", "new"));
}

#[test]
fn links_and_large_files_in_a_tree_are_not_followed() {
    let put = |path: &str, bytes: &[u8], mode: git2::FileMode| {
        let bare = Bare::with(&[("base/deployment.yaml", &manifest("web", "old"))]);
        let git = bare.git();
        let parent = git.head().unwrap().peel_to_commit().unwrap();
        let mut update = git2::build::TreeUpdateBuilder::new();
        let id = if mode == git2::FileMode::Commit {
            parent.id()
        } else {
            git.blob(bytes).unwrap()
        };
        update.upsert(path, id, mode);
        let tree = parent.tree().unwrap();
        let tree = update.create_updated(&git, &tree).unwrap();
        let tree = git.find_tree(tree).unwrap();
        let who = parent.author();
        git.commit(Some("HEAD"), &who, &who, "m", &tree, &[&parent])
            .unwrap();
        let error = bare
            .repository()
            .deploy(&deployment("d", &[("web", "new")]))
            .unwrap_err();
        assert_eq!(messages(&git).len(), 2);
        error.message
    };
    let check = |message: String, part: &str| assert!(message.contains(part), "{message}");
    check(
        put(WEB, b"../../base/deployment.yaml", git2::FileMode::Link),
        "staging/web/deployment.yaml is a link to `../../base/deployment.yaml`",
    );
    check(
        put(WEB, b"../../base/deployment.yaml\n", git2::FileMode::Blob),
        "staging/web/deployment.yaml is a link to `../../base/deployment.yaml`",
    );
    check(
        put("staging/web", b"../base", git2::FileMode::Link),
        "staging/web is a link to `../base`",
    );
    check(
        put("staging", b"base", git2::FileMode::Link),
        "staging is a link to `base`",
    );
    check(
        put("staging/web", b"", git2::FileMode::Commit),
        "staging/web is a submodule",
    );
    check(
        put("staging/web", b"x", git2::FileMode::Blob),
        "staging/web is a file",
    );
    check(
        put(
            "staging/web/deployment.YAML",
            manifest("web", "old").as_bytes(),
            git2::FileMode::Blob,
        ),
        "deployment.YAML has a name that ArgoCD does not read",
    );
    let large = vec![b'#'; 5 * 1024 * 1024];
    check(
        put(WEB, &large, git2::FileMode::Blob),
        "staging/web/deployment.yaml is too large",
    );
}
