//! Foreign text as it may be shown: on a terminal, in a log, in a record.
//!
//! What a terminal would obey is gone: escape sequences of every kind (ECMA-48), control characters, and characters that turn the
//! direction of the text around them or that nobody sees. There is one function for this, and everything foreign passes it.

use std::borrow::Cow;

/// Takes escape sequences and invisible characters out of a stream of characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cleaner {
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// In text.
    #[default]
    Text,
    /// Behind an ESC.
    Escape,
    /// Behind an ESC and an intermediate byte: one final byte is to come.
    Intermediate,
    /// In a control sequence (CSI): parameters, then a final byte.
    Control,
    /// In a string (DCS, SOS, OSC, PM, APC), which BEL or ST ends.
    String,
    /// Behind an ESC in a string: a `\` ends it.
    StringEscape,
}

impl Cleaner {
    /// Takes the next character; whether it is shown. A line end ends every sequence, so that none hides the lines after it.
    pub(crate) fn shows(&mut self, character: char) -> bool {
        if matches!(character, '\n' | '\r') {
            self.state = State::Text;
            return character == '\n';
        }
        match (self.state, character) {
            (State::String, '\u{7}' | '\u{9c}' | '\u{18}' | '\u{1a}') => self.state = State::Text,
            (State::String, '\u{1b}') => self.state = State::StringEscape,
            (State::String, _) => {}
            (State::StringEscape, '\\') => self.state = State::Text,
            (_, '\u{1b}') => self.state = State::Escape,
            (State::Escape | State::StringEscape, _) => return self.escape(character),
            (State::Intermediate, '\u{20}'..='\u{2f}') => {}
            (State::Intermediate, '\u{30}'..='\u{7e}') => self.state = State::Text,
            (State::Control, '\u{40}'..='\u{7e}' | '\u{18}' | '\u{1a}') => self.state = State::Text,
            (State::Control, '\u{0}'..='\u{3f}') => {}
            // No part of a sequence: this is text again.
            (State::Text | State::Intermediate | State::Control, _) => return self.text(character),
        }
        false
    }

    /// What follows an ESC.
    fn escape(&mut self, character: char) -> bool {
        self.state = match character {
            '[' => State::Control,
            ']' | 'P' | 'X' | '^' | '_' => State::String,
            '\u{20}'..='\u{2f}' => State::Intermediate,
            '\u{0}'..='\u{7e}' => State::Text,
            _ => return self.text(character),
        };
        false
    }

    fn text(&mut self, character: char) -> bool {
        self.state = match character {
            '\u{9b}' => State::Control,
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => State::String,
            _ => State::Text,
        };
        is_shown(character)
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.state = State::Text;
    }
}

/// Whether a character of a text is shown. Joiners and variation selectors are (languages and emoji need them), and so is what
/// stands for bytes that were no text.
fn is_shown(character: char) -> bool {
    let kept = matches!(
        character,
        '\t' | '\n' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{fffd}'
    );
    kept || !is_invisible(character)
}

/// Whether nobody sees the character where it is shown: controls, and Unicode's default ignorable code points
/// (DerivedCoreProperties) with the line separators and U+FFFD, which stands for bytes that were no text.
pub(crate) fn is_invisible(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control() && !matches!(character, '\t' | '\n');
    }
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffd}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether there is nothing in the text that [`clean`] would take out.
fn is_clean(text: &str) -> bool {
    text.chars().all(is_shown)
}

/// Lines of foreign text as they may be shown. Line ends and tabs stay. Of a line that was written over (`\r`) the last state is
/// left, and a backspace takes back the character before it: so it is what a terminal would show.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
        }
        let start = shown.len();
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        let mut cleaner = Cleaner::default();
        for character in line.chars() {
            if cleaner.shows(character) {
                shown.push(character);
            } else if character == '\u{8}' && shown.len() > start {
                shown.pop();
            }
        }
    }
    Cow::Owned(shown)
}

