//! AWS ECR: its API for repositories, tags and descriptions; blobs and manifests go to its registry through our own client.

mod api;
mod connector;
mod failure;
mod identity;
mod lifecycle;
mod login;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use shipline_engine::backend::{
    AttachOutcome, Descriptor, Expiring, ImageDetails, ImageStore, Reference, Referrer, Registry,
    TagOutcome, TagRequest, Uploaded,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::task::TaskContext;
use shipline_http::{RetryPolicy, Url, is_loopback_url};
use shipline_model::name::{Digest, RepositoryName};

pub use identity::{AwsIdentity, InstanceMetadata};
pub use login::EcrLogin;

use super::distribution::{DistributionRegistry, RegistryAddress, Security, Transport, all_of};
use super::tags::{TagConflicts, check_tags};
use api::{Api, Described};

/// How an account's registry is reached.
#[derive(Debug, Clone)]
pub struct EcrSettings {
    /// 12 digits.
    pub account: String,
    /// AWS region.
    pub region: String,
    /// What happens to repositories that are missing.
    pub missing: MissingRepositories,
    /// Who we are.
    pub identity: AwsIdentity,
    /// Base URL of the API instead of AWS's.
    pub endpoint: Option<String>,
    /// Base URL of STS instead of AWS's.
    pub sts_endpoint: Option<String>,
    /// Base URL of the registry instead of the account's host; images keep the account's name.
    pub registry_endpoint: Option<String>,
}

/// What happens to repositories that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingRepositories {
    /// The preflight fails.
    Refused,
    /// The preflight creates them, with immutable tags and scan on push.
    Created,
}

/// An account's registry in one region.
#[derive(Debug)]
pub struct EcrRegistry {
    host: String,
    missing: MissingRepositories,
    retries: RetryPolicy,
    /// Whether the API is AWS's own, so that the host that it names must be ours.
    authentic: bool,
    api: Arc<Api>,
    data: DistributionRegistry,
    login: EcrLogin,
    faults: Faults,
}

impl EcrRegistry {
    /// Sets the registry up; no request is made.
    ///
    /// # Errors
    /// `Invalid` where an address is overridden by something that is none, or that is neither encrypted nor on this machine.
    pub async fn new(
        settings: EcrSettings,
        http: shipline_http::Client,
        retries: RetryPolicy,
        faults: Faults,
    ) -> Result<Self, BackendError> {
        let host = host(&settings.account, &settings.region);
        let mut address = match &settings.registry_endpoint {
            // The account's password goes there.
            Some(url) => {
                RegistryAddress::parse(&encrypted(url, "registry_endpoint")?, Security::Required)?
            }
            None => RegistryAddress {
                host: host.clone(),
                api: host.clone(),
                transport: Transport::Encrypted,
                prefix: None,
            },
        };
        address.host.clone_from(&host);
        for (name, url) in [
            ("endpoint", &settings.endpoint),
            ("AWS_ENDPOINT_URL_STS", &settings.sts_endpoint),
        ] {
            if let Some(url) = url {
                encrypted(url, name)?;
            }
        }
        let config = identity::configure(
            &settings.identity,
            &settings.region,
            settings.sts_endpoint.as_deref(),
            &retries,
            &http,
        )
        .await;
        let mut config = aws_sdk_ecr::config::Builder::from(&config);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = aws_sdk_ecr::Client::from_conf(config.build());
        let api = Arc::new(Api::new(client, settings.account));
        let login = EcrLogin::new(Arc::clone(&api));
        let credentials = Arc::new(login.clone());
        Ok(Self {
            // ECR lists referrers itself, and a tag for them would be one that an immutable repository never lets go on.
            retries: retries.clone(),
            data: DistributionRegistry::new(address, http, credentials, retries, faults.clone())
                .without_fallback_tag(),
            authentic: settings.endpoint.is_none() && settings.registry_endpoint.is_none(),
            missing: settings.missing,
            host,
            api,
            login,
            faults,
        })
    }

    /// The registry's host, which names of its images begin with.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// the login for this registry, for others who read images from it.
    #[must_use]
    pub fn login(&self) -> EcrLogin {
        self.login.clone()
    }

