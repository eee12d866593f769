//! When an endpoint is asked, and what its replies in a row say. Time and chance are arguments.

use crate::snapshot::Probe;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// The most by which a request comes earlier than its interval says, so that those that once met part again: a twentieth.
const JITTER_PARTS: u32 = 20;

/// What is known of one endpoint. Times count from when its watch began.
#[derive(Debug)]
pub(super) struct Watch {
    due: Duration,
    is_healthy: bool,
    /// Replies in a row that say otherwise.
    contrary: u8,
}

impl Watch {
    /// Of an endpoint that was never asked: it is healthy until enough replies say otherwise
    /// (R53:dns-failover-determining-health-of-endpoints). The first request comes within one interval, at a moment that its
    /// id says, so that all endpoints of a file are spread over it.
    pub(super) fn new(probe: &Probe) -> Self {
        let mut hasher = DefaultHasher::new();
        probe.id.hash(&mut hasher);
        // The upper half of the hash as a fraction of the interval.
        let fraction = f64::from((hasher.finish() >> 32) as u32) / (f64::from(u32::MAX) + 1.0);
        Self { due: probe.interval.mul_f64(fraction), is_healthy: true, contrary: 0 }
    }

    /// When the next request is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Takes up what a reply says, or that nobody could be asked; the new status, where it turns: after as many replies in a
    /// row as the threshold says (HealthCheckConfig: FailureThreshold). The interval counts from the reply
    /// (HealthCheckConfig: RequestInterval).
    pub(super) fn take_up(&mut self, probe: &Probe, verdict: Option<bool>, now: Duration, random: u32) -> Option<bool> {
        let jitter = (probe.interval / JITTER_PARTS).mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.due = now + probe.interval - jitter;
        let verdict = verdict?;
        if verdict == self.is_healthy {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        if self.contrary < probe.threshold {
            return None;
        }
        self.contrary = 0;
        self.is_healthy = verdict;
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ProbeHost, ProbeRequest};

    const INTERVAL: Duration = Duration::from_secs(10);

    fn probe(id: &str, threshold: u8) -> Probe {
        Probe {
            id: id.into(),
            host: ProbeHost::Address([192, 0, 2, 1].into()),
            port: 80,
            request: ProbeRequest::Connect,
            interval: INTERVAL,
            threshold,
        }
    }

    /// What becomes of an endpoint that replies so, `+` well and `-` badly and `0` not asked: the turns.
    fn turns(threshold: u8, replies: &str) -> String {
        let probe = probe("a", threshold);
        let mut watch = Watch::new(&probe);
        let turn = |reply| {
            let verdict = match reply {
                '+' => Some(true),
                '-' => Some(false),
                _ => None,
            };
            let now = watch.due();
            match watch.take_up(&probe, verdict, now, 0) {
                Some(true) => 'U',
                Some(false) => 'D',
                None => '.',
            }
        };
        replies.chars().map(turn).collect()
    }

    #[test]
    fn as_many_replies_in_a_row_as_the_threshold_says_turn_the_status() {
        for (threshold, replies, expected) in [
            (1, "+-+--++", ".DUD.U."),
            (3, "---+++", "..D..U"),
            (3, "--+--+---", "........D"),
            (3, "---++-+++", "..D.....U"),
            (3, "--0-", "...D"),
            (3, "-----", "..D.."),
            (2, "0000-0-", "......D"),
            (10, "----------++++++++++", ".........D.........U"),
            (10, "---------+---------+", "...................."),
        ] {
            assert_eq!(turns(threshold, replies), expected, "{threshold}: {replies}");
        }
    }

    #[test]
    fn the_interval_counts_from_the_reply_and_is_never_longer() {
        let probe = probe("a", 3);
        let mut watch = Watch::new(&probe);
        assert!(watch.due() < INTERVAL);
        for (took, random, expected) in [
            (Duration::ZERO, 0, INTERVAL),
            (Duration::from_secs(6), 0, INTERVAL),
            (Duration::from_secs(6), u32::MAX, INTERVAL - INTERVAL / 20),
            // It waited for its turn.
            (Duration::from_secs(100), 0, INTERVAL),
        ] {
            let now = watch.due() + took;
            watch.take_up(&probe, Some(true), now, random);
            assert_eq!(watch.due() - now, expected);
        }
    }

    #[test]
    fn first_requests_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let due = Watch::new(&probe(&format!("check-{number}"), 3)).due();
            tenths[(due.as_millis() / 1000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
        let first = Watch::new(&probe("check-1", 3)).due();
        assert_eq!(first, Watch::new(&probe("check-1", 3)).due(), "at a moment that the id says");
    }
}
