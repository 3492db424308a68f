//! Numbers and foreign lines as people read them.

use std::time::Duration;

/// The longest line, in characters, that is shown whole among others.
const LONGEST: usize = 400;

/// `12ms`, `0.3s`, `12.0s`, `2m 05s`, `1h 02m`.
pub(crate) fn duration(took: Duration) -> String {
    if took.as_millis() < 100 {
        return format!("{}ms", took.as_millis());
    }
    let tenths = (took.as_millis() + 50) / 100;
    let seconds = (took.as_millis() + 500) / 1000;
    if tenths < 600 {
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else if seconds < 3600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60)
    }
}

/// `512 B`, `1.5 kB`, `187.0 MB`: powers of 1000.
pub fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let tenths = |unit: u128| (u128::from(count) * 10 + unit / 2) / unit;
    // What rounds up to a thousand is one of the next unit.
    let (unit, name) = [(1_000, "kB"), (1_000_000, "MB"), (1_000_000_000, "GB")]
        .into_iter()
        .find(|(unit, _)| tenths(*unit) < 10_000)
        .unwrap_or((1_000_000_000_000, "TB"));
    format!("{}.{} {name}", tenths(unit) / 10, tenths(unit) % 10)
}

/// `1 layer`, `3 layers`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A command's line as it may be shown: escape sequences, other control characters and those that turn the direction of
/// what is around them are gone, a tab is four blanks, and of a line that was written over (`\r`) the last state is left.
pub(crate) fn clean(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut shown = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            '\u{9b}' => skip_control(&mut characters),
            '\t' => shown.push_str("    "),
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => {}
            '\u{2066}'..='\u{2069}' => {}
            _ if character.is_control() => {}
            _ => shown.push(character),
        }
    }
    shown
}

/// A line of at most [`LONGEST`] characters: of a longer one its beginning, and how long it is.
pub(crate) fn cropped(line: String) -> String {
    let Some((end, _)) = line.char_indices().nth(LONGEST) else {
        return line;
    };
    format!("{} … ({} characters)", &line[..end], line.chars().count())
}

type Characters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// What follows an ESC (ECMA-48): a control sequence, a string, or one more character.
fn skip_sequence(characters: &mut Characters<'_>) {
    match characters.next() {
        Some('[') => skip_control(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    break;
                }
                if character == '\u{1b}' {
                    characters.next();
                    break;
                }
            }
        }
        Some('\u{20}'..='\u{2f}') => {
            characters.next();
        }
        Some(_) | None => {}
    }
}

/// The rest of a control sequence: up to its final byte.
fn skip_control(characters: &mut Characters<'_>) {
    for character in characters.by_ref() {
        if matches!(character, '\u{40}'..='\u{7e}') {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (ms, shown) in [
            (0, "0ms"),
            (99, "99ms"),
            (100, "0.1s"),
            (149, "0.1s"),
            (150, "0.2s"),
            (3_449, "3.4s"),
            (59_949, "59.9s"),
            (59_950, "1m 00s"),
            (125_000, "2m 05s"),
            (3_599_400, "59m 59s"),
            (3_600_000, "1h 00m"),
            (7_380_000, "2h 03m"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), shown, "{ms}");
        }
    }

    #[test]
    fn sizes_read_well() {
        for (count, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567, "1.2 MB"),
            (2_000_000_000, "2.0 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(count), shown, "{count}");
        }
    }

    #[test]
    fn long_lines_say_how_long_they_are() {
        let whole = "é".repeat(LONGEST);
        assert_eq!(cropped(whole.clone()), whole);
        assert_eq!(
            cropped(format!("{whole}é")),
            format!("{whole} … (401 characters)")
        );
    }

    #[test]
    fn foreign_lines_are_made_harmless() {
        for (line, shown) in [
            ("plain é 漢", "plain é 漢"),
            ("\u{1b}[1;32mgreen\u{1b}[0m\r", "green"),
            ("10%\r50%\r100%", "100%"),
            ("a\tb\u{7}\u{8}c", "a    bc"),
            ("\u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{7}", "link"),
            ("\u{1b}(Bx\u{9b}2Ky", "xy"),
            ("cut \u{1b}[3", "cut "),
            ("x = \u{202e}1 = y\u{2066}z", "x = 1 = yz"),
            ("👩\u{200d}🔧", "👩\u{200d}🔧"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(clean(line), shown, "{line:?}");
        }
    }
}
