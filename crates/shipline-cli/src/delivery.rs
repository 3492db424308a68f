//! Judges before a run what its `gitops` stages will be asked to write: what they would refuse after every test, build and push
//! is an error at once.

use shipline_engine::backend::{Deployment, GitopsRepo, Registry, SetImage, Target};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::config::{Config, StageKind};
use shipline_model::name::{Digest, EnvironmentName};
use shipline_model::plan::{Decision, ImageAction, Plan};

/// What the stages' commits would change.
///
/// # Errors
/// What stands in the way of one of them, as its stage would say it.
pub(crate) fn judge(
    plan: &Plan,
    config: &Config,
    gitops: &dyn GitopsRepo,
    registry: &dyn Registry,
) -> Result<(), BackendError> {
    for task in &plan.tasks {
        let (StageKind::Gitops { environment }, Decision::Run { why: _ }) =
            (&task.kind, &task.decision)
        else {
            continue;
        };
        let images = images(plan, config, environment, registry)?;
        let _ = gitops.preview(&Deployment {
            id: format!("plan-{}", task.id.stage),
            environment: environment.clone(),
            images,
            message: None,
            author: None,
            committer: None,
            trailers: Vec::new(),
            time: 0,
        })?;
    }
    Ok(())
}

fn images(
    plan: &Plan,
    config: &Config,
    environment: &EnvironmentName,
    registry: &dyn Registry,
) -> Result<Vec<SetImage>, BackendError> {
    let images = plan.components.iter().flat_map(|planned| &planned.images);
    let mut set = Vec::new();
    for image in images.filter(|image| image.id.is_for(environment)) {
        let Some(component) = config.components.get(&image.id.component) else {
            continue;
        };
        let digest = match &image.action {
            ImageAction::Take { digest, from: _ } => digest.clone(),
            // It is not known yet, and whether a manifest can take one does not depend on which it is.
            ImageAction::Build { why: _ } => Digest::new(format!("sha256:{}", image.build_key))
                .map_err(|error| {
                    let what = format!("plan the deployment of {}", image.id);
                    BackendError::new(ErrorClass::Invalid, what).because(error)
                })?,
        };
        let target = Target::of(config, &plan.profile, environment, component);
        let image = SetImage::planned(image, target, environment, registry, digest)?;
        set.push(image);
    }
    Ok(set)
}
