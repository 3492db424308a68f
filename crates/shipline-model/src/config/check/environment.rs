//! `environments`.

use indexmap::IndexMap;

use super::super::problem::{Problems, key, value};
use super::super::raw;
use super::super::types::{Delivery, Environment};
use super::text::{key_name, plain, url};
use super::{declared, manifests};
use crate::name::EnvironmentName;
use crate::yaml::Route;

const WEB: &[&str] = &["https", "http"];
const API: &[&str] = &["https", "http", "wss", "ws"];

type Raw = IndexMap<String, raw::Environment>;

pub(super) fn all(
    raw: Option<&Raw>,
    problems: &mut Problems<'_>,
) -> IndexMap<EnvironmentName, Environment> {
    let route = Route::root().key("environments");
    let Some(raw) = raw else {
        return IndexMap::new();
    };
    if raw.is_empty() {
        problems.push(
            key(&route, "holds no environment")
                .help("declare at least one: `staging: { delivery: automatic }`"),
        );
    }
    let mut environments = IndexMap::new();
    for (name, environment) in raw {
        let here = route.key(name);
        key_name(name, &here, EnvironmentName::new, problems);
        if let Some(environment) = one(name, environment, raw, &here, problems) {
            environments.insert(environment.name.clone(), environment);
        }
    }
    promotions(raw, &route, problems);
    api_urls(raw, &route, problems);
    environments
}

fn one(
    name: &str,
    raw: &raw::Environment,
    known: &Raw,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Environment> {
    let page = raw
        .url
        .as_ref()
        .and_then(|text| url(text, WEB, &here.key("url"), problems));
    let mut urls = Vec::new();
    for (index, text) in raw.api_urls.iter().flatten().enumerate() {
        let here = here.key("api_urls").index(index);
        urls.extend(url(text, API, &here, problems));
    }
    Some(Environment {
        name: EnvironmentName::new(name).ok()?,
        url: page,
        api_urls: urls,
        delivery: delivery(name, raw, known, here, problems)?,
        manifests: manifests::all(raw.manifests.as_ref(), here, problems),
    })
}

fn delivery(
    name: &str,
    raw: &raw::Environment,
    known: &Raw,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<Delivery> {
    if problems.is_unfit(&here.key("delivery")) {
        return None;
    }
    match raw.delivery.unwrap_or(raw::Delivery::Automatic) {
        raw::Delivery::Automatic => {
            for (key_name, given) in [
                ("promotes", raw.promotes.is_some()),
                ("confirm", raw.confirm.is_some()),
            ] {
                if given {
                    problems.push(
                        key(
                            &here.key(key_name),
                            "belongs to an environment with `delivery: manual`",
                        )
                        .label("has no effect")
                        .help(
                            "add `delivery: manual`, or remove it: a green pipeline writes this \
                             environment, and nothing is confirmed",
                        ),
                    );
                }
            }
            Some(Delivery::Automatic)
        }
        raw::Delivery::Manual => {
            let confirm = match &raw.confirm {
                None => Some("DEPLOY".to_owned()),
                Some(word) => plain(word, &here.key("confirm"), problems),
            };
            let Some(promotes) = &raw.promotes else {
                problems.push(
                    key(here, "`delivery: manual` needs `promotes`")
                        .label("in this")
                        .help("add the environment whose images it takes: `promotes: staging`"),
                );
                return None;
            };
            let route = here.key("promotes");
            if promotes == name {
                problems.push(
                    value(&route, "an environment cannot promote itself")
                        .help("name the environment whose images it takes"),
                );
            } else {
                declared(promotes, known.keys(), "environment", &route, problems);
            }
            Some(Delivery::Manual {
                promotes: EnvironmentName::new(promotes).ok()?,
                confirm: confirm?,
            })
        }
    }
}

/// Promotions must begin somewhere.
fn promotions(raw: &Raw, route: &Route, problems: &mut Problems<'_>) {
    let from = |name: &str| raw.get(name).and_then(|it| it.promotes.as_deref());
    for name in raw.keys() {
        let mut way = vec![name.as_str()];
        while let Some(next) = way.last().and_then(|last| from(last)) {
            if next == name && way.len() > 1 {
                // Told once, at the first environment of the circle.
                if way
                    .iter()
                    .all(|other| raw.get_index_of(*other) >= raw.get_index_of(name))
                {
                    way.push(next);
                    problems.push(
                        value(
                            &route.key(name).key("promotes"),
                            format!("the promotions go in a circle: {}", way.join(" ← ")),
                        )
                        .help("let one of them be written by a pipeline (`delivery: automatic`)"),
                    );
                }
                break;
            }
            if way.contains(&next) {
                break;
            }
            way.push(next);
        }
    }
}

/// A URL that belongs to two environments cannot tell their images apart.
fn api_urls(raw: &Raw, route: &Route, problems: &mut Problems<'_>) {
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (name, environment) in raw {
        for (index, text) in environment.api_urls.iter().flatten().enumerate() {
            let url = normal(text);
            let other = seen
                .iter()
                .find(|(other, seen)| other != name && (within(seen, &url) || within(&url, seen)));
            let again = seen
                .iter()
                .any(|(other, seen)| other == name && *seen == url);
            let here = route.key(name).key("api_urls").index(index);
            if let Some((other, found)) = other {
                let message = if *found == url {
                    format!("`{other}` has this URL too")
                } else {
                    format!("this URL and `{found}` of `{other}` hold each other")
                };
                problems.push(value(&here, message).help(
                    "list only URLs that no other environment's images may contain; what all share is left out",
                ));
            } else if again {
                problems.push(value(&here, "this URL is listed twice").help("remove one"));
            }
            seen.push((name, url));
        }
    }
}

/// Scheme and host in lower case, no slash at the end.
fn normal(url: &str) -> String {
    let path = url
        .find("://")
        .and_then(|scheme| url[scheme + 3..].find('/').map(|host| scheme + 3 + host))
        .unwrap_or(url.len());
    let (host, path) = url.split_at(path);
    format!("{}{}", host.to_lowercase(), path.trim_end_matches('/'))
}

fn within(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}
