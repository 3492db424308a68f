//! What is uncommitted: the work tree as `git add --all` would take it, without writing anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{FileType, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use git2::{AttrCheckFlags, ObjectType, Oid, Repository};
use sha2::{Digest as _, Sha256};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::index::{CachedTree, Entry, Index, Told};
use crate::large::{Content, LargeFiles, Memory};
use crate::scan::{self, Trust, absolute};
use crate::tree::{Committed, DEEPEST, Leaf, Mode, Origin, Overlay, Trees, lay, too_deep};
use crate::{error, lfs, plain};

/// Shipline's own folder: never part of the sources.
pub(crate) const STATE_FOLDER: &[u8] = b".shipline";

/// Files beyond this are taken as they are, without line-end conversion: a conversion holds the whole file in memory.
const CONVERSION_LIMIT: u64 = 64 << 20;

/// What is uncommitted.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// It, over the head's tree.
    pub(crate) overlay: Overlay,
    /// Its paths with what they are now (`None`: deleted), sorted.
    pub(crate) paths: Vec<(Vec<u8>, Option<Leaf>)>,
}

/// Whether `path` belongs to Shipline itself.
pub(crate) fn is_state(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|name| name == STATE_FOLDER)
}

/// Whether a name at the repository's root is that of the state folder, also where the file system takes letters of both cases
/// for the same (macOS, Windows), or ignores some characters, as git does for its own folder.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    if name.first() != Some(&b'.') && name.is_ascii() {
        return false;
    }
    let ignored = |c: &char| matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let name = String::from_utf8_lossy(name);
    let name: String = name.chars().filter(|c| !ignored(c)).collect();
    name.trim_end_matches([' ', '.'])
        .as_bytes()
        .eq_ignore_ascii_case(STATE_FOLDER)
}

/// The error of a repository that tracks the state folder: what it holds would be taken for results of this clone.
pub(crate) fn tracked(name: &[u8]) -> BackendError {
    let name = String::from_utf8_lossy(name);
    BackendError::new(
        ErrorClass::Invalid,
        format!("use this repository: it tracks `{name}`, where Shipline keeps its state"),
    )
    .hint(format!(
        "take it out of git: `git rm -r --cached {name}`, remove it, and commit"
    ))
}

/// Finds what is uncommitted over `head` (a tree).
pub(crate) fn scan(
    trees: &Trees,
    root: &Path,
    head: Oid,
    memory: &Memory,
) -> Result<Dirty, BackendError> {
    let repo = trees.repo();
    let settings = Settings::new(repo)?;
    let mut index = Index::read(&repo.path().join("index"))?;
    let first = |entry: &Entry| {
        let end = entry.path.iter().position(|byte| *byte == b'/');
        let end = end.unwrap_or(entry.path.len());
        is_reserved(&entry.path[..end]).then(|| entry.path[..end].to_vec())
    };
    if let Some(name) = index.entries.iter().find_map(first) {
        return Err(tracked(&name));
    }
    index.unfold(trees, head, root)?;
    let index = index;
    attributes(repo, &index)?;
    let seen = scan::scan(root, &index, settings.trust)?;

    let mut candidates = BTreeSet::new();
    let mut staged = Staged {
        trees,
        whole: &index.folders,
        paths: &mut candidates,
    };
    staged.compare(Some(head), index.trees.as_ref(), &index.entries, 0, 0)?;
    candidates.extend(seen.differing);
    let mut untracked = BTreeSet::new();
    for (path, kind) in seen.untracked {
        let depth = path.iter().filter(|byte| **byte == b'/').count();
        add(repo, root, path, kind, depth, &mut untracked)?;
    }

    let mut dirty = Dirty::default();
    let now = Now {
        repo,
        root,
        index: &index,
        settings: &settings,
        large: LargeFiles::new(memory),
    };
    for path in candidates.union(&untracked) {
        if is_state(path) {
            continue;
        }
        let leaf = now.leaf(path, untracked.contains(path))?;
        let same = match (&leaf, &trees.leaf(head, path)?) {
            (Some(now), Some(committed)) => now.same(committed),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            lay(&mut dirty.overlay, path, leaf);
            dirty.paths.push((path.clone(), leaf));
        }
    }
    now.large.finish();
    Ok(dirty)
}

