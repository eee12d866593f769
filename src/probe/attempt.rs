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
/// Seconds in which a name must have an address; AWS says nothing on it.
const LOOKUP_SECONDS_MAX: u64 = 4;

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
                Err(failure) => return Outcome::Unhealthy(failure),
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
    async fn address(&self, name: &str) -> Result<IpAddr, Failure> {
        let within = Duration::from_secs(LOOKUP_SECONDS_MAX);
        let too_late = |_| Failure::LookupTimedOut(LOOKUP_SECONDS_MAX);
        let looking = async {
            let place = Arc::clone(&self.lookups).acquire_owned().await;
            let name: Box<str> = name.into();
            // The place goes with the thread, which may block for longer than we wait: there are never more of them.
            let looking = tokio::task::spawn_blocking(move || {
                let _place = place;
                (&*name, 0).to_socket_addrs()
            });
            looking.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let found = timeout(within, looking).await.map_err(too_late)?;
        let mut addresses = found.map_err(|error| Failure::NoAddress(error.to_string().into()))?;
        let first = addresses.find(SocketAddr::is_ipv4).map(|address| address.ip());
        first.ok_or_else(|| Failure::NoAddress("the name has no IPv4 address".into()))
    }
}

/// What it means that there is no connection.
fn without_connection(error: io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            Outcome::NotAsked(error)
        }
        Some(libc::ECONNREFUSED) => Outcome::Unhealthy(Failure::Refused),
        _ => Outcome::Unhealthy(Failure::Unreachable(error.to_string().into())),
    }
}

#[cfg(test)]
mod tests;
