//! A writer that may break: a closed pipe ends the output, not the run.

use std::io::Write;

/// Where a reporter writes.
pub(crate) struct Sink {
    output: Option<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("broken", &self.output.is_none())
            .finish()
    }
}

impl Sink {
    pub(crate) fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            output: Some(output),
        }
    }

    /// Writes the lines as one piece. After the first error nothing is written any more.
    pub(crate) fn lines(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let mut text = lines.join("\n");
        text.push('\n');
        if let Some(output) = &mut self.output
            && output
                .write_all(text.as_bytes())
                .and_then(|()| output.flush())
                .is_err()
        {
            self.output = None;
        }
    }
}
