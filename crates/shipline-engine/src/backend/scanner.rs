//! What looks into things before they are published.

use shipline_model::finding::{Finding, FindingKind};
use shipline_model::name::Digest;
use shipline_model::plan::ImageId;

use crate::backend::{Artifact, ImageStore};
use crate::error::BackendError;
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

/// Looks into one image. Called on blocking threads.
pub trait Scanner: Send + Sync {
    /// What it looks for, for people ("environment leaks").
    fn name(&self) -> &str;

    /// What kind of findings it gives.
    fn kind(&self) -> FindingKind;

    /// All that decides a report besides the image: what the scanner knows, its rules. Equal keys allow to take an earlier
    /// report of the same image; `None`: it is scanned every time.
    fn key(&self) -> Option<String> {
        None
    }

    /// Looks into the image.
    ///
    /// # Errors
    /// Where the image cannot be read. A finding is no error.
    fn scan(
        &self,
        id: &ImageId,
        digest: &Digest,
        store: &dyn ImageStore,
        task: &TaskContext,
    ) -> Result<ScanReport, BackendError>;
}
