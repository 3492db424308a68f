//! Source and build keys: SHA-256 over everything that decides a result, each field with its name and length.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::types::{BuildKey, SourceKey};
use crate::config::{BuildEngine, Component, ImageSpec, Pipeline};
use crate::name::{Digest, EnvironmentName};
use crate::value::Value;

/// Grows with every change of what is hashed, or of what our own builders make of the same input.
const VERSION: &str = "shipline-key-2";

/// Hashes named fields: no two lists of fields give the same bytes.
struct Hasher(Sha256);

impl Hasher {
    fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.field("version", VERSION);
        hasher.field("domain", domain);
        hasher
    }

    fn field(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.field(name, value),
            None => self.field(&format!("no {name}"), ""),
        }
    }

    fn finish(self) -> String {
        hex::encode(self.0.finalize())
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
pub(super) fn source_key(inputs: &SourceInputs<'_>) -> SourceKey {
    let component = inputs.component;
    let mut hasher = Hasher::new("source");
    hasher.field("component", component.name.as_str());
    hasher.field("tree", inputs.tree);
    hasher.optional("path", component.path.as_ref().map(AsRef::as_ref));
    hasher.optional("setup", component.setup.as_deref());
    hasher.optional("test", component.test.as_deref());
    for stage in inputs.pipeline.stages.values() {
        if let Some(command) = stage.kind.command() {
            hasher.field("run", command);
        }
    }
    for (name, value) in inputs.environment {
        hasher.field(&format!("environment {name}"), value);
    }
    for (name, version) in inputs.tools {
        hasher.field(name, version);
    }
    if let Some(image) = &component.image {
        // They are outside the build context, but for those that are included.
        for cache in &component.caches {
            hasher.field("cache", cache.as_str());
        }
        for cache in &component.include_caches {
            hasher.field("included cache", cache.as_str());
        }
        image_fields(&mut hasher, image);
    }
    for (reference, digest) in inputs.bases {
        hasher.field(&format!("base {reference}"), digest.as_str());
    }
    SourceKey(hasher.finish())
}

fn image_fields(hasher: &mut Hasher, image: &ImageSpec) {
    hasher.field("dockerfile", image.dockerfile.as_str());
    hasher.field("context", image.context.as_str());
    hasher.optional("target", image.target.as_deref());
    hasher.field("platform", &image.platform.to_string());
    hasher.field("engine", engine(image.engine));
    hasher.optional("prepare", image.prepare.as_deref());
    hasher.optional("network", image.network.as_deref());
    for host in &image.extra_hosts {
        hasher.field("extra host", host);
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
) -> BuildKey {
    let mut hasher = Hasher::new("build");
    hasher.field("source", &source.0);
    hasher.field("project", project);
    hasher.optional("variant", variant.map(EnvironmentName::as_str));
    for (name, value) in args {
        hasher.field(&format!("arg {name}"), &shown(value, fingerprint));
    }
    for (name, value) in secrets {
        hasher.field(&format!("secret {name}"), &fingerprint(value.expose()));
    }
    BuildKey(hasher.finish())
}

/// A value as it may stand in a key.
pub(super) fn shown(value: &Value, fingerprint: &dyn Fn(&str) -> String) -> String {
    match value {
        Value::Public(text) => format!("public {text}"),
        Value::Secret(secret) => format!("secret {}", fingerprint(secret.expose())),
    }
}
