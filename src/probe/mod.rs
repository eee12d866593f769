//! Asking endpoints whether they are healthy: Route 53's health checkers, here beside everything that answers.
//!
//! ```text
//! Prober ── the list of probes, a new one at each reload ──> a thread with a runtime of its own
//!             watch     one task a probe: when it is due, what its replies in a row say. Pure.
//!             attempt   one request: name, connection, TLS, status, body; each part bounded in time
//!             http      what the octets of a response say
//! task ── seen(id, healthy) ──> HealthStates, at a flip only
//! ```
//! Nothing here is on the way of a query: no thread, no runtime, no lock that answers take.

mod attempt;
mod counters;
mod http;
mod tls;
mod watch;

pub use attempt::Failure;
pub use counters::ProbeCounts;

use crate::snapshot::{HealthStates, Probe};
use attempt::{Attempter, Outcome};
use counters::Counters;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch as latest};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use watch::Watch;

/// Endpoints that are asked at a time at most. Who is due beyond that waits for its turn, which is counted: the interval
/// becomes longer, and nobody is left out.
pub const PROBES_AT_A_TIME_MAX: usize = 1024;
/// Names that are looked up at a time at most; each takes a thread, since the system's way of looking up blocks.
const LOOKUPS_AT_A_TIME_MAX: usize = 16;

/// Whoever asks. It stops with [`Prober::stop`].
pub struct Prober {
    probes: latest::Sender<Arc<[Arc<Probe>]>>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

impl Prober {
    /// Begins to ask, `at_a_time` endpoints at a time. What is seen goes to `health`.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread or what its runtime needs.
    pub fn start(health: HealthStates, probes: Vec<Probe>, at_a_time: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name("lookup")
            .max_blocking_threads(LOOKUPS_AT_A_TIME_MAX)
            .enable_all()
            .build()?;
        let (sender, receiver) = latest::channel(shared(probes));
        let counters = Arc::new(Counters::default());
        let room = Room {
            health,
            counters: Arc::clone(&counters),
            places: Semaphore::new(at_a_time.max(1)),
            attempter: Attempter::new(LOOKUPS_AT_A_TIME_MAX),
            is_short_of_sockets: AtomicBool::new(false),
        };
        let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
            runtime.block_on(watch_all(receiver, Arc::new(room)));
            // A name that is being looked up may block for long, and nobody waits for it any more.
            runtime.shutdown_background();
        })?;
        Ok(Self { probes: sender, counters, thread })
    }

    /// Asks these from now on. What was asked before in the same way goes on as if nothing had happened; what is new, or
    /// asked in another way, is healthy until enough replies say otherwise (R53:dns-failover-determining-health-of-endpoints).
    pub fn replace(&self, probes: Vec<Probe>) {
        self.probes.send_replace(shared(probes));
    }

    /// What has been counted so far.
    pub fn counts(&self) -> ProbeCounts {
        self.counters.values()
    }

    /// Asks no more.
    pub fn stop(self) {
        drop(self.probes);
        // It panics only where watching the watchers does.
        let _ = self.thread.join();
    }
}

fn shared(probes: Vec<Probe>) -> Arc<[Arc<Probe>]> {
    probes.into_iter().map(Arc::new).collect()
}

/// What all tasks share.
struct Room {
    health: HealthStates,
    counters: Arc<Counters>,
    /// Places for [`PROBES_AT_A_TIME_MAX`], or fewer where files are scarce.
    places: Semaphore,
    attempter: Attempter,
    /// Whether the system has refused us a socket, which is said once.
    is_short_of_sockets: AtomicBool,
}

