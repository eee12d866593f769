//! VPC peering connections: which VPC resolves the other's names to private addresses.

use super::model::{Model, VpcIndex};

/// One peering connection.
#[derive(Clone, Debug)]
pub struct VpcPeering {
    /// The id, `pcx-…`.
    pub id: Box<str>,
    /// The VPC that asked for it.
    pub requester: PeeringSide,
    /// The VPC that accepted it: another one, whose CIDR blocks do not overlap the first one's.
    pub accepter: PeeringSide,
    /// Where it is in its life.
    pub status: PeeringStatus,
}

/// Active peering connections of one VPC (VPC user guide, amazon-vpc-limits: the quota can be raised to this).
pub const PEERINGS_MAX: usize = 125;

/// One of the two VPCs.
#[derive(Clone, Copy, Debug)]
pub struct PeeringSide {
    /// The VPC.
    pub vpc: VpcIndex,
    /// Whether the names of this VPC's instances resolve to private addresses when they are asked for from the other one
    /// (VPC peering guide, vpc-peering-dns).
    pub allow_dns_resolution_from_remote_vpc: bool,
}

/// The states of a peering connection (EC2 API, VpcPeeringConnectionStateReason; any case is read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum PeeringStatus {
    InitiatingRequest,
    PendingAcceptance,
    Active,
    Deleted,
    Rejected,
    Failed,
    Expired,
    Provisioning,
    Deleting,
}

impl PeeringStatus {
    /// Every state and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 9] = [
        ("initiating-request", Self::InitiatingRequest),
        ("pending-acceptance", Self::PendingAcceptance),
        ("active", Self::Active),
        ("deleted", Self::Deleted),
        ("rejected", Self::Rejected),
        ("failed", Self::Failed),
        ("expired", Self::Expired),
        ("provisioning", Self::Provisioning),
        ("deleting", Self::Deleting),
    ];
}

impl VpcPeering {
    /// Who sees whose names over it: the VPC that asks, then the one whose names they are. Both need both DNS attributes
    /// (VPC peering guide, vpc-peering-dns).
    pub fn resolutions(&self, model: &Model) -> impl Iterator<Item = (VpcIndex, VpcIndex)> {
        let has_dns = |side: &PeeringSide| {
            let vpc = model.vpc(side.vpc);
            vpc.dns_support && vpc.dns_hostnames
        };
        let works = self.status == PeeringStatus::Active && has_dns(&self.requester) && has_dns(&self.accepter);
        let directions = [(self.requester, self.accepter), (self.accepter, self.requester)];
        let allowed = directions.into_iter().filter(move |(_, of)| works && of.allow_dns_resolution_from_remote_vpc);
        allowed.map(|(from, of)| (from.vpc, of.vpc))
    }
}
