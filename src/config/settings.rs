//! Settings of the process itself; each default and range has its one home here.

use crate::dns::cookie::CookieSecret;
use crate::dns::{Name, Rcode, Ttl};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything of the configuration that decides no answer. All of it but `[log]`, `[protection]` and `[cookies]` is what a
/// process starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP worker threads; 0 = one a CPU.
    pub workers: usize,
    /// How targets are asked, whoever they are.
    pub upstream: UpstreamSettings,
    /// The cache of upstream replies.
    pub cache: CacheSettings,
    /// What clients may use up.
    pub limits: Limits,
    /// How many replies go to one prefix.
    pub protection: ProtectionSettings,
    /// The cookies that clients are given.
    pub cookies: CookieSettings,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Whether a file that was read is read again when it changes.
    pub watch: bool,
    /// Where operators are answered.
    pub admin: AdminSettings,
    /// Where a line a query goes.
    pub query_log: QueryLogSettings,
    /// Where a frame a message goes.
    pub dnstap: DnstapSettings,
}

/// Where a line a query goes, and which queries have one. Whose they are stands in
/// [`Model::query_log`](crate::aws::Model::query_log).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryLogSettings {
    /// Where lines go; none: nowhere. Relative paths count from the configuration's folder, which whoever loaded it has
    /// put before them.
    pub output: Option<LogOutput>,
    /// Which queries.
    pub filter: LogFilter,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// To the end of a file.
    File(PathBuf),
    /// To whoever reads what the process says.
    Stdout,
    /// To whoever listens at a Unix socket, as a stream.
    Socket(PathBuf),
}

/// Where dnstap's frames go, and which messages have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnstapSettings {
    /// The Unix socket that a receiver listens at; none: nowhere. Relative paths as in [`QueryLogSettings`].
    pub socket: Option<PathBuf>,
    /// Whether there are messages of type CLIENT_QUERY.
    pub client_queries: bool,
    /// Whether there are messages of type CLIENT_RESPONSE.
    pub client_responses: bool,
    /// Which queries.
    pub filter: LogFilter,
}

/// Which queries a log has. Each list has what is wanted; an empty one wants everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// How many of those that the rest of this lets through.
    pub sample_rate: SampleRate,
    /// Where replies came from, each a word of [`LOG_SOURCES`].
    pub sources: Vec<&'static str>,
    /// What replies say.
    pub rcodes: Vec<Rcode>,
    /// What was asked for: these names and all below them.
    pub names: Vec<Name>,
}

/// A part of all queries, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRate(u32);

impl SampleRate {
    /// All of them.
    pub const ALL: Self = Self(1_000_000_000);

    /// A rate from 0 (none) to 1 (all); none for any other number.
    pub fn new(rate: f64) -> Option<Self> {
        (0.0..=1.0).contains(&rate).then(|| Self((rate * f64::from(Self::ALL.0)).round() as u32))
    }

    /// From 0 to 1.
    pub fn rate(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }
}

impl Default for SampleRate {
    fn default() -> Self {
        Self::ALL
    }
}

/// Where operators are answered. All of it is off where neither is said, here or by the service manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// A Unix socket; a relative path counts from the configuration's folder, which whoever loaded it has put before it.
    /// None: in the folder that the service manager gives, if it gives one.
    pub socket: Option<PathBuf>,
    /// A loopback address, for HTTP over TCP.
    pub http: Option<SocketAddr>,
}

/// How targets are asked, whoever they are: `[upstream]` but for `targets` and `order`, which the model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Whether each letter of a question's name is sent in a random case, which the reply must repeat.
    pub case_randomization: bool,
    /// Whether DNS cookies are sent, and then wanted of those who have answered with one.
    pub cookies: bool,
    /// Who is asked for the addresses of targets that are host names.
    pub bootstrap: Bootstrap,
    /// Whom encrypted targets are trusted by beside the system's roots.
    pub tls_roots: Option<TlsRoots>,
}

/// Who is asked for the addresses of targets that are host names. Whichever it is, the servers themselves stand in
/// [`Model::bootstrap`](crate::aws::Model::bootstrap): those of resolv.conf may be others at the next reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bootstrap {
    /// The nameservers of resolv.conf, without our own doors.
    #[default]
    System,
    /// These.
    Servers(Vec<SocketAddr>),
}

/// Certificates of a file that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoots {
    /// The file, as the configuration names it.
    pub file: Box<str>,
    /// What is in it: at least one certificate, each in DER.
    pub certificates: Vec<Box<[u8]>>,
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
    /// How long it is remembered that all targets failed.
    pub failure_ttl: Ttl,
    /// How long a reply is kept beyond its TTL, for when no target answers; zero: not at all.
    pub serve_stale: Duration,
    /// Whether a reply that is still asked for is asked for again shortly before it expires.
    pub prefetch: bool,
    /// Where replies are kept from one start to the next; none: nowhere. A relative path counts from the
    /// configuration's folder, which whoever loaded it has put before it.
    pub file: Option<PathBuf>,
}

