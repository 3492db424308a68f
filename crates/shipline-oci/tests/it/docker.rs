//! The Docker engine as builder, on the engine of this machine: both of its builders, secrets, reuse, cancellation. What it
//! makes of the table of Dockerfiles is in `parity`.

#![allow(
    clippy::disallowed_methods,
    reason = "the engine of this machine is asked by its own client and environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use shipline_engine::backend::{ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_model::value::{Secret, Value};
use shipline_oci::build::docker::{DockerBuilder, DockerSettings, Wanted};
use shipline_oci::credentials::Credentials;
use shipline_oci::store::LayoutStore;
use shipline_testkit::needs;
use shipline_testkit::service::engine::{
    BASE, COMPONENT_LABEL, EngineImages, base, base_archive, docker, runs, wait_until,
};
use shipline_testkit::service::{DockerRegistry, Podman, RegistryAccess};

use crate::support::{Task, tool};
use crate::world::{World, put_over, tars};

pub(crate) const BOTH: [Wanted; 2] = [Wanted::Best, Wanted::Classic];

fn builder(world: &World, wanted: Wanted) -> DockerBuilder {
    let settings = DockerSettings {
        host: std::env::var("DOCKER_HOST").ok(),
        wanted,
        ..DockerSettings::default()
    };
    builder_with(world, settings)
}

fn builder_with(world: &World, settings: DockerSettings) -> DockerBuilder {
    let cache = world.directory.path().join("cache");
    DockerBuilder::new(settings, cache, NonZeroUsize::new(2).unwrap())
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn try_build(
    world: &World,
    wanted: Wanted,
    task: &Task,
) -> Result<BuiltImage, BackendError> {
    runtime().block_on(builder(world, wanted).build(&world.request, &world.shared, &task.context))
}

fn build(world: &World, wanted: Wanted) -> (BuiltImage, Vec<String>) {
    let mut task = Task::new();
    let built = try_build(world, wanted, &task);
    whole(world, built, task.lines())
}

#[track_caller]
fn whole(
    world: &World,
    built: Result<BuiltImage, BackendError>,
    lines: Vec<String>,
) -> (BuiltImage, Vec<String>) {
    match built {
        Ok(built) => {
            assert!(world.store.is_whole(&built.digest).unwrap());
            (built, lines)
        }
        Err(error) => panic!("{}\n{}", told(&error), lines.join("\n")),
    }
}

/// An error with its causes and hints.
pub(crate) fn told(error: &BackendError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    format!("{text} | {}", error.hints.join(" "))
}

/// For a component of its own: tests run side by side on one engine, and so do clones of the repository.
pub(crate) fn world(component: &str, context: &[(&str, &str)], dockerfile: &str) -> World {
    let mut world = World::new(context, dockerfile);
    let images = EngineImages::new(component);
    let name = images.component().to_owned();
    world.request.id.component = name.parse().unwrap();
    world
        .request
        .labels
        .insert(COMPONENT_LABEL.to_owned(), name);
    world.engine = Some(images);
    world
}

/// The name in the engine of the image that a world built last.
fn reference(world: &World) -> String {
    world.engine.as_ref().unwrap().reference("staging")
}

/// The labels of an image, without the one by which tests find their images.
fn labels(world: &World, built: &BuiltImage) -> serde_json::Value {
    let mut labels = world.config(built)["config"]["Labels"].take();
    labels.as_object_mut().unwrap().remove(COMPONENT_LABEL);
    labels
}

/// What a container of the image sees, in the form of the table.
pub(crate) fn seen(store: &LayoutStore, built: &BuiltImage) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for tar in tars(store, &built.digest) {
        put_over(&mut files, &tar);
    }
    files
}

