//! Model -> Snapshot: the only writer of snapshots.
//!
//! Every claim that cannot stand beside another was refused when the model was made (`config`'s diagnostics name both
//! sides), so this cannot fail. The order of steps: contexts, zones with their names, claims, views, doors.

mod authority;
mod autodefined;
mod builtin;
mod contexts;
mod counter_slots;
mod endpoint;
mod health_check;
mod hosted_zone;
mod profile;
mod query_log;
mod routing_policy;
mod same_az;
mod zone;

pub use contexts::Contexts;
pub use health_check::probes;

use crate::aws::{Model, SoaInNegativeAnswers, VpcIndex};
use crate::dns::HashSeed;
use crate::snapshot::{
    Door, DoorKind, HealthStates, Ingress, NegativeAnswers, PrefixMap, Protection, Sizes, Snapshot, View, ViewIndex,
};
use authority::{Authorities, ClaimsByView};
use counter_slots::CounterSlots;
use routing_policy::PoliciesBuilder;
use same_az::SameAzViews;
use std::net::SocketAddr;
use zone::ZonesBuilder;

/// Turns what cannot be wrong into what cannot be slow. Contexts and health are what outlives one snapshot.
pub fn compile(model: &Model, contexts: &mut Contexts, health: &HealthStates, seed: HashSeed) -> Snapshot {
    compile_after(None, model, contexts, health, seed)
}

/// The same in the place of a snapshot that is served, of the same seed: hosted zones that the model has
/// [as they are served](crate::aws::RecordSets::AsServed) must be in it, and share their names with it.
pub fn compile_after(
    before: Option<&Snapshot>,
    model: &Model,
    contexts: &mut Contexts,
    health: &HealthStates,
    seed: HashSeed,
) -> Snapshot {
    assert!(before.is_none_or(|before| before.seed.0 == seed.0), "hashes of the one before start from the same");
    let mut policies = PoliciesBuilder::new(model);
    let mut zones = ZonesBuilder::new(seed, model, before);
    let mut claims = ClaimsByView::new(model, seed);
    let same_az_views = SameAzViews::of(model);
    let doors = doors(model, &same_az_views, &mut contexts.counter_slots);
    let slots_of_vpcs = contexts.counter_slots.of_vpcs(model);
    let mut of_model = contexts.of_model(model);
    claims.built_in(builtin::compile(&mut zones));
    let autodefined = autodefined::compile(model, &mut zones, &mut claims);
    for (index, endpoint) in model.endpoints.iter().enumerate() {
        endpoint::compile(index, endpoint, &mut zones, &mut policies, &mut claims);
    }
    for (number, hosted_zone) in model.hosted_zones.iter().enumerate() {
        hosted_zone::compile(number, hosted_zone, &mut zones, &mut policies, &mut claims);
    }
    for (number, (rule, context)) in model.resolver_rules.iter().zip(&of_model.of_rules).enumerate() {
        claims.resolver_rule(number, rule, *context);
    }
    let upstream = of_model.upstream;
    let delegated = |kind, group| contexts.of_delegation(&mut of_model, kind, group);
    let Authorities { tables: authorities, layers, of_views } =
        claims.build(upstream, &autodefined, &same_az_views, delegated);
    let (log_names, logs_of_vpcs) = query_log::compile(model);
    let views = of_views.into_iter().map(|tables| {
        let vpc = model.vpc(tables.vpc);
        View {
            vpc: vpc.id.clone(),
            ingress: tables.ingress,
            slot: slots_of_vpcs[tables.vpc.0 as usize].view(tables.ingress),
            region: policies.region(&vpc.region),
            dns_support: vpc.dns_support,
            table: tables.own,
            base: tables.base,
            networks: autodefined.of_vpcs[tables.vpc.0 as usize],
            has_reverse_zones: vpc.has_reverse_zones(),
            otherwise: upstream,
            dns64: tables.ingress == Ingress::Inside && vpc.dns64,
            logs: logs_of_vpcs[tables.vpc.0 as usize],
        }
    });
    let mut views: Vec<View> = views.collect();
    for endpoint in model.inbound_endpoints.iter().filter(|endpoint| endpoint.dns64) {
        let view = views[view_index(endpoint.vpc, Ingress::ViaInbound).0 as usize].clone();
        views.push(View { dns64: true, ..view });
    }
    let (zones, nodes) = zones.build();
    let (policies, plan) = policies.build();
    Snapshot {
        seed,
        doors: doors.into_iter().map(Some).collect(),
        clients: clients(model, &same_az_views),
        views: views.into(),
        authorities,
        layers: layers.into(),
        zones,
        networks: autodefined.networks.into(),
        reverse_zones: autodefined.reverse_zones,
        nodes,
        policies,
        health: health.table(plan),
        negative_answers: match model.compat.soa_in_negative_answers {
            SoaInNegativeAnswers::Always => None,
            SoaInNegativeAnswers::First => Some(NegativeAnswers::default()),
        },
        contexts: of_model.contexts.into(),
        log_names,
        protection: Protection::default(),
        sizes: Sizes { vpcs: model.vpcs.len(), endpoints: model.endpoints.len(), rules: model.resolver_rules.len() },
    }
}

