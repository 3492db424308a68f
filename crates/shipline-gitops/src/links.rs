//! Repositories of which the sources could have made something else: libgit2 opens files by their paths and follows links.

use std::io;

use shipline_engine::error::BackendError;
use shipline_engine::folder::{Folder, Obstacle, Place};

use crate::error::io as io_error;

/// Refs stand in folders; so deep nobody puts them.
const REFS_DEPTH: usize = 16;

/// Refuses a repository that is a link, or whose own folder holds links where git writes, or pipes where it reads. One that is
/// not there is none.
///
/// # Errors
/// `Invalid` naming the link or the pipe.
pub fn refuse_links(repository: &Place) -> Result<(), BackendError> {
    let refused = |cause| {
        let path = repository.path().display();
        io_error(format!("use the GitOps repository {path}"), cause)
    };
    match repository.open().and_then(|folder| look(&folder)) {
        Err(cause) if Obstacle::of(&cause).is_some() => Err(refused(cause)),
        Ok(()) => shipline_git::refuse_pipes(repository.path()),
        // What else is wrong with it, whoever opens it says better.
        Err(_) => Ok(()),
    }
}

fn look(folder: &Folder) -> io::Result<()> {
    let own = match folder.see(".git")? {
        Some(_) => match folder.folder(".git") {
            // A file: a work tree that was added to a repository elsewhere, by git itself.
            Err(cause) if folder.open(".git").is_err() => return Err(cause),
            Err(_) => return Ok(()),
            Ok(own) => own,
        },
        None if folder.see("objects")?.is_some() => return bare(folder),
        None => return Ok(()),
    };
    bare(&own)
}

fn bare(own: &Folder) -> io::Result<()> {
    own.refuse_links(1)?;
    own.folder("refs")?.refuse_links(REFS_DEPTH)
}
