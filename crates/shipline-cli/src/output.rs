//! Which reporters a command gets.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use shipline_engine::event::{Reporter, Verdict};
use shipline_report::{Format, PlainReporter, Signposts, Size, TerminalReporter, Ticking};

use crate::error::{CommandError, ErrorKind};
use crate::settings::{Screen, Settings};
use crate::shown::{Page, Stderr};

/// A reporter that can move to a thread of its own.
pub(crate) type BoxedReporter = Box<dyn Reporter + Send>;

/// Standard output for events, and what of it was lost. That its reader goes away (`| head`) is no loss.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    lost: Arc<OnceLock<io::Error>>,
}

impl Data {
    /// An error where something could not be written.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        match self.lost.get() {
            Some(cause) => Err(CommandError::new(
                ErrorKind::Failed,
                "standard output cannot be written",
            )
            .because(cause.to_string())),
            None => Ok(()),
        }
    }

    fn kept<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // The first one says why.
            let _ = self.lost.set(error.kind().into());
        }
        written
    }
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept(Page.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.kept(Page.flush())
    }
}

/// Events in a format for other programs, on standard output.
pub(crate) fn data(format: &Format, data: &Data) -> BoxedReporter {
    (format.make)(Box::new(data.clone()))
}

/// What a person follows on standard error.
pub(crate) fn live(settings: &Settings, signposts: Signposts) -> BoxedReporter {
    let start = Instant::now();
    let ticking = Ticking::Steady(Box::new(move || start.elapsed()));
    let sizes = || terminal_size::terminal_size_of(io::stderr());
    human(settings.screen, Box::new(Stderr), sizes, ticking, signposts)
}

/// A recorded run for a person, on standard output.
pub(crate) fn replay(settings: &Settings, data: &Data, signposts: Signposts) -> BoxedReporter {
    let output = Box::new(data.clone());
    let sizes = || terminal_size::terminal_size_of(io::stdout());
    human(settings.page, output, sizes, Ticking::ByEvents, signposts)
}

/// Rows of a terminal that does not tell.
const ROWS: u16 = 24;

fn human(
    screen: Screen,
    output: Box<dyn Write + Send>,
    sizes: impl Fn() -> Option<(terminal_size::Width, terminal_size::Height)> + Send + Sync + 'static,
    ticking: Ticking,
    signposts: Signposts,
) -> BoxedReporter {
    match screen {
        Screen::Terminal { width, .. } => Box::new(TerminalReporter::new(
            output,
            Box::new(move || match sizes() {
                Some((columns, rows)) => Size {
                    columns: columns.0,
                    rows: rows.0,
                },
                None => Size {
                    columns: width,
                    rows: ROWS,
                },
            }),
            screen.palette(),
            ticking,
            signposts,
        )),
        Screen::Plain => Box::new(PlainReporter::new(output, signposts)),
    }
}

/// A verdict in a word.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Green => "green",
        Verdict::Red => "red",
        Verdict::NotReady => "not ready",
        Verdict::Cancelled => "cancelled",
    }
}
