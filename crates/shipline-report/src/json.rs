//! `--json`: one object of the format `json/v1` a line, an event of a run record with the format's version.

use std::io::Write;

use serde::Serialize;
use shipline_engine::event::{Event, Reporter};
use shipline_engine::record::v1;
use shipline_engine::redact;

use crate::Format;
use crate::sink::Sink;

/// In the table of formats.
pub(crate) const FORMAT: Format = Format {
    name: "json",
    make: |output| Box::new(JsonReporter::new(output)),
};

/// One line. A line of a run record has the same fields but for the version, which stands in the record's first line.
#[derive(Serialize)]
struct Line {
    version: u32,
    seq: u64,
    at_ms: i64,
    event: v1::EventKind,
}

/// Writes every event as one line of JSON.
#[derive(Debug)]
pub struct JsonReporter {
    sink: Sink,
}

impl JsonReporter {
    /// A reporter that writes to `output`.
    #[must_use]
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            sink: Sink::new(output),
        }
    }
}

impl Reporter for JsonReporter {
    fn event(&mut self, event: &Event) {
        let v1::Event { seq, at_ms, event } = v1::Event::from(event);
        let line = Line {
            version: v1::VERSION,
            seq,
            at_ms,
            event,
        };
        // The format has no map whose keys are not texts, which is all that serialising to memory can fail at.
        if let Ok(line) = serde_json::to_string(&line) {
            self.sink
                .lines(&[redact::harmless_json(&line).into_owned()]);
        }
    }
}
