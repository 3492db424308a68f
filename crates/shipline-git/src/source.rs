//! The repository that holds the sources.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags};
use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{Ancestry, Materialized, SourceRepo, SourceSet, Standing};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::fault::Faults;
use shipline_engine::folder::Place;
use shipline_model::name::{CommitId, RepoPath};
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{Head, PathChange};

use crate::index::Index;
use crate::large::Memory;
use crate::status::{self, Dirty};
use crate::tree::{Leaf, Mode, Node, Origin, Overlay, Sources, Trees, not_there};
use crate::{changes, error, open, plain, workspace};

/// How far symlinks are followed by [`SourceRepo::read`].
const LINKS: usize = 8;

/// Bytes of a file that [`SourceRepo::read`] gives: files that say how something is built.
const LARGEST: u64 = 64 << 20;

/// Whether the work tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkTree {
    /// Uncommitted changes are found and belong to the sources.
    Scan,
    /// The caller knows that there are none (a fresh checkout): the sources are the head.
    KnownClean,
}

/// The repository that holds the sources, on git2. What is checked out and what is uncommitted is found once, at the first
/// question, and holds for its whole life.
///
/// The environment's `GIT_*` variables do not count; git's configuration files do.
pub struct GitSource {
    root: PathBuf,
    work_tree: WorkTree,
    faults: Faults,
    memory: Memory,
    state: Mutex<State>,
}

struct State {
    trees: Trees,
    snapshot: Option<Arc<Snapshot>>,
    /// What stands at paths that were asked for: components share folders, and of a dirty one the ID takes long.
    ids: HashMap<RepoPath, Option<(&'static str, Oid)>>,
}

/// What the sources are, found once.
struct Snapshot {
    head: Head,
    tree: Oid,
    dirty: Dirty,
}

impl std::fmt::Debug for GitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitSource")
            .field("root", &self.root)
            .field("work_tree", &self.work_tree)
            .finish_non_exhaustive()
    }
}

impl GitSource {
    /// The repository that `directory` is in: found upwards, as git does; work trees and submodules are repositories.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Denied` where it belongs to another user, `Invalid` where it has no work tree.
    pub fn open(
        directory: &Path,
        work_tree: WorkTree,
        faults: Faults,
    ) -> Result<Self, BackendError> {
        let nowhere: [&Path; 0] = [];
        plain::repository(directory)?;
        // No flag: discovery upwards, and nothing from the environment.
        let repo = Repository::open_ext(directory, RepositoryOpenFlags::empty(), nowhere)
            .map_err(|cause| open::refused(directory, cause))?;
        plain::named(&repo)?;
        let root = match repo.workdir() {
            Some(root) if !repo.is_bare() => root.to_owned(),
            Some(_) | None => {
                return Err(BackendError::new(
                    ErrorClass::Invalid,
                    format!(
                        "use {} as the source repository: it is bare and has no work tree",
                        repo.path().display()
                    ),
                )
                .hint("clone it and run there"));
            }
        };
        // Objects that have to be made (files with converted line ends) go to memory and not into the repository.
        repo.odb()
            .and_then(|odb| odb.add_new_mempack_backend(1000).map(drop))
            .map_err(|cause| error::git("add memory to the object database", cause))?;
        Ok(Self {
            root,
            work_tree,
            faults,
            memory: Memory::default(),
            state: Mutex::new(State {
                trees: Trees::new(repo),
                snapshot: None,
                ids: HashMap::new(),
            }),
        })
    }

