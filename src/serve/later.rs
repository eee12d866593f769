//! The miss path: ask others, then answer the query again from the start with what they said at hand.
//!
//! Nothing of the first attempt is kept but the question: the snapshot taken when the query arrived is used to the end
//! (no query sees two), and each round either completes the reply or learns one more thing. Datagrams are answered on
//! the lane that learned what they waited for, streams on their own tasks.

use super::arrival::Arrival;
use super::counters::{Counter, ReplySource, When, WorkerCounters};
use super::handle::{self, Fetched, LookedUp, Miss, Outcome, Reply, Scratch, Slot, Surroundings};
use super::in_flight::Permit;
use super::open_doors::{DoorTable, OpenDoors};
use super::query_log::{Logger, Noted, Record};
use super::refusal::Refusal;
use super::server::Server;
use super::udp::worker::count_reply;
use super::wall_clock::WallClock;
use crate::dns::Class;
use crate::dns::reply::Transport;
use crate::forward::lane::{Audience, Order, Orders};
use crate::forward::{self, Ask, ExchangeError, Millis, Nanos};
use crate::resolve::CNAME_CHAIN_MAX;
use crate::snapshot::publish::Published;
use crate::snapshot::{DoorIndex, Snapshot};
use crate::udp::answers::Answers;
use crate::udp::sys::REPLY_OCTETS;
use arc_swap::{ArcSwap, Cache};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Questions asked of others for one query at most: one a CNAME, and the first; where DNS64 makes IPv6 addresses of IPv4
/// ones, as many again for these.
pub const ROUNDS_MAX: usize = 2 * (CNAME_CHAIN_MAX + 1);
/// Doors whose replies a lane collects at a time; for one more, those of the others leave first.
const DOORS_MAX: usize = 8;

/// Who waits for what others say.
pub enum Waiter {
    /// A datagram.
    Datagram(Waiting),
    /// A message of a stream, whose task goes on with what it is told, and with the place if that is free again.
    Stream(oneshot::Sender<(forward::Outcome, Permit)>, Permit),
    /// Nobody; a place is held until what was asked for it is over.
    Nobody(Permit),
}

/// A query that waits for others.
pub struct Waiting {
    /// The snapshot that was current when it arrived.
    pub published: Arc<Published>,
    /// Its octets.
    pub message: KeptMessage,
    /// The door it came in by.
    pub door: DoorIndex,
    /// Who asks, exactly as the kernel names it.
    pub client: SocketAddr,
    /// The address that was asked, where the door is a wildcard.
    pub local: Option<IpAddr>,
    /// When it came: by that its time is over, however many questions it leads to.
    pub received: Nanos,
    /// Its place among the questions in flight; none after it was told something that is still being asked.
    pub permit: Permit,
    /// Where CNAMEs have led it; none while the very name that it asks for is being asked.
    pub further: Option<Box<Further>>,
}

/// How far a query has come that CNAMEs have led on.
pub struct Further {
    /// What is being asked.
    asking: Miss,
    /// What was said of the very name asked, if that had to be asked.
    first: Option<forward::Outcome>,
    /// What was said of the names that were asked since.
    fetched: Vec<Fetched>,
}

impl Further {
    /// Another name than the one asked is asked first: what leads there is known.
    pub fn begins(asking: Miss) -> Box<Self> {
        Box::new(Self { asking, first: None, fetched: Vec::new() })
    }
}

/// The octets of a query, within this value where they are few.
pub enum KeptMessage {
    /// So many of these.
    Inline(u8, [u8; MESSAGE_OCTETS_INLINE]),
    /// Too many for that.
    Boxed(Box<[u8]>),
}

/// Queries up to here need no allocation of their own, in octets: most have a short name and an OPT.
const MESSAGE_OCTETS_INLINE: usize = 70;

impl KeptMessage {
    /// Keeps a message.
    pub fn new(message: &[u8]) -> Self {
        let mut octets = [0; MESSAGE_OCTETS_INLINE];
        match octets.get_mut(..message.len()) {
            Some(part) => {
                part.copy_from_slice(message);
                Self::Inline(message.len() as u8, octets)
            }
            None => Self::Boxed(message.into()),
        }
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Inline(count, octets) => &octets[..usize::from(*count)],
            Self::Boxed(octets) => octets,
        }
    }
}

