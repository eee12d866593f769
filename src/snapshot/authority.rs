//! Who answers for a suffix: one longest match over all kinds of source.

use super::targets::ContextIndex;
use super::zone::ZoneIndex;
use crate::dns::name::mix;
use crate::dns::{FoldedName, Name};

/// Who answers for a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// A zone here, and nobody else: no fall-through.
    Zone(ZoneIndex),
    /// A zone here for the names that are in it, and others for the rest.
    Layered(LayerIndex),
    /// Targets elsewhere.
    Forward(ContextIndex),
    /// Nobody: there is no upstream.
    Nothing,
}

/// Which of [`super::Snapshot::layers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerIndex(pub u32);

/// A zone that falls through, as one view sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// The zone.
    pub zone: ZoneIndex,
    /// Who answers for names that are not in it: whoever would if it were not there. No layer leads back to itself.
    pub beneath: Authority,
}

/// One claim: this suffix is answered by this authority. Claims are shared by all tables that hold them.
#[derive(Clone, Copy, Debug)]
struct Claim {
    authority: Authority,
    /// Where the suffix stands among [`AuthorityTables::suffixes`], and its octets.
    suffix_at: u32,
    suffix_octets: u8,
}

/// The claims of a view, or those of everyone: a region of slots, and which label counts occur in it.
///
/// A region of its own makes it impossible that one view finds what only another one claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityTable {
    /// Where its slots begin.
    start: u32,
    /// Number of slots less one; the number is a power of two.
    mask: u32,
    /// Bit n of word w: some claim has 64 w + n labels.
    depths: [u64; 2],
}

/// All authority tables.
// Invariant: every table has an empty slot, so that a search ends.
#[derive(Clone, Debug, Default)]
pub struct AuthorityTables {
    slots: Vec<Slot>,
    claims: Vec<Claim>,
    /// The suffixes of all claims in folded wire form, one after another: a thousand fit into a few pages, where a
    /// thousand allocations would be spread over the heap.
    suffixes: Vec<u8>,
    branches: Branches,
}

/// The label counts that occur in base tables under each last label, told apart by some bits of its hash. What everyone
/// claims ends in few words: names that end in another are not looked for there at all.
#[derive(Clone, Debug)]
struct Branches([Branch; 1 << BRANCH_BITS]);

/// Bits of a last label's hash that count: ten words occur in what everyone claims, so that few others meet one of them.
const BRANCH_BITS: u32 = 6;

/// The label counts below 64 that may occur in base tables under a last label, and whether it may be that of reverse names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Branch(u64);

/// In place of 0 labels, for hardly anybody claims the root for everyone: the last label may be that of reverse names.
const REVERSE: u64 = 1;

impl Default for Branches {
    fn default() -> Self {
        Self([Branch::default(); _])
    }
}

impl Branches {
    fn of(&mut self, last_label_hash: u64) -> &mut u64 {
        &mut self.0[branch_of(last_label_hash)].0
    }
}

impl Branch {
    /// Whether a name may be a reverse name of the view's own blocks: it ends in `arpa`, or in one of the few words that
    /// look like it.
    #[inline]
    pub fn may_be_reverse(self) -> bool {
        self.0 & REVERSE != 0
    }
}

/// One slot: part of the suffix's hash, and which claim (0 = empty, else index + 1).
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u32,
    claim: u32,
}

/// The claim with this index (as [`AuthorityTables::add_claim`] gave it out).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimIndex(u32);

/// A claim, and what a table needs to place it.
#[derive(Clone, Copy, Debug)]
pub struct TableClaim {
    /// The claim.
    pub claim: ClaimIndex,
    /// The hash of its suffix.
    pub suffix_hash: u64,
    /// The hash of the last label of its suffix.
    pub last_label_hash: u64,
    /// Labels of its suffix.
    pub labels: usize,
}

impl AuthorityTables {
    /// What everyone may claim of names that end as this one does.
    #[inline]
    pub fn branch(&self, name: &FoldedName) -> Branch {
        self.branches.0[branch_of(name.suffix_hash(1))]
    }

