//! Documents about the run's images go to the registry as their referrers, before any tag moves. A registry that does not take
//! them is no reason not to publish: the task says so and goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use shipline_model::name::Digest;
use shipline_model::plan::PlannedImage;

use super::push::Release;
use super::{StageTask, blocking};
use crate::backend::{Artifact, ArtifactManifest, AttachOutcome, ImageStore, Scan, TagRequest};
use crate::cache::Attachment;
use crate::error::{BackendError, ErrorClass, chain};
use crate::fault::FaultPoint;
use crate::run::ScanCache;

/// Lets the documents about these images refer to them.
pub(super) async fn attach(task: &StageTask, releases: &[Release<'_>]) -> Result<(), BackendError> {
    let attaching = releases
        .iter()
        .map(|release| async move { (release.image, try_attach(task, release).await) });
    let (mut titles, mut images) = (BTreeSet::new(), Vec::new());
    for (image, attached) in join_all(attaching).await {
        match attached {
            Ok(new) if new.is_empty() => {}
            Ok(new) => {
                titles.extend(new);
                images.push(image.id.to_string());
            }
            Err(error) if error.class == ErrorClass::Cancelled => return Err(error),
            Err(error) => {
                let why = chain(&error);
                let line = format!(
                    "what is known of {} is not in the registry: failed to {why}",
                    image.id
                );
                task.context.note(line).await;
            }
        }
    }
    if !images.is_empty() {
        let titles: Vec<String> = titles.into_iter().collect();
        let line = format!("attached {} to {}", titles.join(", "), images.join(", "));
        task.context.note(line).await;
    }
    Ok(())
}

/// Gives the titles of what is listed since now.
async fn try_attach(
    task: &StageTask,
    Release {
        image,
        request,
        sent,
    }: &Release<'_>,
) -> Result<Vec<String>, BackendError> {
    let shared = &task.shared;
    let artifacts = artifacts(task, image)?;
    if artifacts.is_empty() {
        return Ok(Vec::new());
    }
    let (store, subject) = (Arc::clone(&shared.backends.store), request.digest.clone());
    let artifacts = blocking(move || manifests(&*store, &subject, artifacts)).await?;
    let registry = &shared.backends.registry;
    let name = registry.name();
    // Where the image was there and this clone has seen the documents beside it, nobody is asked.
    let known = *sent == 0
        && shared.options.scan_cache == ScanCache::Use
        && artifacts
            .iter()
            .all(|(_, manifest)| shared.cache.attached(&place(&name, request, manifest)));
    if known {
        return Ok(Vec::new());
    }
    let (store, kept) = (Arc::clone(&shared.backends.store), artifacts.clone());
    blocking(move || {
        kept.iter()
            .try_for_each(|(artifact, manifest)| artifact.keep(manifest, &*store))
    })
    .await?;
    let digests: Vec<_> = artifacts
        .iter()
        .map(|(_, manifest)| manifest.digest.clone())
        .collect();
    let outcome = registry
        .attach(
            &request.repository,
            &request.digest,
            &digests,
            &shared.backends.store,
            &task.context,
        )
        .await?;
    shared.options.faults.reach(FaultPoint::RegistryReferrer);
    let run = shared.options.run.as_str();
    for (_, manifest) in &artifacts {
        let place = place(&name, request, manifest);
        shared.cache.record_attached(&place, run);
    }
    Ok(match outcome {
        AttachOutcome::Attached => artifacts
            .into_iter()
            .map(|(artifact, _)| artifact.title)
            .collect(),
        AttachOutcome::AlreadyThere => Vec::new(),
    })
}

fn place<'a>(
    registry: &'a str,
    request: &'a TagRequest,
    manifest: &'a ArtifactManifest,
) -> Attachment<'a> {
    Attachment {
        registry,
        repository: request.repository.as_str(),
        subject: &request.digest,
        artifact: &manifest.digest,
    }
}

/// All documents about an image. One more kind of them is one more entry here.
fn artifacts(task: &StageTask, image: &PlannedImage) -> Result<Vec<Artifact>, BackendError> {
    let (scans, sbom) = {
        let results = task.shared.results();
        let scans = results.scans.get(&image.id).cloned();
        (scans, results.sboms.get(&image.id).cloned())
    };
    let scans = scans.map(|scans| scan_result(task, scans)).transpose()?;
    Ok(scans.into_iter().chain(sbom).collect())
}

/// The result of `image-scan`. The registry is a sink like any other: secrets are masked.
fn scan_result(task: &StageTask, scans: Vec<Scan>) -> Result<Artifact, BackendError> {
    let redactor = &task.shared.options.redactor;
    let masked: Vec<Scan> = scans
        .into_iter()
        .map(|scan| Scan {
            findings: scan
                .findings
                .into_iter()
                .map(|finding| redactor.mask_finding(finding))
                .collect(),
            ..scan
        })
        .collect();
    task.shared.backends.scan_writer.write(&masked)
}

fn manifests(
    store: &dyn ImageStore,
    subject: &Digest,
    artifacts: Vec<Artifact>,
) -> Result<Vec<(Artifact, ArtifactManifest)>, BackendError> {
    let image = store.manifest(subject)?.ok_or_else(|| {
        BackendError::new(ErrorClass::NotFound, format!("find image {subject}"))
            .because("it is not in the store")
    })?;
    artifacts
        .into_iter()
        .map(|artifact| {
            let manifest = artifact.manifest(&image.descriptor)?;
            Ok((artifact, manifest))
        })
        .collect()
}
