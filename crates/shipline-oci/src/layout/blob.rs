//! Writing one blob: a locked temporary file, hashed while it is written, renamed to its digest once it is durable.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::FaultPoint;
use shipline_engine::folder::Folder;
use shipline_model::name::Digest;

use super::Layout;
use super::disk::disk_error;
use crate::image;

/// A blob being written. Dropped without [`BlobWriter::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    temporary: Temporary,
    hasher: Sha256,
    size: u64,
}

/// A new file that no sweep removes while it is open. Dropped without a new name, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: File,
    folder: Folder,
    name: OsString,
    placed: bool,
}

impl BlobWriter {
    pub(super) fn create(layout: &Layout) -> Result<Self, BackendError> {
        Ok(Self {
            temporary: layout.temporary_file()?,
            layout: layout.clone(),
            hasher: Sha256::new(),
            size: 0,
        })
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the bytes durable and gives them their name. A blob that is there already stays.
    ///
    /// # Errors
    /// `Conflict` where `expected` is another digest, `Unavailable` where the disk is full.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), BackendError> {
        let hasher = std::mem::replace(&mut self.hasher, Sha256::new());
        let digest = image::digest_from(hasher.finalize().as_slice());
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(BackendError::new(
                ErrorClass::Conflict,
                format!("take blob {expected} into {}", self.layout.root().display()),
            )
            .because(format!("the bytes have the digest {digest}")));
        }
        if self.layout.size(&digest)? == Some(self.size) {
            self.layout.touch(&digest);
            return Ok((digest, self.size));
        }
        let blobs = self.layout.blobs();
        blobs
            .open()
            .and_then(|folder| self.temporary.place(&folder, digest.hex()))
            .map_err(|error| disk_error("write", &self.layout.blob_path(&digest), error))?;
        self.layout.faults().reach(FaultPoint::StoreBlob);
        Ok((digest, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.temporary.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        if self.size == 0 && written > 0 {
            self.layout.faults().reach(FaultPoint::StoreBlobHalf);
        }
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.file.flush()
    }
}

impl Temporary {
    /// Makes the bytes durable and moves the file to a name in `folder`.
    pub(super) fn place(&mut self, folder: &Folder, name: &str) -> io::Result<()> {
        self.file.sync_data()?;
        self.folder.rename(&self.name, folder, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // Where it cannot be removed now, the next opening of the layout sweeps it.
            let _ = self.folder.remove(&self.name);
        }
    }
}

impl Layout {
    /// A new file in `tmp/`.
    pub(super) fn temporary_file(&self) -> Result<Temporary, BackendError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let place = self.temporary();
        let made = (|| {
            let folder = place.open()?;
            let (file, name) = loop {
                let next = NEXT.fetch_add(1, Ordering::Relaxed);
                let name = OsString::from(format!("{}-{next}", std::process::id()));
                match folder.create_new(&name) {
                    Ok(file) => break (file, name),
                    // Left by a dead process that had our process ID.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            };
            file.lock()?;
            Ok(Temporary {
                file,
                folder,
                name,
                placed: false,
            })
        })();
        made.map_err(|error| disk_error("write in", place.path(), error))
    }
}
