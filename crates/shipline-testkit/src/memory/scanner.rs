//! A scanner that finds what it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use shipline_engine::backend::{Looking, ScanReport, ScanTarget, Scanner, TargetKind};
use shipline_engine::error::BackendError;
use shipline_engine::task::TaskContext;
use shipline_model::finding::FindingKind;
use shipline_model::plan::ImageId;

/// What a scanner does with an image.
type Judge = dyn Fn(&ImageId, &TaskContext) -> Result<ScanReport, BackendError> + Send + Sync;

/// A scanner that finds what it is told to.
pub struct ScriptedScanner {
    judge: Box<Judge>,
    key: Option<String>,
    scans: AtomicUsize,
}

impl ScriptedScanner {
    /// A scanner that answers with what `judge` gives. Reports are kept under `key`, where there is one.
    pub fn new(
        key: Option<&str>,
        judge: impl Fn(&ImageId, &TaskContext) -> Result<ScanReport, BackendError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            judge: Box::new(judge),
            key: key.map(str::to_owned),
            scans: AtomicUsize::new(0),
        }
    }

    /// A scanner that finds nothing.
    #[must_use]
    pub fn clean() -> Self {
        Self::new(None, |_, _| Ok(ScanReport::default()))
    }

    /// How often it was asked.
    #[must_use]
    pub fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }
}

impl Scanner for ScriptedScanner {
    fn name(&self) -> &str {
        "scripted"
    }

    fn kind(&self) -> FindingKind {
        FindingKind::Leak
    }

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    fn looks_into(&self, target: TargetKind) -> bool {
        target == TargetKind::Image
    }

    fn scan<'l>(
        &'l self,
        target: &ScanTarget<'l>,
        task: &'l TaskContext,
    ) -> Result<Looking<'l, ScanReport>, BackendError> {
        self.scans.fetch_add(1, Ordering::SeqCst);
        match target {
            ScanTarget::Image { id, .. } => (self.judge)(id, task).map(Looking::Done),
            ScanTarget::Sources { .. } | ScanTarget::Commits { .. } => {
                Ok(Looking::Done(ScanReport::default()))
            }
        }
    }
}
