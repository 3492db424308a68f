//! A GitOps repository on this machine: bare, or a checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::{ErrorCode, Oid, Repository, RepositoryInitOptions, Signature};
use shipline_engine::backend::{Deployment, GitopsRepo, GitopsSnapshot};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::DeployedCommit;
use shipline_engine::fault::Faults;
use shipline_engine::folder::Place;
use shipline_http::Patience;

use crate::checkout::{self, Checkout};
use crate::deploy::{self, Branch, Lost, Making, Moved, Why};
use crate::edit::EditPlan;
use crate::error::{git, io, require_written};
use crate::seed;
use crate::snapshot::{CommitSigner, Held, IDENTITY, Snapshot, Source};
use crate::swap::{STALE, Swap, swap};
use crate::waiting::Waiting;

/// Names the commit that the repository was created with.
const SEED_REF: &str = "refs/shipline/seed";

/// A ref is let go of within a few milliseconds.
const SHORTEST: Duration = Duration::from_millis(4);

/// Where a local GitOps repository is and how it is written.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The repository: bare, or a checkout.
    pub path: PathBuf,
    /// The branch that ArgoCD watches.
    pub branch: String,
    /// The directory that a new repository begins with.
    pub seed: Option<PathBuf>,
    /// How long to try while other processes write.
    pub deadline: Duration,
    /// What signs deployment commits.
    pub signer: Option<Arc<dyn CommitSigner>>,
    /// Points at which a test can kill the process.
    pub faults: Faults,
}

/// A GitOps repository on this machine.
#[derive(Debug)]
pub struct LocalGitops {
    settings: LocalSettings,
    reference: String,
    waiting: Waiting,
}

impl LocalGitops {
    /// The repository of these settings. Nothing is opened yet.
    #[must_use]
    pub fn new(settings: LocalSettings) -> Self {
        let reference = format!("refs/heads/{}", settings.branch);
        Self {
            settings,
            reference,
            waiting: Waiting::default(),
        }
    }

    fn path(&self) -> &Path {
        &self.settings.path
    }

    fn open(&self) -> Result<Repository, BackendError> {
        let opened = Repository::open(self.path()).map_err(|cause| {
            let error = git(format!("open the GitOps repository {}", self.name()), cause);
            if error.class == ErrorClass::NotFound {
                error.hint("correct the path, or give a `seed` to create it from")
            } else if error.class == ErrorClass::Denied {
                error.hint("the repository belongs to another user: name it as `safe.directory` in the git configuration")
            } else {
                error
            }
        });
        let repository = opened?;
        self.refuse_elsewhere(&repository)?;
        Ok(repository)
    }

    /// A repository whose configuration names work tree files of another place (`core.worktree`) would be written there.
    fn refuse_elsewhere(&self, repository: &Repository) -> Result<(), BackendError> {
        let Some(files) = repository.workdir().filter(|_| !repository.is_bare()) else {
            return Ok(());
        };
        let canonical = |path: &Path| path.canonicalize().ok();
        let path = canonical(self.path());
        let files_at = canonical(files);
        let own = path.as_deref().filter(|path| {
            files_at.as_deref() == Some(*path)
                || (path.ends_with(".git") && files_at.as_deref() == path.parent())
        });
        if own.is_some() {
            return Ok(());
        }
        let message = format!(
            "open the GitOps repository {}: its files are elsewhere, in {}",
            self.name(),
            files.display()
        );
        Err(BackendError::new(ErrorClass::Invalid, message)
            .hint("remove `core.worktree` from its configuration, or name that folder"))
    }

    fn head(&self, repository: &Repository) -> Result<Oid, BackendError> {
        let branch = &self.settings.branch;
        repository.refname_to_id(&self.reference).map_err(|cause| {
            let error = git(format!("read branch {branch} of {}", self.name()), cause);
            if error.class == ErrorClass::NotFound {
                error.hint(format!(
                    "create the branch, or name another one than `{branch}`"
                ))
            } else {
                error
            }
        })
    }

    fn contended(&self, patience: &Patience) -> BackendError {
        let message = format!(
            "move branch {} of {}: other writers were first {} times in {} s",
            self.settings.branch,
            self.name(),
            patience.attempts(),
            self.settings.deadline.as_secs()
        );
        BackendError::new(ErrorClass::Retryable, message).hint(format!(
            "run it again; if no other process writes there, remove {}.lock from the repository",
            self.reference
        ))
    }

