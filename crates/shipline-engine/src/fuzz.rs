//! Entry points of the fuzz targets (`fuzz/`): each takes any bytes, reads them as the product would, and asserts what must hold
//! whatever they are.

use crate::event::Event;
use crate::record::v1;
use crate::redact::{MASK, Redactor, clean, clean_line, harmless_json};

/// Reads the lines of a run's record, and its other files.
pub fn record(bytes: &[u8]) {
    let redactor = Redactor::new(["sesame-open-7"]);
    for line in bytes.split(|byte| *byte == b'\n').take(50) {
        let _ = serde_json::from_slice::<v1::Header>(line);
        let Ok(stored) = serde_json::from_slice::<v1::Event>(line) else {
            continue;
        };
        let Ok(event) = Event::try_from(stored) else {
            continue;
        };
        let written = serde_json::to_string(&v1::Event::from(&event)).unwrap_or_default();
        let again = serde_json::from_str::<v1::Event>(&written).map(Event::try_from);
        assert!(
            again.is_ok_and(|again| again.is_ok_and(|again| again == event)),
            "an event changes when it is written: {written}"
        );
        let masked = Event {
            kind: redactor.mask_event(event.kind),
            ..event
        };
        let masked = serde_json::to_string(&v1::Event::from(&masked));
        assert!(!masked.unwrap_or_default().contains("sesame-open-7"));
    }
    let _ = serde_json::from_slice::<v1::ReleaseSet>(bytes);
    let _ = serde_json::from_slice::<v1::OutcomeFile>(bytes);
}

/// Masks and cleans a text. The first line is the secret.
pub fn redact(bytes: &[u8]) {
    let input = String::from_utf8_lossy(bytes);
    let (secret, text) = input.split_once('\n').unwrap_or(("", &input));
    let cleaned = clean(text);
    assert_eq!(clean(&cleaned), cleaned, "what is clean is cleaned");
    assert!(!clean_line(text).contains('\n'));
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        let harmless = harmless_json(text);
        assert!(
            serde_json::from_str(&harmless).is_ok_and(|again: serde_json::Value| again == value)
        );
    }
    // What is short, or looks like the mask or like an escape, has rules of its own.
    let usual = |c: char| c.is_ascii_alphanumeric() || "-_./+= :@é".contains(c);
    if !(6..=200).contains(&secret.len()) || !secret.chars().all(usual) || secret.trim() != secret {
        return;
    }
    let redactor = Redactor::new([secret]);
    let hidden = |shown: &str| assert!(!shown.contains(secret), "`{secret}` in `{shown}`");
    hidden(&redactor.mask(text));
    hidden(&redactor.show(text));
    hidden(&redactor.show_line(text));
    let planted = format!("{text}{secret}{text}");
    let mut shown = vec![
        redactor.mask(&planted).into_owned(),
        redactor.show(&format!("x={secret}")),
    ];
    let json = serde_json::to_string(&planted).unwrap_or_default();
    shown.push(redactor.mask(&json).into_owned());
    shown.push(redactor.mask(&hex::encode(secret)).into_owned());
    for shown in shown {
        hidden(&shown);
        assert!(shown.contains(MASK), "nothing is masked in `{shown}`");
    }
    let cut = redactor.safe_cut(planted.as_bytes());
    let (first, rest) = planted.as_bytes().split_at(cut);
    let parts = [redactor.mask_bytes(first), redactor.mask_bytes(rest)].concat();
    hidden(&String::from_utf8_lossy(&parts));
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[("record", record), ("redact", redact)];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
