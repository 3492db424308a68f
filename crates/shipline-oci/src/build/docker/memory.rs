//! Layers remembered by diff ID: which blob of the store holds the compressed form of which tar.

use std::fs::File;
use std::io::{self, Read, Write as _};

use serde::{Deserialize, Serialize};
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::BackendError;
use shipline_engine::folder::{Folder, Place};
use shipline_model::name::Digest;

use crate::image;
use crate::layout::disk_error;

/// A remembered layer.
#[derive(Debug, Clone)]
pub(super) struct KnownLayer {
    /// The compressed blob in the store.
    pub(super) descriptor: Descriptor,
    /// Bytes of the tar.
    pub(super) tar_size: u64,
}

/// The folder of remembered layers: one small file for each diff ID.
pub(super) struct LayerMemory {
    pub(super) folder: Folder,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: u32,
    blob: String,
    size: u64,
    tar_size: u64,
}

/// Changes whenever the same tar would be compressed to another blob, or records are written another way.
const VERSION: u32 = 2;

impl LayerMemory {
    /// Opens the folder, made where it is missing.
    pub(super) fn open(place: &Place) -> Result<Self, BackendError> {
        let folder = place
            .make()
            .map_err(|error| disk_error("make the folder", place.path(), error))?;
        Ok(Self { folder })
    }

    /// The layer with this diff ID, if its blob is still in the store. A file that cannot be read is as good as none.
    pub(super) fn get(
        &self,
        diff_id: &Digest,
        store: &dyn ImageStore,
    ) -> Result<Option<KnownLayer>, BackendError> {
        let Ok(bytes) = self.folder.read(name(diff_id)) else {
            return Ok(None);
        };
        let Ok(found) = serde_json::from_slice::<Remembered>(&bytes) else {
            return Ok(None);
        };
        let Ok(digest) = Digest::new(found.blob) else {
            return Ok(None);
        };
        if found.version != VERSION || store.size(&digest)? != Some(found.size) {
            return Ok(None);
        }
        let descriptor = Descriptor {
            media_type: image::OCI_LAYER_GZIP.to_owned(),
            digest,
            size: found.size,
        };
        Ok(Some(KnownLayer {
            descriptor,
            tar_size: found.tar_size,
        }))
    }

    /// Those of `diff_ids` that are known.
    pub(super) fn candidates(
        &self,
        diff_ids: &[Digest],
        store: &dyn ImageStore,
    ) -> Result<Vec<KnownLayer>, BackendError> {
        let mut known = Vec::new();
        for diff_id in diff_ids {
            known.extend(self.get(diff_id, store)?);
        }
        Ok(known)
    }

    /// Remembers a layer.
    pub(super) fn remember(
        &self,
        diff_id: &Digest,
        layer: &KnownLayer,
    ) -> Result<(), BackendError> {
        let remembered = Remembered {
            version: VERSION,
            blob: layer.descriptor.digest.to_string(),
            size: layer.descriptor.size,
            tar_size: layer.tar_size,
        };
        let bytes = image::to_json(&remembered)?;
        let name = name(diff_id);
        let written = (|| {
            let (mut file, temporary) = self.folder.temporary(&name)?;
            file.write_all(&bytes)?;
            self.folder.rename(temporary, &self.folder, &name)
        })();
        written.map_err(|error| disk_error("write", &self.folder.path().join(&name), error))
    }

    /// A file without a name: it is gone when it is closed, however we end.
    pub(super) fn aside(&self) -> Result<File, BackendError> {
        let made = (|| {
            let (file, name) = self.folder.temporary("new")?;
            self.folder.remove(name)?;
            Ok(file)
        })();
        made.map_err(|error| disk_error("write in", self.folder.path(), error))
    }
}

fn name(diff_id: &Digest) -> String {
    format!("{}.json", diff_id.hex())
}

/// Reads what the engine sends, chunk by chunk, on a blocking thread.
pub(super) struct ChunkReader {
    receiver: tokio::sync::mpsc::Receiver<io::Result<bytes::Bytes>>,
    chunk: bytes::Bytes,
    read: u64,
    task: shipline_engine::task::TaskContext,
}

impl ChunkReader {
    /// Reads from `receiver` and tells `task` how far it is.
    pub(super) fn new(
        receiver: tokio::sync::mpsc::Receiver<io::Result<bytes::Bytes>>,
        task: shipline_engine::task::TaskContext,
    ) -> Self {
        Self {
            receiver,
            chunk: bytes::Bytes::new(),
            read: 0,
            task,
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
            self.read += self.chunk.len() as u64;
            self.task.progress(
                "take out of the engine",
                self.read,
                None,
                shipline_engine::event::Unit::Bytes,
            );
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
