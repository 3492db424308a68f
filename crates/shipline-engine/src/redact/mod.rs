//! Masking of secrets: the exact texts, their lines, their fields where they are JSON, and all of them in the encodings in
//! which they come back.
//!
//! Every secret is looked for as it is; in base64 and base32 (at each alignment, with or without padding; where it is encoded
//! alone, also in lines), also of its UTF-16 and of its base64; in hex, however the bytes are set apart; and in the quotes of
//! shells and tables. All this is looked for in the text and in its views: without what nobody sees (escape sequences, control
//! characters, zero width), and with percent-encoding, backslash escapes (JSON's, C's, the shell's) and entities undone, twice over.
//! So the order of cleaning and masking does not matter, and [`Redactor::show`] does both.
//!
//! A text shorter than four characters would mask half of every log: it is masked only where it stands as a word of its own, and
//! only as it is. What is cut up by something visible, or over several lines, is not found.

mod clean;
mod encode;
mod event;
mod texts;
mod view;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

pub(crate) use clean::Cleaner;
pub use clean::{clean, clean_line, harmless_json};

use view::{DECODERS, UNSEEN};

/// What stands for a secret.
pub const MASK: &str = "***";

/// Texts shorter than this (in characters) are masked only as whole words.
const SHORT: usize = 4;

/// Encodings in one another that are undone.
const DEPTH: usize = 2;

/// Bytes that an encoding by characters makes of one: `\\U00000068` in JSON.
const EXPANSION: usize = 12;

/// Texts longer than this are searched in parts: a view takes memory.
const PART: usize = 1 << 20;

/// Looks for secrets in texts.
#[derive(Clone)]
pub struct Redactor {
    texts: Table,
    /// In lower-case hex.
    hex: Table,
    /// How far a secret can reach, in bytes, in an encoding; 0 where there is none.
    reach: usize,
}

/// Patterns by their first byte, the longest first.
#[derive(Clone, Default)]
struct Table {
    by_first: Vec<Vec<Pattern>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    bytes: Vec<u8>,
    border: Border,
}

/// What stands at the borders of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Border {
    /// Anything.
    Any,
    /// No letter, digit or `_`, or it is not one.
    Word,
    /// Digits that hold bits of the secret: they are masked with it.
    Digits,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(std::iter::empty::<&str>())
    }
}

