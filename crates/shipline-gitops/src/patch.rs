//! Patches: strategic merges and JSON 6902, as far as they touch images.

use std::ops::Range;
use std::rc::Rc;

use shipline_model::placeholder;
use shipline_model::yaml::{Node, NodeKind};

use crate::error::Spot;
use crate::parsed::{Parsed, TEMPLATE};
use crate::place::{Doubt, Form, Place};
use crate::places::values::slot;
use crate::places::workload::merges_by_name;
use crate::rendering::{Image, Part, Rendering};
use crate::rule::reference;

/// What a patch is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    /// Whether labels, annotations or a namespace narrow it down further.
    pub(crate) narrowed: bool,
}

impl Selector {
    pub(crate) fn read(target: &Node) -> Self {
        let text = |key| target.get(key).and_then(Node::text).map(str::to_owned);
        let further = ["labelSelector", "annotationSelector"];
        Self {
            kind: text("kind"),
            name: text("name"),
            narrowed: further.iter().any(|key| target.get(key).is_some()),
        }
    }

    /// What selects everything.
    pub(crate) fn all() -> Self {
        Self::default()
    }

    /// Whether a resource may be meant; kustomize reads regular expressions.
    pub(crate) fn may_be(&self, kind: &str, names: &[String]) -> bool {
        let fits = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|wanted| {
                let pattern = wanted.contains(|c: char| "*+?()[]|\\^$".contains(c));
                pattern || wanted == text
            })
        };
        fits(&self.kind, kind)
            && (names.iter().any(|name| fits(&self.name, name)) || self.name.is_none())
    }

    /// Whether what it matches is not worked out.
    fn is_vague(&self) -> bool {
        let pattern = |text: &Option<String>| {
            text.as_deref()
                .is_some_and(|text| text.contains(|c: char| "*+?()[]|\\^$".contains(c)))
        };
        self.narrowed || pattern(&self.kind) || pattern(&self.name)
    }
}

/// A patch of a kustomization.
pub(crate) struct Patch {
    /// Its text: a file's, or what stands in the kustomization.
    pub(crate) parsed: Rc<Parsed>,
    /// The entry of the kustomization.
    pub(crate) entry: Spot,
    /// Whether it stands in the kustomization as a text.
    pub(crate) inline: bool,
    pub(crate) selector: Option<Selector>,
}

const IN_A_TEXT: &str = "write the patch into a file of its own, where Shipline can set the image, or take the image out of it";
const BY_HAND: &str = "take the image out of the patch: Shipline sets it where it stands";

impl Patch {
    fn doubt(&self, what: &str, remedy: &str, node: Option<&Node>) -> Doubt {
        let spot = match node {
            Some(node) if !self.inline => self.parsed.spot(node),
            Some(_) | None => self.entry.clone(),
        };
        let by = if self.inline || node.is_none() {
            String::new()
        } else {
            format!(", by {}", self.entry)
        };
        Doubt {
            spot,
            cause: format!("kustomize {what}{by}"),
            remedy: remedy.to_owned(),
        }
    }

    /// Applies the patch to these images of a rendering.
    pub(crate) fn apply(
        &self,
        images: &Range<usize>,
        resources: &Range<usize>,
        rendering: &mut Rendering,
    ) {
        if self.parsed.tree.is_err() {
            if self.parsed.text.contains("image") {
                for index in images.clone() {
                    let doubt = self.doubt("patches with what cannot be read here", BY_HAND, None);
                    rendering.images[index].doubt.get_or_insert(doubt);
                }
            }
            return;
        }
        for document in self.parsed.documents() {
            if let NodeKind::Sequence(operations) = &document.kind {
                for operation in operations {
                    self.operation(operation, images, rendering);
                }
            } else {
                self.merge(document, images, resources, rendering);
            }
        }
    }

