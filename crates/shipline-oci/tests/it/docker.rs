//! The Docker engine as builder, on the engine of this machine: both of its builders, secrets, reuse, cancellation, and the
//! table of Dockerfiles that the embedded builder is held against.

#![allow(
    clippy::disallowed_methods,
    reason = "the engine of this machine is asked by its own client and environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use shipline_engine::backend::{ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_model::value::{Secret, Value};
use shipline_oci::build::docker::{DockerBuilder, DockerSettings, Wanted};
use shipline_oci::store::LayoutStore;

use crate::cases::{CASES, Case};
use crate::support::Task;
use crate::world::{World, files};

const BASE: &str = "shipline-test-base:2";

pub(crate) const BOTH: [Wanted; 2] = [Wanted::Best, Wanted::Classic];

/// Whether an engine answers; where everything was promised, a missing one fails the test.
pub(crate) fn docker_available(test: &str) -> bool {
    let there = docker(&["version", "--format", "{{.Server.Version}}"]).is_ok();
    assert!(
        there || std::env::var_os("SHIPLINE_TEST_REQUIRE_ALL").is_none(),
        "{test} needs a Docker engine, and nothing may be skipped"
    );
    if !there {
        eprintln!("SKIPPED {test}: no Docker engine answers on this machine");
    }
    there
}

pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Makes the base image, a static busybox and nothing else, once. Gives `false` where there is no busybox to make it of.
fn base_available(test: &str) -> bool {
    static MADE: OnceLock<bool> = OnceLock::new();
    if !docker_available(test) {
        return false;
    }
    let there = *MADE.get_or_init(|| Path::new("/bin/busybox").exists() && make_base());
    assert!(
        there || std::env::var_os("SHIPLINE_TEST_REQUIRE_ALL").is_none(),
        "{test} needs a static /bin/busybox, and nothing may be skipped"
    );
    if !there {
        eprintln!("SKIPPED {test}: no static /bin/busybox is on this machine");
    }
    there
}

