//! Where a target's image stands among the manifests of its folder.
//!
//! A container is found by its name and its image's repository, in the pod of a workload. What makes the place doubtful
//! (aliases, merge keys, doubled keys, templates) is an obstacle where it lies on the way to the image, and is left alone
//! everywhere else: clusters take files that strict parsers refuse.

use std::collections::HashSet;
use std::ops::Range;

use shipline_engine::backend::Target;
use shipline_model::yaml::{self, Node, NodeKind, Stream};

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::half::Covered;
use crate::image::ImageText;
use crate::kustomize;

/// A file of a target's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its path in the repository.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An image value that may be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Which of the manifests.
    pub manifest: usize,
    /// File in the repository.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// The scalar's bytes.
    pub span: Range<usize>,
    /// The scalar's value.
    pub value: String,
}

/// Finds the one image value of a target. Of several, that of the workload which is named as the container wins, then that in
/// `deployment.yaml`.
///
/// # Errors
/// `EditRefused` where none or several match or something on the way makes an edit unsafe, naming every place, and where a
/// kustomization beside it sets the same image: then what stands in the manifest is not what runs.
pub fn locate(manifests: &[Manifest], target: &Target) -> Result<Site, EditRefused> {
    let found = search(manifests, target);
    let obstacle = |rank, kind| {
        let mut all = found.obstacles.iter();
        match all.find(|o| o.rank == rank && o.kind == kind) {
            Some(obstacle) => Err(obstacle.refuse(target)),
            None => Ok(()),
        }
    };
    let sites = |rank| -> Vec<&Site> {
        let ranked = found.sites.iter().filter(|(r, _)| *r == rank);
        ranked.map(|(_, site)| site).collect()
    };
    for rank in [Rank::Own, Rank::Other] {
        obstacle(rank, ObstacleKind::Doubt)?;
        if let Some(site) = choose(target, sites(rank))? {
            kustomize::refuse_override(manifests, &site, target)?;
            return Ok(site);
        }
        obstacle(rank, ObstacleKind::Hidden)?;
    }
    Err(missing(manifests, target, &found.near))
}

/// The only one, or the only one in `deployment.yaml`.
fn choose(target: &Target, mut sites: Vec<&Site>) -> Result<Option<Site>, EditRefused> {
    let in_deployment = |site: &&Site| {
        let name = site.file.rsplit('/').next();
        matches!(name, Some("deployment.yaml" | "deployment.yml"))
    };
    if sites.len() > 1 && sites.iter().any(in_deployment) {
        sites.retain(in_deployment);
    }
    if sites.len() < 2 {
        return Ok(sites.pop().cloned());
    }
    let places: Vec<String> = sites
        .iter()
        .map(|site| format!("{}:{}", site.file, site.line))
        .collect();
    Err(EditRefused {
        attempt: attempt(target),
        cause: format!(
            "it is declared {} times: {}",
            places.len(),
            places.join(", ")
        ),
        remedy: format!(
            "Give the containers different names, or name one workload `{}`.",
            target.container
        ),
        kind: RefusedKind::Unfit,
    })
}

pub(crate) fn attempt(target: &Target) -> String {
    format!(
        "set the image of {} in {}",
        target.component, target.environment
    )
}

fn missing(manifests: &[Manifest], target: &Target, near: &[(Spot, String)]) -> EditRefused {
    let folder = format!("{}/{}", target.environment, target.folder);
    let cause = if manifests.is_empty() {
        format!("{folder} holds no manifests")
    } else if near.is_empty() {
        format!(
            "no workload in {folder} has a container `{}`",
            target.container
        )
    } else {
        let near: Vec<String> = near
            .iter()
            .map(|(spot, image)| format!("{spot} runs `{image}`"))
            .collect();
        format!(
            "no container `{}` in {folder} runs an image of `{}`: {}",
            target.container,
            target.repository,
            near.join(", ")
        )
    };
    EditRefused {
        attempt: attempt(target),
        cause,
        remedy: "Write the container with its image into the folder's deployment.yaml once, or correct `kubernetes`, `folder` or the repository of the component in pipeline.yaml.".to_owned(),
        kind: RefusedKind::Missing,
    }
}

