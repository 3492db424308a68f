//! Blobs of a registry: looked for, sent in one piece, read back, and fetched into the store.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::FaultPoint;
use shipline_engine::task::TaskContext;
use shipline_http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use shipline_http::{Again, Answer, Failed, Method, StatusCode, Url};
use shipline_model::name::{Digest, RepositoryName};
use tokio::sync::mpsc;

use super::DistributionRegistry;
use super::body::{Progress, Share};
use super::client::{Call, Payload, header, no_registry};
use super::failure::{Refusal, is_about_the_method};
use super::manifests::{DOCKER_CONTENT_DIGEST, is_other, other_digest, pull_scope, push_scope};
use crate::blocking::blocking;

/// Pieces of a fetched blob that wait to be written.
const AHEAD: usize = 8;
/// What registries answer to a step of an upload that they took.
const BEGUN: [StatusCode; 4] = [
    StatusCode::ACCEPTED,
    StatusCode::CREATED,
    StatusCode::OK,
    StatusCode::NO_CONTENT,
];

/// How blobs are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `PUT` with the blob.
    Put,
    /// One `PATCH` with the blob, then an empty `PUT`. (Never several: ECR keeps only the first.)
    Patch,
}

impl DistributionRegistry {
    /// Whether the repository has the blob.
    async fn has_blob(
        &self,
        path: &str,
        blob: &Descriptor,
        attempted: &str,
    ) -> Result<bool, Failed> {
        let asked = self.look_at_blob(Method::HEAD, path, blob, attempted).await;
        let response = match asked {
            // Some registries, and storage whose addresses are signed for one method, cannot answer without a body.
            Err(failed) if is_about_the_method(&failed.error) => {
                self.look_at_blob(Method::GET, path, blob, attempted)
                    .await?
            }
            asked => asked?,
        };
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        if let Some(said) = header(response.headers(), DOCKER_CONTENT_DIGEST)
            && is_other(said, &blob.digest)
        {
            return Err(other_digest(attempted, said, &blob.digest).into());
        }
        let size = header(response.headers(), CONTENT_LENGTH.as_str());
        // Proxies in between say 0 of an answer that has no body.
        if let Some(size) = size.and_then(|size| size.parse::<u64>().ok())
            && size != blob.size
            && size != 0
        {
            return Err(BackendError::new(ErrorClass::Conflict, attempted)
                .because(format!(
                    "the registry has {size} bytes of blob {}, which is {} bytes long",
                    blob.digest, blob.size
                ))
                .hint(no_registry(&self.client.address.host))
                .into());
        }
        Ok(true)
    }

    async fn look_at_blob(
        &self,
        method: Method,
        path: &str,
        blob: &Descriptor,
        attempted: &str,
    ) -> Result<Answer, Failed> {
        let (to, scope) = (
            format!("/v2/{path}/blobs/{}", blob.digest),
            push_scope(path),
        );
        let call = Call::new(method, &to, &scope, attempted);
        let expected = [StatusCode::OK, StatusCode::NOT_FOUND];
        // Of `GET`, only the head is read: a part of the blob would do, but not every registry gives parts.
        self.client.call(&call, &expected).await
    }

