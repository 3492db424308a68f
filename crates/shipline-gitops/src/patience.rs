//! Waiting for other writers: full jitter, until a deadline.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(1);

/// How long is left, and how often has been waited.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    shortest: Duration,
    waits: u32,
}

impl Patience {
    /// Until `limit` from now; the first wait takes at most `shortest`.
    pub(crate) fn until(limit: Duration, shortest: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            shortest,
            waits: 0,
        }
    }

    /// Sleeps for a random part of a span that doubles each time. `false` when the deadline has passed.
    pub(crate) fn wait(&mut self) -> bool {
        self.wait_at_least(Duration::ZERO)
    }

    /// As [`Patience::wait`], but for no less than the other side asked for.
    pub(crate) fn wait_at_least(&mut self, asked: Duration) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if asked > left {
            // It would be too early whenever it came.
            return false;
        }
        let doubled = self.shortest.saturating_mul(1 << self.waits.min(16));
        self.waits += 1;
        // The keys of a hash map are the one source of randomness in the standard library.
        let random = RandomState::new().hash_one(self.waits) % 1000;
        let part = doubled.min(LONGEST).mul_f64(random as f64 / 1000.0);
        std::thread::sleep(part.max(asked).min(left));
        !left.is_zero()
    }

    /// How often has been tried, the first time included.
    pub(crate) fn attempts(&self) -> u32 {
        self.waits + 1
    }
}
