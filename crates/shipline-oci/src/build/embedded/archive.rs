//! Tars as sources: the layers of a base image, and the local archives that ADD unpacks.
//!
//! Layers are put over each other as containerd does it, which unpacks them for BuildKit; archives are unpacked as BuildKit's own
//! code for ADD does it. The two differ in what leads out of their root, in whiteouts and in devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipline_engine::archive::{
    BLOCK, Compression, Entry, EntryKind, TarReader, Xattrs, decompressed, is_header,
};
use shipline_engine::backend::ImageStore;
use shipline_engine::task::TaskContext;

use super::copy::Changes;
use super::tree::{
    Archive, Content, DiskFile, ImagePath, LastLink, Node, NodeKind, Outside, Special, Stamp, Tree,
    join, name, possible, resolve_within, show,
};

/// Bytes of an entry's path that an error shows.
const LONGEST_SHOWN: usize = 200;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Attributes that a file system of layers keeps for itself: no image may set them.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// An archive that ADD unpacks.
pub(crate) struct Packed {
    archive: Archive,
    file: Arc<DiskFile>,
}

/// Looks whether a file is an archive; `None` where it is any other file.
pub(crate) fn packed(content: &Content) -> Result<Option<Packed>, String> {
    let Content::Disk(file) = content else {
        // Texts and entries of tars are small or have been unpacked once: Docker looks into files only.
        return Ok(None);
    };
    let failed = |error: io::Error| unreadable(&file.path, &error);
    let opened = File::open(&file.path).map_err(failed)?;
    let (compression, mut reader) = decompressed(opened, Compression::of).map_err(failed)?;
    let mut header = [0; BLOCK];
    match read_full(&mut *reader, &mut header) {
        Ok(BLOCK) if is_header(&header) => Ok(Some(Packed {
            archive: Archive::File(Arc::clone(file)),
            file: Arc::clone(file),
        })),
        // It is an archive that we do not unpack, and no file that only looks like one.
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(unreadable(
            &file.path,
            &io::Error::other(format!(
                "its {compression} compression needs more memory than any usual archive ({error})"
            )),
        )),
        Ok(_) | Err(_) => Ok(None),
    }
}

impl Packed {
    /// Unpacks it into `root`, a directory of the tree. Gives the devices that it leaves out, as BuildKit does.
    pub(crate) fn unpack(
        &self,
        tree: &mut Tree,
        changes: &mut Changes,
        root: &[u8],
        owner: Option<(u64, u64)>,
        task: &TaskContext,
    ) -> Result<Vec<ImagePath>, String> {
        let failed = |error: io::Error| unreadable(&self.file.path, &error);
        let opened = File::open(&self.file.path).map_err(failed)?;
        let (_, reader) = decompressed(opened, Compression::of).map_err(failed)?;
        let mut unpacking = Unpacking {
            tree,
            changes: Some(changes),
            archive: &self.archive,
            root,
            way: Way::Added { owner },
            left_out: Vec::new(),
        };
        unpacking
            .all(Stoppable { from: reader, task })
            .map_err(failed)?;
        Ok(unpacking.left_out)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("archive `{}` cannot be unpacked: {error}", path.display())
}

/// Puts a layer over a tree.
pub(crate) fn put_layer(tree: &mut Tree, archive: &Archive, reader: impl Read) -> io::Result<()> {
    tree.next_layer();
    Unpacking {
        tree,
        changes: None,
        archive,
        root: b"",
        way: Way::Layer,
        left_out: Vec::new(),
    }
    .all(reader)
}

/// How entries are taken.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Of a layer: `.wh.` names hide what lies below, and what leads out of the root stays at it.
    Layer,
    /// Of an archive in a build context: nothing may lead out of it, and everything may get another owner.
    Added { owner: Option<(u64, u64)> },
}

/// An archive on its way into a tree.
struct Unpacking<'t> {
    tree: &'t mut Tree,
    changes: Option<&'t mut Changes>,
    archive: &'t Archive,
    /// The directory from which its paths are seen.
    root: &'t [u8],
    way: Way,
    left_out: Vec<ImagePath>,
}

