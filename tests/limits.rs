//! What clients and dead upstreams may use up: questions in flight, sockets, memory, time. What is ours to answer is
//! answered all the while.

mod support;

use hickory_proto::op::Message;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::ask::{self, Question};
use support::binary::{Program, free_port, plustwo};
use support::case::{extended_error, rcode};
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Served, forwarding_to, rule};
use support::upstream::{Behaviour, Upstream};
use support::world::answering;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// `[limits] in_flight` of the program under test.
const IN_FLIGHT: usize = 200;
/// `[limits] in_flight_per_client`.
const IN_FLIGHT_PER_CLIENT: usize = 80;
/// `[limits] upstream_sockets`.
const UPSTREAM_SOCKETS: usize = 16;
/// Clients that ask random names, each from its own address: together over the first limit, each over the second.
const CLIENTS: u8 = 4;
/// Names that each of them asks.
const NAMES: usize = 500;
/// Questions sent before the replies that came at once are taken: fewer than any socket buffer holds.
const WINDOW: usize = 50;
/// What forwarding may add to the process, in KiB.
const GROWTH_KIB_MAX: u64 = 50 << 10;
/// By then a question has its reply: glibc gives up after five seconds.
const REPLY_SECONDS_MAX: u64 = 5;

/// The program with one private name and this upstream.
fn serve(folder: &tempfile::TempDir, upstream: SocketAddr) -> (Program, SocketAddr) {
    for _ in 0..8 {
        let door = free_port(LOOPBACK);
        let text = format!(
            "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = [\"{upstream}\"]\n\
             [limits]\nin_flight = {IN_FLIGHT}\nin_flight_per_client = {IN_FLIGHT_PER_CLIENT}\n\
             in_flight_per_prefix = {IN_FLIGHT}\nupstream_sockets = {UPSTREAM_SOCKETS}\n\
             [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
             [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
             records = [{{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }}]\n"
        );
        let file = folder.path().join("plustwo.toml");
        std::fs::write(&file, text).expect("a file can be written");
        let program = Program::start(plustwo().args(["run", "--config"]).arg(file));
        if program.wait_for("serving generation 1").is_some() {
            return (program, door);
        }
    }
    panic!("no free port");
}

/// Open descriptors of a process.
fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.id())).expect("it runs").count()
}

/// Resident memory of a process in KiB.
fn resident_kib(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The octets of a plain question for an address.
fn question(name: &str, id: u16) -> Vec<u8> {
    Question::new(name, "A").octets(id)
}

/// Asks one question from the loopback; its rcode.
fn rcode_of(door: SocketAddr, name: &str) -> String {
    let reply = ask::over_udp(LOOPBACK, door, &question(name, 1)).unwrap_or_else(|error| panic!("{name}: {error}"));
    rcode(&Message::from_vec(&reply).expect("a message")).to_owned()
}

/// Takes the replies that are there, or come within a time; each question has one at most.
fn take(socket: &UdpSocket, within: Duration, replies: &mut HashMap<u16, Vec<u8>>) {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).expect("a timeout that is not zero");
        let Ok(reply) = ask::receive(socket) else { return };
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        assert!(replies.insert(id, reply).is_none(), "two replies to {id}");
        if replies.len() == NAMES {
            return;
        }
    }
}

