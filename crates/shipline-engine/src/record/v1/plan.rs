//! Plans as they are stored. A secret is stored as the fact that there is one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipline_model::config;
use shipline_model::name::{
    CommitId, ComponentName, Digest, EnvironmentName, PipelineName, ProfileName, RepoPath,
    RepositoryName, StageName,
};
use shipline_model::path::GitPath;
use shipline_model::plan as core;
use shipline_model::stage_kind::{self, Kind};
use shipline_model::tag::ImageTag;
use shipline_model::value as model;

use super::facts::BaseImage;
use super::{Unreadable, all, millis, try_all, words};

/// A task's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct TaskId {
    pub stage: String,
    pub component: Option<String>,
    pub variant: Option<String>,
}

/// An image's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct ImageId {
    pub component: String,
    pub variant: Option<String>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Plan {
    pub pipeline: String,
    pub profile: String,
    pub head: Head,
    pub components: Vec<PlannedComponent>,
    pub tasks: Vec<Task>,
    pub notes: Vec<String>,
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Head {
    pub commit: String,
    pub time: i64,
    pub branch: Option<String>,
    pub dirty: Vec<String>,
}

/// A component in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct PlannedComponent {
    pub name: String,
    pub base: Base,
    pub reasons: Vec<Reason>,
    pub source_key: Option<String>,
    /// Absent in records of versions that had no `pipeline.lock`.
    #[serde(default)]
    pub bases: Vec<BaseImage>,
    pub images: Vec<PlannedImage>,
}

/// What a component's change was measured from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "base", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Base {
    Commit { commit: String, rule: BaseRule },
    Unknown { reason: String },
    All,
}

/// The rule that gave a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum BaseRule {
    Asked,
    PullRequest,
    PullRequestBase,
    Deployed { tag: String, environment: String },
    PushBefore,
    DefaultBranch { branch: String },
}

words! {
    /// How a path changed.
    ChangeKind = core::ChangeKind { Added, Modified, Deleted }
    /// Which key of a component covers a path.
    DeclaredBy = core::DeclaredBy { Path, Uses }
    /// What a task uses most.
    Resource = core::Resource { Light, Workspace, Cpu, Network }
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct PathChange {
    pub path: String,
    pub change: ChangeKind,
}

/// Why a component is affected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Reason {
    Path {
        file: PathChange,
        under: String,
        declared: DeclaredBy,
    },
    PipelineFile {
        file: PathChange,
    },
    LockedBase {
        reference: String,
        from: Option<String>,
        to: Option<String>,
    },
    NoBase {
        why: String,
    },
    All,
}

/// An image in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct PlannedImage {
    pub id: ImageId,
    pub repository: String,
    pub tag_prefix: String,
    pub tag: String,
    pub commit: String,
    pub commit_time: i64,
    pub source_key: String,
    pub build_key: String,
    pub platform: Platform,
    pub args: BTreeMap<String, Value>,
    pub secrets: BTreeMap<String, Value>,
    pub action: ImageAction,
}

/// An image's platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// A resolved text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Value {
    Public(String),
    Secret,
}

/// What happens to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum ImageAction {
    Build { why: String },
    Take { digest: String, from: String },
}

/// One task of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Task {
    pub id: TaskId,
    pub kind: StageKind,
    pub needs: Vec<usize>,
    pub decision: Decision,
    pub resource: Resource,
    pub timeout_ms: u64,
}

/// What a stage does: its word, and the parameter that this kind has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct StageKind {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What happens with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Decision {
    Run { why: String },
    Cached { key: String, from: String },
    Skip { reason: String },
}

