//! Variables in an instruction's words, with the shell's modifiers and quotes as Docker reads them.

/// What variables stand for.
pub(crate) trait Lookup {
    /// A variable's text, where it is set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Expands a word; its quotes go, its blanks stay.
pub(crate) fn expand(text: &str, escape: char, lookup: &dyn Lookup) -> Result<String, String> {
    let mut expander = Expander::new(text, escape, lookup);
    expander.until(None)?;
    Ok(expander.out.concat())
}

/// Expands and splits at the blanks that are not quoted, those out of variables too.
pub(crate) fn expand_words(
    text: &str,
    escape: char,
    lookup: &dyn Lookup,
) -> Result<Vec<String>, String> {
    let mut expander = Expander::new(text, escape, lookup);
    expander.until(None)?;
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    for piece in expander.out.pieces {
        match piece {
            Piece::Quoted(text) => word.get_or_insert_default().push_str(&text),
            Piece::Plain(c) if c.is_whitespace() => words.extend(word.take()),
            Piece::Plain(c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Expands the variables of a heredoc: quotes are text there.
pub(crate) fn expand_text(text: &str, escape: char, lookup: &dyn Lookup) -> Result<String, String> {
    let mut expander = Expander::new(text, escape, lookup);
    while let Some(c) = expander.peek() {
        match c {
            '$' => expander.dollar(Quotes::Outside)?,
            c if c == escape => {
                expander.at += 1;
                match expander.peek() {
                    Some(next) if next == '$' || next == escape => {
                        expander.at += 1;
                        expander.out.plain(next);
                    }
                    _ => expander.out.plain(c),
                }
            }
            c => {
                expander.at += 1;
                expander.out.plain(c);
            }
        }
    }
    Ok(expander.out.concat())
}

enum Piece {
    /// A character at which words may be split.
    Plain(char),
    /// A text at which they may not.
    Quoted(String),
}

#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
}

impl Pieces {
    fn plain(&mut self, c: char) {
        self.pieces.push(Piece::Plain(c));
    }

    fn quoted(&mut self, text: impl Into<String>) {
        self.pieces.push(Piece::Quoted(text.into()));
    }

    fn concat(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Plain(c) => text.push(*c),
                Piece::Quoted(part) => text.push_str(part),
            }
        }
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Inside,
    Outside,
}

struct Expander<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    lookup: &'a dyn Lookup,
    out: Pieces,
}

impl<'a> Expander<'a> {
    fn new(text: &str, escape: char, lookup: &'a dyn Lookup) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
            escape,
            lookup,
            out: Pieces::default(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads up to and over `stop`, or to the end where there is none.
    fn until(&mut self, stop: Option<char>) -> Result<(), String> {
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                return Ok(());
            }
            match c {
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '$' => self.dollar(Quotes::Outside)?,
                c if c == self.escape => {
                    self.at += 1;
                    if let Some(escaped) = self.next() {
                        self.out.quoted(escaped);
                    }
                }
                c => {
                    self.at += 1;
                    self.out.plain(c);
                }
            }
        }
        match stop {
            None => Ok(()),
            Some(stop) => Err(format!("a `{stop}` is missing")),
        }
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                Some('\'') => break,
                Some(c) => text.push(c),
                None => return Err("a single quote is not closed".to_owned()),
            }
        }
        self.out.quoted(text);
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), String> {
        self.at += 1;
        self.out.quoted("");
        loop {
            match self.peek() {
                None => return Err("a double quote is not closed".to_owned()),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('$') => self.dollar(Quotes::Inside)?,
                Some(c) => {
                    self.at += 1;
                    let escaped = (c == self.escape)
                        .then(|| self.peek())
                        .flatten()
                        .filter(|next| matches!(next, '"' | '$') || *next == self.escape);
                    match escaped {
                        Some(next) => {
                            self.at += 1;
                            self.out.quoted(next);
                        }
                        None => self.out.quoted(c),
                    }
                }
            }
        }
    }

