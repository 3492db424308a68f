//! Image tags: `[prefix]` + 8 hex digits + `-` + `YYYYMMDDHHMMSS` in UTC [+ `-dirty`].

use std::fmt;

use crate::name::CommitId;

/// An instant in UTC, to the second, as tags write it: `YYYYMMDDHHMMSS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagInstant(String);

/// How far ahead of the clock an earlier instant may be and still count: two runs in one second, one that waited for the other, a
/// clock that was put right. One that is further ahead comes from a clock that was wrong, and is not followed.
const AHEAD: i64 = 60;

/// What all variants of one component's build share: commit, instant, dirtiness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagBase {
    commit: String,
    instant: TagInstant,
    dirty: bool,
}

/// A tag that Shipline made: a [`TagBase`] behind a variant's prefix.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "StoredTag", into = "StoredTag")]
pub struct ImageTag {
    prefix: String,
    base: TagBase,
}

/// A tag as it is stored: the prefix cannot be told from the text alone.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredTag {
    tag_prefix: String,
    tag: String,
}

impl TryFrom<StoredTag> for ImageTag {
    type Error = TagError;
    fn try_from(stored: StoredTag) -> Result<Self, TagError> {
        Self::parse(&stored.tag_prefix, &stored.tag)
    }
}

impl From<ImageTag> for StoredTag {
    fn from(tag: ImageTag) -> Self {
        Self {
            tag: tag.to_string(),
            tag_prefix: tag.prefix,
        }
    }
}

/// A text that is not the part of a tag that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct TagError {
    /// The text.
    pub text: String,
    /// What was wanted, with its article.
    pub wanted: &'static str,
}

impl TagInstant {
    /// Checks 14 digits of a real UTC date and time.
    ///
    /// # Errors
    /// `TagError` where it is not one.
    pub fn new(text: &str) -> Result<Self, TagError> {
        let error = || TagError {
            text: text.to_owned(),
            wanted: "a UTC instant `YYYYMMDDHHMMSS`",
        };
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let instant = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).map_err(|_| error())?;
        // A leap second would be read as the second before it, so that two texts were one instant.
        if instant.strftime("%Y%m%d%H%M%S").to_string() != text {
            return Err(error());
        }
        Ok(Self(text.to_owned()))
    }

    /// The instant `seconds` after 1970-01-01 UTC.
    ///
    /// # Errors
    /// `TagError` where the year has not four digits.
    pub fn from_unix(seconds: i64) -> Result<Self, TagError> {
        let error = || TagError {
            text: seconds.to_string(),
            wanted: "an instant with a year of four digits",
        };
        let stamp = jiff::Timestamp::from_second(seconds).map_err(|_| error())?;
        Self::new(&stamp.strftime("%Y%m%d%H%M%S").to_string()).map_err(|_| error())
    }

    /// This instant, or the second after `last`, where that is the same or not a minute later: two builds in one second must
    /// not get one tag.
    #[must_use]
    pub fn after(self, last: &Self) -> Self {
        match (self.seconds(), last.seconds()) {
            (Some(now), Some(last)) if last >= now && last < now + AHEAD => {
                Self::from_unix(last + 1).unwrap_or(self)
            }
            _ => self,
        }
    }

    /// Seconds after 1970-01-01 UTC.
    fn seconds(&self) -> Option<i64> {
        let instant = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &self.0).ok()?;
        let utc = jiff::tz::Offset::UTC.to_timestamp(instant).ok()?;
        Some(utc.as_second())
    }

    /// The 14 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TagBase {
    /// The base for images built from `commit` in a run that started at `instant`.
    #[must_use]
    pub fn new(commit: &CommitId, instant: TagInstant, dirty: bool) -> Self {
        Self {
            commit: commit.short().to_owned(),
            instant,
            dirty,
        }
    }

    /// Parses `abc12345-20251215123456[-dirty]`.
    ///
    /// # Errors
    /// `TagError` where it is not one.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        let error = || TagError {
            text: text.to_owned(),
            wanted: "a tag `<8 hex digits>-<YYYYMMDDHHMMSS>`",
        };
        let (body, dirty) = match text.strip_suffix("-dirty") {
            Some(body) => (body, true),
            None => (text, false),
        };
        let (commit, instant) = body.split_once('-').ok_or_else(error)?;
        if commit.len() != 8
            || !commit
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(error());
        }
        Ok(Self {
            commit: commit.to_owned(),
            instant: TagInstant::new(instant).map_err(|_| error())?,
            dirty,
        })
    }

    /// The first 8 hex digits of the commit.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The instant of the run that built it.
    #[must_use]
    pub fn instant(&self) -> &TagInstant {
        &self.instant
    }

    /// Whether the work tree had changes that are in no commit.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }
}

