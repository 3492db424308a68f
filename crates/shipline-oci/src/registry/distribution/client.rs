//! Requests to a registry: addressed, authorised, limited in time, and refusals read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use tokio::sync::OnceCell;

use super::auth::Authenticator;
use super::body::{Activity, BlobBody, Share};
use super::failure::{self, Refusal};
use super::host::{RegistryAddress, Transport};
use super::retry::{Again, Failed, RetryPolicy, Tries};
use crate::credentials::CredentialSource;

/// A transfer on which nothing moves for so long has failed, and so has a request without an answer.
const STALL: Duration = Duration::from_secs(120);
/// How often one request is sent again with other credentials.
const RENEWALS: usize = 2;
/// Time limit for the probe whether a registry speaks TLS.
const PROBE: Duration = Duration::from_secs(10);
/// Most that is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;

/// One registry and how it is spoken to.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) address: RegistryAddress,
    auth: Authenticator,
    pub(super) retries: RetryPolicy,
    base: OnceCell<Url>,
}

/// What a request carries.
pub(super) enum Payload<'a> {
    Nothing,
    Bytes(Bytes),
    /// A blob of the store, opened for each try.
    Blob {
        store: &'a Arc<dyn ImageStore>,
        blob: &'a Descriptor,
        share: &'a Share,
        faults: &'a Faults,
    },
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Absolute, or a path of the API (`/v2/…`).
    pub(super) to: &'a str,
    /// What tokens must allow (`repository:a:pull,push`).
    pub(super) scope: &'a str,
    pub(super) headers: &'a [(HeaderName, &'a str)],
    pub(super) payload: Payload<'a>,
    /// What is attempted, for errors.
    pub(super) attempted: &'a str,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, to: &'a str, scope: &'a str, attempted: &'a str) -> Self {
        Self {
            method,
            to,
            scope,
            headers: &[],
            payload: Payload::Nothing,
            attempted,
        }
    }
}

impl Client {
    pub(super) fn new(
        http: reqwest::Client,
        address: RegistryAddress,
        source: Arc<dyn CredentialSource>,
        retries: RetryPolicy,
    ) -> Self {
        Self {
            auth: Authenticator::new(http.clone(), address.host.clone(), source),
            http,
            address,
            retries,
            base: OnceCell::new(),
        }
    }

    pub(super) fn tries<'a>(&'a self, task: Option<&'a TaskContext>) -> Tries<'a> {
        Tries::new(&self.retries, task)
    }

    /// The API's root, found out where the address leaves TLS open.
    async fn base(&self, attempted: &str) -> Result<&Url, BackendError> {
        self.base
            .get_or_try_init(|| async {
                let root = |scheme: &str| {
                    Url::parse(&format!("{scheme}://{}/", self.address.api)).map_err(|error| {
                        BackendError::new(ErrorClass::Invalid, attempted).because(error)
                    })
                };
                match self.address.transport {
                    Transport::Encrypted => root("https"),
                    Transport::Plain => root("http"),
                    Transport::Either => {
                        let encrypted = root("https")?;
                        let probe = self.http.get(encrypted.join("v2/").map_err(|error| {
                            BackendError::new(ErrorClass::Invalid, attempted).because(error)
                        })?);
                        match probe.timeout(PROBE).send().await {
                            Ok(_) => Ok(encrypted),
                            // What speaks TLS and is not trusted stays encrypted, so that the error says so.
                            Err(error) if failure::is_certificate(&error) => Ok(encrypted),
                            Err(error) if error.is_connect() => root("http"),
                            Err(error) => {
                                Err(failure::connection(attempted, &self.address.host, error))
                            }
                        }
                    }
                }
            })
            .await
    }

    /// Where a registry wants an upload to go on (`Location`), absolute.
    pub(super) async fn location(
        &self,
        response: &Response,
        attempted: &str,
    ) -> Result<Url, BackendError> {
        let invalid = |why: String| BackendError::new(ErrorClass::Invalid, attempted).because(why);
        let base = self.base(attempted).await?;
        let text = response
            .headers()
            .get(reqwest::header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| invalid("the registry did not say where the upload goes".into()))?;
        let mut url = response
            .url()
            .join(text)
            .map_err(|error| invalid(format!("the registry sends the upload nowhere: {error}")))?;
        // Registries behind a proxy that ends TLS often do not know that they are encrypted.
        if base.scheme() == "https" && url.scheme() == "http" && url.host() == base.host() {
            let port = base.port();
            if url.set_scheme("https").is_err() || url.set_port(port).is_err() {
                return Err(invalid("the registry sends the upload nowhere".into()));
            }
        }
        Ok(url)
    }

