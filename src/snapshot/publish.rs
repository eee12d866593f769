//! Making a snapshot current, and reading the current one.

use super::Snapshot;
use arc_swap::{ArcSwap, Cache};
use std::sync::{Arc, Mutex, PoisonError};

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
pub struct Publisher {
    current: Arc<ArcSwap<Published>>,
    /// Old ones that a reader may still hold. They are kept here, so that no reader is the last to let go: freeing
    /// the zone data of a million names takes milliseconds.
    retired: Arc<Mutex<Vec<Arc<Published>>>>,
}

impl Publisher {
    /// Publishes the first snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        let first = Published { generation: Generation(1), snapshot };
        Self { current: Arc::new(ArcSwap::from_pointee(first)), retired: Arc::default() }
    }

    /// Makes a snapshot current. Cannot fail: everything that can has happened before.
    pub fn publish(&self, snapshot: Snapshot) -> Generation {
        let generation = Generation(self.current.load().generation.0 + 1);
        let old = self.current.swap(Arc::new(Published { generation, snapshot }));
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.sweep();
        generation
    }

    /// Frees the old snapshots that no reader holds any more; how many are left. To be called now and then, by a
    /// thread that answers nothing. A reader that gets no queries holds one old snapshot until its next batch.
    pub fn sweep(&self) -> usize {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|old| Arc::strong_count(old) > 1);
        retired.len()
    }

    /// The current snapshot, to be held for the length of one query or longer.
    pub fn current(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// A reader for one thread.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(Arc::clone(&self.current)))
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
