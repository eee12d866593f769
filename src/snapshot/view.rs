//! Views: what one (VPC, from inside | via inbound) pair sees.

use super::authority::{Authority, AuthorityTable};
use super::autodefined::NetworksIndex;
use super::query_log::Logs;
use super::routing_policy::RegionIndex;

/// Which of [`super::Snapshot::views`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewIndex(pub u32);

/// How a query came into its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ingress {
    /// By a plus-two or shared door.
    Inside,
    /// By an address of an inbound endpoint.
    ViaInbound,
}

/// Where a view's queries are counted: the same over the life of the process, whatever is reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewSlot(pub u16);

/// VPCs whose queries are counted apart, the first ones since the start; those of the rest are counted together.
pub const VPCS_COUNTED_APART: u16 = 128;
/// How many [`ViewSlot`]s there are: two a VPC, and two for the rest.
pub const VIEW_SLOTS: usize = 2 * (VPCS_COUNTED_APART as usize + 1);

impl ViewSlot {
    /// Whether it stands for one VPC, and not for the rest.
    pub fn is_of_one(self) -> bool {
        self.0 < 2 * VPCS_COUNTED_APART
    }
}

/// One view.
#[derive(Clone, Debug)]
pub struct View {
    /// The VPC's id.
    pub vpc: Box<str>,
    /// How queries come in.
    pub ingress: Ingress,
    /// Where its queries are counted.
    pub slot: ViewSlot,
    /// Where the VPC is: policies by latency and location are answered from there, whoever asks
    /// (R53:hosted-zone-private-considerations).
    pub region: RegionIndex,
    /// `enableDnsSupport`; without it every query is refused.
    pub dns_support: bool,
    /// What the view itself claims: rules, hosted zones, private names.
    pub table: AuthorityTable,
    /// What everyone in its region claims: `vpce-…` names and, with `enableDnsHostnames`, the autodefined names.
    pub base: AuthorityTable,
    /// The address blocks that have names here.
    pub networks: NetworksIndex,
    /// Whether these blocks have reverse zones: `enableDnsHostnames`, and `AutodefinedReverse` besides.
    pub has_reverse_zones: bool,
    /// Who answers for what nobody claims: the upstream.
    pub otherwise: Authority,
    /// Whether IPv6 addresses are made of IPv4 ones where a name has none.
    pub dns64: bool,
    /// Which logs have its queries.
    pub logs: Logs,
}
