//! The one engine under all edits: splices of bytes, proven by parsing again.
//!
//! A result is given only where its tree is the old one with exactly the announced scalars, keys and entries changed, and no
//! byte outside of the splices is touched.

use std::ops::Range;

use shipline_model::yaml::{self, Edit, Node, NodeKind, Scalar, ScalarStyle};

use crate::half::Covered;

/// One change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// A scalar gets a value, in its own style.
    Set { span: Range<usize>, value: String },
    /// A scalar gets a value that must be read as a text: it is quoted where it looks like a number.
    Text { span: Range<usize>, value: String },
    /// A mapping gets a further key.
    Add {
        mapping: Range<usize>,
        key: String,
        value: String,
    },
    /// A mapping loses the key of this value.
    Remove {
        mapping: Range<usize>,
        value: Range<usize>,
    },
    /// The list under a key of the first document gets a further mapping. A missing list is made.
    Append {
        list: &'static str,
        entry: Vec<(&'static str, String)>,
    },
}

/// Bytes that are replaced.
struct Splice {
    range: Range<usize>,
    text: String,
}

/// Applies the changes.
///
/// # Errors
/// What cannot be written, or what else would change.
pub(crate) fn apply(covered: &Covered, ops: &[Op]) -> Result<String, String> {
    let mut edits = Vec::new();
    for op in ops {
        if let Op::Set { span, value } = op {
            edits.push(Edit {
                span: span.clone(),
                value: value.clone(),
            });
        }
    }
    if edits.len() == ops.len() {
        return covered.replace(&edits).map_err(|error| error.to_string());
    }
    let text = &covered.text;
    let mut splices = Vec::new();
    for op in ops {
        splices.push(splice(text, &covered.stream.documents, op, ops)?);
    }
    splices.sort_by_key(|splice| splice.range.start);
    let mut done = 0;
    let mut result = String::with_capacity(text.len() + 128);
    for splice in &splices {
        if splice.range.start < done {
            return Err("two changes touch the same bytes".to_owned());
        }
        result.push_str(&text[done..splice.range.start]);
        result.push_str(&splice.text);
        done = splice.range.end;
    }
    result.push_str(&text[done..]);
    let after = yaml::parse(&result).map_err(|error| format!("the edited text: {error}"))?;
    let proof = Proof { ops };
    let same = covered.stream.documents.len() == after.documents.len();
    let pairs = covered.stream.documents.iter().zip(&after.documents);
    let proven = same
        && pairs
            .enumerate()
            .all(|(index, (old, new))| proof.holds(old, new, index == 0));
    if !proven {
        return Err("something else than the announced values would change".to_owned());
    }
    let moved = |at: usize| {
        let before = splices.iter().filter(|splice| splice.range.end <= at);
        let shift: isize = before
            .map(|splice| splice.text.len() as isize - splice.range.len() as isize)
            .sum();
        let gone = splices.iter().any(|splice| splice.range.contains(&at));
        (!gone).then(|| at.checked_add_signed(shift)).flatten()
    };
    Ok(covered.uncover(result, moved))
}

/// A value as it is written without context.
fn written(value: &str) -> Result<String, String> {
    let edit = Edit {
        span: 0..1,
        value: value.to_owned(),
    };
    yaml::replace_scalars("x", &[edit]).map_err(|error| error.to_string())
}

/// The bytes of one change. `ops` are all of them: no key is put beside one that goes.
fn splice(text: &str, documents: &[Node], op: &Op, ops: &[Op]) -> Result<Splice, String> {
    match op {
        Op::Set { span, value } => in_style(text, span, value),
        Op::Text { span, value } => {
            let plain = find(documents, span).is_some_and(|node| {
                matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.style == ScalarStyle::Plain)
            });
            if plain && !span.is_empty() {
                return Ok(Splice {
                    range: span.clone(),
                    text: written(value)?,
                });
            }
            // What needs no escape is written without parsing the whole text: there may be thousands of these.
            let quote = text[span.clone()]
                .chars()
                .next()
                .filter(|c| "'\"".contains(*c));
            let simple = |c: char| c.is_ascii_alphanumeric() || "._-+:/@".contains(c);
            if let Some(quote) = quote.filter(|_| value.chars().all(simple)) {
                return Ok(Splice {
                    range: span.clone(),
                    text: format!("{quote}{value}{quote}"),
                });
            }
            in_style(text, span, value)
        }
        Op::Add {
            mapping,
            key,
            value,
        } => {
            let node = find(documents, mapping).ok_or("the mapping is gone")?;
            let value = written(value)?;
            let goes = |value: &Node| {
                ops.iter()
                    .any(|op| matches!(op, Op::Remove { value: span, .. } if *span == value.span))
            };
            let simple = |(_, value): &&(Node, Node)| {
                !goes(value)
                    && !text[value.span.clone()].contains('\n')
                    && matches!(value.kind, NodeKind::Scalar(_))
            };
            let (sibling, last) = node
                .entries()
                .iter()
                .rev()
                .find(simple)
                .ok_or_else(|| format!("there is no line beside which `{key}` could stand"))?;
            if text[node.span.clone()].starts_with('{') {
                let at = last.span.end;
                let json = text[sibling.span.clone()].starts_with('"');
                let (key, value) = if json {
                    (format!("\"{key}\""), quoted(&value))
                } else {
                    (key.clone(), value)
                };
                return Ok(Splice {
                    range: at..at,
                    text: format!(", {key}: {value}"),
                });
            }
            let at = line_end(text, last.span.end);
            let indent = column(text, sibling.span.start);
            Ok(Splice {
                range: at..at,
                text: format!("{}{}{key}: {value}", newline(text), " ".repeat(indent)),
            })
        }
        Op::Remove { mapping, value } => remove(text, documents, mapping, value),
        Op::Append { list, entry } => append(text, documents, list, entry),
    }
}

