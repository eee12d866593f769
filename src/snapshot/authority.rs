//! Who answers for a suffix: one longest match over all kinds of source.

use super::targets::ContextIndex;
use super::zone::ZoneIndex;
use crate::dns::FoldedName;
use crate::dns::name::{LABELS_MAX, mix};

/// Who answers for a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// A zone here, and nobody else: no fall-through.
    Zone(ZoneIndex),
    /// Targets elsewhere.
    Forward(ContextIndex),
    /// Nobody: there is no upstream.
    Nothing,
}

/// One claim: this suffix is answered by this authority. Claims are shared by all tables that hold them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The suffix in folded wire form.
    pub suffix: Box<[u8]>,
    /// Who answers.
    pub authority: Authority,
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
    /// Bit n: some claim has n labels.
    depths: u128,
}

/// All authority tables.
// Invariant: every table has an empty slot, so that a search ends.
#[derive(Clone, Debug, Default)]
pub struct AuthorityTables {
    slots: Vec<Slot>,
    claims: Vec<Claim>,
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

impl AuthorityTables {
    /// The authority of the longest suffix of `name` in either table; on equal length `own` wins.
    #[inline]
    pub fn longest(&self, own: &AuthorityTable, base: &AuthorityTable, name: &FoldedName) -> Option<Authority> {
        let reachable = u128::MAX >> (LABELS_MAX - name.label_count());
        let depths = (own.depths | base.depths) & reachable;
        // Word by word, for hardly any name reaches the upper one.
        self.longest_of((depths >> 64) as u64, 64, own, base, name)
            .or_else(|| self.longest_of(depths as u64, 0, own, base, name))
    }

    /// The longest match among these label counts: bit n of `depths` stands for `least + n` labels.
    #[inline]
    fn longest_of(
        &self,
        mut depths: u64,
        least: usize,
        own: &AuthorityTable,
        base: &AuthorityTable,
        name: &FoldedName,
    ) -> Option<Authority> {
        while depths != 0 {
            let bit = depths.ilog2();
            let depth = least + bit as usize;
            for table in [own, base] {
                if (table.depths >> least) as u64 & 1 << bit != 0
                    && let Some(authority) = self.find(table, name, depth)
                {
                    return Some(authority);
                }
            }
            depths ^= 1 << bit;
        }
        None
    }

    /// The authority of exactly the suffix with `depth` labels.
    #[inline]
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
                if *claim.suffix == *name.suffix(depth) {
                    return Some(claim.authority);
                }
            }
            at = at.wrapping_add(1);
        }
    }

    /// Adds a claim for tables to hold; equal ones should be added once.
    pub fn add_claim(&mut self, claim: Claim) -> ClaimIndex {
        self.claims.push(claim);
        ClaimIndex(u32::try_from(self.claims.len() - 1).expect("fewer claims than 2^32"))
    }

    /// The claim of an index.
    pub fn claim(&self, index: ClaimIndex) -> &Claim {
        &self.claims[index.0 as usize]
    }

    /// Adds a table of claims with the hashes and label counts of their suffixes; no two claims of one suffix.
    pub fn add_table(&mut self, claims: &[(ClaimIndex, u64, usize)]) -> AuthorityTable {
        // At most half full: short searches, and always an empty slot.
        let size = (claims.len() * 2).next_power_of_two().max(2);
        let start = self.slots.len();
        self.slots.resize(start + size, Slot::default());
        let mask = size - 1;
        let mut depths = 0;
        for &(claim, suffix_hash, labels) in claims {
            let hash = slot_hash(suffix_hash);
            let mut at = hash as u32 as usize;
            while self.slots[start + (at & mask)].claim != 0 {
                at += 1;
            }
            self.slots[start + (at & mask)] = Slot { tag: (hash >> 32) as u32, claim: claim.0 + 1 };
            depths |= 1 << labels;
        }
        let start = u32::try_from(start).expect("fewer authority slots than 2^32");
        AuthorityTable { start, mask: mask as u32, depths }
    }

    /// Octets that tables and claims take.
    pub fn octets(&self) -> usize {
        let claims = self.claims.iter().map(|claim| size_of::<Claim>() + claim.suffix.len()).sum::<usize>();
        self.slots.len() * size_of::<Slot>() + claims
    }
}

/// Spreads a suffix hash over 64 bits: the lower half picks the slot, the upper one is its tag.
#[inline]
fn slot_hash(suffix_hash: u64) -> u64 {
    mix(suffix_hash, 0xa076_1d64_78bd_642f)
}
