//! Private hosted zones.

use super::delegation::Delegation;
use super::model::VpcIndex;
use super::record_set::RecordSet;
use crate::dns::Name;

/// One private hosted zone and the VPCs it is associated with.
#[derive(Clone, Debug)]
pub struct HostedZone {
    /// The id, `Z…`.
    pub id: Box<str>,
    /// The name at the top of the zone.
    pub apex: Name,
    /// Associated VPCs, without repeats.
    pub vpcs: Vec<VpcIndex>,
    /// What it holds. Every owner is at or below the apex; no CNAME beside another type. Of one owner and type there is
    /// one set, or several that have the same routing policy and different identifiers.
    /// An SOA or NS set at the apex is there only if the operator gave it: Route 53's is put in by `compile`.
    pub record_sets: RecordSets,
    /// What of it is left to name servers of others, where a DELEGATE rule says so.
    pub delegations: Vec<Delegation>,
    /// Whether names that are not in it are asked as if it were not there. AWS has no such thing.
    pub falls_through: bool,
}

/// The record sets of a hosted zone.
#[derive(Clone, Debug)]
pub enum RecordSets {
    /// They are here.
    Here(Vec<RecordSet>),
    /// They are those that this very zone, by its id and its name, is served with. None of them is an alias or has a
    /// routing policy: nothing else of the model has a part in them.
    AsServed,
}

impl RecordSets {
    /// Those that are here.
    pub fn here(&self) -> &[RecordSet] {
        match self {
            Self::Here(sets) => sets,
            Self::AsServed => &[],
        }
    }
}
