//! Which variables a run needs, so that all that are missing can be named at once, before anything runs.

use std::collections::BTreeMap;

use super::templates::{Scope, of_component, of_profile};
use super::types::{Component, Config, Pipeline, Profile};
use crate::name::ComponentName;
use crate::stage_kind::{Nature, Publishes};
use crate::value::{MissingVariable, Variables};
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
        let builds = pipeline.has(Nature::makes_images);
        let scope = Scope {
            registry: builds,
            gitops: pipeline.has(|is| is.publishes == Publishes::Deployment),
            images: builds,
        };
        let mut profile = profile.clone();
        let components = components.into_iter();
        let components = components.filter_map(|name| self.components.get(name));
        let mut components: Vec<Component> = components.cloned().collect();
        let mut used = Vec::new();
        of_profile(&mut profile, scope, &mut used);
        for component in &mut components {
            of_component(component, scope, &mut used);
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
