//! What holds for tags whatever the registry.

use shipline_engine::backend::TagRequest;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use crate::image::ImageConfig;

const REVISION: &str = "org.opencontainers.image.revision";
const CREATED: &str = "org.opencontainers.image.created";

/// Where an image comes from, as far as its registry and its own labels tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// When it was pushed, in seconds since 1970 UTC.
    pub(super) pushed_at: Option<i64>,
    /// The commit that it was built from (`org.opencontainers.image.revision`).
    pub(super) revision: Option<String>,
    /// The instant that it says of itself.
    pub(super) created: Option<String>,
}

/// Most that is read of an image's config for its labels.
pub(super) const CONFIG_BYTES: usize = 1 << 20;

impl Origin {
    /// What an image's config says. One that cannot be read says nothing.
    pub(super) fn of_config(bytes: &[u8]) -> Self {
        let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) else {
            return Self::default();
        };
        // Texts of others end up on a terminal.
        let shown = |text: String| {
            let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            Some(text).filter(|text| !text.is_empty())
        };
        let mut labels = config.config.labels;
        Self {
            pushed_at: None,
            revision: labels.remove(REVISION).and_then(shown),
            created: labels.remove(CREATED).or(config.created).and_then(shown),
        }
    }

    /// The same image, pushed then.
    pub(super) fn pushed(self, pushed_at: Option<i64>) -> Self {
        Self { pushed_at, ..self }
    }

    fn text(&self) -> String {
        let pushed = self
            .pushed_at
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map(|at| format!("pushed {at}"));
        let built = match (&self.revision, &self.created) {
            (Some(revision), Some(created)) => Some(format!("built from {revision} of {created}")),
            (Some(revision), None) => Some(format!("built from {revision}")),
            (None, Some(created)) => Some(format!("made {created}")),
            (None, None) => None,
        };
        let known: Vec<String> = pushed.into_iter().chain(built).collect();
        if known.is_empty() {
            String::new()
        } else {
            format!(" ({})", known.join(", "))
        }
    }
}

/// Tags that name other images: collected, so that one error shows them all.
#[derive(Debug, Default)]
pub(super) struct TagConflicts(Vec<String>);

impl TagConflicts {
    /// The tag names `found`, which comes from `origin`, and not what was asked for.
    pub(super) fn add(&mut self, request: &TagRequest, found: &Digest, origin: &Origin) {
        let TagRequest {
            repository,
            tag,
            digest,
        } = request;
        self.0.push(format!(
            "{repository}:{tag} names {found}{} and not {digest}",
            origin.text()
        ));
    }

    /// One error over all conflicts, if there are any.
    pub(super) fn into_result(self) -> Result<(), BackendError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(BackendError::new(ErrorClass::Conflict, "set the tags")
            .because(self.0.join("\n"))
            .hint("tags are never moved; run again: a new run makes new tags"))
    }
}

/// Tags must be tags, and no tag can be asked for twice with different images.
pub(super) fn check_tags(requests: &[TagRequest]) -> Result<(), BackendError> {
    let mut conflicts = TagConflicts::default();
    for (position, request) in requests.iter().enumerate() {
        let (repository, tag) = (&request.repository, &request.tag);
        if !is_tag(tag) {
            return Err(BackendError::new(
                ErrorClass::Invalid,
                format!("tag {repository}:{tag}"),
            )
            .because(
                "a tag has letters, digits, `_`, `.` and `-`, does not begin with `.` or `-`, and has at most 128 characters",
            ));
        }
        if let Some(other) = requests[..position].iter().find(|other| {
            other.repository == *repository && other.tag == *tag && other.digest != request.digest
        }) {
            conflicts.add(request, &other.digest, &Origin::default());
        }
    }
    conflicts.into_result()
}

/// OCI distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tag: &str, digit: char) -> TagRequest {
        TagRequest {
            repository: "r".parse().unwrap(),
            tag: tag.to_owned(),
            digest: digest(digit),
        }
    }

    fn digest(digit: char) -> Digest {
        format!("sha256:{}", digit.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    #[test]
    fn requests_are_checked_before_anything_is_asked() {
        check_tags(&[request("a", '1'), request("b", '1'), request("a", '1')]).unwrap();
        let error = check_tags(&[request("a", '1'), request("a", '2')]).unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        for bad in ["", "-a", ".a", "a:b", "a/b", "ä", &"x".repeat(129)] {
            let error = check_tags(&[request(bad, '1')]).unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_conflict_shows_both_digests_and_where_the_image_comes_from() {
        let mut conflicts = TagConflicts::default();
        let config =
            br#"{"rootfs":{"type":"layers","diff_ids":[]},"created":"then","config":{"Labels":{
            "org.opencontainers.image.revision":"abc\u001b[1m"}}}"#;
        let origin = Origin::of_config(config).pushed(Some(0));
        conflicts.add(&request("a", '1'), &digest('2'), &origin);
        conflicts.add(&request("b", '1'), &digest('2'), &Origin::of_config(b"{}"));
        let error = conflicts.into_result().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        let (two, one) = (digest('2'), digest('1'));
        assert_eq!(
            cause,
            format!(
                "r:a names {two} (pushed 1970-01-01T00:00:00Z, built from abc[1m of then) and not {one}\nr:b names {two} and not {one}"
            )
        );
    }
}
