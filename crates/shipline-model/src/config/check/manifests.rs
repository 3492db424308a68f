//! `manifests`: patterns of paths in the GitOps repository.

use super::super::problem::{Problems, value};
use super::super::raw::OneOrMore;
use super::text::plain;
use crate::yaml::Route;

/// What is filled in.
const NAMES: &[&str] = &["{environment}", "{component}"];

/// The patterns that `here` gives under `manifests`.
pub(super) fn all(
    raw: Option<&OneOrMore>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Vec<String> {
    let route = here.key("manifests");
    let Some(OneOrMore(texts)) = raw else {
        return Vec::new();
    };
    if texts.is_empty() {
        problems
            .push(value(&route, "names no folder").help("write `\"{environment}/{component}\"`"));
    }
    let mut patterns = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        // A text that stands alone has no place in a list.
        let here = if texts.len() == 1 {
            route.clone()
        } else {
            route.index(index)
        };
        let Some(text) = plain(text, &here, problems) else {
            continue;
        };
        if let Some((message, help)) = wrong(&text) {
            problems.push(value(&here, message).help(help));
        } else if patterns.contains(&text) {
            problems.push(value(&here, "this place is listed twice").help("remove one"));
        }
        patterns.push(text);
    }
    patterns
}

/// What is wrong with a pattern, and the help.
fn wrong(text: &str) -> Option<(String, &'static str)> {
    let rest = NAMES
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(name, "x"));
    if rest.contains(['{', '}', '$', '*']) {
        let message =
            format!("`{text}` holds something else than `{{environment}}` and `{{component}}`");
        return Some((message, "only these two are filled in"));
    }
    if rest.starts_with('/') {
        let message = format!("`{text}` is an absolute path");
        return Some((message, "write it from the root of the GitOps repository"));
    }
    if rest.split('/').any(|part| part == "..") {
        let message = format!("`{text}` may leave the GitOps repository");
        return Some((message, "write it from the root of the GitOps repository"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_in_the_repository() {
        for good in [
            "{environment}/{component}",
            "apps/{component}/overlays/{environment}",
            "k8s",
            ".",
            "charts/{component}/values-{environment}.yaml",
        ] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in ["/k8s", "a/../b", "{env}", "a/${X}", "a/*", "{component"] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
    }
}
