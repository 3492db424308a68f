//! The build context: the folder on the disk as `.dockerignore` lets a build see it, and what all sources of a COPY share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Content, DiskFile, ImagePath, Node, NodeKind, Stamp, Tree, join};
use crate::build::ignore::{Ignore, Matched};

/// What a source has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, or nothing that may be seen.
    Nothing,
    /// This.
    Node(Node),
    /// An ignored directory below which something may be kept: it is there only if that is.
    Hollow,
}

/// A name in a directory, with what the disk says of it where it was asked.
pub(crate) type Listed = (Vec<u8>, Option<fs::Metadata>);

/// Where a COPY copies from.
pub(crate) trait Source {
    /// What stands at a path, links not followed.
    fn see(&self, path: &[u8]) -> Result<Seen, String>;

    /// Names in a directory, sorted.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, String>;

    /// The same with what the disk says of each, where there is a disk and where asking for all at once is cheaper.
    fn listing(&self, path: &[u8]) -> Result<Vec<Listed>, String> {
        Ok(self
            .names(path)?
            .into_iter()
            .map(|name| (name, None))
            .collect())
    }

    /// [`Self::see`] for a path of a [`Self::listing`].
    fn see_listed(&self, path: &[u8], _listed: Option<fs::Metadata>) -> Result<Seen, String> {
        self.see(path)
    }

    /// For people: "the context", "stage `build`".
    fn describe(&self) -> String;

    /// For people: that a path is not here, and why.
    fn missing(&self, path: &[u8]) -> String {
        format!(
            "`{}` is not in {}",
            super::tree::show(path),
            self.describe()
        )
    }
}

/// The build context.
pub(crate) struct Context {
    root: PathBuf,
    ignore: Ignore,
    /// Paths that are not there for any build.
    caches: Vec<String>,
    /// The same folder in the clone, where people look; only asked what is there.
    live: Option<PathBuf>,
    /// For each directory seen: its state, and whether it is ignored itself.
    directories: RefCell<HashMap<ImagePath, (Matched, bool)>>,
}

impl Context {
    pub(crate) fn new(root: &Path, ignore: Ignore, caches: Vec<String>) -> Self {
        Self {
            root: root.to_owned(),
            ignore,
            caches,
            live: None,
            directories: RefCell::default(),
        }
    }

    /// With the same folder in the clone, for what is missing.
    pub(crate) fn beside(mut self, live: Option<PathBuf>) -> Self {
        self.live = live;
        self
    }

    fn directory(&self, path: &[u8]) -> Result<Vec<fs::DirEntry>, String> {
        let disk = self.disk(path);
        fs::read_dir(&disk)
            .and_then(Iterator::collect)
            .map_err(|error| format!("`{}` cannot be read: {error}", disk.display()))
    }

    fn disk(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// The ignore state of a path, and whether it is ignored.
    fn state(&self, path: &[u8]) -> (Matched, bool) {
        if path.is_empty() {
            return (self.ignore.root(), false);
        }
        if let Some(known) = self.directories.borrow().get(path) {
            return known.clone();
        }
        let parent = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let (above, _) = self.state(&path[..parent]);
        self.ignore.enter(&above, &String::from_utf8_lossy(path))
    }
}

impl Source for Context {
    fn see(&self, path: &[u8]) -> Result<Seen, String> {
        let disk = self.disk(path);
        match fs::symlink_metadata(&disk) {
            Ok(metadata) => self.judge(path, disk, &metadata),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Seen::Nothing)
            }
            Err(error) => Err(format!("`{}` cannot be read: {error}", disk.display())),
        }
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut names: Vec<Vec<u8>> = self
            .directory(path)?
            .into_iter()
            .map(|entry| entry.file_name().into_vec())
            .collect();
        names.sort();
        Ok(names)
    }

    fn listing(&self, path: &[u8]) -> Result<Vec<Listed>, String> {
        // Asked for below its open directory, a name costs half of what a whole path costs. Who is gone by now is asked for
        // again, and is found to be gone.
        let mut listing: Vec<Listed> = self
            .directory(path)?
            .into_iter()
            .map(|entry| (entry.file_name().into_vec(), entry.metadata().ok()))
            .collect();
        listing.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(listing)
    }

    fn see_listed(&self, path: &[u8], listed: Option<fs::Metadata>) -> Result<Seen, String> {
        match listed {
            Some(metadata) => self.judge(path, self.disk(path), &metadata),
            None => self.see(path),
        }
    }

    fn describe(&self) -> String {
        "the build context".to_owned()
    }

    fn missing(&self, path: &[u8]) -> String {
        let shown = super::tree::show(path);
        let text = String::from_utf8_lossy(path);
        let is_at = |root: &Path| fs::symlink_metadata(root.join(OsStr::from_bytes(path))).is_ok();
        if let Some(cache) = within(&self.caches, path) {
            return format!("`{shown}` is not in the build context: `{cache}` is a cache");
        }
        if is_at(&self.root) {
            let reason = self.ignore.reason(&text);
            let reason = reason.unwrap_or_else(|| "the ignore file".to_owned());
            return format!("`{shown}` is not in the build context: {reason} leaves it out");
        }
        match &self.live {
            Some(live) if is_at(live) => format!(
                "`{shown}` is not in the build context: it stands in the folder, but is no source (git ignores it, or the component does not have it); commit it, or make it in `prepare`"
            ),
            Some(_) | None => format!("`{shown}` is not in the build context: no such file"),
        }
    }
}

