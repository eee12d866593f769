//! The UDP worker: one plain thread that works a batch in stages.
//!
//! ```text
//! receive   one recvmmsg fills up to 64 slots
//! begin     read each query, find view and authority, hash
//! touch     read each query's slot of the node table, then each node: 64 cache misses at a time instead of one
//! look up   ask the cache of replies for all names that others answer for, to the same end
//! complete  decide and write each reply; what others must be asked goes to the forwarding runtime
//! send      one sendmmsg
//! ```
//! It blocks in `recvmmsg` where it serves one door and in epoll where it serves several; tokio would cost 4–7 % at
//! saturation and 11–15 % at a fifth of it.

use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::Transport;
use crate::forward::cache::LOOKUPS_MAX;
use crate::serve::counters::{Counter, WorkerCounters};
use crate::serve::handle::{self, Outcome, Reply, Scratch, Slot, Source, Surroundings};
use crate::serve::in_flight::Permit;
use crate::serve::later::Waiting;
use crate::serve::refusal::Refusal;
use crate::serve::server::Server;
use crate::snapshot::publish::Published;
use crate::snapshot::{DoorIndex, NodeTable, Reader, ZoneKind};
use crate::udp::sys::{BATCH, Batch, PacketInfo, Poller, REPLY_OCTETS, Received, Wait, send_one, shut_for_receiving};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// From one query's random number to the next: a batch draws one, and steps of the golden ratio spread the rest evenly.
const PICK_STEP: u32 = 0x9e37_79b9;

const _: () = assert!(BATCH <= LOOKUPS_MAX, "the cache is asked for a whole batch at a time");

/// UDP workers that run.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    sockets: Vec<Arc<UdpSocket>>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Starts one thread for each worker; `sockets[d][w]` is worker `w`'s socket of door `d`.
    pub fn start(server: &Server, sockets: &[Vec<Arc<UdpSocket>>], workers: usize) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut started = Self { threads: Vec::new(), sockets: sockets.concat(), stop };
        for index in 0..workers {
            let own = sockets.iter().map(|of_door| Arc::clone(&of_door[index])).collect();
            let worker = Worker::new(server.clone(), index, own, Arc::clone(&started.stop))?;
            let thread = std::thread::Builder::new().name(format!("udp-{index}")).spawn(move || worker.run());
            match thread {
                Ok(thread) => started.threads.push(thread),
                Err(error) => {
                    started.stop();
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// Answers what has arrived, then ends the threads.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for socket in &self.sockets {
            // It cannot fail on a socket that is open; and if it did, the next datagram would wake the worker.
            let _ = shut_for_receiving(socket);
        }
        for thread in self.threads.drain(..) {
            // A worker catches panics itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One worker.
struct Worker {
    server: Server,
    index: usize,
    sockets: Vec<Arc<UdpSocket>>,
    stop: Arc<AtomicBool>,
    poller: Option<Poller>,
    batch: Batch,
    work: BatchWork,
    reader: Reader,
}

/// What a worker keeps from batch to batch, so that nothing is allocated or zeroed a query.
pub struct BatchWork {
    slots: Box<[Slot]>,
    scratch: Scratch,
    random: SmallRng,
}

impl Default for BatchWork {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(BATCH).collect(),
            scratch: Scratch::default(),
            // Only picks where a multi-value answer starts; ids for upstreams come from a CSPRNG elsewhere.
            random: SmallRng::from_os_rng(),
        }
    }
}

impl Worker {
    fn new(server: Server, index: usize, sockets: Vec<Arc<UdpSocket>>, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let poller = match &*sockets {
            [_] => None,
            several => Some(Poller::new(&several.iter().map(|socket| &**socket).collect::<Vec<_>>())?),
        };
        let reader = server.publisher.reader();
        let wildcard = sockets.iter().any(|socket| socket.local_addr().is_ok_and(|own| own.ip().is_unspecified()));
        let packet_info = if wildcard { PacketInfo::PerDatagram } else { PacketInfo::Absent };
        let batch = Batch::new(packet_info);
        Ok(Self { server, index, sockets, stop, poller, batch, work: BatchWork::default(), reader })
    }

    /// Works until it is stopped. A panic costs the batch it happened in, and is said in the log.
    fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            tracing::error!(worker = self.index, "a UDP worker panicked and goes on; this is a bug, please report it");
            self.work = BatchWork::default();
        }
    }

    /// Receives and answers batches until the doors are shut and their queues empty.
    fn serve(&mut self) {
        match self.poller.take() {
            None => while self.serve_door(0, Wait::Block) > 0 || !self.stop.load(Ordering::Acquire) {},
            Some(mut poller) => {
                let mut ready = vec![0u16; self.sockets.len()];
                loop {
                    let stopping = self.stop.load(Ordering::Acquire);
                    let count = match poller.wait(&mut ready) {
                        Ok(count) => count,
                        Err(error) => {
                            tracing::error!(%error, "epoll failed");
                            0
                        }
                    };
                    let mut received = 0;
                    for &door in &ready[..count] {
                        received += self.serve_door(usize::from(door), Wait::Poll);
                    }
                    if stopping && received == 0 {
                        break;
                    }
                }
            }
        }
    }

    /// Receives one batch at a door and answers it; how many datagrams there were.
    fn serve_door(&mut self, door: usize, wait: Wait) -> usize {
        let socket = &self.sockets[door];
        let received = match self.batch.receive(socket, wait) {
            Ok(received) => received,
            Err(error) => {
                // The kernel lacks memory, or worse: a worker that tried again at once would make it no better.
                tracing::debug!(%error, "receiving failed");
                std::thread::sleep(RECEIVE_REST);
                return 0;
            }
        };
        if received == 0 {
            return 0;
        }
        let door = DoorIndex(door as u32);
        let published = self.reader.current();
        let counters = &self.server.counters[self.index];
        let shared = Batched { server: &self.server, published, counters, door };
        shared.answer(&mut self.work, &mut self.batch, received, |message, datagram, miss, permit| {
            shared.forward(socket, message.to_vec(), datagram, miss, permit);
        });
        let report = self.batch.send(socket);
        counters.send_failed.add(report.failed as u64);
        received
    }
}

