//! Kustomizations: which manifests they list, and where they set the images of those (`images`, patches, replacements).

use shipline_engine::backend::Target;
use shipline_model::yaml::{self, Node};

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::folder::{Manifest, base_name, is_within, parent, resolve};
use crate::half::Covered;
use crate::image::ImageText;
use crate::locate::{Site, attempt, not_utf8, search};
use crate::walk;

/// Keys of an entry of `images` that replace something (kustomize's `ImageTagTransformer`).
const REPLACING: &[&str] = &["newName", "newTag", "tagSuffix", "digest"];

/// The lists of what a kustomization takes in.
const TAKING: &[&str] = &["resources", "bases", "components"];

const REMOVE: &str = "remove the entry: Shipline sets the image in the manifest";

/// A kustomization file.
#[derive(Debug)]
pub(crate) struct Kustomization<'a> {
    file: &'a Manifest,
    covered: Covered<'a>,
}

/// Whether kustomize reads a file of this name.
pub(crate) fn is_kustomization(path: &str) -> bool {
    matches!(
        base_name(path),
        "kustomization.yaml" | "kustomization.yml" | "Kustomization"
    )
}

impl<'a> Kustomization<'a> {
    /// The one among a folder's files.
    ///
    /// # Errors
    /// Where it cannot be read: then nothing in the folder is deployed.
    pub(crate) fn of(files: &'a [Manifest], target: &Target) -> Result<Option<Self>, EditRefused> {
        let mut files = files.iter();
        let Some(file) = files.find(|file| is_kustomization(&file.path)) else {
            return Ok(None);
        };
        match Self::read(file) {
            Ok(read) => Ok(read.filter(|it| !it.is_flux())),
            Err((line, cause)) => Err(EditRefused {
                attempt: attempt(target),
                cause: format!("{}:{line}: {cause}", file.path),
                remedy: "correct the file: without it nothing of its folder is deployed".to_owned(),
                kind: RefusedKind::Unfit,
            }),
        }
    }

    /// Reads a file; `None` where it is empty of keys.
    pub(crate) fn read(file: &'a Manifest) -> Result<Option<Self>, (usize, String)> {
        let Ok(text) = std::str::from_utf8(&file.bytes) else {
            let line = not_utf8(&file.bytes).unwrap_or(1);
            return Err((line, "the file is not UTF-8".to_owned()));
        };
        let covered = Covered::parse(text).map_err(|error| {
            let line = yaml::place(text, error.offset).line;
            (line, format!("the file is no YAML: {}", error.message))
        })?;
        Ok(Some(Self { file, covered }))
    }

    /// Flux's object of the same kind is no input of kustomize.
    fn is_flux(&self) -> bool {
        let version = self.values("apiVersion").find_map(Node::text);
        version.is_some_and(|version| version.starts_with("kustomize.toolkit.fluxcd.io/"))
    }

    /// The folder that it is in.
    pub(crate) fn folder(&self) -> &str {
        parent(&self.file.path)
    }

    fn values(&self, key: &'static str) -> impl Iterator<Item = &Node> {
        let documents = self.covered.stream.documents.iter();
        documents.flat_map(move |document| document.get_all(key))
    }

    fn spot(&self, node: &Node) -> Spot {
        Spot {
            file: self.file.path.clone(),
            line: yaml::place(&self.covered.text, node.span.start).line,
        }
    }

    /// What it takes in, each with its entry.
    fn taken(&self) -> impl Iterator<Item = (&Node, &str)> {
        TAKING
            .iter()
            .flat_map(|key| self.values(key))
            .flat_map(Node::items)
            .filter_map(|entry| Some((entry, entry.text()?)))
    }

    /// Whether it takes in this file.
    pub(crate) fn lists(&self, path: &str) -> bool {
        self.taken()
            .any(|(_, entry)| resolve(self.folder(), entry).as_deref() == Some(path))
    }

    /// Whether it takes in this folder, or one above it that is not its own.
    pub(crate) fn reaches(&self, folder: &str) -> bool {
        self.taken().any(|(_, entry)| {
            resolve(self.folder(), entry)
                .is_some_and(|taken| !taken.is_empty() && is_within(folder, &taken))
        })
    }

