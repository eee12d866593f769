//! Every golden case, through every door: the pure function, UDP and TCP, on 127.0.0.1 and ::1. The grammar and how to
//! run some of them is in tests/cases/README.md.

mod support;

use hickory_proto::op::Message;
use plustwo::compile::{self, Contexts};
use plustwo::config::Configuration;
use plustwo::dns::cookie::{CookieSecret, CookieSecrets};
use plustwo::dns::reply::Transport;
use plustwo::dns::{HashSeed, Ttl};
use plustwo::forward::cache::CacheLimits;
use plustwo::forward::exchange::Options;
use plustwo::forward::reply::TtlLimits;
use plustwo::forward::{ForwardLimits, Forwarder, Millis};
use plustwo::serve::handle::{self, LookedUp, Outcome, Scratch, Slot};
use plustwo::serve::wall_clock::WallClock;
use plustwo::snapshot::{DoorIndex, HealthStates, Snapshot};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::ask;
use support::case::{Case, DoorName, Transports};
use support::world::{Running, World, door_index};

/// Cases of one world that are asked at the same time: those that wait for a silent upstream do not hold up the rest.
const CASES_AT_ONCE: usize = 8;
/// Octets of an A record whose owner is a pointer: all cases of truncation hold A records.
const ADDRESS_RECORD_OCTETS: usize = 16;
/// The two loopback addresses that every case is asked on.
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[test]
fn every_case_through_every_door() {
    let cases = cases();
    let mut worlds: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        worlds.entry(&case.world).or_default().push(case);
    }
    let verdict = Verdict::default();
    std::thread::scope(|scope| {
        for (name, cases) in &worlds {
            scope.spawn(|| play(name, cases, &verdict));
        }
    });
    let faults = verdict.faults.into_inner().expect("not poisoned");
    let asked = verdict.asked.load(Ordering::SeqCst);
    println!("{} cases in {} worlds, {asked} replies compared", cases.len(), worlds.len());
    for fault in &faults {
        println!("{fault}");
    }
    assert!(faults.is_empty(), "{} faults in {asked} comparisons", faults.len());
}

/// What has been found so far.
#[derive(Default)]
struct Verdict {
    asked: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Verdict {
    fn note(&self, case: &Case, how: &str, faults: Vec<String>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !faults.is_empty() {
            let list: String = faults.iter().map(|fault| format!("\n    {fault}")).collect();
            self.faults.lock().expect("not poisoned").push(format!("{} ({how}):{list}", case.title));
        }
    }
}

/// All cases, or those whose path contains `CASE`.
fn cases() -> Vec<Case> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "cases"].iter().collect();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let wanted = std::env::var("CASE").unwrap_or_default();
    let cases: Vec<Case> =
        paths.iter().map(|path| Case::read(&root, path)).filter(|case| case.title.contains(&wanted)).collect();
    assert!(!cases.is_empty(), "no case's path contains {wanted:?}");
    cases
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("tests/cases can be read") {
        let path = entry.expect("tests/cases can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "case") {
            paths.push(path);
        }
    }
}

/// Plays the cases of one world.
fn play(name: &str, cases: &[&Case], verdict: &Verdict) {
    let world = World::load(name);
    let pure = Pure::new(&world.configuration);
    let running = LOOPBACKS.map(|loopback| (loopback, world.start(loopback)));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    one(case, &pure, &running, verdict);
                }
            });
        }
    });
    for (_, running) in running {
        running.daemon.stop();
    }
}

/// Asks one case in every way that it can be asked.
fn one(case: &Case, pure: &Pure, running: &[(IpAddr, Running); 2], verdict: &Verdict) {
    let id: u16 = rand::random();
    let query = case.octets(id);
    let client = case.client.unwrap_or(LOOPBACKS[0]);
    for (transport, how) in [(Transport::Udp, "pure, as UDP"), (Transport::Tcp, "pure, as TCP")] {
        if case.transports != opposite(transport)
            && case.again.is_none()
            && let Some(reply) = pure.answer(case, client, transport, &query)
        {
            verdict.note(case, how, compare(case, &query, reply.as_deref()));
        }
    }
    let mut found = None;
    for (loopback, running) in running {
        let client = case.client.unwrap_or(*loopback);
        if client.is_ipv4() != loopback.is_ipv4() || !client.is_loopback() {
            continue;
        }
        let door = running.door(&case.door);
        if case.transports != Transports::TcpOnly {
            let faults = match asked_again(case, || over_udp(case, client, door, &query)) {
                Ok(reply) => {
                    let mut faults = compare(case, &query, reply.as_deref());
                    let room = reply_room(&query);
                    let octets = reply.as_ref().map_or(0, Vec::len);
                    if octets > room {
                        faults.push(format!("{octets} octets in a datagram to a client that may have {room}"));
                    }
                    if case.wants_as_many_as_fit() && octets + ADDRESS_RECORD_OCTETS <= room {
                        faults.push(format!("another record would have fitted: {octets} of {room} octets"));
                    }
                    faults
                }
                Err(error) => vec![format!("no reply: {error}")],
            };
            verdict.note(case, &format!("UDP, {loopback}"), faults);
        }
        if case.transports != Transports::UdpOnly {
            let reply = asked_again(case, || over_tcp(case, client, door, &query));
            let faults = match &reply {
                Ok(reply) => compare(case, &query, reply.as_deref()),
                Err(error) => vec![format!("no reply: {error}")],
            };
            verdict.note(case, &format!("TCP, {loopback}"), faults.clone());
            if loopback.is_ipv4() && !faults.is_empty() {
                found = reply.ok().flatten();
            }
        }
    }
    if let (Some(reply), Ok("1")) = (found, std::env::var("UPDATE_CASES").as_deref()) {
        std::fs::write(&case.path, case.updated(&reply)).expect("the case can be written");
    }
}

