//! How many questions may be forwarded at once: in all, for one client, and for the clients of one prefix, so that whoever
//! has many addresses next to each other is not many clients.
//!
//! A place is held until what was asked for it is over, also where its client has been told something before, or has
//! closed its stream: what a client causes upstream is what counts, not how long it listens.

use crate::dns::name::mix;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Counts the questions being forwarded; cheap to clone.
#[derive(Clone)]
pub struct InFlight(Arc<Counts>);

/// How many questions may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLimits {
    /// In all.
    pub total: usize,
    /// Of one client: an IPv4 address, or an IPv6 /64 (RFC 6177 gives a site at least that).
    pub per_client: usize,
    /// Of the clients of one prefix: an IPv4 /24, or an IPv6 /56.
    pub per_prefix: usize,
}

/// How often which limit was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightReached {
    /// That of all questions.
    pub total: u64,
    /// That of one client.
    pub per_client: u64,
    /// That of one prefix.
    pub per_prefix: u64,
}

struct Counts {
    limits: InFlightLimits,
    total: AtomicUsize,
    holders: Mutex<Holders>,
    given_back: Notify,
}

/// Who has questions in flight: as many entries of each as questions at most.
struct Holders {
    clients: Numbers,
    prefixes: Numbers,
    reached: InFlightReached,
}

/// One question's place; given back when dropped. Or none, where it has been taken out.
#[derive(Default)]
pub struct Permit(Option<Place>);

/// What a permit holds until it is given back.
struct Place {
    in_flight: InFlight,
    client: ClientKey,
}

/// Places given out one after the other while nobody else is: one lock for a batch.
pub struct Admission<'a> {
    in_flight: &'a InFlight,
    holders: MutexGuard<'a, Holders>,
}

impl Admission<'_> {
    /// A place for one more question of this client; none at a limit.
    pub fn admit(&mut self, client: IpAddr) -> Option<Permit> {
        let client = ClientKey::of(client);
        let counts = &self.in_flight.0;
        let InFlightLimits { total, per_client, per_prefix } = counts.limits;
        let Holders { clients, prefixes, reached } = &mut *self.holders;
        if counts.total.load(Ordering::Relaxed) >= total {
            reached.total += 1;
            return None;
        }
        let of_client = clients.entry(client.0).or_insert(0);
        if *of_client as usize >= per_client {
            reached.per_client += 1;
            return None;
        }
        let of_prefix = prefixes.entry(client.prefix()).or_insert(0);
        if *of_prefix as usize >= per_prefix {
            reached.per_prefix += 1;
            if *of_client == 0 {
                clients.remove(&client.0);
            }
            return None;
        }
        *of_client += 1;
        *of_prefix += 1;
        counts.total.fetch_add(1, Ordering::Relaxed);
        Some(Permit(Some(Place { in_flight: self.in_flight.clone(), client })))
    }
}

impl InFlight {
    /// No question in flight, and these limits; each is at least 1.
    pub fn new(limits: InFlightLimits) -> Self {
        let numbers = || HashMap::with_hasher(KeyedHash::new());
        Self(Arc::new(Counts {
            limits,
            total: AtomicUsize::new(0),
            holders: Mutex::new(Holders {
                clients: numbers(),
                prefixes: numbers(),
                reached: InFlightReached::default(),
            }),
            given_back: Notify::new(),
        }))
    }

    /// A place for one more question of this client; none at a limit.
    pub fn admit(&self, client: IpAddr) -> Option<Permit> {
        self.admission().admit(client)
    }

    /// Gives out places until it is dropped.
    pub fn admission(&self) -> Admission<'_> {
        Admission { in_flight: self, holders: self.0.lock() }
    }

    /// Gives back the places of these permits, and leaves the list empty: one lock for all.
    pub fn give_back(&self, permits: &mut Vec<Permit>) {
        if permits.is_empty() {
            return;
        }
        let mut holders = self.0.lock();
        for place in permits.drain(..).filter_map(|mut permit| permit.0.take()) {
            self.0.give_back(&mut holders, place.client);
        }
    }

    /// Returns once nothing is in flight. Nobody else may wait at the same time.
    pub async fn none_left(&self) {
        while self.total() > 0 {
            self.0.given_back.notified().await;
        }
    }

    /// How many there may be in all.
    pub fn max(&self) -> usize {
        self.0.limits.total
    }

    /// How often which limit was reached.
    pub fn reached(&self) -> InFlightReached {
        self.0.lock().reached
    }

    /// Questions in flight now.
    pub fn total(&self) -> usize {
        self.0.total.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// The holders; the maps stay whole whatever panics, so a poisoned lock is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back a place of a client.
    fn give_back(&self, holders: &mut Holders, client: ClientKey) {
        if self.total.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.given_back.notify_one();
        }
        for (numbers, key) in [(&mut holders.clients, client.0), (&mut holders.prefixes, client.prefix())] {
            if let Some(of_one) = numbers.get_mut(&key) {
                *of_one -= 1;
                if *of_one == 0 {
                    numbers.remove(&key);
                }
            }
        }
    }
}