/// The same as one line: the line ends in it are blanks.
#[must_use]
pub fn clean_line(text: &str) -> Cow<'_, str> {
    match clean(text) {
        text if !text.contains('\n') => text,
        text => Cow::Owned(text.trim_end_matches('\n').replace('\n', " ")),
    }
}

/// JSON whose texts hold nothing that a terminal or a CI runner would obey: C1 controls and invisible characters are written as
/// `\u…`, which is the same JSON, and so is the second of two `#` (`##[…]` is a command to GitHub Actions, `##vso[…]` to Azure).
/// JSON has these characters only inside texts.
#[must_use]
pub fn harmless_json(json: &str) -> Cow<'_, str> {
    let obeyed = |character: char| !character.is_ascii() && is_invisible(character);
    if !json.contains("##") && !json.contains('\u{7f}') && !json.contains(obeyed) {
        return Cow::Borrowed(json);
    }
    let mut harmless = String::with_capacity(json.len() + 64);
    let mut before = ' ';
    for character in json.chars() {
        if obeyed(character) || character == '\u{7f}' || (before == '#' && character == '#') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                harmless.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            harmless.push(character);
        }
        before = character;
    }
    Cow::Owned(harmless)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_lines_are_made_harmless() {
        for (text, shown) in [
            ("plain é 漢", "plain é 漢"),
            ("\u{1b}[1;32mgreen\u{1b}[0m\r", "green"),
            ("10%\r50%\r100%", "100%"),
            ("a\tb\u{7}c", "a\tbc"),
            ("h\u{8}hi\u{8}i, |\u{8}/\u{8}done", "hi, done"),
            ("\u{8}\u{8}a", "a"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{7}", "link"),
            (
                "\u{1b}Pdcs\u{1b}\\\u{1b}_apc\u{9c}\u{1b}^pm\u{7}\u{1b}Xsos\u{18}x",
                "x",
            ),
            ("\u{90}dcs\u{9c}\u{9d}osc\u{7}\u{9f}apc\u{1b}\\x", "x"),
            ("\u{1b}]0;a\u{1b}[31mred", "red"),
            ("\u{1b}(Bx\u{9b}2Ky\u{1b} F", "xy"),
            ("\u{1b}[3é", "é"),
            ("cut \u{1b}[3", "cut "),
            ("\u{1b}]0;never ended\nnext line", "\nnext line"),
            ("x = \u{202e}1 = y\u{2066}z\u{feff}\u{200b}", "x = 1 = yz"),
            ("a\u{2028}b\u{85}c\u{e0041}d\u{ad}e", "abcde"),
            ("👩\u{200d}🔧", "👩\u{200d}🔧"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(clean(text), shown, "{text:?}");
        }
        assert_eq!(clean_line("one\n::error::two\n\n"), "one ::error::two");
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "a\u{9b}2J##[error]###vso[x]\u{202e}\u{7f}\u{e0041}\\#é";
        let json = serde_json::to_string(text).unwrap();
        let harmless = harmless_json(&json);
        assert_eq!(serde_json::from_str::<String>(&harmless).unwrap(), text);
        assert!(!harmless.contains("##"), "{harmless}");
        assert!(!harmless.chars().any(is_invisible), "{harmless}");
    }

    proptest! {
        #[test]
        fn what_is_cleaned_is_clean(text in prop::collection::vec(prop::sample::select("ab\u{1b}[]0;m\u{7}\u{8}\r\n\\\u{9b}\u{9d}\u{9c}\u{202e}\u{200d}P(".chars().collect::<Vec<_>>()), 0..40)) {
            let text: String = text.into_iter().collect();
            let once = clean(&text).into_owned();
            prop_assert!(once.chars().all(is_shown));
            prop_assert_eq!(clean(&once), once.as_str());
            prop_assert_eq!(once.matches('\n').count(), text.matches('\n').count());
        }
    }
}
