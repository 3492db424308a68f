//! The Docker engine of this machine, and the base image that tests build on: nothing can be pulled where tests run.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test double that cannot work fails its test at once"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::needs;

/// The base image of the tests in the engine: a static busybox and nothing else.
pub const BASE: &str = "shipline-test-base:2";

/// Runs the engine's own client: its output, or what it complains of.
///
/// # Errors
/// Where it cannot be started or fails.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Whether the engine is there with the base image, which is made where it is missing.
///
/// # Panics
/// Where it is not, and everything was promised.
#[must_use]
pub fn base(test: &str) -> bool {
    static MADE: OnceLock<bool> = OnceLock::new();
    needs::docker(test)
        && needs::component(
            test,
            *MADE.get_or_init(|| {
                docker(&["image", "inspect", BASE]).is_ok()
                    || base_archive().is_some_and(|tar| import(&tar))
            }),
            "a static /bin/busybox",
        )
}

/// The base image's file system as a tar; nothing where there is no busybox to make it of.
///
/// # Panics
/// Where the tar cannot be written.
#[must_use]
pub fn base_archive() -> Option<Vec<u8>> {
    let busybox = std::fs::read(Path::new("/bin/busybox")).ok()?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Directory);
    for directory in ["bin", "etc", "tmp"] {
        tar.append_data(&mut header.clone(), directory, std::io::empty())
            .unwrap();
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(busybox.len() as u64);
    tar.append_data(&mut header.clone(), "bin/busybox", busybox.as_slice())
        .unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for applet in ["sh", "cat", "wc", "sleep", "echo", "ls", "mkdir", "test"] {
        tar.append_link(&mut header.clone(), format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    Some(tar.into_inner().unwrap())
}

fn import(tar: &[u8]) -> bool {
    let child = Command::new("docker")
        .args(["import", "-", BASE])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    child.is_ok_and(|mut child| {
        let written = child
            .stdin
            .take()
            .is_some_and(|mut input| input.write_all(tar).is_ok());
        child.wait().is_ok_and(|status| status.success()) && written
    })
}

/// Whether a process with exactly these arguments runs on this machine, in a container or not.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn runs(command: &str) -> bool {
    let wanted = command.replace(' ', "\0");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).trim_end_matches('\0') == wanted)
    })
}

/// Waits for something that happens by itself.
///
/// # Panics
/// Where it has not happened after two minutes.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
