//! Makers of images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use shipline_model::config::{BuildEngine, Platform};
use shipline_model::plan::ImageId;
use shipline_model::value::Value;

use crate::backend::ImageStore;
use crate::error::BackendError;
use crate::event::BuiltImage;
use crate::task::TaskContext;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Which image.
    pub id: ImageId,
    /// Which builder the component asks for.
    pub engine: BuildEngine,
    /// The folder of the workspace that stands for the repository, absolute: names for people are relative to it, and no link
    /// that leads out of it is followed.
    pub root: PathBuf,
    /// The build context, absolute, in the workspace.
    pub context: PathBuf,
    /// What of the context no build sees: paths in it, without a `/` at their ends.
    pub caches: Vec<String>,
    /// The same folder in the clone, where people look. Only asked what is there, for messages.
    pub live: Option<PathBuf>,
    /// The Dockerfile's bytes as the sources have them, where they do. Messages show lines of these only: what commands put in
    /// its place is nobody's source.
    pub recipe: Option<Vec<u8>>,
    /// The Dockerfile, absolute, in the workspace.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one where absent.
    pub target: Option<String>,
    /// The image's platform.
    pub platform: Platform,
    /// Build args.
    pub args: BTreeMap<String, Value>,
    /// Build secrets by ID.
    pub secrets: BTreeMap<String, Value>,
    /// Network mode.
    pub network: Option<String>,
    /// `HOST:IP` entries.
    pub extra_hosts: Vec<String>,
    /// Images whose inline cache may be used.
    pub cache_from: Vec<String>,
    /// Labels to set, over those of the Dockerfile: the commit's facts.
    pub labels: BTreeMap<String, String>,
    /// `created` of the config: the commit's time, in seconds since 1970 UTC.
    pub created: i64,
}

/// Makes images out of a Dockerfile and a context, into the store.
#[async_trait]
pub trait ImageBuilder: Send + Sync {
    /// Builds one image; it is whole in `store` when this returns.
    ///
    /// # Errors
    /// `Failed` where a step fails, `Invalid` where the Dockerfile is wrong (with file, line and remedy), `Unavailable` where
    /// no engine is there that can do it, `Cancelled`.
    async fn build(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, BackendError>;
}
