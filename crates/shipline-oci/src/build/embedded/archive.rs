//! Tars as sources: the layers of a base image, and the local archives that ADD unpacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipline_engine::backend::ImageStore;

use super::compression::{Compression, MAGIC};
use super::tree::{
    Archive, Content, ImagePath, LastLink, Node, NodeKind, Stamp, Tree, join, normal,
};

/// What is in an archive.
pub(crate) struct Unpacked {
    pub(crate) tree: Tree,
    /// Directories that it does not list, and that its entries need.
    pub(crate) implied: BTreeSet<ImagePath>,
}

/// The tree of an archive, where a file is one; `None` where it is any other file.
pub(crate) fn unpack(content: &Content) -> Result<Option<Unpacked>, String> {
    let Content::Disk(file) = content else {
        // Texts and entries of tars are small or have been unpacked once: Docker looks into files only.
        return Ok(None);
    };
    let shown = file.path.display();
    let failed = |error: io::Error| format!("archive `{shown}` cannot be read: {error}");
    let mut opened = File::open(&file.path).map_err(failed)?;
    let mut magic = [0; MAGIC];
    let length = read_full(&mut opened, &mut magic).map_err(failed)?;
    let compression = Compression::of(&magic[..length]);
    opened.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = compression.reader(opened);
    let mut header = [0; 512];
    let full = matches!(read_full(&mut reader, &mut header), Ok(512));
    if !full || !is_tar(&header) {
        return Ok(None);
    }
    let archive = Archive::File(Arc::clone(file));
    let mut tree = Tree::default();
    let implied = apply(
        &mut tree,
        &archive,
        io::Cursor::new(header).chain(reader),
        Marks::AsFiles,
    )
    .map_err(failed)?;
    Ok(Some(Unpacked { tree, implied }))
}

/// Whether `.wh.` names remove what lies below, as in layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    Whiteouts,
    AsFiles,
}

/// Puts the entries of a tar over a tree. Gives the directories that it needs and does not list.
pub(crate) fn apply(
    tree: &mut Tree,
    archive: &Archive,
    reader: impl Read,
    marks: Marks,
) -> io::Result<BTreeSet<ImagePath>> {
    let mut implied = BTreeSet::new();
    let mut tar = tar::Archive::new(reader);
    for entry in tar.entries()? {
        let entry = entry?;
        let header = entry.header();
        let path = normal(&entry.path_bytes());
        let file_name = super::tree::name(&path).to_vec();
        if marks == Marks::Whiteouts
            && let Some(removed) = file_name.strip_prefix(b".wh.")
        {
            let parent = path[..path.len() - file_name.len()].strip_suffix(b"/");
            let parent = parent.unwrap_or_default().to_vec();
            if file_name == b".wh..wh..opq" {
                tree.clear(&parent);
            } else if !removed.starts_with(b".wh.") {
                tree.remove(&join(&parent, removed));
            }
            continue;
        }
        let kind = header.entry_type();
        let content = || Content::Packed {
            archive: archive.clone(),
            entry: entry.path_bytes().into_owned().into(),
        };
        let kind = if kind.is_dir() {
            NodeKind::Directory
        } else if kind.is_symlink() {
            NodeKind::Symlink {
                target: entry.link_name_bytes().unwrap_or_default().into_owned(),
            }
        } else if kind.is_hard_link() {
            let target = normal(&entry.link_name_bytes().unwrap_or_default());
            match tree.get(&target) {
                Some(node) => node.kind,
                None => {
                    return Err(io::Error::other(format!(
                        "hard link `{}` leads to nothing",
                        String::from_utf8_lossy(&path)
                    )));
                }
            }
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            NodeKind::File {
                content: content(),
                size: entry.size(),
            }
        } else if kind.is_pax_global_extensions() {
            continue;
        } else {
            NodeKind::Other
        };
        if kind != NodeKind::Directory && !path.is_empty() {
            tree.clear(&path);
        }
        // A tar need not list the directories above its entries.
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if tree.get(&path[..end]).is_none() {
                tree.insert(path[..end].to_vec(), Node::directory());
                implied.insert(path[..end].to_vec());
            }
        }
        implied.remove(&path);
        tree.insert(
            path,
            Node {
                kind,
                mode: header.mode()? & 0o7777,
                uid: header.uid()?,
                gid: header.gid()?,
            },
        );
    }
    Ok(implied)
}

