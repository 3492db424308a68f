//! A place in a file that says which image is rendered, and what is written there.

use std::ops::Range;
use std::rc::Rc;

use shipline_engine::backend::{Pinning, SetImage};
use shipline_model::config::Pin;
use shipline_model::name::ImageName;

use crate::error::{EditRefused, RefusedKind, Spot};
use crate::image::ImageText;
use crate::locate::attempt;
use crate::ops::Op;

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) span: Range<usize>,
    pub(crate) value: String,
}

/// What makes an edit of a place unsafe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) spot: Spot,
    pub(crate) cause: String,
    pub(crate) remedy: String,
}

/// A place that says which image is rendered.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    /// 1-based line of the value that is set first.
    pub(crate) line: usize,
    pub(crate) form: Form,
    pub(crate) doubt: Option<Doubt>,
}

/// How a place says it.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// `NAME:TAG@DIGEST` in one scalar, behind a prefix (`OLD=`).
    Whole { slot: Slot, prefix: String },
    /// In scalars of their own.
    Split(Box<Split>),
}

/// An image in several scalars.
#[derive(Debug, Clone, Default)]
pub(crate) struct Split {
    /// The host, where it stands beside the name.
    pub(crate) registry: Option<Slot>,
    pub(crate) name: Option<Slot>,
    pub(crate) tag: Option<Slot>,
    pub(crate) digest: Option<Slot>,
    pub(crate) keys: Keys,
    /// The mapping that further keys can be added to.
    pub(crate) mapping: Option<Range<usize>>,
}

/// The keys of a split image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// `None` where a name cannot be added.
    pub(crate) name: Option<&'static str>,
    pub(crate) tag: &'static str,
    /// `None` where the digest stands behind the tag.
    pub(crate) digest: Option<&'static str>,
}

impl Keys {
    /// Of Helm values.
    pub(crate) const VALUES: Self = Self {
        name: None,
        tag: "tag",
        digest: None,
    };

    /// Of kustomize's `images`.
    pub(crate) const KUSTOMIZE: Self = Self {
        name: Some("newName"),
        tag: "newTag",
        digest: Some("digest"),
    };
}

impl Default for Keys {
    fn default() -> Self {
        Self::VALUES
    }
}

/// An image that is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Empty where it is not known: a chart's own.
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

impl Reference {
    pub(crate) fn of(text: &str) -> Self {
        let text = ImageText::split(text);
        Self {
            name: text.name.to_owned(),
            tag: text.tag.map(str::to_owned),
            digest: text.digest.map(str::to_owned),
        }
    }

    pub(crate) fn text(&self) -> ImageText<'_> {
        ImageText {
            name: &self.name,
            tag: self.tag.as_deref(),
            digest: self.digest.as_deref(),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text().fmt(f)
    }
}

/// What is wanted of a rendered image, or why it cannot be had. `spot` is the place that decides now.
pub(crate) fn wanted(
    image: &SetImage,
    old: &Reference,
    spot: &Spot,
) -> Result<Reference, EditRefused> {
    let target = &image.target;
    let refuse = |cause: String, remedy: String| EditRefused {
        attempt: attempt(target),
        cause,
        remedy,
        kind: RefusedKind::Unfit,
    };
    let name = match &image.name {
        // The chart has it, and only its tag stands here.
        _ if old.name.is_empty() => String::new(),
        Some(name) => name.to_string(),
        None => {
            if let Err(error) = ImageName::new(&*old.name) {
                return Err(refuse(
                    format!("{spot}: {error}"),
                    format!(
                        "set the whole name: `gitops set {}=HOST/PATH/{}:{}`",
                        target.component, target.repository, image.tag
                    ),
                ));
            }
            renamed(&old.name, image)
        }
    };
    let digest = || match &image.digest {
        Some(digest) => Ok(Some(digest.to_string())),
        None => Err(refuse(
            format!(
                "{spot} pins a digest, and that of `{}` is not known",
                image.tag
            ),
            format!(
                "give the new image's digest: `{}={}@sha256:…`, or remove `@sha256:…` from the manifest",
                target.component, image.tag
            ),
        )),
    };
    let known = image.digest.as_ref().map(ToString::to_string);
    let tag = Some(image.tag.to_string());
    let pinned = old.digest.as_deref().filter(|digest| !digest.is_empty());
    let (tag, digest) = match (target.pin, image.pinning) {
        (Some(Pin::Digest), Pinning::AsBefore | Pinning::Always) => (None, digest()?),
        (Some(Pin::Both), Pinning::AsBefore | Pinning::Always)
        | (Some(Pin::Tag), Pinning::Always) => (tag, digest()?),
        (Some(Pin::Tag), Pinning::AsBefore) => (tag, None),
        // What stands there is kept in its form.
        (None, Pinning::AsBefore | Pinning::Always) if pinned.is_some() && old.tag.is_none() => {
            (None, digest()?)
        }
        (None, Pinning::AsBefore | Pinning::Always) if pinned.is_some() => (tag, digest()?),
        (None, Pinning::AsBefore) if old.digest.is_some() => (tag, known),
        (None, Pinning::AsBefore) => (tag, None),
        (None, Pinning::Always) => (tag, known),
    };
    let new = Reference { name, tag, digest };
    if !new.name.is_empty() && !new.text().is_of(&target.repository) {
        return Err(refuse(
            format!(
                "`{}` does not end in the repository `{}`",
                new.name, target.repository
            ),
            "give the name with the repository of the component at its end".to_owned(),
        ));
    }
    Ok(new)
}

