//! Git's packet lines (gitprotocol-common): four hex digits of length, then bytes.

use std::io::{self, Read};

/// The longest line, its length included.
const MAX_LINE: usize = 65_520;

/// How much of what a server says to people is kept.
const MAX_SAID: usize = 4096;

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A line's bytes.
    Line(Vec<u8>),
    /// `0000`.
    Flush,
    /// The stream is over.
    End,
}

/// Appends a line.
pub(super) fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
    out.extend_from_slice(line);
}

/// Appends a flush packet.
pub(super) fn push_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Reads a packet.
pub(super) fn read(from: &mut dyn Read) -> io::Result<Packet> {
    let mut digits = [0; 4];
    let mut read = 0;
    while read < digits.len() {
        match from.read(&mut digits[read..]) {
            Ok(0) if read == 0 => return Ok(Packet::End),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = std::str::from_utf8(&digits)
        .ok()
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no length of a packet line"))?;
    match length {
        0 => Ok(Packet::Flush),
        4..=MAX_LINE => {
            let mut line = vec![0; length - 4];
            from.read_exact(&mut line)?;
            Ok(Packet::Line(line))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet line of impossible length",
        )),
    }
}

/// The text of a line, its line end removed.
pub(super) fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// The first of the three bands that are sent through one another (`side-band-64k`): data; what the server says to people
/// is kept aside.
pub(super) struct Band<'a> {
    from: &'a mut dyn Read,
    line: Vec<u8>,
    at: usize,
    ended: bool,
    pub(super) said: String,
}

impl<'a> Band<'a> {
    /// The band behind what has been read, beginning with a line that has.
    pub(super) fn new(from: &'a mut dyn Read, first: Option<Vec<u8>>) -> io::Result<Self> {
        let mut band = Self {
            from,
            line: Vec::new(),
            at: 0,
            ended: false,
            said: String::new(),
        };
        if let Some(first) = first {
            band.accept(first)?;
        }
        Ok(band)
    }

    fn accept(&mut self, line: Vec<u8>) -> io::Result<()> {
        match line.first() {
            Some(1) => {
                self.line = line;
                self.at = 1;
                Ok(())
            }
            Some(2) => {
                let room = MAX_SAID.saturating_sub(self.said.len());
                let said = String::from_utf8_lossy(&line[1..]);
                self.said.extend(said.chars().take(room));
                Ok(())
            }
            Some(3) => Err(io::Error::other(text(&line[1..]))),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a packet line of no known band",
            )),
        }
    }
}

impl Read for Band<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.line.len() && !self.ended {
            match read(self.from)? {
                Packet::Line(line) => self.accept(line)?,
                Packet::Flush | Packet::End => self.ended = true,
            }
        }
        let rest = &self.line[self.at.min(self.line.len())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_flushes() {
        let mut bytes = Vec::new();
        push_line(&mut bytes, b"hi\n");
        push_flush(&mut bytes);
        push_line(&mut bytes, b"");
        assert_eq!(bytes, b"0007hi\n00000004");
        let mut from = bytes.as_slice();
        assert_eq!(read(&mut from).unwrap(), Packet::Line(b"hi\n".to_vec()));
        assert_eq!(read(&mut from).unwrap(), Packet::Flush);
        assert_eq!(read(&mut from).unwrap(), Packet::Line(Vec::new()));
        assert_eq!(read(&mut from).unwrap(), Packet::End);
    }

    #[test]
    fn damaged_lines_are_errors() {
        for bytes in [&b"00"[..], b"zzzz", b"0001", b"0003", b"ffff", b"0009ab"] {
            assert!(read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn bands_are_told_apart() {
        let mut bytes = Vec::new();
        push_line(&mut bytes, b"\x02remote: hello\n");
        push_line(&mut bytes, b"\x01da");
        push_line(&mut bytes, b"\x01");
        push_line(&mut bytes, b"\x01ta");
        push_flush(&mut bytes);
        let mut from = bytes.as_slice();
        let mut band = Band::new(&mut from, Some(b"\x01some ".to_vec())).unwrap();
        let mut data = String::new();
        band.read_to_string(&mut data).unwrap();
        assert_eq!(
            (data.as_str(), band.said.as_str()),
            ("some data", "remote: hello\n")
        );
        let mut fatal = Vec::new();
        push_line(&mut fatal, b"\x03no way\n");
        let mut from = fatal.as_slice();
        let mut band = Band::new(&mut from, None).unwrap();
        assert_eq!(
            band.read_to_string(&mut data).unwrap_err().to_string(),
            "no way"
        );
    }
}
