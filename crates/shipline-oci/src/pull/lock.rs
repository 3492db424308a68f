//! `pipeline.lock`: the digests of the base images of components that ask for it. JSON, one entry for each image and
//! platform, sorted, so that a change is a change of its line.
//!
//! What is locked is the digest of the **platform's manifest**, never that of an index. It names exactly the bytes that an
//! image stands on, and both builders and every mirror can pull it by itself. An index changes for reasons that change no
//! image of ours (another platform is rebuilt, an attestation is added), and locking it would move, and so rebuild, what
//! stayed the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::ImageReference;

/// The version that is written and read.
const VERSION: u32 = 1;

/// A read `pipeline.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineLock {
    images: BTreeMap<LockKey, Digest>,
}

/// What a digest is locked for: a reference as it is resolved, and a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey {
    /// The full reference.
    pub reference: String,
    /// `os/architecture[/variant]`.
    pub platform: String,
}

impl LockKey {
    /// The key of an image for a platform.
    #[must_use]
    pub fn new(reference: &ImageReference, platform: &Platform) -> Self {
        Self {
            reference: reference.to_string(),
            platform: platform.to_string(),
        }
    }
}

/// What an update did to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockChange {
    /// It is new.
    Added(LockKey, Digest),
    /// It names another image.
    Moved {
        /// The entry.
        key: LockKey,
        /// What it named.
        from: Digest,
        /// What it names.
        to: Digest,
    },
    /// Nothing uses it any more.
    Removed(LockKey),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    version: u32,
    images: Vec<RawEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    reference: String,
    platform: String,
    digest: String,
}

impl PipelineLock {
    /// Reads the file's text.
    ///
    /// # Errors
    /// `Invalid` where it is not such a file, is of another version, or names an image twice.
    pub fn parse(text: &str) -> Result<Self, BackendError> {
        let invalid = || {
            BackendError::new(ErrorClass::Invalid, "read pipeline.lock")
                .hint("write it anew with `shipline lock update`")
        };
        let raw: RawLock = serde_json::from_str(text).map_err(|error| invalid().because(error))?;
        if raw.version != VERSION {
            return Err(invalid().because(format!(
                "it has version {}, and this Shipline knows version {VERSION}",
                raw.version
            )));
        }
        let mut images = BTreeMap::new();
        for RawEntry {
            reference,
            platform,
            digest,
        } in raw.images
        {
            let digest = Digest::new(digest).map_err(|error| invalid().because(error))?;
            let key = LockKey {
                reference,
                platform,
            };
            let name = format!("{} for {}", key.reference, key.platform);
            if images.insert(key, digest).is_some() {
                return Err(invalid().because(format!("it names {name} twice")));
            }
        }
        Ok(Self { images })
    }

    /// The file's text.
    ///
    /// # Errors
    /// `Failed` where it cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, BackendError> {
        let raw = RawLock {
            version: VERSION,
            images: self
                .images
                .iter()
                .map(|(key, digest)| RawEntry {
                    reference: key.reference.clone(),
                    platform: key.platform.clone(),
                    digest: digest.to_string(),
                })
                .collect(),
        };
        serde_json::to_string_pretty(&raw)
            .map(|text| text + "\n")
            .map_err(|error| {
                BackendError::new(ErrorClass::Failed, "write pipeline.lock").because(error)
            })
    }

    /// What is locked, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&LockKey, &Digest)> {
        self.images.iter()
    }

    /// The locked digest of an image's manifest, if it is locked.
    #[must_use]
    pub fn find(&self, key: &LockKey) -> Option<&Digest> {
        self.images.get(key)
    }

    /// The locked digest of an image's manifest.
    ///
    /// # Errors
    /// `Invalid` where it is not locked.
    pub fn get(
        &self,
        reference: &ImageReference,
        platform: &Platform,
    ) -> Result<&Digest, BackendError> {
        self.find(&LockKey::new(reference, platform))
            .ok_or_else(|| {
                BackendError::new(
                    ErrorClass::Invalid,
                    format!("find {reference} for {platform} in pipeline.lock"),
                )
                .because("it has no such entry")
                .hint("run `shipline lock update` and commit the file")
            })
    }

    /// Makes the lock hold exactly these images; gives what changed, in order.
    pub fn update(&mut self, images: BTreeMap<LockKey, Digest>) -> Vec<LockChange> {
        let mut changes = Vec::new();
        for (key, to) in &images {
            match self.images.get(key) {
                None => changes.push(LockChange::Added(key.clone(), to.clone())),
                Some(from) if from != to => changes.push(LockChange::Moved {
                    key: key.clone(),
                    from: from.clone(),
                    to: to.clone(),
                }),
                Some(_) => {}
            }
        }
        for key in self.images.keys() {
            if !images.contains_key(key) {
                changes.push(LockChange::Removed(key.clone()));
            }
        }
        self.images = images;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        format!("sha256:{}", digit.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    fn key(reference: &str) -> LockKey {
        LockKey {
            reference: reference.into(),
            platform: "linux/amd64".into(),
        }
    }

    #[test]
    fn an_update_says_what_it_did_and_reads_back() {
        let mut lock = PipelineLock::default();
        lock.update([(key("a"), digest('1')), (key("b"), digest('2'))].into());
        let changes = lock.update([(key("b"), digest('3')), (key("c"), digest('4'))].into());
        assert_eq!(
            changes,
            [
                LockChange::Moved {
                    key: key("b"),
                    from: digest('2'),
                    to: digest('3')
                },
                LockChange::Added(key("c"), digest('4')),
                LockChange::Removed(key("a")),
            ]
        );
        let text = lock.to_text().unwrap();
        assert_eq!(PipelineLock::parse(&text).unwrap(), lock);
        assert!(text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn what_is_not_locked_names_the_command() {
        let platform = Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: None,
        };
        let error = PipelineLock::default()
            .get(&"nginx".parse().unwrap(), &platform)
            .unwrap_err();
        assert!(error.hints[0].contains("shipline lock update"));
    }

    #[test]
    fn broken_files_are_refused() {
        let entry = format!(
            r#"{{"reference":"a","platform":"p","digest":"{}"}}"#,
            digest('1')
        );
        for bad in [
            "".to_owned(),
            r#"{"version":2,"images":[]}"#.to_owned(),
            r#"{"version":1,"images":[],"more":1}"#.to_owned(),
            r#"{"version":1,"images":[{"reference":"a","platform":"p","digest":"x"}]}"#.to_owned(),
            format!(r#"{{"version":1,"images":[{entry},{entry}]}}"#),
        ] {
            assert_eq!(
                PipelineLock::parse(&bad).unwrap_err().class,
                ErrorClass::Invalid,
                "{bad}"
            );
        }
    }
}
