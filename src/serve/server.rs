//! What all doors share: the snapshot, the forwarder, the limits and the clock.

use super::counters::WorkerCounters;
use super::in_flight::InFlight;
use super::later::Waiter;
use super::query_log::{Logger, QueryLog};
use crate::forward::clock::Clock;
use crate::forward::lane::Lanes;
use crate::forward::{Forwarder, Millis, Nanos};
use crate::snapshot::Publisher;
use std::sync::Arc;

/// What every door needs to answer.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// The parts of a [`Server`].
pub struct Shared {
    /// The snapshot that is served.
    pub publisher: Publisher,
    /// The cache, and what is known of those who are asked.
    pub forwarder: Forwarder,
    /// Who ask others.
    pub lanes: Lanes<Waiter>,
    /// Questions being forwarded.
    pub in_flight: InFlight,
    /// One set of counters a UDP worker, then one a lane, then one for all streams.
    pub counters: Box<[WorkerCounters]>,
    /// Where what is said of each query goes: a buffer a UDP worker, then one a lane, then one for all streams.
    pub query_log: QueryLog,
    workers: usize,
    clock: Clock,
}

impl std::ops::Deref for Server {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Server {
    /// A server for that many UDP workers.
    pub fn new(
        publisher: Publisher,
        forwarder: Forwarder,
        lanes: Lanes<Waiter>,
        in_flight: InFlight,
        workers: usize,
        clock: Clock,
    ) -> Self {
        let counters = (0..=workers + lanes.count()).map(|_| WorkerCounters::default()).collect();
        let query_log = QueryLog::new(workers + lanes.count());
        Self(Arc::new(Shared { publisher, forwarder, lanes, in_flight, counters, query_log, workers, clock }))
    }

    /// The moment, on the clock of the cache: TTLs never see the wall clock.
    #[inline]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The same moment, for how long something takes.
    #[inline]
    pub fn precisely(&self) -> Nanos {
        self.clock.precisely()
    }

    /// The counters of the UDP workers.
    pub fn udp_counters(&self) -> &[WorkerCounters] {
        &self.counters[..self.workers]
    }

    /// What a lane logs with.
    pub fn lane_logger(&self, lane: usize) -> Logger {
        Logger::new(self.workers + lane)
    }

    /// The counters of a lane.
    pub fn lane_counters(&self, lane: usize) -> &WorkerCounters {
        &self.counters[self.workers + lane]
    }

    /// The counters that streams share: only to be raised by [`super::counters::Counter::increment_shared`].
    pub fn shared_counters(&self) -> &WorkerCounters {
        self.counters.last().expect("new made one more than there are workers and lanes")
    }
}
