//! Wiring and life: start, reload, signals.

pub mod admin;
mod cache_file;
mod changes;
pub mod doctor;
mod doors;
mod error;
mod files;
mod last_good;
mod loading;
mod log;
mod memory;
pub mod metrics;
mod open_files;
mod port_holder;
mod query_log;
mod refused_door;
mod run;
mod served;
mod source;
mod summary;
pub mod system_roots;
mod systemd;
mod watch;
mod watchdog;

pub use error::{ReloadError, StartError};
pub use refused_door::RefusedDoor;
pub use run::{Options as RunOptions, run};
pub use source::{BUILT_IN_TEXT, Source};

use admin::AdminError;
use cache_file::CacheFile;
use doors::{DoorChanges, DoorPlaces};
use memory::Room;
use metrics::{Metrics, ReloadResult};
use query_log::QueryLogWriter;

use crate::aws::partition::Partition;
use crate::aws::{Model, RecordSets, RuleAction};
use crate::compile::{self, Contexts};
use crate::config::settings::UpstreamSettings;
use crate::config::{Configuration, Settings};
use crate::dns::cookie::{CookieSecret, CookieSecrets};
use crate::dns::{HashSeed, Name, Target};
use crate::forward::cache::CacheLimits;
use crate::forward::clock::Clock;
use crate::forward::exchange::Options;
use crate::forward::lane::{LaneSetup, LaneThreads, Lanes};
use crate::forward::loops::LoopProbe;
use crate::forward::reply::TtlLimits;
use crate::forward::streams::{StreamSettings, StreamTargets, TlsRoots};
use crate::forward::{ForwardLimits, Forwarder, Millis, Nanos};
use crate::probe::{ProbeCounts, Prober};
use crate::serve::counters::WorkerCounts;
use crate::serve::doors::Doors;
use crate::serve::in_flight::{InFlight, InFlightLimits};
use crate::serve::later::{Waiter, Waiters};
use crate::serve::open_doors::{DoorsWatch, OpenDoors};
use crate::serve::server::Server;
use crate::serve::stream::{StreamLimits, Streams, StreamsWatch};
use crate::serve::stream_answer;
use crate::serve::udp::worker::Workers;
use crate::snapshot::protection::{Protection, Rate, Rates};
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{ForwardContext, Generation, HealthStates, Publisher};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};

/// How long stopping waits for what is in flight.
pub const DRAIN_SECONDS_MAX: u64 = 5;
/// Threads of the runtime of streams; UDP workers and lanes have their own.
pub const RUNTIME_THREADS_MAX: usize = 4;

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What is served now.
    pub generation: Generation,
    /// Doors that were not open before.
    pub doors_opened: usize,
    /// Doors that are not open any more.
    pub doors_closed: usize,
}

/// A daemon that serves.
pub struct Daemon {
    server: Server,
    workers: Workers,
    streams: Streams,
    lanes: LaneThreads<Waiter>,
    streams_to_targets: StreamTargets,
    cache_file: Option<CacheFile>,
    query_log: QueryLogWriter,
    metrics: Metrics,
    prober: Prober,
    runtime: Runtime,
    /// Where the doors are, in the order of the model.
    addresses: Vec<SocketAddr>,
    doors: DoorPlaces,
    settings: Settings,
    contexts: Contexts,
    health: HealthStates,
    seed: HashSeed,
    /// What cookies are made with where the configuration names no secret: the same for as long as the process lives.
    own_secret: CookieSecret,
}

