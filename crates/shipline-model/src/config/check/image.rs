//! `components.*.image`.

use indexmap::IndexMap;

use super::super::problem::{Problems, key, value};
use super::super::raw;
use super::super::types::{BuildEngine, ImageSpec, Platform, Variant, Variants};
use super::text::{Secrets, command, filled_template, path, plain, reference, variables};
use crate::name::{EnvironmentName, RepoPath};
use crate::yaml::Route;

/// A tag has 128 characters; behind the prefix come 8 hex digits, `-`, 14 digits and perhaps `-dirty`.
const LONGEST_PREFIX: usize = 128 - 8 - 1 - 14 - 6;

/// GOARCH values that image indexes use.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x",
];

type Environments = IndexMap<String, raw::Environment>;

pub(super) fn one(
    raw: &raw::Image,
    base: &RepoPath,
    environments: Option<&Environments>,
    here: &Route,
    problems: &mut Problems<'_>,
) -> Option<ImageSpec> {
    let engine = match raw.engine.unwrap_or(raw::Engine::Auto) {
        raw::Engine::Auto => BuildEngine::Auto,
        raw::Engine::Embedded => BuildEngine::Embedded,
        raw::Engine::Docker => BuildEngine::Docker,
    };
    if engine == BuildEngine::Embedded {
        docker_only(raw, here, problems);
    }
    let dockerfile = raw.dockerfile.as_deref().unwrap_or("Dockerfile");
    let dockerfile = path(base, dockerfile, &here.key("dockerfile"), problems);
    let context = match &raw.context {
        None => Some(base.clone()),
        Some(text) => path(base, text, &here.key("context"), problems),
    };
    let mut text = |text: Option<&String>, key: &str| {
        text.and_then(|text| plain(text, &here.key(key), problems))
    };
    let target = text(raw.target.as_ref(), "target");
    let network = text(raw.network.as_ref(), "network");
    let prepare = raw
        .prepare
        .as_ref()
        .and_then(|text| command(text, &here.key("prepare"), problems));
    let platform = platform(raw, &here.key("platform"), problems);
    let args = variables(raw.args.as_ref(), &here.key("args"), problems);
    let secrets = secrets(raw, &here.key("secrets"), problems);
    let extra_hosts = extra_hosts(raw, &here.key("extra_hosts"), problems);
    let mut cache_from = Vec::new();
    for (index, text) in raw.cache_from.iter().flatten().enumerate() {
        let here = here.key("cache_from").index(index);
        cache_from.extend(filled_template(text, &here, Secrets::Refused, problems));
    }
    let variants = match &raw.variants {
        None => Variants::One,
        Some(raw) => variants(raw, environments, &here.key("variants"), problems),
    };
    Some(ImageSpec {
        engine,
        dockerfile: dockerfile?,
        context: context?,
        target,
        platform: platform?,
        prepare,
        args,
        secrets,
        network,
        extra_hosts,
        cache_from,
        lock: raw.lock.unwrap_or(false),
        variants,
    })
}

