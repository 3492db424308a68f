//! Git's index file, read in one go (git's `Documentation/gitformat-index`): versions 2 to 4, with the tree cache.
//!
//! libgit2 reads it too, but spends ten times as long on a large one, and keeps the tree cache to itself.

pub(crate) mod split;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use git2::Oid;
use shipline_engine::error::{BackendError, ErrorClass};

use crate::error;
use crate::tree::{Committed, DEEPEST, Mode, Trees, too_deep};
use split::Link;

/// Bytes of an entry before its flags.
const STAT: usize = 40;

/// Bytes of an object ID.
const ID: usize = 20;

/// When a file was written: seconds and nanoseconds, by the file system's clock.
pub(crate) type Written = (u32, u32);

/// An index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Its entries, by path, then by stage.
    pub(crate) entries: Vec<Entry>,
    /// The trees that git remembers for it.
    pub(crate) trees: Option<CachedTree>,
    /// When it was written.
    pub(crate) written: Written,
    /// Folders that a sparse index holds as one entry, with their trees. See [`Index::unfold`].
    pub(crate) folders: HashMap<Vec<u8>, Oid>,
}

/// One entry of an index.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Path, with `/`.
    pub(crate) path: Box<[u8]>,
    /// Mode.
    pub(crate) mode: Mode,
    /// Object ID.
    pub(crate) id: Oid,
    /// How the file looked when its content was last known.
    pub(crate) stat: Stat,
    /// What git was told about it.
    pub(crate) told: Told,
}

/// How a file looked, in the index's 32 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stat {
    pub(crate) ctime: (u32, u32),
    pub(crate) mtime: (u32, u32),
    pub(crate) inode: u32,
    pub(crate) size: u32,
}

/// What git was told about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing.
    Nothing,
    /// `--assume-unchanged`: the work tree's file does not count.
    AssumeUnchanged,
    /// Left out of a sparse checkout.
    SkipWorkTree,
    /// `add --intent-to-add`, or one side of a conflict: the entry is not what would be committed.
    Unmerged,
}

/// A tree that git remembers for a part of the index.
#[derive(Debug)]
pub(crate) struct CachedTree {
    name: Box<[u8]>,
    /// Its object ID and how many entries it covers; `None` where something in it was staged since.
    pub(crate) id: Option<(Oid, usize)>,
    below: Vec<CachedTree>,
}

impl CachedTree {
    /// The tree of the folder `name` in this one.
    pub(crate) fn below(&self, name: &[u8]) -> Option<&Self> {
        self.below.iter().find(|tree| *tree.name == *name)
    }
}

impl Index {
    /// Reads the index at `file`, with the one that it shares entries with; empty where there is none.
    pub(crate) fn read(file: &Path) -> Result<Self, BackendError> {
        let Some((bytes, written)) = load(file)? else {
            return Ok(Self::default());
        };
        let (mut index, link) = parse(&bytes).map_err(|why| refused(file, why))?;
        if let Some(link) = link {
            let shared = match link.shared {
                Some(id) => {
                    let shared = file.with_file_name(format!("sharedindex.{id}"));
                    let (bytes, _) =
                        load(&shared)?.ok_or_else(|| refused(file, Problem::Shared))?;
                    let (shared, _) = parse(&bytes).map_err(|why| refused(&shared, why))?;
                    shared.entries
                }
                None => Vec::new(),
            };
            let merged = link.merge(shared, index.entries);
            index.entries = merged.map_err(|why| refused(file, why))?;
        }
        index.written = written;
        Ok(index)
    }

