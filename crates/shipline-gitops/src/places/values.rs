//! Helm values: files, and the values in other resources. What is set last wins, key by key.

use std::collections::BTreeMap;
use std::rc::Rc;

use shipline_model::placeholder;
use shipline_model::yaml::{Node, NodeKind};

use crate::parsed::{NOT_UTF8, Parsed, SAVE_UTF8, TEMPLATE};
use crate::place::{Doubt, Form, Keys, Place, Reference, Slot, Split};
use crate::rendering::{Image, Part, Rendering};

/// How deep images are searched for in values.
const DEPTH: usize = 16;

/// The keys under which the name of an image stands in a mapping of its own.
const NAMES: &[&str] = &["repository", "name", "image"];

/// The keys under which a tag stands beside an image that has none.
const TAGS: &[&str] = &["tag", "imageTag", "image_tag"];

/// Values that lie over weaker ones.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    /// A mapping in a file.
    Tree {
        parsed: Rc<Parsed>,
        /// Which document, and the keys and indices to the values in it.
        document: usize,
        route: Vec<Step>,
    },
    /// Parameters by their names, as Argo CD has them.
    Parameters {
        parsed: Rc<Parsed>,
        values: BTreeMap<String, Slot>,
    },
}

/// A step to a node.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Key(&'static str),
    Index(usize),
}

impl Layer {
    fn parsed(&self) -> &Rc<Parsed> {
        match self {
            Self::Tree { parsed, .. } | Self::Parameters { parsed, .. } => parsed,
        }
    }

    fn root(&self) -> Option<&Node> {
        match self {
            Self::Tree {
                parsed,
                document,
                route,
            } => {
                let root = parsed.documents().get(*document)?;
                route.iter().try_fold(root, |node, step| match step {
                    Step::Key(key) => node.get(key),
                    Step::Index(index) => node.items().get(*index),
                })
            }
            Self::Parameters { .. } => None,
        }
    }

    /// The node at these keys.
    fn at(&self, route: &str) -> Option<&Node> {
        let root = self.root()?;
        if route.is_empty() {
            return Some(root);
        }
        route.split('.').try_fold(root, |node, key| {
            node.get(key)
                .or_else(|| node.items().get(key.parse::<usize>().ok()?))
        })
    }

    /// The scalar at these keys.
    fn slot(&self, route: &str) -> Option<Slot> {
        match self {
            Self::Tree { parsed, .. } => {
                let node = self.at(route)?;
                slot(parsed, node)
            }
            Self::Parameters { values, .. } => values.get(route).cloned(),
        }
    }
}

/// A scalar with bytes of its own.
pub(crate) fn slot(parsed: &Parsed, node: &Node) -> Option<Slot> {
    let value = parsed.value(node)?;
    (!node.span.is_empty() && value != "null" && value != "~").then(|| Slot {
        span: node.span.clone(),
        value,
    })
}

fn join(route: &str, key: &str) -> String {
    if route.is_empty() {
        key.to_owned()
    } else {
        format!("{route}.{key}")
    }
}

/// The keys at which images may stand in values.
fn routes(node: &Node, route: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEPTH {
        return;
    }
    for (index, item) in node.items().iter().enumerate() {
        routes(item, &join(route, &index.to_string()), depth + 1, found);
    }
    for (key, value) in node.entries() {
        let Some(key) = key.text().filter(|key| !key.contains('.')) else {
            continue;
        };
        let here = join(route, key);
        let is_image = key == "image" || key.ends_with("Image") || key.ends_with("_image");
        let is_split =
            value.get("repository").is_some() || (is_image && value.get("tag").is_some());
        let is_whole = is_image && value.text().is_some_and(|text| !text.is_empty());
        if is_split || is_whole {
            found.push(here.clone());
        }
        routes(value, &here, depth + 1, found);
    }
}

/// Reads the images of values into a rendering.
pub(crate) fn read(resource: usize, layers: Vec<Layer>, base: &str, rendering: &mut Rendering) {
    let mut found = Vec::new();
    for layer in &layers {
        if let Some(root) = layer.root() {
            routes(root, "", 0, &mut found);
        }
        if let Layer::Parameters { values, .. } = layer {
            let tags = values.keys().filter_map(|key| key.strip_suffix(".tag"));
            found.extend(tags.map(str::to_owned));
            let whole = values
                .keys()
                .filter(|key| *key == "image" || key.ends_with(".image"));
            found.extend(whole.cloned());
        }
    }
    found.sort();
    found.dedup();
    for route in found {
        if let Some((reference, place)) =
            merged(&layers, &route).filter(|(it, _)| !it.name.is_empty())
        {
            let pointer = format!("{base}/{}", route.replace('.', "/"));
            push(resource, &route, pointer, reference, place, rendering);
        }
    }
    rendering.layers.push((resource, layers));
}

fn push(
    resource: usize,
    route: &str,
    pointer: String,
    reference: Reference,
    place: Place,
    rendering: &mut Rendering,
) -> usize {
    let spot = place.spot();
    let decided = rendering.place(place);
    let pod = rendering.pod();
    rendering.images.push(Image {
        resource,
        pod,
        part: Part::Values(route.to_owned()),
        pointer,
        reference: Some(reference),
        decided,
        doubt: None,
        spot,
        gone: false,
    });
    rendering.images.len() - 1
}

