//! Output as lines.

use crate::redact::{MASK, Redactor};

/// The longest line in bytes; a longer one is split where no secret is cut.
pub const LINE_LIMIT: usize = 64 * 1024;

/// A line that is this long and can be cut nowhere is nothing but secrets: it is masked as a whole.
const SECRET_LIMIT: usize = 8 * 1024 * 1024;

/// Makes lines of bytes that come in pieces.
///
/// `\n` and `\r\n` end a line. A `\r` alone goes back to the line's start, as on a terminal: of a progress line that is
/// written again and again only what stands there at its end is given. Invalid UTF-8 becomes U+FFFD.
#[derive(Debug)]
pub struct LineSplitter<'r> {
    redactor: &'r Redactor,
    line: Vec<u8>,
    returned: bool,
    /// The length at which the line is looked at for a place to cut it.
    limit: usize,
}

impl<'r> LineSplitter<'r> {
    /// A splitter that never cuts through a secret of `redactor`.
    #[must_use]
    pub fn new(redactor: &'r Redactor) -> Self {
        Self {
            redactor,
            line: Vec::new(),
            returned: false,
            limit: LINE_LIMIT,
        }
    }

    /// Takes the next bytes and gives the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            match first {
                b'\n' => {
                    self.returned = false;
                    lines.push(text(&std::mem::take(&mut self.line)));
                    self.limit = LINE_LIMIT;
                    rest = &rest[1..];
                }
                b'\r' => {
                    self.returned = true;
                    rest = &rest[1..];
                }
                _ => {
                    if std::mem::take(&mut self.returned) {
                        self.line.clear();
                        self.limit = LINE_LIMIT;
                    }
                    let end = rest
                        .iter()
                        .position(|byte| matches!(byte, b'\n' | b'\r'))
                        .unwrap_or(rest.len())
                        .min(self.limit.saturating_sub(self.line.len()).max(1));
                    self.line.extend_from_slice(&rest[..end]);
                    rest = &rest[end..];
                    if self.line.len() >= self.limit {
                        lines.extend(self.cut());
                    }
                }
            }
        }
        lines
    }

    /// What stands after the last line end, if anything.
    pub fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| text(&std::mem::take(&mut self.line)))
    }

    /// Takes as much of the long line as can go without cutting a character or a secret; nothing where more must be known.
    fn cut(&mut self) -> Option<String> {
        let mut at = self.redactor.safe_cut(&self.line);
        while at > 0 && at < self.line.len() && self.line[at] & 0xC0 == 0x80 {
            at -= 1;
        }
        if at == 0 {
            if self.line.len() < SECRET_LIMIT {
                self.limit = self.line.len() + LINE_LIMIT;
                return None;
            }
            self.line.clear();
            self.limit = LINE_LIMIT;
            return Some(MASK.to_owned());
        }
        let rest = self.line.split_off(at);
        self.limit = LINE_LIMIT.max(rest.len() + LINE_LIMIT / 4);
        Some(text(&std::mem::replace(&mut self.line, rest)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let redactor = Redactor::default();
        let mut splitter = LineSplitter::new(&redactor);
        let mut lines: Vec<String> = pieces
            .iter()
            .flat_map(|piece| splitter.push(piece))
            .collect();
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn bytes_become_lines() {
        let check = |pieces: &[&[u8]], expected: &[&str]| assert_eq!(split(pieces), expected);
        check(&[b"a\nb\n"], &["a", "b"]);
        check(&[b"a", b"b\nc"], &["ab", "c"]);
        check(&[b"a\r", b"\nb\r\n"], &["a", "b"]);
        check(&[b"10%\r20%\r100%\ndone\n"], &["100%", "done"]);
        check(&[b"10%\r100%\r"], &["100%"]);
        check(&[b"\n\n"], &["", ""]);
        check(&[b"a\xFFb\n"], &["a\u{FFFD}b"]);
        check(&[], &[]);
    }

    #[test]
    fn a_long_line_is_split_between_characters_and_around_secrets() {
        let redactor = Redactor::new(["sesame-open"]);
        let mut splitter = LineSplitter::new(&redactor);
        let mut bytes = vec![b'x'; LINE_LIMIT - 5];
        bytes.extend_from_slice("sesame-open".as_bytes());
        bytes.extend_from_slice("é".repeat(LINE_LIMIT).as_bytes());
        let mut lines = splitter.push(&bytes);
        lines.extend(splitter.finish());
        assert!(lines.len() > 2);
        assert!(lines.iter().all(|line| line.len() <= LINE_LIMIT + 8));
        assert_eq!(lines.concat().as_bytes(), bytes);
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.contains("sesame-open"))
                .count(),
            1
        );
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_a_line_cannot_be_cut() {
        // One secret is longer than a line may be, and another stands again and again without anything between.
        let long = "L".repeat(2 * LINE_LIMIT);
        let redactor = Redactor::new([long.as_str(), "sesame-open"]);
        let mut splitter = LineSplitter::new(&redactor);
        let mut bytes = "sesame-open".repeat(20 * 1024).into_bytes();
        bytes.extend(vec![b'.'; LINE_LIMIT]);
        bytes.extend_from_slice(b"sesame-open...");
        bytes.extend_from_slice(long.as_bytes());
        bytes.push(b'\n');
        let mut lines = splitter.push(&bytes);
        lines.extend(splitter.finish());
        assert_eq!(lines.concat().len(), bytes.len() - 1);
        for line in lines {
            let masked = redactor.mask(&line).replace(MASK, "");
            assert_eq!(masked.trim_matches('.'), "");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\xC3\xA9".to_vec()), 0..60), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces), split(&[&bytes]));
        }
    }
}
