//! What is known while planning is said while planning, and what a pipeline does not need is not asked for.

use std::os::unix::ffi::OsStrExt as _;

use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn world() -> World {
    tiny::world(env!("CARGO_BIN_EXE_shipline"))
}

/// A pipeline of the tiny platform that only tests.
const CHECKS: &str = "pipelines:\n  checks:\n    components: [api, worker]\n    stages: { unit-tests: { kind: test } }\n";

#[test]
fn a_name_that_is_not_utf_8_hides_no_change() {
    let world = world();
    world.replace("pipeline.yaml", "    path: worker\n", "    path: wörker\n");
    world.replace("pipeline.yaml", "pipelines:\n", CHECKS);
    world.git(&["mv", "worker", "wörker"]);
    let base = world.commit("Rename");
    world.write("wörker/name.txt", "worker, second edition\n");
    let odd = std::ffi::OsStr::from_bytes(b"w\x83.txt");
    std::fs::write(world.repository().join(odd), "x").unwrap();
    world.commit("Change worker");
    let plan = world
        .run(&["plan", "checks", "--base", &base])
        .expect(0)
        .stdout;
    assert!(plan.contains("worker  wörker/name.txt modified"), "{plan}");
    assert!(plan.contains("api     not affected"), "{plan}");
    // A name that is in no commit is shown, and nothing is lost of it.
    std::fs::write(
        world
            .repository()
            .join(std::ffi::OsStr::from_bytes(b"api/\xff")),
        "x",
    )
    .unwrap();
    let plan = world
        .run(&["plan", "checks", "--base", &base])
        .expect(0)
        .stdout;
    assert!(plan.contains("api     api/\\xff added"), "{plan}");
}

#[test]
fn a_path_that_is_not_there_is_an_error_at_its_place() {
    let world = world();
    let base = world.git(&["rev-parse", "HEAD"]);
    world.git(&["rm", "-q", "-r", "api", "lib"]);
    world.commit("Remove api and lib");
    for arguments in [
        &["plan", "backend"][..],
        &["plan", "backend", "--base", &base],
        &["pipeline", "backend"],
        // Gone on both sides: nothing changed, and nothing is right.
        &["plan", "backend", "--base", "HEAD"],
    ] {
        let run = world.run(arguments).expect(2);
        for wanted in [
            "components.api.path: `api` is not in this repository",
            "components.api.uses[0]: `lib` is not in this repository",
            "components.worker.uses[0]: `lib`",
            "pipeline.yaml:",
        ] {
            assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
        }
    }
    // Other pipelines do not use them.
    let _ = world.run(&["plan", "web"]).expect(0);
}

#[test]
fn a_path_that_hides_its_changes_is_an_error() {
    let world = world();
    world.git(&["mv", "lib", "real"]);
    std::os::unix::fs::symlink("real", world.repository().join("lib")).unwrap();
    world.git(&["mv", "worker", "work"]);
    std::os::unix::fs::symlink("work", world.repository().join("worker")).unwrap();
    world.commit("Link");
    let run = world.run(&["plan", "backend"]).expect(2);
    for wanted in [
        "components.api.uses[0]: `lib` is a symlink to `real`, whose changes would not be seen",
        "components.worker.path: `worker` is a symlink",
    ] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    world.replace("pipeline.yaml", "    path: worker\n", "    path: work\n");
    world.replace(
        "pipeline.yaml",
        "path: api\n    uses: [lib]",
        "path: api\n    uses: [lib, real]",
    );
    world.replace(
        "pipeline.yaml",
        "path: work\n    uses: [lib]",
        "path: work\n    uses: [real]",
    );
    world.commit("Name what they lead to");
    let _ = world.run(&["plan", "backend"]).expect(0);
}

