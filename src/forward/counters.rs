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

    /// So many more.
    pub(super) fn add_many(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
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

        impl CounterValues {
            /// Every number with its name, for a report.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
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
    /// Queries sent over streams: TCP, or what a target is asked over.
    sent_stream,
    /// Replies that came after nobody waited for them any more, or a second time.
    late,
    /// Replies whose id, opcode, QR, question or cookie was not what was asked: ignored, and the wait went on.
    mismatched,
    /// Replies to our question that could not be read, or whose answer was about something else or beyond all bounds.
    malformed,
    /// Truncated replies, asked again over TCP.
    truncated,
    /// Replies with SERVFAIL, REFUSED, NOTIMP, FORMERR or an rcode of EDNS.
    failing_rcodes,
    /// Referrals: replies that say who else might know, or nothing, of targets that do not resolve for us.
    referrals,
    /// Replies with BADCOOKIE.
    bad_cookies,
    /// Questions asked over a stream because what came in over UDP was not to be trusted.
    suspicious,
    /// Times that a target was silent for as long as we give it.
    silent,
    /// Times that a target, or the way to it, refused a packet or a connection.
    unreachable,
    /// Exchanges that ended without anything to pass on.
    failed,
    /// Questions not asked because too many were waiting for each of their targets.
    target_busy,
    /// Questions that did not wait because too many were waiting for the same one.
    waiters_limit,
    /// Questions that were told an answer whose lifetime was over.
    told_stale,
    /// Questions that were told something while they were being asked, or not asked, because questions before them had
    /// taken the time of their query.
    told_late,
    /// Upstream sockets opened so far.
    sockets_opened,
    /// Times that there were as many upstream sockets as may be: then one is used on, or gives its place to another
    /// target, or the question is not asked of that target.
    socket_limit,
    /// Times that the system gave us no upstream socket, or let us receive nothing from one.
    no_socket,
    /// Upstream sockets given up because somebody was guessing ids on them.
    sockets_suspected,
    /// Queries lost because a socket's buffer had no room.
    send_full,
    /// Times that the system refused a lane to wait for something to happen.
    wait_failed,
    /// Questions that came back to us from whom we asked.
    loops,
    /// Panics in lanes. Each is a bug.
    panics,
}
