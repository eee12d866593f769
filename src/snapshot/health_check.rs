//! Health beside the snapshot: the one thing that an answer reads and that changes while it is served.
//!
//! ```text
//! owner of a check ── set(id) ──> HealthStates ──> every table that is still read: what was seen, then what follows
//!                                                  from it (inverted and calculated checks, branches of alias trees)
//! query ── is_healthy(number) ──> HealthTable: one relaxed load
//! ```
//! The numbers belong to one snapshot; [`HealthStates`] knows checks by their ids and outlives reloads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Which entry of a [`HealthTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthIndex(u32);

impl HealthIndex {
    /// What has no check: always healthy.
    pub const ALWAYS: Self = Self(0);
}

/// What each entry of a table is, in the making: entries look only at those before them.
#[derive(Clone, Debug)]
pub struct HealthPlan {
    entries: Vec<Entry>,
}

/// How an entry comes to its value.
#[derive(Clone, Debug)]
enum Entry {
    /// Always healthy.
    Always,
    /// As somebody has seen it last.
    Seen {
        /// The id of the health check.
        id: Box<str>,
        /// What it is from now on; none: what was seen last, and healthy until anything is.
        set_to: Option<bool>,
    },
    /// Healthy while at least so many of others are; or, inverted, while they are not.
    AtLeast { threshold: u32, of: Box<[HealthIndex]>, inverted: bool },
}

impl Default for HealthPlan {
    fn default() -> Self {
        Self { entries: vec![Entry::Always] }
    }
}

impl HealthPlan {
    /// A check that somebody sets, by its id; each id once. `set_to`: what it is from now on, whatever was seen before.
    pub fn seen(&mut self, id: &str, set_to: Option<bool>) -> HealthIndex {
        self.add(Entry::Seen { id: id.into(), set_to })
    }

    /// An entry that is healthy while at least `threshold` of others are; inverted, while they are not.
    pub fn at_least(&mut self, threshold: u32, of: &[HealthIndex], inverted: bool) -> HealthIndex {
        self.add(Entry::AtLeast { threshold, of: of.into(), inverted })
    }

    /// An entry that is healthy while all of these are.
    pub fn all(&mut self, of: &[HealthIndex]) -> HealthIndex {
        let mut checked: Vec<HealthIndex> = of.iter().copied().filter(|index| *index != HealthIndex::ALWAYS).collect();
        checked.dedup();
        match *checked {
            [] => HealthIndex::ALWAYS,
            [one] => one,
            _ => self.at_least(checked.len() as u32, &checked, false),
        }
    }

    /// An entry that is healthy while any of these is.
    pub fn any(&mut self, of: &[HealthIndex]) -> HealthIndex {
        match *of {
            [one] => one,
            _ if of.contains(&HealthIndex::ALWAYS) => HealthIndex::ALWAYS,
            _ => self.at_least(1, of, false),
        }
    }

    fn add(&mut self, entry: Entry) -> HealthIndex {
        self.entries.push(entry);
        HealthIndex(u32::try_from(self.entries.len() - 1).expect("fewer entries than 2^32"))
    }
}

/// The health that one snapshot looks at. Readers need no lock; [`HealthStates`] alone writes.
#[derive(Debug)]
pub struct HealthTable {
    /// One for each entry of the plan.
    states: Box<[AtomicBool]>,
    plan: HealthPlan,
    dependents: Dependents,
    /// The entries of checks by their ids.
    seen: HashMap<Box<str>, HealthIndex>,
}

/// Who looks at an entry, of all entries: those of entry n are from `starts[n]` up to `starts[n + 1]`.
#[derive(Debug)]
struct Dependents {
    starts: Box<[u32]>,
    entries: Box<[HealthIndex]>,
}

