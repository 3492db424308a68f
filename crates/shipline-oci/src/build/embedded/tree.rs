//! A file system as it will be in an image: what each path is, and where its bytes are found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use shipline_model::name::Digest;

/// A path in an image: bytes without a leading slash; the root is empty.
pub(crate) type ImagePath = Vec<u8>;

/// How many symbolic links a path may lead over.
const MAX_LINKS: usize = 40;

/// A file system as it will be in an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<ImagePath, Node>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
}

/// The kinds of things that stand at paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    File {
        content: Content,
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// A device or pipe of a base image: it is there, and cannot be copied.
    Other,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file on the disk, and what it was when it was seen.
    Disk(Arc<DiskFile>),
    /// A text of the Dockerfile.
    Text(Arc<[u8]>),
    /// An entry of a tar.
    Packed { archive: Archive, entry: Arc<[u8]> },
}

/// A file on the disk, and what it was when it was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DiskFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What tells whether a file has changed without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i128,
    /// Nanoseconds since 1970.
    pub(crate) changed: i128,
}

/// A tar, perhaps compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Archive {
    /// A layer in the store.
    Layer(Digest),
    /// A file of the context.
    File(Arc<DiskFile>),
}

/// What becomes of a path's last part where it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    Follow,
    Keep,
}

impl Node {
    pub(crate) fn directory() -> Self {
        Self {
            kind: NodeKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

impl Tree {
    /// What stands at a path. The root is always a directory.
    pub(crate) fn get(&self, path: &[u8]) -> Option<Node> {
        if path.is_empty() {
            return Some(
                self.nodes
                    .get(path)
                    .cloned()
                    .unwrap_or_else(Node::directory),
            );
        }
        self.nodes.get(path).cloned()
    }

    pub(crate) fn insert(&mut self, path: ImagePath, node: Node) {
        self.nodes.insert(path, node);
    }

    /// Removes a path with everything below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.clear(path);
        self.nodes.remove(path);
    }

    /// Removes everything below a path.
    pub(crate) fn clear(&mut self, path: &[u8]) {
        let below: Vec<ImagePath> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// Everything below a path, in order.
    fn below<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a ImagePath, &'a Node)> + 'a {
        let mut start = path.to_vec();
        if !path.is_empty() {
            start.push(b'/');
        }
        self.nodes
            .range(start.clone()..)
            .take_while(move |(candidate, _)| candidate.starts_with(&start))
            .filter(|(candidate, _)| !candidate.is_empty())
    }

    /// Names in a directory, sorted.
    pub(crate) fn children(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let skip = if path.is_empty() { 0 } else { path.len() + 1 };
        let mut names: Vec<Vec<u8>> = Vec::new();
        for (candidate, _) in self.below(path) {
            let name = candidate[skip..]
                .split(|b| *b == b'/')
                .next()
                .unwrap_or_default();
            if names.last().map(Vec::as_slice) != Some(name) {
                names.push(name.to_vec());
            }
        }
        // `a-b` sorts between `a` and `a/x`: the same name may come twice.
        names.sort();
        names.dedup();
        names
    }

    /// The path that a path leads to, over the symbolic links of this tree. What does not exist stays as it is.
    pub(crate) fn resolve(&self, path: &[u8], last: LastLink) -> Result<ImagePath, String> {
        resolve(path, last, &mut |path| {
            Ok(self.nodes.get(path).and_then(|node| match &node.kind {
                NodeKind::Symlink { target } => Some(target.clone()),
                NodeKind::Directory | NodeKind::File { .. } | NodeKind::Other => None,
            }))
        })
    }
}

/// Gives a symbolic link's target; `None` where a path is none.
pub(crate) type LinkAt<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, String> + 'a;

/// Follows a path over symbolic links, never out of the root. `link` gives the target where a path is a link.
pub(crate) fn resolve(
    path: &[u8],
    last: LastLink,
    link: &mut LinkAt<'_>,
) -> Result<ImagePath, String> {
    let mut open: Vec<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    open.reverse();
    let mut at: ImagePath = Vec::new();
    let mut links = 0;
    while let Some(part) = open.pop() {
        if part == b".." {
            at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
            continue;
        }
        let next = join(&at, &part);
        if open.is_empty() && last == LastLink::Keep {
            return Ok(next);
        }
        match link(&next)? {
            None => at = next,
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(format!(
                        "`/{}` leads over more than {MAX_LINKS} symbolic links",
                        String::from_utf8_lossy(path)
                    ));
                }
                if target.starts_with(b"/") {
                    at.clear();
                }
                let more: Vec<Vec<u8>> = parts(&target).map(<[u8]>::to_vec).collect();
                open.extend(more.into_iter().rev());
            }
        }
    }
    Ok(at)
}

/// A path's parts, without empty ones and `.`.
pub(crate) fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// A path without `.`, `..` and empty parts; `..` stops at the root.
pub(crate) fn normal(path: &[u8]) -> ImagePath {
    let mut out: Vec<&[u8]> = Vec::new();
    for part in parts(path) {
        if part == b".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out.join(&b'/')
}

/// A path below another.
pub(crate) fn join(path: &[u8], name: &[u8]) -> ImagePath {
    let mut joined = path.to_vec();
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// A path's last part.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// A path for people.
pub(crate) fn show(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Option<&str>)]) -> Tree {
        let mut tree = Tree::default();
        for (path, target) in entries {
            let mut node = Node::directory();
            if let Some(target) = target {
                node.kind = NodeKind::Symlink {
                    target: target.as_bytes().to_vec(),
                };
            }
            tree.insert(path.as_bytes().to_vec(), node);
        }
        tree
    }

    #[test]
    fn paths_lead_over_links_and_never_out() {
        let tree = tree(&[
            ("usr", None),
            ("usr/bin", None),
            ("bin", Some("usr/bin")),
            ("usr/lib", Some("/lib64")),
            ("out", Some("../../../etc")),
            ("a", Some("b")),
            ("b", Some("a")),
        ]);
        for (path, last, expected) in [
            ("bin/sh", LastLink::Follow, Some("usr/bin/sh")),
            ("/bin", LastLink::Follow, Some("usr/bin")),
            ("/bin", LastLink::Keep, Some("bin")),
            ("usr/lib/x", LastLink::Follow, Some("lib64/x")),
            ("out/passwd", LastLink::Follow, Some("etc/passwd")),
            ("../x/./y//z", LastLink::Follow, Some("x/y/z")),
            ("bin/../lib", LastLink::Keep, Some("usr/lib")),
            ("a/x", LastLink::Follow, None),
        ] {
            let resolved = tree.resolve(path.as_bytes(), last).ok();
            assert_eq!(resolved.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn children_are_named_once() {
        let tree = tree(&[
            ("a", None),
            ("a-b", None),
            ("a/x", None),
            ("a/x/y", None),
            ("c", None),
        ]);
        assert_eq!(
            tree.children(b""),
            [b"a".to_vec(), b"a-b".to_vec(), b"c".to_vec()]
        );
        assert_eq!(tree.children(b"a"), [b"x".to_vec()]);
        let mut cut = tree.clone();
        cut.remove(b"a");
        assert_eq!(cut.children(b""), [b"a-b".to_vec(), b"c".to_vec()]);
    }
}
