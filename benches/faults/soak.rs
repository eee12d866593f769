//! The soak: mixed load at a moderate rate, one fault after the other, and every query accounted for.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::client::{self, OWN_NAME, Verdict};
use crate::netns::{End, Network, UPSTREAMS};
use crate::raw;
use crate::servers::{Running, Server, plustwo, signal};
use crate::upstream::LARGE_RECORDS;

/// What is soaked, and for how long.
pub(crate) struct Soak {
    pub(crate) time: Duration,
    /// Queries a second.
    pub(crate) rate: u32,
    /// Where its words go besides stdout.
    pub(crate) output: Option<PathBuf>,
}

/// Soaks the daemon and says what became of every query; an error names what cannot be explained, or what grows.
pub(crate) fn run(soak: &Soak, folder: &Path) -> Result<(), String> {
    let words = Words::new(soak.output.as_deref())?;
    let network = Network::new()?;
    let folder = folder.join("soak");
    let targets = &UPSTREAMS[..2];
    let mut authorities = [Authority::start(targets[0])?, Authority::start(targets[1])?];
    // A small cache, so that it is full soon and the memory stands still.
    let text = plustwo(targets, "[cache]\nmax_memory = \"8 MiB\"\n");
    let file = "plustwo.toml";
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(file), text))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let running = Server::Plustwo.launch(&network, &folder, file)?;
    let before = Drops::read(&network)?;
    let shared = Shared::default();
    let began = Instant::now();
    words.say(&format!("{} queries a second for {:?}", soak.rate, soak.time));
    let samples = thread::scope(|scope| {
        let shared = &shared;
        let udp_rate = f64::from(soak.rate) * (100 - TCP_PERCENT) as f64 / 100.0;
        let tcp_rate = f64::from(soak.rate) * TCP_PERCENT as f64 / 100.0 / f64::from(STREAMS);
        let door = running.door;
        let mut clients = vec![scope.spawn(move || ask_over_udp(door, udp_rate, shared))];
        clients.extend((0..STREAMS).map(|number| scope.spawn(move || ask_over_tcp(door, number, tcp_rate, shared))));
        let (words, network, running) = (&words, &network, &running);
        let authorities = &mut authorities;
        let faults = scope.spawn(move || fault_after_fault(soak, network, authorities, running, shared, words));
        let samples = watch(soak, began, running, shared, words);
        shared.is_over.store(true, Ordering::SeqCst);
        let faults = faults.join().map_err(|_| "the faults ended".to_owned());
        for client in clients {
            client.join().map_err(|_| "a client ended".to_owned())??;
        }
        faults??;
        Ok::<_, String>(samples)
    })?;
    let drops = Drops::read(&network)?.since(before);
    let said = running.leave()?;
    std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    verdict(soak, &shared, drops, &said, &samples, &words)
}

// ---------------------------------------------------------------------------------------------- load

/// Kinds of query, and how many of a hundred datagrams are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A private name.
    Own,
    /// A name that the private zone does not have.
    OwnNxdomain,
    /// One of a thousand names of the upstream.
    Cached,
    /// A name of the upstream that nobody asked before.
    Uncached,
    /// The same, and it does not exist.
    Nxdomain,
    /// The same, and the answer is over 4,000 octets.
    Large,
}

const KINDS: [(Kind, u64); 6] = [
    (Kind::Own, 35),
    (Kind::OwnNxdomain, 5),
    (Kind::Cached, 35),
    (Kind::Uncached, 17),
    (Kind::Nxdomain, 5),
    (Kind::Large, 3),
];

impl Kind {
    /// The kind that a random number means.
    fn drawn(number: u64) -> Self {
        let mut left = number % 100;
        for (kind, percent) in KINDS {
            if left < percent {
                return kind;
            }
            left -= percent;
        }
        Self::Own
    }

    /// A name of this kind.
    fn name(self, number: u64) -> String {
        match self {
            Self::Own => OWN_NAME.to_owned(),
            Self::OwnNxdomain => format!("missing{number}.corp.example"),
            Self::Cached => format!("cached{}.public.example", number % CACHED_NAMES),
            Self::Uncached => format!("u{number}.public.example"),
            Self::Nxdomain => format!("nx{number}.public.example"),
            Self::Large => format!("large{number}.public.example"),
        }
    }