    /// The folders of its components, which change what it takes in.
    pub(crate) fn components(&self) -> Vec<String> {
        let entries = self.values("components").flat_map(Node::items);
        entries
            .filter_map(|entry| resolve(self.folder(), entry.text()?))
            .collect()
    }

    /// Whether it takes in a site's file or folder.
    pub(crate) fn takes(&self, site: &Site) -> bool {
        self.lists(&site.file) || self.reaches(parent(&site.file))
    }

    /// Refuses a target that none of the listed files holds, where this file is the reason.
    pub(crate) fn refuse_missing(
        &self,
        files: &[Manifest],
        target: &Target,
    ) -> Result<(), EditRefused> {
        let refuse = |cause: String, remedy: &str| {
            Err(EditRefused {
                attempt: attempt(target),
                cause,
                remedy: remedy.to_owned(),
                kind: RefusedKind::Unfit,
            })
        };
        let entries = ["images", "imageTags"]
            .into_iter()
            .flat_map(|key| self.values(key))
            .flat_map(Node::items);
        for entry in entries {
            let named = |key| {
                entry
                    .get(key)
                    .and_then(Node::text)
                    .is_some_and(|name| ImageText::split(name).is_of(&target.repository))
            };
            if named("name") || named("newName") {
                return refuse(
                    format!(
                        "{}: the image stands in a kustomization, which Shipline does not edit yet",
                        self.spot(entry)
                    ),
                    "write the image into a manifest of the folder and list that under `resources`",
                );
            }
        }
        let unlisted: Vec<&Manifest> = files
            .iter()
            .filter(|file| walk::is_manifest(&file.path) && !is_kustomization(&file.path))
            .collect();
        let found = search(&unlisted, target);
        if let Some(container) = found.named.first() {
            let name = base_name(&container.site.file);
            return refuse(
                format!(
                    "{}:{} runs `{}`, but nothing lists the file: it is no resource of {}",
                    container.site.file,
                    container.site.line,
                    container.site.value.trim_end(),
                    self.file.path
                ),
                &format!("add `{name}` to its `resources`, or remove the file"),
            );
        }
        let outside = self.taken().find(|(_, entry)| {
            resolve(self.folder(), entry)
                .is_none_or(|taken| !is_within(&taken, self.folder()) || taken == self.folder())
        });
        if let Some((entry, text)) = outside {
            return refuse(
                format!(
                    "{}: the manifests come from `{text}`, and {} sets no image of `{}`",
                    self.spot(entry),
                    self.folder(),
                    target.repository
                ),
                "write the manifest with the image into the folder itself",
            );
        }
        Ok(())
    }

    /// Where this file sets the image of a site, or what makes that impossible to tell. `find` gives other files by their path.
    pub(crate) fn sets(
        &self,
        site: &Site,
        target: &Target,
        find: &dyn Fn(&str) -> Option<&'a Manifest>,
    ) -> Option<(Spot, String)> {
        let name = ImageText::split(site.value.trim_end()).name;
        let entries = ["images", "imageTags"]
            .into_iter()
            .flat_map(|key| self.values(key))
            .flat_map(Node::items);
        for entry in entries {
            let named = entry.get("name").and_then(Node::text) == Some(name);
            if named && REPLACING.iter().any(|key| entry.get(key).is_some()) {
                return Some((self.spot(entry), format!("sets the image `{name}`")));
            }
        }
        let patches = ["patches", "patchesStrategicMerge", "patchesJson6902"]
            .into_iter()
            .flat_map(|key| self.values(key))
            .flat_map(Node::items);
        for patch in patches {
            if let Some(found) = self.patch(patch, target, find) {
                return Some(found);
            }
        }
        let transformers = self.values("transformers").flat_map(Node::items);
        for entry in transformers.filter(|entry| entry.text().is_some()) {
            let text = entry.text().unwrap_or_default();
            let file = resolve(self.folder(), text).and_then(|path| find(&path));
            let text = match file {
                Some(file) => String::from_utf8_lossy(&file.bytes),
                None => text.into(),
            };
            if transforms_image(&text, name, target) {
                return Some((self.spot(entry), format!("transforms the image `{name}`")));
            }
        }
        let replaced = self.values("replacements").flat_map(Node::items);
        for entry in replaced {
            if self.covered.text[entry.span.clone()].contains("image") {
                return Some((self.spot(entry), "replaces an image".to_owned()));
            }
        }
        None
    }

