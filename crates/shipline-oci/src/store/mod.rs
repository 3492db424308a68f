//! The image store: an OCI layout in which images are found by digest, and by name where people look for them.

mod collect;
mod export;
mod listing;

use std::io::{self, Read, Write};

use shipline_engine::backend::{ImageStore, Manifest, Verified};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;
use shipline_model::name::Digest;

pub use collect::{Collected, Garbage};
pub use listing::ListedImage;
pub(crate) use listing::{MOST_BYTES, listed};

use crate::image::{REF_NAME, RawDescriptor};
use crate::layout::{Layout, disk_error};

/// An OCI layout directory as image store. Cheap to clone; any number of processes may use one directory.
#[derive(Debug, Clone)]
pub struct LayoutStore {
    layout: Layout,
    verified: Verified,
}

impl LayoutStore {
    /// Opens (or creates) the store in directory `root`.
    ///
    /// # Errors
    /// Where the directory cannot be created or written.
    pub fn open(root: impl Into<Place>, faults: Faults) -> Result<Self, BackendError> {
        Ok(Self {
            layout: Layout::open(root, faults)?,
            verified: Verified::WhenTaken,
        })
    }

    /// The store in directory `root` for reading: nothing is created or removed, and of one that is not there nothing is found.
    #[must_use]
    pub fn as_it_is(root: impl Into<Place>, faults: Faults) -> Self {
        Self {
            layout: Layout::as_it_is(root, faults),
            verified: Verified::WhenTaken,
        }
    }

    /// A layout in directory `root` that somebody else wrote, for reading: nothing of it has been verified.
    #[must_use]
    pub fn foreign(root: impl Into<Place>) -> Self {
        Self {
            layout: Layout::as_it_is(root, Faults::none()),
            verified: Verified::Manifests,
        }
    }

    /// The directory beneath.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The image that carries this name, `None` where none does.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub fn named(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        self.layout
            .index()?
            .manifests
            .iter()
            .find(|entry| entry.annotations.get(REF_NAME).map(String::as_str) == Some(name))
            .map(|entry| entry.checked().map(|descriptor| descriptor.digest))
            .transpose()
    }
}

/// An image that carries a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The name.
    pub name: String,
    /// Its manifest.
    pub digest: Digest,
}

impl LayoutStore {
    /// All images that carry names, by name.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub fn names(&self) -> Result<Vec<NamedImage>, BackendError> {
        let mut names = Vec::new();
        for entry in self.layout.index()?.manifests {
            if let Some(name) = entry.annotations.get(REF_NAME) {
                names.push(NamedImage {
                    name: name.clone(),
                    digest: entry.checked()?.digest,
                });
            }
        }
        names.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(names)
    }
}

impl ImageStore for LayoutStore {
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError> {
        self.layout.manifest(digest)
    }

    fn is_whole(&self, digest: &Digest) -> Result<bool, BackendError> {
        match self.layout.manifest(digest)? {
            Some(manifest) => Ok(self.layout.missing(&manifest)?.is_empty()),
            None => Ok(false),
        }
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BackendError> {
        Ok(Box::new(self.layout.open_blob(digest)?))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError> {
        self.layout.size(digest)
    }

    fn put_blob(&self, digest: &Digest, bytes: &mut dyn Read) -> Result<(), BackendError> {
        let mut writer = self.layout.writer()?;
        copy(bytes, &mut writer)
            .map_err(|error| disk_error("take a blob into", self.layout.root(), error))?;
        writer.commit(Some(digest))?;
        Ok(())
    }

    fn put_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<Digest, BackendError> {
        self.layout.faults().reach(FaultPoint::StoreBlobs);
        let manifest = self.layout.put_manifest(media_type, bytes)?;
        self.layout.faults().reach(FaultPoint::StoreManifest);
        Ok(manifest.descriptor.digest)
    }

    fn put_stream(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(Digest, u64), BackendError> {
        let mut writer = self.layout.writer()?;
        write(&mut writer)
            .map_err(|error| disk_error("write a blob in", self.layout.root(), error))?;
        writer.commit(None)
    }

    fn verified(&self) -> Verified {
        self.verified
    }

    fn place(&self, digest: &Digest) -> Option<Place> {
        Some(self.layout.blob(digest))
    }

    fn name_image(&self, digest: &Digest, name: &str) -> Result<(), BackendError> {
        let manifest = self.layout.manifest(digest)?.ok_or_else(|| {
            BackendError::new(
                ErrorClass::NotFound,
                format!("name image {digest} `{name}`"),
            )
            .because("it is not in the store")
        })?;
        let mut entry = RawDescriptor::new(&manifest.descriptor);
        entry
            .annotations
            .insert(REF_NAME.to_owned(), name.to_owned());
        self.layout.update_index(|index| {
            index
                .manifests
                .retain(|old| old.annotations.get(REF_NAME).map(String::as_str) != Some(name));
            index.manifests.push(entry);
            index.manifests.sort_by(|a, b| {
                a.annotations
                    .get(REF_NAME)
                    .cmp(&b.annotations.get(REF_NAME))
            });
            Ok(())
        })
    }
}

/// Copies with a buffer that suits disks.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        copied += read as u64;
    }
}
