//! Sizes on the command line (`500kB`, `50MB`, `1GiB`).

/// Bytes of each unit, in lower case.
const UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
];

/// The least that output can be limited to: less would not show why a task failed.
const LEAST: u64 = 1_000;

/// Reads a size in bytes: a whole number and its unit.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write a number and kB, MB or GB, such as 50MB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*bytes));
    match size {
        Some(size) if size >= LEAST => Ok(size),
        Some(_) => Err(format!("`{text}` is too small: the least is {LEAST} bytes")),
        None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("50MB", Some(50_000_000)),
            ("1 GiB", Some(1 << 30)),
            ("64k", Some(64_000)),
            ("2000", Some(2000)),
            ("999", None),
            ("0", None),
            ("MB", None),
            ("-1MB", None),
            ("1.5MB", None),
            ("99999999999GB", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
    }
}
