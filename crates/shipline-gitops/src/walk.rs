//! The walk through one manifest: to the pods of its workloads, and in them to the images.

use std::collections::HashSet;

use shipline_engine::backend::Target;
use shipline_model::placeholder;
use shipline_model::yaml::{self, Node, NodeKind, Stream};

use crate::error::Spot;
use crate::folder::{Manifest, base_name};
use crate::half::Covered;
use crate::image::ImageText;
use crate::locate::{
    Container, Doubt, Found, List, NOT_UTF8, Obstacle, ObstacleKind, Rank, SAVE_UTF8, Site,
    not_utf8,
};

pub(crate) const TEMPLATE: &str = "Shipline edits plain manifests: commit the rendered file, or take the component out of `gitops`";
const ALIAS: &str = "write the value out where the alias stands";
const ANCHOR: &str = "write the value out where the alias refers to it, and remove the anchor";
const MERGE: &str = "write the key out next to the merge key";
const DOUBLED: &str = "remove the key that is not meant";

/// Whether ArgoCD reads a file of this name in a directory of manifests.
pub(crate) fn is_manifest(path: &str) -> bool {
    let name = base_name(path);
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|extension| name.ends_with(extension))
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

/// The nodes directly in a node: a mapping's keys are among them.
pub(crate) fn children(node: &Node) -> Vec<&Node> {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().collect(),
        NodeKind::Mapping(entries) => entries
            .iter()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        NodeKind::Scalar(_) | NodeKind::Alias(_) => Vec::new(),
    }
}

/// The keys from a workload's root to its pod.
pub(crate) fn pod_route(api_version: &str, kind: &str) -> Option<&'static [&'static str]> {
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

/// A walk through one file.
pub(crate) struct Walk<'a> {
    manifest: usize,
    file: &'a str,
    text: &'a str,
    /// The text as it was parsed: other bytes, the same places.
    covered: &'a str,
    /// The line of the first byte that is no UTF-8: then nothing here can be edited.
    not_utf8: Option<usize>,
    aliased: HashSet<&'a str>,
    target: &'a Target,
    rank: Rank,
    pod: usize,
    found: &'a mut Found,
}

/// What the way to a node has met so far that would make an edit unsafe.
#[derive(Clone)]
struct Way<'a> {
    node: &'a Node,
    doubt: Option<(usize, String, &'static str)>,
}

impl<'a> Walk<'a> {
    /// Walks through a manifest, and adds to `found` what it says of the target.
    pub(crate) fn through(
        index: usize,
        manifest: &'a Manifest,
        text: &'a str,
        covered: &'a Covered<'a>,
        target: &'a Target,
        found: &'a mut Found,
    ) {
        let mut walk = Walk {
            manifest: index,
            file: &manifest.path,
            text,
            covered: &covered.text,
            not_utf8: not_utf8(&manifest.bytes),
            aliased: aliased(&covered.stream),
            target,
            rank: Rank::Other,
            pod: 0,
            found,
        };
        for document in &covered.stream.documents {
            walk.workload(document);
        }
    }

    fn workload(&mut self, root: &'a Node) {
        let text = |key| root.get(key).and_then(Node::text).unwrap_or_default();
        let kind = text("kind");
        let Some(route) = pod_route(text("apiVersion"), kind) else {
            if kind.ends_with("List") {
                for items in root.get_all("items") {
                    for item in items.items() {
                        self.workload(item);
                    }
                }
            }
            return;
        };
        let name = root
            .get("metadata")
            .and_then(|metadata| metadata.get("name"));
        self.rank = if name.and_then(Node::text) == Some(self.target.container.as_str()) {
            Rank::Own
        } else {
            Rank::Other
        };
        let mut ways = vec![self.enter(root, None)];
        for key in route {
            ways = ways
                .into_iter()
                .flat_map(|way| self.step(&way, key))
                .collect();
        }
        for pod in ways {
            self.pod += 1;
            for (list, key) in [(List::Main, "containers"), (List::Init, "initContainers")] {
                for containers in self.step(&pod, key) {
                    self.containers(&containers, list);
                }
            }
        }
    }

