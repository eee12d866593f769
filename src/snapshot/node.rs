//! Names and their records: one table over all zones, keyed by (zone, name).
//!
//! A slot of 8 octets holds part of the hash and where the node stands in the arena; the node holds name, directory
//! and records one after another, so that an answer costs two cache misses: the slot and the node.
//!
//! ```text
//! node      zone u32 | name octets u8 | flags u8 | RRsets u16 | name | entries | records
//! entry     type u16 | records u16 | octets u32      (records = 0: no records but what leads to some)
//! records   owner pointer C00C | type | class | TTL | rdata octets | rdata, ready to be copied into a reply
//! leads to  0 | an alias's target, a name            or 1 | the index of a routing policy u32
//! ```

mod builder;

pub use builder::NodeTableBuilder;

use super::pages::Pages;
use super::routing_policy::PolicyIndex;
use super::zone::ZoneIndex;
use crate::dns::Rtype;
use crate::dns::name::mix;
use crate::dns::reply::TEMPLATE_HEAD_OCTETS;
use std::sync::Arc;

/// Octets of a slot.
const SLOT_OCTETS: usize = 8;
/// Octets of a directory entry.
const ENTRY_OCTETS: usize = 8;
/// Nodes begin at multiples of this, so that 32 bits reach 32 GiB.
const ALIGNMENT: usize = 8;

/// Arenas below this stay in the second-level cache by themselves.
const TOUCHED_ARENA_OCTETS_MIN: usize = 256 * 1024;

/// Flag: a `*` stands directly below this name, so it may be a source of synthesis (RFC 4592 section 3.3.1).
pub const HAS_WILDCARD_CHILD: u8 = 1;

/// The names and records of all zones.
// Invariant: at most two thirds of the slots are taken, so that a search ends; every slot's place is a whole node.
pub struct NodeTable {
    slots: Pages,
    mask: usize,
    arena: Arena,
    /// Where the nodes of each zone stand, by [`ZoneIndex`].
    extents: Box<[Extent]>,
    names: usize,
}

/// Nodes in two parts; their places go on from one to the other.
struct Arena {
    /// Those that other snapshots may have too: zones that did not change from one to the next stay where they are.
    shared: Arc<Pages>,
    /// Those of one snapshot alone.
    own: Pages,
    /// The first place in them.
    own_start: u32,
}

impl Arena {
    fn new(shared: Arc<Pages>, own: Pages) -> Self {
        let own_start = place_of(shared.len());
        Self { shared, own, own_start }
    }

    /// The octets that a place is among, and where it is there.
    #[inline]
    fn octets_at(&self, place: u32) -> (&[u8], usize) {
        match place.checked_sub(self.own_start) {
            None => (&self.shared, (place as usize).saturating_sub(1) * ALIGNMENT),
            Some(further) => (&self.own, further as usize * ALIGNMENT),
        }
    }

    /// The node at a place.
    #[inline]
    fn node(&self, place: u32) -> Node<'_> {
        let (octets, at) = self.octets_at(place);
        Node::read(&octets[at..])
    }

    /// Octets of both parts.
    fn octets(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether nodes stand in the shared part.
    fn is_shared(&self, extent: Extent) -> bool {
        extent.names > 0 && extent.start < self.own_start
    }

    /// The octets of nodes that stand one after another.
    fn octets_of(&self, extent: Extent) -> &[u8] {
        let (octets, at) = self.octets_at(extent.start);
        &octets[at..at + extent.octets()]
    }

    /// Nodes that stand one after another, and their places.
    fn nodes(&self, extent: Extent) -> impl Iterator<Item = (u32, Node<'_>)> {
        let mut rest = self.octets_of(extent);
        let mut place = extent.start;
        std::iter::from_fn(move || {
            let node = (!rest.is_empty()).then(|| Node::read(rest))?;
            let found = (place, node);
            rest = &rest[node.octets()..];
            place += (node.octets() / ALIGNMENT) as u32;
            Some(found)
        })
    }
}

