//! Moving a branch of a repository on this machine by compare-and-swap, and clearing away the lock that a killed process left.
//!
//! git locks a ref by a file beside it, which nobody removes where its maker is killed. Our writers take turns under a lock of
//! the system's (the file `shipline-turn` in the repository), which a death lets go of, and write into it which ref lock they are
//! making: so one that a dead writer of ours left is known at once, by its inode, and removed by the one whose turn it is. A
//! lock of somebody else's is given the time that no writer of refs takes.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{ErrorCode, Oid, Repository};
use shipline_engine::error::BackendError;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;

use crate::error::{git, io as failed_io};

/// A ref's lock of this age was left by a process that is no more: a ref is written in milliseconds.
pub(crate) const STALE: Duration = Duration::from_secs(30);

/// The file under whose lock our writers take turns.
const TURN: &str = "shipline-turn";

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The branch has moved as asked.
    Done,
    /// Somebody else is writing it, or was first.
    Lost,
}

/// Moves `reference` from `old` to `new` if it still is at `old`.
///
/// # Errors
/// Where the repository cannot be written.
pub(crate) fn swap(
    repository: &Repository,
    reference: &str,
    (old, new): (Oid, Oid),
    faults: &Faults,
) -> Result<Swap, BackendError> {
    let what = || format!("move {reference} of {}", repository.path().display());
    let failed = |cause| git(what(), cause);
    let lock = repository.commondir().join(format!("{reference}.lock"));
    let turn = Turn::take(repository.commondir(), &lock);
    let Some(mut turn) = turn.map_err(|cause| failed_io(what(), cause))? else {
        return Ok(Swap::Lost);
    };
    let mut transaction = repository.transaction().map_err(failed)?;
    match transaction.lock_ref(reference) {
        Ok(()) => {}
        Err(cause) if cause.code() == ErrorCode::Locked => {
            // Where it cannot be removed, the deadline's error names it.
            let _ = turn.now().and_then(|now| {
                remove(&lock, |meta| age(meta, now).is_some_and(|age| age >= STALE))
            });
            return Ok(Swap::Lost);
        }
        Err(cause) => return Err(failed(cause)),
    }
    turn.write(&lock)
        .map_err(|cause| failed_io(what(), cause))?;
    faults.reach(FaultPoint::GitopsLocked);
    // Nobody moves it from here on.
    if repository.refname_to_id(reference).map_err(failed)? != old {
        return Ok(Swap::Lost);
    }
    transaction
        .set_target(reference, new, None, "shipline: deploy")
        .and_then(|()| transaction.commit())
        .map_err(failed)?;
    Ok(Swap::Done)
}

/// The one of our writers whose turn it is; the next one's begins when this is dropped, or its process dies.
struct Turn {
    file: File,
}

impl Turn {
    /// Takes the turn, `None` where it is another's. What a writer left that died in its own is removed first.
    fn take(folder: &Path, lock: &Path) -> io::Result<Option<Self>> {
        let mut file = Place::from(folder).open()?.open_or_create(TURN)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        let mut left = String::new();
        file.read_to_string(&mut left)?;
        if !left.is_empty() {
            remove(lock, |meta| left == identity(meta))?;
        }
        Ok(Some(Self { file }))
    }

    /// Writes down which ref lock is ours.
    fn write(&mut self, lock: &Path) -> io::Result<()> {
        self.set(&identity(&fs::symlink_metadata(lock)?))
    }

    /// The time by the clock that stamps the repository's files: that of a file server is another than ours.
    fn now(&mut self) -> io::Result<SystemTime> {
        // No lock's identity.
        self.set("\n")?;
        self.file.metadata()?.modified()
    }

    fn set(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// What tells a lock from every other that was and will be at its path. (Its content, and with it its other times, is written
/// while it is held; they do where the file system does not know when a file was made.)
fn identity(meta: &Metadata) -> String {
    let made = meta.created().or_else(|_| meta.modified()).ok();
    let made = made.and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!(
        "{} {} {}\n",
        meta.dev(),
        meta.ino(),
        made.unwrap_or_default().as_nanos()
    )
}

fn age(meta: &Metadata, now: SystemTime) -> Option<Duration> {
    now.duration_since(meta.modified().ok()?).ok()
}

/// Removes the file at `lock` where `left` says that nobody holds it, and no other file that has come to its place meanwhile: it
/// is moved aside, looked at again, and put back where it is another.
fn remove(lock: &Path, left: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    let there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    };
    if !there(lock)?.is_some_and(|meta| left(&meta)) {
        return Ok(());
    }
    let aside = aside(lock);
    match fs::rename(lock, &aside) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    }
    if there(&aside)?.is_some_and(|meta| !left(&meta)) {
        // A link does not replace what a third one may have put there.
        fs::hard_link(&aside, lock)?;
    }
    fs::remove_file(&aside)
}

/// A name of this process beside the lock, which git takes for no ref.
fn aside(lock: &Path) -> PathBuf {
    let name = lock.file_name().unwrap_or_default().to_string_lossy();
    lock.with_file_name(format!("{name}.{}.lock", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn lock() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("main.lock");
        fs::write(&lock, "stale").unwrap();
        (folder, lock)
    }

    #[test]
    fn a_lock_that_is_left_is_removed() {
        let (folder, lock) = lock();
        remove(&lock, |_| true).unwrap();
        remove(&lock, |_| true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_that_comes_to_its_place_meanwhile_stays() {
        let (folder, lock) = lock();
        let looks = Cell::new(0);
        // The moment between the look and the removal: its holder was alive and is through, and another one has begun.
        remove(&lock, |meta| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                fs::write(folder.path().join("new"), "live").unwrap();
                fs::rename(folder.path().join("new"), &lock).unwrap();
            }
            meta.len() == 5
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&lock).unwrap(), "live");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_the_lock_that_was_written_down_is_the_dead_writers() {
        let (folder, lock) = lock();
        let mut turn = Turn::take(folder.path(), &lock).unwrap().unwrap();
        assert!(Turn::take(folder.path(), &lock).unwrap().is_none());
        turn.write(&lock).unwrap();
        drop(turn);
        // Another process made its own before anybody came.
        fs::rename(&lock, folder.path().join("main")).unwrap();
        fs::write(&lock, "live").unwrap();
        let mut turn = Turn::take(folder.path(), &lock).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&lock).unwrap(), "live");
        turn.write(&lock).unwrap();
        drop(turn);
        let _turn = Turn::take(folder.path(), &lock).unwrap().unwrap();
        assert!(!lock.exists());
    }
}
