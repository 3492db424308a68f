//! `gitops`: one commit that sets every image of the run in one environment.

use std::sync::Arc;
use std::time::Duration;

use shipline_model::name::EnvironmentName;
use shipline_model::plan::PlannedImage;

use super::section::no_return;
use super::{Ended, StageTask, blocking};
use crate::backend::{Deployment, GitopsRepo, Reference, SetImage, Target};
use crate::error::{BackendError, ErrorClass};
use crate::event::Facts;
use crate::task::TaskContext;

pub(super) async fn run(
    task: &StageTask,
    environment: &EnvironmentName,
) -> Result<Ended, BackendError> {
    let shared = &task.shared;
    let images: Vec<&PlannedImage> = shared
        .images()
        .filter(|image| image.id.is_for(environment))
        .collect();
    for image in &images {
        verify(task, image).await?;
    }
    let deployment = deployment(task, environment, &images)?;
    let gitops = Arc::clone(&shared.backends.gitops);
    let preparing = {
        let gitops = Arc::clone(&gitops);
        blocking(move || gitops.prepare())
    };
    for note in watched(&task.context, &gitops, preparing).await? {
        task.context.note(note).await;
    }
    let what = format!("commit to {}", gitops.name());
    let commit = no_return(task, &what, |context| async move {
        let deploying = {
            let gitops = Arc::clone(&gitops);
            blocking(move || gitops.deploy(&deployment))
        };
        watched(&context, &gitops, deploying).await
    })
    .await?;
    for note in &commit.notes {
        task.context.note(note.clone()).await;
    }
    Ok(Ended::Passed(Facts::Deployed(commit)))
}

/// After this long a wait is told of, and then each other one.
const SILENCE: Duration = Duration::from_secs(1);

/// Waits for the end of `work` on the repository, and says what that waits for itself.
async fn watched<T>(
    context: &TaskContext,
    gitops: &Arc<dyn GitopsRepo>,
    work: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let mut work = std::pin::pin!(work);
    let mut told = None;
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(SILENCE) => {
                let waits = gitops.waits_for();
                if waits != told
                    && let Some(waits) = &waits
                {
                    context.note(format!("waiting for {waits}")).await;
                }
                told = waits;
            }
        }
    }
}

/// What is about to be named in the environment must be in the registry, under that name.
async fn verify(task: &StageTask, image: &PlannedImage) -> Result<(), BackendError> {
    let registry = &task.shared.backends.registry;
    let digest = task.shared.digest(image)?;
    let tag = image.tag.to_string();
    let found = registry
        .resolve(&image.repository, &Reference::Tag(tag.clone()))
        .await?;
    let problem = match found {
        Some(descriptor) if descriptor.digest == digest => return Ok(()),
        Some(descriptor) => format!("it names {} there", descriptor.digest),
        None => "it is not there".to_owned(),
    };
    Err(BackendError::new(
        ErrorClass::Conflict,
        format!(
            "find {}:{tag} ({digest}) in {}: {problem}",
            image.repository,
            registry.name()
        ),
    ))
}

fn deployment(
    task: &StageTask,
    environment: &EnvironmentName,
    images: &[&PlannedImage],
) -> Result<Deployment, BackendError> {
    let shared = &task.shared;
    let options = &shared.options;
    let registry = &*shared.backends.registry;
    let mut set = Vec::new();
    for image in images {
        let Some(component) = shared.config.components.get(&image.id.component) else {
            continue;
        };
        let digest = shared.digest(image)?;
        let target = Target::of(&shared.config, &shared.plan.profile, environment, component);
        let image = SetImage::planned(image, target, environment, registry, digest)?;
        set.push(image);
    }
    let mut trailers = vec![("Run-Id".to_owned(), options.run.to_string())];
    trailers.extend(options.trailers.iter().cloned());
    Ok(Deployment {
        id: format!("{}-{}", options.run, task.task.id.stage),
        environment: environment.clone(),
        images: set,
        message: None,
        author: options.author.clone(),
        committer: None,
        trailers,
        time: options.started_ms.div_euclid(1000),
    })
}
