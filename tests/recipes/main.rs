//! The recipes of packaging/recipes, file by file, in the programs that they are for: private names are resolved through
//! them, everybody else's are not, and what each line is there for shows where it is missing.

#[path = "../support/mod.rs"]
mod support;

mod documented;
mod forwarder;
mod world;

use forwarder::{Forwarder, Running};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use support::alone::alone;
use world::{LARGE_STRINGS, World};

const DB: (&str, &str) = ("db.shop.internal A", "NOERROR A 10.0.20.40");
const SECRETS: (&str, &str) = ("secretsmanager.ap-northeast-2.amazonaws.com A", "NOERROR A 10.0.11.21 A 10.0.12.21");
const REVERSE: (&str, &str) = ("7.3.0.10.in-addr.arpa PTR", "NOERROR PTR ip-10-0-3-7.ap-northeast-2.compute.internal.");
const OUT: (&str, &str) = ("www.shop.internal A", "NOERROR CNAME www.example.com. A 52.95.194.80");
/// What clients of every forwarder are told.
const ANSWERS: [(&str, &str); 15] = [
    // The proof that there is no such name covers all of `internal`, and a validating resolver keeps it (RFC 8198).
    ("nobodys.internal A", "NXDOMAIN"),
    DB,
    ("DB.Shop.Internal A", "NOERROR A 10.0.20.40"),
    ("db.shop.internal AAAA", "NOERROR"),
    ("nothing.shop.internal A", "NXDOMAIN"),
    SECRETS,
    ("111122223333.dkr.ecr.ap-northeast-2.amazonaws.com A", "NOERROR A 10.0.12.22"),
    (
        "vpce-0123456789abcdef0-v5xcd2c1.secretsmanager.ap-northeast-2.vpce.amazonaws.com A",
        "NOERROR A 10.0.11.21 A 10.0.12.21",
    ),
    ("secrets.shop.internal A", "NOERROR CNAME secretsmanager.ap-northeast-2.amazonaws.com. A 10.0.11.21 A 10.0.12.21"),
    // What the VPC does not answer itself comes from plustwo's upstream, at the end of a CNAME too.
    OUT,
    ("ec2.ap-northeast-2.amazonaws.com A", "NOERROR A 52.95.193.156"),
    ("ip-10-0-3-7.ap-northeast-2.compute.internal A", "NOERROR A 10.0.3.7"),
    REVERSE,
    // The reverse names of other private addresses are nobody's.
    ("7.3.9.10.in-addr.arpa PTR", "NXDOMAIN"),
    ("www.example.com A", "NOERROR A 52.95.194.80"),
];
/// A public name that leads to a private one.
const FROM_OUTSIDE: &str = "api.example.com A";

/// The answers above, a large one, and a public name that leads to a private one.
fn answers(test: &str, forwarder: Forwarder) {
    alone(test, || {
        let Some(mut world) = forwarder.world() else { return };
        let running = forwarder.start(&world);
        for round in ["first", "second, from the cache"] {
            for (question, answer) in ANSWERS {
                let said = world.ask(running.address, question);
                assert_eq!(said, answer, "{question}, the {round} time:\n{}", running.program.said());
            }
        }
        is_whole_over_tcp(&world, running.address);
        from_outside(&world, &running, forwarder);
        // Everybody else's names do not go by way of plustwo.
        world.kill(0);
        world.kill(1);
        assert_eq!(world.ask(running.address, "ftp.example.com A"), "NOERROR A 52.95.194.81");
    });
}

/// A reply that no datagram holds is cut, and whole over TCP.
fn is_whole_over_tcp(world: &World, address: IpAddr) {
    const LARGE: &str = "large.shop.internal TXT";
    let cut = world.ask_with(address, &["+ignore", "+bufsize=1232"], LARGE);
    assert!(cut.starts_with("NOERROR") && cut.matches("TXT").count() < LARGE_STRINGS, "{cut}");
    let whole = world.ask(address, LARGE);
    assert!(whole.starts_with("NOERROR") && whole.matches("TXT").count() == LARGE_STRINGS, "{whole}");
}

