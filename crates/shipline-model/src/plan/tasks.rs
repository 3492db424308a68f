//! The tasks of a plan: one for each stage and affected component (and image), barriers for the whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::make::{Caching, PlanError, PlanRequest, Publishing};
use super::types::{
    Decision, ImageAction, ImageId, PlannedComponent, PlannedImage, Reason, Resource, Task, TaskId,
};
use crate::config::{Component, Pipeline, Stage, StageKind};
use crate::name::StageName;

/// Limit of the tasks that belong to no component.
const BARRIER_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Builds the list: each task after all that it needs.
pub(super) fn tasks(
    request: &PlanRequest<'_>,
    pipeline: &Pipeline,
    components: &[PlannedComponent],
) -> Result<Vec<Task>, PlanError> {
    let mut list = List {
        request,
        pipeline,
        components,
        tasks: Vec::new(),
        by_stage: BTreeMap::new(),
    };
    for stage in in_order(pipeline) {
        list.stage(stage)?;
    }
    Ok(list.tasks)
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
            .find(|stage| !stage.kind.is_barrier())
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
    tasks: Vec<Task>,
    by_stage: BTreeMap<StageName, Vec<usize>>,
}

impl<'a> List<'a> {
    fn stage(&mut self, stage: &'a Stage) -> Result<(), PlanError> {
        let before = self.tasks.len();
        match &stage.kind {
            StageKind::Detect => {
                let why = format!(
                    "{} of {} components are affected",
                    self.affected().count(),
                    self.components.len()
                );
                self.push(
                    stage,
                    None,
                    None,
                    Resource::Light,
                    BARRIER_LIMIT,
                    Decision::Run { why },
                    Vec::new(),
                );
            }
            StageKind::Test => self.for_components(stage, Self::test),
            StageKind::Run { command } => {
                let why = format!("`{command}`");
                self.for_components(stage, move |_, _, _| Decision::Run { why: why.clone() });
            }
            StageKind::Build => {
                for planned in self.affected() {
                    for image in &planned.images {
                        let decision = match &image.action {
                            ImageAction::Build { why } => Decision::Run { why: why.clone() },
                            ImageAction::Take { digest: _, from } => Decision::Cached {
                                key: image.build_key.0.clone(),
                                from: from.clone(),
                            },
                        };
                        self.image(stage, planned, image, Resource::Workspace, decision);
                    }
                }
            }
            StageKind::ImageScan => {
                for planned in self.affected() {
                    for image in &planned.images {
                        let why = "nothing is published unscanned".to_owned();
                        self.image(stage, planned, image, Resource::Cpu, Decision::Run { why });
                    }
                }
            }
            StageKind::Push => self.barrier(
                stage,
                &|images| format!("{images} go to the registry"),
                "there is no image to push",
            ),
            StageKind::Gitops { environment } => {
                let environment = environment.clone();
                self.barrier(
                    stage,
                    &|images| format!("{environment} is to run {images}"),
                    "there is nothing to deploy",
                );
            }
        }
        self.by_stage
            .insert(stage.name.clone(), (before..self.tasks.len()).collect());
        self.only(stage, before)
    }

