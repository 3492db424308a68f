//! From a command line to a plan: everything that is found out before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use shipline_engine::backend::{
    DesiredState, GitopsRepo, ImageStore, Registry, SourceRepo, Target,
};
use shipline_engine::cache::Cache;
use shipline_engine::error::{ErrorClass, chain};
use shipline_engine::tools::Tools;
use shipline_git::{Asked, BaseRequest, Deployed, DeployedTag, PullRequest, change_set};
use shipline_gitops::Location;
use shipline_model::config::{
    Component, Delivery, Environment, GitopsSpec, MissingAt, Pipeline, Profile, RegistrySpec,
    Variants, did_you_mean,
};
use shipline_model::name::{ComponentName, EnvironmentName, ProfileName};
use shipline_model::plan::{
    self, Base, BaseRule, Caching, ChangeSet, Plan, PlanError, PlanRequest, Publishing,
};
use shipline_model::stage_kind::{Nature, Publishes};
use shipline_model::tag::TagInstant;
use shipline_oci::pull::Pins;

use crate::args::Selection;
use crate::ci::{PullRequest as Merging, Trigger};
use crate::delivery;
use crate::error::{CommandError, ErrorKind};
use crate::fingerprint::Fingerprints;
use crate::locking::LockedBases;
use crate::looking;
use crate::session::Session;
use crate::settings::Settings;
use crate::trust::Trust;
use crate::waiting::{self, Waiting};

/// The profile in which nothing leaves this machine.
const LOCAL: &str = "local";

/// What a command line selects, checked against the configuration.
pub(crate) struct Selected<'s> {
    /// The pipeline.
    pub(crate) pipeline: &'s Pipeline,
    /// The profile.
    pub(crate) profile: &'s Profile,
    /// The components that are looked at, in the pipeline's order.
    pub(crate) components: Vec<&'s Component>,
}

/// Looks the selection's names up.
pub(crate) fn select<'s>(
    session: &'s Session,
    selection: &Selection,
) -> Result<Selected<'s>, CommandError> {
    let config = &session.config;
    if config.pipelines.is_empty() {
        return Err(CommandError::usage(format!(
            "there is no pipeline `{}`: pipeline.yaml declares none",
            selection.pipeline
        ))
        .hint("add it: `pipelines: { NAME: { components: […], stages: { … } } }`; `gitops set` needs none"));
    }
    let pipeline = config.pipelines.get(&selection.pipeline).ok_or_else(|| {
        unknown(
            "there is no pipeline",
            selection.pipeline.as_str(),
            config.pipelines.keys().map(AsRef::as_ref),
        )
    })?;
    let profile = profile(session, &selection.profile)?;
    for stage in &selection.only {
        if !pipeline.stages.contains_key(stage) {
            return Err(unknown(
                &format!("pipeline `{}` has no stage", selection.pipeline),
                stage.as_str(),
                pipeline.stages.keys().map(AsRef::as_ref),
            ));
        }
    }
    let wanted: BTreeSet<&ComponentName> = selection.components.iter().collect();
    for name in &wanted {
        if !pipeline.components.contains(name) {
            return Err(unknown(
                &format!("pipeline `{}` has no component", selection.pipeline),
                name.as_str(),
                pipeline.components.iter().map(AsRef::as_ref),
            ));
        }
    }
    let components = pipeline
        .components
        .iter()
        .filter(|name| wanted.is_empty() || wanted.contains(name));
    let components = components
        .filter_map(|name| config.components.get(name))
        .collect();
    Ok(Selected {
        pipeline,
        profile,
        components,
    })
}

/// Looks a profile up.
pub(crate) fn profile<'s>(
    session: &'s Session,
    name: &ProfileName,
) -> Result<&'s Profile, CommandError> {
    let profiles = &session.config.profiles;
    profiles.get(name).ok_or_else(|| {
        unknown(
            "there is no profile",
            name.as_str(),
            profiles.keys().map(AsRef::as_ref),
        )
    })
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> CommandError {
    CommandError::usage(format!("{what} `{name}`")).hint(did_you_mean(name, known))
}

