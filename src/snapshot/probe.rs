//! What is to be asked whether it is healthy. No answer reads it: it stands here because only the snapshot's types are
//! known to those who make it and to those who ask.

use std::net::IpAddr;
use std::time::Duration;

/// One endpoint to ask, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The id under which [`HealthStates`](super::HealthStates) takes up what was seen.
    pub id: Box<str>,
    /// Where it is.
    pub host: ProbeHost,
    /// The port.
    pub port: u16,
    /// What it is asked.
    pub request: ProbeRequest,
    /// From one reply to the next request.
    pub interval: Duration,
    /// Replies in a row that turn its status, from 1.
    pub threshold: u8,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeHost {
    /// At this address.
    Address(IpAddr),
    /// At the IPv4 address of this name, looked up for each request.
    Name(Box<str>),
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeRequest {
    /// For a connection.
    Connect,
    /// For a page.
    Http(HttpRequest),
}

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The value of the Host field.
    pub host: Box<str>,
    /// The path and query; begins with `/`.
    pub path: Box<str>,
    /// How it is encrypted; none: it is not.
    pub tls: Option<ProbeTls>,
    /// What the beginning of the body must hold; none: the status is enough.
    pub search: Option<Box<str>>,
}

/// How a request is encrypted. No certificate is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTls {
    /// The name in the handshake; none: no name is said.
    pub server_name: Option<Box<str>>,
}
