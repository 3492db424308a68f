//! `pipeline.yaml` as it is written: what serde reads and the JSON Schema is generated from. Defaults and references are
//! the business of `check`; the doc comments here are the descriptions in the schema.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::types;
use crate::finding::Severity;
use crate::stage_kind::Kind;

/// How time limits look.
const LIMIT: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// Texts by name.
pub(super) type Texts = IndexMap<String, String>;

/// A text, or a list of texts.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
pub(super) struct OneOrMore(pub(super) Vec<String>);

/// How it is written.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Written {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Written {
    fn from(OneOrMore(mut texts): OneOrMore) -> Self {
        match (texts.pop(), texts.is_empty()) {
            (Some(only), true) => Self::One(only),
            (last, _) => {
                texts.extend(last);
                Self::More(texts)
            }
        }
    }
}

impl From<Written> for OneOrMore {
    fn from(written: Written) -> Self {
        match written {
            Written::One(text) => Self(vec![text]),
            Written::More(texts) => Self(texts),
        }
    }
}

impl JsonSchema for OneOrMore {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
    }
}

/// One pipeline, from commit to cluster.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pipeline.yaml")]
pub(super) struct File {
    /// Version of this language: 1.
    #[schemars(required)]
    pub version: Option<u64>,
    /// The project's name, for people and image labels.
    #[schemars(required)]
    pub project: Option<String>,
    /// Where images run, by name.
    #[schemars(required)]
    pub environments: Option<IndexMap<String, Environment>>,
    /// Where images and commits go, by name. `local` is always there, and the default.
    pub profiles: Option<IndexMap<String, Profile>>,
    /// What is built and deployed, by name.
    #[schemars(required)]
    pub components: Option<IndexMap<String, Component>>,
    /// Gates and exceptions.
    pub scans: Option<Scans>,
    /// What `pipeline NAME` runs, by name. A repository that only deploys has none.
    pub pipelines: Option<IndexMap<String, Pipeline>>,
}

/// Where images run; its name is `{environment}` in `manifests`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Environment {
    /// What people open in a browser.
    pub url: Option<String>,
    /// URLs that only this environment's images may contain.
    pub api_urls: Option<Vec<String>>,
    /// Who writes it.
    #[schemars(extend("default" = "automatic"))]
    pub delivery: Option<Delivery>,
    /// The environment whose images it takes (with `delivery: manual`).
    pub promotes: Option<String>,
    /// The word to be typed before it is written (with `delivery: manual`).
    #[schemars(extend("default" = "DEPLOY"))]
    pub confirm: Option<String>,
    /// Where its manifests stand, in place of what the profile's GitOps repository says: `k8s/{environment}`.
    pub manifests: Option<OneOrMore>,
}

/// Who writes an environment.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Delivery {
    /// A green pipeline.
    Automatic,
    /// Only `deploy` and `rollback`.
    Manual,
}

/// Where images and commits go.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// Where images go: `layout`, `url` or `ecr`.
    pub registry: Option<Registry>,
    /// Where deployment commits go: `path` or `url`.
    pub gitops: Option<Gitops>,
    /// Where base images are asked for first, by the registry that they belong to: `docker.io: mirror.example.com/hub`. An engine
    /// that builds is told their digests, and pulls them by the mirrors of its own configuration.
    pub mirrors: Option<Texts>,
}

/// A registry: a `layout` on this machine, a `url`, or `ecr`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    /// An OCI layout directory, below the repository's root.
    pub layout: Option<String>,
    /// AWS ECR.
    pub ecr: Option<Ecr>,
    /// Host, port if any, and a path before every repository: `registry.example.com:5000/team`.
    pub url: Option<String>,
    /// Plain HTTP although the host is not this machine (with `url`).
    #[schemars(extend("default" = false))]
    pub insecure: Option<bool>,
    /// A PEM file with further root certificates (with `url`).
    pub ca: Option<String>,
    /// The user; without it docker's own logins are asked (with `url`).
    pub username: Option<String>,
    /// The password, as `${secret.NAME}` (with `url`).
    pub password: Option<String>,
}

/// AWS ECR.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ecr {
    /// The AWS account: 12 digits, in quotes.
    #[schemars(required, regex(pattern = "^[0-9]{12}$"))]
    pub account: Option<String>,
    /// The AWS region.
    #[schemars(required)]
    pub region: Option<String>,
    /// Creates repositories that are missing, with immutable tags and scan on push.
    #[schemars(extend("default" = false))]
    pub create_repositories: Option<bool>,
    /// The role to assume by web identity (GitHub OIDC).
    pub role: Option<String>,
    /// Base URL of the ECR API instead of AWS's.
    pub endpoint: Option<String>,
    /// Base URL of the registry's data plane; image names keep the account's host.
    pub registry_endpoint: Option<String>,
    /// A PEM file with further root certificates.
    pub ca: Option<String>,
}