pub(crate) fn content(world: &World, built: &BuiltImage, path: &str) -> String {
    let files = seen(&world.store, built);
    let file = files
        .get(path)
        .unwrap_or_else(|| panic!("{path} is not in {files:?}"));
    file.splitn(4, ' ')
        .nth(3)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

#[test]
fn twins_have_their_own_args_and_share_the_rest() {
    if !base("twins_have_their_own_args_and_share_the_rest") {
        return;
    }
    for wanted in BOTH {
        let dockerfile =
            format!("FROM {BASE}\nRUN echo shared > /shared\nARG API\nRUN echo \"$API\" > /api\n");
        let mut world = world("twins", &[], &dockerfile);
        let mut digests = Vec::new();
        for variant in ["staging", "production"] {
            world.request.id.variant = Some(variant.parse().unwrap());
            let api = format!("https://{variant}.example");
            world.request.args = BTreeMap::from([("API".to_owned(), Value::Public(api.clone()))]);
            let (built, lines) = build(&world, wanted);
            assert_eq!(content(&world, &built, "api"), api, "{wanted:?}");
            assert_eq!(content(&world, &built, "shared"), "shared");
            assert_eq!(labels(&world, &built), json!({"commit": "abc"}));
            if !digests.is_empty() {
                assert!(
                    lines
                        .iter()
                        .any(|line| line.ends_with("cached") || line.contains("Using cache")),
                    "{lines:?}"
                );
                assert_eq!((built.layers, built.reused_layers), (3, 2), "{wanted:?}");
            }
            digests.push(built.digest);
        }
        assert_ne!(digests[0], digests[1]);
        let (again, _) = build(&world, wanted);
        assert_eq!((again.layers, again.reused_layers), (3, 3), "{wanted:?}");
        assert_eq!(again.digest, digests[1]);
    }
}

#[test]
fn a_build_secret_is_used_and_kept_nowhere() {
    if !base("a_build_secret_is_used_and_kept_nowhere") {
        return;
    }
    let secret = format!("s3cret-{}-{:?}", std::process::id(), Instant::now());
    let dockerfile = format!(
        "FROM {BASE}\nARG NONCE\nRUN --mount=type=secret,id=x cat /run/secrets/x | wc -c && echo done with it > /done\n"
    );
    let mut world = world("secret", &[], &dockerfile);
    world.request.args = BTreeMap::from([(
        "NONCE".to_owned(),
        Value::Public(std::process::id().to_string()),
    )]);
    world.request.secrets =
        BTreeMap::from([("x".to_owned(), Value::Secret(Secret::new(secret.clone())))]);
    let (built, lines) = build(&world, Wanted::Best);
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with(&format!(" {}", secret.len()))),
        "the log of the step that read {} bytes: {lines:?}",
        secret.len()
    );
    assert_eq!(content(&world, &built, "done"), "done with it");
    let holds = |bytes: &[u8]| {
        bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    };
    let history = docker(&["history", "--no-trunc", &reference(&world)]).unwrap();
    assert!(!holds(history.as_bytes()), "{history}");
    assert!(!holds(lines.join("\n").as_bytes()));
    assert!(!holds(world.config(&built).to_string().as_bytes()));
    assert!(
        tars(&world.store, &built.digest)
            .iter()
            .all(|tar| !holds(tar))
    );
    let mut folders = vec![world.directory.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert!(!holds(&fs::read(&path).unwrap()), "{}", path.display());
            }
        }
    }
    let error = try_build(&world, Wanted::Classic, &Task::new()).unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(
        told(&error).contains("BuildKit") && !told(&error).contains(&secret),
        "{}",
        told(&error)
    );
}

