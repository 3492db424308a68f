//! Reading a commit's tree as somebody else wrote it: links are not followed, and sizes, depths and numbers are bounded.

use git2::{Commit, ErrorCode, ObjectType, Oid, Repository, Tree};

use crate::files::Files;
use crate::folder::{Folder, Manifest, Unread, UnreadKind, base_name, parent};
use crate::nodes::{is_kustomization, is_manifest};

/// The largest manifest: etcd, where its object would go, takes 1.5 MB.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// The largest tree object: a folder of a hundred thousand files.
const MAX_TREE: usize = 8 * 1024 * 1024;

/// The largest commit object: its message is text.
const MAX_COMMIT: usize = 1024 * 1024;

/// How deep folders are looked into.
const MAX_DEPTH: usize = 32;

/// How many files outside of the targets' folders are looked at.
const MAX_FILES: usize = 20_000;

/// How many bytes of them are read.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The longest target of a link that is shown.
const MAX_LINK: usize = 4096;

/// What is there of a path.
enum Found<'r> {
    Folder(Tree<'r>),
    Other(Unread),
    Nothing,
}

/// Whether an object is there and no larger than this.
fn fits(repository: &Repository, id: Oid, limit: usize) -> Result<bool, git2::Error> {
    let (size, _) = repository.odb()?.read_header(id)?;
    Ok(size <= limit)
}

fn tree(repository: &Repository, id: Oid) -> Result<Tree<'_>, git2::Error> {
    if fits(repository, id, MAX_TREE)? {
        return repository.find_tree(id);
    }
    Err(git2::Error::from_str("a folder holds too many files"))
}

/// A commit that is there and of a size that commits have.
pub(crate) fn commit(repository: &Repository, id: Oid) -> Result<Commit<'_>, git2::Error> {
    if fits(repository, id, MAX_COMMIT)? {
        return repository.find_commit(id);
    }
    Err(git2::Error::from_str("it is too large for a commit"))
}

/// The commit's own tree.
pub(crate) fn root(repository: &Repository, commit: Oid) -> Result<Tree<'_>, git2::Error> {
    tree(repository, self::commit(repository, commit)?.tree_id())
}

fn find<'r>(
    repository: &'r Repository,
    root: &Tree<'r>,
    path: &str,
) -> Result<Found<'r>, git2::Error> {
    let mut at = root.clone();
    if path.is_empty() {
        return Ok(Found::Folder(at));
    }
    let mut walked = String::new();
    for part in path.split('/') {
        if !walked.is_empty() {
            walked.push('/');
        }
        walked.push_str(part);
        let Some(entry) = at.get_name(part) else {
            return Ok(Found::Nothing);
        };
        let (id, mode) = (entry.id(), entry.filemode());
        drop(entry);
        at = match unread(repository, id, mode)? {
            None if mode == 0o040_000 => tree(repository, id)?,
            None => {
                return Ok(Found::Other(Unread {
                    path: walked,
                    kind: UnreadKind::File,
                }));
            }
            Some(kind) => return Ok(Found::Other(Unread { path: walked, kind })),
        };
    }
    Ok(Found::Folder(at))
}

/// What an entry is, if it is neither file nor folder.
fn unread(repository: &Repository, id: Oid, mode: i32) -> Result<Option<UnreadKind>, git2::Error> {
    Ok(match mode {
        0o120_000 => {
            let to = if fits(repository, id, MAX_LINK)? {
                String::from_utf8_lossy(repository.find_blob(id)?.content()).into_owned()
            } else {
                "…".to_owned()
            };
            Some(UnreadKind::Link(to))
        }
        0o160_000 => Some(UnreadKind::Submodule),
        _ => None,
    })
}

