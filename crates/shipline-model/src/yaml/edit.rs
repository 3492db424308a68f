//! Replacing scalars and nothing else: the splice, and the proof by parsing again.

use std::ops::Range;

use super::{Node, NodeKind, Scalar, ScalarStyle, Stream, YamlError, lex, parse, place};

/// A scalar that gets another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes of the scalar in the old text: its node's `span`.
    pub span: Range<usize>,
    /// The new value.
    pub value: String,
}

/// Why an edit was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No scalar with bytes of its own stands there.
    #[error("replace the value at {line}:{column}: no scalar stands there")]
    NoScalar {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// The way in which the scalar is written has no room for the value.
    #[error("write `{value}` at {line}:{column} in the same style")]
    CannotHold {
        /// The new value.
        value: String,
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// The edited text is not the old one with the announced scalars changed.
    #[error(
        "prove that only the announced values change: something else differs at {line}:{column}"
    )]
    Unproven {
        /// 1-based line, in the old text.
        line: usize,
        /// 1-based column, in the old text.
        column: usize,
    },
    /// A text is no YAML.
    #[error("parse the edited text")]
    Syntax(#[from] YamlError),
}

/// Replaces one scalar; see [`replace_scalars`].
///
/// # Errors
/// As [`replace_scalars`].
pub fn replace_scalar(text: &str, node: &Node, value: &str) -> Result<String, EditError> {
    let edit = Edit {
        span: node.span.clone(),
        value: value.to_owned(),
    };
    replace_scalars(text, &[edit])
}

/// The text with the scalars at the edits' spans replaced, each in its own style; a plain scalar is quoted where the value
/// would not stay the same text without quotes. All other bytes stay, which is proven before the result is given.
///
/// # Errors
/// `EditError` where a span is no scalar, its style cannot hold the value, or the result is not exactly what was announced.
pub fn replace_scalars(text: &str, edits: &[Edit]) -> Result<String, EditError> {
    let old = parse(text)?;
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.span.start);
    let mut result = String::with_capacity(text.len() + 64);
    let mut done = 0;
    for edit in &edits {
        let scalar = find(&old, &edit.span).ok_or_else(|| no_scalar(text, edit.span.start))?;
        if edit.span.start < done {
            return Err(no_scalar(text, edit.span.start));
        }
        let written = write(text, &edit.span, scalar, &edit.value).ok_or_else(|| {
            let place = place(text, edit.span.start);
            EditError::CannotHold {
                value: edit.value.clone(),
                line: place.line,
                column: place.column,
            }
        })?;
        result.push_str(&text[done..edit.span.start]);
        result.push_str(&written);
        done = edit.span.end;
    }
    result.push_str(&text[done..]);
    let edits: Vec<Edit> = edits.into_iter().cloned().collect();
    equal_but(text, &result, &edits)?;
    Ok(result)
}

/// Proves that `new` is `old` with exactly the scalars at the edits' spans changed to the announced values: the same
/// documents, keys, anchors and tags, and every byte outside of those scalars equal.
///
/// # Errors
/// `Unproven` at the first difference; `Syntax` where a text is no YAML.
pub fn equal_but(old: &str, new: &str, edits: &[Edit]) -> Result<(), EditError> {
    let mut proof = Proof {
        old,
        new,
        edits,
        proven: 0,
        old_done: 0,
        new_done: 0,
    };
    let (before, after) = (parse(old)?, parse(new)?);
    let at = |offset: usize| {
        let place = place(old, offset);
        EditError::Unproven {
            line: place.line,
            column: place.column,
        }
    };
    if before.documents.len() != after.documents.len() {
        return Err(at(old.len()));
    }
    for (before, after) in before.documents.iter().zip(&after.documents) {
        proof.node(before, after).map_err(at)?;
    }
    let rest = old[proof.old_done..] == new[proof.new_done..];
    if rest && proof.proven == edits.len() {
        Ok(())
    } else {
        Err(at(proof.old_done))
    }
}

/// A walk over two trees at once. Nodes come in the order of their bytes, so the bytes between two edits are compared when
/// the second is reached. An error is the offset of the first difference.
struct Proof<'a> {
    old: &'a str,
    new: &'a str,
    edits: &'a [Edit],
    proven: usize,
    old_done: usize,
    new_done: usize,
}