#[test]
fn a_dead_upstream_and_random_names_cost_neither_sockets_nor_our_own_names() {
    let upstream = answering(&["known.public.example. 300 IN A 198.51.100.1"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (program, door) = serve(&folder, upstream.address());
    assert_eq!(rcode_of(door, "known.public.example"), "NOERROR");
    // The second one looks for loops, and would have one of the places.
    wait_for_questions(&upstream, 2);
    upstream.behave(Behaviour::Silent);
    let (descriptors_before, resident_before) = (descriptors(&program), resident_kib(&program));
    let began = Instant::now();
    let mut clients: Vec<(UdpSocket, HashMap<u16, Vec<u8>>)> = (1..=CLIENTS)
        .map(|client| (ask::udp_client(Ipv4Addr::new(127, 0, 1, client).into(), door), HashMap::new()))
        .collect();
    let mut descriptors_most = 0;
    for name in 0..NAMES {
        for (client, (socket, replies)) in clients.iter_mut().enumerate() {
            socket.send(&question(&format!("r{name}-{client}.random.example"), name as u16)).expect("it listens");
            if name % WINDOW == WINDOW - 1 {
                take(socket, Duration::ZERO, replies);
            }
        }
        if name % 10 == 0 {
            assert_eq!(rcode_of(door, "www.corp.example"), "NOERROR", "our own name, after {name}");
            assert_eq!(rcode_of(door, "known.public.example"), "NOERROR", "a cached name, after {name}");
            descriptors_most = descriptors_most.max(descriptors(&program));
        }
    }
    let resident_after = resident_kib(&program);
    for (socket, replies) in &mut clients {
        take(socket, (began + Duration::from_secs(REPLY_SECONDS_MAX + 2)) - Instant::now(), replies);
    }
    assert!(began.elapsed() < Duration::from_secs(REPLY_SECONDS_MAX + 2), "{:?}", began.elapsed());
    let (mut refused, mut timed_out) = (Vec::new(), Vec::new());
    for (_, replies) in &clients {
        assert_eq!(replies.len(), NAMES, "every question has a reply");
        let late = |reply: &&Vec<u8>| contains(reply, "no upstream answered");
        refused.push(replies.values().filter(|reply| contains(reply, "too many questions")).count());
        timed_out.push(replies.values().filter(late).count());
        assert!(replies.values().all(|reply| reply[3] & 15 == 2), "SERVFAIL");
    }
    let asked: usize = timed_out.iter().sum();
    // At the very end of the flood the first ones may be over, and make room for others.
    assert!((IN_FLIGHT..=2 * IN_FLIGHT).contains(&asked), "in flight in all: {asked}");
    assert!(timed_out.iter().all(|one| *one <= 2 * IN_FLIGHT_PER_CLIENT), "in flight of each: {timed_out:?}");
    assert_eq!(refused.iter().sum::<usize>() + asked, NAMES * usize::from(CLIENTS), "each is said why");
    // The one target has one a lane in any case.
    let sockets = descriptors_most.max(descriptors(&program)).saturating_sub(descriptors_before);
    assert!(sockets <= UPSTREAM_SOCKETS, "{sockets} sockets");
    assert!(resident_after - resident_before.min(resident_after) < GROWTH_KIB_MAX, "{resident_after} KiB");
}

/// A resolver that sends us everything is one client, and reaches its limit soon while no upstream answers: what was
/// known is told all the same, over UDP and TCP.
#[test]
fn at_its_limit_a_client_is_told_what_was_said_before() {
    let upstream = answering(&["short.public.example. 1 IN A 198.51.100.1"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_program, door) = serve(&folder, upstream.address());
    assert_eq!(rcode_of(door, "short.public.example"), "NOERROR");
    upstream.behave(Behaviour::Silent);
    // There is no event that tells of the end of its lifetime.
    std::thread::sleep(Duration::from_millis(1_100));
    let client = ask::udp_client(LOOPBACK, door);
    for id in 0..=IN_FLIGHT_PER_CLIENT as u16 {
        client.send(&question(&format!("r{id}.random.example"), id)).expect("it listens");
    }
    let refused = ask::receive(&client).expect("one is too many");
    assert!(contains(&refused, "too many questions"), "the others wait for the upstream");
    let asked = question("short.public.example", 7);
    let over_udp = ask::over_udp(LOOPBACK, door, &asked).expect("a reply");
    let over_tcp = ask::over_tcp(LOOPBACK, door, &asked).expect("a reply");
    let refused = ask::over_udp(LOOPBACK, door, &question("other.public.example", 8)).expect("a reply");
    assert!(contains(&refused, "too many questions"), "the client is at its limit still");
    for reply in [over_udp, over_tcp] {
        let reply = Message::from_vec(&reply).expect("a message");
        let ttls: Vec<u32> = reply.answers.iter().map(|record| record.ttl).collect();
        assert_eq!((&*rcode(&reply), ttls), ("NOERROR", vec![30]));
        assert_eq!(extended_error(&reply), Some(3), "a stale answer");
    }
}

/// Whether a reply holds this text (of its extended error).
fn contains(reply: &[u8], text: &str) -> bool {
    reply.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Waits until an upstream has had so many questions.
fn wait_for_questions(upstream: &Upstream, count: usize) {
    let until = Instant::now() + ask::PATIENCE;
    while upstream.questions() < count {
        assert!(Instant::now() < until, "{} of {count} questions reach the upstream", upstream.questions());
        std::thread::sleep(Duration::from_millis(1));
    }
}

// -------------------------------------------------------------------------------- what a client has caused is its own

/// Another client than the loopback's.
const ANOTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + ask::PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many different names below public.example an upstream was asked for; names that look for loops are elsewhere.
fn names_asked(upstream: &Scripted) -> usize {
    let names: HashSet<_> = upstream.asked().iter().map(Asked::name).collect();
    names.iter().filter(|name| name.ends_with(".public.example")).count()
}

/// Ends a connection at once, with what it was asked.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
}

/// A client that breaks off its connections goes on having its questions in flight.
#[test]
fn connections_that_are_reset_keep_their_places_until_their_questions_are_over() {
    const OF_ONE: usize = 20;
    let upstream = Scripted::start(|_| vec![]);
    let limits = format!("[limits]\nin_flight = {}\nin_flight_per_client = {OF_ONE}\n", 3 * OF_ONE);
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + &limits));
    let connect = |connection: usize| {
        let mut stream = ask::tcp_client(LOOPBACK, served.door).expect("it listens");
        for n in 0..OF_ONE as u16 {
            let query = question(&format!("r{connection}-{n}.public.example"), n);
            ask::send_framed(&mut stream, &query).expect("it listens");
        }
        stream
    };
    let first = connect(0);
    wait_until("all of the first connection are asked", || names_asked(&upstream) == OF_ONE);
    reset(first);
    for connection in 1..4 {
        let mut stream = connect(connection);
        for _ in 0..OF_ONE {
            let reply = ask::receive_framed(&mut stream).expect("a reply at once");
            assert!(contains(&reply, "too many questions"), "connection {connection}");
        }
        reset(stream);
    }
    assert_eq!(names_asked(&upstream), OF_ONE, "no other was asked");
    let another = ask::udp_client(ANOTHER, served.door);
    another.send(&question("another.public.example", 1)).expect("it listens");
    wait_until("another client's is asked", || upstream.asked_for("another.public.example") > 0);
    // When the questions are over, the places are free.
    let again = ask::udp_client(LOOPBACK, served.door);
    wait_until("the first client may ask again", || {
        again.send(&question("again.public.example", 2)).expect("it listens");
        std::thread::sleep(Duration::from_millis(100));
        upstream.asked_for("again.public.example") > 0
    });
}

/// Who is told a stale answer goes on having its question in flight, over UDP and TCP.
#[test]
fn who_is_told_a_stale_answer_keeps_its_place_until_its_question_is_over() {
    const OF_ONE: usize = 20;
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let upstream = Scripted::start(move |asked| {
        let answer = Act::Send(octets(&asked.records(&["@ 1 IN A 198.51.100.1"])));
        if dead.load(Ordering::SeqCst) { vec![] } else { vec![answer] }
    });
    let (total, share) = (OF_ONE + 5, "in_flight_per_prefix");
    let limits = format!("[limits]\nin_flight = {total}\n{share} = {total}\nin_flight_per_client = {OF_ONE}\n");
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + &limits));
    for n in 0..OF_ONE {
        assert_eq!(served.ask(&format!("w{n}.public.example")).rcode(), "NOERROR");
    }
    is_dead.store(true, Ordering::SeqCst);
    // There is no event that tells of the end of their lifetime.
    std::thread::sleep(Duration::from_millis(1_100));
    let udp = ask::udp_client(LOOPBACK, served.door);
    let mut tcp = ask::tcp_client(LOOPBACK, served.door).expect("it listens");
    for n in 0..OF_ONE as u16 {
        let query = question(&format!("w{n}.public.example"), n);
        if n % 2 == 0 {
            udp.send(&query).expect("it listens");
        } else {
            ask::send_framed(&mut tcp, &query).expect("it listens");
        }
    }
    for n in 0..OF_ONE {
        let reply = if n % 2 == 0 { ask::receive(&udp) } else { ask::receive_framed(&mut tcp) };
        let reply = Message::from_vec(&reply.expect("a reply")).expect("a message");
        assert_eq!((&*rcode(&reply), extended_error(&reply)), ("NOERROR", Some(3)), "a stale answer");
    }
    let refused = ask::over_udp(LOOPBACK, served.door, &question("new.public.example", 1)).expect("a reply");
    assert!(contains(&refused, "too many questions"), "all are being asked still");
    let another = ask::udp_client(ANOTHER, served.door);
    another.send(&question("another.public.example", 1)).expect("it listens");
    wait_until("another client's is asked", || upstream.asked_for("another.public.example") > 0);
    wait_until("the first client may ask again", || {
        udp.send(&question("again.public.example", 2)).expect("it listens");
        std::thread::sleep(Duration::from_millis(100));
        upstream.asked_for("again.public.example") > 0
    });
}

