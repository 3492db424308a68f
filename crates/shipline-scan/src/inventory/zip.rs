//! Zip archives, read by their central directory (PKWARE's APPNOTE): no more than what finds files in jars.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;

use crate::layers::spool::{Content, length, read_at};

/// The central directory is read up to this many bytes: 700,000 files with names of 50 bytes.
const LARGEST_DIRECTORY: u64 = 64 * 1024 * 1024;

/// So many wanted files are listed: names of more would fill the memory.
pub(super) const MOST_ENTRIES: usize = 20_000;

/// A comment behind the end record has that many bytes at most.
const LONGEST_COMMENT: u64 = 0xffff;

const END: &[u8] = b"PK\x05\x06";
const END_SIZE: u64 = 22;
const WIDE_LOCATOR: &[u8] = b"PK\x06\x07";
const WIDE_LOCATOR_SIZE: u64 = 20;
const WIDE_END: &[u8] = b"PK\x06\x06";
const WIDE_END_SIZE: usize = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_SIZE: usize = 30;
/// Stands for a number that does not fit and is among the extra fields.
const ELSEWHERE: u64 = 0xffff_ffff;

/// An archive that is open.
pub(super) struct Archive<'c> {
    content: &'c mut dyn Content,
    directory: Vec<u8>,
    /// Bytes before the archive itself: a script that starts it.
    before: u64,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path.
    pub(super) name: String,
    method: Method,
    packed: u64,
    /// Its bytes, as the directory says.
    pub(super) size: u64,
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflated,
    Other,
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    let add = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
    Some(bytes.iter().rev().fold(0, add))
}

fn no_archive(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no zip: {why}"))
}

impl<'c> Archive<'c> {
    /// Opens an archive.
    ///
    /// # Errors
    /// Where it is none, or cannot be read.
    pub(super) fn open(content: &'c mut dyn Content) -> io::Result<Self> {
        let length = length(content)?;
        let tail_size = length.min(END_SIZE + LONGEST_COMMENT);
        let tail_at = length - tail_size;
        let tail = read_at(content, tail_at, usize::try_from(tail_size).unwrap_or(0))?;
        let last = tail.len().checked_sub(22);
        let end = last.and_then(|last| {
            (0..=last)
                .rev()
                .find(|at| tail.get(*at..).is_some_and(|rest| rest.starts_with(END)))
        });
        let end = end.ok_or_else(|| no_archive("it has no end record"))?;
        let (size, offset) = number(&tail, end + 12, 4)
            .zip(number(&tail, end + 16, 4))
            .ok_or_else(|| no_archive("its end record is cut off"))?;
        let end = tail_at + end as u64;
        let (size, offset, end) = match wide_end(content, end)? {
            Some(wide) => wide,
            None => (size, offset, end),
        };
        let at = end.checked_sub(size);
        let before = at.and_then(|at| at.checked_sub(offset));
        let (at, before) = at
            .zip(before)
            .ok_or_else(|| no_archive("its directory lies outside"))?;
        if size > LARGEST_DIRECTORY {
            return Err(no_archive("its directory is too large"));
        }
        Ok(Self {
            directory: read_at(content, at, usize::try_from(size).unwrap_or(0))?,
            content,
            before,
        })
    }

