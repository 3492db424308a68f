//! Everything that this process prints passes here: cleaned, without secrets, and so that no CI runner takes it for a command.
//!
//! A runner reads commands out of the lines that a step prints (GitHub Actions: `::name::`, also behind blanks, and `##[name]`
//! anywhere; Azure Pipelines: `##vso[…]`; TeamCity: `##teamcity[…]`). Standard error, where the output of commands goes too, is one
//! stream with one writer: in Actions it stands between `::stop-commands::TOKEN` and `::TOKEN::`, and nobody but this process knows
//! the token. What goes to standard output may be read by a program: there, and for other runners, what would be a command is
//! broken by a `\`, as Actions' runner itself does with the marks that are its own.

use std::borrow::Cow;
use std::io::{self, Read as _, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use shipline_engine::redact;
use shipline_report::wrapped;

use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::secrets;
use crate::settings::Screen;

/// What reads the output of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Nobody who takes lines for commands.
    None,
    /// GitHub Actions, and others that run its workflows.
    Actions,
    /// Another CI that knows commands in lines.
    Other,
}

/// What reads the output of this process; nobody until [`begin`].
static RUNNER: OnceLock<Runner> = OnceLock::new();

/// One for the process, since there is one standard error.
static OUTPUT: Mutex<Output> = Mutex::new(Output {
    fence: Fence::None,
    at_start: true,
});

struct Output {
    fence: Fence,
    /// Whether the next byte on standard error begins a line.
    at_start: bool,
}

/// What keeps the lines of standard error from being commands.
enum Fence {
    /// Nothing.
    None,
    /// The token that will end it; nothing was printed yet.
    Ready(String),
    /// The token that ends it.
    Open(String),
}

fn runner() -> Runner {
    RUNNER.get().copied().unwrap_or(Runner::None)
}

fn output() -> MutexGuard<'static, Output> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on the output is for `runner`.
pub(crate) fn begin(runner: Runner) {
    // It is known once.
    let _ = RUNNER.set(runner);
    output().fence = match runner {
        Runner::Actions => token().map_or(Fence::None, Fence::Ready),
        Runner::None | Runner::Other => Fence::None,
    };
}

/// After the last line: the runner takes commands again.
pub(crate) fn end() {
    // A reporter that hangs in its output holds it for ever.
    let Ok(mut output) = OUTPUT.try_lock() else {
        return;
    };
    if let Fence::Open(token) = std::mem::replace(&mut output.fence, Fence::None) {
        let line_end = if output.at_start { "" } else { "\n" };
        // There is nowhere to tell that standard error is gone.
        let _ = writeln!(io::stderr().lock(), "{line_end}::{token}::");
    }
}

/// 128 random bits. Without them there is no fence, and lines are broken as for other runners.
fn token() -> Option<String> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.ok().map(|()| hex::encode(bytes))
}

/// Standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = output();
        let mut stderr = io::stderr().lock();
        let Some(last) = bytes.last() else {
            return Ok(0);
        };
        output.fence = match std::mem::replace(&mut output.fence, Fence::None) {
            Fence::Ready(token) => {
                writeln!(stderr, "::stop-commands::{token}")?;
                Fence::Open(token)
            }
            fence @ (Fence::Open(_) | Fence::None) => fence,
        };
        output.at_start = *last == b'\n';
        match (&output.fence, runner()) {
            (Fence::Open(_), _) | (_, Runner::None) => stderr.write_all(bytes)?,
            (_, Runner::Actions | Runner::Other) => {
                let text = String::from_utf8_lossy(bytes);
                stderr.write_all(disarmed(&text).as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Standard output, for people; what is written comes in whole lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page;

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        match runner() {
            Runner::None => stdout.write_all(bytes)?,
            Runner::Actions | Runner::Other => {
                let text = String::from_utf8_lossy(bytes);
                stdout.write_all(disarmed(&text).as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// The lines, none of which is a command to any runner.
fn disarmed(text: &str) -> Cow<'_, str> {
    if !text.contains("##") && !text.contains("::") {
        return Cow::Borrowed(text);
    }
    let mut lines = String::with_capacity(text.len() + 16);
    // .NET, in which the runners are written, ends lines at these, and a BOM at the very start is no character to it.
    for line in text.split_inclusive(['\n', '\r']) {
        let words = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let (blanks, words) = line.split_at(line.len() - words.len());
        lines.push_str(blanks);
        if words.starts_with("::") {
            lines.push('\\');
        }
        let mut words = words.to_owned();
        for mark in ["[", "vso[", "teamcity["] {
            words = words.replace(&format!("##{mark}"), &format!("##\\{mark}"));
        }
        lines.push_str(&words);
    }
    Cow::Owned(lines)
}

/// Prints lines for people on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<u8, CommandError> {
    written(
        Page.write_all(secrets::redactor().show(text).as_bytes())
            .and_then(|()| Page.flush()),
    )
}

/// Prints lines for people on standard output; on a terminal, they are broken between words.
pub(crate) fn print_page(text: &str, page: Screen) -> Result<u8, CommandError> {
    let text = secrets::redactor().show(text);
    let text = match page {
        Screen::Terminal { width, colour: _ } => broken(&text, width),
        Screen::Plain => text,
    };
    written(Page.write_all(text.as_bytes()).and_then(|()| Page.flush()))
}

/// The lines in pieces that fit so many columns.
fn broken(text: &str, width: u16) -> String {
    let lines = text.split('\n');
    let pieces = lines.flat_map(|line| wrapped(line, usize::from(width), 4));
    pieces.collect::<Vec<_>>().join("\n")
}

/// Prints data on standard output, without secrets and otherwise byte for byte.
pub(crate) fn print_data(text: &str) -> Result<u8, CommandError> {
    let text = secrets::redactor().mask(text).into_owned();
    let mut stdout = io::stdout().lock();
    written(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
}

fn written(result: io::Result<()>) -> Result<u8, CommandError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::new(
            ErrorKind::Failed,
            "standard output cannot be written",
        )
        .because(error)),
        Ok(()) | Err(_) => Ok(exit::PASSED),
    }
}

/// Prints what is no data on standard error; on a terminal, lines are broken between words.
pub(crate) fn print_error(text: &str) {
    let text = secrets::redactor().show(text);
    let text = match terminal_size::terminal_size_of(io::stderr()) {
        Some((width, _)) => broken(&text, width.0),
        None => text,
    };
    // There is nowhere to tell that standard error is gone.
    let _ = Stderr.write_all(text.as_bytes());
}

/// The same for a text whose parts are cleaned already, and that is painted: colours stay.
pub(crate) fn print_painted(text: &str) {
    let text = secrets::redactor().mask(text).into_owned();
    let _ = Stderr.write_all(coloured(&text).as_bytes());
}

/// The text cleaned of all but colours.
fn coloured(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, sequence) = rest.split_at(at);
        let length = sequence[2..]
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b';')
            .count();
        if sequence[2 + length..].starts_with('m') {
            shown.push_str(&redact::clean(before));
            shown.push_str(&sequence[..length + 3]);
            rest = &sequence[length + 3..];
        } else {
            // It is none: the ESC goes, and what follows is text.
            shown.push_str(&redact::clean(before));
            rest = &sequence[1..];
        }
    }
    shown.push_str(&redact::clean(rest));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the runner of GitHub Actions does with a line: the command's name and its data, where it is one of those that are
    /// registered (`ActionCommand.cs` and `ActionCommandManager.cs` of actions/runner: first `::`, then `##[`).
    fn command(line: &str, registered: &[&str]) -> Option<(String, String)> {
        let named = |text: &str, end: &str| -> Option<(String, String)> {
            let (words, data) = text.split_once(end)?;
            let name = words.split(' ').next()?;
            let known = registered
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name));
            known.then(|| (name.to_owned(), data.to_owned()))
        };
        let new = line
            .trim_start()
            .strip_prefix("::")
            .and_then(|rest| named(rest, "::"));
        new.or_else(|| named(&line[line.find("##[")? + 3..], "]"))
    }

    const REGISTERED: [&str; 5] = ["error", "add-mask", "set-env", "stop-commands", "group"];

    #[test]
    fn no_line_is_a_command() {
        for text in [
            "::error::x",
            " \t ::error file=a,line=1::x",
            "\u{3000}::add-mask::x",
            "\u{85}::error::x",
            "\u{feff}::error::x",
            "a ##[error]x",
            "##[set-env name=PATH]x",
            "###[error]x",
            "####[error]x ##[group]y",
            "line\n::stop-commands::x\n",
            "line\r::stop-commands::x\n",
            "web | ##[add-mask]***",
        ] {
            let known = text
                .split(['\n', '\r'])
                .any(|line| command(line.trim_start_matches('\u{feff}'), &REGISTERED).is_some());
            assert!(known, "{text:?}");
            let left = disarmed(text);
            for line in left.split(['\n', '\r']) {
                assert_eq!(
                    command(line.trim_start_matches('\u{feff}'), &REGISTERED),
                    None,
                    "{left:?}"
                );
            }
            assert_eq!(left.replace('\\', ""), text);
        }
        for (text, left) in [
            (
                "a ##vso[task.setvariable variable=x]y",
                "a ##\\vso[task.setvariable variable=x]y",
            ),
            ("##teamcity[x]", "##\\teamcity[x]"),
            ("a::b ## c\n# ##\n", "a::b ## c\n# ##\n"),
        ] {
            assert_eq!(disarmed(text), left);
        }
    }

    #[test]
    fn of_a_painted_text_only_colours_stay() {
        for (text, shown) in [
            (
                "\u{1b}[1;31merror:\u{1b}[0m x",
                "\u{1b}[1;31merror:\u{1b}[0m x",
            ),
            (
                "a\u{1b}]0;title\u{7}b\u{1b}[2Jc\u{9b}2Kd\u{202e}e",
                "ab[2Jcde",
            ),
            ("\u{1b}[", "["),
        ] {
            assert_eq!(coloured(text), shown);
        }
    }

    #[test]
    fn a_page_is_broken_between_words() {
        let text = "components\n  api  worker/name.txt modified since 1a2b3c4d (the merge base with main)\n";
        assert_eq!(
            broken(text, 50),
            "components\n  api  worker/name.txt modified since 1a2b3c4d\n      (the merge base with main)\n"
        );
        assert_eq!(broken(text, 120), text);
    }
}