/// However often one client asks for a name that many want, others may wait for it too.
#[test]
fn one_client_cannot_keep_others_from_waiting_for_a_name() {
    const OF_ONE: u16 = 1_200;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let upstream = Scripted::start(move |asked| {
        let answer = Act::Send(asked.address([198, 51, 100, 1]));
        if back.load(Ordering::SeqCst) { vec![answer] } else { vec![] }
    });
    let limits = format!("[limits]\nin_flight = 10000\nin_flight_per_client = {OF_ONE}\n");
    let served = Served::on_loopback(&(forwarding_to(&[upstream.address()]) + &limits));
    let one = ask::udp_client(LOOPBACK, served.door);
    for n in 0..OF_ONE {
        one.send(&question("popular.public.example", n)).expect("it listens");
        if n % 50 == 49 {
            // A reply to this one says that those before it have been taken.
            assert_eq!(rcode_of(served.door, "www.corp.example"), "NOERROR");
        }
    }
    let another = ask::udp_client(ANOTHER, served.door);
    another.send(&question("popular.public.example", 1)).expect("it listens");
    another.send(&question("www.corp.example", 2)).expect("it listens");
    let reply = ask::receive(&another).expect("a reply");
    assert_eq!((reply[1], reply[3] & 15), (2, 0), "the other one waits");
    is_back.store(true, Ordering::SeqCst);
    let reply = ask::receive(&another).expect("a reply");
    assert_eq!((reply[1], reply[3] & 15), (1, 0), "{reply:?}");
    assert_eq!(ask::receive(&one).expect("a reply")[3] & 15, 0);
}