    /// With a memory of what large files that are in no commit hold.
    #[must_use]
    pub fn remembering(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// The work tree's root, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in libgit2's callbacks cannot leave the state half changed: it is set in one go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self, state: &mut State) -> Result<Arc<Snapshot>, BackendError> {
        if let Some(snapshot) = &state.snapshot {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.look(&state.trees)?);
        state.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn look(&self, trees: &Trees) -> Result<Snapshot, BackendError> {
        let repo = trees.repo();
        let reference = repo.head().map_err(|cause| {
            let head = format!("read the head of {}", self.root.display());
            if matches!(cause.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) {
                BackendError::new(
                    ErrorClass::Invalid,
                    format!("{head}: nothing is committed yet"),
                )
                .because(error::said(&cause))
                .hint("make a first commit (`git add --all && git commit`)")
            } else {
                error::git(head, cause)
            }
        })?;
        let commit = reference
            .peel_to_commit()
            .map_err(|cause| error::object(repo, "read the head's commit", cause))?;
        let tree = commit
            .tree()
            .map_err(|cause| error::object(repo, "read the head's tree", cause))?;
        let branch = reference
            .is_branch()
            .then(|| String::from_utf8_lossy(reference.shorthand_bytes()).into_owned());
        let reserved = |entry: &git2::TreeEntry<'_>| status::is_reserved(entry.name_bytes());
        if let Some(entry) = tree.iter().find(reserved) {
            return Err(status::tracked(entry.name_bytes()));
        }
        let dirty = match self.work_tree {
            WorkTree::Scan => status::scan(trees, &self.root, tree.id(), &self.memory)?,
            WorkTree::KnownClean => {
                status::attributes(repo, &Index::read(&repo.path().join("index"))?)?;
                Dirty::default()
            }
        };
        let paths = dirty
            .paths
            .iter()
            .map(|(path, _)| GitPath::new(path))
            .collect();
        Ok(Snapshot {
            head: Head {
                commit: commit_id(commit.id())?,
                time: commit.time().seconds(),
                branch,
                dirty: paths,
            },
            tree: tree.id(),
            dirty,
        })
    }
}

impl SourceRepo for GitSource {
    fn folder(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    fn head(&self) -> Result<Head, BackendError> {
        let mut state = self.state();
        Ok(self.snapshot(&mut state)?.head.clone())
    }

    fn resolve(&self, revision: &str) -> Result<CommitId, BackendError> {
        let state = self.state();
        let what = format!("find a commit by the name `{revision}`");
        let shallow = state.trees.repo().is_shallow();
        let found = state
            .trees
            .repo()
            .revparse_single(revision)
            .and_then(|object| object.peel_to_commit().map(|commit| commit.id()))
            .map_err(|cause| {
                if shallow {
                    error::object(state.trees.repo(), what, cause)
                } else {
                    error::git(what, cause)
                }
            })?;
        commit_id(found)
    }

    fn ancestry(&self, commit: &CommitId) -> Result<Ancestry, BackendError> {
        let mut state = self.state();
        let head = oid(&self.snapshot(&mut state)?.head.commit)?;
        let repo = state.trees.repo();
        let wanted = oid(commit)?;
        let cut = |why: &str| {
            Ok(Ancestry::Unknown {
                why: format!("{why}; {}", error::FETCH_ALL),
            })
        };
        if let Err(cause) = repo.find_commit(wanted) {
            if cause.code() != ErrorCode::NotFound {
                return Err(error::git(format!("read commit {commit}"), cause));
            }
            let why = format!("commit {} is not in this clone", commit.short());
            return if repo.is_shallow() {
                cut(&why)
            } else {
                Ok(Ancestry::Unknown { why })
            };
        }
        if head == wanted {
            return Ok(Ancestry::Ancestor);
        }
        match descends(repo, head, wanted) {
            Ok(true) => Ok(Ancestry::Ancestor),
            Ok(false) if repo.is_shallow() => cut(&format!(
                "the history is cut off before commit {} is reached",
                commit.short()
            )),
            Ok(false) => Ok(Ancestry::NotAncestor),
            Err(cause) if cause.code() == ErrorCode::NotFound => cut("the history is cut off"),
            Err(cause) => Err(error::git(format!("look for commit {commit}"), cause)),
        }
    }

    fn merge_base(&self, commit: &CommitId) -> Result<Option<CommitId>, BackendError> {
        let mut state = self.state();
        let head = oid(&self.snapshot(&mut state)?.head.commit)?;
        let wanted = oid(commit)?;
        let failed = |cause| error::git(format!("find the merge base with commit {commit}"), cause);
        // libgit2 does not say which of its failures is a missing commit.
        if let Err(cause) = state.trees.repo().find_commit(wanted) {
            return if cause.code() == ErrorCode::NotFound {
                Ok(None)
            } else {
                Err(failed(cause))
            };
        }
        let found = if state.trees.repo().is_shallow() {
            shallow_merge_base(state.trees.repo(), head, wanted).map_err(failed)?
        } else {
            match state.trees.repo().merge_base(head, wanted) {
                Ok(found) => Some(found),
                Err(cause) if cause.code() == ErrorCode::NotFound => None,
                Err(cause) => return Err(failed(cause)),
            }
        };
        found.map(commit_id).transpose()
    }

    fn changes(&self, base: &CommitId) -> Result<ByPath<PathChange>, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let tree = tree_of(&state, base)?;
        changes::between(&state.trees, tree, snapshot.tree, &snapshot.dirty)
    }