    fn dollar(&mut self, quotes: Quotes) -> Result<(), String> {
        self.at += 1;
        let value = if self.peek() == Some('{') {
            self.at += 1;
            self.braces()?
        } else {
            let name = self.name();
            if name.is_empty() {
                self.out.plain('$');
                return Ok(());
            }
            self.lookup.get(&name).unwrap_or_default()
        };
        match quotes {
            Quotes::Inside => self.out.quoted(value),
            Quotes::Outside => value.chars().for_each(|c| self.out.plain(c)),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let start = self.at;
        let first = self.peek();
        if first.is_some_and(|c| c.is_ascii_digit()) {
            while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
            }
        } else if first.is_some_and(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            self.at += 1;
        } else {
            while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.at += 1;
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    /// `${…}` behind its opening brace.
    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("`${` is not followed by a variable's name".to_owned());
        }
        let value = self.lookup.get(&name);
        let Some(operator) = self.next() else {
            return Err(format!("`${{{name}` has no closing `}}`"));
        };
        if operator == '}' {
            return Ok(value.unwrap_or_default());
        }
        let (operator, value) = if operator == ':' {
            let Some(operator) = self.next() else {
                return Err(format!("`${{{name}:` has no closing `}}`"));
            };
            if !matches!(operator, '-' | '+' | '?') {
                return Err(format!(
                    "`${{{name}:{operator}` is not known: `:-`, `:+` and `:?` are"
                ));
            }
            (operator, value.filter(|value| !value.is_empty()))
        } else {
            (operator, value)
        };
        match operator {
            '-' => {
                let word = self.word('}')?;
                Ok(value.unwrap_or(word))
            }
            '+' => {
                let word = self.word('}')?;
                Ok(value.map(|_| word).unwrap_or_default())
            }
            '?' => {
                let word = self.word('}')?;
                value.ok_or_else(|| {
                    if word.is_empty() {
                        format!("`{name}` must be set")
                    } else {
                        format!("`{name}`: {word}")
                    }
                })
            }
            '#' | '%' => {
                let longest = self.peek() == Some(operator);
                if longest {
                    self.at += 1;
                }
                let glob = self.glob(&['}'])?;
                Ok(trim(
                    &value.unwrap_or_default(),
                    &glob,
                    operator == '#',
                    longest,
                ))
            }
            '/' => {
                let all = self.peek() == Some('/');
                if all {
                    self.at += 1;
                }
                let glob = self.glob(&['/', '}'])?;
                let replacement = if self.chars.get(self.at - 1) == Some(&'/') {
                    self.word('}')?
                } else {
                    String::new()
                };
                Ok(replace(
                    &value.unwrap_or_default(),
                    &glob,
                    &replacement,
                    all,
                ))
            }
            other => Err(format!("`${{{name}{other}` is not known")),
        }
    }

    /// A word up to and over `stop`, expanded.
    fn word(&mut self, stop: char) -> Result<String, String> {
        let out = std::mem::take(&mut self.out);
        let result = self.until(Some(stop));
        let word = std::mem::replace(&mut self.out, out);
        result?;
        Ok(word.concat())
    }

