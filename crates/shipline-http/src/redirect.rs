//! Redirects: where an answer sends its request on, and whether the request may go there.
//!
//! A request that carries a credential in its body, or that changes something, is only repeated where it was meant to go.
//! Nobody is led from TLS to plain HTTP. The client leaves credentials out wherever [`Step::Elsewhere`] leads.

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode, Url};
use shipline_engine::error::BackendError;

use super::address::{RequestLine, shown};

/// Redirects that are followed before they count as a loop.
const MOST: usize = 5;

/// How far a request may be led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere: a redirect is an answer like others.
    Nowhere,
    /// To any host; credentials stay behind.
    Anywhere,
    /// Only to the host that was asked: the request itself is not for others.
    Origin,
}

/// Where a request goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the server that was asked first.
    Home(Url),
    /// To another one, which gets no credentials.
    Elsewhere(Url),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    /// To plain HTTP, from TLS.
    #[error("it redirects to unencrypted {0}")]
    Unencrypted(String),
    /// In a loop.
    #[error("it redirects too often")]
    TooOften,
    /// To something that is no address.
    #[error("it redirects to no address")]
    NoAddress,
    /// To another server than the one that the request is for.
    #[error("it redirects to {0}, which is not the server that the request is for")]
    Foreign(String),
    /// With a status that would change the request.
    #[error("it redirects to {0}, and what is sent cannot be sent there with this status")]
    Moved(String),
}

impl Astray {
    /// What a person can do, where it is an address that should be named.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign(to) | Self::Moved(to) => {
                Some(format!("if {to} is the right server, name it instead"))
            }
            Self::Unencrypted(_) | Self::TooOften | Self::NoAddress => None,
        }
    }
}

/// The redirect that was not followed, with the request that it answers.
#[derive(Debug, thiserror::Error)]
#[error("{0}: {1}")]
pub(crate) struct AstrayAt(pub(crate) RequestLine, pub(crate) Astray);

/// Whether an error is a redirect that was not followed.
#[must_use]
pub fn is_astray(error: &BackendError) -> bool {
    error
        .cause
        .as_ref()
        .is_some_and(|cause| cause.is::<AstrayAt>())
}

/// The redirects of one request.
#[derive(Debug)]
pub(crate) struct Redirects {
    home: Url,
    reach: Reach,
    followed: usize,
}

impl Redirects {
    /// Those of a request to `home`.
    pub(crate) fn new(home: &Url, reach: Reach) -> Self {
        Self {
            home: home.clone(),
            reach,
            followed: 0,
        }
    }

    /// Where an answer sends a request of this method on; `None` where it is no redirect.
    pub(crate) fn next(
        &mut self,
        response: &Response,
        method: &Method,
    ) -> Result<Option<Step>, Astray> {
        if self.reach == Reach::Nowhere {
            return Ok(None);
        }
        let same_request = match response.status() {
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                matches!(*method, Method::GET | Method::HEAD)
            }
            _ => return Ok(None),
        };
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let to = location.to_str().ok();
        let to = to.and_then(|to| response.url().join(to).ok());
        let mut to = to.ok_or(Astray::NoAddress)?;
        if !matches!(to.scheme(), "http" | "https") {
            return Err(Astray::NoAddress);
        }
        // A login that stands in an address would be sent there as if it were ours.
        let _ = to.set_username("");
        let _ = to.set_password(None);
        let mut to = still_encrypted(to, response.url());
        if response.url().scheme() == "https" && to.scheme() == "http" {
            return Err(Astray::Unencrypted(
                to.host_str().unwrap_or_default().to_owned(),
            ));
        }
        if !same_request {
            return Err(Astray::Moved(shown(&to)));
        }
        self.followed += 1;
        if self.followed > MOST {
            return Err(Astray::TooOften);
        }
        to.set_fragment(None);
        match (is_same_server(&self.home, &to), self.reach) {
            (true, _) => Ok(Some(Step::Home(to))),
            (false, Reach::Anywhere) => Ok(Some(Step::Elsewhere(to))),
            (false, Reach::Origin | Reach::Nowhere) => Err(Astray::Foreign(shown(&to))),
        }
    }
}

/// Whether what is meant for one address may be sent to the other: same scheme, host and port, or the same host's TLS on the
/// usual ports.
#[must_use]
pub fn is_same_server(home: &Url, to: &Url) -> bool {
    let upgraded = home.scheme() == "http"
        && to.scheme() == "https"
        && home.host() == to.host()
        && home.port().is_none()
        && to.port().is_none();
    home.origin() == to.origin() || upgraded
}

