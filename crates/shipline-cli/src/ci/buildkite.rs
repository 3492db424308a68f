//! Buildkite: <https://buildkite.com/docs/pipelines/configure/environment-variables>.

use super::{PullRequest, Said, Trigger, other, push, tag};

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("BUILDKITE")?;
    // The number, or `false`.
    if said.is_on("BUILDKITE_PULL_REQUEST") {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
            &[],
        )));
    }
    if let Some(branch) = said.get("BUILDKITE_MERGE_QUEUE_BASE_BRANCH") {
        return Some(Trigger::PullRequest(PullRequest::new(
            "merge queue",
            Some(branch),
            &[said.get("BUILDKITE_MERGE_QUEUE_BASE_COMMIT")],
        )));
    }
    if said.get("BUILDKITE_TAG").is_some() {
        return Some(tag());
    }
    Some(match said.get("BUILDKITE_SOURCE") {
        Some("webhook") => match said.get("BUILDKITE_BRANCH") {
            Some(branch) => push(branch, None),
            None => other("push to no branch"),
        },
        Some("ui") => Trigger::Manual,
        Some(source) => other(source),
        None => other("unknown event"),
    })
}
