//! `[server] workers` and `watch`, `[cache]`, `[limits]`, `[log]` and `[admin]`; what `[upstream]` sets is `upstream`'s, and
//! `[protection]` and `[cookies]` are `protection`'s.

use super::admin;
use super::document::SettingsTables;
use super::source::{At, Reading};
use super::table::Text;
use crate::config::diagnostic::{nearest, quoted};
use crate::config::settings::{
    CACHE_FAILURE_TTL_SECONDS, CACHE_MAX_MEMORY_OCTETS, CACHE_MAX_TTL_SECONDS, CACHE_PREFETCH,
    CACHE_SERVE_STALE_SECONDS, CacheSettings, CookieSettings, DnstapSettings, IN_FLIGHT, IN_FLIGHT_PER_CLIENT,
    IN_FLIGHT_PER_TARGET, LOG_LEVEL, Limits, LogLevel, PER_PREFIX, ProtectionSettings, QUERY_LOG_OCTETS,
    QueryLogSettings, Range, Settings, TCP_CONNECTIONS, TCP_CONNECTIONS_PER_CLIENT, TCP_IDLE_SECONDS, UPSTREAM_SOCKETS,
    UpstreamSettings, WATCH, WORKERS, parse_octets, share_of_prefix, ttl,
};
use std::time::Duration;

/// Settles what decides no answer, but for `[upstream]`, `[protection]`, `[cookies]`, the cache's file and the
/// logs of queries.
pub(super) fn settle<'t>(tables: &SettingsTables<'t>, reading: &mut Reading<'t>) -> Settings {
    Settings {
        workers: in_range(tables.workers, WORKERS, "[server]", "workers", reading) as usize,
        upstream: UpstreamSettings::default(),
        cache: cache(tables, reading),
        limits: limits(tables, reading),
        protection: ProtectionSettings::default(),
        cookies: CookieSettings::default(),
        log_level: tables
            .log_level
            .as_ref()
            .and_then(|level| word(level, &LogLevel::WORDS, "[log]", "level", reading))
            .unwrap_or(LOG_LEVEL),
        watch: tables.watch.map_or(WATCH, |watch| watch.value),
        admin: admin::settle(tables, reading),
        query_log: QueryLogSettings::default(),
        dnstap: DnstapSettings::default(),
    }
}

fn cache<'t>(tables: &SettingsTables<'t>, reading: &mut Reading<'t>) -> CacheSettings {
    let max_memory =
        memory(tables.max_memory.as_ref(), (CACHE_MAX_MEMORY_OCTETS, "1024 GiB"), ("[cache]", "max_memory"), reading);
    let mut seconds = |value, range, key| in_range(value, range, "[cache]", key, reading);
    let max_ttl = seconds(tables.max_ttl, CACHE_MAX_TTL_SECONDS, "max_ttl");
    CacheSettings {
        failure_ttl: ttl(seconds(tables.failure_ttl, CACHE_FAILURE_TTL_SECONDS, "failure_ttl")),
        serve_stale: Duration::from_secs(seconds(tables.serve_stale, CACHE_SERVE_STALE_SECONDS, "serve_stale")),
        prefetch: tables.prefetch.map_or(CACHE_PREFETCH, |prefetch| prefetch.value),
        ..CacheSettings::new(max_memory, max_ttl)
    }
}

