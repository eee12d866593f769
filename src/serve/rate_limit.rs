//! Limits of replies over UDP, by the prefix that they go to.
//!
//! Whoever forges an address has us send to another what that one did not ask for. A prefix gets so many replies a second
//! and no more; some of what is beyond is answered without records, so that a real client among the forgeries comes again
//! over TCP, or with a cookie. Each worker counts for itself: a lock, or a line that two of them write, would cost every
//! query what is to be saved of a few.

use crate::dns::name::mix;
use crate::forward::Nanos;
use crate::snapshot::protection::{NANOS_PER_SECOND, Rate, Rates};
use std::net::IpAddr;

/// How much has gone to which prefix: a table of fixed size, that of one worker.
///
/// A set holds four prefixes in one cache line. Where a fifth comes, it takes the place of the one that has used least, and
/// what that has used: nobody gets more by coming from many prefixes.
pub struct RateLimiter {
    sets: Box<[Set]>,
    /// Chosen at random, so that nobody knows which prefixes meet.
    key: [u64; 2],
    /// Until when the rate of errors to all prefixes together is used up.
    all_errors_until: u64,
}

/// Prefixes of one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set {
    /// What tells prefixes apart that meet here; 0: nobody has been here.
    tags: [u32; WAYS],
    /// How many replies were beyond the rate.
    beyond: [u32; WAYS],
    /// Until when the rate is used up, on the worker's clock in nanoseconds.
    until: [u64; WAYS],
}

/// What kind of reply a query leads to, as far as that is known before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// A client that may ask is told something.
    Answer,
    /// A client that may not ask, or octets that are no query.
    Error,
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is sent.
    Send,
    /// There is none.
    Drop,
    /// The client is told to come again by another way.
    Slip,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self { sets: vec![Set::default(); SETS].into(), key: rand::random(), all_errors_until: 0 }
    }
}

impl RateLimiter {
    /// Counts one reply to a client, whose address is no IPv4-mapped one, and says what becomes of it.
    #[inline]
    pub fn judge(&mut self, rates: &Rates, client: IpAddr, kind: ReplyKind, now: Nanos) -> Judgement {
        let rate = match kind {
            ReplyKind::Answer => rates.answers,
            ReplyKind::Error => rates.errors,
        };
        if !rate.is_limit() {
            return Judgement::Send;
        }
        // Twice, each time with a secret: the first product alone would show some of its key.
        let [first, second] = self.key;
        let hash = mix(mix(rates.prefix_of(client) ^ first ^ kind as u64, second | 1) ^ second, first | 1);
        let set = &mut self.sets[hash as usize % SETS];
        let way = set.way((hash >> 32) as u32 | 1, now.0);
        let has_room = take(&mut set.until[way], rate, now.0);
        if kind == ReplyKind::Error {
            let of_all = Rate { nanos_each: rate.nanos_each.div_ceil(ERRORS_TO_ALL) };
            let is_sent = has_room && take(&mut self.all_errors_until, of_all, now.0);
            return if is_sent { Judgement::Send } else { Judgement::Drop };
        }
        if has_room {
            return Judgement::Send;
        }
        set.beyond[way] = set.beyond[way].wrapping_add(1);
        let slips = rates.slip > 0 && set.beyond[way].is_multiple_of(rates.slip);
        if slips { Judgement::Slip } else { Judgement::Drop }
    }
}

impl Set {
    /// The place of a prefix, which it gets if it has none.
    #[inline]
    fn way(&mut self, tag: u32, now: u64) -> usize {
        if let Some(way) = self.tags.iter().position(|other| *other == tag) {
            return way;
        }
        let mut least = 0;
        for way in 1..WAYS {
            if self.until[way] < self.until[least] {
                least = way;
            }
        }
        self.tags[least] = tag;
        self.beyond[least] = 0;
        self.until[least] = self.until[least].max(now);
        least
    }
}

/// Takes one reply out of a rate, if there is one left.
#[inline]
fn take(until: &mut u64, rate: Rate, now: u64) -> bool {
    let used = (*until).max(now) + rate.nanos_each;
    let has_room = used <= now + NANOS_PER_SECOND;
    if has_room {
        *until = used;
    }
    has_room
}

