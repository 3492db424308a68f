//! Large files of the work tree that are in no commit: each is read once, and known again by how it looks.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use git2::Oid;
use shipline_engine::folder::{Place, Seen};
use shipline_model::path::GitPath;

use crate::manifest::{Look, Manifest, Record};

/// From this many bytes on a file is remembered: reading less takes no longer than looking it up.
pub(crate) const LARGE: u64 = 1 << 20;

/// What is known of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The object ID of its bytes as a blob.
    Blob(Oid),
    /// Their SHA-256, by which Git LFS calls them.
    Lfs([u8; 32]),
}

impl Content {
    /// The blob, if that is what is known.
    pub(crate) fn blob(self) -> Option<Oid> {
        match self {
            Self::Blob(id) => Some(id),
            Self::Lfs(_) => None,
        }
    }

    /// The SHA-256, if that is what is known.
    pub(crate) fn lfs(self) -> Option<[u8; 32]> {
        match self {
            Self::Blob(_) => None,
            Self::Lfs(sha256) => Some(sha256),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(id) => write!(f, "blob:{id}"),
            Self::Lfs(sha256) => write!(f, "lfs:{}", hex::encode(sha256)),
        }
    }
}

impl FromStr for Content {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("blob", id)) => Oid::from_str(id).map(Self::Blob).map_err(drop),
            Some(("lfs", digits)) => {
                let mut sha256 = [0; 32];
                hex::decode_to_slice(digits, &mut sha256).map_err(drop)?;
                Ok(Self::Lfs(sha256))
            }
            Some(_) | None => Err(()),
        }
    }
}

/// Is told what is being done, for people who wait.
pub type Telling = Arc<dyn Fn(&str) + Send + Sync>;

/// Where it is remembered what large files hold, and who is told that one is read.
#[derive(Clone, Default)]
pub struct Memory {
    /// The file that remembers; `None`: nothing is remembered.
    pub file: Option<Place>,
    /// Is told of each large file before it is read.
    pub telling: Option<Telling>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The large files of one look at the work tree.
pub(crate) struct LargeFiles<'m> {
    memory: &'m Memory,
    known: Manifest<Content>,
    now: RefCell<Manifest<Content>>,
    /// Whether a file was read: then what is remembered is written again, so that its age can be told by that time.
    read: Cell<bool>,
}

impl<'m> LargeFiles<'m> {
    /// What is remembered. A memory that cannot be read is none: it costs time, never correctness.
    pub(crate) fn new(memory: &'m Memory) -> Self {
        let known = memory.file.as_ref().and_then(|file| {
            let (folder, name) = file.parent().ok()?;
            Manifest::read(&folder, &name).ok()
        });
        Self {
            memory,
            known: known.unwrap_or_default(),
            now: RefCell::default(),
            read: Cell::new(false),
        }
    }

    /// What is known of the file at `path`, whose place is `at`: remembered, or as `read` finds it. `of` takes it out of a
    /// content and `as_content` makes one of it.
    pub(crate) fn find<T: Copy, E>(
        &self,
        (path, at): (&[u8], &Path),
        of: impl Fn(Content) -> Option<T>,
        as_content: impl Fn(T) -> Content,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        // The look from before the file is read: one that changes in the meantime does not look like that any more.
        let look = Seen::at(at).ok().map(|seen| Look::of(&seen));
        let Some(look) = look.filter(|look| look.size() >= LARGE) else {
            return read();
        };
        let found = match self.known.content(path, &look).and_then(of) {
            Some(found) => found,
            None => {
                if let Some(telling) = &self.memory.telling {
                    telling(&format!(
                        "reading {} ({} MiB), which is in no commit",
                        GitPath::new(path),
                        look.size() >> 20
                    ));
                }
                self.read.set(true);
                let settled = look.is_settled(SystemTime::now());
                let found = read()?;
                if !settled {
                    // It may change again within the tick of its times, and look the same.
                    return Ok(found);
                }
                found
            }
        };
        let content = as_content(found);
        let record = Record { content, look };
        self.now.borrow_mut().records.insert(path.to_vec(), record);
        Ok(found)
    }

    /// Remembers what was found, if it is news.
    pub(crate) fn finish(self) {
        let now = self.now.into_inner();
        if let Some(file) = &self.memory.file
            && (self.read.get() || now.records != self.known.records)
        {
            // A clone that cannot be written is planned all the same.
            if let Ok((folder, name)) = file.make_parent() {
                let _ = now.write(&folder, &name);
            }
        }
    }
}
