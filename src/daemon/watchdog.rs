//! Signs of life for the service manager, given only where there is life: every worker and every lane has made a turn, and
//! a query of our own has come in by a door and gone out again, over UDP and over TCP.
//!
//! A round begins every half of the time after which the service manager would end us. It ends with a sign of life unless
//! something stands still, and one round without counts for nothing by itself: a machine is busy now and then. What is load
//! and no more is told from what stands still: a door whose kernel queue overflows while every worker makes turns is
//! served, and so are streams while replies leave by others. A door that has never answered our own queries is not judged
//! by them, for a firewall that drops them would have us ended again and again; nor is one whose address is gone.

use super::systemd::Systemd;
use crate::serve::open_doors::{DoorsWatch, ReceivingDoor};
use crate::serve::server::Server;
use crate::serve::stream::StreamsWatch;
use std::collections::HashSet;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Rounds in a row that may fail before there is no sign of life any more.
const FAILED_ROUNDS_FORGIVEN: u32 = 1;
/// How often a door is asked in a round, each time from another port and so, as the kernel spreads them, of any worker.
const TRIES: u32 = 4;
/// How often it is looked whether all threads have made a turn.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The name that we ask ourselves for; every view has it, since everything below `localhost` is the loopback.
const NAME: [&str; 2] = ["plustwo-watchdog", "localhost"];
/// Octets before a message on a stream that say its length.
const LENGTH_OCTETS: usize = 2;

/// The thread that gives signs of life. Dropped, it gives no more.
pub(super) struct Watchdog {
    _stop: Sender<()>,
}

/// What is looked at.
pub(super) struct Watched {
    pub(super) server: Server,
    pub(super) doors: DoorsWatch,
    pub(super) streams: StreamsWatch,
    pub(super) counts: Arc<WatchdogCounts>,
    /// Doors are about to shut: what then stands still is meant to.
    pub(super) is_leaving: Arc<AtomicBool>,
}

/// What the watchdog has counted; all zero where there is none.
#[derive(Debug, Default)]
pub(super) struct WatchdogCounts {
    queries: [[AtomicU64; Heard::NAMED.len()]; Way::NAMED.len()],
    rounds: [AtomicU64; 2],
}

/// How a door is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Udp,
    Tcp,
}

