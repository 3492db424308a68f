//! Kustomizations beside manifests: their `images` replace what the manifests say.

use shipline_engine::backend::Target;
use shipline_model::yaml::{self, Node};

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::image::ImageText;
use crate::locate::{Manifest, Site, attempt};

/// Keys of an entry of `images` that replace something (kustomize's `ImageTagTransformer`).
const REPLACING: &[&str] = &["newName", "newTag", "tagSuffix", "digest"];

/// Refuses a site whose image a kustomization of its folder sets.
pub(crate) fn refuse_override(
    manifests: &[Manifest],
    site: &Site,
    target: &Target,
) -> Result<(), EditRefused> {
    let name = ImageText::split(site.value.trim_end()).name;
    for manifest in manifests.iter().filter(|it| is_kustomization(&it.path)) {
        // One that cannot be read cannot be deployed either.
        let Some((text, stream)) = std::str::from_utf8(&manifest.bytes)
            .ok()
            .and_then(|text| Some((text, yaml::parse(text).ok()?)))
        else {
            continue;
        };
        let images = stream.documents.iter().flat_map(|it| it.get_all("images"));
        let mut entries = images.flat_map(Node::items);
        let Some(entry) = entries.find(|entry| {
            entry.get("name").and_then(Node::text) == Some(name)
                && REPLACING.iter().any(|key| entry.get(key).is_some())
        }) else {
            continue;
        };
        let spot = Spot {
            file: manifest.path.clone(),
            line: yaml::place(text, entry.span.start).line,
        };
        return Err(EditRefused {
            attempt: attempt(target),
            cause: format!(
                "{spot}: kustomize sets the image `{name}` here, so that {}:{} has no effect",
                site.file, site.line
            ),
            remedy: "Remove the entry from `images`: Shipline sets the image in the manifest."
                .to_owned(),
            kind: RefusedKind::Unfit,
        });
    }
    Ok(())
}

fn is_kustomization(path: &str) -> bool {
    matches!(
        path.rsplit('/').next(),
        Some("kustomization.yaml" | "kustomization.yml")
    )
}
