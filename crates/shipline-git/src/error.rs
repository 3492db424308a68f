//! git2's errors as ours: the class decides, never the text.

use std::path::Path;

use shipline_engine::error::{BackendError, ErrorClass};

/// What helps where an object is missing.
pub(crate) const FETCH_ALL: &str = "the clone is incomplete: fetch the whole history (`git fetch --unshallow`, or `fetch-depth: 0` for actions/checkout)";

/// `what` could not be done because of git.
pub fn git(what: impl Into<String>, cause: git2::Error) -> BackendError {
    use git2::ErrorCode as Code;
    let class = match cause.code() {
        Code::NotFound => ErrorClass::NotFound,
        Code::Ambiguous
        | Code::InvalidSpec
        | Code::Peel
        | Code::BareRepo
        | Code::UnbornBranch
        | Code::Invalid
        | Code::Directory => ErrorClass::Invalid,
        Code::Owner | Code::Auth | Code::Certificate => ErrorClass::Denied,
        Code::Locked | Code::Timeout => ErrorClass::Retryable,
        Code::Exists | Code::Conflict | Code::Modified | Code::NotFastForward => {
            ErrorClass::Conflict
        }
        Code::GenericError
        | Code::BufSize
        | Code::User
        | Code::Unmerged
        | Code::Applied
        | Code::Eof
        | Code::Uncommitted
        | Code::MergeConflict
        | Code::HashsumMismatch
        | Code::IndexDirty
        | Code::ApplyFail => ErrorClass::Failed,
    };
    BackendError::new(class, what).because(cause)
}

/// As [`git`], for reading objects: where one is missing, the clone is incomplete.
pub(crate) fn object(what: impl Into<String>, cause: git2::Error) -> BackendError {
    let missing = cause.code() == git2::ErrorCode::NotFound;
    let error = git(what, cause);
    if missing {
        error.hint(FETCH_ALL)
    } else {
        error
    }
}

/// `what` could not be done with the file at `path`.
pub(crate) fn file(what: &str, path: &Path, cause: std::io::Error) -> BackendError {
    use std::io::ErrorKind;
    let kind = cause.kind();
    let class = if kind == ErrorKind::PermissionDenied {
        ErrorClass::Denied
    } else if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        ErrorClass::Unavailable
    } else {
        ErrorClass::Failed
    };
    let error = BackendError::new(class, format!("{what} {}", path.display())).because(cause);
    if class == ErrorClass::Unavailable {
        error.hint(format!(
            "The disk that holds {} is full. Free some space and run again.",
            path.display()
        ))
    } else {
        error
    }
}
