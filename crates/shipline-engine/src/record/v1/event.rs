//! Events as they are stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipline_model::name::RunId;

use super::{Facts, Finding, Plan, TaskId, Unreadable, millis, words};
use crate::error::ErrorClass as CoreClass;
use crate::event as core;

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
        run: String,
        plan: Box<Plan>,
    },
    TaskStarted {
        task: TaskId,
        attempt: u32,
    },
    TaskOutput {
        task: TaskId,
        stream: Stream,
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
        after_ms: u64,
    },
    FindingReported {
        task: TaskId,
        finding: Box<Finding>,
    },
    TaskFinished {
        task: TaskId,
        outcome: Outcome,
        took_ms: u64,
    },
    RunCancelling {
        reason: CancelReason,
    },
    RunFinished {
        summary: Summary,
    },
}

words! {
    /// Where a line came from.
    Stream = core::OutputStream { Stdout, Stderr, Note }
    /// What progress counts.
    Unit = core::Unit { Bytes, Files, Steps }
    /// Why a run is being stopped.
    CancelReason = core::CancelReason { Interrupt, Terminate, Kill }
    /// A run's verdict.
    Verdict = core::Verdict { Green, Red, NotReady, Cancelled }
    /// An error's class.
    ErrorClass = CoreClass { Retryable, Denied, NotFound, Conflict, Invalid, Unavailable, Failed, Cancelled }
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

/// Why a task did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum SkipReason {
    Planned { reason: String },
    Dependency { failed: TaskId },
    RunFailed,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Summary {
    pub verdict: Verdict,
    pub passed: usize,
    pub cached: usize,
    pub failed: usize,
    pub skipped: usize,
    pub cancelled: usize,
    pub took_ms: u64,
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
        match kind {
            core::EventKind::RunStarted { run, plan } => Self::RunStarted {
                run: run.to_string(),
                plan: Box::new(Plan::from(&**plan)),
            },
            core::EventKind::TaskStarted { id, attempt } => Self::TaskStarted {
                task: id.into(),
                attempt: *attempt,
            },
            core::EventKind::TaskOutput { id, stream, line } => Self::TaskOutput {
                task: id.into(),
                stream: (*stream).into(),
                line: line.clone(),
            },
            core::EventKind::TaskProgress {
                id,
                what,
                done,
                total,
                unit,
            } => Self::TaskProgress {
                task: id.into(),
                what: what.clone(),
                done: *done,
                total: *total,
                unit: (*unit).into(),
            },
            core::EventKind::TaskRetrying { id, error, after } => Self::TaskRetrying {
                task: id.into(),
                error: error.clone(),
                after_ms: millis(*after),
            },
            core::EventKind::FindingReported { id, finding } => Self::FindingReported {
                task: id.into(),
                finding: Box::new(finding.into()),
            },
            core::EventKind::TaskFinished { id, outcome, took } => Self::TaskFinished {
                task: id.into(),
                outcome: outcome.into(),
                took_ms: millis(*took),
            },
            core::EventKind::RunCancelling { reason } => Self::RunCancelling {
                reason: (*reason).into(),
            },
            core::EventKind::RunFinished { summary } => Self::RunFinished {
                summary: summary.into(),
            },
        }
    }
}

