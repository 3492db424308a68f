//! Opening, the head, what is dirty, changes, keys, reading.

use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use shipline_engine::backend::{Ancestry, SourceRepo};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::folder::Place;
use shipline_git::{GitSource, Memory, WorkTree};
use shipline_model::name::CommitId;

use crate::world::{NONE, World, git, path, set, shown, uncommitted};

fn key(world: &World, paths: &[&str]) -> String {
    let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
    world.open().key(&paths).unwrap()
}

fn refused(error: &BackendError, class: ErrorClass, hint: &str) {
    assert_eq!(error.class, class, "{error}");
    assert!(
        error.hints.iter().any(|text| text.contains(hint)),
        "{error}: {:?}",
        error.hints
    );
}

#[test]
fn a_repository_is_found_from_below_and_a_work_tree_is_one() {
    let world = World::with(&[("a/b/c", "1")]);
    let below = GitSource::open(&world.path().join("a/b"), WorkTree::Scan, Faults::none()).unwrap();
    assert_eq!(below.root().canonicalize().unwrap(), world.path());

    let other = world.beside("other");
    world.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "side",
        other.to_str().unwrap(),
    ]);
    let head = world.at(other).open().head().unwrap();
    assert_eq!(
        (head.branch.as_deref(), head.dirty.len()),
        (Some("side"), 0)
    );
    assert_eq!(head.time, 1_767_323_045);
}

#[test]
fn what_cannot_be_a_source_is_refused_with_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    let open = |folder: &std::path::Path| GitSource::open(folder, WorkTree::Scan, Faults::none());
    refused(
        &open(nowhere.path()).unwrap_err(),
        ErrorClass::NotFound,
        "git init",
    );

    let world = World::with(&[("a", "1")]);
    let bare = world.beside("bare.git");
    world.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    refused(&open(&bare).unwrap_err(), ErrorClass::Invalid, "clone it");

    let unborn = World::empty();
    unborn.write("a", "1");
    refused(
        &unborn.open().head().unwrap_err(),
        ErrorClass::Invalid,
        "git commit",
    );
}

#[test]
fn the_head_names_commit_branch_and_dirty_paths() {
    let world = World::with(&[
        ("a", "1"),
        ("b", "1"),
        ("c", "1"),
        (".gitignore", "*.log\n"),
    ]);
    world.write("a", "2");
    world.git(&["add", "a"]);
    world.write("b", "2");
    world.remove("c");
    world.write("new/file", "1");
    world.write("noise.log", "1");
    world.write(".shipline/work/x", "1");
    let head = world.open().head().unwrap();
    assert_eq!(head.commit, world.rev("HEAD"));
    assert_eq!(head.branch.as_deref(), Some("main"));
    assert_eq!(uncommitted(&world.open()), ["a", "b", "c", "new/file"]);

    world.git(&["checkout", "-q", "--detach"]);
    assert_eq!(world.open().head().unwrap().branch, None);
    assert_eq!(uncommitted(&world.clean()), NONE);
}

#[test]
fn all_of_gits_ignore_files_count() {
    let world = World::with(&[("a", "1"), ("sub/.gitignore", "local\n")]);
    let global = world.beside("global-ignore");
    std::fs::write(&global, "everywhere\n").unwrap();
    world.git(&["config", "core.excludesFile", global.to_str().unwrap()]);
    std::fs::write(world.path().join(".git/info/exclude"), "excluded\n").unwrap();
    for name in ["sub/local", "everywhere", "sub/excluded", "local"] {
        world.write(name, "1");
    }
    assert_eq!(uncommitted(&world.open()), ["local"]);

    // A tracked file stays tracked whatever ignores it; one that was removed from the index and is ignored is gone.
    world.write("everywhere", "2");
    world.git(&["add", "--force", "everywhere", "sub/excluded"]);
    world.git(&["commit", "-q", "-m", "forced"]);
    world.write("everywhere", "3");
    world.git(&["rm", "-q", "--cached", "sub/excluded"]);
    assert_eq!(
        world.changes(&world.rev("HEAD")),
        "~everywhere +local -sub/excluded"
    );
}