fn make_base() -> bool {
    if docker(&["image", "inspect", BASE]).is_ok() {
        return true;
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Directory);
    for directory in ["bin", "etc", "tmp"] {
        tar.append_data(&mut header.clone(), directory, std::io::empty())
            .unwrap();
    }
    let busybox = fs::read("/bin/busybox").unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(busybox.len() as u64);
    tar.append_data(&mut header.clone(), "bin/busybox", busybox.as_slice())
        .unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for applet in ["sh", "cat", "wc", "sleep", "echo", "ls", "mkdir", "test"] {
        tar.append_link(&mut header.clone(), format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    let mut child = Command::new("docker")
        .args(["import", "-", BASE])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    child.wait().unwrap().success()
}

fn builder(world: &World, wanted: Wanted) -> DockerBuilder {
    let settings = DockerSettings {
        host: std::env::var("DOCKER_HOST").ok(),
        wanted,
        ..DockerSettings::default()
    };
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

fn try_build(world: &World, wanted: Wanted, task: &Task) -> Result<BuiltImage, BackendError> {
    runtime().block_on(builder(world, wanted).build(&world.request, &world.shared, &task.context))
}

fn build(world: &World, wanted: Wanted) -> (BuiltImage, Vec<String>) {
    let mut task = Task::new();
    match try_build(world, wanted, &task) {
        Ok(built) => {
            assert!(world.store.is_whole(&built.digest).unwrap());
            (built, task.lines())
        }
        Err(error) => panic!("{wanted:?}: {}\n{}", told(&error), task.lines().join("\n")),
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

/// For a component of its own: tests run side by side on one engine.
fn world(component: &str, context: &[(&str, &str)], dockerfile: &str) -> World {
    let mut world = World::new(context, dockerfile);
    world.request.id.component = component.parse().unwrap();
    world
}

/// The layers' tars, decompressed.
fn tars(store: &LayoutStore, built: &BuiltImage) -> Vec<Vec<u8>> {
    let manifest = store.manifest(&built.digest).unwrap().unwrap();
    let tar = |layer: &shipline_engine::backend::Descriptor| {
        let mut tar = Vec::new();
        flate2::read::MultiGzDecoder::new(store.open(&layer.digest).unwrap())
            .read_to_end(&mut tar)
            .unwrap();
        tar
    };
    manifest.layers.iter().map(tar).collect()
}

/// What a container of the image sees, in the form of the table.
fn seen(store: &LayoutStore, built: &BuiltImage) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for tar in tars(store, built) {
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let path = path
                .trim_start_matches("./")
                .trim_end_matches('/')
                .to_owned();
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = if folder.is_empty() {
                    gone.to_owned()
                } else {
                    format!("{folder}/{gone}")
                };
                files.retain(|path, _| *path != gone && !path.starts_with(&format!("{gone}/")));
                continue;
            }
            if path.is_empty() {
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let header = entry.header();
            let link = || String::from_utf8(entry.link_name_bytes().unwrap().into_owned()).unwrap();
            let (kind, content) = match header.entry_type() {
                kind if kind.is_dir() => ("d", String::new()),
                kind if kind.is_symlink() => ("l", format!(" {}", link())),
                _ => ("f", format!(" {}", String::from_utf8_lossy(&bytes))),
            };
            let (mode, uid, gid) = (
                header.mode().unwrap() & 0o7777,
                header.uid().unwrap(),
                header.gid().unwrap(),
            );
            files.insert(path, format!("{kind} {mode:o} {uid}:{gid}{content}"));
        }
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
    if !base_available("twins_have_their_own_args_and_share_the_rest") {
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
            assert_eq!(
                world.config(&built)["config"]["Labels"],
                json!({"commit": "abc"})
            );
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
    if !base_available("a_build_secret_is_used_and_kept_nowhere") {
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
    let history = docker(&["history", "--no-trunc", "shipline.local/secret:staging"]).unwrap();
    assert!(!holds(history.as_bytes()), "{history}");
    assert!(!holds(lines.join("\n").as_bytes()));
    assert!(!holds(world.config(&built).to_string().as_bytes()));
    assert!(tars(&world.store, &built).iter().all(|tar| !holds(tar)));
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
    if !base_available("stages_labels_and_the_ignore_file") {
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
        let mut files = seen(&world.store, &built);
        // What the engine needs to see of a context, it lets COPY see.
        files.retain(|path, _| !matches!(path.as_str(), "src/Dockerfile" | "src/.dockerignore"));
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
            world.config(&built)["config"]["Labels"],
            json!({"own": "1", "commit": "abc"}),
            "{wanted:?}"
        );
        assert_eq!(
            world.store.named("stages@staging").unwrap(),
            Some(built.digest)
        );
    }
}

#[test]
fn a_failing_step_is_told_with_its_log_and_exit_code() {
    if !base_available("a_failing_step_is_told_with_its_log_and_exit_code") {
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

/// Whether a process with these arguments runs on this machine.
fn runs(command: &str) -> bool {
    let wanted = command.replace(' ', "\0");
    fs::read_dir("/proc").unwrap().any(|entry| {
        fs::read(entry.unwrap().path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).trim_end_matches('\0') == wanted)
    })
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_cancelled_build_stops_in_the_engine() {
    if !base_available("a_cancelled_build_stops_in_the_engine") {
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
    if !base_available("the_built_image_loads_and_runs") {
        return;
    }
    for (index, wanted) in BOTH.into_iter().enumerate() {
        let dockerfile = format!("FROM {BASE}\nRUN echo made > /it\nCMD [\"/bin/cat\", \"/it\"]\n");
        let world = world("loads", &[], &dockerfile);
        let (built, _) = build(&world, wanted);
        let archive = world.directory.path().join("image.tar");
        let reference = format!("shipline.local/loaded:{index}");
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
        docker(&["rmi", &reference]).unwrap();
    }
}

/// Where Docker 20.10 makes something else, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    (
        "stages: from-a:",
        "a directory that COPY --from makes has the owner of its source here, and root there",
    ),
    (
        "everything in the config: a:",
        "WORKDIR makes directories for root here, and for USER there",
    ),
    (
        "everything in the config: a/b:",
        "WORKDIR makes directories for root here, and for USER there",
    ),
    (
        "an entrypoint forgets the base's command:",
        "the engine saves no image without layers",
    ),
    (
        "links of the context are followed inside it: g:",
        "wildcards do not look through links there",
    ),
    (
        "links of the image are followed by destinations:",
        "a directory over a link is an error there",
    ),
];

/// Rows that engines before 23.0 cannot read without fetching another Dockerfile language.
fn is_newer(case: &Case) -> bool {
    ["--exclude", "--chmod", "<<"]
        .iter()
        .any(|word| case.dockerfile.contains(word))
}

#[test]
fn the_engine_makes_of_the_table_what_the_embedded_builder_makes() {
    if !docker_available("the_engine_makes_of_the_table_what_the_embedded_builder_makes") {
        return;
    }
    let api = docker(&["version", "--format", "{{.Server.APIVersion}}"]).unwrap();
    let old = api
        .trim()
        .split_once('.')
        .is_some_and(|(_, minor)| minor.parse::<u32>().unwrap() < 42);
    let mut differences = Vec::new();
    for case in CASES {
        if old && is_newer(case) {
            eprintln!("left to newer engines: {}", case.name);
            continue;
        }
        let world = world("parity", case.context, case.dockerfile);
        let embedded = world.build();
        let mut task = Task::new();
        let built = match try_build(&world, Wanted::Best, &task) {
            Ok(built) => built,
            Err(error) => {
                differences.push(format!(
                    "{}: {}\n{}",
                    case.name,
                    told(&error),
                    task.lines().join("\n")
                ));
                continue;
            }
        };
        let (ours, theirs) = (
            files(&world.store, &embedded.digest),
            seen(&world.store, &built),
        );
        for path in ours.keys().chain(theirs.keys()) {
            if ours.get(path) != theirs.get(path) {
                differences.push(format!(
                    "{}: {path}: {:?}, docker: {:?}",
                    case.name,
                    ours.get(path),
                    theirs.get(path)
                ));
            }
        }
        let (ours, theirs) = (world.config(&embedded), world.config(&built));
        for key in [
            "Env",
            "Cmd",
            "Entrypoint",
            "WorkingDir",
            "User",
            "ExposedPorts",
            "Volumes",
            "Labels",
            "StopSignal",
            "Healthcheck",
            "OnBuild",
            "Shell",
        ] {
            let plain = |config: &Json| {
                let value = config["config"][key].clone();
                let empty = [json!([]), json!({}), json!("")].contains(&value);
                if empty { Json::Null } else { value }
            };
            if plain(&ours) != plain(&theirs) {
                differences.push(format!(
                    "{}: {key}: {}, docker: {}",
                    case.name,
                    plain(&ours),
                    plain(&theirs)
                ));
            }
        }
    }
    differences.retain(|difference| {
        let known = KNOWN_DIFFERENCES
            .iter()
            .any(|(known, _)| difference.starts_with(known));
        !known
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
