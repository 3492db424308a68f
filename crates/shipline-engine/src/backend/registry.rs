//! Where images are published.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use shipline_model::name::{Digest, RepositoryName};

use crate::backend::{Descriptor, ImageStore};
use crate::error::BackendError;
use crate::task::TaskContext;

/// A tag to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRequest {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag.
    pub tag: String,
    /// What it must name: a manifest that is in the repository already.
    pub digest: Digest,
}

/// What setting a tag did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOutcome {
    /// It names the digest since now.
    Set,
    /// It named the digest already.
    AlreadyThere,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes that had to be sent; what was there already is not counted.
    pub sent: u64,
}

/// What letting documents refer to an image did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachOutcome {
    /// The registry lists them since now, all or some of them.
    Attached,
    /// It listed all of them already.
    AlreadyThere,
}

/// A document that refers to an image (OCI distribution specification, "listing referrers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// What it is, where that is told.
    pub artifact_type: Option<String>,
}

/// An image that the registry's own rules are about to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// A tag of it.
    pub tag: String,
    /// Which rule, for people.
    pub rule: String,
}

/// A reference into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By tag.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// An image as its registry describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// The manifest.
    pub descriptor: Descriptor,
    /// Whether it can be pulled; else why not (archived, being restored).
    pub pullable: Result<(), String>,
    /// When it was pushed, in seconds since 1970 UTC, where the registry tells.
    pub pushed_at: Option<i64>,
    /// Its tags, where the registry tells.
    pub tags: Vec<String>,
}

/// Where images are published. All operations are idempotent by digest. Implementations try again by themselves what may go
/// through then, and say so to the task: nobody above them does.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The registry, for people: a host, a directory.
    fn name(&self) -> String;

    /// What a manifest calls the repository (`host/path/frontend`); `None` where the registry has no host of its own and
    /// deployments keep the name that they have.
    fn image_name(&self, repository: &RepositoryName) -> Option<String>;

    /// Checks, before anything is built, that these repositories can be written.
    ///
    /// # Errors
    /// All problems of all repositories, in one.
    async fn preflight(&self, repositories: &[RepositoryName]) -> Result<(), BackendError>;

    /// Uploads an image's blobs and manifest by digest and reads them back. No tag moves.
    ///
    /// # Errors
    /// `Conflict` where the registry answers another digest.
    async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError>;

    /// Uploads documents whose manifests name the image as their `subject`, and sees to it that the registry lists them as its
    /// referrers: by the referrers API or, where the registry has none, under the specification's fallback tag. What is listed
    /// already costs one look.
    ///
    /// # Errors
    /// `Unavailable` where the registry can list them in neither way.
    async fn attach(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError>;

    /// The documents that refer to an image, by digest; none where the image or the repository is not there.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError>;

    /// The tags of images that the registry's own rules (a lifecycle policy) will delete or archive when they are next
    /// evaluated. None where it has no such rules.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    async fn expiring(&self, repository: &RepositoryName) -> Result<Vec<Expiring>, BackendError>;

    /// Sets tags, all of them or, where the registry cannot do that, one after the other; each is read back. First all are
    /// checked: a tag that names another digest stops the whole request before any is set.
    ///
    /// # Errors
    /// `Conflict` with both digests where a tag names another image; `NotFound` where a manifest is not there.
    async fn tag(
        &self,
        requests: &[TagRequest],
        task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError>;

    /// What a reference names, `None` where it names nothing.
    ///
    /// # Errors
    /// Where the registry cannot tell: "not allowed" and "not reached" are never "not there".
    async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, BackendError>;

    /// A manifest's exact bytes and media type, verified against its digest; `None` where it is not there.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError>;

    /// What the registry knows of an image, `None` where it is not there.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    async fn details(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ImageDetails>, BackendError>;

    /// All tags of a repository, sorted, without those under which the specification lists referrers; empty where the repository is not there.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, BackendError>;
}
