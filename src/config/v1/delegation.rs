//! What DELEGATE rules come to: the delegations of hosted zones that they cover, and whether their servers can be asked.

use super::Builder;
use super::resolver_tables::ResolverRuleTable;
use super::target::why_nobody_is_at;
use crate::aws::{Model, RuleAction};
use crate::config::diagnostic::quoted;
use crate::dns::{Name, Target, TargetHost};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A name server that a rule covers.
struct Covered {
    /// "the name server `ns1.corp.example.` of `corp.example.` in Z1".
    shown: String,
    targets: Vec<Target>,
}

impl<'t> Builder<'t, '_> {
    /// Checks that each DELEGATE rule covers name servers, and that these can be asked.
    pub(super) fn settle_delegations(&mut self, tables: &[ResolverRuleTable<'t>]) {
        let by_id: HashMap<&str, &ResolverRuleTable<'t>> =
            tables.iter().filter_map(|table| Some((table.id.as_ref()?.value.as_ref(), table))).collect();
        let Coverage { rules, mut name_servers } = Coverage::of(&self.model);
        for number in 0..self.model.resolver_rules.len() {
            let rule = &self.model.resolver_rules[number];
            let (RuleAction::Delegate, Some(table)) = (&rule.action, by_id.get(&*rule.id)) else { continue };
            if rule.domain.is_wildcard() {
                // It has been refused.
                continue;
            }
            let at = table.delegation_record.as_ref().map_or(table.at, |text| text.at);
            if !rules.contains(&number) && table.vpcs.as_ref().is_some_and(|vpcs| !vpcs.value.is_empty()) {
                let problem = format!("no hosted zone of its VPCs has a name server at or below `{}`", rule.domain);
                let warning = self.reading.warning(at, &table.label, problem);
                let rule = "it is for NS records below the apex of a zone; delegations of public zones are followed by the \
                            upstream";
                self.reading.report(warning.rule(rule).hint("add the NS records, or remove the rule"));
            }
            for place in name_servers.remove(&number).unwrap_or_default() {
                let server = self.covered(place);
                self.check_server(&server, at, table);
            }
        }
    }

    /// A name server of the model.
    fn covered(&self, NameServerPlace { zone, delegation, server }: NameServerPlace) -> Covered {
        let zone = &self.model.hosted_zones[zone];
        let delegation = &zone.delegations[delegation];
        let server = &delegation.name_servers[server];
        let name = quoted(&server.name.to_string());
        let shown = format!("the name server {name} of `{}` in {}", delegation.owner, zone.id);
        Covered { shown, targets: server.targets.clone() }
    }

    fn check_server(&mut self, server: &Covered, at: usize, table: &ResolverRuleTable<'t>) {
        let Covered { shown, targets } = server;
        if targets.is_empty() {
            let warning = self.reading.warning(at, &table.label, format!("the address of {shown} is not known"));
            let rule = "only A and AAAA records of the same zone count, without a routing policy; AWS finds others by a \
                        FORWARD rule";
            let hint = "add them to the zone, or write a `forward` rule with the addresses for what is delegated";
            self.reading.report(warning.rule(rule).hint(hint));
        }
        for target in targets {
            if let TargetHost::Address(ip) = target.host
                && let Some(why) = why_nobody_is_at(ip)
            {
                let error = self.reading.error(at, &table.label, format!("nobody can be asked at {ip}, {shown}"));
                self.reading.report(error.rule(why).hint("write the address of the name server into the zone"));
            }
            self.refuse_door(target, &format!("{shown}, at {target},"), at, &table.label, "what is delegated");
        }
    }
}

/// Where a name server stands in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NameServerPlace {
    zone: usize,
    delegation: usize,
    server: usize,
}

/// What the DELEGATE rules of a model cover.
#[derive(Default)]
struct Coverage {
    /// Rules that cover any name server in a VPC that has both.
    rules: HashSet<usize>,
    /// The name servers that are covered, each with the first rule that does: what is wrong with one is said once.
    name_servers: BTreeMap<usize, Vec<NameServerPlace>>,
}

