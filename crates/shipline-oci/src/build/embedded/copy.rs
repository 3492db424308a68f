//! COPY and ADD: which paths of a source become which paths of an image, by Docker's rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipline_engine::task::TaskContext;

use super::archive::{self, Packed};
use super::context::{Seen, Source, follow, glob};
use super::mode::ModeChange;
use super::tree::{
    Content, ImagePath, LastLink, Node, NodeKind, Special, Tree, join, name, normal, parts,
    possible, show,
};
use crate::build::dockerfile::{CopyKind, Parents};
use crate::build::ignore::{Ignore, Matched};

/// What a layer holds, by path.
pub(crate) type Changes = BTreeMap<ImagePath, Node>;

/// How a COPY or ADD changes what it copies.
pub(crate) struct Rules {
    pub(crate) kind: CopyKind,
    /// User and group of everything copied; the source's where absent.
    pub(crate) owner: Option<(u64, u64)>,
    pub(crate) mode: Option<ModeChange>,
    pub(crate) exclude: Ignore,
    pub(crate) parents: Parents,
}

/// One source of a COPY, expanded.
pub(crate) enum Item {
    /// A path or pattern.
    Path(String),
    /// A file whose text stands in the Dockerfile.
    Text { name: String, text: Arc<[u8]> },
}

/// A COPY being carried out: the stage's file system, which changes, and the changes, which become its layer.
pub(crate) struct Copying<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) changes: Changes,
    pub(crate) rules: Rules,
    pub(crate) source: &'a dyn Source,
    task: &'a TaskContext,
    /// For people.
    pub(crate) notes: Vec<String>,
    /// Paths that `--parents` took.
    pub(super) taken: usize,
}

impl<'a> Copying<'a> {
    pub(crate) fn new(
        tree: &'a mut Tree,
        rules: Rules,
        source: &'a dyn Source,
        task: &'a TaskContext,
    ) -> Self {
        Self {
            tree,
            changes: Changes::new(),
            rules,
            source,
            task,
            notes: Vec::new(),
            taken: 0,
        }
    }
}

