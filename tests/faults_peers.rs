//! Real authorities behind: unbound, NSD, BIND and Knot with a signed zone of the test's own. What they say arrives
//! octet for octet, over UDP, TCP, TLS and HTTPS, with DNSSEC and without; and while they are away, stopped or back
//! again.

mod support;

use hickory_proto::op::ResponseCode;
use std::time::{Duration, Instant};
use support::ask::Question;
use support::bars::{FIRST_ANSWER_MAX, RETURN_MAX, SERVFAIL_MAX, is_servfail_with_a_reason};
use support::peers::{
    Encrypted, HUGE_RECORDS, LARGE_STRINGS, Peer, SERVER_NAME, SERVICE_RDATA, Serving, UNKNOWN_RDATA, ZONE, text_rdata,
};
use support::raw;
use support::script::{Act, Scripted, octets};
use support::served::{Reply, Served, forwarding_to, rule};

const A: u16 = 1;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const OPT: u16 = 41;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;

/// The address of `www`.
const WWW: [u8; 4] = [192, 168, 7, 1];

/// A question of the zone.
fn question(label: &str, rtype: &str) -> Question {
    Question::new(&format!("{label}.{ZONE}"), rtype)
}

/// The same with DO.
fn with_do(question: Question) -> Question {
    Question { edns: Some((1232, 0, true)), ..question }
}

/// How many records of a type stand in a section: 1 to 3 for answer, authority, additional.
fn count(reply: &Reply, section: u8, rtype: u16) -> usize {
    raw::records(&reply.octets).iter().filter(|record| (record.section, record.rtype) == (section, rtype)).count()
}

/// The types of a reply besides its OPT.
fn types(reply: &Reply) -> Vec<u16> {
    raw::records(&reply.octets).iter().map(|record| record.rtype).filter(|rtype| *rtype != OPT).collect()
}

/// The program, forwarding the zone to a peer, with another line of `[upstream]`.
fn serve_with(line: &str, serving: &Serving) -> Served {
    let text = forwarding_to(&[]).replace("targets = []", &format!("targets = []\n{line}"));
    Served::on_loopback(&(text + &rule(1, ZONE, &[serving.address])))
}

/// Starts a peer and the program that forwards the zone to it by a rule; none where a tool is missing.
fn start(peer: Peer) -> Option<(Serving, Served)> {
    let serving = Serving::start(peer)?;
    let served = Served::on_loopback(&(forwarding_to(&[]) + &rule(1, ZONE, &[serving.address])));
    Some((serving, served))
}

/// All that is asked of a peer.
fn ask_all(peer: Peer) {
    let Some((_serving, served)) = start(peer) else { return };
    addresses_and_denials(&served);
    large_texts(&served);
    what_nobody_knows(&served);
    with_dnssec_and_without(&served);
}

#[test]
fn unbound_behind() {
    ask_all(Peer::Unbound);
}

#[test]
fn nsd_behind() {
    ask_all(Peer::Nsd);
}

#[test]
fn bind_behind() {
    ask_all(Peer::Bind);
}

#[test]
fn knot_behind() {
    ask_all(Peer::Knot);
}

/// Names in random case: every one of them answers as before.
#[test]
fn peers_asked_in_random_case() {
    for peer in [Peer::Unbound, Peer::Nsd, Peer::Bind, Peer::Knot] {
        let Some(serving) = Serving::start(peer) else { return };
        let served = serve_with("case_randomization = true", &serving);
        addresses_and_denials(&served);
        large_texts(&served);
        what_nobody_knows(&served);
        with_dnssec_and_without(&served);
    }
}

/// RFC 7873: BIND wants its cookie back, and answers nothing over UDP before it has it.
#[test]
fn bind_that_requires_cookies() {
    let Some(serving) = Serving::start_with(Peer::Bind, " require-server-cookie yes;\n") else { return };
    for line in ["", "cookies = true", "cookies = false"] {
        let served = serve_with(line, &serving);
        addresses_and_denials(&served);
        with_dnssec_and_without(&served);
    }
}

