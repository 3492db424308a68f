//! A GitOps repository behind a URL: fetched into a private cache, edited there, pushed by compare-and-swap.
//!
//! A rejected push and a lost answer are told from one another by reading the ref again, never by the server's words.

mod bounded;
mod cache;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod pkt;
mod wire;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::{Buf, Oid, Repository};
use shipline_engine::backend::{Deployment, DesiredState, GitopsRepo, Target};
use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::event::DeployedCommit;
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_engine::folder::Place;
use shipline_http::{HttpExchange, Patience, Url, is_loopback_url};
use shipline_model::value::Secret;

use self::cache::Cache;
use self::wire::{Advertisement, Push, Reply, Service, Wire};
use crate::edit::EditPlan;
use crate::error::git;
use crate::snapshot::{CommitSigner, History, Snapshot, new_objects};
use crate::waiting::Waiting;

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
    /// Bytes that one fetch may bring.
    pub max_pack: u64,
    /// What signs deployment commits.
    pub signer: Option<Arc<dyn CommitSigner>>,
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
    signer: Option<Arc<dyn CommitSigner>>,
    faults: Faults,
}

/// How long a look takes at most: nothing is lost where it is taken again.
const LOOK: Duration = Duration::from_secs(30);

impl RemoteGitops {
    /// The repository of these settings. Nothing is connected yet.
    ///
    /// # Errors
    /// `Invalid` where a token would be sent in the clear to another machine.
    pub fn new(settings: RemoteSettings) -> Result<Self, BackendError> {
        let plain = settings.url.starts_with("http://");
        let stays = || Url::parse(&settings.url).is_ok_and(|url| is_loopback_url(&url));
        let leaks = plain && settings.token.is_some() && !stays();
        if leaks {
            let message = format!(
                "use the GitOps repository {}: its token would be sent without encryption",
                settings.url
            );
            return Err(BackendError::new(ErrorClass::Invalid, message).hint("write `https://…`"));
        }
        Ok(Self {
            wire: Wire {
                url: settings.url,
                exchange: settings.exchange,
                token: settings.token,
                max_pack: settings.max_pack,
                moved: Mutex::default(),
                waiting: Waiting::default(),
            },
            reference: format!("refs/heads/{}", settings.branch),
            branch: settings.branch,
            cache: settings.cache,
            deadline: settings.deadline,
            signer: settings.signer,
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
                "push a first commit to `{}`, or name another branch",
                self.branch
            ))
        })
    }

    /// The head of the branch, with its files in the cache. Failures that may pass are waited out; that nobody listens may
    /// pass only where somebody did (`contact`).
    fn fetched(
        &self,
        service: Service,
        cache: &Cache,
        patience: &mut Patience,
        contact: &mut Contact,
    ) -> Result<(Advertisement, Oid), BackendError> {
        loop {
            let tried = self.wire.refs(service).and_then(|ads| {
                let head = self.head(&ads)?;
                cache.ensure(&self.wire, head)?;
                Ok((ads, head))
            });
            match tried {
                Err(error) if contact.may_retry(&error) => {
                    let _wait = self.wire.waiting.on(again(&error, &self.wire.url));
                    let asked = error.retry_after.unwrap_or_default();
                    if !patience.wait_at_least(asked) {
                        return Err(error);
                    }
                }
                Ok(found) => {
                    *contact = Contact::Made;
                    return Ok(found);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn snapshot<T>(
        &self,
        look: impl FnOnce(&Repository, Oid) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let cache = Cache::open(&self.cache, &self.wire.waiting)?;
        let mut patience = Patience::until(self.deadline.min(LOOK), SHORTEST);
        let mut contact = Contact::None;
        let (_, head) = self.fetched(Service::Upload, &cache, &mut patience, &mut contact)?;
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
            "look at the branch's protection rules, and whether the token's owner may push to it",
        )
    }
}

/// Whether the server has answered in this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    /// Not yet.
    None,
    /// It has.
    Made,
}

impl Contact {
    /// Whether an error may pass. That nobody listens is a wrong address at first, and a server that begins anew later.
    fn may_retry(self, error: &BackendError) -> bool {
        match (error.class, self) {
            (ErrorClass::Retryable, _) | (ErrorClass::Unavailable, Self::Made) => true,
            (
                ErrorClass::Unavailable
                | ErrorClass::Denied
                | ErrorClass::NotFound
                | ErrorClass::Conflict
                | ErrorClass::Invalid
                | ErrorClass::Failed
                | ErrorClass::Cancelled,
                _,
            ) => false,
        }
    }
}

/// What is waited for before the next try.
fn again(error: &BackendError, url: &str) -> String {
    format!(
        "the next try at {url}, because this failed: {}",
        chain(error)
    )
}

/// A server needs longer than a file system to let go of a ref.
const SHORTEST: Duration = Duration::from_millis(50);

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
        let cache = Cache::open(&self.cache, &self.wire.waiting)?;
        let mut patience = Patience::until(self.deadline.min(LOOK), SHORTEST);
        self.fetched(Service::Upload, &cache, &mut patience, &mut Contact::None)?;
        Ok(Vec::new())
    }

    fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError> {
        self.snapshot(|repository, head| Snapshot::new(repository, head)?.read(targets))
    }

    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let cache = Cache::open(&self.cache, &self.wire.waiting)?;
        let repository = &cache.repository;
        let mut contact = Contact::None;
        let mut patience = Patience::until(self.deadline, SHORTEST);
        let mut history = History::default();
        let mut sent = HashSet::new();
        let mut refusal: Option<(Oid, u32, BackendError)> = None;
        loop {
            let (ads, head) =
                self.fetched(Service::Receive, &cache, &mut patience, &mut contact)?;
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
                    notes: plan.notes,
                });
            }
            let commit = snapshot.commit(deployment, &plan, self.signer.as_deref())?;
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
                        notes: plan.notes,
                    });
                }
                Ok(Reply::Rejected(words)) => (self.rejected(&words), true),
                Err(error) if contact.may_retry(&error) => (error, false),
                Err(error) => return Err(error),
            };
            let _wait = self.wire.waiting.on(again(&error, &self.wire.url));
            if !patience.wait_at_least(error.retry_after.unwrap_or_default()) {
                return Err(error);
            }
            refusal = rejected.then_some((head, rejections + 1, error));
        }
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        self.snapshot(|repository, head| Snapshot::preview(repository, head, deployment))
    }

    fn waits_for(&self) -> Option<String> {
        self.wire.waiting.now()
    }
}
