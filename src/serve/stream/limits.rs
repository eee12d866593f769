//! How many connections there may be, and who goes when there is one too many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The bounds of the streams that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one client: an IPv4 address, or the /64 of an IPv6 address, for whoever has one has all.
    pub connections_per_client: usize,
    /// Connections of the clients of one prefix: an IPv4 /24, or an IPv6 /56.
    pub connections_per_prefix: usize,
    /// How long a connection may have nothing asked and nothing owed; also how long one message may take to arrive.
    pub idle: Duration,
    /// How long a client may take to receive what was owed to it.
    pub write: Duration,
}

/// The seats of all connections. One is needed to be served.
// Invariant: per_client and per_prefix hold, for each client and prefix with a seat, how many of `seats` it has.
pub(super) struct Seats {
    limits: StreamLimits,
    /// Counts what happened on all connections: which of two was useful last needs an order and no clock.
    events: AtomicU64,
    taken: Mutex<Taken>,
}

/// The seats that are taken.
#[derive(Default)]
struct Taken {
    seats: HashMap<u64, Arc<Occupancy>>,
    per_client: HashMap<Client, usize>,
    per_prefix: HashMap<Prefix, usize>,
    next: u64,
    reached: SeatsReached,
}

/// How often which limit was reached, so that somebody had to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeatsReached {
    /// That of all connections.
    pub total: u64,
    /// That of one client.
    pub per_client: u64,
    /// That of one prefix.
    pub per_prefix: u64,
}

/// What the others may know of a connection.
struct Occupancy {
    client: Client,
    /// When it last did something useful; the larger, the later it goes.
    rank: AtomicU64,
    evicted: Notify,
}

/// One connection's seat; dropping it makes room.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    occupancy: Arc<Occupancy>,
}

impl Seats {
    /// As many seats as the limits say, none taken.
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self { limits, events: AtomicU64::new(0), taken: Mutex::default() }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().seats.len()
    }

    /// How many there are.
    pub(super) fn max(&self) -> usize {
        self.limits.connections
    }

    /// How often which limit was reached.
    pub(super) fn reached(&self) -> SeatsReached {
        self.lock().reached
    }

    /// Sends away the connection that has been idle longest, if there is any.
    pub(super) fn evict_idle_longest(&self) {
        self.lock().evict(|_| true);
    }

    /// The next place in the order of leaving: idle connections first, then by what happened last.
    fn rank(&self, work: Work) -> u64 {
        let event = self.events.fetch_add(1, Ordering::Relaxed);
        match work {
            Work::None => event,
            Work::InFlight => event | IN_FLIGHT_BIT,
        }
    }

    /// The table, also after a panic elsewhere: every change of it is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Sends away the connection that has been idle longest among those that match.
    // A walk over all seats, at most `connections` of them and only at a limit: a few microseconds for a thousand.
    fn evict(&mut self, matches: impl Fn(Client) -> bool) {
        let eldest = self
            .seats
            .iter()
            .filter(|(_, occupancy)| matches(occupancy.client))
            .min_by_key(|(number, occupancy)| (occupancy.rank.load(Ordering::Relaxed), **number))
            .map(|(number, _)| *number);
        if let Some(occupancy) = eldest.and_then(|number| self.release(number)) {
            occupancy.evicted.notify_one();
        }
    }

    /// Frees a seat, once.
    fn release(&mut self, number: u64) -> Option<Arc<Occupancy>> {
        let occupancy = self.seats.remove(&number)?;
        count_down(&mut self.per_client, occupancy.client);
        count_down(&mut self.per_prefix, occupancy.client.prefix());
        Some(occupancy)
    }
}

/// One less of a key; it goes with its last one.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Seat {
    /// Takes a seat for this client. At a limit the connection that has been idle longest makes room, one of the
    /// same client or prefix where it is their limit; none is given only where a limit is 0.
    pub(super) fn take(seats: &Arc<Seats>, client: IpAddr) -> Option<Self> {
        let limits = seats.limits;
        if [limits.connections, limits.connections_per_client, limits.connections_per_prefix].contains(&0) {
            return None;
        }
        let client = Client::of(client);
        let mut taken = seats.lock();
        if taken.per_client.get(&client).is_some_and(|count| *count >= limits.connections_per_client) {
            taken.reached.per_client += 1;
            taken.evict(|other| other == client);
        }
        let prefix = client.prefix();
        if taken.per_prefix.get(&prefix).is_some_and(|count| *count >= limits.connections_per_prefix) {
            taken.reached.per_prefix += 1;
            taken.evict(|other| other.prefix() == prefix);
        }
        if taken.seats.len() >= limits.connections {
            taken.reached.total += 1;
            taken.evict(|_| true);
        }
        let number = taken.next;
        taken.next += 1;
        let rank = AtomicU64::new(seats.rank(Work::None));
        let occupancy = Arc::new(Occupancy { client, rank, evicted: Notify::new() });
        taken.seats.insert(number, Arc::clone(&occupancy));
        *taken.per_client.entry(client).or_default() += 1;
        *taken.per_prefix.entry(prefix).or_default() += 1;
        Some(Self { seats: Arc::clone(seats), number, occupancy })
    }

    /// Says that the connection just did something useful, and whether answers are owed to it.
    pub(super) fn touch(&self, work: Work) {
        self.occupancy.rank.store(self.seats.rank(work), Ordering::Relaxed);
    }

    /// Waits until the connection must make room.
    pub(super) async fn evicted(&self) {
        self.occupancy.evicted.notified().await;
    }

    /// The limits it was given under.
    pub(super) fn limits(&self) -> StreamLimits {
        self.seats.limits
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().release(self.number);
    }
}

