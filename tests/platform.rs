//! The sample platform of the repository itself: both pipelines from a fresh clone, then its images on a real engine, then the
//! same images through registries, then what a change costs.
//!
//! One test, because its parts follow one another and cost minutes: what the first has built, the others take.

mod changes;
mod containers;
mod publishing;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use shipline_testkit::needs;
use shipline_testkit::tiny;
use shipline_testkit::world::World;

use containers::output;

/// The six services and their ports.
const SERVICES: &[(&str, u16)] = &[
    ("user_service", 8001),
    ("service_management", 8002),
    ("appointment_service", 8003),
    ("staff_management", 8004),
    ("notification_service", 8005),
    ("reports_analytics", 8006),
];

const STAGING: &str = "https://staging.aurora-glam.com/api/";
const PRODUCTION: &str = "https://aurora-glam.com/api/";

#[test]
fn the_sample_platform_ships() {
    if !needs::programs("the_sample_platform_ships", &["npm", "node"]) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let world = World::clone_of(env!("CARGO_BIN_EXE_shipline"), &root);

    timed("frontend, first run", || {
        tiny::green(&world, &["pipeline", "frontend"]);
    });
    frontend_images(&world);
    let numbers = tiny::gitops(&world, &["show", "--numstat", "--format=", "main"]);
    assert_eq!(numbers, "1\t1\tstaging/frontend/deployment.yaml");

    timed("backend, first run", || {
        tiny::green(&world, &["pipeline", "backend"]);
    });
    let numbers = tiny::gitops(&world, &["show", "--numstat", "--format=", "main"]);
    let mut lines: Vec<&str> = numbers.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = SERVICES
        .iter()
        .map(|(service, _)| format!("1\t1\tstaging/{service}/deployment.yaml"))
        .collect();
    expected.sort();
    assert_eq!(lines, expected);
    let tags = tiny::tags(&world);
    assert_eq!(
        tags.len(),
        8,
        "two images of the frontend and one of each service: {tags:#?}"
    );

    timed("nothing to do", || nothing_to_do(&world));
    every_image_can_be_read(&world, &tags);
    timed("containers", || every_image_runs(&world, &tags));
    publishing::both_pipelines_publish_what_is_built(&world, &tags);
    timed("a change in one service", || {
        changes::a_change_in_one_service_runs_that_service_alone(&world);
    });
    timed("a change in the shared crate, planned", || {
        changes::a_change_in_the_shared_crate_runs_all_six(&world);
    });
    timed("a changed page", || {
        changes::a_changed_page_reuses_every_other_layer(&world);
    });
}

/// Does a part of the test and says how long it took: it is the longest test of all.
#[allow(clippy::print_stderr, reason = "a line for the log of the tests")]
fn timed<T>(what: &str, part: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = part();
    eprintln!("sample: {what}: {:.1} s", start.elapsed().as_secs_f32());
    result
}

/// The port on which a component listens.
fn port(component: &str) -> u16 {
    let mut services = SERVICES.iter();
    services
        .find(|(service, _)| *service == component)
        .map_or(3000, |(_, port)| *port)
}

fn frontend_images(world: &World) {
    let head = world.git(&["rev-parse", "HEAD"]);
    let tags: BTreeMap<String, String> = tiny::tags(world).into_iter().collect();
    let names: Vec<&String> = tags.keys().collect();
    let [production, staging] = names.as_slice() else {
        panic!("two images, not {names:?}")
    };
    assert_eq!(
        production.replace("frontend:", "frontend:staging-"),
        **staging
    );
    assert!(
        production.starts_with(&format!("frontend:{}-", &head[..8])),
        "{production}"
    );
    for (name, digest) in &tags {
        let (own, other) = if name.contains(":staging-") {
            (STAGING, PRODUCTION)
        } else {
            (PRODUCTION, STAGING)
        };
        let files = tiny::image_bytes(world, digest);
        let holds = |needle: &str| {
            files.iter().any(|(_, bytes)| {
                bytes
                    .windows(needle.len())
                    .any(|window| window == needle.as_bytes())
            })
        };
        assert!(holds(own), "{name} does not hold {own}");
        assert!(!holds(other), "{name} holds {other}");
    }
}

fn nothing_to_do(world: &World) {
    let before = (tiny::tags(world), tiny::commits(world));
    for pipeline in ["frontend", "backend"] {
        let run = tiny::green(world, &["pipeline", pipeline]);
        assert!(
            run.stderr.contains("no component is affected"),
            "{}",
            run.stderr
        );
    }
    assert_eq!((tiny::tags(world), tiny::commits(world)), before);
}

fn every_image_can_be_read(world: &World, tags: &[(String, String)]) {
    if !needs::programs("every_image_can_be_read", &["skopeo"]) {
        return;
    }
    for (name, digest) in tags {
        let inspected = output(
            world
                .command("skopeo")
                .args(["inspect", &format!("oci:.shipline/registry:{name}")]),
        );
        assert!(inspected.contains(digest), "{name}: {inspected}");
    }
}

fn every_image_runs(world: &World, tags: &[(String, String)]) {
    if !needs::docker("every_image_runs") || !needs::programs("every_image_runs", &["skopeo"]) {
        return;
    }
    for (position, (name, _)) in tags.iter().enumerate() {
        let component = name.split(':').next().unwrap();
        let local = format!("shipline.local/sample:{}-{position}", std::process::id());
        let _ = output(world.command("skopeo").args([
            "copy",
            "--quiet",
            &format!("oci:.shipline/registry:{name}"),
            &format!("docker-daemon:{local}"),
        ]));
        containers::assert_runs(world, &local, component);
    }
}
