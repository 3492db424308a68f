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
