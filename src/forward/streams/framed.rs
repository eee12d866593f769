//! Questions on a stream of octets, each message behind its length (RFC 7766 section 8): pipelined, and answered in any
//! order.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::connection::expire;
use super::line::Connection;
use super::question::Question;
use super::wire::{self, StreamOptions};
use super::{CLOSING_MILLIS_MAX, EXPIRY_MILLIS, KEEPALIVE_MILLIS_MAX, LATE_MAX, STRAYS_MAX};

/// Octets that are read at a time; what has come of a message is kept, up to its 65,537 octets.
const READ_OCTETS: usize = 4096;

/// Asks on a stream until it is closed. `waiting` are the questions that came while it was established.
pub(super) async fn run<S>(stream: S, connection: Connection, waiting: Vec<Question>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut framed = Framed::new(connection);
    for question in waiting {
        framed.write(question);
    }
    match framed.converse(reader, &mut writer).await {
        End::Lost => framed.connection.lost(framed.asked.into_values().map(|asked| asked.question).collect()),
        End::Idle => {
            drop(framed);
            // A word of farewell where the protocol has one; nobody waits for it.
            let _ = timeout(Duration::from_millis(CLOSING_MILLIS_MAX), writer.shutdown()).await;
        }
    }
}

/// How a connection ended.
enum End {
    /// By us, with nothing in flight.
    Idle,
    /// By the peer, the network, or because the peer cannot be understood.
    Lost,
}

/// One stream and what was asked on it.
struct Framed {
    connection: Connection,
    options: StreamOptions,
    /// Set once no more questions come.
    is_retired: bool,
    outbound: Outbound,
    inbound: Vec<u8>,
    /// By the id on this stream.
    asked: HashMap<[u8; 2], Asked>,
    /// Ids of questions that timed out: their replies may still come.
    late: HashSet<[u8; 2]>,
    strays: usize,
    last_message_at: Instant,
    last_use_at: Instant,
    /// How long the connection may be idle, if the peer said so.
    idle_limit: Option<Duration>,
}

/// A question in flight.
struct Asked {
    question: Question,
    at: Instant,
}

impl Framed {
    /// Nothing was asked yet.
    fn new(connection: Connection) -> Self {
        let now = Instant::now();
        let is_encrypted = connection.target().is_encrypted();
        Self {
            connection,
            options: StreamOptions { keepalive: true, padding: is_encrypted },
            is_retired: false,
            outbound: Outbound::new(is_encrypted),
            inbound: Vec::new(),
            asked: HashMap::new(),
            late: HashSet::new(),
            strays: 0,
            last_message_at: now,
            last_use_at: now,
            idle_limit: None,
        }
    }

    /// Reads, writes and waits until the end.
    async fn converse<S>(&mut self, mut reader: ReadHalf<S>, writer: &mut WriteHalf<S>) -> End
    where
        S: AsyncRead + AsyncWrite,
    {
        let mut timer = pin!(sleep(Duration::from_millis(EXPIRY_MILLIS)));
        while !self.is_retired || !self.asked.is_empty() {
            self.inbound.reserve(READ_OCTETS);
            tokio::select! {
                question = self.connection.next_question(), if !self.is_retired => {
                    self.take(question);
                    // It may have been set for the end of idleness.
                    let sooner = timer.deadline().min(next_expiry());
                    timer.as_mut().reset(sooner);
                }
                read = reader.read_buf(&mut self.inbound) => match read {
                    Ok(1..) if self.receive().is_continue() => {}
                    _ => return End::Lost,
                },
                sent = self.outbound.send(writer), if self.outbound.is_pending() => {
                    // What was asked before may still be answered: reading goes on.
                    if sent.is_err() {
                        self.outbound.give_up();
                        self.connection.retire();
                    }
                }
                () = &mut timer => match self.pass_time() {
                    Some(next) => timer.as_mut().reset(next),
                    None => return End::Idle,
                },
            }
        }
        End::Idle
    }

    /// Asks this question and all that wait behind it: one write for all.
    fn take(&mut self, question: Option<Question>) {
        let Some(question) = question else {
            self.is_retired = true;
            return;
        };
        self.write(question);
        while let Some(question) = self.connection.next_question_now() {
            self.write(question);
        }
    }

