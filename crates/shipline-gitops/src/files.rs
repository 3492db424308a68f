//! The files of a GitOps repository at one commit, wherever they come from.

use std::collections::BTreeMap;

use crate::folder::{Folder, Manifest, Unread, parent};

/// The files at one commit.
pub trait Files {
    /// What a folder holds directly, as far as ArgoCD or kustomize may read it. A folder that is not there holds nothing.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn folder(&self, path: &str) -> Result<Folder, git2::Error>;

    /// One file's bytes; `None` where there is no file at the path, or one that is too large. Links are not followed.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, git2::Error>;

    /// Shows every manifest and kustomization. `false`: there are more than are looked at.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) -> Result<bool, git2::Error>;
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    unread: Vec<Unread>,
}

impl Memory {
    /// These files, and what is not read.
    #[must_use]
    pub fn new(files: Vec<Manifest>, unread: Vec<Unread>) -> Self {
        Self {
            files: files.into_iter().map(|it| (it.path, it.bytes)).collect(),
            unread,
        }
    }
}

impl Files for Memory {
    fn folder(&self, path: &str) -> Result<Folder, git2::Error> {
        let files = self.files.iter().filter(|(file, _)| parent(file) == path);
        let unread = self.unread.iter();
        Ok(Folder {
            files: files
                .map(|(path, bytes)| Manifest {
                    path: path.clone(),
                    bytes: bytes.clone(),
                })
                .collect(),
            unread: unread
                .filter(|it| it.path == path || parent(&it.path) == path)
                .cloned()
                .collect(),
        })
    }

    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, git2::Error> {
        Ok(self.files.get(path).cloned())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) -> Result<bool, git2::Error> {
        for (path, bytes) in &self.files {
            visit(path, bytes);
        }
        Ok(true)
    }
}