    /// The files whose names are wanted, in the order of the directory, up to [`MOST_ENTRIES`].
    pub(super) fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut rest = &self.directory[..];
        while let Some((entry, after)) = one(rest, &wanted)
            && entries.len() < MOST_ENTRIES
        {
            entries.extend(entry);
            rest = after;
        }
        entries
    }

    /// Bytes of the directory, which was read.
    pub(super) fn directory_length(&self) -> u64 {
        self.directory.len() as u64
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// Where it has more than `largest`, is broken, or compressed in a way that jars are not.
    pub(super) fn read(&mut self, entry: &Entry, largest: u64) -> io::Result<Vec<u8>> {
        let window = self.window(entry)?;
        let mut bytes = Vec::new();
        match entry.method {
            Method::Stored => window.take(largest + 1).read_to_end(&mut bytes)?,
            Method::Deflated => DeflateDecoder::new(window)
                .take(largest + 1)
                .read_to_end(&mut bytes)?,
            Method::Other => return Err(io::Error::other("its compression is not known")),
        };
        if bytes.len() as u64 > largest {
            return Err(io::Error::other("it is too large"));
        }
        Ok(bytes)
    }

    /// The file in its place in the archive; `None` where it is compressed.
    ///
    /// # Errors
    /// Where it lies outside the archive, or that cannot be read.
    pub(super) fn stored(&mut self, entry: &Entry) -> io::Result<Option<Window<'_>>> {
        match entry.method {
            Method::Stored => self.window(entry).map(Some),
            Method::Deflated | Method::Other => Ok(None),
        }
    }

    fn window(&mut self, entry: &Entry) -> io::Result<Window<'_>> {
        let at = self.before.saturating_add(entry.at);
        let header = read_at(self.content, at, LOCAL_SIZE)?;
        let lengths = number(&header, 26, 2).zip(number(&header, 28, 2));
        match lengths.filter(|_| header.starts_with(LOCAL)) {
            Some((name, extra)) => Ok(Window {
                content: self.content,
                start: at + LOCAL_SIZE as u64 + name + extra,
                length: entry.packed,
                at: 0,
            }),
            None => Err(no_archive("a file is not where its directory says")),
        }
    }
}

/// Size and offset of the directory where they need 64 bits, and where the records behind it begin.
fn wide_end(content: &mut dyn Content, end: u64) -> io::Result<Option<(u64, u64, u64)>> {
    let Some(at) = end.checked_sub(WIDE_LOCATOR_SIZE) else {
        return Ok(None);
    };
    if !read_at(content, at, 4)?.starts_with(WIDE_LOCATOR) {
        return Ok(None);
    }
    // The record lies right before its locator: what the locator says is off where something stands before the archive.
    let Some(at) = at.checked_sub(WIDE_END_SIZE as u64) else {
        return Ok(None);
    };
    let record = read_at(content, at, WIDE_END_SIZE)?;
    let parts = number(&record, 40, 8).zip(number(&record, 48, 8));
    Ok(parts
        .filter(|_| record.starts_with(WIDE_END))
        .map(|(size, offset)| (size, offset, at)))
}

/// The first entry of a directory, if it is wanted, and what follows it.
fn one<'d>(
    directory: &'d [u8],
    wanted: &impl Fn(&str) -> bool,
) -> Option<(Option<Entry>, &'d [u8])> {
    if !directory.starts_with(ENTRY) {
        return None;
    }
    let length = |at| number(directory, at, 2).and_then(|length| usize::try_from(length).ok());
    let (name_length, extra_length, comment) = (length(28)?, length(30)?, length(32)?);
    let name = directory.get(ENTRY_SIZE..ENTRY_SIZE + name_length)?;
    let extra_at = ENTRY_SIZE + name_length;
    let extra = directory.get(extra_at..extra_at + extra_length)?;
    let after = directory.get(extra_at + extra_length + comment..)?;
    let name = String::from_utf8_lossy(name);
    if !wanted(&name) {
        return Some((None, after));
    }
    let mut numbers = [
        number(directory, 24, 4)?,
        number(directory, 20, 4)?,
        number(directory, 42, 4)?,
    ];
    let mut wide = wide_numbers(extra);
    for number in &mut numbers {
        if *number == ELSEWHERE {
            *number = wide.next()?;
        }
    }
    let [size, packed, at] = numbers;
    let method = match number(directory, 10, 2)? {
        0 => Method::Stored,
        8 => Method::Deflated,
        _ => Method::Other,
    };
    let entry = Entry {
        name: name.into_owned(),
        method,
        packed,
        size,
        at,
    };
    Some((Some(entry), after))
}

/// The numbers of the extra field for those that need 64 bits (its ID is 1).
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut field: &[u8] = &[];
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let end = usize::try_from(length).map_or(usize::MAX, |length| length + 4);
        if id == 1 {
            field = extra.get(4..end).unwrap_or_default();
            break;
        }
        extra = extra.get(end..).unwrap_or_default();
    }
    field
        .chunks_exact(8)
        .filter_map(|chunk| number(chunk, 0, 8))
}