impl Unpacking<'_> {
    fn all(&mut self, reader: impl Read) -> io::Result<()> {
        let mut tar = TarReader::new(reader);
        while let Some(entry) = tar.next_entry()? {
            let path = entry.path.clone();
            self.entry(entry)
                .and_then(|()| self.tree.fits())
                .map_err(|why| {
                    let cut = &path[..path.len().min(LONGEST_SHOWN)];
                    io::Error::other(format!("`{}`: {why}", String::from_utf8_lossy(cut)))
                })?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let path = self.clean(&entry.path)?;
        let (folder, file_name) = split(&path);
        if file_name.is_empty() {
            // The root itself is made by whoever unpacks.
            return Ok(());
        }
        let hidden = match self.way {
            Way::Layer => file_name.strip_prefix(WHITEOUT),
            Way::Added { .. } => None,
        };
        if let Some(hidden) = hidden {
            let folder = self.real(folder)?;
            match hidden {
                _ if file_name == OPAQUE => self.tree.hide_below(&folder),
                // `.wh..` and `.wh...` would hide the folder or the one above; aufs kept notes under `.wh..wh.`.
                b"" | b"." | b".." => {}
                hidden if hidden.starts_with(WHITEOUT) => {}
                hidden => self.tree.hide(&join(&folder, hidden)),
            }
            return Ok(());
        }
        let skipped = matches!(
            (&entry.kind, self.way),
            (
                EntryKind::CharDevice(..) | EntryKind::BlockDevice(..),
                Way::Added { .. }
            )
        );
        if skipped {
            self.left_out.push(below(self.root, &path));
            return Ok(());
        }
        let folder = self.folder(folder)?;
        let to = join(&folder, file_name);
        possible(&to)?;
        let merges = entry.kind == EntryKind::Directory && self.tree.has_directory(&to);
        if !merges {
            self.remove(&to);
        }
        let node = self.node(entry)?;
        self.place(to, node);
        Ok(())
    }

    /// What an entry becomes.
    fn node(&self, entry: Entry) -> Result<Node, String> {
        let mut xattrs = kept(entry.xattrs);
        let kind = match entry.kind {
            EntryKind::File { .. } => NodeKind::File {
                content: Content::Packed {
                    archive: self.archive.clone(),
                    entry: entry.index,
                },
                size: entry.size,
            },
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::Symlink { target } => NodeKind::Symlink { target },
            EntryKind::HardLink { target } => {
                let path = self.clean(&target)?;
                let (folder, file_name) = split(&path);
                let folder = self.real(folder)?;
                let linked = (!file_name.is_empty())
                    .then(|| self.tree.at(&join(&folder, file_name)))
                    .flatten();
                match linked {
                    Some(node) if !node.is_directory() => {
                        // What is set anew is set for both; the rest is the file's.
                        for (name, value) in node.xattrs.iter().flat_map(|known| known.iter()) {
                            xattrs.entry(name.clone()).or_insert_with(|| value.clone());
                        }
                        node.kind.clone()
                    }
                    Some(_) | None => {
                        return Err(format!(
                            "it is a hard link to `{}`, which is no file of the archive or below it",
                            String::from_utf8_lossy(&target)
                        ));
                    }
                }
            }
            EntryKind::CharDevice(major, minor) => {
                NodeKind::Special(Special::CharDevice(major, minor))
            }
            EntryKind::BlockDevice(major, minor) => {
                NodeKind::Special(Special::BlockDevice(major, minor))
            }
            EntryKind::Fifo => NodeKind::Special(Special::Fifo),
            EntryKind::Unknown(flag) => {
                return Err(format!(
                    "it is of the kind `{}`, which no engine unpacks",
                    flag.escape_ascii()
                ));
            }
        };
        let owner = match self.way {
            Way::Added { owner } => owner,
            Way::Layer => None,
        };
        let (uid, gid) = owner.unwrap_or((u64::from(entry.uid), u64::from(entry.gid)));
        Ok(Node {
            kind,
            mode: entry.mode,
            uid,
            gid,
            xattrs: (!xattrs.is_empty()).then(|| Arc::new(xattrs)),
        })
    }

    fn outside(&self) -> Outside {
        match self.way {
            Way::Layer => Outside::Stop,
            Way::Added { .. } => Outside::Refuse,
        }
    }

    /// A path of the archive without `.` and `..`.
    fn clean(&self, path: &[u8]) -> Result<ImagePath, String> {
        resolve_within(path, LastLink::Follow, self.outside(), &mut |_| Ok(None))
    }

    /// Where a path of the archive lies in the tree, over the links that lie there.
    fn real(&self, path: &[u8]) -> Result<ImagePath, String> {
        // Nothing lies below what is no directory: where one is found, no link leads there.
        let straight = below(self.root, path);
        if self.tree.has_directory(&straight) {
            return Ok(straight);
        }
        let (tree, root) = (&*self.tree, self.root);
        let link = &mut |path: &[u8]| Ok(tree.link(&below(root, path)));
        let found = resolve_within(path, LastLink::Follow, self.outside(), link)?;
        Ok(below(self.root, &found))
    }

    /// The directory of an entry; a tar need not list those above its entries.
    fn folder(&mut self, path: &[u8]) -> Result<ImagePath, String> {
        let real = self.real(path)?;
        if self.tree.has_directory(&real) {
            return Ok(real);
        }
        possible(&real)?;
        let ends = real.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = ends.map(|(end, _)| end).chain([real.len()]).collect();
        for end in ends {
            let above = &real[..end];
            match self.tree.at(above) {
                None => self.place(above.to_vec(), Node::directory()),
                Some(node) if node.is_directory() => {}
                Some(_) => {
                    return Err(format!(
                        "`{}` is not a directory, and an archive has entries below it",
                        show(above)
                    ));
                }
            }
        }
        Ok(real)
    }

    fn place(&mut self, path: ImagePath, node: Node) {
        if let Some(changes) = &mut self.changes {
            changes.insert(path.clone(), node.clone());
        }
        self.tree.insert(path, node);
    }

    fn remove(&mut self, path: &[u8]) {
        if self.tree.at(path).is_none() {
            return;
        }
        self.tree.remove(path);
        if let Some(changes) = &mut self.changes {
            let start = join(path, b"");
            let below = changes.range(start.clone()..).map(|(path, _)| path);
            let below: Vec<ImagePath> = below
                .take_while(|path| path.starts_with(&start))
                .cloned()
                .collect();
            for path in below {
                changes.remove(&path);
            }
        }
    }
}

