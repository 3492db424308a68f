//! The files of a build, as BuildKit asks for them: a session's `FileSync` (fsutil's protocol over gRPC).
//!
//! We tell what is there, in order; BuildKit asks for the contents that it wants, by position; we send them. The Dockerfile
//! travels on its own, so that a context whose ignore file names it is a context without it, as with docker's own client.

use std::io::{self, Read};
use std::path::PathBuf;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::BackendError;
use shipline_engine::event::Unit;
use shipline_engine::folder::open_file;
use shipline_engine::task::TaskContext;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::build::embedded::{Content, Context, NodeKind, Seen, Source, join, show};
use crate::build::ignore::Ignore;

/// The Dockerfile's name in the folder in which it travels alone.
pub(super) const DOCKERFILE: &str = "Dockerfile";

/// Bytes of a file in one message.
const PIECE: usize = 64 * 1024;

/// Messages that may wait for the connection.
const WAITING: usize = 32;

/// Go's `os.ModeDir` and `os.ModeSymlink`.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

/// What a build may see.
#[derive(Clone)]
pub(super) struct BuildFiles {
    root: PathBuf,
    ignore: Ignore,
    caches: Vec<String>,
    dockerfile: Vec<u8>,
    task: TaskContext,
}

impl BuildFiles {
    /// The context as the ignore file leaves it, and the Dockerfile: the one on the disk, where it is not `rewritten`.
    pub(super) fn of(
        request: &BuildRequest,
        rewritten: Option<String>,
        task: &TaskContext,
    ) -> Result<Self, BackendError> {
        let dockerfile = match rewritten {
            Some(text) => text.into_bytes(),
            None => crate::build::recipe::read_bytes(request)?,
        };
        Ok(Self {
            root: request.context.clone(),
            ignore: crate::build::recipe::read_ignore(request)?,
            caches: request.caches.clone(),
            dockerfile,
            task: task.clone(),
        })
    }
}

/// Which folder BuildKit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    Context,
    /// The one with the Dockerfile alone.
    Dockerfile,
    /// The context, for its ignore file. It has none any more: the rules are applied here.
    Rules,
}

impl Folder {
    fn asked(metadata: &MetadataMap) -> Self {
        let values = |key: &str| -> Vec<String> {
            let values = metadata.get_all(key).iter();
            values
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect()
        };
        let only_rules = |paths: Vec<String>| {
            !paths.is_empty() && paths.iter().all(|path| path.ends_with(".dockerignore"))
        };
        if values("dir-name").iter().any(|name| name == "dockerfile") {
            Self::Dockerfile
        } else if only_rules(values("followpaths")) || only_rules(values("include-patterns")) {
            Self::Rules
        } else {
            Self::Context
        }
    }
}

#[tonic::async_trait]
impl FileSync for BuildFiles {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let folder = Folder::asked(request.metadata());
        let mut questions = request.into_inner();
        let (answers, stream) = mpsc::channel(WAITING);
        // Questions come while we still tell what is there: they are kept until that is done.
        let (asked, wanted) = std::sync::mpsc::channel();
        tokio::spawn(async move {
            while let Ok(Some(packet)) = questions.message().await {
                if asked.send(packet).is_err() {
                    break;
                }
            }
        });
        let files = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut talk = Talk {
                answers: answers.clone(),
                files: Vec::new(),
                sent: 0,
                task: files.task.clone(),
            };
            if let Err(error) = talk.hold(&files, folder, &wanted) {
                // Where BuildKit is gone there is nobody to hear of it.
                let _ = answers.blocking_send(Err(Status::internal(error.to_string())));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent one by one"))
    }
}

/// Where a file's bytes are.
enum Bytes {
    None,
    Disk(PathBuf, u64),
    Text(Vec<u8>),
}

/// One conversation about one folder.
struct Talk {
    answers: mpsc::Sender<Result<Packet, Status>>,
    /// What was told, by position.
    files: Vec<Bytes>,
    /// Bytes of contents.
    sent: u64,
    task: TaskContext,
}

impl Talk {
    fn hold(
        &mut self,
        files: &BuildFiles,
        folder: Folder,
        wanted: &std::sync::mpsc::Receiver<Packet>,
    ) -> io::Result<()> {
        match folder {
            Folder::Context => {
                let context = Context::new(&files.root, files.ignore.clone(), files.caches.clone());
                self.directory(&context, &[], &mut Vec::new())?;
            }
            Folder::Dockerfile => {
                let size = files.dockerfile.len() as u64;
                let bytes = Bytes::Text(files.dockerfile.clone());
                self.tell(DOCKERFILE.as_bytes(), 0o644, size, "", bytes)?;
            }
            Folder::Rules => {}
        }
        self.send(PacketType::PacketStat, None, 0, Vec::new())?;
        while let Ok(packet) = wanted.recv() {
            match PacketType::try_from(packet.r#type) {
                Ok(PacketType::PacketReq) => self.content(packet.id)?,
                Ok(PacketType::PacketFin) => {
                    return self.send(PacketType::PacketFin, None, 0, Vec::new());
                }
                Ok(PacketType::PacketErr) => {
                    return Err(io::Error::other(
                        String::from_utf8_lossy(&packet.data).into_owned(),
                    ));
                }
                Ok(PacketType::PacketStat | PacketType::PacketData) | Err(_) => {
                    return Err(io::Error::other("a message that is not expected here"));
                }
            }
        }
        Ok(())
    }

