//! `gitops set`: the plumbing beneath.

use shipline_testkit::tiny;

#[test]
fn one_value_moves_and_nothing_else() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let before = tiny::gitops(&world, &["show", "main:staging/api/deployment.yaml"]);
    let arguments = [
        "gitops",
        "set",
        "api=1.4.2",
        "--environment",
        "staging",
        "--message",
        "Try 1.4.2",
    ];

    let mut dry: Vec<&str> = arguments.to_vec();
    dry.push("--dry-run");
    let shown = world.run(&dry).expect(0);
    assert!(
        shown.stdout.contains("staging/api/deployment.yaml") && shown.stdout.contains("1.4.2"),
        "{}",
        shown.stdout
    );
    assert_eq!(
        tiny::gitops(&world, &["show", "main:staging/api/deployment.yaml"]),
        before
    );

    let _ = world.run(&arguments).expect(0);
    let after = tiny::gitops(&world, &["show", "main:staging/api/deployment.yaml"]);
    assert_eq!(
        after,
        before.replace("api:00000000-20250101000000", "api:1.4.2")
    );
    assert!(tiny::gitops(&world, &["log", "-1", "--format=%s", "main"]).contains("Try 1.4.2"));

    let commits = tiny::commits(&world);
    let again = world.run(&arguments).expect(0);
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    assert_eq!(tiny::commits(&world), commits);
}

#[test]
fn a_checkout_moves_along_and_a_dirty_one_is_refused() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let checkout = world.path("checkout").display().to_string();
    world.git(&["clone", "--quiet", ".shipline/gitops.git", &checkout]);
    let set = |tag: &str| {
        world.run(&[
            "gitops",
            "set",
            &format!("api={tag}"),
            "-e",
            "staging",
            "--repository",
            &checkout,
        ])
    };
    let _ = set("1.0.0").expect(0);
    assert_eq!(world.git(&["-C", &checkout, "status", "--porcelain"]), "");
    assert!(
        std::fs::read_to_string(world.path("checkout/staging/api/deployment.yaml"))
            .unwrap()
            .contains("api:1.0.0")
    );

    std::fs::write(world.path("checkout/staging/api/deployment.yaml"), "mine\n").unwrap();
    let refused = set("2.0.0");
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("staging/api/deployment.yaml"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        std::fs::read_to_string(world.path("checkout/staging/api/deployment.yaml")).unwrap(),
        "mine\n"
    );
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_place() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let cases = [
        (vec!["gitops", "set", "nobody=1", "-e", "staging"], "nobody"),
        (
            vec!["gitops", "set", "api", "-e", "staging"],
            "COMPONENT=TAG",
        ),
        (vec!["gitops", "set", "api=a b", "-e", "staging"], "a b"),
        (vec!["gitops", "set", "api=1", "-e", "nowhere"], "nowhere"),
        (
            vec!["gitops", "set", "api=1", "api=2", "-e", "staging"],
            "twice",
        ),
    ];
    for (arguments, wanted) in cases {
        let run = world.run(&arguments).expect(2);
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
    }
}
