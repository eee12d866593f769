//! What is associated with a VPC or with a profile, and which profiles VPCs have.

use super::authority::INGRESSES;
use crate::aws::{HostedZone, Model, Profile, ProfileIndex, ResolverRule, RuleAction, VpcIndex};
use crate::dns::Name;
use crate::snapshot::{ContextIndex, Ingress, ZoneIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What is associated with one VPC or one profile, as queries see it that come in one way.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Associated {
    /// Hosted zones and private names, by their apex.
    pub(super) zones: BTreeMap<Name, ZoneIndex>,
    /// FORWARD rules; on equal length they beat zones.
    pub(super) forward: BTreeMap<Name, ContextIndex>,
    /// The domains of SYSTEM rules.
    pub(super) system: BTreeSet<Name>,
    /// What the name servers of DELEGATE rules are at or below.
    pub(super) delegation_records: BTreeSet<Name>,
    /// Whether some names go back to what there is without it, which may be the reverse zones of a VPC's own blocks.
    leads_back: bool,
}

impl Associated {
    /// Adds a hosted zone.
    pub(super) fn add_hosted_zone(&mut self, hosted_zone: &HostedZone, zone: ZoneIndex) {
        self.zones.insert(hosted_zone.apex.clone(), zone);
        self.leads_back |= hosted_zone.falls_through && is_reverse(&hosted_zone.apex);
        self.leads_back |= hosted_zone.delegations.iter().any(|delegation| is_reverse(&delegation.owner));
    }

    /// Whether some names go back to what there is without it, which may be the reverse zones of a VPC's own blocks: those
    /// of zones that fall through, of delegations and of SYSTEM rules, as far as they are reverse names.
    pub(super) fn leads_back(&self) -> bool {
        self.leads_back
    }

    /// Adds a rule; one that forwards has a context.
    pub(super) fn add_rule(&mut self, rule: &ResolverRule, context: Option<ContextIndex>) {
        let domain = rule.domain.clone();
        match (&rule.action, context) {
            (RuleAction::Forward(_), Some(context)) => {
                self.forward.insert(domain, context);
            }
            (RuleAction::Delegate, _) => {
                self.delegation_records.insert(domain);
            }
            (RuleAction::Forward(_) | RuleAction::System, _) => {
                self.leads_back |= is_reverse(&domain);
                self.system.insert(domain);
            }
        }
    }
}

/// Whether a name may be a reverse name, or above one: what is beneath other names is the same in whatever blocks.
pub(super) fn is_reverse(name: &Name) -> bool {
    name.labels().last() == Some(b"arpa")
}

/// All profiles, with what is associated with each.
pub(super) struct Profiles {
    associated: Vec<[Associated; INGRESSES.len()]>,
    of_vpcs: Vec<Vec<ProfileIndex>>,
    with_hosted_zones: Vec<Vec<ProfileIndex>>,
    with_resolver_rules: Vec<Vec<ProfileIndex>>,
    with_endpoints: Vec<Vec<ProfileIndex>>,
}

impl Profiles {
    pub(super) fn new(model: &Model) -> Self {
        let inverted = |count: usize, of: fn(&Profile) -> &[usize]| {
            let mut with = vec![Vec::new(); count];
            for (index, profile) in (0..).map(ProfileIndex).zip(&model.profiles) {
                of(profile).iter().for_each(|number| with[*number].push(index));
            }
            with
        };
        let mut by_priority = vec![BTreeMap::new(); model.vpcs.len()];
        for (index, profile) in (0..).map(ProfileIndex).zip(&model.profiles) {
            for association in &profile.associations {
                by_priority[association.vpc.0 as usize].insert(association.priority, index);
            }
        }
        Self {
            associated: model.profiles.iter().map(|_| Default::default()).collect(),
            of_vpcs: by_priority.into_iter().map(|profiles| profiles.into_values().collect()).collect(),
            with_hosted_zones: inverted(model.hosted_zones.len(), |profile| &profile.hosted_zones),
            with_resolver_rules: inverted(model.resolver_rules.len(), |profile| &profile.resolver_rules),
            with_endpoints: inverted(model.endpoints.len(), |profile| &profile.endpoints),
        }
    }

    /// The profiles of a VPC in the order of their priorities.
    pub(super) fn of_vpc(&self, vpc: VpcIndex) -> Vec<ProfileIndex> {
        self.of_vpcs[vpc.0 as usize].clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = ProfileIndex> {
        (0..self.associated.len() as u32).map(ProfileIndex)
    }

    /// Whether a profile shares other things with queries that come in the other way.
    pub(super) fn depends_on_ingress(&self, profile: ProfileIndex) -> bool {
        let [one, other] = &self.associated[profile.0 as usize];
        one != other
    }

    /// What is associated with a profile.
    pub(super) fn associated(&self, profile: ProfileIndex, ingress: Ingress) -> &Associated {
        &self.associated[profile.0 as usize][ingress as usize]
    }

    /// The profiles that share a hosted zone of the model.
    pub(super) fn with_hosted_zone(&mut self, zone: usize, ingress: Ingress) -> impl Iterator<Item = &mut Associated> {
        each(&mut self.associated, &self.with_hosted_zones[zone], ingress)
    }

    /// The profiles that share a rule of the model.
    pub(super) fn with_resolver_rule(
        &mut self,
        rule: usize,
        ingress: Ingress,
    ) -> impl Iterator<Item = &mut Associated> {
        each(&mut self.associated, &self.with_resolver_rules[rule], ingress)
    }

    /// The profiles that share an endpoint of the model.
    pub(super) fn with_endpoint(&mut self, endpoint: usize, ingress: Ingress) -> impl Iterator<Item = &mut Associated> {
        each(&mut self.associated, &self.with_endpoints[endpoint], ingress)
    }
}

/// What is associated with each of these profiles, which are in order.
fn each<'p>(
    associated: &'p mut [[Associated; INGRESSES.len()]],
    profiles: &'p [ProfileIndex],
    ingress: Ingress,
) -> impl Iterator<Item = &'p mut Associated> {
    let count = profiles.last().map_or(0, |last| last.0 as usize + 1);
    let mut profiles = profiles.iter().peekable();
    let all = (0..).map(ProfileIndex).zip(associated).take(count);
    all.filter_map(move |(index, associated)| profiles.next_if_eq(&&index).map(|_| &mut associated[ingress as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Delegation, RecordSets};

    fn name(text: &str) -> Name {
        Name::from_labels(text.split('.').map(str::as_bytes)).expect("a name")
    }

    fn zone(apex: &str, falls_through: bool, delegated: Option<&str>) -> HostedZone {
        let delegation = |owner: &str| Delegation { owner: name(owner), name_servers: Vec::new() };
        HostedZone {
            id: "Z1".into(),
            apex: name(apex),
            vpcs: Vec::new(),
            record_sets: RecordSets::Here(Vec::new()),
            delegations: delegated.map(delegation).into_iter().collect(),
            falls_through,
        }
    }

    #[test]
    fn only_reverse_names_lead_back_to_a_vpcs_blocks() {
        let with_zone = |zone: &HostedZone| {
            let mut associated = Associated::default();
            associated.add_hosted_zone(zone, ZoneIndex(0));
            associated.leads_back()
        };
        assert!(with_zone(&zone("10.in-addr.arpa", true, None)));
        assert!(with_zone(&zone("10.in-addr.arpa", false, Some("1.10.in-addr.arpa"))));
        assert!(!with_zone(&zone("10.in-addr.arpa", false, None)));
        assert!(!with_zone(&zone("corp.example", true, Some("lab.corp.example"))));
        let with_rule = |domain: &str, action: RuleAction| {
            let mut associated = Associated::default();
            let rule = ResolverRule { id: "rslvr-rr-1".into(), domain: name(domain), action, vpcs: Vec::new() };
            associated.add_rule(&rule, None);
            associated.leads_back()
        };
        assert!(with_rule("1.10.in-addr.arpa", RuleAction::System));
        assert!(!with_rule("corp.example", RuleAction::System));
        assert!(!with_rule("corp.example", RuleAction::Delegate));
    }
}
