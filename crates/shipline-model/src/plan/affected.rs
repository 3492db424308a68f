//! Which components a change set affects, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Base, ChangeSet, DeclaredBy, PathChange, Reason};
use crate::config::{Component, Config, Pipeline};
use crate::name::{ComponentName, RepoPath};

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

fn reasons(component: &Component, changed: &[PathChange]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut files: BTreeSet<&str> = BTreeSet::new();
    let declared = component
        .path
        .iter()
        .map(|path| (path, DeclaredBy::Path))
        .chain(component.uses.iter().map(|path| (path, DeclaredBy::Uses)));
    for (under, declared) in declared {
        for file in below(changed, under) {
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
        if let Ok(at) = changed.binary_search_by(|change| change.path.as_str().cmp(shared)) {
            reasons.push(Reason::PipelineFile {
                file: changed[at].clone(),
            });
        }
    }
    reasons
}

/// The changes at or below `path`: two runs of the sorted list (`a/b` itself, and `a/b/…`), found by bisection.
fn below<'c>(
    changed: &'c [PathChange],
    path: &RepoPath,
) -> impl Iterator<Item = &'c PathChange> + use<'c> {
    let (exact, first) = if path.as_str() == "." {
        (None, 0)
    } else {
        let exact = changed
            .binary_search_by(|change| change.path.as_str().cmp(path.as_str()))
            .ok()
            .map(|at| &changed[at]);
        let folder = format!("{path}/");
        (
            exact,
            changed.partition_point(|change| change.path.as_str() < folder.as_str()),
        )
    };
    let path = path.clone();
    exact.into_iter().chain(
        changed[first..]
            .iter()
            .take_while(move |change| path.contains(&change.path)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ChangeKind;

    fn changes(paths: &[&str]) -> Vec<PathChange> {
        let mut changes: Vec<PathChange> = paths
            .iter()
            .map(|path| PathChange {
                path: (*path).to_owned(),
                kind: ChangeKind::Modified,
            })
            .collect();
        changes.sort();
        changes.dedup();
        changes
    }

    #[test]
    fn paths_below_a_folder_are_found_by_bisection() {
        let changed = changes(&["a", "a-b/x", "a.txt", "a/b", "a/c/d", "ab", "b"]);
        let check = |path: &str, expected: &[&str]| {
            let found: Vec<&str> = below(&changed, &RepoPath::new(path).unwrap())
                .map(|change| change.path.as_str())
                .collect();
            assert_eq!(found, expected, "{path}");
        };
        check("a", &["a", "a/b", "a/c/d"]);
        check("a/c", &["a/c/d"]);
        check("b", &["b"]);
        check("c", &[]);
        check(".", &["a", "a-b/x", "a.txt", "a/b", "a/c/d", "ab", "b"]);
    }

    proptest::proptest! {
        #[test]
        fn bisection_finds_what_a_scan_finds(paths in proptest::collection::vec("[ab./-]{1,6}", 0..40), path in "[ab]{1,2}(/[ab]{1,2}){0,2}") {
            let changed = changes(&paths.iter().map(String::as_str).collect::<Vec<_>>());
            let path = RepoPath::new(path).unwrap();
            let found: Vec<&PathChange> = below(&changed, &path).collect();
            let scanned: Vec<&PathChange> = changed.iter().filter(|change| path.contains(&change.path)).collect();
            proptest::prop_assert_eq!(found, scanned);
        }
    }
}
