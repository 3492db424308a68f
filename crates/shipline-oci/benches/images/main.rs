//! Images, side by side in one run: the bound (read, hash, compress), Shipline, and the peers that the machine has, for the
//! same content and the same registry on loopback; then the peak of memory while a file of 2 GB becomes an image.
//!
//! `cargo bench --profile dev -p shipline-oci --bench images`, or `cargo xtask bench images`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are for people"
)]

mod bound;
mod content;
mod figures;
mod peers;
mod shipline;

use std::error::Error;
use std::process::ExitCode;

use shipline_testkit::service::{DockerRegistry, RegistryAccess};

use content::Content;
use figures::{Figure, Row, table};
use peers::Peer;

/// What can go wrong in a measurement.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Argument that makes this program the child whose memory is measured.
const MEMORY: &str = "memory-of-the-embedded-builder";
/// Files of the tree.
const FILES: usize = 20_000;
/// Bytes of the tree.
const BYTES: usize = 150_000_000;
/// Bytes of the file that memory must not follow.
const LARGE: u64 = 2_000_000_000;

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => all(),
        [MEMORY, directory, host] => shipline::report_memory(directory.as_ref(), host),
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

fn compare(directory: &std::path::Path, host: &str) -> Result<(), Failure> {
    let content = Content::generate(&directory.join("context"), FILES, BYTES)?;
    println!(
        "{} files, {:.0} MB, pushed to a docker-registry on loopback; load of the machine {}",
        content.files,
        content.bytes as f64 / 1e6,
        figures::load()
    );
    println!(
        "CPU: the process tree's; a daemon's is not to be had, the registry's is nobody's. The peers run once, bound and Shipline twice (the best).\n"
    );

    let mut bound = Row::new("bound: read, hash, compress");
    let mut ours = Row::new("shipline, embedded builder");
    for round in ["one", "two"] {
        let read = figures::measure(|| bound::run(content.root()))?;
        bound.better(0, read);
        let work = shipline::Work::new(&directory.join(round), host, round)?;
        for (column, tag) in ["first", "again", "changed"].into_iter().enumerate() {
            if column == 2 {
                content.change()?;
            }
            ours.better(
                column,
                figures::measure(|| work.publish(content.root(), tag))?,
            );
        }
    }
    let mut rows = vec![bound, ours];
    let mut skipped = Vec::new();
    for (title, found) in peers::all(&directory.join("peers"), host)? {
        match found {
            Ok(peer) => rows.push(of_peer(title, peer.as_ref(), &content)),
            Err(why) => skipped.push(format!("skipped: {title}: {why}")),
        }
    }
    println!("{}", table(&rows));
    for line in skipped {
        println!("{line}");
    }
    Ok(())
}

/// The three figures of a peer; what fails ends its row, not the run.
fn of_peer(title: &str, peer: &dyn Peer, content: &Content) -> Row {
    let mut row = Row::new(title);
    for (column, tag) in ["first", "again", "changed"].into_iter().enumerate() {
        let figure = if column == 2 {
            content.change()
        } else {
            Ok(())
        }
        .map_err(Failure::from)
        .and_then(|()| figures::measure(|| peer.publish(content.root(), tag)));
        match figure {
            Ok(figure) if peer.is_daemon() => row.better(
                column,
                Figure {
                    cpu: None,
                    ..figure
                },
            ),
            Ok(figure) => row.better(column, figure),
            Err(error) => {
                row.note = format!("failed: {error}");
                break;
            }
        }
    }
    peer.clean();
    row
}

fn memory(directory: &std::path::Path, host: &str) -> Result<(), Failure> {
    let directory = directory.join("large");
    Content::generate_large(&directory.join("context"), LARGE)?;
    println!("\nan image with one file of {:.0} MB", LARGE as f64 / 1e6);
    shipline::measure_memory(MEMORY, &directory, host)
}
