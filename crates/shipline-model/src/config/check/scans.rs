//! `scans`.

use indexmap::IndexMap;

use super::super::problem::{Problems, value};
use super::super::types::{Ignore, Scans};
use super::super::{raw, suggest};
use super::text::plain;
use super::{Lines, declared, line};
use crate::finding::Severity;
use crate::name::{ComponentName, EnvironmentName};
use crate::yaml::Route;

/// The rules that findings of this version have.
const RULES: &[&str] = &["environment-leak"];

pub(super) fn all(
    raw: Option<&raw::Scans>,
    known: Known<'_>,
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
        ignore.extend(one(entry, known, &route.index(index), lines, problems));
    }
    Scans {
        image_fail_on: fail_on,
        ignore,
    }
}

/// What exceptions may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) components: Option<&'a IndexMap<String, raw::Component>>,
    pub(super) environments: Option<&'a IndexMap<String, raw::Environment>>,
}

fn one(
    raw: &raw::Ignore,
    known: Known<'_>,
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
    let component = raw.component.as_ref().and_then(|name| {
        let route = here.key("component");
        let names = known.components.into_iter().flat_map(IndexMap::keys);
        declared(name, names, "component", &route, problems)
            .then(|| ComponentName::new(name.clone()).ok())
    });
    let variant = raw.variant.as_ref().and_then(|name| {
        let route = here.key("variant");
        let names = known.environments.into_iter().flat_map(IndexMap::keys);
        declared(name, names, "environment", &route, problems)
            .then(|| EnvironmentName::new(name.clone()).ok())
    });
    Some(Ignore {
        rule: rule?,
        matched,
        file,
        component: component.flatten(),
        variant: variant.flatten(),
        reason: reason?,
        until: until?,
        line: line(here, lines, problems),
    })
}
