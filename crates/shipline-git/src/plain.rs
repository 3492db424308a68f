//! Files that libgit2 opens by itself. It would wait for ever at a pipe or a terminal, so what stands there is looked at before.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use git2::{Config, Repository};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::open;

/// How deep the folders of branches and tags may be nested to be looked at.
const DEEPEST_REF: usize = 32;

/// The names under which libgit2 reads files of the work tree, in every folder.
pub(crate) fn is_read(name: &[u8]) -> bool {
    matches!(name, b".gitignore" | b".gitattributes")
}

/// Refuses a pipe and a device. What a link leads to counts. What is not there, `/dev/null`, and a socket, which nobody can open,
/// are no obstacle.
///
/// # Errors
/// `Invalid`.
pub(crate) fn file(path: &Path) -> Result<(), BackendError> {
    let Ok(meta) = std::fs::metadata(path) else {
        return Ok(());
    };
    let kind = meta.file_type();
    let null = || {
        path.canonicalize()
            .is_ok_and(|real| real == Path::new("/dev/null"))
    };
    let what = if kind.is_fifo() {
        "a named pipe"
    } else if (kind.is_char_device() && !null()) || kind.is_block_device() {
        "a device"
    } else {
        return Ok(());
    };
    Err(BackendError::new(
        ErrorClass::Invalid,
        format!("read {}: it is {what} and no file", path.display()),
    )
    .hint("remove it, or put a file in its place"))
}

/// The same, for what a folder lists as `kind`: only links are looked at again.
pub(crate) fn listed(path: &Path, kind: FileType) -> Result<(), BackendError> {
    if kind.is_file() || kind.is_dir() {
        Ok(())
    } else {
        file(path)
    }
}

/// Looks at what libgit2 reads of the repository that `directory` is in, and of git's configuration, when it opens it. What is
/// not there or cannot be read is left to libgit2.
///
/// # Errors
/// `Invalid` where something is no file.
pub fn repository(directory: &Path) -> Result<(), BackendError> {
    let configurations = [
        Config::find_global(),
        Config::find_xdg(),
        Config::find_system(),
    ];
    for found in configurations.into_iter().flatten() {
        file(&found)?;
    }
    let bare = directory.join("objects").is_dir() && directory.join("refs").is_dir();
    let folders = if bare {
        vec![directory.to_owned()]
    } else if let Some(root) = open::root(directory) {
        file(&root.join(".git"))?;
        open::folders(root)
    } else {
        Vec::new()
    };
    for git in folders {
        folder(&git, 0)?;
        folder(&git.join("info"), 0)?;
        folder(&git.join("objects/info"), 0)?;
        folder(&git.join("refs"), DEEPEST_REF)?;
    }
    Ok(())
}

/// Looks at what the configuration of an opened repository names for all repositories.
///
/// # Errors
/// `Invalid` where something is no file.
pub(crate) fn named(repo: &Repository) -> Result<(), BackendError> {
    let config = repo.config().and_then(|mut config| config.snapshot());
    let Ok(config) = config else {
        return Ok(());
    };
    ["core.excludesfile", "core.attributesfile"]
        .iter()
        .filter_map(|name| config.get_path(name).ok())
        .try_for_each(|path| file(&path))
}

fn folder(path: &Path, depth: usize) -> Result<(), BackendError> {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        listed(&entry.path(), kind)?;
        if kind.is_dir() && depth > 0 {
            folder(&entry.path(), depth - 1)?;
        }
    }
    Ok(())
}
