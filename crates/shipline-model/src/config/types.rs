//! The checked model. An `Option` here means that the thing may be absent, never "use a default".

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;

use crate::finding::{FindingKind, Severity};
use crate::name::{
    ComponentName, EnvironmentName, PipelineName, ProfileName, RepoPath, RepositoryName, StageName,
};
use crate::stage_kind::{Nature, StageKind};
use crate::value::Template;

/// A checked `pipeline.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The project's name, for people and image labels.
    pub project: String,
    /// Where images run, in the file's order.
    pub environments: IndexMap<EnvironmentName, Environment>,
    /// Where images and commits go; `local` is always there.
    pub profiles: IndexMap<ProfileName, Profile>,
    /// What is built and deployed.
    pub components: IndexMap<ComponentName, Component>,
    /// Gates and suppressions.
    pub scans: Scans,
    /// What `pipeline NAME` runs; empty in a repository that only deploys.
    pub pipelines: IndexMap<PipelineName, Pipeline>,
}

/// Where images run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name: `{environment}` in `manifests`.
    pub name: EnvironmentName,
    /// What people open.
    pub url: Option<String>,
    /// URLs that only this environment's images may contain.
    pub api_urls: Vec<String>,
    /// Who writes it.
    pub delivery: Delivery,
    /// Where its manifests stand, in place of the profile's `manifests`; empty where it says nothing.
    pub manifests: Vec<String>,
}

/// Who writes an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A green pipeline.
    Automatic,
    /// Only `deploy` and `rollback`.
    Manual {
        /// The environment whose images it takes.
        promotes: EnvironmentName,
        /// The word to be typed.
        confirm: String,
    },
}

/// Where images and commits go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Where images go.
    pub registry: RegistrySpec,
    /// Where deployment commits go; absent where this profile makes none.
    pub gitops: Option<GitopsSpec>,
    /// Where manifests stand in that repository; empty for the default.
    pub manifests: Vec<String>,
    /// Where base images are asked for first, by the host of the registry that they belong to: host, port if any, and a path
    /// before every repository. One that resolves to nothing is none.
    pub mirrors: BTreeMap<String, Template>,
}

/// A registry of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrySpec {
    /// An OCI layout directory on this machine.
    Layout {
        /// The directory, below the repository's root.
        path: RepoPath,
    },
    /// A registry that speaks the OCI distribution specification.
    Distribution(DistributionSpec),
    /// AWS ECR.
    Ecr(EcrSpec),
}

/// `registry: { url: … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionSpec {
    /// Host, port if any, and a path that stands before every repository (`registry.example.com:5000/team`).
    pub url: Template,
    /// Plain HTTP although the host is not loopback.
    pub insecure: bool,
    /// A PEM file with further roots.
    pub ca: Option<Template>,
    /// Login; without it the docker config and its credential helpers are asked.
    pub login: Option<Login>,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: Template,
    /// The password.
    pub password: Template,
}

/// `registry: { ecr: … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrSpec {
    /// 12 digits.
    pub account: String,
    /// AWS region.
    pub region: String,
    /// Creates repositories that are missing (with immutable tags and scan on push).
    pub create_repositories: bool,
    /// The role to assume by web identity (GitHub OIDC), if any.
    pub role: Option<Template>,
    /// Base URL of the ECR API instead of AWS's.
    pub endpoint: Option<Template>,
    /// Base URL of the registry's data plane instead of the account's own host; image names keep the account's host.
    pub registry_endpoint: Option<Template>,
    /// A PEM file with further roots.
    pub ca: Option<Template>,
}

/// A GitOps repository of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitopsSpec {
    /// A bare repository on this machine.
    Local {
        /// The repository, below the root.
        path: RepoPath,
        /// The tree that a missing repository is created from.
        seed: Option<RepoPath>,
        /// The branch that ArgoCD watches.
        branch: String,
    },
    /// A repository behind a URL.
    Remote {
        /// `https://…`, `http://…`, `ssh://…`, `git@HOST:PATH`, `file://…` or a path.
        url: Template,
        /// The branch that ArgoCD watches.
        branch: String,
        /// A token for HTTPS.
        token: Option<Template>,
        /// A private key for SSH.
        key: Option<Template>,
        /// Lines of a `known_hosts` file for SSH.
        known_hosts: Option<Template>,
    },
}

