//! Tags: all of a request are looked at before the first is set, each is read back.

use shipline_engine::backend::{Descriptor, Reference, TagOutcome, TagRequest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::FaultPoint;
use shipline_engine::task::TaskContext;
use shipline_model::name::{Digest, RepositoryName};

use super::DistributionRegistry;
use crate::image;
use crate::registry::tags::{CONFIG_BYTES, Origin, TagConflicts, check_tags};

/// What has to be written for a request; `None`: nothing.
type Pending = Option<(Descriptor, Vec<u8>)>;

impl DistributionRegistry {
    pub(super) async fn set_tags(
        &self,
        requests: &[TagRequest],
        task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError> {
        check_tags(requests)?;
        let pending = self.look_at_tags(requests, task).await?;
        let mut outcomes = Vec::with_capacity(requests.len());
        for (request, pending) in requests.iter().zip(pending) {
            let Some((descriptor, bytes)) = pending else {
                outcomes.push(TagOutcome::AlreadyThere);
                continue;
            };
            self.set_tag(request, &descriptor, &bytes, task).await?;
            self.faults.reach(FaultPoint::RegistryTag);
            outcomes.push(TagOutcome::Set);
        }
        Ok(outcomes)
    }

    async fn look_at_tags(
        &self,
        requests: &[TagRequest],
        task: &TaskContext,
    ) -> Result<Vec<Pending>, BackendError> {
        let mut pending = Vec::with_capacity(requests.len());
        let mut conflicts = TagConflicts::default();
        for request in requests {
            let tag = Reference::Tag(request.tag.clone());
            let found = self
                .client
                .head_manifest(&request.repository, &tag, Some(task))
                .await?;
            match found {
                Some(found) if found.digest == request.digest => pending.push(None),
                Some(found) => {
                    let origin = self.origin(&request.repository, &found.digest).await;
                    conflicts.add(request, &found.digest, &origin);
                }
                None => {
                    let digest = Reference::Digest(request.digest.clone());
                    let manifest = self
                        .client
                        .get_manifest(&request.repository, &digest, Some(task))
                        .await?
                        .ok_or_else(|| {
                            BackendError::new(
                                ErrorClass::NotFound,
                                format!("tag {}:{}", request.repository, request.tag),
                            )
                            .because(format!("image {} is not in the repository", request.digest))
                        })?;
                    pending.push(Some(manifest));
                }
            }
        }
        conflicts.into_result()?;
        Ok(pending)
    }

    /// What an image says of where it comes from. A conflict stands without it, so that nothing is an error here.
    pub(in crate::registry) async fn origin(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Origin {
        let config = async {
            let reference = Reference::Digest(digest.clone());
            let (_, bytes) = self
                .client
                .get_manifest(repository, &reference, None)
                .await
                .ok()??;
            let manifest = image::parse_manifest(None, &bytes).ok()?;
            let attempted = format!("read the config of {digest}");
            let config = &manifest.config.digest;
            let response = self
                .get_blob(repository, config, 0, &attempted)
                .await
                .ok()?;
            response.read(CONFIG_BYTES, &attempted).await.ok()
        };
        Origin::of_config(&config.await.unwrap_or_default())
    }

    async fn set_tag(
        &self,
        request: &TagRequest,
        descriptor: &Descriptor,
        bytes: &[u8],
        task: &TaskContext,
    ) -> Result<(), BackendError> {
        let reference = Reference::Tag(request.tag.clone());
        let written = self
            .client
            .put_manifest(&request.repository, &reference, descriptor, bytes, task)
            .await;
        self.faults.reach(FaultPoint::RegistryTagTaken);
        // Whatever was answered (an immutable tag that somebody set meanwhile, a connection cut after the fact): what the tag
        // names now decides.
        let mut found = self
            .client
            .head_manifest(&request.repository, &reference, Some(task))
            .await;
        if let (Ok(()), Ok(None)) = (&written, &found) {
            // What answers `HEAD` may be a cache that still knows it as missing.
            let got = self
                .client
                .get_manifest(&request.repository, &reference, Some(task))
                .await;
            found = got.map(|got| got.map(|(descriptor, _)| descriptor));
        }
        match (written, found) {
            (_, Ok(Some(found))) if found.digest == request.digest => Ok(()),
            (_, Ok(Some(found))) => {
                let mut conflicts = TagConflicts::default();
                let origin = self.origin(&request.repository, &found.digest).await;
                conflicts.add(request, &found.digest, &origin);
                conflicts.into_result()
            }
            (Err(error), _) => Err(error),
            (Ok(()), Ok(None)) => Err(BackendError::new(
                ErrorClass::Conflict,
                format!("read tag {}:{} back", request.repository, request.tag),
            )
            .because("the registry took the tag and does not have it")),
            (Ok(()), Err(error)) => Err(error),
        }
    }
}
