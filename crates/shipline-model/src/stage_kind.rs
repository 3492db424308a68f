//! What a stage kind is, in one table. A new kind is written here, and in `engine/src/stage/`, where it does its work; the
//! compiler names both places. Everybody else asks the table.
//!
//! There is no column for retries: the backend that made a request repeats it, and no stage does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Component;
use crate::name::EnvironmentName;

/// The word for a kind of stage in `pipeline.yaml`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Reports what changed.
    Detect,
    /// Runs `setup` and `test`.
    Test,
    /// Makes the images.
    Build,
    /// Scans the images.
    ImageScan,
    /// Blobs and manifests by digest, then tags.
    Push,
    /// One commit in the GitOps repository.
    Gitops,
    /// Runs a command.
    Run,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StageKind {
    /// Reports what changed.
    Detect,
    /// Runs `setup` and `test`.
    Test,
    /// Makes the images.
    Build,
    /// Scans the images in the store.
    ImageScan,
    /// Blobs and manifests by digest, then tags.
    Push,
    /// One commit in the GitOps repository.
    Gitops {
        /// The environment to write.
        environment: EnvironmentName,
    },
    /// Any command, once for each component, in its workspace.
    Run {
        /// The command.
        command: String,
    },
}

/// What a kind of stage is: one row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Its word in `pipeline.yaml`.
    pub word: &'static str,
    /// What has a task of its own.
    pub scope: Scope,
    /// When it runs.
    pub order: Order,
    /// What its tasks use most.
    pub resource: Resource,
    /// Whether nothing is published where it has not passed.
    pub gates: bool,
    /// What others see after it.
    pub publishes: Publishes,
    /// What it has to do with images in the store.
    pub images: Images,
    /// Which results of earlier runs are taken.
    pub cached: Cached,
    /// Which key of its own it has in `pipeline.yaml`.
    pub parameter: Option<Parameter>,
    /// Whether a pipeline has one such stage at most (one for each environment, where it names one).
    pub once: bool,
    /// Stages that come before it.
    pub after: &'static [After],
    /// What would happen if a stage of [`Nature::after`] did not wait for it.
    pub if_not_awaited: &'static str,
}

/// What has a task of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole run.
    Run,
    /// Each affected component with sources here.
    Component,
    /// Each image of an affected component.
    Image,
}

/// When a stage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before everything else: it needs no other stage.
    First,
    /// After the stages that it needs.
    AsNeeded,
    /// After the tasks of all components: a barrier.
    Last,
}

/// What a task uses most; the scheduler bounds each class, and one component's workspace tasks never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Hardly anything (`detect`).
    Light,
    /// Host commands in a component's workspace: tests, builds.
    Workspace,
    /// CPU of this process: scans.
    Cpu,
    /// Network: push, GitOps.
    Network,
}

/// What others see after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishes {
    /// Nothing.
    Nothing,
    /// Images in the registry.
    Images,
    /// A commit in the GitOps repository.
    Deployment,
}

/// What a stage has to do with images in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Nothing.
    Unused,
    /// It makes them.
    Made,
    /// They must be there.
    Needed,
}

/// Which results of earlier runs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// None.
    Never,
    /// The plan knows passes by source key: the task does not begin.
    BySources,
    /// The plan knows images: the task begins, and looks whether they are still whole.
    InStore,
    /// The task finds out while it runs.
    ByTask,
}

/// A key in `pipeline.yaml` that belongs to one kind of stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// `environment`.
    Environment,
    /// `command`.
    Command,
}

/// A stage that comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// A pipeline without one is refused.
    Always(Kind),
    /// It is waited for where a pipeline has one.
    IfThere(Kind),
}

impl After {
    /// The kind of the stage that comes before.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Always(kind) | Self::IfThere(kind) => kind,
        }
    }
}

const NOTHING_TO_WORK_ON: &str = "what it works on would not be there";

