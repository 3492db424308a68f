//! Patterns of `${name#…}`, `${name%…}` and `${name/…/…}`: `*` is any number of characters, `?` is one, and neither is a line
//! break. The time to search is proportional to the text, whatever the pattern: foreign Dockerfiles are read on the way to a plan.

use std::collections::HashMap;

/// How many characters a pattern may have.
const MAX_LENGTH: usize = 1024;

/// A pattern: what stands between its `*`.
pub(super) struct ShellPattern {
    segments: Vec<Segment>,
    /// Whether it holds a line break itself: then the text is not read line by line.
    crosses_lines: bool,
}

/// Which of the texts that a pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

/// At which end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

/// How often a pattern is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
}

impl Token {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Char(wanted) => wanted == c,
            Self::One => c != '\n',
        }
    }
}

/// Characters without a `*` between them.
struct Segment {
    tokens: Vec<Token>,
    forward: Automaton,
    backward: Automaton,
}

/// All positions of a segment at once, one bit for each (the shift-and method).
struct Automaton {
    length: usize,
    /// Which positions take a character.
    masks: HashMap<char, Vec<u64>>,
    /// Which positions take every other character that is no line break.
    others: Vec<u64>,
}

impl Automaton {
    fn new<'t>(tokens: impl ExactSizeIterator<Item = &'t Token>) -> Self {
        let length = tokens.len();
        let empty = vec![0; length.div_ceil(64)];
        let mut others = empty.clone();
        let mut masks: HashMap<char, Vec<u64>> = HashMap::new();
        for (position, token) in tokens.enumerate() {
            let mask = match token {
                Token::Char(c) => masks.entry(*c).or_insert_with(|| empty.clone()),
                Token::One => &mut others,
            };
            mask[position / 64] |= 1 << (position % 64);
        }
        for (c, mask) in &mut masks {
            if *c != '\n' {
                for (word, other) in mask.iter_mut().zip(&others) {
                    *word |= other;
                }
            }
        }
        Self {
            length,
            masks,
            others,
        }
    }

    /// How many characters are read until the segment stands at their end.
    fn scan(&self, text: impl Iterator<Item = char>) -> Option<usize> {
        if self.length == 0 {
            return Some(0);
        }
        let last = self.length - 1;
        let mut state = vec![0_u64; self.others.len()];
        let none = vec![0_u64; self.others.len()];
        for (index, c) in text.enumerate() {
            let mask = match self.masks.get(&c) {
                Some(mask) => mask,
                None if c == '\n' => &none,
                None => &self.others,
            };
            let mut carry = 1;
            for (word, allowed) in state.iter_mut().zip(mask) {
                let next = *word >> 63;
                *word = ((*word << 1) | carry) & allowed;
                carry = next;
            }
            if state[last / 64] >> (last % 64) & 1 == 1 {
                return Some(index + 1);
            }
        }
        None
    }
}

impl Segment {
    fn new(tokens: Vec<Token>) -> Self {
        Self {
            forward: Automaton::new(tokens.iter()),
            backward: Automaton::new(tokens.iter().rev()),
            tokens,
        }
    }

    fn length(&self) -> usize {
        self.tokens.len()
    }

    fn begins(&self, text: &[char]) -> bool {
        text.len() >= self.length()
            && self
                .tokens
                .iter()
                .zip(text)
                .all(|(token, c)| token.takes(*c))
    }

    /// Where it stands first.
    fn first(&self, text: &[char]) -> Option<usize> {
        let read = self.forward.scan(text.iter().copied())?;
        Some(read - self.length())
    }

    /// Where it stands last.
    fn last(&self, text: &[char]) -> Option<usize> {
        let read = self.backward.scan(text.iter().rev().copied())?;
        Some(text.len() - read)
    }
}