impl Daemon {
    /// Opens all doors or none, and serves.
    pub fn start(configuration: &Configuration) -> Result<Self, StartError> {
        let Configuration { model, settings, door_places, .. } = configuration;
        let worker_count = worker_count(settings);
        let mut contexts = Contexts::default();
        let health = HealthStates::default();
        let seed = HashSeed(rand::random());
        let own_secret = CookieSecret(rand::random());
        let mut snapshot = compile::compile(model, &mut contexts, &health, seed);
        snapshot.protection = protection(settings, own_secret);
        let configured = compile::door_addresses(model);
        let runtime = runtime().map_err(StartError::Runtime)?;
        let Doors { udp, tcp, addresses } = Doors::open(&configured, worker_count)
            .map_err(|errors| StartError::Doors(RefusedDoor::explain(errors, door_places)))?;
        let open_doors = OpenDoors::new(udp, worker_count.get()).map_err(StartError::Runtime)?;
        let limits = &settings.limits;
        let workers = worker_count.get();
        let shares = open_files::shares(settings, configured.len() * (workers + 1), workers);
        let forwarder = Forwarder::new(forward_limits(settings, shares.upstream_sockets));
        let clock = Clock::at(Millis(0));
        let lanes = Lanes::new(&forwarder, worker_count).map_err(StartError::Runtime)?;
        let in_flight = InFlight::new(InFlightLimits {
            total: limits.in_flight,
            per_client: limits.in_flight_per_client,
            per_prefix: limits.in_flight_per_prefix,
        });
        let server = Server::new(Publisher::new(snapshot), forwarder, lanes, in_flight, workers, clock);
        let cache_file = settings.cache.file.as_deref().map(|path| CacheFile::start(path, &server));
        let cache_file = cache_file.transpose().map_err(StartError::Runtime)?;
        let query_log = QueryLogWriter::start(&server, settings).map_err(StartError::Runtime)?;
        let streams_to_targets = streams_to_targets(configuration, runtime.handle())?;
        let setup = LaneSetup { streams: streams_to_targets.clone(), clock };
        let waiters = |lane| Waiters::new(&server, lane, &open_doors);
        let lanes = server.lanes.start(&setup, waiters).map_err(StartError::Runtime)?;
        let streams = {
            let _entered = runtime.enter();
            let limits = StreamLimits {
                connections: limits.tcp_connections,
                connections_per_client: limits.tcp_connections_per_client,
                connections_per_prefix: limits.tcp_connections_per_prefix,
                idle: limits.tcp_idle,
                write: limits.tcp_idle,
            };
            Streams::start(tcp, stream_answer::answer(&server), limits).map_err(StartError::Runtime)?
        };
        let prober =
            Prober::start(health.clone(), compile::probes(model), shares.probes).map_err(StartError::Runtime)?;
        let workers = Workers::start(&server, &open_doors, workers).map_err(StartError::Runtime)?;
        let metrics = Metrics::new(
            &server,
            streams.watch(),
            streams_to_targets.clone(),
            open_doors.watch(),
            cache_file.as_ref().map(CacheFile::failures),
            query_log.counts(),
        );
        Ok(Self {
            server,
            workers,
            streams,
            lanes,
            streams_to_targets,
            cache_file,
            query_log,
            metrics,
            prober,
            runtime,
            doors: DoorPlaces::new(&configured, &addresses, open_doors, worker_count),
            addresses,
            settings: settings.clone(),
            contexts,
            health,
            seed,
            own_secret,
        })
    }

    /// What cannot be opened where operators are to be answered, and the doors that could not be either: all at once.
    fn admin_refused(errors: Vec<AdminError>, configuration: &Configuration) -> StartError {
        let doors = Doors::obstacles(&compile::door_addresses(&configuration.model));
        StartError::Admin(errors, RefusedDoor::explain(doors, &configuration.door_places))
    }

    /// Where the doors are: shared ones, each VPC's plus-two doors, then those of inbound endpoints.
    pub fn door_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What all doors share.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What is known of health checks: a hand may set one there, and answers have it with the next query.
    pub fn health(&self) -> &HealthStates {
        &self.health
    }

    /// What it tells of itself: give `metrics().scrape()` to whoever asks.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves another configuration from the next batch on. What cannot change while running is refused, and then
    /// nothing changes. Zones that it has as they are served are those of the configuration before.
    pub fn reload(&mut self, configuration: &Configuration) -> Result<Reloaded, ReloadError> {
        let reloaded = self.take_up(configuration);
        let result = if reloaded.is_ok() { ReloadResult::Success } else { ReloadResult::Refused };
        self.metrics.count_reload(result);
        reloaded
    }

    fn take_up(&mut self, configuration: &Configuration) -> Result<Reloaded, ReloadError> {
        let Configuration { model, settings, door_places, .. } = configuration;
        if settings.workers != self.settings.workers {
            return Err(ReloadError::Workers);
        }
        if settings.limits != self.settings.limits || settings.cache != self.settings.cache {
            return Err(ReloadError::Limits);
        }
        // Who is asked for the addresses of targets may change like the targets themselves.
        let bootstrap = self.settings.upstream.bootstrap.clone();
        if (UpstreamSettings { bootstrap, ..settings.upstream.clone() }) != self.settings.upstream {
            return Err(ReloadError::Upstream);
        }
        if settings.admin != self.settings.admin {
            return Err(ReloadError::Admin);
        }
        let before = self.server.publisher.current();
        if model.hosted_zones.iter().any(|zone| matches!(zone.record_sets, RecordSets::AsServed)) {
            // Their files were not read, so that nobody has asked yet whether there is room for them.
            let octets = before.snapshot.nodes.octets_after() as u64;
            Room::now().has_another_table(octets).map_err(ReloadError::Memory)?;
        }
        let next = self.doors.prepare(&compile::door_addresses(model), door_places)?;
        self.streams_to_targets.set_bootstrap(model.bootstrap.clone());
        let mut snapshot =
            compile::compile_after(Some(&before.snapshot), model, &mut self.contexts, &self.health, self.seed);
        drop(before);
        snapshot.place_doors(&next.places);
        snapshot.protection = protection(settings, self.own_secret);
        // In this order a query finds its door known, whichever snapshot it is answered from.
        let _entered = self.runtime.enter();
        let places = next.places.clone();
        self.doors.close(&next, &mut self.streams, Duration::from_secs(DRAIN_SECONDS_MAX));
        let generation = self.server.publisher.publish(snapshot);
        self.query_log.take_up(settings);
        // One that has nothing to do holds the snapshot of before until it is woken.
        self.doors.ring();
        // After the new table is there: what is seen of a check that it does not know would be lost.
        self.prober.replace(compile::probes(model));
        let DoorChanges { opened, closed } = self.doors.open(next, &mut self.streams);
        self.take_up_protection(settings);
        self.addresses = places.into_iter().filter_map(|door| self.doors.address(door)).collect();
        Ok(Reloaded { generation, doors_opened: opened, doors_closed: closed })
    }

