//! What comes of a question, who is told, and what is kept.

use super::upstream::{Over, Upstream, address, at_once, closed_port, label, reply, soa, truncated};
use super::*;
use hickory_proto::op::{Message as Judge, ResponseCode};
use hickory_proto::rr::rdata::{A, NULL};
use hickory_proto::rr::{RData, Record};
use plustwo::dns::Rcode;
use plustwo::forward::ExchangeError;

#[test]
fn identical_questions_are_asked_once() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(100)), |_| None);
    let world = World::new(&[upstream.address]);
    let waiting: Vec<_> = (0..40).map(|_| world.ask("db")).collect();
    for waiting in &waiting {
        assert_eq!(last_octet(&told(waiting)), 1);
    }
    assert_eq!(upstream.asked(), 1);
    let counters = world.counters();
    assert_eq!((counters.exchanges, counters.coalesced), (1, 39));
    // The flight is over once all have been told, and now it is known.
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
    assert_eq!(last_octet(&world.cached("db").expect("kept")), 1);
}

#[test]
fn questions_of_different_types_and_flags_do_not_meet() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(100)), |_| None);
    let world = World::new(&[upstream.address]);
    let db = name("db");
    let asked = ask(&db);
    let asks = [
        asked,
        Ask { qtype: Rtype::AAAA, ..asked },
        Ask { dnssec_ok: true, ..asked },
        Ask { checking_disabled: true, ..asked },
        Ask { context: ContextId(1), ..asked },
    ];
    let waiting: Vec<_> = asks.iter().map(|ask| world.asking.ask(ask, &world.group)).collect();
    waiting.iter().for_each(|waiting| drop(told(waiting).unwrap()));
    assert_eq!((upstream.asked(), world.counters().coalesced), (5, 0));
}

#[test]
fn who_stops_waiting_cancels_nothing() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(100)), |_| None);
    let world = World::new(&[upstream.address]);
    drop(world.ask("db"));
    assert_eq!(last_octet(&world.outcome("db")), 1);
    assert_eq!(upstream.asked(), 1);
}

#[test]
fn a_question_for_the_cache_alone_is_asked_and_tells_nobody() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = World::new(&[upstream.address]);
    let db = name("db");
    let question = world.asking.lanes.question(&ask(&db));
    world.asking.lanes.submit(plustwo::forward::lane::Order::for_cache(question, &world.group, None));
    wait_until("it is known", || world.cached("db").is_some());
    assert_eq!(upstream.asked(), 1);
}

#[test]
fn kept_for_its_ttl_and_counted_down() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = World::new(&[upstream.address]);
    let db = name("db");
    let asked = ask(&db);
    assert!(world.cached("db").is_none());
    world.outcome("db").unwrap();
    let later = world.now().plus(100_000);
    let cached = world.forwarder.cached(&asked, later).expect("kept").unwrap();
    let mut octets = cached.octets().to_vec();
    cached.write_ttls(&mut octets, cached.age(later));
    let ttl = Judge::from_vec(&octets).unwrap().answers[0].ttl;
    // The exchange itself took a moment.
    assert!((195..=200).contains(&ttl), "{ttl}");
    assert!(world.forwarder.cached(&asked, world.now().plus(305_000)).is_none());
    // A context is a world of its own, and so is DO.
    assert!(world.forwarder.cached(&Ask { context: ContextId(1), ..asked }, world.now()).is_none());
    assert!(world.forwarder.cached(&Ask { dnssec_ok: true, ..asked }, world.now()).is_none());
    world.asking.outcome(&Ask { context: ContextId(1), ..asked }, &world.group).unwrap();
    assert_eq!(upstream.asked(), 2);
}

#[test]
fn negative_answers_are_kept_with_their_soa_only() {
    let upstream = Upstream::replying(|query| {
        let mut reply = reply(query, ResponseCode::NXDomain);
        if label(query) == "soa" {
            reply.add_authority(soa(60));
        }
        reply
    });
    let world = World::new(&[upstream.address]);
    assert_eq!(world.outcome("soa").unwrap().rcode(), Rcode::NXDOMAIN);
    let soa = name("soa");
    assert!(world.forwarder.cached(&ask(&soa), world.now().plus(55_000)).is_some());
    assert!(world.forwarder.cached(&ask(&soa), world.now().plus(65_000)).is_none());
    for asked in 2..5 {
        assert_eq!(world.outcome("none").unwrap().rcode(), Rcode::NXDOMAIN);
        assert_eq!(upstream.asked(), asked);
        wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
    }
}

