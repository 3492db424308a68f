//! The GitOps repository that ArgoCD watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use shipline_model::config::{Component, Containers};
use shipline_model::name::{CommitId, ComponentName, Digest, EnvironmentName, ImageName, Tag};
use shipline_model::plan::PlannedImage;

use crate::backend::Registry;
use crate::error::{BackendError, ErrorClass};
use crate::event::{DeployedCommit, ImageChange};

/// Where a component's image stands in the GitOps repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The component.
    pub component: ComponentName,
    /// The environment, also the first folder.
    pub environment: EnvironmentName,
    /// The component's folder below it; `.` is the environment's own.
    pub folder: String,
    /// The container's name.
    pub container: String,
    /// Repository name that the image must end in (host and leading path are free).
    pub repository: String,
    /// Whether other containers of the folder that run the same image move with it.
    pub containers: Containers,
}

impl Target {
    /// The folder's path in the repository.
    #[must_use]
    pub fn path(&self) -> String {
        match self.folder.as_str() {
            "." => self.environment.to_string(),
            folder => format!("{}/{folder}", self.environment),
        }
    }
}

impl Target {
    /// Where a component's image stands in an environment.
    #[must_use]
    pub fn of(component: &Component, environment: &EnvironmentName) -> Self {
        Self {
            component: component.name.clone(),
            environment: environment.clone(),
            folder: component.folder.clone(),
            container: component.kubernetes.clone(),
            repository: component.repository.to_string(),
            containers: component.containers,
        }
    }
}

/// One image to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetImage {
    /// Where.
    pub target: Target,
    /// What the image is called from now on (`host/path/name`); `None` keeps the name that is there.
    pub name: Option<ImageName>,
    /// The new tag.
    pub tag: Tag,
    /// The image's manifest, for the trailers, and behind the tag (`@sha256:…`) as `pinning` says.
    pub digest: Option<Digest>,
    /// Where the digest is written.
    pub pinning: Pinning,
    /// The commit that the image was built from, for the trailers.
    pub source_commit: Option<CommitId>,
}

impl SetImage {
    /// What a run sets in an environment for one of its images.
    ///
    /// # Errors
    /// `Invalid` where the registry's name for it, or its tag, can stand in no manifest.
    pub fn planned(
        image: &PlannedImage,
        component: &Component,
        environment: &EnvironmentName,
        registry: &dyn Registry,
        digest: Digest,
    ) -> Result<Self, BackendError> {
        let invalid = || {
            let message = format!("name the image of {} in {environment}", image.id);
            BackendError::new(ErrorClass::Invalid, message)
        };
        let name = registry.image_name(&image.repository);
        Ok(Self {
            target: Target::of(component, environment),
            name: name
                .map(ImageName::new)
                .transpose()
                .map_err(|error| invalid().because(error))?,
            tag: Tag::new(image.tag.to_string()).map_err(|error| invalid().because(error))?,
            digest: Some(digest),
            pinning: Pinning::AsBefore,
            source_commit: Some(image.commit.clone()),
        })
    }
}

/// Whether the digest is written behind the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// Where the old value has one.
    AsBefore,
    /// In any case.
    Always,
}

/// A deployment: all its images in one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Unique; a commit that carries it in its trailers is this deployment.
    pub id: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// What to set.
    pub images: Vec<SetImage>,
    /// First line of the commit message; made from the images where absent.
    pub message: Option<String>,
    /// Who, for author and trailers (`Name <mail>`).
    pub author: Option<String>,
    /// Who writes the commit (`Name <mail>`); Shipline where absent.
    pub committer: Option<String>,
    /// Further trailers (`Run-Id`, `Run-Url` …), in order.
    pub trailers: Vec<(String, String)>,
    /// Commit time, in seconds since 1970 UTC.
    pub time: i64,
}

/// What a container runs, as the GitOps repository says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredImage {
    /// File in the repository.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// The whole value.
    pub image: String,
    /// Its tag, where it has one.
    pub tag: Option<String>,
}