impl TryFrom<EventKind> for core::EventKind {
    type Error = Unreadable;
    fn try_from(kind: EventKind) -> Result<Self, Unreadable> {
        Ok(match kind {
            EventKind::RunStarted { run, plan } => Self::RunStarted {
                run: RunId::new(run)?,
                plan: Box::new((*plan).try_into()?),
            },
            EventKind::TaskStarted { task, attempt } => Self::TaskStarted {
                id: task.try_into()?,
                attempt,
            },
            EventKind::TaskOutput { task, stream, line } => Self::TaskOutput {
                id: task.try_into()?,
                stream: stream.into(),
                line,
            },
            EventKind::TaskProgress {
                task,
                what,
                done,
                total,
                unit,
            } => Self::TaskProgress {
                id: task.try_into()?,
                what,
                done,
                total,
                unit: unit.into(),
            },
            EventKind::TaskRetrying {
                task,
                error,
                after_ms,
            } => Self::TaskRetrying {
                id: task.try_into()?,
                error,
                after: Duration::from_millis(after_ms),
            },
            EventKind::FindingReported { task, finding } => Self::FindingReported {
                id: task.try_into()?,
                finding: (*finding).try_into()?,
            },
            EventKind::TaskFinished {
                task,
                outcome,
                took_ms,
            } => Self::TaskFinished {
                id: task.try_into()?,
                outcome: outcome.try_into()?,
                took: Duration::from_millis(took_ms),
            },
            EventKind::RunCancelling { reason } => Self::RunCancelling {
                reason: reason.into(),
            },
            EventKind::RunFinished { summary } => Self::RunFinished {
                summary: summary.into(),
            },
        })
    }
}

impl From<&core::Outcome> for Outcome {
    fn from(outcome: &core::Outcome) -> Self {
        match outcome {
            core::Outcome::Passed(facts) => Self::Passed {
                facts: facts.into(),
            },
            core::Outcome::Cached { key, from, facts } => Self::Cached {
                key: key.clone(),
                from: from.clone(),
                facts: facts.into(),
            },
            core::Outcome::Failed(failure) => Self::Failed {
                class: failure.class.into(),
                message: failure.message.clone(),
                hints: failure.hints.clone(),
            },
            core::Outcome::Skipped { reason } => Self::Skipped {
                reason: match reason {
                    core::SkipReason::Planned { reason } => SkipReason::Planned {
                        reason: reason.clone(),
                    },
                    core::SkipReason::Dependency { failed } => SkipReason::Dependency {
                        failed: failed.into(),
                    },
                    core::SkipReason::RunFailed => SkipReason::RunFailed,
                },
            },
            core::Outcome::NotAssessed { why } => Self::NotAssessed { why: why.clone() },
            core::Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<Outcome> for core::Outcome {
    type Error = Unreadable;
    fn try_from(outcome: Outcome) -> Result<Self, Unreadable> {
        Ok(match outcome {
            Outcome::Passed { facts } => Self::Passed(facts.try_into()?),
            Outcome::Cached { key, from, facts } => Self::Cached {
                key,
                from,
                facts: facts.try_into()?,
            },
            Outcome::Failed {
                class,
                message,
                hints,
            } => Self::Failed(core::Failure {
                class: class.into(),
                message,
                hints,
            }),
            Outcome::Skipped { reason } => Self::Skipped {
                reason: match reason {
                    SkipReason::Planned { reason } => core::SkipReason::Planned { reason },
                    SkipReason::Dependency { failed } => core::SkipReason::Dependency {
                        failed: failed.try_into()?,
                    },
                    SkipReason::RunFailed => core::SkipReason::RunFailed,
                },
            },
            Outcome::NotAssessed { why } => Self::NotAssessed { why },
            Outcome::Cancelled => Self::Cancelled,
        })
    }
}

impl From<&core::RunSummary> for Summary {
    fn from(summary: &core::RunSummary) -> Self {
        Self {
            verdict: summary.verdict.into(),
            passed: summary.passed,
            cached: summary.cached,
            failed: summary.failed,
            skipped: summary.skipped,
            cancelled: summary.cancelled,
            took_ms: millis(summary.took),
        }
    }
}

impl From<Summary> for core::RunSummary {
    fn from(summary: Summary) -> Self {
        Self {
            verdict: summary.verdict.into(),
            passed: summary.passed,
            cached: summary.cached,
            failed: summary.failed,
            skipped: summary.skipped,
            cancelled: summary.cancelled,
            took: Duration::from_millis(summary.took_ms),
        }
    }
}