    fn rtype(self) -> u16 {
        if self == Self::Large { TXT } else { A }
    }

    /// Whether the daemon itself has the answer, whatever the upstreams do.
    fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::OwnNxdomain)
    }

    /// What a reply to it comes to.
    fn outcome(self, name: &str, reply: &[u8], over: Over) -> Outcome {
        if reply.len() < 12 || reply[2] & 0x80 == 0 {
            return Outcome::Wrong;
        }
        let is_truncated = reply[2] & 2 != 0;
        match (self, reply[3] & 15) {
            (Self::Own | Self::Cached | Self::Uncached, _) => match client::verdict(reply, name) {
                Verdict::Right => Outcome::Right,
                Verdict::Stale if !self.is_own() => Outcome::Stale,
                Verdict::Failure(2) if !self.is_own() => Outcome::Failed,
                _ => Outcome::Wrong,
            },
            (Self::OwnNxdomain | Self::Nxdomain, 3) => Outcome::Right,
            (Self::Large, 0) if over == Over::Udp && is_truncated => Outcome::Right,
            (Self::Large, 0) if raw::rdatas(reply, name, TXT).len() == usize::from(LARGE_RECORDS) => Outcome::Right,
            (Self::Nxdomain | Self::Large, 2) => Outcome::Failed,
            _ => Outcome::Wrong,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// Right, and marked as past its TTL.
    Stale,
    /// SERVFAIL.
    Failed,
    /// Something that it must not be.
    Wrong,
    /// No reply.
    Lost,
}

/// A query that waits for its reply.
struct Pending {
    kind: Kind,
    name: String,
    sent: Instant,
}

/// Asks over UDP at a rate until it is over, then waits for the last replies.
fn ask_over_udp(door: SocketAddr, rate: f64, shared: &Shared) -> Result<(), String> {
    let sockets: std::io::Result<Vec<UdpSocket>> =
        (0..CLIENTS).map(|number| client::socket(crate::netns::client(number + 1), door)).collect();
    let sockets = sockets.map_err(|error| format!("a client: {error}"))?;
    let mut pending: Vec<HashMap<u16, Pending>> = sockets.iter().map(|_| HashMap::new()).collect();
    let (mut asked, mut draw, mut swept) = (0_u64, Draw(1), Instant::now());
    let (began, mut buffer) = (Instant::now(), [0; 4096]);
    let mut ended: Option<Instant> = None;
    while ended.is_none_or(|ended| ended.elapsed() < LOST_AFTER) || pending.iter().any(|pending| !pending.is_empty()) {
        if ended.is_none() && shared.is_over.load(Ordering::SeqCst) {
            ended = Some(Instant::now());
        }
        let due = if ended.is_some() { asked } else { (began.elapsed().as_secs_f64() * rate) as u64 };
        // Not all that was missed while this machine did something else: that would be another load.
        if due > asked + BACKLOG_MAX {
            shared.tally().not_asked += due - asked - BACKLOG_MAX;
        }
        for number in due.saturating_sub(BACKLOG_MAX).max(asked)..due {
            let on = number as usize % sockets.len();
            let kind = Kind::drawn(draw.next());
            let name = kind.name(number + UNIQUE_NAMES_APART);
            let id = (number / u64::from(CLIENTS)) as u16;
            let sent = sockets[on].send(&client::query(id, &name, kind.rtype()));
            shared.sent.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
            if let Some(older) = pending[on].insert(id, Pending { kind, name, sent: Instant::now() }) {
                shared.note(&older, Outcome::Lost);
            }
        }
        asked = due;
        let mut is_idle = true;
        for (socket, pending) in sockets.iter().zip(&mut pending) {
            while let Ok(octets) = socket.recv(&mut buffer) {
                is_idle = false;
                let reply = &buffer[..octets];
                match pending.remove(&u16::from_be_bytes([reply[0], reply[1]])) {
                    Some(query) => shared.note(&query, query.kind.outcome(&query.name, reply, Over::Udp)),
                    None => shared.tally().unasked += 1,
                }
            }
        }
        if swept.elapsed() > SWEEP {
            swept = Instant::now();
            for pending in &mut pending {
                let late: Vec<u16> =
                    pending.iter().filter(|(_, query)| query.sent.elapsed() > LOST_AFTER).map(|(id, _)| *id).collect();
                for query in late.into_iter().filter_map(|id| pending.remove(&id)) {
                    shared.note(&query, Outcome::Lost);
                }
            }
        }
        if is_idle {
            sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

/// Asks over TCP, one query after the other, a few on each connection.
fn ask_over_tcp(door: SocketAddr, number: u16, rate: f64, shared: &Shared) -> Result<(), String> {
    let mut draw = Draw(1_000 + u64::from(number));
    let (began, mut asked) = (Instant::now(), 0_u64);
    while !shared.is_over.load(Ordering::SeqCst) {
        let connected = TcpStream::connect(door).and_then(|stream| {
            stream.set_read_timeout(Some(LOST_AFTER))?;
            Ok(stream)
        });
        let mut stream = connected.map_err(|error| format!("a connection: {error}"))?;
        for _ in 0..QUERIES_A_STREAM {
            let at = Duration::from_secs_f64(asked as f64 / rate);
            while began.elapsed() < at && !shared.is_over.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5));
            }
            let kind = if draw.next().is_multiple_of(4) { Kind::Large } else { Kind::drawn(draw.next()) };
            asked += 1;
            let name = kind.name(asked + UNIQUE_NAMES_APART * (2 + u64::from(number)));
            let query = Pending { kind, name, sent: Instant::now() };
            let reply = exchange(&mut stream, &client::query(asked as u16, &query.name, kind.rtype()), shared);
            let Ok(reply) = reply else {
                shared.note(&query, Outcome::Lost);
                break;
            };
            shared.note(&query, kind.outcome(&query.name, &reply, Over::Tcp));
        }
    }
    Ok(())
}

/// One message there, one back.
fn exchange(stream: &mut TcpStream, query: &[u8], shared: &Shared) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    shared.sent.fetch_add(1, Ordering::Relaxed);
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

/// Random numbers, the same in every run (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

// ---------------------------------------------------------------------------------------------- accounts

/// What all threads share.
#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// Queries handed to the kernel.
    sent: AtomicU64,
    tally: Mutex<Tally>,
    /// Faults that may cost forwarded names their answer: each with its end, as far as it is over.
    windows: Mutex<Vec<Option<Instant>>>,
}

