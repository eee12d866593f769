//! Wiring and life: start, reload, signals.

mod error;
mod log;
mod open_files;
mod run;
mod source;
mod summary;
pub mod system_roots;

pub use error::{ReloadError, StartError};
pub use run::run;
pub use source::{BUILT_IN_TEXT, Source};

use crate::aws::{Model, RuleAction};
use crate::compile::{self, Contexts};
use crate::config::{Configuration, Settings};
use crate::dns::{HashSeed, Name, Target};
use crate::forward::cache::CacheLimits;
use crate::forward::clock::Clock;
use crate::forward::exchange::Options;
use crate::forward::lane::{LaneSetup, LaneThreads, Lanes};
use crate::forward::loops::LoopProbe;
use crate::forward::reply::TtlLimits;
use crate::forward::streams::{StreamSettings, StreamTargets, TlsRoots};
use crate::forward::{ForwardLimits, Forwarder, Millis};
use crate::serve::counters::WorkerCounts;
use crate::serve::doors::Doors;
use crate::serve::in_flight::InFlight;
use crate::serve::later::{Waiter, Waiters};
use crate::serve::server::Server;
use crate::serve::stream::{StreamLimits, Streams};
use crate::serve::stream_answer;
use crate::serve::udp::worker::Workers;
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{ForwardContext, Generation, Publisher, Snapshot};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use system_roots::system_roots;
use tokio::runtime::Runtime;

/// How long stopping waits for what is in flight.
pub const DRAIN_SECONDS_MAX: u64 = 5;
/// Threads of the runtime of streams; UDP workers and lanes have their own.
pub const RUNTIME_THREADS_MAX: usize = 4;

/// A daemon that serves.
pub struct Daemon {
    server: Server,
    workers: Workers,
    streams: Option<Streams>,
    lanes: LaneThreads<Waiter>,
    /// The way to targets over streams.
    targets: StreamTargets,
    runtime: Runtime,
    /// Where the doors are, in the order of the snapshot's.
    addresses: Vec<SocketAddr>,
    /// Where they were to be: a reload may not change it.
    configured: Vec<SocketAddr>,
    settings: Settings,
    contexts: Contexts,
    seed: HashSeed,
}

impl Daemon {
    /// Opens all doors or none, and serves.
    pub fn start(configuration: &Configuration) -> Result<Self, StartError> {
        let Configuration { model, settings } = configuration;
        let worker_count = worker_count(settings);
        let mut contexts = Contexts::default();
        let seed = HashSeed(rand::random());
        let snapshot = compile::compile(model, &mut contexts, seed);
        let configured = compile::door_addresses(model);
        let runtime = runtime().map_err(StartError::Runtime)?;
        let doors = Doors::open(&configured, worker_count).map_err(StartError::Doors)?;
        let limits = &settings.limits;
        let workers = worker_count.get();
        let sockets_max = open_files::upstream_sockets(settings, configured.len() * (workers + 1), workers);
        let forwarder = Forwarder::new(forward_limits(settings, sockets_max));
        let clock = Clock::at(Millis(0));
        let lanes = Lanes::new(&forwarder, worker_count).map_err(StartError::Runtime)?;
        let in_flight = InFlight::new(limits.in_flight, limits.in_flight_per_client);
        let server = Server::new(Publisher::new(snapshot), forwarder, lanes, in_flight, workers, clock);
        let streams = StreamSettings { roots: tls_roots(configuration)?, bootstrap: model.bootstrap.clone() };
        let targets = StreamTargets::new(streams, runtime.handle().clone());
        let setup = LaneSetup { streams: targets.clone(), clock };
        let waiters = |lane| Waiters::new(&server, lane, &doors.udp);
        let lanes = server.lanes.start(&setup, waiters).map_err(StartError::Runtime)?;
        let streams = {
            let _entered = runtime.enter();
            let limits = StreamLimits {
                connections: limits.tcp_connections,
                connections_per_client: limits.tcp_connections_per_client,
                idle: limits.tcp_idle,
                write: limits.tcp_idle,
            };
            Streams::start(doors.tcp, stream_answer::answer(&server), limits).map_err(StartError::Runtime)?
        };
        let workers = Workers::start(&server, &doors.udp, workers).map_err(StartError::Runtime)?;
        server.lanes.probe_loops(loop_probes(model, &server.publisher.current().snapshot));
        Ok(Self {
            server,
            workers,
            streams: Some(streams),
            lanes,
            targets,
            runtime,
            addresses: doors.addresses,
            configured,
            settings: settings.clone(),
            contexts,
            seed,
        })
    }

