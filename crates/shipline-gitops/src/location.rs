//! Where a GitOps repository is, from what a person wrote.

use std::path::PathBuf;

use shipline_engine::error::{BackendError, ErrorClass};

/// Where a GitOps repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this machine: a path, or a `file://` URL.
    Local(PathBuf),
    /// Behind `https://` or `http://`.
    Http(String),
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
        let Some((scheme, rest)) = text.split_once("://") else {
            let host = text.split('/').next().unwrap_or_default();
            return match host.split_once(':') {
                Some((user, _)) if user.contains('@') || !host.starts_with('.') => {
                    refuse("git over SSH is not supported", https)
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
                    refuse("it is on another machine", "write `file:///PATH`")
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
            "ssh" | "git+ssh" => refuse("git over SSH is not supported", https),
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
    fn refused() {
        let check = |text: &str, part: &str| {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid);
            assert!(error.message.contains(part), "{}", error.message);
            assert!(!error.message.contains("secret"), "{}", error.message);
        };
        check("ssh://git@h/a.git", "SSH");
        check("git@h:a.git", "SSH");
        check("h:a.git", "SSH");
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
