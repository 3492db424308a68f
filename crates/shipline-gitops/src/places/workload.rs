//! Workloads: the containers of everything that has a pod.

use std::collections::HashSet;
use std::rc::Rc;

use shipline_model::placeholder;
use shipline_model::yaml::{Node, NodeKind, Stream};

use crate::nodes::children;
use crate::parsed::{NOT_UTF8, Parsed, SAVE_UTF8, TEMPLATE};
use crate::place::{Doubt, Form, Place, Reference, Slot};
use crate::rendering::{Image, Obstacle, Part, Rendering, Resource};

const ALIAS: &str = "write the value out where the alias stands";
const ANCHOR: &str = "write the value out where the alias refers to it, and remove the anchor";
const MERGE: &str = "write the key out next to the merge key";
const DOUBLED: &str = "remove the key that is not meant";

/// How deep a pod is searched for in a resource of an unknown kind.
const DEPTH: usize = 12;

/// Kinds that hold the shape of a pod without being one.
const NO_PODS: &[&str] = &["CustomResourceDefinition", "ConfigMap", "Secret"];

/// The keys from a workload's root to its pod.
fn pod_route(api_version: &str, kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicaSet"
        | "ReplicationController"
        | "DeploymentConfig"
        | "Rollout" => Some(&["spec", "template", "spec"]),
        // Knative's; Kubernetes' own Service has no pod.
        "Service" | "Configuration" if api_version.starts_with("serving.knative.dev/") => {
            Some(&["spec", "template", "spec"])
        }
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        "PodTemplate" => Some(&["template", "spec"]),
        "Pod" => Some(&["spec"]),
        _ => None,
    }
}

/// Whether kustomize merges the containers of a patch of this kind by their names. Of others it replaces the whole list.
pub(crate) fn merges_by_name(kind: &str) -> bool {
    matches!(
        kind,
        "Deployment"
            | "StatefulSet"
            | "DaemonSet"
            | "Job"
            | "ReplicaSet"
            | "ReplicationController"
            | "CronJob"
            | "PodTemplate"
            | "Pod"
    )
}

/// The keys from the root of any other resource to what looks like a pod.
fn shaped<'n>(node: &'n Node, way: &mut Vec<&'n str>, found: &mut Vec<Vec<&'n str>>) {
    if way.len() > DEPTH {
        return;
    }
    let is_container = |item: &Node| item.get("image").is_some() && item.get("name").is_some();
    for (key, value) in node.entries() {
        let Some(key) = key.text() else {
            continue;
        };
        if key == "containers" && value.items().iter().any(is_container) {
            found.push(way.clone());
        } else {
            way.push(key);
            shaped(value, way, found);
            way.pop();
        }
    }
}

/// Reads a workload.
pub(super) fn read(parsed: &Rc<Parsed>, document: &Node, rendering: &mut Rendering) -> bool {
    let text = |key| document.get(key).and_then(Node::text).unwrap_or_default();
    let kind = text("kind");
    let mut routes: Vec<Vec<&str>> = Vec::new();
    match pod_route(text("apiVersion"), kind) {
        Some(route) => routes.push(route.to_vec()),
        None if NO_PODS.contains(&kind) || kind.is_empty() => return false,
        None => shaped(document, &mut Vec::new(), &mut routes),
    }
    if routes.is_empty() {
        return false;
    }
    let name = document
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Node::text);
    let resource = rendering.resource(Resource {
        kind: kind.to_owned(),
        names: name.map(str::to_owned).into_iter().collect(),
        file: Rc::clone(&parsed.path),
    });
    let Ok(covered) = &parsed.tree else {
        return false;
    };
    let mut walk = Walk {
        parsed,
        aliased: aliased(&covered.stream),
        resource,
        rendering,
    };
    for route in routes {
        walk.pods(document, &route);
    }
    true
}

