//! Sections and segments of ELF files: no more than what finds build information in them (System V ABI, chapter 4 and 5).

use std::io;

use crate::layers::spool::{Content, length, read_at};

/// How ELF files begin.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// Section headers and names are read up to this many bytes each.
const LARGEST_TABLE: usize = 16 * 1024 * 1024;

const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
const LOADED: u32 = 1;
const WITHOUT_BYTES: u32 = 8;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Bytes of a pointer, 4 or 8.
    pub(super) pointer: usize,
    /// Whether the most significant byte comes first.
    pub(super) big: bool,
}

impl Numbers {
    /// The number of `length` bytes at `at`, `None` behind the end.
    pub(super) fn at(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    /// The pointer at `at`.
    pub(super) fn pointer_at(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.at(bytes, at, self.pointer)
    }

    fn short(self, bytes: &[u8], at: usize) -> Option<u16> {
        u16::try_from(self.at(bytes, at, 2)?).ok()
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        u32::try_from(self.at(bytes, at, 4)?).ok()
    }
}

/// Bytes of the file that something names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    offset: u64,
    size: u64,
}

/// Bytes of the file that are loaded at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    address: u64,
    range: Range,
}

/// An executable or shared library.
pub(super) struct Executable<'c> {
    content: &'c mut dyn Content,
    length: u64,
    numbers: Numbers,
    headers: Vec<u8>,
    header_size: usize,
    names: Vec<u8>,
    segments: Vec<Segment>,
}

impl<'c> Executable<'c> {
    /// Opens an ELF file. `None` where it is no executable or shared library, or names no sections.
    ///
    /// # Errors
    /// Where it is cut off or contradicts itself, or cannot be read.
    pub(super) fn open(content: &'c mut dyn Content) -> io::Result<Option<Self>> {
        let length = length(content)?;
        let header = read_at(content, 0, usize::try_from(length.min(64)).unwrap_or(64))?;
        let numbers = match (header.get(4), header.get(5)) {
            (Some(class @ (1 | 2)), Some(order @ (1 | 2))) => Numbers {
                pointer: usize::from(*class) * 4,
                big: *order == 2,
            },
            _ => return Ok(None),
        };
        let wide = numbers.pointer == 8;
        let parts = (|| {
            let kind = numbers.short(&header, 16)?;
            let (pointers, shorts) = if wide { (32, 54) } else { (28, 42) };
            Some((
                kind,
                numbers.pointer_at(&header, pointers)?,
                numbers.pointer_at(&header, pointers + numbers.pointer)?,
                usize::from(numbers.short(&header, shorts)?),
                usize::from(numbers.short(&header, shorts + 2)?),
                usize::from(numbers.short(&header, shorts + 4)?),
                usize::from(numbers.short(&header, shorts + 6)?),
                usize::from(numbers.short(&header, shorts + 8)?),
            ))
        })();
        let Some((kind, segments_at, sections_at, segment, segments, section, sections, names)) =
            parts
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let known = if wide { (56, 64) } else { (32, 40) };
        if !matches!(kind, EXECUTABLE | SHARED) || sections == 0 || section < known.1 {
            return Ok(None);
        }
        let headers = table(content, sections_at, sections * section)?;
        let table_of_segments = if segment < known.0 {
            Vec::new()
        } else {
            table(content, segments_at, segments * segment)?
        };
        let segments = table_of_segments.chunks_exact(segment.max(1));
        let segments = segments
            .filter_map(|header| loaded(header, numbers))
            .collect();
        let mut executable = Self {
            content,
            length,
            numbers,
            headers,
            header_size: section,
            names: Vec::new(),
            segments,
        };
        if let Some(range) = executable.range(names) {
            executable.names = executable.bytes(range, LARGEST_TABLE)?;
        }
        Ok(Some(executable))
    }

