//! The disk below `.shipline` is full: at any place of a run, while a base image is pulled, while Docker's image is exported.

use std::collections::BTreeSet;
use std::path::Path;

use shipline_testkit::needs;
use shipline_testkit::service::engine::EngineImages;
use shipline_testkit::service::{DockerRegistry, RegistryAccess};
use shipline_testkit::small_disk::SmallDisk;
use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

/// KiB of a page of memory, which is what a file takes at least.
const PAGE: usize = 4;
/// Enough for everything, in KiB.
const ROOM: u64 = 256 << 10;

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

fn disk(test: &str, world: &World, kib: u64) -> Option<SmallDisk> {
    SmallDisk::mount(test, &world.repository().join(".shipline"), kib)
}

/// A run that stopped at the full disk says so, and leaves no blob that is not what its name says.
#[track_caller]
fn assert_stopped(world: &World, ran: &Ran, what: &str) {
    assert!(
        matches!(ran.code, 1 | 3),
        "{what}: {}\n{}",
        ran.code,
        ran.stderr
    );
    // libgit2 does not always say why.
    let why = ["No space left on device", "is the disk full?"];
    let said = why.iter().any(|why| ran.stderr.contains(why));
    assert!(said, "{what}: {}", ran.stderr);
    let place = ran.stderr.contains(".shipline");
    assert!(
        place || ran.stderr.contains("(`sh "),
        "{what}: {}",
        ran.stderr
    );
    for layout in ["store", "registry"] {
        let layout = world.repository().join(".shipline").join(layout);
        for entry in entries(&layout.join("blobs/sha256")) {
            let bytes = std::fs::read(&entry).unwrap();
            let digest = shipline_oci::image::digest_of(&bytes);
            assert!(entry.ends_with(digest.hex()), "{what}: {}", entry.display());
        }
        let half = entries(&layout.join("tmp"));
        assert!(half.is_empty(), "{what}: {half:?}");
    }
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_disk_that_is_full_anywhere_in_a_run_is_said_and_the_next_run_completes() {
    let test = "a_disk_that_is_full_anywhere_in_a_run_is_said_and_the_next_run_completes";
    let world = world();
    let mut stopped: BTreeSet<&str> = BTreeSet::new();
    // Each page more lets the run come a little further.
    for kib in (16..).step_by(PAGE) {
        let Some(disk) = disk(test, &world, kib) else {
            return;
        };
        let ran = world.run(&["pipeline", "web"]);
        if ran.code == 0 {
            break;
        }
        assert_stopped(&world, &ran, &format!("{kib} KiB"));
        stopped.extend(STAGES.iter().filter(|stage| ran.stderr.contains(**stage)));
        disk.grow(ROOM);
        let _ = world.run(&["pipeline", "web"]).expect(0);
        assert_whole(&world);
    }
    assert_eq!(stopped.len(), STAGES.len(), "{stopped:?}");
}

/// What the runs of a disk that is full anywhere must have come to, one after the other.
const STAGES: &[&str] = &[
    "failed to create the GitOps repository",
    "unit-tests/web failed",
    "build/web@staging failed",
    "build/web@production failed",
    "push failed",
    "gitops failed",
];

/// Both images are in the registry, staging runs one of them, and nothing is left of what could not be written.
#[track_caller]
fn assert_whole(world: &World) {
    let tags = tiny::tags(world);
    assert_eq!(tags.len(), 2, "{tags:?}");
    let deployed = format!("web:{}", tiny::declared_tag(world, "staging", "web"));
    assert!(tags.iter().any(|(name, _)| *name == deployed), "{tags:?}");
    for (name, digest) in &tags {
        assert_eq!(tiny::image_files(world, digest).len(), 2, "{name}");
    }
    tiny::gitops(world, &["fsck", "--full", "--strict"]);
    tiny::assert_no_leftovers(&world.repository().join(".shipline"));
}

#[test]
fn a_disk_that_is_full_while_a_base_image_is_pulled() {
    let test = "a_disk_that_is_full_while_a_base_image_is_pulled";
    if !needs::programs(test, &["skopeo"]) {
        return;
    }
    let Some(registry) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let base = format!("{}/base:1", registry.host());
    push_base(&base);

    let world = world();
    let dockerfile = format!("FROM {base}\nCOPY out/message.txt /message.txt\n");
    world.write("api/Dockerfile", &dockerfile);
    world.commit("Stand on a base image");
    let Some(disk) = disk(test, &world, 700) else {
        return;
    };
    let command = ["pipeline", "backend", "--component", "api"];
    let ran = world.run(&command);
    assert_stopped(&world, &ran, "a base image of a megabyte");
    assert!(ran.stderr.contains("free some space"), "{}", ran.stderr);
    disk.grow(ROOM);
    tiny::green(&world, &command);
    let tags = tiny::tags(&world);
    assert!(tiny::image_files(&world, &tags[0].1).len() > 1, "{tags:?}");
}

/// An image with a layer of a megabyte, in a registry.
fn push_base(name: &str) {
    let world = world();
    world.write("web/style.css", &tiny::noise(1, 1 << 20));
    world.commit("Edit");
    tiny::green(&world, &["pipeline", "web"]);
    let (image, _) = tiny::tags(&world).remove(0);
    let copied = world
        .command("skopeo")
        .args(["copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("oci:.shipline/registry:{image}"))
        .arg(format!("docker://{name}"))
        .output()
        .unwrap();
    assert!(
        copied.status.success(),
        "{}",
        String::from_utf8_lossy(&copied.stderr)
    );
}

#[test]
fn a_disk_that_is_full_while_docker_exports() {
    let test = "a_disk_that_is_full_while_docker_exports";
    if !needs::docker(test) || !needs::file(test, Path::new("/bin/busybox")) {
        return;
    }
    let world = world();
    let images = EngineImages::new("disk");
    let name = images.component();
    tiny::rename(&world, "api", name);
    world.write(
        &format!("{name}/Dockerfile"),
        "FROM scratch\nCOPY out/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"dd\", \"if=/dev/urandom\", \"of=/noise\", \"bs=1M\", \"count=8\"]\n",
    );
    world.write(
        &format!("{name}/build.sh"),
        "set -eu\nmkdir -p out\ncp /bin/busybox out/busybox\n",
    );
    world.commit("Need an engine");
    let Some(disk) = disk(test, &world, 6 << 10) else {
        return;
    };
    let command = ["pipeline", "backend", "--component", name];
    let ran = world.run(&command);
    assert_stopped(&world, &ran, "an image of eight megabytes");
    assert!(ran.stderr.contains("free some space"), "{}", ran.stderr);
    disk.grow(ROOM);
    tiny::green(&world, &command);
    let tags = tiny::tags(&world);
    let files = tiny::image_bytes(&world, &tags[0].1);
    assert!(
        files
            .iter()
            .any(|(path, bytes)| path == "noise" && bytes.len() == 8 << 20),
        "{tags:?}"
    );
}
