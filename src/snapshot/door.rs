//! Doors as the query path sees them.

use super::prefix::PrefixMap;
use super::view::ViewIndex;
use std::net::SocketAddr;

/// Which door: the place of its sockets, which it keeps for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DoorIndex(pub u32);

/// Where a door's queries are counted: the same over the life of the process, whatever is reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DoorSlot(pub u16);

/// Doors whose queries are counted apart, the first ones since the start; those of the rest are counted together.
pub const DOORS_COUNTED_APART: u16 = 256;
/// How many [`DoorSlot`]s there are: one a door, and one for the rest.
pub const DOOR_SLOTS: usize = DOORS_COUNTED_APART as usize + 1;

impl DoorSlot {
    /// Whether it stands for one door, and not for the rest.
    pub fn is_of_one(self) -> bool {
        self.0 < DOORS_COUNTED_APART
    }
}

/// One door.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address as configured.
    pub address: SocketAddr,
    /// Which view it gives.
    pub kind: DoorKind,
    /// Where its queries are counted.
    pub slot: DoorSlot,
    /// Who may ask here (at a shared door: besides those whom a VPC claims).
    pub allow: PrefixMap<()>,
    /// The views of the VPC's subnets, where they are known: see [`DoorKind::BySubnet`].
    pub subnets: PrefixMap<ViewIndex>,
    /// The inbound endpoint that it belongs to: its id.
    pub inbound_endpoint: Option<Box<str>>,
}

/// Which view a door gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorKind {
    /// The client's address picks the view; this one for clients that no VPC claims.
    Shared {
        /// The view of `default_vpc`.
        default: Option<ViewIndex>,
    },
    /// Always this one: a plus-two door or an address of an inbound endpoint.
    View(ViewIndex),
    /// A plus-two door of a VPC where clients of some subnets have views of their own.
    BySubnet {
        /// The view of the others.
        otherwise: ViewIndex,
    },
}
