//! Asking targets over streams: TCP, and the encrypted protocols. Runs on tokio; lanes hand questions in and never wait.
//!
//! ```text
//! ask ─> line        one for each target: at most two connections, and a queue
//!         └ connection   the task of one connection: its questions, their time
//!            ├ establish    bootstrap (names to addresses), tls, https, quic
//!            ├ framed       TCP and DoT: length and message, pipelined
//!            └ multiplexed  DoH and DoQ: a stream for each question
//! ```
//!
//! Octets in, octets out: neither query nor reply is understood here beyond what a stream needs of it, so that what a
//! library would not read still reaches the client.

mod bootstrap;
mod connection;
mod counters;
mod establish;
mod framed;
mod https;
mod line;
mod multiplexed;
mod question;
mod quic;
mod tls;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dns::Target;
use crate::dns::query::HEADER_OCTETS;
use crate::forward::exchange::EXCHANGE_MILLIS_MAX;
use bootstrap::Bootstrap;
pub use counters::StreamCounterValues;
use counters::StreamCounters;
use line::Line;
use quic::QuicDialer;
use tls::TlsDialer;
pub use tls::{TlsRoots, TlsRootsError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Duration;

/// How long a question is waited for on a stream, connecting included: as long as an exchange goes on at most.
pub const STREAM_MILLIS_MAX: u64 = EXCHANGE_MILLIS_MAX;
/// How long establishing a connection may take, all addresses together: a question may then still be asked elsewhere.
pub const CONNECT_MILLIS_MAX: u64 = 3_000;
/// How long one address is waited for before the next one is tried beside it (RFC 8305 section 5).
pub const NEXT_ADDRESS_MILLIS: u64 = 250;
/// Connections to one target that take questions.
pub const CONNECTIONS_PER_TARGET: usize = 2;
/// Connections in all; beyond it questions wait for a connection that is there, and are refused where there is none.
pub const CONNECTIONS_MAX: usize = 512;
/// Questions in flight on one connection.
pub const PIPELINED_MAX: usize = 128;
/// Questions in flight on one connection from which on a second one is opened.
pub const SECOND_CONNECTION_AT: usize = 64;
/// Questions that wait for a place on the connections to one target; one more is refused.
pub const STREAM_QUEUE_MAX: usize = 1024;
/// How long a connection is kept without a question in flight, unless the peer says otherwise.
pub const IDLE_MILLIS: u64 = 10_000;
/// The same while fewer than a quarter of [`CONNECTIONS_MAX`] are free.
pub const IDLE_MILLIS_SCARCE: u64 = 1_000;
/// The longest that a peer can have an idle connection kept (RFC 7828 section 3.1 would let it say 109 minutes).
pub const KEEPALIVE_MILLIS_MAX: u64 = 60_000;
/// How long what was sent may go unacknowledged before the connection counts as gone.
pub const UNACKNOWLEDGED_MILLIS_MAX: u64 = 2_000;
/// How long after a connection could not be established the next one is tried, at least.
pub const HOLD_OFF_MILLIS: u64 = 500;
/// A connection that the peer closes after so many replies or fewer, while more are waited for, is short-lived: some peers
/// answer one question on each.
pub const SHORT_LIVED_REPLIES_MAX: usize = 8;
/// Short-lived connections in a row after which a target is given no more questions on each than it answered on the last:
/// one may be a peer that is started anew.
pub const SHORT_LIVED_MIN: usize = 2;
/// How long that is so.
pub const SHORT_LIVED_MILLIS: u64 = 30_000;
/// Messages that belong to no question, at which a connection is closed.
pub const STRAYS_MAX: usize = 3;
/// Questions that timed out on one connection and whose replies may still come; one more, and no new questions go there.
pub const LATE_MAX: usize = 128;
/// How often it is looked at which questions took too long: they may take so much longer than they should.
const EXPIRY_MILLIS: u64 = 50;
/// How long closing a connection in good order may take.
const CLOSING_MILLIS_MAX: u64 = 1_000;
/// Lines without questions and connections that are kept before they are looked for.
const UNUSED_LINES_MAX: usize = 64;

/// What asking over streams needs to know.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Who may sign the certificates of encrypted targets.
    pub roots: TlsRoots,
    /// Who is asked for the addresses of targets that are host names; no doors of ours.
    pub bootstrap: Vec<SocketAddr>,
}

/// The way to all targets over streams: one for the process. Clones share everything.
#[derive(Clone, Debug)]
pub struct StreamTargets(Arc<Shared>);

/// What all clones share.
#[derive(Debug)]
struct Shared {
    counters: Arc<StreamCounters>,
    lines: Mutex<Lines>,
}

/// The lines of all targets that were asked.
#[derive(Debug)]
struct Lines {
    equipment: Arc<Equipment>,
    by_target: HashMap<Target, Arc<Line>>,
    /// At so many it is time to look for unused ones.
    look_at: usize,
}

