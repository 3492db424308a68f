//! Makes a folder equal to the wanted state, entry by entry.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{FileType, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};
use shipline_engine::backend::Materialized;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_model::name::RepoPath;

use super::entries;
use super::keep::Keeping;
use super::manifest::{Look, Manifest, Record};
use super::wanted::{File, Item, Stores, Wanted};
use crate::error;

/// Permissions of every folder that holds sources, whatever the umask.
const FOLDER: u32 = 0o755;

/// One pass over a workspace.
pub(crate) struct Sync<'s> {
    stores: &'s Stores<'s>,
    known: &'s Manifest,
    incoming: &'s Path,
    faults: &'s Faults,
    now: Manifest,
    done: Materialized,
}

impl<'s> Sync<'s> {
    pub(crate) fn new(
        stores: &'s Stores<'s>,
        known: &'s Manifest,
        incoming: &'s Path,
        faults: &'s Faults,
    ) -> Self {
        Self {
            stores,
            known,
            incoming,
            faults,
            now: Manifest::default(),
            done: Materialized::default(),
        }
    }

    /// What is known now, and what was done.
    pub(crate) fn finish(self) -> Result<(Manifest, Materialized), BackendError> {
        remove(self.incoming)?;
        Ok((self.now, self.done))
    }

    /// Makes the folder `at` (there, and a folder) equal to `wanted`. `path` is its path in the workspace.
    pub(crate) fn folder(
        &mut self,
        at: &Path,
        path: &mut Vec<u8>,
        wanted: &Wanted,
        keeping: Keeping<'_>,
    ) -> Result<(), BackendError> {
        let mut present: BTreeMap<Vec<u8>, FileType> = BTreeMap::new();
        for (name, kind) in entries(at)? {
            let name = name.into_vec();
            if wanted.0.contains_key(&name) {
                present.insert(name, kind);
            } else {
                let below = at.join(OsStr::from_bytes(&name));
                self.prune(&below, kind, keeping.entry(&name))?;
            }
        }
        for (name, item) in &wanted.0 {
            let below = at.join(OsStr::from_bytes(name));
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let kind = present.get(name).copied();
            match item {
                Item::Folder(wanted) => {
                    if kind.is_some_and(|kind| !kind.is_dir()) {
                        remove(&below)?;
                        self.done.removed += 1;
                    }
                    folder(&below, Parents::AreThere)?;
                    self.folder(&below, path, wanted, keeping.entry(name))?;
                }
                Item::File(file) => self.file(&below, path, file, kind)?,
                Item::Link(file) => self.link(&below, path, file, kind)?,
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Removes what is no source, but for what is kept.
    fn prune(
        &mut self,
        at: &Path,
        kind: FileType,
        keeping: Keeping<'_>,
    ) -> Result<(), BackendError> {
        match keeping {
            Keeping::All => Ok(()),
            Keeping::Below(_) if kind.is_dir() => {
                for (name, kind) in entries(at)? {
                    self.prune(&at.join(&name), kind, keeping.entry(name.as_bytes()))?;
                }
                if entries(at)?.is_empty() {
                    remove(at)?;
                    self.done.removed += 1;
                }
                Ok(())
            }
            Keeping::Below(_) | Keeping::Nothing => {
                self.done.removed += 1;
                remove(at)
            }
        }
    }

    fn file(
        &mut self,
        at: &Path,
        path: &[u8],
        file: &File,
        kind: Option<FileType>,
    ) -> Result<(), BackendError> {
        if kind.is_some_and(|kind| kind.is_file()) && self.holds(at, path, file)? {
            self.done.kept += 1;
            return Ok(());
        }
        if kind.is_some_and(|kind| kind.is_dir()) {
            remove(at)?;
            self.done.removed += 1;
        }
        self.bring(at, |stores, incoming| {
            let mut output = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(incoming)
                .map_err(|cause| error::file("create", incoming, cause))?;
            stores.copy(path, file, &mut output, incoming)?;
            output
                .set_permissions(Permissions::from_mode(file.permissions))
                .map_err(|cause| error::file("set the permissions of", incoming, cause))
        })?;
        self.remember(at, path, file)
    }

    /// Whether the file at `at` holds what is wanted; its permissions are mended on the way.
    fn holds(&mut self, at: &Path, path: &[u8], file: &File) -> Result<bool, BackendError> {
        let meta = at
            .symlink_metadata()
            .map_err(|cause| error::file("look at", at, cause))?;
        let look = Look::of(&meta);
        let trusted = self.known.content(path, &look);
        let content = match trusted {
            Some(content) => content,
            None => match Oid::hash_file(ObjectType::Blob, at) {
                Ok(content) => content,
                // What cannot be read is replaced.
                Err(_) => return Ok(false),
            },
        };
        if content != file.content {
            return Ok(false);
        }
        if meta.permissions().mode() & 0o7777 != file.permissions {
            std::fs::set_permissions(at, Permissions::from_mode(file.permissions))
                .map_err(|cause| error::file("set the permissions of", at, cause))?;
            self.remember(at, path, file)?;
        } else {
            self.now
                .records
                .insert(path.to_vec(), Record { content, look });
        }
        Ok(true)
    }

    fn link(
        &mut self,
        at: &Path,
        path: &[u8],
        file: &File,
        kind: Option<FileType>,
    ) -> Result<(), BackendError> {
        if kind.is_some_and(|kind| kind.is_symlink()) {
            let target = std::fs::read_link(at)
                .map_err(|cause| error::file("read the symlink", at, cause))?;
            let now = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes());
            if now.ok() == Some(file.content) {
                self.done.kept += 1;
                return Ok(());
            }
        }
        if kind.is_some_and(|kind| kind.is_dir()) {
            remove(at)?;
            self.done.removed += 1;
        }
        self.bring(at, |stores, incoming| {
            let target = OsString::from_vec(stores.target(path, file)?);
            std::os::unix::fs::symlink(&target, incoming)
                .map_err(|cause| error::file("create the symlink", incoming, cause))
        })
    }

    /// Makes a file beside the workspace and moves it in as a whole.
    fn bring(
        &mut self,
        at: &Path,
        make: impl FnOnce(&Stores<'_>, &Path) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let incoming = self.incoming.join("file");
        if self.done.written == 0 {
            folder(self.incoming, Parents::AreThere)?;
        }
        make(self.stores, &incoming)?;
        std::fs::rename(&incoming, at).map_err(|cause| error::file("replace", at, cause))?;
        self.done.written += 1;
        self.faults.reach(FaultPoint::WorkspaceFile);
        Ok(())
    }

    fn remember(&mut self, at: &Path, path: &[u8], file: &File) -> Result<(), BackendError> {
        let meta = at
            .symlink_metadata()
            .map_err(|cause| error::file("look at", at, cause))?;
        self.now.records.insert(
            path.to_vec(),
            Record {
                content: file.content,
                look: Look::of(&meta),
            },
        );
        Ok(())
    }
}

/// Whether the parents of a folder are made too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parents {
    /// They are there.
    AreThere,
    /// They are made where they are missing.
    Create,
}

/// Makes sure that the folder is there, with its permissions.
pub(crate) fn folder(at: &Path, parents: Parents) -> Result<(), BackendError> {
    let failed = |cause| error::file("create the folder", at, cause);
    let mode = match at.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Some(meta.permissions().mode() & 0o7777),
        Ok(_) => None,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => return Err(failed(cause)),
    };
    if mode.is_none() {
        match parents {
            Parents::AreThere => std::fs::create_dir(at),
            Parents::Create => std::fs::create_dir_all(at),
        }
        .map_err(failed)?;
    }
    if mode != Some(FOLDER) {
        std::fs::set_permissions(at, Permissions::from_mode(FOLDER)).map_err(failed)?;
    }
    Ok(())
}

/// Removes whatever is at `at`, folders with all that is in them, also where a build took the write permission away.
pub(crate) fn remove(at: &Path) -> Result<(), BackendError> {
    let failed = |cause| error::file("remove", at, cause);
    let attempt = || match at.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(at),
        Ok(_) => std::fs::remove_file(at),
        Err(cause) => Err(cause),
    };
    match attempt() {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            unlock(at)?;
            attempt().map_err(failed)
        }
        Err(cause) => Err(failed(cause)),
    }
}

