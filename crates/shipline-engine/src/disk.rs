//! Files that are there whole or not at all, and what is in the way of an operation on one.

use std::io;
use std::path::Path;

use crate::error::{BackendError, ErrorClass};
use crate::folder::{Obstacle, Place};

/// Writes a file by a temporary one beside it, made durable and renamed; folders are made.
pub(crate) fn write_whole(place: &Place, bytes: &[u8]) -> Result<(), BackendError> {
    place
        .write_whole(bytes)
        .map_err(|cause| failed("write", place.path(), cause))
}

/// Gives a file that never changes a second name, which is a copy where the disk has no links. `bytes` are its bytes.
pub(crate) fn link_or_write(from: &Place, to: &Place, bytes: &[u8]) -> Result<(), BackendError> {
    let linked = to.make_parent().and_then(|(folder, name)| {
        let (source, document) = from.parent()?;
        source.link(document, &folder, name)
    });
    match linked {
        Ok(()) => Ok(()),
        // Something is there already, or there are no links: the bytes count.
        Err(_) => write_whole(to, bytes),
    }
}

/// Removes from `folder` what processes that were killed left half-written. Nobody may be writing there.
pub(crate) fn sweep(folder: &Place) {
    if let Ok(folder) = folder.open() {
        folder.sweep();
    }
}

/// A file's bytes, `None` where it cannot be had, for whatever reason: to be taken as not there.
pub(crate) fn read_if_there(place: &Place) -> Option<Vec<u8>> {
    place.read().ok()
}

/// The error of an operation on a file: `what` is its verb.
pub(crate) fn failed(what: &str, path: &Path, cause: io::Error) -> BackendError {
    if let Some(obstacle) = Obstacle::of(&cause) {
        let remedy = obstacle.remedy();
        return BackendError::new(ErrorClass::Invalid, format!("{what} {}", path.display()))
            .because(cause)
            .hint(remedy);
    }
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
            "the disk that holds {path} is full: free some space and run again"
        )),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("{path} is on a file system that cannot be written"))
        }
        io::ErrorKind::PermissionDenied => Some(format!(
            "check owner and mode of {path} and its folder; files that another user (root?) created are a usual cause"
        )),
        _ => None,
    }
}

/// Why a folder can neither be made at `path` nor written, if that is so: lower case, no period.
#[must_use]
pub fn obstacle(path: &Path) -> Option<String> {
    let there = path
        .ancestors()
        .find(|folder| folder.symlink_metadata().is_ok())?;
    if !there.is_dir() {
        return Some(format!("{} is not a folder", there.display()));
    }
    nix::unistd::access(there, nix::unistd::AccessFlags::W_OK)
        .err()
        .map(|error| format!("{}: {}", there.display(), error.desc()))
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
        check(io::ErrorKind::StorageFull, &["free some space"]);
        check(io::ErrorKind::ReadOnlyFilesystem, &["cannot be written"]);
        check(io::ErrorKind::PermissionDenied, &["another user"]);
        check(io::ErrorKind::InvalidData, &[]);
    }
}