/// Servers behind a proxy that ends TLS often do not know that they are encrypted: their own address with `http` is meant with
/// `https`.
#[must_use]
pub fn still_encrypted(mut to: Url, from: &Url) -> Url {
    let own = to.host() == from.host() && (to.port().is_none() || to.port() == from.port());
    if from.scheme() == "https" && to.scheme() == "http" && own {
        // Neither can fail between these two schemes.
        let _ = to.set_scheme("https");
        let _ = to.set_port(from.port());
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(url: &str, status: u16, location: &str) -> Response {
        use reqwest::ResponseBuilderExt as _;
        let response = http::Response::builder()
            .status(status)
            .header("location", location)
            .url(Url::parse(url).unwrap())
            .body("")
            .unwrap();
        Response::from(response)
    }

    #[test]
    fn a_request_goes_on_only_where_it_may() {
        let check = |method: Method, reach: Reach, status: u16, to: &str, expected: &str| {
            let from = "https://r.io/v2/a?x";
            let mut redirects = Redirects::new(&Url::parse(from).unwrap(), reach);
            let found = match redirects.next(&answer(from, status, to), &method) {
                Ok(None) => "none".to_owned(),
                Ok(Some(Step::Home(url))) => format!("home {url}"),
                Ok(Some(Step::Elsewhere(url))) => format!("elsewhere {url}"),
                Err(error) => error.to_string(),
            };
            assert!(
                found.starts_with(expected),
                "{method} {reach:?} {status} {to}: {found}"
            );
        };
        use Reach::{Anywhere, Origin};
        for status in [301, 302, 303, 307, 308] {
            check(Method::GET, Anywhere, status, "/b", "home https://r.io/b");
            check(Method::GET, Origin, status, "/b", "home https://r.io/b");
            check(
                Method::GET,
                Anywhere,
                status,
                "https://s3/b",
                "elsewhere https://s3/b",
            );
            check(
                Method::GET,
                Origin,
                status,
                "https://s3/b",
                "it redirects to https://s3/b, which is not",
            );
            check(
                Method::GET,
                Anywhere,
                status,
                "http://s3/b",
                "it redirects to unencrypted s3",
            );
        }
        // The same host's other port is another server, and its plain address is meant encrypted.
        check(
            Method::GET,
            Origin,
            307,
            "https://r.io:9000/",
            "it redirects to https://r.io:9000/, which",
        );
        check(
            Method::GET,
            Origin,
            307,
            "http://r.io/b",
            "home https://r.io/b",
        );
        check(
            Method::GET,
            Anywhere,
            307,
            "http://r.io:9000/",
            "it redirects to unencrypted",
        );
        for status in [307, 308] {
            check(Method::POST, Origin, status, "/b", "home https://r.io/b");
            check(
                Method::POST,
                Origin,
                status,
                "https://evil/b",
                "it redirects to https://evil/b, which is not",
            );
        }
        for status in [301, 302, 303] {
            check(
                Method::PUT,
                Anywhere,
                status,
                "/b?secret",
                "it redirects to https://r.io/b, and",
            );
        }
        check(Method::GET, Anywhere, 304, "/b", "none");
        check(
            Method::GET,
            Anywhere,
            307,
            "ftp://a",
            "it redirects to no address",
        );
        check(
            Method::GET,
            Anywhere,
            307,
            "https://u:p@s3/b",
            "elsewhere https://s3/b",
        );
    }

    #[test]
    fn redirects_end() {
        let url = "https://r.io/";
        let mut redirects = Redirects::new(&Url::parse(url).unwrap(), Reach::Anywhere);
        for _ in 0..MOST {
            redirects
                .next(&answer(url, 307, "/"), &Method::GET)
                .unwrap()
                .unwrap();
        }
        let error = redirects
            .next(&answer(url, 307, "/"), &Method::GET)
            .unwrap_err();
        assert_eq!(error, Astray::TooOften);
    }

    #[test]
    fn the_same_server_is_the_same_port() {
        let check = |home: &str, to: &str, expected: bool| {
            let (home, to) = (Url::parse(home).unwrap(), Url::parse(to).unwrap());
            assert_eq!(is_same_server(&home, &to), expected, "{home} {to}");
        };
        check("https://a/", "https://a:443/x", true);
        check("http://a/", "https://a/", true);
        check("https://a/", "http://a/", false);
        check("http://a:5000/", "https://a:5000/", false);
        check("https://a/", "https://a.b/", false);
        check("http://127.0.0.1:1/", "http://127.0.0.1:2/", false);
    }
}
