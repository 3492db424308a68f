//! A context, a store and a builder in a directory of their own, and what an image holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value as Json;
use shipline_engine::backend::{BuildRequest, Descriptor, ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_model::config::{BuildEngine, Platform};
use shipline_model::name::Digest;
use shipline_model::plan::ImageId;
use shipline_oci::build::{BaseImages, Builders, EmbeddedBuilder};
use shipline_oci::store::LayoutStore;
use shipline_testkit::service::engine::EngineImages;

use crate::support::{Task, store};

pub(crate) fn write_context(root: &Path, context: &[(&str, &str)]) {
    for (path, content) in context {
        let path = root.join(path);
        if path.to_string_lossy().ends_with('/') {
            fs::create_dir_all(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = content.strip_prefix("->") {
            symlink(target, &path).unwrap();
        } else if let Some(bytes) = packed(content) {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        } else {
            let text = content.strip_prefix("+x").unwrap_or(content);
            fs::write(&path, text).unwrap();
            let mode = if text.len() == content.len() {
                0o644
            } else {
                0o755
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// The archive that a content stands for, if it does.
fn packed(content: &str) -> Option<Vec<u8>> {
    let tar = archive();
    Some(match content {
        "+tar" => tar,
        "+tgz" => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        "+tbz" => {
            let level = bzip2::Compression::default();
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        "+txz" => {
            let options = lzma_rust2::XzOptions::with_preset(6);
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        "+tzst" => compress_to_vec(tar.as_slice(), CompressionLevel::Fastest),
        _ => return None,
    })
}

/// The archive that `+tar` stands for: odd modes and owners, links of both kinds, a file whose directory is not listed.
pub(crate) fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, mode, uid, gid, link: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        if link.is_empty() {
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        } else {
            tar.append_link(&mut header, path, link).unwrap();
        }
    };
    add(tar::EntryType::Directory, "dir", 0o1777, 3, 4, "", "");
    add(tar::EntryType::Regular, "dir/file", 0o4750, 5, 6, "", "abc");
    add(
        tar::EntryType::Link,
        "./dir/hard",
        0o4750,
        5,
        6,
        "dir/file",
        "",
    );
    add(tar::EntryType::Symlink, "dir/link", 0o777, 5, 6, "file", "");
    add(tar::EntryType::Regular, "implied/x", 0o600, 9, 9, "", "x");
    tar.into_inner().unwrap()
}

/// A directory with a context, a store and a cache.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: LayoutStore,
    pub(crate) shared: Arc<dyn ImageStore>,
    pub(crate) request: BuildRequest,
    pub(crate) threads: usize,
    pub(crate) bases: Option<Arc<dyn BaseImages>>,
    pub(crate) settling: Option<Duration>,
    /// What a Docker engine builds of it; removed from there in the end.
    pub(crate) engine: Option<EngineImages>,
}

impl World {
    pub(crate) fn new(context: &[(&str, &str)], dockerfile: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("context");
        fs::create_dir_all(&root).unwrap();
        write_context(&root, context);
        fs::write(root.join("Dockerfile"), dockerfile).unwrap();
        let (images, shared) = store(&directory.path().join("store"));
        let request = BuildRequest {
            id: ImageId {
                component: "frontend".parse().unwrap(),
                variant: Some("staging".parse().unwrap()),
            },
            engine: BuildEngine::Auto,
            dockerfile: root.join("Dockerfile"),
            root: root.clone(),
            context: root,
            caches: Vec::new(),
            live: None,
            recipe: None,
            target: None,
            platform: Platform {
                os: "linux".into(),
                architecture: "amd64".into(),
                variant: None,
            },
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            network: None,
            extra_hosts: Vec::new(),
            cache_from: Vec::new(),
            labels: BTreeMap::from([("commit".to_owned(), "abc".to_owned())]),
            created: 1_700_000_000,
        };
        Self {
            directory,
            store: images,
            shared,
            request,
            threads: 2,
            bases: None,
            settling: None,
            engine: None,
        }
    }

    pub(crate) fn context(&self, path: &str) -> PathBuf {
        self.request.context.join(path)
    }

    pub(crate) fn try_build(&self, task: &Task) -> Result<BuiltImage, BackendError> {
        let mut embedded = EmbeddedBuilder::new(
            self.directory.path().join("cache"),
            NonZeroUsize::new(self.threads).unwrap(),
        );
        if let Some(settling) = self.settling {
            embedded = embedded.with_settling(settling);
        }
        if let Some(bases) = &self.bases {
            embedded = embedded.with_bases(Arc::clone(bases));
        }
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap()
            .block_on(Builders::new(embedded, None).build(
                &self.request,
                &self.shared,
                &task.context,
            ))
    }

    pub(crate) fn build(&self) -> BuiltImage {
        self.try_build(&Task::new()).unwrap()
    }

    /// What a build that must fail says, with cause and hints.
    pub(crate) fn refusal(&self) -> (ErrorClass, String) {
        let error = self.try_build(&Task::new()).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        (error.class, format!("{text} | {}", error.hints.join(" ")))
    }

    pub(crate) fn config(&self, built: &BuiltImage) -> Json {
        let manifest = self.store.manifest(&built.digest).unwrap().unwrap();
        let mut bytes = Vec::new();
        self.store
            .open(&manifest.config.digest)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// The files of an image that the embedded builder made, its layers put over each other.
pub(crate) fn files(store: &LayoutStore, digest: &Digest) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for tar in tars(store, digest) {
        let mut before = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            assert!(
                before < path,
                "{} is not in order",
                String::from_utf8_lossy(&path)
            );
            before = path;
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 315_532_800);
            assert_eq!(
                (header.username_bytes(), header.groupname_bytes()),
                (Some(&b""[..]), Some(&b""[..]))
            );
        }
        put_over(&mut files, &tar);
    }
    files
}

/// The layers' tars, decompressed.
pub(crate) fn tars(store: &LayoutStore, digest: &Digest) -> Vec<Vec<u8>> {
    let manifest = store.manifest(digest).unwrap().unwrap();
    let layers = manifest.layers.iter();
    layers.map(|layer| unpacked(store, layer)).collect()
}

/// The tar of a layer that gzip compressed.
pub(crate) fn unpacked(store: &LayoutStore, layer: &Descriptor) -> Vec<u8> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(store.open(&layer.digest).unwrap())
        .read_to_end(&mut tar)
        .unwrap();
    tar
}

/// Puts a layer over what containers see, in the form of the table. Hard links are files of their own.
pub(crate) fn put_over(files: &mut BTreeMap<String, String>, tar: &[u8]) {
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let path = path.trim_start_matches("./").trim_end_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let below = |path: &str| format!("{path}/");
        if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = if folder.is_empty() {
                gone.to_owned()
            } else {
                format!("{folder}/{gone}")
            };
            files.retain(|path, _| *path != gone && !path.starts_with(&below(&gone)));
            continue;
        }
        if path.is_empty() {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        let link = || String::from_utf8(entry.link_name_bytes().unwrap().into_owned()).unwrap();
        let kind = header.entry_type();
        if !kind.is_dir() {
            files.retain(|other, _| !other.starts_with(&below(path)));
        }
        let file = if kind.is_hard_link() {
            files[link().trim_start_matches("./")].clone()
        } else {
            let (kind, content) = match kind {
                kind if kind.is_dir() => ("d", String::new()),
                kind if kind.is_symlink() => ("l", format!(" {}", link())),
                _ => ("f", format!(" {}", String::from_utf8_lossy(&bytes))),
            };
            let (mode, uid, gid) = (
                header.mode().unwrap() & 0o7777,
                header.uid().unwrap(),
                header.gid().unwrap(),
            );
            format!("{kind} {mode:o} {uid}:{gid}{content}")
        };
        files.insert(path.to_owned(), file);
    }
}
