//! A hash table of Berkeley DB, which rpm had before: the values of its pairs are the headers of packages. The order of the pairs
//! does not matter, so pages are read one after the other and no key is looked up.

use std::io;

use super::{Headers, invalid};
use crate::layers::spool::{Content, read_at};

/// Berkeley DB's mark of a hash table, in the byte order of the machine that wrote it, and where it stands.
const MAGIC: u32 = 0x0006_1561;
const MAGIC_AT: usize = 12;
const PAGE_SIZE_AT: usize = 20;
const LAST_PAGE_AT: usize = 32;

/// Bytes of the header of every page.
const PAGE_HEADER: usize = 26;
const NEXT_AT: usize = 16;
const ENTRIES_AT: usize = 20;
/// Where the data of a page begin; on an overflow page, how long they are.
const FREE_AT: usize = 22;
const TYPE_AT: usize = 25;

const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;

/// An item that stands in its page, and one that stands in pages of its own.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

pub(super) fn read(
    content: &mut dyn Content,
    length: u64,
    headers: &mut Headers,
) -> io::Result<()> {
    let meta = read_at(content, 0, 512)?;
    let Some(order) = Order::of(&meta) else {
        return Err(invalid("it is no hash table of Berkeley DB"));
    };
    let size = u64::from(order.long(&meta, PAGE_SIZE_AT));
    if !size.is_power_of_two() || !(512..=65_536).contains(&size) {
        return Err(invalid("its pages have an odd size"));
    }
    let last = u64::from(order.long(&meta, LAST_PAGE_AT));
    if (last + 1).saturating_mul(size) > length {
        return Err(invalid("it is cut off"));
    }
    let mut table = Table {
        content,
        order,
        size,
        last,
        hops: 0,
    };
    for number in 1..=last {
        let page = table.page(number)?;
        if matches!(page.get(TYPE_AT), Some(&HASH | &HASH_UNSORTED)) {
            table.values(&page, headers)?;
        }
    }
    Ok(())
}

/// The byte order of the machine that wrote the table.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(meta: &[u8]) -> Option<Self> {
        let orders = [Self::Little, Self::Big];
        orders
            .into_iter()
            .find(|order| order.long(meta, MAGIC_AT) == MAGIC)
    }

    /// Numbers of four bytes and of two; 0 where the bytes end before.
    fn long(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    fn short(self, bytes: &[u8], at: usize) -> usize {
        let bytes = bytes
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok());
        usize::from(bytes.map_or(0, |bytes| match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }))
    }
}

struct Table<'c> {
    content: &'c mut dyn Content,
    order: Order,
    size: u64,
    last: u64,
    /// Overflow pages that were followed: each belongs to one value.
    hops: u64,
}

impl Table<'_> {
    fn page(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size).map_err(io::Error::other)?;
        read_at(self.content, number * self.size, size)
    }

    /// The values of a page: its items are keys and values in turn.
    fn values(&mut self, page: &[u8], headers: &mut Headers) -> io::Result<()> {
        let offset = |item: usize| {
            let at = self.order.short(page, PAGE_HEADER + 2 * item);
            (at >= PAGE_HEADER && at < page.len()).then_some(at)
        };
        let entries = self.order.short(page, ENTRIES_AT);
        let mut places = Vec::new();
        for value in (1..entries).step_by(2) {
            // Items are written from the end of the page: this one ends where the one before it, its key, begins.
            let (start, end) = offset(value)
                .zip(offset(value - 1))
                .filter(|(start, end)| start < end)
                .ok_or_else(|| invalid("a page of it is damaged"))?;
            places.push((start, end));
        }
        for (start, end) in places {
            match page.get(start) {
                Some(&HERE) => {
                    headers.reserve((end - start) as u64)?;
                    self.header(page.get(start + 1..end).unwrap_or_default(), headers);
                }
                Some(&ELSEWHERE) => {
                    let first = self.order.long(page, start + 4);
                    let length = self.order.long(page, start + 8);
                    let length = headers.reserve(u64::from(length))?;
                    let value = self.overflow(u64::from(first), length)?;
                    self.header(&value, headers);
                }
                Some(_) | None => return Err(invalid("a value of it is of an unknown kind")),
            }
        }
        Ok(())
    }

    /// One pair is no package: it holds the number that the next one gets.
    fn header(&self, value: &[u8], headers: &mut Headers) {
        if value.len() > 4 {
            headers.add(value);
        }
    }

    fn overflow(&mut self, first: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut value = Vec::new();
        let mut number = first;
        while value.len() < length {
            self.hops += 1;
            if number == 0 || number > self.last || self.hops > self.last {
                return Err(invalid("a value of it is cut off"));
            }
            let page = self.page(number)?;
            let filled = self.order.short(&page, FREE_AT);
            let data = page.get(PAGE_HEADER..PAGE_HEADER + filled);
            let data = data.filter(|_| page.get(TYPE_AT) == Some(&OVERFLOW));
            value.extend(data.ok_or_else(|| invalid("a value of it is cut off"))?);
            number = u64::from(self.order.long(&page, NEXT_AT));
        }
        value.truncate(length);
        Ok(value)
    }
}