/// What is known of a task when its reason is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Affected components.
    pub affected: usize,
    /// Components that were looked at.
    pub of: usize,
    /// Images that a task of the whole run works on.
    pub images: usize,
    /// Why the task's component is affected; empty for a task of the whole run.
    pub change: &'a str,
}

impl Kind {
    /// The table.
    #[must_use]
    pub const fn nature(self) -> Nature {
        match self {
            Self::Detect => Nature {
                word: "detect",
                scope: Scope::Run,
                order: Order::First,
                resource: Resource::Light,
                gates: false,
                publishes: Publishes::Nothing,
                images: Images::Unused,
                cached: Cached::Never,
                parameter: None,
                once: true,
                after: &[],
                if_not_awaited: NOTHING_TO_WORK_ON,
            },
            Self::Test => Nature {
                word: "test",
                scope: Scope::Component,
                order: Order::AsNeeded,
                resource: Resource::Workspace,
                gates: true,
                publishes: Publishes::Nothing,
                images: Images::Unused,
                cached: Cached::BySources,
                parameter: None,
                once: false,
                after: &[],
                if_not_awaited: "what failed its tests would be published",
            },
            Self::Build => Nature {
                word: "build",
                scope: Scope::Image,
                order: Order::AsNeeded,
                resource: Resource::Workspace,
                gates: false,
                publishes: Publishes::Nothing,
                images: Images::Made,
                cached: Cached::InStore,
                parameter: None,
                once: true,
                after: &[],
                if_not_awaited: NOTHING_TO_WORK_ON,
            },
            Self::ImageScan => Nature {
                word: "image-scan",
                scope: Scope::Image,
                order: Order::AsNeeded,
                resource: Resource::Cpu,
                gates: true,
                publishes: Publishes::Nothing,
                images: Images::Needed,
                cached: Cached::ByTask,
                parameter: None,
                once: true,
                after: &[After::Always(Self::Build)],
                if_not_awaited: "what was not scanned would be published",
            },
            Self::Push => Nature {
                word: "push",
                scope: Scope::Run,
                order: Order::Last,
                resource: Resource::Network,
                gates: true,
                publishes: Publishes::Images,
                images: Images::Needed,
                cached: Cached::Never,
                parameter: None,
                once: true,
                after: &[
                    After::Always(Self::Build),
                    After::IfThere(Self::Test),
                    After::IfThere(Self::ImageScan),
                ],
                if_not_awaited: NOTHING_TO_WORK_ON,
            },
            Self::Gitops => Nature {
                word: "gitops",
                scope: Scope::Run,
                order: Order::Last,
                resource: Resource::Network,
                gates: true,
                publishes: Publishes::Deployment,
                images: Images::Needed,
                cached: Cached::Never,
                parameter: Some(Parameter::Environment),
                once: true,
                after: &[After::Always(Self::Push)],
                if_not_awaited: NOTHING_TO_WORK_ON,
            },
            Self::Run => Nature {
                word: "run",
                scope: Scope::Component,
                order: Order::AsNeeded,
                resource: Resource::Workspace,
                gates: true,
                publishes: Publishes::Nothing,
                images: Images::Unused,
                cached: Cached::Never,
                parameter: Some(Parameter::Command),
                once: false,
                after: &[],
                if_not_awaited: NOTHING_TO_WORK_ON,
            },
        }
    }

    /// The kind with its parameter; `None` where the parameter is not given.
    #[must_use]
    pub fn with(
        self,
        environment: Option<EnvironmentName>,
        command: Option<String>,
    ) -> Option<StageKind> {
        Some(match self {
            Self::Detect => StageKind::Detect,
            Self::Test => StageKind::Test,
            Self::Build => StageKind::Build,
            Self::ImageScan => StageKind::ImageScan,
            Self::Push => StageKind::Push,
            Self::Gitops => StageKind::Gitops {
                environment: environment?,
            },
            Self::Run => StageKind::Run { command: command? },
        })
    }
}

