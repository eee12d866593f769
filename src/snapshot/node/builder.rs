//! A node table in the making: from scratch, or out of the one before it.
//!
//! An edit changes few of a million names. Zones that did not change keep their nodes where they are, in octets that both
//! tables share. What is new stands in octets that the new table has for itself. What went since the shared octets were made
//! is waste there, and what came is copied from table to table; where the two come to too much, all nodes are copied, and
//! what is shared from then on is new. Slots are a copy of the old ones with the difference put in, where that is less work
//! than to enter all.

use super::{ALIGNMENT, Arena, Extent, Node, NodeTable, SLOT_OCTETS, Slot, place_of};
use crate::dns::{FoldedName, HashSeed, Rtype};
use crate::snapshot::pages::Pages;
use crate::snapshot::zone::ZoneIndex;
use std::sync::Arc;

/// Which part of the shared octets may be wasted or copied with each table: one in so many.
const WASTE_SHARE: usize = 16;
/// Octets below which nobody minds waste or copies.
const WASTE_OCTETS_MIN: usize = 1 << 20;

/// A node table in the making.
pub struct NodeTableBuilder<'b> {
    hash: NodeHash,
    before: Option<&'b NodeTable>,
    /// Zones whose nodes are those of the table before.
    kept: Vec<Kept>,
    /// The nodes of all others.
    fresh: Vec<u8>,
    /// Where these stand, as if nothing were before them; empty for zones that are kept.
    extents: Vec<Extent>,
    /// [`WASTE_OCTETS_MIN`], but in tests.
    waste_octets_min: usize,
}

/// A zone that has the nodes that it had before, under another index perhaps.
#[derive(Clone, Copy)]
struct Kept {
    was: ZoneIndex,
    is: ZoneIndex,
}

impl<'b> NodeTableBuilder<'b> {
    /// A table whose hashes start from `seed`, as those of the table `before` did, of which zones may be kept.
    pub fn new(seed: HashSeed, before: Option<&'b NodeTable>) -> Self {
        Self {
            hash: NodeHash::Seeded(seed),
            before,
            kept: Vec::new(),
            fresh: Vec::new(),
            extents: Vec::new(),
            waste_octets_min: WASTE_OCTETS_MIN,
        }
    }

    /// Room for nodes of so many octets in all: without it a large table is copied as it grows.
    pub fn reserve(&mut self, octets: usize) {
        self.fresh.reserve(octets);
    }

    /// Keeps the names of the zone that `was` there before as those of the one that `is` there now, to which nothing is
    /// added.
    pub fn keep(&mut self, was: ZoneIndex, is: ZoneIndex) {
        assert!(self.before.is_some(), "there is nothing to keep");
        self.kept.push(Kept { was, is });
    }

    /// Adds a node. `rrsets` are (type, records, octets), where records are 0 for [`super::alias_octets`] and
    /// [`super::policy_octets`]; no two of one (zone, name), and those of one zone one after another.
    pub fn add(&mut self, zone: ZoneIndex, name: &[u8], flags: u8, rrsets: &[(Rtype, u16, &[u8])]) {
        let place = place_of(self.fresh.len());
        let name_octets = u8::try_from(name.len()).expect("a name has at most 255 octets");
        let count = u16::try_from(rrsets.len()).expect("a name has at most 65,535 types");
        let fresh = &mut self.fresh;
        fresh.extend_from_slice(&zone.0.to_le_bytes());
        fresh.extend_from_slice(&[name_octets, flags]);
        fresh.extend_from_slice(&count.to_le_bytes());
        fresh.extend_from_slice(name);
        for (rtype, records, octets) in rrsets {
            let length = u32::try_from(octets.len()).expect("an RRset is below 4 GiB");
            fresh.extend_from_slice(&rtype.0.to_le_bytes());
            fresh.extend_from_slice(&records.to_le_bytes());
            fresh.extend_from_slice(&length.to_le_bytes());
        }
        for (_, _, octets) in rrsets {
            fresh.extend_from_slice(octets);
        }
        fresh.resize(fresh.len().next_multiple_of(ALIGNMENT), 0);
        let end = place_of(fresh.len());
        if self.extents.len() <= zone.0 as usize {
            self.extents.resize(zone.0 as usize + 1, Extent::default());
        }
        let extent = &mut self.extents[zone.0 as usize];
        if extent.names == 0 {
            extent.start = place;
        }
        assert!(extent.names == 0 || extent.end == place, "the names of a zone stand together");
        extent.end = end;
        extent.names += 1;
    }

