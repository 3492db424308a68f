//! Who we are, in the registry's own terms: Basic, or bearer tokens from its token server (Docker's token protocol), kept
//! for each scope and renewed when they are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use shipline_http::{
    Activity, Answer, Body, Method, Peer, Reach, Request, StatusCode, Url, is_astray, is_loopback,
    is_loopback_url,
};
use shipline_model::value::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::challenge::Challenge;
use super::failure::Refusal;
use super::host::{RegistryAddress, Transport};
use super::scope;
use super::token::TokenAnswer;
use crate::credentials::{CredentialSource, Credentials, Freshness};

/// Lifetime of a token that goes to the registry as it was given to us.
const GIVEN_LIFETIME: Duration = Duration::from_secs(60);
/// Time limit for a token server's answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most that is read of a token server's answer.
const ANSWER_BYTES: usize = 1 << 20;

/// Authorization headers for one registry.
#[derive(Debug)]
pub(super) struct Authenticator {
    http: shipline_http::Client,
    host: String,
    /// Whether logins may go to other hosts in plain HTTP: the registry is one that was declared so.
    insecure: bool,
    source: Arc<dyn CredentialSource>,
    // One lock over the exchange as a whole: those who come meanwhile wait for its result and do not repeat it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scheme: Scheme,
    basic: Option<HeaderValue>,
    tokens: HashMap<String, Token>,
    /// What the registry asked for beyond what we asked for, by what we asked for.
    wider: HashMap<String, String>,
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

impl Authenticator {
    pub(super) fn new(
        http: shipline_http::Client,
        address: &RegistryAddress,
        source: Arc<dyn CredentialSource>,
    ) -> Self {
        Self {
            http,
            host: address.host.clone(),
            insecure: address.transport != Transport::Encrypted && !is_loopback(&address.api),
            source,
            state: Mutex::default(),
        }
    }

    /// Whether a login is known.
    pub(super) async fn has_login(&self) -> bool {
        let found = self.source.credentials(&self.host, Freshness::Remembered);
        matches!(found.await, Ok(known) if known != Credentials::Anonymous)
    }

