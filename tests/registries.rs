//! Pipelines with a real registry and a GitOps repository behind a URL: ECR (the fake) and `docker-registry`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shipline_testkit::ecr::{FakeEcr, Mutability, Options};
use shipline_testkit::service::{DockerRegistry, RegistryAccess};
use shipline_testkit::tiny;
use shipline_testkit::world::World;
use tokio::runtime::Runtime;

/// A world with the profile `ci`, whose GitOps repository is a bare one in the world, reached by URL.
fn world(registry: &str) -> (World, PathBuf) {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let gitops = world.path("salon-gitops.git");
    let seed = world.path("seed");
    shipline_testkit::world::copy(&world.repository().join("gitops"), &seed);
    let seed = seed.display().to_string();
    let bare = gitops.display().to_string();
    world.git(&["-C", &seed, "init", "--quiet", "--initial-branch=main"]);
    world.git(&["-C", &seed, "add", "--all"]);
    world.git(&["-C", &seed, "commit", "--quiet", "--message", "Begin"]);
    world.git(&["clone", "--quiet", "--bare", &seed, &bare]);
    let profile = format!(
        "  ci:\n    registry: {registry}\n    gitops: {{ url: \"file://{bare}\", branch: main }}\n\ncomponents:\n"
    );
    world.replace("pipeline.yaml", "\ncomponents:\n", &profile);
    world.commit("Add the profile ci");
    (world, gitops)
}

fn declared(world: &World, gitops: &std::path::Path, component: &str) -> String {
    let text = world.git(&[
        "--git-dir",
        &gitops.display().to_string(),
        "show",
        &format!("main:staging/{component}/deployment.yaml"),
    ]);
    let line = text.lines().find(|line| line.contains("image: ")).unwrap();
    line.trim()
        .trim_start_matches("image: ")
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

fn ecr(runtime: &Runtime) -> FakeEcr {
    let fake = runtime
        .block_on(FakeEcr::start(Options::default()))
        .unwrap();
    for repository in ["web", "api", "worker"] {
        fake.create(repository, Mutability::Immutable);
    }
    fake
}

fn ecr_spec(fake: &FakeEcr) -> String {
    let url = fake.url();
    format!(
        "{{ ecr: {{ account: \"123456789012\", region: us-east-1, endpoint: \"{url}\", registry_endpoint: \"{url}\" }} }}"
    )
}

/// Credentials by environment, and no question to instance metadata.
const AWS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
    ("AWS_SECRET_ACCESS_KEY", "of-the-tests"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

#[test]
fn ecr_gets_all_images_and_then_all_tags() {
    let runtime = Runtime::new().unwrap();
    let fake = Arc::new(ecr(&runtime));
    let (world, gitops) = world(&ecr_spec(&fake));
    let stop = Arc::new(AtomicBool::new(false));
    // A reader of the registry that looks all the time: every tag that it ever sees must name a whole image.
    let watcher = {
        let (fake, stop) = (Arc::clone(&fake), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::SeqCst) {
                seen.insert((fake.all_tags().len(), fake.broken()));
                std::thread::yield_now();
            }
            seen
        })
    };
    for pipeline in ["web", "backend"] {
        let _ = world
            .run_with(&["pipeline", pipeline, "--profile", "ci"], AWS)
            .expect(0);
    }
    stop.store(true, Ordering::SeqCst);
    let seen = watcher.join().unwrap();
    assert!(
        seen.iter().all(|(_, broken)| broken.is_empty()),
        "{seen:#?}"
    );
    assert_eq!(fake.all_tags().len(), 4, "{:?}", fake.all_tags());

    for component in ["web", "api", "worker"] {
        let image = declared(&world, &gitops, component);
        let (name, tag) = image.rsplit_once(':').unwrap();
        assert_eq!(
            name,
            format!("123456789012.dkr.ecr.us-east-1.amazonaws.com/{component}")
        );
        assert!(
            fake.tag(component, tag).is_some(),
            "{image} is deployed and not in the registry"
        );
    }
    let log = fake.log();
    let manifest = |digest: bool| {
        move |request: &&shipline_testkit::ecr::LoggedRequest| {
            request.method == "PUT"
                && request.target.contains("/manifests/")
                && request.target.contains("sha256:") == digest
        }
    };
    let is_tag = |request: &&shipline_testkit::ecr::LoggedRequest| {
        request.target.contains("#PutImage") || manifest(false)(request)
    };
    let web: Vec<_> = log
        .iter()
        .take_while(|request| !request.target.contains("/v2/api/"))
        .collect();
    let first_tag = web.iter().copied().find(is_tag).unwrap().number;
    let last_manifest = web.iter().copied().rfind(manifest(true)).unwrap().number;
    assert!(
        last_manifest < first_tag,
        "a tag moved before every image was there"
    );

    let again = world
        .run_with(&["pipeline", "web", "--profile", "ci", "--all"], AWS)
        .expect(0);
    assert_eq!(fake.all_tags().len(), 4, "{}", again.stderr);
}

#[test]
fn a_repository_that_is_missing_stops_the_run_before_anything_is_built() {
    let runtime = Runtime::new().unwrap();
    let fake = runtime
        .block_on(FakeEcr::start(Options::default()))
        .unwrap();
    let (world, _) = world(&ecr_spec(&fake));
    let run = world.run_with(&["pipeline", "backend", "--profile", "ci"], AWS);
    assert_ne!(run.code, 0);
    assert!(
        run.stderr.contains("api") && run.stderr.contains("worker"),
        "all are named: {}",
        run.stderr
    );
    assert!(!run.stderr.contains("test passed"), "{}", run.stderr);
}

#[test]
fn a_registry_with_tls_and_a_password() {
    let Some(registry) = DockerRegistry::start(RegistryAccess::Protected).unwrap() else {
        return;
    };
    let spec = format!(
        "{{ url: \"{}/team\", ca: \"{}\", username: {}, password: \"${{secret.REGISTRY_PASSWORD}}\" }}",
        registry.host(),
        registry.ca().display(),
        DockerRegistry::USER
    );
    let (world, gitops) = world(&spec);
    let password = [("REGISTRY_PASSWORD", DockerRegistry::PASSWORD)];
    for pipeline in ["web", "backend"] {
        let _ = world
            .run_with(&["pipeline", pipeline, "--profile", "ci"], &password)
            .expect(0);
    }
    let image = declared(&world, &gitops, "web");
    assert!(
        image.starts_with(&format!("{}/team/web:staging-", registry.host())),
        "{image}"
    );
    if !shipline_testkit::needs::programs("a_registry_with_tls_and_a_password", &["skopeo"]) {
        return;
    }
    let certificates = world.path("certificates");
    std::fs::create_dir_all(&certificates).unwrap();
    std::fs::copy(registry.ca(), certificates.join("ca.crt")).unwrap();
    let output = world
        .command("skopeo")
        .args(["inspect", "--cert-dir", &certificates.display().to_string()])
        .arg(format!(
            "--creds={}:{}",
            DockerRegistry::USER,
            DockerRegistry::PASSWORD
        ))
        .arg(format!("docker://{image}"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let wrong = world.run_with(
        &["pipeline", "web", "--profile", "ci", "--all", "--no-cache"],
        &[("REGISTRY_PASSWORD", "wrong")],
    );
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);
    assert!(
        !wrong.stderr.contains("test passed"),
        "credentials are checked before anything runs: {}",
        wrong.stderr
    );
}
