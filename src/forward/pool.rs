//! Which target next: what is known of each one's round-trip time, and which are suspect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use super::Millis;
use super::exchange::{Candidate, Observation, PATIENCE_MILLIS_MAX, PATIENCE_MILLIS_MIN, Turn};

/// What is known of all targets, by address: contexts that share a target share what is known of it.
#[derive(Debug, Default)]
pub(super) struct TargetPool {
    targets: Mutex<HashMap<SocketAddr, Health>>,
}

/// What is known of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// None until it has answered once.
    round_trip: Option<RoundTrip>,
    answered_at: Option<Millis>,
    /// Silent or unreachable, and nothing heard of it since: when it is to be probed next.
    suspect: Option<Millis>,
    /// It failed again while it was suspect, and that has been said.
    is_away: bool,
}

/// A change that an operator may have to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The target failed twice and was not heard of in between: a single loss is no news.
    WentAway,
    /// It answers again.
    CameBack,
}

/// Smoothed round-trip time and its variation, in milliseconds (RFC 6298 section 2).
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: f32,
    variation: f32,
}

/// Targets that are remembered; configurations have far fewer, but they change while we run.
const TARGETS_MAX: usize = 4096;
/// A suspect target gets one question a second beside the one that is asked, to find out whether it is back.
const PROBE_MILLIS: u64 = 1_000;

impl TargetPool {
    /// The targets in the order in which to ask: the quickest first, those never heard of in the order given, the
    /// suspect ones last.
    pub(super) fn order(&self, targets: &[SocketAddr], now: Millis) -> Vec<Candidate> {
        let mut known = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<_> =
            targets.iter().map(|target| (*target, known.get(target).copied().unwrap_or_default())).collect();
        order.sort_by(|(_, a), (_, b)| a.rank().partial_cmp(&b.rank()).expect("no round-trip time is NaN"));
        let first_is_suspect = order.first().is_none_or(|(_, health)| health.suspect.is_some());
        let candidate = |(target, health): (SocketAddr, Health)| {
            let is_due = !first_is_suspect && health.suspect.is_some_and(|probe_at| now >= probe_at);
            if let Some(known) = known.get_mut(&target).filter(|_| is_due) {
                known.suspect = Some(now.plus(PROBE_MILLIS));
            }
            let turn = match health.suspect {
                None => Turn::InOrder,
                Some(_) if is_due => Turn::Probe,
                Some(_) => Turn::Suspect,
            };
            Candidate { target, patience_millis: health.patience_millis(), turn }
        };
        order.into_iter().map(candidate).collect()
    }

    /// Takes note of what an attempt showed; says when that is news.
    pub(super) fn learn(&self, target: SocketAddr, observation: Observation, now: Millis) -> Option<Change> {
        let mut known = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TARGETS_MAX && !known.contains_key(&target) {
            // Addresses of configurations long gone: what matters is learned again with the next questions.
            known.clear();
        }
        known.entry(target).or_default().learn(observation, now)
    }
}

impl Health {
    /// What targets are ordered by.
    fn rank(&self) -> (bool, f32) {
        (self.suspect.is_some(), self.round_trip.map_or(f32::INFINITY, |round_trip| round_trip.smoothed))
    }

    /// How long it may be silent before the next target is asked (RFC 6298 section 2.3, within our bounds).
    fn patience_millis(&self) -> u64 {
        let timeout = self.round_trip.map(|round_trip| round_trip.smoothed + 4.0 * round_trip.variation);
        timeout.map_or(PATIENCE_MILLIS_MAX, |millis| millis as u64).clamp(PATIENCE_MILLIS_MIN, PATIENCE_MILLIS_MAX)
    }

    /// Takes note of what an attempt showed; says when that is news.
    fn learn(&mut self, observation: Observation, now: Millis) -> Option<Change> {
        match observation {
            Observation::Answered(millis) => {
                self.round_trip = Some(RoundTrip::after(self.round_trip, millis as f32));
                self.answered_at = Some(now);
                self.suspect = None;
                std::mem::take(&mut self.is_away).then_some(Change::CameBack)
            }
            // It answered others meanwhile: the name is slow, not the target.
            Observation::SilentSince(sent_at) if self.answered_at.is_some_and(|answered_at| answered_at >= sent_at) => {
                None
            }
            Observation::SilentSince(_) | Observation::Unreachable => {
                let was_suspect = self.suspect.is_some();
                self.suspect = self.suspect.or_else(|| Some(now.plus(PROBE_MILLIS)));
                let is_news = was_suspect && !std::mem::replace(&mut self.is_away, was_suspect);
                is_news.then_some(Change::WentAway)
            }
        }
    }
}

