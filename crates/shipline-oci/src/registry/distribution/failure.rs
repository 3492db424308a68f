//! What a registry's refusals mean: by status and the error codes of the distribution specification, never by their text
//! alone.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use shipline_engine::error::{BackendError, ErrorClass};

use super::limit::PullLimit;

/// One entry of a registry's error document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ErrorEntry {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

/// A refusal, read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) entries: Vec<ErrorEntry>,
    /// The beginning of a body that is no error document.
    pub(super) body: String,
    pub(super) retry_after: Option<Duration>,
    /// How much may be pulled, where the registry says so.
    pub(super) limit: Option<PullLimit>,
}

/// Much of an error body that is shown where it is no error document.
const SHOWN: usize = 300;
/// Longest wait that a registry can ask of us.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Refusal {
    pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let entries = serde_json::from_slice::<ErrorDocument>(body)
            .map(|document| document.errors)
            .unwrap_or_default();
        let body = if entries.is_empty() {
            String::from_utf8_lossy(body)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(SHOWN)
                .collect::<String>()
                .trim()
                .to_owned()
        } else {
            String::new()
        };
        let limit = PullLimit::read(headers);
        let exhausted = limit
            .as_ref()
            .filter(|_| status == StatusCode::TOO_MANY_REQUESTS)
            .and_then(PullLimit::retry_after);
        Self {
            status,
            entries,
            body,
            retry_after: retry_after(headers).or(exhausted.map(|wait| wait.min(LONGEST))),
            limit,
        }
    }

    pub(super) fn has(&self, code: &str) -> bool {
        self.entries.iter().any(|entry| entry.code == code)
    }

    /// Whether a tag may not move: the specification has no code for it, registries use these.
    pub(super) fn is_immutable_tag(&self) -> bool {
        self.has("TAG_INVALID")
            || self.has("TAG_ALREADY_EXISTS")
            || self
                .entries
                .iter()
                .any(|entry| entry.message.contains("immutable"))
    }

    fn text(&self) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(
                |entry| match (entry.code.as_str(), entry.message.as_str()) {
                    ("", message) => message.to_owned(),
                    (code, "") => code.to_owned(),
                    (code, message) => format!("{code}: {message}"),
                },
            )
            .collect();
        let text = if entries.is_empty() {
            self.body.clone()
        } else {
            entries.join("; ")
        };
        let status = self.status.as_u16();
        match (text.is_empty(), self.status.canonical_reason()) {
            (false, _) => format!("the registry answered {status}: {text}"),
            (true, Some(reason)) => format!("the registry answered {status} {reason}"),
            (true, None) => format!("the registry answered {status}"),
        }
    }

    /// The class that the refusal belongs to.
    pub(super) fn class(&self) -> ErrorClass {
        if self.has("TOOMANYREQUESTS") {
            return ErrorClass::Retryable;
        }
        if self.has("UNAUTHORIZED") || self.has("DENIED") {
            return ErrorClass::Denied;
        }
        if self.is_immutable_tag() || self.has("DIGEST_INVALID") {
            return ErrorClass::Conflict;
        }
        match self.status.as_u16() {
            401 | 403 | 407 => ErrorClass::Denied,
            404 | 410 => ErrorClass::NotFound,
            409 => ErrorClass::Conflict,
            // 425: too early. 499 and 5xx: proxies in between.
            408 | 425 | 429 | 499 => ErrorClass::Retryable,
            500 | 502..=504 | 507..=599 => ErrorClass::Retryable,
            501 | 505 | 506 => ErrorClass::Unavailable,
            _ => ErrorClass::Invalid,
        }
    }

    /// The refusal as error: what was attempted at which registry, and what a person can do.
    pub(super) fn into_error(self, attempted: &str, host: &str) -> BackendError {
        let class = self.class();
        let mut error = BackendError::new(class, attempted);
        if let Some(after) = self.retry_after {
            error = error.after(after);
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS && host == "docker.io" {
            if let Some(limit) = &self.limit {
                error = error.hint(format!("Docker Hub's limit: {limit}."));
            }
            error = error.hint(
                "Docker Hub limits pulls by address and account: log in with `docker login`, name a mirror (`mirrors: { docker.io: HOST/PATH }` in the profile; an engine pulls by its own, `registry-mirrors`), or use the same image of another registry.",
            );
        }
        if class == ErrorClass::Denied {
            error = error.hint(match self.status {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    "The proxy wants a login: put it into the proxy's URL.".to_owned()
                }
                StatusCode::UNAUTHORIZED => format!(
                    "Check the login for {host}: `docker login {host}`, or `login` in the profile. Some registries answer so for repositories that do not exist, too."
                ),
                _ => format!("The login for {host} has no right to do this."),
            });
        }
        if self.has("NAME_UNKNOWN") {
            error = error.hint("The repository does not exist in the registry: create it first.");
        }
        error.because(self)
    }
}

