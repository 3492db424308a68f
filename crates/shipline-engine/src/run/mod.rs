//! The run loop: carries a plan out, and makes every event of it.

mod attempt;
mod driver;
mod limit;
mod outlet;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shipline_model::config::Config;
use shipline_model::name::RunId;
use shipline_model::plan::{Limits, OnFailure, Plan};
use shipline_model::value::Variables;
use tokio::sync::mpsc;

use crate::backend::{
    Cataloguer, GitopsRepo, ImageBuilder, ImageReader, ImageStore, Registry, ScanWriter, Scanner,
    SourceRepo,
};
use crate::error::BackendError;
use crate::event::{CancelReason, Reporter, RunSummary};
use crate::fault::Faults;
use crate::folder::Place;
use crate::record::v1::Selection;
use crate::redact::Redactor;

/// What stages reach the outside through.
#[derive(Clone)]
pub struct Backends {
    /// The sources.
    pub source: Arc<dyn SourceRepo>,
    /// Where images live between builder, scanners and registry.
    pub store: Arc<dyn ImageStore>,
    /// What makes images.
    pub builder: Arc<dyn ImageBuilder>,
    /// Where images are published.
    pub registry: Arc<dyn Registry>,
    /// What shows images to scanners and cataloguer.
    pub reader: Arc<dyn ImageReader>,
    /// What looks into images before they are published.
    pub scanners: Vec<Arc<dyn Scanner>>,
    /// What writes down what the scanners found, for the registry.
    pub scan_writer: Arc<dyn ScanWriter>,
    /// What lists the packages of images before they are published.
    pub cataloguer: Arc<dyn Cataloguer>,
    /// What ArgoCD watches.
    pub gitops: Arc<dyn GitopsRepo>,
}

/// Whether results of earlier scans may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanCache {
    /// Yes.
    Use,
    /// No (`--no-cache`).
    Ignore,
}

/// How long things may take that are not a task's own work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graces {
    /// A command may take this long to end after SIGTERM; then it is killed.
    pub command: Duration,
    /// Any task may take this much longer to end when it is told to; then the run goes on without it.
    pub task: Duration,
    /// Deadline of a section that is not left before its end (moving tags, the GitOps commit).
    pub section: Duration,
    /// A reporter may block this long; then it is detached.
    pub reporter: Duration,
}

impl Default for Graces {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(10),
            task: Duration::from_secs(30),
            section: Duration::from_secs(120),
            reporter: Duration::from_secs(5),
        }
    }
}

/// How a plan is carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run's ID.
    pub run: RunId,
    /// When it began, in milliseconds since 1970 UTC; events are timed from it by the monotonic clock.
    pub started_ms: i64,
    /// `.shipline`, absolute. Its lock is held by the caller.
    pub state: Place,
    /// The command as a person typed it, for the record.
    pub command: String,
    /// The words of that command.
    pub argv: Vec<String>,
    /// What it asks for.
    pub selection: Selection,
    /// How many tasks of each class run at once.
    pub limits: Limits,
    /// What a failure does to the rest.
    pub on_failure: OnFailure,
    /// Fault points.
    pub faults: Faults,
    /// What is masked.
    pub redactor: Arc<Redactor>,
    /// What every command sees of the environment.
    pub environment: BTreeMap<String, String>,
    /// What `environment` and `cache_from` of components are resolved with.
    pub variables: Variables,
    /// Our own program, which calls [`supervise_if_asked`](crate::process::supervise_if_asked) first of all.
    pub program: PathBuf,
    /// How long things may take.
    pub graces: Graces,
    /// Who deploys (`Name <mail>`).
    pub author: Option<String>,
    /// Further trailers of deployment commits, behind `Run-Id`.
    pub trailers: Vec<(String, String)>,
    /// Whether earlier scans may be taken.
    pub scan_cache: ScanCache,
    /// What the output of a task may take, in bytes; of more its beginning and its end are kept.
    pub log_limit: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Its summary, also in the last event.
    pub summary: RunSummary,
    /// Things about the run itself that went wrong (a reporter was detached, the record is incomplete).
    pub notes: Vec<String>,
    /// Set where a task panicked: a bug of ours.
    pub bug: Option<String>,
}

/// Carries out `plan`. Every task of it ends, and the last event says how; that a task fails is no error.
///
/// Each of `signals` asks for the end of the run: the first lets running tasks end gracefully, the second kills their commands.
///
/// # Errors
/// Where a baseline or an exception of `scans` cannot be read, or the run's record cannot be opened: then nothing has happened
/// and no event was made.
pub async fn run(
    plan: Plan,
    config: &Config,
    backends: Backends,
    options: RunOptions,
    reporters: Vec<Box<dyn Reporter + Send>>,
    signals: mpsc::UnboundedReceiver<CancelReason>,
) -> Result<RunEnd, BackendError> {
    driver::Driver::start(plan, config, backends, options, reporters)?
        .drive(signals)
        .await
}
