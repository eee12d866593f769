//! Names in zones that are not, or not only, stored: what an address is called, and what a name's address is.

use super::zone::InView;
use crate::dns::{FoldedName, Rtype};
use crate::snapshot::autodefined::{parse_ip_label, write_ip_name};
use crate::snapshot::{Contents, Networks, NodeTable, ReverseName, Zone, ZoneIndex};
use std::net::Ipv4Addr;

/// A record that stands nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed {
    /// The A record of the IP name of this address.
    Address(Ipv4Addr),
    /// The PTR record of this address: its IP name.
    Pointer(Ipv4Addr),
}

impl Computed {
    /// The record's type.
    pub fn rtype(self) -> Rtype {
        match self {
            Self::Address(_) => Rtype::A,
            Self::Pointer(_) => Rtype::PTR,
        }
    }

    /// Writes the rdata, with the blocks of the view; returns its octets, or none where there is too little room.
    pub fn write_rdata(self, networks: &Networks, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Address(address) => {
                let octets = address.octets();
                out.get_mut(..octets.len())?.copy_from_slice(&octets);
                Some(octets.len())
            }
            Self::Pointer(address) => write_ip_name(address, networks.domain_of(address)?, out),
        }
    }
}

/// What a zone whose names are not only stored says of a name.
///
/// Small enough for a register: were it as large as what becomes of it, plain answers would travel through memory too.
#[derive(Clone, Copy)]
pub(super) enum Judgement {
    /// What is stored here counts.
    Stored,
    /// What is stored there counts.
    StoredIn(ZoneIndex),
    /// The SOA of the zone, which is computed too.
    Apex,
    /// This record.
    Computed(Computed),
    /// The name exists, without the type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// The name is public, and the upstream's to answer.
    Elsewhere,
}

const _: () = assert!(size_of::<Judgement>() <= 8);

/// Judges a name that is at or below the zone's apex; `hash` is that of (zone, name).
#[cold]
#[inline(never)]
pub(super) fn judge(within: InView<'_>, name: &FoldedName, qtype: Rtype, hash: u64) -> Judgement {
    let InView { snapshot, view, index, zone } = within;
    let is_apex = name.label_count() == usize::from(zone.apex_labels);
    match zone.contents {
        Contents::Stored => Judgement::Stored,
        Contents::Denied => Judgement::NxDomain,
        Contents::PublicNames if is_apex => Judgement::Elsewhere,
        Contents::PublicNames => stored_with_a_vpc(within, name).unwrap_or(Judgement::Elsewhere),
        Contents::ReverseNames => reverse_name(snapshot.networks(view), zone, name, qtype),
        Contents::IpNames if snapshot.nodes.find(index, hash, name.as_wire()).is_some() => Judgement::Stored,
        Contents::IpNames => {
            stored_with_a_vpc(within, name).unwrap_or_else(|| ip_name(snapshot.networks(view), zone, name, qtype))
        }
    }
}

/// The names of a VPC that the view sees, if they have this one.
fn stored_with_a_vpc(within: InView<'_>, name: &FoldedName) -> Option<Judgement> {
    let InView { snapshot, view, index, .. } = within;
    let name_hash = name.suffix_hash(name.label_count());
    let has_it =
        |names: &ZoneIndex| snapshot.nodes.find(*names, NodeTable::hash(*names, name_hash), name.as_wire()).is_some();
    snapshot.networks(view).names_below(index).find(has_it).map(Judgement::StoredIn)
}

/// `ip-10-0-1-5` directly below the domain of the address's region.
fn ip_name(networks: &Networks, zone: &Zone, name: &FoldedName, qtype: Rtype) -> Judgement {
    let apex_labels = usize::from(zone.apex_labels);
    let is_child = name.label_count() == apex_labels + 1;
    match parse_ip_label(name.label(apex_labels + 1)) {
        Some(address) if is_child && networks.hold(address, name.suffix(apex_labels)) => {
            computed(Computed::Address(address), qtype)
        }
        _ => Judgement::NxDomain,
    }
}

/// A name in a reverse zone: each address of a block of the view has one, and what is above exists with it (RFC 8020
/// section 2), be it above the zone of the block.
fn reverse_name(networks: &Networks, zone: &Zone, name: &FoldedName, qtype: Rtype) -> Judgement {
    let Some(reverse) = ReverseName::read(name) else { return Judgement::NxDomain };
    let is_apex = name.label_count() == usize::from(zone.apex_labels);
    match reverse.address() {
        Some(address) if networks.domain_of(address).is_some() => computed(Computed::Pointer(address), qtype),
        Some(_) => Judgement::NxDomain,
        None if is_apex && matches!(qtype, Rtype::SOA | Rtype::ANY) => Judgement::Apex,
        None if is_apex => Judgement::NoData,
        None if !reverse.has_more() && networks.meet(reverse.octets()) => Judgement::NoData,
        None => Judgement::NxDomain,
    }
}

/// A computed record, if it is of the type asked; ANY gets it too (RFC 8482 section 4.1).
fn computed(record: Computed, qtype: Rtype) -> Judgement {
    if qtype == record.rtype() || qtype == Rtype::ANY { Judgement::Computed(record) } else { Judgement::NoData }
}
