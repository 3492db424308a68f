//! SBOMs: which packages an image holds, as a CycloneDX document.
//!
//! Packages are read from what package managers and linkers leave behind, in the layers as they are. Not seen is what nobody
//! wrote down: copied sources, vendored C libraries, binaries without build information.

mod catalog;
mod cyclonedx;
mod elf;
mod inventory;
mod package;
mod spool;
mod walk;
mod zip;

use std::io;
use std::path::PathBuf;

use shipline_engine::backend::{Artifact, Cataloguer, ImageStore, Sbom};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::Unit;
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;

pub use cyclonedx::{MEDIA_TYPE, cyclonedx};
pub use inventory::{Inventory, inventory};
pub use package::{Distribution, Package, PackageKind, Place, SourcePackage};

/// Raised whenever the same image would give another document.
const VERSION: u32 = 2;

/// Progress is told each time this many bytes have been looked at.
const STEP: u64 = 4 * 1024 * 1024;

/// All that decides a document besides the image and its name.
fn key() -> String {
    format!("shipline {} catalogue {VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Writes SBOMs of images.
#[derive(Debug)]
pub struct SbomWriter {
    scratch: PathBuf,
}

impl SbomWriter {
    /// A writer that lets files which are too large for memory pass through `scratch`, a folder that need not exist.
    #[must_use]
    pub fn new(scratch: PathBuf) -> Self {
        Self { scratch }
    }
}

impl Cataloguer for SbomWriter {
    fn key(&self) -> String {
        key()
    }

    fn catalogue(
        &self,
        name: &str,
        digest: &Digest,
        store: &dyn ImageStore,
        task: &TaskContext,
    ) -> Result<Sbom, BackendError> {
        let (mut read, mut told) = (0, 0);
        let mut step = |bytes: u64| {
            read += bytes;
            if read - told >= STEP {
                told = read;
                task.progress("catalogued", read, None, Unit::Bytes);
            }
            if task.is_cancelled() {
                return Err(io::Error::other("the task was stopped"));
            }
            Ok(())
        };
        let inventory =
            inventory(digest, store, &self.scratch, &mut step).map_err(|mut error| {
                if task.is_cancelled() {
                    error.class = ErrorClass::Cancelled;
                }
                error
            })?;
        Ok(Sbom {
            document: Artifact {
                media_type: MEDIA_TYPE.to_owned(),
                title: "sbom.cdx.json".to_owned(),
                bytes: cyclonedx(name, &inventory)?,
            },
            packages: inventory.packages.len(),
            notes: inventory.notes,
        })
    }
}

#[cfg(test)]
mod tests;
