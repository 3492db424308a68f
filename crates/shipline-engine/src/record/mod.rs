//! Run records: `.shipline/runs/<id>/` with `events.jsonl`, a log for each task, documents about
//! images, `outcome.json` and `release-set.json`. Folders and files are for their owner alone.

mod read;
pub mod v1;
mod write;

pub(crate) use read::published;
pub use read::{Listing, Outcome, RecordError, StoredRun, find, list, runs};
pub(crate) use write::{Asked, RecordWriter};

use shipline_model::name::RunId;
use shipline_model::plan::{ImageId, TaskId};

use crate::folder::Place;

/// Runs that are kept, the youngest.
pub const KEPT_RUNS: usize = 50;

const EVENTS: &str = "events.jsonl";
const OUTCOME: &str = "outcome.json";
const RELEASE_SET: &str = "release-set.json";
const LOGS: &str = "logs";
const DOCUMENTS: &str = "documents";

/// The folder of all records.
#[must_use]
pub fn folder(state: &Place) -> Place {
    state.join("runs")
}

/// The folder of one run's record.
#[must_use]
pub fn run_folder(state: &Place, run: &RunId) -> Place {
    folder(state).join(run.as_str())
}

/// The release set of one run, where it came so far.
#[must_use]
pub fn release_set_path(state: &Place, run: &RunId) -> Place {
    run_folder(state, run).join(RELEASE_SET)
}

/// The log of one task of a run.
#[must_use]
pub fn log_path(state: &Place, run: &RunId, task: &TaskId) -> Place {
    run_folder(state, run).join(LOGS).join(log_name(task))
}

/// A document about one image of a run: `documents/frontend@staging.sbom.cdx.json`.
#[must_use]
pub fn document_path(state: &Place, run: &RunId, image: &ImageId, title: &str) -> Place {
    let name = format!("{image}.{title}");
    run_folder(state, run).join(DOCUMENTS).join(name)
}

/// A name without `/`: `unit-tests.user_service.log`, `build.frontend@staging.log`. No name has a `.` or `@` in it.
fn log_name(task: &TaskId) -> String {
    let mut name = task.stage.to_string();
    if let Some(component) = &task.component {
        name = format!("{name}.{component}");
    }
    if let Some(variant) = &task.variant {
        name = format!("{name}@{variant}");
    }
    name + ".log"
}
