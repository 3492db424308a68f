//! Makes a folder equal to the wanted state, entry by entry.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File as Output, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;

use git2::{ObjectType, Oid};
use shipline_engine::backend::Materialized;
use shipline_engine::error::BackendError;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::{Folder, Kind, Seen};
use shipline_model::path::GitPath;

use super::keep::Keeping;
use super::wanted::{File, Item, Stores, Wanted};
use super::{Beside, entries};
use crate::error;
use crate::manifest::{Look, Manifest, Record};

/// Permissions of every folder that holds sources, whatever the umask.
const FOLDER: u32 = 0o755;

/// The name of the file that is on its way in.
const INCOMING: &str = "file";

/// One pass over a workspace.
pub(crate) struct Sync<'s> {
    stores: &'s Stores<'s>,
    known: &'s Manifest<Oid>,
    beside: &'s Beside,
    /// Made when the first file comes in.
    incoming: Option<Folder>,
    faults: &'s Faults,
    now: Manifest<Oid>,
    done: Materialized,
}

impl<'s> Sync<'s> {
    pub(crate) fn new(
        stores: &'s Stores<'s>,
        known: &'s Manifest<Oid>,
        beside: &'s Beside,
        faults: &'s Faults,
    ) -> Self {
        Self {
            stores,
            known,
            beside,
            incoming: None,
            faults,
            now: Manifest::default(),
            done: Materialized::default(),
        }
    }

    /// What is known now, and what was done.
    pub(crate) fn finish(self) -> Result<(Manifest<Oid>, Materialized), BackendError> {
        remove(&self.beside.folder, &self.beside.incoming)?;
        Ok((self.now, self.done))
    }

    /// Makes the folder `at` equal to `wanted`. `path` is its path in the workspace.
    pub(crate) fn folder(
        &mut self,
        at: &Folder,
        path: &mut Vec<u8>,
        wanted: &Wanted,
        keeping: Keeping<'_>,
    ) -> Result<(), BackendError> {
        let mut present: BTreeMap<Vec<u8>, Kind> = BTreeMap::new();
        for entry in entries(at)? {
            let name = entry.name.into_vec();
            if wanted.0.contains_key(&name) {
                present.insert(name, entry.kind);
            } else {
                let keeping = keeping.entry(&name);
                self.prune(at, OsStr::from_bytes(&name), entry.kind, keeping)?;
            }
        }
        for (name, item) in &wanted.0 {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let kind = present.get(name).copied();
            let spot = Spot {
                folder: at,
                name: OsStr::from_bytes(name),
                path,
            };
            match item {
                Item::Folder(wanted) => {
                    if kind.is_some_and(|kind| kind != Kind::Folder) {
                        remove(at, spot.name)?;
                        self.done.removed += 1;
                    }
                    let below = make_folder(at, spot.name)?;
                    self.folder(&below, path, wanted, keeping.entry(name))?;
                }
                Item::File(file) => self.file(&spot, file, kind)?,
                Item::Link(file) => self.link(&spot, file, kind)?,
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Removes what is no source, but for what is kept.
    fn prune(
        &mut self,
        at: &Folder,
        name: &OsStr,
        kind: Kind,
        keeping: Keeping<'_>,
    ) -> Result<(), BackendError> {
        match keeping {
            Keeping::All => Ok(()),
            Keeping::Below(_) if kind == Kind::Folder => {
                let below = enter(at, name)?;
                for entry in entries(&below)? {
                    let keeping = keeping.entry(entry.name.as_bytes());
                    self.prune(&below, &entry.name, entry.kind, keeping)?;
                }
                if entries(&below)?.is_empty() {
                    remove(at, name)?;
                    self.done.removed += 1;
                }
                Ok(())
            }
            Keeping::Below(_) | Keeping::Nothing => {
                self.done.removed += 1;
                remove(at, name)
            }
        }
    }

    fn file(
        &mut self,
        spot: &Spot<'_>,
        file: &File,
        kind: Option<Kind>,
    ) -> Result<(), BackendError> {
        if kind == Some(Kind::File) && self.holds(spot, file)? {
            self.done.kept += 1;
            return Ok(());
        }
        if kind == Some(Kind::Folder) {
            remove(spot.folder, spot.name)?;
            self.done.removed += 1;
        }
        self.bring(spot, |stores, incoming| {
            let at = incoming.path().join(INCOMING);
            let mut output: Output = incoming
                .create_new(INCOMING)
                .map_err(|cause| error::file("create", &at, cause))?;
            stores.copy(spot.path, file, &mut output, &at)?;
            output
                .set_permissions(Permissions::from_mode(file.permissions))
                .map_err(|cause| error::file("set the permissions of", &at, cause))
        })?;
        self.remember(spot, file)
    }

    /// Whether the file at `spot` holds what is wanted; its permissions are mended on the way.
    fn holds(&mut self, spot: &Spot<'_>, file: &File) -> Result<bool, BackendError> {
        let seen = spot.see()?;
        let look = Look::of(&seen);
        let trusted = self.known.content(spot.path, &look);
        let content = match trusted {
            Some(content) => content,
            // Whatever the path leads to by now: what it tells is compared, and nothing is written through it.
            None => match Oid::hash_file(ObjectType::Blob, spot.folder.path().join(spot.name)) {
                Ok(content) => content,
                // What cannot be read is replaced.
                Err(_) => return Ok(false),
            },
        };
        if content != file.content {
            return Ok(false);
        }
        if seen.permissions != file.permissions {
            spot.folder
                .set_permissions(spot.name, file.permissions)
                .map_err(|cause| spot.failed("set the permissions of", cause))?;
            self.remember(spot, file)?;
        } else {
            self.now
                .records
                .insert(spot.path.to_vec(), Record { content, look });
        }
        Ok(true)
    }

    fn link(
        &mut self,
        spot: &Spot<'_>,
        file: &File,
        kind: Option<Kind>,
    ) -> Result<(), BackendError> {
        if kind == Some(Kind::Link) {
            let target = spot
                .folder
                .link_target(spot.name)
                .map_err(|cause| spot.failed("read the symlink", cause))?;
            let now = Oid::hash_object(ObjectType::Blob, target.as_bytes());
            if now.ok() == Some(file.content) {
                self.done.kept += 1;
                return Ok(());
            }
        }
        if kind == Some(Kind::Folder) {
            remove(spot.folder, spot.name)?;
            self.done.removed += 1;
        }
        self.bring(spot, |stores, incoming| {
            let target = OsString::from_vec(stores.target(spot.path, file)?);
            incoming
                .make_link(INCOMING, &target)
                .map_err(|cause| spot.failed("create the symlink", cause))
        })
    }

    /// Makes a file beside the workspace and moves it in as a whole.
    fn bring(
        &mut self,
        spot: &Spot<'_>,
        make: impl FnOnce(&Stores<'_>, &Folder) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => make_folder(&self.beside.folder, &self.beside.incoming)?,
        };
        let made = make(self.stores, &incoming).and_then(|()| {
            incoming
                .rename(INCOMING, spot.folder, spot.name)
                .map_err(|cause| spot.failed("replace", cause))
        });
        self.incoming = Some(incoming);
        made?;
        self.done.written += 1;
        self.faults.reach(FaultPoint::WorkspaceFile);
        Ok(())
    }

    fn remember(&mut self, spot: &Spot<'_>, file: &File) -> Result<(), BackendError> {
        let seen = spot.see()?;
        self.now.records.insert(
            spot.path.to_vec(),
            Record {
                content: file.content,
                look: Look::of(&seen),
            },
        );
        Ok(())
    }
}

/// A name in a folder of the workspace.
struct Spot<'s> {
    folder: &'s Folder,
    name: &'s OsStr,
    /// Its path in the workspace.
    path: &'s [u8],
}

impl Spot<'_> {
    fn see(&self) -> Result<Seen, BackendError> {
        self.folder
            .see(self.name)
            .and_then(|seen| seen.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|cause| self.failed("look at", cause))
    }

    fn failed(&self, what: &str, cause: io::Error) -> BackendError {
        error::file(what, &self.folder.path().join(self.name), cause)
    }
}

/// The folder at a name, made where it is missing, with its permissions.
pub(crate) fn make_folder(at: &Folder, name: &OsStr) -> Result<Folder, BackendError> {
    let failed = |cause| error::file("create the folder", &at.path().join(name), cause);
    let folder = match at.make_folder(name) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            // A command took the permission to read it away.
            at.set_permissions(name, FOLDER).map_err(failed)?;
            at.make_folder(name)
        }
        folder => folder,
    };
    let folder = folder.map_err(failed)?;
    if folder.look().map_err(failed)?.permissions != FOLDER {
        folder.set_own_permissions(FOLDER).map_err(failed)?;
    }
    Ok(folder)
}

