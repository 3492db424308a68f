//! Texts for people are of one kind: errors and hints begin in lower case, are one sentence, and end without a period.

use std::path::Path;

/// Names that keep their capital at the beginning of a text.
const NAMES: &[&str] = &["Docker", "Podman", "Shipline"];

/// Texts that are for no person, or that others prescribe, by their beginning, with the reason.
const OTHERS: &[(&str, &str)] = &[
    ("Create the GitOps repository", "a commit message"),
    ("Deploy {", "a commit message"),
    ("Examples:", "a heading of the help"),
    ("Chores of this repository", "a heading of the help"),
    ("Shipline's own help", "a heading of the help"),
    ("Basic {", "a header of HTTP's"),
    ("Bearer {", "a header of HTTP's"),
    ("Bearer realm", "a header of HTTP's"),
    ("No such image: sha256:", "what an engine says"),
    ("Host key verification failed", "what ssh says"),
    ("Permission denied", "what ssh says"),
    ("Could not resolve hostname", "what ssh says"),
    ("Connection refused", "what ssh says"),
];

/// The texts of a source with the lines on which they begin: without comments and without its tests.
fn literals(source: &str) -> Vec<(usize, String)> {
    let source = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = source;
    let line = |rest: &str| source[..source.len() - rest.len()].matches('\n').count() + 1;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some(raw) = rest
            .strip_prefix('r')
            .filter(|raw| raw.starts_with('"') || raw.starts_with("#\"") || raw.starts_with("##\""))
        {
            let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
            let body = &raw[hashes + 1..];
            let end = format!("\"{}", "#".repeat(hashes));
            let length = body.find(&end).unwrap_or(body.len());
            found.push((line(rest), body[..length].to_owned()));
            rest = body.get(length + end.len()..).unwrap_or_default();
        } else if first == '"' {
            let begin = line(rest);
            let (text, behind) = text(&rest[1..]);
            found.push((begin, text));
            rest = behind;
        } else if first == '\'' {
            // A character, or a lifetime.
            let mut characters = rest.char_indices().skip(1);
            let escaped = characters.next().is_some_and(|(_, next)| next == '\\');
            rest = match characters.next() {
                Some(_) if escaped => rest[3..].find('\'').map_or("", |end| &rest[end + 4..]),
                Some((at, '\'')) => &rest[at + 1..],
                Some(_) | None => &rest[1..],
            };
        } else if first.is_alphanumeric() || first == '_' {
            // A whole word, so that an `r` at its end begins nothing.
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            let end = end.unwrap_or(rest.len());
            rest = match (&rest[..end], &rest[end..]) {
                ("r" | "br", behind) if behind.starts_with(['"', '#']) && end > 1 => &rest[1..],
                (_, behind) => behind,
            };
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// A text up to its quote, and what is behind it.
fn text(rest: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (text, &rest[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                // The line goes on where its text does.
                Some((at, '\n')) => {
                    let behind = rest[at..].trim_start();
                    let skipped = rest.len() - behind.len();
                    characters = rest.char_indices();
                    while characters
                        .clone()
                        .next()
                        .is_some_and(|(at, _)| at < skipped)
                    {
                        characters.next();
                    }
                }
                Some((_, other)) => text.push(other),
                None => break,
            },
            _ => text.push(character),
        }
    }
    (text, "")
}

/// What is wrong with a text, if anything is.
fn wrong(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [first, _, ..] = words.as_slice() else {
        return None;
    };
    if OTHERS.iter().any(|(begin, _)| text.starts_with(begin)) {
        return None;
    }
    let word = first.trim_end_matches([',', ':']);
    let word = word.strip_suffix("'s").unwrap_or(word);
    let lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    let capital =
        |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase()) && lower(&word[1..]);
    if capital(word) && !text.starts_with(' ') && !NAMES.contains(&word) {
        return Some("it begins with a capital letter");
    }
    let end = text.trim_end();
    let before = end.strip_suffix('.').and_then(|end| end.chars().last());
    let ends = |c: char| c.is_alphanumeric() || "`)}".contains(c);
    if words.len() > 2 && before.is_some_and(ends) {
        return Some("it ends with a period");
    }
    let sentences = words.windows(2).any(|pair| {
        let [one, two] = pair else { return false };
        let before = one.strip_suffix('.').and_then(|one| one.chars().last());
        before.is_some_and(|c| c.is_ascii_lowercase() || "`)}".contains(c))
            && two.len() > 2
            && capital(two)
    });
    sentences.then_some("it is more than one sentence: `;` or `:` joins them")
}

#[test]
fn errors_and_hints_are_in_lower_case_and_end_without_a_period() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    let mut seen = 0;
    for path in crate::tidy::tracked(".rs") {
        let library = path.starts_with("crates/") && path.contains("/src/");
        if !library || path.starts_with("crates/shipline-testkit/") || path.ends_with("tests.rs") {
            continue;
        }
        let source = std::fs::read_to_string(root.join(&path)).unwrap();
        for (line, text) in literals(&source) {
            seen += 1;
            if let Some(why) = wrong(&text) {
                found.push(format!("{path}:{line}: {why}: {text}"));
            }
        }
    }
    assert!(seen > 5000, "the texts are found at all: {seen}");
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn causes_are_gathered_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The others look for an error of some type among the causes.
    let allowed = [
        "crates/shipline-engine/src/error.rs",
        "crates/shipline-engine/src/tools/ask.rs",
        "crates/shipline-http/src/unanswered.rs",
        "crates/shipline-oci/src/registry/ecr/failure.rs",
    ];
    let mut found = Vec::new();
    for path in crate::tidy::tracked(".rs") {
        if !path.starts_with("crates/") || !path.contains("/src/") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        let code = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .any(|line| line.contains(".source()") || line.contains("Error::source("));
        if code && !allowed.contains(&path.as_str()) {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "`error::chain` does this: {found:#?}");
}

#[test]
fn what_is_wrong_with_a_text_is_seen() {
    for (text, expected) in [
        ("read the file", None),
        ("Docker Hub limits pulls", None),
        ("FROM takes an image", None),
        ("OCI layouts have one", None),
        ("web", None),
        ("Write it anew", Some("it begins with a capital letter")),
        ("write it anew.", Some("it ends with a period")),
        ("waits …", None),
        ("is it e.g. this", None),
        (
            "it is full. Free some space",
            Some("it is more than one sentence: `;` or `:` joins them"),
        ),
    ] {
        assert_eq!(wrong(text), expected, "{text}");
    }
    let source = "// \"no\"\nfn a<'a>() { f('\"', \"one\\n\", r#\"two \" x\"#, b'\\'', \"thr\\\n    ee\") }\n#[cfg(test)]\nmod tests { \"no\" }";
    let texts: Vec<String> = literals(source).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one\n", "two \" x", "three"]);
}