// --------------------------------------------------------------------------------------------- the time of one query

/// Answers with a CNAME to this name, after so long.
fn leading_to(target: &'static str, after: Duration) -> Scripted {
    Scripted::start(move |asked| {
        vec![Act::SendLater(after, octets(&asked.records(&[&format!("@ 300 IN CNAME {target}")])))]
    })
}

/// A chain that leads through targets that are slow and others that are dead costs the client no more than one that is
/// dead.
#[test]
fn a_chain_over_slow_and_dead_targets_ends_in_time() {
    let (upstream, dead) = (Scripted::start(|_| vec![]), Scripted::start(|_| vec![]));
    let slow = Duration::from_millis(1_700);
    let (first, second) = (leading_to("y.second.example.", slow), leading_to("z.third.example.", slow));
    let served = Served::on_loopback(
        &(forwarding_to(&[upstream.address()])
            + &rule(1, "first.example", &[first.address()])
            + &rule(2, "second.example", &[second.address()])
            + &rule(3, "third.example", &[dead.address()])),
    );
    let (over_udp, over_tcp) = std::thread::scope(|scope| {
        let over_tcp = scope.spawn(|| served.ask_over_tcp(&Question::new("t.first.example", "A")));
        (served.ask("u.first.example"), over_tcp.join().expect("a reply"))
    });
    for reply in [over_udp, over_tcp] {
        assert_eq!(reply.rcode(), "SERVFAIL");
        assert!(contains(&reply.octets, "no upstream answered in time"), "{reply:?}");
        assert!(reply.took < Duration::from_secs(REPLY_SECONDS_MAX), "{:?}", reply.took);
        assert!(reply.took > Duration::from_millis(3_400), "each had its time: {:?}", reply.took);
    }
    assert!(dead.asked_for("z.third.example") > 0, "it was asked all the same");
}

#[test]
fn a_chain_that_takes_too_long_ends_with_the_old_answer_of_its_last_name() {
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let upstream = Scripted::start(|_| vec![]);
    let first = leading_to("y.second.example.", Duration::from_millis(2_800));
    let second = Scripted::start(move |asked| {
        let answer = Act::Send(octets(&asked.records(&["@ 1 IN A 198.51.100.1"])));
        if dead.load(Ordering::SeqCst) { vec![] } else { vec![answer] }
    });
    let served = Served::on_loopback(
        &(forwarding_to(&[upstream.address()])
            + &rule(1, "first.example", &[first.address()])
            + &rule(2, "second.example", &[second.address()])),
    );
    assert!(served.ask("y.second.example").is([198, 51, 100, 1]));
    is_dead.store(true, Ordering::SeqCst);
    let (over_udp, over_tcp) = std::thread::scope(|scope| {
        let over_tcp = scope.spawn(|| served.ask_over_tcp(&Question::new("t.first.example", "A")));
        (served.ask("u.first.example"), over_tcp.join().expect("a reply"))
    });
    for reply in [over_udp, over_tcp] {
        assert!(reply.is([198, 51, 100, 1]), "{reply:?}");
        assert_eq!(reply.extended_errors(), [3], "a stale answer");
        assert!(reply.took < Duration::from_secs(REPLY_SECONDS_MAX), "{:?}", reply.took);
    }
}

