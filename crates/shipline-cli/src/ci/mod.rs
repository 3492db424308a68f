//! What started this command: a person, or an event in a CI. Each CI says so in variables of its own.
//!
//! One file for each CI, one line in [`KNOWN`].

mod azure;
mod bitbucket;
mod buildkite;
mod circleci;
mod github;
mod gitlab;
mod jenkins;
mod others;

use std::collections::BTreeMap;

/// What started the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A person at a machine.
    Local,
    /// A push to a branch, in CI.
    Push {
        /// The branch.
        branch: String,
        /// The commit before the push, where the event tells.
        before: Option<String>,
    },
    /// Something that is not merged yet, in CI: a pull request, a merge request, a merge queue.
    PullRequest(PullRequest),
    /// A person pressed a button, in CI.
    Manual,
    /// Something else, in CI: a schedule, a tag. Nobody asked for a delivery.
    Other {
        /// What it was.
        event: String,
    },
    /// A CI whose variables we do not know: it may be anything.
    Unknown,
}

/// Something that is not merged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PullRequest {
    /// What this CI calls it: `pull request`, `merge request`.
    pub(crate) called: &'static str,
    /// Commits that the branch that it wants to go into has now, as the CI tells them, the best first.
    pub(crate) commits: Vec<String>,
    /// The commit where it left that branch, where the CI tells. Whoever opens it chooses that, as far back as the branch goes: its
    /// changes are measured from there, and nothing is trusted because it was there.
    pub(crate) left_at: Option<String>,
    /// The commit that it wants to merge, where the CI tells.
    pub(crate) head: Option<String>,
    /// That branch.
    pub(crate) branch: BaseBranch,
}

/// The branch that a pull request wants to go into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BaseBranch {
    /// By name, without `refs/heads/`.
    Named(String),
    /// This CI does not tell.
    Untold,
    /// What the CI tells is the name of no branch.
    Odd(String),
}

impl BaseBranch {
    fn of(told: Option<&str>) -> Self {
        let Some(told) = told else {
            return Self::Untold;
        };
        let name = told.strip_prefix("refs/heads/").unwrap_or(told);
        if is_branch(name) {
            Self::Named(name.to_owned())
        } else {
            Self::Odd(told.to_owned())
        }
    }
}

impl PullRequest {
    fn new(called: &'static str, branch: Option<&str>, commits: &[Option<&str>]) -> Self {
        Self {
            called,
            // A revision that is no hash could be made to name anything.
            commits: commits
                .iter()
                .flatten()
                .filter(|commit| is_commit(commit))
                .map(|commit| (*commit).to_owned())
                .collect(),
            left_at: None,
            head: None,
            branch: BaseBranch::of(branch),
        }
    }

    /// The same that left its branch at this commit, where the CI tells it.
    fn left_at(mut self, commit: Option<&str>) -> Self {
        self.left_at = commit.filter(|commit| is_commit(commit)).map(str::to_owned);
        self
    }

    /// The same of this commit, where the CI tells it.
    fn of_head(mut self, head: Option<&str>) -> Self {
        self.head = head.filter(|head| is_commit(head)).map(str::to_owned);
        self
    }

    /// Names of the base that nobody but the server and the CI can set, the best first. A branch of the clone's own may be the
    /// pull request itself: a fork's branch may be called `main` too.
    pub(crate) fn trusted_names(&self) -> Vec<String> {
        let mut names = self.commits.clone();
        match &self.branch {
            BaseBranch::Named(branch) => names.push(format!("refs/remotes/origin/{branch}")),
            BaseBranch::Untold => names.push("refs/remotes/origin/HEAD".to_owned()),
            // The CI says something that we do not understand: nothing is guessed.
            BaseBranch::Odd(_) => names.clear(),
        }
        names
    }

    /// Names of what its changes are measured from, the best first; `default` is the pipeline's branch.
    pub(crate) fn names(&self, default: &str) -> Vec<String> {
        let mut names: Vec<String> = self.left_at.iter().cloned().collect();
        names.extend(self.trusted_names());
        match &self.branch {
            BaseBranch::Named(branch) => names.push(format!("refs/heads/{branch}")),
            BaseBranch::Untold => names.push(format!("refs/remotes/origin/{default}")),
            BaseBranch::Odd(told) => names.push(format!("the branch `{told}`")),
        }
        names
    }
}

/// Whether git takes it for the name of a branch (`git check-ref-format`), and no revision syntax is in it.
fn is_branch(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    name != "@"
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name
            .chars()
            .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
        && name.split('/').all(part)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

/// The variables of this process. An empty one says nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a>(&'a BTreeMap<String, String>);

impl<'a> Said<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        let value = self.0.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// Whether a variable is set and does not deny.
    fn is_on(self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no")
        })
    }
}

/// Every CI that we know: each gives nothing where it is not the one that runs us.
const KNOWN: &[fn(Said<'_>) -> Option<Trigger>] = &[
    github::trigger,
    gitlab::trigger,
    buildkite::trigger,
    circleci::trigger,
    jenkins::trigger,
    azure::trigger,
    bitbucket::trigger,
    others::trigger,
];

/// Variables by which other CIs can be told from a person's shell.
const MARKS: &[&str] = &[
    "CI",
    "CONTINUOUS_INTEGRATION",
    "CI_NAME",
    "BUILD_NUMBER",
    "CODEBUILD_BUILD_ID",
    "TEAMCITY_VERSION",
    "TASKCLUSTER_ROOT_URL",
    "PROW_JOB_ID",
    "bamboo_buildKey",
    "GO_PIPELINE_NAME",
    "ZUUL_UUID",
    "ZUUL_CHANGE",
    "CI_BUILD_ID",
    "ATC_EXTERNAL_URL",
    "ARGO_TEMPLATE",
    "TEKTON_RESOURCE_NAME",
    "BITRISE_IO",
    "APPVEYOR",
    "CIRRUS_CI",
    "DRONE",
    "SEMAPHORE",
    "TRAVIS",
];

/// What started this command. Where several CIs seem to run us at once, one that tells of a pull request is believed.
pub(crate) fn trigger(variables: &BTreeMap<String, String>) -> Trigger {
    let said = Said(variables);
    let mut first = None;
    for trigger in KNOWN.iter().filter_map(|known| known(said)) {
        if matches!(trigger, Trigger::PullRequest(_)) {
            return trigger;
        }
        first.get_or_insert(trigger);
    }
    first.unwrap_or_else(|| {
        if MARKS.iter().any(|mark| said.is_on(mark)) {
            Trigger::Unknown
        } else {
            Trigger::Local
        }
    })
}

fn tag() -> Trigger {
    other("push of a tag")
}

fn other(event: &str) -> Trigger {
    Trigger::Other {
        event: event.to_owned(),
    }
}

fn push(branch: &str, before: Option<&str>) -> Trigger {
    Trigger::Push {
        branch: branch.to_owned(),
        before: before.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