    /// Tells what is in a directory. `hollow` are ignored directories above, in which nothing was kept so far.
    fn directory(
        &mut self,
        context: &Context,
        path: &[u8],
        hollow: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        for name in context.names(path).map_err(io::Error::other)? {
            let path = join(path, &name);
            match context.see(&path).map_err(io::Error::other)? {
                Seen::Nothing => {}
                Seen::Hollow => {
                    hollow.push(path.clone());
                    self.directory(context, &path, hollow)?;
                    hollow.retain(|above| *above != path);
                }
                Seen::Node(node) => {
                    for above in std::mem::take(hollow) {
                        self.tell(&above, GO_DIRECTORY | 0o755, 0, "", Bytes::None)?;
                    }
                    match node.kind {
                        NodeKind::Directory => {
                            self.tell(&path, GO_DIRECTORY | node.mode, 0, "", Bytes::None)?;
                            self.directory(context, &path, hollow)?;
                        }
                        NodeKind::Symlink { target } => {
                            let target = text(&target)?;
                            self.tell(&path, GO_SYMLINK | node.mode, 0, target, Bytes::None)?;
                        }
                        NodeKind::File {
                            content: Content::Disk(file),
                            size,
                        } => {
                            let bytes = Bytes::Disk(file.path.clone(), size);
                            self.tell(&path, node.mode, size, "", bytes)?;
                        }
                        NodeKind::File {
                            content: Content::Text(_) | Content::Packed { .. },
                            ..
                        }
                        | NodeKind::Special(_) => {
                            return Err(io::Error::other(format!(
                                "`{}` is no file of the build context",
                                show(&path)
                            )));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells of one path. Owners and times of this machine stay here: they would only spoil layers and caches.
    fn tell(
        &mut self,
        path: &[u8],
        mode: u32,
        size: u64,
        target: &str,
        bytes: Bytes,
    ) -> io::Result<()> {
        let stat = Stat {
            path: text(path)?.to_owned(),
            mode,
            size: i64::try_from(size).map_err(io::Error::other)?,
            linkname: target.to_owned(),
            ..Stat::default()
        };
        self.files.push(bytes);
        self.send(PacketType::PacketStat, Some(stat), 0, Vec::new())
    }

    /// Sends a file, and an empty piece that ends it.
    fn content(&mut self, id: u32) -> io::Result<()> {
        let position = usize::try_from(id).map_err(io::Error::other)?;
        let unknown = || io::Error::other(format!("there is no file number {id}"));
        match self.files.get(position).ok_or_else(unknown)? {
            Bytes::None => return Err(unknown()),
            Bytes::Text(bytes) => {
                let bytes = bytes.clone();
                self.send(PacketType::PacketData, None, id, bytes)?;
            }
            Bytes::Disk(path, size) => {
                let (path, mut left) = (path.clone(), *size);
                let mut file = open_file(&path)?;
                while left > 0 {
                    let mut piece = Vec::with_capacity(PIECE);
                    let room = left.min(PIECE as u64);
                    (&mut file).take(room).read_to_end(&mut piece)?;
                    if piece.is_empty() {
                        return Err(io::Error::other(format!(
                            "`{}` changed while it was read",
                            path.display()
                        )));
                    }
                    left -= piece.len() as u64;
                    self.send(PacketType::PacketData, None, id, piece)?;
                }
            }
        }
        self.send(PacketType::PacketData, None, id, Vec::new())
    }

    fn send(
        &mut self,
        kind: PacketType,
        stat: Option<Stat>,
        id: u32,
        data: Vec<u8>,
    ) -> io::Result<()> {
        if self.task.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        if !data.is_empty() {
            self.sent += data.len() as u64;
            self.task
                .progress("send the context", self.sent, None, Unit::Bytes);
        }
        let packet = Packet {
            r#type: kind.into(),
            stat,
            id,
            data,
        };
        self.answers
            .blocking_send(Ok(packet))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine went away"))
    }
}

/// The protocol says paths as text.
fn text(path: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(path).map_err(|_| {
        io::Error::other(format!(
            "`{}` is not UTF-8, which engines cannot be told; list it in .dockerignore",
            show(path)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_what_is_asked() {
        let check = |pairs: &[(&'static str, &str)], expected: Folder| {
            let mut metadata = MetadataMap::new();
            for (key, value) in pairs {
                metadata.append(*key, value.parse().unwrap());
            }
            assert_eq!(Folder::asked(&metadata), expected, "{pairs:?}");
        };
        check(&[("dir-name", "context")], Folder::Context);
        check(
            &[("dir-name", "dockerfile"), ("followpaths", "Dockerfile")],
            Folder::Dockerfile,
        );
        check(
            &[
                ("dir-name", "dockerfile"),
                ("followpaths", "Dockerfile.dockerignore"),
            ],
            Folder::Dockerfile,
        );
        check(
            &[("dir-name", "context"), ("followpaths", ".dockerignore")],
            Folder::Rules,
        );
        check(
            &[
                ("dir-name", "context"),
                ("include-patterns", ".dockerignore"),
            ],
            Folder::Rules,
        );
        check(
            &[
                ("dir-name", "context"),
                ("followpaths", ".dockerignore"),
                ("followpaths", "src"),
            ],
            Folder::Context,
        );
    }
}
