use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::health::{
    AWAY_BY_ONE_NAME_MILLIS, AWAY_MILLIS, COOKIE_EXPECTED_MILLIS, MEASURE_FIRST_MILLIS, MEASURE_MILLIS, ODDITIES_MIN,
    ODDITY_MILLIS,
};
use super::*;
use crate::dns::{TargetHost, TargetOrder, TargetProtocol};
use crate::forward::ExchangeError;
use crate::forward::exchange::{Answer, Candidate, Channel, Cookie, EdnsSupport, ServerCookie, Turn};

/// A group of targets that nothing is known of.
struct Bench {
    pool: TargetPool,
    states: Vec<Arc<TargetState>>,
    order: TargetOrder,
    rng: StdRng,
}

impl Bench {
    /// Targets of UDP.
    fn new(count: u8, order: TargetOrder) -> Self {
        Self::of(&TargetGroup::do53((1..=count).map(address)), order)
    }

    fn of(group: &TargetGroup, order: TargetOrder) -> Self {
        let (pool, mut rng) = (TargetPool::new(2), StdRng::seed_from_u64(7));
        let states = pool.states(group, &mut rng);
        Self { pool, states, order, rng }
    }

    fn candidates(&mut self, now: u64) -> Result<Candidates, ExchangeError> {
        order(&self.states, self.order, Millis(now), &mut self.rng)
    }

    /// One target as a candidate, counted from 1.
    fn candidate(&mut self, target: u8, now: u64) -> Candidate {
        let candidates = self.candidates(now).expect("there is room");
        *candidates.iter().find(|candidate| candidate.target.0 + 1 == target).expect("it is among them")
    }

    /// The order of the targets, counted from 1; those that are asked beside the first are negative.
    fn order(&mut self, now: u64) -> Vec<i32> {
        let number = |candidate: &Candidate| match candidate.turn {
            Turn::InOrder | Turn::Suspect => i32::from(candidate.target.0) + 1,
            Turn::Measured | Turn::Probe => -i32::from(candidate.target.0) - 1,
        };
        self.candidates(now).expect("there is room").iter().map(number).collect()
    }

    /// How often each target, counted from 1, is the first of so many questions.
    fn firsts(&mut self, questions: u32, now: u64) -> Vec<u32> {
        let mut firsts = vec![0; self.states.len()];
        for _ in 0..questions {
            firsts[self.order(now)[0] as usize - 1] += 1;
        }
        firsts
    }

    /// What one of the targets, counted from 1, shows.
    fn learn(&self, target: usize, observation: Observation, now: u64) -> Option<Change> {
        self.states[target - 1].learn(observation, Millis(now))
    }

    fn answer(&self, target: usize, millis: u32, now: u64) -> Option<Change> {
        self.learn(target, Observation::Answered(Answer { millis, ..ANSWER }), now)
    }
}

/// An answer of a target that knows EDNS.
const ANSWER: Answer =
    Answer { channel: Channel::Datagram, millis: 1, edns: EdnsSupport::Answers, kept_case: false, gave_cookie: false };

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 53))
}

// ---------------------------------------------------------------------------------------------------------------------
// Health

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
fn a_few_lost_packets_make_no_target_away() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    bench.answer(1, 1, 0);
    let silent = |bench: &Bench, sent, now| bench.learn(1, Observation::SilentSince(Millis(sent)), now);
    // Of four questions in a row.
    for (sent, now) in [(10, 60), (60, 160), (160, 360), (360, 459)] {
        assert_eq!(silent(&bench, sent, now), None, "{now}");
        assert!(!bench.candidates(now).expect("there is room").are_all_away());
    }
    assert_eq!(silent(&bench, 360, 60 + AWAY_MILLIS), Some(Change::WentAway));
    assert!(bench.candidates(500).expect("there is room").are_all_away());
}