impl Redactor {
    /// A redactor of these secrets. Empty ones are nothing.
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let (mut texts, mut hex) = (BTreeSet::new(), BTreeSet::new());
        let mut longest = 0;
        let mut add = |secret: &str| {
            longest = longest.max(secret.len());
            patterns_of(secret, &mut texts, &mut hex);
        };
        for secret in secrets {
            let secret = secret.as_ref();
            let fields = encode::json_fields(secret);
            let all = [secret, secret.trim()];
            for text in all.into_iter().chain(fields.iter().map(String::as_str)) {
                add(text);
                // As it is left where it was cleaned.
                for unseen in UNSEEN {
                    if let Some(view) = unseen(text.as_bytes()) {
                        add(&String::from_utf8_lossy(&view.bytes));
                    }
                }
            }
        }
        let patterns = texts.iter().map(|pattern| pattern.bytes.len());
        let reach = patterns.max().unwrap_or(0).max(longest * EXPANSION);
        Self {
            texts: Table::new(texts),
            hex: Table::new(hex),
            reach,
        }
    }

    /// Foreign text as it may be shown: without secrets, and [`clean()`]. Line ends stay.
    #[must_use]
    pub fn show(&self, text: &str) -> String {
        let masked = self.mask(text);
        match clean(&masked) {
            Cow::Borrowed(_) => masked.into_owned(),
            // What was written over is gone now, and what is left may be a secret.
            Cow::Owned(cleaned) => self.mask(&cleaned).into_owned(),
        }
    }

    /// The same as one line.
    #[must_use]
    pub fn show_line(&self, text: &str) -> String {
        match clean_line(&self.show(text)) {
            Cow::Borrowed(line) => line.to_owned(),
            Cow::Owned(line) => self.mask(&line).into_owned(),
        }
    }

    /// The text with [`MASK`] in the place of every secret.
    #[must_use]
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.mask_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns are texts, so that matches start and end between characters; a border that reaches further is ASCII.
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        }
    }

    /// The same for bytes of any encoding that keeps ASCII.
    #[must_use]
    pub fn mask_bytes<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let found = self.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut masked = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (start, end) in found {
            masked.extend_from_slice(bytes.get(at..start).unwrap_or_default());
            masked.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        masked.extend_from_slice(bytes.get(at..).unwrap_or_default());
        Cow::Owned(masked)
    }

    /// The greatest position at which `bytes` can be cut so that every secret lies whole on one side, whatever follows; 0 where
    /// there is none.
    #[must_use]
    pub fn safe_cut(&self, bytes: &[u8]) -> usize {
        // A secret that only begins in these last bytes is not yet to be seen.
        let mut cut = bytes.len().saturating_sub(self.reach.saturating_sub(1));
        for (start, end) in self.find(bytes) {
            if start < cut && cut < end {
                cut = start;
            }
        }
        cut
    }

    /// Ranges to mask, ordered, joined where they touch or overlap.
    fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        if self.reach == 0 {
            return found;
        }
        // What lies on the border of two parts is whole in both of them.
        let margin = self.reach + 1;
        for start in (0..bytes.len()).step_by(PART) {
            let from = start.saturating_sub(margin);
            let to = bytes.len().min(start + PART + margin);
            let mut in_part = Vec::new();
            self.search(&bytes[from..to], DEPTH, &|range| range, &mut in_part);
            let ranges = in_part
                .into_iter()
                .map(|(start, end)| (from + start, from + end));
            // At a border of our own making nobody knows what stands beside.
            found.extend(ranges.filter(|(start, end)| {
                (*start > from || from == 0) && (*end < to || to == bytes.len())
            }));
        }
        found.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (start, end) in found {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                Some(_) | None => joined.push((start, end)),
            }
        }
        joined
    }

    /// Adds where secrets are in `bytes` and in their views. `origin` gives the place in the text that all of them come from;
    /// `depth` is the number of encodings that may still be undone.
    fn search(
        &self,
        bytes: &[u8],
        depth: usize,
        origin: &dyn Fn((usize, usize)) -> (usize, usize),
        found: &mut Vec<(usize, usize)>,
    ) {
        let words = depth == DEPTH;
        self.texts
            .matches(bytes, words, &mut |range| found.push(origin(range)));
        let digits = bytes.iter().filter(|byte| byte.is_ascii_hexdigit());
        if digits.take(2 * SHORT).count() == 2 * SHORT {
            let view = view::hex_digits(bytes);
            self.hex.matches(&view.bytes, words, &mut |range| {
                found.push(origin(view.origin(range)));
            });
        }
        for unseen in UNSEEN {
            if let Some(view) = unseen(bytes) {
                let origin = |range| origin(view.origin(range));
                self.search(&view.bytes, depth, &origin, found);
            }
        }
        if depth == 0 {
            return;
        }
        for decoder in DECODERS {
            if let Some(view) = decoder(bytes) {
                let origin = |range| origin(view.origin(range));
                self.search(&view.bytes, depth - 1, &origin, found);
            }
        }
    }
}

impl Table {
    fn new(patterns: BTreeSet<Pattern>) -> Self {
        let mut by_first: Vec<Vec<Pattern>> = vec![Vec::new(); 256];
        for pattern in patterns {
            by_first[usize::from(pattern.bytes[0])].push(pattern);
        }
        for patterns in &mut by_first {
            patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.bytes.len()));
        }
        Self { by_first }
    }

    /// Gives every range to mask. `words` are looked for only where nothing was undone.
    fn matches(&self, bytes: &[u8], words: bool, give: &mut dyn FnMut((usize, usize))) {
        for (start, first) in bytes.iter().enumerate() {
            let patterns = self.by_first.get(usize::from(*first)).into_iter().flatten();
            let mut patterns = patterns.filter(|pattern| words || pattern.border != Border::Word);
            if let Some(range) = patterns.find_map(|pattern| pattern.at(bytes, start)) {
                give(range);
            }
        }
    }
}

