//! The sample platform of the repository itself: both pipelines from a fresh clone, then its images on a real engine.
//!
//! One test, because its parts follow one another and cost minutes: pipelines, images, second runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use shipline_testkit::needs;
use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

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

    let _ = tiny::green(&world, &["pipeline", "frontend"]);
    frontend_images(&world);
    let numbers = tiny::gitops(&world, &["show", "--numstat", "--format=", "main"]);
    assert_eq!(numbers, "1\t1\tstaging/frontend/deployment.yaml");

    let _ = tiny::green(&world, &["pipeline", "backend"]);
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

    nothing_to_do(&world);
    every_image_can_be_read(&world, &tags);
    every_image_runs(&world, &tags);
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
        let port = SERVICES
            .iter()
            .find(|(service, _)| *service == component)
            .map_or(3000, |(_, port)| *port);
        let image = format!("docker-daemon:shipline.local/sample:{position}");
        let _ = output(world.command("skopeo").args([
            "copy",
            "--quiet",
            &format!("oci:.shipline/registry:{name}"),
            &image,
        ]));
        let container = Container::start(world, &format!("shipline.local/sample:{position}"), port);
        let body = container.get(world, "/health");
        assert!(body.starts_with("HTTP/1.1 200"), "{name}: {body}");
        if component == "frontend" {
            let page = container.get(world, "/");
            assert!(
                page.starts_with("HTTP/1.1 200") && page.contains("<html"),
                "{name}: {page}"
            );
        }
    }
}

/// A running container; it is removed when this is dropped.
struct Container {
    id: String,
    address: String,
}

impl Container {
    fn start(world: &World, image: &str, port: u16) -> Self {
        let id = output(world.command("docker").args([
            "run",
            "--detach",
            "--read-only",
            "--publish",
            &format!("127.0.0.1::{port}"),
            image,
        ]));
        let address = output(
            world
                .command("docker")
                .args(["port", &id, &format!("{port}/tcp")]),
        );
        Self {
            id,
            address: address.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// Asks until the container listens.
    fn get(&self, world: &World, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let mut answer = String::new();
            let asked = std::net::TcpStream::connect(&self.address).and_then(|mut stream| {
                write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )?;
                stream.read_to_string(&mut answer)
            });
            if asked.is_ok() && !answer.is_empty() {
                return answer;
            }
            if std::time::Instant::now() > deadline {
                let logs = world
                    .command("docker")
                    .args(["logs", &self.id])
                    .output()
                    .unwrap();
                panic!(
                    "no answer from {}: {asked:?} {}",
                    self.address,
                    String::from_utf8_lossy(&logs.stderr)
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.id])
            .output();
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    ran.expect(0).stdout
}
