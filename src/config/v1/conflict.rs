//! What two things that are each right cannot both claim in one VPC: hosted zones of one name, private names.

use super::Builder;
use super::document::HostedZoneTable;
use super::endpoint::PrivateDnsClaim;
use crate::aws::{HostedZone, VpcIndex};
use crate::dns::Name;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Who has a private name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claimant {
    /// An endpoint, by its claim.
    Endpoint(usize),
    /// A hosted zone.
    HostedZone(usize),
}

/// Two claims to one domain in one VPC, by their index.
pub(super) struct SameDomain {
    pub(super) later: usize,
    pub(super) earlier: usize,
    pub(super) vpc: VpcIndex,
}

/// Finds who claims a domain in a VPC that another has already; each claim once.
pub(super) fn same_domains<'c>(claims: impl Iterator<Item = (&'c Name, &'c [VpcIndex])> + Clone) -> Vec<SameDomain> {
    // Most domains are claimed once: only the others are looked at VPC by VPC.
    let mut claimants: HashMap<&Name, usize> = HashMap::new();
    for (domain, _) in claims.clone() {
        *claimants.entry(domain).or_default() += 1;
    }
    let mut taken: HashMap<(&Name, VpcIndex), usize> = HashMap::new();
    let mut found = Vec::new();
    for (later, (domain, vpcs)) in claims.enumerate().filter(|(_, (domain, _))| claimants[domain] > 1) {
        let mut first = None;
        for &vpc in vpcs {
            let earlier = *taken.entry((domain, vpc)).or_insert(later);
            if earlier != later {
                first = first.or(Some(SameDomain { later, earlier, vpc }));
            }
        }
        found.extend(first);
    }
    found
}

impl<'t> Builder<'t, '_> {
    /// No two zones of one name in one VPC (Route 53 API: ConflictingDomainExists).
    pub(super) fn refuse_same_zones(&mut self, zones: &[(HostedZone, &HostedZoneTable<'t>)]) {
        for same in same_domains(zones.iter().map(|(zone, _)| (&zone.apex, zone.vpcs.as_slice()))) {
            let ((zone, table), (_, other_table)) = (&zones[same.later], &zones[same.earlier]);
            let problem = format!("two hosted zones `{}` for the same VPC", zone.apex);
            let also = self.reading.place(other_table.name_at(), &other_table.label);
            let rule = format!(
                "both are associated with {}, and only one can answer there (ConflictingDomainExists)",
                self.model.vpc(same.vpc).id
            );
            let error = self.reading.error(table.name_at(), &table.label, problem).also(also).rule(rule);
            self.reading.report(error.hint("remove one association, or put the records into one zone"));
        }
    }

    /// No private name twice in one VPC: not by two available endpoints, not by one and a hosted zone.
    pub(super) fn refuse_same_private_names(
        &mut self,
        claims: &[PrivateDnsClaim],
        zones: &[(HostedZone, &HostedZoneTable<'t>)],
    ) {
        let mut by_apex: HashMap<(VpcIndex, Name), usize> = HashMap::new();
        let mut zones_by_apex: HashMap<&Name, Vec<usize>> = HashMap::new();
        for (index, (zone, _)) in zones.iter().enumerate() {
            zones_by_apex.entry(&zone.apex).or_default().push(index);
        }
        for (index, claim) in claims.iter().enumerate() {
            let endpoint = &self.model.endpoints[claim.endpoint];
            if !endpoint.state.has_private_names() {
                continue;
            }
            let vpc = endpoint.vpc;
            // Whom the names are in conflict with, and which names: told once for each of them.
            let mut others: BTreeMap<Claimant, Vec<Name>> = BTreeMap::new();
            for apex in endpoint.private_names().map(|name| &name.apex) {
                let zone = zones_by_apex.get(apex).into_iter().flatten();
                if let Some(&zone) = zone.into_iter().find(|zone| zones[**zone].0.vpcs.contains(&vpc)) {
                    others.entry(Claimant::HostedZone(zone)).or_default().push(apex.clone());
                }
                match by_apex.entry((vpc, apex.clone())) {
                    Entry::Vacant(vacant) => drop(vacant.insert(index)),
                    Entry::Occupied(other) if *other.get() == index => {}
                    Entry::Occupied(other) => {
                        others.entry(Claimant::Endpoint(*other.get())).or_default().push(apex.clone());
                    }
                }
            }
            for (other, apexes) in others {
                let place = match other {
                    Claimant::Endpoint(other) => (claims[other].at, claims[other].label.as_str()),
                    Claimant::HostedZone(zone) => (zones[zone].1.name_at(), zones[zone].1.label.as_str()),
                };
                self.report_conflicting_domain(claim, &apexes, vpc, place);
            }
        }
    }

    /// In AWS's own words (EC2 API: CreateVpcEndpoint, ModifyVpcEndpoint).
    fn report_conflicting_domain(
        &mut self,
        claim: &PrivateDnsClaim,
        apexes: &[Name],
        vpc: VpcIndex,
        (at, label): (usize, &str),
    ) {
        let names: Vec<String> = apexes.iter().map(|apex| apex.to_string().trim_end_matches('.').to_owned()).collect();
        let Some((name, further)) = names.split_first() else { return };
        let problem = format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {} in the VPC {}",
            name,
            self.model.vpc(vpc).id
        );
        let mut error = self.reading.error(claim.at, &claim.label, problem).also(self.reading.place(at, label));
        if !further.is_empty() {
            error = error.rule(format!("the same for {}", further.join(", ")));
        }
        self.reading.report(error.hint("set private_dns = false here, or take the other one out of the VPC"));
    }
}