#[test]
fn stages_labels_and_the_ignore_file() {
    if !base("stages_labels_and_the_ignore_file") {
        return;
    }
    for wanted in BOTH {
        let dockerfile = format!(
            "FROM {BASE} AS build\nCOPY . /src\nRUN cat /src/a > /out\nFROM scratch AS small\nCOPY --from=build /out /out\n\
             COPY --from=build /src /src\nLABEL own=1 commit=mine\nFROM {BASE} AS other\nRUN test -e /never\n"
        );
        let context = [
            ("a", "a"),
            ("logs/x.log", "no"),
            ("logs/keep.log", "yes"),
            ("sub/run", "+xr"),
            ("sub/link", "->run"),
        ];
        let mut world = world("stages", &context, &dockerfile);
        fs::write(world.context(".dockerignore"), "never\n").unwrap();
        fs::write(
            world.context("Dockerfile.dockerignore"),
            "logs\n!logs/keep.log\n*ockerfile*\n.dockerignore\n",
        )
        .unwrap();
        world.request.target = Some("small".to_owned());
        world.request.dockerfile = world.context("Dockerfile");
        let (built, _) = build(&world, wanted);
        let files = seen(&world.store, &built);
        let expected = [
            ("out", "f 644 0:0 a"),
            ("src", "d 755 0:0"),
            ("src/a", "f 644 0:0 a"),
            ("src/logs", "d 755 0:0"),
            ("src/logs/keep.log", "f 644 0:0 yes"),
            ("src/sub", "d 755 0:0"),
            ("src/sub/link", "l 777 0:0 run"),
            ("src/sub/run", "f 755 0:0 r"),
        ];
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(path, file)| ((*path).to_owned(), (*file).to_owned()))
            .collect();
        assert_eq!(files, expected, "{wanted:?}");
        assert_eq!(
            labels(&world, &built),
            json!({"own": "1", "commit": "abc"}),
            "{wanted:?}"
        );
        assert_eq!(
            world
                .store
                .named(&format!("{}@staging", world.request.id.component))
                .unwrap(),
            Some(built.digest)
        );
    }
}

#[test]
fn a_failing_step_is_told_with_its_log_and_exit_code() {
    if !base("a_failing_step_is_told_with_its_log_and_exit_code") {
        return;
    }
    for wanted in BOTH {
        let dockerfile = format!("FROM {BASE}\nRUN echo it was here && exit 37\n");
        let world = world("failing", &[], &dockerfile);
        let mut task = Task::new();
        let error = try_build(&world, wanted, &task).unwrap_err();
        let text = told(&error);
        assert_eq!(error.class, ErrorClass::Failed);
        assert!(
            text.contains("37") && text.contains("exit 37"),
            "{wanted:?}: {text}"
        );
        let lines = task.lines();
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("it was here") && !line.contains("exit")),
            "{wanted:?}: {lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("RUN echo it was here")),
            "{lines:?}"
        );
    }
}

#[test]
fn without_an_engine_the_way_out_is_told() {
    let world = World::new(&[], "FROM scratch\nRUN x\n");
    let settings = DockerSettings {
        host: Some(format!("unix://{}", world.context("no.sock").display())),
        ..DockerSettings::default()
    };
    let builder = DockerBuilder::new(settings, world.context("cache"), NonZeroUsize::MIN);
    let task = Task::new();
    let error = runtime()
        .block_on(builder.build(&world.request, &world.shared, &task.context))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(told(&error).contains("no.sock"), "{}", told(&error));
    assert!(!error.hints.is_empty());
}

#[test]
fn a_cancelled_build_stops_in_the_engine() {
    if !base("a_cancelled_build_stops_in_the_engine") {
        return;
    }
    for (index, wanted) in BOTH.into_iter().enumerate() {
        let command = format!("sleep 6{index}{:06}", std::process::id());
        let world = world("cancelled", &[], &format!("FROM {BASE}\nRUN {command}\n"));
        let task = Task::new();
        let runtime = runtime();
        let (builder, request, store, context) = (
            builder(&world, wanted),
            world.request.clone(),
            world.shared.clone(),
            task.context.clone(),
        );
        let building =
            runtime.spawn(async move { builder.build(&request, &store, &context).await });
        wait_until("the step runs", || runs(&command));
        task.cancel.cancel();
        let error = runtime.block_on(building).unwrap().unwrap_err();
        assert_eq!(error.class, ErrorClass::Cancelled, "{}", told(&error));
        wait_until("the step is gone", || !runs(&command));
        wait_until("no container is left", || {
            let running = docker(&["ps", "--no-trunc", "--format", "{{.Command}}"]).unwrap();
            !running.contains(&command)
        });
    }
}

