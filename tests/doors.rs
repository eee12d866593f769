//! What doors owe besides the answer: the address that replies leave from, streams, and caches that nobody poisons.

mod support;

use hickory_proto::op::Message;
use plustwo::config::Configuration;
use plustwo::daemon::Daemon;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::case::rcode;
use support::present::present;
use support::upstream::Behaviour;
use support::world::World;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One VPC with a private name, and an upstream.
const TEXT: &str = r#"
version = 1
region  = "us-west-2"

[upstream]
targets = ["192.0.2.53"]

[limits]
tcp_idle_seconds = 1
tcp_connections = 8
tcp_connections_per_client = 4

[[vpc]]
id     = "vpc-a"
listen = ["127.0.0.12:5300"]

[[hosted_zone]]
id      = "ZCORP"
name    = "corp.example"
vpcs    = ["vpc-a"]
records = [{ name = "www", type = "A", ttl = 300, values = ["10.0.1.1"] }]

[[resolver_rule]]
id      = "rslvr-rr-1"
domain  = "rule.example"
action  = "forward"
targets = ["192.0.2.101"]
vpcs    = ["vpc-a"]
"#;

const UPSTREAMS: &str = "
$UPSTREAM 192.0.2.53
www.public.example.   300 IN A 198.51.100.1
other.public.example. 300 IN A 198.51.100.2
$UPSTREAM 192.0.2.101
www.rule.example.     300 IN A 198.51.100.101
";

fn world() -> World {
    World::from_text("doors", TEXT, UPSTREAMS)
}