/// What a GitOps repository says at one commit.
#[derive(Debug)]
pub struct DesiredState {
    /// The commit.
    pub commit: CommitId,
    /// For each target, what it declares or why that cannot be told.
    pub images: BTreeMap<ComponentName, Result<DeclaredImage, BackendError>>,
}

/// A deployment that the history of a commit carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDeployment {
    /// The commit that made it.
    pub commit: CommitId,
    /// When, in seconds since 1970 UTC.
    pub time: i64,
    /// Its ID.
    pub id: String,
    /// The environment's name.
    pub environment: String,
    /// What it changed.
    pub changes: Vec<ImageChange>,
}

/// A GitOps repository at one commit. Called on blocking threads.
pub trait GitopsSnapshot: Send + Sync {
    /// The commit.
    fn commit(&self) -> &CommitId;

    /// What the targets declare.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError>;

    /// The names directly in a folder; those of folders end in a slash. A folder that is not there has none.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    fn list(&self, folder: &str) -> Result<Vec<String>, BackendError>;

    /// The deployments in its history, newest first, at most `limit`.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    fn deployments(&self, limit: usize) -> Result<Vec<PastDeployment>, BackendError>;
}

/// The GitOps repository that ArgoCD watches. Called on blocking threads.
pub trait GitopsRepo: Send + Sync {
    /// The repository, for people.
    fn name(&self) -> String;

    /// Creates the repository from its seed where that is configured and nothing is there; else reads what is there. Gives
    /// notes for people (created; the seed differs from what was seeded).
    ///
    /// # Errors
    /// Where it is neither there nor can be created.
    fn prepare(&self) -> Result<Vec<String>, BackendError>;

    /// The head of the branch, which stays as it is whatever others write.
    ///
    /// # Errors
    /// `NotFound` where the repository or branch is not there.
    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError>;

    /// Sets all images in one commit by compare-and-swap on the branch; after a lost race the edit is made again on the new
    /// head. Everything up to date: no commit. A deployment that the history already carries: success.
    ///
    /// # Errors
    /// `Invalid` where a target cannot be edited (all of them, with file and line), `Conflict` where the branch refuses.
    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError>;

    /// What [`GitopsRepo::deploy`] would change, without changing it.
    ///
    /// # Errors
    /// As [`GitopsRepo::deploy`].
    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError>;

    /// What a call on another thread waits for at this moment ("https://… to answer"): for callers that say so.
    fn waits_for(&self) -> Option<String> {
        None
    }
}

/// A GitOps repository that is asked once in a run: whoever looks gets the same snapshot, until a deployment is made.
pub struct AskedOnce {
    repository: Arc<dyn GitopsRepo>,
    known: Mutex<Known>,
}

/// What has been asked already.
#[derive(Default)]
struct Known {
    prepared: bool,
    snapshot: Option<Arc<dyn GitopsSnapshot>>,
}

impl AskedOnce {
    /// Asks this repository.
    #[must_use]
    pub fn new(repository: Arc<dyn GitopsRepo>) -> Self {
        Self {
            repository,
            known: Mutex::default(),
        }
    }

    /// One caller asks at a time, so that those who come meanwhile get its answer.
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GitopsRepo for AskedOnce {
    fn name(&self) -> String {
        self.repository.name()
    }

    fn prepare(&self) -> Result<Vec<String>, BackendError> {
        let mut known = self.known();
        if known.prepared || known.snapshot.is_some() {
            return Ok(Vec::new());
        }
        let notes = self.repository.prepare()?;
        known.prepared = true;
        Ok(notes)
    }

    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError> {
        let mut known = self.known();
        if let Some(snapshot) = &known.snapshot {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = self.repository.snapshot()?;
        known.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let done = self.repository.deploy(deployment);
        self.known().snapshot = None;
        done
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        self.repository.preview(deployment)
    }

    fn waits_for(&self) -> Option<String> {
        self.repository.waits_for()
    }
}
