//! Asking someone else: what no zone, endpoint or built-in name of a view answers goes to its targets.
//!
//! ```text
//! UDP worker ── cached() ──> cache          no allocation, no wait
//!      miss  ── Order    ──> lane           one question in flight, however many ask it; sockets and time
//!                             ├ exchange    decides: whom to ask next, which reply counts. No I/O.
//!                             ├ pool        which target is quick, which is suspect
//!                             ├ streams     TCP and what is encrypted, on tokio
//!                             └ reply       what is kept and served
//! ```
//!
//! A reply is used for the very question it answers and nothing else: neither its authority nor its additional
//! section, nor records of other names in its answer, ever answer another question (RFC 5452 section 6).

pub mod cache;
pub mod clock;
pub mod counters;
pub mod exchange;
pub mod lane;
pub mod loops;
pub mod pool;
pub mod reply;
pub mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use crate::snapshot::ContextId;

use crate::dns::edns::ExtendedError;
use crate::dns::{Class, ExtendedErrorCode, Rcode, Rtype, Ttl};
use cache::{CacheLimits, Lookups, ReplyCache};
use counters::{CounterValues, Counters};
use exchange::Options;
use lane::SocketBudget;
use loops::Loops;
use pool::{TargetPool, TargetReport};
use reply::UpstreamReply;

/// A moment, in milliseconds since the process started. Never the wall clock: TTLs must not follow its jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds since an earlier moment; 0 if it was later.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so many milliseconds later.
    #[inline]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment when a TTL that begins now is over.
    #[inline]
    pub fn plus_seconds(self, ttl: Ttl) -> Self {
        self.plus(u64::from(ttl.seconds()) * 1000)
    }
}

/// A moment on the same clock in nanoseconds, for how long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds since an earlier moment; 0 if it was later.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment in milliseconds.
    #[inline]
    pub fn millis(self) -> Millis {
        Millis(self.0 / NANOS_PER_MILLI)
    }
}

/// Nanoseconds of a millisecond.
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A question to an upstream, and in whose name it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose targets these are; replies are kept apart by it.
    pub context: ContextId,
    /// The name in wire form, uncompressed and folded.
    pub qname: &'a [u8],
    /// The type.
    pub qtype: Rtype,
    /// The class.
    pub class: Class,
    /// Whether the client wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// Whether the client validates itself (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

/// How asking ended. A failing rcode that an upstream gave is a reply, not an error.
pub type Outcome = Result<Arc<UpstreamReply>, ExchangeError>;

/// Why there is no reply to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// There is nobody to ask.
    NoTargets,
    /// Nobody answered in time.
    TimedOut,
    /// All targets, or the way to them, refused packets or connections.
    Unreachable,
    /// Targets answered, but not with anything that can be passed on.
    BadReply,
    /// As many questions are being forwarded as may be; this one was not asked.
    InFlightLimit,
    /// The same for each of its targets, or there is no socket left to ask them from.
    TargetBusy,
    /// The exchange ended without a result: the daemon is stopping, or a fault of ours.
    Abandoned,
    /// What we ask comes back to us: whoever asked this is being asked it, by us.
    Loop,
}

impl ExchangeError {
    /// The extended error that goes with the SERVFAIL (RFC 8914).
    pub fn extended_error(self) -> ExtendedError {
        let (code, text) = match self {
            Self::NoTargets => (ExtendedErrorCode::NO_REACHABLE_AUTHORITY, "no upstream is configured for this name"),
            Self::TimedOut => (ExtendedErrorCode::NO_REACHABLE_AUTHORITY, "no upstream answered in time"),
            Self::Unreachable => (ExtendedErrorCode::NETWORK_ERROR, "no upstream can be reached"),
            Self::BadReply => (ExtendedErrorCode::NETWORK_ERROR, "the upstreams' replies cannot be used"),
            Self::InFlightLimit => (ExtendedErrorCode::OTHER, "too many questions are being forwarded"),
            Self::TargetBusy => (ExtendedErrorCode::OTHER, "too many questions wait for these upstreams"),
            Self::Abandoned => (ExtendedErrorCode::NOT_READY, "the question was abandoned"),
            Self::Loop => (ExtendedErrorCode::OTHER, "forwarding loop: this very question is being forwarded to you"),
        };
        ExtendedError { code, text }
    }

    /// The rcode to answer with.
    pub fn rcode(self) -> Rcode {
        Rcode::SERVFAIL
    }

    /// Whether it says something about the upstreams that is worth remembering (RFC 9520 section 2), not about us.
    pub fn is_of_the_upstream(self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable | Self::BadReply => true,
            Self::NoTargets | Self::InFlightLimit | Self::TargetBusy | Self::Abandoned | Self::Loop => false,
        }
    }
}

/// What forwarding may take, and how it asks.
#[derive(Clone, Copy, Debug)]
pub struct ForwardLimits {
    /// What the cache may take and keep.
    pub cache: CacheLimits,
    /// Questions that are being forwarded at a time, over all lanes.
    pub in_flight_max: usize,
    /// Queries that wait for a reply of one target at a time.
    pub in_flight_per_target_max: u32,
    /// Upstream sockets over all lanes, which share them evenly; a lane has one at least.
    pub sockets_max: usize,
    /// How targets are asked.
    pub options: Options,
}

/// Everything that forwards: the cache, and what is known of the targets. The lanes ask; clones share everything.
#[derive(Clone)]
pub struct Forwarder(Arc<Shared>);

/// What all clones of a forwarder share.
struct Shared {
    limits: ForwardLimits,
    cache: ReplyCache,
    pool: TargetPool,
    sockets: Arc<SocketBudget>,
    loops: Loops,
    counters: Arc<Counters>,
    in_flight: AtomicUsize,
}

impl Forwarder {
    /// A forwarder that has asked nothing yet.
    pub fn new(limits: ForwardLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            cache: ReplyCache::new(limits.cache),
            pool: TargetPool::new(limits.in_flight_per_target_max),
            sockets: Arc::new(SocketBudget::new(limits.sockets_max)),
            loops: Loops::default(),
            counters: Arc::default(),
            in_flight: AtomicUsize::new(0),
        }))
    }

    /// What is known already. For the UDP workers: no wait, no allocation.
    #[inline]
    pub fn cached(&self, ask: &Ask<'_>, now: Millis) -> Option<Outcome> {
        self.0.cache.get(ask, now)
    }

    /// The same for the questions of a batch, whose cache misses then overlap.
    #[inline]
    pub fn cached_all<'q>(&self, asks: impl Iterator<Item = Option<Ask<'q>>>, now: Millis, lookups: &mut Lookups) {
        self.0.cache.get_all(asks, now, lookups);
    }

    /// What has been counted so far.
    pub fn counters(&self) -> CounterValues {
        self.0.counters.values()
    }

    /// What is known of every target that was asked.
    pub fn target_reports(&self) -> Vec<TargetReport> {
        self.0.pool.report()
    }

    /// Questions that are being forwarded now.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Upstream sockets that are open.
    pub fn sockets(&self) -> usize {
        self.0.sockets.open()
    }

    /// The cache, to be emptied, saved or loaded.
    pub fn cache(&self) -> &ReplyCache {
        &self.0.cache
    }

    /// Octets and entries of the cache.
    pub fn cache_size(&self) -> (u64, usize) {
        (self.0.cache.octets(), self.0.cache.len())
    }
}

impl Shared {
    /// Questions in flight.
    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// One more question is in flight.
    fn flight_began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One fewer.
    fn flight_ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
