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
        let expires_at = data.expires_at.and_then(|at| SystemTime::try_from(at).ok());
        let renew_at = expires_at.and_then(|at| renewal(at, SystemTime::now()));
        Ok(Token {
            credentials: Credentials::Login {
                username: username.to_owned(),
                password: Secret::new(password),
            },
            renew_at,
        })
    }
}

/// When a token that was got `now` is to be renewed. `None`: its end has passed already, so it is not known (some emulators
/// answer so), and the token is good until it is refused.
fn renewal(expires_at: SystemTime, now: SystemTime) -> Option<SystemTime> {
    let lifetime = expires_at.duration_since(now).ok()?;
    // One that lives shorter than twice the margin is not fetched anew for every request.
    let margin = MARGIN.min(lifetime / 2);
    (!lifetime.is_zero()).then(|| now + (lifetime - margin))
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
        let fetched = self.fetch().await.map_err(|mut error| {
            // The API has been asked as often as it is worth; who asks for a login does not ask it all over again.
            if error.class == ErrorClass::Retryable {
                error.class = ErrorClass::Unavailable;
            }
            error
        })?;
        let credentials = fetched.credentials.clone();
        *token = Some(fetched);
        Ok(credentials)
    }

    fn remedy(&self, _host: &str) -> String {
        "the password is one that ECR's API gave, so look at what the AWS identity may do (`aws sts get-caller-identity` says who it is) and at the account's and repository's policies".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_their_end_and_an_end_in_the_past_is_none() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |seconds: i64, expected: Option<u64>| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let end = if seconds < 0 {
                now - distance
            } else {
                now + distance
            };
            let expected = expected.map(|after| now + Duration::from_secs(after));
            assert_eq!(renewal(end, now), expected, "{seconds}");
        };
        check(12 * 3600, Some(12 * 3600 - 300));
        check(600, Some(300));
        check(100, Some(50));
        check(0, None);
        check(-1, None);
    }
}
