//! Answers past their TTL (RFC 8767): told while no upstream answers, marked, in time, and not for ever.

mod support;

use hickory_proto::op::ResponseCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::bars::{ADDRESS, SERVFAIL_MAX, is_servfail_with_a_reason};
use support::netns::{Network, UPSTREAMS};
use support::raw;
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Reply, Served, forwarding_to};

/// A client hears what is stale within this: 1.8 s (RFC 8767 section 5), and what a busy machine adds.
const STALE_MAX: Duration = Duration::from_millis(2_300);
/// And once it is known that nobody answers, at once.
const KNOWN_STALE_MAX: Duration = Duration::from_millis(200);
/// Extended errors (RFC 8914): Stale Answer, and Stale NXDOMAIN Answer.
const STALE: u16 = 3;
const STALE_NXDOMAIN: u16 = 19;
/// The TTL that stale records are told with at most, in seconds (RFC 8767 section 4).
const STALE_TTL_MAX: u32 = 30;
/// A TTL of one second is over after this.
const OVER: Duration = Duration::from_millis(1_300);

/// Answers for a second; denies what begins with `nx`; keeps `long` for five minutes.
fn briefly(asked: &Asked) -> Vec<Act> {
    let name = asked.name();
    if name.starts_with("nx") {
        let mut reply = asked.reply(ResponseCode::NXDomain);
        let soa = "public.example. 1 IN SOA ns.public.example. root.public.example. 1 2 3 4 1";
        reply.authorities.push(asked.record(soa));
        return vec![Act::Send(octets(&reply))];
    }
    let ttl = if name.starts_with("long") { 300 } else { 1 };
    vec![Act::Send(octets(&asked.records(&[&format!("@ {ttl} IN A 198.51.100.1")])))]
}

/// Whether it is the address, past its TTL, and says so.
fn is_stale(reply: &Reply) -> bool {
    reply.is(ADDRESS)
        && reply.extended_errors().contains(&STALE)
        && reply.ttls().iter().all(|ttl| (1..=STALE_TTL_MAX).contains(ttl))
}

#[test]
fn stale_answers_while_all_targets_are_in_a_black_hole() {
    alone("stale_answers_while_all_targets_are_in_a_black_hole", || {
        let network = Network::new().expect("a network");
        let addresses = [0, 1].map(support::bars::upstream_address);
        let upstreams = addresses.map(|address| Scripted::at(address, briefly));
        let served = Served::inside(&network, &forwarding_to(&addresses));
        let names: Vec<String> = (0..10).map(|number| format!("n{number}.public.example")).collect();
        for name in &names {
            let reply = served.ask(name);
            assert!(reply.is(ADDRESS) && reply.extended_errors().is_empty(), "{reply:?}");
        }
        assert!(served.ask("long.public.example").is(ADDRESS));
        assert_eq!(served.ask("nx.public.example").rcode(), "NXDOMAIN");
        network.black_hole(&UPSTREAMS).expect("rules");
        std::thread::sleep(OVER);
        for (number, name) in names.iter().enumerate() {
            let reply = served.ask(name);
            assert!(is_stale(&reply), "{name}: {reply:?}");
            assert!(reply.took < STALE_MAX, "{name}: {:?}", reply.took);
            // Asked again it is told at once, over TCP too.
            if number == 0 {
                for again in [served.ask(name), served.ask_over_tcp(&Question::new(name, "A"))] {
                    assert!(is_stale(&again) && again.took < KNOWN_STALE_MAX, "{again:?}");
                }
            }
        }
        let denied = served.ask("nx.public.example");
        assert!(denied.rcode() == "NXDOMAIN" && denied.extended_errors().contains(&STALE_NXDOMAIN), "{denied:?}");
        assert!(denied.took < STALE_MAX, "{:?}", denied.took);
        // What is not over is not stale, and what was never known is a failure with a reason.
        let reply = served.ask("long.public.example");
        assert!(reply.is(ADDRESS) && reply.extended_errors().is_empty(), "{reply:?}");
        let reply = served.ask("never.public.example");
        assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
        // Who asks without EDNS hears no extended error, but the answer.
        let reply = served.ask_for(&Question { edns: None, ..Question::new(&names[3], "A") });
        assert!(reply.is(ADDRESS) && reply.message.edns.is_none(), "{reply:?}");
        // The upstreams are back: within the half minute that a failure counts (RFC 8767 section 5), so are they here.
        network.heal().expect("no rules");
        let back = Instant::now();
        while !served.ask(&names[0]).extended_errors().is_empty() {
            assert!(back.elapsed() < Duration::from_secs(35), "stale for ever");
            std::thread::sleep(Duration::from_millis(250));
        }
        drop(upstreams);
    });
}

#[test]
fn stale_answers_while_an_upstream_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = {
        let fails = Arc::clone(&fails);
        Scripted::start(move |asked| match fails.load(Ordering::SeqCst) {
            true => vec![Act::Send(octets(&asked.reply(ResponseCode::ServFail)))],
            false => briefly(asked),
        })
    };
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    assert!(served.ask("www.public.example").is(ADDRESS));
    fails.store(true, Ordering::SeqCst);
    std::thread::sleep(OVER);
    let reply = served.ask("www.public.example");
    assert!(is_stale(&reply) && reply.took < STALE_MAX, "{reply:?}");
    let asked = upstream.asked_for("www.public.example");
    for _ in 0..20 {
        assert!(is_stale(&served.ask("www.public.example")));
    }
    assert_eq!(upstream.asked_for("www.public.example"), asked, "a failure is not looked for again at once");
    assert_eq!(served.ask("never.public.example").rcode(), "SERVFAIL");
}

