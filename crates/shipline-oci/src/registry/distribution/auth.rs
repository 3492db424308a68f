//! Who we are, in the registry's own terms: Basic, or bearer tokens from its token server (Docker's token protocol), kept
//! for each scope and renewed when they are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::value::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::challenge::Challenge;
use super::failure::{self, Refusal};
use crate::credentials::{CredentialSource, Credentials, Freshness};

/// Lifetime of a token whose server does not say it (Docker's token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Time limit for a token server's answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most that is read of a token server's answer.
const ANSWER_BYTES: usize = 1 << 20;

/// Authorization headers for one registry.
#[derive(Debug)]
pub(super) struct Authenticator {
    http: reqwest::Client,
    host: String,
    source: Arc<dyn CredentialSource>,
    // One lock over the exchange as a whole: those who come meanwhile wait for its result and do not repeat it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scheme: Scheme,
    basic: Option<HeaderValue>,
    tokens: HashMap<String, Token>,
}

/// What the registry asked for when it last asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Scheme {
    #[default]
    Unknown,
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
    },
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    expires: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(super) fn new(
        http: reqwest::Client,
        host: String,
        source: Arc<dyn CredentialSource>,
    ) -> Self {
        Self {
            http,
            host,
            source,
            state: Mutex::default(),
        }
    }

    /// The header for requests of this scope, as far as it is known what the registry wants.
    pub(super) async fn header(&self, scope: &str) -> Result<Option<HeaderValue>, BackendError> {
        let mut state = self.state.lock().await;
        match state.scheme.clone() {
            Scheme::Unknown => Ok(None),
            Scheme::Basic => {
                // The source knows best whether what it gave is still good.
                let header = self.basic(Freshness::Remembered).await?;
                state.basic.clone_from(&header);
                Ok(header)
            }
            Scheme::Bearer { realm, service } => {
                if let Some(token) = state.tokens.get(scope)
                    && token.expires > Instant::now()
                {
                    return Ok(Some(token.header.clone()));
                }
                let token = self.token(&realm, service.as_deref(), scope).await?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header))
            }
        }
    }

    /// The header to try next after the registry refused `used`; `None` where there is nothing else to try.
    pub(super) async fn renew(
        &self,
        headers: &HeaderMap,
        scope: &str,
        used: Option<&HeaderValue>,
        plain: bool,
    ) -> Result<Option<HeaderValue>, BackendError> {
        let mut state = self.state.lock().await;
        if let Some(scheme) = self.wanted(headers, plain)? {
            state.scheme = scheme;
        }
        match state.scheme.clone() {
            Scheme::Unknown => Ok(None),
            Scheme::Basic => {
                // Another request may have renewed it meanwhile.
                if let Some(known) = &state.basic
                    && used.is_none_or(|used| used != known)
                {
                    return Ok(Some(known.clone()));
                }
                let freshness = match used {
                    Some(_) => Freshness::Renewed,
                    None => Freshness::Remembered,
                };
                let header = self.basic(freshness).await?;
                state.basic.clone_from(&header);
                Ok(header.filter(|header| used != Some(header)))
            }
            Scheme::Bearer { realm, service } => {
                // Another request may have got one meanwhile.
                if let Some(token) = state.tokens.get(scope)
                    && used.is_none_or(|used| used != token.header)
                    && token.expires > Instant::now()
                {
                    return Ok(Some(token.header.clone()));
                }
                state.tokens.remove(scope);
                let token = self.token(&realm, service.as_deref(), scope).await?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header).filter(|header| used != Some(header)))
            }
        }
    }

    fn wanted(&self, headers: &HeaderMap, plain: bool) -> Result<Option<Scheme>, BackendError> {
        let challenges = Challenge::all(headers);
        if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") {
            let failed = |why: &str| {
                BackendError::new(ErrorClass::Denied, format!("log in to {}", self.host))
                    .because(why.to_owned())
            };
            let realm = bearer
                .get("realm")
                .and_then(|realm| Url::parse(realm).ok())
                .ok_or_else(|| failed("the registry names no token server"))?;
            if realm.scheme() != "https" && !(plain && realm.scheme() == "http") {
                return Err(failed(
                    "the registry's token server is reached without encryption",
                ));
            }
            return Ok(Some(Scheme::Bearer {
                realm,
                service: bearer.get("service").map(str::to_owned),
            }));
        }
        Ok(challenges
            .iter()
            .any(|c| c.scheme == "basic")
            .then_some(Scheme::Basic))
    }

    async fn basic(&self, freshness: Freshness) -> Result<Option<HeaderValue>, BackendError> {
        match self.source.credentials(&self.host, freshness).await? {
            Credentials::Anonymous => Ok(None),
            Credentials::Login { username, password } => {
                self.login_header(&username, &password).map(Some)
            }
            Credentials::Bearer(token) => self.bearer_header(token.expose()).map(Some),
            Credentials::Identity(_) => Err(BackendError::new(
                ErrorClass::Denied,
                format!("log in to {}", self.host),
            )
            .because("the login is an identity token, and the registry asks for user and password")
            .hint(format!("Log in again with `docker login {}`.", self.host))),
        }
    }

    fn login_header(&self, username: &str, password: &Secret) -> Result<HeaderValue, BackendError> {
        let login = STANDARD.encode(format!("{username}:{}", password.expose()));
        self.header_value(&format!("Basic {login}"))
    }

    fn bearer_header(&self, token: &str) -> Result<HeaderValue, BackendError> {
        self.header_value(&format!("Bearer {token}"))
    }

    fn header_value(&self, text: &str) -> Result<HeaderValue, BackendError> {
        let mut header = HeaderValue::from_str(text).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, format!("log in to {}", self.host))
                .because(error)
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Token, BackendError> {
        let first = self
            .source
            .credentials(&self.host, Freshness::Remembered)
            .await?;
        match self.exchange(realm, service, scope, &first).await {
            Err(error) if error.class == ErrorClass::Denied => {
                let second = self
                    .source
                    .credentials(&self.host, Freshness::Renewed)
                    .await?;
                if second == first {
                    return Err(error);
                }
                self.exchange(realm, service, scope, &second).await
            }
            result => result,
        }
    }

    async fn exchange(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
        credentials: &Credentials,
    ) -> Result<Token, BackendError> {
        let attempted = format!("log in to {}", self.host);
        if let Credentials::Bearer(token) = credentials {
            return Ok(Token {
                header: self.bearer_header(token.expose())?,
                expires: Instant::now() + DEFAULT_LIFETIME,
            });
        }
        let mut fields: Vec<(&str, &str)> = Vec::new();
        fields.extend(service.map(|service| ("service", service)));
        if matches!(credentials, Credentials::Identity(_)) {
            // The OAuth 2 form takes all scopes in one field.
            fields.push(("scope", scope));
        } else {
            fields.extend(
                scope
                    .split(' ')
                    .filter(|scope| !scope.is_empty())
                    .map(|scope| ("scope", scope)),
            );
        }
        let mut url = realm.clone();
        let request = match credentials {
            Credentials::Identity(token) => {
                let mut form = Url::clone(realm);
                form.query_pairs_mut()
                    .clear()
                    .extend_pairs(&fields)
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "shipline")
                    .append_pair("refresh_token", token.expose());
                self.http
                    .request(Method::POST, url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            Credentials::Login { username, password } => {
                url.query_pairs_mut()
                    .extend_pairs(&fields)
                    .append_pair("account", username);
                self.http
                    .request(Method::GET, url)
                    .header(AUTHORIZATION, self.login_header(username, password)?)
            }
            Credentials::Anonymous | Credentials::Bearer(_) => {
                url.query_pairs_mut().extend_pairs(&fields);
                self.http.request(Method::GET, url)
            }
        };
        let mut response = request
            .timeout(ANSWER)
            .send()
            .await
            .map_err(|error| failure::connection(&attempted, &self.host, error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failure::connection(&attempted, &self.host, error))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                return Err(BackendError::new(ErrorClass::Invalid, attempted)
                    .because("the token server's answer is too long"));
            }
        }
        if !response.status().is_success() {
            let refusal = Refusal::read(response.status(), response.headers(), &body);
            return Err(refusal.into_error(&attempted, &self.host));
        }
        // The answer holds the token: it is never part of an error.
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            BackendError::new(ErrorClass::Invalid, attempted.clone())
                .because("the token server's answer is not the JSON of a token")
        })?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| {
            BackendError::new(ErrorClass::Denied, attempted)
                .because("the token server's answer holds no token")
        })?;
        let lifetime = answer
            .expires_in
            .map_or(DEFAULT_LIFETIME, Duration::from_secs)
            .min(Duration::from_secs(24 * 3600));
        Ok(Token {
            header: self.bearer_header(&token)?,
            // A tenth early: it must last until the registry has looked at it.
            expires: Instant::now() + lifetime - lifetime / 10,
        })
    }
}
