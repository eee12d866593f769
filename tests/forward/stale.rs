//! Answers whose lifetime is over, and answers that are renewed before it is.

use super::upstream::{Over, Upstream, address, at_once, closed_port, label, reply};
use super::*;
use hickory_proto::op::ResponseCode;
use plustwo::forward::ExchangeError;
use plustwo::forward::lane::CLIENT_PATIENCE_MILLIS;
use plustwo::forward::reply::Age;
use std::sync::atomic::{AtomicBool, Ordering};

/// What answers have to live, in milliseconds, and a little more.
const LIFETIME: u64 = 310_000;

/// An upstream that answers until it is told otherwise, then does this.
fn turning(then: impl Fn(&hickory_proto::op::Message) -> Over + Send + Sync + 'static) -> (Upstream, Arc<AtomicBool>) {
    let has_turned = Arc::new(AtomicBool::new(false));
    let turned = Arc::clone(&has_turned);
    let does = move |query: &_| if turned.load(Ordering::SeqCst) { then(query) } else { at_once(address(query, 1)) };
    (Upstream::start(does, |_| None), has_turned)
}

/// Whether an outcome is an answer whose lifetime is over.
fn is_stale(outcome: &Outcome, now: Millis) -> bool {
    outcome.as_ref().is_ok_and(|reply| reply.age(now) == Age::Stale)
}

#[test]
fn where_asking_fails_the_old_answer_is_told() {
    let (upstream, turned) = turning(|query| at_once(reply(query, ResponseCode::ServFail)));
    let world = World::new(&[upstream.address]);
    world.outcome("db").unwrap();
    turned.store(true, Ordering::SeqCst);
    let later = world.later(LIFETIME);
    let outcome = later.outcome("db");
    assert_eq!(last_octet(&outcome), 1);
    assert!(is_stale(&outcome, later.now()));
    // For a while nobody asks again.
    let asked = upstream.asked();
    assert!(later.cached("db").is_some_and(|outcome| is_stale(&outcome, later.now())));
    assert_eq!(upstream.asked(), asked);
    // A name without an old answer gets the failure.
    assert_eq!(later.outcome("new").unwrap().rcode(), plustwo::dns::Rcode::SERVFAIL);
}

#[test]
fn who_has_waited_long_enough_is_told_the_old_answer_and_asking_goes_on() {
    let (upstream, turned) = turning(|query| match label(query).as_str() {
        "db" => Over::Reply(address(query, 2), Duration::from_millis(CLIENT_PATIENCE_MILLIS + 700)),
        _ => at_once(address(query, 1)),
    });
    let world = World::new(&[upstream.address]);
    world.outcome("db").unwrap();
    turned.store(true, Ordering::SeqCst);
    let later = world.later(LIFETIME);
    let begun = Instant::now();
    let waiting = [later.ask("db"), later.ask("db")];
    for waiting in &waiting {
        let outcome = told(waiting);
        assert!(is_stale(&outcome, later.now()), "{outcome:?}");
        assert_eq!(last_octet(&outcome), 1);
    }
    assert!(begun.elapsed().as_millis() >= u128::from(CLIENT_PATIENCE_MILLIS) - 10, "{:?}", begun.elapsed());
    // Whoever comes now does not wait at all.
    let begun = Instant::now();
    if later.cached("db").is_none() {
        assert!(last_octet(&later.outcome("db")) <= 2);
        assert!(begun.elapsed().as_millis() < 600, "{:?}", begun.elapsed());
    }
    let is_new = || later.cached("db").is_some_and(|outcome| last_octet(&outcome) == 2);
    wait_until("the new answer is known", is_new);
    assert!(later.counters().told_stale >= 2);
}

#[test]
fn where_all_targets_are_away_the_old_answer_is_told_at_once() {
    let (upstream, turned) = turning(|_| Over::Silence);
    let world = World::new(&[upstream.address]);
    for label in ["db", "www"] {
        world.outcome(label).unwrap();
    }
    turned.store(true, Ordering::SeqCst);
    let later = world.later(LIFETIME);
    // Others find out that it is away.
    for n in 0..2 {
        assert_eq!(later.outcome(&n.to_string()).unwrap_err(), ExchangeError::TimedOut);
    }
    let begun = Instant::now();
    let outcome = later.outcome("db");
    assert!(begun.elapsed().as_millis() < u128::from(CLIENT_PATIENCE_MILLIS) / 2, "{:?}", begun.elapsed());
    assert!(is_stale(&outcome, later.now()));
    assert_eq!(later.forwarder.in_flight(), 1, "it is asked for all the same");
    // A name without an old answer waits, for it may be back.
    assert_eq!(later.outcome("new").unwrap_err(), ExchangeError::TimedOut);
    turned.store(false, Ordering::SeqCst);
    let much_later = later.later(60_000);
    assert_eq!(last_octet(&much_later.outcome("again")), 1);
    let outcome = much_later.outcome("www");
    assert!(!is_stale(&outcome, much_later.now()), "it is back");
}

#[test]
fn at_a_limit_the_old_answer_is_told() {
    let (upstream, turned) = turning(|_| Over::Silence);
    let world = World::with(ForwardLimits { in_flight_max: 2, ..limits() }, &[upstream.address]);
    world.outcome("db").unwrap();
    turned.store(true, Ordering::SeqCst);
    let later = world.later(LIFETIME);
    let _waiting = [later.ask("a"), later.ask("b")];
    wait_until("two are in flight", || later.forwarder.in_flight() == 2);
    assert!(is_stale(&later.outcome("db"), later.now()));
    assert_eq!(later.outcome("c").unwrap_err(), ExchangeError::InFlightLimit);
    assert_eq!(later.counters().in_flight_limit, 2);
}

#[test]
fn nothing_is_told_beyond_what_may_be_kept() {
    let closed = closed_port();
    let cache = CacheLimits { stale_seconds: 0, ..limits().cache };
    let good = Upstream::replying(|query| address(query, 1));
    let world = World::with(ForwardLimits { cache, ..limits() }, &[good.address]);
    world.outcome("db").unwrap();
    let mut later = world.later(LIFETIME);
    later.group = Arc::new(TargetGroup::do53([closed]));
    // The same context with other targets is no case of life; here it plays an upstream that has gone.
    assert_eq!(later.outcome("db").unwrap_err(), ExchangeError::Unreachable);
}
