//! Goes from entry to entry of a tar.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::header::{BLOCK, Block, Format, Header, is_empty, number, text};
use super::pax::{self, Records, SparseFile};
use super::sparse::{self, Lines, Piece, SparseMap};
use super::{
    LARGEST_EXTENSION, LONGEST_PATH, MOST_ENTRIES, MOST_EXTENSIONS, expansion, invalid, shown,
};

/// What is read at once.
const BUFFER: usize = 64 * 1024;

/// The largest major and minor number of a device (Linux's 12 and 20 bits).
const LARGEST_DEVICE: (u64, u64) = (0xfff, 0xf_ffff);

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// An entry of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in the archive: it may be absolute, have `.` and `..`, and end with `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its content, with the holes of a sparse file; 0 where it can have none.
    pub size: u64,
    /// Permission bits, with set-user, set-group and sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Its extended attributes.
    pub xattrs: Xattrs,
    /// Which entry of the archive it is, from 0: two may have one path.
    pub index: u64,
    /// Where its content begins in the tar, in bytes.
    pub position: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File {
        /// Whether its content stands in the archive with holes.
        sparse: bool,
    },
    /// Another name of an earlier entry's file.
    HardLink {
        /// That entry's path.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A character device, by major and minor number.
    CharDevice(u32, u32),
    /// A block device, likewise.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// What no engine unpacks, by its type flag.
    Unknown(u8),
}

/// Skips bytes of a stream; gives how many there were.
type Skip<R> = fn(&mut BufReader<R>, u64, End) -> io::Result<u64>;

/// Where a stream ends, as far as that is known and where reading stands.
#[derive(Debug, Clone, Copy)]
struct End {
    position: u64,
    length: u64,
}

/// A tar that is read from its start, entry by entry. It reads the content of the entry that [`TarReader::next_entry`] gave last.
pub struct TarReader<R> {
    from: BufReader<R>,
    skip: Skip<R>,
    length: u64,
    /// Bytes of the tar that are behind us.
    position: u64,
    /// Bytes of the entry's content that stand in the archive and were not read yet.
    left: u64,
    /// Bytes between the content and the next header.
    padding: u64,
    sparse: Option<SparseMap>,
    /// Bytes of all holes so far.
    holes: u64,
    headers: u64,
    /// How many headers there may be.
    pub(super) most: u64,
    entries: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// The tar that `from` streams.
    pub fn new(from: R) -> Self {
        Self::with(from, read_over, u64::MAX)
    }

    fn with(from: R, skip: Skip<R>, length: u64) -> Self {
        Self {
            from: BufReader::with_capacity(BUFFER, from),
            skip,
            length,
            position: 0,
            left: 0,
            padding: 0,
            sparse: None,
            holes: 0,
            headers: 0,
            most: MOST_ENTRIES,
            entries: 0,
            ended: false,
        }
    }

    /// The stream beneath. What was buffered of it is lost.
    pub fn into_inner(self) -> R {
        self.from.into_inner()
    }