impl Dependents {
    fn of(plan: &HealthPlan) -> Self {
        let mut pairs: Vec<(HealthIndex, HealthIndex)> = Vec::new();
        for (index, entry) in (0..).map(HealthIndex).zip(&plan.entries) {
            if let Entry::AtLeast { of, .. } = entry {
                pairs.extend(of.iter().map(|looked_at| (*looked_at, index)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let start = |index| pairs.partition_point(|(looked_at, _)| *looked_at < index) as u32;
        let starts = (0..=plan.entries.len() as u32).map(HealthIndex).map(start).collect();
        Self { starts, entries: pairs.iter().map(|(_, dependent)| *dependent).collect() }
    }

    fn of_entry(&self, index: HealthIndex) -> &[HealthIndex] {
        let at = index.0 as usize;
        &self.entries[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

impl HealthTable {
    /// Whether an entry is healthy.
    #[inline]
    pub fn is_healthy(&self, index: HealthIndex) -> bool {
        self.states[index.0 as usize].load(Ordering::Relaxed)
    }

    fn new(plan: HealthPlan, statuses: &HashMap<Box<str>, Status>) -> Self {
        let mut seen = HashMap::new();
        let states: Vec<AtomicBool> = plan.entries.iter().map(|_| AtomicBool::new(true)).collect();
        for (index, entry) in (0..).map(HealthIndex).zip(&plan.entries) {
            if let Entry::Seen { id, .. } = entry {
                seen.insert(id.clone(), index);
            }
        }
        let dependents = Dependents::of(&plan);
        let table = Self { states: states.into(), plan, dependents, seen };
        // In order, so that each entry looks at settled ones.
        for (index, entry) in (0..).map(HealthIndex).zip(&table.plan.entries) {
            let healthy = match entry {
                Entry::Seen { id, .. } => statuses.get(id).is_none_or(|status| status.healthy),
                Entry::Always | Entry::AtLeast { .. } => table.follows(index),
            };
            table.states[index.0 as usize].store(healthy, Ordering::Relaxed);
        }
        table
    }

    /// Takes up what was seen of a check, if it is one of this table's, and works out what follows from it and from
    /// nothing else: ten thousand checks may flip at once.
    fn set(&self, id: &str, healthy: bool) {
        let Some(&index) = self.seen.get(id) else { return };
        let mut due = BinaryHeap::new();
        self.store(index, healthy, &mut due);
        // The first entry first: it looks at none of the others.
        while let Some(Reverse(index)) = due.pop() {
            if due.peek() != Some(&Reverse(index)) {
                self.store(index, self.follows(index), &mut due);
            }
        }
    }

    /// Stores the state of an entry; who looks at it is due if that is another one than before.
    fn store(&self, index: HealthIndex, healthy: bool, due: &mut BinaryHeap<Reverse<HealthIndex>>) {
        if self.states[index.0 as usize].swap(healthy, Ordering::Relaxed) != healthy {
            due.extend(self.dependents.of_entry(index).iter().copied().map(Reverse));
        }
    }

    /// What an entry comes to by what it looks at.
    fn follows(&self, index: HealthIndex) -> bool {
        match &self.plan.entries[index.0 as usize] {
            Entry::Always => true,
            Entry::Seen { .. } => self.is_healthy(index),
            Entry::AtLeast { threshold, of, inverted } => {
                let healthy = of.iter().filter(|index| self.is_healthy(**index)).count();
                (healthy >= *threshold as usize) != *inverted
            }
        }
    }
}

/// What is known of health checks, by their ids, over the life of the process: the owners of checks set it, and it
/// reaches every table with that.
#[derive(Clone, Debug, Default)]
pub struct HealthStates(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What was seen last, of the checks of the newest table.
    statuses: HashMap<Box<str>, Status>,
    /// Tables that somebody may still read.
    tables: Vec<Weak<HealthTable>>,
}

#[derive(Clone, Copy, Debug)]
struct Status {
    healthy: bool,
    /// Whether the file says so.
    is_set: bool,
}

impl HealthStates {
    /// Sets the status of a check by hand; answers have it with the next query. Whether there is such a check.
    pub fn set(&self, id: &str, healthy: bool) -> bool {
        self.update(id, healthy, |_| true)
    }

    /// Takes up what somebody who watches has seen of a check, unless the file says by now what it is. Whether it was
    /// taken up.
    pub fn seen(&self, id: &str, healthy: bool) -> bool {
        self.update(id, healthy, |status| !status.is_set)
    }

    fn update(&self, id: &str, healthy: bool, may: impl Fn(&Status) -> bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(status) = known.statuses.get_mut(id).filter(|status| may(status)) else { return false };
        status.healthy = healthy;
        known.tables.retain(|table| table.upgrade().map(|table| table.set(id, healthy)).is_some());
        true
    }

    /// Makes the table of a new plan. Checks that were there before keep what was seen, unless the plan sets them; of
    /// those that are gone nothing is kept.
    pub fn table(&self, plan: HealthPlan) -> Arc<HealthTable> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut known.statuses);
        for entry in &plan.entries {
            if let Entry::Seen { id, set_to } = entry {
                let healthy = set_to.or_else(|| before.get(id).map(|status| status.healthy)).unwrap_or(true);
                known.statuses.insert(id.clone(), Status { healthy, is_set: set_to.is_some() });
            }
        }
        let table = Arc::new(HealthTable::new(plan, &known.statuses));
        known.tables.retain(|table| table.strong_count() > 0);
        known.tables.push(Arc::downgrade(&table));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn what_follows_from_checks_follows_at_once() {
        let mut plan = HealthPlan::default();
        let (a, b) = (plan.seen("a", Some(true)), plan.seen("b", Some(false)));
        let not_a = plan.at_least(1, &[a], true);
        let (both, either) = (plan.all(&[a, b]), plan.any(&[a, b]));
        let (never, ever) = (plan.at_least(3, &[a, b], false), plan.at_least(0, &[a, b], false));
        let above = plan.all(&[either, HealthIndex::ALWAYS, not_a]);
        let states = HealthStates::default();
        let table = states.table(plan);
        let all = [a, b, not_a, both, either, never, ever, above, HealthIndex::ALWAYS];
        let now = || all.map(|index| u8::from(table.is_healthy(index)));
        assert_eq!(now(), [1, 0, 0, 0, 1, 0, 1, 0, 1]);
        assert!(states.set("b", true));
        assert_eq!(now(), [1, 1, 0, 1, 1, 0, 1, 0, 1]);
        assert!(states.set("a", false));
        assert_eq!(now(), [0, 1, 1, 0, 1, 0, 1, 1, 1]);
        assert!(!states.set("nobody", true));
    }

    #[test]
    fn what_follows_is_the_same_as_if_all_were_worked_out_anew() {
        let mut random = SmallRng::seed_from_u64(11);
        for checks in [1, 2, 10, 60] {
            let mut plan = HealthPlan::default();
            let mut known: Vec<HealthIndex> = (0..checks).map(|check| plan.seen(&check.to_string(), None)).collect();
            for _ in 0..checks * 4 {
                let of: Vec<HealthIndex> =
                    (0..random.random_range(0..4)).map(|_| known[random.random_range(0..known.len())]).collect();
                known.push(plan.at_least(random.random_range(0..4), &of, random.random_bool(0.3)));
            }
            let states = HealthStates::default();
            let table = states.table(plan.clone());
            for _ in 0..200 {
                let (check, healthy) = (random.random_range(0..checks).to_string(), random.random_bool(0.5));
                assert!(states.seen(&check, healthy));
                // A table of the same plan works out everything.
                let anew = HealthTable::new(plan.clone(), &states.0.lock().expect("no panic").statuses);
                for index in &known {
                    assert_eq!(table.is_healthy(*index), anew.is_healthy(*index), "{index:?} of {plan:?}");
                }
            }
        }
    }

    #[test]
    fn a_flip_costs_what_follows_from_it_and_not_the_table() {
        const CHECKS: u32 = 20_000;
        let mut plan = HealthPlan::default();
        let checks: Vec<HealthIndex> = (0..CHECKS).map(|check| plan.seen(&check.to_string(), None)).collect();
        let inverted: Vec<HealthIndex> = checks.iter().map(|check| plan.at_least(1, &[*check], true)).collect();
        let groups: Vec<HealthIndex> = inverted.chunks(200).map(|group| plan.any(group)).collect();
        let states = HealthStates::default();
        let table = states.table(plan);
        // All flip, twice: worked out whole each time, this is more than 10^9 steps, which no test would wait for.
        for healthy in [false, true] {
            (0..CHECKS).for_each(|check| assert!(states.seen(&check.to_string(), healthy)));
            assert!(checks.iter().all(|check| table.is_healthy(*check) == healthy));
            assert!(inverted.iter().chain(&groups).all(|entry| table.is_healthy(*entry) != healthy));
        }
    }

    #[test]
    fn what_the_file_says_is_not_overruled_by_what_was_seen() {
        let states = HealthStates::default();
        let mut plan = HealthPlan::default();
        let (set, seen) = (plan.seen("set", Some(true)), plan.seen("seen", None));
        let table = states.table(plan);
        assert!(!states.seen("set", false) && states.seen("seen", false));
        assert!(table.is_healthy(set) && !table.is_healthy(seen));
        assert!(states.set("set", false), "a hand may");
        assert!(!table.is_healthy(set));
    }

    #[test]
    fn what_needs_no_entry_gets_none() {
        let mut plan = HealthPlan::default();
        let a = plan.seen("a", None);
        assert_eq!(plan.all(&[]), HealthIndex::ALWAYS);
        assert_eq!(plan.all(&[HealthIndex::ALWAYS, a]), a);
        assert_eq!(plan.any(&[a]), a);
        assert_eq!(plan.any(&[a, HealthIndex::ALWAYS]), HealthIndex::ALWAYS);
    }

    #[test]
    fn a_status_outlives_a_reload_unless_the_reload_sets_it() {
        let states = HealthStates::default();
        let table = |set_to: Option<bool>, ids: &[&str]| {
            let mut plan = HealthPlan::default();
            let indexes: Vec<HealthIndex> = ids.iter().map(|id| plan.seen(id, set_to)).collect();
            (states.table(plan), indexes)
        };
        let (first, of_first) = table(None, &["a", "b"]);
        assert!(first.is_healthy(of_first[0]), "nothing has been seen");
        states.set("a", false);
        // In another order: numbers are the table's own.
        let (second, of_second) = table(None, &["b", "a"]);
        assert!(second.is_healthy(of_second[0]) && !second.is_healthy(of_second[1]));
        // A flip reaches both while both are read.
        states.set("a", true);
        assert!(first.is_healthy(of_first[0]) && second.is_healthy(of_second[1]));
        let (set, of_set) = table(Some(false), &["a"]);
        assert!(!set.is_healthy(of_set[0]));
        assert!(!states.set("b", false), "it is gone");
        drop((first, second));
        let (again, of_again) = table(None, &["a", "b"]);
        assert!(!again.is_healthy(of_again[0]) && again.is_healthy(of_again[1]), "of b nothing was kept");
    }
}
