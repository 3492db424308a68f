//! Image references as Dockerfiles write them: `[host[:port]/]name[:tag][@digest]`, with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use shipline_model::name::{Digest, RepositoryName};

use crate::credentials::is_docker_hub;
use crate::registry::distribution::is_host;
use crate::registry::tags::is_tag;

/// The tag that an image has whose reference names none.
const DEFAULT_TAG: &str = "latest";
/// The registry of images whose reference names none.
const DEFAULT_HOST: &str = "docker.io";
/// Where Docker Hub has the images that are written without a slash.
const OFFICIAL: &str = "library";

/// An image's full reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Host, and port if any.
    pub host: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag; absent where only a digest was written.
    pub tag: Option<String>,
    /// The digest, which wins over the tag.
    pub digest: Option<Digest>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {why}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let error = |why: String| ReferenceError {
            text: text.to_owned(),
            why,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::new(digest).map_err(|why| error(why.to_string()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon behind the last slash begins the tag; one before it the port.
        let name_at = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_at..].find(':') {
            Some(colon) => (
                &rest[..name_at + colon],
                Some(rest[name_at + colon + 1..].to_owned()),
            ),
            None => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(error("what follows the colon is not a tag".to_owned()));
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if names_host(host) => (host, path),
            _ => (DEFAULT_HOST, name),
        };
        if !is_host(host) {
            return Err(error(format!("`{host}` is not a host")));
        }
        // Docker Hub has several names, and its official images are those below `library/`.
        let hub = is_docker_hub(host);
        let host = if hub { DEFAULT_HOST } else { host };
        let path = if hub && !path.contains('/') && !path.is_empty() {
            format!("{OFFICIAL}/{path}")
        } else {
            path.to_owned()
        };
        let repository = RepositoryName::new(path).map_err(|why| error(why.to_string()))?;
        let tag = match (&tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            _ => tag,
        };
        Ok(Self {
            host: host.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl ImageReference {
    /// The name without its digest where it has a tag: what people call the image.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}/{}:{tag}", self.host, self.repository),
            None => self.to_string(),
        }
    }

    /// The same repository at this digest and nothing else.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.host, self.repository)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Docker's rule: a first part with a dot or a port, or `localhost`, is a host.
fn names_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_with_dockers_defaults() {
        let check = |text: &str, expected: &str| {
            let found: Result<ImageReference, _> = text.parse();
            assert_eq!(
                found.map(|found| found.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        check("nginx", "docker.io/library/nginx:latest");
        check("library/nginx:1", "docker.io/library/nginx:1");
        check("docker.io/library/nginx:1", "docker.io/library/nginx:1");
        check("docker.io/nginx:1", "docker.io/library/nginx:1");
        check("index.docker.io/nginx:1", "docker.io/library/nginx:1");
        check("registry-1.docker.io/acme/app", "docker.io/acme/app:latest");
        check("acme/app:1.2-x", "docker.io/acme/app:1.2-x");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:c", "localhost:5000/a/b:c");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check("r.io/library/x", "r.io/library/x:latest");
        check(
            &format!("a@{digest}"),
            &format!("docker.io/library/a@{digest}"),
        );
        check(
            &format!("a:1@{digest}"),
            &format!("docker.io/library/a:1@{digest}"),
        );
        for bad in [
            "",
            "A",
            "a:",
            "a:b c",
            "a@sha256:1",
            "r.io/",
            "a//b",
            "a:b:c",
            ":5000/a",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_prints_as_itself(text in "[a-z.:/@0-9_-]{0,40}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let again: ImageReference = reference.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again, reference);
            }
        }
    }
}
