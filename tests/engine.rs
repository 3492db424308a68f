//! Images that a Docker engine builds, through the real binary: twins, a build secret, both of its builders, Ctrl-C and SIGKILL.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use shipline_testkit::needs;
use shipline_testkit::secret::Trace;
use shipline_testkit::service::engine::{
    BASE, COMPONENT_LABEL, EngineImages, base, docker, runs, wait_until,
};
use shipline_testkit::tiny;
use shipline_testkit::world::{Ran, World};

const STAGING: &str = "https://staging.tiny.example/api/users";
const PRODUCTION: &str = "https://tiny.example/api/users";

/// The engine's builders, and how a person chooses: as for docker's own client.
const BUILDERS: [(&str, &str); 2] = [("BuildKit", "1"), ("classic", "0")];

/// The tiny platform with a `web` that an engine must build, under the name of these images.
fn world(images: &EngineImages, dockerfile: &str) -> World {
    let name = images.component();
    let mut world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    if let Ok(host) = std::env::var("DOCKER_HOST") {
        world = world.with("DOCKER_HOST", &host);
    }
    tiny::rename(&world, "web", name);
    // What the host would make of the args would tell the twins' contexts apart.
    world.replace(
        "pipeline.yaml",
        "      prepare: sh build.sh\n      variants:",
        "      variants:",
    );
    world.write(&format!("{name}/Dockerfile"), dockerfile);
    world.write(&format!("{name}/.dockerignore"), "never\n**/*.private\n");
    world.write(&format!("{name}/never"), "never");
    world.write(&format!("{name}/deep/x.private"), "never");
    world.write(&format!("{name}/nonce"), &nonce());
    world.commit("Build with an engine");
    world
}

/// Another text for every test run: an engine remembers steps, and what they said.
fn nonce() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

/// What the image of the registry says when it runs. A foreign tool reads it, and the engine's own client loads it, which tells
/// where that fails.
fn said(world: &World, images: &EngineImages, name: &str) -> String {
    let (_, tag) = name.split_once(':').unwrap();
    let (archive, reference) = (world.path(tag), images.reference(&format!("ran-{tag}")));
    let copied = world
        .command("skopeo")
        .args(["copy", "--quiet"])
        .arg(format!("oci:.shipline/registry:{name}"))
        .arg(format!("docker-archive:{}:{reference}", archive.display()))
        .output()
        .unwrap();
    assert!(
        copied.status.success(),
        "{}",
        String::from_utf8_lossy(&copied.stderr)
    );
    docker(&["load", "--input", &archive.display().to_string()]).unwrap();
    docker(&["run", "--rm", "--network", "none", &reference]).unwrap()
}