/// Resolvers follow the CNAME to plustwo. dnsmasq and Knot Resolver leave that to whoever has the public name: their
/// clients are told that the private one does not exist, but whoever asks for that itself is not.
fn from_outside(world: &World, running: &Running, forwarder: Forwarder) {
    let leads = "CNAME db.shop.internal.";
    match forwarder {
        Forwarder::Unbound | Forwarder::Bind | Forwarder::PowerDns | Forwarder::Resolved => {
            assert_eq!(world.ask(running.address, FROM_OUTSIDE), format!("NOERROR {leads} A 10.0.20.40"));
        }
        Forwarder::Dnsmasq | Forwarder::Knot | Forwarder::NetworkManager => {
            assert_eq!(world.ask(running.address, FROM_OUTSIDE), format!("NXDOMAIN {leads}"));
            assert_eq!(world.ask(running.address, "db.shop.internal TXT"), "NOERROR");
        }
    }
}

#[test]
fn unbound_resolves_through_plustwo() {
    answers("unbound_resolves_through_plustwo", Forwarder::Unbound);
}

#[test]
fn bind_resolves_through_plustwo() {
    answers("bind_resolves_through_plustwo", Forwarder::Bind);
}

#[test]
fn dnsmasq_resolves_through_plustwo() {
    answers("dnsmasq_resolves_through_plustwo", Forwarder::Dnsmasq);
}

#[test]
fn knot_resolver_resolves_through_plustwo() {
    answers("knot_resolver_resolves_through_plustwo", Forwarder::Knot);
}

#[test]
fn powerdns_recursor_resolves_through_plustwo() {
    answers("powerdns_recursor_resolves_through_plustwo", Forwarder::PowerDns);
}

#[test]
fn systemd_resolved_resolves_through_plustwo() {
    answers("systemd_resolved_resolves_through_plustwo", Forwarder::Resolved);
}

#[test]
fn networkmanager_resolves_through_plustwo() {
    answers("networkmanager_resolves_through_plustwo", Forwarder::NetworkManager);
}

/// The recipe with a line less, which must be there.
fn without(text: &str, line: &str) -> String {
    let kept: Vec<&str> = text.lines().filter(|have| have.trim() != line).collect();
    assert!(kept.len() < text.lines().count(), "no line {line:?} in\n{text}");
    kept.join("\n") + "\n"
}

/// The recipe with other words, which must be there.
fn instead(text: &str, words: &str, others: &str) -> String {
    assert!(text.contains(words), "no {words:?} in\n{text}");
    text.replacen(words, others, 1)
}

/// What a forwarder says to a question when a file of its recipe is changed.
fn said_with(
    world: &World,
    forwarder: Forwarder,
    file: &str,
    change: impl Fn(&str) -> String,
    question: &str,
) -> String {
    let running = forwarder.start_with(world, |name, text| if name == file { change(&text) } else { text });
    world.ask(running.address, question)
}

#[test]
fn what_the_lines_for_unbound_are_for() {
    alone("what_the_lines_for_unbound_are_for", || {
        let Some(world) = Forwarder::Unbound.world() else { return };
        let lacking = |line: &str, question: &str| {
            said_with(&world, Forwarder::Unbound, "unbound.conf", |text| without(text, line), question)
        };
        // Its filter takes the address out of the answer.
        assert_eq!(lacking("private-domain: \"shop.internal\"", DB.0), "NOERROR");
        // It takes the answer for forged, since the root proves that there is no such name.
        assert_eq!(lacking("domain-insecure: \"shop.internal\"", DB.0), "SERVFAIL");
        // It takes what the root said of `internal`, when another name was asked for, for true of all below (RFC 8020).
        let hardened = |_: &str, text: String| without(&text, "harden-below-nxdomain: no");
        let running = Forwarder::Unbound.start_with(&world, hardened);
        assert_eq!(world.ask(running.address, DB.0), DB.1);
        assert_eq!(world.ask(running.address, "nobodys.internal A"), "NXDOMAIN");
        assert_eq!(world.ask(running.address, "later.shop.internal A"), "NXDOMAIN");
        drop(running);
        // It serves an empty zone itself.
        assert_eq!(lacking("local-zone: \"0.10.in-addr.arpa.\" transparent", REVERSE.0), "NXDOMAIN");
        // It asks the world whether the zone is signed, and the world is away.
        world.cut_the_uplink();
        let said = lacking("domain-insecure: \"amazonaws.com\"", SECRETS.0);
        assert_ne!(said, SECRETS.1);
    });
}

