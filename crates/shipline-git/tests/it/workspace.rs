//! The workspace becomes equal to the sources by the difference only.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use shipline_engine::backend::{Materialized, Outside, SourceRepo, SourceSet};
use shipline_engine::error::ErrorClass;
use shipline_engine::folder::Place;

use crate::world::{NONE, World, files, set, uncommitted};

fn materialize(world: &World, paths: &[&str], keep: &[&str]) -> Materialized {
    world
        .open()
        .materialize(&set(paths, keep), &Place::from(world.workspace()))
        .unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_keys().collect()
}

fn stamps(folder: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    files(folder)
        .into_keys()
        .map(|name| {
            let meta = folder.join(&name).symlink_metadata().unwrap();
            (name, (meta.ino(), meta.ctime(), meta.ctime_nsec()))
        })
        .collect()
}

fn put(folder: &Path, path: &str, text: &str) {
    let file = folder.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

#[test]
fn only_the_set_is_there_with_the_modes_that_git_knows() {
    let world = World::with(&[
        ("svc/a", "1"),
        ("svc/run", "1"),
        ("lib/b", "1"),
        ("other/c", "1"),
    ]);
    world.mode("svc/run", 0o700);
    world.link("svc/link", "../lib/b");
    world.write("svc/dirty", "1");
    world.write(".gitignore", ".env.local\n");
    world.write("svc/.env.local", "SECRET=1");
    let done = materialize(&world, &["svc", "lib/b"], &[]);
    assert_eq!((done.written, done.kept, done.removed), (5, 0, 0));
    let work = world.workspace();
    assert_eq!(
        names(&work),
        ["lib/b", "svc/a", "svc/dirty", "svc/link", "svc/run"]
    );
    for (path, mode) in [
        ("svc/a", 0o644),
        ("svc/dirty", 0o644),
        ("svc/run", 0o755),
        ("svc", 0o755),
        ("lib", 0o755),
    ] {
        let found = work.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{path}");
    }
    assert_eq!(
        std::fs::read_link(work.join("svc/link")).unwrap(),
        Path::new("../lib/b")
    );
}

#[test]
fn a_second_time_touches_nothing_and_a_change_touches_what_changed() {
    let world = World::with(&[("svc/a", "1"), ("svc/b", "1"), ("svc/c/d", "1")]);
    materialize(&world, &["svc"], &[]);
    let work = world.workspace();
    let before = stamps(&work);
    let manifest = world.beside("work.manifest");
    let written = manifest.metadata().unwrap().ino();
    let done = materialize(&world, &["svc"], &[]);
    assert_eq!((done.written, done.kept, done.removed), (0, 3, 0));
    assert_eq!(stamps(&work), before);
    assert_eq!(manifest.metadata().unwrap().ino(), written);

    world.write("svc/b", "2");
    let done = materialize(&world, &["svc"], &[]);
    assert_eq!((done.written, done.kept, done.removed), (1, 2, 0));
    let after = stamps(&work);
    assert_eq!(after["svc/a"], before["svc/a"]);
    assert_ne!(after["svc/b"], before["svc/b"]);
    assert_eq!(files(&work)["svc/b"].1, b"2");
}

#[test]
fn what_a_build_did_is_undone_but_for_what_is_kept() {
    let world = World::with(&[
        ("svc/a", "1"),
        ("svc/b", "1"),
        ("svc/dir/c", "1"),
        ("svc/link", "1"),
    ]);
    materialize(&world, &["svc"], &["svc/node_modules", "target"]);
    let work = world.workspace();
    put(&work, "svc/a", "changed");
    std::fs::remove_file(work.join("svc/b")).unwrap();
    std::fs::remove_dir_all(work.join("svc/dir")).unwrap();
    put(&work, "svc/dir", "a file now");
    std::fs::remove_file(work.join("svc/link")).unwrap();
    put(&work, "svc/link/x", "a folder now");
    put(&work, "svc/out/index.html", "made");
    put(&work, "svc/node_modules/m/index.js", "kept");
    put(&work, "target/debug/x", "kept");
    put(&work, "elsewhere/x", "made");
    std::fs::set_permissions(work.join("svc/out"), PermissionsExt::from_mode(0o555)).unwrap();
    let done = materialize(&world, &["svc"], &["svc/node_modules", "target"]);
    assert_eq!(done.written, 4);
    assert_eq!(
        names(&work),
        [
            "svc/a",
            "svc/b",
            "svc/dir/c",
            "svc/link",
            "svc/node_modules/m/index.js",
            "target/debug/x"
        ]
    );
    assert_eq!(files(&work)["svc/a"].1, b"1");
}

#[test]
fn a_file_that_was_changed_without_looking_changed_is_restored() {
    let world = World::with(&[("a", "one")]);
    materialize(&world, &["."], &[]);
    let file = world.workspace().join("a");
    let before = file.metadata().unwrap();
    std::fs::write(&file, "two").unwrap();
    let times = std::fs::FileTimes::new()
        .set_modified(before.modified().unwrap())
        .set_accessed(before.accessed().unwrap());
    std::fs::File::open(&file)
        .unwrap()
        .set_times(times)
        .unwrap();
    materialize(&world, &["."], &[]);
    assert_eq!(std::fs::read(&file).unwrap(), b"one");
}

#[test]
fn permissions_are_mended_without_a_new_file() {
    let world = World::with(&[("a", "1"), ("d/b", "1")]);
    materialize(&world, &["."], &[]);
    let file = world.workspace().join("a");
    let folder = world.workspace().join("d");
    let inode = file.metadata().unwrap().ino();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o4777)).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o2755)).unwrap();
    let done = materialize(&world, &["."], &[]);
    assert_eq!((done.written, done.kept), (0, 2));
    assert_eq!(
        folder.metadata().unwrap().permissions().mode() & 0o7777,
        0o755
    );
    let meta = file.metadata().unwrap();
    assert_eq!(
        (meta.ino(), meta.permissions().mode() & 0o7777),
        (inode, 0o644)
    );
}

