//! Manifests and tags of a registry: read and verified, written with their exact bytes.

use std::collections::HashSet;

use serde::Deserialize;
use shipline_engine::backend::{Descriptor, Reference};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK};
use shipline_http::{Answer, Failed, Method, StatusCode};
use shipline_model::name::{Digest, RepositoryName};

use super::client::{Call, Client, Payload, header, no_registry};
use super::failure::{is_about_the_method, is_about_the_page};
use super::referrers::is_fallback_tag;
use crate::image::{self, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::registry::tags::is_tag;

/// Longest manifest that is read; registries take 4 MiB.
const MANIFEST_BYTES: usize = 8 << 20;
/// Longest page of a list of tags.
const PAGE_BYTES: usize = 8 << 20;
/// Pages of a list of tags, against registries that go round in circles.
const PAGES: usize = 10_000;
/// Longest list of tags in all.
const LIST_BYTES: usize = 64 << 20;
/// Docker's first kind of manifest: it is no content that a digest addresses.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
pub(super) const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

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
    fn new(
        client: &Client,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Result<Self, BackendError> {
        let path = client.address.path(repository);
        let name = named(&client.address.image_name(repository), reference);
        let attempted = format!("read {name}");
        checked(reference, &attempted)?;
        Ok(Self {
            repository,
            reference,
            scope: pull_scope(&path),
            attempted,
        })
    }
}

/// A tag becomes a part of an address, where anything else could lead to another place.
fn checked(reference: &Reference, attempted: &str) -> Result<(), BackendError> {
    match reference {
        Reference::Tag(tag) if !is_tag(tag) => {
            Err(BackendError::new(ErrorClass::Invalid, attempted)
                .because("a tag has letters, digits, `.`, `_` and `-`, at most 128"))
        }
        Reference::Tag(_) | Reference::Digest(_) => Ok(()),
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
        let asked = Asked::new(self, repository, reference)?;
        let mut tries = self.tries(task);
        let response = loop {
            match self.ask(Method::HEAD, &asked).await {
                Ok(Some(response)) => break response,
                Ok(None) => return Ok(None),
                Err(failed) if is_about_the_method(&failed.error) => {
                    let manifest = self.get_manifest(repository, reference, task).await?;
                    return Ok(manifest.map(|(descriptor, _)| descriptor));
                }
                Err(failed) => tries.after(failed).await?,
            }
        };
        let headers = response.headers();
        let digest = header(headers, DOCKER_CONTENT_DIGEST).map(Digest::new);
        // No manifest is empty: who says so leaves its length out.
        let size = header(headers, CONTENT_LENGTH.as_str())
            .and_then(|text| text.parse().ok())
            .filter(|size| *size > 0);
        let media_type =
            header(headers, CONTENT_TYPE.as_str()).filter(|media_type| known(bare(media_type)));
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
        let asked = Asked::new(self, repository, reference)?;
        let mut tries = self.tries(task);
        loop {
            let got = async {
                let Some(response) = self.ask(Method::GET, &asked).await? else {
                    return Ok(None);
                };
                let headers = response.headers();
                let media_type = header(headers, CONTENT_TYPE.as_str()).map(|t| bare(t).to_owned());
                let said = header(headers, DOCKER_CONTENT_DIGEST).map(str::to_owned);
                let bytes = response.read(MANIFEST_BYTES, &asked.attempted).await?;
                Ok(Some((media_type, said, bytes)))
            };
            let (media_type, said, bytes) = match got.await {
                Ok(Some(got)) => got,
                Ok(None) => return Ok(None),
                Err(failed) => {
                    tries.after(failed).await?;
                    continue;
                }
            };
            return self.verified(&asked, media_type, said, bytes).map(Some);
        }
    }

    fn verified(
        &self,
        asked: &Asked<'_>,
        media_type: Option<String>,
        said: Option<String>,
        bytes: Bytes,
    ) -> Result<(Descriptor, Bytes), BackendError> {
        let invalid = || BackendError::new(ErrorClass::Invalid, asked.attempted.as_str());
        let schema_1 = media_type
            .as_deref()
            .is_some_and(|media_type| media_type.starts_with(SCHEMA_1));
        if schema_1 {
            return Err(invalid()
                .because("the registry has it only in Docker's first format (schema 1)")
                .hint("pull and push it once with a newer client: that writes it anew"));
        }
        let Some(own) = own_media_type(&bytes) else {
            return Err(invalid()
                .because("the registry's answer is not a manifest")
                .hint(no_registry(&self.address.host)));
        };
        let digest = image::digest_of(&bytes);
        if let Some(said) = said
            && is_other(&said, &digest)
        {
            return Err(other_digest(&asked.attempted, &said, &digest));
        }
        agree(asked, &digest)?;
        // The digest holds the document's own word; some registries and proxies put something else on it.
        let media_type = own
            .filter(|own| known(own))
            .or(media_type.filter(|media_type| known(media_type)))
            .unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let descriptor = Descriptor {
            media_type,
            digest,
            size: bytes.len() as u64,
        };
        Ok((descriptor, bytes))
    }

    async fn ask(&self, method: Method, asked: &Asked<'_>) -> Result<Option<Answer>, Failed> {
        let path = self.address.path(asked.repository);
        let to = format!("/v2/{path}/manifests/{}", text(asked.reference));
        let accept = accept();
        let headers: [(HeaderName, &str); 1] = [(ACCEPT, &accept)];
        let mut call = Call::new(method, &to, &asked.scope, &asked.attempted);
        call.headers = &headers;
        let response = self
            .call(&call, &[StatusCode::OK, StatusCode::NOT_FOUND])
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
        checked(reference, &attempted)?;
        let (scope, to) = (
            push_scope(&path),
            format!("/v2/{path}/manifests/{}", text(reference)),
        );
        let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, &descriptor.media_type)];
        let mut call = Call::new(Method::PUT, &to, &scope, &attempted);
        call.headers = &headers;
        call.payload = Payload::Bytes(bytes::Bytes::copy_from_slice(bytes));
        let expected = [
            StatusCode::CREATED,
            StatusCode::OK,
            StatusCode::ACCEPTED,
            StatusCode::NO_CONTENT,
        ];
        let response = self.insist(&call, &expected, Some(task)).await?;
        match header(response.headers(), DOCKER_CONTENT_DIGEST) {
            Some(said) if is_other(said, &descriptor.digest) => {
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
        let own_pages = format!("/v2/{path}/tags/list");
        let mut to = format!("{own_pages}?n=1000");
        let mut tags = Vec::new();
        let mut seen = HashSet::new();
        let mut length = 0;
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
                        response
                            .read(PAGE_BYTES, &attempted)
                            .await
                            .map(|page| (next, page))
                            .map_err(Into::into)
                    }
                    Err(failed) => Err(failed),
                };
                match answer {
                    Ok(answer) => break answer,
                    // Some have a limit of their own for what a page may hold.
                    Err(failed)
                        if tags.is_empty()
                            && is_about_the_page(&failed.error)
                            && to != own_pages =>
                    {
                        break (Some(own_pages.clone()), b"{}".to_vec());
                    }
                    Err(failed) => tries.after(failed).await?,
                }
            };
            length += page.len();
            if length > LIST_BYTES {
                break;
            }
            let page: Page = serde_json::from_slice(&page).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, attempted.clone())
                    .because(error)
                    .hint(no_registry(&self.address.host))
            })?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if seen.insert(next.clone()) => to = next,
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

