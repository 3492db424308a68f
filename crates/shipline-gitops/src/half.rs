//! Manifests that clusters and templates live with and our parser does not: half an image (`image: r.io/web:`, what a
//! substitution with an empty tag leaves behind), and tabs behind a key's colon.
//!
//! A bare value that ends in a colon is no YAML, so such a file could not be mended by setting its image; a tab behind a colon
//! is YAML. Both are covered by another byte for as long as the file is looked at; all offsets stay.

use shipline_model::yaml::{self, Edit, EditError, Stream, YamlError};

/// A text as it can be parsed.
#[derive(Debug)]
pub(crate) struct Covered {
    /// The text; in it, other bytes stand at `covers`.
    pub(crate) text: String,
    /// Its tree.
    pub(crate) stream: Stream,
    covers: Vec<Cover>,
}

/// A byte that is covered.
#[derive(Debug, Clone, Copy)]
struct Cover {
    at: usize,
    what: Covering,
}

#[derive(Debug, Clone, Copy)]
enum Covering {
    /// The colon at the end of half an image.
    Half,
    /// A tab behind a colon.
    Tab,
}

impl Covering {
    fn original(self) -> &'static str {
        match self {
            Self::Half => ":",
            Self::Tab => "\t",
        }
    }

    fn cover(self) -> &'static str {
        match self {
            Self::Half => "_",
            Self::Tab => " ",
        }
    }
}

impl Covered {
    /// Parses a text, with covers if it cannot be parsed without them.
    pub(crate) fn parse(original: &str) -> Result<Self, YamlError> {
        let error = match yaml::parse(original) {
            Ok(stream) => {
                return Ok(Self {
                    text: original.to_owned(),
                    stream,
                    covers: Vec::new(),
                });
            }
            Err(error) => error,
        };
        let covers: Vec<Cover> = [
            (Covering::Half, halves(original)),
            (Covering::Tab, tabs(original)),
        ]
        .into_iter()
        .flat_map(|(what, places)| places.into_iter().map(move |at| Cover { at, what }))
        .collect();
        if covers.is_empty() {
            return Err(error);
        }
        let mut text = original.to_owned();
        for Cover { at, what } in &covers {
            text.replace_range(at..=at, what.cover());
        }
        let stream = yaml::parse(&text)?;
        Ok(Self {
            text,
            stream,
            covers,
        })
    }

    /// The edited text, proven to differ in the edits only; what is covered and not edited stays as it is.
    pub(crate) fn replace(&self, edits: &[Edit]) -> Result<String, EditError> {
        if self.covers.is_empty() {
            return yaml::replace_scalars(&self.text, edits);
        }
        // From the last to the first, so that an edit moves only what has been dealt with.
        let mut edits: Vec<&Edit> = edits.iter().collect();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.span.start));
        let mut text = self.text.clone();
        let mut covers = self.covers.clone();
        for edit in edits {
            let edited = yaml::replace_scalars(&text, std::slice::from_ref(edit))?;
            covers.retain(|cover| !edit.span.contains(&cover.at));
            for cover in covers.iter_mut().filter(|it| it.at > edit.span.start) {
                cover.at = cover.at + edited.len() - text.len();
            }
            text = edited;
        }
        for Cover { at, what } in covers {
            text.replace_range(at..=at, what.original());
        }
        Ok(text)
    }
}

impl Covered {
    /// An edited text with what was covered in its place again. `moved` says where a byte of the covered text is now.
    pub(crate) fn uncover(
        &self,
        mut text: String,
        moved: impl Fn(usize) -> Option<usize>,
    ) -> String {
        for Cover { at, what } in &self.covers {
            if let Some(at) = moved(*at) {
                text.replace_range(at..=at, what.original());
            }
        }
        text
    }
}

/// The tabs behind the colons of keys that begin their line.
fn tabs(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        let key = line[indent..]
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"_./-\"'".contains(byte));
        let colon = indent + key.count();
        if let Some(value) = line[colon..].strip_prefix(':') {
            let blank = value.len() - value.trim_start_matches([' ', '\t']).len();
            let behind = value[..blank].bytes().enumerate();
            found.extend(
                behind
                    .filter(|(_, byte)| *byte == b'\t')
                    .map(|(at, _)| start + colon + 1 + at),
            );
        }
        start += line.len();
    }
    found
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
    fn tabs_behind_keys_stay() {
        let text = "name:\tx\n\"a\":\t \t# c\n- image:\tr/a: # x\n  image-2: \t r/b:1\n";
        assert_eq!(
            edited(text, &[("r/a:", "r/a:1"), ("r/b:1", "r/b:22")]),
            text.replace("r/a:", "r/a:1").replace("r/b:1", "r/b:22")
        );
    }

    #[test]
    fn nothing_else_is_covered() {
        assert!(Covered::parse("image: a: b\n").is_err());
        assert!(Covered::parse("name: a:\n").is_err());
        assert!(Covered::parse("image: [a:\n").is_err());
        assert!(Covered::parse("a:\n\tb: 1\n").is_err());
        let whole = Covered::parse("x: y\nimage:\n  z: 1\n").unwrap();
        assert_eq!(whole.text, "x: y\nimage:\n  z: 1\n");
    }
}
