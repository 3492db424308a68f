use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, Signature, Time};
use shipline_engine::backend::GitopsRepo;
use shipline_engine::fault::Faults;
use shipline_gitops::{LocalGitops, LocalSettings};
use shipline_testkit::contract::gitops::GitopsWorld;
use tempfile::TempDir;

pub(crate) const BRANCH: &str = "refs/heads/main";

/// A bare repository in a directory of its own.
pub(crate) struct Bare {
    pub(crate) directory: TempDir,
}

impl Bare {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bare = Self { directory };
        let mut options = git2::RepositoryInitOptions::new();
        options
            .bare(true)
            .initial_head("main")
            .external_template(false);
        Repository::init_opts(bare.path(), &options).unwrap();
        bare
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let bare = Self::new();
        commit(&bare.git(), files);
        bare
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("gitops.git")
    }

    pub(crate) fn git(&self) -> Repository {
        Repository::open(self.path()).unwrap()
    }

    pub(crate) fn repository(&self) -> LocalGitops {
        LocalGitops::new(settings(&self.path()))
    }
}

pub(crate) fn settings(path: &Path) -> LocalSettings {
    LocalSettings {
        path: path.to_owned(),
        branch: "main".to_owned(),
        seed: None,
        deadline: Duration::from_secs(120),
        signer: None,
        faults: Faults::none(),
    }
}

/// Somebody else's commit, made without any of our code.
pub(crate) fn commit(repository: &Repository, files: &[(&str, &str)]) {
    loop {
        let parent = repository
            .find_reference(BRANCH)
            .ok()
            .map(|branch| branch.peel_to_commit().unwrap());
        let empty = repository.treebuilder(None).unwrap().write().unwrap();
        let base = match &parent {
            Some(parent) => parent.tree().unwrap(),
            None => repository.find_tree(empty).unwrap(),
        };
        let mut update = TreeUpdateBuilder::new();
        for (path, text) in files {
            let blob = repository.blob(text.as_bytes()).unwrap();
            update.upsert(*path, blob, FileMode::Blob);
        }
        let tree = update.create_updated(repository, &base).unwrap();
        let tree = repository.find_tree(tree).unwrap();
        let who = Signature::new("Else", "else@example.com", &Time::new(1, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        let commit = repository
            .commit(None, &who, &who, "Somebody else's\n", &tree, &parents)
            .unwrap();
        let moved = match &parent {
            Some(parent) => repository.reference_matching(BRANCH, commit, true, parent.id(), ""),
            None => repository.reference(BRANCH, commit, false, ""),
        };
        if moved.is_ok() {
            return;
        }
    }
}

pub(crate) fn file(repository: &Repository, path: &str) -> Option<String> {
    let tree = repository
        .find_reference(BRANCH)
        .unwrap()
        .peel_to_tree()
        .unwrap();
    let entry = tree.get_path(Path::new(path)).ok()?;
    let blob = repository.find_blob(entry.id()).unwrap();
    Some(String::from_utf8(blob.content().to_vec()).unwrap())
}

/// Newest first; the history must be a line.
pub(crate) fn messages(repository: &Repository) -> Vec<String> {
    let mut next = Some(
        repository
            .find_reference(BRANCH)
            .unwrap()
            .peel_to_commit()
            .unwrap(),
    );
    let mut messages = Vec::new();
    while let Some(commit) = next {
        messages.push(commit.message().unwrap().to_owned());
        assert!(commit.parent_count() < 2);
        next = commit.parent(0).ok();
    }
    messages
}

impl GitopsWorld for Bare {
    fn open(&self) -> Box<dyn GitopsRepo> {
        Box::new(self.repository())
    }

    fn commit(&self, files: &[(&str, &str)]) {
        commit(&self.git(), files);
    }

    fn file(&self, path: &str) -> Option<String> {
        file(&self.git(), path)
    }

    fn messages(&self) -> Vec<String> {
        messages(&self.git())
    }
}

/// A repository with a work tree.
pub(crate) struct Clone {
    pub(crate) directory: TempDir,
}

impl Clone {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main").external_template(false);
        let repository = Repository::init_opts(directory.path(), &options).unwrap();
        commit(&repository, files);
        let mut checkout = git2::build::CheckoutBuilder::new();
        repository.checkout_head(Some(checkout.force())).unwrap();
        Self { directory }
    }

    pub(crate) fn git(&self) -> Repository {
        Repository::open(self.directory.path()).unwrap()
    }

    pub(crate) fn on_disk(&self, path: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(path)).unwrap()
    }

    /// The paths that git calls changed.
    pub(crate) fn changed(&self) -> Vec<String> {
        let git = self.git();
        let statuses = git.statuses(None).unwrap();
        statuses
            .iter()
            .map(|entry| entry.path().unwrap().to_owned())
            .collect()
    }
}

pub(crate) fn world() -> Arc<dyn GitopsWorld> {
    Arc::new(Bare::new())
}
