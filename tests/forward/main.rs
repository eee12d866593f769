//! Forwarding over real sockets and real lanes: upstreams on ephemeral loopback ports, hickory-proto to read and write
//! their messages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/asking.rs"]
mod asking;
mod bounds;
mod forgery;
mod late;
mod loops;
mod outcomes;
mod stale;
mod targets;
mod upstream;

use asking::{Asking, told};
use plustwo::dns::{Class, Name, Rtype, TargetGroup, Ttl};
use plustwo::forward::cache::CacheLimits;
use plustwo::forward::counters::CounterValues;
use plustwo::forward::exchange::Options;
use plustwo::forward::reply::TtlLimits;
use plustwo::forward::{Ask, ContextId, ForwardLimits, Forwarder, Millis, Outcome};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// When tests begin, on the clock of the lanes.
const T0: Millis = Millis(10_000);

/// Limits that no test reaches by accident.
fn limits() -> ForwardLimits {
    let ttl = |seconds| Ttl::from_seconds(seconds).unwrap();
    let ttls = TtlLimits { ttl_max: ttl(86_400), negative_ttl_max: ttl(3_600), failure_ttl: ttl(5) };
    ForwardLimits {
        cache: CacheLimits { octets_max: 8 << 20, ttls, stale_seconds: 86_400, prefetch: true },
        in_flight_max: 1000,
        in_flight_per_target_max: 1000,
        sockets_max: 256,
        options: Options::default(),
    }
}

/// A forwarder, and lanes for it. Fields are dropped in their order: lanes first.
struct World {
    asking: Asking,
    forwarder: Forwarder,
    group: Arc<TargetGroup>,
}

impl World {
    /// One lane, and these targets over UDP.
    fn new(targets: &[SocketAddr]) -> Self {
        Self::with(limits(), targets)
    }

    /// The same within other limits.
    fn with(limits: ForwardLimits, targets: &[SocketAddr]) -> Self {
        Self::of(limits, TargetGroup::do53(targets.iter().copied()))
    }

    /// The same for any targets.
    fn of(limits: ForwardLimits, group: TargetGroup) -> Self {
        let forwarder = Forwarder::new(limits);
        Self { asking: Asking::start(&forwarder, 1, T0), forwarder, group: Arc::new(group) }
    }

    /// Another lane with the same cache and the same knowledge of targets, so much later.
    fn later(&self, millis: u64) -> Self {
        let forwarder = self.forwarder.clone();
        let asking = Asking::start(&forwarder, 1, self.now().plus(millis));
        Self { asking, forwarder, group: Arc::clone(&self.group) }
    }

    /// This moment.
    fn now(&self) -> Millis {
        self.asking.clock.now()
    }

    /// Asks for the addresses of a name.
    fn ask(&self, label: &str) -> Receiver<Outcome> {
        self.asking.ask(&ask(&name(label)), &self.group)
    }

    /// Asks for the addresses of a name, and waits.
    fn outcome(&self, label: &str) -> Outcome {
        told(&self.ask(label))
    }

    /// What the cache has of a name.
    fn cached(&self, label: &str) -> Option<Outcome> {
        self.forwarder.cached(&ask(&name(label)), self.now())
    }

    fn counters(&self) -> CounterValues {
        self.forwarder.counters()
    }
}

/// A name below corp.example.
fn name(label: &str) -> Name {
    Name::from_labels([label.as_bytes(), b"corp", b"example"]).unwrap()
}

/// A question for its addresses.
fn ask(name: &Name) -> Ask<'_> {
    Ask {
        context: ContextId(0),
        qname: name.as_wire(),
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// The last octet of the address that a reply gives.
fn last_octet(outcome: &Outcome) -> u8 {
    let reply = outcome.as_ref().expect("there is a reply");
    upstream::last_octet(reply.octets())
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
