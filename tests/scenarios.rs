//! What a golden case cannot show of the scenarios: switching private DNS while queries run (S2), an upstream that goes
//! down, and the cache (S5), the acceptance of an endpoint (S7), what `check` warns of (S8, S9), and how short a list of
//! endpoints is (S10).

mod support;

use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;
use plustwo::config::{self, Loaded, Severity, Surroundings};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::case::rcode;
use support::present::present;
use support::upstream::Behaviour;
use support::world::World;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What glibc waits for a nameserver before it asks the next one.
const CLIENT_TIME_OUT: Duration = Duration::from_secs(5);
const CLOUDFORMATION: &str = "cloudformation.ap-northeast-2.amazonaws.com";

/// Asks over UDP; the rcode and the rdata of the answer, sorted.
fn ask_udp(door: SocketAddr, name: &str) -> (String, Vec<String>) {
    let reply = ask::over_udp(LOOPBACK, door, &Question::new(name, "A").octets(rand::random()));
    read(&reply.unwrap_or_else(|error| panic!("{name}: no reply: {error}")))
}

fn read(reply: &[u8]) -> (String, Vec<String>) {
    let message = Message::from_vec(reply).expect("hickory-proto reads it");
    let rdata = |line: String| line.rsplit(' ').next().unwrap_or_default().to_owned();
    let mut answer: Vec<String> = message.answers.iter().map(|record| rdata(present(record))).collect();
    answer.sort();
    (rcode(&message), answer)
}

fn noerror(rdatas: &[&str]) -> (String, Vec<String>) {
    ("NOERROR".to_owned(), rdatas.iter().map(|&rdata| rdata.to_owned()).collect())
}