/// Counts, of the whole run and of the minute.
#[derive(Clone, Default)]
struct Tally {
    right: u64,
    stale: u64,
    /// SERVFAIL of a forwarded name while, or shortly after, no upstream could be reached.
    failed_in_a_fault: u64,
    /// SERVFAIL at another time.
    failed: u64,
    wrong: u64,
    lost: u64,
    /// Replies that nobody waits for any more, or never did.
    unasked: u64,
    /// Queries left out, because this machine was too busy to send them in time.
    not_asked: u64,
    /// What was not right, in words; the first few.
    examples: Vec<String>,
    /// Microseconds that answers took this minute: of what is here, and of what is forwarded.
    here: Vec<u32>,
    forwarded: Vec<u32>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fault explains that a question asked then has failed by now.
    fn is_explained(&self, asked: Instant) -> bool {
        self.windows().iter().any(|end| end.is_none_or(|end| asked < end + FAULT_LASTS))
    }

    /// Notes what became of a query.
    fn note(&self, query: &Pending, outcome: Outcome) {
        let is_explained = outcome == Outcome::Failed && self.is_explained(query.sent);
        let took = u32::try_from(query.sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        let mut tally = self.tally();
        match outcome {
            Outcome::Right => tally.right += 1,
            Outcome::Stale => tally.stale += 1,
            Outcome::Failed if is_explained => tally.failed_in_a_fault += 1,
            Outcome::Failed => tally.failed += 1,
            Outcome::Wrong => tally.wrong += 1,
            Outcome::Lost => tally.lost += 1,
        }
        let is_answer = matches!(outcome, Outcome::Right | Outcome::Stale);
        match query.kind {
            _ if !is_answer => {}
            Kind::Own | Kind::OwnNxdomain | Kind::Cached => tally.here.push(took),
            Kind::Uncached | Kind::Nxdomain | Kind::Large => tally.forwarded.push(took),
        }
        if !is_answer && !is_explained && tally.examples.len() < EXAMPLES_MAX {
            let example = format!("{outcome:?}: {:?} {} after {} ms", query.kind, query.name, took / 1_000);
            tally.examples.push(example);
        }
    }
}

/// Datagrams that a full socket buffer cost, inside and outside.
#[derive(Clone, Copy, Debug)]
struct Drops {
    inside: u64,
    outside: u64,
}

impl Drops {
    fn read(network: &Network) -> Result<Self, String> {
        let done = network.command("cat").arg("/proc/net/snmp").output().map_err(|error| error.to_string())?;
        let outside = std::fs::read_to_string("/proc/net/snmp").map_err(|error| error.to_string())?;
        let inside = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok(Self { inside: receive_buffer_errors(&inside)?, outside: receive_buffer_errors(&outside)? })
    }