/// The keys that are given and say how to build, so that they mean nothing where there are no sources.
pub(super) fn build_keys(raw: &raw::Image) -> Vec<&'static str> {
    let raw::Image {
        engine,
        dockerfile,
        context,
        target,
        platform: _,
        prepare,
        args,
        secrets,
        network,
        extra_hosts,
        cache_from,
        lock,
        variants: _,
    } = raw;
    [
        ("engine", engine.is_some()),
        ("dockerfile", dockerfile.is_some()),
        ("context", context.is_some()),
        ("target", target.is_some()),
        ("prepare", prepare.is_some()),
        ("args", args.is_some()),
        ("secrets", secrets.is_some()),
        ("network", network.is_some()),
        ("extra_hosts", extra_hosts.is_some()),
        ("cache_from", cache_from.is_some()),
        ("lock", lock.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

fn docker_only(raw: &raw::Image, here: &Route, problems: &mut Problems<'_>) {
    for (name, given) in [
        ("secrets", raw.secrets.is_some()),
        ("network", raw.network.is_some()),
        ("extra_hosts", raw.extra_hosts.is_some()),
        ("cache_from", raw.cache_from.is_some()),
    ] {
        if given {
            problems.push(
                key(
                    &here.key(name),
                    "the embedded builder runs nothing, so it has no use for this",
                )
                .label("has no effect")
                .help("write `engine: docker`, or remove it"),
            );
        }
    }
}

fn platform(raw: &raw::Image, route: &Route, problems: &mut Problems<'_>) -> Option<Platform> {
    let text = raw.platform.as_deref().unwrap_or("linux/amd64");
    let mut parts = text.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().unwrap_or_default();
    let variant = parts.next();
    let plain_variant = variant.is_none_or(|variant| {
        !variant.is_empty() && variant.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    if os == "linux"
        && ARCHITECTURES.contains(&architecture)
        && plain_variant
        && parts.next().is_none()
    {
        return Some(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        });
    }
    let help = match (os, architecture) {
        ("linux", "x86_64" | "x64") => "write `linux/amd64`".to_owned(),
        ("linux", "aarch64") => "write `linux/arm64`".to_owned(),
        _ => "write `linux/amd64`, `linux/arm64` or another of Linux's architectures".to_owned(),
    };
    problems.push(
        value(
            route,
            format!("`{text}` is no platform that images are built for"),
        )
        .help(help),
    );
    None
}

fn secrets(
    raw: &raw::Image,
    route: &Route,
    problems: &mut Problems<'_>,
) -> std::collections::BTreeMap<String, crate::value::Template> {
    let mut secrets = std::collections::BTreeMap::new();
    for (id, text) in raw.secrets.iter().flatten() {
        let here = route.key(id);
        let good = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !good {
            problems.push(
                key(&here, format!("`{id}` is no ID of a secret")).help(
                    "letters, digits, `.`, `_` and `-`, as in `RUN --mount=type=secret,id=…`",
                ),
            );
        }
        if let Some(template) = filled_template(text, &here, Secrets::Required, problems) {
            secrets.insert(id.clone(), template);
        }
    }
    secrets
}

fn extra_hosts(raw: &raw::Image, route: &Route, problems: &mut Problems<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (index, text) in raw.extra_hosts.iter().flatten().enumerate() {
        let here = route.index(index);
        let Some(text) = plain(text, &here, problems) else {
            continue;
        };
        let good = text.split_once(':').is_some_and(|(host, ip)| {
            let ip = ip.trim_start_matches('[').trim_end_matches(']');
            !host.is_empty() && (ip == "host-gateway" || ip.parse::<std::net::IpAddr>().is_ok())
        });
        if !good {
            problems.push(
                value(&here, format!("`{text}` is no host with its address"))
                    .help("write `HOST:IP`, such as `registry.internal:10.0.0.7`"),
            );
        }
        hosts.push(text);
    }
    hosts
}

fn variants(
    raw: &IndexMap<String, raw::Variant>,
    environments: Option<&Environments>,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Variants {
    if raw.is_empty() {
        problems.push(
            key(route, "holds no variant")
                .help("name one for each environment, or remove it: one image then serves all"),
        );
    }
    let mut variants = IndexMap::new();
    for (name, variant) in raw {
        let here = route.key(name);
        let known = environments.into_iter().flat_map(IndexMap::keys);
        if !known.clone().any(|known| known == name) && !problems.is_full() {
            let known: Vec<&str> = known.map(String::as_str).collect();
            problems.push(
                key(
                    &here,
                    format!("a variant is named after its environment, and there is no `{name}`"),
                )
                .label("no environment")
                .help(super::super::suggest::did_you_mean(name, known)),
            );
        }
        let prefix = variant.tag_prefix.clone().unwrap_or_default();
        tag_prefix(&prefix, &here.key("tag_prefix"), problems);
        let args = variables(variant.args.as_ref(), &here.key("args"), problems);
        if let Ok(name) = EnvironmentName::new(name.clone()) {
            variants.insert(
                name,
                Variant {
                    tag_prefix: prefix,
                    args,
                },
            );
        }
    }
    if !problems.are_within(route) {
        siblings(environments, raw, route, problems);
    }
    prefixes(&variants, raw, route, problems);
    Variants::PerEnvironment(variants)
}

/// An environment that takes its images from one that has a variant needs its own.
fn siblings(
    environments: Option<&Environments>,
    raw: &IndexMap<String, raw::Variant>,
    route: &Route,
    problems: &mut Problems<'_>,
) {
    for (name, environment) in environments.into_iter().flatten() {
        let source = environment.promotes.as_ref();
        if let Some(source) = source.filter(|it| raw.contains_key(*it) && !raw.contains_key(name)) {
            problems.push(
                key(
                    route,
                    format!("there is no variant for `{name}`, which promotes `{source}`"),
                )
                .label("one is missing")
                .help(format!("add `{name}: {{ args: … }}`")),
            );
        }
    }
}

fn tag_prefix(prefix: &str, here: &Route, problems: &mut Problems<'_>) {
    let draft = if let Some(reference) = reference(prefix) {
        value(here, format!("a tag takes no `{reference}`"))
            .help("write the prefix itself: tags are public and must not depend on the machine")
    } else if prefix.len() > LONGEST_PREFIX {
        value(here, "the tag would be longer than 128 characters")
            .help(format!("at most {LONGEST_PREFIX} characters"))
    } else if prefix.starts_with(['.', '-'])
        || !prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        value(here, format!("no tag can start with `{prefix}`"))
            .help("letters, digits, `_`, `.` and `-`, not starting with `.` or `-`: `staging-`")
    } else {
        return;
    };
    problems.push(draft);
}

/// Which variant a tag is of must be plain from how it starts.
fn prefixes(
    variants: &IndexMap<EnvironmentName, Variant>,
    raw: &IndexMap<String, raw::Variant>,
    route: &Route,
    problems: &mut Problems<'_>,
) {
    for (position, (name, variant)) in variants.iter().enumerate() {
        let prefix = &variant.tag_prefix;
        let clash = variants.iter().take(position).find(|(_, other)| {
            let other = &other.tag_prefix;
            let nested = other.starts_with(prefix.as_str()) || prefix.starts_with(other.as_str());
            prefix == other || (!prefix.is_empty() && !other.is_empty() && nested)
        });
        let Some((other_name, other)) = clash else {
            continue;
        };
        let message = if *prefix == other.tag_prefix && prefix.is_empty() {
            format!("has no tag prefix, and neither has `{other_name}`")
        } else if *prefix == other.tag_prefix {
            format!("`{other_name}` has the same tag prefix, \"{prefix}\"")
        } else {
            format!(
                "\"{prefix}\" and \"{}\" of `{other_name}` start alike, so a tag of one looks like one of the other",
                other.tag_prefix
            )
        };
        let here = route.key(name.as_str());
        let given = raw
            .get(name.as_str())
            .is_some_and(|raw| raw.tag_prefix.is_some());
        let draft = if given {
            value(&here.key("tag_prefix"), message)
        } else {
            key(&here, message)
        };
        problems.push(draft.help(format!(
            "give each variant a prefix of its own: `tag_prefix: {name}-` (one may have none)"
        )));
    }
}
