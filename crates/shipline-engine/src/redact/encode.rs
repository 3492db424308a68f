//! The forms in which a secret comes back.

/// The digits of an encoding by groups of bits (RFC 4648).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Base64 with `+` and `/`.
    Base64,
    /// Base64 with `-` and `_`.
    Base64Url,
    /// Base32.
    Base32,
    /// Base32 in lower case.
    Base32Lower,
    /// Base32 with the digits of hex first.
    Base32Hex,
    /// The same in lower case.
    Base32HexLower,
}

/// All of them.
const ALPHABETS: [Alphabet; 6] = [
    Alphabet::Base64,
    Alphabet::Base64Url,
    Alphabet::Base32,
    Alphabet::Base32Lower,
    Alphabet::Base32Hex,
    Alphabet::Base32HexLower,
];

/// Digits fewer than this are not looked for: they would be found in any text.
const LEAST: usize = 5;

impl Alphabet {
    fn digits(self) -> &'static [u8] {
        match self {
            Self::Base64 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Self::Base64Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Self::Base32 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            Self::Base32Lower => b"abcdefghijklmnopqrstuvwxyz234567",
            Self::Base32Hex => b"0123456789ABCDEFGHIJKLMNOPQRSTUV",
            Self::Base32HexLower => b"0123456789abcdefghijklmnopqrstuv",
        }
    }

    /// Bits of a digit.
    fn bits(self) -> usize {
        match self {
            Self::Base64 | Self::Base64Url => 6,
            Self::Base32 | Self::Base32Lower | Self::Base32Hex | Self::Base32HexLower => 5,
        }
    }

    /// Bytes after which digits and bytes begin together again.
    fn group(self) -> usize {
        match self {
            Self::Base64 | Self::Base64Url => 3,
            Self::Base32 | Self::Base32Lower | Self::Base32Hex | Self::Base32HexLower => 5,
        }
    }

    /// The digits of `bytes` without padding; the last one is filled with zero bits.
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        let (digits, width) = (self.digits(), self.bits());
        let mut text = String::with_capacity(bytes.len() * 8 / width + 1);
        let (mut held, mut count) = (0_usize, 0);
        for byte in bytes {
            held = held << 8 | usize::from(*byte);
            count += 8;
            while count >= width {
                count -= width;
                text.push(char::from(digits[held >> count]));
                held &= (1 << count) - 1;
            }
        }
        if count > 0 {
            text.push(char::from(digits[held << (width - count)]));
        }
        text
    }
}

/// Whether a byte is a digit of one of the alphabets.
pub(super) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The digits that `bytes` alone decide, at each alignment in a longer text, in every alphabet.
pub(super) fn digits(bytes: &[u8]) -> Vec<String> {
    ALPHABETS.iter().flat_map(|it| cores(bytes, *it)).collect()
}

/// Base64 in base64, which is how a login stands in a Kubernetes secret.
pub(super) fn twice(bytes: &[u8]) -> Vec<String> {
    let inner = cores(bytes, Alphabet::Base64).into_iter();
    inner
        .flat_map(|inner| cores(inner.as_bytes(), Alphabet::Base64))
        .collect()
}

fn cores(bytes: &[u8], alphabet: Alphabet) -> Vec<String> {
    let width = alphabet.bits();
    let mut cores = Vec::new();
    for before in 0..alphabet.group() {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        // The first digit without a bit of what is before, and the first one behind those that are full.
        let first = (before * 8).div_ceil(width);
        let end = padded.len() * 8 / width;
        if end >= first + LEAST {
            cores.push(alphabet.encode(&padded)[first..end].to_owned());
        }
    }
    cores
}

/// Widths at which tools break digits into lines: PEM's (RFC 7468) and MIME's (RFC 2045).
const WIDTHS: [usize; 2] = [64, 76];

/// The lines of `bytes` in digits where they are broken into lines and nothing is before them.
pub(super) fn digit_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for alphabet in ALPHABETS {
        let all = alphabet.encode(bytes);
        // The last digit may hold bits of what follows.
        let known = &all[..bytes.len() * 8 / alphabet.bits()];
        for width in WIDTHS {
            if all.len() > width {
                lines.extend(pieces(known.as_bytes(), width, LEAST));
            }
        }
    }
    lines
}

/// Bytes in a line of a dump: of `xxd`, `od` and `hexdump`, and of `xxd -p`.
const DUMPED: [usize; 2] = [16, 30];

/// Hex in lower case: all of it, and the lines of a dump that begins with it.
pub(super) fn hex(bytes: &[u8]) -> Vec<String> {
    let whole = ::hex::encode(bytes);
    let mut all = Vec::new();
    for width in DUMPED {
        if bytes.len() > width {
            all.extend(pieces(whole.as_bytes(), 2 * width, 8));
        }
    }
    all.push(whole);
    all
}

/// The texts that stand beside the digits of a dump.
pub(super) fn dumped(text: &str) -> Vec<String> {
    let width = DUMPED[0];
    match text.is_ascii() && text.len() > width {
        true => pieces(text.as_bytes(), width, 8),
        false => Vec::new(),
    }
}

/// Pieces of digits or of ASCII.
fn pieces(digits: &[u8], width: usize, least: usize) -> Vec<String> {
    let pieces = digits.chunks(width).filter(|piece| piece.len() >= least);
    pieces
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect()
}

/// UTF-16 in both orders of bytes, in which Windows encodes what it then writes in base64 or hex.
pub(super) fn wide(text: &str) -> [Vec<u8>; 2] {
    let units = || text.encode_utf16();
    [
        units().flat_map(u16::to_le_bytes).collect(),
        units().flat_map(u16::to_be_bytes).collect(),
    ]
}

/// What is not undone by characters: quotes of shells, of SQL and YAML and of CSV, blanks of forms, and text of eight bits that
/// was read as UTF-8.
pub(super) fn quoted(text: &str) -> Vec<String> {
    vec![
        text.replace('\'', "'\\''"),
        text.replace('\'', "'\"'\"'"),
        text.replace('\'', "''"),
        text.replace('"', "\"\""),
        text.replace(' ', "+"),
        text.replace(
            |character: char| ('\u{80}'..='\u{ff}').contains(&character),
            "\u{fffd}",
        ),
    ]
}

/// The secret as it stands in a JSON text, where that is another text: as most write it, and as Go does, which escapes what HTML
/// would read. Whoever encodes such a text as a whole (a Kubernetes secret of a docker configuration) encodes these.
pub(super) fn in_json(text: &str) -> Vec<String> {
    let usual = serde_json::Value::from(text).to_string();
    let inner = usual.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let usual = inner.unwrap_or(text).to_owned();
    let mut go = usual.clone();
    for (character, escape) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        go = go.replace(character, escape);
    }
    let mut forms = vec![usual, go];
    forms.dedup();
    forms.retain(|form| form != text);
    forms
}

/// Every string in a secret that is a JSON object or array.
pub(super) fn json_fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    if text.trim_start().starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
    {
        collect(&value, &mut fields);
    }
    fields
}

fn collect(value: &serde_json::Value, fields: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => fields.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        serde_json::Value::Object(entries) => {
            entries.values().for_each(|item| collect(item, fields));
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}