    fn since(self, before: Self) -> Self {
        Self { inside: self.inside - before.inside, outside: self.outside - before.outside }
    }
}

/// `RcvbufErrors` of UDP in /proc/net/snmp: a line of names, and a line of numbers.
fn receive_buffer_errors(text: &str) -> Result<u64, String> {
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: ")).map(|line| line.split_whitespace());
    let (names, numbers) = (lines.next(), lines.next());
    let found = names
        .zip(numbers)
        .and_then(|(mut names, mut numbers)| numbers.nth(names.position(|name| name == "RcvbufErrors")?)?.parse().ok());
    found.ok_or_else(|| format!("no RcvbufErrors in {text}"))
}

// ---------------------------------------------------------------------------------------------- faults

/// One fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One of the targets in a black hole.
    Hole(usize),
    /// One of the upstreams stopped (SIGSTOP), then going on.
    Stopped(usize),
    /// One of them killed, then started again.
    Killed(usize),
    /// 20 % of all packets lost, each way.
    Loss,
    /// Both targets in a black hole.
    AllInAHole,
    /// Both upstreams killed, then started again.
    AllKilled,
    /// The link to the upstreams down, at one end.
    LinkDown(End),
    /// The configuration is read again. No fault at all, and must cost nothing.
    Reload,
}

const FAULTS: [Fault; 11] = [
    Fault::Hole(0),
    Fault::Stopped(1),
    Fault::Reload,
    Fault::Killed(0),
    Fault::Loss,
    Fault::AllInAHole,
    Fault::Hole(1),
    Fault::LinkDown(End::Near),
    Fault::Killed(1),
    Fault::AllKilled,
    Fault::LinkDown(End::Far),
];

impl Fault {
    /// Whether it may cost a forwarded name its answer.
    fn may_fail(self) -> bool {
        match self {
            Self::Loss | Self::AllInAHole | Self::AllKilled | Self::LinkDown(_) => true,
            Self::Hole(_) | Self::Stopped(_) | Self::Killed(_) | Self::Reload => false,
        }
    }

    fn begin(self, network: &Network, authorities: &mut [Authority; 2], running: &Running) -> Result<(), String> {
        match self {
            Self::Hole(number) => network.black_hole(&UPSTREAMS[number..=number]),
            Self::Stopped(number) => authorities[number].signal("STOP"),
            Self::Killed(number) => authorities[number].kill(),
            Self::Loss => network.lose(LOSS_PERCENT),
            Self::AllInAHole => network.black_hole(&UPSTREAMS[..2]),
            Self::AllKilled => authorities.iter_mut().try_for_each(Authority::kill),
            Self::LinkDown(end) => network.link_down(end),
            Self::Reload => signal(running.id(), "HUP"),
        }
    }

