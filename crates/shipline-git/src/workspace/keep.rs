//! Paths of the workspace that are left alone.

use std::collections::BTreeMap;

use shipline_model::name::RepoPath;

/// Kept paths, as a tree.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    kept: bool,
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
    /// These paths.
    pub(crate) fn of(paths: &[RepoPath]) -> Self {
        let mut keep = Self::default();
        for path in paths {
            let mut at = &mut keep;
            for name in path.as_str().split('/').filter(|name| *name != ".") {
                at = at.below.entry(name.as_bytes().to_vec()).or_default();
            }
            at.kept = true;
        }
        keep
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
        } else if self.below.is_empty() {
            Keeping::Nothing
        } else {
            Keeping::Below(self)
        }
    }
}

impl<'k> Keeping<'k> {
    /// The entry `name` of this place.
    pub(crate) fn entry(self, name: &[u8]) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::All => Self::All,
            Self::Below(keep) => match keep.below.get(name) {
                Some(below) => below.keeping(),
                None => Self::Nothing,
            },
        }
    }
}
