//! What a VPC's own blocks answer, held against the rules written down slowly: every reverse zone listed by name, every
//! suffix tried one after another, every address looked for in every block.

mod support;
#[path = "support/worlds.rs"]
mod worlds;

use ipnet::{IpNet, Ipv4Net};
use plustwo::aws::{HostedZone, RecordSets, ResolverRule, RuleAction, VpcIndex};
use plustwo::dns::{FoldedName, Rtype, TargetGroup};
use plustwo::resolve::autodefined::Computed;
use plustwo::resolve::{Ask, Chance, End, resolve};
use plustwo::snapshot::ZoneKind;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use support::ask::Question;
use support::bars::{ADDRESS, answers};
use support::script::Scripted;
use support::served::{Served, forwarding_to};

/// What IP names end in here: the region of [`worlds::vpc`].
const PRIVATE_DOMAIN: &str = "ap-northeast-2.compute.internal";

/// Who claims a suffix, in the order of precedence on equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claimant {
    Rule,
    HostedZone,
    Block,
    PrivateRange,
}

/// How a resolution must end.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Address(Ipv4Addr),
    Pointer(Ipv4Addr),
    /// With the apex of the zone that says so.
    NoData(String),
    NxDomain(String),
    Rule,
    NobodyToAsk,
}

/// The reverse name of the first octets of an address.
fn reverse(octets: &[u8]) -> String {
    let labels: Vec<String> = octets.iter().rev().map(|octet| format!("{octet}.")).collect();
    format!("{}in-addr.arpa", labels.concat())
}

/// The reverse zones of a block: each octet-aligned block of the next longer length in it, at most /24.
fn zones_of(block: Ipv4Net) -> Vec<String> {
    let octets = usize::from(block.prefix_len().div_ceil(8)).min(3);
    let length = octets as u8 * 8;
    let cut = if block.prefix_len() > length { block.supernet_of(length) } else { block };
    cut.subnets(length).expect("a longer prefix").map(|zone| reverse(&zone.addr().octets()[..octets])).collect()
}

/// The block of a shorter length around another.
trait Around {
    fn supernet_of(&self, length: u8) -> Ipv4Net;
}

impl Around for Ipv4Net {
    fn supernet_of(&self, length: u8) -> Ipv4Net {
        Self::new(self.addr(), length).expect("a length of a block").trunc()
    }
}

/// A name and its parents.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
}

/// The octets of a reverse name, and whether it has nothing else.
fn octets_of(name: &str) -> (Vec<u8>, bool) {
    let labels: Vec<&str> = name.trim_end_matches("in-addr.arpa").split('.').rev().filter(|l| !l.is_empty()).collect();
    let octet = |label: &&str| label.parse::<u8>().ok().filter(|octet| octet.to_string() == **label);
    let octets: Vec<u8> = labels.iter().map_while(octet).take(4).collect();
    let is_whole = octets.len() == labels.len();
    (octets, is_whole)
}

/// Whether an address of a block begins with these octets.
fn begins(block: &Ipv4Net, octets: &[u8]) -> bool {
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(octets);
    let beginning = Ipv4Net::new(address.into(), octets.len() as u8 * 8).expect("at most 32 bits");
    beginning.contains(block) || block.contains(&beginning)
}

