//! Images in memory, for the tests of all scanners.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::sync::Mutex;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{Descriptor, ImageStore, Manifest, Verified};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const TAR_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A store of blobs in memory, with one manifest.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub(crate) manifest: Mutex<Option<Manifest>>,
    /// What it verified when it took the image in: everything, unless said.
    pub(crate) verified: Option<Verified>,
}

impl Memory {
    fn put(&self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let digest =
            Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))).unwrap();
        let size = bytes.len() as u64;
        self.blobs.lock().unwrap().insert(digest.clone(), bytes);
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
        }
    }
}

impl ImageStore for Memory {
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError> {
        let manifest = self.manifest.lock().unwrap().clone();
        Ok(manifest.filter(|manifest| manifest.descriptor.digest == *digest))
    }

    fn is_whole(&self, _: &Digest) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BackendError> {
        let bytes = self.blobs.lock().unwrap().get(digest).cloned();
        let bytes = bytes.ok_or_else(|| BackendError::new(ErrorClass::NotFound, "open a blob"))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn size(&self, _: &Digest) -> Result<Option<u64>, BackendError> {
        Ok(None)
    }

    fn verified(&self) -> Verified {
        self.verified.unwrap_or(Verified::WhenTaken)
    }

    fn put_blob(&self, _: &Digest, _: &mut dyn Read) -> Result<(), BackendError> {
        Err(BackendError::new(ErrorClass::Invalid, "put a blob"))
    }

    fn put_manifest(&self, _: &str, _: &[u8]) -> Result<Digest, BackendError> {
        Err(BackendError::new(ErrorClass::Invalid, "put a manifest"))
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image of these layers (media type, blob) and this config.
pub(crate) fn image(config: &str, layers: &[(&str, Vec<u8>)]) -> (Memory, Digest) {
    let store = Memory::default();
    let config = store.put(
        "application/vnd.oci.image.config.v1+json",
        config.as_bytes().to_vec(),
    );
    let layers = layers
        .iter()
        .map(|(media, bytes)| store.put(media, bytes.clone()))
        .collect();
    let descriptor = store.put(
        "application/vnd.oci.image.manifest.v1+json",
        b"manifest".to_vec(),
    );
    let digest = descriptor.digest.clone();
    *store.manifest.lock().unwrap() = Some(Manifest {
        descriptor,
        bytes: Vec::new(),
        config,
        layers,
    });
    (store, digest)
}

pub(crate) fn context(cancel: CancellationToken) -> TaskContext {
    let id = shipline_model::plan::TaskId {
        stage: "image-scan".parse().unwrap(),
        component: Some("frontend".parse().unwrap()),
        variant: None,
    };
    TaskContext::new(id, mpsc::channel(1).0, cancel)
}
