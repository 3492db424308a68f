//! What every [`Registry`] must do.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{
    Artifact, AttachOutcome, ImageStore, Reference, Registry, TagOutcome, TagRequest,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::{TaskContext, TaskMessage};
use shipline_model::name::{Digest, RepositoryName};
use shipline_model::plan::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A registry under test.
pub struct Subject {
    /// The registry. Its repositories are empty.
    pub registry: Arc<dyn Registry>,
    /// Where the suite puts the images that it pushes.
    pub store: Arc<dyn ImageStore>,
    /// Two repositories that can be pushed to.
    pub repositories: [RepositoryName; 2],
    /// Where a double is known to do otherwise than the real thing.
    pub deviations: &'static [Deviation],
    /// One that is not there and, where the registry creates what is pushed to, was never pushed to.
    pub unknown: RepositoryName,
}

/// How a double by others differs from what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deviation {
    /// It finds an image by its newest tag only (ministack).
    ForgetsEarlierTags,
    /// It takes documents that refer to an image and lists them nowhere (ministack).
    ListsNoReferrers,
}

/// A task's context whose messages are kept.
#[derive(Debug)]
pub struct Task {
    /// The context.
    pub context: TaskContext,
    /// Stops the task.
    pub cancel: CancellationToken,
    messages: mpsc::Receiver<(TaskId, TaskMessage)>,
}

impl Default for Task {
    fn default() -> Self {
        let (sender, messages) = mpsc::channel(100_000);
        let cancel = CancellationToken::new();
        let stage = match "push".parse() {
            Ok(stage) => stage,
            Err(error) => unreachable!("{error}"),
        };
        let id = TaskId {
            stage,
            component: None,
            variant: None,
        };
        Self {
            context: TaskContext::new(id, sender, cancel.clone()),
            cancel,
            messages,
        }
    }
}

impl Task {
    /// What was said since the last time.
    pub fn messages(&mut self) -> Vec<TaskMessage> {
        let mut messages = Vec::new();
        while let Ok((_, message)) = self.messages.try_recv() {
            messages.push(message);
        }
        messages
    }
}

/// Puts an image into a store: a config that holds `text`, and one layer for each length, of bytes that follow from its
/// number and length alone, so that images share layers.
///
/// # Errors
/// Where the store cannot take it.
pub fn image(store: &dyn ImageStore, text: &str, layers: &[usize]) -> Result<Digest, BackendError> {
    image_with(store, &[("text", text)], layers)
}

/// Puts an image of one small layer and these labels into a store.
///
/// # Errors
/// Where the store cannot take it.
pub fn labelled(store: &dyn ImageStore, labels: &[(&str, &str)]) -> Result<Digest, BackendError> {
    image_with(store, labels, &[7])
}

fn image_with(
    store: &dyn ImageStore,
    labels: &[(&str, &str)],
    layers: &[usize],
) -> Result<Digest, BackendError> {
    let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
    let mut entries = Vec::new();
    let mut diff_ids = Vec::new();
    for (number, length) in layers.iter().enumerate() {
        let bytes = noise(number as u64 + 1, *length);
        let (digest, size) =
            store.put_stream(&mut |writer| std::io::Write::write_all(writer, &bytes))?;
        entries.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest.as_str(),
            "size": size,
        }));
        diff_ids.push(digest.to_string());
    }
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let (digest, size) =
        store.put_stream(&mut |writer| std::io::Write::write_all(writer, config.as_bytes()))?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest.as_str(),
            "size": size,
        },
        "layers": entries,
    });
    // Two spaces: a registry that writes the manifest anew is found out.
    let manifest = manifest.to_string().replacen(':', ":  ", 1);
    store.put_manifest(MANIFEST, manifest.as_bytes())
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (length as u64);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A request to set a tag.
#[must_use]
pub fn request(repository: &RepositoryName, tag: &str, digest: &Digest) -> TagRequest {
    TagRequest {
        repository: repository.clone(),
        tag: tag.to_owned(),
        digest: digest.clone(),
    }
}

const TAG: &str = "staging-0123abcd-20260102030405";

