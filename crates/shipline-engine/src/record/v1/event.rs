//! Events as they are stored.

use serde::{Deserialize, Serialize};
use shipline_model::name::RunId;
use shipline_model::plan::{Plan, TaskId};
use shipline_model::stored::millis;

use super::{Finding, Unreadable};
use crate::error::ErrorClass;
use crate::event::{
    self as core, BuiltImage, CancelReason, ImageChange, OutputStream, PushedImage, RunSummary,
    SkipReason, Unit,
};

/// An event: one line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the stream, from 0.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What happened.
    pub event: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "the fields are those of the core type; durations are in milliseconds"
)]
pub enum EventKind {
    RunStarted {
        run: RunId,
        plan: Box<Plan>,
    },
    TaskStarted {
        task: TaskId,
        attempt: u32,
    },
    TaskOutput {
        task: TaskId,
        stream: OutputStream,
        line: String,
    },
    TaskProgress {
        task: TaskId,
        what: String,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    },
    TaskRetrying {
        task: TaskId,
        error: String,
        #[serde(rename = "after_ms", with = "millis")]
        after: std::time::Duration,
    },
    FindingReported {
        task: TaskId,
        finding: Box<Finding>,
    },
    TaskFinished {
        task: TaskId,
        outcome: Outcome,
        #[serde(rename = "took_ms", with = "millis")]
        took: std::time::Duration,
    },
    RunCancelling {
        reason: CancelReason,
    },
    RunFinished {
        summary: RunSummary,
    },
    /// A kind that a later minor version added. It is read and never written.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Outcome {
    Passed {
        facts: Facts,
    },
    Cached {
        key: String,
        from: String,
        facts: Facts,
    },
    Failed {
        class: ErrorClass,
        message: String,
        hints: Vec<String>,
    },
    Skipped {
        reason: SkipReason,
    },
    NotAssessed {
        why: String,
    },
    Cancelled,
}

/// What a task produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "facts", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Facts {
    None,
    Detected {
        affected: usize,
        of: usize,
    },
    Built {
        image: BuiltImage,
    },
    Scanned {
        bytes: u64,
        findings: usize,
        suppressed: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packages: Option<usize>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_assessed: Vec<String>,
    },
    Pushed {
        images: Vec<PushedImage>,
    },
    Deployed {
        commit: String,
        made: bool,
        changes: Vec<ImageChange>,
    },
}

impl From<&core::Event> for Event {
    fn from(event: &core::Event) -> Self {
        Self {
            seq: event.seq,
            at_ms: event.at_ms,
            event: EventKind::from(&event.kind),
        }
    }
}

impl TryFrom<Event> for core::Event {
    type Error = Unreadable;
    fn try_from(event: Event) -> Result<Self, Unreadable> {
        Ok(Self {
            seq: event.seq,
            at_ms: event.at_ms,
            kind: event.event.try_into()?,
        })
    }
}

impl From<&core::EventKind> for EventKind {
    fn from(kind: &core::EventKind) -> Self {
        match kind.clone() {
            core::EventKind::RunStarted { run, plan } => Self::RunStarted { run, plan },
            core::EventKind::TaskStarted { id, attempt } => Self::TaskStarted { task: id, attempt },
            core::EventKind::TaskOutput { id, stream, line } => Self::TaskOutput {
                task: id,
                stream,
                line,
            },
            core::EventKind::TaskProgress {
                id,
                what,
                done,
                total,
                unit,
            } => Self::TaskProgress {
                task: id,
                what,
                done,
                total,
                unit,
            },
            core::EventKind::TaskRetrying { id, error, after } => Self::TaskRetrying {
                task: id,
                error,
                after,
            },
            core::EventKind::FindingReported { id, finding } => Self::FindingReported {
                task: id,
                finding: Box::new((&finding).into()),
            },
            core::EventKind::TaskFinished { id, outcome, took } => Self::TaskFinished {
                task: id,
                outcome: outcome.into(),
                took,
            },
            core::EventKind::RunCancelling { reason } => Self::RunCancelling { reason },
            core::EventKind::RunFinished { summary } => Self::RunFinished { summary },
        }
    }
}

