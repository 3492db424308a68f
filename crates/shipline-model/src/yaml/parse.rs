//! Text to tree, over saphyr-parser's events.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle as Style, Span};

use super::lex;
use super::{Node, NodeKind, Scalar, ScalarStyle, Stream, YamlError};

/// How many collections may stand in one another. Walks over the tree recurse, so hostile texts end here.
const MAX_DEPTH: usize = 128;

/// Parses all documents of a text (YAML 1.2). Keys may be doubled: readers that mind look at [`Node::get_all`].
///
/// # Errors
/// `YamlError` with its place where the text is no YAML, an alias has no anchor before it in its document, or more than 128
/// collections stand in one another.
pub fn parse(text: &str) -> Result<Stream, YamlError> {
    let mut build = Build {
        text,
        places: Places::new(text),
        cursor: 0,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: HashSet::new(),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            message: error.info().to_owned(),
            offset: build.places.byte(error.marker().index()),
        })?;
        build.event(event, span)?;
    }
    Ok(Stream {
        documents: build.documents,
    })
}

/// Characters to bytes.
enum Places<'a> {
    Same(usize),
    Mapped(&'a str, Vec<usize>),
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        if text.is_ascii() {
            Self::Same(text.len())
        } else {
            Self::Mapped(text, text.char_indices().map(|(byte, _)| byte).collect())
        }
    }

    fn byte(&self, character: usize) -> usize {
        match self {
            Self::Same(length) => character.min(*length),
            Self::Mapped(text, bytes) => bytes.get(character).copied().unwrap_or(text.len()),
        }
    }
}

/// A collection whose end has not been seen.
struct Open {
    shape: Shape,
    start: usize,
    anchor: Option<String>,
    tag: Option<String>,
    children: Vec<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Mapping,
    Sequence,
}

struct Build<'a> {
    text: &'a str,
    places: Places<'a>,
    /// The end of what has been placed.
    cursor: usize,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashSet<String>,
}

impl Build<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let start = self.places.byte(span.start.index());
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(explicit) => {
                self.anchors.clear();
                self.cursor = if explicit { start + 3 } else { self.cursor };
            }
            Event::DocumentEnd if self.text[start..].starts_with("...") => self.cursor = start + 3,
            Event::DocumentEnd => {}
            Event::Alias(_) => self.alias(start)?,
            Event::Scalar(value, style, anchor, tag) => {
                let properties = anchor > 0 || tag.is_some();
                self.scalar(value.into_owned(), style, properties, start)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Shape::Mapping, anchor > 0 || tag.is_some(), start, span)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Shape::Sequence, anchor > 0 || tag.is_some(), start, span)?;
            }
            Event::MappingEnd | Event::SequenceEnd => self.end(start, span),
        }
        Ok(())
    }

    fn alias(&mut self, start: usize) -> Result<(), YamlError> {
        let end = lex::name_end(self.text, start);
        let name = self.text[start..end].trim_start_matches('*').to_owned();
        if !self.anchors.contains(&name) {
            return Err(YamlError {
                message: format!("nothing before this has the anchor `&{name}`"),
                offset: start,
            });
        }
        self.add(NodeKind::Alias(name), start..end, None, None);
        Ok(())
    }

    fn scalar(
        &mut self,
        value: String,
        style: Style,
        has_properties: bool,
        start: usize,
    ) -> Result<(), YamlError> {
        let style = match style {
            Style::Plain => ScalarStyle::Plain,
            Style::SingleQuoted => ScalarStyle::SingleQuoted,
            Style::DoubleQuoted => ScalarStyle::DoubleQuoted,
            Style::Literal => ScalarStyle::Literal,
            Style::Folded => ScalarStyle::Folded,
        };
        let (properties, behind) = self.properties(has_properties, start);
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let found = if style == ScalarStyle::Plain && value.is_empty() {
            let at = if has_properties {
                properties.end
            } else {
                self.nothing()
            };
            Some(at..at)
        } else if is_block {
            lex::announced(self.text, self.cursor, b"|>")
                .and_then(|start| lex::scalar(self.text, start, style, &value))
        } else {
            lex::scalar(self.text, behind, style, &value)
        };
        let span = found.ok_or_else(|| YamlError {
            message: "this scalar is written in a way that cannot be placed".to_owned(),
            offset: start,
        })?;
        let kind = NodeKind::Scalar(Scalar { value, style });
        self.add(kind, span, properties.anchor, properties.tag);
        Ok(())
    }

    /// Properties at `start`, and where the node behind them begins.
    fn properties(&mut self, present: bool, start: usize) -> (lex::Properties, usize) {
        if !present {
            return (lex::Properties::default(), start);
        }
        let properties = lex::properties(self.text, start);
        if let Some(anchor) = &properties.anchor {
            self.anchors.insert(anchor.clone());
        }
        let behind = lex::skip_blank(self.text, properties.end);
        (properties, behind)
    }

    /// Where a node of no bytes stands: right behind the indicator that announces it, if one does.
    fn nothing(&self) -> usize {
        let indicator = match self.open.last() {
            None => return self.cursor,
            Some(open) => match (open.shape, open.children.len() % 2) {
                (Shape::Mapping, 0) => b'?',
                (Shape::Mapping, _) => b':',
                (Shape::Sequence, _) => b'-',
            },
        };
        let next = lex::skip_blank(self.text, self.cursor);
        if self.text.as_bytes().get(next) == Some(&indicator) {
            next + 1
        } else {
            self.cursor
        }
    }

    fn start(
        &mut self,
        shape: Shape,
        has_properties: bool,
        start: usize,
        span: Span,
    ) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError {
                message: format!("more than {MAX_DEPTH} collections stand in one another"),
                offset: start,
            });
        }
        let (properties, mut behind) = self.properties(has_properties, start);
        let bracket = match shape {
            Shape::Mapping => '{',
            Shape::Sequence => '[',
        };
        // Only a bracket is a token of its own: the start of a block has no extent, its end is where it begins.
        let end = self.places.byte(span.end.index());
        if end > start && self.text[..end].ends_with(bracket) {
            self.cursor = end;
        } else if shape == Shape::Sequence && self.text.as_bytes().get(behind) != Some(&b'-') {
            // A sequence at its key's own indentation is told of behind its first dash.
            behind = lex::announced(self.text, self.cursor, b"-").unwrap_or(behind);
        }
        self.open.push(Open {
            shape,
            start: behind,
            anchor: properties.anchor,
            tag: properties.tag,
            children: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self, at: usize, span: Span) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let (kind, bracket) = match open.shape {
            Shape::Sequence => (NodeKind::Sequence(open.children), b']'),
            Shape::Mapping => {
                let mut children = open.children.into_iter();
                let mut entries = Vec::new();
                while let (Some(key), Some(value)) = (children.next(), children.next()) {
                    entries.push((key, value));
                }
                (NodeKind::Mapping(entries), b'}')
            }
        };
        let closed = !span.is_empty() && self.text.as_bytes().get(at) == Some(&bracket);
        let end = if closed { at + 1 } else { self.cursor };
        let span = open.start.min(end)..end;
        self.add(kind, span, open.anchor, open.tag);
    }

    fn add(
        &mut self,
        kind: NodeKind,
        span: Range<usize>,
        anchor: Option<String>,
        tag: Option<String>,
    ) {
        self.cursor = self.cursor.max(span.end);
        let node = Node {
            kind,
            span,
            anchor,
            tag,
        };
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.documents.push(node),
        }
    }
}