#[test]
fn what_the_lines_for_bind_are_for() {
    alone("what_the_lines_for_bind_are_for", || {
        let Some(mut world) = Forwarder::Bind.world() else { return };
        let not_exempt = |text: &str| instead(text, " \"shop.internal\";", "");
        let said = said_with(&world, Forwarder::Bind, "bind-options.conf", not_exempt, DB.0);
        assert_eq!(said, "SERVFAIL");
        // While both daemons are away, clients would be sent to the public address.
        for (policy, answer) in [("forward first", "NOERROR A 52.95.193.155"), ("forward only", "SERVFAIL")] {
            let change = |_: &str, text: String| text.replace("forward only", policy);
            let running = Forwarder::Bind.start_with(&world, change);
            assert_eq!(world.ask(running.address, "www.example.com A"), "NOERROR A 52.95.194.80");
            world.kill(0);
            world.kill(1);
            assert_eq!(world.ask(running.address, SECRETS.0), answer, "{policy}");
            world.start_daemons();
        }
    });
}

#[test]
fn what_the_lines_for_dnsmasq_are_for() {
    alone("what_the_lines_for_dnsmasq_are_for", || {
        let Some(world) = Forwarder::Dnsmasq.world() else { return };
        let line = "rebind-domain-ok=/amazonaws.com/api.aws/on.aws/compute.internal/shop.internal/";
        let said = said_with(&world, Forwarder::Dnsmasq, "dnsmasq.conf", |text| without(text, line), DB.0);
        assert_eq!(said, "NOERROR");
        // What the world says of the private name at the end of a public one is told to all.
        let keep = |_: &str, text: String| without(&text, "no-negcache");
        let running = Forwarder::Dnsmasq.start_with(&world, keep);
        assert_eq!(world.ask(running.address, FROM_OUTSIDE), "NXDOMAIN CNAME db.shop.internal.");
        assert_eq!(world.ask(running.address, DB.0), "NXDOMAIN");
    });
}

#[test]
fn what_the_lines_for_knot_resolver_are_for() {
    alone("what_the_lines_for_knot_resolver_are_for", || {
        let Some(world) = Forwarder::Knot.world() else { return };
        let with =
            |change: &dyn Fn(&str) -> String| said_with(&world, Forwarder::Knot, "knot-resolver.lua", change, DB.0);
        assert_eq!(with(&|text| instead(text, "{ 'ALLOW_LOCAL' }", "{}")), "REFUSED");
        assert_eq!(with(&|text| instead(text, "policy.STUB", "policy.FORWARD")), "SERVFAIL");
    });
}

#[test]
fn what_the_lines_for_powerdns_recursor_are_for() {
    alone("what_the_lines_for_powerdns_recursor_are_for", || {
        let Some(world) = Forwarder::PowerDns.world() else { return };
        let with = |file: &str, change: &dyn Fn(&str) -> String, question: &str| {
            said_with(&world, Forwarder::PowerDns, file, change, question)
        };
        let said = with("powerdns-recursor.lua", &|text| without(text, "addNTA(\"shop.internal\")"), DB.0);
        assert_eq!(said, "SERVFAIL");
        // Without RD plustwo answers what is its own, and asks nobody else.
        let no_recursion = |text: &str| instead(text, "+ap-northeast-2.amazonaws.com", "ap-northeast-2.amazonaws.com");
        let said = with("powerdns-recursor.zones", &no_recursion, "ec2.ap-northeast-2.amazonaws.com A");
        assert_eq!(said, "SERVFAIL");
    });
}

