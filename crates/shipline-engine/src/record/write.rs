//! Writing a run's record while it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use shipline_model::name::RunId;
use shipline_model::plan::TaskId;

use super::{DOCUMENTS, EVENTS, KEPT_RUNS, LOGS, OUTCOME, folder, log_name, v1};
use crate::disk::{failed, write_whole};
use crate::error::{BackendError, ErrorClass};
use crate::event::{Event, EventKind, OutputStream, RunSummary};
use crate::fault::{FaultPoint, Faults};

/// A record that is being written. Its `events.jsonl` is locked as long as this lives: so a reader tells a run that is going
/// on from one that was cut off.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    folder: PathBuf,
    events: Flock<File>,
    logs: BTreeMap<TaskId, File>,
    faults: Faults,
}

impl RecordWriter {
    /// Opens the record of `run`, and removes the oldest ones beyond [`KEPT_RUNS`].
    pub(crate) fn create(
        state: &Path,
        run: &RunId,
        command: &str,
        faults: &Faults,
    ) -> Result<Self, BackendError> {
        let runs = folder(state);
        let at = runs.join(run.as_str());
        fs::create_dir_all(at.join(LOGS)).map_err(|cause| failed("create", &at, cause))?;
        let path = at.join(EVENTS);
        let file = File::create_new(&path).map_err(|cause| failed("create", &path, cause))?;
        let events = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed("lock", &path, errno.into()))?;
        let header = v1::Header {
            version: v1::VERSION,
            run: run.to_string(),
            command: command.to_owned(),
        };
        line(&mut &*events, &header).map_err(|cause| failed("write", &path, cause))?;
        faults.reach(FaultPoint::RecordOpened);
        retain(&runs, run);
        Ok(Self {
            folder: at,
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
                self.log(id, &format!("# {error}; again after {after:?}\n"))?;
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
            let path = self.folder.join(LOGS).join(log_name(id));
            let file = File::options().create(true).append(true).open(path)?;
            self.logs.insert(id.clone(), file);
        }
        match self.logs.get_mut(id) {
            Some(log) => log.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Closes the record of a run that came to its end.
    pub(crate) fn finish(self, summary: &RunSummary) -> Result<(), BackendError> {
        let path = self.folder.join(EVENTS);
        self.events
            .sync_all()
            .map_err(|cause| failed("write", &path, cause))?;
        self.faults.reach(FaultPoint::RecordEvents);
        let path = self.folder.join(OUTCOME);
        let outcome = v1::OutcomeFile {
            version: v1::VERSION,
            summary: v1::Summary::from(summary),
        };
        let bytes = serde_json::to_vec_pretty(&outcome).map_err(|cause| {
            BackendError::new(ErrorClass::Invalid, format!("write {}", path.display()))
                .because(cause)
        })?;
        write_whole(&path, &bytes)
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
fn retain(runs: &Path, own: &RunId) {
    let Ok(entries) = fs::read_dir(runs) else {
        return;
    };
    let mut ids: Vec<RunId> = entries
        .flatten()
        .filter_map(|entry| RunId::new(entry.file_name().to_str()?).ok())
        .filter(|id| id != own)
        .collect();
    for id in &ids {
        let at = runs.join(id.as_str());
        crate::disk::sweep(&at);
        crate::disk::sweep(&at.join(DOCUMENTS));
    }
    ids.sort();
    let surplus = (ids.len() + 1).saturating_sub(KEPT_RUNS);
    for id in ids.into_iter().take(surplus) {
        let at = runs.join(id.as_str());
        let in_use = File::open(at.join(EVENTS))
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err());
        if !in_use {
            let _ = fs::remove_dir_all(&at);
        }
    }
}
