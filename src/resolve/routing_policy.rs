//! Choosing among the record sets of a routing policy: by chance, by order, by health.
//!
//! Trees are walked from the top. That a branch whose sets are all unhealthy is not entered (where its alias evaluates
//! the target's health) needs no walk back: the health table holds what a branch comes to
//! (R53:dns-failover-complex-configs).

use super::Chance;
use crate::snapshot::routing_policy::MULTIVALUE_SETS_MAX;
use crate::snapshot::{
    HealthTable, Policy, PolicyIndex, PolicyKind, PolicySet, Records, RegionIndex, RrsetData, Snapshot,
};

/// What a policy comes to.
pub(super) enum Chosen<'s> {
    /// One set, or all of a multivalue policy.
    Records(Records<'s>),
    /// Several sets of a multivalue policy, not all.
    Several(Several<'s>),
    /// An alias of a name elsewhere.
    Alias(&'s [u8]),
    /// No set is for this region.
    Nothing,
}

/// What a policy comes to where that is near at hand: its first choice is healthy and has records of its own, or it is
/// multivalue, and all is answered. By itself, so that it becomes part of the caller.
#[inline(always)]
pub(super) fn first_choice<'s>(
    snapshot: &'s Snapshot,
    region: RegionIndex,
    index: PolicyIndex,
    Chance { pick, health }: Chance<'_>,
) -> Option<Records<'s>> {
    let policy = snapshot.policies.policy(index);
    let set = match policy.kind() {
        PolicyKind::Weighted => policy.set_by_weight(pick)?,
        PolicyKind::InOrder => policy.first_in_order(region)?,
        PolicyKind::Multivalue | PolicyKind::AllHealthy => {
            let is_all = policy.sets().len() <= policy.kind().sets_max() && health.is_healthy(policy.all());
            return is_all.then(|| policy.all_records()).filter(|records| records.count > 0);
        }
    };
    match policy.data(set) {
        RrsetData::Records(records) if health.is_healthy(set.health) => Some(records),
        _ => None,
    }
}

/// Walks from a policy to what is answered. Each further policy on the way makes its own of the random number.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    region: RegionIndex,
    index: PolicyIndex,
    Chance { pick, health }: Chance<'_>,
) -> Chosen<'s> {
    let (mut index, mut pick) = (index, pick);
    // Ends: a set leads only to policies before its own.
    loop {
        let policy = snapshot.policies.policy(index);
        let set = match policy.kind() {
            PolicyKind::Weighted => weighted(policy, health, pick),
            PolicyKind::InOrder => in_order(policy, health, region),
            PolicyKind::Multivalue | PolicyKind::AllHealthy => return multivalue(policy, health, pick),
        };
        match set.map(|set| policy.data(set)) {
            Some(RrsetData::Records(records)) => return Chosen::Records(records),
            Some(RrsetData::Alias(target)) => return Chosen::Alias(target),
            Some(RrsetData::Policy(next)) => index = next,
            None => return Chosen::Nothing,
        }
        pick = mixed(pick);
    }
}

/// One set in proportion to the weights (R53:routing-policy-weighted). Whoever meets an unhealthy one draws again, among
/// the healthy: that is as if the unhealthy had not been there.
#[inline]
fn weighted<'s>(policy: Policy<'s>, health: &HealthTable, pick: u32) -> Option<&'s PolicySet> {
    let set = policy.set_by_weight(pick)?;
    if health.is_healthy(set.health) {
        return Some(set);
    }
    // Not the number that the next policy on the way gets: one choice must not follow the other.
    weighted_again(policy, health, mixed(!pick))
}

/// The same where an unhealthy set was met: among the healthy sets that have a weight; if there is none, among the
/// healthy ones without; and if none is healthy, as if all were.
#[cold]
fn weighted_again<'s>(policy: Policy<'s>, health: &HealthTable, pick: u32) -> Option<&'s PolicySet> {
    let is_healthy = |set: &&PolicySet| health.is_healthy(set.health);
    let healthy = || policy.sets().iter().filter(is_healthy);
    let sum: u32 = healthy().map(|set| u32::from(set.weight)).sum();
    if sum > 0 {
        let mut left = part_of(pick, sum);
        return healthy().find(|set| {
            let weight = u32::from(set.weight);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        });
    }
    match healthy().count() {
        0 => policy.set_by_weight(pick),
        count => healthy().nth(part_of(pick, count as u32) as usize),
    }
}

/// The first healthy set in the order that the region prefers; if none is healthy, as if all were: the first.
#[inline]
fn in_order<'s>(policy: Policy<'s>, health: &HealthTable, region: RegionIndex) -> Option<&'s PolicySet> {
    let mut order = policy.in_order(region);
    let first = order.next()?;
    if health.is_healthy(first.health) {
        return Some(first);
    }
    Some(order.find(|set| health.is_healthy(set.health)).unwrap_or(first))
}