/// The rdata of the answer.
fn addresses(reply: &[u8]) -> Vec<String> {
    let message = Message::from_vec(reply).expect("hickory-proto reads it");
    assert_eq!(rcode(&message), "NOERROR");
    message.answers.iter().map(|record| present(record).rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

fn question(name: &str, id: u16) -> Vec<u8> {
    Question::new(name, "A").octets(id)
}

/// Starts with the VPC's door on one address.
fn start_at(configuration: &Configuration, door: SocketAddr) -> (Daemon, u16) {
    let mut configuration = configuration.clone();
    configuration.model.vpcs[0].listen = vec![door];
    let daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
    let port = daemon.door_addresses()[0].port();
    (daemon, port)
}

/// A door of all addresses answers from the one that was asked: a connected socket takes no reply from another.
#[test]
fn a_wildcard_door_answers_from_the_address_that_was_asked() {
    let world = world();
    let (daemon, port) = start_at(&world.configuration, (Ipv4Addr::UNSPECIFIED, 0).into());
    for asked in ["127.0.0.1", "127.0.0.77", "127.200.3.4"] {
        let door = SocketAddr::new(asked.parse().expect("an address"), port);
        // Both what is here and what has to be fetched first.
        for (name, expected) in [("www.corp.example", "10.0.1.1"), ("www.public.example", "198.51.100.1")] {
            let reply = ask::over_udp(LOOPBACK, door, &question(name, 7)).unwrap_or_else(|e| panic!("{asked}: {e}"));
            assert_eq!(addresses(&reply), [expected]);
            let reply = ask::over_tcp(LOOPBACK, door, &question(name, 7)).unwrap_or_else(|e| panic!("{asked}: {e}"));
            assert_eq!(addresses(&reply), [expected]);
        }
    }
    daemon.stop();
}

/// `[::]` is IPv6 only: the same port on 0.0.0.0 is free for another door.
#[test]
fn an_ipv6_wildcard_door_leaves_ipv4_alone() {
    let world = world();
    let (daemon, port) = start_at(&world.configuration, (Ipv6Addr::UNSPECIFIED, 0).into());
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let reply = ask::over_udp(six, SocketAddr::new(six, port), &question("www.corp.example", 7)).expect("a reply");
    assert_eq!(addresses(&reply), ["10.0.1.1"]);
    ask::tcp_client(LOOPBACK, SocketAddr::new(LOOPBACK, port)).expect_err("nobody is there over IPv4");
    daemon.stop();
}

/// RFC 7766 section 6.2.1.1: many questions on one connection, each answered once, whatever the order.
#[test]
fn a_stream_is_pipelined() {
    let running = world().start(LOOPBACK);
    let mut stream = ask::tcp_client(LOOPBACK, running.plus_two("vpc-a")).expect("a connection");
    let names = ["www.corp.example", "www.public.example", "other.public.example", "www.rule.example"];
    let questions: Vec<u8> = (0..40_u16)
        .flat_map(|id| {
            let query = question(names[usize::from(id) % names.len()], id);
            [(query.len() as u16).to_be_bytes().to_vec(), query].concat()
        })
        .collect();
    stream.write_all(&questions).expect("forty questions at once");
    let mut seen = [false; 40];
    for _ in 0..40 {
        let reply = ask::receive_framed(&mut stream).expect("forty replies");
        let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
        assert!(!std::mem::replace(&mut seen[id], true), "{id} is answered twice");
        let expected = ["10.0.1.1", "198.51.100.1", "198.51.100.2", "198.51.100.101"][id % names.len()];
        assert_eq!(addresses(&reply), [expected]);
    }
    running.daemon.stop();
}

/// RFC 7766 section 6.2.1.1: a question that waits for a silent upstream does not hold up the one behind it.
#[test]
fn a_stream_answers_out_of_order() {
    let world = world();
    world.upstream("192.0.2.101").behave(Behaviour::Silent);
    let running = world.start(LOOPBACK);
    let mut stream = ask::tcp_client(LOOPBACK, running.plus_two("vpc-a")).expect("a connection");
    ask::send_framed(&mut stream, &question("www.rule.example", 1)).expect("sent");
    ask::send_framed(&mut stream, &question("www.corp.example", 2)).expect("sent");
    let first = ask::receive_framed(&mut stream).expect("a reply");
    assert_eq!(first[..2], [0, 2], "what is here comes first");
    world.upstream("192.0.2.101").behave(Behaviour::Answers);
    let second = ask::receive_framed(&mut stream).expect("a reply");
    assert_eq!(second[..2], [0, 1]);
    running.daemon.stop();
}

/// RFC 7766 section 8: a message may come octet by octet.
#[test]
fn a_stream_may_come_in_pieces() {
    let running = world().start(LOOPBACK);
    let mut stream = ask::tcp_client(LOOPBACK, running.plus_two("vpc-a")).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    let query = question("www.corp.example", 9);
    for octet in [(query.len() as u16).to_be_bytes().as_slice(), &query].concat() {
        stream.write_all(&[octet]).expect("an octet");
    }
    assert_eq!(addresses(&ask::receive_framed(&mut stream).expect("a reply")), ["10.0.1.1"]);
    running.daemon.stop();
}

/// A client that has said all and closes its half still gets its replies, forwarded ones too.
#[test]
fn a_half_closed_stream_gets_its_replies() {
    let running = world().start(LOOPBACK);
    let mut stream = ask::tcp_client(LOOPBACK, running.plus_two("vpc-a")).expect("a connection");
    ask::send_framed(&mut stream, &question("www.public.example", 3)).expect("sent");
    stream.shutdown(Shutdown::Write).expect("half of it");
    assert_eq!(addresses(&ask::receive_framed(&mut stream).expect("a reply")), ["198.51.100.1"]);
    assert_eq!(stream.read(&mut [0; 1]).expect("then the end"), 0);
    running.daemon.stop();
}

/// `tcp_idle_seconds`: who says nothing is let go; who has said half a message, too.
#[test]
fn an_idle_stream_is_closed() {
    let running = world().start(LOOPBACK);
    for begun in [&[][..], &[0, 40, 1, 2, 3]] {
        let mut stream = ask::tcp_client(LOOPBACK, running.plus_two("vpc-a")).expect("a connection");
        stream.write_all(begun).expect("the beginning of a message");
        let began = Instant::now();
        assert!(stream.read(&mut [0; 1]).is_ok_and(|octets| octets == 0), "closed, not answered");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(500) && waited < Duration::from_secs(6), "{waited:?}");
    }
    running.daemon.stop();
}

/// `tcp_connections`: when all are taken the one idle longest goes, and a new client is served; UDP does not notice.
#[test]
fn full_streams_let_the_idle_one_go() {
    let running = world().start(LOOPBACK);
    let door = running.plus_two("vpc-a");
    let clients: Vec<IpAddr> = (1..=8).map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, n, 3))).collect();
    let mut streams: Vec<_> =
        clients.iter().map(|client| ask::tcp_client(*client, door).expect("a connection")).collect();
    for stream in &mut streams {
        ask::send_framed(stream, &question("www.corp.example", 5)).expect("sent");
        assert_eq!(addresses(&ask::receive_framed(stream).expect("a reply")), ["10.0.1.1"]);
    }
    let reply = ask::over_tcp(LOOPBACK, door, &question("www.corp.example", 6)).expect("a ninth client is served");
    assert_eq!(addresses(&reply), ["10.0.1.1"]);
    let reply = ask::over_udp(LOOPBACK, door, &question("www.corp.example", 6)).expect("and so is one over UDP");
    assert_eq!(addresses(&reply), ["10.0.1.1"]);
    assert!(streams[0].read(&mut [0; 1]).is_ok_and(|octets| octets == 0), "the first had been idle longest");
    running.daemon.stop();
}

