//! An upstream that does with each query whatever a test writes, octet by octet: late, twice, from elsewhere, broken.

use super::ask;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use socket2::SockRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two looks whether it is over.
const POLL: Duration = Duration::from_millis(50);

/// A query that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Whether it came over TCP.
    pub(crate) over_tcp: bool,
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// When it came.
    pub(crate) at: Instant,
    /// Its octets.
    pub(crate) octets: Vec<u8>,
    /// The same, read.
    pub(crate) message: Message,
}

impl Asked {
    /// The name, in lower case and without the final dot.
    pub(crate) fn name(&self) -> String {
        let name = self.message.queries[0].name().to_lowercase().to_string();
        name.trim_end_matches('.').to_owned()
    }

    /// An empty reply with this rcode: id, question and RD as they were asked, RA, an OPT for an OPT.
    pub(crate) fn reply(&self, rcode: ResponseCode) -> Message {
        let mut reply = Message::new(self.message.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = rcode;
        reply.queries = self.message.queries.clone();
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            reply.edns = Some(edns);
        }
        reply
    }

    /// A reply with these records, in presentation form; `@` is the name that was asked for, as it was asked.
    pub(crate) fn records(&self, records: &[&str]) -> Message {
        let mut reply = self.reply(ResponseCode::NoError);
        reply.answers = records.iter().map(|record| self.record(record)).collect();
        reply
    }

    /// A record, in presentation form.
    pub(crate) fn record(&self, record: &str) -> Record {
        match record.strip_prefix("@ ") {
            Some(rest) => {
                let mut record = super::upstream::parse_record(&format!("owner.example. {rest}"));
                record.name = self.message.queries[0].name().clone();
                record
            }
            None => super::upstream::parse_record(record),
        }
    }

    /// The octets of a reply with one address, for five minutes.
    pub(crate) fn address(&self, address: [u8; 4]) -> Vec<u8> {
        octets(&self.records(&[&format!("@ 300 IN A {}", Ipv4Addr::from(address))]))
    }

    /// The octets of an empty reply with TC.
    pub(crate) fn truncated(&self) -> Vec<u8> {
        let mut reply = self.reply(ResponseCode::NoError);
        reply.metadata.truncation = true;
        octets(&reply)
    }
}

/// A message's octets.
pub(crate) fn octets(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a message of the test can be encoded")
}

/// What an upstream does, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends this.
    Send(Vec<u8>),
    /// Sends this after so long; what comes behind it does not wait.
    SendLater(Duration, Vec<u8>),
    /// Sends this from another port of its address.
    SendFromAnotherPort(Vec<u8>),
    /// Sends this from its port at another address. Only over UDP.
    SendFromAnotherAddress(IpAddr, Vec<u8>),
    /// Writes these octets as they are, without their number before them. Only over TCP.
    Write(Vec<u8>),
    /// Closes the connection. Only over TCP.
    Close,
}

/// What it does with a query.
type Script = dyn Fn(&Asked) -> Vec<Act> + Send + Sync;

