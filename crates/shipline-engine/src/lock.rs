//! The lock of `.shipline`: one run at a time in a clone.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::disk::{failed, sweep, write_whole};
use crate::error::{BackendError, ErrorClass};

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// What it does, as a person would type it.
    pub command: String,
    /// Since when, in seconds since 1970 UTC.
    pub since: i64,
}

/// What to do while somebody else holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait.
    ForIt,
    /// Fail at once.
    Never,
}

/// The lock, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: Flock<File>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    pid: u32,
    command: String,
    since: i64,
}

/// Makes `.shipline` with a `.gitignore` that hides all of it from git, before anything else is in it.
///
/// # Errors
/// Where it cannot be written.
pub fn prepare_state(state: &Path) -> Result<(), BackendError> {
    fs::create_dir_all(state).map_err(|cause| failed("create", state, cause))?;
    let ignore = state.join(".gitignore");
    let is_there = || fs::read(&ignore).is_ok_and(|text| text == b"*\n");
    if is_there() {
        return Ok(());
    }
    match write_whole(&ignore, b"*\n") {
        // Another process wrote it meanwhile, and took ours for something half-written.
        Err(_) if is_there() => Ok(()),
        written => written,
    }
}

impl StateLock {
    /// Takes the lock of the folder `state`, which is made where it is missing. Where somebody else holds it and `wait` says so,
    /// `waiting` is told once who (if that can be told), and this blocks.
    ///
    /// # Errors
    /// `Conflict` naming the holder where it is held and is not waited for.
    pub fn acquire(
        state: &Path,
        holder: &Holder,
        wait: Wait,
        waiting: &mut dyn FnMut(Option<&Holder>),
    ) -> Result<Self, BackendError> {
        prepare_state(state)?;
        let path = state.join("lock");
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|cause| failed("open", &path, cause))?;
        let cannot = |errno: Errno| failed("lock", &path, errno.into());
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let other = read(&mut file);
                match wait {
                    Wait::Never => return Err(held(state, other.as_ref())),
                    Wait::ForIt => {
                        waiting(other.as_ref());
                        lock_blocking(file).map_err(cannot)?
                    }
                }
            }
            Err((_, errno)) => return Err(cannot(errno)),
        };
        write(&file, holder).map_err(|cause| failed("write", &path, cause))?;
        sweep(state);
        Ok(Self { _file: file })
    }
}

fn lock_blocking(mut file: File) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(locked) => return Ok(locked),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

fn held(state: &Path, other: Option<&Holder>) -> BackendError {
    let by = match other {
        Some(holder) => format!("`{}` (process {})", holder.command, holder.pid),
        None => "another run".to_owned(),
    };
    BackendError::new(
        ErrorClass::Conflict,
        format!("lock {}: {by} holds it", state.display()),
    )
    .hint("wait for it to end, or start again without the flag that forbids waiting")
}

/// The holder that the file names; nothing where it is being written or was never.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    let stored: Stored = serde_json::from_str(&text).ok()?;
    Some(Holder {
        pid: stored.pid,
        command: stored.command,
        since: stored.since,
    })
}

/// Writes in place: a rename would take the file away from those who wait on it. What is cut off names nobody.
fn write(mut file: &File, holder: &Holder) -> std::io::Result<()> {
    let text = serde_json::to_string(&Stored {
        pid: holder.pid,
        command: holder.command.clone(),
        since: holder.since,
    })?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(command: &str) -> Holder {
        Holder {
            pid: 7,
            command: command.to_owned(),
            since: 1,
        }
    }

    #[test]
    fn one_holds_it_and_the_other_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(".shipline");
        let first =
            StateLock::acquire(&state, &holder("first"), Wait::Never, &mut |_| panic!()).unwrap();
        assert_eq!(fs::read(state.join(".gitignore")).unwrap(), b"*\n");
        let error = StateLock::acquire(&state, &holder("second"), Wait::Never, &mut |_| panic!())
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        assert!(error.message.contains("`first` (process 7)"), "{error}");

        let (told, hears) = std::sync::mpsc::channel();
        let second = std::thread::spawn(move || {
            StateLock::acquire(&state, &holder("second"), Wait::ForIt, &mut |holder| {
                told.send(holder.cloned()).unwrap()
            })
            .unwrap();
        });
        assert_eq!(hears.recv().unwrap(), Some(holder("first")));
        drop(first);
        second.join().unwrap();
    }

    #[test]
    fn who_takes_it_removes_what_killed_processes_left() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(".shipline");
        fs::create_dir(&state).unwrap();
        fs::write(state.join(".gitignore.1-0.tmp"), "").unwrap();
        let _held = StateLock::acquire(&state, &holder("a"), Wait::Never, &mut |_| panic!());
        let mut names: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".gitignore", "lock"]);
    }
}
