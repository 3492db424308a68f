//! Sources in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use shipline_engine::backend::{Ancestry, Materialized, Outside, SourceRepo, SourceSet, Standing};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::Place;
use shipline_model::name::{CommitId, RepoPath};
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{Head, PathChange};

use super::{digest_of, lock};

/// Sources in memory: one commit, and files by path.
#[derive(Debug)]
pub struct MemorySource {
    head: Head,
    files: Mutex<BTreeMap<String, String>>,
}

impl MemorySource {
    /// These files at a clean head.
    #[must_use]
    pub fn new(head: Head, files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        Self {
            head,
            files: Mutex::new(files),
        }
    }

    fn wanted(&self, paths: &[RepoPath]) -> BTreeMap<String, String> {
        lock(&self.files)
            .iter()
            .filter(|(path, _)| paths.iter().any(|wanted| wanted.contains(path)))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect()
    }
}

impl SourceRepo for MemorySource {
    fn head(&self) -> Result<Head, BackendError> {
        Ok(self.head.clone())
    }

    fn resolve(&self, revision: &str) -> Result<CommitId, BackendError> {
        match revision {
            "HEAD" => Ok(self.head.commit.clone()),
            other => Err(BackendError::new(
                ErrorClass::NotFound,
                format!("find {other}"),
            )),
        }
    }

    fn ancestry(&self, commit: &CommitId) -> Result<Ancestry, BackendError> {
        Ok(if *commit == self.head.commit {
            Ancestry::Ancestor
        } else {
            Ancestry::Unknown {
                why: "there is one commit".to_owned(),
            }
        })
    }

    fn merge_base(&self, commit: &CommitId) -> Result<Option<CommitId>, BackendError> {
        Ok((*commit == self.head.commit).then(|| commit.clone()))
    }

    fn changes(&self, _base: &CommitId) -> Result<ByPath<PathChange>, BackendError> {
        Ok(ByPath::default())
    }

    fn key(&self, paths: &[RepoPath]) -> Result<String, BackendError> {
        let text = format!("{:?}", self.wanted(paths));
        Ok(digest_of(text.as_bytes()).hex().to_owned())
    }

    fn standing(&self, path: &RepoPath) -> Result<Option<Standing>, BackendError> {
        let files = lock(&self.files);
        Ok(if files.contains_key(path.as_str()) {
            Some(Standing::File)
        } else {
            let mut all = files.keys();
            all.any(|file| path.contains(file))
                .then_some(Standing::Folder)
        })
    }

    fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(lock(&self.files)
            .get(path.as_str())
            .map(|text| text.clone().into_bytes()))
    }

    fn read_at(&self, commit: &CommitId, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        if *commit != self.head.commit {
            return Err(BackendError::new(
                ErrorClass::NotFound,
                format!("read commit {commit}"),
            ));
        }
        self.read(path)
    }

    fn materialize(
        &self,
        set: &SourceSet,
        workspace: &Place,
    ) -> Result<Materialized, BackendError> {
        let workspace = workspace.path();
        let wanted = self.wanted(&set.paths);
        let mut done = Materialized::default();
        (|| {
            fs::create_dir_all(workspace)?;
            for path in beyond(workspace, "", &wanted, set)? {
                let at = workspace.join(&path);
                if at.is_dir() {
                    fs::remove_dir_all(&at)?;
                } else {
                    fs::remove_file(&at)?;
                }
                done.removed += 1;
            }
            for (path, text) in &wanted {
                let at = workspace.join(path);
                if fs::read(&at).is_ok_and(|there| there == text.as_bytes()) {
                    done.kept += 1;
                } else {
                    if let Some(folder) = at.parent() {
                        fs::create_dir_all(folder)?;
                    }
                    fs::write(&at, text)?;
                    done.written += 1;
                }
            }
            Ok(done)
        })()
        .map_err(|cause: io::Error| {
            BackendError::new(ErrorClass::Unavailable, "fill the workspace").because(cause)
        })
    }

    fn extras(&self, set: &SourceSet, workspace: &Place) -> Result<Vec<GitPath>, BackendError> {
        let workspace = workspace.path();
        let found = beyond(workspace, "", &self.wanted(&set.paths), set).map_err(|cause| {
            BackendError::new(ErrorClass::Invalid, "read the workspace").because(cause)
        })?;
        Ok(found.into_iter().map(GitPath::new).collect())
    }
}

/// The topmost paths that are neither wanted nor kept, nor lead to such.
fn beyond(
    workspace: &Path,
    at: &str,
    wanted: &BTreeMap<String, String>,
    set: &SourceSet,
) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace.join(at))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if at.is_empty() {
            name
        } else {
            format!("{at}/{name}")
        };
        let below = format!("{path}/");
        let keep = &set.keep;
        let is_ours = |own: &RepoPath| own.contains(&path) || own.as_str().starts_with(&below);
        let is_left = match set.outside {
            Outside::Removed => false,
            Outside::Left => !set.paths.iter().any(is_ours),
        };
        if wanted.contains_key(&path) || is_left || keep.iter().any(|kept| around(kept, &path)) {
            continue;
        }
        let leads = wanted.keys().any(|wanted| wanted.starts_with(&below))
            || keep
                .iter()
                .any(|kept| kept.as_bytes().starts_with(below.as_bytes()));
        if leads && entry.file_type()?.is_dir() {
            found.extend(beyond(workspace, &path, wanted, set)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `path` is `kept` or lies in it.
fn around(kept: &GitPath, path: &str) -> bool {
    let rest = path.as_bytes().strip_prefix(kept.as_bytes());
    rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}
