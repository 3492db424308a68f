//! JSON that somebody else wrote.

use std::io;

use serde::de::DeserializeOwned;
use serde_json::Error;

/// How many values a document may have. Each takes some hundred bytes of memory, and only two in the document (`[],`).
const MOST_VALUES: usize = 2_000_000;

/// Reads a document.
///
/// # Errors
/// Where it is none, is of another shape, or has more than two million values.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // Those in texts count, too: they are few where a person is the writer.
    let values = bytes
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'));
    if values.count() > MOST_VALUES {
        return Err(Error::io(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MOST_VALUES} values"),
        )));
    }
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_document_of_too_many_values_is_refused() {
        assert!(read::<Value>(br#"{"a":[1,2]}"#).is_ok());
        let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
        let error = read::<Value>(many.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "it has more than 2000000 values");
    }
}
