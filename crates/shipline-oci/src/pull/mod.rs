//! Base images: references resolved to the manifest of a platform, by a mirror where one is named, pulled into the store
//! once, reused without network, and pinned where a component asks for it.

mod lock;
mod places;
mod record;
mod reference;
pub(crate) mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use shipline_engine::backend::{ImageStore, Reference};
use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::folder::Place;
use shipline_engine::task::TaskContext;
use shipline_http::RetryPolicy;
use shipline_model::config::Platform;
use shipline_model::name::{ComponentName, Digest};

pub use lock::{LockChange, LockKey, PipelineLock};
pub use record::{RecordedBase, recorded};
pub use reference::{ImageReference, ReferenceError};

use crate::blocking::blocking;
use crate::build::{BaseChoice, BaseImages};
use crate::credentials::CredentialSource;
use crate::image::{self, ImageConfig, RawIndex, RawPlatform};
use crate::registry::distribution::RegistryAddress;
use places::Places;
use record::Resolution;

/// Indexes that may lie in each other, with the image in the last.
const NESTED: usize = 3;

/// Manifests that are asked for on the way to one image.
const MOST_ASKED: usize = 32;

/// What is attempted where the store or the records are looked into.
const LOOK: &str = "look for base images on the disk";

/// How registries of base images are reached.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// The HTTP client ([`shipline_http::client`]).
    pub http: shipline_http::Client,
    /// Who we are.
    pub credentials: Arc<dyn CredentialSource>,
    /// How often registries are asked again.
    pub retries: RetryPolicy,
    /// Mirrors by the host whose images they have, Docker Hub's being `docker.io`. They are asked first.
    pub mirrors: BTreeMap<String, RegistryAddress>,
    /// Where resolutions are recorded; the directory need not exist.
    pub records: Place,
}

/// Which images are pinned.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    /// Components whose bases come from the lock only.
    pub components: BTreeSet<ComponentName>,
    /// The lock.
    pub lock: PipelineLock,
}

/// Base images out of registries.
#[derive(Debug)]
pub struct RegistryImages {
    settings: PullSettings,
    pins: Pins,
    places: Mutex<HashMap<String, Arc<Places>>>,
    /// What was resolved by this process: one run sees one image under a name, and pulls it once, however many builds ask.
    resolved: Mutex<HashMap<LockKey, Arc<tokio::sync::Mutex<Option<Digest>>>>>,
}

/// A manifest that a reference led to.
struct Found {
    named: Digest,
    media_type: String,
    bytes: Vec<u8>,
    manifest: Digest,
}

impl RegistryImages {
    /// Images of the registries that their references name.
    #[must_use]
    pub fn new(settings: PullSettings, pins: Pins) -> Self {
        Self {
            settings,
            pins,
            places: Mutex::default(),
            resolved: Mutex::default(),
        }
    }

    /// The logins that it asks registries with, for an engine that pulls the same images by itself.
    #[must_use]
    pub fn logins(&self) -> Arc<dyn CredentialSource> {
        Arc::clone(&self.settings.credentials)
    }

