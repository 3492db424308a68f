//! A GitOps repository behind a URL: fetched into a private cache, edited there, pushed by compare-and-swap.
//!
//! A rejected push and a lost answer are told from one another by reading the ref again, never by the server's words.

mod cache;
mod http;
mod pkt;
mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use git2::{Buf, Oid, Repository};
use shipline_engine::backend::{Deployment, DesiredState, GitopsRepo, Target};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::DeployedCommit;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;
use shipline_model::value::Secret;

pub use http::{HttpExchange, HttpMethod, HttpRequest, HttpResponse};

use self::cache::Cache;
use self::wire::{Advertisement, Push, Reply, Service, Wire};
use crate::edit::EditPlan;
use crate::error::git;
use crate::patience::Patience;
use crate::snapshot::{History, Snapshot, new_objects};

/// How often a push may be rejected while the branch does not move: one that is only late moves at once.
const REJECTIONS: u32 = 3;

/// Where a remote GitOps repository is and how it is written.
pub struct RemoteSettings {
    /// Its URL: what [`Location::Http`](crate::Location::Http) holds.
    pub url: String,
    /// The branch that ArgoCD watches.
    pub branch: String,
    /// A token that may write there.
    pub token: Option<Secret>,
    /// A directory of its own, for what has been fetched. It may be removed at any time.
    pub cache: Place,
    /// Who makes the HTTP connections.
    pub exchange: Arc<dyn HttpExchange>,
    /// How long to try while other processes write or the server does not answer.
    pub deadline: Duration,
    /// Points at which a test can kill the process.
    pub faults: Faults,
}

/// A GitOps repository behind a URL.
pub struct RemoteGitops {
    wire: Wire,
    branch: String,
    reference: String,
    cache: Place,
    deadline: Duration,
    faults: Faults,
}

impl RemoteGitops {
    /// The repository of these settings. Nothing is connected yet.
    ///
    /// # Errors
    /// `Invalid` where a token would be sent in the clear to another machine.
    pub fn new(settings: RemoteSettings) -> Result<Self, BackendError> {
        let plain = settings.url.strip_prefix("http://");
        let leaks = plain.is_some_and(|rest| !is_loopback(rest)) && settings.token.is_some();
        if leaks {
            let message = format!(
                "use the GitOps repository {}: its token would be sent without encryption",
                settings.url
            );
            return Err(BackendError::new(ErrorClass::Invalid, message).hint("Write `https://…`."));
        }
        Ok(Self {
            wire: Wire {
                url: settings.url,
                exchange: settings.exchange,
                token: settings.token,
            },
            reference: format!("refs/heads/{}", settings.branch),
            branch: settings.branch,
            cache: settings.cache,
            deadline: settings.deadline,
            faults: settings.faults,
        })
    }

    fn head(&self, ads: &Advertisement) -> Result<Oid, BackendError> {
        ads.get(&self.reference).ok_or_else(|| {
            let message = format!(
                "read branch {} of {}: it is not there",
                self.branch, self.wire.url
            );
            BackendError::new(ErrorClass::NotFound, message).hint(format!(
                "Push a first commit to `{}`, or name another branch.",
                self.branch
            ))
        })
    }

