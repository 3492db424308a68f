//! What a deployment changes in the manifests, byte for byte. Pure: files in, files out.

use std::collections::BTreeMap;

use shipline_engine::backend::{SetImage, Target};
use shipline_engine::event::ImageChange;
use shipline_model::yaml::Edit;

use crate::error::{EditRefused, RefusedKind};
use crate::half::Covered;
use crate::image::{ImageText, is_name, is_tag};
use crate::locate::{Manifest, Site, attempt, locate};

/// What an edit comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditPlan {
    /// The changed files: path and new bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The changed values, in the order of the images; what is up to date is not in it.
    pub changes: Vec<ImageChange>,
}

/// The edits that set the images. `folder` gives the manifests of a target's folder; it is asked once for each target.
///
/// # Errors
/// The refusals of all images, not of the first alone.
pub fn plan<'a>(
    images: &[SetImage],
    folder: impl Fn(&Target) -> &'a [Manifest],
) -> Result<EditPlan, Vec<EditRefused>> {
    let mut plan = EditPlan::default();
    let mut edits: BTreeMap<&'a str, (&'a Manifest, Vec<Edit>)> = BTreeMap::new();
    let mut refused = Vec::new();
    for image in images {
        let manifests = folder(&image.target);
        match locate(manifests, &image.target).and_then(|site| Ok((value(image, &site)?, site))) {
            Ok((to, site)) if to != site.value => {
                let manifest = &manifests[site.manifest];
                plan.changes.push(ImageChange {
                    component: image.target.component.to_string(),
                    file: site.file,
                    line: site.line,
                    from: site.value.trim_end_matches('\n').to_owned(),
                    to: to.trim_end_matches('\n').to_owned(),
                });
                let (_, edits) = edits
                    .entry(&manifest.path)
                    .or_insert_with(|| (manifest, Vec::new()));
                edits.push(Edit {
                    span: site.span,
                    value: to,
                });
            }
            Ok(_) => {}
            Err(error) => refused.push(error),
        }
    }
    for (path, (manifest, edits)) in edits {
        match write(manifest, &edits) {
            Ok(bytes) => {
                plan.files.insert(path.to_owned(), bytes);
            }
            Err(cause) => refused.push(EditRefused {
                attempt: format!("edit {path}"),
                cause,
                remedy: "Write the image as one plain or quoted value on a line of its own."
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

/// The value that a site gets: name, tag and digest, in the form that the old one has.
fn value(image: &SetImage, site: &Site) -> Result<String, EditRefused> {
    let target = &image.target;
    let refuse = |cause: String, remedy: &str| EditRefused {
        attempt: attempt(target),
        cause,
        remedy: remedy.to_owned(),
        kind: RefusedKind::Unfit,
    };
    if !is_tag(&image.tag) {
        let cause = format!("`{}` is no image tag", image.tag);
        return Err(refuse(
            cause,
            "A tag has at most 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two.",
        ));
    }
    let old = site.value.trim_end_matches('\n');
    let end = &site.value[old.len()..];
    let old = ImageText::split(old);
    let name = image.name.as_deref().unwrap_or(old.name);
    if image.name.is_some() && !is_name(name) {
        return Err(refuse(
            format!("`{name}` is no image name"),
            "Give `host/path/name` without tag.",
        ));
    }
    let digest = match (old.digest, &image.digest) {
        (None | Some(""), None) => None,
        (None, Some(_)) => None,
        (Some(_), Some(digest)) => Some(digest.as_str()),
        (Some(_), None) => {
            let cause = format!(
                "{}:{} pins a digest, and that of `{}` is not known",
                site.file, site.line, image.tag
            );
            return Err(refuse(
                cause,
                "Give the new image's digest, or remove `@sha256:…` from the manifest.",
            ));
        }
    };
    let new = ImageText {
        name,
        tag: Some(&image.tag),
        digest,
    };
    if !new.is_of(&target.repository) {
        let cause = format!(
            "`{name}` does not end in the repository `{}`",
            target.repository
        );
        return Err(refuse(
            cause,
            "Give the name with the repository of the component at its end.",
        ));
    }
    Ok(format!("{new}{end}"))
}