/// Prefixes in one set.
const WAYS: usize = 4;
/// Sets of a worker: 4096 prefixes, in 64 KiB.
const SETS: usize = 1024;
/// Errors go to all prefixes together at so many times the rate of one.
const ERRORS_TO_ALL: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn rates(answers: u64, errors: u64, slip: u32) -> Rates {
        Rates::new(Rate::per_second(answers), Rate::per_second(errors), slip, (24, 56), &[])
    }

    fn seconds(seconds: f64) -> Nanos {
        Nanos(1_000_000_000_000 + (seconds * 1e9) as u64)
    }

    /// How many of so many replies are sent, dropped and slipped.
    fn judged(
        limiter: &mut RateLimiter,
        rates: &Rates,
        (client, kind): (IpAddr, ReplyKind),
        at: Nanos,
        replies: usize,
    ) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..replies {
            counts[limiter.judge(rates, client, kind, at) as usize] += 1;
        }
        counts
    }

    const CLIENT: (IpAddr, ReplyKind) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), ReplyKind::Answer);

    #[test]
    fn a_second_is_there_at_once_and_comes_back_with_time() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(100, 10, 2));
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(0.0), 300), [100, 100, 100]);
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(0.25), 125), [25, 50, 50]);
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(60.0), 110), [100, 5, 5]);
    }

    #[test]
    fn one_prefix_is_limited_and_another_is_not() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(100, 10, 2));
        judged(&mut limiter, &rates, CLIENT, seconds(0.0), 300);
        let same = (IpAddr::from([192, 0, 2, 200]), ReplyKind::Answer);
        let other = (IpAddr::from([192, 0, 3, 1]), ReplyKind::Answer);
        assert_eq!(judged(&mut limiter, &rates, same, seconds(0.0), 10)[0], 0);
        assert_eq!(judged(&mut limiter, &rates, other, seconds(0.0), 100)[0], 100);
    }

    #[test]
    fn what_slips_is_for_the_operator_to_say() {
        for (slip, expected) in [(0, [0, 60, 0]), (1, [0, 0, 60]), (2, [0, 30, 30]), (3, [0, 40, 20])] {
            let (mut limiter, rates) = (RateLimiter::default(), rates(100, 10, slip));
            judged(&mut limiter, &rates, CLIENT, seconds(0.0), 100);
            assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(0.0), 60), expected, "slip {slip}");
        }
    }

    #[test]
    fn errors_have_a_rate_of_their_own_and_none_slips() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(100, 10, 2));
        let error = (CLIENT.0, ReplyKind::Error);
        assert_eq!(judged(&mut limiter, &rates, error, seconds(0.0), 30), [10, 20, 0]);
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(0.0), 100), [100, 0, 0]);
    }

    #[test]
    fn errors_to_all_prefixes_together_have_a_bound() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(100, 10, 2));
        let sent: usize = (0..2000u32)
            .map(|net| (IpAddr::V4(Ipv4Addr::from_bits(net << 8 | 1)), ReplyKind::Error))
            .map(|client| judged(&mut limiter, &rates, client, seconds(0.0), 5)[0])
            .sum();
        assert_eq!(sent, 500);
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(0, 0, 2));
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(0.0), 1000), [1000, 0, 0]);
        assert_eq!(judged(&mut limiter, &rates, (CLIENT.0, ReplyKind::Error), seconds(0.0), 1000), [1000, 0, 0]);
    }

    #[test]
    fn many_prefixes_get_no_more_than_the_table_has_room_for() {
        let (mut limiter, rates) = (RateLimiter::default(), rates(10, 10, 0));
        let prefixes = 40 * SETS * WAYS;
        let sent: usize = (0..prefixes as u32)
            .map(|net| (IpAddr::V4(Ipv4Addr::from_bits(net << 8)), ReplyKind::Answer))
            .map(|client| judged(&mut limiter, &rates, client, seconds(0.0), 10)[0])
            .sum();
        assert!(sent <= 10 * SETS * WAYS, "{sent} replies to {prefixes} prefixes");
        // And who comes a second later has what everyone has.
        assert_eq!(judged(&mut limiter, &rates, CLIENT, seconds(1.0), 20)[0], 10);
    }

    #[test]
    fn a_set_is_a_cache_line() {
        assert_eq!(size_of::<Set>(), 64);
    }
}
