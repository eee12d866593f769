//! The faults: each with upstreams, a network and a server of its own, so that nothing is learned from the one before.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::client::{self, Flood, OWN_NAME, Reply, Verdict};
use crate::netns::{End, Network, UPSTREAMS};
use crate::servers::{Running, Server};
use crate::upstream::Upstream;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// How long the flood lasts, and random names a second.
    pub(crate) flood: Duration,
    pub(crate) flood_rate: u32,
    /// Names that wait for a slow upstream, and names asked while packets are lost.
    pub(crate) slow_names: usize,
    pub(crate) lossy_names: usize,
    /// How long the link is down.
    pub(crate) down: Duration,
}

impl Scale {
    /// What the figures are for.
    pub(crate) const FULL: Self = Self {
        flood: Duration::from_secs(5),
        flood_rate: 4_000,
        slow_names: 300,
        lossy_names: 200,
        down: Duration::from_secs(5),
    };
    /// Enough to see that the replies are right.
    pub(crate) const QUICK: Self = Self {
        flood: Duration::from_secs(1),
        flood_rate: 2_000,
        slow_names: 50,
        lossy_names: 20,
        down: Duration::from_secs(1),
    };
}

/// A server in a network with upstreams that know every name.
struct Stage {
    running: Running,
    upstreams: Vec<Upstream>,
    network: Network,
}

impl Stage {
    fn new(server: Server, folder: &Path, upstreams: usize, delay: Duration) -> Result<Self, String> {
        let network = Network::new()?;
        let targets = &UPSTREAMS[..upstreams];
        let upstreams: Result<_, String> =
            targets.iter().map(|target| Upstream::start(SocketAddr::new(*target, 53), delay)).collect();
        let running = server.start(&network, folder, targets)?;
        Ok(Self { running, upstreams: upstreams?, network })
    }

    fn ask(&self, name: &str, patience: Duration) -> Result<Option<Reply>, String> {
        client::ask(self.running.door, name, patience)
    }

    /// Asks for names one after the other, so that the server knows its upstreams.
    fn warm_up(&self) -> Result<(), String> {
        for name in client::names("warm", WARM_UP_NAMES) {
            let reply = self.ask(&name, CLIENT_PATIENCE)?;
            if reply.is_none_or(|reply| reply.verdict != Verdict::Right) {
                return Err(format!("{name} before any fault: {reply:?}\n{}", self.running.words()));
            }
        }
        Ok(())
    }
}

/// What a server did under all faults.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) server: Server,
    pub(crate) hole_from_start: Hole,
    pub(crate) hole_in_use: Hole,
    pub(crate) all_dead: AllDead,
    pub(crate) link: [Option<Duration>; 2],
    pub(crate) lossy: Answered,
    pub(crate) slow: Answered,
    pub(crate) identical: (Answered, u64),
    pub(crate) flood: FloodFigures,
    /// Wrong answers in all of them: one is one too many.
    pub(crate) wrong: usize,
}

impl Figures {
    /// Puts one server under all faults.
    pub(crate) fn of(server: Server, scale: Scale, folder: &Path) -> Result<Self, String> {
        let said = |what: &str, figure: &dyn fmt::Display| println!("  {:14} {what}: {figure}", server.name());
        let hole_from_start = hole(server, folder, Since::TheStart)?;
        said("one of two dead from the start", &hole_from_start);
        let hole_in_use = hole(server, folder, Since::InUse)?;
        said("one of two dies", &hole_in_use);
        let all_dead = all_dead(server, folder)?;
        said("all dead", &all_dead);
        let link = [link(server, folder, End::Near, scale)?, link(server, folder, End::Far, scale)?];
        said("link back", &format_args!("{}, {}", Time(link[0]), Time(link[1])));
        let lossy = lossy(server, folder, scale)?;
        said("30 % lost each way", &lossy);
        let slow = slow(server, folder, scale)?;
        said("slow", &slow);
        let identical = identical(server, folder)?;
        said("identical", &format_args!("{}, {} upstream", identical.0, identical.1));
        let flood = flood(server, folder, scale)?;
        said("flood", &flood);
        let wrong = [hole_from_start.answered, hole_in_use.answered, lossy, slow, identical.0, flood.here];
        let wrong = wrong.iter().map(|answered| answered.wrong).sum();
        Ok(Self { server, hole_from_start, hole_in_use, all_dead, link, lossy, slow, identical, flood, wrong })
    }
}

/// How many questions were answered, and how long the answers took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) asked: usize,
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) median: Option<Duration>,
    pub(crate) longest: Option<Duration>,
}

