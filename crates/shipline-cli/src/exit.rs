//! Exit codes: a promise to scripts.

use shipline_engine::event::Verdict;

/// All passed, cached or skipped by plan.
pub(crate) const PASSED: u8 = 0;
/// A stage failed or a gate was not met.
pub(crate) const FAILED: u8 = 1;
/// Usage or configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// The environment is not ready: no engine, no credentials, a tool is missing.
pub(crate) const NOT_READY: u8 = 3;
/// A bug of Shipline's own.
pub(crate) const BUG: u8 = 70;
/// Cancelled by a signal.
pub(crate) const CANCELLED: u8 = 130;

/// The code of a run's verdict.
#[must_use]
pub(crate) fn of_verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Green => PASSED,
        Verdict::Red => FAILED,
        Verdict::NotReady => NOT_READY,
        Verdict::Cancelled => CANCELLED,
    }
}
