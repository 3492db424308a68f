//! Which variables an instruction sees: global args, a stage's own args, its environment.

use std::cell::Cell;
use std::collections::BTreeMap;

use indexmap::IndexMap;
use shipline_model::config::Platform;

use super::Dockerfile;
use super::error::DockerfileError;
use super::expand::{Lookup, expand};

/// How many bytes the variables of a stage may have, names and values together. Linux gives no program more.
const MAX_VARIABLES: usize = 1 << 20;

/// How many characters all expansions of a build may read and write.
const MAX_CHARACTERS: usize = 1 << 24;

/// What a build may still do with variables.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MAX_CHARACTERS))
    }
}

impl Budget {
    /// Takes note of what was read or written.
    pub(crate) fn spend(&self, amount: usize) -> Result<(), String> {
        let left = self.0.get().checked_sub(amount).ok_or_else(|| {
            format!("variables make more than {MAX_CHARACTERS} characters of this Dockerfile")
        })?;
        self.0.set(left);
        Ok(())
    }
}

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
        let (budget, mut size) = (Budget::default(), Size::default());
        for (name, default, line) in &dockerfile.globals {
            let wrong = |why: String| DockerfileError::new(*line, why);
            let value = match (given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let lookup = Counted(&globals, &budget);
                    Some(expand(default, dockerfile.escape, &lookup).map_err(wrong)?)
                }
                (None, None) => globals.platform.get(name).cloned(),
            };
            if let Some(value) = value {
                let before = globals.declared.get(name);
                size.replace(name, before, Some(&value)).map_err(wrong)?;
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

struct Counted<'a>(&'a Globals, &'a Budget);

impl Lookup for Counted<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)
    }

    fn spend(&self, characters: usize) -> Result<(), String> {
        self.1.spend(characters)
    }
}

/// The size of a set of variables, and that it has a limit.
#[derive(Debug, Clone, Copy, Default)]
struct Size(usize);

impl Size {
    /// Takes note of a variable that gets a value, in the place of the one before.
    fn replace(
        &mut self,
        name: &str,
        before: Option<&String>,
        after: Option<&String>,
    ) -> Result<(), String> {
        let size = |value: Option<&String>| value.map_or(0, |value| name.len() + value.len());
        self.0 = self.0 + size(after) - size(before).min(self.0);
        if self.0 > MAX_VARIABLES {
            return Err(format!(
                "the variables have more than {MAX_VARIABLES} bytes together"
            ));
        }
        Ok(())
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
    size: Size,
}

impl Scope {
    /// A scope with the environment of the image that is the stage's base. A stage on another stage has that one's scope.
    pub(crate) fn new(environment: IndexMap<String, String>) -> Self {
        let size = environment
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        Self {
            args: BTreeMap::new(),
            environment,
            size: Size(size),
        }
    }

    /// What was said last counts: an ARG after an ENV of the same name hides it in what follows, and not in the image.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.args
            .get(name)
            .or_else(|| self.environment.get(name))
            .cloned()
    }

    /// `ARG` in a stage: the value given, else its default, else what the global ARG of that name says. A default that does not
    /// count is not expanded either.
    pub(crate) fn declare(
        &mut self,
        name: &str,
        default: Option<&str>,
        globals: &Globals,
        expand: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        let value = match (globals.given.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(default)?),
            (None, None) => globals
                .declared
                .get(name)
                .or_else(|| globals.platform.get(name))
                .cloned(),
        };
        // A second ARG without a value does not unset the first.
        if let Some(value) = value {
            self.size.replace(name, self.args.get(name), Some(&value))?;
            self.args.insert(name.to_owned(), value);
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, name: String, value: String) -> Result<(), String> {
        let hidden = self.args.remove(&name);
        self.size.replace(&name, hidden.as_ref(), None)?;
        self.size
            .replace(&name, self.environment.get(&name), Some(&value))?;
        self.environment.insert(name, value);
        Ok(())
    }

    pub(crate) fn environment(&self) -> &IndexMap<String, String> {
        &self.environment
    }
}
