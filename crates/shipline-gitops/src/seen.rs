//! What to say where nothing that is rendered has a target's image: what stands there instead, and where else it was seen.

use std::collections::BTreeSet;

use shipline_engine::backend::Target;
use shipline_model::yaml::Node;

use crate::choice::{part_name, scope};
use crate::error::{EditRefused, RefusedKind, Spot};
use crate::folder::{Folder, UnreadKind, base_name, contains, parent};
use crate::image::ImageText;
use crate::kustomization::Kustomization;
use crate::locate::{attempt, is_ours, join};
use crate::nodes::{children, is_kustomization, is_manifest};
use crate::parsed::Parsed;
use crate::rendering::Rendering;
use crate::world::World;

/// How many places are named.
const NAMED: usize = 3;

/// Where an image of the component was seen.
struct Sighting {
    spot: Spot,
    /// What it is, for people.
    what: String,
}

fn refuse(target: &Target, kind: RefusedKind, cause: String, remedy: String) -> EditRefused {
    EditRefused {
        attempt: attempt(target),
        cause,
        remedy,
        kind,
    }
}

/// The refusal of a target that nothing rendered holds.
pub(crate) fn missing(world: &World<'_>, target: &Target) -> Result<EditRefused, git2::Error> {
    for path in &target.manifests {
        if let Some(refused) = here(world, target, path)? {
            return Ok(refused);
        }
    }
    elsewhere(world, target)
}

/// What stands at a path of the target, and is not what was looked for.
fn here(
    world: &World<'_>,
    target: &Target,
    path: &str,
) -> Result<Option<EditRefused>, git2::Error> {
    if base_name(path).contains('.') && world.read(path)?.is_some() {
        let wanted = match &target.value {
            Some(value) => format!("has no value `{value}`"),
            None => format!("names no image of `{}`", target.repository),
        };
        return Ok(Some(refuse(
            target,
            RefusedKind::Missing,
            format!("{path} {wanted}"),
            format!(
                "correct `manifests` for {} in pipeline.yaml, or name the value with `value: image.tag`, by its keys in the file",
                target.component
            ),
        )));
    }
    let folder = world.folder(path)?;
    if let Some(refused) = kustomized(world, target, path, &folder)? {
        return Ok(Some(refused));
    }
    let root = world.render(path)?;
    let rendering = root.borrow();
    if let Some(refused) = containers(target, path, &rendering) {
        return Ok(Some(refused));
    }
    let mut seen = Vec::new();
    for file in &folder.files {
        seen.extend(sightings(&file.path, &file.bytes, target));
    }
    if let Some(unread) = folder.unread.first().filter(|_| seen.is_empty()) {
        let (what, remedy) = match &unread.kind {
            UnreadKind::Link(to) => (
                format!("is a link to `{to}`, and links are not followed"),
                "write the manifest itself there, or name its folder with `manifests` in pipeline.yaml".to_owned(),
            ),
            UnreadKind::Submodule => (
                "is a submodule: another repository".to_owned(),
                format!("name that repository as `gitops` of the profile in pipeline.yaml, or write the manifests into {path}"),
            ),
            UnreadKind::File => (
                "is a file and not a folder".to_owned(),
                format!("name it as a file in pipeline.yaml: `manifests: \"{}\"`", pattern(&unread.path, target)),
            ),
            UnreadKind::Name => (
                "has a name that ArgoCD does not read".to_owned(),
                format!(
                    "name it with `.yaml`, `.yml` or `.json` at its end, or name the file in pipeline.yaml: `manifests: \"{}\"` for {}",
                    pattern(&unread.path, target),
                    target.component
                ),
            ),
            UnreadKind::Large => (
                "is too large for a manifest".to_owned(),
                "write the workload into a file of its own".to_owned(),
            ),
        };
        let cause = format!("{} {what}", unread.path);
        return Ok(Some(refuse(target, RefusedKind::Missing, cause, remedy)));
    }
    let chart = folder
        .files
        .iter()
        .any(|file| base_name(&file.path) == "Chart.yaml");
    if chart {
        let what = match &target.value {
            Some(value) => format!("and its values have no `{value}`"),
            None => format!("and its values name no image of `{}`", target.repository),
        };
        return Ok(Some(refuse(
            target,
            RefusedKind::Missing,
            format!("a Helm chart stands in {path}, {what}"),
            format!(
                "name the value with `value: image.tag` for {} in pipeline.yaml, by its keys in the values file",
                target.component
            ),
        )));
    }
    if let Some(value) = &target.value {
        return Ok(Some(refuse(
            target,
            RefusedKind::Missing,
            format!("no values in {path} have `{value}`"),
            format!("correct `value` for {} in pipeline.yaml", target.component),
        )));
    }
    if seen.is_empty() {
        return Ok(None);
    }
    let wanted = target.container.as_deref().unwrap_or(&target.name);
    Ok(Some(refuse(
        target,
        RefusedKind::Missing,
        format!(
            "no workload in {path} has a container `{wanted}`: {}",
            list(&seen)
        ),
        format!(
            "name the place in pipeline.yaml: `container: …` for a container, `value: …` for a Helm value of {}",
            target.component
        ),
    )))
}

