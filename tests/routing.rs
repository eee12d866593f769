//! Routing policies, held against their rules written down slowly and plainly; and against chance, which keeps to the
//! weights. Every random number here comes from a seed.

mod support;
#[path = "support/worlds.rs"]
mod worlds;

use hickory_proto::op::Message;
use plustwo::compile::{Contexts, compile};
use plustwo::config::{self, Surroundings};
use plustwo::dns::reply::Transport;
use plustwo::dns::{FoldedName, HashSeed, Rcode, Rtype};
use plustwo::forward::{ExchangeError, Millis};
use plustwo::resolve::{Ask, Chance, End, resolve};
use plustwo::serve::handle::{self, Fetched, Outcome, Scratch, Slot};
use plustwo::snapshot::{DoorIndex, HealthStates, Snapshot};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use support::ask::{self, Question};
use support::case::DoorName;
use support::present::present;
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Served, forwarding_to};
use support::world::World;

/// The regions of the VPCs, each `vpc-REGION`, in the order of the views' pairs.
const REGIONS: [&str; 3] = ["us-west-2", "eu-west-1", "ap-northeast-2"];

/// A zone, `zone.example`, in a VPC of each region, with two checks: `up` and `down`.
fn configuration(records: &str) -> String {
    let mut text = "version = 1\n[upstream]\ntargets = []\n".to_owned();
    for (index, region) in REGIONS.into_iter().enumerate() {
        let _ = writeln!(
            text,
            "[[vpc]]\nid = \"vpc-{region}\"\nregion = \"{region}\"\nlisten = [\"127.0.0.{}\"]",
            index + 2
        );
    }
    for (id, status) in [("up", "healthy"), ("down", "unhealthy")] {
        let _ = writeln!(text, "[[health_check]]\nid = \"{id}\"\ntype = \"manual\"\nstatus = \"{status}\"");
    }
    let vpcs = REGIONS.map(|region| format!("\"vpc-{region}\"")).join(", ");
    let _ = writeln!(
        text,
        "[[hosted_zone]]\nid = \"Z1\"\nname = \"zone.example\"\nvpcs = [{vpcs}]\nrecords = [\n{records}]"
    );
    text
}

fn load(records: &str) -> config::Loaded {
    let surroundings = Surroundings {
        read_file: &|_| Err("there are no files".to_owned()),
        system_nameservers: &|| Ok(Vec::new()),
        is_own_address: &|_| false,
    };
    config::load("routing.toml", &configuration(records), &surroundings)
}

/// A world that is answered by the pure function.
struct Pure {
    snapshot: Snapshot,
    health: HealthStates,
}

impl Pure {
    fn new(records: &str) -> Self {
        let loaded = load(records);
        let configuration = loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics)));
        let health = HealthStates::default();
        let snapshot = compile(&configuration.model, &mut Contexts::default(), &health, HashSeed(0x5eed));
        Self { snapshot, health }
    }

    /// The last octets of the addresses that a name has in a region, in the order of the answer; none for NODATA.
    fn ask(&self, name: &str, region: usize, pick: u32) -> Vec<u8> {
        let view = &self.snapshot.views[region * 2];
        let (mut folded, mut last) = (FoldedName::default(), FoldedName::default());
        folded.read(&ask::wire_name(name), self.snapshot.seed).expect("a legal name");
        let ask = Ask { name: &folded, qtype: Rtype::A, cnames_before: 0 };
        let chance = Chance { pick, health: &self.snapshot.health };
        let resolution = resolve(&self.snapshot, view, ask, self.snapshot.locate(view, &folded), chance, &mut last);
        let mut runs = Vec::new();
        match resolution.end {
            End::Records { records, .. } => runs.push(records),
            End::Several { several, .. } => several.each_run(|records| runs.push(records)),
            End::NoData(_) => {}
            other => panic!("{name}: {other:?}"),
        }
        let last_octets: Vec<u8> =
            runs.iter().flat_map(|run| run.iter()).map(|template| *template.last().expect("not empty")).collect();
        assert_eq!(last_octets.len(), runs.iter().map(|run| usize::from(run.count)).sum::<usize>(), "{name}");
        last_octets
    }
}

