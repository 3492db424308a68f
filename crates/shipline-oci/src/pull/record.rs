//! What references resolved to when they last did: one small file each, so that a laptop without network can still build.

use serde::{Deserialize, Serialize};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::Place;
use shipline_model::name::Digest;

use super::lock::LockKey;
use crate::image;

/// What a reference resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolution {
    /// What the tag named: an index, or the manifest itself.
    pub(super) named: Digest,
    /// The manifest for the platform.
    pub(super) manifest: Digest,
    /// When, in seconds since 1970 UTC.
    pub(super) at: i64,
}

#[derive(Serialize, Deserialize)]
struct RawResolution {
    version: u32,
    reference: String,
    platform: String,
    named: String,
    manifest: String,
    at: i64,
}

const VERSION: u32 = 1;

fn place(directory: &Place, key: &LockKey) -> Place {
    let name = format!("{} {}", key.reference, key.platform);
    directory.join(format!("{}.json", image::digest_of(name.as_bytes()).hex()))
}

/// The recorded resolution; a file that cannot be read is as good as none.
pub(super) fn read(directory: &Place, key: &LockKey) -> Option<Resolution> {
    let bytes = place(directory, key).read().ok()?;
    let raw: RawResolution = serde_json::from_slice(&bytes).ok()?;
    let right =
        raw.version == VERSION && raw.reference == key.reference && raw.platform == key.platform;
    Some(Resolution {
        named: Digest::new(raw.named).ok()?,
        manifest: Digest::new(raw.manifest).ok()?,
        at: raw.at,
    })
    .filter(|_| right)
}

/// Says that a recorded resolution was used now: its age is how long nobody asked for the image.
pub(super) fn touch(directory: &Place, key: &LockKey) {
    // Only ages for the garbage collection: where it cannot be set, the image is collected earlier and pulled again.
    let _ = place(directory, key)
        .parent()
        .and_then(|(folder, name)| folder.touch(name));
}

/// A base image that a build of this clone stood on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBase {
    /// What it was asked for as, and for which platform.
    pub key: LockKey,
    /// Its manifest.
    pub digest: Digest,
    /// How long nobody asked for it.
    pub unused: std::time::Duration,
    /// Its file.
    pub(crate) file: Place,
}

/// The recorded base images in `directory`, by name; none where it does not exist. What cannot be read is left out.
#[must_use]
pub fn recorded(directory: &Place) -> Vec<RecordedBase> {
    let Ok(folder) = directory.open() else {
        return Vec::new();
    };
    let mut found: Vec<RecordedBase> = folder
        .entries()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| {
            let bytes = folder.read(&entry.name).ok()?;
            let raw: RawResolution = serde_json::from_slice(&bytes).ok()?;
            let seen = folder.see(&entry.name).ok()??;
            Some(RecordedBase {
                key: LockKey {
                    reference: raw.reference,
                    platform: raw.platform,
                },
                digest: Digest::new(raw.manifest).ok()?,
                unused: seen.age().unwrap_or_default(),
                file: directory.join(entry.name),
            })
        })
        .collect();
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found
}

impl RecordedBase {
    /// Forgets it. Its image stays in the store until it is collected.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn forget(&self) -> Result<(), BackendError> {
        self.file
            .remove()
            .map_err(|error| crate::layout::disk_error("remove", self.file.path(), error))
    }
}

/// Records a resolution, whole or not at all.
pub(super) fn write(
    directory: &Place,
    key: &LockKey,
    resolution: &Resolution,
) -> Result<(), BackendError> {
    let place = place(directory, key);
    let bytes = image::to_json(&RawResolution {
        version: VERSION,
        reference: key.reference.clone(),
        platform: key.platform.clone(),
        named: resolution.named.to_string(),
        manifest: resolution.manifest.to_string(),
        at: resolution.at,
    })?;
    place.write_whole(&bytes).map_err(|error| {
        BackendError::new(
            ErrorClass::Unavailable,
            format!("record what {} names", key.reference),
        )
        .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolution_is_read_back_for_its_own_platform_only() {
        let directory = tempfile::tempdir().unwrap();
        let at = Place::from(directory.path()).join("new");
        let key = |platform: &str| LockKey {
            reference: "docker.io/nginx:1".into(),
            platform: platform.into(),
        };
        let resolution = Resolution {
            named: image::digest_of(b"index"),
            manifest: image::digest_of(b"manifest"),
            at: 7,
        };
        assert_eq!(read(&at, &key("linux/amd64")), None);
        write(&at, &key("linux/amd64"), &resolution).unwrap();
        assert_eq!(read(&at, &key("linux/amd64")), Some(resolution));
        assert_eq!(read(&at, &key("linux/arm64")), None);
        let torn = place(&at, &key("linux/amd64"));
        std::fs::write(torn.path(), "{").unwrap();
        assert_eq!(read(&at, &key("linux/amd64")), None);
    }
}
