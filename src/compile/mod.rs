//! Model -> Snapshot: the only writer of snapshots.
//!
//! Every claim that cannot stand beside another was refused when the model was made (`config`'s diagnostics name both
//! sides), so this cannot fail. The order of steps: contexts, zones with their names, claims, views, doors.

mod authority;
mod builtin;
mod contexts;
mod endpoint;
mod hosted_zone;
mod zone;

pub use contexts::Contexts;

use crate::aws::{Model, VpcIndex};
use crate::dns::HashSeed;
use crate::snapshot::{Door, DoorKind, Ingress, PrefixMap, Snapshot, View, ViewIndex};
use authority::ClaimsByView;
use std::net::SocketAddr;
use zone::ZonesBuilder;

/// Turns what cannot be wrong into what cannot be slow.
pub fn compile(model: &Model, contexts: &mut Contexts, seed: HashSeed) -> Snapshot {
    let mut zones = ZonesBuilder::new(seed);
    let mut claims = ClaimsByView::new(model, seed);
    let contexts = contexts.of_model(model);
    claims.built_in(builtin::compile(&mut zones));
    for (index, endpoint) in model.endpoints.iter().enumerate() {
        endpoint::compile(model, index, endpoint, &mut zones, &mut claims);
    }
    for hosted_zone in &model.hosted_zones {
        hosted_zone::compile(model, hosted_zone, &mut zones, &mut claims);
    }
    for (rule, context) in model.resolver_rules.iter().zip(&contexts.of_rules) {
        claims.resolver_rule(rule, *context);
    }
    let (authorities, tables) = claims.build(contexts.upstream);
    let views = tables.into_iter().map(|tables| {
        let vpc = model.vpc(tables.vpc);
        View {
            vpc: vpc.id.clone(),
            ingress: tables.ingress,
            dns_support: vpc.dns_support,
            table: tables.own,
            base: tables.base,
            otherwise: contexts.upstream,
        }
    });
    let (zones, nodes) = zones.build();
    Snapshot {
        seed,
        doors: doors(model).into(),
        clients: PrefixMap::new(clients(model)),
        views: views.collect(),
        authorities,
        zones,
        nodes,
        contexts: contexts.contexts.into(),
    }
}

/// The view of a VPC: two a VPC, from inside and via inbound.
fn view_index(vpc: VpcIndex, ingress: Ingress) -> ViewIndex {
    ViewIndex(vpc.0 * 2 + u32::from(ingress == Ingress::ViaInbound))
}

/// Who asks as which VPC at shared doors.
fn clients(model: &Model) -> impl Iterator<Item = (ipnet::IpNet, ViewIndex)> {
    (0..).zip(&model.vpcs).flat_map(|(index, vpc)| {
        let view = view_index(VpcIndex(index), Ingress::Inside);
        vpc.cidrs.iter().chain(&vpc.clients).map(move |prefix| (*prefix, view))
    })
}

/// The addresses of all doors in the order of [`Snapshot::doors`]: shared ones, plus-two doors, inbound endpoints.
pub fn door_addresses(model: &Model) -> Vec<SocketAddr> {
    doors(model).into_iter().map(|door| door.address).collect()
}

/// All doors: shared ones, then each VPC's plus-two doors, then those of inbound endpoints.
fn doors(model: &Model) -> Vec<Door> {
    let allow = |prefixes: &[ipnet::IpNet]| PrefixMap::new(prefixes.iter().map(|prefix| (*prefix, ())));
    let mut doors = Vec::new();
    let mut add = |addresses: &[SocketAddr], kind: DoorKind, prefixes: &[ipnet::IpNet]| {
        doors.extend(addresses.iter().map(|address| Door { address: *address, kind, allow: allow(prefixes) }));
    };
    let default = model.shared.default_vpc.map(|vpc| view_index(vpc, Ingress::Inside));
    add(&model.shared.listen, DoorKind::Shared { default }, &model.shared.allow);
    for (index, vpc) in (0..).zip(&model.vpcs) {
        add(&vpc.listen, DoorKind::View(view_index(VpcIndex(index), Ingress::Inside)), &vpc.allow);
    }
    for endpoint in &model.inbound_endpoints {
        add(&endpoint.listen, DoorKind::View(view_index(endpoint.vpc, Ingress::ViaInbound)), &endpoint.allow);
    }
    doors
}