#[test]
fn caches_survive_where_their_folder_is_no_source_any_more() {
    let world = World::with(&[("svc/a", "1"), ("other/b", "1")]);
    materialize(&world, &["svc", "other"], &["svc/deep/cache"]);
    let work = world.workspace();
    put(&work, "svc/deep/cache/x", "kept");
    put(&work, "svc/deep/junk", "made");
    materialize(&world, &["other"], &["svc/deep/cache"]);
    assert_eq!(names(&work), ["other/b", "svc/deep/cache/x"]);
    materialize(&world, &["other"], &[]);
    assert_eq!(names(&work), ["other/b"]);
    assert!(!work.join("svc").exists());
}

#[test]
fn what_stands_outside_of_a_part_is_left_alone_whatever_its_name() {
    let world = World::with(&[("svc/a/x", "1"), ("svc/b/y", "1"), ("svc/z", "1")]);
    materialize(&world, &["svc"], &[]);
    let work = world.workspace();
    let strange = OsStr::from_bytes(b"\xff");
    for folder in [&work, &work.join("svc"), &work.join("svc/b")] {
        std::fs::write(folder.join(strange), "others'").unwrap();
    }
    put(&work, "svc/a/rubbish", "1");
    put(&work, "svc/a/cache/c", "1");
    put(&work, "svc/a/x", "changed");
    let part = SourceSet {
        outside: Outside::Left,
        ..set(&["svc/a"], &["svc/a/cache"])
    };
    let source = world.open();
    assert_eq!(
        source
            .extras(&part, &Place::from(work.as_path()))
            .unwrap()
            .len(),
        1
    );
    let done = source
        .materialize(&part, &Place::from(work.as_path()))
        .unwrap();
    assert_eq!((done.written, done.kept, done.removed), (1, 0, 1));
    for folder in [&work, &work.join("svc"), &work.join("svc/b")] {
        assert!(folder.join(strange).exists(), "{}", folder.display());
    }
    assert!(work.join("svc/z").exists() && work.join("svc/a/cache/c").exists());
    // The next whole pass has them removed.
    let done = materialize(&world, &["svc"], &["svc/a/cache"]);
    assert_eq!((done.written, done.kept, done.removed), (0, 3, 3));
}

