//! Looks at every file of the work tree, on all processors, and names those that may differ from the index.

use std::collections::HashMap;
use std::fs::{DirEntry, FileType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use git2::{ObjectType, Oid};
use shipline_engine::error::BackendError;

use crate::index::{Entry, Index, Told, seconds};
use crate::status::STATE_FOLDER;
use crate::tree::Mode;
use crate::{error, plain};

/// More threads than this wait for each other in the kernel.
const THREADS: usize = 8;

/// Fewer entries than this are looked at sooner than a second thread starts.
const FEW: usize = 2000;

/// What of a file's look counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust {
    /// `core.fileMode`.
    pub(crate) mode: bool,
    /// `core.trustctime`.
    pub(crate) ctime: bool,
    /// Whether `core.checkStat` is not `minimal`.
    pub(crate) all: bool,
}

/// What a scan saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Tracked paths that may differ from the index.
    pub(crate) differing: Vec<Vec<u8>>,
    /// Files and folders that the index has nothing of.
    pub(crate) untracked: Vec<(Vec<u8>, FileType)>,
}

/// Looks at everything below `root`.
pub(crate) fn scan(root: &Path, index: &Index, trust: Trust) -> Result<Seen, BackendError> {
    let scan = Scan {
        root,
        trust,
        written: index.written,
        empty: Oid::hash_object(ObjectType::Blob, b"")
            .map_err(|cause| error::git("compute the ID of an empty file", cause))?,
        work: Mutex::new(Work {
            folders: vec![Folder {
                path: Vec::new(),
                entries: &index.entries,
            }],
            busy: 0,
            seen: Seen::default(),
            failure: None,
        }),
        changed: Condvar::new(),
    };
    let threads = if index.entries.len() < FEW {
        1
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(THREADS) {
            scope.spawn(|| scan.work());
        }
        scan.work();
    });
    let work = scan
        .work
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match work.failure {
        Some(failure) => Err(failure),
        None => Ok(work.seen),
    }
}

struct Scan<'i> {
    root: &'i Path,
    trust: Trust,
    written: (u32, u32),
    empty: Oid,
    work: Mutex<Work<'i>>,
    changed: Condvar,
}

struct Work<'i> {
    folders: Vec<Folder<'i>>,
    /// Threads that look at a folder and may find more of them.
    busy: usize,
    seen: Seen,
    failure: Option<BackendError>,
}

/// A folder to look at.
struct Folder<'i> {
    /// Its path with a `/` behind it; empty for the root.
    path: Vec<u8>,
    /// What the index has below it.
    entries: &'i [Entry],
}

/// What the index has of one name in a folder.
#[derive(Debug, Default)]
pub(crate) struct Known<'i> {
    /// The name itself: an entry, or the sides of a conflict.
    pub(crate) leaf: &'i [Entry],
    /// Everything below the name.
    pub(crate) below: &'i [Entry],
}

impl<'i> Scan<'i> {
    fn lock(&self) -> MutexGuard<'_, Work<'i>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut work = self.lock();
        loop {
            if work.failure.is_some() {
                return;
            }
            let Some(folder) = work.folders.pop() else {
                if work.busy == 0 {
                    return;
                }
                work = self
                    .changed
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            work.busy += 1;
            drop(work);
            let looked = self.look(&folder);
            work = self.lock();
            work.busy -= 1;
            match looked {
                Ok((mut folders, mut seen)) => {
                    work.folders.append(&mut folders);
                    work.seen.differing.append(&mut seen.differing);
                    work.seen.untracked.append(&mut seen.untracked);
                }
                Err(failure) => work.failure = Some(failure),
            }
            self.changed.notify_all();
        }
    }

