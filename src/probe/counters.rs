//! What probing counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Names of the counters, each with its doc, as live numbers and as a copy.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The live numbers.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: Counter,)*
        }

        /// A copy of the numbers at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ProbeCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The numbers at this moment.
            pub(super) fn values(&self) -> ProbeCounts {
                ProbeCounts { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Requests that were answered as they should be.
    healthy,
    /// Requests that were not.
    unhealthy,
    /// Times that an endpoint could not be asked, for want of a socket or of a turn to look its name up: no status changes by
    /// that.
    not_asked,
    /// Times that an endpoint was due while as many were asked as may be at a time.
    waited,
    /// Times that a status turned to healthy.
    became_healthy,
    /// Times that a status turned to unhealthy.
    became_unhealthy,
    /// Panics of tasks. Each is a bug.
    panics,
}
