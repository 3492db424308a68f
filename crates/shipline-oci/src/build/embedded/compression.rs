//! How archives are compressed, told by how they begin, and read without it. All of it streams: what is held is the window that
//! the archive asks for, up to a limit.

use std::io::{BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use shipline_engine::zstd::{self, ZstdReader};

/// What is read at once of a compressed archive.
const BUFFER: usize = 128 * 1024;

/// The most that an archive may ask for as its window, in KiB: `xz -9` asks for 64 MiB.
const WINDOW: u32 = 256 * 1024;

/// How many bytes tell a compression.
pub(crate) const MAGIC: usize = 6;

/// A compression that Docker unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
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

impl Compression {
    /// What begins like this.
    pub(crate) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            start if zstd::begins(start) => Self::Zstd,
            _ => Self::None,
        }
    }

    /// What `raw` holds. Streams behind each other are one, as every tool reads them.
    pub(crate) fn reader<'a>(self, raw: impl Read + 'a) -> Box<dyn Read + 'a> {
        let buffered = BufReader::with_capacity(BUFFER, raw);
        match self {
            Self::None => Box::new(buffered),
            Self::Gzip => Box::new(MultiGzDecoder::new(buffered)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(buffered)),
            Self::Xz => Box::new(XzReader::new_mem_limit(buffered, true, WINDOW)),
            Self::Zstd => Box::new(ZstdReader::new(buffered)),
        }
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
    fn a_window_beyond_the_limit_is_refused() {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = 2 * WINDOW * 1024;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(b"text").unwrap();
        assert!(read(&encoder.finish().unwrap()).is_err());
    }
}
