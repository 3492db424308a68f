//! Which reporters a command gets.

use shipline_engine::event::{Reporter, Verdict};
use shipline_model::plan::TaskId;
use shipline_report::{JsonReporter, Palette, PlainReporter, Repeat, TerminalReporter, Ticking};

use crate::Program;
use crate::settings::{Colour, Screen, Settings};

/// A reporter that can move to a thread of its own.
pub(crate) type BoxedReporter = Box<dyn Reporter + Send>;

/// JSON lines on standard output.
pub(crate) fn json() -> BoxedReporter {
    Box::new(JsonReporter::new(Box::new(std::io::stdout())))
}

/// What a person follows on standard error. `repeat` gives the command that repeats a task.
pub(crate) fn live(settings: &Settings, repeat: Repeat) -> BoxedReporter {
    human(settings, Ticking::Steady, repeat)
}

/// A recorded run for a person.
pub(crate) fn replay(settings: &Settings, program: Program) -> BoxedReporter {
    human(
        settings,
        Ticking::ByEvents,
        Box::new(move |task: &TaskId| format!("{} pipeline … --only {}", program.0, task.stage)),
    )
}

fn human(settings: &Settings, ticking: Ticking, repeat: Repeat) -> BoxedReporter {
    let stderr = Box::new(std::io::stderr());
    match settings.screen {
        Screen::Terminal { width, colour } => {
            let palette = match colour {
                Colour::On => Palette::Colour,
                Colour::Off => Palette::Plain,
            };
            let width = Box::new(move || {
                terminal_size::terminal_size_of(std::io::stderr())
                    .map_or(width, |(terminal_size::Width(width), _)| width)
            });
            Box::new(TerminalReporter::new(
                stderr, width, palette, ticking, repeat,
            ))
        }
        Screen::Plain => Box::new(PlainReporter::new(stderr, repeat)),
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
