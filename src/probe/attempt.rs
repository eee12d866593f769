//! One request to one endpoint, each part of it bounded in time as AWS bounds it
//! (R53:dns-failover-determining-health-of-endpoints).

use super::http;
use super::tls::Tls;
use crate::snapshot::{HttpRequest, Probe, ProbeHost, ProbeRequest};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// Seconds in which there must be a connection, where a page is asked for.
const HTTP_CONNECT_SECONDS_MAX: u64 = 4;
/// Seconds in which there must be a status, from the connection on; TLS is part of them.
pub(super) const HTTP_STATUS_SECONDS_MAX: u64 = 2;
/// Seconds in which the body must come, from the status on.
pub(super) const HTTP_BODY_SECONDS_MAX: u64 = 2;
/// Seconds in which there must be a connection, where nothing else is asked for.
const TCP_CONNECT_SECONDS_MAX: u64 = 10;
/// Seconds in which a name must have an address, from when it is looked up on; AWS says nothing on it.
const LOOKUP_SECONDS_MAX: u64 = 4;
/// Seconds that a name waits for its turn while others are looked up. Beyond that nobody is asked: that others are slow is
/// not the endpoint's fault.
const LOOKUP_TURN_SECONDS_MAX: u64 = 4;

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was answered as it should be.
    Healthy,
    /// It was not.
    Unhealthy(Failure),
    /// We could not ask: that says nothing of the endpoint.
    NotAsked(io::Error),
}

/// Why an endpoint is not healthy, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its name has no IPv4 address: why.
    NoAddress(Box<str>),
    /// Nobody said what address its name has, in so many seconds.
    LookupTimedOut(u64),
    /// It refused the connection.
    Refused,
    /// It, or the way to it, gave us no connection: why.
    Unreachable(Box<str>),
    /// There was no connection in so many seconds.
    ConnectTimedOut(u64),
    /// The TLS handshake failed: why.
    Tls(Box<str>),
    /// It closed the connection before it had said what was asked for.
    Closed,
    /// There was no HTTP status in so many seconds.
    StatusTimedOut(u64),
    /// What it said is not HTTP.
    NotHttp,
    /// Its HTTP status is neither 2xx nor 3xx.
    Status(u16),
    /// Its header is longer than so many octets, or has too many fields.
    HeadTooLong(usize),
    /// The body did not come in so many seconds.
    BodyTimedOut(u64),
    /// What was searched for is not in the first so many octets of the body.
    NotFound(usize),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(why) => write!(f, "DNS resolution failed: {why}"),
            Self::LookupTimedOut(seconds) => write!(f, "DNS resolution failed: no answer in {seconds} s"),
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::ConnectTimedOut(seconds) => write!(f, "no connection in {seconds} s"),
            Self::Tls(why) => write!(f, "the TLS handshake fails: {why}"),
            Self::Closed => f.write_str("it closes the connection without an answer"),
            Self::StatusTimedOut(seconds) => write!(f, "no HTTP status in {seconds} s"),
            Self::NotHttp => f.write_str("what it answers is not HTTP"),
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::HeadTooLong(octets) => write!(f, "its HTTP header is longer than {octets} octets"),
            Self::BodyTimedOut(seconds) => write!(f, "no HTTP body in {seconds} s"),
            Self::NotFound(octets) => {
                write!(f, "the search string is not in the first {octets} octets of the body")
            }
        }
    }
}

/// What requests are made with.
pub(super) struct Attempter {
    tls: Tls,
    lookups: Arc<Semaphore>,
}

impl Attempter {
    /// Looks so many names up at a time.
    pub(super) fn new(lookups_at_a_time: usize) -> Self {
        Self { tls: Tls::new(), lookups: Arc::new(Semaphore::new(lookups_at_a_time)) }
    }

