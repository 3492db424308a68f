//! Which tags a component's image can have in an environment, for tags that a person gives.

use crate::config::{Component, Variants};
use crate::name::{EnvironmentName, NameError, Tag};
use crate::placeholder;
use crate::tag::{ImageTag, TagInstant};

/// What tags of a component's image look like in one environment, and what those of its twins look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagForm {
    environment: EnvironmentName,
    /// What they start with; `None` where the component makes no image for this environment.
    prefix: Option<String>,
    /// The other environments' prefixes.
    twins: Vec<(EnvironmentName, String)>,
}

/// Whether tags may have another form than those that Shipline makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignTags {
    /// They may not.
    Refused,
    /// Every tag that says something may be there.
    Taken,
}

/// Why a text is not a tag for an image in an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagFault {
    /// A variable or template that nothing has filled in, or a word for no value.
    #[error("`{text}` is not a tag: a placeholder stands in it where a value is missing")]
    Unfilled {
        /// The text.
        text: String,
    },
    /// No tag of the specification.
    #[error(transparent)]
    NoTag(#[from] NameError),
    /// A part is empty.
    #[error("`{text}` is half a tag: {why}")]
    Half {
        /// The text.
        text: String,
        /// What is missing.
        why: String,
    },
    /// The tag of the image that is made for another environment.
    #[error("`{text}` is the tag of the image for {twin}, not for {environment}")]
    Twin {
        /// The text.
        text: String,
        /// Whose image it is.
        twin: EnvironmentName,
        /// Where it was to run.
        environment: EnvironmentName,
    },
    /// Not a tag that Shipline makes for this environment.
    #[error("`{text}` is not a tag that Shipline makes for {environment}: {form}")]
    Foreign {
        /// The text.
        text: String,
        /// Where it was to run.
        environment: EnvironmentName,
        /// What such tags look like.
        form: String,
    },
}

impl TagForm {
    /// The form of a component's tags in an environment.
    #[must_use]
    pub fn of(component: &Component, environment: &EnvironmentName) -> Self {
        let (prefix, twins) = match component.image.as_ref().map(|image| &image.variants) {
            Some(Variants::PerEnvironment(variants)) => (
                variants
                    .get(environment)
                    .map(|variant| variant.tag_prefix.clone()),
                variants
                    .iter()
                    .filter(|(name, _)| *name != environment)
                    .map(|(name, variant)| (name.clone(), variant.tag_prefix.clone()))
                    .collect(),
            ),
            Some(Variants::One) | None => (Some(String::new()), Vec::new()),
        };
        Self {
            environment: environment.clone(),
            prefix,
            twins,
        }
    }

    /// Checks a text that a person gave as the tag of the image.
    ///
    /// # Errors
    /// `TagFault`; half tags, placeholders and other environments' tags are refused whatever `foreign` says.
    pub fn check(&self, text: &str, foreign: ForeignTags) -> Result<Tag, TagFault> {
        if is_unfilled(text) {
            return Err(TagFault::Unfilled {
                text: text.to_owned(),
            });
        }
        let tag = Tag::new(text)?;
        if let Some(why) = missing(text) {
            return Err(TagFault::Half {
                text: text.to_owned(),
                why,
            });
        }
        if let Some(prefix) = &self.prefix
            && ImageTag::parse(prefix, text).is_ok()
        {
            return Ok(tag);
        }
        if let Some((twin, _)) = self.twins.iter().find(|(_, prefix)| is_of(prefix, text)) {
            return Err(TagFault::Twin {
                text: text.to_owned(),
                twin: twin.clone(),
                environment: self.environment.clone(),
            });
        }
        match foreign {
            ForeignTags::Taken => Ok(tag),
            ForeignTags::Refused => Err(TagFault::Foreign {
                text: text.to_owned(),
                environment: self.environment.clone(),
                form: match self.prefix.as_deref() {
                    Some("") => "they are 8 hex digits + `-` + YYYYMMDDHHMMSS".to_owned(),
                    Some(prefix) => {
                        format!("they are `{prefix}` + 8 hex digits + `-` + YYYYMMDDHHMMSS")
                    }
                    None => "the component makes no image for it".to_owned(),
                },
            }),
        }
    }
}

/// Whether a tag is that of the variant with this prefix: in our form, or, where the prefix is a word of its own, in any.
fn is_of(prefix: &str, text: &str) -> bool {
    ImageTag::parse(prefix, text).is_ok()
        || (prefix.ends_with(['-', '_', '.']) && text.starts_with(prefix))
}

fn is_unfilled(text: &str) -> bool {
    placeholder::unfilled(text).is_some() || text.split(['-', '_', '.']).any(placeholder::is_word)
}