/// An endpoint that is being watched.
struct Watched {
    probe: Arc<Probe>,
    /// What its task makes of it.
    is_healthy: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Watched {
    /// Begins to watch an endpoint, of which nothing is known.
    fn begin(probe: &Arc<Probe>, room: &Arc<Room>, tasks: &mut JoinSet<()>) -> Self {
        let is_healthy = Arc::new(AtomicBool::new(true));
        let task = tasks.spawn(watch_one(Arc::clone(probe), Arc::clone(room), Arc::clone(&is_healthy)));
        Self { probe: Arc::clone(probe), is_healthy, task }
    }
}

/// Keeps a task for each probe of the newest list, until nobody can send another list.
async fn watch_all(mut lists: latest::Receiver<Arc<[Arc<Probe>]>>, room: Arc<Room>) {
    let mut tasks = JoinSet::new();
    let mut watched: HashMap<Box<str>, Watched> = HashMap::new();
    // At the start nothing has been seen that a table may have forgotten.
    let mut is_first = true;
    loop {
        let probes = Arc::clone(&lists.borrow_and_update());
        let wanted: HashMap<&str, &Arc<Probe>> = probes.iter().map(|probe| (&*probe.id, probe)).collect();
        watched.retain(|id, watched| {
            let is_wanted = wanted.get(&**id).is_some_and(|wanted| **wanted == watched.probe);
            if !is_wanted {
                watched.task.abort();
            }
            is_wanted
        });
        for probe in probes.iter() {
            let begin = || Watched::begin(probe, &room, &mut tasks);
            let watched = watched.entry(probe.id.clone()).or_insert_with(begin);
            // Said again, because of two reloads in a row the first may have made the newest table forget it.
            if !is_first {
                room.health.seen(&probe.id, watched.is_healthy.load(Ordering::Relaxed));
            }
        }
        is_first = false;
        // A task ends only when it is aborted, or by a bug: then another one takes its place.
        loop {
            let ended = tokio::select! {
                changed = lists.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(ended) = tasks.join_next_with_id() => ended,
            };
            let Err(error) = ended else { continue };
            if !error.is_panic() {
                continue;
            }
            room.counters.panics.add();
            if let Some(watched) = watched.values_mut().find(|watched| watched.task.id() == error.id()) {
                *watched = Watched::begin(&watched.probe, &room, &mut tasks);
                room.health.seen(&watched.probe.id, true);
            }
        }
    }
}

/// Asks one endpoint whenever it is due.
async fn watch_one(probe: Arc<Probe>, room: Arc<Room>, is_healthy: Arc<AtomicBool>) {
    let began = Instant::now();
    let mut watch = Watch::new(&probe);
    loop {
        sleep_until(began + watch.due()).await;
        let place = match room.places.try_acquire() {
            Ok(place) => Ok(place),
            Err(_) => {
                room.counters.waited.add();
                room.places.acquire().await
            }
        };
        // On the heap while it runs: ten thousand tasks that sleep are small.
        let outcome = Box::pin(room.attempter.attempt(&probe)).await;
        drop(place);
        if let Some(turned) = room.take_up(&probe, &mut watch, &outcome, began.elapsed()) {
            is_healthy.store(turned, Ordering::Relaxed);
        }
    }
}

impl Room {
    /// Takes up how a request ended, a time after its watch began; the new status, where it turns.
    fn take_up(&self, probe: &Probe, watch: &mut Watch, outcome: &Outcome, elapsed: Duration) -> Option<bool> {
        let verdict = match outcome {
            Outcome::Healthy => Some(true),
            Outcome::Unhealthy(_) => Some(false),
            Outcome::NotAsked(_) => None,
        };
        self.count(outcome);
        let healthy = watch.take_up(probe, verdict, elapsed, rand::random())?;
        self.health.seen(&probe.id, healthy);
        match outcome {
            Outcome::Unhealthy(failure) => {
                self.counters.became_unhealthy.add();
                tracing::warn!(health_check = %probe.id, reason = %failure, "an endpoint is unhealthy");
            }
            _ => {
                self.counters.became_healthy.add();
                tracing::info!(health_check = %probe.id, "an endpoint is healthy again");
            }
        }
        Some(healthy)
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Healthy => self.counters.healthy.add(),
            Outcome::Unhealthy(_) => self.counters.unhealthy.add(),
            Outcome::NotAsked(error) => {
                self.counters.not_asked.add();
                if !self.is_short_of_sockets.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "health checks cannot ask, and keep their status: the system has no socket for them, or is slow to look names up");
                }
                return;
            }
        }
        self.is_short_of_sockets.store(false, Ordering::Relaxed);
    }
}