    fn places(&self, host: &str) -> Result<Arc<Places>, BackendError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(host) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(Places::new(host, &self.settings)?);
        places.insert(host.to_owned(), Arc::clone(&new));
        Ok(new)
    }

    fn resolved(&self, key: &LockKey) -> Arc<tokio::sync::Mutex<Option<Digest>>> {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(resolved.entry(key.clone()).or_default())
    }

    /// What a reference names for a platform now, as its registry says: what `shipline lock update` writes.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Retryable` as the registry answers; `Invalid` where there is no image for the platform.
    pub async fn current(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        self.find(reference, &wanted(reference), platform, task)
            .await
            .map(|found| found.manifest)
    }

    /// Follows a reference through indexes to the manifest for the platform.
    async fn find(
        &self,
        reference: &ImageReference,
        wanted: &Reference,
        platform: &Platform,
        task: &TaskContext,
    ) -> Result<Found, BackendError> {
        let places = self.places(&reference.host)?;
        let mut open = vec![Lead {
            wanted: wanted.clone(),
            depth: 1,
            says: Says::Platform,
        }];
        let (mut named, mut others, mut asked) = (None, Vec::new(), 0);
        while let Some(lead) = open.pop() {
            asked += 1;
            if asked > MOST_ASKED || lead.depth > NESTED {
                return Err(
                    BackendError::new(ErrorClass::Invalid, format!("pull {reference}"))
                        .because("its indexes are nested too deeply, or have too many entries"),
                );
            }
            let (repository, wanted) = (&reference.repository, &lead.wanted);
            let (descriptor, bytes) = places
                .ask(reference, task, |registry| {
                    let (repository, wanted, task) =
                        (repository.clone(), wanted.clone(), task.clone());
                    async move { registry.manifest_for(&repository, &wanted, &task).await }.boxed()
                })
                .await?
                .ok_or_else(|| {
                    BackendError::new(ErrorClass::NotFound, format!("pull {reference}"))
                        .because("the registry does not have it")
                        .hint("check the name and the tag: a private image may need a login")
                })?;
            let first = named
                .get_or_insert_with(|| descriptor.digest.clone())
                .clone();
            if image::is_index(&descriptor.media_type) {
                let (leads, there) = leads(reference, platform, &bytes, lead.depth + 1)?;
                open.extend(leads);
                others.extend(there);
                continue;
            }
            if lead.says == Says::Nothing {
                let manifest = image::parse_manifest(Some(&descriptor.media_type), &bytes)?;
                let config = &manifest.config;
                let config = places
                    .ask(reference, task, |registry| {
                        let (repository, config) = (repository.clone(), config.clone());
                        let limit = image::LARGEST_CONFIG;
                        async move { registry.small_blob(&repository, &config, limit, task).await }
                            .boxed()
                    })
                    .await?;
                let has = config.and_then(|config| {
                    let config: ImageConfig = serde_json::from_slice(&config).ok()?;
                    Some(platform_of(config))
                });
                match has {
                    Some(has) if fits(&has, platform) => {}
                    Some(has) => {
                        others.push(written(&has));
                        continue;
                    }
                    // A document about an image has no such config.
                    None => continue,
                }
            }
            return Ok(Found {
                named: first,
                media_type: descriptor.media_type,
                bytes,
                manifest: descriptor.digest,
            });
        }
        Err(no_platform(reference, platform, &others))
    }

    /// Pulls what was found, unless it is there, and checks its platform.
    async fn take(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        found: Found,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        let digest = found.manifest.clone();
        if !whole(store, &digest).await? {
            task.note(format!("pulling {reference} for {platform}"))
                .await;
            let places = self.places(&reference.host)?;
            let (repository, found) = (&reference.repository, &found);
            places
                .ask(reference, task, |registry| {
                    let (repository, media_type, bytes) = (
                        repository.clone(),
                        found.media_type.clone(),
                        found.bytes.clone(),
                    );
                    let (store, task) = (Arc::clone(store), task.clone());
                    async move {
                        registry
                            .pull(&repository, &media_type, bytes, &store, &task)
                            .await
                            .map(Some)
                    }
                    .boxed()
                })
                .await?;
        }
        let (reader, wanted) = (Arc::clone(store), digest.clone());
        let config = blocking(LOOK, move || read_config(reader.as_ref(), &wanted)).await?;
        let has = platform_of(config);
        if !fits(&has, platform) {
            return Err(no_platform(reference, platform, &[written(&has)]));
        }
        Ok(digest)
    }

    async fn locked(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        let digest = self.pins.lock.get(reference, platform)?.clone();
        if whole(store, &digest).await? {
            return Ok(digest);
        }
        let wanted = Reference::Digest(digest.clone());
        let found = self.find(reference, &wanted, platform, task).await?;
        self.take(reference, platform, found, store, task).await
    }

    async fn floating(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        let key = LockKey::new(reference, platform);
        let resolved = self.resolved(&key);
        let mut resolved = resolved.lock().await;
        if let Some(digest) = resolved.as_ref()
            && whole(store, digest).await?
        {
            return Ok(digest.clone());
        }
        let recorded = match self.recorded(&key).await? {
            Some(recorded) if whole(store, &recorded.manifest).await? => Some(recorded),
            Some(_) | None => None,
        };
        let digest = match self.ask(reference, platform, recorded, task).await? {
            Asked::Same(digest) => digest,
            Asked::Other(found) => {
                let resolution = found.resolution();
                let digest = self.take(reference, platform, found, store, task).await?;
                self.record(&key, resolution).await?;
                digest
            }
        };
        *resolved = Some(digest.clone());
        Ok(digest)
    }

    async fn recorded(&self, key: &LockKey) -> Result<Option<Resolution>, BackendError> {
        let (directory, key) = (self.settings.records.clone(), key.clone());
        blocking(LOOK, move || Ok(record::read(&directory, &key))).await
    }

    async fn record(&self, key: &LockKey, resolution: Resolution) -> Result<(), BackendError> {
        let (directory, key) = (self.settings.records.clone(), key.clone());
        blocking(LOOK, move || record::write(&directory, &key, &resolution)).await
    }

    /// Asks the registry what the tag names, and for the manifest only where that is something else than last time. Where it
    /// cannot be asked, the last time's is taken, and said so.
    async fn ask(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        recorded: Option<Resolution>,
        task: &TaskContext,
    ) -> Result<Asked, BackendError> {
        let Some(recorded) = recorded else {
            return self
                .find(reference, &wanted(reference), platform, task)
                .await
                .map(Asked::Other);
        };
        let directory = self.settings.records.clone();
        let key = LockKey::new(reference, platform);
        blocking(LOOK, move || {
            record::touch(&directory, &key);
            Ok(())
        })
        .await?;
        if reference.digest.is_some() {
            // A digest never names anything else.
            return Ok(Asked::Same(recorded.manifest));
        }
        match self.moved(reference, platform, &recorded, task).await {
            Ok(None) => Ok(Asked::Same(recorded.manifest)),
            Ok(Some(found)) => Ok(Asked::Other(found)),
            Err(error) => match error.class {
                ErrorClass::Retryable | ErrorClass::Unavailable => {
                    let at = jiff::Timestamp::from_second(recorded.at)
                        .map_or_else(|_| "earlier".to_owned(), |at| format!("at {at}"));
                    task.note(format!(
                        "{} cannot be asked ({}): taking {reference} as it was {at}, {}",
                        reference.host,
                        chain(&error),
                        recorded.manifest
                    ))
                    .await;
                    Ok(Asked::Same(recorded.manifest))
                }
                ErrorClass::Denied
                | ErrorClass::NotFound
                | ErrorClass::Conflict
                | ErrorClass::Invalid
                | ErrorClass::Failed
                | ErrorClass::Cancelled => Err(error),
            },
        }
    }

    /// What the tag names, where it is something else than what is recorded.
    async fn moved(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        recorded: &Resolution,
        task: &TaskContext,
    ) -> Result<Option<Found>, BackendError> {
        let wanted = wanted(reference);
        let (repository, asked) = (&reference.repository, &wanted);
        let named = self
            .places(&reference.host)?
            .ask(reference, task, |registry| {
                let (repository, asked, task) = (repository.clone(), asked.clone(), task.clone());
                async move { registry.resolve_for(&repository, &asked, &task).await }.boxed()
            })
            .await?;
        if named.is_some_and(|named| named.digest == recorded.named) {
            return Ok(None);
        }
        self.find(reference, &wanted, platform, task)
            .await
            .map(Some)
    }
}

