//! The UDP worker: one plain thread that works a batch in stages.
//!
//! ```text
//! receive   one recvmmsg fills up to 64 slots
//! begin     read each query, find view and authority, hash
//! touch     read each query's slot of the node table, then each node: 64 cache misses at a time instead of one
//! look up   ask the cache of replies for all names that others answer for, to the same end
//! complete  decide and write each reply
//! order     hand to the lanes what others must be asked
//! send      one sendmmsg
//! ```
//! It blocks in `recvmmsg` where it serves one door and in epoll where it serves several; tokio would cost 4–7 % at
//! saturation and 11–15 % at a fifth of it. Doors that come or go are told by a bell in epoll; nothing rings in
//! `recvmmsg`, so that a worker of one door looks for others now and then. What comes in by them meanwhile waits.

use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::Transport;
use crate::forward::Nanos;
use crate::forward::cache::{LOOKUPS_MAX, Lookups};
use crate::forward::lane::{Order, Orders};
use crate::serve::counters::{AddTo, Counter, ReplySource, When, WorkerCounters};
use crate::serve::handle::{self, LookedUp, Outcome, Reply, Scratch, Slot, Surroundings};
use crate::serve::later::{self, Further, KeptMessage, Waiter, Waiting};
use crate::serve::open_doors::OpenDoors;
use crate::serve::query_log::{Logger, Noted, Record};
use crate::serve::rate_limit::{Judgement, RateLimiter, ReplyKind};
use crate::serve::server::Server;
use crate::serve::wall_clock::WallClock;
use crate::snapshot::protection::Rates;
use crate::snapshot::publish::Published;
use crate::snapshot::{ContextIndex, DoorIndex, NodeTable, Reader, ViewIndex};
use crate::udp::events::Events;
use crate::udp::sys::{BATCH, Batch, PacketInfo, REPLY_OCTETS, Received, Wait, refuse_arrivals, shut_for_receiving};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// From one query's random number to the next: a batch draws one, and steps of the golden ratio spread the rest evenly.
const PICK_STEP: u32 = 0x9e37_79b9;

const _: () = assert!(BATCH <= u64::BITS as usize, "each slot has a bit");
const _: () = assert!(BATCH <= LOOKUPS_MAX, "the cache is asked for a whole batch at a time");

/// UDP workers that run.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    count: usize,
    doors: OpenDoors,
    stop: Arc<Stop>,
}

/// When workers are to have ended, once they have been told to.
type Stop = OnceLock<Nanos>;

