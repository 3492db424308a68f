//! A checkout that is not as the branch is: which of its states may be written over.

use std::fs;
use std::time::Duration;

use git2::build::CheckoutBuilder;
use shipline_engine::backend::GitopsRepo;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_gitops::{LocalGitops, LocalSettings};
use shipline_testkit::contract::gitops::{deployment, manifest};

use crate::support::{Clone, commit, messages, settings};

const WEB: &str = "staging/web/deployment.yaml";

fn repository(clone: &Clone) -> LocalGitops {
    LocalGitops::new(settings(clone.directory.path()))
}

/// A checkout after a deployment whose process was killed between the ref and the files.
fn behind() -> Clone {
    let clone = Clone::with(&[(WEB, &manifest("web", "old")), ("a", "a"), ("b", "b")]);
    repository(&clone)
        .deploy(&deployment("d", &[("web", "new")]))
        .unwrap();
    go_to_parent(&clone);
    clone
}

/// Index and files as before the head; the branch stays.
fn go_to_parent(clone: &Clone) {
    let git = clone.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    let before = head.parent(0).unwrap();
    let mut checkout = CheckoutBuilder::new();
    git.checkout_tree(before.as_object(), Some(checkout.force()))
        .unwrap();
}

fn stage(clone: &Clone, path: &str) {
    let git = clone.git();
    let mut index = git.index().unwrap();
    index.add_path(std::path::Path::new(path)).unwrap();
    index.write().unwrap();
}

fn write(clone: &Clone, path: &str, text: &str) {
    fs::write(clone.directory.path().join(path), text).unwrap();
}

fn again(clone: &Clone) -> Result<bool, BackendError> {
    let done = repository(clone).deploy(&deployment("e", &[("web", "newer")]));
    done.map(|done| done.made)
}

fn refused(clone: &Clone) -> String {
    let before = messages(&clone.git()).len();
    let error = again(clone).unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    assert_eq!(messages(&clone.git()).len(), before);
    error.message
}

#[test]
fn files_between_two_deployments_move_on() {
    // Index and file, only the index, only the file.
    for case in 0..3 {
        let clone = behind();
        match case {
            1 => write(&clone, WEB, &manifest("web", "new")),
            2 => {
                write(&clone, WEB, &manifest("web", "new"));
                stage(&clone, WEB);
                write(&clone, WEB, &manifest("web", "old"));
            }
            _ => {}
        }
        assert!(again(&clone).unwrap(), "{case}");
        assert_eq!(clone.on_disk(WEB), manifest("web", "newer"));
        assert_eq!(clone.changed(), Vec::<String>::new());
    }
}

#[test]
fn work_of_somebody_is_never_written_over() {
    let clone = behind();
    write(&clone, WEB, "mine\n");
    assert!(refused(&clone).contains(WEB));
    assert_eq!(clone.on_disk(WEB), "mine\n");
    // Staged and taken back on disk: the index alone holds it.
    let clone = behind();
    write(&clone, WEB, "mine\n");
    stage(&clone, WEB);
    write(&clone, WEB, &manifest("web", "old"));
    assert!(refused(&clone).contains(WEB));
    // Another file than the deployment's.
    let clone = behind();
    write(&clone, "a", "mine\n");
    assert!(refused(&clone).contains("uncommitted changes (a, "));
    assert_eq!(clone.on_disk("a"), "mine\n");
    // A file that is gone, and one that is new.
    let clone = behind();
    fs::remove_file(clone.directory.path().join(WEB)).unwrap();
    assert!(refused(&clone).contains(WEB));
    let clone = behind();
    write(&clone, "new", "mine\n");
    stage(&clone, "new");
    assert!(refused(&clone).contains("new"));
}

#[test]
fn only_a_deployment_leaves_files_behind() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    commit(&clone.git(), &[(WEB, &manifest("web", "theirs"))]);
    // Somebody's own commit moved the branch under the files: nobody knows what these are.
    assert!(refused(&clone).contains(WEB));
    // A merge whose message says that it is a deployment.
    let clone = behind();
    let git = clone.git();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    let first = head.parent(0).unwrap();
    let who = head.author();
    let message = head.message().unwrap();
    let tree = head.tree().unwrap();
    let merge = git
        .commit(None, &who, &who, message, &tree, &[&first, &head])
        .unwrap();
    git.reference("refs/heads/main", merge, true, "").unwrap();
    let error = again(&clone).unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
}

#[test]
fn a_file_that_a_deployment_did_not_have_before_is_known_too() {
    let clone = Clone::with(&[("a", "a")]);
    commit(&clone.git(), &[(WEB, &manifest("web", "old"))]);
    let git = clone.git();
    git.checkout_head(Some(CheckoutBuilder::new().force()))
        .unwrap();
    // A deployment's commit that brings a file: before it there was none at this path.
    let head = git.head().unwrap().peel_to_commit().unwrap();
    let mut update = git2::build::TreeUpdateBuilder::new();
    let blob = git.blob(b"x").unwrap();
    update.upsert("staging/new", blob, git2::FileMode::Blob);
    let tree = update.create_updated(&git, &head.tree().unwrap()).unwrap();
    let tree = git.find_tree(tree).unwrap();
    let who = head.author();
    git.commit(
        Some("refs/heads/main"),
        &who,
        &who,
        "Deploy\n\nDeploy-Id: x\n",
        &tree,
        &[&head],
    )
    .unwrap();
    // Nothing on disk and nothing in the index is neither the new file nor the old one.
    assert!(refused(&clone).contains("staging/new"));
    write(&clone, "staging/new", "x");
    stage(&clone, "staging/new");
    assert!(again(&clone).unwrap());
}

#[test]
fn what_is_changed_is_named_in_part() {
    let files = ["a", "b", "c", "d", "e"];
    let named = |count: usize| {
        let all: Vec<(&str, &str)> = files.iter().map(|name| (*name, "x")).collect();
        let clone = Clone::with(&all);
        for name in &files[..count] {
            write(&clone, name, "mine\n");
        }
        refused(&clone)
    };
    assert!(named(1).ends_with("(a)"));
    assert!(named(3).ends_with("(a, b, c)"));
    assert!(named(4).ends_with("(a, b, c and 1 more)"));
    assert!(named(5).ends_with("(a, b, c and 2 more)"));
}

#[test]
fn an_index_that_somebody_holds_is_waited_for() {
    let clone = Clone::with(&[(WEB, &manifest("web", "old"))]);
    let lock = clone.directory.path().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let hasty = LocalGitops::new(LocalSettings {
        deadline: Duration::from_millis(30),
        ..settings(clone.directory.path())
    });
    let ours = deployment("d", &[("web", "new")]);
    let error = hasty.deploy(&ours).unwrap_err();
    assert!(
        error
            .hints
            .iter()
            .any(|hint| hint.contains("run the command again")),
        "{error:?}"
    );
    assert_eq!(messages(&clone.git()).len(), 2, "the branch has moved");
    fs::remove_file(&lock).unwrap();
    assert!(!repository(&clone).deploy(&ours).unwrap().made);
    assert_eq!(clone.on_disk(WEB), manifest("web", "new"));
    assert_eq!(clone.changed(), Vec::<String>::new());
}
