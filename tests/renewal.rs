//! A cached answer that is asked for shortly before its lifetime ends is asked for again, once, and nobody waits for it.

#[path = "support/worlds.rs"]
mod worlds;

use plustwo::dns::{Class, Rtype};
use plustwo::forward::lane::{LaneSetup, Orders};
use plustwo::forward::streams::{StreamSettings, StreamTargets, TlsRoots};
use plustwo::forward::{Ask, Forwarder, Millis};
use plustwo::serve::later::{Waiter, Waiters};
use plustwo::serve::open_doors::OpenDoors;
use plustwo::serve::server::Server;
use plustwo::serve::udp::worker::{BatchWork, Batched, Datagrams};
use plustwo::snapshot::{Authority, ContextId, DoorIndex};
use plustwo::udp::sys::{REPLY_OCTETS, Received};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the upstream's answers have to live, in milliseconds.
const LIFETIME: u64 = 3_600_000;
/// The name that is asked for.
const NAME: &str = "www.outside.example";

/// The same query in every place of a batch.
struct Same {
    query: Vec<u8>,
    client: IpAddr,
    replies: Vec<[u8; REPLY_OCTETS]>,
    octets: Vec<usize>,
}

impl Same {
    fn new(count: usize) -> Self {
        let query = worlds::query(7, NAME, Rtype::A, true);
        Self { query, client: worlds::client(0), replies: vec![[0; REPLY_OCTETS]; count], octets: vec![0; count] }
    }

    fn received(&self) -> Received<'_> {
        let client = SocketAddr::new(self.client, 4000);
        Received { octets: &self.query, client, local: None, truncated: false }
    }
}

impl Datagrams for Same {
    fn datagram(&self, _: usize) -> Received<'_> {
        self.received()
    }

    fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]) {
        let client = SocketAddr::new(self.client, 4000);
        let received = Received { octets: &self.query, client, local: None, truncated: false };
        (received, &mut self.replies[slot])
    }

    fn set_reply(&mut self, slot: usize, octets: usize) {
        self.octets[slot] = octets;
    }
}

/// Answers three queries for the name in one batch, all of them from the cache; what it has for the lanes.
fn answered(server: &Server) -> Orders<Waiter> {
    let (mut work, mut batch, mut orders) = (BatchWork::default(), Same::new(3), server.lanes.orders());
    let published = server.publisher.current();
    let (counters, began) = (&server.counters[0], server.precisely());
    let batched = Batched { server, published: &published, counters, door: DoorIndex(0), began };
    batched.answer(&mut work, &mut batch, 3, &mut orders);
    for (reply, octets) in batch.replies.iter().zip(&batch.octets) {
        assert_eq!((reply[3] & 15, reply[7], *octets > 12), (0, 1, true), "answered at once");
    }
    orders
}

/// Whether the name's address is known at a moment.
fn is_known(forwarder: &Forwarder, context: ContextId, now: Millis) -> bool {
    let qname = worlds::wire(NAME);
    let ask =
        Ask { context, qname: &qname, qtype: Rtype::A, class: Class::IN, dnssec_ok: false, checking_disabled: false };
    forwarder.cached(&ask, now).is_some()
}

#[test]
fn one_hit_in_the_last_tenth_of_a_lifetime_renews_the_answer() {
    let upstream = worlds::Upstream::start();
    let model = worlds::small_model(vec![upstream.address]);
    let forwarder = worlds::forwarder();
    let snapshot = || worlds::snapshot(&model);
    worlds::fill_cache(&forwarder, &snapshot(), &[NAME.to_owned()]);
    let Authority::Forward(index) = snapshot().views[0].otherwise else { panic!("the world has an upstream") };
    let context = snapshot().context(index).id;
    let early = worlds::server_at(snapshot(), &forwarder, Millis(LIFETIME / 2));
    assert!(answered(&early).is_empty(), "nine tenths are not over");

    let server = worlds::server_at(snapshot(), &forwarder, Millis(LIFETIME / 20 * 19));
    let mut orders = answered(&server);
    assert_eq!(orders.len(), 1, "one of three");
    assert!(answered(&server).is_empty(), "and no other");
    assert_eq!(server.in_flight.total(), 1, "it has a place among the questions in flight, of who asked");

    let just_after = Millis(LIFETIME + 60_000);
    assert!(!is_known(&forwarder, context, just_after));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let settings = StreamSettings { roots: TlsRoots::new([], []).expect("none is unusable"), bootstrap: Vec::new() };
    let streams = StreamTargets::new(settings, runtime.handle().clone());
    let door = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let clock = plustwo::forward::clock::Clock::at(server.now());
    let doors = OpenDoors::new(vec![vec![door]], 1).expect("bells");
    let waiters = |lane| Waiters::new(&server, lane, &doors);
    let lanes = server.lanes.start(&LaneSetup { streams, clock }, waiters).expect("threads");
    server.lanes.submit_all(&mut orders);
    let began = Instant::now();
    while !is_known(&forwarder, context, just_after) {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not renewed");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(answered(&server).is_empty(), "what is new is not renewed");
    while server.in_flight.total() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "its place is not given back");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(lanes);
}

#[test]
fn a_client_at_its_limit_renews_nothing() {
    let upstream = worlds::Upstream::start();
    let model = worlds::small_model(vec![upstream.address]);
    let forwarder = worlds::forwarder();
    let snapshot = || worlds::snapshot(&model);
    worlds::fill_cache(&forwarder, &snapshot(), &[NAME.to_owned()]);
    let server = worlds::server_at(snapshot(), &forwarder, Millis(LIFETIME / 20 * 19));
    let client = worlds::client(0);
    let places: Vec<_> = std::iter::from_fn(|| server.in_flight.admit(client)).collect();
    assert!(!places.is_empty());
    assert!(answered(&server).is_empty(), "no place is left");
    assert_eq!(server.in_flight.total(), places.len());
}