    /// The authority of the longest suffix of `name` in either table; on equal length `own` wins. `branch` is
    /// [`Self::branch`] of the name.
    #[inline]
    pub fn longest(
        &self,
        own: &AuthorityTable,
        base: &AuthorityTable,
        branch: Branch,
        name: &FoldedName,
    ) -> Option<Authority> {
        let labels = name.label_count();
        // Hardly any name has 64 labels, so the upper word is seldom looked at.
        let upper = if labels < 64 { None } else { self.longest_beyond_63(own, base, name) };
        upper.or_else(|| {
            let reachable = u64::MAX >> (63 - labels.min(63));
            self.longest_of(0, reachable, (own, own.depths[0]), (base, branch.0), name)
        })
    }

    /// The same among claims of at least `labels` labels in `own`, and of more in `base`; `labels` is below 63.
    pub fn longest_from(
        &self,
        labels: usize,
        own: &AuthorityTable,
        base: &AuthorityTable,
        name: &FoldedName,
    ) -> Option<Authority> {
        let upper = if name.label_count() < 64 { None } else { self.longest_beyond_63(own, base, name) };
        upper.or_else(|| {
            let reachable = u64::MAX >> (63 - name.label_count().min(63)) & u64::MAX << labels;
            let beyond = base.depths[0] & u64::MAX << (labels + 1);
            self.longest_of(0, reachable, (own, own.depths[0]), (base, beyond), name)
        })
    }

    /// The longest match of 64 labels or more.
    #[cold]
    fn longest_beyond_63(&self, own: &AuthorityTable, base: &AuthorityTable, name: &FoldedName) -> Option<Authority> {
        let reachable = u64::MAX >> (127 - name.label_count());
        self.longest_of(1, reachable, (own, own.depths[1]), (base, base.depths[1]), name)
    }

    /// The longest match among these label counts, 64 `word` to be added to each, as far as `reachable` has them.
    #[inline(always)]
    fn longest_of(
        &self,
        word: usize,
        reachable: u64,
        (own, own_depths): (&AuthorityTable, u64),
        (base, base_depths): (&AuthorityTable, u64),
        name: &FoldedName,
    ) -> Option<Authority> {
        let mut depths = (own_depths | base_depths) & reachable;
        while depths != 0 {
            let bit = depths.ilog2();
            let depth = word * 64 + bit as usize;
            let has = |depths: u64| depths >> bit & 1 != 0;
            if has(own_depths)
                && let Some(authority) = self.find(own, name, depth)
            {
                return Some(authority);
            }
            if has(base_depths)
                && let Some(authority) = self.find(base, name, depth)
            {
                return Some(authority);
            }
            depths ^= 1 << bit;
        }
        None
    }

    /// The authority of exactly the suffix with `depth` labels.
    #[inline(always)]
    fn find(&self, table: &AuthorityTable, name: &FoldedName, depth: usize) -> Option<Authority> {
        let hash = slot_hash(name.suffix_hash(depth));
        let mut at = hash as u32;
        loop {
            let slot = self.slots[table.start as usize + (at & table.mask) as usize];
            if slot.claim == 0 {
                return None;
            }
            if slot.tag == (hash >> 32) as u32 {
                let claim = &self.claims[slot.claim as usize - 1];
                if self.suffix(claim) == name.suffix(depth) {
                    return Some(claim.authority);
                }
            }
            at = at.wrapping_add(1);
        }
    }

    /// The suffix of a claim.
    #[inline(always)]
    fn suffix(&self, claim: &Claim) -> &[u8] {
        let at = claim.suffix_at as usize;
        &self.suffixes[at..at + usize::from(claim.suffix_octets)]
    }

    /// Adds a claim for tables to hold; equal ones should be added once.
    pub fn add_claim(&mut self, suffix: &Name, authority: Authority) -> ClaimIndex {
        let wire = suffix.as_wire();
        let suffix_at = u32::try_from(self.suffixes.len()).expect("the suffixes of all claims are below 4 GiB");
        let suffix_octets = u8::try_from(wire.len()).expect("a name has at most 255 octets");
        self.suffixes.extend_from_slice(wire);
        self.claims.push(Claim { authority, suffix_at, suffix_octets });
        ClaimIndex(u32::try_from(self.claims.len() - 1).expect("fewer claims than 2^32"))
    }

