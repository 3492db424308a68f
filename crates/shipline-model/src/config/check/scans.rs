//! `scans`.

use super::super::problem::{Problems, value};
use super::super::types::{Ignore, Scans};
use super::super::{raw, suggest};
use super::text::plain;
use super::{Lines, line};
use crate::finding::Severity;
use crate::yaml::Route;

/// The rules that findings of this version have.
const RULES: &[&str] = &["environment-leak"];

pub(super) fn all(
    raw: Option<&raw::Scans>,
    lines: Lines<'_>,
    problems: &mut Problems<'_>,
) -> Scans {
    let route = Route::root().key("scans").key("ignore");
    let fail_on = raw
        .and_then(|scans| scans.image.as_ref())
        .and_then(|image| image.fail_on)
        .map_or(Severity::High, Severity::from);
    let entries = raw
        .into_iter()
        .flat_map(|scans| scans.ignore.iter().flatten());
    let mut ignore = Vec::new();
    for (index, entry) in entries.enumerate() {
        ignore.extend(one(entry, &route.index(index), lines, problems));
    }
    Scans {
        image_fail_on: fail_on,
        ignore,
    }
}

fn one(
    raw: &raw::Ignore,
    here: &Route,
    lines: Lines<'_>,
    problems: &mut Problems<'_>,
) -> Option<Ignore> {
    let mut text = |text: Option<&String>, key: &str| {
        text.and_then(|text| plain(text, &here.key(key), problems))
    };
    let rule = text(raw.rule.as_ref(), "rule");
    let matched = text(raw.matched.as_ref(), "match");
    let file = text(raw.file.as_ref(), "file");
    let reason = text(raw.reason.as_ref(), "reason");
    if let Some(rule) = rule.as_deref().filter(|rule| !RULES.contains(rule)) {
        let draft = value(
            &here.key("rule"),
            format!("no scan of this version has a rule `{rule}`"),
        );
        problems.push(
            draft
                .label("unknown")
                .help(match suggest::nearest(rule, RULES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "remove the entry until its scan is there; known: {}",
                        suggest::list(RULES)
                    ),
                }),
        );
    }
    let until = raw.until.as_ref().and_then(|text| {
        let date = jiff::civil::Date::strptime("%Y-%m-%d", text);
        if text.len() == 10 && date.is_ok() {
            return Some(text.clone());
        }
        problems.push(
            value(&here.key("until"), format!("`{text}` is no date"))
                .help("write the last day on which it holds: `2026-12-31`"),
        );
        None
    });
    Some(Ignore {
        rule: rule?,
        matched,
        file,
        reason: reason?,
        until: until?,
        line: line(here, lines, problems),
    })
}
