//! One question to one set of targets, as a state machine: no sockets, no clock, no randomness of its own.
//!
//! ```text
//! Start ─> send to the quickest target ─┬─ good reply ──────────────────────────> Done(reply)
//!                                       ├─ TC ────────> the same target over TCP
//!                                       ├─ FORMERR ───> the same target without EDNS, once
//!                                       ├─ SERVFAIL … > remember it, next target
//!                                       ├─ refused ───> next target
//!                                       ├─ silent ────> next target, and go on listening to this one
//!                                       └─ not ours ──> ignored, the wait goes on
//! all targets settled, or 4 s over ─> Done(the failing reply, else an error)
//! ```

mod query;
mod verdict;

use std::net::SocketAddr;

use rand::Rng;

use super::{Ask, ExchangeError, Millis};
use crate::dns::reply::Transport;
use query::QueryTemplate;
use verdict::{Verdict, judge};

/// How long an exchange goes on at most: glibc's stub asks again or elsewhere after 5 seconds.
pub const EXCHANGE_MILLIS_MAX: u64 = 4_000;
/// How long a target may be silent before the next one is asked too; less when its round-trip time is known.
pub const PATIENCE_MILLIS_MAX: u64 = 400;
/// The same at least: a target next door may still be busy.
pub const PATIENCE_MILLIS_MIN: u64 = 50;
/// The same over TCP, which takes more round trips.
pub const TCP_PATIENCE_MILLIS: u64 = 800;
/// Sockets that one exchange listens on at a time; beyond it the oldest is closed.
pub const ATTEMPTS_OPEN_MAX: usize = 4;
/// Queries that one exchange sends at most, all targets and transports together (unbound: 32, `max-sent-count`).
pub const SENDINGS_MAX: usize = 32;
/// Replies that do not fit the query before the target is asked over TCP: somebody is guessing (RFC 5452 section 9.2).
pub const MISMATCHES_MAX: u32 = 16;
/// Times that a target may refuse packets before it counts as gone for this question.
const REFUSALS_MAX: u32 = 2;

/// A target, in the order in which targets are to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub target: SocketAddr,
    /// How long it may be silent before the next one is asked.
    pub patience_millis: u64,
    /// When it is asked first.
    pub turn: Turn,
}

/// When a target is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// After those before it.
    InOrder,
    /// The same, but it is suspect: a failing rcode of another target does not wait for it longer than its patience.
    Suspect,
    /// Suspect, and asked at once, beside the first one, to find out whether it is back.
    Probe,
}

/// One socket that the query was sent from and that listens for its reply: the number of its `Output::Send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptId(pub usize);

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Begin.
    Start,
    /// A datagram, or a whole message of a stream, came in on the socket of this attempt.
    Message(AttemptId, &'a [u8]),
    /// The socket of this attempt cannot be used: ICMP unreachable, connection refused or closed, no socket.
    Unreachable(AttemptId),
    /// The time that [`Exchange::wake_at`] asked for has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this from a new socket that takes packets of this target only, and listen on it.
    Send {
        /// The attempt that it is from now on.
        attempt: AttemptId,
        /// Where to.
        target: SocketAddr,
        /// Over what.
        transport: Transport,
        /// The query, without the length that goes before it on a stream.
        octets: Vec<u8>,
    },
    /// Send this once more from the socket of an attempt: its datagram may have been lost.
    Resend {
        /// The attempt that it belongs to.
        attempt: AttemptId,
        /// The same query.
        octets: Vec<u8>,
    },
    /// Nothing of this attempt matters any more.
    Close(AttemptId),
    /// Something was learned about a target.
    Learned(SocketAddr, Observation),
    /// Something worth counting happened.
    Counted(Event),
    /// The end.
    Done(Result<Vec<u8>, ExchangeError>),
}

/// What an attempt showed about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered so many milliseconds after the query was first sent.
    Answered(u64),
    /// It did not answer a query, last sent at this moment, while we waited for it.
    SilentSince(Millis),
    /// It, or something before it, refuses packets.
    Unreachable,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the counters of the same names explain them")]
pub enum Event {
    Mismatched,
    Malformed,
    Truncated,
    FailingRcode,
}

/// An exchange in progress.
// Invariant: attempts only grow; current is the attempt whose silence makes us go on; sendings counts every Send and
// Resend.
#[derive(Debug)]
pub struct Exchange {
    query: QueryTemplate,
    targets: Vec<Target>,
    attempts: Vec<Attempt>,
    sendings: usize,
    current: usize,
    next_at: Millis,
    deadline: Millis,
    failing_reply: Option<Vec<u8>>,
    is_done: bool,
}

