//! Zones and their names in the making: closest enclosers, empty non-terminals and wildcards settled beforehand.

use crate::aws::{HostedZone, Model, RecordSets};
use crate::dns::{HashSeed, Name, Rtype, Ttl, reply};
use crate::snapshot::node::{HAS_WILDCARD_CHILD, NodeTableBuilder, alias_octets, policy_octets};
use crate::snapshot::{Contents, NodeTable, PolicyIndex, Snapshot, Zone, ZoneIndex, ZoneKind};
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

/// All zones in the making: hosted zones, then the others as they come.
pub(super) struct ZonesBuilder<'b> {
    /// None: a hosted zone that is still to be added.
    zones: Vec<Option<Zone>>,
    /// The index of each hosted zone, in the order of the model.
    of_hosted_zones: Vec<ZoneIndex>,
    nodes: NodeTableBuilder<'b>,
}

impl<'b> ZonesBuilder<'b> {
    /// What the model has as it is served is taken over from the snapshot `before`, with the index that it has there if
    /// there still is such an index: names say which zone they belong to, and are left alone if they need not be changed.
    pub(super) fn new(seed: HashSeed, model: &Model, before: Option<&'b Snapshot>) -> Self {
        let room = model.hosted_zones.len();
        let were = served_indexes(model, before);
        let mut is_free = vec![true; room];
        for was in were.iter().flatten().filter(|was| (was.0 as usize) < room) {
            is_free[was.0 as usize] = false;
        }
        let mut free = (0..).zip(is_free).filter_map(|(index, is_free)| is_free.then_some(ZoneIndex(index)));
        let mut nodes = NodeTableBuilder::new(seed, before.map(|before| &before.nodes));
        let mut zones = vec![None; room];
        let mut index_of = |was: &Option<ZoneIndex>| {
            let stays = was.filter(|was| (was.0 as usize) < room);
            let is = stays.or_else(|| free.next()).expect("there are as many indexes as zones");
            if let (Some(was), Some(before)) = (was, before) {
                zones[is.0 as usize] = Some(before.zone(*was).clone());
                nodes.keep(*was, is);
            }
            is
        };
        let of_hosted_zones = were.iter().map(&mut index_of).collect();
        Self { zones, of_hosted_zones, nodes }
    }

    /// The index of a hosted zone by its number in the model.
    pub(super) fn of_hosted_zone(&self, number: usize) -> ZoneIndex {
        self.of_hosted_zones[number]
    }

    /// Room for the names of a large zone.
    pub(super) fn reserve(&mut self, octets: usize) {
        self.nodes.reserve(octets);
    }

    /// Adds a zone that is no hosted zone.
    pub(super) fn add(&mut self, head: &ZoneHead<'_>, names: &[(&Name, &[(Rtype, EncodedRrset)])]) -> ZoneIndex {
        let index = ZoneIndex(u32::try_from(self.zones.len()).expect("fewer zones than 2^32"));
        self.zones.push(None);
        self.add_at(index, head, names);
        index
    }

    /// Adds a zone from its names in any order, each once, with their RRsets. The apex exists even without records.
    pub(super) fn add_at(
        &mut self,
        index: ZoneIndex,
        head: &ZoneHead<'_>,
        names: &[(&Name, &[(Rtype, EncodedRrset)])],
    ) {
        let apex_octets = head.apex.as_wire().len();
        let flags = NameFlags::of(head.apex, names.iter().map(|(name, _)| *name));
        let mut labels_max = head.apex.label_count();
        let mut rrsets: Vec<(Rtype, u16, &[u8])> = Vec::new();
        for (name, sets) in names {
            labels_max = labels_max.max(name.label_count());
            rrsets.clear();
            rrsets.extend(sets.iter().map(|(rtype, rrset)| (*rtype, rrset.count, &*rrset.octets)));
            self.nodes.add(index, name.as_wire(), flags.get(name.as_wire()), &rrsets);
        }
        for empty in &flags.empty_non_terminals {
            self.nodes.add(index, empty, flags.get(empty), &[]);
        }
        let (soa_ttl, soa_rdata) = head.soa;
        let mut negative_soa = Vec::with_capacity(12 + soa_rdata.len());
        reply::template(&mut negative_soa, Rtype::SOA, negative_ttl(soa_ttl, soa_rdata), soa_rdata);
        self.zones[index.0 as usize] = Some(Zone {
            kind: head.kind,
            apex_labels: head.apex.label_count() as u8,
            labels_max: labels_max as u8,
            apex_has_wildcard: flags.get(&head.apex.as_wire()[..apex_octets]) & HAS_WILDCARD_CHILD != 0,
            contents: head.contents,
            negative_soa: negative_soa.into(),
            id: head.id.into(),
        });
    }

    pub(super) fn build(self) -> (Box<[Zone]>, NodeTable) {
        let zones = self.zones.into_iter().map(|zone| zone.expect("every hosted zone is added or kept"));
        (zones.collect(), self.nodes.build())
    }
}

/// Where each hosted zone of a model stands in the snapshot that is served; none: its record sets are here.
fn served_indexes(model: &Model, before: Option<&Snapshot>) -> Vec<Option<ZoneIndex>> {
    let zones = before.map_or(&[][..], |before| &before.zones);
    let hosted_zones = (0..).zip(zones).filter(|(_, zone)| zone.kind == ZoneKind::HostedZone);
    let served: HashMap<&str, ZoneIndex> = hosted_zones.map(|(index, zone)| (&*zone.id, ZoneIndex(index))).collect();
    let of = |zone: &HostedZone| match zone.record_sets {
        RecordSets::Here(_) => None,
        RecordSets::AsServed => Some(*served.get(&*zone.id).expect("what is said to be served is")),
    };
    model.hosted_zones.iter().map(of).collect()
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
