//! Variables in an instruction's words, with the shell's modifiers and quotes as BuildKit reads them.

use super::shell_pattern::{End, Extent, ShellPattern, Times};

/// How deep `${…}` may stand in one another. Reading them recurses.
const MAX_DEPTH: usize = 64;

/// How many characters one text may have once its variables are put in, and how many may be looked at on the way. A word can
/// double what it names: without a limit forty lines would fill any memory.
const MAX_LENGTH: usize = 1 << 20;

/// What variables stand for.
pub(crate) trait Lookup {
    /// A variable's text, where it is set.
    fn get(&self, name: &str) -> Option<String>;

    /// Takes note of the characters that an expansion reads and writes.
    ///
    /// # Errors
    /// Where the whole build has no more of them.
    fn spend(&self, _characters: usize) -> Result<(), String> {
        Ok(())
    }
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Expands a word; its quotes go, its blanks stay.
pub(crate) fn expand(text: &str, escape: char, lookup: &dyn Lookup) -> Result<String, String> {
    let mut expander = Expander::new(text, escape, lookup, Quoting::Removed, Unset::Empty);
    Ok(expander.all()?.text)
}

/// Expands and splits at the blanks that are not quoted, those out of variables too.
pub(crate) fn expand_words(
    text: &str,
    escape: char,
    lookup: &dyn Lookup,
) -> Result<Vec<String>, String> {
    let mut expander = Expander::new(text, escape, lookup, Quoting::Removed, Unset::Empty);
    Ok(expander.all()?.into_words())
}

/// Expands the variables of a heredoc. Quotes are text there, and a `\` takes the meaning from whatever follows it, whatever
/// the escape character of the Dockerfile.
pub(crate) fn expand_text(text: &str, lookup: &dyn Lookup) -> Result<String, String> {
    let mut expander = Expander::new(text, '\\', lookup, Quoting::Text, Unset::Empty);
    Ok(expander.all()?.text)
}

/// The words of a line, with quotes, escapes and variables as they are written: what may open a heredoc.
pub(super) fn raw_line_words(line: &str) -> Result<Vec<String>, String> {
    let mut expander = Expander::new(line, '\\', &nothing, Quoting::Kept, Unset::Kept);
    expander.escapes = Escapes::Kept;
    Ok(expander.all()?.into_words())
}

/// The words of a text, with variables as they are written.
pub(super) fn literal_words(text: &str, quoting: Quoting) -> Result<Vec<String>, String> {
    let mut expander = Expander::new(text, '\\', &nothing, quoting, Unset::Kept);
    Ok(expander.all()?.into_words())
}

fn too_long() -> String {
    format!("with its variables put in it has more than {MAX_LENGTH} characters")
}

fn nothing(_: &str) -> Option<String> {
    None
}

/// What becomes of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// They quote, and are gone afterwards.
    Removed,
    /// They quote, and stay.
    Kept,
    /// They are characters like others.
    Text,
}

/// What becomes of a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unset {
    Empty,
    /// It stays as it is written.
    Kept,
}

/// What becomes of the escape character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Removed,
    Kept,
}

/// A text, and the words into which it falls.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Adds characters at which words may be split.
    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    /// Adds characters at which they may not.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn plain_char(&mut self, c: char) {
        self.plain(c.encode_utf8(&mut [0; 4]));
    }

    fn quoted_char(&mut self, c: char) {
        self.quoted(c.encode_utf8(&mut [0; 4]));
    }

    fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Expander<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    lookup: &'a dyn Lookup,
    quoting: Quoting,
    unset: Unset,
    escapes: Escapes,
    depth: usize,
    /// How many characters may still be looked at or written.
    left: usize,
}

