//! What all doors share: the snapshot, the forwarder, the limits and the clock.

use super::counters::WorkerCounters;
use super::in_flight::InFlight;
use crate::forward::{Forwarder, Millis};
use crate::snapshot::Publisher;
use std::sync::Arc;
use std::time::Instant;

/// What every door needs to answer.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// The parts of a [`Server`].
pub struct Shared {
    /// The snapshot that is served.
    pub publisher: Publisher,
    /// The cache, and those who ask others.
    pub forwarder: Forwarder,
    /// Questions being forwarded.
    pub in_flight: InFlight,
    /// One set of counters a UDP worker, then one for all streams and misses.
    pub counters: Box<[WorkerCounters]>,
    /// Where misses run.
    pub runtime: tokio::runtime::Handle,
    started: Instant,
}

impl std::ops::Deref for Server {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Server {
    /// A server for that many UDP workers, whose clock starts now.
    pub fn new(
        publisher: Publisher,
        forwarder: Forwarder,
        in_flight: InFlight,
        workers: usize,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let counters = (0..=workers).map(|_| WorkerCounters::default()).collect();
        Self(Arc::new(Shared { publisher, forwarder, in_flight, counters, runtime, started: Instant::now() }))
    }

    /// Milliseconds since the server was made: TTLs never see the wall clock.
    #[inline]
    pub fn now(&self) -> Millis {
        Millis(self.started.elapsed().as_millis() as u64)
    }

    /// The counters that streams and misses share: only to be raised by [`super::counters::Counter::increment_shared`].
    pub fn shared_counters(&self) -> &WorkerCounters {
        self.counters.last().expect("new made one more than there are workers")
    }
}
