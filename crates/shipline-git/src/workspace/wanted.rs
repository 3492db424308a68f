//! What the workspace must hold, and where its bytes come from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, ObjectType, Oid, Repository};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::folder::Place;
use shipline_model::name::RepoPath;

use crate::tree::{
    DEEPEST, Folder, Leaf, Mode, Node, Origin, Overlay, Sources, Trees, not_there, too_deep,
};
use crate::{error, filter, plain};

/// A folder of the wanted state, by name.
#[derive(Debug, Default)]
pub(crate) struct Wanted(pub(crate) BTreeMap<Vec<u8>, Item>);

/// One entry of the wanted state.
#[derive(Debug)]
pub(crate) enum Item {
    /// A regular file.
    File(File),
    /// A symlink.
    Link(File),
    /// A folder.
    Folder(Wanted),
}

/// A file's content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    /// The blob.
    pub(crate) content: Oid,
    /// Its permissions.
    pub(crate) permissions: u32,
    origin: Origin,
    store: usize,
}

/// The repositories that hold the blobs: the main one, and those of submodules.
pub(crate) struct Stores<'r> {
    main: &'r Repository,
    root: PathBuf,
    submodules: Vec<Repository>,
    /// The filters that git would run.
    filters: BTreeSet<Vec<u8>>,
}

impl<'r> Stores<'r> {
    /// The main repository alone, with its work tree.
    pub(crate) fn new(main: &'r Repository, root: &Path) -> Result<Self, BackendError> {
        Ok(Self {
            main,
            root: root.to_owned(),
            submodules: Vec::new(),
            filters: filter::smudging(main)?,
        })
    }

    fn get(&self, store: usize) -> &Repository {
        match store.checked_sub(1) {
            None => self.main,
            Some(index) => self.submodules.get(index).unwrap_or(self.main),
        }
    }

    /// A symlink's target.
    pub(crate) fn target(&self, path: &[u8], file: &File) -> Result<Vec<u8>, BackendError> {
        match file.origin {
            Origin::Objects => Ok(self.blob(path, file)?.content().to_vec()),
            Origin::WorkTree => {
                let source = self.root.join(OsStr::from_bytes(path));
                let target = std::fs::read_link(&source)
                    .map_err(|cause| error::file("read the symlink", &source, cause))?
                    .into_os_string();
                let now = Oid::hash_object(ObjectType::Blob, target.as_bytes());
                if now.ok() == Some(file.content) {
                    Ok(target.as_bytes().to_vec())
                } else {
                    Err(moved(path))
                }
            }
        }
    }

    /// Writes a file's content to `output`, which is the file `at`.
    pub(crate) fn copy(
        &self,
        path: &[u8],
        file: &File,
        output: &mut std::fs::File,
        at: &Path,
    ) -> Result<(), BackendError> {
        match file.origin {
            Origin::Objects => {
                let blob = self.blob(path, file)?;
                self.refuse_filtered(path, file, blob.content())?;
                output
                    .write_all(blob.content())
                    .map_err(|cause| error::file("write", at, cause))
            }
            Origin::WorkTree => {
                let source = self.root.join(OsStr::from_bytes(path));
                let mut input = Place::from(self.root.as_path())
                    .join(OsStr::from_bytes(path))
                    .parent()
                    .and_then(|(folder, name)| folder.open(name))
                    .map_err(|cause| error::file("open", &source, cause))?;
                std::io::copy(&mut input, output)
                    .map_err(|cause| error::file("copy", &source, cause))?;
                let copied = Oid::hash_file(ObjectType::Blob, at)
                    .map_err(|cause| error::git(format!("read back {}", at.display()), cause))?;
                if copied == file.content {
                    Ok(())
                } else {
                    Err(moved(path))
                }
            }
        }
    }

    fn blob(&self, path: &[u8], file: &File) -> Result<git2::Blob<'_>, BackendError> {
        self.get(file.store)
            .find_blob(file.content)
            .map_err(|cause| {
                error::object(
                    self.get(file.store),
                    format!("read {} ({})", String::from_utf8_lossy(path), file.content),
                    cause,
                )
            })
    }

    /// What is committed of a file is not the file that its component means where git puts a filter before it.
    fn refuse_filtered(
        &self,
        path: &[u8],
        file: &File,
        content: &[u8],
    ) -> Result<(), BackendError> {
        let pointer = content.starts_with(b"version https://git-lfs.github.com/spec/");
        if file.store != 0 || (self.filters.is_empty() && !pointer) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(path);
        let filter = self
            .main
            .get_attr_bytes(
                Path::new(OsStr::from_bytes(path)),
                "filter",
                AttrCheckFlags::FILE_THEN_INDEX,
            )
            .map_err(|cause| error::git("read git's attributes", cause))?;
        match filter {
            Some(filter) if filter == filter::LFS && pointer => Err(BackendError::new(
                ErrorClass::Invalid,
                format!("take {shown} as a source: it is kept in Git LFS, which is not supported"),
            )
            .hint("keep the file in git itself, or fetch it in the component's `setup`")),
            Some(filter) if self.filters.contains(filter) => Err(BackendError::new(
                ErrorClass::Invalid,
                format!("take {shown} as a source: git makes it by its filter `{}`, which is not run here", String::from_utf8_lossy(filter)),
            )
            .hint("keep the file in git as it is (no `filter` in .gitattributes), or make it in the component's `setup`")),
            Some(_) | None => Ok(()),
        }
    }
}

