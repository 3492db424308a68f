//! What of the workspace is left alone.

use std::collections::BTreeMap;

use shipline_engine::backend::{Outside, SourceSet};

/// Kept paths, as a tree.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    kept: bool,
    /// Whether what is not named in `below` is kept.
    others: bool,
    below: BTreeMap<Vec<u8>, Keep>,
}

/// How a place in the workspace relates to the kept paths.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keeping<'k> {
    /// Nothing at or below it is kept.
    Nothing,
    /// It and everything below it is kept.
    All,
    /// Something below it is kept.
    Below(&'k Keep),
}

impl Keep {
    /// What a set leaves alone.
    pub(crate) fn of(set: &SourceSet) -> Self {
        let mut keep = Self::default();
        for path in &set.keep {
            let mut at = &mut keep;
            for name in names(path.as_bytes()) {
                at = at.below.entry(name.to_vec()).or_default();
            }
            at.kept = true;
        }
        match set.outside {
            Outside::Removed => {}
            Outside::Left => {
                for path in &set.paths {
                    keep.leave_beside(path.as_str().as_bytes());
                }
            }
        }
        keep
    }

    /// Keeps what stands beside the way to a path of the set.
    fn leave_beside(&mut self, path: &[u8]) {
        let mut at = self;
        for name in names(path) {
            at.others = true;
            at = at.below.entry(name.to_vec()).or_default();
        }
    }

    /// Whether a path is kept, or lies in one that is.
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        let mut at = self.root();
        for name in path.split(|byte| *byte == b'/') {
            at = at.entry(name);
        }
        matches!(at, Keeping::All)
    }

    /// The workspace itself.
    pub(crate) fn root(&self) -> Keeping<'_> {
        self.keeping()
    }

    fn keeping(&self) -> Keeping<'_> {
        if self.kept {
            Keeping::All
        } else if self.below.is_empty() && !self.others {
            Keeping::Nothing
        } else {
            Keeping::Below(self)
        }
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| *name != b".")
}

impl<'k> Keeping<'k> {
    /// The entry `name` of this place.
    pub(crate) fn entry(self, name: &[u8]) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::All => Self::All,
            Self::Below(keep) => match keep.below.get(name) {
                Some(below) => below.keeping(),
                None if keep.others => Self::All,
                None => Self::Nothing,
            },
        }
    }
}