impl ShellPattern {
    /// Reads a pattern. A `\` takes the meaning from `*`, `?` and `\`, and is allowed before `}` and `/`.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        let mut length = 0;
        while let Some(c) = chars.next() {
            length += 1;
            if length > MAX_LENGTH {
                return Err(format!("a pattern has more than {MAX_LENGTH} characters"));
            }
            match c {
                '*' => segments.push(Segment::new(std::mem::take(&mut tokens))),
                '?' => tokens.push(Token::One),
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => tokens.push(Token::Char(c)),
                    Some(other) => {
                        return Err(format!(
                            "`\\{other}` is not known in the pattern `{text}`: a `\\` stands only before `*`, `?`, `\\`, `}}` and `/` there"
                        ));
                    }
                    None => return Err(format!("the pattern `{text}` ends with `\\`")),
                },
                c => tokens.push(Token::Char(c)),
            }
        }
        segments.push(Segment::new(tokens));
        Ok(Self {
            segments,
            crosses_lines: text.contains('\n'),
        })
    }

    fn backward(&self) -> Self {
        Self {
            segments: self
                .segments
                .iter()
                .rev()
                .map(|segment| Segment::new(segment.tokens.iter().rev().copied().collect()))
                .collect(),
            crosses_lines: self.crosses_lines,
        }
    }

    /// The text without what matches at one of its ends.
    pub(super) fn trim(&self, text: &str, end: End, extent: Extent) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        match end {
            End::Front => {
                let cut = self.front(&chars, extent).unwrap_or(0);
                chars[cut..].iter().collect()
            }
            End::Back => {
                chars.reverse();
                let cut = self.backward().front(&chars, extent).unwrap_or(0);
                chars[cut..].iter().rev().collect()
            }
        }
    }

    /// How much of the front matches.
    fn front(&self, text: &[char], extent: Extent) -> Option<usize> {
        let text = &text[..self.line_end(text, 0)];
        let (first, rest) = self.segments.split_first()?;
        if !first.begins(text) {
            return None;
        }
        let mut at = first.length();
        let Some((last, middle)) = rest.split_last() else {
            return Some(at);
        };
        for segment in middle {
            at += segment.first(&text[at..])? + segment.length();
        }
        let found = match extent {
            Extent::Shortest => last.first(&text[at..])?,
            Extent::Longest => last.last(&text[at..])?,
        };
        Some(at + found + last.length())
    }

    /// The text with what matches replaced, the first time or every time. What matches is as long as it can be. `None` where
    /// the result would have more than `room` bytes.
    pub(super) fn replace(
        &self,
        text: &str,
        replacement: &str,
        times: Times,
        room: usize,
    ) -> Option<String> {
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        let (mut kept, mut at) = (0, 0);
        let mut line = self.line_end(&chars, 0);
        while let Some((start, end)) = self.find(&chars, at, &mut line) {
            out.extend(&chars[kept..start]);
            // A match of nothing right behind another match is none.
            if end > kept || start == 0 {
                out.push_str(replacement);
            }
            if out.len() > room {
                return None;
            }
            kept = end;
            at = end.max(at + 1);
            if times == Times::Once {
                break;
            }
        }
        out.extend(chars.get(kept..).unwrap_or_default());
        (out.len() <= room).then_some(out)
    }

    /// The first match from `from` on, the longest of those that begin there. `line` is the end of the line in which `from`
    /// stands, and then of the one in which the match does: to look for it again at each match would take the square of the
    /// time.
    fn find(&self, text: &[char], mut from: usize, line: &mut usize) -> Option<(usize, usize)> {
        while from <= text.len() {
            if from > *line {
                *line = self.line_end(text, from);
            }
            if let Some((start, stop)) = self.find_in_line(&text[from..*line]) {
                return Some((from + start, from + stop));
            }
            from = *line + 1;
        }
        None
    }

    fn find_in_line(&self, line: &[char]) -> Option<(usize, usize)> {
        let (first, rest) = self.segments.split_first()?;
        let Some((last, middle)) = rest.split_last() else {
            let start = first.first(line)?;
            return Some((start, start + first.length()));
        };
        // All but the first segment as far behind as they can stand: what fits before them is a match.
        let mut limit = last.last(line)?;
        let end = limit + last.length();
        for segment in middle.iter().rev() {
            limit = segment.last(&line[..limit])?;
        }
        let start = first.first(&line[..limit])?;
        Some((start, end))
    }

    fn line_end(&self, text: &[char], from: usize) -> usize {
        if self.crosses_lines {
            return text.len();
        }
        text[from..]
            .iter()
            .position(|c| *c == '\n')
            .map_or(text.len(), |at| from + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition: the texts that a pattern matches, tried one by one.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => {
                matches(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(c, after)| *c != '\n' && matches(pattern, after))
            }
            Some((p, rest)) => text.split_first().is_some_and(|(c, after)| {
                (p == c || (*p == '?' && *c != '\n')) && matches(rest, after)
            }),
        }
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    proptest::proptest! {
        #[test]
        fn trims_and_replaces_as_defined(pattern in "[ab*?]{0,5}", text in "[ab\n]{0,9}") {
            let compiled = ShellPattern::new(&pattern).unwrap();
            let (glob, text_chars) = (chars(&pattern), chars(&text));
            let lengths: Vec<usize> = (0..=text_chars.len()).collect();
            for (extent, order) in [
                (Extent::Shortest, lengths.clone()),
                (Extent::Longest, lengths.iter().rev().copied().collect()),
            ] {
                let front = order.iter().find(|length| matches(&glob, &text_chars[..**length]));
                let expected: String = text_chars[front.copied().unwrap_or(0)..].iter().collect();
                proptest::prop_assert_eq!(compiled.trim(&text, End::Front, extent), expected);
                let back = order
                    .iter()
                    .find(|length| matches(&glob, &text_chars[text_chars.len() - **length..]));
                let kept = text_chars.len() - back.copied().unwrap_or(0);
                let expected: String = text_chars[..kept].iter().collect();
                proptest::prop_assert_eq!(compiled.trim(&text, End::Back, extent), expected);
            }
            let found = lengths.iter().find_map(|start| {
                (*start..=text_chars.len())
                    .rev()
                    .find(|end| matches(&glob, &text_chars[*start..*end]))
                    .map(|end| (*start, end))
            });
            let mut line = compiled.line_end(&text_chars, 0);
            proptest::prop_assert_eq!(compiled.find(&text_chars, 0, &mut line), found);
        }
    }

    #[test]
    fn every_match_is_replaced() {
        for (pattern, text, replacement, expected) in [
            ("b", "abcb", "-", "a-c-"),
            ("b*", "abcb", "-", "a-"),
            ("*", "abcb", "-", "-"),
            ("", "ab", "-", "-a-b-"),
            ("?", "ab", "-", "--"),
            ("a?", "abaac", "", "c"),
            ("*", "a\nb", "-", "-\n-"),
            ("\n", "a\nb", " ", "a b"),
            ("\\*", "a*b*", "+", "a+b+"),
        ] {
            let pattern = ShellPattern::new(pattern).unwrap();
            let replaced = pattern.replace(text, replacement, Times::Always, 100);
            assert_eq!(replaced.as_deref(), Some(expected), "{text}");
        }
        let any = ShellPattern::new("?").unwrap();
        assert_eq!(any.replace("abc", "12", Times::Always, 5), None);
        assert_eq!(
            any.replace("abc", "12", Times::Once, 5),
            Some("12bc".into())
        );
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let text = "a".repeat(200_000);
        for pattern in ["a*b", "*a*a*a*b", "a?b", &format!("{}b", "a".repeat(1000))] {
            let pattern = ShellPattern::new(pattern).unwrap();
            assert_eq!(
                pattern
                    .replace(&text, "x", Times::Always, text.len())
                    .as_ref(),
                Some(&text)
            );
            assert_eq!(pattern.trim(&text, End::Back, Extent::Longest), text);
        }
        assert!(ShellPattern::new(&"a".repeat(1025)).is_err());
    }
}