impl Workers {
    /// Starts one thread for each worker, which serves its sockets of the doors.
    pub fn start(server: &Server, doors: &OpenDoors, workers: usize) -> io::Result<Self> {
        let stop = Arc::new(Stop::new());
        let mut started = Self { threads: Vec::new(), count: workers, doors: doors.clone(), stop };
        for index in 0..workers {
            let worker = Worker::new(server.clone(), index, doors.clone(), Arc::clone(&started.stop))?;
            let thread = std::thread::Builder::new().name(format!("udp-{index}")).spawn(move || worker.run());
            match thread {
                Ok(thread) => started.threads.push(thread),
                Err(error) => {
                    started.stop(server.precisely());
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// Answers what has arrived, then ends the threads. What comes from now on is dropped, so that there is an end to it;
    /// what is left at `until` is not answered.
    pub fn stop(&mut self, until: Nanos) {
        // Told before, they go on until then.
        let _ = self.stop.set(until);
        let table = self.doors.table();
        for socket in (0..self.count).flat_map(|worker| table.receiving(worker)).flatten() {
            // Where the system refuses, what comes is answered as long as there is time.
            let _ = refuse_arrivals(&socket);
            // It cannot fail on a socket that is open; and if it did, the next datagram would wake the worker.
            let _ = shut_for_receiving(&socket);
        }
        self.doors.ring();
        for thread in self.threads.drain(..) {
            // A worker catches panics itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop(Nanos(0));
    }
}

/// One worker.
struct Worker {
    server: Server,
    index: usize,
    doors: OpenDoors,
    /// Which change of the doors is taken up.
    taken_up: u64,
    /// Which one could not be, as the log has said.
    complained: u64,
    /// The sockets of the doors that receive, by place.
    sockets: Vec<Option<Arc<UdpSocket>>>,
    stop: Arc<Stop>,
    waiting: WaitingPlace,
    /// For the next change of the doors: by then the system may have no descriptor left.
    spare: Option<Box<Events>>,
    batch: Batch,
    /// Datagrams of the batch that is being answered; 0 between two batches.
    at_work: usize,
    work: BatchWork,
    /// What this batch has for the lanes; empty between two batches.
    orders: Orders<Waiter>,
    logger: Logger,
    reader: Reader,
}

/// Where a worker waits.
enum WaitingPlace {
    /// At the one door that there is.
    AtDoor(usize),
    /// For any door of several, or for one to come; with room for the places of those that are ready.
    ForEvents(Box<Events>, Vec<u64>),
}

/// What a worker keeps from batch to batch, so that nothing is allocated or zeroed a query.
pub struct BatchWork {
    slots: Box<[Slot]>,
    scratch: Scratch,
    /// Which slots of this batch wait for others, and for what if not for the very name asked; empty between two
    /// batches.
    misses: Vec<(usize, Option<handle::Miss>)>,
    /// Those of them that limits do not allow, each with whom it would be asked of; empty between two batches.
    refused: Vec<(usize, Option<handle::Miss>, ContextIndex)>,
    told: Told,
    random: SmallRng,
    /// How many replies have gone where.
    limiter: RateLimiter,
}

/// What this batch was told.
struct Told {
    /// Replies by source; none between two batches.
    by_source: [u32; ReplySource::COUNT],
    /// What each slot was told, for the query log.
    noted: [Noted; BATCH],
}

impl Default for BatchWork {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(BATCH).collect(),
            scratch: Scratch::default(),
            misses: Vec::with_capacity(BATCH),
            refused: Vec::with_capacity(BATCH),
            told: Told { by_source: [0; ReplySource::COUNT], noted: [Noted::default(); BATCH] },
            // Picks where a multi-value answer starts and by chance among the sets of a routing policy, no more; ids for
            // upstreams come from a CSPRNG elsewhere.
            random: SmallRng::from_os_rng(),
            limiter: RateLimiter::default(),
        }
    }
}

impl Worker {
    fn new(server: Server, index: usize, doors: OpenDoors, stop: Arc<Stop>) -> io::Result<Self> {
        let reader = server.publisher.reader();
        let (work, orders) = (BatchWork::default(), server.lanes.orders());
        let (sockets, waiting) = (Vec::new(), WaitingPlace::AtDoor(0));
        let batch = Batch::new(PacketInfo::Absent);
        let mut worker = Self {
            server,
            index,
            doors,
            taken_up: 0,
            complained: 0,
            sockets,
            stop,
            waiting,
            spare: None,
            batch,
            at_work: 0,
            work,
            orders,
            logger: Logger::new(index),
            reader,
        };
        worker.take_up_doors()?;
        Ok(worker)
    }

    /// Takes up the doors as they are, where that has changed; answers what has arrived at those that are given up.
    fn take_up_doors(&mut self) -> io::Result<()> {
        let version = self.doors.version();
        if version == self.taken_up {
            return Ok(());
        }
        let sockets = self.doors.table().receiving(self.index);
        let open: Vec<(usize, &UdpSocket)> =
            sockets.iter().enumerate().filter_map(|(door, socket)| Some((door, &**socket.as_ref()?))).collect();
        let is_wildcard = |socket: &UdpSocket| socket.local_addr().is_ok_and(|own| own.ip().is_unspecified());
        let has_wildcard = open.iter().any(|(_, socket)| is_wildcard(socket));
        let waiting = match *open {
            [(door, socket)] => {
                socket.set_read_timeout(Some(LOOK_FOR_DOORS_EVERY))?;
                WaitingPlace::AtDoor(door)
            }
            _ => {
                let events = match self.spare.take() {
                    Some(events) => events,
                    None => Box::new(Events::new()?),
                };
                events.watch_bell(self.doors.bell(self.index), BELL)?;
                for (door, socket) in open {
                    events.watch(socket, door as u64)?;
                }
                WaitingPlace::ForEvents(events, Vec::with_capacity(BATCH))
            }
        };
        // Nothing fails from here on: until here the doors of before are served.
        for door in 0..self.sockets.len() {
            if sockets.get(door).is_none_or(Option::is_none) {
                let answered = |worker: &mut Self| worker.serve_door(door, Wait::Poll) > 0;
                (0..LAST_BATCHES_MAX).take_while(|_| answered(self)).for_each(drop);
            }
        }
        (self.sockets, self.waiting) = (sockets, waiting);
        if self.spare.is_none() {
            // Where there is none now, the next change asks again.
            self.spare = Events::new().ok().map(Box::new);
        }
        self.batch = Batch::new(if has_wildcard { PacketInfo::PerDatagram } else { PacketInfo::Absent });
        self.taken_up = version;
        self.doors.taken_up(self.index, version);
        Ok(())
    }

    /// Works until it is stopped. A panic costs the batch it happened in, and is said in the log.
    fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            tracing::error!(worker = self.index, "a UDP worker panicked and goes on; this is a bug, please report it");
            let lost = std::mem::take(&mut self.at_work);
            self.server.counters[self.index].panicked.add(lost as u64);
            self.work = BatchWork::default();
            self.orders = self.server.lanes.orders();
        }
    }

    /// Receives and answers batches until the doors are shut and their queues empty, or the time for that is over.
    fn serve(&mut self) {
        loop {
            self.counters().turns.increment();
            if let Err(error) = self.take_up_doors() {
                // Tried again with the next batch, and said once.
                let version = self.doors.version();
                if self.complained != version {
                    self.complained = version;
                    tracing::error!(worker = self.index, %error, "cannot take up other doors yet");
                }
            }
            if let Some(until) = self.stop.get().copied() {
                let refused = self.counters().receive_failed.get();
                let received: usize = (0..self.sockets.len()).map(|door| self.serve_door(door, Wait::Poll)).sum();
                // What the system refuses to hand over now is no empty queue.
                let is_empty = received == 0 && self.counters().receive_failed.get() == refused;
                if is_empty || self.server.precisely() >= until {
                    break;
                }
                continue;
            }
            let received = match self.waiting {
                WaitingPlace::AtDoor(door) => self.serve_door(door, Wait::Block),
                WaitingPlace::ForEvents(..) => self.serve_ready(),
            };
            if received == 0 {
                // Whoever has nothing to answer lets go of what is not served any more: it may be large.
                self.reader.current();
            }
        }
    }

    /// Its counters.
    #[inline]
    fn counters(&self) -> &WorkerCounters {
        &self.server.counters[self.index]
    }

    /// Waits for some doors to have something, and serves them; how many datagrams there were.
    fn serve_ready(&mut self) -> usize {
        let WaitingPlace::ForEvents(events, ready) = &mut self.waiting else { return 0 };
        match events.wait(None) {
            Ok(count) => ready.extend((0..count).map(|index| events.number(index))),
            Err(_) => {
                self.server.counters[self.index].receive_failed.increment();
                std::thread::sleep(RECEIVE_REST);
            }
        }
        let mut ready = std::mem::take(ready);
        let mut received = 0;
        for door in ready.drain(..).filter(|door| *door != BELL) {
            received += self.serve_door(door as usize, Wait::Poll);
        }
        if let WaitingPlace::ForEvents(_, empty) = &mut self.waiting {
            *empty = ready;
        }
        received
    }

    /// Receives one batch at a door and answers it; how many datagrams there were.
    fn serve_door(&mut self, door: usize, wait: Wait) -> usize {
        let Some(Some(socket)) = self.sockets.get(door) else { return 0 };
        let received = match self.batch.receive(socket, wait) {
            Ok(received) => received,
            Err(_) => {
                // The kernel lacks memory, or worse: a worker that tried again at once would make it no better.
                self.counters().receive_failed.increment();
                std::thread::sleep(RECEIVE_REST);
                return 0;
            }
        };
        if received == 0 {
            return 0;
        }
        self.at_work = received;
        let door = DoorIndex(door as u32);
        let published = self.reader.current();
        let counters = &self.server.counters[self.index];
        let began = self.server.precisely();
        let shared = Batched { server: &self.server, published, counters, door, began };
        shared.answer(&mut self.work, &mut self.batch, received, &mut self.orders);
        self.server.lanes.submit_all(&mut self.orders);
        let report = self.batch.send(socket);
        counters.send_failed.add(report.failed as u64);
        self.at_work = 0;
        let ended = self.server.precisely();
        shared.time(&mut self.work, ended);
        shared.log(&mut self.logger, &self.work, &mut self.batch, received, ended);
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
    /// When they were received.
    pub began: Nanos,
}

impl Batched<'_> {
    /// Counts how long the replies of the batch took, now that they have left.
    #[inline]
    pub fn time(&self, work: &mut BatchWork, ended: Nanos) {
        self.counters.latencies.take_batch(&mut work.told.by_source, ended.since(self.began));
    }

    /// Says what became of the batch to the query log, if there is one, now that the replies have left.
    #[inline]
    pub fn log(
        &self,
        logger: &mut Logger,
        work: &BatchWork,
        batch: &mut impl Datagrams,
        received: usize,
        ended: Nanos,
    ) {
        if self.server.query_log.is_on() {
            self.log_all(logger, work, batch, received, ended);
        }
    }

    #[inline(never)]
    fn log_all(
        &self,
        logger: &mut Logger,
        work: &BatchWork,
        batch: &mut impl Datagrams,
        received: usize,
        ended: Nanos,
    ) {
        let (log, snapshot) = (&self.server.query_log, &self.published.snapshot);
        let took_nanos = ended.since(self.began);
        logger.begin(log, self.published.generation);
        for (index, (noted, slot)) in work.told.noted.iter().zip(&work.slots[..received]).enumerate() {
            let octets = usize::from(noted.octets);
            let view = handle::view(slot);
            let wanted_by = if octets > 0 { logger.wanted(snapshot.logs(view), *noted) } else { continue };
            if wanted_by.is_none() {
                continue;
            }
            let (datagram, reply) = batch.exchange(index);
            let record = Record {
                wanted_by,
                noted: *noted,
                transport: Transport::Udp,
                door: self.door,
                view,
                client: datagram.client,
                local: datagram.local,
                received: self.began,
                took_nanos,
                reply: &reply[..octets],
                query: whole(&datagram),
            };
            logger.push(log, record);
        }
        logger.hand_over(log, self.published);
    }

    /// Works the stages on the first `received` datagrams, at most [`BATCH`]; what others have to be asked is put into
    /// `orders`.
    #[inline]
    pub fn answer(
        &self,
        work: &mut BatchWork,
        batch: &mut impl Datagrams,
        received: usize,
        orders: &mut Orders<Waiter>,
    ) {
        let snapshot = &self.published.snapshot;
        let slots = &mut work.slots[..received];
        work.told.noted[..received].fill(Noted::default());
        let (mut view, mut queries_of_view) = (None, 0);
        let rates = snapshot.protection.rates.as_ref();
        // A bit for each slot whose client is not exempt from them.
        let mut limitable = 0;
        let mut clock = WallClock::default();
        for (index, slot) in slots.iter_mut().enumerate() {
            let datagram = batch.datagram(index);
            let client = datagram.client.ip().to_canonical();
            handle::begin(slot, snapshot, whole(&datagram), self.door, client);
            if handle::has_cookie(slot)
                && let Some(standing) = handle::meet_cookie(slot, snapshot, client, &mut clock)
            {
                self.counters.cookie(standing).increment();
            }
            if let Some(rates) = rates {
                limitable |= u64::from(!rates.is_exempt(client)) << index;
            }
            // Neighbours mostly have the same view, and are counted together.
            if handle::view(slot) == view {
                queries_of_view += 1;
            } else {
                self.count_view(view, queries_of_view);
                (view, queries_of_view) = (handle::view(slot), 1);
            }
        }
        self.count_view(view, queries_of_view);
        if let Some(rates) = rates.filter(|_| limitable != 0) {
            self.limit(slots, batch, limitable, rates, &mut work.limiter);
        }
        if snapshot.nodes.is_large() {
            touch(&snapshot.nodes, slots);
        }
        let now = self.began.millis();
        let mut lookups = Lookups::default();
        let first_asks = slots.iter().map(|slot| handle::first_ask(slot, snapshot));
        self.server.forwarder.cached_all(first_asks, now, &mut lookups);
        let mut around = Surroundings {
            snapshot,
            forwarder: &self.server.forwarder,
            now,
            pick: work.random.next_u32(),
            transport: Transport::Udp,
            looked_up: LookedUp::NotYet,
            fetched: &[],
        };
        self.counters.batches.increment();
        self.counters.queries.add(received as u64);
        self.counters.door(snapshot.door_slot(self.door)).add(received as u64);
        for (index, slot) in slots.iter_mut().enumerate() {
            around.pick = around.pick.wrapping_add(PICK_STEP);
            if lookups.outcomes[index].is_none() && handle::first_context(slot, snapshot).is_some() {
                work.misses.push((index, None));
                batch.set_reply(index, 0);
                continue;
            }
            around.looked_up = LookedUp::of(lookups.outcomes[index].as_ref());
            let (datagram, out) = batch.exchange(index);
            let message = whole(&datagram);
            let outcome = handle::complete(slot, &mut work.scratch, &around, message, out);
            if let Some(Ok(cached)) = &lookups.outcomes[index]
                && cached.claim_prefetch(now)
            {
                let client = datagram.client.ip().to_canonical();
                later::renew(self.server, snapshot, slot, client, orders);
            }
            if let Outcome::Miss(miss) = outcome {
                work.misses.push((index, Some(miss)));
                batch.set_reply(index, 0);
                continue;
            }
            self.reply(&mut work.told, batch, index, outcome);
        }
        if !work.misses.is_empty() {
            self.order(work, batch, &around, &lookups, orders);
        }
    }

    /// Judges the replies to those whose bit is set, before anything is done for them. A loop of its own and a short one, so
    /// that the cache misses of a batch overlap.
    #[inline(never)]
    fn limit(
        &self,
        slots: &mut [Slot],
        batch: &impl Datagrams,
        mut limitable: u64,
        rates: &Rates,
        limiter: &mut RateLimiter,
    ) {
        while limitable != 0 {
            let index = limitable.trailing_zeros() as usize;
            limitable &= limitable - 1;
            let slot = &mut slots[index];
            let Some(kind) = handle::reply_kind(slot) else { continue };
            let client = batch.datagram(index).client.ip().to_canonical();
            let judgement = limiter.judge(rates, client, kind, self.began);
            handle::limit(slot, judgement);
            if judgement == Judgement::Drop {
                match kind {
                    ReplyKind::Answer => self.counters.answers_rate_limited.increment(),
                    ReplyKind::Error => self.counters.errors_rate_limited.increment(),
                }
            }
        }
    }

    /// Counts queries of a view.
    fn count_view(&self, view: Option<ViewIndex>, queries: u64) {
        if let Some(view) = view {
            self.counters.view(self.published.snapshot.view(view).slot).add(queries);
        }
    }

    /// Takes what has been decided for a slot.
    #[inline(always)]
    fn reply(&self, told: &mut Told, batch: &mut impl Datagrams, index: usize, outcome: Outcome) {
        let octets = match outcome {
            Outcome::Reply(reply) => {
                let source = count_reply(self.counters, &reply, When::AtOnce, Counter::add);
                told.by_source[source as usize] += 1;
                told.noted[index] = Noted::new(&reply, source);
                reply.octets
            }
            Outcome::Silent | Outcome::Miss(_) => {
                self.counters.silent.increment();
                0
            }
            // Counted when it was judged.
            Outcome::Dropped => 0,
        };
        batch.set_reply(index, octets);
    }

    /// Orders what this batch has to ask others, as far as limits allow; the rest is told what was said before, or refused.
    fn order(
        &self,
        work: &mut BatchWork,
        batch: &mut impl Datagrams,
        around: &Surroundings<'_>,
        lookups: &Lookups,
        orders: &mut Orders<Waiter>,
    ) {
        let lanes = &self.server.lanes;
        let mut admission = self.server.in_flight.admission();
        for (index, miss) in work.misses.drain(..) {
            let slot = &work.slots[index];
            let datagram = batch.datagram(index);
            let message = whole(&datagram);
            let client = datagram.client.ip().to_canonical();
            let (context, question) = match &miss {
                Some(miss) => (miss.context, lanes.question(&later::ask_of(around.snapshot, miss))),
                None => {
                    let first = handle::first_ask(slot, around.snapshot);
                    let context = handle::first_context(slot, around.snapshot);
                    let (Some(ask), Some(context)) = (first, context) else { continue };
                    (context, lanes.question_looked_up(&ask, lookups, index))
                }
            };
            let permit = if lanes.has_room(&question) { admission.admit(client) } else { None };
            let Some(permit) = permit else {
                work.refused.push((index, miss, context));
                continue;
            };
            self.counters.cache_misses.increment();
            let group = &around.snapshot.context(context).group;
            let waiting = Waiting {
                published: Arc::clone(self.published),
                message: KeptMessage::new(message),
                door: self.door,
                client: datagram.client,
                local: datagram.local,
                received: self.began,
                permit,
                further: miss.map(Further::begins),
            };
            lanes.add(orders, Order::new(question, group, client, around.now, Waiter::Datagram(waiting)));
        }
        // Writing replies takes its time, for which all workers would wait.
        drop(admission);
        for (index, miss, context) in work.refused.drain(..) {
            self.counters.in_flight_limit.increment();
            let slot = &work.slots[index];
            let pick = around.pick.wrapping_add(PICK_STEP.wrapping_mul(index as u32));
            let miss = miss.unwrap_or_else(|| handle::first_miss(slot, context, pick));
            let (datagram, out) = batch.exchange(index);
            let message = whole(&datagram);
            let outcome = handle::complete_at_limit(slot, &mut work.scratch, around, miss, message, out);
            self.reply(&mut work.told, batch, index, outcome);
        }
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

/// How often a worker of one door looks whether there are others: nothing but a datagram wakes it before.
const LOOK_FOR_DOORS_EVERY: Duration = Duration::from_millis(500);
/// What the bell is called among the events.
const BELL: u64 = u64::MAX;
/// Batches that are taken from a door that closes at most, so that a flood does not hold up the other doors.
const LAST_BATCHES_MAX: usize = 256;
/// How long a worker rests when the system refuses to receive.
const RECEIVE_REST: Duration = Duration::from_millis(10);

/// The octets of a datagram; one that did not fit our buffer has lost its end and counts as cut off.
fn whole<'d>(datagram: &Received<'d>) -> &'d [u8] {
    // No query needs 2048 octets; a header alone makes it FORMERR.
    if datagram.truncated { &datagram.octets[..HEADER_OCTETS] } else { datagram.octets }
}

/// Counts a reply, and returns what it was counted as. `add_to` is how: alone at the counters, or among others.
#[inline]
pub fn count_reply(counters: &WorkerCounters, reply: &Reply, when: When, add_to: AddTo) -> ReplySource {
    if reply.truncated {
        add_to(&counters.truncated, 1);
        add_to(&counters.amplification_limit, u64::from(reply.bounded));
    }
    counters.replies.count_reply(reply, when, add_to)
}
