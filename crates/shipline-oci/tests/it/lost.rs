//! An engine that loses an image under a build, as it does where somebody removes images beside it: the real engine behind a
//! relay that answers the first builds itself.

#![allow(
    clippy::disallowed_methods,
    reason = "the engine of this machine is asked in its own environment"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipline_engine::backend::ImageBuilder as _;
use shipline_engine::error::ErrorClass;
use shipline_oci::build::docker::{DockerBuilder, DockerSettings, Wanted};
use shipline_testkit::needs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::docker::{content, runtime, told, world};
use crate::support::Task;

/// What engines say when another image went away while they looked for a cached step, and when the last step's went.
const LOST: [&str; 2] = [
    r#"unable to find image \"sha256:a8027faaeca6ca6df93ad85d40964dca37550125390f094994b54f67980cd06e\""#,
    "No such image: sha256:a8027faaeca6ca6df93ad85d40964dca37550125390f094994b54f67980cd06e",
];

/// The engine's socket where it is one of this machine.
fn socket() -> Option<PathBuf> {
    let host =
        std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    host.strip_prefix("unix://").map(PathBuf::from)
}

/// When the image is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Building,
    Inspecting,
    Saving,
}

impl When {
    /// Whether this request meets it.
    fn is(self, line: &str) -> bool {
        let of_an_image = line.starts_with("GET ") && line.contains("/images/sha256:");
        match self {
            Self::Building => line.starts_with("POST ") && line.contains("/build?"),
            Self::Inspecting => of_an_image && line.contains("/json"),
            Self::Saving => of_an_image && line.contains("/get"),
        }
    }
}

/// Relays each connection's only request to the engine; the first `losses` that are as said fail as if it had lost an image.
/// Gives the address, and how many of them there were.
async fn relay(engine: PathBuf, when: When, losses: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (engine, counter) = (engine.clone(), Arc::clone(&counter));
            tokio::spawn(answer(client, engine, when, losses, counter));
        }
    });
    (address, asked)
}

async fn answer(
    mut client: TcpStream,
    engine: PathBuf,
    when: When,
    losses: usize,
    asked: Arc<AtomicUsize>,
) {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let line = String::from_utf8_lossy(&head[..end]).into_owned();
    if when.is(&line) && asked.fetch_add(1, Ordering::SeqCst) < losses {
        let text = LOST[(asked.load(Ordering::SeqCst) - 1) % LOST.len()];
        let (status, body) = match when {
            When::Building => (
                "200 OK",
                format!("{{\"errorDetail\":{{\"message\":\"{text}\"}},\"error\":\"{text}\"}}\r\n"),
            ),
            When::Inspecting | When::Saving => {
                ("404 Not Found", format!("{{\"message\":\"{text}\"}}"))
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        // The context is taken in before the connection is closed, so that the answer arrives.
        let _ = client.write_all(answer.as_bytes()).await;
        let _ = client.shutdown().await;
        let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        return;
    }
    let mut engine = UnixStream::connect(engine).await.unwrap();
    // One request for each connection, so that each build is seen.
    let request_line = head.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    head.splice(request_line..request_line, *b"Connection: close\r\n");
    if engine.write_all(&head).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
    }
}

/// Those of the losses that the relay made up: where somebody removes images meanwhile, the engine loses some itself.
fn ours(retries: Vec<String>) -> Vec<String> {
    let made_up = |retry: &String| retry.contains("sha256:a8027faaeca6");
    retries.into_iter().filter(made_up).collect()
}

fn builder(world: &crate::world::World, host: String) -> DockerBuilder {
    let settings = DockerSettings {
        host: Some(host),
        wanted: Wanted::Classic,
        ..DockerSettings::default()
    };
    let cache = world.directory.path().join("cache");
    DockerBuilder::new(settings, cache, NonZeroUsize::new(2).unwrap())
}

#[test]
fn a_build_whose_engine_loses_an_image_begins_again() {
    let test = "a_build_whose_engine_loses_an_image_begins_again";
    if !needs::docker(test) || !needs::component(test, socket().is_some(), "an engine on a socket")
    {
        return;
    }
    let world = world("lost", &[("x", "it is there")], "FROM scratch\nCOPY x /\n");
    runtime().block_on(async {
        let (host, builds) = relay(socket().unwrap(), When::Building, 2).await;
        let mut task = Task::new();
        let built = builder(&world, host)
            .build(&world.request, &world.shared, &task.context)
            .await
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(content(&world, &built, "x"), "it is there");
        let all = task.retries();
        assert_eq!(builds.load(Ordering::SeqCst), all.len() + 1, "{all:?}");
        let retries = ours(all);
        assert_eq!(retries.len(), 2, "{retries:?}");
        assert!(retries[0].contains("unable to find image"), "{retries:?}");
        assert!(retries[1].contains("No such image"), "{retries:?}");
    });
}

#[test]
fn an_image_that_is_lost_before_it_is_taken_is_built_again() {
    let test = "an_image_that_is_lost_before_it_is_taken_is_built_again";
    if !needs::docker(test) || !needs::component(test, socket().is_some(), "an engine on a socket")
    {
        return;
    }
    for when in [When::Inspecting, When::Saving] {
        let world = world("taken", &[("x", "it is there")], "FROM scratch\nCOPY x /\n");
        runtime().block_on(async {
            let (host, asked) = relay(socket().unwrap(), when, 1).await;
            let mut task = Task::new();
            let built = builder(&world, host)
                .build(&world.request, &world.shared, &task.context)
                .await
                .unwrap_or_else(|error| panic!("{when:?}: {}", told(&error)));
            assert!(asked.load(Ordering::SeqCst) > 1, "{when:?}");
            assert_eq!(content(&world, &built, "x"), "it is there");
            let retries = ours(task.retries());
            assert_eq!(retries.len(), 1, "{when:?}: {retries:?}");
        });
    }
}

#[test]
fn an_engine_that_loses_images_for_ever_fails_the_build() {
    let test = "an_engine_that_loses_images_for_ever_fails_the_build";
    if !needs::docker(test) || !needs::component(test, socket().is_some(), "an engine on a socket")
    {
        return;
    }
    let world = world("lost-ever", &[("x", "x")], "FROM scratch\nCOPY x /\n");
    runtime().block_on(async {
        let (host, builds) = relay(socket().unwrap(), When::Building, usize::MAX).await;
        let mut task = Task::new();
        let error = builder(&world, host)
            .build(&world.request, &world.shared, &task.context)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Retryable);
        assert!(told(&error).contains("sha256:a8027"), "{}", told(&error));
        assert_eq!(builds.load(Ordering::SeqCst), task.retries().len() + 1);
    });
}
