//! Why a repository cannot be opened, and what to do about it.

use std::path::{Path, PathBuf};

use git2::ErrorCode;
use shipline_engine::error::{BackendError, ErrorClass};

use crate::error;

/// A file of git's that holds one short line is not read beyond this.
const LINE_LIMIT: u64 = 64 * 1024;

/// The error for a repository at or above `directory` that cannot be opened.
pub(crate) fn refused(directory: &Path, cause: git2::Error) -> BackendError {
    let what = format!("open the git repository at {}", directory.display());
    let code = cause.code();
    let root = root(directory);
    if let Some((why, remedy)) = root.and_then(unsupported) {
        return BackendError::new(ErrorClass::Invalid, format!("{what}: {why}")).hint(remedy);
    }
    let error = error::git(what, cause);
    if code == ErrorCode::NotFound {
        error.hint("run in a clone of the repository, or make one: `git init`, then a first commit")
    } else if code == ErrorCode::Owner {
        error.hint(format!(
            "it belongs to another user; if you trust it: `git config --global --add safe.directory {}`",
            root.unwrap_or(directory).display()
        ))
    } else {
        error
    }
}

/// The folder at or above `directory` in which a repository's `.git` is.
pub(crate) fn root(directory: &Path) -> Option<&Path> {
    directory
        .ancestors()
        .find(|folder| folder.join(".git").symlink_metadata().is_ok())
}

/// What of git's formats the repository uses that libgit2 cannot read, and what to do about it.
fn unsupported(root: &Path) -> Option<(String, String)> {
    let mut config = git2::Config::open(&common(root)?.join("config")).ok()?;
    let config = config.snapshot().ok()?;
    let extension = |name: &str| config.get_string(&format!("extensions.{name}")).ok();
    if let Some(format) = extension("objectformat").filter(|it| !it.eq_ignore_ascii_case("sha1")) {
        return Some((
            format!("its object IDs are {format}, and only those of SHA-1 can be read"),
            "move the history into a repository with SHA-1: `git init --object-format=sha1 DIR`, then `git fast-export --all | git -C DIR fast-import`".to_owned(),
        ));
    }
    if let Some(format) = extension("refstorage").filter(|it| !it.eq_ignore_ascii_case("files")) {
        return Some((
            format!("its branches and tags are stored as {format}, which cannot be read"),
            "store them as files: `git refs migrate --ref-format=files` (git 2.46 or newer; without other work trees), or clone again with `git clone --ref-format=files`".to_owned(),
        ));
    }
    if extension("partialclone").is_some() {
        return Some((
            "it is a partial clone as older versions of git mark it, which cannot be read".to_owned(),
            "clone without `--filter`; or, where all objects are here (`git fetch --refetch --no-filter`), remove the mark: `git config unset extensions.partialClone`".to_owned(),
        ));
    }
    // Those that libgit2 knows.
    const KNOWN: &[&str] = &[
        "noop",
        "objectformat",
        "worktreeconfig",
        "preciousobjects",
        "relativeworktrees",
    ];
    let mut entries = config.entries(Some(r"^extensions\.")).ok()?;
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.name().ok()?.strip_prefix("extensions.")?.to_owned();
        if !KNOWN.contains(&name.as_str()) && name != "refstorage" {
            return Some((
                format!("it uses git's extension `{name}`, which cannot be read"),
                format!(
                    "clone it again without `extensions.{name}` (`git config list --show-origin` shows where it is set)"
                ),
            ));
        }
    }
    None
}

/// The folder of a repository's configuration: `.git`, or where a linked work tree or a submodule says that it is.
fn common(root: &Path) -> Option<PathBuf> {
    folders(root).pop()
}

/// The folders in which git keeps a repository: that of the work tree, and, where it is a linked one, that of the repository.
pub(crate) fn folders(root: &Path) -> Vec<PathBuf> {
    let dot = root.join(".git");
    let git = if dot.is_dir() {
        Some(dot)
    } else {
        line(&dot).and_then(|line| Some(root.join(line.strip_prefix("gitdir:")?.trim())))
    };
    let Some(git) = git else {
        return Vec::new();
    };
    match line(&git.join("commondir")) {
        Some(common) => vec![git.clone(), git.join(common.trim())],
        None => vec![git],
    }
}

fn line(file: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    // A pipe would be waited for.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(file).ok()?;
    file.take(LINE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_of_another_user_says_how_to_trust_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".git")).unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let cause = git2::Error::new(ErrorCode::Owner, git2::ErrorClass::Config, "not owned");
        let error = refused(&folder.path().join("a/b"), cause);
        assert_eq!(error.class, ErrorClass::Denied);
        let command = format!("safe.directory {}`", folder.path().display());
        assert!(error.hints[0].ends_with(&command), "{:?}", error.hints);
    }
}
