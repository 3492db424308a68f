//! The repository at one commit: what it declares, and the commit that sets something else.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, ErrorCode, FileMode, Oid, Repository, Signature, Time, Tree};
use shipline_engine::backend::{
    DeclaredImage, Deployment, DesiredState, GitopsSnapshot, PastDeployment, Target,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::DeployedCommit;
use shipline_git::error::said;
use shipline_model::name::CommitId;

use crate::edit::{self, EditPlan};
use crate::error::{EditRefused, RefusedKind, git, refused, require_written};
use crate::image::ImageText;
use crate::locate::{Chosen, attempt, locate};
use crate::record::{self, DeployRecord};
use crate::tree::{self, Committed};
use crate::world::World;

/// Who commits where nobody is named.
pub(crate) const IDENTITY: (&str, &str) = ("Shipline", "shipline@localhost");

/// Signs commits.
pub trait CommitSigner: fmt::Debug + Send + Sync {
    /// The armoured signature of a commit object's bytes, as git keeps it in the header `gpgsig`.
    ///
    /// # Errors
    /// Where no signature comes.
    fn sign(&self, commit: &[u8]) -> Result<String, BackendError>;
}

/// How many commits back a deployment is looked for: far more than can be made between two attempts of one deployment.
const HISTORY: usize = 1000;

/// One commit of the branch.
pub(crate) struct Snapshot<'r> {
    repository: &'r Repository,
    commit: Commit<'r>,
    tree: Tree<'r>,
}

impl<'r> Snapshot<'r> {
    pub(crate) fn new(repository: &'r Repository, commit: Oid) -> Result<Self, BackendError> {
        let reading = || format!("read commit {commit} of the GitOps repository");
        let tree = tree::root(repository, commit).map_err(|cause| git(reading(), cause))?;
        let commit = tree::commit(repository, commit).map_err(|cause| git(reading(), cause))?;
        Ok(Self {
            repository,
            commit,
            tree,
        })
    }

    /// What the targets declare.
    pub(crate) fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError> {
        let files = self.files();
        let world =
            World::new(&files).map_err(|cause| git("look through the GitOps repository", cause))?;
        let images = targets.iter().map(|target| {
            let found = locate(&world, target);
            let declared = found.and_then(|located| declared(target, &located.chosen));
            (
                target.component.clone(),
                declared.map_err(BackendError::from),
            )
        });
        Ok(DesiredState {
            commit: commit_id(self.commit.id())?,
            images: images.collect(),
        })
    }

    /// What a deployment changes here.
    pub(crate) fn plan(&self, deployment: &Deployment) -> Result<EditPlan, BackendError> {
        let elsewhere = deployment
            .images
            .iter()
            .find(|image| image.target.environment != deployment.environment);
        if let Some(image) = elsewhere {
            let message = format!(
                "deploy to {}: {} stands in {}",
                deployment.environment, image.target.component, image.target.environment
            );
            return Err(BackendError::new(ErrorClass::Invalid, message));
        }
        edit::plan(&deployment.images, &self.files())
            .map_err(|errors| refused(deployment.environment.as_str(), errors))
    }

