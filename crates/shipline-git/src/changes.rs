//! What changed between a commit and the sources.

use std::collections::BTreeMap;

use git2::{Delta, DiffOptions, Oid, Repository};
use shipline_engine::error::BackendError;
use shipline_model::plan::{ChangeKind, PathChange};

use crate::error;
use crate::status::{Dirty, is_state};
use crate::tree::committed_leaf;

/// All paths that differ between the tree `base` and the tree `head` with `dirty` over it, sorted.
pub(crate) fn between(
    repo: &Repository,
    base: Oid,
    head: Oid,
    dirty: &Dirty,
) -> Result<Vec<PathChange>, BackendError> {
    let mut changes: BTreeMap<Vec<u8>, ChangeKind> = BTreeMap::new();
    if base != head {
        let failed = |cause| error::object(format!("compare tree {base} with tree {head}"), cause);
        let old = repo.find_tree(base).map_err(failed)?;
        let new = repo.find_tree(head).map_err(failed)?;
        let mut options = DiffOptions::new();
        options.include_typechange(true).skip_binary_check(true);
        let diff = repo
            .diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))
            .map_err(failed)?;
        for delta in diff.deltas() {
            let (file, kind) = match delta.status() {
                Delta::Added => (delta.new_file(), ChangeKind::Added),
                Delta::Deleted => (delta.old_file(), ChangeKind::Deleted),
                Delta::Modified
                | Delta::Typechange
                | Delta::Renamed
                | Delta::Copied
                | Delta::Unmodified
                | Delta::Ignored
                | Delta::Untracked
                | Delta::Unreadable
                | Delta::Conflicted => (delta.new_file(), ChangeKind::Modified),
            };
            if let Some(path) = file.path_bytes() {
                note(&mut changes, path, kind);
            }
        }
    }
    for (path, now) in &dirty.paths {
        let kind = match (committed_leaf(repo, base, path)?, now) {
            (None, None) => None,
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Deleted),
            (Some(old), Some(new)) => (!old.same(new)).then_some(ChangeKind::Modified),
        };
        changes.remove(path);
        if let Some(kind) = kind {
            changes.insert(path.clone(), kind);
        }
    }
    Ok(changes
        .into_iter()
        .filter(|(path, _)| !is_state(path))
        .map(|(path, kind)| PathChange {
            path: String::from_utf8_lossy(&path).into_owned(),
            kind,
        })
        .collect())
}

/// A path that is deleted as one type and added as another is one modification.
fn note(changes: &mut BTreeMap<Vec<u8>, ChangeKind>, path: &[u8], kind: ChangeKind) {
    changes
        .entry(path.to_vec())
        .and_modify(|known| {
            if *known != kind {
                *known = ChangeKind::Modified;
            }
        })
        .or_insert(kind);
}