#[test]
fn a_script_that_is_not_there_is_told_before_anything_runs() {
    let world = world();
    world.git(&["mv", "api/test.sh", "lib/test.sh"]);
    world.replace(
        "pipeline.yaml",
        "    uses: [lib]\n    tools: []\n    test: sh test.sh",
        "    uses: [lib]\n    tools: []\n    test: sh tests.sh",
    );
    world.replace(
        "pipeline.yaml",
        "    path: worker\n    uses: [lib]\n    tools: []\n    test: sh tests.sh",
        "    path: worker\n    uses: [lib]\n    tools: []\n    test: sh ../web/test.sh",
    );
    world.commit("Break the tests");
    let plan = world.run(&["plan", "backend"]).expect(0).stdout;
    for wanted in [
        "note: api: `test` runs tests.sh, and there is no api/tests.sh in this repository",
        "note: worker: `test` runs ../web/test.sh, and web/test.sh is not among its sources: add it to `uses`",
    ] {
        assert!(plan.contains(wanted), "{wanted}: {plan}");
    }
}

#[test]
fn where_nothing_can_be_written_is_told_before_anything_runs() {
    let world = world();
    world.write("images", "a file");
    world.replace(
        "pipeline.yaml",
        "layout: .shipline/registry",
        "layout: images/all",
    );
    world.commit("Publish into a file");
    let run = world.run(&["pipeline", "web"]).expect(2);
    assert!(
        run.stderr
            .contains("profiles.local.registry.layout: `images/all` cannot be written"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("unit-tests"), "{}", run.stderr);
}

#[test]
fn a_repository_that_only_deploys_declares_no_pipelines() {
    let world = world();
    let text = world.read("pipeline.yaml");
    let (text, _) = text.split_once("pipelines:\n").unwrap();
    world.write("pipeline.yaml", text);
    world.commit("Only deploy");
    let _ = world.run(&[
        "gitops",
        "set",
        "web=staging-1",
        "-e",
        "staging",
        "--message",
        "by hand",
    ]);
    for arguments in [
        &["plan", "web"][..],
        &["pipeline", "web"],
        &["explain", "web", "web"],
    ] {
        let run = world.run(arguments).expect(2);
        assert!(
            run.stderr.contains("pipeline.yaml declares none"),
            "{}",
            run.stderr
        );
    }
    let _ = world.run(&["config", "show"]).expect(0);
}

#[test]
fn a_pipeline_without_a_gitops_stage_needs_no_gitops_repository() {
    let world = world();
    world.replace(
        "pipeline.yaml",
        "profiles:\n",
        "profiles:\n  none: { registry: { layout: .shipline/images } }\n  gone:\n    registry: { layout: .shipline/images }\n    gitops: { url: \"http://127.0.0.1:9/${env.NOWHERE}\", token: \"${secret.NOWHERE}\" }\n",
    );
    world.replace(
        "pipeline.yaml",
        "pipelines:\n",
        &format!("{CHECKS}  images:\n    components: [api]\n    stages: {{ b: {{ kind: build }}, p: {{ kind: push, needs: [b] }} }}\n"),
    );
    world.commit("Add pipelines");
    for profile in ["local", "none", "gone"] {
        for pipeline in ["checks", "images"] {
            let run = world
                .run(&["pipeline", pipeline, "--profile", profile])
                .expect(0);
            assert!(!run.stderr.contains("NOWHERE is"), "{}", run.stderr);
        }
    }
    assert!(!world.repository().join(".shipline/gitops.git").exists());
    let warned = world.run(&["plan", "images"]).expect(0).stderr;
    assert!(warned.contains("published unscanned"), "{warned}");
    // With one it is needed, and the error says where it belongs.
    let run = world.run(&["plan", "web", "--profile", "none"]).expect(2);
    assert!(
        run.stderr
            .contains("profile `none` names no GitOps repository"),
        "{}",
        run.stderr
    );
}

#[test]
fn explaining_looks_at_the_one_component_only() {
    let world = world();
    world.git(&["rm", "-q", "-r", "worker"]);
    world.commit("Remove worker");
    let _ = world.run(&["plan", "backend"]).expect(2);
    let explained = world.run(&["explain", "backend", "api"]).expect(0).stdout;
    assert!(explained.contains("will be built: "), "{explained}");
    let run = world.run(&["explain", "backend", "apy"]).expect(2);
    assert!(run.stderr.contains("api"), "{}", run.stderr);
}

#[test]
fn a_large_file_that_is_in_no_commit_is_remembered() {
    let world = world();
    world.write("large.bin", &"x".repeat(2 << 20));
    let memory = world.repository().join(".shipline/cache/files");
    // A file whose times are of this very moment may still change unseen: it is not remembered before it has settled.
    let remembered = (0..1_000).find_map(|_| {
        let _ = world.run(&["plan", "web"]).expect(0);
        let text = std::fs::read_to_string(&memory).unwrap();
        text.contains("large.bin").then_some(text)
    });
    assert!(
        remembered.is_some(),
        "{:?}",
        std::fs::read_to_string(&memory)
    );
    assert_eq!(world.git(&["status", "--porcelain"]), "?? large.bin");
}

#[test]
fn a_pull_request_is_measured_in_a_clone_that_is_two_commits_deep() {
    let world = world();
    let first = world.git(&["rev-parse", "HEAD"]);
    world.git(&["checkout", "-q", "-b", "topic"]);
    world.write("api/name.txt", "api, second edition\n");
    let head = world.commit("Change api");
    world.git(&["checkout", "-q", "main"]);
    world.write("web/more.txt", "more\n");
    let base = world.commit("Change web");
    world.git(&["checkout", "-q", "-b", "merge"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "Merge", "topic"]);
    let clone = world.path("clone");
    let url = format!("file://{}", world.repository().display());
    world.git(&["init", "-q", "-b", "main", &clone.display().to_string()]);
    let git = |arguments: &[&str]| {
        let folder = clone.display().to_string();
        world.git(&[&["-C", folder.as_str()], arguments].concat())
    };
    git(&["fetch", "-q", "--depth=2", &url, "merge"]);
    git(&["checkout", "-q", "--detach", "FETCH_HEAD"]);
    let event = world.path("event.json");
    let plan = |tip: &str| {
        std::fs::write(
            &event,
            format!(
                "{{\"pull_request\":{{\"base\":{{\"ref\":\"main\",\"sha\":\"{tip}\"}},\"head\":{{\"sha\":\"{head}\"}}}}}}"
            ),
        )
        .unwrap();
        let folder = clone.display().to_string();
        let run = world.run_with(
            &["-C", &folder, "plan", "backend"],
            &[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_EVENT_NAME", "pull_request"),
                ("GITHUB_BASE_REF", "main"),
                ("GITHUB_EVENT_PATH", &event.display().to_string()),
            ],
        );
        run.expect(0).stdout
    };
    // As the event tells it, and where the event is older than the merge.
    for tip in [&base, &first] {
        let plan = plan(tip);
        assert!(
            plan.contains("api     api/name.txt modified since"),
            "{plan}"
        );
        assert!(plan.contains("worker  not affected since"), "{plan}");
    }
}

/// Runs `plan` and `pipeline`, which must both refuse with the same words, before anything ran.
fn refused_at_once(world: &World, wanted: &[&str]) {
    for command in ["plan", "pipeline"] {
        let run = world.run(&[command, "web", "--all"]);
        assert!(
            run.code == 1 || run.code == 2,
            "{}: {}",
            run.code,
            run.stderr
        );
        for wanted in wanted {
            assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("test passed"), "{}", run.stderr);
        assert_eq!(tiny::tags(world), []);
    }
}

#[test]
fn what_the_gitops_stage_would_refuse_is_refused_while_planning() {
    type Break = fn(&World);
    const DEPLOYMENT: &str = "gitops/staging/web/deployment.yaml";
    let breaks: [(Break, &[&str]); 4] = [
        (
            |world| {
                world.git(&["rm", "-q", "-r", "gitops/staging/web"]);
                world.git(&["mv", "gitops/staging/api", "gitops/staging/other"]);
            },
            &["staging/web holds no manifests"],
        ),
        (
            |world| {
                world.replace(
                    DEPLOYMENT,
                    "image: registry.tiny.example/web:",
                    "image: registry.tiny.example/other:",
                );
            },
            &[
                "set the image of web in staging",
                "registry.tiny.example/other",
            ],
        ),
        (
            |world| {
                world.replace(
                    DEPLOYMENT,
                    "image: registry.tiny.example/web:",
                    "image: {{ .Values.image }}:",
                );
            },
            &["set the image of web in staging"],
        ),
        (
            |world| {
                world.replace("pipeline.yaml", ", seed: gitops }", " }");
            },
            &["open the GitOps repository", "give a `seed`"],
        ),
    ];
    for (apply, wanted) in breaks {
        let world = world();
        apply(&world);
        world.commit("Break");
        refused_at_once(&world, wanted);
    }
}

#[test]
fn what_was_spoilt_in_the_gitops_repository_is_found_before_the_tests() {
    let world = world();
    tiny::green(&world, &["pipeline", "web"]);
    let checkout = world.path("checkout");
    let folder = checkout.display().to_string();
    world.git(&["clone", "-q", ".shipline/gitops.git", &folder]);
    world.git(&["-C", &folder, "rm", "-q", "-r", "staging/web"]);
    world.git(&["-C", &folder, "commit", "-q", "-m", "Remove"]);
    world.git(&["-C", &folder, "push", "-q", "origin", "main"]);
    world.write("web/page.txt", "another page\n");
    world.commit("Change the page");
    for command in ["plan", "pipeline"] {
        let run = world.run(&[command, "web"]).expect(2);
        assert!(
            run.stderr.contains("staging/web holds no manifests"),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("test passed"), "{}", run.stderr);
    }
    // What writes nothing there is none of its business.
    tiny::green(&world, &["pipeline", "web", "--only", "unit-tests"]);
}

#[test]
fn gates_that_run_although_only_does_not_name_them_are_named() {
    let world = world();
    let arguments = &["pipeline", "web", "--only", "build,push", "--dry-run"];
    let plan = world.run(arguments).expect(0).stdout;
    assert!(
        plan.contains(
            "note: unit-tests, image-scan run as well, since `--only build,push` publishes"
        ),
        "{plan}"
    );
    let plan = world.run(&["plan", "web", "--only", "unit-tests"]);
    let plan = plan.expect(0).stdout;
    assert!(!plan.contains("as well"), "{plan}");
}

#[test]
fn without_a_cache_all_that_is_selected_is_made_again() {
    let world = world();
    tiny::green(&world, &["pipeline", "backend"]);
    let plan = world.run(&["plan", "backend"]).expect(0).stdout;
    assert!(plan.contains("not affected"), "{plan}");
    let arguments = &["pipeline", "backend", "--no-cache", "-c", "api"];
    let run = tiny::green(&world, arguments);
    for wanted in ["api: 1 test passed", "build/api: passed"] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("worker"), "{}", run.stderr);
    // What a person measures from is what it is measured from.
    let plan = world.run(&["plan", "backend", "--no-cache", "--base", "HEAD"]);
    assert!(plan.expect(0).stdout.contains("not affected"));
}

#[test]
fn a_new_variant_is_no_run_that_was_cut_off() {
    let world = world();
    tiny::green(&world, &["pipeline", "web"]);
    world.replace(
        "pipeline.yaml",
        "    delivery: automatic\n",
        "    delivery: automatic\n  preview:\n    url: https://preview.tiny.example\n    api_urls: [https://preview.tiny.example/api]\n    delivery: manual\n    promotes: staging\n    confirm: DEPLOY\n",
    );
    world.replace(
        "pipeline.yaml",
        "        production:\n          args",
        "        preview:\n          tag_prefix: preview-\n          args: { API_BASE: https://preview.tiny.example/api/users }\n        production:\n          args",
    );
    world.commit("Add a variant");
    let plan = world.run(&["plan", "web"]).expect(0).stdout;
    assert!(plan.contains("of them not this image"), "{plan}");
    assert!(!plan.contains("cut off"), "{plan}");
}