/// The image at keys that pipeline.yaml names; `None` where nothing stands there.
pub(crate) fn declared(resource: usize, route: &str, rendering: &mut Rendering) -> Option<usize> {
    let known = rendering.images.iter().position(|image| {
        image.resource == resource && image.part == Part::Values(route.to_owned())
    });
    if known.is_some() {
        return known;
    }
    let (_, layers) = rendering.layers.iter().find(|(it, _)| *it == resource)?;
    // The tag's own key: the mapping around it is the image.
    let (outer, last) = route.rsplit_once('.').unwrap_or(("", route));
    let by_tag = TAGS.contains(&last) || last.to_lowercase().ends_with("tag");
    let (reference, place) = if by_tag {
        tag_alone(layers, outer, route)?
    } else {
        merged(layers, route)?
    };
    let pointer = format!("/{}", route.replace('.', "/"));
    Some(push(resource, route, pointer, reference, place, rendering))
}

/// A tag whose image has a name beside it, or in the chart only.
fn tag_alone(layers: &[Layer], outer: &str, route: &str) -> Option<(Reference, Place)> {
    let (layer, tag) = last(layers, route)?;
    let name = NAMES
        .iter()
        .find_map(|key| last(layers, &join(outer, key)))
        .map(|(_, slot)| slot.value)
        .unwrap_or_default();
    Some(split(layer, outer, None, Some(tag), None, name))
}

fn last<'l>(layers: &'l [Layer], route: &str) -> Option<(&'l Layer, Slot)> {
    let mut strongest = layers.iter().rev();
    strongest.find_map(|layer| Some((layer, layer.slot(route)?)))
}

/// The image at these keys: a whole text, or a mapping of which each key is taken from the strongest values that have it.
fn merged(layers: &[Layer], route: &str) -> Option<(Reference, Place)> {
    if let Some((layer, slot)) = last(layers, route) {
        let outer = route.rsplit_once('.').map_or("", |(outer, _)| outer);
        let text = Reference::of(&slot.value);
        if text.tag.is_none() && text.digest.is_none() {
            let beside = TAGS.iter().find_map(|key| {
                let (layer, tag) = last(layers, &join(outer, key))?;
                Some((layer, tag))
            });
            if let Some((layer, tag)) = beside {
                let own = layer.slot(route);
                return Some(split(layer, outer, own, Some(tag), None, slot.value));
            }
        }
        let doubt = doubt(layer, &slot);
        let place = Place {
            file: Rc::clone(&layer.parsed().path),
            line: layer.parsed().line(slot.span.start),
            form: Form::Whole {
                slot,
                prefix: String::new(),
            },
            doubt,
        };
        return Some((text, place));
    }
    let tag = last(layers, &join(route, "tag"));
    let digest = last(layers, &join(route, "digest")).filter(|(_, slot)| !slot.value.is_empty());
    let (key, name) = NAMES
        .iter()
        .find_map(|key| Some((*key, last(layers, &join(route, key))?)))?;
    let registry =
        last(layers, &join(route, "registry")).filter(|(_, slot)| !slot.value.is_empty());
    let full = match &registry {
        Some((_, registry)) => format!("{}/{}", registry.value, name.1.value),
        None => name.1.value.clone(),
    };
    let layer = tag
        .as_ref()
        .or(digest.as_ref())
        .map_or(name.0, |(layer, _)| *layer);
    let own_name = layer.slot(&join(route, key));
    let own_digest = digest.map(|(_, slot)| slot);
    let (reference, mut place) = split(
        layer,
        route,
        own_name,
        tag.map(|(_, slot)| slot),
        own_digest,
        full,
    );
    if let Form::Split(split) = &mut place.form {
        split.registry = layer.slot(&join(route, "registry"));
        if split.registry.is_none() && registry.is_some() {
            // The host comes from weaker values: a new name would have to leave it out.
            split.name = None;
        }
    }
    Some((reference, place))
}

/// An image whose tag stands in a layer.
fn split(
    layer: &Layer,
    route: &str,
    name: Option<Slot>,
    tag: Option<Slot>,
    digest: Option<Slot>,
    full: String,
) -> (Reference, Place) {
    let parsed = layer.parsed();
    let mapping = layer
        .at(route)
        .filter(|node| matches!(node.kind, NodeKind::Mapping(_)))
        .map(|node| node.span.clone());
    let (text, within) = match tag.as_ref().and_then(|tag| tag.value.split_once('@')) {
        Some((tag, digest)) => (Some(tag.to_owned()), Some(digest.to_owned())),
        None => (tag.as_ref().map(|tag| tag.value.clone()), None),
    };
    let reference = Reference {
        name: full,
        tag: text,
        digest: digest.as_ref().map(|slot| slot.value.clone()).or(within),
    };
    let first = tag.as_ref().or(digest.as_ref()).or(name.as_ref());
    let doubt = first.and_then(|slot| doubt(layer, slot));
    let start = first
        .map(|slot| slot.span.start)
        .or_else(|| mapping.as_ref().map(|it| it.start));
    let place = Place {
        file: Rc::clone(&parsed.path),
        line: parsed.line(start.unwrap_or_default()),
        form: Form::Split(Box::new(Split {
            registry: None,
            name,
            tag,
            digest,
            keys: Keys {
                name: Some("repository"),
                ..Keys::VALUES
            },
            mapping,
        })),
        doubt,
    };
    (reference, place)
}

fn doubt(layer: &Layer, slot: &Slot) -> Option<Doubt> {
    let parsed = layer.parsed();
    let mut spot = parsed.spot_at(slot.span.start);
    let (cause, remedy) = if let Some(line) = parsed.not_utf8 {
        spot.line = line;
        (NOT_UTF8.to_owned(), SAVE_UTF8)
    } else if placeholder::unfilled(&slot.value).is_some() {
        (
            format!("the image is a template (`{}`)", slot.value),
            TEMPLATE,
        )
    } else {
        return None;
    };
    Some(Doubt {
        spot,
        cause,
        remedy: remedy.to_owned(),
    })
}
