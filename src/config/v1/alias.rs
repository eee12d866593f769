//! What aliases point at: a set of the same zone, an endpoint here, or another name of AWS's.

use super::Builder;
use super::endpoint::EndpointNames;
use super::hosted_zone::ZoneInMaking;
use super::zone_sets::OriginKind;
use crate::aws::record_set::{AliasSuffix, AliasTarget, RecordData};
use crate::aws::routing_policy::ALIAS_DEPTH_MAX;
use crate::aws::{EndpointKind, RecordSet};
use crate::config::diagnostic::Diagnostic;
use crate::dns::{Name, Rtype};
use std::collections::{HashMap, HashSet};

/// An alias that is being settled.
struct Alias<'a> {
    set: u32,
    at: usize,
    label: &'a str,
    rtype: Rtype,
    target: Name,
}

impl<'t> Builder<'t, '_> {
    /// Settles every alias of a zone whose sets are complete, and refuses loops.
    pub(super) fn settle_aliases(&mut self, zone: &mut ZoneInMaking<'_>, names: &EndpointNames) {
        let written = std::mem::take(&mut zone.aliases);
        let mut same_zone: HashMap<u32, u32> = HashMap::new();
        for (set, at, label) in &written {
            let RecordSet { rtype, data: RecordData::Alias { target, evaluate_target_health }, .. } =
                zone.sets.set(*set)
            else {
                continue;
            };
            let (AliasTarget::Forwarded(target), evaluate_target_health) = (target, *evaluate_target_health) else {
                continue;
            };
            let alias = Alias { set: *set, at: *at, label, rtype: *rtype, target: target.clone() };
            let settled = self.alias_target(zone, names, &alias);
            if let AliasTarget::SameZone(target) = &settled
                && let Some(to) = zone.sets.find(target, alias.rtype)
            {
                same_zone.insert(alias.set, to);
            }
            zone.sets.replace_data(alias.set, RecordData::Alias { target: settled, evaluate_target_health });
        }
        self.refuse_alias_loops(zone, &written, &same_zone);
    }

    /// What one alias points at; says so where it can point at nothing.
    fn alias_target(&mut self, zone: &ZoneInMaking<'_>, names: &EndpointNames, alias: &Alias<'_>) -> AliasTarget {
        let forwarded = AliasTarget::Forwarded(alias.target.clone());
        if let Some((endpoint, zonal)) = self.endpoint_of(names, &alias.target) {
            self.check_endpoint_alias(alias, endpoint);
            // A name that is gone is nobody's here: the alias gets what the name itself gets.
            let is_here = self.model.endpoints[endpoint].state.has_dns_names();
            return if is_here { AliasTarget::Endpoint { endpoint, zonal } } else { forwarded };
        }
        let suffix = AliasSuffix::of(&alias.target);
        let is_in_zone = alias.target.is_at_or_below(zone.apex);
        // A zone above AWS's own names, `amazonaws.com`, holds no endpoints: these are told apart by their suffix.
        if is_in_zone && (zone.sets.find(&alias.target, alias.rtype).is_some() || suffix != AliasSuffix::Endpoint) {
            self.check_same_zone_alias(zone, alias);
            return AliasTarget::SameZone(alias.target.clone());
        }
        if !matches!(alias.rtype, Rtype::A | Rtype::AAAA) {
            let problem = format!("an alias of type {} to `{}`", alias.rtype, alias.target);
            let rule = "outside its zone an alias points at addresses: A or AAAA \
                        (Route 53 Developer Guide, resource-record-sets-values-alias-common)";
            self.reading.report(self.reading.error(alias.at, alias.label, problem).rule(rule));
            return forwarded;
        }
        match suffix {
            AliasSuffix::Endpoint => self.check_endpoint_elsewhere(names, alias),
            AliasSuffix::Aws => {}
            AliasSuffix::CloudFront => {
                let problem = format!("an alias to CloudFront, `{}`", alias.target);
                let rule = "a private hosted zone cannot have one (Route 53 Developer Guide, \
                            resource-record-sets-choosing-alias-non-alias)";
                let error = self.reading.error(alias.at, alias.label, problem).rule(rule);
                self.reading.report(error.hint("write a CNAME below the apex"));
            }
            AliasSuffix::Elsewhere => {
                let problem = format!("an alias to `{}`, which is no name of AWS", alias.target);
                let rule = "an alias points at a set of its own zone or at a name that AWS gives";
                let error = self.reading.error(alias.at, alias.label, problem).rule(rule);
                self.reading.report(error.hint("write a CNAME: type = \"CNAME\", values = […]"));
            }
        }
        forwarded
    }

    /// The endpoint here that a name is of; below its own names too where these are wildcards (S3).
    fn endpoint_of(&self, names: &EndpointNames, target: &Name) -> Option<(usize, Option<usize>)> {
        let mut name = target.clone();
        loop {
            if let Some((endpoint, zonal)) = names.find(&name) {
                let kind = &self.model.endpoints[endpoint].kind;
                let has_subdomains = matches!(kind, EndpointKind::Interface { has_subdomains: true, .. });
                return (name == *target || has_subdomains).then_some((endpoint, zonal));
            }
            name = name.parent()?;
        }
    }

    fn check_endpoint_alias(&mut self, alias: &Alias<'_>, endpoint: usize) {
        let endpoint = &self.model.endpoints[endpoint];
        if !matches!(alias.rtype, Rtype::A | Rtype::AAAA) {
            let problem = format!("an alias of type {} to the endpoint `{}`", alias.rtype, endpoint.id);
            let rule = "an endpoint has addresses: A or AAAA";
            self.reading.report(self.reading.error(alias.at, alias.label, problem).rule(rule));
        } else if !endpoint.state.has_dns_names() {
            let problem = format!("an alias to the endpoint `{}`, whose names are gone", endpoint.id);
            let rule = format!("its state is {:?}", endpoint.state).to_ascii_lowercase();
            self.reading.report(self.reading.warning(alias.at, alias.label, problem).rule(rule));
        }
    }

    /// A vpce name that is none of the endpoints' here: of one here that has no such name, or of one elsewhere.
    fn check_endpoint_elsewhere(&mut self, names: &EndpointNames, alias: &Alias<'_>) {
        let found = names.find_by_id(&alias.target);
        if found == Some(None) {
            return;
        }
        if let Some(here) = found.flatten() {
            let endpoint = &self.model.endpoints[here];
            let problem = format!("the endpoint `{}` has no name `{}`", endpoint.id, alias.target);
            let error = self.reading.error(alias.at, alias.label, problem);
            let hint = match &endpoint.kind {
                EndpointKind::Interface { regional_name, zonal, .. } => {
                    let zonal = zonal.iter().filter_map(|zonal| Some(zonal.zonal_name.as_ref()?.to_string()));
                    let all: Vec<String> = std::iter::once(regional_name.to_string()).chain(zonal).collect();
                    format!("its names are {}", all.join(", "))
                }
                EndpointKind::Lattice { associations, .. } => {
                    let all: Vec<String> =
                        associations.iter().map(|association| association.dns_name.to_string()).collect();
                    format!("its names are {}", all.join(", "))
                }
                EndpointKind::Gateway | EndpointKind::GatewayLoadBalancer => {
                    "it is no interface endpoint, and has no names".to_owned()
                }
            };
            self.reading.report(error.hint(hint));
            return;
        }
        let problem = format!("an alias to `{}`, which is of no endpoint here", alias.target);
        let rule = "such a name is asked from whom the VPC forwards to";
        let warning = self.reading.warning(alias.at, alias.label, problem).rule(rule);
        self.reading.report(warning.hint("add the endpoint as a [[vpc_endpoint]], if it is yours"));
    }

    /// A set of the same zone and type must be there.
    fn check_same_zone_alias(&mut self, zone: &ZoneInMaking<'_>, alias: &Alias<'_>) {
        if zone.is_incomplete || zone.sets.find(&alias.target, alias.rtype).is_some() {
            return;
        }
        let problem = format!("the zone has no {} set `{}`", alias.rtype, alias.target);
        let error = self.reading.error(alias.at, alias.label, problem);
        let rule = "an alias points at a set of its own type that exists (Route 53 Developer Guide, \
                    resource-record-sets-values-alias-common)";
        let error = error.rule(rule);
        self.reading.report(match zone.sets.find_any(&alias.target) {
            Some(other) => {
                let found = zone.sets.set(other).rtype;
                error
                    .also(self.record_place(zone, zone.sets.origin(other), "what the name has"))
                    .hint(format!("the name has {found}: alias that type, or write a CNAME"))
            }
            None => error.hint("add the set, or correct the name"),
        });
    }

    /// Refuses aliases that lead back to themselves, each loop once, and ways of too many aliases and policies.
    ///
    /// `same_zone` has the target of each alias that points into the zone. Sets of one owner and type are one place,
    /// called by the set that is found for it: an alias leads to all of them.
    fn refuse_alias_loops(
        &mut self,
        zone: &ZoneInMaking<'_>,
        written: &[(u32, usize, String)],
        same_zone: &HashMap<u32, u32>,
    ) {
        let place_of = |set: &RecordSet| zone.sets.find(&set.owner, set.rtype);
        let mut leads: HashMap<u32, Vec<Lead>> = HashMap::new();
        for (set, ..) in written {
            if let (Some(from), Some(to)) = (place_of(zone.sets.set(*set)), same_zone.get(set)) {
                leads.entry(from).or_default().push(Lead { alias: *set, to: *to });
            }
        }
        let mut depths: HashMap<u32, usize> = HashMap::new();
        for (set, at, label) in written {
            let Some(start) = place_of(zone.sets.set(*set)) else { continue };
            // Each place on the way with the lead that is tried next; and which places these are.
            let mut path: Vec<(u32, usize)> = vec![(start, 0)];
            let mut on_path: HashSet<u32> = HashSet::from([start]);
            while let Some((place, next)) = path.last_mut().filter(|(place, _)| !depths.contains_key(place)) {
                let of_place = leads.get(place).map_or(&[][..], Vec::as_slice);
                let Some(lead) = of_place.get(*next) else {
                    let place = *place;
                    let below = of_place.iter().filter_map(|lead| depths.get(&lead.to)).max();
                    let is_one = zone.sets.set(place).routing.is_some() || !of_place.is_empty();
                    let depth = below.copied().unwrap_or_default() + usize::from(is_one);
                    if depth == ALIAS_DEPTH_MAX + 1 {
                        self.report_long_way(zone, place);
                    }
                    depths.insert(place, depth);
                    path.pop();
                    on_path.remove(&place);
                    continue;
                };
                *next += 1;
                if on_path.contains(&lead.to) {
                    let first = path.iter().position(|(place, _)| *place == lead.to).unwrap_or_default();
                    let of_loop: Vec<u32> =
                        path[first..].iter().map(|(place, next)| leads[place][next - 1].alias).collect();
                    self.report_alias_loop(zone, &of_loop, (*set, *at, label));
                } else if !depths.contains_key(&lead.to) {
                    on_path.insert(lead.to);
                    path.push((lead.to, 0));
                }
            }
        }
    }

    /// `of_loop` are the aliases that make it; `start` is the one that led there.
    fn report_alias_loop(&mut self, zone: &ZoneInMaking<'_>, of_loop: &[u32], start: (u32, usize, &str)) {
        let (start, at, label) = start;
        let closed = || of_loop.iter().chain(of_loop.first());
        let names: Vec<String> =
            closed().take(LOOP_NAMES_MAX).map(|set| zone.sets.set(*set).owner.to_string()).collect();
        let mut error: Diagnostic = self.reading.error(at, label, "the alias leads back to itself");
        for set in closed().skip(1).filter(|set| **set != start).take(LOOP_NAMES_MAX) {
            let origin = zone.sets.origin(*set);
            error = error.also(self.record_place(zone, origin, &zone.sets.set(*set).owner.to_string()));
        }
        let error = error.rule(format!("loop: {}", names.join(" -> ")));
        self.reading.report(error.hint("give one of them values"));
    }

    /// An alias or policy that leads through more than [`ALIAS_DEPTH_MAX`], itself included.
    fn report_long_way(&mut self, zone: &ZoneInMaking<'_>, set: u32) {
        let RecordSet { owner, rtype, .. } = zone.sets.set(set);
        let problem = format!("{rtype} `{owner}` leads through {} aliases and routing policies", ALIAS_DEPTH_MAX + 1);
        let OriginKind::Configuration(at) = zone.sets.origin(set).kind() else { return };
        let error = self.reading.error(at, zone.records_label(), problem);
        let rule = format!("at most {ALIAS_DEPTH_MAX} may follow each other, so that every answer has a bound");
        self.reading.report(error.rule(rule).hint("let an alias point further down"));
    }
}

/// An alias, and the place that it leads to.
struct Lead {
    alias: u32,
    to: u32,
}

/// Names of a loop that a message shows.
const LOOP_NAMES_MAX: usize = 8;
