//! From results to outcomes, and from outcomes to a summary.

use std::time::Duration;

use crate::error::{BackendError, ErrorClass};
use crate::event::{Failure, Outcome, RunSummary, SkipReason, Verdict};

/// An error's text and that of all its causes.
pub(crate) fn chain(error: &dyn std::error::Error, message: &str) -> String {
    let mut text = message.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// A failure of a task.
pub(super) fn failure(error: &BackendError) -> Failure {
    Failure {
        class: error.class,
        message: chain(error, &error.message),
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
    first_failure: Option<ErrorClass>,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed(_) => self.passed += 1,
            Outcome::Cached { .. } => self.cached += 1,
            Outcome::Failed(failure) => {
                self.failed += 1;
                self.first_failure.get_or_insert(failure.class);
            }
            Outcome::NotAssessed { .. } => {
                self.failed += 1;
                self.first_failure.get_or_insert(ErrorClass::Failed);
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
        let verdict = match (self.cancelled, self.first_failure) {
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
            took,
        }
    }
}