/// What clients may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all; the one idle longest goes first.
    pub tcp_connections: usize,
    /// TCP connections of one client address.
    pub tcp_connections_per_client: usize,
    /// TCP connections of the clients of one prefix, an IPv4 /24 or an IPv6 /56.
    pub tcp_connections_per_prefix: usize,
    /// How long a TCP connection may be idle.
    pub tcp_idle: Duration,
    /// Questions being forwarded at a time.
    pub in_flight: usize,
    /// Questions of one client address being forwarded at a time.
    pub in_flight_per_client: usize,
    /// Questions of the clients of one prefix, an IPv4 /24 or an IPv6 /56, being forwarded at a time.
    pub in_flight_per_prefix: usize,
    /// Questions that one target is being asked at a time.
    pub in_flight_per_target: usize,
    /// Sockets for questions over UDP, over all targets.
    pub upstream_sockets: usize,
    /// Octets that wait for the thread which writes the query log and dnstap, over all threads that answer.
    pub query_log_octets: u64,
}

/// How many replies a second go to one prefix over UDP, from each UDP worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// Replies to clients that may ask; 0: no limit.
    pub responses_per_second: u64,
    /// Errors, to clients that may not and to octets that are no query; 0: no limit.
    pub errors_per_second: u64,
    /// Of the replies beyond the first limit, each how-manieth is sent without an answer; 0: none.
    pub slip: u32,
    /// Bits of an IPv4 address that make a prefix.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that do.
    pub ipv6_prefix: u8,
    /// Clients without a limit.
    pub exempt: Vec<IpNet>,
}

/// The cookies that clients are given (RFC 7873).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSettings {
    /// Whether there are any.
    pub enabled: bool,
    /// What they are made with, and after that what is accepted besides; empty: what a process makes up for itself.
    pub secrets: Vec<CookieSecret>,
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
/// `[cache] failure_ttl` in seconds: longer than half a minute would hold up those who wait for a target to come back.
pub const CACHE_FAILURE_TTL_SECONDS: Range = Range { default: 5, min: 1, max: 30 };
/// `[cache] serve_stale` in seconds: a day; at most three days; 0: never.
pub const CACHE_SERVE_STALE_SECONDS: Range = Range { default: 86_400, min: 0, max: 259_200 };
/// `[cache] prefetch`.
pub const CACHE_PREFETCH: bool = true;
/// `[upstream] case_randomization`: off, since some servers answer in lower case whatever they were asked.
pub const CASE_RANDOMIZATION: bool = false;
/// `[upstream] cookies`.
pub const COOKIES: bool = true;
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
/// `[limits] in_flight_per_target`.
pub const IN_FLIGHT_PER_TARGET: Range = Range { default: 5000, min: 1, max: 1_000_000 };
/// `[limits] tcp_connections_per_prefix` and `in_flight_per_prefix`: without a default of their own, see
/// [`share_of_prefix`].
pub const PER_PREFIX: Range = Range { default: 0, min: 1, max: 1_000_000 };
/// `[protection] responses_per_second`: more than a busy forwarder asks, less than hurts the one it is sent to; 0: no limit.
pub const RESPONSES_PER_SECOND: Range = Range { default: 10_000, min: 0, max: 10_000_000 };
/// `[protection] errors_per_second`: enough for a person to see what is wrong; 0: no limit.
pub const ERRORS_PER_SECOND: Range = Range { default: 20, min: 0, max: 1_000_000 };
/// `[protection] slip`: every other one; 0: none.
pub const SLIP: Range = Range { default: 2, min: 0, max: 100 };
/// `[protection] ipv4_prefix`, in bits.
pub const IPV4_PREFIX: Range = Range { default: 24, min: 8, max: 32 };
/// `[protection] ipv6_prefix`, in bits.
pub const IPV6_PREFIX: Range = Range { default: 56, min: 16, max: 64 };
/// `[protection] exempt`, and who may ask at a door that has no `allow`, besides the clients of its VPC: nobody from the
/// Internet. Nobody there can forge these addresses either, for they are not routed.
pub const PRIVATE_NETWORKS: [IpNet; 9] = [
    v4(127, 0, 0, 0, 8),
    // RFC 1918 section 3.
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    // RFC 6598 section 7.
    v4(100, 64, 0, 0, 10),
    // RFC 3927 section 2.1.
    v4(169, 254, 0, 0, 16),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    // RFC 4193 section 3.1.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
    // RFC 4291 section 2.5.6.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

/// `[cookies] enabled`.
pub const SERVER_COOKIES: bool = true;
/// `[limits] upstream_sockets`: each takes a port of its own, of which an address has 65,535.
pub const UPSTREAM_SOCKETS: Range = Range { default: 1000, min: 16, max: 60_000 };
/// `[limits] query_log_memory` in octets: 64 MiB; from 1 MiB to 64 GiB.
pub const QUERY_LOG_OCTETS: Range = Range { default: 64 << 20, min: 1 << 20, max: 64 << 30 };
/// `[dnstap] client_queries` and `client_responses`.
pub const DNSTAP_MESSAGES: bool = true;
/// Entries of each list of a log's filter at most.
pub const LOG_FILTER_ENTRIES_MAX: usize = 1000;
/// The words of `sources`: those of `plustwo_replies_total`.
pub const LOG_SOURCES: [&str; 10] = [
    "hosted_zone",
    "private_name",
    "endpoint_name",
    "built_in",
    "autodefined",
    "cache",
    "stale",
    "forward",
    "refused",
    "malformed",
];
/// The words of `rcodes`: all that we ever reply.
pub const LOG_RCODES: [(&str, Rcode); 8] = [
    ("NOERROR", Rcode::NOERROR),
    ("FORMERR", Rcode::FORMERR),
    ("SERVFAIL", Rcode::SERVFAIL),
    ("NXDOMAIN", Rcode::NXDOMAIN),
    ("NOTIMP", Rcode::NOTIMP),
    ("REFUSED", Rcode::REFUSED),
    ("BADVERS", Rcode::BADVERS),
    ("BADCOOKIE", Rcode::BADCOOKIE),
];
/// `[server] watch`.
pub const WATCH: bool = true;
/// `[log] level`.
pub const LOG_LEVEL: LogLevel = LogLevel::Info;

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: WORKERS.default as usize,
            upstream: UpstreamSettings::default(),
            cache: CacheSettings::default(),
            limits: Limits::default(),
            protection: ProtectionSettings::default(),
            cookies: CookieSettings::default(),
            log_level: LOG_LEVEL,
            watch: WATCH,
            admin: AdminSettings::default(),
            query_log: QueryLogSettings::default(),
            dnstap: DnstapSettings::default(),
        }
    }
}

