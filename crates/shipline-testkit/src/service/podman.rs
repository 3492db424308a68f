//! Podman's service: the Docker API without BuildKit.

#![allow(clippy::disallowed_methods, reason = "tests start programs")]

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{READY, Service, skip};

/// A running Podman with storage of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Podman {
    directory: tempfile::TempDir,
    _service: Service,
}

impl Podman {
    /// Starts one; `None`, and a line that says so, where it is not installed.
    ///
    /// # Errors
    /// Where it is installed and does not start.
    pub fn start() -> io::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let socket = format!("unix://{}", directory.path().join("podman.sock").display());
        let mut command = podman(directory.path().to_path_buf());
        command.args(["system", "service", "--time=0", &socket]);
        let child = match command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
        {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skip("podman");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut podman = Self {
            directory,
            _service: Service(child),
        };
        let begin = Instant::now();
        while UnixStream::connect(podman.socket()).is_err() {
            if begin.elapsed() > READY || ended(&mut podman._service.0) {
                return Err(io::Error::other("podman does not listen"));
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(Some(podman))
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("podman.sock")
    }

    /// Makes an image of a file system's tar.
    ///
    /// # Errors
    /// Where Podman refuses it.
    pub fn import(&self, tar: &[u8], name: &str) -> io::Result<()> {
        let mut child = podman(self.directory.path().to_path_buf())
            .args(["import", "--quiet", "-", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(tar)?;
        }
        if child.wait()?.success() {
            Ok(())
        } else {
            Err(io::Error::other("podman import failed"))
        }
    }
}

fn ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Podman with everything that it keeps in `directory`. The driver without mounts and the runtime without systemd work in
/// containers too.
fn podman(directory: PathBuf) -> Command {
    let mut command = Command::new("podman");
    for (option, folder) in [
        ("--root", "root"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ] {
        command.arg(option).arg(directory.join(folder));
    }
    command.args([
        "--runtime",
        "runc",
        "--cgroup-manager",
        "cgroupfs",
        "--storage-driver",
        "vfs",
        "--events-backend",
        "none",
    ]);
    command
}