/// Part of a file, as a file.
pub(super) struct Window<'c> {
    content: &'c mut dyn Content,
    start: u64,
    length: u64,
    at: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        if room == 0 {
            return Ok(0);
        }
        self.content
            .seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        let read = self
            .content
            .read(buffer.get_mut(..room).unwrap_or_default())?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Cursor, Write as _};

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// How a file lies in the archive.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(in crate::inventory) enum Packing {
        Stored,
        Deflated,
    }

    fn short(value: usize) -> [u8; 2] {
        (value as u16).to_le_bytes()
    }

    fn word(value: usize) -> [u8; 4] {
        (value as u32).to_le_bytes()
    }

    /// An archive of these files.
    pub(in crate::inventory) fn zip(files: &[(&str, &[u8], Packing)]) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes, packing) in files {
            let packed = match packing {
                Packing::Stored => bytes.to_vec(),
                Packing::Deflated => {
                    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                    encoder.write_all(bytes).unwrap();
                    encoder.finish().unwrap()
                }
            };
            let mut common = Vec::new();
            common.extend(short(20));
            common.extend(short(0));
            common.extend(short(if *packing == Packing::Stored { 0 } else { 8 }));
            common.extend([0; 4]);
            let mut checksum = flate2::Crc::new();
            checksum.update(bytes);
            common.extend(checksum.sum().to_le_bytes());
            common.extend(word(packed.len()));
            common.extend(word(bytes.len()));
            common.extend(short(name.len()));
            common.extend(short(4));
            directory.extend(ENTRY);
            directory.extend(short(20));
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(word(archive.len()));
            directory.extend(name.as_bytes());
            directory.extend([0xfe, 0xca, 0, 0]);
            archive.extend(LOCAL);
            archive.extend(&common);
            archive.extend(name.as_bytes());
            archive.extend([0xfe, 0xca, 0, 0]);
            archive.extend(packed);
        }
        let at = archive.len();
        archive.extend(&directory);
        archive.extend(END);
        archive.extend([0; 4]);
        archive.extend(short(files.len()));
        archive.extend(short(files.len()));
        archive.extend(word(directory.len()));
        archive.extend(word(at));
        archive.extend(short(7));
        archive.extend(b"comment");
        archive
    }

    #[test]
    fn files_are_read_however_they_are_packed_and_whatever_stands_before() {
        let long = b"0123456789".repeat(1000);
        let archive = zip(&[
            ("a/stored", b"hello", Packing::Stored),
            ("a/deflated", &long, Packing::Deflated),
        ]);
        for before in [&b""[..], b"#!/bin/sh\nexec java -jar \"$0\"\n"] {
            let file: Vec<u8> = before.iter().chain(&archive).copied().collect();
            let mut content = Cursor::new(file);
            let mut open = Archive::open(&mut content).unwrap();
            let all = open.entries(|_| true);
            let names: Vec<_> = all.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, ["a/stored", "a/deflated"]);
            assert_eq!(open.read(&all[0], 5).unwrap(), b"hello");
            assert!(open.read(&all[0], 4).is_err());
            assert_eq!(open.read(&all[1], 10_000).unwrap(), long);
            assert!(open.read(&all[1], 9_999).is_err());
            assert_eq!(all[1].size, 10_000);
            assert!(open.stored(&all[1]).unwrap().is_none());
            let mut text = String::new();
            let mut window = open.stored(&all[0]).unwrap().unwrap();
            window.seek(SeekFrom::End(-4)).unwrap();
            window.read_to_string(&mut text).unwrap();
            assert_eq!(text, "ello");
            assert_eq!(open.entries(|name| name.ends_with("stored")).len(), 1);
        }
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_an_error() {
        let archive = zip(&[("a", b"hello", Packing::Deflated)]);
        for end in 0..archive.len() {
            if let Ok(mut open) = Archive::open(&mut Cursor::new(&archive[..end])) {
                for entry in open.entries(|_| true) {
                    let _ = open.read(&entry, 10);
                }
            }
        }
        for at in 0..archive.len() {
            let mut broken = archive.clone();
            broken[at] ^= 0xff;
            if let Ok(mut open) = Archive::open(&mut Cursor::new(broken)) {
                for entry in open.entries(|_| true) {
                    let _ = open.read(&entry, 10);
                }
            }
        }
    }
}