/// Received datagrams with a buffer for the reply to each: the kernel's [`Batch`], or one in memory to measure on.
pub trait Datagrams {
    /// The datagram in a slot.
    fn datagram(&self, slot: usize) -> Received<'_>;
    /// The datagram in a slot and the buffer for its reply.
    fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]);
    /// Says how many octets of a slot's buffer are its reply; 0: there is none.
    fn set_reply(&mut self, slot: usize, octets: usize);
}

impl Datagrams for Batch {
    #[inline]
    fn datagram(&self, slot: usize) -> Received<'_> {
        self.datagram(slot)
    }

    #[inline]
    fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]) {
        self.exchange(slot)
    }

    #[inline]
    fn set_reply(&mut self, slot: usize, octets: usize) {
        self.set_reply(slot, octets);
    }
}

/// What the queries of one batch share: one snapshot, one clock reading.
pub struct Batched<'a> {
    /// The server.
    pub server: &'a Server,
    /// What is served.
    pub published: &'a Arc<Published>,
    /// The counters of this worker.
    pub counters: &'a WorkerCounters,
    /// The door they came in by.
    pub door: DoorIndex,
}

impl Batched<'_> {
    /// Works the stages on the first `received` datagrams, at most [`BATCH`]. `forward` is given what others have to
    /// be asked for: the query, its datagram, the question for others, and the place that it takes.
    #[inline]
    pub fn answer(
        &self,
        work: &mut BatchWork,
        batch: &mut impl Datagrams,
        received: usize,
        mut forward: impl FnMut(&[u8], &Received<'_>, handle::Miss, Permit),
    ) {
        let snapshot = &self.published.snapshot;
        let slots = &mut work.slots[..received];
        for (index, slot) in slots.iter_mut().enumerate() {
            let datagram = batch.datagram(index);
            handle::begin(slot, snapshot, whole(&datagram), self.door, datagram.client.ip().to_canonical());
        }
        if snapshot.nodes.is_large() {
            touch(&snapshot.nodes, slots);
        }
        let now = self.server.now();
        let mut looked_up = [const { None }; LOOKUPS_MAX];
        let first_asks = slots.iter().map(|slot| handle::first_ask(slot, snapshot));
        self.server.forwarder.cached_all(first_asks, now, &mut looked_up);
        let mut around = Surroundings {
            snapshot,
            forwarder: &self.server.forwarder,
            now,
            pick: work.random.next_u32(),
            transport: Transport::Udp,
            looked_up: None,
            fetched: &[],
        };
        self.counters.batches.increment();
        self.counters.queries.add(received as u64);
        for (index, slot) in slots.iter_mut().enumerate() {
            around.pick = around.pick.wrapping_add(PICK_STEP);
            around.looked_up = looked_up[index].as_ref();
            let (datagram, out) = batch.exchange(index);
            let message = whole(&datagram);
            let outcome = handle::complete(slot, &mut work.scratch, &around, message, out);
            let outcome = match outcome {
                Outcome::Miss(miss) => match self.server.in_flight.admit(datagram.client.ip()) {
                    Some(permit) => {
                        self.counters.cache_misses.increment();
                        forward(message, &datagram, miss, permit);
                        batch.set_reply(index, 0);
                        continue;
                    }
                    None => {
                        self.counters.in_flight_limit.increment();
                        handle::refuse_slot(slot, &around, message, out, Refusal::InFlightLimit)
                    }
                },
                outcome => outcome,
            };
            let octets = match outcome {
                Outcome::Reply(reply) => {
                    count_reply(self.counters, &reply, Counter::increment);
                    if reply.source == Source::Forward {
                        self.counters.cache_hits.increment();
                    }
                    reply.octets
                }
                Outcome::Silent | Outcome::Miss(_) => {
                    self.counters.silent.increment();
                    0
                }
            };
            batch.set_reply(index, octets);
        }
    }

    /// Hands a query to the forwarding runtime; its reply leaves by the socket it came in by.
    fn forward(
        &self,
        socket: &Arc<UdpSocket>,
        message: Vec<u8>,
        datagram: &Received<'_>,
        miss: handle::Miss,
        permit: Permit,
    ) {
        let (client, local) = (datagram.client, datagram.local);
        let waiting = Waiting {
            server: self.server.clone(),
            published: Arc::clone(self.published),
            message,
            door: self.door,
            client: client.ip().to_canonical(),
            transport: Transport::Udp,
        };
        let (server, socket) = (self.server.clone(), Arc::clone(socket));
        self.server.runtime.spawn(async move {
            let counters = server.shared_counters();
            if let Some((octets, reply)) = waiting.answer(miss).await {
                count_reply(counters, &reply, Counter::increment_shared);
                if send_one(&socket, client, local, &octets).is_err() {
                    counters.send_failed.increment_shared();
                }
            }
            drop(permit);
        });
    }
}

