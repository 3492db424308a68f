//! What a deployment changes in the repository, byte for byte, and the proof that it changes what is rendered.

use std::collections::{BTreeMap, BTreeSet};

use shipline_engine::backend::{SetImage, Target};
use shipline_engine::event::ImageChange;
use shipline_model::config::KustomizeImages;

use crate::choice::describe_part;
use crate::error::{EditRefused, RefusedKind, Spot};
use crate::files::Files;
use crate::folder::{is_within, parent};
use crate::locate::{Chosen, Root, attempt, locate, unreadable};
use crate::ops::{self, Op};
use crate::place::{Place, Reference, wanted};
use crate::rendering::Rendering;
use crate::world::World;

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

/// A place that is changed, and the image that it says from then on.
struct Planned<'i> {
    image: &'i SetImage,
    place: Place,
    new: Reference,
}

/// An image that must be rendered so afterwards.
struct Expected<'i> {
    target: &'i Target,
    chosen: Chosen,
    new: Reference,
}

/// The edits that set the images.
///
/// # Errors
/// The refusals of all images, not of the first alone.
pub fn plan(images: &[SetImage], files: &dyn Files) -> Result<EditPlan, Vec<EditRefused>> {
    let Some(first) = images.first() else {
        return Ok(EditPlan::default());
    };
    let failed = |error: git2::Error| vec![unreadable(&first.target, &error)];
    let world = World::new(files).map_err(failed)?;
    let mut maker = Maker {
        world: &world,
        plan: EditPlan::default(),
        planned: Vec::new(),
        expected: Vec::new(),
        ops: BTreeMap::new(),
        refused: Vec::new(),
        left: Vec::new(),
    };
    for image in images {
        if let Err(error) = maker.one(image) {
            maker.refused.push(error);
        }
    }
    maker.write();
    if maker.refused.is_empty()
        && let Err(errors) = maker.prove().map_err(failed)?
    {
        maker.refused.extend(errors);
    }
    if world.cut {
        maker.plan.notes.push(
            "the repository is too large to be looked through: whether a file elsewhere sets these images is not known"
                .to_owned(),
        );
    }
    maker.finish()
}

struct Maker<'i, 'w, 'f> {
    world: &'w World<'f>,
    plan: EditPlan,
    planned: Vec<Planned<'i>>,
    expected: Vec<Expected<'i>>,
    ops: BTreeMap<String, Vec<Op>>,
    refused: Vec<EditRefused>,
    /// Notes of what is left alone, with the place that declares it.
    left: Vec<String>,
}

