//! Where a GitOps repository is, from what a person wrote.

use std::fmt;
use std::path::PathBuf;

use shipline_engine::error::{BackendError, ErrorClass};

/// Where a GitOps repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this machine: a path, or a `file://` URL.
    Local(PathBuf),
    /// Behind `https://` or `http://`.
    Http(String),
    /// Behind `ssh`.
    Ssh(SshAddress),
}

/// Where a repository is, for `ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAddress {
    /// The user on the host.
    pub user: Option<String>,
    /// The host.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
    /// The path on the host: from the root where it begins with a slash, else from the user's home.
    pub path: String,
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.path.strip_prefix('/') {
            Some(path) => write!(f, "/{path}"),
            None => write!(f, "/~/{}", self.path),
        }
    }
}

impl SshAddress {
    /// `[USER@]HOST[:PORT]` and a path; `None` where a part is missing, or could be taken for an option of `ssh`.
    fn new(authority: &str, path: &str, with_port: bool) -> Option<Self> {
        let (user, rest) = match authority.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, authority),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if with_port && !rest.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            Some(_) | None => (rest, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '%')
        };
        let path_fits =
            !path.is_empty() && !path.starts_with('-') && !path.contains(char::is_control);
        let user_fits = user.is_none_or(|user| word(user) && !user.contains(':'));
        (word(host) && user_fits && path_fits).then(|| Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// What stands behind `ssh://`.
    fn of_url(rest: &str) -> Option<Self> {
        let (authority, path) = rest.split_once('/')?;
        let path = match path.strip_prefix("~/") {
            Some(path) => path.to_owned(),
            None if path.is_empty() => return None,
            None => format!("/{path}"),
        };
        Self::new(authority, &percent_decode(&path), true)
    }
}

impl Location {
    /// Reads a path or URL.
    ///
    /// # Errors
    /// `Invalid` for other schemes, and for URLs that hold a user or password.
    pub fn parse(text: &str) -> Result<Self, BackendError> {
        let refuse = |cause: &str, hint: &str| {
            let message = format!("use the GitOps repository {}: {cause}", without_user(text));
            Err(BackendError::new(ErrorClass::Invalid, message).hint(hint))
        };
        let https = "write `https://HOST/REPOSITORY.git` and give a `token`";
        let ssh = "write `ssh://USER@HOST/REPOSITORY.git`, without a password";
        let Some((scheme, rest)) = text.split_once("://") else {
            let host = text.split('/').next().unwrap_or_default();
            return match host.split_once(':') {
                Some((user, _)) if user.contains('@') || !host.starts_with('.') => {
                    let (authority, path) = text.split_once(':').unwrap_or((user, ""));
                    match SshAddress::new(authority, path, false) {
                        Some(address) => Ok(Self::Ssh(address)),
                        None => refuse("it is no address for ssh", ssh),
                    }
                }
                _ if text.is_empty() => refuse("it is not named", "write its path or URL"),
                _ => Ok(Self::Local(PathBuf::from(text))),
            };
        };
        match scheme {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if path.starts_with('/') {
                    Ok(Self::Local(PathBuf::from(percent_decode(path))))
                } else {
                    refuse("it is on another machine", "write `file:///PATH`.")
                }
            }
            "http" | "https" => {
                let host = rest.split('/').next().unwrap_or_default();
                if host.contains('@') {
                    let hint = "take the user and password out of the URL and give a `token`";
                    refuse("it holds a user or password", hint)
                } else if host.is_empty() || rest.contains(['?', '#', ' ']) {
                    refuse("it is no URL of a repository", https)
                } else {
                    Ok(Self::Http(text.trim_end_matches('/').to_owned()))
                }
            }
            "ssh" => match SshAddress::of_url(rest) {
                Some(address) => Ok(Self::Ssh(address)),
                None => refuse("it is no address for ssh", ssh),
            },
            scheme => refuse(&format!("`{scheme}` is not supported"), https),
        }
    }
}

/// A URL as it may be printed.
fn without_user(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = (*byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls() {
        let check = |text: &str, expected: Location| {
            assert_eq!(Location::parse(text).unwrap(), expected, "{text}");
        };
        check("a/b.git", Location::Local("a/b.git".into()));
        check("/a/b:c.git", Location::Local("/a/b:c.git".into()));
        check("./b:c.git", Location::Local("./b:c.git".into()));
        check("file:///a/b%20c.git", Location::Local("/a/b c.git".into()));
        check("file://localhost/a", Location::Local("/a".into()));
        check(
            "https://h/a/b.git/",
            Location::Http("https://h/a/b.git".into()),
        );
        check("http://h:80/a", Location::Http("http://h:80/a".into()));
    }

    #[test]
    fn addresses_for_ssh() {
        let check = |text: &str, user: Option<&str>, port: Option<u16>, path: &str, shown: &str| {
            let address = SshAddress {
                user: user.map(str::to_owned),
                host: "h".to_owned(),
                port,
                path: path.to_owned(),
            };
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(
                Location::parse(text).unwrap(),
                Location::Ssh(address),
                "{text}"
            );
        };
        check(
            "ssh://git@h/a.git",
            Some("git"),
            None,
            "/a.git",
            "ssh://git@h/a.git",
        );
        check(
            "ssh://h:22/a/b.git",
            None,
            Some(22),
            "/a/b.git",
            "ssh://h:22/a/b.git",
        );
        check(
            "ssh://git@h/~/a.git",
            Some("git"),
            None,
            "a.git",
            "ssh://git@h/~/a.git",
        );
        check(
            "git@h:a/b.git",
            Some("git"),
            None,
            "a/b.git",
            "ssh://git@h/~/a/b.git",
        );
        check("h:/a.git", None, None, "/a.git", "ssh://h/a.git");
    }

    #[test]
    fn refused() {
        let check = |text: &str, part: &str| {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid);
            assert!(error.message.contains(part), "{}", error.message);
            assert!(!error.message.contains("secret"), "{}", error.message);
        };
        check("ssh://git:secret@h/a.git", "no address");
        check("ssh://-oProxyCommand=x/a.git", "no address");
        check("ssh://h", "no address");
        check("git@-h:a.git", "no address");
        check("git@h:-a.git", "no address");
        check("git://h/a", "`git`");
        check(
            "https://user:secret@h/a.git",
            "https://h/a.git: it holds a user",
        );
        check("https:///a", "no URL");
        check("https://h/a?b", "no URL");
        check("file://host/a", "another machine");
        check("", "not named");
    }
}
