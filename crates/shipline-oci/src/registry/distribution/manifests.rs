//! Manifests and tags of a registry: read and verified, written with their exact bytes.

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use shipline_engine::backend::{Descriptor, Reference};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::name::{Digest, RepositoryName};

use super::client::{Call, Client, Payload, header};
use super::referrers::is_fallback_tag;
use crate::image::{self, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// Longest manifest that is read; registries take 4 MiB.
const MANIFEST_BYTES: usize = 8 << 20;
/// Longest page of a list of tags.
const PAGE_BYTES: usize = 8 << 20;
/// Pages of a list of tags, against registries that go round in circles.
const PAGES: usize = 10_000;
const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest's bytes, verified.
pub(super) type Bytes = Vec<u8>;

pub(super) fn text(reference: &Reference) -> &str {
    match reference {
        Reference::Tag(tag) => tag,
        Reference::Digest(digest) => digest.as_str(),
    }
}

pub(super) fn pull_scope(path: &str) -> String {
    format!("repository:{path}:pull")
}

pub(super) fn push_scope(path: &str) -> String {
    format!("repository:{path}:pull,push")
}

fn accept() -> String {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ")
}

/// What is asked of a manifest.
struct Asked<'a> {
    repository: &'a RepositoryName,
    reference: &'a Reference,
    scope: String,
    attempted: String,
}

impl<'a> Asked<'a> {
    fn new(client: &Client, repository: &'a RepositoryName, reference: &'a Reference) -> Self {
        let path = client.address.path(repository);
        Self {
            repository,
            reference,
            scope: pull_scope(&path),
            attempted: format!(
                "read {}",
                named(&client.address.image_name(repository), reference)
            ),
        }
    }
}

/// `name:tag` or `name@digest`.
pub(super) fn named(name: &str, reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => format!("{name}:{tag}"),
        Reference::Digest(digest) => format!("{name}@{digest}"),
    }
}

