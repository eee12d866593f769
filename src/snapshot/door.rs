//! Doors as the query path sees them.

use super::prefix::PrefixMap;
use super::view::ViewIndex;
use std::net::SocketAddr;

/// Which door: the place of its sockets, which it keeps for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
}