    /// Sees to it that a repository is there, as far as we may look.
    async fn require(&self, name: &RepositoryName) -> Result<(), BackendError> {
        let repository = match (self.api.repository(name).await, self.missing) {
            (Ok(Some(repository)), _) => Some(repository),
            (Ok(None), MissingRepositories::Created) => self.api.create(name).await?,
            (Ok(None), MissingRepositories::Refused) => None,
            // AWS's own policy for pushing does not allow to look. Then it is not known, and the upload that is tried next tells.
            (Err(error), _) if error.class == ErrorClass::Denied => return Ok(()),
            (Err(error), _) => return Err(error),
        };
        let Some(repository) = repository else {
            return Err(BackendError::new(
                ErrorClass::NotFound,
                format!("push to {}/{name}", self.host),
            )
            .because("the repository does not exist")
            .hint(format!(
                "create it: `aws ecr create-repository --repository-name {name} --image-tag-mutability IMMUTABLE`, or set `create_repositories: true`"
            )));
        };
        let uri = repository.repository_uri.unwrap_or_default();
        let ours = format!("{}/{name}", self.host);
        if self.authentic && !uri.is_empty() && uri != ours {
            return Err(
                BackendError::new(ErrorClass::Invalid, format!("push to {ours}"))
                    .because(format!("ECR calls the repository {uri}"))
                    .hint("check `account` and `region` of the profile"),
            );
        }
        Ok(())
    }

    async fn conflict_of(
        &self,
        conflicts: &mut TagConflicts,
        request: &TagRequest,
        found: &Digest,
    ) {
        // When it was pushed is good to know; the conflict stands without it.
        let pushed_at = self
            .api
            .describe(&request.repository, &Reference::Tag(request.tag.clone()))
            .await
            .ok()
            .flatten()
            .and_then(|described| described.pushed_at);
        let origin = self.data.origin(&request.repository, found).await;
        conflicts.add(request, found, &origin.pushed(pushed_at));
    }

    /// An image that was pushed and cannot be read back may be there, in the archive.
    async fn explained(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        error: BackendError,
    ) -> BackendError {
        let reference = Reference::Digest(digest.clone());
        match self.api.describe(repository, &reference).await {
            Ok(Some(Described {
                withheld: Some(why),
                ..
            })) => error.hint(format!("{repository}@{digest}: {why}.")),
            Ok(_) | Err(_) => error,
        }
    }

    async fn set_tag(
        &self,
        request: &TagRequest,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let TagRequest {
            repository,
            tag,
            digest,
        } = request;
        let written = self.api.put_tag(repository, tag, descriptor, bytes).await;
        self.faults.reach(FaultPoint::RegistryTagTaken);
        let found = self
            .api
            .images(repository, &[Reference::Tag(tag.clone())])
            .await
            .map(|mut found| found.remove(tag));
        match (written, found) {
            (_, Ok(Some((found, _)))) if found.digest == *digest => Ok(()),
            (_, Ok(Some((found, _)))) => {
                let mut conflicts = TagConflicts::default();
                self.conflict_of(&mut conflicts, request, &found.digest)
                    .await;
                conflicts.into_result()
            }
            (Err(error), _) => Err(error),
            (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(None)) => Err(BackendError::new(
                ErrorClass::Conflict,
                format!("read tag {repository}:{tag} back"),
            )
            .because("ECR took the tag and does not have it")),
        }
    }

    async fn found(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        let mut found = self
            .api
            .images(repository, std::slice::from_ref(reference))
            .await?;
        let text = match reference {
            Reference::Tag(tag) => tag.as_str(),
            Reference::Digest(digest) => digest.as_str(),
        };
        Ok(found.remove(text))
    }
}

/// An address that was given instead of AWS's, if nobody on its way can read what goes there and comes back.
fn encrypted(url: &str, name: &str) -> Result<String, BackendError> {
    let invalid = |why: &str| {
        BackendError::new(ErrorClass::Invalid, format!("use `{name}`"))
            .because(format!("{why}: it gets credentials for AWS"))
            .hint("write `https://HOST`; plain HTTP is for this machine only (`http://localhost:PORT`)")
    };
    let parsed = Url::parse(url).map_err(|_| invalid("it is no URL"))?;
    match parsed.scheme() {
        "https" => Ok(url.to_owned()),
        "http" if is_loopback_url(&parsed) => Ok(url.to_owned()),
        _ => Err(invalid("it is reached without encryption")),
    }
}

/// The account's host in a region. (The preflight compares it with what ECR calls its repositories.)
#[must_use]
pub fn host(account: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else if region.starts_with("us-isob-") {
        "sc2s.sgov.gov"
    } else if region.starts_with("us-isof-") {
        "csp.hci.ic.gov"
    } else if region.starts_with("us-iso-") {
        "c2s.ic.gov"
    } else if region.starts_with("eu-isoe-") {
        "cloud.adc-e.uk"
    } else {
        "amazonaws.com"
    };
    format!("{account}.dkr.ecr.{region}.{suffix}")
}

#[async_trait]
impl Registry for EcrRegistry {
    fn name(&self) -> String {
        self.host.clone()
    }

    fn image_name(&self, repository: &RepositoryName) -> Option<String> {
        Some(format!("{}/{repository}", self.host))
    }

