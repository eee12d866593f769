//! Making a snapshot current, and reading the current one.

use super::Snapshot;
use arc_swap::{ArcSwap, Cache};
use std::sync::Arc;

/// The number of a published snapshot, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// A snapshot with its number.
pub struct Published {
    /// Which one it is.
    pub generation: Generation,
    /// What it holds.
    pub snapshot: Snapshot,
}

/// Where the current snapshot stands.
#[derive(Clone)]
pub struct Publisher(Arc<ArcSwap<Published>>);

impl Publisher {
    /// Publishes the first snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Published { generation: Generation(1), snapshot })))
    }

    /// Makes a snapshot current. Cannot fail: everything that can has happened before. The old one is dropped when
    /// its last reader lets go of it; the caller, who holds it last as a rule, returns from a thread that answers nothing.
    pub fn publish(&self, snapshot: Snapshot) -> Generation {
        let generation = Generation(self.0.load().generation.0 + 1);
        let old = self.0.swap(Arc::new(Published { generation, snapshot }));
        drop(old);
        generation
    }

    /// The current snapshot, to be held for the length of one query or longer.
    pub fn current(&self) -> Arc<Published> {
        self.0.load_full()
    }

    /// A reader for one thread.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.0)))
    }
}

/// A thread's own view of what is current: one comparison where nothing changed.
pub struct Reader(Cache<Arc<ArcSwap<Published>>, Arc<Published>>);

impl Reader {
    /// The current snapshot: once a batch.
    #[inline]
    pub fn current(&mut self) -> &Arc<Published> {
        self.0.load()
    }
}
