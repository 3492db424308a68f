//! The image store: the one place where images live between builder, scanners and registry.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use shipline_model::name::Digest;

use crate::error::{BackendError, ErrorClass};
use crate::folder::Place;

/// A blob, manifest or index, by content (OCI `descriptor`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// OCI or Docker media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// An image manifest, read and verified (OCI image manifest or Docker schema 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The manifest itself.
    pub descriptor: Descriptor,
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, base first.
    pub layers: Vec<Descriptor>,
}

/// What has been verified of what a store gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Everything, when it went in.
    WhenTaken,
    /// Manifests only: somebody else wrote the rest, and whoever reads a blob holds it against its digest.
    Manifests,
    /// The same, and layers are named by the digest of their content (diff ID), however they are compressed: Docker's archives
    /// know no other name.
    ManifestsByContent,
}

/// Images by digest. What it gives back has been verified when it went in, unless [`ImageStore::verified`] says otherwise; what
/// it does not have whole it does not have.
pub trait ImageStore: Send + Sync {
    /// The image with this manifest digest, `None` where it is not there.
    ///
    /// # Errors
    /// Where the store cannot be read, or the bytes do not match the digest.
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError>;

    /// Whether the image and every blob of it is there (by name and size).
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn is_whole(&self, digest: &Digest) -> Result<bool, BackendError>;

    /// A blob's bytes, as a stream from its start.
    ///
    /// # Errors
    /// `NotFound` where it is not there.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BackendError>;

    /// A blob's size in bytes, `None` where it is not there.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError>;

    /// Takes a blob in, streamed, and verifies its digest; nothing stays behind on a mismatch.
    ///
    /// # Errors
    /// `Conflict` where the bytes have another digest; `Unavailable` where the disk is full.
    fn put_blob(&self, digest: &Digest, bytes: &mut dyn Read) -> Result<(), BackendError>;

    /// Takes a manifest in. Its blobs must be there.
    ///
    /// # Errors
    /// `NotFound` naming the first blob that is missing; `Invalid` where the bytes are no manifest.
    fn put_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<Digest, BackendError>;

    /// Takes in a blob whose digest is known only when its last byte is: `write` is called once and writes the bytes. Gives
    /// the digest and the size; nothing stays behind where `write` fails. Stores on a disk stream; this default buffers.
    ///
    /// # Errors
    /// `write`'s own error as the cause; `Unavailable` where the disk is full.
    fn put_stream(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(Digest, u64), BackendError> {
        let mut bytes = Vec::new();
        write(&mut bytes).map_err(|error| {
            BackendError::new(ErrorClass::Failed, "take a blob into the store").because(error)
        })?;
        let digest = Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(&bytes))))
            .map_err(|error| {
                BackendError::new(ErrorClass::Invalid, "name a blob").because(error)
            })?;
        self.put_blob(&digest, &mut bytes.as_slice())?;
        Ok((digest, bytes.len() as u64))
    }

    /// What has been verified of what it gives back.
    fn verified(&self) -> Verified {
        Verified::WhenTaken
    }

    /// Where a blob lies as a file that never changes, for those who can link or map it; `None` where it is no file.
    fn place(&self, _digest: &Digest) -> Option<Place> {
        None
    }

    /// Gives an image a name by which people find it in the store (`frontend@staging`); the name leaves the image that had
    /// it. A store without names ignores it.
    ///
    /// # Errors
    /// `NotFound` where the image is not there.
    fn name_image(&self, _digest: &Digest, _name: &str) -> Result<(), BackendError> {
        Ok(())
    }
}
