//! The sources as one tree: the head's tree with the uncommitted changes laid over it, and git's object IDs for all of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use git2::{ObjectType, Oid, Repository};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::error;

/// What a leaf of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// `100644`.
    File,
    /// `100755`.
    Executable,
    /// `120000`.
    Link,
    /// `160000`: a submodule's commit.
    Submodule,
}

impl Mode {
    /// The mode of an entry of a tree or index that is no folder. Historical modes (`100664`) count as what git checks them out as.
    pub(crate) fn of(raw: u32) -> Self {
        match raw & 0o170_000 {
            0o120_000 => Self::Link,
            0o160_000 => Self::Submodule,
            _ if raw & 0o100 != 0 => Self::Executable,
            _ => Self::File,
        }
    }

    /// As trees write it.
    pub(crate) fn octal(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// Where a leaf's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the object database.
    Objects,
    /// In the work tree, at its own path, as they are.
    WorkTree,
}

/// A leaf: file, symlink or submodule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// What it is.
    pub(crate) mode: Mode,
    /// Its object ID.
    pub(crate) id: Oid,
    /// Where its bytes are.
    pub(crate) origin: Origin,
}

impl Leaf {
    /// Whether both are the same to git.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.mode == other.mode && self.id == other.id
    }
}

/// Uncommitted changes by name, one folder deep.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Over>;

/// One name of an [`Overlay`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// Is this leaf now, whatever it was.
    Leaf(Leaf),
    /// Is not there any more, whatever it was.
    Gone,
    /// Is a folder now, with these changes over what it was.
    Folder(Overlay),
}

/// Notes that `path` is `leaf` now (or gone). A leaf replaces the deletions below it and a folder the deletion of a leaf.
pub(crate) fn lay(overlay: &mut Overlay, path: &[u8], leaf: Option<Leaf>) {
    match path.iter().position(|byte| *byte == b'/') {
        None => match (overlay.get(path), leaf) {
            // Something lives below it: it became a folder.
            (Some(Over::Folder(_)), None) => {}
            (_, Some(leaf)) => {
                overlay.insert(path.to_vec(), Over::Leaf(leaf));
            }
            (_, None) => {
                overlay.insert(path.to_vec(), Over::Gone);
            }
        },
        Some(slash) => {
            let entry = overlay
                .entry(path[..slash].to_vec())
                .or_insert_with(|| Over::Folder(Overlay::new()));
            let below = &path[slash + 1..];
            match entry {
                Over::Folder(folder) => lay(folder, below, leaf),
                Over::Gone | Over::Leaf(_) if leaf.is_some() => {
                    let mut folder = Overlay::new();
                    lay(&mut folder, below, leaf);
                    *entry = Over::Folder(folder);
                }
                Over::Gone | Over::Leaf(_) => {}
            }
        }
    }
}

/// A place in the sources.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'o> {
    /// A leaf.
    Leaf(Leaf),
    /// A folder: its committed tree, if it has one, and the changes over it, if there are any.
    Folder(Folder<'o>),
}

/// A folder of the sources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folder<'o> {
    tree: Option<Oid>,
    over: Option<&'o Overlay>,
}

/// A tree's entries, by name.
pub(crate) type Entries = Vec<(Box<[u8]>, Committed)>;

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// A leaf.
    Leaf(Leaf),
    /// A tree.
    Folder(Oid),
}

impl Committed {
    fn node(self) -> Node<'static> {
        match self {
            Self::Leaf(leaf) => Node::Leaf(leaf),
            Self::Folder(id) => Node::Folder(Folder {
                tree: Some(id),
                over: None,
            }),
        }
    }
}

/// Entries of trees that one command lists at the most; the largest repositories have a tenth of it.
const MOST_LISTED: usize = 4_000_000;

/// How deep folders may be nested. No file system's paths are that deep, but a tree in the object database can be.
pub(crate) const DEEPEST: usize = 512;

/// The error for a folder that is nested deeper than [`DEEPEST`].
pub(crate) fn too_deep(path: &[u8]) -> BackendError {
    let start = path.get(..40).unwrap_or(path);
    BackendError::new(
        ErrorClass::Invalid,
        format!(
            "read the tree at {}…: its folders are nested more than {DEEPEST} deep",
            String::from_utf8_lossy(start)
        ),
    )
}

/// A repository's trees, each read once: libgit2 forgets large ones.
pub(crate) struct Trees {
    repo: Repository,
    read: RefCell<HashMap<Oid, Arc<Entries>>>,
    /// Entries that were listed so far.
    listed: Cell<usize>,
}

impl Trees {
    /// The trees of a repository.
    pub(crate) fn new(repo: Repository) -> Self {
        Self {
            repo,
            read: RefCell::default(),
            listed: Cell::new(0),
        }
    }