/// A miss in the words of those who ask.
pub fn ask_of<'a>(snapshot: &Snapshot, miss: &'a Miss) -> Ask<'a> {
    Ask {
        context: snapshot.context(miss.context).id,
        qname: &miss.qname,
        qtype: miss.qtype,
        class: Class::IN,
        dnssec_ok: miss.dnssec_ok,
        checking_disabled: miss.checking_disabled,
    }
}

/// Orders what renews the cached answer to a query that has just been begun in a slot, before its lifetime ends; nobody
/// waits for it. Where its lane takes no more, or its client has no place left, the next who asks after the lifetime
/// waits.
#[cold]
pub fn renew(server: &Server, snapshot: &Snapshot, slot: &Slot, client: IpAddr, orders: &mut Orders<Waiter>) {
    let Some(ask) = handle::first_ask(slot, snapshot) else { return };
    let question = server.lanes.question(&ask);
    let context = snapshot.contexts.iter().find(|context| context.id == ask.context);
    let Some(context) = context.filter(|_| server.lanes.has_room(&question)) else { return };
    if let Some(permit) = server.in_flight.admit(client) {
        server.lanes.add(orders, Order::for_cache(question, &context.group, Some(Waiter::Nobody(permit))));
    }
}

/// Those who wait for one lane: answers datagrams, and passes on to streams what they wait for.
pub struct Waiters {
    server: Server,
    lane: usize,
    /// The doors that replies leave by.
    doors: Cache<Arc<ArcSwap<DoorTable>>, Arc<DoorTable>>,
    /// What this turn has collected for some doors.
    collected: Vec<(DoorIndex, Answers)>,
    spare: Vec<Answers>,
    /// Places of those who have been answered.
    permits: Vec<Permit>,
    /// Whence the replies of this turn are, and when their queries came.
    timed: Vec<(ReplySource, Nanos)>,
    logger: Logger,
    work: Work,
}

/// What is kept from answer to answer, so that nothing is allocated or zeroed for one.
struct Work {
    slot: Slot,
    scratch: Scratch,
    random: SmallRng,
}

/// What one round led to.
enum Round {
    /// The reply is written, or none is owed.
    Done(Option<Reply>),
    /// Others have to be asked once more.
    Miss(Miss),
}

impl Waiters {
    /// Those of a lane, who came in by these doors.
    pub fn new(server: &Server, lane: usize, doors: &OpenDoors) -> Self {
        Self {
            server: server.clone(),
            lane,
            doors: doors.reader(),
            collected: Vec::new(),
            spare: Vec::new(),
            permits: Vec::new(),
            timed: Vec::new(),
            logger: server.lane_logger(lane),
            work: Work::default(),
        }
    }

    /// The counters of this lane.
    fn counters(&self) -> &WorkerCounters {
        self.server.lane_counters(self.lane)
    }

    /// Answers a datagram with what it waited for, or asks what that led to.
    fn answer(&mut self, mut waiting: Waiting, outcome: &forward::Outcome, now: Millis) {
        if let Some(further) = &mut waiting.further {
            further.fetched.push(Fetched { miss: further.asking.clone(), result: outcome.clone() });
        }
        let answers = self.room_for(waiting.door);
        let Self { server, collected, logger, work, .. } = self;
        let answers = &mut collected[answers].1;
        let mut round = Round::Done(None);
        answers.push(waiting.client, waiting.local, |out| {
            // A panic is a bug of ours: it costs this query its answer, not its reply.
            let answered = catch_unwind(AssertUnwindSafe(|| work.answer(server, &waiting, outcome, now, out)));
            round = answered.unwrap_or_else(|_| {
                tracing::error!("answering a forwarded query panicked; this is a bug, please report it");
                *work = Work::default();
                work.refuse(server, &waiting, now, out, Refusal::Internal)
            });
            match round {
                Round::Done(Some(reply)) => {
                    log(server, logger, &waiting, &reply, out);
                    reply.octets
                }
                Round::Done(None) | Round::Miss(_) => 0,
            }
        });
        match round {
            Round::Done(reply) => {
                self.count(reply, waiting.received);
                self.permits.push(waiting.permit);
            }
            Round::Miss(miss) => {
                match &mut waiting.further {
                    Some(further) => further.asking = miss,
                    None => {
                        let first = Some(outcome.clone());
                        waiting.further = Some(Box::new(Further { asking: miss, first, fetched: Vec::new() }));
                    }
                }
                self.ask_again(waiting, now);
            }
        }
    }

