//! Components that a test needs and a machine may lack. A test that is skipped says so by name; where everything is promised
//! (`SHIPLINE_TEST_REQUIRE_ALL`), a missing component fails it instead.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a skipped test says so"
)]

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether these programs are on the `PATH`.
///
/// # Panics
/// Where one is not, and everything was promised.
#[must_use]
pub fn programs(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !on_path(program))
        .collect();
    decide(test, missing.is_empty(), &missing.join(", "))
}

/// Whether this file is there.
///
/// # Panics
/// Where it is not, and everything was promised.
#[must_use]
pub fn file(test: &str, path: &Path) -> bool {
    decide(test, path.is_file(), &path.display().to_string())
}

/// Whether a Docker engine answers.
///
/// # Panics
/// Where none does, and everything was promised.
#[must_use]
pub fn docker(test: &str) -> bool {
    let mut version = Command::new("docker");
    version
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    decide(
        test,
        version.status().is_ok_and(|status| status.success()),
        "a Docker engine",
    )
}

/// Whether a component is there that the caller has looked for; `what` names it.
///
/// # Panics
/// Where it is not, and everything was promised.
#[must_use]
pub fn component(test: &str, there: bool, what: &str) -> bool {
    decide(test, there, what)
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

pub(crate) fn decide(test: &str, there: bool, what: &str) -> bool {
    assert!(
        there || std::env::var_os("SHIPLINE_TEST_REQUIRE_ALL").is_none(),
        "{test} needs {what}, and nothing may be skipped"
    );
    if !there {
        eprintln!("SKIPPED {test}: {what} is not on this machine");
    }
    there
}
