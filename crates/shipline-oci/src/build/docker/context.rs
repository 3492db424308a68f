//! The build context as a tar stream, for the classic builder: the same files that the embedded builder sees, never whole in
//! memory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::BackendError;
use shipline_engine::folder::open_file;
use shipline_engine::task::TaskContext;
use tokio::sync::mpsc;

use crate::build::embedded::{Content, Context, NodeKind, Seen, Source, join, show};
use crate::build::ignore::Ignore;

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
    task: &TaskContext,
) -> Result<(Chunks, String), BackendError> {
    let ignore = crate::build::recipe::read_ignore(request)?;
    let rewritten = rewritten.map(String::into_bytes);
    let (dockerfile, outside, instead) =
        match (request.dockerfile.strip_prefix(&request.context), rewritten) {
            (Ok(inside), rewritten) => (inside.to_string_lossy().into_owned(), None, rewritten),
            (Err(_), Some(text)) => (OUTSIDE.to_owned(), Some(text), None),
            (Err(_), None) => {
                let bytes = crate::build::recipe::read_bytes(request)?;
                (OUTSIDE.to_owned(), Some(bytes), None)
            }
        };
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let (root, task) = (request.context.clone(), task.clone());
    let caches = request.caches.clone();
    let named = dockerfile.clone();
    tokio::task::spawn_blocking(move || {
        let writer = ChunkWriter {
            sender: sender.clone(),
            buffer: Vec::with_capacity(CHUNK),
        };
        let file = Recipe {
            path: named,
            outside,
            instead,
        };
        if let Err(error) = write_tar(writer, &root, ignore, caches, &file, &task) {
            // The engine's side may be gone already: then its own error is the one to tell.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok((
        tokio_stream::wrappers::ReceiverStream::new(receiver),
        dockerfile,
    ))
}

/// The Dockerfile, which an engine finds in the context only.
struct Recipe {
    /// Its path there.
    path: String,
    /// Its bytes, where it stands outside the context.
    outside: Option<Vec<u8>>,
    /// What is sent for the one in the context.
    instead: Option<Vec<u8>>,
}

fn write_tar(
    writer: ChunkWriter,
    root: &Path,
    ignore: Ignore,
    caches: Vec<String>,
    recipe: &Recipe,
    task: &TaskContext,
) -> io::Result<()> {
    let mut walk = Walk {
        context: Context::new(root, ignore, caches),
        archive: tar::Builder::new(writer),
        hollow: Vec::new(),
        recipe,
        task,
    };
    walk.directory(&[])?;
    let path = recipe.path.as_bytes();
    let hidden = match &recipe.outside {
        Some(bytes) => {
            walk.text(OUTSIDE, bytes)?;
            true
        }
        None => {
            let everything = Context::new(root, Ignore::default(), Vec::new());
            let hidden = matches!(walk.see(path)?, Seen::Nothing | Seen::Hollow);
            if hidden && let Seen::Node(node) = everything.see(path).map_err(io::Error::other)? {
                walk.append(path, &node.kind, node.mode)?;
            }
            hidden
        }
    };
    let rules_hidden = matches!(
        walk.see(IGNORE_FILE.as_bytes())?,
        Seen::Nothing | Seen::Hollow
    );
    // The classic builder reads the Dockerfile and then removes it, and the ignore file, where the ignore file names them.
    // The context is filtered already: the file needs to say nothing else.
    if hidden && rules_hidden {
        let rules = format!("{IGNORE_FILE}\n{}\n", literal(&recipe.path));
        walk.text(IGNORE_FILE, rules.as_bytes())?;
    }
    walk.archive.into_inner()?.flush()
}

/// A pattern of ignore files that names one path.
fn literal(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

struct Walk<'a> {
    context: Context,
    archive: tar::Builder<ChunkWriter>,
    /// Ignored directories above the current one, in which nothing was kept so far.
    hollow: Vec<Vec<u8>>,
    recipe: &'a Recipe,
    task: &'a TaskContext,
}

impl Walk<'_> {
    fn see(&self, path: &[u8]) -> io::Result<Seen> {
        self.context.see(path).map_err(io::Error::other)
    }

    /// Adds a file that is not on the disk.
    fn text(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        self.archive.append_data(&mut header, name, bytes)
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
        if let Some(bytes) = &self.recipe.instead
            && self.recipe.path.as_bytes() == path
        {
            return self.text(&self.recipe.path, bytes);
        }
        let name = Path::new(OsStr::from_bytes(path));
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
                    file: open_file(&file.path)?,
                    left: *size,
                    path,
                };
                self.archive.append_data(&mut header, name, bytes)
            }
            NodeKind::File {
                content: Content::Text(_) | Content::Packed { .. },
                ..
            }
            | NodeKind::Special(_) => Err(io::Error::other(format!(
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
