//! The images that a build stands on: where they come from, and what an image says of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use shipline_engine::backend::ImageStore;
use shipline_engine::error::BackendError;
use shipline_engine::task::TaskContext;
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::dockerfile::{Base, Dockerfile, DockerfileError, Globals};
use crate::pull::ImageReference;

/// OCI's key for the reference of the image that an image is based on.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// OCI's key for its digest.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What decides about a component's base images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseChoice {
    /// `pipeline.lock`.
    Locked,
    /// What their names stand for now.
    Floating,
}

/// Where the images come from that a Dockerfile names in FROM and in `COPY --from`.
#[async_trait]
pub trait BaseImages: Send + Sync {
    /// Resolves a reference as it is written, and sees to it that the image for `platform` is whole in `store`. Gives the
    /// digest of its manifest (not of an index).
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Retryable` as the registry answers; `Invalid` where there is none for the platform.
    async fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError>;

    /// What decides about the base images of the component that `task` works for.
    fn choice(&self, task: &TaskContext) -> BaseChoice;

    /// Resolves a reference without pulling, for builders whose engine pulls by itself: the reference to give to the engine,
    /// which names the digest and nothing else, and the digest.
    ///
    /// # Errors
    /// As [`BaseImages::resolve`].
    async fn look_up(
        &self,
        reference: &str,
        platform: &Platform,
        task: &TaskContext,
    ) -> Result<(String, Digest), BackendError>;
}

/// The labels by which an image names the one that its stage `target` is based on, through the stages between; none where that
/// is `scratch` or not known.
///
/// # Errors
/// Where a base does not expand.
pub(super) fn labels(
    dockerfile: &Dockerfile,
    target: usize,
    globals: &Globals,
    bases: &[(String, Digest)],
) -> Result<BTreeMap<String, String>, DockerfileError> {
    let mut stage = target;
    let base = loop {
        match dockerfile.base(stage, globals)? {
            Base::Scratch => return Ok(BTreeMap::new()),
            Base::Stage(earlier) => stage = earlier,
            Base::Image(reference) => break reference,
        }
    };
    let digest = bases.iter().find(|(reference, _)| *reference == base);
    Ok(match digest {
        Some((_, digest)) => {
            let name = base
                .parse::<ImageReference>()
                .map_or(base, |reference| reference.name());
            BTreeMap::from([
                (BASE_NAME.to_owned(), name),
                (BASE_DIGEST.to_owned(), digest.to_string()),
            ])
        }
        None => BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_found_through_the_stages() {
        let digest = crate::image::digest_of(b"base");
        let bases = [("nginx:1".to_owned(), digest.clone())];
        let platform = crate::build::any_platform();
        let check = |text: &str, expected: Option<&str>| {
            let dockerfile = Dockerfile::parse(text).unwrap();
            let target = dockerfile.target(None).unwrap();
            let globals = Globals::new(&dockerfile, &BTreeMap::new(), &platform).unwrap();
            let labels = labels(&dockerfile, target, &globals, &bases).unwrap();
            assert_eq!(
                labels.get(BASE_NAME).map(String::as_str),
                expected,
                "{text}"
            );
            assert_eq!(
                labels.get(BASE_DIGEST).map(String::as_str),
                expected.map(|_| digest.as_str()),
                "{text}"
            );
        };
        check("FROM scratch", None);
        check("FROM other", None);
        check("FROM nginx:1", Some("docker.io/library/nginx:1"));
        check(
            "ARG V=1\nFROM nginx:$V AS a\nFROM a AS b\nFROM b",
            Some("docker.io/library/nginx:1"),
        );
        check("FROM nginx:1 AS a\nFROM scratch\nCOPY --from=a /x /", None);
    }
}
