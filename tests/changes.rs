//! What a change affects, and what it does not.

use std::os::unix::fs::PermissionsExt as _;

use shipline_testkit::tiny;

#[test]
fn a_change_in_one_service_runs_that_service_alone() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    let worker = tiny::declared(&world, "staging", "worker");
    world.write("api/name.txt", "api, second edition\n");
    let head = world.commit("Change api");
    let run = tiny::green(&world, &["pipeline", "backend"]);
    assert!(!run.stderr.contains("unit-tests/worker"), "{}", run.stderr);
    assert_eq!(tiny::declared(&world, "staging", "worker"), worker);
    assert!(tiny::declared_tag(&world, "staging", "api").starts_with(&head[..8]));
}

#[test]
fn a_change_in_shared_code_runs_all_that_use_it() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    world.write("lib/greeting.txt", "good evening from\n");
    let head = world.commit("Change lib");
    tiny::green(&world, &["pipeline", "backend"]);
    for service in ["api", "worker"] {
        assert!(
            tiny::declared_tag(&world, "staging", service).starts_with(&head[..8]),
            "{service}"
        );
    }
}

#[test]
fn failed_work_stays_affected() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    world.write("api/test.sh", "exit 1\n");
    world.commit("Break api");
    let _ = world.run(&["pipeline", "backend"]).expect(1);
    world.write("worker/name.txt", "worker, second edition\n");
    world.commit("Change worker");
    let run = world.run(&["pipeline", "backend"]).expect(1);
    assert!(
        run.stderr.contains("unit-tests/api"),
        "api was red and must run again: {}",
        run.stderr
    );
}

#[test]
fn a_changed_page_reuses_every_other_layer() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let staging = |tags: Vec<(String, String)>, tag: &str| {
        tags.into_iter()
            .find(|(name, _)| name.ends_with(tag))
            .unwrap()
            .1
    };
    let before = tiny::layers(
        &world,
        &staging(
            tiny::tags(&world),
            &tiny::declared_tag(&world, "staging", "web"),
        ),
    );
    world.replace("web/index.html", "</script>", "</script>\n<p>New</p>");
    world.commit("Change the page");
    tiny::green(&world, &["pipeline", "web"]);
    let after = tiny::layers(
        &world,
        &staging(
            tiny::tags(&world),
            &tiny::declared_tag(&world, "staging", "web"),
        ),
    );
    assert_eq!(before.len(), after.len());
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(old, new)| old != new)
        .count();
    assert_eq!(changed, 1, "{before:?} {after:?}");
}

#[test]
fn a_dirty_tree_is_built_as_it_is_and_says_so() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    world.replace("web/index.html", "</script>", "</script>\n<p>Draft</p>");
    let run = tiny::green(&world, &["pipeline", "web"]);
    assert!(run.stderr.contains("web/index.html"), "{}", run.stderr);
    let tag = tiny::declared_tag(&world, "staging", "web");
    assert!(tag.ends_with("-dirty"), "{tag}");
    world.git(&["checkout", "--quiet", "."]);
    tiny::green(&world, &["pipeline", "web"]);
    assert!(!tiny::declared_tag(&world, "staging", "web").ends_with("-dirty"));
}

#[test]
fn explain_names_file_rule_and_component() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    world.write("lib/greeting.txt", "good evening from\n");
    world.commit("Change lib");
    let api = world.run(&["explain", "backend", "api"]).expect(0).stdout;
    for wanted in ["lib/greeting.txt", "uses", "staging"] {
        assert!(api.contains(wanted), "{wanted} is not in:\n{api}");
    }
    let plan = world.run(&["plan", "backend"]).expect(0).stdout;
    assert!(plan.contains("api") && plan.contains("worker"), "{plan}");
    assert!(
        !world
            .repository()
            .join(".shipline/work/lib")
            .join("nothing")
            .exists()
    );
}

#[test]
fn what_is_no_repository_is_told_plainly() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    std::fs::remove_dir_all(world.repository().join(".git")).unwrap();
    let run = world.run(&["pipeline", "web"]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("git"), "{}", run.stderr);

    world.git(&["init", "--quiet", "--initial-branch=main"]);
    let run = world.run(&["pipeline", "web"]);
    assert_ne!(run.code, 0);
    assert!(
        run.stderr.contains("commit"),
        "an unborn branch asks for a commit: {}",
        run.stderr
    );
}

#[test]
fn a_shallow_clone_runs_everything_and_says_why() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    world.write("api/name.txt", "api, second edition\n");
    world.commit("Change api");
    let clone = world.path("shallow");
    let url = format!("file://{}", world.repository().display());
    world.git(&[
        "clone",
        "--quiet",
        "--depth=1",
        &url,
        &clone.display().to_string(),
    ]);
    let from = world.repository().join(".shipline/gitops.git");
    std::fs::create_dir_all(clone.join(".shipline")).unwrap();
    shipline_testkit::world::copy(&from, &clone.join(".shipline/gitops.git"));
    let plan = world
        .run(&["-C", &clone.display().to_string(), "plan", "backend"])
        .expect(0);
    let all = format!("{}{}", plan.stdout, plan.stderr);
    assert!(all.contains("shallow"), "{all}");
    assert!(
        all.contains("unit-tests/worker"),
        "unknown means affected: {all}"
    );
}

#[test]
fn versions_of_tools_and_files_that_pick_them_decide_what_is_cached() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.replace(
        "pipeline.yaml",
        "    path: api\n    uses: [lib]\n    tools: []\n",
        "    path: api\n    uses: [lib]\n    tools: [node]\n",
    );
    world.write(".node-version", "20\n");
    world.commit("Pick a release");
    let node = |version: &str| {
        let path = world.path("home/node");
        std::fs::write(&path, format!("#!/bin/sh\necho {version}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    node("v20.1.0");
    let path = format!(
        "{}:{}",
        world.path("home").display(),
        std::env::var("PATH").unwrap()
    );
    let run = |arguments: &[&str]| world.run_with(arguments, &[("PATH", &path)]).expect(0);
    let cached = |plan: &str, task: &str| {
        let line = plan.lines().find(|line| line.contains(task));
        line.is_some_and(|line| line.contains("cached"))
    };
    let (api, worker) = ("unit-tests/api", "unit-tests/worker");
    let all = || {
        let plan = run(&["plan", "backend", "--all"]).stdout;
        (cached(&plan, api), cached(&plan, worker))
    };
    let _ = run(&["pipeline", "backend"]);
    assert_eq!(all(), (true, true));
    node("v20.2.0");
    assert_eq!(all(), (false, true));
    node("v20.1.0");
    assert_eq!(all(), (true, true));
    world.write(".node-version", "22\n");
    world.commit("Pick another release");
    assert_eq!(all(), (false, false));
}
