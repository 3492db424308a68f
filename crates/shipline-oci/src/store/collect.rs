//! Garbage collection: what no root reaches and nobody used for a while is removed.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

use super::LayoutStore;
use crate::image::{RawIndex, is_index, parse_manifest};
use crate::layout::{Lock, disk_error};

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl LayoutStore {
    /// Removes every blob that no root (the digest of a manifest or index) reaches and that was neither made nor used for
    /// `older_than`. Names of images that go are dropped first, so that no name ever points at nothing.
    ///
    /// # Errors
    /// Where the store cannot be read or written.
    pub fn collect(
        &self,
        roots: &[Digest],
        older_than: Duration,
    ) -> Result<Collected, BackendError> {
        let _alone = self.layout.lock("collect.lock", Lock::Exclusive)?;
        let mut kept = BTreeSet::new();
        for root in roots {
            self.reach(root, &mut kept)?;
        }
        let old = |digest: &Digest| {
            fs::metadata(self.layout.blob_path(digest))
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|at| at.elapsed().ok())
                .is_some_and(|age| age >= older_than)
        };
        // A young image keeps its name, and with it all of its blobs.
        for entry in self.layout.index()?.manifests {
            if let Ok(descriptor) = entry.checked()
                && !kept.contains(&descriptor.digest)
                && !old(&descriptor.digest)
            {
                self.reach(&descriptor.digest, &mut kept)?;
            }
        }
        self.layout.update_index(|index| {
            index.manifests.retain(|entry| {
                entry
                    .checked()
                    .is_ok_and(|descriptor| kept.contains(&descriptor.digest))
            });
            Ok(())
        })?;
        let mut collected = Collected::default();
        let blobs = self.layout.blobs();
        let entries = fs::read_dir(&blobs).map_err(|error| disk_error("read", &blobs, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| disk_error("read", &blobs, error))?;
            let name = entry.file_name();
            let Some(digest) = name
                .to_str()
                .and_then(|hex| Digest::new(format!("sha256:{hex}")).ok())
            else {
                continue;
            };
            if kept.contains(&digest) || !old(&digest) {
                continue;
            }
            let size = entry.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| disk_error("remove", &path, error))?;
            collected.blobs += 1;
            collected.bytes += size;
        }
        Ok(collected)
    }

    fn reach(&self, root: &Digest, kept: &mut BTreeSet<Digest>) -> Result<(), BackendError> {
        let mut open = vec![root.clone()];
        while let Some(digest) = open.pop() {
            if !kept.insert(digest.clone()) {
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