#[test]
fn failures_are_remembered_for_a_while() {
    let upstream = Upstream::replying(|query| reply(query, ResponseCode::ServFail));
    let world = World::new(&[upstream.address]);
    assert_eq!(world.outcome("db").unwrap().rcode(), Rcode::SERVFAIL);
    assert_eq!(world.cached("db").expect("remembered").unwrap().rcode(), Rcode::SERVFAIL);
    assert_eq!(upstream.asked(), 1);
    // Nobody there at all.
    let world = World::new(&[closed_port()]);
    assert_eq!(world.outcome("gone").unwrap_err(), ExchangeError::Unreachable);
    assert_eq!(world.cached("gone").expect("remembered").unwrap_err(), ExchangeError::Unreachable);
    let world = World::new(&[]);
    assert_eq!(world.outcome("db").unwrap_err(), ExchangeError::NoTargets);
    assert!(world.cached("db").is_none());
}

#[test]
fn what_nobody_asked_for_is_not_kept() {
    let upstream = Upstream::replying(|query| {
        let mut reply = address(query, 1);
        let victim = hickory_proto::rr::Name::from_ascii("victim.corp.example.").unwrap();
        let poison = Record::from_rdata(victim, 3600, RData::A(A::new(203, 0, 113, 66)));
        reply.add_answer(poison.clone());
        reply.add_authority(poison.clone());
        reply.add_additional(poison);
        reply
    });
    let world = World::new(&[upstream.address]);
    world.outcome("db").unwrap();
    assert!(world.cached("victim").is_none());
    assert_eq!(last_octet(&world.outcome("victim")), 1, "it was asked for");
    assert_eq!(upstream.asked(), 2);
}

#[test]
fn a_reply_of_64_kib_comes_over_tcp() {
    let large = |query: &Judge| {
        let mut reply = address(query, 1);
        let owner = query.queries[0].name().clone();
        for n in 0..231_u8 {
            // An RRSIG that covers A.
            let rdata = RData::Unknown { code: 46.into(), rdata: NULL::with([&[0, 1][..], &[n; 258]].concat()) };
            reply.add_answer(Record::from_rdata(owner.clone(), 300, rdata));
        }
        reply
    };
    let upstream = Upstream::start(|query| at_once(truncated(query)), move |query| Some(large(query)));
    let world = World::new(&[upstream.address]);
    let reply = world.outcome("db").unwrap();
    assert!(reply.octets().len() > 63_000, "{}", reply.octets().len());
    let judge = Judge::from_vec(reply.octets()).unwrap();
    assert_eq!((judge.answers.len(), judge.edns.is_none()), (232, true));
    let counters = world.counters();
    assert!(counters.sent_udp >= 1 && counters.truncated >= 1, "{counters:?}");
    assert_eq!(counters.sent_stream, 1);
    assert!(world.cached("db").is_some());
}

#[test]
fn lanes_that_stop_tell_whoever_waits() {
    let upstream = Upstream::silent();
    let mut world = World::new(&[upstream.address]);
    let waiting: Vec<_> = ["a", "b", "b"].map(|label| world.ask(label)).into();
    wait_until("all are in flight", || world.counters().coalesced == 1);
    world.asking.stop();
    for waiting in &waiting {
        assert_eq!(told(waiting).unwrap_err(), ExchangeError::Abandoned);
    }
    assert_eq!((world.forwarder.in_flight(), world.forwarder.sockets()), (0, 0));
}

#[test]
fn several_lanes_share_what_they_learn() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let mut world = World::new(&[upstream.address]);
    world.asking = Asking::start(&world.forwarder, 3, T0);
    let labels: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let waiting: Vec<_> = labels.iter().map(|label| world.ask(label)).collect();
    waiting.iter().for_each(|waiting| assert_eq!(last_octet(&told(waiting)), 1));
    assert!(labels.iter().all(|label| world.cached(label).is_some()));
    assert_eq!(world.forwarder.target_reports()[0].answered, 60);
}
