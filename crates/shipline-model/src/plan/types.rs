//! What a plan consists of. The engine carries it out and never changes it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Platform;
use crate::name::{
    CommitId, ComponentName, Digest, EnvironmentName, PipelineName, ProfileName, RepoPath,
    RepositoryName, StageName,
};
use crate::path::{AtPath, ByPath, GitPath};
use crate::stage_kind::{Kind, Resource, StageKind};
use crate::tag::{ImageTag, TagBase, TagInstant};
use crate::value::Value;

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The commit.
    pub commit: CommitId,
    /// Its commit time, in seconds since 1970 UTC.
    pub time: i64,
    /// The branch, unless detached.
    pub branch: Option<String>,
    /// Paths that differ from the commit (staged, unstaged, untracked and not ignored). Empty: clean.
    pub dirty: ByPath<GitPath>,
}

/// The commit that a component's change is measured from, and why it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "base", rename_all = "kebab-case")]
pub enum Base {
    /// Measured from this commit.
    Commit {
        /// The commit.
        #[serde(rename = "commit")]
        id: CommitId,
        /// Which rule gave it.
        rule: BaseRule,
    },
    /// No base could be had: the component counts as affected, loudly.
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// `--all`: no base is wanted.
    All,
}

/// The rule that gave a base; the first that applies, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum BaseRule {
    /// `--base`.
    Asked,
    /// Merge base of a pull request.
    PullRequest,
    /// Tip of the branch that a pull request goes into, where the history is cut off before the merge base.
    PullRequestBase,
    /// What the automatic environment runs.
    Deployed {
        /// The tag that says so.
        tag: String,
        /// The environment.
        environment: EnvironmentName,
    },
    /// `before` of the push event.
    PushBefore,
    /// Merge base with the default branch.
    DefaultBranch {
        /// That branch.
        branch: String,
    },
}

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// New.
    Added,
    /// Other content or mode.
    Modified,
    /// Gone (a rename is `Deleted` and `Added`).
    Deleted,
}

/// One changed path between a base and the sources of the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PathChange {
    /// The path in the repository.
    pub path: GitPath,
    /// How.
    #[serde(rename = "change")]
    pub kind: ChangeKind,
}

impl AtPath for PathChange {
    fn path(&self) -> &GitPath {
        &self.path
    }
}

/// What was found out about one component before planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentChange {
    /// What it was measured from.
    pub base: Base,
    /// All paths that changed since, of the whole repository: one list for all components with this base. Empty where the
    /// base is not a commit.
    pub paths: ByPath<PathChange>,
    /// Its locked base images that `pipeline.lock` gives another digest than it did at the base, in the Dockerfile's order;
    /// empty where the base is not a commit, and where the component locks none.
    pub moved_bases: Vec<MovedBase>,
}

/// A base image whose entry in `pipeline.lock` changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedBase {
    /// The image, as the Dockerfile names it.
    pub reference: String,
    /// What was locked; absent where nothing was.
    pub from: Option<Digest>,
    /// What is locked now; absent where nothing is.
    pub to: Option<Digest>,
}

/// What a run starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// What is checked out.
    pub head: Head,
    /// For each component of the pipeline.
    pub components: BTreeMap<ComponentName, ComponentChange>,
}

/// Why a component is affected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// A file under `path` or `uses` changed.
    Path {
        /// The file.
        file: PathChange,
        /// The declared path that covers it.
        under: RepoPath,
        /// Which key declares it.
        declared: DeclaredBy,
    },
    /// `pipeline.yaml` changed.
    PipelineFile {
        /// The file.
        file: PathChange,
    },
    /// `pipeline.lock` gives one of its base images another digest.
    LockedBase {
        /// Which, and how.
        #[serde(flatten)]
        base: MovedBase,
    },
    /// No base: nothing is known, so it counts as changed.
    NoBase {
        /// Why there is none.
        why: String,
    },
    /// `--all`.
    All,
}

/// Which key of a component covers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredBy {
    /// `path`.
    Path,
    /// `uses`.
    Uses,
}

/// A hex SHA-256 over everything that decides a result but the variant's args.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceKey(pub String);

/// A hex SHA-256 over a [`SourceKey`] and the variant's args.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuildKey(pub String);

/// One input of a key: what it is called, and what it is. A secret is there as a keyed fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInput {
    /// `tree`, `test`, `environment PATH`, the name of a tool …
    pub name: String,
    /// What it is; absent where there is none.
    pub value: Option<String>,
}

/// One image of a component: all environments' (`None`) or one environment's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageId {
    /// The component.
    pub component: ComponentName,
    /// The variant, where there is one for each environment.
    pub variant: Option<EnvironmentName>,
}

impl ImageId {
    /// Whether the environment runs this image: it is that environment's own, or all environments'.
    #[must_use]
    pub fn is_for(&self, environment: &EnvironmentName) -> bool {
        let variant = self.variant.as_ref();
        variant.is_none_or(|variant| variant == environment)
    }
}

