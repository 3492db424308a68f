//! Makes the plan: everything that can be decided before a run is decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::affected::{LOCK_FILE, SHARED, sources};
use super::key::{self, SourceInputs};
use super::tasks;
use super::types::{
    BuildKey, ChangeSet, Decision, ImageAction, ImageId, KeyInput, Known, KnownBuild, Plan,
    PlannedComponent, PlannedImage, Reason, SourceKey, Task,
};
use crate::config::{Component, Config, ImageSpec, Pipeline, Variants};
use crate::name::{ComponentName, Digest, EnvironmentName, PipelineName, ProfileName, StageName};
use crate::stage_kind::Nature;
use crate::tag::{ImageTag, TagBase, TagInstant};
use crate::value::{MissingVariable, Template, Value, Variables};

/// Whether results of earlier runs may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Yes.
    Use,
    /// No (`--no-cache`).
    Ignore,
}

/// Whether this run may publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publishing {
    /// Yes.
    Publish,
    /// No: the tasks that publish are in the plan as skipped.
    Withhold {
        /// Why, for people.
        reason: String,
    },
}

/// All that a plan is made from.
pub struct PlanRequest<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The pipeline.
    pub pipeline: &'a PipelineName,
    /// The profile.
    pub profile: &'a ProfileName,
    /// What changed.
    pub changes: &'a ChangeSet,
    /// What [`affected`](super::affected()) says of it.
    pub affected: &'a BTreeMap<ComponentName, Vec<Reason>>,
    /// Only these stages run; empty: all.
    pub only: &'a [StageName],
    /// Only these components are looked at; empty: all of the pipeline.
    pub components: &'a [ComponentName],
    /// Whether results of earlier runs may be taken.
    pub caching: Caching,
    /// Whether this run may publish.
    pub publishing: Publishing,
    /// Key of everything at `path` and `uses`, for each affected component that has a path.
    pub trees: &'a BTreeMap<ComponentName, String>,
    /// What runs each component's commands, by name: versions of programs, and the files that pick them.
    pub tools: &'a BTreeMap<ComponentName, BTreeMap<String, String>>,
    /// Locked digests of base images by component, in the Dockerfile's order.
    pub bases: &'a BTreeMap<ComponentName, Vec<(String, Digest)>>,
    /// What is known from earlier runs.
    pub known: &'a Known,
    /// The instant of this run.
    pub instant: &'a TagInstant,
    /// The caller's variables.
    pub variables: &'a Variables,
    /// A keyed fingerprint of a secret's text.
    pub fingerprint: &'a dyn Fn(&str) -> String,
    /// Things that were noticed while the facts were found.
    pub notes: &'a [String],
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name that the configuration does not know.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Variables that are not set and have no default.
    #[error("not set: {}", .0.iter().map(MissingVariable::written).collect::<Vec<_>>().join(", "))]
    MissingVariables(BTreeSet<MissingVariable>),
    /// A fact that was not given.
    #[error("the sources of `{0}` have no key")]
    NoTree(ComponentName),
    /// `--only` leaves out the build of an image that is not in the store.
    #[error("stage `{stage}` needs the image {image}, which is not in the store")]
    NotBuilt {
        /// The stage.
        stage: StageName,
        /// The image.
        image: ImageId,
    },
}