    /// Makes the table.
    pub fn build(self) -> NodeTable {
        let (names, hash, before) = (self.names(), self.hash, self.before);
        let Arranged { arena, extents, stays } = self.arrange();
        let does_not_stay = |zone: &usize| stays.get(*zone).is_none_or(|stays| !stays);
        let coming = (0..extents.len()).filter(does_not_stay).map(|zone| extents[zone]);
        let slots = match before {
            None => SlotsBuilder::of(names, extents.iter().copied(), &arena, hash),
            Some(before) => {
                let going = (0..before.extents.len()).filter(does_not_stay).map(|zone| before.extents[zone]);
                let different: usize = going.clone().chain(coming.clone()).map(|extent| extent.names as usize).sum();
                let is_same_size = before.slots.len() == slots_for(names) * SLOT_OCTETS;
                // To take one out and put one in costs twice what it costs to put one in where nothing is.
                if is_same_size && different <= names / 2 {
                    let mut slots = SlotsBuilder { octets: Pages::copy_of(&before.slots), mask: before.mask };
                    for (place, node) in going.flat_map(|extent| before.arena.nodes(extent)) {
                        slots.remove(hash.of(node), place, |place| hash.of(before.arena.node(place)));
                    }
                    slots.insert_all(coming, &arena, hash);
                    slots
                } else {
                    SlotsBuilder::of(names, extents.iter().copied(), &arena, hash)
                }
            }
        };
        NodeTable { slots: slots.octets, mask: slots.mask, arena, extents: extents.into(), names }
    }

    /// How many names there will be.
    fn names(&self) -> usize {
        let kept = self.kept_extents().map(|(_, extent)| extent);
        kept.chain(self.extents.iter().copied()).map(|extent| extent.names as usize).sum()
    }

    /// Zones that are kept, and where they were.
    fn kept_extents(&self) -> impl Iterator<Item = (Kept, Extent)> {
        let before = self.before;
        self.kept.iter().map(move |kept| (*kept, before.map_or_else(Extent::default, |before| before.extent(kept.was))))
    }

    /// Puts nodes where they will stand. Those of the first of all tables are shared with whatever comes after it.
    fn arrange(self) -> Arranged {
        let (mut staying, mut moving): (Vec<_>, Vec<_>) = self.kept_extents().partition(|(kept, extent)| {
            self.before.is_some_and(|before| kept.was == kept.is && before.arena.is_shared(*extent))
        });
        let Self { before, fresh, mut extents, waste_octets_min, .. } = self;
        let Some(before) = before else {
            let arena = Arena::new(Arc::new(Pages::keep(fresh)), Pages::zeroed(0));
            return Arranged { arena, extents, stays: Vec::new() };
        };
        let shared = before.arena.shared.len();
        let waste = shared - octets_of(&staying) + octets_of(&moving);
        if waste <= (shared / WASTE_SHARE).max(waste_octets_min) {
            let mut own = Part::new(octets_of(&moving) + fresh.len(), shared);
            own.copy_all(&before.arena, &mut moving);
            own.append(&fresh, &mut extents);
            enter(&mut extents, staying.iter().chain(&moving));
            let mut stays = vec![false; before.extents.len()];
            staying.iter().for_each(|(kept, _)| stays[kept.is.0 as usize] = true);
            let arena = Arena::new(Arc::clone(&before.arena.shared), own.octets);
            return Arranged { arena, extents, stays };
        }
        // What was kept this time is likely to be kept the next time too, so it is what will be shared.
        staying.append(&mut moving);
        let mut shared = Part::new(octets_of(&staying), 0);
        shared.copy_all(&before.arena, &mut staying);
        let mut own = Part::new(fresh.len(), shared.octets.len());
        own.append(&fresh, &mut extents);
        enter(&mut extents, &staying);
        Arranged { arena: Arena::new(Arc::new(shared.octets), own.octets), extents, stays: Vec::new() }
    }
}

