//! Replies and failures that are still good, bounded by octets over all forwarding contexts.
//!
//! Clients choose the keys, so the hash is keyed (SipHash with a random key). A lookup allocates nothing.

use std::hash::{Hash, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use super::reply::{FAILURE_TTL, UpstreamReply};
use super::{Ask, ContextId, ExchangeError, Millis, Outcome};
use crate::dns::{Class, Rtype};

/// The replies of upstreams, by what was asked and in which context.
#[derive(Debug)]
pub struct ReplyCache {
    entries: Cache<CacheKey, Entry, Octets, RandomState>,
}

/// What a reply depends on. Contexts never see each other's replies, and variants with DNSSEC records stand apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    context: ContextId,
    qtype: Rtype,
    class: Class,
    dnssec_ok: bool,
    checking_disabled: bool,
    qname: Box<[u8]>,
}

/// One thing that is remembered.
#[derive(Clone, Debug)]
enum Entry {
    /// What an upstream said, a failing rcode among it.
    Reply(Arc<UpstreamReply>),
    /// That no upstream said anything (RFC 9520): repeats do not ask again until then.
    Failure(ExchangeError, Millis),
}

impl ReplyCache {
    /// An empty cache that holds at most this many octets, keys and bookkeeping counted.
    pub fn new(octets_max: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (octets_max / SHARD_OCTETS_MIN).clamp(1, cpus * SHARDS_PER_CPU);
        let options = OptionsBuilder::new()
            .shards(shards)
            .weight_capacity(octets_max as u64)
            .estimated_items_capacity(octets_max / ENTRY_OCTETS_TYPICAL)
            .build()
            .expect("both capacities are given");
        let entries = Cache::with_options(options, Octets, RandomState::new(), DefaultLifecycle::default());
        Self { entries }
    }

    /// What is remembered of this question and still good: of its name and type, else that there is no such name.
    #[inline]
    pub fn get(&self, ask: &Ask<'_>, now: Millis) -> Option<Outcome> {
        self.entry(ask, now).or_else(|| self.entry(&Ask { qtype: NAME_AS_A_WHOLE, ..*ask }, now))
    }

    /// What is remembered under exactly this key.
    #[inline]
    fn entry(&self, ask: &Ask<'_>, now: Millis) -> Option<Outcome> {
        match self.entries.get(ask)? {
            Entry::Reply(reply) if reply.is_fresh(now) => Some(Ok(reply)),
            Entry::Failure(error, until) if now < until => Some(Err(error)),
            Entry::Reply(_) | Entry::Failure(..) => None,
        }
    }

    /// Remembers how an exchange ended, as long as that may be kept.
    pub fn insert(&self, key: CacheKey, outcome: &Outcome, now: Millis) {
        let entry = match outcome {
            Ok(reply) if reply.is_fresh(now) => Entry::Reply(Arc::clone(reply)),
            Err(error) if error.is_of_the_upstream() => Entry::Failure(*error, now.plus_seconds(FAILURE_TTL)),
            // What may not be kept also ends what was kept: the upstream has just said something else.
            Ok(_) | Err(_) => {
                self.entries.remove(&key);
                return;
            }
        };
        match &entry {
            // RFC 2308 section 5: NXDOMAIN is kept for the name, whatever type was asked.
            Entry::Reply(reply) if reply.denies_the_name() => {
                self.entries.remove(&key);
                self.entries.insert(CacheKey { qtype: NAME_AS_A_WHOLE, ..key }, entry);
            }
            Entry::Reply(_) | Entry::Failure(..) => self.entries.insert(key, entry),
        }
    }

    /// Octets held, keys and bookkeeping counted.
    pub fn octets(&self) -> u64 {
        self.entries.weight()
    }

    /// Number of replies and failures held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The type under which an NXDOMAIN stands: ANY itself is never asked of an upstream (RFC 8482 section 4.2).
const NAME_AS_A_WHOLE: Rtype = Rtype::ANY;
/// Octets of a shard at least: the largest reply is a small part of it, else it could not be kept.
const SHARD_OCTETS_MIN: usize = 1 << 20;
/// Shards a CPU: workers seldom meet at one lock.
const SHARDS_PER_CPU: usize = 4;
/// What an entry takes typically, to size the tables.
const ENTRY_OCTETS_TYPICAL: usize = 512;
/// What an entry takes besides its octets: its slot in the shard, its place in the index, two allocations' heads.
const ENTRY_OVERHEAD_OCTETS: usize = size_of::<CacheKey>() + size_of::<Entry>() + 64;

impl From<&Ask<'_>> for CacheKey {
    fn from(ask: &Ask<'_>) -> Self {
        Self {
            context: ask.context,
            qtype: ask.qtype,
            class: ask.class,
            dnssec_ok: ask.dnssec_ok,
            checking_disabled: ask.checking_disabled,
            qname: ask.qname.into(),
        }
    }
}

impl CacheKey {
    /// The question that this is the key of, for these targets.
    pub fn ask<'a>(&'a self, targets: &'a [SocketAddr]) -> Ask<'a> {
        Ask {
            context: self.context,
            targets,
            qname: &self.qname,
            qtype: self.qtype,
            class: self.class,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let flags = (self.dnssec_ok, self.checking_disabled);
        hash_key(state, (self.context, self.qtype, self.class), flags, &self.qname);
    }
}

impl Hash for Ask<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let flags = (self.dnssec_ok, self.checking_disabled);
        hash_key(state, (self.context, self.qtype, self.class), flags, self.qname);
    }
}

/// The one way that keys are hashed, borrowed or not. A wire name says itself where it ends.
fn hash_key<H: Hasher>(state: &mut H, numbers: (ContextId, Rtype, Class), flags: (bool, bool), qname: &[u8]) {
    let (context, qtype, class) = numbers;
    state.write_u64(u64::from(context.0) << 32 | u64::from(qtype.0) << 16 | u64::from(class.0));
    state.write(qname);
    state.write_u8(u8::from(flags.0) << 1 | u8::from(flags.1));
}

impl Equivalent<CacheKey> for Ask<'_> {
    fn equivalent(&self, key: &CacheKey) -> bool {
        *self.qname == *key.qname
            && self.context == key.context
            && self.qtype == key.qtype
            && self.class == key.class
            && self.dnssec_ok == key.dnssec_ok
            && self.checking_disabled == key.checking_disabled
    }
}

/// Weighs entries in octets.
#[derive(Clone, Debug)]
struct Octets;

impl Weighter<CacheKey, Entry> for Octets {
    fn weight(&self, key: &CacheKey, entry: &Entry) -> u64 {
        let held = match entry {
            Entry::Reply(reply) => reply.octets_held(),
            Entry::Failure(..) => 0,
        };
        (ENTRY_OVERHEAD_OCTETS + key.qname.len() + held) as u64
    }
}

#[cfg(test)]
mod tests;
