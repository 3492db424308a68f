//! The tree of a `pipeline.yaml`, from saphyr-parser's events.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle as Style, Span, SpannedEventReceiver, Tag};

use crate::yaml::{Node, NodeKind, Scalar, ScalarStyle, Stream, YamlError};

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Stream, YamlError> {
    let mut build = Build {
        text,
        bytes: text.char_indices().map(|(byte, _)| byte).collect(),
        open: vec![Open::default()],
    };
    Parser::new_from_str(text)
        .load(&mut build, true)
        .map_err(|error| YamlError {
            message: error.info().to_owned(),
            offset: build.byte(error.marker().index()),
        })?;
    Ok(Stream {
        documents: build.open.pop().unwrap_or_default().nodes,
    })
}

struct Build<'a> {
    text: &'a str,
    bytes: Vec<usize>,
    open: Vec<Open>,
}

/// A collection whose end has not come.
#[derive(Default)]
struct Open {
    start: usize,
    anchor: usize,
    tag: Option<String>,
    nodes: Vec<Node>,
}

impl Build<'_> {
    fn byte(&self, character: usize) -> usize {
        self.bytes
            .get(character)
            .copied()
            .unwrap_or(self.text.len())
    }

    fn add(&mut self, kind: NodeKind, span: Range<usize>, anchor: usize, tag: Option<String>) {
        if let Some(open) = self.open.last_mut() {
            open.nodes.push(Node {
                kind,
                span,
                anchor: (anchor > 0).then(|| anchor.to_string()),
                tag,
            });
        }
    }

    /// A scalar's bytes: events end where the next token begins, so what follows the scalar is cut off.
    fn scalar_span(&self, start: usize, end: usize, style: ScalarStyle) -> Range<usize> {
        let written = self.text.get(start..end).unwrap_or_default();
        let length = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let quote = if style == ScalarStyle::SingleQuoted {
                    '\''
                } else {
                    '"'
                };
                written.rfind(quote).map_or(written.len(), |last| last + 1)
            }
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => {
                written.trim_end().len()
            }
        };
        start..start + length
    }
}

fn tag(tag: Option<Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| tag.to_string())
}

impl<'i> SpannedEventReceiver<'i> for Build<'_> {
    fn on_event(&mut self, event: Event<'i>, span: Span) {
        let start = self.byte(span.start.index());
        let end = self.byte(span.end.index()).max(start);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(id) => {
                self.add(NodeKind::Alias(id.to_string()), start..end, 0, None);
            }
            Event::Scalar(value, style, anchor, scalar_tag) => {
                let style = match style {
                    Style::Plain => ScalarStyle::Plain,
                    Style::SingleQuoted => ScalarStyle::SingleQuoted,
                    Style::DoubleQuoted => ScalarStyle::DoubleQuoted,
                    Style::Literal => ScalarStyle::Literal,
                    Style::Folded => ScalarStyle::Folded,
                };
                let scalar = Scalar {
                    value: value.into_owned(),
                    style,
                };
                let span = self.scalar_span(start, end, style);
                self.add(NodeKind::Scalar(scalar), span, anchor, tag(scalar_tag));
            }
            Event::SequenceStart(anchor, open_tag) | Event::MappingStart(anchor, open_tag) => {
                self.open.push(Open {
                    start,
                    anchor,
                    tag: tag(open_tag),
                    nodes: Vec::new(),
                });
            }
            Event::SequenceEnd => {
                let open = self.open.pop().unwrap_or_default();
                let kind = NodeKind::Sequence(open.nodes);
                self.add(kind, open.start..end, open.anchor, open.tag);
            }
            Event::MappingEnd => {
                let open = self.open.pop().unwrap_or_default();
                let mut nodes = open.nodes.into_iter();
                let mut entries = Vec::new();
                while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                    entries.push((key, value));
                }
                self.add(
                    NodeKind::Mapping(entries),
                    open.start..end,
                    open.anchor,
                    open.tag,
                );
            }
        }
    }
}
