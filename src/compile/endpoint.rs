//! Interface endpoints: each name the apex of a hidden zone.
//!
//! `vpce-…` names stand in every view at built-in rank; private names stand in their VPC's views like hosted zones and
//! swallow what is below them (aws-sdk transcripts: an `eks` endpoint makes `oidc.eks.REGION` unresolvable). With
//! `prefer_same_az` a name has further hidden zones, one for the clients of each Availability Zone: see `same_az.rs`.

use super::authority::ClaimsByView;
use super::routing_policy::PoliciesBuilder;
use super::zone::{
    ENDPOINT_TTL, EncodedRrset, ROUTE_53_NAME_SERVERS, ROUTE_53_NS_TTL, ZoneHead, ZonesBuilder, route_53_soa,
};
use crate::aws::{EndpointKind, PrivateName, VpcEndpoint, ZonalAddresses};
use crate::dns::{Name, Rtype};
use crate::snapshot::{
    Contents, HealthIndex, HealthPlan, Ingress, Probe, ProbeHost, ProbeRequest, ZoneIndex, ZoneKind,
};
use std::net::{IpAddr, SocketAddr};

/// What a name answers with, by type.
pub(super) type AddressRrsets = Vec<(Rtype, EncodedRrset)>;

/// The address records of an endpoint name.
pub(super) fn address_rrsets(addresses: impl Iterator<Item = IpAddr>) -> AddressRrsets {
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
    zones: &mut ZonesBuilder<'_>,
    policies: &mut PoliciesBuilder<'_>,
    claims: &mut ClaimsByView<'_>,
) {
    let has_dns_names = endpoint.state.has_dns_names();
    let has_private_names = endpoint.state.has_private_names() && claims.has_private_names(index, endpoint);
    let mut adding = Adding { index, endpoint, zones, policies, claims };
    match &endpoint.kind {
        EndpointKind::Interface {
            regional_name,
            zonal,
            has_subdomains,
            private_names,
            private_dns_only_for_inbound,
            dns_record_ip_type,
            prefer_same_az,
        } => {
            let all: Vec<IpAddr> = zonal.iter().flat_map(|zone| &zone.addresses).copied().collect();
            let preferred: &[ZonalAddresses] = if *prefer_same_az { zonal } else { &[] };
            if has_dns_names {
                let below = Coverage { at_apex: true, below_apex: *has_subdomains };
                let answers = |address: &IpAddr| dns_record_ip_type.answers(*address);
                adding.endpoint_name(regional_name, below, (&all, preferred), answers);
                for zone in zonal {
                    let Some(name) = &zone.zonal_name else { continue };
                    // These are not asked for: they stand for their zone, whatever its health.
                    let addresses = address_rrsets(zone.addresses.iter().copied().filter(answers));
                    let zone = adding.add_zone(ZoneKind::EndpointName, name, below, &addresses);
                    adding.claims.everywhere(name, zone);
                }
            }
            for private in private_names.iter().filter(|_| has_private_names) {
                let answers = |address: &IpAddr| dns_record_ip_type.answers_privately(*address, &private.apex);
                adding.private_name(private, (&all, preferred), answers, *private_dns_only_for_inbound);
            }
        }
        EndpointKind::Lattice { associations, dns_record_ip_type } => {
            let answers = |address: &IpAddr| dns_record_ip_type.answers(*address);
            for association in associations {
                if has_dns_names {
                    let apex_only = Coverage { at_apex: true, below_apex: false };
                    adding.endpoint_name(&association.dns_name, apex_only, (&association.addresses, &[]), answers);
                }
                if let Some(private) = association.private_name.as_ref().filter(|_| has_private_names) {
                    adding.private_name(private, (&association.addresses, &[]), answers, false);
                }
            }
        }
        EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => {}
    }
}

/// All addresses of a name, and the Availability Zones whose clients get the addresses there.
type Addresses<'m> = (&'m [IpAddr], &'m [ZonalAddresses]);

/// An endpoint whose names are being added.
struct Adding<'a, 'b, 'm, 'v> {
    index: usize,
    endpoint: &'a VpcEndpoint,
    zones: &'a mut ZonesBuilder<'b>,
    policies: &'a mut PoliciesBuilder<'m>,
    claims: &'a mut ClaimsByView<'v>,
}

impl Adding<'_, '_, '_, '_> {
    /// A name that AWS gave it: in every view.
    fn endpoint_name(
        &mut self,
        name: &Name,
        coverage: Coverage,
        (all, preferred): Addresses<'_>,
        answers: impl Fn(&IpAddr) -> bool,
    ) {
        let all: Vec<IpAddr> = all.iter().copied().filter(&answers).collect();
        let zone = self.add_answering_zone(ZoneKind::EndpointName, name, coverage, &all);
        self.claims.everywhere(name, zone);
        for zonal in preferred {
            let same = self.add_same_az_zone(ZoneKind::EndpointName, name, coverage, (zonal, &all));
            self.claims.same_az(&zonal.availability_zone, zone, same);
        }
    }

    /// A private name: in the views of its VPC, and where profiles share it.
    fn private_name(
        &mut self,
        PrivateName { apex, at_apex, below_apex }: &PrivateName,
        (all, preferred): Addresses<'_>,
        answers: impl Fn(&IpAddr) -> bool,
        is_only_for_inbound: bool,
    ) {
        let coverage = Coverage { at_apex: *at_apex, below_apex: *below_apex };
        let all: Vec<IpAddr> = all.iter().copied().filter(answers).collect();
        let zone = self.add_answering_zone(ZoneKind::PrivateName, apex, coverage, &all);
        self.claims.private_name(self.index, self.endpoint, Ingress::ViaInbound, apex, zone);
        // S3's "private DNS only for inbound": from inside the name stays public (S3PL, DnsOptions).
        if is_only_for_inbound {
            return;
        }
        self.claims.private_name(self.index, self.endpoint, Ingress::Inside, apex, zone);
        for zonal in preferred {
            let same = self.add_same_az_zone(ZoneKind::PrivateName, apex, coverage, (zonal, &all));
            self.claims.same_az(&zonal.availability_zone, zone, same);
        }
    }

    /// A hidden zone that answers with these addresses, as far as they are healthy.
    fn add_answering_zone(&mut self, kind: ZoneKind, apex: &Name, coverage: Coverage, all: &[IpAddr]) -> ZoneIndex {
        let answer = self.policies.endpoint_answer(self.index, all);
        self.add_zone(kind, apex, coverage, &answer)
    }

    /// The same as clients of one Availability Zone see it: of `all` addresses those there, of each type.
    fn add_same_az_zone(
        &mut self,
        kind: ZoneKind,
        apex: &Name,
        coverage: Coverage,
        (zonal, all): (&ZonalAddresses, &[IpAddr]),
    ) -> ZoneIndex {
        let there = all.iter().copied().filter(|address| zonal.addresses.contains(address)).collect::<Vec<_>>();
        let answer = self.policies.same_az_answer(self.index, &there, all);
        self.add_zone(kind, apex, coverage, &answer)
    }

    /// Adds one hidden zone: addresses at the apex and below as covered, Route 53's NS and SOA at the apex, SOA TTL 60.
    fn add_zone(
        &mut self,
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
        let head =
            ZoneHead { kind, apex, id: &self.endpoint.id, soa: (ENDPOINT_TTL, &soa), contents: Contents::Stored };
        self.zones.add(&head, &names)
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