    /// A pattern up to and over one of `stops`.
    fn glob(&mut self, stops: &[char]) -> Result<Vec<Glob>, String> {
        let mut glob = Vec::new();
        loop {
            match self.next() {
                None => return Err("a `}` is missing".to_owned()),
                Some(c) if stops.contains(&c) => return Ok(glob),
                Some('*') => glob.push(Glob::Any),
                Some('?') => glob.push(Glob::One),
                Some('$') => {
                    self.at -= 1;
                    let out = std::mem::take(&mut self.out);
                    let result = self.dollar(Quotes::Inside);
                    let text = std::mem::replace(&mut self.out, out);
                    result?;
                    glob.extend(text.concat().chars().map(Glob::Char));
                }
                Some(c) if c == self.escape => match self.next() {
                    Some(escaped) => glob.push(Glob::Char(escaped)),
                    None => return Err("a `}` is missing".to_owned()),
                },
                Some(c) => glob.push(Glob::Char(c)),
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Glob {
    Char(char),
    One,
    Any,
}

/// Whether the whole text matches, in time proportional to text times pattern.
fn matches(glob: &[Glob], text: &[char]) -> bool {
    let mut now = vec![false; glob.len() + 1];
    now[0] = true;
    let skip = |states: &mut Vec<bool>| {
        for (state, token) in glob.iter().enumerate() {
            if states[state] && *token == Glob::Any {
                states[state + 1] = true;
            }
        }
    };
    skip(&mut now);
    for c in text {
        let mut next = vec![false; glob.len() + 1];
        for (state, token) in glob.iter().enumerate() {
            if now[state] {
                match token {
                    Glob::Char(wanted) => next[state + 1] |= wanted == c,
                    Glob::One => next[state + 1] = true,
                    Glob::Any => next[state] = true,
                }
            }
        }
        skip(&mut next);
        now = next;
    }
    now[glob.len()]
}

fn trim(text: &str, glob: &[Glob], front: bool, longest: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let lengths: Vec<usize> = if longest {
        (0..=chars.len()).rev().collect()
    } else {
        (0..=chars.len()).collect()
    };
    for length in lengths {
        let (cut, kept) = if front {
            (&chars[..length], &chars[length..])
        } else {
            (
                &chars[chars.len() - length..],
                &chars[..chars.len() - length],
            )
        };
        if matches(glob, cut) {
            return kept.iter().collect();
        }
    }
    text.to_owned()
}

fn replace(text: &str, glob: &[Glob], replacement: &str, all: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut done = false;
    while at < chars.len() {
        let length = if done {
            None
        } else {
            (1..=chars.len() - at)
                .rev()
                .find(|length| matches(glob, &chars[at..at + length]))
        };
        match length {
            Some(length) => {
                out.push_str(replacement);
                at += length;
                done = !all;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("hello".to_owned()),
            "EMPTY" => Some(String::new()),
            "TWO" => Some("x y".to_owned()),
            "PATHS" => Some("/usr/local/bin".to_owned()),
            "KEY" => Some("ab.ab.cd".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn words_expand_as_docker_expands_them() {
        for (text, expected) in [
            ("he'll'o", "hello"),
            ("he\\'llo", "he'llo"),
            ("\"he\\\"l\\lo\"", "he\"l\\lo"),
            ("'$A'", "$A"),
            ("\"$A\"", "hello"),
            ("\\$A", "$A"),
            ("$", "$"),
            ("$A", "hello"),
            ("$A.x", "hello.x"),
            ("${A}x", "hellox"),
            ("$NONE|", "|"),
            ("${NONE}|", "|"),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NONE-d}", "d"),
            ("${A:-d}", "hello"),
            ("${A:+p}", "p"),
            ("${EMPTY:+p}", ""),
            ("${EMPTY+p}", "p"),
            ("${NONE+p}", ""),
            ("${NONE:-${A}}", "hello"),
            ("${NONE:-${ALSO:-'a b'}}", "a b"),
            ("${A:?no}", "hello"),
            ("${PATHS#/}", "usr/local/bin"),
            ("${PATHS#*/}", "usr/local/bin"),
            ("${PATHS##*/}", "bin"),
            ("${PATHS%/*}", "/usr/local"),
            ("${PATHS%%/*}", ""),
            ("${KEY#??}", ".ab.cd"),
            ("${KEY#\\*}", "ab.ab.cd"),
            ("${KEY/ab/X}", "X.ab.cd"),
            ("${KEY//ab/X}", "X.X.cd"),
            ("${KEY//ab}", "..cd"),
            ("${KEY/b*c/-}", "a-d"),
            ("a\\ b", "a b"),
            ("trailing\\", "trailing"),
            ("$1x", "x"),
            ("\"\"", ""),
            ("ä${A}ö", "ähelloö"),
        ] {
            let expanded = expand(text, '\\', &lookup);
            assert_eq!(expanded, Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(expand("`$A", '`', &lookup), Ok("$A".to_owned()));
        assert_eq!(expand("c:\\$A", '`', &lookup), Ok("c:\\hello".to_owned()));
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        for text in [
            "'a",
            "\"a",
            "${",
            "${A",
            "${A:",
            "${A:x}",
            "${}",
            "${A^}",
            "${NONE:?}",
            "${NONE?it must be}",
            "${EMPTY:?x}",
            "${A#x",
            "${A/x",
            "${A:-'}",
        ] {
            assert!(expand(text, '\\', &lookup).is_err(), "{text}");
        }
        assert_eq!(
            expand("${NONE:?set it}", '\\', &lookup),
            Err("`NONE`: set it".to_owned())
        );
    }

    #[test]
    fn unquoted_blanks_split() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(
                expand_words(text, '\\', &lookup).unwrap(),
                expected,
                "{text}"
            );
        };
        check("a $TWO b", &["a", "x", "y", "b"]);
        check("\"$TWO\" 'a b'c", &["x y", "a bc"]);
        check("$EMPTY ''", &[""]);
    }

    #[test]
    fn heredocs_keep_their_quotes() {
        assert_eq!(
            expand_text("'$A' \"${A}\" \\$A \\n c:\\\\x", '\\', &lookup).unwrap(),
            "'hello' \"hello\" $A \\n c:\\x"
        );
    }
}
