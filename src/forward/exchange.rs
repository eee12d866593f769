//! One question to one set of targets, as a state machine: no sockets, no clock, no randomness of its own.
//!
//! ```text
//! Start ─> ask the first target ─┬─ good reply ───────────> the end: that reply
//!                                ├─ TC ───────────────────> the same target over a stream
//!                                ├─ FORMERR, NOTIMP ──────> the same target without EDNS, once
//!                                ├─ BADCOOKIE ────────────> the same target with its new cookie, once; then a stream
//!                                ├─ SERVFAIL, REFUSED ────> keep it, next target
//!                                ├─ referral, refused ────> next target
//!                                ├─ silent ───────────────> next target, and go on listening to this one
//!                                ├─ doubtful ─────────────> the same target over a stream, and go on listening
//!                                └─ not ours ─────────────> ignored, the wait goes on; after the third, a stream
//! all targets settled, or 3.8 s over ─> the end: the reply that was kept, else an error
//! ```
//!
//! **Loss.** Whoever is silent may not have got the query, or its reply may be lost, so queries are sent again before
//! anybody gives up. The first wait is the target's patience, which follows its round-trip time; from then on the waits
//! double each time round, up to [`RETRY_MILLIS_MAX`]. Queries to silent targets over UDP in 3.8 s:
//!
//! | targets | patience | sent at (ms) | in all |
//! |---|---|---|---|
//! | 1 | 50 | 0, 50, 150, 350, 600, then every 250 | 15 |
//! | 1 | 400 | 0, 400, 650, then every 250 | 15 |
//! | 2 | 50 | 0, 50, 100, 200, 300, 500, 700, 950, then every 250 | 15 |
//! | 2 | 50, 400 | 0, 50, 300, 400, 650, 850, 1100, then every 250 | 15 |
//! | 6 | 50 | six every 50, six every 100, six every 200, then every 400 | 23 |
//! | 6 | 400 | 0, 400, 650, then every 250 | 15 |
//!
//! Where 30 % of the packets are lost each way a query and its reply come through 49 times in 100. That one question fails
//! takes 15 losses in a row: 0.51^15 = 0.00004, and with the last one too late to count 0.51^14 = 0.00008, less than one in
//! ten thousand. To a target that is away the waits just double, so that questions without number do not become many times as
//! many queries. After [`QUICK_SENDINGS_MAX`] queries the waits double without bound: whoever has missed them all is
//! dead. What it costs: a name that takes its target a second is asked for 6 times (patience 50) or 4 times (400), each
//! time the same octets from the same port, which is no second chance for a forger. RFC 9520 section 3.1 wants three queries
//! to a server at most, but reckons with waits of seconds between them: here all of them go out in less than four.
//!
//! *Doubtful* is a reply that fits but for what only the target itself can know: the case of the name as we sent it
//! (0x20), or the cookie that it has always sent (RFC 7873).

mod cookie;
mod query;
mod step;
mod verdict;

use rand::CryptoRng;

use super::{Ask, ExchangeError, Millis};
use crate::dns::edns::UDP_PAYLOAD_OCTETS_MAX;
use crate::dns::message::Message;
pub use cookie::{ClientCookie, Cookie, ServerCookie};
use query::NameCase;
pub use query::QUERY_OCTETS_MAX;
use step::Step;

/// How long an exchange goes on at most. A client hears of the failure within 4 seconds, for glibc's stub asks again or
/// elsewhere after 5: what is left of the four is for timers, which may be 4 ms late, and for a machine that is busy.
pub const EXCHANGE_MILLIS_MAX: u64 = 3_800;
/// How long a target may be silent before the next one is asked too; less when its round-trip time is known.
pub const PATIENCE_MILLIS_MAX: u64 = 400;
/// The same at least: a target next door may still be busy.
pub const PATIENCE_MILLIS_MIN: u64 = 50;
/// The same over a stream, which takes more round trips before it can carry a query.
pub const STREAM_PATIENCE_MILLIS: u64 = 800;
/// How long an exchange that has ended still listens to the targets that it asked beside the one that answered.
pub const LINGER_MILLIS: u64 = 1_000;
/// Targets that one exchange asks at most; those behind them are left out. AWS allows six for a rule.
pub const TARGETS_ASKED_MAX: usize = 6;
/// The longest wait for a reply over UDP once a target has been silent, unless it is away; until then it is the target's
/// patience.
pub const RETRY_MILLIS_MAX: u64 = 250;
/// Queries of one exchange after which waits may be longer than [`RETRY_MILLIS_MAX`].
pub const QUICK_SENDINGS_MAX: u8 = 15;
/// Attempts of one exchange that listen at a time; beyond it the oldest is closed that is not its target's only one. One
/// for each target, or else who answers slowly would be asked and not be heard.
pub const ATTEMPTS_OPEN_MAX: usize = TARGETS_ASKED_MAX;
/// Queries that one exchange sends at most, all targets, channels and repetitions together (unbound: 32,
/// `max-sent-count`).
pub const ATTEMPTS_MAX: usize = 32;
/// Targets that are asked beside the first one when an exchange begins.
pub const PROBES_MAX: usize = 2;
/// Replies that do not fit the query before the target is asked over a stream: somebody is guessing (RFC 5452
/// section 9.2).
pub const MISMATCHES_MAX: u8 = 3;