/// What a kustomization has to do with it.
fn kustomized(
    world: &World<'_>,
    target: &Target,
    path: &str,
    folder: &Folder,
) -> Result<Option<EditRefused>, git2::Error> {
    let Some(parsed) = world.kustomization(path)? else {
        return Ok(None);
    };
    let Some(it) = Kustomization::read(&parsed) else {
        return Ok(None);
    };
    let refused =
        |cause: String, remedy: String| Ok(Some(refuse(target, RefusedKind::Unfit, cause, remedy)));
    let root = world.render(path)?;
    let rendering = root.borrow();
    let from = rendering.outside.first();
    let entry = it.rules.iter().find(|rule| {
        let new = match &rule.place.form {
            crate::place::Form::Split(split) => split.name.as_ref().map(|slot| slot.value.as_str()),
            crate::place::Form::Whole { .. } => None,
        };
        is_ours(&rule.name, target) || new.is_some_and(|name| is_ours(name, target))
    });
    if let (Some(rule), Some((spot, text))) = (entry, from) {
        return refused(
            format!(
                "{}: the image stands in a kustomization, and whether the entry has an effect is not known: the manifests come from {text} ({spot}), which cannot be seen here",
                rule.place.spot()
            ),
            "commit the manifests to this repository, or write the image into a manifest of the folder".to_owned(),
        );
    }
    let files = folder.files.iter().map(|file| file.path.as_str());
    let files = files.filter(|path| is_manifest(path) && !is_kustomization(path));
    let listed: BTreeSet<&str> = it
        .taken
        .iter()
        .filter_map(|taken| taken.path.as_deref())
        .collect();
    let patched: BTreeSet<&str> = it
        .patches
        .iter()
        .filter_map(|patch| patch.path.as_deref())
        .collect();
    let unlisted: Vec<String> = files
        .filter(|file| !listed.contains(file) && !patched.contains(file))
        .map(str::to_owned)
        .collect();
    let alone = world.render_files(&unlisted)?;
    let ours = alone.images.iter().find(|image| {
        let reference = image.reference.as_ref();
        reference.is_some_and(|reference| is_ours(&reference.name, target))
    });
    if let Some(image) = ours {
        let name = base_name(&image.spot.file);
        let text = image.reference.as_ref().map(ToString::to_string);
        return refused(
            format!(
                "{} runs `{}`, but nothing lists the file: it is no resource of {}",
                image.spot,
                text.unwrap_or_default(),
                parsed.path
            ),
            format!("add `{name}` to its `resources`, or remove the file"),
        );
    }
    if let Some(rule) = entry {
        return refused(
            format!(
                "{}: the image stands in a kustomization, and no resource has this image",
                rule.place.spot()
            ),
            "correct the entry's `name`, or add the workload to `resources`".to_owned(),
        );
    }
    if let Some((spot, text)) = from {
        return refused(
            format!(
                "{spot}: the manifests come from {text}, and {path} sets no image of `{}`",
                target.repository
            ),
            "write the manifest with the image into the folder itself".to_owned(),
        );
    }
    Ok(None)
}