    /// Puts a question behind what is to be sent, under an id of this stream's own.
    fn write(&mut self, question: Question) {
        let id = loop {
            let id = rand::random();
            if !self.asked.contains_key(&id) && !self.late.contains(&id) {
                break id;
            }
        };
        self.outbound.push(&question.query, id, self.options);
        self.last_use_at = Instant::now();
        self.asked.insert(id, Asked { question, at: self.last_use_at });
    }

    /// Takes the messages that are whole; breaks off when the peer says what nobody asked.
    fn receive(&mut self) -> ControlFlow<()> {
        let inbound = mem::take(&mut self.inbound);
        let mut rest = inbound.as_slice();
        let mut answered = 0;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let Some((message, behind)) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
                break;
            };
            answered += usize::from(self.message(message));
            rest = behind;
        }
        self.inbound = rest.to_vec();
        self.connection.freed(answered);
        if self.strays < STRAYS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Takes one message; whether it answers a question.
    fn message(&mut self, message: &[u8]) -> bool {
        let now = Instant::now();
        self.options.keepalive = false;
        let id = message.first_chunk().copied();
        let Some((id, asked)) = id.and_then(|id| Some((id, self.asked.get(&id)?))) else {
            if !id.is_some_and(|id| self.late.remove(&id)) {
                self.stray();
            }
            return false;
        };
        if !wire::is_reply_to(message, &asked.question.query) {
            self.stray();
            return false;
        }
        (self.last_message_at, self.last_use_at) = (now, now);
        if let Some(keepalive) = wire::keepalive(message) {
            self.idle_limit = Some(idle_limit(keepalive));
            if keepalive.is_zero() {
                // Close it as soon as all replies are here (RFC 7828 section 3.2.2).
                self.connection.retire();
            }
        }
        self.connection.note_answer();
        if let Some(asked) = self.asked.remove(&id) {
            asked.question.answer(message.to_vec());
        }
        true
    }

    /// Somebody else's reply, or nobody's.
    fn stray(&mut self) {
        self.strays += 1;
        self.connection.equipment().counters.strays.add();
    }

    /// Ends what took too long; when to look again, or none if the connection was idle for long enough.
    fn pass_time(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let is_over = |asked: &Asked| asked.question.deadline <= now;
        let last_message_at = self.last_message_at;
        let mut is_silent = false;
        let expired: Vec<Question> = self
            .asked
            .extract_if(|_, asked| is_over(asked))
            .map(|(id, asked)| {
                self.late.insert(id);
                is_silent |= last_message_at <= asked.at;
                asked.question
            })
            .collect();
        // Not one reply since the question was asked, or too few: the next questions had better go elsewhere.
        if is_silent || self.late.len() > LATE_MAX {
            self.connection.retire();
        }
        expire(&self.connection, expired);
        if !self.asked.is_empty() {
            return Some(next_expiry());
        }
        let idle_until = self.last_use_at + self.idle_limit.unwrap_or_else(|| self.connection.idle_limit());
        if now < idle_until {
            return Some(idle_until);
        }
        // Otherwise a question is on its way to us.
        if self.connection.retire_if_idle() { None } else { Some(next_expiry()) }
    }
}

/// How long a connection may be idle which the peer keeps for so long: we close it before the peer does
/// (RFC 7828 section 3.2.2).
fn idle_limit(keepalive: Duration) -> Duration {
    let earlier = (keepalive / 2).min(Duration::from_secs(1));
    (keepalive - earlier).min(Duration::from_millis(KEEPALIVE_MILLIS_MAX))
}

/// When questions are looked at next for whether they took too long.
fn next_expiry() -> Instant {
    Instant::now() + Duration::from_millis(EXPIRY_MILLIS)
}

/// What is to be sent.
#[derive(Debug)]
struct Outbound {
    octets: Vec<u8>,
    sent: usize,
    /// Where the message that is being sent ends.
    message_end: usize,
    must_flush: bool,
    /// Whether each message is a write of its own, and so a record of its own in TLS: NSD does not look at a second one
    /// in a record before something else comes.
    is_one_by_one: bool,
    is_given_up: bool,
}

