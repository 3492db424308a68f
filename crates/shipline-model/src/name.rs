//! Names and identifiers: newtypes that cannot hold anything that is not one.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: {rule}")]
pub struct NameError {
    /// The text as it was given.
    pub text: String,
    /// What was wanted, with its article ("a component name").
    pub kind: &'static str,
    /// What such a name looks like.
    pub rule: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:path;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl $name {
            /// Checks `text` and makes the name.
            ///
            /// # Errors
            /// `NameError` with the rule that the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if $check(&text) { Ok(Self(text)) } else { Err(NameError { text, kind: $kind, rule: $rule }) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// A thing that we build and deploy: `frontend`, `user_service`.
    ComponentName, "a component name", "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63", is_identifier;
    /// `staging`, `production`. Variants of an image carry the name of their environment.
    EnvironmentName, "an environment name", "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63", is_identifier;
    /// `local`, `ci`: where images and commits go.
    ProfileName, "a profile name", "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63", is_identifier;
    /// A pipeline of `pipeline.yaml`.
    PipelineName, "a pipeline name", "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63", is_identifier;
    /// A stage of a pipeline.
    StageName, "a stage name", "lower-case letters, digits, `-` and `_`, starting with a letter, at most 63", is_identifier;
    /// The repository of an image in a registry, without host and tag (OCI distribution specification, `<name>`).
    RepositoryName, "a repository name", "lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`, at most 255", is_repository;
    /// What an image is called, without tag and digest: `[HOST[:PORT]/]PATH` (the reference grammar of `distribution`, which
    /// clusters check by).
    ImageName, "an image name", "`HOST/PATH` without scheme: the path in lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`", is_image_name;
    /// An image's tag (OCI distribution specification, `<reference>` as a tag).
    Tag, "an image tag", "letters, digits, `_`, `.` and `-`, starting with none of the last two, at most 128", is_tag;
    /// `sha256:` and 64 hex digits: what an image, manifest, config or layer is addressed by (OCI).
    Digest, "a digest", "`sha256:` and 64 lower-case hex digits", is_digest;
    /// A full git object ID of a commit: 40 lower-case hex digits.
    CommitId, "a commit ID", "40 lower-case hex digits", is_commit;
    /// A path inside the repository: relative, `/`-separated, normalised, without `..`; the root is `.`.
    RepoPath, "a path in the repository", "relative, with `/`, and without `..`, `.` or empty parts (the root itself is `.`)", is_repo_path;
    /// A run of Shipline, unique in its `.shipline`: `YYYYMMDDHHMMSS-xxxxxx` (UTC instant and six hex digits); sorts by time.
    RunId, "a run ID", "14 digits, `-` and 6 hex digits", is_run_id;
}

impl Digest {
    /// The 64 hex digits behind `sha256:`.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl CommitId {
    /// The first 8 hex digits: what tags carry.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl RepoPath {
    /// The root of the repository, `.`.
    #[must_use]
    pub fn root() -> Self {
        Self(".".to_owned())
    }

    /// Normalises what a person wrote (`./a/`, `a//b`, `a/../b`) below `base`; `None` where it leaves the repository.
    #[must_use]
    pub fn resolve(base: &Self, text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return None;
        }
        let mut parts: Vec<&str> = base.0.split('/').filter(|p| *p != ".").collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                part => parts.push(part),
            }
        }
        let joined = if parts.is_empty() {
            ".".to_owned()
        } else {
            parts.join("/")
        };
        Self::new(joined).ok()
    }

    /// Whether `path` is this path or lies below it.
    #[must_use]
    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        self.0 == "."
            || path
                .as_ref()
                .strip_prefix(self.0.as_bytes())
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_repository(text: &str) -> bool {
    let component = |part: &str| {
        let mut rest = part.as_bytes();
        loop {
            let word = rest
                .iter()
                .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                .count();
            if word == 0 {
                return false;
            }
            rest = &rest[word..];
            let separator = match rest {
                [] => return true,
                [b'.', ..] => 1,
                [b'_', b'_', ..] => 2,
                [b'_', ..] => 1,
                [b'-', ..] => rest.iter().take_while(|b| **b == b'-').count(),
                _ => return false,
            };
            rest = &rest[separator..];
        }
    };
    text.len() <= 255 && text.split('/').all(component)
}

/// The first part is a host where it cannot be a part of a path: it has a dot or a port, is `localhost`, or has upper case.
fn is_image_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((host, path))
            if host == "localhost"
                || host.contains(['.', ':'])
                || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            is_authority(host) && is_repository(path)
        }
        Some(_) | None => is_repository(text),
    }
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// `host` or `host:port`.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port)
        }
        None => match text.find(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    port && host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && is_lower_hex(hex))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

fn is_repo_path(text: &str) -> bool {
    text == "."
        || (!text.contains('\0') && text.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

fn is_run_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(instant, nonce)| {
        instant.len() == 14
            && instant.bytes().all(|b| b.is_ascii_digit())
            && nonce.len() == 6
            && is_lower_hex(nonce)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_distribution_specification() {
        for good in [
            "frontend",
            "user_service",
            "a__b",
            "a--b",
            "team/app.web",
            "0",
        ] {
            assert!(RepositoryName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Front", "a___b", "_a", "a_", "a//b", "a.", "-a", "a:b"] {
            assert!(RepositoryName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_names_have_a_host_and_a_path() {
        for good in [
            "web",
            "team/web",
            "registry.example.com/web",
            "localhost/web",
            "localhost:5000/a_b/c.d-e",
            "[::1]:5000/web",
            "Registry.Example.com/web",
            "Registry/web",
        ] {
            assert!(ImageName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/web",
            "//web",
            "web/",
            "host//web",
            "host.example/",
            "https://registry.example.com/web",
            "http:/web",
            "oci://web",
            "host.example:/web",
            "host.example:99999/web",
            "host.example/Web",
            "Web",
            "web:1",
            "web@sha256",
            "host..example/web",
            " web",
            "we b",
            "r\n/web",
            "${REGISTRY}/web",
            "ü.example/web",
        ] {
            assert!(ImageName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_distribution_specification() {
        for good in ["1", "_", "v1.2-rc_3", "A", "a--b", &"x".repeat(128)] {
            assert!(Tag::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a:b",
            "a/b",
            "a b",
            "a\n",
            "ä",
            "a+b",
            "a@b",
            &"x".repeat(129),
        ] {
            assert!(Tag::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_have_64_lower_case_digits() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(Digest::new(format!("sha256:{hex}")).is_ok());
        for bad in [
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{hex}\n"),
            hex.clone(),
            "sha256:".to_owned(),
        ] {
            assert!(Digest::new(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn repo_paths_resolve_below_their_base() {
        let base = RepoPath::new("a/b").unwrap();
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                RepoPath::resolve(&base, text)
                    .as_ref()
                    .map(RepoPath::as_str),
                expected,
                "{text}"
            );
        };
        check("c", Some("a/b/c"));
        check("./c//d/", Some("a/b/c/d"));
        check("../target", Some("a/target"));
        check("../..", Some("."));
        check("../../..", None);
        check("/etc", None);
    }

    #[test]
    fn containment_stops_at_path_borders() {
        let path = RepoPath::new("services/user").unwrap();
        assert!(path.contains("services/user"));
        assert!(path.contains("services/user/src/main.rs"));
        assert!(!path.contains("services/user_service/main.rs"));
        assert!(RepoPath::root().contains("anything"));
    }
}
