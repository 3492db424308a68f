//! Pipelines with a real registry and a GitOps repository behind a URL: ECR (the fake) and `docker-registry`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use shipline_testkit::ecr::{Effect, Fault, LoggedRequest, When};
use shipline_testkit::remote::{Ecr, RemoteRegistry};
use shipline_testkit::tiny::RemoteTiny;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shipline");

#[test]
fn ecr_gets_all_images_and_then_all_tags() {
    let tiny = RemoteTiny::ecr(PROGRAM);
    let RemoteRegistry::Ecr(ecr) = &tiny.registry else {
        unreachable!("this is ECR")
    };
    let fake = ecr.fake();
    let stop = AtomicBool::new(false);
    // A reader of the registry that looks all the time: every tag that it ever sees must name a whole image.
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::SeqCst) {
                seen.insert((fake.all_tags().len(), fake.broken()));
                std::thread::yield_now();
            }
            seen
        });
        for pipeline in ["web", "backend"] {
            let _ = tiny
                .world
                .run(&["pipeline", pipeline, "--profile", "ci"])
                .expect(0);
        }
        stop.store(true, Ordering::SeqCst);
        watcher.join().unwrap()
    });
    assert!(
        seen.iter().all(|(_, broken)| broken.is_empty()),
        "{seen:#?}"
    );
    assert_eq!(fake.all_tags().len(), 4, "{:?}", fake.all_tags());

    tiny.assert_complete();
    let log = fake.log();
    let manifest = |digest: bool| {
        move |request: &&LoggedRequest| {
            request.method == "PUT"
                && request.target.contains("/manifests/")
                && request.target.contains("sha256:") == digest
        }
    };
    let is_tag =
        |request: &&LoggedRequest| request.target.contains("#PutImage") || manifest(false)(request);
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

    let again = tiny
        .world
        .run(&["pipeline", "web", "--profile", "ci", "--all"])
        .expect(0);
    assert_eq!(fake.all_tags().len(), 4, "{}", again.stderr);
}

#[test]
fn a_repository_that_is_missing_stops_the_run_before_anything_is_built() {
    let tiny = RemoteTiny::new(PROGRAM, RemoteRegistry::Ecr(Ecr::start(&[])));
    let run = tiny.world.run(&["pipeline", "backend", "--profile", "ci"]);
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
    let Some(registry) = RemoteRegistry::docker() else {
        return;
    };
    let tiny = RemoteTiny::new(PROGRAM, registry);
    for pipeline in ["web", "backend"] {
        let _ = tiny
            .world
            .run(&["pipeline", pipeline, "--profile", "ci"])
            .expect(0);
    }
    tiny.assert_complete();
    let wrong = tiny.world.run_with(
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

#[test]
fn a_registry_that_always_fails_is_asked_by_one_layer_only() {
    let tiny = RemoteTiny::ecr(PROGRAM);
    let RemoteRegistry::Ecr(ecr) = &tiny.registry else {
        unreachable!("this is ECR")
    };
    ecr.fake().arm(Fault {
        when: When::Matching {
            method: "PUT".to_owned(),
            target: "/manifests/".to_owned(),
            times: u32::MAX,
        },
        effect: Effect::Refuse {
            status: 503,
            retry_after: Some(0),
        },
    });
    let run = tiny.world.run(&["pipeline", "web", "--profile", "ci"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("PUT http://127.0.0.1"),
        "method and URL are named: {}",
        run.stderr
    );
    let log = ecr.fake().log();
    let puts = log
        .iter()
        .filter(|entry| entry.method == "PUT" && entry.target.contains("/manifests/"));
    assert_eq!(puts.count(), 6, "{log:#?}");
}

#[test]
fn a_ca_that_leads_out_of_the_repository_is_refused() {
    let Some(registry) = RemoteRegistry::docker() else {
        return;
    };
    let RemoteRegistry::Docker(server) = &registry else {
        unreachable!("this is a docker-registry")
    };
    let outside = server.ca();
    let tiny = RemoteTiny::new(PROGRAM, registry);
    let named = format!("ca: \"{}\"", outside.display());
    tiny.world.replace("pipeline.yaml", &named, "ca: ca.pem");
    let check = |part: &str| {
        tiny.world.commit("ca");
        let run = tiny.world.run(&["pipeline", "web", "--profile", "ci"]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    };
    check("failed to read the certificates in");
    let link = tiny.world.repository().join("ca.pem");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    check("leads out of the repository");
    std::fs::remove_file(&link).unwrap();
    std::fs::copy(&outside, &link).unwrap();
    tiny.world.commit("ca");
    let _ = tiny
        .world
        .run(&["pipeline", "web", "--profile", "ci"])
        .expect(0);
}