#[test]
fn sources_below_a_kept_path_are_still_the_sources() {
    let world = World::with(&[("cache/tracked", "1")]);
    materialize(&world, &["."], &["cache"]);
    let work = world.workspace();
    put(&work, "cache/tracked", "changed");
    put(&work, "cache/other", "kept");
    materialize(&world, &["."], &["cache"]);
    assert_eq!(names(&work), ["cache/other", "cache/tracked"]);
    assert_eq!(files(&work)["cache/tracked"].1, b"1");
}

#[test]
fn extras_are_what_setup_made_and_stay_when_they_are_kept() {
    let world = World::with(&[("svc/a", "1"), ("svc/gen/b", "1")]);
    let caches = ["svc/.next/cache"];
    materialize(&world, &["svc"], &caches);
    let work = world.workspace();
    put(&work, "svc/node_modules/m/index.js", "setup");
    put(&work, "svc/gen/c", "setup");
    put(&work, "svc/.next/cache/x", "cache");
    put(&work, "svc/.next/types", "setup");
    put(&work, "svc/a", "changed by setup");
    let extras = world
        .open()
        .extras(&set(&["svc"], &caches), &Place::from(work.as_path()))
        .unwrap();
    let shown: Vec<String> = extras.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["svc/.next/types", "svc/gen/c", "svc/node_modules"]);

    put(&work, "svc/out/index.html", "prepare");
    put(&work, "svc/gen/d", "prepare");
    let mut again = set(&["svc"], &caches);
    again.keep.extend(extras);
    world
        .open()
        .materialize(&again, &Place::from(work.as_path()))
        .unwrap();
    assert_eq!(
        names(&work),
        [
            "svc/.next/cache/x",
            "svc/.next/types",
            "svc/a",
            "svc/gen/b",
            "svc/gen/c",
            "svc/node_modules/m/index.js"
        ]
    );
    assert_eq!(files(&work)["svc/a"].1, b"1");
}

#[test]
fn what_setup_made_may_have_any_name() {
    let world = World::with(&[("svc/a", "1")]);
    materialize(&world, &["svc"], &[]);
    let work = world.workspace();
    let odd = work.join("svc").join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(&odd, "setup").unwrap();
    let extras = world
        .open()
        .extras(&set(&["svc"], &[]), &Place::from(work.as_path()))
        .unwrap();
    assert_eq!(extras.len(), 1);
    assert_eq!(extras[0].as_bytes(), b"svc/caf\xe9");
    std::fs::write(
        work.join("svc").join(OsStr::from_bytes(b"caf\xe8")),
        "prepare",
    )
    .unwrap();
    let mut again = set(&["svc"], &[]);
    again.keep.extend(extras);
    world
        .open()
        .materialize(&again, &Place::from(work.as_path()))
        .unwrap();
    assert!(odd.exists());
    assert_eq!(std::fs::read_dir(work.join("svc")).unwrap().count(), 2);
}