/// The view of a VPC: two a VPC, from inside and via inbound. Behind those of all VPCs stand those of Availability Zones
/// (see `same_az.rs`), then one more for each inbound endpoint with DNS64, in the order of endpoints.
fn view_index(vpc: VpcIndex, ingress: Ingress) -> ViewIndex {
    ViewIndex(vpc.0 * 2 + u32::from(ingress == Ingress::ViaInbound))
}

/// Who asks as which VPC at shared doors.
fn clients(model: &Model, same_az_views: &SameAzViews<'_>) -> PrefixMap<ViewIndex> {
    let of_vpcs = (0..).zip(&model.vpcs).flat_map(|(index, vpc)| {
        let view = view_index(VpcIndex(index), Ingress::Inside);
        vpc.cidrs.iter().chain(&vpc.clients).map(move |prefix| (*prefix, view))
    });
    let clients = PrefixMap::new(of_vpcs.clone());
    match same_az_views.at_shared_doors(&clients) {
        subnets if subnets.is_empty() => clients,
        subnets => PrefixMap::new(of_vpcs.chain(subnets)),
    }
}

/// The addresses of all doors in the order of [`Snapshot::doors`]: shared ones, plus-two doors, inbound endpoints.
pub fn door_addresses(model: &Model) -> Vec<SocketAddr> {
    doors(model, &SameAzViews::of(model), &mut CounterSlots::default()).into_iter().map(|door| door.address).collect()
}

