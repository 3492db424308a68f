//! What a registry's refusals mean: by status and the error codes of the distribution specification, never by their text
//! alone.

use std::time::Duration;

use serde_json::Value;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::header::HeaderMap;
use shipline_http::{RequestLine, StatusCode, class, proxy_login, retry_after};

use super::limit::PullLimit;

/// One entry of a registry's error document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorEntry {
    /// In upper case, as the specification writes them.
    pub(super) code: String,
    pub(super) message: String,
}

/// A refusal, read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{request}: {}", self.text())]
pub(super) struct Refusal {
    /// What was refused.
    request: RequestLine,
    pub(super) status: StatusCode,
    pub(super) entries: Vec<ErrorEntry>,
    /// The beginning of a body that is no error document.
    pub(super) body: String,
    pub(super) retry_after: Option<Duration>,
    /// How much may be pulled, where the registry says so.
    pub(super) limit: Option<PullLimit>,
}

/// Much of a text from the registry that is shown.
const SHOWN: usize = 300;
/// Entries of an error document that are read.
const ENTRIES: usize = 10;
/// Longest wait that a registry can ask of us.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Refusal {
    pub(super) fn read(
        request: RequestLine,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let entries = entries(body);
        let body = if entries.is_empty() {
            shortened(&String::from_utf8_lossy(body))
        } else {
            String::new()
        };
        let limit = PullLimit::read(headers);
        let exhausted = limit
            .as_ref()
            .filter(|_| status == StatusCode::TOO_MANY_REQUESTS)
            .and_then(PullLimit::retry_after);
        Self {
            request,
            status,
            entries,
            body,
            retry_after: retry_after(headers)
                .or(exhausted)
                .map(|wait| wait.min(LONGEST)),
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
        // A manifest comes after its blobs were read back: a registry of several machines has them a moment later.
        if self.has("TOOMANYREQUESTS") || self.has("MANIFEST_BLOB_UNKNOWN") {
            return ErrorClass::Retryable;
        }
        if self.has("UNAUTHORIZED") || self.has("DENIED") {
            return ErrorClass::Denied;
        }
        if self.is_immutable_tag() || self.has("DIGEST_INVALID") {
            return ErrorClass::Conflict;
        }
        class(self.status.as_u16())
    }

    /// The refusal as error: what was attempted at which registry, and what a person can do.
    pub(super) fn into_error(self, attempted: &str, host: &str) -> BackendError {
        let mut error = BackendError::new(self.class(), attempted);
        if let Some(after) = self.retry_after {
            error = error.after(after);
        }
        error = self.hints(host).into_iter().fold(error, BackendError::hint);
        error.because(self)
    }

    fn hints(&self, host: &str) -> Vec<String> {
        let mut hints = Vec::new();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS if host == "docker.io" => {
                hints.extend(
                    self.limit
                        .as_ref()
                        .map(|limit| format!("Docker Hub's limit: {limit}")),
                );
                hints.push(
                    "Docker Hub limits pulls by address and account: log in with `docker login`, name a mirror (`mirrors: { docker.io: HOST/PATH }` in the profile; an engine pulls by its own, `registry-mirrors`), or use the same image of another registry".to_owned(),
                );
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = self.retry_after.filter(|wait| !wait.is_zero());
                let wait = wait.map_or_else(String::new, |wait| {
                    format!(" (it asks to wait {} s)", wait.as_secs().max(1))
                });
                hints.push(format!(
                    "{host} limits how often it is asked, and strangers most of all: log in, or try again later{wait}"
                ));
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => hints.push(proxy_login("HTTP_PROXY")),
            StatusCode::FORBIDDEN => {
                hints.push(format!("the login for {host} has no right to do this"));
            }
            StatusCode::PAYLOAD_TOO_LARGE => hints.push(format!(
                "something in front of {host}, or {host} itself, limits the size of a request: raise that limit to the largest layer (`client_max_body_size 0` in nginx, `nginx.ingress.kubernetes.io/proxy-body-size: \"0\"` at an ingress; Cloudflare's proxy takes 100 MB), or push by an address without it"
            )),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => hints.push(unsupported(host)),
            _ if self.has("MANIFEST_INVALID") => hints.push(unsupported(host)),
            _ => {}
        }
        if self.has("NAME_UNKNOWN") {
            hints.push("the repository does not exist in the registry: create it first".to_owned());
        }
        if self.has("NAME_INVALID") {
            hints.push(format!(
                "{host} takes no repository of this name: some registries want a project or an owner before it (`{host}/PROJECT` as `url`)"
            ));
        }
        hints
    }
}

/// Whether a refusal may be about `HEAD` and not about what was asked for: `GET` tells.
pub(super) fn is_about_the_method(error: &BackendError) -> bool {
    let cause = error.cause.as_ref();
    cause
        .and_then(|cause| cause.downcast_ref::<Refusal>())
        .is_some_and(|refusal| matches!(refusal.status.as_u16(), 400 | 403 | 405 | 406 | 501))
}

