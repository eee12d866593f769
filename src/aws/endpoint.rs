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
    /// The service name, `com.amazonaws.REGION.SERVICE`; empty for resource and service-network endpoints.
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

impl VpcEndpoint {
    /// What its private DNS answers, whatever its state.
    pub fn private_names(&self) -> impl Iterator<Item = &PrivateName> {
        let (own, associations) = match &self.kind {
            EndpointKind::Interface { private_names, .. } => (private_names.as_slice(), [].as_slice()),
            EndpointKind::Lattice { associations, .. } => ([].as_slice(), associations.as_slice()),
            EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => ([].as_slice(), [].as_slice()),
        };
        own.iter().chain(associations.iter().filter_map(|association| association.private_name.as_ref()))
    }
}

/// Interface endpoints and those of VPC Lattice have names and addresses; the others change no DNS answer.
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
        /// Which of the addresses answer.
        dns_record_ip_type: DnsRecordIpType,
        /// Whether clients of a known Availability Zone get the addresses there, if there are any. AWS does not do that.
        prefer_same_az: bool,
    },
    /// A resource or service-network endpoint: what it is associated with, each under a name of its own
    /// (PL:use-resource-endpoint, PL:privatelink-access-service-networks).
    Lattice {
        /// Resources and services.
        associations: Vec<EndpointAssociation>,
        /// Which of the addresses answer.
        dns_record_ip_type: DnsRecordIpType,
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
    /// `vpce-ID-HASH-AZ.SERVICE.REGION.vpce.amazonaws.com`; none for a service of another region, whose endpoints have no
    /// such names (PL:aws-services-cross-region-privatelink-support).
    pub zonal_name: Option<Name>,
    /// The addresses of the network interfaces there, in the order given.
    pub addresses: Vec<IpAddr>,
}

/// A resource or service behind an endpoint (EC2 API, VpcEndpointAssociation).
#[derive(Clone, Debug)]
pub struct EndpointAssociation {
    /// The name that AWS gave it, below `vpc-lattice-rsc` or `vpc-lattice-svcs`.
    pub dns_name: Name,
    /// Where it is reached: at least one address.
    pub addresses: Vec<IpAddr>,
    /// Its custom domain name, where private DNS answers it.
    pub private_name: Option<PrivateName>,
}

/// Which of its provider's custom domain names an endpoint of VPC Lattice answers (EC2 API, PrivateDnsPreference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum PrivateDnsPreference {
    VerifiedDomainsOnly,
    AllDomains,
    VerifiedDomainsAndSpecifiedDomains,
    SpecifiedDomainsOnly,
}

impl PrivateDnsPreference {
    /// Every preference and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 4] = [
        ("VERIFIED_DOMAINS_ONLY", Self::VerifiedDomainsOnly),
        ("ALL_DOMAINS", Self::AllDomains),
        ("VERIFIED_DOMAINS_AND_SPECIFIED_DOMAINS", Self::VerifiedDomainsAndSpecifiedDomains),
        ("SPECIFIED_DOMAINS_ONLY", Self::SpecifiedDomainsOnly),
    ];

    /// Whether a custom domain name is answered that is verified or not, and specified by the endpoint's owner or not
    /// (VPC Lattice API, DnsOptions).
    pub fn takes(self, is_verified: bool, is_specified: bool) -> bool {
        match self {
            Self::VerifiedDomainsOnly => is_verified,
            Self::AllDomains => true,
            Self::VerifiedDomainsAndSpecifiedDomains => is_verified || is_specified,
            Self::SpecifiedDomainsOnly => is_specified,
        }
    }

    /// Whether it looks at `PrivateDnsSpecifiedDomains`.
    pub fn has_specified_domains(self) -> bool {
        matches!(self, Self::VerifiedDomainsAndSpecifiedDomains | Self::SpecifiedDomainsOnly)
    }
}

/// The addresses that an endpoint's network interfaces have (EC2 API, IpAddressType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum IpAddressType {
    Ipv4,
    Ipv6,
    Dualstack,
}

impl IpAddressType {
    /// Every type and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 3] = [("ipv4", Self::Ipv4), ("ipv6", Self::Ipv6), ("dualstack", Self::Dualstack)];

    /// The type that these addresses make.
    pub fn of(mut addresses: impl Iterator<Item = IpAddr> + Clone) -> Self {
        match (addresses.clone().any(|address| address.is_ipv4()), addresses.any(|address| address.is_ipv6())) {
            (true, true) => Self::Dualstack,
            (false, true) => Self::Ipv6,
            (_, false) => Self::Ipv4,
        }
    }

    /// Whether an endpoint of this type has such addresses.
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
            Self::Dualstack => true,
        }
    }
}

/// Which address records the names of an endpoint have (EC2 API, DnsRecordIpType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum DnsRecordIpType {
    Ipv4,
    Ipv6,
    Dualstack,
    ServiceDefined,
}

impl DnsRecordIpType {
    /// Every type and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 4] = [
        ("ipv4", Self::Ipv4),
        ("ipv6", Self::Ipv6),
        ("dualstack", Self::Dualstack),
        ("service-defined", Self::ServiceDefined),
    ];

    /// What it is where nothing is said: the endpoint's own type (PL:privatelink-access-aws-services).
    pub fn of_endpoint(endpoint: IpAddressType) -> Self {
        match endpoint {
            IpAddressType::Ipv4 => Self::Ipv4,
            IpAddressType::Ipv6 => Self::Ipv6,
            IpAddressType::Dualstack => Self::Dualstack,
        }
    }

    /// Whether an endpoint of this type can have it: one of both families any, others their own only
    /// (PL:privatelink-access-aws-services).
    pub fn fits(self, endpoint: IpAddressType) -> bool {
        endpoint == IpAddressType::Dualstack || self == Self::of_endpoint(endpoint)
    }

    /// Whether an address is answered under the names that AWS gave the endpoint.
    pub fn answers(self, address: IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
            Self::Dualstack | Self::ServiceDefined => true,
        }
    }

    /// Whether an address is answered under a private name: where the service defines it, its dual-stack names have both
    /// types and the others A only (PL:privatelink-access-aws-services).
    pub fn answers_privately(self, address: IpAddr, name: &Name) -> bool {
        match self {
            Self::ServiceDefined => address.is_ipv4() || is_dual_stack_name(name),
            _ => self.answers(address),
        }
    }
}

/// Whether a service's name is one that has IPv6 addresses in public: `s3.dualstack.REGION…`, or below `api.aws`, `on.aws`
/// and what these are elsewhere.
fn is_dual_stack_name(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    labels.contains(&b"dualstack".as_slice())
        || matches!(labels.as_slice(), [.., b"api" | b"on", b"aws"])
        || labels.contains(&b"amazonwebservices".as_slice())
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

/// Addresses of an endpoint, or of one of its associations: an answer of all of them is one message of 64 KiB also where
/// they are of IPv6, and far more than AWS gives one (a network interface in each Availability Zone).
pub const ADDRESSES_MAX: usize = 1000;
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
