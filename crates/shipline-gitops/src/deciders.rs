//! Files that decide what a folder's images are in place of its manifests: kustomizations above it, Argo CD's Applications and
//! parameter files, Flux's Kustomizations.

use shipline_engine::backend::Target;
use shipline_model::yaml::{self, Node};

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::folder::{Folder, Manifest, base_name, contains, parent, resolve};
use crate::half::Covered;
use crate::image::ImageText;
use crate::kustomize::{Kustomization, is_kustomization, no_effect, patches_image};
use crate::locate::{Site, attempt};

/// Whether a file, wherever it is, may decide something of folders other than its own.
pub(crate) fn may_decide(path: &str, bytes: &[u8]) -> bool {
    is_kustomization(path)
        || ["Application", "kustomize.toolkit.fluxcd.io/"]
            .iter()
            .any(|word| contains(bytes, word))
}

/// Refuses sites that something else than their manifest decides.
///
/// # Errors
/// The refusal names the file and line that decides.
pub(crate) fn refuse(
    folder: &Folder,
    own: Option<&Kustomization<'_>>,
    around: &[Manifest],
    sites: &[Site],
    target: &Target,
) -> Result<(), EditRefused> {
    let find = |path: &str| {
        let mut files = folder.files.iter().chain(around);
        files.find(|file| file.path == path)
    };
    let above: Vec<Kustomization<'_>> = around
        .iter()
        .filter(|file| is_kustomization(&file.path))
        .filter_map(|file| Kustomization::read(file).ok().flatten())
        .collect();
    for site in sites {
        let taking = above.iter().filter(|it| it.takes(site));
        let mut applied: Vec<&Kustomization<'_>> = own.into_iter().chain(taking).collect();
        let mut at = 0;
        while let Some(kustomization) = applied.get(at) {
            if let Some(found) = kustomization.sets(site, target, &find) {
                return Err(no_effect(found, site, target));
            }
            let components = kustomization.components();
            let added = above
                .iter()
                .filter(|it| components.iter().any(|folder| folder == it.folder()))
                .filter(|it| !applied.iter().any(|known| std::ptr::eq(*known, *it)));
            let added: Vec<&Kustomization<'_>> = added.collect();
            applied.extend(added);
            at += 1;
        }
        let parameters = folder.files.iter().filter(|file| {
            let name = base_name(&file.path);
            name.starts_with(".argocd-source") && name.ends_with(".yaml")
        });
        for file in parameters {
            if let Some((spot, name)) = in_parameters(file, site) {
                return Err(overridden(spot, &name, site, target));
            }
        }
        for file in around
            .iter()
            .filter(|file| may_decide(&file.path, &file.bytes))
        {
            if let Some((spot, name)) = in_application(file, site, target, &above, &find) {
                return Err(overridden(spot, &name, site, target));
            }
        }
    }
    Ok(())
}

fn overridden(spot: Spot, name: &str, site: &Site, target: &Target) -> EditRefused {
    EditRefused {
        attempt: attempt(target),
        cause: format!(
            "{spot}: the image `{name}` is set here when the folder is deployed, so that {}:{} has no effect",
            site.file, site.line
        ),
        remedy: "remove the entry: Shipline sets the image in the manifest".to_owned(),
        kind: RefusedKind::Unfit,
    }
}

/// Where a list of images of Argo CD's (`[NAME=]IMAGE`) names that of a site.
fn in_images<'n>(lists: impl Iterator<Item = &'n Node>, site: &Site) -> Option<(&'n Node, String)> {
    let name = ImageText::split(site.value.trim_end()).name;
    lists.flat_map(Node::items).find_map(|entry| {
        let text = match entry.text() {
            Some(text) => text.split_once('=').map_or(text, |(old, _)| old),
            // Flux writes mappings, as kustomize does.
            None => entry.get("name").and_then(Node::text)?,
        };
        (ImageText::split(text).name == name).then(|| (entry, name.to_owned()))
    })
}

fn in_parameters(file: &Manifest, site: &Site) -> Option<(Spot, String)> {
    let text = String::from_utf8_lossy(&file.bytes);
    let covered = Covered::parse(&text).ok()?;
    let documents = covered.stream.documents.iter();
    let lists = documents
        .flat_map(|document| document.get_all("kustomize"))
        .flat_map(|kustomize| kustomize.get_all("images"));
    let (entry, name) = in_images(lists, site)?;
    Some((spot(file, &covered, entry), name))
}

fn in_application<'a>(
    file: &Manifest,
    site: &Site,
    target: &Target,
    kustomizations: &[Kustomization<'a>],
    find: &dyn Fn(&str) -> Option<&'a Manifest>,
) -> Option<(Spot, String)> {
    let text = String::from_utf8_lossy(&file.bytes);
    let covered = Covered::parse(&text).ok()?;
    let mut open: Vec<&Node> = covered.stream.documents.iter().collect();
    while let Some(document) = open.pop() {
        let text_of = |key| document.get(key).and_then(Node::text).unwrap_or_default();
        let kind = text_of("kind");
        if kind.ends_with("List") {
            open.extend(document.get_all("items").flat_map(Node::items));
        }
        let Some(mut spec) = document.get("spec") else {
            continue;
        };
        let flux = kind == "Kustomization"
            && text_of("apiVersion").starts_with("kustomize.toolkit.fluxcd.io/");
        if kind == "ApplicationSet" {
            let Some(inner) = spec.get("template").and_then(|it| it.get("spec")) else {
                continue;
            };
            spec = inner;
        } else if kind != "Application" && !flux {
            continue;
        }
        let sources: Vec<&Node> = if flux {
            vec![spec]
        } else {
            let several = spec.get_all("sources").flat_map(Node::items);
            spec.get_all("source").chain(several).collect()
        };
        for source in sources {
            let path = source.get("path").and_then(Node::text).unwrap_or_default();
            if !is_for(path, parent(&site.file)) {
                continue;
            }
            let inside: Vec<&Node> = if flux {
                vec![source]
            } else {
                source.get_all("kustomize").collect()
            };
            let lists = inside.iter().flat_map(|it| it.get_all("images"));
            if let Some((entry, name)) = in_images(lists, site) {
                return Some((spot(file, &covered, entry), name));
            }
            let name = ImageText::split(site.value.trim_end()).name.to_owned();
            let patches = inside.iter().flat_map(|it| it.get_all("patches"));
            for entry in patches.flat_map(Node::items) {
                let patch = entry.get("patch").and_then(Node::text).unwrap_or_default();
                if patches_image(patch, target).is_some() {
                    return Some((spot(file, &covered, entry), name));
                }
            }
            let components = inside.iter().flat_map(|it| it.get_all("components"));
            for entry in components.flat_map(Node::items) {
                let folder = entry
                    .text()
                    .and_then(|text| resolve(parent(&site.file), text));
                let found = kustomizations
                    .iter()
                    .filter(|it| Some(it.folder()) == folder.as_deref())
                    .any(|it| it.sets(site, target, find).is_some());
                if found {
                    return Some((spot(file, &covered, entry), name));
                }
            }
        }
    }
    None
}

/// Whether a source's path is the folder; one with a template may be.
fn is_for(path: &str, folder: &str) -> bool {
    path.contains("{{") || resolve("", path.trim_start_matches('/')).as_deref() == Some(folder)
}

fn spot(file: &Manifest, covered: &Covered<'_>, node: &Node) -> Spot {
    Spot {
        file: file.path.clone(),
        line: yaml::place(&covered.text, node.span.start).line,
    }
}