/// As many healthy sets as the policy answers with, eight of a multivalue one (R53:routing-policy-multivalue): neighbours in
/// a ring that begins at a random healthy one, so that each has the same chance. If none is healthy, as if all were.
#[inline]
fn multivalue<'s>(policy: Policy<'s>, health: &HealthTable, pick: u32) -> Chosen<'s> {
    let (count, most) = (policy.sets().len(), policy.kind().sets_max());
    let members = if health.is_healthy(policy.all()) { 0 } else { healthy_members(policy, health) };
    match (count, members) {
        (0, _) => Chosen::Nothing,
        (1.., 0) if count <= most => Chosen::Records(policy.all_records()),
        (_, 0) => Chosen::Several(Several { policy, start: part_of(pick, count as u32) as u8, members: None }),
        (_, members) => some_members(policy, members, most as u32, pick),
    }
}

/// The positions of the healthy sets, as bits.
#[cold]
fn healthy_members(policy: Policy<'_>, health: &HealthTable) -> u128 {
    let bit = |(position, set): (usize, &PolicySet)| u128::from(health.is_healthy(set.health)) << position;
    policy.sets().iter().enumerate().map(bit).fold(0, |members, bit| members | bit)
}

/// Up to so many of these members.
#[cold]
fn some_members(policy: Policy<'_>, members: u128, most: u32, pick: u32) -> Chosen<'_> {
    let start = nth_member(members, part_of(pick, members.count_ones()));
    let from_start = first_members(members >> start << start, most);
    let before_start = members & ((1 << start) - 1);
    let chosen = from_start | first_members(before_start, most - from_start.count_ones());
    Chosen::Several(Several { policy, start: start as u8, members: Some([chosen as u64, (chosen >> 64) as u64]) })
}

/// The position of the member with this number, from 0; there are more members than that.
fn nth_member(members: u128, number: u32) -> u32 {
    (0..number).fold(members, |rest, _| rest & (rest - 1)).trailing_zeros()
}

/// So many members from the lowest on, or all.
fn first_members(members: u128, most: u32) -> u128 {
    if members.count_ones() <= most {
        return members;
    }
    members & ((1 << nth_member(members, most)) - 1)
}

/// Several sets of a multivalue policy.
#[derive(Clone, Copy, Debug)]
pub struct Several<'s> {
    policy: Policy<'s>,
    /// The position of the first.
    start: u8,
    /// The sets by position, as bits, low half first; none: eight of the ring from the first on.
    members: Option<[u64; 2]>,
}

impl<'s> Several<'s> {
    /// Gives the records to a writer, neighbouring sets as one run, from the first on.
    #[inline]
    pub fn each_run(self, mut write: impl FnMut(Records<'s>)) {
        let Some([low, high]) = self.members else {
            let (count, end) = (self.policy.sets().len() as u8, self.start + MULTIVALUE_SETS_MAX as u8);
            write(self.policy.run(self.start..end.min(count)));
            if end > count {
                write(self.policy.run(0..end - count));
            }
            return;
        };
        let members = u128::from(high) << 64 | u128::from(low);
        let from_start = members >> self.start << self.start;
        for stretch in [from_start, members ^ from_start] {
            let mut left = stretch;
            while left != 0 {
                let start = left.trailing_zeros();
                let end = start + (left >> start).trailing_ones();
                left = left >> end << end;
                write(self.policy.run(start as u8..end as u8));
            }
        }
    }
}

/// A random part of a count: no division.
#[inline]
fn part_of(pick: u32, count: u32) -> u32 {
    ((u64::from(pick) * u64::from(count)) >> 32) as u32
}

/// Another random number out of one, that shows no relation to it (a step of the finaliser of MurmurHash3).
#[inline]
pub(super) fn mixed(pick: u32) -> u32 {
    let pick = (pick ^ pick >> 16).wrapping_mul(0x85eb_ca6b);
    let pick = (pick ^ pick >> 13).wrapping_mul(0xc2b2_ae35);
    pick ^ pick >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_from_the_lowest() {
        let members = 0b1011_0010u128;
        assert_eq!([0, 1, 2, 3].map(|number| nth_member(members, number)), [1, 4, 5, 7]);
        assert_eq!([0, 1, 3, 4, 9].map(|most| first_members(members, most)), [0, 0b10, 0b11_0010, members, members]);
        let ends = 1u128 << 126 | 1;
        assert_eq!([nth_member(ends, 0), nth_member(ends, 1)], [0, 126]);
    }

    #[test]
    fn a_mixed_number_is_mixed_once_only() {
        let all: std::collections::HashSet<u32> = (0..100_000).map(mixed).collect();
        assert_eq!(all.len(), 100_000, "no two numbers become one");
    }
}
