//! Queries by stream: TCP connections that are taken in, framed, bounded in every direction and ended in order.
//!
//! RFC 7766: queries may be pipelined, are answered out of order, and an idle connection is closed. What is in a
//! message is not known here; an [`Answer`] turns octets into octets.

mod connection;
mod limits;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::{Connection, Ending};
pub use self::connection::{IN_FLIGHT_PER_CONNECTION_MAX, INPUT_OCTETS, LINGER_MILLISECONDS, OUTPUT_OCTETS_MAX};
use self::limits::{Seat, Seats};
pub use self::limits::{SeatsReached, StreamLimits};
use super::arrival::Arrival;
use super::doors::TCP_BACKLOG;
use crate::snapshot::DoorIndex;
use crate::udp::sys::is_readable;

/// What becomes of one message on a stream.
pub enum StreamAnswer {
    /// The reply was appended.
    Now,
    /// No reply is owed.
    Silent,
    /// The reply comes later, or `None` does; it must come by itself, for nothing here ends the wait.
    Later(Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>),
    /// The reply was appended, and is the last: the connection is closed after it (a client that may not ask).
    NowThenClose,
}

/// Answers messages: given the octets of one message, who asked, and where to append the reply, without its length.
pub type Answer = Arc<dyn Fn(&[u8], &Arrival, &mut Vec<u8>) -> StreamAnswer + Send + Sync>;

/// The stream side of all doors, at work until it is drained; dropping it cuts every connection.
pub struct Streams {
    doors: BTreeMap<DoorIndex, watch::Sender<Phase>>,
    /// Doors that have been closed and whose connections are not all over yet.
    closing: JoinSet<()>,
    answer: Answer,
    seats: Arc<Seats>,
    counters: Arc<StreamCounters>,
}

impl Streams {
    /// Starts an accept loop for each listener, in the order of the doors, on the runtime this is called in.
    ///
    /// The listeners must not block. Either all loops start or none.
    pub fn start(listeners: Vec<StdTcpListener>, answer: Answer, limits: StreamLimits) -> io::Result<Self> {
        let mut streams = Self {
            doors: BTreeMap::new(),
            closing: JoinSet::new(),
            answer,
            seats: Arc::new(Seats::new(limits)),
            counters: Arc::default(),
        };
        let doors = (0..).map(DoorIndex);
        let loops: io::Result<Vec<AcceptLoop>> =
            doors.zip(listeners).map(|(door, listener)| streams.accept_loop(door, listener)).collect();
        for accept_loop in loops? {
            tokio::spawn(accept_loop.run());
        }
        Ok(streams)
    }

    /// Starts an accept loop for one more door, on the runtime this is called in.
    pub fn open_door(&mut self, door: DoorIndex, listener: StdTcpListener) -> io::Result<()> {
        tokio::spawn(self.accept_loop(door, listener)?.run());
        Ok(())
    }

    /// Takes in no more connections and messages at a door; what is in flight there is answered, for at most this long.
    pub fn close_door(&mut self, door: DoorIndex, within: Duration) {
        while self.closing.try_join_next().is_some() {}
        let Some(phase) = self.doors.remove(&door) else { return };
        phase.send_replace(Phase::Draining);
        self.closing.spawn(async move {
            if tokio::time::timeout(within, phase.closed()).await.is_err() {
                phase.send_replace(Phase::Over);
                phase.closed().await;
            }
        });
    }

    /// What accepts at a door.
    fn accept_loop(&mut self, door: DoorIndex, listener: StdTcpListener) -> io::Result<AcceptLoop> {
        let is_wildcard = listener.local_addr()?.ip().is_unspecified();
        let listener = TcpListener::from_std(listener)?;
        let (sender, phase) = watch::channel(Phase::Serving);
        self.doors.insert(door, sender);
        Ok(AcceptLoop {
            listener,
            door,
            asked: if is_wildcard { Asked::PerConnection } else { Asked::Door },
            answer: Arc::clone(&self.answer),
            seats: Arc::clone(&self.seats),
            counters: Arc::clone(&self.counters),
            phase,
        })
    }

    /// What the streams have counted.
    pub fn counters(&self) -> &Arc<StreamCounters> {
        &self.counters
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.seats.taken()
    }

