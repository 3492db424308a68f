//! git2's errors as ours: the class decides, never the text.

use std::path::Path;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::Obstacle;

/// What helps where a commit is missing.
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
    BackendError::new(class, what).because(said(&cause))
}

/// What libgit2 says, without the codes that it shows behind it: they are for programs.
#[must_use]
pub fn said(cause: &git2::Error) -> String {
    cause.message().to_owned()
}

/// What helps where an object is missing that git itself would fetch when it needs it; libgit2 cannot.
const FETCH_OBJECTS: &str = "the clone is a partial one (`--filter`), and objects that are missing are not fetched here: fetch them all (`git fetch --refetch --no-filter`), or clone without `--filter` (actions/checkout: without `filter`)";

/// What helps where an object is missing that should be there.
const DAMAGED: &str =
    "the clone is damaged: `git fsck` shows what is missing; a fresh clone has it";

/// As [`git`], for reading objects: where one is missing, the clone is incomplete.
pub(crate) fn object(
    repo: &git2::Repository,
    what: impl Into<String>,
    cause: git2::Error,
) -> BackendError {
    let missing = cause.code() == git2::ErrorCode::NotFound;
    let error = git(what, cause);
    if !missing {
        return error;
    }
    match (repo.is_shallow(), is_partial(repo)) {
        (true, true) => error.hint(FETCH_ALL).hint(FETCH_OBJECTS),
        (true, false) => error.hint(FETCH_ALL),
        (false, true) => error.hint(FETCH_OBJECTS),
        (false, false) => error.hint(DAMAGED),
    }
}

/// Whether git would fetch objects of this clone when it needs them (it has a promisor, as git calls it).
fn is_partial(repo: &git2::Repository) -> bool {
    repo.config().is_ok_and(|config| {
        config
            .entries(Some(r"^remote\..*\.promisor$"))
            .is_ok_and(|mut promisors| promisors.next().is_some())
    })
}

/// `what` could not be done with the file at `path`.
pub(crate) fn file(what: &str, path: &Path, cause: std::io::Error) -> BackendError {
    use std::io::ErrorKind;
    if let Some(obstacle) = Obstacle::of(&cause) {
        let remedy = obstacle.remedy();
        return BackendError::new(ErrorClass::Invalid, format!("{what} {}", path.display()))
            .because(cause)
            .hint(remedy);
    }
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
            "the disk that holds {} is full: free some space and run again",
            path.display()
        ))
    } else {
        error
    }
}