/// A path of an archive, seen from the root of the image.
fn below(root: &[u8], path: &[u8]) -> ImagePath {
    match path {
        b"" => root.to_vec(),
        path => join(root, path),
    }
}

/// A path's folder and its last part.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let name = name(path);
    let folder = &path[..path.len() - name.len()];
    (folder.strip_suffix(b"/").unwrap_or(folder), name)
}

fn kept(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|name, _| !OVERLAY.iter().any(|own| name.starts_with(own)));
    xattrs
}

/// Files of tars that a layer needs, one behind the other in one file on the disk for each tar: tars can be read in their own order
/// only. Files without content are not in it.
pub(crate) struct Spool {
    directory: PathBuf,
    archives: BTreeMap<String, Spooled>,
}

/// What is fetched of one archive.
struct Spooled {
    file: File,
    /// Where each entry begins in the file.
    starts: BTreeMap<u64, u64>,
}

impl Spool {
    /// A spool in an empty directory of its own.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            archives: BTreeMap::new(),
        }
    }

    /// Fetches these entries of an archive, which it was not asked for before.
    pub(crate) fn fetch(
        &mut self,
        archive: &Archive,
        mut wanted: BTreeSet<u64>,
        store: &dyn ImageStore,
        task: &TaskContext,
    ) -> Result<(), String> {
        if wanted.is_empty() {
            return Ok(());
        }
        let id = id(archive);
        let failed = |error: io::Error| format!("{id} cannot be unpacked: {error}");
        let path = self.directory.join(self.archives.len().to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        let (mut starts, mut end) = (BTreeMap::new(), 0);
        let mut tar = TarReader::new(open(archive, store, task)?);
        while let Some(entry) = tar.next_entry().map_err(failed)? {
            if !wanted.remove(&entry.index) {
                continue;
            }
            starts.insert(entry.index, end);
            end += io::copy(&mut tar, &mut out).map_err(failed)?;
            if wanted.is_empty() {
                break;
            }
        }
        let file = out
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        self.archives.insert(id, Spooled { file, starts });
        Ok(())
    }

    /// The file in which a fetched entry lies, and where it begins.
    pub(crate) fn find(&self, archive: &Archive, entry: u64) -> Option<(&File, u64)> {
        let spooled = self.archives.get(&id(archive))?;
        Some((&spooled.file, *spooled.starts.get(&entry)?))
    }
}

/// A stream that ends with an error where its task is stopped: a few compressed bytes can be hours of reading.
struct Stoppable<'t, R> {
    from: R,
    task: &'t TaskContext,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.task.is_cancelled() {
            return Err(io::Error::other("the task was stopped"));
        }
        self.from.read(buffer)
    }
}

/// What tells archives apart, for keys and for people.
fn id(archive: &Archive) -> String {
    match archive {
        Archive::Layer(digest) => format!("layer {digest}"),
        Archive::File(file) => format!("archive {}", file.path.display()),
    }
}