    /// A view of the streams for whoever looks on, also when these are gone.
    pub fn watch(&self) -> StreamsWatch {
        StreamsWatch { seats: Arc::clone(&self.seats), counters: Arc::clone(&self.counters) }
    }

    /// Takes in no more connections and no more messages, lets what is in flight be answered, and closes; returns
    /// how many connections were not done in time and were cut.
    pub async fn drain(self, within: Duration) -> u64 {
        let Self { doors, mut closing, counters, .. } = self;
        for phase in doors.values() {
            phase.send_replace(Phase::Draining);
        }
        let all_closed = async {
            for phase in doors.values() {
                phase.closed().await;
            }
            while closing.join_next().await.is_some() {}
        };
        if tokio::time::timeout(within, all_closed).await.is_ok() {
            return 0;
        }
        closing.abort_all();
        for phase in doors.values() {
            phase.send_replace(Phase::Over);
        }
        for phase in doors.values() {
            phase.closed().await;
        }
        counters.cut.load(Ordering::Relaxed)
    }
}

/// The streams from outside.
#[derive(Clone)]
pub struct StreamsWatch {
    seats: Arc<Seats>,
    counters: Arc<StreamCounters>,
}

impl StreamsWatch {
    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.seats.taken()
    }

    /// How many may be.
    pub fn max(&self) -> usize {
        self.seats.max()
    }

    /// How often which limit of connections was reached.
    pub fn reached(&self) -> SeatsReached {
        self.seats.reached()
    }

    /// What has been counted.
    pub fn counts(&self) -> StreamCounts {
        self.counters.snapshot()
    }
}