/// How closely a workload belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// It is named as the container.
    Own,
    /// It has another name, or none that can be told.
    Other,
}

/// What an obstacle is in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObstacleKind {
    /// An image that matches must not be edited.
    Doubt,
    /// An image that matches may be where nobody can see it.
    Hidden,
}

#[derive(Debug)]
struct Obstacle {
    rank: Rank,
    kind: ObstacleKind,
    spot: Spot,
    cause: String,
    remedy: &'static str,
}

impl Obstacle {
    fn refuse(&self, target: &Target) -> EditRefused {
        EditRefused {
            attempt: attempt(target),
            cause: format!("{}: {}", self.spot, self.cause),
            remedy: self.remedy.to_owned(),
            kind: RefusedKind::Unfit,
        }
    }
}

#[derive(Default)]
struct Found {
    sites: Vec<(Rank, Site)>,
    obstacles: Vec<Obstacle>,
    /// Containers of the target's name with other images.
    near: Vec<(Spot, String)>,
}

fn search(manifests: &[Manifest], target: &Target) -> Found {
    let mut found = Found::default();
    for (index, manifest) in manifests.iter().enumerate() {
        // A file that does not say the container's name declares no container of that name.
        if !contains(&manifest.bytes, &target.container) {
            continue;
        }
        match read(manifest) {
            Ok((text, covered)) => {
                let walk = Walk {
                    manifest: index,
                    file: &manifest.path,
                    text,
                    covered: &covered.text,
                    aliased: aliased(&covered.stream),
                    target,
                    rank: Rank::Other,
                    found: &mut found,
                };
                walk.documents(&covered.stream);
            }
            Err((line, cause, remedy)) => {
                // What says both names may well be the place that is meant.
                let meant = contains(&manifest.bytes, &target.repository);
                let (rank, kind) = if meant {
                    (Rank::Own, ObstacleKind::Doubt)
                } else {
                    (Rank::Other, ObstacleKind::Hidden)
                };
                let spot = Spot {
                    file: manifest.path.clone(),
                    line,
                };
                found.obstacles.push(Obstacle {
                    rank,
                    kind,
                    spot,
                    cause,
                    remedy,
                });
            }
        }
    }
    found
}

fn contains(bytes: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    !word.is_empty() && bytes.windows(word.len()).any(|window| window == word)
}

/// A manifest's text and tree, or the line, cause and remedy of what makes it unreadable.
fn read(manifest: &Manifest) -> Result<(&str, Covered<'_>), (usize, String, &'static str)> {
    let text = std::str::from_utf8(&manifest.bytes).map_err(|error| {
        let before = &manifest.bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        (
            line,
            "the file is not UTF-8".to_owned(),
            "Save the file as UTF-8.",
        )
    })?;
    let covered = Covered::parse(text).map_err(|error| {
        let line = yaml::place(text, error.offset).line;
        if text.contains("{{") || text.contains("{%") {
            (line, "the file is a template".to_owned(), TEMPLATE)
        } else {
            let cause = format!("the file is no YAML: {}", error.message);
            (line, cause, "Correct the file's syntax.")
        }
    })?;
    Ok((text, covered))
}

const TEMPLATE: &str = "Shipline edits plain manifests: commit the rendered file, or take the component out of `gitops`.";
const ALIAS: &str = "Write the value out where the alias stands.";
const ANCHOR: &str = "Write the value out where the alias refers to it, and remove the anchor.";
const MERGE: &str = "Write the key out next to the merge key.";
const DOUBLED: &str = "Remove the key that is not meant.";