    /// Asks what a round led to, within bounds.
    fn ask_again(&mut self, mut waiting: Waiting, now: Millis) {
        let Some(Further { asking, first, fetched }) = waiting.further.as_deref() else { return };
        if usize::from(first.is_some()) + fetched.len() >= ROUNDS_MAX {
            return self.refuse(waiting, now, Refusal::RoundLimit);
        }
        let client = waiting.client.ip().to_canonical();
        let snapshot = &waiting.published.snapshot;
        let ask = ask_of(snapshot, asking);
        let question = self.server.lanes.question(&ask);
        let has_room = self.server.lanes.has_room(&question);
        if has_room && !waiting.permit.holds() {
            waiting.permit = self.server.in_flight.admit(client).unwrap_or_default();
        }
        if has_room && waiting.permit.holds() {
            let (group, arrived) = (Arc::clone(&snapshot.context(asking.context).group), waiting.received.millis());
            self.server.lanes.submit(Order::new(question, &group, client, arrived, Waiter::Datagram(waiting)));
            return;
        }
        self.counters().in_flight_limit.increment();
        let outcome = self.server.forwarder.cache().stale(&ask, now).ok_or(ExchangeError::InFlightLimit);
        self.answer(waiting, &outcome, now);
    }

    /// Answers a datagram with a refusal.
    fn refuse(&mut self, waiting: Waiting, now: Millis, why: Refusal) {
        let index = self.room_for(waiting.door);
        let Self { server, collected, logger, work, .. } = self;
        let mut round = Round::Done(None);
        collected[index].1.push(waiting.client, waiting.local, |out| {
            round = work.refuse(server, &waiting, now, out, why);
            let Round::Done(Some(reply)) = round else { return 0 };
            log(server, logger, &waiting, &reply, out);
            reply.octets
        });
        if let Round::Done(reply) = round {
            self.count(reply, waiting.received);
        }
        self.permits.push(waiting.permit);
    }

    /// Counts a reply to a query that came then; how long it took is counted when it has left.
    fn count(&mut self, reply: Option<Reply>, received: Nanos) {
        match reply {
            Some(reply) => {
                let source = count_reply(self.counters(), &reply, When::Later, Counter::add);
                self.timed.push((source, received));
            }
            None => self.counters().silent.increment(),
        }
    }

    /// Counts how long the replies of this turn took, which have left.
    fn time(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let (now, latencies) = (self.server.precisely(), &self.server.lane_counters(self.lane).latencies);
        for (source, received) in self.timed.drain(..) {
            latencies.add(source, now.since(received), Counter::add);
        }
    }

    /// Room for one more reply of a door: its place among those that are collected.
    fn room_for(&mut self, door: DoorIndex) -> usize {
        let has_room = |(of, answers): &(DoorIndex, Answers)| *of == door && answers.has_room();
        if let Some(index) = self.collected.iter().position(has_room) {
            return index;
        }
        let is_full = |(of, answers): &(DoorIndex, Answers)| *of == door && !answers.has_room();
        if self.collected.iter().any(is_full) || self.collected.len() >= DOORS_MAX {
            self.send();
        }
        self.collected.push((door, self.spare.pop().unwrap_or_default()));
        self.collected.len() - 1
    }

    /// Sends what is collected.
    fn send(&mut self) {
        while let Some((door, mut answers)) = self.collected.pop() {
            // A door stays for longer than anybody waits once nothing is received there: who is left has given up.
            if let Some(socket) = self.doors.load().leaving(door, self.lane) {
                let report = answers.send(socket);
                self.counters().send_failed.add(report.failed as u64);
                self.spare.push(answers);
            } else {
                self.counters().send_failed.add(answers.len() as u64);
            }
        }
    }
}

/// Says to the query log, if there is one, what a datagram was told, which is at the beginning of `out` and about to leave.
fn log(server: &Server, logger: &mut Logger, waiting: &Waiting, reply: &Reply, out: &[u8]) {
    let log = &server.query_log;
    if !log.is_on() {
        return;
    }
    let Waiting { published, message, door, client, local, received, .. } = waiting;
    let arrival = Arrival { door: *door, client: *client, local: *local };
    let noted = Noted::new(reply, ReplySource::of(reply, When::Later));
    let arrived = (*received, server.precisely().since(*received));
    let messages = (message.octets(), &out[..reply.octets]);
    let record = Record::of(published, &arrival, Transport::Udp, arrived, noted, messages);
    logger.begin(log, published.generation);
    let wanted_by = logger.wanted(published.snapshot.logs(record.view), noted);
    if !wanted_by.is_none() {
        logger.push(log, Record { wanted_by, ..record });
        logger.hand_over(log, published);
    }
}

