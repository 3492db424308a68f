//! Where a token of a YAML text ends, lexed in bytes from where it begins.
//!
//! The parser's own ends are of no use here: they count characters, run over trailing comments and include anchors. Its
//! values are: a scalar is lexed along the value that it has, so a wrong end cannot go unnoticed.

use std::ops::Range;

use super::ScalarStyle;

/// The anchor and tag in front of a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) anchor: Option<String>,
    pub(super) tag: Option<String>,
    /// The first byte behind the last of them.
    pub(super) end: usize,
}

/// The first byte at or after `at` that is neither blank, line break, byte order mark nor comment.
pub(super) fn skip_blank(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at;
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\n' | b'\r') => at += 1,
            Some(b'#') => at = line_end(text, at),
            Some(0xEF) if text[at..].starts_with('\u{FEFF}') => at += '\u{FEFF}'.len_utf8(),
            _ => return at,
        }
    }
}

/// The end of the line at `at`, in front of its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text.as_bytes()[at..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map_or(text.len(), |length| at + length)
}

/// The first byte of the line after the one at `at`.
fn next_line(text: &str, at: usize) -> Option<usize> {
    let end = line_end(text, at);
    match &text.as_bytes()[end..] {
        [b'\r', b'\n', ..] => Some(end + 2),
        [_, ..] => Some(end + 1),
        [] => None,
    }
}

/// The end of a name (anchor, alias, tag) that begins at `at`.
pub(super) fn name_end(text: &str, at: usize) -> usize {
    text.as_bytes()[at..]
        .iter()
        .position(|byte| {
            matches!(
                byte,
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b'[' | b']' | b'{' | b'}'
            )
        })
        .map_or(text.len(), |length| at + length)
}

/// The anchor and tag that begin at `at`, in either order.
pub(super) fn properties(text: &str, at: usize) -> Properties {
    let mut found = Properties {
        end: at,
        ..Properties::default()
    };
    let mut next = at;
    loop {
        match text.as_bytes().get(next) {
            Some(b'&') if found.anchor.is_none() => {
                found.end = name_end(text, next + 1);
                found.anchor = Some(text[next + 1..found.end].to_owned());
            }
            Some(b'!') if found.tag.is_none() => {
                found.end = match text[next..].find('>') {
                    Some(length) if text[next..].starts_with("!<") => next + length + 1,
                    _ => name_end(text, next),
                };
                found.tag = Some(text[next..found.end].to_owned());
            }
            _ => return found,
        }
        next = skip_blank(text, found.end);
    }
}

/// The bytes of the scalar that begins at `start`, quotes and block header included. `None` where the text there is no
/// scalar of this style and value.
pub(super) fn scalar(
    text: &str,
    start: usize,
    style: ScalarStyle,
    value: &str,
) -> Option<Range<usize>> {
    let end = match style {
        ScalarStyle::Plain => plain_end(text, start, value),
        ScalarStyle::SingleQuoted => single_quoted_end(text, start),
        ScalarStyle::DoubleQuoted => double_quoted_end(text, start),
        ScalarStyle::Literal | ScalarStyle::Folded => block(text, start, value).map(|b| b.end),
    }?;
    Some(start..end)
}

/// Walks along value and text at once: a run of blanks with a line break in it is what the value shows folded.
fn plain_end(text: &str, start: usize, value: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let wanted = value.as_bytes();
    let (mut at, mut done) = (start, 0);
    while done < wanted.len() {
        let (run, breaks) = blanks(&bytes[at..]);
        if breaks > 0 {
            let folded: &[u8] = &b"\n".repeat(breaks - 1);
            let folded = if breaks == 1 { b" " } else { folded };
            if !wanted[done..].starts_with(folded) {
                return None;
            }
            done += folded.len();
            at += run;
        } else if run > 0 {
            // Whole runs at once: to look at each blank's rest of the run again would take the square of its length.
            if !wanted[done..].starts_with(&bytes[at..at + run]) {
                return None;
            }
            done += run;
            at += run;
        } else if bytes.get(at) == wanted.get(done) {
            done += 1;
            at += 1;
        } else {
            return None;
        }
    }
    Some(at)
}

/// The length of the run of blanks and line breaks that `bytes` begin with, and how many line breaks it has.
fn blanks(bytes: &[u8]) -> (usize, usize) {
    let (mut at, mut breaks) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' => {}
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
            b'\r' | b'\n' => breaks += 1,
            _ => break,
        }
        at += 1;
    }
    (at, breaks)
}

fn single_quoted_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    (bytes.get(start) == Some(&b'\'')).then_some(())?;
    loop {
        match bytes.get(at)? {
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn double_quoted_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    (bytes.get(start) == Some(&b'"')).then_some(())?;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// A block scalar: `|2-` and its lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// From the first byte of the first line with more than spaces to the end of the last, line break excluded; empty at
    /// the header's end where there is none.
    pub(super) content: Range<usize>,
    /// The spaces in front of each line.
    pub(super) indent: usize,
    end: usize,
}

pub(super) fn block(text: &str, start: usize, value: &str) -> Option<Block> {
    let bytes = text.as_bytes();
    let mut header = start + 1;
    matches!(bytes.get(start), Some(b'|' | b'>')).then_some(())?;
    while matches!(bytes.get(header), Some(b'+' | b'-' | b'0'..=b'9')) {
        header += 1;
    }
    let empty = Block {
        content: header..header,
        indent: 0,
        end: header,
    };
    let Some(wanted) = value.split('\n').find(|line| !is_spaces(line)) else {
        return Some(empty);
    };
    let mut first = next_line(text, header)?;
    while is_spaces(&text[first..line_end(text, first)]) {
        first = next_line(text, first)?;
    }
    let indent = spaces(&text[first..]).checked_sub(spaces(wanted))?;
    let mut end = line_end(text, first);
    let mut next = next_line(text, first);
    while let Some(line) = next {
        let written = &text[line..line_end(text, line)];
        if !is_spaces(written) {
            let marker = indent == 0 && is_document_marker(written);
            if spaces(written) < indent || marker {
                break;
            }
            end = line + written.len();
        }
        next = next_line(text, line);
    }
    let last_line = text[..end].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let last = value.split('\n').rfind(|line| !is_spaces(line))?;
    let written = text.get(last_line + indent..end)?;
    last.ends_with(written).then_some(Block {
        content: first..end,
        indent,
        end,
    })
}

fn spaces(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

fn is_spaces(line: &str) -> bool {
    spaces(line) == line.len()
}

fn is_document_marker(line: &str) -> bool {
    (line.starts_with("---") || line.starts_with("..."))
        && matches!(line.as_bytes().get(3), None | Some(b' ' | b'\t'))
}

/// The first of the `wanted` bytes that follows `at`, behind indicators, properties and comments.
pub(super) fn announced(text: &str, at: usize, wanted: &[u8]) -> Option<usize> {
    let mut at = at;
    loop {
        at = skip_blank(text, at);
        match text.as_bytes().get(at)? {
            byte if wanted.contains(byte) => return Some(at),
            b':' | b'-' | b'?' => at += 1,
            b'&' | b'!' => at = properties(text, at).end,
            b'.' if text[at..].starts_with("...") => at += 3,
            _ => return None,
        }
    }
}
