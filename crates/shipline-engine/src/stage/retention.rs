//! Images that run somewhere and that the registry's own rules are about to take away: a push is what makes them old.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use shipline_model::name::RepositoryName;

use super::{StageTask, blocking};
use crate::backend::{Expiring, TagRequest, Target};
use crate::error::BackendError;

/// Says which of the images that environments run will be gone. What cannot be told is told; nothing of it fails the run.
pub(super) async fn warn_of_expiry(task: &StageTask, requests: &[TagRequest]) {
    let repositories: BTreeSet<&RepositoryName> =
        requests.iter().map(|request| &request.repository).collect();
    let asked = repositories.into_iter().map(|repository| async move {
        let registry = &task.shared.backends.registry;
        (repository, registry.expiring(repository).await)
    });
    for (repository, expiring) in join_all(asked).await {
        let lines = match expiring {
            Ok(expiring) if expiring.is_empty() => continue,
            Ok(expiring) => lines(task, repository, expiring).await,
            Err(error) => Err(error),
        };
        match lines {
            Ok(lines) => {
                for line in lines {
                    task.context.note(line).await;
                }
            }
            Err(error) => {
                let line = format!(
                    "whether the registry is about to remove an image of {repository} that runs is not known: failed to {error}"
                );
                task.context.note(line).await;
            }
        }
    }
}

async fn lines(
    task: &StageTask,
    repository: &RepositoryName,
    expiring: Vec<Expiring>,
) -> Result<Vec<String>, BackendError> {
    let shared = &task.shared;
    let mut lines = Vec::new();
    for environment in shared.config.environments.keys() {
        let components = shared.config.components.values();
        let targets: Vec<Target> = components
            .filter(|component| component.repository_in(environment) == repository)
            .map(|component| {
                Target::of(&shared.config, &shared.plan.profile, environment, component)
            })
            .collect();
        let gitops = Arc::clone(&shared.backends.gitops);
        let state = blocking(move || gitops.snapshot()?.read(&targets)).await?;
        // What an environment does not declare, or not readably, cannot be missed in it.
        let running: BTreeSet<String> = state
            .images
            .into_values()
            .filter_map(|declared| declared.ok()?.tag)
            .collect();
        lines.extend(
            expiring
                .iter()
                .filter(|image| running.contains(&image.tag))
                .map(|image| {
                    format!(
                        "{environment} runs {repository}:{}, which the registry will remove by {}",
                        image.tag, image.rule
                    )
                }),
        );
    }
    Ok(lines)
}