/// A thing that we build and deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// Its sources; absent where this repository deploys but does not build it.
    pub path: Option<RepoPath>,
    /// Other paths whose change affects it.
    pub uses: Vec<RepoPath>,
    /// Repository in the registry.
    pub repository: RepositoryName,
    /// Its repository in the registry for single environments.
    pub repositories: BTreeMap<EnvironmentName, RepositoryName>,
    /// What `{component}` is in `manifests`.
    pub folder: String,
    /// Where its manifests stand, in place of what profile and environment say; empty where it says nothing.
    pub manifests: Vec<String>,
    /// Name of Deployment, container, Service and Application.
    pub kubernetes: String,
    /// Name of its workload in the manifests, where it is given.
    pub workload: Option<String>,
    /// Name of its container in the manifests, where it is given.
    pub container: Option<String>,
    /// Which containers get its image.
    pub containers: Containers,
    /// Where its image stands in Helm values: keys with dots.
    pub value: Option<String>,
    /// What its image is named by in the manifests; where it says nothing, by what stands there.
    pub pin: Option<Pin>,
    /// What is written into a kustomization.
    pub kustomize_images: KustomizeImages,
    /// Paths (in the repository) that survive in the workspace between runs.
    pub caches: Vec<RepoPath>,
    /// Those of `caches` that its image's build context holds. No key stands for their bytes.
    pub include_caches: Vec<RepoPath>,
    /// Programs whose version is part of the source key, found by `NAME --version`.
    pub tools: Vec<String>,
    /// Variables that its commands see beside the declared base.
    pub environment: BTreeMap<String, Template>,
    /// Runs once for each run, before `test` and `prepare`.
    pub setup: Option<String>,
    /// The unit tests.
    pub test: Option<String>,
    /// Globs (below `path`) of JUnit files that `test` writes.
    pub junit: Vec<String>,
    /// Limit of each of its tasks.
    pub timeout: Duration,
    /// How requests reach it.
    pub route: Option<Route>,
    /// How its images are made.
    pub image: Option<ImageSpec>,
}

/// Which containers get a component's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Containers {
    /// The one that is named as the component in Kubernetes, and init containers beside it that run the same image.
    Named,
    /// All that run an image of the component's repository.
    All,
    /// Those of these names that run an image of the component's repository.
    Listed(Vec<String>),
}

/// What an image is named by in the manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Its tag.
    Tag,
    /// Its digest.
    Digest,
    /// Its tag and its digest.
    Both,
}

/// What is written into a kustomization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KustomizeImages {
    /// Entries of `images` that are there already.
    Existing,
    /// A new entry where there is none.
    Create,
}

/// How requests reach a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Path prefix at the gateway.
    pub prefix: String,
    /// What the prefix is replaced by, if it is.
    pub rewrite: Option<String>,
    /// Port of the Service.
    pub port: u16,
}

/// How a component's images are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Which builder.
    pub engine: BuildEngine,
    /// The Dockerfile, in the repository.
    pub dockerfile: RepoPath,
    /// The build context, in the repository.
    pub context: RepoPath,
    /// The stage to build; the last one where absent.
    pub target: Option<String>,
    /// `os/architecture[/variant]`.
    pub platform: Platform,
    /// Runs on the host in the workspace, once for each variant, with its args in the environment.
    pub prepare: Option<String>,
    /// Build args of all variants.
    pub args: BTreeMap<String, Template>,
    /// `RUN --mount=type=secret` by ID (docker engine only).
    pub secrets: BTreeMap<String, Template>,
    /// Network mode of the build's containers (docker engine only).
    pub network: Option<String>,
    /// `HOST:IP` entries (docker engine only).
    pub extra_hosts: Vec<String>,
    /// Images whose inline cache may be used (docker engine only).
    pub cache_from: Vec<Template>,
    /// Whether base images are pinned in `pipeline.lock`.
    pub lock: bool,
    /// One image for all environments, or one for each.
    pub variants: Variants,
}

