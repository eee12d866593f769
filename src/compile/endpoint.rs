//! Interface endpoints: each name the apex of a hidden zone.
//!
//! `vpce-…` names stand in every view at built-in rank; private names stand in their VPC's views like hosted zones and
//! swallow what is below them (aws-sdk transcripts: an `eks` endpoint makes `oidc.eks.REGION` unresolvable).

use super::authority::ClaimsByView;
use super::routing_policy::PoliciesBuilder;
use super::zone::{
    ENDPOINT_TTL, EncodedRrset, ROUTE_53_NAME_SERVERS, ROUTE_53_NS_TTL, ZoneHead, ZonesBuilder, route_53_soa,
};
use crate::aws::endpoint::PrivateName;
use crate::aws::{EndpointKind, VpcEndpoint, ZonalAddresses};
use crate::dns::{Name, Rtype};
use crate::snapshot::{
    Contents, HealthIndex, HealthPlan, Ingress, Probe, ProbeHost, ProbeRequest, ZoneIndex, ZoneKind,
};
use std::net::{IpAddr, SocketAddr};

/// The address records of an endpoint name, by type.
pub(super) fn address_rrsets(addresses: impl Iterator<Item = IpAddr>) -> Vec<(Rtype, EncodedRrset)> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(address.octets()),
            IpAddr::V6(address) => v6.push(address.octets()),
        }
    }
    let mut rrsets = Vec::new();
    if !v4.is_empty() {
        rrsets.push((Rtype::A, EncodedRrset::records(Rtype::A, ENDPOINT_TTL, v4.iter().map(|v4| v4.as_slice()))));
    }
    if !v6.is_empty() {
        rrsets.push((Rtype::AAAA, EncodedRrset::records(Rtype::AAAA, ENDPOINT_TTL, v6.iter().map(|v6| v6.as_slice()))));
    }
    rrsets
}

/// Adds the names of one endpoint. Gateway and Gateway Load Balancer endpoints change no DNS answer.
pub(super) fn compile(
    index: usize,
    endpoint: &VpcEndpoint,
    zones: &mut ZonesBuilder,
    policies: &mut PoliciesBuilder<'_>,
    claims: &mut ClaimsByView<'_>,
) {
    let EndpointKind::Interface { regional_name, zonal, has_subdomains, private_names, private_dns_only_for_inbound } =
        &endpoint.kind
    else {
        return;
    };
    let all = policies.regional_answer(index);
    if endpoint.state.has_dns_names() {
        let below = Coverage { at_apex: true, below_apex: *has_subdomains };
        let regional = add_zone(zones, endpoint, ZoneKind::EndpointName, regional_name, below, &all);
        claims.everywhere(regional_name, regional);
        for zone in zonal {
            let addresses = address_rrsets(zone.addresses.iter().copied());
            let zonal = add_zone(zones, endpoint, ZoneKind::EndpointName, &zone.zonal_name, below, &addresses);
            claims.everywhere(&zone.zonal_name, zonal);
        }
    }
    if endpoint.state.has_private_names() && claims.has_private_names(index, endpoint) {
        for PrivateName { apex, at_apex, below_apex } in private_names {
            let coverage = Coverage { at_apex: *at_apex, below_apex: *below_apex };
            let zone = add_zone(zones, endpoint, ZoneKind::PrivateName, apex, coverage, &all);
            // S3's "private DNS only for inbound": from inside the name stays public (S3PL, DnsOptions).
            if !private_dns_only_for_inbound {
                claims.private_name(index, endpoint, Ingress::Inside, apex, zone);
            }
            claims.private_name(index, endpoint, Ingress::ViaInbound, apex, zone);
        }
    }
}

/// Enters the network interfaces of an endpoint that are asked whether they take connections; none where nobody asks.
pub(super) fn interface_health(endpoint: &VpcEndpoint, plan: &mut HealthPlan) -> Vec<(IpAddr, HealthIndex)> {
    interface_probes(endpoint).map(|(ip, probe)| (ip, plan.seen(&probe.id, None))).collect()
}

/// What is asked for an endpoint, each with the address of its network interface. Nobody is asked for one that is gone.
pub(super) fn interface_probes(endpoint: &VpcEndpoint) -> impl Iterator<Item = (IpAddr, Probe)> {
    let zonal: &[ZonalAddresses] = match &endpoint.kind {
        EndpointKind::Interface { zonal, .. } if endpoint.state.has_dns_names() => zonal,
        _ => &[],
    };
    let addresses = zonal.iter().flat_map(|zone| zone.addresses.iter().copied());
    endpoint.interface_probe.into_iter().flat_map(move |probe| {
        addresses.clone().map(move |ip| {
            // No health check has such an id: there is a space in it.
            let id = format!("{} {}", endpoint.id, SocketAddr::new(ip, probe.port)).into();
            let (host, request) = (ProbeHost::Address(ip), ProbeRequest::Connect);
            let (interval, threshold) = (probe.request_interval, probe.failure_threshold);
            (ip, Probe { id, host, port: probe.port, request, interval, threshold })
        })
    })
}

/// Which names of a hidden zone answer with the addresses.
#[derive(Clone, Copy)]
struct Coverage {
    at_apex: bool,
    below_apex: bool,
}

/// Adds one hidden zone: addresses at the apex and below as covered, Route 53's NS and SOA at the apex, SOA TTL 60.
fn add_zone(
    zones: &mut ZonesBuilder,
    endpoint: &VpcEndpoint,
    kind: ZoneKind,
    apex: &Name,
    coverage: Coverage,
    addresses: &[(Rtype, EncodedRrset)],
) -> ZoneIndex {
    let soa = route_53_soa();
    let mut at_apex = if coverage.at_apex { addresses.to_vec() } else { Vec::new() };
    at_apex.push((Rtype::NS, EncodedRrset::records(Rtype::NS, ROUTE_53_NS_TTL, ROUTE_53_NAME_SERVERS)));
    at_apex.push((Rtype::SOA, EncodedRrset::records(Rtype::SOA, ENDPOINT_TTL, [soa.as_slice()])));
    let wildcard = apex.child(b"*");
    let mut names: Vec<(&Name, &[(Rtype, EncodedRrset)])> = vec![(apex, &at_apex)];
    if let (true, Ok(wildcard)) = (coverage.below_apex, &wildcard) {
        names.push((wildcard, addresses));
    }
    let head = ZoneHead { kind, apex, id: &endpoint.id, soa: (ENDPOINT_TTL, &soa), contents: Contents::Stored };
    zones.add(&head, &names)
}
