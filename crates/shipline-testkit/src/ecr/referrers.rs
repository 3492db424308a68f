//! What refers to an image (OCI distribution specification 1.1), where the registry keeps lists of it.

use http::StatusCode;
use http::header::HeaderName;
use serde_json::{Value, json};

use super::data;
use super::server::{Answer, Asked, plain};
use super::state::State;

/// Says that the registry has seen what a manifest refers to.
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How a registry takes manifests that refer to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Referrers {
    /// It lists them.
    #[default]
    Listed,
    /// It takes them like any other manifest, and knows no lists.
    Unlisted,
    /// It refuses them.
    Refused,
}

/// What a manifest refers to.
pub(super) fn subject(manifest: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(manifest).ok()?;
    Some(document["subject"]["digest"].as_str()?.to_owned())
}

/// `GET /v2/<name>/referrers/<digest>`.
pub(super) fn answer(state: &mut State, asked: &Asked, name: &str, digest: &str) -> Answer {
    if state.behaviour.referrers != Referrers::Listed || asked.method != http::Method::GET {
        return plain(
            StatusCode::NOT_FOUND,
            "text/plain",
            "404 page not found\n".into(),
        );
    }
    if !digest.starts_with("sha256:") {
        return data::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest");
    }
    let wanted = asked.parameter("artifactType");
    let manifests = state
        .repositories
        .get(name)
        .into_iter()
        .flat_map(|repository| &repository.manifests);
    let entries: Vec<Value> = manifests
        .filter_map(|(own, manifest)| {
            let document: Value = serde_json::from_slice(&manifest.bytes).ok()?;
            if document["subject"]["digest"] != digest {
                return None;
            }
            let kind = document["artifactType"]
                .as_str()
                .or(document["config"]["mediaType"].as_str())?;
            if wanted.as_deref().is_some_and(|wanted| wanted != kind) {
                return None;
            }
            let mut entry = json!({
                "mediaType": manifest.media_type,
                "digest": own,
                "size": manifest.bytes.len(),
                "artifactType": kind,
            });
            if document["annotations"].is_object() {
                entry["annotations"] = document["annotations"].clone();
            }
            Some(entry)
        })
        .collect();
    let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let mut answer = plain(StatusCode::OK, INDEX, body.to_string().into());
    if wanted.is_some() {
        answer.headers_mut().insert(
            FILTERS_APPLIED,
            http::HeaderValue::from_static("artifactType"),
        );
    }
    answer
}

/// The documents that refer to an image, as a client finds them: artifact type and bytes.
pub(super) fn documents(state: &State, name: &str, digest: &str) -> Vec<(String, Vec<u8>)> {
    let Some(repository) = state.repositories.get(name) else {
        return Vec::new();
    };
    let documents = repository.manifests.values().filter_map(|manifest| {
        let document: Value = serde_json::from_slice(&manifest.bytes).ok()?;
        if document["subject"]["digest"] != digest {
            return None;
        }
        let blob = document["layers"][0]["digest"].as_str()?;
        let kind = document["artifactType"].as_str()?.to_owned();
        Some((kind, repository.blobs.get(blob)?.to_vec()))
    });
    documents.collect()
}