/// S2: private DNS switched twenty times while four clients ask without a pause. Every question is answered, every
/// answer is one of the two, and the first question after a switch has the new one.
#[test]
fn s2_switching_while_queries_run() {
    let on = World::load("s2-private-dns-on");
    let text = std::fs::read_to_string(support::world::folder().join("s2-private-dns-off.toml")).expect("a world");
    let off = World::with_upstreams("s2-private-dns-off", &text, on.upstreams.clone());
    let mut running = on.start(LOOPBACK);
    let door = running.plus_two("hub");
    let (private, public) = (noerror(&["10.0.0.65", "10.0.1.237"]), noerror(&["52.95.193.155"]));
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (private, public, over, asked) = (&private, &public, &over, &asked);
        for client in 0..4 {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = if client == 0 {
                        let query = Question::new(CLOUDFORMATION, "A").octets(rand::random());
                        read(&ask::over_tcp(LOOPBACK, door, &query).expect("no query is lost over TCP"))
                    } else {
                        ask_udp(door, CLOUDFORMATION)
                    };
                    assert!(answer == *private || answer == *public, "{answer:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for turn in 0..20 {
                let (world, expected) = if turn % 2 == 0 { (&off, public) } else { (&on, private) };
                running.daemon.reload(&world.at(LOOPBACK)).expect("the doors are the same");
                assert_eq!(ask_udp(door, CLOUDFORMATION), *expected, "after switch {turn}");
                let before = asked.load(Ordering::Relaxed);
                while asked.load(Ordering::Relaxed) < before + 50 {
                    std::thread::yield_now();
                }
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    running.daemon.stop();
}

/// S5: with one upstream silent, unreachable or failing, the answer comes from the other, within one client time-out;
/// and names that are here are not held up.
#[test]
fn s5_one_upstream_down() {
    for behaviour in [Behaviour::Silent, Behaviour::Says(ResponseCode::ServFail)] {
        for down in ["192.0.2.53", "192.0.2.54"] {
            let world = World::load("s5-inbound-endpoint");
            world.upstream(down).behave(behaviour);
            let running = world.start(LOOPBACK);
            let door = running.door(&support::case::DoorName::Via("rslvr-in-0a1".to_owned(), 0));
            let began = Instant::now();
            assert_eq!(ask_udp(door, "www.example.com"), noerror(&["198.51.100.80"]), "{down} {behaviour:?}");
            assert!(began.elapsed() < CLIENT_TIME_OUT, "{down} {behaviour:?}: {:?}", began.elapsed());
            let own = ask_udp(door, "secretsmanager.ap-northeast-2.amazonaws.com");
            assert_eq!(own, noerror(&["10.0.1.10", "10.0.2.10"]));
            running.daemon.stop();
        }
    }
}

/// S5: the same, with a port where nobody is.
#[test]
fn s5_one_upstream_gone() {
    let upstreams = "$UPSTREAM 192.0.2.53 closed\n$UPSTREAM 192.0.2.54\nwww.example.com. 300 IN A 198.51.100.80\n";
    let text = std::fs::read_to_string(support::world::folder().join("s5-inbound-endpoint.toml")).expect("a world");
    let world = World::from_text("s5-inbound-endpoint", &text, upstreams);
    let running = world.start(LOOPBACK);
    let began = Instant::now();
    assert_eq!(ask_udp(running.plus_two("hub"), "www.example.com"), noerror(&["198.51.100.80"]));
    assert!(began.elapsed() < CLIENT_TIME_OUT, "{:?}", began.elapsed());
    running.daemon.stop();
}

/// S5: a forwarded answer is kept: asked again, over TCP and through every door of the view's VPC, nobody asks the
/// upstream, and its TTL never grows.
#[test]
fn s5_forwarded_answers_are_cached() {
    let world = World::load("s5-inbound-endpoint");
    let running = world.start(LOOPBACK);
    let asked = || world.upstream("192.0.2.53").questions() + world.upstream("192.0.2.54").questions();
    for name in ["www.example.com", "missing.example.com", "WWW.example.COM"] {
        let before = asked();
        let first = ask_udp(running.plus_two("hub"), name);
        let once = asked();
        assert!(once <= before + 1, "{name}: {} questions for one", once - before);
        for number in [0, 1] {
            let door = running.door(&support::case::DoorName::Via("rslvr-in-0a1".to_owned(), number));
            assert_eq!(ask_udp(door, name), first, "{name}");
            let query = Question::new(name, "A").octets(rand::random());
            assert_eq!(read(&ask::over_tcp(LOOPBACK, door, &query).expect("a reply over TCP")), first, "{name}");
        }
        assert_eq!(asked(), once, "{name} is not asked again");
    }
    assert_eq!(asked(), 2, "www (in any case) once, and missing once");
    running.daemon.stop();
}

/// S7: a provider accepts the endpoint, and its private name answers from the next question on; it takes that back, and the
/// name is public again.
#[test]
fn s7_acceptance_switches_the_private_name() {
    let available = World::load("s7-available");
    let text = text_of("s7-pending-acceptance");
    let pending = World::with_upstreams("s7-pending-acceptance", &text, available.upstreams.clone());
    let mut running = pending.start(LOOPBACK);
    let door = running.plus_two("consumer");
    let (private, public) = (noerror(&["10.0.1.20", "10.0.3.20"]), noerror(&["203.0.113.10"]));
    for (world, expected) in [(&pending, &public), (&available, &private), (&pending, &public)] {
        running.daemon.reload(&world.at(LOOPBACK)).expect("the doors are the same");
        assert_eq!(ask_udp(door, "jerp.company.com"), *expected);
    }
    running.daemon.stop();
}

/// S7: a name that is not verified cannot be used, and the error says what to do.
#[test]
fn s7_an_unverified_name_is_refused() {
    let text = text_of("s7-available");
    for state in ["pendingVerification", "failed"] {
        let loaded = load(&text.replacen("state = \"verified\"", &format!("state = \"{state}\""), 1));
        assert!(loaded.configuration.is_none());
        let [error] = &loaded.diagnostics[..] else { panic!("{}", config::render(&loaded.diagnostics)) };
        assert!(error.problem.contains("jerp.company.com") && error.problem.contains("is not verified"));
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("TXT") && hint.contains("private_dns = false"), "{hint}");
    }
}

/// S8: the zones that the provider serves do not cover the endpoint's: a warning for each, with both places; where they
/// do, none.
#[test]
fn s8_zones_that_do_not_meet_are_warned_of() {
    let text = text_of("s8-zones-that-do-not-meet");
    let loaded = load(&text);
    assert!(loaded.configuration.is_some(), "a warning is no error");
    let problems: Vec<&str> = loaded.diagnostics.iter().map(|found| &*found.problem).collect();
    let of = |zone: &str| format!("the service is not offered in {zone}, where the endpoint has addresses");
    assert_eq!(problems, [of("ap-northeast-2a"), of("ap-northeast-2b")]);
    assert!(loaded.diagnostics.iter().all(|found| found.severity == Severity::Warning && found.also.len() == 1));
    let served = "[\"ap-northeast-2a\", \"ap-northeast-2b\", \"ap-northeast-2c\"]";
    let loaded = load(&text.replace("[\"ap-northeast-2c\"]", served));
    assert!(loaded.diagnostics.is_empty(), "{}", config::render(&loaded.diagnostics));
}

/// S9: with one of Session Manager's endpoints missing, `check` names it; with all three, or one of them alone, it is silent.
#[test]
fn s9_the_missing_endpoint_is_named() {
    let all = text_of("s9-session-manager");
    let silent = load(&all);
    assert!(silent.diagnostics.is_empty(), "{}", config::render(&silent.diagnostics));
    let (head, tables) = all.split_once("[[vpc_endpoint]]").expect("endpoints");
    let tables: Vec<&str> = tables.split("[[vpc_endpoint]]").collect();
    let without = |missing: &[&str]| {
        let is_left = |table: &&&str| missing.iter().all(|name| !table.contains(&format!(".{name}\"")));
        let left = tables.iter().filter(is_left).map(|table| format!("[[vpc_endpoint]]{table}"));
        load(&format!("{head}{}", left.collect::<String>()))
    };
    let services = ["ssm", "ssmmessages", "ec2messages"];
    for missing in services {
        let loaded = without(&[missing]);
        let [warning] = &loaded.diagnostics[..] else { panic!("{}", config::render(&loaded.diagnostics)) };
        assert!(warning.problem.ends_with(&format!("and none for {missing}")), "{}", warning.problem);
    }
    for alone in services {
        let missing: Vec<&str> = services.into_iter().filter(|service| *service != alone).collect();
        assert!(without(&missing).diagnostics.is_empty(), "{alone} alone");
    }
}

/// S10: one line an endpoint, and of each no more than six things: who keeps such a list names as many.
#[test]
fn s10_an_endpoint_takes_a_line_of_six_keys() {
    let text = text_of("s10-list");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("  { id")).collect();
    assert_eq!(load(&text).configuration.expect("it loads").model.endpoints.len(), lines.len());
    let keys = |line: &&&str| line.split(", addresses").next().unwrap_or_default().matches(" = ").count() + 1;
    assert!(lines.len() > 5 && lines.iter().all(|line| keys(&line) <= 6), "{lines:#?}");
}

