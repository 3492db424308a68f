//! A pipeline from a fresh clone to the deployment commit, and again.

use shipline_testkit::tiny;

#[test]
fn a_first_run_builds_twins_and_changes_one_line() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let head = world.git(&["rev-parse", "HEAD"]);
    tiny::green(&world, &["pipeline", "web"]);

    let tags = tiny::tags(&world);
    let names: Vec<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
    let [production, staging] = names.as_slice() else {
        panic!("two tags, not {names:?}")
    };
    let base = production.strip_prefix("web:").unwrap();
    assert_eq!(*staging, format!("web:staging-{base}"));
    let (commit, instant) = base.split_once('-').unwrap();
    assert_eq!(commit, &head[..8]);
    assert!(
        instant.len() == 14 && instant.bytes().all(|b| b.is_ascii_digit()),
        "{instant}"
    );

    for (name, digest) in &tags {
        let own = if name.contains("staging-") {
            "https://staging.tiny.example/api/users"
        } else {
            "https://tiny.example/api/users"
        };
        let files = tiny::image_files(&world, digest);
        let page = files
            .iter()
            .find(|(path, _)| path == "srv/index.html")
            .unwrap();
        assert!(
            page.1.contains(&format!("\"{own}/me\"")),
            "{name}: {}",
            page.1
        );
    }

    let numbers = tiny::gitops(&world, &["show", "--numstat", "--format=", "main"]);
    assert_eq!(numbers, "1\t1\tstaging/web/deployment.yaml");
    assert_eq!(
        tiny::declared(&world, "staging", "web"),
        format!("registry.tiny.example/web:staging-{base}")
    );
    let message = tiny::gitops(&world, &["log", "-1", "--format=%B", "main"]);
    for wanted in ["web", &head, "Deploy-Id: ", "Run-Id: "] {
        assert!(message.contains(wanted), "{wanted} is not in:\n{message}");
    }
}

#[test]
fn services_go_out_in_one_commit() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "backend"]);
    assert_eq!(tiny::commits(&world), 2);
    let numbers = tiny::gitops(&world, &["show", "--numstat", "--format=", "main"]);
    assert_eq!(
        numbers,
        "1\t1\tstaging/api/deployment.yaml\n1\t1\tstaging/worker/deployment.yaml"
    );
    tiny::green(&world, &["pipeline", "web"]);
    tiny::assert_complete(&world);
}

#[test]
fn a_second_run_does_nothing_and_says_why() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let before = (tiny::tags(&world), tiny::commits(&world));
    let again = tiny::green(&world, &["pipeline", "web"]);
    assert_eq!((tiny::tags(&world), tiny::commits(&world)), before);
    assert!(
        again.stderr.contains("no component is affected"),
        "{}",
        again.stderr
    );
    assert!(
        !again.stderr.contains("test passed"),
        "a test ran again: {}",
        again.stderr
    );
}

#[test]
fn taking_everything_again_uses_what_is_known() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let before = (tiny::tags(&world), tiny::commits(&world));
    let again = tiny::green(&world, &["pipeline", "web", "--all"]);
    assert_eq!(
        (tiny::tags(&world), tiny::commits(&world)),
        before,
        "{}",
        again.stderr
    );
    assert!(
        !again.stderr.contains("test passed"),
        "a test ran again: {}",
        again.stderr
    );
}

#[test]
fn builds_in_one_second_have_tags_of_their_own() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline")).with("SHIPLINE_NOW", "1765802096");
    tiny::green(&world, &["pipeline", "web"]);
    for path in ["a", "b"] {
        let url = format!("https://staging.tiny.example/api/{path}");
        let variables = [("STAGING_API_BASE", url.as_str())];
        let _ = world
            .run_with(&["pipeline", "web", "--all"], &variables)
            .expect(0);
    }
    for text in ["c", "d"] {
        world.write("web/index.html", text);
        tiny::green(&world, &["pipeline", "web"]);
    }
    let mut instants: Vec<String> = tiny::tags(&world)
        .into_iter()
        .filter_map(|(name, _)| Some(name.strip_prefix("web:staging-")?.split_at(9).1.to_owned()))
        .collect();
    instants.sort();
    let expected = [
        "20251215123456",
        "20251215123457",
        "20251215123458",
        "20251215123459-dirty",
        "20251215123500-dirty",
    ];
    assert_eq!(instants, expected);
}

