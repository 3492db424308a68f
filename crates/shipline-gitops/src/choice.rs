//! The choice among the images that are rendered: by the names and the repository of a component.

use std::cell::RefCell;
use std::rc::Rc;

use shipline_engine::backend::Target;
use shipline_model::config::Containers;
use shipline_model::placeholder;

use crate::error::{EditRefused, Spot};
use crate::folder::{base_name, is_within, parent};
use crate::image::ImageText;
use crate::locate::{doubtful, is_ours, refuse};
use crate::parsed::{Parsed, Unreadable};
use crate::place::Doubt;
use crate::places::values;
use crate::rendering::{Image, Part, Rendering};

/// How closely a workload belongs to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// It is named as the component.
    Own,
    /// It has another name, or none that can be told.
    Other,
}

/// The choice among the images of a rendering.
pub(crate) struct Choice<'c> {
    target: &'c Target,
    rendering: &'c Rendering,
    /// The images that came through the target's path.
    scope: Vec<usize>,
    /// Files that cannot be read and may matter.
    unread: Vec<Unread>,
}

/// A file that cannot be read.
struct Unread {
    spot: Spot,
    why: Unreadable,
    /// Whether it sets an image of the component, as far as can be seen.
    holds: bool,
}

/// What was chosen: the images, and notes of what is left alone.
pub(crate) type Made = Option<(Vec<usize>, Vec<String>)>;

impl<'c> Choice<'c> {
    pub(crate) fn make(
        path: &str,
        target: &'c Target,
        rendering: &Rc<RefCell<Rendering>>,
    ) -> Result<Made, EditRefused> {
        if let Some(route) = &target.value {
            return Ok(by_value(path, route, &mut rendering.borrow_mut()));
        }
        let rendering = rendering.borrow();
        let scope = scope(path, &rendering);
        let choice = Choice {
            target,
            unread: unread(path, target, &rendering),
            rendering: &rendering,
            scope,
        };
        let images = match &target.containers {
            Containers::Named => choice.named()?,
            Containers::All => choice.all()?,
            Containers::Listed(names) => choice.listed(names)?,
        };
        let Some(images) = images else {
            return Ok(None);
        };
        let notes = choice.notes(&images);
        Ok(Some((images, notes)))
    }

    fn image(&self, index: usize) -> &Image {
        &self.rendering.images[index]
    }

    fn is_ours(&self, index: usize) -> bool {
        let image = self.image(index);
        let reference = image.reference.as_ref();
        reference.is_some_and(|reference| is_ours(&reference.name, self.target))
    }

    fn rank(&self, index: usize) -> Rank {
        self.rank_of(self.image(index).resource)
    }

    fn rank_of(&self, resource: usize) -> Rank {
        let wanted = self.target.workload.as_deref().unwrap_or(&self.target.name);
        match self.rendering.resources.get(resource) {
            Some(resource) if resource.names.iter().any(|name| name == wanted) => Rank::Own,
            Some(_) | None => Rank::Other,
        }
    }

    /// Whether the image's value is nothing that can be told from another's.
    fn is_unfilled(&self, index: usize) -> bool {
        let image = self.image(index);
        match &image.reference {
            None => true,
            Some(reference) => placeholder::unfilled(&reference.to_string()).is_some(),
        }
    }

    fn allowed(&self, rank: Rank) -> bool {
        rank == Rank::Own || self.target.workload.is_none()
    }

    /// The target's container, and the init containers beside it.
    fn named(&self) -> Result<Option<Vec<usize>>, EditRefused> {
        let wanted = self
            .target
            .container
            .as_deref()
            .unwrap_or(&self.target.name);
        let named: Vec<usize> = self
            .scope
            .iter()
            .copied()
            .filter(|index| self.image(*index).part.container() == Some(wanted))
            .filter(|index| self.is_ours(*index) || self.is_unfilled(*index))
            .collect();
        for rank in [Rank::Own, Rank::Other] {
            if !self.allowed(rank) {
                continue;
            }
            let of_rank: Vec<usize> = named
                .iter()
                .copied()
                .filter(|index| self.rank(*index) == rank)
                .collect();
            for index in &of_rank {
                if let Some(error) = doubtful(self.target, self.image(*index), self.rendering) {
                    return Err(error);
                }
            }
            if rank == Rank::Other
                && let Some(unread) = self.unread.iter().find(|it| it.holds)
            {
                return Err(self.refuse_unread(unread));
            }
            if let Some(chosen) = self.choose(of_rank)? {
                return Ok(Some(self.with_inits(chosen)));
            }
            let mut hidden = self.rendering.obstacles.iter();
            let hidden = hidden.find(|it| self.may_hide(it.resource, rank));
            if let Some(obstacle) = hidden {
                let doubt: &Doubt = &obstacle.doubt;
                let cause = format!("{}: {}", doubt.spot, doubt.cause);
                return Err(refuse(self.target, cause, doubt.remedy.clone()));
            }
        }
        if let Some(chosen) = self.without_doubt()? {
            return Ok(Some(self.with_inits(chosen)));
        }
        match self.unread.first() {
            Some(unread) => Err(self.refuse_unread(unread)),
            None => Ok(None),
        }
    }

