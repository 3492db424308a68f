//! Writing one blob: a locked temporary file, hashed while it is written, renamed to its digest once it is durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::FaultPoint;
use shipline_model::name::Digest;

use super::Layout;
use super::disk::disk_error;
use crate::image;

/// A blob being written. Dropped without [`BlobWriter::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: File,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    committed: bool,
}

impl BlobWriter {
    pub(super) fn create(layout: &Layout) -> Result<Self, BackendError> {
        let (file, path) = layout.temporary_file()?;
        Ok(Self {
            layout: layout.clone(),
            file,
            path,
            hasher: Sha256::new(),
            size: 0,
            committed: false,
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
        let target = self.layout.blob_path(&digest);
        if self.layout.size(&digest)? == Some(self.size) {
            self.layout.touch(&digest);
            return Ok((digest, self.size));
        }
        self.file
            .sync_data()
            .map_err(|error| disk_error("write", &self.path, error))?;
        fs::rename(&self.path, &target).map_err(|error| disk_error("write", &target, error))?;
        self.committed = true;
        self.layout.faults().reach(FaultPoint::StoreBlob);
        Ok((digest, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        if self.size == 0 && written > 0 {
            self.layout.faults().reach(FaultPoint::StoreBlobHalf);
        }
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed {
            // Where it cannot be removed now, the next opening of the layout sweeps it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Layout {
    /// A new file in `tmp/` that no sweep removes while it is open.
    pub(super) fn temporary_file(&self) -> Result<(File, PathBuf), BackendError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!(
                "{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let path = self.root().join("tmp").join(name);
            match File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => {
                    file.lock()
                        .map_err(|error| disk_error("lock", &path, error))?;
                    return Ok((file, path));
                }
                // Left by a dead process that had our process ID.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(disk_error("write", &path, error)),
            }
        }
    }
}
