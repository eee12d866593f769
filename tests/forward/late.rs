//! Queries that have waited long enough, and what goes on without them.

use super::asking::Waiter;
use super::upstream::{Over, Upstream, address, at_once, label};
use super::*;
use plustwo::forward::ExchangeError;
use plustwo::forward::exchange::EXCHANGE_MILLIS_MAX;
use plustwo::forward::lane::{Audience, CLIENT_PATIENCE_MILLIS, Order, QUERY_MILLIS_MAX};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

/// What a query has left that has spent most of its time on other questions, in milliseconds.
const LEFT: u64 = 100;
/// When the upstream of these tests answers: after that, and before anything else ends.
const ANSWERS_AFTER: Duration = Duration::from_millis(900);
/// What answers have to live, in milliseconds, and a little more.
const LIFETIME: u64 = 310_000;

/// Asks for a query that came so long ago.
fn ask_of_an_old_query(world: &World, label: &str, millis_ago: u64) -> Receiver<Outcome> {
    let arrived = Millis(world.now().0 - millis_ago);
    world.asking.ask_since(arrived, [192, 0, 2, 1].into(), &ask(&name(label)), &world.group)
}

#[test]
fn a_query_without_time_is_told_so_and_what_it_asked_goes_on() {
    let upstream = Upstream::start(|query| Over::Reply(address(query, 1), ANSWERS_AFTER), |_| None);
    let world = World::new(&[upstream.address]);
    let late = ask_of_an_old_query(&world, "db", QUERY_MILLIS_MAX - LEFT);
    let with_time = world.ask("db");
    let also_late = ask_of_an_old_query(&world, "db", QUERY_MILLIS_MAX - LEFT);
    assert_eq!(told(&late).unwrap_err(), ExchangeError::TimedOut);
    assert_eq!(told(&also_late).unwrap_err(), ExchangeError::TimedOut);
    assert!(world.cached("db").is_none(), "that says nothing about the upstream");
    assert_eq!(last_octet(&told(&with_time)), 1);
    assert_eq!(last_octet(&world.cached("db").unwrap()), 1);
    let counters = world.counters();
    assert_eq!((counters.told_late, counters.exchanges, counters.failed), (2, 1, 0));
}

#[test]
fn a_query_without_time_is_told_the_old_answer_if_there_is_one() {
    let has_turned = Arc::new(AtomicBool::new(false));
    let turned = Arc::clone(&has_turned);
    let does = move |query: &_| match turned.load(Ordering::SeqCst) {
        true => Over::Reply(address(query, 2), ANSWERS_AFTER),
        false => at_once(address(query, 1)),
    };
    let upstream = Upstream::start(does, |_| None);
    let world = World::new(&[upstream.address]);
    world.outcome("db").unwrap();
    has_turned.store(true, Ordering::SeqCst);
    let later = world.later(LIFETIME);
    let late = ask_of_an_old_query(&later, "db", QUERY_MILLIS_MAX - LEFT);
    assert_eq!(last_octet(&told(&late)), 1);
    wait_until("the new answer is known", || later.cached("db").is_some_and(|outcome| last_octet(&outcome) == 2));
    assert_eq!((later.counters().told_late, later.counters().told_stale), (1, 1));
}

#[test]
fn a_query_that_comes_without_time_is_not_asked() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = World::new(&[upstream.address]);
    let late = ask_of_an_old_query(&world, "db", QUERY_MILLIS_MAX);
    assert_eq!(told(&late).unwrap_err(), ExchangeError::TimedOut);
    assert_eq!((upstream.asked(), world.counters().told_late), (0, 1));
    assert_eq!(last_octet(&world.outcome("db")), 1);
}

/// Tells through channels; of one who is told early the channel stays, and hears the end.
struct Holds;

impl Audience for Holds {
    type Waiter = Waiter;

    fn tell(&mut self, waiter: Waiter, outcome: &Outcome, _: Millis) {
        let _ = waiter.send(outcome.clone());
    }

    fn tell_early(&mut self, waiter: Waiter, outcome: &Outcome, now: Millis) -> Option<Waiter> {
        self.tell(waiter.clone(), outcome, now);
        Some(waiter)
    }

    fn flush(&mut self) {}

    fn way_of(&self, _: &Waiter) -> String {
        String::new()
    }
}

