//! Exceptions from rules that nobody knows. Which rules there are is the scanners' knowledge.

use super::problem::Objection;
use super::suggest;
use super::types::Config;
use crate::yaml::Route;

/// An objection to each exception of `scans.ignore` whose rule is none of `known`.
#[must_use]
pub fn unknown_rules(config: &Config, known: &[&str]) -> Vec<Objection> {
    let ignore = config.scans.ignore.iter().enumerate();
    let unknown = ignore.filter(|(_, ignore)| !known.contains(&ignore.rule.as_str()));
    unknown
        .map(|(index, ignore)| {
            let rule = &ignore.rule;
            Objection {
                route: Route::root()
                    .key("scans")
                    .key("ignore")
                    .index(index)
                    .key("rule"),
                message: format!("no scan of this version has a rule `{rule}`"),
                label: "unknown",
                help: match suggest::nearest(rule, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "remove the entry until its scan is there; known: {}",
                        suggest::list(known)
                    ),
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    const TEXT: &str = "
version: 1
project: tiny
environments: { staging: { delivery: automatic } }
components: { web: { path: web } }
scans:
  ignore:
    - { rule: environment-leak, match: a, reason: known, until: 2027-12-31 }
    - { rule: environment-leek, match: a, reason: known, until: 2027-12-31 }
    - { rule: CVE-2025-0001, reason: not reachable, until: 2027-12-31 }
";

    #[test]
    fn an_exception_from_a_rule_that_nobody_has_is_objected_to_at_its_place() {
        let config = load("pipeline.yaml", TEXT).unwrap();
        let found = unknown_rules(&config, &["environment-leak"]);
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|objection| (objection.route.to_string(), objection.help))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "scans.ignore[1].rule".to_owned(),
                    "did you mean `environment-leak`?".to_owned()
                ),
                (
                    "scans.ignore[2].rule".to_owned(),
                    "remove the entry until its scan is there; known: `environment-leak`"
                        .to_owned()
                ),
            ]
        );
        let all = ["environment-leak", "environment-leek", "CVE-2025-0001"];
        assert_eq!(unknown_rules(&config, &all).len(), 0);
    }
}
