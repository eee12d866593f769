//! One lane at work: what has come in is taken, then what has become due, then everything that is to leave leaves.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::contexts::{Context, Contexts};
use super::flights::{Flight, FlightId, Flights, Open, Via, Waiting, Wanted};
use super::ids::IdState;
use super::inbox::{Contents, FromStream};
use super::sockets::{Owner, SocketIndex, Sockets, Unsent};
use super::timers::Timers;
use super::{Audience, Lanes, Order, Question};
use crate::dns::message::Message;
use crate::dns::{TargetGroup, TargetProtocol};
use crate::forward::clock::Clock;
use crate::forward::exchange::{
    Attempt, AttemptId, Channel, EXCHANGE_MILLIS_MAX, Ending, Event, Input, Observation, Output, Outputs,
    QUERY_OCTETS_MAX, TargetIndex,
};
use crate::forward::loops::targets_text;
use crate::forward::pool::{Change, TargetState, order};
use crate::forward::reply::{TtlLimits, UpstreamReply};
use crate::forward::streams::{StreamFailure, StreamTargets};
use crate::forward::{ContextId, ExchangeError, Millis, Outcome, Shared};
use crate::udp::connected::{Incoming, SENT_OCTETS_MAX};
use crate::udp::events::Events;
use crate::udp::sys::BATCH;

/// How long those who wait are kept waiting where there is an answer whose lifetime is over (RFC 8767 section 5: "client
/// response timer"): stub resolvers ask again after 2 to 5 seconds.
pub const CLIENT_PATIENCE_MILLIS: u64 = 1_800;
/// How long a query waits at most for all that is asked for it, one question after the other. Longer than one exchange, so
/// that where there is only one, how that ends is what is told; and less than the 4 seconds after which a stub gives up.
pub const QUERY_MILLIS_MAX: u64 = 3_900;
/// Batches taken from one socket before others have their turn.
const BATCHES_PER_TURN: usize = 4;
/// How long a lane rests when the system refuses to let it wait.
const WAIT_REST: Duration = Duration::from_millis(10);
/// What is said besides of a target that went away and is asked over TCP for the case of names.
const CHANGES_CASE: &str = ". It does not repeat the case of names and so is asked over TCP: where it has no TCP, set \
                            case_randomization = false";
/// The inbox's number among those of events; no socket has it.
const BELL: u64 = u64::MAX;

const _: () = assert!(EXCHANGE_MILLIS_MAX < QUERY_MILLIS_MAX, "one question has the time that it takes");
const _: () = assert!(QUERY_OCTETS_MAX <= SENT_OCTETS_MAX, "every query fits the buffer it is written into");

/// A lane.
pub(super) struct Lane<A: Audience> {
    lanes: Lanes<A::Waiter>,
    index: usize,
    audience: A,
    streams: StreamTargets,
    clock: Clock,
    /// The moment of this turn.
    now: Millis,
    events: Events,
    flights: Flights<A::Waiter>,
    timers: Timers,
    sockets: Sockets,
    contexts: Contexts,
    rng: StdRng,
    /// What has been taken out of the inbox and not yet been looked at; of streams the first last.
    inward: Contents<A::Waiter>,
    /// Orders among that which have been looked at.
    orders_taken: usize,
    /// What an exchange has said; empty between two steps.
    outputs: Outputs,
    /// Attempts that could not be sent, which their exchanges do not know yet.
    unsent: Vec<(FlightId, AttemptId, Unsent)>,
    /// Why asking over a stream failed, while that is being worked on.
    stream_failure: Option<StreamFailure>,
    /// The flight that is being worked on: what a panic concerns.
    in_work: Option<u32>,
}

