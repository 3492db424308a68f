//! The tasks of a plan: one for each stage and affected component (and image), barriers for the whole run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::affected::MOST_REASONS;
use super::make::{Caching, PlanError, PlanRequest, Publishing};
use super::types::{Decision, ImageAction, ImageId, PlannedComponent, Reason, Task, TaskId};
use crate::config::{Pipeline, Stage};
use crate::name::{ComponentName, StageName};
use crate::stage_kind::{Cached, Images, Order, Publishes, Scope, StageKind, Subject};

/// Limit of the tasks that belong to no component.
const BARRIER_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Builds the list: each task after all that it needs. Gives the stages beside it that run because what `--only` names publishes
/// what they gate.
pub(super) fn tasks(
    request: &PlanRequest<'_>,
    pipeline: &Pipeline,
    components: &[PlannedComponent],
) -> Result<(Vec<Task>, Vec<StageName>), PlanError> {
    let mut list = List {
        request,
        pipeline,
        components,
        asked: None,
        tasks: Vec::new(),
        made: BTreeMap::new(),
    };
    list.asked = list.asked();
    for stage in in_order(pipeline) {
        list.stage(stage)?;
    }
    let asked = list.asked.into_iter().flatten();
    let mut gates: Vec<StageName> = asked
        .filter(|stage| !request.only.contains(stage))
        .collect();
    let at_work = |stage: &StageName| {
        list.tasks.iter().any(|task| {
            task.id.stage == *stage && !matches!(task.decision, Decision::Skip { reason: _ })
        })
    };
    gates.retain(at_work);
    gates.sort_by_key(|stage| pipeline.stages.get_index_of(stage));
    Ok((list.tasks, gates))
}

/// The stages, each after what it needs; the file's order among equals, barriers as late as can be: so every task before a
/// barrier is one that it waits for.
fn in_order(pipeline: &Pipeline) -> Vec<&Stage> {
    let mut ordered: Vec<&Stage> = Vec::new();
    while ordered.len() < pipeline.stages.len() {
        let done = |name: &StageName| ordered.iter().any(|stage| stage.name == *name);
        let ready = || {
            pipeline
                .stages
                .values()
                .filter(|stage| !done(&stage.name) && stage.needs.iter().all(done))
        };
        let next = ready()
            .find(|stage| !stage.kind.nature().is_barrier())
            .or_else(|| ready().next());
        // The configuration has no cycles; a stage that cannot come would come never.
        let Some(next) = next else { break };
        ordered.push(next);
    }
    ordered
}

struct List<'a> {
    request: &'a PlanRequest<'a>,
    pipeline: &'a Pipeline,
    components: &'a [PlannedComponent],
    /// The stages that run; `None`: all.
    asked: Option<BTreeSet<StageName>>,
    tasks: Vec<Task>,
    /// Positions of tasks by stage and component (`None`: the whole run's).
    made: BTreeMap<(StageName, Option<ComponentName>), Vec<usize>>,
}

impl<'a> List<'a> {
    fn stage(&mut self, stage: &'a Stage) -> Result<(), PlanError> {
        let before = self.tasks.len();
        match stage.kind.nature().scope {
            Scope::Run => self.whole_run(stage),
            Scope::Component => self.for_components(stage),
            Scope::Image => self.for_images(stage),
        }
        self.only(stage, before)
    }

    /// The stages that `--only` leaves. What gates a stage that publishes runs with it, whatever is asked for: nothing is
    /// published untested or unscanned. (It is quick: passes and scans of the same images are known.)
    fn asked(&self) -> Option<BTreeSet<StageName>> {
        let only = self.request.only;
        if only.is_empty() {
            return None;
        }
        let mut asked: BTreeSet<StageName> = only.iter().cloned().collect();
        let stages = &self.pipeline.stages;
        let publishing = |name: &&StageName| {
            let publishes = |stage: &Stage| stage.kind.nature().publishes != Publishes::Nothing;
            stages.get(*name).is_some_and(publishes) && self.withheld().is_none()
        };
        let mut open: Vec<&StageName> = only.iter().filter(publishing).collect();
        let mut seen = BTreeSet::new();
        while let Some(stage) = open.pop().and_then(|name| stages.get(name)) {
            if !seen.insert(&stage.name) {
                continue;
            }
            if stage.kind.nature().gates {
                asked.insert(stage.name.clone());
            }
            open.extend(&stage.needs);
        }
        Some(asked)
    }