    async fn preflight(&self, repositories: &[RepositoryName]) -> Result<(), BackendError> {
        let mut problems = Vec::new();
        for repository in repositories {
            let checked = match self.require(repository).await {
                Ok(()) => self.data.preflight(std::slice::from_ref(repository)).await,
                Err(error) => Err(error),
            };
            problems.extend(checked.err());
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
        match self.data.upload(repository, digest, store, task).await {
            Err(error) if matches!(error.class, ErrorClass::Conflict | ErrorClass::NotFound) => {
                Err(self.explained(repository, digest, error).await)
            }
            result => result,
        }
    }

    async fn attach(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError> {
        self.data
            .attach(repository, subject, artifacts, store, task)
            .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError> {
        self.data.referrers(repository, subject).await
    }

    async fn expiring(&self, repository: &RepositoryName) -> Result<Vec<Expiring>, BackendError> {
        self.api.expiring(repository, &self.retries).await
    }

    async fn tag(
        &self,
        requests: &[TagRequest],
        _task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError> {
        check_tags(requests)?;
        let mut wanted: BTreeMap<&RepositoryName, Vec<Reference>> = BTreeMap::new();
        for request in requests {
            let references = wanted.entry(&request.repository).or_default();
            references.push(Reference::Tag(request.tag.clone()));
            references.push(Reference::Digest(request.digest.clone()));
        }
        let mut found = BTreeMap::new();
        for (repository, mut references) in wanted {
            // The API refuses a request that names something twice.
            references.sort_by(|a, b| key(a).cmp(key(b)));
            references.dedup();
            found.insert(repository, self.api.images(repository, &references).await?);
        }
        let mut pending = Vec::with_capacity(requests.len());
        let mut conflicts = TagConflicts::default();
        for request in requests {
            let images = &found[&request.repository];
            match images.get(&request.tag) {
                Some((named, _)) if named.digest == request.digest => pending.push(None),
                Some((named, _)) => {
                    self.conflict_of(&mut conflicts, request, &named.digest)
                        .await;
                }
                None => match images.get(request.digest.as_str()) {
                    Some(image) => pending.push(Some(image)),
                    None => {
                        return Err(BackendError::new(
                            ErrorClass::NotFound,
                            format!("tag {}:{}", request.repository, request.tag),
                        )
                        .because(format!(
                            "image {} is not in the repository, or archived",
                            request.digest
                        )));
                    }
                },
            }
        }
        conflicts.into_result()?;
        let mut outcomes = Vec::with_capacity(requests.len());
        for (request, pending) in requests.iter().zip(pending) {
            let Some((descriptor, bytes)) = pending else {
                outcomes.push(TagOutcome::AlreadyThere);
                continue;
            };
            self.set_tag(request, descriptor, bytes).await?;
            self.faults.reach(FaultPoint::RegistryTag);
            outcomes.push(TagOutcome::Set);
        }
        Ok(outcomes)
    }

    async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, BackendError> {
        Ok(self
            .found(repository, reference)
            .await?
            .map(|(descriptor, _)| descriptor))
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        self.found(repository, reference).await
    }

    async fn details(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ImageDetails>, BackendError> {
        let Some(described) = self.api.describe(repository, reference).await? else {
            return Ok(None);
        };
        // ECR may refuse to give what it keeps back: why it does so is known already.
        let found = match &described.withheld {
            Some(_) => None,
            None => {
                let reference = Reference::Digest(described.digest.clone());
                self.found(repository, &reference).await?
            }
        };
        let pullable = match (described.withheld, &found) {
            (Some(why), _) => Err(why),
            (None, Some(_)) => Ok(()),
            (None, None) => Err("ECR describes it and does not give its manifest".to_owned()),
        };
        Ok(Some(ImageDetails {
            descriptor: match found {
                Some((descriptor, _)) => descriptor,
                // The size of a manifest that cannot be read is not known.
                None => Descriptor {
                    media_type: described.media_type,
                    digest: described.digest,
                    size: 0,
                },
            },
            pullable,
            pushed_at: described.pushed_at,
            tags: described.tags,
        }))
    }

    async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, BackendError> {
        self.api.tags(repository).await
    }
}

fn key(reference: &Reference) -> &str {
    match reference {
        Reference::Tag(tag) => tag,
        Reference::Digest(digest) => digest.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_follows_from_account_and_region() {
        let check =
            |region: &str, expected: &str| assert_eq!(host("123456789012", region), expected);
        check("eu-west-1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        check(
            "us-gov-east-1",
            "123456789012.dkr.ecr.us-gov-east-1.amazonaws.com",
        );
        check(
            "cn-north-1",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        );
        check(
            "us-iso-east-1",
            "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
        );
    }
}
