//! A directory as registry: one OCI layout with one index for all repositories, so that all tags of a run move at once.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use shipline_engine::backend::{
    AttachOutcome, Descriptor, Expiring, ImageDetails, ImageStore, Manifest, Reference, Referrer,
    Registry, TagOutcome, TagRequest, Uploaded,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::Unit;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;
use shipline_engine::task::TaskContext;
use shipline_model::name::{Digest, RepositoryName};

use super::tags::{CONFIG_BYTES, Origin, TagConflicts, check_tags};
use crate::blocking::blocking;
use crate::image::{self, REF_NAME, RawDescriptor, RawIndex};
use crate::layout::{Layout, disk_error};
use crate::store::copy;

/// What is attempted where the directory is worked with.
const WORK: &str = "work with the registry directory";
/// Annotation: the repository that an entry of the index belongs to.
const REPOSITORY: &str = "io.shipline.repository";
/// Annotation: seconds since 1970 UTC at which the image was pushed.
const PUSHED_AT: &str = "io.shipline.pushed-at";

/// A directory as registry. An image is named `repository:tag` in it (`skopeo inspect oci:DIR:frontend:staging-…`).
///
/// Every repository is immutable: a tag that names an image never names another one.
#[derive(Debug, Clone)]
pub struct LayoutRegistry {
    root: Place,
    faults: Faults,
}

