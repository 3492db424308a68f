//! Holds the tree of a `pipeline.yaml` against the shape of the language, and keeps what fits, so that the checks of
//! meaning can go on where the structure is wrong elsewhere.

use std::collections::HashMap;

use serde_yaml::{Mapping, Value};

use super::later::{is_later_key, is_later_word};
use super::problem::{Aliases, Problems, key, value};
use super::schema::{Field, Shape};
use super::suggest::{did_you_mean, nearest};
use crate::yaml::{Node, NodeKind, Route, Scalar, ScalarStyle, Step};

/// More nodes than any file of people has; aliases of aliases have as many as they like.
const NODES: usize = 200_000;

/// Finds what each alias of a document stands for, by the byte at which the alias stands.
pub(super) fn aliases(root: &Node) -> Aliases<'_> {
    let mut aliases = HashMap::new();
    collect(root, &mut HashMap::new(), &mut aliases);
    aliases
}

fn collect<'a>(
    node: &'a Node,
    anchors: &mut HashMap<&'a str, &'a Node>,
    aliases: &mut Aliases<'a>,
) {
    match &node.kind {
        NodeKind::Scalar(_) => {}
        NodeKind::Mapping(entries) => {
            for (key, value) in entries {
                collect(key, anchors, aliases);
                collect(value, anchors, aliases);
            }
        }
        NodeKind::Sequence(items) => {
            for item in items {
                collect(item, anchors, aliases);
            }
        }
        NodeKind::Alias(name) => {
            if let Some(target) = anchors.get(name.as_str()) {
                aliases.insert(node.span.start, target);
            }
        }
    }
    if let Some(anchor) = &node.anchor {
        anchors.insert(anchor, node);
    }
}

/// Holds `root` against `shape`; gives what of it fits.
pub(super) fn fit(
    root: &Node,
    shape: &Shape,
    aliases: &Aliases<'_>,
    problems: &mut Problems<'_>,
) -> Option<Value> {
    let mut fit = Fit {
        aliases,
        problems,
        left: NODES,
    };
    fit.node(root, shape, &Route::root())
}

struct Fit<'a, 'p> {
    aliases: &'a Aliases<'a>,
    problems: &'a mut Problems<'p>,
    left: usize,
}

impl Fit<'_, '_> {
    fn node(&mut self, node: &Node, shape: &Shape, route: &Route) -> Option<Value> {
        let value = self.tagged(node, shape, route);
        if value.is_none() {
            self.problems.unfit(route);
        }
        value
    }