    fn files(&self) -> Committed<'_> {
        Committed {
            repository: self.repository,
            root: &self.tree,
        }
    }

    /// What deploying at `head` would come to.
    pub(crate) fn preview(
        repository: &Repository,
        head: Oid,
        deployment: &Deployment,
    ) -> Result<DeployedCommit, BackendError> {
        if let Some(done) = History::default().find(repository, head, &deployment.id)? {
            return Ok(done);
        }
        let plan = Snapshot::new(repository, head)?.plan(deployment)?;
        Ok(DeployedCommit {
            commit: head.to_string(),
            made: false,
            changes: plan.changes,
            notes: plan.notes,
        })
    }

    /// Writes the commit that makes a plan true, with its blobs and trees. No ref names it yet.
    pub(crate) fn commit(
        &self,
        deployment: &Deployment,
        plan: &EditPlan,
        signer: Option<&dyn CommitSigner>,
    ) -> Result<Oid, BackendError> {
        let what = format!(
            "write the deployment commit into {}",
            self.repository.path().display()
        );
        let failed = |cause| git(what.as_str(), cause);
        let mut update = TreeUpdateBuilder::new();
        for (path, bytes) in &plan.files {
            let entry = self.tree.get_path(Path::new(path)).map_err(failed)?;
            let mode = match entry.filemode() {
                0o100_755 => FileMode::BlobExecutable,
                _ => FileMode::Blob,
            };
            let blob = self.repository.blob(bytes).map_err(failed)?;
            update.upsert(path.as_str(), blob, mode);
        }
        let tree = update
            .create_updated(self.repository, &self.tree)
            .and_then(|tree| self.repository.find_tree(tree))
            .map_err(failed)?;
        let author = signature(deployment.author.as_deref(), deployment.time)?;
        let committer = signature(deployment.committer.as_deref(), deployment.time)?;
        let message = record::message(deployment, &plan.changes);
        let parents = [&self.commit];
        let commit = match signer {
            None => self
                .repository
                .commit(None, &author, &committer, &message, &tree, &parents)
                .map_err(failed)?,
            Some(signer) => {
                let content = self
                    .repository
                    .commit_create_buffer(&author, &committer, &message, &tree, &parents)
                    .map_err(failed)?;
                let signature = signer.sign(&content)?;
                let content = String::from_utf8_lossy(&content);
                self.repository
                    .commit_signed(&content, &signature, None)
                    .map_err(failed)?
            }
        };
        require_written(self.repository, commit, &what)?;
        for id in new_objects(self.repository, commit, plan)?.into_keys() {
            require_written(self.repository, id, &what)?;
        }
        Ok(commit)
    }
}

/// Where the objects of a commit are.
pub(crate) trait Source: Send + Sync {
    /// Opens the repository for a look.
    fn with<T>(
        &self,
        look: impl FnOnce(&Repository) -> Result<T, BackendError>,
    ) -> Result<T, BackendError>;
}

/// A commit that is looked at from any thread.
pub(crate) struct Held<S> {
    source: S,
    oid: Oid,
    commit: CommitId,
}

impl<S: Source> Held<S> {
    pub(crate) fn new(source: S, oid: Oid) -> Result<Self, BackendError> {
        let commit = commit_id(oid)?;
        Ok(Self {
            source,
            oid,
            commit,
        })
    }
}

impl<S: Source> GitopsSnapshot for Held<S> {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    fn read(&self, targets: &[Target]) -> Result<DesiredState, BackendError> {
        self.source
            .with(|repository| Snapshot::new(repository, self.oid)?.read(targets))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, BackendError> {
        self.source.with(|repository| {
            let snapshot = Snapshot::new(repository, self.oid)?;
            tree::names(repository, &snapshot.tree, folder)
                .map_err(|cause| git(format!("list {folder} of the GitOps repository"), cause))
        })
    }

