//! What forgers send, and what they cannot know.

use super::upstream::{Over, Upstream, address, at_once, distinct, with_wrong_id};
use super::*;
use hickory_proto::op::Message as Judge;
use plustwo::forward::lane::{SOCKET_STRAYS_MAX, SOCKET_USES_MAX, SOCKETS_PER_TARGET};
use std::collections::{HashMap, HashSet};

#[test]
fn who_was_not_asked_is_not_heard() {
    let upstream = Upstream::start(|query| Over::Forged(address(query, 66), address(query, 1)), |_| None);
    let world = World::new(&[upstream.address]);
    assert_eq!(last_octet(&world.outcome("db")), 1);
    assert_eq!(world.counters().mismatched, 0, "the kernel keeps it from us");
}

#[test]
fn a_reply_to_something_else_is_ignored() {
    let other_question = |query: &Judge| {
        let mut reply = address(query, 66);
        reply.queries[0].set_name(hickory_proto::rr::Name::from_ascii("other.corp.example.").unwrap());
        reply
    };
    let lies = move |query: &Judge| {
        let wrong_id = with_wrong_id(address(query, 66), 0x55aa);
        Over::Replies(vec![wrong_id, other_question(query), address(query, 1)])
    };
    let upstream = Upstream::start(lies, |_| None);
    let world = World::new(&[upstream.address]);
    assert_eq!(last_octet(&world.outcome("db")), 1);
    assert_eq!((world.counters().mismatched, upstream.asked()), (2, 1));
}

#[test]
fn near_misses_end_a_socket_and_move_its_questions_to_tcp() {
    // Of all names the forger guesses at one; the others on the socket go the same way.
    let guesses = |query: &Judge| match upstream::label(query).as_str() {
        "victim" => {
            let guess = |n: u32| with_wrong_id(address(query, 66), n as u16);
            Over::Replies((1..=SOCKET_STRAYS_MAX).map(guess).collect())
        }
        _ => Over::Silence,
    };
    let upstream = Upstream::start(guesses, |query| Some(address(query, 1)));
    let world = World::new(&[upstream.address]);
    let begun = Instant::now();
    // In one turn or two: they may share a socket or not.
    let waiting = [world.ask("victim"), world.ask("bystander")];
    assert_eq!(last_octet(&told(&waiting[0])), 1);
    assert!(begun.elapsed().as_millis() < 1500, "it was not waited for: {:?}", begun.elapsed());
    let counters = world.counters();
    assert_eq!(counters.sockets_suspected, 1, "{counters:?}");
    assert!(counters.mismatched >= u64::from(SOCKET_STRAYS_MAX) && counters.sent_stream >= 1, "{counters:?}");
}

#[test]
fn fewer_near_misses_change_nothing() {
    let guesses = |query: &Judge| {
        let guess = |n: u32| with_wrong_id(address(query, 66), n as u16);
        Over::Replies((1..SOCKET_STRAYS_MAX).map(guess).chain([address(query, 1)]).collect())
    };
    let upstream = Upstream::start(guesses, |_| None);
    let world = World::new(&[upstream.address]);
    assert_eq!(last_octet(&world.outcome("db")), 1);
    let counters = world.counters();
    assert_eq!((counters.sockets_suspected, counters.sent_stream), (0, 0));
}

#[test]
fn a_reply_that_comes_twice_is_late_and_not_suspicious() {
    let upstream = Upstream::start(|query| Over::Replies(vec![address(query, 1); 40]), |_| None);
    let world = World::new(&[upstream.address]);
    for n in 0..5 {
        assert_eq!(last_octet(&world.outcome(&n.to_string())), 1);
    }
    wait_until("all of them have come", || world.counters().late >= 5 * 39);
    let counters = world.counters();
    assert_eq!((counters.mismatched, counters.sockets_suspected), (0, 0));
}

#[test]
fn ports_and_ids_spread_and_none_is_used_for_long() {
    const QUESTIONS: usize = 6000;
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = World::new(&[upstream.address]);
    for from in (0..QUESTIONS).step_by(50) {
        let waiting: Vec<_> = (from..from + 50).map(|n| world.ask(&n.to_string())).collect();
        waiting.iter().for_each(|waiting| assert_eq!(last_octet(&told(waiting)), 1));
    }
    // What was only sent again has the port and the id that it had.
    let asked = distinct(&upstream.queries());
    let mut uses: HashMap<u16, HashSet<u16>> = HashMap::new();
    for (port, id, _) in &asked {
        uses.entry(*port).or_default().insert(*id);
    }
    // 120 turns at least over 64 places: with less than a chance in 10^9 fewer than 40 of them are taken.
    assert!(uses.len() >= 40, "{} ports", uses.len());
    let all_uses: usize = uses.values().map(HashSet::len).sum();
    assert_eq!(all_uses, asked.len(), "no id twice on one port");
    assert!(uses.values().all(|ids| ids.len() < SOCKET_USES_MAX + 64), "no port for long");
    // Ids by their upper bits: 128 cells, 6,000 / 128 = 46.9 each. The 99.9999 % bound of chi-square with 127 degrees of
    // freedom is 216.
    let mut cells = [0u32; 128];
    asked.iter().for_each(|(_, id, _)| cells[usize::from(*id >> 9)] += 1);
    let expected = asked.len() as f64 / 128.0;
    let chi_square: f64 = cells.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    assert!(chi_square < 250.0, "{chi_square}");
    assert!(world.forwarder.sockets() <= SOCKETS_PER_TARGET, "{} open", world.forwarder.sockets());
}

#[test]
fn a_socket_is_used_no_longer_than_its_queries_and_seconds_allow() {
    let upstream = Upstream::replying(|query| address(query, 1));
    // One socket at a time.
    let world = World::with(ForwardLimits { sockets_max: 1, ..limits() }, &[upstream.address]);
    for n in 0..3 * SOCKET_USES_MAX {
        assert_eq!(last_octet(&world.outcome(&n.to_string())), 1);
        assert!(world.forwarder.sockets() <= 1);
    }
    let mut uses: HashMap<u16, usize> = HashMap::new();
    distinct(&upstream.queries()).iter().for_each(|(port, ..)| *uses.entry(*port).or_default() += 1);
    assert!((3..=4).contains(&uses.len()) || world.counters().sockets_opened > 3, "{uses:?}");
    assert!(uses.values().all(|uses| *uses <= SOCKET_USES_MAX), "{uses:?}");
}

#[test]
fn random_case_goes_out_and_must_come_back() {
    let options = Options { case_randomization: true, ..limits().options };
    let world_of = |upstream: &Upstream| World::with(ForwardLimits { options, ..limits() }, &[upstream.address]);
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = world_of(&upstream);
    for n in 0..20 {
        assert_eq!(last_octet(&world.outcome(&format!("abcdefgh{n}"))), 1);
    }
    let names: Vec<String> = upstream.queries().iter().map(|(_, query)| query.queries[0].name().to_string()).collect();
    assert!(names.iter().any(|name| *name != name.to_ascii_lowercase()), "{names:?}");
    assert_eq!(world.counters().sent_stream, 0);
    // One that folds the name may be a forger who cannot see it: TCP decides.
    let folds = |query: &Judge| {
        let mut reply = address(query, 66);
        let folded = query.queries[0].name().to_lowercase();
        reply.queries[0].set_name(folded);
        at_once(reply)
    };
    let upstream = Upstream::start(folds, |query| Some(address(query, 1)));
    let world = world_of(&upstream);
    assert_eq!(last_octet(&world.outcome("a-name-of-many-letters-that-is-not-all-lower")), 1);
}
