//! What looks into things before they are published.

use shipline_model::finding::{Finding, FindingKind};
use shipline_model::name::{CommitId, ComponentName, Digest, RepoPath};
use shipline_model::plan::ImageId;

use crate::backend::{Artifact, Looking, SourceRepo};
use crate::error::BackendError;
use crate::findings::TargetName;
use crate::task::TaskContext;

/// What a scan saw. Nothing of it is judged: what counts is decided by [`Judge`](crate::findings::Judge).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScanReport {
    /// Everything found.
    pub findings: Vec<Finding>,
    /// Uncompressed bytes that were looked at.
    pub bytes: u64,
    /// Things that a person should know (files that could not be read).
    pub notes: Vec<String>,
    /// Why nothing can be told, where data is missing that the scanner needs.
    pub not_assessed: Option<String>,
    /// What of its findings the scanner cannot decide, and why: they may be right.
    pub undecided: Option<String>,
}

/// What one scanner found in one target, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The scanner's name, for people ("environment leaks").
    pub scanner: String,
    /// Everything found, suppressed findings included and marked.
    pub findings: Vec<Finding>,
}

/// Writes scans as a document that other tools read. The same scans give the same bytes.
pub trait ScanWriter: Send + Sync {
    /// The document of these scans.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn write(&self, scans: &[Scan]) -> Result<Artifact, BackendError>;
}

/// The kinds of things that scanners look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// An image in the store.
    Image,
    /// A component's sources, as the run has them.
    Sources,
    /// The commits of a change set.
    Commits,
}

/// What a scanner looks into.
#[derive(Clone, Copy)]
pub enum ScanTarget<'t> {
    /// An image in the store.
    Image {
        /// Which.
        id: &'t ImageId,
        /// Its manifest.
        digest: &'t Digest,
    },
    /// A component's sources, as the run has them.
    Sources {
        /// The component.
        component: &'t ComponentName,
        /// Its paths in the repository.
        paths: &'t [RepoPath],
        /// The repository.
        source: &'t dyn SourceRepo,
    },
    /// The commits of a change set.
    Commits {
        /// The commit before the first of them; none where all that the head reaches is looked into.
        base: Option<&'t CommitId>,
        /// The last of them.
        head: &'t CommitId,
        /// The repository.
        source: &'t dyn SourceRepo,
    },
}

impl ScanTarget<'_> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Image { .. } => TargetKind::Image,
            Self::Sources { .. } => TargetKind::Sources,
            Self::Commits { .. } => TargetKind::Commits,
        }
    }

    /// Its name in exceptions and baselines.
    #[must_use]
    pub fn name(&self) -> TargetName {
        match self {
            Self::Image { id, .. } => TargetName::from(*id),
            Self::Sources { component, .. } => TargetName {
                component: Some((*component).clone()),
                variant: None,
            },
            Self::Commits { .. } => TargetName::default(),
        }
    }
}

/// Looks into targets of some kinds. Called on blocking threads.
pub trait Scanner: Send + Sync {
    /// What it looks for, for people ("environment leaks").
    fn name(&self) -> &str;

    /// What kind of findings it gives.
    fn kind(&self) -> FindingKind;

    /// Whether it looks into targets of this kind.
    fn looks_into(&self, target: TargetKind) -> bool;

    /// All that decides a report besides the target: what the scanner knows, its rules. Equal keys allow to take an earlier
    /// report of the same target; `None`: it is scanned every time.
    fn key(&self) -> Option<String> {
        None
    }

    /// Looks into a target of a kind that it looks into. For an image it may ask to be shown its files.
    ///
    /// # Errors
    /// Where the target cannot be read. A finding is no error.
    fn scan<'l>(
        &'l self,
        target: &ScanTarget<'l>,
        task: &'l TaskContext,
    ) -> Result<Looking<'l, ScanReport>, BackendError>;
}