/// The text of a world.
fn text_of(world: &str) -> String {
    std::fs::read_to_string(support::world::folder().join(format!("{world}.toml"))).expect("a world")
}

/// Loads a world's text without starting anything.
fn load(text: &str) -> Loaded {
    let surroundings = Surroundings {
        read_file: &|path| Err(path.to_owned()),
        system_nameservers: &|| Ok(Vec::new()),
        is_own_address: &|_| false,
    };
    config::load("world.toml", text, &surroundings)
}

/// Identical questions that are in flight at a time are asked once, and all of them answered.
#[test]
fn identical_questions_in_flight_are_asked_once() {
    const CLIENTS: usize = 40;
    let upstreams = "$UPSTREAM 192.0.2.53\nwww.public.example. 300 IN A 198.51.100.1\n";
    let text = "version = 1\nregion = \"us-west-2\"\n[upstream]\ntargets = [\"192.0.2.53\"]\n\
                [[vpc]]\nid = \"vpc-a\"\nlisten = [\"127.0.0.1:5300\"]\n";
    let world = World::from_text("in-flight", text, upstreams);
    let upstream = world.upstream("192.0.2.53");
    // Silent until all have asked; the forwarder asks again later, and is answered then.
    upstream.behave(Behaviour::Silent);
    let running = world.start(LOOPBACK);
    let door = running.plus_two("vpc-a");
    let sockets: Vec<_> = (0..CLIENTS).map(|_| ask::udp_client(LOOPBACK, door)).collect();
    for (id, socket) in sockets.iter().enumerate() {
        socket.send(&Question::new("www.public.example", "A").octets(id as u16)).expect("a door on the loopback");
    }
    let until = Instant::now() + CLIENT_TIME_OUT;
    while running.daemon.counts().queries < CLIENTS as u64 {
        assert!(Instant::now() < until, "{:?}", running.daemon.counts());
        std::thread::yield_now();
    }
    upstream.behave(Behaviour::Answers);
    for (id, socket) in sockets.iter().enumerate() {
        let reply = ask::receive(socket).unwrap_or_else(|error| panic!("client {id}: no reply: {error}"));
        assert_eq!(reply[..2], (id as u16).to_be_bytes());
        assert_eq!(read(&reply), noerror(&["198.51.100.1"]));
    }
    let questions = upstream.questions();
    assert!(questions <= 6, "{questions} questions to the upstream for {CLIENTS} clients that asked the same");
    running.daemon.stop();
}

/// S5: a client that may not ask gets a reply that is no larger than its query allows, and a stream that is closed.
#[test]
fn s5_no_amplification_and_a_closed_stream() {
    let world = World::load("s5-inbound-endpoint");
    let running = world.start(LOOPBACK);
    let door = running.door(&support::case::DoorName::Via("rslvr-in-0a1".to_owned(), 0));
    let outsider: IpAddr = "127.9.9.9".parse().expect("an address");
    let plain = Question { edns: None, ..Question::new("big.example.com", "TXT") };
    let query = plain.octets(rand::random());
    let reply = ask::over_udp(outsider, door, &query).expect("REFUSED, not silence");
    assert_eq!(reply.len(), query.len(), "no octet more than was asked with");
    let mut stream = ask::tcp_client(outsider, door).expect("a connection");
    ask::send_framed(&mut stream, &query).expect("a question");
    let reply = ask::receive_framed(&mut stream).expect("REFUSED");
    assert_eq!(read(&reply).0, "REFUSED");
    let closed = ask::receive_framed(&mut stream).expect_err("it is closed behind the reply");
    assert_ne!(closed.kind(), std::io::ErrorKind::WouldBlock, "it is closed, not left open");
    running.daemon.stop();
}
