//! A checked configuration as a `pipeline.yaml` again, with every default filled in.

use std::collections::BTreeMap;
use std::fmt::Display;

use indexmap::IndexMap;
use serde_yaml::Value;

use super::check::text::write_duration;
use super::raw::{self, Texts};
use super::types::{
    BuildEngine, Component, Config, Containers, Delivery, DistributionSpec, EcrSpec, Environment,
    GitopsSpec, Ignore, ImageSpec, KustomizeImages, Login, Pin, Pipeline, Policy, Profile,
    RegistrySpec, Scans, Stage, Variant, Variants,
};
use crate::name::RepoPath;
use crate::value::Template;

/// The configuration as YAML with every default filled in. Loading the text gives an equal configuration (but for the
/// lines of `scans.ignore`).
#[must_use]
pub fn show(config: &Config) -> String {
    let mut value = serde_yaml::to_value(file(config)).unwrap_or_default();
    drop_null(&mut value);
    serde_yaml::to_string(&value).unwrap_or_default()
}

/// A key that is not there is left out: `null` is no value of the language.
fn drop_null(value: &mut Value) {
    match value {
        Value::Mapping(mapping) => {
            mapping.retain(|_, value| !value.is_null());
            mapping.values_mut().for_each(drop_null);
        }
        Value::Sequence(items) => items.iter_mut().for_each(drop_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {}
    }
}

fn file(config: &Config) -> raw::File {
    let Config {
        project,
        environments,
        profiles,
        components,
        scans,
        pipelines,
    } = config;
    raw::File {
        version: Some(1),
        project: Some(project.clone()),
        environments: Some(map(environments, environment)),
        profiles: Some(map(profiles, profile)),
        components: Some(map(components, component)),
        scans: Some(self::scans(scans)),
        pipelines: (!pipelines.is_empty()).then(|| map(pipelines, pipeline)),
    }
}

fn map<K: Display, V, R>(values: &IndexMap<K, V>, raw: impl Fn(&V) -> R) -> IndexMap<String, R> {
    values
        .iter()
        .map(|(name, value)| (name.to_string(), raw(value)))
        .collect()
}

fn text(value: impl Display) -> Option<String> {
    Some(value.to_string())
}

fn optional(value: Option<&impl Display>) -> Option<String> {
    value.map(ToString::to_string)
}

fn texts(templates: &BTreeMap<String, Template>) -> Option<Texts> {
    let written = |(name, template): (&String, &Template)| (name.clone(), template.to_string());
    Some(templates.iter().map(written).collect())
}

fn environment(environment: &Environment) -> raw::Environment {
    let Environment {
        name: _,
        url,
        api_urls,
        delivery,
        manifests,
    } = environment;
    let (delivery, promotes, confirm) = match delivery {
        Delivery::Automatic => (raw::Delivery::Automatic, None, None),
        Delivery::Manual { promotes, confirm } => {
            (raw::Delivery::Manual, text(promotes), Some(confirm.clone()))
        }
    };
    raw::Environment {
        url: url.clone(),
        api_urls: Some(api_urls.clone()),
        delivery: Some(delivery),
        promotes,
        confirm,
        manifests: patterns(manifests),
    }
}

fn patterns(manifests: &[String]) -> Option<raw::OneOrMore> {
    (!manifests.is_empty()).then(|| raw::OneOrMore(manifests.to_vec()))
}

fn profile(profile: &Profile) -> raw::Profile {
    raw::Profile {
        registry: Some(registry(&profile.registry)),
        gitops: profile.gitops.as_ref().map(|spec| raw::Gitops {
            manifests: patterns(&profile.manifests),
            ..gitops(spec)
        }),
        mirrors: texts(&profile.mirrors),
    }
}

fn registry(registry: &RegistrySpec) -> raw::Registry {
    match registry {
        RegistrySpec::Layout { path } => raw::Registry {
            layout: text(path),
            ..raw::Registry::default()
        },
        RegistrySpec::Distribution(DistributionSpec {
            url,
            insecure,
            ca,
            login,
        }) => raw::Registry {
            url: text(url),
            insecure: Some(*insecure),
            ca: optional(ca.as_ref()),
            username: login
                .as_ref()
                .map(|Login { username, .. }| username.to_string()),
            password: login
                .as_ref()
                .map(|Login { password, .. }| password.to_string()),
            layout: None,
            ecr: None,
        },
        RegistrySpec::Ecr(EcrSpec {
            account,
            region,
            create_repositories,
            role,
            endpoint,
            registry_endpoint,
            ca,
        }) => raw::Registry {
            ecr: Some(raw::Ecr {
                account: Some(account.clone()),
                region: Some(region.clone()),
                create_repositories: Some(*create_repositories),
                role: optional(role.as_ref()),
                endpoint: optional(endpoint.as_ref()),
                registry_endpoint: optional(registry_endpoint.as_ref()),
                ca: optional(ca.as_ref()),
            }),
            ..raw::Registry::default()
        },
    }
}

fn gitops(gitops: &GitopsSpec) -> raw::Gitops {
    match gitops {
        GitopsSpec::Local { path, seed, branch } => raw::Gitops {
            path: text(path),
            seed: optional(seed.as_ref()),
            branch: Some(branch.clone()),
            ..raw::Gitops::default()
        },
        GitopsSpec::Remote {
            url,
            branch,
            token,
            key,
            known_hosts,
        } => raw::Gitops {
            url: text(url),
            branch: Some(branch.clone()),
            token: optional(token.as_ref()),
            key: optional(key.as_ref()),
            known_hosts: optional(known_hosts.as_ref()),
            ..raw::Gitops::default()
        },
    }
}

fn component(component: &Component) -> raw::Component {
    let Component {
        name: _,
        path,
        uses,
        repository,
        repositories,
        folder,
        manifests,
        kubernetes,
        workload,
        container,
        containers,
        value,
        pin,
        kustomize_images,
        caches,
        include_caches,
        tools,
        environment,
        setup,
        test,
        junit,
        timeout,
        route,
        image,
    } = component;
    // What is about sources means nothing without them.
    let base = path.clone().unwrap_or_else(RepoPath::root);
    let sourced = path.is_some();
    raw::Component {
        path: optional(path.as_ref()),
        uses: sourced.then(|| uses.iter().map(ToString::to_string).collect()),
        repository: text(repository),
        folder: Some(folder.clone()),
        kubernetes: Some(kubernetes.clone()),
        repositories: (!repositories.is_empty()).then(|| {
            let named = repositories.iter();
            named
                .map(|(environment, name)| (environment.to_string(), name.to_string()))
                .collect()
        }),
        manifests: patterns(manifests),
        workload: workload.clone(),
        container: container.clone(),
        containers: Some(raw::OneOrMore(match containers {
            Containers::Named => vec!["named".to_owned()],
            Containers::All => vec!["all".to_owned()],
            Containers::Listed(names) => names.clone(),
        })),
        value: value.clone(),
        pin: pin.map(|pin| match pin {
            Pin::Tag => raw::Pin::Tag,
            Pin::Digest => raw::Pin::Digest,
            Pin::Both => raw::Pin::Both,
        }),
        kustomize_images: Some(match kustomize_images {
            KustomizeImages::Existing => raw::KustomizeImages::Existing,
            KustomizeImages::Create => raw::KustomizeImages::Create,
        }),
        caches: sourced.then(|| caches.iter().map(|cache| relative(&base, cache)).collect()),
        include_caches: (!include_caches.is_empty()).then(|| {
            let caches = include_caches.iter();
            caches.map(|cache| relative(&base, cache)).collect()
        }),
        tools: sourced.then(|| tools.clone()),
        environment: texts(environment),
        setup: setup.clone(),
        test: test.clone(),
        junit: (!junit.is_empty()).then(|| junit.clone()),
        timeout: Some(write_duration(*timeout)),
        route: route.as_ref().map(|route| raw::Route {
            prefix: Some(route.prefix.clone()),
            rewrite: route.rewrite.clone(),
            port: Some(route.port),
        }),
        image: image.as_ref().map(|spec| image_of(spec, &base, sourced)),
    }
}

fn image_of(spec: &ImageSpec, base: &RepoPath, sourced: bool) -> raw::Image {
    let ImageSpec {
        engine,
        dockerfile,
        context,
        target,
        platform,
        prepare,
        args,
        secrets,
        network,
        extra_hosts,
        cache_from,
        lock,
        variants,
    } = spec;
    let variants = match variants {
        Variants::One => None,
        Variants::PerEnvironment(variants) => Some(map(variants, variant)),
    };
    if !sourced {
        return raw::Image {
            platform: text(platform),
            variants,
            ..raw::Image::default()
        };
    }
    let engine = match engine {
        BuildEngine::Auto => raw::Engine::Auto,
        BuildEngine::Embedded => raw::Engine::Embedded,
        BuildEngine::Docker => raw::Engine::Docker,
    };
    raw::Image {
        engine: Some(engine),
        dockerfile: Some(relative(base, dockerfile)),
        context: Some(relative(base, context)),
        target: target.clone(),
        platform: text(platform),
        prepare: prepare.clone(),
        args: texts(args),
        secrets: (!secrets.is_empty()).then(|| texts(secrets)).flatten(),
        network: network.clone(),
        extra_hosts: (!extra_hosts.is_empty()).then(|| extra_hosts.clone()),
        cache_from: (!cache_from.is_empty())
            .then(|| cache_from.iter().map(ToString::to_string).collect()),
        lock: Some(*lock),
        variants,
    }
}

fn variant(variant: &Variant) -> raw::Variant {
    raw::Variant {
        tag_prefix: Some(variant.tag_prefix.clone()),
        args: texts(&variant.args),
    }
}

fn policy(policy: &Policy) -> raw::Policy {
    let Policy {
        fail_on,
        baseline,
        not_assessed,
    } = policy;
    raw::Policy {
        fail_on: Some((*fail_on).into()),
        baseline: baseline.as_ref().map(ToString::to_string),
        not_assessed: Some(
            not_assessed
                .iter()
                .map(|(profile, what)| (profile.to_string(), (*what).into()))
                .collect(),
        ),
    }
}

fn scans(scans: &Scans) -> raw::Scans {
    let ignore = |ignore: &Ignore| raw::Ignore {
        rule: Some(ignore.rule.clone()),
        matched: ignore.matched.clone(),
        file: ignore.file.clone(),
        component: ignore.component.as_ref().map(ToString::to_string),
        variant: ignore.variant.as_ref().map(ToString::to_string),
        reason: Some(ignore.reason.clone()),
        until: Some(ignore.until.clone()),
    };
    raw::Scans {
        image: Some(policy(&scans.image)),
        leaks: Some(policy(&scans.leaks)),
        ignore: Some(scans.ignore.iter().map(ignore).collect()),
    }
}

fn pipeline(pipeline: &Pipeline) -> raw::Pipeline {
    let Pipeline {
        name: _,
        components,
        branch,
        stages,
    } = pipeline;
    raw::Pipeline {
        components: Some(components.iter().map(ToString::to_string).collect()),
        branch: Some(branch.clone()),
        stages: Some(map(stages, stage)),
    }
}

fn stage(stage: &Stage) -> raw::Stage {
    raw::Stage {
        kind: Some(stage.kind.kind()),
        needs: Some(stage.needs.iter().map(ToString::to_string).collect()),
        environment: stage.kind.environment().and_then(text),
        command: stage.kind.command().map(str::to_owned),
        timeout: stage.timeout.map(write_duration),
    }
}

/// How `path` is written from `base`.
fn relative(base: &RepoPath, path: &RepoPath) -> String {
    let parts = |path: &RepoPath| -> Vec<String> {
        path.as_str()
            .split('/')
            .filter(|part| *part != ".")
            .map(str::to_owned)
            .collect()
    };
    let (base, path) = (parts(base), parts(path));
    let shared = base.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = base.iter().skip(shared).map(|_| "..".to_owned());
    let steps: Vec<String> = up.chain(path.iter().skip(shared).cloned()).collect();
    if steps.is_empty() {
        ".".to_owned()
    } else {
        steps.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_from_their_base() {
        let check = |base: &str, path: &str, expected: &str| {
            let base = RepoPath::new(base).unwrap();
            let path = RepoPath::new(path).unwrap();
            let written = relative(&base, &path);
            assert_eq!(written, expected);
            assert_eq!(RepoPath::resolve(&base, &written), Some(path));
        };
        check("a/b", "a/b/c", "c");
        check("a/b", "a/target", "../target");
        check("a/b", "a/b", ".");
        check(".", "a", "a");
        check("a", ".", "..");
    }
}
