//! A directory as a git tree: what a new GitOps repository begins with.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use git2::{ObjectType, Odb, Oid, Repository};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::open_file;

use crate::error::{git, io as io_error, require_written};

/// How many folders may stand in one another.
const MAX_DEPTH: usize = 64;

/// A repository that is nowhere, for a look at what a seed would be.
pub(crate) fn in_memory() -> Result<Repository, BackendError> {
    let made = Odb::new().and_then(|odb| {
        odb.add_new_mempack_backend(1)?;
        Repository::from_odb(odb)
    });
    made.map_err(|cause| git("look at the seed of the GitOps repository", cause))
}

/// Writes the directory's files into the repository, which messages call `name`, and gives their tree.
pub(crate) fn write(
    repository: &Repository,
    name: &str,
    directory: &Path,
) -> Result<Oid, BackendError> {
    let odb = repository
        .odb()
        .map_err(|cause| git("open the new GitOps repository", cause))?;
    let what = format!("write the seed {} into {name}", directory.display());
    tree(directory, &|kind, bytes| {
        let id = odb
            .write(kind, bytes)
            .map_err(|cause| git(what.as_str(), cause))?;
        require_written(repository, id, &what)?;
        Ok(id)
    })
}

/// The tree that [`write()`] would give, without writing it.
pub(crate) fn hash(directory: &Path) -> Result<Oid, BackendError> {
    let failed = |cause| git(format!("hash the seed {}", directory.display()), cause);
    tree(directory, &|kind, bytes| {
        Oid::hash_object(kind, bytes).map_err(failed)
    })
}

type Put<'a> = dyn Fn(ObjectType, &[u8]) -> Result<Oid, BackendError> + 'a;

fn tree(directory: &Path, put: &Put<'_>) -> Result<Oid, BackendError> {
    match folder(directory, put, 0)? {
        Some(tree) => Ok(tree),
        None => Err(BackendError::new(
            ErrorClass::Invalid,
            format!("read the seed {}: it holds no files", directory.display()),
        )),
    }
}

/// A folder's tree; none where there is no file in it, as git has no empty folders.
fn folder(directory: &Path, put: &Put<'_>, depth: usize) -> Result<Option<Oid>, BackendError> {
    let reading = |path: &Path| format!("read {} of the seed", path.display());
    if depth > MAX_DEPTH {
        let message = format!("{}: more than {MAX_DEPTH} folders", reading(directory));
        return Err(BackendError::new(ErrorClass::Invalid, message));
    }
    let mut entries = Vec::new();
    let listing = fs::read_dir(directory).map_err(|cause| io_error(reading(directory), cause))?;
    for entry in listing {
        let entry = entry.map_err(|cause| io_error(reading(directory), cause))?;
        let name = entry.file_name().as_bytes().to_vec();
        if name == b".git" {
            continue;
        }
        let path = entry.path();
        if let Some((mode, id)) = node(&path, put, depth)? {
            entries.push((name, mode, id));
        }
    }
    // Git sorts folders as if their names ended in a slash.
    entries.sort_by_key(|(name, mode, _)| {
        let mut key = name.clone();
        key.extend(mode.eq(&"40000").then_some(b'/'));
        key
    });
    let mut bytes = Vec::new();
    for (name, mode, id) in &entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    if entries.is_empty() {
        return Ok(None);
    }
    put(ObjectType::Tree, &bytes).map(Some)
}

fn node(
    path: &Path,
    put: &Put<'_>,
    depth: usize,
) -> Result<Option<(&'static str, Oid)>, BackendError> {
    let reading = || format!("read {} of the seed", path.display());
    let failed = |cause: io::Error| io_error(reading(), cause);
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(folder(path, put, depth + 1)?.map(|tree| ("40000", tree)));
    }
    let (mode, bytes) = if meta.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        ("120000", target.as_os_str().as_bytes().to_vec())
    } else if meta.is_file() {
        let executable = meta.permissions().mode() & 0o100 != 0;
        let mode = if executable { "100755" } else { "100644" };
        let mut bytes = Vec::new();
        open_file(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(failed)?;
        (mode, bytes)
    } else {
        let message = format!("{}: it is no file, folder or link", reading());
        return Err(BackendError::new(ErrorClass::Invalid, message));
    };
    put(ObjectType::Blob, &bytes).map(|id| Some((mode, id)))
}
