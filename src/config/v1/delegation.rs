//! What DELEGATE rules come to: the delegations of hosted zones that they cover, and whether their servers can be asked.

use super::Builder;
use super::resolver_tables::ResolverRuleTable;
use super::target::why_nobody_is_at;
use crate::aws::{Profile, RuleAction, VpcIndex};
use crate::config::diagnostic::quoted;
use crate::dns::{Target, TargetHost};
use std::collections::{HashMap, HashSet};

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
        for number in 0..self.model.resolver_rules.len() {
            let rule = &self.model.resolver_rules[number];
            let (RuleAction::Delegate, Some(table)) = (&rule.action, by_id.get(&*rule.id)) else { continue };
            if rule.domain.is_wildcard() {
                // It has been refused.
                continue;
            }
            let at = table.delegation_record.as_ref().map_or(table.at, |text| text.at);
            let covered = self.covered_by(number);
            if covered.is_empty() && table.vpcs.as_ref().is_some_and(|vpcs| !vpcs.value.is_empty()) {
                let problem = format!("no hosted zone of its VPCs has a name server at or below `{}`", rule.domain);
                let warning = self.reading.warning(at, &table.label, problem);
                let rule = "it is for NS records below the apex of a zone; delegations of public zones are followed by the \
                            upstream";
                self.reading.report(warning.rule(rule).hint("add the NS records, or remove the rule"));
            }
            for server in covered {
                self.check_server(&server, at, table);
            }
        }
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

    /// The name servers that a DELEGATE rule covers, in zones that any of its VPCs sees.
    fn covered_by(&self, number: usize) -> Vec<Covered> {
        let rule = &self.model.resolver_rules[number];
        let vpcs = self.in_force(&rule.vpcs, |profile| profile.resolver_rules.contains(&number));
        let mut covered = Vec::new();
        for (index, zone) in self.model.hosted_zones.iter().enumerate().filter(|(_, zone)| !zone.delegations.is_empty())
        {
            let of_zone = self.in_force(&zone.vpcs, |profile| profile.hosted_zones.contains(&index));
            if vpcs.is_disjoint(&of_zone) {
                continue;
            }
            for delegation in &zone.delegations {
                let servers = delegation.name_servers.iter().filter(|server| server.name.is_at_or_below(&rule.domain));
                covered.extend(servers.map(|server| Covered {
                    shown: format!(
                        "the name server {} of `{}` in {}",
                        quoted(&server.name.to_string()),
                        delegation.owner,
                        zone.id
                    ),
                    targets: server.targets.clone(),
                }));
            }
        }
        covered
    }

    /// The VPCs that something is associated with, directly or by a profile.
    fn in_force(&self, direct: &[VpcIndex], is_shared_by: impl Fn(&Profile) -> bool) -> HashSet<VpcIndex> {
        let profiles = self.model.profiles.iter().filter(|profile| is_shared_by(profile));
        let by_profiles = profiles.flat_map(|profile| &profile.associations).map(|association| association.vpc);
        direct.iter().copied().chain(by_profiles).collect()
    }
}