impl Context {
    /// What stands at a path of which the disk says this.
    fn judge(&self, path: &[u8], disk: PathBuf, metadata: &fs::Metadata) -> Result<Seen, String> {
        if within(&self.caches, path).is_some() {
            return Ok(Seen::Nothing);
        }
        let (state, ignored) = self.state(path);
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.directories
                .borrow_mut()
                .insert(path.to_vec(), (state, ignored));
            if ignored {
                return Ok(
                    if self.ignore.may_keep_below(&String::from_utf8_lossy(path)) {
                        Seen::Hollow
                    } else {
                        Seen::Nothing
                    },
                );
            }
            return Ok(Seen::Node(Node::directory()));
        }
        if ignored {
            return Ok(Seen::Nothing);
        }
        let (kind, mode) = if kind.is_symlink() {
            let target = fs::read_link(&disk)
                .map_err(|error| format!("`{}` cannot be read: {error}", disk.display()))?;
            let target = target.into_os_string().into_vec();
            (NodeKind::Symlink { target }, 0o777)
        } else if kind.is_file() {
            // Only git's own bit is taken, so that neither umask nor group matters.
            let mode = if metadata.mode() & 0o100 != 0 {
                0o755
            } else {
                0o644
            };
            let content = Content::Disk(Arc::new(DiskFile {
                path: disk,
                stamp: Stamp::of(metadata),
            }));
            let size = metadata.len();
            (NodeKind::File { content, size }, mode)
        } else {
            return Err(format!(
                "`{}` is a socket, pipe or device, which no image can hold; list it in .dockerignore",
                String::from_utf8_lossy(path)
            ));
        };
        Ok(Seen::Node(Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            xattrs: None,
        }))
    }
}

/// Which of the caches a path of the context is or lies in.
pub(crate) fn within<'c>(caches: &'c [String], path: &[u8]) -> Option<&'c str> {
    let holds = |cache: &&String| {
        path.strip_prefix(cache.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    caches.iter().find(holds).map(String::as_str)
}

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A finished stage, or an image, as source.
pub(crate) struct TreeSource<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) name: String,
}

impl Source for TreeSource<'_> {
    fn see(&self, path: &[u8]) -> Result<Seen, String> {
        Ok(self.tree.get(path).map_or(Seen::Nothing, Seen::Node))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        Ok(self.tree.children(path))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// Everything in a source that a pattern names, in order; a text without wildcards names itself.
pub(crate) fn glob(source: &dyn Source, pattern: &str) -> Result<Vec<ImagePath>, String> {
    use crate::build::pattern::{Flavour, Pattern, clean, has_wildcard};
    let pattern = clean(&format!("/{pattern}"));
    let mut found: Vec<ImagePath> = vec![Vec::new()];
    // What stands before the first wildcard leads over links; what a wildcard finds is looked at as it is, as Docker's walk does.
    let mut walking = false;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        if has_wildcard(part) {
            let compiled = Pattern::new(part, Flavour::Match).map_err(|error| error.to_string())?;
            for directory in &found {
                let real = if walking {
                    directory.clone()
                } else {
                    follow(source, directory)?
                };
                let is_directory = match source.see(&real)? {
                    Seen::Node(node) => node.is_directory(),
                    Seen::Hollow => true,
                    Seen::Nothing => false,
                };
                if !is_directory {
                    continue;
                }
                for name in source.names(&real)? {
                    let path = join(directory, &name);
                    if compiled.matches(&String::from_utf8_lossy(&name))
                        && source.see(&join(&real, &name))? != Seen::Nothing
                    {
                        next.push(path);
                    }
                }
            }
            walking = true;
        } else {
            let plain = unescape(part);
            for above in &found {
                let path = join(above, plain.as_bytes());
                let there = !walking
                    || match source.see(above)? {
                        Seen::Node(node) => node.is_directory(),
                        Seen::Hollow => true,
                        Seen::Nothing => false,
                    } && source.see(&path)? != Seen::Nothing;
                if there {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    Ok(found)
}

fn unescape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    out
}

/// The path that a path of a source leads to, its last part followed too; never out of the source.
pub(crate) fn follow(source: &dyn Source, path: &[u8]) -> Result<ImagePath, String> {
    super::tree::resolve(path, super::tree::LastLink::Follow, &mut |path| {
        Ok(match source.see(path)? {
            Seen::Node(Node {
                kind: NodeKind::Symlink { target },
                ..
            }) => Some(target),
            Seen::Node(_) | Seen::Hollow | Seen::Nothing => None,
        })
    })
}
