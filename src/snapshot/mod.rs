//! Read-only answer data: what `compile` wrote, as the query path reads it.
//!
//! ```text
//! door, client ──> View ──> AuthorityTable (longest suffix) ──> Authority
//!                                                                 ├ Zone ──> NodeTable (zone, name) ──> records
//!                                                                 │           └ PolicyTable, HealthTable ──> records
//!                                                                 └ Forward ──> targets
//! ```
//! Zone data stands once, however many VPCs are associated with it: a view holds only which table is its own, and
//! views with the same associations share a table.

pub mod authority;
pub mod autodefined;
pub mod compat;
pub mod door;
pub mod health_check;
pub mod node;
mod pages;
pub mod prefix;
pub mod probe;
pub mod protection;
pub mod publish;
pub mod query_log;
pub mod routing_policy;
pub mod targets;
pub mod view;
pub mod zone;

pub use authority::{Authority, AuthorityTable, AuthorityTables, Layer, LayerIndex};
pub use autodefined::{Network, Networks, NetworksIndex, ReverseName, StoredNames};
pub use compat::NegativeAnswers;
pub use door::{DOOR_SLOTS, DOORS_COUNTED_APART, Door, DoorIndex, DoorKind, DoorSlot};
pub use health_check::{HealthIndex, HealthPlan, HealthStates, HealthTable};
pub use node::{Node, NodeTable, Records, RrsetData};
pub use prefix::PrefixMap;
pub use probe::{HttpRequest, Probe, ProbeHost, ProbeRequest, ProbeTls};
pub use protection::Protection;
pub use publish::{Generation, Publisher, Reader};
pub use query_log::{LogNames, LoggedVpc, Logs};
pub use routing_policy::{Policy, PolicyIndex, PolicyKind, PolicySet, PolicyTable, RegionIndex};
pub use targets::{ContextId, ContextIndex, ForwardContext};
pub use view::{Ingress, VIEW_SLOTS, VPCS_COUNTED_APART, View, ViewIndex, ViewSlot};
pub use zone::{Contents, Zone, ZoneIndex, ZoneKind};

use crate::dns::{FoldedName, HashSeed};
use autodefined::{REVERSE_ZONE_OCTETS_MAX, reverse_zone_labels};
use std::net::IpAddr;
use std::sync::Arc;

/// Everything an answer needs, whole and unchanging: one query sees one snapshot.
pub struct Snapshot {
    /// What name hashes start from.
    pub seed: HashSeed,
    /// Doors, each at the place of its sockets: in the order of the model, unless they were [placed](Self::place_doors).
    pub doors: Box<[Option<Door>]>,
    /// Which view the client of a shared door gets: longest prefix over the VPCs' CIDR blocks and client ranges.
    pub clients: PrefixMap<ViewIndex>,
    /// Views.
    pub views: Box<[View]>,
    /// Who answers for a suffix, all tables.
    pub authorities: AuthorityTables,
    /// Zones that fall through, each with what is beneath it.
    pub layers: Box<[Layer]>,
    /// Zones of every kind.
    pub zones: Box<[Zone]>,
    /// What views see of VPCs: address blocks, whose names are computed, and stored names.
    pub networks: Box<[Networks]>,
    /// The reverse zones of CIDR blocks: by the octets of an address in the apex, whatever these are.
    pub reverse_zones: [ZoneIndex; REVERSE_ZONE_OCTETS_MAX + 1],
    /// Names and records of all zones.
    pub nodes: NodeTable,
    /// Routing policies of all zones.
    pub policies: PolicyTable,
    /// The health that policies look at: it stands beside the snapshot, and with `negative_answers` is all that changes
    /// under it.
    pub health: Arc<HealthTable>,
    /// Negative answers given lately; none: each carries its SOA.
    pub negative_answers: Option<NegativeAnswers>,
    /// Rules' targets and the upstream.
    pub contexts: Box<[ForwardContext]>,
    /// What the query log says of VPCs.
    pub log_names: LogNames,
    /// How replies are kept from being abused: put here by who publishes, for the model knows nothing of it.
    pub protection: Protection,
    /// How much it was made of.
    pub sizes: Sizes,
}

/// How much a snapshot was made of, for whoever looks at it from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// VPCs.
    pub vpcs: usize,
    /// VPC endpoints.
    pub endpoints: usize,
    /// Resolver rules, SYSTEM rules among them.
    pub rules: usize,
}

/// Why a client gets no view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoView {
    /// The door's `allow` does not name the client.
    NotAllowed,
    /// The client may ask, but no VPC claims it and there is no `default_vpc`.
    Unclaimed,
}

/// Who answers for a name in a view, and where to look first: computed once a query, before the memory is touched.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// Who answers.
    pub authority: Authority,
    /// For a zone: the mixed hash of (zone, name).
    pub node_hash: u64,
}