/// What this exchange knows of a target.
#[derive(Debug)]
struct Target {
    candidate: Candidate,
    transport: Transport,
    with_edns: bool,
    /// Times asked, retries without EDNS and over TCP not counted.
    asked: u32,
    /// Until when the next asking must wait.
    wait_until: Option<Millis>,
    refusals: u32,
    /// Gave a failing rcode: asking it again is of no use.
    has_failed: bool,
    /// Gave something that cannot be passed on.
    was_bad: bool,
}

/// One socket and what was sent from it.
#[derive(Debug)]
struct Attempt {
    target: usize,
    transport: Transport,
    id: [u8; 2],
    with_edns: bool,
    first_sent_at: Millis,
    last_sent_at: Millis,
    is_open: bool,
    mismatches: u32,
}

impl Exchange {
    /// An exchange that has not begun. Candidates are asked in their order; there is at least one.
    pub fn new(ask: &Ask<'_>, candidates: impl IntoIterator<Item = Candidate>, now: Millis) -> Self {
        Self {
            query: QueryTemplate::new(ask),
            targets: candidates.into_iter().map(Target::new).collect(),
            attempts: Vec::new(),
            sendings: 0,
            current: 0,
            next_at: now,
            deadline: now.plus(EXCHANGE_MILLIS_MAX),
            failing_reply: None,
            is_done: false,
        }
    }

    /// When the next `Tick` is due.
    pub fn wake_at(&self) -> Millis {
        self.next_at.min(self.deadline)
    }

    /// Takes what happened; puts what is to be done behind `out`, in order. After `Done` nothing happens any more.
    pub fn step(&mut self, input: Input<'_>, now: Millis, rng: &mut impl Rng, out: &mut Vec<Output>) {
        let mut step = Step { exchange: self, now, rng, out };
        if step.exchange.is_done {
            return;
        }
        match input {
            Input::Start => step.start(),
            Input::Message(attempt, octets) => step.message(attempt.0, octets),
            Input::Unreachable(attempt) => step.unreachable(attempt.0),
            Input::Tick if now >= step.exchange.deadline => step.expire(),
            Input::Tick if now >= step.exchange.next_at => {
                step.note_silence();
                step.ask_next();
            }
            Input::Tick => {}
        }
    }
}

impl Target {
    /// A target that has not been asked.
    fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            transport: Transport::Udp,
            with_edns: true,
            asked: 0,
            wait_until: None,
            refusals: 0,
            has_failed: false,
            was_bad: false,
        }
    }

    /// Whether asking it again is of no use.
    fn is_settled(&self) -> bool {
        self.has_failed || self.refusals >= REFUSALS_MAX
    }

    /// How long to wait for it after it was sent something: longer each time round, so that slow names are not
    /// asked faster and faster.
    fn wait_millis(&self, transport: Transport) -> u64 {
        let patience = match transport {
            Transport::Udp => self.candidate.patience_millis,
            Transport::Tcp => TCP_PATIENCE_MILLIS,
        };
        (patience << self.asked.saturating_sub(1).min(8)).min(EXCHANGE_MILLIS_MAX)
    }
}

/// One step: the exchange, and what the step was given.
struct Step<'e, R> {
    exchange: &'e mut Exchange,
    now: Millis,
    rng: &'e mut R,
    out: &'e mut Vec<Output>,
}

