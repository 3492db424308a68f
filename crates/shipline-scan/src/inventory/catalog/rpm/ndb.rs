//! rpm's own database format (NDB): pages of slots, each of which says where a package's header stands.

use std::io;

use super::{Headers, invalid};
use crate::layers::spool::{Content, read_at};

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
/// Bytes of a page of slots.
const PAGE: u64 = 4096;
/// Bytes of a slot, of a blob's own header, and of the unit that offsets count in. The file's header takes two slots.
const UNIT: u64 = 16;

pub(super) fn read(
    content: &mut dyn Content,
    length: u64,
    headers: &mut Headers,
) -> io::Result<()> {
    let start = read_at(content, 0, 32)?;
    if !start.starts_with(MAGIC) {
        return Err(invalid("it is no database of rpm (NDB)"));
    }
    let slots_end = u64::from(number(&start, 12)) * PAGE;
    if slots_end > length {
        return Err(invalid("its slots are cut off"));
    }
    let mut at = 2 * UNIT;
    while at < slots_end {
        let page_end = (at / PAGE + 1) * PAGE;
        let room = usize::try_from(page_end - at).map_err(io::Error::other)?;
        let page = read_at(content, at, room)?;
        at = page_end;
        for slot in page.chunks_exact(16) {
            if !slot.starts_with(SLOT) {
                return Err(invalid("a slot of it is damaged"));
            }
            // A package's number; an empty slot has none.
            if number(slot, 4) != 0 {
                blob(content, u64::from(number(slot, 8)) * UNIT, headers)?;
            }
        }
    }
    Ok(())
}

fn blob(content: &mut dyn Content, at: u64, headers: &mut Headers) -> io::Result<()> {
    let start = read_at(content, at, 16)?;
    if !start.starts_with(BLOB) {
        return Err(invalid("a package of it is damaged"));
    }
    let length = headers.reserve(u64::from(number(&start, 12)))?;
    headers.add(&read_at(content, at + UNIT, length)?);
    Ok(())
}

/// A little-endian number of four bytes; the caller's slices are long enough.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}
