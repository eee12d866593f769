//! The addresses of targets that are host names, asked of name servers that need no name: never of ourselves, and never
//! on the way of a question to a target that has an address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout, timeout_at};

/// How long addresses are used without asking again at least, whatever their TTL, in seconds.
const ADDRESS_SECONDS_MIN: u64 = 30;
/// The same at most.
const ADDRESS_SECONDS_MAX: u64 = 3_600;
/// How long finding addresses may take.
const BOOTSTRAP_MILLIS_MAX: u64 = 2_000;
/// How long one name server may be silent before the next one is asked beside it.
const NEXT_SERVER_MILLIS: u64 = 500;
/// How long new addresses are waited for where old ones are known.
const REFRESH_MILLIS: u64 = 300;
/// How long after an answer, or after none, the same name is asked for again, at least.
const ASK_AGAIN_MILLIS: u64 = 1_000;
/// Name servers that are asked at most.
const NAME_SERVERS_MAX: usize = 6;
/// Addresses of one name that are used at most.
const ADDRESSES_MAX: usize = 8;

/// The addresses of all names that were asked for.
pub(super) struct Bootstrap {
    servers: Mutex<Vec<SocketAddr>>,
    // As many names as there are in the configuration.
    names: Mutex<HashMap<Box<str>, Arc<Known>>>,
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    found: Mutex<Found>,
    /// Held by whoever asks for it.
    asking: tokio::sync::Mutex<()>,
}

/// The addresses of a name.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Those of the last answer that had any, however old.
    addresses: Vec<IpAddr>,
    /// Until when they are used without asking again.
    fresh_until: Option<Instant>,
    /// When it was last asked for, and the answer was there or there was none.
    asked_at: Option<Instant>,
}

impl Bootstrap {
    /// Nothing known yet.
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers: Mutex::new(servers), names: Mutex::default() }
    }

    /// Asks these from now on. What is known stays so.
    pub(super) fn set_servers(&self, servers: Vec<SocketAddr>) {
        *self.servers() = servers;
    }

    /// The addresses of a name, the one that worked last first; empty if none were ever found.
    pub(super) async fn addresses(&self, name: &str, deadline: Instant) -> Vec<IpAddr> {
        let known = self.known(name);
        let found = known.found().clone();
        if found.is_fresh() {
            return found.addresses;
        }
        // Goes on when we stop waiting for it.
        let asking = tokio::spawn(ask(Arc::clone(&known), self.servers().clone(), name.to_owned()));
        if found.addresses.is_empty() {
            let _ = timeout_at(deadline, asking).await;
        } else {
            let _ = timeout(Duration::from_millis(REFRESH_MILLIS), asking).await;
        }
        let found = known.found().clone();
        found.addresses
    }

    /// This address of a name works: it is tried first.
    pub(super) fn prefer(&self, name: &str, ip: IpAddr) {
        self.known(name).found().prefer(ip);
    }

    /// No address of a name works: ask again as soon as that may be.
    pub(super) fn distrust(&self, name: &str) {
        self.known(name).found().fresh_until = None;
    }

    /// Who is asked.
    fn servers(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a name.
    fn known(&self, name: &str) -> Arc<Known> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get(name) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(names.entry(name.into()).or_default()),
        }
    }
}

impl Known {
    /// The addresses.
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Whether the addresses are used without asking again.
    fn is_fresh(&self) -> bool {
        let now = Instant::now();
        let was_just_asked = self.asked_at.is_some_and(|at| now < at + Duration::from_millis(ASK_AGAIN_MILLIS));
        was_just_asked || self.fresh_until.is_some_and(|until| now < until)
    }

    /// Puts an address first, if it is one of them.
    fn prefer(&mut self, ip: IpAddr) {
        if let Some(at) = self.addresses.iter().position(|&other| other == ip) {
            self.addresses[..=at].rotate_right(1);
        }
    }
}

