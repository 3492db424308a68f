//! `cargo xtask test [--provision]`: everything that a change must pass.

use std::path::PathBuf;

use crate::provision::{self, Machine};
use crate::slowest;
use crate::steps::{command, root, step};

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
        "formatting of what a table names",
        command("rustfmt", &["--check", "--edition", "2024"]).args(tabled()?),
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

/// Modules that a macro declares, which `cargo fmt` does not find: those of the tables of scanners and formats.
fn tabled() -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for folder in ["crates/shipline-scan/src", "crates/shipline-report/src"] {
        let folder = root().join(folder);
        let failed = |error| format!("{}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let module = path.join("mod.rs");
            if module.is_file() {
                files.push(module);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

impl Machine {
    fn report(&self) {
        for (part, missing) in self.missing() {
            println!("SKIPPED: tests that need {part}: {missing}");
        }
    }
}
