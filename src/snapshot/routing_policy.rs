//! Routing policies: the record sets of one name and type among which one or several are chosen with each query.
//!
//! A policy is a run of sets, each with its records encoded; what depends on the configuration alone is settled: how
//! weights divide a random number, and for each region of a VPC the order in which sets are preferred. What is left
//! to the query is a random number and the health of few sets.

use super::health_check::HealthIndex;
use super::node::{Records, RrsetData};

/// Which of the policies of a [`PolicyTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyIndex(pub u32);

/// Which of the regions that VPCs of a snapshot are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionIndex(pub u32);

/// How a policy chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// One set by chance, in proportion to the weights.
    Weighted,
    /// The first healthy set in an order that may depend on the region: failover, latency, location.
    InOrder,
    /// Up to eight healthy sets.
    Multivalue,
    /// All healthy sets: the addresses of an endpoint's network interfaces.
    AllHealthy,
}

impl PolicyKind {
    /// Sets that it answers with at most.
    #[inline]
    pub fn sets_max(self) -> usize {
        match self {
            Self::Weighted | Self::InOrder => 1,
            Self::Multivalue => MULTIVALUE_SETS_MAX,
            Self::AllHealthy => SETS_MAX,
        }
    }
}

/// All routing policies of a snapshot.
// Invariant: a set leads only to policies before its own, so that every walk ends.
#[derive(Debug, Default)]
pub struct PolicyTable {
    policies: Box<[PolicyHead]>,
    sets: Box<[PolicySet]>,
    /// Orders of preference: positions of sets, [`NO_SET`] where a region has no further one.
    orders: Box<[u8]>,
    /// What the sets hold, one after another.
    octets: Box<[u8]>,
}

/// Where a policy's parts stand.
#[derive(Clone, Copy, Debug)]
struct PolicyHead {
    kind: PolicyKind,
    first_set: u32,
    sets: u8,
    /// Octets from one region's order to the next; 0: all regions have the same.
    order_stride: u8,
    first_order: u32,
    all: HealthIndex,
    /// Where what its sets hold begins, and how many octets and records that is.
    at: u32,
    length: u32,
    records: u16,
}

/// One policy.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'s> {
    table: &'s PolicyTable,
    head: &'s PolicyHead,
}

/// One set of a policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicySet {
    /// Its health.
    pub health: HealthIndex,
    /// Its weight; 1 where the policy has no weights.
    pub weight: u8,
    /// Weighted: the share of its part of the random numbers that is its own, of 2^32 …
    threshold: u32,
    /// … and the position of the set that has the rest.
    other: u8,
    /// Records; 0: its octets say what it leads to.
    records: u16,
    /// Records of the policy's sets before this one.
    records_before: u16,
    at: u32,
    length: u32,
}

impl PolicyTable {
    /// The policy of an index that this table gave out.
    #[inline]
    pub fn policy(&self, index: PolicyIndex) -> Policy<'_> {
        Policy { table: self, head: &self.policies[index.0 as usize] }
    }

    /// Octets of the table.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.policies) + size_of_val(&*self.sets) + self.orders.len() + self.octets.len()
    }
}

impl<'s> Policy<'s> {
    /// How it chooses.
    #[inline]
    pub fn kind(self) -> PolicyKind {
        self.head.kind
    }

    /// What is healthy while all of its sets are; only of a policy that answers with several.
    #[inline]
    pub fn all(self) -> HealthIndex {
        self.head.all
    }

