//! Making a layer: tar, hashed while it is written, cut into chunks, compressed in parallel, put together in order, streamed
//! into the store. Its bytes depend on what is in it and on nothing else.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use shipline_engine::backend::ImageStore;
use shipline_engine::error::BackendError;
use shipline_engine::event::Unit;
use shipline_engine::folder::open_file;
use shipline_engine::task::TaskContext;
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::archive::Spool;
use super::binary::{Fit, inspect};
use super::copy::Changes;
use super::tarball::{END, headers, padding};
use super::tree::{Content, Node, NodeKind, Stamp, show};
use crate::build::gzip::{self, Chunks, Gone};

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Digest of the tar.
    pub(crate) diff_id: String,
    /// Digest of the blob.
    pub(crate) digest: String,
    /// Size of the blob.
    pub(crate) size: u64,
    /// What was seen in it.
    pub(crate) observed: Observed,
}

/// What was seen in a layer's files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// For people.
    pub(crate) notes: Vec<String>,
    /// Executables, with the loader that each needs.
    pub(crate) loaders: Vec<(String, String)>,
}

/// Why a layer was not made.
#[derive(Debug)]
pub(crate) enum LayerError {
    Cancelled,
    /// The sources or the disk.
    Sources(String),
    /// A binary that cannot run in the image.
    Foreign {
        file: String,
        what: String,
    },
    Store(BackendError),
}

/// What a layer is made with.
pub(crate) struct Press<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) store: &'a dyn ImageStore,
    pub(crate) threads: NonZeroUsize,
    pub(crate) task: &'a TaskContext,
    pub(crate) spool: &'a Spool,
    /// What moves, for people.
    pub(crate) what: &'a str,
}

impl Press<'_> {
    /// Makes the layer of these changes.
    pub(crate) fn layer(&self, changes: &Changes) -> Result<Layer, LayerError> {
        let mut produced = None;
        let stored = self.store.put_stream(&mut |writer| {
            let (result, written) = self.stream(changes, writer);
            let good = result.is_ok();
            produced = Some(result);
            written?;
            if good {
                Ok(())
            } else {
                Err(io::Error::other("the layer was not made"))
            }
        });
        match (produced, stored) {
            // The producer's own error is the cause; "nobody takes it" is not.
            (Some(Err(Some(error))), _) => Err(error),
            (_, Err(error)) => Err(LayerError::Store(error)),
            (Some(Ok((diff_id, observed))), Ok((digest, size))) => Ok(Layer {
                diff_id: diff_id.to_string(),
                digest: digest.to_string(),
                size,
                observed,
            }),
            (Some(Err(None)) | None, Ok(_)) => Err(LayerError::Sources(
                "the layer's compression stopped early".to_owned(),
            )),
        }
    }

    /// Runs the producer and the compressors, and writes what they make. The producer's error is `None` where nobody took its
    /// chunks any more.
    #[allow(clippy::type_complexity)]
    fn stream(
        &self,
        changes: &Changes,
        writer: &mut dyn Write,
    ) -> (
        Result<(Digest, Observed), Option<LayerError>>,
        io::Result<()>,
    ) {
        gzip::compress(self.threads, writer, |chunks| self.produce(changes, chunks))
    }

    fn produce(
        &self,
        changes: &Changes,
        chunks: Chunks,
    ) -> Result<(Digest, Observed), Option<LayerError>> {
        let total = changes
            .values()
            .map(Node::size)
            .fold(0, u64::saturating_add);
        let mut out = Tar {
            press: self,
            chunks,
            done: 0,
            total,
        };
        let mut observed = Observed::default();
        let mut more = 0_usize;
        for (path, node) in changes {
            let size = node.size();
            out.write(&headers(path, node, size))?;
            let NodeKind::File { content, .. } = &node.kind else {
                continue;
            };
            if matches!(content, Content::Packed { .. }) && size == 0 {
                continue;
            }
            match self.open(content, path)? {
                Opened::Text(text) => out.write(text)?,
                Opened::File(whole, start) => {
                    let file: &File = &whole;
                    let failed = |error: io::Error| {
                        LayerError::Sources(format!("`{}` cannot be read: {error}", show(path)))
                    };
                    let head = out.copy((file, start), size, path)?;
                    if let Some(note) = self
                        .look(path, node, (file, start), &head, &mut observed)
                        .map_err(Some)?
                    {
                        if observed.notes.len() < 8 {
                            observed.notes.push(note);
                        } else {
                            more += 1;
                        }
                    }
                    if let Content::Disk(seen) = content
                        && Stamp::of(&file.metadata().map_err(failed)?) != seen.stamp
                    {
                        return Err(Some(changed(path)));
                    }
                }
            }
            out.write(&END[..padding(size)])?;
        }
        if more > 0 {
            observed
                .notes
                .push(format!("… and {more} more of the kind"));
        }
        out.write(&END)?;
        Ok((out.chunks.finish().map_err(|Gone| None)?, observed))
    }

    fn open<'c>(&'c self, content: &'c Content, shown: &[u8]) -> Result<Opened<'c>, LayerError> {
        match content {
            Content::Text(text) => Ok(Opened::Text(text)),
            Content::Disk(seen) => {
                let path = seen.path.as_path();
                let file = open_file(path).map_err(|error| {
                    LayerError::Sources(format!("`{}` cannot be read: {error}", path.display()))
                })?;
                Ok(Opened::File(Whole::Own(file), 0))
            }
            Content::Packed { archive, entry } => {
                let (file, start) = self.spool.find(archive, *entry).ok_or_else(|| {
                    LayerError::Sources(format!("`{}` is not in its archive any more", show(shown)))
                })?;
                Ok(Opened::File(Whole::Spool(file), start))
            }
        }
    }

    /// Looks at a file's head: a binary that must run and cannot is an error, others that cannot are a note.
    fn look(
        &self,
        path: &[u8],
        node: &Node,
        (file, start): (&File, u64),
        head: &[u8],
        observed: &mut Observed,
    ) -> Result<Option<String>, LayerError> {
        let may_be_binary = head.len() < 4
            || matches!(
                head,
                [0x7f, b'E', ..]
                    | [b'M', b'Z', ..]
                    | [0xca, 0xfe, ..]
                    | [0xfe, 0xed, ..]
                    | [0xce | 0xcf, 0xfa, ..]
            );
        if !may_be_binary {
            return Ok(None);
        }
        let Some(binary) = inspect(&|offset, length| {
            // Behind the file another one may lie.
            let left = usize::try_from(node.size().saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(left)];
            let read = file.read_at(&mut bytes, start + offset).unwrap_or(0);
            bytes.truncate(read);
            bytes
        }) else {
            return Ok(None);
        };
        let starts = binary.executable && node.mode & 0o111 != 0;
        match binary.fits(self.platform) {
            Fit::Runs => {
                if starts && let Some(loader) = binary.interpreter {
                    observed.loaders.push((show(path), loader));
                }
                Ok(None)
            }
            Fit::Perhaps => Ok(Some(format!(
                "`{}` is {}, and the image is for {}: not every machine runs it",
                show(path),
                binary.description,
                self.platform
            ))),
            Fit::Foreign if starts && !ships_for_all(path) => Err(LayerError::Foreign {
                file: show(path),
                what: binary.description,
            }),
            Fit::Foreign => Ok(Some(format!(
                "`{}` is {}, and the image is for {}",
                show(path),
                binary.description,
                self.platform
            ))),
        }
    }
}

