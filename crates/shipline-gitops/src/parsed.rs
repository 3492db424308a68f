//! A file of the repository as text and tree.

use std::ops::Range;
use std::rc::Rc;

use shipline_model::yaml::{self, Node, NodeKind};

use crate::error::Spot;
use crate::half::Covered;

pub(crate) const NOT_UTF8: &str = "the file is not UTF-8";
pub(crate) const SAVE_UTF8: &str = "save the file as UTF-8";
pub(crate) const TEMPLATE: &str = "Shipline edits plain manifests: commit the rendered file, or take the component out of `gitops`";

/// A file, read.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Its path in the repository.
    pub(crate) path: Rc<str>,
    /// Its text; other characters stand for bytes that are no UTF-8.
    pub(crate) text: String,
    /// The line of the first byte that is no UTF-8: then nothing here can be edited.
    pub(crate) not_utf8: Option<usize>,
    /// Its tree, or why there is none.
    pub(crate) tree: Result<Covered, Unreadable>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// Why a file has no tree.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
}

impl Parsed {
    /// Reads a file. What is not UTF-8 is read all the same, to tell whether it matters.
    pub(crate) fn read(path: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let not_utf8 = not_utf8(bytes);
        let tree = Covered::parse(&text).map_err(|error| {
            if let Some(line) = not_utf8 {
                return Unreadable {
                    line,
                    cause: NOT_UTF8.to_owned(),
                    remedy: SAVE_UTF8,
                };
            }
            let line = yaml::place(&text, error.offset).line;
            if text.contains("{{") || text.contains("{%") {
                Unreadable {
                    line,
                    cause: "the file is a template".to_owned(),
                    remedy: TEMPLATE,
                }
            } else {
                Unreadable {
                    line,
                    cause: format!("the file is no YAML: {}", error.message),
                    remedy: "correct the file's syntax",
                }
            }
        });
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self {
            path: path.into(),
            text,
            not_utf8,
            tree,
            lines,
        }
    }

    /// The roots of its documents; none where it cannot be read.
    pub(crate) fn documents(&self) -> &[Node] {
        self.tree.as_ref().map_or(&[], |it| &it.stream.documents)
    }

    /// The 1-based line of a byte.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    pub(crate) fn spot(&self, node: &Node) -> Spot {
        self.spot_at(node.span.start)
    }

    pub(crate) fn spot_at(&self, offset: usize) -> Spot {
        Spot {
            file: self.path.to_string(),
            line: self.line(offset),
        }
    }

    /// A scalar's value as it stands in the file: other bytes may have been parsed in its place.
    pub(crate) fn value(&self, node: &Node) -> Option<String> {
        let NodeKind::Scalar(scalar) = &node.kind else {
            return None;
        };
        let written = self.text.get(node.span.clone())?;
        let covered = self.tree.as_ref().ok()?.text.get(node.span.clone())?;
        Some(if written == covered {
            scalar.value.clone()
        } else {
            written.to_owned()
        })
    }

    /// The text of some bytes.
    pub(crate) fn written(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

/// The line of the first byte that is no UTF-8.
fn not_utf8(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    let before = &bytes[..error.valid_up_to()];
    Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
}