impl Answered {
    fn of(replies: &[Option<Reply>]) -> Self {
        let is = |wanted: Verdict| replies.iter().flatten().filter(move |reply| reply.verdict == wanted);
        let mut times: Vec<Duration> = is(Verdict::Right).map(|reply| reply.took).collect();
        times.sort_unstable();
        Self {
            asked: replies.len(),
            right: times.len(),
            wrong: is(Verdict::Wrong).count(),
            median: times.get(times.len() / 2).copied(),
            longest: times.last().copied(),
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, p50 {}, longest {}", self.right, self.asked, Time(self.median), Time(self.longest))?;
        if self.wrong > 0 { write!(f, ", {} WRONG", self.wrong) } else { Ok(()) }
    }
}

/// One target of two in a black hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) first: Option<Duration>,
    pub(crate) answered: Answered,
    /// Of what was asked after the first second.
    pub(crate) later_median: Option<Duration>,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, later) = (Time(self.first), Time(self.later_median));
        write!(f, "first answer {first}, {}, p50 after the first second {later}", self.answered)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    TheStart,
    InUse,
}

/// 25 names, one after the other, while the target that stands first, or is liked best, is in a black hole.
fn hole(server: Server, folder: &Path, since: Since) -> Result<Hole, String> {
    let stage = Stage::new(server, folder, 2, Duration::ZERO)?;
    let dead = match since {
        Since::TheStart => 0,
        Since::InUse => {
            stage.warm_up()?;
            usize::from(stage.upstreams[1].queries() > stage.upstreams[0].queries())
        }
    };
    stage.network.black_hole(&UPSTREAMS[dead..=dead])?;
    let began = Instant::now();
    let (mut replies, mut later) = (Vec::new(), Vec::new());
    for name in client::names("hole", HOLE_NAMES) {
        let at = began.elapsed();
        let reply = stage.ask(&name, CLIENT_PATIENCE)?;
        replies.push(reply);
        if at >= Duration::from_secs(1) {
            later.push(reply);
        }
        sleep(HOLE_PAUSE);
    }
    let right = replies[0].filter(|reply| reply.verdict == Verdict::Right);
    Ok(Hole {
        first: right.map(|reply| reply.took),
        answered: Answered::of(&replies),
        later_median: Answered::of(&later).median,
    })
}

/// Both targets in a black hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllDead {
    /// Until a client hears that there is no answer.
    pub(crate) failure: Option<Duration>,
    /// What a name is told whose TTL has run out, and when.
    pub(crate) expired: Option<Reply>,
}

impl fmt::Display for AllDead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SERVFAIL after {}, an expired name {}", Time(self.failure), Expired(self.expired))
    }
}

/// What an expired name is told, in words.
pub(crate) struct Expired(pub(crate) Option<Reply>);

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reply) = self.0 else { return f.write_str("silence") };
        let word = match reply.verdict {
            Verdict::Right => "answer",
            Verdict::Stale => "stale answer",
            Verdict::Nxdomain => "NXDOMAIN",
            Verdict::Failure(2) => "SERVFAIL",
            Verdict::Failure(_) => "failure",
            Verdict::Wrong => "WRONG",
        };
        write!(f, "{word} {}", Time(Some(reply.took)))
    }
}

fn all_dead(server: Server, folder: &Path) -> Result<AllDead, String> {
    let stage = Stage::new(server, folder, 2, Duration::ZERO)?;
    stage.warm_up()?;
    let expired = "brief.public.example";
    stage.ask(expired, CLIENT_PATIENCE)?;
    stage.network.black_hole(&UPSTREAMS[..2])?;
    sleep(BRIEF_IS_OVER);
    let reply = stage.ask("dead.public.example", DEAD_PATIENCE)?;
    let failure = reply.filter(|reply| matches!(reply.verdict, Verdict::Failure(_))).map(|reply| reply.took);
    Ok(AllDead { failure, expired: stage.ask(expired, DEAD_PATIENCE)? })
}

/// From the return of the link to the upstreams to the first answer; a new name every 50 ms.
fn link(server: Server, folder: &Path, end: End, scale: Scale) -> Result<Option<Duration>, String> {
    let stage = Stage::new(server, folder, 2, Duration::ZERO)?;
    stage.warm_up()?;
    stage.network.link_down(end)?;
    // It is used while it is down, or nobody would notice.
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < scale.down {
        stage.ask(&format!("down{number}.public.example"), LINK_PAUSE)?;
        number += 1;
    }
    stage.network.link_up(end)?;
    let (back, door) = (Instant::now(), stage.running.door);
    let is_over = &AtomicBool::new(false);
    let first = thread::scope(|scope| {
        let mut asked = Vec::new();
        while !is_over.load(Ordering::Relaxed) && back.elapsed() < RETURN_LIMIT {
            let name = format!("up{}.public.example", asked.len());
            asked.push(scope.spawn(move || {
                let reply = client::ask(door, &name, RETURN_LIMIT).ok().flatten()?;
                (reply.verdict == Verdict::Right).then(|| {
                    is_over.store(true, Ordering::Relaxed);
                    back.elapsed()
                })
            }));
            sleep(LINK_PAUSE);
        }
        asked.into_iter().filter_map(|asked| asked.join().ok().flatten()).min()
    });
    Ok(first)
}

