//! Documents that refer to an image: listed by the registry itself (referrers API) or, where it has none, by us under the tag
//! that the specification keeps for that ("referrers tag schema").
//!
//! The tag names an index that every writer reads, adds to and writes again, and few registries can compare before they swap.
//! So what was written is read back, and written again where somebody else was quicker. A writer that overwrites between our
//! write and its own read is seen by nobody: the next run finds our entry missing and adds it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use shipline_engine::backend::{
    AttachOutcome, Descriptor, ImageStore, Manifest, Reference, Referrer,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_http::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use shipline_http::{Answer, Method, StatusCode};
use shipline_model::name::{Digest, RepositoryName};

use super::DistributionRegistry;
use super::client::{Call, Payload, header};
use super::failure::Refusal;
use super::manifests::{next_page, pull_scope, push_scope};
use crate::blocking::blocking;
use crate::image::{self, OCI_INDEX, RawDescriptor};

/// Longest page of a list of referrers, or index of them.
const LIST_BYTES: usize = 8 << 20;
/// Pages of a list of referrers, against registries that go round in circles.
const PAGES: usize = 1_000;
/// Most referrers of one image.
const REFERRERS: usize = 100_000;
/// How often the index under the tag is written while others write it.
const ROUNDS: u32 = 5;

/// Where a registry that does not list referrers itself may have them listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FallbackTag {
    /// Under a tag of the image's repository.
    Allowed,
    /// Nowhere: tags there can be immutable, and the registry is known to list them itself.
    Forbidden,
}

/// Who lists the referrers of an image, and which ones.
enum Listing {
    /// The registry.
    Api(Vec<Referrer>),
    /// Whoever writes the index under the tag.
    Tag(TaggedIndex),
}

/// The index under the tag as it was read, with everything that others wrote into it.
struct TaggedIndex {
    document: Value,
    state: IndexState,
}

/// What tells the registry which index a new one is to replace.
enum IndexState {
    /// There was none.
    Absent,
    /// There was one; its `ETag`, where the registry gives one.
    Present(Option<HeaderValue>),
}

impl Listing {
    fn referrers(&self) -> Vec<Referrer> {
        match self {
            Self::Api(referrers) => referrers.clone(),
            Self::Tag(index) => referrers(&index.document),
        }
    }
}

/// Those of the artifacts that are not listed.
fn lacking<'a>(listed: &[Referrer], artifacts: &'a [Digest]) -> Vec<&'a Digest> {
    let is_listed = |digest: &Digest| {
        listed
            .iter()
            .any(|referrer| referrer.descriptor.digest == *digest)
    };
    artifacts
        .iter()
        .filter(|digest| !is_listed(digest))
        .collect()
}

/// One request about the referrers of an image.
struct Place<'a> {
    repository: &'a RepositoryName,
    subject: &'a Digest,
    path: String,
    attempted: String,
    task: Option<&'a TaskContext>,
}

impl DistributionRegistry {
    pub(super) async fn list_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError> {
        let place = self.place(repository, subject, "list what refers to", None);
        Ok(self.listing(&place).await?.referrers())
    }

