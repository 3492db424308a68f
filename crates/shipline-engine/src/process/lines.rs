//! Output as lines.

use crate::redact::{Cleaner, MASK, Redactor};

/// The longest line in bytes; a longer one is split where no secret is cut.
pub const LINE_LIMIT: usize = 64 * 1024;

/// A line that is this long and can be cut nowhere is nothing but secrets: it is masked as a whole.
const SECRET_LIMIT: usize = 8 * 1024 * 1024;

/// Makes lines of bytes that come in pieces.
///
/// `\n` and `\r\n` end a line. A `\r` alone goes back to the line's start, as on a terminal: of a progress line that is
/// written again and again only what stands there at its end is given. What nobody sees is taken out on the way, escape
/// sequences however long they are too, so that nothing hides a secret from the redactor; backspaces are left to it. Bytes that
/// are no UTF-8 become U+FFFD, or the control character (C1) that eight-bit terminals take them for.
#[derive(Debug)]
pub struct LineSplitter<'r> {
    redactor: &'r Redactor,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    cleaner: Cleaner,
    line: String,
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
            partial: Vec::new(),
            cleaner: Cleaner::default(),
            line: String::new(),
            returned: false,
            limit: LINE_LIMIT,
        }
    }

    /// Takes the next bytes and gives the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.partial), bytes].concat();
            &joined
        };
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, &mut lines);
                    break;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            // What is valid up to here is so.
            self.text(std::str::from_utf8(valid).unwrap_or_default(), &mut lines);
            let Some(length) = error.error_len() else {
                self.partial = invalid.to_vec();
                break;
            };
            self.character(no_text(&invalid[..length]), &mut lines);
            rest = &invalid[length..];
        }
        lines
    }

    /// What stands after the last line end, if anything.
    pub fn finish(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            // It is short: no line is cut for it.
            self.character(no_text(&partial), &mut Vec::new());
        }
        (!self.line.is_empty()).then(|| std::mem::take(&mut self.line))
    }

    fn text(&mut self, text: &str, lines: &mut Vec<String>) {
        for character in text.chars() {
            self.character(character, lines);
        }
    }

    fn character(&mut self, character: char, lines: &mut Vec<String>) {
        match character {
            '\n' => {
                self.cleaner.reset();
                self.returned = false;
                lines.push(std::mem::take(&mut self.line));
                self.limit = LINE_LIMIT;
            }
            '\r' => {
                self.cleaner.reset();
                self.returned = true;
            }
            _ => {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                    self.limit = LINE_LIMIT;
                }
                if self.cleaner.shows(character) || character == '\u{8}' {
                    self.line.push(character);
                    if self.line.len() >= self.limit {
                        lines.extend(self.cut());
                    }
                }
            }
        }
    }

    /// Takes as much of the long line as can go without cutting a character or a secret; nothing where more must be known.
    fn cut(&mut self) -> Option<String> {
        let mut at = self.redactor.safe_cut(self.line.as_bytes());
        while !self.line.is_char_boundary(at) {
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
        Some(std::mem::replace(&mut self.line, rest))
    }
}

/// What stands for bytes that are no UTF-8. The controls that begin a string are left out: in other encodings these bytes are
/// parts of letters, and whatever follows would be gone.
fn no_text(bytes: &[u8]) -> char {
    match bytes {
        [0x90 | 0x98 | 0x9d..=0x9f] => char::REPLACEMENT_CHARACTER,
        [control @ 0x80..=0x9f] => char::from(*control),
        _ => char::REPLACEMENT_CHARACTER,
    }
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
        check(
            &["a\u{e9}".as_bytes(), b"\xC3", b"\xA9\n\xC3\n\xC3"],
            &["aéé", "\u{FFFD}", "\u{FFFD}"],
        );
        check(&[b"\x1b[1", b"mbold\x1b[0m \x9b1mraw\x85\n"], &["bold raw"]);
        check(&[b"\x1b]0;ti", b"tle\nnext\n"], &["", "next"]);
        check(&[], &[]);
    }

    #[test]
    fn a_sequence_without_an_end_takes_no_memory() {
        let redactor = Redactor::new(["sesame-open"]);
        let mut splitter = LineSplitter::new(&redactor);
        assert!(splitter.push(b"sesame\x1b]0;").is_empty());
        for _ in 0..64 {
            assert!(splitter.push(&[b'x'; LINE_LIMIT]).is_empty());
        }
        assert!(splitter.line.capacity() < LINE_LIMIT);
        assert_eq!(splitter.push(b"\x07-open\n"), ["sesame-open"]);
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
        fn pieces_do_not_matter(bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\xC3\xA9\x1b[]0;m\x07\x9b\x85\xe2".to_vec()), 0..60), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces), split(&[&bytes]));
        }
    }
}