    fn tagged(&mut self, node: &Node, shape: &Shape, route: &Route) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 0 {
            self.problems.push(
                value(route, "the file's aliases expand to far too much")
                    .help("write the values out"),
            );
            return None;
        }
        if let Some(tag) = &node.tag {
            self.problems.push(
                value(route, format!("the tag `{tag}` has no meaning here")).help("remove it"),
            );
            return None;
        }
        match &node.kind {
            NodeKind::Alias(name) => match self.aliases.get(&node.span.start) {
                Some(target) => {
                    let target: &Node = target;
                    self.untagged(target, shape, route)
                }
                None => {
                    self.problems.push(value(
                        route,
                        format!("nothing before this has the anchor `&{name}`"),
                    ));
                    None
                }
            },
            NodeKind::Scalar(_) | NodeKind::Mapping(_) | NodeKind::Sequence(_) => {
                self.untagged(node, shape, route)
            }
        }
    }

    fn untagged(&mut self, node: &Node, shape: &Shape, route: &Route) -> Option<Value> {
        match (&node.kind, shape) {
            (NodeKind::Mapping(entries), Shape::Record(fields)) => {
                Some(self.record(entries, fields, route))
            }
            (NodeKind::Mapping(entries), Shape::Map(item)) => Some(self.map(entries, item, route)),
            (NodeKind::Sequence(items), Shape::List(item)) => {
                let mut values = Vec::new();
                for (index, node) in items.iter().enumerate() {
                    // A bad item leaves a gap, so that the places of those after it stay right.
                    let value = self.node(node, item, &route.index(index));
                    values.push(value.unwrap_or_else(|| blank(item)));
                }
                Some(Value::Sequence(values))
            }
            (NodeKind::Scalar(scalar), Shape::Texts) => {
                let text = self.scalar(scalar, &Shape::Text, route)?;
                Some(Value::Sequence(vec![text]))
            }
            (NodeKind::Sequence(_), Shape::Texts) => {
                self.untagged(node, &Shape::List(Box::new(Shape::Text)), route)
            }
            (NodeKind::Scalar(scalar), shape) => self.scalar(scalar, shape, route),
            (NodeKind::Mapping(_) | NodeKind::Sequence(_) | NodeKind::Alias(_), shape) => {
                let found = match &node.kind {
                    NodeKind::Mapping(_) => "a mapping",
                    NodeKind::Sequence(_) => "a list",
                    NodeKind::Alias(_) | NodeKind::Scalar(_) => "an alias",
                };
                self.mismatch(shape, found, None, route);
                None
            }
        }
    }

    fn record(
        &mut self,
        entries: &[(Node, Node)],
        fields: &indexmap::IndexMap<String, Field>,
        route: &Route,
    ) -> Value {
        let mut mapping = Mapping::new();
        let mut seen = HashMap::new();
        let mut misspelt = Vec::new();
        for (key_node, value_node) in entries {
            let Some(name) = self.name(key_node, route, &mut seen) else {
                continue;
            };
            let here = route.key(&name);
            let Some(field) = fields.get(&name) else {
                if let Some(meant) = self.unknown_key(&name, &here, fields) {
                    misspelt.push((meant, name, value_node));
                }
                continue;
            };
            if let Some(value) = self.node(value_node, &field.shape, &here) {
                mapping.insert(Value::String(name), value);
            }
        }
        // Read on as it was meant: what would follow from its absence is not worth saying.
        for (meant, name, value_node) in misspelt {
            let here = route.key(meant);
            let Some(field) = fields.get(meant).filter(|_| !seen.contains_key(meant)) else {
                continue;
            };
            seen.insert(meant.to_owned(), value_node.span.start);
            self.problems.misspelt(&here, &name);
            if let Some(value) = self.node(value_node, &field.shape, &here) {
                mapping.insert(Value::String(meant.to_owned()), value);
            }
        }
        for (name, _) in fields
            .iter()
            .filter(|(name, field)| field.required && !seen.contains_key(name.as_str()))
        {
            let message = format!("`{name}` is missing");
            self.problems.push(
                key(route, message)
                    .label(if route.steps().is_empty() {
                        "in this file"
                    } else {
                        "in this"
                    })
                    .help(format!("add `{name}: …`")),
            );
        }
        Value::Mapping(mapping)
    }

    /// Reports a key that is not in the language, and gives the one that was probably meant.
    fn unknown_key<'f>(
        &mut self,
        name: &str,
        here: &Route,
        fields: &'f indexmap::IndexMap<String, Field>,
    ) -> Option<&'f str> {
        if self.problems.is_full() {
            return None;
        }
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        let mut meant = None;
        let draft = if is_later_key(here) {
            key(here, "this version does not support this yet")
                .label("not supported yet")
                .help("remove it: it would be accepted and do nothing")
        } else if name == "<<" {
            key(here, "merge keys are not supported")
                .label("not supported")
                .help("write the keys out")
        } else {
            meant = nearest(name, &known);
            key(here, "unknown key")
                .label("unknown key")
                .help(did_you_mean(name, known))
        };
        self.problems.push(draft);
        meant
    }

    fn map(&mut self, entries: &[(Node, Node)], item: &Shape, route: &Route) -> Value {
        let mut mapping = Mapping::new();
        let mut seen = HashMap::new();
        for (key_node, value_node) in entries {
            let Some(name) = self.name(key_node, route, &mut seen) else {
                continue;
            };
            // A name whose value is wrong stays known, so that references to it are not wrong too.
            let value = self.node(value_node, item, &route.key(&name));
            mapping.insert(Value::String(name), value.unwrap_or_else(|| blank(item)));
        }
        Value::Mapping(mapping)
    }

    /// The text of a key that is there for the first time.
    fn name(
        &mut self,
        node: &Node,
        route: &Route,
        seen: &mut HashMap<String, usize>,
    ) -> Option<String> {
        let text = match &node.kind {
            NodeKind::Scalar(scalar) if resolve(scalar).is_string() || scalar.value == "<<" => {
                scalar.value.clone()
            }
            NodeKind::Scalar(scalar) => {
                let draft = value(route, format!("`{}` is no text", scalar.value))
                    .help(format!("write the key in quotes: \"{}\"", scalar.value));
                self.problems.push_at(draft, node.span.clone());
                return None;
            }
            NodeKind::Mapping(_) | NodeKind::Sequence(_) | NodeKind::Alias(_) => {
                let draft = value(route, "a key must be a plain text");
                self.problems.push_at(draft, node.span.clone());
                return None;
            }
        };
        if seen.insert(text.clone(), node.span.start).is_some() {
            let draft = key(&route.key(&text), "this key was given before")
                .label("a second time")
                .help("keep one of the two: which of them counts depends on the reader");
            self.problems.push_at(draft, node.span.clone());
            return None;
        }
        Some(text)
    }

    fn scalar(&mut self, scalar: &Scalar, shape: &Shape, route: &Route) -> Option<Value> {
        let resolved = resolve(scalar);
        match (shape, &resolved) {
            (_, Value::Null) => {
                self.problems.push(
                    key(route, "has no value")
                        .label("no value")
                        .help(format!("write {}, or remove the line", example(shape))),
                );
                return None;
            }
            (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => {
                return Some(resolved);
            }
            (Shape::Word(words), Value::String(word)) => {
                if words.contains(word) {
                    return Some(resolved);
                }
                let draft = if is_later_word(route, word) {
                    value(route, format!("this version does not support `{word}` yet"))
                        .label("not supported yet")
                        .help(format!("supported: {}", super::suggest::list(words)))
                } else {
                    value(route, format!("`{word}` is unknown"))
                        .label("unknown")
                        .help(did_you_mean(word, words.iter().map(String::as_str)))
                };
                self.problems.push(draft);
                return None;
            }
            (Shape::Integer(least, most), Value::Number(number)) => {
                if number.as_u64().is_some_and(|n| n >= *least && n <= *most) {
                    return Some(resolved);
                }
                let draft = match number.as_f64() {
                    Some(float) if number.is_f64() => {
                        let help = if float.fract() == 0.0 && float >= 0.0 {
                            format!("write {float:.0}")
                        } else {
                            "write a whole number".to_owned()
                        };
                        let message = format!("wanted a whole number, found {}", scalar.value);
                        value(route, message).label("wrong type").help(help)
                    }
                    Some(_) | None => {
                        let help = match *most {
                            u64::MAX => format!("write a whole number of at least {least}"),
                            most => format!("write a whole number from {least} to {most}"),
                        };
                        value(route, format!("{} is out of range", scalar.value)).help(help)
                    }
                };
                self.problems.push(draft);
                return None;
            }
            _ => {}
        }
        self.mismatch(shape, described(&resolved), Some(scalar), route);
        None
    }

    fn mismatch(&mut self, shape: &Shape, found: &str, scalar: Option<&Scalar>, route: &Route) {
        let wanted = match shape {
            Shape::Record(_) | Shape::Map(_) => "a mapping",
            Shape::List(_) => "a list",
            Shape::Word(_) => "a word",
            Shape::Text => "a text",
            Shape::Texts => "a text or a list of texts",
            Shape::Integer(..) => "a number",
            Shape::Flag => "`true` or `false`",
        };
        let unquoted = |scalar: &&Scalar| scalar.style == ScalarStyle::Plain;
        let is_limit = matches!(route.steps().last(), Some(Step::Key(key)) if key == "timeout");
        let help = match (shape, scalar) {
            (Shape::Text, Some(Scalar { value, .. })) if is_limit => {
                format!("write it with its unit: {value}s or {value}m")
            }
            (Shape::Text, Some(scalar)) if unquoted(&scalar) => {
                format!("write it in quotes: \"{}\"", scalar.value)
            }
            (Shape::List(inner), Some(scalar)) if **inner == Shape::Text => {
                format!("write it in brackets: [{}]", scalar.value)
            }
            (Shape::Integer(..), Some(scalar)) if scalar.value.parse::<u64>().is_ok() => {
                format!("write it without quotes: {}", scalar.value)
            }
            _ => format!("write {}", example(shape)),
        };
        self.problems.push(
            value(route, format!("wanted {wanted}, found {found}"))
                .label("wrong type")
                .help(help),
        );
    }
}

