//! The workspace: a folder made equal to the sources by the difference only.
//!
//! Files come in by rename from a folder beside it, so that none is ever half there. The manifest beside it remembers what
//! each file looked like when its content was last known; a file that looks the same is not read again, any other is compared
//! by content. A manifest that is old, cut off or missing therefore costs time, never correctness.
//!
//! Commands and sources may put links anywhere: every folder is held open while it is worked in, and entered from the one above
//! it without following links, so that nothing outside the workspace is ever written or removed.

mod keep;
mod sync;
mod wanted;

use std::ffi::OsString;
use std::path::Path;

use git2::Repository;
use shipline_engine::backend::{Materialized, SourceSet};
use shipline_engine::error::BackendError;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::{Entry, Folder, Place};
use shipline_model::path::GitPath;

use crate::error;
use crate::manifest::Manifest;
use crate::tree::Sources;
use keep::Keep;
use sync::Sync;
use wanted::{Stores, Wanted};

/// Makes `workspace` equal to `set` of the sources. `root` is the work tree.
pub(crate) fn materialize(
    repo: &Repository,
    sources: &Sources<'_>,
    root: &Path,
    set: &SourceSet,
    workspace: &Place,
    faults: &Faults,
) -> Result<Materialized, BackendError> {
    let mut stores = Stores::new(repo, root)?;
    let wanted = Wanted::of(sources, &mut stores, &set.paths)?;
    let keep = Keep::of(set);
    let beside = Beside::of(workspace)?;

    sync::remove(&beside.folder, &beside.incoming)?;
    let known = Manifest::read(&beside.folder, &beside.manifest)?;
    let folder = beside.workspace()?;
    let mut sync = Sync::new(&stores, &known, &beside, faults);
    sync.folder(&folder, &mut Vec::new(), &wanted, keep.root())?;
    let (mut now, done) = sync.finish()?;
    // What was left alone is as well known as before.
    for (path, record) in &known.records {
        if keep.holds(path) {
            now.records.entry(path.clone()).or_insert(*record);
        }
    }
    faults.reach(FaultPoint::WorkspaceFiles);
    if now.records != known.records {
        now.write(&beside.folder, &beside.manifest)?;
    }
    faults.reach(FaultPoint::WorkspaceDone);
    Ok(done)
}

/// What is in `workspace` beyond `set`.
pub(crate) fn extras(
    repo: &Repository,
    sources: &Sources<'_>,
    root: &Path,
    set: &SourceSet,
    workspace: &Place,
) -> Result<Vec<GitPath>, BackendError> {
    let mut stores = Stores::new(repo, root)?;
    let wanted = Wanted::of(sources, &mut stores, &set.paths)?;
    let keep = Keep::of(set);
    let mut extras = Vec::new();
    let folder = Beside::of(workspace)?.workspace()?;
    sync::extras(&folder, &[], Some(&wanted), keep.root(), &mut extras)?;
    extras.sort();
    Ok(extras)
}

/// The folder that holds a workspace, and what stands beside it there.
struct Beside {
    folder: Folder,
    name: OsString,
    /// `<workspace>.manifest`.
    manifest: OsString,
    /// `<workspace>.incoming`: files on their way in.
    incoming: OsString,
}

impl Beside {
    fn of(workspace: &Place) -> Result<Self, BackendError> {
        let (folder, name) = workspace
            .make_parent()
            .map_err(|cause| error::file("use the workspace", workspace.path(), cause))?;
        let beside = |suffix: &str| {
            let mut name = name.clone();
            name.push(suffix);
            name
        };
        Ok(Self {
            manifest: beside(".manifest"),
            incoming: beside(".incoming"),
            folder,
            name,
        })
    }

    /// The workspace itself. In it may be folders of other users, which commands made.
    fn workspace(&self) -> Result<Folder, BackendError> {
        sync::make_folder(&self.folder, &self.name).map(Folder::of_anyone)
    }
}

/// Reads a folder's entries.
fn entries(folder: &Folder) -> Result<Vec<Entry>, BackendError> {
    folder
        .entries()
        .map_err(|cause| error::file("read the folder", folder.path(), cause))
}