fn tags_of(world: &World, name: &str) -> [(String, String, &'static str); 2] {
    let tags = tiny::tags(world);
    let [production, staging] = tags.as_slice() else {
        panic!("two images, not {tags:?}")
    };
    assert!(
        staging.0.starts_with(&format!("{name}:staging-")),
        "{tags:?}"
    );
    [
        (production.0.clone(), production.1.clone(), PRODUCTION),
        (staging.0.clone(), staging.1.clone(), STAGING),
    ]
}

#[test]
fn twins_are_built_by_both_builders_and_run() {
    let test = "twins_are_built_by_both_builders_and_run";
    if !base(test) || !needs::programs(test, &["skopeo"]) {
        return;
    }
    for (builder, switch) in BUILDERS {
        let own = EngineImages::new("engine-twins");
        // The label is for the classic builder, which keeps the image of a stage, too.
        let label = format!("LABEL {COMPONENT_LABEL}={}", own.component());
        let dockerfile = format!(
            "FROM {BASE} AS build\n{label}\nCOPY . /src\nRUN echo made once > /shared\nARG API_BASE\nRUN echo \"$API_BASE\" > /page\n\
             FROM {BASE}\nCOPY --from=build /src /src\nCOPY --from=build /shared /page /srv/\nCMD [\"/bin/cat\", \"/srv/page\"]\n"
        );
        let world = world(&own, &dockerfile).with("DOCKER_BUILDKIT", switch);
        let run = tiny::green(&world, &["pipeline", "web"]);
        let word = if switch == "0" {
            "the classic builder"
        } else {
            "BuildKit"
        };
        assert!(
            run.stderr
                .contains(&format!("builds with {word} of the engine")),
            "{}",
            run.stderr
        );
        // The log is whole: each step, and what it was done with.
        assert!(
            run.stderr.contains("RUN echo made once")
                && run.stderr.to_lowercase().contains("cache"),
            "{}",
            run.stderr
        );
        let images = tags_of(&world, own.component());
        for (tag, digest, url) in &images {
            assert_eq!(said(&world, &own, tag), format!("{url}\n"), "{builder}");
            let files = tiny::image_files(&world, digest);
            let file = |wanted: &str| files.iter().find(|(path, _)| path == wanted);
            assert_eq!(file("srv/shared").unwrap().1, "made once\n");
            assert!(file("src/nonce").is_some(), "{files:?}");
            assert!(
                file("src/never").is_none() && file("src/deep/x.private").is_none(),
                "the ignore file holds: {files:?}"
            );
            // `setup` has filled it.
            let cached = |path: &str| path.starts_with("src/cache");
            assert!(files.iter().all(|(path, _)| !cached(path)), "{files:?}");
        }
        assert_ne!(images[0].1, images[1].1);
        let again = tiny::green(&world, &["pipeline", "web", "--all"]);
        assert!(!again.stderr.contains("builds with"), "{}", again.stderr);
    }
}

#[test]
fn a_build_secret_stays_nowhere() {
    if !base("a_build_secret_stays_nowhere") {
        return;
    }
    let images = EngineImages::new("engine-secret");
    // The step does what a careless one does: it says the secret in every way that it can.
    let dockerfile = format!(
        "FROM {BASE}\nCOPY nonce /\nARG API_BASE\nRUN --mount=type=secret,id=token cat /run/secrets/token && echo \
         && /bin/busybox base64 -w 0 /run/secrets/token && echo && wc -c < /run/secrets/token > /size\nCOPY index.html /\n"
    );
    let world = world(&images, &dockerfile);
    world.replace(
        "pipeline.yaml",
        "      variants:",
        "      secrets: { token: \"${secret.TINY_TOKEN}\" }\n      variants:",
    );
    world.commit("Mount a secret");
    let secret = format!("s3cr/t+{}?&=~ü", nonce());
    let trace = Trace::of(&secret);
    let run = world
        .run_with(&["pipeline", "web"], &[("TINY_TOKEN", &secret)])
        .expect(0);
    assert!(
        run.stderr.contains("***"),
        "what the step said is masked: {}",
        run.stderr
    );
    let json = world
        .run_with(
            &["pipeline", "web", "--all", "--no-cache", "--json"],
            &[("TINY_TOKEN", &secret)],
        )
        .expect(0);
    for ran in [&run, &json] {
        trace.assert_not_in(ran.stdout.as_bytes(), "the output");
        trace.assert_not_in(ran.stderr.as_bytes(), "the output");
    }
    for (_, digest) in tiny::tags(&world) {
        let files = tiny::image_files(&world, &digest);
        let size = files.iter().find(|(path, _)| path == "size");
        assert_eq!(size.unwrap().1.trim(), secret.len().to_string());
        for (path, text) in &files {
            trace.assert_not_in(text.as_bytes(), path);
        }
    }
    for variant in ["staging", "production"] {
        let reference = images.reference(variant);
        let history = docker(&["history", "--no-trunc", &reference]).unwrap();
        trace.assert_not_in(history.as_bytes(), "docker history");
        let inspected = docker(&["image", "inspect", &reference]).unwrap();
        trace.assert_not_in(inspected.as_bytes(), "docker inspect");
    }
    trace.assert_not_below(&world.repository().join(".shipline"));

    let classic = world.run_with(
        &["pipeline", "web", "--all", "--no-cache"],
        &[("TINY_TOKEN", &secret), ("DOCKER_BUILDKIT", "0")],
    );
    assert_eq!(classic.code, 3, "{}", classic.stderr);
    assert!(
        classic.stderr.contains("cannot mount secrets"),
        "{}",
        classic.stderr
    );
}

#[test]
fn a_secret_as_build_arg_is_warned_of() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.replace(
        "pipeline.yaml",
        "      prepare: sh build.sh\n      variants:",
        "      prepare: sh build.sh\n      args: { NPM_TOKEN: \"${secret.NPM_TOKEN}\", NEXT_PUBLIC_KEY: \"${secret.KEY}\" }\n      variants:",
    );
    world.commit("Give a secret as an arg");
    let secrets = [("NPM_TOKEN", "npm-token-1"), ("KEY", "public-key-1")];
    let run = world.run_with(&["pipeline", "web"], &secrets).expect(0);
    let told: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("stays readable in the image's history"))
        .collect();
    assert_eq!(told.len(), 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("RUN --mount=type=secret,id=NPM_TOKEN"),
        "the mount is named: {}",
        run.stderr
    );
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Starts a pipeline whose build sleeps, ends it by `signal` while the engine runs the step, and waits until the engine is quiet.
fn end_by(signal: Signal, switch: &str, number: u8) -> Ran {
    let command = format!("sleep 7{number}{:07}", std::process::id());
    let images = EngineImages::new("engine-end");
    // No step before it: the classic builder would keep its image, which says nothing of whose it is.
    let world =
        world(&images, &format!("FROM {BASE}\nRUN {command}\n")).with("DOCKER_BUILDKIT", switch);
    let mut child = world.start(&["pipeline", "web"]);
    let mut ended = false;
    wait_until("the step runs", || {
        ended = !matches!(child.try_wait(), Ok(None));
        ended || runs(&command)
    });
    if ended {
        panic!("it ended before its step ran: {:#?}", world.wait(child));
    }
    kill(pid(&child), signal).unwrap();
    let ran = world.wait(child);
    wait_until("the step is gone", || !runs(&command));
    wait_until("no container is left", || {
        !docker(&["ps", "--no-trunc", "--format", "{{.Command}}"])
            .unwrap()
            .contains(&command)
    });
    assert!(tiny::tags(&world).is_empty());
    assert_eq!(tiny::processes(&world), Vec::<String>::new());
    ran
}

#[test]
fn ctrl_c_ends_the_build_in_the_engine() {
    if !base("ctrl_c_ends_the_build_in_the_engine") {
        return;
    }
    for ((_, switch), number) in BUILDERS.into_iter().zip(0..) {
        let ran = end_by(Signal::SIGINT, switch, number).expect(130);
        assert!(ran.stderr.contains("cancel"), "{}", ran.stderr);
    }
}

#[test]
fn a_killed_run_leaves_no_build_in_the_engine() {
    if !base("a_killed_run_leaves_no_build_in_the_engine") {
        return;
    }
    for ((_, switch), number) in BUILDERS.into_iter().zip(2..) {
        let _ = end_by(Signal::SIGKILL, switch, number).expect(137);
    }
}
