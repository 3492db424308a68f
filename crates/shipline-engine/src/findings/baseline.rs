//! Baselines: files that list findings which do not count, because they were there when somebody began to look. One module
//! reads and writes them.
//!
//! The format is JSON with a version. Entries are sorted and each stands on lines of its own, so that a change is easy to review.
//! What decides is the fingerprint; kind, rule and place are for people.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shipline_model::finding::{Finding, Fingerprint};

use super::TargetName;
use crate::error::{BackendError, ErrorClass};

/// The version of the format.
const VERSION: u32 = 1;

/// A file with more bytes than this is refused.
const LARGEST: usize = 16 << 20;

/// The findings of a baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    entries: BTreeSet<Entry>,
    fingerprints: BTreeSet<String>,
}

/// One finding of a baseline. It is sorted by its fields in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: String,
    rule: String,
    place: String,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    findings: Vec<Entry>,
}

/// Read first, so that another version is told as such, whatever else is in it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Baseline {
    /// Reads the baseline `file`.
    ///
    /// # Errors
    /// `Invalid` with file, line and cause where it is none.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, BackendError> {
        let refused = || {
            BackendError::new(ErrorClass::Invalid, format!("read the baseline {file}")).hint(
                "write it anew with `scan image --write-baseline FILE`, or restore it from git",
            )
        };
        if bytes.len() > LARGEST {
            return Err(refused().because(format!("it has more than {} MiB", LARGEST >> 20)));
        }
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(|error| refused().because(error))?;
        if version != VERSION {
            return Err(refused().because(format!(
                "it has version {version}, and this Shipline reads version {VERSION}"
            )));
        }
        let read: File = serde_json::from_slice(bytes).map_err(|error| refused().because(error))?;
        for (index, entry) in read.findings.iter().enumerate() {
            if Fingerprint::parse(&entry.fingerprint).is_none() {
                return Err(refused().because(format!(
                    "the fingerprint of its entry {} is not 64 hex digits in lower case",
                    index + 1
                )));
            }
        }
        let prints = read.findings.iter();
        Ok(Self {
            fingerprints: prints.map(|entry| entry.fingerprint.clone()).collect(),
            entries: read.findings.into_iter().collect(),
        })
    }

    /// Adds a finding of `target`.
    pub fn add(&mut self, finding: &Finding, target: &TargetName) {
        self.fingerprints.insert(finding.fingerprint.to_string());
        self.entries.insert(Entry {
            kind: finding.kind.to_string(),
            rule: finding.rule.id.clone(),
            place: format!("{target}: {}", finding.location.stable()),
            fingerprint: finding.fingerprint.to_string(),
        });
    }

    /// Whether a finding is in it.
    #[must_use]
    pub fn has(&self, finding: &Finding) -> bool {
        self.fingerprints.contains(finding.fingerprint.as_str())
    }

    /// How many findings it lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it lists none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file: the same findings give the same bytes.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let file = File {
            version: VERSION,
            findings: self.entries.iter().cloned().collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
