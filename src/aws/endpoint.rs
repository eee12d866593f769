//! VPC endpoints (PrivateLink): the names that answer with the addresses of endpoint network interfaces.

use super::model::VpcIndex;
use crate::dns::{Name, NameError};
use std::net::IpAddr;
use std::time::Duration;

/// One VPC endpoint.
#[derive(Clone, Debug)]
pub struct VpcEndpoint {
    /// The id, `vpce-…`.
    pub id: Box<str>,
    /// The VPC whose clients see its private names.
    pub vpc: VpcIndex,
    /// The service name, `com.amazonaws.REGION.SERVICE`.
    pub service: Box<str>,
    /// What kind it is, with what only that kind has.
    pub kind: EndpointKind,
    /// Where it is in its life.
    pub state: EndpointState,
    /// How its network interfaces are asked whether they take connections; none: they are not, as in AWS.
    pub interface_probe: Option<InterfaceProbe>,
}

/// How the network interfaces of an endpoint are asked whether they take connections. AWS does not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceProbe {
    /// The TCP port.
    pub port: u16,
    /// From one reply to the next request.
    pub request_interval: Duration,
    /// Replies in a row that turn what is known of one.
    pub failure_threshold: u8,
}

/// Interface endpoints have names and addresses; the others change no DNS answer.
#[derive(Clone, Debug)]
pub enum EndpointKind {
    /// An interface endpoint.
    Interface {
        /// The regional name `vpce-ID-HASH.SERVICE.REGION.vpce.amazonaws.com`, without a leading `*.`.
        regional_name: Name,
        /// The addresses of its network interfaces, by Availability Zone. At least one address in all.
        zonal: Vec<ZonalAddresses>,
        /// Whether names below the regional and zonal ones answer too (S3: `bucket.vpce-….s3…`).
        has_subdomains: bool,
        /// What private DNS answers: empty where it is off.
        private_names: Vec<PrivateName>,
        /// S3's "private DNS only for inbound resolver": private names answer via-inbound only.
        private_dns_only_for_inbound: bool,
    },
    /// A gateway endpoint: routes, no DNS (PL:gateway-endpoints).
    Gateway,
    /// A Gateway Load Balancer endpoint: no private DNS (PL:manage-dns-names).
    GatewayLoadBalancer,
}

/// The addresses of one Availability Zone and the name that answers with them.
#[derive(Clone, Debug)]
pub struct ZonalAddresses {
    /// The Availability Zone's name, as `ap-northeast-2a`.
    pub availability_zone: Box<str>,
    /// `vpce-ID-HASH-AZ.SERVICE.REGION.vpce.amazonaws.com`.
    pub zonal_name: Name,
    /// The addresses of the network interfaces there, in the order given.
    pub addresses: Vec<IpAddr>,
}

/// A private DNS name: the public service name answered privately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateName {
    /// The apex of its hidden zone: the name itself, or what stands behind `*.`.
    pub apex: Name,
    /// Whether the apex itself answers.
    pub at_apex: bool,
    /// Whether everything below the apex answers.
    pub below_apex: bool,
}

impl PrivateName {
    /// Takes a name as AWS lists it, a leading `*` label standing for everything below, and adds it to those of its
    /// apex.
    pub fn add_to(names: &mut Vec<Self>, name: Name) {
        let (apex, is_wildcard) = match name.parent() {
            Some(parent) if name.is_wildcard() => (parent, true),
            _ => (name, false),
        };
        match names.iter_mut().find(|known| known.apex == apex) {
            Some(known) if is_wildcard => known.below_apex = true,
            Some(known) => known.at_apex = true,
            None => names.push(Self { apex, at_apex: !is_wildcard, below_apex: is_wildcard }),
        }
    }
}

/// Seconds from one reply of a network interface to the next request: the shorter of a health check's two intervals.
pub const INTERFACE_PROBE_SECONDS: u64 = 10;
/// Replies in a row that turn what is known of a network interface: as of a health check.
pub const INTERFACE_PROBE_THRESHOLD: u8 = 3;
/// Network interfaces of an endpoint that are asked; an endpoint has one in each Availability Zone.
pub const INTERFACES_PROBED_MAX: usize = 100;

/// The zonal name of a regional one: the Availability Zone's name behind the hash in the first label
/// (PL:privatelink-access-aws-services).
pub fn zonal_name(regional_name: &Name, availability_zone: &str) -> Result<Name, NameError> {
    let label = regional_name.labels().next().ok_or(NameError::EmptyLabel)?;
    let label = [label, b"-", availability_zone.as_bytes()].concat();
    Name::from_labels(std::iter::once(label.as_slice()).chain(regional_name.labels().skip(1)))
}

/// The states of an endpoint (EC2 API, DescribeVpcEndpoints; any case is read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum EndpointState {
    PendingAcceptance,
    Pending,
    Available,
    Deleting,
    Deleted,
    Rejected,
    Failed,
    Expired,
    Partial,
}

impl EndpointState {
    /// Every state and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 9] = [
        ("pendingAcceptance", Self::PendingAcceptance),
        ("pending", Self::Pending),
        ("available", Self::Available),
        ("deleting", Self::Deleting),
        ("deleted", Self::Deleted),
        ("rejected", Self::Rejected),
        ("failed", Self::Failed),
        ("expired", Self::Expired),
        ("partial", Self::Partial),
    ];

    /// Whether the `vpce-…` names are in DNS: always, but for endpoints that are gone or never came to be.
    pub fn has_dns_names(self) -> bool {
        !matches!(self, Self::Deleted | Self::Rejected | Self::Failed)
    }

    /// Whether private names answer: only while available (before that the entry shows ZONEIDPENDING).
    pub fn has_private_names(self) -> bool {
        self == Self::Available
    }
}
