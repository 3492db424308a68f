//! A GitOps repository that is a list of deployments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shipline_engine::backend::{
    DeclaredImage, Deployment, DesiredState, GitopsRepo, GitopsSnapshot, PastDeployment, Target,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::{DeployedCommit, ImageChange};
use shipline_model::name::CommitId;

use super::{Script, lock};

/// A GitOps repository that is a list of deployments.
#[derive(Debug, Default)]
pub struct MemoryGitops {
    /// What fails in `deploy`.
    pub script: Script,
    deployments: Mutex<Vec<Deployment>>,
}

impl MemoryGitops {
    /// What was deployed, in order.
    #[must_use]
    pub fn deployments(&self) -> Vec<Deployment> {
        lock(&self.deployments).clone()
    }

    fn image(&self, target: &Target) -> Option<String> {
        lock(&self.deployments)
            .iter()
            .rev()
            .flat_map(|deployment| &deployment.images)
            .find(|image| image.target == *target)
            .map(|image| format!("{}:{}", target.repository, image.tag))
    }

    fn changes(&self, deployment: &Deployment) -> Vec<ImageChange> {
        deployment
            .images
            .iter()
            .filter_map(|image| {
                let from = self.image(&image.target).unwrap_or_default();
                let to = format!("{}:{}", image.target.repository, image.tag);
                (from != to).then(|| ImageChange {
                    component: image.target.component.to_string(),
                    file: file(&image.target),
                    line: 1,
                    from,
                    to,
                })
            })
            .collect()
    }

    fn head(&self) -> String {
        format!("{:040x}", lock(&self.deployments).len())
    }
}

impl GitopsRepo for MemoryGitops {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn prepare(&self) -> Result<Vec<String>, BackendError> {
        Ok(Vec::new())
    }

    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError> {
        let commit = CommitId::new(self.head()).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, "name a commit").because(error)
        })?;
        Ok(Arc::new(MemorySnapshot {
            commit,
            then: Self {
                script: Script::default(),
                deployments: Mutex::new(self.deployments()),
            },
        }))
    }
    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        self.script.next()?;
        let changes = self.changes(deployment);
        if !changes.is_empty() {
            lock(&self.deployments).push(deployment.clone());
        }
        Ok(DeployedCommit {
            commit: self.head(),
            made: !changes.is_empty(),
            changes,
            notes: Vec::new(),
        })
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let changes = self.changes(deployment);
        Ok(DeployedCommit {
            commit: self.head(),
            made: !changes.is_empty(),
            changes,
            notes: Vec::new(),
        })
    }
}

/// Where a target's image would stand.
fn file(target: &Target) -> String {
    let folder = target.manifests.first().map_or("", String::as_str);
    format!("{folder}/deployment.yaml")
}

/// The list as it was.
struct MemorySnapshot {
    commit: CommitId,
    then: MemoryGitops,
}

impl GitopsSnapshot for MemorySnapshot {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError> {
        let images: BTreeMap<_, _> = targets
            .iter()
            .map(|target| {
                let image = self.then.image(target).map(|image| DeclaredImage {
                    file: file(target),
                    line: 1,
                    tag: image.split_once(':').map(|(_, tag)| tag.to_owned()),
                    image,
                });
                let missing = || {
                    BackendError::new(
                        ErrorClass::NotFound,
                        format!("find the image of {}", target.component),
                    )
                };
                (target.component.clone(), image.ok_or_else(missing))
            })
            .collect();
        Ok(DesiredState {
            commit: self.commit.clone(),
            images,
        })
    }

    fn list(&self, _: &str) -> Result<Vec<String>, BackendError> {
        Ok(Vec::new())
    }

    fn deployments(&self, limit: usize) -> Result<Vec<PastDeployment>, BackendError> {
        let all = self.then.deployments();
        let past = all
            .iter()
            .rev()
            .take(limit)
            .map(|deployment| PastDeployment {
                commit: self.commit.clone(),
                time: deployment.time,
                id: deployment.id.clone(),
                environment: deployment.environment.to_string(),
                changes: Vec::new(),
            });
        Ok(past.collect())
    }
}
