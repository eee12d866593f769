//! The clock of all that forwards.

use std::time::Instant;

use super::Millis;

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
        self.at.plus(self.began.elapsed().as_millis() as u64)
    }
}
