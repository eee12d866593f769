//! Streams against peers of our own on loopback, which behave well or badly as each test wants.

mod authority;
mod https;
mod mixed;
mod names;
mod quic;
mod tcp;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant};

use super::*;
use crate::dns::TargetProtocol;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = Result<Vec<u8>, StreamFailure>;

/// Nobody is trusted, and no name has an address.
fn settings() -> StreamSettings {
    StreamSettings { roots: TlsRoots::new([], []).expect("no certificate is unusable"), bootstrap: Vec::new() }
}

/// A runtime with targets, and peers for them.
struct Net {
    targets: StreamTargets,
    runtime: Runtime,
}

impl Net {
    fn new() -> Self {
        Self::with(settings())
    }

    /// With more patience than the daemon has: nothing that is to happen is too late on a busy machine.
    fn with(settings: StreamSettings) -> Self {
        Self::with_times(settings, Times { question: PATIENCE, connect: PATIENCE, ..Times::USUAL })
    }

    /// With less, for what is to time out.
    fn hasty(settings: StreamSettings) -> Self {
        let second = Duration::from_secs(1);
        let times = Times { question: 2 * second, connect: second, idle: second, idle_scarce: second / 10 };
        Self::with_times(settings, times)
    }

    fn with_times(settings: StreamSettings, times: Times) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let targets = StreamTargets::with_times(settings, runtime.handle().clone(), times);
        Self { targets, runtime }
    }

    /// Asks, without waiting.
    fn start(&self, target: &Target, query: Vec<u8>) -> Receiver<Answer> {
        let (sender, receiver) = mpsc::channel();
        self.targets.ask(target, query, move |reply| drop(sender.send(reply)));
        receiver
    }

    /// Asks and waits.
    #[track_caller]
    fn ask(&self, target: &Target, query: Vec<u8>) -> Answer {
        answer(&self.start(target, query))
    }

    /// Asks until there is a reply: a busy machine may be too slow for a hasty net.
    #[track_caller]
    fn insist(&self, target: &Target, number: u16) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(target, query(number)) != reply(number) {
            assert!(Instant::now() < deadline, "there is no reply in the end");
        }
    }

    /// A listener, and the target that it is.
    fn listener(&self) -> (TcpListener, Target) {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let target = Target::do53(listener.local_addr().expect("an address"));
        (listener, target)
    }

    /// A port where nobody listens yet, and the target that it is.
    fn closed_port(&self) -> (TcpSocket, Target) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let target = Target::do53(socket.local_addr().expect("an address"));
        (socket, target)
    }

    /// A peer that treats its connections as the script says; the first one has number 0.
    fn peer<F>(&self, script: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Target
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, target) = self.listener();
        self.runtime.spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(script(number, stream));
            }
        });
        target
    }
}

/// Waits for an answer.
#[track_caller]
fn answer(receiver: &Receiver<Answer>) -> Answer {
    let answer = receiver.recv_timeout(2 * PATIENCE).expect("reply is called");
    assert!(receiver.recv_timeout(PATIENCE).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected));
    answer
}

/// A query for the A records of `q<number>.example`, with an OPT.
fn query(number: u16) -> Vec<u8> {
    let label = format!("q{number}");
    let mut octets = (0x4000 | number).to_be_bytes().to_vec();
    octets.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\x01");
    octets.push(label.len() as u8);
    octets.extend_from_slice(label.as_bytes());
    octets.extend_from_slice(b"\x07example\0\0\x01\0\x01");
    octets.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    octets
}

/// The reply to a query: its header and question, and one address, whatever its options.
fn reply_to(query: &[u8]) -> Vec<u8> {
    let question_end = 12 + query[12..].iter().position(|&octet| octet == 0).expect("a name's end") + 5;
    let mut octets = query[..question_end].to_vec();
    octets[2] |= 0x80;
    octets[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    octets.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
    octets
}

/// What the reply to `query(number)` must be.
fn reply(number: u16) -> Answer {
    Ok(reply_to(&query(number)))
}

/// Reads one message; none at the end of the stream.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

/// Writes one message.
async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) {
    let framed = [&(message.len() as u16).to_be_bytes(), message].concat();
    stream.write_all(&framed).await.expect("the other side listens");
    stream.flush().await.expect("the other side listens");
}

/// Answers everything at once until the stream ends.
async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(query) = read(&mut stream).await {
        write(&mut stream, &reply_to(&query)).await;
    }
}

/// Reads everything and says nothing.
async fn listen_only(mut stream: TcpStream) {
    while read(&mut stream).await.is_some() {}
}
