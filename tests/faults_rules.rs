//! Rules that a forwarder keeps between its clients and its upstreams: what it asks and what it never asks, what it
//! keeps and for how long, and in whose name.

mod support;

use hickory_proto::op::ResponseCode;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question, RD};
use support::bars::{ADDRESS, SERVFAIL_MAX, answers, upstream_address};
use support::netns::Network;
use support::raw;
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Reply, Served, forwarding_to, rule};

const A: u16 = 1;
/// AD among the flags of a header.
const AD: u16 = 0x20;
const SOA: u16 = 6;
const HINFO: u16 = 13;
const OPT: u16 = 41;

/// Serves with one upstream.
fn serve(script: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> (Scripted, Served) {
    let upstream = Scripted::start(script);
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    (upstream, served)
}

/// The OPT of a query or a reply.
fn opt(message: &[u8]) -> Option<raw::RawRecord> {
    raw::records(message).into_iter().find(|record| record.rtype == OPT)
}

/// Waits for a moment that only time brings: what is kept for so long is over.
fn wait(time: Duration) {
    std::thread::sleep(time);
}

// ---------------------------------------------------------------------------------------------- what is asked

/// RFC 9715 section 3: what is offered to upstreams fits any path. RFC 6891 section 6.2.6: EDNS is between neighbours.
#[test]
fn the_query_to_an_upstream_is_our_own() {
    /// 192.0.2.0/24 as a client's subnet.
    const SUBNET: [u8; 7] = [0, 1, 24, 0, 192, 0, 2];
    let (upstream, served) = serve(|asked| {
        let mut reply = asked.address(ADDRESS);
        // An option of the upstream's, behind the OPT's fixed part, at the very end of the message.
        let at = reply.len() - 2;
        reply.splice(at.., [0, 6, 0xfd, 0xe9, 0, 2, 0xca, 0xfe]);
        vec![Act::Send(reply)]
    });
    for (number, edns) in [None, Some(512), Some(1232), Some(4096), Some(65_535)].into_iter().enumerate() {
        let name = format!("n{number}.public.example");
        let mut query = Question { edns: edns.map(|octets| (octets, 0, false)), ..Question::new(&name, "A") }.octets(7);
        if edns.is_some() {
            // The client's option, of a type that nobody knows, a cookie, and its subnet.
            let at = query.len() - 2;
            query.splice(at.., [0, 18 + 4 + SUBNET.len() as u8]);
            query.extend([0xfd, 0xe8, 0, 2, 1, 2, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
            query.extend([0, 8, 0, SUBNET.len() as u8].into_iter().chain(SUBNET));
        }
        let reply = ask::over_udp(served.client, served.door, &query).expect("a reply");
        assert_eq!(raw::rdatas(&reply, &name, A), [ADDRESS.to_vec()]);
        let told = opt(&reply);
        assert_eq!(told.is_some(), edns.is_some(), "an OPT for an OPT");
        assert!(told.is_none_or(|opt| !contains(&opt.rdata, &[0xca, 0xfe])), "the upstream's option goes no further");
    }
    for asked in upstream.asked() {
        let offered = opt(&asked.octets).expect("EDNS is offered");
        assert_eq!((offered.class, offered.ttl), (1232, 0), "1232 octets, version 0, DO clear");
        assert!(!contains(&offered.rdata, &[1, 2, 3, 4, 5, 6, 7, 8]), "the client's cookie is not ours");
        assert!(!contains(&offered.rdata, &[0xfd, 0xe8]), "nor its option");
        assert!(!contains(&offered.rdata, &SUBNET), "its subnet is nobody's business (RFC 7871)");
        assert_eq!(u16::from_be_bytes([asked.octets[2], asked.octets[3]]), RD | AD, "RD, AD, and nothing else");
    }
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

/// RFC 5625 sections 3 and 4, RFC 3597: any type goes through, there and back, over UDP and TCP.
#[test]
fn any_type_goes_through() {
    let (upstream, served) = serve(|asked| {
        let rtype = u16::from(asked.message.queries[0].query_type());
        vec![Act::Send(octets(&asked.records(&[&format!("@ 300 IN TYPE{rtype} \\# 6 C00C00FF0141")])))]
    });
    for rtype in [108, 258, 1_234, 32_768, 65_280, 65_534] {
        let name = format!("t{rtype}.public.example");
        for reply in [
            served.ask_for(&Question::new(&name, &format!("TYPE{rtype}"))),
            served.ask_over_tcp(&Question::new(&name, &format!("TYPE{rtype}"))),
        ] {
            assert_eq!(reply.rcode(), "NOERROR", "{rtype}: {reply:?}");
            assert_eq!(raw::rdatas(&reply.octets, &name, rtype), [[0xc0, 0x0c, 0, 0xff, 1, 0x41]], "{rtype}");
        }
        assert_eq!(upstream.asked_for(&name), 1, "{rtype}");
    }
}

/// Answers every name, and says that it has validated the answer.
fn validated(asked: &Asked) -> Vec<Act> {
    let mut reply = asked.address(ADDRESS);
    reply[3] |= 0x20;
    vec![Act::Send(reply)]
}

/// RFC 5625 section 6.1: CD is passed on. RFC 6840 sections 5.7 and 5.8: AD comes back to who sets AD or DO, and only of
/// an upstream that nobody can pretend to be, as one on this machine is.
#[test]
fn cd_is_passed_on_and_ad_comes_back_to_who_asks_for_it() {
    let (upstream, served) = serve(validated);
    for (name, flags, dnssec_ok) in [
        ("plain", RD, false),
        ("cd", RD | 0x10, false),
        ("ad", RD | AD, false),
        ("both", RD | 0x30, false),
        ("do", RD, true),
    ] {
        let name = format!("{name}.public.example");
        // From the upstream, and from the cache.
        for _ in 0..2 {
            let edns = Some((1232, 0, dnssec_ok));
            let reply = served.ask_for(&Question { flags, edns, ..Question::new(&name, "A") });
            assert!(reply.is(ADDRESS), "{reply:?}");
            assert_eq!(reply.message.metadata.authentic_data, flags & 0x20 != 0 || dnssec_ok, "{name}");
            assert_eq!(reply.message.metadata.checking_disabled, flags & 0x10 != 0, "{name}");
        }
        let asked = upstream.asked().into_iter().find(|asked| asked.name() == name).expect("it is asked");
        assert_eq!(asked.message.metadata.checking_disabled, flags & 0x10 != 0, "{name}");
    }
}

/// AD of an upstream that is asked in the clear, over a network, is anybody's.
#[test]
fn ad_that_came_in_the_clear_goes_no_further() {
    alone("ad_that_came_in_the_clear_goes_no_further", || {
        let network = Network::new().expect("a network");
        let address = upstream_address(0);
        let _upstream = Scripted::at(address, validated);
        let served = Served::inside(&network, &forwarding_to(&[address]));
        for (name, flags, dnssec_ok) in [("plain", RD, false), ("ad", RD | AD, false), ("do", RD, true)] {
            let name = format!("{name}.public.example");
            let reply =
                served.ask_for(&Question { flags, edns: Some((1232, 0, dnssec_ok)), ..Question::new(&name, "A") });
            assert!(reply.is(ADDRESS) && !reply.message.metadata.authentic_data, "{name}: {reply:?}");
        }
    });
}

/// RFC 4343, RFC 5452: one question, whatever its case.
#[test]
fn one_name_in_many_cases_is_asked_once() {
    let (upstream, served) = serve(answers);
    for name in ["www.public.example", "WWW.public.example", "www.PUBLIC.example", "WwW.pUbLiC.eXaMpLe"] {
        let question = Question::new(name, "A");
        let reply = served.ask_for(&question);
        assert!(reply.is(ADDRESS), "{reply:?}");
        assert_eq!(*raw::question(&reply.octets), question.octets(0)[12..12 + name.len() + 6], "the client's case");
    }
    assert_eq!(upstream.asked_for("www.public.example"), 1);
}

/// Names and types that are answered here, whatever upstreams there are, and their rcodes.
const OWN: [(&str, &str, &str); 15] = [
    ("localhost", "A", "NOERROR"),
    ("localhost", "MX", "NOERROR"),
    ("a.localhost", "AAAA", "NOERROR"),
    ("invalid", "A", "NXDOMAIN"),
    ("a.b.invalid", "A", "NXDOMAIN"),
    ("onion", "A", "NXDOMAIN"),
    ("abc.onion", "AAAA", "NXDOMAIN"),
    ("1.0.0.127.in-addr.arpa", "PTR", "NOERROR"),
    ("4.3.2.127.in-addr.arpa", "PTR", "NXDOMAIN"),
    ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", "PTR", "NOERROR"),
    ("www.corp.example", "A", "NOERROR"),
    ("missing.corp.example", "A", "NXDOMAIN"),
    ("www.corp.example", "TYPE65280", "NOERROR"),
    ("public.example", "AXFR", "REFUSED"),
    ("public.example", "IXFR", "REFUSED"),
];

/// RFC 6303 and 6761: names that are everyone's own. RFC 8482: ANY. And what else is not for upstreams: zone transfers,
/// other classes, queries without RD, other opcodes.
#[test]
fn what_is_never_forwarded() {
    let (upstream, served) = serve(answers);
    for (name, rtype, rcode) in OWN {
        for reply in [served.ask_for(&Question::new(name, rtype)), served.ask_over_tcp(&Question::new(name, rtype))] {
            assert_eq!(reply.rcode(), rcode, "{name} {rtype}: {reply:?}");
        }
    }
    for class in [3, 4, 254, 255, 0, 65_280] {
        let reply = served.ask_for(&Question { class, ..Question::new("www.public.example", "A") });
        assert!(reply.rcode() != "NOERROR" || reply.message.answers.is_empty(), "class {class}: {reply:?}");
    }
    for opcode in [1, 2, 4, 5, 6] {
        let question = Question { flags: RD | opcode << 11, edns: None, ..Question::new("www.public.example", "A") };
        assert_eq!(served.ask_for(&question).rcode(), "NOTIMP", "opcode {opcode}");
    }
    // ANY gets a HINFO, and the upstream no ANY.
    for reply in [
        served.ask_for(&Question::new("www.public.example", "ANY")),
        served.ask_over_tcp(&Question::new("b.example", "ANY")),
    ] {
        let types: Vec<u16> = raw::records(&reply.octets).iter().map(|record| record.rtype).collect();
        assert_eq!((reply.rcode().as_str(), types), ("NOERROR", vec![HINFO, OPT]), "{reply:?}");
    }
    // RD clear: neither is anybody asked, nor is it told what others have asked for.
    assert!(served.ask("known.public.example").is(ADDRESS));
    for name in ["known.public.example", "unknown.public.example"] {
        let reply = served.ask_for(&Question { flags: 0, ..Question::new(name, "A") });
        assert_eq!((reply.rcode().as_str(), reply.message.answers.len()), ("REFUSED", 0), "{name}: {reply:?}");
    }
    // Names that nobody here asked for are the program's own: it looks for loops.
    let asked: Vec<String> = upstream.asked().iter().map(Asked::name).collect();
    assert!(asked.iter().all(|name| !OWN.iter().any(|(own, ..)| own == name)), "{asked:?}");
    assert_eq!(upstream.asked_for("unknown.public.example"), 0);
    let types: Vec<u16> =
        upstream.asked().iter().map(|asked| u16::from(asked.message.queries[0].query_type())).collect();
    assert!(!types.contains(&255), "ANY is not asked on");
    assert_eq!(upstream.asked_for("known.public.example"), 1);
}

// ---------------------------------------------------------------------------------------------- what is kept

/// RFC 2181 section 8: a TTL with its top bit set is 0; and what has no TTL is not kept.
#[test]
fn a_ttl_of_nothing_is_not_kept() {
    let (upstream, served) = serve(|asked| {
        let mut reply = asked.address(ADDRESS);
        let ttl = 12 + raw::question(&reply).len() + 6;
        let of_this_name = match asked.name().as_str() {
            "zero.public.example" => 0,
            "top.public.example" => 0x8000_0000_u32,
            "tops.public.example" => 0x8000_0e10,
            _ => u32::MAX,
        };
        reply[ttl..ttl + 4].copy_from_slice(&of_this_name.to_be_bytes());
        vec![Act::Send(reply)]
    });
    for name in ["zero", "top", "tops", "all"] {
        let name = format!("{name}.public.example");
        for _ in 0..3 {
            let reply = served.ask(&name);
            assert!(reply.is(ADDRESS), "{reply:?}");
            assert_eq!(reply.ttls(), [0], "{name}");
        }
        assert_eq!(upstream.asked_for(&name), 3, "{name}");
    }
}

/// RFC 8767 section 4: TTLs are capped. They count down, and what is over is asked again.
#[test]
fn a_ttl_counts_down_and_ends() {
    let (upstream, served) = serve(|asked| {
        let ttl = if asked.name().starts_with("long") { 2_000_000_000 } else { 2 };
        vec![Act::Send(octets(&asked.records(&[&format!("@ {ttl} IN A 198.51.100.1")])))]
    });
    assert_eq!(served.ask("long.public.example").ttls(), [86_400]);
    assert_eq!(served.ask("short.public.example").ttls(), [2]);
    wait(Duration::from_millis(1_100));
    let long = served.ask("long.public.example").ttls()[0];
    assert!((86_390..86_400).contains(&long), "{long}");
    assert!(served.ask("short.public.example").ttls()[0] <= 1);
    assert_eq!((upstream.asked_for("long.public.example"), upstream.asked_for("short.public.example")), (1, 1));
    wait(Duration::from_millis(1_500));
    assert!(served.ask("short.public.example").ttls()[0] >= 1, "it is asked again");
    assert_eq!(upstream.asked_for("short.public.example"), 2);
}

/// A denial with this SOA TTL and MINIMUM, or without any SOA.
fn denial(asked: &Asked, rcode: ResponseCode, soa: Option<(u32, u32)>) -> Vec<Act> {
    let mut reply = asked.reply(rcode);
    reply.authorities.extend(soa.map(|(ttl, minimum)| {
        asked.record(&format!("public.example. {ttl} IN SOA ns.public.example. root.public.example. 1 2 3 4 {minimum}"))
    }));
    vec![Act::Send(octets(&reply))]
}

/// RFC 2308 sections 3 and 5: a denial lives for the smaller of its SOA's TTL and MINIMUM, an hour at most.
#[test]
fn a_denial_lives_as_long_as_its_soa_says() {
    let (upstream, served) = serve(|asked| {
        let name = asked.name();
        let rcode = if name.starts_with("nx") { ResponseCode::NXDomain } else { ResponseCode::NoError };
        let soa = match name.split('-').nth(1).map(|rest| &rest[..1]) {
            Some("a") => (900, 60),
            Some("b") => (30, 86_400),
            Some("c") => (1_000_000, 1_000_000),
            _ => (1, 1),
        };
        denial(asked, rcode, Some(soa))
    });
    for (kind, rcode) in [("nx", "NXDOMAIN"), ("nodata", "NOERROR")] {
        for (letter, ttl) in [("a", 60), ("b", 30), ("c", 3_600), ("d", 1)] {
            let name = format!("{kind}-{letter}.public.example");
            let reply = served.ask(&name);
            assert_eq!((reply.rcode().as_str(), reply.message.answers.len()), (rcode, 0), "{reply:?}");
            let soa: Vec<u32> =
                raw::records(&reply.octets).iter().filter(|record| record.rtype == SOA).map(|soa| soa.ttl).collect();
            assert_eq!(soa, [ttl], "{name}");
            served.ask(&name);
            assert_eq!(upstream.asked_for(&name), 1, "{name} is kept");
        }
        // NXDOMAIN holds for every type of the name, NODATA for one.
        let name = format!("{kind}-a.public.example");
        let reply = served.ask_for(&Question::new(&name, "AAAA"));
        assert_eq!(reply.rcode(), rcode);
        assert_eq!(upstream.asked_for(&name), if kind == "nx" { 1 } else { 2 }, "{name} of another type");
    }
    wait(Duration::from_millis(1_200));
    for name in ["nx-d.public.example", "nodata-d.public.example"] {
        served.ask(name);
        assert_eq!(upstream.asked_for(name), 2, "{name} is over");
    }
}

/// RFC 2308 section 5: a denial without an SOA is passed on, and not kept for long.
#[test]
fn a_denial_without_soa_is_not_kept_for_long() {
    let (upstream, served) = serve(|asked| {
        let rcode = if asked.name().starts_with("nx") { ResponseCode::NXDomain } else { ResponseCode::NoError };
        denial(asked, rcode, None)
    });
    for (name, rcode) in [("nx.public.example", "NXDOMAIN"), ("nodata.public.example", "NOERROR")] {
        let began = Instant::now();
        while upstream.asked_for(name) < 2 {
            let reply = served.ask(name);
            assert_eq!((reply.rcode().as_str(), reply.message.answers.len()), (rcode, 0), "{reply:?}");
            assert!(began.elapsed() < Duration::from_secs(31), "{name} is kept for long");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// RFC 9520 section 3: failures are remembered for at least a second and at most five minutes; repeats ask nobody.
#[test]
fn failures_do_not_hammer_the_upstream() {
    let (upstream, served) = serve(|asked| match asked.name().as_str() {
        "silent.public.example" => Vec::new(),
        "broken.public.example" => vec![Act::Send(octets(&asked.reply(ResponseCode::ServFail)))],
        "refused.public.example" => vec![Act::Send(octets(&asked.reply(ResponseCode::Refused)))],
        _ => answers(asked),
    });
    for name in ["broken.public.example", "refused.public.example", "silent.public.example"] {
        let reply = served.ask(name);
        assert!(reply.rcode() != "NOERROR" && reply.took < SERVFAIL_MAX, "{name}: {reply:?}");
        let (asked, began) = (upstream.asked_for(name), Instant::now());
        for _ in 0..50 {
            assert_ne!(served.ask(name).rcode(), "NOERROR", "{name}");
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?} for 50 repeats", began.elapsed());
        // One more for each second that this machine made us wait, and none for the rest.
        assert_eq!(upstream.asked_for(name), asked, "{name} is asked again at once");
        let sent = upstream.asked().iter().filter(|asked| asked.name() == name).count();
        assert!(sent <= 15, "{name}: {sent} queries for one question");
        assert!(served.ask("other.public.example").is(ADDRESS), "{name} is about one name");
    }
    // It ends: well before five minutes somebody asks again.
    let (asked, began) = (upstream.asked_for("broken.public.example"), Instant::now());
    while upstream.asked_for("broken.public.example") == asked {
        assert!(began.elapsed() < Duration::from_secs(31), "a failure is remembered for ever");
        served.ask("broken.public.example");
        std::thread::sleep(Duration::from_millis(100));
    }
}

// ---------------------------------------------------------------------------------------------- in whose name

/// An answer with one address, and with much that nobody asked for: it says who is the victim in all sections.
fn poisonous(asked: &Asked, address: [u8; 4], victims: &[&str]) -> Vec<Act> {
    let mut reply = asked.records(&[&format!("@ 300 IN A {}", Ipv4Addr::from(address))]);
    for victim in victims {
        let poison = asked.record(&format!("{victim}. 3600 IN A 203.0.113.66"));
        reply.answers.push(poison.clone());
        reply.authorities.push(poison.clone());
        reply.authorities.push(asked.record(&format!("{victim}. 3600 IN NS {victim}.")));
        reply.additionals.push(poison);
    }
    vec![Act::Send(octets(&reply))]
}

/// RFC 5452 section 6 and MaginotDNS: what one rule's targets say is used for that rule's own questions only, whatever
/// they say besides, and by whatever way a name leads out of it.
#[test]
fn the_answers_of_a_rule_stay_in_the_rule() {
    const VICTIMS: [&str; 6] =
        ["www.public.example", "public.example", "www.corp.example", "www.second.example", "com", "localhost"];
    let upstream = Scripted::start(|asked| vec![Act::Send(asked.address(ADDRESS))]);
    let first = Scripted::start(|asked| match asked.name().as_str() {
        // Out of the rule, with an answer that is not the rule's to give.
        "out.first.example" => {
            let records = ["@ 300 IN CNAME www.public.example.", "www.public.example. 300 IN A 203.0.113.66"];
            vec![Act::Send(octets(&asked.records(&records)))]
        }
        "home.first.example" => {
            let records = ["@ 300 IN CNAME www.corp.example.", "www.corp.example. 300 IN A 203.0.113.66"];
            vec![Act::Send(octets(&asked.records(&records)))]
        }
        _ => poisonous(asked, [198, 51, 100, 11], &VICTIMS),
    });
    let second = Scripted::start(|asked| poisonous(asked, [198, 51, 100, 12], &["www.first.example", "first.example"]));
    let text = forwarding_to(&[upstream.address()])
        + &rule(1, "first.example", &[first.address()])
        + &rule(2, "second.example", &[second.address()]);
    let served = Served::on_loopback(&text);
    let check = |when: &str| {
        for (name, address) in [
            ("www.public.example", ADDRESS),
            ("public.example", ADDRESS),
            ("com", ADDRESS),
            ("www.corp.example", [10, 0, 0, 1]),
            ("www.second.example", [198, 51, 100, 12]),
            ("www.first.example", [198, 51, 100, 11]),
            ("first.example", [198, 51, 100, 11]),
            ("localhost", [127, 0, 0, 1]),
        ] {
            let reply = served.ask(name);
            let found = raw::rdatas(&reply.octets, name, A);
            assert_eq!(found, [address.to_vec()], "{when}: {name}: {reply:?}");
        }
    };
    for name in ["a.first.example", "a.second.example", "out.first.example", "home.first.example"] {
        served.ask(name);
    }
    check("poison first");
    let own = served.ask("home.first.example");
    assert_eq!(raw::rdatas(&own.octets, "www.corp.example", A), [[10, 0, 0, 1]], "our own zone wins: {own:?}");
    // Each is asked for what is its own, and for nothing else.
    assert!(first.asked().iter().all(|asked| asked.name().ends_with("first.example")));
    assert!(second.asked().iter().all(|asked| asked.name().ends_with("second.example")));
    assert!(upstream.asked().iter().all(|asked| !asked.name().ends_with("corp.example")));
    check("and again, out of the cache");
}

/// A reply over TCP with this many addresses: of the name asked, or behind a CNAME.
fn many(asked: &Asked, count: u16, behind_a_cname: bool) -> Vec<Act> {
    if !asked.over_tcp {
        return vec![Act::Send(asked.truncated())];
    }
    let owner = if behind_a_cname { "z.public.example." } else { "@" };
    let addresses = (0..count).map(|n| format!("{owner} 512 IN A 10.1.{}.{}", n >> 8, n & 0xff));
    let cname = behind_a_cname.then(|| "@ 512 IN CNAME z.public.example.".to_owned());
    let lines: Vec<String> = cname.into_iter().chain(addresses).collect();
    vec![Act::Send(octets(&asked.records(&lines.iter().map(String::as_str).collect::<Vec<_>>())))]
}

/// As many records as anybody means are passed on, of the name asked and behind a CNAME; more are refused, and that is
/// remembered.
#[test]
fn answers_have_so_many_records() {
    let upstream = Scripted::start(|asked| {
        let name = asked.name();
        // What looks for loops asks for other names.
        let count = name.trim_start_matches("alias").split('.').next().and_then(|count| count.parse().ok());
        many(asked, count.unwrap_or(1), name.starts_with("alias"))
    });
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    for (name, expected) in [
        ("256.public.example", Some(256)),
        ("alias255.public.example", Some(256)),
        ("257.public.example", None),
        ("alias256.public.example", None),
        ("300.public.example", None),
    ] {
        for when in ["fetched", "out of the cache"] {
            let reply = served.ask_over_tcp(&Question::new(name, "A"));
            let answers = raw::records(&reply.octets).iter().filter(|record| record.section == 1).count();
            match expected {
                Some(count) => assert_eq!((reply.rcode().as_str(), answers), ("NOERROR", count), "{name}, {when}"),
                None => {
                    assert_eq!((reply.rcode().as_str(), answers), ("SERVFAIL", 0), "{name}, {when}");
                    let errors = raw::extended_errors(&reply.octets);
                    assert!(errors.iter().any(|(code, _)| *code == 23), "{name}, {when}: {errors:?}");
                }
            }
        }
        // One over UDP that is truncated, then one over TCP.
        assert_eq!(upstream.asked_for(name), 2, "{name}");
    }
}

/// A reply of 64 KiB whose names all end in one chain of pointers, as long as there is room for: it is broken, costs little
/// to find out, and takes nothing from others.
#[test]
fn a_chain_of_pointers_is_a_broken_name() {
    let upstream = Scripted::start(|asked| match (asked.name().as_str(), asked.over_tcp) {
        ("evil.public.example", true) => vec![Act::Send(pointer_chain(asked))],
        ("evil.public.example", false) => vec![Act::Send(asked.truncated())],
        _ => vec![Act::Send(asked.address(ADDRESS))],
    });
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    let reply = served.ask("evil.public.example");
    assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
    assert!(served.ask("www.public.example").is(ADDRESS));
}

/// Such a reply: one record holds the chain, each pointer leading to the one before it, and the others belong to its end.
fn pointer_chain(asked: &Asked) -> Vec<u8> {
    let mut reply = asked.octets[..2].to_vec();
    reply.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    reply.extend_from_slice(raw::question(&asked.octets));
    reply.extend_from_slice(&[0xc0, 12, 0xff, 0x00, 0, 1, 0, 0, 1, 0]);
    let pointers = (0x3ff0 - reply.len() - 2) / 2;
    reply.extend_from_slice(&(2 * pointers as u16).to_be_bytes());
    let mut target = 12_u16;
    for _ in 0..pointers {
        let here = reply.len() as u16;
        reply.extend_from_slice(&(0xc000 | target).to_be_bytes());
        target = here;
    }
    // Name servers in the additional section, each with two names at the end of the chain.
    let mut count = 0_u16;
    while reply.len() < 65_000 {
        reply.extend_from_slice(&(0xc000 | target).to_be_bytes());
        reply.extend_from_slice(&[0, 2, 0, 1, 0, 0, 1, 0, 0, 2]);
        reply.extend_from_slice(&(0xc000 | target).to_be_bytes());
        count += 1;
    }
    reply[7] = 1;
    reply[10..12].copy_from_slice(&count.to_be_bytes());
    reply
}

/// A rule with new targets is a new world: nothing that the old ones said is used again.
#[test]
fn new_targets_start_afresh() {
    let old = Scripted::start(|asked| vec![Act::Send(asked.address([198, 51, 100, 21]))]);
    let new = Scripted::start(|asked| vec![Act::Send(asked.address([198, 51, 100, 22]))]);
    let text = |target: &Scripted| forwarding_to(&[]) + &rule(1, "first.example", &[target.address()]);
    let served = Served::on_loopback(&text(&old));
    assert!(served.ask("www.first.example").is([198, 51, 100, 21]));
    served.reload(&text(&new));
    assert!(served.ask("www.first.example").is([198, 51, 100, 22]));
    served.reload(&text(&old));
    let reply = served.ask("www.first.example");
    assert!(reply.is([198, 51, 100, 21]), "{reply:?}");
}

// ---------------------------------------------------------------------------------------------- large answers

/// RFC 7766 sections 5 and 6: what a datagram does not hold comes over TCP, up to the 65,535 octets of a message; many
/// at once on one connection, each whole. RFC 5625 section 4.4: nothing is cut off without a word.
#[test]
fn the_largest_answers_come_whole() {
    /// Octets of the rdata of each record, and how many fill a message.
    const RDATA_OCTETS: usize = 250;
    const RECORDS: usize = 245;
    let script = |asked: &Asked| {
        if !asked.over_tcp {
            return vec![Act::Send(asked.truncated())];
        }
        // By hand, for the judge takes a second for so many records.
        let mut reply = asked.octets[..12 + raw::question(&asked.octets).len()].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, RECORDS as u8, 0, 0, 0, 0]);
        for number in 0..RECORDS {
            reply.extend_from_slice(&[0xc0, 12, 0xff, 0, 0, 1, 0, 0, 1, 44, 0, RDATA_OCTETS as u8]);
            reply.extend_from_slice(&[number as u8; RDATA_OCTETS]);
        }
        vec![Act::Send(reply)]
    };
    let (upstream, served) = serve(script);
    let question = |number: u16| Question::new(&format!("n{number}.public.example"), "TYPE65280");
    let mut stream = ask::tcp_client(served.client, served.door).expect("a connection");
    for number in 0..10 {
        ask::send_framed(&mut stream, &question(number).octets(number)).expect("it listens");
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let reply = ask::receive_framed(&mut stream).expect("a reply");
        let number = u16::from_be_bytes([reply[0], reply[1]]);
        assert!(seen.insert(number), "{number} comes twice");
        let rdatas = raw::rdatas(&reply, &question(number).name, 65_280);
        let expected = (RECORDS, RECORDS * RDATA_OCTETS);
        assert_eq!((rdatas.len(), rdatas.concat().len()), expected, "{:?}", raw::extended_errors(&reply));
        assert!(reply.len() > 64_000, "{} octets", reply.len());
        assert_eq!(reply[2] & 2, 0, "TC is clear");
    }
    // A datagram says that it is not all, however large a datagram the client would take.
    for edns in [None, Some((1232, 0, false)), Some((65_535, 0, false))] {
        let reply: Reply = served.ask_for(&Question { edns, ..question(3) });
        assert!(reply.message.metadata.truncation, "{reply:?}");
        let room = if edns.is_some() { 1232 } else { 512 };
        assert!(reply.octets.len() <= room, "{} octets", reply.octets.len());
    }
    assert_eq!(upstream.asked_for("n3.public.example"), 2, "once over UDP, once over TCP");
}

/// Clients at other addresses, over other transports, get the same from the cache.
#[test]
fn what_is_kept_is_for_all_clients_of_the_view() {
    let (upstream, served) = serve(answers);
    for client in [[127, 0, 0, 1], [127, 0, 0, 9], [127, 8, 7, 6]].map(|octets| IpAddr::V4(Ipv4Addr::from(octets))) {
        let query = Question::new("www.public.example", "A").octets(3);
        for reply in [ask::over_udp(client, served.door, &query), ask::over_tcp(client, served.door, &query)] {
            assert_eq!(raw::rdatas(&reply.expect("a reply"), "www.public.example", A), [ADDRESS.to_vec()]);
        }
    }
    assert_eq!(upstream.asked_for("www.public.example"), 1);
}
