//! What somebody meets who has never used this before.

use std::fs::File;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

fn wait_for(path: &std::path::Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn looking_leaves_nothing_that_git_sees() {
    let world = world();
    for arguments in [
        &["plan", "web"][..],
        &["explain", "web", "web"],
        &["pipeline", "web", "--dry-run"],
        &["runs", "list"],
        &["store", "show"],
        &["config", "show"],
    ] {
        let _ = world.run(arguments).expect(0);
        assert_eq!(world.git(&["status", "--porcelain"]), "", "{arguments:?}");
    }
    for made in ["store", "gitops.git", "runs", "work", "lock"] {
        let path = world.repository().join(".shipline").join(made);
        assert!(!path.exists(), "{} was made by looking", path.display());
    }
    let run = world.run(&[
        "gitops",
        "set",
        "web=staging-1",
        "-e",
        "staging",
        "--any-tag",
        "--dry-run",
    ]);
    assert!(run.expect(1).stderr.contains("without --dry-run"));
    assert!(!world.repository().join(".shipline/gitops.git").exists());
    let _ = world
        .run(&[
            "gitops",
            "set",
            "web=staging-1",
            "-e",
            "staging",
            "--any-tag",
        ])
        .expect(0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn the_command_that_repeats_a_failure_does_just_that() {
    let world = world();
    world.write("api/test.sh", "echo one; echo two >&2; exit 7\n");
    world.commit("Fail");
    let run = world.run(&["pipeline", "backend", "--no-cache"]).expect(1);
    let lines: Vec<&str> = run.stderr.lines().map(str::trim).collect();
    let [.., log, again] = lines.as_slice() else {
        panic!("{}", run.stderr);
    };
    assert_eq!(
        *again,
        "again: shipline pipeline backend --no-cache --component api --only unit-tests"
    );
    let log = log.strip_prefix("log: ").unwrap();
    assert!(world.read(log).contains("two"), "{log}");
    assert!(
        run.stderr
            .contains("failed to run the tests of api (`sh test.sh`): exit code 7"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("nothing was published"),
        "{}",
        run.stderr
    );
    let words: Vec<&str> = again.split(' ').skip(2).collect();
    let run = world.run(&words).expect(1);
    assert!(!run.stderr.contains("worker"), "{}", run.stderr);

    // From elsewhere, and much later, when what failed is deployed.
    let mut elsewhere = world.command(env!("CARGO_BIN_EXE_shipline"));
    let output = elsewhere
        .current_dir(world.path(""))
        .args(["-C", "repo", "pipeline", "backend", "--component", "api"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("log: repo/.shipline/runs/"),
        "the log's path can be opened from here: {stderr}"
    );
    assert!(
        stderr
            .contains("again: shipline -C repo pipeline backend --component api --only unit-tests"),
        "{stderr}"
    );
    let shown = world.run(&["runs", "show"]).expect(0);
    assert!(
        shown
            .stdout
            .contains("again: shipline pipeline backend --all --component api --only unit-tests"),
        "{}",
        shown.stdout
    );
}

#[test]
fn a_run_is_waited_for_only_by_those_who_write() {
    let world = world();
    world.write(
        "web/test.sh",
        "touch started\nwhile :; do sleep 0.05; done\n",
    );
    world.commit("Wait");
    let child = world.start(&["pipeline", "web"]);
    wait_for(&world.repository().join(".shipline/work/web/started"));
    let _ = world.run(&["pipeline", "web", "--dry-run"]).expect(0);
    let run = world.run(&["pipeline", "backend", "--no-wait"]).expect(3);
    for wanted in ["`shipline pipeline web`", "--no-wait"] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    let list = world.run(&["runs", "list"]).expect(0);
    assert!(list.stdout.contains("running"), "{}", list.stdout);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let run = world.wait(child).expect(130);
    assert!(run.stderr.contains("not begun"), "{}", run.stderr);
    assert!(
        !run.stderr.contains("push: stopped"),
        "what never began was not stopped: {}",
        run.stderr
    );
}

#[test]
fn a_command_is_asked_to_end_once() {
    let world = world();
    world.write(
        "web/test.sh",
        "n=0\ntrap 'n=$((n+1)); echo \"asked $n\"' TERM\ntouch started\n\
         while [ $n = 0 ]; do sleep 0.05; done\nfor i in 1 2 3 4; do sleep 0.05; done\n",
    );
    world.commit("Count");
    let child = world.start(&["pipeline", "web"]);
    wait_for(&world.repository().join(".shipline/work/web/started"));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let run = world.wait(child).expect(130);
    assert!(run.stderr.contains("asked 1"), "{}", run.stderr);
    assert!(!run.stderr.contains("asked 2"), "{}", run.stderr);
}

#[test]
fn events_that_are_lost_are_an_error_and_a_reader_that_leaves_is_none() {
    let world = world();
    let mut command = world.binary();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command
        .args(["pipeline", "web", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.ends_with("error: standard output cannot be written\n  because: no storage space\n"),
        "{stderr}"
    );
    let mut command = world.binary();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .args(["pipeline", "web", "--all", "--json"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn past_runs_are_seen_while_pipeline_yaml_is_wrong() {
    let world = world();
    tiny::green(&world, &["pipeline", "web"]);
    world.replace("pipeline.yaml", "version: 1", "version: 7");
    let _ = world.run(&["plan", "web"]).expect(2);
    let list = world.run(&["runs", "list"]).expect(0);
    assert!(list.stdout.contains("green"), "{}", list.stdout);
    let show = world.run(&["runs", "show"]).expect(0);
    for wanted in ["web: 1 test passed", "oci:", "record: .shipline/runs/"] {
        assert!(show.stdout.contains(wanted), "{wanted}: {}", show.stdout);
    }
    assert_eq!(show.stderr, "");
    let run = world.run(&["runs", "show", "yesterday"]).expect(2);
    assert!(run.stderr.contains("yesterday"), "{}", run.stderr);
}

#[test]
fn what_is_wrong_is_said_in_words_that_help() {
    let world = world();
    for (arguments, wanted) in [
        (&["pipeline"][..], "web, backend"),
        (&["plan", "wbe"], "did you mean `web`?"),
        (&["plan", "web", "--only", "test"], "unit-tests"),
        (
            &["explain", "web", "api"],
            "pipeline `web` has no component `api`",
        ),
        (&["pipeline", "web", "--dry-run", "--json"], "--json"),
    ] {
        let run = world.run(arguments).expect(2);
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
    }
    // One value for each flag, so that none takes the name.
    let _ = world
        .run(&["plan", "--only", "unit-tests", "web"])
        .expect(0);
    let _ = world
        .run(&[
            "plan",
            "--only",
            "unit-tests,build",
            "--only",
            "push",
            "web",
        ])
        .expect(0);
    let _ = world
        .run(&["plan", "-c", "api", "-c", "worker", "backend"])
        .expect(0);
    let run = world
        .run(&["plan", "web", "--only", "build", "push"])
        .expect(2);
    assert!(run.stderr.contains("`--only A,B`"), "{}", run.stderr);
    for words in [
        &["help"][..],
        &["help", "pipeline"],
        &["help", "store", "gc"],
    ] {
        let help = world.run(words).expect(0);
        assert!(help.stdout.contains("Usage: shipline"), "{}", help.stdout);
    }
    for words in [
        &["scan", "sbom"][..],
        &["lock", "update"],
        &["store", "gc"],
        &["completions"],
        &["runs", "show"],
        &["gitops", "set"],
        &["explain"],
    ] {
        let help = world.run(&[words, &["--help"]].concat()).expect(0);
        let examples = help.stdout.split("Examples:\n").nth(1).expect("examples");
        for line in examples
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        {
            let named = line.starts_with("  shipline ") || line.starts_with("  source <(shipline ");
            assert!(named, "{line}");
        }
    }
    let help = world.run(&["pipeline", "--help"]).expect(0);
    assert!(
        help.stdout.contains("\n  shipline pipeline backend --all"),
        "an example can be pasted: {}",
        help.stdout
    );

    let file = world.repository().join("pipeline.yaml");
    let text = world.read("pipeline.yaml");
    world.write("pipeline.yaml", &format!("\u{feff}{text}"));
    let _ = world.run(&["plan", "web"]).expect(0);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let run = world.run(&["plan", "web"]).expect(2);
    assert!(run.stderr.contains("is a directory"), "{}", run.stderr);
    std::fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    let run = world.run(&["plan", "web"]).expect(2);
    assert!(
        run.stderr.contains("links to what is not there"),
        "{}",
        run.stderr
    );
    std::fs::remove_file(&file).unwrap();
    world.write("pipeline.yaml", &text);
    std::fs::remove_dir_all(world.repository().join(".git")).unwrap();
    let run = world.run(&["plan", "web"]).expect(2);
    assert!(run.stderr.contains("git init"), "{}", run.stderr);
    assert!(!run.stderr.contains("class="), "{}", run.stderr);
}

#[test]
fn a_command_is_repeated_as_it_was_typed() {
    let world = world();
    world.write("api/test.sh", "exit 7\n");
    world.commit("Fail");
    for (typed, again) in [
        // As narrow as can be: nothing is left to say in another way.
        (
            "pipeline backend -j 2 --only=unit-tests -c api --keep-going",
            "pipeline backend -j 2 --only=unit-tests -c api --keep-going",
        ),
        (
            "pipeline --all --log-limit 1MB backend",
            "pipeline --all --log-limit 1MB backend --component api --only unit-tests",
        ),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let run = world.run(&words).expect(1);
        let line = format!("again: shipline {again}\n");
        assert!(run.stderr.ends_with(&line), "{line}: {}", run.stderr);
    }
}

#[test]
fn the_list_of_runs_says_what_each_was_and_what_failed_first() {
    let world = world();
    tiny::green(&world, &["pipeline", "web"]);
    world.write("api/test.sh", "exit 7\n");
    let commit = world.commit("Fail");
    let _ = world
        .run(&["pipeline", "backend", "--component", "api"])
        .expect(1);
    let list = world.run(&["runs", "list"]).expect(0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    let [last, first] = lines.as_slice() else {
        panic!("{list}");
    };
    for (line, wanted) in [
        (
            last,
            &[
                "1  ",
                "backend",
                "--component api",
                &commit[..8],
                "red: unit-tests/api failed",
            ][..],
        ),
        (first, &["2  ", "web", "what changed", "green"]),
    ] {
        for wanted in wanted {
            assert!(line.contains(wanted), "{wanted}: {line}");
        }
    }
    // By its number in that list.
    let show = world.run(&["runs", "show", "2"]).expect(0).stdout;
    assert!(show.contains("pipeline web"), "{show}");
    let run = world.run(&["runs", "show", "3"]).expect(2);
    assert!(run.stderr.contains("so many are not"), "{}", run.stderr);
}