/// The anchors that some alias of the text names.
fn aliased(stream: &Stream) -> HashSet<&str> {
    let mut names = HashSet::new();
    let mut open: Vec<&Node> = stream.documents.iter().collect();
    while let Some(node) = open.pop() {
        if let NodeKind::Alias(name) = &node.kind {
            names.insert(name.as_str());
        }
        open.extend(children(node));
    }
    names
}

/// A doubt by its byte.
type At = (usize, String, &'static str);

/// What the way to a node has met so far that would make an edit unsafe.
#[derive(Clone)]
struct Way<'a> {
    node: &'a Node,
    doubt: Option<At>,
}

struct Walk<'a, 'r> {
    parsed: &'a Rc<Parsed>,
    aliased: HashSet<&'a str>,
    resource: usize,
    rendering: &'r mut Rendering,
}

impl<'a> Walk<'a, '_> {
    fn pods(&mut self, root: &'a Node, route: &[&str]) {
        let mut ways = vec![self.enter(root, None)];
        for key in route {
            let mut next = Vec::new();
            for way in &ways {
                next.extend(self.step(way, key));
            }
            ways = next;
        }
        let pointer: String = route.iter().map(|key| format!("/{key}")).collect();
        for way in ways {
            let pod = self.rendering.pod();
            for key in ["containers", "initContainers"] {
                for list in self.step(&way, key) {
                    self.containers(&list, key, pod, &format!("{pointer}/{key}"));
                }
            }
        }
    }

    /// The way at a node, with the doubt that its anchor brings.
    fn enter(&self, node: &'a Node, doubt: Option<At>) -> Way<'a> {
        let shared = node
            .anchor
            .as_deref()
            .filter(|anchor| self.aliased.contains(anchor));
        let doubt = doubt.or_else(|| {
            shared.map(|anchor| {
                let cause = format!("the value is also used elsewhere, as `*{anchor}`");
                (node.span.start, cause, ANCHOR)
            })
        });
        Way { node, doubt }
    }

    /// One key further: all values of the key, each in doubt where there are several. A key that an alias or a merge key may
    /// hide is an obstacle.
    fn step(&mut self, way: &Way<'a>, key: &str) -> Vec<Way<'a>> {
        if let NodeKind::Alias(name) = &way.node.kind {
            let cause = format!("`*{name}` stands on the way to the image");
            self.hidden(way.node.span.start, cause, ALIAS);
            return Vec::new();
        }
        let entries = way.node.entries().iter();
        let values: Vec<&'a Node> = entries
            .filter(|(name, _)| name.text() == Some(key))
            .map(|(_, value)| value)
            .collect();
        if values.is_empty() {
            if let Some(merge) = way.node.get("<<")
                && key != "initContainers"
            {
                let cause = format!("`{key}` comes in through a merge key (`<<`)");
                self.hidden(merge.span.start, cause, MERGE);
            }
            return Vec::new();
        }
        let doubled = (values.len() > 1).then(|| {
            let lines: Vec<String> = values
                .iter()
                .map(|value| self.parsed.line(value.span.start).to_string())
                .collect();
            let cause = format!(
                "the key `{key}` stands there twice, on lines {}",
                lines.join(" and ")
            );
            (values[1].span.start, cause, DOUBLED)
        });
        values
            .into_iter()
            .map(|value| self.enter(value, way.doubt.clone().or_else(|| doubled.clone())))
            .collect()
    }

    fn containers(&mut self, list: &Way<'a>, key: &str, pod: usize, pointer: &str) {
        if let NodeKind::Alias(name) = &list.node.kind {
            let cause = format!("`*{name}` stands on the way to the image");
            return self.hidden(list.node.span.start, cause, ALIAS);
        }
        for (index, item) in list.node.items().iter().enumerate() {
            let mut item = self.enter(item, list.doubt.clone());
            if let NodeKind::Alias(name) = &item.node.kind {
                let cause = format!("`*{name}` stands in place of a container");
                self.hidden(item.node.span.start, cause, ALIAS);
                continue;
            }
            if item.node.get("name").is_none()
                && let Some(merge) = item.node.get("<<")
            {
                let cause = "`name` comes in through a merge key (`<<`)".to_owned();
                self.hidden(merge.span.start, cause, MERGE);
            }
            let names: Vec<&str> = item.node.get_all("name").filter_map(Node::text).collect();
            if names.len() > 1 {
                let cause = "the key `name` stands there twice".to_owned();
                let at = (item.node.span.start, cause, DOUBLED);
                item.doubt.get_or_insert(at);
            }
            let name = names.first().copied().unwrap_or_default().to_owned();
            let part = match key {
                "initContainers" => Part::Init(name),
                _ => Part::Main(name),
            };
            for image in self.step(&item, "image") {
                let pointer = format!("{pointer}/{index}/image");
                self.image(&image, part.clone(), pod, pointer);
            }
        }
    }

    fn image(&mut self, way: &Way<'a>, part: Part, pod: usize, pointer: String) {
        let node = way.node;
        let value = self.parsed.value(node);
        let doubt = self.unfit(node, value.as_deref()).or(way.doubt.clone());
        let doubt = doubt.map(|(offset, cause, remedy)| Doubt {
            spot: self.parsed.spot_at(offset),
            cause,
            remedy: remedy.to_owned(),
        });
        let doubt = self.parsed.not_utf8.map_or(doubt, |line| {
            let mut spot = self.parsed.spot(node);
            spot.line = line;
            Some(Doubt {
                spot,
                cause: NOT_UTF8.to_owned(),
                remedy: SAVE_UTF8.to_owned(),
            })
        });
        let spot = self.parsed.spot(node);
        let reference = value
            .as_deref()
            .map(|value| Reference::of(value.trim_end_matches('\n')));
        let decided = self.rendering.place(Place {
            file: Rc::clone(&self.parsed.path),
            line: spot.line,
            form: Form::Whole {
                slot: Slot {
                    span: node.span.clone(),
                    value: value.unwrap_or_default(),
                },
                prefix: String::new(),
            },
            doubt: doubt.clone(),
        });
        self.rendering.images.push(Image {
            resource: self.resource,
            pod,
            part,
            pointer,
            reference,
            decided,
            doubt: None,
            spot,
            gone: false,
        });
    }

    /// Why an image's scalar must not be edited.
    fn unfit(&self, node: &Node, value: Option<&str>) -> Option<At> {
        let start = node.span.start;
        let value = match (&node.kind, value) {
            (NodeKind::Scalar(_), Some(value)) => value.trim_end_matches('\n'),
            (NodeKind::Alias(name), _) => {
                return Some((start, format!("the image is an alias (`*{name}`)"), ALIAS));
            }
            _ => {
                let template = self.parsed.written(&node.span).starts_with("{{");
                let (cause, remedy) = if template {
                    ("the image is a template", TEMPLATE)
                } else {
                    ("the image is no text", "write `image: name:tag`")
                };
                return Some((start, cause.to_owned(), remedy));
            }
        };
        if placeholder::unfilled(value).is_some() {
            let cause = format!("the image is a template (`{value}`)");
            return Some((start, cause, TEMPLATE));
        }
        let anchor = node.anchor.as_deref();
        if let Some(anchor) = anchor.filter(|anchor| self.aliased.contains(anchor)) {
            let cause = format!("the image has an anchor (`&{anchor}`)");
            return Some((start, cause, ANCHOR));
        }
        let tag = node.tag.as_deref().filter(|tag| *tag != "!!str")?;
        let cause = format!("the image has the tag `{tag}`");
        Some((start, cause, "remove the tag"))
    }

    fn hidden(&mut self, offset: usize, cause: String, remedy: &str) {
        self.rendering.obstacles.push(Obstacle {
            resource: self.resource,
            doubt: Doubt {
                spot: self.parsed.spot_at(offset),
                cause,
                remedy: remedy.to_owned(),
            },
        });
    }
}