#[test]
fn changes_are_told_with_the_dirty_tree_over_the_commits() {
    let world = World::with(&[
        ("keep", "1"),
        ("move", "text of some length\n"),
        ("mode", "1"),
        ("type", "1"),
        ("back", "1"),
    ]);
    let base = world.rev("HEAD");
    world.git(&["mv", "move", "moved"]);
    world.mode("mode", 0o755);
    world.remove("type");
    world.link("type", "keep");
    world.write("back", "2");
    world.write("added", "1");
    world.commit("second");
    assert_eq!(
        world.changes(&base),
        "+added ~back ~mode -move +moved ~type"
    );

    world.write("back", "1");
    world.remove("added");
    world.write("dirty", "1");
    world.remove("keep");
    world.write("keep/inside", "1");
    assert_eq!(
        world.changes(&base),
        "+dirty -keep +keep/inside ~mode -move +moved ~type"
    );
    assert_eq!(
        shown(&world.clean().changes(&base).unwrap()),
        "+added ~back ~mode -move +moved ~type"
    );
}

#[test]
fn a_touched_file_and_a_staged_one_that_was_put_back_are_no_changes() {
    let world = World::with(&[("a", "1"), ("b", "1")]);
    world.write("a", "2");
    world.git(&["add", "a"]);
    world.write("a", "1");
    world.remove("b");
    world.write("b", "1");
    assert_eq!(uncommitted(&world.open()), NONE);
}

#[test]
fn an_index_with_conflicts_is_compared_by_the_work_tree() {
    let world = World::with(&[("a", "1\n"), ("b", "1\n")]);
    let base = world.rev("HEAD");
    world.git(&["checkout", "-q", "-b", "side"]);
    world.write("a", "side\n");
    world.commit("side");
    world.git(&["checkout", "-q", "main"]);
    world.write("a", "main\n");
    world.commit("main");
    let script = "git merge side >/dev/null 2>&1; true";
    world.git(&["-c", &format!("alias.clash=!{script}"), "clash"]);
    assert_eq!(world.changes(&base), "~a");
    let text = world.open().read(&path("a")).unwrap().unwrap();
    assert!(text.starts_with(b"<<<<<<<"));
}

#[test]
fn every_kind_of_index_is_read_or_refused() {
    let world = World::with(&[("a/b", "1"), ("a/c", "1"), ("ab", "1")]);
    for version in ["2", "3", "4"] {
        world.git(&["update-index", "--index-version", version]);
        world.git(&["rm", "-q", "--cached", "a/c"]);
        world.write("intended", "1");
        world.git(&["add", "--intent-to-add", "intended"]);
        world.write("ab", version);
        assert_eq!(uncommitted(&world.open()), ["ab", "intended"], "{version}");
        world.git(&["reset", "-q"]);
    }
    world.git(&["update-index", "--assume-unchanged", "ab"]);
    assert_eq!(uncommitted(&world.open()), ["intended"]);
    let index = world.path().join(".git/index");
    let bytes = std::fs::read(&index).unwrap();
    std::fs::write(&index, &bytes[..bytes.len() / 2]).unwrap();
    refused(
        &world.open().head().unwrap_err(),
        ErrorClass::Invalid,
        "git status",
    );
    std::fs::remove_file(&index).unwrap();
    assert_eq!(uncommitted(&world.open()), ["ab", "intended"]);
}

#[test]
fn a_key_is_the_same_whether_content_is_committed_dirty_or_cloned() {
    let world = World::with(&[
        ("svc/a", "1"),
        ("svc/deep/er/b", "1"),
        ("svc.x", "1"),
        ("other/c", "1"),
    ]);
    let first = key(&world, &["svc"]);
    world.write("svc/deep/er/b", "2");
    world.write("svc/new", "1");
    world.mode("svc/a", 0o755);
    world.link("svc/link", "a");
    world.remove("other/c");
    world.write("other/d", "1");
    let dirty = (
        key(&world, &["svc"]),
        key(&world, &["svc", "other"]),
        key(&world, &["."]),
    );
    assert_ne!(first, dirty.0);
    world.commit("second");
    let committed = (
        key(&world, &["svc"]),
        key(&world, &["other", "svc", "svc/deep"]),
        key(&world, &["."]),
    );
    assert_eq!(dirty, committed);

    let clone = world.beside("clone");
    world.git(&["clone", "-q", ".", clone.to_str().unwrap()]);
    let clone = world.at(clone);
    assert_eq!(key(&clone, &["svc"]), committed.0);
}

