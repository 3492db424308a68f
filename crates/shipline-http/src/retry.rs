//! Trying again, the one layer that does: by class, with jitter, as long as the other side asks for and nobody stops us.
//!
//! A registry is asked a number of times ([`Tries`]); a branch that others move is tried until a deadline ([`Patience`]).

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use shipline_engine::error::{BackendError, ErrorClass, chain};
use shipline_engine::task::{TaskContext, TaskMessage};

use crate::unanswered::Peer;

/// How often and how patiently a server is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all.
    pub attempts: u32,
    /// Upper bound of the first wait; it doubles with each try.
    pub first: Duration,
    /// Upper bound of any wait that the server did not ask for.
    pub longest: Duration,
    /// Longest wait that the server may ask for; a longer one ends the tries.
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
pub struct Failed {
    /// Why it failed.
    pub error: BackendError,
    /// When the next one comes.
    pub again: Again,
}

/// When the next try comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
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
pub struct Tries<'a> {
    policy: &'a RetryPolicy,
    peer: Peer,
    task: Option<&'a TaskContext>,
    made: u32,
    corrections: u32,
}

/// At most so many tries are repeated because their reason was put right: both reasons, and credentials that expire twice.
const CORRECTIONS: u32 = 3;

impl<'a> Tries<'a> {
    /// Those of an operation at a server. A task is told of waits, and ends them when it is cancelled.
    #[must_use]
    pub fn new(policy: &'a RetryPolicy, peer: Peer, task: Option<&'a TaskContext>) -> Self {
        Self {
            policy,
            peer,
            task,
            made: 0,
            corrections: 0,
        }
    }

    /// Waits for the next try, or gives the error back where there is none.
    ///
    /// # Errors
    /// The one that was given, where it does not pass, or there were tries enough.
    pub async fn after(&mut self, failed: Failed) -> Result<(), BackendError> {
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
                let peer = self.peer.noun();
                return Err(error.hint(format!(
                    "the {peer} asks for at least {asked} minutes of patience: try again after that"
                )));
            }
            Some(asked) => asked + jitter(self.policy.first),
            None => jitter(grown(self.policy.first, self.made - 1).min(self.policy.longest)),
        };
        let Some(task) = self.task else {
            tokio::time::sleep(wait).await;
            return Ok(());
        };
        let mut why = chain(&error);
        if let Some(asked) = error.retry_after.filter(|asked| !asked.is_zero()) {
            why.push_str(&format!(
                "; waits {} s, as the {} asks",
                asked.as_secs().max(1),
                self.peer.noun()
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

/// A span after so many waits: it doubles with each.
fn grown(first: Duration, waits: u32) -> Duration {
    first.saturating_mul(1 << waits.min(16))
}

/// A random part of `bound` (full jitter). The standard library's hasher keys are random enough to spread clients.
fn jitter(bound: Duration) -> Duration {
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    bound.mul_f64(share)
}

/// Upper bound of any wait for other writers.
const BETWEEN_WRITERS: Duration = Duration::from_secs(1);

/// Waiting on the calling thread, until a deadline: how long is left, and how often has been waited.
#[derive(Debug)]
pub struct Patience {
    deadline: Instant,
    shortest: Duration,
    waits: u32,
}

impl Patience {
    /// Until `limit` from now; the first wait takes at most `shortest`.
    #[must_use]
    pub fn until(limit: Duration, shortest: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            shortest,
            waits: 0,
        }
    }

    /// Sleeps for a random part of a span that doubles each time. `false` when the deadline has passed.
    pub fn wait(&mut self) -> bool {
        self.wait_at_least(Duration::ZERO)
    }

    /// As [`Patience::wait`], but for no less than the other side asked for.
    pub fn wait_at_least(&mut self, asked: Duration) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if asked > left {
            // It would be too early whenever it came.
            return false;
        }
        let bound = grown(self.shortest, self.waits).min(BETWEEN_WRITERS);
        self.waits += 1;
        std::thread::sleep(jitter(bound).max(asked).min(left));
        !left.is_zero()
    }

    /// How often has been tried, the first time included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.waits + 1
    }
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
        let mut tries = Tries::new(&policy, Peer::Registry, None);
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
            Tries::new(&policy, Peer::Registry, None)
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
        Tries::new(&policy, Peer::Registry, None)
            .after(asked.into())
            .await
            .unwrap();
        assert!(before.elapsed() >= Duration::from_secs(30));
        let asked = error(ErrorClass::Retryable).after(Duration::from_secs(600));
        Tries::new(&policy, Peer::Registry, None)
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
        Tries::new(&policy, Peer::Registry, Some(&task))
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
        let stopped = Tries::new(&policy, Peer::Registry, Some(&task))
            .after(asked().into())
            .await;
        stopped.unwrap_err();
        assert_eq!(before.elapsed(), Duration::ZERO);
        // Who asks for more patience than there is, is told.
        let long = error(ErrorClass::Retryable).after(Duration::from_secs(601));
        let long = Tries::new(&policy, Peer::Registry, Some(&task))
            .after(long.into())
            .await;
        assert!(long.unwrap_err().hints[0].contains("11 minutes"));
    }

    #[tokio::test(start_paused = true)]
    async fn corrections_are_tried_at_once_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::new(&policy, Peer::Registry, None);
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

    #[test]
    fn patience_ends_at_its_deadline() {
        let mut none = Patience::until(Duration::ZERO, Duration::from_millis(1));
        assert!(!none.wait());
        assert_eq!(none.attempts(), 2);
        let mut some = Patience::until(Duration::from_secs(3600), Duration::ZERO);
        assert!(some.wait());
        assert!(!some.wait_at_least(Duration::from_secs(7200)));
        assert_eq!(some.attempts(), 2);
    }
}
