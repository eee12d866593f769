//! EC2 instances: their resource names, and the public names of their addresses.

use super::model::VpcIndex;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One instance, with the addresses of its primary network interface.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The id, `i-` and hexadecimal digits: the first label of its resource name.
    pub id: Box<str>,
    /// The VPC it runs in.
    pub vpc: VpcIndex,
    /// Its primary private IPv4 address, in one of the VPC's CIDR blocks; none in IPv6-only subnets.
    pub private_ip_address: Option<Ipv4Addr>,
    /// The public IPv4 address that is associated with that.
    pub public_ip_address: Option<Ipv4Addr>,
    /// Its IPv6 address. One of the two is there.
    pub ipv6_address: Option<Ipv6Addr>,
    /// What it is called.
    pub private_dns_name_options: PrivateDnsNameOptions,
}

/// What an instance is called, and for which types its resource name answers (EC2 API, PrivateDnsNameOptionsResponse).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateDnsNameOptions {
    /// The type of its hostname; it decides no answer, for IP names answer always.
    pub hostname_type: HostnameType,
    /// Whether the resource name has an A record.
    pub enable_resource_name_dns_a_record: bool,
    /// Whether the resource name has an AAAA record.
    pub enable_resource_name_dns_aaaa_record: bool,
}

/// The types of hostnames (EC2 user guide, ec2-instance-naming).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostnameType {
    /// `ip-10-0-1-5`.
    IpName,
    /// `i-0123456789abcdef0`.
    ResourceName,
}

impl HostnameType {
    /// Every type and the word that the EC2 API has for it.
    pub const WORDS: [(&str, Self); 2] = [("ip-name", Self::IpName), ("resource-name", Self::ResourceName)];
}
