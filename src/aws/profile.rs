//! Route 53 Profiles: what several VPCs are to have in common.

use super::model::VpcIndex;

/// The priority of an association that names none (Route 53 Profiles API, AssociateProfile).
pub const PROFILE_PRIORITY: u64 = 100;

/// Which profile of [`super::Model::profiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileIndex(pub u32);

/// One profile: what it shares, and with whom. What is associated with a VPC directly goes before it at the same name
/// (R53:profiles).
#[derive(Clone, Debug)]
pub struct Profile {
    /// The id, `rp-…`.
    pub id: Box<str>,
    /// Hosted zones: indexes into `Model::hosted_zones`, without repeats.
    pub hosted_zones: Vec<usize>,
    /// Rules: indexes into `Model::resolver_rules`, without repeats.
    pub resolver_rules: Vec<usize>,
    /// Endpoints, for their private names: indexes into `Model::endpoints`, without repeats.
    pub endpoints: Vec<usize>,
    /// The VPCs that have it, each once.
    pub associations: Vec<ProfileAssociation>,
}

/// A profile in a VPC.
#[derive(Clone, Copy, Debug)]
pub struct ProfileAssociation {
    /// The VPC.
    pub vpc: VpcIndex,
    /// Of several profiles of a VPC the one with the lowest goes first; no two have the same.
    pub priority: u64,
}
