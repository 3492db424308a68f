//! A registry in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shipline_engine::backend::{
    AttachOutcome, Descriptor, Expiring, ImageDetails, ImageStore, Reference, Referrer, Registry,
    TagOutcome, TagRequest, Uploaded,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::name::{Digest, RepositoryName};
use tokio::sync::Semaphore;

use super::{Script, lock};

/// A registry in memory.
#[derive(Debug)]
pub struct MemoryRegistry {
    /// What fails in `preflight`.
    pub preflights: Script,
    /// What fails in `upload`.
    pub uploads: Script,
    /// What fails in `attach`.
    pub attachments: Script,
    /// What fails in `tag`.
    pub taggings: Script,
    /// Each `tag` waits for a permit.
    pub gate: Semaphore,
    waiting: AtomicUsize,
    looks: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeSet<(RepositoryName, Digest)>,
    manifests: BTreeMap<(RepositoryName, Digest), (Descriptor, Vec<u8>)>,
    tags: BTreeMap<(RepositoryName, String), Digest>,
    expiring: BTreeMap<RepositoryName, Vec<Expiring>>,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self {
            preflights: Script::default(),
            uploads: Script::default(),
            attachments: Script::default(),
            taggings: Script::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            waiting: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }
}

impl MemoryRegistry {
    /// A registry whose `tag` waits until [`MemoryRegistry::gate`] gets a permit.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            gate: Semaphore::new(0),
            ..Self::default()
        }
    }

    /// How many `tag` have come to the gate.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How often it was asked to attach.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// From now on the registry is about to remove this image.
    pub fn expire(&self, repository: &RepositoryName, image: Expiring) {
        let mut state = lock(&self.state);
        let expiring = state.expiring.entry(repository.clone()).or_default();
        expiring.push(image);
    }

    /// What every tag names.
    #[must_use]
    pub fn all_tags(&self) -> BTreeMap<String, Digest> {
        lock(&self.state)
            .tags
            .iter()
            .map(|((repository, tag), digest)| (format!("{repository}:{tag}"), digest.clone()))
            .collect()
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn image_name(&self, repository: &RepositoryName) -> Option<String> {
        Some(format!("registry.example.com/{repository}"))
    }

    async fn preflight(&self, _repositories: &[RepositoryName]) -> Result<(), BackendError> {
        self.preflights.next()
    }

    async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError> {
        self.uploads.next()?;
        if task.is_cancelled() {
            return Err(BackendError::new(ErrorClass::Cancelled, "upload an image"));
        }
        let manifest = store.manifest(digest)?.ok_or_else(|| {
            BackendError::new(ErrorClass::NotFound, format!("find {digest} in the store"))
        })?;
        let mut state = lock(&self.state);
        let mut sent = 0;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            if state
                .blobs
                .insert((repository.clone(), part.digest.clone()))
            {
                sent += part.size;
            }
        }
        let key = (repository.clone(), digest.clone());
        state
            .manifests
            .insert(key, (manifest.descriptor, manifest.bytes));
        Ok(Uploaded { sent })
    }

    async fn attach(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError> {
        self.attachments.next()?;
        self.looks.fetch_add(1, Ordering::SeqCst);
        let listed = self.referrers(repository, subject).await?;
        let is_listed = |digest: &&Digest| {
            listed
                .iter()
                .any(|referrer| referrer.descriptor.digest == **digest)
        };
        let missing: Vec<&Digest> = artifacts
            .iter()
            .filter(|digest| !is_listed(digest))
            .collect();
        for digest in &missing {
            self.upload(repository, digest, store, task).await?;
        }
        Ok(if missing.is_empty() {
            AttachOutcome::AlreadyThere
        } else {
            AttachOutcome::Attached
        })
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError> {
        let state = lock(&self.state);
        let all = state
            .manifests
            .iter()
            .filter(|((at, _), _)| at == repository);
        Ok(all
            .filter_map(|(_, (descriptor, bytes))| {
                let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
                (document["subject"]["digest"] == subject.as_str()).then(|| Referrer {
                    descriptor: descriptor.clone(),
                    artifact_type: document["artifactType"].as_str().map(str::to_owned),
                })
            })
            .collect())
    }

    async fn expiring(&self, repository: &RepositoryName) -> Result<Vec<Expiring>, BackendError> {
        let state = lock(&self.state);
        Ok(state.expiring.get(repository).cloned().unwrap_or_default())
    }

    async fn tag(
        &self,
        requests: &[TagRequest],
        _task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError> {
        self.taggings.next()?;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let mut state = lock(&self.state);
        let mut wanted = state.tags.clone();
        for request in requests {
            let what = format!("tag {} as {}", request.repository, request.tag);
            if !is_tag(&request.tag) {
                return Err(BackendError::new(ErrorClass::Invalid, what).because("it is no tag"));
            }
            let key = (request.repository.clone(), request.digest.clone());
            if !state.manifests.contains_key(&key) {
                let cause = format!("{} is not there", request.digest);
                return Err(BackendError::new(ErrorClass::NotFound, what).because(cause));
            }
            let key = (request.repository.clone(), request.tag.clone());
            if let Some(other) = wanted.insert(key, request.digest.clone())
                && other != request.digest
            {
                let cause = format!("it names {other}, not {}", request.digest);
                return Err(BackendError::new(ErrorClass::Conflict, what).because(cause));
            }
        }
        Ok(requests
            .iter()
            .map(|request| {
                let key = (request.repository.clone(), request.tag.clone());
                match state.tags.insert(key, request.digest.clone()) {
                    Some(_) => TagOutcome::AlreadyThere,
                    None => TagOutcome::Set,
                }
            })
            .collect())
    }

    async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, BackendError> {
        Ok(self
            .manifest(repository, reference)
            .await?
            .map(|(descriptor, _)| descriptor))
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        let state = lock(&self.state);
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => state.tags.get(&(repository.clone(), tag.clone())).cloned(),
        };
        Ok(digest.and_then(|digest| state.manifests.get(&(repository.clone(), digest)).cloned()))
    }

    async fn details(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ImageDetails>, BackendError> {
        let found = self.resolve(repository, reference).await?;
        let state = lock(&self.state);
        Ok(found.map(|descriptor| ImageDetails {
            tags: state
                .tags
                .iter()
                .filter(|((at, _), digest)| at == repository && **digest == descriptor.digest)
                .map(|((_, tag), _)| tag.clone())
                .collect(),
            pullable: Ok(()),
            pushed_at: None,
            descriptor,
        }))
    }

    async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, BackendError> {
        Ok(lock(&self.state)
            .tags
            .keys()
            .filter(|(at, _)| at == repository)
            .map(|(_, tag)| tag.clone())
            .collect())
    }
}

/// OCI distribution specification, `<reference>` as a tag.
fn is_tag(text: &str) -> bool {
    !text.starts_with(['.', '-'])
        && (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