/// Twice each: from the peer, and from the cache.
fn addresses_and_denials(served: &Served) {
    for _ in 0..2 {
        for reply in [served.ask_for(&question("www", "A")), served.ask_over_tcp(&question("www", "A"))] {
            assert!(reply.is(WWW), "{reply:?}");
            assert!(!reply.message.metadata.authoritative, "an authority's AA is not ours");
            assert!(reply.message.metadata.recursion_available);
        }
        // The client's case comes back, and asks nobody a second time.
        let mixed = question("wWw", "A");
        let reply = served.ask_for(&mixed);
        assert!(reply.is(WWW), "{reply:?}");
        assert_eq!(raw::question(&reply.octets)[..5], *b"\x03wWw\x05");
        let reply = served.ask_for(&question("alias", "A"));
        assert_eq!((reply.rcode().as_str(), reply.addresses().len(), reply.ttls().len()), ("NOERROR", 1, 2));
        let reply = served.ask_for(&question("a.b.wild", "A"));
        assert_eq!(reply.addresses(), [std::net::Ipv4Addr::new(192, 168, 7, 9)]);
        let nodata = served.ask_for(&question("www", "AAAA"));
        assert_eq!((nodata.rcode().as_str(), types(&nodata)), ("NOERROR", vec![SOA]));
        let missing = served.ask_for(&question("missing", "A"));
        assert_eq!((missing.rcode().as_str(), types(&missing)), ("NXDOMAIN", vec![SOA]));
        assert_eq!((count(&missing, 2, SOA), count(&nodata, 2, SOA)), (1, 1));
        // Names in rdata of old types may come compressed; what is passed on says the same name.
        let reply = served.ask_for(&question("mail", "MX"));
        let message = &reply.message;
        assert_eq!(message.answers.len(), 1, "{reply:?}");
        assert_eq!(message.answers[0].data.to_string(), format!("10 mx.mail.{ZONE}."));
        assert_eq!(count(&reply, 1, MX), 1);
        let any = served.ask_for(&question("www", "ANY"));
        assert_eq!((any.rcode().as_str(), types(&any)), ("NOERROR", vec![13]), "a HINFO (RFC 8482)");
    }
}

/// What does not fit into a datagram comes whole over TCP, from the peer to us and from us to the client.
fn large_texts(served: &Served) {
    for (label, records, strings) in [("large", LARGE_STRINGS, 1), ("huge", HUGE_RECORDS, 3)] {
        let asked = question(label, "TXT");
        let expected: Vec<Vec<u8>> = (0..records).map(|number| text_rdata(number, strings)).collect();
        let over_udp = served.ask_for(&asked);
        assert!(over_udp.message.metadata.truncation && over_udp.octets.len() <= 1232, "{label}: {over_udp:?}");
        let over_tcp = served.ask_over_tcp(&asked);
        assert!(!over_tcp.message.metadata.truncation);
        assert_eq!(raw::rdatas(&over_tcp.octets, &asked.name, TXT), expected, "{label}");
    }
}

/// Types and parameters that nobody knows come octet for octet.
fn what_nobody_knows(served: &Served) {
    let expected: [(&str, &str, &[u8]); 3] =
        [("odd", "TYPE65280", &UNKNOWN_RDATA), ("svc", "HTTPS", SERVICE_RDATA), ("svc", "SVCB", SERVICE_RDATA)];
    for _ in 0..2 {
        for (label, rtype, rdata) in expected {
            let asked = question(label, rtype);
            for reply in [served.ask_for(&asked), served.ask_over_tcp(&asked)] {
                let found = raw::rdatas(&reply.octets, &asked.name, asked.rtype);
                assert_eq!(found, [rdata.to_vec()], "{label} {rtype}: {reply:?}");
            }
        }
    }
}