/// Asks for the addresses of a name, unless somebody else just did. The old ones stay where there are no new ones.
async fn ask(known: Arc<Known>, servers: Vec<SocketAddr>, name: String) {
    let _asking = known.asking.lock().await;
    if known.found().is_fresh() {
        return;
    }
    let answer = resolve(&servers, &name).await;
    let now = Instant::now();
    let mut found = known.found();
    found.asked_at = Some(now);
    if let Some((addresses, ttl)) = answer {
        found.fresh_until = Some(now + kept_for(ttl));
        let preferred = found.addresses.first().copied();
        found.addresses = addresses;
        if let Some(ip) = preferred {
            found.prefer(ip);
        }
    }
}

/// Asks name servers in turn, the next one when the last has failed or lets us wait; the first with an address counts.
///
/// Each has a resolver of its own: hickory's pool of servers neither goes on after SERVFAIL or REFUSED, nor reaches a
/// second server within the time of the first.
async fn resolve(servers: &[SocketAddr], name: &str) -> Option<(Vec<IpAddr>, Duration)> {
    let deadline = Instant::now() + Duration::from_millis(BOOTSTRAP_MILLIS_MAX);
    let mut lookups = JoinSet::new();
    let mut rest = servers.iter().take(NAME_SERVERS_MAX);
    let mut is_next_due = true;
    loop {
        if (is_next_due || lookups.is_empty())
            && let Some(&server) = rest.next()
        {
            // As it stands: no search domain is put behind it.
            lookups.spawn(lookup(server, format!("{name}.")));
        } else if lookups.is_empty() {
            return None;
        }
        is_next_due = false;
        tokio::select! {
            Some(answer) = lookups.join_next() => {
                if let Ok(Some(answer)) = answer {
                    return Some(answer);
                }
            }
            () = sleep(Duration::from_millis(NEXT_SERVER_MILLIS)), if rest.len() > 0 => is_next_due = true,
            () = sleep_until(deadline) => return None,
        }
    }
}

/// How long addresses with this TTL are used.
fn kept_for(ttl: Duration) -> Duration {
    Duration::from_secs(ttl.as_secs().clamp(ADDRESS_SECONDS_MIN, ADDRESS_SECONDS_MAX))
}

/// Asks one name server for both families.
async fn lookup(server: SocketAddr, name: String) -> Option<(Vec<IpAddr>, Duration)> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(BOOTSTRAP_MILLIS_MAX);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .ok()?;
    let answer = resolver.lookup_ip(name).await.ok()?;
    let ttl = answer.valid_until().saturating_duration_since(std::time::Instant::now());
    let addresses = in_turns(answer.iter());
    (!addresses.is_empty()).then_some((addresses, ttl))
}

/// The addresses of a family keep their order; families take turns, IPv6 first (RFC 8305 section 4).
fn in_turns(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv4);
    let turns = 0..v4.len().max(v6.len());
    turns.flat_map(|turn| [v6.get(turn), v4.get(turn)]).flatten().copied().take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_there_are_eight_addresses_at_most() {
        let turns = |texts: &[&str]| in_turns(addresses(texts).into_iter());
        assert_eq!(
            turns(&["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"]),
            addresses(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
        );
        assert_eq!(turns(&["192.0.2.1"; 20]).len(), 8);
        assert!(turns(&[]).is_empty());
    }

    #[test]
    fn addresses_are_kept_for_half_a_minute_to_an_hour() {
        let kept = |seconds| kept_for(Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 29, 300, 3_600, 86_400].map(kept), [30, 30, 300, 3_600, 3_600]);
    }

    #[test]
    fn the_address_that_worked_goes_first_and_the_others_keep_their_order() {
        let mut found = Found { addresses: addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]), ..Found::default() };
        found.prefer(found.addresses[2]);
        assert_eq!(found.addresses, addresses(&["192.0.2.3", "192.0.2.1", "192.0.2.2"]));
        found.prefer([192, 0, 2, 9].into());
        assert_eq!(found.addresses, addresses(&["192.0.2.3", "192.0.2.1", "192.0.2.2"]));
    }
}
