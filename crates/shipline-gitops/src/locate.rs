//! What an environment runs of a component, and where the repository says so.
//!
//! The one way from a target to the images that are rendered for it: pipelines, `gitops set` and the detection of what is
//! deployed all go it. An image is found by its repository and the names of workload and container; what decides it may be
//! another file than the one that declares it.

use std::cell::RefCell;
use std::rc::Rc;

use shipline_engine::backend::Target;

use crate::choice::Choice;
use crate::error::{EditRefused, RefusedKind};
use crate::folder::{base_name, parent};
use crate::image::ImageText;
use crate::rendering::{Image, Rendering};
use crate::seen;
use crate::world::World;

/// An image that is meant, in what a root renders.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) root: Root,
    pub(crate) rendering: Rc<RefCell<Rendering>>,
    pub(crate) image: usize,
}

/// Something that is rendered as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Root {
    /// A folder.
    Folder(String),
    /// A file that nothing lists, by itself.
    File(String),
    /// A values file with what lies over and under it.
    Values(String),
}

impl Root {
    /// What it renders.
    pub(crate) fn render(&self, world: &World<'_>) -> Result<Rc<RefCell<Rendering>>, git2::Error> {
        match self {
            Self::Folder(folder) => world.render(folder),
            Self::File(file) => world.render_file(file),
            Self::Values(file) => world.render_values(file),
        }
    }
}

/// What is meant by a target.
#[derive(Debug, Default)]
pub(crate) struct Located {
    /// The images, the component's own first.
    pub(crate) chosen: Vec<Chosen>,
    /// What is left alone and should be known.
    pub(crate) notes: Vec<String>,
}

pub(crate) fn attempt(target: &Target) -> String {
    format!(
        "set the image of {} in {}",
        target.component, target.environment
    )
}

pub(crate) fn refuse(target: &Target, cause: String, remedy: impl Into<String>) -> EditRefused {
    EditRefused {
        attempt: attempt(target),
        cause,
        remedy: remedy.into(),
        kind: RefusedKind::Unfit,
    }
}

/// The repository could not be read.
pub(crate) fn unreadable(target: &Target, error: &git2::Error) -> EditRefused {
    refuse(
        target,
        format!("the GitOps repository cannot be read: {}", error.message()),
        "run it again, or fetch the repository anew",
    )
}

/// Whether an image is one of the component's.
pub(crate) fn is_ours(name: &str, target: &Target) -> bool {
    let text = ImageText {
        name,
        tag: None,
        digest: None,
    };
    text.is_of(&target.repository)
        || target
            .other_repositories
            .iter()
            .any(|other| text.is_of(other))
}

/// Finds the images of a target.
///
/// # Errors
/// `EditRefused` where none or several match, or where what decides them must not be edited; it names the places.
pub(crate) fn locate(world: &World<'_>, target: &Target) -> Result<Located, EditRefused> {
    let failed = |error: git2::Error| unreadable(target, &error);
    let mut located = Located::default();
    for path in &target.manifests {
        for root in roots(world, path, target)? {
            let rendering = root.render(world).map_err(failed)?;
            let broken = rendering.borrow().broken.clone();
            if let Some(doubt) = broken {
                let cause = format!("{}: {}", doubt.spot, doubt.cause);
                return Err(refuse(target, cause, doubt.remedy));
            }
            let Some((images, notes)) = Choice::make(path, target, &rendering)? else {
                continue;
            };
            for note in notes {
                if !located.notes.contains(&note) {
                    located.notes.push(note);
                }
            }
            located
                .chosen
                .extend(images.into_iter().map(|image| Chosen {
                    root: root.clone(),
                    rendering: Rc::clone(&rendering),
                    image,
                }));
        }
    }
    if located.chosen.is_empty() {
        return Err(seen::missing(world, target).unwrap_or_else(failed));
    }
    for chosen in &located.chosen {
        let rendering = chosen.rendering.borrow();
        let image = &rendering.images[chosen.image];
        if let Some(error) = doubtful(target, image, &rendering) {
            return Err(error);
        }
        let place = &rendering.places[image.decided];
        if let Root::Values(file) = &chosen.root
            && *place.file != **file
            && parent(&place.file) == parent(file)
        {
            return Err(refuse(
                target,
                format!(
                    "{}: the image is set in the values that all environments share, and not in {file}",
                    place.spot()
                ),
                format!("write the tag into {file} once: it is set there from then on"),
            ));
        }
    }
    Ok(located)
}