/// Whether a connection is idle or waited upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing is being worked on for it.
    None,
    /// Some of its questions are being forwarded: it goes after all that are idle.
    InFlight,
}

/// Marks the rank of a connection with questions in flight.
const IN_FLIGHT_BIT: u64 = 1 << 63;

/// Whom a limit counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// One IPv4 address.
    V4([u8; 4]),
    /// One /64: the least a network gives to a subscriber (RFC 6177).
    V6([u8; 8]),
}

impl Client {
    /// The client of an address.
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Client {
    /// The prefix that it is in.
    fn prefix(self) -> Prefix {
        match self {
            Self::V4([a, b, c, _]) => Prefix::V4([a, b, c]),
            Self::V6([a, b, c, d, e, f, g, _]) => Prefix::V6([a, b, c, d, e, f, g]),
        }
    }
}

/// Which clients a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prefix {
    /// One /24.
    V4([u8; 3]),
    /// One /56: what many networks give to a subscriber (RFC 6177).
    V6([u8; 7]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, connections_per_client: usize) -> Arc<Seats> {
        seats_by_prefix(connections, connections_per_client, connections)
    }

    fn seats_by_prefix(connections: usize, connections_per_client: usize, connections_per_prefix: usize) -> Arc<Seats> {
        let (idle, write) = (Duration::from_secs(1), Duration::from_secs(1));
        let limits = StreamLimits { connections, connections_per_client, connections_per_prefix, idle, write };
        Arc::new(Seats::new(limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn is_evicted(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn the_one_idle_longest_goes_and_those_in_flight_go_last() {
        let seats = seats(3, 3);
        let mut held = Vec::new();
        for last in 1..=3 {
            held.push(Seat::take(&seats, ip(&format!("10.0.0.{last}"))).unwrap());
        }
        held[0].touch(Work::None);
        held[1].touch(Work::InFlight);
        let order = [2, 0, 1];
        let mut new = Vec::new();
        for (place, gone) in order.iter().enumerate() {
            let seat = Seat::take(&seats, ip("10.0.0.9")).unwrap();
            seat.touch(Work::InFlight);
            new.push(seat);
            assert!(is_evicted(&held[*gone]).await, "{gone}");
            for still in &order[place + 1..] {
                assert!(!is_evicted(&held[*still]).await, "{still}");
            }
            assert_eq!(seats.taken(), 3);
        }
        drop(held);
        assert_eq!(seats.taken(), 3, "an evicted seat is not freed twice");
        drop(new);
        assert_eq!(seats.taken(), 0);
        assert!(seats.lock().per_client.is_empty());
    }

    #[tokio::test]
    async fn at_its_own_limit_a_client_displaces_itself() {
        let seats = seats(10, 1);
        let other = Seat::take(&seats, ip("10.0.0.2")).unwrap();
        let first = Seat::take(&seats, ip("10.0.0.1")).unwrap();
        let mapped = Seat::take(&seats, ip("::ffff:10.0.0.1")).unwrap();
        assert!(is_evicted(&first).await);
        assert!(!is_evicted(&other).await && !is_evicted(&mapped).await);
        let six = Seat::take(&seats, ip("2001:db8::1")).unwrap();
        let _same_network = Seat::take(&seats, ip("2001:db8::ffff:1")).unwrap();
        assert!(is_evicted(&six).await);
        let _other_network = Seat::take(&seats, ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(seats.taken(), 4);
    }

    #[tokio::test]
    async fn at_its_limit_a_prefix_displaces_its_own_idle_longest() {
        let seats = seats_by_prefix(10, 2, 3);
        let elsewhere = Seat::take(&seats, ip("10.0.1.1")).unwrap();
        let mut held: Vec<Seat> =
            (1..=3).map(|last| Seat::take(&seats, ip(&format!("10.0.0.{last}"))).unwrap()).collect();
        held[0].touch(Work::InFlight);
        held.push(Seat::take(&seats, ip("10.0.0.4")).unwrap());
        assert!(is_evicted(&held[1]).await, "the first is waited upon");
        for still in [&held[0], &held[2], &held[3], &elsewhere] {
            assert!(!is_evicted(still).await);
        }
        let sixes: Vec<Seat> = ["2001:db8:0:100::1", "2001:db8:0:101::1", "2001:db8:0:1ff::1", "2001:db8:0:1aa::1"]
            .map(|client| Seat::take(&seats, ip(client)).unwrap())
            .into();
        assert!(is_evicted(&sixes[0]).await);
        let _other_network = Seat::take(&seats, ip("2001:db8:0:200::1")).unwrap();
        assert!(!is_evicted(&sixes[1]).await);
        assert_eq!(seats.reached(), SeatsReached { total: 0, per_client: 0, per_prefix: 2 });
        drop((held, sixes, elsewhere, _other_network));
        assert!(seats.lock().per_client.is_empty() && seats.lock().per_prefix.is_empty());
    }

    #[test]
    fn a_limit_of_none_refuses() {
        assert!(Seat::take(&seats(0, 1), ip("10.0.0.1")).is_none());
        assert!(Seat::take(&seats(1, 0), ip("10.0.0.1")).is_none());
    }
}
