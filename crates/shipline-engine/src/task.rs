//! What a running task may do towards the outside: speak, and notice that it should stop.

use std::time::Duration;

use shipline_model::finding::Finding;
use shipline_model::plan::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::{OutputStream, Unit};

/// What a task says; the run loop makes events of it.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskMessage {
    /// A line.
    Output {
        /// Where it came from.
        stream: OutputStream,
        /// Without its line end, not yet masked.
        line: String,
    },
    /// How far it is.
    Progress {
        /// What is moving.
        what: String,
        /// Done so far.
        done: u64,
        /// In all, where known.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// It waits before its next try.
    Retrying {
        /// What went wrong.
        error: String,
        /// How long it waits.
        after: Duration,
    },
    /// It found something.
    Finding(Box<Finding>),
}

/// A task's way to the run loop. Cheap to clone; usable from blocking and async code alike.
#[derive(Debug, Clone)]
pub struct TaskContext {
    id: TaskId,
    sender: mpsc::Sender<(TaskId, TaskMessage)>,
    cancel: CancellationToken,
}

impl TaskContext {
    /// The context of task `id`, which speaks into `sender` and stops when `cancel` says so.
    #[must_use]
    pub fn new(
        id: TaskId,
        sender: mpsc::Sender<(TaskId, TaskMessage)>,
        cancel: CancellationToken,
    ) -> Self {
        Self { id, sender, cancel }
    }

    /// The task.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Cancelled when the task should stop.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The same task under another cancellation: for a section that is not left before its end.
    #[must_use]
    pub fn with_cancellation(&self, cancel: CancellationToken) -> Self {
        Self {
            cancel,
            ..self.clone()
        }
    }

    /// Whether the task should stop: blocking code asks between steps.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Says something and waits until the loop has room. After the loop's end it goes nowhere.
    pub async fn say(&self, message: TaskMessage) {
        let _ = self.sender.send((self.id.clone(), message)).await;
    }

    /// The same from blocking code (a `spawn_blocking` thread, never a runtime thread).
    pub fn say_blocking(&self, message: TaskMessage) {
        let _ = self.sender.blocking_send((self.id.clone(), message));
    }

    /// A line of Shipline's own, from async code.
    pub async fn note(&self, line: impl Into<String> + Send) {
        self.say(TaskMessage::Output {
            stream: OutputStream::Note,
            line: line.into(),
        })
        .await;
    }

    /// A line of Shipline's own, from blocking code.
    pub fn note_blocking(&self, line: impl Into<String>) {
        self.say_blocking(TaskMessage::Output {
            stream: OutputStream::Note,
            line: line.into(),
        });
    }

    /// Progress where nobody is hurt if a step is lost: never waits.
    pub fn progress(&self, what: impl Into<String>, done: u64, total: Option<u64>, unit: Unit) {
        let _ = self.sender.try_send((
            self.id.clone(),
            TaskMessage::Progress {
                what: what.into(),
                done,
                total,
                unit,
            },
        ));
    }
}