    fn patch(
        &self,
        patch: &Node,
        target: &Target,
        find: &dyn Fn(&str) -> Option<&'a Manifest>,
    ) -> Option<(Spot, String)> {
        let inline = patch.get("patch").and_then(Node::text);
        let named = patch
            .text()
            .or_else(|| patch.get("path").and_then(Node::text));
        if let Some(text) = inline {
            return patches_image(text, target)
                .map(|_| (self.spot(patch), "patches the image".to_owned()));
        }
        let named = named?;
        if named.contains('\n') {
            return patches_image(named, target)
                .map(|_| (self.spot(patch), "patches the image".to_owned()));
        }
        let file = find(&resolve(self.folder(), named)?)?;
        let line = patches_image(&String::from_utf8_lossy(&file.bytes), target)?;
        let spot = Spot {
            file: file.path.clone(),
            line,
        };
        Some((spot, format!("patches the image, by {}", self.spot(patch))))
    }
}

/// The refusal of a site that has no effect.
pub(crate) fn no_effect((spot, what): (Spot, String), site: &Site, target: &Target) -> EditRefused {
    EditRefused {
        attempt: attempt(target),
        cause: format!(
            "{spot}: kustomize {what} here, so that {}:{} has no effect",
            site.file, site.line
        ),
        remedy: REMOVE.to_owned(),
        kind: RefusedKind::Unfit,
    }
}

/// Whether a transformer of kustomize's sets the image `name`, or patches the target's.
fn transforms_image(text: &str, name: &str, target: &Target) -> bool {
    let Ok(covered) = Covered::parse(text) else {
        return text.contains("image");
    };
    covered.stream.documents.iter().any(|document| {
        let of = |route: &[&str]| {
            let found = route.iter().try_fold(document, |node, key| node.get(key));
            found.and_then(Node::text)
        };
        match of(&["kind"]) {
            Some("ImageTagTransformer") => of(&["imageTag", "name"]) == Some(name),
            Some(
                "PatchTransformer" | "PatchStrategicMergeTransformer" | "PatchJson6902Transformer",
            ) => {
                patches_image(text, target).is_some()
                    || ["patch", "jsonOp", "patches"]
                        .iter()
                        .filter_map(|key| of(&[key]))
                        .any(|patch| patches_image(patch, target).is_some())
            }
            Some("ReplacementTransformer") => text.contains("image"),
            Some(_) | None => false,
        }
    })
}

/// The line on which a patch sets the image of the target's container or of its repository; a patch that cannot be read counts
/// where it says so at all.
pub(crate) fn patches_image(text: &str, target: &Target) -> Option<usize> {
    let Ok(covered) = Covered::parse(text) else {
        return text
            .lines()
            .position(|line| line.contains("image"))
            .map(|line| line + 1);
    };
    let mut open: Vec<&Node> = covered.stream.documents.iter().collect();
    while let Some(node) = open.pop() {
        let text_of = |key| node.get(key).and_then(Node::text);
        let image = node.get("image");
        let ours = text_of("name") == Some(target.container.as_str())
            || image
                .and_then(Node::text)
                .is_some_and(|image| ImageText::split(image).is_of(&target.repository));
        let at = if ours { image } else { None };
        let operation = text_of("path")
            .filter(|path| text_of("op").is_some() && path.ends_with("/image"))
            .map(|_| node);
        if let Some(at) = at.or(operation) {
            return Some(yaml::place(&covered.text, at.span.start).line);
        }
        open.extend(walk::children(node));
    }
    None
}