/// Makes the plan.
///
/// # Errors
/// [`PlanError`]; missing variables are all named at once.
pub fn make(request: &PlanRequest<'_>) -> Result<Plan, PlanError> {
    let pipeline = request
        .config
        .pipelines
        .get(request.pipeline)
        .ok_or_else(|| PlanError::Unknown {
            what: "pipeline",
            name: request.pipeline.to_string(),
        })?;
    if let Some(stage) = request
        .only
        .iter()
        .find(|stage| !pipeline.stages.contains_key(*stage))
    {
        return Err(PlanError::Unknown {
            what: "stage",
            name: stage.to_string(),
        });
    }
    if let Some(component) = request
        .components
        .iter()
        .find(|name| !pipeline.components.contains(name))
    {
        return Err(PlanError::Unknown {
            what: "component",
            name: component.to_string(),
        });
    }
    let mut missing = BTreeSet::new();
    let mut components = Vec::new();
    let wanted =
        |name: &ComponentName| request.components.is_empty() || request.components.contains(name);
    for name in pipeline.components.iter().filter(|name| wanted(name)) {
        let unknown = |what| PlanError::Unknown {
            what,
            name: name.to_string(),
        };
        let component = request.config.components.get(name);
        let component = component.ok_or_else(|| unknown("component"))?;
        // Never "nothing to do" by accident: what nobody looked at is no component without changes.
        let change = request.changes.components.get(name);
        let change = change.ok_or_else(|| unknown("change set of component"))?;
        let reasons = request.affected.get(name).cloned().unwrap_or_default();
        let planned = if reasons.is_empty() || component.path.is_none() {
            PlannedComponent {
                name: name.clone(),
                base: change.base.clone(),
                reasons,
                source_key: None,
                source_inputs: Vec::new(),
                bases: Vec::new(),
                images: Vec::new(),
            }
        } else {
            let builds = pipeline.has(Nature::makes_images);
            let mut resolver = Resolver {
                variables: request.variables,
                missing: &mut missing,
            };
            let (source_key, source_inputs) =
                source_key(request, pipeline, component, &mut resolver)?;
            let images = match (&component.image, builds) {
                (Some(image), true) => {
                    images(request, component, image, &source_key, &mut resolver)
                }
                (Some(_) | None, _) => Vec::new(),
            };
            PlannedComponent {
                name: name.clone(),
                base: change.base.clone(),
                reasons,
                source_key: Some(source_key),
                source_inputs,
                bases: request.bases.get(name).cloned().unwrap_or_default(),
                images,
            }
        };
        components.push(planned);
    }
    if !missing.is_empty() {
        return Err(PlanError::MissingVariables(missing));
    }
    let (tasks, gates) = tasks::tasks(request, pipeline, &components)?;
    let mut notes = notes(request, &tasks, &components);
    notes.extend(unnamed(request.only, &gates));
    Ok(Plan {
        pipeline: request.pipeline.clone(),
        profile: request.profile.clone(),
        head: request.changes.head.clone(),
        notes,
        components,
        tasks,
    })
}

/// Puts variables in and collects those that are missing.
struct Resolver<'a> {
    variables: &'a Variables,
    missing: &'a mut BTreeSet<MissingVariable>,
}

impl Resolver<'_> {
    fn value(&mut self, template: &Template) -> Value {
        template.resolve(self.variables).unwrap_or_else(|missing| {
            self.missing.extend(missing);
            Value::Public(String::new())
        })
    }

    fn values(&mut self, templates: &BTreeMap<String, Template>) -> BTreeMap<String, Value> {
        templates
            .iter()
            .map(|(name, template)| (name.clone(), self.value(template)))
            .collect()
    }
}

fn source_key(
    request: &PlanRequest<'_>,
    pipeline: &Pipeline,
    component: &Component,
    resolver: &mut Resolver<'_>,
) -> Result<(SourceKey, Vec<KeyInput>), PlanError> {
    let tree = request
        .trees
        .get(&component.name)
        .ok_or_else(|| PlanError::NoTree(component.name.clone()))?;
    let none = BTreeMap::new();
    let tools = request.tools.get(&component.name).unwrap_or(&none);
    let environment: Vec<(String, String)> = resolver
        .values(&component.environment)
        .iter()
        .map(|(name, value)| (name.clone(), key::shown(value, request.fingerprint)))
        .collect();
    let bases = request
        .bases
        .get(&component.name)
        .map_or(&[][..], Vec::as_slice);
    Ok(key::source_key(&SourceInputs {
        component,
        pipeline,
        tree,
        tools,
        bases,
        environment: &environment,
    }))
}

