//! Manifests with half an image: `image: r.io/web:`, what a substitution with an empty tag leaves behind.
//!
//! A bare value that ends in a colon is no YAML, so such a file could not be mended by setting its image. Its colon is
//! covered by another byte for as long as the file is looked at; all offsets stay.

use std::borrow::Cow;

use shipline_model::yaml::{self, Edit, EditError, Stream, YamlError};

/// A text as it can be parsed.
#[derive(Debug)]
pub(crate) struct Covered<'a> {
    /// The text; in it, the colons at `halves` are underscores.
    pub(crate) text: Cow<'a, str>,
    /// Its tree.
    pub(crate) stream: Stream,
    halves: Vec<usize>,
}

impl<'a> Covered<'a> {
    /// Parses a text, its halves covered if it cannot be parsed without that.
    pub(crate) fn parse(original: &'a str) -> Result<Self, YamlError> {
        let error = match yaml::parse(original) {
            Ok(stream) => {
                return Ok(Self {
                    text: Cow::Borrowed(original),
                    stream,
                    halves: Vec::new(),
                });
            }
            Err(error) => error,
        };
        let halves = halves(original);
        if halves.is_empty() {
            return Err(error);
        }
        let mut text = original.to_owned();
        for at in &halves {
            text.replace_range(at..=at, "_");
        }
        let stream = yaml::parse(&text)?;
        Ok(Self {
            text: Cow::Owned(text),
            stream,
            halves,
        })
    }

    /// The edited text, proven to differ in the edits only; halves that are not edited stay halves.
    pub(crate) fn replace(&self, edits: &[Edit]) -> Result<String, EditError> {
        if self.halves.is_empty() {
            return yaml::replace_scalars(&self.text, edits);
        }
        // From the last to the first, so that an edit moves only what has been dealt with.
        let mut edits: Vec<&Edit> = edits.iter().collect();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.span.start));
        let mut text = self.text.clone().into_owned();
        let mut halves = self.halves.clone();
        for edit in edits {
            let edited = yaml::replace_scalars(&text, std::slice::from_ref(edit))?;
            halves.retain(|half| !edit.span.contains(half));
            for half in halves.iter_mut().filter(|half| **half > edit.span.start) {
                *half = *half + edited.len() - text.len();
            }
            text = edited;
        }
        for half in halves {
            text.replace_range(half..=half, ":");
        }
        Ok(text)
    }
}

/// The colons at the end of bare values of `image`.
fn halves(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let entry = line.trim_start_matches([' ', '-']);
        if let Some(value) = entry.strip_prefix("image:") {
            let at = start + line.len() - value.len();
            let value = value.split(" #").next().unwrap_or_default().trim_end();
            let word = value.trim_start();
            let bare = !word.contains([' ', '\t', '"', '\'', '{', '[']);
            if bare && word.len() > 1 && word.len() < value.len() && word.ends_with(':') {
                found.push(at + value.len() - 1);
            }
        }
        start += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, edits: &[(&str, &str)]) -> String {
        let edits: Vec<Edit> = edits
            .iter()
            .map(|(old, new)| {
                let start = text.find(old).unwrap();
                Edit {
                    span: start..start + old.len(),
                    value: (*new).to_owned(),
                }
            })
            .collect();
        Covered::parse(text).unwrap().replace(&edits).unwrap()
    }

    #[test]
    fn halves_are_mended_or_stay() {
        let text = "- image: r/a: # x\r\n- image: \"r/b:\"\n- image:   r/c:\n- image: r/d:";
        assert_eq!(
            edited(text, &[("r/c:", "r/c:1")]),
            text.replace("r/c:", "r/c:1")
        );
        assert_eq!(
            edited(text, &[("r/d:", "r/d:1"), ("r/a:", "true")]),
            text.replace("r/d:", "r/d:1").replace("r/a:", "\"true\"")
        );
    }

    #[test]
    fn nothing_else_is_covered() {
        assert!(Covered::parse("image: a: b\n").is_err());
        assert!(Covered::parse("name: a:\n").is_err());
        assert!(Covered::parse("image: [a:\n").is_err());
        let whole = Covered::parse("x: y\nimage:\n  z: 1\n").unwrap();
        assert!(matches!(whole.text, Cow::Borrowed(_)));
    }
}
