//! What tasks produced, and findings, as they are stored.

use serde::{Deserialize, Serialize};
use shipline_model::finding as model;
use shipline_model::name::{CommitId, Digest};

use super::{ImageId, Unreadable, all, try_all, words};
use crate::event as core;

/// What a task produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "facts", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub enum Facts {
    None,
    Detected {
        affected: usize,
        of: usize,
    },
    Built {
        image: BuiltImage,
    },
    Scanned {
        bytes: u64,
        findings: usize,
        suppressed: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packages: Option<usize>,
    },
    Pushed {
        images: Vec<PushedImage>,
    },
    Deployed {
        commit: String,
        made: bool,
        changes: Vec<ImageChange>,
    },
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct BuiltImage {
    pub id: ImageId,
    pub digest: String,
    pub size: u64,
    pub layers: usize,
    pub reused_layers: usize,
    pub bases: Vec<BaseImage>,
    pub builder: String,
}

/// A base image, as written and as resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct BaseImage {
    pub reference: String,
    pub digest: String,
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct PushedImage {
    pub id: ImageId,
    pub reference: String,
    pub digest: String,
    pub sent: u64,
    pub already_there: bool,
}

/// One changed image value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct ImageChange {
    pub component: String,
    pub file: String,
    pub line: usize,
    pub from: String,
    pub to: String,
}

words! {
    /// How bad a finding is.
    Severity = model::Severity { Low, Medium, High, Critical }
}

words! {
    /// What kind of thing a finding is.
    FindingKind = model::FindingKind { Leak, Secret, Sast, Iac, Vulnerability, Check }
}

/// What version 1 knew before findings had kinds.
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

impl From<&core::Facts> for Facts {
    fn from(facts: &core::Facts) -> Self {
        match facts {
            core::Facts::None => Self::None,
            core::Facts::Detected { affected, of } => Self::Detected {
                affected: *affected,
                of: *of,
            },
            core::Facts::Built(image) => Self::Built {
                image: image.into(),
            },
            core::Facts::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
            } => Self::Scanned {
                bytes: *bytes,
                findings: *findings,
                suppressed: *suppressed,
                packages: *packages,
            },
            core::Facts::Pushed(images) => Self::Pushed {
                images: all(images),
            },
            core::Facts::Deployed(commit) => Self::Deployed {
                commit: commit.commit.clone(),
                made: commit.made,
                changes: all(&commit.changes),
            },
        }
    }
}

impl TryFrom<Facts> for core::Facts {
    type Error = Unreadable;
    fn try_from(facts: Facts) -> Result<Self, Unreadable> {
        Ok(match facts {
            Facts::None => Self::None,
            Facts::Detected { affected, of } => Self::Detected { affected, of },
            Facts::Built { image } => Self::Built(image.try_into()?),
            Facts::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
            } => Self::Scanned {
                bytes,
                findings,
                suppressed,
                packages,
            },
            Facts::Pushed { images } => Self::Pushed(try_all(images)?),
            Facts::Deployed {
                commit,
                made,
                changes,
            } => Self::Deployed(core::DeployedCommit {
                commit,
                made,
                changes: all(changes),
                notes: Vec::new(),
            }),
        })
    }
}

impl From<&core::BuiltImage> for BuiltImage {
    fn from(image: &core::BuiltImage) -> Self {
        Self {
            id: (&image.id).into(),
            digest: image.digest.to_string(),
            size: image.size,
            layers: image.layers,
            reused_layers: image.reused_layers,
            bases: image
                .bases
                .iter()
                .map(|(reference, digest)| BaseImage {
                    reference: reference.clone(),
                    digest: digest.to_string(),
                })
                .collect(),
            builder: image.builder.clone(),
        }
    }
}

impl TryFrom<BuiltImage> for core::BuiltImage {
    type Error = Unreadable;
    fn try_from(image: BuiltImage) -> Result<Self, Unreadable> {
        Ok(Self {
            id: image.id.try_into()?,
            digest: Digest::new(image.digest)?,
            size: image.size,
            layers: image.layers,
            reused_layers: image.reused_layers,
            bases: image
                .bases
                .into_iter()
                .map(|base| Ok((base.reference, Digest::new(base.digest)?)))
                .collect::<Result<_, Unreadable>>()?,
            builder: image.builder,
        })
    }
}

impl From<&core::PushedImage> for PushedImage {
    fn from(image: &core::PushedImage) -> Self {
        Self {
            id: (&image.id).into(),
            reference: image.reference.clone(),
            digest: image.digest.to_string(),
            sent: image.sent,
            already_there: image.already_there,
        }
    }
}

impl TryFrom<PushedImage> for core::PushedImage {
    type Error = Unreadable;
    fn try_from(image: PushedImage) -> Result<Self, Unreadable> {
        Ok(Self {
            id: image.id.try_into()?,
            reference: image.reference,
            digest: Digest::new(image.digest)?,
            sent: image.sent,
            already_there: image.already_there,
        })
    }
}

impl From<&core::ImageChange> for ImageChange {
    fn from(change: &core::ImageChange) -> Self {
        let core::ImageChange {
            component,
            file,
            line,
            from,
            to,
        } = change.clone();
        Self {
            component,
            file,
            line,
            from,
            to,
        }
    }
}

impl From<ImageChange> for core::ImageChange {
    fn from(change: ImageChange) -> Self {
        Self {
            component: change.component,
            file: change.file,
            line: change.line,
            from: change.from,
            to: change.to,
        }
    }
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
            kind: kind.into(),
            rule: rule.id,
            help: rule.help,
            link: rule.link,
            tags: rule.tags,
            severity: severity.into(),
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
            finding.kind.into(),
            rule,
            finding.severity.into(),
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