    pub(super) async fn attach_all(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError> {
        let place = self.place(repository, subject, "attach documents to", Some(task));
        let listing = self.listing(&place).await?;
        let missing = lacking(&listing.referrers(), artifacts);
        if missing.is_empty() {
            return Ok(AttachOutcome::AlreadyThere);
        }
        let mut manifests = Vec::with_capacity(missing.len());
        for digest in missing {
            manifests.push(self.send_artifact(&place, digest, store, task).await?);
        }
        match listing {
            Listing::Api(_) => {}
            Listing::Tag(index) => self.list_under_tag(&place, index, &manifests).await?,
        }
        let listed = self.listing(&place).await?.referrers();
        match lacking(&listed, artifacts).first() {
            None => Ok(AttachOutcome::Attached),
            Some(digest) => Err(BackendError::new(ErrorClass::Unavailable, place.attempted)
                .because(format!("the registry took {digest} and does not list it"))),
        }
    }

    fn place<'a>(
        &self,
        repository: &'a RepositoryName,
        subject: &'a Digest,
        attempt: &str,
        task: Option<&'a TaskContext>,
    ) -> Place<'a> {
        let address = &self.client.address;
        Place {
            path: address.path(repository),
            attempted: format!("{attempt} {}@{subject}", address.image_name(repository)),
            repository,
            subject,
            task,
        }
    }

    /// Uploads one document and its manifest by digest.
    async fn send_artifact(
        &self,
        place: &Place<'_>,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Manifest, BackendError> {
        let (reader, wanted) = (Arc::clone(store), digest.clone());
        let manifest = blocking(&place.attempted, move || reader.manifest(&wanted))
            .await?
            .ok_or_else(|| {
                BackendError::new(ErrorClass::NotFound, place.attempted.clone())
                    .because(format!("{digest} is not in the store"))
            })?;
        self.send_blobs(place.repository, &manifest, store, task)
            .await?;
        // Also where it is there already: a registry that learned to list since then looks at it now.
        self.client
            .put_manifest(
                place.repository,
                &Reference::Digest(digest.clone()),
                &manifest.descriptor,
                &manifest.bytes,
                task,
            )
            .await?;
        Ok(manifest)
    }

    async fn listing(&self, place: &Place<'_>) -> Result<Listing, BackendError> {
        if !self.lists_nothing.load(Ordering::Relaxed)
            && let Some(referrers) = self.api_listing(place).await?
        {
            return Ok(Listing::Api(referrers));
        }
        match self.fallback {
            FallbackTag::Allowed => self.tagged_index(place).await.map(Listing::Tag),
            FallbackTag::Forbidden => Err(BackendError::new(
                ErrorClass::Unavailable,
                place.attempted.clone(),
            )
            .because("the registry does not list what refers to an image")),
        }
    }

    /// What the referrers API lists; `None` where the registry has no such API.
    async fn api_listing(&self, place: &Place<'_>) -> Result<Option<Vec<Referrer>>, BackendError> {
        let scope = pull_scope(&place.path);
        let mut to = format!("/v2/{}/referrers/{}", place.path, place.subject);
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..PAGES {
            let headers: [(HeaderName, &str); 1] = [(ACCEPT, OCI_INDEX)];
            let mut call = Call::new(Method::GET, &to, &scope, &place.attempted);
            call.headers = &headers;
            let expected = [
                StatusCode::OK,
                StatusCode::NOT_FOUND,
                StatusCode::METHOD_NOT_ALLOWED,
                StatusCode::NOT_IMPLEMENTED,
            ];
            let response = self.client.insist(&call, &expected, place.task).await?;
            if response.status() != StatusCode::OK {
                return self.without_api(place, response).await;
            }
            let is_index = header(response.headers(), CONTENT_TYPE.as_str())
                .is_some_and(|media_type| media_type.starts_with(OCI_INDEX));
            let next = next_page(&response);
            let bytes = self.read_list(place, response).await?;
            let document = serde_json::from_slice::<Value>(&bytes).ok();
            let Some(document) = document.filter(|_| is_index) else {
                // Something answers, and it is not this API.
                self.lists_nothing.store(true, Ordering::Relaxed);
                return Ok(None);
            };
            all.extend(referrers(&document));
            if all.len() > REFERRERS {
                break;
            }
            match next {
                Some(next) if seen.insert(next.clone()) => to = next,
                Some(_) | None => return Ok(Some(all)),
            }
        }
        Err(
            BackendError::new(ErrorClass::Invalid, place.attempted.clone())
                .because("the registry's list of referrers does not end"),
        )
    }

    async fn without_api(
        &self,
        place: &Place<'_>,
        response: Answer,
    ) -> Result<Option<Vec<Referrer>>, BackendError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let line = response.line().clone();
        let body = self.read_list(place, response).await.unwrap_or_default();
        if Refusal::read(line, status, &headers, &body).has("NAME_UNKNOWN") {
            return Ok(Some(Vec::new()));
        }
        self.lists_nothing.store(true, Ordering::Relaxed);
        Ok(None)
    }

    async fn read_list(
        &self,
        place: &Place<'_>,
        response: Answer,
    ) -> Result<Vec<u8>, BackendError> {
        response.read(LIST_BYTES, &place.attempted).await
    }

    async fn tagged_index(&self, place: &Place<'_>) -> Result<TaggedIndex, BackendError> {
        let to = format!("/v2/{}/manifests/{}", place.path, tag(place.subject));
        let scope = pull_scope(&place.path);
        let headers: [(HeaderName, &str); 1] = [(ACCEPT, OCI_INDEX)];
        let mut call = Call::new(Method::GET, &to, &scope, &place.attempted);
        call.headers = &headers;
        let expected = [StatusCode::OK, StatusCode::NOT_FOUND];
        let response = self.client.insist(&call, &expected, place.task).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(TaggedIndex {
                document: json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }),
                state: IndexState::Absent,
            });
        }
        let state = IndexState::Present(response.headers().get(ETAG).cloned());
        let bytes = self.read_list(place, response).await?;
        let document: Option<Value> = serde_json::from_slice(&bytes).ok();
        let document = document.filter(|document| document["manifests"].is_array());
        match document {
            Some(document) => Ok(TaggedIndex { document, state }),
            None => Err(
                BackendError::new(ErrorClass::Conflict, place.attempted.clone()).because(format!(
                    "{}, where others look for what refers to the image, names something else",
                    tag(place.subject)
                )),
            ),
        }
    }

    async fn list_under_tag(
        &self,
        place: &Place<'_>,
        mut index: TaggedIndex,
        manifests: &[Manifest],
    ) -> Result<(), BackendError> {
        let wanted: Vec<Digest> = manifests
            .iter()
            .map(|manifest| manifest.descriptor.digest.clone())
            .collect();
        for _ in 0..ROUNDS {
            let listed = referrers(&index.document);
            let missing = lacking(&listed, &wanted);
            if missing.is_empty() {
                return Ok(());
            }
            let TaggedIndex {
                mut document,
                state,
            } = index;
            if let Some(entries) = document["manifests"].as_array_mut() {
                for manifest in manifests {
                    if missing.contains(&&manifest.descriptor.digest) {
                        entries.push(entry(manifest)?);
                    }
                }
            }
            self.write_index(place, &document, &state).await?;
            index = self.tagged_index(place).await?;
        }
        Err(
            BackendError::new(ErrorClass::Unavailable, place.attempted.clone())
                .because(format!("others write {} all the time", tag(place.subject))),
        )
    }

    /// Writes the index under the tag, unless another one is there meanwhile and the registry can tell.
    async fn write_index(
        &self,
        place: &Place<'_>,
        document: &Value,
        state: &IndexState,
    ) -> Result<(), BackendError> {
        let to = format!("/v2/{}/manifests/{}", place.path, tag(place.subject));
        let scope = push_scope(&place.path);
        let mut headers: Vec<(HeaderName, &str)> = vec![(CONTENT_TYPE, OCI_INDEX)];
        match state {
            IndexState::Absent => headers.push((IF_NONE_MATCH, "*")),
            IndexState::Present(etag) => headers.extend(
                etag.as_ref()
                    .and_then(|etag| Some((IF_MATCH, etag.to_str().ok()?))),
            ),
        }
        let bytes = image::to_json(document)?;
        let mut call = Call::new(Method::PUT, &to, &scope, &place.attempted);
        call.headers = &headers;
        call.payload = Payload::Bytes(bytes.into());
        let expected = [
            StatusCode::CREATED,
            StatusCode::OK,
            StatusCode::ACCEPTED,
            StatusCode::PRECONDITION_FAILED,
        ];
        self.client.insist(&call, &expected, place.task).await?;
        Ok(())
    }
}