impl Snapshot {
    /// The view of a query that came in by `door` from `client` (IPv4-mapped addresses already turned into IPv4).
    #[inline]
    pub fn view_for(&self, door: DoorIndex, client: IpAddr) -> Result<ViewIndex, NoView> {
        // A door that has just been given up: what was still on its way there is no longer for us.
        let Some(Some(door)) = self.doors.get(door.0 as usize) else { return Err(NoView::NotAllowed) };
        match door.kind {
            DoorKind::View(view) if door.allow.get(client).is_some() => Ok(view),
            DoorKind::BySubnet { otherwise } if door.allow.get(client).is_some() => {
                Ok(door.subnets.get(client).unwrap_or(otherwise))
            }
            DoorKind::View(_) | DoorKind::BySubnet { .. } => Err(NoView::NotAllowed),
            DoorKind::Shared { default } => match self.clients.get(client) {
                Some(view) => Ok(view),
                None if door.allow.get(client).is_none() => Err(NoView::NotAllowed),
                None => default.ok_or(NoView::Unclaimed),
            },
        }
    }

    /// Puts the doors where their sockets are: the first of those that are there now at the first of these places, and
    /// so on; no place stands twice.
    pub fn place_doors(&mut self, places: &[DoorIndex]) {
        let room = places.iter().map(|place| place.0 as usize + 1).max().unwrap_or(0);
        let mut placed: Vec<Option<Door>> = vec![None; room];
        for (door, place) in std::mem::take(&mut self.doors).into_iter().zip(places) {
            placed[place.0 as usize] = door;
        }
        self.doors = placed.into();
    }

    /// The view of an index that this snapshot gave out.
    #[inline]
    pub fn view(&self, index: ViewIndex) -> &View {
        &self.views[index.0 as usize]
    }

    /// The longest suffix of `name` that anybody in `view` claims; on equal length the view's own table wins
    /// (rule > hosted zone and private name > built-in).
    #[inline]
    pub fn authority_for(&self, view: &View, name: &FoldedName) -> Authority {
        let branch = self.authorities.branch(name);
        if branch.may_be_reverse()
            && let Some(authority) = self.reverse_authority_for(view, name)
        {
            return authority;
        }
        self.authorities.longest(&view.table, &view.base, branch, name).unwrap_or(view.otherwise)
    }

    /// Who answers for a name in the reverse zones of the view's own blocks: these zones, unless the view itself claims
    /// as long a suffix or a longer one.
    #[cold]
    fn reverse_authority_for(&self, view: &View, name: &FoldedName) -> Option<Authority> {
        if !view.has_reverse_zones {
            return None;
        }
        let octets = self.networks(view).reverse_zone_octets(&ReverseName::read(name)?)?;
        let own = self.authorities.longest_from(reverse_zone_labels(octets), &view.table, &view.base, name);
        Some(own.unwrap_or(Authority::Zone(self.reverse_zones[octets])))
    }

    /// Finds who answers for `name`, and for a zone the place to look.
    #[inline]
    pub fn locate(&self, view: &View, name: &FoldedName) -> Located {
        self.located(self.authority_for(view, name), name)
    }

    /// Where to look for `name`, given who answers for it.
    #[inline]
    pub fn located(&self, authority: Authority, name: &FoldedName) -> Located {
        let node_hash = match authority {
            Authority::Zone(zone) => NodeTable::hash(zone, name.suffix_hash(name.label_count())),
            Authority::Layered(_) | Authority::Forward(_) | Authority::Nothing => 0,
        };
        Located { authority, node_hash }
    }

    /// Where the queries of a door are counted.
    #[inline]
    pub fn door_slot(&self, door: DoorIndex) -> DoorSlot {
        self.doors.get(door.0 as usize).and_then(Option::as_ref).map_or(DoorSlot(DOORS_COUNTED_APART), |door| door.slot)
    }

    /// Which logs have the queries of a view, or those that belong to none.
    #[inline]
    pub fn logs(&self, view: Option<ViewIndex>) -> Logs {
        view.map_or(self.log_names.unclaimed, |view| self.view(view).logs)
    }

    /// Octets of the data in memory: names, records, tables, zones and views.
    pub fn octets(&self) -> usize {
        let of_zones = self.zones.iter().map(|zone| size_of::<Zone>() + zone.negative_soa.len() + zone.id.len());
        let of_views = self.views.iter().map(|view| size_of::<View>() + view.vpc.len());
        let of_tables = self.nodes.octets() + self.authorities.octets() + self.policies.octets();
        of_tables + of_zones.chain(of_views).sum::<usize>()
    }

    /// The zone that falls through of an index that this snapshot gave out.
    pub fn layer(&self, index: LayerIndex) -> Layer {
        self.layers[index.0 as usize]
    }

    /// What a view sees of its VPC and of peers.
    #[inline]
    pub fn networks(&self, view: &View) -> &Networks {
        &self.networks[view.networks.0 as usize]
    }

    /// The zone of an index that this snapshot gave out.
    #[inline]
    pub fn zone(&self, index: ZoneIndex) -> &Zone {
        &self.zones[index.0 as usize]
    }

    /// The forwarding context of an index that this snapshot gave out.
    #[inline]
    pub fn context(&self, index: ContextIndex) -> &ForwardContext {
        &self.contexts[index.0 as usize]
    }
}
