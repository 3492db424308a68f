//! Takes a built image out of the engine: `docker save` as a stream, each layer compressed into the store as it passes.
//!
//! Layers are remembered by diff ID, so that an unchanged base is hashed and not compressed again.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek as _, Write as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bollard::Docker;
use futures_util::StreamExt as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shipline_engine::archive::{Compression, EntryKind, TarReader};
use shipline_engine::backend::{BuildRequest, Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_engine::folder::Place;
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;
use tokio::sync::mpsc;

use super::memory::{ChunkReader, KnownLayer, LayerMemory};
use crate::build::gzip::{self, Chunks};
use crate::image::{self, RawDescriptor, RawManifest};
use crate::layout::disk_error;

/// Chunks of the engine's stream that may wait for us.
const WAITING_CHUNKS: usize = 16;

/// Bytes of a piece of a layer on its way between threads.
const PIECE: usize = 256 * 1024;

/// Bytes of a tar header.
const TAR_BLOCK: u64 = 512;

/// The largest document (config, manifest list) that an archive may hold, in bytes.
const LARGEST_DOCUMENT: u64 = 16 * 1024 * 1024;

/// All documents together, in bytes.
const LARGEST_DOCUMENTS: u64 = 64 * 1024 * 1024;

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    layers: Vec<String>,
}

/// A layer that is in the store.
#[derive(Debug, Clone)]
struct StoredLayer {
    descriptor: Descriptor,
    diff_id: Digest,
    reused: bool,
}

/// What is known of an image before its archive comes.
struct Source {
    /// The folder of remembered layers.
    known: Place,
    /// Its diff IDs, as the engine says them.
    expected: Vec<Digest>,
    threads: NonZeroUsize,
}

/// Streams the image `id` out of the engine into `store`. `known` is the folder in which layers are remembered by diff ID.
pub(super) async fn into_store(
    docker: &Docker,
    id: &str,
    request: &BuildRequest,
    store: &Arc<dyn ImageStore>,
    known: &Place,
    threads: NonZeroUsize,
    task: &TaskContext,
) -> Result<BuiltImage, BackendError> {
    let inspected = docker
        .inspect_image(id)
        .await
        .map_err(|error| lost_or_failed(request, error))?;
    let expected: Vec<Digest> = inspected
        .root_fs
        .iter()
        .flat_map(|fs| fs.layers.iter().flatten())
        .filter_map(|layer| Digest::new(layer.as_str()).ok())
        .collect();
    if inspected
        .root_fs
        .as_ref()
        .is_some_and(|fs| fs.layers.iter().flatten().next().is_none())
    {
        let config = super::bare::config(docker, id, inspected, request).await?;
        return finish(request, store.as_ref(), &config, &[]);
    }
    let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
    let reading = {
        let (request, store, task) = (request.clone(), Arc::clone(store), task.clone());
        let source = Source {
            known: known.clone(),
            expected,
            threads,
        };
        tokio::task::spawn_blocking(move || {
            read_archive(
                ChunkReader::new(receiver, task),
                &request,
                store.as_ref(),
                &source,
            )
        })
    };
    let mut chunks = Box::pin(docker.export_image(id));
    let mut cut = None;
    loop {
        let chunk = tokio::select! {
            () = task.cancellation().cancelled() => Some(Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"))),
            chunk = chunks.next() => chunk.map(|chunk| chunk.map_err(io::Error::other)),
        };
        match chunk {
            None => break,
            Some(Ok(bytes)) => {
                if sender.send(Ok(bytes)).await.is_err() {
                    break;
                }
            }
            Some(Err(error)) => {
                cut = Some(error.to_string());
                let _ = sender.send(Err(error)).await;
                break;
            }
        }
    }
    drop(sender);
    let result = reading
        .await
        .map_err(|error| failed(request).because(error))?;
    if task.is_cancelled() {
        return Err(BackendError::new(
            ErrorClass::Cancelled,
            format!("take {} out of the engine", request.id),
        ));
    }
    match (result, cut) {
        (Err(error), Some(cut)) => {
            Err(BackendError::new(ErrorClass::Retryable, error.message).because(cut))
        }
        (result, _) => result,
    }
}

fn failed(request: &BuildRequest) -> BackendError {
    BackendError::new(
        ErrorClass::Failed,
        format!("take {} out of the engine", request.id),
    )
}

/// An image that was built a moment ago and is not there any more can be built again.
fn lost_or_failed(request: &BuildRequest, error: bollard::errors::Error) -> BackendError {
    let mut failed = failed(request);
    if let bollard::errors::Error::DockerResponseServerError {
        status_code: 404, ..
    } = error
    {
        failed.class = ErrorClass::Retryable;
    }
    failed.because(error)
}

/// Reads a `docker save` archive, in the old form (`<id>/layer.tar`, `<id>.json`) and the OCI form (`blobs/sha256/…`).
fn read_archive(
    stream: ChunkReader,
    request: &BuildRequest,
    store: &dyn ImageStore,
    source: &Source,
) -> Result<BuiltImage, BackendError> {
    let memory = LayerMemory::open(&source.known)?;
    let known = memory.candidates(&source.expected, store)?;
    let taker = Taker {
        store,
        memory,
        known,
        threads: source.threads,
    };
    let mut layers: BTreeMap<String, StoredLayer> = BTreeMap::new();
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    let mut documents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut archive = TarReader::new(stream);
    let broken = |error: io::Error| failed(request).because(error);
    let mut left = LARGEST_DOCUMENTS;
    while let Some(entry) = archive.next_entry().map_err(broken)? {
        let path = String::from_utf8_lossy(&entry.path);
        let path = path.trim_start_matches("./").to_owned();
        if let EntryKind::Symlink { target } = &entry.kind {
            let target = resolve(&path, &String::from_utf8_lossy(target));
            links.insert(path, target);
            continue;
        }
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let size = entry.size;
        let mut head = Vec::new();
        archive
            .by_ref()
            .take(TAR_BLOCK)
            .read_to_end(&mut head)
            .map_err(broken)?;
        match form(&head) {
            Form::Document => {
                if size > LARGEST_DOCUMENT || size > left {
                    return Err(failed(request)
                        .because(format!("`{path}` in the archive has {size} bytes")));
                }
                left -= size;
                archive.read_to_end(&mut head).map_err(broken)?;
                documents.insert(path, head);
            }
            Form::Tar => {
                let mut bytes = head.as_slice().chain(&mut archive);
                layers.insert(path, taker.take(&mut bytes, Some(size))?);
            }
            Form::Packed(compression) => {
                let mut bytes = compression.reader(head.as_slice().chain(&mut archive));
                layers.insert(path, taker.take(&mut bytes, None)?);
            }
        }
    }
    let list = documents
        .get("manifest.json")
        .ok_or_else(|| failed(request).because("the archive has no manifest.json"))?;
    let list: Vec<SavedImage> =
        serde_json::from_slice(list).map_err(|error| failed(request).because(error))?;
    let saved = list
        .first()
        .ok_or_else(|| failed(request).because("the archive holds no image"))?;
    let config = documents
        .get(&saved.config)
        .ok_or_else(|| failed(request).because(format!("the archive lacks {}", saved.config)))?;
    let mut ordered = Vec::new();
    for path in &saved.layers {
        let target = links.get(path).unwrap_or(path);
        let layer = layers
            .get(target)
            .ok_or_else(|| failed(request).because(format!("the archive lacks {path}")))?;
        ordered.push(layer.clone());
    }
    finish(request, store, config, &ordered)
}

/// What an entry of the archive is: new engines give all kinds the same sort of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Document,
    Tar,
    Packed(Compression),
}

