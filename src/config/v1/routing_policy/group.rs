//! What the sets of one name and type must agree on, and what they answer in the zone's VPCs.

use crate::aws::record_set::{RecordData, rdatas};
use crate::aws::region;
use crate::aws::routing_policy::{Area, FailoverRole, MULTIVALUE_PARTS_MAX, MULTIVALUE_SETS_MAX};
use crate::aws::{Routing, RoutingPolicy, VpcIndex};
use crate::config::diagnostic::quoted;
use crate::config::v1::Builder;
use crate::config::v1::hosted_zone::ZoneInMaking;
use crate::config::v1::zone_sets::{REPLY_OCTETS_OF_A_SET_MAX, TOO_LARGE_RULE, reply_octets};
use crate::dns::{Name, Rtype, Ttl};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The sets of one name and type.
type Group<'g> = Vec<&'g (u32, usize, String)>;

impl<'t> Builder<'t, '_> {
    /// Checks what the sets of one name and type must agree on, and what they answer in the zone's VPCs.
    pub(in crate::config::v1) fn settle_routing(&mut self, zone: &mut ZoneInMaking<'_>, vpcs: &[VpcIndex]) {
        let routed = std::mem::take(&mut zone.routed);
        let mut indexes: HashMap<(&Name, Rtype), usize> = HashMap::new();
        let mut groups: Vec<Group<'_>> = Vec::new();
        for one in &routed {
            let set = zone.sets.set(one.0);
            let index = *indexes.entry((&set.owner, set.rtype)).or_insert(groups.len());
            if index == groups.len() {
                groups.push(Vec::new());
            }
            groups[index].push(one);
        }
        // A zone may have thousands of VPCs: the first of each region stands for all that are there.
        let mut regions: HashSet<&str> = HashSet::new();
        let vpcs = vpcs.iter().copied().filter(|vpc| regions.insert(&self.model.vpc(*vpc).region));
        let vpcs: Vec<VpcIndex> = vpcs.collect();
        let mut ttls = Vec::new();
        let mut by_location: Vec<&Group<'_>> = Vec::new();
        for group in &groups {
            if self.refuse_mixed_policies(zone, group) {
                continue;
            }
            self.refuse_same(zone, group, |routing| Some(&routing.set_identifier), SAME_IDENTIFIER);
            match &routing_of(zone, group[0]).policy {
                RoutingPolicy::Weighted(_) => self.refuse_different_ttls(zone, group),
                RoutingPolicy::Failover(_) => {
                    self.refuse_same(zone, group, |routing| failover_role(&routing.policy), SAME_FAILOVER_ROLE);
                }
                RoutingPolicy::Latency(_) => {
                    self.refuse_same(zone, group, |routing| latency_region(&routing.policy), SAME_REGION);
                    by_location.push(group);
                }
                RoutingPolicy::Geolocation(_) => {
                    self.refuse_same(zone, group, |routing| area(&routing.policy), SAME_AREA);
                    self.warn_of_no_answer(zone, group, &vpcs);
                    by_location.push(group);
                }
                RoutingPolicy::Geoproximity { .. } => by_location.push(group),
                RoutingPolicy::Multivalue => {
                    self.check_same_values(zone, group);
                    self.refuse_large_answers(zone, group);
                    ttls.extend(self.lowest_ttl(zone, group).map(|ttl| (group, ttl)));
                }
            }
        }
        if let Some(group) = by_location.first() {
            self.warn_of_unknown_region(group, &vpcs);
        }
        for (group, lowest) in ttls {
            for (set, ..) in group {
                if let RecordData::Records { rdatas, .. } = &zone.sets.set(*set).data {
                    let rdatas = rdatas.clone();
                    zone.sets.replace_data(*set, RecordData::Records { ttl: lowest, rdatas });
                }
            }
        }
    }

    /// Whether the sets have different policies, which is told.
    fn refuse_mixed_policies(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>) -> bool {
        let first = routing_of(zone, group[0]);
        let other = group.iter().find(|one| routing_of(zone, one).policy.name() != first.policy.name());
        let Some((_, at, label)) = other else { return false };
        let problem = "the sets of this name and type have different policies";
        let also = self.reading.place(group[0].1, format!("{}, {}", group[0].2, first.policy.name()));
        let rule = "Route 53: \"cannot be created as a non-weighted set exists with the same name and type\", and so for \
                    each policy";
        let error = self.reading.error(*at, label, problem).also(also).rule(rule);
        let hint = "give all of them one policy; an alias leads from one policy to another";
        self.reading.report(error.hint(hint));
        true
    }

    /// Refuses two sets that say the same where each must say something else.
    fn refuse_same<'z, T: Hash + Eq>(
        &mut self,
        zone: &'z ZoneInMaking<'_>,
        group: &Group<'_>,
        what: impl Fn(&'z Routing) -> Option<T>,
        (problem, rule, hint): (&str, &str, &str),
    ) {
        let mut first: HashMap<T, &(u32, usize, String)> = HashMap::new();
        for one in group {
            let Some(said) = what(routing_of(zone, one)) else { continue };
            match first.get(&said) {
                None => {
                    first.insert(said, one);
                }
                Some((_, at, label)) => {
                    let also = self.reading.place(*at, label);
                    let error = self.reading.error(one.1, &one.2, problem).also(also);
                    self.reading.report(error.rule(rule).hint(hint));
                }
            }
        }
    }

    /// Weighted sets that are no aliases have one TTL.
    fn refuse_different_ttls(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>) {
        let mut with_ttl = group.iter().filter_map(|one| Some((one, ttl_of(zone, one)?)));
        let Some((first, ttl)) = with_ttl.next() else { return };
        if let Some((other, _)) = with_ttl.find(|(_, other)| *other != ttl) {
            let error = self.reading.error(other.1, &other.2, "the weighted sets have different TTLs");
            let also = self.reading.place(first.1, &first.2);
            let rule =
                "Route 53: \"weighted sets must contain the same TTL\"; else the weights would not hold in caches";
            self.reading.report(error.also(also).rule(rule).hint("give all of them the same `ttl`"));
        }
    }

    /// The TTL that all sets of a multivalue policy get where theirs differ: they are one RRset.
    fn lowest_ttl(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>) -> Option<Ttl> {
        let ttls = || group.iter().filter_map(|one| ttl_of(zone, one));
        let (lowest, highest) = (ttls().min()?, ttls().max()?);
        if lowest == highest {
            return None;
        }
        let differing = group.iter().find(|one| ttl_of(zone, one) != ttl_of(zone, group[0])).unwrap_or(&group[0]);
        let warning = self.reading.warning(differing.1, &differing.2, "the multivalue sets have different TTLs");
        let also = self.reading.place(group[0].1, &group[0].2);
        let rule = "they are answered as one set, which has one TTL (RFC 2181 section 5.2); the lowest is used";
        self.reading.report(warning.also(also).rule(rule).hint("give all of them the same `ttl`"));
        Some(lowest)
    }

    /// Says where a multivalue set has a value of another, once for each set: the value is answered once. Sets that have
    /// values in common are parted until no two have; refuses what makes too many parts.
    fn check_same_values(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>) {
        let mut holders: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut told: HashSet<usize> = HashSet::new();
        for (position, one) in group.iter().enumerate() {
            let RecordData::Records { rdatas: packed, .. } = &zone.sets.set(one.0).data else { continue };
            for rdata in rdatas(packed) {
                let of_value = holders.entry(rdata).or_default();
                of_value.push(position);
                if let [first, .., second] = **of_value
                    && told.insert(second)
                {
                    let ((_, at, label), (_, other_at, other)) = (group[second], group[first]);
                    let warning = self.reading.warning(*at, label, "two multivalue sets have the same value");
                    let also = self.reading.place(*other_at, other);
                    let rule = "an answer has the record once (RFC 2181 section 5), while one of them is healthy";
                    self.reading.report(warning.also(also).rule(rule).hint("remove one of them"));
                }
            }
        }
        let parts = holders.into_values().collect::<HashSet<Vec<usize>>>().len();
        if parts > MULTIVALUE_PARTS_MAX {
            let (_, at, label) = group[0];
            let problem = "the multivalue sets have values in common in too many ways";
            let rule =
                format!("parted so that none has a value of another, they are {parts}; at most {MULTIVALUE_PARTS_MAX}");
            let error = self.reading.error(*at, label, problem).rule(rule);
            self.reading.report(error.hint("give each set one value, as Route 53 has it"));
        }
    }

    /// Refuses multivalue sets of which eight may not fit into a reply.
    fn refuse_large_answers(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>) {
        let octets = |one: &&(u32, usize, String)| match &zone.sets.set(one.0).data {
            RecordData::Records { rdatas: packed, .. } => reply_octets(packed),
            RecordData::Alias { .. } => 0,
        };
        let mut sizes: Vec<usize> = group.iter().map(octets).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let most: usize = sizes.iter().take(MULTIVALUE_SETS_MAX).sum();
        if most > REPLY_OCTETS_OF_A_SET_MAX {
            let (_, at, label) = group[0];
            let problem = format!("{MULTIVALUE_SETS_MAX} of the multivalue sets may take {most} octets in a reply");
            let error = self.reading.error(*at, label, problem).rule(TOO_LARGE_RULE);
            self.reading.report(error.hint("shorten or remove some values: Route 53 has one in each set"));
        }
    }

    /// Policies by latency and location are answered from where a VPC is: says so, once a zone, where that is nowhere.
    fn warn_of_unknown_region(&mut self, group: &Group<'_>, vpcs: &[VpcIndex]) {
        let mut vpcs = vpcs.iter().map(|vpc| self.model.vpc(*vpc));
        let Some(vpc) = vpcs.find(|vpc| region::find(&vpc.region).is_none()) else { return };
        let (_, at, label) = group[0];
        let problem = format!("{} is in {}, and nobody here knows where that lies", vpc.id, quoted(&vpc.region));
        let rule = "by latency it gets the set of that very region, else the first by identifier; so by geoproximity; by \
                    geolocation the default";
        self.reading.report(self.reading.warning(*at, label, problem).rule(rule));
    }

    /// Says where geolocation has no set for the region of a VPC.
    fn warn_of_no_answer(&mut self, zone: &ZoneInMaking<'_>, group: &Group<'_>, vpcs: &[VpcIndex]) {
        let areas: Vec<Area> = group.iter().filter_map(|one| area(&routing_of(zone, one).policy)).collect();
        let is_left_out = |region: &str| areas.iter().all(|area| area.fit(region::find(region)).is_none());
        let mut vpcs = vpcs.iter().map(|vpc| self.model.vpc(*vpc));
        let Some(vpc) = vpcs.find(|vpc| is_left_out(&vpc.region)) else { return };
        let (_, at, label) = group[0];
        let problem = format!("in {}, which is in {}, no set of these answers", vpc.id, quoted(&vpc.region));
        let rule = "a location that no set is for gets \"no answer\" (Route 53 Developer Guide, routing-policy-geo)";
        let warning = self.reading.warning(*at, label, problem).rule(rule);
        self.reading.report(warning.hint("add a set with geolocation = { country = \"*\" }"));
    }
}