impl RoundTrip {
    /// The values after one more measurement (RFC 6298 sections 2.2 and 2.3).
    fn after(before: Option<Self>, millis: f32) -> Self {
        match before {
            None => Self { smoothed: millis, variation: millis / 2.0 },
            Some(Self { smoothed, variation }) => Self {
                smoothed: smoothed * 0.875 + millis * 0.125,
                variation: variation * 0.75 + (smoothed - millis).abs() * 0.25,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets A, B and C.
    fn targets() -> [SocketAddr; 3] {
        [1, 2, 3].map(|last| SocketAddr::from(([192, 0, 2, last], 53)))
    }

    /// The order of the targets by their last octet, probes negative.
    fn order(pool: &TargetPool, now: u64) -> Vec<i32> {
        let candidates = pool.order(&targets(), Millis(now));
        let number = |candidate: &Candidate| match (candidate.target, candidate.turn) {
            (SocketAddr::V4(v4), Turn::InOrder | Turn::Suspect) => i32::from(v4.ip().octets()[3]),
            (SocketAddr::V4(v4), Turn::Probe) => -i32::from(v4.ip().octets()[3]),
            (SocketAddr::V6(_), _) => unreachable!("the targets are IPv4"),
        };
        candidates.iter().map(number).collect()
    }

    #[test]
    fn two_failures_in_a_row_are_news_and_so_is_the_answer_after() {
        let pool = TargetPool::default();
        let target = targets()[0];
        let learn = |observation, now| pool.learn(target, observation, Millis(now));
        assert_eq!(learn(Observation::Unreachable, 0), None);
        assert_eq!(learn(Observation::Answered(1), 10), None);
        assert_eq!(learn(Observation::Unreachable, 20), None);
        assert_eq!(learn(Observation::SilentSince(Millis(30)), 430), Some(Change::WentAway));
        assert_eq!(learn(Observation::Unreachable, 500), None);
        assert_eq!(learn(Observation::Answered(1), 600), Some(Change::CameBack));
        assert_eq!(learn(Observation::Answered(1), 700), None);
    }

    #[test]
    fn the_order_given_then_the_quickest() {
        let pool = TargetPool::default();
        assert_eq!(order(&pool, 0), [1, 2, 3]);
        pool.learn(targets()[0], Observation::Answered(30), Millis(30));
        pool.learn(targets()[2], Observation::Answered(20), Millis(30));
        assert_eq!(order(&pool, 30), [3, 1, 2]);
        let patience: Vec<_> = pool.order(&targets(), Millis(30)).iter().map(|c| c.patience_millis).collect();
        assert_eq!(patience, [60, 90, 400]);
    }

    #[test]
    fn a_silent_target_goes_last_and_is_probed_until_it_answers() {
        let pool = TargetPool::default();
        pool.learn(targets()[0], Observation::SilentSince(Millis(0)), Millis(400));
        assert_eq!(order(&pool, 500), [2, 3, 1]);
        assert_eq!(order(&pool, 1400), [2, 3, -1], "a second later it is probed");
        assert_eq!(order(&pool, 1401), [2, 3, 1], "by one question a second");
        pool.learn(targets()[0], Observation::SilentSince(Millis(1000)), Millis(1500));
        assert_eq!(order(&pool, 2400), [2, 3, -1]);
        pool.learn(targets()[0], Observation::Answered(1), Millis(2401));
        assert_eq!(order(&pool, 2402), [1, 2, 3]);
    }

    #[test]
    fn one_slow_name_makes_no_target_suspect() {
        let pool = TargetPool::default();
        pool.learn(targets()[0], Observation::Answered(5), Millis(300));
        pool.learn(targets()[0], Observation::SilentSince(Millis(100)), Millis(500));
        assert_eq!(order(&pool, 500), [1, 2, 3]);
        pool.learn(targets()[0], Observation::SilentSince(Millis(301)), Millis(701));
        assert_eq!(order(&pool, 701), [2, 3, 1]);
    }

    #[test]
    fn when_all_are_suspect_the_order_stays_and_nobody_is_probed() {
        let pool = TargetPool::default();
        for target in targets() {
            pool.learn(target, Observation::Unreachable, Millis(0));
        }
        assert_eq!(order(&pool, 5000), [1, 2, 3]);
    }
}