/// Whether a channel has ended, without another word.
fn has_ended(told: &Receiver<Outcome>) -> bool {
    matches!(told.recv_timeout(Duration::from_secs(20)), Err(std::sync::mpsc::RecvTimeoutError::Disconnected))
}

#[test]
fn what_the_first_one_was_given_is_held_until_the_question_is_over() {
    let upstream = Upstream::start(
        |query| match label(query).as_str() {
            "db" => Over::Reply(address(query, 1), ANSWERS_AFTER),
            _ => Over::Silence,
        },
        |_| None,
    );
    let mut world = World::new(&[upstream.address]);
    world.asking = Asking::with(&world.forwarder, 1, T0, || Holds);
    // Told early, and once more when the answer comes; one that has joined is told once.
    let [first, second] = [(); 2].map(|()| ask_of_an_old_query(&world, "db", QUERY_MILLIS_MAX - LEFT));
    for late in [&first, &second] {
        assert_eq!(told(late).unwrap_err(), ExchangeError::TimedOut);
    }
    assert!(has_ended(&second));
    assert_eq!(world.forwarder.in_flight(), 1, "it goes on");
    assert_eq!(last_octet(&told(&first)), 1);
    assert!(has_ended(&first));
    // The same where no answer comes.
    let silent = ask_of_an_old_query(&world, "silent", QUERY_MILLIS_MAX - LEFT);
    let began = Instant::now();
    assert_eq!([told(&silent).unwrap_err(), told(&silent).unwrap_err()], [ExchangeError::TimedOut; 2]);
    assert!(began.elapsed().as_millis() >= u128::from(EXCHANGE_MILLIS_MAX) / 2, "{:?}", began.elapsed());
    assert!(has_ended(&silent));
    // For the cache nobody is told early.
    let ordered = name("silent2");
    let (holder, held) = channel();
    let question = world.asking.lanes.question(&ask(&ordered));
    world.asking.lanes.submit(Order::for_cache(question, &world.group, Some(holder)));
    wait_until("it is asked", || world.forwarder.in_flight() == 1);
    let joined = ask_of_an_old_query(&world, "silent2", QUERY_MILLIS_MAX - LEFT);
    assert_eq!(told(&joined).unwrap_err(), ExchangeError::TimedOut);
    assert!(held.try_recv().is_err(), "it is not over");
    assert_eq!(told(&held).unwrap_err(), ExchangeError::TimedOut);
    // Where it is being asked already, or cannot be asked, nothing is held.
    let empty = Arc::new(TargetGroup::do53([]));
    let (holder, held) = channel();
    let question = world.asking.lanes.question(&ask(&ordered));
    world.asking.lanes.submit(Order::for_cache(question, &empty, Some(holder)));
    assert!(has_ended(&held));
}

#[test]
fn a_stale_answer_is_told_early_to_the_first_one_only_once() {
    let has_turned = Arc::new(AtomicBool::new(false));
    let turned = Arc::clone(&has_turned);
    let does = move |query: &_| if turned.load(Ordering::SeqCst) { Over::Silence } else { at_once(address(query, 1)) };
    let upstream = Upstream::start(does, |_| None);
    let world = World::new(&[upstream.address]);
    world.outcome("db").unwrap();
    has_turned.store(true, Ordering::SeqCst);
    let mut later = world.later(LIFETIME);
    later.asking = Asking::with(&later.forwarder, 1, later.now(), || Holds);
    let [first, second] = [(); 2].map(|()| later.ask("db"));
    let began = Instant::now();
    for waiting in [&first, &second] {
        assert_eq!(last_octet(&told(waiting)), 1);
    }
    assert!(began.elapsed().as_millis() >= u128::from(CLIENT_PATIENCE_MILLIS) - 10, "{:?}", began.elapsed());
    assert_eq!(later.forwarder.in_flight(), 1, "it goes on");
    assert!(has_ended(&second), "one that has joined holds nothing");
    assert!(first.try_recv().is_err(), "and the first one something");
    // At the end the old answer is what failing comes to.
    assert_eq!(last_octet(&told(&first)), 1);
    assert!(has_ended(&first));
    assert_eq!(later.forwarder.in_flight(), 0);
    assert_eq!(later.counters().told_stale, 2);
}
