//! What a folder of the repository renders, as far as images are concerned, and where each of them is decided.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use crate::error::Spot;
use crate::parsed::Parsed;
use crate::place::{Doubt, Place, Reference};
use crate::places::values::Layer;

/// An image of a rendered resource.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Which resource.
    pub(crate) resource: usize,
    /// Which pod of it.
    pub(crate) pod: usize,
    pub(crate) part: Part,
    /// Where it stands in its resource, as a JSON pointer.
    pub(crate) pointer: String,
    /// What it is; `None` where that cannot be read.
    pub(crate) reference: Option<Reference>,
    /// The place that set tag or digest last.
    pub(crate) decided: usize,
    /// Why it must not be edited.
    pub(crate) doubt: Option<Doubt>,
    /// Where it was declared first.
    pub(crate) spot: Spot,
    /// Whether a patch has taken it away.
    pub(crate) gone: bool,
}

/// Which part of a resource an image belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A container, by its name.
    Main(String),
    /// An init container, by its name.
    Init(String),
    /// Helm values, by their keys.
    Values(String),
}

impl Part {
    pub(crate) fn container(&self) -> Option<&str> {
        match self {
            Self::Main(name) | Self::Init(name) => Some(name),
            Self::Values(_) => None,
        }
    }
}

/// A resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) kind: String,
    /// Its names: as its file has it first, and those that prefixes and suffixes gave it.
    pub(crate) names: Vec<String>,
    pub(crate) file: Rc<str>,
}

/// Something on the way to an image that nobody can see through.
#[derive(Debug, Clone)]
pub(crate) struct Obstacle {
    pub(crate) resource: usize,
    pub(crate) doubt: Doubt,
}

/// Which of a rendering's lists came through a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Through {
    pub(crate) images: Range<usize>,
    pub(crate) resources: Range<usize>,
}

/// What a root renders.
#[derive(Debug, Default)]
pub(crate) struct Rendering {
    pub(crate) resources: Vec<Resource>,
    pub(crate) images: Vec<Image>,
    pub(crate) places: Vec<Place>,
    pub(crate) obstacles: Vec<Obstacle>,
    /// Files that were read.
    pub(crate) files: Vec<Rc<Parsed>>,
    /// Files without the word `image`, which were not parsed.
    pub(crate) skipped: Vec<(Rc<str>, Vec<u8>)>,
    /// Those of them that are no YAML, once somebody has asked.
    unreadable: OnceCell<Vec<Parsed>>,
    /// Where manifests come from that are not in the repository, and how they are named there.
    pub(crate) outside: Vec<(Spot, String)>,
    /// Helm values by their resource, from the weakest to the strongest.
    pub(crate) layers: Vec<(usize, Vec<Layer>)>,
    /// What came through which folder.
    pub(crate) through: HashMap<String, Through>,
    /// Why nothing of it can be told.
    pub(crate) broken: Option<Doubt>,
    pods: usize,
}

impl Rendering {
    pub(crate) fn place(&mut self, place: Place) -> usize {
        self.places.push(place);
        self.places.len() - 1
    }

    pub(crate) fn resource(&mut self, resource: Resource) -> usize {
        self.resources.push(resource);
        self.resources.len() - 1
    }

    pub(crate) fn pod(&mut self) -> usize {
        self.pods += 1;
        self.pods
    }

    /// The files without an image that are no YAML.
    pub(crate) fn unreadable(&self) -> &[Parsed] {
        self.unreadable.get_or_init(|| {
            let skipped = self.skipped.iter();
            skipped
                .map(|(path, bytes)| Parsed::read(path, bytes))
                .filter(|parsed| parsed.tree.is_err())
                .collect()
        })
    }

    /// The image as it is rendered, as a text; what cannot be read gives none.
    pub(crate) fn text(&self, image: usize) -> Option<String> {
        let image = self.images.get(image).filter(|image| !image.gone)?;
        image.reference.as_ref().map(ToString::to_string)
    }
}
