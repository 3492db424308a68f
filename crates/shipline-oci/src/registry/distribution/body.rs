//! Blobs as bodies of requests: read on a blocking thread, hashed on their way, a few chunks in memory.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::event::Unit;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::task::TaskContext;
use shipline_http::Activity;
use tokio::sync::mpsc;

/// Size of the pieces in which blobs are read.
const CHUNK: usize = 256 * 1024;
/// Pieces that wait to be sent, for each blob.
const AHEAD: usize = 4;

/// How much of an image has been sent or received, over all its blobs.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    total: u64,
    done: AtomicU64,
    task: Option<TaskContext>,
}

impl Progress {
    pub(super) fn new(what: String, total: u64, task: Option<&TaskContext>) -> Arc<Self> {
        Arc::new(Self {
            what,
            total,
            done: AtomicU64::new(0),
            task: task.cloned(),
        })
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(task) = &self.task {
            task.progress(&self.what, done, Some(self.total), Unit::Bytes);
        }
    }

    /// What was counted for a try that failed does not count.
    pub(super) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One try at a blob: what of it has been counted as done.
#[derive(Debug, Clone)]
pub(super) struct Share {
    progress: Arc<Progress>,
    counted: Arc<AtomicU64>,
}

impl Share {
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
        Self {
            progress: Arc::clone(progress),
            counted: Arc::default(),
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
        self.progress.add(bytes);
    }

    pub(super) fn undo(&self) {
        self.progress
            .take_back(self.counted.swap(0, Ordering::Relaxed));
    }

    /// The blob is done, however much of it had to be moved.
    pub(super) fn complete(&self, size: u64) {
        self.undo();
        self.progress.add(size);
    }
}

/// A blob of the store as the body of a request.
pub(super) struct BlobBody {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    size: u64,
    left: u64,
    activity: Activity,
    share: Share,
    faults: Faults,
}

impl BlobBody {
    /// Begins to read the blob. Bytes that do not have its digest fail the body before its last piece is given.
    pub(super) fn open(
        store: &Arc<dyn ImageStore>,
        blob: &Descriptor,
        activity: Activity,
        share: Share,
        faults: Faults,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let (store, blob, size) = (Arc::clone(store), blob.clone(), blob.size);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(store.as_ref(), &blob, &sender) {
                // A receiver that is gone needs no error.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self {
            chunks,
            size,
            left: size,
            activity,
            share,
            faults,
        }
    }
}

fn read(
    store: &dyn ImageStore,
    blob: &Descriptor,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut reader = store.open(&blob.digest).map_err(io::Error::other)?;
    let mut hasher = Sha256::new();
    let mut left = blob.size;
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("blob {} of the store is damaged", blob.digest),
        )
    };
    loop {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match reader.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.truncate(filled);
        hasher.update(&chunk);
        left = left.checked_sub(filled as u64).ok_or_else(damaged)?;
        let end = left == 0;
        if filled == 0 && !end {
            return Err(damaged());
        }
        if end {
            let more = reader.read(&mut [0])? != 0;
            if more || hex::encode(hasher.finalize()) != blob.digest.hex() {
                return Err(damaged());
            }
            if filled != 0 {
                let _ = sender.blocking_send(Ok(chunk.into()));
            }
            return Ok(());
        }
        if sender.blocking_send(Ok(chunk.into())).is_err() {
            return Ok(());
        }
    }
}

impl http_body::Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left > 0 && self.left <= self.size / 2 {
            self.faults.reach(FaultPoint::RegistryBlobHalf);
        }
        self.chunks.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| {
                chunk.map(|chunk| {
                    self.left = self.left.saturating_sub(chunk.len() as u64);
                    self.activity.moved();
                    self.share.add(chunk.len() as u64);
                    Frame::data(chunk)
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
