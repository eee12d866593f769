//! The configuration: any text loads to a model that holds together, or is refused with diagnostics that are in order
//! and safe to print. What follows a NUL is the text of every further file.
//!
//!   cargo fuzz run config fuzz/corpus/config tests/config/accepted tests/config/rejected -- -max_total_time=60
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::aws::{AliasTarget, HealthCheckKind, Model, RecordData, Routing, RuleAction};
use plustwo::compile::{Contexts, compile};
use plustwo::config::{self, Severity, Surroundings};
use plustwo::dns::{HashSeed, Name, Rtype};
use plustwo::snapshot::HealthStates;
use std::collections::HashMap;

fuzz_target!(|text: &str| {
    let (text, zone) = text.split_once('\0').unwrap_or((text, "www IN A 10.0.0.1\n"));
    let surroundings = Surroundings {
        read_file: &|path| {
            assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path}");
            Ok(zone.to_owned())
        },
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|_| false,
    };
    let loaded = config::load("plustwo.toml", text, &surroundings);
    let has_error = loaded.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(loaded.configuration.is_none(), has_error);
    let said = config::render(&loaded.diagnostics);
    assert!(said.chars().all(|character| character == '\n' || !character.is_control()));
    let places = loaded.diagnostics.iter().filter_map(|diagnostic| diagnostic.place.as_ref());
    assert!(places.is_sorted_by_key(|place| (place.rank, place.line, place.column)));
    if let Some(configuration) = loaded.configuration {
        check(&configuration.model);
        // Cannot fail, whatever was written.
        compile(&configuration.model, &mut Contexts::default(), &HealthStates::default(), HashSeed(1));
    }
});

/// What `compile` and whoever forwards rely upon.
fn check(model: &Model) {
    let groups = model.resolver_rules.iter().filter_map(|rule| match &rule.action {
        RuleAction::Forward(group) => Some(group),
        RuleAction::System | RuleAction::Delegate => None,
    });
    for group in groups.chain([&model.upstream]) {
        assert!(group.targets.len() <= 6);
        for (index, target) in group.targets.iter().enumerate() {
            assert_eq!(target.to_string().parse().as_ref(), Ok(target));
            assert!(!group.targets[..index].contains(target), "{target}");
        }
    }
    let zones = model.hosted_zones.iter().flat_map(|zone| &zone.vpcs);
    let rules = model.resolver_rules.iter().flat_map(|rule| &rule.vpcs);
    let inbound = model.inbound_endpoints.iter().map(|endpoint| &endpoint.vpc);
    for vpc in zones.chain(rules).chain(inbound).chain(model.endpoints.iter().map(|endpoint| &endpoint.vpc)) {
        assert!((vpc.0 as usize) < model.vpcs.len());
    }
    for (index, check) in model.health_checks.iter().enumerate() {
        if let HealthCheckKind::Calculated { children, .. } = &check.kind {
            assert!(children.iter().all(|child| (child.0 as usize) < index), "children stand before");
        }
    }
    for zone in &model.hosted_zones {
        let mut types: HashMap<&Name, Vec<Rtype>> = HashMap::new();
        let mut routed: HashMap<(&Name, Rtype), Vec<&Routing>> = HashMap::new();
        for set in zone.record_sets.here() {
            assert!(set.owner.is_at_or_below(&zone.apex));
            match &set.routing {
                None => types.entry(&set.owner).or_default().push(set.rtype),
                Some(routing) => routed.entry((&set.owner, set.rtype)).or_default().push(routing),
            }
            match &set.data {
                RecordData::Records { rdatas, .. } => assert!(!rdatas.is_empty()),
                RecordData::Alias { target: AliasTarget::Endpoint { endpoint, .. }, .. } => {
                    assert!(*endpoint < model.endpoints.len());
                }
                RecordData::Alias { target: AliasTarget::SameZone(target), .. } => {
                    assert!(
                        zone.record_sets.here().iter().any(|other| other.owner == *target && other.rtype == set.rtype)
                    );
                }
                RecordData::Alias { target: AliasTarget::Forwarded(_), .. } => {}
            }
        }
        for ((owner, rtype), routings) in routed {
            types.entry(owner).or_default().push(rtype);
            let first = &routings[0].policy;
            assert!(routings.len() <= first.sets_max());
            assert!(routings.iter().all(|routing| routing.policy.name() == first.name()));
            for (index, routing) in routings.iter().enumerate() {
                assert!(routings[..index].iter().all(|other| other.set_identifier != routing.set_identifier));
                assert!(routing.health_check.is_none_or(|check| (check.0 as usize) < model.health_checks.len()));
            }
        }
        for (owner, mut types) in types {
            let records = types.len();
            assert!(records == 1 || !types.contains(&Rtype::CNAME), "{owner}");
            types.sort();
            types.dedup();
            assert_eq!(types.len(), records, "{owner}");
        }
    }
}
