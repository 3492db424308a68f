//! An OCI image layout directory (`oci-layout`, `index.json`, `blobs/sha256/…`) that many processes may use at once. The
//! store and the local registry are both made of one.

mod blob;
mod disk;
mod index;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipline_engine::backend::Manifest;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::folder::{Place, Seen};
use shipline_model::name::Digest;

pub use blob::BlobWriter;
pub(crate) use disk::{disk_error, sync_directory};

use crate::image;

/// A temporary file that nobody holds and that is this old was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(60);

/// An OCI image layout directory.
///
/// Blobs are written to `tmp/`, verified, made durable and renamed into `blobs/sha256/`; `index.json` is replaced by rename
/// under the lock `index.lock`. A process that dies leaves at most a temporary file, which the next one removes.
#[derive(Debug, Clone)]
pub struct Layout {
    root: Place,
    faults: Faults,
}

impl Layout {
    /// Opens the layout at `root`, creates what is missing, and removes what dead processes left.
    ///
    /// # Errors
    /// Where the directory cannot be created or written.
    pub fn open(root: impl Into<Place>, faults: Faults) -> Result<Self, BackendError> {
        let layout = Self::as_it_is(root, faults);
        for directory in [layout.blobs(), layout.temporary()] {
            directory
                .make()
                .map_err(|error| disk_error("create", directory.path(), error))?;
        }
        let marker = "oci-layout";
        if !layout.has(marker)? {
            layout.replace(marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        if !layout.has(index::INDEX)? {
            layout.update_index(|_| Ok(()))?;
        }
        layout.sweep()?;
        Ok(layout)
    }

    /// The layout at `root` for reading, whether it is there or not.
    #[must_use]
    pub fn as_it_is(root: impl Into<Place>, faults: Faults) -> Self {
        Self {
            root: root.into(),
            faults,
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.root
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn blobs(&self) -> Place {
        self.root.join("blobs/sha256")
    }

    fn temporary(&self) -> Place {
        self.root.join("tmp")
    }

    /// Where a blob lies, or would.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob(digest).path().to_path_buf()
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Place {
        self.blobs().join(digest.hex())
    }

    /// How a blob looks, `None` where it is not there. What is there and no file is an error of whoever reads it.
    fn see(&self, digest: &Digest) -> Result<Option<Seen>, BackendError> {
        let blob = self.blob(digest);
        blob.see()
            .map_err(|error| disk_error("read", blob.path(), error))
    }

    /// A blob's size in bytes, `None` where it is not there.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError> {
        Ok(self.see(digest)?.map(|seen| seen.size))
    }

    /// A blob, from its start.
    ///
    /// # Errors
    /// `NotFound` where it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, BackendError> {
        let path = self.blob_path(digest);
        self.blobs()
            .open()
            .and_then(|folder| folder.open(digest.hex()))
            .map_err(|error| disk_error("read blob", &path, error))
    }

    /// A small blob's bytes, verified; `None` where it is not there.
    ///
    /// # Errors
    /// `Conflict` where the bytes on the disk do not have the digest any more, `Invalid` where it is not small.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, BackendError> {
        let path = self.blob_path(digest);
        let bytes = match read_document(&self.blob(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(image::too_large(&path.display().to_string()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk_error("read blob", &path, error)),
        };
        let found = image::digest_of(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(
                BackendError::new(ErrorClass::Conflict, format!("read blob {digest}"))
                    .because(format!("{} holds {found}", path.display()))
                    .hint(format!(
                        "the file is damaged: remove {} and run again",
                        path.display()
                    )),
            )
        }
    }

    /// The image with this manifest digest, verified; `None` where it is not there.
    ///
    /// # Errors
    /// Where it cannot be read, or is no image manifest.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError> {
        self.read_blob(digest)?
            .map(|bytes| image::parse_manifest(None, &bytes))
            .transpose()
    }

    /// Blobs of an image that are not there whole (by name and size).
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn missing(&self, manifest: &Manifest) -> Result<Vec<Digest>, BackendError> {
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        let place = self.blobs();
        let failed = |error| disk_error("read", place.path(), error);
        let folder = match place.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(blobs.map(|blob| blob.digest.clone()).collect());
            }
            folder => folder.map_err(failed)?,
        };
        let mut missing = Vec::new();
        for blob in blobs {
            let seen = folder.see(blob.digest.hex()).map_err(failed)?;
            if seen.is_none_or(|seen| seen.size != blob.size) {
                missing.push(blob.digest.clone());
            }
        }
        Ok(missing)
    }