/// One image for all environments, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variants {
    /// The same image everywhere.
    One,
    /// Twins: one image for each environment, from one commit.
    PerEnvironment(IndexMap<EnvironmentName, Variant>),
}

/// One image of a component for one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What its tags start with (may be empty).
    pub tag_prefix: String,
    /// Its own build args, over those of all.
    pub args: BTreeMap<String, Template>,
}

/// Which builder makes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEngine {
    /// By the Dockerfile alone: embedded unless an instruction must be executed.
    Auto,
    /// In this process.
    Embedded,
    /// A Docker engine.
    Docker,
}

/// An image's platform (OCI image index, `platform`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v8` …
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Gates and suppressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scans {
    /// What becomes of what is found in images.
    pub image: Policy,
    /// What becomes of environment leaks.
    pub leaks: Policy,
    /// Findings that do not count, each with reason and end.
    pub ignore: Vec<Ignore>,
}

impl Scans {
    /// What becomes of findings of a kind. Kinds that no scan of this version finds outside of images have no key of their own.
    #[must_use]
    pub const fn policy(&self, kind: FindingKind) -> &Policy {
        match kind {
            FindingKind::Leak => &self.leaks,
            FindingKind::Secret
            | FindingKind::Sast
            | FindingKind::Iac
            | FindingKind::Vulnerability
            | FindingKind::Check => &self.image,
        }
    }
}

/// What becomes of findings of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Findings at or above this fail the run.
    pub fail_on: Severity,
    /// The file that lists findings which do not count.
    pub baseline: Option<RepoPath>,
    /// What it means where nothing can be told, for every profile, in the file's order.
    pub not_assessed: IndexMap<ProfileName, NotAssessed>,
}

impl Policy {
    /// What it means with this profile where nothing can be told.
    #[must_use]
    pub fn not_assessed(&self, profile: &ProfileName) -> NotAssessed {
        let what = self.not_assessed.get(profile);
        what.copied().unwrap_or(NotAssessed::Fail)
    }
}

/// What it means where nothing can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAssessed {
    /// A note says so.
    Warn,
    /// The run fails.
    Fail,
}

/// One exception from a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// The rule's ID.
    pub rule: String,
    /// Only findings whose matched text is this; with `*` at its end those that start with what stands before it. What names
    /// no environment's API URL covers none.
    pub matched: Option<String>,
    /// Only findings in files of this glob.
    pub file: Option<String>,
    /// Only findings in images of this component.
    pub component: Option<ComponentName>,
    /// Only findings in images for this environment.
    pub variant: Option<EnvironmentName>,
    /// Why.
    pub reason: String,
    /// `YYYY-MM-DD`, the last day on which it holds.
    pub until: String,
    /// 1-based line in `pipeline.yaml`, for reports.
    pub line: usize,
}

/// What `pipeline NAME` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// Its name.
    pub name: PipelineName,
    /// Its components, in the file's order.
    pub components: Vec<ComponentName>,
    /// The branch whose pushes are delivered.
    pub branch: String,
    /// Its stages, in the file's order.
    pub stages: IndexMap<StageName, Stage>,
}

impl Pipeline {
    /// Whether one of its stages is this.
    #[must_use]
    pub fn has(&self, is: impl Fn(&Nature) -> bool) -> bool {
        self.stages.values().any(|stage| is(&stage.kind.nature()))
    }
}

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// What it does.
    pub kind: StageKind,
    /// Stages that come first.
    pub needs: Vec<StageName>,
    /// Overrides the component's limit.
    pub timeout: Option<Duration>,
}
