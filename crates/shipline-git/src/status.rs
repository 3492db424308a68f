//! What is uncommitted: the work tree as `git add --all` would take it, without writing anything.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::{
    AttrCheckFlags, Delta, DiffOptions, Index, IndexEntryExtendedFlag, ObjectType, Oid, Repository,
};
use shipline_engine::error::BackendError;

use crate::error;
use crate::tree::{Leaf, Mode, Origin, Overlay, committed_leaf, lay};

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

/// Finds what is uncommitted over `head` (a tree).
pub(crate) fn scan(repo: &Repository, root: &Path, head: Oid) -> Result<Dirty, BackendError> {
    let mut index = repo
        .index()
        .map_err(|cause| error::git("read the index", cause))?;
    let mut candidates = Candidates::default();
    staged(repo, &mut index, head, &mut candidates)?;
    unstaged(repo, &index, &mut candidates)?;

    let filters = Filters::new(repo)?;
    let mut dirty = Dirty::default();
    for path in candidates.paths {
        if is_state(&path) {
            continue;
        }
        let untracked = candidates.untracked.contains(&path);
        let now = filters.leaf(root, &index, &path, untracked)?;
        let committed = committed_leaf(repo, head, &path)?;
        let same = match (&now, &committed) {
            (Some(now), Some(committed)) => now.same(committed),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            lay(&mut dirty.overlay, &path, now);
            dirty.paths.push((path, now));
        }
    }
    Ok(dirty)
}

/// Paths that may differ from the head.
#[derive(Default)]
struct Candidates {
    paths: BTreeSet<Vec<u8>>,
    untracked: BTreeSet<Vec<u8>>,
}

fn staged(
    repo: &Repository,
    index: &mut Index,
    head: Oid,
    candidates: &mut Candidates,
) -> Result<(), BackendError> {
    let failed = |cause| error::object("compare the index with the head", cause);
    let tree = repo.find_tree(head).map_err(failed)?;
    // The index remembers its trees, so that a clean one is told by one ID. Objects go to memory (see `GitSource::open`). An
    // index with conflicts has no tree and is compared entry by entry.
    let diff = match index.write_tree_to(repo) {
        Ok(staged) if staged == head => return Ok(()),
        Ok(staged) => {
            let staged = repo.find_tree(staged).map_err(failed)?;
            repo.diff_tree_to_tree(Some(&tree), Some(&staged), Some(&mut options()))
        }
        Err(_) => repo.diff_tree_to_index(Some(&tree), Some(index), Some(&mut options())),
    }
    .map_err(failed)?;
    for delta in diff.deltas() {
        for file in [delta.old_file(), delta.new_file()] {
            if let Some(path) = file.path_bytes() {
                candidates.paths.insert(path.to_vec());
            }
        }
    }
    Ok(())
}

fn unstaged(
    repo: &Repository,
    index: &Index,
    candidates: &mut Candidates,
) -> Result<(), BackendError> {
    let diff = repo
        .diff_index_to_workdir(
            Some(index),
            Some(
                options()
                    .include_untracked(true)
                    .recurse_untracked_dirs(true),
            ),
        )
        .map_err(|cause| error::git("compare the work tree with the index", cause))?;
    for delta in diff.deltas() {
        let Some(path) = delta
            .new_file()
            .path_bytes()
            .or_else(|| delta.old_file().path_bytes())
        else {
            continue;
        };
        // A nested repository is reported as `folder/`.
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        if delta.status() == Delta::Untracked {
            candidates.untracked.insert(path.clone());
        }
        candidates.paths.insert(path);
    }
    Ok(())
}

fn options() -> DiffOptions {
    let mut options = DiffOptions::new();
    options
        .include_typechange(true)
        .ignore_submodules(false)
        .skip_binary_check(true);
    options
}

/// What git does with a file's bytes on the way in.
struct Filters<'r> {
    repo: &'r Repository,
    /// `core.autocrlf` is not off.
    converts: bool,
    /// `core.fileMode` is off: the executable bit of the work tree says nothing.
    ignores_mode: bool,
}

impl<'r> Filters<'r> {
    fn new(repo: &'r Repository) -> Result<Self, BackendError> {
        let config = repo
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(|cause| error::git("read git's configuration", cause))?;
        let autocrlf = config.get_string("core.autocrlf").unwrap_or_default();
        Ok(Self {
            repo,
            converts: !matches!(autocrlf.as_str(), "" | "false" | "no" | "off" | "0"),
            ignores_mode: !config.get_bool("core.filemode").unwrap_or(true),
        })
    }

