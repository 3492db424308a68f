//! Argo CD's Applications: parameters and values of a chart, images of a kustomization, in the resource itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use shipline_model::yaml::Node;

use super::helm_release::{resource, tree};
use super::values::{self, Layer, slot};
use crate::parsed::Parsed;
use crate::place::{Doubt, Form, Reference};
use crate::rendering::{Image, Obstacle, Part, Rendering};
use crate::rule::Rule;

/// A source of an Application.
pub(crate) struct Source<'n> {
    pub(crate) node: &'n Node,
    /// The keys to it from the document's root; `None` where it stands in a list.
    keys: Option<Vec<&'static str>>,
}

impl<'n> Source<'n> {
    /// What stands at the top of a file of parameters.
    pub(crate) fn top(node: &'n Node) -> Self {
        Self {
            node,
            keys: Some(Vec::new()),
        }
    }
}

/// The sources of an Application, or of an ApplicationSet's template.
pub(crate) fn sources(document: &Node) -> Vec<Source<'_>> {
    let (spec, mut keys) = match document.get("kind").and_then(Node::text) {
        Some("Application") => (document.get("spec"), vec!["spec"]),
        Some("ApplicationSet") => (
            document
                .get("spec")
                .and_then(|spec| spec.get("template"))
                .and_then(|template| template.get("spec")),
            vec!["spec", "template", "spec"],
        ),
        Some(_) | None => (None, Vec::new()),
    };
    let Some(spec) = spec else {
        return Vec::new();
    };
    keys.push("source");
    let one = spec.get("source").map(|node| Source {
        node,
        keys: Some(keys),
    });
    let several = spec.get_all("sources").flat_map(Node::items);
    one.into_iter()
        .chain(several.map(|node| Source { node, keys: None }))
        .collect()
}

/// The values that a source gives to its chart, from the weakest to the strongest.
pub(crate) fn layers(parsed: &Rc<Parsed>, document: &Node, source: &Source<'_>) -> Vec<Layer> {
    let mut layers = Vec::new();
    let Some(helm) = source.node.get("helm") else {
        return layers;
    };
    if let Some(keys) = &source.keys {
        let keys: Vec<&'static str> = keys
            .iter()
            .copied()
            .chain(["helm", "valuesObject"])
            .collect();
        layers.extend(tree(parsed, document, &keys));
    }
    let mut parameters = BTreeMap::new();
    for parameter in helm.get_all("parameters").flat_map(Node::items) {
        let name = parameter.get("name").and_then(Node::text);
        let value = parameter.get("value").and_then(|node| slot(parsed, node));
        if let (Some(name), Some(value)) = (name, value) {
            parameters.insert(name.to_owned(), value);
        }
    }
    if !parameters.is_empty() {
        layers.push(Layer::Parameters {
            parsed: Rc::clone(parsed),
            values: parameters,
        });
    }
    layers
}

/// Values that are written as one text: they cannot be edited key by key.
pub(crate) fn block(parsed: &Parsed, source: &Source<'_>) -> Option<Doubt> {
    let values = source.node.get("helm")?.get("values")?;
    let text = values.text()?;
    let says = text.contains("image") || text.contains("tag");
    says.then(|| Doubt {
        spot: parsed.spot(values),
        cause: "the values of the chart are one text here, which may set the image".to_owned(),
        remedy: "write them as `valuesObject`, whose keys Shipline can set".to_owned(),
    })
}

/// Reads an Application that is deployed as a resource itself.
pub(super) fn read(parsed: &Rc<Parsed>, document: &Node, rendering: &mut Rendering) -> bool {
    let kind = document.get("kind").and_then(Node::text);
    if !matches!(kind, Some("Application" | "ApplicationSet")) {
        return false;
    }
    for source in sources(document) {
        let resource = resource(parsed, document, rendering);
        let layers = layers(parsed, document, &source);
        values::read(
            resource,
            layers,
            "/spec/source/helm/valuesObject",
            rendering,
        );
        if let Some(doubt) = block(parsed, &source) {
            rendering.obstacles.push(Obstacle { resource, doubt });
        }
        let lists = source.node.get_all("kustomize");
        let entries = lists.flat_map(|kustomize| kustomize.get_all("images"));
        for (index, entry) in entries.flat_map(Node::items).enumerate() {
            let Some(rule) = Rule::argo(parsed, entry) else {
                continue;
            };
            let Form::Whole { slot, prefix } = &rule.place.form else {
                continue;
            };
            let text = slot.value.strip_prefix(prefix.as_str()).unwrap_or_default();
            let reference = Reference::of(text);
            let spot = rule.place.spot();
            let decided = rendering.place(rule.place.clone());
            let pod = rendering.pod();
            rendering.images.push(Image {
                resource,
                pod,
                part: Part::Values(format!("kustomize.images.{index}")),
                pointer: format!("/spec/source/kustomize/images/{index}"),
                reference: Some(reference),
                decided,
                doubt: None,
                spot,
                gone: false,
            });
        }
    }
    true
}