/// Reads what the queries will need into the caches: all slots of the table, then all nodes, so that the misses
/// overlap.
#[inline]
fn touch(nodes: &NodeTable, slots: &[Slot]) {
    let mut places = [0u32; BATCH];
    for (place, slot) in places.iter_mut().zip(slots) {
        *place = nodes.touch_slot(handle::node_hash(slot));
    }
    let touched = places[..slots.len()].iter().fold(0, |touched, place| touched ^ nodes.touch_node(*place));
    // The octets must count for something, or reading them is optimised away.
    std::hint::black_box(touched);
}

/// How long a worker rests when the system refuses to receive.
const RECEIVE_REST: Duration = Duration::from_millis(10);

/// The octets of a datagram; one that did not fit our buffer has lost its end and counts as cut off.
fn whole<'d>(datagram: &Received<'d>) -> &'d [u8] {
    // No query needs 2048 octets; a header alone makes it FORMERR.
    if datagram.truncated { &datagram.octets[..HEADER_OCTETS] } else { datagram.octets }
}

/// Counts a reply by rcode and source. `one_more` is how: alone at the counters, or among others.
pub fn count_reply(counters: &WorkerCounters, reply: &Reply, one_more: fn(&Counter)) {
    one_more(counters.replies(reply.rcode));
    if reply.truncated {
        one_more(&counters.truncated);
    }
    if reply.stale {
        one_more(&counters.stale);
    }
    match reply.source {
        Source::Zone(ZoneKind::HostedZone) => one_more(&counters.from_hosted_zone),
        Source::Zone(ZoneKind::PrivateName | ZoneKind::EndpointName) => one_more(&counters.from_endpoint),
        Source::Zone(ZoneKind::BuiltIn) => one_more(&counters.from_built_in),
        Source::Forward => one_more(&counters.from_forward),
        Source::NotAllowed => one_more(&counters.not_allowed),
        Source::Malformed => one_more(&counters.malformed),
        Source::Nobody => {}
    }
}