/// RFC 5452 section 6, and the MaginotDNS class of faults: what an upstream says besides the answer is not believed,
/// neither in its own context nor in another's, and zones here always win.
#[test]
fn nobody_poisons_a_cache() {
    for victim in ["other.public.example.", "www.corp.example.", "www.rule.example."] {
        let world = world();
        let (own, rule) = (world.upstream("192.0.2.53"), world.upstream("192.0.2.101"));
        let running = world.start(LOOPBACK);
        let door = running.plus_two("vpc-a");
        for (upstream, name) in [(own, "www.public.example"), (rule, "www.rule.example")] {
            if name != victim.trim_end_matches('.') {
                upstream.behave(Behaviour::Poisons(victim));
                ask::over_udp(LOOPBACK, door, &question(name, 1)).expect("a reply");
                upstream.behave(Behaviour::Answers);
            }
        }
        let reply = ask::over_udp(LOOPBACK, door, &question(victim, 2)).expect("a reply");
        assert!(!addresses(&reply).contains(&"203.0.113.66".to_owned()), "{victim} is poisoned");
        running.daemon.stop();
    }
}

/// Private names never go to an upstream, whatever is asked about them.
#[test]
fn private_names_stay_here() {
    let world = world();
    let running = world.start(LOOPBACK);
    let door = running.plus_two("vpc-a");
    for rtype in ["A", "AAAA", "TXT", "NS", "SOA", "ANY", "DS", "TYPE65280", "AXFR"] {
        for name in ["www.corp.example", "missing.corp.example", "corp.example", "a.b.c.corp.example"] {
            let query = Question::new(name, rtype).octets(4);
            ask::over_udp(LOOPBACK, door, &query).unwrap_or_else(|error| panic!("{name} {rtype}: {error}"));
        }
    }
    assert_eq!(world.upstream("192.0.2.53").questions() + world.upstream("192.0.2.101").questions(), 0);
    running.daemon.stop();
}

/// What is not served any more may be as large as all zones: a worker that nobody asks must not hold it.
#[test]
fn workers_without_queries_let_go_of_what_is_not_served_any_more() {
    let mut configuration = world().at(LOOPBACK);
    configuration.settings.workers = 2;
    for doors in [1, 3] {
        configuration.model.vpcs[0].listen = vec![(LOOPBACK, 0).into(); doors];
        let mut daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..3 {
            daemon.reload(&configuration).unwrap_or_else(|error| panic!("{error}"));
        }
        let until = Instant::now() + Duration::from_secs(30);
        while daemon.sweep() > 0 {
            assert!(Instant::now() < until, "with {doors} doors somebody holds it");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon.stop();
    }
}

/// A firewall is shown neighbouring replies to one client as one message: what it would let pass by itself must not go
/// down with what it drops, and what it drops is counted.
#[test]
fn a_firewall_costs_no_more_replies_than_it_drops() {
    alone("a_firewall_costs_no_more_replies_than_it_drops", || {
        let rules = "add table inet f; add chain inet f out { type filter hook output priority 0; }; \
                     add rule inet f out udp length > 300 drop";
        for (tool, arguments) in [("ip", &["link", "set", "lo", "up"][..]), ("nft", &[rules])] {
            assert!(Command::new(tool).args(arguments).status().expect("it can be run").success(), "{tool}");
        }
        let addresses: Vec<String> = (1..60).map(|last| format!("10.1.0.{last}")).collect();
        let big = format!("records = [{{ name = \"big\", type = \"A\", values = {addresses:?} }}, ");
        let running = World::from_text("doors", &TEXT.replace("records = [", &big), UPSTREAMS).start(LOOPBACK);
        let client = ask::udp_client(LOOPBACK, running.plus_two("vpc-a"));
        let (rounds, of_a_round) = (50, 20);
        for round in 0..rounds {
            for number in 0..of_a_round {
                let name = if number % 5 == 0 { "big.corp.example" } else { "www.corp.example" };
                client.send(&question(name, round * of_a_round + number)).expect("sent");
            }
            for number in (0..of_a_round).filter(|number| number % 5 != 0) {
                let reply = ask::receive(&client).expect("the firewall lets it pass");
                assert_eq!(u16::from_be_bytes([reply[0], reply[1]]), round * of_a_round + number);
            }
        }
        assert_eq!(running.daemon.counts().send_failed, u64::from(rounds * of_a_round / 5));
        running.daemon.stop();
    });
}
