//! Proxies from the variables that programs share.

use reqwest::{NoProxy, Proxy, Url};
use shipline_engine::error::{BackendError, ErrorClass};

use super::Proxies;

/// What is never reached through a proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies for a client.
pub(super) fn all(proxies: &Proxies) -> Result<Vec<Proxy>, BackendError> {
    let except = match &proxies.except {
        Some(except) => format!("{LOOPBACK},{}", without_ports(except)),
        None => LOOPBACK.to_owned(),
    };
    type Make = fn(Url) -> reqwest::Result<Proxy>;
    let wanted: [(&str, &Option<String>, Make); 2] = [
        ("HTTP_PROXY", &proxies.http, Proxy::http),
        ("HTTPS_PROXY", &proxies.https, Proxy::https),
    ];
    let mut all = Vec::new();
    for (name, url, make) in wanted {
        let Some(url) = url else { continue };
        // The value may hold a login: it is never part of an error.
        let invalid = || {
            BackendError::new(ErrorClass::Invalid, format!("use the proxy of {name}"))
                .hint("a proxy is a URL such as `http://proxy.example.com:3128`; characters such as `@`, `:` and `/` in its user and password are written as `%40`, `%3A` and `%2F`")
        };
        // Curl and others take a host and a port for an HTTP proxy.
        let url = if url.contains("://") {
            Url::parse(url)
        } else {
            Url::parse(&format!("http://{url}"))
        };
        let url = url.map_err(|error| invalid().because(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            let why = format!(
                "`{}` is no scheme of a proxy that can be used here",
                url.scheme()
            );
            return Err(invalid().because(why));
        }
        let proxy = make(url).map_err(|error| invalid().because(error.without_url()))?;
        all.push(proxy.no_proxy(NoProxy::from_string(&except)));
    }
    Ok(all)
}

/// Hosts without the ports that some programs take with them: all of a host's ports are reached in one way.
fn without_ports(except: &str) -> String {
    let hosts = except
        .split(',')
        .map(str::trim)
        .map(|entry| match entry.rsplit_once(':') {
            Some((host, port))
                if !host.contains(':')
                    && !port.is_empty()
                    && port.bytes().all(|b| b.is_ascii_digit()) =>
            {
                host
            }
            _ => entry,
        });
    hosts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_url_and_its_login_is_in_no_error() {
        let check = |url: &str, good: bool| {
            let proxies = Proxies {
                https: Some(url.to_owned()),
                ..Proxies::default()
            };
            match all(&proxies) {
                Ok(made) => assert!(good && made.len() == 1, "{url}"),
                Err(error) => {
                    assert!(!good, "{url}: {error:?}");
                    assert_eq!(error.class, ErrorClass::Invalid);
                    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
                }
            }
        };
        check("http://proxy:3128", true);
        check("https://user:secret@proxy:3128", true);
        check("proxy:3128", true);
        check("user:secret@proxy:3128", true);
        check("http://[", false);
        check("socks5://user:secret@proxy:1080", false);
        check("http://user:se/cret@proxy", false);
        check("", false);
    }

    #[test]
    fn hosts_that_are_reached_directly_have_no_ports() {
        assert_eq!(
            without_ports("a.io:5000, .b.io,10.0.0.0/8,::1,fe80::1"),
            "a.io,.b.io,10.0.0.0/8,::1,fe80::1"
        );
    }
}