#[test]
fn one_slow_name_makes_no_target_away_where_nothing_else_is_asked() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    bench.answer(1, 1, 0);
    // One question, sent again and again: unbound asks authorities that are far away.
    let silent = |bench: &Bench, now| bench.learn(1, Observation::SilentSince(Millis(10)), now);
    for now in [60, 160, 360, 700, 1_500, 3_000, 59 + AWAY_BY_ONE_NAME_MILLIS] {
        assert_eq!(silent(&bench, now), None, "{now}");
        assert!(!bench.candidates(now).expect("there is room").are_all_away());
    }
    assert_eq!(silent(&bench, 60 + AWAY_BY_ONE_NAME_MILLIS), Some(Change::WentAway), "it is very silent");
}

#[test]
fn a_silent_target_goes_last_and_is_probed_until_it_answers() {
    for target_order in [TargetOrder::InOrder, TargetOrder::Fastest] {
        let mut bench = Bench::new(3, target_order);
        for (target, millis) in [(1, 10), (2, 20), (3, 30)] {
            bench.answer(target, millis, 0);
        }
        bench.learn(1, Observation::SilentSince(Millis(1)), 400);
        assert_eq!(bench.order(500), [2, 3, 1]);
        assert_eq!(bench.order(1400), [2, 3, -1], "a second later it is probed");
        assert_eq!(bench.order(1401), [2, 3, 1], "by one question a second");
        bench.learn(1, Observation::SilentSince(Millis(1000)), 1500);
        assert_eq!(bench.order(2400), [2, 3, -1]);
        bench.answer(1, 1, 2401);
        assert_eq!(bench.order(2402), [1, 2, 3]);
    }
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
    let mut bench = Bench::new(3, TargetOrder::InOrder);
    for target in 1..=3 {
        bench.learn(target, Observation::Unreachable, 0);
    }
    assert_eq!(bench.order(5000), [1, 2, 3]);
    assert!(!bench.candidates(5000).expect("there is room").are_all_away(), "each failed only once");
    for target in 1..=3 {
        bench.learn(target, Observation::Unreachable, 5000);
    }
    assert!(bench.candidates(5001).expect("there is room").are_all_away());
    bench.answer(2, 1, 5002);
    assert!(!bench.candidates(5003).expect("there is room").are_all_away());
}

#[test]
fn patience_follows_the_round_trip_time() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    assert_eq!(bench.candidate(1, 0).patience_millis, 400, "nothing is known yet");
    bench.answer(1, 20, 0);
    assert_eq!(bench.candidate(1, 0).patience_millis, 60, "20 and four times 10");
    for now in 0..50 {
        bench.answer(1, 20, now);
    }
    assert_eq!(bench.candidate(1, 0).patience_millis, 50);
    for now in 0..50 {
        bench.answer(1, 900, now);
    }
    assert_eq!(bench.candidate(1, 0).patience_millis, 400);
    // What a stream took says nothing about datagrams.
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    bench.learn(1, Observation::Answered(Answer { channel: Channel::Stream, ..ANSWER }), 0);
    assert_eq!(bench.candidate(1, 0).patience_millis, 400);
    assert_eq!(bench.pool.report()[0].round_trip_millis, None);
}

