//! Where a registry is: its host, whether it is spoken to in plain HTTP, and the path before its repositories.

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::is_loopback;
use shipline_model::name::RepositoryName;

use crate::credentials::is_docker_hub;

/// How a registry may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS only.
    Encrypted,
    /// HTTPS, or plain HTTP where the registry has no TLS: loopback, and what is declared `insecure`.
    Either,
    /// Plain HTTP.
    Plain,
}

/// What a registry's address allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Plain HTTP for loopback only.
    Required,
    /// Plain HTTP for this registry, whatever its host.
    Waived,
}

/// A registry's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAddress {
    /// What images and credentials call it: host, and port if any.
    pub host: String,
    /// Where its API is: the same, but for Docker Hub and where it is overridden.
    pub api: String,
    /// How it is spoken to.
    pub transport: Transport,
    /// The path that stands before every repository, without slashes around it.
    pub prefix: Option<String>,
}

impl RegistryAddress {
    /// Reads `[http://|https://]host[:port][/path]`.
    ///
    /// # Errors
    /// `Invalid` where it is no such address, or asks for plain HTTP to a host for which it is not allowed.
    pub fn parse(text: &str, security: Security) -> Result<Self, BackendError> {
        // A login that somebody wrote into it is not repeated.
        let shown = match text.rsplit_once('@') {
            Some((_, behind)) => format!("…@{behind}"),
            None => text.to_owned(),
        };
        let invalid = |why: &str| {
            BackendError::new(
                ErrorClass::Invalid,
                format!("use the registry address `{shown}`"),
            )
            .because(why.to_owned())
            .hint("an address looks like `registry.example.com:5000/team`")
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = match rest.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (rest, None),
        };
        if !is_host(host) {
            return Err(invalid("it does not begin with a host name"));
        }
        if let Some(prefix) = prefix
            && RepositoryName::new(prefix).is_err()
        {
            let lower = prefix.to_ascii_lowercase();
            return Err(if RepositoryName::new(&lower).is_ok() {
                invalid("names of images have no upper-case letters")
                    .hint(format!("write `{host}/{lower}`"))
            } else {
                invalid("what follows the host is not the path of a repository")
            });
        }
        let plain = is_loopback(host) || security == Security::Waived;
        let transport = match scheme {
            Some("https") => Transport::Encrypted,
            Some("http") if plain => Transport::Plain,
            Some("http") => {
                return Err(
                    invalid("plain HTTP would send credentials and images unprotected")
                        .hint("set `insecure: true` where that is wanted"),
                );
            }
            Some(_) => return Err(invalid("it is neither `https://` nor `http://`")),
            None if plain => Transport::Either,
            None => Transport::Encrypted,
        };
        let (host, api) = if is_docker_hub(host) {
            ("docker.io", "registry-1.docker.io")
        } else {
            (host, host)
        };
        Ok(Self {
            host: host.to_owned(),
            api: api.to_owned(),
            transport,
            prefix: prefix.map(str::to_owned),
        })
    }

    /// The path of a repository in the API.
    #[must_use]
    pub fn path(&self, repository: &RepositoryName) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{repository}"),
            None if self.host == "docker.io" && !repository.as_str().contains('/') => {
                format!("library/{repository}")
            }
            None => repository.to_string(),
        }
    }

    /// What a deployment calls the repository.
    #[must_use]
    pub fn image_name(&self, repository: &RepositoryName) -> String {
        match &self.prefix {
            Some(prefix) => format!("{}/{prefix}/{repository}", self.host),
            None => format!("{}/{repository}", self.host),
        }
    }
}

/// Host name, IPv4 address or IPv6 address in brackets, with a port if any.
pub(crate) fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                (
                    "v6",
                    port.strip_prefix(':')
                        .or(if port.is_empty() { None } else { Some("?") }),
                )
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && !name.starts_with(['.', '-'])
        && !name.ends_with('-');
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_how_they_are_spoken_to() {
        let check =
            |text: &str, security: Security, expected: Option<(&str, Transport, Option<&str>)>| {
                let address = RegistryAddress::parse(text, security).ok();
                assert_eq!(
                    address
                        .as_ref()
                        .map(|a| (a.host.as_str(), a.transport, a.prefix.as_deref())),
                    expected,
                    "{text}"
                );
            };
        use Security::{Required, Waived};
        use Transport::{Either, Encrypted, Plain};
        check(
            "r.io/team/a",
            Required,
            Some(("r.io", Encrypted, Some("team/a"))),
        );
        check(
            "https://r.io:5000/",
            Required,
            Some(("r.io:5000", Encrypted, None)),
        );
        check(
            "localhost:5000",
            Required,
            Some(("localhost:5000", Either, None)),
        );
        check(
            "127.8.9.1:5000",
            Required,
            Some(("127.8.9.1:5000", Either, None)),
        );
        check("[::1]:5000", Required, Some(("[::1]:5000", Either, None)));
        check("http://[::1]", Required, Some(("[::1]", Plain, None)));
        check("http://r.io", Required, None);
        check("http://r.io", Waived, Some(("r.io", Plain, None)));
        check("r.io", Waived, Some(("r.io", Either, None)));
        check(
            "index.docker.io/acme",
            Required,
            Some(("docker.io", Encrypted, Some("acme"))),
        );
        for bad in [
            "",
            "/a",
            "r.io:",
            "r.io:x",
            "r.io:99999",
            "r.io/A",
            "ftp://r.io",
            "r io",
            "u@r.io",
            "[::1",
            "[::1]x",
            "-r.io",
        ] {
            check(bad, Waived, None);
        }
    }

    #[test]
    fn addresses_that_are_refused_say_what_to_write_and_no_login() {
        let told = |text: &str| {
            let error = RegistryAddress::parse(text, Security::Required).unwrap_err();
            format!("{error:?}")
        };
        assert!(told("r.io/Team/Web").contains("write `r.io/team/web`"));
        assert!(!told("https://user:secret@r.io/team").contains("secret"));
    }

    #[test]
    fn repositories_stand_behind_the_prefix() {
        let check = |address: &str, repository: &str, path: &str, name: &str| {
            let address = RegistryAddress::parse(address, Security::Required).unwrap();
            let repository = repository.parse().unwrap();
            assert_eq!(address.path(&repository), path);
            assert_eq!(address.image_name(&repository), name);
        };
        check(
            "r.io/team",
            "frontend",
            "team/frontend",
            "r.io/team/frontend",
        );
        check("r.io", "frontend", "frontend", "r.io/frontend");
        check("docker.io", "nginx", "library/nginx", "docker.io/nginx");
        check("docker.io", "acme/a", "acme/a", "docker.io/acme/a");
        check("docker.io/acme", "a", "acme/a", "docker.io/acme/a");
    }
}
