//! What the cache holds of a name, for an operator who asks.

use super::{CacheKey, Entry, NAME_AS_A_WHOLE, ReplyCache, SLOTS_AT_A_TIME};
use crate::dns::{Name, Rtype};
use crate::forward::{ContextId, Millis, Outcome};

/// One thing that is remembered of a name.
#[derive(Clone, Debug)]
pub struct Held {
    /// In which context it was said.
    pub context: ContextId,
    /// The type; none: it is said of the name as a whole, that it does not exist.
    pub qtype: Option<Rtype>,
    /// Whether DNSSEC records were asked for.
    pub dnssec_ok: bool,
    /// Whether the client was to validate.
    pub checking_disabled: bool,
    /// What was said, or that nothing was.
    pub outcome: Outcome,
    /// For how many seconds it is fresh yet; 0: it is kept for when nobody can say anything newer.
    pub fresh_seconds: u32,
}

impl Held {
    fn of(key: &CacheKey, entry: &Entry, now: Millis) -> Self {
        let fresh_seconds = match entry {
            Entry::Reply(reply) => {
                let age_seconds = u32::try_from(reply.age_millis(now) / 1000).unwrap_or(u32::MAX);
                reply.lifetime().seconds().saturating_sub(age_seconds)
            }
            Entry::Failure(_, until) => u32::try_from(until.since(now) / 1000).unwrap_or(u32::MAX),
        };
        Self {
            context: key.context,
            qtype: (key.qtype != NAME_AS_A_WHOLE).then_some(key.qtype),
            dnssec_ok: key.dnssec_ok,
            checking_disabled: key.checking_disabled,
            outcome: entry.outcome(),
            fresh_seconds,
        }
    }
}

impl ReplyCache {
    /// What is remembered of this very name, in all contexts: at most so much of it. Where a type stands is hashed with its
    /// context, so that everything is looked at; no lock is held for long.
    pub fn held(&self, name: &Name, entries_max: usize, now: Millis) -> Vec<Held> {
        let mut held = Vec::new();
        for index in 0..self.shards.len() {
            let mut first = 0;
            while first < self.read(index).slots() && held.len() < entries_max {
                self.read(index).visit(first, SLOTS_AT_A_TIME, |visited| {
                    if visited.key.qname.as_wire() == name.as_wire() && held.len() < entries_max {
                        held.push(Held::of(visited.key, visited.entry, now));
                    }
                });
                first += SLOTS_AT_A_TIME;
            }
        }
        held
    }
}