#[test]
fn a_submodules_files_are_there() {
    let inner = World::with(&[("lib.rs", "inner"), ("deep/x", "1")]);
    let world = World::with(&[("a", "1")]);
    world.git(&[
        "submodule",
        "add",
        "-q",
        inner.path().to_str().unwrap(),
        "vendor/inner",
    ]);
    world.commit("submodule");
    materialize(&world, &["vendor"], &[]);
    assert_eq!(
        names(&world.workspace()),
        ["vendor/inner/deep/x", "vendor/inner/lib.rs"]
    );

    let clone = world.beside("clone");
    world.git(&["clone", "-q", ".", clone.to_str().unwrap()]);
    let clone = world.at(clone);
    let error = clone
        .open()
        .materialize(&set(&["vendor"], &[]), &Place::from(clone.workspace()))
        .unwrap_err();
    assert!(
        error
            .hints
            .iter()
            .any(|hint| hint.contains("submodule update --init vendor/inner"))
    );
}

#[test]
fn a_path_that_is_no_source_is_refused_before_anything_is_touched() {
    let world = World::with(&[("a", "1")]);
    materialize(&world, &["a"], &[]);
    let error = world
        .open()
        .materialize(&set(&["b"], &[]), &Place::from(world.workspace()))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert_eq!(names(&world.workspace()), ["a"]);
}

#[test]
fn a_file_that_changes_under_the_run_is_not_taken_for_what_was_keyed() {
    let world = World::with(&[("a", "1")]);
    world.write("a", "2");
    let source = world.open();
    source.head().unwrap();
    world.write("a", "3");
    let error = source
        .materialize(&set(&["."], &[]), &Place::from(world.workspace()))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    assert_eq!(names(&world.workspace()), Vec::<String>::new());
}

#[test]
fn a_git_lfs_pointer_is_refused() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let world = World::with(&[
        ("docs/big.bin", pointer),
        ("docs/about.txt", pointer),
        (".gitattributes", "*.bin filter=lfs\n"),
    ]);
    let error = world
        .open()
        .materialize(&set(&["docs"], &[]), &Place::from(world.workspace()))
        .unwrap_err();
    assert!(error.message.contains("docs/big.bin"), "{error}");
    materialize(&world, &["docs/about.txt"], &[]);
}

#[test]
fn what_a_filter_makes_is_refused() {
    let world = World::with(&[
        ("docs/secret.bin", "committed\n"),
        ("docs/about.txt", "1\n"),
        (".gitattributes", "*.bin filter=turn\n"),
    ]);
    let workspace = world.workspace();
    let take = || {
        world
            .open()
            .materialize(&set(&["docs"], &[]), &Place::from(workspace.as_path()))
    };
    // Where nobody set the filter up, git checks out what is committed.
    take().unwrap();
    std::fs::remove_dir_all(&workspace).unwrap();
    world.git(&["config", "filter.turn.clean", "rev"]);
    world.git(&["config", "filter.turn.smudge", "cat"]);
    take().unwrap();
    std::fs::remove_dir_all(&workspace).unwrap();
    world.git(&["config", "filter.turn.smudge", "rev"]);
    let error = take().unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(
        error.message.contains("docs/secret.bin") && error.message.contains("`turn`"),
        "{error}"
    );
    // Elsewhere it hinders nobody.
    materialize(&world, &["docs/about.txt"], &[]);
}

#[test]
fn a_filtered_file_that_the_index_cannot_judge_counts_as_changed_until_git_has_looked() {
    let world = World::with(&[(".gitattributes", "*.bin filter=turn\n")]);
    world.git(&["config", "filter.turn.clean", "rev"]);
    world.git(&["config", "filter.turn.smudge", "rev"]);
    world.write("a.bin", "abc\n");
    world.commit("Add a file that is committed backwards");
    world.remove("a.bin");
    world.write("a.bin", "abc\n");
    assert_eq!(uncommitted(&world.open()), ["a.bin"]);
    // Not racily clean: git's index must be younger than the file.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let file = std::fs::File::open(world.path().join("a.bin")).unwrap();
    file.set_modified(old).unwrap();
    world.git(&["status"]);
    assert_eq!(uncommitted(&world.open()), NONE);
}