/// A target's folder: only the trees on the way to it are read.
pub(crate) fn folder(
    repository: &Repository,
    root: &Tree<'_>,
    path: &str,
) -> Result<Folder, git2::Error> {
    let mut folder = Folder::default();
    let tree = match find(repository, root, path)? {
        Found::Folder(tree) => tree,
        Found::Other(unread) => {
            folder.unread.push(unread);
            return Ok(folder);
        }
        Found::Nothing => return Ok(folder),
    };
    for entry in &tree {
        let Ok(name) = entry.name() else {
            continue;
        };
        let path = join(path, name);
        let (id, mode) = (entry.id(), entry.filemode());
        let read = is_manifest(name) || is_kustomization(name);
        // `deployment.YAML` looks like a manifest to a person.
        let looks = is_manifest(&name.to_lowercase());
        if mode == 0o040_000 || !(read || looks) {
            continue;
        }
        let kind = match unread(repository, id, mode)? {
            None if !read => Some(UnreadKind::Name),
            None if !fits(repository, id, MAX_FILE)? => Some(UnreadKind::Large),
            kind => kind,
        };
        let kind = match kind {
            Some(kind) => kind,
            None => {
                let bytes = repository.find_blob(id)?.content().to_vec();
                let Some(to) = lost_link(&bytes) else {
                    folder.files.push(Manifest { path, bytes });
                    continue;
                };
                UnreadKind::Link(to.to_owned())
            }
        };
        folder.unread.push(Unread { path, kind });
    }
    Ok(folder)
}

/// The names directly in a folder; those of folders end in a slash. A folder that is not there has none.
pub(crate) fn names(
    repository: &Repository,
    root: &Tree<'_>,
    path: &str,
) -> Result<Vec<String>, git2::Error> {
    let Found::Folder(tree) = find(repository, root, path)? else {
        return Ok(Vec::new());
    };
    let entries = tree.iter().filter_map(|entry| {
        let slash = if entry.kind() == Some(ObjectType::Tree) {
            "/"
        } else {
            ""
        };
        Some(format!("{}{slash}", entry.name().ok()?))
    });
    Ok(entries.collect())
}

/// What a link leads to that a machine without links has committed as a file.
fn lost_link(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    let path = text.len() <= MAX_LINK
        && text.contains('/')
        && is_manifest(text)
        && !text.contains(|c: char| c.is_whitespace() || "{}[]:,\"'".contains(c));
    path.then_some(text)
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

/// The files of a commit.
pub(crate) struct Committed<'r> {
    pub(crate) repository: &'r Repository,
    pub(crate) root: &'r Tree<'r>,
}

impl Files for Committed<'_> {
    fn folder(&self, path: &str) -> Result<Folder, git2::Error> {
        folder(self.repository, self.root, path)
    }

    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, git2::Error> {
        let Found::Folder(tree) = find(self.repository, self.root, parent(path))? else {
            return Ok(None);
        };
        let Some(entry) = tree.get_name(base_name(path)) else {
            return Ok(None);
        };
        let is_file = is_file(entry.filemode());
        if !is_file || !fits(self.repository, entry.id(), MAX_FILE)? {
            return Ok(None);
        }
        let blob = self.repository.find_blob(entry.id())?;
        Ok(Some(blob.content().to_vec()))
    }

    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) -> Result<bool, git2::Error> {
        let odb = self.repository.odb()?;
        let mut open = vec![(String::new(), self.root.id(), 0)];
        let (mut files, mut bytes) = (0, 0);
        while let Some((path, id, depth)) = open.pop() {
            let tree = match tree(self.repository, id) {
                Ok(tree) => tree,
                // A partial clone has not all of it.
                Err(error) if error.code() == ErrorCode::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in &tree {
                let Ok(name) = entry.name() else {
                    continue;
                };
                if entry.kind() == Some(ObjectType::Tree) {
                    if depth < MAX_DEPTH {
                        open.push((join(&path, name), entry.id(), depth + 1));
                    }
                    continue;
                }
                if !is_file(entry.filemode()) || !(is_manifest(name) || is_kustomization(name)) {
                    continue;
                }
                files += 1;
                if files > MAX_FILES || bytes > MAX_BYTES {
                    return Ok(false);
                }
                let Ok(object) = odb.read(entry.id()) else {
                    continue;
                };
                if object.len() > MAX_FILE {
                    continue;
                }
                bytes += object.len();
                visit(&join(&path, name), object.data());
            }
        }
        Ok(true)
    }
}

/// Whether an entry is a file: no folder, no link, no other repository.
fn is_file(mode: i32) -> bool {
    matches!(mode, 0o100_644 | 0o100_755 | 0o100_664)
}
