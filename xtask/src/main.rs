//! `cargo xtask`: Shipline's commands, and the repository's own chores (`test`, `docs`, `soak`, `clones`, `bench`,
//! `fuzz`).
//!
//! A chore is one module here; everything else goes to `shipline-cli` as it stands.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "chores talk to the person who runs them"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "chores start programs and read the environment"
)]

mod bench;
mod clones;
mod docs;
mod fuzz;
mod provision;
mod slowest;
mod soak;
mod steps;
mod test;

use std::process::ExitCode;

const CHORES: &str = "
Chores of this repository:
  test [--provision]            Runs formatting, lints, documentation and all tests
  docs [--record RUN]           Writes the reference of pipeline.yaml and the picture of a run
  soak [KILLS [SEED]]           Kills runs at random moments and looks whether the next one completes
  clones                        Builds the sample in two clones under two umasks and compares the images
  bench [start|images|plan|gitops|sbom LAYOUT]
                                Measures a release build, side by side with peers; sbom with the image of an OCI layout
  fuzz [TARGET] [--minutes N]   Feeds hostile bytes to everything that reads foreign ones (10 minutes each)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let chore = match words.split_first() {
        Some((&("--help" | "-h" | "help"), [])) => {
            let code = shipline_cli::main("cargo xtask");
            println!("{CHORES}");
            return code;
        }
        Some((&("bench" | "clones" | "docs" | "fuzz" | "soak"), ["--help" | "-h", ..])) => {
            println!("{}", CHORES.trim_start());
            return ExitCode::SUCCESS;
        }
        Some((&"bench", options)) => bench::run(options),
        Some((&"clones", options)) => clones::run(options),
        Some((&"docs", options)) => docs::run(options),
        Some((&"fuzz", options)) => fuzz::run(options),
        Some((&"soak", options)) => soak::run(options),
        Some((&"test", options)) => test::run(options),
        _ => return shipline_cli::main("cargo xtask"),
    };
    match chore {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
