//! `runs list` and `runs show`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use shipline_engine::error::ErrorClass;
use shipline_engine::event::{Event, EventKind};
use shipline_engine::record::{self, Listing, Outcome};
use shipline_report::Format;
use shipline_report::describe;

use crate::again::{Again, Program, shown};
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::output::{self, Data};
use crate::session;
use crate::settings::Settings;
use crate::shown::{print, print_error};

/// `runs list`.
pub(crate) fn list(settings: &Settings) -> Result<u8, CommandError> {
    let listings = record::list(&session::state(settings)?)?;
    if listings.is_empty() {
        print_error("no runs are recorded in this clone\n");
        return Ok(exit::PASSED);
    }
    let widest = listings.iter().map(|listing| pipeline(listing).len()).max();
    let widest = widest.unwrap_or_default();
    let mut text = String::new();
    for listing in &listings {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line(listing, widest));
    }
    print(&text)
}

fn pipeline(listing: &Listing) -> &str {
    listing.pipeline.as_ref().map_or("-", AsRef::as_ref)
}

fn line(listing: &Listing, widest: usize) -> String {
    let started = listing
        .started_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || "-".to_owned(),
            |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        );
    let mut outcome = match &listing.outcome {
        Outcome::Finished(summary) => {
            let failed = match summary.failed {
                0 => String::new(),
                failed => format!("  {failed} failed"),
            };
            format!(
                "{:<11} {:>7}{failed}",
                output::verdict(summary.verdict),
                describe::duration(summary.took),
            )
        }
        Outcome::Running => "running".to_owned(),
        Outcome::Interrupted => "interrupted".to_owned(),
    };
    if listing.command.is_none() {
        outcome.push_str("  (its record is damaged)");
    }
    format!(
        "{}  {started:<20}  {:<widest$}  {outcome}",
        listing.run,
        pipeline(listing)
    )
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
        let again = match events.peek() {
            Some(Ok(Event {
                kind: EventKind::RunStarted { plan, .. },
                ..
            })) => Again::of_record(plan, program),
            // Its beginning is damaged.
            Some(_) | None => Again::as_typed(stored.listing().command.unwrap_or_default()),
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
