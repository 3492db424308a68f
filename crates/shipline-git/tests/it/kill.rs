//! The workspace from a process of its own: killed at each point, under another umask, with git's variables set.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use shipline_engine::backend::SourceRepo;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;
use shipline_git::{GitSource, WorkTree};

use crate::world::{World, files, set};

/// Names the point, the count, the repository and the workspace to the child.
const VARIABLE: &str = "SHIPLINE_TEST_KILL";

/// The child: does nothing unless the parent below started it.
#[test]
#[allow(clippy::disallowed_methods)]
fn child() {
    let Ok(order) = std::env::var(VARIABLE) else {
        return;
    };
    let [point, nth, repo, workspace] = order.split('|').collect::<Vec<_>>()[..] else {
        panic!("{order}");
    };
    let faults = Faults::kill_at(point.parse().unwrap(), nth.parse().unwrap());
    GitSource::open(Path::new(repo), WorkTree::Scan, faults)
        .unwrap()
        .materialize(&set(&["."], &["cache"]), &Place::from(Path::new(workspace)))
        .unwrap();
}

/// How the child ended, under a strict umask and in an environment that a git hook would have.
#[allow(clippy::disallowed_methods)]
fn run(world: &World, point: FaultPoint, nth: u32) -> ExitStatus {
    let order = format!(
        "{point}|{nth}|{}|{}",
        world.path().display(),
        world.workspace().display()
    );
    std::process::Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--test-threads", "1"])
        .env(VARIABLE, order)
        .env("GIT_DIR", "/nowhere")
        .env("GIT_WORK_TREE", "/nowhere")
        .env("GIT_INDEX_FILE", "/nowhere")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn neither_umask_nor_gits_variables_count() {
    let world = World::with(&[("a/b", "1"), ("run", "1")]);
    world.mode("run", 0o755);
    assert!(run(&world, FaultPoint::WorkspaceFile, 100).success());
    assert_eq!(files(&world.workspace()), world.expected());
    for (path, mode) in [(".", 0o755), ("a", 0o755), ("a/b", 0o644), ("run", 0o755)] {
        let meta = world.workspace().join(path).metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn the_next_time_completes_what_a_kill_left() {
    for (point, times) in [
        (FaultPoint::WorkspaceFile, 4),
        (FaultPoint::WorkspaceFiles, 1),
        (FaultPoint::WorkspaceDone, 1),
    ] {
        for nth in 1..=times {
            let world = World::with(&[("a", "1"), ("b/c", "1"), ("b/d", "1"), ("e", "1")]);
            world
                .open()
                .materialize(&set(&["."], &["cache"]), &Place::from(world.workspace()))
                .unwrap();
            let work = world.workspace();
            std::fs::create_dir(work.join("cache")).unwrap();
            std::fs::write(work.join("cache/x"), "kept").unwrap();
            std::fs::write(work.join("made"), "by a build").unwrap();
            world.write("a", "2");
            world.write("b/c", "2");
            world.remove("b/d");
            world.write("b/d/now/a/folder", "2");
            world.write("new", "2");
            assert_eq!(run(&world, point, nth).signal(), Some(9), "{point} {nth}");
            world
                .open()
                .materialize(&set(&["."], &["cache"]), &Place::from(work.as_path()))
                .unwrap();
            let mut found = files(&work);
            assert_eq!(found.remove("cache/x"), Some(('f', b"kept".to_vec())));
            assert_eq!(found, world.expected(), "{point} {nth}");
            assert!(!world.beside("work.incoming").exists());
        }
    }
}

#[test]
fn a_manifest_that_is_cut_off_or_lies_costs_time_only() {
    let world = World::with(&[("a", "1"), ("b", "1")]);
    let all = set(&["."], &[]);
    world
        .open()
        .materialize(&all, &Place::from(world.workspace()))
        .unwrap();
    let manifest = world.beside("work.manifest");
    let bytes = std::fs::read(&manifest).unwrap();
    for broken in [
        &bytes[..bytes.len() / 2],
        b"",
        b"\xff\xfe",
        b"shipline workspace 1\n",
    ] {
        std::fs::write(&manifest, broken).unwrap();
        std::fs::write(world.workspace().join("a"), "changed").unwrap();
        world
            .open()
            .materialize(&all, &Place::from(world.workspace()))
            .unwrap();
        assert_eq!(files(&world.workspace()), world.expected());
    }
}
