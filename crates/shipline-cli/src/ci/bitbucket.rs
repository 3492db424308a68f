//! Bitbucket Pipelines: <https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/>. What is started by hand
//! or by a schedule looks like a push.

use super::{PullRequest, Said, Trigger, other, push, tag};

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("BITBUCKET_PIPELINE_UUID")
        .or_else(|| said.get("BITBUCKET_BUILD_NUMBER"))?;
    if said.get("BITBUCKET_PR_ID").is_some() {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("BITBUCKET_PR_DESTINATION_BRANCH"),
            &[said.get("BITBUCKET_PR_DESTINATION_COMMIT")],
        )));
    }
    Some(
        match (said.get("BITBUCKET_TAG"), said.get("BITBUCKET_BRANCH")) {
            (Some(_), _) => tag(),
            (None, Some(branch)) => push(branch, None),
            (None, None) => other("unknown event"),
        },
    )
}
