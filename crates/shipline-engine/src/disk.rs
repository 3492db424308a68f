//! Files that are there whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{BackendError, ErrorClass};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes a file by a temporary one beside it, made durable and renamed; folders are made.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let temporary = beside(path);
    let written = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        if let Some(folder) = path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|cause: io::Error| {
        let _ = fs::remove_file(&temporary);
        failed("write", path, cause)
    })
}

/// Gives a file that never changes a second name, which is a copy where the disk has no links. `bytes` are its bytes.
pub(crate) fn link_or_write(from: &Path, to: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let linked = to
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::hard_link(from, to));
    match linked {
        Ok(()) => Ok(()),
        // Something is there already, or there are no links: the bytes count.
        Err(_) => write_whole(to, bytes),
    }
}

/// Removes from `folder` what processes that were killed left half-written. Nobody may be writing there.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "tmp")
        {
            // What stays is tried again by the next run.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{}.tmp",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    path.with_file_name(name)
}

/// A file's bytes, `None` where it cannot be had, for whatever reason: to be taken as not there.
pub(crate) fn read_if_there(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

/// The error of an operation on a file.
pub(crate) fn failed(what: &str, path: &Path, cause: io::Error) -> BackendError {
    let class = if cause.kind() == io::ErrorKind::NotFound {
        ErrorClass::NotFound
    } else if cause.kind() == io::ErrorKind::PermissionDenied {
        ErrorClass::Denied
    } else {
        ErrorClass::Unavailable
    };
    let path = path.display();
    let hint = hint(cause.kind(), &path);
    let error = BackendError::new(class, format!("{what} {path}")).because(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of errors are open"
)]
fn hint(kind: io::ErrorKind, path: &std::path::Display<'_>) -> Option<String> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
            "The disk that holds {path} is full. Free some space and run again."
        )),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{path} is on a file system that cannot be written."
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "Check owner and mode of {path} and its folder; files that another user (root?) created are a usual cause."
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_explained() {
        let check = |kind: io::ErrorKind, wanted: &[&str]| {
            let error = failed("write", Path::new("/x/lock"), kind.into());
            assert_eq!(error.to_string(), "write /x/lock");
            assert_eq!(error.hints.len(), wanted.len(), "{:?}", error.hints);
            for (hint, wanted) in error.hints.iter().zip(wanted) {
                assert!(hint.contains(wanted) && hint.contains("/x/lock"), "{hint}");
            }
        };
        check(io::ErrorKind::StorageFull, &["Free some space"]);
        check(io::ErrorKind::ReadOnlyFilesystem, &["cannot be written"]);
        check(io::ErrorKind::PermissionDenied, &["another user"]);
        check(io::ErrorKind::InvalidData, &[]);
    }
}
