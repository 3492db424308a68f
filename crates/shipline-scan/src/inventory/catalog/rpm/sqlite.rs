//! A table of an SQLite database (the SQLite file format): as much of it as reading the one column of rpm's `Packages` takes.
//! There is no query, and nothing of the database is trusted: a page is read at most once for each table.

use std::io;

use super::{Headers, invalid};
use crate::layers::spool::{Content, read_at};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Page 1 begins with the file's own header.
const FILE_HEADER: usize = 100;
/// Pages of a table below others; those with rows.
const INNER: u8 = 0x05;
const LEAF: u8 = 0x0d;
/// Rows of the schema: one for each table and index.
const LARGEST_SCHEMA: u64 = 1024 * 1024;

pub(super) fn read(
    content: &mut dyn Content,
    length: u64,
    headers: &mut Headers,
) -> io::Result<()> {
    let start =
        read_at(content, 0, FILE_HEADER).map_err(|_| invalid("it is no SQLite database"))?;
    if !start.starts_with(MAGIC) {
        return Err(invalid("it is no SQLite database"));
    }
    let size = match short(&start, 16) {
        1 => 65_536,
        size => size,
    };
    let reserved = usize::from(start.get(20).copied().unwrap_or_default());
    let usable = size.checked_sub(reserved).filter(|usable| *usable >= 480);
    let Some(usable) = usable.filter(|_| size.is_power_of_two()) else {
        return Err(invalid("its pages have an odd size"));
    };
    let mut database = Database {
        content,
        size,
        usable,
        pages: length / size as u64,
    };
    let mut root = None;
    let mut schema_room = LARGEST_SCHEMA;
    database.rows(1, &mut |database, row| {
        schema_room = schema_room
            .checked_sub(row.length)
            .ok_or_else(|| invalid("its schema is too large"))?;
        let row = database.payload(&row)?;
        root = root.or_else(|| packages_root(&row));
        Ok(())
    })?;
    let root = root.ok_or_else(|| invalid("it has no table of packages"))?;
    database.rows(root, &mut |database, row| {
        headers.reserve(row.length)?;
        let row = database.payload(&row)?;
        let columns = columns(&row).ok_or_else(|| invalid("a row of it is damaged"))?;
        // The number of the package is the row's own; its header is the only value that is kept as bytes.
        let header = columns.iter().find_map(|column| match column {
            Value::Bytes(bytes) => Some(*bytes),
            Value::Text(_) | Value::Number(_) | Value::Other => None,
        });
        headers.add(header.unwrap_or_default());
        Ok(())
    })
}

/// The first page of the table `Packages`, where this row of the schema describes it.
fn packages_root(row: &[u8]) -> Option<u64> {
    let columns = columns(row)?;
    match columns.as_slice() {
        [
            Value::Text(b"table"),
            Value::Text(name),
            _,
            Value::Number(root),
            ..,
        ] if name.eq_ignore_ascii_case(b"Packages") => Some(*root),
        _ => None,
    }
}

/// A row as it stands in its page.
struct Row {
    /// Bytes of the whole row.
    length: u64,
    /// Those that stand here.
    here: Vec<u8>,
    /// The page on which it goes on.
    next: Option<u64>,
}

struct Database<'c> {
    content: &'c mut dyn Content,
    size: usize,
    usable: usize,
    pages: u64,
}

