//! Which components a change set affects, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Base, ChangeSet, DeclaredBy, PathChange, Reason};
use crate::config::{Component, Config, Pipeline};
use crate::name::{ComponentName, RepoPath};
use crate::path::{ByPath, GitPath};

/// Files whose change affects every component.
pub(super) const SHARED: &[&str] = &["pipeline.yaml"];

/// The file of locked base images. Its change affects the components whose own entries changed, and no others.
pub const LOCK_FILE: &str = "pipeline.lock";

/// Files that are kept as reasons for one component: a person reads the first few, and a thousand would only cost memory.
pub(super) const MOST_REASONS: usize = 20;

/// The reasons for which each component of `pipeline` is affected, the most telling first; empty: it is not affected.
#[must_use]
pub fn affected(
    config: &Config,
    pipeline: &Pipeline,
    changes: &ChangeSet,
) -> BTreeMap<ComponentName, Vec<Reason>> {
    pipeline
        .components
        .iter()
        .filter_map(|name| config.components.get(name))
        .filter_map(|component| {
            let change = changes.components.get(&component.name)?;
            let reasons = match &change.base {
                Base::All => vec![Reason::All],
                Base::Unknown { reason } => vec![Reason::NoBase {
                    why: reason.clone(),
                }],
                Base::Commit { id: _, rule: _ } => {
                    let mut reasons = reasons(component, &change.paths);
                    let moved = change.moved_bases.iter().cloned();
                    reasons.extend(moved.map(|base| Reason::LockedBase { base }));
                    reasons
                }
            };
            Some((component.name.clone(), reasons))
        })
        .collect()
}

/// The paths that decide a component's results: `path` and `uses`, sorted, without those that lie in another.
#[must_use]
pub fn sources(component: &Component) -> Vec<RepoPath> {
    let mut paths: Vec<RepoPath> = component
        .path
        .iter()
        .chain(&component.uses)
        .cloned()
        .collect();
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| {
        !all.iter()
            .any(|other| other != path && other.contains(path.as_str()))
    });
    paths
}

fn reasons(component: &Component, changed: &ByPath<PathChange>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut files: BTreeSet<&GitPath> = BTreeSet::new();
    let declared = component
        .path
        .iter()
        .map(|path| (path, DeclaredBy::Path))
        .chain(component.uses.iter().map(|path| (path, DeclaredBy::Uses)));
    for (under, declared) in declared {
        for file in changed.below(under) {
            if reasons.len() == MOST_REASONS {
                break;
            }
            // Declared paths may lie in each other.
            if !files.insert(&file.path) {
                continue;
            }
            reasons.push(Reason::Path {
                file: file.clone(),
                under: under.clone(),
                declared,
            });
        }
    }
    for shared in SHARED {
        if let Some(file) = changed.at(shared) {
            reasons.push(Reason::PipelineFile { file: file.clone() });
        }
    }
    reasons
}
