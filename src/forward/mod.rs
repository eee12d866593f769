//! Asking someone else: what no zone, endpoint or built-in name of a view answers goes to its targets.
//!
//! ```text
//! UDP worker ── cached() ──> cache          no allocation, no await
//!      miss  ── fetch()  ──> coalesce       one question in flight, however many ask it
//!                             └ upstream    sockets and clock (tokio)
//!                                └ exchange  decides: whom to ask next, which reply counts. No I/O.
//!                                └ pool      which target is quick, which is suspect
//!                             └ reply       what is kept and served
//! ```
//!
//! A reply is used for the very question it answers and nothing else: neither its authority nor its additional
//! section, nor records of other names in its answer, ever answer another question (RFC 5452 section 6).

pub mod cache;
mod coalesce;
pub mod counters;
pub mod exchange;
mod pool;
pub mod reply;
mod upstream;

use std::sync::Arc;

pub use crate::snapshot::ContextId;

use crate::dns::edns::ExtendedError;
use crate::dns::message::Message;
use crate::dns::{Class, ExtendedErrorCode, Rcode, Rtype, Target, TargetGroup, Ttl};
use cache::{CacheKey, CacheLimits, LOOKUPS_MAX, ReplyCache};
use coalesce::{InFlight, Joined, Lead};
use counters::{CounterValues, Counters};
use reply::{TtlLimits, UpstreamReply};
use upstream::Upstreams;

/// A moment, in milliseconds since the process started. Never the wall clock: TTLs must not follow its jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The exchange ended without a result: the daemon is stopping, or a fault of ours.
    Abandoned,
}

impl ExchangeError {
    /// The extended error that goes with the SERVFAIL (RFC 8914).
    pub fn extended_error(self) -> ExtendedError {
        let (code, text) = match self {
            Self::NoTargets => (ExtendedErrorCode::NO_REACHABLE_AUTHORITY, "no upstream is configured for this name"),
            Self::TimedOut => (ExtendedErrorCode::NO_REACHABLE_AUTHORITY, "no upstream answered within 4 seconds"),
            Self::Unreachable => (ExtendedErrorCode::NETWORK_ERROR, "no upstream can be reached"),
            Self::BadReply => (ExtendedErrorCode::NETWORK_ERROR, "the upstreams' replies cannot be used"),
            Self::InFlightLimit => (ExtendedErrorCode::OTHER, "too many questions are being forwarded"),
            Self::Abandoned => (ExtendedErrorCode::NOT_READY, "the question was abandoned"),
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
            Self::NoTargets | Self::InFlightLimit | Self::Abandoned => false,
        }
    }
}

/// What forwarding may take.
#[derive(Clone, Copy, Debug)]
pub struct ForwardLimits {
    /// What the cache may take and keep.
    pub cache: CacheLimits,
    /// Questions that are being forwarded at a time. Together they hold at most 1.25 times as many
    /// sockets, or 64 more.
    pub in_flight_max: usize,
}

/// Everything that forwards: the cache, the questions in flight, and what is known of the targets.
#[derive(Clone)]
pub struct Forwarder(Arc<Shared>);

/// What all clones of a forwarder share.
struct Shared {
    ttls: TtlLimits,
    cache: ReplyCache,
    in_flight: Arc<InFlight>,
    upstreams: Upstreams,
    counters: Arc<Counters>,
}

impl Forwarder {
    /// A forwarder that has asked nothing yet.
    pub fn new(limits: ForwardLimits) -> Self {
        let counters = Arc::new(Counters::default());
        Self(Arc::new(Shared {
            ttls: limits.cache.ttls,
            cache: ReplyCache::new(limits.cache),
            in_flight: Arc::new(InFlight::new(limits.in_flight_max)),
            upstreams: Upstreams::new(limits.in_flight_max, Arc::clone(&counters)),
            counters,
        }))
    }

    /// What is known already. For the UDP workers: no await, no allocation.
    #[inline]
    pub fn cached(&self, ask: &Ask<'_>, now: Millis) -> Option<Outcome> {
        self.0.cache.get(ask, now)
    }

    /// The same for the questions of a batch, whose cache misses then overlap.
    #[inline]
    pub fn cached_all<'q>(
        &self,
        asks: impl Iterator<Item = Option<Ask<'q>>>,
        now: Millis,
        outcomes: &mut [Option<Outcome>; LOOKUPS_MAX],
    ) {
        self.0.cache.get_all(asks, now, outcomes);
    }

    /// Asks, unless it is known by now or the same question is in flight; then waits for that one's outcome.
    ///
    /// Who stops waiting cancels nothing: the exchange goes on for the others and for the cache. Needs a tokio runtime.
    pub async fn fetch(&self, ask: &Ask<'_>, group: &Arc<TargetGroup>, now: Millis) -> Outcome {
        if group.is_empty() {
            return Err(ExchangeError::NoTargets);
        }
        if let Some(outcome) = self.cached(ask, now) {
            return outcome;
        }
        let counters = &self.0.counters;
        let waiter = match self.0.in_flight.join(ask) {
            Joined::Waiting(waiter) => {
                counters.coalesced.add();
                waiter
            }
            Joined::First(lead, waiter) => {
                let shared = Arc::clone(&self.0);
                let group = Arc::clone(group);
                tokio::spawn(async move { shared.lead(lead, &group, now).await });
                waiter
            }
            Joined::Full => {
                counters.in_flight_limit.add();
                return Err(ExchangeError::InFlightLimit);
            }
        };
        waiter.outcome().await
    }

    /// What has been counted so far.
    pub fn counters(&self) -> CounterValues {
        self.0.counters.values()
    }

    /// Questions that are being forwarded now.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.len()
    }

    /// Octets and entries of the cache.
    pub fn cache_size(&self) -> (u64, usize) {
        (self.0.cache.octets(), self.0.cache.len())
    }
}

impl Shared {
    /// Runs the one exchange for a question, keeps its outcome and hands it to all who wait.
    async fn lead(&self, lead: Lead, group: &TargetGroup, now: Millis) {
        let ask = lead.key().ask();
        // The exchange before this one may have ended between our look into the cache and our taking the lead.
        let outcome = match self.cache.get(&ask, now) {
            Some(outcome) => outcome,
            None => self.exchange(lead.key().clone(), &ask, group, now).await,
        };
        lead.finish(outcome);
    }

    /// Asks the targets and remembers what came of it.
    async fn exchange(&self, key: CacheKey, ask: &Ask<'_>, group: &TargetGroup, now: Millis) -> Outcome {
        self.counters.exchanges.add();
        let protected = group.targets.iter().all(Target::is_protected);
        let (octets, now) = self.upstreams.exchange(ask, group, now).await;
        let outcome = octets.and_then(|octets| {
            let message = Message::parse(&octets).map_err(|_| ExchangeError::BadReply)?;
            let reply = UpstreamReply::new(&message, self.ttls, now, protected).ok_or(ExchangeError::BadReply)?;
            Ok(Arc::new(reply))
        });
        self.cache.insert(key, outcome, now)
    }
}
