//! What registries and the proxies in front of them do that the specification does not say.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::data;
use super::server::{Answer, Asked};
use super::state::State;

/// An answer, to be made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// One with this status and body, and no headers.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// With a header, instead of those of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Takes a header away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    /// A header's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One oddity. Methods are any where empty; targets are parts of path and query; functions get the host by which the fake was
/// asked.
#[derive(Debug, Clone)]
pub enum Quirk {
    /// Such requests are answered so, and not carried out.
    Says {
        /// Method.
        method: &'static str,
        /// Part of the target.
        target: &'static str,
        /// The answer.
        reply: fn(&str) -> Reply,
    },
    /// Such requests are carried out, and their answers changed where they are successful.
    Changes {
        /// Method.
        method: &'static str,
        /// Part of the target.
        target: &'static str,
        /// How.
        change: fn(&mut Reply, &str),
    },
    /// A blob that comes with `PUT` is unknown, unless a `PATCH` came before (Artifactory).
    PutNeedsPatch,
    /// Who shows no login is told of every manifest and blob that it is not there, and may look at `/v2/` only with a login.
    HidesFromStrangers,
    /// Tokens must name repositories by other names (`stored/NAME`), which challenges tell.
    RenamesScopes,
}

fn is(asked: &Asked, method: &str, target: &str) -> bool {
    let whole = format!("{}?{}", asked.path, asked.query);
    (method.is_empty() || asked.method.as_str() == method) && whole.contains(target)
}

/// The answer to a request that is not carried out.
pub(super) fn instead(state: &State, asked: &Asked) -> Option<Answer> {
    let host = asked.header(&http::header::HOST).unwrap_or_default();
    state.behaviour.quirks.iter().find_map(|quirk| match quirk {
        Quirk::Says {
            method,
            target,
            reply,
        } => is(asked, method, target).then(|| answer(reply(host))),
        Quirk::PutNeedsPatch => {
            let id = asked.path.rsplit('/').next().unwrap_or_default();
            let begun = state
                .uploads
                .get(id)
                .is_some_and(|upload| !upload.parts.is_empty());
            let blob = asked.method == Method::PUT && asked.path.contains("/blobs/uploads/");
            (blob && !begun).then(|| {
                data::error(
                    StatusCode::NOT_FOUND,
                    "BLOB_UNKNOWN",
                    "blob unknown to registry",
                )
            })
        }
        Quirk::HidesFromStrangers => {
            let content =
                asked.path.contains("/manifests/") || asked.path.contains("/blobs/sha256");
            (content && asked.header(&AUTHORIZATION).is_none())
                .then(|| data::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "not found"))
        }
        Quirk::Changes { .. } | Quirk::RenamesScopes => None,
    })
}

/// The answer to a request that was carried out.
pub(super) async fn changed(quirks: &[Quirk], asked: &Asked, mut whole: Answer) -> Answer {
    let host = asked.header(&http::header::HOST).unwrap_or_default();
    for quirk in quirks {
        if let Quirk::Changes {
            method,
            target,
            change,
        } = quirk
            && whole.status().is_success()
            && is(asked, method, target)
        {
            let mut reply = read(whole).await;
            change(&mut reply, host);
            whole = answer(reply);
        }
    }
    whole
}

async fn read(answer: Answer) -> Reply {
    let (parts, body) = answer.into_parts();
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    Reply {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        // Nothing can go wrong with bytes that are there already.
        body: body
            .collect()
            .await
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default(),
    }
}

fn answer(reply: Reply) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(reply.body)));
    *answer.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}