/// NXDOMAIN is an answer: it takes the place of what was known before.
#[test]
fn a_name_that_is_gone_is_not_stale() {
    let gone = Arc::new(AtomicBool::new(false));
    let upstream = {
        let gone = Arc::clone(&gone);
        Scripted::start(move |asked| match gone.load(Ordering::SeqCst) {
            true => vec![Act::Send(octets(&asked.reply(ResponseCode::NXDomain)))],
            false => briefly(asked),
        })
    };
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    assert!(served.ask("www.public.example").is(ADDRESS));
    gone.store(true, Ordering::SeqCst);
    std::thread::sleep(OVER);
    let reply = served.ask("www.public.example");
    assert_eq!((reply.rcode().as_str(), raw::extended_errors(&reply.octets)), ("NXDOMAIN", vec![]));
}

/// `serve_stale = 0`: what is over is over.
#[test]
fn stale_answers_can_be_switched_off() {
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = {
        let fails = Arc::clone(&fails);
        Scripted::start(move |asked| if fails.load(Ordering::SeqCst) { Vec::new() } else { briefly(asked) })
    };
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + "[cache]\nserve_stale = 0\n"));
    assert!(served.ask("www.public.example").is(ADDRESS));
    fails.store(true, Ordering::SeqCst);
    std::thread::sleep(OVER);
    let reply = served.ask("www.public.example");
    assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
}

/// A name that takes a recursive server long says nothing about others, also where it is all that is asked for a while:
/// they are not stale.
#[test]
fn one_slow_name_makes_no_other_answer_stale() {
    /// Longer than any target may be silent before others are asked, and shorter than an exchange.
    const SLOW: Duration = Duration::from_secs(2);
    let script = |asked: &Asked| match asked.name().starts_with("slow") {
        true => vec![Act::SendLater(SLOW, asked.address(ADDRESS))],
        false => briefly(asked),
    };
    let upstream = Scripted::start(script);
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    assert!(served.ask("www.public.example").is(ADDRESS));
    std::thread::sleep(OVER);
    let client = ask::udp_client(served.client, served.door);
    client.send(&Question::new("slow.public.example", "A").octets(7)).expect("it listens");
    std::thread::sleep(SLOW / 2);
    let reply = served.ask("www.public.example");
    assert!(reply.is(ADDRESS) && reply.extended_errors().is_empty(), "{reply:?}");
    assert_eq!(ask::receive(&client).expect("a reply")[3] & 15, 0, "it is answered in the end");
    assert!(!served.program.said().contains("does not answer"), "{}", served.program.said());
}

/// The same where what is still asked for could not be fetched again before it was over.
#[test]
fn a_renewal_that_fails_makes_nothing_stale_where_that_is_off() {
    /// Seconds that the answers live.
    const TTL: u64 = 10;
    let fails = Arc::new(AtomicBool::new(false));
    let upstream = {
        let fails = Arc::clone(&fails);
        Scripted::start(move |asked| match fails.load(Ordering::SeqCst) {
            true => vec![Act::Send(octets(&asked.reply(ResponseCode::ServFail)))],
            false => vec![Act::Send(octets(&asked.records(&[&format!("@ {TTL} IN A 198.51.100.1")])))],
        })
    };
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + "[cache]\nserve_stale = 0\n"));
    let began = Instant::now();
    assert!(served.ask("www.public.example").is(ADDRESS));
    fails.store(true, Ordering::SeqCst);
    let asked = upstream.asked_for("www.public.example");
    while upstream.asked_for("www.public.example") == asked {
        assert!(began.elapsed() < Duration::from_secs(TTL + 2), "it was not to be renewed");
        served.ask("www.public.example");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(TTL * 1_000 + 500).saturating_sub(began.elapsed()));
    let reply = served.ask("www.public.example");
    assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
}

/// RFC 2308 section 2.2, RFC 9520 section 2: servers that say only who else might know have failed.
#[test]
fn referrals_of_all_targets_are_a_failure() {
    let is_lame = Arc::new(AtomicBool::new(false));
    let upstream = {
        let is_lame = Arc::clone(&is_lame);
        Scripted::start(move |asked| match is_lame.load(Ordering::SeqCst) {
            true => {
                let mut reply = asked.reply(ResponseCode::NoError);
                reply.authorities.push(asked.record(". 300 IN NS a.root-servers.example."));
                vec![Act::Send(octets(&reply))]
            }
            false => briefly(asked),
        })
    };
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    assert!(served.ask("www.public.example").is(ADDRESS));
    is_lame.store(true, Ordering::SeqCst);
    std::thread::sleep(OVER);
    for name in ["www.public.example", "never.public.example"] {
        let mut asked = None;
        for _ in 0..3 {
            let reply = served.ask(name);
            let is_right = if name.starts_with("www") { is_stale(&reply) } else { is_servfail_with_a_reason(&reply) };
            assert!(is_right, "{reply:?}");
            let so_often = *asked.get_or_insert_with(|| upstream.asked_for(name));
            assert_eq!(upstream.asked_for(name), so_often, "{name}: a failure is not looked for again at once");
        }
    }
}
