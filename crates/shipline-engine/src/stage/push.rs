//! `push`: every blob and manifest by digest, verified; then all tags.

use std::sync::Arc;

use shipline_model::name::RepositoryName;
use shipline_model::plan::PlannedImage;

use super::attach::{Upload, attach};
use super::retention::warn_of_expiry;
use super::section::no_return;
use super::{Ended, Shared, StageTask, blocking};
use crate::backend::{Reference, TagOutcome, TagRequest};
use crate::disk::write_whole;
use crate::error::{BackendError, ErrorClass};
use crate::event::{Facts, PushedImage, Unit};
use crate::fault::FaultPoint;
use crate::record::{published, release_set_path, v1};

/// Whether the run's repositories can be written, before anything is built.
pub(crate) async fn preflight(shared: &Shared) -> Result<(), BackendError> {
    let mut repositories: Vec<RepositoryName> = shared
        .images()
        .map(|image| image.repository.clone())
        .collect();
    repositories.sort();
    repositories.dedup();
    shared.backends.registry.preflight(&repositories).await
}

pub(super) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let shared = &task.shared;
    let registry = &shared.backends.registry;
    let faults = &shared.options.faults;
    let images: Vec<&PlannedImage> = shared.images().collect();
    let requests: Vec<TagRequest> = images
        .iter()
        .map(|image| {
            Ok(TagRequest {
                repository: image.repository.clone(),
                tag: image.tag.to_string(),
                digest: shared.digest(image)?,
            })
        })
        .collect::<Result<_, BackendError>>()?;
    write_release_set(task, &images, &requests).await?;
    faults.reach(FaultPoint::ReleaseSet);

    let mut sent = Vec::new();
    for (done, (image, request)) in images.iter().zip(&requests).enumerate() {
        if task.context.is_cancelled() {
            return Err(task.cancelled());
        }
        task.context.progress(
            image.id.to_string(),
            done as u64,
            Some(images.len() as u64),
            Unit::Steps,
        );
        let uploaded = registry
            .upload(
                &request.repository,
                &request.digest,
                &shared.backends.store,
                &task.context,
            )
            .await?;
        sent.push(uploaded.sent);
    }
    for request in &requests {
        verify(task, request).await?;
    }
    let uploads = sent.iter().map(|sent| match sent {
        0 => Upload::NothingNew,
        _ => Upload::Sent,
    });
    let uploaded = images.iter().copied().zip(&requests).zip(uploads);
    attach(
        task,
        uploaded.map(|((image, request), upload)| (image, request, upload)),
    )
    .await?;
    faults.reach(FaultPoint::RegistryVerified);

    let (tagger, wanted) = (Arc::clone(registry), requests.clone());
    let what = format!("set {} tags in {}", requests.len(), registry.name());
    let tagged = no_return(task, &what, |context| async move {
        tagger.tag(&wanted, &context).await
    })
    .await;
    let outcomes = match tagged {
        Err(error) if error.class == ErrorClass::Conflict => {
            forget_conflicting(shared, &images, &requests).await;
            return Err(with_earlier_runs(shared, &requests, error).await);
        }
        tagged => tagged?,
    };
    faults.reach(FaultPoint::RegistryTags);
    if outcomes.contains(&TagOutcome::Set) {
        warn_of_expiry(task, &requests).await;
    }
    let pushed = images
        .iter()
        .zip(requests)
        .zip(sent.into_iter().zip(outcomes))
        .map(|((image, request), (sent, outcome))| PushedImage {
            id: image.id.clone(),
            reference: reference(task, &request),
            digest: request.digest,
            sent,
            already_there: outcome == TagOutcome::AlreadyThere,
        })
        .collect();
    Ok(Ended::Passed(Facts::Pushed(pushed)))
}