    /// Makes sure that the repository has the blob; gives the bytes that were sent for it.
    pub(super) async fn send_blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        store: &Arc<dyn ImageStore>,
        progress: &Arc<Progress>,
        task: &TaskContext,
    ) -> Result<u64, BackendError> {
        let path = self.client.address.path(repository);
        let attempted = format!(
            "push blob {} to {}",
            blob.digest,
            self.client.address.image_name(repository)
        );
        let share = Share::new(progress);
        let mut tries = self.client.tries(Some(task));
        loop {
            match self
                .try_send_blob(&path, blob, store, &share, &attempted)
                .await
            {
                Ok(sent) => {
                    share.complete(blob.size);
                    self.remember(&blob.digest, &path);
                    if sent > 0 {
                        self.faults.reach(FaultPoint::RegistryBlob);
                    }
                    return Ok(sent);
                }
                Err(failed) => {
                    share.undo();
                    tries.after(failed).await?;
                }
            }
        }
    }

    async fn try_send_blob(
        &self,
        path: &str,
        blob: &Descriptor,
        store: &Arc<dyn ImageStore>,
        share: &Share,
        attempted: &str,
    ) -> Result<u64, Failed> {
        if self.has_blob(path, blob, attempted).await? {
            return Ok(0);
        }
        let Some(upload) = self.begin(path, blob, attempted).await? else {
            self.require(path, blob, attempted).await?;
            return Ok(0);
        };
        let form = if self.patches.load(Ordering::Relaxed) {
            Form::Patch
        } else {
            Form::Put
        };
        self.faults.reach(FaultPoint::RegistryUpload);
        let payload = Payload::Blob {
            store,
            blob,
            share,
            faults: &self.faults,
        };
        match form {
            Form::Put => {
                if let Err(failed) = self.finish(path, upload, blob, payload, attempted).await {
                    return Err(self.other_form(begun_anew(failed)));
                }
            }
            Form::Patch => {
                let upload = self.patch(path, &upload, payload, attempted).await;
                let upload = upload.map_err(begun_anew)?;
                self.finish(path, upload, blob, Payload::Nothing, attempted)
                    .await
                    .map_err(begun_anew)?;
            }
        }
        self.faults.reach(FaultPoint::RegistryBlobTaken);
        self.require(path, blob, attempted).await?;
        Ok(blob.size)
    }

    /// A registry that does not take blobs with `PUT` gets them with `PATCH` from now on.
    fn other_form(&self, failed: Failed) -> Failed {
        let unsupported = failed
            .error
            .cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<Refusal>())
            .is_some_and(|refusal| {
                // Artifactory calls an upload that got no `PATCH` unknown.
                let unknown =
                    refusal.status == StatusCode::NOT_FOUND && !refusal.has("NAME_UNKNOWN");
                unknown
                    || refusal.has("UNSUPPORTED")
                    || matches!(refusal.status.as_u16(), 405 | 415 | 501)
            });
        if unsupported {
            self.patches.store(true, Ordering::Relaxed);
            return Failed {
                error: failed.error,
                again: Again::Once,
            };
        }
        failed
    }

    /// Begins an upload; `None` where the registry had the blob elsewhere and took it from there.
    async fn begin(
        &self,
        path: &str,
        blob: &Descriptor,
        attempted: &str,
    ) -> Result<Option<Url>, Failed> {
        let to = format!("/v2/{path}/blobs/uploads/");
        let scope = push_scope(path);
        if let Some(from) = self.elsewhere(&blob.digest, path) {
            let to = format!("{to}?mount={}&from={from}", blob.digest);
            let scope = format!("{scope} {}", pull_scope(&from));
            match self.begin_at(path, &to, &scope, attempted).await {
                // It would only have saved an upload: who may not read there can still write here, and not every registry
                // knows what is asked.
                Err(failed) if failed.error.class != ErrorClass::Cancelled => {}
                begun => return begun,
            }
        }
        self.begin_at(path, &to, &scope, attempted).await
    }

    async fn begin_at(
        &self,
        path: &str,
        to: &str,
        scope: &str,
        attempted: &str,
    ) -> Result<Option<Url>, Failed> {
        let call = Call::new(Method::POST, to, scope, attempted);
        let response = self.client.call(&call, &BEGUN).await?;
        let upload = self.upload_at(&response, path, attempted).await?;
        // Where the blob was taken over, the address is the blob's.
        if response.status() == StatusCode::CREATED
            && !upload
                .as_ref()
                .is_some_and(|upload| upload.path().contains("/blobs/uploads/"))
        {
            return Ok(None);
        }
        match upload {
            Some(upload) => Ok(Some(upload)),
            None => Err(BackendError::new(ErrorClass::Invalid, attempted)
                .because("the registry did not say where the upload goes")
                .hint(no_registry(&self.client.address.host))
                .into()),
        }
    }

    /// Where an upload goes on, as far as the registry says it: by its address, or by its ID alone.
    async fn upload_at(
        &self,
        response: &Answer,
        path: &str,
        attempted: &str,
    ) -> Result<Option<Url>, BackendError> {
        if let Some(url) = self.client.location(response, path, attempted).await? {
            return Ok(Some(url));
        }
        let clean = |id: &&str| {
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.=".contains(&b))
        };
        let id = header(response.headers(), "docker-upload-uuid").filter(clean);
        Ok(id.and_then(|id| {
            let to = format!("/v2/{path}/blobs/uploads/{id}");
            response.url().join(&to).ok()
        }))
    }

    async fn patch(
        &self,
        path: &str,
        upload: &Url,
        payload: Payload<'_>,
        attempted: &str,
    ) -> Result<Url, Failed> {
        let scope = push_scope(path);
        let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/octet-stream")];
        let mut call = Call::new(Method::PATCH, upload.as_str(), &scope, attempted);
        call.headers = &headers;
        call.payload = payload;
        let response = self.client.call(&call, &BEGUN).await?;
        let next = self.client.location(&response, path, attempted).await?;
        // Who says nothing goes on where he is.
        Ok(next.unwrap_or_else(|| upload.clone()))
    }

    async fn finish(
        &self,
        path: &str,
        mut upload: Url,
        blob: &Descriptor,
        payload: Payload<'_>,
        attempted: &str,
    ) -> Result<(), Failed> {
        upload
            .query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let scope = push_scope(path);
        let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/octet-stream")];
        let mut call = Call::new(Method::PUT, upload.as_str(), &scope, attempted);
        call.headers = &headers;
        call.payload = payload;
        let response = self.client.call(&call, &BEGUN).await?;
        match header(response.headers(), DOCKER_CONTENT_DIGEST) {
            Some(said) if is_other(said, &blob.digest) => {
                Err(other_digest(attempted, said, &blob.digest).into())
            }
            _ => Ok(()),
        }
    }

    /// Reads back that the registry has what it took.
    async fn require(&self, path: &str, blob: &Descriptor, attempted: &str) -> Result<(), Failed> {
        if self.has_blob(path, blob, attempted).await? {
            return Ok(());
        }
        // What answers `HEAD` may be a cache that still knows it as missing.
        let got = self.look_at_blob(Method::GET, path, blob, attempted);
        if got.await?.status() != StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(BackendError::new(ErrorClass::Retryable, attempted)
            .because("the registry took the blob and does not have it")
            .into())
    }

    /// Begins an upload and takes it back: proves that the repository can be written.
    pub(super) async fn probe_upload(
        &self,
        repository: &RepositoryName,
    ) -> Result<(), BackendError> {
        let path = self.client.address.path(repository);
        let attempted = format!("push to {}", self.client.address.image_name(repository));
        let (to, scope) = (format!("/v2/{path}/blobs/uploads/"), push_scope(&path));
        let call = Call::new(Method::POST, &to, &scope, &attempted);
        let response = self.client.insist(&call, &BEGUN, None).await?;
        let Some(upload) = self.upload_at(&response, &path, &attempted).await? else {
            return Ok(());
        };
        let cancel = Call::new(Method::DELETE, upload.as_str(), &scope, &attempted);
        // Not every registry can; an upload that nobody ends is removed by all of them.
        let _ = self
            .client
            .call(&cancel, &[StatusCode::NO_CONTENT, StatusCode::OK])
            .await;
        Ok(())
    }

    /// Fetches a blob into the store, verified; what is there already is left alone.
    pub(super) async fn fetch_blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        store: &Arc<dyn ImageStore>,
        progress: &Arc<Progress>,
        task: &TaskContext,
    ) -> Result<u64, BackendError> {
        let attempted = format!(
            "pull blob {} of {}",
            blob.digest,
            self.client.address.image_name(repository)
        );
        let share = Share::new(progress);
        let (sizes, digest) = (Arc::clone(store), blob.digest.clone());
        let there = blocking(&attempted, move || sizes.size(&digest)).await?;
        if there == Some(blob.size) {
            share.complete(blob.size);
            return Ok(0);
        }
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
        let (writer, digest) = (Arc::clone(store), blob.digest.clone());
        let written = tokio::task::spawn_blocking(move || {
            writer.put_blob(&digest, &mut ChannelReader::new(receiver))
        });
        let fed = self
            .feed(repository, blob, &sender, &share, &attempted, task)
            .await;
        if let Err(error) = &fed {
            // The writer must not take what came so far for the whole blob.
            let _ = sender
                .send(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    error.to_string(),
                )))
                .await;
        }
        drop(sender);
        let written = written.await.map_err(|error| {
            BackendError::new(ErrorClass::Failed, attempted.clone()).because(error)
        })?;
        fed?;
        written.map_err(|error| error.within(attempted.clone()))?;
        share.complete(blob.size);
        Ok(blob.size)
    }

    /// Feeds a blob's bytes to its writer. A cut connection is taken up where it broke off, if the registry can do that: the
    /// digest proves the whole.
    async fn feed(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        sender: &mpsc::Sender<io::Result<Bytes>>,
        share: &Share,
        attempted: &str,
        task: &TaskContext,
    ) -> Result<(), BackendError> {
        let mut at = 0;
        let mut tries = self.client.tries(Some(task));
        loop {
            let failed = match self.get_blob(repository, &blob.digest, at, attempted).await {
                Ok(mut response) => {
                    // Who asked for a part and gets the whole skips what there is already.
                    let mut skip = if begins_at(&response, at) { 0 } else { at };
                    loop {
                        match response.chunk(attempted).await {
                            Ok(Some(mut chunk)) => {
                                let old = skip.min(chunk.len() as u64);
                                skip -= old;
                                let new =
                                    chunk.split_off(usize::try_from(old).unwrap_or(chunk.len()));
                                if new.is_empty() {
                                    continue;
                                }
                                at += new.len() as u64;
                                if at > blob.size {
                                    return Err(other_length(attempted, blob, at));
                                }
                                share.add(new.len() as u64);
                                if sender.send(Ok(new)).await.is_err() {
                                    // The writer has given up and says why.
                                    return Ok(());
                                }
                            }
                            Ok(None) if at == blob.size => return Ok(()),
                            Ok(None) => break other_length(attempted, blob, at).into(),
                            // All of it came, and then its end broke off: the digest tells.
                            Err(_) if at == blob.size => return Ok(()),
                            Err(error) => break error.into(),
                        }
                    }
                }
                Err(failed) => failed,
            };
            tries.after(failed).await?;
        }
    }

    pub(super) async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: u64,
        attempted: &str,
    ) -> Result<Answer, Failed> {
        let path = self.client.address.path(repository);
        let (to, scope) = (format!("/v2/{path}/blobs/{digest}"), pull_scope(&path));
        let range = format!("bytes={from}-");
        let headers: [(HeaderName, &str); 1] = [(RANGE, &range)];
        let mut call = Call::new(Method::GET, &to, &scope, attempted);
        if from > 0 {
            call.headers = &headers;
        }
        self.client
            .call(&call, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT])
            .await
    }
}

