//! How far a run is, as a bar and in numbers. The bar is indicatif's; where its line stands on the screen is ours.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// The bar's width in columns: half of a narrow terminal is left for the numbers.
const TEMPLATE: &str = "  {bar:12} {pos}/{len} tasks, {msg}";

/// How many of a run's tasks came to their end.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
    line: Line,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let line = Line::default();
        let target = ProgressDrawTarget::term_like(Box::new(line.clone()));
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // A template that cannot be read leaves indicatif's own.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self { bar, line }
    }

    /// Counts towards so many tasks.
    pub(crate) fn expect(&self, tasks: usize) {
        self.bar.set_length(tasks as u64);
    }

    /// One more came to its end.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }

    /// The line after the run took so long.
    pub(crate) fn line(&self, took: &str) -> String {
        self.bar.set_message(took.to_owned());
        self.bar.tick();
        self.line.text().trim_end().to_owned()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Nothing is left to draw: the screen has its last frame.
        self.bar.abandon();
    }
}

/// A terminal of one line, which keeps what was drawn last.
#[derive(Debug, Clone, Default)]
struct Line(Arc<Mutex<Drawn>>);

#[derive(Debug, Default)]
struct Drawn {
    text: String,
    /// Whether the next text begins another frame.
    whole: bool,
}

impl Line {
    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        // A frame that a panic cut off is at worst drawn wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.drawn().text.clone()
    }

    fn put(&self, text: &str) {
        let mut drawn = self.drawn();
        if std::mem::take(&mut drawn.whole) {
            drawn.text.clear();
        }
        drawn.text.push_str(text);
    }
}

impl TermLike for Line {
    fn width(&self) -> u16 {
        // As wide as the line can get: the screen cuts it.
        120
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text);
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.drawn().whole = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_done() {
        let meter = Meter::new();
        meter.expect(4);
        assert_eq!(meter.line("0.1 s"), "  ──────────── 0/4 tasks, 0.1 s");
        meter.advance();
        assert_eq!(meter.line("2.0 s"), "  ━━━╸──────── 1/4 tasks, 2.0 s");
        meter.advance();
        meter.advance();
        meter.advance();
        assert_eq!(meter.line("3.0 s"), "  ━━━━━━━━━━━━ 4/4 tasks, 3.0 s");
    }
}
