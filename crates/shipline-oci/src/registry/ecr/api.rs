//! The ECR API's calls that Shipline makes, with their real semantics.

use std::collections::BTreeMap;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{
    AuthorizationData, DescribeImagesFilter, ImageDetail, ImageFailureCode, ImageIdentifier,
    ImageScanningConfiguration, ImageStatus, ImageTagMutability, Repository, TagStatus,
};
use shipline_engine::backend::{Descriptor, Reference};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::{Digest, RepositoryName};

use super::failure::{Refused, code, failed};
use crate::image::{self, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// Images that one request may name.
const MOST_IDS: usize = 100;

/// The API for one account's registry.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) account: String,
}

/// A manifest as the API gave it, verified.
pub(super) type Found = (Descriptor, Vec<u8>);

/// What the API knows of an image.
pub(super) struct Described {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// Why it cannot be pulled, if so.
    pub(super) withheld: Option<String>,
    pub(super) pushed_at: Option<i64>,
    pub(super) tags: Vec<String>,
}

impl Api {
    pub(super) fn new(client: Client, account: String) -> Self {
        Self { client, account }
    }

    pub(super) async fn authorization(&self) -> Result<AuthorizationData, BackendError> {
        let attempted = "log in to ECR";
        let answer = self
            .client
            .get_authorization_token()
            .send()
            .await
            .map_err(|error| failed(attempted, error))?;
        answer
            .authorization_data
            .and_then(|data| data.into_iter().next())
            .ok_or_else(|| {
                BackendError::new(ErrorClass::Invalid, attempted).because("the API gave no token")
            })
    }