/// Settings of the process that an exchange obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the letters of the name are sent in random case over UDP, and must come back so (0x20).
    pub case_randomization: bool,
    /// Whether cookies are sent to targets that are asked over UDP (RFC 7873).
    pub cookies: bool,
    /// The largest datagram that is offered to targets, in octets.
    pub udp_payload_octets: u16,
}

impl Default for Options {
    /// Cookies, no random case, 1232 octets.
    fn default() -> Self {
        Self { case_randomization: false, cookies: true, udp_payload_octets: UDP_PAYLOAD_OCTETS_MAX as u16 }
    }
}

/// Over what a target is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// UDP.
    #[default]
    Datagram,
    /// TCP, DNS over TLS, HTTPS or QUIC, as the target's protocol says.
    Stream,
}

/// Which target of its group; the group's targets are counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetIndex(pub u8);

/// A target, in the order in which targets are to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub target: TargetIndex,
    /// Over what it is asked first. One that begins with a stream is never asked over UDP.
    pub channel: Channel,
    /// How long it may be silent before the next one is asked.
    pub patience_millis: u16,
    /// When it is asked first.
    pub turn: Turn,
    /// Whether nobody has heard of it for a while: then it is sent a query a few times, and not as often as where packets
    /// are lost now and then.
    pub is_away: bool,
    /// What is known of it and EDNS.
    pub edns: EdnsSupport,
    /// What goes with queries to it; none if it is not given cookies.
    pub cookie: Option<Cookie>,
}

/// When a target is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// After those before it.
    #[default]
    InOrder,
    /// The same, and also at once, beside the first one: its round-trip time has not been measured for long.
    Measured,
    /// After those before it; but it is suspect: a failing rcode of another target does not wait for it longer than
    /// its patience.
    Suspect,
    /// Suspect, and asked at once, beside the first one, to find out whether it is back.
    Probe,
}

/// What is known of a target and EDNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdnsSupport {
    /// Nothing: when it is silent, EDNS may be why.
    #[default]
    Unknown,
    /// It has answered queries with EDNS.
    Answers,
    /// It answers only queries without EDNS.
    PlainOnly,
}

/// Which attempt of its exchange: they are numbered as they are sent, from 0, and no number comes twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttemptId(pub u8);

/// One query under one id that listens for its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Which one.
    pub id: AttemptId,
    /// Whom it asks.
    pub target: TargetIndex,
    /// Over what.
    pub channel: Channel,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'m> {
    /// Begin.
    Start,
    /// A datagram, or a whole message of a stream, came in for this attempt, from whom it asks.
    Message(AttemptId, &'m [u8]),
    /// The target of this attempt cannot be reached: ICMP unreachable, connection refused or closed, no trust in its
    /// certificate, no address for its name.
    Unreachable(AttemptId),
    /// It could not be sent for a reason of ours: no socket, no place in a queue. Says nothing about the target.
    Unsent(AttemptId),
    /// Somebody seems to be guessing at the socket of this attempt: datagrams with ids that were never sent from it.
    Suspicious(AttemptId),
    /// The time that [`Exchange::wake_at`] asked for has come.
    Tick,
}

/// What is to be done, in order. Each `Send` is followed by exactly one `Close` of that attempt, at the latest with the
/// step after which [`Exchange::is_over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Give the attempt an id ([`Exchange::set_id`]), write its query ([`Exchange::write_query`]), send it and listen.
    Send(Attempt),
    /// Send the same once more, from the same socket under the same id: it may have been lost. Datagrams only.
    Resend(Attempt),
    /// Nothing of this attempt matters any more: forget its id.
    Close(Attempt),
    /// Something was learned about a target.
    Learned(TargetIndex, Observation),
    /// Something worth counting happened.
    Counted(Event),
}

/// Where a step puts what is to be done; the driver keeps one and empties it after each step, so that nothing is
/// allocated.
pub type Outputs = Vec<Output>;