/// Signatures come to who asks for them and to nobody else, whoever of the two came first.
fn with_dnssec_and_without(served: &Served) {
    for (first, second) in [("sig1.wild", "sig2.wild"), ("ns", "mx.mail")] {
        for (label, plain_first) in [(first, true), (second, false)] {
            let (plain, signed) = (question(label, "A"), with_do(question(label, "A")));
            let order = if plain_first { [&plain, &signed, &plain] } else { [&signed, &plain, &signed] };
            for asked in order {
                let wants = asked.edns.is_some_and(|(_, _, dnssec_ok)| dnssec_ok);
                let reply = served.ask_for(asked);
                assert_eq!(count(&reply, 1, A), 1, "{reply:?}");
                assert_eq!(count(&reply, 1, RRSIG), usize::from(wants), "{label}, DO {wants}: {reply:?}");
                assert!(!reply.message.metadata.authentic_data, "nothing is validated here: {reply:?}");
                let opt = raw::records(&reply.octets).into_iter().find(|record| record.rtype == OPT);
                let opt = opt.expect("an OPT for an OPT");
                assert_eq!(opt.ttl & 0x8000 != 0, wants, "DO is copied");
            }
        }
    }
    let missing = served.ask_for(&with_do(question("nobody", "A")));
    assert_eq!(missing.rcode(), "NXDOMAIN");
    assert!(count(&missing, 2, NSEC) >= 1 && count(&missing, 2, RRSIG) >= 2, "the denial is proven: {missing:?}");
    assert_eq!(types(&served.ask_for(&question("nobody", "A"))), [SOA], "and to others it is not");
    // Who asks for the type itself gets it without DO too.
    let reply = served.ask_over_tcp(&Question::new(ZONE, "DNSKEY"));
    let key = raw::rdatas(&reply.octets, ZONE, 48);
    assert_eq!(key.len(), 1, "{reply:?}");
    assert_eq!(key[0][..4], [1, 1, 3, 13], "a key-signing key of algorithm 13");
}

/// One that is killed, stopped or started again: SERVFAIL says why, and answers are back with it.
#[test]
fn a_peer_that_comes_and_goes() {
    let Some((mut serving, served)) = start(Peer::Knot) else { return };
    let ask = |label: &str| served.ask_for(&question(&format!("{label}.wild"), "A"));
    assert_eq!(ask("before").rcode(), "NOERROR");
    serving.kill();
    let reply = ask("killed");
    assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
    serving.start_again();
    await_answer("back", Instant::now(), &ask);
    serving.stop();
    let reply = ask("stopped");
    assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
    serving.go_on();
    await_answer("again", Instant::now(), &ask);
}