/// An archive's tar, decompressed.
pub(crate) fn open<'t>(
    archive: &Archive,
    store: &dyn ImageStore,
    task: &'t TaskContext,
) -> Result<impl Read + use<'t>, String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", id(archive));
    let opened = match archive {
        Archive::Layer(digest) => {
            let blob = store
                .open(digest)
                .map_err(|error| format!("{} cannot be read: {error}", id(archive)))?;
            decompressed(blob, Compression::of_layer)
        }
        Archive::File(file) => {
            let opened = File::open(&file.path).map_err(failed)?;
            if Stamp::of(&opened.metadata().map_err(failed)?) != file.stamp {
                return Err(format!(
                    "`{}` changed during the build",
                    file.path.display()
                ));
            }
            decompressed(opened, Compression::of)
        }
    };
    let (_, from) = opened.map_err(failed)?;
    Ok(Stoppable { from, task })
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A small file of a tree, its links followed; `None` where there is none.
pub(crate) fn read_small(
    tree: &Tree,
    path: &[u8],
    store: &dyn ImageStore,
    task: &TaskContext,
) -> Result<Option<String>, String> {
    const LIMIT: u64 = 4 << 20;
    let real: ImagePath = tree.resolve(path, LastLink::Follow)?;
    let Some(Node {
        kind: NodeKind::File { content, size },
        ..
    }) = tree.get(&real)
    else {
        return Ok(None);
    };
    let shown = show(&real);
    if size > LIMIT {
        return Err(format!("`{shown}` is too large"));
    }
    let failed = |error: io::Error| format!("`{shown}` cannot be read: {error}");
    let mut bytes = Vec::new();
    match content {
        Content::Text(text) => bytes.extend_from_slice(&text),
        Content::Disk(file) => {
            File::open(&file.path)
                .and_then(|opened| opened.take(LIMIT).read_to_end(&mut bytes))
                .map_err(failed)?;
        }
        Content::Packed { archive, entry } => {
            let mut tar = TarReader::new(open(&archive, store, task)?);
            while let Some(packed) = tar.next_entry().map_err(failed)? {
                if packed.index == entry {
                    tar.read_to_end(&mut bytes).map_err(failed)?;
                    break;
                }
            }
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use shipline_model::plan::TaskId;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn task(cancel: &CancellationToken) -> TaskContext {
        let id = TaskId {
            stage: "build".parse().unwrap(),
            component: None,
            variant: None,
        };
        TaskContext::new(id, tokio::sync::mpsc::channel(1).0, cancel.clone())
    }

    /// An archive of a file of some bytes and of many empty ones.
    fn archive(path: PathBuf, empty: usize) -> (Archive, Content) {
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add("full".to_owned(), b"0123");
        for number in 0..empty {
            add(format!("empty-{number}"), b"");
        }
        add("last".to_owned(), b"45");
        tar.into_inner().unwrap().flush().unwrap();
        let stamp = Stamp::of(&path.metadata().unwrap());
        let file = Arc::new(DiskFile { path, stamp });
        (Archive::File(Arc::clone(&file)), Content::Disk(file))
    }

    #[test]
    fn a_stopped_task_ends_the_reading_of_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, content) = archive(folder.path().join("a.tar"), 2000);
        let cancel = CancellationToken::new();
        let task = task(&cancel);
        let unpack = || {
            let (mut tree, mut changes) = (Tree::default(), Changes::new());
            let packed = packed(&content).unwrap().unwrap();
            let done = packed.unpack(&mut tree, &mut changes, b"", None, &task);
            done.map(|_| changes.len())
        };
        assert_eq!(unpack(), Ok(2002));
        cancel.cancel();
        assert!(unpack().unwrap_err().contains("the task was stopped"));
        let layout = crate::store::LayoutStore::foreign(folder.path().join("store"));
        let mut spool = Spool::new(folder.path().to_owned());
        let fetched = spool.fetch(&archive, [0, 2001].into(), &layout, &task);
        assert!(fetched.unwrap_err().contains("the task was stopped"));
    }

    #[test]
    fn the_files_of_an_archive_lie_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, _) = archive(folder.path().join("a.tar"), 3);
        let task = task(&CancellationToken::new());
        let layout = crate::store::LayoutStore::foreign(folder.path().join("store"));
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let mut spool = Spool::new(scratch.clone());
        spool
            .fetch(&archive, [0, 4].into(), &layout, &task)
            .unwrap();
        assert_eq!(std::fs::read(scratch.join("0")).unwrap(), b"012345");
        assert_eq!(scratch.read_dir().unwrap().count(), 1);
        let starts = [0, 4, 1].map(|entry| spool.find(&archive, entry).map(|(_, start)| start));
        assert_eq!(starts, [Some(0), Some(4), None]);
    }
}