impl ImageTag {
    /// The tag of the variant with this prefix (empty for none).
    #[must_use]
    pub fn new(prefix: &str, base: TagBase) -> Self {
        Self {
            prefix: prefix.to_owned(),
            base,
        }
    }

    /// Parses a tag of the variant with this prefix.
    ///
    /// # Errors
    /// `TagError` where the prefix is missing, doubled, or what follows is no [`TagBase`].
    pub fn parse(prefix: &str, text: &str) -> Result<Self, TagError> {
        let body = text.strip_prefix(prefix).ok_or_else(|| TagError {
            text: text.to_owned(),
            wanted: "a tag with the variant's prefix",
        })?;
        Ok(Self {
            prefix: prefix.to_owned(),
            base: TagBase::parse(body)?,
        })
    }

    /// The variant's prefix (empty for none).
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What it shares with its siblings.
    #[must_use]
    pub fn base(&self) -> &TagBase {
        &self.base
    }
}

impl fmt::Display for TagInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TagBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}{}",
            self.commit,
            self.instant,
            if self.dirty { "-dirty" } else { "" }
        )
    }
}

impl fmt::Display for ImageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.prefix, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_comes_after_those_that_were_given() {
        let check = |now: &str, last: &str, expected: &str| {
            let (now, last) = (
                TagInstant::new(now).unwrap(),
                TagInstant::new(last).unwrap(),
            );
            assert_eq!(now.after(&last).as_str(), expected);
        };
        check("20261126113150", "20261126113149", "20261126113150");
        check("20261126113150", "20261126113150", "20261126113151");
        check("20261231235959", "20261231235959", "20270101000000");
        // Several builds in one second; a clock that was put back a little, or much.
        check("20261126113150", "20261126113152", "20261126113153");
        check("20261126113150", "20261126113249", "20261126113250");
        check("20261126113150", "20261126113250", "20261126113150");
        check("20261126113150", "20991126113150", "20261126113150");
    }

    #[test]
    fn tags_parse_and_print() {
        for (prefix, text) in [
            ("", "abc12345-20251215123456"),
            ("staging-", "staging-abc12345-20251215123456"),
            ("staging-", "staging-abc12345-20251215123456-dirty"),
        ] {
            assert_eq!(ImageTag::parse(prefix, text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_tag_with_an_empty_or_wrong_part_cannot_be_made() {
        for (prefix, text) in [
            ("", ""),
            ("", "-20251215123456"),
            ("", "abc12345-"),
            ("", "abc1234-20251215123456"),
            ("", "abc12345-20251315123456"),
            ("", "abc12345-20251231235960"),
            ("", "abc12345-20251215123456-"),
            ("", "abc12345--20251215123456"),
            ("", "abc12345-+2025121512345"),
            ("", "undefined-20251215123456"),
            ("", "abc12345-undefined"),
            ("staging-", "staging-"),
            ("staging-", "staging--20251215123456"),
            ("", "ABC12345-20251215123456"),
            ("", "staging-abc12345-20251215123456"),
            ("staging-", "abc12345-20251215123456"),
            ("staging-", "staging-staging-abc12345-20251215123456"),
            ("", "abc12345-20251215123456-dirty-dirty"),
        ] {
            assert!(
                ImageTag::parse(prefix, text).is_err(),
                "{prefix:?} {text:?}"
            );
        }
    }

    #[test]
    fn instants_come_from_unix_seconds_in_utc() {
        assert_eq!(
            TagInstant::from_unix(1_765_802_096).unwrap().as_str(),
            "20251215123456"
        );
        assert!(TagInstant::from_unix(i64::MAX).is_err());
    }
}