impl From<&core::TaskId> for TaskId {
    fn from(id: &core::TaskId) -> Self {
        Self {
            stage: id.stage.to_string(),
            component: id.component.as_ref().map(ToString::to_string),
            variant: id.variant.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<TaskId> for core::TaskId {
    type Error = Unreadable;
    fn try_from(id: TaskId) -> Result<Self, Unreadable> {
        Ok(Self {
            stage: StageName::new(id.stage)?,
            component: id.component.map(ComponentName::new).transpose()?,
            variant: id.variant.map(EnvironmentName::new).transpose()?,
        })
    }
}

impl From<&core::ImageId> for ImageId {
    fn from(id: &core::ImageId) -> Self {
        Self {
            component: id.component.to_string(),
            variant: id.variant.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<ImageId> for core::ImageId {
    type Error = Unreadable;
    fn try_from(id: ImageId) -> Result<Self, Unreadable> {
        Ok(Self {
            component: ComponentName::new(id.component)?,
            variant: id.variant.map(EnvironmentName::new).transpose()?,
        })
    }
}

impl From<&core::Plan> for Plan {
    fn from(plan: &core::Plan) -> Self {
        Self {
            pipeline: plan.pipeline.to_string(),
            profile: plan.profile.to_string(),
            head: Head {
                commit: plan.head.commit.to_string(),
                time: plan.head.time,
                branch: plan.head.branch.clone(),
                dirty: plan.head.dirty.iter().map(ToString::to_string).collect(),
            },
            components: all(&plan.components),
            tasks: all(&plan.tasks),
            notes: plan.notes.clone(),
        }
    }
}

impl TryFrom<Plan> for core::Plan {
    type Error = Unreadable;
    fn try_from(plan: Plan) -> Result<Self, Unreadable> {
        Ok(Self {
            pipeline: PipelineName::new(plan.pipeline)?,
            profile: ProfileName::new(plan.profile)?,
            head: core::Head {
                commit: CommitId::new(plan.head.commit)?,
                time: plan.head.time,
                branch: plan.head.branch,
                dirty: plan.head.dirty.into_iter().map(GitPath::new).collect(),
            },
            components: try_all(plan.components)?,
            tasks: try_all(plan.tasks)?,
            notes: plan.notes,
        })
    }
}

impl From<&core::PlannedComponent> for PlannedComponent {
    fn from(component: &core::PlannedComponent) -> Self {
        Self {
            name: component.name.to_string(),
            base: (&component.base).into(),
            reasons: all(&component.reasons),
            source_key: component.source_key.as_ref().map(ToString::to_string),
            bases: component
                .bases
                .iter()
                .map(|(reference, digest)| BaseImage {
                    reference: reference.clone(),
                    digest: digest.to_string(),
                })
                .collect(),
            images: all(&component.images),
        }
    }
}

impl TryFrom<PlannedComponent> for core::PlannedComponent {
    type Error = Unreadable;
    fn try_from(component: PlannedComponent) -> Result<Self, Unreadable> {
        Ok(Self {
            name: ComponentName::new(component.name)?,
            base: component.base.try_into()?,
            reasons: try_all(component.reasons)?,
            source_key: component.source_key.map(core::SourceKey),
            bases: component
                .bases
                .into_iter()
                .map(|base| Ok((base.reference, Digest::new(base.digest)?)))
                .collect::<Result<_, Unreadable>>()?,
            images: try_all(component.images)?,
        })
    }
}

impl From<&core::Base> for Base {
    fn from(base: &core::Base) -> Self {
        match base {
            core::Base::Commit { id, rule } => Self::Commit {
                commit: id.to_string(),
                rule: match rule {
                    core::BaseRule::Asked => BaseRule::Asked,
                    core::BaseRule::PullRequest => BaseRule::PullRequest,
                    core::BaseRule::PullRequestBase => BaseRule::PullRequestBase,
                    core::BaseRule::Deployed { tag, environment } => BaseRule::Deployed {
                        tag: tag.clone(),
                        environment: environment.to_string(),
                    },
                    core::BaseRule::PushBefore => BaseRule::PushBefore,
                    core::BaseRule::DefaultBranch { branch } => BaseRule::DefaultBranch {
                        branch: branch.clone(),
                    },
                },
            },
            core::Base::Unknown { reason } => Self::Unknown {
                reason: reason.clone(),
            },
            core::Base::All => Self::All,
        }
    }
}

impl TryFrom<Base> for core::Base {
    type Error = Unreadable;
    fn try_from(base: Base) -> Result<Self, Unreadable> {
        Ok(match base {
            Base::Commit { commit, rule } => Self::Commit {
                id: CommitId::new(commit)?,
                rule: match rule {
                    BaseRule::Asked => core::BaseRule::Asked,
                    BaseRule::PullRequest => core::BaseRule::PullRequest,
                    BaseRule::PullRequestBase => core::BaseRule::PullRequestBase,
                    BaseRule::Deployed { tag, environment } => core::BaseRule::Deployed {
                        tag,
                        environment: EnvironmentName::new(environment)?,
                    },
                    BaseRule::PushBefore => core::BaseRule::PushBefore,
                    BaseRule::DefaultBranch { branch } => core::BaseRule::DefaultBranch { branch },
                },
            },
            Base::Unknown { reason } => Self::Unknown { reason },
            Base::All => Self::All,
        })
    }
}

impl From<&core::PathChange> for PathChange {
    fn from(change: &core::PathChange) -> Self {
        Self {
            path: change.path.to_string(),
            change: change.kind.into(),
        }
    }
}

impl From<PathChange> for core::PathChange {
    fn from(change: PathChange) -> Self {
        Self {
            path: GitPath::new(change.path),
            kind: change.change.into(),
        }
    }
}

impl From<&core::Reason> for Reason {
    fn from(reason: &core::Reason) -> Self {
        match reason {
            core::Reason::Path {
                file,
                under,
                declared,
            } => Self::Path {
                file: file.into(),
                under: under.to_string(),
                declared: (*declared).into(),
            },
            core::Reason::PipelineFile { file } => Self::PipelineFile { file: file.into() },
            core::Reason::LockedBase { base } => Self::LockedBase {
                reference: base.reference.clone(),
                from: base.from.as_ref().map(ToString::to_string),
                to: base.to.as_ref().map(ToString::to_string),
            },
            core::Reason::NoBase { why } => Self::NoBase { why: why.clone() },
            core::Reason::All => Self::All,
        }
    }
}

impl TryFrom<Reason> for core::Reason {
    type Error = Unreadable;
    fn try_from(reason: Reason) -> Result<Self, Unreadable> {
        Ok(match reason {
            Reason::Path {
                file,
                under,
                declared,
            } => Self::Path {
                file: file.into(),
                under: RepoPath::new(under)?,
                declared: declared.into(),
            },
            Reason::PipelineFile { file } => Self::PipelineFile { file: file.into() },
            Reason::LockedBase {
                reference,
                from,
                to,
            } => Self::LockedBase {
                base: core::MovedBase {
                    reference,
                    from: from.map(Digest::new).transpose()?,
                    to: to.map(Digest::new).transpose()?,
                },
            },
            Reason::NoBase { why } => Self::NoBase { why },
            Reason::All => Self::All,
        })
    }
}

impl From<&core::PlannedImage> for PlannedImage {
    fn from(image: &core::PlannedImage) -> Self {
        Self {
            id: (&image.id).into(),
            repository: image.repository.to_string(),
            tag_prefix: image.tag.prefix().to_owned(),
            tag: image.tag.to_string(),
            commit: image.commit.to_string(),
            commit_time: image.commit_time,
            source_key: image.source_key.to_string(),
            build_key: image.build_key.to_string(),
            platform: Platform {
                os: image.platform.os.clone(),
                architecture: image.platform.architecture.clone(),
                variant: image.platform.variant.clone(),
            },
            args: values(&image.args),
            secrets: values(&image.secrets),
            action: match &image.action {
                core::ImageAction::Build { why } => ImageAction::Build { why: why.clone() },
                core::ImageAction::Take { digest, from } => ImageAction::Take {
                    digest: digest.to_string(),
                    from: from.clone(),
                },
            },
        }
    }
}

impl TryFrom<PlannedImage> for core::PlannedImage {
    type Error = Unreadable;
    fn try_from(image: PlannedImage) -> Result<Self, Unreadable> {
        Ok(Self {
            id: image.id.try_into()?,
            repository: RepositoryName::new(image.repository)?,
            tag: ImageTag::parse(&image.tag_prefix, &image.tag)?,
            commit: CommitId::new(image.commit)?,
            commit_time: image.commit_time,
            source_key: core::SourceKey(image.source_key),
            build_key: core::BuildKey(image.build_key),
            platform: config::Platform {
                os: image.platform.os,
                architecture: image.platform.architecture,
                variant: image.platform.variant,
            },
            args: core_values(image.args),
            secrets: core_values(image.secrets),
            action: match image.action {
                ImageAction::Build { why } => core::ImageAction::Build { why },
                ImageAction::Take { digest, from } => core::ImageAction::Take {
                    digest: Digest::new(digest)?,
                    from,
                },
            },
        })
    }
}

fn values(values: &BTreeMap<String, model::Value>) -> BTreeMap<String, Value> {
    values
        .iter()
        .map(|(name, value)| {
            let value = match value {
                model::Value::Public(text) => Value::Public(text.clone()),
                model::Value::Secret(_) => Value::Secret,
            };
            (name.clone(), value)
        })
        .collect()
}

fn core_values(values: BTreeMap<String, Value>) -> BTreeMap<String, model::Value> {
    values
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Public(text) => model::Value::Public(text),
                Value::Secret => model::Value::Secret(model::Secret::new(crate::redact::MASK)),
            };
            (name, value)
        })
        .collect()
}

impl From<&core::Task> for Task {
    fn from(task: &core::Task) -> Self {
        Self {
            id: (&task.id).into(),
            kind: StageKind {
                kind: task.kind.kind(),
                environment: task.kind.environment().map(ToString::to_string),
                command: task.kind.command().map(str::to_owned),
            },
            needs: task.needs.clone(),
            decision: match &task.decision {
                core::Decision::Run { why } => Decision::Run { why: why.clone() },
                core::Decision::Cached { key, from } => Decision::Cached {
                    key: key.clone(),
                    from: from.clone(),
                },
                core::Decision::Skip { reason } => Decision::Skip {
                    reason: reason.clone(),
                },
            },
            resource: task.resource.into(),
            timeout_ms: millis(task.timeout),
        }
    }
}

impl TryFrom<StageKind> for stage_kind::StageKind {
    type Error = Unreadable;
    fn try_from(kind: StageKind) -> Result<Self, Unreadable> {
        let environment = kind.environment.map(EnvironmentName::new).transpose()?;
        let word = kind.kind.nature().word;
        kind.kind
            .with(environment, kind.command)
            .ok_or(Unreadable::Stage(word))
    }
}

impl TryFrom<Task> for core::Task {
    type Error = Unreadable;
    fn try_from(task: Task) -> Result<Self, Unreadable> {
        Ok(Self {
            id: task.id.try_into()?,
            kind: task.kind.try_into()?,
            needs: task.needs,
            decision: match task.decision {
                Decision::Run { why } => core::Decision::Run { why },
                Decision::Cached { key, from } => core::Decision::Cached { key, from },
                Decision::Skip { reason } => core::Decision::Skip { reason },
            },
            resource: task.resource.into(),
            timeout: Duration::from_millis(task.timeout_ms),
        })
    }
}