impl Found {
    fn resolution(&self) -> Resolution {
        Resolution {
            named: self.named.clone(),
            manifest: self.manifest.clone(),
            at: jiff::Timestamp::now().as_second(),
        }
    }
}

/// What a reference asks a registry for: its digest, which wins, or its tag.
fn wanted(reference: &ImageReference) -> Reference {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Reference::Digest(digest.clone()),
        (None, tag) => Reference::Tag(tag.clone().unwrap_or_default()),
    }
}

fn parse(reference: &str) -> Result<ImageReference, BackendError> {
    reference.parse().map_err(|error| {
        BackendError::new(ErrorClass::Invalid, format!("pull `{reference}`")).because(error)
    })
}

enum Asked {
    /// What is recorded and whole in the store.
    Same(Digest),
    /// Something else.
    Other(Found),
}

#[async_trait]
impl BaseImages for RegistryImages {
    async fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        let reference = parse(reference)?;
        match self.choice(task) {
            BaseChoice::Locked => self.locked(&reference, platform, store, task).await,
            BaseChoice::Floating => self.floating(&reference, platform, store, task).await,
        }
    }

    fn choice(&self, task: &TaskContext) -> BaseChoice {
        let component = task.id().component.as_ref();
        match component.is_some_and(|component| self.pins.components.contains(component)) {
            true => BaseChoice::Locked,
            false => BaseChoice::Floating,
        }
    }

    async fn look_up(
        &self,
        reference: &str,
        platform: &Platform,
        task: &TaskContext,
    ) -> Result<(String, Digest), BackendError> {
        let reference = parse(reference)?;
        let digest = match self.choice(task) {
            BaseChoice::Locked => self.pins.lock.get(&reference, platform)?.clone(),
            BaseChoice::Floating => {
                let key = LockKey::new(&reference, platform);
                let resolved = self.resolved(&key);
                let mut resolved = resolved.lock().await;
                if let Some(digest) = resolved.as_ref() {
                    digest.clone()
                } else {
                    let recorded = self.recorded(&key).await?;
                    let digest = match self.ask(&reference, platform, recorded, task).await? {
                        Asked::Same(digest) => digest,
                        Asked::Other(found) => {
                            self.record(&key, found.resolution()).await?;
                            found.manifest
                        }
                    };
                    *resolved = Some(digest.clone());
                    digest
                }
            }
        };
        Ok((reference.at(&digest), digest))
    }
}

async fn whole(store: &Arc<dyn ImageStore>, digest: &Digest) -> Result<bool, BackendError> {
    let (store, digest) = (Arc::clone(store), digest.clone());
    blocking(LOOK, move || store.is_whole(&digest)).await
}

