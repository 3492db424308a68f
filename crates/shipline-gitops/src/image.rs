//! The text of an image reference, split at its borders: `host:port/path/name:tag@digest`, halves included.

use std::fmt;

/// An image reference as a manifest holds it. Nothing is filled in: what is not written is `None`, what is empty is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageText<'a> {
    /// Host, path and name.
    pub name: &'a str,
    /// Behind the `:`.
    pub tag: Option<&'a str>,
    /// Behind the `@`.
    pub digest: Option<&'a str>,
}

impl<'a> ImageText<'a> {
    /// Splits a reference. Every text has a reading: a `:` in front of a `/` belongs to a port.
    #[must_use]
    pub fn split(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        match rest[last..].find(':') {
            Some(colon) => Self {
                name: &rest[..last + colon],
                tag: Some(&rest[last + colon + 1..]),
                digest,
            },
            None => Self {
                name: rest,
                tag: None,
                digest,
            },
        }
    }

    /// Whether the name is `repository` or ends in it behind a `/`.
    #[must_use]
    pub fn is_of(&self, repository: &str) -> bool {
        self.name
            .strip_suffix(repository)
            .is_some_and(|host| host.is_empty() || host.ends_with('/'))
    }
}

impl fmt::Display for ImageText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        let check = |text, name, tag, digest| {
            let image = ImageText::split(text);
            assert_eq!(image, ImageText { name, tag, digest });
            assert_eq!(image.to_string(), text);
        };
        check("web", "web", None, None);
        check("web:1", "web", Some("1"), None);
        check("r.io:5000/a/web", "r.io:5000/a/web", None, None);
        check("r.io:5000/a/web:1", "r.io:5000/a/web", Some("1"), None);
        check("[::1]:5000/web:1", "[::1]:5000/web", Some("1"), None);
        check("r/web:1@sha256:ab", "r/web", Some("1"), Some("sha256:ab"));
        check("r/web@sha256:ab", "r/web", None, Some("sha256:ab"));
        check("r/web:", "r/web", Some(""), None);
        check("r/web:@", "r/web", Some(""), Some(""));
        check(":1", "", Some("1"), None);
        check("", "", None, None);
        check("r/web:1:2", "r/web", Some("1:2"), None);
    }

    #[test]
    fn ends_in_a_repository_at_a_border() {
        let check = |text, repository, expected| {
            assert_eq!(ImageText::split(text).is_of(repository), expected, "{text}");
        };
        check("web:1", "web", true);
        check("r.io:5000/team/web:1", "web", true);
        check("r.io:5000/team/web:1", "team/web", true);
        check("r.io/myweb:1", "web", false);
        check("r.io/web/x:1", "web", false);
        check("r.io:web", "web", false);
        check(":1", "web", false);
    }
}
