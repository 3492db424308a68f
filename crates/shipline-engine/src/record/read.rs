//! Reading run records.

use std::io::{BufRead, BufReader};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use shipline_model::name::{CommitId, PipelineName, RunId};

use super::{EVENTS, OUTCOME, RELEASE_SET, folder, v1};
use crate::disk::{failed, read_if_there};
use crate::error::{BackendError, ErrorClass};
use crate::event::{Event, EventKind, RunSummary};
use crate::folder::{Kind, Place};
use crate::redact::clean_line;

/// Positions in a list by which a run can be named. What has more digits is the beginning of an ID.
const LISTED: usize = 9999;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was written by another version of Shipline.
    #[error("the record has version {0}, and this Shipline reads version {own}", own = v1::VERSION)]
    Version(u32),
    /// It has an event of a kind that this version does not know.
    #[error(
        "line {line} of the record's events has the kind `{kind}`, which this Shipline does not know and skips"
    )]
    Unknown {
        /// 1-based.
        line: usize,
        /// The kind.
        kind: String,
    },
    /// It is damaged.
    #[error("line {line} of the record's events is damaged")]
    Damaged {
        /// 1-based.
        line: usize,
        /// What is wrong.
        #[source]
        cause: v1::Unreadable,
    },
}

/// How a recorded run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end.
    Finished(RunSummary),
    /// It goes on.
    Running,
    /// It was killed, or the machine went down.
    Interrupted,
}

/// A recorded run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The run.
    pub run: RunId,
    /// The command, as a person typed it; absent where the record is damaged.
    pub command: Option<String>,
    /// The pipeline; absent where the run did not come so far.
    pub pipeline: Option<PipelineName>,
    /// The commit that was checked out; absent where it did not come so far.
    pub commit: Option<CommitId>,
    /// When it began, in milliseconds since 1970 UTC; absent where it did not come so far.
    pub started_ms: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A recorded run.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The run.
    pub run: RunId,
    at: Place,
}

/// All recorded runs, the youngest first. Damaged ones are in it, as interrupted.
///
/// # Errors
/// Where the folder of records cannot be read; that there is none is no error.
pub fn list(state: &Place) -> Result<Vec<Listing>, BackendError> {
    Ok(runs(state)?.iter().map(StoredRun::listing).collect())
}

/// The recorded run with this ID, the youngest of all for `last`, or the one at this position of [`list`], from 1.
///
/// # Errors
/// `NotFound`.
pub fn find(state: &Place, run: &str) -> Result<StoredRun, BackendError> {
    let not_there = |what: String| {
        BackendError::new(ErrorClass::NotFound, format!("find {what}"))
            .hint("`runs list` shows those that are recorded")
    };
    let mut all = runs(state)?.into_iter();
    match run {
        "last" => all
            .next()
            .ok_or_else(|| not_there("a recorded run: there is none".to_owned())),
        run if run
            .parse::<usize>()
            .is_ok_and(|number| (1..=LISTED).contains(&number)) =>
        {
            let number: usize = run.parse().unwrap_or_default();
            all.nth(number.saturating_sub(1))
                .ok_or_else(|| not_there(format!("run {run}: so many are not recorded")))
        }
        run => all
            .find(|stored| stored.run.as_str() == run)
            .ok_or_else(|| not_there(format!("run {run}: it is not recorded"))),
    }
}

/// What recorded runs, the youngest first, were to publish under a tag. Records that cannot be read say nothing.
pub(crate) fn published(
    state: &Place,
    repository: &str,
    tag: &str,
) -> impl Iterator<Item = (RunId, v1::ReleasedImage)> {
    runs(state)
        .unwrap_or_default()
        .into_iter()
        .filter_map(move |stored| {
            let image = stored
                .release_set()?
                .images
                .into_iter()
                .find(|image| image.repository == repository && image.tag == tag)?;
            Some((stored.run, image))
        })
}

/// All recorded runs, the youngest first.
///
/// # Errors
/// Where the folder of records cannot be read; that there is none is no error.
pub fn runs(state: &Place) -> Result<Vec<StoredRun>, BackendError> {
    let folder = folder(state);
    let entries = match folder.open().and_then(|folder| folder.entries()) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed("read", folder.path(), cause)),
    };
    let mut runs: Vec<StoredRun> = entries
        .into_iter()
        .filter(|entry| entry.kind == Kind::Folder)
        .filter_map(|entry| {
            Some(StoredRun {
                run: RunId::new(entry.name.to_str()?).ok()?,
                at: folder.join(entry.name),
            })
        })
        .collect();
    runs.sort_by(|one, other| other.run.cmp(&one.run));
    Ok(runs)
}

