//! How long replies took: log-linear histograms, one a source.
//!
//! Two buckets an octave, from a microsecond to seconds: a quantile read off them is at most a half too high. What is
//! answered at once is timed by the batch, from the system's handing over the datagrams to its taking the replies: two
//! looks at the clock for all of them.

use super::{AddTo, Counter, Counters, ReplySource};

/// The first bucket ends here: 2^10 nanoseconds, 1.024 microseconds.
const FIRST_BOUND_LOG2: u32 = 10;
/// The last bucket but one ends here: 2^32 nanoseconds, 4.3 seconds. No query is worked at for longer.
const LAST_BOUND_LOG2: u32 = 32;
/// How many buckets end somewhere.
pub const BOUNDS: usize = 2 * (LAST_BOUND_LOG2 - FIRST_BOUND_LOG2) as usize + 1;
/// How many buckets there are: one more, for whatever took longer.
pub const BUCKETS: usize = BOUNDS + 1;

/// Where a bucket ends, in nanoseconds: this is the longest time in it. Below [`BOUNDS`].
pub fn bound_nanos(bucket: usize) -> u64 {
    let octave = 1 << (FIRST_BOUND_LOG2 + bucket as u32 / 2);
    if bucket.is_multiple_of(2) { octave } else { octave + octave / 2 }
}

/// The bucket of a time.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    // A bucket takes the time at which it ends, so that of the time before tells where it belongs.
    let before = nanos.saturating_sub(1) | 1;
    let log2 = before.ilog2();
    if log2 < FIRST_BOUND_LOG2 {
        return 0;
    }
    let is_upper_half = before >> (log2 - 1) & 1;
    (1 + 2 * (log2 - FIRST_BOUND_LOG2) as usize + is_upper_half as usize).min(BUCKETS - 1)
}

/// How long the replies of one source took.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: Counters<BUCKETS>,
    nanos: Counter,
}

impl Latency {
    /// Counts so many replies that took so long each; `add_to` is how.
    #[inline]
    fn add(&self, nanos: u64, replies: u64, add_to: AddTo) {
        add_to(self.buckets.at(bucket_of(nanos)), replies);
        add_to(&self.nanos, nanos.wrapping_mul(replies));
    }

    /// Replies in each bucket.
    pub fn buckets(&self) -> &[Counter] {
        self.buckets.all()
    }

    /// What all of them took, in nanoseconds.
    pub fn nanos(&self) -> u64 {
        self.nanos.get()
    }
}

/// How long the replies of each source took.
#[derive(Debug, Default)]
pub struct Latencies([Latency; ReplySource::COUNT]);

impl Latencies {
    /// Counts a reply.
    #[inline]
    pub fn add(&self, source: ReplySource, nanos: u64, add_to: AddTo) {
        self.0[source as usize].add(nanos, 1, add_to);
    }

    /// Counts the replies of a batch, which all took as long; the numbers are 0 then.
    #[inline]
    pub fn take_batch(&self, batch: &mut [u32; ReplySource::COUNT], nanos: u64) {
        for (latency, replies) in self.0.iter().zip(batch) {
            if *replies > 0 {
                latency.add(nanos, u64::from(std::mem::take(replies)), Counter::add);
            }
        }
    }

    /// Those of one source.
    pub fn of(&self, source: ReplySource) -> &Latency {
        &self.0[source as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_what_is_over_the_bound_before_it_up_to_its_own() {
        for bucket in 0..BOUNDS {
            let bound = bound_nanos(bucket);
            assert_eq!((bucket_of(bound), bucket_of(bound + 1)), (bucket, bucket + 1), "{bound}");
        }
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(2)), (0, 0, 0));
        assert_eq!((bound_nanos(0), bound_nanos(1), bound_nanos(BOUNDS - 1)), (1024, 1536, 1 << 32));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_batch_is_counted_by_source_and_taken() {
        let latencies = Latencies::default();
        let mut batch = [0; ReplySource::COUNT];
        (batch[ReplySource::HostedZone as usize], batch[ReplySource::Cache as usize]) = (60, 4);
        latencies.take_batch(&mut batch, 3000);
        latencies.take_batch(&mut batch, 5000);
        let counted = |source| {
            let latency = latencies.of(source);
            (
                latency.buckets()[bucket_of(3000)].get(),
                latency.buckets().iter().map(Counter::get).sum::<u64>(),
                latency.nanos(),
            )
        };
        assert_eq!(counted(ReplySource::HostedZone), (60, 60, 180_000));
        assert_eq!(counted(ReplySource::Cache), (4, 4, 12_000));
        assert_eq!(counted(ReplySource::Forward), (0, 0, 0));
    }
}
