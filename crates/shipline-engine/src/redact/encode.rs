//! The forms in which a secret comes back.

/// Base64's two alphabets (RFC 4648).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// With `+` and `/`.
    Standard,
    /// With `-` and `_`.
    Url,
}

const SHARED: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A core of base64 shorter than this is not looked for: it would be found in any text.
const LEAST: usize = 6;

/// Whether a byte is a digit of one of the alphabets.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn digit(alphabet: Alphabet, sextet: u8) -> char {
    let digit = match (sextet, alphabet) {
        (62, Alphabet::Standard) => b'+',
        (63, Alphabet::Standard) => b'/',
        (62, Alphabet::Url) => b'-',
        (63, Alphabet::Url) => b'_',
        (sextet, _) => SHARED[usize::from(sextet)],
    };
    char::from(digit)
}

/// The digits of `bytes` without padding; the last one is filled with zero bits.
fn digits(bytes: &[u8], alphabet: Alphabet) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |position: usize| u32::from(group.get(position).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..=group.len() {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            text.push(digit(alphabet, sextet as u8));
        }
    }
    text
}

/// Base64 with its padding.
#[cfg(test)]
pub(super) fn whole_base64(bytes: &[u8], alphabet: Alphabet) -> String {
    let mut text = digits(bytes, alphabet);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The digits that `bytes` alone decide, at each alignment in a longer text, in both alphabets.
pub(super) fn base64(bytes: &[u8]) -> Vec<String> {
    let mut cores = Vec::new();
    for before in 0..3_usize {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        // The first digit without a bit of what is before, and the first one behind those that are full.
        let first = (before * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        for alphabet in [Alphabet::Standard, Alphabet::Url] {
            let core = digits(&padded, alphabet);
            if end >= first + LEAST {
                cores.push(core[first..end].to_owned());
            }
        }
    }
    cores
}

/// Widths at which tools break base64 into lines: PEM's (RFC 7468) and MIME's (RFC 2045).
const WIDTHS: [usize; 2] = [64, 76];

/// The lines of `bytes` in base64 where it is broken into lines and nothing is before it.
pub(super) fn base64_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for alphabet in [Alphabet::Standard, Alphabet::Url] {
        let all = digits(bytes, alphabet);
        // The last digit may hold bits of what follows.
        let known = &all[..bytes.len() * 8 / 6];
        for width in WIDTHS {
            if all.len() > width {
                let broken = known
                    .as_bytes()
                    .chunks(width)
                    .filter(|it| it.len() >= LEAST);
                lines.extend(broken.map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
    lines
}

/// XML and HTML, as attributes and texts, with the names and numbers that libraries use.
pub(super) fn xml(text: &str) -> Vec<String> {
    let quotes = [
        ("\"", "'"),
        ("&quot;", "'"),
        ("&quot;", "&apos;"),
        ("&quot;", "&#39;"),
        ("&quot;", "&#x27;"),
        ("&#34;", "&#39;"),
    ];
    quotes
        .iter()
        .map(|(double, single)| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', double)
                .replace('\'', single)
        })
        .collect()
}

/// Percent-encodings: of all but RFC 3986's unreserved characters, of what `encodeURIComponent` and `encodeURI` encode, and
/// of forms; with upper- and lower-case hex digits.
pub(super) fn percent(text: &str) -> Vec<String> {
    let sets: [(&[u8], bool); 4] = [
        (b"-_.~", false),
        (b"-_.~!*'()", false),
        (b"-_.~!*'();,/?:@&=+$#", false),
        (b"-_.*", true),
    ];
    let mut encoded = Vec::new();
    for (kept, plus) in sets {
        for upper in [true, false] {
            let mut out = String::new();
            for byte in text.bytes() {
                if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
                    out.push(char::from(byte));
                } else if plus && byte == b' ' {
                    out.push('+');
                } else if upper {
                    out.push_str(&format!("%{byte:02X}"));
                } else {
                    out.push_str(&format!("%{byte:02x}"));
                }
            }
            encoded.push(out);
        }
    }
    encoded
}

/// JSON escapes, once and twice (JSON as a string in JSON, which is how many logs carry it).
pub(super) fn json(text: &str) -> Vec<String> {
    let once = escaped(text);
    let twice: Vec<String> = once
        .iter()
        .filter(|form| *form != text)
        .flat_map(|form| escaped(form))
        .collect();
    [once, twice].concat()
}

/// JSON escapes: the short ones, those with `\/`, and those with every character beyond ASCII as `\u`.
fn escaped(text: &str) -> Vec<String> {
    let Ok(quoted) = serde_json::to_string(text) else {
        return Vec::new();
    };
    let escaped = quoted[1..quoted.len() - 1].to_owned();
    let mut ascii = String::new();
    for c in escaped.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    // Go's and JavaScript's ways to keep HTML out of JSON.
    let html = escaped
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    vec![escaped.replace('/', "\\/"), ascii, html, escaped]
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
