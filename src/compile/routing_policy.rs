//! Routing policies: what can be settled without a query is settled here, once for a region and not for a VPC.

use super::endpoint::{AddressRrsets, address_rrsets, interface_health};
use super::hosted_zone::endpoint_addresses;
use super::zone::EncodedRrset;
use crate::aws::endpoint::INTERFACES_PROBED_MAX;
use crate::aws::region;
use crate::aws::routing_policy::{self, FailoverRole, MULTIVALUE_PARTS_MAX, ROUTED_SETS_MAX, biased_km};
use crate::aws::{AliasTarget, EndpointKind, Model, RecordData, RecordSet, Region, RoutingPolicy};
use crate::dns::{Name, Rtype};
use crate::snapshot::routing_policy::{MULTIVALUE_SETS_MAX, Order, PolicySetData, PolicyTableBuilder, SETS_MAX};
use crate::snapshot::{HealthIndex, HealthPlan, PolicyIndex, PolicyKind, PolicyTable, Records, RegionIndex};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

const _: () = assert!(ROUTED_SETS_MAX <= SETS_MAX, "what Route 53 takes has room");
const _: () = assert!(INTERFACES_PROBED_MAX <= SETS_MAX, "what is asked has room");
const _: () = assert!(MULTIVALUE_SETS_MAX == routing_policy::MULTIVALUE_SETS_MAX, "one number on both sides");
const _: () = assert!(MULTIVALUE_PARTS_MAX <= SETS_MAX, "values that sets have in common have room");

/// Octets of an answer that every alias of it has a copy of. A longer one stands once, and aliases lead to it: a
/// thousand aliases of a set of 64 KiB would take 64 MiB.
const COPIED_OCTETS_MAX: usize = 1024;

/// The policies of all zones in the making.
pub(super) struct PoliciesBuilder<'m> {
    model: &'m Model,
    table: PolicyTableBuilder,
    /// What the health table will hold.
    plan: HealthPlan,
    /// The entry of each health check.
    checks: Vec<HealthIndex>,
    /// The network interfaces of each endpoint that are asked whether they are healthy.
    interfaces: Vec<Vec<(IpAddr, HealthIndex)>>,
    /// What addresses of those endpoints come to: made once.
    endpoint_answers: HashMap<(usize, Vec<IpAddr>), AddressRrsets>,
    regions: Vec<VpcRegion<'m>>,
    by_name: HashMap<&'m str, RegionIndex>,
}

/// A region that VPCs are in; one that the table of regions does not have lies nowhere.
struct VpcRegion<'m> {
    name: &'m str,
    known: Option<&'static Region>,
}

