//! What a layout holds, whoever wrote it: images by their names, through indexes of several platforms.

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use super::LayoutStore;
use crate::image::{self, REF_NAME, RawDescriptor, RawIndex};

/// Indexes in indexes are followed this deep.
const DEEPEST: usize = 3;

/// Entries of all indexes together; more has no layout, unless its indexes name each other over and over.
const MOST_ENTRIES: usize = 100_000;

/// Bytes of all documents together that the entries name. An entry costs few bytes, and the same document may be named by each.
pub(crate) const MOST_BYTES: u64 = 256 << 20;

/// An image of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// The name that the index gives it, or the index that it is in.
    pub name: Option<String>,
    /// Its manifest.
    pub digest: Digest,
    /// `linux/amd64`, `linux/arm64/v8`; `None` where only its config says.
    pub platform: Option<String>,
}

impl LayoutStore {
    /// All images, in the order of the index. Artifacts (documents about images) are none.
    ///
    /// # Errors
    /// Where an index cannot be read.
    pub fn images(&self) -> Result<Vec<ListedImage>, BackendError> {
        let index = self.layout.index()?;
        listed(&index, &|digest| self.layout.read_blob(digest))
    }
}

/// A blob's bytes, `None` where it is not there.
type ReadBlob<'r> = dyn Fn(&Digest) -> Result<Option<Vec<u8>>, BackendError> + 'r;

/// All images of an index.
pub(crate) fn listed(
    index: &RawIndex,
    read: &ReadBlob<'_>,
) -> Result<Vec<ListedImage>, BackendError> {
    let mut images = Vec::new();
    let mut left = Left {
        entries: MOST_ENTRIES,
        bytes: MOST_BYTES,
    };
    list(&index.manifests, read, None, 1, &mut left, &mut images)?;
    Ok(images)
}

/// What may still be read.
struct Left {
    entries: usize,
    bytes: u64,
}

fn list(
    entries: &[RawDescriptor],
    read: &ReadBlob<'_>,
    of: Option<&String>,
    depth: usize,
    left: &mut Left,
    images: &mut Vec<ListedImage>,
) -> Result<(), BackendError> {
    for entry in entries {
        let digest = entry.checked()?.digest;
        let invalid = |why: String| {
            BackendError::new(ErrorClass::Invalid, format!("read index entry {digest}"))
                .because(why)
        };
        left.entries = left
            .entries
            .checked_sub(1)
            .ok_or_else(|| invalid(format!("there are more than {MOST_ENTRIES} entries")))?;
        let name = entry.annotations.get(REF_NAME).or(of);
        let Some(bytes) = read(&digest)? else {
            continue;
        };
        left.bytes = left.bytes.checked_sub(bytes.len() as u64).ok_or_else(|| {
            invalid(format!(
                "all that the entries name has more than {} MiB",
                MOST_BYTES >> 20
            ))
        })?;
        if bytes.len() as u64 != entry.size {
            return Err(invalid(format!(
                "it has {} bytes, and the index says {}",
                bytes.len(),
                entry.size
            )));
        }
        if image::is_index(&entry.media_type) {
            let index: RawIndex = serde_json::from_slice(&bytes).map_err(|error| {
                let what = format!("read index {}", digest.short());
                BackendError::new(ErrorClass::Invalid, what).because(error)
            })?;
            if depth < DEEPEST {
                list(&index.manifests, read, name, depth + 1, left, images)?;
            }
            continue;
        }
        let platform = entry.platform.as_ref();
        let attestation = platform.is_some_and(|platform| platform.os == "unknown");
        if attestation || entry.artifact_type.is_some() || is_artifact(&bytes) {
            continue;
        }
        images.push(ListedImage {
            name: name.cloned(),
            digest: digest.clone(),
            platform: platform.map(|platform| {
                let variant = platform.variant.iter();
                let variant: String = variant.map(|variant| format!("/{variant}")).collect();
                format!("{}/{}{variant}", platform.os, platform.architecture)
            }),
        });
    }
    Ok(())
}

fn is_artifact(manifest: &[u8]) -> bool {
    image::artifact_type(manifest).is_some() || image::subject(manifest).is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_found_through_indexes_and_documents_about_them_are_not() {
        let mut blobs = BTreeMap::new();
        let mut put = |document: serde_json::Value| {
            let bytes = document.to_string().into_bytes();
            let digest = image::digest_of(&bytes);
            let size = bytes.len();
            blobs.insert(digest.clone(), bytes);
            (digest, size)
        };
        let entry = |media: &str, (digest, size): &(Digest, usize), more: serde_json::Value| {
            let mut entry = json!({ "mediaType": media, "digest": digest.as_str(), "size": size });
            for (key, value) in more.as_object().unwrap() {
                entry[key] = value.clone();
            }
            entry
        };
        let platform = |os: &str| json!({ "platform": { "os": os, "architecture": "arm64", "variant": "v8" } });
        let (one, two) = (put(json!({ "n": 1 })), put(json!({ "n": 2 })));
        let attestation = put(json!({ "n": 3 }));
        let sbom = put(json!({ "artifactType": "x/y" }));
        let inner = put(json!({
            "schemaVersion": 2,
            "manifests": [
                entry(image::OCI_MANIFEST, &two, platform("linux")),
                entry(image::OCI_MANIFEST, &attestation, platform("unknown")),
            ],
        }));
        let gone = (image::digest_of(b"gone"), 4);
        let name = |name: &str| json!({ "annotations": { (REF_NAME): name } });
        let index = json!({
            "schemaVersion": 2,
            "manifests": [
                entry(image::OCI_MANIFEST, &one, name("one")),
                entry(image::OCI_INDEX, &inner, name("two")),
                entry(image::OCI_MANIFEST, &sbom, json!({})),
                entry(image::OCI_MANIFEST, &gone, name("gone")),
            ],
        });
        let index: RawIndex = serde_json::from_value(index).unwrap();
        let images = listed(&index, &|digest| Ok(blobs.get(digest).cloned())).unwrap();
        let expected = [
            ListedImage {
                name: Some("one".to_owned()),
                digest: one.0,
                platform: None,
            },
            ListedImage {
                name: Some("two".to_owned()),
                digest: two.0,
                platform: Some("linux/arm64/v8".to_owned()),
            },
        ];
        assert_eq!(images, expected);
    }

    #[test]
    fn a_document_that_is_named_again_and_again_is_not_read_for_ever() {
        let bytes = vec![b' '; 1 << 20];
        let digest = image::digest_of(&bytes);
        let entry = json!({ "mediaType": image::OCI_MANIFEST, "digest": digest.as_str(), "size": bytes.len() });
        let index = |count: usize| -> RawIndex {
            let entries = vec![entry.clone(); count];
            serde_json::from_value(json!({ "schemaVersion": 2, "manifests": entries })).unwrap()
        };
        let reads = std::cell::Cell::new(0);
        let read = |_: &Digest| {
            reads.set(reads.get() + 1);
            Ok(Some(bytes.clone()))
        };
        assert_eq!(listed(&index(256), &read).unwrap().len(), 256);
        reads.set(0);
        let error = listed(&index(5000), &read).unwrap_err();
        assert!(
            error
                .cause
                .unwrap()
                .to_string()
                .contains("more than 256 MiB")
        );
        assert_eq!(reads.get(), 257);
    }
}