/// What the rules say, one after another.
fn slowly(blocks: &[Ipv4Net], claims: &BTreeMap<String, Claimant>, name: &str, qtype: Rtype) -> Expected {
    let mut all: Vec<(String, Claimant)> =
        claims.iter().map(|(suffix, claimant)| (suffix.clone(), *claimant)).collect();
    all.extend(blocks.iter().flat_map(|block| zones_of(*block)).map(|zone| (zone, Claimant::Block)));
    let ranges = std::iter::once(reverse(&[10])).chain((16..=31).map(|second| reverse(&[172, second])));
    all.extend(ranges.chain([reverse(&[192, 168])]).map(|zone| (zone, Claimant::PrivateRange)));
    let of = |suffix: &str| all.iter().filter(|(zone, _)| zone == suffix).map(|(_, claimant)| *claimant).min();
    let Some((apex, claimant)) = suffixes(name).find_map(|suffix| Some((suffix, of(suffix)?))) else {
        return Expected::NobodyToAsk;
    };
    let (octets, is_whole) = octets_of(name);
    let address = (is_whole && octets.len() == 4).then(|| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
    let is_above_a_block = is_whole && blocks.iter().any(|block| begins(block, &octets));
    match claimant {
        Claimant::Rule => Expected::Rule,
        // Empty but for their apexes.
        Claimant::HostedZone | Claimant::PrivateRange if name == apex => Expected::NoData(apex.to_owned()),
        Claimant::HostedZone => Expected::NxDomain(apex.to_owned()),
        // A block may be larger than a private range: its addresses have names in either zone.
        Claimant::PrivateRange | Claimant::Block => match address {
            Some(address) if blocks.iter().any(|block| block.contains(&address)) => match qtype {
                Rtype::PTR => Expected::Pointer(address),
                _ => Expected::NoData(apex.to_owned()),
            },
            None if is_above_a_block => Expected::NoData(apex.to_owned()),
            _ => Expected::NxDomain(apex.to_owned()),
        },
    }
}

/// A VPC with these blocks, rules and empty zones; nobody is upstream.
fn snapshot(blocks: &[Ipv4Net], claims: &BTreeMap<String, Claimant>) -> plustwo::snapshot::Snapshot {
    let mut model = worlds::model(1, Vec::new());
    model.vpcs[0].cidrs = blocks.iter().copied().map(IpNet::V4).collect();
    for (index, (suffix, claimant)) in claims.iter().enumerate() {
        let vpcs = vec![VpcIndex(0)];
        match claimant {
            Claimant::Rule => model.resolver_rules.push(ResolverRule {
                id: format!("rslvr-rr-{index}").into(),
                domain: worlds::name(suffix),
                action: RuleAction::Forward(TargetGroup::do53([([192, 0, 2, 53], 53).into()])),
                vpcs,
            }),
            _ => model.hosted_zones.push(HostedZone {
                id: format!("Z{index}").into(),
                apex: worlds::name(suffix),
                vpcs,
                record_sets: RecordSets::Here(Vec::new()),
                delegations: Vec::new(),
                falls_through: false,
            }),
        }
    }
    worlds::snapshot(&model)
}

/// What the engine says.
fn quickly(snapshot: &plustwo::snapshot::Snapshot, qname: &str, qtype: Rtype) -> Expected {
    let view = &snapshot.views[0];
    let (mut folded, mut last) = (FoldedName::default(), FoldedName::default());
    folded.read(&worlds::wire(qname), snapshot.seed).expect("a legal name");
    let ask = Ask { name: &folded, qtype, cnames_before: 0 };
    let chance = Chance { pick: 0, health: &snapshot.health };
    let located = snapshot.locate(view, &folded);
    let apex = |at: usize| {
        let labels = folded.as_wire()[at..].iter().scan(0usize, |left, octet| {
            let is_length = *left == 0;
            *left = if is_length { usize::from(*octet) } else { *left - 1 };
            Some(if is_length { '.' } else { char::from(*octet) })
        });
        labels.collect::<String>().trim_matches('.').to_owned()
    };
    match resolve(snapshot, view, ask, located, chance, &mut last).end {
        End::Computed { record: Computed::Address(address), zone } => {
            assert_eq!(zone.kind, ZoneKind::Autodefined);
            Expected::Address(address)
        }
        End::Computed { record: Computed::Pointer(address), .. } => Expected::Pointer(address),
        End::NoData(negative) => Expected::NoData(apex(negative.apex_at)),
        End::NxDomain(negative) => Expected::NxDomain(apex(negative.apex_at)),
        End::Forward(_) => Expected::Rule,
        End::NobodyToAsk => Expected::NobodyToAsk,
        other => panic!("{other:?}"),
    }
}

/// Octets that meet often, at the edges of blocks.
fn octet() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0u8..4, 1 => Just(16u8), 1 => Just(168u8), 1 => Just(255u8), 1 => any::<u8>()]
}