    /// Opens the query log's file anew: it has been moved.
    pub fn reopen_query_log(&self) {
        self.query_log.reopen();
    }

    /// Says in the log where replies are limited in another way, or cookies made with other secrets; the snapshot has it
    /// already.
    fn take_up_protection(&mut self, settings: &Settings) {
        let Settings { protection, cookies, .. } = settings;
        if self.settings.protection != *protection {
            let (responses_per_second, errors_per_second) =
                (protection.responses_per_second, protection.errors_per_second);
            tracing::info!(responses_per_second, errors_per_second, "[protection] is taken up");
            self.settings.protection = protection.clone();
        }
        if self.settings.cookies != *cookies {
            tracing::info!(enabled = cookies.enabled, secrets = cookies.secrets.len(), "[cookies] is taken up");
            self.settings.cookies = cookies.clone();
        }
    }

    /// What streams do and have counted, to be read while they go on.
    pub fn streams_watch(&self) -> StreamsWatch {
        self.streams.watch()
    }

    /// The doors that are open, to be looked at without keeping them open.
    fn doors_watch(&self) -> DoorsWatch {
        self.doors.watch()
    }

    /// Frees what only those needed who have let go of it meanwhile: old snapshots, closed doors; how many of these are
    /// left. To be called now and then.
    pub fn sweep(&mut self) -> usize {
        self.server.publisher.sweep() + self.doors.sweep(Instant::now())
    }

    /// Asks the targets of each context for names that nobody can know, once each: if somebody asks us for one, there is a
    /// loop, and the log shows its path. The model is the one that is served.
    pub fn probe_loops(&self, model: &Model) {
        let rules: HashMap<&str, &Name> = model.resolver_rules.iter().map(|rule| (&*rule.id, &rule.domain)).collect();
        let probes = |context: &ForwardContext| {
            let (domains, text) = match &context.kind {
                ContextKind::Upstream => (upstream_domains(model), "[upstream]".to_owned()),
                ContextKind::Rule(id) => {
                    (vec![rules.get(&**id).map_or_else(Name::root, |&domain| domain.clone())], id.to_string())
                }
                ContextKind::Delegation { zone, owner } => (vec![owner.clone()], format!("{zone}, NS of {owner}")),
            };
            let (context, group) = (context.id, Arc::clone(&context.group));
            domains.into_iter().map(move |domain| LoopProbe {
                context,
                group: Arc::clone(&group),
                domain,
                text: text.clone(),
            })
        };
        let published = self.server.publisher.current();
        self.server.lanes.probe_loops(published.snapshot.contexts.iter().flat_map(probes));
    }

    /// What has been counted so far, over all workers and streams.
    pub fn counts(&self) -> WorkerCounts {
        self.server.counters.iter().map(crate::serve::counters::WorkerCounters::snapshot).sum()
    }

    /// What health checks have counted so far.
    pub fn probe_counts(&self) -> ProbeCounts {
        self.prober.counts()
    }

