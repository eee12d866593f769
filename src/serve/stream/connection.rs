//! One connection: reads messages, has them answered, writes replies; bounded in octets, in work and in time.

use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::limits::{Seat, Work};
use super::{Answer, Phase, StreamAnswer, StreamCounters};
use crate::serve::arrival::Arrival;

/// A connection with what was read, what is owed and what is to be written.
// Invariant: `input` holds a whole message only while `has_room` does not hold.
pub(super) struct Connection {
    stream: TcpStream,
    arrival: Arrival,
    answer: Answer,
    seat: Seat,
    counters: Arc<StreamCounters>,
    /// Octets read and not yet answered.
    input: Vec<u8>,
    /// Octets of replies, with their lengths, not yet written.
    output: Vec<u8>,
    /// Replies that come later.
    pending: JoinSet<Option<Vec<u8>>>,
    reading: Reading,
    /// Since when the message at the end of `input` is incomplete while more could be read.
    message_since: Option<Instant>,
    /// The octets that must be written, and since when they wait.
    backlog: Option<Backlog>,
    /// When the last message was complete or the last reply written.
    active: Instant,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order: the client was done, or draining, or a client that may not ask was told so.
    Finished,
    /// Another needed the seat.
    Evicted,
    /// Nothing was asked for too long.
    Idle,
    /// A message did not arrive whole in time.
    MessageTimedOut,
    /// Replies were not taken in time.
    WriteTimedOut,
    /// The system reported an error.
    Broken,
    /// The client sent a message without octets, or a reply was longer than a stream carries.
    Malformed,
    /// The time for draining was over.
    Cut,
}

/// Whether more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Yes.
    Open,
    /// What has arrived already, and then no more.
    Last,
    /// No: the client has ended its side; what is owed to it is still sent.
    Ended,
    /// No: we are draining; what was read is still answered.
    Drained,
    /// No: nothing more is answered, what is owed is still sent, and then this is said of the connection.
    Closed(Ending),
}

/// Octets that wait to be written.
#[derive(Clone, Copy)]
struct Backlog {
    octets: usize,
    since: Instant,
}

/// The start of what was read.
enum Frame {
    /// Not yet a whole message; this many octets are known to be missing, one or more.
    Incomplete(usize),
    /// A message without octets, which no DNS message is.
    Empty,
    /// A whole message of this many octets after its length.
    Message(usize),
}

impl Connection {
    /// A connection that was just taken in.
    pub(super) fn new(
        stream: TcpStream,
        arrival: Arrival,
        answer: Answer,
        seat: Seat,
        counters: Arc<StreamCounters>,
    ) -> Self {
        Self {
            stream,
            arrival,
            answer,
            seat,
            counters,
            input: Vec::new(),
            output: Vec::new(),
            pending: JoinSet::new(),
            reading: Reading::Open,
            message_since: None,
            backlog: None,
            active: Instant::now(),
        }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        let ending = self.serve(&mut phase).await;
        // Counted before the seat is free, so that who sees room also sees why.
        self.counters.count_ending(ending);
        let we_ended_it = matches!(self.reading, Reading::Drained | Reading::Closed(_));
        if we_ended_it && matches!(ending, Ending::Finished | Ending::Malformed) {
            tokio::select! {
                () = linger(&mut self.stream) => {}
                () = self.seat.evicted() => {}
                _ = phase.wait_for(|phase| *phase == Phase::Over) => {}
            }
        }
    }

    /// Reads, answers and writes until there is a reason to end.
    async fn serve(&mut self, phase: &mut watch::Receiver<Phase>) -> Ending {
        // Taken in just before draining began: `changed` would not tell.
        let mut seen = *phase.borrow_and_update();
        let mut timer = pin!(sleep_until(self.deadline().0));
        loop {
            match seen {
                Phase::Draining if self.reading == Reading::Open => self.reading = Reading::Last,
                Phase::Serving | Phase::Draining => {}
                Phase::Over => return Ending::Cut,
            }
            if self.advance().is_err() {
                return Ending::Broken;
            }
            if self.has_room() && self.has_message() {
                // Writing made room for messages that were read already; others get their turn first.
                tokio::task::yield_now().await;
                continue;
            }
            if let Some(ending) = self.ending() {
                return ending;
            }
            let reads = self.reading == Reading::Open && self.has_room();
            self.message_since =
                (reads && !self.input.is_empty()).then(|| self.message_since.unwrap_or_else(Instant::now));
            let interest = match (reads, !self.output.is_empty()) {
                (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
                (true, false) => Some(Interest::READABLE),
                (false, true) => Some(Interest::WRITABLE),
                (false, false) => None,
            };
            let takes_replies = !self.pending.is_empty() && self.output.len() < OUTPUT_OCTETS_MAX;
            // The timer is only ever moved forward: most deadlines move on before they come.
            if self.deadline().0 < timer.deadline() {
                timer.as_mut().reset(self.deadline().0);
            }
            tokio::select! {
                ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                    let readable = ready.map(|ready| reads && (ready.is_readable() || ready.is_read_closed()));
                    match readable {
                        Ok(true) if self.read().is_err() => return Ending::Broken,
                        Ok(_) => {}
                        Err(_) => return Ending::Broken,
                    }
                }
                Some(reply) = self.pending.join_next(), if takes_replies => {
                    // A task that panicked owes nothing any more; the others go on.
                    self.append_later(reply.ok().flatten());
                    while self.output.len() < OUTPUT_OCTETS_MAX
                        && let Some(reply) = self.pending.try_join_next()
                    {
                        self.append_later(reply.ok().flatten());
                    }
                }
                () = &mut timer => {
                    let (deadline, ending) = self.deadline();
                    if Instant::now() >= deadline {
                        return ending;
                    }
                    timer.as_mut().reset(deadline);
                }
                () = self.seat.evicted() => return Ending::Evicted,
                changed = phase.changed() => {
                    seen = if changed.is_ok() { *phase.borrow_and_update() } else { Phase::Over };
                }
            }
        }
    }

