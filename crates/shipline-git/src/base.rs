//! The commit that each component's change is measured from: the first rule that applies, and never "nothing to do" by
//! accident.
//!
//! A rule whose fact is not there is passed over. A rule whose fact is there but cannot be trusted gives no base where a later
//! one could hide work that is not deployed: no base means affected, with the reason said.

use std::collections::BTreeMap;

use shipline_engine::backend::{Ancestry, SourceRepo};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::{CommitId, ComponentName, EnvironmentName};
use shipline_model::path::ByPath;
use shipline_model::plan::{Base, BaseRule, ChangeSet, ComponentChange, PathChange};
use shipline_model::tag::ImageTag;

/// What the command line says about the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: the rules decide.
    Nothing,
    /// `--base REV`.
    Base(String),
    /// `--all`.
    All,
}

/// The pull request that is being checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Names of what it wants to be merged into, the best first (`origin/main`, `main`).
    pub into: Vec<String>,
    /// Commits at the tip of that branch, the best first, where the event tells.
    pub tips: Vec<String>,
    /// The commit that it wants to merge, where the event tells.
    pub head: Option<String>,
}

/// What the automatic environment runs of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// The image with this tag.
    Tag(DeployedTag),
    /// Nobody can tell: no base is safe.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

/// What the automatic environment declares for a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedTag {
    /// The tag as it stands in the GitOps repository.
    pub tag: String,
    /// What tags of the component's image for this environment start with (may be empty).
    pub prefix: String,
    /// The environment.
    pub environment: EnvironmentName,
}

/// The facts that bases are found from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRequest {
    /// The components.
    pub components: Vec<ComponentName>,
    /// What the command line says.
    pub asked: Asked,
    /// The pull request, where there is one.
    pub pull_request: Option<PullRequest>,
    /// What the automatic environment runs; empty where there is no such environment yet.
    pub deployed: BTreeMap<ComponentName, Deployed>,
    /// `before` of the push event, where there is one.
    pub push_before: Option<String>,
    /// The branch whose pushes are delivered (`main`).
    pub default_branch: Option<String>,
}

/// What changed for each component, and since when. The dirty tree counts as changed against every base.
///
/// # Errors
/// Where the head cannot be read, or what `--base` names cannot be compared with.
pub fn change_set(
    source: &dyn SourceRepo,
    request: &BaseRequest,
) -> Result<ChangeSet, BackendError> {
    let head = source.head()?;
    let mut finder = Finder {
        source,
        request,
        head: &head.commit,
        branch: head.branch.as_deref(),
        asked: None,
        shared: None,
        pull_request: None,
        ancestry: BTreeMap::new(),
        deployed: BTreeMap::new(),
        changes: BTreeMap::new(),
    };
    let mut components = BTreeMap::new();
    for component in &request.components {
        components.insert(component.clone(), finder.component(component)?);
    }
    Ok(ChangeSet { head, components })
}

/// What a rule says.
#[derive(Debug, Clone)]
enum Answer {
    /// This is the base.
    Base(CommitId, BaseRule),
    /// It has no fact to say anything from.
    Silent,
    /// It cannot say, but a later rule may.
    Passed(String),
    /// It cannot say, and no later rule is safe.
    Unsafe(String),
}

struct Finder<'s> {
    source: &'s dyn SourceRepo,
    request: &'s BaseRequest,
    head: &'s CommitId,
    branch: Option<&'s str>,
    /// What `--base` names, and what changed since.
    asked: Option<(CommitId, ByPath<PathChange>)>,
    /// The answers of the last two rules, the same for all components.
    shared: Option<(Answer, Answer)>,
    /// The pull request's answer, the same for all components.
    pull_request: Option<Answer>,
    /// What is known of commits: each takes a walk through the history.
    ancestry: BTreeMap<CommitId, Ancestry>,
    /// Answers by tag: components share commits.
    deployed: BTreeMap<(String, String), Answer>,
    changes: BTreeMap<CommitId, Result<ByPath<PathChange>, String>>,
}

