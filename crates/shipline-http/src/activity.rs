//! When a transfer last moved: what stands still for too long has failed, however much time the whole of it may take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When a transfer last moved.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    /// A transfer that begins now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something has moved.
    pub fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends when nothing has moved for `limit`.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_does_not_stall() {
        let activity = Activity::new();
        let begin = Instant::now();
        tokio::time::advance(Duration::from_secs(100)).await;
        activity.moved();
        activity.stalled(Duration::from_secs(120)).await;
        assert_eq!(begin.elapsed().as_secs(), 220);
    }
}
