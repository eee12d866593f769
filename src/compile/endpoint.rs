//! Interface endpoints: each name the apex of a hidden zone.
//!
//! `vpce-…` names stand in every view at built-in rank; private names stand in their VPC's views like hosted zones and
//! swallow what is below them (aws-sdk transcripts: an `eks` endpoint makes `oidc.eks.REGION` unresolvable). With
//! `prefer_same_az` a name has further hidden zones, one for the clients of each Availability Zone: see `same_az.rs`.

use super::authority::ClaimsByView;
use super::zone::{
    ENDPOINT_TTL, EncodedRrset, ROUTE_53_NAME_SERVERS, ROUTE_53_NS_TTL, ZoneHead, ZonesBuilder, route_53_soa,
};
use crate::aws::{EndpointKind, Model, PrivateName, VpcEndpoint, ZonalAddresses};
use crate::dns::{Name, Rtype};
use crate::snapshot::{Contents, Ingress, ZoneIndex, ZoneKind};
use std::net::IpAddr;

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
pub(super) fn compile(model: &Model, endpoint: &VpcEndpoint, zones: &mut ZonesBuilder, claims: &mut ClaimsByView<'_>) {
    let has_private_names = endpoint.state.has_private_names() && model.vpc(endpoint.vpc).dns_hostnames;
    let mut adding = Adding { endpoint, zones, claims };
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
            let all = Addresses::Zonal { zonal, is_split: *prefer_same_az };
            if endpoint.state.has_dns_names() {
                let below = Coverage { at_apex: true, below_apex: *has_subdomains };
                let answers = |address: &IpAddr| dns_record_ip_type.answers(*address);
                adding.endpoint_name(regional_name, below, &all, answers);
                for zone in zonal {
                    let Some(name) = &zone.zonal_name else { continue };
                    let only = Addresses::Zonal { zonal: std::slice::from_ref(zone), is_split: false };
                    adding.endpoint_name(name, below, &only, answers);
                }
            }
            for private in private_names.iter().filter(|_| has_private_names) {
                let answers = |address: &IpAddr| dns_record_ip_type.answers_privately(*address, &private.apex);
                adding.private_name(private, &all, answers, *private_dns_only_for_inbound);
            }
        }
        EndpointKind::Lattice { associations, dns_record_ip_type } => {
            let answers = |address: &IpAddr| dns_record_ip_type.answers(*address);
            for association in associations {
                let addresses = Addresses::Plain(&association.addresses);
                if endpoint.state.has_dns_names() {
                    let apex_only = Coverage { at_apex: true, below_apex: false };
                    adding.endpoint_name(&association.dns_name, apex_only, &addresses, answers);
                }
                if let Some(private) = association.private_name.as_ref().filter(|_| has_private_names) {
                    adding.private_name(private, &addresses, answers, false);
                }
            }
        }
        EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => {}
    }
}

/// The addresses of a name.
enum Addresses<'m> {
    /// In no order of zones.
    Plain(&'m [IpAddr]),
    /// By Availability Zone.
    Zonal {
        zonal: &'m [ZonalAddresses],
        /// Whether clients of a zone get the addresses there.
        is_split: bool,
    },
}

impl<'m> Addresses<'m> {
    /// All of them.
    fn all(&self) -> impl Iterator<Item = IpAddr> {
        let (plain, zonal) = match self {
            Self::Plain(addresses) => (*addresses, [].as_slice()),
            Self::Zonal { zonal, .. } => ([].as_slice(), *zonal),
        };
        plain.iter().chain(zonal.iter().flat_map(|zone| &zone.addresses)).copied()
    }

    /// Zones whose clients get the addresses there.
    fn split(&self) -> &'m [ZonalAddresses] {
        match self {
            Self::Zonal { zonal, is_split: true } => zonal,
            Self::Zonal { .. } | Self::Plain(_) => &[],
        }
    }
}

/// An endpoint whose names are being added.
struct Adding<'a, 'm, 'v> {
    endpoint: &'m VpcEndpoint,
    zones: &'a mut ZonesBuilder,
    claims: &'a mut ClaimsByView<'v>,
}

impl Adding<'_, '_, '_> {
    /// A name that AWS gave it: in every view.
    fn endpoint_name(
        &mut self,
        name: &Name,
        coverage: Coverage,
        addresses: &Addresses<'_>,
        answers: impl Fn(&IpAddr) -> bool,
    ) {
        let all = address_rrsets(addresses.all().filter(&answers));
        let zone = self.add_zone(ZoneKind::EndpointName, name, coverage, &all);
        self.claims.everywhere(name, zone);
        for zonal in addresses.split() {
            let same = self.add_same_az_zone(ZoneKind::EndpointName, name, coverage, (zonal, &all), &answers);
            self.claims.same_az_everywhere(&zonal.availability_zone, name, zone, same);
        }
    }

    /// A private name: in the views of its VPC.
    fn private_name(
        &mut self,
        PrivateName { apex, at_apex, below_apex }: &PrivateName,
        addresses: &Addresses<'_>,
        answers: impl Fn(&IpAddr) -> bool,
        is_only_for_inbound: bool,
    ) {
        let coverage = Coverage { at_apex: *at_apex, below_apex: *below_apex };
        let all = address_rrsets(addresses.all().filter(&answers));
        let zone = self.add_zone(ZoneKind::PrivateName, apex, coverage, &all);
        self.claims.zone(self.endpoint.vpc, Ingress::ViaInbound, apex, zone);
        // S3's "private DNS only for inbound": from inside the name stays public (S3PL, DnsOptions).
        if is_only_for_inbound {
            return;
        }
        self.claims.zone(self.endpoint.vpc, Ingress::Inside, apex, zone);
        for zonal in addresses.split() {
            let same = self.add_same_az_zone(ZoneKind::PrivateName, apex, coverage, (zonal, &all), &answers);
            self.claims.same_az(&zonal.availability_zone, zone, same);
        }
    }

    /// The hidden zone as clients of one Availability Zone see it: of each type the addresses there, or all where there
    /// are none.
    fn add_same_az_zone(
        &mut self,
        kind: ZoneKind,
        apex: &Name,
        coverage: Coverage,
        (zonal, all): (&ZonalAddresses, &[(Rtype, EncodedRrset)]),
        answers: impl Fn(&IpAddr) -> bool,
    ) -> ZoneIndex {
        let mut rrsets = address_rrsets(zonal.addresses.iter().copied().filter(answers));
        let there: Vec<Rtype> = rrsets.iter().map(|(rtype, _)| *rtype).collect();
        rrsets.extend(all.iter().filter(|(rtype, _)| !there.contains(rtype)).cloned());
        self.add_zone(kind, apex, coverage, &rrsets)
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

/// Which names of a hidden zone answer with the addresses.
#[derive(Clone, Copy)]
struct Coverage {
    at_apex: bool,
    below_apex: bool,
}
