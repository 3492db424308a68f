//! Staging never talks to production.

use shipline_testkit::tiny;

#[test]
fn what_git_ignores_does_not_reach_an_image() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write("web/.env.local", "API=https://tiny.example/api/users\n");
    tiny::green(&world, &["pipeline", "web"]);
    for (name, digest) in tiny::tags(&world) {
        if name.contains("staging-") {
            let files = tiny::image_files(&world, &digest);
            assert!(
                files
                    .iter()
                    .all(|(_, text)| !text.contains("//tiny.example")),
                "{files:#?}"
            );
        }
    }
}

#[test]
fn another_environments_url_in_an_arg_stops_the_run_before_anything_is_published() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"))
        .with("STAGING_API_BASE", "https://tiny.example/api/users");
    let run = world.run(&["pipeline", "web"]).expect(1);
    assert!(tiny::tags(&world).is_empty());
    assert_eq!(tiny::commits(&world), 1, "only the seed");
    for wanted in [
        "environment-leak",
        "/srv/index.html",
        "https://tiny.example/api",
        "production",
        "layer",
    ] {
        assert!(
            run.stderr.contains(wanted),
            "{wanted} is not in:\n{}",
            run.stderr
        );
    }
}

#[test]
fn an_exception_has_an_end() {
    let ignore = |until: &str| {
        format!(
            "\nscans:\n  ignore:\n    - {{ rule: environment-leak, match: \"https://tiny.example/api/users/me\", file: \"**/index.html\", reason: canonical link, until: {until} }}\n"
        )
    };
    let check = |until: &str, code: i32| {
        let world = tiny::world(env!("CARGO_BIN_EXE_shipline"))
            .with("STAGING_API_BASE", "https://tiny.example/api/users")
            .with("SHIPLINE_NOW", "1765802096");
        let text = world.read("pipeline.yaml");
        world.write("pipeline.yaml", &format!("{text}{}", ignore(until)));
        world.commit("Accept the leak");
        let run = world.run(&["pipeline", "web"]).expect(code);
        let wanted = if code == 0 {
            "canonical link"
        } else {
            "ended on 2025-12-14"
        };
        assert!(
            run.stderr.contains(wanted),
            "the exception is named: {}",
            run.stderr
        );
    };
    check("2025-12-15", 0);
    check("2025-12-14", 1);
}

#[test]
fn an_exception_that_names_no_api_hides_none_and_is_told_to_be_of_no_use() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"))
        .with("STAGING_API_BASE", "https://tiny.example/api/users")
        .with("SHIPLINE_NOW", "1765802096");
    let text = world.read("pipeline.yaml");
    world.write(
        "pipeline.yaml",
        &format!("{text}\nscans:\n  ignore:\n    - {{ rule: environment-leak, match: \"https://tiny.example*\", reason: canonical link, until: 2099-12-31 }}\n"),
    );
    world.commit("Accept too much");
    let run = world.run(&["pipeline", "web"]).expect(1);
    assert!(tiny::tags(&world).is_empty());
    assert!(
        run.stderr.contains("matched nothing in this run"),
        "{}",
        run.stderr
    );
}

/// A world in which staging's image holds production's URL.
fn leaking() -> shipline_testkit::world::World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
        .with("STAGING_API_BASE", "https://tiny.example/api/users")
        .with("SHIPLINE_NOW", "1765802096")
}

