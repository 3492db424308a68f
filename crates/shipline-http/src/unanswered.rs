//! Requests that got no answer, as errors: what was asked, why there was no answer, and what a person can do.

use shipline_engine::error::{BackendError, ErrorClass};

use super::address::RequestLine;
use super::certificate::remedy;
use super::status::proxy_login;

/// What is at the other end: remedies differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A registry or its token server.
    Registry,
    /// A git server.
    Git,
    /// A service that is neither.
    Service,
}

impl Peer {
    /// What a person calls it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Git => "git server",
            Self::Service => "service",
        }
    }
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{request} got no answer")]
struct Unanswered {
    request: RequestLine,
    #[source]
    error: reqwest::Error,
}

/// A request without an answer, as error.
pub(crate) fn unanswered(
    attempted: &str,
    request: &RequestLine,
    peer: Peer,
    error: reqwest::Error,
) -> BackendError {
    let host = request.host();
    // The address in the error would repeat what is said already, with upload tokens in it.
    let error = error.without_url();
    let (class, hint) = if error.is_builder() {
        (ErrorClass::Invalid, None)
    } else if let Some(why) = certificate(&error) {
        (ErrorClass::Invalid, Some(remedy(why, host, peer)))
    } else if let Some(hint) = other_protocol(&error, host, peer) {
        (ErrorClass::Invalid, Some(hint))
    } else if is_damaged(&error) {
        let hint = "a file of the image store is damaged: remove it and build again";
        (ErrorClass::Conflict, Some(hint.to_owned()))
    } else if is_proxy_login(&error) {
        (ErrorClass::Denied, Some(proxy_login("HTTPS_PROXY")))
    } else if error.is_connect() {
        let hint = format!(
            "is {host} right, and can it be reached from here? (a proxy is taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY)"
        );
        let class = if nobody_is_there(&error) {
            ErrorClass::Unavailable
        } else {
            ErrorClass::Retryable
        };
        (class, Some(hint))
    } else {
        (ErrorClass::Retryable, None)
    };
    let failed = BackendError::new(class, attempted).because(Unanswered {
        request: request.clone(),
        error,
    });
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Whether the machine is there and nobody listens, or no machine has this name. How a name was not found has no type in any of the
/// libraries: the words that it is told by are the client library's own.
fn nobody_is_there(error: &reqwest::Error) -> bool {
    find(error, |cause| {
        let refused = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused);
        (refused || cause.to_string() == "dns error").then_some(&())
    })
    .is_some()
}

/// Whether a connection failed because the other side could not be trusted: that does not pass by itself.
pub(crate) fn is_certificate(error: &reqwest::Error) -> bool {
    certificate(error).is_some()
}

fn certificate(error: &reqwest::Error) -> Option<&rustls::CertificateError> {
    find(error, |cause| match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(why)) => Some(why),
        _ => None,
    })
}

/// A server that speaks something else than TLS, or not with us.
fn other_protocol(error: &reqwest::Error, host: &str, peer: Peer) -> Option<String> {
    let tls = find(
        error,
        <dyn std::error::Error>::downcast_ref::<rustls::Error>,
    )?;
    match (tls, peer) {
        (rustls::Error::InvalidMessage(_), Peer::Registry) => Some(format!(
            "does {host} speak plain HTTP? then write `insecure: true` beside its `url` where that is wanted"
        )),
        (rustls::Error::InvalidMessage(_), Peer::Git | Peer::Service) => {
            Some(format!("does {host} speak plain HTTP?"))
        }
        (rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_), _) => Some(format!(
            "{host} and this client do not agree on TLS: it may want a client certificate, which is not supported, or a TLS older than 1.2"
        )),
        _ => None,
    }
}

/// Whether a request failed because the blob that it carried is not what its digest says.
fn is_damaged(error: &reqwest::Error) -> bool {
    find(error, |cause| {
        let damaged = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
        // TLS libraries report bytes that they do not understand as invalid data, too.
        let of_tls = find(
            cause,
            <dyn std::error::Error>::downcast_ref::<rustls::Error>,
        )
        .is_some();
        (damaged && !of_tls).then_some(&())
    })
    .is_some()
}

/// Whether a proxy refused to make a tunnel for want of a login (407). Its client library keeps the type of that error to itself,
/// so that its words must do; they are the library's own and not the proxy's.
fn is_proxy_login(error: &reqwest::Error) -> bool {
    find(error, |cause| {
        cause
            .to_string()
            .ends_with("proxy authorization required")
            .then_some(&())
    })
    .is_some()
}

/// The first of an error and its causes that is such. An I/O error that wraps another one leaves that out of its `source`.
fn find<'a, T: ?Sized>(
    error: &'a (dyn std::error::Error + 'static),
    is_such: impl Fn(&'a (dyn std::error::Error + 'static)) -> Option<&'a T>,
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = is_such(error) {
            return Some(found);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| {
                let inner: &(dyn std::error::Error + 'static) = inner;
                inner
            }),
            None => error.source(),
        };
    }
    None
}
