//! `cargo xtask test [--provision]`: everything that a change must pass.

use crate::provision::{self, Machine};
use crate::slowest;
use crate::steps::{command, step};

/// Runs the checks and all tests.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let machine = match options {
        [] => provision::look(),
        ["--provision"] => provision::install()?,
        ["--help" | "-h"] => {
            println!(
                "Runs formatting, lints, documentation and all tests.\n\n\
                 Usage: cargo xtask test [--provision]\n\n\
                 Tests that need a component which this machine does not have say so by name and are skipped.\n\
                 --provision   installs those components first (root on Debian); then nothing may be skipped"
            );
            return Ok(());
        }
        other => {
            return Err(format!(
                "unknown options `{}`; usage: cargo xtask test [--provision]",
                other.join(" ")
            ));
        }
    };
    machine.report();
    step(
        "format",
        &mut command("cargo", &["fmt", "--all", "--check"]),
    )?;
    step(
        "lints",
        &mut command(
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
    )?;
    step(
        "documentation",
        command(
            "cargo",
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
                "--quiet",
            ],
        )
        .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    let mut tests = command(
        "cargo",
        &["test", "--workspace", "--locked", "--no-fail-fast"],
    );
    machine.describe_to(&mut tests);
    slowest::step("tests", &mut tests)
}

impl Machine {
    fn report(&self) {
        for (part, missing) in self.missing() {
            println!("SKIPPED: tests that need {part}: {missing}");
        }
    }
}
