//! What a hosted zone answers, held against RFC 1034 section 4.3.2 and RFC 4592 written down slowly and plainly.

#[path = "support/worlds.rs"]
mod worlds;

use plustwo::aws::{HostedZone, RecordSets, VpcIndex};
use plustwo::dns::{FoldedName, Name, Rtype};
use plustwo::resolve::{Ask, CNAME_CHAIN_MAX, Chance, End, resolve};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The apex of the zone under test.
const APEX: &str = "zone.example";

/// What stands at one name.
#[derive(Clone, Debug)]
enum Data {
    /// A records and a TXT record, each or both; the number is in the rdata.
    Sets { number: u8, a: bool, txt: bool },
    /// A CNAME to a name of the zone or (none) to one outside.
    Cname(Option<String>),
}

/// How a resolution must end, with the rdata of the CNAMEs on the way.
#[derive(Debug, PartialEq)]
enum Expected {
    Records(u8),
    NoData,
    NxDomain,
    NobodyToAsk,
    ChainTooLong,
}

/// A zone by owner.
type Zone = BTreeMap<String, Data>;

/// The parent of a name that is below the apex.
fn parent(name: &str) -> Option<&str> {
    (name != APEX).then(|| name.split_once('.').expect("below the apex").1)
}

/// A name and its parents up to the apex.
fn upwards(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| parent(name))
}

/// Every name that exists: owners, and whatever stands between them and the apex (RFC 8020).
fn existing(zone: &Zone) -> BTreeSet<&str> {
    zone.keys().flat_map(|owner| upwards(owner)).chain([APEX]).collect()
}

/// The name whose data answers for `name`: itself, or the source of synthesis (RFC 4592 section 3.3.1).
fn source(existing: &BTreeSet<&str>, name: &str) -> Option<String> {
    if existing.contains(name) {
        return Some(name.to_owned());
    }
    let closest = upwards(name).find(|name| existing.contains(name))?;
    let wildcard = format!("*.{closest}");
    existing.contains(wildcard.as_str()).then_some(wildcard)
}

/// What the zone says of a question, and how many CNAMEs come before that.
fn slowly(zone: &Zone, qname: &str, qtype: Rtype) -> (usize, Expected) {
    let existing = existing(zone);
    let mut name = qname.to_owned();
    for cnames in 0.. {
        let Some(source) = source(&existing, &name) else { return (cnames, Expected::NxDomain) };
        match zone.get(&source) {
            Some(Data::Sets { number, a: true, .. }) if qtype == Rtype::A => {
                return (cnames, Expected::Records(*number));
            }
            Some(Data::Sets { number, txt: true, .. }) if qtype == Rtype::TXT => {
                return (cnames, Expected::Records(*number));
            }
            Some(Data::Cname(_)) if cnames == CNAME_CHAIN_MAX => return (cnames, Expected::ChainTooLong),
            Some(Data::Cname(Some(target))) => name.clone_from(target),
            Some(Data::Cname(None)) => return (cnames + 1, Expected::NobodyToAsk),
            Some(Data::Sets { .. }) | None => return (cnames, Expected::NoData),
        }
    }
    unreachable!("a chain ends at the limit")
}

/// The zone as a model has it.
fn hosted_zone(zone: &Zone) -> HostedZone {
    let mut record_sets = Vec::new();
    for (owner, data) in zone {
        match data {
            Data::Sets { number, a, txt } => {
                if *a {
                    record_sets.push(worlds::records(owner, Rtype::A, [[192, 0, 2, *number].as_slice()]));
                }
                if *txt {
                    record_sets.push(worlds::records(owner, Rtype::TXT, [[1, *number].as_slice()]));
                }
            }
            Data::Cname(target) => {
                let target = worlds::wire(target.as_deref().unwrap_or("outside.test"));
                record_sets.push(worlds::records(owner, Rtype::CNAME, [target.as_slice()]));
            }
        }
    }
    HostedZone {
        id: "Z1".into(),
        apex: worlds::name(APEX),
        vpcs: vec![VpcIndex(0)],
        record_sets: RecordSets::Here(record_sets),
        delegations: Vec::new(),
        falls_through: false,
    }
}

/// Names at or below the apex out of few labels, so that they meet.
fn names(labels: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(labels), 0..4).prop_map(|mut labels| {
        labels.push(APEX);
        labels.join(".")
    })
}

fn owners() -> impl Strategy<Value = String> {
    names(&["a", "b", "*"])
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        3 => (any::<u8>(), any::<bool>()).prop_map(|(number, a)| Data::Sets { number, a, txt: !a || number % 2 == 0 }),
        2 => prop::option::weighted(0.9, owners()).prop_map(Data::Cname),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_zone_answers_as_the_rfcs_say(
        mut zone in prop::collection::btree_map(owners(), data(), 0..12),
        asked in prop::collection::vec((names(&["a", "b", "c", "*"]), any::<bool>()), 1..40),
    ) {
        // No CNAME may stand at the apex, beside SOA and NS (RFC 1034 section 3.6.2).
        zone.retain(|owner, data| owner != APEX || matches!(data, Data::Sets { .. }));
        let mut model = worlds::model(1, Vec::new());
        model.hosted_zones.push(hosted_zone(&zone));
        let snapshot = worlds::snapshot(&model);
        let view = &snapshot.views[0];
        let owners: Vec<(String, bool)> = zone.keys().map(|owner| (owner.clone(), true)).collect();
        for (qname, address) in asked.into_iter().chain(owners) {
            let qtype = if address { Rtype::A } else { Rtype::TXT };
            let (mut folded, mut last) = (FoldedName::default(), FoldedName::default());
            folded.read(&worlds::wire(&qname), snapshot.seed).expect("a legal name");
            let ask = Ask { name: &folded, qtype, cnames_before: 0 };
            let chance = Chance { pick: 0, health: &snapshot.health };
            let resolution = resolve(&snapshot, view, ask, snapshot.locate(view, &folded), chance, &mut last);
            let end = match resolution.end {
                End::Records { records, .. } => Expected::Records(*records.templates.last().expect("not empty")),
                End::NoData(negative) => {
                    let about: Name = if resolution.chain.links().is_empty() { folded.to_name() } else { last.to_name() };
                    prop_assert_eq!(&about.as_wire()[negative.apex_at..], worlds::wire(APEX));
                    Expected::NoData
                }
                End::NxDomain(_) => Expected::NxDomain,
                End::NobodyToAsk => Expected::NobodyToAsk,
                End::ChainTooLong => Expected::ChainTooLong,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!((resolution.chain.links().len(), end), slowly(&zone, &qname, qtype), "{} {}", qname, qtype);
        }
    }
}