    /// Takes an image manifest in whose blobs are all there; durable, with its blobs, when this returns.
    ///
    /// # Errors
    /// `NotFound` naming the first blob that is missing, `Invalid` where the bytes are no manifest.
    pub fn put_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<Manifest, BackendError> {
        let manifest = image::parse_manifest(Some(media_type), bytes)?;
        let _collecting = self.lock("collect.lock", Lock::Shared)?;
        if let Some(missing) = self.missing(&manifest)?.first() {
            return Err(BackendError::new(
                ErrorClass::NotFound,
                format!(
                    "take image {} into {}",
                    manifest.descriptor.digest,
                    self.root().display()
                ),
            )
            .because(format!(
                "its blob {missing} is not there, or not with its size"
            )));
        }
        // What is used now is young again for the garbage collection.
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.touch(&blob.digest);
        }
        sync_directory(&self.blobs())?;
        let mut writer = self.writer()?;
        io::Write::write_all(&mut writer, bytes)
            .map_err(|error| disk_error("write manifest in", self.root(), error))?;
        writer.commit(Some(&manifest.descriptor.digest))?;
        sync_directory(&self.blobs())?;
        Ok(manifest)
    }

    /// A writer for a blob whose digest is known at its end.
    ///
    /// # Errors
    /// Where no temporary file can be made.
    pub fn writer(&self) -> Result<BlobWriter, BackendError> {
        BlobWriter::create(self)
    }

    pub(crate) fn touch(&self, digest: &Digest) {
        // Only ages for the garbage collection: where it cannot be set, the blob is collected earlier, never wrongly used.
        let _ = self
            .blobs()
            .open()
            .and_then(|folder| folder.touch(digest.hex()));
    }

    pub(crate) fn lock(&self, name: &str, lock: Lock) -> Result<File, BackendError> {
        let failed = |error| disk_error("lock", &self.root().join(name), error);
        let file = self
            .root
            .open()
            .and_then(|root| root.open_or_create(name))
            .map_err(failed)?;
        match lock {
            Lock::Shared => file.lock_shared().map_err(failed)?,
            Lock::Exclusive => file.lock().map_err(failed)?,
        }
        Ok(file)
    }

    fn sweep(&self) -> Result<(), BackendError> {
        let directory = self.temporary();
        let failed = |error| disk_error("read", directory.path(), error);
        let folder = directory.open().map_err(failed)?;
        for entry in folder.entries().map_err(failed)? {
            let seen = folder.see(&entry.name).map_err(failed)?;
            let old = seen
                .and_then(|seen| seen.age())
                .is_some_and(|age| age >= ABANDONED);
            let held = || {
                folder
                    .open(&entry.name)
                    .is_ok_and(|file| file.try_lock().is_err())
            };
            if old && !held() {
                // Another process may sweep at the same time: then it is gone already.
                let _ = folder.remove(&entry.name);
            }
        }
        Ok(())
    }
}

/// How a lock file is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// With others of the same kind.
    Shared,
    /// Alone.
    Exclusive,
}
/// A file's bytes.
///
/// # Errors
/// `FileTooLarge` where it is larger than any document of an image.
fn read_document(place: &Place) -> io::Result<Vec<u8>> {
    let limit = image::LARGEST_DOCUMENT;
    let (folder, name) = place.parent()?;
    let mut bytes = Vec::new();
    folder.open(name)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