/// Where the nodes of a zone stand, one after another: from a place up to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    start: u32,
    end: u32,
    /// How many there are.
    names: u32,
}

impl Extent {
    fn octets(self) -> usize {
        (self.end - self.start) as usize * ALIGNMENT
    }
}

/// One slot: part of the hash, and where the node stands in units of 8 octets, plus one; 0 = empty.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    place: u32,
}

impl Slot {
    #[inline]
    fn read(octets: [u8; SLOT_OCTETS]) -> Self {
        let word = u64::from_le_bytes(octets);
        Self { tag: (word >> 32) as u32, place: word as u32 }
    }

    fn write(self) -> [u8; SLOT_OCTETS] {
        (u64::from(self.tag) << 32 | u64::from(self.place)).to_le_bytes()
    }
}

impl NodeTable {
    /// The hash of a name in a zone, from the name's own hash.
    #[inline]
    pub fn hash(zone: ZoneIndex, name_hash: u64) -> u64 {
        mix(name_hash ^ (u64::from(zone.0) + 1) << 32, 0xe703_7ed1_a0b4_28db)
    }

    /// The node of exactly this name.
    #[inline]
    pub fn find(&self, zone: ZoneIndex, hash: u64, name: &[u8]) -> Option<Node<'_>> {
        self.search(hash, |node| node.zone() == zone.0 && node.name() == name)
    }

    /// The node of `*` below a closest encloser.
    #[inline(never)]
    pub fn find_wildcard(&self, zone: ZoneIndex, hash: u64, closest_encloser: &[u8]) -> Option<Node<'_>> {
        self.search(hash, |node| node.zone() == zone.0 && node.name().strip_prefix(b"\x01*") == Some(closest_encloser))
    }

    /// The slot at a place that may lie beyond the last one: then it counts on from the first.
    #[inline]
    fn slot(&self, at: usize) -> Slot {
        Slot::read(self.slots.as_chunks().0[at & self.mask])
    }

    /// Walks the slots from a hash's own one to the first empty one.
    #[inline(always)]
    fn search(&self, hash: u64, is_it: impl Fn(Node<'_>) -> bool) -> Option<Node<'_>> {
        let mut at = hash as usize;
        loop {
            let slot = self.slot(at);
            if slot.place == 0 {
                return None;
            }
            if slot.tag == (hash >> 32) as u32 {
                let node = self.arena.node(slot.place);
                if is_it(node) {
                    return Some(node);
                }
            }
            at = at.wrapping_add(1);
        }
    }

    /// Reads the first slot of a hash into the caches; the place in it is for [`Self::touch_node`].
    #[inline]
    pub fn touch_slot(&self, hash: u64) -> u32 {
        self.slot(hash as usize).place
    }

    /// Reads the node at a place into the caches. What it returns must be used, or the reading is optimised away.
    #[inline]
    pub fn touch_node(&self, place: u32) -> u8 {
        let (octets, at) = self.arena.octets_at(place);
        // The second cache line holds the records of a name of ordinary length.
        let second = octets.get(at + 63).copied().unwrap_or(0);
        octets.get(at).copied().unwrap_or(0) ^ second
    }

    /// Whether table and arena outgrow a second-level cache, so that touching them first pays.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.arena.octets() > TOUCHED_ARENA_OCTETS_MIN
    }

    /// Where the nodes of a zone stand; one that is not there has none.
    fn extent(&self, zone: ZoneIndex) -> Extent {
        self.extents.get(zone.0 as usize).copied().unwrap_or_default()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names == 0
    }

    /// Octets of table and arena.
    pub fn octets(&self) -> usize {
        self.slots.len() + self.arena.octets() + size_of_val(&*self.extents)
    }

    /// Octets that the table after this one takes beside it, if no more is added than there is room for: where all nodes
    /// are copied, and the slots become twice as many.
    pub fn octets_after(&self) -> usize {
        self.octets() + self.slots.len()
    }
}

