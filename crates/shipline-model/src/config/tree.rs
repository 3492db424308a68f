//! The tree of a `pipeline.yaml`, from saphyr-parser's events.

use saphyr_parser::{Event, Parser, ScalarStyle as Style, Span, SpannedEventReceiver};

use crate::yaml::{Node, NodeKind, Scalar, ScalarStyle, Stream, YamlError};

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Stream, YamlError> {
    let mut build = Build {
        text,
        bytes: text.char_indices().map(|(byte, _)| byte).collect(),
        open: vec![Vec::new()],
    };
    Parser::new_from_str(text)
        .load(&mut build, true)
        .map_err(|error| YamlError {
            message: error.info().to_owned(),
            offset: build.byte(error.marker().index()),
        })?;
    Ok(Stream {
        documents: build.open.pop().unwrap_or_default(),
    })
}

struct Build<'a> {
    text: &'a str,
    bytes: Vec<usize>,
    open: Vec<Vec<Node>>,
}

impl Build<'_> {
    fn byte(&self, character: usize) -> usize {
        self.bytes
            .get(character)
            .copied()
            .unwrap_or(self.text.len())
    }

    fn add(&mut self, kind: NodeKind, start: usize, anchor: usize) {
        let end = match &kind {
            NodeKind::Scalar(scalar) if scalar.style == ScalarStyle::Plain => scalar.value.len(),
            NodeKind::Scalar(scalar) => scalar.value.len() + 2,
            NodeKind::Alias(name) => name.len() + 1,
            NodeKind::Mapping(_) | NodeKind::Sequence(_) => 1,
        };
        let node = Node {
            kind,
            span: start..(start + end).min(self.text.len()),
            anchor: (anchor > 0).then(|| anchor.to_string()),
            tag: None,
        };
        if let Some(open) = self.open.last_mut() {
            open.push(node);
        }
    }
}

impl<'i> SpannedEventReceiver<'i> for Build<'_> {
    fn on_event(&mut self, event: Event<'i>, span: Span) {
        let start = self.byte(span.start.index());
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(id) => self.add(NodeKind::Alias(id.to_string()), start, 0),
            Event::Scalar(value, style, anchor, _) => {
                let style = match style {
                    Style::Plain => ScalarStyle::Plain,
                    Style::SingleQuoted => ScalarStyle::SingleQuoted,
                    Style::DoubleQuoted => ScalarStyle::DoubleQuoted,
                    Style::Literal => ScalarStyle::Literal,
                    Style::Folded => ScalarStyle::Folded,
                };
                let value = value.into_owned();
                self.add(NodeKind::Scalar(Scalar { value, style }), start, anchor);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => self.open.push(Vec::new()),
            Event::SequenceEnd => {
                let items = self.open.pop().unwrap_or_default();
                let start = items.first().map_or(start, |item| item.span.start);
                self.add(NodeKind::Sequence(items), start, 0);
            }
            Event::MappingEnd => {
                let mut nodes = self.open.pop().unwrap_or_default().into_iter();
                let mut entries = Vec::new();
                while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                    entries.push((key, value));
                }
                let start = entries.first().map_or(start, |(key, _)| key.span.start);
                self.add(NodeKind::Mapping(entries), start, 0);
            }
        }
    }
}
