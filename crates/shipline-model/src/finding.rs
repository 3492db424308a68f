//! Findings, in SARIF's words: a rule, a severity, a location, and what suppresses it.

use std::collections::HashMap;

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// Findings that differ in their place only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'f> {
    /// The first of them.
    pub finding: &'f Finding,
    /// Where they are, in the order in which they were found.
    pub places: Vec<&'f Location>,
}

/// Puts findings of the same rule, severity, message, text and suppression together, in the order of the first of each.
#[must_use]
pub fn grouped<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<Group<'f>> {
    let mut groups: Vec<Group<'f>> = Vec::new();
    let mut known: HashMap<(&str, Severity, &str, &str, Option<&Suppression>), usize> =
        HashMap::new();
    for finding in findings {
        let key = (
            finding.rule.as_str(),
            finding.severity,
            finding.message.as_str(),
            finding.matched.as_str(),
            finding.suppression.as_ref(),
        );
        let index = *known.entry(key).or_insert_with(|| {
            groups.push(Group {
                finding,
                places: Vec::new(),
            });
            groups.len() - 1
        });
        groups[index].places.push(&finding.location);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(message: &str, line: u32, reason: Option<&str>) -> Finding {
        Finding {
            rule: "r".to_owned(),
            severity: Severity::High,
            message: message.to_owned(),
            matched: String::new(),
            location: Location::SourceFile {
                path: "a".to_owned(),
                line,
            },
            suppression: reason.map(|reason| Suppression {
                reason: reason.to_owned(),
                until: "2026-12-31".to_owned(),
            }),
        }
    }

    #[test]
    fn findings_are_together_that_differ_in_their_place() {
        let findings = [
            finding("b", 3, None),
            finding("a", 1, None),
            finding("b", 2, None),
            finding("b", 2, Some("known")),
        ];
        let groups: Vec<(&str, usize)> = grouped(&findings)
            .iter()
            .map(|group| (group.finding.message.as_str(), group.places.len()))
            .collect();
        assert_eq!(groups, [("b", 2), ("a", 1), ("b", 1)]);
        assert_eq!(grouped(&[]), []);
    }
}
