//! Dockerfiles that are wrong are found before anything runs, and what is said about them.

use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

#[test]
fn a_dockerfile_that_is_not_there_is_found_while_planning() {
    let world = world();
    let _ = world.git(&["mv", "api/Dockerfile", "api/DockerFile"]);
    world.commit("Rename");
    for arguments in [&["plan", "backend"][..], &["pipeline", "backend"]] {
        let run = world.run(arguments).expect(2);
        for wanted in [
            "no image of api can be built",
            "api/Dockerfile is not among the sources",
            "did you mean api/DockerFile?",
        ] {
            assert!(run.stderr.contains(wanted), "{}", run.stderr);
        }
        assert!(!run.stderr.contains("test passed"), "{}", run.stderr);
    }
    // Without a name that is nearly the same, `prepare` may make the file; where there is no `prepare`, nobody does.
    let _ = world.git(&["mv", "api/DockerFile", "api/recipe"]);
    world.commit("Rename again");
    let _ = world.run(&["plan", "backend"]).expect(0);
    world.replace(
        "pipeline.yaml",
        "    path: api\n    uses: [lib]\n    tools: []\n    test: sh test.sh\n    image: { prepare: sh build.sh }",
        "    path: api\n    uses: [lib]\n    tools: []\n    test: sh test.sh\n    image: {}",
    );
    world.commit("Prepare nothing");
    let run = world.run(&["plan", "backend"]).expect(2);
    assert!(run.stderr.contains("git does not ignore"), "{}", run.stderr);
}

#[test]
fn a_dockerfile_that_is_wrong_is_shown_while_planning() {
    let world = world();
    world.write(
        "api/Dockerfile",
        "FROM scratch\n\nCoppy out/message.txt /\n",
    );
    world.commit("Mistype");
    let run = world.run(&["plan", "backend"]).expect(2);
    for wanted in [
        "`Coppy` is no instruction",
        "╭─[api/Dockerfile:3]",
        "3 │ Coppy out/message.txt /",
        "did you mean `COPY`?",
    ] {
        assert!(run.stderr.contains(wanted), "{}", run.stderr);
    }
}

#[test]
fn what_a_link_leads_to_is_never_shown() {
    let world = world();
    let outside = world.path("outside");
    std::fs::write(&outside, "root:x:0:0\n").unwrap();
    let dockerfile = world.repository().join("api/Dockerfile");
    std::fs::remove_file(&dockerfile).unwrap();
    std::os::unix::fs::symlink(&outside, &dockerfile).unwrap();
    world.commit("Link");
    let run = world.run(&["plan", "backend"]).expect(2);
    assert!(
        run.stderr.contains("a symlink that leaves the repository"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("root:x"), "{}", run.stderr);
}

#[test]
fn a_build_without_prepare_sets_nothing_up() {
    let world = world();
    let worker = |test: &str| {
        format!(
            "    path: worker\n    uses: [lib]\n    tools: []\n    setup: echo set up; echo x > made\n    test: {test}\n    image: {{}}"
        )
    };
    let asked = &["pipeline", "backend", "--component", "worker", "--all"];
    world.write("worker/Dockerfile", "FROM scratch\nCOPY name.txt /\n");
    world.replace(
        "pipeline.yaml",
        "    path: worker\n    uses: [lib]\n    tools: []\n    test: sh test.sh\n    image: { prepare: sh build.sh }",
        &worker("test -f made"),
    );
    world.commit("Build from sources");
    let run = world.run(asked).expect(0);
    let set_up = |text: &str| text.matches("$ echo set up").count();
    assert_eq!(set_up(&run.stderr), 1, "{}", run.stderr);
    // The tests are green and need not run again: then nothing asks for what `setup` makes.
    world.write("worker/Dockerfile", "FROM scratch\nCOPY name.txt /n\n");
    world.replace(
        "pipeline.yaml",
        &worker("test -f made"),
        &worker("'true'").replace("    test: 'true'\n", ""),
    );
    world.commit("Test nothing");
    let run = world.run(asked).expect(0);
    assert_eq!(set_up(&run.stderr), 0, "{}", run.stderr);
    // What it makes for tests is not in the image, whether they run before or not.
    world.write("worker/Dockerfile", "FROM scratch\nCOPY made /\n");
    world.commit("Copy it");
    let run = world.run(asked).expect(1);
    assert!(
        run.stderr.contains("`/made` is not in the build context"),
        "{}",
        run.stderr
    );
}
