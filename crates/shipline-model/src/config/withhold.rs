//! What of a pull request's configuration gets no variables: whoever may open one writes `pipeline.yaml`, and only what the
//! base says too was looked at by somebody else.

use std::collections::{BTreeMap, BTreeSet};

use super::templates::everything;
use super::types::Config;
use crate::value::{Source, Template};
use crate::yaml::Route;

/// A variable that is withheld from a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// As it is written: `${secret.NAME}`.
    pub variable: String,
    /// Where it stands.
    pub place: Route,
}

/// Withholds variables from `config` that its `base` does not give to the same places. Without a base all are withheld.
///
/// A secret reaches a place where the base has the same text: around another text it could be sent elsewhere. `${env.NAME}` can
/// name a secret as well, so it is read where the base reads that variable by `${env.NAME}` at some place.
pub fn withhold(config: &mut Config, base: Option<&Config>) -> Vec<Withheld> {
    let mut base = base.cloned();
    let known: BTreeMap<Route, &mut Template> = base.iter_mut().flat_map(everything).collect();
    let public: BTreeSet<&str> = known
        .values()
        .flat_map(|template| template.references())
        .filter(|reference| reference.source == Source::Env)
        .map(|reference| reference.name.as_str())
        .collect();
    let mut withheld = Vec::new();
    for (place, template) in everything(config) {
        let same = known.get(&place).is_some_and(|base| **base == *template);
        let found = template.withhold(|reference| match reference.source {
            Source::Secret => !same,
            Source::Env => !public.contains(reference.name.as_str()),
        });
        withheld.extend(found.into_iter().map(|reference| Withheld {
            variable: match reference.source {
                Source::Env => format!("${{env.{}}}", reference.name),
                Source::Secret => format!("${{secret.{}}}", reference.name),
            },
            place: place.clone(),
        }));
    }
    withheld
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(token: &str, environment: &str, arg: &str) -> Config {
        let text = format!(
            "version: 1\nproject: x\nenvironments:\n  staging: {{ delivery: automatic }}\nprofiles:\n  ci:\n    registry: {{ url: r.example, username: u, password: \"${{secret.PASSWORD}}\" }}\n    gitops: {{ url: \"https://git.example/x.git\", token: \"{token}\" }}\ncomponents:\n  one:\n    path: one\n    environment: {{ A: \"{environment}\" }}\n    test: run\n    image: {{ args: {{ B: \"{arg}\" }}, variants: {{ staging: {{ args: {{ C: \"${{secret.C}}\" }} }} }} }}\npipelines:\n  all: {{ components: [one], stages: {{ t: {{ kind: test }} }} }}\n"
        );
        load("pipeline.yaml", &text).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn check(head: &Config, base: Option<&Config>, expected: &[(&str, &str)]) {
        let mut head = head.clone();
        let found = withhold(&mut head, base);
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|withheld| (withheld.variable, withheld.place.to_string()))
            .collect();
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(variable, place)| ((*variable).to_owned(), (*place).to_owned()))
            .collect();
        assert_eq!(found, expected);
        let withheld: Vec<String> = everything(&mut head)
            .iter()
            .filter(|(_, template)| {
                let withheld = |part: &crate::value::Part| match part {
                    crate::value::Part::Withheld(_) => true,
                    crate::value::Part::Text(_) | crate::value::Part::Reference(_) => false,
                };
                template.parts().iter().any(withheld)
            })
            .map(|(route, _)| route.to_string())
            .collect();
        let mut places: Vec<String> = expected.into_iter().map(|(_, place)| place).collect();
        places.dedup();
        assert_eq!(withheld, places);
    }

    #[test]
    fn what_the_base_gives_to_a_place_reaches_it() {
        let base = config("${secret.TOKEN}", "${secret.KEY}", "${env.URL:-x}");
        check(&base, Some(&base), &[]);
        // Another default, and another place for a public variable.
        let head = config("${secret.TOKEN}", "${env.URL}", "${env.URL:-y}");
        check(&head, Some(&base), &[]);
    }

    #[test]
    fn what_a_pull_request_adds_or_changes_gets_nothing() {
        let base = config("${secret.TOKEN}", "plain", "${env.URL:-x}");
        let head = config("${secret.PASSWORD}", "${secret.TOKEN}", "${env.TOKEN:-x}");
        check(
            &head,
            Some(&base),
            &[
                ("${secret.PASSWORD}", "profiles.ci.gitops.token"),
                ("${secret.TOKEN}", "components.one.environment.A"),
                ("${env.TOKEN}", "components.one.image.args.B"),
            ],
        );
        // A secret in another text is another use.
        let head = config("${secret.TOKEN}x", "plain", "x");
        check(
            &head,
            Some(&base),
            &[("${secret.TOKEN}", "profiles.ci.gitops.token")],
        );
    }

    #[test]
    fn without_a_base_nothing_is_given() {
        let head = config("${secret.TOKEN}", "${env.HOME}", "x");
        check(
            &head,
            None,
            &[
                ("${secret.PASSWORD}", "profiles.ci.registry.password"),
                ("${secret.TOKEN}", "profiles.ci.gitops.token"),
                ("${env.HOME}", "components.one.environment.A"),
                (
                    "${secret.C}",
                    "components.one.image.variants.staging.args.C",
                ),
            ],
        );
    }
}