/// The containers that are there, where none is the right one.
fn containers(target: &Target, path: &str, rendering: &Rendering) -> Option<EditRefused> {
    let scope = scope(path, rendering);
    let wanted = target.container.as_deref().unwrap_or(&target.name);
    let mut named = Vec::new();
    let mut all = Vec::new();
    for index in scope {
        let image = &rendering.images[index];
        let text = image
            .reference
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let Some(name) = image.part.container() else {
            continue;
        };
        if name == wanted {
            let spot = rendering.places[image.decided].spot();
            named.push(format!("{spot} runs `{text}`"));
        }
        all.push((
            format!("`{}` ({text}, {})", part_name(&image.part), image.spot),
            image,
        ));
    }
    if !named.is_empty() {
        return Some(refuse(
            target,
            RefusedKind::Missing,
            format!(
                "no container `{wanted}` in {path} runs an image of `{}`: {}",
                target.repository,
                named.join(", ")
            ),
            format!(
                "write `repository: …` for {} in pipeline.yaml, or correct the image in the manifest",
                target.component
            ),
        ));
    }
    let ours = all.iter().find(|(_, image)| {
        let reference = image.reference.as_ref();
        reference.is_some_and(|reference| is_ours(&reference.name, target))
    });
    let remedy = match (ours, all.first()) {
        (Some((_, image)), _) => format!(
            "write `container: {}` for {} in pipeline.yaml",
            part_name(&image.part),
            target.component
        ),
        (None, Some(_)) => format!(
            "write `repository: …` for {} in pipeline.yaml, with the name of the image in the registry",
            target.component
        ),
        (None, None) => return None,
    };
    let more = all.len().saturating_sub(NAMED);
    let mut texts: Vec<String> = all.into_iter().take(NAMED).map(|(text, _)| text).collect();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    Some(refuse(
        target,
        RefusedKind::Missing,
        format!(
            "no workload in {path} has a container `{wanted}` with an image of `{}`: the containers there are {}",
            target.repository,
            texts.join(", ")
        ),
        remedy,
    ))
}

/// Where else the image was seen, and which line of pipeline.yaml names the place.
fn elsewhere(world: &World<'_>, target: &Target) -> Result<EditRefused, git2::Error> {
    let mut found = Vec::new();
    world.files.each(&mut |path, bytes| {
        // A pipeline.yaml names images without running them.
        if is_manifest(path) && !matches!(base_name(path), "pipeline.yaml" | "pipeline.yml") {
            found.extend(sightings(path, bytes, target));
        }
    })?;
    let environment = target.environment.as_str();
    let speaks = |file: &str| {
        let mut words = file.split(['/', '-', '_', '.']);
        words.any(|word| word == environment)
    };
    // What speaks of the environment first.
    found.sort_by_key(|it| !speaks(&it.spot.file));
    let path = target.manifests.join(" and ");
    let empty = target
        .manifests
        .iter()
        .map(|path| world.folder(path))
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .all(|folder| folder.files.is_empty());
    let what = if empty {
        format!("{path} holds no manifests")
    } else {
        let wanted = target.container.as_deref().unwrap_or(&target.name);
        format!("no workload in {path} has a container `{wanted}`")
    };
    let Some(best) = found.first() else {
        return Ok(refuse(
            target,
            RefusedKind::Missing,
            what,
            "write the container with its image into the folder's deployment.yaml once, or correct `manifests`, `folder` or the repository of the component in pipeline.yaml".to_owned(),
        ));
    };
    let remedy = remedy(world, target, &best.spot.file, &speaks)?;
    Ok(refuse(
        target,
        RefusedKind::Missing,
        format!("{what}; seen elsewhere: {}", list(&found)),
        remedy,
    ))
}

