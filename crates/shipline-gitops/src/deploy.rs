//! A deployment by compare-and-swap: the one loop for repositories on this machine and on a server.

use std::collections::HashSet;
use std::time::Duration;

use git2::{Oid, Repository};
use shipline_engine::backend::Deployment;
use shipline_engine::error::BackendError;
use shipline_engine::event::DeployedCommit;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_http::Patience;

use crate::edit::EditPlan;
use crate::snapshot::{CommitSigner, History, Snapshot};
use crate::waiting::Waiting;

/// How often a push may be rejected while the branch does not move. After a lost race the next fetch shows a new head.
const REJECTIONS: u32 = 3;

/// A branch that is moved by compare-and-swap.
pub(crate) trait Branch {
    /// Where its objects are, and new ones go.
    fn repository(&self) -> &Repository;

    /// The commit that it names now, with its files in the repository.
    fn head(&mut self, patience: &mut Patience) -> Result<Oid, BackendError>;

    /// Moves it from `old` to `new` if it still is at `old`.
    fn swap(&mut self, ends: (Oid, Oid), plan: &EditPlan) -> Result<Moved, BackendError>;

    /// Does what belongs to a move that succeeded.
    fn landed(
        &mut self,
        commit: Oid,
        plan: &EditPlan,
        patience: &mut Patience,
    ) -> Result<(), BackendError>;

    /// The error where other writers were first until the deadline.
    fn contended(&self, patience: &Patience) -> BackendError;
}

/// What became of an attempt to move a branch.
pub(crate) enum Moved {
    /// It has moved.
    Done,
    /// It has not, or nobody knows.
    Lost(Lost),
}

/// An attempt that may succeed when it is made again.
pub(crate) struct Lost {
    /// What the next attempt waits for, for people.
    pub(crate) waits_for: String,
    pub(crate) why: Why,
}

/// Why an attempt was lost.
pub(crate) enum Why {
    /// Another writer was first.
    Raced,
    /// The server refused it; it says this.
    Rejected(BackendError),
    /// No answer came.
    Failed(BackendError),
}

/// What is made, and with what.
pub(crate) struct Making<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) signer: Option<&'a dyn CommitSigner>,
    pub(crate) faults: &'a Faults,
    pub(crate) waiting: &'a Waiting,
}

/// Makes the deployment on the head of the branch, again and again until it lands or the deadline passes. After a lost race or
/// a lost answer the new head tells what happened: it carries the deployment, or the edit is made again on it.
pub(crate) fn run(
    branch: &mut impl Branch,
    making: &Making<'_>,
    patience: &mut Patience,
) -> Result<DeployedCommit, BackendError> {
    let mut history = History::default();
    let mut sent = HashSet::new();
    let mut refusal: Option<(Oid, u32, BackendError)> = None;
    loop {
        let head = branch.head(patience)?;
        let known = history.find(branch.repository(), head, &making.deployment.id)?;
        if let Some(mut done) = known {
            done.made = sent.contains(&done.commit);
            return Ok(done);
        }
        let rejections = match refusal.take() {
            Some((at, count, error)) if at == head => {
                if count >= REJECTIONS {
                    return Err(error);
                }
                count
            }
            Some(_) | None => 0,
        };
        let snapshot = Snapshot::new(branch.repository(), head)?;
        let plan = snapshot.plan(making.deployment)?;
        if plan.changes.is_empty() {
            return Ok(DeployedCommit {
                commit: head.to_string(),
                made: false,
                changes: Vec::new(),
                notes: plan.notes,
            });
        }
        let commit = snapshot.commit(making.deployment, &plan, making.signer)?;
        drop(snapshot);
        making.faults.reach(FaultPoint::GitopsCommit);
        sent.insert(commit.to_string());
        let lost = match branch.swap((head, commit), &plan)? {
            Moved::Done => {
                making.faults.reach(FaultPoint::GitopsRef);
                branch.landed(commit, &plan, patience)?;
                return Ok(DeployedCommit {
                    commit: commit.to_string(),
                    made: true,
                    changes: plan.changes,
                    notes: plan.notes,
                });
            }
            Moved::Lost(lost) => lost,
        };
        let asked = match &lost.why {
            Why::Raced => Duration::ZERO,
            Why::Rejected(error) | Why::Failed(error) => error.retry_after.unwrap_or_default(),
        };
        let _wait = making.waiting.on(lost.waits_for);
        if !patience.wait_at_least(asked) {
            return Err(match lost.why {
                Why::Raced => branch.contended(patience),
                Why::Rejected(error) | Why::Failed(error) => error,
            });
        }
        if let Why::Rejected(error) = lost.why {
            refusal = Some((head, rejections + 1, error));
        }
    }
}
