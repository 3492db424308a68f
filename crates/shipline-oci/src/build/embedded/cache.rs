//! Which layer an unchanged set of files became the last time, found by the files' stamps without reading them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use shipline_engine::backend::ImageStore;
use shipline_engine::error::BackendError;
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::copy::Changes;
use super::layer::Layer;
use super::tree::{Archive, Content, NodeKind, Stamp};
use crate::layout::disk_error;

/// Changes whenever the same files would become another layer, or records are written another way.
const VERSION: &str = "2";
/// Bytes of a fingerprint's fields that are hashed together.
const BUFFER: usize = 1 << 16;
/// Records that were not used for so long go.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Records of layers, in a directory.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    directory: PathBuf,
    /// A file that changed so shortly before it was looked at may change again without its stamp telling.
    settling: Duration,
}

/// What stands for a layer's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    key: String,
    /// The latest change of any of its files, in nanoseconds since 1970.
    newest: i128,
}

impl LayerCache {
    pub(crate) fn new(directory: PathBuf, settling: Duration) -> Self {
        Self {
            directory,
            settling,
        }
    }

    fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.directory.join(&fingerprint.key)
    }

    /// The layer that these files became, where it is still in the store.
    pub(crate) fn find(
        &self,
        fingerprint: &Fingerprint,
        store: &dyn ImageStore,
    ) -> Result<Option<Layer>, BackendError> {
        let path = self.path(fingerprint);
        // A record that cannot be read is as good as none: the layer is made again.
        let Some(layer) = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
        else {
            return Ok(None);
        };
        let Ok(digest) = Digest::new(layer.digest.as_str()) else {
            return Ok(None);
        };
        if store.size(&digest)? != Some(layer.size) {
            return Ok(None);
        }
        // Only ages: where it cannot be set, the record goes earlier.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(layer))
    }

    /// Remembers a layer, unless one of its files changed too shortly before `seen` (nanoseconds since 1970), the time before
    /// the first of them was looked at.
    pub(crate) fn remember(
        &self,
        fingerprint: &Fingerprint,
        seen: i128,
        layer: &Layer,
    ) -> Result<(), BackendError> {
        let settling = i128::try_from(self.settling.as_nanos()).unwrap_or(i128::MAX / 2);
        if fingerprint.newest + settling > seen {
            return Ok(());
        }
        let path = self.path(fingerprint);
        let failed = |error: io::Error| disk_error("remember a layer in", &self.directory, error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        let bytes = crate::image::to_json(layer)?;
        // Not durable on purpose: a lost or torn record is a layer made again.
        let temporary = self
            .directory
            .join(format!(".{}-{}", fingerprint.key, std::process::id()));
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(failed)
    }

    /// Removes records that were not used for a month.
    pub(crate) fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|at| at.elapsed().ok())
                .is_some_and(|age| age > FORGOTTEN);
            if old {
                // Another process may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The time now, in nanoseconds since 1970.
pub(crate) fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i128::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

/// The fingerprint of a layer's files.
pub(crate) fn fingerprint(changes: &Changes, platform: &Platform) -> Fingerprint {
    let mut hasher = Sha256::new();
    // Fields are a few bytes each: hashed one by one, most of the time would go into handing them over.
    let mut buffer = Vec::with_capacity(2 * BUFFER);
    let mut newest = 0;
    let mut field = |bytes: &[u8]| {
        buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        buffer.extend_from_slice(bytes);
        if buffer.len() >= BUFFER {
            hasher.update(&buffer);
            buffer.clear();
        }
    };
    let mut stamp = |field: &mut dyn FnMut(&[u8]), stamp: &Stamp| {
        newest = newest.max(stamp.modified).max(stamp.changed);
        field(&stamp.inode.to_le_bytes());
        field(&stamp.size.to_le_bytes());
        field(&stamp.modified.to_le_bytes());
        field(&stamp.changed.to_le_bytes());
    };
    field(VERSION.as_bytes());
    field(platform.to_string().as_bytes());
    for (path, node) in changes {
        field(path);
        field(&node.mode.to_le_bytes());
        field(&node.uid.to_le_bytes());
        field(&node.gid.to_le_bytes());
        match &node.kind {
            NodeKind::Directory => field(b"d"),
            NodeKind::Other => field(b"o"),
            NodeKind::Symlink { target } => {
                field(b"l");
                field(target);
            }
            NodeKind::File { content, size } => {
                field(&size.to_le_bytes());
                match content {
                    Content::Text(text) => {
                        field(b"t");
                        field(text);
                    }
                    Content::Disk(file) => {
                        field(b"f");
                        stamp(&mut field, &file.stamp);
                    }
                    Content::Packed { archive, entry } => {
                        match archive {
                            Archive::Layer(digest) => {
                                field(b"p");
                                field(digest.as_str().as_bytes());
                            }
                            Archive::File(file) => {
                                field(b"a");
                                stamp(&mut field, &file.stamp);
                            }
                        }
                        field(entry);
                    }
                }
            }
        }
    }
    hasher.update(&buffer);
    Fingerprint {
        key: hex::encode(hasher.finalize()),
        newest,
    }
}

/// A directory of our own below `parent` for the time of one build; what dead builds left there is removed.
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: fs::File,
}

impl Scratch {
    pub(crate) fn new(parent: &Path) -> Result<Self, BackendError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let failed = |error: io::Error| disk_error("write in", parent, error);
        fs::create_dir_all(parent).map_err(failed)?;
        // One at a time, so that nobody takes a new directory for an abandoned one before it is locked.
        let gate = fs::File::create(parent.join(".lock")).map_err(failed)?;
        gate.lock().map_err(failed)?;
        for entry in fs::read_dir(parent).map_err(failed)?.flatten() {
            let held = fs::File::open(entry.path().join(".lock"));
            if entry.path().is_dir() && held.is_ok_and(|file| file.try_lock().is_ok()) {
                // What cannot be removed now is tried again by the next build.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = parent.join(format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&path).map_err(failed)?;
        let lock = fs::File::create(path.join(".lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build.
        let _ = fs::remove_dir_all(&self.path);
    }
}