/// One stage for one component and variant; stage alone for barriers and `detect`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The stage.
    pub stage: StageName,
    /// The component, unless the task is for the whole run.
    pub component: Option<ComponentName>,
    /// The variant, where there is one.
    pub variant: Option<EnvironmentName>,
}

/// What is known from earlier runs in this clone, found before planning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Stages that passed with certain sources (tests, scans of sources), with the run in which they did.
    pub passes: BTreeMap<(Kind, SourceKey), String>,
    /// Builds by source key.
    pub builds: BTreeMap<SourceKey, KnownBuild>,
    /// Builds of which an image is gone from the store, by source key, with their run. A tag may name that image, and another
    /// build of the same sources need not give the same bytes: such a build is over.
    pub lost: BTreeMap<SourceKey, String>,
}

impl Known {
    /// The latest instant that a build has in its tags.
    #[must_use]
    pub fn last_instant(&self) -> Option<&TagInstant> {
        self.builds.values().map(|build| build.base.instant()).max()
    }
}

/// An earlier build of a component, complete or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBuild {
    /// What its tags share.
    pub base: TagBase,
    /// The commit.
    pub commit: CommitId,
    /// Its commit time, in seconds since 1970 UTC.
    pub commit_time: i64,
    /// The run that began it.
    pub run: String,
    /// Its images that are in the store, whole, by variant.
    pub images: BTreeMap<Option<EnvironmentName>, (BuildKey, Digest)>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The profile.
    pub profile: ProfileName,
    /// What is checked out.
    pub head: Head,
    /// Every component of the pipeline, affected or not, in the file's order.
    pub components: Vec<PlannedComponent>,
    /// Every task, each after all that it needs.
    pub tasks: Vec<Task>,
    /// Things that a person should know before the run (an unknown base, a dirty tree).
    pub notes: Vec<String>,
}

/// A component in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedComponent {
    /// The component.
    pub name: ComponentName,
    /// What its change was measured from.
    pub base: Base,
    /// Why it is affected, the most telling first; empty: it is not.
    pub reasons: Vec<Reason>,
    /// Its source key; absent where it has no sources here or is not affected.
    pub source_key: Option<SourceKey>,
    /// What the source key is made of. Absent in records of minor version 0.
    #[serde(default)]
    pub source_inputs: Vec<KeyInput>,
    /// Its base images with the digests that `pipeline.lock` gives them, in the Dockerfile's order; empty where it locks none
    /// or is not affected. Absent in records of versions that had no `pipeline.lock`.
    #[serde(default, with = "crate::stored::bases")]
    pub bases: Vec<(String, Digest)>,
    /// Its images; empty where it is not affected or has none.
    pub images: Vec<PlannedImage>,
}

/// An image in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedImage {
    /// Which.
    pub id: ImageId,
    /// Repository in the registry.
    pub repository: RepositoryName,
    /// Its tag in this run.
    #[serde(flatten)]
    pub tag: ImageTag,
    /// The commit that it is built from (an earlier one where an earlier build is taken).
    pub commit: CommitId,
    /// That commit's time, in seconds since 1970 UTC.
    pub commit_time: i64,
    /// Its source key, the same for twins.
    pub source_key: SourceKey,
    /// Its build key.
    pub build_key: BuildKey,
    /// What the build key is made of. Absent in records of minor version 0.
    #[serde(default)]
    pub build_inputs: Vec<KeyInput>,
    /// Its platform.
    pub platform: Platform,
    /// Build args, the variant's over those of all.
    pub args: BTreeMap<String, Value>,
    /// Build secrets (docker engine only).
    pub secrets: BTreeMap<String, Value>,
    /// Build it, or take it from the store.
    pub action: ImageAction,
}

/// What happens to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum ImageAction {
    /// It is built.
    Build {
        /// Why it cannot be taken from the store, for people.
        why: String,
    },
    /// It is in the store.
    Take {
        /// Its manifest.
        digest: Digest,
        /// The run that built it.
        from: String,
    },
}

/// One task of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Which.
    pub id: TaskId,
    /// What it does.
    pub kind: StageKind,
    /// Positions in [`Plan::tasks`] of what must come first.
    pub needs: Vec<usize>,
    /// What happens with it, and why.
    pub decision: Decision,
    /// What it uses most.
    pub resource: Resource,
    /// Limit; a task that takes longer fails.
    #[serde(rename = "timeout_ms", with = "crate::stored::millis")]
    pub timeout: Duration,
}

/// What happens with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// It runs.
    Run {
        /// Why, for people.
        why: String,
    },
    /// Its result is known.
    Cached {
        /// By which key.
        key: String,
        /// The run that made the result.
        from: String,
    },
    /// It does not run, and that is right.
    Skip {
        /// Why, for people.
        reason: String,
    },
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}@{variant}", self.component),
            None => write!(f, "{}", self.component),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stage)?;
        if let Some(component) = &self.component {
            write!(f, "/{component}")?;
        }
        if let Some(variant) = &self.variant {
            write!(f, "@{variant}")?;
        }
        Ok(())
    }
}