/// What is below `internal` is known to be unsigned, and amazonaws.com is found to be.
#[test]
fn systemd_resolved_validates() {
    alone("systemd_resolved_validates", || {
        let Some(world) = Forwarder::Resolved.world() else { return };
        let validating = |_: &str, text: String| text + "DNSSEC=yes\n";
        let running = Forwarder::Resolved.start_with(&world, validating);
        for (question, answer) in ANSWERS {
            assert_eq!(world.ask(running.address, question), answer, "{question}");
        }
    });
}

/// A forwarder that is plustwo's upstream as well: the log says so at the start, what goes in a circle fails, and private
/// names are answered as ever.
#[test]
fn a_forwarder_that_is_the_upstream_too() {
    alone("a_forwarder_that_is_the_upstream_too", || {
        let Some(mut world) = Forwarder::Unbound.world() else { return };
        let running = Forwarder::Unbound.start(&world);
        world.start_daemons_with(running.address);
        world.wait_for_a_daemon_to_say("a forwarding loop");
        // The forwarder asks nobody what it is asking already: it waits, and so does its client.
        assert_eq!(world.ask(running.address, "ec2.ap-northeast-2.amazonaws.com A"), "SERVFAIL");
        assert_eq!(world.ask(running.address, DB.0), DB.1);
        // What the forwarder does not send back is no circle.
        assert_eq!(world.ask(running.address, OUT.0), OUT.1);
    });
}

/// Private names do not depend on the world, not even for the proof that they are not signed.
fn needs_no_world(test: &str, forwarder: Forwarder) {
    alone(test, || {
        let Some(world) = forwarder.world() else { return };
        let running = forwarder.start(&world);
        world.cut_the_uplink();
        for (question, answer) in [DB, SECRETS, REVERSE] {
            assert_eq!(world.ask(running.address, question), answer, "{question}");
        }
    });
}

#[test]
fn unbound_needs_no_world() {
    needs_no_world("unbound_needs_no_world", Forwarder::Unbound);
}

#[test]
fn bind_needs_no_world() {
    needs_no_world("bind_needs_no_world", Forwarder::Bind);
}

#[test]
fn dnsmasq_needs_no_world() {
    needs_no_world("dnsmasq_needs_no_world", Forwarder::Dnsmasq);
}

#[test]
fn knot_resolver_needs_no_world() {
    needs_no_world("knot_resolver_needs_no_world", Forwarder::Knot);
}

#[test]
fn powerdns_recursor_needs_no_world() {
    needs_no_world("powerdns_recursor_needs_no_world", Forwarder::PowerDns);
}

#[test]
fn systemd_resolved_needs_no_world() {
    needs_no_world("systemd_resolved_needs_no_world", Forwarder::Resolved);
}

#[test]
fn networkmanager_needs_no_world() {
    needs_no_world("networkmanager_needs_no_world", Forwarder::NetworkManager);
}

/// Questions of which no cache has the answer: addresses of the VPC, each with the name that it has.
fn never_asked(number: u8) -> (String, String) {
    (format!("ip-10-0-200-{number}.ap-northeast-2.compute.internal A"), format!("NOERROR A 10.0.200.{number}"))
}

/// How both daemons are away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// The system says that nobody is there.
    Stopped,
    /// Nobody says anything.
    Silent,
}

impl Outage {
    fn begin(self, world: &mut World) {
        for daemon in 0..2 {
            match self {
                Self::Stopped => world.kill(daemon),
                Self::Silent => world.silence(daemon),
            }
        }
    }

    fn end(self, world: &mut World) {
        match self {
            Self::Stopped => world.start_daemons(),
            Self::Silent => world.heal(),
        }
    }
}