#[test]
fn a_key_of_something_that_is_not_there_says_what() {
    let world = World::with(&[("a/b", "1"), (".gitignore", "hidden\n")]);
    world.write("a/hidden", "1");
    world.remove("a/b");
    for missing in ["b", "a", "a/b", "a/b/c", "a/hidden"] {
        let error = world.open().key(&[path(missing)]).unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
        assert!(error.message.contains(&format!("`{missing}`")), "{error}");
    }
}

#[test]
fn a_repository_that_tracks_shiplines_own_folder_is_refused() {
    let refused = |world: &World| {
        let error = world.open().head().unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
        assert!(error.message.contains("it tracks `."), "{error}");
        assert!(error.hints[0].contains("git rm -r --cached"), "{error}");
    };
    for name in [".shipline", ".ShipLine", ".shipline ", ".ship\u{200d}line"] {
        let world = World::with(&[("a", "1")]);
        world.write(&format!("{name}/runs/1"), "1");
        world.git(&["add", "--force", name]);
        refused(&world);
        world.git(&["commit", "--quiet", "--message", "oops"]);
        refused(&world);
    }
    let world = World::with(&[("a", "1"), (".shiplines/a", "1"), ("b/.shipline.yaml", "1")]);
    world.open().head().unwrap();
    // Untracked, it is simply no source.
    let before = key(&world, &["."]);
    world.write(".shipline/runs/1", "1");
    assert_eq!(key(&world, &["."]), before);
    assert_eq!(world.open().read(&path(".shipline/runs/1")).unwrap(), None);
}

#[test]
fn line_ends_are_converted_as_git_add_does() {
    let world = World::with(&[
        ("a.txt", "1\n2\n"),
        (".gitattributes", "*.txt text\n*.bin -text\n"),
    ]);
    let before = key(&world, &["a.txt"]);
    world.write("a.txt", "1\r\n2\r\n");
    world.write("b.bin", "1\r\n");
    assert_eq!(uncommitted(&world.open()), ["b.bin"]);
    assert_eq!(key(&world, &["a.txt"]), before);
    world.write("a.txt", "1\r\n3\r\n");
    assert_eq!(
        world.open().read(&path("a.txt")).unwrap().unwrap(),
        b"1\n3\n"
    );
    assert_eq!(
        world.open().read(&path("b.bin")).unwrap().unwrap(),
        b"1\r\n"
    );

    world.git(&["config", "core.autocrlf", "true"]);
    world.write("c", "1\r\n");
    assert_eq!(world.open().read(&path("c")).unwrap().unwrap(), b"1\n");
    let dirty = key(&world, &["."]);
    world.commit("second");
    assert_eq!(key(&world, &["."]), dirty);
}

#[test]
fn nothing_is_written_into_the_repository() {
    let world = World::with(&[("a", "1"), (".gitattributes", "* text=auto\n")]);
    world.write("a", "2\r\n");
    world.write("b", "1");
    world.git(&["add", "b"]);
    let before = crate::world::files(&world.path().join(".git"));
    let source = world.open();
    source.head().unwrap();
    source.key(&[path(".")]).unwrap();
    source.changes(&world.rev("HEAD")).unwrap();
    drop(source);
    assert_eq!(crate::world::files(&world.path().join(".git")), before);
}

#[test]
fn the_mode_of_the_work_tree_counts_unless_git_was_told_otherwise() {
    let world = World::with(&[("a", "1")]);
    world.mode("a", 0o755);
    assert_eq!(uncommitted(&world.open()), ["a"]);
    world.git(&["config", "core.fileMode", "false"]);
    assert_eq!(uncommitted(&world.open()), NONE);
    world.write("a", "2");
    let dirty = key(&world, &["a"]);
    world.commit("second");
    assert_eq!(key(&world, &["a"]), dirty);
}

