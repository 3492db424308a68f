//! Garbage collection: what no root reaches and nobody used for a while is removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use shipline_engine::error::BackendError;
use shipline_engine::fault::FaultPoint;
use shipline_engine::folder::Seen;
use shipline_model::name::Digest;

use super::LayoutStore;
use crate::image::{RawIndex, is_index, parse_manifest};
use crate::layout::{Layout, Lock, disk_error};

/// Longest blob that is looked at as a manifest; registries take no longer ones.
const MANIFEST_BYTES: u64 = 4 << 20;

/// How much there is of something in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What a collection found. Nobody else collects, and no image is added, as long as this is held.
#[derive(Debug)]
pub struct Garbage {
    layout: Layout,
    kept: BTreeSet<Digest>,
    /// What goes, manifests first: an image is gone before its blobs are.
    blobs: Vec<(Digest, u64)>,
    gone: BTreeSet<Digest>,
    _alone: File,
}

impl LayoutStore {
    /// Finds every blob that no root (the digest of a manifest or index) reaches and that was neither made nor used for
    /// `older_than`. An image that is younger keeps all of its blobs.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn garbage(&self, roots: &[Digest], older_than: Duration) -> Result<Garbage, BackendError> {
        let alone = self.layout.lock("collect.lock", Lock::Exclusive)?;
        let mut kept = BTreeSet::new();
        for root in roots {
            self.reach(root, &mut kept)?;
        }
        let mut candidates = Vec::new();
        for (digest, seen) in self.blobs()? {
            // What has no age, or one of the future, is young.
            if seen.age().is_some_and(|age| age >= older_than) {
                candidates.push((digest, seen.size));
            } else {
                self.reach(&digest, &mut kept)?;
            }
        }
        let blobs = candidates
            .into_iter()
            .filter(|(digest, _)| !kept.contains(digest));
        let (mut blobs, others): (Vec<_>, Vec<_>) =
            blobs.partition(|(digest, size)| self.may_be_manifest(digest, *size));
        blobs.extend(others);
        Ok(Garbage {
            layout: self.layout.clone(),
            kept,
            gone: blobs.iter().map(|(digest, _)| digest.clone()).collect(),
            blobs,
            _alone: alone,
        })
    }

    /// All blobs of the store.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn size_of_all(&self) -> Result<Collected, BackendError> {
        let blobs = self.blobs()?;
        Ok(Collected {
            blobs: blobs.len(),
            bytes: blobs.iter().map(|(_, seen)| seen.size).sum(),
        })
    }

    fn blobs(&self) -> Result<Vec<(Digest, Seen)>, BackendError> {
        let place = self.layout.blobs();
        let failed = |error| disk_error("read", place.path(), error);
        let folder = place.open().map_err(failed)?;
        let mut blobs = Vec::new();
        for entry in folder.entries().map_err(failed)? {
            let digest = entry
                .name
                .to_str()
                .and_then(|hex| Digest::new(format!("sha256:{hex}")).ok());
            if let Some(digest) = digest
                && let Some(seen) = folder.see(&entry.name).map_err(failed)?
            {
                blobs.push((digest, seen));
            }
        }
        Ok(blobs)
    }

    fn may_be_manifest(&self, digest: &Digest, size: u64) -> bool {
        let mut first = [0];
        size <= MANIFEST_BYTES
            && self
                .layout
                .open_blob(digest)
                .and_then(|mut file| {
                    file.read_exact(&mut first)
                        .map_err(|error| disk_error("read", self.layout.root(), error))
                })
                .is_ok()
            && first == *b"{"
    }

    fn reach(&self, root: &Digest, kept: &mut BTreeSet<Digest>) -> Result<(), BackendError> {
        let mut open = vec![root.clone()];
        while let Some(digest) = open.pop() {
            if !kept.insert(digest.clone()) {
                continue;
            }
            let Some(size) = self.layout.size(&digest)? else {
                continue;
            };
            if !self.may_be_manifest(&digest, size) {
                continue;
            }
            let Some(bytes) = self.layout.read_blob(&digest)? else {
                continue;
            };
            if let Ok(manifest) = parse_manifest(None, &bytes) {
                kept.insert(manifest.config.digest);
                kept.extend(manifest.layers.into_iter().map(|layer| layer.digest));
            } else if let Ok(index) = serde_json::from_slice::<RawIndex>(&bytes)
                && index.media_type.as_deref().is_none_or(is_index)
            {
                for entry in &index.manifests {
                    open.push(entry.checked()?.digest);
                }
            }
        }
        Ok(())
    }
}

impl Garbage {
    /// How much it is.
    #[must_use]
    pub fn size(&self) -> Collected {
        Collected {
            blobs: self.blobs.len(),
            bytes: self.blobs.iter().map(|(_, size)| size).sum(),
        }
    }

    /// Whether this image is (still) in the store when the garbage is gone.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn leaves(&self, image: &Digest) -> Result<bool, BackendError> {
        Ok(!self.gone.contains(image) && self.layout.size(image)?.is_some())
    }

    /// Removes it: names of images that go first, so that no name ever points at nothing, then manifests, then the rest. A
    /// death at any point leaves images that are whole or not there, and blobs that the next collection removes.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn remove(self) -> Result<Collected, BackendError> {
        self.layout.update_index(|index| {
            index.manifests.retain(|entry| {
                entry
                    .checked()
                    .is_ok_and(|descriptor| self.kept.contains(&descriptor.digest))
            });
            Ok(())
        })?;
        self.layout.faults().reach(FaultPoint::StoreCollected);
        for (digest, _) in &self.blobs {
            let blob = self.layout.blob(digest);
            blob.remove()
                .map_err(|error| disk_error("remove", blob.path(), error))?;
            self.layout.faults().reach(FaultPoint::StoreCollected);
        }
        Ok(self.size())
    }
}