/// Told of each row of a table.
type Visit<'v, 'c> = dyn FnMut(&mut Database<'c>, Row) -> io::Result<()> + 'v;

impl<'c> Database<'c> {
    fn page(&mut self, number: u64) -> io::Result<Vec<u8>> {
        if number == 0 || number > self.pages {
            return Err(invalid("a page of it is missing"));
        }
        read_at(self.content, (number - 1) * self.size as u64, self.size)
    }

    /// Walks over the pages of a table.
    fn rows(&mut self, root: u64, visit: &mut Visit<'_, 'c>) -> io::Result<()> {
        let damaged = || invalid("a page of it is damaged");
        let mut waiting = vec![root];
        let mut read = 0;
        while let Some(number) = waiting.pop() {
            // More pages than there are: some lead to each other.
            read += 1;
            if read > self.pages {
                return Err(damaged());
            }
            let page = self.page(number)?;
            let start = if number == 1 { FILE_HEADER } else { 0 };
            let cells = short(&page, start + 3);
            match page.get(start) {
                Some(&INNER) => {
                    waiting.push(long(&page, start + 8));
                    for cell in (0..cells).rev() {
                        let at = short(&page, start + 12 + 2 * cell);
                        waiting.push(long(&page, at));
                    }
                    if waiting.len() as u64 > self.pages {
                        return Err(damaged());
                    }
                }
                Some(&LEAF) => {
                    for cell in 0..cells {
                        let at = short(&page, start + 8 + 2 * cell);
                        let row = self.row(&page, at).ok_or_else(damaged)?;
                        visit(self, row)?;
                    }
                }
                Some(_) | None => return Err(damaged()),
            }
        }
        Ok(())
    }

    /// A row's length and number, and as many of its bytes as SQLite leaves in the page.
    fn row(&self, page: &[u8], at: usize) -> Option<Row> {
        let cell = page.get(..self.usable)?.get(at..)?;
        let (length, rest) = varint(cell)?;
        let (_, rest) = varint(rest)?;
        let most = self.usable - 35;
        let here = match usize::try_from(length) {
            Ok(length) if length <= most => length,
            Ok(_) | Err(_) => {
                let least = (self.usable - 12) * 32 / 255 - 23;
                let last = (length - least as u64) % (self.usable as u64 - 4);
                let wanted = least + usize::try_from(last).ok()?;
                if wanted <= most { wanted } else { least }
            }
        };
        let (own, rest) = rest.split_at_checked(here)?;
        let next = (length > here as u64).then(|| long(rest, 0));
        Some(Row {
            length,
            here: own.to_vec(),
            next,
        })
    }

    /// All bytes of a row, those on other pages too. The caller has looked at its length.
    fn payload(&mut self, row: &Row) -> io::Result<Vec<u8>> {
        let mut bytes = row.here.clone();
        let mut next = row.next;
        while let Some(number) = next {
            let missing = row.length.saturating_sub(bytes.len() as u64);
            if missing == 0 {
                break;
            }
            let page = self.page(number)?;
            let data = page.get(4..self.usable).unwrap_or_default();
            let taken =
                usize::try_from(missing).map_or(data.len(), |missing| missing.min(data.len()));
            bytes.extend(&data[..taken]);
            next = Some(long(&page, 0));
        }
        Ok(bytes)
    }
}

/// A value of a row, as far as somebody asks for it.
enum Value<'r> {
    Number(u64),
    Text(&'r [u8]),
    Bytes(&'r [u8]),
    Other,
}

/// The values of a row (SQLite's record format).
fn columns(row: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, mut kinds) = varint(row)?;
    let used = row.len() - kinds.len();
    let header = usize::try_from(header).ok()?;
    let mut body = row.get(header..)?;
    kinds = kinds.get(..header.checked_sub(used)?)?;
    let mut values = Vec::new();
    while !kinds.is_empty() {
        let (kind, rest) = varint(kinds)?;
        kinds = rest;
        let length = match kind {
            0 | 8..=11 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            kind => (kind - 12) / 2,
        };
        let (data, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        body = rest;
        values.push(match kind {
            1..=6 => Value::Number(
                data.iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte)),
            ),
            8 => Value::Number(0),
            9 => Value::Number(1),
            kind if kind >= 12 && kind % 2 == 0 => Value::Bytes(data),
            kind if kind >= 13 => Value::Text(data),
            _ => Value::Other,
        });
    }
    Some(values)
}

/// A number of up to nine bytes, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), bytes.get(9..)?));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Big-endian numbers of two and four bytes; 0 where the bytes end before.
fn short(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes
        .get(at..at.saturating_add(2))
        .and_then(|bytes| bytes.try_into().ok());
    usize::from(bytes.map_or(0, u16::from_be_bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes
        .get(at..at.saturating_add(4))
        .and_then(|bytes| bytes.try_into().ok());
    u64::from(bytes.map_or(0, u32::from_be_bytes))
}
