//! The clock of all that forwards.

use std::time::Instant;

use super::{Millis, NANOS_PER_MILLI, Nanos};

/// Milliseconds that only grow. Never the wall clock: TTLs must not follow its jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    at: Millis,
}

impl Clock {
    /// A clock on which it is this moment now.
    pub fn at(now: Millis) -> Self {
        Self { began: Instant::now(), at: now }
    }

    /// This moment.
    #[inline]
    pub fn now(self) -> Millis {
        self.precisely().millis()
    }

    /// This moment, for how long something took. 64 bits last for 584 years.
    #[inline]
    pub fn precisely(self) -> Nanos {
        let elapsed = self.began.elapsed();
        Nanos(self.at.0 * NANOS_PER_MILLI + elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
    }
}
