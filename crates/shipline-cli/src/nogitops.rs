//! The GitOps repository of a pipeline that needs none.

use std::sync::Arc;

use shipline_engine::backend::{Deployment, GitopsRepo, GitopsSnapshot};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::DeployedCommit;

/// No GitOps repository, and why there is none.
#[derive(Debug)]
pub(crate) struct NoGitops {
    class: ErrorClass,
    why: String,
}

impl NoGitops {
    /// None is needed.
    pub(crate) fn wanted() -> Self {
        Self {
            class: ErrorClass::NotFound,
            why: "this pipeline has none".to_owned(),
        }
    }

    /// One would be welcome, and this is in the way.
    pub(crate) fn because(why: String) -> Self {
        Self {
            class: ErrorClass::Unavailable,
            why,
        }
    }

    fn refused(&self, what: &str) -> BackendError {
        BackendError::new(
            self.class,
            format!("{what} the GitOps repository: {}", self.why),
        )
    }
}

impl GitopsRepo for NoGitops {
    fn name(&self) -> String {
        "the GitOps repository".to_owned()
    }

    fn prepare(&self) -> Result<Vec<String>, BackendError> {
        Ok(Vec::new())
    }

    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError> {
        Err(self.refused("read"))
    }

    fn deploy(&self, _: &Deployment) -> Result<DeployedCommit, BackendError> {
        Err(self.refused("write"))
    }

    fn preview(&self, _: &Deployment) -> Result<DeployedCommit, BackendError> {
        Err(self.refused("read"))
    }
}
