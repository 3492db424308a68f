//! Documents about an image (the result of a scan, an SBOM) that lie in the registry beside it and refer to it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use shipline_model::name::Digest;

use crate::backend::{Descriptor, ImageStore};
use crate::error::{BackendError, ErrorClass};

/// Media type of the manifest (OCI image specification 1.1, image manifest with `subject`).
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the config that an artifact does not have.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// That config.
const EMPTY_CONFIG: &[u8] = b"{}";

/// A document about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Media type of the document, which is also the artifact's type (`application/sarif+json`).
    pub media_type: String,
    /// The file name under which tools save it.
    pub title: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// An artifact's manifest, and what it consists of. Nothing in it depends on when, where or by whom it was made: the same
/// document about the same image has the same digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactManifest {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The manifest.
    pub bytes: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Part<'a>,
    layers: [Part<'a>; 1],
    subject: Part<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Title<'a>>,
}

/// The name under which tools save the document.
#[derive(Serialize)]
struct Title<'a> {
    #[serde(rename = "org.opencontainers.image.title")]
    title: &'a str,
}

impl Artifact {
    /// The manifest of this document about `subject`.
    ///
    /// # Errors
    /// `Failed` where it cannot be written as JSON.
    pub fn manifest(&self, subject: &Descriptor) -> Result<ArtifactManifest, BackendError> {
        let (config, document) = (digest_of(EMPTY_CONFIG)?, digest_of(&self.bytes)?);
        let bytes = serde_json::to_vec(&Written {
            schema_version: 2,
            media_type: MANIFEST,
            artifact_type: &self.media_type,
            config: Part {
                media_type: EMPTY,
                digest: config.as_str(),
                size: EMPTY_CONFIG.len() as u64,
                annotations: None,
            },
            layers: [Part {
                media_type: &self.media_type,
                digest: document.as_str(),
                size: self.bytes.len() as u64,
                annotations: Some(Title { title: &self.title }),
            }],
            subject: Part {
                media_type: &subject.media_type,
                digest: subject.digest.as_str(),
                size: subject.size,
                annotations: None,
            },
        })
        .map_err(|error| {
            BackendError::new(ErrorClass::Failed, format!("write {}", self.title)).because(error)
        })?;
        Ok(ArtifactManifest {
            digest: digest_of(&bytes)?,
            bytes,
        })
    }

    /// Takes the document and its manifest into the store, from where registries take them like any image.
    ///
    /// # Errors
    /// As [`ImageStore::put_manifest`].
    pub fn keep(
        &self,
        manifest: &ArtifactManifest,
        store: &dyn ImageStore,
    ) -> Result<(), BackendError> {
        for part in [EMPTY_CONFIG, &self.bytes] {
            store.put_blob(&digest_of(part)?, &mut &*part)?;
        }
        store.put_manifest(MANIFEST, &manifest.bytes).map(|_| ())
    }
}

fn digest_of(bytes: &[u8]) -> Result<Digest, BackendError> {
    Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
        .map_err(|error| BackendError::new(ErrorClass::Invalid, "name a document").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_follows_from_document_and_image_alone() {
        let artifact = Artifact {
            media_type: "application/sarif+json".to_owned(),
            title: "image-scan.sarif.json".to_owned(),
            bytes: b"{\"version\":\"2.1.0\"}".to_vec(),
        };
        let subject = Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: digest_of(b"image").unwrap(),
            size: 5,
        };
        let manifest = artifact.manifest(&subject).unwrap();
        assert_eq!(manifest, artifact.manifest(&subject).unwrap());
        let text = String::from_utf8(manifest.bytes).unwrap();
        let expected = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"application/sarif+json","config":{{"mediaType":"{EMPTY}","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"layers":[{{"mediaType":"application/sarif+json","digest":"{}","size":19,"annotations":{{"org.opencontainers.image.title":"image-scan.sarif.json"}}}}],"subject":{{"mediaType":"{MANIFEST}","digest":"{}","size":5}}}}"#,
            digest_of(&artifact.bytes).unwrap(),
            subject.digest
        );
        assert_eq!(text, expected);
        let other = Descriptor {
            digest: digest_of(b"another image").unwrap(),
            ..subject
        };
        assert_ne!(artifact.manifest(&other).unwrap().digest, manifest.digest);
    }
}
