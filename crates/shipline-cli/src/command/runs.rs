//! `runs list` and `runs show`.

use std::fmt::Write as _;

use shipline_engine::record::{self, Listing, Outcome};

use crate::Program;
use crate::command::{print, print_error};
use crate::error::CommandError;
use crate::exit;
use crate::output;
use crate::session::Session;
use crate::settings::Settings;

/// `runs list`.
pub(crate) fn list(settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let listings = record::list(&session.state())?;
    if listings.is_empty() {
        print_error("no runs are recorded in this clone\n");
        return Ok(exit::PASSED);
    }
    let mut text = String::new();
    for listing in &listings {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line(listing));
    }
    print(&text)
}

fn line(listing: &Listing) -> String {
    let pipeline = listing.pipeline.as_ref().map_or("-", AsRef::as_ref);
    let started = listing
        .started_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || "-".to_owned(),
            |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        );
    let outcome = match &listing.outcome {
        Outcome::Finished(summary) => {
            format!(
                "{:<12} {:>7.1} s  {} failed",
                output::verdict(summary.verdict),
                summary.took.as_secs_f32(),
                summary.failed
            )
        }
        Outcome::Running => "running".to_owned(),
        Outcome::Interrupted => "interrupted".to_owned(),
    };
    format!("{}  {started}  {pipeline:<16} {outcome}", listing.run)
        .trim_end()
        .to_owned()
}

/// `runs show RUN`: the recorded events through the reporter of this screen, or as JSON lines.
pub(crate) fn show(
    run: &str,
    json: bool,
    settings: &Settings,
    program: Program,
) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let stored = record::find(&session.state(), run)?;
    let mut reporter = if json {
        output::json()
    } else {
        output::replay(settings, program)
    };
    for event in stored.events()? {
        match event {
            Ok(event) => reporter.event(&event),
            Err(error) => print_error(&format!("note: {error}\n")),
        }
    }
    Ok(exit::PASSED)
}