    /// Where the doors are: shared ones, each VPC's plus-two doors, then those of inbound endpoints.
    pub fn door_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What all doors share.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Serves another configuration from the next batch on. What cannot change while running is refused, and then
    /// nothing changes.
    pub fn reload(&mut self, configuration: &Configuration) -> Result<Generation, ReloadError> {
        let Configuration { model, settings } = configuration;
        if compile::door_addresses(model) != self.configured {
            return Err(ReloadError::Doors);
        }
        if settings.workers != self.settings.workers {
            return Err(ReloadError::Workers);
        }
        if settings.limits != self.settings.limits || settings.cache != self.settings.cache {
            return Err(ReloadError::Limits);
        }
        if settings.upstream != self.settings.upstream {
            return Err(ReloadError::Upstream);
        }
        let snapshot = compile::compile(model, &mut self.contexts, self.seed);
        let generation = self.server.publisher.publish(snapshot);
        self.targets.set_bootstrap(model.bootstrap.clone());
        self.server.lanes.probe_loops(loop_probes(model, &self.server.publisher.current().snapshot));
        Ok(generation)
    }

    /// What has been counted so far, over all workers and streams.
    pub fn counts(&self) -> WorkerCounts {
        self.server.counters.iter().map(crate::serve::counters::WorkerCounters::snapshot).sum()
    }

    /// Answers what has arrived and what is in flight, for at most [`DRAIN_SECONDS_MAX`], and ends.
    pub fn stop(mut self) {
        let until = Instant::now() + Duration::from_secs(DRAIN_SECONDS_MAX);
        self.workers.stop();
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        if let Some(streams) = self.streams.take() {
            self.runtime.block_on(streams.drain(left(until)));
        }
        let in_flight = self.server.in_flight.clone();
        self.runtime.block_on(async move {
            // Those that are left hold a permit each; the last one to go says so.
            let _ = tokio::time::timeout(left(until), in_flight.none_left()).await;
        });
        // Who waits even now is told that nothing comes.
        self.lanes.stop();
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

/// Every context with the name that it is probed below for loops, and what the operator calls it.
fn loop_probes(model: &Model, snapshot: &Snapshot) -> Vec<LoopProbe> {
    let domains: HashMap<&str, &Name> = model.resolver_rules.iter().map(|rule| (&*rule.id, &rule.domain)).collect();
    let probe = |context: &ForwardContext| {
        let (domain, text) = match &context.kind {
            ContextKind::Upstream => (Name::root(), "[upstream]".to_owned()),
            ContextKind::Rule(id) => {
                (domains.get(&**id).map_or_else(Name::root, |name| (*name).clone()), id.to_string())
            }
        };
        LoopProbe { context: context.id, group: Arc::clone(&context.group), domain, text }
    };
    snapshot.contexts.iter().map(probe).collect()
}

/// Who may sign the certificates of encrypted targets: the system's roots, and those that the configuration names. The
/// system's are only read where there is a target that needs them.
fn tls_roots(configuration: &Configuration) -> Result<TlsRoots, StartError> {
    let Configuration { model, settings } = configuration;
    let rules = model.resolver_rules.iter().filter_map(|rule| match &rule.action {
        RuleAction::Forward(group) => Some(group),
        RuleAction::System => None,
    });
    let is_needed = rules.chain([&model.upstream]).flat_map(|group| &group.targets).any(Target::is_encrypted);
    let system = if is_needed { system_roots() } else { Vec::new() };
    let named = settings.upstream.tls_roots.as_ref();
    let certificates = named.iter().flat_map(|roots| roots.certificates.iter().map(|certificate| &**certificate));
    let roots = TlsRoots::new(system, certificates).map_err(|error| StartError::TlsRoots {
        file: named.map_or_else(Box::default, |named| named.file.clone()),
        error,
    })?;
    if is_needed && roots.count() == 0 {
        tracing::warn!(
            "no certificate authority is known, so that no encrypted target can be trusted; install ca-certificates, or \
             name a file in [upstream] tls_roots"
        );
    }
    Ok(roots)
}

/// The runtime of streams, those of clients and those to targets.
fn runtime() -> std::io::Result<Runtime> {
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cpus.min(RUNTIME_THREADS_MAX))
        .thread_name("stream")
        .enable_all()
        .build()
}

/// UDP workers: as configured, or one a CPU.
fn worker_count(settings: &Settings) -> NonZeroUsize {
    NonZeroUsize::new(settings.workers)
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

/// What forwarding may take, and how it asks.
fn forward_limits(settings: &Settings, sockets_max: usize) -> ForwardLimits {
    let Settings { cache, limits, upstream, .. } = settings;
    ForwardLimits {
        cache: CacheLimits {
            octets_max: usize::try_from(cache.max_memory_octets).unwrap_or(usize::MAX),
            ttls: TtlLimits {
                ttl_max: cache.max_ttl,
                negative_ttl_max: cache.negative_max_ttl,
                failure_ttl: cache.failure_ttl,
            },
            stale_seconds: u32::try_from(cache.serve_stale.as_secs()).unwrap_or(u32::MAX),
            prefetch: cache.prefetch,
        },
        in_flight_max: limits.in_flight,
        in_flight_per_target_max: u32::try_from(limits.in_flight_per_target).unwrap_or(u32::MAX),
        sockets_max,
        options: Options {
            case_randomization: upstream.case_randomization,
            cookies: upstream.cookies,
            ..Options::default()
        },
    }
}