    /// Adds a table of claims; no two of one suffix.
    pub fn add_table(&mut self, claims: &[TableClaim]) -> AuthorityTable {
        // At most half full: short searches, and always an empty slot.
        let size = (claims.len() * 2).next_power_of_two().max(2);
        let start = self.slots.len();
        self.slots.resize(start + size, Slot::default());
        let mask = size - 1;
        let mut depths = [0; 2];
        for &TableClaim { claim, suffix_hash, labels, .. } in claims {
            let hash = slot_hash(suffix_hash);
            let mut at = hash as u32 as usize;
            while self.slots[start + (at & mask)].claim != 0 {
                at += 1;
            }
            self.slots[start + (at & mask)] = Slot { tag: (hash >> 32) as u32, claim: claim.0 + 1 };
            depths[labels / 64] |= 1 << (labels % 64);
        }
        let start = u32::try_from(start).expect("fewer authority slots than 2^32");
        AuthorityTable { start, mask: mask as u32, depths }
    }

    /// Adds a table of what everyone claims: a base table.
    pub fn add_base_table(&mut self, claims: &[TableClaim]) -> AuthorityTable {
        for claim in claims.iter().filter(|claim| claim.labels < 64) {
            match claim.labels {
                0 => self.branches.0.iter_mut().for_each(|branch| branch.0 |= 1),
                labels => *self.branches.of(claim.last_label_hash) |= 1 << labels,
            }
        }
        self.add_table(claims)
    }

    /// Says what the names of blocks' addresses end in, by the hash of that label.
    pub fn set_reverse(&mut self, last_label_hash: u64) {
        *self.branches.of(last_label_hash) |= REVERSE;
    }

    /// Octets that tables and claims take.
    pub fn octets(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.claims.len() * size_of::<Claim>() + self.suffixes.len()
    }
}

/// Spreads a suffix hash over 64 bits: the lower half picks the slot, the upper one is its tag.
#[inline]
fn slot_hash(suffix_hash: u64) -> u64 {
    mix(suffix_hash, 0xa076_1d64_78bd_642f)
}

