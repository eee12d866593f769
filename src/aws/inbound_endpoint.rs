//! Route 53 Resolver inbound endpoints: where other networks ask.

use super::model::VpcIndex;
use ipnet::IpNet;
use std::net::SocketAddr;

/// Addresses of an inbound endpoint at most, and the number that AWS asks for at least (2 Availability Zones).
pub const INBOUND_ADDRESSES_MAX: usize = 6;
/// AWS wants two addresses in two Availability Zones; one alone works here and is warned about.
pub const INBOUND_ADDRESSES_MIN: usize = 2;

/// One inbound endpoint: its doors give the via-inbound view of its VPC.
#[derive(Clone, Debug)]
pub struct InboundEndpoint {
    /// The id, `rslvr-in-…`.
    pub id: Box<str>,
    /// The VPC it belongs to.
    pub vpc: VpcIndex,
    /// Its addresses: one to six.
    pub listen: Vec<SocketAddr>,
    /// Its security group: who may ask; the default is already filled in.
    pub allow: Vec<IpNet>,
    /// `Dns64Enabled`: as `EnableDns64` of subnets, for those who ask here.
    pub dns64: bool,
}