impl<'m> PoliciesBuilder<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let mut regions: Vec<VpcRegion<'m>> = Vec::new();
        let mut by_name = HashMap::new();
        for vpc in &model.vpcs {
            by_name.entry(&*vpc.region).or_insert_with(|| {
                regions.push(VpcRegion { name: &vpc.region, known: region::find(&vpc.region) });
                RegionIndex(regions.len() as u32 - 1)
            });
        }
        let mut plan = HealthPlan::default();
        let checks = super::health_check::compile(model, &mut plan);
        let interfaces = model.endpoints.iter().map(|endpoint| interface_health(endpoint, &mut plan)).collect();
        Self {
            model,
            table: PolicyTableBuilder::default(),
            plan,
            checks,
            interfaces,
            endpoint_answers: HashMap::new(),
            regions,
            by_name,
        }
    }

    /// The region of a VPC.
    pub(super) fn region(&self, name: &str) -> RegionIndex {
        self.by_name[name]
    }

    /// What the regional name of an endpoint answers with.
    fn regional_answer(&mut self, endpoint: usize) -> AddressRrsets {
        let addresses = endpoint_addresses(self.model, endpoint, None);
        self.endpoint_answer(endpoint, &addresses)
    }

    /// What a name of an endpoint answers with that has these addresses: all of them; of those that are asked, the healthy
    /// ones, unless none is.
    pub(super) fn endpoint_answer(&mut self, endpoint: usize, addresses: &[IpAddr]) -> AddressRrsets {
        if self.interfaces[endpoint].is_empty() {
            return address_rrsets(addresses.iter().copied());
        }
        let key = (endpoint, addresses.to_vec());
        if let Some(answer) = self.endpoint_answers.get(&key) {
            return answer.clone();
        }
        let mut by_type: Vec<(Rtype, Vec<(HealthIndex, EncodedRrset)>)> = Vec::new();
        for (ip, health) in self.interfaces[endpoint].iter().filter(|(ip, _)| addresses.contains(ip)) {
            for (rtype, rrset) in address_rrsets(std::iter::once(*ip)) {
                match by_type.iter_mut().find(|(known, _)| *known == rtype) {
                    Some((_, sets)) => sets.push((*health, rrset)),
                    None => by_type.push((rtype, vec![(*health, rrset)])),
                }
            }
        }
        by_type.sort_unstable_by_key(|(rtype, _)| *rtype);
        let policy = |(rtype, sets): (Rtype, Vec<(HealthIndex, EncodedRrset)>)| {
            let all = self.plan.all(&sets.iter().map(|(health, _)| *health).collect::<Vec<_>>());
            let sets = sets.iter().map(|(health, rrset)| PolicySetData {
                health: *health,
                weight: 1,
                records: rrset.count,
                octets: &rrset.octets,
            });
            let index = self.table.add(PolicyKind::AllHealthy, &sets.collect::<Vec<_>>(), &Order::None, all);
            (rtype, EncodedRrset::policy(index))
        };
        let answer: AddressRrsets = by_type.into_iter().map(policy).collect();
        self.endpoint_answers.insert(key, answer.clone());
        answer
    }

    /// The same for clients of an Availability Zone: of each type the addresses `there`; `all` where there are none, or
    /// while none of those that are asked is healthy.
    pub(super) fn same_az_answer(&mut self, endpoint: usize, there: &[IpAddr], all: &[IpAddr]) -> AddressRrsets {
        let of_there = self.endpoint_answer(endpoint, there);
        let mut answer = self.endpoint_answer(endpoint, all);
        for (rtype, rrset) in &mut answer {
            let Some((_, near)) = of_there.iter().find(|(of_there, _)| of_there == rtype) else { continue };
            let is_asked =
                |(ip, _): &&(IpAddr, HealthIndex)| there.contains(ip) && ip.is_ipv4() == (*rtype == Rtype::A);
            let asked = self.interfaces[endpoint].iter().filter(is_asked);
            let asked: Vec<HealthIndex> = asked.map(|(_, health)| *health).collect();
            if asked.is_empty() {
                *rrset = near.clone();
                continue;
            }
            let is_any_healthy = self.plan.at_least(1, &asked, false);
            let sets = [(is_any_healthy, near), (HealthIndex::ALWAYS, &*rrset)].map(|(health, rrset)| PolicySetData {
                health,
                weight: 1,
                records: rrset.count,
                octets: &rrset.octets,
            });
            let index = self.table.add(PolicyKind::InOrder, &sets, &Order::AsAdded, HealthIndex::ALWAYS);
            *rrset = EncodedRrset::policy(index);
        }
        answer
    }

    pub(super) fn build(self) -> (PolicyTable, HealthPlan) {
        (self.table.build(), self.plan)
    }
}

