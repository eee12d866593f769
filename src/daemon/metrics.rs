//! What the daemon tells of itself, for Prometheus: collected when it is asked for, from counters that each worker keeps
//! for itself. The query path knows nothing of it.
//!
//! Every label has a bound: what the code names (sources, rcodes, reasons), doors, VPCs and targets of the configuration
//! up to a number, the rest as `other`. Never a name that was asked for, never a client.

mod family;
mod process;
mod scrape;

pub use family::{FAMILIES, Family, Kind};

use super::query_log::{LogCounts, Loss};
use super::watchdog::WatchdogCounts;
use crate::dns::cookie::CookieStanding;
use crate::forward::pool::{Condition, TargetReport};
use crate::forward::streams::StreamTargets;
use crate::serve::counters::{BOUNDS, Counter, RCODES, ReplySource, WorkerCounters, WorkerCounts, bound_nanos};
use crate::serve::open_doors::DoorsWatch;
use crate::serve::refusal::Refusal;
use crate::serve::server::Server;
use crate::serve::stream::StreamsWatch;
use crate::snapshot::{DOORS_COUNTED_APART, DoorIndex, DoorKind, Ingress, Snapshot, VPCS_COUNTED_APART, ZoneKind};
use crate::udp::sys::receive_drops;
use family::*;
use process::Process;
use scrape::{Scrape, Times};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Targets that are told of by themselves; the rest is told of together.
pub const TARGETS_APART: usize = 256;

/// The value of a label for all that have none of their own.
const OTHER: &str = "other";

/// Where a scrape comes from. Clones are the same; it may outlive the daemon.
#[derive(Clone)]
pub struct Metrics(Arc<Watched>);

/// What is looked at.
struct Watched {
    server: Server,
    streams: StreamsWatch,
    streams_to_targets: StreamTargets,
    /// The sockets of each door. A door that is closed must not stay open for us.
    doors: DoorsWatch,
    logs: Arc<LogCounts>,
    watchdog: Arc<WatchdogCounts>,
    reloads: [AtomicU64; ReloadResult::NAMED.len()],
    last_reload: AtomicU64,
    /// When the snapshot was published, in nanoseconds on the server's clock.
    published_at: AtomicU64,
    /// How often the saved cache could not be written; none: there is none.
    cache_file_failures: Option<Failures>,
    /// The same of the last good configuration, once somebody keeps it.
    last_good_failures: OnceLock<Failures>,
}

/// How often something failed: counted by whoever tries, read by whoever is asked.
pub(super) type Failures = Arc<AtomicU64>;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// The new configuration is served.
    Success,
    /// The configuration has errors; the old one is served on.
    Broken,
    /// It changes what cannot change while running; the old one is served on.
    Refused,
}