impl Finder<'_> {
    fn component(&mut self, component: &ComponentName) -> Result<ComponentChange, BackendError> {
        match &self.request.asked {
            Asked::All => Ok(ComponentChange {
                base: Base::All,
                paths: ByPath::default(),
                moved_bases: Vec::new(),
            }),
            Asked::Base(revision) => {
                let (id, paths) = match &self.asked {
                    Some(known) => known.clone(),
                    None => {
                        let id = self.source.resolve(revision)?;
                        let paths = self.source.changes(&id)?;
                        self.asked.insert((id, paths)).clone()
                    }
                };
                Ok(ComponentChange {
                    base: Base::Commit {
                        id,
                        rule: BaseRule::Asked,
                    },
                    paths,
                    moved_bases: Vec::new(),
                })
            }
            Asked::Nothing => self.by_rules(component),
        }
    }

    fn by_rules(&mut self, component: &ComponentName) -> Result<ComponentChange, BackendError> {
        let mut reasons = Vec::new();
        let answer = match &self.request.pull_request {
            Some(pull_request) => match &self.pull_request {
                Some(known) => known.clone(),
                None => {
                    let answer = self.pull_request(pull_request)?;
                    self.pull_request.insert(answer).clone()
                }
            },
            None => self.pushed(component, &mut reasons)?,
        };
        match answer {
            Answer::Base(id, rule) => Ok(match self.paths(&id)? {
                Ok(paths) => ComponentChange {
                    base: Base::Commit { id, rule },
                    paths,
                    moved_bases: Vec::new(),
                },
                Err(reason) => unknown(reason),
            }),
            Answer::Unsafe(reason) => Ok(unknown(reason)),
            Answer::Passed(reason) => {
                reasons.push(reason);
                Ok(unknown(reasons.join("; ")))
            }
            Answer::Silent if reasons.is_empty() => Ok(unknown(
                "nothing is known that it could be measured from".to_owned(),
            )),
            Answer::Silent => Ok(unknown(reasons.join("; "))),
        }
    }

    /// Where the history is cut off, the branch is seldom there, and still the base is known: what is checked out is mostly
    /// the merge of the pull request, whose first parent is what it goes into, and the event names the branch's tip.
    fn pull_request(&self, pull_request: &PullRequest) -> Result<Answer, BackendError> {
        let PullRequest { into, tips, head } = pull_request;
        let mut found = Vec::new();
        if let Some(head) = head
            && let Some(merged) = self.found("HEAD^2")?
            && merged.as_str() == head
        {
            found.extend(self.found("HEAD^1")?);
        }
        for revision in into.iter().chain(tips) {
            found.extend(self.found(revision)?);
        }
        for id in &found {
            if let Some(base) = self.source.merge_base(id)? {
                return Ok(Answer::Base(base, BaseRule::PullRequest));
            }
        }
        // Their common history is cut off. What differs from the branch's tip is all that the pull request would change in it.
        for tip in tips {
            if let Some(id) = self.found(tip)? {
                return Ok(Answer::Base(id, BaseRule::PullRequestBase));
            }
        }
        Ok(Answer::Unsafe(match found.first() {
            Some(id) => format!(
                "the pull request's merge base with {} is not in this clone; {}",
                id.short(),
                crate::error::FETCH_ALL
            ),
            None => format!(
                "what the pull request goes into ({}) is not in this clone; {}",
                into.join(", "),
                crate::error::FETCH_ALL
            ),
        }))
    }

    fn pushed(
        &mut self,
        component: &ComponentName,
        reasons: &mut Vec<String>,
    ) -> Result<Answer, BackendError> {
        match self.deployed(component)? {
            Answer::Silent => {}
            Answer::Passed(reason) => reasons.push(reason),
            answer @ (Answer::Base(..) | Answer::Unsafe(_)) => return Ok(answer),
        }
        let (before, default) = match &self.shared {
            Some(shared) => shared.clone(),
            None => {
                let found = (self.push_before()?, self.default_branch()?);
                self.shared = Some(found.clone());
                found
            }
        };
        match before {
            Answer::Silent => {}
            Answer::Passed(reason) => reasons.push(reason),
            Answer::Base(..) | Answer::Unsafe(_) => return Ok(before),
        }
        Ok(default)
    }

    fn deployed(&mut self, component: &ComponentName) -> Result<Answer, BackendError> {
        let deployed = match self.request.deployed.get(component) {
            None => return Ok(Answer::Silent),
            Some(Deployed::Unknown { why }) => return Ok(Answer::Unsafe(why.clone())),
            Some(Deployed::Tag(deployed)) => deployed,
        };
        let key = (deployed.prefix.clone(), deployed.tag.clone());
        if let Some(known) = self.deployed.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.deployed_tag(deployed)?;
        self.deployed.insert(key, answer.clone());
        Ok(answer)
    }

    fn ancestry(&mut self, id: &CommitId) -> Result<Ancestry, BackendError> {
        if let Some(known) = self.ancestry.get(id) {
            return Ok(known.clone());
        }
        let found = self.source.ancestry(id)?;
        self.ancestry.insert(id.clone(), found.clone());
        Ok(found)
    }

    fn deployed_tag(&mut self, deployed: &DeployedTag) -> Result<Answer, BackendError> {
        let DeployedTag {
            tag,
            prefix,
            environment,
        } = deployed;
        let Ok(parsed) = ImageTag::parse(prefix, tag) else {
            let why = if tag.starts_with(prefix.as_str()) {
                "which names no commit".to_owned()
            } else {
                format!("which lacks the prefix `{prefix}` of this component's tags there")
            };
            return Ok(Answer::Unsafe(format!(
                "{environment} runs the tag `{tag}`, {why}"
            )));
        };
        if parsed.base().is_dirty() {
            return Ok(Answer::Unsafe(format!(
                "{environment} runs `{tag}`, built from a work tree that is in no commit"
            )));
        }
        let short = parsed.base().commit();
        let id = match self.source.resolve(short) {
            // A branch may be called like a commit.
            Ok(id) if id.as_str().starts_with(short) => id,
            Ok(_) => {
                return Ok(Answer::Unsafe(format!(
                    "`{short}`, which {environment} runs, is also a branch or tag"
                )));
            }
            Err(error) if matches!(error.class, ErrorClass::NotFound | ErrorClass::Invalid) => {
                let mut why = if error.class == ErrorClass::Invalid {
                    format!("`{short}`, which {environment} runs, names several commits")
                } else {
                    format!("commit {short}, which {environment} runs, is not in this repository")
                };
                for hint in &error.hints {
                    why.push_str("; ");
                    why.push_str(hint);
                }
                return Ok(Answer::Unsafe(why));
            }
            Err(error) => return Err(error),
        };
        Ok(match self.ancestry(&id)? {
            Ancestry::Ancestor => Answer::Base(
                id,
                BaseRule::Deployed {
                    tag: tag.clone(),
                    environment: environment.clone(),
                },
            ),
            // On a branch of its own the environment may well be ahead; on the default branch it means that history changed.
            Ancestry::NotAncestor => {
                let why =
                    format!("commit {short}, which {environment} runs, is no ancestor of the head");
                if self.on_default_branch()? {
                    Answer::Unsafe(why)
                } else {
                    Answer::Passed(why)
                }
            }
            Ancestry::Unknown { why } => Answer::Unsafe(why),
        })
    }

    fn push_before(&self) -> Result<Answer, BackendError> {
        let Some(before) = &self.request.push_before else {
            return Ok(Answer::Silent);
        };
        if before.bytes().all(|byte| byte == b'0') {
            return Ok(Answer::Passed("this is the branch's first push".to_owned()));
        }
        let id = match self.source.resolve(before) {
            Ok(id) => id,
            Err(error) if matches!(error.class, ErrorClass::NotFound | ErrorClass::Invalid) => {
                return Ok(Answer::Passed(format!(
                    "commit {before} from before the push is not in this clone (force push or shallow clone)"
                )));
            }
            Err(error) => return Err(error),
        };
        Ok(match self.source.ancestry(&id)? {
            Ancestry::Ancestor if id == *self.head => {
                Answer::Passed("the push event names the head as its own predecessor".to_owned())
            }
            Ancestry::Ancestor => Answer::Base(id, BaseRule::PushBefore),
            Ancestry::NotAncestor => Answer::Passed(format!(
                "commit {} from before the push is no ancestor of the head (force push)",
                id.short()
            )),
            Ancestry::Unknown { why } => Answer::Passed(why),
        })
    }

    fn default_branch(&self) -> Result<Answer, BackendError> {
        let Some(branch) = &self.request.default_branch else {
            return Ok(Answer::Silent);
        };
        if self.branch == Some(branch.as_str()) {
            return Ok(Answer::Passed(format!(
                "the head is on `{branch}` itself, and nothing says what of it is deployed"
            )));
        }
        let Some(tip) = self.tip(branch)? else {
            return Ok(Answer::Passed(format!(
                "the branch `{branch}` is not in this clone"
            )));
        };
        Ok(match self.source.merge_base(&tip)? {
            // All of the head is on the default branch: measured from itself nothing would ever be to do.
            Some(id) if id == *self.head => Answer::Passed(format!(
                "the head is part of `{branch}`, and nothing says what of it is deployed"
            )),
            Some(id) => Answer::Base(
                id,
                BaseRule::DefaultBranch {
                    branch: branch.clone(),
                },
            ),
            None => Answer::Passed(format!(
                "the merge base with `{branch}` is not in this clone; {}",
                crate::error::FETCH_ALL
            )),
        })
    }

    /// Whether the head is, or may be, on the default branch.
    fn on_default_branch(&self) -> Result<bool, BackendError> {
        let Some(branch) = &self.request.default_branch else {
            return Ok(true);
        };
        if self.branch == Some(branch.as_str()) {
            return Ok(true);
        }
        Ok(match self.tip(branch)? {
            Some(tip) => match self.source.merge_base(&tip)? {
                Some(id) => id == *self.head,
                None => true,
            },
            None => true,
        })
    }

    fn tip(&self, branch: &str) -> Result<Option<CommitId>, BackendError> {
        self.first_of(&[
            format!("refs/remotes/origin/{branch}"),
            format!("refs/heads/{branch}"),
        ])
    }

    fn first_of(&self, revisions: &[String]) -> Result<Option<CommitId>, BackendError> {
        for revision in revisions {
            if let Some(id) = self.found(revision)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn found(&self, revision: &str) -> Result<Option<CommitId>, BackendError> {
        match self.source.resolve(revision) {
            Ok(id) => Ok(Some(id)),
            Err(error) if matches!(error.class, ErrorClass::NotFound | ErrorClass::Invalid) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The changes since `id`, found once; a base that cannot be compared with is no base.
    fn paths(&mut self, id: &CommitId) -> Result<Result<ByPath<PathChange>, String>, BackendError> {
        if let Some(known) = self.changes.get(id) {
            return Ok(known.clone());
        }
        let found = match self.source.changes(id) {
            Ok(paths) => Ok(paths),
            Err(error) if error.class == ErrorClass::NotFound => Err(format!(
                "commit {} cannot be compared with; {}",
                id.short(),
                error.hints.join("; ")
            )),
            Err(error) => return Err(error),
        };
        self.changes.insert(id.clone(), found.clone());
        Ok(found)
    }
}

fn unknown(reason: String) -> ComponentChange {
    ComponentChange {
        base: Base::Unknown { reason },
        paths: ByPath::default(),
        moved_bases: Vec::new(),
    }
}
