//! The same text in other eyes: without what nobody sees, and with its escapes undone. A secret is looked for in each of them, and
//! masked where it stands in the text itself.

use super::clean::{Cleaner, is_invisible};

/// A text that was made of another one, and which bytes of that each of its bytes stands for.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Bytes that come from one stretch of the other text.
#[derive(Debug)]
struct Piece {
    /// Where it begins in the view.
    at: usize,
    /// The stretch.
    from: usize,
    to: usize,
    copied: Copied,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Byte by byte.
    Each,
    /// As a whole: every byte stands for the whole stretch.
    Whole,
}

/// Makes a view of a text, where there is anything to undo.
pub(super) type Decoder = fn(&[u8]) -> Option<View>;

/// Views that take out what is not seen. What is left has nothing more of it.
pub(super) const UNSEEN: [Decoder; 2] = [seen, written_over];

/// Views that undo an encoding by characters, whichever of them were encoded.
pub(super) const DECODERS: [Decoder; 4] = [percent, backslash, entities, quoted_printable];

impl View {
    /// The range in the other text that a range of this one stands for.
    pub(super) fn origin(&self, (start, end): (usize, usize)) -> (usize, usize) {
        let piece = |position: usize| {
            let index = self.pieces.partition_point(|piece| piece.at <= position);
            index
                .checked_sub(1)
                .and_then(|index| self.pieces.get(index))
        };
        let from = piece(start).map_or(0, |piece| match piece.copied {
            Copied::Each => piece.from + (start - piece.at),
            Copied::Whole => piece.from,
        });
        let last = end.saturating_sub(1);
        let to = piece(last).map_or(from, |piece| match piece.copied {
            Copied::Each => piece.from + (last - piece.at) + 1,
            Copied::Whole => piece.to,
        });
        (from, to)
    }

