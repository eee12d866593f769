//! What clients of a known Availability Zone see: views of their own, in which endpoints that prefer the same zone answer
//! with the addresses there.
//!
//! Everything else in such a view is as in the VPC's view from inside. Queries pay nothing for it: a client's address picks
//! its view anyway.

use super::view_index;
use crate::aws::{EndpointKind, Model, VpcIndex};
use crate::dns::Name;
use crate::snapshot::{Authority, Ingress, PrefixMap, ViewIndex, ZoneIndex};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The views of Availability Zones, behind the two of each VPC: every VPC and zone that has a subnet and addresses of an
/// endpoint that prefers the same zone.
pub(super) struct SameAzViews<'m> {
    model: &'m Model,
    views: Vec<(VpcIndex, &'m str)>,
}

impl<'m> SameAzViews<'m> {
    pub(super) fn of(model: &'m Model) -> Self {
        let mut zones: BTreeSet<&str> = BTreeSet::new();
        for endpoint in &model.endpoints {
            if let EndpointKind::Interface { zonal, prefer_same_az: true, .. } = &endpoint.kind {
                zones.extend(zonal.iter().map(|zone| &*zone.availability_zone));
            }
        }
        let mut views = Vec::new();
        for (vpc, of) in (0..).map(VpcIndex).zip(&model.vpcs) {
            let own: BTreeSet<&str> = of.subnets.iter().map(|subnet| &*subnet.availability_zone).collect();
            views.extend(own.intersection(&zones).map(|zone| (vpc, *zone)));
        }
        Self { model, views }
    }

    /// Each with its VPC and zone, in the order of their indexes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (VpcIndex, &'m str)> {
        self.views.iter().copied()
    }

    /// The number of the first view behind them.
    pub(super) fn end(&self) -> u32 {
        (self.model.vpcs.len() * 2 + self.views.len()) as u32
    }

    /// The subnets of a VPC that have views of their own.
    pub(super) fn subnets(&self, vpc: VpcIndex) -> impl Iterator<Item = (IpNet, ViewIndex)> {
        let first = self.views.partition_point(|(of, _)| *of < vpc);
        let own = self.views[first..].iter().take_while(move |(of, _)| *of == vpc);
        let before = self.model.vpcs.len() * 2 + first;
        own.enumerate().flat_map(move |(index, (_, zone))| {
            let view = ViewIndex((before + index) as u32);
            let subnets = &self.model.vpc(vpc).subnets;
            let subnets = subnets.iter().filter(|subnet| *subnet.availability_zone == **zone);
            subnets.map(move |subnet| (subnet.cidr_block, view))
        })
    }

    /// The subnets of all VPCs as shared doors know them: only where a subnet's addresses are its VPC's in `clients`, so
    /// that nobody else's client ranges change hands.
    pub(super) fn at_shared_doors(&self, clients: &PrefixMap<ViewIndex>) -> Vec<(IpNet, ViewIndex)> {
        let vpcs: BTreeSet<VpcIndex> = self.views.iter().map(|(vpc, _)| *vpc).collect();
        let subnets = vpcs.iter().flat_map(|vpc| self.subnets(*vpc).map(|subnet| (*vpc, subnet)));
        let own =
            subnets.filter(|(vpc, (block, _))| clients.get(block.network()) == Some(view_index(*vpc, Ingress::Inside)));
        own.map(|(_, subnet)| subnet).collect()
    }
}

/// The hidden zones that stand in for others in the views of Availability Zones: by zone, which stands in for which.
#[derive(Default)]
pub(super) struct SameAzZones(HashMap<Box<str>, HashMap<ZoneIndex, ZoneIndex>>);

impl SameAzZones {
    /// A zone that stands in for another one.
    pub(super) fn add(&mut self, availability_zone: &str, zone: ZoneIndex, same: ZoneIndex) {
        self.0.entry(availability_zone.into()).or_default().insert(zone, same);
    }

    /// Turns what others claim into what the clients in an Availability Zone see.
    pub(super) fn put_in(&self, availability_zone: &str, claims: &mut BTreeMap<Name, Authority>) {
        let Some(stand_ins) = self.0.get(availability_zone) else { return };
        for authority in claims.values_mut() {
            if let Authority::Zone(zone) = authority {
                *zone = *stand_ins.get(zone).unwrap_or(zone);
            }
        }
    }
}