    /// Asks an endpoint once.
    pub(super) async fn attempt(&self, probe: &Probe) -> Outcome {
        let ip = match &probe.host {
            ProbeHost::Address(ip) => *ip,
            ProbeHost::Name(name) => match self.address(name).await {
                Ok(ip) => ip,
                Err(outcome) => return outcome,
            },
        };
        let seconds = match &probe.request {
            ProbeRequest::Connect => TCP_CONNECT_SECONDS_MAX,
            ProbeRequest::Http(_) => HTTP_CONNECT_SECONDS_MAX,
        };
        let connecting = TcpStream::connect(SocketAddr::new(ip, probe.port));
        let stream = match timeout(Duration::from_secs(seconds), connecting).await {
            Err(_) => return Outcome::Unhealthy(Failure::ConnectTimedOut(seconds)),
            Ok(Err(error)) => return without_connection(error),
            Ok(Ok(stream)) if is_with_itself(&stream) => return Outcome::Unhealthy(Failure::Refused),
            Ok(Ok(stream)) => stream,
        };
        let answered = match &probe.request {
            ProbeRequest::Connect => Ok(()),
            ProbeRequest::Http(request) => self.http(stream, request, ip).await,
        };
        match answered {
            Ok(()) => Outcome::Healthy,
            Err(failure) => Outcome::Unhealthy(failure),
        }
    }

    /// Asks for a page.
    async fn http(&self, stream: TcpStream, request: &HttpRequest, ip: IpAddr) -> Result<(), Failure> {
        let status_by = Instant::now() + Duration::from_secs(HTTP_STATUS_SECONDS_MAX);
        let Some(tls) = &request.tls else { return http::ask(stream, request, status_by).await };
        let handshake = timeout_at(status_by, self.tls.handshake(stream, tls, ip));
        let stream = handshake.await.map_err(|_| Failure::StatusTimedOut(HTTP_STATUS_SECONDS_MAX))??;
        http::ask(stream, request, status_by).await
    }

    /// The IPv4 address of a name, as the system knows it; AWS looks for no other (HealthCheckConfig:
    /// FullyQualifiedDomainName).
    async fn address(&self, name: &str) -> Result<IpAddr, Outcome> {
        let turn = Duration::from_secs(LOOKUP_TURN_SECONDS_MAX);
        let Ok(place) = timeout(turn, Arc::clone(&self.lookups).acquire_owned()).await else {
            let words = format!("no turn to look a name up in {LOOKUP_TURN_SECONDS_MAX} s");
            return Err(Outcome::NotAsked(io::Error::new(io::ErrorKind::TimedOut, words)));
        };
        let name: Box<str> = name.into();
        // The place goes with the thread, which may block for longer than we wait: there are never more of them.
        let looking = tokio::task::spawn_blocking(move || {
            let _place = place;
            (&*name, 0).to_socket_addrs()
        });
        let within = Duration::from_secs(LOOKUP_SECONDS_MAX);
        let found = match timeout(within, looking).await {
            Err(_) => return Err(Outcome::Unhealthy(Failure::LookupTimedOut(LOOKUP_SECONDS_MAX))),
            Ok(found) => found.unwrap_or_else(|error| Err(io::Error::other(error))),
        };
        let no_address = |why: &str| Outcome::Unhealthy(Failure::NoAddress(why.into()));
        let mut addresses = match found {
            Ok(addresses) => addresses,
            Err(error) if is_our_lack(&error) => return Err(Outcome::NotAsked(error)),
            Err(error) => return Err(no_address(&error.to_string())),
        };
        let first = addresses.find(SocketAddr::is_ipv4).map(|address| address.ip());
        first.ok_or_else(|| no_address("the name has no IPv4 address"))
    }
}

/// Whether it is us who lack what a connection or a lookup takes: files, memory, ports.
fn is_our_lack(error: &io::Error) -> bool {
    let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| lacks.contains(&code))
}

/// What it means that there is no connection.
fn without_connection(error: io::Error) -> Outcome {
    match error.raw_os_error() {
        _ if is_our_lack(&error) => Outcome::NotAsked(error),
        Some(libc::ECONNREFUSED) => Outcome::Unhealthy(Failure::Refused),
        _ => Outcome::Unhealthy(Failure::Unreachable(error.to_string().into())),
    }
}

/// Whether a connection is with itself: TCP makes one where the system gives us the very port that we ask, at which nobody
/// listens then.
fn is_with_itself(stream: &TcpStream) -> bool {
    stream.local_addr().ok().is_some_and(|own| stream.peer_addr().ok() == Some(own))
}

#[cfg(test)]
mod tests;