impl Default for DnstapSettings {
    fn default() -> Self {
        Self {
            socket: None,
            client_queries: DNSTAP_MESSAGES,
            client_responses: DNSTAP_MESSAGES,
            filter: LogFilter::default(),
        }
    }
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            case_randomization: CASE_RANDOMIZATION,
            cookies: COOKIES,
            bootstrap: Bootstrap::default(),
            tls_roots: None,
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self::new(CACHE_MAX_MEMORY_OCTETS.default, CACHE_MAX_TTL_SECONDS.default)
    }
}

impl CacheSettings {
    /// Takes octets and seconds within their ranges; the rest is the default.
    pub fn new(max_memory_octets: u64, max_ttl_seconds: u64) -> Self {
        Self {
            max_memory_octets,
            max_ttl: ttl(max_ttl_seconds),
            negative_max_ttl: ttl(max_ttl_seconds.min(CACHE_NEGATIVE_MAX_TTL_SECONDS)),
            failure_ttl: ttl(CACHE_FAILURE_TTL_SECONDS.default),
            serve_stale: Duration::from_secs(CACHE_SERVE_STALE_SECONDS.default),
            prefetch: CACHE_PREFETCH,
            file: None,
        }
    }
}

/// Seconds as a TTL, at most the largest there is.
pub(super) fn ttl(seconds: u64) -> Ttl {
    u32::try_from(seconds).ok().and_then(Ttl::from_seconds).unwrap_or(Ttl::MAX)
}

/// What the clients of one prefix have of a whole where nothing is written: half of it, and what one client has at least.
/// One prefix then leaves room for the others, and whoever raises the two other limits meets no third one.
pub const fn share_of_prefix(whole: usize, of_client: usize) -> usize {
    if whole / 2 > of_client { whole / 2 } else { of_client }
}

impl Default for ProtectionSettings {
    fn default() -> Self {
        Self {
            responses_per_second: RESPONSES_PER_SECOND.default,
            errors_per_second: ERRORS_PER_SECOND.default,
            slip: SLIP.default as u32,
            ipv4_prefix: IPV4_PREFIX.default as u8,
            ipv6_prefix: IPV6_PREFIX.default as u8,
            exempt: PRIVATE_NETWORKS.to_vec(),
        }
    }
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self { enabled: SERVER_COOKIES, secrets: Vec::new() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_connections: TCP_CONNECTIONS.default as usize,
            tcp_connections_per_client: TCP_CONNECTIONS_PER_CLIENT.default as usize,
            tcp_connections_per_prefix: share_of_prefix(
                TCP_CONNECTIONS.default as usize,
                TCP_CONNECTIONS_PER_CLIENT.default as usize,
            ),
            tcp_idle: Duration::from_secs(TCP_IDLE_SECONDS.default),
            in_flight: IN_FLIGHT.default as usize,
            in_flight_per_client: IN_FLIGHT_PER_CLIENT.default as usize,
            in_flight_per_prefix: share_of_prefix(IN_FLIGHT.default as usize, IN_FLIGHT_PER_CLIENT.default as usize),
            in_flight_per_target: IN_FLIGHT_PER_TARGET.default as usize,
            upstream_sockets: UPSTREAM_SOCKETS.default as usize,
            query_log_octets: QUERY_LOG_OCTETS.default,
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