/// Makes every folder at and below `at` writable.
fn unlock(at: &Path) -> Result<(), BackendError> {
    let meta = at
        .symlink_metadata()
        .map_err(|cause| error::file("look at", at, cause))?;
    if meta.is_dir() {
        std::fs::set_permissions(at, Permissions::from_mode(0o700))
            .map_err(|cause| error::file("set the permissions of", at, cause))?;
        for (name, kind) in entries(at)? {
            if kind.is_dir() {
                unlock(&at.join(name))?;
            }
        }
    }
    Ok(())
}

/// Lists what is in the folder `at` and neither wanted nor kept. `path` is its path in the workspace.
pub(crate) fn extras(
    at: &Path,
    path: &str,
    wanted: Option<&Wanted>,
    keeping: Keeping<'_>,
    found: &mut Vec<RepoPath>,
) -> Result<(), BackendError> {
    if matches!(keeping, Keeping::All) {
        return Ok(());
    }
    for (name, kind) in entries(at)? {
        let below: PathBuf = at.join(&name);
        let item = wanted.and_then(|wanted| wanted.0.get(name.as_bytes()));
        let keeping = keeping.entry(name.as_bytes());
        let into = match (item, keeping) {
            (_, Keeping::All) | (Some(Item::File(_) | Item::Link(_)), _) => continue,
            (Some(Item::Folder(wanted)), _) if kind.is_dir() => Some(Some(wanted)),
            (Some(Item::Folder(_)), _) => continue,
            (None, Keeping::Below(_)) if kind.is_dir() => Some(None),
            (None, Keeping::Below(_) | Keeping::Nothing) => None,
        };
        let path = named(path, &name, &below)?;
        match into {
            Some(wanted) => extras(&below, path.as_str(), wanted, keeping, found)?,
            None => found.push(path),
        }
    }
    Ok(())
}

fn named(folder: &str, name: &OsStr, at: &Path) -> Result<RepoPath, BackendError> {
    let path = name.to_str().and_then(|name| {
        let path = if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        };
        RepoPath::new(path).ok()
    });
    path.ok_or_else(|| {
        BackendError::new(
            ErrorClass::Invalid,
            format!("list {}: its name is not UTF-8", at.display()),
        )
    })
}