/// Nodes where they will stand.
struct Arranged {
    arena: Arena,
    extents: Vec<Extent>,
    /// Zones whose nodes are at the places where they were, by an index that is the same in both tables.
    stays: Vec<bool>,
}

/// Octets of the nodes of zones that are kept.
fn octets_of(kept: &[(Kept, Extent)]) -> usize {
    kept.iter().map(|(_, extent)| extent.octets()).sum()
}

/// Enters where zones that are kept stand now.
fn enter<'k>(extents: &mut Vec<Extent>, kept: impl IntoIterator<Item = &'k (Kept, Extent)>) {
    for (kept, extent) in kept {
        let zone = kept.is.0 as usize;
        if extents.len() <= zone {
            extents.resize(zone + 1, Extent::default());
        }
        extents[zone] = *extent;
    }
}

/// The shared or the own part of an arena in the making.
struct Part {
    octets: Pages,
    /// Up to where it is filled.
    at: usize,
    /// Octets of the part before it.
    octets_before: usize,
}

impl Part {
    fn new(octets: usize, octets_before: usize) -> Self {
        Self { octets: Pages::zeroed(octets), at: 0, octets_before }
    }

    /// Puts octets behind those that are there; from which place on they stand.
    fn push(&mut self, octets: &[u8]) -> u32 {
        let place = place_of(self.octets_before + self.at);
        self.octets[self.at..self.at + octets.len()].copy_from_slice(octets);
        self.at += octets.len();
        place
    }

    /// Copies the nodes of zones from where they were, as those of the zones that they are now, and says where they stand.
    fn copy_all(&mut self, from: &Arena, kept: &mut [(Kept, Extent)]) {
        for (kept, extent) in kept {
            let mut at = self.at;
            let start = self.push(from.octets_of(*extent));
            while at < self.at {
                let octets = Node::read(&self.octets[at..]).octets();
                self.octets[at..at + size_of::<u32>()].copy_from_slice(&kept.is.0.to_le_bytes());
                at += octets;
            }
            *extent = Extent { start, end: start + (extent.end - extent.start), names: extent.names };
        }
    }

    /// Appends nodes of which it is known where they stand among themselves.
    fn append(&mut self, fresh: &[u8], extents: &mut [Extent]) {
        let further = self.push(fresh) - place_of(0);
        for extent in extents.iter_mut().filter(|extent| extent.names > 0) {
            *extent = Extent { start: extent.start + further, end: extent.end + further, ..*extent };
        }
    }
}

/// The slots of a table in the making.
// Invariant: as those of a table, and between the slot that a hash calls for and the one that its node has none is empty.
struct SlotsBuilder {
    octets: Pages,
    mask: usize,
}

impl SlotsBuilder {
    /// Those of so many names, all of which stand there.
    fn of(names: usize, extents: impl Iterator<Item = Extent>, arena: &Arena, hash: NodeHash) -> Self {
        let count = slots_for(names);
        let mut slots = Self { octets: Pages::zeroed(count * SLOT_OCTETS), mask: count - 1 };
        slots.insert_all(extents, arena, hash);
        slots
    }

    /// Enters all nodes that stand there.
    fn insert_all(&mut self, extents: impl Iterator<Item = Extent>, arena: &Arena, hash: NodeHash) {
        for (place, node) in extents.flat_map(|extent| arena.nodes(extent)) {
            self.insert(hash.of(node), place);
        }
    }

