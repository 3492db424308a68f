//! A GitOps repository behind a URL: fetched into a private cache, edited there, pushed by compare-and-swap.
//!
//! A rejected push and a lost answer are told from one another by reading the ref again, never by the server's words.

mod bounded;
mod cache;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod pkt;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::{Buf, Oid, Repository};
use shipline_engine::backend::{Deployment, GitopsRepo, GitopsSnapshot};
use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::event::DeployedCommit;
use shipline_engine::fault::Faults;
use shipline_engine::folder::Place;
use shipline_http::{HttpExchange, Patience, Url, is_loopback_url};
use shipline_model::value::Secret;

use self::cache::Cache;
use self::wire::{Advertisement, Push, Reply, Service, Wire};
use crate::deploy::{self, Branch, Lost, Making, Moved, Why};
use crate::edit::EditPlan;
use crate::error::git;
use crate::snapshot::{CommitSigner, Held, Snapshot, Source, new_objects};
use crate::waiting::Waiting;

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
                waiting: Arc::new(Waiting::default()),
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

    /// The head of the branch, for reading.
    fn look(&self) -> Result<(Cache, Oid), BackendError> {
        let cache = Cache::open(&self.cache, &self.wire.waiting)?;
        let mut patience = Patience::until(self.deadline.min(LOOK), SHORTEST);
        let mut contact = Contact::None;
        let (_, head) = self.fetched(Service::Upload, &cache, &mut patience, &mut contact)?;
        Ok((cache, head))
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
        self.look()?;
        Ok(Vec::new())
    }

    fn can_create(&self) -> bool {
        false
    }

    fn snapshot(&self) -> Result<Arc<dyn GitopsSnapshot>, BackendError> {
        let (_, head) = self.look()?;
        let source = Cached {
            cache: self.cache.clone(),
            waiting: Arc::clone(&self.wire.waiting),
        };
        Ok(Arc::new(Held::new(source, head)?))
    }

    fn deploy(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let mut branch = RemoteBranch {
            gitops: self,
            cache: Cache::open(&self.cache, &self.wire.waiting)?,
            ads: None,
            contact: Contact::None,
        };
        let making = Making {
            deployment,
            signer: self.signer.as_deref(),
            faults: &self.faults,
            waiting: &self.wire.waiting,
        };
        let mut patience = Patience::until(self.deadline, SHORTEST);
        deploy::run(&mut branch, &making, &mut patience)
    }

    fn preview(&self, deployment: &Deployment) -> Result<DeployedCommit, BackendError> {
        let (cache, head) = self.look()?;
        Snapshot::preview(&cache.repository, head, deployment)
    }

    fn waits_for(&self) -> Option<String> {
        self.wire.waiting.now()
    }
}

/// Where a snapshot's objects are: in the cache, which is locked only while it is read.
struct Cached {
    cache: Place,
    waiting: Arc<Waiting>,
}

impl Source for Cached {
    fn with<T>(
        &self,
        look: impl FnOnce(&Repository) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let cache = Cache::open(&self.cache, &self.waiting)?;
        look(&cache.repository)
    }
}

/// The branch on the server, as it was advertised last.
struct RemoteBranch<'g> {
    gitops: &'g RemoteGitops,
    cache: Cache,
    ads: Option<Advertisement>,
    contact: Contact,
}

impl Branch for RemoteBranch<'_> {
    fn repository(&self) -> &Repository {
        &self.cache.repository
    }

    fn head(&mut self, patience: &mut Patience) -> Result<Oid, BackendError> {
        let (service, contact) = (Service::Receive, &mut self.contact);
        let (ads, head) = self
            .gitops
            .fetched(service, &self.cache, patience, contact)?;
        self.ads = Some(ads);
        Ok(head)
    }

    fn swap(&mut self, (old, new): (Oid, Oid), plan: &EditPlan) -> Result<Moved, BackendError> {
        let gitops = self.gitops;
        let Some(ads) = &self.ads else {
            return Err(BackendError::new(ErrorClass::Failed, "push before a look"));
        };
        let pushed = gitops.push(&self.cache.repository, ads, (old, new), plan);
        let (waits_for, why) = match pushed {
            Ok(Reply::Accepted) => return Ok(Moved::Done),
            Ok(Reply::Rejected(words)) => {
                let error = gitops.rejected(&words);
                (again(&error, &gitops.wire.url), Why::Rejected(error))
            }
            Err(error) if self.contact.may_retry(&error) => {
                (again(&error, &gitops.wire.url), Why::Failed(error))
            }
            Err(error) => return Err(error),
        };
        Ok(Moved::Lost(Lost { waits_for, why }))
    }

    fn landed(&mut self, commit: Oid, _: &EditPlan, _: &mut Patience) -> Result<(), BackendError> {
        self.cache.remember(commit);
        Ok(())
    }

    fn contended(&self, patience: &Patience) -> BackendError {
        let message = format!(
            "push to branch {} of {}: other writers were first {} times",
            self.gitops.branch,
            self.gitops.wire.url,
            patience.attempts()
        );
        BackendError::new(ErrorClass::Retryable, message).hint("run it again")
    }
}