    /// How numbers are written in it.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// A section's bytes; `None` where there is none of that name.
    ///
    /// # Errors
    /// Where it has more than `largest` bytes, or is cut off.
    pub(super) fn section(&mut self, name: &str, largest: usize) -> io::Result<Option<Vec<u8>>> {
        let count = self.headers.len() / self.header_size;
        let found = (0..count).find(|index| self.is_called(*index, name));
        match found.and_then(|index| self.range(index)) {
            Some(range) => self.bytes(range, largest).map(Some),
            None => Ok(None),
        }
    }

    /// `size` bytes that are loaded at `address`; `None` where the file does not hold them.
    ///
    /// # Errors
    /// As [`Executable::section`].
    pub(super) fn loaded(
        &mut self,
        address: u64,
        size: u64,
        largest: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let range = self.segments.iter().find_map(|segment| {
            let into = address.checked_sub(segment.address)?;
            let offset = segment.range.offset.checked_add(into)?;
            (into.checked_add(size)? <= segment.range.size).then_some(Range { offset, size })
        });
        match range {
            Some(range) => self.bytes(range, largest).map(Some),
            None => Ok(None),
        }
    }

    fn header(&self, index: usize) -> Option<&[u8]> {
        self.headers.chunks_exact(self.header_size).nth(index)
    }

    fn is_called(&self, index: usize, name: &str) -> bool {
        let own = self.header(index).and_then(|header| {
            let at = usize::try_from(self.numbers.word(header, 0)?).ok()?;
            let rest = self.names.get(at..)?;
            rest.split(|byte| *byte == 0).next()
        });
        own == Some(name.as_bytes())
    }

    /// Where a section's bytes are; `None` where it has none.
    fn range(&self, index: usize) -> Option<Range> {
        let (header, pointer) = (self.header(index)?, self.numbers.pointer);
        if self.numbers.word(header, 4)? == WITHOUT_BYTES {
            return None;
        }
        // Name, type, flags and address come before.
        let at = 8 + 2 * pointer;
        Some(Range {
            offset: self.numbers.pointer_at(header, at)?,
            size: self.numbers.pointer_at(header, at + pointer)?,
        })
    }

    fn bytes(&mut self, range: Range, largest: usize) -> io::Result<Vec<u8>> {
        let end = range.offset.checked_add(range.size);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match usize::try_from(range.size) {
            Ok(size) if size <= largest => read_at(self.content, range.offset, size),
            Ok(_) | Err(_) => Err(io::Error::other("a section is too large")),
        }
    }
}

fn table(content: &mut dyn Content, at: u64, size: usize) -> io::Result<Vec<u8>> {
    if size > LARGEST_TABLE {
        return Err(io::Error::other("its tables are too large"));
    }
    read_at(content, at, size)
}