/// All doors: shared ones, then each VPC's plus-two doors, then those of inbound endpoints.
fn doors(model: &Model, same_az_views: &SameAzViews<'_>, slots: &mut CounterSlots) -> Vec<Door> {
    let allow = |prefixes: &[ipnet::IpNet]| PrefixMap::new(prefixes.iter().map(|prefix| (*prefix, ())));
    let mut doors = Vec::new();
    let mut add = |addresses: &[SocketAddr],
                   kind: DoorKind,
                   prefixes: &[ipnet::IpNet],
                   subnets: &PrefixMap<ViewIndex>,
                   inbound_endpoint: Option<&str>| {
        doors.extend(addresses.iter().map(|address| Door {
            address: *address,
            kind,
            slot: slots.of_door(*address),
            allow: allow(prefixes),
            subnets: subnets.clone(),
            inbound_endpoint: inbound_endpoint.map(Box::from),
        }));
    };
    let none = PrefixMap::new([]);
    let default = model.shared.default_vpc.map(|vpc| view_index(vpc, Ingress::Inside));
    add(&model.shared.listen, DoorKind::Shared { default }, &model.shared.allow, &none, None);
    for (index, vpc) in (0..).map(VpcIndex).zip(&model.vpcs) {
        let view = view_index(index, Ingress::Inside);
        let subnets: Vec<_> = same_az_views.subnets(index).collect();
        match subnets.is_empty() {
            true => add(&vpc.listen, DoorKind::View(view), &vpc.allow, &none, None),
            false => {
                let kind = DoorKind::BySubnet { otherwise: view };
                add(&vpc.listen, kind, &vpc.allow, &PrefixMap::new(subnets), None);
            }
        }
    }
    let mut of_dns64 = (same_az_views.end()..).map(ViewIndex);
    for endpoint in &model.inbound_endpoints {
        let own = if endpoint.dns64 { of_dns64.next() } else { None };
        let view = own.unwrap_or_else(|| view_index(endpoint.vpc, Ingress::ViaInbound));
        add(&endpoint.listen, DoorKind::View(view), &endpoint.allow, &none, Some(&endpoint.id));
    }
    doors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::profile::PROFILE_PRIORITY;
    use crate::aws::record_set::push_rdata;
    use crate::aws::{
        DnsRecordIpType, EndpointKind, EndpointState, HostedZone, NetworkInterface, PeeringSide, PeeringStatus,
        PrivateIpAddress, Profile, ProfileAssociation, RecordData, RecordSet, RecordSets, ResolverRule, Routing,
        RoutingPolicy, RuleAction, Subnet, Vpc, VpcEndpoint, VpcPeering, ZonalAddresses,
    };
    use crate::dns::TargetGroup;
    use crate::dns::{Name, Rtype, Ttl};
    use crate::snapshot::{DoorIndex, NoView};
    use ipnet::IpNet;

    fn name(text: &str) -> Name {
        Name::from_labels(text.split('.').map(str::as_bytes)).expect("a legal name")
    }

    fn vpc(index: u32) -> Vpc {
        Vpc {
            id: format!("vpc-{index}").into(),
            name: None,
            region: "ap-northeast-2".into(),
            cidrs: vec![format!("10.{}.{}.0/24", index >> 8, index & 0xff).parse().expect("a prefix")],
            subnets: Vec::new(),
            clients: Vec::new(),
            listen: Vec::new(),
            allow: Vec::new(),
            dns_support: true,
            dns_hostnames: true,
            autodefined_reverse: true,
            dns64: false,
            owner_id: None,
        }
    }

    /// That many VPCs, all associated with all zones, each zone with one name.
    fn shared(vpcs: u32, zones: u32) -> Model {
        let mut rdatas = Vec::new();
        push_rdata(&mut rdatas, &[192, 0, 2, 1]);
        let data = RecordData::Records { ttl: Ttl::DEFAULT, rdatas: rdatas.into() };
        let zone = |index: u32| HostedZone {
            id: format!("Z{index}").into(),
            apex: name(&format!("zone{index}.example")),
            vpcs: (0..vpcs).map(VpcIndex).collect(),
            record_sets: RecordSets::Here(vec![RecordSet {
                owner: name(&format!("www.zone{index}.example")),
                rtype: Rtype::A,
                data: data.clone(),
                routing: None,
            }]),
            delegations: Vec::new(),
            falls_through: false,
        };
        Model { vpcs: (0..vpcs).map(vpc).collect(), hosted_zones: (0..zones).map(zone).collect(), ..Model::default() }
    }

    fn compiled(model: &Model) -> Snapshot {
        compile(model, &mut Contexts::default(), &HealthStates::default(), HashSeed(5))
    }

    #[test]
    fn ten_thousand_vpcs_with_the_same_associations_share_one_table() {
        let many = compiled(&shared(10_000, 20));
        let one = compiled(&shared(1, 20));
        assert_eq!(many.views.len(), 20_000);
        assert!(many.views.iter().all(|view| view.table == many.views[0].table && view.base == many.views[0].base));
        // What grows with the VPCs is the views alone: zone data, names and tables stand once.
        assert_eq!(many.authorities.octets(), one.authorities.octets());
        assert_eq!(many.nodes.octets(), one.nodes.octets());
        assert_eq!(many.zones.len(), one.zones.len());
        assert!(size_of::<View>() <= 96, "a view takes {} octets", size_of::<View>());
    }

    #[test]
    fn a_profile_costs_the_same_for_however_many_vpcs() {
        let with_profile = |vpcs: u32| {
            let mut model = shared(vpcs, 100);
            model.hosted_zones.iter_mut().for_each(|zone| zone.vpcs.clear());
            model.profiles.push(Profile {
                id: "rp-1".into(),
                hosted_zones: (0..100).collect(),
                resolver_rules: Vec::new(),
                endpoints: Vec::new(),
                associations: (0..vpcs)
                    .map(|vpc| ProfileAssociation { vpc: VpcIndex(vpc), priority: PROFILE_PRIORITY })
                    .collect(),
            });
            model
        };
        let (one, mut many) = (compiled(&with_profile(1)), with_profile(10_000));
        // One of them has something of its own besides.
        many.hosted_zones.push(HostedZone {
            vpcs: vec![VpcIndex(7)],
            apex: name("own.example"),
            ..many.hosted_zones[0].clone()
        });
        let many = compiled(&many);
        let differing = many.views.iter().filter(|view| view.table != many.views[0].table);
        assert_eq!(differing.map(|view| &*view.vpc).collect::<Vec<_>>(), ["vpc-7", "vpc-7"]);
        let own = many.authorities.octets() - one.authorities.octets();
        // A second table of 101 claims, in slots of 8 octets, and one claim.
        assert!(own <= 256 * 8 + 100, "{own} octets for a VPC with a zone of its own");
        assert_eq!(many.zones.len(), one.zones.len() + 1);
    }

    #[test]
    fn names_stand_once_however_many_peers_see_them() {
        let meshed = |vpcs: u32, has_peers: bool| {
            let mut model = shared(vpcs, 0);
            let side = |vpc| PeeringSide { vpc: VpcIndex(vpc), allow_dns_resolution_from_remote_vpc: true };
            let pairs = (0..vpcs).flat_map(|one| (0..one).map(move |other| (one, other)));
            model.vpc_peerings.extend(pairs.filter(|_| has_peers).map(|(one, other)| VpcPeering {
                id: "pcx-1".into(),
                requester: side(one),
                accepter: side(other),
                status: PeeringStatus::Active,
            }));
            for vpc in 0..vpcs {
                let address = |host: u32| PrivateIpAddress {
                    private_ip_address: (0x0a00_0000 | vpc << 16 | host).into(),
                    public_ip: Some((0x0c00_0000 | vpc << 16 | host).into()),
                };
                let private_ip_addresses = (0..50).map(address).collect();
                let interface = NetworkInterface { id: "eni-1".into(), vpc: VpcIndex(vpc), private_ip_addresses };
                model.network_interfaces.push(interface);
            }
            compiled(&model)
        };
        let (mesh, strangers) = (meshed(40, true), meshed(40, false));
        assert_eq!(mesh.nodes.octets(), strangers.nodes.octets());
        assert_eq!(mesh.zones.len(), strangers.zones.len());
        assert_eq!(mesh.authorities.octets(), strangers.authorities.octets());
    }

    #[test]
    fn orders_by_location_stand_once_a_region_and_not_once_a_vpc() {
        let routed = |vpcs: u32, regions: &[&str]| {
            let mut model = shared(vpcs, 1);
            for (vpc, region) in model.vpcs.iter_mut().zip(regions.iter().cycle()) {
                vpc.region = (*region).into();
            }
            let template = model.hosted_zones[0].record_sets.here()[0].clone();
            let set = |(identifier, name): (&str, &str)| RecordSet {
                routing: Some(Box::new(Routing {
                    set_identifier: identifier.into(),
                    policy: RoutingPolicy::Latency(name.into()),
                    health_check: None,
                })),
                ..template.clone()
            };
            model.hosted_zones[0].record_sets =
                RecordSets::Here([("a", "us-east-1"), ("b", "eu-west-1")].map(set).to_vec());
            compiled(&model)
        };
        let regions = ["us-west-2", "eu-central-1", "ap-northeast-2"];
        let (one, three, many) = (routed(1, &regions), routed(3, &regions), routed(3000, &regions));
        assert_eq!(many.policies.octets(), three.policies.octets());
        // Two more regions, two sets: four octets.
        assert_eq!(three.policies.octets(), one.policies.octets() + 4);
        assert_eq!([0, 2, 4, 6].map(|view| many.views[view].region.0), [0, 1, 2, 0]);
    }

    #[test]
    fn a_vpc_with_a_rule_of_its_own_has_a_table_of_its_own() {
        let mut model = shared(100, 20);
        let rule = ResolverRule {
            id: "rslvr-rr-1".into(),
            domain: name("corp.example"),
            action: RuleAction::Forward(TargetGroup::do53([([192, 0, 2, 53], 53).into()])),
            vpcs: vec![VpcIndex(7)],
        };
        model.resolver_rules.push(rule);
        let snapshot = compiled(&model);
        let differing = snapshot.views.iter().filter(|view| view.table != snapshot.views[0].table);
        assert_eq!(differing.map(|view| &*view.vpc).collect::<Vec<_>>(), ["vpc-7", "vpc-7"]);
    }

    #[test]
    fn a_name_with_one_address_takes_at_most_100_octets() {
        let mut model = shared(1, 1);
        let template = model.hosted_zones[0].record_sets.here()[0].clone();
        let sets = (0..10_000)
            .map(|index| RecordSet { owner: name(&format!("host{index}.zone0.example")), ..template.clone() });
        let RecordSets::Here(own) = &mut model.hosted_zones[0].record_sets else { panic!("nothing is served yet") };
        own.extend(sets);
        let octets = compiled(&model).nodes.octets();
        assert!(octets <= 10_000 * 100, "{octets} octets for 10,000 names");
    }

    #[test]
    fn only_zones_where_an_endpoint_prefers_them_have_views() {
        let mut model = shared(3, 1);
        let subnet = |block: &str, zone: &str| Subnet {
            cidr_block: block.parse().expect("a prefix"),
            availability_zone: zone.into(),
        };
        model.vpcs[1].subnets =
            vec![subnet("10.0.1.0/25", "ap-northeast-2a"), subnet("10.0.1.128/25", "ap-northeast-2b")];
        model.vpcs[1].listen = vec![([127, 0, 0, 1], 0).into()];
        let zonal = |zone: &str, last: u8| ZonalAddresses {
            availability_zone: zone.into(),
            zonal_name: None,
            addresses: vec![[10, 0, 1, last].into()],
        };
        let endpoint = |prefer_same_az: bool| VpcEndpoint {
            id: "vpce-0a".into(),
            vpc: VpcIndex(1),
            service: "com.amazonaws.ap-northeast-2.kms".into(),
            kind: EndpointKind::Interface {
                regional_name: name("vpce-0a-x.kms.ap-northeast-2.vpce.amazonaws.com"),
                zonal: vec![zonal("ap-northeast-2a", 4), zonal("ap-northeast-2c", 5)],
                has_subdomains: false,
                private_names: Vec::new(),
                private_dns_only_for_inbound: false,
                dns_record_ip_type: DnsRecordIpType::Ipv4,
                prefer_same_az,
            },
            state: EndpointState::Available,
            interface_probe: None,
        };
        model.endpoints = vec![endpoint(false)];
        let plain = compiled(&model);
        assert_eq!(plain.views.len(), 6);
        assert!(plain.doors.iter().flatten().all(|door| matches!(door.kind, DoorKind::View(_))));
        model.endpoints = vec![endpoint(true)];
        let split = compiled(&model);
        // Of the two zones with subnets the endpoint is in one.
        assert_eq!(split.views.len(), 7);
        assert_eq!((&*split.views[6].vpc, split.views[6].ingress), ("vpc-1", Ingress::Inside));
        let view = |client: [u8; 4]| split.view_for(DoorIndex(0), client.into());
        model.vpcs[1].allow = vec!["10.0.0.0/8".parse().expect("a prefix")];
        assert_eq!(view([10, 0, 1, 7]), Err(NoView::NotAllowed), "its `allow` is empty");
        let split = compiled(&model);
        let view = |client: [u8; 4]| split.view_for(DoorIndex(0), client.into());
        assert_eq!(view([10, 0, 1, 7]), Ok(ViewIndex(6)));
        assert_eq!(view([10, 0, 1, 200]), Ok(view_index(VpcIndex(1), Ingress::Inside)));
        // Everyone else's tables are what they were.
        let tables = |view: usize| (split.views[view].table, split.views[view].base);
        assert_eq!(tables(0), tables(2));
        assert_ne!(tables(6), tables(2));
    }

    #[test]
    fn names_of_endpoints_stand_once_a_zone_and_not_once_a_vpc() {
        const ZONES: [&str; 2] = ["ap-northeast-2a", "ap-northeast-2b"];
        let meshed = |vpcs: u32| {
            let mut model = shared(vpcs, 0);
            for vpc in &mut model.vpcs {
                let IpNet::V4(block) = vpc.cidrs[0] else { panic!("{:?}", vpc.cidrs) };
                let halves = block.subnets(25).expect("it has halves").zip(ZONES);
                vpc.subnets = halves
                    .map(|(half, zone)| Subnet { cidr_block: half.into(), availability_zone: zone.into() })
                    .collect();
            }
            let zonal = |(zone, last): (&str, u8)| ZonalAddresses {
                availability_zone: zone.into(),
                zonal_name: None,
                addresses: vec![[10, 0, 1, last].into()],
            };
            model.endpoints = (0..100)
                .map(|number| VpcEndpoint {
                    id: format!("vpce-{number}").into(),
                    vpc: VpcIndex(0),
                    service: "com.amazonaws.ap-northeast-2.kms".into(),
                    kind: EndpointKind::Interface {
                        regional_name: name(&format!("vpce-{number}-x.kms.ap-northeast-2.vpce.amazonaws.com")),
                        zonal: ZONES.into_iter().zip(4..).map(zonal).collect(),
                        has_subdomains: false,
                        private_names: Vec::new(),
                        private_dns_only_for_inbound: false,
                        dns_record_ip_type: DnsRecordIpType::Ipv4,
                        prefer_same_az: true,
                    },
                    state: EndpointState::Available,
                    interface_probe: None,
                })
                .collect();
            compiled(&model)
        };
        let (one, many) = (meshed(1), meshed(50));
        assert_eq!((one.views.len(), many.views.len()), (4, 200));
        assert_eq!(many.authorities.octets(), one.authorities.octets());
        assert_eq!(many.nodes.octets(), one.nodes.octets());
    }
}
