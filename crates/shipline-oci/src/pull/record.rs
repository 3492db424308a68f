//! What references resolved to when they last did: one small file each, so that a laptop without network can still build.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shipline_engine::error::{BackendError, ErrorClass};
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

fn path(directory: &Path, key: &LockKey) -> PathBuf {
    let name = format!("{} {}", key.reference, key.platform);
    directory.join(format!("{}.json", image::digest_of(name.as_bytes()).hex()))
}

/// The recorded resolution; a file that cannot be read is as good as none.
pub(super) fn read(directory: &Path, key: &LockKey) -> Option<Resolution> {
    let bytes = fs::read(path(directory, key)).ok()?;
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
pub(super) fn touch(directory: &Path, key: &LockKey) {
    // Only ages for the garbage collection: where it cannot be set, the image is collected earlier and pulled again.
    let _ = fs::File::open(path(directory, key))
        .and_then(|file| file.set_modified(std::time::SystemTime::now()));
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
    pub(crate) path: PathBuf,
}

/// The recorded base images in `directory`, by name; none where it does not exist. What cannot be read is left out.
#[must_use]
pub fn recorded(directory: &Path) -> Vec<RecordedBase> {
    let mut found: Vec<RecordedBase> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let at = entry.path();
            let raw: RawResolution = serde_json::from_slice(&fs::read(&at).ok()?).ok()?;
            let modified = entry.metadata().ok()?.modified().ok()?;
            Some(RecordedBase {
                key: LockKey {
                    reference: raw.reference,
                    platform: raw.platform,
                },
                digest: Digest::new(raw.manifest).ok()?,
                unused: modified.elapsed().unwrap_or_default(),
                path: at,
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
        fs::remove_file(&self.path)
            .map_err(|error| crate::layout::disk_error("remove", &self.path, error))
    }
}

/// Records a resolution, whole or not at all.
pub(super) fn write(
    directory: &Path,
    key: &LockKey,
    resolution: &Resolution,
) -> Result<(), BackendError> {
    let path = path(directory, key);
    let bytes = image::to_json(&RawResolution {
        version: VERSION,
        reference: key.reference.clone(),
        platform: key.platform.clone(),
        named: resolution.named.to_string(),
        manifest: resolution.manifest.to_string(),
        at: resolution.at,
    })?;
    replace(&path, &bytes).map_err(|error| {
        BackendError::new(
            ErrorClass::Unavailable,
            format!("record what {} names", key.reference),
        )
        .because(error)
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolution_is_read_back_for_its_own_platform_only() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("new");
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
        fs::write(path(&at, &key("linux/amd64")), "{").unwrap();
        assert_eq!(read(&at, &key("linux/amd64")), None);
    }
}