impl ReloadResult {
    /// Each with its name in metrics, in their order.
    const NAMED: [(Self, &'static str); 3] =
        [(Self::Success, "success"), (Self::Broken, "broken"), (Self::Refused, "refused")];
}

impl Metrics {
    /// Looks at these from now on.
    pub(super) fn new(
        server: &Server,
        streams: StreamsWatch,
        streams_to_targets: StreamTargets,
        doors: DoorsWatch,
        cache_file_failures: Option<Failures>,
        logs: Arc<LogCounts>,
    ) -> Self {
        Self(Arc::new(Watched {
            server: server.clone(),
            streams,
            streams_to_targets,
            doors,
            logs,
            watchdog: Arc::default(),
            reloads: Default::default(),
            last_reload: AtomicU64::new(ReloadResult::Success as u64),
            published_at: AtomicU64::new(server.precisely().0),
            cache_file_failures,
            last_good_failures: OnceLock::new(),
        }))
    }

    /// Tells also how often the last good configuration could not be kept.
    pub(super) fn watch_last_good(&self, failures: Failures) {
        // There is one that keeps it.
        let _ = self.0.last_good_failures.set(failures);
    }

    /// What the watchdog counts.
    pub(super) fn watchdog(&self) -> &Arc<WatchdogCounts> {
        &self.0.watchdog
    }

    /// Counts a reload. Where it was taken up, the generation's age begins anew.
    pub fn count_reload(&self, result: ReloadResult) {
        let Watched { server, reloads, last_reload, published_at, .. } = &*self.0;
        reloads[result as usize].fetch_add(1, Ordering::Relaxed);
        last_reload.store(result as u64, Ordering::Relaxed);
        if result == ReloadResult::Success {
            published_at.store(server.precisely().0, Ordering::Relaxed);
        }
    }

    /// What there is to tell now, in Prometheus' text format (version 0.0.4).
    pub fn scrape(&self) -> String {
        let watched = &*self.0;
        let published = watched.server.publisher.current();
        let snapshot = &published.snapshot;
        let mut scrape = Scrape::new();
        let out = &mut scrape;
        out.count(BUILD, &[env!("CARGO_PKG_VERSION")], 1);
        watched.queries(out, snapshot);
        watched.replies(out, snapshot);
        watched.tcp(out);
        watched.forwarding(out);
        watched.targets(out, snapshot);
        watched.logs(out);
        watched.reloads(out, published.generation.0);
        watched.life(out);
        sizes(out, snapshot);
        process(out, &Process::read());
        scrape.text()
    }
}

impl Watched {
    /// What clients asked, by door and view.
    fn queries(&self, out: &mut Scrape, snapshot: &Snapshot) {
        let shared = std::slice::from_ref(self.server.shared_counters());
        let transports: [(&str, &[WorkerCounters]); 2] = [("udp", self.server.udp_counters()), ("tcp", shared)];
        for (transport, counters) in transports {
            let sum = |of: &dyn Fn(&WorkerCounters) -> &Counter| counters.iter().map(|own| of(own).get()).sum::<u64>();
            let mut told = BTreeSet::new();
            for door in snapshot.doors.iter().flatten().filter(|door| door.slot.is_of_one() && told.insert(door.slot.0))
            {
                let queries = sum(&|own| own.door(door.slot));
                out.counter(QUERIES, &[&door.address.to_string(), transport], queries);
            }
            if snapshot.doors.iter().flatten().any(|door| !door.slot.is_of_one()) {
                let queries = sum(&|own| own.doors.at(usize::from(DOORS_COUNTED_APART)));
                out.counter(QUERIES, &[OTHER, transport], queries);
            }
            let (has_door, mut told) = (slots_with_doors(snapshot), BTreeSet::new());
            // A VPC may have several views that are counted as one.
            for view in snapshot.views.iter().filter(|view| view.slot.is_of_one() && told.insert(view.slot.0)) {
                let queries = sum(&|own| own.view(view.slot));
                if queries > 0 || has_door.contains(&view.slot.0) {
                    out.counter(VIEW_QUERIES, &[&view.vpc, ingress_text(view.ingress), transport], queries);
                }
            }
            if snapshot.views.iter().any(|view| !view.slot.is_of_one()) {
                for ingress in [Ingress::Inside, Ingress::ViaInbound] {
                    let at = 2 * usize::from(VPCS_COUNTED_APART) + usize::from(ingress == Ingress::ViaInbound);
                    let queries = sum(&|own| own.views.at(at));
                    out.counter(VIEW_QUERIES, &[OTHER, ingress_text(ingress), transport], queries);
                }
            }
        }
    }

    /// What clients were told, how fast, and what was dropped.
    fn replies(&self, out: &mut Scrape, snapshot: &Snapshot) {
        let all = &self.server.counters;
        for (source, source_name) in ReplySource::NAMED {
            for (index, rcode) in RCODES.into_iter().enumerate() {
                let replies = all.iter().map(|own| own.replies.by_rcode(source)[index].get()).sum();
                out.counter(REPLIES, &[source_name, rcode], replies);
            }
            let in_bucket =
                |bucket: usize| -> u64 { all.iter().map(|own| own.latencies.of(source).buckets()[bucket].get()).sum() };
            let times = Times {
                buckets: (0..BOUNDS).map(|bucket| (bound_nanos(bucket), in_bucket(bucket))).collect(),
                beyond: in_bucket(BOUNDS),
                nanos: all.iter().map(|own| own.latencies.of(source).nanos()).sum(),
            };
            out.histogram(LATENCY, source_name, &times);
        }
        for (refusal, name) in Refusal::NAMED {
            out.counter(REFUSALS, &[name], all.iter().map(|own| own.replies.refused(refusal)).sum());
        }
        let counts: WorkerCounts = all.iter().map(WorkerCounters::snapshot).sum();
        out.counter(TRUNCATED, &[], counts.truncated);
        out.counter(DROPPED, &["no_reply_owed"], counts.silent);
        out.counter(DROPPED, &["send_failed"], counts.send_failed);
        out.counter(DROPPED, &["panic"], counts.panicked);
        out.counter(DROPPED, &["rate_limited"], counts.answers_rate_limited);
        out.counter(DROPPED, &["errors_rate_limited"], counts.errors_rate_limited);
        out.counter(RECEIVE_ERRORS, &[], counts.receive_failed);
        out.counter(BATCHES, &[], counts.batches);
        out.counter(LIMITS, &["in_flight"], counts.in_flight_limit);
        let reached = self.server.in_flight.reached();
        out.counter(LIMITS, &["in_flight_per_client"], reached.per_client);
        out.counter(LIMITS, &["in_flight_per_prefix"], reached.per_prefix);
        let slipped = [Refusal::RateLimited, Refusal::BadCookie];
        let slipped: u64 = all.iter().flat_map(|own| slipped.map(|refusal| own.replies.refused(refusal))).sum();
        out.counter(LIMITS, &["responses_per_second"], counts.answers_rate_limited + slipped);
        out.counter(LIMITS, &["errors_per_second"], counts.errors_rate_limited);
        out.counter(LIMITS, &["amplification"], counts.amplification_limit);
        for (standing, name) in CookieStanding::NAMED {
            out.counter(COOKIES, &[name], all.iter().map(|own| own.cookie(standing).get()).sum());
        }
        out.counter(CACHE_HITS, &[], counts.cache_hits);
        out.counter(CACHE_MISSES, &[], counts.cache_misses);
        for (index, door) in (0..).map(DoorIndex).zip(&snapshot.doors) {
            let Some((door, sockets)) = door.as_ref().zip(self.doors.sockets(index)) else { continue };
            let drops = sockets.iter().map(|socket| receive_drops(&**socket));
            // A system that does not tell must not look like one without drops.
            let Ok(drops) = drops.collect::<Result<Vec<u32>, _>>() else { continue };
            let address = door.address.to_string();
            let label = if door.slot.is_of_one() { &*address } else { OTHER };
            out.counter(RECEIVE_DROPS, &[label], drops.into_iter().map(u64::from).sum());
        }
    }

    /// The connections of clients.
    fn tcp(&self, out: &mut Scrape) {
        let counts = self.streams.counts();
        out.count(TCP_OPEN, &[], self.streams.open());
        out.count(TCP_MAX, &[], self.streams.max());
        out.counter(TCP_ACCEPTED, &[], counts.accepted);
        out.counter(LIMITS, &["tcp_connections"], counts.refused + counts.evicted);
        let reached = self.streams.reached();
        out.counter(LIMITS, &["tcp_connections_per_client"], reached.per_client);
        out.counter(LIMITS, &["tcp_connections_per_prefix"], reached.per_prefix);
        for (reason, number) in [
            ("refused", counts.refused),
            ("evicted", counts.evicted),
            ("idle", counts.idle),
            ("message_timed_out", counts.message_timed_out),
            ("write_timed_out", counts.write_timed_out),
            ("broken", counts.broken),
            ("malformed", counts.malformed),
            ("cut", counts.cut),
        ] {
            out.counter(TCP_CLOSED, &[reason], number);
        }
        out.counter(TCP_ACCEPT_ERRORS, &["failed"], counts.accept_errors);
        out.counter(TCP_ACCEPT_ERRORS, &["exhausted"], counts.exhausted);
    }

    /// The cache, and what was asked of others in all.
    fn forwarding(&self, out: &mut Scrape) {
        let Self { server, streams_to_targets, .. } = self;
        let forwarder = &server.forwarder;
        let cache = forwarder.cache();
        out.count(CACHE_ENTRIES, &[], cache.len());
        out.gauge(CACHE_BYTES, &[], cache.octets() as f64);
        out.count(CACHE_MAX_BYTES, &[], cache.octets_max());
        out.counter(CACHE_EVICTIONS, &[], cache.evicted());
        out.count(IN_FLIGHT, &[], server.in_flight.total());
        out.count(IN_FLIGHT_MAX, &[], server.in_flight.max());
        out.count(UPSTREAM_IN_FLIGHT, &[], forwarder.in_flight());
        out.count(UPSTREAM_SOCKETS, &[], forwarder.sockets());
        let counts = forwarder.counters();
        out.counter(EXCHANGES, &[], counts.exchanges);
        out.counter(EXCHANGE_FAILURES, &[], counts.failed);
        out.counter(COALESCED, &[], counts.coalesced);
        out.counter(SENT, &["udp"], counts.sent_udp);
        out.counter(SENT, &["stream"], counts.sent_stream);
        for (limit, number) in [
            ("upstream_in_flight", counts.in_flight_limit),
            ("in_flight_per_target", counts.target_busy),
            ("waiters_of_a_question", counts.waiters_limit),
            ("upstream_sockets", counts.socket_limit),
        ] {
            out.counter(LIMITS, &[limit], number);
        }
        for (event, number) in [
            ("late_reply", counts.late),
            ("mismatched_reply", counts.mismatched),
            ("malformed_reply", counts.malformed),
            ("truncated_reply", counts.truncated),
            ("failing_rcode", counts.failing_rcodes),
            ("referral", counts.referrals),
            ("bad_cookie", counts.bad_cookies),
            ("suspicious_reply", counts.suspicious),
            ("silent", counts.silent),
            ("unreachable", counts.unreachable),
            ("told_stale", counts.told_stale),
            ("told_late", counts.told_late),
            ("socket_opened", counts.sockets_opened),
            ("socket_refused", counts.no_socket),
            ("socket_suspected", counts.sockets_suspected),
            ("send_buffer_full", counts.send_full),
            ("wait_failed", counts.wait_failed),
            ("loop", counts.loops),
            ("panic", counts.panics),
        ] {
            out.counter(UPSTREAM_EVENTS, &[event], number);
        }
        let counts = streams_to_targets.counters();
        out.counter(LIMITS, &["upstream_streams"], counts.busy);
        for (event, number) in [
            ("opened", counts.opened),
            ("reused", counts.reused),
            ("asked_again", counts.asked_again),
            ("open_failed", counts.failed),
            ("certificate_refused", counts.certificates),
            ("timed_out", counts.timed_out),
            ("stray_message", counts.strays),
        ] {
            out.counter(UPSTREAM_STREAMS, &[event], number);
        }
    }

    /// What is known of each target that is configured.
    fn targets(&self, out: &mut Scrape, snapshot: &Snapshot) {
        let reports = self.server.forwarder.target_reports();
        let known: HashMap<&str, &TargetReport> = reports.iter().map(|report| (&*report.target, report)).collect();
        let mut told = BTreeSet::new();
        for target in snapshot.contexts.iter().flat_map(|context| &context.group.targets) {
            let text = target.to_string();
            if told.contains(&text) {
                continue;
            }
            let report = known.get(&*text).copied();
            let label = if told.len() < TARGETS_APART { &*text } else { OTHER };
            out.counter(TARGET_REPLIES, &[label], report.map_or(0, |report| report.answered));
            out.counter(TARGET_FAILURES, &[label], report.map_or(0, |report| report.failed));
            // Of several together neither of these would mean anything.
            if label != OTHER {
                out.count(TARGET_IN_FLIGHT, &[label], report.map_or(0, |report| report.in_flight as usize));
                if let Some(millis) = report.and_then(|report| report.round_trip_millis) {
                    out.gauge(TARGET_RTT, &[label], f64::from(millis) / 1000.0);
                }
                let is_in = report.map_or("fresh", |report| condition_text(report.condition));
                for state in ["fresh", "good", "suspect", "away"] {
                    out.count(TARGET_STATE, &[label, state], usize::from(state == is_in));
                }
            }
            told.insert(text);
        }
    }

    /// The logs of queries.
    fn logs(&self, out: &mut Scrape) {
        let LogCounts { query_log, dnstap } = &*self.logs;
        for (log, counts) in [("query_log", query_log), ("dnstap", dnstap)] {
            out.counter(LOG_WRITTEN, &[log], counts.written());
            out.counter(LOG_BYTES, &[log], counts.octets());
            for (why, reason) in Loss::NAMED {
                out.counter(LOG_LOST, &[log, reason], counts.lost_because(why));
            }
            if let Some(is_up) = counts.is_up() {
                out.count(LOG_UP, &[log], usize::from(is_up));
            }
        }
        // Before it is told apart for which of them it is.
        out.counter(LOG_LOST, &["all", "buffer_full"], self.server.query_log.lost());
    }

    /// What the watchdog saw.
    fn life(&self, out: &mut Scrape) {
        for (transport, result, number) in self.watchdog.queries() {
            out.counter(WATCHDOG_QUERIES, &[transport, result], number);
        }
        for (result, number) in self.watchdog.rounds() {
            out.counter(WATCHDOG_ROUNDS, &[result], number);
        }
    }

    /// What is served since when.
    fn reloads(&self, out: &mut Scrape, generation: u64) {
        for (result, name) in ReloadResult::NAMED {
            out.counter(RELOADS, &[name], self.reloads[result as usize].load(Ordering::Relaxed));
        }
        let was_taken_up = self.last_reload.load(Ordering::Relaxed) == ReloadResult::Success as u64;
        out.count(LAST_RELOAD_SUCCESSFUL, &[], usize::from(was_taken_up));
        out.gauge(GENERATION, &[], generation as f64);
        let age = self.server.precisely().0.saturating_sub(self.published_at.load(Ordering::Relaxed));
        out.gauge(GENERATION_AGE, &[], age as f64 / 1e9);
        let written = [("cache", self.cache_file_failures.as_ref()), ("last_good", self.last_good_failures.get())];
        for (file, failures) in written {
            out.counter(STATE_WRITE_FAILURES, &[file], failures.map_or(0, |failures| failures.load(Ordering::Relaxed)));
        }
    }
}

/// How much is served.
fn sizes(out: &mut Scrape, snapshot: &Snapshot) {
    out.count(SNAPSHOT_NAMES, &[], snapshot.nodes.len());
    for (kind, name) in [
        (ZoneKind::HostedZone, "hosted_zone"),
        (ZoneKind::PrivateName, "private_name"),
        (ZoneKind::EndpointName, "endpoint_name"),
        (ZoneKind::BuiltIn, "built_in"),
        (ZoneKind::Autodefined, "autodefined"),
    ] {
        out.count(SNAPSHOT_ZONES, &[name], snapshot.zones.iter().filter(|zone| zone.kind == kind).count());
    }
    out.count(SNAPSHOT_ENDPOINTS, &[], snapshot.sizes.endpoints);
    out.count(SNAPSHOT_RULES, &[], snapshot.sizes.rules);
    out.count(SNAPSHOT_VPCS, &[], snapshot.sizes.vpcs);
    out.count(SNAPSHOT_VIEWS, &[], snapshot.views.len());
    out.count(SNAPSHOT_DOORS, &[], snapshot.doors.iter().flatten().count());
    out.count(SNAPSHOT_BYTES, &[], snapshot.octets());
}

/// What the kernel knows of us.
fn process(out: &mut Scrape, process: &Process) {
    if let Some(seconds) = process.cpu_seconds {
        out.seconds(PROCESS_CPU, seconds);
    }
    for (family, figure) in [
        (PROCESS_RESIDENT, process.resident_octets),
        (PROCESS_VIRTUAL, process.virtual_octets),
        (PROCESS_FDS, process.files),
        (PROCESS_FDS_MAX, process.files_max),
    ] {
        if let Some(figure) = figure {
            out.gauge(family, &[], figure as f64);
        }
    }
    if let Some(started) = process.started {
        out.gauge(PROCESS_START, &[], started);
    }
}

/// The slots of views that a door leads to, whoever asks there.
fn slots_with_doors(snapshot: &Snapshot) -> BTreeSet<u16> {
    let views = snapshot.doors.iter().flatten().filter_map(|door| match door.kind {
        // Views of one VPC from inside share a slot.
        DoorKind::View(view) | DoorKind::BySubnet { otherwise: view } => Some(view),
        DoorKind::Shared { default } => default,
    });
    views.map(|view| snapshot.view(view).slot.0).collect()
}

/// How queries come in, in a word.
pub(super) fn ingress_text(ingress: Ingress) -> &'static str {
    match ingress {
        Ingress::Inside => "inside",
        Ingress::ViaInbound => "inbound",
    }
}

/// How a target does, in a word.
fn condition_text(condition: Condition) -> &'static str {
    match condition {
        Condition::Fresh => "fresh",
        Condition::Good => "good",
        Condition::Suspect(_) => "suspect",
        Condition::Away(_) => "away",
    }
}