    /// What `git add` would make of `path`.
    fn leaf(
        &self,
        root: &Path,
        index: &Index,
        path: &[u8],
        untracked: bool,
    ) -> Result<Option<Leaf>, BackendError> {
        let relative = Path::new(OsStr::from_bytes(path));
        let entry = (0..=3).find_map(|stage| index.get_path(relative, stage));
        if entry.is_none() && !untracked {
            // Unstaged for good, or ignored since.
            return Ok(None);
        }
        let absolute = root.join(relative);
        let Some(meta) = look(root, relative)? else {
            // A sparse checkout leaves files out that are not deleted.
            return Ok(entry
                .filter(|entry| {
                    IndexEntryExtendedFlag::from_bits_truncate(entry.flags_extended)
                        .is_skip_worktree()
                })
                .map(|entry| Leaf {
                    mode: index_mode(entry.mode),
                    id: entry.id,
                    origin: Origin::Objects,
                }));
        };
        let kind = meta.file_type();
        if kind.is_symlink() {
            return self.link(&absolute).map(Some);
        }
        if kind.is_dir() {
            return Ok(self.submodule(&absolute, entry.as_ref()));
        }
        if !kind.is_file() {
            // Sockets and pipes: git does not add them.
            return Ok(None);
        }
        let executable = match &entry {
            Some(entry) if self.ignores_mode => entry.mode & 0o100 != 0,
            None if self.ignores_mode => false,
            Some(_) | None => meta.permissions().mode() & 0o100 != 0,
        };
        let (id, origin) = self.blob(relative, &absolute, meta.len())?;
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

    fn link(&self, absolute: &PathBuf) -> Result<Leaf, BackendError> {
        let target = std::fs::read_link(absolute)
            .map_err(|cause| error::file("read the symlink", absolute, cause))?;
        let id = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes())
            .map_err(|cause| error::git("compute the ID of a symlink", cause))?;
        Ok(Leaf {
            mode: Mode::Link,
            id,
            origin: Origin::WorkTree,
        })
    }

    /// A folder where a leaf should be: a repository in the repository (its head is what git takes), or the files below it,
    /// which come on their own.
    fn submodule(&self, absolute: &Path, entry: Option<&git2::IndexEntry>) -> Option<Leaf> {
        let head = Repository::open(absolute)
            .ok()
            .and_then(|nested| nested.head().ok()?.peel_to_commit().ok().map(|c| c.id()));
        let recorded = entry
            .filter(|entry| index_mode(entry.mode) == Mode::Submodule)
            .map(|entry| entry.id);
        head.or(recorded).map(|id| Leaf {
            mode: Mode::Submodule,
            id,
            origin: Origin::Objects,
        })
    }

    fn blob(
        &self,
        relative: &Path,
        absolute: &Path,
        size: u64,
    ) -> Result<(Oid, Origin), BackendError> {
        if size <= CONVERSION_LIMIT && self.converted(relative)? {
            let id = self.repo.blob_path(absolute).map_err(|cause| {
                error::git(
                    format!("read {} as git would add it", relative.display()),
                    cause,
                )
            })?;
            return Ok((id, Origin::Objects));
        }
        let id = Oid::hash_file(ObjectType::Blob, absolute)
            .map_err(|cause| error::git(format!("read {}", relative.display()), cause))?;
        Ok((id, Origin::WorkTree))
    }

    fn converted(&self, path: &Path) -> Result<bool, BackendError> {
        if self.converts {
            return Ok(true);
        }
        for name in ["text", "crlf", "eol", "ident"] {
            let value = self
                .repo
                .get_attr_bytes(path, name, AttrCheckFlags::FILE_THEN_INDEX)
                .map_err(|cause| {
                    error::git(format!("read the attributes of {}", path.display()), cause)
                })?;
            if value.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
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

fn index_mode(mode: u32) -> Mode {
    match mode & 0o170_000 {
        0o120_000 => Mode::Link,
        0o160_000 => Mode::Submodule,
        _ if mode & 0o100 != 0 => Mode::Executable,
        _ => Mode::File,
    }
}
