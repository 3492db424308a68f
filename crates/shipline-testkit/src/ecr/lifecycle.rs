//! Lifecycle policies of the form "keep the newest N", and their previews. The policy is never carried out: only what it would do
//! is told.

use serde_json::{Value, json};

use super::api::{Refused, repository, text};
use super::referrers;
use super::state::State;

fn no_policy(name: &str) -> Refused {
    (
        "LifecyclePolicyNotFoundException",
        format!("Lifecycle policy does not exist for the repository with name '{name}'"),
    )
}

/// How many images the first rule of a policy's text keeps.
fn kept(policy: &str) -> Option<usize> {
    let document: Value = serde_json::from_str(policy).ok()?;
    let selection = &document["rules"][0]["selection"];
    (selection["countType"] == "imageCountMoreThan")
        .then(|| usize::try_from(selection["countNumber"].as_u64()?).ok())
        .flatten()
}

pub(super) fn put(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let (name, _) = repository(state, body)?;
    let policy = text(body, "lifecyclePolicyText")?;
    let keep = kept(policy).ok_or((
        "InvalidParameterException",
        "The fake knows rules with imageCountMoreThan only".to_owned(),
    ))?;
    state.set_policy(&name, keep);
    Ok(json!({ "repositoryName": name, "lifecyclePolicyText": policy }))
}

pub(super) fn get(state: &State, body: &Value) -> Result<Value, Refused> {
    let (name, repository) = repository(state, body)?;
    let keep = repository.keep.ok_or_else(|| no_policy(&name))?;
    Ok(json!({ "repositoryName": name, "lifecyclePolicyText": policy(keep) }))
}

fn policy(keep: usize) -> String {
    json!({ "rules": [{
        "rulePriority": 1,
        "selection": {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": keep,
        },
        "action": { "type": "expire" },
    }] })
    .to_string()
}

pub(super) fn start(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let (name, repository) = repository(state, body)?;
    let keep = repository.keep.ok_or_else(|| no_policy(&name))?;
    if repository.preview.is_some_and(|looks| looks > 0) {
        return Err((
            "LifecyclePolicyPreviewInProgressException",
            format!("A preview of the repository with name '{name}' is in progress"),
        ));
    }
    state.begin_preview(&name);
    Ok(
        json!({ "repositoryName": name, "lifecyclePolicyText": policy(keep), "status": "IN_PROGRESS" }),
    )
}

pub(super) fn preview(state: &mut State, body: &Value) -> Result<Value, Refused> {
    let (name, repository) = repository(state, body)?;
    let (Some(keep), Some(looks)) = (repository.keep, repository.preview) else {
        return Err((
            "LifecyclePolicyPreviewNotFoundException",
            format!("There is no preview for the repository with name '{name}'"),
        ));
    };
    let mut answer = json!({ "repositoryName": name, "lifecyclePolicyText": policy(keep) });
    if looks > 0 {
        answer["status"] = json!("IN_PROGRESS");
        state.look_at_preview(&name);
        return Ok(answer);
    }
    // What refers to an image goes with it, and is not counted.
    let mut images: Vec<_> = repository
        .manifests
        .iter()
        .filter(|(_, manifest)| referrers::subject(&manifest.bytes).is_none())
        .collect();
    images.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.serial));
    let results: Vec<Value> = images
        .into_iter()
        .skip(keep)
        .map(|(digest, manifest)| {
            json!({
                "imageTags": repository.tags_of(digest),
                "imageDigest": digest,
                "imagePushedAt": manifest.pushed_at,
                "action": { "type": "EXPIRE" },
                "appliedRulePriority": 1,
            })
        })
        .collect();
    answer["status"] = json!("COMPLETE");
    answer["summary"] = json!({ "expiringImageTotalCount": results.len() });
    answer["previewResults"] = json!(results);
    Ok(answer)
}