    /// The repository.
    pub(crate) fn repo(&self) -> &Repository {
        &self.repo
    }

    /// A tree's entries, for a walk through everything below it. A few trees that name each other many times over stand for more
    /// files than anybody has.
    pub(crate) fn list(&self, id: Oid) -> Result<Arc<Entries>, BackendError> {
        let entries = self.read(id)?;
        self.listed.set(self.listed.get() + entries.len());
        if self.listed.get() > MOST_LISTED {
            return Err(BackendError::new(
                ErrorClass::Invalid,
                format!("read tree {id}: the trees hold more than {MOST_LISTED} files"),
            ));
        }
        Ok(entries)
    }

    /// A tree's entries.
    pub(crate) fn read(&self, id: Oid) -> Result<Arc<Entries>, BackendError> {
        if let Some(known) = self.read.borrow().get(&id) {
            return Ok(Arc::clone(known));
        }
        let tree = self
            .repo
            .find_tree(id)
            .map_err(|cause| error::object(&self.repo, format!("read tree {id}"), cause))?;
        let mut entries: Entries = tree
            .iter()
            .map(|entry| (entry.name_bytes().into(), committed(&entry)))
            .collect();
        // Git's order takes folders as if their names ended in a slash.
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        let entries = Arc::new(entries);
        self.read.borrow_mut().insert(id, Arc::clone(&entries));
        Ok(entries)
    }

    /// The entry `name` of a tree.
    pub(crate) fn entry(
        &self,
        tree: Option<Oid>,
        name: &[u8],
    ) -> Result<Option<Committed>, BackendError> {
        let Some(id) = tree else { return Ok(None) };
        let entries = self.read(id)?;
        let found = entries.binary_search_by(|(other, _)| other.as_ref().cmp(name));
        Ok(found.ok().map(|index| entries[index].1))
    }

    fn at(&self, tree: Oid, path: &[u8]) -> Result<Option<Committed>, BackendError> {
        let mut at = Some(Committed::Folder(tree));
        for name in path.split(|byte| *byte == b'/') {
            at = match at {
                Some(Committed::Folder(tree)) => self.entry(Some(tree), name)?,
                Some(Committed::Leaf(_)) | None => return Ok(None),
            };
        }
        Ok(at)
    }

    /// The leaf that `tree` has at `path`, `None` where there is none or a folder.
    pub(crate) fn leaf(&self, tree: Oid, path: &[u8]) -> Result<Option<Leaf>, BackendError> {
        Ok(match self.at(tree, path)? {
            Some(Committed::Leaf(leaf)) => Some(leaf),
            Some(Committed::Folder(_)) | None => None,
        })
    }

    /// The tree that `tree` has at `path`, `None` where there is none or a leaf.
    pub(crate) fn folder(&self, tree: Oid, path: &[u8]) -> Result<Option<Oid>, BackendError> {
        Ok(match self.at(tree, path)? {
            Some(Committed::Folder(tree)) => Some(tree),
            Some(Committed::Leaf(_)) | None => None,
        })
    }
}

fn committed(entry: &git2::TreeEntry<'_>) -> Committed {
    if entry.kind() == Some(ObjectType::Tree) {
        Committed::Folder(entry.id())
    } else {
        Committed::Leaf(Leaf {
            // No mode of git has the sign bit.
            mode: Mode::of(u32::try_from(entry.filemode_raw()).unwrap_or_default()),
            id: entry.id(),
            origin: Origin::Objects,
        })
    }
}

/// The sources: one tree.
pub(crate) struct Sources<'r> {
    trees: &'r Trees,
    root: Folder<'r>,
}

impl<'r> Sources<'r> {
    /// `tree` with `overlay` over it.
    pub(crate) fn new(trees: &'r Trees, tree: Oid, overlay: &'r Overlay) -> Self {
        Self {
            trees,
            root: Folder {
                tree: Some(tree),
                over: (!overlay.is_empty()).then_some(overlay),
            },
        }
    }