impl Audience for Waiters {
    type Waiter = Waiter;

    fn tell(&mut self, waiter: Waiter, outcome: &forward::Outcome, now: Millis) {
        match waiter {
            Waiter::Datagram(waiting) => self.answer(waiting, outcome, now),
            Waiter::Stream(task, permit) => {
                // Its task may be gone: a client that has closed its stream.
                if let Err((_, permit)) = task.send((outcome.clone(), permit)) {
                    self.permits.push(permit);
                }
            }
            Waiter::Nobody(permit) => self.permits.push(permit),
        }
    }

    fn tell_early(&mut self, mut waiter: Waiter, outcome: &forward::Outcome, now: Millis) -> Option<Waiter> {
        let permit = match &mut waiter {
            Waiter::Datagram(waiting) => waiting.permit.take(),
            Waiter::Stream(_, permit) | Waiter::Nobody(permit) => permit.take(),
        };
        self.tell(waiter, outcome, now);
        Some(Waiter::Nobody(permit))
    }

    fn flush(&mut self) {
        self.send();
        self.time();
        self.server.in_flight.give_back(&mut self.permits);
    }

    fn way_of(&self, waiter: &Waiter) -> String {
        match waiter {
            Waiter::Datagram(Waiting { client, door, local, .. }) => {
                let asked =
                    self.doors.arc_swap().load().leaving(*door, self.lane).and_then(|socket| socket.local_addr().ok());
                let asked = asked.map(|asked| SocketAddr::new(local.unwrap_or(asked.ip()), asked.port()));
                let asked = asked.map_or_else(|| "a door".to_owned(), |asked| asked.to_string());
                format!("{} -> {asked}", client.ip().to_canonical())
            }
            Waiter::Stream(..) => "a client over TCP".to_owned(),
            Waiter::Nobody(_) => "nobody".to_owned(),
        }
    }
}

impl Default for Work {
    fn default() -> Self {
        // Only picks where a multi-value answer starts, and by chance among the sets of a routing policy.
        Self { slot: Slot::default(), scratch: Scratch::default(), random: SmallRng::from_os_rng() }
    }
}

impl Work {
    /// Answers a query with what is at hand.
    fn answer(
        &mut self,
        server: &Server,
        waiting: &Waiting,
        outcome: &forward::Outcome,
        now: Millis,
        out: &mut [u8; REPLY_OCTETS],
    ) -> Round {
        let Self { slot, scratch, random } = self;
        let snapshot = &waiting.published.snapshot;
        let around = Surroundings {
            snapshot,
            forwarder: &server.forwarder,
            now,
            pick: random.next_u32(),
            transport: Transport::Udp,
            looked_up: match &waiting.further {
                None => LookedUp::Found(outcome),
                Some(further) => further.first.as_ref().map_or(LookedUp::NotYet, LookedUp::Found),
            },
            fetched: waiting.further.as_ref().map_or(&[], |further| &further.fetched),
        };
        let (message, client) = (waiting.message.octets(), waiting.client.ip().to_canonical());
        handle::begin(slot, snapshot, message, waiting.door, client);
        handle::meet_cookie(slot, snapshot, client, &mut WallClock::default());
        Round::of(handle::complete(slot, scratch, &around, message, out))
    }

    /// Answers a query with a refusal.
    fn refuse(
        &mut self,
        server: &Server,
        waiting: &Waiting,
        now: Millis,
        out: &mut [u8; REPLY_OCTETS],
        why: Refusal,
    ) -> Round {
        let around = Surroundings {
            snapshot: &waiting.published.snapshot,
            forwarder: &server.forwarder,
            now,
            pick: 0,
            transport: Transport::Udp,
            looked_up: LookedUp::NotYet,
            fetched: &[],
        };
        let from = (waiting.message.octets(), waiting.client.ip().to_canonical());
        Round::of(handle::refuse_message(&mut self.slot, &around, from, out, why))
    }
}

impl Round {
    /// What the engine said.
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Reply(reply) => Self::Done(Some(reply)),
            Outcome::Silent | Outcome::Dropped => Self::Done(None),
            Outcome::Miss(miss) => Self::Miss(miss),
        }
    }
}