    fn look(&self, folder: &Folder<'i>) -> Result<(Vec<Folder<'i>>, Seen), BackendError> {
        let mut known = names(folder.path.len(), folder.entries);
        let mut folders = Vec::new();
        let mut seen = Seen::default();
        let at = absolute(self.root, &folder.path);
        let failed = |cause| error::file("read the folder", &at, cause);
        for entry in std::fs::read_dir(&at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.as_bytes();
            if name == b".git" || name == STATE_FOLDER {
                known.remove(name);
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            if plain::is_read(name) {
                plain::listed(&entry.path(), kind)?;
            }
            let path = || [&folder.path, name].concat();
            let Some(known) = known.remove(name) else {
                seen.untracked.push((path(), kind));
                continue;
            };
            // A file where a folder was, or a folder where a file was: what is there is new.
            let mut new = true;
            if let [leaf, ..] = known.leaf {
                let submodule = leaf.mode == Mode::Submodule;
                if submodule || kind.is_dir() || !self.same(known.leaf, &entry) {
                    seen.differing.push(path());
                }
                new = kind.is_dir() && !submodule;
            }
            if !known.below.is_empty() {
                if kind.is_dir() {
                    let mut path = path();
                    path.push(b'/');
                    folders.push(Folder {
                        path,
                        entries: known.below,
                    });
                    new = false;
                } else {
                    gone(known.below, &mut seen);
                }
            }
            if new {
                seen.untracked.push((path(), kind));
            }
        }
        for known in known.into_values() {
            gone(known.leaf, &mut seen);
            gone(known.below, &mut seen);
        }
        Ok((folders, seen))
    }

    /// Whether the file looks as it did when the index learned its content.
    fn same(&self, entries: &[Entry], file: &DirEntry) -> bool {
        let [entry] = entries else { return false };
        match entry.told {
            Told::AssumeUnchanged => return true,
            // It should not be there: it counts as what it is.
            Told::SkipWorkTree | Told::Unmerged => return false,
            Told::Nothing => {}
        }
        let Ok(meta) = file.metadata() else {
            return false;
        };
        self.same_mode(entry.mode, &meta) && self.same_look(entry, &meta)
    }

    fn same_mode(&self, mode: Mode, meta: &Metadata) -> bool {
        let executable = meta.permissions().mode() & 0o100 != 0;
        match mode {
            Mode::Link => meta.is_symlink(),
            Mode::File => meta.is_file() && (!self.trust.mode || !executable),
            Mode::Executable => meta.is_file() && (!self.trust.mode || executable),
            Mode::Submodule => false,
        }
    }

    fn same_look(&self, entry: &Entry, meta: &Metadata) -> bool {
        let stat = &entry.stat;
        let mtime = (seconds(meta.mtime()), seconds(meta.mtime_nsec()));
        let ctime = (seconds(meta.ctime()), seconds(meta.ctime_nsec()));
        // Git writes no size for a file that changed while the index was written, and a file of no size looks like that.
        let sized = u64::from(stat.size) == meta.size() & u64::from(u32::MAX)
            && (stat.size != 0 || entry.id == self.empty);
        let timed = if self.trust.all {
            stat.mtime == mtime
                && (!self.trust.ctime || stat.ctime == ctime)
                && u64::from(stat.inode) == meta.ino() & u64::from(u32::MAX)
        } else {
            stat.mtime.0 == mtime.0
        };
        // What was written when the index was, or after it, may have changed within the same tick.
        sized && timed && mtime < self.written
    }
}

/// What the index has in a folder whose path has `prefix` bytes (with its slash), by name.
pub(crate) fn names(prefix: usize, entries: &[Entry]) -> HashMap<&[u8], Known<'_>> {
    let mut names: HashMap<&[u8], Known<'_>> = HashMap::new();
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let below = first.path.get(prefix..).unwrap_or_default();
        let slash = below.iter().position(|byte| *byte == b'/');
        let name = &below[..slash.unwrap_or(below.len())];
        let end = prefix + name.len();
        let count = rest.partition_point(|entry| match slash {
            Some(_) => entry.path.len() > end && entry.path[..=end] == first.path[..=end],
            None => entry.path == first.path,
        });
        let (group, after) = rest.split_at(count.max(1));
        let known = names.entry(name).or_default();
        match slash {
            Some(_) => known.below = group,
            None => known.leaf = group,
        }
        rest = after;
    }
    names
}

fn gone(entries: &[Entry], seen: &mut Seen) {
    for entry in entries {
        match entry.told {
            // They are not expected to be there.
            Told::AssumeUnchanged | Told::SkipWorkTree => {}
            Told::Nothing | Told::Unmerged => seen.differing.push(entry.path.to_vec()),
        }
    }
}

/// The place of a path of the index.
pub(crate) fn absolute(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}