    fn slot(&mut self, at: usize) -> &mut [u8; SLOT_OCTETS] {
        &mut self.octets.as_chunks_mut().0[at & self.mask]
    }

    /// Enters a node.
    fn insert(&mut self, hash: u64, place: u32) {
        let mut at = hash as usize;
        while Slot::read(*self.slot(at)).place != 0 {
            at = at.wrapping_add(1);
        }
        *self.slot(at) = Slot { tag: (hash >> 32) as u32, place }.write();
    }

    /// Takes out the node of a hash at a place, and moves those behind it up, so that their search does not end before
    /// them (Knuth, The Art of Computer Programming, volume 3, 6.4, Algorithm R). `hash_at` says the hash of the node at a
    /// place.
    fn remove(&mut self, hash: u64, place: u32, hash_at: impl Fn(u32) -> u64) {
        let mut hole = hash as usize;
        loop {
            match Slot::read(*self.slot(hole)).place {
                found if found == place => break,
                0 => unreachable!("every node has a slot"),
                _ => hole = hole.wrapping_add(1),
            }
        }
        let mut at = hole;
        loop {
            at = at.wrapping_add(1);
            let octets = *self.slot(at);
            let slot = Slot::read(octets);
            if slot.place == 0 {
                break;
            }
            // It may go as far up as the slot that its hash calls for: how far it is behind that one, and the hole.
            let behind = at.wrapping_sub(hash_at(slot.place) as usize) & self.mask;
            if behind >= at.wrapping_sub(hole) & self.mask {
                *self.slot(hole) = octets;
                hole = at;
            }
        }
        *self.slot(hole) = [0; SLOT_OCTETS];
    }
}

/// What makes hashes of nodes.
#[derive(Clone, Copy)]
enum NodeHash {
    Seeded(HashSeed),
    /// One for all names, so that they all collide.
    #[cfg(test)]
    Same(u64),
}

impl NodeHash {
    fn of(self, node: Node<'_>) -> u64 {
        match self {
            Self::Seeded(seed) => {
                let mut name = FoldedName::default();
                name.read(node.name(), seed).expect("a node's name is well-formed");
                NodeTable::hash(ZoneIndex(node.zone()), name.suffix_hash(name.label_count()))
            }
            #[cfg(test)]
            Self::Same(hash) => hash,
        }
    }
}

