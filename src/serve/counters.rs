//! What each worker counts: one writer, any number of readers, no cache line shared between workers.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dns::Rcode;

/// Declares the counters of a worker once, as atomics and as plain numbers, so that the two never differ.
macro_rules! worker_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker: only it writes, so a load and a store make an increment.
        ///
        /// 128 octets apart, for processors fetch cache lines in pairs.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl WorkerCounters {
            /// The numbers as they stand; each by itself is exact, together they are of about one moment.
            pub fn snapshot(&self) -> WorkerCounts {
                WorkerCounts { $($name: self.$name.get(),)* }
            }
        }

        /// The counters of one worker, or of several in sum, at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl WorkerCounts {
            /// Every number with its name, for a report.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl AddAssign for WorkerCounts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }
        }
    };
}

worker_counters! {
    /// Datagrams or messages received.
    queries,
    /// Replies with NOERROR.
    replies_noerror,
    /// Replies with NXDOMAIN.
    replies_nxdomain,
    /// Replies with SERVFAIL.
    replies_servfail,
    /// Replies with REFUSED.
    replies_refused,
    /// Replies with FORMERR.
    replies_formerr,
    /// Replies with NOTIMP.
    replies_notimp,
    /// Replies with any other rcode.
    replies_other,
    /// Queries that were not well-formed.
    malformed,
    /// Datagrams that got no reply: responses, too short for a header.
    silent,
    /// Queries of clients that may not ask at the door.
    not_allowed,
    /// Replies that did not fit and carry TC.
    truncated,
    /// Forwarded questions answered from the cache.
    cache_hits,
    /// Replies with something that is served beyond its lifetime, because upstreams fail.
    stale,
    /// Forwarded questions that were not in the cache.
    cache_misses,
    /// Misses beyond the questions that may be in flight, of the client or in all.
    in_flight_limit,
    /// Replies the system did not take.
    send_failed,
    /// Batches received: queries divided by this is how full they are.
    batches,
    /// Queries a hosted zone answered.
    from_hosted_zone,
    /// Queries an endpoint's names answered.
    from_endpoint,
    /// Queries a built-in name answered.
    from_built_in,
    /// Queries that a rule or the upstream answers.
    from_forward,
}

impl WorkerCounters {
    /// The counter of replies with this rcode.
    #[inline]
    pub fn replies(&self, rcode: Rcode) -> &Counter {
        match rcode {
            Rcode::NOERROR => &self.replies_noerror,
            Rcode::NXDOMAIN => &self.replies_nxdomain,
            Rcode::SERVFAIL => &self.replies_servfail,
            Rcode::REFUSED => &self.replies_refused,
            Rcode::FORMERR => &self.replies_formerr,
            Rcode::NOTIMP => &self.replies_notimp,
            _ => &self.replies_other,
        }
    }
}

impl Add for WorkerCounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sum for WorkerCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one where several threads do.
    #[inline]
    pub fn increment_shared(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one; only the owning thread may.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number; only the owning thread may.
    #[inline]
    pub fn add(&self, more: u64) {
        // A plain load and store: there is one writer, and a locked addition costs twenty times as much.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The number as it stands.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_workers_add_up_by_name() {
        let workers: [WorkerCounters; 3] = Default::default();
        std::thread::scope(|scope| {
            for worker in &workers {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        worker.queries.increment();
                        worker.replies(Rcode::NXDOMAIN).increment();
                    }
                    worker.cache_hits.add(7);
                });
            }
        });
        let sum: WorkerCounts = workers.iter().map(WorkerCounters::snapshot).sum();
        let expected =
            WorkerCounts { queries: 3000, replies_nxdomain: 3000, cache_hits: 21, ..WorkerCounts::default() };
        assert_eq!(sum, expected);
        assert_eq!(sum.named().filter(|(_, number)| *number != 0).count(), 3);
    }

    #[test]
    fn threads_that_share_counters_lose_nothing() {
        let counters = WorkerCounters::default();
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| (0..10_000).for_each(|_| counters.queries.increment_shared()));
            }
        });
        assert_eq!(counters.snapshot().queries, 50_000);
    }

    #[test]
    fn no_two_workers_share_a_cache_line() {
        assert_eq!(align_of::<WorkerCounters>(), 128);
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
    }
}