    /// Replaces the folders of a sparse index by their files, but for those that are the same in `head` (a tree) and not in
    /// the work tree: nothing in them can differ, and a clone is sparse because there is much of it.
    pub(crate) fn unfold(
        &mut self,
        trees: &Trees,
        head: Oid,
        root: &Path,
    ) -> Result<(), BackendError> {
        let mut opened = Vec::new();
        for (path, id) in &self.folders {
            let committed = trees.folder(head, path)? == Some(*id);
            let at = root.join(OsStr::from_bytes(path));
            if !committed || at.symlink_metadata().is_ok() {
                opened.push((path.clone(), *id));
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        for (path, id) in opened {
            self.folders.remove(&path);
            files(trees, id, &path, &mut self.entries)?;
        }
        self.entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(())
    }

    /// The entries of a path: one, or up to three where it is in conflict.
    pub(crate) fn get(&self, path: &[u8]) -> &[Entry] {
        let start = self.entries.partition_point(|entry| *entry.path < *path);
        let count = self.entries[start..].partition_point(|entry| *entry.path == *path);
        &self.entries[start..start + count]
    }
}

/// The files of a tree as the index would have them: left out of the checkout.
fn files(
    trees: &Trees,
    tree: Oid,
    path: &[u8],
    entries: &mut Vec<Entry>,
) -> Result<(), BackendError> {
    if path.split(|byte| *byte == b'/').count() > DEEPEST {
        return Err(too_deep(path));
    }
    for (name, entry) in trees.list(tree)?.iter() {
        let path = [path, b"/", name].concat();
        match entry {
            Committed::Folder(tree) => files(trees, *tree, &path, entries)?,
            Committed::Leaf(leaf) => entries.push(Entry {
                path: path.into(),
                mode: leaf.mode,
                id: leaf.id,
                stat: Stat::default(),
                told: Told::SkipWorkTree,
            }),
        }
    }
    Ok(())
}

/// A file's bytes and when it was written, `None` where there is none.
fn load(file: &Path) -> Result<Option<(Vec<u8>, Written)>, BackendError> {
    let failed = |cause| error::file("read the index", file, cause);
    let mut input = match File::open(file) {
        Ok(input) => input,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    let meta = input.metadata().map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
    input.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some((
        bytes,
        (seconds(meta.mtime()), seconds(meta.mtime_nsec())),
    )))
}

fn refused(file: &Path, why: Problem) -> BackendError {
    BackendError::new(
        ErrorClass::Invalid,
        format!("read the index {}: {why}", file.display()),
    )
    .hint(
        "check it with `git status`; a damaged index is made anew by `rm .git/index && git reset`",
    )
}

/// The index keeps the low 32 bits of everything.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn seconds(value: i64) -> u32 {
    value as u32
}

/// Why bytes are no index that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("it is cut off or damaged")]
    Cut,
    #[error("its version is not known")]
    Version,
    #[error("the shared index that it refers to is not there")]
    Shared,
    #[error("it has an extension that is not known and must be")]
    Extension,
}

/// Takes bytes from the front.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Problem> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Problem::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, Problem> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| Problem::Cut)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn short(&mut self) -> Result<u16, Problem> {
        let bytes: [u8; 2] = self.take(2)?.try_into().map_err(|_| Problem::Cut)?;
        Ok(u16::from_be_bytes(bytes))
    }

    /// Up to `end`, which is taken too.
    fn until(&mut self, end: u8) -> Result<&'b [u8], Problem> {
        let at = self
            .0
            .iter()
            .position(|byte| *byte == end)
            .ok_or(Problem::Cut)?;
        let taken = self.take(at)?;
        self.take(1)?;
        Ok(taken)
    }

    /// A number in ASCII.
    fn decimal(&mut self, end: u8) -> Result<i64, Problem> {
        std::str::from_utf8(self.until(end)?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Problem::Cut)
    }

    /// A number of any length (git's offset encoding).
    fn varint(&mut self) -> Result<usize, Problem> {
        let mut value = 0usize;
        loop {
            let byte = *self.take(1)?.first().ok_or(Problem::Cut)?;
            value = value
                .checked_mul(128)
                .and_then(|value| value.checked_add(usize::from(byte & 0x7f)))
                .ok_or(Problem::Cut)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            value = value.checked_add(1).ok_or(Problem::Cut)?;
        }
    }

    fn id(&mut self) -> Result<Oid, Problem> {
        Oid::from_bytes(self.take(ID)?).map_err(|_| Problem::Cut)
    }
}

/// The index in `bytes`, and what it shares with another one.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Index, Option<Link>), Problem> {
    // The last bytes are a checksum, for which a torn file would have to keep its shape: git replaces the file by rename.
    let body = bytes.len().checked_sub(ID).ok_or(Problem::Cut)?;
    let mut bytes = Bytes(&bytes[..body]);
    if bytes.take(4)? != b"DIRC" {
        return Err(Problem::Cut);
    }
    let version = bytes.number()?;
    if !(2..=4).contains(&version) {
        return Err(Problem::Version);
    }
    let count = bytes.number()?;
    let mut index = Index::default();
    let mut link = None;
    let mut path = Vec::new();
    for _ in 0..count {
        match entry(&mut bytes, version, &mut path)? {
            Parsed::Entry(entry) => index.entries.push(entry),
            Parsed::Folder(path, id) => {
                index.folders.insert(path, id);
            }
        }
    }
    while !bytes.0.is_empty() {
        let signature = bytes.take(4)?;
        let size = usize::try_from(bytes.number()?).map_err(|_| Problem::Cut)?;
        let data = bytes.take(size)?;
        match signature {
            b"TREE" => index.trees = cached(&mut Bytes(data), 0).ok(),
            b"link" => link = Some(Link::read(&mut Bytes(data))?),
            // It only says that there may be folders.
            b"sdir" => {}
            // An upper-case letter: it may be passed over.
            [b'A'..=b'Z', ..] => {}
            _ => return Err(Problem::Extension),
        }
    }
    Ok((index, link))
}

