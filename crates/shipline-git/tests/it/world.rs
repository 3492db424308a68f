//! A repository in a temporary folder, and short words for what tests do with it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shipline_engine::backend::{Outside, SourceRepo, SourceSet};
use shipline_engine::fault::Faults;
use shipline_git::{GitSource, WorkTree};
use shipline_model::name::{CommitId, RepoPath};
use shipline_model::path::GitPath;
use shipline_model::plan::ChangeKind;
use tempfile::TempDir;

/// What a path holds: mode and content (a symlink's target).
pub(crate) type Files = BTreeMap<String, (char, Vec<u8>)>;

pub(crate) struct World {
    folder: TempDir,
    repo: PathBuf,
}

impl World {
    /// An empty repository on branch `main`.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().canonicalize().unwrap().join("repo");
        std::fs::create_dir(&repo).unwrap();
        let world = Self { folder, repo };
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["config", "core.autocrlf", "false"]);
        world
    }

    /// A repository with these files committed.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let world = Self::empty();
        for (path, text) in files {
            world.write(path, text);
        }
        world.commit("first");
        world
    }

    /// The clone (or work tree) at `repo`, in the same folder.
    pub(crate) fn at(self, repo: PathBuf) -> Self {
        Self { repo, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.repo
    }

    /// A path beside the repository.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.repo, args, &[])
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.repo.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.repo.join(path)).unwrap();
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.repo.join(path), permissions).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let file = self.repo.join(path);
        if file.is_dir() {
            std::fs::remove_dir_all(file).unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Commits everything that git would add.
    pub(crate) fn commit(&self, message: &str) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.rev("HEAD")
    }

    pub(crate) fn rev(&self, name: &str) -> CommitId {
        CommitId::new(self.git(&["rev-parse", name]).trim()).unwrap()
    }

    pub(crate) fn open(&self) -> GitSource {
        GitSource::open(&self.repo, WorkTree::Scan, Faults::none()).unwrap()
    }

    pub(crate) fn clean(&self) -> GitSource {
        GitSource::open(&self.repo, WorkTree::KnownClean, Faults::none()).unwrap()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.beside("work")
    }

    /// `+a ~b -c` for the changes since `base`.
    pub(crate) fn changes(&self, base: &CommitId) -> String {
        shown(&self.open().changes(base).unwrap())
    }

    /// What `git add --all` would commit, according to git.
    pub(crate) fn expected(&self) -> Files {
        let index = self.beside("oracle-index");
        let out = self.beside("oracle");
        let _ = std::fs::remove_dir_all(&out);
        let _ = std::fs::remove_file(&index);
        let original = self.repo.join(".git/index");
        std::fs::copy(&original, &index).unwrap();
        // Git tells by the index's age which files may have changed in the tick in which it was written.
        let written = original.metadata().unwrap().modified().unwrap();
        let copy = std::fs::File::options().write(true).open(&index).unwrap();
        copy.set_modified(written).unwrap();
        let index = [("GIT_INDEX_FILE", index.to_str().unwrap())];
        git(&self.repo, &["add", "--all"], &index);
        let prefix = format!("--prefix={}/", out.display());
        git(
            &self.repo,
            &[
                "-c",
                "core.autocrlf=false",
                "checkout-index",
                "--all",
                &prefix,
            ],
            &index,
        );
        if out.exists() {
            files(&out)
        } else {
            Files::new()
        }
    }
}

/// The uncommitted paths of nothing.
pub(crate) const NONE: [&str; 0] = [];

/// The uncommitted paths, as they are shown.
pub(crate) fn uncommitted(source: &GitSource) -> Vec<String> {
    let head = source.head().unwrap();
    head.dirty.iter().map(ToString::to_string).collect()
}

pub(crate) fn shown(changes: &[shipline_model::plan::PathChange]) -> String {
    let sign = |kind| match kind {
        ChangeKind::Added => '+',
        ChangeKind::Modified => '~',
        ChangeKind::Deleted => '-',
    };
    let shown: Vec<String> = changes
        .iter()
        .map(|change| format!("{}{}", sign(change.kind), change.path))
        .collect();
    shown.join(" ")
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn git(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "advice.addEmbeddedRepo=false",
        ])
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_NAME", "A"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
            ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z"),
            ("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z"),
        ])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every file and symlink below a folder.
pub(crate) fn files(folder: &Path) -> Files {
    fn walk(root: &Path, at: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if meta.is_dir() {
                walk(root, &path, files);
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                files.insert(name, ('l', target.into_os_string().into_encoded_bytes()));
            } else {
                let kind = if meta.permissions().mode() & 0o100 != 0 {
                    'x'
                } else {
                    'f'
                };
                files.insert(name, (kind, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Files::new();
    walk(folder, folder, &mut found);
    found
}

pub(crate) fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

pub(crate) fn set(paths: &[&str], keep: &[&str]) -> SourceSet {
    SourceSet {
        paths: paths.iter().map(|text| path(text)).collect(),
        keep: keep.iter().map(GitPath::new).collect(),
        outside: Outside::Removed,
    }
}