/// How an exchange ends. Comes exactly once.
#[derive(Debug)]
pub enum Ending<'m> {
    /// The message just given is the reply to pass on.
    Reply {
        /// It, parsed; what followed its last record is cut off.
        message: Message<'m>,
        /// Who sent it.
        target: TargetIndex,
    },
    /// Nothing better came than an earlier reply with this rcode.
    Kept {
        /// A message without records that `Message::parse` accepts, under the id of its attempt.
        octets: Vec<u8>,
        /// Who sent it.
        target: TargetIndex,
    },
    /// There is nothing to pass on.
    Error(ExchangeError),
}

/// What an attempt showed about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered.
    Answered(Answer),
    /// It did not answer a query, first sent at this moment, while we waited for it.
    SilentSince(Millis),
    /// It, or something before it, refuses packets or connections.
    Unreachable,
    /// It gave us this server cookie, another one than we knew.
    GaveCookie(ServerCookie),
    /// It no longer sends cookies: over a stream, where nobody can take them away, it did not.
    StoppedCookies,
    /// A reply over UDP was right but for the case of the name: a forger's, or it does not keep the case.
    ChangedCase,
}

/// A reply of a target, as far as it tells of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Over what.
    pub channel: Channel,
    /// How many milliseconds after the query was first sent.
    pub millis: u32,
    /// What it shows about EDNS; `Unknown` if nothing.
    pub edns: EdnsSupport,
    /// Whether a name in random case came back as it was sent.
    pub kept_case: bool,
    /// Whether our cookie came back.
    pub gave_cookie: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message that is no reply to the query: wrong id, QR, opcode, question or client cookie.
    Mismatched,
    /// A reply that cannot be read, or says nothing.
    Malformed,
    /// A truncated reply, asked again over a stream.
    Truncated,
    /// A reply with SERVFAIL, REFUSED, NOTIMP, FORMERR or an rcode of this hop.
    FailingRcode,
    /// A referral: the target does not resolve for us.
    Referral,
    /// A reply with BADCOOKIE.
    BadCookie,
    /// A target that is asked over a stream because what came in over UDP is not to be trusted.
    Suspicious,
    /// A target was silent for as long as it is given.
    Silent,
    /// A target, or the way to it, refused a packet or a connection.
    Unreachable,
}

/// An exchange in progress.
// Invariant: the first target_count targets and the open attempts mean something, nothing else does; next_attempt and
// sendings only grow; current is the attempt whose silence makes us go on; when has_ended, nothing is sent any more.
#[derive(Debug)]
pub struct Exchange {
    options: Options,
    targets: [Progress; TARGETS_ASKED_MAX],
    target_count: u8,
    attempts: [Listening; ATTEMPTS_OPEN_MAX],
    next_attempt: u8,
    sendings: u8,
    current: AttemptId,
    /// The place among the targets of the one that was last waited for.
    last: u8,
    next_at: Millis,
    deadline: Millis,
    /// A target was silent for as long as it is given.
    was_anyone_silent: bool,
    /// The first failing reply without its records, and whose it was.
    kept: Option<(Vec<u8>, TargetIndex)>,
    has_ended: bool,
}

/// What this exchange knows of a target.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    candidate: Candidate,
    channel: Channel,
    with_edns: bool,
    /// Times asked, retries without EDNS, with a new cookie and over a stream not counted.
    asked: u8,
    /// Until when the next asking must wait.
    wait_until: Millis,
    /// Times that packets were refused, or could not be sent.
    refusals: u8,
    /// All of those were of our own making.
    only_unsent: bool,
    /// Gave a failing rcode: asking it again is of no use.
    has_failed: bool,
    /// Gave something that cannot be passed on.
    was_bad: bool,
    /// Was asked once without EDNS, because it was silent or blamed it.
    has_tried_plain: bool,
    /// Was asked once more with the cookie that came with BADCOOKIE.
    has_renewed_cookie: bool,
}

/// An attempt, and what a reply to it must look like.
#[derive(Clone, Copy, Debug, Default)]
struct Listening {
    attempt: Attempt,
    /// The place of its target among the targets.
    place: u8,
    is_open: bool,
    id: [u8; 2],
    with_edns: bool,
    case: Option<NameCase>,
    first_sent_at: Millis,
    mismatches: u8,
    /// Its silence since it was last sent has been noted.
    was_silent: bool,
}

impl Exchange {
    /// An exchange that has not begun. Candidates are asked in their order, at most the first [`TARGETS_ASKED_MAX`].
    pub fn new(candidates: &[Candidate], now: Millis, options: Options) -> Self {
        let mut exchange = Self {
            options,
            targets: [Progress::default(); TARGETS_ASKED_MAX],
            target_count: 0,
            attempts: [Listening::default(); ATTEMPTS_OPEN_MAX],
            next_attempt: 0,
            sendings: 0,
            current: AttemptId(u8::MAX),
            last: 0,
            next_at: now,
            deadline: now,
            was_anyone_silent: false,
            kept: None,
            has_ended: false,
        };
        exchange.restart(candidates, now, options);
        exchange
    }

