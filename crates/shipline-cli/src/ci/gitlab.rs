//! GitLab CI: <https://docs.gitlab.com/ci/variables/predefined_variables/>.

use super::{PullRequest, Said, Trigger, other, push, tag};

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("GITLAB_CI")?;
    let source = said.get("CI_PIPELINE_SOURCE").unwrap_or("unknown event");
    // A child pipeline of a merge request's has another source and the same variables.
    if source == "merge_request_event"
        || said.get("CI_MERGE_REQUEST_IID").is_some()
        || said.get("CI_MERGE_REQUEST_ID").is_some()
    {
        let request = PullRequest::new(
            "merge request",
            said.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
            &[said.get("CI_MERGE_REQUEST_TARGET_BRANCH_SHA")],
        );
        let left_at = said.get("CI_MERGE_REQUEST_DIFF_BASE_SHA");
        return Some(Trigger::PullRequest(request.left_at(left_at)));
    }
    if source == "external_pull_request_event" || said.get("CI_EXTERNAL_PULL_REQUEST_IID").is_some()
    {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"),
            &[said.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA")],
        )));
    }
    // A pipeline of a branch that somebody asks to be merged.
    if said.get("CI_OPEN_MERGE_REQUESTS").is_some()
        && said.get("CI_COMMIT_BRANCH") != said.get("CI_DEFAULT_BRANCH")
    {
        return Some(Trigger::PullRequest(PullRequest::new(
            "branch with an open merge request",
            said.get("CI_DEFAULT_BRANCH"),
            &[],
        )));
    }
    Some(match source {
        _ if said.get("CI_COMMIT_TAG").is_some() => tag(),
        "push" => match said.get("CI_COMMIT_BRANCH") {
            Some(branch) => push(branch, said.get("CI_COMMIT_BEFORE_SHA")),
            None => other("push to no branch"),
        },
        "web" => Trigger::Manual,
        source => other(source),
    })
}