    /// What may be wrong with the login where the registry or its token server answered with this status.
    pub(super) async fn advice(&self, status: StatusCode) -> Vec<String> {
        let mut advice = Vec::new();
        let host = &self.host;
        let found = self.source.credentials(host, Freshness::Remembered).await;
        let secret = match &found {
            Ok(Credentials::Login { password, .. }) => Some(("password", password)),
            Ok(Credentials::Identity(token) | Credentials::Bearer(token)) => Some(("token", token)),
            Ok(Credentials::Anonymous) | Err(_) => None,
        };
        if let Some((what, secret)) = secret
            && secret.expose().trim() != secret.expose()
        {
            advice.push(format!(
                "the {what} for {host} begins or ends with a line break or a blank, which is rarely part of it: store it without (`printf %s`, not `echo`)"
            ));
        }
        if status == StatusCode::UNAUTHORIZED {
            let begin = match &found {
                Ok(Credentials::Anonymous) => format!("no login for {host} is known"),
                Ok(_) | Err(_) => format!("the login for {host} was refused"),
            };
            advice.push(format!(
                "{begin}: {} (some registries answer so for repositories that do not exist, too)",
                self.source.remedy(host)
            ));
        }
        advice
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
                let wanted = state.wider.get(scope).map_or(scope, String::as_str);
                let token = self.token(&realm, service.as_deref(), wanted).await?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header))
            }
        }
    }

    /// The header to try next after the registry refused `used` in an answer from `from`; `None` where there is nothing else to
    /// try.
    pub(super) async fn renew(
        &self,
        headers: &HeaderMap,
        from: &Url,
        scope: &str,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, BackendError> {
        let mut state = self.state.lock().await;
        let challenges = Challenge::all(headers);
        if let Some(scheme) = self.wanted(&challenges, from, &state.scheme)? {
            state.scheme = scheme;
        }
        let asked = challenges.iter().find(|c| c.scheme == "bearer");
        if let Some(asked) = asked.and_then(|challenge| challenge.get("scope")) {
            let wider = scope::with(scope, asked);
            if wider != scope {
                state.wider.insert(scope.to_owned(), wider);
            }
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
                let wanted = state.wider.get(scope).map_or(scope, String::as_str);
                let token = self.token(&realm, service.as_deref(), wanted).await?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header).filter(|header| used != Some(header)))
            }
        }
    }

    fn wanted(
        &self,
        challenges: &[Challenge],
        from: &Url,
        known: &Scheme,
    ) -> Result<Option<Scheme>, BackendError> {
        let failed = |why: String| {
            BackendError::new(ErrorClass::Denied, format!("log in to {}", self.host)).because(why)
        };
        if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") {
            let realm = bearer.get("realm").and_then(|realm| from.join(realm).ok());
            let mut realm =
                realm.ok_or_else(|| failed("the registry names no token server".to_owned()))?;
            let _ = realm.set_username("");
            let _ = realm.set_password(None);
            // In plain HTTP a login goes only where the registry's own traffic goes in plain HTTP, too.
            let plain = realm.scheme() == "http"
                && from.scheme() == "http"
                && (is_loopback_url(&realm) || realm.host() == from.host() || self.insecure);
            if realm.scheme() != "https" && !plain {
                return Err(failed(format!(
                    "the registry's token server {} is reached without encryption",
                    realm.host_str().unwrap_or_default()
                )));
            }
            return Ok(Some(Scheme::Bearer {
                realm,
                service: bearer.get("service").map(str::to_owned),
            }));
        }
        if !challenges.iter().any(|c| c.scheme == "basic") {
            return Ok(None);
        }
        let downgrade = matches!(known, Scheme::Bearer { .. })
            && from.scheme() == "http"
            && !is_loopback_url(from);
        if downgrade {
            return Err(failed(
                "without encryption, the registry asks for the password itself where it asked for a token before".to_owned(),
            ));
        }
        Ok(Some(Scheme::Basic))
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
            .hint(format!("log in again with `docker login {}`", self.host))),
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
                expires: Instant::now() + GIVEN_LIFETIME,
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
        let question = match credentials {
            Credentials::Identity(token) => {
                let mut form = Url::clone(realm);
                form.query_pairs_mut()
                    .clear()
                    .extend_pairs(&fields)
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "shipline")
                    .append_pair("refresh_token", token.expose());
                Question {
                    method: Method::POST,
                    url,
                    login: None,
                    form: Some(form.query().unwrap_or_default().to_owned()),
                }
            }
            Credentials::Login { username, password } => {
                url.query_pairs_mut()
                    .extend_pairs(&fields)
                    .append_pair("account", username);
                Question {
                    method: Method::GET,
                    url,
                    login: Some(self.login_header(username, password)?),
                    form: None,
                }
            }
            Credentials::Anonymous | Credentials::Bearer(_) => {
                url.query_pairs_mut().extend_pairs(&fields);
                Question {
                    method: Method::GET,
                    url,
                    login: None,
                    form: None,
                }
            }
        };
        let answered = self.ask(&question, &attempted).await?;
        let (request, status) = (answered.line().clone(), answered.status());
        let headers = answered.headers().clone();
        let body = answered.read(ANSWER_BYTES, &attempted).await?;
        if !status.is_success() {
            let refusal = Refusal::read(request, status, &headers, &body);
            let error = refusal.into_error(&attempted, &self.host);
            let advice = self.advice(status).await;
            return Err(advice.into_iter().fold(error, BackendError::hint));
        }
        let answer = TokenAnswer::read(&body).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, attempted)
                .because(format!("{request}: {error}"))
                .hint(format!(
                    "is {} the token server of a registry? it does not answer like one",
                    request.host()
                ))
        })?;
        let lifetime = answer.lifetime;
        Ok(Token {
            header: self.bearer_header(&answer.token)?,
            // A tenth early: it must last until the registry has looked at it.
            expires: Instant::now() + lifetime - lifetime / 10,
        })
    }

    /// Asks a token server. What carries a login in its header or body goes to the server that the registry named and to no
    /// other, wherever that one redirects to.
    async fn ask(&self, question: &Question, attempted: &str) -> Result<Answer, BackendError> {
        let secret = question.login.is_some() || question.form.is_some();
        let reach = if secret {
            Reach::Origin
        } else {
            Reach::Anywhere
        };
        let form = question.form.clone().unwrap_or_default();
        let make = |_: &Activity| Body::from(form.clone());
        let method = question.method.clone();
        let mut request = Request::new(method, &question.url, Peer::Registry, attempted)
            .authorization(question.login.as_ref())
            .reach(reach)
            .limit(ANSWER);
        if question.form.is_some() {
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request
                .headers(HeaderMap::from_iter([(CONTENT_TYPE, kind)]))
                .body(&make);
        }
        self.http.send(&request).await.map_err(|mut error| {
            // The registry named this server, and nobody can name another one instead.
            if is_astray(&error) {
                error.class = ErrorClass::Denied;
                error.hints.clear();
            }
            error
        })
    }
}