    /// `--only` leaves this stage out, or needs images that are there.
    fn only(&mut self, stage: &Stage, from: usize) -> Result<(), PlanError> {
        if self.request.only.is_empty() {
            return Ok(());
        }
        if !self.request.only.contains(&stage.name) {
            for task in &mut self.tasks[from..] {
                if let Decision::Run { .. } = task.decision {
                    task.decision = Decision::Skip {
                        reason: "not asked for (--only)".to_owned(),
                    };
                }
            }
            return Ok(());
        }
        let needs_images = match stage.kind {
            StageKind::ImageScan | StageKind::Push | StageKind::Gitops { environment: _ } => true,
            StageKind::Detect
            | StageKind::Test
            | StageKind::Build
            | StageKind::Run { command: _ } => false,
        };
        let builds =
            self.pipeline.stages.values().any(|other| {
                other.kind == StageKind::Build && self.request.only.contains(&other.name)
            });
        if needs_images && !builds {
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

    fn test(
        request: &PlanRequest<'_>,
        component: &Component,
        planned: &PlannedComponent,
    ) -> Decision {
        if component.test.is_none() {
            return Decision::Skip {
                reason: format!("{} declares no test", component.name),
            };
        }
        let key = planned.source_key.as_ref();
        match (
            request.caching,
            key.and_then(|key| Some((key, request.known.test_passes.get(key)?))),
        ) {
            (Caching::Ignore, _) => Decision::Run {
                why: "--no-cache".to_owned(),
            },
            (Caching::Use, Some((key, from))) => Decision::Cached {
                key: key.0.clone(),
                from: from.clone(),
            },
            (Caching::Use, None) => Decision::Run { why: why(planned) },
        }
    }

    fn for_components(
        &mut self,
        stage: &Stage,
        decide: impl Fn(&PlanRequest<'_>, &Component, &PlannedComponent) -> Decision,
    ) {
        for planned in self.affected() {
            let Some(component) = self.request.config.components.get(&planned.name) else {
                continue;
            };
            let decision = if component.path.is_none() {
                Decision::Skip {
                    reason: format!("{} has no sources in this repository", component.name),
                }
            } else {
                decide(self.request, component, planned)
            };
            let needs = self.needs_of(stage, planned, None);
            let limit = stage.timeout.unwrap_or(component.timeout);
            self.push(
                stage,
                Some(planned),
                None,
                Resource::Workspace,
                limit,
                decision,
                needs,
            );
        }
    }

    fn image(
        &mut self,
        stage: &Stage,
        planned: &PlannedComponent,
        image: &PlannedImage,
        resource: Resource,
        decision: Decision,
    ) {
        let needs = self.needs_of(stage, planned, Some(&image.id));
        let limit = self
            .request
            .config
            .components
            .get(&planned.name)
            .map_or(BARRIER_LIMIT, |component| component.timeout);
        self.push(
            stage,
            Some(planned),
            Some(&image.id),
            resource,
            stage.timeout.unwrap_or(limit),
            decision,
            needs,
        );
    }

    fn barrier(&mut self, stage: &Stage, why: &dyn Fn(String) -> String, nothing: &str) {
        let images = self.affected().flat_map(|planned| &planned.images).count();
        let decision = match &self.request.publishing {
            _ if self.affected().next().is_none() => Decision::Skip {
                reason: "no component is affected".to_owned(),
            },
            _ if images == 0 => Decision::Skip {
                reason: nothing.to_owned(),
            },
            Publishing::Withhold { reason } => Decision::Skip {
                reason: reason.clone(),
            },
            Publishing::Publish => Decision::Run {
                why: why(if images == 1 {
                    "1 image".to_owned()
                } else {
                    format!("{images} images")
                }),
            },
        };
        let needs = (0..self.tasks.len()).collect();
        self.push(
            stage,
            None,
            None,
            Resource::Network,
            stage.timeout.unwrap_or(BARRIER_LIMIT),
            decision,
            needs,
        );
    }

    /// All tasks of the stages that `stage` needs, looking through stages that have none.
    fn needed(&self, stage: &Stage) -> impl Iterator<Item = usize> {
        let mut found = Vec::new();
        let mut open: Vec<&StageName> = stage.needs.iter().collect();
        while let Some(name) = open.pop() {
            match self.by_stage.get(name) {
                Some(tasks) if !tasks.is_empty() => found.extend(tasks.iter().copied()),
                Some(_) | None => open.extend(
                    self.pipeline
                        .stages
                        .get(name)
                        .into_iter()
                        .flat_map(|stage| &stage.needs),
                ),
            }
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter()
    }

    /// Those of [`List::needed`] that concern this component (and, between image tasks, this image).
    fn needs_of(
        &self,
        stage: &Stage,
        planned: &PlannedComponent,
        image: Option<&ImageId>,
    ) -> Vec<usize> {
        let concerns = |id: &TaskId| {
            let component = id
                .component
                .as_ref()
                .is_none_or(|component| *component == planned.name);
            let variant = match (&id.variant, image.and_then(|image| image.variant.as_ref())) {
                (Some(theirs), Some(ours)) => theirs == ours,
                (Some(_) | None, _) => true,
            };
            component && variant
        };
        self.needed(stage)
            .filter(|position| concerns(&self.tasks[*position].id))
            .collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a task, in one place"
    )]
    fn push(
        &mut self,
        stage: &Stage,
        planned: Option<&PlannedComponent>,
        image: Option<&ImageId>,
        resource: Resource,
        timeout: Duration,
        decision: Decision,
        needs: Vec<usize>,
    ) {
        self.tasks.push(Task {
            id: TaskId {
                stage: stage.name.clone(),
                component: planned.map(|planned| planned.name.clone()),
                variant: image.and_then(|image| image.variant.clone()),
            },
            kind: stage.kind.clone(),
            needs,
            decision,
            resource,
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
                more => format!("{} and {} more changed", file.path, more - 1),
            }
        }
        Some(Reason::NoBase { why }) => why.clone(),
        Some(Reason::All) => "--all".to_owned(),
        None => "not affected".to_owned(),
    }
}
