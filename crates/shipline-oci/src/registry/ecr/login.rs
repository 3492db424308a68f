//! The registry's password: a token from the API, kept until shortly before its end, fetched once however many ask.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::value::Secret;
use tokio::sync::Mutex;

use super::api::Api;
use crate::credentials::{CredentialSource, Credentials, Freshness};

/// A token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Credentials for the registry of an ECR account. For use wherever images of that registry are read (bases, too).
#[derive(Debug, Clone)]
pub struct EcrLogin {
    api: Arc<Api>,
    token: Arc<Mutex<Option<Token>>>,
}

#[derive(Debug)]
struct Token {
    credentials: Credentials,
    /// When to fetch the next one; `None`: when this one is refused. (An end in the past is an end that is not known.)
    renew_at: Option<SystemTime>,
}

impl EcrLogin {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self {
            api,
            token: Arc::default(),
        }
    }

    async fn fetch(&self) -> Result<Token, BackendError> {
        let attempted = "log in to ECR";
        let data = self.api.authorization().await?;
        let invalid =
            |why: &str| BackendError::new(ErrorClass::Invalid, attempted).because(why.to_owned());
        let login = data
            .authorization_token
            .ok_or_else(|| invalid("the API gave no token"))?;
        let login = STANDARD
            .decode(login.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| invalid("the API's token is not base64 of a text"))?;
        let (username, password) = login
            .split_once(':')
            .ok_or_else(|| invalid("the API's token is not `user:password`"))?;
        let now = SystemTime::now();
        let renew_at = data
            .expires_at
            .and_then(|at| SystemTime::try_from(at).ok())
            .filter(|at| *at > now)
            .map(|at| at.checked_sub(MARGIN).unwrap_or(now));
        Ok(Token {
            credentials: Credentials::Login {
                username: username.to_owned(),
                password: Secret::new(password),
            },
            renew_at,
        })
    }
}

#[async_trait]
impl CredentialSource for EcrLogin {
    async fn credentials(
        &self,
        _host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        let mut token = self.token.lock().await;
        if let Some(known) = token.as_ref()
            && freshness == Freshness::Remembered
            && known.renew_at.is_none_or(|at| SystemTime::now() < at)
        {
            return Ok(known.credentials.clone());
        }
        let fetched = self.fetch().await?;
        let credentials = fetched.credentials.clone();
        *token = Some(fetched);
        Ok(credentials)
    }
}
