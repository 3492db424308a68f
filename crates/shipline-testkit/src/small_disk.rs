//! A disk that is soon full, as a real one: a file system in memory with a size of its own, on a folder of a test.

#![allow(
    clippy::disallowed_methods,
    reason = "mount and umount are programs of the machine"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs;

/// A mounted file system; it is gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `kib` KiB on the folder `path`; `None`, and a line that says so, where this user may not (root may).
    ///
    /// # Panics
    /// Where the folder cannot be made, or everything was promised and this user may not mount.
    #[must_use]
    pub fn mount(test: &str, path: &Path, kib: u64) -> Option<Self> {
        assert!(
            std::fs::create_dir_all(path).is_ok(),
            "{} can be made",
            path.display()
        );
        let options = format!("size={kib}k");
        let mounted = succeeds(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "shipline-test"])
                .arg(path),
        );
        needs::decide(test, mounted, "the right to mount a file system").then(|| Self {
            path: path.to_owned(),
        })
    }

    /// Makes room.
    ///
    /// # Panics
    /// Where the file system does not take it.
    pub fn grow(&self, kib: u64) {
        let options = format!("remount,size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-o", &options]).arg(&self.path);
        assert!(succeeds(&mut mount), "{} grows", self.path.display());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still looks into it does not keep it.
        let _ = succeeds(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