    /// A repository, `None` where it is not there.
    pub(super) async fn repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, BackendError> {
        let attempted = format!("look for repository {name} in ECR");
        let answer = self
            .client
            .describe_repositories()
            .registry_id(&self.account)
            .repository_names(name.as_str())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer
                .repositories
                .and_then(|found| found.into_iter().next())),
            Err(error) if code(&error) == Some(NO_REPOSITORY) => Ok(None),
            Err(error) => Err(failed(&attempted, error)),
        }
    }

    /// Creates a repository with immutable tags that scans what is pushed. One that is there already is fine.
    pub(super) async fn create(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, BackendError> {
        let attempted = format!("create repository {name} in ECR");
        let answer = self
            .client
            .create_repository()
            .registry_id(&self.account)
            .repository_name(name.as_str())
            .image_tag_mutability(ImageTagMutability::Immutable)
            .image_scanning_configuration(
                ImageScanningConfiguration::builder()
                    .scan_on_push(true)
                    .build(),
            )
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.repository),
            Err(error) if code(&error) == Some("RepositoryAlreadyExistsException") => {
                self.repository(name).await
            }
            Err(error) => Err(failed(&attempted, error)),
        }
    }

    /// The manifests that references name, by reference text; those that name nothing are left out.
    pub(super) async fn images(
        &self,
        repository: &RepositoryName,
        references: &[Reference],
    ) -> Result<BTreeMap<String, Found>, BackendError> {
        let mut found = BTreeMap::new();
        for references in references.chunks(MOST_IDS) {
            self.images_of_page(repository, references, &mut found)
                .await?;
        }
        Ok(found)
    }

    async fn images_of_page(
        &self,
        repository: &RepositoryName,
        references: &[Reference],
        found: &mut BTreeMap<String, Found>,
    ) -> Result<(), BackendError> {
        let attempted = format!("read images of {repository} in ECR");
        let answer = self
            .client
            .batch_get_image()
            .registry_id(&self.account)
            .repository_name(repository.as_str())
            .set_image_ids(Some(references.iter().map(identifier).collect()))
            // Without all four, an index may come back as the manifest of one platform.
            .set_accepted_media_types(Some(
                [DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX]
                    .map(str::to_owned)
                    .to_vec(),
            ))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if code(&error) == Some(NO_REPOSITORY) => return Ok(()),
            Err(error) => return Err(failed(&attempted, error)),
        };
        for failure in answer.failures.unwrap_or_default() {
            match failure.failure_code {
                Some(
                    ImageFailureCode::ImageNotFound | ImageFailureCode::ImageTagDoesNotMatchDigest,
                ) => {}
                other => {
                    let code = other.map_or_else(String::new, |code| code.as_str().to_owned());
                    return Err(
                        BackendError::new(ErrorClass::Unavailable, attempted).because(Refused {
                            code,
                            message: failure.failure_reason.unwrap_or_default(),
                        }),
                    );
                }
            }
        }
        for image in answer.images.unwrap_or_default() {
            let bytes = image.image_manifest.unwrap_or_default().into_bytes();
            let id = image
                .image_id
                .unwrap_or_else(|| ImageIdentifier::builder().build());
            let digest = image::digest_of(&bytes);
            if id.image_digest.as_deref() != Some(digest.as_str()) {
                return Err(BackendError::new(ErrorClass::Conflict, attempted)
                    .because(format!(
                        "ECR says {} of a manifest whose digest is {digest}",
                        id.image_digest.unwrap_or_default()
                    ))
                    .hint("the registry, or something between it and here, changes what goes through it"));
            }
            let descriptor = Descriptor {
                media_type: image
                    .image_manifest_media_type
                    .unwrap_or_else(|| OCI_MANIFEST.to_owned()),
                digest: digest.clone(),
                size: bytes.len() as u64,
            };
            if let Some(tag) = id.image_tag {
                found.insert(tag, (descriptor.clone(), bytes.clone()));
            }
            found.insert(digest.to_string(), (descriptor, bytes));
        }
        Ok(())
    }

    /// What the API knows of an image; `None` where it is not there.
    pub(super) async fn describe(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Described>, BackendError> {
        let attempted = format!("describe an image of {repository} in ECR");
        let answer = self
            .client
            .describe_images()
            .registry_id(&self.account)
            .repository_name(repository.as_str())
            // One at a time: one that is missing fails the whole call.
            .image_ids(identifier(reference))
            .send()
            .await;
        let detail = match answer {
            Ok(answer) => answer.image_details.unwrap_or_default().into_iter().next(),
            Err(error) if matches!(code(&error), Some(NO_REPOSITORY | NO_IMAGE)) => None,
            Err(error) => return Err(failed(&attempted, error)),
        };
        detail.map(described).transpose()
    }

    /// All tags. (Of what `DescribeImages` says: it names all tags of an image, everywhere.)
    pub(super) async fn tags(
        &self,
        repository: &RepositoryName,
    ) -> Result<Vec<String>, BackendError> {
        let attempted = format!("list the tags of {repository} in ECR");
        let filter = DescribeImagesFilter::builder()
            .tag_status(TagStatus::Tagged)
            .build();
        let mut tags = Vec::new();
        let mut next = None;
        loop {
            let answer = self
                .client
                .describe_images()
                .registry_id(&self.account)
                .repository_name(repository.as_str())
                .filter(filter.clone())
                .max_results(1000)
                .set_next_token(next.clone())
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if code(&error) == Some(NO_REPOSITORY) => return Ok(Vec::new()),
                Err(error) => return Err(failed(&attempted, error)),
            };
            tags.extend(
                answer
                    .image_details
                    .unwrap_or_default()
                    .into_iter()
                    .flat_map(|detail| detail.image_tags.unwrap_or_default()),
            );
            if answer.next_token.is_none() || answer.next_token == next {
                tags.sort_unstable();
                tags.dedup();
                return Ok(tags);
            }
            next = answer.next_token;
        }
    }

    /// Puts a tag on a manifest, byte for byte. What it answers does not decide: what the tag names afterwards does.
    pub(super) async fn put_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let attempted = format!("tag {repository}:{tag} in ECR");
        let manifest = std::str::from_utf8(bytes).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, attempted.clone()).because(error)
        })?;
        self.client
            .put_image()
            .registry_id(&self.account)
            .repository_name(repository.as_str())
            .image_manifest(manifest)
            .image_manifest_media_type(&descriptor.media_type)
            .image_tag(tag)
            .image_digest(descriptor.digest.as_str())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failed(&attempted, error))
    }
}

pub(super) const NO_REPOSITORY: &str = "RepositoryNotFoundException";
const NO_IMAGE: &str = "ImageNotFoundException";

fn identifier(reference: &Reference) -> ImageIdentifier {
    match reference {
        Reference::Tag(tag) => ImageIdentifier::builder().image_tag(tag).build(),
        Reference::Digest(digest) => ImageIdentifier::builder()
            .image_digest(digest.as_str())
            .build(),
    }
}

fn described(detail: ImageDetail) -> Result<Described, BackendError> {
    let digest = Digest::new(detail.image_digest.unwrap_or_default()).map_err(|error| {
        BackendError::new(ErrorClass::Invalid, "describe an image of ECR").because(error)
    })?;
    let withheld = match detail.image_status {
        // Emulators and old regions say nothing.
        None | Some(ImageStatus::Active) => None,
        Some(ImageStatus::Archived) => {
            Some("ECR has archived it: restore it before it can be pulled".to_owned())
        }
        Some(ImageStatus::Activating) => Some("ECR is restoring it from the archive".to_owned()),
        Some(other) => Some(format!("ECR says that it is {}", other.as_str())),
    };
    let mut tags = detail.image_tags.unwrap_or_default();
    tags.sort_unstable();
    Ok(Described {
        digest,
        media_type: detail
            .image_manifest_media_type
            .unwrap_or_else(|| OCI_MANIFEST.to_owned()),
        withheld,
        pushed_at: detail.image_pushed_at.map(|at| at.secs()),
        tags,
    })
}
