//! What has been fetched: a private bare repository that nobody else reads, held by one process at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::{Folder, Place};
use shipline_git::error::said;

use super::wire::{Want, Wire};
use crate::error::{git, io as io_error};
use crate::waiting::Waiting;

/// Names the commit that was fetched last, with all its history down to the shallow border.
const TIP: &str = "refs/shipline/tip";

/// The repository's name in the cache.
const OBJECTS: &str = "objects.git";

/// Folders of the repository that are looked into for links: refs stand four deep.
const REFS_DEPTH: usize = 4;

/// How many commits the first fetch brings: enough to find a deployment that was made before a cache was lost.
const DEPTH: u32 = 50;

/// Each fetch leaves a pack; with so many of them it is cheaper to begin again.
const MAX_PACKS: usize = 64;

/// The cache, locked.
pub(super) struct Cache {
    pub(super) repository: Repository,
    directory: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the cache in `directory`, making it where it is missing, unreadable or has grown too much.
    pub(super) fn open(directory: &Place, waiting: &Waiting) -> Result<Self, BackendError> {
        let folder = directory.make();
        let directory = directory.path();
        let failed = |cause| io_error(format!("open the cache {}", directory.display()), cause);
        let folder = folder.map_err(failed)?;
        let lock = folder.open_or_create("lock").map_err(failed)?;
        {
            let _wait = waiting.on(format!("another process that uses {}", directory.display()));
            lock.lock().map_err(failed)?;
        }
        let place = directory.join(OBJECTS);
        if !is_good(&folder, &place) {
            folder.remove_all(OBJECTS).map_err(failed)?;
        }
        let mut options = RepositoryInitOptions::new();
        options.bare(true).external_template(false);
        let repository = Repository::init_opts(&place, &options)
            .map_err(|cause| git(format!("open the cache {}", directory.display()), cause))?;
        Ok(Self {
            repository,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Makes sure that a commit is here, with its files.
    pub(super) fn ensure(&self, wire: &Wire, commit: Oid) -> Result<(), BackendError> {
        if self.repository.find_commit(commit).is_ok() {
            return Ok(());
        }
        let tip = self.repository.refname_to_id(TIP).ok();
        let mut shallow = self.shallow();
        let want = Want {
            commit,
            have: tip,
            shallow: &shallow,
            depth: tip.is_none().then_some(DEPTH),
        };
        let border = wire.fetch(&want, &mut |pack| self.store(pack))?;
        for (commit, added) in border {
            shallow.retain(|known| *known != commit);
            if added {
                shallow.push(commit);
            }
        }
        self.write_shallow(&shallow)
            .map_err(|cause| io_error(self.attempt(), cause))?;
        self.repository
            .find_commit(commit)
            .and_then(|_| self.repository.reference(TIP, commit, true, ""))
            .map(|_| ())
            .map_err(|cause| git(self.attempt(), cause))
    }

    /// Says that a commit of ours is now on the server, too.
    pub(super) fn remember(&self, commit: Oid) {
        // Without it the next fetch brings the commit once more.
        let _ = self.repository.reference(TIP, commit, true, "");
    }

    fn attempt(&self) -> String {
        format!("keep what was fetched in {}", self.directory.display())
    }

    /// Writes a pack, index and all; it is there as a whole or not at all.
    fn store(&self, pack: &mut dyn Read) -> Result<(), BackendError> {
        let failed = |cause| git(self.attempt(), cause);
        let odb = self.repository.odb().map_err(failed)?;
        let mut writer = odb.packwriter().map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match pack.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // What is too large is so the next time, too.
                    let class = if error.kind() == io::ErrorKind::InvalidData {
                        ErrorClass::Failed
                    } else {
                        ErrorClass::Retryable
                    };
                    let message = "receive what is fetched";
                    return Err(BackendError::new(class, message).because(error));
                }
            };
            writer
                .write_all(&buffer[..count])
                .map_err(|cause| io_error(self.attempt(), cause))?;
        }
        writer.commit().map_err(|cause| {
            // A pack that ends early comes from a connection that broke.
            let message = "receive what is fetched";
            BackendError::new(ErrorClass::Retryable, message).because(said(&cause))
        })?;
        odb.refresh().map_err(failed)
    }

    fn shallow(&self) -> Vec<Oid> {
        let shallow = Place::from(self.repository.path()).join("shallow");
        let text = shallow.read().unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| Oid::from_str(line).ok())
            .collect()
    }

    fn write_shallow(&self, commits: &[Oid]) -> io::Result<()> {
        let lines: Vec<String> = commits.iter().map(|commit| format!("{commit}\n")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        Place::from(self.repository.path())
            .join("shallow")
            .write_whole(lines.concat().as_bytes())
    }
}

/// Whether what is there can be used: it is a repository without links in it, and has not grown too much. What is not there can
/// be made.
fn is_good(cache: &Folder, place: &Path) -> bool {
    match cache.folder(OBJECTS) {
        Ok(repository) => {
            packs(&repository) <= MAX_PACKS
                && repository.refuse_links(REFS_DEPTH).is_ok()
                && Repository::open_bare(place).is_ok()
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn packs(repository: &Folder) -> usize {
    let folder = repository
        .folder("objects")
        .and_then(|objects| objects.folder("pack"));
    let entries = folder.and_then(|folder| folder.entries());
    entries.map_or(0, |entries| {
        let names = entries.iter().map(|entry| Path::new(&entry.name));
        names
            .filter(|name| name.extension().is_some_and(|e| e == "pack"))
            .count()
    })
}