/// The address behind `Link: <…>; rel="next"`, absolute. It is a page of the same list: where a registry does not know by which
/// address it is reached, its path is right all the same.
pub(super) fn next_page(response: &Answer) -> Option<String> {
    let links = response.headers().get_all(LINK).iter();
    let address = links
        .filter_map(|link| link.to_str().ok())
        .find_map(next_link)?;
    let next = response.url().join(address).ok()?;
    let mut own = response.url().clone();
    own.set_path(next.path());
    own.set_query(next.query());
    Some(own.to_string())
}

/// The target of the first link of a header that leads on.
pub(super) fn next_link(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (_, begin) = rest.split_once('<')?;
        let (address, after) = begin.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let leads_on = after[..end].split([';', ',']).any(|parameter| {
            let parameter = parameter.split_once('=');
            parameter.is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if leads_on {
            return Some(address);
        }
        rest = &after[end..];
    }
}

fn agree(asked: &Asked<'_>, digest: &Digest) -> Result<(), BackendError> {
    match asked.reference {
        Reference::Digest(wanted) if wanted != digest => {
            Err(other_digest(&asked.attempted, digest.as_str(), wanted))
        }
        Reference::Digest(_) | Reference::Tag(_) => Ok(()),
    }
}

/// Whether a registry names another digest; one of another kind cannot be compared.
pub(super) fn is_other(said: &str, right: &Digest) -> bool {
    said.starts_with("sha256:") && said != right.as_str()
}

pub(super) fn other_digest(attempted: &str, said: &str, right: &Digest) -> BackendError {
    BackendError::new(ErrorClass::Conflict, attempted)
        .because(format!("the registry answered {said} and not {right}"))
        .hint("the registry, or something between it and here, changes what goes through it")
}

/// A media type without its parameters.
fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or(media_type).trim()
}

fn known(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&media_type)
}

/// What a manifest says that it is, `Some(None)` where it says nothing; `None` where it is no manifest.
fn own_media_type(bytes: &[u8]) -> Option<Option<String>> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let document = document.as_object()?;
    let own = document.get("mediaType").and_then(|own| own.as_str());
    let index = document
        .get("manifests")
        .is_some_and(serde_json::Value::is_array);
    Some(
        own.map(str::to_owned)
            .or(index.then(|| OCI_INDEX.to_owned())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let check = |link: &str, expected: Option<&str>| {
            assert_eq!(next_link(link), expected, "{link}");
        };
        check(
            r#"</v2/a/tags/list?n=1&last=b>; rel="next""#,
            Some("/v2/a/tags/list?n=1&last=b"),
        );
        check("</x>; rel=next", Some("/x"));
        check(r#"</x>;Rel="Next""#, Some("/x"));
        check(
            r#"</first>; rel="first", </x>; title="a"; rel="next""#,
            Some("/x"),
        );
        check(r#"</x>; rel="prev""#, None);
        check(r#"</next>; rel="prev"; title="next""#, None);
        check("", None);
        check("<", None);
    }

    #[test]
    fn a_document_says_what_it_is() {
        let check = |text: &str, expected: Option<Option<&str>>| {
            let found = own_media_type(text.as_bytes());
            assert_eq!(found.as_ref().map(Option::as_deref), expected, "{text}");
        };
        check(r#"{"mediaType":"m"}"#, Some(Some("m")));
        check(r#"{"manifests":[]}"#, Some(Some(OCI_INDEX)));
        check(r#"{"layers":[]}"#, Some(None));
        check("<html>", None);
        check("[]", None);
    }
}
