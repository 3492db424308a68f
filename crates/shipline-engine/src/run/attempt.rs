//! One task at work: its attempts, its panics, and how it tells the loop.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shipline_model::config::StageKind;
use tokio::sync::mpsc;

use super::Retries;
use crate::error::{BackendError, ErrorClass};
use crate::stage::{self, Ended, StageTask};
use crate::task::TaskMessage;

/// What a task tells the loop about itself. What it says goes another way, and arrives before.
pub(super) enum Control {
    /// The registry can (or cannot) be written.
    Preflight(Box<Result<(), Stopped>>),
    /// An attempt begins.
    Attempt {
        /// Position in the plan.
        position: usize,
        /// From 2: the first begins with the task.
        attempt: u32,
    },
    /// The task came to its end.
    Finished {
        /// Position in the plan.
        position: usize,
        /// How.
        result: Box<Result<Ended, Stopped>>,
    },
}

/// Why a task has no result.
pub(super) enum Stopped {
    /// An error.
    Error(BackendError),
    /// A panic, with its message.
    Panic(String),
}

/// Starts a task on the runtime. It is never dropped: it ends by itself or by its cancellation.
pub(super) fn start(
    position: usize,
    task: Arc<StageTask>,
    retries: Retries,
    control: mpsc::UnboundedSender<Control>,
) {
    tokio::spawn(async move {
        let result = attempts(position, &task, retries, &control).await;
        // The loop has gone on without this task if nobody listens.
        let _ = control.send(Control::Finished {
            position,
            result: Box::new(result),
        });
    });
}

/// Starts the check of the registry.
pub(super) fn start_preflight(shared: Arc<stage::Shared>, control: mpsc::UnboundedSender<Control>) {
    tokio::spawn(async move {
        let result = caught(stage::preflight(&shared)).await;
        let _ = control.send(Control::Preflight(Box::new(result)));
    });
}

async fn attempts(
    position: usize,
    task: &StageTask,
    retries: Retries,
    control: &mpsc::UnboundedSender<Control>,
) -> Result<Ended, Stopped> {
    let mut attempt = 1;
    let mut wait = retries.first;
    loop {
        let error = match caught(stage::run(task)).await {
            Err(Stopped::Error(error)) if may_retry(&task.task.kind, &error) => error,
            result => return result,
        };
        if attempt >= retries.attempts || task.context.is_cancelled() {
            return Err(Stopped::Error(error));
        }
        let after = error.retry_after.unwrap_or(wait).min(retries.longest);
        task.context
            .say(TaskMessage::Retrying {
                error: super::verdict::chain(&error, &error.message),
                after,
            })
            .await;
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = task.context.cancellation().cancelled() => return Err(Stopped::Error(error)),
        }
        wait = wait.saturating_mul(2).max(Duration::from_millis(1));
        attempt += 1;
        let _ = control.send(Control::Attempt { position, attempt });
    }
}

/// Publishing is idempotent by digest, tag and deployment: it can be done again. Commands are not ours to repeat.
fn may_retry(kind: &StageKind, error: &BackendError) -> bool {
    let publishes = match kind {
        StageKind::Push | StageKind::Gitops { .. } => true,
        StageKind::Detect
        | StageKind::Test
        | StageKind::Build
        | StageKind::ImageScan
        | StageKind::Run { .. } => false,
    };
    publishes && error.class == ErrorClass::Retryable
}

async fn caught<T>(work: impl Future<Output = Result<T, BackendError>>) -> Result<T, Stopped> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result.map_err(Stopped::Error),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "panic without a message".to_owned());
            Err(Stopped::Panic(message))
        }
    }
}