/// Forgets the builds whose tags name other images, so that the next run gives them new ones. Nothing is lost where that fails:
/// the conflict is met, and told, again.
async fn forget_conflicting(shared: &Shared, images: &[&PlannedImage], requests: &[TagRequest]) {
    for (image, request) in images.iter().zip(requests) {
        let tag = Reference::Tag(request.tag.clone());
        let found = shared.backends.registry.resolve(&request.repository, &tag);
        if let Ok(Some(found)) = found.await
            && found.digest != request.digest
        {
            let (cache, image) = (shared.cache.clone(), (*image).clone());
            let _ = blocking(move || cache.forget_build(&image)).await;
        }
    }
}

/// A tag that names another image: which run of this clone published it, if one did.
async fn with_earlier_runs(
    shared: &Shared,
    requests: &[TagRequest],
    error: BackendError,
) -> BackendError {
    let (state, wanted) = (shared.options.state.clone(), requests.to_vec());
    // The conflict stands without it.
    let earlier = blocking(move || {
        let earlier = wanted.iter().filter_map(|request| {
            let repository = request.repository.as_str();
            let (run, image) = published(&state, repository, &request.tag)
                .find(|(_, image)| image.digest != request.digest.as_str())?;
            let (tag, digest, commit) = (&request.tag, image.digest, image.commit);
            Some(format!(
                "Run {run} of this clone published {repository}:{tag} as {digest}, from commit {commit}."
            ))
        });
        Ok(earlier.collect::<Vec<_>>())
    })
    .await
    .unwrap_or_default();
    earlier.into_iter().fold(error, BackendError::hint)
}

fn reference(task: &StageTask, request: &TagRequest) -> String {
    let registry = &task.shared.backends.registry;
    match registry.image_name(&request.repository) {
        Some(name) => format!("{name}:{}", request.tag),
        // As skopeo, podman and others name an image in a layout on disk.
        None => format!(
            "oci:{}:{}:{}",
            registry.name(),
            request.repository,
            request.tag
        ),
    }
}

/// Asks the registry for the manifest that was uploaded.
async fn verify(task: &StageTask, request: &TagRequest) -> Result<(), BackendError> {
    let registry = &task.shared.backends.registry;
    let reference = Reference::Digest(request.digest.clone());
    let found = tokio::select! {
        biased;
        // A registry may ask for patience while we only look.
        () = task.context.cancellation().cancelled() => return Err(task.cancelled()),
        found = registry.resolve(&request.repository, &reference) => found?,
    };
    match found {
        Some(descriptor) if descriptor.digest == request.digest => Ok(()),
        Some(_) | None => Err(BackendError::new(
            ErrorClass::Conflict,
            format!(
                "find {} of {} in {} after its upload",
                request.digest,
                request.repository,
                registry.name()
            ),
        )),
    }
}

async fn write_release_set(
    task: &StageTask,
    images: &[&PlannedImage],
    requests: &[TagRequest],
) -> Result<(), BackendError> {
    let shared = &task.shared;
    let passed = shared.results().passed.clone();
    let set = v1::ReleaseSet {
        version: v1::VERSION,
        run: shared.options.run.to_string(),
        images: images
            .iter()
            .zip(requests)
            .map(|(image, request)| v1::ReleasedImage {
                id: v1::ImageId::from(&image.id),
                repository: image.repository.to_string(),
                tag: request.tag.clone(),
                digest: request.digest.to_string(),
                source_key: image.source_key.to_string(),
                build_key: image.build_key.to_string(),
                commit: image.commit.to_string(),
                verdict: match passed.get(&image.id) {
                    Some(digest) if *digest == request.digest => v1::GateVerdict::Passed,
                    Some(_) | None => v1::GateVerdict::NotScanned,
                },
            })
            .collect(),
    };
    let place = release_set_path(&shared.options.state, &shared.options.run);
    let bytes = serde_json::to_vec_pretty(&set).map_err(|cause| {
        let what = format!("write {}", place.path().display());
        BackendError::new(ErrorClass::Invalid, what).because(cause)
    })?;
    blocking(move || write_whole(&place, &bytes)).await
}
