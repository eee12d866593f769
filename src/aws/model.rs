//! The whole configuration as AWS would hold it, every reference settled.

use super::{
    Compat, HealthCheck, HealthCheckIndex, HostedZone, InboundEndpoint, Instance, NetworkInterface, Profile,
    QueryLogConfig, ResolverRule, Vpc, VpcEndpoint, VpcPeering,
};
use crate::dns::TargetGroup;
use ipnet::IpNet;
use std::net::SocketAddr;

/// Which VPC of [`Model::vpcs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VpcIndex(pub u32);

/// Everything that decides answers. Whoever made it has checked it: see `config`'s diagnostics.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Doors where the client's address picks the VPC.
    pub shared: SharedDoors,
    /// Where names go that nobody here owns. Empty: REFUSED, or SERVFAIL where `upstream_is_system`.
    pub upstream: TargetGroup,
    /// The upstream was to be "system", and resolv.conf named nobody but ourselves.
    pub upstream_is_system: bool,
    /// Who is asked for the addresses of targets that are host names; none of our own doors.
    pub bootstrap: Vec<SocketAddr>,
    /// What is done as AWS does it, though it need not be.
    pub compat: Compat,
    /// VPCs, in the order of the file.
    pub vpcs: Vec<Vpc>,
    /// Peering connections between VPCs.
    pub vpc_peerings: Vec<VpcPeering>,
    /// Network interfaces.
    pub network_interfaces: Vec<NetworkInterface>,
    /// Instances.
    pub instances: Vec<Instance>,
    /// Inbound endpoints.
    pub inbound_endpoints: Vec<InboundEndpoint>,
    /// VPC endpoints.
    pub endpoints: Vec<VpcEndpoint>,
    /// Health checks, each behind those that it looks at.
    pub health_checks: Vec<HealthCheck>,
    /// Private hosted zones.
    pub hosted_zones: Vec<HostedZone>,
    /// Resolver rules.
    pub resolver_rules: Vec<ResolverRule>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// What is logged of whom; none: nothing.
    pub query_log: Option<QueryLogConfig>,
}

/// Doors that belong to no VPC.
#[derive(Clone, Debug, Default)]
pub struct SharedDoors {
    /// Their addresses; none: there is no shared door.
    pub listen: Vec<SocketAddr>,
    /// Clients that no VPC claims, who may ask all the same; the default is already filled in.
    pub allow: Vec<IpNet>,
    /// Whose view those get; none: they are REFUSED.
    pub default_vpc: Option<VpcIndex>,
}

impl Model {
    /// The VPC at an index that this model gave out.
    pub fn vpc(&self, index: VpcIndex) -> &Vpc {
        &self.vpcs[index.0 as usize]
    }

    /// The health check at an index that this model gave out.
    pub fn health_check(&self, index: HealthCheckIndex) -> &HealthCheck {
        &self.health_checks[index.0 as usize]
    }
}
