//! Replies and failures that are still good, bounded by octets over all forwarding contexts.
//!
//! Clients choose the keys, so the hash is keyed (SipHash with a random key). A lookup allocates nothing. A batch of
//! lookups takes each lock once and then only reads, so that the cache misses of its queries overlap: a lock between two
//! reads would make the second wait for the first.
//!
//! Nothing here waits long for a lock: an insertion looks at a bounded number of entries, and what goes through all of
//! them takes the lock anew every few.

mod flush;
mod held;
mod saved;
mod shard;

pub use flush::Flush;
pub use held::Held;
pub use saved::{Damage, Loaded, Saved, WallClock, checksum};

use std::array;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::reply::{ALLOCATION_OCTETS, TtlLimits, UpstreamReply};
use super::{Ask, ContextId, ExchangeError, Millis, Outcome};
use crate::dns::name::mix;
use crate::dns::{Class, Rtype, Ttl};
use shard::Shard;

/// The replies of upstreams, by what was asked and in which context.
// Invariant: whoever waits for a shard's lock holds only locks of shards before it, so that nobody waits for ever.
#[derive(Debug)]
pub struct ReplyCache {
    shards: Box<[RwLock<Shard>]>,
    random: RandomState,
    limits: CacheLimits,
}

/// What the cache may take and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Octets over all contexts, keys and bookkeeping counted.
    pub octets_max: usize,
    /// How long replies are good.
    pub ttls: TtlLimits,
    /// How long answers stay beyond that, in seconds, to be served where nobody can say anything newer; 0: not at all.
    pub stale_seconds: u32,
    /// Whether answers that are asked for are renewed before they end.
    pub prefetch: bool,
}

/// What a reply depends on. Contexts never see each other's replies, and variants with DNSSEC records stand apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    context: ContextId,
    qtype: Rtype,
    class: Class,
    dnssec_ok: bool,
    checking_disabled: bool,
    qname: KeptName,
}

/// A folded name in wire form, within the key where it is not long: then comparing it reads no memory elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeptName {
    Inline { octets: u8, wire: [u8; NAME_OCTETS_INLINE] },
    Boxed(Box<[u8]>),
}

/// Names up to here need no allocation of their own, in octets: with it a key fills 64.
const NAME_OCTETS_INLINE: usize = 46;

/// One thing that is remembered.
#[derive(Clone, Debug)]
enum Entry {
    /// What an upstream said, a failing rcode among it.
    Reply(Arc<UpstreamReply>),
    /// That no upstream said anything (RFC 9520): repeats do not ask again until then.
    Failure(ExchangeError, Millis),
}

impl CacheLimits {
    /// One of so many shards, without entries.
    fn empty_shard(&self, shards: usize) -> Shard {
        Shard::new(self.octets_max / shards, self.stale_seconds)
    }
}