/// What a token server is asked.
struct Question {
    method: Method,
    url: Url,
    login: Option<HeaderValue>,
    form: Option<String>,
}

#[cfg(test)]
mod tests {
    use shipline_http::header::WWW_AUTHENTICATE;

    use super::super::host::Security;
    use super::*;

    #[tokio::test]
    async fn a_password_is_not_asked_for_instead_of_a_token_in_plain() {
        let check = |address: &str, realm: &str, downgraded: bool, expected: Option<&str>| {
            let address = RegistryAddress::parse(address, Security::Waived).unwrap();
            let from = match address.transport {
                Transport::Encrypted => format!("https://{}/v2/", address.api),
                Transport::Either | Transport::Plain => format!("http://{}/v2/", address.api),
            };
            let from = Url::parse(&from).unwrap();
            let http = shipline_http::client(&shipline_http::HttpSettings::default()).unwrap();
            let auth = Authenticator::new(http, &address, Arc::new(Credentials::Anonymous));
            let asks = |text: &str| {
                let mut headers = HeaderMap::new();
                headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
                Challenge::all(&headers)
            };
            let bearer = asks(&format!("Bearer realm=\"{realm}\",service=\"s\""));
            let first = auth.wanted(&bearer, &from, &Scheme::Unknown);
            let found = match (first, downgraded) {
                (Ok(Some(known)), true) => auth
                    .wanted(&asks("Basic realm=\"x\""), &from, &known)
                    .map(|_| ()),
                (first, _) => first.map(|_| ()),
            };
            let why = found.err().and_then(|error| Some(error.cause?.to_string()));
            match expected {
                Some(part) => assert!(
                    why.as_ref().is_some_and(|why| why.contains(part)),
                    "{from} {realm}: {why:?}"
                ),
                None => assert_eq!(why, None, "{from} {realm}"),
            }
        };
        let plain = Some("without encryption");
        check("https://r.io", "https://auth.io/token", false, None);
        check("https://r.io", "http://r.io/token", false, plain);
        check("https://r.io", "/token", false, None);
        check("https://r.io", "https://auth.io/token", true, None);
        // A registry of this machine is no reason to send a login over the net.
        check(
            "http://localhost:5000",
            "http://auth.io/token",
            false,
            plain,
        );
        check(
            "http://localhost:5000",
            "http://localhost:5001/token",
            false,
            None,
        );
        check("http://localhost:5000", "https://auth.io/token", true, None);
        // One that is declared insecure is.
        check("http://r.lab:5000", "http://auth.lab/token", false, None);
        check("http://r.lab:5000", "https://auth.io/token", true, plain);
    }
}
