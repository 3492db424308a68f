//! Findings, in SARIF's words: a rule, a severity, a location, and what suppresses it. Every scanner gives this one type; the
//! engine judges it.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::name::{CommitId, Digest};

/// What kind of thing a finding is. Each kind has a policy of its own under `scans:`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Another environment's URL in an image.
    Leak,
    /// A password, key or token.
    Secret,
    /// A weakness in source code.
    Sast,
    /// A weakness in a description of infrastructure.
    Iac,
    /// A package with a known vulnerability.
    Vulnerability,
    /// Something in the GitOps repository that does not fit together.
    Check,
}

impl FindingKind {
    /// Lower-case word, as in records and baselines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Secret => "secret",
            Self::Sast => "sast",
            Self::Iac => "iac",
            Self::Vulnerability => "vulnerability",
            Self::Check => "check",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad a finding is. Ordered: `Critical` is the greatest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
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

/// What a scanner looks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Its ID: `environment-leak`.
    pub id: String,
    /// What it is about, for people; one paragraph.
    pub help: Option<String>,
    /// A page that says more.
    pub link: Option<String>,
    /// Names that others give it: `CWE-798`, the aliases of an advisory.
    pub tags: Vec<String>,
}

impl Rule {
    /// A rule with nothing but its ID.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            help: None,
            link: None,
            tags: Vec::new(),
        }
    }

    /// The same rule with a text for people.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// 1-based line.
    pub line: u32,
    /// 1-based column in characters, where it is known.
    pub column: Option<u32>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// Where it begins.
    pub start: Position,
    /// Where it ends, where that is known; the column is the one behind its last character.
    pub end: Option<Position>,
}

impl Region {
    /// A line of which no more is known.
    #[must_use]
    pub const fn line(line: u32) -> Self {
        Self {
            start: Position { line, column: None },
            end: None,
        }
    }
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file of an image's layer.
    ImageFile {
        /// Digest of the (compressed) layer blob.
        layer: Digest,
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
        /// Lines and columns.
        region: Region,
    },
}

impl Location {
    /// The path of the file, where it is in one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::ImageFile { path, .. } | Self::SourceFile { path, .. } => Some(path),
            Self::ImageConfig { .. } => None,
        }
    }

    /// The place without what moves when something else changes: no layer, no offset, no line.
    #[must_use]
    pub fn stable(&self) -> &str {
        match self {
            Self::ImageFile { path, .. } | Self::SourceFile { path, .. } => path,
            Self::ImageConfig { field } => field,
        }
    }
}

/// Names a finding as long as it is the same: a hex SHA-256 over kind, rule, file and what was found there. Lines and offsets
/// are no part of it, so that it survives what is inserted before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint with these hex digits; `None` where they are not 64 of them in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The same finding in one of several targets, `nth` (from 0) among equal ones there.
    #[must_use]
    pub fn within(&self, target: &str, nth: usize) -> Self {
        Self::of(&[&self.0, target, &nth.to_string()])
    }

    /// Its hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in ["shipline-finding-1"].iter().chain(parts) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hex::encode(hasher.finalize()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a finding does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Suppression {
    /// `scans.ignore` has an exception for it.
    Exception {
        /// As written there.
        reason: String,
        /// `YYYY-MM-DD`, the last day on which it holds.
        until: String,
    },
    /// It was there on the day on which somebody began to count.
    Baseline {
        /// The baseline's path in the repository.
        file: String,
    },
}

/// One thing that a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The rule.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// One sentence: what was found.
    pub message: String,
    /// What matched, as far as it may be shown (never a secret).
    pub matched: String,
    /// The start of `matched` that an exception has to spell out, so that no exception hides more than it names. Without one,
    /// an exception need not name what it covers.
    pub stem: Option<String>,
    /// Where.
    pub location: Location,
    /// The commit that it is in, where commits were looked into.
    pub commit: Option<CommitId>,
    /// The package that it is about, as a package URL.
    pub package: Option<String>,
    /// What a person can do.
    pub remedy: Option<String>,
    /// The version in which it is mended.
    pub fixed_in: Option<String>,
    /// Its name in baselines.
    pub fingerprint: Fingerprint,
    /// Set where it is taken out of the gate.
    pub suppression: Option<Suppression>,
}

impl Finding {
    /// A finding of which no more is known. What matched is what identifies it in its file.
    pub fn new(
        kind: FindingKind,
        rule: Rule,
        severity: Severity,
        message: impl Into<String>,
        matched: impl Into<String>,
        location: Location,
    ) -> Self {
        let matched = matched.into();
        Self {
            fingerprint: Fingerprint::of(&[kind.as_str(), &rule.id, location.stable(), &matched]),
            kind,
            rule,
            severity,
            message: message.into(),
            matched,
            stem: None,
            location,
            commit: None,
            package: None,
            remedy: None,
            fixed_in: None,
            suppression: None,
        }
    }

    /// The same finding, identified by a text that may not be shown, or says more than what matched. It is hashed only.
    #[must_use]
    pub fn identified_by(mut self, evidence: &str) -> Self {
        let place = self.location.stable();
        self.fingerprint = Fingerprint::of(&[self.kind.as_str(), &self.rule.id, place, evidence]);
        self
    }
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
            finding.rule.id.as_str(),
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
        let location = Location::SourceFile {
            path: "a".to_owned(),
            region: Region::line(line),
        };
        let rule = Rule::new("r");
        Finding {
            suppression: reason.map(|reason| Suppression::Exception {
                reason: reason.to_owned(),
                until: "2026-12-31".to_owned(),
            }),
            ..Finding::new(
                FindingKind::Sast,
                rule,
                Severity::High,
                message,
                "",
                location,
            )
        }
    }

    #[test]
    fn a_fingerprint_survives_what_is_inserted_before_and_nothing_else() {
        let of = |kind, rule: &str, path: &str, line, matched: &str| {
            let location = Location::SourceFile {
                path: path.to_owned(),
                region: Region::line(line),
            };
            Finding::new(kind, Rule::new(rule), Severity::Low, "m", matched, location).fingerprint
        };
        let known = of(FindingKind::Sast, "r", "a", 3, "x");
        assert_eq!(known, of(FindingKind::Sast, "r", "a", 30, "x"));
        for other in [
            of(FindingKind::Iac, "r", "a", 3, "x"),
            of(FindingKind::Sast, "s", "a", 3, "x"),
            of(FindingKind::Sast, "r", "b", 3, "x"),
            of(FindingKind::Sast, "r", "a", 3, "y"),
            known.within("web@staging", 0),
        ] {
            assert_ne!(known, other);
        }
        assert_ne!(known.within("web", 0), known.within("web", 1));
        assert_eq!(Fingerprint::parse(known.as_str()), Some(known.clone()));
        assert_eq!(Fingerprint::parse(&known.as_str().to_uppercase()), None);
        assert_eq!(Fingerprint::parse("12ab"), None);
    }

    #[test]
    fn a_secret_identifies_a_finding_without_being_in_it() {
        let location = Location::ImageConfig {
            field: "config.Env[0]".to_owned(),
        };
        let finding = |secret: &str| {
            let (rule, location) = (Rule::new("key"), location.clone());
            let shown = "AKIA…";
            Finding::new(
                FindingKind::Secret,
                rule,
                Severity::High,
                "m",
                shown,
                location,
            )
            .identified_by(secret)
        };
        assert_eq!(finding("one"), finding("one"));
        assert_ne!(finding("one").fingerprint, finding("two").fingerprint);
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
