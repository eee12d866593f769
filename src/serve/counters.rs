//! What each worker counts: one writer, any number of readers, no cache line shared between workers.

mod latency;
mod replies;

pub use latency::{BOUNDS, BUCKETS, Latencies, Latency, bound_nanos};
pub use replies::{RCODES, Replies, ReplySource, When};

use crate::dns::cookie::CookieStanding;
use crate::serve::refusal::Refusal;
use crate::snapshot::{DOOR_SLOTS, DoorSlot, VIEW_SLOTS, ViewSlot};
use std::array;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters of a worker once, as atomics and as plain numbers, so that the two never differ.
macro_rules! worker_counters {
    (
        counted { $($(#[$doc:meta])* $name:ident,)* }
        of_replies { $($(#[$sum_doc:meta])* $sum:ident = $of:expr,)* }
    ) => {
        /// The counters of one worker: only it writes, so a load and a store make an increment.
        ///
        /// 128 octets apart, for processors fetch cache lines in pairs.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Times that it has looked for work: it stands still where the worker does.
            pub turns: Counter,
            /// Replies by source, and by rcode or refusal.
            pub replies: Replies,
            /// How long replies took.
            pub latencies: Latencies,
            /// Queries of each view.
            pub views: Counters<VIEW_SLOTS>,
            /// Queries at each door.
            pub doors: Counters<DOOR_SLOTS>,
            /// Queries with a cookie, by what it is worth.
            pub cookies: Counters<{ CookieStanding::COUNT }>,
        }

        impl WorkerCounters {
            /// The numbers as they stand; each by itself is exact, together they are of about one moment.
            pub fn snapshot(&self) -> WorkerCounts {
                WorkerCounts {
                    $($name: self.$name.get(),)*
                    $($sum: ($of)(&self.replies),)*
                }
            }
        }

        /// The counters of one worker, or of several in sum, at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerCounts {
            $($(#[$doc])* pub $name: u64,)*
            $($(#[$sum_doc])* pub $sum: u64,)*
        }

        impl WorkerCounts {
            /// Every number with its name, for a report.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)* $((stringify!($sum), self.$sum),)*].into_iter()
            }
        }

        impl AddAssign for WorkerCounts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
                $(self.$sum = self.$sum.wrapping_add(other.$sum);)*
            }
        }
    };
}

worker_counters! {
    counted {
        /// Datagrams or messages received.
        queries,
        /// Datagrams that got no reply: responses, too short for a header.
        silent,
        /// Replies that did not fit and carry TC.
        truncated,
        /// Forwarded questions that were not in the cache.
        cache_misses,
        /// Misses beyond the questions that may be in flight, of the client or in all.
        in_flight_limit,
        /// Replies the system did not take.
        send_failed,
        /// Datagrams of batches at which a worker panicked: the replies to all of them are lost.
        panicked,
        /// Queries without a reply, because too many answers go to their prefix.
        answers_rate_limited,
        /// Queries without a reply, because too many errors go to their prefix or in all.
        errors_rate_limited,
        /// Truncated replies that had less room than their client offers: so many times its query.
        amplification_limit,
        /// Times that the system refused to receive, or to wait for something to be received.
        receive_failed,
        /// Batches received: queries divided by this is how full they are.
        batches,
    }
    of_replies {
        /// Replies with NOERROR.
        replies_noerror = |replies: &Replies| replies.with_rcode("noerror"),
        /// Replies with NXDOMAIN.
        replies_nxdomain = |replies: &Replies| replies.with_rcode("nxdomain"),
        /// Replies with SERVFAIL.
        replies_servfail = |replies: &Replies| replies.with_rcode("servfail"),
        /// Replies with REFUSED.
        replies_refused = |replies: &Replies| replies.with_rcode("refused"),
        /// Replies with FORMERR.
        replies_formerr = |replies: &Replies| replies.with_rcode("formerr"),
        /// Replies with NOTIMP.
        replies_notimp = |replies: &Replies| replies.with_rcode("notimp"),
        /// Replies with any other rcode.
        replies_other = |replies: &Replies| replies.with_rcode("other"),
        /// Queries that were not well-formed, and were told so.
        malformed = |replies: &Replies| replies.from_source(ReplySource::Malformed),
        /// Queries of clients that may not ask at the door.
        not_allowed = |replies: &Replies| replies.refused(Refusal::NotAllowed),
        /// Replies with something that is served beyond its lifetime, because upstreams fail.
        stale = |replies: &Replies| replies.from_source(ReplySource::Stale),
        /// Forwarded questions answered from the cache, within the lifetime of what it holds.
        cache_hits = |replies: &Replies| replies.from_source(ReplySource::Cache),
        /// Queries a hosted zone answered.
        from_hosted_zone = |replies: &Replies| replies.from_source(ReplySource::HostedZone),
        /// Queries an endpoint's names answered.
        from_endpoint = |replies: &Replies| {
            replies.from_source(ReplySource::PrivateName) + replies.from_source(ReplySource::EndpointName)
        },
        /// Queries a built-in name answered, or we ourselves where ANY was asked of others.
        from_built_in = |replies: &Replies| replies.from_source(ReplySource::BuiltIn),
        /// Queries that EC2's names or the reverse zones of a VPC's addresses answered.
        from_autodefined = |replies: &Replies| replies.from_source(ReplySource::Autodefined),
        /// Queries that a rule or the upstream answers, now or before.
        from_forward = |replies: &Replies| {
            let sources = [ReplySource::Cache, ReplySource::Stale, ReplySource::Forward];
            sources.into_iter().map(|source| replies.from_source(source)).sum()
        },
    }
}

impl WorkerCounters {
    /// The counter of a view's queries.
    #[inline]
    pub fn view(&self, slot: ViewSlot) -> &Counter {
        self.views.at(usize::from(slot.0))
    }

    /// The counter of queries with a cookie that is worth this.
    #[inline]
    pub fn cookie(&self, standing: CookieStanding) -> &Counter {
        self.cookies.at(standing as usize)
    }

    /// The counter of a door's queries.
    #[inline]
    pub fn door(&self, slot: DoorSlot) -> &Counter {
        self.doors.at(usize::from(slot.0))
    }
}

/// Counters by number.
#[derive(Debug)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// One of them; the last for a number beyond it.
    #[inline]
    pub fn at(&self, index: usize) -> &Counter {
        &self.0[index.min(N - 1)]
    }

    /// All of them.
    pub fn all(&self) -> &[Counter] {
        &self.0
    }

    /// What they come to.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// How a number is raised.
pub type AddTo = fn(&Counter, u64);

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
        self.add_shared(1);
    }

    /// Adds a number where several threads do.
    #[inline]
    pub fn add_shared(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
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
    use crate::dns::Rcode;

    #[test]
    fn the_counts_of_all_workers_add_up_by_name() {
        let workers: [WorkerCounters; 3] = Default::default();
        std::thread::scope(|scope| {
            for worker in &workers {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        worker.queries.increment();
                        worker.replies.count(ReplySource::HostedZone, Rcode::NXDOMAIN, Counter::add);
                    }
                    for _ in 0..7 {
                        worker.replies.count(ReplySource::Cache, Rcode::NOERROR, Counter::add);
                    }
                });
            }
        });
        let sum: WorkerCounts = workers.iter().map(WorkerCounters::snapshot).sum();
        let expected = WorkerCounts {
            queries: 3000,
            replies_nxdomain: 3000,
            from_hosted_zone: 3000,
            replies_noerror: 21,
            cache_hits: 21,
            from_forward: 21,
            ..WorkerCounts::default()
        };
        assert_eq!(sum, expected);
        assert_eq!(sum.named().filter(|(_, number)| *number != 0).count(), 6);
    }

    #[test]
    fn a_number_beyond_the_last_counter_is_the_last() {
        let counters = Counters::<3>::default();
        [0, 2, 3, usize::MAX].into_iter().for_each(|index| counters.at(index).increment());
        assert_eq!(counters.all().iter().map(Counter::get).collect::<Vec<_>>(), [1, 0, 3]);
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