impl ReplyCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        let octets_max = limits.octets_max;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (octets_max / SHARD_OCTETS_MIN).clamp(1, (cpus * SHARDS_PER_CPU).min(SHARDS_MAX));
        let shard = || RwLock::new(limits.empty_shard(shards));
        Self { shards: std::iter::repeat_with(shard).take(shards).collect(), random: RandomState::new(), limits }
    }

    /// What is remembered of this question and still good: of its name and type, else that there is no such name.
    pub fn get(&self, ask: &Ask<'_>, now: Millis) -> Option<Outcome> {
        let name_hash = self.random.hash_one(NameOf(ask));
        look_up(&self.read(self.shard_of(name_hash)), ask, name_hash, now).map(Entry::outcome)
    }

    /// The hash of all of a question but its type, which clients cannot foresee.
    #[inline]
    pub(super) fn name_hash(&self, ask: &Ask<'_>) -> u64 {
        self.random.hash_one(NameOf(ask))
    }

    /// The same for many questions, at most [`LOOKUPS_MAX`].
    #[inline]
    pub fn get_all<'q>(&self, asks: impl Iterator<Item = Option<Ask<'q>>>, now: Millis, lookups: &mut Lookups) {
        let asks = asks.enumerate().filter_map(|(index, ask)| Some((index, ask?)));
        let mut asks = asks.peekable();
        // Most batches are all about names of ours.
        if asks.peek().is_none() {
            return;
        }
        let mut sought = [const { None }; LOOKUPS_MAX];
        let mut shards = 0u64;
        for (index, ask) in asks {
            let name_hash = self.random.hash_one(NameOf(&ask));
            lookups.name_hashes[index] = name_hash;
            shards |= 1 << self.shard_of(name_hash);
            sought[index] = Some((ask, name_hash));
        }
        self.get_sought(&sought, shards, now, &mut lookups.outcomes);
    }

    /// Looks up the questions, whose answers can only stand in these shards (bit n: shard n).
    fn get_sought(
        &self,
        sought: &[Option<(Ask<'_>, u64)>; LOOKUPS_MAX],
        shards: u64,
        now: Millis,
        outcomes: &mut [Option<Outcome>; LOOKUPS_MAX],
    ) {
        let shards: [_; SHARDS_MAX] = array::from_fn(|index| (shards >> index & 1 != 0).then(|| self.read(index)));
        let shard = |name_hash: u64| shards[self.shard_of(name_hash)].as_deref();
        // Stage by stage for all of them, so that the processor's cache misses of a stage overlap: where an entry may
        // stand, what stands there, the replies that are meant, then what counts them.
        let mut places = [None; LOOKUPS_MAX];
        for (place, sought) in places.iter_mut().zip(sought) {
            let Some((ask, name_hash)) = sought else { continue };
            *place = shard(*name_hash).and_then(|shard| shard.place(entry_hash(*name_hash, ask.qtype)));
        }
        let mut touched = 0;
        for (place, sought) in places.iter().zip(sought) {
            let (Some(place), Some((_, name_hash))) = (place, sought) else { continue };
            touched ^= shard(*name_hash).map_or(0, |shard| shard.touch(*place));
        }
        let mut entries = [None; LOOKUPS_MAX];
        for ((entry, place), sought) in entries.iter_mut().zip(places).zip(sought) {
            // Where nothing has its hash, nothing is found.
            let (Some(_), Some((ask, name_hash))) = (place, sought) else { continue };
            *entry = shard(*name_hash).and_then(|shard| find(shard, ask, *name_hash, ask.qtype));
            touched ^= entry.map_or(0, Entry::touch);
        }
        // The octets must count for something, or reading them is optimised away.
        std::hint::black_box(touched);
        for ((outcome, entry), sought) in outcomes.iter_mut().zip(entries).zip(sought) {
            let Some((ask, name_hash)) = sought else { continue };
            let may_be_served = |entry: &&Entry| entry.may_be_served(now);
            let of_the_whole = || find(shard(*name_hash)?, ask, *name_hash, NAME_AS_A_WHOLE).filter(may_be_served);
            *outcome = entry.filter(may_be_served).or_else(of_the_whole).map(Entry::outcome);
        }
    }

    /// The answer to this question that may be served where nobody can say anything newer in time: one that is fresh, or
    /// one whose lifetime is over, for as long as those are kept (RFC 8767). It is then known to be stale.
    pub fn stale(&self, ask: &Ask<'_>, now: Millis) -> Option<Arc<UpstreamReply>> {
        let name_hash = self.random.hash_one(NameOf(ask));
        let reply = self.last_answer(&self.read(self.shard_of(name_hash)), ask, name_hash, now)?;
        if !reply.is_fresh(now) {
            reply.serve_stale_until(now);
        }
        Some(reply)
    }

    /// Remembers how an exchange ended, as long as that may be kept; returns what to tell those who wait for it.
    ///
    /// A failure does not end an answer that may still be served: that is told instead, and where it was the upstream
    /// that failed, it is served for 30 seconds without asking again (RFC 8767 section 5: "failure recheck timer"), or
    /// until it may be served no more.
    pub fn insert(&self, key: CacheKey, outcome: Outcome, now: Millis) -> Outcome {
        self.insert_hashed(self.name_hash(&key.ask()), key, outcome, now)
    }

    /// The same where the [name's hash](Self::name_hash) is known.
    pub(super) fn insert_hashed(&self, name_hash: u64, key: CacheKey, outcome: Outcome, now: Millis) -> Outcome {
        let (said_by_upstream, is_answer) = match &outcome {
            Ok(reply) => (true, reply.is_an_answer()),
            Err(error) => (error.is_of_the_upstream(), false),
        };
        let mut shard = self.write(self.shard_of(name_hash));
        if !is_answer && let Some(kept) = self.last_answer(&shard, &key.ask(), name_hash, now) {
            if said_by_upstream {
                let end = kept.may_be_served_until(self.limits.stale_seconds);
                // Where nothing is served beyond its lifetime, what is still fresh ends with it.
                if self.limits.stale_seconds > 0 {
                    kept.serve_stale_until(now.plus_seconds(FAILURE_RECHECK).min(end));
                }
            } else if !kept.is_fresh(now) {
                kept.serve_stale_until(now);
            }
            return Ok(kept);
        }
        let qtype = key.qtype;
        match &outcome {
            Ok(reply) => {
                // What the upstream says now ends what it said before, also where it may not be kept: of the type
                // asked, and of the name as a whole.
                let denied = reply.denies_the_name();
                let fresh = reply.is_fresh(now);
                if is_answer {
                    remove(&mut shard, &key.ask(), name_hash, NAME_AS_A_WHOLE);
                }
                if denied || !fresh {
                    remove(&mut shard, &key.ask(), name_hash, qtype);
                }
                if !self.limits.prefetch {
                    reply.forgo_prefetch();
                }
                if fresh {
                    // RFC 2308 section 5: NXDOMAIN is kept for the name, whatever type was asked.
                    let qtype = if denied { NAME_AS_A_WHOLE } else { qtype };
                    let hash = entry_hash(name_hash, qtype);
                    shard.insert(hash, CacheKey { qtype, ..key }, Entry::Reply(Arc::clone(reply)), now);
                }
            }
            Err(error) if said_by_upstream => {
                let until = now.plus_seconds(self.limits.ttls.failure_ttl);
                shard.insert(entry_hash(name_hash, qtype), key, Entry::Failure(*error, until), now);
            }
            // It says nothing about the name.
            Err(_) => {}
        }
        outcome
    }

    /// The newest answer in a shard to this question that may still be served, fresh or not.
    fn last_answer(&self, shard: &Shard, ask: &Ask<'_>, name_hash: u64, now: Millis) -> Option<Arc<UpstreamReply>> {
        let answer = |qtype| match find(shard, ask, name_hash, qtype) {
            Some(Entry::Reply(reply)) if reply.may_be_served_for(now, self.limits.stale_seconds) => Some(reply),
            Some(Entry::Reply(_) | Entry::Failure(..)) | None => None,
        };
        let answers = [answer(ask.qtype), answer(NAME_AS_A_WHOLE)];
        answers.into_iter().flatten().max_by_key(|reply| reply.received_at()).map(Arc::clone)
    }

    /// Octets held, keys and bookkeeping counted.
    pub fn octets(&self) -> u64 {
        (0..self.shards.len()).map(|index| self.read(index).octets()).sum()
    }

    /// Number of replies and failures held.
    pub fn len(&self) -> usize {
        (0..self.shards.len()).map(|index| self.read(index).len()).sum()
    }

    /// Replies and failures that have gone to make room, so far; emptying the cache does not count.
    pub fn evicted(&self) -> u64 {
        (0..self.shards.len()).map(|index| self.read(index).evicted()).sum()
    }

    /// Octets that may be held.
    pub fn octets_max(&self) -> usize {
        self.limits.octets_max
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where everything about names with this hash stands: a fraction of the number of shards, from the upper half of
    /// the hash, since the lower half finds the place in the shard.
    #[inline]
    fn shard_of(&self, name_hash: u64) -> usize {
        (((name_hash >> 32) * self.shards.len() as u64) >> 32) as usize
    }

    /// A shard to look up in. A panic while one was changed is no reason to stop: it costs entries at most.
    fn read(&self, index: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[index].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard to change.
    fn write(&self, index: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[index].write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is good in a shard of this question: of its name and type, else that there is no such name.
#[inline]
fn look_up<'s>(shard: &'s Shard, ask: &Ask<'_>, name_hash: u64, now: Millis) -> Option<&'s Entry> {
    let entry = |qtype| find(shard, ask, name_hash, qtype).filter(|entry| entry.may_be_served(now));
    entry(ask.qtype).or_else(|| entry(NAME_AS_A_WHOLE))
}

/// What is remembered in a shard of the name of a question and this type.
#[inline]
fn find<'s>(shard: &'s Shard, ask: &Ask<'_>, name_hash: u64, qtype: Rtype) -> Option<&'s Entry> {
    let ask = Ask { qtype, ..*ask };
    shard.get(entry_hash(name_hash, qtype), |key| key.is_of(&ask))
}

/// Forgets what is remembered in a shard of the name of a question and this type.
fn remove(shard: &mut Shard, ask: &Ask<'_>, name_hash: u64, qtype: Rtype) {
    let ask = Ask { qtype, ..*ask };
    shard.remove(entry_hash(name_hash, qtype), |key| key.is_of(&ask));
}

impl Entry {
    /// Whether it may be served without asking anybody.
    #[inline]
    fn may_be_served(&self, now: Millis) -> bool {
        match self {
            Self::Reply(reply) => reply.may_be_served(now),
            Self::Failure(_, until) => now < *until,
        }
    }

    /// What is remembered.
    #[inline]
    fn outcome(&self) -> Outcome {
        match self {
            Self::Reply(reply) => Ok(Arc::clone(reply)),
            Self::Failure(error, _) => Err(*error),
        }
    }

    /// Whether it will never be served again, where answers may be served so long beyond their lifetime.
    fn is_over(&self, now: Millis, stale_seconds: u32) -> bool {
        match self {
            Self::Reply(reply) => !reply.is_fresh(now) && !reply.may_be_served_for(now, stale_seconds),
            Self::Failure(_, until) => now >= *until,
        }
    }

    /// Whether it says that there is nothing, or that asking failed.
    fn is_negative(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.is_negative(),
            Self::Failure(..) => true,
        }
    }

    /// Octets that it takes in memory besides its own.
    fn octets_boxed(&self) -> usize {
        match self {
            Self::Reply(reply) => reply.octets_held(),
            Self::Failure(..) => 0,
        }
    }

    /// Reads what serving it, or dropping it, will read; the octet means nothing.
    #[inline]
    fn touch(&self) -> u8 {
        match self {
            Self::Reply(reply) => reply.touch(),
            Self::Failure(..) => 0,
        }
    }
}

/// What looking up many questions came to, in their order.
pub struct Lookups {
    /// What is remembered, and still good.
    pub outcomes: [Option<Outcome>; LOOKUPS_MAX],
    /// The hash of each question's name; 0 where there was no question.
    pub(super) name_hashes: [u64; LOOKUPS_MAX],
}

impl Default for Lookups {
    fn default() -> Self {
        Self { outcomes: [const { None }; LOOKUPS_MAX], name_hashes: [0; LOOKUPS_MAX] }
    }
}

/// Lookups that are made at a time at most: as many as a UDP worker's batch has queries.
pub const LOOKUPS_MAX: usize = 64;
/// How long an answer whose lifetime is over is served without asking again, once asking has failed (RFC 8767 section 5).
const FAILURE_RECHECK: Ttl = Ttl::from_wire(30);
/// Slots of a shard that are gone through under one lock: it takes a tenth of a millisecond at most.
const SLOTS_AT_A_TIME: u32 = 512;
/// Shards at most: a bit of 64 for each, and seldom more than one a query of a batch.
const SHARDS_MAX: usize = 32;
/// The type under which an NXDOMAIN stands: ANY itself is never asked of an upstream (RFC 8482 section 4.2).
const NAME_AS_A_WHOLE: Rtype = Rtype::ANY;
/// Octets of a shard at least: the largest reply is a small part of it, else it could not be kept.
const SHARD_OCTETS_MIN: usize = 1 << 20;
/// Shards a CPU: workers seldom meet at one lock.
const SHARDS_PER_CPU: usize = 4;
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

impl From<&[u8]> for KeptName {
    fn from(qname: &[u8]) -> Self {
        let mut wire = [0; NAME_OCTETS_INLINE];
        match wire.get_mut(..qname.len()) {
            Some(part) => {
                part.copy_from_slice(qname);
                Self::Inline { octets: qname.len() as u8, wire }
            }
            None => Self::Boxed(qname.into()),
        }
    }
}

impl KeptName {
    /// The name.
    #[inline]
    fn as_wire(&self) -> &[u8] {
        match self {
            Self::Inline { octets, wire } => &wire[..usize::from(*octets)],
            Self::Boxed(wire) => wire,
        }
    }

    /// Octets that it takes in memory besides its own.
    fn octets_boxed(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Boxed(wire) => wire.len() + ALLOCATION_OCTETS,
        }
    }
}

impl CacheKey {
    /// Whether this is the key of a question.
    #[inline]
    fn is_of(&self, ask: &Ask<'_>) -> bool {
        *ask.qname == *self.qname.as_wire()
            && ask.context == self.context
            && ask.qtype == self.qtype
            && ask.class == self.class
            && ask.dnssec_ok == self.dnssec_ok
            && ask.checking_disabled == self.checking_disabled
    }

    /// Reads some of it; the octet means nothing.
    #[inline]
    fn touch(&self) -> u8 {
        self.context.0 as u8
    }

    /// Octets that it takes in memory besides its own.
    fn octets_boxed(&self) -> usize {
        self.qname.octets_boxed()
    }

    /// The question that this is the key of.
    pub fn ask(&self) -> Ask<'_> {
        Ask {
            context: self.context,
            qname: self.qname.as_wire(),
            qtype: self.qtype,
            class: self.class,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NameOf(&self.ask()).hash(state);
        state.write_u16(self.qtype.0);
    }
}

/// All of a question but its type, to be hashed.
struct NameOf<'a>(&'a Ask<'a>);

impl Hash for NameOf<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Ask { context, qname, class, dnssec_ok, checking_disabled, .. } = *self.0;
        let flags = u64::from(dnssec_ok) << 1 | u64::from(checking_disabled);
        state.write_u64(u64::from(context.0) << 32 | u64::from(class.0) << 16 | flags);
        // A wire name says itself where it ends.
        state.write(qname);
    }
}

/// The hash of a name and a type. The name's hash is SipHash's and unknown to clients, so a public function that spreads
/// the types of one name suffices behind it. What a name is mostly asked for shares one hash, so that looking for a type
/// and for the name as a whole is one miss of the processor's caches instead of two.
#[inline]
pub(super) fn entry_hash(name_hash: u64, qtype: Rtype) -> u64 {
    let qtype = if matches!(qtype, Rtype::A | Rtype::AAAA) { NAME_AS_A_WHOLE } else { qtype };
    mix(name_hash ^ u64::from(qtype.0), ENTRY_MULTIPLIER)
}

/// An odd number without a pattern.
const ENTRY_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;
