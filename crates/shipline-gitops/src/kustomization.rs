//! Kustomization files: what they take in, and what they do to images.

use std::rc::Rc;

use shipline_model::yaml::Node;

use crate::error::Spot;
use crate::folder::{parent, resolve};
use crate::parsed::Parsed;
use crate::patch::Selector;
use crate::rule::Rule;

/// A kustomization file.
#[derive(Debug)]
pub(crate) struct Kustomization {
    pub(crate) parsed: Rc<Parsed>,
    /// Whether it changes what takes it in (`kind: Component`).
    pub(crate) is_component: bool,
    /// What it takes in.
    pub(crate) taken: Vec<Taken>,
    pub(crate) patches: Vec<PatchEntry>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) replacements: Vec<Entry>,
    pub(crate) transformers: Vec<Entry>,
    /// Charts and generators: resources that cannot be seen here.
    pub(crate) generators: Vec<Entry>,
    pub(crate) prefix: String,
    pub(crate) suffix: String,
}

/// Something that is taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) text: String,
    /// Its path in the repository; `None` where it is elsewhere.
    pub(crate) path: Option<String>,
    pub(crate) spot: Spot,
    pub(crate) component: bool,
}

/// An entry of one of the lists.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) spot: Spot,
}

/// An entry of a list of patches.
#[derive(Debug)]
pub(crate) struct PatchEntry {
    /// The patch itself.
    pub(crate) inline: Option<String>,
    /// Its file.
    pub(crate) path: Option<String>,
    pub(crate) selector: Option<Selector>,
    pub(crate) spot: Spot,
    /// Whether it comes after those of the other lists.
    pub(crate) late: bool,
}

impl Kustomization {
    /// Reads a file; `None` for Flux's object of the same kind, which is no input of kustomize.
    pub(crate) fn read(parsed: &Rc<Parsed>) -> Option<Self> {
        let root = parsed.documents().first()?;
        let text = |key| root.get(key).and_then(Node::text).unwrap_or_default();
        if is_flux(parsed) {
            return None;
        }
        let folder = parent(&parsed.path).to_owned();
        let mut it = Self {
            parsed: Rc::clone(parsed),
            is_component: text("kind") == "Component",
            taken: Vec::new(),
            patches: Vec::new(),
            rules: Vec::new(),
            replacements: Vec::new(),
            transformers: Vec::new(),
            generators: Vec::new(),
            prefix: text("namePrefix").to_owned(),
            suffix: text("nameSuffix").to_owned(),
        };
        let items = |key| root.get_all(key).flat_map(Node::items);
        for key in ["resources", "bases", "components"] {
            for entry in items(key) {
                let Some(text) = entry.text() else {
                    continue;
                };
                it.taken.push(Taken {
                    path: resolve(&folder, text).filter(|_| !is_remote(text)),
                    text: text.to_owned(),
                    spot: parsed.spot(entry),
                    component: key == "components",
                });
            }
        }
        for (key, late) in [
            ("patchesStrategicMerge", false),
            ("patches", false),
            ("patchesJson6902", true),
        ] {
            for entry in items(key) {
                it.patches.extend(patch(parsed, &folder, entry, late));
            }
        }
        for key in ["images", "imageTags"] {
            it.rules
                .extend(items(key).filter_map(|entry| Rule::kustomize(parsed, entry)));
        }
        let entry = |node: &Node| Entry {
            text: parsed.written(&node.span).to_owned(),
            spot: parsed.spot(node),
        };
        it.replacements.extend(items("replacements").map(entry));
        it.transformers
            .extend(items("transformers").map(|node| Entry {
                text: node.text().unwrap_or_default().to_owned(),
                spot: parsed.spot(node),
            }));
        for key in ["generators", "helmCharts", "helmChartInflationGenerator"] {
            it.generators.extend(items(key).map(entry));
        }
        Some(it)
    }

    /// The folder that it is in.
    pub(crate) fn folder(&self) -> &str {
        parent(&self.parsed.path)
    }
}

fn patch(parsed: &Parsed, folder: &str, entry: &Node, late: bool) -> Option<PatchEntry> {
    let spot = parsed.spot(entry);
    let selector = entry.get("target").map(Selector::read);
    let inline = entry.get("patch").and_then(Node::text);
    let named = entry
        .text()
        .or_else(|| entry.get("path").and_then(Node::text));
    // `patchesStrategicMerge` takes texts and paths in one place.
    let (inline, named) = match (inline, named) {
        (None, Some(text)) if text.contains('\n') || text.trim_start().starts_with('{') => {
            (Some(text), None)
        }
        (inline, named) => (inline, named),
    };
    if inline.is_none() && named.is_none() {
        return None;
    }
    Some(PatchEntry {
        inline: inline.map(str::to_owned),
        path: named.and_then(|text| resolve(folder, text)),
        selector,
        spot,
        late,
    })
}

/// Whether a file holds Flux's object of the same kind.
pub(crate) fn is_flux(parsed: &Parsed) -> bool {
    let version = parsed
        .documents()
        .first()
        .and_then(|root| root.get("apiVersion"));
    let version = version.and_then(Node::text);
    version.is_some_and(|version| version.starts_with("kustomize.toolkit.fluxcd.io/"))
}

/// Whether kustomize fetches what is named so.
fn is_remote(text: &str) -> bool {
    text.contains("://")
        || text.contains("?ref=")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
}