/// CNAMEs that lead from one rule's targets to another's and back, or on without end, are a failure, and soon.
#[test]
fn chains_without_end_over_several_targets_fail_at_once() {
    /// The number of a name and the domain that it leads to; none of a name that looks for loops.
    fn read(asked: &Asked) -> Option<(u32, &'static str)> {
        let name = asked.name();
        let (label, domain) = name.strip_prefix("name")?.split_once('.')?;
        Some((label.parse().ok()?, if domain.starts_with("first") { "second" } else { "first" }))
    }
    /// A CNAME to a name below the other domain, that far on.
    fn lead(asked: &Asked, by: u32) -> Vec<Act> {
        let Some((number, to)) = read(asked) else { return vec![] };
        vec![Act::Send(octets(&asked.records(&[&format!("@ 300 IN CNAME name{}.{to}.example.", number + by)])))]
    }
    for by in [0, 1] {
        let upstream = Scripted::start(|_| vec![]);
        let targets = [(); 2].map(|()| Scripted::start(move |asked| lead(asked, by)));
        let served = Served::on_loopback(
            &(forwarding_to(&[upstream.address()])
                + &rule(1, "first.example", &[targets[0].address()])
                + &rule(2, "second.example", &[targets[1].address()])),
        );
        let asked = || targets.iter().flat_map(Scripted::asked).filter(|asked| read(asked).is_some()).count();
        for reply in
            [served.ask("name1.first.example"), served.ask_over_tcp(&Question::new("name1.first.example", "A"))]
        {
            assert_eq!(reply.rcode(), "SERVFAIL");
            assert!(contains(&reply.octets, "CNAME chain over 11, or a loop"), "{reply:?}");
            assert!(reply.took < Duration::from_secs(REPLY_SECONDS_MAX), "{:?}", reply.took);
            assert!((2..=12).contains(&asked()), "{} questions, and none of them twice", asked());
        }
    }
}

#[test]
fn who_asked_before_sigterm_is_answered_after_it() {
    let upstream = answering(&["a.public.example. 300 IN A 198.51.100.1", "b.public.example. 300 IN A 198.51.100.2"]);
    upstream.behave(Behaviour::Silent);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut program, door) = serve(&folder, upstream.address());
    let udp = ask::udp_client(LOOPBACK, door);
    udp.send(&question("a.public.example", 1)).expect("it listens");
    let mut tcp = ask::tcp_client(LOOPBACK, door).expect("it listens");
    ask::send_framed(&mut tcp, &question("b.public.example", 2)).expect("it listens");
    wait_for_questions(&upstream, 2);
    program.signal("TERM");
    assert!(program.wait_for("leaving").is_some());
    // What is sent to it again is answered.
    upstream.behave(Behaviour::Answers);
    let replies = [ask::receive(&udp).expect("over UDP"), ask::receive_framed(&mut tcp).expect("over TCP")];
    for (reply, id) in replies.iter().zip(1..) {
        let reply = Message::from_vec(reply).expect("a message");
        assert_eq!((reply.id, &*rcode(&reply), reply.answers.len()), (id, "NOERROR", 1));
    }
    let (status, said) = program.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn without_descriptors_udp_goes_on_and_nothing_spins() {
    /// Descriptors of the process: its own, and a few dozen connections.
    const DESCRIPTORS: usize = 64;
    const CONNECTIONS: u8 = 200;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start(Vec::new(), Behaviour::Silent);
    let (program, door) = serve(&folder, upstream.address());
    drop(program);
    let mut shell = std::process::Command::new("sh");
    let run = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run --config \"$1\"");
    let program =
        Program::start(shell.args(["-c", &run]).arg(plustwo().get_program()).arg(folder.path().join("plustwo.toml")));
    assert!(program.wait_for("serving generation 1").is_some(), "{}", program.said());
    let idle: Vec<_> = (1..=CONNECTIONS)
        .map(|client| ask::tcp_client(Ipv4Addr::new(127, 0, 2, client).into(), door).expect("the queue has room"))
        .collect();
    let before = cpu_ticks(&program);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(rcode_of(door, "www.corp.example"), "NOERROR");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Ticks are hundredths of a second (proc(5)).
    let ticks = cpu_ticks(&program) - before;
    // Without a socket there is nothing to wait for, and with one nobody answers.
    assert_eq!(rcode_of(door, "a.public.example"), "SERVFAIL");
    assert!(ticks <= 10, "{ticks} % of a CPU");
    let over_tcp = ask::over_tcp(LOOPBACK, door, &question("www.corp.example", 3)).expect("the one idle longest goes");
    assert_eq!(over_tcp[3] & 15, 0);
    drop(idle);
}

/// CPU time that a process has used, in ticks.
fn cpu_ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("proc(5)").split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}
