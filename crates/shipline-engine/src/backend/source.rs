//! The repository that holds the sources.

use std::path::PathBuf;

use shipline_model::name::{CommitId, RepoPath};
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{Head, PathChange};

use crate::error::BackendError;
use crate::folder::Place;

/// A merge base or an ancestry that may not be known (shallow clone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ancestry {
    /// It is an ancestor (or the same commit).
    Ancestor,
    /// It exists, and is none.
    NotAncestor,
    /// The commit is not in this repository, or the history is cut off before the answer.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

/// What the workspace must be made equal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSet {
    /// Paths to hold: every `path` and `uses` of the run's components.
    pub paths: Vec<RepoPath>,
    /// Paths that are left alone: every declared cache of the configuration.
    pub keep: Vec<GitPath>,
    /// What is done with what stands outside of `paths`.
    pub outside: Outside,
}

/// What is done with what stands outside of a [`SourceSet`]'s paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// It is removed: the workspace holds the set and nothing else.
    Removed,
    /// It is left alone, also what comes there in the meantime: others are at work beside these paths.
    Left,
}

/// What making the workspace equal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Materialized {
    /// Files that were there and right.
    pub kept: usize,
    /// Files that were written.
    pub written: usize,
    /// Files and folders that were removed.
    pub removed: usize,
}

/// What stands at a path of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A folder that holds something, or a submodule.
    Folder,
    /// A file.
    File,
    /// A symlink. What it leads to is not part of it.
    Link {
        /// Where it leads; `None` where that is outside of the repository or no path at all.
        to: Option<RepoPath>,
    },
}

/// The repository that holds the sources: git objects, and the dirty tree over them.
pub trait SourceRepo: Send + Sync {
    /// What is checked out. An unborn branch is an `Invalid` error that says what to do.
    ///
    /// # Errors
    /// `NotFound` where there is no repository.
    fn head(&self) -> Result<Head, BackendError>;

    /// The commit that a revision names (`main`, `HEAD~1`, 8 hex digits).
    ///
    /// # Errors
    /// `NotFound` where it names none, `Invalid` where it is ambiguous.
    fn resolve(&self, revision: &str) -> Result<CommitId, BackendError>;

    /// Whether `commit` is an ancestor of the head.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn ancestry(&self, commit: &CommitId) -> Result<Ancestry, BackendError>;

    /// The merge base of the head and `commit`, if there is one and it can be known.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn merge_base(&self, commit: &CommitId) -> Result<Option<CommitId>, BackendError>;

    /// All paths that differ between `base` and the sources (the head's tree with the dirty tree over it); a rename is a
    /// deletion and an addition.
    ///
    /// # Errors
    /// `NotFound` where the commit or one of its trees is not there (shallow or partial clone).
    fn changes(&self, base: &CommitId) -> Result<ByPath<PathChange>, BackendError>;

    /// A hex SHA-256 over everything at `paths` (path, mode, content), the dirty tree included. Equal sources give equal
    /// keys in every clone.
    ///
    /// # Errors
    /// `NotFound` where one of the paths is not in the sources, naming it.
    fn key(&self, paths: &[RepoPath]) -> Result<String, BackendError>;

    /// The folder in which people look at the sources, where there is one. For messages only.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
    /// What stands at `path` in the sources (dirty tree over head), `None` where nothing does: symlinks on the way are not
    /// followed.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn standing(&self, path: &RepoPath) -> Result<Option<Standing>, BackendError>;

    /// A source file's bytes (dirty tree over head), `None` where it does not exist.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError>;

    /// A file's bytes as a commit has them, `None` where the commit has no such file.
    ///
    /// # Errors
    /// `NotFound` where the commit is not there; where the repository cannot be read.
    fn read_at(&self, commit: &CommitId, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError>;

    /// Makes `workspace` equal to the sources by the difference only: what is not in `set` is removed, kept paths are left
    /// alone, everything else is exactly the sources. Survives being killed at any point.
    ///
    /// # Errors
    /// Where a file cannot be read, written or removed, naming it.
    fn materialize(&self, set: &SourceSet, workspace: &Place)
    -> Result<Materialized, BackendError>;

    /// What is in `workspace` beyond the sources: the topmost paths that are neither of `set` nor kept by it, sorted (a folder
    /// without sources or kept paths in it is one path). Read after `setup` and added to [`SourceSet::keep`], they let
    /// [`SourceRepo::materialize`] restore the sources and remove what `prepare` made, but leave what `setup` made.
    ///
    /// # Errors
    /// Where the workspace cannot be read.
    fn extras(&self, set: &SourceSet, workspace: &Place) -> Result<Vec<GitPath>, BackendError>;
}
