//! Elastic network interfaces: private addresses and the public ones that are associated with them.

use super::model::VpcIndex;
use std::net::Ipv4Addr;

/// One network interface.
#[derive(Clone, Debug)]
pub struct NetworkInterface {
    /// The id, `eni-…`.
    pub id: Box<str>,
    /// The VPC it is in.
    pub vpc: VpcIndex,
    /// Its private IPv4 addresses, the primary one first, each once.
    pub private_ip_addresses: Vec<PrivateIpAddress>,
}

/// A private address, with the public one that is associated with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateIpAddress {
    /// The private address, in one of the VPC's CIDR blocks.
    pub private_ip_address: Ipv4Addr,
    /// The public address; no other private address has it.
    pub public_ip: Option<Ipv4Addr>,
}
