//! Zones and their names in the making: closest enclosers, empty non-terminals and wildcards settled beforehand.

use crate::dns::{FoldedName, HashSeed, Name, Rtype, Ttl, reply};
use crate::snapshot::node::{HAS_WILDCARD_CHILD, NodeTableBuilder, alias_octets, policy_octets};
use crate::snapshot::{Contents, NodeTable, PolicyIndex, Zone, ZoneIndex, ZoneKind};
use std::collections::HashMap;

/// The name servers of every private hosted zone (R53:hosted-zones-private; TTL as observed).
pub(super) const ROUTE_53_NAME_SERVERS: [&[u8]; 4] = [
    b"\x07ns-1536\x09awsdns-00\x02co\x02uk\x00",
    b"\x04ns-0\x09awsdns-00\x03com\x00",
    b"\x07ns-1024\x09awsdns-00\x03org\x00",
    b"\x06ns-512\x09awsdns-00\x03net\x00",
];
/// The TTL of the NS set that a hosted zone is born with.
pub(super) const ROUTE_53_NS_TTL: u32 = 172_800;
/// The TTL of the SOA that a hosted zone is born with.
pub(super) const ROUTE_53_SOA_TTL: u32 = 900;
/// The TTL of endpoint names and of their SOA (observed on VPC resolvers).
pub(super) const ENDPOINT_TTL: u32 = 60;

/// The rdata of Route 53's SOA: `ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400`.
pub(super) fn route_53_soa() -> Vec<u8> {
    let mut rdata = ROUTE_53_NAME_SERVERS[0].to_vec();
    rdata.extend_from_slice(b"\x11awsdns-hostmaster\x06amazon\x03com\x00");
    for number in [1u32, 7200, 900, 1_209_600, 86_400] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    rdata
}

/// What stands under one type of a name: how many records (0: an alias or a policy), and their templates or what leads
/// to them.
#[derive(Clone, Debug, Default)]
pub(super) struct EncodedRrset {
    pub(super) count: u16,
    pub(super) octets: Vec<u8>,
}

impl EncodedRrset {
    /// Encodes records of one TTL.
    pub(super) fn records<'r>(rtype: Rtype, ttl_seconds: u32, rdatas: impl IntoIterator<Item = &'r [u8]>) -> Self {
        let mut rrset = Self::default();
        for rdata in rdatas {
            reply::template(&mut rrset.octets, rtype, ttl_seconds, rdata);
            rrset.count += 1;
        }
        rrset
    }

    /// Encodes an alias of a name elsewhere.
    pub(super) fn alias(target: &Name) -> Self {
        Self { count: 0, octets: alias_octets(target.as_wire()) }
    }

    /// Encodes a routing policy.
    pub(super) fn policy(policy: PolicyIndex) -> Self {
        Self { count: 0, octets: policy_octets(policy) }
    }
}

/// What a new zone is, before its names are known.
pub(super) struct ZoneHead<'m> {
    pub(super) kind: ZoneKind,
    pub(super) apex: &'m Name,
    pub(super) id: &'m str,
    /// The SOA's TTL and rdata.
    pub(super) soa: (u32, &'m [u8]),
    pub(super) contents: Contents,
}

/// All zones in the making.
pub(super) struct ZonesBuilder {
    seed: HashSeed,
    zones: Vec<Zone>,
    nodes: NodeTableBuilder,
}