    fn deployments(&self, limit: usize) -> Result<Vec<PastDeployment>, BackendError> {
        self.source
            .with(|repository| past(repository, self.oid, limit))
    }
}

/// The deployments in the history of a commit, newest first, along the first parents.
fn past(
    repository: &Repository,
    head: Oid,
    limit: usize,
) -> Result<Vec<PastDeployment>, BackendError> {
    let mut found = Vec::new();
    let mut next = Some(head);
    let mut looked = 0;
    while let Some(id) = next.filter(|_| looked < HISTORY && found.len() < limit) {
        looked += 1;
        let commit = match tree::commit(repository, id) {
            Ok(commit) => commit,
            // The border of a shallow history.
            Err(error) if error.code() == ErrorCode::NotFound => break,
            Err(error) => return Err(git(format!("read commit {id}"), error)),
        };
        if let Some(record) = record::parse(commit.message().unwrap_or_default()) {
            found.push(PastDeployment {
                commit: commit_id(id)?,
                time: commit.time().seconds(),
                id: record.id,
                environment: record.environment,
                changes: record.images.into_iter().map(|it| it.change).collect(),
            });
        }
        next = commit.parent_id(0).ok();
    }
    Ok(found)
}

/// The commits that have been searched for a deployment, so that each attempt looks at the new ones only.
#[derive(Debug, Default)]
pub(crate) struct History {
    seen: HashSet<Oid>,
}

impl History {
    /// Looks for the deployment among the commits that `head` brings. A commit that is not there (a shallow repository) ends
    /// its line.
    pub(crate) fn find(
        &mut self,
        repository: &Repository,
        head: Oid,
        id: &str,
    ) -> Result<Option<DeployedCommit>, BackendError> {
        let mut open = VecDeque::from([head]);
        while let Some(next) = open.pop_front() {
            if self.seen.len() >= HISTORY || !self.seen.insert(next) {
                continue;
            }
            let commit = match tree::commit(repository, next) {
                Ok(commit) => commit,
                Err(error) if error.code() == ErrorCode::NotFound => continue,
                Err(error) => return Err(git(format!("read commit {next}"), error)),
            };
            let message = commit.message().unwrap_or_default();
            if let Some(record) = record::parse(message).filter(|record| record.id == id) {
                return Ok(Some(deployed(next, record)));
            }
            open.extend(commit.parent_ids());
        }
        Ok(None)
    }
}

/// What a target's containers run, if it is one image.
fn declared(target: &Target, chosen: &[Chosen]) -> Result<DeclaredImage, EditRefused> {
    let missing = || EditRefused {
        attempt: attempt(target),
        cause: "its containers run different images".to_owned(),
        remedy: "set them to one image: `containers: all` moves them together".to_owned(),
        kind: RefusedKind::Unfit,
    };
    let mut declared: Option<DeclaredImage> = None;
    for chosen in chosen {
        let rendering = chosen.rendering.borrow();
        let image = &rendering.images[chosen.image];
        let text = rendering.text(chosen.image).ok_or_else(missing)?;
        match &declared {
            Some(first) if first.image != text => return Err(missing()),
            Some(_) => {}
            None => {
                let place = rendering.places[image.decided].spot();
                declared = Some(DeclaredImage {
                    file: place.file,
                    line: place.line,
                    tag: ImageText::split(&text).tag.map(str::to_owned),
                    image: text,
                });
            }
        }
    }
    declared.ok_or_else(missing)
}

fn deployed(commit: Oid, record: DeployRecord) -> DeployedCommit {
    DeployedCommit {
        commit: commit.to_string(),
        made: false,
        changes: record
            .images
            .into_iter()
            .map(|image| image.change)
            .collect(),
        notes: Vec::new(),
    }
}

pub(crate) fn commit_id(id: Oid) -> Result<CommitId, BackendError> {
    CommitId::new(id.to_string())
        .map_err(|error| BackendError::new(ErrorClass::Invalid, "name a commit").because(error))
}

fn signature(who: Option<&str>, time: i64) -> Result<Signature<'static>, BackendError> {
    let invalid = || {
        let who = who.unwrap_or_default();
        BackendError::new(ErrorClass::Invalid, format!("commit as `{who}`"))
            .hint("an author is written `Name <mail@example.com>`")
    };
    let (name, mail) = match who {
        None => IDENTITY,
        Some(who) => {
            let (name, rest) = who.split_once('<').ok_or_else(invalid)?;
            let mail = rest.trim_end().strip_suffix('>').ok_or_else(invalid)?;
            (name.trim(), mail.trim())
        }
    };
    Signature::new(name, mail, &Time::new(time, 0)).map_err(|cause| invalid().because(said(&cause)))
}

/// The objects that a deployment's commit brings: itself, and the trees and blobs on the way to the changed files.
pub(crate) fn new_objects(
    repository: &Repository,
    commit: Oid,
    plan: &EditPlan,
) -> Result<BTreeMap<Oid, String>, BackendError> {
    let failed = |cause| git("list the deployment's objects", cause);
    let tree = repository
        .find_commit(commit)
        .and_then(|commit| commit.tree())
        .map_err(failed)?;
    let mut objects = BTreeMap::from([(commit, String::new()), (tree.id(), String::new())]);
    for path in plan.files.keys() {
        for prefix in Path::new(path).ancestors() {
            if !prefix.as_os_str().is_empty() {
                let entry = tree.get_path(prefix).map_err(failed)?;
                objects.insert(entry.id(), prefix.display().to_string());
            }
        }
    }
    Ok(objects)
}