/// Runs the whole suite; panics at what is wrong.
///
/// # Panics
/// Where the registry does not do what it must.
pub async fn suite(subject: &Subject) {
    nothing_is_there_at_first(subject).await;
    let (one, two) = images_go_in_by_digest(subject).await;
    tags_go_together(subject, &one, &two).await;
    tags_never_move(subject, &one, &two).await;
    what_is_described_is_there(subject, &one).await;
    documents_refer_to_an_image(subject, &one, &two).await;
    assert_eq!(
        good(subject.registry.expiring(&subject.repositories[0]).await),
        []
    );
    a_cancelled_upload_stops(subject).await;
}

#[track_caller]
fn good<T>(result: Result<T, BackendError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}: {:?}", error.cause),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, BackendError>, class: ErrorClass) -> BackendError {
    match result {
        Ok(value) => panic!("went through with {value:?}"),
        Err(error) => {
            assert_eq!(error.class, class, "{error}: {:?}", error.cause);
            error
        }
    }
}

async fn nothing_is_there_at_first(subject: &Subject) {
    let Subject {
        registry,
        repositories,
        unknown,
        ..
    } = subject;
    let nothing = good(
        format!("sha256:{}", "0".repeat(64))
            .parse::<Digest>()
            .map_err(|error| {
                BackendError::new(ErrorClass::Invalid, "name a digest").because(error)
            }),
    );
    for repository in [&repositories[0], unknown] {
        for reference in [
            Reference::Tag("nothing".to_owned()),
            Reference::Digest(nothing.clone()),
        ] {
            assert_eq!(good(registry.resolve(repository, &reference).await), None);
            assert_eq!(good(registry.manifest(repository, &reference).await), None);
            assert_eq!(good(registry.details(repository, &reference).await), None);
        }
        assert_eq!(good(registry.tags(repository).await), Vec::<String>::new());
    }
    good(registry.preflight(repositories).await);
    assert_eq!(
        good(registry.tags(&repositories[0]).await),
        Vec::<String>::new()
    );
}

async fn images_go_in_by_digest(subject: &Subject) -> (Digest, Digest) {
    let Subject {
        registry,
        store,
        repositories: [first, second],
        ..
    } = subject;
    let task = Task::default();
    // A layer of several read and network buffers, one of a single byte, and one that both images have.
    let one = good(image(store.as_ref(), "one", &[3 << 20, 1, 70_000]));
    let two = good(image(store.as_ref(), "two", &[3 << 20, 1, 70_000, 900]));
    refused(
        registry
            .tag(&[request(first, TAG, &one)], &task.context)
            .await,
        ErrorClass::NotFound,
    );
    let sent = good(registry.upload(first, &one, store, &task.context).await).sent;
    assert!(sent >= (3 << 20) + 1 + 70_000, "{sent}");
    let again = good(registry.upload(first, &one, store, &task.context).await).sent;
    assert_eq!(again, 0);
    good(registry.upload(second, &two, store, &task.context).await);
    let more = good(registry.upload(first, &two, store, &task.context).await).sent;
    assert!(
        more < 10_000,
        "{more}: only a small layer and the config are new"
    );
    assert_eq!(good(registry.tags(first).await), Vec::<String>::new());
    for (repository, digest) in [(first, &one), (first, &two), (second, &two)] {
        let reference = Reference::Digest(digest.clone());
        let found = good(registry.resolve(repository, &reference).await);
        assert_eq!(found.map(|found| found.digest).as_ref(), Some(digest));
    }
    let elsewhere = registry
        .resolve(second, &Reference::Digest(one.clone()))
        .await;
    assert_eq!(good(elsewhere), None);
    let missing = good(
        format!("sha256:{}", "1".repeat(64))
            .parse::<Digest>()
            .map_err(|error| {
                BackendError::new(ErrorClass::Invalid, "name a digest").because(error)
            }),
    );
    refused(
        registry.upload(first, &missing, store, &task.context).await,
        ErrorClass::NotFound,
    );
    (one, two)
}

