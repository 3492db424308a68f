//! What a repository's lifecycle policy is about to do: ECR evaluates the policy in force as a preview, on request.

use std::time::Duration;

use aws_sdk_ecr::types::{
    ImageActionType, LifecyclePolicyPreviewResult, LifecyclePolicyPreviewStatus,
};
use shipline_engine::backend::Expiring;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::RepositoryName;

use super::api::{Api, NO_REPOSITORY};
use super::failure::{code, failed};
use shipline_http::RetryPolicy;

/// How often a preview is looked at before it is given up.
const LOOKS: u32 = 12;

impl Api {
    /// The tags of images that the policy in force is about to expire or archive; none where there is no policy.
    pub(super) async fn expiring(
        &self,
        repository: &RepositoryName,
        pace: &RetryPolicy,
    ) -> Result<Vec<Expiring>, BackendError> {
        let attempted = format!("preview the lifecycle policy of {repository} in ECR");
        let policy = self
            .client
            .get_lifecycle_policy()
            .registry_id(&self.account)
            .repository_name(repository.as_str())
            .send()
            .await;
        match policy {
            Ok(_) => {}
            Err(error) if matches!(code(&error), Some(NO_REPOSITORY | NO_POLICY)) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(&attempted, error)),
        }
        let started = self
            .client
            .start_lifecycle_policy_preview()
            .registry_id(&self.account)
            .repository_name(repository.as_str())
            .send()
            .await;
        match started {
            Ok(_) => {}
            // Somebody else's is as good.
            Err(error) if code(&error) == Some("LifecyclePolicyPreviewInProgressException") => {}
            Err(error) if code(&error) == Some(NO_POLICY) => return Ok(Vec::new()),
            Err(error) => return Err(failed(&attempted, error)),
        }
        let mut wait = pace.first;
        for _ in 0..LOOKS {
            if let Some(results) = self.preview(repository, &attempted).await? {
                return Ok(results.into_iter().flat_map(expiring).collect());
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(pace.longest.min(LONGEST));
        }
        Err(BackendError::new(ErrorClass::Unavailable, attempted)
            .because("ECR is still at it, and nobody waits any longer"))
    }

    /// The preview's results, all pages; `None` while it is being made.
    async fn preview(
        &self,
        repository: &RepositoryName,
        attempted: &str,
    ) -> Result<Option<Vec<LifecyclePolicyPreviewResult>>, BackendError> {
        let mut results = Vec::new();
        let mut next = None;
        loop {
            let answer = self
                .client
                .get_lifecycle_policy_preview()
                .registry_id(&self.account)
                .repository_name(repository.as_str())
                .set_next_token(next.clone())
                .send()
                .await
                .map_err(|error| failed(attempted, error))?;
            match answer.status {
                Some(LifecyclePolicyPreviewStatus::InProgress) => return Ok(None),
                Some(LifecyclePolicyPreviewStatus::Complete) => {}
                other => {
                    let status = other.map_or_else(String::new, |s| s.as_str().to_owned());
                    return Err(BackendError::new(ErrorClass::Unavailable, attempted)
                        .because(format!("ECR says that the preview is {status}")));
                }
            }
            results.extend(answer.preview_results.unwrap_or_default());
            if answer.next_token.is_none() || answer.next_token == next {
                return Ok(Some(results));
            }
            next = answer.next_token;
        }
    }
}

const NO_POLICY: &str = "LifecyclePolicyNotFoundException";
/// Longest wait between two looks at a preview.
const LONGEST: Duration = Duration::from_secs(3);

/// One entry for each tag of an image that the policy takes away.
fn expiring(result: LifecyclePolicyPreviewResult) -> Vec<Expiring> {
    let what = match result.action.and_then(|action| action.r#type) {
        Some(ImageActionType::Expire) => "expires it".to_owned(),
        // An archived image cannot be pulled.
        Some(ImageActionType::Transition) => "archives it".to_owned(),
        Some(other) => format!("does {} to it", other.as_str()),
        None => "names it".to_owned(),
    };
    let rule = match result.applied_rule_priority {
        Some(priority) => format!("rule {priority} of its lifecycle policy, which {what}"),
        None => format!("its lifecycle policy, which {what}"),
    };
    let tags = result.image_tags.unwrap_or_default();
    tags.into_iter()
        .map(|tag| Expiring {
            tag,
            rule: rule.clone(),
        })
        .collect()
}