#[test]
fn a_submodule_is_one_path() {
    let inner = World::with(&[("lib.rs", "1")]);
    let world = World::with(&[("a", "1")]);
    let base = world.rev("HEAD");
    world.git(&[
        "submodule",
        "add",
        "-q",
        inner.path().to_str().unwrap(),
        "vendor/inner",
    ]);
    world.commit("submodule");
    assert_eq!(world.changes(&base), "+.gitmodules +vendor/inner");
    let before = key(&world, &["vendor"]);
    assert_eq!(
        world.open().read(&path("vendor/inner")).unwrap_err().class,
        ErrorClass::Invalid
    );

    let nested = world.path().join("vendor/inner");
    std::fs::write(nested.join("lib.rs"), "2").unwrap();
    assert_eq!(
        key(&world, &["vendor"]),
        before,
        "git add does not take what is dirty in a submodule"
    );
    git(&nested, &["commit", "-q", "-a", "-m", "inner"], &[]);
    assert_eq!(uncommitted(&world.open()), ["vendor/inner"]);
    let dirty = key(&world, &["vendor"]);
    world.commit("moved");
    assert_eq!(key(&world, &["vendor"]), dirty);
    let opened = GitSource::open(&nested, WorkTree::Scan, Faults::none()).unwrap();
    assert_eq!(uncommitted(&opened), NONE);
}

#[test]
fn a_sparse_checkout_deletes_nothing() {
    let world = World::with(&[("in/a", "1"), ("out/b", "1")]);
    let before = key(&world, &["out"]);
    world.git(&["sparse-checkout", "set", "in"]);
    assert!(!world.path().join("out/b").exists());
    assert_eq!(uncommitted(&world.open()), NONE);
    assert_eq!(key(&world, &["out"]), before);
}

#[test]
fn a_split_index_is_read_with_the_one_that_it_shares() {
    let files: Vec<(String, String)> = (0..200)
        .map(|n| (format!("dir/{n:03}"), n.to_string()))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    for version in ["2", "4"] {
        let world = World::with(&files);
        world.write(".gitattributes", "*.txt text\n");
        world.commit("attributes");
        world.git(&["config", "splitIndex.maxPercentChange", "100"]);
        world.git(&["update-index", "--index-version", version]);
        world.git(&["update-index", "--split-index"]);
        assert_eq!(uncommitted(&world.open()), NONE);
        // Replaced, removed and added entries.
        world.write("dir/070", "staged");
        world.write("new.txt", "lines\r\n");
        world.git(&["add", "dir/070", "new.txt"]);
        world.git(&["rm", "-q", "--cached", "dir/130"]);
        world.remove("dir/130");
        world.write("dir/199", "not staged");
        let shared = world.git(&["rev-parse", "--shared-index-path"]);
        assert!(shared.contains("sharedindex."), "{shared}");
        assert_eq!(
            uncommitted(&world.open()),
            ["dir/070", "dir/130", "dir/199", "new.txt"]
        );
        world.commit("all of it");
        assert_eq!(uncommitted(&world.open()), NONE);

        std::fs::remove_file(world.path().join(shared.trim())).unwrap();
        let error = world.open().head().unwrap_err();
        refused(&error, ErrorClass::Invalid, "git reset");
        assert!(error.to_string().contains("shared index"), "{error}");
    }
}

