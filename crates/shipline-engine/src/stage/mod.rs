//! What each kind of stage does: one file for each, called by one `match`.

mod attach;
mod build;
mod command;
mod detect;
mod gitops;
mod image_scan;
mod look;
mod push;
mod retention;
mod sbom;
mod section;
mod test;

pub(crate) use push::preflight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shipline_model::config::{Component, Config, StageKind};
use shipline_model::name::{ComponentName, Digest};
use shipline_model::plan::{ImageAction, ImageId, Plan, PlannedImage, Task};
use shipline_model::stage_kind::Cached;
use tokio_util::sync::CancellationToken;

use crate::backend::{Artifact, Scan};
use crate::cache::Cache;
use crate::error::{BackendError, ErrorClass};
use crate::event::{BuiltImage, Facts};
use crate::fault::FaultPoint;
use crate::findings::Judge;
use crate::process::Supervisor;
use crate::run::{Backends, RunOptions};
use crate::task::TaskContext;
use crate::workspace::Workspaces;

/// What all tasks of a run share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) config: Config,
    pub(crate) backends: Backends,
    pub(crate) judge: Judge,
    pub(crate) options: Arc<RunOptions>,
    pub(crate) cache: Cache,
    pub(crate) workspaces: Workspaces,
    pub(crate) supervisor: Supervisor,
    results: Mutex<Results>,
}

/// What tasks hand to later tasks. The plan guarantees who comes before whom.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Images that are in the store since this run looked.
    pub(crate) images: BTreeMap<ImageId, BuiltImage>,
    /// Images that passed the gate.
    pub(crate) passed: BTreeMap<ImageId, Digest>,
    /// What the scanners said of those, in their order.
    pub(crate) scans: BTreeMap<ImageId, Vec<Scan>>,
    /// The image scans that came to a verdict, by component.
    pub(crate) scanned: Vec<ComponentName>,
    /// The lines in pipeline.yaml of the exceptions that matched something.
    pub(crate) exceptions: BTreeSet<usize>,
    /// Their SBOMs, masked.
    pub(crate) sboms: BTreeMap<ImageId, Artifact>,
}

/// One task as its stage sees it.
pub(crate) struct StageTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: Task,
    pub(crate) context: TaskContext,
    /// Whether it is in a section that is not left before its end.
    pub(crate) in_section: Arc<AtomicBool>,
}

/// How a task ended without an error.
pub(crate) enum Ended {
    Passed(Facts),
    Cached {
        key: String,
        from: String,
        facts: Facts,
    },
    NotAssessed(String),
}

/// Runs a task, and remembers a pass that the next plan may take.
pub(crate) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let kind = &task.task.kind;
    let ended = match kind {
        StageKind::Detect => detect::run(task).await,
        StageKind::Test => test::run(task).await,
        StageKind::Build => build::run(task).await,
        StageKind::ImageScan => image_scan::run(task).await,
        StageKind::Push => push::run(task).await,
        StageKind::Gitops { environment } => gitops::run(task, environment).await,
        StageKind::Run { command } => command::run(task, command).await,
    }?;
    match (&ended, kind.nature().cached) {
        (Ended::Passed(_), Cached::BySources) => remember(task).await?,
        (Ended::Passed(_) | Ended::Cached { .. } | Ended::NotAssessed(_), _) => {}
    }
    Ok(ended)
}

/// Remembers that a task passed with the sources of its component.
async fn remember(task: &StageTask) -> Result<(), BackendError> {
    let shared = &task.shared;
    shared.options.faults.reach(FaultPoint::TestPassed);
    let name = task.task.id.component.as_ref();
    let mut components = shared.plan.components.iter();
    let planned = components.find(|planned| Some(&planned.name) == name);
    if let Some(key) = planned.and_then(|planned| planned.source_key.clone()) {
        let (cache, kind) = (shared.cache.clone(), task.task.kind.kind());
        let run = shared.options.run.to_string();
        blocking(move || cache.record_pass(kind, &key, &run)).await?;
        shared.options.faults.reach(FaultPoint::TestRecorded);
    }
    Ok(())
}

impl Shared {
    pub(crate) fn new(
        plan: Arc<Plan>,
        config: Config,
        backends: Backends,
        judge: Judge,
        options: Arc<RunOptions>,
        kill: CancellationToken,
    ) -> Self {
        Self {
            cache: Cache::new(&options.state),
            workspaces: Workspaces::new(&options.state, &backends.source, &config, &plan),
            supervisor: Supervisor {
                program: options.program.clone(),
                grace: options.graces.command,
                kill,
                faults: options.faults.clone(),
            },
            results: Mutex::default(),
            plan,
            config,
            backends,
            judge,
            options,
        }
    }

    pub(crate) fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All images of the run, in the plan's order.
    pub(crate) fn images(&self) -> impl Iterator<Item = &PlannedImage> {
        self.plan
            .components
            .iter()
            .flat_map(|component| &component.images)
    }

    /// An image's manifest, as built or taken.
    pub(crate) fn digest(&self, image: &PlannedImage) -> Result<Digest, BackendError> {
        if let Some(built) = self.results().images.get(&image.id) {
            return Ok(built.digest.clone());
        }
        match &image.action {
            ImageAction::Take { digest, from: _ } => Ok(digest.clone()),
            ImageAction::Build { why: _ } => Err(BackendError::new(
                ErrorClass::NotFound,
                format!("find the image {}: this run has not built it", image.id),
            )),
        }
    }
}

impl StageTask {
    /// The task's component.
    pub(crate) fn component(&self) -> Result<&Component, BackendError> {
        self.task
            .id
            .component
            .as_ref()
            .and_then(|name| self.shared.config.components.get(name))
            .ok_or_else(|| {
                BackendError::new(
                    ErrorClass::Invalid,
                    format!("run {}: it has no component", self.task.id),
                )
            })
    }

    /// The images that the task is about: its variant's, or all of its component.
    pub(crate) fn images(&self) -> Vec<&PlannedImage> {
        let id = &self.task.id;
        self.shared
            .images()
            .filter(|image| {
                id.component.as_ref() == Some(&image.id.component)
                    && (id.variant.is_none() || id.variant == image.id.variant)
            })
            .collect()
    }

    /// The error of a task that noticed that it should stop.
    pub(crate) fn cancelled(&self) -> BackendError {
        BackendError::new(
            ErrorClass::Cancelled,
            format!("run {}: cancelled", self.task.id),
        )
    }
}

/// Does blocking work on a thread for it. Its panic is the caller's.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(BackendError::new(
            ErrorClass::Cancelled,
            "wait for work on another thread: the runtime is going down",
        )
        .because(error)),
    }
}