async fn tags_go_together(subject: &Subject, one: &Digest, two: &Digest) {
    let Subject {
        registry,
        repositories: [first, second],
        ..
    } = subject;
    let task = Task::default();
    // The second image is not there: nothing is set.
    let requests = [request(first, TAG, one), request(second, "x", one)];
    refused(
        registry.tag(&requests, &task.context).await,
        ErrorClass::NotFound,
    );
    assert_eq!(good(registry.tags(first).await), Vec::<String>::new());
    let requests = [
        request(first, TAG, one),
        request(second, "0123abcd-20260102030405", two),
    ];
    assert_eq!(
        good(registry.tag(&requests, &task.context).await),
        [TagOutcome::Set, TagOutcome::Set]
    );
    assert_eq!(
        good(registry.tag(&requests, &task.context).await),
        [TagOutcome::AlreadyThere, TagOutcome::AlreadyThere]
    );
    assert_eq!(
        good(registry.tags(second).await),
        ["0123abcd-20260102030405"]
    );
    if subject.deviations.contains(&Deviation::ForgetsEarlierTags) {
        return;
    }
    // One image may have several tags.
    let more = [request(first, TAG, one), request(first, "another", one)];
    assert_eq!(
        good(registry.tag(&more, &task.context).await),
        [TagOutcome::AlreadyThere, TagOutcome::Set]
    );
    assert_eq!(good(registry.tags(first).await), ["another", TAG]);
}

async fn tags_never_move(subject: &Subject, one: &Digest, two: &Digest) {
    let Subject {
        registry,
        repositories: [first, _],
        ..
    } = subject;
    let task = Task::default();
    let requests = [request(first, "new", two), request(first, TAG, two)];
    let error = refused(
        registry.tag(&requests, &task.context).await,
        ErrorClass::Conflict,
    );
    let text = error
        .cause
        .map(|cause| cause.to_string())
        .unwrap_or_default();
    assert!(
        text.contains(one.as_str()) && text.contains(two.as_str()),
        "both digests are shown: {text}"
    );
    let twice = [request(first, "new", one), request(first, "new", two)];
    refused(
        registry.tag(&twice, &task.context).await,
        ErrorClass::Conflict,
    );
    for bad in ["", "-a", ".a", "a:b", "a/b", "a b"] {
        refused(
            registry
                .tag(&[request(first, bad, one)], &task.context)
                .await,
            ErrorClass::Invalid,
        );
    }
    let mut tags = good(registry.tags(first).await);
    tags.retain(|tag| tag != "another");
    assert_eq!(tags, [TAG]);
    let found = good(
        registry
            .resolve(first, &Reference::Tag(TAG.to_owned()))
            .await,
    );
    assert_eq!(found.map(|found| found.digest).as_ref(), Some(one));
}

async fn what_is_described_is_there(subject: &Subject, one: &Digest) {
    let Subject {
        registry,
        store,
        repositories: [first, _],
        ..
    } = subject;
    let by_tag = Reference::Tag(TAG.to_owned());
    let details = good(registry.details(first, &by_tag).await);
    let Some(details) = details else {
        panic!("a tag that was set is not described");
    };
    assert_eq!(details.pullable, Ok(()));
    assert_eq!(&details.descriptor.digest, one);
    assert!(details.tags.contains(&TAG.to_owned()), "{details:?}");
    let (digest, reader) = (one.clone(), Arc::clone(store));
    let kept = good(reader.manifest(&digest));
    let found = good(registry.manifest(first, &by_tag).await);
    let (Some(kept), Some((descriptor, bytes))) = (kept, found) else {
        panic!("a tag that was set has no manifest");
    };
    assert_eq!(descriptor, kept.descriptor);
    assert_eq!(bytes, kept.bytes, "byte for byte");
    assert_eq!(hex::encode(Sha256::digest(&bytes)), one.hex());
}

