//! Entries of `images`, as kustomize, Argo CD and Flux have them: which images they match, and what they set.

use std::rc::Rc;

use shipline_model::placeholder;
use shipline_model::yaml::{Node, NodeKind};

use crate::image::ImageText;
use crate::parsed::{NOT_UTF8, Parsed, SAVE_UTF8, TEMPLATE};
use crate::place::{Doubt, Form, Keys, Place, Reference, Slot, Split};
use crate::places::values::slot;
use crate::rendering::Rendering;

/// An entry of `images`.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// What it matches: kustomize reads a regular expression here.
    pub(crate) name: String,
    new_name: Option<String>,
    new_tag: Option<String>,
    digest: Option<String>,
    suffix: bool,
    pub(crate) place: Place,
}

impl Rule {
    /// Reads kustomize's mapping; `None` where it is none.
    pub(crate) fn kustomize(parsed: &Rc<Parsed>, entry: &Node) -> Option<Self> {
        let text = |key| {
            let node = entry.get(key)?;
            slot(parsed, node).filter(|slot| !slot.value.is_empty())
        };
        let name = text("name")?;
        let (new_name, new_tag, digest) = (text("newName"), text("newTag"), text("digest"));
        let suffix = entry.get("tagSuffix");
        let first = new_tag.as_ref().or(digest.as_ref()).or(new_name.as_ref());
        let line = parsed.line(first.map_or(entry.span.start, |slot| slot.span.start));
        let value = |slot: &Option<Slot>| slot.as_ref().map(|slot| slot.value.clone());
        let known = [&new_name, &new_tag, &digest];
        let unfilled = known
            .into_iter()
            .flatten()
            .find(|slot| placeholder::unfilled(&slot.value).is_some());
        let doubt = match (parsed.not_utf8, unfilled, suffix) {
            (Some(line), _, _) => {
                let mut spot = parsed.spot(entry);
                spot.line = line;
                Some((spot, NOT_UTF8.to_owned(), SAVE_UTF8))
            }
            (None, Some(slot), _) => Some((
                parsed.spot_at(slot.span.start),
                format!("the image is a template (`{}`)", slot.value),
                TEMPLATE,
            )),
            (None, None, Some(suffix)) => Some((
                parsed.spot(suffix),
                "`tagSuffix` is added to the tag".to_owned(),
                "remove `tagSuffix`, and write the whole tag as `newTag`",
            )),
            (None, None, None) => aliases(entry).map(|node| {
                (
                    parsed.spot(node),
                    "an alias stands in the entry".to_owned(),
                    "write the value out where the alias stands",
                )
            }),
        };
        Some(Self {
            name: name.value,
            new_name: value(&new_name),
            new_tag: value(&new_tag),
            digest: value(&digest),
            suffix: suffix.is_some(),
            place: Place {
                file: Rc::clone(&parsed.path),
                line,
                form: Form::Split(Box::new(Split {
                    registry: None,
                    name: new_name,
                    tag: new_tag,
                    digest,
                    keys: Keys::KUSTOMIZE,
                    mapping: Some(entry.span.clone()),
                })),
                doubt: doubt.map(|(spot, cause, remedy)| Doubt {
                    spot,
                    cause,
                    remedy: remedy.to_owned(),
                }),
            },
        })
    }

    /// Reads Argo CD's text (`[OLD=]IMAGE`), or Flux's mapping, which is kustomize's.
    pub(crate) fn argo(parsed: &Rc<Parsed>, entry: &Node) -> Option<Self> {
        let Some(value) = slot(parsed, entry) else {
            return Self::kustomize(parsed, entry);
        };
        let (prefix, new) = match value.value.split_once('=') {
            Some((old, new)) => (format!("{old}="), new),
            None => (String::new(), value.value.as_str()),
        };
        let image = ImageText::split(new);
        let name = prefix.strip_suffix('=').unwrap_or(image.name);
        let spot = parsed.spot(entry);
        let template = placeholder::unfilled(new).map(|_| Doubt {
            spot: spot.clone(),
            cause: format!("the image is a template (`{new}`)"),
            remedy: TEMPLATE.to_owned(),
        });
        Some(Self {
            name: name.to_owned(),
            new_name: Some(image.name.to_owned()),
            new_tag: image.tag.map(str::to_owned),
            digest: image.digest.map(str::to_owned),
            suffix: false,
            place: Place {
                file: Rc::clone(&parsed.path),
                line: spot.line,
                doubt: template,
                form: Form::Whole {
                    prefix,
                    slot: value,
                },
            },
        })
    }

    /// Whether it matches a name: `Some(true)` where it is the name itself.
    fn matches(&self, name: &str) -> Option<bool> {
        if self.name == name {
            return Some(true);
        }
        // A dot is in most names, and means itself to whoever wrote it.
        let special = self.name.contains(|c: char| "*+?()[]|\\^$".contains(c));
        if !special {
            return None;
        }
        let plain = self.name.find(|c: char| "*+?()[]|\\^$".contains(c));
        let start = self.name[..plain.unwrap_or_default()].trim_end_matches('.');
        if !name.starts_with(start) {
            return None;
        }
        let parts: Vec<&str> = self.name.split(".*").collect();
        if parts
            .iter()
            .any(|part| part.contains(|c: char| "*+?()[]|\\^$".contains(c)))
        {
            // What another regular expression matches is not worked out here.
            return Some(false);
        }
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return None;
        };
        let mut rest = name.strip_prefix(first)?.strip_suffix(last)?;
        for part in &parts[1..parts.len() - 1] {
            let at = rest.find(part)?;
            rest = &rest[at + part.len()..];
        }
        Some(false)
    }
}

fn aliases(entry: &Node) -> Option<&Node> {
    let values = entry.entries().iter().map(|(_, value)| value);
    let mut values = values.filter(|value| matches!(value.kind, NodeKind::Alias(_)));
    values.next()
}

/// Applies rules, one after the other as kustomize does, to these images of a rendering.
pub(crate) fn apply(rules: &[Rule], images: std::ops::Range<usize>, rendering: &mut Rendering) {
    let mut places: Vec<Option<usize>> = vec![None; rules.len()];
    for index in images {
        for (at, rule) in rules.iter().enumerate() {
            let image = &rendering.images[index];
            let Some(reference) = image.reference.as_ref().filter(|_| !image.gone) else {
                continue;
            };
            if image.part.container().is_none() {
                continue;
            }
            let Some(exact) = rule.matches(&reference.name) else {
                continue;
            };
            let mut new = reference.clone();
            if let Some(name) = &rule.new_name {
                new.name.clone_from(name);
            }
            let sets = rule.new_tag.is_some() || rule.digest.is_some() || rule.suffix;
            if sets {
                new.tag.clone_from(&rule.new_tag);
                new.digest.clone_from(&rule.digest);
            }
            let place = match places[at] {
                Some(place) => place,
                None => {
                    let mut place = rule.place.clone();
                    if !exact && place.doubt.is_none() {
                        place.doubt = Some(Doubt {
                            spot: place.spot(),
                            cause: format!(
                                "the entry is for all images that `{}` matches",
                                rule.name
                            ),
                            remedy: "write an entry for the image's own name".to_owned(),
                        });
                    }
                    let place = rendering.place(place);
                    places[at] = Some(place);
                    place
                }
            };
            let image = &mut rendering.images[index];
            image.reference = Some(new);
            if sets {
                image.decided = place;
            }
        }
    }
}

/// The reference that a place with a whole text gives.
pub(crate) fn reference(slot: &Slot) -> Reference {
    Reference::of(slot.value.trim_end_matches('\n'))
}