/// `Retry-After` in seconds or as HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?;
            let left = at.timestamp().as_second() - jiff::Timestamp::now().as_second();
            Duration::from_secs(u64::try_from(left).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST))
}

/// A connection that failed, as error.
pub(crate) fn connection(attempted: &str, host: &str, error: reqwest::Error) -> BackendError {
    let failed = BackendError::new(ErrorClass::Retryable, attempted);
    // The address in the error would repeat what is said already, with upload tokens in it.
    let error = error.without_url();
    if error.is_builder() {
        return BackendError::new(ErrorClass::Invalid, attempted).because(error);
    }
    if is_certificate(&error) {
        return BackendError::new(ErrorClass::Invalid, attempted)
            .because(error)
            .hint(format!(
                "The certificate of {host} is not trusted: name the PEM file of its CA as `ca` in the profile."
            ));
    }
    if is_damaged(&error) {
        return BackendError::new(ErrorClass::Conflict, attempted)
            .because(error)
            .hint("A file of the image store is damaged: remove it and build again.");
    }
    if error.is_connect() {
        return failed
            .because(error)
            .hint(format!("Is {host} right, and can it be reached from here?"));
    }
    failed.because(error)
}

/// Whether a request failed because the blob that it carried is not what its digest says.
fn is_damaged(error: &reqwest::Error) -> bool {
    any_cause(error, |cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
            && !is_tls(cause)
    })
}

/// Whether a connection failed because the other side could not be trusted: that does not pass by itself.
pub(super) fn is_certificate(error: &reqwest::Error) -> bool {
    any_cause(error, |cause| {
        matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::InvalidCertificate(_))
        )
    })
}

/// TLS libraries report bytes that they do not understand as invalid data, too.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    any_cause(cause, <dyn std::error::Error>::is::<rustls::Error>)
}

/// Whether an error or a cause of it is such. An I/O error that wraps another one leaves that out of its `source`.
fn any_cause(
    error: &(dyn std::error::Error + 'static),
    is_such: impl Fn(&(dyn std::error::Error + 'static)) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_such(error) {
            return true;
        }
        next = match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| {
                let inner: &(dyn std::error::Error + 'static) = inner;
                inner
            }),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::read(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
        )
    }

    #[test]
    fn classes_come_from_codes_then_statuses() {
        let check = |status: u16, code: &str, expected: ErrorClass| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"m","detail":{{}}}}]}}"#);
            assert_eq!(refusal(status, &body).class(), expected, "{status} {code}");
        };
        check(401, "UNAUTHORIZED", ErrorClass::Denied);
        check(400, "DENIED", ErrorClass::Denied);
        check(404, "NAME_UNKNOWN", ErrorClass::NotFound);
        check(404, "MANIFEST_UNKNOWN", ErrorClass::NotFound);
        check(429, "TOOMANYREQUESTS", ErrorClass::Retryable);
        check(403, "TOOMANYREQUESTS", ErrorClass::Retryable);
        check(400, "TAG_INVALID", ErrorClass::Conflict);
        check(400, "DIGEST_INVALID", ErrorClass::Conflict);
        check(503, "", ErrorClass::Retryable);
        check(501, "UNSUPPORTED", ErrorClass::Unavailable);
        check(400, "MANIFEST_INVALID", ErrorClass::Invalid);
    }

    #[test]
    fn a_body_that_is_no_document_is_shown_shortly() {
        let refusal = refusal(502, &format!("<html>\n{}", "x".repeat(1000)));
        let text = refusal.to_string();
        assert!(
            text.starts_with("the registry answered 502: <html> xxx"),
            "{text}"
        );
        assert!(text.len() < 400);
        assert_eq!(
            super::tests::refusal(502, "").to_string(),
            "the registry answered 502 Bad Gateway"
        );
    }

    #[test]
    fn docker_hub_explains_its_limit() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "0;w=21600"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        let error = Refusal::read(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes())
            .into_error("read nginx:latest", "docker.io");
        assert_eq!(error.class, ErrorClass::Retryable);
        let hints = error.hints.join(" ");
        for part in ["docker login", "mirrors", "100 pulls every 6 hours"] {
            assert!(hints.contains(part), "{hints}");
        }
        assert_eq!(
            error.retry_after,
            Some(LONGEST),
            "longer than anybody waits: the next try is another run's"
        );
    }

    #[test]
    fn the_wait_is_read_in_both_forms_and_bounded() {
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(
                retry_after(&headers).map(|wait| wait.as_secs()),
                expected,
                "{text}"
            );
        };
        check("7", Some(7));
        check("999999", Some(900));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(0));
        check("soon", None);
    }
}
