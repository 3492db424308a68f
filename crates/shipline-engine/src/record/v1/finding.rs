//! Findings as they are stored.

use serde::{Deserialize, Serialize};
use shipline_model::finding::{self as model, FindingKind, Severity};
use shipline_model::name::{CommitId, Digest};

use super::Unreadable;

/// What findings were of before they said it.
fn leak() -> FindingKind {
    FindingKind::Leak
}

/// One thing that a scanner found. Fields with nothing to say are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Finding {
    #[serde(default = "leak")]
    pub kind: FindingKind,
    pub rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub severity: Severity,
    pub message: String,
    pub matched: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<String>,
    pub location: Location,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    pub suppression: Option<Suppression>,
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Location {
    ImageFile {
        layer: String,
        layer_index: usize,
        path: String,
        offset: u64,
    },
    ImageConfig {
        field: String,
    },
    SourceFile {
        path: String,
        line: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        column: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_line: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_column: Option<u32>,
    },
}

/// Why a finding does not count: an exception with reason and end, or a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Suppression {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

impl From<&model::Finding> for Finding {
    fn from(finding: &model::Finding) -> Self {
        let model::Finding {
            kind,
            rule,
            severity,
            message,
            matched,
            stem,
            location,
            commit,
            package,
            remedy,
            fixed_in,
            fingerprint,
            suppression,
        } = finding.clone();
        Self {
            kind,
            rule: rule.id,
            help: rule.help,
            link: rule.link,
            tags: rule.tags,
            severity,
            message,
            matched,
            stem,
            location: location.into(),
            commit: commit.map(|commit| commit.to_string()),
            package,
            remedy,
            fixed_in,
            fingerprint: Some(fingerprint.to_string()),
            suppression: suppression.map(|why| match why {
                model::Suppression::Exception { reason, until } => Suppression {
                    reason: Some(reason),
                    until: Some(until),
                    baseline: None,
                },
                model::Suppression::Baseline { file } => Suppression {
                    reason: None,
                    until: None,
                    baseline: Some(file),
                },
            }),
        }
    }
}

impl TryFrom<Finding> for model::Finding {
    type Error = Unreadable;
    fn try_from(finding: Finding) -> Result<Self, Unreadable> {
        let rule = model::Rule {
            id: finding.rule,
            help: finding.help,
            link: finding.link,
            tags: finding.tags,
        };
        let read = Self::new(
            finding.kind,
            rule,
            finding.severity,
            finding.message,
            finding.matched,
            finding.location.try_into()?,
        );
        // A finding that was stored without one gets the one that it would have today.
        let fingerprint = finding.fingerprint.as_deref();
        Ok(Self {
            stem: finding.stem,
            commit: finding.commit.map(CommitId::new).transpose()?,
            package: finding.package,
            remedy: finding.remedy,
            fixed_in: finding.fixed_in,
            fingerprint: fingerprint
                .and_then(model::Fingerprint::parse)
                .unwrap_or(read.fingerprint),
            suppression: finding.suppression.map(|why| match why.baseline {
                Some(file) => model::Suppression::Baseline { file },
                None => model::Suppression::Exception {
                    reason: why.reason.unwrap_or_default(),
                    until: why.until.unwrap_or_default(),
                },
            }),
            ..read
        })
    }
}

impl From<model::Location> for Location {
    fn from(location: model::Location) -> Self {
        match location {
            model::Location::ImageFile {
                layer,
                layer_index,
                path,
                offset,
            } => Self::ImageFile {
                layer: layer.to_string(),
                layer_index,
                path,
                offset,
            },
            model::Location::ImageConfig { field } => Self::ImageConfig { field },
            model::Location::SourceFile { path, region } => Self::SourceFile {
                path,
                line: region.start.line,
                column: region.start.column,
                end_line: region.end.map(|end| end.line),
                end_column: region.end.and_then(|end| end.column),
            },
        }
    }
}

impl TryFrom<Location> for model::Location {
    type Error = Unreadable;
    fn try_from(location: Location) -> Result<Self, Unreadable> {
        Ok(match location {
            Location::ImageFile {
                layer,
                layer_index,
                path,
                offset,
            } => Self::ImageFile {
                layer: Digest::new(layer)?,
                layer_index,
                path,
                offset,
            },
            Location::ImageConfig { field } => Self::ImageConfig { field },
            Location::SourceFile {
                path,
                line,
                column,
                end_line,
                end_column,
            } => Self::SourceFile {
                path,
                region: model::Region {
                    start: model::Position { line, column },
                    end: end_line.map(|line| model::Position {
                        line,
                        column: end_column,
                    }),
                },
            },
        })
    }
}
