//! Errors of the disk as classes with remedies, and durability of directories.

use std::io;
use std::path::Path;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::{Obstacle, Place};

/// What an operation on `path` ran into; `attempt` is its verb ("write", "read blob").
pub(crate) fn disk_error(attempt: &str, path: &Path, error: io::Error) -> BackendError {
    let message = format!("{attempt} {}", path.display());
    let (class, hint) = classify(&error, path);
    let error = BackendError::new(class, message).because(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // std's error kinds are open
fn classify(error: &io::Error, path: &Path) -> (ErrorClass, Option<String>) {
    if let Some(obstacle) = Obstacle::of(error) {
        return (ErrorClass::Invalid, Some(obstacle.remedy()));
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            ErrorClass::Unavailable,
            Some(format!(
                "the disk that holds {} is full: free some space and run again; nothing was half-written",
                path.display()
            )),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorClass::Unavailable,
            Some(format!(
                "{} is on a file system that cannot be written",
                path.display()
            )),
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorClass::Denied,
            Some(format!(
                "check owner and mode of {}; files that another user (root?) created are a usual cause",
                path.display()
            )),
        ),
        io::ErrorKind::NotFound => (ErrorClass::NotFound, None),
        _ => (ErrorClass::Failed, None),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(place: &Place) -> Result<(), BackendError> {
    place
        .open()
        .and_then(|directory| directory.sync())
        .map_err(|error| disk_error("make durable", place.path(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_unavailable_with_a_remedy() {
        for errno in [28, 122] {
            let error = disk_error(
                "write",
                Path::new("/store"),
                io::Error::from_raw_os_error(errno),
            );
            assert_eq!(error.class, ErrorClass::Unavailable);
            assert!(error.hints[0].contains("free some space"));
        }
        let error = disk_error(
            "write",
            Path::new("/store"),
            io::Error::from_raw_os_error(13),
        );
        assert_eq!(error.class, ErrorClass::Denied);
    }
}