/// A running upstream. Dropped, it is gone.
pub(crate) struct Scripted {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: TcpListener,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

impl Scripted {
    /// Starts one on an ephemeral port of 127.0.0.1, UDP and TCP.
    pub(crate) fn start(script: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
                return Self::on(udp, tcp, script);
            }
        }
    }

    /// Starts one at an address, UDP and TCP.
    pub(crate) fn at(address: SocketAddr, script: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let udp = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let tcp = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::on(udp, tcp, script)
    }

    fn on(udp: UdpSocket, tcp: TcpListener, script: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let address = udp.local_addr().expect("bound");
        let shared =
            Arc::new(Shared { script: Box::new(script), asked: Mutex::default(), over: AtomicBool::new(false) });
        udp.set_read_timeout(Some(POLL)).expect("a timeout that is not zero");
        let listener = tcp.try_clone().expect("a descriptor is left");
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, &for_udp)),
            std::thread::spawn(move || serve_tcp(&tcp, &for_tcp)),
        ];
        Self { shared, address, listener, threads }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has been asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("not poisoned").clone()
    }

    /// How often it was asked for a name. A query that was only sent again, from the same port under the same id, counts
    /// once: on a busy machine that may happen at any time.
    pub(crate) fn asked_for(&self, name: &str) -> usize {
        let asked = self.shared.asked.lock().expect("not poisoned");
        let of_name = asked.iter().filter(|asked| asked.name() == name);
        of_name.map(|asked| (asked.over_tcp, asked.from, asked.message.metadata.id)).collect::<HashSet<_>>().len()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Whoever waits for a connection is woken; the port is free when both threads have gone.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Notes a query and says what to do with it; none for what is no query, and at the end.
    fn take(&self, over_tcp: bool, from: SocketAddr, octets: &[u8]) -> Option<Vec<Act>> {
        let message = Message::from_vec(octets).ok().filter(|message| !message.queries.is_empty())?;
        let asked = Asked { over_tcp, from, at: Instant::now(), octets: octets.to_vec(), message };
        self.asked.lock().expect("not poisoned").push(asked.clone());
        Some((self.script)(&asked))
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let (later, waiting) = channel();
    let late = socket.try_clone().expect("a descriptor is left");
    let sender = std::thread::spawn(move || send_later(&late, &waiting));
    let mut buffer = [0; 65_535];
    while !shared.over.load(Ordering::SeqCst) {
        // An error is the time that is over, or what a closed client says of an earlier reply.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        for act in shared.take(false, from, &buffer[..length]).unwrap_or_default() {
            perform(socket, from, act, &later);
        }
    }
    drop(later);
    let _ = sender.join();
}

/// Does over UDP what the script says. Replies to a client that has gone are lost, as they would be anywhere.
fn perform(socket: &UdpSocket, to: SocketAddr, act: Act, later: &Sender<Late>) {
    let own = socket.local_addr().expect("bound");
    match act {
        Act::Send(reply) => {
            let _ = socket.send_to(&reply, to);
        }
        Act::SendLater(delay, reply) => {
            let _ = later.send(Reverse((Instant::now() + delay, to, reply)));
        }
        Act::SendFromAnotherPort(reply) => {
            let other = UdpSocket::bind(SocketAddr::new(own.ip(), 0)).expect("a free port");
            let _ = other.send_to(&reply, to);
        }
        Act::SendFromAnotherAddress(address, reply) => {
            let other = UdpSocket::bind(SocketAddr::new(address, own.port())).expect("a free port");
            let _ = other.send_to(&reply, to);
        }
        Act::Write(_) | Act::Close => panic!("{act:?} is for TCP"),
    }
}

/// A reply, when it is to be sent and to whom; the earliest is the greatest.
type Late = Reverse<(Instant, SocketAddr, Vec<u8>)>;

/// Sends each reply at its time.
fn send_later(socket: &UdpSocket, waiting: &Receiver<Late>) {
    let mut replies: BinaryHeap<Late> = BinaryHeap::new();
    loop {
        let left = replies.peek().map(|Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(left.unwrap_or(Duration::from_secs(3600))) {
            Ok(reply) => replies.push(reply),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while replies.peek().is_some_and(|Reverse((at, ..))| *at <= Instant::now()) {
            let Some(Reverse((_, to, reply))) = replies.pop() else { break };
            let _ = socket.send_to(&reply, to);
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve_stream(stream, &shared));
    }
}

/// Serves one connection until its client closes it or the script does.
fn serve_stream(mut stream: TcpStream, shared: &Shared) {
    let Ok(from) = stream.peer_addr() else { return };
    while let Ok(query) = ask::receive_framed(&mut stream) {
        for act in shared.take(true, from, &query).unwrap_or_default() {
            let written = match act {
                Act::Send(reply) => ask::send_framed(&mut stream, &reply),
                Act::SendLater(delay, reply) => {
                    let mut stream = stream.try_clone().expect("a descriptor is left");
                    std::thread::spawn(move || {
                        std::thread::sleep(delay);
                        let _ = ask::send_framed(&mut stream, &reply);
                    });
                    Ok(())
                }
                Act::Write(octets) => stream.write_all(&octets),
                Act::Close => return,
                Act::SendFromAnotherPort(_) | Act::SendFromAnotherAddress(..) => panic!("{act:?} is for UDP"),
            };
            if written.is_err() {
                return;
            }
        }
    }
}