/// One entry as it stands in the file.
enum Parsed {
    Entry(Entry),
    /// A folder of a sparse index and its tree.
    Folder(Vec<u8>, Oid),
}

fn entry(bytes: &mut Bytes<'_>, version: u32, path: &mut Vec<u8>) -> Result<Parsed, Problem> {
    let before = bytes.0.len();
    let ctime = (bytes.number()?, bytes.number()?);
    let mtime = (bytes.number()?, bytes.number()?);
    let _device = bytes.number()?;
    let inode = bytes.number()?;
    let mode = bytes.number()?;
    let _owner = (bytes.number()?, bytes.number()?);
    let size = bytes.number()?;
    debug_assert_eq!(before - bytes.0.len(), STAT);
    let id = bytes.id()?;
    let flags = bytes.short()?;
    let more = if flags & 0x4000 != 0 {
        bytes.short()?
    } else {
        0
    };
    if version == 4 {
        let strip = bytes.varint()?;
        let keep = path.len().checked_sub(strip).ok_or(Problem::Cut)?;
        path.truncate(keep);
        path.extend_from_slice(bytes.until(0)?);
    } else {
        path.clear();
        path.extend_from_slice(bytes.until(0)?);
        // The entry is padded with NULs to a multiple of eight; one of them was taken.
        let length = before - bytes.0.len();
        bytes.take(length.next_multiple_of(8) - length)?;
    }
    let stage = flags >> 12 & 3;
    let told = if stage != 0 || more & 0x2000 != 0 {
        Told::Unmerged
    } else if flags & 0x8000 != 0 {
        Told::AssumeUnchanged
    } else if more & 0x4000 != 0 {
        Told::SkipWorkTree
    } else {
        Told::Nothing
    };
    if mode & 0o170_000 == 0o040_000 {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        return Ok(Parsed::Folder(path.to_vec(), id));
    }
    Ok(Parsed::Entry(Entry {
        path: path.as_slice().into(),
        mode: Mode::of(mode),
        id,
        stat: Stat {
            ctime,
            mtime,
            inode,
            size,
        },
        told,
    }))
}

/// A tree of the cache, and those below it. `depth` bounds what a damaged file can ask of the stack.
fn cached(bytes: &mut Bytes<'_>, depth: usize) -> Result<CachedTree, Problem> {
    if depth > 2048 {
        return Err(Problem::Cut);
    }
    let name = bytes.until(0)?.into();
    let entries = bytes.decimal(b' ')?;
    let count = bytes.decimal(b'\n')?;
    let id = match usize::try_from(entries) {
        Ok(entries) => Some((bytes.id()?, entries)),
        Err(_) => None,
    };
    let mut below = Vec::new();
    for _ in 0..count {
        below.push(cached(bytes, depth + 1)?);
    }
    Ok(CachedTree { name, id, below })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 2u8..5, count in 0u8..4) {
            let mut index = b"DIRC\0\0\0".to_vec();
            index.extend([version, 0, 0, 0, count]);
            index.extend(bytes);
            let _ = parse(&index);
        }
    }

    #[test]
    fn what_must_be_known_is_refused() {
        let with = |extension: &[u8]| {
            let mut index = b"DIRC\0\0\0\x02\0\0\0\0".to_vec();
            index.extend(extension);
            index.extend([0; 4 + ID]);
            parse(&index).map(|(index, _)| index.entries.len())
        };
        for (extension, result) in [
            (&b"link"[..], Err(Problem::Cut)),
            (b"sdir", Ok(0)),
            (b"what", Err(Problem::Extension)),
            (b"WHAT", Ok(0)),
        ] {
            assert_eq!(with(extension), result);
        }
    }
}