fn limits<'t>(tables: &SettingsTables<'t>, reading: &mut Reading<'t>) -> Limits {
    let query_log_memory = tables.query_log_memory.as_ref();
    let query_log_octets =
        memory(query_log_memory, (QUERY_LOG_OCTETS, "64 GiB"), ("[limits]", "query_log_memory"), reading);
    let mut limit = |value, range, key| in_range(value, range, "[limits]", key, reading) as usize;
    let tcp_connections = limit(tables.tcp_connections, TCP_CONNECTIONS, "tcp_connections");
    let tcp_connections_per_client =
        limit(tables.tcp_connections_per_client, TCP_CONNECTIONS_PER_CLIENT, "tcp_connections_per_client");
    let in_flight = limit(tables.in_flight, IN_FLIGHT, "in_flight");
    let in_flight_per_client = limit(tables.in_flight_per_client, IN_FLIGHT_PER_CLIENT, "in_flight_per_client");
    let per_prefix = |whole, of_client| Range { default: share_of_prefix(whole, of_client) as u64, ..PER_PREFIX };
    let limits = Limits {
        tcp_connections,
        tcp_connections_per_client,
        tcp_connections_per_prefix: limit(
            tables.tcp_connections_per_prefix,
            per_prefix(tcp_connections, tcp_connections_per_client),
            "tcp_connections_per_prefix",
        ),
        tcp_idle: Duration::from_secs(limit(tables.tcp_idle_seconds, TCP_IDLE_SECONDS, "tcp_idle_seconds") as u64),
        in_flight,
        in_flight_per_client,
        in_flight_per_prefix: limit(
            tables.in_flight_per_prefix,
            per_prefix(in_flight, in_flight_per_client),
            "in_flight_per_prefix",
        ),
        in_flight_per_target: limit(tables.in_flight_per_target, IN_FLIGHT_PER_TARGET, "in_flight_per_target"),
        upstream_sockets: limit(tables.upstream_sockets, UPSTREAM_SOCKETS, "upstream_sockets"),
        query_log_octets,
    };
    let shares = [
        (tables.tcp_connections_per_client, "client", "tcp_connections", tcp_connections_per_client, tcp_connections),
        (
            tables.tcp_connections_per_prefix,
            "prefix",
            "tcp_connections",
            limits.tcp_connections_per_prefix,
            tcp_connections,
        ),
        (tables.in_flight_per_client, "client", "in_flight", in_flight_per_client, in_flight),
        (tables.in_flight_per_prefix, "prefix", "in_flight", limits.in_flight_per_prefix, in_flight),
        (tables.in_flight_per_target, "target", "in_flight", limits.in_flight_per_target, in_flight),
    ];
    for (written, whose, key, share, whole) in shares {
        warn_of_share(written, key, whose, (share, whole), reading);
    }
    limits
}

/// Warns where the share of one `whose`, as written, is more than there is.
fn warn_of_share(
    written: Option<At<u64>>,
    key: &str,
    whose: &str,
    (share, whole): (usize, usize),
    reading: &mut Reading<'_>,
) {
    if let Some(written) = written.filter(|_| share > whole) {
        let problem = format!("`{key}_per_{whose}` is {share}, more than `{key}`, {whole}");
        let warning = reading.warning(written.at, "[limits]", problem);
        reading.report(warning.rule(format!("one {whose} can use up all there is")).hint("lower it"));
    }
}

/// A number within its range, or the default.
pub(super) fn in_range(value: Option<At<u64>>, range: Range, label: &str, key: &str, reading: &mut Reading<'_>) -> u64 {
    let Some(value) = value else { return range.default };
    if (range.min..=range.max).contains(&value.value) {
        return value.value;
    }
    let problem = format!("`{key} = {}` is out of range", value.value);
    let hint = format!("write {} to {}; the default is {}", range.min, range.max, range.default);
    reading.report(reading.error(value.at, label, problem).hint(hint));
    range.default
}

/// An amount of memory in octets, from 1 MiB to so much.
fn memory<'t>(
    text: Option<&Text<'t>>,
    (range, most): (Range, &str),
    (label, key): (&str, &str),
    reading: &mut Reading<'t>,
) -> u64 {
    let Some(text) = text else { return range.default };
    let problem = match parse_octets(&text.value) {
        Some(octets) if (range.min..=range.max).contains(&octets) => return octets,
        Some(_) => "is out of range",
        None => "is not an amount of memory",
    };
    let problem = format!("`{key}` {} {problem}", quoted(&text.value));
    let hint = format!("write a whole number and B, KiB, MiB or GiB, from 1 MiB to {most}: \"64 MiB\"");
    reading.report(reading.error(text.at, label, problem).hint(hint));
    range.default
}

/// The value of a word out of a list, in any case; says so where it is none of them.
pub(super) fn word<'t, T: Copy>(
    text: &Text<'t>,
    words: &[(&'static str, T)],
    label: &str,
    key: &str,
    reading: &mut Reading<'t>,
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text.value)) {
        return Some(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = match nearest(&text.value, all.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? It is one of {}", all.join(", ")),
        None => format!("write one of {}", all.join(", ")),
    };
    let problem = format!("`{key}` cannot be {}", quoted(&text.value));
    reading.report(reading.error(text.at, label, problem).hint(hint));
    None
}