impl Way {
    const NAMED: [(Self, &'static str); 2] = [(Self::Udp, "udp"), (Self::Tcp, "tcp")];
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A reply, or over TCP an end that only we can have made.
    Answer,
    /// Nothing in time.
    Nothing,
    /// The system did not let us ask: no descriptor, no port, no memory. That says nothing of the door.
    NotAsked,
}

impl Heard {
    const NAMED: [(Self, &'static str); 3] =
        [(Self::Answer, "answered"), (Self::Nothing, "silent"), (Self::NotAsked, "not_asked")];
}

impl WatchdogCounts {
    /// Own queries so far: by which way, what came of them, how many.
    pub(super) fn queries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Way::NAMED.into_iter().flat_map(move |(way, way_name)| {
            let number = move |heard: Heard| self.queries[way as usize][heard as usize].load(Ordering::Relaxed);
            Heard::NAMED.into_iter().map(move |(heard, name)| (way_name, name, number(heard)))
        })
    }

    /// Rounds so far that ended well, and those that did not.
    pub(super) fn rounds(&self) -> [(&'static str, u64); 2] {
        ["well", "failed"].map(|name| (name, self.rounds[usize::from(name == "failed")].load(Ordering::Relaxed)))
    }
}

impl Watchdog {
    /// Begins, if the service manager wants signs of life.
    pub(super) fn start(systemd: &Systemd, watched: Watched) -> io::Result<Option<Self>> {
        let Some(patience) = systemd.watchdog() else { return Ok(None) };
        let (stop, stopped) = channel::<()>();
        let mut rounds = Rounds { watched, every: patience / 2, door: 0, judged: HashSet::new(), failed: 0 };
        let systemd = systemd.clone();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            loop {
                let next = Instant::now() + rounds.every;
                if rounds.watched.is_leaving.load(Ordering::Acquire) || rounds.may_feed() {
                    systemd.feed_watchdog();
                }
                let rest = next.saturating_duration_since(Instant::now());
                match stopped.recv_timeout(rest) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        })?;
        Ok(Some(Self { _stop: stop }))
    }
}

/// One round after the other.
struct Rounds {
    watched: Watched,
    /// From the beginning of one to that of the next.
    every: Duration,
    /// Which door is asked, as a number that is taken by how many there are.
    door: usize,
    /// Doors that have answered before, and so should.
    judged: HashSet<(SocketAddr, Way)>,
    /// Rounds in a row that have failed.
    failed: u32,
}

impl Rounds {
    /// One round; whether it ends with a sign of life.
    fn may_feed(&mut self) -> bool {
        // The next round is not to begin before this one has ended, and two that fail in a row are within the time.
        let until = Instant::now() + self.every * 3 / 4;
        let failure = self.failure(until);
        self.watched.counts.rounds[usize::from(failure.is_some())].fetch_add(1, Ordering::Relaxed);
        let Some(failure) = failure else {
            if self.failed > 0 {
                tracing::info!(rounds = self.failed, "the watchdog is content again");
            }
            self.failed = 0;
            return true;
        };
        self.failed += 1;
        if self.failed <= FAILED_ROUNDS_FORGIVEN {
            tracing::warn!("the watchdog is not content: {failure}");
            return true;
        }
        if self.failed == FAILED_ROUNDS_FORGIVEN + 1 {
            tracing::error!("no sign of life for the service manager, which will start us anew: {failure}");
        }
        false
    }

    /// What stands still, if anything does.
    fn failure(&mut self, until: Instant) -> Option<String> {
        let before = self.turns();
        self.watched.doors.wake_workers();
        self.watched.server.lanes.ring();
        let mut failure = None;
        let doors = self.watched.doors.receiving();
        // A door that failed is asked again in the next round, the others later.
        let door = (!doors.is_empty()).then(|| &doors[self.door % doors.len()]);
        if let Some(door) = door {
            failure = Way::NAMED.into_iter().find_map(|(way, _)| self.failure_of_door(door, way, until));
        }
        if failure.is_none() {
            self.door = self.door.wrapping_add(1);
        }
        // Threads come first: a worker that stands still is why a door does not answer, sometimes.
        self.standing_still(&before, until).or(failure)
    }

    /// Asks a door of ours.
    fn failure_of_door(&mut self, door: &ReceivingDoor, way: Way, until: Instant) -> Option<String> {
        let address = reachable(door.address);
        let evidence = || match way {
            // Replies that our own rate limits keep back, as ours may be among them, are work as well.
            Way::Udp => {
                let workers = self.watched.server.udp_counters().iter();
                let limited = workers.map(|of| of.answers_rate_limited.get() + of.errors_rate_limited.get());
                door.kernel_drops() + limited.sum::<u64>()
            }
            Way::Tcp => {
                let counts = self.watched.streams.counts();
                counts.replies + counts.refused
            }
        };
        if way == Way::Tcp && self.watched.streams.open() >= self.watched.streams.max() {
            // Our connection would cost a client its own.
            return None;
        }
        let is_judged = self.judged.contains(&(door.address, way));
        let before = evidence();
        for _ in 0..if is_judged { TRIES } else { 1 } {
            let within = until.saturating_duration_since(Instant::now()).min(self.every / TRIES / 2);
            if within.is_zero() {
                break;
            }
            let heard = ask(address, way, within);
            self.watched.counts.queries[way as usize][heard as usize].fetch_add(1, Ordering::Relaxed);
            match heard {
                Heard::Answer => {
                    self.judged.insert((door.address, way));
                    return None;
                }
                Heard::NotAsked => return None,
                Heard::Nothing => {}
            }
        }
        let is_gone = || !self.watched.doors.receiving().iter().any(|other| other.address == door.address);
        // More is coming in than is taken: that is load, and it is being worked off.
        if !is_judged || evidence() != before || is_gone() || !is_address_here(address) {
            return None;
        }
        let (_, way) = Way::NAMED[way as usize];
        Some(format!("the door {} does not answer our own query over {way}", door.address))
    }

    /// How many turns each worker and each lane has made.
    fn turns(&self) -> Vec<(String, u64)> {
        let server = &self.watched.server;
        let workers = server.udp_counters().iter().map(|counters| counters.turns.get());
        let workers = workers.enumerate().map(|(index, turns)| (format!("udp-{index}"), turns));
        let lanes = server.lanes.turns().enumerate().map(|(index, turns)| (format!("lane-{index}"), turns));
        workers.chain(lanes).collect()
    }

    /// The first thread that makes no turn, if one does not until then.
    fn standing_still(&self, before: &[(String, u64)], until: Instant) -> Option<String> {
        loop {
            let now = self.turns();
            let (name, _) = before.iter().zip(&now).find(|(before, now)| before == now)?.0;
            if Instant::now() >= until {
                return Some(format!("the thread {name} stands still"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// By which address a door is reached from this machine.
fn reachable(door: SocketAddr) -> SocketAddr {
    let loopback = match door.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        // With its scope: a link-local address means nothing without.
        _ => return door,
    };
    SocketAddr::new(loopback, door.port())
}

/// Whether this machine still lets an address be bound. Where it does not, as after `ip addr del`, nobody reaches the door,
/// and started anew we could not even open it: the other doors would be gone as well.
fn is_address_here(door: SocketAddr) -> bool {
    let mut any_port = door;
    // The scope of a link-local address stays.
    any_port.set_port(0);
    UdpSocket::bind(any_port).is_ok()
}

/// Asks once, as any client does.
fn ask(door: SocketAddr, way: Way, within: Duration) -> Heard {
    let id: u16 = rand::random();
    let asked = match way {
        Way::Udp => ask_by_datagram(door, id, within),
        Way::Tcp => ask_by_stream(door, id, within),
    };
    match asked {
        Ok(()) => Heard::Answer,
        Err(error) => match error.raw_os_error() {
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EPERM
                | libc::EACCES,
            ) => Heard::NotAsked,
            _ => Heard::Nothing,
        },
    }
}

fn ask_by_datagram(door: SocketAddr, id: u16, within: Duration) -> io::Result<()> {
    let until = Instant::now() + within;
    let own: IpAddr = if door.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(door)?;
    socket.send(&query(id))?;
    let mut reply = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let octets = socket.recv(&mut reply)?;
        if reply[..octets].starts_with(&id.to_be_bytes()) {
            return Ok(());
        }
    }
}

fn ask_by_stream(door: SocketAddr, id: u16, within: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&door, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let message = query(id);
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&message);
    let mut reply = [0; LENGTH_OCTETS + size_of::<u16>()];
    match stream.write_all(&framed).and_then(|()| stream.read_exact(&mut reply)) {
        // Somebody has taken the connection in to close it: a limit was reached, and streams are at work.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) if reply[LENGTH_OCTETS..] == id.to_be_bytes() => Ok(()),
        Ok(()) => Err(ErrorKind::InvalidData.into()),
    }
}

/// A question for an address of our own name.
fn query(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // RD; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    // The root, A, IN.
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Message;
    use std::net::TcpListener;

    #[test]
    fn what_we_ask_ourselves_is_a_plain_question() {
        let message = Message::from_vec(&query(0x1234)).expect("hickory-proto reads it");
        let [question] = &message.queries[..] else { panic!("{message}") };
        assert_eq!(question.name.to_string(), "plustwo-watchdog.localhost.");
        assert_eq!((message.metadata.id, question.query_type), (0x1234, hickory_proto::rr::RecordType::A));
    }

    #[test]
    fn a_wildcard_is_asked_on_the_loopback_and_a_link_keeps_its_scope() {
        for (door, asked) in [
            ("0.0.0.0:53", "127.0.0.1:53"),
            ("[::]:5300", "[::1]:5300"),
            ("10.0.0.2:53", "10.0.0.2:53"),
            ("[fe80::2%3]:53", "[fe80::2%3]:53"),
        ] {
            assert_eq!(reachable(door.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn silence_is_told_from_an_answer_and_an_end_from_silence() {
        let within = Duration::from_millis(50);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(ask(silent.local_addr().unwrap(), Way::Udp, within), Heard::Nothing);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = listener.local_addr().unwrap();
        assert_eq!(ask(door, Way::Tcp, within), Heard::Nothing, "the kernel alone takes connections in, too");
        // The one that heard nothing, and one more.
        let closing = std::thread::spawn(move || (0..2).for_each(|_| drop(listener.accept())));
        assert_eq!(ask(door, Way::Tcp, Duration::from_secs(10)), Heard::Answer);
        closing.join().unwrap();
        assert_eq!(ask("127.0.0.1:1".parse().unwrap(), Way::Tcp, within), Heard::Nothing, "nobody listens there");
    }
}