    /// A hash over the git object IDs at the paths: of trees and blobs, or of those that git would make of the dirty tree. A
    /// clean tree is thereby never read, and the same content gives the same key, committed or not.
    fn key(&self, paths: &[RepoPath]) -> Result<String, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let sources = Sources::new(&state.trees, snapshot.tree, &snapshot.dirty.overlay);
        let mut outermost: Vec<&RepoPath> = paths
            .iter()
            .filter(|path| {
                !paths
                    .iter()
                    .any(|other| other != *path && other.contains(path.as_str()))
            })
            .collect();
        outermost.sort();
        outermost.dedup();
        let mut hash = Sha256::new();
        let mut ids = Vec::new();
        hash.update(b"shipline sources 1\n");
        for path in outermost {
            let found = match state.ids.get(path) {
                Some(known) => *known,
                None => {
                    let found = found(&sources, path)?;
                    ids.push((path.clone(), found));
                    found
                }
            };
            let (mode, id) = found.ok_or_else(|| not_there(path.as_str()))?;
            hash.update(format!("{mode} {id} {}\0", path.as_str()));
        }
        state.ids.extend(ids);
        Ok(hex::encode(hash.finalize()))
    }

    fn standing(&self, path: &RepoPath) -> Result<Option<Standing>, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let sources = Sources::new(&state.trees, snapshot.tree, &snapshot.dirty.overlay);
        if path.as_str() == "." {
            return Ok(Some(Standing::Folder));
        }
        let Some(node) = sources.find(path.as_str().as_bytes())? else {
            return Ok(None);
        };
        Ok(Some(match node {
            Node::Folder(_) => Standing::Folder,
            Node::Leaf(leaf) => match leaf.mode {
                Mode::Submodule => Standing::Folder,
                Mode::File | Mode::Executable => Standing::File,
                Mode::Link => Standing::Link {
                    to: leads(path, &self.bytes(&sources, path, leaf)?),
                },
            },
        }))
    }

    fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let sources = Sources::new(&state.trees, snapshot.tree, &snapshot.dirty.overlay);
        self.file(&sources, path)
    }

    fn read_at(&self, commit: &CommitId, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        let state = self.state();
        let tree = tree_of(&state, commit)?;
        let clean = Overlay::new();
        self.file(&Sources::new(&state.trees, tree, &clean), path)
    }

    fn materialize(&self, set: &SourceSet, to: &Place) -> Result<Materialized, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let sources = Sources::new(&state.trees, snapshot.tree, &snapshot.dirty.overlay);
        workspace::materialize(
            state.trees.repo(),
            &sources,
            &self.root,
            set,
            to,
            &self.faults,
        )
    }

    fn extras(&self, set: &SourceSet, workspace: &Place) -> Result<Vec<GitPath>, BackendError> {
        let mut state = self.state();
        let snapshot = self.snapshot(&mut state)?;
        let sources = Sources::new(&state.trees, snapshot.tree, &snapshot.dirty.overlay);
        workspace::extras(state.trees.repo(), &sources, &self.root, set, workspace)
    }
}

impl GitSource {
    fn file(
        &self,
        sources: &Sources<'_>,
        path: &RepoPath,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let mut path = path.clone();
        for _ in 0..LINKS {
            let leaf = match sources.find(path.as_str().as_bytes())? {
                None => return Ok(None),
                Some(Node::Folder(_)) => return Err(no_file(&path, "a folder")),
                Some(Node::Leaf(leaf)) => leaf,
            };
            match leaf.mode {
                Mode::Submodule => return Err(no_file(&path, "a submodule")),
                Mode::File | Mode::Executable => {
                    return self.bytes(sources, &path, leaf).map(Some);
                }
                Mode::Link => {
                    let target = self.bytes(sources, &path, leaf)?;
                    path = leads(&path, &target)
                        .ok_or_else(|| no_file(&path, "a symlink that leaves the repository"))?;
                }
            }
        }
        Err(no_file(&path, "a chain of symlinks"))
    }

