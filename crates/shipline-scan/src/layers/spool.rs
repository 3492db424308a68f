//! Files that are read from any place in them, from a layer that only streams: small ones in memory, others in a temporary
//! file that has no name and goes with its last use.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

pub(crate) use shipline_engine::backend::Content;

/// Files up to this many bytes stay in memory.
const SMALL: u64 = 8 * 1024 * 1024;

/// The room for one file at a time, used again for the next.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
}

/// A file that is being kept.
#[derive(Debug)]
pub(crate) struct Capture<'s> {
    spool: &'s mut Spool,
    largest: u64,
    size: u64,
    file: Option<File>,
    failed: Option<io::Error>,
}

/// A file that was kept.
pub(crate) enum Kept<'s> {
    /// All of it, with its size in bytes.
    Content(Box<dyn Content + 's>, u64),
    /// It was too large.
    TooLarge,
    /// There was no room for it.
    NoRoom(io::Error),
}

impl Spool {
    /// Files that are too large for memory go to `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            memory: Vec::new(),
        }
    }

    /// Begins to keep a file of at most `largest` bytes.
    pub(crate) fn capture(&mut self, largest: u64) -> Capture<'_> {
        self.memory.clear();
        Capture {
            spool: self,
            largest,
            size: 0,
            file: None,
            failed: None,
        }
    }
}

impl<'s> Capture<'s> {
    /// Takes the next bytes. What cannot be kept is no error before somebody asks for it.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if self.wants_more()
            && let Err(error) = self.keep(bytes)
        {
            self.failed = Some(error);
        }
    }

    /// Whether further bytes change anything.
    pub(crate) fn wants_more(&self) -> bool {
        self.failed.is_none() && self.size <= self.largest
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        if self.size <= SMALL {
            self.spool.memory.extend_from_slice(bytes);
            return Ok(());
        }
        std::fs::create_dir_all(&self.spool.folder)?;
        let mut file = tempfile::tempfile_in(&self.spool.folder)?;
        file.write_all(&self.spool.memory)?;
        file.write_all(bytes)?;
        self.file = Some(file);
        Ok(())
    }

    /// The file.
    pub(crate) fn kept(self) -> Kept<'s> {
        if let Some(error) = self.failed {
            return Kept::NoRoom(error);
        }
        if self.size > self.largest {
            return Kept::TooLarge;
        }
        match self.file {
            None => Kept::Content(Box::new(Cursor::new(&self.spool.memory[..])), self.size),
            Some(mut file) => match file.rewind() {
                Ok(()) => Kept::Content(Box::new(BufReader::new(file)), self.size),
                Err(error) => Kept::NoRoom(error),
            },
        }
    }
}

/// Lets a capture see what somebody else reads.
pub(crate) struct Tee<'t, 's, R> {
    pub(crate) from: R,
    pub(crate) capture: &'t mut Capture<'s>,
}

impl<R: Read> Tee<'_, '_, R> {
    /// Reads what is left, as far as the capture wants it.
    ///
    /// # Errors
    /// Those of what is read.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.capture.wants_more() && self.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

impl<R: Read> Read for Tee<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.capture.push(&buffer[..read]);
        Ok(read)
    }
}

/// `length` bytes from `offset`.
///
/// # Errors
/// `UnexpectedEof` where there are fewer.
pub(crate) fn read_at(
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
pub(crate) fn length(content: &mut dyn Content) -> io::Result<u64> {
    content.seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep<'s>(spool: &'s mut Spool, bytes: &[u8], largest: u64) -> Kept<'s> {
        let mut capture = spool.capture(largest);
        let mut tee = Tee {
            from: bytes,
            capture: &mut capture,
        };
        tee.drain().unwrap();
        capture.kept()
    }

    #[test]
    fn files_of_every_size_can_be_read_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path().join("spool"));
        let small = usize::try_from(SMALL).unwrap();
        for size in [0, 1, small - 1, small, small + 1, small + 70_000] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let Kept::Content(mut content, kept) = keep(&mut spool, &bytes, u64::MAX / 2) else {
                panic!("{size} bytes are kept");
            };
            assert_eq!(kept, size as u64);
            assert_eq!(length(&mut *content).unwrap(), size as u64);
            let tail = size.saturating_sub(5);
            assert_eq!(
                read_at(&mut *content, tail as u64, size - tail).unwrap(),
                &bytes[tail..]
            );
            assert!(read_at(&mut *content, tail as u64, 6).is_err());
            drop(content);
            let kept = keep(&mut spool, &bytes, size as u64);
            assert!(matches!(kept, Kept::Content(..)));
            drop(kept);
            if size > 0 {
                let kept = keep(&mut spool, &bytes, size as u64 - 1);
                assert!(matches!(kept, Kept::TooLarge));
            }
        }
        let left = std::fs::read_dir(folder.path().join("spool")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_file_without_room_is_no_error_for_who_streams_it() {
        let folder = tempfile::NamedTempFile::new().unwrap();
        let mut spool = Spool::new(folder.path().to_path_buf());
        let bytes = vec![7; usize::try_from(SMALL).unwrap() + 1];
        let mut capture = spool.capture(u64::MAX / 2);
        let mut tee = Tee {
            from: &bytes[..],
            capture: &mut capture,
        };
        let read = io::copy(&mut tee, &mut io::sink()).unwrap();
        assert_eq!(read, SMALL + 1);
        assert!(matches!(capture.kept(), Kept::NoRoom(_)));
    }
}