    fn may_hide(&self, resource: usize, rank: Rank) -> bool {
        self.rank_of(resource) == rank
            && self
                .rendering
                .resources
                .get(resource)
                .is_some_and(|resource| {
                    let file = self
                        .rendering
                        .files
                        .iter()
                        .find(|it| it.path == resource.file);
                    file.is_none_or(|file| speaks(&file.text, self.target))
                })
    }

    /// The one image that can be meant where no container has the component's name.
    fn without_doubt(&self) -> Result<Option<usize>, EditRefused> {
        if self.target.container.is_some() {
            return Ok(None);
        }
        let ours: Vec<usize> = self
            .scope
            .iter()
            .copied()
            .filter(|index| self.is_ours(*index) && self.allowed(self.rank(*index)))
            .collect();
        let of = |wanted: fn(&Part) -> bool| -> Vec<usize> {
            let found = ours.iter().copied();
            found
                .filter(|index| wanted(&self.image(*index).part))
                .collect()
        };
        let mut found = of(|part| matches!(part, Part::Main(_)));
        for other in [
            of(|part| matches!(part, Part::Init(_))),
            of(|part| matches!(part, Part::Values(_))),
        ] {
            if found.is_empty() {
                found = other;
            }
        }
        let own: Vec<usize> = found
            .iter()
            .copied()
            .filter(|index| self.rank(*index) == Rank::Own)
            .collect();
        if own.len() == 1 {
            return Ok(own.first().copied());
        }
        if found.len() < 2 {
            return Ok(found.pop());
        }
        let places: Vec<String> = found.iter().map(|index| self.describe(*index)).collect();
        let values = matches!(self.image(found[0]).part, Part::Values(_));
        let remedy = if values {
            format!(
                "name the value with `value: {}`, or write `containers: all` for {} in pipeline.yaml",
                part_name(&self.image(found[0]).part),
                self.target.component
            )
        } else {
            format!(
                "write `container: {}` or `workload: …` for the one that is meant, or `containers: all`, for {} in pipeline.yaml",
                part_name(&self.image(found[0]).part),
                self.target.component
            )
        };
        Err(refuse(
            self.target,
            format!(
                "several could be meant, and none is named `{}`: {}",
                self.target.name,
                places.join(", ")
            ),
            remedy,
        ))
    }

    fn describe(&self, index: usize) -> String {
        let image = self.image(index);
        let text = image.reference.as_ref().map(ToString::to_string);
        format!(
            "{} (`{}`, `{}`)",
            image.spot,
            part_name(&image.part),
            text.unwrap_or_default()
        )
    }

    /// The only one, or the only one in `deployment.yaml`.
    fn choose(&self, mut found: Vec<usize>) -> Result<Option<usize>, EditRefused> {
        let in_deployment = |index: &usize| {
            matches!(
                base_name(&self.image(*index).spot.file),
                "deployment.yaml" | "deployment.yml"
            )
        };
        if found.len() > 1 && found.iter().any(in_deployment) {
            found.retain(in_deployment);
        }
        if found.len() < 2 {
            return Ok(found.pop());
        }
        let places = found
            .iter()
            .map(|index| self.image(*index).spot.to_string());
        let places: Vec<String> = places.collect();
        Err(refuse(
            self.target,
            format!(
                "it is declared {} times: {}",
                places.len(),
                places.join(", ")
            ),
            "give the containers different names, or write `workload: …` or `containers: all` for the component in pipeline.yaml",
        ))
    }

    /// The chosen container, and the init containers of its pod that run the same image.
    fn with_inits(&self, chosen: usize) -> Vec<usize> {
        let own = self.image(chosen);
        let mut images = vec![chosen];
        for index in &self.scope {
            let image = self.image(*index);
            let along = *index != chosen
                && image.pod == own.pod
                && matches!(image.part, Part::Init(_))
                && image.reference == own.reference
                && doubtful(self.target, image, self.rendering).is_none();
            if along {
                images.push(*index);
            }
        }
        images
    }

    /// All that run an image of the repository.
    fn all(&self) -> Result<Option<Vec<usize>>, EditRefused> {
        if let Some(unread) = self.unread.iter().find(|it| it.holds) {
            return Err(self.refuse_unread(unread));
        }
        let ours: Vec<usize> = self
            .scope
            .iter()
            .copied()
            .filter(|index| {
                let named = self.image(*index).part.container() == Some(self.target.name.as_str());
                self.is_ours(*index) || (named && self.is_unfilled(*index))
            })
            .filter(|index| self.allowed(self.rank(*index)))
            .collect();
        if ours.is_empty() {
            return match self.rendering.obstacles.first() {
                Some(obstacle) => {
                    let doubt = &obstacle.doubt;
                    let cause = format!("{}: {}", doubt.spot, doubt.cause);
                    Err(refuse(self.target, cause, doubt.remedy.clone()))
                }
                None => Ok(None),
            };
        }
        Ok(Some(ours))
    }

