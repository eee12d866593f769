//! Choosing among the record sets of a routing policy: by chance, by order, by health.
//!
//! Trees are walked from the top. That a branch whose sets are all unhealthy is not entered (where its alias evaluates
//! the target's health) needs no walk back: the health table holds what a branch comes to
//! (R53:dns-failover-complex-configs).

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

/// Walks from a policy to what is answered. `pick` is random; each policy on the way makes its own of it.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    health: &HealthTable,
    region: RegionIndex,
    index: PolicyIndex,
    pick: u32,
) -> Chosen<'s> {
    let (mut index, mut pick) = (index, pick);
    // Ends: a set leads only to policies before its own.
    loop {
        pick = mixed(pick);
        let policy = snapshot.policies.policy(index);
        let set = match policy.kind() {
            PolicyKind::Weighted => weighted(policy, health, pick),
            PolicyKind::InOrder => in_order(policy, health, region),
            PolicyKind::Multivalue => return multivalue(policy, health, pick),
        };
        match set.map(|set| policy.data(set)) {
            Some(RrsetData::Records(records)) => return Chosen::Records(records),
            Some(RrsetData::Alias(target)) => return Chosen::Alias(target),
            Some(RrsetData::Policy(next)) => index = next,
            None => return Chosen::Nothing,
        }
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
    weighted_again(policy, health, mixed(pick))
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

/// Up to eight healthy sets (R53:routing-policy-multivalue): neighbours in a ring that begins at a random healthy one, so
/// that each has the same chance. If none is healthy, as if all were.
#[inline]
fn multivalue<'s>(policy: Policy<'s>, health: &HealthTable, pick: u32) -> Chosen<'s> {
    let full = first_members(u128::MAX, policy.sets().len() as u32);
    if full == 0 {
        return Chosen::Nothing;
    }
    let mut members = full;
    if !health.is_healthy(policy.all()) {
        members = healthy_members(policy, health);
        if members == 0 {
            members = full;
        }
    }
    let healthy = members.count_ones();
    if members == full && healthy <= MULTIVALUE_SETS_MAX {
        return Chosen::Records(policy.run(0..policy.sets().len()));
    }
    let start = nth_member(members, part_of(pick, healthy));
    // In two stretches: from the start on, then from the beginning.
    let from_start = members >> start << start;
    let mut stretches = [first_members(from_start, MULTIVALUE_SETS_MAX), 0];
    stretches[1] = first_members(members ^ from_start, MULTIVALUE_SETS_MAX - stretches[0].count_ones());
    Chosen::Several(Several { policy, stretches: stretches.map(halves) })
}

/// The positions of the healthy sets, as bits.
#[cold]
fn healthy_members(policy: Policy<'_>, health: &HealthTable) -> u128 {
    let bit = |(position, set): (usize, &PolicySet)| u128::from(health.is_healthy(set.health)) << position;
    policy.sets().iter().enumerate().map(bit).fold(0, |members, bit| members | bit)
}

/// The position of the member with this number, from 0.
#[inline]
fn nth_member(members: u128, number: u32) -> u32 {
    let mut rest = members;
    // Where all are members, as nearly always, the number is the position.
    if rest.trailing_ones() > number {
        return number;
    }
    for _ in 0..number {
        rest &= rest - 1;
    }
    rest.trailing_zeros()
}

/// So many members from the lowest on, or all.
#[inline]
fn first_members(members: u128, most: u32) -> u128 {
    if members.count_ones() <= most {
        return members;
    }
    let end = nth_member(members, most);
    members & ((1 << end) - 1)
}

/// Several sets of a multivalue policy.
#[derive(Clone, Copy, Debug)]
pub struct Several<'s> {
    policy: Policy<'s>,
    /// Members by position, as bits, low half first; the first stretch goes before the second.
    stretches: [[u64; 2]; 2],
}

impl<'s> Several<'s> {
    /// The records, neighbouring sets as one run.
    pub fn runs(self) -> impl Iterator<Item = Records<'s>> {
        self.stretches.into_iter().flat_map(move |[low, high]| {
            let mut left = u128::from(high) << 64 | u128::from(low);
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let start = left.trailing_zeros();
                let end = start + (left >> start).trailing_ones();
                left = if end < u128::BITS { left >> end << end } else { 0 };
                Some(self.policy.run(start as usize..end as usize))
            })
        })
    }
}

/// Both halves of so many bits, so that what holds them is aligned like everything else.
#[inline]
fn halves(members: u128) -> [u64; 2] {
    [members as u64, (members >> 64) as u64]
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
        let ends = 1u128 << 127 | 1;
        assert_eq!([nth_member(ends, 0), nth_member(ends, 1)], [0, 127]);
        assert_eq!(nth_member(u128::MAX, 99), 99);
    }

    #[test]
    fn a_mixed_number_is_mixed_once_only() {
        let all: std::collections::HashSet<u32> = (0..100_000).map(mixed).collect();
        assert_eq!(all.len(), 100_000, "no two numbers become one");
    }
}
