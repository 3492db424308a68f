//! Looking things up: by key, by route, by place.

use std::fmt;

use super::{Node, NodeKind, Route, Step, Stream};

/// A place for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
}

/// The place of a byte of a text; behind the end, the place of the end.
#[must_use]
pub fn place(text: &str, offset: usize) -> Place {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
        column: 1 + before[line_start..].chars().count(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Stream {
    /// The node at a route of a document (0-based).
    #[must_use]
    pub fn at(&self, document: usize, route: &Route) -> Option<&Node> {
        self.documents.get(document)?.at(route)
    }
}

impl Node {
    /// The value of a key, the first where the key is doubled. Keys are compared by value, however they are written.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(name, _)| name.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// The values of a key, in order: more than one where the key is doubled.
    pub fn get_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Self> + 'a {
        self.entries()
            .iter()
            .filter(move |(name, _)| name.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// The node at a route from here, by first keys. Aliases are not followed.
    #[must_use]
    pub fn at(&self, route: &Route) -> Option<&Self> {
        route
            .steps()
            .iter()
            .try_fold(self, |node, step| match step {
                Step::Key(key) => node.get(key),
                Step::Index(index) => node.items().get(*index),
            })
    }

    /// A mapping's entries; none for other kinds.
    #[must_use]
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.kind {
            NodeKind::Mapping(entries) => entries,
            NodeKind::Scalar(_) | NodeKind::Sequence(_) | NodeKind::Alias(_) => &[],
        }
    }

    /// A sequence's items; none for other kinds.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            NodeKind::Sequence(items) => items,
            NodeKind::Scalar(_) | NodeKind::Mapping(_) | NodeKind::Alias(_) => &[],
        }
    }

    /// A scalar's value.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(&scalar.value),
            NodeKind::Mapping(_) | NodeKind::Sequence(_) | NodeKind::Alias(_) => None,
        }
    }
}
