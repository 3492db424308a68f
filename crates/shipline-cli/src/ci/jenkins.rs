//! Jenkins: the variables of multibranch projects (branch-api plugin), of the git plugin, of the pull request builder, and of the
//! plugins for GitLab, Gerrit and Bitbucket.

use super::{PullRequest, Said, Trigger, other, push, tag};

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("JENKINS_URL")
        .or_else(|| said.get("JENKINS_HOME"))?;
    if said.get("CHANGE_ID").is_some() || said.get("CHANGE_TARGET").is_some() {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("CHANGE_TARGET"),
            &[],
        )));
    }
    if said.get("ghprbPullId").is_some() {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("ghprbTargetBranch"),
            &[],
        )));
    }
    if said.get("gitlabMergeRequestIid").is_some() || said.get("gitlabMergeRequestId").is_some() {
        return Some(Trigger::PullRequest(PullRequest::new(
            "merge request",
            said.get("gitlabTargetBranch"),
            &[],
        )));
    }
    if said.get("GERRIT_CHANGE_NUMBER").is_some() {
        // Gerrit triggers jobs of changes that are merged, too.
        let merged = said.get("GERRIT_EVENT_TYPE") == Some("change-merged");
        if !merged {
            return Some(Trigger::PullRequest(PullRequest::new(
                "change",
                said.get("GERRIT_BRANCH"),
                &[],
            )));
        }
    }
    if said.get("BITBUCKET_PULL_REQUEST_ID").is_some() {
        return Some(Trigger::PullRequest(PullRequest::new(
            "pull request",
            said.get("BITBUCKET_TARGET_BRANCH"),
            &[],
        )));
    }
    Some(match (said.get("TAG_NAME"), said.get("BRANCH_NAME")) {
        (Some(_), _) => tag(),
        (None, Some(branch)) => push(branch, said.get("GIT_PREVIOUS_SUCCESSFUL_COMMIT")),
        // Outside of multibranch projects nothing tells what started the job: other plugins build pull requests too.
        (None, None) => other("job outside of a multibranch project"),
    })
}
