//! Reading archives that somebody else made: layers, what ADD unpacks, what an engine exports, and images in tar files. There
//! is one reader for all of them, so that none takes what another refuses.
//!
//! It sees what Go's `archive/tar` sees, because container engines unpack with that: where two readers differ, files hide from a
//! scan. Every length that an archive names is held against a limit before memory is taken for it, and what comes out of it is held
//! against what went in.

mod compression;
mod expansion;
mod header;
mod layer;
mod pax;
mod sparse;
mod tar;
#[cfg(test)]
mod tests;

pub use compression::{Compression, MAGIC, decompressed};
pub use header::{BLOCK, is_header};
pub use layer::{Expected, LayerReader};
pub use tar::{Entry, EntryKind, TarReader, Xattrs};

/// Paths and link targets have at most this many bytes: Linux knows no longer ones (`PATH_MAX`).
pub const LONGEST_PATH: usize = 4096;

/// What a header that stands before an entry may hold, in bytes (a long name, PAX records): as much as Go reads.
const LARGEST_EXTENSION: u64 = 1024 * 1024;

/// How many headers may stand before an entry; two are usual.
const MOST_EXTENSIONS: usize = 32;

/// How many entries an archive may have. The largest images have a few hundred thousand files.
const MOST_ENTRIES: u64 = 4_000_000;

/// How many fragments a sparse file may have: as many as Go reads.
const MOST_FRAGMENTS: usize = 1 << 20;

/// What an attribute's name may have, in bytes (Linux's `XATTR_NAME_MAX`).
const LONGEST_XATTR_NAME: usize = 255;

/// What an attribute's value may have, in bytes (Linux's `XATTR_SIZE_MAX`).
const LARGEST_XATTR: usize = 64 * 1024;

/// An archive that is not what it should be.
fn invalid(why: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why.into())
}

/// Bytes of an archive for people.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = bytes.get(..MOST).unwrap_or(bytes);
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(cut).escape_debug())
}
