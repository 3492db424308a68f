//! What stands in a text where a value should: a variable or template that nothing filled in (`${TAG}`, `{{ .Tag }}`), or the
//! word that a language writes for no value (`undefined`).

/// What languages write where a value is missing: JavaScript, JSON, Python, Ruby and Go, and arithmetic in most of them.
const WORDS: &[&str] = &["undefined", "null", "none", "nil", "nan"];

/// The first variable or template in a text that is part of an image reference: `$NAME`, `${…}`, `$(…)`, `{{…}}`, `{%…%}`,
/// `#{…}`, `[[…]]`, `<…>`, `%NAME%`, `@NAME@`. None of these can stand in a reference for itself.
#[must_use]
pub fn unfilled(text: &str) -> Option<&str> {
    let start = text.char_indices().find_map(|(at, c)| {
        let rest = &text[at + c.len_utf8()..];
        let found = match c {
            '$' | '{' | '<' => true,
            '#' => rest.starts_with('{'),
            '[' => rest.starts_with('['),
            '%' | '@' => is_closed(rest, c),
            _ => false,
        };
        found.then_some(at)
    })?;
    let rest = &text[start..];
    Some(&rest[..end(rest)])
}

/// Whether a part of a tag is a word for no value, in whatever case.
#[must_use]
pub fn is_word(part: &str) -> bool {
    WORDS.iter().any(|word| part.eq_ignore_ascii_case(word))
}

/// Whether a name and then `mark` follows.
fn is_closed(rest: &str, mark: char) -> bool {
    rest.find(mark).is_some_and(|end| {
        end > 0
            && rest[..end]
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
    })
}

/// Where the placeholder ends that `text` begins with.
fn end(text: &str) -> usize {
    let closing = if text.starts_with("{{") {
        "}}"
    } else if text.starts_with("{%") {
        "%}"
    } else if text.starts_with("[[") {
        "]]"
    } else if text.starts_with("$(") {
        ")"
    } else if text.starts_with(['{', '#']) || text.starts_with("${") {
        "}"
    } else if text.starts_with('<') {
        ">"
    } else if text.starts_with('%') {
        "%"
    } else if text.starts_with('@') {
        "@"
    } else {
        let name = text[1..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
        return 1 + name.count();
    };
    text[1..]
        .find(closing)
        .map_or(text.len(), |at| 1 + at + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_templates_are_found() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(unfilled(text), expected, "{text}");
        };
        check("$TAG", Some("$TAG"));
        check("r/web:$TAG-1", Some("$TAG"));
        check("r/web:$", Some("$"));
        check("r/web:${TAG}-x", Some("${TAG}"));
        check("r/web:${TAG", Some("${TAG"));
        check("r/web:$(git rev-parse HEAD)", Some("$(git rev-parse HEAD)"));
        check("{{ .Tag }}", Some("{{ .Tag }}"));
        check("{% tag %}x", Some("{% tag %}"));
        check("{tag}", Some("{tag}"));
        check("#{TAG}#", Some("#{TAG}"));
        check("[[tag]]", Some("[[tag]]"));
        check("<tag>", Some("<tag>"));
        check("<ü", Some("<ü"));
        check("v%TAG%", Some("%TAG%"));
        check("r/web:@TAG@", Some("@TAG@"));
        check("r/web:1.0", None);
        check("r/web:1.0@sha256:ab", None);
        check("[::1]:5000/web:1", None);
        check("50%", None);
        check("a%%b", None);
        check("", None);
    }

    #[test]
    fn words_for_no_value() {
        for word in ["undefined", "null", "NULL", "None", "nil", "NaN"] {
            assert!(is_word(word), "{word}");
        }
        for other in ["", "nullable", "latest", "nightly", "0"] {
            assert!(!is_word(other), "{other}");
        }
    }
}