    /// The root folder.
    pub(crate) fn root(&self) -> Folder<'r> {
        self.root
    }

    /// What is at `path` (`/`-separated, not empty).
    pub(crate) fn find(&self, path: &[u8]) -> Result<Option<Node<'r>>, BackendError> {
        let mut folder = self.root;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let node = match folder.over.and_then(|over| over.get(name)) {
                Some(Over::Gone) => None,
                Some(Over::Leaf(leaf)) => Some(Node::Leaf(*leaf)),
                Some(Over::Folder(over)) => {
                    let tree = match self.committed(folder.tree, name)? {
                        Some(Node::Folder(below)) => below.tree,
                        Some(Node::Leaf(_)) | None => None,
                    };
                    Some(Node::Folder(Folder {
                        tree,
                        over: Some(over),
                    }))
                }
                None => self.committed(folder.tree, name)?,
            };
            match (node, names.peek().is_some()) {
                (Some(Node::Folder(below)), true) => folder = below,
                (Some(Node::Leaf(_)) | None, true) => return Ok(None),
                (Some(Node::Folder(below)), false) => {
                    return Ok(self.id(below)?.map(|_| Node::Folder(below)));
                }
                (node @ (Some(Node::Leaf(_)) | None), false) => return Ok(node),
            }
        }
        Ok(None)
    }

    fn committed(
        &self,
        tree: Option<Oid>,
        name: &[u8],
    ) -> Result<Option<Node<'static>>, BackendError> {
        Ok(self.trees.entry(tree, name)?.map(Committed::node))
    }

    /// A folder's entries by name. A folder among them may hold nothing any more.
    pub(crate) fn children<'o>(
        &self,
        folder: Folder<'o>,
    ) -> Result<BTreeMap<Vec<u8>, Node<'o>>, BackendError> {
        let mut children = BTreeMap::new();
        if let Some(id) = folder.tree {
            for (name, entry) in self.trees.read(id)?.iter() {
                children.insert(name.to_vec(), entry.node());
            }
        }
        for (name, over) in folder.over.into_iter().flatten() {
            match over {
                Over::Gone => {
                    children.remove(name);
                }
                Over::Leaf(leaf) => {
                    children.insert(name.clone(), Node::Leaf(*leaf));
                }
                Over::Folder(over) => {
                    let tree = match children.remove(name) {
                        Some(Node::Folder(below)) => below.tree,
                        Some(Node::Leaf(_)) | None => None,
                    };
                    let below = Folder {
                        tree,
                        over: Some(over),
                    };
                    children.insert(name.clone(), Node::Folder(below));
                }
            }
        }
        Ok(children)
    }

    /// The tree ID that git would give the folder, `None` where it holds nothing.
    pub(crate) fn id(&self, folder: Folder<'_>) -> Result<Option<Oid>, BackendError> {
        if folder.over.is_none() {
            return Ok(folder.tree);
        }
        let mut entries = Vec::new();
        for (name, node) in self.children(folder)? {
            let (mode, id, order) = match node {
                Node::Leaf(leaf) => (leaf.mode.octal(), leaf.id, name.clone()),
                Node::Folder(below) => match self.id(below)? {
                    // Git sorts a folder as if its name ended in a slash.
                    Some(id) => ("40000", id, [name.as_slice(), b"/"].concat()),
                    None => continue,
                },
            };
            entries.push((order, mode, name, id));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        entries.sort();
        let mut bytes = Vec::new();
        for (_, mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&name);
            bytes.push(0);
            bytes.extend_from_slice(id.as_bytes());
        }
        Oid::hash_object(ObjectType::Tree, &bytes)
            .map(Some)
            .map_err(|cause| error::git("compute the ID of a tree", cause))
    }

    /// Bytes of a blob, where that can be told before it is read.
    pub(crate) fn size(&self, id: Oid) -> Option<u64> {
        let header = self.trees.repo.odb().and_then(|odb| odb.read_header(id));
        header.ok().and_then(|(size, _)| u64::try_from(size).ok())
    }

    /// A leaf's bytes out of the object database.
    pub(crate) fn blob(&self, id: Oid, path: &[u8]) -> Result<git2::Blob<'r>, BackendError> {
        self.trees.repo.find_blob(id).map_err(|cause| {
            error::object(
                &self.trees.repo,
                format!("read {} ({id})", String::from_utf8_lossy(path)),
                cause,
            )
        })
    }
}

/// The error for a path that the sources do not have.
pub(crate) fn not_there(path: &str) -> BackendError {
    BackendError::new(
        ErrorClass::NotFound,
        format!("find `{path}` in the sources: it is neither committed nor an untracked file that git would add"),
    )
    .hint("check the path in pipeline.yaml, and whether .gitignore hides it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Option<Leaf> {
        Some(Leaf {
            mode: Mode::File,
            id: Oid::hash_object(ObjectType::Blob, b"x").unwrap(),
            origin: Origin::WorkTree,
        })
    }

    #[test]
    fn swaps_of_files_and_folders_come_out_alike_in_any_order() {
        for (first, second) in [
            ((&b"a"[..], None), (&b"a/b"[..], leaf())),
            ((&b"a"[..], leaf()), (&b"a/b"[..], None)),
        ] {
            let mut one = Overlay::new();
            lay(&mut one, first.0, first.1);
            lay(&mut one, second.0, second.1);
            let mut other = Overlay::new();
            lay(&mut other, second.0, second.1);
            lay(&mut other, first.0, first.1);
            assert_eq!(one, other);
        }
    }
}
