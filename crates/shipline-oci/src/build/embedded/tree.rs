//! A file system as it will be in an image: what each path is, and where its bytes are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use shipline_engine::archive::{LONGEST_PATH, Xattrs};
use shipline_model::name::Digest;

/// A path in an image: bytes without a leading slash; the root is empty.
pub(crate) type ImagePath = Vec<u8>;

/// How many symbolic links a path may lead over.
const MAX_LINKS: usize = 40;

/// How many folders may lie in each other. What people make has a few dozen; who walks over them keeps each of them.
const DEEPEST: usize = 256;

/// Bytes of memory that all paths of a file system may need, with what is known of each. The largest images have a few hundred
/// thousand files.
const HEAVIEST: u64 = 512 << 20;

/// What is known of a path without its texts, in bytes.
const WEIGHT: u64 = 192;

/// A file system as it will be in an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<ImagePath, Placed>,
    /// The layer that is being put over it, counted from the first.
    layer: u32,
    weight: u64,
    /// Folders of which this layer has hidden already what older ones put there: what is left is its own.
    hidden: BTreeSet<ImagePath>,
    hidden_weight: u64,
}

/// What stands at a path, and which layer put it there.
#[derive(Debug, Clone)]
struct Placed {
    node: Node,
    layer: u32,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Extended attributes, where it has any.
    pub(crate) xattrs: Option<Arc<Xattrs>>,
}

/// The kinds of things that stand at paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    File { content: Content, size: u64 },
    Symlink { target: Vec<u8> },
    Special(Special),
}

/// What is no file, and has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// By major and minor number.
    CharDevice(u32, u32),
    /// By major and minor number.
    BlockDevice(u32, u32),
    Fifo,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file on the disk, and what it was when it was seen.
    Disk(Arc<DiskFile>),
    /// A text of the Dockerfile.
    Text(Arc<[u8]>),
    /// An entry of a tar.
    Packed {
        archive: Archive,
        /// Which of its entries, from 0.
        entry: u64,
    },
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
            xattrs: None,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Bytes of its content.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File { size, .. } => size,
            NodeKind::Directory | NodeKind::Symlink { .. } | NodeKind::Special(_) => 0,
        }
    }
}

impl Tree {
    /// What stands at a path. The root is always a directory.
    pub(crate) fn get(&self, path: &[u8]) -> Option<Node> {
        match self.at(path) {
            None if path.is_empty() => Some(Node::directory()),
            node => node.cloned(),
        }
    }

    /// The same, without the root.
    pub(crate) fn at(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path).map(|placed| &placed.node)
    }

    /// Whether a directory stands at a path.
    pub(crate) fn has_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.at(path).is_some_and(Node::is_directory)
    }

    pub(crate) fn insert(&mut self, path: ImagePath, node: Node) {
        self.weight += weight(&path, &node);
        let placed = Placed {
            node,
            layer: self.layer,
        };
        if let Some(old) = self.nodes.get_mut(&path) {
            self.weight = self.weight.saturating_sub(weight(&path, &old.node));
            *old = placed;
        } else {
            self.nodes.insert(path, placed);
        }
    }

    /// Begins the next layer: what is there now lies below it.
    pub(crate) fn next_layer(&mut self) {
        self.layer += 1;
        self.hidden.clear();
        self.hidden_weight = 0;
    }

    /// Refuses more than any image has.
    pub(crate) fn fits(&self) -> Result<(), String> {
        if self.weight + self.hidden_weight > HEAVIEST {
            return Err(format!(
                "the names of all its files need more than {} MiB of memory",
                HEAVIEST >> 20
            ));
        }
        Ok(())
    }

    fn take(&mut self, path: &[u8]) {
        if let Some(gone) = self.nodes.remove(path) {
            self.weight = self.weight.saturating_sub(weight(path, &gone.node));
        }
    }

    /// Removes a path with everything below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let below: Vec<ImagePath> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.take(&path);
        }
        self.take(path);
    }

    /// Removes a path with everything below it, as far as the layers below this one put it there (OCI image specification,
    /// "Whiteouts").
    pub(crate) fn hide(&mut self, path: &[u8]) {
        self.hide_below(path);
        let older = |placed: &Placed| placed.layer < self.layer;
        if self.nodes.get(path).is_some_and(older) {
            let kept = self.below(path).next().is_some();
            self.take(path);
            if kept {
                self.insert(path.to_vec(), Node::directory());
            }
        }
    }

    /// The same for everything below a path (an "opaque whiteout").
    pub(crate) fn hide_below(&mut self, path: &[u8]) {
        // Looking again at what stays would take the square of the time.
        let above = |end: usize| self.hidden.contains(&path[..end]);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        if above(0) || above(path.len()) || ends.map(|(end, _)| end).any(above) {
            return;
        }
        self.hidden_weight += WEIGHT + path.len() as u64;
        self.hidden.insert(path.to_vec());
        let mut needed: BTreeSet<&[u8]> = BTreeSet::new();
        let mut old = Vec::new();
        for (candidate, placed) in self.below(path) {
            if placed.layer < self.layer {
                old.push(candidate.clone());
                continue;
            }
            // A directory above what stays is made anew.
            let mut above = &candidate[..];
            while let Some(end) = above.iter().rposition(|b| *b == b'/') {
                above = &above[..end];
                if above.len() <= path.len() || !needed.insert(above) {
                    break;
                }
            }
        }
        let needed: Vec<bool> = old
            .iter()
            .map(|path| needed.contains(path.as_slice()))
            .collect();
        for (path, needed) in old.into_iter().zip(needed) {
            self.take(&path);
            if needed {
                self.insert(path, Node::directory());
            }
        }
    }

    /// Everything below a path, in order.
    fn below<'a>(
        &'a self,
        path: &'a [u8],
    ) -> impl Iterator<Item = (&'a ImagePath, &'a Placed)> + 'a {
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
        resolve(path, last, &mut |path| Ok(self.link(path)))
    }

    /// Where the symbolic link at a path leads; `None` where it is none.
    pub(crate) fn link(&self, path: &[u8]) -> Option<Vec<u8>> {
        match &self.at(path)?.kind {
            NodeKind::Symlink { target } => Some(target.clone()),
            NodeKind::Directory | NodeKind::File { .. } | NodeKind::Special(_) => None,
        }
    }
}

