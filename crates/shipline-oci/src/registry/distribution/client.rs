//! Requests to a registry: addressed, authorised, limited in time, and refusals read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use shipline_http::header::{
    CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use shipline_http::{
    Activity, Again, Answer, Body, Failed, Method, Peer, Probe, Reach, Request, RetryPolicy,
    StatusCode, Tries, Url, is_same_server, shown, still_encrypted,
};
use tokio::sync::OnceCell;

use super::auth::Authenticator;
use super::body::{BlobBody, Share};
use super::failure::Refusal;
use super::host::{RegistryAddress, Transport};
use crate::credentials::CredentialSource;

/// How often one request is sent again with other credentials.
const RENEWALS: usize = 2;
/// Time limit for the probe whether a registry speaks TLS.
const PROBE: Duration = Duration::from_secs(10);
/// Most that is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;

/// One registry and how it is spoken to.
#[derive(Debug)]
pub(super) struct Client {
    http: shipline_http::Client,
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
        http: shipline_http::Client,
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
        Tries::new(&self.retries, Peer::Registry, task)
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
                        let probed = self.http.probe(&ping, PROBE, Peer::Registry, attempted);
                        match probed.await {
                            // What speaks TLS and is not trusted stays encrypted, so that the error says so.
                            Probe::Answered | Probe::Untrusted => Ok(encrypted),
                            // A server without TLS may also wait for the rest of what it takes for a request.
                            Probe::Silent => root("http"),
                            Probe::Failed(error) => Err(error),
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
        response: &Answer,
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
                .hint("the proxy in front of the registry must tell it how it is reached (X-Forwarded-Proto, X-Forwarded-Host, or `host` in the registry's configuration)"));
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
    ) -> Result<Answer, Failed> {
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
    ) -> Result<Answer, BackendError> {
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
        response: Answer,
        expected: &[StatusCode],
    ) -> Result<Answer, Failed> {
        if expected.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refusal(call, response).await.into())
        }
    }

    async fn refusal(&self, call: &Call<'_>, response: Answer) -> BackendError {
        let (status, headers) = (response.status(), response.headers().clone());
        let line = response.line().clone();
        let home = self.base.get();
        let elsewhere = home.is_some_and(|home| !is_same_server(home, response.url()));
        // A body that breaks off leaves the status, which says enough.
        let body = response
            .read(ERROR_BYTES, call.attempted)
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
                    "{host} leads to {}, which gets no credentials and refuses what its address allows: is the clock of this machine right?",
                    line.host()
                ));
        }
        let mut error = refusal.into_error(call.attempted, host);
        if login {
            if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
                error = error.hint(format!(
                    "{host} does not say how to log in (no WWW-Authenticate in its answer): something in front of it may have answered"
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
    ) -> Result<Answer, BackendError> {
        let mut headers = HeaderMap::new();
        for (name, value) in call.headers {
            let value = HeaderValue::from_str(value).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, call.attempted).because(error)
            })?;
            headers.append(name, value);
        }
        let make = |activity: &Activity| match &call.payload {
            Payload::Nothing => Body::default(),
            Payload::Bytes(bytes) => Body::from(bytes.clone()),
            Payload::Blob {
                store,
                blob,
                share,
                faults,
            } => {
                share.undo();
                let (activity, share) = (activity.clone(), (*share).clone());
                let body = BlobBody::open(store, blob, activity, share, (*faults).clone());
                Body::wrap(body)
            }
        };
        let carries = match &call.payload {
            // Without this, some registries wait for a body.
            Payload::Nothing
                if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) =>
            {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                false
            }
            Payload::Nothing => false,
            Payload::Bytes(_) => true,
            Payload::Blob { blob, .. } => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
                true
            }
        };
        let mut request = Request::new(call.method.clone(), url, Peer::Registry, call.attempted)
            .headers(headers)
            .authorization(authorization)
            .reach(Reach::Anywhere);
        if carries {
            request = request.body(&make);
        }
        self.http.send(&request).await
    }
}

/// What a person can ask where something answers and is no registry.
pub(super) fn no_registry(host: &str) -> String {
    format!("is {host} a registry? it does not answer like one")
}

/// A header's text, where it is there and is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