    fn meant(&self, document: Option<&Node>, resource: usize, rendering: &Rendering) -> bool {
        let Some(resource) = rendering.resources.get(resource) else {
            return false;
        };
        if let Some(selector) = &self.selector {
            return selector.may_be(&resource.kind, &resource.names);
        }
        let Some(document) = document else {
            return false;
        };
        let kind = document.get("kind").and_then(Node::text);
        let name = document
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Node::text);
        kind == Some(resource.kind.as_str())
            && name.is_some_and(|name| resource.names.iter().any(|it| it == name))
    }

    fn operation(&self, operation: &Node, images: &Range<usize>, rendering: &mut Rendering) {
        let text = |key| operation.get(key).and_then(Node::text).unwrap_or_default();
        let (op, path) = (text("op"), text("path").replace("~1", "/"));
        if op == "test" || path.is_empty() {
            return;
        }
        for index in images.clone() {
            let image = &rendering.images[index];
            if image.gone || !self.meant(None, image.resource, rendering) {
                continue;
            }
            let pointer = image.pointer.as_str();
            let replaced = path == pointer && matches!(op, "replace" | "add");
            if let (true, Some(value)) = (replaced, operation.get("value")) {
                self.set(index, value, rendering);
            } else if reaches(&path, pointer)
                || reaches(text("from"), pointer)
                || shifts(op, &path, pointer)
            {
                let doubt = self.doubt("patches the image", BY_HAND, Some(operation));
                rendering.images[index].doubt = Some(doubt);
            }
        }
    }

    fn merge(
        &self,
        document: &Node,
        images: &Range<usize>,
        resources: &Range<usize>,
        rendering: &mut Rendering,
    ) {
        for resource in resources.clone() {
            if !self.meant(Some(document), resource, rendering) {
                continue;
            }
            let own: Vec<usize> = images
                .clone()
                .filter(|index| rendering.images[*index].resource == resource)
                .collect();
            if document.get("$patch").and_then(Node::text) == Some("delete") {
                for index in own {
                    rendering.images[index].gone = true;
                }
                continue;
            }
            let mut lists: Vec<(String, usize)> = Vec::new();
            for index in own {
                let (pointer, pod) = {
                    let image = &rendering.images[index];
                    (image.pointer.clone(), image.pod)
                };
                let list = pointer
                    .rsplitn(3, '/')
                    .nth(2)
                    .unwrap_or_default()
                    .to_owned();
                self.merge_one(document, index, &pointer, &list, rendering);
                if !lists.contains(&(list.clone(), pod)) {
                    lists.push((list, pod));
                }
            }
            // A pod without init containers may get some.
            let further: Vec<(String, usize)> = lists
                .iter()
                .filter_map(|(list, pod)| {
                    let (pod_at, key) = list.rsplit_once('/')?;
                    let other = if key == "containers" {
                        "initContainers"
                    } else {
                        "containers"
                    };
                    Some((format!("{pod_at}/{other}"), *pod))
                })
                .filter(|it| !lists.contains(it))
                .collect();
            lists.extend(further);
            for (list, pod) in lists {
                self.added(document, resource, &list, pod, rendering);
            }
        }
    }

    fn merge_one(
        &self,
        document: &Node,
        index: usize,
        pointer: &str,
        list: &str,
        rendering: &mut Rendering,
    ) {
        let image = &rendering.images[index];
        if image.gone {
            return;
        }
        let kind = rendering.resources[image.resource].kind.clone();
        let Some(name) = image.part.container().map(str::to_owned) else {
            let keys = pointer.split('/').filter(|key| !key.is_empty());
            let mut node = Some(document);
            for key in keys {
                node = node.and_then(|node| node.get(key));
            }
            if let Some(node) = node {
                let doubt = self.doubt("patches the image", BY_HAND, Some(node));
                rendering.images[index].doubt = Some(doubt);
            }
            return;
        };
        let mut node = document;
        for key in list.split('/').filter(|key| !key.is_empty()) {
            let Some(next) = node.get(key) else {
                return;
            };
            if next.get("$patch").is_some() {
                let doubt = self.doubt("patches what holds the image", BY_HAND, Some(next));
                rendering.images[index].doubt = Some(doubt);
                return;
            }
            node = next;
        }
        if matches!(node.kind, NodeKind::Alias(_)) {
            let doubt = self.doubt("patches the image with an alias", BY_HAND, Some(node));
            rendering.images[index].doubt = Some(doubt);
            return;
        }
        let items = node.items();
        let own = items
            .iter()
            .find(|item| item.get("name").and_then(Node::text) == Some(name.as_str()));
        let replaces = items.iter().any(|item| {
            item.get("name").is_none() && item.get("$patch").and_then(Node::text) == Some("replace")
        });
        match own {
            Some(item) if item.get("$patch").and_then(Node::text) == Some("delete") => {
                rendering.images[index].gone = true;
            }
            Some(item) => match item.get("image") {
                Some(value) => self.set(index, value, rendering),
                None if !merges_by_name(&kind) || replaces => rendering.images[index].gone = true,
                None => {}
            },
            None if !merges_by_name(&kind) || replaces => rendering.images[index].gone = true,
            None => {}
        }
    }

    /// Containers that only the patch has.
    fn added(
        &self,
        document: &Node,
        resource: usize,
        list: &str,
        pod: usize,
        rendering: &mut Rendering,
    ) {
        let node = list
            .split('/')
            .filter(|key| !key.is_empty())
            .try_fold(document, |node, key| node.get(key));
        let Some(node) = node else {
            return;
        };
        let init = list.ends_with("/initContainers");
        for item in node.items() {
            let (Some(name), Some(value)) =
                (item.get("name").and_then(Node::text), item.get("image"))
            else {
                continue;
            };
            let part = if init {
                Part::Init(name.to_owned())
            } else {
                Part::Main(name.to_owned())
            };
            let known = rendering
                .images
                .iter()
                .any(|image| image.resource == resource && image.part == part);
            if known {
                continue;
            }
            let spot = self.parsed.spot(value);
            rendering.images.push(Image {
                resource,
                pod,
                part,
                // Where kustomize puts it is not worked out: no operation by its number means it.
                pointer: format!("{list}/-/image"),
                reference: None,
                decided: 0,
                doubt: None,
                spot,
                gone: false,
            });
            self.set(rendering.images.len() - 1, value, rendering);
        }
    }

    fn set(&self, index: usize, value: &Node, rendering: &mut Rendering) {
        let Some(slot) = slot(&self.parsed, value) else {
            let doubt = self.doubt(
                "patches the image with what is no text",
                BY_HAND,
                Some(value),
            );
            rendering.images[index].doubt = Some(doubt);
            return;
        };
        let text = slot.value.clone();
        let doubt = if self.inline {
            Some(self.doubt("patches the image", IN_A_TEXT, None))
        } else if self.selector.as_ref().is_some_and(Selector::is_vague) {
            Some(self.doubt(
                "patches the image of what a pattern selects",
                BY_HAND,
                Some(value),
            ))
        } else if placeholder::unfilled(&text).is_some() {
            Some(Doubt {
                spot: self.parsed.spot(value),
                cause: format!("the image is a template (`{text}`)"),
                remedy: TEMPLATE.to_owned(),
            })
        } else {
            None
        };
        let new = reference(&slot);
        let decided = rendering.place(Place {
            file: Rc::clone(&self.parsed.path),
            line: if self.inline {
                self.entry.line
            } else {
                self.parsed.line(value.span.start)
            },
            form: Form::Whole {
                slot,
                prefix: String::new(),
            },
            doubt,
        });
        let image = &mut rendering.images[index];
        image.reference = Some(new);
        image.decided = decided;
        image.doubt = None;
    }
}

/// Whether what stands at `path` holds what stands at `pointer`.
fn reaches(path: &str, pointer: &str) -> bool {
    !path.is_empty()
        && pointer
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an operation on a list moves the container at `pointer` to another place.
fn shifts(op: &str, path: &str, pointer: &str) -> bool {
    let place = |text: &str| {
        let (list, index) = text.rsplit_once('/')?;
        Some((list.to_owned(), index.parse::<usize>().ok()?))
    };
    let container = pointer.strip_suffix("/image").unwrap_or(pointer);
    match (place(path), place(container)) {
        (Some((list, at)), Some((own, index))) => {
            list == own && at <= index && matches!(op, "add" | "remove" | "move" | "copy")
        }
        _ => false,
    }
}