/// A query of a stream that waits for others.
pub struct WaitingMessage {
    /// The server it came to.
    pub server: Server,
    /// The snapshot that was current when it arrived.
    pub published: Arc<Published>,
    /// Its octets.
    pub message: Vec<u8>,
    /// The door it came in by.
    pub door: DoorIndex,
    /// Who asks.
    pub client: IpAddr,
    /// When it came.
    pub arrived: Millis,
    /// Its place among the questions in flight; none while a lane has it, or after it was told something that is still
    /// being asked.
    pub permit: Permit,
}

impl WaitingMessage {
    /// Asks what is missing until the reply is complete; the reply, and what it says. None: no reply is owed.
    pub async fn answer(&mut self, first: Miss) -> Option<(Vec<u8>, Reply)> {
        let mut fetched = Vec::with_capacity(1);
        let mut miss = first;
        for _ in 0..ROUNDS_MAX {
            let result = self.fetch(&miss).await;
            fetched.push(Fetched { miss, result });
            match self.again(&fetched) {
                (out, Round::Done(reply)) => return reply.map(|reply| (out, reply)),
                (_, Round::Miss(next)) => miss = next,
            }
        }
        self.refuse(Refusal::RoundLimit)
    }

    /// Asks others one question.
    async fn fetch(&mut self, miss: &Miss) -> forward::Outcome {
        let snapshot = &self.published.snapshot;
        let ask = ask_of(snapshot, miss);
        let question = self.server.lanes.question(&ask);
        let has_room = self.server.lanes.has_room(&question);
        if has_room && !self.permit.holds() {
            self.permit = self.server.in_flight.admit(self.client).unwrap_or_default();
        }
        if !has_room || !self.permit.holds() {
            self.server.shared_counters().in_flight_limit.increment_shared();
            let stale = self.server.forwarder.cache().stale(&ask, self.server.now());
            return stale.ok_or(ExchangeError::InFlightLimit);
        }
        let (task, told) = oneshot::channel();
        let group = &snapshot.context(miss.context).group;
        // The place goes with the order: this task may end before what it asks.
        let waiter = Waiter::Stream(task, self.permit.take());
        self.server.lanes.submit(Order::new(question, group, self.client, self.arrived, waiter));
        match told.await {
            Ok((outcome, permit)) => {
                self.permit = permit;
                outcome
            }
            Err(_) => Err(ExchangeError::Abandoned),
        }
    }

    /// Answers the query with what is at hand. A panic is a bug of ours: it costs this query its answer, not its reply.
    fn again(&self, fetched: &[Fetched]) -> (Vec<u8>, Round) {
        let answer = || {
            self.run(fetched, |slot, scratch, around, out| {
                handle::begin(slot, around.snapshot, &self.message, self.door, self.client);
                handle::meet_cookie(slot, around.snapshot, self.client, &mut WallClock::default());
                handle::complete(slot, scratch, around, &self.message, out)
            })
        };
        catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
            tracing::error!("answering a forwarded query panicked; this is a bug, please report it");
            self.run(&[], |slot, _, around, out| {
                handle::refuse_message(slot, around, (&self.message, self.client), out, Refusal::Internal)
            })
        })
    }

    /// The reply that says why there is none.
    fn refuse(&self, why: Refusal) -> Option<(Vec<u8>, Reply)> {
        let from = (&*self.message, self.client);
        match self.run(&[], |slot, _, around, out| handle::refuse_message(slot, around, from, out, why)) {
            (out, Round::Done(reply)) => reply.map(|reply| (out, reply)),
            (_, Round::Miss(_)) => None,
        }
    }

    /// Runs the engine once, with room for a reply of any size.
    fn run(
        &self,
        fetched: &[Fetched],
        engine: impl FnOnce(&mut Slot, &mut Scratch, &Surroundings<'_>, &mut [u8]) -> Outcome,
    ) -> (Vec<u8>, Round) {
        let around = Surroundings {
            snapshot: &self.published.snapshot,
            forwarder: &self.server.forwarder,
            now: self.server.now(),
            pick: rand::random(),
            transport: Transport::Tcp,
            looked_up: LookedUp::NotYet,
            fetched,
        };
        let mut out = vec![0; Transport::Tcp.buffer_octets()];
        let round = Round::of(engine(&mut Slot::default(), &mut Scratch::default(), &around, &mut out));
        if let Round::Done(Some(reply)) = &round {
            out.truncate(reply.octets);
        }
        (out, round)
    }
}