/// Nothing of a shape: what stands for a value that is wrong.
fn blank(shape: &Shape) -> Value {
    match shape {
        Shape::Record(_) | Shape::Map(_) => Value::Mapping(Mapping::new()),
        Shape::List(_) => Value::Sequence(Vec::new()),
        Shape::Word(words) => words
            .first()
            .map_or(Value::Null, |word| Value::String(word.clone())),
        Shape::Text => Value::String(String::new()),
        Shape::Texts => Value::Sequence(Vec::new()),
        Shape::Integer(least, _) => Value::Number((*least).into()),
        Shape::Flag => Value::Bool(false),
    }
}

/// How one writes a value of a shape.
fn example(shape: &Shape) -> String {
    match shape {
        Shape::Record(fields) => {
            let shown = fields
                .iter()
                .filter(|(_, field)| field.required)
                .chain(fields.iter().filter(|(_, field)| !field.required))
                .take(2)
                .map(|(name, _)| format!("{name}: …"))
                .collect::<Vec<_>>();
            format!("{{ {} }}", shown.join(", "))
        }
        Shape::Map(_) => "a mapping: { NAME: … }".to_owned(),
        Shape::List(_) => "a list: [ … ]".to_owned(),
        Shape::Word(words) => format!("one of {}", super::suggest::list(words)),
        Shape::Text => "a text".to_owned(),
        Shape::Texts => "a text or a list of texts".to_owned(),
        Shape::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Shape::Flag => "`true` or `false`".to_owned(),
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tagged value",
    }
}

