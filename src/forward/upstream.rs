//! Sockets and clock for exchanges: does what [`Exchange`] says and tells it what came of it.

use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::counters::Counters;
use super::exchange::{
    Attempt, AttemptId, Channel, Ending, Event, Exchange, Input, Options, Output, Outputs, QUERY_OCTETS_MAX,
    TargetIndex,
};
use super::pool::{Change, TargetPool, TargetReport, TargetState, order};
use super::{Ask, ExchangeError, Millis};
use crate::dns::{Target, TargetGroup, TargetProtocol};

/// The way to all targets.
#[derive(Debug)]
pub(super) struct Upstreams {
    pool: TargetPool,
    counters: Arc<Counters>,
    /// Sockets beside the first one of each exchange.
    further_sockets: Semaphore,
}

/// One exchange in so many may have a second socket: at the limit of questions in flight there are 1.25 sockets for each.
const EXCHANGES_PER_FURTHER_SOCKET: usize = 4;
/// Sockets beside the first ones that there may be at least.
const FURTHER_SOCKETS_MIN: usize = 64;

/// The largest datagram that is read, in octets: three times what we offer, for upstreams that do not care.
const DATAGRAM_OCTETS_MAX: usize = 4096;

impl Upstreams {
    /// Nothing known of any target yet.
    pub(super) fn new(in_flight_max: usize, counters: Arc<Counters>) -> Self {
        let further = (in_flight_max / EXCHANGES_PER_FURTHER_SOCKET).max(FURTHER_SOCKETS_MIN);
        Self {
            pool: TargetPool::new(u32::MAX),
            counters,
            further_sockets: Semaphore::new(further.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// What is known of the targets.
    pub(super) fn target_reports(&self) -> Vec<TargetReport> {
        self.pool.report()
    }

    /// Runs one exchange to its end; `now` is when it begins. Returns the reply's octets, and when it ended.
    pub(super) async fn exchange(
        &self,
        ask: &Ask<'_>,
        group: &TargetGroup,
        now: Millis,
    ) -> (Result<Vec<u8>, ExchangeError>, Millis) {
        let clock = Clock { started: Instant::now(), then: now };
        let states = self.pool.states(group, &mut rand::rng());
        let candidates = match order(&states, group.order, now, &mut rand::rng()) {
            Ok(candidates) => candidates,
            Err(error) => return (Err(error), now),
        };
        let mut exchange = Exchange::new(&candidates, now, Options::default());
        let mut sockets = Sockets { open: Vec::new(), further: &self.further_sockets };
        let mut outputs = Outputs::new();
        let mut happened = Happened::Start;
        loop {
            let ending = exchange.step(ask, happened.as_input(), clock.now(), &mut rand::rng(), &mut outputs);
            let result = ending.map(|ending| match ending {
                Ending::Reply { message, .. } => Ok(message.octets().to_vec()),
                Ending::Kept { octets, .. } => Ok(octets),
                Ending::Error(error) => {
                    self.counters.failed.add();
                    Err(error)
                }
            });
            if result.is_some() {
                exchange.abandon(&mut outputs);
            }
            for output in outputs.drain(..) {
                self.perform(output, ask, &mut exchange, &states, &mut sockets, clock.now());
            }
            if let Some(result) = result {
                return (result, clock.now());
            }
            happened = sockets.wait(exchange.wake_at(), clock).await;
        }
    }

    /// Does what the exchange says.
    fn perform(
        &self,
        output: Output,
        ask: &Ask<'_>,
        exchange: &mut Exchange,
        states: &[Arc<TargetState>],
        sockets: &mut Sockets<'_>,
        now: Millis,
    ) {
        let state = |target: TargetIndex| &states[usize::from(target.0)];
        let mut query = [0; QUERY_OCTETS_MAX];
        match output {
            Output::Send(attempt) => {
                match attempt.channel {
                    Channel::Datagram => self.counters.sent_udp.add(),
                    Channel::Stream => self.counters.sent_tcp.add(),
                }
                state(attempt.target).attempt_opened();
                exchange.set_id(attempt.id, rand::random());
                let octets = exchange.write_query(ask, attempt.id, &mut query);
                sockets.open(attempt, state(attempt.target).target(), query[..octets].to_vec());
            }
            Output::Resend(attempt) => {
                self.counters.sent_udp.add();
                let octets = exchange.write_query(ask, attempt.id, &mut query);
                sockets.resend(attempt.id, &query[..octets]);
            }
            Output::Close(attempt) => {
                state(attempt.target).attempt_closed();
                sockets.close(attempt.id);
            }
            Output::Learned(target, observation) => {
                let change = state(target).learn(observation, now);
                let target = state(target).target();
                match change {
                    Some(Change::WentAway) => tracing::warn!(%target, "an upstream does not answer; it is asked last"),
                    Some(Change::CameBack) => tracing::info!(%target, "an upstream answers again"),
                    None => {}
                }
            }
            Output::Counted(Event::Mismatched) => self.counters.mismatched.add(),
            Output::Counted(Event::Malformed) => self.counters.malformed.add(),
            Output::Counted(Event::Truncated) => self.counters.truncated.add(),
            Output::Counted(Event::FailingRcode) => self.counters.failing_rcodes.add(),
            Output::Counted(Event::Referral) => self.counters.referrals.add(),
            Output::Counted(Event::BadCookie) => self.counters.bad_cookies.add(),
            Output::Counted(Event::Suspicious) => self.counters.suspicious.add(),
            Output::Counted(Event::Silent) => self.counters.silent.add(),
            Output::Counted(Event::Unreachable) => self.counters.unreachable.add(),
        }
    }
}

/// The monotonic clock, as milliseconds since the process started.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    then: Millis,
}

impl Clock {
    /// This moment.
    fn now(self) -> Millis {
        self.then.plus(self.started.elapsed().as_millis() as u64)
    }
}

/// What happened while an exchange waited.
enum Happened {
    Start,
    Message(AttemptId, Vec<u8>),
    Unreachable(AttemptId),
    Tick,
}

impl Happened {
    /// The same in the words of the exchange.
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::Start => Input::Start,
            Self::Message(attempt, octets) => Input::Message(*attempt, octets),
            Self::Unreachable(attempt) => Input::Unreachable(*attempt),
            Self::Tick => Input::Tick,
        }
    }
}

