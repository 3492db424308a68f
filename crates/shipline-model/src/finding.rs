//! Findings, in SARIF's words: a rule, a severity, a location, and what suppresses it.

/// How bad a finding is. Ordered: `Critical` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Advice.
    Low,
    /// Should be mended.
    Medium,
    /// Must be mended soon.
    High,
    /// Must not ship.
    Critical,
}

impl Severity {
    /// Lower-case word, as in `pipeline.yaml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file of an image's layer.
    ImageFile {
        /// Digest of the (compressed) layer blob.
        layer: crate::name::Digest,
        /// 0-based index of the layer in the manifest.
        layer_index: usize,
        /// Path in the image, absolute.
        path: String,
        /// Byte offset in the file.
        offset: u64,
    },
    /// A place in the image's config: `Env`, `Labels`, `Cmd` …
    ImageConfig {
        /// The field, as in the OCI image configuration (`config.Env[2]`).
        field: String,
    },
    /// A source file.
    SourceFile {
        /// Path in the repository.
        path: String,
        /// 1-based line.
        line: u32,
    },
}

/// Why a finding does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// As written in `scans.ignore`.
    pub reason: String,
    /// `YYYY-MM-DD`, the last day on which it holds.
    pub until: String,
}

/// One thing that a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's ID: `environment-leak`.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence: what was found.
    pub message: String,
    /// What matched, as far as it may be shown (never a secret).
    pub matched: String,
    /// Where.
    pub location: Location,
    /// Set where `scans.ignore` takes it out of the gate.
    pub suppression: Option<Suppression>,
}