    /// Those of the given names.
    fn listed(&self, names: &[String]) -> Result<Option<Vec<usize>>, EditRefused> {
        let mut images = Vec::new();
        for name in names {
            let own: Vec<usize> = self
                .scope
                .iter()
                .copied()
                .filter(|index| self.image(*index).part.container() == Some(name.as_str()))
                .filter(|index| self.is_ours(*index) && self.allowed(self.rank(*index)))
                .collect();
            if own.is_empty() {
                return Err(refuse(
                    self.target,
                    format!(
                        "no container `{name}` runs an image of `{}`",
                        self.target.repository
                    ),
                    format!(
                        "correct `containers` for {} in pipeline.yaml",
                        self.target.component
                    ),
                ));
            }
            images.extend(own);
        }
        Ok(Some(images))
    }

    /// What is left alone.
    fn notes(&self, images: &[usize]) -> Vec<String> {
        let mut notes: Vec<String> = self
            .unread
            .iter()
            .map(|it| format!("{}: {}; it is left alone", it.spot, it.why.cause))
            .collect();
        for index in &self.scope {
            let image = self.image(*index);
            if images.contains(index) || !self.is_ours(*index) {
                continue;
            }
            if let Some(reference) = &image.reference {
                notes.push(format!(
                    "{}: {} runs `{reference}` and is left alone",
                    image.spot,
                    describe_part(&image.part)
                ));
            }
        }
        notes
    }

    fn refuse_unread(&self, unread: &Unread) -> EditRefused {
        let cause = format!("{}: {}", unread.spot, unread.why.cause);
        refuse(self.target, cause, unread.why.remedy)
    }
}

/// A part for people.
pub(crate) fn describe_part(part: &Part) -> String {
    match part {
        Part::Main(name) | Part::Init(name) => format!("the container `{name}`"),
        Part::Values(keys) => format!("the value `{keys}`"),
    }
}

pub(crate) fn part_name(part: &Part) -> &str {
    match part {
        Part::Main(name) | Part::Init(name) | Part::Values(name) => name,
    }
}

/// The images of a rendering that came through a path.
pub(crate) fn scope(path: &str, rendering: &Rendering) -> Vec<usize> {
    let through = rendering.through.get(path);
    let within = |index: &usize| {
        let image = &rendering.images[*index];
        match through {
            Some(through) => {
                through.images.contains(index) || through.resources.contains(&image.resource)
            }
            None => image.spot.file == path || parent(&image.spot.file) == path,
        }
    };
    (0..rendering.images.len())
        .filter(|index| !rendering.images[*index].gone)
        .filter(within)
        .collect()
}

/// The images at the keys that pipeline.yaml names.
fn by_value(path: &str, route: &str, rendering: &mut Rendering) -> Made {
    let resources: Vec<usize> = rendering
        .layers
        .iter()
        .map(|(resource, _)| *resource)
        .collect();
    let through = rendering.through.get(path).cloned();
    let mut images = Vec::new();
    for resource in resources {
        let within = through
            .as_ref()
            .is_none_or(|through| through.resources.contains(&resource));
        if within {
            images.extend(values::declared(resource, route, rendering));
        }
    }
    (!images.is_empty()).then(|| (images, Vec::new()))
}

/// Whether a text names the component at all.
fn speaks(text: &str, target: &Target) -> bool {
    text.contains(&target.name)
        || text.contains(&target.repository)
        || target
            .container
            .iter()
            .any(|name| text.contains(name.as_str()))
        || target
            .other_repositories
            .iter()
            .any(|other| text.contains(other))
}

/// The files of a rendering that cannot be read and may hold the component's image.
fn unread(path: &str, target: &Target, rendering: &Rendering) -> Vec<Unread> {
    let mut found = Vec::new();
    let mut look = |parsed: &Parsed| {
        let Err(why) = &parsed.tree else {
            return;
        };
        let holds = may_hold(&parsed.text, target);
        if holds || speaks(&parsed.text, target) {
            found.push(Unread {
                spot: Spot {
                    file: parsed.path.to_string(),
                    line: why.line,
                },
                why: why.clone(),
                holds,
            });
        }
    };
    for parsed in &rendering.files {
        look(parsed);
    }
    for parsed in rendering.unreadable() {
        if is_within(&parsed.path, path) {
            look(parsed);
        }
    }
    found
}

/// Whether a line of a text that cannot be parsed sets an image of the component, or one that nobody can tell.
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
        let name = ImageText::split(word.unwrap_or_default()).name;
        value.contains("{{") || is_ours(name, target)
    })
}