    fn bytes(
        &self,
        sources: &Sources<'_>,
        path: &RepoPath,
        leaf: Leaf,
    ) -> Result<Vec<u8>, BackendError> {
        let file = self.root.join(path.as_str());
        match (leaf.origin, leaf.mode) {
            (Origin::Objects, _) => {
                if sources.size(leaf.id).is_some_and(|size| size > LARGEST) {
                    return Err(too_large(path));
                }
                let blob = sources.blob(leaf.id, path.as_str().as_bytes())?;
                Ok(blob.content().to_vec())
            }
            (Origin::WorkTree, Mode::Link) => std::fs::read_link(&file)
                .map(|target| target.into_os_string().into_encoded_bytes())
                .map_err(|cause| error::file("read the symlink", &file, cause)),
            (Origin::WorkTree, Mode::File | Mode::Executable | Mode::Submodule) => {
                Place::from(self.root.as_path())
                    .join(path.as_str())
                    .read_at_most(LARGEST)
                    .map_err(|cause| {
                        if cause.kind() == std::io::ErrorKind::FileTooLarge {
                            too_large(path)
                        } else {
                            error::file("read", &file, cause)
                        }
                    })
            }
        }
    }
}

fn too_large(path: &RepoPath) -> BackendError {
    BackendError::new(
        ErrorClass::Invalid,
        format!(
            "read {}: it has more than {} MiB",
            path.as_str(),
            LARGEST >> 20
        ),
    )
    .hint("what is read here says how to build: put data into another file")
}

/// Mode and object ID of what stands at a path.
fn found(
    sources: &Sources<'_>,
    path: &RepoPath,
) -> Result<Option<(&'static str, Oid)>, BackendError> {
    let node = if path.as_str() == "." {
        Some(Node::Folder(sources.root()))
    } else {
        sources.find(path.as_str().as_bytes())?
    };
    Ok(match node {
        Some(Node::Leaf(leaf)) => Some((leaf.mode.octal(), leaf.id)),
        Some(Node::Folder(folder)) => sources.id(folder)?.map(|id| ("040000", id)),
        None => None,
    })
}

/// Where a symlink at `path` leads, inside of the repository.
fn leads(path: &RepoPath, target: &[u8]) -> Option<RepoPath> {
    let folder = match path.as_str().rsplit_once('/') {
        Some((folder, _)) => RepoPath::new(folder).ok()?,
        None => RepoPath::root(),
    };
    RepoPath::resolve(&folder, std::str::from_utf8(target).ok()?)
}

fn tree_of(state: &State, commit: &CommitId) -> Result<Oid, BackendError> {
    let found = state
        .trees
        .repo()
        .find_commit(oid(commit)?)
        .and_then(|commit| commit.tree());
    found
        .map(|tree| tree.id())
        .map_err(|cause| error::object(state.trees.repo(), format!("read commit {commit}"), cause))
}

fn no_file(path: &RepoPath, what: &str) -> BackendError {
    BackendError::new(
        ErrorClass::Invalid,
        format!("read {path} as a file: it is {what}"),
    )
}

/// Whether `wanted` can be reached from `head`.
fn descends(repo: &Repository, head: Oid, wanted: Oid) -> Result<bool, git2::Error> {
    if repo.is_shallow() {
        Ok(reachable(repo, head)?.contains(&wanted))
    } else {
        repo.graph_descendant_of(head, wanted)
    }
}

/// All commits from `head` on. For shallow clones: libgit2's own walks do not know where one ends.
fn reachable(repo: &Repository, head: Oid) -> Result<HashSet<Oid>, git2::Error> {
    let mut seen = HashSet::new();
    let mut next = vec![head];
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            // A commit at which the history is cut off has no parents here.
            next.extend(repo.find_commit(id)?.parent_ids());
        }
    }
    Ok(seen)
}

/// The youngest commit of `other`'s history that is in that of `head`.
fn shallow_merge_base(
    repo: &Repository,
    head: Oid,
    other: Oid,
) -> Result<Option<Oid>, git2::Error> {
    let ours = reachable(repo, head)?;
    let mut seen = HashSet::new();
    let mut next = BinaryHeap::from([(0, other)]);
    while let Some((_, id)) = next.pop() {
        if ours.contains(&id) {
            return Ok(Some(id));
        }
        for parent in repo.find_commit(id)?.parents() {
            if seen.insert(parent.id()) {
                next.push((parent.time().seconds(), parent.id()));
            }
        }
    }
    Ok(None)
}

fn commit_id(id: Oid) -> Result<CommitId, BackendError> {
    CommitId::new(id.to_string()).map_err(|cause| {
        BackendError::new(ErrorClass::Invalid, "read a commit's ID").because(cause)
    })
}

fn oid(commit: &CommitId) -> Result<Oid, BackendError> {
    Oid::from_str(commit.as_str())
        .map_err(|cause| error::git(format!("read the commit ID {commit}"), cause))
}
