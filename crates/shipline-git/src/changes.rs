//! What changed between a commit and the sources.

use std::collections::BTreeMap;

use git2::Oid;
use shipline_engine::error::BackendError;
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{ChangeKind, PathChange};

use crate::status::{Dirty, is_state};
use crate::tree::{Committed, DEEPEST, Leaf, Trees, too_deep};

/// All paths that differ between the tree `base` and the tree `head` with `dirty` over it.
pub(crate) fn between(
    trees: &Trees,
    base: Oid,
    head: Oid,
    dirty: &Dirty,
) -> Result<ByPath<PathChange>, BackendError> {
    let mut changes = BTreeMap::new();
    let mut compare = Compare {
        trees,
        path: Vec::new(),
        depth: 0,
        changes: &mut changes,
    };
    compare.folders(Some(base), Some(head))?;
    for (path, now) in &dirty.paths {
        changes.remove(path);
        if let Some(kind) = kind(trees.leaf(base, path)?, *now) {
            changes.insert(path.clone(), kind);
        }
    }
    Ok(changes
        .into_iter()
        .filter(|(path, _)| !is_state(path))
        .map(|(path, kind)| PathChange {
            path: GitPath::new(path),
            kind,
        })
        .collect())
}

fn kind(old: Option<Leaf>, new: Option<Leaf>) -> Option<ChangeKind> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(ChangeKind::Added),
        (Some(_), None) => Some(ChangeKind::Deleted),
        (Some(old), Some(new)) => (!old.same(&new)).then_some(ChangeKind::Modified),
    }
}

/// What one name is in two trees.
#[derive(Default)]
struct Sides {
    old: Option<Committed>,
    new: Option<Committed>,
}

/// A walk through two trees at once, which never enters what is the same in both.
struct Compare<'t> {
    trees: &'t Trees,
    path: Vec<u8>,
    /// Folders that the path is in.
    depth: usize,
    changes: &'t mut BTreeMap<Vec<u8>, ChangeKind>,
}

impl Compare<'_> {
    fn folders(&mut self, old: Option<Oid>, new: Option<Oid>) -> Result<(), BackendError> {
        if old == new {
            return Ok(());
        }
        if self.depth > DEEPEST {
            return Err(too_deep(&self.path));
        }
        self.depth += 1;
        let mut names: BTreeMap<Box<[u8]>, Sides> = BTreeMap::new();
        if let Some(old) = old {
            for (name, entry) in self.trees.list(old)?.iter() {
                names.entry(name.clone()).or_default().old = Some(*entry);
            }
        }
        if let Some(new) = new {
            for (name, entry) in self.trees.list(new)?.iter() {
                names.entry(name.clone()).or_default().new = Some(*entry);
            }
        }
        for (name, Sides { old, new }) in names {
            if old == new {
                continue;
            }
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            let split = |entry| match entry {
                Some(Committed::Leaf(leaf)) => (Some(leaf), None),
                Some(Committed::Folder(tree)) => (None, Some(tree)),
                None => (None, None),
            };
            let ((old_leaf, old_tree), (new_leaf, new_tree)) = (split(old), split(new));
            if let Some(kind) = kind(old_leaf, new_leaf) {
                self.changes.insert(self.path.clone(), kind);
            }
            self.folders(old_tree, new_tree)?;
            self.path.truncate(length);
        }
        self.depth -= 1;
        Ok(())
    }
}
