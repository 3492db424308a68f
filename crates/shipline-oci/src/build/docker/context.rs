//! The build context as a tar stream: the same files that the embedded builder sees, never whole in memory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::BackendError;
use shipline_engine::task::TaskContext;
use tokio::sync::mpsc;

use super::Flavour;
use crate::build::embedded::{Content, Context, NodeKind, Seen, Source, join, show};
use crate::build::ignore::Ignore;
use crate::layout::disk_error;

/// The name that a Dockerfile outside the context gets in it.
const OUTSIDE: &str = ".dockerfile.shipline";

/// The file by which the classic builder decides whether COPY sees the Dockerfile and the ignore file.
const IGNORE_FILE: &str = ".dockerignore";

/// Bytes of a chunk on its way to the engine.
const CHUNK: usize = 256 * 1024;

/// The context on its way.
pub(super) type Chunks = tokio_stream::wrappers::ReceiverStream<io::Result<Bytes>>;

/// Starts the stream. Gives it and the Dockerfile's path in it. A `rewritten` Dockerfile goes in the place of the one on the
/// disk.
pub(super) fn stream(
    request: &BuildRequest,
    rewritten: Option<String>,
    flavour: Flavour,
    task: &TaskContext,
) -> Result<(Chunks, String), BackendError> {
    let ignore = crate::build::read_ignore(request)?;
    let (dockerfile, outside, instead) =
        match (request.dockerfile.strip_prefix(&request.context), rewritten) {
            (Ok(inside), rewritten) => {
                let name = inside.to_string_lossy().into_owned();
                let instead = rewritten.map(|text| (name.clone().into_bytes(), text.into_bytes()));
                (name, None, instead)
            }
            (Err(_), Some(text)) => (OUTSIDE.to_owned(), Some(text.into_bytes()), None),
            (Err(_), None) => {
                let bytes = fs::read(&request.dockerfile)
                    .map_err(|error| disk_error("read", &request.dockerfile, error))?;
                (OUTSIDE.to_owned(), Some(bytes), None)
            }
        };
    let mut always = Vec::new();
    if outside.is_none() {
        always.push(dockerfile.clone());
    }
    match flavour {
        Flavour::Classic => always.push(IGNORE_FILE.to_owned()),
        Flavour::BuildKit => {}
    }
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let (root, task) = (request.context.clone(), task.clone());
    tokio::task::spawn_blocking(move || {
        let writer = ChunkWriter {
            sender: sender.clone(),
            buffer: Vec::with_capacity(CHUNK),
        };
        let sent = Sent {
            always: &always,
            outside: outside.as_deref(),
            instead,
        };
        if let Err(error) = write_tar(writer, &root, ignore, sent, &task) {
            // The engine's side may be gone already: then its own error is the one to tell.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok((
        tokio_stream::wrappers::ReceiverStream::new(receiver),
        dockerfile,
    ))
}

/// What is sent beside the context as the ignore file leaves it.
struct Sent<'a> {
    /// Paths of the context that no rule hides.
    always: &'a [String],
    /// A Dockerfile that is not in the context.
    outside: Option<&'a [u8]>,
    /// A path of the context and the bytes that are sent for it.
    instead: Option<(Vec<u8>, Vec<u8>)>,
}

fn write_tar(
    writer: ChunkWriter,
    root: &Path,
    ignore: Ignore,
    sent: Sent<'_>,
    task: &TaskContext,
) -> io::Result<()> {
    let Sent {
        always,
        outside,
        instead,
    } = sent;
    let mut walk = Walk {
        instead,
        context: Context::new(root, ignore),
        archive: tar::Builder::new(writer),
        hollow: Vec::new(),
        task,
    };
    walk.directory(&[])?;
    let everything = Context::new(root, Ignore::default());
    for path in always {
        let path = path.as_bytes();
        let hidden = matches!(walk.see(path)?, Seen::Nothing | Seen::Hollow);
        if hidden && let Seen::Node(node) = everything.see(path).map_err(io::Error::other)? {
            walk.append(path, &node.kind, node.mode)?;
        }
    }
    if let Some(bytes) = outside {
        let mut header = header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        walk.archive.append_data(&mut header, OUTSIDE, bytes)?;
    }
    walk.archive.into_inner()?.flush()
}

struct Walk<'a> {
    context: Context,
    archive: tar::Builder<ChunkWriter>,
    /// Ignored directories above the current one, in which nothing was kept so far.
    hollow: Vec<Vec<u8>>,
    /// A path and the bytes that are sent for it.
    instead: Option<(Vec<u8>, Vec<u8>)>,
    task: &'a TaskContext,
}

impl Walk<'_> {
    fn see(&self, path: &[u8]) -> io::Result<Seen> {
        self.context.see(path).map_err(io::Error::other)
    }

    fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        for name in self.context.names(path).map_err(io::Error::other)? {
            if self.task.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            let path = join(path, &name);
            match self.see(&path)? {
                Seen::Nothing => {}
                Seen::Hollow => {
                    self.hollow.push(path.clone());
                    self.directory(&path)?;
                    self.hollow.retain(|hollow| *hollow != path);
                }
                Seen::Node(node) => {
                    for above in std::mem::take(&mut self.hollow) {
                        self.append(&above, &NodeKind::Directory, 0o755)?;
                    }
                    self.append(&path, &node.kind, node.mode)?;
                    if node.is_directory() {
                        self.directory(&path)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, path: &[u8], kind: &NodeKind, mode: u32) -> io::Result<()> {
        let name = Path::new(OsStr::from_bytes(path));
        if let Some((at, bytes)) = &self.instead
            && at == path
        {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(bytes.len() as u64);
            return self
                .archive
                .append_data(&mut header, name, bytes.as_slice());
        }
        match kind {
            NodeKind::Directory => {
                let mut header = header(tar::EntryType::Directory, mode);
                self.archive.append_data(&mut header, name, io::empty())
            }
            NodeKind::Symlink { target } => {
                let mut header = header(tar::EntryType::Symlink, mode);
                self.archive
                    .append_link(&mut header, name, OsStr::from_bytes(target))
            }
            NodeKind::File {
                content: Content::Disk(file),
                size,
            } => {
                let mut header = header(tar::EntryType::Regular, mode);
                header.set_size(*size);
                let bytes = Exactly {
                    file: File::open(&file.path)?,
                    left: *size,
                    path,
                };
                self.archive.append_data(&mut header, name, bytes)
            }
            NodeKind::File {
                content: Content::Text(_) | Content::Packed { .. },
                ..
            }
            | NodeKind::Other => Err(io::Error::other(format!(
                "`{}` is no file of the build context",
                show(path)
            ))),
        }
    }
}

/// A file's first bytes, and an error where there are fewer: a tar says sizes before contents.
struct Exactly<'a> {
    file: File,
    left: u64,
    path: &'a [u8],
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if room == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::Error::other(format!(
                "`{}` changed while it was read",
                show(self.path)
            )));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Owners, times and umask of this machine stay here: they would only spoil the engine's cache.
fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Sends what is written in chunks.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(CHUNK),
        ));
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine went away"))
    }
}
