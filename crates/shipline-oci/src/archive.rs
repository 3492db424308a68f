//! Images in a tar archive, for reading: an OCI layout that somebody packed, and what `docker save` writes, old and new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shipline_engine::archive::{EntryKind, TarReader};
use shipline_engine::backend::{Descriptor, ImageStore, Manifest, Verified};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use crate::image::{self, DOCKER_MANIFEST, ImageConfig, OCI_LAYER, RawIndex};
use crate::layout::disk_error;
use crate::store::{ListedImage, MOST_BYTES, listed};

/// How files begin that are compressed as a whole: gzip, zstd, xz, bzip2.
const PACKED: &[&[u8]] = &[&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zX", b"BZh"];

/// Bytes that the names of all files of an archive may have.
const LONGEST_NAMES: usize = 64 * 1024 * 1024;

/// An archive of images. Blobs are read where they lie. Manifests and indexes are verified here, configs and layers by whoever
/// reads them.
#[derive(Debug)]
pub struct ImageArchive {
    path: PathBuf,
    blobs: BTreeMap<Digest, Part>,
    images: Vec<ListedImage>,
    /// Manifests that old archives lack, by the digest of the image's config, which Docker calls its ID.
    made: BTreeMap<Digest, Manifest>,
}

/// Where a file of the archive lies.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    size: u64,
}

/// One entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl ImageArchive {
    /// Reads the archive's own list of files.
    ///
    /// # Errors
    /// `Invalid` where it is no such archive, or is compressed as a whole.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BackendError> {
        let path = path.into();
        let invalid = |why: &str| {
            BackendError::new(ErrorClass::Invalid, format!("read {}", path.display()))
                .because(why.to_owned())
        };
        let files = files(&path)?;
        let blobs = files.iter().filter_map(|(name, part)| {
            let hex = name.strip_prefix("blobs/sha256/")?;
            Some((Digest::new(format!("sha256:{hex}")).ok()?, *part))
        });
        let mut archive = Self {
            blobs: blobs.collect(),
            images: Vec::new(),
            made: BTreeMap::new(),
            path: path.clone(),
        };
        if let Some(index) = files.get("index.json") {
            let index: RawIndex = serde_json::from_slice(&archive.document(*index)?)
                .map_err(|error| invalid(&format!("its index.json is no index: {error}")))?;
            archive.images = listed(&index, &|digest| {
                let part = archive.blobs.get(digest);
                part.map(|part| archive.verified_document(digest, *part))
                    .transpose()
            })?;
        } else if let Some(list) = files.get("manifest.json") {
            let saved: Vec<Saved> = serde_json::from_slice(&archive.document(*list)?)
                .map_err(|error| invalid(&format!("its manifest.json is not Docker's: {error}")))?;
            let mut left = MOST_BYTES;
            for image in saved {
                archive.add(image, &files, &mut left)?;
            }
        } else {
            return Err(invalid(
                "it is no archive of images: it has neither index.json nor manifest.json",
            ));
        }
        Ok(archive)
    }

    /// Its images.
    #[must_use]
    pub fn images(&self) -> &[ListedImage] {
        &self.images
    }

    /// An image of an old archive, whose layers have no digests but those in the config.
    /// `left` is how many bytes the configs may still have: a list can name one as often as it likes.
    fn add(
        &mut self,
        saved: Saved,
        files: &BTreeMap<String, Part>,
        left: &mut u64,
    ) -> Result<(), BackendError> {
        let part = |name: &str| {
            files.get(name).copied().ok_or_else(|| {
                BackendError::new(ErrorClass::Invalid, format!("read {}", self.path.display()))
                    .because(format!(
                        "its manifest.json names {name}, which is not there"
                    ))
            })
        };
        let at = part(&saved.config)?;
        *left = left.checked_sub(at.size).ok_or_else(|| {
            BackendError::new(ErrorClass::Invalid, format!("read {}", self.path.display())).because(
                format!(
                    "the configs that its manifest.json names have more than {} MiB",
                    MOST_BYTES >> 20
                ),
            )
        })?;
        let bytes = self.document(at)?;
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, format!("read {}", saved.config)).because(error)
        })?;
        let id = image::digest_of(&bytes);
        if saved.layers.len() != config.rootfs.diff_ids.len() {
            return Err(BackendError::new(
                ErrorClass::Invalid,
                format!("read {}", self.path.display()),
            )
            .because(format!(
                "{} lists {} layers and manifest.json {}",
                saved.config,
                config.rootfs.diff_ids.len(),
                saved.layers.len()
            )));
        }
        let mut parts = vec![(id.clone(), at)];
        let mut layers = Vec::with_capacity(saved.layers.len());
        for (name, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
            let at = part(name)?;
            let digest = Digest::new(diff_id.as_str()).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, format!("read {}", saved.config))
                    .because(error)
            })?;
            parts.push((digest.clone(), at));
            layers.push(Descriptor {
                media_type: OCI_LAYER.to_owned(),
                digest,
                size: at.size,
            });
        }
        self.blobs.extend(parts);
        let tags = saved.repo_tags.unwrap_or_default();
        let names = tags.into_iter().map(Some);
        let names: Vec<Option<String>> = names.collect();
        let names = if names.is_empty() { vec![None] } else { names };
        self.images
            .extend(names.into_iter().map(|name| ListedImage {
                name,
                digest: id.clone(),
                platform: None,
            }));
        let descriptor = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            digest: id.clone(),
            size: at.size,
        };
        let manifest = Manifest {
            descriptor: descriptor(DOCKER_MANIFEST),
            bytes: Vec::new(),
            config: descriptor(image::DOCKER_CONFIG),
            layers,
        };
        self.made.insert(id.clone(), manifest);
        Ok(())
    }

    /// A document, held against its digest.
    fn verified_document(&self, digest: &Digest, part: Part) -> Result<Vec<u8>, BackendError> {
        let bytes = self.document(part)?;
        let found = image::digest_of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(BackendError::new(
            ErrorClass::Conflict,
            format!("read blob {digest} of {}", self.path.display()),
        )
        .because(format!("its bytes have the digest {found}")))
    }

    fn document(&self, part: Part) -> Result<Vec<u8>, BackendError> {
        if part.size > image::LARGEST_DOCUMENT {
            return Err(image::too_large(&format!(
                "a document of {}",
                self.path.display()
            )));
        }
        let mut bytes = Vec::new();
        self.stream(part)?
            .read_to_end(&mut bytes)
            .map_err(|error| disk_error("read", &self.path, error))?;
        Ok(bytes)
    }

    fn stream(&self, part: Part) -> Result<io::Take<File>, BackendError> {
        let failed = |error| disk_error("read", &self.path, error);
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(part.offset)).map_err(failed)?;
        Ok(file.take(part.size))
    }

    fn read_only(&self) -> BackendError {
        BackendError::new(
            ErrorClass::Invalid,
            format!("write into {}", self.path.display()),
        )
        .because("archives are only read")
    }
}

