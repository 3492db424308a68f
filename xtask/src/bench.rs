//! `cargo xtask bench [start|images|plan|gitops|sbom LAYOUT]`: figures of a release build, side by side with peers in one run.
//! Nothing is asserted.

mod gitops;
mod plan;
mod sbom;
mod start;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::{command, root, step, target};

/// Runs the benches that are named, or all that need nothing else.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    match options {
        [] => {
            start::run()?;
            images()?;
            plan::run()?;
            gitops::run()
        }
        ["start"] => start::run(),
        ["images"] => images(),
        ["plan"] => plan::run(),
        ["gitops"] => gitops::run(),
        ["sbom", layout] => sbom::run(layout),
        other => Err(format!(
            "unknown options `{}`; usage: cargo xtask bench [start|images|plan|gitops|sbom LAYOUT]",
            other.join(" ")
        )),
    }
}

/// Images are measured by a program of the crate that makes them.
fn images() -> Result<(), String> {
    let arguments = [
        "bench",
        "--locked",
        "--package",
        "shipline-oci",
        "--bench",
        "images",
    ];
    step(
        "images, built for release",
        &mut command("cargo", &arguments),
    )
}

/// Builds the binary for release and gives its path. Cargo says what it compiles: the first time, this takes many minutes.
fn shipline() -> Result<String, String> {
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--package",
        "shipline-cli",
        "--bin",
        "shipline",
    ];
    step("build for release", &mut command("cargo", &arguments))?;
    Ok(target().join("release/shipline").display().to_string())
}

/// A directory for one bench, empty at first, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let (folder, stem) = (std::env::temp_dir(), format!("shipline-bench-{name}-"));
        sweep(&folder, &stem);
        let scratch = Self(folder.join(format!("{stem}{}", std::process::id())));
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

/// Removes what benches left that were interrupted: directories whose name ends in the number of a process that is no more.
fn sweep(folder: &Path, stem: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ended = name
            .to_str()
            .and_then(|name| name.strip_prefix(stem)?.parse::<u32>().ok())
            .is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists());
        if ended {
            // What cannot be removed is somebody else's.
            let _ = std::fs::remove_dir_all(entry.path());
        }
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

/// One command, measured several times.
struct Series {
    title: String,
    times: Vec<Duration>,
    cpu: f64,
    peak: Option<u64>,
}

impl Series {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            times: Vec::new(),
            cpu: 0.0,
            peak: None,
        }
    }

    /// Runs a command and counts what it took.
    fn run(&mut self, command: &mut Command) -> Result<(), String> {
        let before = children_seconds();
        self.times.push(quiet(command)?);
        self.cpu += children_seconds() - before;
        Ok(())
    }

    /// Counts commands that were run together.
    fn add(&mut self, took: Duration, cpu: f64) {
        self.times.push(took);
        self.cpu += cpu;
    }

    /// Runs a command once more, uncounted, and looks how much memory it takes.
    fn look(&mut self, command: &mut Command) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("{program}: {error}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        while child.try_wait().map_err(failed)?.is_none() {
            self.peak = self.peak.max(peak(child.id()));
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The median in seconds, once [`Series::line`] has been made.
    fn median(&self) -> f64 {
        let median = self.times.get(self.times.len() / 2);
        median.map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// Median, best and worst, processor time on average and memory as one line.
    fn line(&mut self) -> String {
        self.times.sort();
        let milliseconds = |time: Option<&Duration>| {
            time.map_or("-".to_owned(), |time| {
                format!("{:.1}", time.as_secs_f64() * 1e3)
            })
        };
        let count = self.times.len();
        format!(
            "{:<48} median {:>8} ms, best {:>8}, worst {:>8} ({count} times); CPU {:.1} ms each; memory {}",
            self.title,
            milliseconds(self.times.get(count / 2)),
            milliseconds(self.times.first()),
            milliseconds(self.times.last()),
            self.cpu * 1e3 / count.max(1) as f64,
            self.peak.map_or("-".to_owned(), |bytes| format!(
                "{:.0} MB",
                bytes as f64 / 1e6
            )),
        )
    }
}

/// Processor seconds of all children that this process has waited for; 0 where there is no `/proc`.
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name is in parentheses and may hold anything; what follows starts with the third field (proc(5)). A second has
    // 100 ticks, a constant of Linux towards programs.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(13).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// The most memory that a process ever had resident, in bytes.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The load averages, where the system tells them.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    format!("load of the machine: {}", averages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_interrupted_benches_left_is_removed() {
        let scratch = Scratch::new("sweeping").unwrap();
        let mine = format!("b-{}", std::process::id());
        // No process has this number: Linux gives none beyond 2^22.
        for name in ["b-4294967295", "b-x", "c-4294967295", &mine] {
            std::fs::create_dir(scratch.path(name)).unwrap();
        }
        sweep(&scratch.0, "b-");
        let left = |name: &str| scratch.path(name).exists();
        assert!(!left("b-4294967295"));
        assert!(left("b-x") && left("c-4294967295") && left(&mine));
    }
}