    /// The next entry; `None` at the end. What nobody read of the last one is skipped.
    ///
    /// # Errors
    /// Where the archive is malformed, ends early, or names more than any archive needs; and those of the stream.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let (mut records, mut name, mut link) = (Records::default(), None, None);
        let mut extensions = 0;
        loop {
            self.pass()?;
            let mut block = [0; BLOCK];
            if self.ended || !self.header(&mut block)? {
                self.ended = true;
                return match extensions {
                    0 => Ok(None),
                    _ => Err(cut()),
                };
            }
            let header = Header::new(&block)?;
            self.headers += 1;
            if self.headers > self.most {
                return Err(invalid(format!("it has more than {} entries", self.most)));
            }
            match header.flag() {
                // As Go has it, what holds for all entries holds for none.
                b'g' => {
                    self.expect(header.size()?);
                    continue;
                }
                b'x' => records = pax::records(&self.extension(&header)?)?,
                b'L' => name = Some(text(&self.extension(&header)?).to_vec()),
                b'K' => link = Some(text(&self.extension(&header)?).to_vec()),
                _ => return self.entry(&header, records, name, link).map(Some),
            }
            extensions += 1;
            if extensions > MOST_EXTENSIONS {
                return Err(invalid(format!(
                    "more than {MOST_EXTENSIONS} headers stand before one entry"
                )));
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        records: Records,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> io::Result<Entry> {
        let flag = header.flag();
        let size = match records.size {
            Some(size) => size,
            None => header.size()?,
        };
        // What has no content has none, whatever size its header names.
        let data = if matches!(flag, b'1'..=b'6') { 0 } else { size };
        if data > i64::MAX.cast_unsigned() {
            return Err(invalid("an entry's size is larger than any file"));
        }
        self.expect(data);
        let mut path = records.path.unwrap_or_else(|| header.path());
        let is_file = matches!(flag, 0 | b'0' | b'7' | b'S');
        let mut size = data;
        if is_file {
            let (sparse_name, map) = if flag == b'S' {
                (None, Some(self.old_map(header)?))
            } else {
                self.pax_map(records.sparse, size)?
            };
            if let Some(name) = sparse_name {
                path = name;
            }
            if let Some(map) = map {
                size = map.size();
                self.holes = self.holes.saturating_add(size - self.left);
                expansion::check(self.holes, self.position.saturating_add(self.left))?;
                self.sparse = Some(map);
            }
        }
        let path = name.unwrap_or(path);
        let link = link.or(records.link).unwrap_or_else(|| header.link());
        for text in [&path, &link] {
            if text.len() > LONGEST_PATH {
                return Err(invalid(format!(
                    "a path has {} bytes, more than the {LONGEST_PATH} that Linux takes: `{}`",
                    text.len(),
                    shown(text)
                )));
            }
        }
        let kind = match flag {
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File {
                sparse: self.sparse.is_some(),
            },
            b'1' => EntryKind::HardLink { target: link },
            b'2' => EntryKind::Symlink { target: link },
            b'3' => {
                let (major, minor) = device(header)?;
                EntryKind::CharDevice(major, minor)
            }
            b'4' => {
                let (major, minor) = device(header)?;
                EntryKind::BlockDevice(major, minor)
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => EntryKind::Unknown(other),
        };
        let owner = |record: Option<u64>, field: io::Result<u64>| {
            let number = match record {
                Some(number) => number,
                None => field?,
            };
            u32::try_from(number).map_err(|_| {
                invalid(format!(
                    "`{}` belongs to {number}, which is no user or group of Linux",
                    shown(&path)
                ))
            })
        };
        let index = self.entries;
        self.entries += 1;
        Ok(Entry {
            mode: u32::try_from(header.mode()? & 0o7777).unwrap_or_default(),
            uid: owner(records.uid, header.uid())?,
            gid: owner(records.gid, header.gid())?,
            path,
            kind,
            size,
            xattrs: records.xattrs,
            index,
            position: self.position,
        })
    }

    /// The block of the next header; `false` at the end of the archive.
    fn header(&mut self, block: &mut Block) -> io::Result<bool> {
        match self.fill(block)? {
            0 => return Ok(false),
            BLOCK => {}
            _ => return Err(cut()),
        }
        if !is_empty(block) {
            return Ok(true);
        }
        match self.fill(block)? {
            BLOCK if !is_empty(block) => {
                Err(invalid("an empty block stands where no entry may follow"))
            }
            _ => Ok(false),
        }
    }

    /// What stands in a header before an entry.
    fn extension(&mut self, header: &Header<'_>) -> io::Result<Vec<u8>> {
        let size = header.size()?;
        if size > LARGEST_EXTENSION {
            return Err(invalid(format!(
                "a file's header is too large: {size} bytes of names or attributes, more than {LARGEST_EXTENSION}"
            )));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// So many bytes of content come next.
    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.sparse = None;
    }

    /// Goes to where the next header must be.
    fn pass(&mut self) -> io::Result<()> {
        self.sparse = None;
        for (count, may_lack) in [(self.left, false), (self.padding, true)] {
            if count == 0 {
                continue;
            }
            let end = End {
                position: self.position,
                length: self.length,
            };
            let skipped = (self.skip)(&mut self.from, count, end)?;
            self.position += skipped;
            if skipped < count && !may_lack {
                return Err(cut());
            }
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// A sparse file in GNU's old format: its map stands in the header, and in blocks behind it.
    fn old_map(&mut self, header: &Header<'_>) -> io::Result<SparseMap> {
        if header.format != Format::Gnu {
            return Err(invalid("a sparse file's header is not GNU's"));
        }
        let field = |field: &[u8]| number(field, "sparse map");
        let fields = header.sparse_fields();
        let mut pairs = Vec::new();
        sparse::old_pairs(&fields[..96], &mut pairs, &field)?;
        let mut more = fields[96] != 0;
        let size = number(&fields[97..109], "size")?;
        while more {
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(cut());
            }
            sparse::old_pairs(&block[..504], &mut pairs, &field)?;
            self.headers += 1;
            if self.headers > self.most {
                return Err(invalid("the map of a sparse file does not end"));
            }
            more = block[504] != 0;
        }
        SparseMap::new(&pairs, size, self.left)
    }

    /// A sparse file of a PAX archive: its own name, and its map.
    fn pax_map(
        &mut self,
        records: pax::SparseRecords,
        stands: u64,
    ) -> io::Result<(Option<Vec<u8>>, Option<SparseMap>)> {
        let Some((name, size, file)) = records.file() else {
            return Ok((None, None));
        };
        let size = size.unwrap_or(stands);
        let map = match file {
            SparseFile::Mapped(pairs) => SparseMap::new(&pairs, size, self.left)?,
            SparseFile::MapFollows => {
                let mut lines = Lines::default();
                loop {
                    let mut block = [0; BLOCK];
                    if self.left < BLOCK as u64 || self.fill(&mut block)? < BLOCK {
                        return Err(invalid("the map of a sparse file does not end"));
                    }
                    self.left -= BLOCK as u64;
                    if lines.take(&block)? {
                        break;
                    }
                }
                SparseMap::new(lines.pairs(), size, self.left)?
            }
        };
        Ok((name, Some(map)))
    }

    /// Fills a block, as far as there is something.
    fn fill(&mut self, block: &mut Block) -> io::Result<usize> {
        let mut length = 0;
        while length < BLOCK {
            match self.from.read(&mut block[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += length as u64;
        Ok(length)
    }

    /// Reads what stands in the archive, `most` bytes of it at most.
    fn read_data(&mut self, buffer: &mut [u8], most: u64) -> io::Result<usize> {
        let most = usize::try_from(most.min(self.left)).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(cut());
        }
        self.left -= read as u64;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// The tar that `from` holds: what nobody reads is not read. It is sought to its start.
    ///
    /// # Errors
    /// Those of seeking.
    pub fn seeking(mut from: R) -> io::Result<Self> {
        let length = from.seek(SeekFrom::End(0))?;
        from.rewind()?;
        Ok(Self::with(from, seek_over, length))
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(map) = &self.sparse else {
            return self.read_data(buffer, u64::MAX);
        };
        let count = match map.piece() {
            None => 0,
            Some(Piece::Data(length)) => self.read_data(buffer, length)?,
            Some(Piece::Hole(length)) => {
                let count = usize::try_from(length).unwrap_or(usize::MAX);
                let count = count.min(buffer.len());
                buffer[..count].fill(0);
                count
            }
        };
        if let Some(map) = &mut self.sparse {
            map.advance(count as u64);
        }
        Ok(count)
    }
}

fn device(header: &Header<'_>) -> io::Result<(u32, u32)> {
    let (major, minor) = header.device()?;
    let (largest_major, largest_minor) = LARGEST_DEVICE;
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(one), Ok(other)) if major <= largest_major && minor <= largest_minor => {
            Ok((one, other))
        }
        _ => Err(invalid(format!(
            "a device has the numbers {major} and {minor}, which Linux does not have"
        ))),
    }
}

fn read_over<R: Read>(from: &mut BufReader<R>, count: u64, _: End) -> io::Result<u64> {
    let mut left = count;
    while left > 0 {
        let there = match from.fill_buf() {
            Ok(there) => there.len(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if there == 0 {
            break;
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        from.consume(taken);
        left -= taken as u64;
    }
    Ok(count - left)
}

fn seek_over<R: Read + Seek>(from: &mut BufReader<R>, count: u64, end: End) -> io::Result<u64> {
    let count = count.min(end.length.saturating_sub(end.position));
    from.seek_relative(i64::try_from(count).unwrap_or(i64::MAX))?;
    Ok(count)
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it ends in the middle of an entry",
    )
}
