//! Where a component's image stands in the GitOps repository.

use super::types::{Component, Config, Profile};
use crate::name::{EnvironmentName, RepositoryName};

/// Where manifests stand where nothing is said.
const DEFAULT: &str = "{environment}/{component}";

impl Component {
    /// Its repository in the registry, in an environment.
    #[must_use]
    pub fn repository_in(&self, environment: &EnvironmentName) -> &RepositoryName {
        self.repositories
            .get(environment)
            .unwrap_or(&self.repository)
    }
}

impl Config {
    /// The paths in the GitOps repository at which the manifests of a component stand: the component's own `manifests`, or else
    /// those of the environment, of the profile, or the default.
    #[must_use]
    pub fn manifests(
        &self,
        profile: Option<&Profile>,
        environment: &EnvironmentName,
        component: &Component,
    ) -> Vec<String> {
        let own = self.environments.get(environment);
        let given = [
            Some(component.manifests.as_slice()),
            own.map(|environment| environment.manifests.as_slice()),
            profile.map(|profile| profile.manifests.as_slice()),
        ];
        let given = given.into_iter().flatten().find(|it| !it.is_empty());
        match given {
            None => vec![fill(DEFAULT, environment, component)],
            Some(patterns) => patterns
                .iter()
                .map(|pattern| fill(pattern, environment, component))
                .collect(),
        }
    }
}

/// A pattern with its names filled in, without `.` and empty parts.
fn fill(pattern: &str, environment: &EnvironmentName, component: &Component) -> String {
    let text = pattern
        .replace("{environment}", environment.as_str())
        .replace("{component}", &component.folder);
    let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}
