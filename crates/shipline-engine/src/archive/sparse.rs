//! Sparse files: what of them stands in the archive, and the holes between.

use std::io;

use super::pax::decimal;
use super::{MOST_FRAGMENTS, invalid};

/// A part of a sparse file that stands in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fragment {
    offset: u64,
    length: u64,
}

/// A sparse file, as it is read from its start.
#[derive(Debug)]
pub(super) struct SparseMap {
    fragments: Vec<Fragment>,
    size: u64,
    /// Where reading stands in the file.
    at: u64,
    /// The fragment that comes next, or that reading is within.
    next: usize,
}

/// What comes next of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many zeros.
    Hole(u64),
    /// So many bytes of the archive.
    Data(u64),
}

impl SparseMap {
    /// The map of a file of `size` bytes of which `data` bytes stand in the archive: offset and length in turn.
    ///
    /// # Errors
    /// Where fragments overlap, are out of order or beyond the file, or do not have `data` bytes.
    pub(super) fn new(pairs: &[u64], size: u64, data: u64) -> io::Result<Self> {
        let mut fragments = Vec::with_capacity(pairs.len() / 2);
        let (mut end, mut sum) = (0_u64, 0_u64);
        for pair in pairs.chunks_exact(2) {
            let (offset, length) = (pair[0], pair[1]);
            let next = offset.checked_add(length).filter(|next| *next <= size);
            let (Some(next), true) = (next, offset >= end) else {
                return Err(invalid(
                    "the map of a sparse file has fragments that overlap, or that lie beyond its end",
                ));
            };
            end = next;
            sum += length;
            if length > 0 {
                fragments.push(Fragment { offset, length });
            }
        }
        if sum != data {
            return Err(invalid(format!(
                "the map of a sparse file has {sum} bytes, and the archive {data}"
            )));
        }
        Ok(Self {
            fragments,
            size,
            at: 0,
            next: 0,
        })
    }

    /// The file's size, with its holes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What comes next; `None` at the end.
    pub(super) fn piece(&self) -> Option<Piece> {
        match self.fragments.get(self.next) {
            Some(fragment) if self.at < fragment.offset => {
                Some(Piece::Hole(fragment.offset - self.at))
            }
            Some(fragment) => Some(Piece::Data(fragment.offset + fragment.length - self.at)),
            None if self.at < self.size => Some(Piece::Hole(self.size - self.at)),
            None => None,
        }
    }

    /// Moves on, within the piece that comes next.
    pub(super) fn advance(&mut self, count: u64) {
        self.at += count;
        if let Some(fragment) = self.fragments.get(self.next)
            && self.at >= fragment.offset + fragment.length
        {
            self.next += 1;
        }
    }
}

/// A map in GNU's old format: fields of 12 bytes, offset and length in turn; one that is empty ends it. Says whether it ended.
pub(super) fn old_pairs(
    fields: &[u8],
    pairs: &mut Vec<u64>,
    number: &dyn Fn(&[u8]) -> io::Result<u64>,
) -> io::Result<()> {
    for pair in fields.chunks_exact(24) {
        // Go ends the map there too.
        if pair[0] == 0 {
            break;
        }
        if pairs.len() >= 2 * MOST_FRAGMENTS {
            return Err(too_many());
        }
        pairs.push(number(&pair[..12])?);
        pairs.push(number(&pair[12..])?);
    }
    Ok(())
}

/// A map in format 1.0: decimal numbers, one on each line, their count first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    count: Option<u64>,
    pairs: Vec<u64>,
    line: Vec<u8>,
}

impl Lines {
    /// Takes a block of the map, and says whether it was the last.
    pub(super) fn take(&mut self, block: &[u8]) -> io::Result<bool> {
        for byte in block {
            if self.is_whole() {
                break;
            }
            if *byte != b'\n' {
                // The longest number has 19 digits.
                if self.line.len() >= 20 {
                    return Err(malformed());
                }
                self.line.push(*byte);
                continue;
            }
            let number = decimal(&self.line).ok_or_else(malformed)?;
            self.line.clear();
            match self.count {
                None if number > MOST_FRAGMENTS as u64 => return Err(too_many()),
                None => self.count = Some(number),
                Some(_) => self.pairs.push(number),
            }
        }
        Ok(self.is_whole())
    }

    fn is_whole(&self) -> bool {
        self.count
            .is_some_and(|count| self.pairs.len() as u64 == 2 * count)
    }

    /// Offset and length in turn.
    pub(super) fn pairs(&self) -> &[u64] {
        &self.pairs
    }
}

fn malformed() -> io::Error {
    invalid("the map of a sparse file is malformed")
}

fn too_many() -> io::Error {
    invalid(format!(
        "a sparse file has more than {MOST_FRAGMENTS} fragments"
    ))
}
