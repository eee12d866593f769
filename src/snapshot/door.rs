//! Doors as the query path sees them.

use super::prefix::PrefixMap;
use super::view::ViewIndex;
use std::net::SocketAddr;

/// Which door: the place of its socket in the order of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DoorIndex(pub u32);

/// One door.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address as configured.
    pub address: SocketAddr,
    /// Which view it gives.
    pub kind: DoorKind,
    /// Who may ask here (at a shared door: besides those whom a VPC claims).
    pub allow: PrefixMap<()>,
    /// The views of the VPC's subnets, where they are known: see [`DoorKind::BySubnet`].
    pub subnets: PrefixMap<ViewIndex>,
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
