//! Addresses as they may be shown: without logins, and without queries, in which upload tokens and signatures stand.

use std::fmt;

use reqwest::{Method, Url};

/// Most that is shown of an address.
const SHOWN: usize = 400;

/// A request as errors name it: `PUT https://registry.example.com/v2/team/web/manifests/1.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    method: Method,
    address: String,
    host: String,
}

impl RequestLine {
    /// A request of this method to this address.
    #[must_use]
    pub fn new(method: &Method, url: &Url) -> Self {
        Self {
            method: method.clone(),
            address: shown(url),
            host: url
                .authority()
                .rsplit('@')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// Host, and port if it is not the scheme's.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.address)
    }
}

/// An address without login, query and fragment.
#[must_use]
pub fn shown(url: &Url) -> String {
    let host = url.authority().rsplit('@').next().unwrap_or_default();
    let whole = format!("{}://{host}{}", url.scheme(), url.path());
    match whole.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

/// Whether what is sent there stays on this machine.
#[must_use]
pub fn is_loopback_url(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Whether a host, with or without a port, never leaves this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_without_what_is_secret_in_them() {
        let check = |url: &str, expected: &str| {
            let url = Url::parse(url).unwrap();
            let line = RequestLine::new(&Method::PUT, &url).to_string();
            assert_eq!(line, format!("PUT {expected}"));
        };
        check("https://r.io/v2/a?_state=secret#x", "https://r.io/v2/a");
        check("https://u:secret@r.io:5000/v2/", "https://r.io:5000/v2/");
        check("http://[::1]:80/", "http://[::1]/");
        let long = format!("https://r.io/{}", "a".repeat(1000));
        let shown = shown(&Url::parse(&long).unwrap());
        assert_eq!(shown.chars().count(), SHOWN + 1);
    }
}