fn weight(path: &[u8], node: &Node) -> u64 {
    let target = match &node.kind {
        NodeKind::Symlink { target } => target.len(),
        NodeKind::Directory | NodeKind::File { .. } | NodeKind::Special(_) => 0,
    };
    let xattrs = node.xattrs.iter().flat_map(|xattrs| xattrs.iter());
    let xattrs: usize = xattrs
        .map(|(name, value)| name.len() + value.len() + 100)
        .sum();
    WEIGHT + (path.len() + target + xattrs) as u64
}

/// Refuses a path that no file system takes.
pub(crate) fn possible(path: &[u8]) -> Result<(), String> {
    let cut = |path: &[u8]| String::from_utf8_lossy(&path[..path.len().min(100)]).into_owned();
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "a path has {} bytes, more than the {LONGEST_PATH} that Linux takes: `/{}…`",
            path.len(),
            cut(path)
        ));
    }
    if path.iter().filter(|b| **b == b'/').count() >= DEEPEST {
        return Err(format!(
            "more than {DEEPEST} folders lie in each other: `/{}…`",
            cut(path)
        ));
    }
    Ok(())
}

/// Gives a symbolic link's target; `None` where a path is none.
pub(crate) type LinkAt<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, String> + 'a;

/// Follows a path over symbolic links, never out of the root: `..` stops there. `link` gives the target where a path is a link.
pub(crate) fn resolve(
    path: &[u8],
    last: LastLink,
    link: &mut LinkAt<'_>,
) -> Result<ImagePath, String> {
    resolve_within(path, last, Outside::Stop, link)
}

/// What becomes of a `..` that leads out of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    /// It stays at the root.
    Stop,
    /// It is an error.
    Refuse,
}

/// Follows a path over symbolic links, never out of the root.
pub(crate) fn resolve_within(
    path: &[u8],
    last: LastLink,
    outside: Outside,
    link: &mut LinkAt<'_>,
) -> Result<ImagePath, String> {
    let mut open: Vec<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    open.reverse();
    let mut at: ImagePath = Vec::new();
    let mut links = 0;
    while let Some(part) = open.pop() {
        if part == b".." {
            if at.is_empty() && outside == Outside::Refuse {
                return Err(format!(
                    "`{}` leads out of the archive's own folder",
                    String::from_utf8_lossy(path)
                ));
            }
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
    fn a_layer_hides_what_lies_below_it_and_not_its_own() {
        let mut tree = tree(&[
            ("d", None),
            ("d/old", None),
            ("d/old/x", None),
            ("d/mixed", None),
            ("d/mixed/old", None),
            ("d-e", None),
        ]);
        let mut own = Node::directory();
        own.mode = 0o700;
        tree.next_layer();
        tree.insert(b"d/mixed/new".to_vec(), own.clone());
        tree.insert(b"d/new".to_vec(), own);
        let mut all = tree.clone();
        tree.hide_below(b"d");
        assert_eq!(tree.children(b"d"), [b"mixed".to_vec(), b"new".to_vec()]);
        assert_eq!(tree.children(b"d/mixed"), [b"new".to_vec()]);
        assert_eq!(tree.children(b""), [b"d".to_vec(), b"d-e".to_vec()]);
        all.hide(b"d/old");
        all.hide(b"d/new");
        all.hide(b"d/mixed");
        assert_eq!(all.children(b"d"), [b"mixed".to_vec(), b"new".to_vec()]);
        assert_eq!(all.children(b"d/mixed"), [b"new".to_vec()]);
        all.remove(b"d");
        all.remove(b"d-e");
        assert_eq!(all.weight, 0);
    }

    #[test]
    fn what_was_hidden_once_is_not_looked_at_again_in_this_layer() {
        let mut tree = tree(&[
            ("d", None),
            ("d/old", None),
            ("d/in", None),
            ("d/in/old", None),
        ]);
        tree.next_layer();
        tree.hide_below(b"d");
        for path in ["d/in", "d/in/new", "d/new"] {
            tree.insert(path.into(), Node::directory());
        }
        for path in ["d", "d/in", "d/in/new"] {
            tree.hide_below(path.as_bytes());
        }
        assert_eq!(tree.hidden.len(), 1);
        assert_eq!(tree.children(b"d"), [b"in".to_vec(), b"new".to_vec()]);
        assert_eq!(tree.children(b"d/in"), [b"new".to_vec()]);
        // For the next layer all of this is older.
        tree.next_layer();
        tree.hide(b"d/in");
        assert_eq!(tree.children(b"d"), [b"new".to_vec()]);
        tree.hide_below(b"");
        assert_eq!(tree.children(b"").len(), 0);
    }

    #[test]
    fn impossible_paths_are_refused() {
        assert!(possible(&b"a/".repeat(255)).is_ok());
        assert!(possible(&b"a/".repeat(256)).is_err());
        assert!(possible(&b"a".repeat(4096)).is_ok());
        assert!(possible(&b"a".repeat(4097)).is_err());
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
