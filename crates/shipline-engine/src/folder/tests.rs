use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("top/state")).unwrap();
        fs::create_dir(folder.path().join("victim")).unwrap();
        fs::write(folder.path().join("victim/file"), "precious").unwrap();
        Self { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn state(&self) -> Place {
        Place::new(self.path("top"), Owner::Ours).join("state")
    }

    fn assert_victim(&self) {
        assert_eq!(fs::read(self.path("victim/file")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(self.path("victim")).unwrap().count(), 1);
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(done: io::Result<T>, wanted: &str) {
    let error = done.unwrap_err();
    let obstacle = Obstacle::of(&error).unwrap_or_else(|| panic!("{error}"));
    assert!(error.to_string().contains(wanted), "{error}");
    assert!(!obstacle.remedy().is_empty());
}

#[test]
fn no_name_below_the_top_is_followed() {
    let world = World::new();
    let link = "is a symbolic link";
    for depth in ["state", "state/a", "state/a/b"] {
        let at = world.path("top").join(depth);
        let _ = fs::remove_dir_all(&at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(world.path("victim"), &at).unwrap();
        let file = Place::new(world.path("top"), Owner::Ours)
            .join(depth)
            .join("file");
        refused(file.read(), link);
        refused(file.write_whole(b"x"), link);
        refused(file.remove(), link);
        refused(file.see(), link);
        refused(file.join("more").make(), link);
        world.assert_victim();
        fs::remove_file(&at).unwrap();
    }
    // The person's own link is followed.
    fs::create_dir_all(world.path("top/state")).unwrap();
    symlink(world.path("top"), world.path("own")).unwrap();
    let own = Place::new(world.path("own"), Owner::Ours).join("state/x");
    own.write_whole(b"1").unwrap();
    assert_eq!(fs::read(world.path("top/state/x")).unwrap(), b"1");
}

#[test]
fn a_link_that_comes_after_the_folder_was_opened_changes_nothing() {
    let world = World::new();
    let folder = world.state().open().unwrap();
    fs::rename(world.path("top/state"), world.path("top/moved")).unwrap();
    symlink(world.path("victim"), world.path("top/state")).unwrap();
    folder.write_whole("file", b"new").unwrap();
    folder.append("log").unwrap().write_all(b"1").unwrap();
    folder.remove_all("file").unwrap();
    world.assert_victim();
    assert!(world.path("top/moved/log").exists());
}

#[test]
fn a_file_is_a_file_with_one_name() {
    let world = World::new();
    let folder = world.state().open().unwrap();
    let at = |name: &str| world.path("top/state").join(name);
    symlink(world.path("victim/file"), at("link")).unwrap();
    fs::hard_link(world.path("victim/file"), at("second")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for (name, wanted) in [
        ("link", "is a symbolic link"),
        ("pipe", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("second", "has several names"),
    ] {
        refused(folder.open_or_create(name), wanted);
        refused(folder.append(name), wanted);
        if name != "second" {
            refused(folder.open(name), wanted);
        }
    }
    // What is replaced is the name, and not what it leads to.
    for name in ["link", "second"] {
        folder.write_whole(name, b"new").unwrap();
        assert_eq!(folder.read(name).unwrap(), b"new");
    }
    world.assert_victim();
}

#[test]
fn what_is_ours_is_for_us_alone() {
    let world = World::new();
    let mode = |path: &str| world.path(path).metadata().unwrap().permissions().mode() & 0o777;
    world.state().join("a/b/file").write_whole(b"1").unwrap();
    world
        .state()
        .join("a/log")
        .make_parent()
        .unwrap()
        .0
        .append("log")
        .unwrap();
    assert_eq!(mode("top/state/a"), 0o700);
    assert_eq!(mode("top/state/a/b"), 0o700);
    assert_eq!(mode("top/state/a/b/file"), 0o600);
    assert_eq!(mode("top/state/a/log"), 0o600);
}

#[test]
fn a_folder_of_another_user_is_refused_where_it_must_be_ours() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can give a folder away.
        return;
    }
    let world = World::new();
    chown(world.path("top/state"), Some(65534), None).unwrap();
    refused(world.state().open(), "belongs to another user (ID 65534)");
    world.state().owned_by(Owner::Anyone).open().unwrap();
}

#[test]
fn trees_are_removed_without_leaving_them() {
    let world = World::new();
    let at = |name: &str| world.path("top/state").join(name);
    fs::create_dir_all(at("tree/deep/er")).unwrap();
    fs::write(at("tree/deep/file"), "").unwrap();
    symlink(world.path("victim"), at("tree/deep/link")).unwrap();
    for closed in ["tree/deep/er", "tree/deep"] {
        fs::set_permissions(at(closed), fs::Permissions::from_mode(0o500)).unwrap();
    }
    let folder = world.state().open().unwrap();
    folder.remove_all("tree").unwrap();
    folder.remove_all("tree").unwrap();
    symlink(world.path("victim"), at("link")).unwrap();
    folder.remove_all("link").unwrap();
    assert_eq!(folder.entries().unwrap(), []);
    world.assert_victim();
}

#[test]
fn names_do_not_lead_out() {
    let world = World::new();
    let folder = world.state().open().unwrap();
    for name in ["..", ".", "", "../x", "a/b"] {
        refused(folder.open(name), "leads out of its folder");
    }
    refused(world.state().join("../../victim/file").read(), "leads out");
}

#[test]
fn a_path_of_the_repository_may_lead_elsewhere_in_it_only() {
    let world = World::new();
    let root = world.path("top");
    fs::write(root.join("state/file"), "1").unwrap();
    symlink("state/file", root.join("within")).unwrap();
    symlink("state", root.join("folder")).unwrap();
    symlink(world.path("victim"), root.join("out")).unwrap();
    symlink("../victim/file", root.join("up")).unwrap();
    for good in ["within", "folder/file", "state/file"] {
        let place = Place::inside(&root, good).unwrap();
        assert_eq!(place.read().unwrap(), b"1", "{good}");
        assert_eq!(place.path(), root.join(good));
    }
    for bad in ["out", "out/file", "up"] {
        refused(Place::inside(&root, bad), "leads out of the repository");
    }
    // One that is not there yet is made below no link.
    let new = Place::inside(&root, "out/new").unwrap();
    refused(new.make(), "is a symbolic link");
    world.assert_victim();
}