#[test]
fn the_built_image_loads_and_runs() {
    if !base("the_built_image_loads_and_runs") {
        return;
    }
    for wanted in BOTH {
        let dockerfile = format!("FROM {BASE}\nRUN echo made > /it\nCMD [\"/bin/cat\", \"/it\"]\n");
        let world = world("loads", &[], &dockerfile);
        let (built, _) = build(&world, wanted);
        let archive = world.directory.path().join("image.tar");
        let reference = world.engine.as_ref().unwrap().reference("loaded");
        world
            .store
            .export_docker_archive(
                &built.digest,
                &reference,
                &mut fs::File::create(&archive).unwrap(),
            )
            .unwrap();
        docker(&["load", "-i", archive.to_str().unwrap()]).unwrap();
        let said = docker(&["run", "--rm", "--network", "none", &reference]).unwrap();
        assert_eq!(said, "made\n", "{wanted:?}");
    }
}

#[test]
fn network_hosts_and_platform_reach_the_build() {
    if !base("network_hosts_and_platform_reach_the_build") {
        return;
    }
    for wanted in BOTH {
        let nonce = Instant::now();
        let dockerfile = format!(
            "FROM {BASE}\nRUN echo {nonce:?} && ls /sys/class/net > /net && cat /etc/hosts > /hosts\n"
        );
        let mut world = world("network", &[("x", "x")], &dockerfile);
        world.request.network = Some("none".to_owned());
        world.request.extra_hosts = vec!["db.example:10.1.2.3".into(), "v6.example:fd00::1".into()];
        let (built, _) = build(&world, wanted);
        assert_eq!(content(&world, &built, "net"), "lo", "{wanted:?}");
        let hosts = content(&world, &built, "hosts");
        for (address, name) in [("10.1.2.3", "db.example"), ("fd00::1", "v6.example")] {
            assert!(
                hosts
                    .lines()
                    .any(|line| line.split_whitespace().eq([address, name])),
                "{wanted:?}: {hosts}"
            );
        }
        // Bytes of its own: what the engine has made of others does not count.
        fs::write(world.context("x"), format!("{nonce:?}")).unwrap();
        fs::write(world.context("Dockerfile"), "FROM scratch\nCOPY x /\n").unwrap();
        world.request.network = None;
        world.request.extra_hosts.clear();
        world.request.platform.architecture = "arm64".to_owned();
        match wanted {
            Wanted::Best => {
                let (built, _) = build(&world, wanted);
                assert_eq!(world.config(&built)["architecture"], "arm64");
            }
            Wanted::Classic => {
                let (built, _) = build(&world, wanted);
                assert_eq!(world.config(&built)["architecture"], "arm64");
                // A step that it has made for another platform it takes again, and says nothing of it.
                fs::write(world.context("x"), format!("{nonce:?} again")).unwrap();
                world.request.platform.architecture = "amd64".to_owned();
                let (built, _) = build(&world, wanted);
                assert_eq!(world.config(&built)["architecture"], "amd64");
                world.request.platform.architecture = "arm64".to_owned();
                let error = try_build(&world, wanted, &Task::new()).unwrap_err();
                assert_eq!(error.class, ErrorClass::Invalid);
                assert!(told(&error).contains("linux/amd64"), "{}", told(&error));
            }
        }
    }
}

#[test]
fn a_context_that_cannot_be_sent_says_why() {
    if !base("a_context_that_cannot_be_sent_says_why") {
        return;
    }
    for wanted in BOTH {
        let world = world("pipe", &[], &format!("FROM {BASE}\nCOPY . /\n"));
        tool("mkfifo", &[world.context("pipe").to_str().unwrap()]).unwrap();
        let error = try_build(&world, wanted, &Task::new()).unwrap_err();
        assert!(
            told(&error).contains("socket, pipe or device"),
            "{wanted:?}: {}",
            told(&error)
        );
    }
}

