//! An upstream that knows every name: at once, late, or not over UDP. In threads of the bench, or a process of its own
//! that can be stopped and killed.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// An upstream in threads of this process. Dropped, it is gone.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    listener: TcpListener,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    delay: Duration,
    queries: AtomicU64,
    over: AtomicBool,
    /// Replies that wait for their time, in order.
    late: Mutex<VecDeque<(Instant, SocketAddr, Vec<u8>)>>,
}

impl Upstream {
    /// Starts one that answers over UDP after a delay, and over TCP at once.
    pub(crate) fn start(address: SocketAddr, delay: Duration) -> Result<Self, String> {
        let fault = |error: io::Error| format!("an upstream at {address}: {error}");
        let udp = UdpSocket::bind(address).map_err(fault)?;
        let tcp = TcpListener::bind(address).map_err(fault)?;
        let shared = Arc::new(Shared {
            delay,
            queries: AtomicU64::new(0),
            over: AtomicBool::new(false),
            late: Mutex::default(),
        });
        udp.set_read_timeout(Some(POLL)).map_err(fault)?;
        let listener = tcp.try_clone().map_err(fault)?;
        let mut threads = Vec::new();
        if !delay.is_zero() {
            let (late, shared) = (udp.try_clone().map_err(fault)?, Arc::clone(&shared));
            threads.push(thread::spawn(move || send_late(&late, &shared)));
        }
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        threads.push(thread::spawn(move || serve_udp(&udp, &for_udp)));
        threads.push(thread::spawn(move || serve_tcp(&tcp, &for_tcp)));
        Ok(Self { shared, listener, threads })
    }

    /// Queries that have reached it.
    pub(crate) fn queries(&self) -> u64 {
        self.shared.queries.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Whoever waits for a connection is woken; the port is free when all threads have gone.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Serves in this process until it is killed: what `--upstream ADDRESS` does.
pub(crate) fn serve_for_ever(address: SocketAddr) -> Result<(), String> {
    let _upstream = Upstream::start(address, Duration::ZERO)?;
    loop {
        thread::park();
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    while !shared.over.load(Ordering::Relaxed) {
        // An error is the time that is over, or what a closed client says of an earlier reply.
        let Ok((octets, client)) = socket.recv_from(&mut buffer) else { continue };
        let Some(reply) = reply(&buffer[..octets], Over::Udp) else { continue };
        shared.queries.fetch_add(1, Ordering::Relaxed);
        if shared.delay.is_zero() {
            let _ = socket.send_to(&reply, client);
        } else {
            let mut late = shared.late.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            late.push_back((Instant::now() + shared.delay, client, reply));
        }
    }
}

/// Sends each reply at its time, to the millisecond.
fn send_late(socket: &UdpSocket, shared: &Shared) {
    while !shared.over.load(Ordering::Relaxed) {
        let mut late = shared.late.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while late.front().is_some_and(|(at, ..)| *at <= Instant::now()) {
            if let Some((_, client, reply)) = late.pop_front() {
                let _ = socket.send_to(&reply, client);
            }
        }
        drop(late);
        thread::sleep(Duration::from_millis(1));
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { continue };
        thread::spawn(move || serve_stream(stream, &shared));
    }
}

fn serve_stream(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_read_timeout(Some(STREAM_IDLE)).ok()?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).ok()?;
        shared.queries.fetch_add(1, Ordering::Relaxed);
        let reply = reply(&query, Over::Tcp)?;
        let framed = [&u16::try_from(reply.len()).ok()?.to_be_bytes()[..], &reply].concat();
        stream.write_all(&framed).ok()?;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

/// The reply to a query: an address that belongs to the name; NXDOMAIN with an SOA for names that begin with `nx`; many
/// strings, over TCP only, for TXT. Names that begin with `brief` live for a second, others for five minutes.
fn reply(query: &[u8], over: Over) -> Option<Vec<u8>> {
    let end = question_end(query)?;
    let (name, rtype) = (&query[12..end - 4], u16::from_be_bytes([query[end - 4], query[end - 3]]));
    let begins = |label: &[u8]| name.len() > label.len() && name[1..=label.len()].eq_ignore_ascii_case(label);
    // The question, QR, RD as asked, RA; no OPT, which anyone must take.
    let mut reply = query[..end].to_vec();
    reply[2] = 0x80 | query[2] & 1;
    reply[3] = 0x80;
    reply[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    let ttl = if begins(b"brief") { 1_u32 } else { 300 };
    match rtype {
        _ if begins(b"nx") => {
            reply[3] |= 3;
            reply[9] = 1;
            reply.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            reply.extend([0; 16]);
            reply.extend([0, 0, 0, 60]);
        }
        A => {
            reply[7] = 1;
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(ttl.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(address_of(name).octets());
        }
        TXT if over == Over::Udp => reply[2] |= 2,
        TXT => {
            reply[7] = LARGE_RECORDS;
            for _ in 0..LARGE_RECORDS {
                reply.extend([0xc0, 12, 0, 16, 0, 1]);
                reply.extend(ttl.to_be_bytes());
                reply.extend([0, 201, 200]);
                reply.extend([b'x'; 200]);
            }
        }
        // NODATA, with the SOA that lets it be kept.
        _ => {
            reply[9] = 1;
            reply.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            reply.extend([0; 16]);
            reply.extend([0, 0, 0, 60]);
        }
    }
    Some(reply)
}

/// Where the question of a query ends.
fn question_end(query: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match usize::from(*query.get(at)?) {
            0 => break,
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
    (query.len() >= at + 5).then_some(at + 5)
}

/// The address that belongs to a name in wire form, whatever its case: nobody else's answer passes for it.
pub(crate) fn address_of(name: &[u8]) -> Ipv4Addr {
    // FNV-1a.
    let hash = name
        .iter()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193));
    let [_, b, c, d] = hash.to_be_bytes();
    Ipv4Addr::new(198, b, c, d)
}

const A: u16 = 1;
const TXT: u16 = 16;
/// Records of a large answer: over 4,000 octets.
pub(crate) const LARGE_RECORDS: u8 = 20;
/// How long a client may leave a connection idle.
const STREAM_IDLE: Duration = Duration::from_secs(30);
/// Between two looks whether it is over.
const POLL: Duration = Duration::from_millis(50);
