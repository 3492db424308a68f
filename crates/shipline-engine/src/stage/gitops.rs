//! `gitops`: one commit that sets every image of the run in one environment.

use std::sync::Arc;

use shipline_model::name::EnvironmentName;
use shipline_model::plan::PlannedImage;

use super::section::no_return;
use super::{Ended, StageTask, blocking};
use crate::backend::{Deployment, Reference, SetImage, Target};
use crate::error::{BackendError, ErrorClass};
use crate::event::Facts;

pub(super) async fn run(
    task: &StageTask,
    environment: &EnvironmentName,
) -> Result<Ended, BackendError> {
    let shared = &task.shared;
    let images: Vec<&PlannedImage> = shared
        .images()
        .filter(|image| {
            image
                .id
                .variant
                .as_ref()
                .is_none_or(|variant| variant == environment)
        })
        .collect();
    for image in &images {
        verify(task, image).await?;
    }
    let deployment = deployment(task, environment, &images)?;
    let gitops = Arc::clone(&shared.backends.gitops);
    let notes = blocking(move || gitops.prepare()).await?;
    for note in notes {
        task.context.note(note).await;
    }
    let gitops = Arc::clone(&shared.backends.gitops);
    let what = format!("commit to {}", gitops.name());
    let commit = no_return(task, &what, |_| {
        blocking(move || gitops.deploy(&deployment))
    })
    .await?;
    Ok(Ended::Passed(Facts::Deployed(commit)))
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
    let mut set = Vec::new();
    for image in images {
        let Some(component) = shared.config.components.get(&image.id.component) else {
            continue;
        };
        set.push(SetImage {
            target: Target::of(component, environment),
            name: shared.backends.registry.image_name(&image.repository),
            tag: image.tag.to_string(),
            digest: Some(shared.digest(image)?),
            source_commit: Some(image.commit.clone()),
        });
    }
    let mut trailers = vec![("Run-Id".to_owned(), options.run.to_string())];
    trailers.extend(options.trailers.iter().cloned());
    Ok(Deployment {
        id: format!("{}-{}", options.run, task.task.id.stage),
        environment: environment.clone(),
        images: set,
        message: None,
        author: options.author.clone(),
        trailers,
        time: options.started_ms.div_euclid(1000),
    })
}