/// One weighted set of `w`: its weight, and whether it is healthy.
fn weighted(sets: &[(u8, bool)]) -> String {
    let line = |(number, (weight, is_healthy)): (usize, &(u8, bool))| {
        let check = if *is_healthy { "up" } else { "down" };
        format!(
            "{{ name = \"w\", type = \"A\", ttl = 30, set_identifier = \"{number}\", weight = {weight}, \
             health_check = \"{check}\", values = [\"10.0.0.{number}\"] }},\n"
        )
    };
    sets.iter().enumerate().map(line).collect()
}

/// How often each set of `w` is chosen in so many draws.
fn counts(world: &Pure, sets: usize, draws: u32, mut pick: impl FnMut() -> u32) -> Vec<u32> {
    let mut counts = vec![0; sets];
    for _ in 0..draws {
        let chosen = world.ask("w.zone.example", 0, pick());
        assert_eq!(chosen.len(), 1, "never a union");
        counts[usize::from(chosen[0])] += 1;
    }
    counts
}

/// Pearson's statistic of counts against shares; what has no share must not have come.
fn chi_square(counts: &[u32], shares: &[f64]) -> f64 {
    let draws = f64::from(counts.iter().sum::<u32>());
    let of = |(count, share): (&u32, &f64)| {
        if *share == 0.0 {
            assert_eq!(*count, 0, "{counts:?} for {shares:?}");
            return 0.0;
        }
        (f64::from(*count) - draws * share).powi(2) / (draws * share)
    };
    counts.iter().zip(shares).map(of).sum()
}

/// The share of each set as R53:routing-policy-weighted has it.
fn shares(sets: &[(u8, bool)]) -> Vec<f64> {
    let is_any_healthy = sets.iter().any(|(_, healthy)| *healthy);
    let is_considered = |set: &&(u8, bool)| set.1 || !is_any_healthy;
    let total = sets.iter().filter(is_considered).map(|(weight, _)| u32::from(*weight)).sum();
    let alike = sets.iter().filter(is_considered).count();
    // By their weights; all alike where these are 0.
    let share = |set: &(u8, bool)| match (is_considered(&set), total) {
        (false, _) => 0.0,
        (true, 0) => 1.0 / alike as f64,
        (true, total) => f64::from(set.0) / f64::from(total),
    };
    sets.iter().map(share).collect()
}

