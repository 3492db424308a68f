//! The workspace, `.shipline/work`: where commands of components run, on exactly the sources.
//!
//! It is made equal to the sources of all the run's components once. `setup` runs once for each component. Before a component's
//! files go into an image, its own part is made equal again, but for caches and what `setup` made: what tests left behind, or
//! the `prepare` of a twin, does not get into the image. Components run side by side, so that this touches nothing outside the
//! component's own paths; in paths that several components use it mends sources and removes nothing.
//!
//! A component whose build context reaches beyond its sources has a workspace of its own, `.shipline/work@NAME`: else files of
//! other components would be in its image or not, as they are in the run or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use shipline_model::config::{Component, Config};
use shipline_model::name::{ComponentName, RepoPath};
use shipline_model::path::GitPath;
use shipline_model::plan::{Plan, sources};

use crate::backend::{Materialized, Outside, SourceRepo, SourceSet};
use crate::error::{BackendError, ErrorClass};
use crate::folder::{Owner, Place};

/// The workspaces of a run.
pub(crate) struct Workspaces {
    together: Arc<Workspace>,
    alone: BTreeMap<ComponentName, Arc<Workspace>>,
}

/// Who works in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// All components that need none of their own.
    Together,
    /// One component: nothing but its sources is in it.
    Alone,
}

/// One workspace.
pub(crate) struct Workspace {
    root: Place,
    source: Arc<dyn SourceRepo>,
    sharing: Sharing,
    /// Sources of the run's components.
    parts: BTreeMap<ComponentName, Vec<RepoPath>>,
    caches: Vec<RepoPath>,
    whole: tokio::sync::OnceCell<()>,
    states: BTreeMap<ComponentName, tokio::sync::Mutex<State>>,
    /// One pass over the files at a time.
    pass: Mutex<()>,
}

/// How far a component's part is.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Whether `setup` is through, and what it made.
    pub(crate) setup: Option<Vec<GitPath>>,
    /// Whether a command has run since the part was last equal to the sources.
    pub(crate) touched: bool,
}

impl Workspaces {
    /// The workspaces in the state folder for the affected components of `plan`.
    pub(crate) fn new(
        state: &Place,
        source: &Arc<dyn SourceRepo>,
        config: &Config,
        plan: &Plan,
    ) -> Self {
        let affected = plan
            .components
            .iter()
            .filter(|planned| !planned.reasons.is_empty())
            .filter_map(|planned| config.components.get(&planned.name))
            .filter(|component| component.path.is_some());
        let (alone, together): (Vec<&Component>, Vec<&Component>) =
            affected.partition(|component| reaches_out(component));
        // Caches of components that are not in this run survive it too.
        let shared = config.components.values().filter(|it| !reaches_out(it));
        Self {
            together: Arc::new(Workspace::new(
                state.join("work"),
                Arc::clone(source),
                Sharing::Together,
                &together,
                shared,
            )),
            alone: alone
                .into_iter()
                .map(|component| {
                    let workspace = Workspace::new(
                        state.join(format!("work@{}", component.name)),
                        Arc::clone(source),
                        Sharing::Alone,
                        &[component],
                        std::iter::once(component),
                    );
                    (component.name.clone(), Arc::new(workspace))
                })
                .collect(),
        }
    }

    /// Where a component's commands run and its image is built.
    pub(crate) fn of(&self, component: &ComponentName) -> &Arc<Workspace> {
        self.alone.get(component).unwrap_or(&self.together)
    }
}

/// Whether a component's build context holds more than its sources.
fn reaches_out(component: &Component) -> bool {
    component.image.as_ref().is_some_and(|image| {
        !sources(component)
            .iter()
            .any(|source| source.contains(image.context.as_str()))
    })
}