/// Gives libgit2 what the index has of `.gitattributes`. It would read all of the index for that, which takes it long, and
/// cannot read one that is split or sparse.
pub(crate) fn attributes(repo: &Repository, index: &Index) -> Result<(), BackendError> {
    let failed = |cause| error::git("read git's attributes", cause);
    let mut known = git2::Index::new().map_err(failed)?;
    let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes");
    for entry in index.entries.iter().filter(|entry| name(&entry.path)) {
        if let (Mode::Link, Some(root)) = (entry.mode, repo.workdir()) {
            plain::file(&absolute(root, &entry.path))?;
        }
        if entry.told == Told::Unmerged || !matches!(entry.mode, Mode::File | Mode::Executable) {
            continue;
        }
        let zero = git2::IndexTime::new(0, 0);
        let entry = git2::IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: entry.id,
            flags: 0,
            flags_extended: 0,
            path: entry.path.to_vec(),
        };
        known.add(&entry).map_err(failed)?;
    }
    repo.set_index(&mut known).map_err(failed)
}

/// Compares the index with the head, by the trees that the index remembers where it does.
struct Staged<'s> {
    trees: &'s Trees,
    /// Folders that are in the index as a whole, with their trees.
    whole: &'s HashMap<Vec<u8>, Oid>,
    paths: &'s mut BTreeSet<Vec<u8>>,
}

impl Staged<'_> {
    /// `entries` are those of the index below one folder, whose path has `prefix` bytes (with its slash).
    fn compare(
        &mut self,
        tree: Option<Oid>,
        cached: Option<&CachedTree>,
        entries: &[Entry],
        prefix: usize,
        depth: usize,
    ) -> Result<(), BackendError> {
        if let Some((id, count)) = cached.and_then(|cached| cached.id)
            && tree == Some(id)
            && count == entries.len()
        {
            return Ok(());
        }
        if depth > DEEPEST {
            return Err(too_deep(entries.first().map_or(&[], |entry| &entry.path)));
        }
        let mut committed: BTreeMap<Box<[u8]>, Committed> = match tree {
            Some(tree) => self.trees.list(tree)?.iter().cloned().collect(),
            None => BTreeMap::new(),
        };
        let folder = entries.first().map(|first| first.path[..prefix].to_vec());
        for (name, known) in scan::names(prefix, entries) {
            let old = committed.remove(name);
            let (old_leaf, old_tree) = match old {
                Some(Committed::Leaf(leaf)) => (Some(leaf), None),
                Some(Committed::Folder(tree)) => (None, Some(tree)),
                None => (None, None),
            };
            for entry in known.leaf {
                let same = old_leaf.is_some_and(|old| old.mode == entry.mode && old.id == entry.id);
                if !same || entry.told == Told::Unmerged {
                    self.paths.insert(entry.path.to_vec());
                }
            }
            if known.leaf.is_empty() && old_leaf.is_some() {
                self.gone(&[folder.as_deref().unwrap_or_default(), name].concat(), old)?;
            }
            if !known.below.is_empty() {
                let below = cached.and_then(|cached| cached.below(name));
                let prefix = prefix + name.len() + 1;
                self.compare(old_tree, below, known.below, prefix, depth + 1)?;
            } else if old_tree.is_some() {
                self.gone(&[folder.as_deref().unwrap_or_default(), name].concat(), old)?;
            }
        }
        for (name, old) in committed {
            let path = [folder.as_deref().unwrap_or_default(), &name].concat();
            self.gone(&path, Some(old))?;
        }
        Ok(())
    }

    /// Everything at `path` was committed and is not in the index.
    fn gone(&mut self, path: &[u8], old: Option<Committed>) -> Result<(), BackendError> {
        match old {
            Some(Committed::Leaf(_)) => {
                self.paths.insert(path.to_vec());
            }
            Some(Committed::Folder(tree)) if self.whole.get(path) == Some(&tree) => {}
            Some(Committed::Folder(tree)) => {
                if path.split(|byte| *byte == b'/').count() > DEEPEST {
                    return Err(too_deep(path));
                }
                for (name, entry) in self.trees.list(tree)?.iter() {
                    self.gone(&[path, b"/", name].concat(), Some(*entry))?;
                }
            }
            None => {}
        }
        Ok(())
    }
}

