//! Reload under load: the real program, SIGHUP after SIGHUP, 100,000 queries over UDP and TCP; none lost, none wrong.
//! Then what a bad file, and one that asks for too much, do: nothing.

mod support;

use hickory_proto::op::Message;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use support::ask::{self, Question};
use support::binary::{Program, free_port, plustwo};
use support::case::rcode;
use support::present::present;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Queries of the whole test.
const QUERIES: usize = 100_000;
/// UDP clients, each with its own socket.
const UDP_CLIENTS: usize = 4;
/// TCP clients, each with one connection.
const TCP_CLIENTS: usize = 2;
/// Queries that a client has outstanding: fewer than any socket buffer holds, so that none is lost on the way.
const WINDOW: usize = 50;
/// Names of the zone: enough that a reload takes a while.
const NAMES: usize = 20_000;
/// Reloads at least.
const RELOADS_MIN: u32 = 5;

/// The configuration and its zone, half of it in a file that it includes, in which every name has the two addresses of
/// one generation.
fn write_world(folder: &Path, door: SocketAddr, generation: u32) {
    let [_, _, high, low] = generation.to_be_bytes();
    let records = |names: std::ops::Range<usize>| -> String {
        names.map(|name| format!("n{name} 60 A 10.1.{high}.{low}\nn{name} 60 A 10.2.{high}.{low}\n")).collect()
    };
    replace(&folder.join("included"), &records(NAMES / 2..NAMES));
    replace(&folder.join("zone"), &(records(0..NAMES / 2) + "$INCLUDE included\n"));
    let configuration = format!(
        "version = 1\nregion = \"eu-central-1\"\n[upstream]\ntargets = []\n[server]\nwatch = false\n[[vpc]]\nid = \"vpc-0a\"\nlisten = [\"{door}\"]\n\
         [[hosted_zone]]\nid = \"Z0\"\nname = \"corp.example.com\"\nvpcs = [\"vpc-0a\"]\nfile = \"zone\"\n"
    );
    replace(&folder.join("plustwo.toml"), &configuration);
}

/// Replaces a file as editors do: whole, by a rename.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file can be written");
    std::fs::rename(&new, path).expect("a file can be renamed");
}

/// Starts the program on a free port of the loopback.
fn serve(folder: &Path) -> (Program, SocketAddr) {
    for _ in 0..8 {
        let door = free_port(LOOPBACK);
        write_world(folder, door, 1);
        let program = Program::start(plustwo().args(["run", "--config"]).arg(folder.join("plustwo.toml")));
        if program.wait_for("serving generation 1").is_some() {
            return (program, door);
        }
    }
    panic!("no free port");
}

/// The generation that a reply is of: both its addresses must say the same one.
fn generation(reply: &[u8]) -> u32 {
    let message = Message::from_vec(reply).expect("hickory-proto reads it");
    assert_eq!(rcode(&message), "NOERROR");
    let addresses: BTreeSet<Ipv4Addr> = message
        .answers
        .iter()
        .map(|record| present(record).rsplit(' ').next().expect("rdata").parse().expect("an address"))
        .collect();
    let generations: BTreeSet<[u8; 2]> =
        addresses.iter().map(|address| [address.octets()[2], address.octets()[3]]).collect();
    assert_eq!((addresses.len(), generations.len()), (2, 1), "two addresses of one generation, not {addresses:?}");
    generations.first().map_or(0, |[high, low]| u32::from_be_bytes([0, 0, *high, *low]))
}

/// The query with this id: its name follows from it.
fn query(id: u16) -> Vec<u8> {
    Question::new(&format!("n{}.corp.example.com", usize::from(id) % NAMES), "A").octets(id)
}

/// What all clients share.
struct Load {
    left: AtomicUsize,
    newest: AtomicU32,
}

impl Load {
    /// Takes the next `wanted` queries of the test; how many are left to take.
    fn take(&self, wanted: usize) -> usize {
        let taken =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(wanted)));
        taken.expect("it always updates").min(wanted)
    }

    /// Checks one reply: it is of a generation that has been written, and answers the query of its id.
    fn check(&self, reply: &[u8], asked: &mut BTreeSet<u16>) {
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        assert!(asked.remove(&id), "a reply to a query that was not asked, or a second one");
        let question = query(id);
        let question = &question[12..question.len() - 11];
        assert_eq!(&reply[12..12 + question.len()], question, "the reply is to another question");
        let newest = self.newest.load(Ordering::SeqCst);
        let generation = generation(reply);
        assert!((1..=newest).contains(&generation), "generation {generation} of {newest}");
    }
}

/// Asks over UDP, a window at a time.
fn udp_client(door: SocketAddr, load: &Load) {
    let socket = ask::udp_client(LOOPBACK, door);
    let mut id = 0u16;
    loop {
        let count = load.take(WINDOW);
        if count == 0 {
            return;
        }
        let mut asked = BTreeSet::new();
        for _ in 0..count {
            id = id.wrapping_add(1);
            asked.insert(id);
            socket.send(&query(id)).expect("a query can be sent");
        }
        while !asked.is_empty() {
            let reply = ask::receive(&socket).unwrap_or_else(|error| panic!("{} queries lost: {error}", asked.len()));
            load.check(&reply, &mut asked);
        }
    }
}

