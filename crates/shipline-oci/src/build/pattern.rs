//! Path patterns as Docker understands them: Go's `filepath.Match`, and the `**` that ignore files add to it.

/// Which `**` a pattern knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Go's `filepath.Match`: `**` is two `*`.
    Match,
    /// Ignore files: `**` crosses any number of folders.
    Ignore,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: one character that is no `/`.
    One,
    /// `*`: any number of characters that are no `/`.
    Star,
    /// `**` at the end: anything.
    All,
    /// First half of `**`: nothing, or what [`Token::Folders`] takes.
    Start,
    /// Second half of `**`: anything that ends in `/`.
    Folders,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Characters of a pattern that an error shows.
const SHOWN: usize = 200;

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {why}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Pattern {
    pub(crate) fn new(text: &str, flavour: Flavour) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern {
            pattern: text.chars().take(SHOWN).collect(),
            why,
        };
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if flavour == Flavour::Ignore && chars.peek() == Some(&'*') => {
                    chars.next();
                    if chars.peek() == Some(&'/') {
                        chars.next();
                    }
                    if chars.peek().is_none() {
                        tokens.push(Token::All);
                    } else {
                        tokens.extend([Token::Start, Token::Folders]);
                    }
                }
                '*' => {
                    if tokens.last() != Some(&Token::Star) {
                        tokens.push(Token::Star);
                    }
                }
                '?' => tokens.push(Token::One),
                '\\' => tokens.push(Token::Char(
                    chars.next().ok_or_else(|| bad("it ends with `\\`"))?,
                )),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                            break;
                        }
                        let mut bound = || match chars.next() {
                            Some('\\') => chars.next(),
                            Some('-' | ']') | None => None,
                            other => other,
                        };
                        let unclosed = "its `[` has no closing `]`, or a range in it has no end";
                        let low = bound().ok_or_else(|| bad(unclosed))?;
                        let high = if chars.next_if_eq(&'-').is_some() {
                            let mut bound = || match chars.next() {
                                Some('\\') => chars.next(),
                                Some('-' | ']') | None => None,
                                other => other,
                            };
                            bound().ok_or_else(|| bad(unclosed))?
                        } else {
                            low
                        };
                        // Go's matcher lets such a range match nothing; the one of ignore files refuses it.
                        if low > high && flavour == Flavour::Ignore {
                            return Err(bad("a range in it goes backwards"));
                        }
                        ranges.push((low, high));
                    }
                    tokens.push(Token::Class { negated, ranges });
                }
                c => tokens.push(Token::Char(c)),
            }
        }
        Ok(Self { tokens })
    }

    /// Whether the whole text matches. Takes time in proportion to text times pattern, whatever the pattern.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut now = vec![false; self.tokens.len() + 1];
        let mut next = now.clone();
        now[0] = true;
        self.skip(&mut now);
        for c in text.chars() {
            next.fill(false);
            let mut alive = false;
            for (state, token) in self.tokens.iter().enumerate() {
                if !now[state] {
                    continue;
                }
                let (stay, advance) = match token {
                    Token::Char(wanted) => (false, c == *wanted),
                    Token::One => (false, c != '/'),
                    Token::Star => (c != '/', false),
                    Token::All => (true, false),
                    Token::Start => (false, false),
                    Token::Folders => (true, c == '/'),
                    Token::Class { negated, ranges } => (
                        false,
                        ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
                    ),
                };
                next[state] |= stay;
                next[state + 1] |= advance;
                alive |= stay || advance;
            }
            if !alive {
                return false;
            }
            self.skip(&mut next);
            std::mem::swap(&mut now, &mut next);
        }
        now[self.tokens.len()]
    }

    /// Adds the states that are reached without a character.
    fn skip(&self, states: &mut [bool]) {
        for (state, token) in self.tokens.iter().enumerate() {
            if states[state] {
                match token {
                    Token::Star | Token::All => states[state + 1] = true,
                    Token::Start => {
                        states[state + 1] = true;
                        states[state + 2] = true;
                    }
                    Token::Char(_) | Token::One | Token::Folders | Token::Class { .. } => {}
                }
            }
        }
    }
}

/// Whether a text has a character that [`Flavour::Match`] does not take as itself.
pub(crate) fn has_wildcard(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// Go's `path.Clean`: no `.`, no empty parts, `..` resolved as far as there is something before it.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_match() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let compiled = Pattern::new(pattern, Flavour::Match).unwrap();
            assert_eq!(compiled.matches(text), expected, "{pattern} on {text}");
        };
        check("abc", "abc", true);
        check("*", "abc", true);
        check("*c", "abc", true);
        check("a*", "a", true);
        check("a*", "ab/c", false);
        check("a*/b", "abc/b", true);
        check("a*/b", "a/c/b", false);
        check("a*b*c*d*e*/f", "axbxcxdxe/f", true);
        check("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false);
        check("a*b?c*x", "abxbbxdbxebxczzx", true);
        check("a*b?c*x", "abxbbxdbxebxczzy", false);
        check("ab[c]", "abc", true);
        check("ab[b-d]", "abc", true);
        check("ab[e-g]", "abc", false);
        check("ab[^c]", "abc", false);
        check("ab[^e-g]", "abc", true);
        check("a\\*b", "a*b", true);
        check("a\\*b", "ab", false);
        check("a?b", "a☺b", true);
        check("a[^a]b", "a☺b", true);
        check("a???b", "a☺b", false);
        check("[a-ζ]*", "α", true);
        check("a?b", "a/b", false);
        check("a*b", "a/b", false);
        check("[\\]a]", "]", true);
        check("[x\\-]", "-", true);
        check("[\\-x]", "x", true);
        check("[[]x", "[x", true);
        check("**", "a/b", false);
        check("*x", "xxx", true);
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in [
            "[", "[]a]", "[-]", "[x-]", "[a", "a[", "\\", "[-x]", "[a-b-c]",
        ] {
            assert!(Pattern::new(bad, Flavour::Ignore).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let pattern = Pattern::new(&"a*".repeat(200), Flavour::Match).unwrap();
        assert!(!pattern.matches(&format!("{}b/", "a".repeat(2000))));
    }

    #[test]
    fn cleaning() {
        for (path, expected) in [
            ("", "."),
            ("a//b/./c/..", "a/b"),
            ("../a", "../a"),
            ("/../a/", "/a"),
            ("./", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
