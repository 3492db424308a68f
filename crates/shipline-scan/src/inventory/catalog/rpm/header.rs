//! The header of an installed package: an index of tags, and the store that it points into (rpm's header format, without the
//! lead and the magic that it has in a file).

use super::super::super::package::{Package, is_plain};

/// Bytes of the two counts before the index.
const COUNTS: usize = 8;
/// Bytes of an entry of the index: tag, type, offset and count, big-endian.
const ENTRY: usize = 16;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;

const INT32: u32 = 4;
const STRING: u32 = 6;
const TRANSLATED: u32 = 9;

/// The package that a header describes; `Some(None)` for a key: rpm keeps those between its packages.
pub(super) fn package(header: &[u8]) -> Option<Option<Package>> {
    let header = Header::new(header)?;
    let name = header.text(NAME)?;
    if name == "gpg-pubkey" {
        return Some(None);
    }
    let mut package = super::package(
        &name,
        header.number(EPOCH),
        &header.text(VERSION)?,
        &header.text(RELEASE)?,
        header.text(SOURCE).as_deref(),
    )?;
    let plain = |tag| header.text(tag).filter(|text| is_plain(text));
    package.architecture = plain(ARCHITECTURE);
    package.licences = plain(LICENCE).into_iter().collect();
    Some(Some(package))
}

struct Header<'h> {
    index: &'h [u8],
    store: &'h [u8],
}

impl<'h> Header<'h> {
    fn new(bytes: &'h [u8]) -> Option<Self> {
        let entries = usize::try_from(number(bytes, 0)?).ok()?;
        let length = usize::try_from(number(bytes, 4)?).ok()?;
        let (index, store) = bytes
            .get(COUNTS..)?
            .split_at_checked(entries.checked_mul(ENTRY)?)?;
        Some(Self {
            index,
            store: store.get(..length)?,
        })
    }

    /// Type and data of a tag.
    fn find(&self, tag: u32) -> Option<(u32, &'h [u8])> {
        let mut entries = self.index.chunks_exact(ENTRY);
        let entry = entries.find(|entry| number(entry, 0) == Some(tag))?;
        let offset = usize::try_from(number(entry, 8)?).ok()?;
        Some((number(entry, 4)?, self.store.get(offset..)?))
    }

    /// A text; of one in several languages, the first.
    fn text(&self, tag: u32) -> Option<String> {
        let (kind, data) = self.find(tag)?;
        let end = data.iter().position(|byte| *byte == 0)?;
        matches!(kind, STRING | TRANSLATED)
            .then(|| String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        let (kind, data) = self.find(tag)?;
        (kind == INT32).then(|| number(data, 0)).flatten()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
