//! Waiting for other writers: full jitter, until a deadline.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(500);

/// How long is left, and how often has been waited.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    waits: u32,
}

impl Patience {
    pub(crate) fn until(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            waits: 0,
        }
    }

    /// Sleeps for a random part of a span that doubles each time. `false` when the deadline has passed.
    pub(crate) fn wait(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let span = SHORTEST
            .saturating_mul(1 << self.waits.min(16))
            .min(LONGEST);
        self.waits += 1;
        // The keys of a hash map are the one source of randomness in the standard library.
        let random = RandomState::new().hash_one(self.waits) % 1000;
        let part = span.mul_f64(random as f64 / 1000.0);
        std::thread::sleep(part.min(left));
        !left.is_zero()
    }

    /// How often has been tried, the first time included.
    pub(crate) fn attempts(&self) -> u32 {
        self.waits + 1
    }
}