/// Adds what git would add of an untracked file or folder.
fn add(
    repo: &Repository,
    root: &Path,
    path: Vec<u8>,
    kind: FileType,
    depth: usize,
    untracked: &mut BTreeSet<Vec<u8>>,
) -> Result<(), BackendError> {
    // Of each folder libgit2 looks for the ignore files of all folders above it.
    if depth > DEEPEST {
        return Err(too_deep(&path).hint("remove it, or name it in .gitignore"));
    }
    let relative = Path::new(OsStr::from_bytes(&path));
    let at = absolute(root, &path);
    if kind.is_dir() {
        plain::file(&at.join(".gitignore"))?;
        plain::file(&at.join(".gitattributes"))?;
    }
    let ignored = repo.is_path_ignored(relative).map_err(|cause| {
        error::git(
            format!("match {} with .gitignore", relative.display()),
            cause,
        )
    })?;
    if ignored {
        return Ok(());
    }
    if !kind.is_dir() || at.join(".git").symlink_metadata().is_ok() {
        untracked.insert(path);
        return Ok(());
    }
    // Git adds nothing of a folder that it cannot read, and goes on.
    for entry in std::fs::read_dir(&at).into_iter().flatten() {
        let entry = entry.map_err(|cause| error::file("read the folder", &at, cause))?;
        let name = entry.file_name();
        if name.as_bytes() == STATE_FOLDER {
            continue;
        }
        let kind = entry
            .file_type()
            .map_err(|cause| error::file("look at", &entry.path(), cause))?;
        let below = [&path, &b"/"[..], name.as_bytes()].concat();
        add(repo, root, below, kind, depth + 1, untracked)?;
    }
    Ok(())
}

/// Git's configuration, as far as it decides how files are taken.
struct Settings {
    trust: Trust,
    /// `core.autocrlf` is not off.
    converts: bool,
}

impl Settings {
    fn new(repo: &Repository) -> Result<Self, BackendError> {
        let config = repo
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(|cause| error::git("read git's configuration", cause))?;
        let autocrlf = config.get_string("core.autocrlf").unwrap_or_default();
        let stat = config.get_string("core.checkstat").unwrap_or_default();
        Ok(Self {
            trust: Trust {
                mode: config.get_bool("core.filemode").unwrap_or(true),
                ctime: config.get_bool("core.trustctime").unwrap_or(true),
                all: !stat.eq_ignore_ascii_case("minimal"),
            },
            converts: !matches!(autocrlf.as_str(), "" | "false" | "no" | "off" | "0"),
        })
    }
}

/// What paths are now.
struct Now<'r> {
    repo: &'r Repository,
    root: &'r Path,
    index: &'r Index,
    settings: &'r Settings,
    large: LargeFiles<'r>,
}

