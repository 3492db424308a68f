//! Where a target's image stands among the manifests of its folder.
//!
//! A container is found by its name and its image's repository, in the pod of a workload. What makes the place doubtful
//! (aliases, merge keys, doubled keys, templates) is an obstacle where it lies on the way to the image, and is left alone
//! everywhere else: clusters take files that strict parsers refuse.

use std::ops::Range;

use shipline_engine::backend::Target;
use shipline_model::config::Containers;
use shipline_model::yaml;

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::folder::{Folder, Manifest, base_name, contains};
use crate::half::Covered;
use crate::image::ImageText;
use crate::kustomize::Kustomization;
use crate::walk::{self, Walk};
use crate::{deciders, seen};

/// An image value that may be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// File in the repository.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// The scalar's bytes.
    pub span: Range<usize>,
    /// The scalar's value.
    pub value: String,
}

/// Where a target's image stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The values that are set, the container's own first.
    pub sites: Vec<Site>,
    /// What is left alone and should be known.
    pub notes: Vec<String>,
}

/// Finds the image values of a target. Of several containers of its name, that of the workload which is named as the container
/// wins, then that in `deployment.yaml`; init containers of the same pod that run the same image move with it. `around` is what
/// elsewhere in the repository may set the image of this folder, or hold it.
///
/// # Errors
/// `EditRefused` where none or several match or something on the way makes an edit unsafe, naming every place, and where
/// another file sets the same image: then what stands in the manifest is not what runs.
pub fn locate(
    folder: &Folder,
    around: &[Manifest],
    target: &Target,
) -> Result<Located, EditRefused> {
    let own = Kustomization::of(&folder.files, target)?;
    let listed: Vec<&Manifest> = folder
        .files
        .iter()
        .filter(|file| walk::is_manifest(&file.path))
        .filter(|file| own.as_ref().is_none_or(|it| it.lists(&file.path)))
        .collect();
    let found = search(&listed, target);
    let located = match target.containers {
        Containers::Named => named(&found, target)?,
        Containers::All => all(&found, target)?,
    };
    let Some(located) = located else {
        if let Some(own) = &own {
            own.refuse_missing(&folder.files, target)?;
        }
        return Err(seen::missing(folder, around, target, &found.near));
    };
    deciders::refuse(folder, own.as_ref(), around, &located.sites, target)?;
    Ok(located)
}

/// The target's container, and the init containers beside it.
fn named(found: &Found, target: &Target) -> Result<Option<Located>, EditRefused> {
    let obstacle = |rank, kind| {
        let mut all = found.obstacles.iter();
        match all.find(|o| o.rank == rank && o.kind == kind) {
            Some(obstacle) => Err(obstacle.refuse(target)),
            None => Ok(()),
        }
    };
    for rank in [Rank::Own, Rank::Other] {
        obstacle(rank, ObstacleKind::Doubt)?;
        let sites = found.named.iter().filter(|it| it.rank == rank).collect();
        if let Some(chosen) = choose(target, sites)? {
            return Ok(Some(with_beside(found, chosen)));
        }
        obstacle(rank, ObstacleKind::Hidden)?;
    }
    Ok(None)
}

/// The chosen container with what moves along, and notes of what does not.
fn with_beside(found: &Found, chosen: &Container) -> Located {
    let mut sites = vec![chosen.site.clone()];
    let mut notes = found.unread.clone();
    let same = chosen.site.value.trim_end_matches('\n');
    for other in found.named.iter().chain(&found.beside) {
        if other.site == chosen.site {
            continue;
        }
        let along = other.pod == chosen.pod
            && other.list == List::Init
            && other.doubt.is_none()
            && other.site.value.trim_end_matches('\n') == same;
        if along {
            sites.push(other.site.clone());
        } else {
            notes.push(format!(
                "{}:{}: the container `{}` runs `{}` and is left alone",
                other.site.file,
                other.site.line,
                other.name,
                other.site.value.trim_end_matches('\n')
            ));
        }
    }
    Located { sites, notes }
}

/// All containers that run an image of the repository.
fn all(found: &Found, target: &Target) -> Result<Option<Located>, EditRefused> {
    let mut obstacles = found.obstacles.iter();
    if let Some(doubt) = obstacles.find(|it| it.kind == ObstacleKind::Doubt) {
        return Err(doubt.refuse(target));
    }
    let containers: Vec<&Container> = found.named.iter().chain(&found.beside).collect();
    if let Some((container, doubt)) = containers
        .iter()
        .find_map(|container| Some((container, container.doubt.as_ref()?)))
    {
        return Err(EditRefused {
            attempt: attempt(target),
            cause: format!("{}:{}: {}", container.site.file, doubt.line, doubt.cause),
            remedy: doubt.remedy.to_owned(),
            kind: RefusedKind::Unfit,
        });
    }
    let sites: Vec<Site> = containers.iter().map(|it| it.site.clone()).collect();
    if sites.is_empty() {
        return match found.obstacles.first() {
            Some(obstacle) => Err(obstacle.refuse(target)),
            None => Ok(None),
        };
    }
    Ok(Some(Located {
        sites,
        notes: found.unread.clone(),
    }))
}

