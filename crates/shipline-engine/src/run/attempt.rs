//! One task at work: its only attempt, its panics, and how it tells the loop. What may go through when it is tried again is
//! tried again by the backend that made the request, which knows what it was; a second layer here would multiply its tries.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::error::BackendError;
use crate::stage::{self, Ended, StageTask};

/// What a task tells the loop about itself. What it says goes another way, and arrives before.
pub(super) enum Control {
    /// The registry can (or cannot) be written.
    Preflight(Box<Result<(), Stopped>>),
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
    control: mpsc::UnboundedSender<Control>,
) {
    tokio::spawn(async move {
        let result = caught(stage::run(&task)).await;
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
