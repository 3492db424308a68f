//! What a command could not do, with what a person needs to go on: kind, cause chain, hints.

use shipline_engine::error::{BackendError, Cause, ErrorClass, causes};
use shipline_report::wrapped;

use crate::exit;
use crate::secrets;
use crate::settings::Screen;

/// What kind of error it is: decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// A stage failed or something was refused.
    Failed,
    /// Usage or configuration.
    Usage,
    /// The environment is not ready.
    NotReady,
    /// Somebody stopped it.
    Cancelled,
    /// A bug of ours.
    Bug,
}

/// An error at the edge.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// Its kind.
    pub(crate) kind: ErrorKind,
    /// What was attempted; printed behind "error: ". A rendered diagnostic stands for itself.
    pub(crate) message: Message,
    /// The cause chain, outermost first.
    pub(crate) causes: Vec<String>,
    /// What a person can do.
    pub(crate) hints: Vec<String>,
}

/// The head of an error.
#[derive(Debug)]
pub(crate) enum Message {
    /// One sentence.
    Line(String),
    /// Already drawn (places in a file).
    Drawn(String),
}

impl CommandError {
    /// An error with a sentence.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: Message::Line(message.into()),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A configuration error that is already drawn.
    pub(crate) fn drawn(text: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Usage,
            message: Message::Drawn(text.into()),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// With its cause and the causes of that.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<Cause>) -> Self {
        let cause: Cause = cause.into();
        self.causes.push(cause.to_string());
        self.causes.extend(causes(cause.as_ref()));
        self
    }

    /// With one more hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The sentence and its causes, for a list of several.
    #[must_use]
    pub(crate) fn in_one_line(&self) -> String {
        let (Message::Line(text) | Message::Drawn(text)) = &self.message;
        std::iter::once(text)
            .chain(&self.causes)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
    }

    /// The exit code.
    #[must_use]
    pub(crate) fn code(&self) -> u8 {
        match self.kind {
            ErrorKind::Failed => exit::FAILED,
            ErrorKind::Usage => exit::USAGE,
            ErrorKind::NotReady => exit::NOT_READY,
            ErrorKind::Cancelled => exit::CANCELLED,
            ErrorKind::Bug => exit::BUG,
        }
    }

    /// As it is printed on standard error, with its last line end. Every part is cleaned and without secrets before it is painted.
    #[must_use]
    pub(crate) fn render(&self, screen: Screen) -> String {
        let palette = screen.palette();
        let mut text = String::new();
        match &self.message {
            Message::Line(line) => part(&palette.bad("error:"), line, screen, &mut text),
            Message::Drawn(drawn) => text = format!("{}\n", drawn.trim_end()),
        }
        for cause in &self.causes {
            part(
                &format!("  {}", palette.dim("because:")),
                cause,
                screen,
                &mut text,
            );
        }
        for hint in &self.hints {
            part(
                &format!("  {}", palette.warn("hint:")),
                hint,
                screen,
                &mut text,
            );
        }
        text
    }
}

/// Adds a part of an error behind its label. What continues it is indented further: no foreign line begins where ours do.
fn part(label: &str, said: &str, screen: Screen, text: &mut String) {
    let said = secrets::redactor().show(said);
    for (number, line) in said.trim_end().split('\n').enumerate() {
        let line = match number {
            0 => format!("{label} {line}"),
            _ => format!("    {line}"),
        };
        let pieces = match screen {
            Screen::Terminal { width, .. } => wrapped(&line, usize::from(width), 4),
            Screen::Plain => vec![line],
        };
        for piece in pieces {
            text.push_str(&piece);
            text.push('\n');
        }
    }
}

impl From<BackendError> for CommandError {
    fn from(error: BackendError) -> Self {
        let kind = match error.class {
            ErrorClass::Retryable | ErrorClass::Denied | ErrorClass::Unavailable => {
                ErrorKind::NotReady
            }
            ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Failed => ErrorKind::Failed,
            ErrorClass::Invalid => ErrorKind::Usage,
            ErrorClass::Cancelled => ErrorKind::Cancelled,
        };
        let hints = error.hints.clone();
        let mut command = Self::new(kind, format!("failed to {}", error.message));
        command.causes = causes(&error);
        command.hints = hints;
        command
    }
}
