//! Files that are read from any place in them, from a layer that only streams: small ones in memory, others in a temporary
//! file that has no name and goes with its last use.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Files up to this many bytes stay in memory.
const SMALL: usize = 8 * 1024 * 1024;

/// A file that can be read from any place.
pub(super) trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// The room for one file at a time, used again for the next.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
}

impl Spool {
    /// Files that are too large for memory go to `folder`.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            memory: Vec::new(),
        }
    }

    /// Takes a whole file in. At most `largest` bytes: `None` where it has more.
    ///
    /// # Errors
    /// Where it cannot be read, or the temporary file not be written.
    pub(super) fn take<'s>(
        &'s mut self,
        mut from: impl Read,
        largest: u64,
    ) -> io::Result<Option<Box<dyn Content + 's>>> {
        self.memory.clear();
        let small = (SMALL as u64).min(largest);
        from.by_ref()
            .take(small + 1)
            .read_to_end(&mut self.memory)?;
        if self.memory.len() as u64 <= small {
            return Ok(Some(Box::new(Cursor::new(&self.memory[..]))));
        }
        if small == largest {
            return Ok(None);
        }
        let mut file = self.temporary()?;
        file.write_all(&self.memory)?;
        let rest = largest - self.memory.len() as u64;
        let copied = io::copy(&mut from.take(rest + 1), &mut file)?;
        if copied > rest {
            return Ok(None);
        }
        file.rewind()?;
        Ok(Some(Box::new(io::BufReader::new(file))))
    }

    fn temporary(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.folder)?;
        tempfile::tempfile_in(&self.folder)
    }
}

/// `length` bytes from `offset`.
///
/// # Errors
/// `UnexpectedEof` where there are fewer.
pub(super) fn read_at(
    content: &mut dyn Content,
    offset: u64,
    length: usize,
) -> io::Result<Vec<u8>> {
    content.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    // Room is made by what is there, not by what a header says.
    content.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// The length of a file in bytes.
///
/// # Errors
/// Where it cannot be sought in.
pub(super) fn length(content: &mut dyn Content) -> io::Result<u64> {
    content.seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_size_can_be_read_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path().join("spool"));
        for size in [0, 1, SMALL - 1, SMALL, SMALL + 1, SMALL + 70_000] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut content = spool.take(&bytes[..], u64::MAX / 2).unwrap().unwrap();
            assert_eq!(length(&mut *content).unwrap(), size as u64);
            let tail = size.saturating_sub(5);
            assert_eq!(
                read_at(&mut *content, tail as u64, size - tail).unwrap(),
                &bytes[tail..]
            );
            assert!(read_at(&mut *content, tail as u64, 6).is_err());
            drop(content);
            assert!(spool.take(&bytes[..], size as u64).unwrap().is_some());
            if size > 0 {
                assert!(spool.take(&bytes[..], size as u64 - 1).unwrap().is_none());
            }
        }
        let left = std::fs::read_dir(folder.path().join("spool")).unwrap();
        assert_eq!(left.count(), 0);
    }
}