fn enter(at: &Folder, name: &OsStr) -> Result<Folder, BackendError> {
    at.folder(name)
        .map_err(|cause| error::file("read the folder", &at.path().join(name), cause))
}

/// Removes whatever has a name, folders with all that is in them, also where a build took the write permission away.
pub(crate) fn remove(at: &Folder, name: &OsStr) -> Result<(), BackendError> {
    at.remove_all(name)
        .map_err(|cause| error::file("remove", &at.path().join(name), cause))
}

/// Lists what is in the folder `at` and neither wanted nor kept. `path` is its path in the workspace.
pub(crate) fn extras(
    at: &Folder,
    path: &[u8],
    wanted: Option<&Wanted>,
    keeping: Keeping<'_>,
    found: &mut Vec<GitPath>,
) -> Result<(), BackendError> {
    if matches!(keeping, Keeping::All) {
        return Ok(());
    }
    for entry in entries(at)? {
        let name = entry.name.as_os_str();
        let item = wanted.and_then(|wanted| wanted.0.get(name.as_bytes()));
        let keeping = keeping.entry(name.as_bytes());
        let is_folder = entry.kind == Kind::Folder;
        let into = match (item, keeping) {
            (_, Keeping::All) | (Some(Item::File(_) | Item::Link(_)), _) => continue,
            (Some(Item::Folder(wanted)), _) if is_folder => Some(Some(wanted)),
            (Some(Item::Folder(_)), _) => continue,
            (None, Keeping::Below(_)) if is_folder => Some(None),
            (None, Keeping::Below(_) | Keeping::Nothing) => None,
        };
        let slash = if path.is_empty() { &b""[..] } else { b"/" };
        let path = [path, slash, name.as_bytes()].concat();
        match into {
            Some(wanted) => extras(&enter(at, name)?, &path, wanted, keeping, found)?,
            None => found.push(GitPath::new(path)),
        }
    }
    Ok(())
}
