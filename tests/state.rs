//! The state folder, and everything else that the repository could turn into a link: nothing outside the clone is written,
//! removed or shown.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

/// A folder outside the repository, with what each thing of the state folder would be taken for.
fn victim(world: &World) -> PathBuf {
    let victim = world.path("victim");
    for (path, text) in [
        ("data.tmp", "precious"),
        (".gitignore", "mine"),
        ("home/thesis.doc", "years"),
        ("web/mine", "1"),
        ("index.json", "{}"),
        ("HEAD", "ref: refs/heads/mine"),
        ("20200101000000-aaaaaa/events.jsonl", "{}"),
        ("file", "IMPORTANT"),
    ] {
        let path = victim.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    victim
}

/// Everything below a folder: path, permissions, bytes.
fn all(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.path().symlink_metadata().unwrap();
            let bytes = if meta.is_dir() {
                open.push(entry.path());
                Vec::new()
            } else {
                std::fs::read(entry.path()).unwrap()
            };
            found.insert(entry.path(), (meta.permissions().mode(), bytes));
        }
    }
    found
}

/// Replaces what is at a path of the repository by a link.
fn link(world: &World, path: &str, target: &Path) {
    let at = world.repository().join(path);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    if at.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        std::fs::remove_dir_all(&at).unwrap();
    } else {
        let _ = std::fs::remove_file(&at);
    }
    symlink(target, at).unwrap();
}

const EVERYTHING: &[&[&str]] = &[
    &["plan", "web"],
    &["pipeline", "web", "--all", "--no-wait"],
    &["gitops", "set", "web=staging-1", "-e", "staging"],
    &["runs", "list"],
    &["store", "show"],
    &["store", "gc", "--older-than", "0s", "--keep-runs", "1"],
];

#[test]
fn no_link_in_the_state_folder_is_followed() {
    let world = world();
    let victim = victim(&world);
    tiny::green(&world, &["pipeline", "web"]);
    let good = world.path("good");
    let state = world.repository().join(".shipline");
    shipline_testkit::world::copy(&state, &good);
    let before = all(&victim);
    for (path, target) in [
        (".shipline", ""),
        (".shipline/lock", "file"),
        (".shipline/.gitignore", "file"),
        (".shipline/work", "home"),
        (".shipline/work", ""),
        (".shipline/work/web", ""),
        (".shipline/work.manifest", "file"),
        (".shipline/work.incoming", ""),
        (".shipline/cache", ""),
        (".shipline/cache/builds", ""),
        (".shipline/cache/tests", ""),
        (".shipline/cache/fingerprint.key", "file"),
        (".shipline/cache/layers", ""),
        (".shipline/runs", ""),
        (".shipline/store", ""),
        (".shipline/store/tmp", ""),
        (".shipline/store/blobs", ""),
        (".shipline/store/blobs/sha256", ""),
        (".shipline/store/index.json", "index.json"),
        (".shipline/store/index.lock", "file"),
        (".shipline/store/collect.lock", "file"),
        (".shipline/registry", ""),
        (".shipline/registry/blobs", ""),
        (".shipline/registry/index.lock", "file"),
        (".shipline/gitops.git", ""),
        (".shipline/gitops.git/refs", ""),
        (".shipline/gitops.git/refs/heads", ""),
        (".shipline/gitops.git/objects", ""),
        (".shipline/gitops.git/shipline-turn", "file"),
        (".shipline/.gitops.git.lock", "file"),
        (".shipline/.gitops.git.new", ""),
        (".shipline/tmp", ""),
    ] {
        for arguments in EVERYTHING {
            link(&world, path, &victim.join(target));
            let ran = world.run(arguments);
            assert!(
                all(&victim) == before,
                "{path}: {arguments:?} changed what it leads to\n{}",
                ran.stderr
            );
        }
        let at = world.repository().join(path);
        let _ = std::fs::remove_file(&at);
        if state.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            std::fs::remove_dir_all(&state).unwrap();
        }
        shipline_testkit::world::copy(&good, &state);
    }
}

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    let world = world();
    let victim = victim(&world);
    for (path, target) in [
        (".shipline", ""),
        (".shipline/lock", "file"),
        (".shipline/runs", ""),
        (".shipline/work", "home"),
    ] {
        link(&world, path, &victim.join(target));
        let ran = world.run(&["pipeline", "web", "--only", "unit-tests"]);
        for wanted in [path, "is a symbolic link", "--state DIR"] {
            assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
        }
        assert_ne!(ran.code, 0);
        std::fs::remove_file(world.repository().join(path)).unwrap();
    }
    link(&world, ".shipline", &victim);
    let ran = world.run(&["plan", "web"]).expect(2);
    assert!(ran.stderr.contains("is a symbolic link"), "{}", ran.stderr);
}