/// The routing of a set that is known to have one.
fn routing_of<'z>(zone: &'z ZoneInMaking<'_>, one: &(u32, usize, String)) -> &'z Routing {
    zone.sets.set(one.0).routing.as_ref().expect("only sets with a routing policy are gathered")
}

/// The TTL of a set that is no alias.
fn ttl_of(zone: &ZoneInMaking<'_>, one: &(u32, usize, String)) -> Option<Ttl> {
    match &zone.sets.set(one.0).data {
        RecordData::Records { ttl, .. } => Some(*ttl),
        RecordData::Alias { .. } => None,
    }
}

fn failover_role(policy: &RoutingPolicy) -> Option<FailoverRole> {
    if let RoutingPolicy::Failover(role) = policy { Some(*role) } else { None }
}

fn latency_region(policy: &RoutingPolicy) -> Option<&str> {
    if let RoutingPolicy::Latency(region) = policy { Some(&**region) } else { None }
}

fn area(policy: &RoutingPolicy) -> Option<Area> {
    if let RoutingPolicy::Geolocation(area) = policy { Some(*area) } else { None }
}

/// Problem, rule and remedy of sets that say the same.
const SAME_IDENTIFIER: (&str, &str, &str) = (
    "two sets of this name and type have the same `set_identifier`",
    "it must be unique among them (Route 53 API, ResourceRecordSet)",
    "give one of them another",
);
const SAME_FAILOVER_ROLE: (&str, &str, &str) = (
    "two failover sets of this name and type have the same role",
    "there is one primary and one secondary (Route 53 API, ResourceRecordSet: Failover)",
    "remove one; an alias of a weighted name stands for several",
);
const SAME_REGION: (&str, &str, &str) = (
    "two latency sets of this name and type are of one region",
    "Route 53: \"cannot be created because a latency RRSet with the same name, type and region already exists\"",
    "remove one, or alias a weighted name in that region",
);
const SAME_AREA: (&str, &str, &str) = (
    "two geolocation sets of this name and type are for one area",
    "each is for another (Route 53 API, ResourceRecordSet: GeoLocation)",
    "remove one",
);
