//! Health checks: what says whether a record set may be answered.

use std::net::IpAddr;
use std::time::Duration;

/// Which of [`super::Model::health_checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthCheckIndex(pub u32);

/// One health check.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// The id that record sets name.
    pub id: Box<str>,
    /// How it comes to its status.
    pub kind: HealthCheckKind,
    /// Whether healthy counts as unhealthy and the other way round (Route 53 API, HealthCheckConfig: Inverted).
    pub inverted: bool,
    /// Whether nothing is looked at and the status is healthy, before it is inverted (HealthCheckConfig: Disabled).
    pub disabled: bool,
}

/// How a health check comes to its status.
#[derive(Clone, Debug)]
pub enum HealthCheckKind {
    /// Set by hand, in the configuration: what a CloudWatch alarm or a routing control is in AWS.
    Manual {
        /// Whether it is healthy; none: as it was last, and healthy if it is new (HealthCheckConfig:
        /// InsufficientDataHealthStatus, LastKnownStatus).
        healthy: Option<bool>,
        /// The routing control whose place it takes, as the operator calls it (HealthCheckConfig: RoutingControlArn).
        routing_control_arn: Option<Box<str>>,
    },
    /// Healthy while enough others are (HealthCheckConfig: CALCULATED).
    Calculated {
        /// How many must be healthy: 0 is always enough, more than there are never (HealthThreshold).
        health_threshold: u32,
        /// The others; each stands before this one in the model.
        children: Vec<HealthCheckIndex>,
    },
    /// Seen by asking (HealthCheckConfig: HTTP, HTTPS, HTTP_STR_MATCH, HTTPS_STR_MATCH, TCP).
    Monitored(MonitoredEndpoint),
}

/// What a health check asks, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoredEndpoint {
    /// Where it is.
    pub host: MonitoredHost,
    /// The port.
    pub port: u16,
    /// What it is asked.
    pub protocol: MonitoringProtocol,
    /// From one reply to the next request: 10 or 30 seconds in a configuration (HealthCheckConfig: RequestInterval).
    pub request_interval: Duration,
    /// Replies in a row that turn the status, 1 to 10 (HealthCheckConfig: FailureThreshold).
    pub failure_threshold: u8,
}

/// Where an endpoint is, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitoredHost {
    /// At an address; the name, if any, is only told to it (HealthCheckConfig: IPAddress).
    Address {
        /// The address.
        ip_address: IpAddr,
        /// The name in the Host header and in the TLS handshake.
        name: Option<Box<str>>,
    },
    /// At the IPv4 address of this name, looked up for each request (HealthCheckConfig: FullyQualifiedDomainName).
    Name(Box<str>),
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitoringProtocol {
    /// For a connection, and nothing more.
    Tcp,
    /// For a page.
    Http {
        /// Whether it is asked over TLS.
        is_https: bool,
        /// Whether its name stands in the TLS handshake (HealthCheckConfig: EnableSNI).
        enable_sni: bool,
        /// The path and query; begins with `/` (HealthCheckConfig: ResourcePath).
        resource_path: Box<str>,
        /// What the beginning of the body must hold (HealthCheckConfig: SearchString).
        search_string: Option<Box<str>>,
    },
}

impl MonitoredHost {
    /// The name, where there is one, without a final dot.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Address { name, .. } => name.as_deref(),
            Self::Name(name) => Some(name),
        }
    }
}

/// Health checks that a calculated one looks at (Route 53 Developer Guide, DNSLimitations).
pub const CHILD_HEALTH_CHECKS_MAX: usize = 255;
/// Seconds from one reply to the next request (HealthCheckConfig: RequestInterval).
pub const REQUEST_INTERVALS_SECONDS: [u64; 2] = [10, 30];
/// The same where nothing is written (HealthCheckConfig: RequestInterval).
pub const REQUEST_INTERVAL_SECONDS: u64 = 30;
/// Replies in a row that turn a status at most (HealthCheckConfig: FailureThreshold).
pub const FAILURE_THRESHOLD_MAX: u64 = 10;
/// The same where nothing is written (HealthCheckConfig: FailureThreshold).
pub const FAILURE_THRESHOLD: u8 = 3;
/// Characters of a path, and of what is searched for (HealthCheckConfig: ResourcePath, SearchString).
pub const CHARACTERS_MAX: usize = 255;
/// Where HTTP is asked without a port (HealthCheckConfig: Port, FullyQualifiedDomainName).
pub const HTTP_PORT: u16 = 80;
/// Where HTTPS is asked without a port (HealthCheckConfig: Port, FullyQualifiedDomainName).
pub const HTTPS_PORT: u16 = 443;