#[test]
fn a_cache_is_imported_from_a_registry() {
    if !base("a_cache_is_imported_from_a_registry") {
        return;
    }
    let Some(registry) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let nonce = format!("{}-{}", std::process::id(), registry.host());
    let step = format!("echo {nonce} > /made");
    let mut world = world("cache", &[], &format!("FROM {BASE}\nRUN {step}\n"));
    world.request.args = BTreeMap::from([(
        "BUILDKIT_INLINE_CACHE".to_owned(),
        Value::Public("1".to_owned()),
    )]);
    let steps = |lines: &[String]| {
        let number = lines
            .iter()
            .find_map(|line| {
                let (number, rest) = line.split_once(' ')?;
                rest.contains("RUN echo").then(|| number.to_owned())
            })
            .unwrap();
        lines.contains(&format!("{number} cached"))
    };
    // What this engine remembers of the step, and of nothing else.
    let forget = || {
        let known = docker(&["system", "df", "-v", "--format", "{{json .BuildCache}}"]).unwrap();
        let known: Vec<serde_json::Value> = serde_json::from_str(&known).unwrap();
        let mut found = 0;
        for record in known {
            if record["Description"].as_str().unwrap().contains(&nonce) {
                let filter = format!("id={}", record["ID"].as_str().unwrap());
                docker(&["builder", "prune", "--all", "--force", "--filter", &filter]).unwrap();
                found += 1;
            }
        }
        assert!(found > 0, "the engine remembers nothing of the step");
    };
    let (first, lines) = build(&world, Wanted::Best);
    assert!(!steps(&lines), "{lines:?}");
    let (ours, pushed) = (reference(&world), format!("{}/cache:1", registry.host()));
    docker(&["tag", &ours, &pushed]).unwrap();
    docker(&["push", &pushed]).unwrap();
    docker(&["rmi", &pushed, &ours]).unwrap();
    forget();
    world.request.cache_from = vec![pushed];
    let (second, lines) = build(&world, Wanted::Best);
    assert!(
        steps(&lines),
        "the step is taken from the registry: {lines:?}"
    );
    let layers = |built: &BuiltImage| world.config(built)["rootfs"]["diff_ids"].clone();
    assert_eq!(layers(&first), layers(&second));
    // Nothing is taken where nothing is said: it was the registry.
    docker(&["rmi", &ours]).unwrap();
    forget();
    world.request.cache_from.clear();
    let (_, lines) = build(&world, Wanted::Best);
    assert!(!steps(&lines), "{lines:?}");
}

#[test]
fn bases_are_pulled_with_the_logins_that_are_known() {
    let test = "bases_are_pulled_with_the_logins_that_are_known";
    if !base(test) || !needs::programs(test, &["skopeo"]) {
        return;
    }
    let Some(registry) = DockerRegistry::start(RegistryAccess::Password).unwrap() else {
        return;
    };
    let credentials = Credentials::Login {
        username: DockerRegistry::USER.to_owned(),
        password: Secret::new(DockerRegistry::PASSWORD.to_owned()),
    };
    for (index, wanted) in BOTH.into_iter().enumerate() {
        let reference = format!("{}/base:{index}", registry.host());
        let login = format!("{}:{}", DockerRegistry::USER, DockerRegistry::PASSWORD);
        let (good, output) = tool(
            "skopeo",
            &[
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                &format!("--dest-creds={login}"),
                &format!("docker-daemon:{BASE}"),
                &format!("docker://{reference}"),
            ],
        )
        .unwrap();
        assert!(good, "{output}");
        let world = world(
            "login",
            &[],
            &format!("FROM {reference}\nRUN echo in > /in\n"),
        );
        let error = try_build(&world, wanted, &Task::new()).unwrap_err();
        assert_eq!(
            error.class,
            ErrorClass::Failed,
            "{wanted:?}: nobody may pull"
        );
        let mut task = Task::new();
        let builder = builder(&world, wanted).with_logins(Arc::new(credentials.clone()));
        let built = runtime().block_on(builder.build(&world.request, &world.shared, &task.context));
        let (built, lines) = whole(&world, built, task.lines());
        assert_eq!(content(&world, &built, "in"), "in");
        assert!(
            !lines.join("\n").contains(DockerRegistry::PASSWORD),
            "{lines:?}"
        );
        let _ = docker(&["rmi", &reference]);
    }
}

