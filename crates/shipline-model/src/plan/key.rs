//! Source and build keys: SHA-256 over everything that decides a result, each input with its name and length. The inputs are kept
//! beside the key: they say what another key differs in.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::types::{BuildKey, KeyInput, SourceKey};
use crate::config::{BuildEngine, Component, ImageSpec, Pipeline};
use crate::name::{Digest, EnvironmentName};
use crate::value::Value;

/// Grows with every change of what is hashed, or of what our own builders make of the same input.
const VERSION: &str = "shipline-key-2";

/// What a key is made of, in order, and the hash over it: no two lists of inputs give the same bytes.
struct Inputs {
    domain: &'static str,
    list: Vec<KeyInput>,
}

impl Inputs {
    fn new(domain: &'static str) -> Self {
        Self {
            domain,
            list: Vec::new(),
        }
    }

    fn field(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.optional(name, Some(value.into()));
    }

    fn optional(&mut self, name: impl Into<String>, value: Option<String>) {
        let name = name.into();
        self.list.push(KeyInput { name, value });
    }

    fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |name: &str, value: &str| {
            for text in [name, value] {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        };
        add("version", VERSION);
        add("domain", self.domain);
        for input in &self.list {
            match &input.value {
                Some(value) => add(&input.name, value),
                None => add(&format!("no {}", input.name), ""),
            }
        }
        hex::encode(hasher.finalize())
    }
}

/// What a component's source key is made of.
pub(super) struct SourceInputs<'a> {
    pub(super) component: &'a Component,
    pub(super) pipeline: &'a Pipeline,
    /// Key of everything at `path` and `uses`.
    pub(super) tree: &'a str,
    /// What runs the commands, by name.
    pub(super) tools: &'a BTreeMap<String, String>,
    /// Digests of base images, in the Dockerfile's order.
    pub(super) bases: &'a [(String, Digest)],
    /// Resolved `environment`; secrets as fingerprints.
    pub(super) environment: &'a [(String, String)],
}

/// The key of everything but the args of variants: the same for twins.
pub(super) fn source_key(inputs: &SourceInputs<'_>) -> (SourceKey, Vec<KeyInput>) {
    let component = inputs.component;
    let mut found = Inputs::new("source");
    found.field("component", component.name.as_str());
    found.field("tree", inputs.tree);
    found.optional("path", component.path.as_ref().map(ToString::to_string));
    found.optional("setup", component.setup.clone());
    found.optional("test", component.test.clone());
    for stage in inputs.pipeline.stages.values() {
        if let Some(command) = stage.kind.command() {
            found.field("run", command);
        }
    }
    for (name, value) in inputs.environment {
        found.field(format!("environment {name}"), value);
    }
    for (name, version) in inputs.tools {
        found.field(name, version);
    }
    if let Some(image) = &component.image {
        // They are outside the build context, but for those that are included.
        for cache in &component.caches {
            found.field("cache", cache.as_str());
        }
        for cache in &component.include_caches {
            found.field("included cache", cache.as_str());
        }
        image_fields(&mut found, image);
    }
    for (reference, digest) in inputs.bases {
        found.field(format!("base {reference}"), digest.as_str());
    }
    (SourceKey(found.hash()), found.list)
}

fn image_fields(found: &mut Inputs, image: &ImageSpec) {
    found.field("dockerfile", image.dockerfile.as_str());
    found.field("context", image.context.as_str());
    found.optional("target", image.target.clone());
    found.field("platform", image.platform.to_string());
    found.field("engine", engine(image.engine));
    found.optional("prepare", image.prepare.clone());
    found.optional("network", image.network.clone());
    for host in &image.extra_hosts {
        found.field("extra host", host);
    }
}

/// A builder's word in keys. It never changes: keys would.
const fn engine(engine: BuildEngine) -> &'static str {
    match engine {
        BuildEngine::Auto => "Auto",
        BuildEngine::Embedded => "Embedded",
        BuildEngine::Docker => "Docker",
    }
}

/// The key of one image: its source key, the project that its labels name, its variant and its resolved args and secrets.
pub(super) fn build_key<'a>(
    source: &SourceKey,
    project: &str,
    variant: Option<&EnvironmentName>,
    args: impl Iterator<Item = (&'a String, &'a Value)>,
    secrets: impl Iterator<Item = (&'a String, &'a Value)>,
    fingerprint: &dyn Fn(&str) -> String,
) -> (BuildKey, Vec<KeyInput>) {
    let mut found = Inputs::new("build");
    found.field("source", source.0.as_str());
    found.field("project", project);
    found.optional("variant", variant.map(ToString::to_string));
    for (name, value) in args {
        found.field(format!("arg {name}"), shown(value, fingerprint));
    }
    for (name, value) in secrets {
        found.field(format!("secret {name}"), fingerprint(value.expose()));
    }
    (BuildKey(found.hash()), found.list)
}

/// A value as it may stand in a key.
pub(super) fn shown(value: &Value, fingerprint: &dyn Fn(&str) -> String) -> String {
    match value {
        Value::Public(text) => format!("public {text}"),
        Value::Secret(secret) => format!("secret {}", fingerprint(secret.expose())),
    }
}
