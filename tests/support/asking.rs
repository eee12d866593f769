//! Lanes whose waiters are channels: what tests and benches ask others through.

#![allow(dead_code, reason = "each test and bench takes the part it needs")]

use plustwo::dns::TargetGroup;
use plustwo::forward::clock::Clock;
use plustwo::forward::lane::{Audience, LaneSetup, LaneThreads, Lanes, Order};
use plustwo::forward::streams::{StreamSettings, StreamTargets, TlsRoots};
use plustwo::forward::{Ask, Forwarder, Millis, Outcome};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longer than anything takes that is asked here.
const PATIENCE: Duration = Duration::from_secs(20);

/// One who waits, and is told through a channel.
pub(crate) type Waiter = Sender<Outcome>;

/// Lanes that run.
pub(crate) struct Asking {
    /// The way to them.
    pub(crate) lanes: Lanes<Waiter>,
    /// Their clock.
    pub(crate) clock: Clock,
    // Ended before the runtime of their streams.
    threads: LaneThreads<Waiter>,
    _runtime: Runtime,
}

/// Tells through channels.
struct Channels;

impl Audience for Channels {
    type Waiter = Waiter;

    fn tell(&mut self, waiter: Waiter, outcome: &Outcome, _: Millis) {
        // Who has stopped waiting is not there any more.
        let _ = waiter.send(outcome.clone());
    }

    fn flush(&mut self) {}

    fn way_of(&self, _: &Waiter) -> String {
        "a test".to_owned()
    }
}

impl Asking {
    /// That many lanes, on whose clock it is this moment.
    pub(crate) fn start(forwarder: &Forwarder, lanes: usize, now: Millis) -> Self {
        Self::with(forwarder, lanes, now, || Channels)
    }

    /// The same, told by others than channels.
    pub(crate) fn with<A: Audience<Waiter = Waiter> + Send + 'static>(
        forwarder: &Forwarder,
        lanes: usize,
        now: Millis,
        audience: impl Fn() -> A,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let clock = Clock::at(now);
        let roots = TlsRoots::new([], []).expect("no certificate is unusable");
        let streams = StreamSettings { roots, bootstrap: Vec::new() };
        let setup = LaneSetup { streams: StreamTargets::new(streams, runtime.handle().clone()), clock };
        let lanes = Lanes::new(forwarder, NonZeroUsize::new(lanes).expect("a lane")).expect("descriptors");
        let threads = lanes.start(&setup, |_| audience()).expect("threads");
        Self { lanes, clock, threads, _runtime: runtime }
    }

    /// Asks, for a client of this address.
    pub(crate) fn ask_for(&self, client: IpAddr, ask: &Ask<'_>, group: &Arc<TargetGroup>) -> Receiver<Outcome> {
        self.ask_since(self.clock.now(), client, ask, group)
    }

    /// Asks, for a client of this address whose query came at this moment.
    pub(crate) fn ask_since(
        &self,
        arrived: Millis,
        client: IpAddr,
        ask: &Ask<'_>,
        group: &Arc<TargetGroup>,
    ) -> Receiver<Outcome> {
        let (waiter, told) = channel();
        self.lanes.submit(Order::new(self.lanes.question(ask), group, client, arrived, waiter));
        told
    }

    /// Asks.
    pub(crate) fn ask(&self, ask: &Ask<'_>, group: &Arc<TargetGroup>) -> Receiver<Outcome> {
        self.ask_for([192, 0, 2, 1].into(), ask, group)
    }

    /// Asks and waits.
    pub(crate) fn outcome(&self, ask: &Ask<'_>, group: &Arc<TargetGroup>) -> Outcome {
        told(&self.ask(ask, group))
    }

    /// Ends the lanes.
    pub(crate) fn stop(&mut self) {
        self.threads.stop();
    }
}

/// Waits to be told.
pub(crate) fn told(waiting: &Receiver<Outcome>) -> Outcome {
    waiting.recv_timeout(PATIENCE).expect("whoever asks is told")
}