/// Whether a refusal may be about how many entries were asked for on a page.
pub(super) fn is_about_the_page(error: &BackendError) -> bool {
    let cause = error.cause.as_ref();
    cause
        .and_then(|cause| cause.downcast_ref::<Refusal>())
        .is_some_and(|refusal| matches!(refusal.status.as_u16(), 400 | 422))
}

/// What helps against a registry that does not take a kind of manifest.
fn unsupported(host: &str) -> String {
    format!(
        "{host} may be too old for OCI images, or this repository of it not allow them: images have OCI manifests here (`application/vnd.oci.image.manifest.v1+json`); allow them, or update the registry"
    )
}

/// The entries of an error document. Registries write it in many ways: numbers for codes, `null` for messages, one error
/// without a list, a message alone.
fn entries(body: &[u8]) -> Vec<ErrorEntry> {
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let listed = document.get("errors").and_then(Value::as_array);
    let one = [document.get("error").unwrap_or(&document).clone()];
    let found = listed.map_or(one.as_slice(), Vec::as_slice).iter();
    found
        .take(ENTRIES)
        .filter_map(|entry| {
            let text = |names: &[&str]| {
                let found = names.iter().find_map(|name| match entry.get(name) {
                    Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
                    Some(Value::Number(number)) => Some(number.to_string()),
                    _ => None,
                });
                found.map(|text| shortened(&text)).unwrap_or_default()
            };
            let entry = if let Value::String(message) = entry {
                ErrorEntry {
                    code: String::new(),
                    message: shortened(message),
                }
            } else {
                ErrorEntry {
                    code: text(&["code"]).to_ascii_uppercase(),
                    message: text(&["message", "detail", "details", "error_description"]),
                }
            };
            (!entry.code.is_empty() || !entry.message.is_empty()).then_some(entry)
        })
        .collect()
}

/// The beginning of a foreign text, in one line.
fn shortened(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RequestLine {
        let url = shipline_http::Url::parse("https://r.io/v2/a?secret").unwrap();
        RequestLine::new(&shipline_http::Method::GET, &url)
    }

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::read(
            request(),
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
        check(404, "MANIFEST_BLOB_UNKNOWN", ErrorClass::Retryable);
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
            text.starts_with("GET https://r.io/v2/a: the registry answered 502: <html> xxx"),
            "{text}"
        );
        assert!(text.len() < 400);
        assert_eq!(
            super::tests::refusal(502, "").to_string(),
            "GET https://r.io/v2/a: the registry answered 502 Bad Gateway"
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
        let error = Refusal::read(
            request(),
            StatusCode::TOO_MANY_REQUESTS,
            &headers,
            body.as_bytes(),
        )
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
    fn error_documents_are_read_in_every_form() {
        let check = |body: &str, expected: &[(&str, &str)]| {
            let found = refusal(400, body);
            let found: Vec<(&str, &str)> = found
                .entries
                .iter()
                .map(|entry| (entry.code.as_str(), entry.message.as_str()))
                .collect();
            assert_eq!(found, expected, "{body}");
        };
        check(
            r#"{"errors":[{"code":"name_unknown","message":null,"detail":"d"}]}"#,
            &[("NAME_UNKNOWN", "d")],
        );
        check(
            r#"{"errors":[{"status":404,"message":"gone\u001b[2J"}]}"#,
            &[("", "gone [2J")],
        );
        check(r#"{"errors":[{"code":7,"message":"m"}]}"#, &[("7", "m")]);
        check(r#"{"errors":["only words"]}"#, &[("", "only words")]);
        check(
            r#"{"error":{"code":"DENIED","message":"m"}}"#,
            &[("DENIED", "m")],
        );
        check(
            r#"{"code":"UNAUTHORIZED","message":"m"}"#,
            &[("UNAUTHORIZED", "m")],
        );
        check(r#"{"message":"403 Forbidden"}"#, &[("", "403 Forbidden")]);
        check(r#"{"detail":"incorrect"}"#, &[("", "incorrect")]);
        check(r#"{"errors":[]}"#, &[]);
        check("[]", &[]);
        let many = format!(r#"{{"errors":[{}7]}}"#, r#"{"message":"m"},"#.repeat(1000));
        assert_eq!(refusal(400, &many).entries.len(), ENTRIES);
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "m".repeat(10_000));
        assert!(refusal(400, &long).to_string().len() < 400);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let check = |status: u16, body: &str, parts: &[&str]| {
            let error = refusal(status, body).into_error("push", "r.io");
            let hints = error.hints.join(" ");
            for part in parts {
                assert!(hints.contains(part), "{status}: {hints}");
            }
            // It is no key of the configuration.
            assert!(!hints.contains("`login`"), "{hints}");
        };
        check(413, "<html>", &["client_max_body_size", "proxy-body-size"]);
        check(415, "", &["OCI"]);
        check(400, r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#, &["OCI"]);
        check(407, "", &["proxy", "NO_PROXY"]);
        check(403, "", &["no right"]);
        check(429, "", &["limits how often", "log in"]);
        check(
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
            &["create it first"],
        );
    }

    #[test]
    fn no_registry_asks_for_more_than_a_quarter_of_an_hour() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "999999".parse().unwrap());
        let refusal = Refusal::read(request(), StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
        assert_eq!(refusal.retry_after, Some(LONGEST));
    }
}