/// The name with the repository of this environment, where it has another one of the component's.
fn renamed(name: &str, image: &SetImage) -> String {
    let target = &image.target;
    let text = ImageText {
        name,
        tag: None,
        digest: None,
    };
    if text.is_of(&target.repository) {
        return name.to_owned();
    }
    let others = target.other_repositories.iter();
    let mut others = others.filter(|other| text.is_of(other));
    match others.next() {
        Some(other) => {
            let host = name.strip_suffix(other.as_str()).unwrap_or_default();
            format!("{host}{}", target.repository)
        }
        None => name.to_owned(),
    }
}

impl Place {
    pub(crate) fn spot(&self) -> Spot {
        Spot {
            file: self.file.to_string(),
            line: self.line,
        }
    }

    /// Whether it is the same place as another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let start = |form: &Form| match form {
            Form::Whole { slot, .. } => slot.span.start,
            Form::Split(split) => {
                let slots = [&split.name, &split.tag, &split.digest];
                let first = slots.into_iter().flatten().map(|slot| slot.span.start);
                let mapping = split.mapping.iter().map(|mapping| mapping.start);
                first.chain(mapping).min().unwrap_or_default()
            }
        };
        self.file == other.file && start(&self.form) == start(&other.form)
    }

    /// The edits after which the place says `new` where it said `old`, or what it has no room for.
    pub(crate) fn write(&self, old: &Reference, new: &Reference) -> Result<Vec<Op>, String> {
        let split = match &self.form {
            Form::Whole { slot, prefix } => {
                let end = &slot.value[slot.value.trim_end_matches('\n').len()..];
                return Ok(vec![Op::Set {
                    span: slot.span.clone(),
                    value: format!("{prefix}{new}{end}"),
                }]);
            }
            Form::Split(split) => split,
        };
        let mut ops = Vec::new();
        if new.name != old.name {
            split.rename(&new.name, &mut ops)?;
        }
        let within = split.keys.digest.is_none() && split.digest.is_none();
        let (tag, digest) = match (&new.tag, &new.digest) {
            (Some(tag), Some(digest)) if within => (Some(format!("{tag}@{digest}")), None),
            (None, Some(_)) if within => {
                return Err("there is no key for a digest".to_owned());
            }
            (tag, digest) => (tag.clone(), digest.clone()),
        };
        split.one(split.tag.as_ref(), split.keys.tag, tag, &mut ops)?;
        let key = split.keys.digest.unwrap_or("digest");
        split.one(split.digest.as_ref(), key, digest, &mut ops)?;
        Ok(ops)
    }
}

impl Split {
    fn rename(&self, new: &str, ops: &mut Vec<Op>) -> Result<(), String> {
        let set = |slot: &Slot, value: &str| Op::Set {
            span: slot.span.clone(),
            value: value.to_owned(),
        };
        match (&self.registry, &self.name, self.keys.name) {
            (Some(registry), Some(name), _) => {
                let own = new
                    .strip_prefix(registry.value.as_str())
                    .and_then(|rest| rest.strip_prefix('/'));
                match (own, new.split_once('/')) {
                    (Some(rest), _) => ops.push(set(name, rest)),
                    (None, Some((host, rest))) => {
                        ops.push(set(registry, host));
                        ops.push(set(name, rest));
                    }
                    (None, None) => return Err(format!("`{new}` has no host")),
                }
                Ok(())
            }
            (None, Some(name), _) => {
                ops.push(set(name, new));
                Ok(())
            }
            (_, None, Some(key)) => self.add(key, new, ops),
            (_, None, None) => Err(format!("there is no key for the name `{new}`")),
        }
    }

    fn one(
        &self,
        slot: Option<&Slot>,
        key: &str,
        new: Option<String>,
        ops: &mut Vec<Op>,
    ) -> Result<(), String> {
        match (slot, new) {
            (Some(slot), Some(new)) => {
                ops.push(Op::Text {
                    span: slot.span.clone(),
                    value: new,
                });
                Ok(())
            }
            (None, Some(new)) => self.add(key, &new, ops),
            (Some(slot), None) => match &self.mapping {
                Some(mapping) => {
                    ops.push(Op::Remove {
                        mapping: mapping.clone(),
                        value: slot.span.clone(),
                    });
                    Ok(())
                }
                None => Err(format!("`{key}` cannot be removed")),
            },
            (None, None) => Ok(()),
        }
    }

    fn add(&self, key: &str, value: &str, ops: &mut Vec<Op>) -> Result<(), String> {
        let Some(mapping) = &self.mapping else {
            return Err(format!("there is no `{key}`"));
        };
        ops.push(Op::Add {
            mapping: mapping.clone(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        Ok(())
    }
}
