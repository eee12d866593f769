//! Endpoints that belong together: with one of them missing, its name goes public, and what needs all of them fails.

use super::Builder;
use super::endpoint::PrivateDnsClaim;
use crate::aws::{Partition, ServiceName, ServiceOwner, VpcIndex};
use crate::dns::Name;
use std::collections::BTreeMap;

/// Services that are used together.
struct EndpointSet {
    /// What uses them.
    user: &'static str,
    /// Their short names.
    services: &'static [&'static str],
    /// From so many of them on, the others are missed: fewer are used for other things too.
    present_min: usize,
    /// Who says so.
    source: &'static str,
}

/// All sets.
const SETS: [EndpointSet; 1] = [EndpointSet {
    user: "Session Manager",
    services: &["ssm", "ssmmessages", "ec2messages"],
    // Parameter Store needs `ssm` alone, ECS Exec `ssmmessages`.
    present_min: 2,
    source: "Systems Manager user guide, setup-create-vpc",
}];

impl Builder<'_, '_> {
    /// Warns of sets of which a VPC has some, and not all.
    pub(super) fn warn_of_incomplete_sets(&mut self, claims: &[PrivateDnsClaim]) {
        for set in &SETS {
            let mut present: BTreeMap<(VpcIndex, String), BTreeMap<&str, &PrivateDnsClaim>> = BTreeMap::new();
            for claim in claims {
                let endpoint = &self.model.endpoints[claim.endpoint];
                let service = ServiceName::parse(&endpoint.service).filter(|_| endpoint.state.has_private_names());
                let Some(ServiceName { text, region: Some(region), owner: ServiceOwner::Aws }) = service else {
                    continue;
                };
                let member = set.services.iter().find(|member| text.ends_with(&format!("{region}.{member}")));
                if let Some(member) = member {
                    present.entry((endpoint.vpc, region.to_owned())).or_default().insert(member, claim);
                }
            }
            for ((vpc, region), present) in &present {
                let missing = set.services.iter().filter(|service| !present.contains_key(**service));
                let missing: Vec<&&str> = missing.filter(|service| !self.has_zone_of(service, region, *vpc)).collect();
                if set.services.len() - missing.len() >= set.present_min {
                    for service in missing {
                        self.report_missing(set, service, (*vpc, region), present);
                    }
                }
            }
        }
    }

    /// Whether a hosted zone answers for a service in a VPC: the other way to an endpoint.
    fn has_zone_of(&self, service: &str, region: &str, vpc: VpcIndex) -> bool {
        let Some(name) = service_host(service, region) else { return false };
        self.model.hosted_zones.iter().any(|zone| zone.apex == name && zone.vpcs.contains(&vpc))
    }

    fn report_missing(
        &mut self,
        set: &EndpointSet,
        service: &str,
        (vpc, region): (VpcIndex, &str),
        present: &BTreeMap<&str, &PrivateDnsClaim>,
    ) {
        let vpc = &self.model.vpc(vpc).id;
        let Some(claim) = present.values().min_by_key(|claim| claim.at) else { return };
        let names: Vec<&str> = set.services.iter().copied().filter(|service| present.contains_key(service)).collect();
        let problem =
            format!("{vpc} has endpoints with private DNS for {}, and none for {service}", names.join(" and "));
        let mut warning = self.reading.warning(claim.at, &claim.label, problem);
        for other in present.values().filter(|other| other.at != claim.at) {
            warning = warning.also(self.reading.place(other.at, &other.label));
        }
        let host = service_host(service, region).map(|name| name.to_string()).unwrap_or_default();
        let all = set.services.join(", ");
        let host = host.trim_end_matches('.');
        let rule = format!("{} needs {all} ({}); {host} goes public here", set.user, set.source);
        let hint = format!("add a [[vpc_endpoint]] for com.amazonaws.{region}.{service} with private_dns = true");
        self.reading.report(warning.rule(rule).hint(hint));
    }
}

/// The host name of a service whose short name is its host's.
fn service_host(service: &str, region: &str) -> Option<Name> {
    let suffix = Partition::of_region(region).dns_suffix;
    let labels = [service, region].into_iter().chain(suffix.split('.'));
    Name::from_labels(labels.map(str::as_bytes)).ok()
}