/// The sets of one zone by owner and type, and what has been made of them so far.
pub(super) struct ZoneSets<'z, 'm> {
    /// Sets of one owner and type; made only where an alias may need them.
    by_name: HashMap<(&'m Name, Rtype), &'z [&'m RecordSet]>,
    /// Policies that are made, by the owner and type of their sets.
    made: HashMap<(&'m Name, Rtype), Made>,
    /// Long answers that aliases lead to.
    shared: HashMap<End<'m>, EncodedRrset>,
}

/// Where a chain of simple aliases ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum End<'m> {
    /// At the records of an owner and type.
    Records(&'m Name, Rtype),
    /// At the addresses of an endpoint, or those of one of its zones.
    Endpoint(usize, Option<usize>, Rtype),
}

/// A policy that has been made.
struct Made {
    rrset: EncodedRrset,
    /// Healthy while any of its sets is.
    health: HealthIndex,
}

impl<'z, 'm> ZoneSets<'z, 'm> {
    /// Takes in the sets of a zone, those of one owner and type together.
    pub(super) fn of(sets: &'z [&'m RecordSet]) -> Self {
        let is_alias_of_the_zone =
            |set: &&RecordSet| matches!(set.data, RecordData::Alias { target: AliasTarget::SameZone(_), .. });
        let mut by_name: HashMap<(&'m Name, Rtype), &'z [&'m RecordSet]> = HashMap::new();
        if sets.iter().any(is_alias_of_the_zone) {
            let groups = sets.chunk_by(|a, b| (&a.owner, a.rtype) == (&b.owner, b.rtype));
            by_name.extend(groups.map(|group| ((&group[0].owner, group[0].rtype), group)));
        }
        Self { by_name, made: HashMap::new(), shared: HashMap::new() }
    }
}

impl<'m> PoliciesBuilder<'m> {
    /// Encodes what one owner and type answer with: records, an alias, or a policy. None: an alias of an endpoint that
    /// has no address of this type, which is as if it were absent.
    pub(super) fn encode(&mut self, zone: &mut ZoneSets<'_, 'm>, group: &[&'m RecordSet]) -> Option<EncodedRrset> {
        match group {
            [only] if only.routing.is_none() => self.encode_set(zone, only),
            _ => Some(self.policy(zone, group).0),
        }
    }

    /// Encodes one set; an alias takes over what its target answers with.
    fn encode_set(&mut self, zone: &mut ZoneSets<'_, 'm>, set: &'m RecordSet) -> Option<EncodedRrset> {
        let mut end = set;
        // At most `ALIAS_DEPTH_MAX` times.
        loop {
            let target = match &end.data {
                RecordData::Records { ttl, rdatas } => {
                    let rdatas = crate::aws::record_set::rdatas(rdatas);
                    let encode = || EncodedRrset::records(end.rtype, ttl.seconds(), rdatas);
                    let is_alias = !std::ptr::eq(set, end);
                    return Some(if is_alias {
                        self.shared(zone, End::Records(&end.owner, end.rtype), encode)
                    } else {
                        encode()
                    });
                }
                RecordData::Alias { target, .. } => target,
            };
            match target {
                AliasTarget::Forwarded(target) => return Some(EncodedRrset::alias(target)),
                AliasTarget::Endpoint { endpoint, zonal } => {
                    let rrsets = match zonal {
                        None => self.regional_answer(*endpoint),
                        Some(_) => address_rrsets(endpoint_addresses(self.model, *endpoint, *zonal).into_iter()),
                    };
                    let (_, rrset) = rrsets.into_iter().find(|(rtype, _)| *rtype == set.rtype)?;
                    return Some(self.shared(zone, End::Endpoint(*endpoint, *zonal, set.rtype), || rrset));
                }
                // The target exists and no loop leads back: `config` has checked both.
                AliasTarget::SameZone(target) => match *zone.by_name.get(&(target, set.rtype))? {
                    [only] if only.routing.is_none() => end = only,
                    group => return Some(self.policy(zone, group).0),
                },
            }
        }
    }

    /// What an alias has of the answer at its end: a copy, or where it is long the way to it.
    fn shared(
        &mut self,
        zone: &mut ZoneSets<'_, 'm>,
        end: End<'m>,
        encode: impl FnOnce() -> EncodedRrset,
    ) -> EncodedRrset {
        if let Some(known) = zone.shared.get(&end) {
            return known.clone();
        }
        let rrset = encode();
        if rrset.octets.len() <= COPIED_OCTETS_MAX {
            return rrset;
        }
        let (health, octets) = (HealthIndex::ALWAYS, &*rrset.octets);
        let only = PolicySetData { health, weight: 1, records: rrset.count, octets };
        let way = EncodedRrset::policy(self.table.add(PolicyKind::InOrder, &[only], &Order::AsAdded, health));
        zone.shared.insert(end, way.clone());
        way
    }

    /// Makes a policy, or gives what was made of it before; and its health.
    fn policy(&mut self, zone: &mut ZoneSets<'_, 'm>, group: &[&'m RecordSet]) -> (EncodedRrset, HealthIndex) {
        let key = (&group[0].owner, group[0].rtype);
        if let Some(made) = zone.made.get(&key) {
            return (made.rrset.clone(), made.health);
        }
        let mut sets: Vec<RoutedSet<'m>> = Vec::with_capacity(group.len());
        for set in group {
            let Some(routing) = &set.routing else { continue };
            // An alias of an endpoint without addresses of this type is as if it were absent.
            let Some(rrset) = self.encode_set(zone, set) else { continue };
            let check = routing.health_check.map_or(HealthIndex::ALWAYS, |check| self.checks[check.0 as usize]);
            let target = self.health_of_target(zone, set);
            let health = self.plan.all(&[check, target]);
            sets.push(RoutedSet { identifier: &routing.set_identifier, policy: &routing.policy, rrset, health });
        }
        // What nothing else decides, the identifier does: never the order of the file.
        sets.sort_unstable_by_key(|set| set.identifier);
        let healths: Vec<HealthIndex> = sets.iter().map(|set| set.health).collect();
        let health = self.plan.any(&healths);
        if sets.first().is_some_and(|set| *set.policy == RoutingPolicy::Multivalue) {
            sets = self.parts(sets);
        }
        let rrset = match plain_multivalue(&sets) {
            Some(rrset) => rrset,
            None => EncodedRrset::policy(self.add_policy(sets)),
        };
        zone.made.insert(key, Made { rrset: rrset.clone(), health });
        (rrset, health)
    }

    /// How healthy what an alias points at is, if it asks (R53:dns-failover-complex-configs): what it points at is
    /// healthy while any set there is.
    fn health_of_target(&mut self, zone: &mut ZoneSets<'_, 'm>, set: &'m RecordSet) -> HealthIndex {
        let mut set = set;
        while let RecordData::Alias { target, evaluate_target_health: true } = &set.data {
            let target = match target {
                AliasTarget::SameZone(target) => target,
                AliasTarget::Endpoint { endpoint, zonal } => {
                    return self.health_of_interfaces(*endpoint, *zonal, set.rtype);
                }
                AliasTarget::Forwarded(_) => break,
            };
            match zone.by_name.get(&(target, set.rtype)).copied() {
                Some([only]) if only.routing.is_none() => set = only,
                Some(group) => return self.policy(zone, group).1,
                None => break,
            }
        }
        HealthIndex::ALWAYS
    }

    /// How healthy an endpoint is, or what is in one of its Availability Zones: healthy while any network interface there is
    /// that has an address of the type; always where nobody asks them.
    fn health_of_interfaces(&mut self, endpoint: usize, zonal: Option<usize>, rtype: Rtype) -> HealthIndex {
        let EndpointKind::Interface { zonal: zones, .. } = &self.model.endpoints[endpoint].kind else {
            return HealthIndex::ALWAYS;
        };
        let is_meant = |ip: &IpAddr| {
            ip.is_ipv4() == (rtype == Rtype::A) && zonal.is_none_or(|zone| zones[zone].addresses.contains(ip))
        };
        let interfaces = self.interfaces[endpoint].iter().filter(|(ip, _)| is_meant(ip));
        match &interfaces.map(|(_, health)| *health).collect::<Vec<_>>()[..] {
            [] => HealthIndex::ALWAYS,
            healths => self.plan.any(healths),
        }
    }

    /// Multivalue sets parted so that no value stands in two: an answer has a record once (RFC 2181 section 5). Values
    /// that the same sets have stay together, and are healthy while any of these is.
    fn parts(&mut self, sets: Vec<RoutedSet<'m>>) -> Vec<RoutedSet<'m>> {
        let values = || (0..).zip(&sets).flat_map(|(position, set)| set.records().map(move |value| (position, value)));
        let mut holders: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (position, value) in values() {
            holders.entry(value).or_default().push(position);
        }
        if holders.values().all(|of_value| of_value.len() == 1) {
            return sets;
        }
        let mut parts: BTreeMap<&[usize], EncodedRrset> = BTreeMap::new();
        for (position, value) in values() {
            let of_value = &*holders[value];
            if of_value[0] == position {
                let part = parts.entry(of_value).or_default();
                part.octets.extend_from_slice(value);
                part.count += 1;
            }
        }
        let part = |(of_part, rrset): (&[usize], EncodedRrset)| {
            let healths: Vec<HealthIndex> = of_part.iter().map(|position| sets[*position].health).collect();
            let RoutedSet { identifier, policy, .. } = sets[of_part[0]];
            RoutedSet { identifier, policy, rrset, health: self.plan.any(&healths) }
        };
        parts.into_iter().map(part).collect()
    }

    /// Adds a policy to the table.
    fn add_policy(&mut self, mut sets: Vec<RoutedSet<'m>>) -> PolicyIndex {
        // The order stays that of the identifiers but for the secondary of two, which is second.
        sets.sort_by_key(|set| *set.policy == RoutingPolicy::Failover(FailoverRole::Secondary));
        let (kind, order) = match sets.first().map(|set| set.policy) {
            Some(RoutingPolicy::Weighted(_)) | None => (PolicyKind::Weighted, Order::None),
            Some(RoutingPolicy::Failover(_)) => (PolicyKind::InOrder, Order::AsAdded),
            Some(RoutingPolicy::Multivalue) => (PolicyKind::Multivalue, Order::None),
            Some(RoutingPolicy::Latency(_) | RoutingPolicy::Geolocation(_) | RoutingPolicy::Geoproximity { .. }) => {
                let orders = self.regions.iter().map(|region| order_from(region, &sets));
                (PolicyKind::InOrder, Order::ByRegion(orders.collect()))
            }
        };
        let all = match kind {
            PolicyKind::Multivalue | PolicyKind::AllHealthy => {
                self.plan.all(&sets.iter().map(|set| set.health).collect::<Vec<_>>())
            }
            PolicyKind::Weighted | PolicyKind::InOrder => HealthIndex::ALWAYS,
        };
        let sets = sets.iter().map(|set| PolicySetData {
            health: set.health,
            weight: if let RoutingPolicy::Weighted(weight) = set.policy { *weight } else { 1 },
            records: set.rrset.count,
            octets: &set.rrset.octets,
        });
        self.table.add(kind, &sets.collect::<Vec<_>>(), &order, all)
    }
}

/// A set of a policy in the making.
struct RoutedSet<'m> {
    identifier: &'m str,
    policy: &'m RoutingPolicy,
    rrset: EncodedRrset,
    health: HealthIndex,
}

impl RoutedSet<'_> {
    /// Its records, of a set that holds records.
    fn records(&self) -> impl Iterator<Item = &[u8]> {
        Records { templates: &self.rrset.octets, count: self.rrset.count }.iter()
    }
}

/// A multivalue policy that always answers with all of its sets is a plain RRset, unless it is a long one, which aliases
/// would copy.
fn plain_multivalue(sets: &[RoutedSet<'_>]) -> Option<EncodedRrset> {
    let is_plain = (1..=MULTIVALUE_SETS_MAX).contains(&sets.len())
        && sets.iter().all(|set| *set.policy == RoutingPolicy::Multivalue && set.health == HealthIndex::ALWAYS)
        && sets.iter().map(|set| set.rrset.octets.len()).sum::<usize>() <= COPIED_OCTETS_MAX;
    is_plain.then(|| EncodedRrset {
        count: sets.iter().map(|set| set.rrset.count).sum(),
        octets: sets.iter().flat_map(|set| &set.rrset.octets).copied().collect(),
    })
}

/// The positions of sets in the order in which a region prefers them. Equal ones stay in the order of the identifiers.
fn order_from(region: &VpcRegion<'_>, sets: &[RoutedSet<'_>]) -> Vec<u8> {
    let mut order: Vec<(f64, u8)> =
        (0..).zip(sets).filter_map(|(position, set)| Some((distance_from(region, set.policy)?, position))).collect();
    order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    order.into_iter().map(|(_, position)| position).collect()
}

/// How far a set is from a region: the nearest is preferred. None: it is not for this region.
fn distance_from(region: &VpcRegion<'_>, policy: &RoutingPolicy) -> Option<f64> {
    match policy {
        RoutingPolicy::Latency(set) if **set == *region.name => Some(-1.0),
        // AWS publishes no table of latencies: the great circle stands in for them.
        RoutingPolicy::Latency(set) => Some(region::find(set).map_or_else(
            || if region.known.is_some() { f64::INFINITY } else { 0.0 },
            |set| distance_km(region, set.coordinates),
        )),
        RoutingPolicy::Geoproximity { coordinates, bias } => Some(biased_km(distance_km(region, *coordinates), *bias)),
        RoutingPolicy::Geolocation(area) => area.fit(region.known).map(|fit| -f64::from(fit)),
        RoutingPolicy::Weighted(_) | RoutingPolicy::Failover(_) | RoutingPolicy::Multivalue => Some(0.0),
    }
}

/// The distance between a region and a place; from a region that nobody knows all places are equally far.
fn distance_km(region: &VpcRegion<'_>, place: region::Coordinates) -> f64 {
    region.known.map_or(0.0, |known| known.coordinates.distance_km(place))
}
