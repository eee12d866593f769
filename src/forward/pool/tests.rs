use std::net::SocketAddr;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::dns::TargetOrder;
use crate::forward::ExchangeError;
use crate::forward::exchange::{Answer, Candidate, Channel, EdnsSupport, Turn};

/// A group of targets that nothing is known of.
struct Bench {
    #[expect(dead_code, reason = "its report is looked at with the next tests")]
    pool: TargetPool,
    states: Vec<Arc<TargetState>>,
    order: TargetOrder,
    rng: StdRng,
}

impl Bench {
    fn new(count: u8, order: TargetOrder) -> Self {
        let (pool, mut rng) = (TargetPool::new(2), StdRng::seed_from_u64(7));
        let group = TargetGroup::do53((1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 53))));
        let states = pool.states(&group, &mut rng);
        Self { pool, states, order, rng }
    }

    fn candidates(&mut self, now: u64) -> Result<Candidates, ExchangeError> {
        order(&self.states, self.order, Millis(now), &mut self.rng)
    }

    /// The order of the targets, counted from 1; those that are asked beside the first are negative.
    fn order(&mut self, now: u64) -> Vec<i32> {
        let number = |candidate: &Candidate| match candidate.turn {
            Turn::InOrder | Turn::Suspect => i32::from(candidate.target.0) + 1,
            Turn::Measured | Turn::Probe => -i32::from(candidate.target.0) - 1,
        };
        self.candidates(now).expect("there is room").iter().map(number).collect()
    }

    /// What one of the targets, counted from 1, shows.
    fn learn(&self, target: usize, observation: Observation, now: u64) -> Option<Change> {
        self.states[target - 1].learn(observation, Millis(now))
    }

    fn answer(&self, target: usize, millis: u32, now: u64) -> Option<Change> {
        self.learn(target, answered(Channel::Datagram, millis), now)
    }
}

/// An answer of a target that knows EDNS.
fn answered(channel: Channel, millis: u32) -> Observation {
    Observation::Answered(Answer { channel, millis, edns: EdnsSupport::Answers, kept_case: false })
}

#[test]
fn two_failures_in_a_row_are_news_and_so_is_the_answer_after() {
    let bench = Bench::new(1, TargetOrder::Fastest);
    assert_eq!(bench.learn(1, Observation::Unreachable, 0), None);
    assert_eq!(bench.answer(1, 1, 10), None);
    assert_eq!(bench.learn(1, Observation::Unreachable, 20), None);
    assert_eq!(bench.learn(1, Observation::SilentSince(Millis(30)), 430), Some(Change::WentAway));
    assert_eq!(bench.learn(1, Observation::Unreachable, 500), None);
    assert_eq!(bench.answer(1, 1, 600), Some(Change::CameBack));
    assert_eq!(bench.answer(1, 1, 700), None);
}

#[test]
fn the_order_given_then_the_quickest() {
    let mut bench = Bench::new(3, TargetOrder::Fastest);
    assert_eq!(bench.order(0), [1, 2, 3]);
    bench.answer(1, 30, 30);
    bench.answer(3, 20, 30);
    assert_eq!(bench.order(30), [3, 1, 2]);
    let patience: Vec<_> =
        bench.candidates(30).expect("there is room").iter().map(|candidate| candidate.patience_millis).collect();
    assert_eq!(patience, [60, 90, 400]);
}

#[test]
fn a_silent_target_goes_last_and_is_probed_until_it_answers() {
    let mut bench = Bench::new(3, TargetOrder::InOrder);
    bench.learn(1, Observation::SilentSince(Millis(0)), 400);
    assert_eq!(bench.order(500), [2, 3, 1]);
    assert_eq!(bench.order(1400), [2, 3, -1], "a second later it is probed");
    assert_eq!(bench.order(1401), [2, 3, 1], "by one question a second");
    bench.learn(1, Observation::SilentSince(Millis(1000)), 1500);
    assert_eq!(bench.order(2400), [2, 3, -1]);
    bench.answer(1, 1, 2401);
    assert_eq!(bench.order(2402), [1, 2, 3]);
}

#[test]
fn one_slow_name_makes_no_target_suspect() {
    let mut bench = Bench::new(3, TargetOrder::InOrder);
    bench.answer(1, 5, 300);
    bench.learn(1, Observation::SilentSince(Millis(100)), 500);
    assert_eq!(bench.order(500), [1, 2, 3]);
    bench.learn(1, Observation::SilentSince(Millis(301)), 701);
    assert_eq!(bench.order(701), [2, 3, 1]);
}

#[test]
fn when_all_are_suspect_the_order_stays_and_nobody_is_probed() {
    let mut bench = Bench::new(3, TargetOrder::Fastest);
    for target in 1..=3 {
        bench.learn(target, Observation::Unreachable, 0);
    }
    assert_eq!(bench.order(5000), [1, 2, 3]);
}