#[test]
fn after_a_tag_that_names_another_image_the_next_run_makes_new_ones() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let run = |now: &str| {
        let arguments = ["pipeline", "web", "--all"];
        world.run_with(&arguments, &[("SHIPLINE_NOW", now)])
    };
    let _ = run("1765802096").expect(0);
    let tags = tiny::tags(&world);
    let (production, staging) = (&tags[0], &tags[1]);
    // As if somebody else's build had got the tag.
    world.replace(".shipline/registry/index.json", &staging.1, &production.1);
    let refused = run("1765802196").expect(1);
    assert!(
        refused.stderr.contains("a new run makes new tags"),
        "{}",
        refused.stderr
    );
    let _ = run("1765802296").expect(0);
    assert!(
        tiny::declared_tag(&world, "staging", "web").ends_with("-20251215123816"),
        "{:#?}",
        tiny::tags(&world)
    );
}

#[test]
fn a_failing_test_publishes_nothing() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write(
        "api/test.sh",
        "echo 'api: assertion failed: 1 + 1 = 3'\nexit 7\n",
    );
    world.commit("Break api");
    let run = world
        .run(&["pipeline", "backend", "--keep-going"])
        .expect(1);
    assert!(tiny::tags(&world).is_empty());
    assert_eq!(tiny::commits(&world), 1, "only the seed");
    let tail = run.stderr.rsplit("unit-tests/api").next().unwrap();
    assert!(
        run.stderr.contains("api: assertion failed: 1 + 1 = 3"),
        "{}",
        run.stderr
    );
    assert!(
        tail.contains("shipline pipeline backend"),
        "the command to repeat comes last: {}",
        run.stderr
    );
    assert!(
        run.stderr.contains("worker: 1 test passed"),
        "--keep-going finishes the others: {}",
        run.stderr
    );

    world.write("api/test.sh", "echo 'api: 1 test passed'\n");
    world.commit("Mend api");
    let run = tiny::green(&world, &["pipeline", "backend"]);
    assert_eq!(tiny::commits(&world), 2);
    assert!(
        !run.stderr.contains("worker: 1 test passed"),
        "a pass is taken from the cache: {}",
        run.stderr
    );
}

#[test]
fn two_clones_under_two_umasks_give_the_same_digests() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline")).with("SHIPLINE_NOW", "1765802096");
    tiny::green(&world, &["pipeline", "web"]);
    let mine = tiny::tags(&world);

    let clone = world.path("elsewhere/clone");
    std::fs::create_dir_all(clone.parent().unwrap()).unwrap();
    world.git(&["clone", "--quiet", ".", &clone.display().to_string()]);
    let script = format!(
        "umask 077 && exec \"{}\" -C \"$1\" pipeline web",
        env!("CARGO_BIN_EXE_shipline")
    );
    let output = world
        .command("sh")
        .args(["-c", &script, "sh", &clone.display().to_string()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let index = std::fs::read_to_string(clone.join(".shipline/registry/index.json")).unwrap();
    for (name, digest) in mine {
        assert!(
            index.contains(&digest),
            "{name} differs: {digest} is not in {index}"
        );
    }
}

#[test]
fn one_run_at_a_time_in_a_clone() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write(
        "web/test.sh",
        "touch started\nwhile [ ! -f \"$HOME/go\" ]; do sleep 0.05; done\n",
    );
    world.commit("Wait for a sign");
    let first = world.start(&["pipeline", "web"]);
    let started = world.repository().join(".shipline/work/web/started");
    while !started.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let second = world.run(&["pipeline", "web", "--no-wait"]).expect(3);
    assert!(
        second.stderr.contains("pipeline web") && second.stderr.contains("hold"),
        "{}",
        second.stderr
    );
    std::fs::write(world.path("home/go"), "").unwrap();
    let _ = world.wait(first).expect(0);
}
