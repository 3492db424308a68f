//! `push`: every blob and manifest by digest, verified; then all tags.

use std::sync::Arc;

use shipline_model::name::RepositoryName;
use shipline_model::plan::PlannedImage;

use super::attach::attach;
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
    let mut releases = releases(shared)?;
    write_release_set(task, &releases).await?;
    faults.reach(FaultPoint::ReleaseSet);

    let all = releases.len() as u64;
    for (done, release) in releases.iter_mut().enumerate() {
        if task.context.is_cancelled() {
            return Err(task.cancelled());
        }
        let what = release.image.id.to_string();
        task.context
            .progress(what, done as u64, Some(all), Unit::Steps);
        let TagRequest {
            repository, digest, ..
        } = &release.request;
        let store = &shared.backends.store;
        let uploaded = registry.upload(repository, digest, store, &task.context);
        release.sent = uploaded.await?.sent;
    }
    for release in &releases {
        verify(task, &release.request).await?;
    }
    attach(task, &releases).await?;
    faults.reach(FaultPoint::RegistryVerified);

    let requests: Vec<TagRequest> = releases.iter().map(|it| it.request.clone()).collect();
    let (tagger, wanted) = (Arc::clone(registry), requests.clone());
    let what = format!("set {} tags in {}", requests.len(), registry.name());
    let tagged = no_return(task, &what, |context| async move {
        tagger.tag(&wanted, &context).await
    })
    .await;
    let outcomes = match tagged {
        Err(error) if error.class == ErrorClass::Conflict => {
            forget_conflicting(shared, &releases).await;
            return Err(with_earlier_runs(shared, &requests, error).await);
        }
        tagged => tagged?,
    };
    faults.reach(FaultPoint::RegistryTags);
    if outcomes.contains(&TagOutcome::Set) {
        warn_of_expiry(task, &requests).await;
    }
    let pushed = releases
        .into_iter()
        .zip(outcomes)
        .map(|(release, outcome)| PushedImage {
            id: release.image.id.clone(),
            reference: reference(task, &release.request),
            digest: release.request.digest,
            sent: release.sent,
            already_there: outcome == TagOutcome::AlreadyThere,
        })
        .collect();
    Ok(Ended::Passed(Facts::Pushed(pushed)))
}

/// An image on its way to the registry.
pub(super) struct Release<'p> {
    pub(super) image: &'p PlannedImage,
    pub(super) request: TagRequest,
    /// Bytes that had to be sent.
    pub(super) sent: u64,
}

/// All images of the run, each with the tag that it gets.
fn releases(shared: &Shared) -> Result<Vec<Release<'_>>, BackendError> {
    let mut releases = Vec::new();
    for image in shared.images() {
        releases.push(Release {
            request: TagRequest {
                repository: image.repository.clone(),
                tag: image.tag.to_string(),
                digest: shared.digest(image)?,
            },
            image,
            sent: 0,
        });
    }
    Ok(releases)
}

/// Forgets the builds whose tags name other images, so that the next run gives them new ones. Nothing is lost where that fails:
/// the conflict is met, and told, again.
async fn forget_conflicting(shared: &Shared, releases: &[Release<'_>]) {
    for Release { image, request, .. } in releases {
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
                "run {run} of this clone published {repository}:{tag} as {digest}, from commit {commit}"
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

async fn write_release_set(task: &StageTask, releases: &[Release<'_>]) -> Result<(), BackendError> {
    let shared = &task.shared;
    let passed = shared.results().passed.clone();
    let set = v1::ReleaseSet {
        version: v1::VERSION,
        run: shared.options.run.to_string(),
        images: releases
            .iter()
            .map(|Release { image, request, .. }| v1::ReleasedImage {
                id: image.id.clone(),
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