/// A GitOps repository: a `path` on this machine or a `url`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gitops {
    /// A bare repository, below the repository's root.
    pub path: Option<String>,
    /// The tree that a missing repository is created from (with `path`).
    pub seed: Option<String>,
    /// `https://…`, `ssh://…`, `git@HOST:PATH` or `file://…`.
    pub url: Option<String>,
    /// The branch that ArgoCD watches.
    #[schemars(extend("default" = "main"))]
    pub branch: Option<String>,
    /// A token for HTTPS, as `${secret.NAME}` (with `url`).
    pub token: Option<String>,
    /// A private key for SSH, as `${secret.NAME}` (with `url`); default: the keys of the SSH agent and of `~/.ssh`.
    pub key: Option<String>,
    /// Host keys for SSH, as lines of a `known_hosts` file (with `url`); default: those of `~/.ssh/known_hosts`.
    pub known_hosts: Option<String>,
    /// Where manifests stand: folders or files, in which `{environment}` and `{component}` are filled in.
    #[schemars(extend("default" = "{environment}/{component}"))]
    pub manifests: Option<OneOrMore>,
}

/// A thing that we build and deploy.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    /// Its sources, from the repository's root. Without it, it can be deployed but not built.
    pub path: Option<String>,
    /// Other paths, from the repository's root, whose change affects it.
    pub uses: Option<Vec<String>>,
    /// Repository in the registry; default: its name.
    pub repository: Option<String>,
    /// Its repository in the registry for single environments, by their names, where that is another one.
    pub repositories: Option<Texts>,
    /// What `{component}` is in `manifests` (`.` is nothing); default: its name.
    pub folder: Option<String>,
    /// Where its manifests stand in the GitOps repository, in place of what the profile and the environment say.
    pub manifests: Option<OneOrMore>,
    /// Name of Deployment, container, Service and Application; default: its name, underscores as hyphens.
    pub kubernetes: Option<String>,
    /// Name of its workload in the manifests, where that is not `kubernetes` and several could be meant.
    pub workload: Option<String>,
    /// Name of its container in the manifests; default: `kubernetes`, or the one container that runs its image.
    pub container: Option<String>,
    /// Which containers get its image: `named` (its container, and init containers beside it that run the same image), `all`
    /// that run an image of its repository, or a list of names.
    #[schemars(extend("default" = "named"))]
    pub containers: Option<OneOrMore>,
    /// Where its image stands in Helm values, as keys with dots: `image`, `image.tag`, `web.image`.
    pub value: Option<String>,
    /// What its image is named by in the manifests; default: by what stands there.
    pub pin: Option<Pin>,
    /// Whether an entry of `images` is added to its kustomization where none sets its image.
    #[schemars(extend("default" = "existing"))]
    pub kustomize_images: Option<KustomizeImages>,
    /// Paths, from its own, that survive in the workspace between runs.
    pub caches: Option<Vec<String>>,
    /// Those of its `caches` that are part of its build context; its image is then never taken from an earlier build.
    pub include_caches: Option<Vec<String>>,
    /// Programs whose `--version` decides whether a result is still good; default: those that its commands start with.
    pub tools: Option<Vec<String>>,
    /// Variables that its commands see, beside PATH, HOME, locale and CA variables.
    pub environment: Option<Texts>,
    /// Runs once for each run, before `test` and `prepare`.
    pub setup: Option<String>,
    /// The unit tests.
    pub test: Option<String>,
    /// Globs, from its path, of JUnit files that `test` writes.
    pub junit: Option<Vec<String>>,
    /// Limit of each of its tasks: `90s`, `30m`, `1h30m`.
    #[schemars(extend("default" = "30m", "pattern" = LIMIT))]
    pub timeout: Option<String>,
    /// How requests reach it.
    pub route: Option<Route>,
    /// How its images are made.
    pub image: Option<Image>,
}

/// What an image is named by in the manifests.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pin {
    /// Its tag.
    Tag,
    /// Its digest.
    Digest,
    /// Its tag and its digest.
    Both,
}

/// What is written into a kustomization.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum KustomizeImages {
    /// Entries of `images` that are there already.
    Existing,
    /// A new entry where there is none.
    Create,
}

/// How requests reach a component.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// Path prefix at the gateway.
    #[schemars(required)]
    pub prefix: Option<String>,
    /// What the prefix is replaced by.
    pub rewrite: Option<String>,
    /// Port of its Service.
    #[schemars(required, range(min = 1))]
    pub port: Option<u16>,
}

