//! Dockerfiles as people write them, and what they become or what is said about them: the facts are those of BuildKit's own
//! tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use serde_json::json;
use shipline_engine::error::ErrorClass;

use crate::build::Pulled;
use crate::support::Task;
use crate::world::{World, files};

/// What stands in the files of an image.
fn contents(world: &World) -> Vec<(String, String)> {
    let built = world.build();
    files(&world.store, &built.digest)
        .into_iter()
        .filter_map(|(path, file)| {
            let text = file.strip_prefix("f 644 0:0 ")?;
            Some((path, text.to_owned()))
        })
        .collect()
}

fn check(dockerfile: &str, context: &[(&str, &str)], expected: &[(&str, &str)]) {
    let world = World::new(context, dockerfile);
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    assert_eq!(contents(&world), expected, "{dockerfile}");
}

#[test]
fn a_stage_sees_the_args_of_the_stage_it_stands_on() {
    let dockerfile = "FROM scratch AS one\nARG V=3\nENV W=w\nARG W=hidden\nFROM one AS two\nFROM two\nENV Y=v$V\nCOPY f$V /$Y-$W\n";
    check(
        dockerfile,
        &[("f3", "three"), ("f", "none")],
        &[("v3-hidden", "three")],
    );
    // What the base of the base has is not said again for a stage that only copies from it.
    check(
        "FROM scratch AS one\nARG V=3\nFROM scratch\nCOPY f$V /g\n",
        &[("f3", "three"), ("f", "none")],
        &[("g", "none")],
    );
    let mut world = World::new(
        &[("f", "f")],
        "FROM scratch\nARG V=${X:?must not be read}\nCOPY f /$V\n",
    );
    let value = shipline_model::value::Value::Public("given".to_owned());
    world.request.args.insert("V".to_owned(), value);
    assert_eq!(contents(&world), [("given".to_owned(), "f".to_owned())]);
}

#[test]
fn heredocs_are_read_as_buildkit_reads_them() {
    check(
        "FROM scratch\nENV A=x\nCOPY <<E /plain\n~ \\.php$\na\\nb \\\\d \\$A $A \"q\\\"x\"\nE\nCOPY <<'E' /raw\n\\.php \\\\ $A\nE\n",
        &[],
        &[
            ("plain", "~ .php$\nanb \\d $A x \"q\"x\"\n"),
            ("raw", "\\.php \\\\ $A\n"),
        ],
    );
    // The escape character of the Dockerfile is that of its lines, and not of its texts.
    check(
        "# escape=`\nFROM scratch\nCOPY <<E /t\n`$A \\$A\nE\n",
        &[],
        &[("t", "` $A\n")],
    );
    check(
        "FROM scratch AS base\nONBUILD COPY <<-E /t\n\tone $V\n\tE\nFROM base\n",
        &[],
        &[("t", "one \n")],
    );
}

#[test]
fn what_matches_goes_into_a_folder_that_is_there() {
    check(
        "FROM scratch\nCOPY d /d\nCOPY *.txt /d\nCOPY e.md f.md /d\n",
        &[
            ("d/x", "x"),
            ("a.txt", "a"),
            ("b.txt", "b"),
            ("e.md", "e"),
            ("f.md", "f"),
        ],
        &[
            ("d/a.txt", "a"),
            ("d/b.txt", "b"),
            ("d/e.md", "e"),
            ("d/f.md", "f"),
            ("d/x", "x"),
        ],
    );
}

#[test]
fn secrets_behind_a_suffix_rule_stay_out() {
    check(
        "FROM scratch\nCOPY . /c/\n",
        &[
            (".dockerignore", "**.env\n**.pyc\nDockerfile\n.dockerignore"),
            (".env", "s"),
            ("prod.env", "s"),
            ("d/prod.env", "s"),
            ("a.pyc", "s"),
            ("k", "k"),
        ],
        &[("c/k", "k")],
    );
}