impl ImageStore for ImageArchive {
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, BackendError> {
        if let Some(manifest) = self.made.get(digest) {
            return Ok(Some(manifest.clone()));
        }
        match self.blobs.get(digest) {
            Some(part) => {
                image::parse_manifest(None, &self.verified_document(digest, *part)?).map(Some)
            }
            None => Ok(None),
        }
    }

    fn is_whole(&self, digest: &Digest) -> Result<bool, BackendError> {
        Ok(self.manifest(digest)?.is_some_and(|manifest| {
            let parts = manifest.layers.iter().chain([&manifest.config]);
            parts
                .into_iter()
                .all(|part| self.blobs.contains_key(&part.digest))
        }))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BackendError> {
        match self.blobs.get(digest) {
            Some(part) => Ok(Box::new(self.stream(*part)?)),
            None => Err(BackendError::new(
                ErrorClass::NotFound,
                format!("read blob {digest} of {}", self.path.display()),
            )
            .because("it is not there")),
        }
    }

    fn verified(&self) -> Verified {
        if self.made.is_empty() {
            Verified::Manifests
        } else {
            Verified::ManifestsByContent
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError> {
        Ok(self.blobs.get(digest).map(|part| part.size))
    }

    fn put_blob(&self, _: &Digest, _: &mut dyn Read) -> Result<(), BackendError> {
        Err(self.read_only())
    }

    fn put_manifest(&self, _: &str, _: &[u8]) -> Result<Digest, BackendError> {
        Err(self.read_only())
    }
}

/// Where every file of the archive lies, by its path; layers that are links to others lie where those do.
fn files(path: &Path) -> Result<BTreeMap<String, Part>, BackendError> {
    let failed = |error| disk_error("read", path, error);
    let unfit = |why: String| {
        BackendError::new(ErrorClass::Invalid, format!("read {}", path.display()))
            .because(why)
            .hint("it must be a tar archive that is not compressed as a whole")
    };
    // The file may be anything, and what the reader says of a header holds bytes of it.
    let no_tar = |error: io::Error| {
        unfit(match error.raw_os_error() {
            Some(_) => error.to_string(),
            None => "it has a header that is none of a tar archive".to_owned(),
        })
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    let read = file.by_ref().take(4).read_to_end(&mut start);
    read.and_then(|_| file.rewind()).map_err(failed)?;
    if PACKED.iter().any(|mark| start.starts_with(mark)) {
        return Err(unfit("it is compressed".to_owned()));
    }
    let mut archive = TarReader::seeking(file).map_err(failed)?;
    let (mut files, mut links) = (BTreeMap::new(), Vec::new());
    let mut names = 0;
    while let Some(entry) = archive.next_entry().map_err(no_tar)? {
        names += entry.path.len();
        if names > LONGEST_NAMES {
            return Err(no_tar(io::Error::other("it has too many files")));
        }
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        match entry.kind {
            EntryKind::HardLink { target } | EntryKind::Symlink { target } => {
                names += target.len();
                links.push((name, String::from_utf8_lossy(&target).into_owned()));
            }
            EntryKind::File { sparse: true } => {
                return Err(no_tar(io::Error::other(format!(
                    "{name} stands in it with holes, and cannot be read where it lies"
                ))));
            }
            EntryKind::File { sparse: false } => {
                let part = Part {
                    offset: entry.position,
                    size: entry.size,
                };
                files.insert(name, part);
            }
            EntryKind::Directory
            | EntryKind::CharDevice(..)
            | EntryKind::BlockDevice(..)
            | EntryKind::Fifo
            | EntryKind::Unknown(_) => {}
        }
    }
    for (name, target) in links {
        // `../<id>/layer.tar`, seen from the folder of the link.
        let target = target.trim_start_matches("../");
        if let Some(part) = files.get(target).copied() {
            files.insert(name, part);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        for (path, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        }
        builder.into_inner().unwrap();
        file
    }

    #[test]
    fn what_old_dockers_save_is_read_by_its_image_id() {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
            image::digest_of(b"one"),
            image::digest_of(b"two")
        );
        let list = br#"[{"Config":"c.json","RepoTags":["a:1","b:2"],"Layers":["x/layer.tar","y/layer.tar"]}]"#;
        let file = tar(
            &[
                ("x/layer.tar", b"one"),
                ("z/layer.tar", b"two"),
                ("c.json", config.as_bytes()),
                ("manifest.json", list),
            ],
            &[("y/layer.tar", "../z/layer.tar")],
        );
        let archive = ImageArchive::open(file.path()).unwrap();
        let id = image::digest_of(config.as_bytes());
        let names: Vec<_> = archive.images().iter().map(|i| i.name.as_deref()).collect();
        assert_eq!(names, [Some("a:1"), Some("b:2")]);
        assert_eq!(archive.images()[0].digest, id);
        let manifest = archive.manifest(&id).unwrap().unwrap();
        let mut text = String::new();
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let mut blob = archive.open(&part.digest).unwrap();
            blob.read_to_string(&mut text).unwrap();
        }
        assert_eq!(text, format!("onetwo{config}"));
        assert!(archive.is_whole(&id).unwrap());
    }

    #[test]
    fn a_manifest_that_somebody_changed_is_refused() {
        let manifest = br#"{"schemaVersion":2}"#;
        let digest = image::digest_of(b"another");
        let index = |size: usize| {
            format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{size}}}]}}"#,
                image::OCI_MANIFEST
            )
        };
        let blob = format!("blobs/sha256/{}", digest.hex());
        let open = |bytes: &[u8], size: usize| {
            let file = tar(
                &[(&blob, bytes), ("index.json", index(size).as_bytes())],
                &[],
            );
            ImageArchive::open(file.path()).unwrap_err()
        };
        let error = open(manifest, manifest.len());
        assert_eq!(error.class, ErrorClass::Conflict);
        let error = open(b"another", 8);
        assert!(
            error
                .cause
                .unwrap()
                .to_string()
                .contains("the index says 8")
        );
        // Docker's list and the config must agree on the layers.
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let list = br#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
        let file = tar(
            &[("c.json", config), ("l.tar", b""), ("manifest.json", list)],
            &[],
        );
        let error = ImageArchive::open(file.path()).unwrap_err();
        assert!(error.cause.unwrap().to_string().contains("manifest.json 1"));
    }

    #[test]
    fn what_is_no_archive_of_images_is_explained() {
        let none = tar(&[("a", b"")], &[]);
        let error = ImageArchive::open(none.path()).unwrap_err();
        assert!(error.cause.unwrap().to_string().contains("manifest.json"));
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, why) in [
            (&b"\x1f\x8bno tar"[..], "it is compressed"),
            (b"no tar", ""),
        ] {
            std::fs::write(file.path(), bytes).unwrap();
            let error = ImageArchive::open(file.path()).unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid);
            assert!(error.cause.unwrap().to_string().contains(why));
        }
        let missing = br#"[{"Config":"c.json","Layers":[]}]"#;
        let file = tar(&[("manifest.json", missing)], &[]);
        let error = ImageArchive::open(file.path()).unwrap_err();
        assert!(error.cause.unwrap().to_string().contains("c.json"));
    }

    #[test]
    fn a_config_that_is_named_again_and_again_is_not_read_for_ever() {
        let mut config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
                .to_vec();
        config.resize(1 << 20, b' ');
        let list = |count: usize| {
            let entries = vec![r#"{"Config":"c.json","Layers":[]}"#; count];
            format!("[{}]", entries.join(","))
        };
        let open = |count: usize| {
            let list = list(count);
            let file = tar(
                &[("c.json", &config), ("manifest.json", list.as_bytes())],
                &[],
            );
            ImageArchive::open(file.path())
        };
        assert_eq!(open(2).unwrap().images().len(), 2);
        let error = open(300).unwrap_err();
        assert!(
            error
                .cause
                .unwrap()
                .to_string()
                .contains("more than 256 MiB")
        );
    }
}
