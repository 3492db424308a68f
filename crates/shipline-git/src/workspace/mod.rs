//! The workspace: a folder made equal to the sources by the difference only.
//!
//! Files come in by rename from a folder beside it, so that none is ever half there. The manifest beside it remembers what
//! each file looked like when its content was last known; a file that looks the same is not read again, any other is compared
//! by content. A manifest that is old, cut off or missing therefore costs time, never correctness.

mod keep;
mod manifest;
mod sync;
mod wanted;

use std::path::{Path, PathBuf};

use git2::Repository;
use shipline_engine::backend::{Materialized, SourceSet};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_model::name::RepoPath;

use crate::error;
use crate::tree::Sources;
use keep::Keep;
use manifest::Manifest;
use sync::Sync;
use wanted::{Stores, Wanted};

/// Makes `workspace` equal to `set` of the sources. `root` is the work tree.
pub(crate) fn materialize(
    repo: &Repository,
    sources: &Sources<'_>,
    root: &Path,
    set: &SourceSet,
    workspace: &Path,
    faults: &Faults,
) -> Result<Materialized, BackendError> {
    let mut stores = Stores::new(repo, root)?;
    let wanted = Wanted::of(sources, &mut stores, &set.paths)?;
    let keep = Keep::of(set);
    let beside = Beside::of(workspace)?;

    sync::remove(&beside.incoming)?;
    let known = Manifest::read(&beside.manifest)?;
    sync::folder(workspace, sync::Parents::Create)?;
    let mut sync = Sync::new(&stores, &known, &beside.incoming, faults);
    sync.folder(workspace, &mut Vec::new(), &wanted, keep.root())?;
    let (mut now, done) = sync.finish()?;
    // What was left alone is as well known as before.
    for (path, record) in &known.records {
        if keep.holds(path) {
            now.records.entry(path.clone()).or_insert(*record);
        }
    }
    faults.reach(FaultPoint::WorkspaceFiles);
    if now.records != known.records {
        now.write(&beside.manifest)?;
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
    workspace: &Path,
) -> Result<Vec<RepoPath>, BackendError> {
    let mut stores = Stores::new(repo, root)?;
    let wanted = Wanted::of(sources, &mut stores, &set.paths)?;
    let keep = Keep::of(set);
    let mut extras = Vec::new();
    sync::extras(workspace, "", Some(&wanted), keep.root(), &mut extras)?;
    extras.sort();
    Ok(extras)
}

/// What stands beside a workspace.
struct Beside {
    /// `<workspace>.manifest`.
    manifest: PathBuf,
    /// `<workspace>.incoming`: files on their way in.
    incoming: PathBuf,
}

impl Beside {
    fn of(workspace: &Path) -> Result<Self, BackendError> {
        let name = workspace.file_name().ok_or_else(|| {
            BackendError::new(
                ErrorClass::Invalid,
                format!("use {} as a workspace: it has no name", workspace.display()),
            )
        })?;
        let beside = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            workspace.with_file_name(name)
        };
        Ok(Self {
            manifest: beside(".manifest"),
            incoming: beside(".incoming"),
        })
    }
}

/// Reads a folder's entries: name and type, symlinks not followed.
fn entries(folder: &Path) -> Result<Vec<(std::ffi::OsString, std::fs::FileType)>, BackendError> {
    let failed = |cause| error::file("read the folder", folder, cause);
    std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            Ok((entry.file_name(), entry.file_type().map_err(failed)?))
        })
        .collect()
}