impl Client {
    /// What a reference names; `None` where it names nothing.
    pub(super) async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        task: Option<&TaskContext>,
    ) -> Result<Option<Descriptor>, BackendError> {
        let asked = Asked::new(self, repository, reference);
        let Some(response) = self.ask(Method::HEAD, &asked, task).await? else {
            return Ok(None);
        };
        let headers = response.headers();
        let digest = header(headers, DOCKER_CONTENT_DIGEST).map(Digest::new);
        let size = header(headers, CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let media_type = header(headers, CONTENT_TYPE.as_str());
        if let (Some(Ok(digest)), Some(size), Some(media_type)) = (digest, size, media_type) {
            agree(&asked, &digest)?;
            return Ok(Some(Descriptor {
                media_type: bare(media_type).to_owned(),
                digest,
                size,
            }));
        }
        // A registry that leaves something out of HEAD says it with the manifest itself.
        let manifest = self.get_manifest(repository, reference, task).await?;
        Ok(manifest.map(|(descriptor, _)| descriptor))
    }

    /// A manifest, verified; `None` where the reference names nothing.
    pub(super) async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        task: Option<&TaskContext>,
    ) -> Result<Option<(Descriptor, Bytes)>, BackendError> {
        let asked = Asked::new(self, repository, reference);
        let mut tries = self.tries(task);
        loop {
            let Some(response) = self.ask(Method::GET, &asked, task).await? else {
                return Ok(None);
            };
            let headers = response.headers();
            let media_type = header(headers, CONTENT_TYPE.as_str()).map(|t| bare(t).to_owned());
            let said = header(headers, DOCKER_CONTENT_DIGEST).map(str::to_owned);
            let bytes = match self.read(response, MANIFEST_BYTES, &asked.attempted).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tries.after(error.into()).await?;
                    continue;
                }
            };
            let digest = image::digest_of(&bytes);
            if let Some(said) = said
                && said != digest.as_str()
            {
                return Err(other_digest(&asked.attempted, &said, &digest));
            }
            agree(&asked, &digest)?;
            let media_type = match media_type {
                Some(media_type) if known(&media_type) => media_type,
                _ => own_media_type(&bytes).unwrap_or_else(|| OCI_MANIFEST.to_owned()),
            };
            let descriptor = Descriptor {
                media_type,
                digest,
                size: bytes.len() as u64,
            };
            return Ok(Some((descriptor, bytes)));
        }
    }

    async fn ask(
        &self,
        method: Method,
        asked: &Asked<'_>,
        task: Option<&TaskContext>,
    ) -> Result<Option<Response>, BackendError> {
        let path = self.address.path(asked.repository);
        let to = format!("/v2/{path}/manifests/{}", text(asked.reference));
        let accept = accept();
        let headers: [(HeaderName, &str); 1] = [(ACCEPT, &accept)];
        let mut call = Call::new(method, &to, &asked.scope, &asked.attempted);
        call.headers = &headers;
        let response = self
            .insist(&call, &[StatusCode::OK, StatusCode::NOT_FOUND], task)
            .await?;
        Ok((response.status() != StatusCode::NOT_FOUND).then_some(response))
    }

    /// Writes a manifest under a tag or its digest.
    pub(super) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        descriptor: &Descriptor,
        bytes: &[u8],
        task: &TaskContext,
    ) -> Result<(), BackendError> {
        let path = self.address.path(repository);
        let attempted = format!(
            "write {}",
            named(&self.address.image_name(repository), reference)
        );
        let (scope, to) = (
            push_scope(&path),
            format!("/v2/{path}/manifests/{}", text(reference)),
        );
        let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, &descriptor.media_type)];
        let mut call = Call::new(Method::PUT, &to, &scope, &attempted);
        call.headers = &headers;
        call.payload = Payload::Bytes(bytes::Bytes::copy_from_slice(bytes));
        let expected = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.insist(&call, &expected, Some(task)).await?;
        match header(response.headers(), DOCKER_CONTENT_DIGEST) {
            Some(said) if said != descriptor.digest.as_str() => {
                Err(other_digest(&attempted, said, &descriptor.digest))
            }
            _ => Ok(()),
        }
    }

    /// All tags, sorted; none where the repository is not there.
    pub(super) async fn list_tags(
        &self,
        repository: &RepositoryName,
    ) -> Result<Vec<String>, BackendError> {
        #[derive(Deserialize)]
        struct Page {
            // Go writes an empty list as `null`.
            tags: Option<Vec<String>>,
        }
        let path = self.address.path(repository);
        let attempted = format!("list the tags of {}", self.address.image_name(repository));
        let scope = pull_scope(&path);
        let mut to = format!("/v2/{path}/tags/list?n=1000");
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let call = Call::new(Method::GET, &to, &scope, &attempted);
            let mut tries = self.tries(None);
            let (next, page) = loop {
                let answer = match self
                    .call(&call, &[StatusCode::OK, StatusCode::NOT_FOUND])
                    .await
                {
                    Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                        return Ok(Vec::new());
                    }
                    Ok(response) => {
                        let next = next_page(&response);
                        self.read(response, PAGE_BYTES, &attempted)
                            .await
                            .map(|page| (next, page))
                            .map_err(Into::into)
                    }
                    Err(failed) => Err(failed),
                };
                match answer {
                    Ok(answer) => break answer,
                    Err(failed) => tries.after(failed).await?,
                }
            };
            let page: Page = serde_json::from_slice(&page).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, attempted.clone()).because(error)
            })?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if next != to => to = next,
                Some(_) | None => {
                    tags.retain(|tag| !is_fallback_tag(tag));
                    tags.sort_unstable();
                    tags.dedup();
                    return Ok(tags);
                }
            }
        }
        Err(BackendError::new(ErrorClass::Invalid, attempted)
            .because("the registry's list of tags does not end"))
    }
}

/// The address behind `Link: <…>; rel="next"`, absolute.
pub(super) fn next_page(response: &Response) -> Option<String> {
    let link = header(response.headers(), LINK.as_str())?;
    let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("next") {
        return None;
    }
    let next = response.url().join(address).ok()?;
    (next.origin() == response.url().origin()).then(|| next.to_string())
}

fn agree(asked: &Asked<'_>, digest: &Digest) -> Result<(), BackendError> {
    match asked.reference {
        Reference::Digest(wanted) if wanted != digest => {
            Err(other_digest(&asked.attempted, digest.as_str(), wanted))
        }
        Reference::Digest(_) | Reference::Tag(_) => Ok(()),
    }
}

pub(super) fn other_digest(attempted: &str, said: &str, right: &Digest) -> BackendError {
    BackendError::new(ErrorClass::Conflict, attempted)
        .because(format!("the registry answered {said} and not {right}"))
        .hint("The registry, or something between it and here, changes what goes through it.")
}

/// A media type without its parameters.
fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or(media_type).trim()
}

fn known(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&media_type)
}

fn own_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde_json::Value>,
    }
    let typed: Typed = serde_json::from_slice(bytes).ok()?;
    typed
        .media_type
        .or(typed.manifests.map(|_| OCI_INDEX.to_owned()))
}
