//! PAX extended headers (POSIX.1-2001, `pax`): records `LENGTH KEY=VALUE\n` that stand before an entry.

use std::io;

use super::tar::Xattrs;
use super::{LARGEST_XATTR, LONGEST_XATTR_NAME, MOST_FRAGMENTS, invalid, shown};

/// How attributes are called in records: star's way, which Go and thereby all engines take.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What an extended header says of the entry behind it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: SparseRecords,
}

/// What GNU tar says of a sparse file.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    /// The file's size, with its holes.
    size: Option<u64>,
    real_size: Option<u64>,
    /// Offset and length in turn (formats 0.0 and 0.1).
    map: Vec<u64>,
    has_map: bool,
}

/// Where the map of a sparse file is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SparseFile {
    /// In the records: offset and length in turn.
    Mapped(Vec<u64>),
    /// Before the file's data.
    MapFollows,
}

impl SparseRecords {
    /// The path, the size and the map of a sparse file; `None` where the entry is none.
    pub(super) fn file(self) -> Option<(Option<Vec<u8>>, Option<u64>, SparseFile)> {
        let version = (
            self.major.as_deref().unwrap_or_default(),
            self.minor.as_deref().unwrap_or_default(),
        );
        let file = match version {
            (b"0", b"0" | b"1") => SparseFile::Mapped(self.map),
            (b"1", b"0") => SparseFile::MapFollows,
            // The first two formats did not say that they are.
            (b"", b"") if self.has_map => SparseFile::Mapped(self.map),
            _ => return None,
        };
        let name = self.name.filter(|name| !name.is_empty());
        Some((name, self.size.or(self.real_size), file))
    }
}

/// Reads the records of an extended header.
///
/// # Errors
/// Where they are not laid out as they must be, or say what cannot be.
pub(super) fn records(mut bytes: &[u8]) -> io::Result<Records> {
    let mut records = Records::default();
    while !bytes.is_empty() {
        let (record, rest) = record(bytes)
            .ok_or_else(|| invalid(format!("a PAX record is malformed: `{}`", shown(bytes))))?;
        bytes = rest;
        let (key, value) = record;
        set(&mut records, key, value)?;
    }
    if !records.sparse.map.len().is_multiple_of(2) {
        return Err(invalid("the map of a sparse file lacks a length"));
    }
    Ok(records)
}

type Record<'b> = (&'b [u8], &'b [u8]);

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length > bytes.len() || length <= space + 1 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty()).then_some(((key, value), rest))
}

fn set(records: &mut Records, key: &[u8], value: &[u8]) -> io::Result<()> {
    let wrong = || {
        invalid(format!(
            "the PAX record `{}` cannot be `{}`",
            shown(key),
            shown(value)
        ))
    };
    let number = || match value {
        // An empty value takes the record back.
        b"" => Ok(None),
        value => decimal(value).map(Some).ok_or_else(wrong),
    };
    let text = || match value {
        b"" => Ok(None),
        value if value.contains(&0) => Err(wrong()),
        value => Ok(Some(value.to_vec())),
    };
    let sparse = &mut records.sparse;
    match key {
        b"path" => records.path = text()?,
        b"linkpath" => records.link = text()?,
        b"size" => records.size = number()?,
        b"uid" => records.uid = number()?,
        b"gid" => records.gid = number()?,
        b"GNU.sparse.major" => sparse.major = Some(value.to_vec()),
        b"GNU.sparse.minor" => sparse.minor = Some(value.to_vec()),
        b"GNU.sparse.name" => sparse.name = text()?,
        b"GNU.sparse.size" => sparse.size = number()?,
        b"GNU.sparse.realsize" => sparse.real_size = number()?,
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            let is_offset = key == b"GNU.sparse.offset";
            if is_offset != sparse.map.len().is_multiple_of(2) {
                return Err(wrong());
            }
            sparse.has_map = true;
            push(&mut sparse.map, value).ok_or_else(wrong)?;
        }
        b"GNU.sparse.map" => {
            sparse.has_map = true;
            sparse.map.clear();
            for part in value
                .split(|byte| *byte == b',')
                .filter(|part| !part.is_empty())
            {
                push(&mut sparse.map, part).ok_or_else(wrong)?;
            }
        }
        key => {
            if let Some(name) = key.strip_prefix(XATTR) {
                let fits = !name.is_empty()
                    && name.len() <= LONGEST_XATTR_NAME
                    && value.len() <= LARGEST_XATTR;
                if !fits || name.contains(&0) {
                    return Err(invalid(format!(
                        "the attribute `{}` of {} bytes is none that Linux can hold",
                        shown(name),
                        value.len()
                    )));
                }
                records.xattrs.insert(name.to_vec(), value.to_vec());
            }
        }
    }
    Ok(())
}

