//! The GitOps repository that ArgoCD watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use shipline_model::config::{Component, Config, Containers, KustomizeImages, Pin};
use shipline_model::name::{
    CommitId, ComponentName, Digest, EnvironmentName, ImageName, ProfileName, Tag,
};
use shipline_model::plan::PlannedImage;

use crate::backend::Registry;
use crate::error::{BackendError, ErrorClass};
use crate::event::{DeployedCommit, ImageChange};

/// Where a component's image stands in the GitOps repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The component.
    pub component: ComponentName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The folders or files in which its manifests stand, from the repository's root.
    pub manifests: Vec<String>,
    /// What its workload and container are called where no other name is given.
    pub name: String,
    /// The workload's name, where it is given.
    pub workload: Option<String>,
    /// The container's name, where it is given.
    pub container: Option<String>,
    /// Repository name that the image must end in (host and leading path are free).
    pub repository: String,
    /// Other repository names of the component: an image of one of them gets the name of `repository`.
    pub other_repositories: Vec<String>,
    /// Which containers get the image.
    pub containers: Containers,
    /// Where the image stands in Helm values: keys with dots.
    pub value: Option<String>,
    /// What the image is named by; where it says nothing, by what stands there.
    pub pin: Option<Pin>,
    /// What is written into a kustomization.
    pub kustomize_images: KustomizeImages,
}

impl Target {
    /// A component that is called the same everywhere, in `ENVIRONMENT/COMPONENT`.
    #[must_use]
    pub fn new(component: ComponentName, environment: EnvironmentName) -> Self {
        let name = component.to_string();
        Self {
            manifests: vec![format!("{environment}/{component}")],
            repository: name.clone(),
            name,
            component,
            environment,
            workload: None,
            container: None,
            other_repositories: Vec::new(),
            containers: Containers::Named,
            value: None,
            pin: None,
            kustomize_images: KustomizeImages::Existing,
        }
    }

    /// Where a component's image stands in an environment, in the GitOps repository of a profile.
    #[must_use]
    pub fn of(
        config: &Config,
        profile: &ProfileName,
        environment: &EnvironmentName,
        component: &Component,
    ) -> Self {
        let repository = component.repository_in(environment);
        let mut others: Vec<String> = component
            .repositories
            .values()
            .chain([&component.repository])
            .filter(|other| *other != repository)
            .map(ToString::to_string)
            .collect();
        others.dedup();
        Self {
            component: component.name.clone(),
            environment: environment.clone(),
            manifests: config.manifests(config.profiles.get(profile), environment, component),
            name: component.kubernetes.clone(),
            workload: component.workload.clone(),
            container: component.container.clone(),
            repository: repository.to_string(),
            other_repositories: others,
            containers: component.containers.clone(),
            value: component.value.clone(),
            pin: component.pin,
            kustomize_images: component.kustomize_images,
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
    /// What a run sets at `target`, in an environment, for one of its images.
    ///
    /// # Errors
    /// `Invalid` where the registry's name for it, or its tag, can stand in no manifest.
    pub fn planned(
        image: &PlannedImage,
        target: Target,
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
            target,
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

    /// Whether [`GitopsRepo::prepare`] may make something: a repository on a server is never created.
    fn can_create(&self) -> bool {
        true
    }

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
        if !self.repository.can_create() {
            // A look says whether it is there, and is what comes next anyway.
            self.snapshot()?;
            return Ok(Vec::new());
        }
        let mut known = self.known();
        if known.prepared {
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
