//! Forgetting on an operator's word.

use std::mem;

use super::shard::Shard;
use super::{CacheKey, ReplyCache, SLOTS_AT_A_TIME};
use crate::dns::Name;
use crate::forward::ContextId;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All of it.
    All,
    /// This very name: all types, in all contexts.
    Name(Name),
    /// This name and all below it.
    Suffix(Name),
    /// What was said in this context.
    Context(ContextId),
}

impl Flush {
    /// Whether an entry with this key is to be forgotten.
    fn is_about(&self, key: &CacheKey) -> bool {
        match self {
            Self::All => true,
            Self::Name(name) => key.ask().qname == name.as_wire(),
            Self::Suffix(suffix) => is_at_or_below(key.ask().qname, suffix.as_wire()),
            Self::Context(context) => key.ask().context == *context,
        }
    }
}

/// Whether a folded name is another or below it, label by label.
fn is_at_or_below(mut name: &[u8], suffix: &[u8]) -> bool {
    loop {
        if name == suffix {
            return true;
        }
        match name.first() {
            Some(&octets) if octets > 0 => name = name.get(usize::from(octets) + 1..).unwrap_or_default(),
            _ => return false,
        }
    }
}

impl ReplyCache {
    /// Forgets answers and failures; returns how many. No lock is held for long, so what is learned meanwhile may stay.
    pub fn flush(&self, what: &Flush) -> u64 {
        (0..self.shards.len()).map(|index| self.flush_shard(index, what, None)).sum()
    }

    /// The same of what was said in one context.
    pub fn flush_in(&self, what: &Flush, context: ContextId) -> u64 {
        (0..self.shards.len()).map(|index| self.flush_shard(index, what, Some(context))).sum()
    }

    fn flush_shard(&self, index: usize, what: &Flush, context: Option<ContextId>) -> u64 {
        let is_meant = |key: &CacheKey| context.is_none_or(|context| key.context == context) && what.is_about(key);
        if *what == Flush::All && context.is_none() {
            let mut empty = self.limits.empty_shard(self.shards.len());
            let mut shard = self.write(index);
            empty.count_on(&shard);
            let full: Shard = mem::replace(&mut shard, empty);
            drop(shard);
            // Dropped behind the lock: that takes as long as the cache is large.
            return full.len() as u64;
        }
        let mut gone = 0;
        let mut first = 0;
        loop {
            let (slots, mut found) = (self.read(index).slots(), false);
            if first >= slots {
                return gone;
            }
            // Most parts hold nothing of it: readers need not wait for those.
            self.read(index).visit(first, SLOTS_AT_A_TIME, |entry| found |= is_meant(entry.key));
            if found {
                gone += self.write(index).sweep(first, SLOTS_AT_A_TIME, is_meant);
            }
            first += SLOTS_AT_A_TIME;
        }
    }
}