/// The place of what begins at an octet.
fn place_of(octet: usize) -> u32 {
    u32::try_from(octet / ALIGNMENT + 1).expect("zone data is below 32 GiB")
}

/// One name of one zone.
#[derive(Clone, Copy)]
pub struct Node<'s> {
    /// The octets before the name, read at once.
    head: u64,
    /// From the name to the end of the arena.
    body: &'s [u8],
}

impl<'s> Node<'s> {
    /// The node that octets begin with.
    #[inline]
    fn read(octets: &'s [u8]) -> Self {
        let (head, body) = octets.split_first_chunk().expect("every place is a whole node's");
        Self { head: u64::from_le_bytes(*head), body }
    }

    #[inline]
    fn zone(self) -> u32 {
        self.head as u32
    }

    /// Octets of the name.
    #[inline]
    fn name_octets(self) -> usize {
        usize::from((self.head >> 32) as u8)
    }

    /// The name in folded wire form.
    #[inline]
    pub fn name(self) -> &'s [u8] {
        &self.body[..self.name_octets()]
    }

    /// Whether a `*` stands directly below this name.
    #[inline]
    pub fn has_wildcard_child(self) -> bool {
        (self.head >> 40) as u8 & HAS_WILDCARD_CHILD != 0
    }

    /// The RRsets of this name, in the order they were added.
    #[inline]
    pub fn rrsets(self) -> impl Iterator<Item = (Rtype, RrsetData<'s>)> {
        let count = usize::from((self.head >> 48) as u16);
        let (directory, mut rest) = self.body[self.name_octets()..].split_at(count * ENTRY_OCTETS);
        directory.as_chunks::<ENTRY_OCTETS>().0.iter().map(move |entry| {
            let entry = u64::from_le_bytes(*entry);
            let (rtype, records, octets) = (Rtype(entry as u16), (entry >> 16) as u16, (entry >> 32) as usize);
            let (data, after) = rest.split_at(octets);
            rest = after;
            (rtype, RrsetData::decode(records, data))
        })
    }

    /// Octets that it takes, with those that fill it up.
    fn octets(self) -> usize {
        let entries = usize::from((self.head >> 48) as u16) * ENTRY_OCTETS;
        let directory = self.body[self.name_octets()..][..entries].as_chunks::<ENTRY_OCTETS>().0;
        let data = directory.iter().map(|entry| (u64::from_le_bytes(*entry) >> 32) as usize).sum::<usize>();
        (size_of::<u64>() + self.name_octets() + entries + data).next_multiple_of(ALIGNMENT)
    }

    /// The RRset of one type.
    #[inline]
    pub fn rrset(self, rtype: Rtype) -> Option<RrsetData<'s>> {
        self.rrsets().find(|(candidate, _)| *candidate == rtype).map(|(_, data)| data)
    }
}

/// What stands under one type of a name.
#[derive(Clone, Copy, Debug)]
pub enum RrsetData<'s> {
    /// Records of its own.
    Records(Records<'s>),
    /// An alias of a name elsewhere, in wire form: asked from the view's forwarder.
    Alias(&'s [u8]),
    /// A routing policy, which chooses among several sets.
    Policy(PolicyIndex),
}

impl<'s> RrsetData<'s> {
    /// Reads an entry: its number of records, and its octets.
    #[inline]
    pub(super) fn decode(records: u16, octets: &'s [u8]) -> Self {
        match records {
            0 => Self::decode_lead(octets),
            count => Self::Records(Records { templates: octets, count }),
        }
    }

    /// Reads what leads to records.
    #[inline]
    fn decode_lead(octets: &'s [u8]) -> Self {
        match octets {
            [LEAD_POLICY, index @ ..] => {
                Self::Policy(PolicyIndex(u32::from_le_bytes(*index.first_chunk().expect("a whole index"))))
            }
            [LEAD_ALIAS, target @ ..] => Self::Alias(target),
            _ => unreachable!("an entry without records says what it leads to"),
        }
    }
}

/// The octets of an entry that is an alias of a name elsewhere.
pub fn alias_octets(target: &[u8]) -> Vec<u8> {
    [&[LEAD_ALIAS], target].concat()
}

/// The octets of an entry that is a routing policy.
pub fn policy_octets(policy: PolicyIndex) -> Vec<u8> {
    [&[LEAD_POLICY][..], &policy.0.to_le_bytes()].concat()
}

/// First octet of an entry that is an alias.
const LEAD_ALIAS: u8 = 0;
/// First octet of an entry that is a routing policy.
const LEAD_POLICY: u8 = 1;

/// The records of an RRset as templates, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Records<'s> {
    /// All of them.
    pub templates: &'s [u8],
    /// How many; at least one.
    pub count: u16,
}