impl<A: Audience> Lane<A> {
    /// A lane that has not begun.
    pub(super) fn new(
        lanes: Lanes<A::Waiter>,
        index: usize,
        audience: A,
        streams: StreamTargets,
        clock: Clock,
    ) -> io::Result<Self> {
        let events = Events::new()?;
        events.watch_bell(lanes.0.inboxes[index].bell(), BELL)?;
        let shared = &lanes.0.forwarder.0;
        let sockets = Sockets::new(Arc::clone(&shared.sockets), lanes.count(), Arc::clone(&shared.counters));
        let rng = StdRng::try_from_os_rng().map_err(io::Error::other)?;
        Ok(Self {
            lanes,
            index,
            audience,
            streams,
            clock,
            now: clock.now(),
            events,
            flights: Flights::new(),
            timers: Timers::new(),
            sockets,
            contexts: Contexts::new(),
            rng,
            inward: Contents::default(),
            orders_taken: 0,
            outputs: Outputs::new(),
            unsent: Vec::new(),
            stream_failure: None,
            in_work: None,
        })
    }

    /// Works until it is stopped. A panic costs the question that was being worked on, and is said in the log.
    pub(super) fn run(mut self) {
        let mut incoming = Incoming::default();
        while catch_unwind(AssertUnwindSafe(|| self.turns(&mut incoming))).is_err() {
            self.recover();
        }
    }

    /// Turn after turn, until it is stopped.
    fn turns(&mut self, incoming: &mut Incoming) {
        loop {
            self.take_in();
            self.take_due();
            self.send_out();
            if self.inward.stop {
                return self.abandon_all();
            }
            self.wait(incoming);
        }
    }

    /// Sleeps until something happens, and receives it.
    fn wait(&mut self, incoming: &mut Incoming) {
        let next = self.timers.next_at().into_iter().chain(self.sockets.sweep_at()).min();
        let happened = self.events.wait(next.map(|at| at.since(self.now))).unwrap_or_else(|_| {
            self.shared().counters.wait_failed.add();
            std::thread::sleep(WAIT_REST);
            0
        });
        self.now = self.clock.now();
        self.lanes.0.inboxes[self.index].note_turn();
        for index in 0..happened {
            match self.events.number(index) {
                BELL => {
                    self.lanes.0.inboxes[self.index].take(&mut self.inward);
                    self.orders_taken = 0;
                    self.inward.streams.reverse();
                }
                number => self.receive(number, incoming),
            }
        }
    }