#[test]
fn a_baseline_takes_what_is_there_as_known_and_nothing_that_comes_later() {
    let world = leaking();
    let _red = world.run(&["pipeline", "web"]).expect(1);
    let scan = world.run(&["scan", "image"]).expect(1);
    assert!(
        scan.stdout
            .contains("web@staging: critical environment-leak"),
        "{}",
        scan.stdout
    );
    assert!(
        scan.stderr.contains("at or above the gate"),
        "{}",
        scan.stderr
    );
    let sarif = world
        .run(&["scan", "image", "web@staging", "--format", "sarif"])
        .expect(1);
    let sarif: serde_json::Value = serde_json::from_str(&sarif.stdout).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert!(!results.is_empty());
    let print = &results[0]["partialFingerprints"]["shipline/v1"];

    let write = ["scan", "image", "--write-baseline", "known.json"];
    tiny::green(&world, &write);
    let written = world.read("known.json");
    assert!(written.contains(print.as_str().unwrap()), "{written}");
    assert!(
        written.contains("web@staging: /srv/index.html"),
        "{written}"
    );
    tiny::green(&world, &write);
    assert_eq!(world.read("known.json"), written);

    let text = world.read("pipeline.yaml");
    let policy = "\nscans:\n  image: { baseline: known.json }\n";
    world.write("pipeline.yaml", &format!("{text}{policy}"));
    world.commit("Begin with what is there");
    let run = tiny::green(&world, &["pipeline", "web"]);
    assert!(
        run.stderr.contains("in the baseline known.json"),
        "{}",
        run.stderr
    );
    tiny::green(&world, &["scan", "image"]);

    // What comes later counts, and what is in the baseline still does not.
    let later = world.with("STAGING_API_BASE", "https://tiny.example/api/other");
    let run = later.run(&["pipeline", "web", "--all"]).expect(1);
    assert!(
        run.stderr.contains("tiny.example/api/other"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_baseline_that_is_not_there_or_is_none_stops_the_run_before_it_begins() {
    let world = leaking();
    let text = world.read("pipeline.yaml");
    let policy = "\nscans:\n  leaks: { baseline: known.json }\n";
    world.write("pipeline.yaml", &format!("{text}{policy}"));
    world.commit("Name a baseline");
    let run = world.run(&["pipeline", "web"]).expect(2);
    for wanted in ["known.json", "not in the repository", "--write-baseline"] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    world.write("known.json", "{ \"version\": 1,\n");
    world.commit("Write half of it");
    let run = world.run(&["pipeline", "web"]).expect(2);
    assert!(run.stderr.contains("line 2"), "{}", run.stderr);
}

#[test]
fn an_exception_from_an_unknown_rule_is_refused_where_it_stands() {
    let world = leaking();
    let text = world.read("pipeline.yaml");
    let ignore = "\nscans:\n  ignore:\n    - { rule: environment-leek, match: a, reason: known, until: 2027-12-31 }\n";
    world.write("pipeline.yaml", &format!("{text}{ignore}"));
    let run = world.run(&["plan", "web"]).expect(2);
    for wanted in ["scans.ignore[0].rule", "did you mean `environment-leak`?"] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
}

/// The tiny platform with URLs in the one image of `api`.
fn one_image(texts: &str) -> shipline_testkit::world::World {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write("api/name.txt", texts);
    world.commit("Build URLs in");
    world
}

#[test]
fn an_image_for_all_environments_is_told_not_to_be_assessed_and_passes() {
    let world =
        one_image("https://staging.tiny.example/api/users https://tiny.example/api/users\n");
    let arguments = &["--all", "--component", "api"];
    let plan = world.run(&[&["plan", "backend"], &arguments[..]].concat());
    let plan = plan.expect(0).stdout;
    for wanted in [
        "warning: the image of api is made once for staging and production",
        "declare `image.variants`",
    ] {
        assert!(plan.contains(wanted), "{wanted}: {plan}");
    }
    let run = tiny::green(&world, &[&["pipeline", "backend"], &arguments[..]].concat());
    for wanted in [
        "warning: the image of api is made once",
        "low environment-leak: the one image for staging and production holds staging's https://staging.tiny.example/api",
        "low environment-leak: the one image for staging and production holds production's https://tiny.example/api",
        "not assessed: one image for staging and production: whether each gets its own API URLs",
    ] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    // The same from the cache.
    let run = tiny::green(&world, &[&["pipeline", "backend"], &arguments[..]].concat());
    assert!(run.stderr.contains("not assessed: "), "{}", run.stderr);
}

#[test]
fn a_url_of_one_environment_in_an_image_for_all_is_worse_and_an_exception_settles_it() {
    let world = one_image("https://staging.tiny.example/api/users\n");
    let arguments = &["pipeline", "backend", "--all", "--component", "api"];
    let run = tiny::green(&world, arguments);
    assert!(
        run.stderr.contains("medium environment-leak"),
        "{}",
        run.stderr
    );
    let text = world.read("pipeline.yaml");
    let gate = "\nscans: { image: { fail_on: medium } }\n";
    world.write("pipeline.yaml", &format!("{text}{gate}"));
    world.commit("Be strict");
    let _ = world.run(arguments).expect(1);
    world.write("pipeline.yaml", &format!("{text}\nscans:\n  image: {{ fail_on: medium }}\n  ignore:\n    - {{ rule: environment-leak, match: \"https://staging.tiny.example/api/users\", component: api, reason: a link in the help, until: 2099-12-31 }}\n"));
    world.commit("Accept it");
    let run = tiny::green(&world, arguments);
    assert!(!run.stderr.contains("not assessed"), "{}", run.stderr);
}

#[test]
fn an_image_that_holds_no_url_of_any_environment_is_assessed() {
    let world = one_image("API_BASE is read when it starts\n");
    let run = tiny::green(
        &world,
        &["pipeline", "backend", "--all", "--component", "api"],
    );
    assert!(run.stderr.contains("no findings in"), "{}", run.stderr);
    assert!(!run.stderr.contains("not assessed"), "{}", run.stderr);
}
