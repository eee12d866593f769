//! VPC endpoints (PrivateLink): the names that answer with the addresses of endpoint network interfaces.

use super::model::VpcIndex;
use crate::dns::Name;
use std::net::IpAddr;

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
    /// Whether the `vpce-…` names are in DNS: always, but for endpoints that are gone or never came to be.
    pub fn has_dns_names(self) -> bool {
        !matches!(self, Self::Deleted | Self::Rejected | Self::Failed)
    }

    /// Whether private names answer: only while available (before that the entry shows ZONEIDPENDING).
    pub fn has_private_names(self) -> bool {
        self == Self::Available
    }
}