/// The sockets of one exchange: at most [`super::exchange::ATTEMPTS_OPEN_MAX`], and only the first is sure to be had.
struct Sockets<'u> {
    open: Vec<Listening<'u>>,
    further: &'u Semaphore,
}

/// One socket that listens.
struct Listening<'u> {
    attempt: AttemptId,
    /// The socket, if it is for datagrams.
    datagrams: Option<Arc<UdpSocket>>,
    receiving: Receiving,
    /// What a socket beside the first one of an exchange needs.
    permit: Option<SemaphorePermit<'u>>,
}

/// Waits for one message on one socket.
type Receiving = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>;

impl<'u> Sockets<'u> {
    /// Sends a query from a new socket.
    fn open(&mut self, attempt: Attempt, target: &Target, octets: Vec<u8>) {
        let mut permit = None;
        if self.open.iter().any(|listening| listening.permit.is_none()) {
            permit = self.further.try_acquire().ok();
            if permit.is_none() {
                // So many exchanges have several sockets that this one must give up its oldest for a new one.
                permit = self.open.remove(0).permit;
            }
        }
        let address = match target.protocol {
            TargetProtocol::Do53 | TargetProtocol::Tcp => target.address(),
            TargetProtocol::Dot | TargetProtocol::Doh { .. } | TargetProtocol::Doq => None,
        };
        let (datagrams, receiving): (_, Receiving) = match (address, attempt.channel) {
            (Some(address), Channel::Datagram) => match send_datagram(address, &octets).map(Arc::new) {
                Ok(socket) => (Some(Arc::clone(&socket)), Box::pin(receive_datagram(socket))),
                Err(error) => (None, Box::pin(ready(Err(error)))),
            },
            (Some(address), Channel::Stream) => (None, Box::pin(ask_over_stream(address, octets))),
            (None, _) => (None, Box::pin(ready(Err(io::ErrorKind::Unsupported.into())))),
        };
        self.open.push(Listening { attempt: attempt.id, datagrams, receiving, permit });
    }

    /// Sends a query again from the socket of an attempt.
    fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        let Some(listening) = self.open.iter_mut().find(|listening| listening.attempt == attempt) else { return };
        let Some(socket) = &listening.datagrams else { return };
        // The kernel may tell of an earlier ICMP here, once. A full buffer is one more datagram lost.
        if let Err(error) = unless_would_block(socket.try_send(octets)) {
            listening.receiving = Box::pin(ready(Err(error)));
        }
    }

    /// Closes the socket of an attempt.
    fn close(&mut self, attempt: AttemptId) {
        self.open.retain(|listening| listening.attempt != attempt);
    }

    /// Waits for whatever happens first.
    async fn wait(&mut self, wake_at: Millis, clock: Clock) -> Happened {
        let left = Duration::from_millis(wake_at.since(clock.now()));
        // Time goes first: datagrams that never end must not stop the clock.
        if left.is_zero() {
            return Happened::Tick;
        }
        timeout(left, poll_fn(|cx| self.poll(cx))).await.unwrap_or(Happened::Tick)
    }

    /// Looks at every socket.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        for Listening { attempt, datagrams, receiving, .. } in &mut self.open {
            let Poll::Ready(received) = receiving.as_mut().poll(cx) else { continue };
            *receiving = match datagrams {
                Some(socket) if received.is_ok() => Box::pin(receive_datagram(Arc::clone(socket))),
                // Nothing else will come; the exchange closes the attempt.
                _ => Box::pin(pending()),
            };
            return Poll::Ready(match received {
                Ok(octets) => Happened::Message(*attempt, octets),
                Err(_) => Happened::Unreachable(*attempt),
            });
        }
        Poll::Pending
    }
}

/// Sends a query from a new socket on a port that the kernel picks at random, one for each query (RFC 5452 section 9.2).
fn send_datagram(target: SocketAddr, octets: &[u8]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.connect(&target.into())?;
    socket.send(octets)?;
    UdpSocket::from_std(socket.into())
}

/// Receives one datagram. The socket is connected: the kernel drops what others send, and tells us of ICMP.
async fn receive_datagram(socket: Arc<UdpSocket>) -> io::Result<Vec<u8>> {
    loop {
        // `recv` alone would sleep through ICMP: the kernel reports it as an error without readability.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            let error = || socket.take_error()?.ok_or_else(|| io::ErrorKind::WouldBlock.into());
            unless_would_block(socket.try_io(Interest::ERROR, error))?.map_or(Ok(()), Err)?;
        }
        // On the stack, and only while it is looked at: thousands of exchanges wait at a time.
        let mut octets = [0; DATAGRAM_OCTETS_MAX];
        if let Some(count) = unless_would_block(socket.try_recv(&mut octets))? {
            return Ok(octets[..count].to_vec());
        }
    }
}

/// None for "not yet".
fn unless_would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a query over a new connection and receives one message (RFC 7766 section 8: length first). The exchange's
/// deadline ends it.
async fn ask_over_stream(target: SocketAddr, query: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    // One write, one segment (RFC 7766 section 8).
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    // Grows with what comes, not with what is promised.
    let mut octets = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut octets).await?;
    if octets.len() < usize::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(octets)
}
