//! What a forwarded question allocates, from the datagram that asks it to the one that answers it.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/worlds.rs"]
mod worlds;

use allocator::Counting;
use plustwo::aws::Model;
use plustwo::config::{Configuration, DoorPlaces, Settings};
use plustwo::daemon::Daemon;
use plustwo::dns::Rtype;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Allocations so far.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is none of the daemon's.
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// Counts one, unless the thread is one of the test's, or ending.
fn count() {
    if IS_OURS.try_with(Cell::get) == Ok(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Questions before the count begins: buffers, tables and sockets have their size by then.
const QUESTIONS_BEFORE: u32 = 3000;
/// Questions that are counted.
const QUESTIONS: u32 = 1000;
/// Allocations of one question at most, on the average.
const ALLOCATIONS_MAX: u64 = 3;

/// Asks questions that nobody has asked, a few at a time.
fn ask(client: &UdpSocket, numbers: std::ops::Range<u32>) {
    let mut octets = [0; 512];
    let numbers: Vec<u32> = numbers.collect();
    for window in numbers.chunks(20) {
        for number in window {
            let query = worlds::query(*number as u16, &format!("n{number}.outside.example"), Rtype::A, true);
            client.send(&query).expect("it listens");
        }
        for _ in window {
            let count = client.recv(&mut octets).expect("every question is answered");
            assert_eq!((octets[3] & 15, octets[7]), (0, 1), "{:?}", &octets[..count]);
        }
    }
}

#[test]
fn a_forwarded_question_allocates_little() {
    IS_OURS.set(true);
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = upstream.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        IS_OURS.set(true);
        let mut octets = [0; 1500];
        // A datagram without octets is the end.
        while let Ok((received @ 1.., from)) = upstream.recv_from(&mut octets) {
            upstream.send_to(&worlds::upstream_reply(&octets[..received]), from).expect("loopback takes it");
        }
    });
    let mut model: Model = worlds::small_model(vec![address]);
    model.shared.listen.clear();
    model.vpcs[0].listen = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)];
    model.vpcs[0].allow = vec!["127.0.0.0/8".parse().expect("a prefix")];
    let settings = Settings { workers: 1, ..Settings::default() };
    let daemon = Daemon::start(&Configuration {
        model,
        settings,
        door_places: DoorPlaces::default(),
        zones_of_files: Default::default(),
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    client.connect(daemon.door_addresses()[0]).expect("loopback");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout that is not zero");
    ask(&client, 0..QUESTIONS_BEFORE);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    ask(&client, QUESTIONS_BEFORE..QUESTIONS_BEFORE + QUESTIONS);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("{allocations} allocations for {QUESTIONS} questions");
    assert!(allocations >= u64::from(QUESTIONS), "the reply at least is kept: {allocations}");
    assert!(allocations <= ALLOCATIONS_MAX * u64::from(QUESTIONS), "{allocations}");
    daemon.stop();
    client.send_to(&[], address).expect("loopback takes it");
    thread.join().expect("the upstream ends");
}
