//! Azure Pipelines: <https://learn.microsoft.com/azure/devops/pipelines/build/variables>.

use super::{PullRequest, Said, Trigger, other, push, tag};

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("TF_BUILD")?;
    let reason = said.get("BUILD_REASON").unwrap_or("unknown event");
    let source = said.get("BUILD_SOURCEBRANCH").unwrap_or_default();
    // Who starts a pipeline by hand may choose the ref of a pull request.
    if reason == "PullRequest"
        || source.starts_with("refs/pull/")
        || said.get("SYSTEM_PULLREQUEST_PULLREQUESTID").is_some()
    {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("SYSTEM_PULLREQUEST_TARGETBRANCH"),
            &[],
        )));
    }
    if source.starts_with("refs/tags/") {
        return Some(tag());
    }
    Some(match reason {
        "IndividualCI" | "BatchedCI" => match source.strip_prefix("refs/heads/") {
            Some(branch) => push(branch, None),
            None => other("push to no branch"),
        },
        "Manual" => Trigger::Manual,
        reason => other(reason),
    })
}
