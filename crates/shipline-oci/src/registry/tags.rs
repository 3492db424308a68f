//! What holds for tags whatever the registry.

use shipline_engine::backend::TagRequest;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

/// Tags that name other images: collected, so that one error shows them all.
#[derive(Debug, Default)]
pub(super) struct TagConflicts(Vec<String>);

impl TagConflicts {
    /// The tag names `found` (since when, where that is known) and not what was asked for.
    pub(super) fn add(&mut self, request: &TagRequest, found: &Digest, since: Option<i64>) {
        let TagRequest {
            repository,
            tag,
            digest,
        } = request;
        let since = since
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(String::new, |at| format!(" since {at}"));
        self.0.push(format!(
            "{repository}:{tag} names {found}{since} and not {digest}"
        ));
    }

    /// One error over all conflicts, if there are any.
    pub(super) fn into_result(self) -> Result<(), BackendError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(BackendError::new(ErrorClass::Conflict, "set the tags")
            .because(self.0.join("\n"))
            .hint("Tags are never moved. Run again: a new run makes new tags."))
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
            conflicts.add(request, &other.digest, None);
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
    fn a_conflict_shows_both_digests_and_the_instant() {
        let mut conflicts = TagConflicts::default();
        conflicts.add(&request("a", '1'), &digest('2'), Some(0));
        let error = conflicts.into_result().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            cause,
            format!(
                "r:a names {} since 1970-01-01T00:00:00Z and not {}",
                digest('2'),
                digest('1')
            )
        );
    }
}