/// The refusal of an image whose decider must not be edited.
pub(crate) fn doubtful(
    target: &Target,
    image: &Image,
    rendering: &Rendering,
) -> Option<EditRefused> {
    let place = &rendering.places[image.decided];
    let doubt = image.doubt.as_ref().or(place.doubt.as_ref())?;
    let elsewhere =
        image.doubt.is_some() || place.spot() != image.spot || doubt.spot.file != image.spot.file;
    let cause = if elsewhere {
        format!(
            "{}: {}, so that {} has no effect",
            doubt.spot, doubt.cause, image.spot
        )
    } else {
        format!("{}: {}", doubt.spot, doubt.cause)
    };
    Some(refuse(target, cause, doubt.remedy.clone()))
}

/// What is rendered with the manifests at a path.
fn roots(world: &World<'_>, path: &str, target: &Target) -> Result<Vec<Root>, EditRefused> {
    let failed = |error: git2::Error| unreadable(target, &error);
    if let Some(file) = world.read(path).map_err(failed)? {
        let resources = file.documents().iter().any(|it| it.get("kind").is_some());
        if file.tree.is_ok() && !resources {
            return Ok(vec![Root::Values(path.to_owned())]);
        }
        let listed = world.roots(path, true).map_err(failed)?;
        let folder = parent(path);
        return Ok(if !listed.is_empty() {
            listed.into_iter().map(Root::Folder).collect()
        } else if world.apps.iter().any(|app| app.is_for(folder)) {
            vec![Root::Folder(folder.to_owned())]
        } else {
            vec![Root::File(path.to_owned())]
        });
    } else if let Some(file) = environment_values(world, path, target)? {
        return Ok(vec![Root::Values(file)]);
    }
    let roots = world.roots(path, false).map_err(failed)?;
    Ok(roots.into_iter().map(Root::Folder).collect())
}

/// In the folder of a chart that several environments share, the values file of this one.
fn environment_values(
    world: &World<'_>,
    path: &str,
    target: &Target,
) -> Result<Option<String>, EditRefused> {
    let folder = world
        .folder(path)
        .map_err(|error| unreadable(target, &error))?;
    let names: Vec<&str> = folder.files.iter().map(|it| base_name(&it.path)).collect();
    let is_chart = names.contains(&"Chart.yaml");
    let named = world.apps.iter().any(|app| app.is_for(path));
    if !is_chart || named {
        return Ok(None);
    }
    let environment = target.environment.as_str();
    let is_of = |name: &&&str| {
        let stem = name.rsplit_once('.').map_or(**name, |(stem, _)| stem);
        stem == environment
            || stem.ends_with(&format!("-{environment}"))
            || stem.ends_with(&format!(".{environment}"))
            || stem.ends_with(&format!("_{environment}"))
            || stem == format!("{environment}-values")
    };
    let own = names.iter().find(is_of);
    if let Some(own) = own {
        return Ok(Some(join(path, own)));
    }
    let others = names
        .iter()
        .filter(|name| name.starts_with("values") && **name != "values.yaml");
    let others: Vec<&str> = others.copied().collect();
    let own_folder = path.split('/').any(|part| part == environment);
    if others.is_empty() || own_folder {
        return Ok(None);
    }
    Err(refuse(
        target,
        format!(
            "a Helm chart stands in {path} with the values {}: which are those of {environment} cannot be told",
            others.join(", ")
        ),
        format!(
            "name the file in pipeline.yaml: `manifests: \"{}\"` for {}",
            join(path, "values-{environment}.yaml"),
            target.component
        ),
    ))
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}
