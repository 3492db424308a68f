//! What people see, as snapshots: help, plan, explain, a green and a red run, and errors. What differs from run to run stands in
//! them as a word.

use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

fn world() -> World {
    // The instant is fixed, and so is everything that follows from it.
    tiny::world(env!("CARGO_BIN_EXE_shipline")).with("SHIPLINE_NOW", "1765802096")
}

/// A text without what differs from run to run: folders, commits, digests, runs and times.
fn settled(text: &str, world: &World) -> String {
    let folder = world.repository().display().to_string();
    let text = text.replace(&folder, "<repository>");
    let mut settled = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        if !first.is_ascii_alphanumeric() {
            settled.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = |text: &str, part: fn(char) -> bool| {
            text.find(|c: char| !part(c)).unwrap_or(text.len())
        };
        let end = word(rest, |c| c.is_ascii_alphanumeric());
        let hex = rest[..end].bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = word(rest, |c| c.is_ascii_digit() || c == '.');
        let after = rest[number..].trim_start_matches(' ');
        let unit = ["ms", "s"].into_iter().find(|unit| {
            let after = after.strip_prefix(unit);
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        if hex && end == 14 && rest[end..].starts_with('-') {
            let tail = word(&rest[end + 1..], |c| c.is_ascii_alphanumeric());
            settled.push_str("<run>");
            rest = &rest[end + 1 + tail..];
        } else if hex && end >= 8 && end != 14 {
            settled.push_str("<hex>");
            rest = &rest[end..];
        } else if let (Some(unit), true) = (unit, number > 0) {
            settled.push_str("<time>");
            rest = &after[unit.len()..];
        } else {
            settled.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    settled
}

/// Exit code, standard output and standard error.
fn seen(world: &World, arguments: &[&str], ran: &Ran) -> String {
    format!(
        "$ shipline {}\nexit code: {}\n--- stdout\n{}--- stderr\n{}",
        arguments.join(" "),
        ran.code,
        settled(&ran.stdout, world),
        settled(&ran.stderr, world)
    )
}

#[track_caller]
fn check(name: &str, world: &World, arguments: &[&str]) {
    let ran = world.run(arguments);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, seen(world, arguments, &ran));
    });
}

#[test]
fn help() {
    let world = world();
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help_pipeline", &["pipeline", "--help"]),
        ("help_plan", &["plan", "--help"]),
        ("help_explain", &["explain", "--help"]),
        ("help_gitops_set", &["gitops", "set", "--help"]),
        ("help_scan_image", &["scan", "image", "--help"]),
        ("help_scan_sbom", &["scan", "sbom", "--help"]),
        ("help_runs", &["runs", "--help"]),
        ("help_lock_update", &["lock", "update", "--help"]),
        ("help_store", &["store", "--help"]),
        ("help_config", &["config", "--help"]),
    ] {
        check(name, &world, arguments);
    }
}

#[test]
fn a_plan_and_why() {
    let world = world();
    check("plan", &world, &["plan", "backend"]);
    check("explain", &world, &["explain", "backend", "api"]);
    check(
        "plan_of_one_stage",
        &world,
        &["plan", "web", "--only", "unit-tests"],
    );
}

/// One image, so that one task comes after the other.
const ONE: [&str; 4] = ["pipeline", "backend", "--component", "api"];

#[test]
fn a_green_run_and_the_same_again() {
    let world = world();
    check("run_green", &world, &ONE);
    check("run_cached", &world, &[&ONE[..], &["--all"]].concat());
}

#[test]
fn a_red_run() {
    let world = world();
    world.write(
        "api/test.sh",
        "echo 1 of 2 is fine; echo 2 of 2 is not; exit 1\n",
    );
    world.commit("Break a test");
    check("run_red_test", &world, &ONE);
}

#[test]
fn a_leak_that_the_gate_stops() {
    let world = world().with("STAGING_API_BASE", "https://tiny.example/api/users");
    // What runs beside the scan differs: only the scan is looked at.
    let _red = world.run(&["pipeline", "web"]).expect(1);
    check("scan_leak", &world, &["scan", "image", "web@staging"]);
}

#[test]
fn errors_of_usage_and_configuration() {
    let world = world();
    check("error_usage", &world, &["pipeline", "wed"]);
    check("error_argument", &world, &["pipeline", "web", "--alll"]);
    check(
        "error_no_profile",
        &world,
        &["plan", "web", "--profile", "prod"],
    );
    world.replace("pipeline.yaml", "components: [web", "components: [wed");
    check("error_configuration", &world, &["plan", "web"]);
    std::fs::remove_file(world.repository().join("pipeline.yaml")).unwrap();
    check("error_no_configuration", &world, &["plan", "web"]);
}