    /// Its sets: at most [`SETS_MAX`], none if nothing of what was written has an answer.
    #[inline]
    pub fn sets(self) -> &'s [PolicySet] {
        let first = self.head.first_set as usize;
        &self.table.sets[first..first + usize::from(self.head.sets)]
    }

    /// What a set of this policy holds.
    #[inline]
    pub fn data(self, set: &PolicySet) -> RrsetData<'s> {
        let octets = &self.table.octets[set.at as usize..][..set.length as usize];
        RrsetData::decode(set.records, octets)
    }

    /// The set that a random number falls to by the weights, whatever its health; none if there is no set.
    ///
    /// The numbers are divided into as many equal parts as there are sets, and each part between two sets at most
    /// (Walker's alias method): no sum and no search.
    #[inline]
    pub fn set_by_weight(self, pick: u32) -> Option<&'s PolicySet> {
        if self.head.sets == 0 {
            return None;
        }
        let wide = u64::from(pick) * u64::from(self.head.sets);
        let own = self.set((wide >> 32) as u8);
        Some(if (wide as u32) < own.threshold { own } else { self.set(own.other) })
    }

    /// The set at a position.
    #[inline]
    fn set(self, position: u8) -> &'s PolicySet {
        &self.table.sets[self.head.first_set as usize + usize::from(position)]
    }

    /// The set that a region prefers to all others; none if it may have none.
    #[inline]
    pub fn first_in_order(self, region: RegionIndex) -> Option<&'s PolicySet> {
        let start = self.head.first_order as usize + region.0 as usize * usize::from(self.head.order_stride);
        let position = *self.table.orders.get(start).filter(|_| self.head.sets > 0)?;
        (position != NO_SET).then(|| self.set(position))
    }

    /// The sets in the order in which a region prefers them; those that it may not have are left out.
    #[inline]
    pub fn in_order(self, region: RegionIndex) -> impl Iterator<Item = &'s PolicySet> {
        let sets = self.sets();
        let start = self.head.first_order as usize + region.0 as usize * usize::from(self.head.order_stride);
        let order = &self.table.orders[start..start + sets.len()];
        order.iter().take_while(|position| **position != NO_SET).map(move |position| &sets[usize::from(*position)])
    }

    /// The records of neighbouring sets as one run, for sets that hold records. At least one set.
    #[inline]
    pub fn run(self, sets: std::ops::Range<u8>) -> Records<'s> {
        let (first, last) = (self.set(sets.start), self.set(sets.end - 1));
        let templates = &self.table.octets[first.at as usize..last.at as usize + last.length as usize];
        Records { templates, count: last.records_before + last.records - first.records_before }
    }

    /// The records of all sets, for sets that hold records.
    #[inline]
    pub fn all_records(self) -> Records<'s> {
        let templates = &self.table.octets[self.head.at as usize..][..self.head.length as usize];
        Records { templates, count: self.head.records }
    }
}

/// A set in the making.
#[derive(Clone, Debug)]
pub struct PolicySetData<'d> {
    /// Its health.
    pub health: HealthIndex,
    /// Its weight; 1 where the policy has no weights.
    pub weight: u8,
    /// Records; 0: the octets are those of [`RrsetData`]'s other kinds.
    pub records: u16,
    /// Templates, or what it leads to.
    pub octets: &'d [u8],
}

/// The order of preference of a policy's sets.
#[derive(Clone, Debug)]
pub enum Order {
    /// The policy has none.
    None,
    /// The order in which the sets are added, for every region.
    AsAdded,
    /// For each region, in the order of their indexes, the positions of the sets that it may have.
    ByRegion(Vec<Vec<u8>>),
}

/// A policy table in the making.
#[derive(Debug, Default)]
pub struct PolicyTableBuilder {
    policies: Vec<PolicyHead>,
    sets: Vec<PolicySet>,
    orders: Vec<u8>,
    octets: Vec<u8>,
}

impl PolicyTableBuilder {
    /// Adds a policy; at most [`SETS_MAX`] sets, which lead only to policies that have been added before. `all` is
    /// healthy while all sets are.
    pub fn add(
        &mut self,
        kind: PolicyKind,
        sets: &[PolicySetData<'_>],
        order: &Order,
        all: HealthIndex,
    ) -> PolicyIndex {
        assert!(sets.len() <= SETS_MAX, "a policy has at most {SETS_MAX} sets");
        let weights: Vec<u8> = sets.iter().map(|set| set.weight).collect();
        let (first_set, first_octet) = (offset(self.sets.len()), offset(self.octets.len()));
        let mut records_before = 0u16;
        for (set, (threshold, other)) in sets.iter().zip(shares(&weights)) {
            let at = offset(self.octets.len());
            self.octets.extend_from_slice(set.octets);
            self.sets.push(PolicySet {
                health: set.health,
                weight: set.weight,
                threshold,
                other,
                records: set.records,
                records_before,
                at,
                length: offset(set.octets.len()),
            });
            records_before = records_before.checked_add(set.records).expect("127 sets of 400 records are below 2^16");
        }
        let first_order = offset(self.orders.len());
        let count = sets.len() as u8;
        let order_stride = match order {
            Order::None => 0,
            Order::AsAdded => {
                self.orders.extend(0..count);
                0
            }
            Order::ByRegion(orders) => {
                for positions in orders {
                    let end = self.orders.len() + sets.len();
                    self.orders.extend_from_slice(positions);
                    self.orders.resize(end, NO_SET);
                }
                count
            }
        };
        self.policies.push(PolicyHead {
            kind,
            first_set,
            sets: count,
            order_stride,
            first_order,
            all,
            at: first_octet,
            length: offset(self.octets.len()) - first_octet,
            records: records_before,
        });
        PolicyIndex(offset(self.policies.len() - 1))
    }

    /// Makes the table.
    pub fn build(self) -> PolicyTable {
        PolicyTable {
            policies: self.policies.into(),
            sets: self.sets.into(),
            orders: self.orders.into(),
            octets: self.octets.into(),
        }
    }
}

/// A place in one of the table's parts.
fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("routing policies take less than 4 GiB")
}