/// Whether an answer to a request for a part begins where it was asked to.
fn begins_at(response: &Answer, at: u64) -> bool {
    let begin = header(response.headers(), CONTENT_RANGE.as_str()).and_then(|range| {
        range
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .trim()
            .parse()
            .ok()
    });
    response.status() == StatusCode::PARTIAL_CONTENT && begin.is_none_or(|begin: u64| begin == at)
}

/// An upload that the registry has forgotten, or of which it has lost a part, is begun anew: what was sent is right, it was
/// hashed on its way.
fn begun_anew(failed: Failed) -> Failed {
    const LOST: [&str; 4] = [
        "BLOB_UPLOAD_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "DIGEST_INVALID",
        "SIZE_INVALID",
    ];
    let cause = failed.error.cause.as_ref();
    let lost = cause
        .and_then(|cause| cause.downcast_ref::<Refusal>())
        .is_some_and(|refusal| {
            LOST.iter().any(|code| refusal.has(code))
                || (matches!(refusal.status.as_u16(), 404 | 410) && !refusal.has("NAME_UNKNOWN"))
        });
    let Failed { mut error, again } = failed;
    if lost {
        error.class = ErrorClass::Retryable;
    }
    Failed { error, again }
}

fn other_length(attempted: &str, blob: &Descriptor, length: u64) -> BackendError {
    let class = if length < blob.size {
        ErrorClass::Retryable
    } else {
        ErrorClass::Conflict
    };
    BackendError::new(class, attempted).because(format!(
        "the registry sent {length} bytes of a blob that is {} bytes long",
        blob.size
    ))
}

/// Reads on a blocking thread what an async task sends.
struct ChannelReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
        }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