#[test]
fn weights_are_honoured() {
    // The statistic of so many degrees of freedom is above this once in a thousand seeds; this one is fixed.
    let critical = [0.0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88];
    let up = |weights: &[u8]| weights.iter().map(|weight| (*weight, true)).collect::<Vec<_>>();
    let worlds = [
        up(&[3, 1]),
        up(&[255, 1, 0]),
        up(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        up(&[0, 0, 0]),
        vec![(200, false), (3, true), (1, true)],
        vec![(50, false), (50, true), (25, false), (25, true), (0, true)],
        vec![(9, false), (0, true), (0, true)],
        vec![(9, false), (1, false), (0, false)],
        vec![(0, false), (0, true), (0, true)],
    ];
    let mut random = SmallRng::seed_from_u64(4);
    for sets in worlds {
        let (world, expected) = (Pure::new(&weighted(&sets)), shares(&sets));
        let freedom = expected.iter().filter(|share| **share > 0.0).count() - 1;
        let drawn = counts(&world, sets.len(), 20_000, || random.next_u32());
        let statistic = chi_square(&drawn, &expected);
        assert!(statistic <= critical[freedom], "{sets:?}: {drawn:?} for {expected:?}: {statistic}");
        // As a worker draws: one number a batch, then steps of the golden ratio.
        let mut pick = random.next_u32();
        let stepped = counts(&world, sets.len(), 20_000, || {
            pick = pick.wrapping_add(0x9e37_79b9);
            pick
        });
        let statistic = chi_square(&stepped, &expected);
        assert!(statistic <= critical[freedom], "in steps, {sets:?}: {stepped:?} for {expected:?}: {statistic}");
    }
}

#[test]
fn choices_behind_one_random_number_do_not_follow_each_other() {
    // A weighted CNAME to a weighted name: all four ways come as often as the weights say.
    let mut records = String::new();
    for (name, rtype, values) in [
        ("c", "CNAME", ["x.zone.example", "y.zone.example"]),
        ("x", "A", ["10.0.0.0", "10.0.0.1"]),
        ("y", "A", ["10.0.0.2", "10.0.0.3"]),
    ] {
        for value in values {
            let _ = writeln!(
                records,
                "{{ name = \"{name}\", type = \"{rtype}\", set_identifier = \"{value}\", weight = 1, values = [\"{value}\"] }},"
            );
        }
    }
    // And the same as a tree of aliases; and as one where a set is unhealthy, so that half of the queries draw again.
    for (name, target) in [("t", "x"), ("t", "y"), ("u", "x"), ("u", "y")] {
        let _ = writeln!(
            records,
            "{{ name = \"{name}\", type = \"A\", set_identifier = \"{target}\", weight = 1, alias = \"{target}.zone.example\" }},"
        );
    }
    records += "{ name = \"u\", type = \"A\", set_identifier = \"down\", weight = 2, health_check = \"down\", values = [\"10.0.0.9\"] },\n";
    let world = Pure::new(&records);
    let mut random = SmallRng::seed_from_u64(5);
    for name in ["c.zone.example", "t.zone.example", "u.zone.example"] {
        let mut counts = vec![0; 4];
        for _ in 0..40_000 {
            counts[usize::from(world.ask(name, 0, random.next_u32())[0])] += 1;
        }
        assert!(chi_square(&counts, &[0.25; 4]) < 16.27, "{name}: {counts:?}");
    }
}

#[test]
fn every_healthy_multivalue_set_has_the_same_chance() {
    for (sets, unhealthy) in [(12, 0), (20, 7), (100, 50), (9, 9)] {
        let line = |number: usize| {
            let check = if number * unhealthy % sets < unhealthy { "down" } else { "up" };
            format!(
                "{{ name = \"w\", type = \"A\", ttl = 30, set_identifier = \"{number:03}\", multivalue = true, \
                 health_check = \"{check}\", values = [\"10.0.0.{number}\"] }},\n"
            )
        };
        let world = Pure::new(&(0..sets).map(line).collect::<String>());
        let is_up = |number: usize| unhealthy == sets || number * unhealthy % sets >= unhealthy;
        let eligible = (0..sets).filter(|number| is_up(*number)).count();
        let (mut counts, mut firsts) = (vec![0u32; sets], vec![0u32; sets]);
        let mut random = SmallRng::seed_from_u64(6);
        for _ in 0..20_000 {
            let answer = world.ask("w.zone.example", 0, random.next_u32());
            assert_eq!(answer.len(), eligible.min(8));
            firsts[usize::from(answer[0])] += 1;
            answer.iter().for_each(|set| counts[usize::from(*set)] += 1);
            let distinct: BTreeSet<&u8> = answer.iter().collect();
            assert_eq!(distinct.len(), answer.len());
        }
        for (number, (count, first)) in counts.iter().zip(&firsts).enumerate() {
            assert_eq!(*count > 0, is_up(number), "{number} of {sets}");
            let mean = 20_000.0 / eligible as f64;
            let is_near = |count: u32, mean: f64| (f64::from(count) - mean).abs() < 6.0 * mean.sqrt();
            assert!(!is_up(number) || is_near(*first, mean), "{number} of {sets} was first {first} times, not {mean}");
            assert!(!is_up(number) || is_near(*count, 8.0 * mean), "{number} of {sets} came {count} times");
        }
    }
}

/// A set of a name in a tree: an address whose check is up or down, or an alias of a later name.
#[derive(Clone, Debug)]
enum Branch {
    Address { healthy: bool },
    Alias { to: usize, evaluates: bool, healthy: bool },
}

/// The sets of a name, in the order in which they are preferred.
type Name = Vec<Branch>;

/// The records of names `n0`, `n1` … of failover sets; the address of branch b of name n ends in `2 * n + b`.
fn tree(names: &[Name]) -> String {
    let mut records = String::new();
    for (number, branches) in names.iter().enumerate() {
        for ((position, branch), role) in branches.iter().enumerate().zip(["primary", "secondary"]) {
            let (data, healthy) = match branch {
                Branch::Address { healthy } => (format!("values = [\"10.0.0.{}\"]", number * 2 + position), healthy),
                Branch::Alias { to, healthy, .. } => {
                    (format!("alias = \"n{to}.zone.example\", evaluate_target_health = true"), healthy)
                }
            };
            let check = if *healthy { "up" } else { "down" };
            let _ = writeln!(
                records,
                "{{ name = \"n{number}\", type = \"A\", set_identifier = \"{position}\", failover = \"{role}\", \
                 health_check = \"{check}\", {data} }},"
            );
        }
    }
    records
}

/// The same by weights of 1 and 0: aliases may leave the target's health alone.
fn weighted_tree(names: &[Name]) -> String {
    let mut records = String::new();
    for (number, branches) in names.iter().enumerate() {
        for ((position, branch), weight) in branches.iter().enumerate().zip([1, 0]) {
            let (data, healthy) = match branch {
                Branch::Address { healthy } => (format!("values = [\"10.0.0.{}\"]", number * 2 + position), healthy),
                Branch::Alias { to, healthy, evaluates } => {
                    (format!("alias = \"n{to}.zone.example\", evaluate_target_health = {evaluates}"), healthy)
                }
            };
            let check = if *healthy { "up" } else { "down" };
            let _ = writeln!(
                records,
                "{{ name = \"n{number}\", type = \"A\", set_identifier = \"{position}\", weight = {weight}, \
                 health_check = \"{check}\", {data} }},"
            );
        }
    }
    records
}

/// Whether a branch is healthy, slowly.
fn is_healthy(names: &[Name], branch: &Branch, evaluates_always: bool) -> bool {
    match branch {
        Branch::Address { healthy } => *healthy,
        Branch::Alias { to, evaluates, healthy } => {
            let below = || names[*to].iter().any(|branch| is_healthy(names, branch, evaluates_always));
            *healthy && (!(*evaluates || evaluates_always) || below())
        }
    }
}

/// What a name answers, slowly: the first healthy branch, or the first.
fn answer(names: &[Name], number: usize, evaluates_always: bool) -> u8 {
    let branches = &names[number];
    let position = branches.iter().position(|branch| is_healthy(names, branch, evaluates_always)).unwrap_or(0);
    match &branches[position] {
        Branch::Address { .. } => (number * 2 + position) as u8,
        Branch::Alias { to, .. } => answer(names, *to, evaluates_always),
    }
}

/// Trees of up to 10 names, each of which leads only to later ones.
fn trees() -> impl Strategy<Value = Vec<Name>> {
    let branch = (any::<bool>(), any::<bool>(), any::<bool>(), 0usize..100);
    prop::collection::vec(prop::collection::vec(branch, 1..3), 1..10).prop_map(|names| {
        let count = names.len();
        let branches = |number: usize, branches: Vec<(bool, bool, bool, usize)>| {
            let left = count - number - 1;
            let branch = |(is_alias, healthy, evaluates, to): (bool, bool, bool, usize)| match is_alias && left > 0 {
                true => Branch::Alias { to: number + 1 + to % left, evaluates, healthy },
                false => Branch::Address { healthy },
            };
            branches.into_iter().map(branch).collect()
        };
        names.into_iter().enumerate().map(|(number, of_name)| branches(number, of_name)).collect()
    })
}

/// Sets of one weighted name.
fn weighted_sets() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((prop::sample::select(vec![0u8, 1, 3]), any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn weighted_sets_come_exactly_where_they_have_a_share(sets in weighted_sets(), seed in any::<u64>()) {
        let (world, expected) = (Pure::new(&weighted(&sets)), shares(&sets));
        let mut random = SmallRng::seed_from_u64(seed);
        // A share is at least 1/13 here: it fails to come in 600 draws once in 10^20.
        let drawn = counts(&world, sets.len(), 600, || random.next_u32());
        for (count, share) in drawn.iter().zip(&expected) {
            prop_assert_eq!(*count > 0, *share > 0.0, "{:?}: {:?} for {:?}", sets, drawn, expected);
        }
    }

    /// Sets that have values in common: each value is answered once, while a set that has it is healthy.
    #[test]
    fn multivalue_sets_answer_each_value_once(
        sets in prop::collection::vec((prop::collection::btree_set(0u8..12, 1..4), any::<bool>()), 1..14),
        picks in prop::collection::vec(any::<u32>(), 20),
    ) {
        let mut records = String::new();
        for (number, (values, is_healthy)) in sets.iter().enumerate() {
            let values: Vec<String> = values.iter().map(|value| format!("\"10.0.0.{value}\"")).collect();
            let check = if *is_healthy { "up" } else { "down" };
            let _ = writeln!(
                records,
                "{{ name = \"m\", type = \"A\", set_identifier = \"{number}\", multivalue = true, \
                 health_check = \"{check}\", values = [{}] }},",
                values.join(", ")
            );
        }
        let world = Pure::new(&records);
        let is_any_healthy = sets.iter().any(|(_, is_healthy)| *is_healthy);
        let answerable: BTreeSet<u8> = sets
            .iter()
            .filter(|(_, is_healthy)| *is_healthy || !is_any_healthy)
            .flat_map(|(values, _)| values.iter().copied())
            .collect();
        for pick in picks {
            let answered = world.ask("m.zone.example", 0, pick);
            let distinct: BTreeSet<u8> = answered.iter().copied().collect();
            prop_assert_eq!(distinct.len(), answered.len(), "a value twice: {:?}", answered);
            prop_assert!(distinct.is_subset(&answerable), "{:?} of {:?}", distinct, answerable);
            prop_assert!(distinct.len() >= answerable.len().min(8), "{:?} of {:?}", distinct, answerable);
        }
    }

    #[test]
    fn trees_end_where_the_rules_say(names in trees(), pick in any::<u32>()) {
        for (records, evaluates_always) in [(tree(&names), true), (weighted_tree(&names), false)] {
            let world = Pure::new(&records);
            for number in 0..names.len() {
                let expected = answer(&names, number, evaluates_always);
                let got = world.ask(&format!("n{number}.zone.example"), number % 3, pick);
                prop_assert_eq!(got, vec![expected], "n{} of {:?}", number, names);
            }
        }
    }

    #[test]
    fn a_flip_changes_what_a_fresh_start_would_have_changed(names in trees()) {
        let world = Pure::new(&tree(&names));
        let (flipped, up) = (world.health.set("up", false), world.health.set("down", true));
        prop_assert!(flipped && up);
        let turned: Vec<Name> = names
            .iter()
            .map(|branches| {
                let turn = |branch: &Branch| match branch {
                    Branch::Address { healthy } => Branch::Address { healthy: !healthy },
                    Branch::Alias { to, evaluates, healthy } => {
                        Branch::Alias { to: *to, evaluates: *evaluates, healthy: !healthy }
                    }
                };
                branches.iter().map(turn).collect()
            })
            .collect();
        for number in 0..names.len() {
            prop_assert_eq!(world.ask(&format!("n{number}.zone.example"), 0, 0), vec![answer(&turned, number, true)]);
        }
    }

    #[test]
    fn aliases_that_lead_back_are_refused_and_no_others(
        targets in prop::collection::vec(prop::collection::vec(0usize..8, 0..3), 8),
    ) {
        // Name n aliases these names, by weights; and always has an address beside.
        let mut records = String::new();
        for (number, targets) in targets.iter().enumerate() {
            let _ = writeln!(
                records,
                "{{ name = \"n{number}\", type = \"A\", set_identifier = \"own\", weight = 1, values = [\"10.0.0.1\"] }},"
            );
            for (position, to) in targets.iter().enumerate() {
                let _ = writeln!(
                    records,
                    "{{ name = \"n{number}\", type = \"A\", set_identifier = \"{position}\", weight = 1, \
                     alias = \"n{to}.zone.example\" }},"
                );
            }
        }
        // Names that lead nowhere, and then those that lead only to such, are taken away: what is left is loops.
        let mut left: BTreeMap<usize, &Vec<usize>> = targets.iter().enumerate().collect();
        while let Some(number) = left.iter().find(|(_, to)| to.iter().all(|to| !left.contains_key(to))).map(|(n, _)| *n) {
            left.remove(&number);
        }
        let loaded = load(&records);
        let said = config::render(&loaded.diagnostics);
        prop_assert_eq!(loaded.configuration.is_none(), !left.is_empty(), "{}", said);
        prop_assert_eq!(said.contains("leads back to itself"), !left.is_empty(), "{}", said);
    }
}

/// A chain of so many weighted names, each an alias of the next.
fn chain(policies: usize) -> String {
    let mut records = String::new();
    for number in 0..policies {
        let data = match number + 1 == policies {
            true => "values = [\"10.0.0.9\"]".to_owned(),
            false => format!("alias = \"n{}.zone.example\", evaluate_target_health = true", number + 1),
        };
        let _ =
            writeln!(records, "{{ name = \"n{number}\", type = \"A\", set_identifier = \"1\", weight = 1, {data} }},");
    }
    records
}

#[test]
fn a_tree_of_32_policies_ends_and_a_deeper_one_is_refused() {
    assert_eq!(Pure::new(&chain(32)).ask("n0.zone.example", 0, 7), [9]);
    let loaded = load(&chain(33));
    assert!(loaded.configuration.is_none());
    let said = config::render(&loaded.diagnostics);
    assert!(said.contains("`n0.zone.example.` leads through 33 aliases and routing policies"), "{said}");
    assert_eq!(loaded.diagnostics.len(), 1, "{said}");
    assert_eq!(load(&chain(200)).diagnostics.len(), 1, "told once");
}

/// Eight multivalue sets of this many addresses each, all with different ones.
fn long_multivalue(values: usize) -> String {
    let mut records = String::new();
    for set in 0..8 {
        let values: Vec<String> =
            (0..values).map(|value| format!("\"10.{set}.{}.{}\"", value / 256, value % 256)).collect();
        let values = values.join(", ");
        let _ = writeln!(
            records,
            "{{ name = \"long\", type = \"A\", set_identifier = \"{set}\", multivalue = true, values = [{values}] }},"
        );
    }
    records
}

/// An answer of thousands of records stands once, however many aliases and policies lead to it.
#[test]
fn aliases_of_a_long_answer_have_no_copy_of_it() {
    let world = |aliases: usize| {
        let mut records = long_multivalue(400);
        for number in 0..aliases {
            let _ = writeln!(
                records,
                "{{ name = \"w\", type = \"A\", set_identifier = \"{number}\", weight = 1, alias = \"step.zone.example\" }},\n\
                 {{ name = \"s{number}\", type = \"A\", alias = \"plain.zone.example\" }},"
            );
        }
        let values: Vec<String> = (0..100).map(|value| format!("\"10.9.0.{value}\"")).collect();
        let _ = writeln!(records, "{{ name = \"plain\", type = \"A\", values = [{}] }},", values.join(", "));
        records += "{ name = \"step\", type = \"A\", alias = \"long.zone.example\" },\n";
        Pure::new(&records)
    };
    let (few, many) = (world(2), world(100));
    for world in [&few, &many] {
        assert_eq!(world.ask("w.zone.example", 0, 3).len(), 3200);
        assert_eq!(world.ask("s1.zone.example", 0, 3).len(), 100);
    }
    let octets = |world: &Pure| world.snapshot.nodes.octets() + world.snapshot.policies.octets();
    let grown = octets(&many) - octets(&few);
    assert!(grown < 98 * 2 * 200, "98 aliases of each took {grown} octets");
}

/// Whatever eight sets of a multivalue policy are chosen, they fit into a reply over TCP.
#[test]
fn multivalue_sets_of_which_eight_may_not_fit_are_refused() {
    assert!(load(&long_multivalue(400)).configuration.is_some());
    let values: Vec<String> = (0..33).map(|value| format!("\"\\\"{value}{}\\\"\"", "x".repeat(240))).collect();
    let mut records = String::new();
    for set in 0..9 {
        let values = values.iter().map(|value| value.replacen("x", &set.to_string(), 1)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            records,
            "{{ name = \"text\", type = \"TXT\", set_identifier = \"{set}\", multivalue = true, values = [{values}] }},"
        );
    }
    let loaded = load(&records);
    assert!(loaded.configuration.is_none());
    let said = config::render(&loaded.diagnostics);
    assert!(said.contains("8 of the multivalue sets may take"), "{said}");
}

/// Trees in which each name leads to the next twice have 2^32 ways down: health must not walk them.
#[test]
fn health_of_a_tree_takes_no_walk() {
    let mut records = String::new();
    for number in 0..31 {
        for role in ["primary", "secondary"] {
            let _ = writeln!(
                records,
                "{{ name = \"n{number}\", type = \"A\", set_identifier = \"{role}\", failover = \"{role}\", \
                 alias = \"n{}.zone.example\", evaluate_target_health = true }},",
                number + 1
            );
        }
    }
    records += "{ name = \"n31\", type = \"A\", set_identifier = \"1\", failover = \"primary\", health_check = \"down\", values = [\"10.0.0.7\"] },\n";
    let world = Pure::new(&records);
    assert_eq!(world.ask("n0.zone.example", 0, 1), [7]);
    world.health.set("down", true);
    assert_eq!(world.ask("n0.zone.example", 0, 1), [7]);
}

/// A choice that led to a question for others is kept until that is answered: another one would lead to another name,
/// and the weights would not be what they say.
#[test]
fn a_choice_is_kept_while_others_are_asked() {
    let world = World::load("routing");
    let snapshot = compile(&world.configuration.model, &mut Contexts::default(), &HealthStates::default(), HashSeed(1));
    let forwarder = worlds::forwarder();
    let mut random = SmallRng::seed_from_u64(7);
    let mut asked = BTreeMap::new();
    for name in ["balancers.tree.example.com", "out.weighted.example.com"] {
        let query = Question::new(name, "A").octets(1);
        for _ in 0..200 {
            let (mut slot, mut scratch, mut out) = (Slot::default(), Scratch::default(), [0; 1232]);
            let around = |pick, fetched| handle::Surroundings {
                snapshot: &snapshot,
                forwarder: &forwarder,
                now: Millis(0),
                pick,
                transport: Transport::Udp,
                looked_up: handle::LookedUp::NotYet,
                fetched,
            };
            handle::begin(&mut slot, &snapshot, &query, DoorIndex(0), Ipv4Addr::LOCALHOST.into());
            let outcome = handle::complete(&slot, &mut scratch, &around(random.next_u32(), &[]), &query, &mut out);
            let Outcome::Miss(miss) = outcome else { panic!("{name}: {outcome:?}") };
            *asked.entry((name, miss.qname.clone())).or_insert(0) += 1;
            let fetched = [Fetched { miss, result: Err(ExchangeError::TimedOut) }];
            let outcome = handle::complete(&slot, &mut scratch, &around(random.next_u32(), &fetched), &query, &mut out);
            let Outcome::Reply(reply) = outcome else { panic!("{name} chose anew: {outcome:?}") };
            assert_eq!(reply.rcode, Rcode::SERVFAIL);
        }
    }
    assert_eq!(asked.len(), 4);
    assert!(asked.values().all(|count| (60..140).contains(count)), "{asked:?}");
}

/// The same through the doors and the lanes, over UDP and TCP: however many rounds a query takes, one of two names is
/// asked for, never both; and by many queries, each of them.
#[test]
fn a_query_asks_for_one_of_two_names_in_all_its_rounds() {
    // Nothing here is kept: every query has to ask.
    let upstream = Scripted::start(|asked| {
        let record = match &*asked.name() {
            "start.public.example" => "@ 0 IN CNAME out.corp.example.",
            "a.public.example" | "b.public.example" => "@ 0 IN CNAME last.corp.example.",
            _ => "@ 0 IN A 198.51.100.1",
        };
        vec![Act::Send(octets(&asked.records(&[record])))]
    });
    let mut text = forwarding_to(&[upstream.address()]);
    // The zone's records come last.
    text.truncate(text.rfind(']').expect("they end"));
    text += ", { name = \"last\", type = \"CNAME\", values = [\"end.public.example\"] }";
    for name in ["a", "b"] {
        let _ = write!(
            text,
            ", {{ name = \"out\", type = \"CNAME\", set_identifier = \"{name}\", weight = 1, \
             values = [\"{name}.public.example\"] }}"
        );
    }
    text += "]\n";
    let served = Served::on_loopback(&text);
    for name in ["out.corp.example", "start.public.example"] {
        let mut chosen = BTreeMap::new();
        for round in 0..40 {
            let (question, before) = (Question::new(name, "A"), upstream.asked().len());
            let reply = if round % 2 == 0 { served.ask_for(&question) } else { served.ask_over_tcp(&question) };
            assert!(reply.is([198, 51, 100, 1]), "{name}: {reply:?}");
            let mut asked: Vec<_> = upstream.asked()[before..].iter().map(Asked::name).collect();
            asked.retain(|name| ["a.public.example", "b.public.example"].contains(&&**name));
            // An upstream that is slow to answer may be asked for one name twice.
            asked.dedup();
            let [one] = &asked[..] else { panic!("{name}: {asked:?}") };
            *chosen.entry(one.clone()).or_insert(0) += 1;
        }
        // Each has half a chance: 40 times the same one is a miracle.
        assert_eq!(chosen.len(), 2, "{name}: {chosen:?}");
    }
}

/// What a flip and a reload do to what is served.
#[test]
fn a_flip_reaches_the_next_answer_and_a_reload_sets_what_is_set_by_hand() {
    let world = World::load("routing");
    let mut running = world.start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let door = running.door(&DoorName::From("vpc-oregon".to_owned()));
    let answers = || {
        let query = Question::new("up-up.failover.example.com", "A").octets(rand::random());
        let reply = ask::over_udp(Ipv4Addr::LOCALHOST.into(), door, &query).expect("a reply");
        let message = Message::from_vec(&reply).expect("hickory-proto reads it");
        message.answers.iter().map(present).collect::<Vec<_>>()
    };
    let primary = ["up-up.failover.example.com. 60 IN A 10.2.0.1"];
    assert_eq!(answers(), primary);
    let health = running.daemon.health().clone();
    // Both sets hang on this check: none is healthy, and the primary answers.
    assert!(health.set("up", false));
    assert_eq!(answers(), primary);
    let mut configuration = world.at(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let zone = configuration.model.hosted_zones.iter_mut().find(|zone| &*zone.id == "ZFAILOVER").expect("it is there");
    let plustwo::aws::RecordSets::Here(sets) = &mut zone.record_sets else { panic!("nothing is served yet") };
    let secondary = sets.iter_mut().find(|set| {
        set.owner.to_string() == "up-up.failover.example.com."
            && set.routing.as_ref().is_some_and(|routing| &*routing.set_identifier == "2")
    });
    secondary.and_then(|set| set.routing.as_mut()).expect("it is routed").health_check = None;
    running.daemon.reload(&configuration).expect("the doors are the same");
    assert_eq!(answers(), primary, "the file says that the check is healthy");
    assert!(health.set("up", false));
    assert_eq!(answers(), ["up-up.failover.example.com. 61 IN A 10.2.0.2"]);
    assert!(health.set("up", true));
    assert_eq!(answers(), primary);
    running.daemon.stop();
}
