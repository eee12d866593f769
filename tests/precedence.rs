//! Who answers for a name in a VPC with rules, zones and profiles, held against AWS's order written down slowly and plainly:
//! the longest match; at one name the VPC's own before its profiles in the order of their priorities, and of each a rule
//! before a zone (R53:resolver-overview-forward-vpc-to-network-domain-name-matches, R53:profiles). What a zone delegates is
//! left to name servers wherever the zone would answer (R53:outbound-delegation-tutorial).

#[path = "support/worlds.rs"]
mod worlds;

use plustwo::aws::{
    Delegation, HostedZone, NameServer, Profile, ProfileAssociation, RecordSets, ResolverRule, RuleAction, VpcIndex,
};
use plustwo::dns::{FoldedName, TargetGroup};
use plustwo::snapshot::targets::ContextKind;
use plustwo::snapshot::{Authority, Snapshot};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What is associated with a VPC or a profile, by name.
type Source = BTreeMap<String, Claims>;

/// What one source has at one name: a rule, a zone or both.
#[derive(Clone, Debug)]
struct Claims {
    rule: Option<Rule>,
    zone: Option<Zone>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Forward,
    System,
}

#[derive(Clone, Debug)]
struct Zone {
    falls_through: bool,
    /// What it delegates: these labels below its apex.
    delegates: Vec<String>,
}

/// A name and its parents, the longest first, up to the root.
fn upwards<'n>(name: &'n str) -> impl Iterator<Item = &'n str> {
    let parent = |name: &&'n str| (!name.is_empty()).then_some(name.split_once('.').map_or("", |(_, parent)| parent));
    std::iter::successors(Some(name), parent)
}

/// Who answers, first to last: each zone that falls through is followed by whoever is beneath it. Looked for is who claims
/// `from` or what is above it; `system` is the domain of the SYSTEM rule that has been met, if any.
fn slowly(
    sources: &[Source],
    (name, from): (&str, &str),
    hidden: &mut Vec<String>,
    system: Option<&str>,
) -> Vec<String> {
    for suffix in upwards(from) {
        for (index, source) in sources.iter().enumerate() {
            let Some(claims) = source.get(suffix) else { continue };
            match claims.rule.filter(|_| system.is_none()) {
                Some(Rule::Forward) => return vec![format!("rule {index} {suffix}")],
                Some(Rule::System) => return slowly(sources, (name, suffix), hidden, Some(suffix)),
                None => {}
            }
            let id = format!("zone {index} {suffix}");
            let Some(zone) = claims.zone.as_ref().filter(|_| !hidden.contains(&id)) else { continue };
            // Of what is delegated above the name, all but what a SYSTEM rule has taken out: that nearest to the apex.
            let owners = zone.delegates.iter().map(|labels| format!("{labels}.{suffix}"));
            let is_above = |owner: &String| {
                upwards(name).any(|above| above == owner)
                    && system.is_none_or(|system| system.split('.').count() < owner.split('.').count())
            };
            if let Some(owner) = owners.filter(is_above).min_by_key(String::len) {
                return vec![format!("NS of {owner} in {id}")];
            }
            if !zone.falls_through {
                return vec![id];
            }
            hidden.push(id.clone());
            // Beneath a zone that a SYSTEM rule led to are no rules either, from the rule's domain on.
            let beneath = slowly(sources, (name, if system.is_some() { from } else { suffix }), hidden, system);
            hidden.pop();
            return [vec![id], beneath].concat();
        }
    }
    vec!["nobody".to_owned()]
}