#[test]
fn the_engine_of_a_docker_context_is_found() {
    if !base("the_engine_of_a_docker_context_is_found") {
        return;
    }
    let Ok(host) = docker(&[
        "context",
        "inspect",
        "--format",
        "{{.Endpoints.docker.Host}}",
    ]) else {
        return;
    };
    let world = world("context", &[], &format!("FROM {BASE}\nRUN echo x > /x\n"));
    let folder = world.directory.path().join("docker");
    let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(b"lab"));
    let meta = folder.join("contexts/meta").join(name);
    fs::create_dir_all(&meta).unwrap();
    fs::write(
        meta.join("meta.json"),
        json!({"Name": "lab", "Endpoints": {"docker": {"Host": host.trim()}}}).to_string(),
    )
    .unwrap();
    fs::write(folder.join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
    let settings = DockerSettings {
        config_folder: Some(folder),
        ..DockerSettings::default()
    };
    let mut task = Task::new();
    let built = runtime().block_on(builder_with(&world, settings).build(
        &world.request,
        &world.shared,
        &task.context,
    ));
    let (built, _) = whole(&world, built, task.lines());
    assert_eq!(content(&world, &built, "x"), "x");
}

#[test]
fn podman_builds_classically() {
    let Some(podman) = Podman::start().unwrap() else {
        return;
    };
    let Some(tar) = base_archive() else {
        return;
    };
    podman.import(&tar, BASE).unwrap();
    let settings = DockerSettings {
        host: Some(format!("unix://{}", podman.socket().display())),
        ..DockerSettings::default()
    };
    let dockerfile = format!(
        "FROM {BASE} AS build\nCOPY . /src\nRUN echo shared > /shared\nARG API\nRUN echo \"$API\" > /api\nFROM scratch\nCOPY --from=build /src /shared /api /\nUSER 7\n"
    );
    let mut world = world(
        "podman",
        &[(".dockerignore", "no\n"), ("no", ""), ("yes", "y")],
        &dockerfile,
    );
    let mut digests = Vec::new();
    for variant in ["staging", "production"] {
        world.request.id.variant = Some(variant.parse().unwrap());
        world.request.args =
            BTreeMap::from([("API".to_owned(), Value::Public(variant.to_owned()))]);
        let mut task = Task::new();
        let built = runtime().block_on(builder_with(&world, settings.clone()).build(
            &world.request,
            &world.shared,
            &task.context,
        ));
        let (built, lines) = whole(&world, built, task.lines());
        assert_eq!(content(&world, &built, "api"), variant);
        assert_eq!(content(&world, &built, "shared"), "shared");
        let files = seen(&world.store, &built);
        assert!(
            files.contains_key("yes") && !files.contains_key("no"),
            "{files:?}"
        );
        let config = world.config(&built);
        assert_eq!(config["config"]["User"], "7");
        assert_eq!(config["config"]["Labels"]["commit"], "abc");
        assert!(
            lines.iter().any(|line| line.contains("RUN echo shared")),
            "{lines:?}"
        );
        digests.push(built.digest);
    }
    assert_ne!(digests[0], digests[1]);

    world.request.secrets = BTreeMap::from([(
        "x".to_owned(),
        Value::Secret(Secret::new("hidden".to_owned())),
    )]);
    let task = Task::new();
    let error = runtime()
        .block_on(builder_with(&world, settings.clone()).build(
            &world.request,
            &world.shared,
            &task.context,
        ))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(told(&error).contains("BuildKit"), "{}", told(&error));

    world.request.secrets.clear();
    fs::write(
        world.context("Dockerfile"),
        format!("FROM {BASE}\nRUN exit 37\n"),
    )
    .unwrap();
    let task = Task::new();
    let error = runtime()
        .block_on(builder_with(&world, settings).build(
            &world.request,
            &world.shared,
            &task.context,
        ))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Failed);
    assert!(told(&error).contains("37"), "{}", told(&error));
}