/// The anchors that some alias of the text names.
fn aliased(stream: &Stream) -> HashSet<&str> {
    let mut names = HashSet::new();
    let mut open: Vec<&Node> = stream.documents.iter().collect();
    while let Some(node) = open.pop() {
        match &node.kind {
            NodeKind::Alias(name) => {
                names.insert(name.as_str());
            }
            NodeKind::Sequence(items) => open.extend(items),
            NodeKind::Mapping(entries) => {
                open.extend(entries.iter().flat_map(|(key, value)| [key, value]));
            }
            NodeKind::Scalar(_) => {}
        }
    }
    names
}

/// The keys from a workload's root to its pod.
fn pod_route(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicaSet"
        | "ReplicationController"
        | "Rollout" => Some(&["spec", "template", "spec"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        "Pod" => Some(&["spec"]),
        _ => None,
    }
}

/// A walk through one file.
struct Walk<'a> {
    manifest: usize,
    file: &'a str,
    text: &'a str,
    /// The text as it was parsed: other bytes, the same places.
    covered: &'a str,
    aliased: HashSet<&'a str>,
    target: &'a Target,
    rank: Rank,
    found: &'a mut Found,
}

/// What the way to a node has met so far that would make an edit unsafe.
#[derive(Clone)]
struct Way<'a> {
    node: &'a Node,
    doubt: Option<(usize, String, &'static str)>,
}

impl<'a> Walk<'a> {
    fn documents(mut self, stream: &'a Stream) {
        for document in &stream.documents {
            self.workload(document);
        }
    }

    fn workload(&mut self, root: &'a Node) {
        let kind = root.get("kind").and_then(Node::text).unwrap_or_default();
        if kind == "List" {
            for items in root.get_all("items") {
                for item in items.items() {
                    self.workload(item);
                }
            }
            return;
        }
        let Some(route) = pod_route(kind) else {
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
            for list in ["containers", "initContainers"] {
                for containers in self.step(&pod, list) {
                    self.containers(&containers);
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

    fn containers(&mut self, list: &Way<'a>) {
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
                self.container(&item, names.len());
            }
        }
    }

    fn container(&mut self, item: &Way<'a>, names: usize) {
        let mut item = item.clone();
        if names > 1 {
            let cause = "the key `name` stands there twice".to_owned();
            item.doubt
                .get_or_insert((item.node.span.start, cause, DOUBLED));
        }
        for image in self.step(&item, "image") {
            self.image(&image);
        }
    }

    fn image(&mut self, way: &Way<'a>) {
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
                    ("the image is no text", "Write `image: name:tag`.")
                };
                return self.doubt(start, cause.to_owned(), remedy);
            }
        };
        let written = &self.text[node.span.clone()];
        let full = if written == &self.covered[node.span.clone()] {
            scalar.value.as_str()
        } else {
            written
        };
        let value = full.trim_end_matches('\n');
        if ["{{", "${", "$("].iter().any(|open| value.contains(open)) {
            let cause = format!("the image is a template (`{value}`)");
            return self.doubt(start, cause, TEMPLATE);
        }
        if !ImageText::split(value).is_of(&self.target.repository) {
            let spot = self.spot(start);
            self.found.near.push((spot, value.to_owned()));
            return;
        }
        if let Some(anchor) = &node.anchor {
            let cause = format!("the image has an anchor (`&{anchor}`)");
            return self.doubt(start, cause, ANCHOR);
        }
        if let Some(tag) = node.tag.as_deref().filter(|tag| *tag != "!!str") {
            let cause = format!("the image has the tag `{tag}`");
            return self.doubt(start, cause, "Remove the tag.");
        }
        if let Some((offset, cause, remedy)) = &way.doubt {
            return self.doubt(*offset, cause.clone(), remedy);
        }
        let spot = self.spot(start);
        let site = Site {
            manifest: self.manifest,
            file: spot.file,
            line: spot.line,
            span: node.span.clone(),
            value: full.to_owned(),
        };
        self.found.sites.push((self.rank, site));
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