/// Asks for one new name after the other until there is an answer.
fn await_answer(label: &str, since: Instant, ask: &impl Fn(&str) -> Reply) {
    for number in 0.. {
        let reply = ask(&format!("{label}{number}"));
        if reply.rcode() == "NOERROR" {
            return;
        }
        assert!(since.elapsed() < RETURN_MAX, "{label}: no answer after {:?}: {reply:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two peers of different makes, one of which is killed and later started again: nobody is without an answer.
#[test]
fn one_of_two_peers_dies() {
    let (Some(mut first), Some(second)) = (Serving::start(Peer::Knot), Serving::start(Peer::Bind)) else { return };
    let served = Served::on_loopback(&(forwarding_to(&[]) + &rule(1, ZONE, &[first.address, second.address])));
    for turn in 0..3 {
        for number in 0..20 {
            let reply = served.ask_for(&question(&format!("n{turn}-{number}.wild"), "A"));
            assert_eq!(reply.rcode(), "NOERROR", "{turn}: {reply:?}");
            assert!(reply.took < FIRST_ANSWER_MAX, "{turn}: {:?}", reply.took);
        }
        match turn {
            0 => first.kill(),
            1 => first.start_again(),
            _ => {}
        }
    }
}

/// How a peer is asked encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tls,
    Https,
}

impl Protocol {
    /// The targets of a rule that asks a peer so, its certificate being for this name.
    fn target(self, encrypted: &Encrypted, server_name: &str) -> String {
        let (at, protocol) = match self {
            Self::Tls => (encrypted.tls, "DoT"),
            Self::Https => (encrypted.https, "DoH"),
        };
        format!(
            "{{ ip = \"{}\", port = {}, protocol = \"{protocol}\", server_name_indication = \"{server_name}\" }}",
            at.ip(),
            at.port()
        )
    }
}

/// The program, forwarding the zone to these targets by a rule, and trusting who signed the peer's certificate.
fn serve_encrypted(targets: &[String], roots: &str) -> Served {
    let text = forwarding_to(&[]).replace("targets = []", "targets = []\ntls_roots = \"ca.pem\"")
        + &rule(1, ZONE, &[]).replace("targets = []", &format!("targets = [{}]", targets.join(", ")));
    Served::on_loopback_beside(&text, &[("ca.pem", roots)])
}

/// All that is asked of a peer, encrypted.
fn ask_all_encrypted(peer: Peer, protocol: Protocol) {
    let Some(serving) = Serving::start_encrypted(peer) else { return };
    let encrypted = serving.encrypted.as_ref().expect("it was asked for");
    let served = serve_encrypted(&[protocol.target(encrypted, SERVER_NAME)], &encrypted.roots);
    addresses_and_denials(&served);
    large_texts(&served);
    what_nobody_knows(&served);
    with_dnssec_and_without(&served);
}

#[test]
fn unbound_behind_tls() {
    ask_all_encrypted(Peer::Unbound, Protocol::Tls);
}

#[test]
fn unbound_behind_https() {
    ask_all_encrypted(Peer::Unbound, Protocol::Https);
}

#[test]
fn bind_behind_tls() {
    ask_all_encrypted(Peer::Bind, Protocol::Tls);
}

#[test]
fn bind_behind_https() {
    ask_all_encrypted(Peer::Bind, Protocol::Https);
}

/// Killed, started again, stopped: SERVFAIL says why, and answers are back with it.
#[test]
fn an_encrypted_peer_that_comes_and_goes() {
    for protocol in [Protocol::Tls, Protocol::Https] {
        let Some(mut serving) = Serving::start_encrypted(Peer::Bind) else { return };
        let encrypted = serving.encrypted.as_ref().expect("it was asked for");
        let served = serve_encrypted(&[protocol.target(encrypted, SERVER_NAME)], &encrypted.roots);
        let ask = |label: &str| served.ask_for(&question(&format!("{label}.wild"), "A"));
        assert_eq!(ask("before").rcode(), "NOERROR");
        serving.kill();
        let reply = ask("killed");
        assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{protocol:?}: {reply:?}");
        serving.start_again();
        await_answer("back", Instant::now(), &ask);
        serving.stop();
        let reply = ask("stopped");
        assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{protocol:?}: {reply:?}");
        serving.go_on();
        await_answer("again", Instant::now(), &ask);
    }
}
/// A certificate for another name, or from nobody that is trusted: no answer, in time, and the log says why.
#[test]
fn a_peer_that_is_somebody_else() {
    let Some(serving) = Serving::start_encrypted(Peer::Bind) else { return };
    let Some(other) = Serving::start_encrypted(Peer::Unbound) else { return };
    let (encrypted, others) =
        (serving.encrypted.as_ref().expect("asked for"), other.encrypted.as_ref().expect("asked for"));
    for protocol in [Protocol::Tls, Protocol::Https] {
        for (server_name, roots) in [("dns.other.example", &encrypted.roots), (SERVER_NAME, &others.roots)] {
            let served = serve_encrypted(&[protocol.target(encrypted, server_name)], roots);
            let reply = served.ask_for(&question("www", "A"));
            assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{protocol:?}: {reply:?}");
            // The log, or the reply itself, names the certificate: that is what the operator has to look at.
            let said = served.program.said() + &format!("{:?}", raw::extended_errors(&reply.octets));
            assert!(said.contains("certificate"), "{protocol:?}: nothing is said:\n{said}");
        }
    }
}

/// A target that is a host name: its addresses are asked of the bootstrap servers, and its certificate says that it is
/// the one.
#[test]
fn a_peer_that_is_a_host_name() {
    let Some(serving) = Serving::start_encrypted(Peer::Bind) else { return };
    let encrypted = serving.encrypted.as_ref().expect("it was asked for");
    let bootstrap = Scripted::start(|asked| match asked.name().as_str() {
        SERVER_NAME => vec![Act::Send(asked.address([127, 0, 0, 1]))],
        _ => vec![Act::Send(octets(&asked.reply(ResponseCode::NXDomain)))],
    });
    let lines = format!("targets = []\ntls_roots = \"ca.pem\"\nbootstrap = [\"{}\"]", bootstrap.address());
    for target in [
        format!("\"tls://{SERVER_NAME}:{}\"", encrypted.tls.port()),
        format!("\"https://{SERVER_NAME}:{}/dns-query\"", encrypted.https.port()),
    ] {
        let text = forwarding_to(&[]).replace("targets = []", &lines)
            + &rule(1, ZONE, &[]).replace("targets = []", &format!("targets = [{target}]"));
        let served = Served::on_loopback_beside(&text, &[("ca.pem", &encrypted.roots)]);
        addresses_and_denials(&served);
    }
    assert!(bootstrap.asked_for(SERVER_NAME) >= 2, "each of them has asked");
}