/// Divides the random numbers among weights: for each position the threshold of its own share, and who has the rest.
/// Where all weights are 0, all are equal (Route 53 Developer Guide, routing-policy-weighted).
fn shares(weights: &[u8]) -> Vec<(u32, u8)> {
    let is_zero = weights.iter().all(|weight| *weight == 0);
    let weights: Vec<u64> = weights.iter().map(|weight| if is_zero { 1 } else { u64::from(*weight) }).collect();
    // Each part holds the sum of all weights, of which a set has its weight as often as there are parts.
    let part: u64 = weights.iter().sum();
    let mut left: Vec<u64> = weights.iter().map(|weight| weight * weights.len() as u64).collect();
    let mut shares: Vec<(u32, u8)> = (0..weights.len()).map(|own| (u32::MAX, own as u8)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|at| left[*at] < part);
    while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
        shares[poor] = (((left[poor] << 32) / part) as u32, rich as u8);
        left[rich] -= part - left[poor];
        if left[rich] < part { small.push(rich) } else { large.push(rich) }
    }
    shares
}

/// Sets of one policy: positions are octets, and members the bits of 128. Route 53 takes fewer.
pub const SETS_MAX: usize = 127;
/// Sets that a multivalue policy answers with (Route 53 Developer Guide, routing-policy-multivalue).
pub const MULTIVALUE_SETS_MAX: usize = 8;
/// No set.
const NO_SET: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of 2^32 random numbers each weight gets.
    fn measure(weights: &[u8]) -> Vec<f64> {
        let mut measured = vec![0.0; weights.len()];
        for (own, (threshold, other)) in shares(weights).into_iter().enumerate() {
            let share = (f64::from(threshold) + f64::from(u8::from(threshold == u32::MAX))) / 2f64.powi(32);
            measured[own] += share / weights.len() as f64;
            measured[usize::from(other)] += (1.0 - share) / weights.len() as f64;
        }
        measured
    }

    #[test]
    fn shares_are_in_proportion_to_the_weights() {
        let hundred: Vec<u8> = (0..100).map(|weight| weight * 2).collect();
        for weights in [&[3, 1][..], &[1], &[255, 0, 1], &[1, 1, 1], &[0, 5], &[10, 0, 0, 90], &hundred] {
            let sum: f64 = weights.iter().copied().map(f64::from).sum();
            for (share, weight) in measure(weights).into_iter().zip(weights) {
                assert!((share - f64::from(*weight) / sum).abs() < 1e-7, "{weights:?}: {weight} has {share}");
            }
        }
        assert!(measure(&[0, 0, 0, 0]).iter().all(|share| (share - 0.25).abs() < 1e-9));
        assert!(shares(&[]).is_empty());
    }

    #[test]
    fn a_weight_of_zero_gets_no_number_at_all() {
        let mut builder = PolicyTableBuilder::default();
        let set = |weight| PolicySetData { health: HealthIndex::ALWAYS, weight, records: 1, octets: b"" };
        let sets = [set(0), set(1), set(0), set(254)];
        let index = builder.add(PolicyKind::Weighted, &sets, &Order::None, HealthIndex::ALWAYS);
        let table = builder.build();
        let policy = table.policy(index);
        let edges = [0u32, 1, 1 << 30, (1 << 30) - 1, 1 << 31, (1 << 31) - 1, 3 << 30, u32::MAX];
        let spread = (0..10_000u32).map(|step| step.wrapping_mul(0x9e37_79b9));
        assert!(
            edges.into_iter().chain(spread).all(|pick| policy.set_by_weight(pick).is_some_and(|set| set.weight > 0))
        );
    }

    #[test]
    fn orders_stand_by_region() {
        let mut builder = PolicyTableBuilder::default();
        let set = |weight| PolicySetData { health: HealthIndex::ALWAYS, weight, records: 1, octets: b"" };
        let sets = [set(10), set(11), set(12)];
        let same = builder.add(PolicyKind::InOrder, &sets, &Order::AsAdded, HealthIndex::ALWAYS);
        let order = Order::ByRegion(vec![vec![2, 0, 1], vec![], vec![1]]);
        let differing = builder.add(PolicyKind::InOrder, &sets, &order, HealthIndex::ALWAYS);
        let table = builder.build();
        let order = |index, region| {
            let policy: Policy<'_> = table.policy(index);
            policy.in_order(RegionIndex(region)).map(|set| set.weight).collect::<Vec<u8>>()
        };
        assert_eq!(order(same, 2), [10, 11, 12]);
        assert_eq!(
            [order(differing, 0), order(differing, 1), order(differing, 2)],
            [vec![12, 10, 11], vec![], vec![11]]
        );
    }
}
