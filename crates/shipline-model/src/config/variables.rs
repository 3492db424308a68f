//! Which variables a run needs, so that all that are missing can be named at once, before anything runs.

use std::collections::BTreeMap;

use super::types::{
    Component, Config, DistributionSpec, EcrSpec, GitopsSpec, Login, Pipeline, Profile,
    RegistrySpec, Variants,
};
use crate::name::ComponentName;
use crate::stage_kind::{Nature, Publishes};
use crate::value::{MissingVariable, Template, Variables};
use crate::yaml::Route;

/// A variable that is not set, and where the file uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingAt {
    /// The variable.
    pub variable: MissingVariable,
    /// Where it is used, in the file's order.
    pub routes: Vec<Route>,
}

impl Config {
    /// All variables that a run of `pipeline` with `profile` for `components` needs and `variables` does not have, each
    /// once, by name. What no stage of the pipeline works with is not needed: a registry by one that only tests, a GitOps
    /// repository by one that does not write it.
    #[must_use]
    pub fn missing_variables<'a>(
        &self,
        pipeline: &Pipeline,
        profile: &Profile,
        components: impl IntoIterator<Item = &'a ComponentName>,
        variables: &Variables,
    ) -> Vec<MissingAt> {
        let mut used = Vec::new();
        let builds = pipeline.has(Nature::makes_images);
        if builds {
            registry_templates(profile, &mut used);
        }
        if pipeline.has(|is| is.publishes == Publishes::Deployment) {
            gitops_templates(profile, &mut used);
        }
        for name in components {
            if let Some(component) = self.components.get(name) {
                component_templates(component, builds, &mut used);
            }
        }
        let mut missing: BTreeMap<MissingVariable, Vec<Route>> = BTreeMap::new();
        for (route, template) in used {
            for variable in template.resolve(variables).err().into_iter().flatten() {
                missing.entry(variable).or_default().push(route.clone());
            }
        }
        missing
            .into_iter()
            .map(|(variable, routes)| MissingAt { variable, routes })
            .collect()
    }
}

pub(super) type Used<'a> = Vec<(Route, &'a Template)>;

/// Everything that a profile's remotes are given.
pub(super) fn profile_templates<'a>(profile: &'a Profile, used: &mut Used<'a>) {
    registry_templates(profile, used);
    gitops_templates(profile, used);
}

fn registry_templates<'a>(profile: &'a Profile, used: &mut Used<'a>) {
    let route = Route::root().key("profiles").key(profile.name.as_str());
    let registry = route.key("registry");
    match &profile.registry {
        RegistrySpec::Layout { path: _ } => {}
        RegistrySpec::Distribution(DistributionSpec {
            url,
            insecure: _,
            ca,
            login,
        }) => {
            used.push((registry.key("url"), url));
            used.extend(ca.iter().map(|ca| (registry.key("ca"), ca)));
            if let Some(Login { username, password }) = login {
                used.push((registry.key("username"), username));
                used.push((registry.key("password"), password));
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
            let ecr = registry.key("ecr");
            for (key, template) in [
                ("role", role),
                ("endpoint", endpoint),
                ("registry_endpoint", registry_endpoint),
                ("ca", ca),
            ] {
                used.extend(template.iter().map(|template| (ecr.key(key), template)));
            }
        }
    }
    named(&profile.mirrors, &route.key("mirrors"), used);
}

fn gitops_templates<'a>(profile: &'a Profile, used: &mut Used<'a>) {
    match &profile.gitops {
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
        }) => {
            let route = Route::root().key("profiles").key(profile.name.as_str());
            let gitops = route.key("gitops");
            used.push((gitops.key("url"), url));
            used.extend(token.iter().map(|token| (gitops.key("token"), token)));
        }
    }
}

pub(super) fn component_templates<'a>(component: &'a Component, builds: bool, used: &mut Used<'a>) {
    let route = Route::root().key("components").key(component.name.as_str());
    named(&component.environment, &route.key("environment"), used);
    let Some(image) = component.image.as_ref().filter(|_| builds) else {
        return;
    };
    let route = route.key("image");
    named(&image.args, &route.key("args"), used);
    named(&image.secrets, &route.key("secrets"), used);
    for (index, template) in image.cache_from.iter().enumerate() {
        used.push((route.key("cache_from").index(index), template));
    }
    if let Variants::PerEnvironment(variants) = &image.variants {
        for (name, variant) in variants {
            let route = route.key("variants").key(name.as_str()).key("args");
            named(&variant.args, &route, used);
        }
    }
}

fn named<'a>(templates: &'a BTreeMap<String, Template>, route: &Route, used: &mut Used<'a>) {
    used.extend(
        templates
            .iter()
            .map(|(name, template)| (route.key(name), template)),
    );
}