    /// Makes this an exchange that has not begun, as [`Exchange::new`] does, without moving anything about: an exchange
    /// is large, and only a small part of it is written by most.
    pub fn restart(&mut self, candidates: &[Candidate], now: Millis, options: Options) {
        let target_count = candidates.len().min(TARGETS_ASKED_MAX);
        for (target, candidate) in self.targets.iter_mut().zip(candidates) {
            *target = Progress::new(candidate, options);
        }
        for listening in &mut self.attempts {
            listening.is_open = false;
        }
        self.options = options;
        self.target_count = target_count as u8;
        self.next_attempt = 0;
        self.sendings = 0;
        self.current = AttemptId(u8::MAX);
        self.last = 0;
        self.next_at = now;
        self.deadline = now.plus(EXCHANGE_MILLIS_MAX);
        self.was_anyone_silent = false;
        self.kept = None;
        self.has_ended = false;
    }

    /// Takes what happened, puts what is to be done behind `out`, and says when that was the end.
    ///
    /// `ask` is the same in every step. After the end an exchange may linger: it listens for a moment to other targets
    /// that it has asked, to learn about them, and must be given their messages and ticks until it
    /// [is over](Self::is_over). It sends nothing more.
    pub fn step<'m>(
        &mut self,
        ask: &Ask<'_>,
        input: Input<'m>,
        now: Millis,
        rng: &mut impl CryptoRng,
        out: &mut Outputs,
    ) -> Option<Ending<'m>> {
        Step { exchange: self, ask, now, rng, out, failing: None, ending: None }.run(input)
    }

    /// When the next `Tick` is due. Means nothing once the exchange is over.
    pub fn wake_at(&self) -> Millis {
        if self.has_ended { self.next_at } else { self.next_at.min(self.deadline) }
    }

    /// Whether nothing more is to be expected of it: it has ended and listens to nobody.
    pub fn is_over(&self) -> bool {
        self.has_ended && !self.attempts.iter().any(|listening| listening.is_open)
    }

    /// Ends it, or its lingering, now and without a word: closes what is open.
    pub fn abandon(&mut self, out: &mut Outputs) {
        self.has_ended = true;
        for listening in self.attempts.iter_mut().filter(|listening| listening.is_open) {
            listening.is_open = false;
            out.push(Output::Close(listening.attempt));
        }
    }

    /// Reads something of what the next step will read; the octet means nothing.
    #[inline]
    pub fn touch(&self) -> u8 {
        self.attempts[0].mismatches ^ self.targets[0].asked ^ self.sendings
    }

    /// The attempts that listen.
    pub fn open_attempts(&self) -> impl Iterator<Item = Attempt> {
        self.attempts.iter().filter(|listening| listening.is_open).map(|listening| listening.attempt)
    }

    /// Gives an attempt the id of its query, right after its `Send`: unpredictable, and unique where it is sent from.
    pub fn set_id(&mut self, attempt: AttemptId, id: u16) {
        if let Some(listening) = self.listening_mut(attempt) {
            listening.id = id.to_be_bytes();
        }
    }

    /// Writes the query of an attempt and returns its octets; 0 if the attempt is closed. It ends with its OPT, if it
    /// has one.
    pub fn write_query(&self, ask: &Ask<'_>, attempt: AttemptId, out: &mut [u8; QUERY_OCTETS_MAX]) -> usize {
        let Some(listening) = self.attempts.iter().find(|listening| listening.is(attempt)) else { return 0 };
        let cookie = self.targets[usize::from(listening.place)].candidate.cookie;
        let opt = listening.with_edns.then_some(query::OptFields {
            udp_payload_octets: self.options.udp_payload_octets,
            cookie: cookie.as_ref(),
        });
        query::write(ask, listening.id, listening.case, opt, out)
    }

    /// The open attempt with this number.
    fn listening_mut(&mut self, attempt: AttemptId) -> Option<&mut Listening> {
        self.attempts.iter_mut().find(|listening| listening.is(attempt))
    }
}

impl Progress {
    /// A target that has not been asked.
    fn new(candidate: &Candidate, options: Options) -> Self {
        let mut candidate = *candidate;
        candidate.patience_millis = candidate.patience_millis.max(1);
        if !options.cookies {
            candidate.cookie = None;
        }
        Self {
            channel: candidate.channel,
            with_edns: candidate.edns != EdnsSupport::PlainOnly,
            only_unsent: true,
            candidate,
            ..Self::default()
        }
    }
}

impl Listening {
    /// Whether this is that attempt, and listens.
    fn is(&self, attempt: AttemptId) -> bool {
        self.is_open && self.attempt.id == attempt
    }
}

#[cfg(test)]
mod tests;