    fn end(self, network: &Network, authorities: &mut [Authority; 2]) -> Result<(), String> {
        match self {
            Self::Hole(_) | Self::Loss | Self::AllInAHole => network.heal(),
            Self::Stopped(number) => authorities[number].signal("CONT"),
            Self::Killed(number) => authorities[number].start_again(),
            Self::AllKilled => authorities.iter_mut().try_for_each(Authority::start_again),
            Self::LinkDown(end) => network.link_up(end),
            Self::Reload => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole(number) => write!(f, "target {number} in a black hole"),
            Self::Stopped(number) => write!(f, "upstream {number} stopped"),
            Self::Killed(number) => write!(f, "upstream {number} killed"),
            Self::Loss => write!(f, "{LOSS_PERCENT} % lost each way"),
            Self::AllInAHole => f.write_str("all targets in a black hole"),
            Self::AllKilled => f.write_str("all upstreams killed"),
            Self::LinkDown(End::Near) => f.write_str("link down, own end"),
            Self::LinkDown(End::Far) => f.write_str("link down, far end"),
            Self::Reload => f.write_str("reload"),
        }
    }
}

/// Brings one fault after the other, with a pause between two, until it is over.
fn fault_after_fault(
    soak: &Soak,
    network: &Network,
    authorities: &mut [Authority; 2],
    running: &Running,
    shared: &Shared,
    words: &Words,
) -> Result<(), String> {
    let (lasts, pause) = if soak.time <= QUICK { (QUICK_FAULT, QUICK_PAUSE) } else { (FAULT, PAUSE) };
    let is_over = || shared.is_over.load(Ordering::SeqCst);
    let wait = |time: Duration| {
        let began = Instant::now();
        while began.elapsed() < time && !is_over() {
            sleep(Duration::from_millis(20));
        }
    };
    for fault in FAULTS.into_iter().cycle() {
        wait(pause);
        if is_over() {
            return Ok(());
        }
        words.say(&format!("  {fault}"));
        if fault.may_fail() {
            shared.windows().push(None);
        }
        fault.begin(network, authorities, running)?;
        wait(lasts);
        fault.end(network, authorities)?;
        if let Some(end) = shared.windows().last_mut().filter(|_| fault.may_fail()) {
            *end = Some(Instant::now());
        }
    }
    Ok(())
}

/// An upstream in a process of its own.
struct Authority {
    address: SocketAddr,
    child: Option<Child>,
}

impl Authority {
    fn start(address: IpAddr) -> Result<Self, String> {
        let mut authority = Self { address: SocketAddr::new(address, 53), child: None };
        authority.start_again()?;
        Ok(authority)
    }

    /// Starts it where it was, and waits until it answers.
    fn start_again(&mut self) -> Result<(), String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(this);
        command.args([crate::UPSTREAM, &self.address.to_string()]).stdin(Stdio::null());
        self.child = Some(command.spawn().map_err(|error| format!("an upstream: {error}"))?);
        let socket = client::socket(self.address.ip(), self.address).map_err(|error| error.to_string())?;
        let began = Instant::now();
        loop {
            // Refused as long as nobody is there.
            let _ = socket.send(&client::query(1, "probe.public.example", A));
            sleep(Duration::from_millis(2));
            if socket.recv(&mut [0; 512]).is_ok() {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err(format!("no upstream at {}", self.address));
            }
        }
    }

    fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(|_| ()).map_err(|error| format!("an upstream: {error}"))
    }

    fn signal(&self, name: &str) -> Result<(), String> {
        self.child.as_ref().map_or(Ok(()), |child| signal(child.id(), name))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

// ---------------------------------------------------------------------------------------------- verdict

/// What the daemon took, minute by minute: the least of each.
#[derive(Clone, Copy, Debug)]
struct Sample {
    minute: f64,
    resident_kib: u64,
    descriptors: usize,
}

/// Says each minute what became of its queries, until the time is over; what the daemon took.
fn watch(soak: &Soak, began: Instant, running: &Running, shared: &Shared, words: &Words) -> Vec<Sample> {
    let (mut samples, mut before) = (Vec::new(), Tally::default());
    let minute = soak.time.min(Duration::from_secs(60));
    let mut number = 0;
    while began.elapsed() < soak.time {
        number += 1;
        let until = minute * number;
        let (mut resident, mut descriptors, mut most) = (u64::MAX, usize::MAX, 0);
        while began.elapsed() < until.min(soak.time) {
            resident = resident.min(running.resident_kib());
            let open = running.descriptors();
            (descriptors, most) = (descriptors.min(open), most.max(open));
            sleep(Duration::from_millis(250));
        }
        let minute = began.elapsed().as_secs_f64() / 60.0;
        samples.push(Sample { minute, resident_kib: resident, descriptors });
        let mut now = {
            let mut tally = shared.tally();
            let now = tally.clone();
            (tally.here, tally.forwarded) = (Vec::new(), Vec::new());
            now
        };
        words.say(&format!(
            "minute {number:3}: {} right, {} stale, {} SERVFAIL in a fault, {} SERVFAIL, {} wrong, {} lost; \
             here p50 {:.1} p99 {:.1} ms, forwarded p50 {:.1} p99 {:.1} ms; {:.1} MiB, {descriptors} to {most} descriptors",
            now.right - before.right,
            now.stale - before.stale,
            now.failed_in_a_fault - before.failed_in_a_fault,
            now.failed - before.failed,
            now.wrong - before.wrong,
            now.lost - before.lost,
            percentile(&mut now.here, 50),
            percentile(&mut now.here, 99),
            percentile(&mut now.forwarded, 50),
            percentile(&mut now.forwarded, 99),
            resident as f64 / 1024.0,
        ));
        before = now;
    }
    samples
}

/// A percentile of microseconds, in milliseconds.
fn percentile(times: &mut [u32], percent: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len() * percent / 100).map_or(f64::NAN, |time| f64::from(*time) / 1e3)
}

