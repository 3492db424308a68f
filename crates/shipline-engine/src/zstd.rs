//! Reading Zstandard (RFC 8878): how newer builders compress layers, and people archives.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The most that a frame may ask for as its window, in bytes: `zstd --long` asks for 128 MiB.
const WINDOW: u64 = 256 * 1024 * 1024;

/// What is read at once of what is compressed, in bytes.
const BUFFER: usize = 128 * 1024;

/// Whether a stream that begins like this is one: a frame, or one that is to be skipped.
#[must_use]
pub fn begins(start: &[u8]) -> bool {
    matches!(
        start,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    )
}

/// What the frames of a stream hold, one behind the other. Memory is the window that a frame asks for, up to 256 MiB; a frame that
/// asks for more, is cut off or has another checksum is an error.
pub struct ZstdReader<R> {
    raw: BufReader<R>,
    decoder: FrameDecoder,
    within: Within,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Frame,
    Nothing,
}

impl<R: Read> ZstdReader<R> {
    /// Reads what `raw` holds from its start.
    pub fn new(raw: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self {
            raw: BufReader::with_capacity(BUFFER, raw),
            decoder,
            within: Within::Nothing,
        }
    }

    /// Begins the next frame, or skips one.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.raw) {
            Ok(()) => {
                self.within = Within::Frame;
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                magic_number: _,
                length,
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut self.raw).take(length), &mut io::sink())?;
                if skipped == length {
                    Ok(())
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
            }
            Err(error @ FrameDecoderError::WindowSizeTooBig { .. }) => {
                Err(io::Error::new(io::ErrorKind::OutOfMemory, error))
            }
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.within = Within::Nothing;
        match self.decoder.get_checksum_from_data() {
            Some(written) if self.decoder.get_calculated_checksum() != Some(written) => {
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the checksum of a zstd frame is wrong",
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.within {
                Within::Nothing if self.raw.fill_buf()?.is_empty() => return Ok(0),
                Within::Nothing => self.begin()?,
                Within::Frame if self.decoder.can_collect() > 0 => {
                    return self.decoder.read(buffer);
                }
                Within::Frame if self.decoder.is_finished() => self.end()?,
                Within::Frame => {
                    self.decoder
                        .decode_blocks(&mut self.raw, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        assert!(begins(bytes));
        let mut found = Vec::new();
        ZstdReader::new(bytes).read_to_end(&mut found)?;
        Ok(found)
    }

    #[test]
    fn frames_that_are_to_be_skipped_are_skipped() {
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frame = compress_to_vec(&b"text"[..], CompressionLevel::Fastest);
        let all = [&skipped[..], &frame, &skipped, &frame, &skipped].concat();
        assert_eq!(read(&all).unwrap(), b"texttext");
        assert!(read(&skipped[..9]).is_err());
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        // A frame that asks for a window of 2 GiB (RFC 8878, 3.1.1.1.2).
        let error = read(&[0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}
