//! What the language will have and this version does not: refused by name, so that nobody looks for a typing error.

use crate::yaml::{Route, Step};

/// Routes of such keys; `*` is any name.
const KEYS: &[&str] = &[
    "profiles.*.argocd",
    "scans.sast",
    "scans.secrets",
    "scans.iac",
    "scans.sbom",
    "scans.image.ignore_unfixed",
];

/// Such words, by the route of their value.
const WORDS: &[(&str, &[&str])] = &[(
    "pipelines.*.stages.*.kind",
    &["sast", "secrets", "iac", "rollout"],
)];

/// Whether the key at this route comes in a later version.
pub(super) fn is_later_key(route: &Route) -> bool {
    KEYS.iter().any(|pattern| matches(pattern, route))
}

/// Whether the word at this route comes in a later version.
pub(super) fn is_later_word(route: &Route, word: &str) -> bool {
    WORDS
        .iter()
        .any(|(pattern, words)| words.contains(&word) && matches(pattern, route))
}

fn matches(pattern: &str, route: &Route) -> bool {
    let mut steps = route.steps().iter();
    let all = pattern.split('.').all(|wanted| match steps.next() {
        Some(Step::Key(key)) => wanted == "*" || wanted == key,
        Some(Step::Index(_)) | None => false,
    });
    all && steps.next().is_none()
}