/// What is needed of one variant before its tag is known.
struct Draft {
    id: ImageId,
    prefix: String,
    args: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Value>,
    build_key: BuildKey,
    build_inputs: Vec<KeyInput>,
}

fn images(
    request: &PlanRequest<'_>,
    component: &Component,
    image: &ImageSpec,
    source_key: &SourceKey,
    resolver: &mut Resolver<'_>,
) -> Vec<PlannedImage> {
    let shared = resolver.values(&image.args);
    let secrets = resolver.values(&image.secrets);
    let draft = |variant: Option<&EnvironmentName>, prefix: &str, own: BTreeMap<String, Value>| {
        let mut args = shared.clone();
        args.extend(own);
        let (build_key, build_inputs) = key::build_key(
            source_key,
            &request.config.project,
            variant,
            args.iter(),
            secrets.iter(),
            request.fingerprint,
        );
        Draft {
            id: ImageId {
                component: component.name.clone(),
                variant: variant.cloned(),
            },
            prefix: prefix.to_owned(),
            args,
            secrets: secrets.clone(),
            build_key,
            build_inputs,
        }
    };
    let drafts: Vec<Draft> = match &image.variants {
        Variants::One => vec![draft(None, "", BTreeMap::new())],
        Variants::PerEnvironment(variants) => variants
            .iter()
            .map(|(environment, variant)| {
                let own = resolver.values(&variant.args);
                draft(Some(environment), &variant.tag_prefix, own)
            })
            .collect(),
    };
    let dirty = is_dirty(request, component);
    let continued = match component.include_caches.first() {
        Some(cache) => Err(format!(
            "its build context holds the cache {cache}, and no key stands for what is in it"
        )),
        None => continued(request, source_key, &drafts, dirty),
    };
    let head = &request.changes.head;
    let (base, commit, commit_time) = match &continued {
        Ok(build) => (build.base.clone(), build.commit.clone(), build.commit_time),
        Err(_) => {
            let base = TagBase::new(&head.commit, request.instant.clone(), dirty);
            (base, head.commit.clone(), head.time)
        }
    };
    let action = |variant: &Option<EnvironmentName>| match &continued {
        Ok(build) => match build.images.get(variant) {
            Some((_, digest)) => ImageAction::Take {
                digest: digest.clone(),
                from: build.run.clone(),
            },
            None => ImageAction::Build {
                why: format!(
                    "run {} built these sources, and of them not this image",
                    build.run
                ),
            },
        },
        Err(why) => ImageAction::Build { why: why.clone() },
    };
    drafts
        .into_iter()
        .map(|draft| PlannedImage {
            repository: match &draft.id.variant {
                Some(environment) => component.repository_in(environment).clone(),
                None => component.repository.clone(),
            },
            tag: ImageTag::new(&draft.prefix, base.clone()),
            commit: commit.clone(),
            commit_time,
            source_key: source_key.clone(),
            platform: image.platform.clone(),
            action: action(&draft.id.variant),
            id: draft.id,
            build_key: draft.build_key,
            build_inputs: draft.build_inputs,
            args: draft.args,
            secrets: draft.secrets,
        })
        .collect()
}

/// The earlier build that is taken or completed, or why none is. It is taken as a whole, with its tags and its commit, and
/// only where each of its images is one that would be built now: else siblings would be of two builds under one tag.
fn continued<'a>(
    request: &PlanRequest<'a>,
    source_key: &SourceKey,
    drafts: &[Draft],
    dirty: bool,
) -> Result<&'a KnownBuild, String> {
    match request.caching {
        Caching::Use => {}
        Caching::Ignore => return Err("--no-cache".to_owned()),
    }
    if let Some(run) = request.known.lost.get(source_key) {
        return Err(format!(
            "an image that run {run} built is not whole in the store any more"
        ));
    }
    let Some(build) = request.known.builds.get(source_key) else {
        return Err("no earlier run in this clone built these sources".to_owned());
    };
    if build.base.is_dirty() && !dirty {
        // Its tags say that what they name is in no commit. Now it is.
        return Err(format!(
            "run {} built these sources before they were committed",
            build.run
        ));
    }
    let other = drafts.iter().find(|draft| {
        let image = build.images.get(&draft.id.variant);
        image.is_some_and(|(key, _)| *key != draft.build_key)
    });
    match other {
        None => Ok(build),
        Some(draft) => Err(format!(
            "run {} built {} with other args or under another project name",
            build.run, draft.id
        )),
    }
}

