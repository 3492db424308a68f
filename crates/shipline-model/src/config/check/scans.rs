//! `scans`.

use indexmap::IndexMap;

use super::super::problem::{Problems, value};
use super::super::raw;
use super::super::types::{Ignore, NotAssessed, Policy, Profile, Scans};
use super::text::{path, plain};
use super::{Lines, declared, line};
use crate::finding::Severity;
use crate::name::{ComponentName, EnvironmentName, ProfileName, RepoPath};
use crate::yaml::Route;

/// The profile that stays on this machine.
const LOCAL: &str = "local";

pub(super) fn all(
    raw: Option<&raw::Scans>,
    known: Known<'_>,
    lines: Lines<'_>,
    problems: &mut Problems<'_>,
) -> Scans {
    let route = Route::root().key("scans");
    let entries = raw
        .into_iter()
        .flat_map(|scans| scans.ignore.iter().flatten());
    let mut ignore = Vec::new();
    for (index, entry) in entries.enumerate() {
        let here = route.key("ignore").index(index);
        ignore.extend(one(entry, known, &here, lines, problems));
    }
    let default = Policy {
        fail_on: Severity::High,
        baseline: None,
        not_assessed: known
            .profiles
            .keys()
            .map(|profile| {
                let what = match profile.as_str() {
                    LOCAL => NotAssessed::Warn,
                    _ => NotAssessed::Fail,
                };
                (profile.clone(), what)
            })
            .collect(),
    };
    let mut policy = |raw: Option<&raw::Policy>, key: &str, default: &Policy| match raw {
        Some(raw) => policy(raw, default, &route.key(key), problems),
        None => default.clone(),
    };
    let image = policy(
        raw.and_then(|scans| scans.image.as_ref()),
        "image",
        &default,
    );
    let leaks = policy(raw.and_then(|scans| scans.leaks.as_ref()), "leaks", &image);
    Scans {
        image,
        leaks,
        ignore,
    }
}

/// A policy; what it leaves out is as in `default`.
fn policy(
    raw: &raw::Policy,
    default: &Policy,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Policy {
    let mut policy = default.clone();
    if let Some(level) = raw.fail_on {
        policy.fail_on = level.into();
    }
    if let Some(text) = &raw.baseline {
        policy.baseline = path(&RepoPath::root(), text, &here.key("baseline"), problems);
    }
    let names: Vec<String> = default
        .not_assessed
        .keys()
        .map(ToString::to_string)
        .collect();
    for (name, what) in raw.not_assessed.iter().flatten() {
        let here = here.key("not_assessed").key(name);
        if declared(name, &names, "profile", &here, problems)
            && let Ok(profile) = ProfileName::new(name.clone())
        {
            policy.not_assessed.insert(profile, (*what).into());
        }
    }
    policy
}

/// What exceptions may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) components: Option<&'a IndexMap<String, raw::Component>>,
    pub(super) environments: Option<&'a IndexMap<String, raw::Environment>>,
    pub(super) profiles: &'a IndexMap<ProfileName, Profile>,
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
