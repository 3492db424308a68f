//! Images into a registry by digest, and out of it into the store: several blobs at a time, manifest last, all read back.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use shipline_engine::backend::{Descriptor, ImageStore, Manifest, Reference, Uploaded};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::FaultPoint;
use shipline_engine::task::TaskContext;
use shipline_model::name::{Digest, RepositoryName};

use super::DistributionRegistry;
use super::body::Progress;
use crate::blocking::blocking;
use crate::image;

/// Blobs that are under way at the same time.
const AT_ONCE: usize = 4;

impl DistributionRegistry {
    pub(super) async fn push(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError> {
        let attempted = format!("push {digest} to {repository}");
        let (reader, wanted) = (Arc::clone(store), digest.clone());
        let manifest = blocking(&attempted, move || reader.manifest(&wanted))
            .await?
            .ok_or_else(|| {
                BackendError::new(ErrorClass::NotFound, attempted.clone())
                    .because("the image is not in the store")
                    .hint("build it again")
            })?;
        let sent = self.send_blobs(repository, &manifest, store, task).await?;
        self.push_manifest(repository, &manifest, task).await?;
        Ok(Uploaded { sent })
    }

    /// Makes sure that the repository has all blobs of an image; gives the bytes that were sent.
    pub(super) async fn send_blobs(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<u64, BackendError> {
        let blobs = blobs(manifest);
        let total = blobs.iter().map(|blob| blob.size).sum();
        let progress = Progress::new(format!("push {repository}"), total, Some(task));
        // (A closure over borrowed blobs would make this future less general than the trait wants it.)
        let mut sends = Vec::with_capacity(blobs.len());
        for blob in &blobs {
            sends.push(self.send_blob(repository, blob, store, &progress, task));
        }
        stream::iter(sends)
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |sum, sent| async move { Ok(sum + sent) })
            .await
    }

    async fn push_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        task: &TaskContext,
    ) -> Result<(), BackendError> {
        let reference = Reference::Digest(manifest.descriptor.digest.clone());
        let there = self
            .client
            .head_manifest(repository, &reference, Some(task))
            .await?;
        if there.is_none() {
            self.client
                .put_manifest(
                    repository,
                    &reference,
                    &manifest.descriptor,
                    &manifest.bytes,
                    task,
                )
                .await?;
        }
        self.faults.reach(FaultPoint::RegistryManifest);
        // Registries of several machines need a moment until each of them has it.
        let mut tries = self.client.tries(Some(task));
        loop {
            // `get_manifest` compares the bytes with the digest.
            let back = self
                .client
                .get_manifest(repository, &reference, Some(task))
                .await?;
            if back.is_some() {
                self.faults.reach(FaultPoint::RegistryManifestRead);
                return Ok(());
            }
            let digest = &manifest.descriptor.digest;
            let missing = BackendError::new(
                ErrorClass::Retryable,
                format!("read {digest} back from {repository}"),
            )
            .because("the registry took the manifest and does not have it");
            if let Err(mut error) = tries.after(missing.into()).await {
                // Patience is at its end: it is not late, it is lost.
                error.class = ErrorClass::Conflict;
                return Err(error);
            }
        }
    }

    /// A blob of at most `limit` bytes, verified; `None` where the registry does not have it.
    ///
    /// # Errors
    /// `Conflict` where its bytes are others, `Invalid` where there are more; those of the registry.
    pub(crate) async fn small_blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        limit: u64,
        task: &TaskContext,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let attempted = format!("read blob {} of {repository}", blob.digest);
        let limit = usize::try_from(limit.min(blob.size)).unwrap_or(usize::MAX);
        let mut tries = self.client.tries(Some(task));
        loop {
            let answer = match self.get_blob(repository, &blob.digest, 0, &attempted).await {
                Ok(response) => response.read(limit, &attempted).await.map_err(Into::into),
                Err(failed) => Err(failed),
            };
            match answer {
                Ok(bytes) if image::digest_of(&bytes) == blob.digest => return Ok(Some(bytes)),
                Ok(_) => {
                    return Err(BackendError::new(ErrorClass::Conflict, attempted)
                        .because("the registry gave other bytes"));
                }
                Err(failed) if failed.error.class == ErrorClass::NotFound => return Ok(None),
                Err(failed) => tries.after(failed).await?,
            }
        }
    }

    /// Pulls an image manifest that is known by its bytes, with all its blobs, into the store.
    ///
    /// # Errors
    /// `Invalid` where the bytes are no image manifest; `Conflict` where a blob has another digest or the layers are not those of
    /// the config; `Cancelled`.
    pub async fn pull(
        &self,
        repository: &RepositoryName,
        media_type: &str,
        bytes: Vec<u8>,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        let manifest = image::parse_manifest(Some(media_type), &bytes)?;
        let attempted = format!("pull {} of {repository}", manifest.descriptor.digest);
        let fetching = async {
            let blobs = blobs(&manifest);
            // The sizes are a stranger's word.
            let sizes = blobs.iter().map(|blob| blob.size);
            let total = sizes.fold(0, u64::saturating_add);
            let progress = Progress::new(format!("pull {repository}"), total, Some(task));
            let mut fetches = Vec::with_capacity(blobs.len());
            for blob in &blobs {
                fetches.push(self.fetch_blob(repository, blob, store, &progress, task));
            }
            stream::iter(fetches)
                .buffer_unordered(AT_ONCE)
                .try_fold(0, |sum, fetched| async move { Ok(sum + fetched) })
                .await?;
            let (writer, media_type) = (Arc::clone(store), media_type.to_owned());
            let pulled = manifest.clone();
            blocking(&attempted, move || {
                crate::pull::verify::layers(writer.as_ref(), &pulled)?;
                writer.put_manifest(&media_type, &bytes)
            })
            .await
        };
        cancelled(task, attempted.clone(), fetching).await
    }
}

/// Config and layers, each once: an image may hold the same layer several times.
fn blobs(manifest: &Manifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .filter(|blob| seen.insert(&blob.digest))
        .cloned()
        .collect()
}

/// The work, unless the task is told to stop meanwhile.
pub(crate) async fn cancelled<T>(
    task: &TaskContext,
    attempted: String,
    work: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    tokio::select! {
        biased;
        () = task.cancellation().cancelled() => {
            Err(BackendError::new(ErrorClass::Cancelled, attempted))
        }
        result = work => result,
    }
}