    /// What holds up a writer: a ref lock that is there, or others that were first.
    fn contender(&self, repository: &Repository) -> String {
        let lock = repository
            .commondir()
            .join(format!("{}.lock", self.reference));
        if lock.exists() {
            format!(
                "the process that holds {} (a lock that nobody holds any more is removed after {} s)",
                lock.display(),
                STALE.as_secs()
            )
        } else {
            format!(
                "other writers of branch {} of {}",
                self.settings.branch,
                self.name()
            )
        }
    }

    /// Writes the seed as a first commit. No ref names it yet.
    fn commit_seed(&self, repository: &Repository, seed: &Path) -> Result<Oid, BackendError> {
        let what = format!("create {} from its seed", self.name());
        let failed = |cause| git(what.as_str(), cause);
        let tree = seed::write(repository, &self.name(), seed)?;
        let tree = repository.find_tree(tree).map_err(failed)?;
        let (name, mail) = IDENTITY;
        let who = Signature::now(name, mail).map_err(failed)?;
        let message = "Create the GitOps repository from its seed\n";
        let commit = repository
            .commit(None, &who, &who, message, &tree, &[])
            .map_err(failed)?;
        require_written(repository, commit, &what)?;
        Ok(commit)
    }

    /// Commits the seed as the branch's first commit.
    fn plant(&self, repository: &Repository, seed: &Path) -> Result<(), BackendError> {
        let failed = |cause| git(format!("create {} from its seed", self.name()), cause);
        let commit = self.commit_seed(repository, seed)?;
        let log = "shipline: seed";
        repository
            .reference(SEED_REF, commit, true, log)
            .map_err(failed)?;
        match repository.reference(&self.reference, commit, false, log) {
            Ok(_) => Ok(()),
            Err(error) if error.code() == ErrorCode::Exists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Builds the repository beside its place and moves it there when it is whole.
    fn create(&self, seed: &Path) -> Result<Vec<String>, BackendError> {
        let path = self.path();
        let failed = |cause| {
            io(
                format!("create the GitOps repository {}", self.name()),
                cause,
            )
        };
        let parent = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = Place::from(parent).make().map_err(failed)?;
        let lock = folder
            .open_or_create(format!(".{name}.lock"))
            .map_err(failed)?;
        {
            let _wait = self
                .waiting
                .on(format!("another process that creates {}", self.name()));
            lock.lock().map_err(failed)?;
        }
        if is_there(path) {
            return Ok(Vec::new());
        }
        let coming = format!(".{name}.new");
        folder.remove_all(&coming).map_err(failed)?;
        let new = parent.join(&coming);
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .mkdir(true)
            .mkpath(true)
            .no_reinit(true)
            .external_template(false)
            .initial_head(&self.settings.branch);
        let repository = Repository::init_opts(&new, &options).map_err(|cause| {
            git(
                format!("create the GitOps repository {}", self.name()),
                cause,
            )
        })?;
        self.plant(&repository, seed)?;
        drop(repository);
        folder
            .rename(&coming, &folder, path.file_name().unwrap_or_default())
            .map_err(failed)?;
        Ok(vec![format!(
            "created the GitOps repository {} from {}",
            self.name(),
            seed.display()
        )])
    }

    /// A note where the seed is no longer what the repository was created from.
    fn compare_seed(
        &self,
        repository: &Repository,
        seed: &Path,
    ) -> Result<Vec<String>, BackendError> {
        let Ok(planted) = repository
            .find_reference(SEED_REF)
            .and_then(|reference| reference.peel_to_tree())
        else {
            return Ok(Vec::new());
        };
        if !seed.is_dir() || seed::hash(seed)? == planted.id() {
            return Ok(Vec::new());
        }
        Ok(vec![format!(
            "the seed {} has changed since {} was created from it; the repository stays as it is (commit the change there, or remove the repository to begin again)",
            seed.display(),
            self.name()
        )])
    }
}

/// Whether there are no refs but those that planting a seed begins with.
fn is_unplanted(repository: &Repository) -> bool {
    let is_seed = |name: &[u8]| name == SEED_REF.as_bytes();
    repository.references().is_ok_and(|mut references| {
        references.all(|reference| reference.is_ok_and(|it| is_seed(it.name_bytes())))
    })
}

/// Whether something is at a path; an empty directory is nothing.
fn is_there(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

impl GitopsRepo for LocalGitops {
    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn prepare(&self) -> Result<Vec<String>, BackendError> {
        let seed = self.settings.seed.as_deref();
        let mut notes = Vec::new();
        if let Some(seed) = seed.filter(|_| !is_there(self.path())) {
            notes = self.create(seed)?;
        }
        let repository = self.open()?;
        if let Some(seed) = seed {
            if is_unplanted(&repository) {
                self.plant(&repository, seed)?;
                notes.push(format!(
                    "filled the empty GitOps repository {} from {}",
                    self.name(),
                    seed.display()
                ));
            }
            notes.extend(self.compare_seed(&repository, seed)?);
        }
        self.head(&repository)?;
        Ok(notes)
    }

    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError> {
        let repository = self.open()?;
        let head = self.head(&repository)?;
        let source = Opened {
            path: self.path().to_owned(),
        };
        Ok(Arc::new(Held::new(source, head)?))
    }

    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let repository = self.open()?;
        let mut patience = Patience::until(self.settings.deadline, SHORTEST);
        let checkout = checkout::inspect(&repository, &self.reference)?;
        if let Checkout::Behind(paths) = &checkout {
            checkout::catch_up(&repository, paths, &mut patience, &self.waiting)?;
        }
        let mut branch = LocalBranch {
            gitops: self,
            repository,
            checkout,
        };
        let making = Making {
            deployment,
            signer: self.settings.signer.as_deref(),
            faults: &self.settings.faults,
            waiting: &self.waiting,
        };
        deploy::run(&mut branch, &making, &mut patience)
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let seed = self.settings.seed.as_deref();
        if let Some(seed) = seed.filter(|_| !is_there(self.path())) {
            let repository = seed::in_memory()?;
            let head = self.commit_seed(&repository, seed)?;
            return Snapshot::preview(&repository, head, deployment);
        }
        let repository = self.open()?;
        checkout::inspect(&repository, &self.reference)?;
        let head = self.head(&repository)?;
        Snapshot::preview(&repository, head, deployment)
    }

    fn waits_for(&self) -> Option<String> {
        self.waiting.now()
    }
}

/// Where a snapshot's objects are.
struct Opened {
    path: PathBuf,
}

impl Source for Opened {
    fn with<T>(
        &self,
        look: impl FnOnce(&Repository) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let repository = Repository::open(&self.path).map_err(|cause| {
            git(
                format!("open the GitOps repository {}", self.path.display()),
                cause,
            )
        })?;
        look(&repository)
    }
}

/// The branch of a repository on this machine, and the files that move along.
struct LocalBranch<'g> {
    gitops: &'g LocalGitops,
    repository: Repository,
    checkout: Checkout,
}

impl Branch for LocalBranch<'_> {
    fn repository(&self) -> &Repository {
        &self.repository
    }

    fn head(&mut self, _: &mut Patience) -> Result<Oid, BackendError> {
        self.gitops.head(&self.repository)
    }

    fn swap(&mut self, (old, new): (Oid, Oid), _: &EditPlan) -> Result<Moved, BackendError> {
        let gitops = self.gitops;
        let faults = &gitops.settings.faults;
        let swapped = swap(&self.repository, &gitops.reference, (old, new), faults)?;
        Ok(match swapped {
            Swap::Done => Moved::Done,
            Swap::Lost => Moved::Lost(Lost {
                waits_for: gitops.contender(&self.repository),
                why: Why::Raced,
            }),
        })
    }

    fn landed(
        &mut self,
        _: Oid,
        plan: &EditPlan,
        patience: &mut Patience,
    ) -> Result<(), BackendError> {
        if self.checkout == Checkout::Elsewhere {
            return Ok(());
        }
        let paths: Vec<String> = plan.files.keys().cloned().collect();
        checkout::catch_up(&self.repository, &paths, patience, &self.gitops.waiting)
    }

    fn contended(&self, patience: &Patience) -> BackendError {
        self.gitops.contended(patience)
    }
}