impl Now<'_> {
    /// What `git add` would make of `path`.
    fn leaf(&self, path: &[u8], untracked: bool) -> Result<Option<Leaf>, BackendError> {
        let relative = Path::new(OsStr::from_bytes(path));
        let entry = self.index.get(path).first();
        if entry.is_none() && !untracked {
            // Removed from the index, and ignored since.
            return Ok(None);
        }
        let meta = look(self.root, relative)?;
        match (entry, &meta) {
            // A sparse checkout leaves files out that are not deleted.
            (Some(entry), None) if entry.told == Told::SkipWorkTree => {
                return Ok(Some(indexed(entry)));
            }
            (Some(entry), _) if entry.told == Told::AssumeUnchanged => {
                return Ok(Some(indexed(entry)));
            }
            (Some(_) | None, _) => {}
        }
        let Some(meta) = meta else { return Ok(None) };
        let at = self.root.join(relative);
        let kind = meta.file_type();
        if kind.is_symlink() {
            return link(&at).map(Some);
        }
        if kind.is_dir() {
            return Ok(submodule(&at, entry));
        }
        if !kind.is_file() {
            // Sockets and pipes: git does not add them.
            return Ok(None);
        }
        let executable = if self.settings.trust.mode {
            meta.permissions().mode() & 0o100 != 0
        } else {
            entry.is_some_and(|entry| entry.mode == Mode::Executable)
        };
        let (id, origin) = self.blob(relative, &at, meta.len())?;
        Ok(Some(Leaf {
            mode: if executable {
                Mode::Executable
            } else {
                Mode::File
            },
            id,
            origin,
        }))
    }

    fn blob(&self, relative: &Path, at: &Path, size: u64) -> Result<(Oid, Origin), BackendError> {
        if self.attribute(relative, "filter")?.as_deref() == Some(b"lfs") && size > 0 {
            return self.pointer(relative, at);
        }
        if size <= CONVERSION_LIMIT && self.converted(relative)? {
            let id = self.repo.blob_path(at).map_err(|cause| {
                error::git(
                    format!("read {} as git would add it", relative.display()),
                    cause,
                )
            })?;
            return Ok((id, Origin::Objects));
        }
        let file = (relative.as_os_str().as_bytes(), at);
        let id = self.large.find(file, Content::blob, Content::Blob, || {
            Oid::hash_file(ObjectType::Blob, at)
                .map_err(|cause| error::git(format!("read {}", relative.display()), cause))
        })?;
        Ok((id, Origin::WorkTree))
    }

    /// What Git LFS would add: the pointer to the file's content (Git LFS specification, version 1).
    fn pointer(&self, relative: &Path, at: &Path) -> Result<(Oid, Origin), BackendError> {
        let failed = |cause| error::file("read", at, cause);
        let mut file = std::fs::File::open(at).map_err(failed)?;
        let mut start = Vec::new();
        file.by_ref()
            .take(lfs::VERSION.len() as u64)
            .read_to_end(&mut start)
            .map_err(failed)?;
        let text = if start == lfs::VERSION {
            // It is one: the content was never fetched.
            std::fs::read(at).map_err(failed)?
        } else {
            let size = file.metadata().map_err(failed)?.len();
            let name = (relative.as_os_str().as_bytes(), at);
            let sha256 = self.large.find(name, Content::lfs, Content::Lfs, || {
                let mut hash = Sha256::new_with_prefix(&start);
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let count = file.read(&mut buffer).map_err(failed)?;
                    if count == 0 {
                        return Ok(hash.finalize().into());
                    }
                    hash.update(&buffer[..count]);
                }
            })?;
            lfs::pointer(&sha256, size)
        };
        let id = self.repo.blob(&text).map_err(|cause| {
            error::git(
                format!("read {} as git would add it", relative.display()),
                cause,
            )
        })?;
        Ok((id, Origin::Objects))
    }

    fn converted(&self, path: &Path) -> Result<bool, BackendError> {
        if self.settings.converts {
            return Ok(true);
        }
        for name in ["text", "crlf", "eol", "ident"] {
            if self.attribute(path, name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn attribute(&self, path: &Path, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.repo
            .get_attr_bytes(path, name, AttrCheckFlags::FILE_THEN_INDEX)
            .map(|value| value.map(<[u8]>::to_vec))
            .map_err(|cause| {
                error::git(format!("read the attributes of {}", path.display()), cause)
            })
    }
}

fn indexed(entry: &Entry) -> Leaf {
    Leaf {
        mode: entry.mode,
        id: entry.id,
        origin: Origin::Objects,
    }
}

fn link(at: &Path) -> Result<Leaf, BackendError> {
    let target =
        std::fs::read_link(at).map_err(|cause| error::file("read the symlink", at, cause))?;
    let id = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes())
        .map_err(|cause| error::git("compute the ID of a symlink", cause))?;
    Ok(Leaf {
        mode: Mode::Link,
        id,
        origin: Origin::WorkTree,
    })
}

/// A folder where a leaf should be: a repository in the repository (its head is what git takes), or the files below it, which
/// come on their own.
fn submodule(at: &Path, entry: Option<&Entry>) -> Option<Leaf> {
    let head = plain::repository(at)
        .ok()
        .and_then(|()| Repository::open(at).ok())
        .and_then(|nested| nested.head().ok()?.peel_to_commit().ok().map(|c| c.id()));
    let recorded = entry
        .filter(|entry| entry.mode == Mode::Submodule)
        .map(|entry| entry.id);
    head.or(recorded).map(|id| Leaf {
        mode: Mode::Submodule,
        id,
        origin: Origin::Objects,
    })
}

/// What is at `path`, `None` where nothing is: what can only be reached through a symlink is not there, as for git.
fn look(root: &Path, path: &Path) -> Result<Option<Metadata>, BackendError> {
    let mut at = root.to_owned();
    let mut found = None;
    for name in path {
        if found.as_ref().is_some_and(|meta: &Metadata| !meta.is_dir()) {
            return Ok(None);
        }
        at.push(name);
        match at.symlink_metadata() {
            Ok(meta) => found = Some(meta),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(error::file("look at", &at, cause)),
        }
    }
    Ok(found)
}