/// Declares the counters of the streams once, as atomics and as plain numbers.
macro_rules! stream_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened on the streams; many tasks write, so these are added to atomically.
        #[derive(Debug, Default)]
        pub struct StreamCounters {
            $($(#[$doc])* $name: AtomicU64,)*
        }

        /// The counters of the streams at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StreamCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl StreamCounters {
            /// The numbers as they stand.
            pub fn snapshot(&self) -> StreamCounts {
                StreamCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl StreamCounts {
            /// Every number with its name, for a report.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

stream_counters! {
    /// Connections taken in.
    accepted,
    /// Connections closed at once, for the limits allow none.
    refused,
    /// Connections closed to make room for others.
    evicted,
    /// Connections closed because nothing was asked for too long.
    idle,
    /// Connections closed because a message did not arrive whole in time.
    message_timed_out,
    /// Connections closed because the client did not take its replies in time.
    write_timed_out,
    /// Connections that broke: reset, unreachable.
    broken,
    /// Connections closed for a message without octets or a reply that no stream can carry.
    malformed,
    /// Connections cut because draining took too long.
    cut,
    /// Errors of accept, but those for want of descriptors or memory.
    accept_errors,
    /// Times that accept lacked descriptors or memory.
    exhausted,
    /// Whole messages received.
    messages,
    /// Replies handed to connections.
    replies,
}

impl StreamCounters {
    /// Adds one to a counter of these.
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how a connection ended.
    fn count_ending(&self, ending: Ending) {
        let counter = match ending {
            Ending::Finished => return,
            Ending::Evicted => &self.evicted,
            Ending::Idle => &self.idle,
            Ending::MessageTimedOut => &self.message_timed_out,
            Ending::WriteTimedOut => &self.write_timed_out,
            Ending::Broken => &self.broken,
            Ending::Malformed => &self.malformed,
            Ending::Cut => &self.cut,
        };
        Self::count(counter);
    }
}

/// How long accepting rests at first when descriptors or memory are exhausted, in milliseconds; doubles up to
/// [`EXHAUSTED_REST_MILLISECONDS_MAX`].
pub const EXHAUSTED_REST_MILLISECONDS: u64 = 10;
/// Errors that should concern one connection each, and come in a row, until accepting rests after each.
pub const ERRORS_AT_ONCE_MAX: u32 = 16;
/// The longest rest of accepting in milliseconds.
pub const EXHAUSTED_REST_MILLISECONDS_MAX: u64 = 50;

/// Where the streams stand between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections and messages are taken in.
    Serving,
    /// What is in flight is finished; nothing more is taken in.
    Draining,
    /// Every connection ends at once.
    Over,
}

/// Where the address that was asked is known from.
#[derive(Clone, Copy)]
enum Asked {
    /// The door has one address.
    Door,
    /// The door is a wildcard: each connection has its own.
    PerConnection,
}

/// Takes in the connections of one door.
struct AcceptLoop {
    listener: TcpListener,
    door: DoorIndex,
    asked: Asked,
    answer: Answer,
    seats: Arc<Seats>,
    counters: Arc<StreamCounters>,
    phase: watch::Receiver<Phase>,
}

impl AcceptLoop {
    /// Accepts until draining begins; no error of accept ends it.
    async fn run(mut self) {
        let (mut rest, mut errors_in_a_row) = (EXHAUSTED_REST_MILLISECONDS, 0);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.phase.wait_for(|phase| *phase != Phase::Serving) => None,
                accepted = self.listener.accept() => Some(accepted),
            };
            let Some(accepted) = accepted else { return self.accept_last() };
            match accepted {
                Ok((stream, client)) => {
                    (rest, errors_in_a_row) = (EXHAUSTED_REST_MILLISECONDS, 0);
                    self.take_in(stream, client);
                }
                Err(error) => {
                    let kind = AcceptError::of(&error);
                    if kind == AcceptError::Exhausted {
                        self.make_room();
                    } else {
                        StreamCounters::count(&self.counters.accept_errors);
                    }
                    errors_in_a_row += 1;
                    // What should concern one connection each and does not end is the system's (EPERM of a policy).
                    if kind != AcceptError::Connection || errors_in_a_row > ERRORS_AT_ONCE_MAX {
                        self.rest(Duration::from_millis(rest)).await;
                        rest = (rest * 2).min(EXHAUSTED_REST_MILLISECONDS_MAX);
                    }
                }
            }
        }
    }

    /// Does nothing for a while, or until draining begins.
    async fn rest(&mut self, rest: Duration) {
        let draining = self.phase.wait_for(|phase| *phase != Phase::Serving);
        // Either way it is looked at again.
        let _ = tokio::time::timeout(rest, draining).await;
    }

    /// Takes in the connections that wait already: whoever connected before draining began may have asked by now.
    fn accept_last(&self) {
        for _ in 0..TCP_BACKLOG {
            // Without asking the runtime, which may not have heard of them yet.
            let Ok((socket, client)) = SockRef::from(&self.listener).accept() else { return };
            let stream = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket.into()));
            if let (Ok(stream), Some(client)) = (stream, client.as_socket()) {
                self.take_in(stream, client);
            }
        }
    }

    /// Sends a connection away for the one that cannot be accepted for want of a descriptor.
    fn make_room(&self) {
        // accept(2) takes the descriptor before it looks into the queue, so it also complains when nobody waits.
        if is_readable(&self.listener) {
            StreamCounters::count(&self.counters.exhausted);
            self.seats.evict_idle_longest();
        }
    }

    /// Gives the connection a seat, at another's cost where there is none, and a task.
    fn take_in(&self, stream: TcpStream, client: SocketAddr) {
        let local = match self.asked {
            Asked::Door => None,
            Asked::PerConnection => stream.local_addr().ok().map(|address| address.ip()),
        };
        let arrival = Arrival { door: self.door, client, local };
        let Some(seat) = Seat::take(&self.seats, arrival.client_ip()) else {
            StreamCounters::count(&self.counters.refused);
            return;
        };
        StreamCounters::count(&self.counters.accepted);
        // Replies are written whole, so waiting for more to put in a segment only delays them.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream, arrival, Arc::clone(&self.answer), seat, Arc::clone(&self.counters));
        tokio::spawn(connection.run(self.phase.clone()));
    }
}

/// What an error of accept means for the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// Only the connection that was to be accepted is lost: go on at once.
    Connection,
    /// The process or the machine is out of descriptors or memory: make room and rest.
    Exhausted,
    /// Anything else: rest, so that an error that stays does not spin.
    Other,
}

impl AcceptError {
    /// Sorts errors as accept(2) does: Linux hands the pending network errors of the new socket over as its own.
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT,
            ) => Self::Connection,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::Exhausted,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
