//! Where the queries of each VPC and door are counted: the same place in every snapshot.

use crate::aws::Model;
use crate::snapshot::{DOORS_COUNTED_APART, DoorSlot, Ingress, VPCS_COUNTED_APART, ViewSlot};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

/// Gives out slots over the life of the process. One that has been given out is never another's, so that no number is
/// added to what somebody else had; what comes when all are given out is counted together.
#[derive(Debug, Default)]
pub(super) struct CounterSlots {
    vpcs: HashMap<Box<str>, u16>,
    doors: HashMap<SocketAddr, u16>,
}

/// The place of a VPC: those of its two views stand together.
#[derive(Clone, Copy)]
pub(super) struct VpcSlot(u16);

impl VpcSlot {
    /// The place of one of its views.
    pub(super) fn view(self, ingress: Ingress) -> ViewSlot {
        ViewSlot(2 * self.0 + u16::from(ingress == Ingress::ViaInbound))
    }
}

impl CounterSlots {
    /// The places of a model's VPCs, in their order.
    pub(super) fn of_vpcs(&mut self, model: &Model) -> Vec<VpcSlot> {
        model.vpcs.iter().map(|vpc| VpcSlot(slot(&mut self.vpcs, &vpc.id, VPCS_COUNTED_APART))).collect()
    }

    /// The place of the door with this address.
    pub(super) fn of_door(&mut self, address: SocketAddr) -> DoorSlot {
        DoorSlot(slot(&mut self.doors, &address, DOORS_COUNTED_APART))
    }
}

/// The slot of a key: what it had before, else the next; the one behind the last where all are taken.
fn slot<K: Clone + Eq + Hash>(given: &mut HashMap<K, u16>, key: &K, apart: u16) -> u16 {
    let next = u16::try_from(given.len()).unwrap_or(apart);
    match given.get(key) {
        Some(slot) => *slot,
        None if next < apart => *given.entry(key.clone()).or_insert(next),
        None => apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_whose_it_is_and_those_who_come_late_share_one() {
        let mut given = HashMap::new();
        assert_eq!(["a", "b", "a"].map(|key| slot(&mut given, &key, 3)), [0, 1, 0]);
        assert_eq!(["c", "d", "e", "b"].map(|key| slot(&mut given, &key, 3)), [2, 3, 3, 1]);
        assert_eq!(given.len(), 3, "those who share are not remembered");
        let views = [Ingress::Inside, Ingress::ViaInbound].map(|ingress| VpcSlot(VPCS_COUNTED_APART).view(ingress));
        assert!(views.iter().all(|view| !view.is_of_one() && usize::from(view.0) < crate::snapshot::VIEW_SLOTS));
        assert!(VpcSlot(VPCS_COUNTED_APART - 1).view(Ingress::ViaInbound).is_of_one());
        assert!(!DoorSlot(DOORS_COUNTED_APART).is_of_one() && DoorSlot(DOORS_COUNTED_APART - 1).is_of_one());
    }
}
