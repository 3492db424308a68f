//! An image store in memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use shipline_engine::backend::{Descriptor, ImageStore, Manifest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use super::{digest_of, lock};

/// An image store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    manifests: Mutex<BTreeMap<Digest, Manifest>>,
    names: Mutex<BTreeMap<String, Digest>>,
}

impl MemoryStore {
    /// Takes an image apart again: nothing of it is there any more.
    pub fn forget(&self, digest: &Digest) {
        lock(&self.manifests).remove(digest);
    }

    /// The image with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Digest> {
        lock(&self.names).get(name).cloned()
    }

    /// A blob's bytes.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        lock(&self.blobs).get(digest).cloned()
    }
}

impl ImageStore for MemoryStore {
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError> {
        Ok(lock(&self.manifests).get(digest).cloned())
    }

    fn is_whole(&self, digest: &Digest) -> Result<bool, BackendError> {
        let manifests = lock(&self.manifests);
        let blobs = lock(&self.blobs);
        Ok(manifests.get(digest).is_some_and(|manifest| {
            manifest
                .layers
                .iter()
                .chain([&manifest.config])
                .all(|part| blobs.contains_key(&part.digest))
        }))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BackendError> {
        match self.blob(digest) {
            Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes))),
            None => Err(missing(digest)),
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError> {
        Ok(self.blob(digest).map(|bytes| bytes.len() as u64))
    }

    fn put_blob(&self, digest: &Digest, bytes: &mut dyn Read) -> Result<(), BackendError> {
        let mut content = Vec::new();
        bytes.read_to_end(&mut content).map_err(|cause| {
            BackendError::new(ErrorClass::Failed, format!("read blob {digest}")).because(cause)
        })?;
        if digest_of(&content) != *digest {
            return Err(BackendError::new(
                ErrorClass::Conflict,
                format!("take blob {digest}: its bytes have another digest"),
            ));
        }
        lock(&self.blobs).insert(digest.clone(), content);
        Ok(())
    }

    fn put_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<Digest, BackendError> {
        let digest = digest_of(bytes);
        let invalid = || {
            BackendError::new(
                ErrorClass::Invalid,
                format!("take manifest {digest}: it is none"),
            )
        };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| invalid())?;
        let descriptor = |value: &serde_json::Value| -> Option<Descriptor> {
            Some(Descriptor {
                media_type: value["mediaType"].as_str()?.to_owned(),
                digest: Digest::new(value["digest"].as_str()?).ok()?,
                size: value["size"].as_u64()?,
            })
        };
        let config = descriptor(&value["config"]).ok_or_else(invalid)?;
        let layers: Vec<Descriptor> = value["layers"]
            .as_array()
            .ok_or_else(invalid)?
            .iter()
            .map(|layer| descriptor(layer).ok_or_else(invalid))
            .collect::<Result<_, _>>()?;
        for part in layers.iter().chain([&config]) {
            if !lock(&self.blobs).contains_key(&part.digest) {
                return Err(missing(&part.digest));
            }
        }
        let manifest = Manifest {
            descriptor: Descriptor {
                media_type: media_type.to_owned(),
                digest: digest.clone(),
                size: bytes.len() as u64,
            },
            bytes: bytes.to_vec(),
            config,
            layers,
        };
        lock(&self.manifests).insert(digest.clone(), manifest);
        Ok(digest)
    }

    fn name_image(&self, digest: &Digest, name: &str) -> Result<(), BackendError> {
        lock(&self.names).insert(name.to_owned(), digest.clone());
        Ok(())
    }
}

fn missing(digest: &Digest) -> BackendError {
    BackendError::new(
        ErrorClass::NotFound,
        format!("find blob {digest}: it is not there"),
    )
}
