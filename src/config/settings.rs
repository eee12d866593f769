//! Settings of the process itself; each default and range has its one home here.

use crate::dns::Ttl;
use std::time::Duration;

/// Everything of the configuration that decides no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP worker threads; 0 = one a CPU.
    pub workers: usize,
    /// The cache of upstream replies.
    pub cache: CacheSettings,
    /// What clients may use up.
    pub limits: Limits,
    /// How much is logged.
    pub log_level: LogLevel,
}

/// The cache of upstream replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Octets of the process's memory, over all forwarding contexts.
    pub max_memory_octets: u64,
    /// The longest that a positive answer is kept.
    pub max_ttl: Ttl,
    /// The longest that a negative answer is kept (RFC 2308 section 5 advises one to three hours).
    pub negative_max_ttl: Ttl,
}

/// What clients may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all; the one idle longest goes first.
    pub tcp_connections: usize,
    /// TCP connections of one client address.
    pub tcp_connections_per_client: usize,
    /// How long a TCP connection may be idle.
    pub tcp_idle: Duration,
    /// Questions being forwarded at a time.
    pub in_flight: usize,
    /// Questions of one client address being forwarded at a time.
    pub in_flight_per_client: usize,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What an operator should look at.
    Warn,
    /// What changed.
    Info,
    /// What else happened.
    Debug,
}

impl LogLevel {
    /// Every level and its word.
    pub const WORDS: [(&str, Self); 4] =
        [("error", Self::Error), ("warn", Self::Warn), ("info", Self::Info), ("debug", Self::Debug)];
}

/// A number that an operator may set: its default and the least and most it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// What it is where nothing is written.
    pub default: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

/// `[server] workers`: threads; 0 = one a CPU.
pub const WORKERS: Range = Range { default: 0, min: 0, max: 1024 };
/// `[cache] max_memory` in octets: 64 MiB; from 1 MiB to 1 TiB.
pub const CACHE_MAX_MEMORY_OCTETS: Range = Range { default: 64 << 20, min: 1 << 20, max: 1 << 40 };
/// `[cache] max_ttl` in seconds: a day; at most a week (RFC 8767 section 4).
pub const CACHE_MAX_TTL_SECONDS: Range = Range { default: 86_400, min: 0, max: 604_800 };
/// Negative answers are kept an hour at most, and never longer than `max_ttl`.
pub const CACHE_NEGATIVE_MAX_TTL_SECONDS: u64 = 3600;
/// `[limits] tcp_connections`.
pub const TCP_CONNECTIONS: Range = Range { default: 1024, min: 1, max: 1_000_000 };
/// `[limits] tcp_connections_per_client`.
pub const TCP_CONNECTIONS_PER_CLIENT: Range = Range { default: 64, min: 1, max: 1_000_000 };
/// `[limits] tcp_idle_seconds`.
pub const TCP_IDLE_SECONDS: Range = Range { default: 10, min: 1, max: 3600 };
/// `[limits] in_flight`.
pub const IN_FLIGHT: Range = Range { default: 10_000, min: 1, max: 1_000_000 };
/// `[limits] in_flight_per_client`.
pub const IN_FLIGHT_PER_CLIENT: Range = Range { default: 1000, min: 1, max: 1_000_000 };
/// `[log] level`.
pub const LOG_LEVEL: LogLevel = LogLevel::Info;

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: WORKERS.default as usize,
            cache: CacheSettings::default(),
            limits: Limits::default(),
            log_level: LOG_LEVEL,
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self::new(CACHE_MAX_MEMORY_OCTETS.default, CACHE_MAX_TTL_SECONDS.default)
    }
}

impl CacheSettings {
    /// Takes octets and seconds within their ranges.
    pub fn new(max_memory_octets: u64, max_ttl_seconds: u64) -> Self {
        Self {
            max_memory_octets,
            max_ttl: ttl(max_ttl_seconds),
            negative_max_ttl: ttl(max_ttl_seconds.min(CACHE_NEGATIVE_MAX_TTL_SECONDS)),
        }
    }
}

/// Seconds as a TTL, at most the largest there is.
fn ttl(seconds: u64) -> Ttl {
    u32::try_from(seconds).ok().and_then(Ttl::from_seconds).unwrap_or(Ttl::MAX)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_connections: TCP_CONNECTIONS.default as usize,
            tcp_connections_per_client: TCP_CONNECTIONS_PER_CLIENT.default as usize,
            tcp_idle: Duration::from_secs(TCP_IDLE_SECONDS.default),
            in_flight: IN_FLIGHT.default as usize,
            in_flight_per_client: IN_FLIGHT_PER_CLIENT.default as usize,
        }
    }
}

/// Reads an amount of memory, `64 MiB`: a whole number and B, KiB, MiB or GiB.
pub fn parse_octets(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_unit() {
        assert_eq!(parse_octets("64 MiB"), Some(CACHE_MAX_MEMORY_OCTETS.default));
        assert_eq!(parse_octets("1GiB"), Some(1 << 30));
        assert_eq!(parse_octets("512 kib"), Some(512 << 10));
        for bad in ["", "64", "64 MB", "MiB", "-1 MiB", "1.5 GiB", "99999999999999999999 B", "18446744073709551615 KiB"]
        {
            assert_eq!(parse_octets(bad), None, "{bad}");
        }
    }
}
