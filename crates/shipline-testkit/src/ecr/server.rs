//! Connections: each request is logged, met by faults, and taken to the API, the registry or the control endpoint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::Effect;
use super::{Shared, api, bearer, control, data, quirk, sts};

pub(super) type Answer = Response<Full<Bytes>>;

/// An answer on its way, whole or not.
type Sent = Response<BoxBody<Bytes, Cut>>;

pub(super) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
const WRONG: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut on demand")]
struct Cut;

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Cut(#[from] Cut),
    #[error(transparent)]
    Body(#[from] hyper::Error),
}

/// A request, read.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    /// A parameter of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        Self::field(&self.query, name)
    }

    /// A field of a query or form, decoded.
    pub(super) fn field(fields: &str, name: &str) -> Option<String> {
        Self::fields(fields, name).next()
    }

    /// All fields of this name.
    pub(super) fn fields<'a>(
        fields: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = String> + use<'a> {
        fields.split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| decode(&value.replace('+', " ")))
        })
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    // Connections end with the fake.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or the client was gone already.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match acceptor {
                None => connection(stream, shared).await,
                // A client that does not trust the certificate says so on its side.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    // A connection that breaks is the client's affair, or was cut by us.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Sent, Lost> {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if path.starts_with("/_fake/") {
        let asked = Asked {
            method: parts.method,
            path,
            query,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        };
        return Ok(whole(control::answer(&shared, &asked)));
    }
    let target = match api::operation(&parts.headers) {
        Some(operation) => format!("/#{operation}"),
        None if query.is_empty() => path.clone(),
        None => format!("{path}?{query}"),
    };
    let (number, effect) = shared.faults().meet(parts.method.as_str(), &target);
    match &effect {
        Some(Effect::Cut) => {
            // Half of the request has been read, where it is longer than a packet.
            let _ = body.frame().await;
            return Err(Cut.into());
        }
        Some(Effect::Slow(wait)) => tokio::time::sleep(*wait).await,
        Some(Effect::RefuseEarly) => {
            shared.state().forget_tokens();
            let asked = Asked {
                method: parts.method,
                path,
                query,
                headers: parts.headers,
                body: Bytes::new(),
            };
            let answer = carry_out(&shared, &asked);
            shared.faults().answered(number, answer.status().as_u16());
            return Ok(whole(answer));
        }
        Some(
            Effect::CutAfter
            | Effect::CutBody
            | Effect::Refuse { .. }
            | Effect::ExpireToken
            | Effect::ExpireBearer
            | Effect::ForgetToken
            | Effect::Redirect(_)
            | Effect::WrongDigest,
        )
        | None => {}
    }
    let asked = Asked {
        method: parts.method,
        path,
        query,
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
    };
    if effect == Some(Effect::ExpireToken) {
        shared.state().revoke_tokens();
    }
    if effect == Some(Effect::ExpireBearer) {
        shared.state().revoke_bearers();
    }
    if effect == Some(Effect::ForgetToken) {
        shared.state().forget_tokens();
    }
    let mut answer = match &effect {
        Some(Effect::Redirect(to)) => redirect(to),
        Some(Effect::Refuse {
            status,
            retry_after,
        }) => {
            let side = if api::operation(&asked.headers).is_some() {
                Side::Api
            } else if sts::is_sts(&asked) {
                Side::Sts
            } else {
                Side::Data
            };
            refuse(*status, *retry_after, side)
        }
        Some(
            Effect::Cut
            | Effect::CutAfter
            | Effect::CutBody
            | Effect::ExpireToken
            | Effect::ExpireBearer
            | Effect::ForgetToken
            | Effect::RefuseEarly
            | Effect::WrongDigest
            | Effect::Slow(_),
        )
        | None => {
            let instead = quirk::instead(&shared.state(), &asked);
            let quirks = shared.state().behaviour.quirks.clone();
            match instead {
                Some(answer) => answer,
                None => quirk::changed(&quirks, &asked, carry_out(&shared, &asked)).await,
            }
        }
    };
    match effect {
        Some(Effect::WrongDigest) => answer = with_wrong_digest(answer).await,
        Some(Effect::CutAfter) => return Err(Cut.into()),
        Some(Effect::CutBody) => return Ok(half(answer).await),
        Some(
            Effect::Cut
            | Effect::Refuse { .. }
            | Effect::ExpireToken
            | Effect::ExpireBearer
            | Effect::ForgetToken
            | Effect::RefuseEarly
            | Effect::Redirect(_)
            | Effect::Slow(_),
        )
        | None => {}
    }
    shared.faults().answered(number, answer.status().as_u16());
    Ok(whole(answer))
}

