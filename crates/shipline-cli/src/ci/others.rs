//! CIs of which only this is known: by which variable they tell of a pull request, and by which of the branch that it wants to go
//! into. What else starts their runs is unknown.

use super::{PullRequest, Said, Trigger};

/// The variable that tells of a pull request, and the one that names its target.
const PULL_REQUESTS: &[(&str, &str)] = &[
    ("PULL_NUMBER", "PULL_BASE_REF"), // Prow
    ("DRONE_PULL_REQUEST", "DRONE_TARGET_BRANCH"),
    ("CI_COMMIT_PULL_REQUEST", "CI_COMMIT_TARGET_BRANCH"), // Woodpecker
    ("TRAVIS_PULL_REQUEST", "TRAVIS_BRANCH"),
    ("APPVEYOR_PULL_REQUEST_NUMBER", "APPVEYOR_REPO_BRANCH"),
    ("CIRRUS_PR", "CIRRUS_BASE_BRANCH"),
    ("SEMAPHORE_GIT_PR_NUMBER", "SEMAPHORE_GIT_BRANCH"),
    ("BITRISE_PULL_REQUEST", "BITRISEIO_GIT_BRANCH_DEST"),
    (
        "bamboo_repository_pr_key",
        "bamboo_repository_pr_targetBranch",
    ),
    ("ZUUL_CHANGE", "ZUUL_BRANCH"),
];

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    // Some write that there is none.
    let is_told = |name: &str| said.get(name).is_some_and(|value| value != "false");
    let mut known = PULL_REQUESTS.iter().filter(|(told, _)| is_told(told));
    let target = match known.next() {
        Some((_, target)) => said.get(target),
        None if said
            .get("CODEBUILD_WEBHOOK_EVENT")
            .is_some_and(|event| event.starts_with("PULL_REQUEST")) =>
        {
            said.get("CODEBUILD_WEBHOOK_BASE_REF")
        }
        None => return None,
    };
    Some(Trigger::PullRequest(PullRequest::new(
        "pull request",
        target,
        &[],
    )))
}