    /// Does all that can be done without waiting.
    fn advance(&mut self) -> io::Result<()> {
        if self.reading == Reading::Last {
            self.read_last()?;
        }
        self.answer_messages();
        self.write()
    }

    /// Whether one more message may be worked on.
    fn has_room(&self) -> bool {
        self.pending.len() < IN_FLIGHT_PER_CONNECTION_MAX && self.output.len() < OUTPUT_OCTETS_MAX
    }

    /// Whether a message is there to be answered.
    fn has_message(&self) -> bool {
        !matches!(frame(&self.input), Frame::Incomplete(_)) && !self.is_closed()
    }

    /// Why the connection ends now, if it does: nothing more is read, and nothing is owed.
    fn ending(&self) -> Option<Ending> {
        if !self.pending.is_empty() || !self.output.is_empty() || self.has_message() {
            return None;
        }
        match self.reading {
            Reading::Open | Reading::Last => None,
            Reading::Ended | Reading::Drained => Some(Ending::Finished),
            Reading::Closed(ending) => Some(ending),
        }
    }

    /// When patience ends as things stand, and what that is called.
    fn deadline(&self) -> (Instant, Ending) {
        let limits = self.seat.limits();
        let write = self.backlog.map(|backlog| (backlog.since + limits.write, Ending::WriteTimedOut));
        let message = self.message_since.map(|since| (since + limits.idle, Ending::MessageTimedOut));
        let nearest = [write, message].into_iter().flatten().min_by_key(|(deadline, _)| *deadline);
        nearest.unwrap_or_else(|| {
            // While something is forwarded the connection is not idle: that ends by itself, and is looked at anew.
            let since = if self.pending.is_empty() { self.active } else { Instant::now() };
            (since + limits.idle, Ending::Idle)
        })
    }

    /// Reads and has answered what arrived before draining began, as far as there is room.
    fn read_last(&mut self) -> io::Result<()> {
        for _ in 0..LAST_READS_MAX {
            if self.reading != Reading::Last || !self.has_room() {
                return Ok(());
            }
            self.read()?;
            self.answer_messages();
        }
        self.reading = Reading::Drained;
        Ok(())
    }

