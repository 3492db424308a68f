//! What is allowed and still worth a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use indexmap::IndexMap;

use super::types::{Config, Pipeline, Variant, Variants};
use crate::name::EnvironmentName;
use crate::stage_kind::{Nature, Publishes};
use crate::value::{Source, Template};
use crate::yaml::Route;

/// Names that frameworks put into JavaScript for everybody to read.
const PUBLIC: &[&str] = &[
    "NEXT_PUBLIC_",
    "VITE_",
    "REACT_APP_",
    "NUXT_PUBLIC_",
    "EXPO_PUBLIC_",
    "PUBLIC_",
    "GATSBY_",
];

/// Something in a `pipeline.yaml` that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where in the structure.
    pub route: Route,
    /// What is the matter: lower case, no period.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.route, self.message)
    }
}

/// All warnings of a configuration, in the file's order.
#[must_use]
pub fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, component) in &config.components {
        let Some(image) = &component.image else {
            continue;
        };
        let route = Route::root()
            .key("components")
            .key(name.as_str())
            .key("image");
        secret_args(&image.args, &route.key("args"), &mut warnings);
        if let Variants::PerEnvironment(variants) = &image.variants {
            for (name, variant) in variants {
                let route = route.key("variants").key(name.as_str()).key("args");
                secret_args(&variant.args, &route, &mut warnings);
                missing_args(name, variants, &image.args, &route, &mut warnings);
            }
        }
    }
    for pipeline in config.pipelines.values() {
        unscanned(pipeline, &mut warnings);
    }
    warnings
}

/// An arg that a variant's sibling has and it lacks was probably forgotten. It is no error: the Dockerfile may have a default
/// for it that is meant.
fn missing_args(
    name: &EnvironmentName,
    variants: &IndexMap<EnvironmentName, Variant>,
    shared: &BTreeMap<String, Template>,
    route: &Route,
    warnings: &mut Vec<Warning>,
) {
    let own = variants.get(name).map(|variant| &variant.args);
    let mut told = BTreeSet::new();
    for (sibling, variant) in variants {
        for arg in variant.args.keys() {
            let has = shared.contains_key(arg) || own.is_some_and(|own| own.contains_key(arg));
            if has || !told.insert(arg) {
                continue;
            }
            warnings.push(Warning {
                route: route.clone(),
                message: format!(
                    "`{name}` has no arg `{arg}`, and its sibling `{sibling}` has one"
                ),
                help: format!(
                    "add `{arg}` here, or to `args` of the image, where it holds for all variants"
                ),
            });
        }
    }
}

/// What is pushed was scanned before, where there is a stage that scans.
fn unscanned(pipeline: &Pipeline, warnings: &mut Vec<Warning>) {
    if pipeline.has(Nature::judges_images) {
        return;
    }
    let pushing = pipeline.stages.values();
    for stage in pushing.filter(|stage| stage.kind.nature().publishes == Publishes::Images) {
        let name = stage.name.as_str();
        warnings.push(Warning {
            route: Route::root()
                .key("pipelines")
                .key(pipeline.name.as_str())
                .key("stages")
                .key(name),
            message: "its images are published unscanned: a URL of another environment in them is found by nobody".to_owned(),
            help: format!(
                "add `image-scan: {{ kind: image-scan, needs: [{}] }}`, and `image-scan` to the `needs` of `{name}`",
                pipeline
                    .stages
                    .values()
                    .find(|stage| stage.kind.nature().makes_images())
                    .map_or("build", |build| build.name.as_str())
            ),
        });
    }
}

fn secret_args(args: &BTreeMap<String, Template>, route: &Route, warnings: &mut Vec<Warning>) {
    for (name, template) in args {
        let secret = template
            .references()
            .any(|reference| reference.source == Source::Secret);
        if secret && !PUBLIC.iter().any(|prefix| name.starts_with(prefix)) {
            warnings.push(Warning {
                route: route.key(name),
                message: format!(
                    "the secret of the build arg `{name}` stays readable in the image's history"
                ),
                help: format!(
                    "write it under `image.secrets` and mount it in the Dockerfile: `RUN --mount=type=secret,id={name} …`"
                ),
            });
        }
    }
}
