//! The documents of the OCI image specification, as they are written and read: descriptors, index, manifest and config.

use std::collections::BTreeMap;
use std::io::Read as _;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{Descriptor, ImageStore, Manifest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a gzip-compressed OCI layer.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a Zstandard-compressed OCI layer.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Media type of an uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Media type of a gzip-compressed Docker layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Media type of a Zstandard-compressed Docker layer, which no specification has and engines write.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Annotation that names an image in a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A descriptor as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawDescriptor {
    /// Media type.
    pub media_type: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub urls: Vec<String>,
    /// Notes by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<RawPlatform>,
    /// The type of an artifact, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// A platform as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawPlatform {
    /// `amd64`, `arm64` …; empty where nobody said.
    #[serde(default)]
    pub architecture: String,
    /// `linux`; empty where nobody said.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Required features of the operating system.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub os_features: Vec<String>,
    /// `v8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An image index as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawIndex {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of the index itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it lists.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub manifests: Vec<RawDescriptor>,
    /// Notes by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl RawIndex {
    /// An index that lists nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// An image manifest as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawManifest {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of the manifest itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its config.
    pub config: RawDescriptor,
    /// Its layers, base first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<RawDescriptor>,
    /// Notes by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An image config as it is written (OCI image configuration; Docker's fields that OCI lacks are kept too).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`, `arm64` …
    #[serde(default)]
    pub architecture: String,
    /// `v8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// What a container of it starts with.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub config: ContainerConfig,
    /// Its layers, uncompressed.
    pub rootfs: RootFs,
    /// One entry for each instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
}

/// The uncompressed layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// SHA-256 of each layer's tar, base first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<String>,
}

/// One instruction of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "null_is_empty"
    )]
    pub empty_layer: bool,
}

/// A value that JSON writes as `{}`: a member of a set that is written as an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Present {}

/// What a container of an image starts with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User, or `user:group`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub user: String,
    /// `80/tcp` …
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub exposed_ports: BTreeMap<String, Present>,
    /// `NAME=value`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub env: Vec<String>,
    /// What is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments, or what is started where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How the container's health is told (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Mount points.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub volumes: BTreeMap<String, Present>,
    /// Working directory.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub working_dir: String,
    /// Instructions for images built on this one (Docker).
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub on_build: Vec<String>,
    /// Labels, in the order of their keys.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// What ends the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Shell of the shell form (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// How a container's health is told; times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// For one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two checks in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Go writes an empty map or list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A `docker load` archive's list of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerArchiveEntry {
    /// Path of the config in the archive.
    pub config: String,
    /// `repository:tag`.
    pub repo_tags: Vec<String>,
    /// Paths of the layers in the archive, base first.
    pub layers: Vec<String>,
}

/// Manifests and indexes are read up to this many bytes; registries take 4 MiB.
pub const LARGEST_DOCUMENT: u64 = 64 * 1024 * 1024;

/// Why a document was not read.
pub(crate) fn too_large(what: &str) -> BackendError {
    BackendError::new(ErrorClass::Invalid, format!("read {what}")).because(format!(
        "it has more than {} MiB: it is no manifest and no index",
        LARGEST_DOCUMENT >> 20
    ))
}

/// Larger configs than this are not what any builder makes, in bytes.
pub const LARGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// An image's config, out of a store.
///
/// # Errors
/// `Invalid` where it is larger than any config or is none; those of the store.
pub fn read_config(
    store: &dyn ImageStore,
    config: &Descriptor,
) -> Result<ImageConfig, BackendError> {
    let failed = |class| BackendError::new(class, format!("read image config {}", config.digest));
    let mut bytes = Vec::new();
    store
        .open(&config.digest)?
        .take(LARGEST_CONFIG + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(ErrorClass::Failed).because(error))?;
    if bytes.len() as u64 > LARGEST_CONFIG {
        return Err(failed(ErrorClass::Invalid)
            .because(format!("it has more than {} MiB", LARGEST_CONFIG >> 20)));
    }
    serde_json::from_slice(&bytes).map_err(|error| failed(ErrorClass::Invalid).because(error))
}

/// The digest of these bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    digest_from(Sha256::digest(bytes).as_slice())
}

/// The digest whose 32 bytes these are.
#[must_use]
pub fn digest_from(hash: &[u8]) -> Digest {
    let text = format!("sha256:{}", hex::encode(hash));
    match Digest::new(text) {
        Ok(digest) => digest,
        Err(error) => unreachable!("a SHA-256 is a digest: {error}"),
    }
}

impl RawDescriptor {
    /// A descriptor without annotations.
    #[must_use]
    pub fn new(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Checked: the digest is one.
    ///
    /// # Errors
    /// `Invalid` where the digest is none that we can verify.
    pub fn checked(&self) -> Result<Descriptor, BackendError> {
        Ok(Descriptor {
            media_type: self.media_type.clone(),
            digest: Digest::new(self.digest.as_str()).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, "read a descriptor").because(error)
            })?,
            size: self.size,
        })
    }
}