#[test]
fn pipes_and_second_names_in_the_place_of_files_are_refused() {
    let world = world();
    let victim = victim(&world);
    let before = all(&victim);
    let _ = world.run(&["plan", "web"]).expect(0);
    let lock = world.repository().join(".shipline/lock");
    std::fs::hard_link(victim.join("file"), &lock).unwrap();
    let ran = world.run(&["pipeline", "web"]).expect(2);
    assert!(ran.stderr.contains("hard links"), "{}", ran.stderr);
    std::fs::remove_file(&lock).unwrap();
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ran = world.run(&["pipeline", "web"]).expect(2);
    assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
    std::fs::remove_file(&lock).unwrap();
    assert_eq!(all(&victim), before);
    tiny::green(&world, &["pipeline", "web"]);
}

#[test]
fn a_state_folder_that_is_tracked_is_refused_however_it_is_written() {
    for name in [".shipline", ".Shipline", ".ship\u{200c}line"] {
        let world = world();
        world.write(&format!("{name}/cache/tests/x.json"), "{}");
        for staged in [true, false] {
            world.git(&["add", "--force", name]);
            if !staged {
                world.git(&["commit", "--quiet", "--message", "Track it"]);
            }
            for command in ["plan", "pipeline"] {
                let ran = world.run(&[command, "web"]).expect(2);
                assert!(ran.stderr.contains("git rm -r --cached"), "{}", ran.stderr);
            }
        }
    }
    let world = world();
    let head = world.git(&["rev-parse", "HEAD"]);
    let link = format!("160000,{head},.shipline");
    world.git(&["update-index", "--add", "--cacheinfo", &link]);
    let _ = world.run(&["plan", "web"]).expect(2);
}

#[test]
fn the_state_is_kept_elsewhere_where_the_command_line_says_so() {
    let world = world();
    let state = world.path("elsewhere");
    let named = state.display().to_string();
    let pipeline = ["--state", &named, "pipeline", "web"];
    let _ = world.run(&pipeline).expect(0);
    assert!(!world.repository().join(".shipline").exists());
    for made in ["store", "registry", "gitops.git", "runs", "work", "lock"] {
        assert!(state.join(made).exists(), "{made}");
    }
    let again = world.run(&pipeline).expect(0);
    assert!(again.stderr.contains("unchanged"), "{}", again.stderr);
    let list = world.run(&["runs", "list", "--state", &named]).expect(0);
    assert_eq!(list.stdout.lines().count(), 2);
    // The person's own link is followed.
    let link = world.path("link");
    symlink(&state, &link).unwrap();
    let link = link.display().to_string();
    let list = world.run(&["runs", "list", "--state", &link]).expect(0);
    assert_eq!(list.stdout.lines().count(), 2);

    let full = world.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), "x").unwrap();
    let full = full.display().to_string();
    let ran = world.run(&["--state", &full, "plan", "web"]).expect(2);
    assert!(ran.stderr.contains("no state folder"), "{}", ran.stderr);
    assert!(!world.path("full/.gitignore").exists());
}

#[test]
fn a_failure_names_the_command_with_the_state_folder() {
    let world = world();
    world.write("web/test.sh", "exit 7\n");
    world.commit("Fail");
    let state = world.path("state").display().to_string();
    let ran = world.run(&["pipeline", "web", "--state", &state]).expect(1);
    assert!(ran.stderr.contains("--state "), "{}", ran.stderr);
}