impl Workspace {
    fn new<'c>(
        root: Place,
        source: Arc<dyn SourceRepo>,
        sharing: Sharing,
        components: &[&Component],
        caching: impl Iterator<Item = &'c Component>,
    ) -> Self {
        let parts: BTreeMap<ComponentName, Vec<RepoPath>> = components
            .iter()
            .map(|component| (component.name.clone(), sources(component)))
            .collect();
        let caches: BTreeSet<RepoPath> = caching
            .flat_map(|component| component.caches.iter().cloned())
            .collect();
        Self {
            root,
            source,
            sharing,
            states: parts
                .keys()
                .map(|name| (name.clone(), tokio::sync::Mutex::default()))
                .collect(),
            parts,
            caches: caches.into_iter().collect(),
            whole: tokio::sync::OnceCell::new(),
            pass: Mutex::new(()),
        }
    }

    /// A place of the repository in the workspace. Commands may have left anything on the way to it.
    pub(crate) fn place(&self, path: &RepoPath) -> Place {
        let root = self.root.owned_by(Owner::Anyone);
        match path.as_str() {
            "." => root,
            path => root.join(path),
        }
    }

    /// What of `context` is a cache of any component and not in `included`: paths below it. `None` where all of it is one.
    pub(crate) fn caches_in(
        &self,
        context: &RepoPath,
        included: &[RepoPath],
    ) -> Option<Vec<String>> {
        let hidden = self.caches.iter().filter(|cache| !included.contains(cache));
        let mut below = Vec::new();
        for cache in hidden {
            if cache.contains(context.as_str()) {
                return None;
            }
            if context.as_str() == "." {
                below.push(cache.to_string());
            } else if context.contains(cache.as_str()) {
                below.extend(
                    cache
                        .as_str()
                        .strip_prefix(context.as_str())
                        .map(|rest| rest.trim_start_matches('/').to_owned()),
                );
            }
        }
        Some(below)
    }

    /// Makes all of it equal to the sources, once. `None` where that was done before.
    pub(crate) async fn fill(self: &Arc<Self>) -> Result<Option<Materialized>, BackendError> {
        let mut done = None;
        self.whole
            .get_or_try_init(|| async {
                let this = Arc::clone(self);
                let paths: BTreeSet<RepoPath> = self.parts.values().flatten().cloned().collect();
                let set = SourceSet {
                    paths: paths.into_iter().collect(),
                    keep: self.caches.iter().map(GitPath::from).collect(),
                    outside: Outside::Removed,
                };
                done = Some(crate::stage::blocking(move || this.materialize(&set)).await?);
                Ok::<(), BackendError>(())
            })
            .await?;
        Ok(done)
    }

    /// The state of a component's part. One task of a component is at work at a time.
    pub(crate) fn state(
        &self,
        component: &Component,
    ) -> Result<&tokio::sync::Mutex<State>, BackendError> {
        self.states.get(&component.name).ok_or_else(|| {
            BackendError::new(
                ErrorClass::Invalid,
                format!(
                    "run commands of {}: it has no sources in this run",
                    component.name
                ),
            )
        })
    }

    /// What is in a component's part beyond the sources and caches: what `setup` made, right after it.
    pub(crate) async fn extras(
        self: &Arc<Self>,
        component: &ComponentName,
    ) -> Result<Vec<GitPath>, BackendError> {
        let this = Arc::clone(self);
        let component = component.clone();
        crate::stage::blocking(move || {
            let set = this.part(&component, &[]);
            this.source.extras(&set, &this.root)
        })
        .await
    }

    /// Makes a component's part equal to the sources again, but for caches and `extras`.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        component: &ComponentName,
        extras: &[GitPath],
    ) -> Result<Materialized, BackendError> {
        let this = Arc::clone(self);
        let component = component.clone();
        let extras = extras.to_vec();
        crate::stage::blocking(move || this.materialize(&this.part(&component, &extras))).await
    }

    fn materialize(&self, set: &SourceSet) -> Result<Materialized, BackendError> {
        let _pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        self.source.materialize(set, &self.root)
    }

    /// A component's sources; kept is what in them is not this component's alone.
    fn part(&self, component: &ComponentName, extras: &[GitPath]) -> SourceSet {
        let own = self.parts.get(component).cloned().unwrap_or_default();
        let caches = self.caches.iter().map(GitPath::from);
        let mut keep: BTreeSet<GitPath> = caches.chain(extras.iter().cloned()).collect();
        for (other, paths) in &self.parts {
            if other != component {
                // A path around ours is not kept as a whole: what is beside ours in it is outside.
                let around = |path: &&RepoPath| {
                    !own.iter()
                        .any(|mine| mine != *path && path.contains(mine.as_str()))
                };
                keep.extend(paths.iter().filter(around).map(GitPath::from));
            }
        }
        SourceSet {
            paths: own,
            keep: keep.into_iter().collect(),
            outside: match self.sharing {
                Sharing::Together => Outside::Left,
                Sharing::Alone => Outside::Removed,
            },
        }
    }
}
