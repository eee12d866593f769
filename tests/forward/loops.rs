//! Questions that come back to us.

use super::upstream::{Over, Upstream, address};
use super::*;
use plustwo::forward::ExchangeError;
use plustwo::forward::loops::LoopProbe;
use std::net::{IpAddr, Ipv4Addr};

/// An address of the loopback from which no program of this host asks by itself.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 42);

#[test]
fn a_target_that_asks_what_it_is_asked_is_told_of_the_loop() {
    let upstream = Upstream::at(ELSEWHERE, |q| Over::Reply(address(q, 1), Duration::from_millis(300)), |_| None);
    let world = World::new(&[upstream.address]);
    let (db, www) = (name("db"), name("www"));
    let client = world.ask("db");
    wait_until("it is asked", || upstream.asked() == 1);
    let back = world.asking.ask_for(ELSEWHERE.into(), &ask(&db), &world.group);
    assert_eq!(told(&back).unwrap_err(), ExchangeError::Loop);
    // Another question of it is none of this, and neither is the same question in another context.
    let other = world.asking.ask_for(ELSEWHERE.into(), &ask(&www), &world.group);
    let elsewhere = Ask { context: ContextId(1), ..ask(&db) };
    let elsewhere = world.asking.ask_for(ELSEWHERE.into(), &elsewhere, &world.group);
    for waiting in [&client, &other, &elsewhere] {
        assert_eq!(last_octet(&told(waiting)), 1);
    }
    assert_eq!(world.counters().loops, 1);
}

#[test]
fn an_address_of_this_host_shows_nothing() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(200)), |_| None);
    let world = World::new(&[upstream.address]);
    let db = name("db");
    let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let waiting = [(); 2].map(|()| world.asking.ask_for(own, &ask(&db), &world.group));
    waiting.iter().for_each(|waiting| assert_eq!(last_octet(&told(waiting)), 1));
    assert_eq!((world.counters().loops, world.counters().coalesced), (0, 1));
}

#[test]
fn a_probe_that_comes_back_shows_a_loop_by_whatever_way() {
    let upstream = Upstream::silent();
    let world = World::new(&[upstream.address]);
    let probe = LoopProbe {
        context: ContextId(0),
        group: Arc::clone(&world.group),
        domain: Name::from_labels([b"corp".as_slice(), b"example"]).unwrap(),
        text: "rule r".to_owned(),
    };
    world.asking.lanes.probe_loops([probe]);
    wait_until("the target is probed", || upstream.asked() > 0);
    let asked = upstream.queries()[0].1.queries[0].name().clone();
    assert!(asked.to_string().ends_with(".corp.example.") && asked.num_labels() == 3, "{asked}");
    // Somebody asks us for that name: by another way, in another context, with other flags.
    let label = asked.to_string();
    let back = name(label.split('.').next().unwrap());
    let back = Ask { context: ContextId(7), dnssec_ok: true, ..ask(&back) };
    assert_eq!(world.asking.outcome(&back, &world.group).unwrap_err(), ExchangeError::Loop);
    assert_eq!(world.counters().loops, 1);
    // When the probe is over, its name is one like any other.
    wait_until("the probe is over", || world.forwarder.in_flight() == 0);
    assert_eq!(world.asking.outcome(&back, &world.group).unwrap_err(), ExchangeError::TimedOut);
}
