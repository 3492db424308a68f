//! CircleCI: <https://circleci.com/docs/reference/variables/>. It does not tell what a pull request wants to go into.

use super::{PullRequest, Said, Trigger, other, push, tag};

/// Set where the branch has an open pull request, and for pull requests of forks.
const PULL_REQUEST: &[&str] = &[
    "CIRCLE_PULL_REQUEST",
    "CIRCLE_PULL_REQUESTS",
    "CIRCLE_PR_NUMBER",
    "CI_PULL_REQUEST",
    "CI_PULL_REQUESTS",
];

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("CIRCLECI")?;
    let branch = said.get("CIRCLE_BRANCH");
    let of_a_fork = branch.is_some_and(|branch| branch.starts_with("pull/"));
    if of_a_fork || PULL_REQUEST.iter().any(|name| said.get(name).is_some()) {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            None,
            &[],
        )));
    }
    Some(match (said.get("CIRCLE_TAG"), branch) {
        (Some(_), _) => tag(),
        (None, Some(branch)) => push(branch, None),
        (None, None) => other("unknown event"),
    })
}