    /// One try. A refusal for which credentials could be renewed is tried once more with new ones, or, where a blob was on its
    /// way, given back for the upload to begin again.
    ///
    /// An answer of a status in `expected` is given back, all others are errors.
    pub(super) async fn call(
        &self,
        call: &Call<'_>,
        expected: &[StatusCode],
    ) -> Result<Response, Failed> {
        let base = self.base(call.attempted).await?;
        let url = base.join(call.to).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, call.attempted).because(error)
        })?;
        // Storage elsewhere gets no credentials: its addresses carry their own.
        let ours = url.origin() == base.origin();
        let mut used = if ours {
            self.auth.header(call.scope).await?
        } else {
            None
        };
        // Once because the registry had not yet said what it wants, and once because what it got has expired.
        for _ in 0..RENEWALS {
            let response = self.send(call, &url, used.as_ref()).await?;
            let refused = match response.status() {
                StatusCode::UNAUTHORIZED => ours,
                // ECR says so of an expired token.
                StatusCode::FORBIDDEN => used.is_some(),
                _ => false,
            };
            if !refused {
                return self.expect(call, response, expected).await;
            }
            let plain = base.scheme() == "http";
            let renewed = self
                .auth
                .renew(response.headers(), call.scope, used.as_ref(), plain)
                .await?;
            let again = match (&renewed, &call.payload) {
                (None, _) => Again::ByClass,
                (Some(_), Payload::Blob { .. }) => Again::Once,
                (Some(_), Payload::Nothing | Payload::Bytes(_)) => {
                    used = renewed;
                    continue;
                }
            };
            return Err(Failed {
                error: self.refusal(call, response).await,
                again,
            });
        }
        let response = self.send(call, &url, used.as_ref()).await?;
        self.expect(call, response, expected).await
    }

    /// Tries until the registry answers with a status in `expected` or it is of no use.
    pub(super) async fn insist(
        &self,
        call: &Call<'_>,
        expected: &[StatusCode],
        task: Option<&TaskContext>,
    ) -> Result<Response, BackendError> {
        let mut tries = self.tries(task);
        loop {
            match self.call(call, expected).await {
                Ok(response) => return Ok(response),
                Err(failed) => tries.after(failed).await?,
            }
        }
    }

    async fn expect(
        &self,
        call: &Call<'_>,
        response: Response,
        expected: &[StatusCode],
    ) -> Result<Response, Failed> {
        if expected.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refusal(call, response).await.into())
        }
    }

    async fn refusal(&self, call: &Call<'_>, response: Response) -> BackendError {
        let (status, headers) = (response.status(), response.headers().clone());
        // A body that breaks off leaves the status, which says enough.
        let body = self
            .read(response, ERROR_BYTES, call.attempted)
            .await
            .unwrap_or_default();
        if status.is_success() || status.is_redirection() || status.is_informational() {
            return BackendError::new(ErrorClass::Invalid, call.attempted)
                .because(Refusal::read(status, &headers, &body))
                .hint(format!(
                    "Is {} a registry? It does not answer like one.",
                    self.address.host
                ));
        }
        Refusal::read(status, &headers, &body).into_error(call.attempted, &self.address.host)
    }

    async fn send(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, BackendError> {
        let activity = Activity::new();
        let mut request = self.http.request(call.method.clone(), url.clone());
        for (name, value) in call.headers {
            request = request.header(name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request = match &call.payload {
            // Without this, some registries wait for a body.
            Payload::Nothing
                if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) =>
            {
                request.header(CONTENT_LENGTH, 0)
            }
            Payload::Nothing => request,
            Payload::Bytes(bytes) => request.body(bytes.clone()),
            Payload::Blob {
                store,
                blob,
                share,
                faults,
            } => {
                share.undo();
                let body = BlobBody::open(
                    store,
                    blob,
                    activity.clone(),
                    (*share).clone(),
                    (*faults).clone(),
                );
                request
                    .header(CONTENT_LENGTH, blob.size)
                    .body(reqwest::Body::wrap(body))
            }
        };
        tokio::select! {
            response = request.send() => response
                .map_err(|error| failure::connection(call.attempted, &self.address.host, error)),
            () = activity.stalled(STALL) => Err(self.stalled(call.attempted)),
        }
    }

    pub(super) fn stalled(&self, attempted: &str) -> BackendError {
        BackendError::new(ErrorClass::Retryable, attempted)
            .because(format!("nothing moved for {} seconds", STALL.as_secs()))
    }

    /// The next piece of a body, `None` at its end.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
        attempted: &str,
    ) -> Result<Option<Bytes>, BackendError> {
        match tokio::time::timeout(STALL, response.chunk()).await {
            Ok(chunk) => {
                chunk.map_err(|error| failure::connection(attempted, &self.address.host, error))
            }
            Err(_) => Err(self.stalled(attempted)),
        }
    }

    /// A whole body that is not longer than `limit`.
    pub(super) async fn read(
        &self,
        mut response: Response,
        limit: usize,
        attempted: &str,
    ) -> Result<Vec<u8>, BackendError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, attempted).await? {
            if body.len() + chunk.len() > limit {
                return Err(BackendError::new(ErrorClass::Invalid, attempted)
                    .because(format!("the answer is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// A header's text, where it is there and is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