/// A VPC with the first source of its own, and the others by profiles, which are written in the reverse order.
fn compiled(sources: &[Source]) -> Snapshot {
    let mut model = worlds::model(1, Vec::new());
    model.resolver_rules.push(ResolverRule {
        id: "delegate".into(),
        domain: worlds::name("test"),
        action: RuleAction::Delegate,
        vpcs: vec![VpcIndex(0)],
    });
    for (index, source) in sources.iter().enumerate() {
        let vpcs = if index == 0 { vec![VpcIndex(0)] } else { Vec::new() };
        let (mut zones, mut rules) = (Vec::new(), Vec::new());
        for (suffix, claims) in source {
            if let Some(zone) = &claims.zone {
                zones.push(model.hosted_zones.len());
                model.hosted_zones.push(HostedZone {
                    id: format!("zone {index} {suffix}").into(),
                    apex: worlds::name(suffix),
                    vpcs: vpcs.clone(),
                    record_sets: RecordSets::Here(Vec::new()),
                    delegations: zone.delegates.iter().map(|labels| delegation(labels, suffix)).collect(),
                    falls_through: zone.falls_through,
                });
            }
            if let Some(rule) = claims.rule {
                rules.push(model.resolver_rules.len());
                model.resolver_rules.push(ResolverRule {
                    id: format!("rule {index} {suffix}").into(),
                    domain: worlds::name(suffix),
                    action: match rule {
                        Rule::Forward => RuleAction::Forward(TargetGroup::do53([([192, 0, 2, 53], 53).into()])),
                        Rule::System => RuleAction::System,
                    },
                    vpcs: vpcs.clone(),
                });
            }
        }
        if index > 0 {
            let association = ProfileAssociation { vpc: VpcIndex(0), priority: 100 * index as u64 };
            model.profiles.insert(
                0,
                Profile {
                    id: format!("rp-{index}").into(),
                    hosted_zones: zones,
                    resolver_rules: rules,
                    endpoints: Vec::new(),
                    associations: vec![association],
                },
            );
        }
    }
    worlds::snapshot(&model)
}

/// What a zone leaves to a name server that a rule covers.
fn delegation(labels: &str, apex: &str) -> Delegation {
    let name_server = NameServer { name: worlds::name("ns.test"), targets: Vec::new() };
    Delegation { owner: worlds::name(&format!("{labels}.{apex}")), name_servers: vec![name_server] }
}

/// What the tables say.
fn quickly(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let mut folded = FoldedName::default();
    folded.read(&worlds::wire(name), snapshot.seed).expect("a legal name");
    let mut authority = snapshot.authority_for(&snapshot.views[0], &folded);
    let mut answering = Vec::new();
    loop {
        let zone = |index| snapshot.zone(index).id.to_string();
        match authority {
            Authority::Layered(index) => {
                let layer = snapshot.layer(index);
                answering.push(zone(layer.zone));
                authority = layer.beneath;
                continue;
            }
            Authority::Zone(index) => answering.push(zone(index)),
            Authority::Forward(context) => answering.push(match &snapshot.context(context).kind {
                ContextKind::Rule(id) => id.to_string(),
                ContextKind::Delegation { zone, owner } => {
                    format!("NS of {} in {zone}", owner.to_string().trim_end_matches('.'))
                }
                other => panic!("{other:?}"),
            }),
            Authority::Nothing => answering.push("nobody".to_owned()),
        }
        return answering;
    }
}

/// Names of few labels out of a small alphabet, so that they meet, where nothing is autodefined; no root, which no zone is.
fn suffix() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4).prop_map(|labels| labels.join("."))
}

fn claims() -> impl Strategy<Value = Claims> {
    let rule = prop::option::of(prop::sample::select(vec![Rule::Forward, Rule::Forward, Rule::System]));
    let delegates = prop::collection::vec(suffix(), 0..2);
    let zone = (any::<bool>(), delegates).prop_map(|(falls_through, delegates)| Zone { falls_through, delegates });
    let zone = prop::option::of(zone);
    (rule, zone).prop_map(|(rule, zone)| Claims { rule, zone })
}

proptest! {
    #[test]
    fn the_longest_match_over_all_sources_answers(
        sources in prop::collection::vec(prop::collection::btree_map(suffix(), claims(), 0..6), 1..4),
        asked in prop::collection::vec(suffix(), 1..6),
    ) {
        let snapshot = compiled(&sources);
        for name in asked.iter().chain(sources.iter().flat_map(|source| source.keys())) {
            for name in [name.clone(), format!("x.{name}")] {
                prop_assert_eq!(quickly(&snapshot, &name), slowly(&sources, (&name, &name), &mut Vec::new(), None), "{}", name);
            }
        }
    }
}
