//! What a person and a program read.

use shipline_testkit::tiny;

#[test]
fn json_lines_are_complete_and_alone_on_standard_output() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let run = tiny::green(&world, &["pipeline", "web", "--json"]);
    let events: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position, "{event}");
    }
    let text = run.stdout.lines().last().unwrap();
    assert!(
        text.contains("run_finished")
            || text.contains("RunFinished")
            || text.contains("run-finished"),
        "{text}"
    );
}

#[test]
fn secrets_are_masked_everywhere() {
    let secret = "s3cr3t-v4lue-of-the-tests";
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline")).with("API_TOKEN", secret);
    world.replace(
        "pipeline.yaml",
        "  api:\n    path: api\n",
        "  api:\n    path: api\n    environment: { TOKEN: \"${secret.API_TOKEN}\" }\n",
    );
    world.write("api/test.sh", "echo \"token=$TOKEN\"\nprintf '%s' \"$TOKEN\" | base64\nprintf 's3cr3t-'; sleep 0.2; printf 'v4lue-of-the-tests\\n'\nexit 1\n");
    world.commit("Print a secret");
    let run = world.run(&["pipeline", "backend", "--json"]).expect(1);
    assert!(run.stderr.contains("token=***"), "{}", run.stderr);
    let encoded = "czNjcjN0LXY0bHVlLW9mLXRoZS10ZXN0cw";
    for (place, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        assert!(
            !text.contains(secret) && !text.contains(encoded),
            "{place}: {text}"
        );
    }
    let grep = world
        .command("grep")
        .args(["-rlE", &format!("{secret}|{encoded}"), ".shipline"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&grep.stdout),
        "",
        "the secret is in a file of ours"
    );
}

#[test]
fn secrets_are_masked_in_what_is_no_event_too() {
    let secret = "s3cr3t/v4lue of-the+tests";
    let encoded = "s3cr3t%2Fv4lue%20of-the%2Btests";
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline")).with("API_TOKEN", secret);
    world.replace(
        "pipeline.yaml",
        "  api:\n    path: api\n",
        "  api:\n    path: api\n    environment: { TOKEN: \"${secret.API_TOKEN}\" }\n",
    );
    world.commit("Know a secret");
    let elsewhere = format!("/nowhere/{secret}");
    let image = format!("api={encoded}");
    for (arguments, code, left) in [
        (
            &[
                "gitops",
                "set",
                "api=1",
                "--any-tag",
                "-e",
                "staging",
                "--repository",
                &elsewhere,
            ][..],
            1,
            "/nowhere/***",
        ),
        (&["gitops", "set", &image, "-e", "staging"], 2, "`***`"),
        (&["gitops", "set", "api=1", "-e", secret], 2, "***"),
        (&["plan", "backend", "--base", secret], 2, "`***`"),
        (&["runs", "show", secret], 2, "***"),
        (&["plan", secret, "--no-such-option"], 2, "no-such-option"),
        (&["plan", "backend", secret], 2, "'***'"),
    ] {
        let run = world.run(arguments).expect(code);
        assert!(run.stderr.contains(left), "{arguments:?}: {}", run.stderr);
        for text in [&run.stdout, &run.stderr] {
            assert!(
                !text.contains(secret) && !text.contains(encoded),
                "{arguments:?}: {text}"
            );
        }
    }

    let message = format!("Set it with {secret}");
    let set = [
        "gitops",
        "set",
        "api=1",
        "--any-tag",
        "-e",
        "staging",
        "--message",
        &message,
    ];
    let _ = world.run(&set).expect(0);
    let log = world.git(&["-C", ".shipline/gitops.git", "log", "-1", "--format=%B"]);
    assert!(log.starts_with("Set it with ***\n"), "{log}");

    world.write("pipeline.yaml", &format!("version: 1\ntoken: {secret}\ncomponents: {{ a: {{ path: \"${{secret.API_TOKEN}}\" }} }}\n"));
    let run = world.run(&["plan", "backend"]).expect(2);
    assert!(run.stderr.contains("token: ***"), "{}", run.stderr);
    assert!(!run.stderr.contains("v4lue"), "{}", run.stderr);
}

#[test]
fn missing_variables_are_named_all_at_once_before_anything_runs() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.replace("pipeline.yaml", "  api:\n    path: api\n", "  api:\n    path: api\n    environment: { A: \"${env.FIRST}\", B: \"${secret.SECOND}\" }\n");
    world.commit("Ask for variables");
    let run = world.run(&["pipeline", "backend"]).expect(2);
    for wanted in ["env.FIRST", "secret.SECOND"] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("test passed"), "{}", run.stderr);
}

#[test]
fn past_runs_are_listed_and_shown_again() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let list = world.run(&["runs", "list"]).expect(0).stdout;
    assert_eq!(
        list.lines().filter(|line| line.contains("web")).count(),
        1,
        "{list}"
    );
    let show = world.run(&["runs", "show"]).expect(0);
    assert!(
        format!("{}{}", show.stdout, show.stderr).contains("web: 1 test passed"),
        "{}{}",
        show.stdout,
        show.stderr
    );
}

#[test]
fn usage_errors_end_with_two() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    for (arguments, wanted) in [
        (vec!["pipline"], "pipeline"),
        (vec!["pipeline", "nothing"], "nothing"),
        (vec!["pipeline", "web", "--profile", "nowhere"], "nowhere"),
        (vec!["pipeline", "web", "--component", "api"], "api"),
        (vec!["pipeline", "web", "--base", "nowhere"], "nowhere"),
        (vec!["pipeline", "web", "--only", "nothing"], "nothing"),
    ] {
        let run = world.run(&arguments).expect(2);
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
    }
    world.replace(
        "pipeline.yaml",
        "  web:\n    path: web\n",
        "  web:\n    pth: web\n",
    );
    let run = world.run(&["pipeline", "web"]).expect(2);
    assert!(
        run.stderr.contains("pipeline.yaml") && run.stderr.contains("path"),
        "{}",
        run.stderr
    );
    let help = world.run(&["--help"]).expect(0);
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
}

#[test]
fn commands_do_not_find_the_live_repository() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write(
        "api/test.sh",
        "if git rev-parse --show-toplevel; then exit 1; fi\n",
    );
    world.commit("Look for a repository");
    let run = world
        .run(&["pipeline", "backend", "--only", "unit-tests"])
        .expect(0);
    assert!(
        run.stderr.contains("not a git repository"),
        "{}",
        run.stderr
    );
}
