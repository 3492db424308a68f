//! `gitops set`: the plumbing beneath.

use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

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
        "--any-tag",
        "--offline",
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
            "--any-tag",
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

fn set(world: &World, arguments: &[&str]) -> Ran {
    let mut all = vec!["gitops", "set"];
    all.extend(arguments);
    world.run(&all)
}

#[test]
fn what_cannot_be_the_components_tag_is_refused_by_default() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let commits = tiny::commits(&world);
    let never = [
        "api=50255e6c-",
        "api=staging-",
        "api=staging--20260101000000",
        "api=undefined",
        "api=null",
        "api=None",
        "api=abc12345-undefined",
        "api=$TAG",
        "api=${TAG}",
        "api={{ .Tag }}",
        "api=<tag>",
        "api=%TAG%",
        "api=@TAG@",
        "api=",
        "api=/api:1",
        "api=https://registry.example.com/api:1",
        "api=registry.example.com//api:1",
        "api=registry.example.com/api",
        "api=registry.example.com/web:1",
        "api=1.0@sha256:abc",
        "api=1.0@sha512:abc",
        "web=abc12345-20260101000000",
    ];
    for image in never {
        let run = set(&world, &[image, "-e", "staging", "--any-tag", "--offline"]).expect(2);
        assert!(run.stderr.starts_with("error: "), "{image}: {}", run.stderr);
    }
    let run = set(&world, &["api=1.4.2", "-e", "staging", "--offline"]).expect(2);
    assert!(run.stderr.contains("--any-tag"), "{}", run.stderr);
    let twin = ["web=staging-abc12345-20260101000000", "-e", "production"];
    let confirmed = ["--confirm", "DEPLOY", "--any-tag", "--offline"];
    let run = set(&world, &[&twin[..], &confirmed].concat()).expect(2);
    assert!(
        run.stderr.contains("the image for staging"),
        "{}",
        run.stderr
    );
    assert_eq!(tiny::commits(&world), commits);
}

#[test]
fn a_whole_name_with_a_digest_can_be_set() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!("api=registry.example.com/team/api:2.0@{digest}");
    let _ = set(&world, &[&image, "-e", "staging", "--any-tag"]).expect(0);
    let manifest = || tiny::gitops(&world, &["show", "main:staging/api/deployment.yaml"]);
    let expected = format!("image: registry.example.com/team/api:2.0@{digest}");
    assert!(manifest().contains(&expected), "{}", manifest());
    // From here on a digest belongs there.
    let run = set(
        &world,
        &["api=2.1", "-e", "staging", "--any-tag", "--offline"],
    )
    .expect(2);
    assert!(run.stderr.contains("api=2.1@sha256:…"), "{}", run.stderr);
}

#[test]
fn an_image_that_the_registry_does_not_have_is_refused() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let image = "web=staging-abc12345-20260101000000";
    let run = set(&world, &[image, "-e", "staging"]).expect(1);
    assert!(run.stderr.contains("--offline"), "{}", run.stderr);
    let _ = set(&world, &[image, "-e", "staging", "--offline"]).expect(0);
    let (there, digest) = tiny::tags(&world)
        .into_iter()
        .find(|(name, _)| name.contains("staging-"))
        .unwrap();
    let (_, tag) = there.rsplit_once(':').unwrap();
    let other = format!("web={tag}@sha256:{}", "b".repeat(64));
    let run = set(&world, &[&other, "-e", "staging"]).expect(1);
    assert!(run.stderr.contains(&digest), "{}", run.stderr);
    let _ = set(&world, &[&format!("web={tag}"), "-e", "staging"]).expect(0);
    // Of a repository that nothing was built for, the local registry cannot tell.
    let run = set(&world, &["api=abc12345-20260101000000", "-e", "staging"]).expect(0);
    assert!(run.stderr.contains("is not known"), "{}", run.stderr);
}

#[test]
fn a_manual_environment_asks_for_its_word() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let image = "web=abc12345-20260101000000";
    let commits = tiny::commits(&world);
    for word in [
        &[][..],
        &["--confirm", "deploy"],
        &["--confirm", "DEPLOY "],
        &["--confirm", ""],
    ] {
        let arguments = [&[image, "-e", "production", "--offline"][..], word].concat();
        let run = set(&world, &arguments).expect(2);
        assert!(run.stderr.contains("word"), "{}", run.stderr);
    }
    let run = set(
        &world,
        &[image, "-e", "production", "--offline", "--dry-run"],
    )
    .expect(0);
    assert!(run.stdout.contains("nothing was written"), "{}", run.stdout);
    assert_eq!(tiny::commits(&world), commits);
    let confirmed = [
        image,
        "-e",
        "production",
        "--offline",
        "--confirm",
        "DEPLOY",
    ];
    let _ = set(&world, &confirmed).expect(0);
    assert_eq!(tiny::commits(&world), commits + 1);
    let staging = [
        "api=abc12345-20260101000000",
        "-e",
        "staging",
        "--confirm",
        "DEPLOY",
    ];
    let _ = set(&world, &staging).expect(2);
}

#[test]
fn a_person_commits_under_their_own_name() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    tiny::green(&world, &["pipeline", "web"]);
    let author = || tiny::gitops(&world, &["log", "-1", "--format=%an <%ae> %cn", "main"]);
    assert!(!author().contains("Ada"), "pipelines keep their own");
    world.git(&["config", "user.name", "Ada"]);
    world.git(&["config", "user.email", "ada@example.com"]);
    // What a clone says of programs is not followed.
    world.git(&["config", "commit.gpgsign", "true"]);
    world.git(&["config", "gpg.program", "./evil.sh"]);
    world.write("evil.sh", "#!/bin/sh\ntouch evil-ran\n");
    let image = ["api=abc12345-20260101000000", "-e", "staging"];
    let _ = set(&world, &image).expect(0);
    assert_eq!(author().trim(), "Ada <ada@example.com> Ada");
    assert!(!world.path("evil-ran").exists() && !world.repository().join("evil-ran").exists());
}

#[test]
fn a_gitops_repository_that_is_a_link_out_of_the_clone_is_refused() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("secret.yaml"), "a: b\n").unwrap();
    for (path, place) in [
        ("mine", "gitops: { path: mine/gitops.git, seed: gitops }"),
        (
            "seeds",
            "gitops: { path: .shipline/gitops.git, seed: seeds }",
        ),
    ] {
        std::os::unix::fs::symlink(&elsewhere, world.repository().join(path)).unwrap();
        let text = world.read("pipeline.yaml");
        let old = "gitops: { path: .shipline/gitops.git, seed: gitops }";
        world.write("pipeline.yaml", &text.replace(old, place));
        let run = set(&world, &["api=abc12345-20260101000000", "-e", "staging"]).expect(2);
        assert!(run.stderr.contains("symbolic link"), "{}", run.stderr);
        world.write("pipeline.yaml", &text);
    }
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[test]
fn what_was_built_from_uncommitted_changes_goes_where_pipelines_deliver_only() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    let dirty = "api=abc12345-20260101000000-dirty";
    let production = [
        dirty,
        "-e",
        "production",
        "--confirm",
        "DEPLOY",
        "--offline",
    ];
    let run = set(&world, &production).expect(2);
    assert!(
        run.stderr.contains("changes that are in no commit"),
        "{}",
        run.stderr
    );
    let _ = set(&world, &[&production[..], &["--any-tag"]].concat()).expect(0);
    let _ = set(&world, &[dirty, "-e", "staging", "--offline"]).expect(0);
}
