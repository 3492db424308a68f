//! Ages on the command line (`90m`, `12h`, `14d`) and for people.

use std::time::Duration;

/// Seconds of each unit.
const UNITS: &[(char, u64)] = &[
    ('s', 1),
    ('m', 60),
    ('h', 60 * 60),
    ('d', 24 * 60 * 60),
    ('w', 7 * 24 * 60 * 60),
];

/// Reads an age: a whole number and its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no age: write a number and s, m, h, d or w, such as 14d");
    let (_, seconds) = UNITS
        .iter()
        .find(|(unit, _)| text.ends_with(*unit))
        .ok_or_else(wrong)?;
    text.get(..text.len() - 1)
        .and_then(|number| number.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(*seconds))
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// An age in its largest unit that fits: `3 days`.
pub(crate) fn shown(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_shown() {
        for (text, seconds, back) in [
            ("0s", 0, "0 seconds"),
            ("90m", 5400, "1 hour"),
            ("12h", 43_200, "12 hours"),
            ("14d", 1_209_600, "14 days"),
            ("2w", 1_209_600, "14 days"),
        ] {
            let age = parse(text).unwrap();
            assert_eq!(
                (age.as_secs(), shown(age).as_str()),
                (seconds, back),
                "{text}"
            );
        }
        for bad in [
            "",
            "d",
            "14",
            "14 d",
            "-1d",
            "1.5h",
            "99999999999999999999w",
            "7ä",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