/// What is missing in a tag that begins or ends as ours do.
fn missing(text: &str) -> Option<String> {
    if let Some(last) = text.chars().last().filter(|c| "-_.".contains(*c)) {
        return Some(format!("nothing stands behind the last `{last}`"));
    }
    if text.ends_with("--dirty") {
        return Some("no instant stands before `-dirty`".to_owned());
    }
    let body = text.strip_suffix("-dirty").unwrap_or(text);
    let (commit, instant) = body.rsplit_once('-')?;
    (commit.ends_with('-') && TagInstant::new(instant).is_ok())
        .then(|| format!("no commit stands before `-{instant}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EnvironmentName {
        EnvironmentName::new(text).unwrap()
    }

    fn form(environment: &str, variants: &[(&str, &str)]) -> TagForm {
        let own = variants.iter().find(|(it, _)| *it == environment);
        TagForm {
            environment: name(environment),
            prefix: match variants {
                [] => Some(String::new()),
                _ => own.map(|(_, prefix)| (*prefix).to_owned()),
            },
            twins: variants
                .iter()
                .filter(|(it, _)| *it != environment)
                .map(|(it, prefix)| (name(it), (*prefix).to_owned()))
                .collect(),
        }
    }

    const TWINS: &[(&str, &str)] = &[("staging", "staging-"), ("production", "")];

    /// The texts that are refused whatever is allowed.
    fn never(form: &TagForm, texts: &[&str]) {
        for text in texts {
            for foreign in [ForeignTags::Refused, ForeignTags::Taken] {
                let checked = form.check(text, foreign);
                assert!(checked.is_err(), "{text} {foreign:?}: {checked:?}");
            }
        }
    }

    #[test]
    fn own_tags_are_taken() {
        let check = |form: &TagForm, text: &str| {
            let tag = form.check(text, ForeignTags::Refused).unwrap();
            assert_eq!(tag.as_str(), text);
        };
        check(&form("staging", &[]), "abc12345-20260101000000");
        check(&form("staging", &[]), "abc12345-20260101000000-dirty");
        check(&form("staging", TWINS), "staging-abc12345-20260101000000");
        check(&form("production", TWINS), "abc12345-20260101000000");
    }

    #[test]
    fn halves_and_placeholders_are_never_taken() {
        never(
            &form("staging", &[]),
            &[
                "",
                "50255e6c-",
                "staging-",
                "staging--20260101000000",
                "-20260101000000",
                "staging--20260101000000-dirty",
                "abc12345--dirty",
                "1.0.",
                "1.0_",
                "undefined",
                "null",
                "None",
                "staging-undefined",
                "undefined-20260101000000",
                "abc12345-NaN",
                "v1.null",
                "$TAG",
                "${TAG}",
                "$(TAG)",
                "{{.Tag}}",
                "<tag>",
                "%TAG%",
                "a b",
                "a:b",
                &"a".repeat(129),
            ],
        );
    }

    #[test]
    fn foreign_tags_are_taken_where_they_are_allowed() {
        let form = form("staging", TWINS);
        for text in ["1.4.2", "latest", "v2", "feature--x", "20260101000000"] {
            let refused = form.check(text, ForeignTags::Refused).unwrap_err();
            assert!(
                matches!(&refused, TagFault::Foreign { form, .. } if form.contains("`staging-` + 8")),
                "{refused}"
            );
            assert_eq!(form.check(text, ForeignTags::Taken).unwrap().as_str(), text);
        }
        let plain = TagForm {
            prefix: Some(String::new()),
            ..form
        };
        let refused = plain.check("1", ForeignTags::Refused).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with(": they are 8 hex digits + `-` + YYYYMMDDHHMMSS")
        );
    }

    #[test]
    fn a_twin_belongs_to_its_environment() {
        let check = |environment: &str, text: &str, twin: &str| {
            for foreign in [ForeignTags::Refused, ForeignTags::Taken] {
                let fault = form(environment, TWINS).check(text, foreign).unwrap_err();
                assert!(
                    matches!(&fault, TagFault::Twin { twin: found, .. } if found.as_str() == twin),
                    "{fault}"
                );
            }
        };
        check("production", "staging-abc12345-20260101000000", "staging");
        check("production", "staging-1.4.2", "staging");
        check("staging", "abc12345-20260101000000", "production");
        check("preview", "abc12345-20260101000000", "production");
        check("preview", "staging-abc12345-20260101000000", "staging");
        let none = form("preview", TWINS).check("1", ForeignTags::Refused);
        assert!(
            none.unwrap_err()
                .to_string()
                .ends_with("makes no image for it")
        );
        // A prefix without a border is no word: what begins with it need not be the twin's.
        let short = form("production", &[("staging", "s"), ("production", "")]);
        assert!(short.check("s3-proxy", ForeignTags::Taken).is_ok());
        assert!(
            short
                .check("sabc12345-20260101000000", ForeignTags::Taken)
                .is_err()
        );
    }
}
