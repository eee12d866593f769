//! The clock of all that forwards.

use std::time::Duration;

use super::{Millis, NANOS_PER_MILLI, Nanos};
use crate::udp::clock::since_boot;

/// Milliseconds that only grow. Never the wall clock: TTLs must not follow its jumps. It goes on while the machine is
/// suspended: what was fresh when the lid was closed is not when it is opened a day later.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Since the machine's start.
    began: Duration,
    at: Millis,
}

impl Clock {
    /// A clock on which it is this moment now.
    pub fn at(now: Millis) -> Self {
        Self { began: since_boot(), at: now }
    }

    /// This moment.
    #[inline]
    pub fn now(self) -> Millis {
        self.precisely().millis()
    }

    /// This moment, for how long something took. 64 bits last for 584 years.
    #[inline]
    pub fn precisely(self) -> Nanos {
        let elapsed = since_boot().saturating_sub(self.began);
        Nanos(self.at.0 * NANOS_PER_MILLI + elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
    }
}