    /// Why nothing is published, if nothing is.
    fn withheld(&self) -> Option<String> {
        if self.affected().next().is_none() {
            return Some("no component is affected".to_owned());
        }
        if self.affected().all(|planned| planned.images.is_empty()) {
            return Some("no affected component has an image".to_owned());
        }
        match &self.request.publishing {
            Publishing::Withhold { reason } => Some(reason.clone()),
            Publishing::Publish => None,
        }
    }

    /// `--only` leaves this stage out, or needs images that are there.
    fn only(&mut self, stage: &Stage, from: usize) -> Result<(), PlanError> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        if !asked.contains(&stage.name) {
            for task in &mut self.tasks[from..] {
                if let Decision::Run { .. } = task.decision {
                    task.decision = Decision::Skip {
                        reason: "not asked for (--only)".to_owned(),
                    };
                }
            }
            return Ok(());
        }
        let runs = self.tasks[from..]
            .iter()
            .any(|task| matches!(task.decision, Decision::Run { why: _ }));
        let mut stages = self.pipeline.stages.values();
        let builds =
            stages.any(|other| other.kind.nature().makes_images() && asked.contains(&other.name));
        if runs && stage.kind.nature().images == Images::Needed && !builds {
            for image in self.affected().flat_map(|planned| &planned.images) {
                if let ImageAction::Build { why: _ } = image.action {
                    return Err(PlanError::NotBuilt {
                        stage: stage.name.clone(),
                        image: image.id.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn affected(&self) -> impl Iterator<Item = &'a PlannedComponent> + use<'a> {
        self.components
            .iter()
            .filter(|planned| !planned.reasons.is_empty())
    }

    /// One task for the whole run.
    fn whole_run(&mut self, stage: &Stage) {
        let nature = stage.kind.nature();
        let withheld = match nature.publishes {
            Publishes::Nothing => None,
            Publishes::Images | Publishes::Deployment => self.withheld(),
        };
        let decision = match withheld {
            Some(reason) => Decision::Skip { reason },
            None => Decision::Run {
                why: stage.kind.why(&Subject {
                    affected: self.affected().count(),
                    of: self.components.len(),
                    images: self.images(&stage.kind),
                    change: "",
                }),
            },
        };
        let needs = match nature.order {
            Order::Last => (0..self.tasks.len()).collect(),
            Order::First | Order::AsNeeded => self.needs_of(stage, None, None),
        };
        let limit = stage.timeout.unwrap_or(BARRIER_LIMIT);
        self.push(stage, None, None, limit, decision, needs);
    }

    /// One task for each affected component.
    fn for_components(&mut self, stage: &Stage) {
        for planned in self.affected() {
            let Some(component) = self.request.config.components.get(&planned.name) else {
                continue;
            };
            let idle = match &component.path {
                None => Some(format!(
                    "{} has no sources in this repository",
                    component.name
                )),
                Some(_) => stage.kind.idle(component),
            };
            let decision = match idle {
                Some(reason) => Decision::Skip { reason },
                None => self.decision(stage, planned),
            };
            let needs = self.needs_of(stage, Some(planned), None);
            let limit = stage.timeout.unwrap_or(component.timeout);
            self.push(stage, Some(planned), None, limit, decision, needs);
        }
    }

    /// One task for each image of an affected component.
    fn for_images(&mut self, stage: &Stage) {
        for planned in self.affected() {
            for image in &planned.images {
                let decision = match stage.kind.nature().cached {
                    Cached::InStore => match &image.action {
                        ImageAction::Build { why } => Decision::Run { why: why.clone() },
                        ImageAction::Take { digest: _, from } => Decision::Cached {
                            key: image.build_key.0.clone(),
                            from: from.clone(),
                        },
                    },
                    Cached::Never | Cached::BySources | Cached::ByTask => {
                        self.decision(stage, planned)
                    }
                };
                let needs = self.needs_of(stage, Some(planned), Some(&image.id));
                let component = self.request.config.components.get(&planned.name);
                let limit = component.map_or(BARRIER_LIMIT, |component| component.timeout);
                let limit = stage.timeout.unwrap_or(limit);
                self.push(
                    stage,
                    Some(planned),
                    Some(&image.id),
                    limit,
                    decision,
                    needs,
                );
            }
        }
    }

    /// Whether a component's task runs, or its result is known by the sources.
    fn decision(&self, stage: &Stage, planned: &PlannedComponent) -> Decision {
        let run = |change: &str| Decision::Run {
            why: stage.kind.why(&Subject {
                affected: 1,
                of: 1,
                images: planned.images.len(),
                change,
            }),
        };
        match (stage.kind.nature().cached, self.request.caching) {
            (Cached::BySources, Caching::Ignore) => run("--no-cache"),
            (Cached::BySources, Caching::Use) => {
                let kind = stage.kind.kind();
                let known = planned.source_key.as_ref().and_then(|key| {
                    let from = self.request.known.passes.get(&(kind, key.clone()))?;
                    Some((key, from))
                });
                match known {
                    Some((key, from)) => Decision::Cached {
                        key: key.0.clone(),
                        from: from.clone(),
                    },
                    None => run(&why(planned)),
                }
            }
            (Cached::Never | Cached::InStore | Cached::ByTask, _) => run(&why(planned)),
        }
    }

    /// How many images a barrier works on: an environment gets its own of twins.
    fn images(&self, kind: &StageKind) -> usize {
        let images = self.affected().flat_map(|planned| &planned.images);
        let theirs = images.filter(|image| match (kind.environment(), &image.id.variant) {
            (Some(environment), Some(variant)) => environment == variant,
            (Some(_) | None, _) => true,
        });
        theirs.count()
    }

    /// What comes before a component's task (and, between image tasks, before this image's): its own tasks of the stages
    /// that `stage` needs, and where it has none there, of those that these need. A task of the whole run has such tasks
    /// before it.
    fn needs_of(
        &self,
        stage: &Stage,
        planned: Option<&PlannedComponent>,
        image: Option<&ImageId>,
    ) -> Vec<usize> {
        let variant = image.and_then(|image| image.variant.as_ref());
        let fits = |position: &usize| match (&self.tasks[*position].id.variant, variant) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (Some(_) | None, _) => true,
        };
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&StageName> = stage.needs.iter().collect();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            let component = planned.map(|planned| planned.name.clone());
            let own = self.made.get(&(name.clone(), component));
            match own.or_else(|| self.made.get(&(name.clone(), None))) {
                Some(tasks) => found.extend(tasks.iter().copied().filter(fits)),
                None => {
                    let stage = self.pipeline.stages.get(name);
                    open.extend(stage.into_iter().flat_map(|stage| &stage.needs));
                }
            }
        }
        found.into_iter().collect()
    }

    fn push(
        &mut self,
        stage: &Stage,
        planned: Option<&PlannedComponent>,
        image: Option<&ImageId>,
        timeout: Duration,
        decision: Decision,
        needs: Vec<usize>,
    ) {
        let component = planned.map(|planned| planned.name.clone());
        let made = self.made.entry((stage.name.clone(), component));
        made.or_default().push(self.tasks.len());
        self.tasks.push(Task {
            id: TaskId {
                stage: stage.name.clone(),
                component: planned.map(|planned| planned.name.clone()),
                variant: image.and_then(|image| image.variant.clone()),
            },
            kind: stage.kind.clone(),
            needs,
            decision,
            resource: stage.kind.nature().resource,
            timeout,
        });
    }
}

/// The first reason, in a few words.
pub(super) fn why(planned: &PlannedComponent) -> String {
    match planned.reasons.first() {
        Some(Reason::Path { file, .. } | Reason::PipelineFile { file }) => {
            match planned.reasons.len() {
                1 => format!("{} changed", file.path),
                MOST_REASONS.. => format!("{} and many more changed", file.path),
                more => format!("{} and {} more changed", file.path, more - 1),
            }
        }
        Some(Reason::LockedBase { base }) => format!("the locked base {} moved", base.reference),
        Some(Reason::NoBase { why: _ }) => "what changed is not known".to_owned(),
        Some(Reason::All) => "everything was asked for".to_owned(),
        None => "not affected".to_owned(),
    }
}