/// Files of tars that a layer needs, written next to each other on the disk: tars can be read in their own order only.
pub(crate) struct Spool {
    directory: PathBuf,
    next: u64,
    files: BTreeMap<(String, Vec<u8>), PathBuf>,
}

impl Spool {
    /// A spool in an empty directory of its own.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            next: 0,
            files: BTreeMap::new(),
        }
    }

    /// Fetches these entries of an archive.
    pub(crate) fn fetch(
        &mut self,
        archive: &Archive,
        entries: &[&[u8]],
        store: &dyn ImageStore,
    ) -> Result<(), String> {
        let id = id(archive);
        let mut wanted: Vec<&[u8]> = entries
            .iter()
            .copied()
            .filter(|entry| !self.files.contains_key(&(id.clone(), entry.to_vec())))
            .collect();
        wanted.sort_unstable();
        if wanted.is_empty() {
            return Ok(());
        }
        let failed = |error: io::Error| format!("{id} cannot be unpacked: {error}");
        let reader = open(archive, store)?;
        let mut tar = tar::Archive::new(reader);
        for entry in tar.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let path = entry.path_bytes().into_owned();
            let kind = entry.header().entry_type();
            let is_file = kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse();
            if !is_file || wanted.binary_search(&path.as_slice()).is_err() {
                continue;
            }
            let file = self.directory.join(self.next.to_string());
            self.next += 1;
            let mut out = File::create(&file).map_err(failed)?;
            crate::store::copy(&mut entry, &mut out).map_err(failed)?;
            out.flush().map_err(failed)?;
            self.files.insert((id.clone(), path), file);
        }
        Ok(())
    }

    /// Where a fetched entry lies.
    pub(crate) fn file(&self, archive: &Archive, entry: &[u8]) -> Option<&Path> {
        self.files
            .get(&(id(archive), entry.to_vec()))
            .map(PathBuf::as_path)
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
pub(crate) fn open(archive: &Archive, store: &dyn ImageStore) -> Result<Box<dyn Read>, String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", id(archive));
    let mut raw: Box<dyn Read> = match archive {
        Archive::Layer(digest) => store
            .open(digest)
            .map_err(|error| format!("{} cannot be read: {error}", id(archive)))?,
        Archive::File(file) => {
            let opened = File::open(&file.path).map_err(failed)?;
            if Stamp::of(&opened.metadata().map_err(failed)?) != file.stamp {
                return Err(format!(
                    "`{}` changed during the build",
                    file.path.display()
                ));
            }
            Box::new(opened)
        }
    };
    let mut magic = [0; MAGIC];
    let length = read_full(&mut raw, &mut magic).map_err(failed)?;
    let magic = &magic[..length];
    Ok(Compression::of(magic).reader(io::Cursor::new(magic.to_vec()).chain(raw)))
}

/// Whether a block is a tar header: its checksum is right.
fn is_tar(block: &[u8; 512]) -> bool {
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            u32::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    tar::Header::from_byte_slice(block)
        .cksum()
        .is_ok_and(|written| written == sum && block.iter().any(|byte| *byte != 0))
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
    let shown = super::tree::show(&real);
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
            let mut tar = tar::Archive::new(open(&archive, store)?);
            for packed in tar.entries().map_err(failed)? {
                let mut packed = packed.map_err(failed)?;
                if *packed.path_bytes() == *entry {
                    bytes.clear();
                    packed.read_to_end(&mut bytes).map_err(failed)?;
                }
            }
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
