//! `cargo xtask soak [KILLS [SEED]]`: random kills, outside the gate.

use crate::steps::{command, step, target};

/// Kills on each kind of platform without a number on the command line.
const KILLS: &str = "200";

/// Builds the binary and lets the soak loose on it.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let (kills, seed) = match options {
        [] => (KILLS, None),
        [kills] => (*kills, None),
        [kills, seed] => (*kills, Some((*seed).to_owned())),
        other => {
            return Err(format!(
                "unknown options `{}`; usage: cargo xtask soak [KILLS [SEED]]",
                other.join(" ")
            ));
        }
    };
    for number in std::iter::once(kills).chain(seed.as_deref()) {
        number.parse::<u64>().map_err(|_| {
            format!("not a number: `{number}`; usage: cargo xtask soak [KILLS [SEED]]")
        })?;
    }
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.subsec_nanos());
    let seed = seed.unwrap_or_else(|| nanos.to_string());
    build()?;
    step(
        "soak",
        &mut command(&binary("soak"), &[&binary("shipline"), kills, &seed]),
    )
}

/// Builds the binary under test and those that put it to the test.
pub(crate) fn build() -> Result<(), String> {
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
    )
}

/// Where one of them is.
pub(crate) fn binary(name: &str) -> String {
    target().join("debug").join(name).display().to_string()
}