/// Packages bring binaries for every system that they support, and load the right one.
fn ships_for_all(path: &[u8]) -> bool {
    super::tree::parts(path).any(|part| {
        matches!(
            part,
            b"node_modules" | b"site-packages" | b"dist-packages" | b"vendor" | b"gems"
        )
    })
}

fn changed(path: &[u8]) -> LayerError {
    LayerError::Sources(format!("`{}` changed while it was read", show(path)))
}

enum Opened<'c> {
    Text(&'c [u8]),
    /// A file, and where in it the content begins.
    File(Whole<'c>, u64),
}

/// A file that is opened for one content, or holds many.
enum Whole<'c> {
    Own(File),
    Spool(&'c File),
}

impl Deref for Whole<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Own(file) => file,
            Self::Spool(file) => file,
        }
    }
}

/// The tar as it is written, with a look at cancellation and a word of progress for each chunk.
struct Tar<'a> {
    press: &'a Press<'a>,
    chunks: Chunks,
    done: u64,
    total: u64,
}

impl Tar<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Option<LayerError>> {
        if self.chunks.write(bytes).map_err(|Gone| None)? {
            self.moved()?;
        }
        Ok(())
    }

    /// Copies exactly `size` bytes, and gives the first few of them.
    fn copy(
        &mut self,
        (mut file, start): (&File, u64),
        size: u64,
        path: &[u8],
    ) -> Result<Vec<u8>, Option<LayerError>> {
        let failed = |error: io::Error| {
            LayerError::Sources(format!("`{}` cannot be read: {error}", show(path)))
        };
        file.seek(SeekFrom::Start(start))
            .map_err(|error| Some(failed(error)))?;
        let mut left = size;
        let mut head = Vec::new();
        while left > 0 {
            let read = self
                .chunks
                .fill(&mut file, left)
                .map_err(|error| Some(failed(error)))?;
            if read.is_empty() {
                return Err(Some(changed(path)));
            }
            if left == size {
                head = read[..read.len().min(4)].to_vec();
            }
            let count = read.len() as u64;
            left -= count;
            self.done += count;
            if self.chunks.send_full().map_err(|Gone| None)? {
                self.moved()?;
            }
        }
        Ok(head)
    }

    fn moved(&self) -> Result<(), Option<LayerError>> {
        if self.press.task.is_cancelled() {
            return Err(Some(LayerError::Cancelled));
        }
        self.press
            .task
            .progress(self.press.what, self.done, Some(self.total), Unit::Bytes);
        Ok(())
    }
}
