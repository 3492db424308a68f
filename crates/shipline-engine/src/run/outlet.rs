//! Where events go: the record, and the reporters, each on a thread of its own so that one that blocks stops nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::chain;
use crate::event::{Event, EventKind, Reporter, RunSummary};
use crate::record::RecordWriter;
use crate::redact::Redactor;

/// Events that a reporter may be behind before tasks have to wait for it.
const QUEUE: usize = 512;

/// Numbers, times and masks events, and hands them out in order.
pub(super) struct Outlet {
    redactor: Arc<Redactor>,
    record: RecordWriter,
    record_is_whole: bool,
    sinks: Vec<Sink>,
    next: u64,
    started: Instant,
    started_ms: i64,
    grace: Duration,
    notes: Vec<String>,
}

/// One reporter.
struct Sink {
    number: usize,
    sender: mpsc::Sender<Arc<Event>>,
    backlog: VecDeque<Arc<Event>>,
    /// Since when it has not taken anything.
    blocked_since: Option<Instant>,
    ended: oneshot::Receiver<()>,
}

impl Outlet {
    pub(super) fn new(
        record: RecordWriter,
        reporters: Vec<Box<dyn Reporter + Send>>,
        redactor: Arc<Redactor>,
        started_ms: i64,
        grace: Duration,
    ) -> Self {
        let mut notes = Vec::new();
        let mut sinks = Vec::new();
        for (position, reporter) in reporters.into_iter().enumerate() {
            match Sink::start(position + 1, reporter) {
                Ok(sink) => sinks.push(sink),
                Err(cause) => notes.push(format!("output {} has no thread: {cause}", position + 1)),
            }
        }
        Self {
            redactor,
            record,
            record_is_whole: true,
            sinks,
            next: 0,
            started: Instant::now(),
            started_ms,
            grace,
            notes,
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Makes an event and hands it out, without waiting for anybody.
    pub(super) fn emit(&mut self, kind: EventKind) {
        let since = i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX);
        let event = Arc::new(Event {
            seq: self.next,
            at_ms: self.started_ms.saturating_add(since),
            kind: self.redactor.mask_event(kind),
        });
        self.next += 1;
        if self.record_is_whole
            && let Err(cause) = self.record.event(&event)
        {
            self.record_is_whole = false;
            self.notes.push(format!(
                "the run's record is incomplete from event {} on: {cause}",
                event.seq
            ));
        }
        for sink in &mut self.sinks {
            sink.backlog.push_back(Arc::clone(&event));
        }
        self.hand_out();
    }

    /// Whether a reporter is behind: nothing more should be said until [`Outlet::catch_up`] is through.
    pub(super) fn is_behind(&self) -> bool {
        self.sinks.iter().any(|sink| !sink.backlog.is_empty())
    }

    /// Waits until a reporter that is behind takes events again, or detaches it after its grace. May be dropped.
    pub(super) async fn catch_up(&mut self) {
        let Some(sink) = self.sinks.iter_mut().find(|sink| !sink.backlog.is_empty()) else {
            return;
        };
        let limit = sink.blocked_since.unwrap_or_else(Instant::now) + self.grace;
        let number = sink.number;
        let detached = match tokio::time::timeout_at(limit, sink.sender.reserve()).await {
            // The place goes back: what is handed out next takes it.
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some(format!("output {number} ended before the run")),
            Err(_) => Some(format!(
                "output {number} took nothing for {} s and was detached; the run's record has everything",
                self.grace.as_secs()
            )),
        };
        if let Some(note) = detached {
            self.notes.push(note);
            self.sinks.retain(|sink| sink.number != number);
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        let notes = &mut self.notes;
        self.sinks.retain_mut(|sink| {
            while let Some(event) = sink.backlog.pop_front() {
                match sink.sender.try_send(event) {
                    Ok(()) => sink.blocked_since = None,
                    Err(TrySendError::Full(event)) => {
                        sink.backlog.push_front(event);
                        sink.blocked_since.get_or_insert_with(Instant::now);
                        return true;
                    }
                    Err(TrySendError::Closed(_)) => {
                        notes.push(format!("output {} ended before the run", sink.number));
                        return false;
                    }
                }
            }
            true
        });
    }

    /// After the last event: lets every reporter finish, closes the record, and gives the notes.
    pub(super) async fn close(mut self, summary: &RunSummary) -> Vec<String> {
        while self.is_behind() {
            self.catch_up().await;
        }
        let mut notes = self.notes;
        for sink in self.sinks {
            drop(sink.sender);
            if tokio::time::timeout(self.grace, sink.ended).await.is_err() {
                notes.push(format!(
                    "output {} did not come to its end within {} s",
                    sink.number,
                    self.grace.as_secs()
                ));
            }
        }
        if let Err(error) = self.record.finish(summary) {
            notes.push(format!("failed to {}", chain(&error)));
        }
        notes
    }
}

impl Sink {
    fn start(number: usize, mut reporter: Box<dyn Reporter + Send>) -> std::io::Result<Self> {
        let (sender, mut events) = mpsc::channel::<Arc<Event>>(QUEUE);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("output-{number}"))
            .spawn(move || {
                while let Some(event) = events.blocking_recv() {
                    reporter.event(&event);
                }
                // What a reporter does when it is dropped belongs to its output.
                drop(reporter);
                let _ = end.send(());
            })?;
        Ok(Self {
            number,
            sender,
            backlog: VecDeque::new(),
            blocked_since: None,
            ended,
        })
    }
}