/// The tag that the specification keeps for what refers to an image.
fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Whether a tag is one of those.
pub(super) fn is_fallback_tag(tag: &str) -> bool {
    tag.strip_prefix("sha256-")
        .is_some_and(|hex| Digest::new(format!("sha256:{hex}")).is_ok())
}

/// An index's entry for an artifact (distribution specification: with its type and annotations).
fn entry(manifest: &Manifest) -> Result<Value, BackendError> {
    let document: Value = serde_json::from_slice(&manifest.bytes).map_err(|error| {
        BackendError::new(ErrorClass::Invalid, "list a document").because(error)
    })?;
    let Descriptor {
        media_type,
        digest,
        size,
    } = &manifest.descriptor;
    let mut entry = json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size });
    for key in ["artifactType", "annotations"] {
        if let Some(value) = document.get(key) {
            entry[key] = value.clone();
        }
    }
    Ok(entry)
}

fn referrers(index: &Value) -> Vec<Referrer> {
    let entries = index["manifests"].as_array().into_iter().flatten();
    entries
        .filter_map(|entry| {
            // What is no descriptor cannot be fetched, and so is no referrer.
            let raw: RawDescriptor = serde_json::from_value(entry.clone()).ok()?;
            Some(Referrer {
                descriptor: raw.checked().ok()?,
                artifact_type: raw.artifact_type,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_referrers_are_no_tags_of_images() {
        let hex = "0".repeat(64);
        assert!(is_fallback_tag(&format!("sha256-{hex}")));
        for tag in [
            "sha256-1234",
            "staging-0123abcd-20260102030405",
            "sha256-",
            &hex,
        ] {
            assert!(!is_fallback_tag(tag), "{tag}");
        }
    }

    #[test]
    fn what_others_wrote_into_an_index_is_read_and_kept() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let index = json!({
            "schemaVersion": 2,
            "manifests": [
                { "mediaType": "m", "digest": digest, "size": 3, "artifactType": "t", "data": "e30=" },
                { "mediaType": "m", "digest": "sha512:x", "size": 3 },
                7,
            ],
        });
        let found = referrers(&index);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].artifact_type.as_deref(), Some("t"));
    }
}
