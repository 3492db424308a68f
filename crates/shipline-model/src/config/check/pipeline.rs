//! `pipelines`: references, kinds, and an order in which nothing unsafe is published.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::super::problem::{Problems, key, value};
use super::super::raw;
use super::super::types::{Pipeline, Stage};
use super::declared;
use super::text::{branch, command, duration, key_name};
use crate::name::{ComponentName, EnvironmentName, PipelineName, StageName};
use crate::stage_kind::{After, Kind, Order, Parameter, Resource};
use crate::yaml::Route;

type Stages = IndexMap<String, raw::Stage>;

pub(super) fn all(
    file: &raw::File,
    problems: &mut Problems<'_>,
) -> IndexMap<PipelineName, Pipeline> {
    let route = Route::root().key("pipelines");
    let Some(raw) = &file.pipelines else {
        return IndexMap::new();
    };
    if raw.is_empty() {
        problems.push(
            key(&route, "holds no pipeline")
                .help("declare at least one: `frontend: { components: […], stages: { … } }`"),
        );
    }
    let mut pipelines = IndexMap::new();
    for (name, pipeline) in raw {
        let here = route.key(name);
        key_name(name, &here, PipelineName::new, problems);
        if let Some(pipeline) = one(name, pipeline, file, &here, problems) {
            pipelines.insert(pipeline.name.clone(), pipeline);
        }
    }
    pipelines
}

