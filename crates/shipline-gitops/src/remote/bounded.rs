//! A server's answer, bounded in size and time.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A reader that fails behind so many bytes, and after so long: what drips is no answer.
pub(super) struct Bounded<R> {
    from: R,
    limit: u64,
    left: u64,
    end: Instant,
}

impl<R: Read> Bounded<R> {
    /// Reads at most `limit` bytes, for at most `time` from now.
    pub(super) fn new(from: R, limit: u64, time: Duration) -> Self {
        Self {
            from,
            limit,
            left: limit,
            end: Instant::now() + time,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.end {
            let message = "the answer takes too long";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let count = self.from.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer has more than {} bytes", self.limit),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn size_and_time_are_bounded() {
        let mut text = String::new();
        let whole = Bounded::new(&b"12345"[..], 5, LONG).read_to_string(&mut text);
        assert_eq!((whole.unwrap(), text.as_str()), (5, "12345"));
        let over = Bounded::new(&b"123456"[..], 5, LONG).read_to_string(&mut text);
        assert_eq!(over.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let late = Bounded::new(&b"1"[..], 5, Duration::ZERO).read_to_string(&mut text);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
