//! One character of a URL as files write it: plain, JSON-, percent- or HTML-escaped, also escaped twice.

/// More backslashes than this before an escape are read as text.
const MOST_BACKSLASHES: usize = 8;

/// The longest way to write one character: `MOST_BACKSLASHES` and `u{00002f}`.
pub(super) const LONGEST: usize = MOST_BACKSLASHES + 9;

/// The character at `at` and how many bytes it is written in; `None` at the end. What is no escape stands for itself.
pub(super) fn unit(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = text.get(at..)?;
    let escaped = match rest.first()? {
        b'%' => percent(rest),
        b'\\' => backslash(rest),
        b'&' => entity(rest),
        _ => None,
    };
    escaped.or(Some((rest[0], 1)))
}

fn percent(text: &[u8]) -> Option<(u8, usize)> {
    let mut at = 1;
    // `%252F` is `%2F` once more.
    while text.get(at..at + 2) == Some(b"25") && hex(text.get(at + 2..at + 4)?).is_some() {
        at += 2;
    }
    Some((hex(text.get(at..at + 2)?)?, at + 2))
}

fn backslash(text: &[u8]) -> Option<(u8, usize)> {
    let count = text.iter().take_while(|byte| **byte == b'\\').count();
    if count > MOST_BACKSLASHES {
        return None;
    }
    let rest = &text[count..];
    match rest.first()? {
        b'/' => Some((b'/', count + 1)),
        b'x' | b'X' => Some((hex(rest.get(1..3)?)?, count + 3)),
        b'u' | b'U' if rest.get(1) == Some(&b'{') => {
            let end = rest.iter().take(10).position(|byte| *byte == b'}')?;
            Some((hex(&rest[2..end])?, count + end + 1))
        }
        b'u' | b'U' => Some((hex(rest.get(1..5)?)?, count + 5)),
        _ => None,
    }
}

fn entity(text: &[u8]) -> Option<(u8, usize)> {
    let end = text.iter().take(10).position(|byte| *byte == b';')?;
    let value = match &text[1..end] {
        [b'#', b'x' | b'X', digits @ ..] => hex(digits)?,
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        b"sol" => b'/',
        b"colon" => b':',
        b"period" => b'.',
        b"quot" => b'"',
        b"apos" => b'\'',
        b"lt" => b'<',
        b"gt" => b'>',
        b"amp" => b'&',
        _ => return None,
    };
    Some((value, end + 1))
}

fn hex(digits: &[u8]) -> Option<u8> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits.trim_start_matches('0'), 16)
        .ok()
        .or_else(|| digits.bytes().all(|digit| digit == b'0').then_some(0))
}

/// Where the character that ends at `end` begins, if it is `wanted`; the longest way to write it.
pub(super) fn before(text: &[u8], end: usize, wanted: u8) -> Option<usize> {
    (end.saturating_sub(LONGEST)..end)
        .find(|start| unit(text, *start) == Some((wanted, end - *start)))
}

/// The character that ends at `end`, `None` at the start of the text.
pub(super) fn last(text: &[u8], end: usize) -> Option<u8> {
    (end.saturating_sub(LONGEST)..end).find_map(|start| {
        let (value, length) = unit(text, start)?;
        (length == end - start).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_slash_is_read_both_ways() {
        for written in [
            "/", r"\/", r"\\\/", r"\u002f", r"\u002F", r"\\u002f", r"\x2f", r"\u{2f}", "%2f",
            "%2F", "%252F", "%25252f", "&#x2F;", "&#x002f;", "&#47;", "&sol;",
        ] {
            let text = format!("a{written}b").into_bytes();
            assert_eq!(unit(&text, 1), Some((b'/', written.len())), "{written}");
            assert_eq!(before(&text, text.len() - 1, b'/'), Some(1), "{written}");
            assert_eq!(last(&text, text.len() - 1), Some(b'/'), "{written}");
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for text in [
            "%",
            "%2",
            "%zz",
            r"\",
            r"\n",
            r"\u00",
            "&",
            "&#x;",
            "&nothing;",
            "a",
        ] {
            assert_eq!(
                unit(text.as_bytes(), 0),
                Some((text.as_bytes()[0], 1)),
                "{text}"
            );
        }
        assert_eq!(unit(b"", 0), None);
        assert_eq!(last(b"", 0), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_leaving_the_text(text in proptest::collection::vec(proptest::prop_oneof![
            proptest::strategy::Just(b'\\'), proptest::strategy::Just(b'%'), proptest::strategy::Just(b'&'),
            proptest::strategy::Just(b'u'), proptest::strategy::Just(b'2'), proptest::strategy::Just(b';'), proptest::num::u8::ANY,
        ], 0..40)) {
            let mut at = 0;
            while let Some((_, length)) = unit(&text, at) {
                proptest::prop_assert!(length > 0 && at + length <= text.len());
                at += length;
            }
            proptest::prop_assert_eq!(at, text.len());
        }
    }
}
