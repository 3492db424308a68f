//! Which base images a build stands on: what is locked, what the engine has, or what the registry says, found before the build
//! and written into the Dockerfile that the engine gets, so that what is recorded is what was built on.

use std::collections::{BTreeMap, BTreeSet};

use bollard::Docker;
use bollard::errors::Error;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;

use crate::build::dockerfile::{Dockerfile, DockerfileError, Globals, images};
use crate::build::{BaseChoice, BaseImages, bases};

/// The base images of one build.
#[derive(Debug, Default)]
pub(super) struct Bases {
    /// As the Dockerfile names them; the digest where it is known.
    images: Vec<(String, Option<Digest>)>,
    /// The Dockerfile to send; the one on the disk where absent.
    rewritten: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Bases {
    /// Decides for each image that the Dockerfile names. What a lock pins is taken and nothing else. Otherwise an image that the
    /// engine has is taken as it is there (as `docker build` does), and one that it would have to pull is resolved by the
    /// registry; where that fails, the engine may still know better.
    pub(super) async fn choose(
        docker: &Docker,
        images: Option<&dyn BaseImages>,
        request: &BuildRequest,
        task: &TaskContext,
    ) -> Result<Self, BackendError> {
        let text = crate::build::recipe::read_text(request)?;
        let locked = images.is_some_and(|images| images.choice(task) == BaseChoice::Locked);
        let target = request.target.as_deref();
        let references =
            match crate::build::base_references(&text, target, &request.args, &request.platform) {
                Ok(references) => references,
                Err(error) if locked => {
                    return Err(crate::build::recipe::wrong(request, error));
                }
                Err(error) => {
                    // The engine's own language may know more than ours.
                    task.note(format!("the base images are not recorded: {error}"))
                        .await;
                    return Ok(Self::default());
                }
            };
        let mut found = Vec::new();
        let mut names = BTreeMap::new();
        let elsewhere: BTreeSet<String> =
            crate::build::platforms(&text, target, &request.args, &request.platform)
                .unwrap_or_default()
                .into_iter()
                .map(|(image, _)| image)
                .collect();
        for (reference, _) in references {
            let there = if locked {
                None
            } else {
                in_engine(docker, &reference).await?
            };
            let digest = match (there, images) {
                (Some(Known { digest }), _) => digest,
                (None, None) => written(&reference),
                // For which platform it is wanted, the engine knows.
                (None, Some(_)) if !locked && elsewhere.contains(&reference) => written(&reference),
                (None, Some(images)) => {
                    match images.look_up(&reference, &request.platform, task).await {
                        Ok((name, digest)) => {
                            task.note(format!("{reference} is {digest}")).await;
                            names.insert(reference.clone(), name);
                            Some(digest)
                        }
                        Err(error) if locked || error.class == ErrorClass::Cancelled => {
                            return Err(error);
                        }
                        Err(error) => {
                            task.note(format!("{reference} is left to the engine: {error}"))
                                .await;
                            written(&reference)
                        }
                    }
                }
            };
            found.push((reference, digest));
        }
        let (rewritten, labels) = rewrite(&text, request, &names, &found)
            .map_err(|error| crate::build::recipe::wrong(request, error))?;
        Ok(Self {
            images: found,
            rewritten,
            labels,
        })
    }

    /// The Dockerfile to send in the place of the one on the disk.
    pub(super) fn dockerfile(&self) -> Option<String> {
        self.rewritten.clone()
    }

    /// The labels by which the image names the one that it is based on.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.labels.clone()
    }

    /// The images with their digests, once the engine has built: it may know by now what was left to it. Those whose digest
    /// nobody knows are left out: images that were never in a registry have none.
    pub(super) async fn known(
        self,
        docker: &Docker,
    ) -> Result<Vec<(String, Digest)>, BackendError> {
        let mut known = Vec::new();
        for (reference, digest) in self.images {
            let digest = match digest {
                Some(digest) => Some(digest),
                None => in_engine(docker, &reference)
                    .await?
                    .and_then(|known| known.digest),
            };
            known.extend(digest.map(|digest| (reference, digest)));
        }
        Ok(known)
    }
}

/// The Dockerfile with the names that the engine is to use, and the labels.
fn rewrite(
    text: &str,
    request: &BuildRequest,
    names: &BTreeMap<String, String>,
    found: &[(String, Option<Digest>)],
) -> Result<(Option<String>, BTreeMap<String, String>), DockerfileError> {
    let dockerfile = Dockerfile::parse(text)?;
    let args = crate::build::exposed(&request.args);
    let globals = Globals::new(&dockerfile, &args, &request.platform)?;
    let target = dockerfile.target(request.target.as_deref())?;
    let known: Vec<(String, Digest)> = found
        .iter()
        .filter_map(|(reference, digest)| Some((reference.clone(), digest.clone()?)))
        .collect();
    let labels = bases::labels(&dockerfile, target, &globals, &known)?;
    let rewritten = if names.is_empty() {
        None
    } else {
        Some(images::renamed(text, &dockerfile, &globals, names)?)
    };
    Ok((rewritten, labels))
}

/// The digest that a reference itself names.
fn written(reference: &str) -> Option<Digest> {
    let (_, digest) = reference.split_once('@')?;
    Digest::new(digest).ok()
}

/// An image that the engine has.
struct Known {
    /// Its digest in a registry; absent where it was never in one.
    digest: Option<Digest>,
}

async fn in_engine(docker: &Docker, reference: &str) -> Result<Option<Known>, BackendError> {
    let name = reference.split('@').next().unwrap_or(reference);
    match docker.inspect_image(reference).await {
        Ok(image) => Ok(Some(Known {
            digest: written(reference)
                .or_else(|| digest_in(name, &image.repo_digests.unwrap_or_default())),
        })),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(None),
        Err(error) => Err(BackendError::new(
            ErrorClass::Retryable,
            format!("ask the engine about `{reference}`"),
        )
        .because(error)),
    }
}

/// The digest under which the engine knows image `name`, from `repository@digest` entries of several repositories.
fn digest_in(name: &str, entries: &[String]) -> Option<Digest> {
    let wanted = repository(name);
    entries
        .iter()
        .filter_map(|entry| entry.split_once('@'))
        .find(|(entry, _)| repository(entry) == wanted)
        .and_then(|(_, digest)| Digest::new(digest).ok())
}

/// A reference's repository without tag, in the short form that engines use for Docker Hub.
fn repository(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_repository() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entries = [
            format!("localhost:5000/node@{}", digest("1")),
            format!("node@{}", digest("2")),
            format!("example.com/a/node@{}", digest("3")),
        ];
        for (name, expected) in [
            ("node:22", Some("2")),
            ("docker.io/library/node", Some("2")),
            ("localhost:5000/node:22", Some("1")),
            ("example.com/a/node", Some("3")),
            ("other", None),
        ] {
            let found = digest_in(name, &entries).map(|digest| digest.to_string());
            assert_eq!(found, expected.map(digest), "{name}");
        }
    }
}