/// Puts a document about an image into a store.
///
/// # Errors
/// Where the store cannot take it, or does not have the image.
pub fn document(
    store: &dyn ImageStore,
    subject: &Digest,
    text: &str,
) -> Result<Digest, BackendError> {
    let image = store
        .manifest(subject)?
        .ok_or_else(|| BackendError::new(ErrorClass::NotFound, format!("find {subject}")))?;
    let artifact = Artifact {
        media_type: DOCUMENT.to_owned(),
        title: format!("{text}.json"),
        bytes: format!("{{\"text\":\"{text}\"}}").into_bytes(),
    };
    let manifest = artifact.manifest(&image.descriptor)?;
    artifact.keep(&manifest, store)?;
    Ok(manifest.digest)
}

const DOCUMENT: &str = "application/sarif+json";

async fn documents_refer_to_an_image(subject: &Subject, one: &Digest, two: &Digest) {
    let Subject {
        registry,
        store,
        repositories: [first, second],
        unknown,
        ..
    } = subject;
    let task = Task::default();
    let documents: Vec<Digest> = ["a", "b", "c", "d"]
        .iter()
        .map(|text| good(document(store.as_ref(), one, text)))
        .collect();
    let attach = async |documents: &[Digest]| {
        registry
            .attach(first, one, documents, store, &task.context)
            .await
    };
    if subject.deviations.contains(&Deviation::ListsNoReferrers) {
        refused(attach(&documents).await, ErrorClass::Unavailable);
        return;
    }
    assert_eq!(good(registry.referrers(first, one).await), []);
    assert_eq!(good(registry.referrers(unknown, one).await), []);
    let tags = good(registry.tags(first).await);
    assert_eq!(good(attach(&documents[..1]).await), AttachOutcome::Attached);
    assert_eq!(
        good(attach(&documents[..1]).await),
        AttachOutcome::AlreadyThere
    );
    assert_eq!(good(attach(&documents[..2]).await), AttachOutcome::Attached);
    // Several writers at once may have to write again, now or in their next run, and none takes what was there away.
    let pairs = [&documents[1..3], &documents[2..4], &documents[..3]];
    let together = futures_util::future::join_all(pairs.map(&attach)).await;
    for result in together {
        // (`docker-registry` does not write at once what a reader sees.)
        let passing = [
            ErrorClass::Unavailable,
            ErrorClass::Retryable,
            ErrorClass::Conflict,
        ];
        if let Err(error) = result {
            assert!(passing.contains(&error.class), "{error}: {:?}", error.cause);
        }
    }
    good(attach(&documents).await);
    assert_eq!(good(attach(&documents).await), AttachOutcome::AlreadyThere);
    let listed = good(registry.referrers(first, one).await);
    let mut digests: Vec<&Digest> = listed
        .iter()
        .map(|found| &found.descriptor.digest)
        .collect();
    digests.sort_unstable();
    let mut expected: Vec<&Digest> = documents.iter().collect();
    expected.sort_unstable();
    assert_eq!(digests, expected, "each once");
    for found in &listed {
        assert_eq!(found.artifact_type.as_deref(), Some(DOCUMENT));
        let reference = Reference::Digest(found.descriptor.digest.clone());
        let manifest = good(registry.manifest(first, &reference).await);
        let kept = good(store.manifest(&found.descriptor.digest));
        let (Some((descriptor, bytes)), Some(kept)) = (manifest, kept) else {
            panic!("a document that is listed is not there");
        };
        assert_eq!(descriptor, found.descriptor);
        assert_eq!(bytes, kept.bytes, "byte for byte");
    }
    assert_eq!(good(registry.referrers(first, two).await), []);
    assert_eq!(good(registry.referrers(second, one).await), []);
    // To those who look for images, nothing has changed.
    assert_eq!(good(registry.tags(first).await), tags);
    let tag = Reference::Tag(TAG.to_owned());
    let found = good(registry.resolve(first, &tag).await);
    assert_eq!(found.map(|found| found.digest).as_ref(), Some(one));
}

async fn a_cancelled_upload_stops(subject: &Subject) {
    let Subject {
        registry,
        store,
        repositories: [first, _],
        ..
    } = subject;
    let task = Task::default();
    task.cancel.cancel();
    let digest = good(image(store.as_ref(), "cancelled", &[100_000, 5]));
    refused(
        registry.upload(first, &digest, store, &task.context).await,
        ErrorClass::Cancelled,
    );
}
