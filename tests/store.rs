//! `store show` and `store gc`: what is needed stays, what is not goes, and the next run works all the same.

use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn blobs(world: &World) -> Vec<String> {
    let folder = world.repository().join(".shipline/store/blobs/sha256");
    let mut blobs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    blobs.sort();
    blobs
}

/// A world in which the web component was built twice, from two commits.
fn built_twice() -> (World, Vec<(String, String)>) {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let first = tiny::tags(&world);
    world.write("web/more.txt", "more\n");
    world.replace("web/Dockerfile", "USER", "COPY more.txt /more.txt\nUSER");
    world.commit("Add a file");
    tiny::green(&world, &["pipeline", "web"]);
    (world, first)
}

/// Forgets the runs' release sets, which would keep everything.
fn forget_runs(world: &World) {
    std::fs::remove_dir_all(world.repository().join(".shipline/runs")).unwrap();
}

#[test]
fn what_is_needed_stays_and_the_rest_goes() {
    let (world, _) = built_twice();
    let all = blobs(&world);
    let shown = world.run(&["store", "show"]).expect(0).stdout;
    assert!(
        shown.contains("web@staging") && shown.contains("would remove nothing"),
        "{shown}"
    );
    let young = world.run(&["store", "gc"]).expect(0);
    assert!(young.stderr.starts_with("freed 0 B"), "{}", young.stderr);
    assert_eq!(blobs(&world), all);
    // Release sets of the last runs count however old they are; documents about images are made again when they are wanted.
    let _ = world.run(&["store", "gc", "--older-than", "0s"]).expect(0);
    let all = blobs(&world);
    for (name, digest) in tiny::tags(&world) {
        let hex = digest.trim_start_matches("sha256:");
        assert!(all.iter().any(|blob| blob == hex), "{name} is gone");
    }

    forget_runs(&world);
    let dry = world
        .run(&["store", "gc", "--older-than", "0s", "--dry-run"])
        .expect(0);
    assert!(dry.stderr.starts_with("would free"), "{}", dry.stderr);
    assert_eq!(blobs(&world), all);
    let gone = world.run(&["store", "gc", "--older-than", "0s"]).expect(0);
    assert!(
        gone.stderr.contains("1 build that nothing needs"),
        "{}",
        gone.stderr
    );
    assert_eq!(
        gone.stderr
            .split(" in ")
            .next()
            .unwrap()
            .replace("freed", ""),
        dry.stderr
            .split(" in ")
            .next()
            .unwrap()
            .replace("would free", ""),
        "what was announced went"
    );
    let left = blobs(&world);
    assert!(left.len() < all.len());
    // Both images of the last build are whole, and nothing is built anew.
    let again = tiny::green(&world, &["pipeline", "web", "--all"]);
    assert!(again.stderr.contains("cached"), "{}", again.stderr);
    assert_eq!(blobs(&world), left);
    let usage = world
        .run(&["store", "gc", "--older-than", "soon"])
        .expect(2);
    assert!(usage.stderr.contains("14d"), "{}", usage.stderr);
}

#[test]
fn after_a_collection_the_same_sources_give_the_same_digests() {
    let (world, first) = built_twice();
    forget_runs(&world);
    let _ = world.run(&["store", "gc", "--older-than", "0s"]).expect(0);
    world.git(&["checkout", "--quiet", "HEAD~1"]);
    tiny::green(&world, &["pipeline", "web", "--all"]);
    let digest = |tags: &[(String, String)], name: &str| {
        tags.iter()
            .filter(|(tag, _)| tag.starts_with(name))
            .map(|(_, digest)| digest.clone())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let now = tiny::tags(&world);
    for name in ["web:staging-", "web:"] {
        let (before, after) = (digest(&first, name), digest(&now, name));
        assert!(
            before.is_subset(&after),
            "{name}: {before:?} is not in {after:?}"
        );
    }
    // First build, second build, and the first one again under a tag of its own: two images for each variant.
    assert_eq!(digest(&now, "web:").len(), 4, "{now:#?}");
    tiny::assert_no_leftovers(&world.repository().join(".shipline/store"));
}

#[test]
fn a_collection_that_is_killed_leaves_a_store_that_works() {
    let mut killed = 0;
    for nth in 1..100 {
        let (world, _) = built_twice();
        forget_runs(&world);
        let fault = format!("store-collected:{nth}");
        let run = world.run_with(
            &["store", "gc", "--older-than", "0s"],
            &[("SHIPLINE_FAULT", &fault)],
        );
        if run.code == 0 {
            break;
        }
        assert_eq!(run.code, 137, "{}", run.stderr);
        killed += 1;
        tiny::green(&world, &["pipeline", "web", "--all"]);
        world.git(&["checkout", "--quiet", "HEAD~1"]);
        tiny::green(&world, &["pipeline", "web", "--all"]);
        let _ = world.run(&["store", "gc", "--older-than", "0s"]).expect(0);
        tiny::green(&world, &["pipeline", "web", "--all"]);
    }
    assert!(killed > 3, "{killed}");
}

#[test]
fn a_run_is_not_disturbed() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write("web/test.sh", "echo ready > cache/ready; sleep 600\n");
    world.commit("Test for a long time");
    let mut running = world.start(&["pipeline", "web"]);
    let ready = world.repository().join(".shipline/work/web/cache/ready");
    while !ready.exists() {
        assert!(running.try_wait().unwrap().is_none(), "the run ended");
        std::thread::yield_now();
    }
    let refused = world.run(&["store", "gc", "--no-wait"]).expect(3);
    assert!(
        refused.stderr.contains("pipeline web"),
        "who holds it is told: {}",
        refused.stderr
    );
    let _ = running.kill();
    let _ = running.wait();
}

#[test]
fn old_run_records_go_where_that_is_asked_for() {
    let (world, _) = built_twice();
    let runs = || {
        let listed = world.run(&["runs", "list"]).expect(0).stdout;
        listed.lines().count()
    };
    assert_eq!(runs(), 2);
    let gone = world.run(&["store", "gc", "--keep-runs", "1"]).expect(0);
    assert!(gone.stderr.contains("1 run record"), "{}", gone.stderr);
    assert_eq!(runs(), 1);
}
