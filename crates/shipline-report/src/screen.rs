//! A terminal as progress bars need one, over any writer.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

/// Gives the terminal's width in columns, each time that something is drawn.
pub type Width = Box<dyn Fn() -> u16 + Send + Sync>;

/// Writes each frame as one piece. Cheap to clone; all clones are the same screen.
#[derive(Clone)]
pub(crate) struct Screen {
    width: Arc<Width>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` after the first error: then everything succeeds and goes nowhere.
    output: Option<Box<dyn Write + Send>>,
    frame: String,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    pub(crate) fn new(output: Box<dyn Write + Send>, width: Width) -> Self {
        Self {
            width: Arc::new(width),
            state: Arc::new(Mutex::new(State {
                output: Some(output),
                frame: String::new(),
            })),
        }
    }

    /// Writes lines where the cursor is.
    pub(crate) fn lines(&self, lines: &[String]) {
        let mut state = self.state();
        for line in lines {
            state.frame.push_str(line);
            state.frame.push('\n');
        }
        state.flush();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A frame that a panic cut off is at worst drawn wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.state().frame.write_fmt(text).map_err(io::Error::other)
    }

    /// A cursor movement; by nothing is none, though terminals take 0 for 1.
    fn go(&self, n: usize, way: char) -> io::Result<()> {
        if n == 0 {
            return Ok(());
        }
        self.put(format_args!("\u{1b}[{n}{way}"))
    }
}

impl State {
    fn flush(&mut self) {
        if let Some(output) = &mut self.output
            && output
                .write_all(self.frame.as_bytes())
                .and_then(|()| output.flush())
                .is_err()
        {
            self.output = None;
        }
        self.frame.clear();
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        (self.width)()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(format_args!("\r\u{1b}[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        self.state().flush();
        Ok(())
    }
}
