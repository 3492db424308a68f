//! What the fake knows: repositories with blobs, manifests and tags; uploads under way; tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::quirk::Quirk;
use super::referrers::{self, Referrers};

/// How long a token is good, in seconds: 12 hours.
const TOKEN_SECONDS: i64 = 12 * 3600;

/// Whether a repository's tags may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// They may.
    Mutable,
    /// They may not.
    Immutable,
}

impl Mutability {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Mutable => "MUTABLE",
            Self::Immutable => "IMMUTABLE",
        }
    }
}

/// Whether a repository scans what is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanOnPush {
    Yes,
    No,
}

/// What an image can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStatus {
    /// Everything.
    Active,
    /// It is described and listed, and cannot be pulled.
    Archived,
    /// It is on its way back.
    Activating,
}

impl ImageStatus {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Archived => "ARCHIVED",
            Self::Activating => "ACTIVATING",
        }
    }
}

/// What the fake does where real registries and accounts differ.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// How it takes manifests that refer to others.
    pub referrers: Referrers,
    /// Whether blobs can be mounted from other repositories.
    pub mounting: Mounting,
    /// What the API says of the end of its tokens.
    pub expiry: Expiry,
    /// How clients log in.
    pub login: Login,
    /// What it does that the specification does not say.
    pub quirks: Vec<Quirk>,
}

/// The account's setting `BLOB_MOUNTING`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mounting {
    /// As accounts are made.
    #[default]
    Disabled,
    /// Blobs that an image of another repository has are taken from there.
    Enabled,
}

/// What the API says of the end of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// The truth.
    #[default]
    True,
    /// That it has passed, as moto does.
    Past,
}

/// How clients log in to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// With user and password, as at ECR.
    #[default]
    Basic,
    /// With tokens for scopes, as nearly everywhere else.
    Bearer,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) behaviour: Behaviour,
    /// The access key that signed the last request to the API.
    pub(super) caller: Option<String>,
    pub(super) account: String,
    pub(super) proxy_host: String,
    pub(super) scheme: &'static str,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) uploads: BTreeMap<String, Upload>,
    tokens: BTreeMap<String, i64>,
    bearers: BTreeMap<String, Bearer>,
    serial: u64,
    ahead: i64,
}

/// A bearer token.
#[derive(Debug)]
struct Bearer {
    scopes: Vec<String>,
    until: i64,
}

#[derive(Debug)]
pub(super) struct Repository {
    /// How many images the lifecycle policy keeps, where there is one.
    pub(super) keep: Option<usize>,
    /// How often the preview under way is still in progress when it is looked at.
    pub(super) preview: Option<u32>,
    pub(super) mutability: Mutability,
    pub(super) scan_on_push: ScanOnPush,
    pub(super) created_at: i64,
    pub(super) blobs: BTreeMap<String, Bytes>,
    pub(super) manifests: BTreeMap<String, Manifest>,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) bytes: Bytes,
    pub(super) media_type: String,
    pub(super) pushed_at: i64,
    /// Its place in the order of arrival.
    pub(super) serial: u64,
    pub(super) status: ImageStatus,
}

#[derive(Debug)]
pub(super) struct Upload {
    pub(super) repository: String,
    pub(super) parts: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

/// What putting a manifest ran into.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PutProblem {
    NoRepository,
    NotJson,
    /// It refers to another manifest, and that is refused.
    Artifact,
    OtherDigest(String),
    Missing(Vec<String>),
    ImmutableTag(String),
    AlreadyThere(String),
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl State {
    pub(super) fn new(
        account: String,
        proxy_host: String,
        scheme: &'static str,
        behaviour: Behaviour,
    ) -> Self {
        Self {
            behaviour,
            caller: None,
            account,
            proxy_host,
            scheme,
            repositories: BTreeMap::new(),
            uploads: BTreeMap::new(),
            tokens: BTreeMap::new(),
            bearers: BTreeMap::new(),
            serial: 0,
            ahead: 0,
        }
    }

    pub(super) fn now(&self) -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        i64::try_from(now).unwrap_or(i64::MAX) + self.ahead
    }