impl<'a> Expander<'a> {
    fn new(
        text: &str,
        escape: char,
        lookup: &'a dyn Lookup,
        quoting: Quoting,
        unset: Unset,
    ) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
            escape,
            lookup,
            quoting,
            unset,
            escapes: Escapes::Removed,
            depth: 0,
            left: MAX_LENGTH,
        }
    }

    fn all(&mut self) -> Result<Output, String> {
        self.spend(self.chars.len())?;
        self.until(None)
    }

    fn spend(&mut self, characters: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(characters).ok_or_else(too_long)?;
        self.lookup.spend(characters)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    /// Reads up to and over `stop`, or to the end where there is none.
    fn until(&mut self, stop: Option<char>) -> Result<Output, String> {
        let mut out = Output::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                return Ok(out);
            }
            match c {
                '\'' if self.quoting != Quoting::Text => out.quoted(&self.single_quoted()?),
                '"' if self.quoting != Quoting::Text => out.quoted(&self.double_quoted()?),
                '$' => out.plain(&self.dollar()?),
                '<' => out.quoted(&self.angle()),
                c if c == self.escape => {
                    self.at += 1;
                    if self.escapes == Escapes::Kept {
                        out.quoted_char(c);
                    }
                    if let Some(escaped) = self.next() {
                        out.quoted_char(escaped);
                    }
                }
                c => {
                    self.at += 1;
                    out.plain_char(c);
                }
            }
        }
        match stop {
            None => Ok(out),
            Some('/') => Err("a `/` is missing: write `${name/what/instead}`".to_owned()),
            Some(stop) => Err(format!("a `{stop}` is missing")),
        }
    }

    /// `<<` takes the blanks behind it into its word: a heredoc's delimiter may follow them.
    fn angle(&mut self) -> String {
        self.at += 1;
        if !self.next_is('<') {
            return "<".to_owned();
        }
        let start = self.at;
        while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
            self.at += 1;
        }
        let blanks: String = self.chars[start..self.at].iter().collect();
        format!("<<{blanks}")
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.next() {
                Some('\'') => break,
                Some(_) => {}
                None => return Err("a single quote is not closed".to_owned()),
            }
        }
        let quote = usize::from(self.quoting == Quoting::Removed);
        Ok(self.chars[start + quote..self.at - quote].iter().collect())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        if self.quoting == Quoting::Kept {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => return Err("a double quote is not closed".to_owned()),
                Some('"') => {
                    self.at += 1;
                    if self.quoting == Quoting::Kept {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    self.at += 1;
                    if self.escapes == Escapes::Kept {
                        text.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if matches!(next, '"' | '$') || next == self.escape => {
                            self.at += 1;
                            text.push(next);
                        }
                        // It is text itself; in a pattern, where `\` has a meaning, twice.
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        let text = if self.next_is('{') {
            if self.depth == MAX_DEPTH {
                return Err(format!(
                    "more than {MAX_DEPTH} `${{…}}` stand in one another"
                ));
            }
            self.depth += 1;
            let text = self.braces()?;
            self.depth -= 1;
            text
        } else {
            let name = self.name();
            if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name)?.unwrap_or_else(|| match self.unset {
                    Unset::Empty => String::new(),
                    Unset::Kept => format!("${name}"),
                })
            }
        };
        self.spend(text.len())?;
        Ok(text)
    }

    fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.lookup.get(name);
        self.spend(value.as_ref().map_or(0, String::len))?;
        Ok(value)
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
        let value = self.value(&name)?;
        let kept = self.unset == Unset::Kept && value.is_none();
        let unclosed = |written: &str| format!("`${{{name}{written}` has no closing `}}`");
        let operator = self.next().ok_or_else(|| unclosed(""))?;
        if operator == '}' {
            return Ok(match value {
                Some(value) => value,
                None if kept => format!("${{{name}}}"),
                None => String::new(),
            });
        }
        let (operator, colon, set) = if operator == ':' {
            let operator = self.next().ok_or_else(|| unclosed(":"))?;
            if !matches!(operator, '-' | '+' | '?') {
                return Err(format!(
                    "`${{{name}:{operator}` is not known: `:-`, `:+` and `:?` are"
                ));
            }
            let set = value.clone().filter(|value| !value.is_empty());
            (operator, ":", set)
        } else {
            (operator, "", value.clone())
        };
        let word = match operator {
            '-' | '+' | '?' => self.word('}', Escapes::Removed)?,
            '#' | '%' => self.word('}', Escapes::Kept)?,
            '/' => return self.replaced(&name, value, kept),
            other => return Err(format!("`${{{name}{other}` is not known")),
        };
        if kept {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        Ok(match operator {
            '-' => set.unwrap_or(word),
            '+' => set.map(|_| word).unwrap_or_default(),
            '?' => set.ok_or_else(|| match word.is_empty() {
                true => format!("`{name}` must be set"),
                false => format!("`{name}`: {word}"),
            })?,
            // Twice the operator takes the longest text that matches.
            operator => {
                let (word, extent) = match word.strip_prefix(operator) {
                    Some(rest) => (rest, Extent::Longest),
                    None => (word.as_str(), Extent::Shortest),
                };
                let end = if operator == '#' {
                    End::Front
                } else {
                    End::Back
                };
                ShellPattern::new(word)?.trim(&value.unwrap_or_default(), end, extent)
            }
        })
    }

    /// `${name/pattern/replacement}` behind its first `/`.
    fn replaced(
        &mut self,
        name: &str,
        value: Option<String>,
        kept: bool,
    ) -> Result<String, String> {
        let all = self.next_is('/');
        let pattern = self.word('/', Escapes::Kept)?;
        let replacement = self.word('}', Escapes::Kept)?;
        if kept {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let times = if all { Times::Always } else { Times::Once };
        ShellPattern::new(&pattern)?
            .replace(&value.unwrap_or_default(), &replacement, times, self.left)
            .ok_or_else(too_long)
    }

    /// A word up to and over `stop`, expanded.
    fn word(&mut self, stop: char, escapes: Escapes) -> Result<String, String> {
        let before = std::mem::replace(&mut self.escapes, escapes);
        let word = self.until(Some(stop))?;
        self.escapes = before;
        Ok(word.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "A" => "hello",
            "EMPTY" => "",
            "TWO" => "x y",
            "PATHS" => "/usr/local/bin",
            "KEY" => "ab.ab.cd",
            "TAG" => "v1.2",
            "STARS" => "*a**",
            "MARKS" => "??b",
            "URL" => "http://a/b",
            "SCHEME" => "http://",
            "SLASHED" => "\\*/",
            "GLOB" => "/dir*/*/*.md",
            "BRACES" => "([{}])+^$|.\\end",
            "LINES" => "a/b\nc/d",
            "日本" => "語",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn check(text: &str, expected: &str) {
        let expanded = expand(text, '\\', &lookup);
        assert_eq!(expanded, Ok(expected.to_owned()), "{text}");
    }

    #[test]
    fn quotes_and_escapes() {
        for (text, expected) in [
            ("he'll'o", "hello"),
            ("he\\'llo", "he'llo"),
            ("\"he\\\"l\\lo\"", "he\"l\\lo"),
            ("\"a\\\\b\"", "a\\b"),
            ("'a\\b'", "a\\b"),
            ("'a\\\\b'", "a\\\\b"),
            ("'a\\'", "a\\"),
            ("\"it's\"", "it's"),
            ("'\"'", "\""),
            ("\"''\"", "''"),
            ("a\\nb", "anb"),
            ("a\\ b", "a b"),
            ("end\\", "end"),
            ("end\\\\", "end\\"),
            ("\"\"", ""),
            ("ä'ö'ü", "äöü"),
            ("ä\\'", "ä'"),
            ("a<b a<<b a<< b", "a<b a<<b a<< b"),
        ] {
            check(text, expected);
        }
        assert_eq!(expand("`$A", '`', &lookup), Ok("$A".to_owned()));
        assert_eq!(expand("c:\\$A", '`', &lookup), Ok("c:\\hello".to_owned()));
    }

    #[test]
    fn variables() {
        for (text, expected) in [
            ("'$A'", "$A"),
            ("'\\$A'", "\\$A"),
            ("\"$A\"", "hello"),
            ("\"'$A'\"", "'hello'"),
            ("\\$A", "$A"),
            ("\\\\$A", "\\hello"),
            ("\"\\$A\"", "$A"),
            ("\"\\\\$A\"", "\\hello"),
            ("\\${A}", "${A}"),
            ("\\${}", "${}"),
            ("$", "$"),
            ("$.", "$."),
            ("$A", "hello"),
            ("$a.", "."),
            ("$A.x", "hello.x"),
            ("${A}x", "hellox"),
            ("${A}}", "hello}"),
            ("$NONE|", "|"),
            ("${NONE}|", "|"),
            ("$日本", "語"),
            ("ä${A}ö", "ähelloö"),
            // What a shell knows by itself is never set.
            ("$1x", "x"),
            ("$12x", "x"),
            ("${1}${1:-d}${1:+p}", "d"),
            ("$@@", "@"),
            ("$*$#$?$-$$$!$0", ""),
            ("${@}${*:-a}${#:-b}${?:-c}${-:-d}${$:-e}${!:-f}", "abcdef"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn modifiers() {
        for (text, expected) in [
            ("${NONE:-d}", "d"),
            ("${NONE-d}", "d"),
            ("${NONE:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:-d}", "hello"),
            ("${A:+p}", "p"),
            ("${A+p}", "p"),
            ("${EMPTY:+p}", ""),
            ("${EMPTY+p}", "p"),
            ("${NONE+p}", ""),
            ("${A:?no}", "hello"),
            ("${A?no}", "hello"),
            ("${EMPTY?no}", ""),
            ("${NONE:-${A}}", "hello"),
            ("${NONE:-$A}", "hello"),
            ("${NONE:-${ALSO:-'a b'}}", "a b"),
            ("${A:+-${A}:}x", "-hello:x"),
            ("${NONE:-\\$A:}", "$A:"),
            ("${NONE:-\\${A}z}", "${Az}"),
            ("${NONE:-a {b}", "a {b"),
            ("${NONE:-d}}", "d}"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn parts_of_values() {
        for (text, expected) in [
            ("${PATHS#/}", "usr/local/bin"),
            ("${PATHS#*/}", "usr/local/bin"),
            ("${PATHS##*/}", "bin"),
            ("${PATHS%/*}", "/usr/local"),
            ("${PATHS%%/*}", ""),
            ("${PATHS#*}", "/usr/local/bin"),
            ("${PATHS##*}", ""),
            ("${PATHS#}", "/usr/local/bin"),
            ("${PATHS##}", "/usr/local/bin"),
            ("${PATHS%}", "/usr/local/bin"),
            ("${PATHS#x}", "/usr/local/bin"),
            ("${KEY#??}", ".ab.cd"),
            ("${KEY#\\*}", "ab.ab.cd"),
            ("${KEY%.*}", "ab.ab"),
            ("${KEY#*a*b}", ".ab.cd"),
            ("${STARS#\\*}", "a**"),
            ("${STARS%%\\*}", "*a*"),
            ("${STARS%%a\\**}", "*"),
            ("${STARS%%a\\**\\*}", "*"),
            ("${MARKS#?\\?}", "b"),
            ("${BRACES#([{\\}])+^$|.\\\\}", "end"),
            ("${LINES##*/}", "b\nc/d"),
            ("${LINES%%/*}", "a/b\nc"),
            ("${TAG%.2}${NONE%x}", "v1"),
            // What a variable holds is a pattern too.
            ("${TAG#$NONE}", "v1.2"),
            ("${GLOB#$SLASHED}", "/dir*/*/*.md"),
            // Quotes go, and do not take the meaning from `*`.
            ("${TAG#\"v\"}", "1.2"),
            ("${TAG#'v'}", "1.2"),
            ("${TAG%\".2\"}", "v1"),
            ("${TAG##\"*\".}", "2"),
            ("${TAG#v\"1\".}", "2"),
            ("${TAG#\"${NONE:-v}\"}", "1.2"),
            ("\"${TAG#\"v\"}\"", "1.2"),
            ("${BRACES##*\"|.\\\\\"}", "end"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn values_with_something_replaced() {
        for (text, expected) in [
            ("${KEY/ab/X}", "X.ab.cd"),
            ("${KEY//ab/X}", "X.X.cd"),
            ("${KEY//ab/}", "..cd"),
            ("${KEY/b*c/-}", "a-d"),
            ("${KEY/\"ab\"/X}", "X.ab.cd"),
            ("${KEY/ab/\"X Y\"}", "X Y.ab.cd"),
            ("${TAG//./\\-}", "v1\\-2"),
            ("${PATHS//\\//\\/}", "\\/usr\\/local\\/bin"),
            ("${PATHS//\\//.}", ".usr.local.bin"),
            ("${URL/$SCHEME/https://}", "https://a/b"),
            ("${GLOB/$SLASHED/.}", "/dir.*/*.md"),
            ("${GLOB//$SLASHED/.}", "/dir..*.md"),
            ("${KEY/$EMPTY/x}", "xab.ab.cd"),
            ("${KEY///}", "ab.ab.cd"),
            ("${NONE///}", ""),
            ("${NONE/a/b}", ""),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        for text in [
            "'a",
            "\"a",
            "\"a\\\"",
            "a\\\\'b",
            "ä'b",
            "${",
            "${A",
            "${A:",
            "${A:x}",
            "${A:=x}",
            "${A=x}",
            "${A:#x}",
            "${A:##x}",
            "${A:%x}",
            "${A:%%x}",
            "${}",
            "${.}",
            "${:}",
            "${:-x}",
            "${{A}",
            "${{A:-x}",
            "${A^}",
            "${NONE:?}",
            "${NONE?it must be}",
            "${EMPTY:?x}",
            "${A#x",
            "${A/x",
            "${A:-'}",
            "${NONE:-${A}",
            "${KEY//ab}",
            "${KEY//}",
            "${KEY/ab}",
            "${KEY#\\a}",
            "${KEY#'\\a'}",
        ] {
            assert!(expand(text, '\\', &lookup).is_err(), "{text}");
        }
        assert_eq!(
            expand("${NONE:?set $A}", '\\', &lookup),
            Err("`NONE`: set hello".to_owned())
        );
    }

    #[test]
    fn nothing_is_without_a_limit() {
        let nested = |depth: usize| format!("{}{}", "${N:-".repeat(depth), "}".repeat(depth));
        assert!(expand(&nested(64), '\\', &lookup).is_ok());
        let error = expand(&nested(65), '\\', &lookup).unwrap_err();
        assert!(error.contains("more than 64"), "{error}");
        assert!(expand(&nested(100_000), '\\', &lookup).is_err());
        let long = "x".repeat(300_000);
        let long = |_: &str| Some(long.clone());
        for text in ["$A$A$A$A", "${A#y}${A#y}${A#y}${A#y}", "${A//x/yyyyyyyyyy}"] {
            let error = expand(text, '\\', &long).unwrap_err();
            assert!(error.contains("more than 1048576"), "{error}");
        }
        assert!(expand(&"x".repeat(MAX_LENGTH + 1), '\\', &lookup).is_err());
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
        check("a${TWO}b", &["ax", "yb"]);
        check("a\"$TWO\"b", &["ax yb"]);
        check("\"$TWO\" 'a b'c", &["x y", "a bc"]);
        check("a\\ b", &["a b"]);
        check("a\" b  \"", &["a b  "]);
        check("$EMPTY ''", &[]);
        check(" a  b ", &["a", "b"]);
    }

    #[test]
    fn heredocs_keep_their_quotes_and_lose_their_backslashes() {
        for (text, expected) in [
            ("'$A' \"${A}\" \\$A", "'hello' \"hello\" $A"),
            ("c:\\\\x \\. \\n \\\"", "c:\\x . n \""),
            ("\\\n", "\n"),
            ("\\\\\n", "\\\n"),
            ("a \\\nb\n", "a \nb\n"),
            ("it's ${NONE:-\"d'}", "it's \"d'"),
            ("cat << EOF", "cat << EOF"),
        ] {
            assert_eq!(
                expand_text(text, &lookup).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }
}
