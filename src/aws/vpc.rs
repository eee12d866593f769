//! VPCs: networks, their CIDR blocks, and the doors that belong to them.

use ipnet::IpNet;
use std::net::SocketAddr;

/// One VPC, and who may ask as it.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// The id, `vpc-…`: unique among the ids and names of all VPCs.
    pub id: Box<str>,
    /// A name for people, usable wherever an id is.
    pub name: Option<Box<str>>,
    /// The region, as `ap-northeast-2`.
    pub region: Box<str>,
    /// `OwnerId`: the account that it belongs to, if the file says; decides nothing.
    pub owner_id: Option<Box<str>>,
    /// Its CIDR blocks: clients of shared doors in these ranges ask as this VPC.
    pub cidrs: Vec<IpNet>,
    /// Its subnets, as far as anything asks which Availability Zone a client is in.
    pub subnets: Vec<Subnet>,
    /// Further source ranges that do.
    pub clients: Vec<IpNet>,
    /// Its plus-two doors, with real ports (0 = any free one, for tests).
    pub listen: Vec<SocketAddr>,
    /// Who may ask at its plus-two doors; the default is already filled in.
    pub allow: Vec<IpNet>,
    /// `enableDnsSupport`: without it every door of the VPC refuses (VPC user guide, "DNS attributes").
    pub dns_support: bool,
    /// `enableDnsHostnames`: without it no zone, private name or autodefined name, only rules and upstream.
    pub dns_hostnames: bool,
    /// `AutodefinedReverse` of its resolver configuration: without it no reverse name but the loopback's is autodefined.
    pub autodefined_reverse: bool,
    /// `EnableDns64` of its subnets: clients get IPv6 addresses made of IPv4 ones where a name has none
    /// (VPC:nat-gateway-nat64-dns64).
    pub dns64: bool,
}

/// A part of a VPC's CIDR blocks, which is in one Availability Zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its CIDR block.
    pub cidr_block: IpNet,
    /// The Availability Zone's name in the account, as `ap-northeast-2a`.
    pub availability_zone: Box<str>,
}

impl Vpc {
    /// Whether the addresses of its CIDR blocks have reverse zones (R53:resolver-rules-managing).
    pub fn has_reverse_zones(&self) -> bool {
        self.dns_hostnames && self.autodefined_reverse
    }
}

/// CIDR blocks of one family that a VPC has (VPC user guide, amazon-vpc-limits: the quota can be raised to this).
pub const CIDRS_MAX: usize = 50;