/// What a scalar is, by serde_yaml's own rules where it is not quoted and may be something else than a text.
fn resolve(scalar: &Scalar) -> Value {
    let text = || Value::String(scalar.value.clone());
    if scalar.style != ScalarStyle::Plain {
        return text();
    }
    let Some(first) = scalar.value.bytes().next() else {
        return Value::Null;
    };
    // Numbers start with a digit, a sign or a point, and hold nothing else than these (`0x1F`, `1e3`, `-.inf`, `.nan`).
    let numeric = |b: u8| b.is_ascii_hexdigit() || b"+-.xXoOiInNfFaA_".contains(&b);
    let suspicious = if first.is_ascii_digit() || b"+-.".contains(&first) {
        scalar.value.bytes().all(numeric)
    } else {
        let words = ["~", "null", "true", "false"];
        words
            .iter()
            .any(|word| scalar.value.eq_ignore_ascii_case(word))
    };
    if !suspicious {
        return text();
    }
    match serde_yaml::from_str::<Value>(&scalar.value) {
        Ok(Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) | Err(_) => text(),
        Ok(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_serde_yaml_takes_them_for() {
        for text in [
            "",
            "~",
            "null",
            "Null",
            "NULL",
            "nULL",
            "true",
            "True",
            "TRUE",
            "tRue",
            "yes",
            "on",
            "0",
            "-1",
            "+2",
            "007",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            "1.5",
            ".5",
            "1e3",
            "1E-3",
            ".inf",
            "-.Inf",
            ".nan",
            ".NaN",
            "12e03",
            "1h30m",
            "2027-12-31",
            "1.2.3",
            "+",
            ".",
            "...a",
            ".shipline/x",
            "08",
            "1.",
            "0xZZ",
            "18446744073709551616",
            "-9223372036854775809",
            "a",
            "é",
            "text with spaces",
        ] {
            let plain = Scalar {
                value: text.to_owned(),
                style: ScalarStyle::Plain,
            };
            let wanted = serde_yaml::from_str::<Vec<Value>>(&format!("- {text}\n"))
                .map(|mut values| values.remove(0))
                .unwrap_or_else(|_| Value::String(text.to_owned()));
            let found = resolve(&plain);
            // No number equals itself that is none.
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{text:?}");
            let quoted = Scalar {
                style: ScalarStyle::SingleQuoted,
                ..plain
            };
            assert_eq!(resolve(&quoted), Value::String(text.to_owned()));
        }
    }
}
