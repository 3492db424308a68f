//! Plain lines, for pipes and logs: no escape codes, each line of a task behind the task's ID.

use std::io::Write;

use shipline_engine::event::{Event, EventKind, Outcome, OutputStream, Reporter};

use shipline_model::finding::grouped;

use crate::sink::Sink;
use crate::style::Palette;
use crate::summary::{Signposts, Summary};
use crate::text::{clean, duration};
use crate::{describe, opening};

/// Writes plain lines.
#[derive(Debug)]
pub struct PlainReporter {
    sink: Sink,
    summary: Summary,
}

impl PlainReporter {
    /// A reporter that writes to `output`.
    #[must_use]
    pub fn new(output: Box<dyn Write + Send>, signposts: Signposts) -> Self {
        Self {
            sink: Sink::new(output),
            summary: Summary::new(signposts),
        }
    }
}

impl Reporter for PlainReporter {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        let mut lines = Vec::new();
        match &event.kind {
            EventKind::RunStarted { plan, .. } => {
                lines = opening::lines(plan, Palette::Plain);
            }
            EventKind::TaskStarted { id, attempt: 1 } => lines.push(format!("{id}: started")),
            EventKind::TaskStarted { id, attempt } => {
                lines.push(format!("{id}: attempt {attempt}"));
            }
            EventKind::TaskOutput { id, stream, line } => match stream {
                OutputStream::Stdout | OutputStream::Stderr => {
                    lines.push(format!("{id} | {}", clean(line)));
                }
                OutputStream::Note => {
                    if !opening::tells(self.summary.plan(), id) {
                        lines.push(format!("{id}: {}", clean(line)));
                    }
                }
            },
            EventKind::TaskRetrying { id, error, after } => lines.push(format!(
                "{id}: {}; again in {}",
                clean(&describe::failed(error)),
                duration(*after)
            )),
            EventKind::TaskFinished { id, outcome, took } => {
                for group in grouped(self.summary.findings(id)) {
                    lines.push(format!("{id}: {}", clean(&describe::findings(&group))));
                }
                let told = describe::outcome(outcome);
                let told = clean(told.lines().next().unwrap_or_default());
                let took = duration(*took);
                match outcome {
                    Outcome::Passed(_) if told.is_empty() => {
                        lines.push(format!("{id}: passed in {took}"));
                    }
                    Outcome::Passed(_) => lines.push(format!("{id}: passed in {took}: {told}")),
                    Outcome::Cached { .. } | Outcome::NotAssessed { .. } => {
                        lines.push(format!("{id}: {told}"));
                    }
                    Outcome::Failed(_) => lines.push(format!("{id}: {told} ({took})")),
                    Outcome::Cancelled if self.summary.has_begun(id) => {
                        lines.push(format!("{id}: stopped after {took}"));
                    }
                    // The end says once for all what was left out and why.
                    Outcome::Cancelled | Outcome::Skipped { .. } => {}
                }
            }
            EventKind::RunCancelling { reason } => lines.push(describe::cancel(*reason).to_owned()),
            EventKind::RunFinished { summary } => {
                lines.push(String::new());
                lines.extend(self.summary.lines(summary, Palette::Plain));
            }
            // Told at the task's end, those that differ in their place together.
            EventKind::FindingReported { .. } | EventKind::TaskProgress { .. } => {}
        }
        self.sink.lines(&lines);
    }
}