    /// Answers what has arrived and what is in flight, for at most [`DRAIN_SECONDS_MAX`], and ends: datagrams and
    /// connections that come from now on are not taken, those that the kernel has are.
    pub fn stop(mut self) {
        let drain = Duration::from_secs(DRAIN_SECONDS_MAX);
        let until = Instant::now() + drain;
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let streams = self.runtime.spawn(self.streams.drain(drain));
        self.workers.stop(Nanos(self.server.precisely().0.saturating_add(drain.as_nanos() as u64)));
        // A panic there is told by the log.
        let _ = self.runtime.block_on(streams);
        let in_flight = self.server.in_flight.clone();
        self.runtime.block_on(async move {
            // Those that are left hold a permit each; the last one to go says so.
            let _ = tokio::time::timeout(left(until), in_flight.none_left()).await;
        });
        self.prober.stop();
        // Who waits even now is told that nothing comes.
        self.lanes.stop();
        if let Some(file) = self.cache_file {
            file.stop();
        }
        self.query_log.stop();
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

/// Where an upstream is probed for loops: at the root, and where the names of services are, since who forwards to us
/// seldom does so for everything. What a rule claims is not the upstream's.
fn upstream_domains(model: &Model) -> Vec<Name> {
    let regions: BTreeSet<&str> = model.vpcs.iter().map(|vpc| &*vpc.region).collect();
    let of_services = regions.into_iter().filter_map(|region| {
        let text = format!("{region}.{}", Partition::of_region(region).dns_suffix);
        Name::from_labels(text.split('.').map(str::as_bytes)).ok()
    });
    let is_upstreams = |domain: &Name| !model.resolver_rules.iter().any(|rule| domain.is_at_or_below(&rule.domain));
    std::iter::once(Name::root()).chain(of_services.filter(is_upstreams)).collect()
}

/// The way to targets over streams; no connection yet.
fn streams_to_targets(configuration: &Configuration, runtime: &Handle) -> Result<StreamTargets, StartError> {
    let named = configuration.settings.upstream.tls_roots.iter().flat_map(|roots| &roots.certificates);
    let roots = TlsRoots::new(system_roots::system_roots(), named.map(|certificate| &**certificate));
    let roots = roots.map_err(StartError::TlsRoots)?;
    let model = &configuration.model;
    let rules = model.resolver_rules.iter().filter_map(|rule| match &rule.action {
        RuleAction::Forward(group) => Some(group),
        RuleAction::System | RuleAction::Delegate => None,
    });
    let is_any_encrypted = rules.chain([&model.upstream]).flat_map(|group| &group.targets).any(Target::is_encrypted);
    if roots.count() == 0 && is_any_encrypted {
        tracing::warn!(
            "this machine has no root certificates, so no certificate of a target is accepted; install ca-certificates, \
             or name a file of them in [upstream] tls_roots"
        );
    }
    let settings = StreamSettings { roots, bootstrap: model.bootstrap.clone() };
    Ok(StreamTargets::new(settings, runtime.clone()))
}

/// What the operator says of replies and cookies, as the query path reads it.
fn protection(settings: &Settings, own_secret: CookieSecret) -> Protection {
    let Settings { protection, cookies, .. } = settings;
    let (first, others) = cookies.secrets.split_first().unwrap_or((&own_secret, &[]));
    let answers = Rate::per_second(protection.responses_per_second);
    let errors = Rate::per_second(protection.errors_per_second);
    let prefixes = (protection.ipv4_prefix, protection.ipv6_prefix);
    let has_limit = answers.is_limit() || errors.is_limit();
    Protection {
        cookies: cookies.enabled.then(|| CookieSecrets::new(*first, others)),
        rates: has_limit.then(|| Rates::new(answers, errors, protection.slip, prefixes, &protection.exempt)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, load};

    /// The domains that the upstream of a configuration is probed at, in presentation form.
    fn probed(text: &str) -> Vec<String> {
        let surroundings = Surroundings {
            read_file: &|path| Err(path.to_owned()),
            system_nameservers: &|| Ok(Vec::new()),
            is_own_address: &|_| false,
        };
        let text = format!("version = 1\n[upstream]\ntargets = [\"192.0.2.1\"]\n{text}");
        let loaded = load("plustwo.toml", &text, &surroundings);
        let configuration = loaded.configuration.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
        upstream_domains(&configuration.model).iter().map(ToString::to_string).collect()
    }

    const VPC: &str = "[[vpc]]\nid = \"vpc-0a\"\nregion = \"ap-northeast-2\"\nlisten = [\"127.0.0.1:5300\"]\n";

    #[test]
    fn an_upstream_is_probed_where_names_of_services_are() {
        let china = VPC.replace("vpc-0a", "vpc-0b").replace("ap-northeast-2", "cn-north-1").replace("5300", "5301");
        let domains = probed(&(VPC.to_owned() + &china));
        assert_eq!(domains, [".", "ap-northeast-2.amazonaws.com.", "cn-north-1.amazonaws.com.cn."]);
    }

    #[test]
    fn what_a_rule_claims_is_not_probed_at_the_upstream() {
        let rule = "[[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"amazonaws.com\"\naction = \"forward\"\n\
                    targets = [\"192.0.2.2\"]\nvpcs = [\"vpc-0a\"]\n";
        assert_eq!(probed(&(VPC.to_owned() + rule)), ["."]);
    }
}
