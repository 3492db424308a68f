//! A terminal: lines that stay, and below them lines that are drawn again and again.

use std::io::Write;

use crate::summary::{self, LineKind};
use crate::wrap::{truncated, width, wrapped};

/// A terminal's columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Gives the terminal's size, each time that something is drawn.
pub type Sizes = Box<dyn Fn() -> Size + Send + Sync>;

/// How far what continues a line is indented.
const HANGING: usize = 4;

/// Writes each frame as one piece.
///
/// The cursor rests at the start of the row below the live lines: what the terminal itself writes there (`^C`) is gone with the
/// next frame. A terminal that became narrower has broken the live lines into more rows; they are counted anew, so that the next
/// frame takes back all of them.
pub(crate) struct Screen {
    /// `None` after the first error: then everything goes nowhere.
    output: Option<Box<dyn Write + Send>>,
    sizes: Sizes,
    /// The columns that each of the live lines takes.
    live: Vec<usize>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    pub(crate) fn new(output: Box<dyn Write + Send>, sizes: Sizes) -> Self {
        Self {
            output: Some(output),
            sizes,
            live: Vec::new(),
        }
    }

    /// Draws a frame: `stay` is above for good, `live` until the next frame.
    pub(crate) fn draw(&mut self, stay: &[String], live: &[String]) {
        let Some(output) = &mut self.output else {
            return;
        };
        let size = (self.sizes)();
        let columns = usize::from(size.columns).max(1);
        // What scrolled off cannot be taken back.
        let most = usize::from(size.rows).saturating_sub(1).max(1);
        let rows: usize = self
            .live
            .iter()
            .map(|width| width.div_ceil(columns).max(1))
            .sum();
        let mut frame = String::new();
        if rows > 0 {
            frame.push_str(&format!("\r\u{1b}[{}A\u{1b}[J", rows.min(most)));
        }
        for line in stay {
            for piece in broken(line, columns) {
                frame.push_str(&piece);
                frame.push('\n');
            }
        }
        self.live.clear();
        // The last lines tell most; a column is left free, since some terminals go on to the next row in the last one.
        for line in &live[live.len().saturating_sub(most)..] {
            let line = truncated(line, columns - 1);
            self.live.push(width(&line));
            frame.push_str(&line);
            frame.push('\n');
        }
        if !frame.is_empty()
            && output
                .write_all(frame.as_bytes())
                .and_then(|()| output.flush())
                .is_err()
        {
            self.output = None;
        }
    }
}

/// The line in pieces that fit. A command stays one: its pieces end as a shell goes on in the next line. What a task printed
/// stays behind its rule.
fn broken(line: &str, columns: usize) -> Vec<String> {
    /// What makes a shell go on in the next line.
    const GOES_ON: &str = " \\";
    if width(line) <= columns {
        return vec![line.to_owned()];
    }
    match summary::kind(line) {
        LineKind::Prose => wrapped(line, columns, HANGING),
        LineKind::Command => {
            let mut pieces = wrapped(line, columns.saturating_sub(GOES_ON.len()), HANGING);
            let last = pieces.len() - 1;
            for piece in &mut pieces[..last] {
                piece.push_str(GOES_ON);
            }
            pieces
        }
        LineKind::Output { text } => {
            let (rule, text) = line.split_at(text);
            let pieces = wrapped(text, columns.saturating_sub(width(rule)), 0);
            let pieces = pieces.into_iter().map(|piece| format!("{rule}{piece}"));
            pieces.collect()
        }
    }
}