fn one(
    name: &str,
    raw: &raw::Pipeline,
    file: &raw::File,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Pipeline> {
    let members = components(raw, file, &here.key("components"), problems);
    let branch = match &raw.branch {
        None => Some("main".to_owned()),
        Some(text) => branch(text, &here.key("branch"), problems),
    };
    let route = here.key("stages");
    let written = raw.stages.as_ref()?;
    if written.is_empty() {
        problems.push(
            key(&route, "holds no stage").help("declare at least one: `test: { kind: test }`"),
        );
    }
    let mut stages = IndexMap::new();
    for (name, stage) in written {
        let here = route.key(name);
        key_name(name, &here, StageName::new, problems);
        if let Some(stage) = self::stage(name, stage, written, file, &here, problems) {
            stages.insert(stage.name.clone(), stage);
        }
    }
    once(written, &route, problems);
    if !problems.are_within(&route) && !cycles(written, &route, problems) {
        order(written, &route, problems);
    }
    sources(raw, written, file, here, problems);
    images(raw, written, file, here, problems);
    Some(Pipeline {
        name: PipelineName::new(name).ok()?,
        components: members,
        branch: branch?,
        stages,
    })
}

fn components(
    raw: &raw::Pipeline,
    file: &raw::File,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Vec<ComponentName> {
    let mut components: Vec<ComponentName> = Vec::new();
    if raw.components.as_ref().is_some_and(Vec::is_empty) {
        problems.push(
            key(route, "holds no component").help("name what the pipeline builds: `[frontend]`"),
        );
    }
    let known = || file.components.iter().flat_map(IndexMap::keys);
    let is_known = |name: &str| {
        let components = file.components.as_ref();
        components.is_some_and(|components| components.contains_key(name))
    };
    let mut seen = BTreeSet::new();
    for (index, name) in raw.components.iter().flatten().enumerate() {
        let here = route.index(index);
        // Only what is not there is looked for among all.
        if !is_known(name) {
            declared(name, known(), "component", &here, problems);
        }
        if let Ok(name) = ComponentName::new(name.clone()) {
            if !seen.insert(name.clone()) {
                problems.push(value(&here, format!("`{name}` is listed twice")).help("remove one"));
            }
            components.push(name);
        }
    }
    components
}

fn stage(
    name: &str,
    raw: &raw::Stage,
    stages: &Stages,
    file: &raw::File,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Stage> {
    let mut needs: Vec<StageName> = Vec::new();
    for (index, needed) in raw.needs.iter().flatten().enumerate() {
        let here = here.key("needs").index(index);
        if needed == name {
            problems.push(value(&here, "a stage cannot need itself").help("remove it"));
        } else {
            declared(needed, stages.keys(), "stage", &here, problems);
        }
        if let Ok(needed) = StageName::new(needed.clone()) {
            if needs.contains(&needed) {
                problems
                    .push(value(&here, format!("`{needed}` is listed twice")).help("remove one"));
            }
            needs.push(needed);
        }
    }
    let timeout = match &raw.timeout {
        None => None,
        Some(text) => Some(duration(text, &here.key("timeout"), problems)?),
    };
    let kind = raw.kind?;
    let nature = kind.nature();
    for (option, given, owner, parameter) in [
        (
            "environment",
            raw.environment.is_some(),
            Kind::Gitops,
            Parameter::Environment,
        ),
        (
            "command",
            raw.command.is_some(),
            Kind::Run,
            Parameter::Command,
        ),
    ] {
        if given && nature.parameter != Some(parameter) {
            let message = format!(
                "belongs to a stage with `kind: {}`, not `{}`",
                owner.nature().word,
                nature.word
            );
            problems.push(
                key(&here.key(option), message)
                    .label("has no effect")
                    .help("remove it, or change the kind"),
            );
        }
    }
    if nature.order == Order::First && raw.needs.as_ref().is_some_and(|needs| !needs.is_empty()) {
        problems.push(
            key(
                &here.key("needs"),
                "what changed is known before anything runs",
            )
            .help(format!(
                "remove `needs`: a `{}` stage comes first",
                nature.word
            )),
        );
    }
    let (environment, command) = match nature.parameter {
        Some(Parameter::Environment) => (environment(raw, file, here, problems), None),
        Some(Parameter::Command) => (None, run_command(raw, here, problems)),
        None => (None, None),
    };
    let kind = kind.with(environment, command)?;
    Some(Stage {
        name: StageName::new(name).ok()?,
        kind,
        needs,
        timeout,
    })
}

fn environment(
    raw: &raw::Stage,
    file: &raw::File,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<EnvironmentName> {
    let Some(name) = &raw.environment else {
        problems.push(
            key(here, "a `gitops` stage needs an `environment`")
                .label("in this")
                .help("add the environment that it writes: `environment: staging`"),
        );
        return None;
    };
    let here = here.key("environment");
    let environments = file.environments.as_ref();
    let known = environments.into_iter().flat_map(IndexMap::keys);
    if declared(name, known, "environment", &here, problems)
        && let Some(raw::Delivery::Manual) = environments
            .and_then(|all| all.get(name))
            .and_then(|environment| environment.delivery)
    {
        let automatic = environments
            .into_iter()
            .flatten()
            .find(|(_, it)| !matches!(it.delivery, Some(raw::Delivery::Manual)));
        let instead = automatic.map_or(String::new(), |(other, _)| {
            format!("write `environment: {other}`: ")
        });
        problems.push(
            value(
                &here,
                format!("no pipeline may write `{name}`: its delivery is manual"),
            )
            .label("manual")
            .help(format!("{instead}what is manual moves by hand only")),
        );
    }
    EnvironmentName::new(name.clone()).ok()
}

fn run_command(raw: &raw::Stage, here: &Route, problems: &mut Problems<'_>) -> Option<String> {
    match &raw.command {
        Some(text) => command(text, &here.key("command"), problems),
        None => {
            problems.push(
                key(here, "a `run` stage needs a `command`")
                    .label("in this")
                    .help("add what runs: `command: npm run lint`"),
            );
            None
        }
    }
}

/// Kinds that make sense once in a pipeline (`gitops`: once for each environment).
fn once(stages: &Stages, route: &Route, problems: &mut Problems<'_>) {
    let mut seen: Vec<(Kind, Option<&str>, &str)> = Vec::new();
    for (name, stage) in stages {
        let Some(kind) = stage.kind else {
            continue;
        };
        let nature = kind.nature();
        if !nature.once {
            continue;
        }
        let environment = match nature.parameter {
            Some(Parameter::Environment) => stage.environment.as_deref(),
            Some(Parameter::Command) | None => None,
        };
        let before = seen
            .iter()
            .find(|(other, of, _)| *other == kind && *of == environment);
        if let Some((_, _, first)) = before {
            let what = match environment {
                Some(environment) => format!("`{first}` writes `{environment}` already"),
                None => format!("`{first}` is of kind `{}` already", nature.word),
            };
            problems.push(
                key(&route.key(name), what)
                    .label("a second one")
                    .help("keep one of the two"),
            );
        }
        seen.push((kind, environment, name));
    }
}

/// All stages that come before a stage, directly or not.
fn before<'a>(stages: &'a Stages, name: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![name];
    while let Some(next) = open.pop() {
        let needs = stages.get(next).and_then(|stage| stage.needs.as_ref());
        for needed in needs.into_iter().flatten() {
            if stages.contains_key(needed) && found.insert(needed.as_str()) {
                open.push(needed);
            }
        }
    }
    found
}

/// Reports stages that wait for each other, each circle once; gives whether there are any.
fn cycles(stages: &Stages, route: &Route, problems: &mut Problems<'_>) -> bool {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut any = false;
    for name in stages.keys() {
        if told.contains(name.as_str()) || !before(stages, name).contains(name.as_str()) {
            continue;
        }
        any = true;
        let way = circle(stages, name);
        told.extend(&way);
        let drawn: Vec<&str> = way.iter().copied().chain([name.as_str()]).collect();
        problems.push(
            key(
                &route.key(name).key("needs"),
                format!("these stages wait for each other: {}", drawn.join(" → ")),
            )
            .label("waits in a circle")
            .help("remove one of these `needs`"),
        );
    }
    any
}

/// The shortest way along `needs` from a stage back to itself.
fn circle<'a>(stages: &'a Stages, name: &'a str) -> Vec<&'a str> {
    let mut ways: Vec<Vec<&str>> = vec![vec![name]];
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        let needs = way
            .last()
            .and_then(|last| stages.get(*last)?.needs.as_ref());
        for needed in needs.into_iter().flatten() {
            if needed == name {
                return way;
            }
            if stages.contains_key(needed) && seen.insert(needed.as_str()) {
                ways.push(way.iter().copied().chain([needed.as_str()]).collect());
            }
        }
    }
    Vec::new()
}

/// What is published was built, tested and scanned before.
fn order(stages: &Stages, route: &Route, problems: &mut Problems<'_>) {
    let of = |kind: Kind| {
        stages
            .iter()
            .filter(move |(_, stage)| stage.kind == Some(kind))
            .map(|(name, _)| name.as_str())
    };
    for (name, stage) in stages {
        let Some(nature) = stage.kind.map(Kind::nature) else {
            continue;
        };
        let earlier = before(stages, name);
        for after in nature.after {
            let wanted = after.kind().nature();
            let mut there = of(after.kind()).peekable();
            if there.peek().is_none() && matches!(after, After::Always(_)) {
                problems.push(
                    key(
                        &route.key(name),
                        format!(
                            "a `{}` stage needs a `{}` stage before it, and there is none",
                            nature.word, wanted.word
                        ),
                    )
                    .help(format!(
                        "add `{0}: {{ kind: {0} }}` and name it in `needs`",
                        wanted.word
                    )),
                );
            }
            for missing in there.filter(|stage| !earlier.contains(stage)) {
                let at = if stage.needs.is_some() {
                    route.key(name).key("needs")
                } else {
                    route.key(name)
                };
                let why = wanted.if_not_awaited;
                problems.push(
                    key(&at, format!("does not wait for `{missing}`: {why}"))
                        .label("too early")
                        .help(format!(
                            "add `{missing}` to the `needs` of `{name}` or of a stage before it"
                        )),
                );
            }
        }
    }
}

/// Stages that work on sources need components that have them.
fn sources(
    raw: &raw::Pipeline,
    stages: &Stages,
    file: &raw::File,
    here: &Route,
    problems: &mut Problems<'_>,
) {
    let worker = stages.iter().find(|(_, stage)| {
        stage
            .kind
            .is_some_and(|kind| kind.nature().resource == Resource::Workspace)
    });
    let Some((worker, _)) = worker else {
        return;
    };
    for (index, name) in raw.components.iter().flatten().enumerate() {
        let component = file.components.as_ref().and_then(|all| all.get(name));
        let wrong = problems.are_within(&Route::root().key("components").key(name));
        if !wrong && component.is_some_and(|component| component.path.is_none()) {
            problems.push(
                value(
                    &here.key("components").index(index),
                    format!("`{name}` has no `path`, so `{worker}` has nothing to work on"),
                )
                .help(format!(
                    "give `components.{name}` a `path`, or leave it out of this pipeline"
                )),
            );
        }
    }
}

/// Stages that work on images need components that have them, and one for the environment that is written.
fn images(
    raw: &raw::Pipeline,
    stages: &Stages,
    file: &raw::File,
    here: &Route,
    problems: &mut Problems<'_>,
) {
    let declared = Route::root().key("components");
    if problems.are_within(&declared) || problems.are_within(&here.key("components")) {
        return;
    }
    let component = |name: &String| file.components.as_ref().and_then(|all| all.get(name));
    let members: Vec<(&String, &raw::Component)> = raw
        .components
        .iter()
        .flatten()
        .filter_map(|name| Some((name, component(name)?)))
        .collect();
    for (name, stage) in stages {
        let route = here.key("stages").key(name);
        if stage.kind == Some(Kind::Build)
            && !members.is_empty()
            && members
                .iter()
                .all(|(_, component)| component.image.is_none())
        {
            problems.push(
                key(&route, "no component of this pipeline has an `image`")
                    .label("builds nothing")
                    .help("add `image: {}` to a component that has a Dockerfile"),
            );
        }
        let (Some(Kind::Gitops), Some(environment)) = (stage.kind, &stage.environment) else {
            continue;
        };
        let known = file
            .environments
            .as_ref()
            .is_some_and(|all| all.contains_key(environment));
        for (member, component) in &members {
            let variants = component
                .image
                .as_ref()
                .and_then(|image| image.variants.as_ref());
            if known && variants.is_some_and(|variants| !variants.contains_key(environment)) {
                problems.push(
                    value(
                        &route.key("environment"),
                        format!("`{member}` has variants, but none for `{environment}`"),
                    )
                    .help(format!(
                        "add `components.{member}.image.variants.{environment}`"
                    )),
                );
            }
        }
    }
}