impl StageKind {
    /// The kind without its parameter.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Detect => Kind::Detect,
            Self::Test => Kind::Test,
            Self::Build => Kind::Build,
            Self::ImageScan => Kind::ImageScan,
            Self::Push => Kind::Push,
            Self::Gitops { environment: _ } => Kind::Gitops,
            Self::Run { command: _ } => Kind::Run,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn nature(&self) -> Nature {
        self.kind().nature()
    }

    /// The environment that it is for; `None` where it is for all of them.
    #[must_use]
    pub const fn environment(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Gitops { environment } => Some(environment),
            Self::Detect
            | Self::Test
            | Self::Build
            | Self::ImageScan
            | Self::Push
            | Self::Run { command: _ } => None,
        }
    }

    /// The command that it runs, where the stage names one.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        match self {
            Self::Run { command } => Some(command),
            Self::Detect
            | Self::Test
            | Self::Build
            | Self::ImageScan
            | Self::Push
            | Self::Gitops { environment: _ } => None,
        }
    }

    /// Why a component has nothing for it to do; `None` where it has.
    #[must_use]
    pub fn idle(&self, component: &Component) -> Option<String> {
        match self {
            Self::Test if component.test.is_none() => {
                Some(format!("{} declares no test", component.name))
            }
            Self::Test
            | Self::Detect
            | Self::Build
            | Self::ImageScan
            | Self::Push
            | Self::Gitops { environment: _ }
            | Self::Run { command: _ } => None,
        }
    }

    /// Why a task of it runs, in a few words for people.
    #[must_use]
    pub fn why(&self, subject: &Subject<'_>) -> String {
        let images = || counted(subject.images, "image");
        match self {
            Self::Detect => {
                let of = counted(subject.of, "component");
                format!("{} of {of} affected", subject.affected)
            }
            Self::Test | Self::Build => subject.change.to_owned(),
            Self::ImageScan => "nothing is published unscanned".to_owned(),
            Self::Push => format!("publishes {}", images()),
            Self::Gitops { environment } => format!("{environment} is to run {}", images()),
            Self::Run { command } => format!("`{command}`"),
        }
    }
}

impl Nature {
    /// Whether it is one task for the whole run, after every component's tasks.
    #[must_use]
    pub fn is_barrier(&self) -> bool {
        self.order == Order::Last
    }

    /// Whether it makes images.
    #[must_use]
    pub fn makes_images(&self) -> bool {
        self.images == Images::Made
    }

    /// Whether it looks into images before they are published.
    #[must_use]
    pub fn judges_images(&self) -> bool {
        self.scope == Scope::Image && self.images == Images::Needed && self.gates
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 7] = [
        Kind::Detect,
        Kind::Test,
        Kind::Build,
        Kind::ImageScan,
        Kind::Push,
        Kind::Gitops,
        Kind::Run,
    ];

    #[test]
    fn the_words_of_the_table_are_those_of_the_file() {
        for kind in ALL {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.nature().word);
        }
    }

    #[test]
    fn the_rows_of_the_table_fit_together() {
        for kind in ALL {
            let nature = kind.nature();
            if nature.publishes != Publishes::Nothing {
                assert_eq!((nature.scope, nature.order), (Scope::Run, Order::Last));
                assert_eq!(nature.images, Images::Needed);
                assert!(nature.gates, "{}", nature.word);
            }
            if nature.is_barrier() || nature.order == Order::First {
                assert_eq!(nature.scope, Scope::Run);
            }
            if nature.cached == Cached::BySources {
                assert_eq!(nature.scope, Scope::Component);
            }
            assert_eq!(
                nature.cached == Cached::InStore,
                nature.makes_images(),
                "{}",
                nature.word
            );
        }
    }

    #[test]
    fn a_kind_is_whole_with_its_parameter_only() {
        for kind in ALL {
            assert_eq!(
                kind.with(None, None).is_none(),
                kind.nature().parameter.is_some()
            );
            let environment = EnvironmentName::new("staging").unwrap();
            let whole = kind.with(Some(environment), Some("true".to_owned()));
            assert_eq!(whole.unwrap().kind(), kind);
        }
    }
}