/// What connections are made with.
struct Equipment {
    handle: Handle,
    counters: Arc<StreamCounters>,
    /// Places for [`CONNECTIONS_MAX`].
    connections: Arc<Semaphore>,
    bootstrap: Bootstrap,
    tls: TlsDialer,
    quic: QuicDialer,
    times: Times,
}

/// What may take how long; tests have less patience or more.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// A question, connecting included.
    question: Duration,
    /// Establishing a connection.
    connect: Duration,
    /// A connection without a question.
    idle: Duration,
    /// The same where connections are scarce.
    idle_scarce: Duration,
}

impl Times {
    /// Those of the daemon.
    const USUAL: Self = Self {
        question: Duration::from_millis(STREAM_MILLIS_MAX),
        connect: Duration::from_millis(CONNECT_MILLIS_MAX),
        idle: Duration::from_millis(IDLE_MILLIS),
        idle_scarce: Duration::from_millis(IDLE_MILLIS_SCARCE),
    };
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFailure {
    /// The target, or the way to it, refuses connections, or closes them before it answers.
    Unreachable,
    /// No reply, or no connection, in time.
    TimedOut,
    /// So many questions to this target wait already that this one was not asked; or too many connections are open.
    Busy,
    /// What the target showed is not a certificate for it that we trust: the reason, for the operator.
    Certificate(Arc<str>),
    /// The target can be reached, but does not speak its protocol as it must: the reason, for the operator.
    Protocol(Arc<str>),
    /// No address is known for the target's name.
    NoAddress,
    /// The daemon is stopping.
    Abandoned,
}

impl fmt::Display for StreamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it refuses connections, or closes them before it answers"),
            Self::TimedOut => f.write_str("it does not answer in time"),
            Self::Busy => f.write_str("too many questions wait for it"),
            Self::Certificate(reason) => write!(f, "its certificate is not accepted: {reason}"),
            Self::Protocol(reason) => f.write_str(reason),
            Self::NoAddress => f.write_str("no address is known for its name; [upstream] bootstrap says who is asked"),
            Self::Abandoned => f.write_str("the daemon is stopping"),
        }
    }
}

impl StreamTargets {
    /// No connection yet; they are made on this runtime when there is something to ask.
    pub fn new(settings: StreamSettings, handle: Handle) -> Self {
        Self::with_times(settings, handle, Times::USUAL)
    }

    /// The same with other times.
    fn with_times(settings: StreamSettings, handle: Handle, times: Times) -> Self {
        let counters = Arc::new(StreamCounters::default());
        let equipment = Arc::new(Equipment::new(settings, handle, Arc::clone(&counters), times));
        let lines = Lines { equipment, by_target: HashMap::new(), look_at: UNUSED_LINES_MAX };
        Self(Arc::new(Shared { counters, lines: Mutex::new(lines) }))
    }

    /// Has others asked for the addresses of targets that are host names. Connections and addresses are kept.
    pub fn set_bootstrap(&self, servers: Vec<SocketAddr>) {
        self.lines().equipment.bootstrap.set_servers(servers);
    }

    /// Asks a target: a query without the length that goes before it. Never blocks.
    ///
    /// `reply` is called exactly once, from any thread: with the reply's octets under the id of the query, or with the
    /// reason why there is none. It must neither block nor panic.
    pub fn ask(
        &self,
        target: &Target,
        query: Vec<u8>,
        reply: impl FnOnce(Result<Vec<u8>, StreamFailure>) + Send + 'static,
    ) {
        if !(HEADER_OCTETS..=wire::MESSAGE_OCTETS_MAX).contains(&query.len()) {
            return reply(Err(StreamFailure::Protocol("the query is no message".into())));
        }
        let line = self.lines().line(target);
        line.ask(query, Box::new(reply));
    }

    /// What has been counted so far.
    pub fn counters(&self) -> StreamCounterValues {
        self.0.counters.values()
    }

    /// The lines.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Equipment {
    /// For these settings.
    fn new(settings: StreamSettings, handle: Handle, counters: Arc<StreamCounters>, times: Times) -> Self {
        Self {
            handle,
            counters,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            bootstrap: Bootstrap::new(settings.bootstrap),
            tls: TlsDialer::new(&settings.roots),
            quic: QuicDialer::new(&settings.roots),
            times,
        }
    }
}

/// Without what connections hold.
impl fmt::Debug for Equipment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Equipment").finish_non_exhaustive()
    }
}

impl Lines {
    /// The line of a target.
    fn line(&mut self, target: &Target) -> Arc<Line> {
        if let Some(line) = self.by_target.get(target) {
            return Arc::clone(line);
        }
        if self.by_target.len() >= self.look_at {
            self.by_target.retain(|_, line| !line.is_unused());
            self.look_at = (2 * self.by_target.len()).max(UNUSED_LINES_MAX);
        }
        let line = Line::new(target.clone(), Arc::clone(&self.equipment));
        self.by_target.insert(target.clone(), Arc::clone(&line));
        line
    }
}

#[cfg(test)]
mod tests;