impl TryFrom<EventKind> for core::EventKind {
    type Error = Unreadable;
    fn try_from(kind: EventKind) -> Result<Self, Unreadable> {
        Ok(match kind {
            EventKind::RunStarted { run, plan } => Self::RunStarted { run, plan },
            EventKind::TaskStarted { task, attempt } => Self::TaskStarted { id: task, attempt },
            EventKind::TaskOutput { task, stream, line } => Self::TaskOutput {
                id: task,
                stream,
                line,
            },
            EventKind::TaskProgress {
                task,
                what,
                done,
                total,
                unit,
            } => Self::TaskProgress {
                id: task,
                what,
                done,
                total,
                unit,
            },
            EventKind::TaskRetrying { task, error, after } => Self::TaskRetrying {
                id: task,
                error,
                after,
            },
            EventKind::FindingReported { task, finding } => Self::FindingReported {
                id: task,
                finding: (*finding).try_into()?,
            },
            EventKind::TaskFinished {
                task,
                outcome,
                took,
            } => Self::TaskFinished {
                id: task,
                outcome: outcome.into(),
                took,
            },
            EventKind::RunCancelling { reason } => Self::RunCancelling { reason },
            EventKind::RunFinished { summary } => Self::RunFinished { summary },
            EventKind::Unknown => return Err(Unreadable::Kind),
        })
    }
}

impl From<core::Outcome> for Outcome {
    fn from(outcome: core::Outcome) -> Self {
        match outcome {
            core::Outcome::Passed(facts) => Self::Passed {
                facts: facts.into(),
            },
            core::Outcome::Cached { key, from, facts } => Self::Cached {
                key,
                from,
                facts: facts.into(),
            },
            core::Outcome::Failed(failure) => Self::Failed {
                class: failure.class,
                message: failure.message,
                hints: failure.hints,
            },
            core::Outcome::Skipped { reason } => Self::Skipped { reason },
            core::Outcome::NotAssessed { why } => Self::NotAssessed { why },
            core::Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Outcome> for core::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed { facts } => Self::Passed(facts.into()),
            Outcome::Cached { key, from, facts } => Self::Cached {
                key,
                from,
                facts: facts.into(),
            },
            Outcome::Failed {
                class,
                message,
                hints,
            } => Self::Failed(core::Failure {
                class,
                message,
                hints,
            }),
            Outcome::Skipped { reason } => Self::Skipped { reason },
            Outcome::NotAssessed { why } => Self::NotAssessed { why },
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl From<core::Facts> for Facts {
    fn from(facts: core::Facts) -> Self {
        match facts {
            core::Facts::None => Self::None,
            core::Facts::Detected { affected, of } => Self::Detected { affected, of },
            core::Facts::Built(image) => Self::Built { image },
            core::Facts::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
                not_assessed,
            } => Self::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
                not_assessed,
            },
            core::Facts::Pushed(images) => Self::Pushed { images },
            core::Facts::Deployed(commit) => Self::Deployed {
                commit: commit.commit,
                made: commit.made,
                changes: commit.changes,
            },
        }
    }
}

impl From<Facts> for core::Facts {
    fn from(facts: Facts) -> Self {
        match facts {
            Facts::None => Self::None,
            Facts::Detected { affected, of } => Self::Detected { affected, of },
            Facts::Built { image } => Self::Built(image),
            Facts::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
                not_assessed,
            } => Self::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
                not_assessed,
            },
            Facts::Pushed { images } => Self::Pushed(images),
            Facts::Deployed {
                commit,
                made,
                changes,
            } => Self::Deployed(core::DeployedCommit {
                commit,
                made,
                changes,
                notes: Vec::new(),
            }),
        }
    }
}