impl Pattern {
    /// The range to mask where the pattern stands at `start`.
    fn at(&self, bytes: &[u8], start: usize) -> Option<(usize, usize)> {
        if !bytes[start..].starts_with(&self.bytes) {
            return None;
        }
        let end = start + self.bytes.len();
        let is_at = |position: Option<usize>, class: fn(u8) -> bool| {
            position
                .and_then(|position| bytes.get(position))
                .is_some_and(|byte| class(*byte))
        };
        match self.border {
            Border::Any => Some((start, end)),
            Border::Word => {
                let free = |outside: Option<usize>, inside: usize| {
                    !(is_at(outside, is_word) && is_at(Some(inside), is_word))
                };
                (free(start.checked_sub(1), start) && free(Some(end), end - 1))
                    .then_some((start, end))
            }
            Border::Digits => {
                let from = start - usize::from(is_at(start.checked_sub(1), encode::is_digit));
                let mut to = end + usize::from(is_at(Some(end), encode::is_digit));
                while is_at(Some(to), |byte| byte == b'=') {
                    to += 1;
                }
                Some((from, to))
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn patterns_of(text: &str, texts: &mut BTreeSet<Pattern>, hex: &mut BTreeSet<Pattern>) {
    let add = |to: &mut BTreeSet<Pattern>, text: &str, border: Border| {
        if !text.is_empty() {
            to.insert(Pattern {
                bytes: text.as_bytes().to_vec(),
                border,
            });
        }
    };
    if text.chars().count() < SHORT {
        add(texts, text, Border::Word);
        return;
    }
    add(texts, text, Border::Any);
    for form in encode::quoted(text).iter().chain(&encode::dumped(text)) {
        add(texts, form, Border::Any);
    }
    let [little, big] = encode::wide(text);
    for bytes in [text.as_bytes(), &little, &big] {
        let digits = encode::digits(bytes).into_iter();
        for digits in digits.chain(encode::digit_lines(bytes)) {
            add(texts, &digits, Border::Digits);
        }
        for digits in encode::hex(bytes) {
            add(hex, &digits, Border::Any);
        }
    }
    for digits in encode::twice(text.as_bytes()) {
        add(texts, &digits, Border::Digits);
    }
    for form in encode::in_json(text) {
        for digits in encode::digits(form.as_bytes()) {
            add(texts, &digits, Border::Digits);
        }
    }
    // Output comes by line: each line of a key is a secret of its own.
    if text.contains(['\n', '\r']) {
        for line in text.split(['\n', '\r']).map(str::trim) {
            if line.chars().count() >= SHORT {
                add(texts, line, Border::Any);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::encode::Alphabet;
    use super::*;

    /// Base64 with its padding.
    fn whole_base64(bytes: &[u8], alphabet: Alphabet) -> String {
        let mut text = alphabet.encode(bytes);
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    }

    #[test]
    fn secrets_are_masked_in_every_form() {
        let redactor = Redactor::new(["p/ss w\"rd+1"]);
        let check = |text: &str, expected: &str| assert_eq!(redactor.mask(text), expected);
        check("nothing here", "nothing here");
        check("a p/ss w\"rd+1 b", "a *** b");
        check("p/ss w\"rd+1p/ss w\"rd+1", "***");
        check("q=p%2Fss%20w%22rd%2B1&x", "q=***&x");
        check("q=p%2fss%20w%22rd%2b1&x", "q=***&x");
        check("q=p%2Fss+w%22rd%2B1", "q=***");
        check(r#"{"a":"p/ss w\"rd+1"}"#, r#"{"a":"***"}"#);
        check(r#"{"a":"p\/ss w\"rd+1"}"#, r#"{"a":"***"}"#);
        check(
            r#"{"a":"{\"b\":\"p/ss w\\\"rd+1\"}"}"#,
            r#"{"a":"{\"b\":\"***\"}"}"#,
        );
        check("cC9zcyB3InJkKzE= x", "*** x");
        // `u:` and `us:` before it.
        check("Basic dTpwL3NzIHcicmQrMQ==", "Basic dT***");
        check("Basic dXM6cC9zcyB3InJkKzE=", "Basic dXM***");
        check("<a b=\"p/ss w&quot;rd+1\"/>", "<a b=\"***\"/>");
        check("x: p/ss w=22rd=\n+1;", "x: ***;");
        check("=70=2F=73=73=20=77=22=72=64=2B=31.", "***.");
        check("70;2f;73;73;20;77;22;72;64;2b;31.", "***.");
        check("p/ss w&#34;rd+1", "***");
    }

    #[test]
    fn a_secret_in_a_json_text_is_found_in_its_base64() {
        for secret in ["p/ss w\"rd+1", "back\\slash\\9", "a<b>&c12345678"] {
            let redactor = Redactor::new([secret]);
            let value =
                serde_json::json!({"auths": {"r.io": {"username": "u", "password": secret}}});
            let go = value.to_string().replace('<', "\\u003c");
            let go = go.replace('>', "\\u003e").replace('&', "\\u0026");
            for (text, before) in [(value.to_string(), 0), (go, 0), (format!(" {value}"), 1)] {
                let encoded = whole_base64(text.as_bytes(), Alphabet::Base64);
                let masked = redactor.mask(&encoded);
                assert!(masked.contains("***"), "{secret} {before}: {masked}");
                assert!(masked.starts_with(&encoded[..12]), "{masked}");
            }
        }
    }

    #[test]
    fn what_nobody_sees_hides_no_secret() {
        let secret = "hunter2hunter2";
        let redactor = Redactor::new([secret]);
        for between in [
            "\u{1b}[1m",
            "\u{0}",
            "\u{7f}",
            "\u{1b}]0;title\u{7}",
            "\u{1b}]8;;http://x\u{1b}\\",
            "\u{1b}Pdcs\u{1b}\\",
            "\u{1b}_apc\u{9c}",
            "\u{1b}^pm\u{7}",
            "\u{1b}(B",
            "\u{1b}7",
            "\u{9b}1m",
            "\u{9d}0;x\u{9c}",
            "\u{85}",
            "\u{200b}",
            "\u{200d}",
            "\u{202e}",
            "\u{2066}",
            "\u{feff}",
            "\u{ad}",
            "\u{e0041}",
            "\u{fe0f}",
            "\u{2028}",
            "\u{8}",
            "x\u{8}",
            "é\u{8}",
            "\u{1b}[1m\u{200b}\u{0}",
            "\u{fffd}",
            "\r",
        ] {
            for cut in [1, 6, 13] {
                let text = format!("a {}{between}{} b", &secret[..cut], &secret[cut..]);
                let masked = redactor.mask(&text);
                assert!(!redactor.show(&text).contains("hunter2h"), "{text:?}");
                assert_eq!(clean(&masked), "a *** b", "{text:?}");
                // As JSON has it, in which all of these are escapes.
                let json = serde_json::to_string(&text).unwrap();
                assert_eq!(redactor.mask(&json), "\"a *** b\"", "{json}");
                let ascii: String = text
                    .encode_utf16()
                    .map(|unit| format!("\\u{unit:04X}"))
                    .collect();
                assert!(
                    redactor.mask(&ascii).ends_with("***\\u0020\\u0062"),
                    "{ascii}"
                );
            }
        }
        // Every letter struck twice, as manual pages have it, and with a NUL behind it, as UTF-16 has it.
        let struck: String = secret.chars().map(|c| format!("{c}\u{8}{c}")).collect();
        assert_eq!(redactor.show(&struck), MASK);
        let wide: String = secret.chars().map(|c| format!("{c}\u{0}")).collect();
        assert_eq!(redactor.show(&wide), MASK);
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(*redactor.mask_bytes(&wide), *b"\0***");
    }

    #[test]
    fn no_encoding_by_characters_hides_a_secret() {
        let secret = "p/s\\ \"é'<1&2";
        let redactor = Redactor::new([secret]);
        let each = |form: fn(u8) -> String| secret.bytes().map(form).collect::<String>();
        let chars = |form: fn(char) -> String| secret.chars().map(form).collect::<String>();
        let json = serde_json::to_string(secret).unwrap();
        for text in [
            each(|byte| format!("%{byte:02x}")),
            each(|byte| format!("%{byte:02X}")),
            each(|byte| format!("%25{byte:02X}")),
            each(|byte| format!("\\x{byte:02x}")),
            each(|byte| format!("\\{byte:03o}")),
            chars(|c| format!("\\u{{{:x}}}", u32::from(c))),
            chars(|c| format!("\\U{:08X}", u32::from(c))),
            chars(|c| format!("&#{};", u32::from(c))),
            chars(|c| format!("&#x{:X};", u32::from(c))),
            chars(|c| format!("&amp;#{};", u32::from(c))),
            chars(|c| {
                if c.is_alphanumeric() {
                    c.to_string()
                } else {
                    format!("\\{c}")
                }
            }),
            chars(|c| {
                if c == 's' {
                    "%73".to_owned()
                } else {
                    c.to_string()
                }
            }),
            json[1..json.len() - 1]
                .replace('<', "\\u003c")
                .replace('/', "\\/"),
            serde_json::to_string(&json).unwrap(),
            secret.replace('\'', "'\\''"),
            secret.replace('\'', "''"),
            secret.replace('"', "\"\""),
            secret
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('"', "&quot;")
                .replace('\'', "&apos;"),
            secret.replace('é', "\u{fffd}"),
        ] {
            let masked = redactor.mask(&format!("a={text};")).into_owned();
            let left = masked.trim_matches(|c| "\\\"".contains(c));
            assert!(
                left.starts_with("a=") && left.ends_with(';') && masked.contains(MASK),
                "{text}: {masked}"
            );
            assert!(masked.len() < 16, "{text}: {masked}");
        }
    }

    #[test]
    fn digits_of_every_base_are_masked() {
        let secret = "hunter2-hunter2-hunter2";
        let redactor = Redactor::new([secret]);
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut texts = vec![
            hex::encode(secret),
            hex::encode_upper(secret),
            hex::encode(&wide),
            secret.bytes().map(|byte| format!("{byte:02x}:")).collect(),
            secret
                .bytes()
                .map(|byte| format!("0x{byte:02X}, "))
                .collect(),
            secret
                .bytes()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect(),
            secret
                .as_bytes()
                .chunks(2)
                .map(|pair| format!("{} ", hex::encode(pair)))
                .collect(),
        ];
        for before in ["", "a", "ab", "abc", "abcd"] {
            for behind in ["", "z"] {
                let text = format!("{before}{secret}{behind}");
                for alphabet in [
                    Alphabet::Base64,
                    Alphabet::Base64Url,
                    Alphabet::Base32,
                    Alphabet::Base32Lower,
                    Alphabet::Base32Hex,
                    Alphabet::Base32HexLower,
                ] {
                    texts.push(alphabet.encode(text.as_bytes()));
                }
                let login = whole_base64(text.as_bytes(), Alphabet::Base64);
                texts.push(whole_base64(
                    format!("{{\"auth\":\"{login}\"}}").as_bytes(),
                    Alphabet::Base64,
                ));
                texts.push(
                    whole_base64(text.as_bytes(), Alphabet::Base64)
                        .replace('+', "%2B")
                        .replace('=', "%3d"),
                );
            }
        }
        texts.push(Alphabet::Base64.encode(&wide));
        for text in texts {
            let masked = redactor.mask(&text);
            assert!(masked.contains(MASK), "{text}");
            // What is left holds bits of what stands around it.
            assert!(masked.len() < 32, "{text}: {masked}");
        }
        // The lines of a dump, with the text beside the digits.
        for line in secret.as_bytes().chunks(16) {
            let text: String = line
                .iter()
                .map(|byte| {
                    if byte.is_ascii_graphic() {
                        char::from(*byte)
                    } else {
                        '.'
                    }
                })
                .collect();
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let masked = redactor
                .mask(&format!("00000010  {}  |{text}|", digits.join(" ")))
                .into_owned();
            assert!(
                masked.starts_with("00000010  ***") && !masked.contains("hunter2-h"),
                "{masked}"
            );
        }
        let four = Redactor::new(["abcd"]);
        for text in ["YWJjZA==", "61626364", "MFRGGZA="] {
            assert_eq!(four.mask(text).trim_end_matches('='), MASK, "{text}");
        }
    }

    #[test]
    fn secrets_in_one_another_leave_nothing_in_any_order() {
        for secrets in [
            ["abcd", "abcdefgh", "cdefghij"],
            ["cdefghij", "abcdefgh", "abcd"],
        ] {
            let redactor = Redactor::new(secrets);
            assert_eq!(
                redactor.mask("xabcdefghijx abcdx abcdefg"),
                "x***x ***x ***efg"
            );
        }
    }

    #[test]
    fn large_texts_are_searched_over_the_borders_of_their_parts() {
        let redactor = Redactor::new(["sesame-open", "abc"]);
        for at in [PART - 5, PART - 133, PART + 133, 2 * PART - 11, 2 * PART] {
            let mut bytes = vec![b'.'; at];
            bytes.extend_from_slice(b"sesame-open.xabc");
            bytes.extend(vec![b'.'; PART]);
            let masked = redactor.mask_bytes(&bytes);
            assert_eq!(masked.len(), bytes.len() - 8);
            assert_eq!(&masked[at..at + 8], b"***.xabc");
        }
    }

    #[test]
    fn base64_in_lines_is_masked_to_its_last_digit() {
        let secret = "0123456789abcdefghijklmno".repeat(6);
        let redactor = Redactor::new([&secret]);
        // As `base64` and `openssl base64` write it, with and without a line end behind the secret.
        for width in [64, 76] {
            for behind in ["", "\n"] {
                let whole = whole_base64(format!("{secret}{behind}").as_bytes(), Alphabet::Base64);
                for line in whole.as_bytes().chunks(width) {
                    let masked = redactor.mask(std::str::from_utf8(line).unwrap());
                    // What is left is the line end.
                    assert!(masked == MASK || masked == "***g==", "{masked}");
                }
            }
        }
    }

    #[test]
    fn short_secrets_are_masked_as_words_only() {
        let redactor = Redactor::new(["abc", "", "é"]);
        assert_eq!(
            redactor.mask("abc abcd xabc (abc) a_abc"),
            "*** abcd xabc (***) a_abc"
        );
        assert_eq!(redactor.mask("é né"), "*** né");
    }

    #[test]
    fn each_line_of_a_key_is_a_secret() {
        let redactor = Redactor::new(["-----BEGIN KEY-----\nMIIabc\r\n  Zz\n"]);
        assert_eq!(redactor.mask("x MIIabc y"), "x *** y");
        assert_eq!(redactor.mask("Zz"), "Zz");
        assert_eq!(
            redactor.mask("-----BEGIN KEY-----\\nMIIabc\\r\\n  Zz"),
            "***"
        );
    }

    #[test]
    fn fields_of_json_secrets_are_secrets() {
        let redactor = Redactor::new([
            r#"{"user":"maria","nested":{"keys":["k-12345","k\n-678"]},"n":123456}"#,
        ]);
        assert_eq!(
            redactor.mask("maria k-12345 123456 k\n-678"),
            "*** *** 123456 ***"
        );
    }

    #[test]
    fn overlapping_secrets_leave_nothing() {
        let redactor = Redactor::new(["abcdef", "defghi"]);
        assert_eq!(redactor.mask("xabcdefghix"), "x***x");
    }

    #[test]
    fn it_does_not_show_what_it_knows() {
        assert!(!format!("{:?}", Redactor::new(["hunter22"])).contains("hunter22"));
    }

    proptest! {
        #[test]
        fn no_encoding_of_a_secret_survives(secret in "[ -~é]{6,40}", before in "[a-z0-9:]{0,5}", after in "[a-z0-9:]{0,5}") {
            let redactor = Redactor::new([&secret]);
            for text in [
                secret.clone(),
                whole_base64(format!("{before}{secret}{after}").as_bytes(), Alphabet::Base64),
                whole_base64(format!("{before}{secret}{after}").as_bytes(), Alphabet::Base64Url),
                serde_json::to_string(&format!("{before}{secret}{after}")).unwrap(),
            ] {
                prop_assert!(redactor.mask(&text).contains(MASK), "{text}");
            }
            let text = format!("{before}{secret}{after}");
            let masked = redactor.mask(&text);
            prop_assert!(!masked.contains(&secret));
        }

        #[test]
        fn a_safe_cut_cuts_no_secret(text in "[ab]{0,60}", secrets in prop::collection::vec("[ab]{4,8}", 0..3)) {
            let redactor = Redactor::new(&secrets);
            let cut = redactor.safe_cut(text.as_bytes());
            for secret in &secrets {
                for (start, _) in text.match_indices(secret.as_str()) {
                    prop_assert!(!(start < cut && cut < start + secret.len()));
                }
                // And none that the next bytes complete.
                for length in 1..secret.len() {
                    if text.ends_with(&secret[..length]) {
                        prop_assert!(cut <= text.len() - length);
                    }
                }
            }
        }
    }
}
