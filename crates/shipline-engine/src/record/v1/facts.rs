//! What tasks produced, and findings, as they are stored.

use serde::{Deserialize, Serialize};
use shipline_model::finding as model;
use shipline_model::name::Digest;

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

/// One thing that a scanner found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Finding {
    pub rule: String,
    pub severity: Severity,
    pub message: String,
    pub matched: String,
    pub location: Location,
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
    },
}

/// Why a finding does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the core type")]
pub struct Suppression {
    pub reason: String,
    pub until: String,
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
        Self {
            rule: finding.rule.clone(),
            severity: finding.severity.into(),
            message: finding.message.clone(),
            matched: finding.matched.clone(),
            location: match &finding.location {
                model::Location::ImageFile {
                    layer,
                    layer_index,
                    path,
                    offset,
                } => Location::ImageFile {
                    layer: layer.to_string(),
                    layer_index: *layer_index,
                    path: path.clone(),
                    offset: *offset,
                },
                model::Location::ImageConfig { field } => Location::ImageConfig {
                    field: field.clone(),
                },
                model::Location::SourceFile { path, line } => Location::SourceFile {
                    path: path.clone(),
                    line: *line,
                },
            },
            suppression: finding.suppression.as_ref().map(|why| Suppression {
                reason: why.reason.clone(),
                until: why.until.clone(),
            }),
        }
    }
}

impl TryFrom<Finding> for model::Finding {
    type Error = Unreadable;
    fn try_from(finding: Finding) -> Result<Self, Unreadable> {
        Ok(Self {
            rule: finding.rule,
            severity: finding.severity.into(),
            message: finding.message,
            matched: finding.matched,
            location: match finding.location {
                Location::ImageFile {
                    layer,
                    layer_index,
                    path,
                    offset,
                } => model::Location::ImageFile {
                    layer: Digest::new(layer)?,
                    layer_index,
                    path,
                    offset,
                },
                Location::ImageConfig { field } => model::Location::ImageConfig { field },
                Location::SourceFile { path, line } => model::Location::SourceFile { path, line },
            },
            suppression: finding.suppression.map(|why| model::Suppression {
                reason: why.reason,
                until: why.until,
            }),
        })
    }
}