fn push(map: &mut Vec<u64>, digits: &[u8]) -> Option<()> {
    if map.len() >= 2 * MOST_FRAGMENTS {
        return None;
    }
    map.push(decimal(digits)?);
    Some(())
}

/// A number of decimal digits, up to what a file's size can be.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= i64::MAX.cast_unsigned()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records with the right lengths.
    fn written(all: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in all {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            bytes.extend(format!("{length} ").into_bytes());
            bytes.extend([key, &b"="[..], value, b"\n"].concat());
        }
        bytes
    }

    #[test]
    fn records_are_read_and_the_last_of_a_kind_counts() {
        let bytes = written(&[
            (b"path", b"abc"),
            (b"path", b"abcd"),
            (b"size", b"123"),
            (b"SCHILY.xattr.user.a", b"\0\n="),
            (b"comment", b""),
            (b"uid", b"7"),
            (b"gid", b""),
        ]);
        assert!(bytes.starts_with(b"12 path=abc\n13 path=abcd\n"));
        let read = records(&bytes).unwrap();
        assert_eq!(read.path.as_deref(), Some(&b"abcd"[..]));
        assert_eq!((read.size, read.uid, read.gid), (Some(123), Some(7), None));
        assert_eq!(
            read.xattrs.get(&b"user.a"[..]).map(Vec::as_slice),
            Some(&b"\0\n="[..])
        );
        assert!(read.sparse.file().is_none());
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"12 path=ab",
            b"99999999999999999999 path=ab\n",
            b"4 ab\n",
            b"5 =b\n",
            b"0 path=ab\n",
            b"-12 path=abc\n",
            b"11 path=abc\n",
            b"13 path=abc\n",
        ] {
            assert!(records(bad).is_err(), "{}", shown(bad));
        }
        let long = [
            b"SCHILY.xattr.".to_vec(),
            b"x".repeat(LONGEST_XATTR_NAME + 1),
        ]
        .concat();
        let large = vec![0; LARGEST_XATTR + 1];
        for (key, value) in [
            (&b"path"[..], &b"a\0c"[..]),
            (b"size", b"-1"),
            (b"size", b"99999999999999999999"),
            (b"uid", b"x"),
            (b"GNU.sparse.numbytes", b"1"),
            (b"GNU.sparse.offset", b"1"),
            (b"GNU.sparse.map", b"1,2,3"),
            (b"SCHILY.xattr.", b"v"),
            (b"SCHILY.xattr.a\0b", b"v"),
            (b"SCHILY.xattr.user.a", &large),
            (&long, b"v"),
        ] {
            let record = written(&[(key, value)]);
            assert!(records(&record).is_err(), "{}", shown(&record));
        }
    }

    #[test]
    fn sparse_files_are_told_in_every_format() {
        let file = |text: &str| {
            let bytes: String = text
                .split_whitespace()
                .map(|record| {
                    let length = record.len() + 2;
                    let length = length + length.to_string().len();
                    format!("{length} {record}\n")
                })
                .collect();
            records(bytes.as_bytes()).unwrap().sparse.file()
        };
        let mapped = |pairs: &[u64]| SparseFile::Mapped(pairs.to_vec());
        assert_eq!(
            file(
                "GNU.sparse.size=9 GNU.sparse.numblocks=2 GNU.sparse.offset=1 GNU.sparse.numbytes=2 GNU.sparse.offset=5 GNU.sparse.numbytes=1"
            ),
            Some((None, Some(9), mapped(&[1, 2, 5, 1])))
        );
        assert_eq!(
            file("GNU.sparse.name=n GNU.sparse.size=9 GNU.sparse.map=1,2,5,1"),
            Some((Some(b"n".to_vec()), Some(9), mapped(&[1, 2, 5, 1])))
        );
        assert_eq!(
            file("GNU.sparse.major=1 GNU.sparse.minor=0 GNU.sparse.name=n GNU.sparse.realsize=9"),
            Some((Some(b"n".to_vec()), Some(9), SparseFile::MapFollows))
        );
        assert_eq!(file("GNU.sparse.major=2 GNU.sparse.minor=0"), None);
    }
}
