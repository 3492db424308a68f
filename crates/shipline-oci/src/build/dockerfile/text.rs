//! From a Dockerfile's bytes to its text.

use super::error::DockerfileError;

/// How many bytes a Dockerfile may have. Those of people have some thousand.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// A Dockerfile's text. A byte that is not UTF-8 (Latin-1 in a comment) becomes U+FFFD, as BuildKit reads it.
///
/// # Errors
/// Where it has more than 1 MiB, or is written in UTF-16.
pub(super) fn decode(bytes: &[u8]) -> Result<String, DockerfileError> {
    if bytes.len() > MAX_BYTES {
        return Err(DockerfileError::new(
            1,
            format!("it has {} bytes, and {MAX_BYTES} are allowed", bytes.len()),
        )
        .remedy("move what it holds (long heredocs?) into files of the context, and COPY these"));
    }
    if is_utf16(bytes) {
        return Err(DockerfileError::new(1, "it is written in UTF-16").remedy("save it as UTF-8"));
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    Ok(text)
}

/// Whether a text begins with the byte order mark of UTF-16.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_read_byte_by_byte() {
        assert_eq!(
            decode(b"FROM a # caf\xe9\nLABEL a=\xc3\xa9\xff\xe2\x82").as_deref(),
            Ok("FROM a # caf\u{fffd}\nLABEL a=é\u{fffd}\u{fffd}\u{fffd}")
        );
        assert!(decode(b"\xff\xfeF\0R\0").is_err());
        assert!(decode(&vec![b'a'; MAX_BYTES + 1]).is_err());
    }
}
