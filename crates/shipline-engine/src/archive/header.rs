//! The block of 512 bytes that stands before every entry, in the formats V7, USTAR, star and GNU.

use std::io;

use super::{invalid, shown};

/// Bytes of a tar's block.
pub const BLOCK: usize = 512;

/// A block.
pub(super) type Block = [u8; BLOCK];

/// How a header is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX: no devices, no long paths.
    V7,
    /// POSIX: a path may have a prefix of 155 bytes.
    Ustar,
    /// Schilling's star: a prefix of 131 bytes.
    Star,
    /// GNU: no prefix, but sparse files.
    Gnu,
}

/// A header whose checksum is right.
pub(super) struct Header<'b> {
    block: &'b Block,
    pub(super) format: Format,
}

impl<'b> Header<'b> {
    /// Reads a block.
    ///
    /// # Errors
    /// Where its checksum is wrong: it is no header.
    pub(super) fn new(block: &'b Block) -> io::Result<Self> {
        if !is_header(block) {
            return Err(invalid(
                "a header has a wrong checksum: it is no tar, or is damaged",
            ));
        }
        let format = match &block[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") && block[508..] == *b"tar\0" => Format::Star,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        };
        Ok(Self { block, format })
    }

    /// What kind of entry follows.
    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.format {
            Format::Ustar => text(&self.block[345..500]),
            Format::Star => text(&self.block[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> io::Result<u64> {
        number(&self.block[100..108], "mode")
    }

    pub(super) fn uid(&self) -> io::Result<u64> {
        number(&self.block[108..116], "owner")
    }

    pub(super) fn gid(&self) -> io::Result<u64> {
        number(&self.block[116..124], "group")
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        number(&self.block[124..136], "size")
    }

    /// The device that an entry is; the format V7 has none.
    pub(super) fn device(&self) -> io::Result<(u64, u64)> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        Ok((
            number(&self.block[329..337], "device number")?,
            number(&self.block[337..345], "device number")?,
        ))
    }

    /// Where GNU's fields for sparse files begin.
    pub(super) fn sparse_fields(&self) -> &'b [u8] {
        &self.block[386..495]
    }
}

/// Whether a block is a tar's header: its checksum, of signed or of unsigned bytes, is right.
#[must_use]
pub fn is_header(block: &[u8; BLOCK]) -> bool {
    let Ok(written) = number(&block[148..156], "checksum") else {
        return false;
    };
    let (mut unsigned, mut signed) = (0_u64, 0_i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    (written == unsigned || u64::try_from(signed) == Ok(written)) && !is_empty(block)
}

/// Whether a block holds nothing: two of these end an archive.
pub(super) fn is_empty(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// A text up to its NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits between blanks, or, where the first bit is set, the bytes themselves (GNU's base-256).
pub(super) fn number(field: &[u8], what: &str) -> io::Result<u64> {
    let wrong = |why: &str| invalid(format!("a header's {what} is {why}: `{}`", shown(field)));
    match field {
        [first, ..] if first & 0x80 != 0 => {
            if first & 0x40 != 0 {
                return Err(wrong("negative"));
            }
            let mut value = 0_u64;
            for (at, byte) in field.iter().enumerate() {
                let byte = if at == 0 { byte & 0x7f } else { *byte };
                if value >> 55 != 0 {
                    return Err(wrong("too large"));
                }
                value = value << 8 | u64::from(byte);
            }
            Ok(value)
        }
        _ => {
            let blank = |byte: &u8| matches!(byte, b' ' | 0);
            let start = field.iter().position(|byte| !blank(byte));
            let digits = match start {
                None => return Ok(0),
                Some(start) => text(&field[start..]),
            };
            let end = digits.iter().rposition(|byte| !blank(byte)).unwrap_or(0);
            digits[..=end].iter().try_fold(0_u64, |value, digit| {
                let digit = match digit {
                    b'0'..=b'7' => u64::from(digit - b'0'),
                    _ => return Err(wrong("no octal number")),
                };
                // A field of 12 digits holds no number that would not fit.
                Ok(value << 3 | digit)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_are_read_and_impossible_ones_refused() {
        let large = [0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (&large, Some(1 << 32)),
            (b"-0000001", None),
            (b"0x12    ", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field, "size").ok(), expected, "{field:?}");
        }
    }
}