impl ZonesBuilder {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { seed, zones: Vec::new(), nodes: NodeTableBuilder::default() }
    }

    /// Room for the names of a large zone.
    pub(super) fn reserve(&mut self, names: usize, octets: usize) {
        self.nodes.reserve(names, octets);
    }

    /// Adds a zone from its names in any order, each once, with their RRsets. The apex exists even without records.
    pub(super) fn add(&mut self, head: &ZoneHead<'_>, names: &[(&Name, &[(Rtype, EncodedRrset)])]) -> ZoneIndex {
        let index = ZoneIndex(u32::try_from(self.zones.len()).expect("fewer zones than 2^32"));
        let apex_octets = head.apex.as_wire().len();
        let flags = NameFlags::of(head.apex, names.iter().map(|(name, _)| *name));
        let mut folded = FoldedName::default();
        let mut labels_max = 0;
        let mut rrsets: Vec<(Rtype, u16, &[u8])> = Vec::new();
        for (name, sets) in names {
            folded.read(name.as_wire(), self.seed).expect("a Name is well-formed");
            labels_max = labels_max.max(folded.label_count());
            rrsets.clear();
            rrsets.extend(sets.iter().map(|(rtype, rrset)| (*rtype, rrset.count, &*rrset.octets)));
            let hash = NodeTable::hash(index, folded.suffix_hash(folded.label_count()));
            self.nodes.add(index, hash, name.as_wire(), flags.get(name.as_wire()), &rrsets);
        }
        for empty in &flags.empty_non_terminals {
            folded.read(empty, self.seed).expect("a suffix of a Name is well-formed");
            let hash = NodeTable::hash(index, folded.suffix_hash(folded.label_count()));
            self.nodes.add(index, hash, empty, flags.get(empty), &[]);
        }
        let (soa_ttl, soa_rdata) = head.soa;
        let mut negative_soa = Vec::with_capacity(12 + soa_rdata.len());
        reply::template(&mut negative_soa, Rtype::SOA, negative_ttl(soa_ttl, soa_rdata), soa_rdata);
        self.zones.push(Zone {
            kind: head.kind,
            apex_labels: head.apex.label_count() as u8,
            labels_max: labels_max.max(head.apex.label_count()) as u8,
            apex_has_wildcard: flags.get(&head.apex.as_wire()[..apex_octets]) & HAS_WILDCARD_CHILD != 0,
            contents: head.contents,
            negative_soa: negative_soa.into(),
            id: head.id.into(),
        });
        index
    }

    pub(super) fn build(self) -> (Box<[Zone]>, NodeTable) {
        (self.zones.into(), self.nodes.build())
    }
}

/// Negative answers live for the smaller of the SOA's TTL and its MINIMUM (RFC 2308 section 3).
fn negative_ttl(soa_ttl: u32, soa_rdata: &[u8]) -> u32 {
    let minimum = soa_rdata.last_chunk::<4>().map_or(soa_ttl, |minimum| u32::from_be_bytes(*minimum));
    soa_ttl.min(Ttl::from_wire(minimum).seconds())
}

/// What a zone's names say about each other: which have a `*` below them, and which exist only because of names below
/// (empty non-terminals, RFC 8020).
struct NameFlags<'m> {
    /// Only names whose flags are not 0.
    flags: HashMap<&'m [u8], u8>,
    empty_non_terminals: Vec<&'m [u8]>,
}

impl<'m> NameFlags<'m> {
    fn of(apex: &'m Name, names: impl Iterator<Item = &'m Name> + Clone) -> Self {
        let apex_octets = apex.as_wire().len();
        let mut flags: HashMap<&[u8], u8> = HashMap::new();
        // Parents of names two or more labels below the apex: in a flat zone there are none, and nothing is hashed.
        let mut parents: HashMap<&[u8], bool> = HashMap::new();
        let mut apex_exists = false;
        for name in names.clone() {
            let wire = name.as_wire();
            apex_exists |= wire.len() == apex_octets;
            let mut suffix = wire;
            while suffix.len() > apex_octets {
                let first = usize::from(suffix[0]);
                let parent = &suffix[first + 1..];
                // Also a `*` that is itself an empty non-terminal: a source of synthesis without data (RFC 4592
                // section 2.2.3).
                if suffix.starts_with(b"\x01*") {
                    *flags.entry(parent).or_default() |= HAS_WILDCARD_CHILD;
                }
                // A parent that is known has had its own parents added.
                if parent.len() <= apex_octets || parents.insert(parent, false).is_some() {
                    break;
                }
                suffix = parent;
            }
        }
        if !parents.is_empty() {
            for name in names {
                if let Some(exists) = parents.get_mut(name.as_wire()) {
                    *exists = true;
                }
            }
        }
        let mut empty_non_terminals: Vec<&[u8]> =
            parents.into_iter().filter(|(_, exists)| !exists).map(|(name, _)| name).collect();
        empty_non_terminals.sort_unstable();
        if !apex_exists {
            empty_non_terminals.push(apex.as_wire());
        }
        Self { flags, empty_non_terminals }
    }

    fn get(&self, name: &[u8]) -> u8 {
        self.flags.get(name).copied().unwrap_or(0)
    }
}