impl Permit {
    /// Whether there is a place in it.
    pub fn holds(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the place out, for another to hold it.
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(Place { in_flight, client }) = self.0.take() {
            in_flight.0.give_back(&mut in_flight.0.lock(), client);
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64. One number, for it is hashed for every query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClientKey(u64);

impl ClientKey {
    /// The client of an address.
    fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            // Among prefixes of multicast addresses, from which nobody asks.
            IpAddr::V4(address) => Self(0xffff << 48 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }

    /// The prefix that it is in: an IPv4 /24, or an IPv6 /56. In both the last octet is left out.
    fn prefix(self) -> u64 {
        self.0 >> 8
    }
}

/// How many questions each of some has in flight.
type Numbers = HashMap<u64, u32, KeyedHash>;

/// A hash for one number, keyed because clients choose the numbers: who does not know the key cannot make them meet.
#[derive(Clone, Debug)]
struct KeyedHash {
    key: [u64; 2],
}

impl KeyedHash {
    /// A hash that nobody can foresee.
    fn new() -> Self {
        Self { key: rand::random() }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { key: self.key, hash: 0 }
    }
}

/// The hash of one number.
struct KeyedHasher {
    key: [u64; 2],
    hash: u64,
}

impl Hasher for KeyedHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Twice, each time with a secret: the first product alone would show some of its key.
        let [first, second] = self.key;
        self.hash = mix(mix(number ^ first, second | 1) ^ second, first | 1);
    }

    fn write(&mut self, octets: &[u8]) {
        unreachable!("only whole numbers are hashed, not {octets:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(total: usize, per_client: usize, per_prefix: usize) -> InFlight {
        InFlight::new(InFlightLimits { total, per_client, per_prefix })
    }

    /// Whether nobody has anything in flight, nor stands anywhere.
    fn is_empty(in_flight: &InFlight) -> bool {
        let holders = in_flight.0.lock();
        in_flight.total() == 0 && holders.clients.is_empty() && holders.prefixes.is_empty()
    }

    #[test]
    fn clients_of_one_prefix_have_a_limit_together() {
        let in_flight = in_flight(100, 3, 5);
        let mut permits = Vec::new();
        let mut admitted = |client: &str| {
            let client: IpAddr = client.parse().expect("an address");
            (0..4).filter_map(|_| in_flight.admit(client)).map(|permit| permits.push(permit)).count()
        };
        assert_eq!([admitted("192.0.2.1"), admitted("192.0.2.2"), admitted("192.0.2.3")], [3, 2, 0]);
        assert_eq!(admitted("192.0.3.1"), 3, "another /24");
        let of_sixes = ["2001:db8:0:100::1", "2001:db8:0:1ff::1", "2001:db8:0:200::1"].map(&mut admitted);
        assert_eq!(of_sixes, [3, 2, 3], "the third is in another /56");
        assert_eq!(in_flight.reached(), InFlightReached { total: 0, per_client: 4, per_prefix: 2 + 4 + 2 });
        in_flight.give_back(&mut permits);
        assert!(is_empty(&in_flight));
    }

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let in_flight = in_flight(3, 2, 3);
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = in_flight.admit(a).expect("free");
        let second = in_flight.admit(a).expect("free");
        assert!(in_flight.admit(a).is_none(), "two for one client");
        let third = in_flight.admit(b).expect("free");
        assert!(in_flight.admit(b).is_none(), "three in all");
        drop((first, third));
        assert_eq!(in_flight.total(), 1);
        assert!(in_flight.admit(a).is_some());
        drop(second);
        assert!(is_empty(&in_flight));
    }

    #[test]
    fn places_are_given_out_and_back_by_the_batch() {
        let in_flight = in_flight(5, 3, 5);
        let client = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut permits = Vec::new();
        {
            let mut admission = in_flight.admission();
            permits.extend([1, 1, 1, 1, 2, 2, 2].into_iter().filter_map(|last| admission.admit(client(last))));
        }
        assert_eq!((permits.len(), in_flight.total()), (5, 5), "three of the first client, two of the second");
        in_flight.give_back(&mut permits);
        assert!(permits.is_empty() && is_empty(&in_flight));
    }

    #[test]
    fn a_place_that_another_holds_is_given_back_by_that_one() {
        let in_flight = in_flight(1, 1, 1);
        let mut permit = in_flight.admit([192, 0, 2, 1].into()).expect("free");
        let other = permit.take();
        assert!(!permit.holds() && other.holds());
        in_flight.give_back(&mut vec![permit]);
        assert_eq!(in_flight.total(), 1);
        drop(other);
        assert_eq!(in_flight.total(), 0);
    }

    #[test]
    fn clients_spread_over_the_table_under_any_key() {
        for _ in 0..20 {
            let hash = KeyedHash::new();
            let mut in_each = [0u32; 64];
            for client in 0..6400u32 {
                in_each[(hash.hash_one(ClientKey::of(std::net::Ipv4Addr::from_bits(client << 3).into()).0) & 63)
                    as usize] += 1;
            }
            // 100 each, with a deviation of 10.
            assert!(in_each.iter().all(|count| (40..180).contains(count)), "{in_each:?}");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let keys = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1"]
            .map(|address| ClientKey::of(address.parse().expect("an address")));
        assert_eq!(keys[0], keys[1]);
        assert_ne!(keys[0], keys[2]);
        assert_eq!(keys[3], ClientKey::of([192, 0, 2, 1].into()));
    }
}
