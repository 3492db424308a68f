//! Requests to a registry: addressed, authorised, limited in time, and refusals read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use tokio::sync::OnceCell;

use super::auth::Authenticator;
use super::body::{Activity, BlobBody, Share};
use super::failure::Refusal;
use super::host::{RegistryAddress, Transport};
use super::retry::{Again, Failed, RetryPolicy, Tries};
use crate::credentials::CredentialSource;
use crate::http::redirect::{Reach, Redirects, Step, is_same_server, still_encrypted};
use crate::http::{Peer, RequestLine, is_certificate, shown, unanswered};

/// A transfer on which nothing moves for so long has failed, and so has a request without an answer.
const STALL: Duration = Duration::from_secs(120);
/// How often one request is sent again with other credentials.
const RENEWALS: usize = 2;
/// Time limit for the probe whether a registry speaks TLS.
const PROBE: Duration = Duration::from_secs(10);
/// Most that is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;
/// Time limit for a whole document (a manifest, a list, an error): a server that sends it byte by byte never stalls.
const DOCUMENT: Duration = Duration::from_secs(300);

/// One registry and how it is spoken to.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) address: RegistryAddress,
    auth: Authenticator,
    pub(super) retries: RetryPolicy,
    base: OnceCell<Url>,
    /// What the registry wants to see of who has a login, asked once.
    challenge: OnceCell<Option<(Url, HeaderMap)>>,
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
            auth: Authenticator::new(http.clone(), &address, source),
            http,
            address,
            retries,
            base: OnceCell::new(),
            challenge: OnceCell::new(),
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
                        let ping = encrypted.join("v2/").map_err(|error| {
                            BackendError::new(ErrorClass::Invalid, attempted).because(error)
                        })?;
                        let line = RequestLine::new(&Method::GET, &ping);
                        match self.http.get(ping).timeout(PROBE).send().await {
                            Ok(_) => Ok(encrypted),
                            // What speaks TLS and is not trusted stays encrypted, so that the error says so.
                            Err(error) if is_certificate(&error) => Ok(encrypted),
                            // A server without TLS may also wait for the rest of what it takes for a request.
                            Err(error) if error.is_connect() || error.is_timeout() => root("http"),
                            Err(error) => Err(unanswered(attempted, &line, Peer::Registry, error)),
                        }
                    }
                }
            })
            .await
    }

    /// Where a registry wants an upload to the repository at `path` to go on (`Location`), absolute; `None` where it does not
    /// say. What is at another server gets no credentials.
    pub(super) async fn location(
        &self,
        response: &Response,
        path: &str,
        attempted: &str,
    ) -> Result<Option<Url>, BackendError> {
        let invalid = |why: String| {
            let line = shown(response.url());
            BackendError::new(ErrorClass::Invalid, attempted).because(format!("{line}: {why}"))
        };
        let base = self.base(attempted).await?;
        let location = response.headers().get(LOCATION);
        let Some(location) = location.filter(|location| !location.is_empty()) else {
            return Ok(None);
        };
        let url = location.to_str().ok();
        let url = url.and_then(|url| response.url().join(url).ok());
        let mut url = url
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| invalid("the registry sends the upload to no address".to_owned()))?;
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let mut url = still_encrypted(url, base);
        let same_port = url.host() == base.host() && url.port() == base.port();
        if base.scheme() == "http" && url.scheme() == "https" && same_port && url.port().is_some() {
            // That port was found to speak plain HTTP.
            let _ = url.set_scheme("http");
        }
        if base.scheme() == "https" && url.scheme() == "http" {
            // Behind a proxy that ends TLS, registries name the address that they have there: the same place, from inside.
            if !url
                .path()
                .starts_with(&format!("/v2/{path}/blobs/uploads/"))
            {
                return Err(invalid(format!(
                    "the registry sends the upload to unencrypted {}",
                    url.host_str().unwrap_or_default()
                ))
                .hint("The proxy in front of the registry must tell it how it is reached (X-Forwarded-Proto, X-Forwarded-Host, or `host` in the registry's configuration)."));
            }
            let mut own = base.clone();
            own.set_path(url.path());
            own.set_query(url.query());
            return Ok(Some(own));
        }
        Ok(Some(url))
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
        let ours = is_same_server(base, &url);
        let mut used = if ours {
            self.auth.header(call.scope).await?
        } else {
            None
        };
        // Once because the registry had not yet said what it wants, and once because what it got has expired.
        for _ in 0..RENEWALS {
            let response = self.send(call, &url, used.as_ref()).await?;
            // Only the registry may ask for credentials, and not a server that it leads to.
            let by_registry = ours && is_same_server(base, response.url());
            let asked = match response.status() {
                StatusCode::UNAUTHORIZED if by_registry => {
                    Some((response.url().clone(), response.headers().clone()))
                }
                // ECR says so of an expired token.
                StatusCode::FORBIDDEN if by_registry && used.is_some() => {
                    Some((response.url().clone(), response.headers().clone()))
                }
                // Who lets everybody read hides from strangers what they may not see.
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if by_registry && used.is_none() => {
                    self.challenge(base, call).await
                }
                _ => None,
            };
            let Some((from, headers)) = asked else {
                return self.expect(call, response, expected).await;
            };
            let renewed = self
                .auth
                .renew(&headers, &from, call.scope, used.as_ref())
                .await?;
            if renewed.is_none() && response.status() == StatusCode::NOT_FOUND {
                return self.expect(call, response, expected).await;
            }
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

    /// What the registry asks of who has a login: `None` where nobody has one, or it asks for nothing. Nothing is an error here:
    /// the answer that made us ask stands.
    async fn challenge(&self, base: &Url, call: &Call<'_>) -> Option<(Url, HeaderMap)> {
        let asked = self.challenge.get_or_init(|| async {
            if !self.auth.has_login().await {
                return None;
            }
            let root = base.join("v2/").ok()?;
            let ping = Call::new(Method::GET, "", "", call.attempted);
            let response = self.send(&ping, &root, None).await.ok()?;
            let asks = response.status() == StatusCode::UNAUTHORIZED
                && is_same_server(base, response.url());
            asks.then(|| (response.url().clone(), response.headers().clone()))
        });
        asked.await.clone()
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
        let line = RequestLine::new(&call.method, response.url());
        let home = self.base.get();
        let elsewhere = home.is_some_and(|home| !is_same_server(home, response.url()));
        // A body that breaks off leaves the status, which says enough.
        let body = self
            .read(response, ERROR_BYTES, call.attempted)
            .await
            .unwrap_or_default();
        let host = &self.address.host;
        let refusal = Refusal::read(line.clone(), status, &headers, &body);
        if status.is_success() || status.is_redirection() || status.is_informational() {
            return BackendError::new(ErrorClass::Invalid, call.attempted)
                .because(refusal)
                .hint(no_registry(host));
        }
        let login = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if elsewhere && login {
            // Its address carries what it wants to see, for a while: the registry gives another one.
            return BackendError::new(ErrorClass::Retryable, call.attempted)
                .because(refusal)
                .hint(format!(
                    "{host} leads to {}, which gets no credentials and refuses what its address allows. Is the clock of this machine right?",
                    line.host()
                ));
        }
        let mut error = refusal.into_error(call.attempted, host);
        if login {
            if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
                error = error.hint(format!(
                    "{host} does not say how to log in (no WWW-Authenticate in its answer): something in front of it may have answered."
                ));
            }
            let advice = self.auth.advice(status).await;
            error = advice.into_iter().fold(error, BackendError::hint);
        }
        error
    }

    /// Sends a request, and wherever it is led: without credentials to other servers.
    async fn send(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, BackendError> {
        let mut redirects = Redirects::new(url, Reach::Anywhere);
        let (mut to, mut authorization) = (url.clone(), authorization);
        loop {
            let response = self.send_once(call, &to, authorization).await?;
            to = match redirects.next(&response, &call.method) {
                Ok(None) => return Ok(response),
                Ok(Some(Step::Home(to))) => to,
                Ok(Some(Step::Elsewhere(to))) => {
                    authorization = None;
                    to
                }
                Err(astray) => {
                    let line = RequestLine::new(&call.method, &to);
                    let error = BackendError::new(ErrorClass::Invalid, call.attempted)
                        .because(format!("{line}: {astray}"));
                    return Err(astray.hint().into_iter().fold(error, BackendError::hint));
                }
            };
        }
    }

    async fn send_once(
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
        let line = RequestLine::new(&call.method, url);
        tokio::select! {
            response = request.send() => response
                .map_err(|error| unanswered(call.attempted, &line, Peer::Registry, error)),
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
            Ok(chunk) => chunk.map_err(|error| {
                let line = RequestLine::new(&Method::GET, response.url());
                unanswered(attempted, &line, Peer::Registry, error)
            }),
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
        let whole = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(&mut response, attempted).await? {
                if body.len() + chunk.len() > limit {
                    return Err(BackendError::new(ErrorClass::Invalid, attempted)
                        .because(format!("the answer is longer than {limit} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        match tokio::time::timeout(DOCUMENT, whole).await {
            Ok(body) => body,
            Err(_) => Err(
                BackendError::new(ErrorClass::Retryable, attempted).because(format!(
                    "the answer was not there after {} seconds",
                    DOCUMENT.as_secs()
                )),
            ),
        }
    }
}

/// What a person can ask where something answers and is no registry.
pub(super) fn no_registry(host: &str) -> String {
    format!("Is {host} a registry? It does not answer like one.")
}

/// A header's text, where it is there and is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
