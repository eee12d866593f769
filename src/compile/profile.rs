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
    /// Whether any of the zones falls through.
    falls_through: bool,
}

impl Associated {
    /// Adds a hosted zone.
    pub(super) fn add_hosted_zone(&mut self, hosted_zone: &HostedZone, zone: ZoneIndex) {
        self.zones.insert(hosted_zone.apex.clone(), zone);
        self.falls_through |= hosted_zone.falls_through;
    }

    /// Whether some names go back to what there is without it, which may be autodefined.
    pub(super) fn leads_back(&self) -> bool {
        self.falls_through || !self.system.is_empty() || !self.delegation_records.is_empty()
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
                self.system.insert(domain);
            }
        }
    }
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
    let mut profiles = profiles.iter().peekable();
    let all = (0..).map(ProfileIndex).zip(associated);
    all.filter_map(move |(index, associated)| profiles.next_if_eq(&&index).map(|_| &mut associated[ingress as usize]))
}
