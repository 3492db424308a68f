//! Builds the sample platform in two clones, in two folders under two umasks, and compares the images: every digest must be the
//! same. `cargo xtask clones` builds the binary and runs this; it takes minutes and is no part of the gate.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to the person who runs it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::stat::{Mode, umask};
use shipline_testkit::tiny;
use shipline_testkit::world::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, program, repository] = arguments.as_slice() else {
        eprintln!("usage: clones PROGRAM REPOSITORY");
        return ExitCode::from(2);
    };
    let first = images(program, repository, 0o022);
    let second = images(program, repository, 0o077);
    for (image, digest) in &first {
        let other = second.get(image).map_or("nothing", String::as_str);
        let verdict = if digest == other { "same" } else { "DIFFERENT" };
        println!("{verdict}: {image} {digest} {other}");
    }
    if first == second && !first.is_empty() {
        println!("{} images, the same in both clones", first.len());
        ExitCode::SUCCESS
    } else {
        eprintln!("error: two clones of one commit gave different images");
        ExitCode::FAILURE
    }
}

/// The digests of all images of both pipelines, built in a clone of its own.
fn images(program: &str, repository: &str, mask: u32) -> BTreeMap<String, String> {
    umask(Mode::from_bits_truncate(mask));
    let world = World::clone_of(program, Path::new(repository));
    for pipeline in ["frontend", "backend"] {
        let start = Instant::now();
        tiny::green(&world, &["pipeline", pipeline]);
        let took = start.elapsed().as_secs();
        println!("umask {mask:03o}: {pipeline} in {took} s");
    }
    // The tag's instant is that of its run; the commit before it is the same.
    let build = |name: String| name.rsplit_once('-').map(|(build, _)| build.to_owned());
    tiny::tags(&world)
        .into_iter()
        .filter_map(|(name, digest)| Some((build(name)?, digest)))
        .collect()
}