fn quoted(value: &str) -> String {
    if value.starts_with(['"', '\'']) {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    }
}

/// The bytes that the replacement of one scalar comes to.
fn in_style(text: &str, span: &Range<usize>, value: &str) -> Result<Splice, String> {
    let edit = Edit {
        span: span.clone(),
        value: value.to_owned(),
    };
    let edited = yaml::replace_scalars(text, &[edit]).map_err(|error| error.to_string())?;
    let end = edited.len() - (text.len() - span.end);
    Ok(Splice {
        range: span.clone(),
        text: edited[span.start..end].to_owned(),
    })
}

fn remove(
    text: &str,
    documents: &[Node],
    mapping: &Range<usize>,
    value: &Range<usize>,
) -> Result<Splice, String> {
    let node = find(documents, mapping).ok_or("the mapping is gone")?;
    let entries = node.entries();
    let index = entries
        .iter()
        .position(|(_, it)| it.span == *value)
        .ok_or("the key is gone")?;
    let (key, _) = &entries[index];
    let next = entries.get(index + 1).map(|(key, _)| key.span.start);
    let line = text[..key.span.start].rfind('\n').map_or(0, |at| at + 1);
    let alone = text[line..key.span.start].trim().is_empty();
    let flow = text[node.span.clone()].starts_with('{');
    let range = if !flow && alone {
        let end = line_end(text, value.end);
        let rest = &text[end..];
        let end = end + rest.find('\n').map_or(rest.len(), |at| at + 1);
        line..end
    } else if let Some(next) = next {
        key.span.start..next
    } else if let Some((_, before)) = index.checked_sub(1).and_then(|at| entries.get(at)) {
        before.span.end..value.end
    } else {
        return Err("it is the only key".to_owned());
    };
    Ok(Splice {
        range,
        text: String::new(),
    })
}

fn append(
    text: &str,
    documents: &[Node],
    list: &str,
    entry: &[(&'static str, String)],
) -> Result<Splice, String> {
    let [root] = documents else {
        return Err("the file has several documents".to_owned());
    };
    let mut fields = Vec::new();
    for (key, value) in entry {
        fields.push(format!("{key}: {}", written(value)?));
    }
    let newline = newline(text);
    let block = |indent: usize| {
        let pad = " ".repeat(indent);
        format!("{pad}- {}", fields.join(&format!("{newline}{pad}  ")))
    };
    let flow_root = text[root.span.clone()].starts_with('{');
    let Some((key, value)) = root
        .entries()
        .iter()
        .find(|(key, _)| key.text() == Some(list))
    else {
        if flow_root || text.trim_end().ends_with("...") || root.entries().is_empty() {
            return Err(format!("`{list}` cannot be added to the file"));
        }
        let lead = if text.ends_with('\n') { "" } else { newline };
        let indent = column(text, root.span.start);
        let pad = " ".repeat(indent);
        return Ok(Splice {
            range: text.len()..text.len(),
            text: format!("{lead}{pad}{list}:{newline}{}{newline}", block(indent)),
        });
    };
    let written_list = &text[value.span.clone()];
    if written_list.starts_with('[') {
        let at = match value.items().last() {
            Some(last) => last.span.end,
            None => value.span.start + 1,
        };
        let comma = if value.items().is_empty() { "" } else { ", " };
        return Ok(Splice {
            range: at..at,
            text: format!("{comma}{{{}}}", fields.join(", ")),
        });
    }
    let (at, indent) = match (value.items().first(), value.items().last()) {
        (Some(first), Some(last)) => {
            let line = text[..first.span.start].rfind('\n').map_or(0, |at| at + 1);
            let dash = text[line..first.span.start]
                .rfind('-')
                .ok_or("the list is written in a form that cannot be extended")?;
            (line_end(text, last.span.end), dash)
        }
        _ if value.span.is_empty() => (line_end(text, key.span.end), column(text, key.span.start)),
        _ => return Err(format!("`{list}` is no list")),
    };
    Ok(Splice {
        range: at..at,
        text: format!("{newline}{}", block(indent)),
    })
}

/// Where the line ends in which the byte before `at` stands, without its line break.
fn line_end(text: &str, at: usize) -> usize {
    if text[..at].ends_with('\n') {
        let at = at - 1;
        return if text[..at].ends_with('\r') {
            at - 1
        } else {
            at
        };
    }
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    if text[..end].ends_with('\r') {
        end - 1
    } else {
        end
    }
}

fn column(text: &str, at: usize) -> usize {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..at].chars().filter(|c| *c != '\u{FEFF}').count()
}

fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The node of these bytes.
fn find<'n>(documents: &'n [Node], span: &Range<usize>) -> Option<&'n Node> {
    let mut open: Vec<&Node> = documents.iter().collect();
    while let Some(node) = open.pop() {
        if node.span == *span {
            return Some(node);
        }
        if node.span.start <= span.start && node.span.end >= span.end {
            open.extend(crate::nodes::children(node));
        }
    }
    None
}

