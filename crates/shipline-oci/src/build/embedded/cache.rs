//! Which layer an unchanged set of files became the last time, found by the files' stamps without reading them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use shipline_engine::backend::ImageStore;
use shipline_engine::error::BackendError;
use shipline_engine::folder::{Folder, Kind, Place};
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::copy::Changes;
use super::layer::Layer;
use super::tree::{Archive, Content, NodeKind, Special, Stamp};
use crate::layout::disk_error;

/// Changes whenever the same files would become another layer, or records are written another way.
const VERSION: &str = "3";
/// Bytes of a fingerprint's fields that are hashed together.
const BUFFER: usize = 1 << 16;
/// Records that were not used for so long go.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Records of layers, in a directory.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    directory: Place,
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
    pub(crate) fn new(directory: Place, settling: Duration) -> Self {
        Self {
            directory,
            settling,
        }
    }

    /// The layer that these files became, where it is still in the store.
    pub(crate) fn find(
        &self,
        fingerprint: &Fingerprint,
        store: &dyn ImageStore,
    ) -> Result<Option<Layer>, BackendError> {
        // A record that cannot be read is as good as none: the layer is made again.
        let Ok(folder) = self.directory.open() else {
            return Ok(None);
        };
        let Some(layer) = folder
            .read(&fingerprint.key)
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
        let _ = folder.touch(&fingerprint.key);
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
        let bytes = crate::image::to_json(layer)?;
        // Not durable on purpose: a lost or torn record is a layer made again.
        self.directory
            .make()
            .and_then(|folder| {
                let (mut file, temporary) = folder.temporary(&fingerprint.key)?;
                file.write_all(&bytes)?;
                folder.rename(temporary, &folder, &fingerprint.key)
            })
            .map_err(|error| disk_error("remember a layer in", self.directory.path(), error))
    }

    /// Removes records that were not used for a month.
    pub(crate) fn forget_old(&self) {
        let Ok(folder) = self.directory.open() else {
            return;
        };
        for entry in folder.entries().unwrap_or_default() {
            let seen = folder.see(&entry.name).ok().flatten();
            let old = seen
                .and_then(|seen| seen.age())
                .is_some_and(|age| age > FORGOTTEN);
            if old {
                // Another process may have been quicker.
                let _ = folder.remove(&entry.name);
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
        if let Some(xattrs) = &node.xattrs {
            field(b"x");
            field(&(xattrs.len() as u64).to_le_bytes());
            for (name, value) in xattrs.iter() {
                field(name);
                field(value);
            }
        }
        match &node.kind {
            NodeKind::Directory => field(b"d"),
            NodeKind::Special(special) => {
                let (letter, major, minor) = match special {
                    Special::CharDevice(major, minor) => (b"c", *major, *minor),
                    Special::BlockDevice(major, minor) => (b"b", *major, *minor),
                    Special::Fifo => (b"q", 0, 0),
                };
                field(letter);
                field(&major.to_le_bytes());
                field(&minor.to_le_bytes());
            }
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
                        field(&entry.to_le_bytes());
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

/// The file that says by its lock that a directory is in use.
const LOCK: &str = ".lock";

/// A directory of our own below `parent` for the time of one build; what dead builds left there is removed.
pub(crate) struct Scratch {
    parent: Folder,
    name: OsString,
    folder: Folder,
    _lock: fs::File,
}

impl Scratch {
    pub(crate) fn new(parent: &Place) -> Result<Self, BackendError> {
        Self::make(parent).map_err(|error| disk_error("write in", parent.path(), error))
    }

    fn make(parent: &Place) -> io::Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = parent.make()?;
        // One at a time, so that nobody takes a new directory for an abandoned one before it is locked.
        let gate = parent.open_or_create(LOCK)?;
        gate.lock()?;
        for entry in parent.entries()? {
            let held = || {
                parent
                    .folder(&entry.name)?
                    .open(LOCK)?
                    .try_lock()
                    .map_err(io::Error::from)
            };
            if entry.kind == Kind::Folder && held().is_ok() {
                // What cannot be removed now is tried again by the next build.
                let _ = parent.remove_all(&entry.name);
            }
        }
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!("{}-{next}", std::process::id()));
        let folder = parent.make_folder(&name)?;
        let lock = folder.open_or_create(LOCK)?;
        lock.lock()?;
        Ok(Self {
            parent,
            name,
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build.
        let _ = self.parent.remove_all(&self.name);
    }
}