#[test]
fn a_target_of_streams() {
    let host = TargetHost::Address(IpAddr::from([192, 0, 2, 1]));
    let protocols = [
        TargetProtocol::Tcp,
        TargetProtocol::Dot,
        TargetProtocol::Doh { path: "/dns-query".into() },
        TargetProtocol::Doq,
    ];
    for protocol in protocols {
        let target = Target { host: host.clone(), port: 853, protocol, server_name: None };
        let group = TargetGroup { targets: vec![target], order: TargetOrder::Fastest };
        let mut bench = Bench::of(&group, TargetOrder::Fastest);
        let fresh = bench.candidate(1, 0);
        assert_eq!((fresh.channel, fresh.patience_millis, fresh.cookie), (Channel::Stream, 800, None));
        bench.learn(1, Observation::Answered(Answer { channel: Channel::Stream, millis: 10, ..ANSWER }), 0);
        assert_eq!(bench.candidate(1, 0).patience_millis, 200);
        assert_eq!(bench.pool.report()[0].round_trip_millis, Some(10.0));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Order

#[test]
fn the_order_given_then_the_quickest() {
    let mut bench = Bench::new(3, TargetOrder::Fastest);
    assert_eq!(bench.order(0), [1, 2, 3]);
    bench.answer(1, 30, 30);
    bench.answer(3, 20, 30);
    assert_eq!(bench.order(30), [3, 1, 2], "what was never measured comes last");
    assert_eq!(bench.firsts(100, 30), [0, 0, 100]);
}

#[test]
fn those_nearly_as_fast_share_the_questions() {
    let mut bench = Bench::new(4, TargetOrder::Fastest);
    // Within a fifth of 100 ms, and beyond.
    for (target, millis) in [(1, 119), (2, 100), (3, 122), (4, 500)] {
        bench.answer(target, millis, 0);
    }
    let firsts = bench.firsts(1000, 1);
    assert!(firsts[0] > 400 && firsts[1] > 400 && firsts[2..] == [0, 0], "{firsts:?}");
    let order = bench.order(1);
    assert!(order == [1, 2, 3, 4] || order == [2, 1, 3, 4], "{order:?}");
    // Within 5 ms of 1 ms.
    let mut bench = Bench::new(3, TargetOrder::Fastest);
    for (target, millis) in [(1, 1), (2, 6), (3, 7)] {
        bench.answer(target, millis, 0);
    }
    let firsts = bench.firsts(1000, 1);
    assert!(firsts[0] > 400 && firsts[1] > 400 && firsts[2] == 0, "{firsts:?}");
}

#[test]
fn what_was_not_measured_for_long_is_measured_beside_the_first() {
    let mut bench = Bench::new(3, TargetOrder::Fastest);
    assert_eq!(bench.order(0), [1, 2, 3], "the first question");
    bench.answer(1, 10, 5);
    let first = MEASURE_FIRST_MILLIS;
    assert_eq!(bench.order(first - 1), [1, 2, 3]);
    assert_eq!(bench.order(first), [1, -2, 3], "one question each");
    assert_eq!(bench.order(first), [1, 2, -3]);
    assert_eq!(bench.order(first), [1, 2, 3]);
    bench.answer(2, 50, first + 50);
    bench.answer(3, 60, first + 60);
    // They are slower, and not asked again until their time has come.
    let later = first + 50 + MEASURE_MILLIS;
    bench.answer(1, 10, later - 1);
    assert_eq!(bench.order(later - 1), [1, 2, 3]);
    assert_eq!(bench.order(later), [1, -2, 3]);
    assert_eq!(bench.order(later + 10), [1, 2, -3]);
    // It became the quickest.
    bench.answer(2, 2, later);
    for now in 0..30 {
        bench.answer(2, 2, later + now);
    }
    assert_eq!(bench.firsts(10, later + 40), [0, 10, 0]);
    // Where the order is fixed nothing is measured for its sake.
    for target_order in [TargetOrder::InOrder, TargetOrder::Random] {
        let mut bench = Bench::new(3, target_order);
        assert!((0..100).all(|question| bench.order(question * MEASURE_MILLIS).iter().all(|target| *target > 0)));
    }
}

#[test]
fn at_most_two_targets_are_asked_beside_the_first() {
    let mut bench = Bench::new(5, TargetOrder::InOrder);
    for target in 2..=5 {
        bench.learn(target, Observation::Unreachable, 0);
    }
    assert_eq!(bench.order(2000), [1, -2, -3, 4, 5]);
    assert_eq!(bench.order(2001), [1, 2, 3, -4, -5]);
    assert_eq!(bench.order(2002), [1, 2, 3, 4, 5]);
}

#[test]
fn in_order_means_the_first_that_is_healthy() {
    let mut bench = Bench::new(3, TargetOrder::InOrder);
    for (target, millis) in [(1, 300), (2, 200), (3, 1)] {
        bench.answer(target, millis, 0);
    }
    assert_eq!(bench.order(1), [1, 2, 3]);
    bench.learn(1, Observation::Unreachable, 2);
    assert_eq!(bench.order(3), [2, 3, 1]);
}

#[test]
fn random_means_each_healthy_one_as_often() {
    let mut bench = Bench::new(4, TargetOrder::Random);
    bench.learn(2, Observation::Unreachable, 0);
    let firsts = bench.firsts(3000, 1);
    assert!(firsts[1] == 0 && [0, 2, 3].iter().all(|target| (800..1200).contains(&firsts[*target])), "{firsts:?}");
    assert!((0..100).all(|_| bench.order(1)[3] == 2), "the suspect one is last");
    let mut orders: Vec<_> = (0..300).map(|_| bench.order(1)).collect();
    orders.sort_unstable();
    orders.dedup();
    assert_eq!(orders.len(), 6, "all orders of three");
}

#[test]
fn only_the_first_six_are_asked() {
    let mut bench = Bench::new(8, TargetOrder::InOrder);
    assert_eq!(bench.order(0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(Bench::new(0, TargetOrder::InOrder).candidates(0).err(), Some(ExchangeError::NoTargets));
}

#[test]
fn a_target_at_its_limit_is_passed_over() {
    // Two each, as the bench says.
    let mut bench = Bench::new(2, TargetOrder::InOrder);
    bench.states[0].attempt_opened();
    assert_eq!(bench.order(0), [1, 2]);
    bench.states[0].attempt_opened();
    assert_eq!(bench.order(0), [2]);
    bench.states[1].attempt_opened();
    bench.states[1].attempt_opened();
    assert_eq!(bench.candidates(0).err(), Some(ExchangeError::TargetBusy));
    bench.states[0].attempt_closed();
    assert_eq!(bench.order(0), [1]);
    let in_flight: Vec<_> = bench.pool.report().iter().map(|report| report.in_flight).collect();
    assert_eq!(in_flight, [1, 2]);
}

// ---------------------------------------------------------------------------------------------------------------------
// How a target wants to be asked

#[test]
fn a_target_that_answers_only_without_edns_is_asked_so_for_an_hour() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    assert_eq!(bench.candidate(1, 0).edns, EdnsSupport::Unknown);
    let plain = Observation::Answered(Answer { edns: EdnsSupport::PlainOnly, ..ANSWER });
    for _ in 1..ODDITIES_MIN {
        bench.learn(1, plain, 0);
        assert_eq!(bench.candidate(1, 0).edns, EdnsSupport::Unknown, "once or twice may be a forger's work");
    }
    bench.learn(1, plain, 10);
    assert_eq!(bench.candidate(1, 10).edns, EdnsSupport::PlainOnly);
    assert!(bench.pool.report()[0].is_plain_only);
    assert_eq!(bench.candidate(1, 9 + ODDITY_MILLIS).edns, EdnsSupport::PlainOnly);
    let later = 10 + ODDITY_MILLIS;
    assert_eq!(bench.candidate(1, later).edns, EdnsSupport::Unknown, "EDNS is tried again");
    bench.learn(1, plain, later);
    assert_eq!(bench.candidate(1, later).edns, EdnsSupport::PlainOnly, "and not three times");
    bench.answer(1, 1, later + ODDITY_MILLIS);
    assert_eq!(bench.candidate(1, later + ODDITY_MILLIS).edns, EdnsSupport::Answers);
    bench.learn(1, plain, later + ODDITY_MILLIS);
    assert_eq!(bench.candidate(1, later + ODDITY_MILLIS).edns, EdnsSupport::Answers, "counted anew");
}

#[test]
fn a_target_that_goes_away_may_have_ceased_to_answer_edns() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    bench.answer(1, 1, 1);
    assert_eq!(bench.candidate(1, 2).edns, EdnsSupport::Answers);
    bench.learn(1, Observation::SilentSince(Millis(2)), 50);
    assert_eq!(bench.candidate(1, 51).edns, EdnsSupport::Answers, "a packet may be lost");
    let gone = bench.learn(1, Observation::SilentSince(Millis(50)), 50 + AWAY_MILLIS);
    assert_eq!(gone, Some(Change::WentAway));
    assert_eq!(bench.candidate(1, 500).edns, EdnsSupport::Unknown);
    let back = bench.answer(1, 1, 600);
    assert_eq!((back, bench.candidate(1, 601).edns), (Some(Change::CameBack), EdnsSupport::Answers));
}

#[test]
fn a_target_that_changes_the_case_is_asked_over_tcp_for_an_hour() {
    let mut bench = Bench::new(1, TargetOrder::Fastest);
    bench.answer(1, 5, 0);
    for _ in 1..ODDITIES_MIN {
        bench.learn(1, Observation::ChangedCase, 0);
    }
    bench.learn(1, Observation::Answered(Answer { kept_case: true, ..ANSWER }), 0);
    bench.learn(1, Observation::ChangedCase, 0);
    assert_eq!(bench.candidate(1, 0).channel, Channel::Datagram, "it kept the case in between");
    for _ in 1..ODDITIES_MIN {
        bench.learn(1, Observation::ChangedCase, 0);
    }
    let candidate = bench.candidate(1, 1);
    assert_eq!((candidate.channel, candidate.patience_millis), (Channel::Stream, 800));
    assert!(bench.pool.report()[0].changes_case);
    let candidate = bench.candidate(1, ODDITY_MILLIS);
    assert_eq!((candidate.channel, candidate.patience_millis), (Channel::Datagram, 50));
    bench.learn(1, Observation::ChangedCase, ODDITY_MILLIS);
    assert_eq!(bench.candidate(1, ODDITY_MILLIS).channel, Channel::Stream, "once is enough then");
}

/// An answer that brought our cookie back, and the server cookie in it.
fn give_cookie(bench: &Bench, octets: [u8; 16], now: u64) -> ServerCookie {
    let server = ServerCookie::new(&octets).expect("16 octets");
    bench.learn(1, Observation::Answered(Answer { gave_cookie: true, ..ANSWER }), now);
    bench.learn(1, Observation::GaveCookie(server), now);
    server
}

/// The cookie that goes with queries to the first target.
fn cookie(bench: &mut Bench, now: u64) -> Cookie {
    bench.candidate(1, now).cookie.expect("targets of UDP get one")
}

#[test]
fn each_target_has_its_own_client_cookie() {
    let mut bench = Bench::new(2, TargetOrder::InOrder);
    let [one, two] = [1, 2].map(|target| bench.candidate(target, 0).cookie.expect("targets of UDP get one"));
    assert_ne!(one.client, two.client);
    assert_eq!((one.server, one.is_expected), (ServerCookie::default(), false));
    let again = bench.pool.state(&Target::do53(address(1)), &mut bench.rng);
    assert!(Arc::ptr_eq(&again, &bench.states[0]), "rules that share a target share its state");
    // Another process draws others.
    let other = TargetPool::new(2).state(&Target::do53(address(1)), &mut StdRng::seed_from_u64(8));
    let other = order(&[other], TargetOrder::InOrder, Millis(0), &mut bench.rng).expect("there is room")[0].cookie;
    assert_ne!(other.map(|cookie| cookie.client), Some(one.client));
}

#[test]
fn a_target_that_sends_cookies_is_expected_to_go_on() {
    let mut bench = Bench::new(1, TargetOrder::InOrder);
    let client = cookie(&mut bench, 0).client;
    let server = give_cookie(&bench, *b"server-cookie-16", 0);
    assert_eq!(cookie(&mut bench, 1), Cookie { client, server, is_expected: true });
    assert!(bench.pool.report()[0].has_cookies);
    // Not for ever: its cookies may have ended, and its TCP may be shut.
    assert!(cookie(&mut bench, COOKIE_EXPECTED_MILLIS - 1).is_expected);
    assert_eq!(
        cookie(&mut bench, COOKIE_EXPECTED_MILLIS),
        Cookie { client, server, is_expected: false },
        "the cookie is still sent"
    );
    let server = give_cookie(&bench, *b"another-cookie-!", COOKIE_EXPECTED_MILLIS);
    assert_eq!(cookie(&mut bench, COOKIE_EXPECTED_MILLIS), Cookie { client, server, is_expected: true });
}

#[test]
fn a_target_that_stops_sending_cookies_is_not_expected_to_for_an_hour() {
    let mut bench = Bench::new(1, TargetOrder::InOrder);
    give_cookie(&bench, *b"server-cookie-16", 0);
    bench.learn(1, Observation::StoppedCookies, 10);
    let cookie_now = cookie(&mut bench, 10);
    assert!(cookie_now.server.is_none() && !cookie_now.is_expected);
    // Some of its servers send them, some do not.
    let server = give_cookie(&bench, *b"server-cookie-16", 20);
    assert_eq!(cookie(&mut bench, 20), Cookie { server, is_expected: false, ..cookie_now });
    give_cookie(&bench, *b"server-cookie-16", 10 + ODDITY_MILLIS);
    assert!(cookie(&mut bench, 10 + ODDITY_MILLIS).is_expected);
}

#[test]
fn a_client_cookie_belongs_to_one_address_of_ours() {
    let mut bench = Bench::new(1, TargetOrder::InOrder);
    give_cookie(&bench, *b"server-cookie-16", 0);
    let before = cookie(&mut bench, 1);
    let locals = [1, 1, 2].map(|last| IpAddr::from([198, 51, 100, last]));
    let state = Arc::clone(&bench.states[0]);
    for local in &locals[..2] {
        state.set_local_address(*local, &mut bench.rng);
        assert_eq!(cookie(&mut bench, 2), before);
    }
    state.set_local_address(locals[2], &mut bench.rng);
    let after = cookie(&mut bench, 3);
    assert!(after.client != before.client && after.server.is_none() && after.is_expected);
}

// ---------------------------------------------------------------------------------------------------------------------
// The pool

#[test]
fn reports_say_how_each_target_does() {
    let bench = Bench::new(4, TargetOrder::InOrder);
    bench.answer(2, 20, 100);
    bench.answer(3, 20, 100);
    bench.learn(3, Observation::SilentSince(Millis(200)), 600);
    bench.learn(4, Observation::Unreachable, 700);
    bench.learn(4, Observation::Unreachable, 800);
    bench.states[1].attempt_opened();
    let reports = bench.pool.report();
    let texts: Vec<_> = reports.iter().map(|report| report.target.as_str()).collect();
    assert_eq!(texts, ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53"]);
    let conditions: Vec<_> = reports.iter().map(|report| report.condition).collect();
    let expected = [Condition::Fresh, Condition::Good, Condition::Suspect(Millis(600)), Condition::Away(Millis(700))];
    assert_eq!(conditions, expected);
    let numbers: Vec<_> = reports.iter().map(|report| (report.answered, report.failed, report.in_flight)).collect();
    assert_eq!(numbers, [(0, 0, 0), (1, 0, 1), (1, 1, 0), (0, 2, 0)]);
    assert_eq!(reports[1].round_trip_millis, Some(20.0));
}

#[test]
fn so_many_targets_are_remembered() {
    let (pool, mut rng) = (TargetPool::new(1), StdRng::seed_from_u64(7));
    let target = |number: usize| {
        let [high, low] = (number as u16).to_be_bytes();
        Target::do53(SocketAddr::from(([10, 0, high, low], 53)))
    };
    let mut held: Vec<_> = (0..TARGETS_MAX).map(|number| pool.state(&target(number), &mut rng)).collect();
    assert_eq!(pool.report().len(), TARGETS_MAX);
    // One too many: asked like any other, not remembered.
    let further = target(TARGETS_MAX);
    let [one, two] = [0; 2].map(|_| pool.state(&further, &mut rng));
    assert!(!Arc::ptr_eq(&one, &two) && pool.report().len() == TARGETS_MAX);
    // Configurations change: what nobody asks any more makes room.
    held.truncate(10);
    let [one, two] = [0; 2].map(|_| pool.state(&further, &mut rng));
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(pool.report().len(), 11);
}
