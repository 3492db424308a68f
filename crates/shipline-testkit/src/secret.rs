//! Looks for a secret in what a run leaves behind, in every form in which it comes back.

#![allow(
    clippy::unwrap_used,
    reason = "a test double that cannot work fails its test at once"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A secret of a test.
#[derive(Debug, Clone)]
pub struct Trace {
    forms: Vec<String>,
}

impl Trace {
    /// The secret as it is, in base64 of both alphabets, and percent-encoded.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let percent: String = secret
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect();
        Self {
            forms: vec![
                secret.to_owned(),
                STANDARD_NO_PAD.encode(secret),
                URL_SAFE_NO_PAD.encode(secret),
                percent,
            ],
        }
    }

    /// Checks that these bytes hold the secret in no form; `place` says what they are.
    ///
    /// # Panics
    /// Where they hold it.
    #[track_caller]
    pub fn assert_not_in(&self, bytes: &[u8], place: &str) {
        for form in &self.forms {
            let found = bytes
                .windows(form.len())
                .any(|window| window == form.as_bytes());
            assert!(!found, "{place} holds the secret as {form}");
        }
    }

    /// Checks every file of a folder.
    ///
    /// # Panics
    /// Where one holds the secret, or cannot be read.
    #[track_caller]
    pub fn assert_not_below(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.assert_not_below(&path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                self.assert_not_in(&bytes, &path.display().to_string());
            }
        }
    }
}
