//! `cargo xtask soak [KILLS [SEED]]`: random kills, outside the gate.

use crate::steps::{command, root, step};

/// Kills without a number on the command line.
const KILLS: &str = "200";

/// Builds the binary and lets the soak loose on it.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let (kills, seed) = match options {
        [] => (KILLS, None),
        [kills] => (*kills, None),
        [kills, seed] => (*kills, Some((*seed).to_owned())),
        other => {
            return Err(format!(
                "unknown options {other:?}; usage: cargo xtask soak [KILLS [SEED]]"
            ));
        }
    };
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.subsec_nanos());
    let seed = seed.unwrap_or_else(|| nanos.to_string());
    step(
        "build",
        &mut command(
            "cargo",
            &[
                "build",
                "--quiet",
                "--locked",
                "--package",
                "shipline-cli",
                "--package",
                "shipline-testkit",
                "--bins",
            ],
        ),
    )?;
    let binary = |name: &str| root().join("target/debug").join(name).display().to_string();
    step(
        "soak",
        &mut command(&binary("soak"), &[&binary("shipline"), kills, &seed]),
    )
}
