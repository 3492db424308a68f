//! What a deployment changes in the manifests, byte for byte. Pure: files in, files out.

use std::collections::BTreeMap;

use shipline_engine::backend::{Pinning, SetImage, Target};
use shipline_engine::event::ImageChange;
use shipline_model::name::ImageName;
use shipline_model::yaml::Edit;

use crate::error::{EditRefused, RefusedKind};
use crate::folder::{Folder, Manifest};
use crate::half::Covered;
use crate::image::ImageText;
use crate::locate::{Site, attempt, locate};

/// What an edit comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditPlan {
    /// The changed files: path and new bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The changed values, in the order of the images; what is up to date is not in it.
    pub changes: Vec<ImageChange>,
    /// What is left alone and should be known.
    pub notes: Vec<String>,
}

/// The edits that set the images. `folder` gives a target's folder; `around` is what elsewhere in the repository may decide
/// its images, or hold them.
///
/// # Errors
/// The refusals of all images, not of the first alone.
pub fn plan<'a>(
    images: &[SetImage],
    folder: impl Fn(&Target) -> &'a Folder,
    around: &[Manifest],
) -> Result<EditPlan, Vec<EditRefused>> {
    let mut plan = EditPlan::default();
    let mut edits: BTreeMap<&'a str, (&'a Manifest, Vec<Edit>)> = BTreeMap::new();
    let mut refused = Vec::new();
    for image in images {
        let folder = folder(&image.target);
        let located = match locate(folder, around, &image.target) {
            Ok(located) => located,
            Err(error) => {
                refused.push(error);
                continue;
            }
        };
        for note in located.notes {
            if !plan.notes.contains(&note) {
                plan.notes.push(note);
            }
        }
        for site in located.sites {
            let to = match value(image, &site) {
                Ok(to) if to == site.value => continue,
                Ok(to) => to,
                Err(error) => {
                    refused.push(error);
                    continue;
                }
            };
            let mut files = folder.files.iter();
            let Some(manifest) = files.find(|file| file.path == site.file) else {
                continue;
            };
            let (_, edits) = edits
                .entry(&manifest.path)
                .or_insert_with(|| (manifest, Vec::new()));
            if let Some(other) = edits.iter().find(|edit| edit.span == site.span) {
                if other.value != to {
                    refused.push(twice(image, &site));
                }
                continue;
            }
            plan.changes.push(ImageChange {
                component: image.target.component.to_string(),
                file: site.file,
                line: site.line,
                from: site.value.trim_end_matches('\n').to_owned(),
                to: to.trim_end_matches('\n').to_owned(),
            });
            edits.push(Edit {
                span: site.span,
                value: to,
            });
        }
    }
    // What is set for one component is not left alone for another.
    let set: Vec<String> = plan
        .changes
        .iter()
        .map(|change| format!("{}:{}: the container ", change.file, change.line))
        .collect();
    plan.notes
        .retain(|note| !set.iter().any(|set| note.starts_with(set)));
    for (path, (manifest, edits)) in edits {
        match write(manifest, &edits) {
            Ok(bytes) => {
                plan.files.insert(path.to_owned(), bytes);
            }
            Err(cause) => refused.push(EditRefused {
                attempt: format!("edit {path}"),
                cause,
                remedy: "write the image as one plain or quoted value on a line of its own"
                    .to_owned(),
                kind: RefusedKind::Unfit,
            }),
        }
    }
    if refused.is_empty() {
        Ok(plan)
    } else {
        Err(refused)
    }
}

fn write(manifest: &Manifest, edits: &[Edit]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(&manifest.bytes).map_err(|error| error.to_string())?;
    let covered = Covered::parse(text).map_err(|error| error.to_string())?;
    covered
        .replace(edits)
        .map(String::into_bytes)
        .map_err(|error| error.to_string())
}

/// Two components that set one value to different images.
fn twice(image: &SetImage, site: &Site) -> EditRefused {
    EditRefused {
        attempt: attempt(&image.target),
        cause: format!(
            "{}:{} is set for another component, too, to another image",
            site.file, site.line
        ),
        remedy:
            "deploy the components one after the other, or give the init container another image"
                .to_owned(),
        kind: RefusedKind::Unfit,
    }
}

/// The value that a site gets: name, tag and digest.
fn value(image: &SetImage, site: &Site) -> Result<String, EditRefused> {
    let target = &image.target;
    let refuse = |cause: String, remedy: String| EditRefused {
        attempt: attempt(target),
        cause,
        remedy,
        kind: RefusedKind::Unfit,
    };
    let old = site.value.trim_end_matches('\n');
    let end = &site.value[old.len()..];
    let old = ImageText::split(old);
    let name = match &image.name {
        Some(name) => name.as_str(),
        None => {
            if let Err(error) = ImageName::new(old.name) {
                return Err(refuse(
                    format!("{}:{}: {error}", site.file, site.line),
                    format!(
                        "set the whole name: `gitops set {}=HOST/PATH/{}:{}`",
                        target.component, target.repository, image.tag
                    ),
                ));
            }
            old.name
        }
    };
    let digest = match (old.digest, &image.digest, image.pinning) {
        (_, Some(digest), Pinning::Always) | (Some(_), Some(digest), Pinning::AsBefore) => {
            Some(digest.as_str())
        }
        (None, Some(_), Pinning::AsBefore) | (None | Some(""), None, _) => None,
        (Some(_), None, _) => {
            return Err(refuse(
                format!(
                    "{}:{} pins a digest, and that of `{}` is not known",
                    site.file, site.line, image.tag
                ),
                format!(
                    "give the new image's digest: `{}={}@sha256:…`, or remove `@sha256:…` from the manifest",
                    target.component, image.tag
                ),
            ));
        }
    };
    let new = ImageText {
        name,
        tag: Some(image.tag.as_str()),
        digest,
    };
    if !new.is_of(&target.repository) {
        return Err(refuse(
            format!(
                "`{name}` does not end in the repository `{}`",
                target.repository
            ),
            "give the name with the repository of the component at its end".to_owned(),
        ));
    }
    Ok(format!("{new}{end}"))
}