/// One of the two is silent, as behind a link that is cut: every client is answered by the other within the patience of
/// glibc, and soon all are at once.
#[allow(clippy::print_stdout, reason = "these times stand in docs/forwarding.md")]
fn one_is_silent(test: &str, forwarder: Forwarder) {
    alone(test, || {
        let Some(world) = forwarder.world() else { return };
        for silent in 0..2 {
            let running = forwarder.start(&world);
            world.silence(silent);
            let took: Vec<Duration> = (1..=QUESTIONS_OF_ONE_OUTAGE)
                .map(|number| {
                    let ((question, answer), began) = (never_asked(number), Instant::now());
                    assert_eq!(world.ask(running.address, &question), answer, "{forwarder:?}, question {number}");
                    began.elapsed()
                })
                .collect();
            println!("{forwarder:?}, {silent} silent: {took:?}");
            world.heal();
        }
    });
}

/// Both are gone, and come back: how long clients wait then, for a name that nobody has asked for and for one that
/// failed while they were away.
#[allow(clippy::print_stdout, reason = "these times stand in docs/forwarding.md")]
fn both_come_back(test: &str, forwarder: Forwarder) {
    alone(test, || {
        let Some(mut world) = forwarder.world() else { return };
        let running = forwarder.start(&world);
        for (number, outage) in (1..).zip([Outage::Stopped, Outage::Silent]) {
            let ((failing, answer), (fresh, fresh_answer)) = (never_asked(number), never_asked(100 + number));
            outage.begin(&mut world);
            for question in [&failing, &failing] {
                let said = world.ask_with(running.address, &["+time=4", "+tries=1"], question);
                assert!(!said.starts_with("NOERROR"), "{outage:?}: {question} has {said}");
            }
            outage.end(&mut world);
            let began = Instant::now();
            for (question, answer) in [(fresh, fresh_answer), (failing, answer)] {
                while world.ask_with(running.address, &["+time=1", "+tries=1"], &question) != answer {
                    assert!(began.elapsed() < BACK_MAX, "{forwarder:?}, {outage:?}: {question} still fails");
                    std::thread::sleep(BETWEEN_TRIES);
                }
                println!("{forwarder:?}, {outage:?}: {question} after {:?}", began.elapsed());
            }
        }
    });
}

/// Enough for what a forwarder finds out only now and then.
const QUESTIONS_OF_ONE_OUTAGE: u8 = 25;
/// Until a forwarder serves again at most; what each of them takes stands in docs/forwarding.md.
const BACK_MAX: Duration = Duration::from_secs(75);
/// Between two questions of a client that waits for it.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

#[test]
fn unbound_while_one_is_silent() {
    one_is_silent("unbound_while_one_is_silent", Forwarder::Unbound);
}

#[test]
fn unbound_when_both_come_back() {
    both_come_back("unbound_when_both_come_back", Forwarder::Unbound);
}

#[test]
fn bind_while_one_is_silent() {
    one_is_silent("bind_while_one_is_silent", Forwarder::Bind);
}

#[test]
fn bind_when_both_come_back() {
    both_come_back("bind_when_both_come_back", Forwarder::Bind);
}

#[test]
fn dnsmasq_while_one_is_silent() {
    one_is_silent("dnsmasq_while_one_is_silent", Forwarder::Dnsmasq);
}

#[test]
fn dnsmasq_when_both_come_back() {
    both_come_back("dnsmasq_when_both_come_back", Forwarder::Dnsmasq);
}

#[test]
fn knot_resolver_while_one_is_silent() {
    one_is_silent("knot_resolver_while_one_is_silent", Forwarder::Knot);
}

#[test]
fn knot_resolver_when_both_come_back() {
    both_come_back("knot_resolver_when_both_come_back", Forwarder::Knot);
}

#[test]
fn powerdns_recursor_while_one_is_silent() {
    one_is_silent("powerdns_recursor_while_one_is_silent", Forwarder::PowerDns);
}

#[test]
fn powerdns_recursor_when_both_come_back() {
    both_come_back("powerdns_recursor_when_both_come_back", Forwarder::PowerDns);
}

#[test]
fn systemd_resolved_while_one_is_silent() {
    one_is_silent("systemd_resolved_while_one_is_silent", Forwarder::Resolved);
}

#[test]
fn systemd_resolved_when_both_come_back() {
    both_come_back("systemd_resolved_when_both_come_back", Forwarder::Resolved);
}
