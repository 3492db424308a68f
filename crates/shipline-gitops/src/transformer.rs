//! What else kustomize does to images: replacements and transformers. They are noticed, and not edited.

use std::ops::Range;
use std::rc::Rc;

use shipline_model::yaml::{self, Node};

use crate::error::Spot;
use crate::parsed::Parsed;
use crate::patch::{Patch, Selector};
use crate::place::Doubt;
use crate::rendering::Rendering;

const BY_HAND: &str = "take the image out of it: Shipline sets it where it stands";

fn doubt(spot: &Spot, what: &str) -> Doubt {
    Doubt {
        spot: spot.clone(),
        cause: format!("kustomize {what} here"),
        remedy: BY_HAND.to_owned(),
    }
}

/// Notices the images that a replacement (or a file of them) may set.
pub(crate) fn replacement(
    text: &str,
    spot: &Spot,
    images: &Range<usize>,
    rendering: &mut Rendering,
) {
    let Ok(stream) = yaml::parse(text) else {
        if text.contains("image") {
            mark(images, rendering, spot, "replaces an image", |_, _, _| true);
        }
        return;
    };
    for document in &stream.documents {
        let single = std::slice::from_ref(document);
        let entries = if document.items().is_empty() {
            single
        } else {
            document.items()
        };
        for target in entries.iter().flat_map(|entry| entry.get_all("targets")) {
            for target in target.items() {
                let paths: Vec<&str> = target
                    .get_all("fieldPaths")
                    .flat_map(Node::items)
                    .filter_map(Node::text)
                    .collect();
                let selector = target
                    .get("select")
                    .map_or_else(Selector::all, Selector::read);
                mark(
                    images,
                    rendering,
                    spot,
                    "replaces an image",
                    |kind, names, pointer| {
                        selector.may_be(kind, names)
                            && paths.iter().any(|path| may_reach(path, pointer))
                    },
                );
            }
        }
    }
}

/// Whether a field path (`spec.template.spec.containers.[name=web].image`) may lead to an image, or to what holds it.
fn may_reach(path: &str, pointer: &str) -> bool {
    let mut keys = pointer.split('/').filter(|key| !key.is_empty());
    for part in split_path(path) {
        let Some(key) = keys.next() else {
            return false;
        };
        let open = part == "*" || part.starts_with('[') || part.parse::<usize>().is_ok();
        if !open && part != key {
            return false;
        }
    }
    true
}

/// The parts of a field path: dots in brackets belong to a part.
fn split_path(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in path.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == '.' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// Notices the images that a transformer may set.
pub(crate) fn apply(text: &str, spot: &Spot, images: &Range<usize>, rendering: &mut Rendering) {
    let Ok(stream) = yaml::parse(text) else {
        if text.contains("image") {
            mark(images, rendering, spot, "transforms images", |_, _, _| true);
        }
        return;
    };
    for document in &stream.documents {
        let of = |route: &[&str]| {
            let found = route.iter().try_fold(document, |node, key| node.get(key));
            found.and_then(Node::text)
        };
        match of(&["kind"]) {
            Some("ImageTagTransformer") => {
                let name = of(&["imageTag", "name"]).unwrap_or_default();
                for index in images.clone() {
                    let image = &mut rendering.images[index];
                    if image.reference.as_ref().is_some_and(|it| it.name == name) {
                        let what = format!("transforms the image `{name}`");
                        image.doubt = Some(doubt(spot, &what));
                    }
                }
            }
            Some("ReplacementTransformer") => replacement(text, spot, images, rendering),
            Some(
                "PatchTransformer" | "PatchStrategicMergeTransformer" | "PatchJson6902Transformer",
            ) => {
                let target = document.get("target").map(Selector::read);
                let texts = ["patch", "jsonOp", "patches"]
                    .iter()
                    .filter_map(|key| of(&[key]));
                for text in texts {
                    let json = text.trim_start().starts_with(['-', '[']);
                    let patch = Patch {
                        parsed: Rc::new(Parsed::read(&spot.file, text.as_bytes())),
                        entry: spot.clone(),
                        inline: true,
                        selector: target.clone().or_else(|| json.then(Selector::all)),
                    };
                    let resources = 0..rendering.resources.len();
                    patch.apply(images, &resources, rendering);
                }
            }
            Some(_) | None => {}
        }
    }
}

fn mark(
    images: &Range<usize>,
    rendering: &mut Rendering,
    spot: &Spot,
    what: &str,
    meant: impl Fn(&str, &[String], &str) -> bool,
) {
    for index in images.clone() {
        let image = &rendering.images[index];
        let Some(resource) = rendering.resources.get(image.resource) else {
            continue;
        };
        if meant(&resource.kind, &resource.names, &image.pointer) {
            rendering.images[index].doubt = Some(doubt(spot, what));
        }
    }
}