impl Copying<'_> {
    /// Copies all items to `destination` (absolute; a trailing slash says that it is a directory).
    pub(crate) fn run(&mut self, items: &[Item], destination: &str) -> Result<(), String> {
        let slash = destination.ends_with('/');
        let target = self
            .tree
            .resolve(destination.as_bytes(), LastLink::Follow)?;
        let into = slash
            || self
                .tree
                .get(&target)
                .is_some_and(|there| there.is_directory());
        if items.len() > 1 && !into {
            return Err(format!(
                "with several sources the destination must be a directory and end with `/`: `{destination}/`"
            ));
        }
        for item in items {
            match item {
                Item::Text { name, text } => {
                    let node = Node {
                        kind: NodeKind::File {
                            content: Content::Text(Arc::clone(text)),
                            size: text.len() as u64,
                        },
                        mode: 0o644,
                        uid: 0,
                        gid: 0,
                        xattrs: None,
                    };
                    let path = self.file_target(&target, slash, name.as_bytes());
                    self.file(path, node)?;
                }
                Item::Path(pattern) if self.rules.parents == Parents::Kept => {
                    self.with_parents(pattern, &target)?;
                }
                Item::Path(pattern) => {
                    let found = glob(self.source, pattern)?;
                    let wild = crate::build::pattern::has_wildcard(pattern);
                    if wild && found.is_empty() {
                        self.notes.push(format!(
                            "`{pattern}` matches nothing in {}",
                            self.source.describe()
                        ));
                    }
                    if found.len() > 1 && !into {
                        return Err(format!(
                            "`{pattern}` matches {} paths: the destination must be a directory and end with `/`: `{destination}/`",
                            found.len()
                        ));
                    }
                    for path in found {
                        self.path(&path, &target, slash)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a file goes: into the destination where that is a directory, else it is the destination.
    fn file_target(&self, target: &[u8], slash: bool, file: &[u8]) -> ImagePath {
        if slash
            || self
                .tree
                .get(target)
                .is_some_and(|node| node.is_directory())
        {
            join(target, file)
        } else {
            target.to_vec()
        }
    }

    fn path(&mut self, path: &[u8], target: &[u8], slash: bool) -> Result<(), String> {
        let real = follow(self.source, path)?;
        let missing = || {
            let leads = if real == path {
                String::new()
            } else {
                format!(" (it leads to `{}`)", show(&real))
            };
            format!("{}{leads}", self.source.missing(path))
        };
        match self.source.see(&real)? {
            Seen::Nothing => Err(missing()),
            Seen::Hollow => {
                let before = self.changes.len();
                self.contents(&real, target)?;
                if self.changes.len() == before {
                    return Err(missing());
                }
                Ok(())
            }
            Seen::Node(node) if node.is_directory() => {
                self.destination(target)?;
                self.contents(&real, target)
            }
            Seen::Node(node) => {
                let excluded = {
                    let (_, excluded) = self.rules.exclude.enter(
                        &self.rules.exclude.root(),
                        &String::from_utf8_lossy(name(path)),
                    );
                    excluded
                };
                if excluded {
                    return Ok(());
                }
                if self.rules.kind == CopyKind::Add
                    && let NodeKind::File { content, .. } = &node.kind
                    && let Some(packed) = archive::packed(content)?
                {
                    return self.unpacked(&packed, target);
                }
                let path = self.file_target(target, slash, name(path));
                self.file(path, node)
            }
        }
    }

    /// Copies what a directory holds into `target`. Nothing of the directory itself is copied: where `target` is new, it is
    /// made like the directories above it.
    fn contents(&mut self, directory: &[u8], target: &[u8]) -> Result<(), String> {
        let root = self.rules.exclude.root();
        self.children(directory, target, &[], &root)
    }

    /// Makes the directory into which things are copied.
    pub(super) fn destination(&mut self, target: &[u8]) -> Result<(), String> {
        self.made(target, Way::Copied)
    }

    /// Makes a destination's directory, with those above it, where it is not there yet.
    fn made(&mut self, target: &[u8], way: Way) -> Result<(), String> {
        match self.tree.get(target) {
            Some(there) if there.is_directory() => Ok(()),
            Some(_) => Err(format!(
                "`{}` is not a directory, and {} it",
                show(target),
                match way {
                    Way::Copied => "a directory is copied to",
                    Way::Unpacked => "an archive is unpacked into",
                }
            )),
            None => self.parents(&join(target, b"x"), way),
        }
    }

    fn children(
        &mut self,
        directory: &[u8],
        target: &[u8],
        relative: &[u8],
        above: &Matched,
    ) -> Result<(), String> {
        for (child, listed) in self.source.listing(directory)? {
            if self.task.is_cancelled() {
                return Err("the task was stopped".to_owned());
            }
            let path = join(directory, &child);
            let relative = join(relative, &child);
            possible(&relative)?;
            let (state, excluded) = self
                .rules
                .exclude
                .enter(above, &String::from_utf8_lossy(&relative));
            if excluded
                && !self
                    .rules
                    .exclude
                    .may_keep_below(&String::from_utf8_lossy(&relative))
            {
                continue;
            }
            let seen = self.source.see_listed(&path, listed)?;
            let to = join(target, &child);
            match seen {
                Seen::Nothing => {}
                Seen::Hollow => self.children(&path, &to, &relative, &state)?,
                Seen::Node(node) if node.is_directory() => {
                    let to = if excluded {
                        to
                    } else {
                        self.directory(to, node)?
                    };
                    self.children(&path, &to, &relative, &state)?;
                }
                Seen::Node(_) if excluded => {}
                Seen::Node(node) => self.file(to, node)?,
            }
        }
        Ok(())
    }

    /// Makes a directory, or takes the one that is there; gives the path under which it is really found.
    pub(super) fn directory(&mut self, path: ImagePath, node: Node) -> Result<ImagePath, String> {
        let there = self.tree.get(&path);
        let real = match there.map(|there| there.kind) {
            Some(NodeKind::Symlink { .. }) => {
                // The base's own links stay: `bin` may be a link to `usr/bin`.
                let real = self.tree.resolve(&path, LastLink::Follow)?;
                return match self.tree.get(&real) {
                    Some(node) if node.is_directory() => Ok(real),
                    _ => Err(format!(
                        "`{}` is a symbolic link that leads to no directory, and a directory is copied to it",
                        show(&path)
                    )),
                };
            }
            Some(NodeKind::Directory) | None => path,
            Some(NodeKind::File { .. } | NodeKind::Special(_)) => {
                return Err(format!(
                    "`{}` is not a directory, and a directory is copied to it",
                    show(&path)
                ));
            }
        };
        self.parents(&real, Way::Copied)?;
        let node = self.changed(node);
        self.place(real.clone(), node);
        Ok(real)
    }

    /// Puts a file, link or the like at a path.
    pub(super) fn file(&mut self, path: ImagePath, node: Node) -> Result<(), String> {
        if node.kind == NodeKind::Special(Special::CharDevice(0, 0)) {
            return Err(format!(
                "`{}` would be the device 0:0, by which engines mark what a layer deletes",
                show(&path)
            ));
        }
        if self
            .tree
            .get(&path)
            .is_some_and(|there| there.is_directory())
        {
            return Err(format!(
                "`{}` is a directory, and a file is copied to it",
                show(&path)
            ));
        }
        self.parents(&path, Way::Copied)?;
        let node = self.changed(node);
        self.place(path, node);
        Ok(())
    }

    /// Makes the directories above a path that are not there yet. They have the owner of what is copied, and its mode where
    /// that is octal (BuildKit since Docker 28.1; before, they had 0755). For an archive the mode says nothing.
    fn parents(&mut self, path: &[u8], way: Way) -> Result<(), String> {
        let Some(last) = path.iter().rposition(|b| *b == b'/') else {
            return Ok(());
        };
        if self.tree.has_directory(&path[..last]) {
            return Ok(());
        }
        possible(path)?;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (end, _) in ends {
            let parent = &path[..end];
            match self.tree.at(parent) {
                Some(node) if node.is_directory() => {}
                Some(_) => {
                    return Err(format!(
                        "`{}` is not a directory, so that `{}` cannot be made",
                        show(parent),
                        show(path)
                    ));
                }
                None => self.parent(parent, way),
            }
        }
        Ok(())
    }

    /// Makes a directory in one that is there.
    fn parent(&mut self, parent: &[u8], way: Way) {
        let (uid, gid) = self.rules.owner.unwrap_or((0, 0));
        let mode = match (way, &self.rules.mode) {
            (Way::Copied, Some(ModeChange::Octal(mode))) => mode & 0o777,
            (Way::Copied, Some(ModeChange::Symbolic(_)) | None) | (Way::Unpacked, _) => 0o755,
        };
        if mode & 0o111 == 0 {
            self.notes.push(format!(
                "the directory `{}` gets the mode {mode:04o} of --chmod, so that only root can enter it: make it with WORKDIR before, or give --chmod an x (`u=rwX,go=rX`)",
                show(parent)
            ));
        }
        self.place(
            parent.to_vec(),
            Node {
                uid,
                gid,
                mode,
                ..Node::directory()
            },
        );
    }

    fn changed(&self, mut node: Node) -> Node {
        if let Some((uid, gid)) = self.rules.owner {
            (node.uid, node.gid) = (uid, gid);
        }
        if let Some(change) = &self.rules.mode {
            match node.kind {
                NodeKind::Directory => node.mode = change.apply(node.mode, true),
                NodeKind::File { .. } | NodeKind::Special(_) => {
                    node.mode = change.apply(node.mode, false);
                }
                NodeKind::Symlink { .. } => {}
            }
        }
        node
    }

    fn place(&mut self, path: ImagePath, node: Node) {
        self.tree.insert(path.clone(), node.clone());
        self.changes.insert(path, node);
    }

    /// Unpacks an archive into `target`. Its entries keep their modes, and replace what is in their way: a directory of an
    /// archive is no invitation to follow a link.
    fn unpacked(&mut self, archive: &Packed, target: &[u8]) -> Result<(), String> {
        self.made(target, Way::Unpacked)?;
        let left_out = archive.unpack(
            self.tree,
            &mut self.changes,
            target,
            self.rules.owner,
            self.task,
        )?;
        if let Some(first) = left_out.first() {
            let which = match left_out.len() {
                1 => "is a device, which ADD leaves".to_owned(),
                count => format!("and {} more are devices, which ADD leaves", count - 1),
            };
            self.notes
                .push(format!("`{}` {which} out (as BuildKit does)", show(first)));
        }
        Ok(())
    }
}

/// How things come to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Copied,
    Unpacked,
}

/// A destination as an absolute path: below the working directory where it is relative, its trailing slash kept.
pub(crate) fn absolute(destination: &str, workdir: &str) -> String {
    let slash = destination.ends_with('/') || destination == "." || destination.is_empty();
    let whole = if destination.starts_with('/') {
        destination.to_owned()
    } else {
        format!("{workdir}/{destination}")
    };
    let path = String::from_utf8_lossy(&normal(whole.as_bytes())).into_owned();
    match (path.is_empty(), slash) {
        (true, _) => "/".to_owned(),
        (false, true) => format!("/{path}/"),
        (false, false) => format!("/{path}"),
    }
}

/// Makes a directory with everything above it where it is not there yet, for this user and group: WORKDIR.
pub(crate) fn make_directory(
    tree: &mut Tree,
    path: &str,
    (uid, gid): (u64, u64),
) -> Result<Changes, String> {
    let mut changes = Changes::new();
    let real = tree.resolve(path.as_bytes(), LastLink::Follow)?;
    possible(&real)?;
    let mut at = ImagePath::new();
    for part in parts(&real) {
        at = join(&at, part);
        match tree.get(&at) {
            Some(node) if node.is_directory() => {}
            Some(_) => return Err(format!("`{}` is not a directory", show(&at))),
            None => {
                let node = Node {
                    uid,
                    gid,
                    ..Node::directory()
                };
                tree.insert(at.clone(), node.clone());
                changes.insert(at.clone(), node);
            }
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn destinations() {
        for (destination, workdir, expected) in [
            ("/a/b", "/", "/a/b"),
            ("b", "/srv", "/srv/b"),
            (".", "/srv", "/srv/"),
            ("./", "/srv", "/srv/"),
            ("", "/srv", "/srv/"),
            ("/", "/srv", "/"),
            (".", "/", "/"),
            ("../x/", "/a/b", "/a/x/"),
            ("/a//b/../c/", "/", "/a/c/"),
        ] {
            assert_eq!(
                absolute(destination, workdir),
                expected,
                "{destination} in {workdir}"
            );
        }
    }
}
