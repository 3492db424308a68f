//! The one ordered stream of what happens in a run. Only the run loop creates events; reporters and records read them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipline_model::finding::Finding;
use shipline_model::name::{Digest, RunId};
use shipline_model::plan::{ImageId, Plan, TaskId};

use crate::error::ErrorClass;

/// An event and its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Total order, from 0, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// First, always.
    RunStarted {
        /// The run.
        run: RunId,
        /// What it will do.
        plan: Box<Plan>,
    },
    /// A task began.
    TaskStarted {
        /// Which.
        id: TaskId,
        /// 1. (Runs of older versions began publishing tasks again, and counted.)
        attempt: u32,
    },
    /// A line of a task.
    TaskOutput {
        /// Which.
        id: TaskId,
        /// Where it came from.
        stream: OutputStream,
        /// Without its line end, masked.
        line: String,
    },
    /// How far a task is.
    TaskProgress {
        /// Which.
        id: TaskId,
        /// What is moving ("push frontend", "layer 2/3").
        what: String,
        /// Done so far.
        done: u64,
        /// In all, where known.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// A task waits before its next try.
    TaskRetrying {
        /// Which.
        id: TaskId,
        /// What went wrong.
        error: String,
        /// How long it waits.
        after: Duration,
    },
    /// A scanner found something.
    FindingReported {
        /// Which task.
        id: TaskId,
        /// What.
        finding: Finding,
    },
    /// Exactly one for each task of the plan.
    TaskFinished {
        /// Which.
        id: TaskId,
        /// How it ended.
        outcome: Outcome,
        /// From its start; zero where it never started.
        took: Duration,
    },
    /// The run is being stopped.
    RunCancelling {
        /// Why.
        reason: CancelReason,
    },
    /// Last, always.
    RunFinished {
        /// How it ended.
        summary: RunSummary,
    },
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputStream {
    /// A command's standard output.
    Stdout,
    /// A command's standard error.
    Stderr,
    /// Shipline itself.
    Note,
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files.
    Files,
    /// Steps of a build.
    Steps,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did its work.
    Passed(Facts),
    /// Its result was known.
    Cached {
        /// By which key.
        key: String,
        /// The run that made the result.
        from: String,
        /// The result.
        facts: Facts,
    },
    /// It failed.
    Failed(Failure),
    /// It did not run.
    Skipped {
        /// Why.
        reason: SkipReason,
    },
    /// A gate had no data to judge by; never a pass.
    NotAssessed {
        /// Why.
        why: String,
    },
    /// It was stopped.
    Cancelled,
}

/// Why a task did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum SkipReason {
    /// The plan says so.
    Planned {
        /// Its reason.
        reason: String,
    },
    /// Something that it needs did not pass.
    Dependency {
        /// The first such task.
        failed: TaskId,
    },
    /// Another task failed, and nothing is published or begun after a failure.
    RunFailed,
}

/// What a task produced.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Facts {
    /// Nothing to tell.
    #[default]
    None,
    /// `detect`.
    Detected {
        /// Affected components.
        affected: usize,
        /// All of the pipeline.
        of: usize,
    },
    /// `build`.
    Built(BuiltImage),
    /// `image-scan`.
    Scanned {
        /// Bytes that were looked at.
        bytes: u64,
        /// Findings, suppressed ones included.
        findings: usize,
        /// Suppressed ones.
        suppressed: usize,
        /// Packages in the SBOM; `None` where there is none.
        packages: Option<usize>,
        /// What of the images could not be judged, and why.
        not_assessed: Vec<String>,
    },
    /// `push`.
    Pushed(Vec<PushedImage>),
    /// `gitops`.
    Deployed(DeployedCommit),
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// Which.
    pub id: ImageId,
    /// Its manifest.
    pub digest: Digest,
    /// Bytes of its blobs, compressed.
    pub size: u64,
    /// Its layers.
    pub layers: usize,
    /// Layers that were taken from the store without being made again.
    pub reused_layers: usize,
    /// Base images, as written and as resolved.
    #[serde(with = "shipline_model::stored::bases")]
    pub bases: Vec<(String, Digest)>,
    /// Which builder made it ("embedded", "docker").
    pub builder: String,
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedImage {
    /// Which.
    pub id: ImageId,
    /// `registry/repository:tag`.
    pub reference: String,
    /// Its manifest.
    pub digest: Digest,
    /// Bytes that had to be sent.
    pub sent: u64,
    /// Whether the tag already named this digest.
    pub already_there: bool,
}

/// What the GitOps stage did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedCommit {
    /// The commit that holds the wanted state.
    pub commit: String,
    /// Whether it was made now (else everything was up to date).
    pub made: bool,
    /// For each changed scalar: file, old and new value.
    pub changes: Vec<ImageChange>,
    /// What a person should know of what was left alone: other containers on the same image, files that cannot be read. It is
    /// no part of records.
    pub notes: Vec<String>,
}

/// One changed image value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChange {
    /// The component.
    pub component: String,
    /// File in the GitOps repository.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// Old value.
    pub from: String,
    /// New value.
    pub to: String,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub class: ErrorClass,
    /// What was attempted and what went wrong, the cause chain joined, masked.
    pub message: String,
    /// What a person can do.
    pub hints: Vec<String>,
}

/// Why a run is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelReason {
    /// SIGINT (Ctrl-C).
    Interrupt,
    /// SIGTERM or SIGHUP.
    Terminate,
    /// A second signal: children are killed at once.
    Kill,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its verdict.
    pub verdict: Verdict,
    /// Tasks that passed.
    pub passed: usize,
    /// Tasks whose result was known.
    pub cached: usize,
    /// Tasks that failed or were not assessed.
    pub failed: usize,
    /// Tasks that did not run.
    pub skipped: usize,
    /// Tasks that were stopped.
    pub cancelled: usize,
    /// The first that failed or was not assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failed: Option<TaskId>,
    /// From start to end.
    #[serde(rename = "took_ms", with = "shipline_model::stored::millis")]
    pub took: Duration,
}

/// A run's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All passed, cached or skipped by plan.
    Green,
    /// A task failed or a gate was not met.
    Red,
    /// The environment is not ready (the first failure's class is `Unavailable` or `Denied`).
    NotReady,
    /// Somebody stopped it.
    Cancelled,
}

/// Reads events, one after the other, in order.
pub trait Reporter {
    /// Takes the next event.
    fn event(&mut self, event: &Event);
}
