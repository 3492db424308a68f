//! What looks into images before they are published.

use shipline_model::finding::Finding;
use shipline_model::name::Digest;
use shipline_model::plan::ImageId;

use crate::backend::ImageStore;
use crate::error::BackendError;
use crate::task::TaskContext;

/// What a scan saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScanReport {
    /// Everything found, suppressed findings included and marked.
    pub findings: Vec<Finding>,
    /// Uncompressed bytes that were looked at.
    pub bytes: u64,
    /// Things that a person should know (an exception that ended).
    pub notes: Vec<String>,
    /// The lines in pipeline.yaml of the exceptions that matched something.
    pub exceptions: Vec<usize>,
}

/// Looks into one image. Called on blocking threads.
pub trait Scanner: Send + Sync {
    /// What it looks for, for people ("environment leaks").
    fn name(&self) -> &str;

    /// All that decides a report besides the image: what the scanner knows, its rules, the exceptions, the day on which they
    /// are judged. Equal keys allow to take an earlier report of the same image; `None`: it is scanned every time.
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