/// Only what lies in a component's own sources makes its image dirty, and what decides about every image.
fn is_dirty(request: &PlanRequest<'_>, component: &Component) -> bool {
    let dirty = &request.changes.head.dirty;
    let locks = component.image.as_ref().is_some_and(|image| image.lock);
    SHARED.iter().any(|shared| dirty.at(shared).is_some())
        || (locks && dirty.at(LOCK_FILE).is_some())
        || sources(component)
            .iter()
            .any(|source| dirty.below(source).next().is_some())
}

/// Which stages run although `--only` does not name them, and why.
fn unnamed(only: &[StageName], gates: &[StageName]) -> Option<String> {
    let names = |stages: &[StageName]| {
        let names: Vec<&str> = stages.iter().map(AsRef::as_ref).collect();
        names.join(", ")
    };
    let verb = if gates.len() == 1 { "runs" } else { "run" };
    (!gates.is_empty()).then(|| {
        format!(
            "{} {verb} as well, since `--only {}` publishes: nothing is published that did not pass them",
            names(gates),
            names(only).replace(", ", ",")
        )
    })
}

/// A warning of images that go to several environments which have URLs of their own: the search for leaks has nobody whose URLs
/// are foreign there.
fn shared_images(
    config: &Config,
    tasks: &[Task],
    components: &[PlannedComponent],
) -> Option<String> {
    let environments = config.environments.values();
    let mut urls = environments.map(|environment| environment.api_urls.iter().collect());
    let first: BTreeSet<&String> = urls.next()?;
    let scans = tasks.iter().any(|task| {
        task.kind.nature().judges_images() && !matches!(task.decision, Decision::Skip { reason: _ })
    });
    if !scans || urls.all(|other| other == first) {
        return None;
    }
    let images = components.iter().flat_map(|planned| &planned.images);
    let shared: Vec<&str> = images
        .filter(|image| image.id.variant.is_none())
        .map(|image| image.id.component.as_str())
        .collect();
    if shared.is_empty() {
        return None;
    }
    let names: Vec<&str> = config.environments.keys().map(AsRef::as_ref).collect();
    Some(format!(
        "warning: {} made once for {}: the search for leaks cannot tell whose API URLs belong in {}; where URLs are built in, declare `image.variants`, one for each environment (nothing is to do where they are read at run time)",
        match shared.as_slice() {
            [one] => format!("the image of {one} is"),
            many => format!("the images of {} are", many.join(", ")),
        },
        names.join(" and "),
        if shared.len() == 1 { "it" } else { "them" },
    ))
}

fn notes(
    request: &PlanRequest<'_>,
    tasks: &[Task],
    components: &[PlannedComponent],
) -> Vec<String> {
    let mut notes = request.notes.to_vec();
    notes.extend(shared_images(request.config, tasks, components));
    let dirty = &request.changes.head.dirty;
    if let [first, rest @ ..] = &**dirty {
        let more = if rest.is_empty() {
            String::new()
        } else {
            format!(" and {} more", rest.len())
        };
        notes.push(format!(
            "the work tree has changes that are in no commit: {first}{more}"
        ));
    }
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for component in components {
        if let Some(Reason::NoBase { why }) = component.reasons.first() {
            unknown
                .entry(why)
                .or_default()
                .push(component.name.as_str());
        }
    }
    for (why, names) in unknown {
        let verb = if names.len() == 1 { "counts" } else { "count" };
        notes.push(format!("{} {verb} as changed: {why}", names.join(", ")));
    }
    notes
}