/// The segment of a program header that is loaded.
fn loaded(header: &[u8], numbers: Numbers) -> Option<Segment> {
    if numbers.word(header, 0)? != LOADED {
        return None;
    }
    let pointer = numbers.pointer;
    // Wide headers have the flags, a word, before the offset and pad them.
    let at = if pointer == 8 { 8 } else { 4 };
    Some(Segment {
        address: numbers.pointer_at(header, at + pointer)?,
        range: Range {
            offset: numbers.pointer_at(header, at)?,
            size: numbers.pointer_at(header, at + 3 * pointer)?,
        },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    pub(in crate::inventory) const ALL: [Numbers; 4] = [
        Numbers {
            pointer: 8,
            big: false,
        },
        Numbers {
            pointer: 8,
            big: true,
        },
        Numbers {
            pointer: 4,
            big: false,
        },
        Numbers {
            pointer: 4,
            big: true,
        },
    ];

    /// Where the whole file is loaded.
    pub(in crate::inventory) const BASE: u64 = 0x40_0000;

    pub(in crate::inventory) fn number(numbers: Numbers, value: u64, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length).map(|at| (value >> (8 * at)) as u8).collect();
        if numbers.big {
            bytes.reverse();
        }
        bytes
    }

    /// An executable of these sections, with the section headers at its end, loaded whole at [`BASE`]. Gives where each begins.
    pub(in crate::inventory) fn elf(
        numbers: Numbers,
        sections: &[(&str, &[u8])],
    ) -> (Vec<u8>, Vec<u64>) {
        let pointer = numbers.pointer;
        let wide = pointer == 8;
        let (header, segment, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
        let mut name_at = 1;
        let mut body: Vec<u8> = Vec::new();
        let mut headers = vec![0; section];
        let mut starts = Vec::new();
        let mut all: Vec<(&str, Vec<u8>)> = sections
            .iter()
            .map(|(name, bytes)| (*name, bytes.to_vec()))
            .collect();
        let mut names = vec![0];
        for (name, _) in sections {
            names.extend(name.as_bytes());
            names.push(0);
        }
        names.extend(b".shstrtab\0");
        all.push((".shstrtab", names));
        for (name, bytes) in &all {
            let start = (header + segment + body.len()) as u64;
            starts.push(start);
            body.extend(bytes);
            let mut one = number(numbers, name_at, 4);
            name_at += name.len() as u64 + 1;
            one.extend(number(numbers, 1, 4));
            one.extend(number(numbers, 0, pointer));
            one.extend(number(numbers, BASE + start, pointer));
            one.extend(number(numbers, start, pointer));
            one.extend(number(numbers, bytes.len() as u64, pointer));
            one.resize(section, 0);
            headers.extend(one);
        }
        let sections_at = (header + segment + body.len()) as u64;
        let mut file = MAGIC.to_vec();
        file.push(if wide { 2 } else { 1 });
        file.push(if numbers.big { 2 } else { 1 });
        file.resize(16, 0);
        file.extend(number(numbers, 2, 2));
        file.extend(number(numbers, 62, 2));
        file.extend(number(numbers, 1, 4));
        file.extend(number(numbers, 0, pointer));
        file.extend(number(numbers, header as u64, pointer));
        file.extend(number(numbers, sections_at, pointer));
        file.extend(number(numbers, 0, 4));
        for short in [
            header as u64,
            segment as u64,
            1,
            section as u64,
            all.len() as u64 + 1,
            all.len() as u64,
        ] {
            file.extend(number(numbers, short, 2));
        }
        assert_eq!(file.len(), header);
        let size = sections_at;
        let mut load = number(numbers, 1, 4);
        if wide {
            load.extend(number(numbers, 4, 4));
        }
        for value in [0, BASE, BASE, size, size] {
            load.extend(number(numbers, value, pointer));
        }
        load.resize(segment, 0);
        file.extend(load);
        file.extend(body);
        file.extend(headers);
        (file, starts)
    }

    #[test]
    fn sections_are_found_by_name_and_bytes_by_address() {
        for numbers in ALL {
            let (file, starts) = elf(numbers, &[(".text", b"code"), (".data", b"values")]);
            let mut content = Cursor::new(file);
            let mut open = Executable::open(&mut content).unwrap().unwrap();
            assert_eq!(open.numbers(), numbers);
            assert_eq!(open.section(".data", 10).unwrap().unwrap(), b"values");
            assert_eq!(open.section(".dat", 10).unwrap(), None);
            assert!(open.section(".data", 5).is_err());
            let at = BASE + starts[1] + 2;
            assert_eq!(open.loaded(at, 4, 10).unwrap().unwrap(), b"lues");
            assert_eq!(open.loaded(1, 4, 10).unwrap(), None);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_or_nothing() {
        for numbers in ALL {
            let (file, _) = elf(numbers, &[(".text", b"code")]);
            for end in 0..file.len() {
                let mut content = Cursor::new(&file[..end]);
                if let Ok(Some(mut open)) = Executable::open(&mut content) {
                    let _ = open.section(".text", 10);
                }
            }
        }
    }
}