/// Whether this media type names a layer that we can read.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    matches!(
        media_type,
        OCI_LAYER | OCI_LAYER_GZIP | OCI_LAYER_ZSTD | DOCKER_LAYER_GZIP | DOCKER_LAYER_ZSTD
    )
}

/// Whether this media type names an index of several images.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_INDEX
}

/// Reads an image manifest (OCI or Docker schema 2). `media_type` is what the outside said, the document's own word and its
/// config's type stand in for it.
///
/// # Errors
/// `Invalid` where the bytes are no image manifest.
pub fn parse_manifest(media_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, BackendError> {
    let invalid = |why: &str| BackendError::new(ErrorClass::Invalid, why.to_owned());
    let raw: RawManifest = serde_json::from_slice(bytes)
        .map_err(|error| invalid("read an image manifest").because(error))?;
    let own = raw.media_type.as_deref().or(media_type).unwrap_or(
        if raw.config.media_type == DOCKER_CONFIG {
            DOCKER_MANIFEST
        } else {
            OCI_MANIFEST
        },
    );
    if own != OCI_MANIFEST && own != DOCKER_MANIFEST {
        return Err(invalid("read an image manifest").because(format!("its media type is `{own}`")));
    }
    if let Some(said) = media_type
        && said != own
    {
        return Err(invalid("read an image manifest").because(format!(
            "it was announced as `{said}` and says of itself that it is `{own}`"
        )));
    }
    Ok(Manifest {
        descriptor: Descriptor {
            media_type: own.to_owned(),
            digest: digest_of(bytes),
            size: bytes.len() as u64,
        },
        bytes: bytes.to_vec(),
        config: raw.config.checked()?,
        layers: raw
            .layers
            .iter()
            .map(RawDescriptor::checked)
            .collect::<Result<_, _>>()?,
    })
}

/// What a manifest says of itself where it is an artifact's and not an image's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArtifact {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    subject: Option<RawDescriptor>,
}

/// The type of the artifact whose manifest this is; `None`: it is an image's.
#[must_use]
pub fn artifact_type(manifest: &[u8]) -> Option<String> {
    serde_json::from_slice::<RawArtifact>(manifest)
        .ok()?
        .artifact_type
}

/// What the artifact whose manifest this is refers to.
#[must_use]
pub fn subject(manifest: &[u8]) -> Option<Digest> {
    let artifact = serde_json::from_slice::<RawArtifact>(manifest).ok()?;
    Some(artifact.subject?.checked().ok()?.digest)
}

/// A document as the bytes that are stored and hashed.
///
/// # Errors
/// `Failed` where it cannot be written as JSON.
pub fn to_json<T: Serialize>(document: &T) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(document).map_err(|error| {
        BackendError::new(ErrorClass::Failed, "write an image document").because(error)
    })
}

/// `NAME=value` entries by name, in order of first mention.
#[must_use]
pub fn environment(entries: &[String]) -> IndexMap<String, String> {
    entries
        .iter()
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry.clone(), String::new()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_go_wrote_with_nulls_is_read() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["/bin/sh"],"Volumes":null,"Labels":null,
               "ExposedPorts":{"80/tcp":{}},"OnBuild":null,"Entrypoint":null},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        )
        .unwrap();
        assert_eq!(config.config.cmd, Some(vec!["/bin/sh".to_owned()]));
        assert!(config.config.exposed_ports.contains_key("80/tcp"));
    }

    #[test]
    fn whatever_may_lack_may_be_null() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#,
        )
        .unwrap();
        assert_eq!(config.config, ContainerConfig::default());
        assert!(config.rootfs.diff_ids.is_empty());
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"},"history":[{"empty_layer":null}],
               "config":{"User":null,"WorkingDir":null,"Healthcheck":{"Test":null},"Cmd":null,"StopSignal":null,"Shell":null}}"#,
        )
        .unwrap();
        assert_eq!(config.config.user, "");
        let digest = digest_of(b"");
        let index: RawIndex = serde_json::from_str(&format!(
            r#"{{"schemaVersion":2,"annotations":null,"manifests":[
               {{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":0,"urls":null,"annotations":null,"platform":null}},
               {{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":0,"platform":{{}}}},
               {{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":0,"platform":{{"os":"linux","architecture":"arm","os.features":null}}}}]}}"#,
        ))
        .unwrap();
        assert_eq!(index.manifests.len(), 3);
        let index: RawIndex =
            serde_json::from_str(r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert!(index.manifests.is_empty());
    }

    #[test]
    fn a_manifest_is_what_it_says_it_is() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{DOCKER_CONFIG}","digest":"{digest}","size":2}},"layers":[]}}"#
        );
        let manifest = parse_manifest(None, text.as_bytes()).unwrap();
        assert_eq!(manifest.descriptor.media_type, DOCKER_MANIFEST);
        assert!(parse_manifest(Some(OCI_INDEX), text.as_bytes()).is_err());
        assert!(
            parse_manifest(
                None,
                b"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x\",\"digest\":\"y\",\"size\":1}}"
            )
            .is_err()
        );
        assert!(parse_manifest(None, b"[]").is_err());
    }
}