#[test]
fn the_config_holds_what_instructions_say() {
    let world = World::new(
        &[("x", "x")],
        "FROM scratch\nCOPY x /\nEXPOSE 8080:80 127.0.0.1:9000:9001/udp 3000-3001\nENV T=v1.2\nENV A=${T#\"v\"} B=${T%\".2\"} C=${T/\"v\"/w} D=${T//./\\-} E=${T#v}\n",
    );
    let config = world.config(&world.build());
    assert_eq!(
        config["config"]["ExposedPorts"],
        json!({"80/tcp": {}, "9001/udp": {}, "3000/tcp": {}, "3001/tcp": {}})
    );
    assert_eq!(
        config["config"]["Env"].as_array().unwrap()[1..],
        [
            json!("T=v1.2"),
            json!("A=1.2"),
            json!("B=v1"),
            json!("C=w1.2"),
            json!("D=v1\\-2"),
            json!("E=1.2")
        ]
    );
}

#[test]
fn bytes_that_are_no_text_are_read() {
    let world = World::new(&[("x", "x")], "");
    let dockerfile = b"FROM scratch\n# caf\xe9\nLABEL a=\"caf\xe9\"\nCOPY x /\n";
    fs::write(world.context("Dockerfile"), dockerfile).unwrap();
    let config = world.config(&world.build());
    assert_eq!(config["config"]["Labels"]["a"], json!("caf\u{fffd}"));
    fs::write(world.context("Dockerfile"), b"\xff\xfeF\0R\0").unwrap();
    assert!(world.refusal().1.contains("UTF-16"));
    fs::write(world.context("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    fs::write(world.context(".dockerignore"), b"\xff\xfe*\0").unwrap();
    assert!(world.refusal().1.contains("UTF-16"));
}

#[test]
fn every_image_has_a_path() {
    let mut world = World::new(&[("f", "f")], "FROM scratch\nCOPY f /\n");
    // An image without environment, as foreign builders make them.
    let bare = crate::support::small_image(&world.store, "bare");
    world.bases = Some(Arc::new(Pulled(bare)));
    fs::write(world.context("Dockerfile"), "FROM bare\nENV P=$PATH:/x\n").unwrap();
    let config = world.config(&world.build());
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        config["config"]["Env"],
        json!([format!("PATH={path}"), format!("P={path}:/x")])
    );
}

#[test]
fn more_layers_than_docker_stacks_are_noted() {
    let dockerfile = |count: usize| {
        let copies: Vec<String> = (0..count).map(|n| format!("COPY f /{n}\n")).collect();
        format!("FROM scratch\n{}", copies.concat())
    };
    for (count, noted) in [(127, false), (128, true)] {
        let world = World::new(&[("f", "f")], &dockerfile(count));
        let mut task = Task::new();
        world.try_build(&task).unwrap();
        let lines = task.lines();
        let found = lines.iter().any(|line| line.contains("127 at most"));
        assert_eq!(found, noted, "{lines:?}");
    }
}

#[test]
fn what_only_an_engine_can_do_goes_to_one() {
    let mut world = World::new(&[("f", "f")], "FROM scratch\nCOPY f /\nONBUILD RUN make\n");
    let base = world.build();
    world.bases = Some(Arc::new(Pulled(base.digest)));
    for (dockerfile, why) in [
        (
            "FROM onbuild:1\nCOPY f /\n",
            "line 1: the base `onbuild:1` has ONBUILD `RUN make`",
        ),
        (
            "FROM scratch\nADD --checksum=sha256:0 https://x.example/y /\n",
            "line 2: ADD has `--checksum=sha256:0`",
        ),
        (
            "FROM scratch\nADD --keep-git-dir=true f /\n",
            "line 2: ADD has `--keep-git-dir`",
        ),
        (
            "FROM scratch\nARG U=https://x.example/y\nADD $U /\n",
            "line 3: ADD cannot fetch `https://x.example/y`",
        ),
        (
            "FROM scratch\nADD me@git.example:a/b.git /\n",
            "line 2: ADD fetches",
        ),
        (
            "# syntax=example.com/own:1\nFROM a\nINCLUDE x\n",
            "line 1: `# syntax=example.com/own:1`",
        ),
        (
            "#!/bin/x\n#syntax=example.com/own:1\nFROM\n",
            "line 2: `# syntax=example.com/own:1`",
        ),
        (
            "# syntax=docker/dockerfile:1-labs\nFROM a\nFUTURE x\n",
            "line 3: `FUTURE` is no instruction",
        ),
        (
            "# syntax=docker/dockerfile:1-labs\nFROM a\nCOPY --future a b\n",
            "line 3: COPY has no flag `--future`",
        ),
    ] {
        fs::write(world.context("Dockerfile"), dockerfile).unwrap();
        let (class, text) = world.refusal();
        assert_eq!(class, ErrorClass::Unavailable, "{dockerfile}: {text}");
        assert!(
            text.contains(why) && text.contains("no Docker engine"),
            "{text}"
        );
    }
    // A typo is one, whatever frontend is named.
    for dockerfile in [
        "# syntax=docker/dockerfile:1\nFROM a\nCOPPY a b\n",
        "# syntax=docker/dockerfile:1\nFROM a\nCOPY --chmdo=1 a b\n",
        "FROM a\nFUTURE x\n",
    ] {
        fs::write(world.context("Dockerfile"), dockerfile).unwrap();
        assert_eq!(world.refusal().0, ErrorClass::Invalid, "{dockerfile}");
    }
}

#[test]
fn errors_name_place_cause_and_remedy() {
    let mut world = World::new(
        &[
            ("app/ignored/f", "f"),
            ("app/.dockerignore", "ignored\n"),
            ("live/made/f", "f"),
        ],
        "",
    );
    world.request.context = world.context("app");
    world.request.live = Some(world.request.root.join("live"));
    world.request.dockerfile = world.context("Dockerfile");
    for (dockerfile, wanted) in [
        (
            "FROM scratch\ncoppy a b\n",
            &[
                "from app/Dockerfile",
                "`coppy` is no instruction",
                "did you mean `COPY`?",
                "╭─[app/Dockerfile:2]\n 1 │ FROM scratch\n 2 │ coppy a b\n",
            ][..],
        ),
        (
            "FROM scratch\nCOPY ignored/f /\n",
            &[
                "line 2",
                "app/.dockerignore line 1 (`ignored`) leaves it out",
                "2 │ COPY ignored/f /",
            ],
        ),
        (
            "FROM scratch\nCOPY made/f /\n",
            &["git ignores it", "`prepare`"],
        ),
        (
            "FROM scratch\nCOPY none /\n",
            &["`/none` is not in the build context: no such file"],
        ),
        (
            "FROM scratch AS Builder\nFROM scratch\nCOPY --from=buidler /x /y\n",
            &[
                "`buidler` of app/Dockerfile line 3",
                "did you mean the stage `Builder`?",
            ],
        ),
        (
            "FROM scratch AS Builder\nFROM Bulider\n",
            &["did you mean the stage `Builder`?"],
        ),
    ] {
        fs::write(&world.request.dockerfile, dockerfile).unwrap();
        world.request.recipe = Some(dockerfile.into());
        world.bases = Some(Arc::new(Nowhere));
        let (_, text) = world.refusal();
        for wanted in wanted {
            assert!(text.contains(wanted), "{dockerfile}: {text}");
        }
    }
    // Nobody's source is shown.
    world.request.recipe = Some(b"FROM scratch\n".to_vec());
    fs::write(&world.request.dockerfile, "secret words\n").unwrap();
    let (_, text) = world.refusal();
    assert!(!text.contains("words"), "{text}");
}

/// A registry that has no image.
struct Nowhere;

#[async_trait::async_trait]
impl shipline_oci::build::BaseImages for Nowhere {
    async fn resolve(
        &self,
        reference: &str,
        _: &shipline_model::config::Platform,
        _: &Arc<dyn shipline_engine::backend::ImageStore>,
        _: &shipline_engine::task::TaskContext,
    ) -> Result<shipline_model::name::Digest, shipline_engine::error::BackendError> {
        Err(shipline_engine::error::BackendError::new(
            ErrorClass::NotFound,
            format!("pull {reference}"),
        ))
    }

    fn choice(&self, _: &shipline_engine::task::TaskContext) -> shipline_oci::build::BaseChoice {
        shipline_oci::build::BaseChoice::Floating
    }

    async fn look_up(
        &self,
        reference: &str,
        _: &shipline_model::config::Platform,
        _: &shipline_engine::task::TaskContext,
    ) -> Result<(String, shipline_model::name::Digest), shipline_engine::error::BackendError> {
        Err(shipline_engine::error::BackendError::new(
            ErrorClass::NotFound,
            format!("look {reference} up"),
        ))
    }
}

#[test]
fn what_leads_out_of_the_repository_is_not_read() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "root:x:0:0\n").unwrap();
    let world = World::new(
        &[("f", "f"), ("docker/Real", "FROM scratch\nCOPY f /\n")],
        "",
    );
    let dockerfile = world.context("Dockerfile");
    let link = |target: &std::path::Path, name: &str| {
        let path = world.context(name);
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    };
    let refused = |why: &str| {
        let (class, text) = world.refusal();
        assert_eq!(class, ErrorClass::Invalid, "{text}");
        assert!(text.contains(why) && !text.contains("root:x"), "{text}");
    };
    link(&secret, "Dockerfile");
    refused("it is a link that leads out of the repository");
    link(&outside.path().join("none"), "Dockerfile");
    refused("it is a link that leads nowhere");
    link(&world.context("docker"), "Dockerfile");
    refused("it is no file");
    // Inside the repository a link is as good as what it leads to.
    link("docker/Real".as_ref(), "Dockerfile");
    world.build();
    link(&secret, ".dockerignore");
    refused("it is a link that leads out of the repository");
    fs::remove_file(world.context(".dockerignore")).unwrap();
    link(&secret, "Dockerfile.dockerignore");
    refused("it is a link that leads out of the repository");
    fs::remove_file(world.context("Dockerfile.dockerignore")).unwrap();
    fs::remove_file(&dockerfile).unwrap();
    nix::unistd::mkfifo(&dockerfile, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("it is no file");
}

