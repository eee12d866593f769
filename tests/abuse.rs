//! Clients that mean harm, or are broken: what they take is bounded, and everyone else is served meanwhile. Who sends
//! malformed octets, who does not read, who does nothing, who takes an octet a second, and who does all of that at once.

mod support;

use hickory_proto::op::Message;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use support::ask::{self, PATIENCE, Question};
use support::served::Served;

/// Where those are who mean harm.
const ABUSER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 3, 1));
/// What any of this may add to the process, in KiB.
const GROWTH_KIB_MAX: u64 = 50 << 10;
/// Malformed datagrams that are sent.
const MALFORMED: usize = 20_000;
/// How many of them are sent before the program is asked something good, whose reply is waited for: no buffer runs over.
const MALFORMED_AT_ONCE: usize = 100;
/// Connections that do nothing.
const IDLE: usize = 300;
/// Connections that send an octet now and then.
const TRICKLING: usize = 50;

/// The program with a private name of one address, and one of many octets.
fn serve(more: &str) -> Served {
    let text = "x".repeat(250);
    let values: String = (0..60).map(|number| format!("'\"{number:02}{text}\"', ")).collect();
    Served::on_loopback(&format!(
        "version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [] }}\n{more}\n\
         [[vpc]]\nid = \"vpc-0a\"\nlisten = [\"@DOOR@\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example\"\nvpcs = [\"vpc-0a\"]\n\
         records = [\n  {{ name = \"www\", type = \"A\", values = [\"10.0.0.1\"] }},\n  \
         {{ name = \"large\", type = \"TXT\", values = [{values}] }},\n]\n"
    ))
}

/// Whoever means no harm is served, over UDP and on a new TCP connection.
#[track_caller]
fn others_are_served(served: &Served) {
    let question = Question::new("www.corp.example", "A");
    assert!(served.ask_for(&question).is([10, 0, 0, 1]), "UDP");
    assert!(served.ask_over_tcp(&question).is([10, 0, 0, 1]), "TCP");
}

/// A connection of somebody who means harm.
fn connect(served: &Served) -> TcpStream {
    ask::tcp_client(ABUSER, served.door).expect("it listens")
}

/// Whether the other side has closed a connection, or does so within a time.
fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a time-out that is not zero");
    let mut octets = [0; 4096];
    loop {
        match stream.read(&mut octets) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    }
}

#[test]
fn twenty_thousand_malformed_datagrams() {
    let served = serve("");
    let good = Question::new("www.corp.example", "A").octets(1);
    let before = served.resident_kib();
    let socket = ask::udp_client(ABUSER, served.door);
    let mut octets = good.clone();
    for number in 0..MALFORMED {
        octets.clear();
        octets.extend_from_slice(&good);
        // Each of another kind: octets changed at random, cut off, made longer.
        for _ in 0..=number % 7 {
            let at = rand::random_range(0..octets.len());
            octets[at] = rand::random();
        }
        octets.truncate(if number % 3 == 0 { rand::random_range(0..=good.len()) } else { good.len() });
        if number % 5 == 0 {
            octets.extend((0..rand::random_range(0..1000)).map(|_| rand::random::<u8>()));
        }
        socket.send(&octets).expect("it listens");
        if number % MALFORMED_AT_ONCE == 0 {
            others_are_served(&served);
        }
    }
    others_are_served(&served);
    let grown = served.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    assert!(!served.program.said().contains("panicked"), "{}", served.program.said());
}

/// Asks for large answers and reads none: no more is read from it, and after the time-out it is closed.
#[test]
fn a_client_that_never_reads() {
    let served = serve("[limits]\ntcp_idle_seconds = 2");
    let before = served.resident_kib();
    let query = Question::new("large.corp.example", "TXT").octets(3);
    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
    let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(&served)).collect();
    for stream in &streams {
        stream.set_nonblocking(true).expect("it can be set");
    }
    // Sends all that is taken, until all have been given up.
    let until = Instant::now() + PATIENCE;
    let mut most = 0;
    while !streams.is_empty() {
        assert!(Instant::now() < until, "{} are still open", streams.len());
        streams.retain_mut(|stream| {
            loop {
                match stream.write(&framed) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
            }
        });
        others_are_served(&served);
        most = most.max(served.resident_kib());
    }
    assert!(most.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB, then {most}");
}

/// More connections than there may be of a prefix, from many addresses of it: the oldest go, others keep theirs.
#[test]
fn three_hundred_idle_connections() {
    const OF_PREFIX: usize = 100;
    let limits =
        format!("[limits]\ntcp_connections = 200\ntcp_connections_per_prefix = {OF_PREFIX}\ntcp_idle_seconds = 60");
    let served = serve(&limits);
    let before = served.resident_kib();
    let question = Question::new("www.corp.example", "A").octets(5);
    // Somebody else has been there for longer than all of them, and is idle too.
    let mut other = ask::tcp_client(served.client, served.door).expect("it listens");
    let asks = |stream: &mut TcpStream| -> bool {
        ask::send_framed(stream, &question).expect("it is open");
        Message::from_vec(&ask::receive_framed(stream).expect("it is open")).expect("a message").answers.len() == 1
    };
    assert!(asks(&mut other));
    let mut idle: Vec<TcpStream> = (0..IDLE)
        .map(|number| {
            let client = Ipv4Addr::new(127, 0, 3, 1 + (number % 250) as u8);
            ask::tcp_client(client.into(), served.door).expect("it listens")
        })
        .collect();
    others_are_served(&served);
    let kept = idle.split_off(IDLE - OF_PREFIX + 1);
    for (number, stream) in idle.iter_mut().take(IDLE - OF_PREFIX).enumerate() {
        assert!(is_closed(stream, PATIENCE), "connection {number} made room");
    }
    assert_eq!(kept.len(), OF_PREFIX - 1);
    for mut stream in kept {
        assert!(asks(&mut stream), "the last ones are served");
    }
    assert!(asks(&mut other), "another prefix has lost nothing");
    let grown = served.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
}

/// Queries that come in single octets, slower than anybody waits: they do not keep a connection open.
#[test]
fn queries_that_trickle_in() {
    let served = serve("[limits]\ntcp_idle_seconds = 2");
    let question = Question::new("www.corp.example", "A").octets(5);
    let framed = [&(question.len() as u16).to_be_bytes()[..], &question].concat();
    let mut streams: Vec<TcpStream> = (0..TRICKLING).map(|_| connect(&served)).collect();
    let began = Instant::now();
    for octet in &framed {
        // An octet a second is what is said of such clients; a few are enough to outlast two seconds.
        for stream in &mut streams {
            // Broken where it has been closed already.
            let _ = stream.write_all(&[*octet]);
        }
        others_are_served(&served);
        if streams.iter_mut().all(|stream| is_closed(stream, Duration::ZERO)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(began.elapsed() < PATIENCE, "they were open for {:?}", began.elapsed());
    assert!(streams.iter_mut().all(|stream| is_closed(stream, Duration::ZERO)));
}
