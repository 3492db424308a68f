//! What stands where git or we read a file: pipes, sockets, folders without end, files without end.

use shipline_engine::backend::SourceRepo;
use shipline_engine::fault::Faults;
use shipline_git::{GitSource, WorkTree};

use crate::world::{World, path};

fn pipe(path: &std::path::Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// Why the work tree at `world` cannot be looked at.
fn refusal(world: &World) -> String {
    let opened = GitSource::open(world.path(), WorkTree::Scan, Faults::none());
    let error = opened.and_then(|source| source.head()).unwrap_err();
    assert_eq!(error.hints, ["remove it, or put a file in its place"]);
    error.to_string()
}

#[test]
fn a_pipe_where_git_reads_a_file_is_refused_and_not_waited_for() {
    for path in [
        ".gitignore",
        ".gitattributes",
        "web/.gitattributes",
        "new/.gitignore",
        "new/deep/.gitattributes",
        ".git/info/exclude",
        ".git/config",
        ".git/packed-refs",
        ".git/refs/heads/feature/x",
        ".git/index",
    ] {
        let world = World::with(&[("web/a", "a"), ("b", "b")]);
        let at = world.path().join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&at);
        world.write("new/deep/c", "c");
        pipe(&at);
        let said = refusal(&world);
        assert!(
            said.contains(path) && said.contains("named pipe"),
            "{path}: {said}"
        );
    }
    // A folder that is no repository looks above itself, and so does git.
    let world = World::with(&[("a", "a")]);
    std::fs::rename(world.path().join(".git"), world.beside("git")).unwrap();
    pipe(&world.path().join(".git"));
    assert!(refusal(&world).contains(".git: it is a named pipe"));
}

#[test]
fn a_link_to_a_pipe_where_git_reads_a_file_is_refused() {
    let world = World::with(&[("a", "a")]);
    pipe(&world.beside("pipe"));
    let target = world.beside("pipe").display().to_string();
    world.write("sub/b", "b");
    world.link("sub/.gitattributes", &target);
    assert!(refusal(&world).contains("sub/.gitattributes"));
    world.commit("a link");
    assert!(refusal(&world).contains("sub/.gitattributes"));
    // Also in a checkout that nobody looks through.
    let source = GitSource::open(world.path(), WorkTree::KnownClean, Faults::none()).unwrap();
    assert!(
        source
            .head()
            .unwrap_err()
            .to_string()
            .contains("sub/.gitattributes")
    );
    // What the configuration names is the person's own; nothing at all is usual there.
    let world = World::with(&[("a", "a")]);
    world.git(&["config", "core.excludesFile", "/dev/null"]);
    world.link(".gitignore", "/dev/null");
    world.write("new", "");
    let source = GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap();
    assert_eq!(source.head().unwrap().dirty.iter().count(), 2);
    world.git(&["config", "core.attributesFile", &target]);
    assert!(refusal(&world).contains("pipe: it is a named pipe"));
}

#[test]
fn a_socket_of_gits_own_helper_is_no_obstacle() {
    let world = World::with(&[("a", "a")]);
    let helper = world.path().join(".git/fsmonitor--daemon.ipc");
    let _socket = std::os::unix::net::UnixListener::bind(helper).unwrap();
    let source = GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap();
    assert_eq!(source.head().unwrap().dirty.iter().count(), 0);
}

#[test]
fn new_folders_that_are_nested_too_deep_are_refused_but_where_they_are_ignored() {
    let world = World::with(&[("a", "a")]);
    let mut at = world.path().join("new");
    for _ in 0..600 {
        at.push("d");
    }
    std::fs::create_dir_all(&at).unwrap();
    let source = || GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap();
    let error = source().head().unwrap_err();
    assert!(
        error.to_string().contains("nested more than 512 deep"),
        "{error}"
    );
    assert_eq!(error.hints, ["remove it, or name it in .gitignore"]);
    world.write(".gitignore", "new/d/d/d\n");
    assert_eq!(source().head().unwrap().dirty.iter().count(), 1);
}

#[test]
fn a_file_that_is_larger_than_any_recipe_is_not_read() {
    let world = World::with(&[("a", "a")]);
    let file = std::fs::File::create(world.path().join("large")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let path = path("large");
    let source = GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap();
    let error = source.read(&path).unwrap_err().to_string();
    assert!(error.contains("large: it has more than 64 MiB"), "{error}");
    world.commit("large");
    let source = GitSource::open(world.path(), WorkTree::Scan, Faults::none()).unwrap();
    let error = source.read(&path).unwrap_err().to_string();
    assert!(error.contains("large: it has more than 64 MiB"), "{error}");
}
