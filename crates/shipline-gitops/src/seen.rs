//! What to say where no manifest holds a target's image: what stands there instead, and where else it was seen.

use shipline_engine::backend::Target;
use shipline_model::yaml::{self, Node};

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::folder::{Folder, Manifest, UnreadKind, base_name, contains, parent};
use crate::half::Covered;
use crate::image::ImageText;
use crate::locate::attempt;
use crate::walk::{children, is_manifest, pod_route};

/// How many places are named.
const NAMED: usize = 3;

/// Where an image of the target's repository was seen.
struct Sighting {
    spot: Spot,
    /// What it is, for people.
    what: String,
    /// Whether it is a container that Shipline could edit, were it in the right place.
    fit: bool,
}

/// The refusal of a target that no manifest of its folder holds. `near` are containers of its name with other images.
pub(crate) fn missing(
    folder: &Folder,
    around: &[Manifest],
    target: &Target,
    near: &[(Spot, String)],
) -> EditRefused {
    let path = target.path();
    let (component, container) = (&target.component, &target.container);
    let refuse = |cause: String, remedy: String| EditRefused {
        attempt: attempt(target),
        cause,
        remedy,
        kind: RefusedKind::Missing,
    };
    let here: Vec<Sighting> = folder
        .files
        .iter()
        .flat_map(|file| sightings(file, target))
        .collect();
    if let Some(unread) = folder.unread.first()
        && here.is_empty()
        && near.is_empty()
    {
        let named = |what: &str| format!("{} {what}", unread.path);
        return match &unread.kind {
            UnreadKind::Link(to) => refuse(
                named(&format!("is a link to `{to}`, and links are not followed")),
                "write the manifest itself there, or name its folder as `folder` of the component in pipeline.yaml".to_owned(),
            ),
            UnreadKind::Submodule => refuse(
                named("is a submodule: another repository"),
                format!("name that repository as `gitops` of the profile in pipeline.yaml, or write the manifests into {path}"),
            ),
            UnreadKind::File => refuse(
                named("is a file and not a folder"),
                "move it into a folder, and name that as `folder` of the component in pipeline.yaml".to_owned(),
            ),
            UnreadKind::Name => refuse(
                named("has a name that ArgoCD does not read"),
                "name it with `.yaml`, `.yml` or `.json` at its end".to_owned(),
            ),
            UnreadKind::Large => refuse(
                named("is too large for a manifest"),
                "write the workload into a file of its own".to_owned(),
            ),
        };
    }
    if !near.is_empty() {
        let near: Vec<String> = near
            .iter()
            .map(|(spot, image)| format!("{spot} runs `{image}`"))
            .collect();
        return refuse(
            format!(
                "no container `{container}` in {path} runs an image of `{}`: {}",
                target.repository,
                near.join(", ")
            ),
            format!(
                "write `repository: …` for {component} in pipeline.yaml, or correct the image in the manifest"
            ),
        );
    }
    if let Some(other) = here.iter().find(|sighting| sighting.fit) {
        return refuse(
            format!(
                "no workload in {path} has a container `{container}`: {}",
                list(&here)
            ),
            format!(
                "write `kubernetes: …` for {component} in pipeline.yaml, with the name of the container in {}",
                other.spot
            ),
        );
    }
    if !here.is_empty() {
        return refuse(
            format!(
                "no workload in {path} has a container `{container}`: {}",
                list(&here)
            ),
            "Shipline edits containers of workloads: no line of pipeline.yaml can name that place yet; commit a plain manifest, or take the component out of `gitops`".to_owned(),
        );
    }
    let mut elsewhere: Vec<Sighting> = around
        .iter()
        .filter(|file| is_manifest(&file.path))
        .flat_map(|file| sightings(file, target))
        .collect();
    // What speaks of the environment first.
    let environment = target.environment.as_str();
    elsewhere.sort_by_key(|it| !it.spot.file.split('/').any(|part| part == environment));
    let what = if folder.files.is_empty() {
        format!("{path} holds no manifests")
    } else {
        format!("no workload in {path} has a container `{container}`")
    };
    let Some(best) = elsewhere.first() else {
        return refuse(
            what,
            "write the container with its image into the folder's deployment.yaml once, or correct `kubernetes`, `folder` or the repository of the component in pipeline.yaml".to_owned(),
        );
    };
    let at = parent(&best.spot.file);
    let remedy = match at.strip_prefix(environment) {
        Some("") if best.fit => {
            format!("write `folder: .` for {component} in pipeline.yaml")
        }
        Some(folder) if best.fit && folder.starts_with('/') => format!(
            "write `folder: {}` for {component} in pipeline.yaml",
            &folder[1..]
        ),
        Some(_) | None => format!(
            "Shipline reads {environment}/FOLDER, with `folder` of the component in pipeline.yaml: move the manifest there"
        ),
    };
    refuse(
        format!("{what}; seen elsewhere: {}", list(&elsewhere)),
        remedy,
    )
}

fn list(sightings: &[Sighting]) -> String {
    let mut named: Vec<String> = sightings
        .iter()
        .take(NAMED)
        .map(|sighting| format!("{} {}", sighting.spot, sighting.what))
        .collect();
    if sightings.len() > NAMED {
        named.push(format!("and {} more", sightings.len() - NAMED));
    }
    named.join(", ")
}

/// Where a file speaks of an image of the target's repository, whatever the file is.
fn sightings(file: &Manifest, target: &Target) -> Vec<Sighting> {
    if !contains(&file.bytes, &target.repository) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&file.bytes);
    let Ok(covered) = Covered::parse(&text) else {
        return Vec::new();
    };
    let mut seen = Vec::new();
    for document in &covered.stream.documents {
        let text_of = |key| document.get(key).and_then(Node::text).unwrap_or_default();
        let (version, kind) = (text_of("apiVersion"), text_of("kind"));
        let fit = pod_route(version, kind).is_some() || kind.ends_with("List");
        let mut open = vec![document];
        while let Some(node) = open.pop() {
            if let Some((at, what)) = speaks(node, target) {
                let what = match (fit, kind) {
                    (true, _) => what,
                    (false, "") if base_name(&file.path).starts_with("values") => {
                        format!("{what} in Helm values")
                    }
                    (false, "") => format!("{what} in no workload"),
                    (false, kind) => format!("{what} in a `{kind}`"),
                };
                seen.push(Sighting {
                    spot: Spot {
                        file: file.path.clone(),
                        line: yaml::place(&covered.text, at.span.start).line,
                    },
                    what,
                    fit,
                });
            }
            open.extend(children(node));
        }
    }
    seen.sort_by_key(|sighting| sighting.spot.line);
    seen
}

/// What a mapping says of the repository's image: `image: NAME:TAG`, `repository: NAME`, kustomize's `name: NAME`.
fn speaks<'n>(node: &'n Node, target: &Target) -> Option<(&'n Node, String)> {
    let ours = |key| {
        let value = node.get(key)?;
        let text = value.text()?;
        ImageText::split(text)
            .is_of(&target.repository)
            .then_some((value, text))
    };
    if let Some((value, image)) = ours("image") {
        let what = match node.get("name").and_then(Node::text) {
            Some(name) => format!("runs `{image}` in the container `{name}`"),
            None => format!("says `image: {image}`"),
        };
        return Some((value, what));
    }
    if let Some((value, name)) = ours("repository") {
        return Some((value, format!("says `repository: {name}`")));
    }
    node.get("newTag")
        .and(ours("name"))
        .map(|(value, name)| (value, format!("says `name: {name}` with `newTag`")))
}
