//! The lock of `.shipline`: one run at a time in a clone.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::disk::failed;
use crate::error::{BackendError, ErrorClass};
use crate::folder::Place;

/// How long nobody is told of a wait: most are over by then.
const SILENT: Duration = Duration::from_secs(1);

/// Bytes of a lock file that are read.
const LONGEST: u64 = 64 * 1024;

/// Between two looks whether the lock is free.
const ROUND: Duration = Duration::from_millis(20);

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

/// Makes the state folder with a `.gitignore` that hides all of it from git, before anything else is in it. Nobody else may
/// write in it: whoever can puts links there.
///
/// # Errors
/// Where it cannot be written, is a link or is another user's.
pub fn prepare_state(state: &Place) -> Result<(), BackendError> {
    let cannot = |cause| failed("use", state.path(), cause);
    let folder = match state.open() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let folder = state.make().map_err(cannot)?;
            // Commands work below it, and may start programs that run as another user.
            folder.set_own_permissions(0o755).map_err(cannot)?;
            folder
        }
        folder => folder.map_err(cannot)?,
    };
    let permissions = folder.look().map_err(cannot)?.permissions;
    if permissions & 0o022 != 0 {
        folder
            .set_own_permissions(permissions & !0o022)
            .map_err(cannot)?;
    }
    let is_there = || folder.read(".gitignore").is_ok_and(|text| text == b"*\n");
    if is_there() {
        return Ok(());
    }
    match folder.write_whole(".gitignore", b"*\n") {
        // Another process wrote it meanwhile, and took ours for something half-written.
        Err(_) if is_there() => Ok(()),
        written => {
            written.map_err(|cause| failed("write", &state.path().join(".gitignore"), cause))
        }
    }
}

impl StateLock {
    /// Takes the lock of the folder `state`, which is made where it is missing. Where somebody else holds it for longer than a
    /// second and `wait` says so, `waiting` is told once who (if that can be told), and this blocks.
    ///
    /// # Errors
    /// `Conflict` naming the holder where it is held and is not waited for.
    pub fn acquire(
        state: &Place,
        holder: &Holder,
        wait: Wait,
        waiting: &mut dyn FnMut(Option<&Holder>),
    ) -> Result<Self, BackendError> {
        prepare_state(state)?;
        let path = state.path().join("lock");
        let folder = state
            .open()
            .map_err(|cause| failed("use", state.path(), cause))?;
        let file = folder
            .open_or_create("lock")
            .map_err(|cause| failed("open", &path, cause))?;
        let cannot = |errno: Errno| failed("lock", &path, errno.into());
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => match wait {
                Wait::Never => return Err(held(state, read(&mut file).as_ref())),
                Wait::ForIt => match lock_soon(file).map_err(cannot)? {
                    Soon::Locked(file) => file,
                    Soon::Held(mut file) => {
                        waiting(read(&mut file).as_ref());
                        lock_blocking(file).map_err(cannot)?
                    }
                },
            },
            Err((_, errno)) => return Err(cannot(errno)),
        };
        write(&file, holder).map_err(|cause| failed("write", &path, cause))?;
        folder.sweep();
        Ok(Self { _file: file })
    }
}

/// What became of a short wait.
enum Soon {
    Locked(Flock<File>),
    Held(File),
}

/// Takes the lock if it becomes free within [`SILENT`].
fn lock_soon(mut file: File) -> Result<Soon, Errno> {
    let until = Instant::now() + SILENT;
    while Instant::now() < until {
        std::thread::sleep(ROUND);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(Soon::Locked(locked)),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
    Ok(Soon::Held(file))
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

fn held(state: &Place, other: Option<&Holder>) -> BackendError {
    let by = other.map_or_else(|| "another run".to_owned(), ToString::to_string);
    BackendError::new(
        ErrorClass::Conflict,
        format!("lock {}: {by} holds it", state.path().display()),
    )
    .hint("wait for it to end, or start again without the flag that forbids waiting")
}

impl fmt::Display for Holder {
    /// ``` `shipline pipeline web` (process 7, since 2026-01-31 12:00:00 UTC)```.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {}", self.command, self.pid)?;
        match jiff::Timestamp::from_second(self.since) {
            Ok(since) => write!(f, ", since {})", since.strftime("%Y-%m-%d %H:%M:%S UTC")),
            Err(_) => f.write_str(")"),
        }
    }
}

/// The holder that the file names; nothing where it is being written or was never.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
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
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::folder::Owner;

    fn holder(command: &str) -> Holder {
        Holder {
            pid: 7,
            command: command.to_owned(),
            since: 1,
        }
    }

    fn state(folder: &tempfile::TempDir) -> Place {
        Place::new(folder.path(), Owner::Ours).join(".shipline")
    }

    #[test]
    fn one_holds_it_and_the_other_is_told_who_and_since_when() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let first =
            StateLock::acquire(&state, &holder("first"), Wait::Never, &mut |_| panic!()).unwrap();
        let ignore = state.join(".gitignore");
        assert_eq!(ignore.read().unwrap(), b"*\n");
        let error = StateLock::acquire(&state, &holder("second"), Wait::Never, &mut |_| panic!())
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        let who = "`first` (process 7, since 1970-01-01 00:00:01 UTC)";
        assert!(error.message.contains(who), "{error}");

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
        let state = state(&folder);
        fs::create_dir(state.path()).unwrap();
        fs::write(state.path().join(".gitignore.1-0.tmp"), "").unwrap();
        let _held = StateLock::acquire(&state, &holder("a"), Wait::Never, &mut |_| panic!());
        let mut names: Vec<_> = fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".gitignore", "lock"]);
    }

    #[test]
    fn a_state_folder_or_lock_that_is_a_link_is_refused_and_its_target_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let victim = folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("data.tmp"), "precious").unwrap();
        let refused = |wanted: &str| {
            let error = StateLock::acquire(&state, &holder("a"), Wait::ForIt, &mut |_| panic!())
                .unwrap_err();
            let cause = format!("{error}: {}", error.cause.as_ref().unwrap());
            assert_eq!(error.class, ErrorClass::Invalid, "{cause}");
            assert!(cause.contains(wanted), "{cause}");
            assert_eq!(fs::read(victim.join("data.tmp")).unwrap(), b"precious");
            assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
        };
        symlink(&victim, state.path()).unwrap();
        refused(".shipline is a symbolic link");
        fs::remove_file(state.path()).unwrap();
        fs::create_dir(state.path()).unwrap();
        let lock = state.path().join("lock");
        symlink(victim.join("data.tmp"), &lock).unwrap();
        refused("lock is a symbolic link");
        fs::remove_file(&lock).unwrap();
        fs::hard_link(victim.join("data.tmp"), &lock).unwrap();
        refused("lock has several names");
        fs::remove_file(&lock).unwrap();
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("lock is not a regular file");
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        refused("lock is not a regular file");
    }

    #[test]
    fn nobody_else_may_write_in_the_state_folder() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        prepare_state(&state).unwrap();
        let mode = || fs::metadata(state.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o755);
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
        prepare_state(&state).unwrap();
        assert_eq!(mode(), 0o755);
    }
}