/// Slots of a table of so many names: at most two thirds of them are taken.
fn slots_for(names: usize) -> usize {
    (names * 3 / 2 + 1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::template;
    use crate::snapshot::node::{HAS_WILDCARD_CHILD, RrsetData};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::Range;

    /// One that does not mind waste of a kilooctet.
    fn builder(hash: NodeHash, before: Option<&NodeTable>) -> NodeTableBuilder<'_> {
        NodeTableBuilder { hash, waste_octets_min: 1 << 10, ..NodeTableBuilder::new(HashSeed(0), before) }
    }

    fn name(index: u8) -> [u8; 5] {
        [3, b'n', b'0' + index / 10, b'0' + index % 10, 0]
    }

    /// A TXT record of one octet.
    fn record(octet: u8) -> Vec<u8> {
        let mut octets = Vec::new();
        template(&mut octets, Rtype::TXT, 60, &[octet]);
        octets
    }

    fn add(builder: &mut NodeTableBuilder<'_>, zone: u32, names: impl IntoIterator<Item = (u8, u8)>) {
        for (index, octet) in names {
            builder.add(ZoneIndex(zone), &name(index), 0, &[(Rtype::TXT, 1, &record(octet))]);
        }
    }

    /// What a name of a zone has.
    fn found(table: &NodeTable, hash: NodeHash, zone: u32, index: u8) -> Option<u8> {
        let name = name(index);
        let of_name = match hash {
            NodeHash::Same(hash) => hash,
            NodeHash::Seeded(seed) => {
                let mut folded = FoldedName::default();
                folded.read(&name, seed).expect("a name");
                NodeTable::hash(ZoneIndex(zone), folded.suffix_hash(1))
            }
        };
        let node = table.find(ZoneIndex(zone), of_name, &name)?;
        assert_eq!(node.name(), name);
        match node.rrset(Rtype::TXT) {
            Some(RrsetData::Records(records)) => records.templates.last().copied(),
            _ => panic!("a TXT set"),
        }
    }

    #[test]
    fn names_are_found_by_zone_and_name_though_all_hashes_collide() {
        let hash = NodeHash::Same(7);
        let mut builder = builder(hash, None);
        for zone in 0..2 {
            add(&mut builder, zone, (0..100).filter(|index| u32::from(index % 2) == zone).map(|index| (index, index)));
        }
        let table = builder.build();
        for index in 0..100 {
            let own = u32::from(index % 2);
            assert_eq!(found(&table, hash, own, index), Some(index));
            assert_eq!(found(&table, hash, 1 - own, index), None, "of the other zone");
        }
        assert!(table.find(ZoneIndex(0), 7, b"\x03nxx\x00").is_none());
    }

    #[test]
    fn a_wildcard_is_found_by_its_closest_encloser_only() {
        let mut builder = builder(NodeHash::Same(1), None);
        builder.add(ZoneIndex(0), b"\x01*\x01a\x00", 0, &[]);
        builder.add(ZoneIndex(0), b"\x01x\x01a\x00", HAS_WILDCARD_CHILD, &[]);
        let table = builder.build();
        assert!(table.find_wildcard(ZoneIndex(0), 1, b"\x01a\x00").is_some());
        assert!(table.find_wildcard(ZoneIndex(0), 1, b"\x01b\x00").is_none());
        assert!(table.find_wildcard(ZoneIndex(1), 1, b"\x01a\x00").is_none());
        let flagged = table.find(ZoneIndex(0), 1, b"\x01x\x01a\x00").expect("it was added");
        assert!(flagged.has_wildcard_child());
    }

    /// Zones by what they are called, each with its index and its names.
    type World = BTreeMap<u8, (u32, BTreeMap<u8, u8>)>;

    /// The table of a world: zones of `kept` as they are in the one before.
    fn table(world: &World, before: Option<(&NodeTable, &World)>, kept: &[u8], hash: NodeHash) -> NodeTable {
        let mut builder = builder(hash, before.map(|(table, _)| table));
        for (id, (zone, names)) in world {
            match before.and_then(|(_, was)| was.get(id)).filter(|_| kept.contains(id)) {
                Some((was, _)) => builder.keep(ZoneIndex(*was), ZoneIndex(*zone)),
                None => add(&mut builder, *zone, names.iter().map(|(name, octet)| (*name, *octet))),
            }
        }
        builder.build()
    }

    fn check(table: &NodeTable, world: &World, hash: NodeHash) {
        assert_eq!(table.len(), world.values().map(|(_, names)| names.len()).sum::<usize>());
        let taken = table.slots.as_chunks().0.iter().filter(|slot| Slot::read(**slot).place != 0).count();
        assert_eq!(taken, table.len(), "a slot for each name and no other");
        let by_index: BTreeMap<u32, &BTreeMap<u8, u8>> = world.values().map(|(zone, names)| (*zone, names)).collect();
        for zone in 0..12 {
            for index in 0..NAMES {
                let expected = by_index.get(&zone).and_then(|names| names.get(&index)).copied();
                assert_eq!(found(table, hash, zone, index), expected, "name {index} of zone {zone}");
            }
        }
    }

    const NAMES: u8 = 40;

    fn worlds() -> impl Strategy<Value = (World, Vec<u8>)> {
        let names = prop::collection::btree_map(0..NAMES, any::<u8>(), 1..NAMES as usize);
        let zones = prop::collection::btree_map(0u8..8, names, 0..8);
        let indexes = Just((0..12).collect::<Vec<u32>>()).prop_shuffle();
        (zones, indexes, prop::collection::vec(0u8..8, 0..8), any::<bool>()).prop_map(
            |(zones, mut indexes, kept, is_in_order)| {
                if is_in_order {
                    indexes.sort_unstable();
                }
                let with_index = zones.into_iter().zip(indexes).map(|((id, names), zone)| (id, (zone, names)));
                (with_index.collect(), kept)
            },
        )
    }

    proptest! {
        /// Whatever is kept and whatever comes and goes, a table made out of others finds what one from scratch finds.
        #[test]
        fn a_table_out_of_others_is_as_one_from_scratch(
            steps in prop::collection::vec(worlds(), 1..12),
            do_all_collide: bool,
            seed: u64,
        ) {
            let hash = if do_all_collide { NodeHash::Same(u64::MAX) } else { NodeHash::Seeded(HashSeed(seed)) };
            let mut before: Option<(NodeTable, World)> = None;
            for (mut world, kept) in steps {
                // What is kept says what it said.
                for (id, (_, names)) in &mut world {
                    if let Some((_, was)) = before.as_ref().and_then(|(_, was)| was.get(id)).filter(|_| kept.contains(id)) {
                        names.clone_from(was);
                    }
                }
                let next = table(&world, before.as_ref().map(|(table, world)| (table, world)), &kept, hash);
                check(&next, &world, hash);
                // Who still reads the one before finds what was there.
                if let Some((table, world)) = &before {
                    check(table, world, hash);
                }
                before = Some((next, world));
            }
        }
    }

    /// That many zones of 100 names of a kilooctet each.
    fn large(zones: u32, before: Option<&NodeTable>, changed: Range<u32>) -> NodeTable {
        let hash = NodeHash::Seeded(HashSeed(5));
        let mut builder = builder(hash, before);
        let octets = vec![0; 1024];
        for zone in 0..zones {
            match before.is_some() && !changed.contains(&zone) {
                true => builder.keep(ZoneIndex(zone), ZoneIndex(zone)),
                false => (0..100).for_each(|index| {
                    builder.add(ZoneIndex(zone), &name(index), 0, &[(Rtype::TXT, 1, &octets)]);
                }),
            }
        }
        builder.build()
    }

    #[test]
    fn what_did_not_change_is_shared_until_too_much_did() {
        let first = large(400, None, 0..0);
        let octets = first.octets();
        assert_eq!(first.arena.own.len(), 0);
        // One after another; at a sixteenth everything is put together anew, and shared from there on.
        let (mut table, mut times_anew) = (large(400, Some(&first), 0..1), 0);
        for zone in 1..200 {
            let next = large(400, Some(&table), zone..zone + 1);
            let waste = next.octets() - octets;
            assert!(waste <= octets / WASTE_SHARE + octets / 400, "{waste} octets more than {octets}");
            times_anew += usize::from(!Arc::ptr_eq(&next.arena.shared, &table.arena.shared));
            table = next;
        }
        assert!((4..=16).contains(&times_anew), "{times_anew} times");
        // The same one again and again is no more than once.
        let mut same = large(400, Some(&first), 0..1);
        for _ in 0..50 {
            same = large(400, Some(&same), 0..1);
            assert!(Arc::ptr_eq(&same.arena.shared, &first.arena.shared));
            assert_eq!(same.arena.own.len(), first.arena.shared.len() / 400);
        }
    }

    #[test]
    fn what_is_never_kept_is_not_shared() {
        let parts = |table: &NodeTable| (table.arena.shared.len(), table.arena.own.len());
        let first = large(40, None, 0..0);
        let (all, _) = parts(&first);
        let second = large(40, Some(&first), 0..40);
        assert_eq!(parts(&second), (0, all));
        let third = large(40, Some(&second), 0..20);
        assert_eq!(parts(&third), (all / 2, all / 2));
        let fourth = large(40, Some(&third), 0..20);
        assert!(Arc::ptr_eq(&fourth.arena.shared, &third.arena.shared));
        assert_eq!(fourth.octets(), first.octets());
    }
}