    /// The way at a node, with the doubt that its anchor brings.
    fn enter(&self, node: &'a Node, doubt: Option<(usize, String, &'static str)>) -> Way<'a> {
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
    fn step(&mut self, way: &Way<'a>, key: &'static str) -> Vec<Way<'a>> {
        if let NodeKind::Alias(name) = &way.node.kind {
            let cause = format!("`*{name}` stands on the way to the image");
            self.hidden(way.node.span.start, cause, ALIAS);
            return Vec::new();
        }
        let values: Vec<&'a Node> = way.node.get_all(key).collect();
        if values.is_empty() {
            if let Some(merge) = way.node.get("<<") {
                let optional = key == "initContainers";
                if !optional {
                    let cause = format!("`{key}` comes in through a merge key (`<<`)");
                    self.hidden(merge.span.start, cause, MERGE);
                }
            }
            return Vec::new();
        }
        let doubled = (values.len() > 1).then(|| {
            let lines: Vec<String> = values
                .iter()
                .map(|value| self.line(value.span.start).to_string())
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

    fn containers(&mut self, list: &Way<'a>, which: List) {
        if let NodeKind::Alias(name) = &list.node.kind {
            let cause = format!("`*{name}` stands on the way to the image");
            self.hidden(list.node.span.start, cause, ALIAS);
            return;
        }
        for item in list.node.items() {
            let item = self.enter(item, list.doubt.clone());
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
            let names: Vec<Option<&str>> = item.node.get_all("name").map(Node::text).collect();
            if names.contains(&Some(self.target.container.as_str())) {
                self.container(&item, which, names.len());
            } else {
                let name = names.into_iter().flatten().next().unwrap_or_default();
                self.beside(&item, which, name);
            }
        }
    }

    fn container(&mut self, item: &Way<'a>, list: List, names: usize) {
        let mut item = item.clone();
        if names > 1 {
            let cause = "the key `name` stands there twice".to_owned();
            item.doubt
                .get_or_insert((item.node.span.start, cause, DOUBLED));
        }
        for image in self.step(&item, "image") {
            self.image(&image, list);
        }
    }

    /// A container of another name: of interest where it runs an image of the repository.
    fn beside(&mut self, item: &Way<'a>, list: List, name: &str) {
        let images: Vec<&Node> = item.node.get_all("image").collect();
        let several = images.len() > 1;
        for image in images {
            let way = self.enter(image, item.doubt.clone());
            let NodeKind::Scalar(scalar) = &image.kind else {
                continue;
            };
            let full = self.value(image, &scalar.value);
            if !ImageText::split(full.trim_end_matches('\n')).is_of(&self.target.repository) {
                continue;
            }
            let unfit = self.unfit(image, &full).or(way.doubt).or(several.then(|| {
                (
                    image.span.start,
                    "the key `image` stands there twice".to_owned(),
                    DOUBLED,
                )
            }));
            let doubt = unfit.map(|(offset, cause, remedy)| Doubt {
                line: self.line(offset),
                cause,
                remedy,
            });
            let container = self.found_at(image, list, name, full, doubt);
            self.found.beside.push(container);
        }
    }

    /// The value of an image's scalar, as it stands in the file.
    fn value(&self, node: &Node, parsed: &str) -> String {
        let written = &self.text[node.span.clone()];
        if written == &self.covered[node.span.clone()] {
            parsed.to_owned()
        } else {
            written.to_owned()
        }
    }

    /// Why an image's scalar must not be edited.
    fn unfit(&self, node: &Node, full: &str) -> Option<(usize, String, &'static str)> {
        let start = node.span.start;
        let value = full.trim_end_matches('\n');
        if placeholder::unfilled(value).is_some() {
            let cause = format!("the image is a template (`{value}`)");
            return Some((start, cause, TEMPLATE));
        }
        if let Some(anchor) = node
            .anchor
            .as_deref()
            .filter(|anchor| self.aliased.contains(anchor))
        {
            let cause = format!("the image has an anchor (`&{anchor}`)");
            return Some((start, cause, ANCHOR));
        }
        if let Some(tag) = node.tag.as_deref().filter(|tag| *tag != "!!str") {
            let cause = format!("the image has the tag `{tag}`");
            return Some((start, cause, "remove the tag"));
        }
        None
    }

    fn image(&mut self, way: &Way<'a>, list: List) {
        let node = way.node;
        let start = node.span.start;
        let scalar = match &node.kind {
            NodeKind::Scalar(scalar) => scalar,
            NodeKind::Alias(name) => {
                let cause = format!("the image is an alias (`*{name}`)");
                return self.doubt(start, cause, ALIAS);
            }
            NodeKind::Mapping(_) | NodeKind::Sequence(_) => {
                let template = self.text[node.span.clone()].starts_with("{{");
                let (cause, remedy) = if template {
                    ("the image is a template", TEMPLATE)
                } else {
                    ("the image is no text", "write `image: name:tag`")
                };
                return self.doubt(start, cause.to_owned(), remedy);
            }
        };
        let full = self.value(node, &scalar.value);
        let value = full.trim_end_matches('\n');
        let ours = ImageText::split(value).is_of(&self.target.repository);
        if let Some(unfilled) = self.unfit(node, &full)
            && (ours || placeholder::unfilled(value).is_some())
        {
            let (offset, cause, remedy) = unfilled;
            return self.doubt(offset, cause, remedy);
        }
        if !ours {
            let spot = self.spot(start);
            self.found.near.push((spot, value.to_owned()));
            return;
        }
        if let Some((offset, cause, remedy)) = &way.doubt {
            return self.doubt(*offset, cause.clone(), remedy);
        }
        if let Some(line) = self.not_utf8 {
            return self.found.obstacles.push(Obstacle {
                rank: self.rank,
                kind: ObstacleKind::Doubt,
                spot: Spot {
                    file: self.file.to_owned(),
                    line,
                },
                cause: NOT_UTF8.to_owned(),
                remedy: SAVE_UTF8,
            });
        }
        let name = self.target.container.as_str();
        let container = self.found_at(node, list, name, full, None);
        self.found.named.push(container);
    }

    fn found_at(
        &self,
        node: &Node,
        list: List,
        name: &str,
        value: String,
        doubt: Option<Doubt>,
    ) -> Container {
        let not_utf8 = self.not_utf8.map(|line| Doubt {
            line,
            cause: NOT_UTF8.to_owned(),
            remedy: SAVE_UTF8,
        });
        Container {
            rank: self.rank,
            pod: (self.manifest, self.pod),
            list,
            name: name.to_owned(),
            site: Site {
                file: self.file.to_owned(),
                line: self.line(node.span.start),
                span: node.span.clone(),
                value,
            },
            doubt: not_utf8.or(doubt),
        }
    }

    fn line(&self, offset: usize) -> usize {
        yaml::place(self.text, offset).line
    }

    fn spot(&self, offset: usize) -> Spot {
        Spot {
            file: self.file.to_owned(),
            line: self.line(offset),
        }
    }

    fn doubt(&mut self, offset: usize, cause: String, remedy: &'static str) {
        self.obstacle(ObstacleKind::Doubt, offset, cause, remedy);
    }

    fn hidden(&mut self, offset: usize, cause: String, remedy: &'static str) {
        self.obstacle(ObstacleKind::Hidden, offset, cause, remedy);
    }

    fn obstacle(&mut self, kind: ObstacleKind, offset: usize, cause: String, remedy: &'static str) {
        let obstacle = Obstacle {
            rank: self.rank,
            kind,
            spot: self.spot(offset),
            cause,
            remedy,
        };
        self.found.obstacles.push(obstacle);
    }
}
