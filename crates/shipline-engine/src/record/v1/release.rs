//! The release set: every image of one run, before it is published.

use serde::{Deserialize, Serialize};
use shipline_model::plan::ImageId;

/// `release-set.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSet {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// The run.
    pub run: String,
    /// Its images.
    pub images: Vec<ReleasedImage>,
}

/// One image of a release set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedImage {
    /// Which.
    pub id: ImageId,
    /// Repository in the registry.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// Its manifest.
    pub digest: String,
    /// Its source key, the same for twins.
    pub source_key: String,
    /// Its build key.
    pub build_key: String,
    /// The commit that it was built from.
    pub commit: String,
    /// What the gate said.
    pub verdict: GateVerdict,
}

/// What the gate said of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateVerdict {
    /// It was scanned and passed.
    Passed,
    /// The pipeline has no scan.
    NotScanned,
}
