//! Masking of secrets: the exact texts, their lines, their fields where they are JSON, and all of them in the encodings in
//! which they come back.
//!
//! Every secret is looked for as it is, as base64 (both alphabets, at each of the three alignments, with or without padding;
//! where it is encoded alone, also in lines), percent-encoded, JSON-escaped and XML-escaped. A text shorter than four characters would mask half of every log: it is masked only
//! where it stands as a word of its own, and only as it is.

mod encode;
mod event;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// What stands for a secret.
pub const MASK: &str = "***";

/// Texts shorter than this (in characters) are masked only as whole words.
const SHORT: usize = 4;

/// Looks for secrets in texts.
#[derive(Clone)]
pub struct Redactor {
    /// What to look for, by first byte, the longest first.
    by_first: Vec<Vec<Pattern>>,
    longest: usize,
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
    /// Characters that hold bits of the secret where they are base64's: they are masked with it.
    Base64,
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
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            let secret = secret.as_ref();
            patterns_of(secret, &mut patterns);
            if secret.trim() != secret {
                patterns_of(secret.trim(), &mut patterns);
            }
            for field in encode::json_fields(secret) {
                patterns_of(&field, &mut patterns);
            }
        }
        let longest = patterns
            .iter()
            .map(|pattern| pattern.bytes.len())
            .max()
            .unwrap_or(0);
        let mut by_first: Vec<Vec<Pattern>> = vec![Vec::new(); 256];
        for pattern in patterns {
            by_first[usize::from(pattern.bytes[0])].push(pattern);
        }
        for patterns in &mut by_first {
            patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.bytes.len()));
        }
        Self { by_first, longest }
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
        let mut cut = bytes.len().saturating_sub(self.longest.saturating_sub(1));
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
        if self.longest == 0 {
            return found;
        }
        for (start, first) in bytes.iter().enumerate() {
            let matched = self.by_first[usize::from(*first)]
                .iter()
                .find_map(|pattern| pattern.at(bytes, start));
            if let Some((start, end)) = matched {
                match found.last_mut() {
                    Some(last) if start <= last.1 => last.1 = last.1.max(end),
                    Some(_) | None => found.push((start, end)),
                }
            }
        }
        found
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
            Border::Base64 => {
                let from = start - usize::from(is_at(start.checked_sub(1), encode::is_base64));
                let mut to = end + usize::from(is_at(Some(end), encode::is_base64));
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

fn patterns_of(text: &str, patterns: &mut BTreeSet<Pattern>) {
    let mut add = |text: &[u8], border: Border| {
        if !text.is_empty() {
            patterns.insert(Pattern {
                bytes: text.to_vec(),
                border,
            });
        }
    };
    if text.chars().count() < SHORT {
        add(text.as_bytes(), Border::Word);
        return;
    }
    add(text.as_bytes(), Border::Any);
    for encoded in encode::base64(text.as_bytes()) {
        add(encoded.as_bytes(), Border::Base64);
    }
    for line in encode::base64_lines(text.as_bytes()) {
        add(line.as_bytes(), Border::Base64);
    }
    let encoded = encode::percent(text).into_iter();
    for encoded in encoded.chain(encode::json(text)).chain(encode::xml(text)) {
        add(encoded.as_bytes(), Border::Any);
    }
    // Output comes by line: each line of a key is a secret of its own.
    if text.contains(['\n', '\r']) {
        for line in text.split(['\n', '\r']).map(str::trim) {
            if line.chars().count() >= SHORT {
                add(line.as_bytes(), Border::Any);
                for encoded in encode::json(line).into_iter().chain(encode::xml(line)) {
                    add(encoded.as_bytes(), Border::Any);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        check("p/ss w&#34;rd+1", "***");
    }

    #[test]
    fn base64_in_lines_is_masked_to_its_last_digit() {
        let secret = "0123456789abcdefghijklmno".repeat(6);
        let redactor = Redactor::new([&secret]);
        // As `base64` and `openssl base64` write it, with and without a line end behind the secret.
        for width in [64, 76] {
            for behind in ["", "\n"] {
                let whole = encode::whole_base64(
                    format!("{secret}{behind}").as_bytes(),
                    encode::Alphabet::Standard,
                );
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
                encode::whole_base64(format!("{before}{secret}{after}").as_bytes(), encode::Alphabet::Standard),
                encode::whole_base64(format!("{before}{secret}{after}").as_bytes(), encode::Alphabet::Url),
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