impl<R: Rng> Step<'_, R> {
    /// Asks the first target, and those that are to be probed.
    fn start(&mut self) {
        for index in 1..self.exchange.targets.len() {
            if self.exchange.targets[index].candidate.turn == Turn::Probe {
                self.send(index);
            }
        }
        self.ask(0);
    }

    /// Takes a message that came in on the socket of an attempt.
    fn message(&mut self, index: usize, octets: &[u8]) {
        let Some(attempt) = self.exchange.attempts.get(index).filter(|attempt| attempt.is_open) else { return };
        let (target, transport) = (attempt.target, attempt.transport);
        let verdict = judge(octets, attempt.id, &self.exchange.query);
        if !matches!(verdict, Verdict::Mismatch | Verdict::Malformed) {
            let observation = Observation::Answered(self.now.since(attempt.first_sent_at));
            self.out.push(Output::Learned(self.exchange.targets[target].candidate.target, observation));
            self.close(index);
        }
        match verdict {
            Verdict::Mismatch => self.mismatch(index),
            Verdict::Malformed => self.malformed(index),
            Verdict::Good => self.finish(Ok(octets.to_vec())),
            // A stream has room for everything: what is truncated there is broken.
            Verdict::Truncated if transport == Transport::Tcp => self.bad_reply(index, Event::Malformed),
            Verdict::Truncated => {
                self.out.push(Output::Counted(Event::Truncated));
                self.ask_over_tcp(target);
            }
            Verdict::Failing { blames_edns: true, .. } if self.exchange.attempts[index].with_edns => {
                self.out.push(Output::Counted(Event::FailingRcode));
                self.ask_without_edns(target);
            }
            Verdict::Failing { reply: Some(reply), .. } => self.failing_reply(index, reply),
            Verdict::Failing { reply: None, .. } => self.bad_reply(index, Event::FailingRcode),
        }
    }

    /// Not the reply to this query: ignored, and the wait goes on (RFC 5452 section 9.1), however many come; only
    /// where somebody seems to be guessing, TCP ends that.
    fn mismatch(&mut self, index: usize) {
        self.out.push(Output::Counted(Event::Mismatched));
        let attempt = &mut self.exchange.attempts[index];
        attempt.mismatches += 1;
        let target = attempt.target;
        match attempt.transport {
            Transport::Udp if attempt.mismatches < MISMATCHES_MAX => {}
            Transport::Udp => {
                self.close(index);
                self.ask_over_tcp(target);
            }
            // One query, one stream: nothing else can come on it.
            Transport::Tcp => {
                self.close(index);
                self.go_on_after(index);
            }
        }
    }

    /// The reply to this query, but broken: a good one may still come (TuDoor), yet the next target is asked now.
    fn malformed(&mut self, index: usize) {
        if self.exchange.attempts[index].transport == Transport::Tcp {
            self.close(index);
        }
        self.bad_reply(index, Event::Malformed);
    }

    /// The target gave something that cannot be passed on.
    fn bad_reply(&mut self, index: usize, event: Event) {
        self.out.push(Output::Counted(event));
        self.exchange.targets[self.exchange.attempts[index].target].was_bad = true;
        self.go_on_after(index);
    }

    /// The target gave a failing rcode: passed on if nothing better comes. The first one counts.
    fn failing_reply(&mut self, index: usize, reply: Vec<u8>) {
        self.out.push(Output::Counted(Event::FailingRcode));
        self.exchange.failing_reply.get_or_insert(reply);
        self.exchange.targets[self.exchange.attempts[index].target].has_failed = true;
        self.go_on_after(index);
    }

    /// The socket of an attempt is of no use.
    fn unreachable(&mut self, index: usize) {
        let Some(attempt) = self.exchange.attempts.get(index).filter(|attempt| attempt.is_open) else { return };
        let target = &mut self.exchange.targets[attempt.target];
        target.refusals += 1;
        self.out.push(Output::Learned(target.candidate.target, Observation::Unreachable));
        self.close(index);
        self.go_on_after(index);
    }

    /// Nothing more is to be expected of this attempt: if it is the one we wait for, ask the next target now.
    fn go_on_after(&mut self, index: usize) {
        let all_settled = self.exchange.targets.iter().all(Target::is_settled);
        if index == self.exchange.current || all_settled {
            self.ask_next();
        }
    }

    /// Asks the next target whose turn it is, or says when; ends the exchange when there is none.
    fn ask_next(&mut self) {
        let exchange = &mut *self.exchange;
        let count = exchange.targets.len();
        let last = exchange.attempts.get(exchange.current).map_or(0, |attempt| attempt.target);
        let has_failing = exchange.failing_reply.is_some();
        let is_worth_asking = |index: &usize| {
            let target = &exchange.targets[*index];
            let was_given_its_chance = target.asked > 0 && target.candidate.turn != Turn::InOrder;
            let is_futile = target.is_settled() || has_failing && was_given_its_chance;
            !is_futile
        };
        let next = (1..=count).map(|step| (last + step) % count).find(is_worth_asking);
        let Some(index) = next else { return self.give_up() };
        if exchange.sendings >= SENDINGS_MAX {
            exchange.next_at = exchange.deadline;
            return;
        }
        match exchange.targets[index].wait_until {
            // Round again already, because the others refused at once: each target gets its time.
            Some(moment) if moment > self.now => exchange.next_at = moment,
            _ => self.ask(index),
        }
    }

    /// Gives a target its turn: from the socket that listens to it already, if there is one.
    fn ask(&mut self, index: usize) {
        let target = &mut self.exchange.targets[index];
        target.asked += 1;
        let is_its_own = |attempt: &Attempt| {
            attempt.is_open
                && attempt.target == index
                && (attempt.transport, attempt.with_edns) == (Transport::Udp, target.with_edns)
                && target.transport == Transport::Udp
        };
        match self.exchange.attempts.iter().position(is_its_own) {
            Some(attempt) => self.resend(attempt),
            None => self.send_and_wait(index),
        }
    }

    /// Sends the same query again from the same socket and waits anew. One id and port stay one chance for a forger.
    fn resend(&mut self, index: usize) {
        let attempt = &mut self.exchange.attempts[index];
        attempt.last_sent_at = self.now;
        let octets = self.exchange.query.write(attempt.id, attempt.with_edns);
        self.out.push(Output::Resend { attempt: AttemptId(index), octets });
        self.exchange.sendings += 1;
        self.wait_for(index);
    }

    /// Asks a target from now on over TCP, because a datagram is too small or not to be trusted.
    fn ask_over_tcp(&mut self, index: usize) {
        // Two datagrams of ours may both be answered with TC.
        if self.exchange.targets[index].transport != Transport::Tcp {
            self.exchange.targets[index].transport = Transport::Tcp;
            self.send_and_wait(index);
        }
    }

    /// Asks a target from now on without EDNS: it may not know it (RFC 6891 section 6.2.2).
    fn ask_without_edns(&mut self, index: usize) {
        if self.exchange.targets[index].with_edns {
            self.exchange.targets[index].with_edns = false;
            self.send_and_wait(index);
        }
    }

    /// Sends to a target and waits for it before the next one is asked.
    fn send_and_wait(&mut self, index: usize) {
        let attempt = self.send(index);
        self.wait_for(attempt);
    }

    /// Waits for this attempt before the next target is asked.
    fn wait_for(&mut self, attempt: usize) {
        self.exchange.current = attempt;
        let target = &mut self.exchange.targets[self.exchange.attempts[attempt].target];
        let moment = self.now.plus(target.wait_millis(target.transport));
        target.wait_until = Some(moment);
        self.exchange.next_at = moment;
    }

    /// Sends the query to a target under a new id, from a new socket; returns the attempt.
    fn send(&mut self, index: usize) -> usize {
        self.close_oldest();
        let target = &self.exchange.targets[index];
        let attempt = Attempt {
            target: index,
            transport: target.transport,
            id: self.rng.random(),
            with_edns: target.with_edns,
            first_sent_at: self.now,
            last_sent_at: self.now,
            is_open: true,
            mismatches: 0,
        };
        self.out.push(Output::Send {
            attempt: AttemptId(self.exchange.attempts.len()),
            target: target.candidate.target,
            transport: attempt.transport,
            octets: self.exchange.query.write(attempt.id, attempt.with_edns),
        });
        self.exchange.attempts.push(attempt);
        self.exchange.sendings += 1;
        self.exchange.attempts.len() - 1
    }

    /// Makes room for one more socket.
    fn close_oldest(&mut self) {
        let open = self.exchange.attempts.iter().filter(|attempt| attempt.is_open).count();
        if open >= ATTEMPTS_OPEN_MAX
            && let Some(oldest) = self.exchange.attempts.iter().position(|attempt| attempt.is_open)
        {
            self.close(oldest);
        }
    }

    /// Stops listening for an attempt.
    fn close(&mut self, index: usize) {
        self.exchange.attempts[index].is_open = false;
        self.out.push(Output::Close(AttemptId(index)));
    }

    /// The attempt that we waited for was silent.
    fn note_silence(&mut self) {
        if let Some(attempt) = self.exchange.attempts.get(self.exchange.current).filter(|attempt| attempt.is_open) {
            let target = self.exchange.targets[attempt.target].candidate.target;
            self.out.push(Output::Learned(target, Observation::SilentSince(attempt.last_sent_at)));
        }
    }

    /// The time is over.
    fn expire(&mut self) {
        self.note_silence();
        self.give_up();
    }

    /// Ends with the failing reply, or with the error that says most.
    fn give_up(&mut self) {
        let targets = &self.exchange.targets;
        let error = if targets.iter().any(|target| target.was_bad) {
            ExchangeError::BadReply
        } else if targets.iter().all(|target| target.refusals > 0) {
            ExchangeError::Unreachable
        } else {
            ExchangeError::TimedOut
        };
        let result = self.exchange.failing_reply.take().ok_or(error);
        self.finish(result);
    }

    /// The end.
    fn finish(&mut self, result: Result<Vec<u8>, ExchangeError>) {
        self.exchange.is_done = true;
        self.out.push(Output::Done(result));
    }
}

#[cfg(test)]
mod tests;