    /// Reads what is there, once.
    fn read(&mut self) -> io::Result<()> {
        let missing = match frame(&self.input) {
            Frame::Incomplete(missing) => missing,
            Frame::Empty | Frame::Message(_) => 0,
        };
        self.input.reserve(missing.max(INPUT_OCTETS));
        let read = match self.reading {
            Reading::Last => self.read_past_readiness(),
            _ => self.stream.try_read_buf(&mut self.input),
        };
        match read {
            Ok(0) => {
                self.reading = Reading::Ended;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.reading == Reading::Last {
                    self.reading = Reading::Drained;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads without asking the runtime, which may not have heard yet of what arrived a moment ago.
    fn read_past_readiness(&mut self) -> io::Result<usize> {
        let before = self.input.len();
        self.input.resize(before + INPUT_OCTETS, 0);
        let read = (&*SockRef::from(&self.stream)).read(&mut self.input[before..]);
        self.input.truncate(before + read.as_ref().map_or(0, |octets| *octets));
        read
    }

    /// Has the messages that are complete answered, as far as there is room.
    fn answer_messages(&mut self) {
        let mut at = 0;
        while self.has_room() && !self.is_closed() {
            match frame(&self.input[at..]) {
                Frame::Incomplete(_) => break,
                Frame::Empty => self.reading = Reading::Closed(Ending::Malformed),
                Frame::Message(octets) => {
                    let from = at + LENGTH_OCTETS;
                    self.answer_one(from, from + octets);
                    at = from + octets;
                }
            }
        }
        if at > 0 {
            self.input.drain(..at);
            self.message_since = None;
            self.touch();
        }
        if self.input.is_empty() && self.input.capacity() > BUFFER_OCTETS_KEPT {
            self.input = Vec::new();
        }
    }

    /// Has the message at these places of the input answered.
    fn answer_one(&mut self, from: usize, to: usize) {
        StreamCounters::count(&self.counters.messages);
        let start = self.output.len();
        self.output.extend([0; LENGTH_OCTETS]);
        let answer = (self.answer)(&self.input[from..to], &self.arrival, &mut self.output);
        match answer {
            StreamAnswer::Now => self.end_reply(start),
            StreamAnswer::Silent => self.output.truncate(start),
            StreamAnswer::Later(reply) => {
                self.output.truncate(start);
                self.pending.spawn(reply);
            }
            StreamAnswer::NowThenClose => {
                self.end_reply(start);
                if !self.is_closed() {
                    self.reading = Reading::Closed(Ending::Finished);
                }
            }
        }
    }

    /// Appends a reply that came later.
    fn append_later(&mut self, reply: Option<Vec<u8>>) {
        if let Some(reply) = reply {
            let start = self.output.len();
            self.output.extend([0; LENGTH_OCTETS]);
            self.output.extend(reply);
            self.end_reply(start);
        }
        self.touch();
    }

    /// Puts the length before the reply that was appended from `start` on.
    fn end_reply(&mut self, start: usize) {
        let octets = self.output.len() - start - LENGTH_OCTETS;
        match u16::try_from(octets) {
            Ok(0) => self.output.truncate(start),
            Ok(length) => {
                self.output[start..start + LENGTH_OCTETS].copy_from_slice(&length.to_be_bytes());
                StreamCounters::count(&self.counters.replies);
            }
            Err(_) => {
                self.output.truncate(start);
                self.reading = Reading::Closed(Ending::Malformed);
            }
        }
    }

    /// Writes what the system takes.
    fn write(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let waiting = self.output.len();
        let mut written = 0;
        while written < waiting {
            match self.stream.try_write(&self.output[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => written += octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if written == waiting {
            self.output.clear();
            if self.output.capacity() > BUFFER_OCTETS_KEPT {
                self.output = Vec::new();
            }
            self.backlog = None;
            self.touch();
            return Ok(());
        }
        self.output.drain(..written);
        // All that waits at one moment must be gone a write time-out later, so that a client which takes an octet
        // now and then does not stay for ever.
        self.backlog = match self.backlog {
            Some(backlog) if backlog.octets > written => {
                Some(Backlog { octets: backlog.octets - written, since: backlog.since })
            }
            _ => Some(Backlog { octets: self.output.len(), since: Instant::now() }),
        };
        Ok(())
    }

    /// Whether nothing more is answered.
    fn is_closed(&self) -> bool {
        matches!(self.reading, Reading::Closed(_))
    }

    /// Notes that something useful happened.
    fn touch(&mut self) {
        self.active = Instant::now();
        self.seat.touch(if self.pending.is_empty() { Work::None } else { Work::InFlight });
    }
}

/// Questions of one connection that may be forwarded at a time; beyond, reading rests.
pub const IN_FLIGHT_PER_CONNECTION_MAX: usize = 128;
/// Octets of replies that may wait to be written; beyond, reading rests. One more reply may stand above it.
pub const OUTPUT_OCTETS_MAX: usize = 128 * 1024;
/// Octets read at a time, or what is missing of the message where that is more.
pub const INPUT_OCTETS: usize = 4096;
/// How long a connection that we end waits for the client to see it, in milliseconds.
pub const LINGER_MILLISECONDS: u64 = 500;
/// How often one connection is read from when draining begins, of [`INPUT_OCTETS`] and more each.
const LAST_READS_MAX: usize = 64;
/// Octets of an empty buffer that a connection keeps; a larger one is given back.
const BUFFER_OCTETS_KEPT: usize = 8192;
/// Octets before each message that say its length.
const LENGTH_OCTETS: usize = 2;

/// Ends our side and takes what the client still sends for a moment: closing a socket with unread octets resets the
/// connection, and the client would lose the last reply (RFC 9293 section 3.6.1).
async fn linger(stream: &mut TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut octets = [0; 1024];
    let until_end = async { while stream.read(&mut octets).await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(Duration::from_millis(LINGER_MILLISECONDS), until_end).await;
}

/// Looks at the start of what was read (RFC 1035 section 4.2.2: two octets of length, then the message).
fn frame(input: &[u8]) -> Frame {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_OCTETS>() else {
        return Frame::Incomplete(LENGTH_OCTETS - input.len());
    };
    match usize::from(u16::from_be_bytes(*length)) {
        0 => Frame::Empty,
        octets if octets <= rest.len() => Frame::Message(octets),
        octets => Frame::Incomplete(octets - rest.len()),
    }
}