    /// What all lanes share.
    fn shared(&self) -> &Shared {
        &self.lanes.0.forwarder.0
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What comes in

    /// Takes what was in the inbox.
    fn take_in(&mut self) {
        while let Some(order) = self.next_order() {
            self.take_order(order);
        }
        while let Some(from_stream) = self.inward.streams.pop() {
            self.take_from_stream(from_stream);
        }
    }

    /// The next order that has not been looked at.
    fn next_order(&mut self) -> Option<Order<A::Waiter>> {
        let order = self.inward.orders.get_mut(self.orders_taken).and_then(Option::take);
        self.orders_taken += 1;
        if order.is_none() {
            self.inward.orders.clear();
        }
        order
    }

    /// Takes a question: it joins the flight that asks it already, or becomes one.
    fn take_order(&mut self, order: Order<A::Waiter>) {
        let Order { question, group, wanted } = order;
        let waiting = match wanted {
            Wanted::By(waiting) => waiting,
            Wanted::ByCache(_) => {
                // If it is being asked, that is all that the cache can wish for.
                if self.flights.find(&question).is_none() {
                    self.begin(question, &group, wanted);
                }
                return;
            }
        };
        if self.shared().loops.is_probing()
            && let Some(path) = self.shared().loops.probe_of(question.ask().qname)
        {
            self.warn_of_loop(question.context(), &path, &waiting);
            return self.tell(waiting.waiter, &Err(ExchangeError::Loop));
        }
        if waiting.until <= self.now {
            self.shared().counters.told_late.add();
            return self.refuse(waiting, ExchangeError::TimedOut, &question);
        }
        match self.flights.find(&question) {
            Some(number) => self.join(number, waiting),
            None => self.begin(question, &group, Wanted::By(waiting)),
        }
    }

    /// Lets one more wait for a question in flight.
    fn join(&mut self, number: u32, waiting: Waiting<A::Waiter>) {
        self.shared().counters.coalesced.add();
        if self.is_asked_by_its_target(number, waiting.client) {
            let context = self.flights.get(number).and_then(|flight| self.contexts.get(flight.context));
            if let Some(context) = context {
                self.warn_of_loop(context.id, &targets_text(context.targets()), &waiting);
            }
            return self.tell(waiting.waiter, &Err(ExchangeError::Loop));
        }
        let Some(flight) = self.flights.get(number) else { return };
        // No more queries wait at all than questions may be in flight, so that nobody can keep others from this one.
        if flight.waiters.len() >= self.shared().limits.in_flight_max {
            let question = flight.question.clone();
            self.shared().counters.waiters_limit.add();
            return self.refuse(waiting, ExchangeError::InFlightLimit, &question);
        }
        // Whoever waited before was told it, so it is still there but for a cache that needed the room.
        if flight.has_told_stale
            && let Some(stale) = self.shared().cache.stale(&flight.question.ask(), self.now)
        {
            self.shared().counters.told_stale.add();
            return self.tell(waiting.waiter, &Ok(stale));
        }
        let stale_at = self.now.plus(CLIENT_PATIENCE_MILLIS);
        let Some(flight) = self.flights.get_mut(number) else { return };
        if waiting.until < flight.until {
            flight.until = waiting.until;
            self.timers.arm(number, waiting.until, self.now);
        }
        flight.waiters.push(waiting);
        if flight.stale_at.is_none() {
            flight.stale_at = Some(stale_at);
            self.timers.arm(number, stale_at, self.now);
        }
    }

    /// Makes a flight of a question and begins its exchange.
    fn begin(&mut self, question: Question, group: &Arc<TargetGroup>, wanted: Wanted<A::Waiter>) {
        if group.is_empty() {
            return self.refuse_wanted(wanted, ExchangeError::NoTargets, &question);
        }
        let shared = self.shared();
        if shared.in_flight() >= shared.limits.in_flight_max {
            shared.counters.in_flight_limit.add();
            return self.refuse_wanted(wanted, ExchangeError::InFlightLimit, &question);
        }
        let context = self.context(question.context(), group);
        let states = &self.contexts.get(context).expect("it was just found").states;
        let candidates = match order(states, group.order, self.now, &mut self.rng) {
            Ok(candidates) => candidates,
            Err(error) => {
                self.shared().counters.target_busy.add();
                return self.refuse_wanted(wanted, error, &question);
            }
        };
        let shared = &self.lanes.0.forwarder.0;
        shared.counters.exchanges.add();
        shared.flight_began();
        let number = self.flights.begin(question, context);
        self.contexts.flight_began(context);
        let flight = self.flights.get_mut(number).expect("it has just begun");
        flight.exchange.restart(&candidates, self.now, shared.limits.options);
        match wanted {
            Wanted::By(waiting) => {
                flight.until = waiting.until;
                flight.waiters.push(waiting);
                // Where nobody is expected to answer, nobody is kept waiting for what may be told at once.
                let patience = if candidates.are_all_away() { 0 } else { CLIENT_PATIENCE_MILLIS };
                flight.stale_at = Some(self.now.plus(patience));
            }
            Wanted::ByCache(Some(holder)) => flight.waiters.hold(holder),
            Wanted::ByCache(None) => {}
        }
        self.step(number, Input::Start);
    }

    /// The number of a context in this lane.
    fn context(&mut self, id: ContextId, group: &Arc<TargetGroup>) -> u32 {
        if let Some(number) = self.contexts.find(id, group) {
            return number;
        }
        for context in self.contexts.take_unused() {
            context.pools.iter().flatten().for_each(|pool| self.sockets.release(*pool));
        }
        let states: Box<[_]> = self.lanes.0.forwarder.0.pool.states(group, &mut self.rng).into();
        let pools = states.iter().map(|state| {
            let is_asked_over_udp = state.target().protocol == TargetProtocol::Do53;
            let address = state.target().address().filter(|_| is_asked_over_udp)?;
            Some(self.sockets.pool(address, state))
        });
        let pools = pools.collect();
        self.contexts.add(Context::new(id, group, states, pools))
    }

    /// Takes what came of asking over a stream.
    fn take_from_stream(&mut self, FromStream { flight, attempt, result }: FromStream) {
        if !self.flights.is_there(flight) {
            return;
        }
        let input = match &result {
            Ok(octets) => Input::Message(attempt, octets),
            Err(StreamFailure::Busy | StreamFailure::Abandoned) => Input::Unsent(attempt),
            Err(
                StreamFailure::Unreachable
                | StreamFailure::TimedOut
                | StreamFailure::Certificate(_)
                | StreamFailure::Protocol(_)
                | StreamFailure::NoAddress,
            ) => Input::Unreachable(attempt),
        };
        self.stream_failure = result.as_ref().err().cloned();
        self.step(flight.number, input);
        self.stream_failure = None;
    }

    /// Receives from a socket.
    fn receive(&mut self, event: u64, incoming: &mut Incoming) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(socket) = self.sockets.of_event(event) else { return };
            let received = match self.sockets.receive(socket, incoming) {
                Ok(received) => received,
                Err(error) => {
                    let why = super::sockets::reason(&error);
                    if why == Unsent::NoSocket {
                        self.shared().counters.no_socket.add();
                    }
                    return self.give_up(socket, why);
                }
            };
            self.touch(socket, incoming, received);
            for slot in 0..received {
                // What one datagram leads to may close the socket, and another may get its number.
                if self.sockets.of_event(event).is_none() {
                    return;
                }
                self.take_datagram(socket, incoming.datagram(slot));
            }
            if received < BATCH {
                return;
            }
        }
    }

    /// Reads what taking a batch of datagrams will read, so that the processor's cache misses of a batch overlap.
    fn touch(&self, socket: SocketIndex, incoming: &Incoming, received: usize) {
        let mut touched = 0;
        for slot in 0..received {
            let Some(id) = incoming.datagram(slot).first_chunk() else { continue };
            let IdState::Open(owner) = self.sockets.state(socket, u16::from_be_bytes(*id)) else { continue };
            touched ^= self.flights.get(owner.flight).map_or(0, Flight::touch);
        }
        // The octets must count for something, or reading them is optimised away.
        std::hint::black_box(touched);
    }

    /// Takes a datagram of a target.
    #[inline]
    fn take_datagram(&mut self, socket: SocketIndex, datagram: &[u8]) {
        let state =
            datagram.first_chunk().map_or(IdState::Unknown, |id| self.sockets.state(socket, u16::from_be_bytes(*id)));
        match state {
            IdState::Open(owner) => self.step(owner.flight, Input::Message(AttemptId(owner.attempt), datagram)),
            IdState::Closed => self.shared().counters.late.add(),
            IdState::Unknown => {
                self.shared().counters.mismatched.add();
                if self.sockets.note_stray(socket) {
                    self.suspect(socket);
                }
            }
        }
    }

    /// Somebody is guessing at a socket: its questions go on elsewhere.
    fn suspect(&mut self, socket: SocketIndex) {
        self.shared().counters.sockets_suspected.add();
        let owners = self.sockets.owners(socket);
        self.sockets.retire(socket);
        for Owner { flight, attempt } in owners {
            self.step(flight, Input::Suspicious(AttemptId(attempt)));
        }
    }

    /// A socket told an error: it is of no more use, and neither is what was sent from it.
    fn give_up(&mut self, socket: SocketIndex, why: Unsent) {
        let owners = self.sockets.owners(socket);
        self.sockets.retire(socket);
        for Owner { flight, attempt } in owners {
            self.step(flight, why.as_input(AttemptId(attempt)));
        }
    }

    /// Takes what has become due.
    fn take_due(&mut self) {
        while let Some(number) = self.timers.due(self.now) {
            self.tick(number);
        }
        if self.sockets.sweep_at().is_some_and(|at| at <= self.now) {
            self.sockets.sweep(self.now);
        }
    }

    /// A flight's timer has run off.
    fn tick(&mut self, number: u32) {
        let Some(flight) = self.flights.get_mut(number) else { return };
        self.in_work = Some(number);
        let exchange_at = flight.exchange.wake_at();
        if flight.stale_at.is_some_and(|at| at <= self.now) {
            self.tell_stale(number);
        }
        if self.flights.get(number).is_some_and(|flight| flight.until <= self.now) {
            self.tell_late(number);
        }
        if exchange_at <= self.now {
            self.step(number, Input::Tick);
        } else {
            self.settle(number);
            self.in_work = None;
        }
    }

    /// Tells those who wait an answer whose lifetime is over, if there is one; the exchange goes on for the cache.
    fn tell_stale(&mut self, number: u32) {
        let Some(flight) = self.flights.get_mut(number) else { return };
        flight.stale_at = None;
        let question = flight.question.clone();
        let Some(stale) = self.shared().cache.stale(&question.ask(), self.now) else { return };
        let outcome = Ok(stale);
        if let Some(flight) = self.flights.get_mut(number) {
            flight.has_told_stale = true;
            let waiters = flight.waiters.len() as u64;
            let first = flight.waiters.pop_first();
            self.shared().counters.told_stale.add_many(waiters);
            self.tell_early(number, first, &outcome);
        }
        self.tell_waiting(number, &outcome);
    }

    /// Tells those who have no more time, what they asked before having taken it; the exchange goes on for the cache.
    #[cold]
    fn tell_late(&mut self, number: u32) {
        let Some(flight) = self.flights.get_mut(number) else { return };
        let (question, first) = (flight.question.clone(), flight.waiters.pop_first_late(self.now));
        let shared = self.shared();
        let stale = shared.cache.stale(&question.ask(), self.now);
        let told_stale = u64::from(stale.is_some());
        let outcome = stale.ok_or(ExchangeError::TimedOut);
        let mut late = u64::from(first.is_some());
        self.tell_early(number, first, &outcome);
        let mut looked_at = 0;
        while let Some(flight) = self.flights.get_mut(number)
            && let Some(waiting) = flight.waiters.pop_late(self.now, &mut looked_at)
        {
            late += 1;
            self.tell(waiting.waiter, &outcome);
        }
        let counters = &self.shared().counters;
        counters.told_late.add_many(late);
        counters.told_stale.add_many(late * told_stale);
        if let Some(flight) = self.flights.get_mut(number) {
            flight.until = flight.waiters.until();
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Exchanges

    /// Gives an exchange what happened, and does what it says.
    fn step(&mut self, number: u32, input: Input<'_>) {
        self.in_work = Some(number);
        let Self { flights, rng, outputs, now, contexts, lanes, .. } = self;
        let Some(flight) = flights.get_mut(number) else { return };
        let ending = flight.exchange.step(&flight.question.ask(), input, *now, rng, outputs);
        let outcome = ending.map(|ending| {
            outcome_of(ending, contexts.get(flight.context), lanes.0.forwarder.0.limits.cache.ttls, *now)
        });
        self.perform(number);
        if let Some(outcome) = outcome {
            self.finish(number, outcome);
        }
        self.settle(number);
        self.in_work = None;
    }

    /// Does what an exchange has said.
    fn perform(&mut self, number: u32) {
        let mut outputs = std::mem::take(&mut self.outputs);
        // Not taken out one by one: what has just been written in parts would be read as a whole.
        for output in &outputs {
            match *output {
                Output::Send(attempt) => self.send(number, attempt),
                Output::Resend(attempt) => self.send_again(number, attempt),
                Output::Close(attempt) => {
                    let open = self.flights.get_mut(number).and_then(|flight| flight.listening.take(attempt.id));
                    if let Some(open) = open {
                        self.close(number, open);
                    }
                }
                Output::Learned(target, observation) => self.learn(number, target, observation),
                Output::Counted(event) => self.count(event),
            }
        }
        outputs.clear();
        self.outputs = outputs;
    }

    /// Sends an attempt's query, with the batch of this turn.
    fn send(&mut self, number: u32, attempt: Attempt) {
        let id = self.flights.id(number);
        let Some(flight) = self.flights.get_mut(number) else { return };
        let Some(context) = self.contexts.get(flight.context) else { return };
        let target = usize::from(attempt.target.0);
        let state = &context.states[target];
        state.attempt_opened();
        let (ask, exchange) = (flight.question.key.ask(), &mut flight.exchange);
        let via = match (attempt.channel, context.pools[target]) {
            (Channel::Datagram, Some(pool)) => {
                let owner = Owner { flight: number, attempt: attempt.id.0 };
                let write = |id: u16, octets: &mut [u8; SENT_OCTETS_MAX]| {
                    exchange.set_id(attempt.id, id);
                    let octets = octets.first_chunk_mut().expect("checked when this was compiled");
                    exchange.write_query(&ask, attempt.id, octets)
                };
                self.lanes.0.forwarder.0.counters.sent_udp.add();
                match self.sockets.send(pool, owner, (&self.events, self.now), &mut self.rng, write) {
                    Ok((socket, id)) => Via::Datagrams(socket, id),
                    Err(why) => {
                        self.unsent.push((id, attempt.id, why));
                        Via::Nothing
                    }
                }
            }
            // Exchanges ask over datagrams only whom their candidates say; it cannot be sent.
            (Channel::Datagram, None) => {
                self.unsent.push((id, attempt.id, Unsent::NoSocket));
                Via::Nothing
            }
            (Channel::Stream, _) => {
                exchange.set_id(attempt.id, self.rng.random());
                let mut octets = [0; QUERY_OCTETS_MAX];
                let count = exchange.write_query(&ask, attempt.id, &mut octets);
                self.lanes.0.forwarder.0.counters.sent_stream.add();
                let (lanes, index, attempt) = (self.lanes.clone(), self.index, attempt.id);
                self.streams.ask(state.target(), octets[..count].to_vec(), move |result| {
                    lanes.0.inboxes[index].put_from_stream(FromStream { flight: id, attempt, result });
                });
                Via::Nothing
            }
        };
        flight.listening.add(Open { attempt: attempt.id, target: attempt.target, via });
    }

    /// Sends an attempt's query once more.
    fn send_again(&mut self, number: u32, attempt: Attempt) {
        let Some(flight) = self.flights.get_mut(number) else { return };
        let Some(Via::Datagrams(socket, _)) = flight.listening.of(attempt.id).map(|open| open.via) else { return };
        let mut octets = [0; QUERY_OCTETS_MAX];
        let count = flight.exchange.write_query(&flight.question.ask(), attempt.id, &mut octets);
        self.sockets.send_again(socket, &octets[..count]);
        self.shared().counters.sent_udp.add();
    }

    /// Nothing of an attempt matters any more.
    fn close(&mut self, number: u32, open: Open) {
        if let Some(state) = self.state(number, open.target) {
            state.attempt_closed();
        }
        match open.via {
            Via::Datagrams(socket, id) => self.sockets.close_id(socket, id),
            Via::Nothing => {}
        }
    }

    /// What is known of a target of a flight.
    fn state(&self, number: u32, target: TargetIndex) -> Option<&Arc<TargetState>> {
        let context = self.contexts.get(self.flights.get(number)?.context)?;
        context.states.get(usize::from(target.0))
    }

    /// Takes note of what an attempt showed about its target.
    fn learn(&mut self, number: u32, target: TargetIndex, observation: Observation) {
        let Some(state) = self.state(number, target) else { return };
        match state.learn(observation, self.now) {
            Some(Change::WentAway) => {
                let target = state.target();
                let case = if state.changes_case(self.now) { CHANGES_CASE } else { "" };
                match &self.stream_failure {
                    None => tracing::warn!(%target, "an upstream does not answer; it is asked last{case}"),
                    Some(why) => tracing::warn!(%target, %why, "an upstream does not answer; it is asked last{case}"),
                }
            }
            Some(Change::CameBack) => tracing::info!(target = %state.target(), "an upstream answers again"),
            None => {}
        }
    }

    /// Counts what an exchange has said.
    fn count(&self, event: Event) {
        let counters = &self.shared().counters;
        match event {
            Event::Mismatched => counters.mismatched.add(),
            Event::Malformed => counters.malformed.add(),
            Event::Truncated => counters.truncated.add(),
            Event::FailingRcode => counters.failing_rcodes.add(),
            Event::Referral => counters.referrals.add(),
            Event::BadCookie => counters.bad_cookies.add(),
            Event::Suspicious => counters.suspicious.add(),
            Event::Silent => counters.silent.add(),
            Event::Unreachable => counters.unreachable.add(),
        }
    }

    /// An exchange has ended: remembers the outcome and tells those who wait.
    fn finish(&mut self, number: u32, outcome: Outcome) {
        if self.flights.end(number) {
            self.shared().flight_ended();
        }
        let Some(flight) = self.flights.get(number) else { return };
        let question = flight.question.clone();
        let shared = self.shared();
        if outcome.is_err() {
            shared.counters.failed.add();
        }
        if shared.loops.is_probing() {
            shared.loops.end_probe(question.ask().qname);
        }
        let outcome = shared.cache.insert_hashed(question.name_hash, question.key, outcome, self.now);
        self.tell_all(number, &outcome);
    }

    /// Sets a flight's timer after it has been worked on, or takes it out if it is over.
    fn settle(&mut self, number: u32) {
        let Some(flight) = self.flights.get(number) else { return };
        // One that only listens for what else may come takes no place of a question, so it has a bound of its own.
        let is_one_too_many = flight.has_ended && self.flights.len() > self.shared().limits.in_flight_max;
        if flight.exchange.is_over() || is_one_too_many {
            return self.remove(number);
        }
        let at = flight.exchange.wake_at().min(flight.until);
        self.timers.arm(number, flight.stale_at.map_or(at, |stale_at| at.min(stale_at)), self.now);
    }

    /// Takes a flight out.
    fn remove(&mut self, number: u32) {
        self.timers.disarm(number);
        while let Some(open) = self.flights.get_mut(number).and_then(|flight| flight.listening.pop()) {
            self.close(number, open);
        }
        let context = self.flights.get(number).map(|flight| flight.context);
        if self.flights.remove(number) {
            self.shared().flight_ended();
        }
        if let Some(context) = context {
            self.contexts.flight_ended(context);
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What goes out

    /// Sends everything that this turn has led to.
    fn send_out(&mut self) {
        loop {
            self.sockets.send_turn();
            while let Some((socket, why)) = self.sockets.next_broken() {
                self.give_up(socket, why);
            }
            // What could not be sent may lead to something else that is sent instead. An exchange sends so much at most.
            let Some((flight, attempt, why)) = self.unsent.pop() else { break };
            if self.flights.is_there(flight) {
                self.step(flight.number, why.as_input(attempt));
            }
        }
        self.audience.flush();
    }

    /// Does not ask: tells who waits, if anybody does.
    fn refuse_wanted(&mut self, wanted: Wanted<A::Waiter>, why: ExchangeError, question: &Question) {
        match wanted {
            Wanted::By(waiting) => self.refuse(waiting, why, question),
            Wanted::ByCache(_) => self.shared().loops.end_probe(question.ask().qname),
        }
    }

    /// Does not ask: tells one who waits an answer whose lifetime is over, or else why.
    fn refuse(&mut self, waiting: Waiting<A::Waiter>, why: ExchangeError, question: &Question) {
        let shared = self.shared();
        let outcome = shared.cache.stale(&question.ask(), self.now).ok_or(why);
        if outcome.is_ok() {
            shared.counters.told_stale.add();
        }
        self.tell(waiting.waiter, &outcome);
    }

    /// Tells all who wait for a flight, and what only holds for it, that it is over.
    fn tell_all(&mut self, number: u32, outcome: &Outcome) {
        self.tell_waiting(number, outcome);
        if let Some(holder) = self.flights.get_mut(number).and_then(|flight| flight.waiters.pop_holder()) {
            self.tell(holder, outcome);
        }
    }

    /// Tells all who wait for a flight.
    fn tell_waiting(&mut self, number: u32, outcome: &Outcome) {
        while let Some(waiting) = self.flights.get_mut(number).and_then(|flight| flight.waiters.pop()) {
            self.tell(waiting.waiter, outcome);
        }
        if let Some(flight) = self.flights.get_mut(number) {
            flight.until = flight.waiters.until();
        }
    }

    /// Tells the one for whom a flight was begun while the flight goes on; what it was given for that is held on.
    fn tell_early(&mut self, number: u32, first: Option<Waiting<A::Waiter>>, outcome: &Outcome) {
        let Some(first) = first else { return };
        let holder = self.audience.tell_early(first.waiter, outcome, self.now);
        if let Some(flight) = self.flights.get_mut(number)
            && let Some(holder) = holder
        {
            flight.waiters.hold(holder);
        }
    }

    /// Tells one who waits.
    #[inline]
    fn tell(&mut self, waiter: A::Waiter, outcome: &Outcome) {
        self.audience.tell(waiter, outcome, self.now);
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Loops

    /// Whether a client that wants to know something is a target that is being asked it. An address that is one of this
    /// host's own is everybody's here, and shows nothing.
    fn is_asked_by_its_target(&self, number: u32, client: IpAddr) -> bool {
        let Some(flight) = self.flights.get(number) else { return false };
        let target_of = |open: Open| self.state(number, open.target)?.target().address();
        let asked = flight.listening.iter().filter_map(target_of).find(|target| target.ip().to_canonical() == client);
        asked.is_some_and(|target| !is_of_this_host(target))
    }

    /// Says that a question came back, once in a while.
    fn warn_of_loop(&self, context: ContextId, path: &str, waiting: &Waiting<A::Waiter>) {
        self.shared().counters.loops.add();
        if self.shared().loops.may_warn(context, self.now) {
            let way = self.audience.way_of(&waiting.waiter);
            tracing::warn!(path = %format!("{path} -> {way}"), "a forwarding loop: what we ask comes back to us");
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // The end

    /// After a panic: whoever waited for what was being worked on is told so, and the lane goes on.
    fn recover(&mut self) {
        tracing::error!(lane = self.index, "a lane panicked and goes on; this is a bug, please report it");
        self.shared().counters.panics.add();
        self.outputs.clear();
        let Some(number) = self.in_work.take() else { return };
        let abandoned = Err(ExchangeError::Abandoned);
        // Each time round one fewer waits, so this ends also if telling is what panics.
        while catch_unwind(AssertUnwindSafe(|| self.tell_all(number, &abandoned))).is_err() {}
        self.remove(number);
    }

    /// Tells everybody that nothing more comes.
    fn abandon_all(&mut self) {
        let abandoned = Err(ExchangeError::Abandoned);
        while let Some(order) = self.next_order() {
            if let Wanted::By(waiting) = order.wanted {
                self.tell(waiting.waiter, &abandoned);
            }
        }
        for number in self.flights.numbers() {
            self.tell_all(number, &abandoned);
            self.remove(number);
        }
        self.audience.flush();
    }
}

/// What is told of how an exchange ended.
fn outcome_of(ending: Ending<'_>, context: Option<&Context>, ttls: TtlLimits, now: Millis) -> Outcome {
    let is_protected = |target: TargetIndex| {
        let state = context.and_then(|context| context.states.get(usize::from(target.0)));
        state.is_some_and(|state| state.target().is_protected())
    };
    let kept = |message: &Message<'_>, target: TargetIndex| {
        let reply = UpstreamReply::new(message, ttls, now, is_protected(target));
        reply.map(Arc::new).ok_or(ExchangeError::BadReply)
    };
    match ending {
        Ending::Reply { message, target } => kept(&message, target),
        Ending::Kept { octets, target } => {
            Message::parse(&octets).map_err(|_| ExchangeError::BadReply).and_then(|message| kept(&message, target))
        }
        Ending::Error(error) => Err(error),
    }
}

/// Whether an address is one of this host's: then packets to it leave from it. Asks the system, and sends nothing.
fn is_of_this_host(target: SocketAddr) -> bool {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == target.ip())
}
