//! Writing a run's record while it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use nix::fcntl::{Flock, FlockArg};
use shipline_model::name::RunId;
use shipline_model::plan::TaskId;

use super::{DOCUMENTS, EVENTS, KEPT_RUNS, LOGS, OUTCOME, folder, log_name, v1};
use crate::disk::{failed, sweep, write_whole};
use crate::error::{BackendError, ErrorClass};
use crate::event::{Event, EventKind, OutputStream, RunSummary};
use crate::fault::{FaultPoint, Faults};
use crate::folder::{Folder, Kind, Place};

/// What a run was asked for, masked.
pub(crate) struct Asked<'a> {
    pub(crate) command: String,
    pub(crate) argv: Vec<String>,
    pub(crate) selection: &'a v1::Selection,
}

/// A record that is being written. Its `events.jsonl` is locked as long as this lives: so a reader tells a run that is going
/// on from one that was cut off.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    place: Place,
    log_folder: Folder,
    events: Flock<File>,
    logs: BTreeMap<TaskId, File>,
    faults: Faults,
}

impl RecordWriter {
    /// Opens the record of `run`, and removes the oldest ones beyond [`KEPT_RUNS`].
    pub(crate) fn create(
        state: &Place,
        run: &RunId,
        asked: Asked<'_>,
        faults: &Faults,
    ) -> Result<Self, BackendError> {
        let runs = folder(state);
        let at = runs.join(run.as_str());
        let cannot = |cause| failed("create", at.path(), cause);
        let folder = at.make().map_err(cannot)?;
        let log_folder = folder.make_folder(LOGS).map_err(cannot)?;
        let path = at.path().join(EVENTS);
        let file = folder
            .create_new(EVENTS)
            .map_err(|cause| failed("create", &path, cause))?;
        let events = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed("lock", &path, errno.into()))?;
        let header = v1::Header {
            version: v1::VERSION,
            minor: v1::MINOR,
            run: run.to_string(),
            command: asked.command,
            argv: asked.argv,
            selection: Some(asked.selection.clone()),
        };
        line(&mut &*events, &header).map_err(|cause| failed("write", &path, cause))?;
        faults.reach(FaultPoint::RecordOpened);
        retain(&runs, run);
        Ok(Self {
            place: at,
            log_folder,
            events,
            logs: BTreeMap::new(),
            faults: faults.clone(),
        })
    }

    /// Appends an event, and a line to its task's log where it has one.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        line(&mut &*self.events, &v1::Event::from(event))?;
        match &event.kind {
            EventKind::TaskOutput {
                id,
                stream,
                line: text,
            } => {
                let prefix = match stream {
                    OutputStream::Stdout | OutputStream::Stderr => "",
                    OutputStream::Note => "# ",
                };
                self.log(id, &format!("{prefix}{text}\n"))?;
            }
            EventKind::TaskRetrying { id, error, after } => {
                self.log(
                    id,
                    &format!("# {error}; again after {} ms\n", after.as_millis()),
                )?;
            }
            EventKind::TaskFinished { id, .. } => {
                self.logs.remove(id);
            }
            EventKind::RunStarted { .. }
            | EventKind::TaskStarted { .. }
            | EventKind::TaskProgress { .. }
            | EventKind::FindingReported { .. }
            | EventKind::RunCancelling { .. }
            | EventKind::RunFinished { .. } => {}
        }
        Ok(())
    }

    fn log(&mut self, id: &TaskId, text: &str) -> io::Result<()> {
        if !self.logs.contains_key(id) {
            let file = self.log_folder.append(log_name(id))?;
            self.logs.insert(id.clone(), file);
        }
        match self.logs.get_mut(id) {
            Some(log) => log.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Closes the record of a run that came to its end.
    pub(crate) fn finish(self, summary: &RunSummary) -> Result<(), BackendError> {
        let events = self.place.join(EVENTS);
        self.events
            .sync_all()
            .map_err(|cause| failed("write", events.path(), cause))?;
        self.faults.reach(FaultPoint::RecordEvents);
        let place = self.place.join(OUTCOME);
        let outcome = v1::OutcomeFile {
            version: v1::VERSION,
            summary: summary.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&outcome).map_err(|cause| {
            let what = format!("write {}", place.path().display());
            BackendError::new(ErrorClass::Invalid, what).because(cause)
        })?;
        write_whole(&place, &bytes)
    }
}

/// One line in one write: what is cut off is the last line.
fn line(to: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    to.write_all(&text)
}

/// Removes the oldest records. One that is in use (a run that goes on, in another process) stays. Nothing is lost where a
/// removal fails: it is tried again by the next run.
fn retain(runs: &Place, own: &RunId) {
    let Ok(folder) = runs.open() else {
        return;
    };
    let mut ids: Vec<RunId> = folder
        .entries()
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.kind == Kind::Folder)
        .filter_map(|entry| RunId::new(entry.name.to_str()?).ok())
        .filter(|id| id != own)
        .collect();
    for id in &ids {
        let at = runs.join(id.as_str());
        sweep(&at);
        sweep(&at.join(DOCUMENTS));
        // Earlier versions made them for everybody.
        let _ = folder.set_permissions(id.as_str(), 0o700);
    }
    ids.sort();
    let surplus = (ids.len() + 1).saturating_sub(KEPT_RUNS);
    for id in ids.into_iter().take(surplus) {
        let in_use = folder
            .folder(id.as_str())
            .and_then(|record| record.open(EVENTS))
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err());
        if !in_use {
            let _ = folder.remove_all(id.as_str());
        }
    }
}
