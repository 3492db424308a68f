//! What stops an edit, with file, line, cause and remedy.

use std::fmt;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::Obstacle;

/// A place in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// File in the repository.
    pub file: String,
    /// 1-based line.
    pub line: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why an image in the GitOps repository cannot be found or set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempt}: {cause}")]
pub struct EditRefused {
    /// What was attempted: "set the image of frontend in staging".
    pub attempt: String,
    /// What is in the way, with its places.
    pub cause: String,
    /// What a person can do, lower case and without a period.
    pub remedy: String,
    /// Whether nothing that matches is there at all.
    pub kind: RefusedKind,
}

/// The kind of an [`EditRefused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// No container matches.
    Missing,
    /// Something that matches cannot be edited.
    Unfit,
}

impl From<EditRefused> for BackendError {
    fn from(error: EditRefused) -> Self {
        let class = match error.kind {
            RefusedKind::Missing => ErrorClass::NotFound,
            RefusedKind::Unfit => ErrorClass::Invalid,
        };
        Self::new(class, error.to_string()).hint(error.remedy)
    }
}

/// All of a deployment's refusals as one error.
pub(crate) fn refused(environment: &str, errors: Vec<EditRefused>) -> BackendError {
    if let [only] = errors.as_slice() {
        let mut error = BackendError::from(only.clone());
        error.class = ErrorClass::Invalid;
        return error;
    }
    let causes: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let message = format!(
        "set {} images in {environment}: {}",
        errors.len(),
        causes.join("; ")
    );
    let mut error = BackendError::new(ErrorClass::Invalid, message);
    for refused in errors {
        if !error.hints.contains(&refused.remedy) {
            error = error.hint(refused.remedy);
        }
    }
    error
}

/// `what` could not be done because of git.
pub(crate) fn git(what: impl Into<String>, cause: git2::Error) -> BackendError {
    shipline_git::error::git(what, cause)
}

/// `what` could not be done because of the file system.
pub(crate) fn io(what: impl Into<String>, cause: std::io::Error) -> BackendError {
    use std::io::ErrorKind as Kind;
    if let Some(obstacle) = Obstacle::of(&cause) {
        let remedy = obstacle.remedy();
        return BackendError::new(ErrorClass::Invalid, what)
            .because(cause)
            .hint(remedy);
    }
    let kind = cause.kind();
    let class = if kind == Kind::PermissionDenied {
        ErrorClass::Denied
    } else if kind == Kind::NotFound {
        ErrorClass::NotFound
    } else if matches!(
        kind,
        Kind::StorageFull | Kind::QuotaExceeded | Kind::ReadOnlyFilesystem
    ) {
        ErrorClass::Unavailable
    } else {
        ErrorClass::Failed
    };
    let error = BackendError::new(class, what).because(cause);
    if matches!(kind, Kind::StorageFull | Kind::QuotaExceeded) {
        error.hint("the disk is full: free some space and run again")
    } else {
        error
    }
}

/// Looks for an object that was just written: on a full disk libgit2 can lose one without an error.
pub(crate) fn require_written(
    repository: &git2::Repository,
    id: git2::Oid,
    what: &str,
) -> Result<(), BackendError> {
    let there = repository
        .odb()
        .map_err(|cause| git(what, cause))?
        .exists(id);
    if there {
        return Ok(());
    }
    Err(BackendError::new(ErrorClass::Unavailable, what)
        .because(format!("git wrote object {id}, and it is not there"))
        .hint("is the disk full? free some space and run again"))
}