/// The environment that green pipelines write, if there is one.
pub(crate) fn automatic(session: &Session) -> Option<&Environment> {
    session
        .config
        .environments
        .values()
        .find(|environment| match environment.delivery {
            Delivery::Automatic => true,
            Delivery::Manual { .. } => false,
        })
}

/// What a component's tags start with in an environment.
pub(crate) fn tag_prefix(component: &Component, environment: &EnvironmentName) -> String {
    match component.image.as_ref().map(|image| &image.variants) {
        Some(Variants::PerEnvironment(variants)) => variants
            .get(environment)
            .map(|variant| variant.tag_prefix.clone())
            .unwrap_or_default(),
        Some(Variants::One) | None => String::new(),
    }
}

/// Whether a pipeline asks the GitOps repository what environments run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// It writes it.
    AsItMust,
    /// It publishes images and leaves their delivery to somebody else. What is deployed is the best base then too, but the
    /// pipeline can do without.
    IfItCan,
    /// Nothing that it does has to do with it.
    NotAtAll,
}

impl Asking {
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        if pipeline.has(|is| is.publishes == Publishes::Deployment) {
            Self::AsItMust
        } else if pipeline.has(|is| is.publishes == Publishes::Images) {
            Self::IfItCan
        } else {
            Self::NotAtAll
        }
    }
}

/// Whether every component counts as changed. What is to be made anew whatever is known of it is made anew whether it changed or
/// not: `--no-cache` alone would do nothing wherever nothing changed.
fn everything(selection: &Selection) -> bool {
    selection.all || (selection.no_cache && selection.base.is_none())
}

/// Finds what changed, measured from what the automatic environment runs. Gives notes for people beside it.
pub(crate) fn changes(
    session: &Session,
    selected: &Selected<'_>,
    selection: &Selection,
    settings: &Settings,
    source: &dyn SourceRepo,
    gitops: &dyn GitopsRepo,
    waiting: &Waiting,
) -> Result<(ChangeSet, Vec<String>), CommandError> {
    let mut notes = Vec::new();
    let asked = match (&selection.base, everything(selection)) {
        (Some(base), _) => Asked::Base(base.clone()),
        (None, true) => Asked::All,
        (None, false) => Asked::Nothing,
    };
    // A pull request is measured from its base, whatever is deployed: the GitOps repository that it names is not asked.
    let deployed = if asked == Asked::Nothing && !session.trust.is_pull_request() {
        deployed(session, selected, gitops, &mut notes)?
    } else {
        BTreeMap::new()
    };
    let (pull_request, push_before) = match &settings.trigger {
        Trigger::Local | Trigger::Manual | Trigger::Other { event: _ } | Trigger::Unknown => {
            (None, None)
        }
        Trigger::Push { branch: _, before } => (None, before.clone()),
        Trigger::PullRequest(pull_request) => (
            Some(PullRequest {
                into: pull_request.names(&selected.pipeline.branch),
                tips: pull_request.commits.clone(),
                head: pull_request.head.clone(),
            }),
            None,
        ),
    };
    let request = BaseRequest {
        components: selected
            .components
            .iter()
            .map(|component| component.name.clone())
            .collect(),
        asked,
        pull_request,
        deployed,
        push_before,
        default_branch: Some(selected.pipeline.branch.clone()),
    };
    let changes = waiting.during("looking at the work tree and at what changed", || {
        change_set(source, &request)
    });
    let changes = changes.map_err(|error| {
        let asked = selection.base.is_some() && error.class == ErrorClass::NotFound;
        let mut error = CommandError::from(error);
        if asked {
            error.kind = ErrorKind::Usage;
        }
        error
    })?;
    if let Trigger::PullRequest(pull_request) = &settings.trigger {
        notes.extend(nothing_compared(pull_request, &changes));
    }
    Ok((changes, notes))
}