    pub(super) fn advance(&mut self, seconds: i64) {
        self.ahead += seconds;
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A new password and the instant until which it is good.
    pub(super) fn issue_token(&mut self) -> (String, i64) {
        let password = STANDARD.encode(format!("fake token {}", self.next_serial()));
        let until = self.now() + TOKEN_SECONDS;
        self.tokens.insert(password.clone(), until);
        (password, until)
    }

    pub(super) fn revoke_tokens(&mut self) {
        let past = self.now() - 1;
        self.tokens.values_mut().for_each(|until| *until = past);
        self.revoke_bearers();
    }

    /// Makes every bearer token worthless.
    pub(super) fn revoke_bearers(&mut self) {
        let past = self.now() - 1;
        self.bearers
            .values_mut()
            .for_each(|token| token.until = past);
    }

    /// Forgets every token: they are unknown, not expired.
    pub(super) fn forget_tokens(&mut self) {
        self.tokens.clear();
        self.bearers.clear();
    }

    pub(super) fn issue_bearer(&mut self, scopes: Vec<String>, seconds: i64) -> String {
        let token = format!("bearer-{}", self.next_serial());
        let until = self.now() + seconds;
        self.bearers.insert(token.clone(), Bearer { scopes, until });
        token
    }

    /// The scopes of a token that is good.
    pub(super) fn bearer(&self, token: &str) -> Option<&[String]> {
        self.bearers
            .get(token)
            .filter(|token| token.until > self.now())
            .map(|token| token.scopes.as_slice())
    }

    pub(super) fn set_policy(&mut self, repository: &str, keep: usize) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.keep = Some(keep);
        }
    }

    /// Begins a preview that is made when it has been looked at twice.
    pub(super) fn begin_preview(&mut self, repository: &str) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.preview = Some(2);
        }
    }

    pub(super) fn look_at_preview(&mut self, repository: &str) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.preview = repository.preview.map(|looks| looks.saturating_sub(1));
        }
    }

    /// Until when a password is good; `None`: it never was.
    pub(super) fn token(&self, password: &str) -> Option<i64> {
        self.tokens.get(password).copied()
    }

    pub(super) fn create(
        &mut self,
        name: &str,
        mutability: Mutability,
        scan_on_push: ScanOnPush,
    ) -> bool {
        if self.repositories.contains_key(name) {
            return false;
        }
        let created_at = self.now();
        self.repositories.insert(
            name.to_owned(),
            Repository {
                mutability,
                scan_on_push,
                created_at,
                keep: None,
                preview: None,
                blobs: BTreeMap::new(),
                manifests: BTreeMap::new(),
                tags: BTreeMap::new(),
            },
        );
        true
    }

    pub(super) fn set_status(&mut self, repository: &str, digest: &str, status: ImageStatus) {
        let manifest = self
            .repositories
            .get_mut(repository)
            .and_then(|repository| repository.manifests.get_mut(digest));
        if let Some(manifest) = manifest {
            manifest.status = status;
        }
    }

    pub(super) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.repositories.get(repository)?.tags.get(tag).cloned()
    }

    pub(super) fn settings(&self, repository: &str) -> Option<(bool, Mutability)> {
        let repository = self.repositories.get(repository)?;
        Some((
            repository.scan_on_push == ScanOnPush::Yes,
            repository.mutability,
        ))
    }

    pub(super) fn move_tag(&mut self, repository: &str, tag: &str, digest: &str) {
        if let Some(repository) = self.repositories.get_mut(repository) {
            repository.tags.insert(tag.to_owned(), digest.to_owned());
        }
    }

    pub(super) fn all_tags(&self) -> Vec<String> {
        self.repositories
            .iter()
            .flat_map(|(name, repository)| {
                repository
                    .tags
                    .keys()
                    .map(move |tag| format!("{name}:{tag}"))
            })
            .collect()
    }

    pub(super) fn holds(&self, repository: &str, digest: &str) -> bool {
        let repository = self.repositories.get(repository);
        repository.is_some_and(|repository| {
            let manifest = repository.manifests.get(digest);
            manifest.is_some_and(|manifest| repository.missing(&manifest.bytes).is_empty())
        })
    }

    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, repository) in &self.repositories {
            for (digest, blob) in &repository.blobs {
                if digest_of(blob) != *digest {
                    broken.push(format!("{name}: blob {digest} has other bytes"));
                }
            }
            for (tag, digest) in &repository.tags {
                match repository.manifests.get(digest) {
                    None => broken.push(format!("{name}:{tag} names {digest}, which is not there")),
                    Some(manifest) => broken.extend(
                        repository
                            .missing(&manifest.bytes)
                            .into_iter()
                            .map(|blob| format!("{name}:{tag} lacks {blob}")),
                    ),
                }
            }
        }
        broken
    }

    /// Takes a manifest in, as `PutImage` and `PUT /v2/…/manifests/…` do.
    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        bytes: &Bytes,
        media_type: &str,
        tag: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<String, PutProblem> {
        let (now, serial) = (self.now(), self.next_serial());
        let refused = self.behaviour.referrers == Referrers::Refused;
        let repository = self
            .repositories
            .get_mut(repository)
            .ok_or(PutProblem::NoRepository)?;
        if serde_json::from_slice::<serde_json::Value>(bytes).is_err() {
            return Err(PutProblem::NotJson);
        }
        if refused && referrers::subject(bytes).is_some() {
            return Err(PutProblem::Artifact);
        }
        let digest = digest_of(bytes);
        if wanted.is_some_and(|wanted| wanted != digest) {
            return Err(PutProblem::OtherDigest(digest));
        }
        let missing = repository.missing(bytes);
        if !missing.is_empty() {
            return Err(PutProblem::Missing(missing));
        }
        let there = repository.manifests.contains_key(&digest);
        if let Some(tag) = tag {
            match repository.tags.get(tag) {
                Some(named) if *named == digest => return Err(PutProblem::AlreadyThere(digest)),
                Some(_) if repository.mutability == Mutability::Immutable => {
                    return Err(PutProblem::ImmutableTag(digest));
                }
                Some(_) | None => {}
            }
            repository.tags.insert(tag.to_owned(), digest.clone());
        }
        if !there {
            repository.manifests.insert(
                digest.clone(),
                Manifest {
                    bytes: bytes.clone(),
                    media_type: media_type.to_owned(),
                    pushed_at: now,
                    serial,
                    status: ImageStatus::Active,
                },
            );
        }
        Ok(digest)
    }
}

impl Repository {
    /// The digest that a tag or a digest names.
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        if reference.starts_with("sha256:") {
            return Some(reference.to_owned()).filter(|digest| self.manifests.contains_key(digest));
        }
        self.tags.get(reference).cloned()
    }

    pub(super) fn tags_of(&self, digest: &str) -> Vec<&str> {
        self.tags
            .iter()
            .filter(|(_, named)| *named == digest)
            .map(|(tag, _)| tag.as_str())
            .collect()
    }

    /// What a manifest or index refers to and the repository does not have.
    pub(super) fn missing(&self, bytes: &[u8]) -> Vec<String> {
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let digests = |value: &serde_json::Value| -> BTreeSet<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .chain(value.is_object().then_some(value))
                .filter_map(|entry| Some(entry.get("digest")?.as_str()?.to_owned()))
                .collect()
        };
        let blobs = digests(&document["config"])
            .into_iter()
            .chain(digests(&document["layers"]))
            .filter(|digest| !self.blobs.contains_key(digest));
        let children = digests(&document["manifests"])
            .into_iter()
            .filter(|digest| !self.manifests.contains_key(digest));
        blobs.chain(children).collect()
    }
}
