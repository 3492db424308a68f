//! Which variables an instruction sees: global args, a stage's own args, its environment.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use shipline_model::config::Platform;

use super::Dockerfile;
use super::error::DockerfileError;
use super::expand::expand;

/// The args before the first FROM, and what they resolve to.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// The build's own args.
    given: BTreeMap<String, String>,
    /// Platform args, known to every FROM and to a stage that declares them.
    platform: BTreeMap<String, String>,
    /// Declared and set.
    declared: BTreeMap<String, String>,
}

impl Globals {
    pub(crate) fn new(
        dockerfile: &Dockerfile,
        given: &BTreeMap<String, String>,
        platform: &Platform,
    ) -> Result<Self, DockerfileError> {
        let mut globals = Self {
            given: given.clone(),
            platform: platform_args(platform),
            declared: BTreeMap::new(),
        };
        for (name, default, line) in &dockerfile.globals {
            let value = match (given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(
                    expand(default, dockerfile.escape, &|name: &str| globals.get(name))
                        .map_err(|why| DockerfileError::new(*line, why))?,
                ),
                (None, None) => globals.platform.get(name).cloned(),
            };
            if let Some(value) = value {
                globals.declared.insert(name.clone(), value);
            }
        }
        Ok(globals)
    }

    /// A variable in a FROM.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.declared
            .get(name)
            .or_else(|| {
                self.given
                    .get(name)
                    .filter(|_| self.platform.contains_key(name))
            })
            .or_else(|| self.platform.get(name))
            .cloned()
    }
}

fn platform_args(platform: &Platform) -> BTreeMap<String, String> {
    let build = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    [
        ("BUILDPLATFORM", format!("linux/{build}")),
        ("BUILDOS", "linux".to_owned()),
        ("BUILDARCH", build.to_owned()),
        ("BUILDVARIANT", String::new()),
        ("TARGETPLATFORM", platform.to_string()),
        ("TARGETOS", platform.os.clone()),
        ("TARGETARCH", platform.architecture.clone()),
        (
            "TARGETVARIANT",
            platform.variant.clone().unwrap_or_default(),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The variables of one stage, as far as it has been read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    args: BTreeMap<String, String>,
    environment: IndexMap<String, String>,
}

impl Scope {
    /// A scope with the environment of the stage's base.
    pub(crate) fn new(environment: IndexMap<String, String>) -> Self {
        Self {
            args: BTreeMap::new(),
            environment,
        }
    }

    /// What was said last counts: an ARG after an ENV of the same name hides it in what follows, and not in the image.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.args
            .get(name)
            .or_else(|| self.environment.get(name))
            .cloned()
    }

    /// `ARG` in a stage: the value given, else its default, else what the global ARG of that name says.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>, globals: &Globals) {
        let value = globals.given.get(name).cloned().or(default).or_else(|| {
            globals
                .declared
                .get(name)
                .or_else(|| globals.platform.get(name))
                .cloned()
        });
        // A second ARG without a value does not unset the first.
        if let Some(value) = value {
            self.args.insert(name.to_owned(), value);
        }
    }

    pub(crate) fn set(&mut self, name: String, value: String) {
        self.args.remove(&name);
        self.environment.insert(name, value);
    }

    pub(crate) fn environment(&self) -> &IndexMap<String, String> {
        &self.environment
    }
}