    /// Adds bytes as they stand at `from`.
    fn copy(&mut self, bytes: &[u8], from: usize) {
        if bytes.is_empty() {
            return;
        }
        let to = from + bytes.len();
        match self.pieces.last_mut() {
            Some(last) if last.copied == Copied::Each && last.to == from => last.to = to,
            Some(_) | None => self.pieces.push(Piece {
                at: self.bytes.len(),
                from,
                to,
                copied: Copied::Each,
            }),
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds what a stretch stands for.
    fn decoded(&mut self, bytes: &[u8], from: usize, to: usize) {
        if !bytes.is_empty() {
            self.pieces.push(Piece {
                at: self.bytes.len(),
                from,
                to,
                copied: Copied::Whole,
            });
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Takes the last character back, unless it ended a line.
    fn take_back(&mut self) {
        let mut length = self.bytes.len();
        if self.bytes.last().is_none_or(|last| *last == b'\n') {
            return;
        }
        while length > 0 {
            length -= 1;
            if self.bytes[length] & 0xC0 != 0x80 {
                break;
            }
        }
        self.bytes.truncate(length);
        while let Some(last) = self.pieces.last_mut() {
            if last.at < length {
                if last.copied == Copied::Each {
                    last.to = last.from + (length - last.at);
                }
                break;
            }
            self.pieces.pop();
        }
    }
}

/// What a backspace does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backspace {
    Nothing,
    TakesBack,
}

/// Without escape sequences, invisible characters and bytes that are no text.
fn seen(bytes: &[u8]) -> Option<View> {
    without_unseen(bytes, Backspace::Nothing)
}

/// The same where a backspace takes back what is before it.
fn written_over(bytes: &[u8]) -> Option<View> {
    if !bytes.contains(&8) {
        return None;
    }
    without_unseen(bytes, Backspace::TakesBack)
}

fn without_unseen(bytes: &[u8], backspace: Backspace) -> Option<View> {
    // Every invisible character is a control or not ASCII.
    if bytes
        .iter()
        .all(|byte| matches!(byte, b'\t' | b'\n' | 0x20..=0x7e))
    {
        return None;
    }
    let mut view = View::default();
    let mut cleaner = Cleaner::default();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for (offset, character) in chunk.valid().char_indices() {
            let length = character.len_utf8();
            let shown = cleaner.shows(character) && !is_invisible(character);
            if shown {
                view.copy(&bytes[at + offset..at + offset + length], at + offset);
            } else if character == '\u{8}' && backspace == Backspace::TakesBack {
                view.take_back();
            }
        }
        at += chunk.valid().len() + chunk.invalid().len();
    }
    (view.bytes.len() < bytes.len()).then_some(view)
}

/// `%68`, and `%u0068` of old JavaScript.
fn percent(bytes: &[u8]) -> Option<View> {
    undo(bytes, b'%', |rest| {
        if let [b'u' | b'U', digits @ ..] = rest
            && let Some(unit) = digits.get(..4).and_then(number)
        {
            return Some((character(unit), 5));
        }
        let byte = u8::try_from(number(rest.get(..2)?)?).ok()?;
        Some((vec![byte], 2))
    })
}

/// JSON's, C's, Python's, JavaScript's and the shell's escapes: `\n`, `\"`, `\u0068`, `\u{68}`, `\U00000068`, `\x68`, `\150`, `\ `.
fn backslash(bytes: &[u8]) -> Option<View> {
    undo(bytes, b'\\', |rest| {
        let digits = |from: usize, to: usize| rest.get(from..to).and_then(number);
        let simple = |byte: u8| Some((vec![byte], 1));
        match rest.first()? {
            b'u' if rest.get(1) == Some(&b'{') => {
                let end = rest.iter().take(16).position(|byte| *byte == b'}')?;
                Some((character(digits(2, end)?), end + 1))
            }
            b'u' => {
                let unit = digits(1, 5)?;
                let second = match rest.get(5..7) {
                    Some(b"\\u") if (0xD800..0xDC00).contains(&unit) => digits(7, 11),
                    Some(_) | None => None,
                };
                match second.filter(|low| (0xDC00..0xE000).contains(low)) {
                    Some(low) => {
                        let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                        Some((character(code), 11))
                    }
                    None => Some((character(unit), 5)),
                }
            }
            b'U' => Some((character(digits(1, 9)?), 9)),
            b'x' => Some((vec![u8::try_from(digits(1, 3)?).ok()?], 3)),
            b'0'..=b'7' => {
                let octal = |byte: &&u8| matches!(byte, b'0'..=b'7');
                let digits: Vec<u8> = rest.iter().take(3).take_while(octal).copied().collect();
                let value = digits
                    .iter()
                    .fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                Some((vec![u8::try_from(value).ok()?], digits.len()))
            }
            b'n' => simple(b'\n'),
            b'r' => simple(b'\r'),
            b't' => simple(b'\t'),
            b'b' => simple(8),
            b'f' => simple(12),
            b'v' => simple(11),
            b'a' => simple(7),
            b'e' | b'E' => simple(27),
            other => simple(*other),
        }
    })
}

/// `&#104;`, `&#x68;` and XML's five names.
fn entities(bytes: &[u8]) -> Option<View> {
    undo(bytes, b'&', |rest| {
        let end = rest.iter().take(16).position(|byte| *byte == b';')?;
        let decoded = match &rest[..end] {
            b"amp" => b"&".to_vec(),
            b"lt" => b"<".to_vec(),
            b"gt" => b">".to_vec(),
            b"quot" => b"\"".to_vec(),
            b"apos" => b"'".to_vec(),
            b"nbsp" => "\u{a0}".as_bytes().to_vec(),
            [b'#', b'x' | b'X', digits @ ..] => character(number(digits)?),
            [b'#', digits @ ..] => character(std::str::from_utf8(digits).ok()?.parse().ok()?),
            _ => return None,
        };
        Some((decoded, end + 1))
    })
}

/// `=68`, and the `=` at the end of a line that goes on (RFC 2045, 6.7).
fn quoted_printable(bytes: &[u8]) -> Option<View> {
    undo(bytes, b'=', |rest| match rest {
        [b'\n', ..] => Some((Vec::new(), 1)),
        [b'\r', b'\n', ..] => Some((Vec::new(), 2)),
        _ => {
            let byte = u8::try_from(number(rest.get(..2)?)?).ok()?;
            Some((vec![byte], 2))
        }
    })
}

/// What an escape means, and how many bytes behind its mark belong to it.
type Meaning = (Vec<u8>, usize);

/// Undoes every escape that begins with `mark`. `decode` gets what stands behind it.
fn undo(bytes: &[u8], mark: u8, decode: fn(&[u8]) -> Option<Meaning>) -> Option<View> {
    let mut next = bytes.iter().position(|byte| *byte == mark)?;
    let mut view = View::default();
    let (mut at, mut undone) = (0, false);
    loop {
        if let Some((meaning, length)) = decode(&bytes[next + 1..]) {
            view.copy(&bytes[at..next], at);
            at = next + 1 + length;
            view.decoded(&meaning, next, at);
            next = at;
            undone = true;
        } else {
            next += 1;
        }
        let Some(further) = bytes[next..].iter().position(|byte| *byte == mark) else {
            break;
        };
        next += further;
    }
    view.copy(&bytes[at..], at);
    undone.then_some(view)
}

/// A number in hex digits.
fn number(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// A code point in UTF-8. What is none (half of a pair) stands for bytes that are no text.
fn character(code: u32) -> Vec<u8> {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    character.to_string().into_bytes()
}

/// Hex digits alone, in lower case: the ways in which bytes are dumped differ in what stands between them (`68:75`, `68 75`,
/// `0x68, 0x75`, `\x68\x75`). What else there is becomes one byte that is no digit.
pub(super) fn hex_digits(bytes: &[u8]) -> View {
    const BORDER: u8 = b'.';
    let mut view = View::default();
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'0', b'x' | b'X', ..] | [b'\\', b'x', ..] => at += 2,
            [b' ' | b'\t' | b'\n' | b':' | b';' | b',' | b'-' | b'_', ..] => at += 1,
            [digit, ..] if digit.is_ascii_hexdigit() => {
                view.copy(&[digit.to_ascii_lowercase()], at);
                at += 1;
            }
            _ => {
                if view.bytes.last() != Some(&BORDER) {
                    view.decoded(&[BORDER], at, at + 1);
                }
                at += 1;
            }
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_their_places_are_known() {
        let check = |decoder: Decoder, text: &str, undone: &str| {
            let view = decoder(text.as_bytes()).expect(text);
            assert_eq!(String::from_utf8_lossy(&view.bytes), undone, "{text}");
        };
        check(percent, "a%68%u0069%zz%4A", "ahi%zzJ");
        check(
            backslash,
            r#"\u0068\u{69}\x6a\U0000006b\154\"\/\ud83d\ude00\q"#,
            "hijkl\"/😀q",
        );
        check(quoted_printable, "a=68=\r\ni=3D=zz=", "ahi==zz=");
        check(entities, "&#104;&#x69;&amp;&unknown;&", "hi&&unknown;&");
        check(seen, "a\u{1b}[1mb\u{0}c\u{200d}d\u{fffd}e", "abcde");
        check(written_over, "aX\u{8}b\u{8}", "a");
        for decoder in DECODERS.iter().chain(&UNSEEN) {
            assert!(decoder(b"plain \n\t text").is_none());
        }
        let view = percent(b"ab%63%64ef").unwrap();
        assert_eq!(view.origin((2, 4)), (2, 8));
        assert_eq!(view.origin((1, 3)), (1, 5));
        assert_eq!(view.origin((3, 5)), (5, 9));
        let view = hex_digits(b"x: 68 0x75, \\x6E!");
        assert_eq!(view.bytes, b".68756e.");
        assert_eq!(view.origin((1, 7)), (3, 16));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for text in [
            "%",
            "%u",
            "%u00",
            "\\",
            "\\u",
            "\\u{",
            "\\u{}",
            "\\ud800",
            "\\ud800\\u0041",
            "\\777",
            "&",
            "&#;",
            "&#x;",
            "&#99999999999;",
            "\u{8}\u{8}é\u{8}",
        ] {
            for decoder in DECODERS.iter().chain(&UNSEEN) {
                if let Some(view) = decoder(text.as_bytes()) {
                    let _ = view.origin((0, view.bytes.len()));
                }
            }
        }
    }
}
