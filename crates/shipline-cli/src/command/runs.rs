//! `runs list` and `runs show`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use shipline_engine::error::ErrorClass;
use shipline_engine::event::{Event, EventKind};
use shipline_engine::record::{self, Listing, Outcome};
use shipline_report::Format;
use shipline_report::describe;

use crate::again::{self, Again, Program, shown};
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::output::{self, Data};
use crate::session;
use crate::settings::Settings;
use crate::shown::{print, print_error, print_page};

/// `runs list`.
pub(crate) fn list(settings: &Settings) -> Result<u8, CommandError> {
    let listings = record::list(&session::state(settings)?)?;
    if listings.is_empty() {
        print_error("no runs are recorded in this clone\n");
        return Ok(exit::PASSED);
    }
    let rows: Vec<[String; COLUMNS]> = listings
        .iter()
        .zip(1..)
        .map(|(listing, number)| row(number, listing))
        .collect();
    let widest = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS).map(widest).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    print_page(&text, settings.page)
}

/// Columns of the list.
const COLUMNS: usize = 8;

/// Its number, by which `runs show` finds it; its ID; when; how long; the pipeline, what of it was asked for, and the commit; how
/// it ended.
fn row(number: usize, listing: &Listing) -> [String; COLUMNS] {
    let unknown = || "-".to_owned();
    let started = listing
        .started_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(unknown, |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    let (took, mut outcome) = match &listing.outcome {
        Outcome::Finished(summary) => {
            let verdict = output::verdict(summary.verdict);
            let outcome = match (&summary.first_failed, summary.failed) {
                (_, 0) => verdict.to_owned(),
                (None, failed) => format!("{verdict}: {failed} failed"),
                (Some(first), 1) => format!("{verdict}: {first} failed"),
                (Some(first), failed) => {
                    format!("{verdict}: {first} and {} more failed", failed - 1)
                }
            };
            (describe::duration(summary.took), outcome)
        }
        Outcome::Running => (unknown(), "running".to_owned()),
        Outcome::Interrupted => (unknown(), "interrupted".to_owned()),
    };
    if listing.command.is_none() {
        outcome.push_str(" (its record is damaged)");
    }
    let pipeline = listing.pipeline.as_ref().map(ToString::to_string);
    let commit = listing
        .commit
        .as_ref()
        .map(|commit| commit.short().to_owned());
    [
        number.to_string(),
        listing.run.to_string(),
        started,
        took,
        pipeline.clone().unwrap_or_else(unknown),
        asked(listing.command.as_deref(), pipeline.as_deref()),
        commit.unwrap_or_else(unknown),
        outcome,
    ]
}

/// What of a pipeline a person asked for, in the words of the command.
fn asked(command: Option<&str>, pipeline: Option<&str>) -> String {
    let Some(command) = command else {
        return "-".to_owned();
    };
    let mut words = again::selected(command);
    if let Some(name) = words
        .iter()
        .position(|word| Some(word.as_str()) == pipeline)
    {
        words.remove(name);
    }
    if words.is_empty() {
        "what changed".to_owned()
    } else {
        words.join(" ")
    }
}

/// Which tasks are at work after an event.
fn follow(event: &EventKind, open: &mut BTreeSet<String>) {
    match event {
        EventKind::TaskStarted { id, .. } => {
            open.insert(id.to_string());
        }
        EventKind::TaskFinished { id, .. } => {
            open.remove(&id.to_string());
        }
        EventKind::RunStarted { .. }
        | EventKind::TaskProgress { .. }
        | EventKind::TaskOutput { .. }
        | EventKind::TaskRetrying { .. }
        | EventKind::FindingReported { .. }
        | EventKind::RunCancelling { .. }
        | EventKind::RunFinished { .. } => {}
    }
}

/// What the events do not tell: why a run has no end, and what it was at.
fn unfinished(outcome: &Outcome, open: &BTreeSet<String>) -> String {
    let why = match outcome {
        Outcome::Finished(_) => return String::new(),
        Outcome::Running => "this run goes on",
        Outcome::Interrupted => "this run was interrupted: it was killed, or the machine went down",
    };
    let tasks: Vec<&str> = open.iter().map(String::as_str).collect();
    match (tasks.as_slice(), outcome) {
        ([], _) => format!("{why}\n"),
        (tasks, Outcome::Running) => format!("{why}; at work: {}\n", tasks.join(", ")),
        (tasks, _) => format!("{why}; it was at {}\n", tasks.join(", ")),
    }
}

/// `runs show RUN`: the recorded events through the reporter of this page, or in a format for other programs.
pub(crate) fn show(
    run: &str,
    format: Option<&Format>,
    settings: &Settings,
    program: &Program,
) -> Result<u8, CommandError> {
    let state = session::state(settings)?;
    let stored = record::find(&state, run).map_err(|error| {
        let unknown = error.class == ErrorClass::NotFound;
        let mut error = CommandError::from(error);
        if unknown {
            error.kind = ErrorKind::Usage;
        }
        error
    })?;
    let mut events = stored.events()?.peekable();
    let data = Data::default();
    let mut reporter = if let Some(format) = format {
        output::data(format, &data)
    } else {
        let command = stored.listing().command.unwrap_or_default();
        let again = match events.peek() {
            Some(Ok(Event {
                kind: EventKind::RunStarted { plan, .. },
                ..
            })) => Again::of_record(&command, plan, program),
            // Its beginning is damaged.
            Some(_) | None => Again::as_typed(command, program),
        };
        output::replay(settings, &data, again.signposts(&state, settings))
    };
    let mut open = BTreeSet::new();
    for event in events {
        match event {
            Ok(event) => {
                follow(&event.kind, &mut open);
                reporter.event(&event);
            }
            Err(error) => print_error(&format!("note: {error}\n")),
        }
    }
    drop(reporter);
    let outcome = stored.outcome();
    if format.is_none() {
        print(&unfinished(&outcome, &open))?;
        let folder = shown(stored.folder(), &settings.started_in);
        print(&format!("record: {folder}\n"))?;
    }
    data.check().map(|()| exit::PASSED)
}
