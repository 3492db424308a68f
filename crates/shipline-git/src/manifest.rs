//! What files looked like when their content was last known: those of the workspace, and large ones of the work tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;
use std::time::SystemTime;

use shipline_engine::error::BackendError;
use shipline_engine::folder::{Folder, Seen};

use crate::error;

/// First line; another version is not read.
const HEADER: &[u8] = b"shipline files 2\n";

/// Last line; a file that was cut off lacks it.
const END: &[u8] = b"end\n";

/// File systems stamp files by a clock that ticks; a file may change twice within a tick and look the same.
const TICK_NS: i128 = 20_000_000;

/// How a file looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    device: u64,
    inode: u64,
}

impl Look {
    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether it changed so long before `now` that a further change would show in its times.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| {
            i128::try_from(now.as_nanos()).is_ok_and(|now_ns| self.is_before(now_ns))
        })
    }

    fn is_before(&self, ns: i128) -> bool {
        self.mtime_ns.max(self.ctime_ns) + TICK_NS < ns
    }

    pub(crate) fn of(seen: &Seen) -> Self {
        Self {
            size: seen.size,
            mtime_ns: seen.modified_ns,
            ctime_ns: seen.changed_ns,
            device: seen.device,
            inode: seen.inode,
        }
    }
}

/// A file's content and how it looked when that was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<C> {
    pub(crate) content: C,
    pub(crate) look: Look,
}

/// Records by path. A content is written as one word.
#[derive(Debug)]
pub(crate) struct Manifest<C> {
    pub(crate) records: HashMap<Vec<u8>, Record<C>>,
    /// When it was written, by the file system's clock.
    written_ns: i128,
}

impl<C> Default for Manifest<C> {
    fn default() -> Self {
        Self {
            records: HashMap::new(),
            written_ns: 0,
        }
    }
}

impl<C: Copy + Display + FromStr> Manifest<C> {
    /// The manifest in a file of `folder`; empty where it is not there or not whole.
    pub(crate) fn read(folder: &Folder, name: &OsStr) -> Result<Self, BackendError> {
        let failed = |cause| error::file("read", &folder.path().join(name), cause);
        let bytes = match folder.read(name) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(cause) => return Err(failed(cause)),
        };
        let seen = folder.see(name).map_err(failed)?;
        Ok(Self {
            records: parse(&bytes).unwrap_or_default(),
            written_ns: seen.map_or(0, |seen| seen.modified_ns),
        })
    }

    /// The content of the file at `path`, if it looks as it did when that was known, and long enough before the manifest was
    /// written.
    pub(crate) fn content(&self, path: &[u8], look: &Look) -> Option<C> {
        let record = self.records.get(path)?;
        (look.is_before(self.written_ns) && record.look == *look).then_some(record.content)
    }

    /// Writes it as a whole, by rename.
    pub(crate) fn write(&self, folder: &Folder, name: &OsStr) -> Result<(), BackendError> {
        let mut bytes = HEADER.to_vec();
        for (path, Record { content, look }) in &self.records {
            bytes.extend_from_slice(
                format!(
                    "{content} {} {} {} {} {} ",
                    look.size, look.mtime_ns, look.ctime_ns, look.device, look.inode
                )
                .as_bytes(),
            );
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(b"\0\n");
        }
        bytes.extend_from_slice(END);
        folder
            .write_whole(name, &bytes)
            .map_err(|cause| error::file("write", &folder.path().join(name), cause))
    }
}

/// `None` where the bytes are no whole manifest.
pub(crate) fn parse<C: FromStr>(bytes: &[u8]) -> Option<HashMap<Vec<u8>, Record<C>>> {
    let mut rest = bytes.strip_prefix(HEADER)?;
    let mut records = HashMap::new();
    while rest != END {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let line = &rest[..end];
        rest = rest[end..].strip_prefix(b"\0\n")?;
        let mut fields = line.splitn(7, |byte| *byte == b' ');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let content = text()?.parse().ok()?;
        let look = Look {
            size: text()?.parse().ok()?,
            mtime_ns: text()?.parse().ok()?,
            ctime_ns: text()?.parse().ok()?,
            device: text()?.parse().ok()?,
            inode: text()?.parse().ok()?,
        };
        records.insert(fields.next()?.to_vec(), Record { content, look });
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use shipline_engine::folder::Place;

    use super::*;
    use git2::Oid;

    fn manifest() -> Manifest<Oid> {
        let record = |n: i128| Record {
            content: Oid::from_str("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").unwrap(),
            look: Look {
                size: 3,
                mtime_ns: n,
                ctime_ns: n,
                device: 1,
                inode: 7,
            },
        };
        Manifest {
            records: HashMap::from([
                (b"a b\nc".to_vec(), record(1)),
                (b"\xff".to_vec(), record(2_000_000_000)),
            ]),
            written_ns: 2_000_000_000,
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_a_cut_file_is_no_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let open = Place::from(folder.path()).open().unwrap();
        manifest().write(&open, OsStr::new("m")).unwrap();
        let bytes = open.read("m").unwrap();
        assert_eq!(parse(&bytes), Some(manifest().records));
        for cut in 0..bytes.len() {
            assert_eq!(parse::<Oid>(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_stamped_in_the_tick_of_the_manifest_is_not_trusted() {
        let manifest = manifest();
        for (path, trusted) in [(&b"a b\nc"[..], true), (b"\xff", false), (b"other", false)] {
            let look = manifest.records.get(path).map(|record| record.look);
            let content = look.and_then(|look| manifest.content(path, &look));
            assert_eq!(content.is_some(), trusted, "{path:?}");
        }
    }
}