/// The proof that two trees differ in the changes and nothing else.
struct Proof<'o> {
    ops: &'o [Op],
}

impl Proof<'_> {
    fn holds(&self, old: &Node, new: &Node, root: bool) -> bool {
        if old.anchor != new.anchor || old.tag != new.tag {
            return false;
        }
        match (&old.kind, &new.kind) {
            (NodeKind::Alias(old), NodeKind::Alias(new)) => old == new,
            (NodeKind::Scalar(before), NodeKind::Scalar(after)) => self.scalar(old, before, after),
            (NodeKind::Sequence(before), NodeKind::Sequence(after)) => self.items(before, after),
            (NodeKind::Mapping(before), NodeKind::Mapping(after)) => {
                self.entries(old, before, after, root)
            }
            _ => false,
        }
    }

    fn scalar(&self, node: &Node, old: &Scalar, new: &Scalar) -> bool {
        let set = self.ops.iter().find_map(|op| match op {
            Op::Set { span, value } | Op::Text { span, value } if *span == node.span => Some(value),
            Op::Set { .. }
            | Op::Text { .. }
            | Op::Add { .. }
            | Op::Remove { .. }
            | Op::Append { .. } => None,
        });
        match set {
            Some(value) => *value == new.value,
            None => old == new,
        }
    }

    fn items(&self, old: &[Node], new: &[Node]) -> bool {
        let mut pairs = old.iter().zip(new);
        old.len() == new.len() && pairs.all(|(old, new)| self.holds(old, new, false))
    }

    fn entries(&self, node: &Node, old: &[(Node, Node)], new: &[(Node, Node)], root: bool) -> bool {
        let removed = |value: &Node| {
            self.ops.iter().any(|op| {
                matches!(op, Op::Remove { mapping, value: span } if *mapping == node.span && *span == value.span)
            })
        };
        let mut added: Vec<(&str, &str)> = Vec::new();
        let mut appended: Vec<(&str, &[(&'static str, String)])> = Vec::new();
        for op in self.ops {
            match op {
                Op::Add {
                    mapping,
                    key,
                    value,
                } if *mapping == node.span => added.push((key, value)),
                Op::Append { list, entry } if root => appended.push((list, entry)),
                Op::Set { .. }
                | Op::Text { .. }
                | Op::Add { .. }
                | Op::Remove { .. }
                | Op::Append { .. } => {}
            }
        }
        let mut old = old.iter().filter(|(_, value)| !removed(value)).peekable();
        let mut left = added.len();
        for (key, value) in new {
            let text = key.text().unwrap_or_default();
            if let Some((old_key, old_value)) = old.peek()
                && self.holds(old_key, key, false)
            {
                let further: Vec<_> = appended.iter().filter(|(list, _)| *list == text).collect();
                let same = if further.is_empty() {
                    self.holds(old_value, value, false)
                } else {
                    self.extended(old_value, value, &further)
                };
                if !same {
                    return false;
                }
                appended.retain(|(list, _)| *list != text);
                old.next();
            } else if added.contains(&(text, value.text().unwrap_or_default())) && left > 0 {
                left -= 1;
            } else if appended.iter().any(|(list, _)| *list == text) {
                let entries: Vec<_> = appended.iter().filter(|(list, _)| *list == text).collect();
                if !is_new(value.items(), &entries) {
                    return false;
                }
                appended.retain(|(list, _)| *list != text);
            } else {
                return false;
            }
        }
        old.peek().is_none() && left == 0 && appended.is_empty()
    }

    fn extended(
        &self,
        old: &Node,
        new: &Node,
        further: &[&(&str, &[(&'static str, String)])],
    ) -> bool {
        let kept = old.items().len();
        let items = new.items();
        items.len() >= kept
            && self.items(old.items(), &items[..kept])
            && is_new(&items[kept..], further)
    }
}

/// Whether these items are the new entries.
fn is_new(items: &[Node], entries: &[&(&str, &[(&'static str, String)])]) -> bool {
    items.len() == entries.len()
        && items.iter().zip(entries).all(|(item, (_, entry))| {
            item.entries().len() == entry.len()
                && item
                    .entries()
                    .iter()
                    .zip(entry.iter())
                    .all(|((key, value), (name, text))| {
                        key.text() == Some(name) && value.text() == Some(text.as_str())
                    })
        })
}