fn read_config(store: &dyn ImageStore, digest: &Digest) -> Result<ImageConfig, BackendError> {
    let manifest = store.manifest(digest)?.ok_or_else(|| {
        BackendError::new(ErrorClass::Invalid, format!("read the config of {digest}"))
            .because("the image is not in the store")
    })?;
    image::read_config(store, &manifest.config)
}

/// What may be the image that a reference names.
#[derive(Debug, PartialEq, Eq)]
struct Lead {
    wanted: Reference,
    /// Indexes above it, and itself.
    depth: usize,
    says: Says,
}

/// Whether it is known that something is for the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// An index said so, or a person.
    Platform,
    /// Only its config can tell.
    Nothing,
}

/// Where an index leads for a platform: to the entry for it, or to those that do not say for which they are (the last is to be
/// asked first). And for what the others are.
fn leads(
    reference: &ImageReference,
    platform: &Platform,
    index: &[u8],
    depth: usize,
) -> Result<(Vec<Lead>, Vec<String>), BackendError> {
    let index: RawIndex = serde_json::from_slice(index).map_err(|error| {
        BackendError::new(
            ErrorClass::Invalid,
            format!("read the index of {reference}"),
        )
        .because(error)
    })?;
    let (mut unsaid, mut there) = (Vec::new(), Vec::new());
    for entry in &index.manifests {
        let lead = |says| {
            let descriptor = entry.checked()?;
            let wanted = Reference::Digest(descriptor.digest);
            Ok::<_, BackendError>(Lead {
                wanted,
                depth,
                says,
            })
        };
        match &entry.platform {
            Some(has) if fits(has, platform) => return Ok((vec![lead(Says::Platform)?], there)),
            // Attestations stand for no platform.
            Some(has) if has.os == "unknown" => {}
            Some(has) if !has.os.is_empty() || !has.architecture.is_empty() => {
                there.push(written(has));
            }
            Some(_) | None if entry.artifact_type.is_some() => {}
            Some(_) | None => unsaid.push(lead(Says::Nothing)?),
        }
    }
    unsaid.reverse();
    Ok((unsaid, there))
}

/// The platform that a config says.
fn platform_of(config: ImageConfig) -> RawPlatform {
    RawPlatform {
        architecture: config.architecture,
        os: config.os,
        os_version: None,
        os_features: Vec::new(),
        variant: config.variant,
    }
}

fn written(platform: &RawPlatform) -> String {
    let variant = platform.variant.iter();
    let variant: String = variant.map(|variant| format!("/{variant}")).collect();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

fn no_platform(reference: &ImageReference, platform: &Platform, there: &[String]) -> BackendError {
    BackendError::new(
        ErrorClass::Invalid,
        format!("pull {reference} for {platform}"),
    )
    .because(match there {
        [] => "it lists no image of any platform".to_owned(),
        there => format!("there is only {}", there.join(", ")),
    })
}

/// Whether an image for `has` runs on `wanted`. A variant that is not asked for, and arm64's only one, do not matter.
fn fits(has: &RawPlatform, wanted: &Platform) -> bool {
    let variant = |variant: &Option<String>, architecture: &str| match (variant, architecture) {
        (Some(variant), "arm64") if variant == "v8" => None,
        (variant, _) => variant.clone().filter(|variant| !variant.is_empty()),
    };
    has.os == wanted.os
        && has.architecture == wanted.architecture
        && match variant(&wanted.variant, &wanted.architecture) {
            None => true,
            wanted => variant(&has.variant, &has.architecture) == wanted,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_child_of_an_index_is_taken() {
        let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
        let entry = |digit: char, platform: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1,"platform":{platform}}}"#,
                digest(digit)
            )
        };
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{},{}]}}"#,
            entry('0', r#"{"os":"unknown","architecture":"unknown"}"#),
            entry('1', r#"{"os":"linux","architecture":"arm","variant":"v6"}"#),
            entry('2', r#"{"os":"linux","architecture":"arm","variant":"v7"}"#),
            entry(
                '3',
                r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#
            ),
        );
        let reference: ImageReference = "nginx".parse().unwrap();
        let check = |architecture: &str, variant: Option<&str>, expected: Option<char>| {
            let platform = Platform {
                os: "linux".into(),
                architecture: architecture.into(),
                variant: variant.map(str::to_owned),
            };
            let (found, _) = leads(&reference, &platform, index.as_bytes(), 2).unwrap();
            let expected: Vec<Lead> = expected
                .map(|digit| Lead {
                    wanted: Reference::Digest(Digest::new(digest(digit)).unwrap()),
                    depth: 2,
                    says: Says::Platform,
                })
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{architecture} {variant:?}");
        };
        check("arm", Some("v7"), Some('2'));
        check("arm", None, Some('1'));
        check("arm64", None, Some('3'));
        check("arm64", Some("v8"), Some('3'));
        check("amd64", None, None);
        check("arm", Some("v5"), None);
    }
}
