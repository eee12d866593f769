//! Private hosted zones: record sets encoded (see `routing_policy.rs`), the apex completed, the zone claimed.

use super::authority::ClaimsByView;
use super::routing_policy::{PoliciesBuilder, ZoneSets};
use super::zone::{
    EncodedRrset, ROUTE_53_NAME_SERVERS, ROUTE_53_NS_TTL, ROUTE_53_SOA_TTL, ZoneHead, ZonesBuilder, route_53_soa,
};
use crate::aws::record_set::rdatas;
use crate::aws::{EndpointKind, HostedZone, Model, RecordData, RecordSet, RecordSets};
use crate::dns::{Name, Rtype};
use crate::snapshot::{Contents, ZoneIndex, ZoneKind};
use std::net::IpAddr;

/// Adds one zone: its data once, if they are not as they are served; its claim in every associated VPC and profile.
pub(super) fn compile<'m>(
    number: usize,
    zone: &'m HostedZone,
    zones: &mut ZonesBuilder<'_>,
    policies: &mut PoliciesBuilder<'m>,
    claims: &mut ClaimsByView<'m>,
) {
    let index = zones.of_hosted_zone(number);
    match &zone.record_sets {
        RecordSets::Here(sets) => add(index, zone, sets, zones, policies),
        RecordSets::AsServed => {}
    }
    claims.hosted_zone(number, zone, index);
}

/// Adds the names of a zone.
fn add<'m>(
    index: ZoneIndex,
    zone: &'m HostedZone,
    sets: &'m [RecordSet],
    zones: &mut ZonesBuilder<'_>,
    policies: &mut PoliciesBuilder<'m>,
) {
    // Sets of one owner stand together, and of these those of one type, which their identifiers will put in order.
    let mut sets: Vec<&RecordSet> = sets.iter().collect();
    sets.sort_unstable_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
    let mut zone_sets = ZoneSets::of(&sets);
    let mut encoded: Vec<(Rtype, EncodedRrset)> = Vec::with_capacity(sets.len() + 2);
    let mut owners: Vec<(&Name, std::ops::Range<usize>)> = Vec::with_capacity(sets.len());
    let mut soa = None;
    for group in sets.chunk_by(|a, b| a.owner == b.owner) {
        let start = encoded.len();
        let by_type = group.chunk_by(|a, b| a.rtype == b.rtype);
        encoded.extend(by_type.filter_map(|sets| Some((sets[0].rtype, policies.encode(&mut zone_sets, sets)?))));
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
    zones.reserve(octets);
    zones.add_at(index, &head, &names);
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
        RecordData::Alias { .. } => None,
    }
}

/// The addresses that a name of an endpoint answers with: those of one Availability Zone or one association, or all.
pub(super) fn endpoint_addresses(model: &Model, endpoint: usize, only: Option<usize>) -> Vec<IpAddr> {
    let is_wanted = |index: usize| only.is_none_or(|only| only == index);
    match &model.endpoints[endpoint].kind {
        EndpointKind::Interface { zonal, dns_record_ip_type, .. } => {
            let wanted = zonal.iter().enumerate().filter(|(index, _)| is_wanted(*index));
            let addresses = wanted.flat_map(|(_, zone)| zone.addresses.iter().copied());
            addresses.filter(|address| dns_record_ip_type.answers(*address)).collect()
        }
        EndpointKind::Lattice { associations, dns_record_ip_type } => {
            let wanted = associations.iter().enumerate().filter(|(index, _)| is_wanted(*index));
            let addresses = wanted.flat_map(|(_, association)| association.addresses.iter().copied());
            addresses.filter(|address| dns_record_ip_type.answers(*address)).collect()
        }
        EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => Vec::new(),
    }
}