/// Asks over one TCP connection, a window at a time, pipelined.
fn tcp_client(door: SocketAddr, load: &Load) {
    let mut stream = ask::tcp_client(LOOPBACK, door).expect("the door is open");
    let mut id = 0u16;
    loop {
        let count = load.take(WINDOW);
        if count == 0 {
            return;
        }
        let mut asked = BTreeSet::new();
        let mut octets = Vec::new();
        for _ in 0..count {
            id = id.wrapping_add(1);
            asked.insert(id);
            let message = query(id);
            octets.extend_from_slice(&(message.len() as u16).to_be_bytes());
            octets.extend_from_slice(&message);
        }
        stream.write_all(&octets).expect("queries can be sent");
        while !asked.is_empty() {
            let reply = ask::receive_framed(&mut stream).expect("no query is lost over TCP");
            load.check(&reply, &mut asked);
        }
    }
}

/// How far the threads of a process whose names begin so step back for others, in the order of their ids.
fn nice_of_threads(process: u32, name: &str) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nice = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        // proc_pid_stat(5): the name stands in brackets, "nice" is field 19.
        let (head, rest) = stat.rsplit_once(") ")?;
        let is_wanted = head.split_once('(')?.1.starts_with(name);
        is_wanted.then(|| rest.split(' ').nth(16)?.parse().ok()).flatten()
    });
    nice.collect()
}

#[test]
fn reading_files_again_steps_back_for_those_who_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (program, door) = serve(folder.path());
    write_world(folder.path(), door, 2);
    program.signal("HUP");
    assert!(program.wait_for("reloaded generation=2 ").is_some());
    let own = nice_of_threads(std::process::id(), "")[0];
    let (main, workers) = (nice_of_threads(program.id(), "plustwo"), nice_of_threads(program.id(), "udp-"));
    assert!(!workers.is_empty() && workers.iter().all(|nice| *nice == own), "{workers:?}, and we are {own}");
    assert!(main.iter().all(|nice| *nice == (own + 10).min(19)), "{main:?}, and we are {own}");
}

#[test]
fn a_hundred_thousand_queries_while_it_reloads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut program, door) = serve(folder.path());
    let load = Load { left: AtomicUsize::new(QUERIES), newest: AtomicU32::new(1) };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..UDP_CLIENTS + TCP_CLIENTS)
            .map(|client| {
                let load = &load;
                scope.spawn(move || if client < UDP_CLIENTS { udp_client(door, load) } else { tcp_client(door, load) })
            })
            .collect();
        for next in 2.. {
            load.newest.store(next, Ordering::SeqCst);
            write_world(folder.path(), door, next);
            program.signal("HUP");
            let said = program.wait_for(&format!("reloaded generation={next} "));
            assert!(said.is_some(), "it ended:\n{}", program.said());
            // What is asked from now on has the new answer.
            let reply = ask::over_udp(LOOPBACK, door, &query(7)).expect("it answers");
            assert_eq!(generation(&reply), next, "the first query after the reload has the old answer");
            if next > RELOADS_MIN && clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
    });
    program.signal("TERM");
    let (status, said) = program.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut program, door) = serve(folder.path());
    let file = folder.path().join("plustwo.toml");
    let good = std::fs::read_to_string(&file).expect("it is there");
    let bad = [
        ("not TOML", "version = = 1".to_owned(), "error"),
        ("empty", String::new(), "`version`"),
        ("a key that is none", good.replace("targets", "tragets"), "tragets"),
        ("a zone file that is not there", good.replace("file = \"zone\"", "file = \"gone\""), "gone"),
        ("every address", good.replace("127.0.0.1", "0.0.0.0"), "restart"),
        (
            "an address of nobody here",
            good.replace(&door.to_string(), "192.0.2.1:5300"),
            "cannot listen on 192.0.2.1:5300",
        ),
        ("other workers", good.replace("watch", "workers = 3\nwatch"), "restart"),
    ];
    for (what, text, words) in &bad {
        let before = program.said().len();
        replace(&file, text);
        program.signal("HUP");
        // The log line comes last, so by then the reason stands above it.
        let mut said = program.said();
        while !said[before..].contains("reload ") {
            program.wait_for_more(said.len());
            said = program.said();
        }
        assert!(said[before..].contains(words), "{what}: it must say {words:?}, but said:\n{}", &said[before..]);
        assert!(said[before..].contains("generation=1"), "{what}: which generation is served?\n{}", &said[before..]);
        let reply = ask::over_udp(LOOPBACK, door, &query(7)).expect("it answers");
        assert_eq!(generation(&reply), 1, "{what}");
    }
    replace(&file, &good);
    program.signal("HUP");
    assert!(program.wait_for("reloaded generation=2 ").is_some());
    program.signal("INT");
    assert_eq!(program.wait().0.code(), Some(0));
}
