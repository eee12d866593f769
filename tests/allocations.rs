//! Nothing is allocated for a query that is answered at once, whatever its answer; and keeping an upstream's reply costs
//! one allocation where it is small.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/worlds.rs"]
mod worlds;

use allocator::Counting;
use plustwo::aws::SoaInNegativeAnswers;
use plustwo::compile::{Contexts, compile};
use plustwo::dns::message::Message;
use plustwo::dns::reply::Transport;
use plustwo::dns::{Class, Rcode, Rtype, TargetGroup, TargetOrder, Ttl};
use plustwo::forward::cache::Lookups;
use plustwo::forward::exchange::{Ending, Exchange, Input, Options, Output, Outputs, QUERY_OCTETS_MAX};
use plustwo::forward::pool::{TargetPool, order};
use plustwo::forward::reply::{TtlLimits, UpstreamReply};
use plustwo::forward::{Ask, ContextId, Forwarder, Millis};
use plustwo::serve::handle::{self, LookedUp, Outcome, Scratch, Slot, Surroundings};
use plustwo::snapshot::{DoorIndex, HealthStates, Snapshot};
use std::cell::Cell;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

thread_local! {
    /// Allocations of this thread so far.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// Counts one; nothing where the thread is ending.
fn count() {
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

/// Allocations of this thread while `work` runs.
fn allocations_of<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

/// What a case must come to, so that it is known to have gone the way it is named after.
struct Expected {
    rcode: Rcode,
    answers: u16,
    authority: u16,
}

/// Answers a query several times with the same slot and scratch, by itself and as one of a batch whose cache lookups go
/// first, and holds all but the first time against zero allocations: that may be where a thread-local of some library is
/// set up. All replies are the same.
fn hold(world: (&Snapshot, &Forwarder), message: &[u8], client: IpAddr, expected: Option<&Expected>, what: &str) {
    let (mut slot, mut scratch, mut out) = (Slot::default(), Scratch::default(), [0; 1232]);
    let mut first_reply = None;
    for (round, looks_up_first) in [false, false, true, true].into_iter().enumerate() {
        out.fill(0);
        let (allocations, outcome) = allocations_of(|| {
            handle::begin(&mut slot, world.0, message, DoorIndex(0), client);
            let now = Millis(1500);
            let mut lookups = Lookups::default();
            if looks_up_first {
                world.1.cached_all(std::iter::once(handle::first_ask(&slot, world.0)), now, &mut lookups);
            }
            let around = Surroundings {
                snapshot: world.0,
                forwarder: world.1,
                now,
                pick: 0x9000_0000,
                transport: Transport::Udp,
                looked_up: if looks_up_first { LookedUp::of(lookups.outcomes[0].as_ref()) } else { LookedUp::NotYet },
                fetched: &[],
            };
            handle::complete(&slot, &mut scratch, &around, message, &mut out)
        });
        assert_eq!(first_reply.get_or_insert(out), &out, "{what}: looked up first: {looks_up_first}");
        match (outcome, expected) {
            (Outcome::Silent, None) => {}
            (Outcome::Reply(reply), Some(expected)) => {
                let count = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
                assert_eq!(reply.rcode, expected.rcode, "{what}");
                assert!(!reply.truncated, "{what}");
                if reply.octets > 12 {
                    assert_eq!((count(6), count(8)), (expected.answers, expected.authority), "{what}");
                }
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
        assert!(round == 0 || allocations == 0, "{what}: {allocations} allocations for one query");
    }
}

#[test]
fn a_negative_answer_that_repeats_another_allocates_nothing() {
    let mut model = worlds::small_model(Vec::new());
    model.compat.soa_in_negative_answers = SoaInNegativeAnswers::First;
    let (snapshot, forwarder) = (worlds::snapshot(&model), worlds::forwarder());
    let (mut slot, mut scratch, mut out) = (Slot::default(), Scratch::default(), [0; 1232]);
    for (round, name) in
        ["a.nothing.corp.example", "A.nothing.corp.example", "b.nothing.corp.example"].iter().enumerate()
    {
        let message = worlds::query(1, name, Rtype::A, true);
        let (allocations, outcome) = allocations_of(|| {
            handle::begin(&mut slot, &snapshot, &message, DoorIndex(0), worlds::client(0));
            let around = Surroundings {
                snapshot: &snapshot,
                forwarder: &forwarder,
                now: Millis(1500),
                pick: 0,
                transport: Transport::Udp,
                looked_up: LookedUp::NotYet,
                fetched: &[],
            };
            handle::complete(&slot, &mut scratch, &around, &message, &mut out)
        });
        assert!(matches!(outcome, Outcome::Reply(reply) if reply.rcode == Rcode::NXDOMAIN), "{outcome:?}");
        // The first carries its SOA, the same in other letters does not, another name's does.
        assert_eq!(out[9], [1, 0, 1][round], "{name}");
        assert!(round == 0 || allocations == 0, "{name}: {allocations} allocations for one query");
    }
}

#[test]
fn the_counter_counts() {
    let (allocations, _) = allocations_of(|| black_box(Vec::<u8>::with_capacity(black_box(10))));
    assert_eq!(allocations, 1);
    let (allocations, ()) = allocations_of(|| {
        black_box([0u8; 10]);
    });
    assert_eq!(allocations, 0);
}

#[test]
fn an_answer_from_here_allocates_nothing() {
    let snapshot = worlds::snapshot(&worlds::small_model(Vec::new()));
    let forwarder = worlds::forwarder();
    let world = (&snapshot, &forwarder);
    let cases = [
        ("a name of a hosted zone", "wWw.cOrp.eXample", Rtype::A, Rcode::NOERROR, 1, 0),
        ("five records", "many.corp.example", Rtype::A, Rcode::NOERROR, 5, 0),
        ("CNAMEs across zones", "chain.corp.example", Rtype::A, Rcode::NOERROR, 3, 0),
        ("a wildcard", "a.b.c.wild.corp.example", Rtype::A, Rcode::NOERROR, 1, 0),
        ("an empty non-terminal", "wild.corp.example", Rtype::A, Rcode::NOERROR, 0, 1),
        ("NXDOMAIN", "a.b.nothing.corp.example", Rtype::A, Rcode::NXDOMAIN, 0, 1),
        ("NODATA", "www.corp.example", Rtype::AAAA, Rcode::NOERROR, 0, 1),
        ("ANY", "www.corp.example", Rtype::ANY, Rcode::NOERROR, 1, 0),
        ("a private name", "ec2.ap-northeast-2.amazonaws.com", Rtype::A, Rcode::NOERROR, 2, 0),
        ("below a private name", "oidc.ec2.ap-northeast-2.amazonaws.com", Rtype::A, Rcode::NXDOMAIN, 0, 1),
        ("a built-in name", "any.localhost", Rtype::A, Rcode::NOERROR, 1, 0),
        ("an IP name", "ip-10-0-0-7.ap-northeast-2.compute.internal", Rtype::A, Rcode::NOERROR, 1, 0),
        (
            "an IP name outside the block",
            "ip-10-9-0-7.ap-northeast-2.compute.internal",
            Rtype::A,
            Rcode::NXDOMAIN,
            0,
            1,
        ),
        ("a reverse name", "7.0.0.10.in-addr.arpa", Rtype::PTR, Rcode::NOERROR, 1, 0),
        ("a reverse name outside the block", "7.0.9.10.in-addr.arpa", Rtype::PTR, Rcode::NXDOMAIN, 0, 1),
        ("a denied name", "some.onion", Rtype::A, Rcode::NXDOMAIN, 0, 1),
        ("nobody to ask", "www.outside.example", Rtype::A, Rcode::REFUSED, 0, 0),
        ("a chain that leaves with nobody to ask", "out.corp.example", Rtype::A, Rcode::NOERROR, 1, 0),
        ("a transfer", "corp.example", Rtype::AXFR, Rcode::REFUSED, 0, 0),
    ];
    for (what, qname, qtype, rcode, answers, authority) in cases {
        for edns in [false, true] {
            let message = worlds::query(0xabcd, qname, qtype, edns);
            let expected = Expected { rcode, answers, authority };
            hold(world, &message, worlds::client(0), Some(&expected), &format!("{what}, EDNS {edns}"));
        }
    }
}

#[test]
fn dns64_allocates_nothing() {
    let mut model = worlds::small_model(Vec::new());
    model.vpcs[0].dns64 = true;
    let snapshot = worlds::snapshot(&model);
    let forwarder = worlds::forwarder();
    let reverse = "7.0.0.0.0.0.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.9.f.f.4.6.0.0.ip6.arpa";
    let cases = [
        ("a made address", "wWw.cOrp.eXample", Rtype::AAAA, Rcode::NOERROR, 1, 0),
        ("five of them", "many.corp.example", Rtype::AAAA, Rcode::NOERROR, 5, 0),
        ("behind CNAMEs", "chain.corp.example", Rtype::AAAA, Rcode::NOERROR, 3, 0),
        ("an address that there is", "any.localhost", Rtype::AAAA, Rcode::NOERROR, 1, 0),
        ("NODATA for both", "wild.corp.example", Rtype::AAAA, Rcode::NOERROR, 0, 1),
        ("NXDOMAIN", "nothing.corp.example", Rtype::AAAA, Rcode::NXDOMAIN, 0, 1),
        ("another type", "www.corp.example", Rtype::A, Rcode::NOERROR, 1, 0),
        ("the reverse name of a made address", reverse, Rtype::PTR, Rcode::NOERROR, 2, 0),
    ];
    for (what, qname, qtype, rcode, answers, authority) in cases {
        for edns in [false, true] {
            let message = worlds::query(0xabcd, qname, qtype, edns);
            let expected = Expected { rcode, answers, authority };
            let world = (&snapshot, &forwarder);
            hold(world, &message, worlds::client(0), Some(&expected), &format!("{what}, EDNS {edns}"));
        }
    }
}

#[test]
fn a_zone_that_falls_through_allocates_nothing() {
    let upstream = worlds::Upstream::start();
    let mut model = worlds::small_model(vec![upstream.address]);
    model.hosted_zones[0].falls_through = true;
    let snapshot = worlds::snapshot(&model);
    let forwarder = worlds::forwarder();
    worlds::fill_cache(&forwarder, &snapshot, &["public.corp.example".to_owned()]);
    for (what, qname, answers, authority) in [
        ("a name of the zone", "www.corp.example", 1, 0),
        ("a wildcard of the zone", "a.wild.corp.example", 1, 0),
        ("NODATA of the zone", "wild.corp.example", 0, 1),
        ("a cached name beneath it", "public.corp.example", 1, 0),
    ] {
        let message = worlds::query(0xabcd, qname, Rtype::A, true);
        let expected = Expected { rcode: Rcode::NOERROR, answers, authority };
        hold((&snapshot, &forwarder), &message, worlds::client(0), Some(&expected), what);
    }
}

#[test]
fn a_routing_policy_allocates_nothing() {
    let forwarder = worlds::forwarder();
    let policies = [
        ("weighted", worlds::Sets::Weighted(3), 1),
        ("failover", worlds::Sets::Failover, 1),
        ("latency", worlds::Sets::Latency, 1),
        ("a tree", worlds::Sets::Tree, 1),
        ("multivalue, all", worlds::Sets::Multivalue(8), 8),
        ("multivalue, eight of twelve", worlds::Sets::Multivalue(12), 8),
    ];
    for (what, sets, answers) in policies {
        for status in [true, false] {
            let health = HealthStates::default();
            let model = worlds::routed_model(10, sets);
            let snapshot = compile(&model, &mut Contexts::default(), &health, worlds::SEED);
            assert!(health.set("check", status), "the world has this check");
            let message = worlds::query(0xabcd, &worlds::sized_name(7), Rtype::A, true);
            let expected = Expected { rcode: Rcode::NOERROR, answers, authority: 0 };
            hold((&snapshot, &forwarder), &message, worlds::client(0), Some(&expected), &format!("{what}, {status}"));
        }
    }
}

#[test]
fn a_refusal_allocates_nothing() {
    let snapshot = worlds::snapshot(&worlds::small_model(Vec::new()));
    let forwarder = worlds::forwarder();
    let world = (&snapshot, &forwarder);
    for edns in [false, true] {
        let message = worlds::query(1, "www.corp.example", Rtype::A, edns);
        let expected = Expected { rcode: Rcode::REFUSED, answers: 0, authority: 0 };
        hold(world, &message, [198, 51, 100, 1].into(), Some(&expected), "a stranger");
    }
    let mut bad_version = worlds::query(1, "www.corp.example", Rtype::A, true);
    let version_at = bad_version.len() - 5;
    bad_version[version_at] = 1;
    let expected = Expected { rcode: Rcode::BADVERS, answers: 0, authority: 0 };
    hold(world, &bad_version, worlds::client(0), Some(&expected), "EDNS version 1");
}

#[test]
fn malformed_octets_allocate_nothing() {
    let snapshot = worlds::snapshot(&worlds::small_model(Vec::new()));
    let forwarder = worlds::forwarder();
    let world = (&snapshot, &forwarder);
    let good = worlds::query(1, "www.corp.example", Rtype::A, true);
    let expected = Expected { rcode: Rcode::FORMERR, answers: 0, authority: 0 };
    for cut in 12..good.len() {
        hold(world, &good[..cut], worlds::client(0), Some(&expected), "cut off");
    }
    let mut notify = good.clone();
    notify[2] = 0x21;
    let not_implemented = Expected { rcode: Rcode::NOTIMP, answers: 0, authority: 0 };
    hold(world, &notify, worlds::client(0), Some(&not_implemented), "NOTIFY");
    let mut reply = good.clone();
    reply[2] |= 0x80;
    hold(world, &reply, worlds::client(0), None, "a reply");
    hold(world, &good[..5], worlds::client(0), None, "five octets");
}

#[test]
fn keeping_a_small_reply_allocates_once() {
    let limits = TtlLimits {
        ttl_max: Ttl::from_wire(3_600),
        negative_ttl_max: Ttl::from_wire(3_600),
        failure_ttl: Ttl::from_wire(5),
    };
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    for (what, addresses, ttl, expected) in [
        ("one address", 1u8, 60u32, 1),
        ("a TTL that is capped", 1, 86_400, 1),
        ("six", 6, 60, 1),
        ("forty", 40, 60, 2),
    ] {
        let mut octets = worlds::query(1, "www.outside.example", Rtype::A, false);
        octets[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, addresses, 0, 0, 0, 1]);
        let address =
            [b"\xc0\x0c\x00\x01\x00\x01".as_slice(), &ttl.to_be_bytes(), b"\x00\x04\x0a\x00\x00\x01"].concat();
        octets.extend(address.repeat(usize::from(addresses)));
        octets.extend_from_slice(opt);
        let (allocations, reply) = allocations_of(|| {
            let message = Message::parse(&octets).expect("well-formed");
            Arc::new(UpstreamReply::new(&message, limits, Millis(0), false).expect("small"))
        });
        assert_eq!(allocations, expected, "{what}");
        assert_eq!((reply.counts(), reply.lifetime().seconds()), ([addresses.into(), 0, 0], ttl.min(3600)), "{what}");
    }
}

#[test]
fn a_cached_reply_allocates_nothing() {
    let upstream = worlds::Upstream::start();
    let snapshot = worlds::snapshot(&worlds::small_model(vec![upstream.address]));
    let forwarder = worlds::forwarder();
    worlds::fill_cache(&forwarder, &snapshot, &["www.outside.example".to_owned()]);
    let world = (&snapshot, &forwarder);
    for edns in [false, true] {
        let direct = worlds::query(1, "Www.Outside.Example", Rtype::A, edns);
        let expected = Expected { rcode: Rcode::NOERROR, answers: 1, authority: 0 };
        hold(world, &direct, worlds::client(0), Some(&expected), &format!("cached, EDNS {edns}"));
        let behind_cname = worlds::query(1, "out.corp.example", Rtype::A, edns);
        let expected = Expected { rcode: Rcode::NOERROR, answers: 2, authority: 0 };
        hold(world, &behind_cname, worlds::client(0), Some(&expected), &format!("cached behind a CNAME, EDNS {edns}"));
    }
}

#[test]
fn a_question_that_one_target_answers_allocates_nothing() {
    let mut rng = rand::rng();
    let group = TargetGroup::do53([1, 2, 3].map(|last| ([192, 0, 2, last], 53).into()));
    let states = TargetPool::new(100).states(&group, &mut rng);
    let ask = Ask {
        context: ContextId(0),
        qname: b"\x03www\x07example\x00",
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    };
    let mut out = Outputs::with_capacity(16);
    for round in 0..20 {
        let now = Millis(round);
        let (allocations, rcode) = allocations_of(|| {
            let candidates = order(&states, TargetOrder::Fastest, now, &mut rng).expect("there is room");
            let mut exchange =
                Exchange::new(&candidates, now, Options { case_randomization: true, ..Options::default() });
            assert!(exchange.step(&ask, Input::Start, now, &mut rng, &mut out).is_none());
            let [Output::Send(attempt)] = out[..] else { panic!("one query: {out:?}") };
            out.clear();
            exchange.set_id(attempt.id, 7);
            let mut query = [0; QUERY_OCTETS_MAX];
            let octets = exchange.write_query(&ask, attempt.id, &mut query);
            // The same with QR and an address: put before the OPT, which ends the query.
            let mut reply = [0; QUERY_OCTETS_MAX + 16];
            let (question, opt) = query[..octets].split_at(12 + ask.qname.len() + 4);
            let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
            let mut at = 0;
            for part in [question, address, opt] {
                reply[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            (reply[2], reply[7]) = (0x81, 1);
            let ending = exchange.step(&ask, Input::Message(attempt.id, &reply[..at]), now, &mut rng, &mut out);
            for output in out.drain(..) {
                if let Output::Learned(target, observation) = output {
                    states[usize::from(target.0)].learn(observation, now);
                }
            }
            match ending {
                Some(Ending::Reply { message, .. }) => message.rcode(),
                other => panic!("not the reply: {other:?}"),
            }
        });
        assert_eq!(rcode, Rcode::NOERROR);
        assert!(round == 0 || allocations == 0, "{allocations} allocations for one question");
    }
}