impl LayoutRegistry {
    /// The registry in directory `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<Place>, faults: Faults) -> Self {
        Self {
            root: root.into(),
            faults,
        }
    }

    fn open(&self) -> Result<Layout, BackendError> {
        // The layout's own fault points belong to the store.
        Layout::open(&self.root, Faults::none())
    }

    /// The index, and the layout beneath, without creating anything: nothing there is an empty registry.
    fn read(&self) -> Result<Option<(Layout, RawIndex)>, BackendError> {
        let index = self.root.join("index.json");
        let seen = index
            .see()
            .map_err(|error| disk_error("read", index.path(), error))?;
        if seen.is_none() {
            return Ok(None);
        }
        let layout = self.open()?;
        let index = layout.index()?;
        Ok(Some((layout, index)))
    }

    fn find(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Found>, BackendError> {
        let Some((layout, index)) = self.read()? else {
            return Ok(None);
        };
        let Some(entry) = index.manifests.iter().find(|entry| {
            belongs(entry, repository)
                && match reference {
                    Reference::Tag(tag) => tag_of(entry, repository) == Some(tag),
                    Reference::Digest(digest) => entry.digest == digest.as_str(),
                }
        }) else {
            return Ok(None);
        };
        let descriptor = entry.checked()?;
        let manifest = layout.manifest(&descriptor.digest)?.ok_or_else(|| {
            BackendError::new(
                ErrorClass::Conflict,
                format!(
                    "read {repository} {reference} in {}",
                    self.root.path().display()
                ),
            )
            .because(format!(
                "the index names {}, whose manifest is not there",
                descriptor.digest
            ))
            .hint("the directory was changed by something else; push again or remove it")
        })?;
        Ok(Some(Found {
            layout,
            index,
            manifest,
        }))
    }

    fn upload_blocking(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &dyn ImageStore,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError> {
        let manifest = store.manifest(digest)?.ok_or_else(|| {
            BackendError::new(
                ErrorClass::NotFound,
                format!("push {digest} to {repository}"),
            )
            .because("the image is not in the store")
            .hint("build it again")
        })?;
        let layout = self.open()?;
        let blobs: Vec<&Descriptor> = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .collect();
        let total = blobs.iter().map(|blob| blob.size).sum();
        let (mut done, mut sent) = (0, 0);
        for blob in blobs {
            if task.is_cancelled() {
                return Err(BackendError::new(
                    ErrorClass::Cancelled,
                    format!("push {digest} to {repository}"),
                ));
            }
            if layout.size(&blob.digest)? == Some(blob.size) {
                layout.touch(&blob.digest);
            } else {
                take_blob(&layout, blob, store)?;
                sent += blob.size;
                self.faults.reach(FaultPoint::RegistryBlob);
            }
            done += blob.size;
            task.progress(format!("push {repository}"), done, Some(total), Unit::Bytes);
        }
        layout.put_manifest(&manifest.descriptor.media_type, &manifest.bytes)?;
        layout.update_index(|index| {
            let known = index
                .manifests
                .iter()
                .any(|entry| belongs(entry, repository) && entry.digest == digest.as_str());
            if !known {
                index.manifests.push(entry(&manifest, repository, None));
            }
            Ok(())
        })?;
        self.faults.reach(FaultPoint::RegistryManifest);
        let back = layout.manifest(digest)?;
        if back.is_none_or(|back| back.bytes != manifest.bytes) {
            return Err(BackendError::new(
                ErrorClass::Conflict,
                format!("read {digest} back from {}", self.root.path().display()),
            ));
        }
        Ok(Uploaded { sent })
    }

    fn tag_blocking(&self, requests: &[TagRequest]) -> Result<Vec<TagOutcome>, BackendError> {
        let layout = self.open()?;
        let outcomes = layout.update_index(|index| {
            let outcomes = check(&layout, index, requests)?;
            for (request, outcome) in requests.iter().zip(&outcomes) {
                if *outcome == TagOutcome::Set {
                    let manifest = layout
                        .manifest(&request.digest)?
                        .ok_or_else(|| not_there(request))?;
                    set(index, &manifest, request);
                }
            }
            Ok(outcomes)
        })?;
        self.faults.reach(FaultPoint::RegistryTag);
        let index = layout.index()?;
        for request in requests {
            let named = named(&index, &request.repository, &request.tag);
            if named.is_none_or(|entry| entry.digest != request.digest.as_str()) {
                return Err(BackendError::new(
                    ErrorClass::Conflict,
                    format!("read tag {}:{} back", request.repository, request.tag),
                )
                .because(format!(
                    "it names {} and not {}",
                    named.map_or("nothing", |entry| entry.digest.as_str()),
                    request.digest
                )));
            }
        }
        Ok(outcomes)
    }
}

/// An image of the registry with what is needed to describe it.
struct Found {
    layout: Layout,
    index: RawIndex,
    manifest: Manifest,
}

#[async_trait]
impl Registry for LayoutRegistry {
    fn name(&self) -> String {
        self.root.path().display().to_string()
    }

    fn image_name(&self, _repository: &RepositoryName) -> Option<String> {
        None
    }

    async fn preflight(&self, _repositories: &[RepositoryName]) -> Result<(), BackendError> {
        let registry = self.clone();
        blocking(WORK, move || {
            // Opening writes what is missing; a blob that is not kept proves the rest.
            let layout = registry.open()?;
            layout.index()?;
            let mut probe = layout.writer()?;
            io::Write::write_all(&mut probe, b"probe")
                .map_err(|error| disk_error("write in", registry.root.path(), error))
        })
        .await
    }

    async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Uploaded, BackendError> {
        let (registry, repository, digest) = (self.clone(), repository.clone(), digest.clone());
        let (store, task) = (Arc::clone(store), task.clone());
        blocking(WORK, move || {
            registry.upload_blocking(&repository, &digest, store.as_ref(), &task)
        })
        .await
    }

    async fn attach(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifacts: &[Digest],
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<AttachOutcome, BackendError> {
        let listed = self.referrers(repository, subject).await?;
        let is_listed = |digest: &Digest| {
            listed
                .iter()
                .any(|referrer| referrer.descriptor.digest == *digest)
        };
        let mut outcome = AttachOutcome::AlreadyThere;
        for digest in artifacts.iter().filter(|digest| !is_listed(digest)) {
            // Whoever names it in the index lists it: its manifest says what it refers to.
            self.upload(repository, digest, store, task).await?;
            outcome = AttachOutcome::Attached;
        }
        Ok(outcome)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, BackendError> {
        let (registry, repository, subject) = (self.clone(), repository.clone(), subject.clone());
        blocking(WORK, move || {
            let Some((layout, index)) = registry.read()? else {
                return Ok(Vec::new());
            };
            let mut referrers = Vec::new();
            for entry in index
                .manifests
                .iter()
                .filter(|entry| belongs(entry, &repository) && entry.artifact_type.is_some())
            {
                let descriptor = entry.checked()?;
                let manifest = layout.read_blob(&descriptor.digest)?;
                if manifest.is_some_and(|bytes| image::subject(&bytes).as_ref() == Some(&subject)) {
                    referrers.push(Referrer {
                        descriptor,
                        artifact_type: entry.artifact_type.clone(),
                    });
                }
            }
            Ok(referrers)
        })
        .await
    }

    async fn expiring(&self, _repository: &RepositoryName) -> Result<Vec<Expiring>, BackendError> {
        // Nothing is ever removed from the directory by rule.
        Ok(Vec::new())
    }

    async fn tag(
        &self,
        requests: &[TagRequest],
        _task: &TaskContext,
    ) -> Result<Vec<TagOutcome>, BackendError> {
        let (registry, requests) = (self.clone(), requests.to_vec());
        blocking(WORK, move || registry.tag_blocking(&requests)).await
    }

    async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, BackendError> {
        let (registry, repository, reference) =
            (self.clone(), repository.clone(), reference.clone());
        blocking(WORK, move || {
            Ok(registry
                .find(&repository, &reference)?
                .map(|found| found.manifest.descriptor))
        })
        .await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, BackendError> {
        let (registry, repository, reference) =
            (self.clone(), repository.clone(), reference.clone());
        blocking(WORK, move || {
            Ok(registry
                .find(&repository, &reference)?
                .map(|found| (found.manifest.descriptor, found.manifest.bytes)))
        })
        .await
    }

    async fn details(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ImageDetails>, BackendError> {
        let (registry, repository, reference) =
            (self.clone(), repository.clone(), reference.clone());
        blocking(WORK, move || {
            let Some(found) = registry.find(&repository, &reference)? else {
                return Ok(None);
            };
            let missing = found.layout.missing(&found.manifest)?;
            let digest = found.manifest.descriptor.digest.clone();
            let entries: Vec<&RawDescriptor> = found
                .index
                .manifests
                .iter()
                .filter(|entry| belongs(entry, &repository) && entry.digest == digest.as_str())
                .collect();
            Ok(Some(ImageDetails {
                descriptor: found.manifest.descriptor,
                pullable: match missing.first() {
                    None => Ok(()),
                    Some(blob) => Err(format!("blob {blob} is not there")),
                },
                pushed_at: entries
                    .iter()
                    .filter_map(|entry| entry.annotations.get(PUSHED_AT)?.parse().ok())
                    .min(),
                tags: entries
                    .iter()
                    .filter_map(|entry| tag_of(entry, &repository))
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            }))
        })
        .await
    }

    async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, BackendError> {
        let (registry, repository) = (self.clone(), repository.clone());
        blocking(WORK, move || {
            let Some((_, index)) = registry.read()? else {
                return Ok(Vec::new());
            };
            let tags: BTreeSet<String> = index
                .manifests
                .iter()
                .filter_map(|entry| tag_of(entry, &repository))
                .map(str::to_owned)
                .collect();
            Ok(tags.into_iter().collect())
        })
        .await
    }
}

/// The tag that an entry gives its image in this repository. Tools that write `repository:tag` by themselves are understood.
fn tag_of<'a>(entry: &'a RawDescriptor, repository: &RepositoryName) -> Option<&'a str> {
    entry
        .annotations
        .get(REF_NAME)?
        .strip_prefix(repository.as_str())?
        .strip_prefix(':')
}

fn belongs(entry: &RawDescriptor, repository: &RepositoryName) -> bool {
    entry.annotations.get(REPOSITORY).map(String::as_str) == Some(repository.as_str())
        || tag_of(entry, repository).is_some()
}

fn named<'a>(
    index: &'a RawIndex,
    repository: &RepositoryName,
    tag: &str,
) -> Option<&'a RawDescriptor> {
    index
        .manifests
        .iter()
        .find(|entry| tag_of(entry, repository) == Some(tag))
}

fn entry(manifest: &Manifest, repository: &RepositoryName, tag: Option<&str>) -> RawDescriptor {
    let mut entry = RawDescriptor::new(&manifest.descriptor);
    entry.artifact_type = image::artifact_type(&manifest.bytes);
    entry
        .annotations
        .insert(REPOSITORY.to_owned(), repository.to_string());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    entry
        .annotations
        .insert(PUSHED_AT.to_owned(), now.to_string());
    if let Some(tag) = tag {
        entry
            .annotations
            .insert(REF_NAME.to_owned(), format!("{repository}:{tag}"));
    }
    entry
}

fn not_there(request: &TagRequest) -> BackendError {
    BackendError::new(
        ErrorClass::NotFound,
        format!("tag {}:{}", request.repository, request.tag),
    )
    .because(format!(
        "image {} is not in the repository, or not whole",
        request.digest
    ))
}

/// What each request will do; nothing is changed where one of them cannot be done.
fn check(
    layout: &Layout,
    index: &RawIndex,
    requests: &[TagRequest],
) -> Result<Vec<TagOutcome>, BackendError> {
    check_tags(requests)?;
    let mut outcomes = Vec::with_capacity(requests.len());
    let mut conflicts = TagConflicts::default();
    for request in requests {
        let repository = &request.repository;
        match named(index, repository, &request.tag) {
            Some(entry) if entry.digest == request.digest.as_str() => {
                outcomes.push(TagOutcome::AlreadyThere);
            }
            Some(entry) => {
                let found = entry.checked()?.digest;
                let origin = origin(layout, &found).pushed(pushed_at(entry));
                conflicts.add(request, &found, &origin);
            }
            None => {
                let there = index.manifests.iter().any(|entry| {
                    belongs(entry, repository) && entry.digest == request.digest.as_str()
                });
                let whole = match layout.manifest(&request.digest)? {
                    Some(manifest) => layout.missing(&manifest)?.is_empty(),
                    None => false,
                };
                if !there || !whole {
                    return Err(not_there(request));
                }
                outcomes.push(TagOutcome::Set);
            }
        }
    }
    conflicts.into_result()?;
    Ok(outcomes)
}

fn set(index: &mut RawIndex, manifest: &Manifest, request: &TagRequest) {
    let repository = &request.repository;
    if named(index, repository, &request.tag).is_some() {
        return;
    }
    let mut tagged = entry(manifest, repository, Some(&request.tag));
    // The tag's entry stands for the image from now on; it keeps the time of the upload.
    index.manifests.retain(|old| {
        let uploaded = belongs(old, repository)
            && old.digest == tagged.digest
            && tag_of(old, repository).is_none();
        if uploaded && let Some(at) = old.annotations.get(PUSHED_AT) {
            tagged.annotations.insert(PUSHED_AT.to_owned(), at.clone());
        }
        !uploaded
    });
    index.manifests.push(tagged);
}

/// What an image says of where it comes from; one that cannot be read says nothing.
fn origin(layout: &Layout, digest: &Digest) -> Origin {
    let manifest = layout.manifest(digest).ok().flatten();
    let config = manifest
        .filter(|manifest| manifest.config.size <= CONFIG_BYTES as u64)
        .and_then(|manifest| layout.read_blob(&manifest.config.digest).ok().flatten());
    Origin::of_config(&config.unwrap_or_default())
}

fn pushed_at(entry: &RawDescriptor) -> Option<i64> {
    entry.annotations.get(PUSHED_AT)?.parse().ok()
}

/// A blob from the store: by a hard link where both are on one file system, else by a copy; verified either way.
fn take_blob(
    layout: &Layout,
    blob: &Descriptor,
    store: &dyn ImageStore,
) -> Result<(), BackendError> {
    if let Some(place) = store.place(&blob.digest)
        && link(layout, blob, &place)?
    {
        return Ok(());
    }
    let mut writer = layout.writer()?;
    copy(
        &mut store.open(&blob.digest)?.take(blob.size.saturating_add(1)),
        &mut writer,
    )
    .map_err(|error| disk_error("copy a blob into", layout.root(), error))?;
    writer.commit(Some(&blob.digest))?;
    Ok(())
}

fn link(layout: &Layout, blob: &Descriptor, from: &Place) -> Result<bool, BackendError> {
    // A file has one owner and one set of permissions, whatever its names: what is for us alone stays so.
    if from.owner() != layout.place().owner() {
        return Ok(false);
    }
    let Ok((store, name)) = from.parent() else {
        return Ok(false);
    };
    let Ok(mut file) = store.open(&name) else {
        return Ok(false);
    };
    let path = from.path();
    let mut hasher = Hasher::default();
    let size = copy(&mut file, &mut hasher).map_err(|error| disk_error("read", path, error))?;
    let found = hasher.digest();
    if found != blob.digest || size != blob.size {
        return Err(BackendError::new(
            ErrorClass::Conflict,
            format!("take blob {} out of the store", blob.digest),
        )
        .because(format!("{} holds {found}", path.display()))
        .hint("the file is damaged: remove it and build again"));
    }
    let linked = layout
        .blobs()
        .open()
        .and_then(|blobs| store.link(&name, &blobs, blob.digest.hex()));
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Either another process was quicker, or a damaged file of another size is in the way.
            if layout.size(&blob.digest)? == Some(blob.size) {
                return Ok(true);
            }
            Ok(false)
        }
        // Another file system, or one without links.
        Err(_) => Ok(false),
    }
}

#[derive(Default)]
struct Hasher(sha2::Sha256);

impl Hasher {
    fn digest(self) -> Digest {
        image::digest_from(sha2::Digest::finalize(self.0).as_slice())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