impl StoredRun {
    /// The events, in order, for any reporter. A kind that is not known is an error that a reader skips with a note. The last line of an interrupted run may be cut off and is left out then.
    ///
    /// # Errors
    /// Where the file cannot be read; each event that is damaged is an error of its own.
    pub fn events(
        &self,
    ) -> Result<impl Iterator<Item = Result<Event, RecordError>> + use<>, BackendError> {
        let (_, lines) = self.open()?;
        let mut lines = lines.enumerate().peekable();
        Ok(std::iter::from_fn(move || {
            let (position, text) = lines.next()?;
            let parsed = serde_json::from_str::<v1::Event>(&text)
                .map_err(v1::Unreadable::from)
                .and_then(Event::try_from);
            match parsed {
                Ok(event) => Some(Ok(event)),
                Err(v1::Unreadable::Kind) => Some(Err(RecordError::Unknown {
                    line: position + 2,
                    kind: kind_of(&text),
                })),
                Err(_) if lines.peek().is_none() => None,
                // The header is line 1.
                Err(cause) => Some(Err(RecordError::Damaged {
                    line: position + 2,
                    cause,
                })),
            }
        }))
    }

    /// What stands in a list of it.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let first = self.events().ok().and_then(|mut events| events.next());
        let (pipeline, commit, started_ms) = match first {
            Some(Ok(Event {
                at_ms,
                kind: EventKind::RunStarted { plan, .. },
                ..
            })) => (Some(plan.pipeline), Some(plan.head.commit), Some(at_ms)),
            Some(_) | None => (None, None, None),
        };
        Listing {
            run: self.run.clone(),
            command: self.open().ok().map(|(header, _)| header.command),
            pipeline,
            commit,
            started_ms,
            outcome: self.outcome(),
        }
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let stored = read_if_there(&self.at.join(OUTCOME))
            .and_then(|bytes| serde_json::from_slice::<v1::OutcomeFile>(&bytes).ok())
            .filter(|outcome| outcome.version == v1::VERSION);
        match stored {
            Some(outcome) => Outcome::Finished(outcome.summary),
            None if self.is_running() => Outcome::Running,
            None => Outcome::Interrupted,
        }
    }

    /// Removes the record, but not that of a run that goes on, and gives the bytes that this freed.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self) -> Result<u64, BackendError> {
        if self.is_running() {
            return Ok(0);
        }
        let size = self.size();
        self.at
            .parent()
            .and_then(|(runs, name)| runs.remove_all(name))
            .map_err(|cause| failed("remove", self.at.path(), cause))?;
        Ok(size)
    }

    /// Bytes of its files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.at.open().map_or(0, |folder| folder.size())
    }

    /// The folder of the record.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.at.path()
    }

    /// The release set, where the run came so far.
    #[must_use]
    pub fn release_set(&self) -> Option<v1::ReleaseSet> {
        let bytes = read_if_there(&self.at.join(RELEASE_SET))?;
        serde_json::from_slice::<v1::ReleaseSet>(&bytes)
            .ok()
            .filter(|set| set.version == v1::VERSION)
    }

    fn is_running(&self) -> bool {
        self.at
            .open()
            .and_then(|folder| folder.open(EVENTS))
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
    }

    fn open(&self) -> Result<(v1::Header, impl Iterator<Item = String> + use<>), BackendError> {
        let place = self.at.join(EVENTS);
        let path = place.path();
        let file = self
            .at
            .open()
            .and_then(|folder| folder.open(EVENTS))
            .map_err(|cause| failed("read", path, cause))?;
        // A line that is no UTF-8 is damaged as a whole; what is behind it can still be read.
        let mut lines = BufReader::new(file)
            .split(b'\n')
            .map_while(Result::ok)
            .map(|line| String::from_utf8_lossy(&line).into_owned());
        let damaged = || {
            BackendError::new(
                ErrorClass::Invalid,
                format!(
                    "read {}: it does not begin as a record does",
                    path.display()
                ),
            )
        };
        let header: v1::Header =
            serde_json::from_str(&lines.next().ok_or_else(damaged)?).map_err(|_| damaged())?;
        if header.version != v1::VERSION {
            return Err(BackendError::new(
                ErrorClass::Invalid,
                format!("read the record of run {}", self.run),
            )
            .because(RecordError::Version(header.version)));
        }
        Ok((header, lines))
    }
}

/// The kind of an event, in so much as it may be shown.
fn kind_of(text: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let kind = event["event"]["kind"].as_str().unwrap_or_default();
    clean_line(kind).chars().take(40).collect()
}