impl<'s> Records<'s> {
    /// The records in two parts that begin at record `start`: what follows it, then what precedes it.
    #[inline]
    pub fn rotated(self, start: u16) -> (&'s [u8], &'s [u8]) {
        let mut at = 0;
        for _ in 0..start {
            at += template_octets(&self.templates[at..]);
        }
        let (before, after) = self.templates.split_at(at);
        (after, before)
    }

    /// Each record by itself.
    pub fn iter(self) -> impl Iterator<Item = &'s [u8]> {
        let mut rest = self.templates;
        std::iter::from_fn(move || {
            let (template, after) = (!rest.is_empty()).then(|| rest.split_at(template_octets(rest)))?;
            rest = after;
            Some(template)
        })
    }
}

/// Octets of the template at the start of `templates`.
#[inline]
fn template_octets(templates: &[u8]) -> usize {
    let head = templates.first_chunk::<TEMPLATE_HEAD_OCTETS>().expect("templates are whole");
    TEMPLATE_HEAD_OCTETS + usize::from(u16::from_be_bytes([head[10], head[11]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::HashSeed;
    use crate::dns::reply::template;

    /// A records whose rdata tells them apart, each one octet longer than the one before.
    fn templates(count: u16) -> Vec<u8> {
        let mut templates = Vec::new();
        (0..count)
            .for_each(|record| template(&mut templates, Rtype::TXT, 60, &vec![record as u8; 1 + usize::from(record)]));
        templates
    }

    #[test]
    fn rotation_keeps_every_record_and_their_order() {
        let octets = templates(5);
        let records = Records { templates: &octets, count: 5 };
        let one_by_one: Vec<&[u8]> = records.iter().collect();
        assert_eq!(one_by_one.len(), 5);
        for start in 0..5 {
            let (first, rest) = records.rotated(start);
            let mut expected = one_by_one.clone();
            expected.rotate_left(usize::from(start));
            assert_eq!([first, rest].concat(), expected.concat(), "from record {start}");
        }
    }

    #[test]
    fn several_types_an_alias_and_a_policy_stand_under_one_name() {
        let (two, alias, policy) = (templates(2), alias_octets(b"\x03elb\x00"), policy_octets(PolicyIndex(0x01ff)));
        let mut builder = NodeTableBuilder::new(HashSeed(1), None);
        let rrsets = [(Rtype::A, 0, &*alias), (Rtype::TXT, 2, &*two), (Rtype::AAAA, 0, &*policy)];
        builder.add(ZoneIndex(3), b"\x01a\x00", 0, &rrsets);
        let table = builder.build();
        let (_, node) = table.arena.nodes(table.extent(ZoneIndex(3))).next().expect("it was added");
        assert_eq!(node.octets(), table.arena.octets());
        assert!(matches!(node.rrset(Rtype::A), Some(RrsetData::Alias(target)) if target == b"\x03elb\x00"));
        assert!(matches!(node.rrset(Rtype::AAAA), Some(RrsetData::Policy(PolicyIndex(0x01ff)))));
        assert!(matches!(node.rrset(Rtype::TXT), Some(RrsetData::Records(records)) if records.count == 2));
        assert_eq!(node.rrsets().count(), 3);
        assert!(NodeTableBuilder::new(HashSeed(1), None).build().find(ZoneIndex(0), 5, b"\x00").is_none());
    }
}