fn remedy(
    world: &World<'_>,
    target: &Target,
    file: &str,
    speaks: &dyn Fn(&str) -> bool,
) -> Result<String, git2::Error> {
    let component = &target.component;
    let line = |path: &str| {
        format!(
            "write `manifests: \"{}\"` for {component} in pipeline.yaml",
            pattern(path, target)
        )
    };
    let at = parent(file);
    let kustomized = world.kustomization(at)?.is_some();
    let roots = world.roots(if kustomized { at } else { file }, !kustomized)?;
    let over: Vec<&String> = roots.iter().filter(|root| root.as_str() != at).collect();
    if let Some(overlay) = over.iter().find(|root| speaks(root)) {
        return Ok(line(overlay));
    }
    if let [first, ..] = over.as_slice() {
        return Ok(format!(
            "{at} is a base of {first}: write a kustomization for {} that takes it in, and name its folder with `manifests` in pipeline.yaml",
            target.environment
        ));
    }
    let environment = target.environment.as_str();
    Ok(match at.strip_prefix(environment) {
        Some("") => format!(
            "write `manifests: \"{{environment}}\"`, or `folder: .`, for {component} in pipeline.yaml"
        ),
        Some(folder) if folder.starts_with('/') => format!(
            "write `folder: {}` or `manifests: \"{}\"` for {component} in pipeline.yaml",
            &folder[1..],
            pattern(at, target)
        ),
        Some(_) | None => {
            let values = base_name(file).starts_with("values");
            line(if values { file } else { at })
        }
    })
}

/// A path with the names of the environment and the component as what is filled in.
fn pattern(path: &str, target: &Target) -> String {
    let parts = path.split('/').map(|part| {
        let environment = target.environment.as_str();
        let part = word(part, environment, "{environment}");
        word(&part, target.component.as_str(), "{component}")
    });
    let parts: Vec<String> = parts.collect();
    let path = parts
        .iter()
        .fold(String::new(), |path, part| join(&path, part));
    if path.is_empty() {
        ".".to_owned()
    } else {
        path
    }
}

/// A part of a path in which a name, between its borders, is replaced.
fn word(part: &str, name: &str, by: &str) -> String {
    let border = |text: Option<char>| text.is_none_or(|c| "-_.".contains(c));
    for (at, _) in part.match_indices(name) {
        let (before, after) = (&part[..at], &part[at + name.len()..]);
        if border(before.chars().next_back()) && border(after.chars().next()) {
            return format!("{before}{by}{after}");
        }
    }
    part.to_owned()
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

/// Where a file speaks of an image of the component, whatever the file is.
fn sightings(path: &str, bytes: &[u8], target: &Target) -> Vec<Sighting> {
    let others = target.other_repositories.iter();
    let mut names = others.chain([&target.repository]);
    if !names.any(|name| contains(bytes, name)) {
        return Vec::new();
    }
    let parsed = Parsed::read(path, bytes);
    let mut seen = Vec::new();
    for document in parsed.documents() {
        let kind = document
            .get("kind")
            .and_then(Node::text)
            .unwrap_or_default();
        let mut open = vec![document];
        while let Some(node) = open.pop() {
            if let Some((at, what)) = speaks(node, target) {
                let what = match kind {
                    "" if base_name(path).starts_with("values") => {
                        format!("{what} in Helm values")
                    }
                    "" => what,
                    _ if node.get("name").is_some() && node.get("image").is_some() => what,
                    kind => format!("{what} in a `{kind}`"),
                };
                seen.push(Sighting {
                    spot: parsed.spot(at),
                    what,
                });
            }
            open.extend(children(node));
        }
    }
    seen.sort_by_key(|sighting| sighting.spot.line);
    seen
}

/// What a mapping says of the component's image: `image: NAME:TAG`, `repository: NAME`, kustomize's `name: NAME`.
fn speaks<'n>(node: &'n Node, target: &Target) -> Option<(&'n Node, String)> {
    let ours = |key| {
        let value = node.get(key)?;
        let text = value.text()?;
        is_ours(ImageText::split(text).name, target).then_some((value, text))
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