impl Proof<'_> {
    fn node(&mut self, old: &Node, new: &Node) -> Result<(), usize> {
        let differ = Err(old.span.start);
        if old.anchor != new.anchor || old.tag != new.tag {
            return differ;
        }
        match (&old.kind, &new.kind) {
            (NodeKind::Mapping(old_entries), NodeKind::Mapping(new_entries)) => {
                if old_entries.len() != new_entries.len() {
                    return differ;
                }
                for (old, new) in old_entries.iter().zip(new_entries) {
                    self.node(&old.0, &new.0)?;
                    self.node(&old.1, &new.1)?;
                }
                Ok(())
            }
            (NodeKind::Sequence(old_items), NodeKind::Sequence(new_items)) => {
                if old_items.len() != new_items.len() {
                    return differ;
                }
                for (old, new) in old_items.iter().zip(new_items) {
                    self.node(old, new)?;
                }
                Ok(())
            }
            (NodeKind::Alias(old_name), NodeKind::Alias(new_name)) if old_name == new_name => {
                Ok(())
            }
            (NodeKind::Scalar(old_scalar), NodeKind::Scalar(new_scalar)) => {
                match self.edits.iter().find(|edit| edit.span == old.span) {
                    None if old_scalar == new_scalar => Ok(()),
                    Some(edit) if edit.value == new_scalar.value => self.edited(old, new),
                    _ => differ,
                }
            }
            _ => differ,
        }
    }

    fn edited(&mut self, old: &Node, new: &Node) -> Result<(), usize> {
        let before = self.old.get(self.old_done..old.span.start);
        let after = self.new.get(self.new_done..new.span.start);
        if before.is_none() || before != after {
            return Err(self.old_done);
        }
        self.old_done = old.span.end;
        self.new_done = new.span.end;
        self.proven += 1;
        Ok(())
    }
}

fn no_scalar(text: &str, offset: usize) -> EditError {
    let place = place(text, offset);
    EditError::NoScalar {
        line: place.line,
        column: place.column,
    }
}

fn find<'a>(stream: &'a Stream, span: &Range<usize>) -> Option<&'a Scalar> {
    if span.is_empty() {
        return None;
    }
    let mut open: Vec<&Node> = stream.documents.iter().collect();
    while let Some(node) = open.pop() {
        match &node.kind {
            NodeKind::Scalar(scalar) if node.span == *span => return Some(scalar),
            NodeKind::Scalar(_) | NodeKind::Alias(_) => {}
            NodeKind::Sequence(items) => open.extend(items),
            NodeKind::Mapping(entries) => {
                open.extend(entries.iter().flat_map(|(key, value)| [key, value]));
            }
        }
    }
    None
}

/// The bytes for a value in a scalar's style, or `None` where the style has no room for it. What cannot be told here is told
/// by the proof.
fn write(text: &str, span: &Range<usize>, old: &Scalar, value: &str) -> Option<String> {
    match old.style {
        ScalarStyle::Plain if stays_plain(&old.value, value) => Some(value.to_owned()),
        ScalarStyle::Plain | ScalarStyle::DoubleQuoted => Some(double_quoted(value)),
        ScalarStyle::SingleQuoted if is_printable(value) => {
            Some(format!("'{}'", value.replace('\'', "''")))
        }
        ScalarStyle::SingleQuoted => Some(double_quoted(value)),
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let block = lex::block(text, span.start, &old.value)?;
            let content = value.trim_end_matches('\n');
            let single = !content.is_empty() && is_printable(content);
            let breaks = |value: &str| value.len() - value.trim_end_matches('\n').len();
            let same_end = breaks(value) == breaks(&old.value);
            // A first line that begins with a space would be read as indentation.
            (single && same_end && !content.starts_with(' ') && !block.content.is_empty()).then(
                || {
                    format!(
                        "{}{}{content}",
                        &text[span.start..block.content.start],
                        " ".repeat(block.indent)
                    )
                },
            )
        }
    }
}

/// Whether a value may stand without quotes, in block and flow, and is then still the same text.
fn stays_plain(old: &str, value: &str) -> bool {
    let first = value.bytes().next();
    let indicator = first.is_none_or(|byte| b"-?:,[]{}#&*!|>'\"%@` ".contains(&byte));
    let ends = value.ends_with([' ', ':']) || value.ends_with(" -");
    let inside = value.contains(": ") || value.contains(" #");
    let flow = value.contains([',', '[', ']', '{', '}']);
    let same_kind = !looks_typed(value) || looks_typed(old);
    is_printable(value) && !indicator && !ends && !inside && !flow && same_kind
}

/// Whether readers (YAML 1.1 or 1.2) may take a plain scalar for something else than text: null, truth, number, time. Errs
/// towards yes: quotes never hurt.
fn looks_typed(value: &str) -> bool {
    let word = value.to_ascii_lowercase();
    let words = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n",
    ];
    let number = word.trim_start_matches(['+', '-', '.']);
    words.contains(&word.as_str())
        || matches!(number, "inf" | "nan")
        || (number.starts_with(|first: char| first.is_ascii_digit())
            && number.chars().all(|c| {
                c.is_ascii_hexdigit()
                    || matches!(c, '.' | '_' | ':' | '+' | '-' | 'x' | 'o' | 't' | 'z' | ' ')
            }))
}

fn is_printable(value: &str) -> bool {
    value
        .chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}'))
}

fn double_quoted(value: &str) -> String {
    let mut written = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            c if is_printable(c.encode_utf8(&mut [0; 4])) => written.push(c),
            c => written.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    written.push('"');
    written
}