#[test]
fn a_file_of_git_lfs_is_what_lfs_would_add_wherever_its_content_is() {
    // The pointer to "hello\n".
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\nsize 6\n";
    let world = World::with(&[
        ("docs/big.bin", pointer),
        ("docs/empty.bin", ""),
        (".gitattributes", "*.bin filter=lfs\n"),
    ]);
    // As a clone with LFS has it: git knows no more of the file than that it may have changed.
    world.write("docs/big.bin", "hello\n");
    assert_eq!(uncommitted(&world.open()), NONE);
    world.write("docs/big.bin", "changed\n");
    assert_eq!(uncommitted(&world.open()), ["docs/big.bin"]);
    // Neither the commit's content nor the changed one is known to be what others would get.
    let error = world
        .open()
        .materialize(&set(&["docs"], &[]), &Place::from(world.workspace()))
        .unwrap_err();
    assert!(error.message.contains("docs/big.bin"), "{error}");
}

#[test]
fn what_a_pass_leaves_alone_is_not_read_again_by_the_next_one() {
    let world = World::with(&[("a/x", "1"), ("b/y", "1")]);
    materialize(&world, &["a", "b"], &[]);
    let manifest = world.beside("work.manifest");
    let known =
        |path: &str| String::from_utf8_lossy(&std::fs::read(&manifest).unwrap()).contains(path);
    assert!(known("a/x") && known("b/y"));
    world.write("a/x", "2");
    materialize(&world, &["a"], &["b"]);
    assert!(known("a/x") && known("b/y"));
    materialize(&world, &["a"], &[]);
    assert!(known("a/x") && !known("b/y"));
}

/// One thing that a person does to the work tree, or a build to the workspace.
#[derive(Debug, Clone)]
enum Act {
    Write(String, u8),
    Link(String, String),
    Remove(String),
    Executable(String),
    Folder(String),
}

fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c.x", "cache"]), 1..4)
        .prop_map(|parts| parts.join("/"))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (place(), 0u8..4).prop_map(|(path, content)| Act::Write(path, content)),
        1 => (place(), place()).prop_map(|(path, target)| Act::Link(path, target)),
        2 => place().prop_map(Act::Remove),
        1 => place().prop_map(Act::Executable),
        1 => place().prop_map(Act::Folder),
    ]
}

/// Does what can be done; a way through a file or symlink makes room first.
fn apply(root: &Path, act: &Act) {
    let clear = |path: &Path| match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    };
    let room = |path: &str| {
        let mut at = root.to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        for part in &parts[..parts.len() - 1] {
            at.push(part);
            if !at.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                clear(&at);
                std::fs::create_dir(&at).unwrap();
            }
        }
        at.join(parts[parts.len() - 1])
    };
    match act {
        Act::Write(path, content) => {
            let file = room(path);
            if !file.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                clear(&file);
            }
            std::fs::write(file, [b'x', *content]).unwrap();
        }
        Act::Link(path, target) => {
            let file = room(path);
            clear(&file);
            std::os::unix::fs::symlink(target, file).unwrap();
        }
        Act::Remove(path) => clear(&root.join(path)),
        Act::Executable(path) => {
            let file = root.join(path);
            if file.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        Act::Folder(path) => {
            let folder = room(path);
            clear(&folder);
            std::fs::create_dir(folder).unwrap();
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), 0..8)
}

/// Everything of a folder that nobody may touch.
fn precious(world: &World) -> std::path::PathBuf {
    let victim = world.beside("victim");
    std::fs::create_dir_all(victim.join("home")).unwrap();
    std::fs::write(victim.join("home/thesis.doc"), "years").unwrap();
    std::fs::write(victim.join("x"), "mine").unwrap();
    victim
}

#[track_caller]
fn assert_precious(victim: &Path) {
    let (count, thesis) = (
        std::fs::read_dir(victim).unwrap().count(),
        std::fs::read(victim.join("home/thesis.doc")).unwrap(),
    );
    assert_eq!((count, thesis.as_slice()), (2, &b"years"[..]));
    assert_eq!(std::fs::read(victim.join("x")).unwrap(), b"mine");
}

