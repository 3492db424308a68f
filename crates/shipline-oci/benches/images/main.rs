//! Images, side by side in one run: the bound (read, hash, compress), Shipline, and the peers that the machine has, for the
//! same content and the same registry on loopback; then the peak of memory while 2 GB become an image, by both builders.
//!
//! `cargo bench -p shipline-oci --bench images`, or `cargo xtask bench images`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are for people"
)]

mod bound;
mod content;
mod engine;
mod figures;
mod peers;
mod shipline;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use shipline_testkit::service::{DockerRegistry, RegistryAccess};

use content::Content;
use engine::BuildCache;
use figures::{Figure, Row, megabytes, table, times};
use peers::{Peer, Worker};
use shipline::{Engine, Work};

/// What can go wrong in a measurement.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Argument of the process that does what the bound is.
const BOUND: &str = "bound";
/// Files of the tree.
const FILES: usize = 20_000;
/// Bytes of the tree.
const BYTES: usize = 150_000_000;
/// Bytes of the file that memory must not follow.
const LARGE: u64 = 2_000_000_000;
/// How often bound and Shipline are measured, one after the other.
const ROUNDS: usize = 3;
/// The tags that are pushed, one for each column of the table.
const TAGS: [&str; 3] = ["first", "again", "changed"];

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => all(),
        [BOUND, context] => bound::run(context.as_ref()),
        [word, directory, host, repository, context, tag] => {
            match [Engine::Embedded, Engine::Docker]
                .into_iter()
                .find(|engine| engine.word() == *word)
            {
                Some(engine) => Work {
                    engine,
                    directory: directory.into(),
                    host: (*host).to_owned(),
                    repository: (*repository).to_owned(),
                }
                .publish_here(context.as_ref(), tag),
                None => Err(format!("unknown builder {word}").into()),
            }
        }
        other => Err(format!("unknown arguments {other:?}: there are none").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Failure> {
    let registry = DockerRegistry::start(RegistryAccess::Open)?
        .ok_or("docker-registry is what everybody pushes to, and it is not installed")?;
    let directory = tempfile::Builder::new()
        .prefix("shipline-bench-")
        .tempdir()?;
    compare(directory.path(), &registry.host())?;
    memory(directory.path(), &registry.host())
}

fn compare(directory: &Path, host: &str) -> Result<(), Failure> {
    let content = Content::generate(&directory.join("context"), FILES, BYTES)?;
    println!(
        "{} files, {:.0} MB, built and pushed to a docker-registry on loopback; load of the machine {}",
        content.files,
        content.bytes as f64 / 1e6,
        figures::load()
    );
    println!(
        "Bound and Shipline: the best of {ROUNDS} rounds, each in a process of its own. Peers: once. CPU and memory are those of the programs;\na daemon's are not to be had, and the registry's are nobody's. Memory is the largest process's, image its compressed layers.\n"
    );

    let mut bound = Row::new("bound: read, hash, compress");
    let mut ours = Row::new("shipline, embedded builder");
    let mut phases = Vec::new();
    for round in 0..ROUNDS {
        let (read, _) =
            figures::measure(|| shipline::child([BOUND.as_ref(), content.root().as_os_str()]))?;
        bound.better(0, read);
        let work = Work {
            engine: Engine::Embedded,
            directory: directory.join(format!("round-{round}")),
            host: host.to_owned(),
            repository: format!("shipline/round-{round}"),
        };
        for (column, tag) in TAGS.into_iter().enumerate() {
            if column == 2 {
                content.change()?;
            }
            let (figure, parts) = figures::measure(|| work.publish(content.root(), tag))?;
            ours.better(column, figure);
            if column == 0 {
                phases.push(parts);
            }
        }
        ours.image = Some(shipline::image_size(host, &work.repository, TAGS[0])?);
    }
    let mut rows = vec![bound, ours];
    let mut skipped = Vec::new();
    for (title, found) in peers::all(&directory.join("peers"), host)? {
        match found {
            Ok(peer) => rows.push(of_peer(title, peer.as_ref(), &content, host)),
            Err(why) => skipped.push(format!("skipped: {title}: {why}")),
        }
    }
    println!("{}", table(&rows));
    for line in skipped {
        println!("{line}");
    }
    summary(&rows, &phases);
    Ok(())
}

/// The ratios that count, with what they should be.
fn summary(rows: &[Row], phases: &[String]) {
    let [bound, ours, peers @ ..] = rows else {
        return;
    };
    println!(
        "\nfirst time: {} × the bound (target: at most 1.3)",
        times(ours.figures[0], bound.figures[0])
    );
    println!("            the rounds: {}", phases.join("; "));
    println!("peers (target: Docker at least 10 times as long):");
    for peer in peers {
        println!(
            "            {} takes {} × as long",
            peer.title,
            times(peer.figures[0], ours.figures[0])
        );
    }
    if let Some(again) = ours.figures[1] {
        println!(
            "unchanged:  {:.0} ms (target: at most 200, the scan included)",
            again.wall * 1e3
        );
    }
    println!("load of the machine now {}", figures::load());
}

/// The three figures of a peer; what fails ends its row, not the run.
fn of_peer(title: &str, peer: &dyn Peer, content: &Content, host: &str) -> Row {
    let mut row = Row::new(title);
    for (column, tag) in TAGS.into_iter().enumerate() {
        let figure = if column == 2 {
            content.change()
        } else {
            Ok(())
        }
        .map_err(Failure::from)
        .and_then(|()| figures::measure(|| peer.publish(content.root(), tag)));
        match figure {
            Ok((figure, ())) => row.better(
                column,
                match peer.worker() {
                    Worker::Programs => figure,
                    Worker::Daemon => Figure {
                        cpu: None,
                        peak: None,
                        ..figure
                    },
                },
            ),
            Err(error) => {
                row.note = format!("failed: {error}");
                break;
            }
        }
    }
    // A peer that failed has no image, and its note says so.
    row.image = shipline::image_size(host, peer.repository(), TAGS[0]).ok();
    peer.clean();
    row
}

/// Both builders with content that is larger than memory should be.
fn memory(directory: &Path, host: &str) -> Result<(), Failure> {
    let context = directory.join("large");
    Content::generate_large(&context, LARGE)?;
    println!(
        "\none file of {:.0} MB that cannot be compressed, built into an image and pushed (target: at most 200 MB of memory)",
        LARGE as f64 / 1e6
    );
    for engine in [Engine::Embedded, Engine::Docker] {
        let title = match engine {
            Engine::Embedded => "embedded builder",
            Engine::Docker => "Docker engine, exported",
        };
        let client = match engine {
            Engine::Embedded => None,
            Engine::Docker => match peers::docker_engine() {
                Ok(client) => Some(client),
                Err(why) => {
                    println!("skipped: {title}: {why}");
                    continue;
                }
            },
        };
        let cache = client.map(BuildCache::look);
        let work = Work {
            engine,
            directory: directory.join(format!("large-{}", engine.word())),
            host: host.to_owned(),
            repository: format!("shipline/large-{}", engine.word()),
        };
        let figure = figures::measure(|| work.publish(&context, TAGS[0]));
        if let (Some(client), Some(cache)) = (client, cache) {
            peers::remove_image(client, shipline::LARGE_IN_ENGINE);
            cache.restore();
        }
        // Both would otherwise lie there at the same time.
        if work.directory.exists() {
            std::fs::remove_dir_all(&work.directory)?;
        }
        let (figure, _) = figure?;
        println!(
            "{title:<24} peak {:>7}, wall {:.1} s, CPU {} s",
            megabytes(figure.peak),
            figure.wall,
            figure.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.1}"))
        );
    }
    Ok(())
}
