//! The record sets of one zone in the making: from its files and its `records`, looked up by owner.
//!
//! Made for a million records: one allocation an owner and one a record set, and four octets each for the place, the
//! chain of an owner's sets and the index.

use super::zone_file::ZoneLine;
use crate::aws::RecordSet;
use crate::aws::record_set::{RecordData, push_rdata, rdatas};
use crate::dns::{Name, Rtype, Ttl};
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// The sets of one zone.
pub(super) struct ZoneSets {
    sets: Vec<RecordSet>,
    /// Where each set is written.
    origins: Vec<Origin>,
    /// The next set of the same owner, of each set; [`NONE`] ends the chain.
    next: Vec<u32>,
    /// The first set of each owner.
    first: HashTable<u32>,
    hasher: RandomState,
    /// The first set of the owner that was added last: records of one owner mostly stand together.
    last: u32,
}

/// Where a set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(u32);

/// An origin taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginKind {
    /// On this line of the zone's files.
    ZoneFile(ZoneLine),
    /// At this octet of the configuration.
    Configuration(usize),
}

impl Origin {
    /// A line of the zone's files.
    pub(super) fn line(line: ZoneLine) -> Self {
        Self(line.0.min(IN_CONFIGURATION - 1))
    }

    /// An octet of the configuration, which is at most 64 MiB.
    pub(super) fn octet(at: usize) -> Self {
        Self(IN_CONFIGURATION | at as u32)
    }

    pub(super) fn kind(self) -> OriginKind {
        match self.0 & IN_CONFIGURATION {
            0 => OriginKind::ZoneFile(ZoneLine(self.0)),
            _ => OriginKind::Configuration((self.0 & !IN_CONFIGURATION) as usize),
        }
    }
}

/// What came of adding a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It stands alone or beside what may be beside it.
    Fits,
    /// It made a set beside this one, and one of the two is a CNAME (RFC 1034 section 3.6.2).
    BesideCname(u32),
    /// Its TTL is not that of its set, which now has the lower one (RFC 2181 section 5.2).
    OtherTtl(u32),
    /// The set has this very record already (RFC 2181 section 5).
    Repeated(u32),
    /// The set would not fit into any reply.
    TooLarge(u32),
    /// The set is full: CNAME and SOA hold one record, the others what Route 53 allows.
    Full(u32),
}

impl ZoneSets {
    pub(super) fn with_capacity(sets: usize) -> Self {
        Self {
            sets: Vec::with_capacity(sets),
            origins: Vec::with_capacity(sets),
            next: Vec::with_capacity(sets),
            first: HashTable::with_capacity(sets),
            hasher: RandomState::new(),
            last: NONE,
        }
    }

    /// How many sets there are.
    pub(super) fn len(&self) -> u32 {
        self.sets.len() as u32
    }

    /// The set of an owner and a type; of several, which have routing policies, always the same one.
    pub(super) fn find(&self, owner: &Name, rtype: Rtype) -> Option<u32> {
        self.of_owner(self.first_of(owner)).find(|&set| self.set(set).rtype == rtype)
    }

    /// Any set of an owner.
    pub(super) fn find_any(&self, owner: &Name) -> Option<u32> {
        Some(self.first_of(owner)).filter(|&set| set != NONE)
    }

    pub(super) fn set(&self, set: u32) -> &RecordSet {
        &self.sets[set as usize]
    }

    pub(super) fn origin(&self, set: u32) -> Origin {
        self.origins[set as usize]
    }

    /// Puts other data into a set.
    pub(super) fn replace_data(&mut self, set: u32, data: RecordData) {
        self.sets[set as usize].data = data;
    }

    pub(super) fn into_sets(mut self) -> Vec<RecordSet> {
        self.sets.shrink_to_fit();
        self.sets
    }

    /// Adds one record to the set of its owner and type, which may be new.
    pub(super) fn add_record(&mut self, owner: &[u8], rtype: Rtype, ttl: Ttl, rdata: &[u8], origin: Origin) -> Added {
        let first = self.first_of_wire(owner);
        let same = self.of_owner(first).find(|&set| self.set(set).rtype == rtype);
        if let Some(set) = same {
            self.last = first;
            return self.extend(set, ttl, rdata);
        }
        let mut packed = Vec::with_capacity(rdata.len() + 2);
        push_rdata(&mut packed, rdata);
        let owner = match first {
            NONE => Name::from_wire(owner).expect("the zone file's reader gives well-formed names"),
            first => self.set(first).owner.clone(),
        };
        let data = RecordData::Records { ttl, rdatas: packed.into() };
        self.insert(first, RecordSet { owner, rtype, data, routing: None }, origin)
    }

    /// Adds a set whose owner and type are not there yet, or only with routing policies.
    pub(super) fn add_set(&mut self, set: RecordSet, origin: Origin) -> Added {
        let first = self.first_of(&set.owner);
        self.insert(first, set, origin)
    }

    /// Enters a new set into the chain of its owner, whose first set is `first`.
    fn insert(&mut self, first: u32, set: RecordSet, origin: Origin) -> Added {
        let index = self.sets.len() as u32;
        // Several CNAME sets may be those of a routing policy; whoever adds a set has looked for one of its type.
        let is_one_a_cname = |other: Rtype| other != set.rtype && (set.rtype == Rtype::CNAME || other == Rtype::CNAME);
        let beside = self.of_owner(first).find(|&other| is_one_a_cname(self.set(other).rtype));
        match first {
            NONE => {
                let hash = self.hasher.hash_one(set.owner.as_wire());
                let Self { first, sets, hasher, .. } = self;
                first.insert_unique(hash, index, |&set| hasher.hash_one(sets[set as usize].owner.as_wire()));
                self.next.push(NONE);
                self.last = index;
            }
            first => {
                let second = std::mem::replace(&mut self.next[first as usize], index);
                self.next.push(second);
                self.last = first;
            }
        }
        self.sets.push(set);
        self.origins.push(origin);
        beside.map_or(Added::Fits, Added::BesideCname)
    }

