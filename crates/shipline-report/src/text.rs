//! Numbers and foreign lines as people read them.

use std::time::Duration;

use shipline_engine::redact;

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

/// A foreign line as it may be shown among ours; a tab is four blanks.
pub(crate) fn clean(line: &str) -> String {
    redact::clean_line(line).replace('\t', "    ")
}

/// A line of at most [`LONGEST`] characters: of a longer one its beginning, and how long it is.
pub(crate) fn cropped(line: String) -> String {
    let Some((end, _)) = line.char_indices().nth(LONGEST) else {
        return line;
    };
    format!("{} … ({} characters)", &line[..end], line.chars().count())
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
}
