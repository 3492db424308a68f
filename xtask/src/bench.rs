//! `cargo xtask bench [images|plan|gitops]`: figures, side by side with peers in one run. Nothing is asserted.

mod gitops;
mod plan;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::{command, root, step};

/// Runs the benches that are named, or all.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    match options {
        [] => {
            images()?;
            plan::run()?;
            gitops::run()
        }
        ["images"] => images(),
        ["plan"] => plan::run(),
        ["gitops"] => gitops::run(),
        other => Err(format!(
            "unknown options {other:?}; usage: cargo xtask bench [images|plan|gitops]"
        )),
    }
}

/// Images are measured by a program of the crate that makes them.
fn images() -> Result<(), String> {
    let arguments = [
        "bench",
        "--quiet",
        "--locked",
        "--profile",
        "dev",
        "--package",
        "shipline-oci",
        "--bench",
        "images",
    ];
    step("images", &mut command("cargo", &arguments))
}

/// Builds the binary and gives its path.
fn shipline() -> Result<String, String> {
    let arguments = [
        "build",
        "--quiet",
        "--locked",
        "--package",
        "shipline-cli",
        "--bin",
        "shipline",
    ];
    step("build", &mut command("cargo", &arguments))?;
    Ok(root().join("target/debug/shipline").display().to_string())
}

/// A directory for one bench, empty at first, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let scratch = Self(
            std::env::temp_dir().join(format!("shipline-bench-{name}-{}", std::process::id())),
        );
        std::fs::create_dir_all(&scratch.0)
            .map_err(|error| format!("cannot create {}: {error}", scratch.0.display()))?;
        Ok(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The tiny platform of the tests as a repository with one commit.
fn tiny(directory: &Path) -> Result<(), String> {
    let fixture = root().join("tests/fixtures/tiny").display().to_string();
    let target = directory.display().to_string();
    quiet(&mut command("cp", &["-R", &fixture, &target]))?;
    commit_all(directory)
}

/// Makes a directory a repository with one commit of all that is in it.
fn commit_all(directory: &Path) -> Result<(), String> {
    quiet(&mut git(
        directory,
        &["init", "--quiet", "--initial-branch=main"],
    ))?;
    quiet(&mut git(directory, &["add", "--all"]))?;
    quiet(&mut git(
        directory,
        &["commit", "--quiet", "--message=Start"],
    ))?;
    Ok(())
}

/// git in a directory, as somebody, whatever the machine's configuration.
fn git(directory: &Path, arguments: &[&str]) -> Command {
    let identity = [
        "-c",
        "user.name=Bench",
        "-c",
        "user.email=bench@example.com",
    ];
    let mut git = command("git", &identity);
    git.args(arguments).current_dir(directory);
    git
}

/// Runs a program to its end and gives how long it took; what it said is shown where it fails.
fn quiet(command: &mut Command) -> Result<Duration, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let took = start.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    Err(format!(
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Median, best and worst as one line.
fn line(title: &str, mut times: Vec<Duration>) -> String {
    times.sort();
    let show = |time: Option<&Duration>| {
        time.map_or("-".to_owned(), |time| {
            format!("{:.1}", time.as_secs_f64() * 1e3)
        })
    };
    format!(
        "{title:<44} median {:>9} ms, best {:>9}, worst {:>9} ({} times)",
        show(times.get(times.len() / 2)),
        show(times.first()),
        show(times.last()),
        times.len()
    )
}

/// The load averages, where the system tells them.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    format!("load of the machine: {}", averages.join(" "))
}