    /// The head of the branch, with its files in the cache. Failures that may pass are waited out.
    fn fetched(
        &self,
        service: Service,
        cache: &Cache,
        patience: &mut Patience,
    ) -> Result<(Advertisement, Oid), BackendError> {
        loop {
            let tried = self.wire.refs(service).and_then(|ads| {
                let head = self.head(&ads)?;
                cache.ensure(&self.wire, head)?;
                Ok((ads, head))
            });
            match tried {
                Err(error) if error.class == ErrorClass::Retryable => {
                    let asked = error.retry_after.unwrap_or_default();
                    if !patience.wait_at_least(asked) {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    fn snapshot<T>(
        &self,
        look: impl FnOnce(&Repository, Oid) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let cache = Cache::open(&self.cache)?;
        let mut patience = Patience::until(self.deadline, SHORTEST);
        let (_, head) = self.fetched(Service::Upload, &cache, &mut patience)?;
        look(&cache.repository, head)
    }

    fn push(
        &self,
        repository: &Repository,
        ads: &Advertisement,
        (old, new): (Oid, Oid),
        plan: &EditPlan,
    ) -> Result<Reply, BackendError> {
        let pack = pack(repository, new, plan)?;
        let push = Push {
            reference: &self.reference,
            old,
            new,
            pack: &pack,
        };
        self.wire.push(ads, &push)
    }

    fn rejected(&self, words: &str) -> BackendError {
        let message = format!(
            "push to branch {} of {}: the server refused it: {words}",
            self.branch, self.wire.url
        );
        BackendError::new(ErrorClass::Conflict, message).hint(
            "Look at the branch's protection rules, and whether the token's owner may push to it.",
        )
    }
}

/// A server needs longer than a file system to let go of a ref.
const SHORTEST: Duration = Duration::from_millis(50);

fn is_loopback(rest: &str) -> bool {
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// The commit with the trees and blobs that are new in it.
fn pack(repository: &Repository, commit: Oid, plan: &EditPlan) -> Result<Vec<u8>, BackendError> {
    let objects = new_objects(repository, commit, plan)?;
    let packed = || {
        let mut builder = repository.packbuilder()?;
        for (id, name) in &objects {
            builder.insert_object(*id, Some(name))?;
        }
        let mut bytes = Buf::new();
        builder.write_buf(&mut bytes)?;
        Ok(bytes.to_vec())
    };
    packed().map_err(|cause| git("pack the deployment commit", cause))
}

impl GitopsRepo for RemoteGitops {
    fn name(&self) -> String {
        self.wire.url.clone()
    }

    fn prepare(&self) -> Result<Vec<String>, BackendError> {
        let mut patience = Patience::until(self.deadline, SHORTEST);
        let cache = Cache::open(&self.cache)?;
        self.fetched(Service::Upload, &cache, &mut patience)?;
        Ok(Vec::new())
    }

    fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError> {
        self.snapshot(|repository, head| Snapshot::new(repository, head)?.read(targets))
    }

    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let cache = Cache::open(&self.cache)?;
        let repository = &cache.repository;
        let mut patience = Patience::until(self.deadline, SHORTEST);
        let mut history = History::default();
        let mut sent = HashSet::new();
        let mut refusal: Option<(Oid, u32, BackendError)> = None;
        loop {
            let (ads, head) = self.fetched(Service::Receive, &cache, &mut patience)?;
            if let Some(mut done) = history.find(repository, head, &deployment.id)? {
                done.made = sent.contains(&done.commit);
                return Ok(done);
            }
            let rejections = match refusal.take() {
                Some((at, count, error)) if at == head => {
                    if count >= REJECTIONS {
                        return Err(error);
                    }
                    count
                }
                _ => 0,
            };
            let snapshot = Snapshot::new(repository, head)?;
            let plan = snapshot.plan(deployment)?;
            if plan.changes.is_empty() {
                return Ok(DeployedCommit {
                    commit: head.to_string(),
                    made: false,
                    changes: Vec::new(),
                });
            }
            let commit = snapshot.commit(deployment, &plan)?;
            self.faults.reach(FaultPoint::GitopsCommit);
            sent.insert(commit.to_string());
            let (error, rejected) = match self.push(repository, &ads, (head, commit), &plan) {
                Ok(Reply::Accepted) => {
                    self.faults.reach(FaultPoint::GitopsRef);
                    cache.remember(commit);
                    return Ok(DeployedCommit {
                        commit: commit.to_string(),
                        made: true,
                        changes: plan.changes,
                    });
                }
                Ok(Reply::Rejected(words)) => (self.rejected(&words), true),
                Err(error) if error.class == ErrorClass::Retryable => (error, false),
                Err(error) => return Err(error),
            };
            if !patience.wait_at_least(error.retry_after.unwrap_or_default()) {
                return Err(error);
            }
            refusal = rejected.then_some((head, rejections + 1, error));
        }
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        self.snapshot(|repository, head| Snapshot::preview(repository, head, deployment))
    }
}
