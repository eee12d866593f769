//! DNS64 in the real program: what it takes of limits, and what it tells at them.

mod support;
#[path = "support/worlds.rs"]
mod worlds;

use hickory_proto::rr::RData;
use plustwo::dns::Rtype;
use plustwo::serve::handle::{self, Slot};
use plustwo::snapshot::DoorIndex;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::served::{Reply, Served, forwarding_to};
use support::upstream::Behaviour;
use support::world::answering;

/// The IPv6 addresses of an answer.
fn addresses(reply: &Reply) -> Vec<Ipv6Addr> {
    let addresses = reply.message.answers.iter().filter_map(|record| match &record.data {
        RData::AAAA(address) => Some(address.0),
        _ => None,
    });
    addresses.collect()
}

/// One place in flight is enough for both questions; and where it is taken, an address is made of what was said before.
#[test]
fn at_the_limit_an_address_is_made_of_what_was_said_before() {
    let upstream = answering(&[
        "public.example. 300 IN SOA ns.public.example. admin.public.example. 1 2 3 4 300",
        "short.public.example. 1 IN A 198.51.100.1",
    ]);
    let text = forwarding_to(&[upstream.address()]);
    let text =
        text.replace("[[vpc]]\n", "[server]\nworkers = 1\n[limits]\nin_flight = 1\n[[vpc]]\nenable_dns64 = true\n");
    let served = Served::on_loopback(&text);
    let until = Instant::now() + ask::PATIENCE;
    let asked = Question::new("short.public.example", "AAAA");
    let made: Ipv6Addr = "64:ff9b::c633:6401".parse().expect("an address");
    // Whoever looks for loops has the place for a while: then the first question fails, and an address may yet be made.
    // Both answers are known when it takes no question.
    loop {
        let questions = upstream.questions();
        if addresses(&served.ask_for(&asked)) == [made] && upstream.questions() == questions {
            break;
        }
        assert!(Instant::now() < until, "the place is never free:\n{}", served.program.said());
    }
    upstream.behave(Behaviour::Silent);
    // There is no event that tells of the end of its lifetime.
    std::thread::sleep(Duration::from_millis(1_100));
    let other = ask::udp_client(served.client, served.door);
    other.send(&Question::new("other.public.example", "AAAA").octets(1)).expect("it listens");
    // One worker works on it before what follows it.
    let refused = served.ask_for(&Question::new("another.public.example", "AAAA"));
    assert_eq!((&*refused.rcode(), refused.extended_errors()), ("SERVFAIL", vec![0]), "the place is taken");
    for reply in [served.ask_for(&asked), served.ask_over_tcp(&asked)] {
        assert_eq!((addresses(&reply), reply.ttls()), (vec![made], vec![30]));
        assert_eq!(reply.extended_errors(), [3], "a stale answer");
    }
}

/// The reverse name of a made address is a CNAME whatever others say of it: nobody is asked for it.
#[test]
fn nobody_is_asked_for_the_reverse_name_of_a_made_address() {
    let mut model = worlds::small_model(vec![([192, 0, 2, 53], 53).into()]);
    let nibbles = |suffix: &str| format!("1.2.0.0.2.0.0.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.{suffix}.ip6.arpa");
    let (made, other) = (nibbles("b.9.f.f.4.6.0.0"), nibbles("8.b.d.0.1.0.0.2"));
    for (dns64, qname, qtype, expected) in [
        (true, &made, Rtype::PTR, false),
        (true, &other, Rtype::PTR, true),
        (true, &made, Rtype::TXT, true),
        (true, &"www.outside.example".to_owned(), Rtype::AAAA, true),
        (false, &made, Rtype::PTR, true),
    ] {
        model.vpcs[0].dns64 = dns64;
        let snapshot = worlds::snapshot(&model);
        let mut slot = Slot::default();
        let message = worlds::query(1, qname, qtype, true);
        handle::begin(&mut slot, &snapshot, &message, DoorIndex(0), worlds::client(0));
        assert_eq!(handle::first_ask(&slot, &snapshot).is_some(), expected, "{qname} {qtype:?}, DNS64 {dns64}");
    }
}