/// The transports that leave out this one.
fn opposite(transport: Transport) -> Transports {
    match transport {
        Transport::Udp => Transports::TcpOnly,
        Transport::Tcp => Transports::UdpOnly,
    }
}

/// What is wrong with a reply, or with silence.
fn compare(case: &Case, query: &[u8], reply: Option<&[u8]>) -> Vec<String> {
    match (reply, &case.reply) {
        (None, None) => Vec::new(),
        (None, Some(expected)) => vec![format!("silence, where {} is owed", expected.rcode)],
        (Some(reply), _) => case.faults(query, reply),
    }
}

/// The largest datagram that may answer a query: what its client takes, and no more than 25 times what it sent, for no
/// case has a cookie of ours.
fn reply_room(query: &[u8]) -> usize {
    let taken = match Message::from_vec(query) {
        Ok(message) if message.edns.is_some() => usize::from(message.max_payload()).clamp(512, 1232),
        _ => 512,
    };
    taken.min(25 * query.len())
}

/// A question that always gets a reply: asked behind one that must get none, its reply is the next thing to come.
fn canary(id: u16) -> Vec<u8> {
    ask::Question { class: 3, ..ask::Question::new("canary.invalid", "TXT") }.octets(id)
}

/// Asks once, and where the case says so again a while later; the last reply.
fn asked_again<T>(case: &Case, ask: impl Fn() -> io::Result<T>) -> io::Result<T> {
    if let Some(pause) = case.again {
        ask()?;
        // A TTL has to end: there is no event to wait for.
        std::thread::sleep(pause);
    }
    ask()
}

/// Asks over UDP; none for silence.
fn over_udp(case: &Case, client: IpAddr, door: SocketAddr, query: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let socket = ask::udp_client(client, door);
    socket.send(query)?;
    if case.reply.is_some() {
        return ask::receive(&socket).map(Some);
    }
    let canary = canary(0xcafe);
    socket.send(&canary)?;
    let reply = ask::receive(&socket)?;
    Ok((!reply.starts_with(&canary[..2])).then_some(reply))
}

/// Asks over TCP; none for silence, or for a connection that is closed without a word.
fn over_tcp(case: &Case, client: IpAddr, door: SocketAddr, query: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut stream = ask::tcp_client(client, door)?;
    ask::send_framed(&mut stream, query)?;
    if case.reply.is_some() {
        return ask::receive_framed(&mut stream).map(Some);
    }
    let canary = canary(0xcafe);
    let reply = ask::send_framed(&mut stream, &canary).and_then(|()| ask::receive_framed(&mut stream));
    match reply {
        Ok(reply) => Ok((!reply.starts_with(&canary[..2])).then_some(reply)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(_) => Ok(None),
    }
}

/// The engine without sockets: octets in, octets out.
struct Pure {
    snapshot: Snapshot,
    forwarder: Forwarder,
    configuration: Configuration,
}

impl Pure {
    fn new(configuration: &Configuration) -> Self {
        let mut snapshot = compile::compile(
            &configuration.model,
            &mut Contexts::default(),
            &HealthStates::default(),
            HashSeed(rand::random()),
        );
        snapshot.protection.cookies = Some(CookieSecrets::new(CookieSecret(rand::random()), &[]));
        let settings = &configuration.settings;
        let forwarder = Forwarder::new(ForwardLimits {
            cache: CacheLimits {
                octets_max: 1 << 20,
                ttls: TtlLimits {
                    ttl_max: settings.cache.max_ttl,
                    negative_ttl_max: settings.cache.negative_max_ttl,
                    failure_ttl: Ttl::from_wire(5),
                },
                stale_seconds: 86_400,
                prefetch: true,
            },
            in_flight_max: settings.limits.in_flight,
            in_flight_per_target_max: 1,
            sockets_max: 1,
            options: Options::default(),
        });
        Self { snapshot, forwarder, configuration: configuration.clone() }
    }

    /// What comes back: nothing to compare if others have to be asked first, else a reply or silence.
    fn answer(&self, case: &Case, client: IpAddr, transport: Transport, query: &[u8]) -> Option<Option<Vec<u8>>> {
        let door = match &case.door {
            DoorName::Shared => 0,
            door => door_index(&self.configuration.model, door),
        };
        let (mut slot, mut scratch) = (Slot::default(), Scratch::default());
        let mut out = vec![0; transport.buffer_octets()];
        let around = handle::Surroundings {
            snapshot: &self.snapshot,
            forwarder: &self.forwarder,
            now: Millis(0),
            pick: rand::random(),
            transport,
            looked_up: LookedUp::NotYet,
            fetched: &[],
        };
        let client = client.to_canonical();
        handle::begin(&mut slot, &self.snapshot, query, DoorIndex(door as u32), client);
        handle::meet_cookie(&mut slot, &self.snapshot, client, &mut WallClock::default());
        match handle::complete(&slot, &mut scratch, &around, query, &mut out) {
            Outcome::Reply(reply) => Some(Some(out[..reply.octets].to_vec())),
            Outcome::Silent | Outcome::Dropped => Some(None),
            Outcome::Miss(_) => None,
        }
    }
}
