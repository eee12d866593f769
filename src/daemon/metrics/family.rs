//! The list of all metrics: each family's name, kind, labels and meaning. `docs/metrics.md` says more of each.

/// One metric with all its labels' values.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number that only grows.
    Counter,
    /// The same, but not whole: seconds.
    SecondsCounter,
    /// A number that comes and goes.
    Gauge,
    /// Numbers of things up to each of some bounds.
    Histogram,
}

impl Kind {
    /// Its name in a scrape.
    pub fn text(self) -> &'static str {
        match self {
            Self::Counter | Self::SecondsCounter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares the families, and the list of them.
macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: &Family =
            &Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All metrics there are.
        pub const FAMILIES: &[&Family] = &[$($id),*];
    };
}

families! {
    BUILD = Gauge "plustwo_build_info" ["version"] "Always 1; the version is in the label.";

    QUERIES = Counter "plustwo_queries_total" ["door", "transport"] "Queries received, malformed ones included.";
    VIEW_QUERIES = Counter "plustwo_view_queries_total" ["vpc", "ingress", "transport"]
        "Queries that belong to a VPC, by how they came in.";
    REPLIES = Counter "plustwo_replies_total" ["source", "rcode"] "Replies, by where they came from and their rcode.";
    REFUSALS = Counter "plustwo_refusals_total" ["reason"] "Replies that refuse, by reason.";
    TRUNCATED = Counter "plustwo_truncated_replies_total" [] "Replies that did not fit and carry TC.";
    DROPPED = Counter "plustwo_dropped_total" ["reason"] "Queries that got no reply, by reason.";
    RECEIVE_DROPS = Counter "plustwo_receive_buffer_drops_total" ["door"]
        "Datagrams that the kernel dropped because the receive buffers of a door were full.";
    COOKIES = Counter "plustwo_query_cookies_total" ["standing"]
        "Queries with a DNS cookie, by what the server cookie in it is worth.";
    RECEIVE_ERRORS = Counter "plustwo_receive_errors_total" []
        "Times that the system refused the UDP workers to receive, or to wait for it.";
    LATENCY = Histogram "plustwo_reply_latency_seconds" ["source"]
        "From the system's handing over a query to its taking the reply, by where the reply came from.";
    BATCHES = Counter "plustwo_udp_batches_total" [] "Batches of datagrams that the UDP workers received.";
    LIMITS = Counter "plustwo_limits_reached_total" ["limit"] "Times that a limit was reached, by limit.";

    TCP_OPEN = Gauge "plustwo_tcp_connections_open" [] "TCP connections of clients that are open.";
    TCP_MAX = Gauge "plustwo_tcp_connections_open_max" [] "TCP connections of clients that may be open.";
    TCP_ACCEPTED = Counter "plustwo_tcp_connections_accepted_total" [] "TCP connections of clients taken in.";
    TCP_CLOSED = Counter "plustwo_tcp_connections_closed_total" ["reason"]
        "TCP connections of clients that we closed or that broke, by reason.";
    TCP_ACCEPT_ERRORS = Counter "plustwo_tcp_accept_errors_total" ["reason"] "Errors of taking in TCP connections.";

    CACHE_ENTRIES = Gauge "plustwo_cache_entries" [] "Replies and failures in the cache.";
    CACHE_BYTES = Gauge "plustwo_cache_bytes" [] "Octets that the cache holds.";
    CACHE_MAX_BYTES = Gauge "plustwo_cache_max_bytes" [] "Octets that the cache may hold.";
    CACHE_HITS = Counter "plustwo_cache_hits_total" [] "Forwarded questions answered from the cache, in their lifetime.";
    CACHE_MISSES = Counter "plustwo_cache_misses_total" [] "Forwarded questions that were not in the cache.";
    CACHE_EVICTIONS = Counter "plustwo_cache_evictions_total" [] "Entries that left the cache to make room.";

    IN_FLIGHT = Gauge "plustwo_in_flight_queries" [] "Queries of clients that wait for an upstream.";
    IN_FLIGHT_MAX = Gauge "plustwo_in_flight_queries_max" [] "Queries of clients that may wait for an upstream.";
    UPSTREAM_IN_FLIGHT = Gauge "plustwo_upstream_in_flight_questions" [] "Questions that are being asked of upstreams.";
    UPSTREAM_SOCKETS = Gauge "plustwo_upstream_sockets_open" [] "UDP sockets to upstreams that are open.";
    EXCHANGES = Counter "plustwo_upstream_exchanges_total" [] "Questions asked of upstreams, however many packets each took.";
    EXCHANGE_FAILURES = Counter "plustwo_upstream_exchange_failures_total" []
        "Questions asked of upstreams that ended without a reply to pass on.";
    COALESCED = Counter "plustwo_upstream_coalesced_total" []
        "Questions that waited for one that was already being asked.";
    SENT = Counter "plustwo_upstream_queries_sent_total" ["transport"] "Queries sent to upstreams.";
    UPSTREAM_EVENTS = Counter "plustwo_upstream_events_total" ["event"]
        "What happened while asking upstreams, by event.";
    UPSTREAM_STREAMS = Counter "plustwo_upstream_stream_events_total" ["event"]
        "What happened on streams to upstreams (TCP, TLS, HTTPS, QUIC), by event.";
    TARGET_RTT = Gauge "plustwo_upstream_rtt_seconds" ["target"] "Smoothed round-trip time of an upstream target.";
    TARGET_REPLIES = Counter "plustwo_upstream_replies_total" ["target"] "Replies of an upstream target.";
    TARGET_FAILURES = Counter "plustwo_upstream_failures_total" ["target"]
        "Times that an upstream target was silent or refused us.";
    TARGET_IN_FLIGHT = Gauge "plustwo_upstream_target_in_flight_queries" ["target"]
        "Queries that wait for a reply of an upstream target.";
    TARGET_STATE = Gauge "plustwo_upstream_state" ["target", "state"]
        "1 for the state that an upstream target is in, 0 for the others.";

    LOG_WRITTEN = Counter "plustwo_query_log_records_total" ["log"]
        "Lines of the query log and frames of dnstap that were written.";
    LOG_BYTES = Counter "plustwo_query_log_bytes_total" ["log"] "Their octets.";
    LOG_LOST = Counter "plustwo_query_log_lost_total" ["log", "reason"]
        "Lines and frames that were lost, by reason; those lost before they were told apart under all.";
    LOG_UP = Gauge "plustwo_query_log_up" ["log"] "Whether what is logged can be written: 1, or 0.";

    RELOADS = Counter "plustwo_reloads_total" ["result"] "Reloads of the configuration, by result.";
    LAST_RELOAD_SUCCESSFUL = Gauge "plustwo_last_reload_successful" [] "Whether the last reload was taken up: 1, or 0.";
    GENERATION = Gauge "plustwo_generation" [] "The number of the configuration that is served, from 1.";
    STATE_WRITE_FAILURES = Counter "plustwo_state_write_failures_total" ["file"]
        "Times that a file which outlives the process could not be written.";
    GENERATION_AGE = Gauge "plustwo_generation_age_seconds" [] "How long the configuration has been served.";

    WATCHDOG_QUERIES = Counter "plustwo_watchdog_queries_total" ["transport", "result"]
        "Queries that the watchdog sent to doors of its own daemon, by what came of them.";
    WATCHDOG_ROUNDS = Counter "plustwo_watchdog_rounds_total" ["result"]
        "Rounds of the watchdog, by whether all threads and doors were well.";

    SNAPSHOT_NAMES = Gauge "plustwo_snapshot_names" [] "Names of all zones that are served.";
    SNAPSHOT_ZONES = Gauge "plustwo_snapshot_zones" ["kind"] "Zones that are served, by kind.";
    SNAPSHOT_ENDPOINTS = Gauge "plustwo_snapshot_endpoints" [] "VPC endpoints that are served.";
    SNAPSHOT_RULES = Gauge "plustwo_snapshot_rules" [] "Resolver rules that are served.";
    SNAPSHOT_VPCS = Gauge "plustwo_snapshot_vpcs" [] "VPCs that are served.";
    SNAPSHOT_VIEWS = Gauge "plustwo_snapshot_views" [] "Views that are served: two a VPC or more.";
    SNAPSHOT_DOORS = Gauge "plustwo_snapshot_doors" [] "Doors that are served.";
    SNAPSHOT_BYTES = Gauge "plustwo_snapshot_bytes" [] "Octets of the data that is served.";

    PROCESS_CPU = SecondsCounter "process_cpu_seconds_total" [] "CPU time of the process, in user and system mode.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory of the process.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Virtual memory of the process.";
    PROCESS_FDS = Gauge "process_open_fds" [] "Open file descriptors of the process.";
    PROCESS_FDS_MAX = Gauge "process_max_fds" [] "File descriptors that the process may have open.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "When the process started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_and_each_is_there_once() {
        let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let Family { name, kind, help, .. } = family;
            assert!(name.starts_with("plustwo_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), matches!(kind, Kind::Counter | Kind::SecondsCounter), "{name}");
            assert!(help.ends_with('.') && !help.contains('"'), "{name}");
        }
    }
}