#[test]
fn hostile_dockerfiles_end_quickly_with_an_error() {
    for (dockerfile, wanted) in [
        (
            format!(
                "FROM scratch\nENV A={}{}\n",
                "${B:-".repeat(4000),
                "}".repeat(4000)
            ),
            "stand in one another",
        ),
        (
            format!(
                "FROM scratch\nENV A={}\n{}",
                "x".repeat(100),
                "ENV A=$A$A\n".repeat(40)
            ),
            "more than 1048576",
        ),
        (
            format!(
                "FROM scratch\nENV A={}\n{}",
                "x".repeat(60_000),
                "LABEL a=$A$A$A$A$A\n".repeat(4_000)
            ),
            "characters of this Dockerfile",
        ),
        ("FROM scratch\n".repeat(300), "more than 250 stages"),
        ("EXPOSE x\n".repeat(6_000), "more than 5000 instructions"),
        (
            format!("FROM scratch\nCOPY {} /\n", "[\"".repeat(30_000)),
            "is no pattern",
        ),
        (
            format!("FROM scratch\n{}", "EXPOSE 0-65535\n".repeat(2_000)),
            "characters of this Dockerfile",
        ),
    ] {
        let world = World::new(&[], &dockerfile);
        let (class, text) = world.refusal();
        assert_eq!(class, ErrorClass::Invalid, "{text}");
        assert!(
            text.contains(wanted),
            "{wanted}: {}",
            &text[..text.len().min(2000)]
        );
    }
    let long = "a".repeat(20_000);
    let world = World::new(
        &[],
        &format!("FROM scratch\nENV L={long}\nENV A=${{L//a*b/x}} B=${{L%a*a*a*b}}\n"),
    );
    world.build();
}