#[test]
fn a_sparse_index_is_read_and_its_folders_count_as_they_are() {
    let world = World::with(&[
        ("in/a", "1"),
        ("out/b", "1"),
        ("out/deep/c", "1"),
        ("out/.gitattributes", "*.txt text\n"),
        ("other/d", "1"),
        ("top", "1"),
    ]);
    let first = world.rev("HEAD");
    let keys = || [key(&world, &["out"]), key(&world, &["other", "in"])];
    let before = keys();
    world.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    let staged = world.git(&["ls-files", "--sparse"]);
    assert!(staged.contains("out/\n"), "{staged}");
    assert_eq!(uncommitted(&world.open()), NONE);
    assert_eq!(keys(), before);

    world.write("in/a", "2");
    assert_eq!(uncommitted(&world.open()), ["in/a"]);
    // The index has other folders than the head.
    world.commit("second");
    world.git(&["reset", "-q", "--soft", first.as_str()]);
    assert_eq!(uncommitted(&world.open()), ["in/a"]);
    world.git(&["reset", "-q", "--hard"]);
    world.git(&["checkout", "-q", "--detach"]);
    world.git(&["sparse-checkout", "disable"]);
    world.write("out/deep/c", "2");
    let second = world.commit("outside");
    world.git(&["checkout", "-q", first.as_str()]);
    world.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    world.git(&["reset", "-q", "--soft", second.as_str()]);
    assert!(world.git(&["ls-files", "--sparse"]).contains("out/\n"));
    assert_eq!(uncommitted(&world.open()), ["out/deep/c"]);
    world.git(&["reset", "-q", "--soft", first.as_str()]);

    // What stands in a folder that the checkout leaves out counts as what it is.
    world.write("out/deep/c", "here");
    world.write("out/new.txt", "here");
    assert_eq!(uncommitted(&world.open()), ["out/deep/c", "out/new.txt"]);
}

#[test]
fn what_git_writes_beside_the_index_changes_nothing() {
    let world = World::with(&[("a/b", "1"), ("c", "1")]);
    world.git(&["config", "core.untrackedCache", "true"]);
    world.git(&["update-index", "--force-untracked-cache"]);
    world.git(&["config", "index.skipHash", "true"]);
    world.write("new", "1");
    world.git(&["status"]);
    world.git(&["update-index", "--fsmonitor-valid", "c"]);
    world.write("c", "2");
    assert_eq!(uncommitted(&world.open()), ["c", "new"]);
    // Borrowed objects.
    let borrowing = world.beside("borrowing");
    world.git(&[
        "clone",
        "-q",
        "--shared",
        world.path().to_str().unwrap(),
        borrowing.to_str().unwrap(),
    ]);
    let borrowing = world.at(borrowing);
    let head = borrowing.rev("HEAD");
    assert_eq!(uncommitted(&borrowing.open()), NONE);
    assert_eq!(borrowing.changes(&head), "");
}