impl<'i> Maker<'i, '_, '_> {
    fn one(&mut self, image: &'i SetImage) -> Result<(), EditRefused> {
        let located = locate(self.world, &image.target)?;
        self.left.extend(located.notes);
        for chosen in located.chosen {
            let (place, old) = {
                let rendering = chosen.rendering.borrow();
                let it = &rendering.images[chosen.image];
                let Some(reference) = it.reference.clone() else {
                    continue;
                };
                (rendering.places[it.decided].clone(), reference)
            };
            let new = wanted(image, &old, &place.spot())?;
            self.expected.push(Expected {
                target: &image.target,
                chosen: chosen.clone(),
                new: new.clone(),
            });
            let other = self.planned.iter().find(|it| it.place.is(&place));
            if let Some(other) = other {
                if other.new != new {
                    return Err(twice(image, &place.spot()));
                }
                continue;
            }
            if new == old {
                // What is up to date is somebody's all the same: another component must not set it to something else.
                self.planned.push(Planned { image, place, new });
                continue;
            }
            self.change(image, &chosen, place, (&old, &new))?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        image: &'i SetImage,
        chosen: &Chosen,
        place: Place,
        (old, new): (&Reference, &Reference),
    ) -> Result<(), EditRefused> {
        let target = &image.target;
        let mut spot = place.spot();
        let ops = if let Some((file, op)) = self.created(target, chosen, &place, (old, new))? {
            let line = self
                .world
                .read(&file)
                .map_err(|error| unreadable(target, &error))?
                .map_or(1, |parsed| parsed.text.lines().count());
            spot = Spot {
                file: file.clone(),
                line: line.max(1),
            };
            (file, vec![op])
        } else {
            let ops = place.write(old, new).map_err(|cause| EditRefused {
                attempt: attempt(target),
                cause: format!("{spot}: `{new}` cannot be written here: {cause}"),
                remedy: "write the missing keys there once, or change `pin` in pipeline.yaml"
                    .to_owned(),
                kind: RefusedKind::Unfit,
            })?;
            (place.file.to_string(), ops)
        };
        self.plan.changes.push(ImageChange {
            component: target.component.to_string(),
            file: spot.file,
            line: spot.line,
            from: old.to_string(),
            to: new.to_string(),
        });
        let (file, ops) = ops;
        let known = self.ops.entry(file).or_default();
        for op in ops {
            if !known.contains(&op) {
                known.push(op);
            }
        }
        self.planned.push(Planned {
            image,
            place,
            new: new.clone(),
        });
        Ok(())
    }

    /// A new entry in the kustomization of the target's folder, where what decides comes from a base and the component asks for
    /// one.
    fn created(
        &self,
        target: &Target,
        chosen: &Chosen,
        place: &Place,
        (old, new): (&Reference, &Reference),
    ) -> Result<Option<(String, Op)>, EditRefused> {
        if target.kustomize_images != KustomizeImages::Create {
            return Ok(None);
        }
        let failed = |error: git2::Error| unreadable(target, &error);
        let through = &chosen.rendering.borrow().through;
        let folder = target
            .manifests
            .iter()
            .find(|path| through.contains_key(*path));
        let Some(folder) = folder else {
            return Ok(None);
        };
        let Some(own) = self.world.kustomization(folder).map_err(failed)? else {
            return Ok(None);
        };
        let above = self.world.above(folder).contains(parent(&place.file));
        let by_app = self
            .world
            .apps
            .iter()
            .any(|app| app.parsed.path == place.file);
        if above || by_app || is_within(&place.file, folder) {
            return Ok(None);
        }
        let mut entry = vec![("name", old.name.clone())];
        if new.name != old.name {
            entry.push(("newName", new.name.clone()));
        }
        entry.extend(new.tag.iter().map(|tag| ("newTag", tag.clone())));
        entry.extend(new.digest.iter().map(|digest| ("digest", digest.clone())));
        let op = Op::Append {
            list: "images",
            entry,
        };
        Ok(Some((own.path.to_string(), op)))
    }

    /// Makes the new bytes of the files.
    fn write(&mut self) {
        for (path, ops) in &self.ops {
            let written = match self.world.read(path) {
                Ok(Some(parsed)) => match &parsed.tree {
                    Ok(covered) => ops::apply(covered, ops),
                    Err(why) => Err(why.cause.clone()),
                },
                Ok(None) => Err("the file is gone".to_owned()),
                Err(error) => Err(error.message().to_owned()),
            };
            match written {
                Ok(text) => {
                    self.plan.files.insert(path.clone(), text.into_bytes());
                }
                Err(cause) => self.refused.push(EditRefused {
                    attempt: format!("edit {path}"),
                    cause,
                    remedy: "write the image as one plain or quoted value on a line of its own"
                        .to_owned(),
                    kind: RefusedKind::Unfit,
                }),
            }
        }
    }

    /// Renders the edited repository: the chosen images are as they should be, and nothing else has changed but what the same
    /// places set, which is told.
    fn prove(&mut self) -> Result<Result<(), Vec<EditRefused>>, git2::Error> {
        if self.plan.files.is_empty() {
            return Ok(Ok(()));
        }
        let after = self.world.with(self.plan.files.clone());
        let mut errors = Vec::new();
        let own: BTreeSet<Root> = self
            .expected
            .iter()
            .map(|it| it.chosen.root.clone())
            .collect();
        for expected in &self.expected {
            let rendering = expected.chosen.root.render(&after)?;
            if expected.target.value.is_some() {
                // What pipeline.yaml names by its keys is in a rendering only once it was looked up.
                let _ = locate(&after, expected.target);
            }
            let rendering = rendering.borrow();
            let now = rendering.text(expected.chosen.image);
            if now.as_deref() != Some(expected.new.to_string().as_str()) {
                let before = expected.chosen.rendering.borrow();
                let image = &before.images[expected.chosen.image];
                errors.push(EditRefused {
                    attempt: attempt(expected.target),
                    cause: format!(
                        "{}: after the edit `{}` would be rendered, and not `{}`",
                        before.places[image.decided].spot(),
                        now.unwrap_or_default(),
                        expected.new
                    ),
                    remedy: "write the image once, in one place".to_owned(),
                    kind: RefusedKind::Unfit,
                });
            }
        }
        let mut reached = own.clone();
        for file in self.plan.files.keys() {
            let folder = parent(file);
            let mut roots = self.world.roots(file, true)?;
            if self.world.kustomization(folder)?.is_some() {
                roots.extend(self.world.roots(folder, false)?);
            }
            reached.extend(roots.into_iter().map(Root::Folder));
        }
        let mut notes = Vec::new();
        for root in reached {
            let before = root.render(self.world)?;
            let after = root.render(&after)?;
            let (before, after) = (before.borrow(), after.borrow());
            let error = self.compare(&root, own.contains(&root), (&before, &after), &mut notes);
            errors.extend(error);
        }
        self.plan.notes.extend(notes);
        Ok(if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        })
    }