    /// Adds a record to a set that is there.
    fn extend(&mut self, set: u32, ttl: Ttl, rdata: &[u8]) -> Added {
        let RecordSet { rtype, data, .. } = &mut self.sets[set as usize];
        let RecordData::Records { ttl: set_ttl, rdatas: packed } = data else { return Added::Full(set) };
        if rdatas(packed).any(|known| known == rdata) {
            return Added::Repeated(set);
        }
        if rdatas(packed).count() >= records_max(*rtype) {
            return Added::Full(set);
        }
        if reply_octets(packed) + RECORD_HEAD_OCTETS + rdata.len() > REPLY_OCTETS_OF_A_SET_MAX {
            return Added::TooLarge(set);
        }
        let mut longer = std::mem::take(packed).into_vec();
        push_rdata(&mut longer, rdata);
        *packed = longer.into();
        if ttl == *set_ttl {
            return Added::Fits;
        }
        *set_ttl = ttl.min(*set_ttl);
        Added::OtherTtl(set)
    }

    fn first_of(&self, owner: &Name) -> u32 {
        self.first_of_wire(owner.as_wire())
    }

    /// The first set of an owner, [`NONE`] if it has none.
    fn first_of_wire(&self, owner: &[u8]) -> u32 {
        let is_owner = |set: u32| self.sets[set as usize].owner.as_wire() == owner;
        if self.last != NONE && is_owner(self.last) {
            return self.last;
        }
        self.first.find(self.hasher.hash_one(owner), |&set| is_owner(set)).copied().unwrap_or(NONE)
    }

    /// The sets of an owner, from its first.
    fn of_owner(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = first;
        std::iter::from_fn(move || {
            let set = at;
            at = *self.next.get(set as usize)?;
            Some(set)
        })
    }
}

/// Records that a set of a type may hold.
pub(super) fn records_max(rtype: Rtype) -> usize {
    match rtype {
        // RFC 2181 section 10.1, RFC 1035 section 5.2.
        Rtype::CNAME | Rtype::SOA => 1,
        _ => RECORDS_OF_A_SET_MAX,
    }
}

/// Values of one record set (Route 53 Developer Guide, DNSLimitations).
pub(super) const RECORDS_OF_A_SET_MAX: usize = 400;
/// Octets that a record set may take in a reply: a message over TCP has 65,535 (RFC 1035 section 4.2.2), less its header,
/// the longest question and an OPT.
pub(super) const REPLY_OCTETS_OF_A_SET_MAX: usize = 65_535 - 12 - 259 - 11;
/// Why a set may not be larger.
pub(super) const TOO_LARGE_RULE: &str =
    "a reply over TCP holds 65,535 octets (RFC 1035 section 4.2.2), 65,253 of them for records";
/// Octets of a record in a reply besides its rdata: a compressed owner, type, class, TTL, length.
const RECORD_HEAD_OCTETS: usize = 12;

/// Octets that a set of length-prefixed rdata takes in a reply.
pub(super) fn reply_octets(packed: &[u8]) -> usize {
    rdatas(packed).map(|rdata| RECORD_HEAD_OCTETS + rdata.len()).sum()
}

/// No set.
const NONE: u32 = u32::MAX;
/// The bit that tells an octet of the configuration from a line of the zone's files.
const IN_CONFIGURATION: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Ttl = Ttl::DEFAULT;

    #[test]
    fn records_of_an_owner_and_type_are_one_set() {
        let mut sets = ZoneSets::with_capacity(0);
        let (a, b) = (b"\x01a\x00".as_slice(), b"\x01b\x00".as_slice());
        let low = Ttl::from_seconds(60).expect("in range");
        assert_eq!(sets.add_record(a, Rtype::A, TTL, b"1", Origin::line(ZoneLine(1))), Added::Fits);
        assert_eq!(sets.add_record(b, Rtype::A, TTL, b"1", Origin::line(ZoneLine(2))), Added::Fits);
        assert_eq!(sets.add_record(a, Rtype::TXT, TTL, b"t", Origin::line(ZoneLine(3))), Added::Fits);
        assert_eq!(sets.add_record(a, Rtype::A, low, b"2", Origin::line(ZoneLine(4))), Added::OtherTtl(0));
        assert_eq!(sets.add_record(a, Rtype::A, low, b"1", Origin::line(ZoneLine(5))), Added::Repeated(0));
        assert_eq!(sets.add_record(a, Rtype::CNAME, TTL, b"c", Origin::octet(6)), Added::BesideCname(0));
        assert_eq!(sets.origin(2).kind(), OriginKind::ZoneFile(ZoneLine(3)));
        assert_eq!(sets.origin(3).kind(), OriginKind::Configuration(6));
        let RecordData::Records { ttl, rdatas: packed } = &sets.set(0).data else { panic!("records") };
        assert_eq!((*ttl, rdatas(packed).collect::<Vec<_>>()), (low, vec![&b"1"[..], b"2"]));
        let owner = Name::from_wire(a).expect("a name");
        assert_eq!(sets.find(&owner, Rtype::TXT), Some(2));
        assert_eq!(sets.find(&owner, Rtype::MX), None);
        assert_eq!(sets.into_sets().len(), 4);
    }
}