/// The account of the whole run.
fn verdict(
    soak: &Soak,
    shared: &Shared,
    drops: Drops,
    said: &str,
    samples: &[Sample],
    words: &Words,
) -> Result<(), String> {
    let (tally, sent) = (shared.tally().clone(), shared.sent.load(Ordering::SeqCst));
    let last = said.lines().rev().find(|line| line.contains(" left")).unwrap_or("no last line");
    let arrived = last.split_whitespace().find_map(|word| word.strip_prefix("queries=")?.parse::<u64>().ok());
    let arrived = arrived.ok_or_else(|| format!("the daemon does not count its queries: {last}"))?;
    let mut text = String::new();
    let _ = writeln!(text, "sent {sent}, arrived {arrived}; the daemon's last line: {last}");
    let _ = writeln!(
        text,
        "{} right, {} stale, {} SERVFAIL while no upstream could be reached, {} SERVFAIL besides, {} wrong, {} lost, \
         {} replies that nobody waited for, {} queries not sent in time",
        tally.right,
        tally.stale,
        tally.failed_in_a_fault,
        tally.failed,
        tally.wrong,
        tally.lost,
        tally.unasked,
        tally.not_asked
    );
    let _ = writeln!(
        text,
        "full socket buffers cost {} datagrams of the daemon, {} of clients",
        drops.inside, drops.outside
    );
    let mut faults = Vec::new();
    let never_arrived = sent.saturating_sub(arrived);
    if never_arrived > drops.inside {
        faults.push(format!("{never_arrived} queries did not arrive, and {} were dropped", drops.inside));
    }
    if tally.lost > drops.inside + drops.outside {
        faults.push(format!("{} lost, of which {} are explained", tally.lost, drops.inside + drops.outside));
    }
    for (count, what) in [(tally.failed, "SERVFAIL without a fault"), (tally.wrong, "wrong replies")] {
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    }
    if tally.right + tally.stale == 0 {
        faults.push("not one answer".to_owned());
    }
    // Each round of faults has moments in which it needs little; a slope says something when there are a few of them.
    let settled: Vec<Sample> = samples.iter().copied().filter(|sample| sample.minute > SETTLED_MINUTES).collect();
    let least: Vec<Sample> = settled.chunks_exact(ROUND_MINUTES).map(least_of).collect();
    if least.len() >= ROUNDS_MIN {
        let memory = slope(least.iter().map(|sample| (sample.minute, sample.resident_kib as f64)));
        let descriptors = slope(least.iter().map(|sample| (sample.minute, sample.descriptors as f64)));
        let _ = writeln!(
            text,
            "after {SETTLED_MINUTES} minutes: {memory:+.1} KiB and {descriptors:+.2} descriptors a minute"
        );
        if memory > KIB_A_MINUTE_MAX {
            faults.push(format!("memory grows by {memory:.1} KiB a minute, over {KIB_A_MINUTE_MAX}"));
        }
        if descriptors > DESCRIPTORS_A_MINUTE_MAX {
            faults.push(format!("descriptors grow by {descriptors:.2} a minute, over {DESCRIPTORS_A_MINUTE_MAX}"));
        }
    } else {
        let minutes = SETTLED_MINUTES as usize + ROUNDS_MIN * ROUND_MINUTES;
        let _ = writeln!(text, "too short for a slope, which takes {minutes} minutes");
    }
    words.say(text.trim_end());
    tally.examples.iter().for_each(|example| words.say(&format!("  {example}")));
    words.say(&format!("soak of {:?}: {}", soak.time, if faults.is_empty() { "fine" } else { "FAILED" }));
    faults.iter().for_each(|fault| words.say(&format!("  {fault}")));
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// The least of each that was seen in a round.
fn least_of(samples: &[Sample]) -> Sample {
    let middle = samples[samples.len() / 2].minute;
    let resident_kib = samples.iter().map(|sample| sample.resident_kib).min().unwrap_or(0);
    Sample {
        minute: middle,
        resident_kib,
        descriptors: samples.iter().map(|sample| sample.descriptors).min().unwrap_or(0),
    }
}

/// By how much y grows for each x, by least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let above: f64 = points.clone().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.map(|(x, _)| (x - mean_x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below }
}