    fn compare(
        &self,
        root: &Root,
        own: bool,
        (before, after): (&Rendering, &Rendering),
        notes: &mut Vec<String>,
    ) -> Option<EditRefused> {
        for index in 0..before.images.len().min(after.images.len()) {
            let (old, new) = (before.text(index), after.text(index));
            let is_expected = self
                .expected
                .iter()
                .any(|it| it.chosen.root == *root && it.chosen.image == index);
            let (Some(old), Some(new)) = (old, new) else {
                continue;
            };
            if old == new || is_expected {
                continue;
            }
            let image = &before.images[index];
            let place = &before.places[image.decided];
            let cause = self
                .planned
                .iter()
                .find(|it| it.place.is(place) || it.new.to_string() == new);
            let announced = self
                .plan
                .changes
                .iter()
                .any(|it| it.from == old && it.to == new);
            if own && (cause.is_some() || announced) {
                notes.push(format!(
                    "{}: {} moves as well, from `{old}` to `{new}`: the same place sets it",
                    image.spot,
                    describe_part(&image.part)
                ));
                continue;
            }
            let target = self
                .planned
                .iter()
                .find(|it| it.new.to_string() == new)
                .or(self.planned.first())
                .map(|it| &it.image.target)?;
            let (Root::Folder(folder) | Root::File(folder) | Root::Values(folder)) = root;
            return Some(shared(target, &place.spot(), folder));
        }
        None
    }

    fn finish(mut self) -> Result<EditPlan, Vec<EditRefused>> {
        if !self.refused.is_empty() {
            return Err(self.refused);
        }
        // What is set for one component is not left alone for another, and what moves as well is told once.
        let set: Vec<String> = self
            .expected
            .iter()
            .map(|it| {
                let rendering = it.chosen.rendering.borrow();
                let image = &rendering.images[it.chosen.image];
                format!("{}: {} ", image.spot, describe_part(&image.part))
            })
            .collect();
        let moved: Vec<String> = self
            .plan
            .notes
            .iter()
            .filter_map(|note| {
                note.split_once(" moves as well")
                    .map(|(start, _)| format!("{start} "))
            })
            .collect();
        let left = std::mem::take(&mut self.left);
        let mut notes: Vec<String> = Vec::new();
        for note in left.into_iter().chain(std::mem::take(&mut self.plan.notes)) {
            let known = set
                .iter()
                .chain(&moved)
                .any(|start| note.starts_with(start.as_str()));
            let moves = note.contains(" moves as well");
            if (moves || !known) && !notes.contains(&note) {
                notes.push(note);
            }
        }
        self.plan.notes = notes;
        Ok(self.plan)
    }
}

/// The refusal of an edit that another environment would see.
fn shared(target: &Target, spot: &Spot, folder: &str) -> EditRefused {
    let own = target.manifests.first().map_or("", String::as_str);
    EditRefused {
        attempt: attempt(target),
        cause: format!(
            "{spot} is also part of {folder}: an edit would change what is deployed there"
        ),
        remedy: format!(
            "write `kustomize_images: create` for {} in pipeline.yaml: then the kustomization in {own} gets an entry of its own",
            target.component
        ),
        kind: RefusedKind::Unfit,
    }
}

/// Two components that set one value to different images.
fn twice(image: &SetImage, spot: &Spot) -> EditRefused {
    EditRefused {
        attempt: attempt(&image.target),
        cause: format!("{spot} is set for another component, too, to another image"),
        remedy:
            "deploy the components one after the other, or give the init container another image"
                .to_owned(),
        kind: RefusedKind::Unfit,
    }
}