/// Addresses in private ranges and outside; 127.0.0.0/8 and the metadata service's have built-in names.
fn address() -> impl Strategy<Value = [u8; 4]> {
    (prop_oneof![6 => Just(10u8), 1 => Just(172u8), 1 => Just(192u8), 1 => 200u8..], octet(), octet(), octet())
        .prop_map(|(a, b, c, d)| [a, b, c, d])
}

fn blocks() -> impl Strategy<Value = Vec<Ipv4Net>> {
    let block = (address(), 6u8..=28)
        .prop_map(|(address, length)| Ipv4Net::new(address.into(), length).expect("at most 32").trunc());
    prop::collection::vec(block, 0..4)
}

/// Rules and zones of reverse names.
fn claims() -> impl Strategy<Value = BTreeMap<String, Claimant>> {
    let suffix = (address(), 0usize..=4).prop_map(|(address, octets)| reverse(&address[..octets]));
    let suffix = prop_oneof![8 => suffix, 1 => Just("arpa".to_owned())];
    let claimant = prop_oneof![Just(Claimant::Rule), Just(Claimant::HostedZone)];
    prop::collection::btree_map(suffix, claimant, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn reverse_names_are_answered_as_the_list_of_zones_says(
        blocks in blocks(),
        claims in claims(),
        asked in prop::collection::vec((address(), 0usize..=4, prop_oneof![8 => Just(""), 1 => Just("x."), 1 => Just("01.")], any::<bool>()), 1..40),
    ) {
        let snapshot = snapshot(&blocks, &claims);
        for (address, octets, before, is_pointer) in asked {
            let qname = format!("{before}{}", reverse(&address[..octets]));
            let qtype = if is_pointer { Rtype::PTR } else { Rtype::TXT };
            let expected = slowly(&blocks, &claims, &qname, qtype);
            prop_assert_eq!(quickly(&snapshot, &qname, qtype), expected, "{} {}", qname, qtype);
        }
    }

    #[test]
    fn ip_names_are_answered_for_the_addresses_of_the_blocks(
        blocks in blocks(),
        asked in prop::collection::vec((address(), prop_oneof![8 => Just(""), 1 => Just("x.")], any::<bool>()), 1..40),
    ) {
        let snapshot = snapshot(&blocks, &BTreeMap::new());
        for (address, before, is_address) in asked {
            let address = Ipv4Addr::from(address);
            let label = address.to_string().replace('.', "-");
            let qname = format!("{before}ip-{label}.{PRIVATE_DOMAIN}");
            let has_name = before.is_empty() && blocks.iter().any(|block| block.contains(&address));
            let (qtype, expected) = match (has_name, is_address) {
                (true, true) => (Rtype::A, Expected::Address(address)),
                (true, false) => (Rtype::AAAA, Expected::NoData(PRIVATE_DOMAIN.to_owned())),
                (false, _) => (Rtype::A, Expected::NxDomain(PRIVATE_DOMAIN.to_owned())),
            };
            prop_assert_eq!(quickly(&snapshot, &qname, qtype), expected, "{}", qname);
        }
    }
}

/// Public names of addresses that are others' are the upstream's to answer, and are kept like any other reply: also where
/// a zone or a rule above them makes the name one of a zone here.
#[test]
fn public_names_of_others_come_from_the_cache() {
    let upstream = Scripted::start(answers);
    let own = "[[network_interface]]\nid = \"eni-0a\"\nvpc = \"vpc-0a\"\nprivate_ip_address = \"10.0.1.5\"\n\
               association = { public_ip = \"203.0.113.25\" }\n";
    let text = forwarding_to(&[upstream.address()])
        .replace("id = \"vpc-0a\"\n", "id = \"vpc-0a\"\ncidrs = [\"10.0.0.0/16\"]\n");
    let served = Served::on_loopback(&format!("{text}{own}"));
    let name = "ec2-198-51-100-7.eu-central-1.compute.amazonaws.com";
    for _ in 0..3 {
        let question = Question::new(name, "A");
        for reply in [served.ask_for(&question), served.ask_over_tcp(&question)] {
            assert!(reply.is(ADDRESS), "{reply:?}");
        }
    }
    assert_eq!(upstream.asked_for(name), 1, "it is kept");
    assert!(served.ask("ec2-203-0-113-25.eu-central-1.compute.amazonaws.com").is([10, 0, 1, 5]));
}
