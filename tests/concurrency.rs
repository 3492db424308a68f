//! Thirty-two processes write the same GitOps repository at once.

use shipline_testkit::tiny;

#[test]
fn no_edit_is_lost_and_none_is_made_twice() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let before = tiny::commits(&world);
    let components = ["web", "api", "worker"];
    let children: Vec<_> = (0..32)
        .map(|number| {
            let component = components[number % 3];
            let prefix = if component == "web" { "staging-" } else { "" };
            let image = format!("{component}={prefix}abcdef{number:02}-20251215123456");
            world.start(&[
                "gitops",
                "set",
                &image,
                "--environment",
                "staging",
                "--offline",
            ])
        })
        .collect();
    for child in children {
        let _ = world.wait(child).expect(0);
    }
    assert_eq!(
        tiny::commits(&world) - before,
        32,
        "one commit for each edit"
    );
    let parents = tiny::gitops(&world, &["log", "--format=%P", "main"]);
    assert!(
        parents.lines().all(|line| line.split(' ').count() <= 1),
        "history is linear"
    );
    let lines = tiny::gitops(&world, &["log", "--format=", "--numstat", "-32", "main"]);
    assert!(
        lines
            .lines()
            .filter(|line| !line.is_empty())
            .all(|line| line.starts_with("1\t1\t")),
        "{lines}"
    );
    for number in 0..32 {
        let tag = format!("abcdef{number:02}-20251215123456");
        let found = tiny::gitops(
            &world,
            &[
                "log",
                "--format=%H",
                &format!("-S{tag}"),
                "--reverse",
                "main",
                "--",
                "staging",
            ],
        );
        assert!(!found.is_empty(), "{tag} was lost");
    }
}