/// Where the label counts under a last label stand, by its hash.
#[inline]
fn branch_of(last_label_hash: u64) -> usize {
    (last_label_hash >> (64 - BRANCH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::name_hash;
    use crate::dns::{HashSeed, Name};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SEED: HashSeed = HashSeed(11);

    fn folded(name: &Name) -> FoldedName {
        let mut folded = FoldedName::default();
        folded.read(name.as_wire(), SEED).expect("a Name is well-formed");
        folded
    }

    fn claims(tables: &mut AuthorityTables, claims: &BTreeMap<Name, Authority>) -> Vec<TableClaim> {
        let claim = |(name, authority): (&Name, &Authority)| TableClaim {
            claim: tables.add_claim(name, *authority),
            suffix_hash: name_hash(name, SEED),
            last_label_hash: folded(name).suffix_hash(1),
            labels: name.label_count(),
        };
        claims.iter().map(claim).collect()
    }

    /// A table of claims by name.
    fn table(tables: &mut AuthorityTables, by_name: &BTreeMap<Name, Authority>) -> AuthorityTable {
        let claims = claims(tables, by_name);
        tables.add_table(&claims)
    }

    /// A base table of claims by name.
    fn base_table(tables: &mut AuthorityTables, by_name: &BTreeMap<Name, Authority>) -> AuthorityTable {
        let claims = claims(tables, by_name);
        tables.add_base_table(&claims)
    }

    /// The longest match as it is asked for.
    fn longest(
        tables: &AuthorityTables,
        own: &AuthorityTable,
        base: &AuthorityTable,
        name: &Name,
    ) -> Option<Authority> {
        let name = folded(name);
        tables.longest(own, base, tables.branch(&name), &name)
    }

    /// What the longest match must be, the slow way: the name, then its parents up to the root.
    fn slowly(own: &BTreeMap<Name, Authority>, base: &BTreeMap<Name, Authority>, name: &Name) -> Option<Authority> {
        let names = std::iter::successors(Some(name.clone()), Name::parent);
        names.into_iter().find_map(|name| own.get(&name).or_else(|| base.get(&name)).copied())
    }

    /// The same among claims of `own` with at least `labels` labels, and of `base` with more.
    fn slowly_from(
        labels: usize,
        own: &BTreeMap<Name, Authority>,
        base: &BTreeMap<Name, Authority>,
        name: &Name,
    ) -> Option<Authority> {
        let long = |claims: &BTreeMap<Name, Authority>, labels| {
            let long = claims.iter().filter(|(name, _)| name.label_count() >= labels);
            long.map(|(name, authority)| (name.clone(), *authority)).collect()
        };
        slowly(&long(own, labels), &long(base, labels + 1), name)
    }

    /// Names of few labels out of a small alphabet, so that they meet; some of over 64 labels.
    fn names() -> impl Strategy<Value = Name> {
        let short = prop::collection::vec(0u8..3, 0..5);
        let long = prop::collection::vec(0u8..2, 62..68);
        prop_oneof![8 => short, 1 => long].prop_map(|labels| {
            let labels: Vec<[u8; 1]> = labels.into_iter().map(|label| [b'a' + label]).collect();
            Name::from_labels(labels.iter().map(<[u8; 1]>::as_slice)).expect("at most 67 labels of one octet")
        })
    }

    proptest! {
        #[test]
        fn longest_match_equals_the_slow_way(
            own in prop::collection::btree_map(names(), (0u32..50).prop_map(|zone| Authority::Zone(ZoneIndex(zone))), 0..20),
            base in prop::collection::btree_map(
                names(),
                (0u32..50).prop_map(|context| Authority::Forward(ContextIndex(context))),
                0..20,
            ),
            other in prop::collection::btree_map(names(), Just(Authority::Nothing), 0..20),
            asked in prop::collection::vec(names(), 1..30),
            labels in 0usize..5,
        ) {
            let mut tables = AuthorityTables::default();
            let own_table = table(&mut tables, &own);
            // Another view's claims stand between, and must never be found.
            table(&mut tables, &other);
            let base_table = base_table(&mut tables, &base);
            for name in asked.iter().chain(own.keys()).chain(base.keys()).chain(other.keys()) {
                let found = longest(&tables, &own_table, &base_table, name);
                prop_assert_eq!(found, slowly(&own, &base, name), "{}", name);
                let found = tables.longest_from(labels, &own_table, &base_table, &folded(name));
                prop_assert_eq!(found, slowly_from(labels, &own, &base, name), "{} from {} labels", name, labels);
            }
        }
    }

    #[test]
    fn on_equal_length_the_own_table_wins() {
        let name = Name::from_labels([b"corp".as_slice(), b"example"]).expect("short");
        let (one, other) = (Authority::Zone(ZoneIndex(1)), Authority::Zone(ZoneIndex(2)));
        for (own, base) in [(one, other), (other, one)] {
            let mut tables = AuthorityTables::default();
            let own_table = table(&mut tables, &BTreeMap::from([(name.clone(), own)]));
            let base_table = base_table(&mut tables, &BTreeMap::from([(name.clone(), base)]));
            assert_eq!(longest(&tables, &own_table, &base_table, &name), Some(own));
        }
    }

    #[test]
    fn only_names_with_the_last_label_of_reverse_names_may_be_such() {
        let named = |label: &[u8]| Name::from_labels([b"10".as_slice(), b"in-addr", label]).expect("short");
        let mut tables = AuthorityTables::default();
        let may_be =
            |tables: &AuthorityTables, label: &str| tables.branch(&folded(&named(label.as_bytes()))).may_be_reverse();
        assert!(!may_be(&tables, "arpa"));
        tables.set_reverse(folded(&named(b"arpa")).suffix_hash(1));
        assert!(may_be(&tables, "arpa"));
        let others = (0..200u8).filter(|number| may_be(&tables, &format!("tld{number}")));
        assert!(others.count() < 20, "one in 64 looks like it");
    }
}