fn moved(path: &[u8]) -> BackendError {
    BackendError::new(
        ErrorClass::Conflict,
        format!(
            "copy {}: it changed after this run had looked at it",
            String::from_utf8_lossy(path)
        ),
    )
    .hint("run again; nothing has been published")
}

impl Wanted {
    /// Everything at `paths`.
    pub(crate) fn of(
        sources: &Sources<'_>,
        stores: &mut Stores<'_>,
        paths: &[RepoPath],
    ) -> Result<Self, BackendError> {
        let mut wanted = Self::default();
        for path in paths {
            if paths
                .iter()
                .any(|other| other != path && other.contains(path.as_str()))
            {
                continue;
            }
            if path.as_str() == "." {
                wanted = folder(sources, stores, sources.root(), &mut Vec::new(), 0)?;
                continue;
            }
            let node = sources
                .find(path.as_str().as_bytes())?
                .ok_or_else(|| not_there(path.as_str()))?;
            let mut full = path.as_str().as_bytes().to_vec();
            if let Some(found) = item(sources, stores, node, &mut full, 0)? {
                wanted.put(path.as_str().as_bytes(), found);
            }
        }
        Ok(wanted)
    }

    fn put(&mut self, path: &[u8], item: Item) {
        match path.iter().position(|byte| *byte == b'/') {
            None => {
                self.0.insert(path.to_vec(), item);
            }
            Some(slash) => {
                let entry = self
                    .0
                    .entry(path[..slash].to_vec())
                    .or_insert_with(|| Item::Folder(Self::default()));
                // No path of the set contains another, and a leaf has nothing below it.
                if let Item::Folder(below) = entry {
                    below.put(&path[slash + 1..], item);
                }
            }
        }
    }
}

fn folder(
    sources: &Sources<'_>,
    stores: &mut Stores<'_>,
    at: Folder<'_>,
    path: &mut Vec<u8>,
    store: usize,
) -> Result<Wanted, BackendError> {
    if path.split(|byte| *byte == b'/').count() > DEEPEST {
        return Err(too_deep(path));
    }
    let mut wanted = Wanted::default();
    for (name, node) in sources.children(at)? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let found = item(sources, stores, node, path, store)?;
        path.truncate(length);
        if let Some(found) = found {
            wanted.0.insert(name, found);
        }
    }
    Ok(wanted)
}

/// `None` for a folder that holds nothing: git knows no such folder.
fn item(
    sources: &Sources<'_>,
    stores: &mut Stores<'_>,
    node: Node<'_>,
    path: &mut Vec<u8>,
    store: usize,
) -> Result<Option<Item>, BackendError> {
    let below = match node {
        Node::Folder(at) => folder(sources, stores, at, path, store)?,
        Node::Leaf(Leaf { mode, id, origin }) => {
            let file = |permissions| File {
                content: id,
                permissions,
                origin,
                store,
            };
            match mode {
                Mode::File => return Ok(Some(Item::File(file(0o644)))),
                Mode::Executable => return Ok(Some(Item::File(file(0o755)))),
                Mode::Link => return Ok(Some(Item::Link(file(0o777)))),
                Mode::Submodule => submodule(stores, path, id)?,
            }
        }
    };
    Ok((!below.0.is_empty()).then_some(Item::Folder(below)))
}

/// The files of a submodule at its recorded commit.
fn submodule(
    stores: &mut Stores<'_>,
    path: &mut Vec<u8>,
    commit: Oid,
) -> Result<Wanted, BackendError> {
    let shown = String::from_utf8_lossy(path).into_owned();
    let failed = |cause| {
        error::git(format!("read submodule {shown} at commit {commit}"), cause).hint(format!(
            "check it out: `git submodule update --init {shown}`"
        ))
    };
    let checkout = stores.root.join(OsStr::from_bytes(path));
    plain::repository(&checkout)?;
    let trees = Trees::new(Repository::open(&checkout).map_err(failed)?);
    let tree = trees
        .repo()
        .find_commit(commit)
        .and_then(|commit| commit.tree())
        .map_err(failed)?
        .id();
    // A second handle: one is read from here, the other stays with the store for the blobs.
    stores
        .submodules
        .push(Repository::open(&checkout).map_err(failed)?);
    let store = stores.submodules.len();
    let clean = Overlay::new();
    let sources = Sources::new(&trees, tree, &clean);
    folder(&sources, stores, sources.root(), path, store)
}
