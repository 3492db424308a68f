//! A repository with a work tree: it may only be written while it is clean, and its index and files move with the branch.

use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{ErrorCode, ObjectType, Oid, Repository, StatusOptions, Tree};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::Patience;

use crate::error::git;
use crate::record;
use crate::waiting::Waiting;

/// How the branch stands to the work tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// The branch is not checked out: there is nothing but the ref to move.
    Elsewhere,
    /// It is checked out, and clean.
    Clean,
    /// The last deployment moved the branch and was stopped before it had moved these files.
    Behind(Vec<String>),
}

/// Looks at the work tree.
///
/// # Errors
/// `Conflict` where the branch is checked out with changes that no commit holds.
pub(crate) fn inspect(repository: &Repository, branch: &str) -> Result<Checkout, BackendError> {
    let head = repository
        .find_reference("HEAD")
        .map_err(|cause| git("read HEAD of the GitOps repository", cause))?;
    let here = head.symbolic_target().ok().flatten() == Some(branch);
    let Some(root) = repository
        .workdir()
        .filter(|_| here && !repository.is_bare())
    else {
        refuse_others(repository, branch)?;
        return Ok(Checkout::Elsewhere);
    };
    let failed = |cause| git(format!("look for changes in {}", root.display()), cause);
    let mut options = StatusOptions::new();
    options
        .include_untracked(false)
        .include_ignored(false)
        .exclude_submodules(true);
    let statuses = repository.statuses(Some(&mut options)).map_err(failed)?;
    let mut paths: Vec<String> = statuses
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.path_bytes()).into_owned())
        .collect();
    if paths.is_empty() {
        return Ok(Checkout::Clean);
    }
    if is_behind(repository, root, &paths).map_err(failed)? {
        return Ok(Checkout::Behind(paths));
    }
    let more = paths.len().saturating_sub(3);
    paths.truncate(3);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let message = format!(
        "write into {}: it has uncommitted changes ({}{more})",
        root.display(),
        paths.join(", ")
    );
    Err(BackendError::new(ErrorClass::Conflict, message)
        .hint("commit or stash them first, or name a bare repository"))
}

/// A branch that another work tree of the repository has checked out is not moved under it: its files would stay behind.
fn refuse_others(repository: &Repository, branch: &str) -> Result<(), BackendError> {
    let mut others = Vec::new();
    if repository.is_worktree() {
        others.extend(Repository::open(repository.commondir()));
    }
    let failed = |cause| git("list the work trees of the GitOps repository", cause);
    for name in repository
        .worktrees()
        .map_err(failed)?
        .iter()
        .flatten()
        .flatten()
    {
        // One whose folder is gone holds nothing.
        let tree = repository.find_worktree(name).map_err(failed)?;
        others.extend(Repository::open_from_worktree(&tree));
    }
    for other in others {
        let Some(root) = other.workdir().filter(|_| !other.is_bare()) else {
            continue;
        };
        let head = other.find_reference("HEAD");
        let on_branch = head.is_ok_and(|it| it.symbolic_target().ok().flatten() == Some(branch));
        if on_branch && repository.workdir() != Some(root) {
            let message = format!(
                "write into {}: the branch is checked out in {}",
                repository.path().display(),
                root.display()
            );
            return Err(BackendError::new(ErrorClass::Conflict, message)
                .hint("name that work tree, whose files move along, or a bare repository"));
        }
    }
    Ok(())
}

/// Whether each of the changed files is, in the index and on disk, as in HEAD or as before HEAD, and HEAD is a deployment.
fn is_behind(repository: &Repository, root: &Path, paths: &[String]) -> Result<bool, git2::Error> {
    let head = repository.head()?.peel_to_commit()?;
    if record::parse(head.message().unwrap_or_default()).is_none() || head.parent_count() != 1 {
        return Ok(false);
    }
    let trees = [head.tree()?, head.parent(0)?.tree()?];
    let index = repository.index()?;
    for path in paths {
        let path = Path::new(path);
        let mut known = Vec::new();
        for tree in &trees {
            match tree.get_path(path) {
                Ok(entry) => known.push(entry.id()),
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let staged = index.get_path(path, 0).map(|entry| entry.id);
        let on_disk = Oid::hash_file(ObjectType::Blob, root.join(path)).ok();
        let is_known = |id: Option<Oid>| id.is_some_and(|id| known.contains(&id));
        if !is_known(staged) || !is_known(on_disk) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The index as the tree says: a checkout leaves an entry alone whose file is as it should be already.
fn stage(repository: &Repository, tree: &Tree<'_>, paths: &[String]) -> Result<(), git2::Error> {
    let mut index = repository.index()?;
    index.read(true)?;
    for path in paths.iter().map(Path::new) {
        match tree.get_path(path) {
            Ok(_) => index.add_path(path)?,
            Err(error) if error.code() == ErrorCode::NotFound => index.remove_path(path)?,
            Err(error) => return Err(error),
        }
    }
    index.write()
}

/// Waits for the one who holds the index; `false` when the deadline has passed.
fn wait(repository: &Repository, patience: &mut Patience, waiting: &Waiting) -> bool {
    let lock = repository.path().join("index.lock");
    let _wait = waiting.on(format!("the process that holds {}", lock.display()));
    patience.wait()
}

/// Moves index and files of these paths to where the branch is.
pub(crate) fn catch_up(
    repository: &Repository,
    paths: &[String],
    patience: &mut Patience,
    waiting: &Waiting,
) -> Result<(), BackendError> {
    loop {
        let moved = (|| {
            let head = repository.head()?.peel_to_commit()?;
            let mut checkout = CheckoutBuilder::new();
            checkout.force().disable_pathspec_match(true);
            for path in paths {
                checkout.path(path.as_str());
            }
            repository.checkout_tree(head.as_object(), Some(&mut checkout))?;
            stage(repository, &head.tree()?, paths)
        })();
        match moved {
            Ok(()) => return Ok(()),
            Err(error)
                if error.code() == ErrorCode::Locked && wait(repository, patience, waiting) => {}
            Err(error) => {
                let error = git("move the checkout's files to the new commit", error);
                return Err(error.hint("the branch has moved already: run the command again, or `git reset --hard` in the checkout"));
            }
        }
    }
}
