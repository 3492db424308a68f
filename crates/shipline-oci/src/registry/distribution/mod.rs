//! Registries that speak the OCI distribution specification, by our own client: ordered, verified, restartable.

mod auth;
mod blobs;
mod body;
mod challenge;
mod client;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod host;
mod limit;
mod manifests;
mod push;
mod referrers;
mod scope;
mod tags;
mod token;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shipline_engine::backend::{
    AttachOutcome, Descriptor, Expiring, ImageDetails, ImageStore, Reference, Referrer, Registry,
    TagOutcome, TagRequest, Uploaded,
};
use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use shipline_http::RetryPolicy;
use shipline_model::name::{Digest, RepositoryName};

pub(crate) use host::is_host;
pub use host::{RegistryAddress, Security, Transport};
use referrers::FallbackTag;

use crate::credentials::CredentialSource;
use client::Client;

/// A registry that speaks the OCI distribution specification.
#[derive(Debug)]
pub struct DistributionRegistry {
    client: Client,
    faults: Faults,
    /// Whether blobs go with `PATCH`, because the registry refused them with `PUT`.
    patches: AtomicBool,
    /// Whether the registry does not list referrers itself, because it said so.
    lists_nothing: AtomicBool,
    fallback: FallbackTag,
    /// Repositories in which blobs were seen by this process: where they can be mounted from.
    seen: Mutex<HashMap<Digest, String>>,
}

impl DistributionRegistry {
    /// The registry at `address`. `http` comes from [`shipline_http::client`].
    #[must_use]
    pub fn new(
        address: RegistryAddress,
        http: shipline_http::Client,
        credentials: Arc<dyn CredentialSource>,
        retries: RetryPolicy,
        faults: Faults,
    ) -> Self {
        Self {
            client: Client::new(http, address, credentials, retries),
            faults,
            patches: AtomicBool::new(false),
            lists_nothing: AtomicBool::new(false),
            fallback: FallbackTag::Allowed,
            seen: Mutex::default(),
        }
    }

    /// A registry in which no tag is ever set for referrers.
    pub(super) fn without_fallback_tag(mut self) -> Self {
        self.fallback = FallbackTag::Forbidden;
        self
    }

    /// What a reference names, for a task: it says what it waits for, and stops when it is told to.
    pub(crate) async fn resolve_for(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        task: &TaskContext,
    ) -> Result<Option<Descriptor>, BackendError> {
        let name = self.client.address.image_name(repository);
        let found = self.client.head_manifest(repository, reference, Some(task));
        push::cancelled(
            task,
            format!("read {}", manifests::named(&name, reference)),
            found,
        )
        .await
    }

    /// A manifest, for a task.
    pub(crate) async fn manifest_for(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        task: &TaskContext,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        let name = self.client.address.image_name(repository);
        let found = self.client.get_manifest(repository, reference, Some(task));
        push::cancelled(
            task,
            format!("read {}", manifests::named(&name, reference)),
            found,
        )
        .await
    }

    fn remember(&self, digest: &Digest, path: &str) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.clone(), path.to_owned());
    }

    /// Another repository of this registry that has the blob.
    fn elsewhere(&self, digest: &Digest, path: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).filter(|other| *other != path).cloned()
    }
}

#[async_trait]
impl Registry for DistributionRegistry {
    fn name(&self) -> String {
        match &self.client.address.prefix {
            Some(prefix) => format!("{}/{prefix}", self.client.address.host),
            None => self.client.address.host.clone(),
        }
    }

    fn image_name(&self, repository: &RepositoryName) -> Option<String> {
        Some(self.client.address.image_name(repository))
    }

    async fn preflight(&self, repositories: &[RepositoryName]) -> Result<(), BackendError> {
        let mut problems = Vec::new();
        for repository in repositories {
            if let Err(error) = self.probe_upload(repository).await {
                problems.push(error);
            }
        }
        all_of(problems)
    }

    async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError> {
        push::cancelled(
            task,
            format!("push {digest} to {repository}"),
            self.push(repository, digest, store, task),
        )
        .await
    }

    async fn attach(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError> {
        push::cancelled(
            task,
            format!("attach documents to {repository}@{subject}"),
            self.attach_all(repository, subject, artifacts, store, task),
        )
        .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError> {
        self.list_referrers(repository, subject).await
    }

    async fn expiring(&self, _repository: &RepositoryName) -> Result<Vec<Expiring>, BackendError> {
        // The specification knows no such rules.
        Ok(Vec::new())
    }

    async fn tag(
        &self,
        requests: &[TagRequest],
        task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError> {
        self.set_tags(requests, task).await
    }

    async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, BackendError> {
        self.client.head_manifest(repository, reference, None).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        self.client.get_manifest(repository, reference, None).await
    }

    async fn details(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ImageDetails>, BackendError> {
        let manifest = self
            .client
            .get_manifest(repository, reference, None)
            .await?;
        Ok(manifest.map(|(descriptor, _)| ImageDetails {
            descriptor,
            pullable: Ok(()),
            pushed_at: None,
            tags: match reference {
                Reference::Tag(tag) => vec![tag.clone()],
                Reference::Digest(_) => Vec::new(),
            },
        }))
    }

    async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, BackendError> {
        self.client.list_tags(repository).await
    }
}

/// All problems as one error: the first one's class, everybody's text and hints.
pub(crate) fn all_of(mut problems: Vec<BackendError>) -> Result<(), BackendError> {
    match problems.len() {
        0 => Ok(()),
        1 => problems.pop().map_or(Ok(()), Err),
        count => {
            let class = problems
                .iter()
                .map(|problem| problem.class)
                .find(|class| *class != ErrorClass::Retryable)
                .unwrap_or(ErrorClass::Retryable);
            let mut all = BackendError::new(class, format!("use {count} repositories"));
            let mut lines = Vec::new();
            for problem in problems {
                lines.push(chain(&problem));
                for hint in problem.hints {
                    if !all.hints.contains(&hint) {
                        all.hints.push(hint);
                    }
                }
            }
            Err(all.because(lines.join("\n")))
        }
    }
}