impl Outbound {
    /// Nothing yet.
    fn new(is_one_by_one: bool) -> Self {
        Self { octets: Vec::new(), sent: 0, message_end: 0, must_flush: false, is_one_by_one, is_given_up: false }
    }

    /// Puts a query behind it: length and message together (RFC 7766 section 8).
    fn push(&mut self, query: &[u8], id: [u8; 2], options: StreamOptions) {
        if self.is_given_up {
            return;
        }
        let start = self.octets.len();
        self.octets.extend_from_slice(&[0; 2]);
        wire::write_query(query, id, options, &mut self.octets);
        let length = self.octets.len() - start - 2;
        self.octets[start..start + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }

    /// Whether there is anything to send.
    fn is_pending(&self) -> bool {
        self.sent < self.octets.len() || self.must_flush
    }

    /// Sends some of it. Dropped half-way, nothing is lost and nothing is sent twice.
    async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.sent == self.octets.len() {
            writer.flush().await?;
            self.must_flush = false;
            return Ok(());
        }
        if !self.is_one_by_one {
            self.message_end = self.octets.len();
        } else if self.sent == self.message_end {
            let length = self.octets[self.sent..].first_chunk().copied().map_or(0, u16::from_be_bytes);
            self.message_end += 2 + usize::from(length);
        }
        match writer.write(&self.octets[self.sent..self.message_end]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => self.sent += count,
        }
        self.must_flush = true;
        if self.sent == self.octets.len() {
            self.octets.clear();
            (self.sent, self.message_end) = (0, 0);
        }
        Ok(())
    }

    /// The peer takes nothing any more.
    fn give_up(&mut self) {
        *self = Self { is_given_up: true, ..Self::new(self.is_one_by_one) };
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// Takes so many octets at a time, and keeps each write.
    struct Taker {
        octets_max: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Taker {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
            let taken = &octets[..octets.len().min(self.octets_max)];
            self.writes.push(taken.to_vec());
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is written of three messages.
    fn writes(is_one_by_one: bool, octets_max: usize) -> Vec<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut taker = Taker { octets_max, writes: Vec::new() };
        let mut outbound = Outbound::new(is_one_by_one);
        for round in 0..2 {
            for message in [[1; 12].as_slice(), &[2; 20], &[3; 300]] {
                outbound.push(message, [0; 2], StreamOptions::default());
            }
            while outbound.is_pending() {
                runtime.block_on(outbound.send(&mut taker)).expect("it takes everything");
            }
            assert_eq!(taker.writes.concat().len(), (round + 1) * (14 + 22 + 302));
        }
        assert_eq!(taker.writes.concat()[338..], taker.writes.concat()[..338]);
        taker.writes
    }

    #[test]
    fn messages_leave_together_or_each_in_a_write_of_its_own() {
        let lengths = |writes: Vec<Vec<u8>>| writes.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(writes(false, usize::MAX)), [338, 338]);
        assert_eq!(lengths(writes(true, usize::MAX)), [14, 22, 302, 14, 22, 302]);
        for octets_max in [1, 13, 14, 15, 300] {
            assert_eq!(writes(false, octets_max).concat(), writes(true, octets_max).concat());
        }
        let first = &writes(true, usize::MAX)[0];
        assert_eq!(first[..4], [0, 12, 0, 0], "length, then the message under its id");
    }

    #[test]
    fn nothing_is_sent_after_giving_up() {
        let mut outbound = Outbound::new(false);
        outbound.push(&[1; 12], [0; 2], StreamOptions::default());
        outbound.give_up();
        outbound.push(&[1; 12], [0; 2], StreamOptions::default());
        assert!(!outbound.is_pending());
    }

    #[test]
    fn an_idle_connection_is_closed_before_the_peer_does_it() {
        let limit = |millis| idle_limit(Duration::from_millis(millis)).as_millis();
        assert_eq!([0, 100, 1_000, 10_000, 60_000, 6_553_500].map(limit), [0, 50, 500, 9_000, 59_000, 60_000]);
    }
}
