//! Private hosted zones: record sets encoded, aliases that are known here followed, the apex completed.

use super::authority::ClaimsByView;
use super::endpoint::address_rrsets;
use super::zone::{
    EncodedRrset, ROUTE_53_NAME_SERVERS, ROUTE_53_NS_TTL, ROUTE_53_SOA_TTL, ZoneHead, ZonesBuilder, route_53_soa,
};
use crate::aws::record_set::rdatas;
use crate::aws::{AliasTarget, EndpointKind, HostedZone, Model, RecordData, RecordSet};
use crate::dns::{Name, Rtype};
use crate::snapshot::{Contents, Ingress, ZoneKind};
use std::collections::HashMap;

/// Adds one zone: its data once, its claim in the views of every associated VPC.
pub(super) fn compile(model: &Model, zone: &HostedZone, zones: &mut ZonesBuilder, claims: &mut ClaimsByView<'_>) {
    let aliases = AliasIndex::of(zone);
    // Sets of one owner stand together; `(owner, type)` is unique, so the order is settled by it.
    let mut sets: Vec<&RecordSet> = zone.record_sets.iter().collect();
    sets.sort_unstable_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    let mut encoded: Vec<(Rtype, EncodedRrset)> = Vec::with_capacity(sets.len() + 2);
    let mut owners: Vec<(&Name, std::ops::Range<usize>)> = Vec::with_capacity(sets.len());
    let mut soa = None;
    for group in sets.chunk_by(|a, b| a.owner == b.owner) {
        let start = encoded.len();
        encoded.extend(group.iter().filter_map(|set| Some((set.rtype, encode(model, &aliases, set)?))));
        if group[0].owner == zone.apex {
            soa = group.iter().find(|set| set.rtype == Rtype::SOA).copied();
            complete_apex(&mut encoded, start);
        }
        owners.push((&group[0].owner, start..encoded.len()));
    }
    let apex_is_there = owners.iter().any(|(owner, _)| **owner == zone.apex);
    if !apex_is_there {
        let start = encoded.len();
        complete_apex(&mut encoded, start);
        owners.push((&zone.apex, start..encoded.len()));
    }
    let names: Vec<(&Name, &[(Rtype, EncodedRrset)])> =
        owners.into_iter().map(|(owner, range)| (owner, &encoded[range])).collect();
    let default_soa = route_53_soa();
    let soa = soa.and_then(own_soa).unwrap_or((ROUTE_53_SOA_TTL, &default_soa));
    let head = ZoneHead { kind: ZoneKind::HostedZone, apex: &zone.apex, id: &zone.id, soa, contents: Contents::Stored };
    let octets = encoded.iter().map(|(_, rrset)| rrset.octets.len() + 8).sum::<usize>()
        + names.iter().map(|(name, _)| name.as_wire().len() + 12).sum::<usize>();
    zones.reserve(names.len(), octets);
    let index = zones.add(&head, &names);
    for &vpc in zone.vpcs.iter().filter(|vpc| model.vpc(**vpc).dns_hostnames) {
        claims.zone(vpc, Ingress::Inside, &zone.apex, index);
        claims.zone(vpc, Ingress::ViaInbound, &zone.apex, index);
    }
}

/// Puts in what every private hosted zone is born with, where the operator gave none (R53:hosted-zones-private).
fn complete_apex(encoded: &mut Vec<(Rtype, EncodedRrset)>, start: usize) {
    let has = |rtype: Rtype, encoded: &[(Rtype, EncodedRrset)]| encoded[start..].iter().any(|(have, _)| *have == rtype);
    if !has(Rtype::NS, encoded) {
        encoded.push((Rtype::NS, EncodedRrset::records(Rtype::NS, ROUTE_53_NS_TTL, ROUTE_53_NAME_SERVERS)));
    }
    if !has(Rtype::SOA, encoded) {
        let soa = route_53_soa();
        encoded.push((Rtype::SOA, EncodedRrset::records(Rtype::SOA, ROUTE_53_SOA_TTL, [soa.as_slice()])));
    }
}

/// TTL and rdata of an SOA set that the operator gave.
fn own_soa(set: &RecordSet) -> Option<(u32, &[u8])> {
    match &set.data {
        RecordData::Records { ttl, rdatas: packed } => Some((ttl.seconds(), rdatas(packed).next()?)),
        RecordData::Alias(_) => None,
    }
}

/// The sets of a zone by owner and type, made only where an alias may need one.
struct AliasIndex<'m>(HashMap<(&'m Name, Rtype), &'m RecordSet>);

impl<'m> AliasIndex<'m> {
    fn of(zone: &'m HostedZone) -> Self {
        let is_needed = |set: &RecordSet| matches!(set.data, RecordData::Alias(AliasTarget::SameZone(_)));
        if !zone.record_sets.iter().any(is_needed) {
            return Self(HashMap::new());
        }
        Self(zone.record_sets.iter().map(|set| ((&set.owner, set.rtype), set)).collect())
    }
}

/// Encodes one set; an alias takes over records and TTL of its target. None: an alias of an endpoint that has no
/// address of this type, which is as if it were absent.
fn encode(model: &Model, aliases: &AliasIndex<'_>, set: &RecordSet) -> Option<EncodedRrset> {
    let mut set = set;
    loop {
        match &set.data {
            RecordData::Records { ttl, rdatas: packed } => {
                return Some(EncodedRrset::records(set.rtype, ttl.seconds(), rdatas(packed)));
            }
            RecordData::Alias(AliasTarget::Forwarded(target)) => return Some(EncodedRrset::alias(target)),
            RecordData::Alias(AliasTarget::Endpoint { endpoint, zonal }) => {
                let rrsets = endpoint_addresses(model, *endpoint, *zonal);
                return rrsets.into_iter().find(|(rtype, _)| *rtype == set.rtype).map(|(_, rrset)| rrset);
            }
            // The target exists and no loop leads back: `config` has checked both.
            RecordData::Alias(AliasTarget::SameZone(target)) => set = aliases.0.get(&(target, set.rtype))?,
        }
    }
}

/// The address records that a name of an endpoint answers with: those of one Availability Zone, or all.
pub(super) fn endpoint_addresses(model: &Model, endpoint: usize, only: Option<usize>) -> Vec<(Rtype, EncodedRrset)> {
    match &model.endpoints[endpoint].kind {
        EndpointKind::Interface { zonal, .. } => {
            let wanted = zonal.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
            address_rrsets(wanted.flat_map(|(_, zone)| zone.addresses.iter().copied()))
        }
        EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => Vec::new(),
    }
}
