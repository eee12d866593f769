//! Lookup in one zone: RFC 1034 section 4.3.2 with RFC 4592's closest encloser.

use super::autodefined::{self, Computed, Judgement};
use crate::dns::name::wildcard_hash;
use crate::dns::reply::TEMPLATE_HEAD_OCTETS;
use crate::dns::{FoldedName, Rtype};
use crate::snapshot::{Contents, Node, NodeTable, PolicyIndex, Records, RrsetData, Snapshot, View, Zone, ZoneIndex};

/// What a zone says of a name and a type. All of these are success.
pub(super) enum Found<'s> {
    /// Records of the type.
    Records(Records<'s>),
    /// A CNAME, and the type asked is another.
    Cname { record: &'s [u8], target: &'s [u8] },
    /// An alias of a name elsewhere.
    Alias(&'s [u8]),
    /// A routing policy, of the type asked or (`is_cname`) of CNAMEs.
    Policy { index: PolicyIndex, is_cname: bool },
    /// The name exists, without the type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// A record that is computed.
    Computed(Computed),
    /// The name is public, and the upstream's to answer.
    Elsewhere,
}

/// A zone of a snapshot, in a view of it.
#[derive(Clone, Copy)]
pub(super) struct InView<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) view: &'s View,
    pub(super) index: ZoneIndex,
    pub(super) zone: &'s Zone,
}

/// Looks a name up. It is at or below the zone's apex; `hash` is that of (zone, name).
#[inline(always)]
pub(super) fn lookup<'s>(within: InView<'s>, name: &FoldedName, qtype: Rtype, hash: u64) -> Found<'s> {
    let InView { snapshot: Snapshot { nodes, .. }, index, zone, .. } = within;
    if zone.contents != Contents::Stored {
        match autodefined::judge(within, name, qtype, hash) {
            Judgement::Stored => {}
            Judgement::StoredIn(names) => return stored_in(nodes, names, name, qtype),
            Judgement::Apex => return Found::Records(Records { templates: &zone.negative_soa, count: 1 }),
            Judgement::Computed(record) => return Found::Computed(record),
            Judgement::NoData => return Found::NoData,
            Judgement::NxDomain => return Found::NxDomain,
            Judgement::Elsewhere => return Found::Elsewhere,
        }
    }
    let node = nodes.find(index, hash, name.as_wire()).or_else(|| source_of_synthesis(nodes, index, zone, name));
    match node {
        Some(node) => in_node(node, qtype),
        None => Found::NxDomain,
    }
}

/// Whether a zone of stored names has a name, or stands for it by a wildcard.
pub(super) fn has(within: InView<'_>, name: &FoldedName) -> bool {
    let InView { snapshot: Snapshot { nodes, .. }, index, zone, .. } = within;
    let hash = NodeTable::hash(index, name.suffix_hash(name.label_count()));
    nodes.find(index, hash, name.as_wire()).or_else(|| source_of_synthesis(nodes, index, zone, name)).is_some()
}

/// A name that stands in this zone, and not in the one that answers for it.
#[cold]
fn stored_in<'s>(nodes: &'s NodeTable, names: ZoneIndex, name: &FoldedName, qtype: Rtype) -> Found<'s> {
    let hash = NodeTable::hash(names, name.suffix_hash(name.label_count()));
    nodes.find(names, hash, name.as_wire()).map_or(Found::NxDomain, |node| in_node(node, qtype))
}

/// The `*` below the closest encloser, if there is one (RFC 4592 section 3.3.1): any name that exists, also an empty
/// non-terminal, stops the wildcards above it.
#[inline(never)]
fn source_of_synthesis<'s>(nodes: &'s NodeTable, index: ZoneIndex, zone: &Zone, name: &FoldedName) -> Option<Node<'s>> {
    let apex_labels = usize::from(zone.apex_labels);
    let mut labels = name.label_count().saturating_sub(1).min(usize::from(zone.labels_max));
    let has_wildcard = loop {
        if labels <= apex_labels {
            labels = apex_labels;
            break zone.apex_has_wildcard;
        }
        let hash = NodeTable::hash(index, name.suffix_hash(labels));
        if let Some(node) = nodes.find(index, hash, name.suffix(labels)) {
            break node.has_wildcard_child();
        }
        labels -= 1;
    };
    if !has_wildcard {
        return None;
    }
    let hash = NodeTable::hash(index, wildcard_hash(name.suffix_hash(labels)));
    nodes.find_wildcard(index, hash, name.suffix(labels))
}

/// What a name that exists says of a type (RFC 1034 section 4.3.2 step 3a).
#[inline(always)]
fn in_node(node: Node<'_>, qtype: Rtype) -> Found<'_> {
    let (mut cname, mut alias, mut policy) = (None, None, None);
    for (rtype, data) in node.rrsets() {
        match data {
            // ANY gets one RRset of the name (RFC 8482 section 4.1).
            RrsetData::Records(records) if rtype == qtype || qtype == Rtype::ANY => return Found::Records(records),
            RrsetData::Alias(target) if rtype == qtype => return Found::Alias(target),
            RrsetData::Policy(index) if rtype == qtype => return Found::Policy { index, is_cname: false },
            // A policy may have nothing for this region: what is there whoever asks comes before it.
            RrsetData::Policy(index) if qtype == Rtype::ANY => policy = policy.or(Some(index)),
            // A name with a CNAME has no other data: there is nothing else to look for.
            RrsetData::Policy(index) if rtype == Rtype::CNAME => return Found::Policy { index, is_cname: true },
            RrsetData::Records(records) if rtype == Rtype::CNAME => cname = Some(records),
            RrsetData::Records(_) | RrsetData::Policy(_) => {}
            RrsetData::Alias(target) => alias = Some(target),
        }
    }
    match (cname, alias, policy) {
        (Some(records), ..) => {
            let (record, target) = cname_of(records);
            Found::Cname { record, target }
        }
        (None, _, Some(index)) => Found::Policy { index, is_cname: false },
        // Not NODATA: the name has data, though none that stands here.
        (None, Some(target), None) if qtype == Rtype::ANY => Found::Alias(target),
        (None, _, None) => Found::NoData,
    }
}

/// A CNAME as a template, and where it points.
#[inline]
pub(super) fn cname_of(records: Records<'_>) -> (&[u8], &[u8]) {
    (records.templates, &records.templates[TEMPLATE_HEAD_OCTETS..])
}
