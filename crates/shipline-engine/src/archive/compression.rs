//! How archives are compressed, told by how they begin, and read without it. All of it streams: what is held is the window that
//! the archive asks for, up to a limit.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::expansion;
use crate::zstd::{self, ZstdReader};

/// What is read at once of a compressed archive.
const BUFFER: usize = 128 * 1024;

/// The most that an archive may ask for as its window, in KiB: `xz -9` asks for 64 MiB.
const WINDOW: u32 = 256 * 1024;

/// How many bytes tell a compression.
pub const MAGIC: usize = 6;

/// A compression that Docker unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None, or one that nobody knows.
    None,
    /// RFC 1952.
    Gzip,
    /// What bzip2 writes.
    Bzip2,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

impl Compression {
    /// What begins like this ([`MAGIC`] bytes of it are enough).
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        match start {
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            start => Self::of_layer(start),
        }
    }

    /// The same for a layer, of which only some compressions are allowed (OCI image specification, "Image Layer").
    #[must_use]
    pub fn of_layer(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            start if zstd::begins(start) => Self::Zstd,
            _ => Self::None,
        }
    }

    /// What `raw` holds. Streams behind each other are one, as every tool reads them. Where more comes out than an honest archive
    /// holds, and where one asks for more memory than any tool makes it ask for (`OutOfMemory`), reading fails.
    pub fn reader<'a>(self, raw: impl Read + Send + 'a) -> Box<dyn Read + Send + 'a> {
        if self == Self::None {
            return Box::new(BufReader::with_capacity(BUFFER, raw));
        }
        let went_in = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            from: raw,
            count: Arc::clone(&went_in),
        };
        let buffered = BufReader::with_capacity(BUFFER, counted);
        let from: Box<dyn Read + Send + 'a> = match self {
            Self::None => Box::new(buffered),
            Self::Gzip => Box::new(MultiGzDecoder::new(buffered)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(buffered)),
            Self::Xz => Box::new(XzReader::new_mem_limit(buffered, true, WINDOW)),
            Self::Zstd => Box::new(ZstdReader::new(buffered)),
        };
        Box::new(Bounded {
            from,
            went_in,
            came: 0,
        })
    }
}

/// What a stream holds, whatever compressed it, and what that was.
///
/// # Errors
/// Those of reading its first bytes.
pub fn decompressed<'a>(
    mut raw: impl Read + Send + 'a,
    told: fn(&[u8]) -> Compression,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut start = Vec::with_capacity(MAGIC);
    raw.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let compression = told(&start);
    Ok((
        compression,
        compression.reader(Cursor::new(start).chain(raw)),
    ))
}

/// Counts what goes into a decoder.
struct Counted<R> {
    from: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What comes out of a decoder, as long as it is in proportion.
struct Bounded<'a> {
    from: Box<dyn Read + Send + 'a>,
    went_in: Arc<AtomicU64>,
    came: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.came = self.came.saturating_add(read as u64);
        expansion::check(self.came, self.went_in.load(Ordering::Relaxed))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 251) as u8).collect()
    }

    fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let level = bzip2::Compression::default();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
        }
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        Compression::of(bytes)
            .reader(bytes)
            .read_to_end(&mut found)?;
        Ok(found)
    }

    const ALL: [Compression; 4] = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
    ];

    #[test]
    fn each_compression_is_told_and_read_also_in_several_streams() {
        let text = text(1_500_000);
        for compression in ALL {
            let one = compressed(compression, &text);
            assert_eq!(Compression::of(&one), compression);
            assert!(one.len() < text.len() / 2, "{compression:?}");
            assert!(read(&one).unwrap() == text, "{compression:?}");
            let two = [one, compressed(compression, b"more")].concat();
            let all = [text.as_slice(), b"more"].concat();
            assert!(read(&two).unwrap() == all, "{compression:?}");
        }
        assert_eq!(Compression::of(b"BZ"), Compression::None);
        assert_eq!(Compression::of(b""), Compression::None);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_an_error() {
        let text = text(300_000);
        for compression in ALL {
            let whole = compressed(compression, &text);
            for length in [whole.len() / 2, whole.len() - 1] {
                assert!(read(&whole[..length]).is_err(), "{compression:?} {length}");
            }
            let mut changed = whole.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x10;
            assert!(
                !read(&changed).is_ok_and(|found| found != text),
                "{compression:?}: other bytes, and no error"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let member = compressed(Compression::Zstd, &vec![0; 16 << 20]);
        let bomb = member.repeat(80);
        let mut reader = Compression::Zstd.reader(&bomb[..]);
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("400 times"), "{error}");
    }

    #[test]
    fn only_what_layers_may_be_is_told_of_layers() {
        assert_eq!(Compression::of_layer(b"BZh91A"), Compression::None);
        assert_eq!(Compression::of_layer(&[0x1f, 0x8b]), Compression::Gzip);
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = 2 * WINDOW * 1024;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(b"text").unwrap();
        let error = read(&encoder.finish().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}