/// A warning where the head of a pull request is its base: then "nothing changed" says nothing.
fn nothing_compared(pull_request: &Merging, changes: &ChangeSet) -> Option<String> {
    let head = &changes.head.commit;
    let same = changes.components.values().any(|change| {
        matches!(&change.base, Base::Commit { id, rule: BaseRule::PullRequest } if id == head)
    });
    same.then(|| {
        let called = pull_request.called;
        format!(
            "warning: nothing was compared: the head {} is the base of this {called}; check out the {called} itself, or give `--base REV` or `--all`",
            head.short()
        )
    })
}

fn deployed(
    session: &Session,
    selected: &Selected<'_>,
    gitops: &dyn GitopsRepo,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<ComponentName, Deployed>, CommandError> {
    let Some(environment) = automatic(session) else {
        return Ok(BTreeMap::new());
    };
    let targets: Vec<Target> = selected
        .components
        .iter()
        .map(|component| {
            Target::of(
                &session.config,
                &selected.profile.name,
                &environment.name,
                component,
            )
        })
        .collect();
    let asking = Asking::of(selected.pipeline);
    if asking == Asking::NotAtAll || selected.profile.gitops.is_none() {
        return Ok(BTreeMap::new());
    }
    let state: DesiredState = match waiting::watch(gitops, || gitops.snapshot()?.read(&targets)) {
        Ok(state) => state,
        Err(error) if asking == Asking::IfItCan && error.class != ErrorClass::NotFound => {
            let why = format!(
                "what {} runs is not known: {}",
                environment.name,
                chain(&error)
            );
            let unknown = |component: &&Component| {
                (
                    component.name.clone(),
                    Deployed::Unknown { why: why.clone() },
                )
            };
            return Ok(selected.components.iter().map(unknown).collect());
        }
        Err(error) if error.class == ErrorClass::NotFound => {
            notes.push(format!(
                "{} does not exist yet: nothing is known to be deployed",
                gitops.name()
            ));
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut deployed = BTreeMap::new();
    for component in &selected.components {
        let found = match state.images.get(&component.name) {
            Some(Ok(image)) => match &image.tag {
                Some(tag) => Deployed::Tag(DeployedTag {
                    tag: tag.clone(),
                    prefix: tag_prefix(component, &environment.name),
                    environment: environment.name.clone(),
                }),
                None => Deployed::Unknown {
                    why: format!(
                        "{} runs `{}`, which has no tag",
                        environment.name, image.image
                    ),
                },
            },
            Some(Err(error)) => Deployed::Unknown {
                why: format!(
                    "what {} runs of it is not known: {}",
                    environment.name,
                    chain(error)
                ),
            },
            None => continue,
        };
        deployed.insert(component.name.clone(), found);
    }
    Ok(deployed)
}

/// What planning needs of the outside.
pub(crate) struct Facts<'f> {
    /// The sources.
    pub(crate) source: &'f dyn SourceRepo,
    /// What environments run.
    pub(crate) gitops: &'f dyn GitopsRepo,
    /// Images that are there.
    pub(crate) store: &'f dyn ImageStore,
    /// Results of earlier runs.
    pub(crate) cache: &'f Cache,
    /// What stands for secrets in keys.
    pub(crate) fingerprints: &'f Fingerprints,
    /// What pins base images.
    pub(crate) pins: &'f Pins,
    /// Where images are published.
    pub(crate) registry: &'f dyn Registry,
    /// Says what is waited for.
    pub(crate) waiting: &'f Waiting,
    /// When it is asked what the GitOps repository would refuse.
    pub(crate) judging: Judging,
}

/// When the GitOps repository is asked whether it can be written as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judging {
    /// Before a run, in any case.
    Always,
    /// For a look, where it is on this machine or was asked for something else anyway.
    IfItIsAtHand,
}

/// Finds everything out and makes the plan.
pub(crate) fn plan(
    session: &Session,
    selection: &Selection,
    selected: &Selected<'_>,
    settings: &Settings,
    facts: &Facts<'_>,
) -> Result<Plan, CommandError> {
    let missing = session.config.missing_variables(
        selected.pipeline,
        selected.profile,
        selected.components.iter().map(|component| &component.name),
        &settings.variables,
    );
    if !missing.is_empty() {
        return Err(missing_variables(&missing, &session.trust));
    }
    let (mut changes, mut notes) = changes(
        session,
        selected,
        selection,
        settings,
        facts.source,
        facts.gitops,
        facts.waiting,
    )?;
    let mut found = looking::misplaced(&selected.components, facts.source)?;
    if publishing(selected, selection, settings) == Publishing::Publish {
        found.extend(looking::unwritable(selected, session)?);
    }
    if !found.is_empty() {
        return Err(session.objection(found, settings));
    }
    refuse_dirty(selected, &changes)?;
    let builds = selected.pipeline.has(Nature::makes_images);
    let locking: &[&Component] = if builds { &selected.components } else { &[] };
    let locked = LockedBases::read(locking, facts.pins, facts.source, &settings.variables);
    locked.note_moves(&mut changes, facts.source)?;
    let reasons = plan::affected(&session.config, selected.pipeline, &changes);
    let affected: Vec<&Component> = selected
        .components
        .iter()
        .copied()
        .filter(|component| {
            reasons
                .get(&component.name)
                .is_some_and(|reasons| !reasons.is_empty())
        })
        .collect();
    notes.extend(looking::scripts(&affected, facts.source)?);
    let names: BTreeSet<&ComponentName> = affected.iter().map(|it| &it.name).collect();
    let bases = locked.digests(|name| names.contains(name))?;
    let mut trees = BTreeMap::new();
    let mut tools = BTreeMap::new();
    let environment = &settings.command_environment;
    let mut asking = Tools::new(&session.root, environment, facts.cache);
    for component in &affected {
        if component.path.is_some() {
            trees.insert(
                component.name.clone(),
                facts.source.key(&plan::sources(component))?,
            );
            tools.insert(component.name.clone(), asking.of(component, facts.source));
        }
    }
    notes.extend(asking.finish()?);
    let known = facts.cache.known(facts.store)?;
    let mut instant = TagInstant::from_unix(settings.now)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    if let Some(last) = known.last_instant() {
        instant = instant.after(last);
    }
    let request = PlanRequest {
        config: &session.config,
        pipeline: &selection.pipeline,
        profile: &selection.profile,
        changes: &changes,
        affected: &reasons,
        only: &selection.only,
        components: &selection.components,
        caching: if selection.no_cache {
            Caching::Ignore
        } else {
            Caching::Use
        },
        publishing: publishing(selected, selection, settings),
        trees: &trees,
        tools: &tools,
        bases: &bases,
        known: &known,
        instant: &instant,
        variables: &settings.variables,
        fingerprint: &|secret| facts.fingerprints.of(secret),
        notes: &notes,
    };
    let plan = plan::make(&request).map_err(|error| match error {
        PlanError::NotBuilt { .. } => CommandError::usage(error.to_string())
            .hint("add the pipeline's build stage to --only, or leave --only out"),
        PlanError::Unknown { .. } | PlanError::MissingVariables(_) | PlanError::NoTree(_) => {
            CommandError::usage(error.to_string())
        }
    })?;
    crate::recipes::check(&plan, &session.config, facts.source)?;
    let at_hand = !is_elsewhere(&selected.profile.gitops, settings)
        || (selection.base.is_none() && !everything(selection) && automatic(session).is_some());
    if facts.judging == Judging::Always || at_hand {
        waiting::watch(facts.gitops, || {
            delivery::judge(&plan, &session.config, facts.gitops, facts.registry)
        })?;
    }
    Ok(plan)
}

fn missing_variables(missing: &[MissingAt], trust: &Trust) -> CommandError {
    let names: Vec<String> = missing
        .iter()
        .map(|missing| missing.variable.written())
        .collect();
    let mut error = CommandError::usage(format!(
        "pipeline.yaml needs variables that are not set: {}",
        names.join(", ")
    ));
    for missing in missing {
        let routes: Vec<String> = missing.routes.iter().map(ToString::to_string).collect();
        error = error.hint(format!(
            "{} is used in {}",
            missing.variable.written(),
            routes.join(", ")
        ));
    }
    if trust.is_pull_request() {
        error = error.hint("what is withheld from a pull request counts as not set: give it a default, or merge its line of pipeline.yaml first");
    }
    error.hint("set them in the environment, or give a default: ${env.NAME:-default}")
}

/// Outside the local profile, what is published is a commit.
fn refuse_dirty(selected: &Selected<'_>, changes: &ChangeSet) -> Result<(), CommandError> {
    let dirty = &changes.head.dirty;
    if selected.profile.name.as_str() == LOCAL || dirty.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = dirty.iter().take(5).map(ToString::to_string).collect();
    Err(CommandError::usage(format!(
        "the work tree has changes that are in no commit: {}",
        shown.join(", ")
    ))
    .hint(format!(
        "commit them: profile `{}` publishes commits only",
        selected.profile.name
    ))
    .hint("where `git status` sees none of them, a `filter` of .gitattributes stands before them: git has looked by now, so run again"))
}

/// On a laptop a run always delivers; in CI for a push to the pipeline's branch and for a manual run. `--deliver` stands for a
/// person where a CI tells of none; never for a pull request, and never for another branch.
fn publishing(selected: &Selected<'_>, selection: &Selection, settings: &Settings) -> Publishing {
    let branch = &selected.pipeline.branch;
    let withhold = |reason: String| Publishing::Withhold { reason };
    match &settings.trigger {
        Trigger::PullRequest(pull_request) => {
            let called = pull_request.called;
            withhold(if selection.deliver {
                format!("a {called} delivers nothing, `--deliver` or not")
            } else {
                format!("a {called} delivers nothing")
            })
        }
        Trigger::Local | Trigger::Manual => Publishing::Publish,
        Trigger::Push {
            branch: pushed,
            before: _,
        } if pushed == branch => Publishing::Publish,
        Trigger::Other { event: _ } | Trigger::Unknown if selection.deliver => Publishing::Publish,
        Trigger::Push {
            branch: pushed,
            before: _,
        } => withhold(format!(
            "only pushes to {branch} are delivered, and this is {pushed}"
        )),
        Trigger::Other { event } => withhold(format!(
            "only pushes to {branch} and manual runs are delivered, and this is a {event}"
        )),
        Trigger::Unknown if leaves_this_machine(selected.profile, settings) => withhold(
            "this is a CI that does not say what started it: `--deliver` says that this may be delivered"
                .to_owned(),
        ),
        Trigger::Unknown => Publishing::Publish,
    }
}

/// Whether what the profile publishes can be seen by others.
fn leaves_this_machine(profile: &Profile, settings: &Settings) -> bool {
    let registry = match &profile.registry {
        RegistrySpec::Layout { path: _ } => false,
        RegistrySpec::Distribution(_) | RegistrySpec::Ecr(_) => true,
    };
    registry || is_elsewhere(&profile.gitops, settings)
}

/// Whether a GitOps repository is asked over the network.
fn is_elsewhere(gitops: &Option<GitopsSpec>, settings: &Settings) -> bool {
    match gitops {
        None
        | Some(GitopsSpec::Local {
            path: _,
            seed: _,
            branch: _,
        }) => false,
        Some(GitopsSpec::Remote {
            url,
            branch: _,
            token: _,
            key: _,
            known_hosts: _,
        }) => {
            let url = url.resolve(&settings.variables).ok();
            let place = url.and_then(|url| Location::parse(url.expose()).ok());
            !matches!(place, Some(Location::Local(_)))
        }
    }
}