#[test]
fn formats_of_git_that_cannot_be_read_are_refused_with_the_way_out() {
    for (option, what, remedy) in [
        (
            "--ref-format=reftable",
            "reftable",
            "git refs migrate --ref-format=files",
        ),
        (
            "--object-format=sha256",
            "sha256",
            "git init --object-format=sha1",
        ),
    ] {
        let world = World::empty();
        std::fs::remove_dir_all(world.path().join(".git")).unwrap();
        world.git(&["init", "-q", "-b", "main", option]);
        world.write("a/b", "1");
        world.git(&["add", "--all"]);
        world.git(&["commit", "-q", "-m", "first"]);
        let linked = world.beside("linked");
        world.git(&["worktree", "add", "-q", linked.to_str().unwrap()]);
        for folder in [world.path().join("a"), linked] {
            let error = GitSource::open(&folder, WorkTree::Scan, Faults::none()).unwrap_err();
            refused(&error, ErrorClass::Invalid, remedy);
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    let world = World::with(&[("a", "1")]);
    world.git(&["config", "core.repositoryFormatVersion", "1"]);
    world.git(&["config", "extensions.newest", "true"]);
    let error = GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap_err();
    refused(&error, ErrorClass::Invalid, "extensions.newest");
}

#[test]
fn a_name_that_is_not_utf_8_hides_no_change() {
    let world = World::with(&[("über/f", "1"), ("z", "1")]);
    let base = world.rev("HEAD");
    let odd = |name: &[u8]| world.path().join(std::ffi::OsStr::from_bytes(name));
    world.write("über/f", "2");
    std::fs::write(odd(b"\x83e.txt"), "1").unwrap();
    std::fs::write(odd(b"z\xff"), "1").unwrap();
    world.commit("second");
    std::fs::write(odd(b"z\xff"), "2").unwrap();
    std::fs::write(odd(b"z\xfe"), "1").unwrap();
    let source = world.open();
    let changes = source.changes(&base).unwrap();
    assert_eq!(shown(&changes), "+z\\xfe +z\\xff +\\x83e.txt ~über/f");
    assert_eq!(changes.below(&path("über")).count(), 1);
    assert!(changes.at("über/f").is_some());
    assert_eq!(uncommitted(&source), ["z\\xfe", "z\\xff"]);
}

#[test]
fn a_large_file_that_is_in_no_commit_is_read_once() {
    let world = World::with(&[("a", "1")]);
    let large = vec![7; 2 << 20];
    world.write("large.bin", &large);
    let memory = world.beside("memory/files");
    let look = |expected: &[&str]| {
        let read = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&read);
        let source = world.open().remembering(Memory {
            file: Some(Place::from(memory.as_path())),
            telling: Some(Arc::new(move |what: &str| {
                told.lock().unwrap().push(what.to_owned());
            })),
        });
        assert_eq!(uncommitted(&source), expected);
        let key = source.key(&[path("large.bin")]).unwrap();
        (read.lock().unwrap().len(), key)
    };
    settle(&world.path().join("large.bin"));
    let (read, first) = look(&["large.bin"]);
    assert_eq!(read, 1);
    settle(&memory);
    assert_eq!(look(&["large.bin"]), (0, first.clone()));
    // The same size, and the old time: the change of the inode is seen all the same.
    let times = std::fs::metadata(world.path().join("large.bin")).unwrap();
    let mut other = large.clone();
    other[9] = 8;
    world.write("large.bin", &other);
    let file = std::fs::File::options()
        .write(true)
        .open(world.path().join("large.bin"))
        .unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();
    settle(&world.path().join("large.bin"));
    let (read, second) = look(&["large.bin"]);
    assert_eq!(read, 1);
    assert_ne!(second, first);
    // By the rules of Git LFS it is something else.
    world.write(".gitattributes", "*.bin filter=lfs\n");
    settle(&memory);
    let (read, pointer) = look(&[".gitattributes", "large.bin"]);
    assert_eq!(read, 1);
    assert_ne!(pointer, second);
    settle(&memory);
    assert_eq!(look(&[".gitattributes", "large.bin"]), (0, pointer));
    // A memory that is cut off is none.
    let bytes = std::fs::read(&memory).unwrap();
    std::fs::write(&memory, &bytes[..bytes.len() - 2]).unwrap();
    assert_eq!(look(&[".gitattributes", "large.bin"]).0, 1);
}

/// Waits until the clock has left the tick in which the file changed: before that no look at it is trusted.
fn settle(file: &std::path::Path) {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(file).unwrap();
    let changed = Duration::new(
        u64::try_from(meta.ctime()).unwrap(),
        u32::try_from(meta.ctime_nsec()).unwrap(),
    );
    while SystemTime::UNIX_EPOCH.elapsed().unwrap() < changed + Duration::from_millis(50) {
        std::hint::spin_loop();
    }
}

#[test]
fn folders_that_are_nested_without_end_are_refused() {
    let world = World::with(&[("a", "1")]);
    let base = world.rev("HEAD");
    let repository = git2::Repository::open(world.path()).unwrap();
    let mut tree = repository.head().unwrap().peel_to_tree().unwrap().id();
    for _ in 0..2000 {
        let mut builder = repository.treebuilder(None).unwrap();
        builder.insert("d", tree, 0o040_000).unwrap();
        tree = builder.write().unwrap();
    }
    let commit = world.git(&["commit-tree", "-m", "deep", "-p", "HEAD", &tree.to_string()]);
    world.git(&["update-ref", "HEAD", commit.trim()]);
    let error = world.clean().changes(&base).unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(error.to_string().contains("nested"), "{error}");
    let error = world.open().head().unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    let error = world
        .clean()
        .materialize(&set(&["d"], &[]), &Place::from(world.workspace()))
        .unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
}

#[test]
fn trees_that_stand_for_more_files_than_anybody_has_are_refused() {
    let world = World::with(&[("a", "1")]);
    let base = world.rev("HEAD");
    let repository = git2::Repository::open(world.path()).unwrap();
    let mut tree = repository.head().unwrap().peel_to_tree().unwrap().id();
    // Eight trees, and ten names in each for the one below: a hundred million files.
    for _ in 0..8 {
        let mut builder = repository.treebuilder(None).unwrap();
        for name in b'a'..=b'j' {
            builder.insert(&[name][..], tree, 0o040_000).unwrap();
        }
        tree = builder.write().unwrap();
    }
    let commit = world.git(&["commit-tree", "-m", "bomb", "-p", "HEAD", &tree.to_string()]);
    world.git(&["update-ref", "HEAD", commit.trim()]);
    let error = world.clean().changes(&base).unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(error.to_string().contains("more than"), "{error}");
    let error = world.open().head().unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn reading_follows_symlinks_inside_the_repository_only() {
    let world = World::with(&[("dir/real", "text"), ("a", "1")]);
    world.link("dir/link", "../link");
    world.link("link", "dir/real");
    world.link("out", "../secret");
    world.link("loop", "loop");
    let source = world.open();
    assert_eq!(source.read(&path("dir/link")).unwrap().unwrap(), b"text");
    assert_eq!(source.read(&path("missing")).unwrap(), None);
    for bad in ["out", "loop", "dir"] {
        assert_eq!(
            source.read(&path(bad)).unwrap_err().class,
            ErrorClass::Invalid,
            "{bad}"
        );
    }
}

#[test]
fn revisions_resolve_or_say_why_not() {
    let world = World::with(&[("a", "1")]);
    let first = world.rev("HEAD");
    let second = world.commit("second");
    let source = world.open();
    for (name, commit) in [
        ("HEAD", &second),
        ("HEAD~1", &first),
        ("main", &second),
        (first.short(), &first),
    ] {
        assert_eq!(&source.resolve(name).unwrap(), commit, "{name}");
    }
    assert_eq!(
        source.resolve("nowhere").unwrap_err().class,
        ErrorClass::NotFound
    );
    assert_eq!(
        source.resolve("HEAD:a").unwrap_err().class,
        ErrorClass::Invalid
    );
}

#[test]
fn ancestry_and_merge_bases_are_told() {
    let world = World::with(&[("a", "1")]);
    let first = world.rev("HEAD");
    world.git(&["checkout", "-q", "-b", "side"]);
    let side = world.commit("side");
    world.git(&["checkout", "-q", "main"]);
    let second = world.commit("second");
    world.git(&["checkout", "-q", "--orphan", "other"]);
    let orphan = world.commit("orphan");
    world.git(&["checkout", "-q", "main"]);
    let source = world.open();
    assert_eq!(source.ancestry(&first).unwrap(), Ancestry::Ancestor);
    assert_eq!(source.ancestry(&second).unwrap(), Ancestry::Ancestor);
    assert_eq!(source.ancestry(&side).unwrap(), Ancestry::NotAncestor);
    let missing = CommitId::new("1".repeat(40)).unwrap();
    assert!(matches!(
        source.ancestry(&missing).unwrap(),
        Ancestry::Unknown { .. }
    ));
    assert_eq!(source.merge_base(&side).unwrap(), Some(first));
    assert_eq!(source.merge_base(&orphan).unwrap(), None);
    assert_eq!(source.merge_base(&missing).unwrap(), None);
}

#[test]
fn a_shallow_clone_does_not_know_and_says_how_it_would() {
    let world = World::with(&[("a", "1")]);
    let first = world.rev("HEAD");
    world.commit("second");
    let third = world.commit("third");
    let url = format!("file://{}", world.path().display());
    let clone = world.beside("clone");
    world.git(&["clone", "-q", "--depth", "2", &url, clone.to_str().unwrap()]);
    let clone = world.at(clone);
    let source = clone.open();
    assert_eq!(source.ancestry(&third).unwrap(), Ancestry::Ancestor);
    assert_eq!(
        source.ancestry(&clone.rev("HEAD~1")).unwrap(),
        Ancestry::Ancestor
    );
    let Ancestry::Unknown { why } = source.ancestry(&first).unwrap() else {
        panic!("a commit beyond the cut is not known");
    };
    assert!(why.contains("fetch-depth: 0"), "{why}");
    refused(
        &source.changes(&first).unwrap_err(),
        ErrorClass::NotFound,
        "fetch-depth: 0",
    );
    refused(
        &source.resolve(first.as_str()).unwrap_err(),
        ErrorClass::NotFound,
        "fetch-depth: 0",
    );
    assert_eq!(source.merge_base(&first).unwrap(), None);
}

#[test]
fn a_missing_object_is_no_panic() {
    let world = World::with(&[("dir/a", "1")]);
    let base = world.rev("HEAD");
    world.write("dir/a", "2");
    world.commit("second");
    let tree = world.git(&["rev-parse", "HEAD~1:dir"]);
    let (folder, file) = tree.trim().split_at(2);
    std::fs::remove_file(world.path().join(".git/objects").join(folder).join(file)).unwrap();
    refused(
        &world.open().changes(&base).unwrap_err(),
        ErrorClass::NotFound,
        "git fsck",
    );
}

/// A partial clone of `world`, whose history has one commit before the head.
fn partial(world: World, filter: &str) -> World {
    world.git(&["config", "uploadpack.allowFilter", "true"]);
    world.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let url = format!("file://{}", world.path().display());
    let clone = world.beside("clone");
    let filter = format!("--filter={filter}");
    world.git(&["clone", "-q", &filter, &url, clone.to_str().unwrap()]);
    world.at(clone)
}

#[test]
fn a_partial_clone_gives_no_wrong_answer_and_says_how_to_fill_it() {
    const HINT: &str = "git fetch --refetch --no-filter";
    let lines = |name: &str| (0..99).map(|n| format!("{name} {n}\n")).collect::<String>();
    let world = || {
        let world = World::with(&[("dir/a", &lines("one")), ("lock", &lines("old"))]);
        world.write("dir/a", lines("two"));
        world.write("lock", lines("new"));
        world.commit("second");
        world
    };
    // Trees are there, old contents are not.
    let clone = partial(world(), "blob:none");
    let first = clone.rev("HEAD~1");
    let source = clone.open();
    assert_eq!(uncommitted(&source), NONE);
    assert_eq!(shown(&source.changes(&first).unwrap()), "~dir/a ~lock");
    refused(
        &source.read_at(&first, &path("lock")).unwrap_err(),
        ErrorClass::NotFound,
        HINT,
    );

    // Old trees are not there either.
    let clone = partial(world(), "tree:0");
    let first = clone.rev("HEAD~1");
    let source = clone.open();
    assert!(source.key(&[path("dir")]).is_ok());
    assert_eq!(source.ancestry(&first).unwrap(), Ancestry::Ancestor);
    refused(
        &source.changes(&first).unwrap_err(),
        ErrorClass::NotFound,
        HINT,
    );
    // What the hint says helps.
    clone.git(&["fetch", "-q", "--refetch", "--no-filter"]);
    assert_eq!(
        shown(&clone.open().changes(&first).unwrap()),
        "~dir/a ~lock"
    );

    // Files that the checkout leaves out are not there at all.
    let clone = partial(world(), "blob:none");
    let sparse = clone.beside("sparse");
    let url = clone.git(&["config", "remote.origin.url"]);
    clone.git(&[
        "clone",
        "-q",
        "--sparse",
        "--filter=blob:none",
        url.trim(),
        sparse.to_str().unwrap(),
    ]);
    let sparse = clone.at(sparse);
    let source = sparse.open();
    assert_eq!(uncommitted(&source), NONE);
    refused(
        &source
            .materialize(&set(&["dir"], &[]), &Place::from(sparse.workspace()))
            .unwrap_err(),
        ErrorClass::NotFound,
        HINT,
    );

    // As older versions of git mark it, libgit2 does not open it.
    sparse.git(&["config", "extensions.partialClone", "origin"]);
    let error = GitSource::open(sparse.path(), WorkTree::Scan, Faults::none()).unwrap_err();
    assert!(error.hints[0].contains("without `--filter`"), "{error:?}");
}
