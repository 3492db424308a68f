//! GitHub Actions, and what speaks like it (Gitea, Forgejo): <https://docs.github.com/actions/reference/variables>.

use std::path::Path;

use serde_json::Value;

use super::{PullRequest, Said, Trigger, other, push, tag};

/// Most that is read of an event's payload, in bytes.
const LONGEST_PAYLOAD: u64 = 32 * 1024 * 1024;

pub(super) fn trigger(said: Said<'_>) -> Option<Trigger> {
    said.get("GITHUB_ACTIONS")?;
    let payload = payload(said).unwrap_or(Value::Null);
    let text = |route: &str| payload.pointer(route).and_then(Value::as_str);
    let merged = said
        .get("GITHUB_REF")
        .is_some_and(|name| name.starts_with("refs/pull/"));
    let queued = said
        .get("GITHUB_REF_NAME")
        .is_some_and(|name| name.starts_with("gh-readonly-queue/"));
    let event = said.get("GITHUB_EVENT_NAME").unwrap_or("unknown event");
    let pull_request = |branch: Option<&str>, commit: Option<&str>| {
        let head = text("/pull_request/head/sha");
        Trigger::PullRequest(PullRequest::new("pull request", branch, &[commit]).of_head(head))
    };
    Some(match event {
        // `pull_request_target` sees the secrets of the base, and many check out the pull request in it.
        "pull_request"
        | "pull_request_target"
        | "pull_request_review"
        | "pull_request_review_comment" => pull_request(
            said.get("GITHUB_BASE_REF")
                .or_else(|| text("/pull_request/base/ref")),
            text("/pull_request/base/sha"),
        ),
        "merge_group" => pull_request(text("/merge_group/base_ref"), text("/merge_group/base_sha")),
        // A workflow that another one started by a pull request: what it works on may come from there.
        "workflow_run"
            if text("/workflow_run/event")
                .is_some_and(|event| event.starts_with("pull_request")) =>
        {
            pull_request(
                text("/workflow_run/pull_requests/0/base/ref"),
                text("/workflow_run/pull_requests/0/base/sha"),
            )
        }
        "issue_comment" if payload.pointer("/issue/pull_request").is_some() => {
            pull_request(None, None)
        }
        _ if merged || queued => pull_request(said.get("GITHUB_BASE_REF"), None),
        "push" if said.get("GITHUB_REF_TYPE") == Some("tag") => tag(),
        "push" => push(
            said.get("GITHUB_REF_NAME").unwrap_or_default(),
            said.get("SHIPLINE_PUSH_BEFORE").or_else(|| text("/before")),
        ),
        "workflow_dispatch" | "repository_dispatch" => Trigger::Manual,
        event => other(event),
    })
}

fn payload(said: Said<'_>) -> Option<Value> {
    let path = Path::new(said.get("GITHUB_EVENT_PATH")?);
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > LONGEST_PAYLOAD {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
