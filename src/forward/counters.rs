//! What forwarding counts. Only misses come here: a cache hit is counted by the worker that had it.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number so far.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The numbers at this moment.
            pub(super) fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.value(),)* }
            }
        }
    };
}

counters! {
    /// Exchanges begun: questions that went to an upstream, however many datagrams each took.
    exchanges,
    /// Questions that waited for an exchange which was already in flight.
    coalesced,
    /// Questions not asked because too many were in flight.
    in_flight_limit,
    /// Queries sent over UDP.
    sent_udp,
    /// Queries sent over TCP.
    sent_tcp,
    /// Replies whose id, opcode, QR or question was not what was asked: ignored, and the wait went on.
    mismatched,
    /// Replies to our question that could not be read.
    malformed,
    /// Truncated replies, asked again over TCP.
    truncated,
    /// Replies with SERVFAIL, REFUSED, NOTIMP, FORMERR or an rcode of EDNS.
    failing_rcodes,
    /// Times that a target was silent for as long as we give it.
    silent,
    /// Times that a target, or the way to it, refused a packet or a connection.
    unreachable,
    /// Exchanges that ended without anything to pass on.
    failed,
}
