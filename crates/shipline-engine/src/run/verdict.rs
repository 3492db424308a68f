//! From results to outcomes, and from outcomes to a summary.

use std::time::Duration;

use shipline_model::plan::TaskId;

use crate::error::{BackendError, ErrorClass, chain};
use crate::event::{Failure, Outcome, RunSummary, SkipReason, Verdict};

/// A failure of a task.
pub(super) fn failure(error: &BackendError) -> Failure {
    Failure {
        class: error.class,
        message: chain(error),
        hints: error.hints.clone(),
    }
}

/// Counts outcomes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: usize,
    cached: usize,
    failed: usize,
    skipped: usize,
    cancelled: usize,
    first_failure: Option<(ErrorClass, TaskId)>,
}

impl Tally {
    pub(super) fn count(&mut self, id: &TaskId, outcome: &Outcome) {
        match outcome {
            Outcome::Passed(_) => self.passed += 1,
            Outcome::Cached { .. } => self.cached += 1,
            Outcome::Failed(failure) => {
                self.failed += 1;
                self.first_failure
                    .get_or_insert_with(|| (failure.class, id.clone()));
            }
            Outcome::NotAssessed { .. } => {
                self.failed += 1;
                self.first_failure
                    .get_or_insert_with(|| (ErrorClass::Failed, id.clone()));
            }
            Outcome::Skipped {
                reason:
                    SkipReason::Planned { .. } | SkipReason::Dependency { .. } | SkipReason::RunFailed,
            } => self.skipped += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
    }

    /// A run that was cancelled too late to stop anything is what it would have been.
    pub(super) fn summary(&self, took: Duration) -> RunSummary {
        let verdict = match (
            self.cancelled,
            self.first_failure.as_ref().map(|(class, _)| *class),
        ) {
            (0, None) => Verdict::Green,
            (0, Some(ErrorClass::Unavailable | ErrorClass::Denied)) => Verdict::NotReady,
            (
                0,
                Some(
                    ErrorClass::Retryable
                    | ErrorClass::NotFound
                    | ErrorClass::Conflict
                    | ErrorClass::Invalid
                    | ErrorClass::Failed
                    | ErrorClass::Cancelled,
                ),
            ) => Verdict::Red,
            (_, _) => Verdict::Cancelled,
        };
        RunSummary {
            verdict,
            passed: self.passed,
            cached: self.cached,
            failed: self.failed,
            skipped: self.skipped,
            cancelled: self.cancelled,
            first_failed: self.first_failure.as_ref().map(|(_, id)| id.clone()),
            took,
        }
    }
}