/// Which side of the fake a request is for: they refuse differently.
enum Side {
    Api,
    Sts,
    Data,
}

fn carry_out(shared: &Shared, asked: &Asked) -> Answer {
    if api::operation(&asked.headers).is_some() {
        api::answer(&mut shared.state(), asked)
    } else if asked.path == bearer::PATH {
        bearer::token(&mut shared.state(), asked)
    } else if asked.path == sts::PORTAL_PATH {
        sts::portal(asked)
    } else if asked.path == sts::TOKEN_PATH {
        sts::token(asked)
    } else if sts::is_sts(asked) {
        sts::sts(asked)
    } else {
        data::answer(&mut shared.state(), asked)
    }
}

fn whole(answer: Answer) -> Sent {
    answer.map(|body| body.map_err(|never| match never {}).boxed())
}

/// An answer whose body breaks off.
async fn half(answer: Answer) -> Sent {
    let (mut parts, body) = answer.into_parts();
    // Nothing can go wrong with bytes that are there already.
    let mut body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    body.truncate(body.len() / 2);
    let frames = stream::iter([Ok(Frame::data(body)), Err(Cut)]);
    Response::from_parts(parts, BodyExt::boxed(StreamBody::new(frames)))
}

fn redirect(to: &str) -> Answer {
    let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, "text/plain", Bytes::new());
    if let Ok(to) = http::HeaderValue::from_str(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

fn refuse(status: u16, retry_after: Option<u64>, side: Side) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match (side, status) {
        // The API says so with 400 and a name.
        (Side::Api, StatusCode::TOO_MANY_REQUESTS) => api::error(
            StatusCode::BAD_REQUEST,
            "ThrottlingException",
            "Rate exceeded",
        ),
        (Side::Api, StatusCode::FORBIDDEN) => api::error(
            StatusCode::BAD_REQUEST,
            "AccessDeniedException",
            "User is not authorized to perform this operation",
        ),
        (Side::Api, _) => api::error(
            status,
            "ServerException",
            "These errors are usually caused by a server-side issue.",
        ),
        (Side::Sts, StatusCode::TOO_MANY_REQUESTS) => {
            sts::error(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded")
        }
        (Side::Sts, _) => sts::error(status, "InternalFailure", "The request has failed."),
        (Side::Data, StatusCode::TOO_MANY_REQUESTS) => {
            data::error(status, "TOOMANYREQUESTS", "Rate exceeded")
        }
        (Side::Data, _) => plain(status, "text/html", "<html>no</html>".into()),
    };
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// The same answer with another digest, in the header and in the API's documents.
async fn with_wrong_digest(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    // Nothing can go wrong with bytes that are there already.
    let mut body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    if let Some(digest) = parts.headers.get_mut(DOCKER_CONTENT_DIGEST) {
        *digest = http::HeaderValue::from_static(WRONG);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let key = "\"imageDigest\":\"";
    if let Some(at) = text.find(key) {
        let start = at + key.len();
        let mut changed = text.clone();
        changed.replace_range(start..start + WRONG.len(), WRONG);
        body = changed.into();
    }
    Response::from_parts(parts, Full::new(body))
}

/// An answer with a body.
pub(super) fn plain(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}