/// What the soak says, to stdout and to a file.
struct Words(Mutex<Option<File>>);

impl Words {
    fn new(output: Option<&Path>) -> Result<Self, String> {
        let open = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Self(Mutex::new(output.map(open).transpose()?)))
    }

    fn say(&self, text: &str) {
        println!("{text}");
        if let Some(file) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Whoever reads the file later misses a line; the soak goes on.
            let _ = writeln!(file, "{text}");
        }
    }
}

const A: u16 = 1;
const TXT: u16 = 16;

/// Queries a second, where nothing else is said: a tenth of what one core does, so that it can run beside other work.
pub(crate) const RATE: u32 = 2_000;
/// A soak that only shows that it works: every fault once.
pub(crate) const QUICK: Duration = Duration::from_secs(30);
const QUICK_FAULT: Duration = Duration::from_millis(1_200);
const QUICK_PAUSE: Duration = Duration::from_millis(1_300);
/// How long a fault lasts, and the pause before the next one.
const FAULT: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_secs(15);
/// Of a hundred packets, each way.
const LOSS_PERCENT: u8 = 20;
/// After a fault a name may fail for as long as its failure is remembered, five seconds, and an exchange that began
/// in the fault takes its time to end.
const FAULT_LASTS: Duration = Duration::from_secs(7);
/// Of a hundred queries, those over TCP; and the clients that ask them, with so many queries on a connection.
const TCP_PERCENT: u64 = 5;
const STREAMS: u16 = 8;
const QUERIES_A_STREAM: usize = 20;
/// Addresses that datagrams come from.
const CLIENTS: u16 = 32;
/// Names that are asked again and again.
const CACHED_NAMES: u64 = 1_000;
/// Clients number their unique names apart from each other.
const UNIQUE_NAMES_APART: u64 = 1 << 40;
/// A query without a reply for this long is lost: over the 4 s of a forwarded one, and what a busy machine adds.
const LOST_AFTER: Duration = Duration::from_secs(6);
/// Between two looks for lost queries.
const SWEEP: Duration = Duration::from_millis(100);
/// Queries that are sent at once after this machine did something else.
const BACKLOG_MAX: u64 = 200;
/// What was not right is shown up to so often.
const EXAMPLES_MAX: usize = 20;
/// By then the cache is full, and memory stands still.
const SETTLED_MINUTES: f64 = 5.0;
/// Minutes in which every fault has come once, and a pause without.
const ROUND_MINUTES: usize = 5;
/// Rounds that a slope takes.
const ROUNDS_MIN: usize = 3;
/// What may be added a minute: a megabyte in four minutes, and a descriptor in two.
const KIB_A_MINUTE_MAX: f64 = 256.0;
const DESCRIPTORS_A_MINUTE_MAX: f64 = 0.5;
