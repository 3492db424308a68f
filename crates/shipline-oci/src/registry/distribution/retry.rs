//! Trying again: by class, with jitter, as long as the other side asks for and nobody stops us.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::{TaskContext, TaskMessage};

/// How often and how patiently a registry is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all.
    pub attempts: u32,
    /// Upper bound of the first wait; it doubles with each try.
    pub first: Duration,
    /// Upper bound of any wait that the registry did not ask for.
    pub longest: Duration,
    /// Longest wait that the registry may ask for; a longer one ends the tries.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            patience: Duration::from_secs(90),
        }
    }
}

/// What a failed try means for the next one.
#[derive(Debug)]
pub(in crate::registry) struct Failed {
    pub(super) error: BackendError,
    pub(super) again: Again,
}

/// When the next try comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// By the error's class.
    ByClass,
    /// At once, and once: its reason has been put right (credentials were renewed, another form of upload is taken).
    Once,
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self {
            error,
            again: Again::ByClass,
        }
    }
}

/// The tries of one operation.
pub(in crate::registry) struct Tries<'a> {
    policy: &'a RetryPolicy,
    task: Option<&'a TaskContext>,
    made: u32,
    corrections: u32,
}

/// At most so many tries are repeated because their reason was put right: both reasons, and credentials that expire twice.
const CORRECTIONS: u32 = 3;

impl<'a> Tries<'a> {
    pub(in crate::registry) fn new(policy: &'a RetryPolicy, task: Option<&'a TaskContext>) -> Self {
        Self {
            policy,
            task,
            made: 0,
            corrections: 0,
        }
    }

    /// Waits for the next try, or gives the error back where there is none.
    pub(in crate::registry) async fn after(&mut self, failed: Failed) -> Result<(), BackendError> {
        let Failed { error, again } = failed;
        if again == Again::Once && self.corrections < CORRECTIONS {
            self.corrections += 1;
            return Ok(());
        }
        self.made += 1;
        if error.class != ErrorClass::Retryable || self.made >= self.policy.attempts {
            return Err(error);
        }
        let wait = match error.retry_after {
            Some(asked) if asked > self.policy.patience => {
                let asked = asked.as_secs().div_ceil(60);
                return Err(error.hint(format!(
                    "The registry asks for at least {asked} minutes of patience: try again after that."
                )));
            }
            Some(asked) => asked + jitter(self.policy.first),
            None => jitter(
                self.policy
                    .first
                    .saturating_mul(1 << (self.made - 1).min(16))
                    .min(self.policy.longest),
            ),
        };
        let Some(task) = self.task else {
            tokio::time::sleep(wait).await;
            return Ok(());
        };
        let mut why = match &error.cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        if let Some(asked) = error.retry_after.filter(|asked| !asked.is_zero()) {
            why.push_str(&format!(
                "; waits {} s, as the registry asks",
                asked.as_secs().max(1)
            ));
        }
        task.say(TaskMessage::Retrying {
            error: why,
            after: wait,
        })
        .await;
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = task.cancellation().cancelled() => Err(error),
        }
    }
}

/// A random part of `bound` (full jitter). The standard library's hasher keys are random enough to spread clients.
fn jitter(bound: Duration) -> Duration {
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    bound.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> BackendError {
        BackendError::new(class, "try")
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::new(&policy, None);
        for _ in 1..policy.attempts {
            tries
                .after(error(ErrorClass::Retryable).into())
                .await
                .unwrap();
        }
        tries
            .after(error(ErrorClass::Retryable).into())
            .await
            .unwrap_err();
        for class in [
            ErrorClass::Denied,
            ErrorClass::NotFound,
            ErrorClass::Conflict,
            ErrorClass::Invalid,
        ] {
            Tries::new(&policy, None)
                .after(error(class).into())
                .await
                .unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_registry_asks_for_is_waited_for_within_reason() {
        let policy = RetryPolicy::default();
        let before = tokio::time::Instant::now();
        let asked = error(ErrorClass::Retryable).after(Duration::from_secs(30));
        Tries::new(&policy, None).after(asked.into()).await.unwrap();
        assert!(before.elapsed() >= Duration::from_secs(30));
        let asked = error(ErrorClass::Retryable).after(Duration::from_secs(600));
        Tries::new(&policy, None)
            .after(asked.into())
            .await
            .unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_told_and_ends_with_the_task() {
        use shipline_model::plan::TaskId;
        use tokio_util::sync::CancellationToken;
        let (sender, mut messages) = tokio::sync::mpsc::channel(8);
        let cancel = CancellationToken::new();
        let id = TaskId {
            stage: "push".parse().unwrap(),
            component: None,
            variant: None,
        };
        let task = TaskContext::new(id, sender, cancel.clone());
        let policy = RetryPolicy::default();
        let asked = || error(ErrorClass::Retryable).after(Duration::from_secs(30));
        Tries::new(&policy, Some(&task))
            .after(asked().into())
            .await
            .unwrap();
        let (_, message) = messages.recv().await.unwrap();
        let TaskMessage::Retrying { error: why, after } = message else {
            panic!("{message:?}");
        };
        assert_eq!(why, "try; waits 30 s, as the registry asks");
        assert!(after >= Duration::from_secs(30));
        cancel.cancel();
        let before = tokio::time::Instant::now();
        let stopped = Tries::new(&policy, Some(&task)).after(asked().into()).await;
        stopped.unwrap_err();
        assert_eq!(before.elapsed(), Duration::ZERO);
        // Who asks for more patience than there is, is told.
        let long = error(ErrorClass::Retryable).after(Duration::from_secs(601));
        let long = Tries::new(&policy, Some(&task)).after(long.into()).await;
        assert!(long.unwrap_err().hints[0].contains("11 minutes"));
    }

    #[tokio::test(start_paused = true)]
    async fn corrections_are_tried_at_once_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::new(&policy, None);
        let corrected = || Failed {
            error: error(ErrorClass::Denied),
            again: Again::Once,
        };
        let before = tokio::time::Instant::now();
        for _ in 0..CORRECTIONS {
            tries.after(corrected()).await.unwrap();
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        tries.after(corrected()).await.unwrap_err();
    }
}