/// The only one, or the only one in `deployment.yaml`.
fn choose<'f>(
    target: &Target,
    mut sites: Vec<&'f Container>,
) -> Result<Option<&'f Container>, EditRefused> {
    let in_deployment = |it: &&Container| {
        matches!(
            base_name(&it.site.file),
            "deployment.yaml" | "deployment.yml"
        )
    };
    if sites.len() > 1 && sites.iter().any(in_deployment) {
        sites.retain(in_deployment);
    }
    if sites.len() < 2 {
        return Ok(sites.pop());
    }
    let places: Vec<String> = sites
        .iter()
        .map(|it| format!("{}:{}", it.site.file, it.site.line))
        .collect();
    Err(EditRefused {
        attempt: attempt(target),
        cause: format!(
            "it is declared {} times: {}",
            places.len(),
            places.join(", ")
        ),
        remedy: format!(
            "give the containers different names, name one workload `{}`, or write `containers: all` for the component in pipeline.yaml",
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

/// How closely a workload belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It is named as the container.
    Own,
    /// It has another name, or none that can be told.
    Other,
}

/// Which list of a pod a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// `containers`.
    Main,
    /// `initContainers`.
    Init,
}

/// What makes an edit unsafe on the way to a container's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// 1-based line.
    pub(crate) line: usize,
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
}

/// A container that runs an image of the target's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) rank: Rank,
    /// Which pod of the folder.
    pub(crate) pod: (usize, usize),
    pub(crate) list: List,
    pub(crate) name: String,
    pub(crate) site: Site,
    pub(crate) doubt: Option<Doubt>,
}

/// What an obstacle is in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObstacleKind {
    /// An image that matches must not be edited.
    Doubt,
    /// An image that matches may be where nobody can see it.
    Hidden,
}

#[derive(Debug)]
pub(crate) struct Obstacle {
    pub(crate) rank: Rank,
    pub(crate) kind: ObstacleKind,
    pub(crate) spot: Spot,
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
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
pub(crate) struct Found {
    /// Containers of the target's name.
    pub(crate) named: Vec<Container>,
    /// Containers of other names.
    pub(crate) beside: Vec<Container>,
    pub(crate) obstacles: Vec<Obstacle>,
    /// Containers of the target's name with other images.
    pub(crate) near: Vec<(Spot, String)>,
    /// Files that cannot be read, for where something was found without them.
    pub(crate) unread: Vec<String>,
}

/// What the manifests say of a target.
pub(crate) fn search(manifests: &[&Manifest], target: &Target) -> Found {
    let mut found = Found::default();
    for (index, manifest) in manifests.iter().enumerate() {
        // A file that says neither the container's name nor the repository's has nothing to do with it.
        let named = contains(&manifest.bytes, &target.container);
        if !named && !contains(&manifest.bytes, &target.repository) {
            continue;
        }
        let text = String::from_utf8_lossy(&manifest.bytes);
        match read(&manifest.bytes, &text) {
            Ok(covered) => Walk::through(index, manifest, &text, &covered, target, &mut found),
            Err((line, cause, remedy)) => {
                let kind = if may_hold(&text, target) {
                    ObstacleKind::Doubt
                } else if named {
                    ObstacleKind::Hidden
                } else {
                    continue;
                };
                let spot = Spot {
                    file: manifest.path.clone(),
                    line,
                };
                let note = format!("{spot}: {cause}; it is left alone");
                found.unread.push(note);
                found.obstacles.push(Obstacle {
                    rank: Rank::Other,
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

/// Whether a line of a text that cannot be parsed sets an image of the target's repository, or one that nobody can tell.
fn may_hold(text: &str, target: &Target) -> bool {
    text.lines().any(|line| {
        let entry = line.trim_start_matches([' ', '\t', '-', '{', ',']);
        let Some(value) = entry
            .strip_prefix("image")
            .or_else(|| entry.strip_prefix("\"image\""))
            .and_then(|rest| rest.trim_start().strip_prefix(':'))
        else {
            return false;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        let word = value.split([' ', '"', '\'', ',', '}']).next();
        value.contains("{{") || ImageText::split(word.unwrap_or_default()).is_of(&target.repository)
    })
}

/// A manifest's tree, or the line, cause and remedy of what makes it unreadable. What is not UTF-8 is read all the same, to tell
/// whether it matters: that it cannot be edited is said where it does.
fn read<'t>(bytes: &[u8], text: &'t str) -> Result<Covered<'t>, (usize, String, &'static str)> {
    Covered::parse(text).map_err(|error| {
        if let Some(line) = not_utf8(bytes) {
            return (line, NOT_UTF8.to_owned(), SAVE_UTF8);
        }
        let line = yaml::place(text, error.offset).line;
        if text.contains("{{") || text.contains("{%") {
            (line, "the file is a template".to_owned(), walk::TEMPLATE)
        } else {
            let cause = format!("the file is no YAML: {}", error.message);
            (line, cause, "correct the file's syntax")
        }
    })
}

pub(crate) const NOT_UTF8: &str = "the file is not UTF-8";
pub(crate) const SAVE_UTF8: &str = "save the file as UTF-8";

/// The line of the first byte that is no UTF-8.
pub(crate) fn not_utf8(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    let before = &bytes[..error.valid_up_to()];
    Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
}