/// What a VPC has that decides what is covered there: many VPCs have the same.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct InForce {
    rules: Vec<usize>,
    zones: Vec<usize>,
    profiles: Vec<usize>,
}

impl Coverage {
    /// Looks at each kind of VPC once, and there at each name server once, however many rules there are.
    fn of(model: &Model) -> Self {
        let is_rule = |number: &usize| matches!(model.resolver_rules[*number].action, RuleAction::Delegate);
        let delegates = |number: &usize| !model.hosted_zones[*number].delegations.is_empty();
        let mut of_vpcs = vec![InForce::default(); model.vpcs.len()];
        for (number, rule) in model.resolver_rules.iter().enumerate().filter(|(number, _)| is_rule(number)) {
            rule.vpcs.iter().for_each(|vpc| of_vpcs[vpc.0 as usize].rules.push(number));
        }
        for (number, zone) in model.hosted_zones.iter().enumerate().filter(|(number, _)| delegates(number)) {
            zone.vpcs.iter().for_each(|vpc| of_vpcs[vpc.0 as usize].zones.push(number));
        }
        for (number, profile) in model.profiles.iter().enumerate() {
            if profile.resolver_rules.iter().any(is_rule) || profile.hosted_zones.iter().any(delegates) {
                let vpcs = profile.associations.iter().map(|association| association.vpc);
                vpcs.for_each(|vpc| of_vpcs[vpc.0 as usize].profiles.push(number));
            }
        }
        let mut rules = HashSet::new();
        let mut first_rules: BTreeMap<NameServerPlace, usize> = BTreeMap::new();
        for in_force in of_vpcs.into_iter().collect::<HashSet<InForce>>() {
            let profiles = || in_force.profiles.iter().map(|number| &model.profiles[*number]);
            let shared = profiles().flat_map(|profile| &profile.resolver_rules).copied().filter(is_rule);
            let mut by_domain: HashMap<&Name, BTreeSet<usize>> = HashMap::new();
            for number in in_force.rules.iter().copied().chain(shared) {
                by_domain.entry(&model.resolver_rules[number].domain).or_default().insert(number);
            }
            if by_domain.is_empty() {
                continue;
            }
            let mut covering: HashSet<&Name> = HashSet::new();
            let shared = profiles().flat_map(|profile| &profile.hosted_zones).copied().filter(delegates);
            for (place, name) in in_force.zones.iter().copied().chain(shared).flat_map(|zone| servers(model, zone)) {
                let ancestors = std::iter::successors(Some(name.clone()), Name::parent);
                let domains: Vec<_> = ancestors.filter_map(|name| by_domain.get_key_value(&name)).collect();
                covering.extend(domains.iter().map(|(domain, _)| **domain));
                if let Some(first) = domains.iter().filter_map(|(_, rules)| rules.first().copied()).min() {
                    first_rules.entry(place).and_modify(|rule| *rule = first.min(*rule)).or_insert(first);
                }
            }
            rules.extend(covering.iter().flat_map(|domain| &by_domain[domain]));
        }
        let mut name_servers: BTreeMap<usize, Vec<NameServerPlace>> = BTreeMap::new();
        for (place, rule) in first_rules {
            name_servers.entry(rule).or_default().push(place);
        }
        Self { rules, name_servers }
    }
}

/// The name servers of a zone's delegations.
fn servers(model: &Model, zone: usize) -> impl Iterator<Item = (NameServerPlace, &Name)> {
    model.hosted_zones[zone].delegations.iter().enumerate().flat_map(move |(delegation, of_zone)| {
        let servers = of_zone.name_servers.iter().enumerate();
        servers.map(move |(server, named)| (NameServerPlace { zone, delegation, server }, &named.name))
    })
}
