//! Flux's HelmRelease: the values of a chart, in the resource.

use std::rc::Rc;

use shipline_model::yaml::Node;

use super::values::{self, Layer, Step};
use crate::parsed::Parsed;
use crate::rendering::{Rendering, Resource};

/// Reads a HelmRelease.
pub(super) fn read(parsed: &Rc<Parsed>, document: &Node, rendering: &mut Rendering) -> bool {
    if document.get("kind").and_then(Node::text) != Some("HelmRelease") {
        return false;
    }
    let resource = resource(parsed, document, rendering);
    let layers = tree(parsed, document, &["spec", "values"])
        .into_iter()
        .collect();
    values::read(resource, layers, "/spec/values", rendering);
    true
}

/// A resource that is no workload.
pub(super) fn resource(parsed: &Rc<Parsed>, document: &Node, rendering: &mut Rendering) -> usize {
    let name = document
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Node::text);
    let kind = document.get("kind").and_then(Node::text);
    rendering.resource(Resource {
        kind: kind.unwrap_or_default().to_owned(),
        names: name.map(str::to_owned).into_iter().collect(),
        file: Rc::clone(&parsed.path),
    })
}

/// The values at these keys of a document that stands at the top of its file, or in a list.
pub(super) fn tree(parsed: &Rc<Parsed>, document: &Node, keys: &[&'static str]) -> Option<Layer> {
    let (index, mut route) = position(parsed, document)?;
    keys.iter().try_fold(document, |node, key| node.get(key))?;
    route.extend(keys.iter().map(|key| Step::Key(key)));
    Some(Layer::Tree {
        parsed: Rc::clone(parsed),
        document: index,
        route,
    })
}

/// Where a resource stands in its file.
fn position(parsed: &Parsed, document: &Node) -> Option<(usize, Vec<Step>)> {
    parsed
        .documents()
        .iter()
        .enumerate()
        .find_map(|(index, root)| Some((index, within(root, document)?)))
}

fn within(node: &Node, wanted: &Node) -> Option<Vec<Step>> {
    if std::ptr::eq(node, wanted) {
        return Some(Vec::new());
    }
    let items = node.get("items")?.items().iter().enumerate();
    items
        .filter_map(|(index, item)| {
            let mut route = vec![Step::Key("items"), Step::Index(index)];
            route.extend(within(item, wanted)?);
            Some(route)
        })
        .next()
}
