//! Where `pipeline.yaml` takes variables: one walk over all of these places, for whoever looks at them and whoever changes them.

use std::collections::BTreeMap;

use super::types::{
    Component, Config, DistributionSpec, EcrSpec, GitopsSpec, ImageSpec, Login, Profile,
    RegistrySpec, Variant, Variants,
};
use crate::value::Template;
use crate::yaml::Route;

/// Which places are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scope {
    /// Of a profile's registry and mirrors.
    pub(super) registry: bool,
    /// Of a profile's GitOps repository.
    pub(super) gitops: bool,
    /// Of a component's image.
    pub(super) images: bool,
}

impl Scope {
    /// All places.
    pub(super) const ALL: Self = Self {
        registry: true,
        gitops: true,
        images: true,
    };
}

/// Places in the file, each with the text that stands there.
pub(super) type Places<'a> = Vec<(Route, &'a mut Template)>;

/// Everything of a configuration that variables are put into.
pub(super) fn everything(config: &mut Config) -> Places<'_> {
    let mut all = Vec::new();
    for profile in config.profiles.values_mut() {
        of_profile(profile, Scope::ALL, &mut all);
    }
    for component in config.components.values_mut() {
        of_component(component, Scope::ALL, &mut all);
    }
    all
}

/// What a profile's remotes are given, in the file's order.
pub(super) fn of_profile<'a>(profile: &'a mut Profile, scope: Scope, all: &mut Places<'a>) {
    let Profile {
        name,
        registry,
        gitops,
        manifests: _,
        mirrors,
    } = profile;
    let route = Route::root().key("profiles").key(name.as_str());
    if scope.registry {
        of_registry(registry, &route.key("registry"), all);
        named(mirrors, &route.key("mirrors"), all);
    }
    if scope.gitops {
        of_gitops(gitops, &route.key("gitops"), all);
    }
}

fn of_registry<'a>(registry: &'a mut RegistrySpec, here: &Route, all: &mut Places<'a>) {
    match registry {
        RegistrySpec::Layout { path: _ } => {}
        RegistrySpec::Distribution(DistributionSpec {
            url,
            insecure: _,
            ca,
            login,
        }) => {
            all.push((here.key("url"), url));
            all.extend(ca.iter_mut().map(|ca| (here.key("ca"), ca)));
            if let Some(Login { username, password }) = login {
                all.push((here.key("username"), username));
                all.push((here.key("password"), password));
            }
        }
        RegistrySpec::Ecr(EcrSpec {
            account: _,
            region: _,
            create_repositories: _,
            role,
            endpoint,
            registry_endpoint,
            ca,
        }) => {
            let here = here.key("ecr");
            for (key, template) in [
                ("role", role),
                ("endpoint", endpoint),
                ("registry_endpoint", registry_endpoint),
                ("ca", ca),
            ] {
                all.extend(
                    template
                        .iter_mut()
                        .map(|template| (here.key(key), template)),
                );
            }
        }
    }
}

fn of_gitops<'a>(gitops: &'a mut Option<GitopsSpec>, here: &Route, all: &mut Places<'a>) {
    match gitops {
        None
        | Some(GitopsSpec::Local {
            path: _,
            seed: _,
            branch: _,
        }) => {}
        Some(GitopsSpec::Remote {
            url,
            branch: _,
            token,
            key,
            known_hosts,
        }) => {
            all.push((here.key("url"), url));
            for (name, template) in [("token", token), ("key", key), ("known_hosts", known_hosts)] {
                let template = template.iter_mut();
                all.extend(template.map(|template| (here.key(name), template)));
            }
        }
    }
}

/// What a component's commands and images are given, in the file's order.
pub(super) fn of_component<'a>(component: &'a mut Component, scope: Scope, all: &mut Places<'a>) {
    let route = Route::root().key("components").key(component.name.as_str());
    named(&mut component.environment, &route.key("environment"), all);
    let Some(image) = component.image.as_mut().filter(|_| scope.images) else {
        return;
    };
    let ImageSpec {
        engine: _,
        dockerfile: _,
        context: _,
        target: _,
        platform: _,
        prepare: _,
        args,
        secrets,
        network: _,
        extra_hosts: _,
        cache_from,
        lock: _,
        variants,
    } = image;
    let route = route.key("image");
    named(args, &route.key("args"), all);
    named(secrets, &route.key("secrets"), all);
    for (index, template) in cache_from.iter_mut().enumerate() {
        all.push((route.key("cache_from").index(index), template));
    }
    if let Variants::PerEnvironment(variants) = variants {
        for (name, variant) in variants {
            let Variant {
                tag_prefix: _,
                args,
            } = variant;
            let route = route.key("variants").key(name.as_str()).key("args");
            named(args, &route, all);
        }
    }
}

fn named<'a>(templates: &'a mut BTreeMap<String, Template>, route: &Route, all: &mut Places<'a>) {
    all.extend(
        templates
            .iter_mut()
            .map(|(name, template)| (route.key(name), template)),
    );
}
