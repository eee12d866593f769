//! Which target is asked, and what becomes of those that fail.

use super::upstream::{Over, Upstream, address, at_once, closed_port, distinct, label, truncated};
use super::*;
use plustwo::dns::{Target, TargetOrder, TargetProtocol};
use plustwo::forward::ExchangeError;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn when_tcp_fails_the_next_target_is_asked() {
    let first = Upstream::start(|query| at_once(truncated(query)), |_| None);
    let second = Upstream::replying(|query| address(query, 2));
    let world = World::new(&[first.address, second.address]);
    assert_eq!((last_octet(&world.outcome("db")), second.asked()), (2, 1));
    assert!(first.asked() >= 2, "over UDP, and then over TCP");
}

#[test]
fn a_target_over_tcp_alone_is_never_sent_a_datagram() {
    let upstream = Upstream::start(|query| at_once(address(query, 66)), |query| Some(address(query, 1)));
    let target = Target { protocol: TargetProtocol::Tcp, ..Target::do53(upstream.address) };
    let world = World::of(limits(), TargetGroup { targets: vec![target], order: TargetOrder::default() });
    assert_eq!(last_octet(&world.outcome("db")), 1);
    let counters = world.counters();
    assert_eq!((counters.sent_udp, counters.sent_stream, world.forwarder.sockets()), (0, 1, 0));
}

#[test]
fn a_black_hole_costs_the_first_question_only() {
    let hole = Upstream::silent();
    let good = Upstream::replying(|query| address(query, 2));
    let world = World::new(&[hole.address, good.address]);
    let begun = Instant::now();
    assert_eq!(last_octet(&world.outcome("first")), 2);
    assert!((350..2500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let asked_first = hole.asked();
    let begun = Instant::now();
    for n in 0..25 {
        assert_eq!(last_octet(&world.outcome(&n.to_string())), 2);
    }
    assert!(begun.elapsed().as_millis() < 25 * 350, "{:?}", begun.elapsed());
    // One question looks beside once a second whether it is back.
    let probed = hole.asked() - asked_first;
    assert!(probed as u128 <= 1 + begun.elapsed().as_millis() / 1000, "{probed} in {:?}", begun.elapsed());
    let asked = hole.asked();
    let later = world.later(60_000);
    assert_eq!(last_octet(&later.outcome("probe")), 2);
    wait_until("the black hole is probed", || hole.asked() > asked);
}

#[test]
fn a_lost_datagram_is_sent_again_from_the_same_socket() {
    let lost = AtomicBool::new(true);
    let upstream = Upstream::start(
        move |query| match label(query) == "db" && lost.swap(false, Ordering::Relaxed) {
            true => Over::Silence,
            false => at_once(address(query, 1)),
        },
        |_| None,
    );
    let world = World::new(&[upstream.address]);
    // It is known to answer queries with EDNS, so that cannot be why it is silent.
    world.outcome("www").unwrap();
    assert_eq!(last_octet(&world.outcome("db")), 1);
    let mut asked = upstream.queries();
    asked.retain(|(_, query)| label(query) == "db");
    assert!(asked.len() >= 2, "it is sent again");
    assert_eq!(distinct(&asked).len(), 1, "from the same port under the same id");
}

#[test]
fn a_closed_port_is_noticed_at_once_by_all_who_ask_it() {
    let good = Upstream::replying(|query| address(query, 2));
    let world = World::new(&[closed_port(), good.address]);
    let begun = Instant::now();
    let waiting: Vec<_> = (0..30).map(|n| world.ask(&n.to_string())).collect();
    for waiting in &waiting {
        assert_eq!(last_octet(&told(waiting)), 2);
    }
    assert!(begun.elapsed().as_millis() < 2000, "{:?}", begun.elapsed());
    assert!(world.counters().unreachable >= 1);
    assert_eq!(world.counters().silent, 0, "nobody had to wait for it");
}

#[test]
fn where_all_ports_are_closed_everybody_is_told_soon() {
    let world = World::new(&[closed_port(), closed_port()]);
    let begun = Instant::now();
    let waiting: Vec<_> = (0..100).map(|n| world.ask(&n.to_string())).collect();
    for waiting in &waiting {
        assert_eq!(told(waiting).unwrap_err(), ExchangeError::Unreachable);
    }
    assert!(begun.elapsed().as_millis() < 3500, "{:?}", begun.elapsed());
}

#[test]
fn a_late_reply_is_known_to_be_late() {
    let slow = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(600)), |_| None);
    let good = Upstream::replying(|query| address(query, 2));
    let world = World::new(&[slow.address, good.address]);
    // The slow one is asked, the other answers, and the exchange is over before the slow one has answered twice.
    let waiting: Vec<_> = (0..20).map(|n| world.ask(&n.to_string())).collect();
    waiting.iter().for_each(|waiting| assert!(last_octet(&told(waiting)) <= 2));
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
    let counters = world.counters();
    assert_eq!((counters.mismatched, counters.sockets_suspected), (0, 0), "{counters:?}");
}

#[test]
fn three_hundred_slow_names_are_all_answered() {
    let upstream = Upstream::start(|query| Over::Reply(address(query, 1), Duration::from_millis(1000)), |_| None);
    let world = World::new(&[upstream.address]);
    let waiting: Vec<_> = (0..300).map(|n| world.ask(&n.to_string())).collect();
    for waiting in &waiting {
        assert_eq!(last_octet(&told(waiting)), 1);
    }
}

#[test]
fn an_upstream_over_ipv6() {
    let socket = match std::net::UdpSocket::bind("[::1]:0") {
        Ok(socket) => socket,
        Err(error) => return eprintln!("SKIPPED an_upstream_over_ipv6: no ::1 here: {error}"),
    };
    let upstream = Upstream::on(socket, |query| at_once(address(query, 6)));
    assert_eq!(last_octet(&World::new(&[upstream.address]).outcome("db")), 6);
}