#[test]
fn records_are_for_their_owner_alone() {
    let world = world();
    world.replace(
        "pipeline.yaml",
        "    test: sh test.sh\n    image:",
        "    test: sh test.sh && echo '<x/>' > r.xml\n    junit: [r.xml]\n    image:",
    );
    world.commit("Keep results");
    tiny::green(&world, &["pipeline", "web"]);
    let state = world.repository().join(".shipline");
    for folder in ["runs", "cache"] {
        let root = state.join(folder).symlink_metadata().unwrap();
        assert_eq!(root.permissions().mode() & 0o777, 0o700, "{folder}");
        for (path, (mode, _)) in all(&state.join(folder)) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode & 0o777, wanted, "{}", path.display());
        }
    }
    assert_eq!(
        state.symlink_metadata().unwrap().permissions().mode() & 0o022,
        0
    );
}

#[test]
fn what_the_configuration_names_does_not_lead_out_of_the_repository() {
    let world = world();
    let victim = victim(&world);
    let before = all(&victim);
    let refused = |arguments: &[&str], wanted: &str| {
        let ran = world.run(arguments);
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
        assert!(!ran.stderr.contains("IMPORTANT"), "{}", ran.stderr);
        assert_eq!(all(&victim), before, "{arguments:?}");
    };
    // The Dockerfile, and the ignore file.
    for (file, wanted) in [
        ("web/Dockerfile", "leaves the repository"),
        ("web/.dockerignore", "leads out of the repository"),
    ] {
        link(&world, file, &victim.join("file"));
        world.commit("A link");
        refused(&["pipeline", "web"], wanted);
        world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
    // The seed.
    link(&world, "gitops", &victim);
    world.commit("A link");
    refused(&["pipeline", "web"], "leads out of the repository");
    world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    // A layout registry and a GitOps repository in the tree.
    for (old, new) in [
        ("layout: .shipline/registry", "layout: images"),
        ("path: .shipline/gitops.git", "path: images"),
    ] {
        world.replace("pipeline.yaml", old, new);
        link(&world, "images", &victim);
        world.commit("A link");
        refused(&["pipeline", "web"], "leads out of the repository");
        world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
    // Certificates.
    world.replace(
        "pipeline.yaml",
        "registry: { layout: .shipline/registry }",
        "registry: { url: localhost:9, ca: ca.pem }",
    );
    link(&world, "ca.pem", &victim.join("file"));
    world.commit("A link");
    refused(&["pipeline", "web"], "leads out of the repository");
    world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    // The configuration itself.
    std::fs::rename(
        world.repository().join("pipeline.yaml"),
        world.path("aside"),
    )
    .unwrap();
    link(&world, "pipeline.yaml", &victim.join("file"));
    for command in ["plan", "pipeline"] {
        refused(&[command, "web"], "leads out of the repository");
    }
    world.git(&["reset", "--quiet", "--hard"]);
    // The lock file is written through no link.
    link(&world, "pipeline.lock", &victim.join("file"));
    refused(&["lock", "update"], "leads out of the repository");
}

#[test]
fn a_link_that_stays_in_the_repository_is_followed() {
    let world = world();
    std::fs::rename(
        world.repository().join("web/Dockerfile"),
        world.repository().join("web/Dockerfile.all"),
    )
    .unwrap();
    link(&world, "web/Dockerfile", Path::new("Dockerfile.all"));
    link(&world, "seed", Path::new("gitops"));
    world.replace("pipeline.yaml", "seed: gitops", "seed: seed");
    world.commit("Links");
    tiny::green(&world, &["pipeline", "web"]);
}

#[test]
fn commands_do_not_lead_the_workspace_elsewhere() {
    let world = world();
    let victim = victim(&world);
    let before = all(&victim);
    world.write(
        "web/test.sh",
        &format!(
            "rm -rf ../web/cache && ln -s '{0}' cache\nln -s '{0}' out\ncd ..\nrm -rf web && ln -s '{0}' web\n",
            victim.display()
        ),
    );
    world.commit("Lead it away");
    for _ in 0..2 {
        let ran = world.run(&["pipeline", "web", "--all", "--no-cache"]);
        assert_eq!(all(&victim), before, "{}", ran.stderr);
    }
    // The component's folder as a link in the sources.
    std::fs::remove_dir_all(world.repository().join("api")).unwrap();
    symlink(&victim, world.repository().join("api")).unwrap();
    world.commit("A component elsewhere");
    let ran = world.run(&["pipeline", "backend", "--all"]);
    assert_ne!(ran.code, 0);
    assert_eq!(all(&victim), before, "{}", ran.stderr);
}

#[test]
fn caches_reach_no_image() {
    let world = world();
    world.write("web/Dockerfile", "FROM scratch\nCOPY . /srv\n");
    world.commit("Copy everything");
    tiny::green(&world, &["pipeline", "web"]);
    let files = || {
        let tag = format!("web:{}", tiny::declared_tag(&world, "staging", "web"));
        let tags = tiny::tags(&world);
        let (_, digest) = tags.iter().find(|(name, _)| *name == tag).unwrap();
        tiny::image_files(&world, digest)
    };
    let cached = |files: &[(String, String)]| files.iter().any(|(path, _)| path.contains("cache/"));
    assert!(!cached(&files()), "{:#?}", files());

    world.write(
        "web/Dockerfile",
        "FROM scratch\nCOPY cache/installed /srv/\n",
    );
    world.commit("Copy the cache");
    let ran = world.run(&["pipeline", "web"]).expect(1);
    for wanted in ["line 2", "`cache/installed`", "include_caches"] {
        assert!(ran.stderr.contains(wanted), "{wanted}: {}", ran.stderr);
    }

    world.replace(
        "pipeline.yaml",
        "    caches: [cache]\n",
        "    caches: [cache]\n    include_caches: [cache]\n",
    );
    world.commit("Include it");
    tiny::green(&world, &["pipeline", "web"]);
    assert!(files().iter().any(|(path, _)| path == "srv/installed"));
    let plan = world.run(&["plan", "web", "--all"]).expect(0);
    assert!(plan.stdout.contains("no key stands for"), "{}", plan.stdout);
}

#[test]
fn who_waits_is_told_for_whom_and_since_when_and_a_killed_run_says_so() {
    let world = world();
    world.write(
        "web/test.sh",
        "touch started\nwhile :; do sleep 0.05; done\n",
    );
    world.commit("Wait");
    let mut child = world.start(&["pipeline", "web"]);
    let started = world.repository().join(".shipline/work/web/started");
    while !started.exists() {
        std::thread::yield_now();
    }
    let mut second = world.start(&["pipeline", "backend"]);
    let mut told = String::new();
    let mut reader = std::io::BufReader::new(second.stderr.take().unwrap());
    while !told.contains("waiting for") {
        assert_ne!(
            std::io::BufRead::read_line(&mut reader, &mut told).unwrap(),
            0
        );
    }
    for wanted in [
        "`shipline pipeline web` (process ",
        ", since 20",
        " UTC)",
        ".shipline",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let show = world.run(&["runs", "show"]).expect(0);
    assert!(show.stdout.contains("goes on"), "{}", show.stdout);
    for child in [&mut second, &mut child] {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
    let show = world.run(&["runs", "show"]).expect(0);
    for wanted in ["was interrupted", "unit-tests"] {
        assert!(show.stdout.contains(wanted), "{wanted}: {}", show.stdout);
    }
    tiny::assert_no_process(&world);
}

#[cfg(target_os = "linux")]
#[test]
fn other_processes_of_the_user_read_no_secrets_out_of_ours() {
    let world = world();
    world.write(
        "web/test.sh",
        "parent() { sed -n 's/^PPid:[[:space:]]*//p' \"/proc/$1/status\"; }\n\
         s=$$\n\
         until grep -q __supervise /proc/$s/cmdline; do s=$(parent $s); done\n\
         cat /proc/$$/environ > /dev/null && echo own: readable\n\
         for pid in $s $(parent $s); do\n\
           if cat /proc/$pid/environ > /dev/null 2>&1; then echo readable; exit 1; fi\n\
         done\n",
    );
    world.commit("Look at who started us");
    // Root may read everything; without its rights it is as any user is to its own processes.
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = world.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        command.arg(env!("CARGO_BIN_EXE_shipline"));
        command
    } else {
        world.binary()
    };
    let output = command
        .args(["pipeline", "web", "--only", "unit-tests"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("own: readable"), "{stderr}");
}