/// Names asked at once while 30 % of all packets are lost each way.
fn lossy(server: Server, folder: &Path, scale: Scale) -> Result<Answered, String> {
    let stage = Stage::new(server, folder, 2, Duration::ZERO)?;
    stage.warm_up()?;
    stage.network.lose(LOSS_PERCENT)?;
    Ok(Answered::of(&client::ask_all(stage.running.door, &client::names("lossy", scale.lossy_names), CLIENT_PATIENCE)?))
}

/// Names asked at once of an upstream that takes a second for each.
fn slow(server: Server, folder: &Path, scale: Scale) -> Result<Answered, String> {
    let stage = Stage::new(server, folder, 1, SLOW)?;
    Ok(Answered::of(&client::ask_all(stage.running.door, &client::names("slow", scale.slow_names), CLIENT_PATIENCE)?))
}

/// Forty clients that ask the same at once; and what reached the upstream of it.
fn identical(server: Server, folder: &Path) -> Result<(Answered, u64), String> {
    let stage = Stage::new(server, folder, 1, IDENTICAL_DELAY)?;
    stage.ask("before.public.example", CLIENT_PATIENCE)?;
    let before = stage.upstreams[0].queries();
    let names = vec!["same.public.example".to_owned(); IDENTICAL];
    let answered = Answered::of(&client::ask_all(stage.running.door, &names, CLIENT_PATIENCE)?);
    Ok((answered, stage.upstreams[0].queries() - before))
}

/// A flood of random names while both targets are in a black hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloodFigures {
    pub(crate) flood: Flood,
    /// Sockets at most, and KiB of memory more than before at most.
    pub(crate) sockets: usize,
    pub(crate) growth_kib: u64,
    /// A name of its own and one from the cache, asked all the while.
    pub(crate) here: Answered,
}

impl fmt::Display for FloodFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flood, sockets, growth_kib, here } = self;
        write!(f, "{} asked, {} replies; {sockets} sockets, ", flood.asked, flood.replies)?;
        write!(f, "{} MiB more; what is here: {here}", growth_kib >> 10)
    }
}

fn flood(server: Server, folder: &Path, scale: Scale) -> Result<FloodFigures, String> {
    let stage = Stage::new(server, folder, 2, Duration::ZERO)?;
    stage.warm_up()?;
    stage.network.black_hole(&UPSTREAMS[..2])?;
    let (running, before) = (&stage.running, stage.running.resident_kib());
    let is_over = &AtomicBool::new(false);
    let asked = client::names("warm", 1).remove(0);
    thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let (mut sockets, mut resident) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                (sockets, resident) = (running.sockets().max(sockets), running.resident_kib().max(resident));
                sleep(Duration::from_millis(20));
            }
            (sockets, resident)
        });
        let here = scope.spawn(move || {
            let mut replies = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                for name in [OWN_NAME, &asked] {
                    replies.push(client::ask(running.door, name, HERE_PATIENCE)?);
                }
                sleep(Duration::from_millis(10));
            }
            Ok::<_, String>(replies)
        });
        let flood = client::flood(running.door, scale.flood_rate, scale.flood);
        is_over.store(true, Ordering::Relaxed);
        let (sockets, resident) = watching.join().map_err(|_| "the watcher ended")?;
        let here = Answered::of(&here.join().map_err(|_| "a client ended")??);
        Ok(FloodFigures { flood: flood?, sockets, growth_kib: resident.saturating_sub(before), here })
    })
}

/// A time for people: milliseconds under a second, then seconds; or that it never came.
pub(crate) struct Time(pub(crate) Option<Duration>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("never"),
            Some(time) if time < Duration::from_millis(10) => write!(f, "{:.1} ms", time.as_secs_f64() * 1e3),
            Some(time) if time < Duration::from_secs(1) => write!(f, "{} ms", time.as_millis()),
            Some(time) => write!(f, "{:.2} s", time.as_secs_f64()),
        }
    }
}

/// What glibc gives a question.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// What is given to a server to say that there is no answer.
const DEAD_PATIENCE: Duration = Duration::from_secs(25);
/// What is given to a name that is here: then it counts as lost.
const HERE_PATIENCE: Duration = Duration::from_secs(1);
/// After the link's return.
const RETURN_LIMIT: Duration = Duration::from_secs(20);
/// Between two names while a link is down, and after.
const LINK_PAUSE: Duration = Duration::from_millis(50);
/// Names asked while one target is dead, and the pause between two: over two seconds or so.
const HOLE_NAMES: usize = 25;
const HOLE_PAUSE: Duration = Duration::from_millis(80);
/// Names asked before a fault.
const WARM_UP_NAMES: usize = 20;
/// A TTL of one second is over.
const BRIEF_IS_OVER: Duration = Duration::from_millis(1_500);
/// Of a hundred packets, each way.
const LOSS_PERCENT: u8 = 30;
/// What a slow upstream takes.
const SLOW: Duration = Duration::from_secs(1);
/// Clients that ask the same, and what the upstream takes meanwhile.
const IDENTICAL: usize = 40;
const IDENTICAL_DELAY: Duration = Duration::from_millis(300);