/// How a component's images are made.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    /// Which builder makes it.
    #[schemars(extend("default" = "auto"))]
    pub engine: Option<Engine>,
    /// The Dockerfile, from the component's path.
    #[schemars(extend("default" = "Dockerfile"))]
    pub dockerfile: Option<String>,
    /// The build context, from the component's path.
    #[schemars(extend("default" = "."))]
    pub context: Option<String>,
    /// The Dockerfile's stage to build; default: the last one.
    pub target: Option<String>,
    /// `os/architecture[/variant]`.
    #[schemars(extend("default" = "linux/amd64"))]
    pub platform: Option<String>,
    /// Runs on the host before the build, once for each variant, its args in the environment.
    pub prepare: Option<String>,
    /// Build args of all variants.
    pub args: Option<Texts>,
    /// Secrets for `RUN --mount=type=secret`, by ID, as `${secret.NAME}` (docker engine).
    pub secrets: Option<Texts>,
    /// Network mode of the build's containers (docker engine).
    pub network: Option<String>,
    /// `HOST:IP` entries (docker engine).
    pub extra_hosts: Option<Vec<String>>,
    /// Images whose inline cache may be used (docker engine).
    pub cache_from: Option<Vec<String>>,
    /// Whether base images are pinned in `pipeline.lock`.
    #[schemars(extend("default" = false))]
    pub lock: Option<bool>,
    /// One image for each environment, from one commit; without it one image serves all.
    pub variants: Option<IndexMap<String, Variant>>,
}

/// Which builder makes an image.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// By the Dockerfile alone: embedded unless an instruction must be executed.
    Auto,
    /// In this process; no `RUN`.
    Embedded,
    /// A Docker engine.
    Docker,
}

/// One image of a component, for one environment.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    /// What its tags start with.
    #[schemars(extend("default" = ""))]
    pub tag_prefix: Option<String>,
    /// Its own build args, over those of all.
    pub args: Option<Texts>,
}

/// Gates and exceptions.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scans {
    /// The gate of everything that `image-scan` finds.
    pub image: Option<Policy>,
    /// The gate of environment leaks; what it leaves out is as in `image`.
    pub leaks: Option<Policy>,
    /// Findings that do not count.
    pub ignore: Option<Vec<Ignore>>,
}

/// What becomes of findings of one kind.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    /// Findings of this severity or a higher one fail the run; an environment leak is `critical`.
    #[schemars(extend("default" = "high"))]
    pub fail_on: Option<Level>,
    /// A file in the repository that lists findings which do not count: those that were there when somebody began to look.
    pub baseline: Option<String>,
    /// What it means where nothing can be told (data is missing), by profile: `warn` with `local`, `fail` with all others.
    pub not_assessed: Option<IndexMap<String, NotAssessed>>,
}

/// What it means where nothing can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum NotAssessed {
    /// A note says so.
    Warn,
    /// The run fails.
    Fail,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Advice.
    Low,
    /// Should be mended.
    Medium,
    /// Must be mended soon.
    High,
    /// Must not ship.
    Critical,
}

/// One exception: it has a reason and an end.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ignore {
    /// The rule's ID: `environment-leak`.
    #[schemars(required)]
    pub rule: Option<String>,
    /// The URL that may be there, at or below one of an environment's `api_urls`; with `*` at its end also what follows.
    #[serde(rename = "match")]
    pub matched: Option<String>,
    /// Only findings in files of this glob.
    pub file: Option<String>,
    /// Only findings in images of this component.
    pub component: Option<String>,
    /// Only findings in images for this environment.
    pub variant: Option<String>,
    /// Why.
    #[schemars(required)]
    pub reason: Option<String>,
    /// `YYYY-MM-DD`, the last day on which it holds.
    #[schemars(required, regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: Option<String>,
}

/// What `pipeline NAME` runs.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pipeline {
    /// Its components.
    #[schemars(required)]
    pub components: Option<Vec<String>>,
    /// The branch whose pushes are delivered.
    #[schemars(extend("default" = "main"))]
    pub branch: Option<String>,
    /// Its stages, by name.
    #[schemars(required)]
    pub stages: Option<IndexMap<String, Stage>>,
}

/// One stage of a pipeline.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    /// What it does.
    #[schemars(required)]
    pub kind: Option<Kind>,
    /// Stages that come first.
    pub needs: Option<Vec<String>>,
    /// The environment to write (with `kind: gitops`).
    pub environment: Option<String>,
    /// What runs, once for each component, in its workspace (with `kind: run`).
    pub command: Option<String>,
    /// Limit of its tasks, instead of the component's: `90s`, `30m`, `1h30m`.
    #[schemars(extend("pattern" = LIMIT))]
    pub timeout: Option<String>,
}

impl From<NotAssessed> for types::NotAssessed {
    fn from(raw: NotAssessed) -> Self {
        match raw {
            NotAssessed::Warn => Self::Warn,
            NotAssessed::Fail => Self::Fail,
        }
    }
}

impl From<types::NotAssessed> for NotAssessed {
    fn from(checked: types::NotAssessed) -> Self {
        match checked {
            types::NotAssessed::Warn => Self::Warn,
            types::NotAssessed::Fail => Self::Fail,
        }
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Low => Self::Low,
            Severity::Medium => Self::Medium,
            Severity::High => Self::High,
            Severity::Critical => Self::Critical,
        }
    }
}
