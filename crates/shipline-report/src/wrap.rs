//! Lines that are broken between words, by the columns that a terminal gives them.

use unicode_width::UnicodeWidthChar;

/// A terminal that is narrower breaks lines by itself: there is no room for anything better.
const NARROWEST: usize = 20;

/// Characters and escape codes of a painted line, with the columns that each takes.
fn columns(line: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let length = match first {
            // Escape codes are only our own: colours.
            '\u{1b}' => rest.find('m').map_or(rest.len(), |end| end + 1),
            _ => first.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some((
            piece,
            if first == '\u{1b}' {
                0
            } else {
                first.width().unwrap_or(0)
            },
        ))
    })
}

/// The columns that a line takes on a terminal, colours aside.
pub(crate) fn width(line: &str) -> usize {
    columns(line).map(|(_, width)| width).sum()
}

/// As much of the line as fits; a `…` stands for the rest. What is painted stays whole.
pub(crate) fn truncated(line: &str, most: usize) -> String {
    if width(line) <= most {
        return line.to_owned();
    }
    let mut shown = String::new();
    let (mut taken, mut full) = (0, false);
    for (piece, width) in columns(line) {
        if width == 0 {
            // A colour that began must end.
            shown.push_str(piece);
        } else if !full && taken + width < most {
            shown.push_str(piece);
            taken += width;
        } else if !full {
            full = true;
            if most > 0 {
                shown.push('…');
            }
        }
    }
    shown
}

/// The line in pieces of at most `most` columns, broken at blanks where there are any; what continues it is indented as it is, and
/// `hanging` columns more. Words that are longer than a piece are left whole: they are paths and digests, which people copy.
#[must_use]
pub fn wrapped(line: &str, most: usize, hanging: usize) -> Vec<String> {
    if most < NARROWEST || width(line) <= most {
        return vec![line.to_owned()];
    }
    let plain = line.trim_start_matches(' ');
    let indent = line.len() - plain.len();
    let further = (indent + hanging).min(most / 2);
    let (mut lines, mut current, mut taken) = (Vec::new(), " ".repeat(indent), indent);
    let mut empty = true;
    for word in plain.split(' ') {
        let length = width(word);
        if !empty && taken + 1 + length > most && length > 0 {
            lines.push(
                std::mem::replace(&mut current, " ".repeat(further))
                    .trim_end()
                    .to_owned(),
            );
            taken = further;
            empty = true;
        }
        if !empty {
            current.push(' ');
            taken += 1;
        }
        current.push_str(word);
        taken += length;
        empty = false;
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(
            wrapped("  hint: leave `--no-wait` out to wait for its end", 30, 4),
            ["  hint: leave `--no-wait` out", "      to wait for its end"]
        );
        let path = "/a/very/long/path/that/does/not/fit.txt";
        assert_eq!(
            wrapped(&format!("failed to read {path}"), 24, 2),
            ["failed to read", &format!("  {path}")]
        );
        assert_eq!(wrapped("it fits", 24, 2), ["it fits"]);
        assert_eq!(
            wrapped("漢字漢字 漢字漢字 漢字漢字 x", 20, 0),
            ["漢字漢字 漢字漢字", "漢字漢字 x"]
        );
        assert_eq!(
            wrapped("\u{1b}[1mone two three\u{1b}[0m four five six", 20, 0),
            ["\u{1b}[1mone two three\u{1b}[0m four", "five six"]
        );
        assert_eq!(wrapped("as narrow as this", 5, 0), ["as narrow as this"]);
    }

    #[test]
    fn what_does_not_fit_ends_with_an_ellipsis() {
        for (line, most, shown) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字", 3, "漢…"),
            ("\u{1b}[2mabcd\u{1b}[0m", 3, "\u{1b}[2mab…\u{1b}[0m"),
            ("abc", 0, ""),
        ] {
            assert_eq!(truncated(line, most), shown);
        }
    }
}