fn form(head: &[u8]) -> Form {
    let block = head.len() as u64 == TAR_BLOCK;
    if block && (&head[257..262] == b"ustar" || head.iter().all(|byte| *byte == 0)) {
        return Form::Tar;
    }
    let compression = Compression::of_layer(head);
    if compression == Compression::None {
        Form::Document
    } else {
        Form::Packed(compression)
    }
}

/// The path that a link at `path` with the relative `target` names.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Takes layers into the store.
struct Taker<'a> {
    store: &'a dyn ImageStore,
    memory: LayerMemory,
    /// The image's layers that are in the store already.
    known: Vec<KnownLayer>,
    threads: NonZeroUsize,
}

impl Taker<'_> {
    /// Takes a layer's tar, of `size` bytes where that is known.
    fn take(&self, tar: &mut dyn Read, size: Option<u64>) -> Result<StoredLayer, BackendError> {
        let candidate = self
            .known
            .iter()
            .any(|layer| size.is_none_or(|size| layer.tar_size == size));
        if !candidate {
            return self.compress(tar);
        }
        // Probably a layer that was compressed before: hash it while it is kept aside, and compress it only if it is another.
        let mut aside = self.memory.aside()?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        let reading = |error: io::Error| {
            BackendError::new(ErrorClass::Failed, "read a layer from the engine").because(error)
        };
        loop {
            let count = match tar.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(error)),
            };
            hasher.update(&buffer[..count]);
            aside
                .write_all(&buffer[..count])
                .map_err(|error| disk_error("write in", self.memory.folder.path(), error))?;
        }
        let diff_id = image::digest_from(hasher.finalize().as_slice());
        if let Some(layer) = self.memory.get(&diff_id, self.store)? {
            return Ok(StoredLayer {
                descriptor: layer.descriptor,
                diff_id,
                reused: true,
            });
        }
        aside.rewind().map_err(reading)?;
        self.compress(&mut aside)
    }

    /// The archive can be read on this thread only: its pieces go to the threads that hash, compress and write.
    fn compress(&self, mut tar: &mut dyn Read) -> Result<StoredLayer, BackendError> {
        std::thread::scope(|scope| {
            let (sender, pieces) = sync_channel(WAITING_CHUNKS);
            let stored = scope.spawn(|| {
                self.store(Pieces {
                    pieces,
                    piece: Vec::new(),
                    used: 0,
                })
            });
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut tar).take(PIECE as u64).read_to_end(&mut piece);
                let last = piece.is_empty() || read.is_err();
                if sender.send(read.map(|_| piece)).is_err() || last {
                    break;
                }
            }
            drop(sender);
            match stored.join() {
                Ok(stored) => stored,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn store(&self, mut tar: Pieces) -> Result<StoredLayer, BackendError> {
        let mut produced = None;
        let stored = self.store.put_stream(&mut |writer| {
            let (pressed, written) =
                gzip::compress(self.threads, writer, |chunks| press(&mut tar, chunks));
            let whole = matches!(pressed, Ok(Some(_)));
            produced = Some(pressed);
            written?;
            if whole {
                Ok(())
            } else {
                Err(io::Error::other("the layer ended early"))
            }
        });
        if let Some(Err(error)) = produced {
            return Err(
                BackendError::new(ErrorClass::Failed, "read a layer from the engine")
                    .because(error),
            );
        }
        let (digest, size) = stored?;
        let Some(Ok(Some((diff_id, tar_size)))) = produced else {
            return Err(BackendError::new(ErrorClass::Failed, "compress a layer")
                .because("it was not taken to its end"));
        };
        let descriptor = Descriptor {
            media_type: image::OCI_LAYER_GZIP.to_owned(),
            digest,
            size,
        };
        self.memory.remember(
            &diff_id,
            &KnownLayer {
                descriptor: descriptor.clone(),
                tar_size,
            },
        )?;
        Ok(StoredLayer {
            descriptor,
            diff_id,
            reused: false,
        })
    }
}

/// A layer's tar, piece by piece from another thread; the last piece is empty.
struct Pieces {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            self.piece = self.pieces.recv().map_err(|_| {
                io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the engine's archive ended early",
                )
            })??;
            self.used = 0;
        }
        let count = buffer.len().min(self.piece.len() - self.used);
        buffer[..count].copy_from_slice(&self.piece[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// Reads a tar to its end into `chunks`: its diff ID and size, or nothing where nobody takes it any more.
fn press(tar: &mut dyn Read, mut chunks: Chunks) -> io::Result<Option<(Digest, u64)>> {
    let mut size = 0;
    loop {
        let count = chunks.fill(tar, u64::MAX)?.len() as u64;
        if count == 0 {
            return Ok(chunks.finish().ok().map(|diff_id| (diff_id, size)));
        }
        size += count;
        if chunks.send_full().is_err() {
            return Ok(None);
        }
    }
}

/// Writes the manifest: the image is whole once it is there.
fn finish(
    request: &BuildRequest,
    store: &dyn ImageStore,
    config: &[u8],
    layers: &[StoredLayer],
) -> Result<BuiltImage, BackendError> {
    let parsed: image::ImageConfig =
        serde_json::from_slice(config).map_err(|error| failed(request).because(error))?;
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    if parsed.rootfs.diff_ids != diff_ids {
        return Err(
            failed(request).because("the layers in the archive are not those of its config")
        );
    }
    let wanted = &request.platform;
    if (&parsed.os, &parsed.architecture) != (&wanted.os, &wanted.architecture) {
        return Err(BackendError::new(
            ErrorClass::Invalid,
            format!("build {} for {wanted}", request.id),
        )
        .because(format!(
            "the engine built it for {}/{}",
            parsed.os, parsed.architecture
        ))
        .hint("the classic builder does not heed `platform`, and a base brings its own: build with BuildKit, on a base for that platform"));
    }
    let config_descriptor = Descriptor {
        media_type: image::OCI_CONFIG.to_owned(),
        digest: image::digest_of(config),
        size: config.len() as u64,
    };
    store.put_blob(&config_descriptor.digest, &mut &*config)?;
    let manifest = RawManifest {
        schema_version: 2,
        media_type: Some(image::OCI_MANIFEST.to_owned()),
        config: RawDescriptor::new(&config_descriptor),
        layers: layers
            .iter()
            .map(|layer| RawDescriptor::new(&layer.descriptor))
            .collect(),
        annotations: BTreeMap::new(),
    };
    let digest = store.put_manifest(image::OCI_MANIFEST, &image::to_json(&manifest)?)?;
    store.name_image(&digest, &request.id.to_string())?;
    Ok(BuiltImage {
        id: request.id.clone(),
        digest,
        size: config_descriptor.size
            + layers
                .iter()
                .map(|layer| layer.descriptor.size)
                .sum::<u64>(),
        layers: layers.len(),
        reused_layers: layers.iter().filter(|layer| layer.reused).count(),
        bases: Vec::new(),
        builder: "docker".to_owned(),
    })
}