#[test]
fn the_workspace_and_what_stands_beside_it_are_no_links() {
    for name in ["work", "work.incoming", "work.manifest"] {
        let world = World::with(&[("svc/x", "1"), ("svc/deep/y", "2")]);
        let victim = precious(&world);
        let target = if name.ends_with("manifest") {
            victim.join("x")
        } else {
            victim.clone()
        };
        std::os::unix::fs::symlink(target, world.beside(name)).unwrap();
        let workspace = Place::from(world.workspace());
        let done = world.open().materialize(&set(&["svc"], &[]), &workspace);
        assert_precious(&victim);
        if name == "work.incoming" {
            // It is removed as what it is.
            done.unwrap();
        } else {
            let error = done.unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid, "{error}");
        }
    }
}

#[test]
fn links_that_commands_left_are_replaced_and_not_followed() {
    let world = World::with(&[("svc/x", "1"), ("svc/deep/y", "2"), ("svc/deep/er/z", "3")]);
    let victim = precious(&world);
    let work = world.workspace();
    for at in [
        "svc",
        "svc/deep",
        "svc/deep/er",
        "svc/x",
        "svc/new",
        "svc/cache",
    ] {
        materialize(&world, &["svc"], &["svc/cache/kept"]);
        let at = work.join(at);
        if at.is_dir() {
            std::fs::remove_dir_all(&at).unwrap();
        } else {
            let _ = std::fs::remove_file(&at);
        }
        std::os::unix::fs::symlink(&victim, &at).unwrap();
        materialize(&world, &["svc"], &["svc/cache/kept"]);
        assert_precious(&victim);
        assert_eq!(std::fs::read(work.join("svc/deep/er/z")).unwrap(), b"3");
        assert!(!at.is_symlink(), "{}", at.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was committed, left uncommitted and done to the workspace: it ends equal to what git would add, what is kept
    /// stays, and the key of the dirty tree is the key of the same content committed.
    #[test]
    fn any_workspace_becomes_the_sources(committed in acts(), dirty in acts(), built in acts(), later in acts(), staged in 0u8..4) {
        let world = World::with(&[("first", "1")]);
        for act in &committed {
            apply(world.path(), act);
        }
        world.commit("second");
        let work = world.workspace();
        materialize(&world, &["."], &["cache"]);
        for act in &built {
            apply(&work, act);
        }
        for act in &dirty {
            apply(world.path(), act);
        }
        for round in 0..2 {
            let before = files(&work);
            materialize(&world, &["."], &["cache"]);
            let expected = world.expected();
            let mut found = files(&work);
            let in_cache = |name: &str| name.starts_with("cache/");
            for (name, content) in before.iter().filter(|(name, _)| in_cache(name)) {
                let replaced = expected.contains_key(name)
                    || expected.contains_key("cache")
                    || expected.keys().any(|other| other.starts_with(&format!("{name}/")) || name.starts_with(&format!("{other}/")));
                if !replaced {
                    prop_assert_eq!(found.get(name), Some(content), "kept {}", name);
                }
            }
            found.retain(|name, _| (!in_cache(name) && name != "cache") || expected.contains_key(name));
            prop_assert_eq!(&found, &expected, "round {}", round);
            match staged {
                0 => {}
                1 => drop(world.git(&["add", "--all"])),
                2 => drop(world.git(&["add", "--update"])),
                _ => drop(world.git(&["rm", "-r", "-q", "--cached", "--ignore-unmatch", "a", "first"])),
            }
            for act in &later {
                apply(world.path(), act);
            }
        }
        let paths = [crate::world::path(".")];
        let key = world.open().key(&paths).unwrap();
        world.commit("third");
        prop_assert_eq!(world.clean().key(&paths).unwrap(), key);
        prop_assert_eq!(uncommitted(&world.open()), NONE);
    }
}
