//! What a reload changed, for the person who made the edit: VPC by VPC, in zones, names, endpoints and rules.
//!
//! The model that was served is gone by then, for it is as large as all zone files. What stays of it is an inventory:
//! who is there, and a number for what it says; 12 octets for each name of a zone.

use crate::aws::{HostedZone, Model, RecordData, RecordSet, VpcIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

/// VPCs that a report shows at most.
pub(super) const VPCS_SHOWN_MAX: usize = 10;
/// Ids or names that a report shows at most of each kind.
pub(super) const SHOWN_MAX: usize = 5;

/// What a model holds, small enough to keep.
#[derive(Default)]
pub(super) struct Inventory {
    vpcs: Vec<Box<str>>,
    /// A number for each VPC itself.
    vpc_digests: Vec<u64>,
    zones: BTreeMap<Box<str>, Item>,
    endpoints: BTreeMap<Box<str>, Item>,
    inbound_endpoints: BTreeMap<Box<str>, Item>,
    rules: BTreeMap<Box<str>, Item>,
    names: BTreeMap<Box<str>, Names>,
    /// Everything else that decides answers, by what it is called.
    rest: [(&'static str, u64); 7],
}

/// One thing that VPCs have.
struct Item {
    digest: u64,
    /// Which VPCs, in order.
    vpcs: Box<[u32]>,
}

/// The names of a zone, in the order of their hashes.
#[derive(Default)]
struct Names {
    hashes: Box<[u64]>,
    digests: Box<[u32]>,
}

/// How many things of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) vpcs: usize,
    pub(super) zones: usize,
    pub(super) names: usize,
    pub(super) endpoints: usize,
    pub(super) inbound_endpoints: usize,
    pub(super) rules: usize,
}

impl Inventory {
    /// What is in a model.
    pub(super) fn of(model: &Model) -> Self {
        let one = |vpc: VpcIndex| Box::from([vpc.0]);
        let mut inventory = Self {
            vpcs: model.vpcs.iter().map(|vpc| vpc.id.clone()).collect(),
            vpc_digests: model.vpcs.iter().map(digest).collect(),
            rest: [
                ("upstream", digest(&(&model.upstream, model.upstream_is_system, &model.bootstrap))),
                ("shared doors", digest(&model.shared)),
                ("health checks", digest(&model.health_checks)),
                ("profiles", digest(&model.profiles)),
                ("compat", digest(&model.compat)),
                ("query log", digest(&model.query_log)),
                ("EC2", digest(&(&model.instances, &model.network_interfaces, &model.vpc_peerings))),
            ],
            ..Self::default()
        };
        for zone in &model.hosted_zones {
            let names = Names::of(zone);
            let mut hasher = DefaultHasher::new();
            names.hashes.iter().for_each(|hash| hasher.write_u64(*hash));
            names.digests.iter().for_each(|digest| hasher.write_u32(*digest));
            hasher.write_u64(digest(&(&zone.apex, &zone.delegations, zone.falls_through)));
            let item = Item { digest: hasher.finish(), vpcs: many(&zone.vpcs) };
            inventory.zones.insert(zone.id.clone(), item);
            inventory.names.insert(zone.id.clone(), names);
        }
        for endpoint in &model.endpoints {
            let digest = digest(&(&endpoint.service, &endpoint.kind, &endpoint.state, &endpoint.interface_probe));
            inventory.endpoints.insert(endpoint.id.clone(), Item { digest, vpcs: one(endpoint.vpc) });
        }
        for endpoint in &model.inbound_endpoints {
            let digest = digest(&(&endpoint.listen, &endpoint.allow));
            inventory.inbound_endpoints.insert(endpoint.id.clone(), Item { digest, vpcs: one(endpoint.vpc) });
        }
        for rule in &model.resolver_rules {
            let digest = digest(&(&rule.domain, &rule.action));
            inventory.rules.insert(rule.id.clone(), Item { digest, vpcs: many(&rule.vpcs) });
        }
        inventory
    }

    /// How much of everything there is.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            vpcs: self.vpcs.len(),
            zones: self.zones.len(),
            names: self.names.values().map(|names| names.hashes.len()).sum(),
            endpoints: self.endpoints.len(),
            inbound_endpoints: self.inbound_endpoints.len(),
            rules: self.rules.len(),
        }
    }

    /// The numbers of the VPCs themselves.
    fn vpcs_by_id(&self) -> BTreeMap<&str, u64> {
        self.vpcs.iter().map(|vpc| &**vpc).zip(self.vpc_digests.iter().copied()).collect()
    }

    /// What is different in the one that comes after this; `model` is the one that it was made of.
    pub(super) fn changes(&self, after: &Self, model: &Model) -> Changes {
        let mut changes = Changes::default();
        let mut named = Vec::new();
        let (was, is) = (self.vpcs_by_id(), after.vpcs_by_id());
        for (id, digest) in &was {
            match is.get(id) {
                None => changes.vpc(id).itself = Some(Kind::Removed),
                Some(now) if now != digest => changes.vpc(id).itself = Some(Kind::Changed),
                Some(_) => {}
            }
        }
        for id in is.keys().filter(|id| !was.contains_key(*id)) {
            changes.vpc(id).itself = Some(Kind::Added);
        }
        let mut of_kind = |before: &BTreeMap<Box<str>, Item>,
                           now: &BTreeMap<Box<str>, Item>,
                           list: fn(&mut VpcChanges) -> &mut Different,
                           total: fn(&mut Changes) -> &mut Counts| {
            let ids: BTreeSet<&str> = before.keys().chain(now.keys()).map(|id| &**id).collect();
            for id in ids {
                let (was, is) = (before.get(id), now.get(id));
                let is_other = was.map(|item| item.digest) != is.map(|item| item.digest);
                if let (Some(was), Some(is)) = (was, is)
                    && !is_other
                    && self.vpcs == after.vpcs
                    && was.vpcs == is.vpcs
                {
                    continue;
                }
                let of = |item: Option<&Item>, vpcs: &[Box<str>]| -> BTreeSet<Box<str>> {
                    let vpcs = item.map(|item| item.vpcs.iter().filter_map(|vpc| vpcs.get(*vpc as usize).cloned()));
                    vpcs.into_iter().flatten().collect()
                };
                let (was_in, is_in) = (of(was, &self.vpcs), of(is, &after.vpcs));
                if !is_other && was_in == is_in {
                    continue;
                }
                let kind = match (was, is) {
                    (None, _) => Kind::Added,
                    (_, None) => Kind::Removed,
                    _ => Kind::Changed,
                };
                total(&mut changes).add(kind, 1);
                for vpc in was_in.union(&is_in) {
                    let kind = match (was_in.contains(vpc), is_in.contains(vpc)) {
                        (false, _) => Kind::Added,
                        (_, false) => Kind::Removed,
                        _ if is_other => Kind::Changed,
                        _ => continue,
                    };
                    list(changes.vpc(vpc)).add(kind, id);
                    named.push((vpc.clone(), Box::<str>::from(id), kind));
                }
            }
            std::mem::take(&mut named)
        };
        let zones = of_kind(&self.zones, &after.zones, |vpc| &mut vpc.zones, |all| &mut all.zones);
        of_kind(&self.endpoints, &after.endpoints, |vpc| &mut vpc.endpoints, |all| &mut all.endpoints);
        of_kind(
            &self.inbound_endpoints,
            &after.inbound_endpoints,
            |vpc| &mut vpc.inbound_endpoints,
            |all| &mut all.inbound_endpoints,
        );
        of_kind(&self.rules, &after.rules, |vpc| &mut vpc.rules, |all| &mut all.rules);
        self.change_names(after, model, zones, &mut changes);
        let rest = self.rest.iter().zip(&after.rest).filter(|(before, now)| before != now);
        changes.rest = rest.map(|(_, (what, _))| *what).collect();
        changes
    }

    /// Counts the names of the zones that differ, each zone's once in all and once for each VPC.
    fn change_names(&self, after: &Self, model: &Model, zones: Vec<(Box<str>, Box<str>, Kind)>, changes: &mut Changes) {
        let none = Names::default();
        let mut compared: BTreeMap<&str, NameChanges> = BTreeMap::new();
        for (vpc, zone, kind) in &zones {
            let (was, is) = (self.names.get(zone).unwrap_or(&none), after.names.get(zone).unwrap_or(&none));
            let found = compared.entry(zone).or_insert_with(|| {
                let mut found = was.compare(is);
                found.find_texts(model, zone);
                changes.names += found.counts;
                found
            });
            let of_vpc = &mut changes.vpcs.entry(vpc.clone()).or_default().names;
            match kind {
                Kind::Changed => of_vpc.add_all(found),
                // The zone came to this VPC, or left it, with all its names.
                Kind::Added => of_vpc.counts.add(Kind::Added, is.hashes.len()),
                Kind::Removed => of_vpc.counts.add(Kind::Removed, was.hashes.len()),
            }
        }
    }
}

impl Names {
    /// The names of a zone: one may have several sets, in any order.
    fn of(zone: &HostedZone) -> Self {
        let mut sets: Vec<(u64, u32)> = zone.record_sets.iter().map(|set| (name_hash(set), set_digest(set))).collect();
        sets.sort_unstable();
        sets.dedup_by(|next, first| {
            let is_one_name = next.0 == first.0;
            if is_one_name {
                first.1 = first.1.wrapping_mul(31).wrapping_add(next.1);
            }
            is_one_name
        });
        let (hashes, digests): (Vec<u64>, Vec<u32>) = sets.into_iter().unzip();
        Self { hashes: hashes.into(), digests: digests.into() }
    }

    /// What is different in the names that come after these.
    fn compare(&self, after: &Self) -> NameChanges {
        let mut found = NameChanges::default();
        let (mut was, mut is) = (0, 0);
        loop {
            match (self.hashes.get(was), after.hashes.get(is)) {
                (None, None) => return found,
                (Some(before), now) if now.is_none_or(|now| before < now) => {
                    found.counts.add(Kind::Removed, 1);
                    was += 1;
                }
                (before, Some(now)) if before.is_none_or(|before| now < before) => {
                    found.counts.add(Kind::Added, 1);
                    found.note(*now);
                    is += 1;
                }
                (_, now) => {
                    if self.digests[was] != after.digests[is] {
                        found.counts.add(Kind::Changed, 1);
                        now.into_iter().for_each(|now| found.note(*now));
                    }
                    (was, is) = (was + 1, is + 1);
                }
            }
        }
    }
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Changed,
    Removed,
}

/// How many differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) added: usize,
    pub(super) changed: usize,
    pub(super) removed: usize,
}

impl Counts {
    fn add(&mut self, kind: Kind, more: usize) {
        match kind {
            Kind::Added => self.added += more,
            Kind::Changed => self.changed += more,
            Kind::Removed => self.removed += more,
        }
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} ~{} -{}", self.added, self.changed, self.removed)
    }
}

/// What changed: what the log says, and the admin interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) zones: Counts,
    pub(super) names: Counts,
    pub(super) endpoints: Counts,
    pub(super) inbound_endpoints: Counts,
    pub(super) rules: Counts,
    vpcs: BTreeMap<Box<str>, VpcChanges>,
    rest: Vec<&'static str>,
}

/// What changed for one VPC.
#[derive(Clone, Debug, Default)]
struct VpcChanges {
    itself: Option<Kind>,
    zones: Different,
    endpoints: Different,
    inbound_endpoints: Different,
    rules: Different,
    names: NameChanges,
}

/// Things of one kind that differ, with the first few of their ids.
#[derive(Clone, Debug, Default)]
struct Different {
    counts: Counts,
    shown: Vec<String>,
}

impl Different {
    fn add(&mut self, kind: Kind, id: &str) {
        self.counts.add(kind, 1);
        if self.shown.len() < SHOWN_MAX {
            let sign = match kind {
                Kind::Added => '+',
                Kind::Changed => '~',
                Kind::Removed => '-',
            };
            self.shown.push(format!("{sign}{id}"));
        }
    }
}

/// Names that differ, with the first few of those that are there now.
#[derive(Clone, Debug, Default)]
struct NameChanges {
    counts: Counts,
    noted: Vec<u64>,
    texts: Vec<String>,
}

impl NameChanges {
    fn note(&mut self, hash: u64) {
        if self.noted.len() < SHOWN_MAX {
            self.noted.push(hash);
        }
    }

    /// Finds out how those that were noted are written.
    fn find_texts(&mut self, model: &Model, zone: &str) {
        let zone = model.hosted_zones.iter().find(|found| *found.id == *zone);
        let mut left = self.noted.clone();
        for set in zone.into_iter().flat_map(|zone| &zone.record_sets) {
            if left.is_empty() {
                return;
            }
            let hash = name_hash(set);
            if left.contains(&hash) {
                left.retain(|noted| *noted != hash);
                self.texts.push(set.owner.to_string());
            }
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.counts += other.counts;
        let room = SHOWN_MAX.saturating_sub(self.texts.len());
        self.texts.extend(other.texts.iter().take(room).cloned());
    }
}

impl Changes {
    fn vpc(&mut self, id: &str) -> &mut VpcChanges {
        self.vpcs.entry(id.into()).or_default()
    }

    /// A line for each VPC, the first ones of them, and one for what belongs to none.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.vpcs.iter().take(VPCS_SHOWN_MAX).map(|(id, changes)| format!("{id}: {changes}")).collect();
        if self.vpcs.len() > VPCS_SHOWN_MAX {
            lines.push(format!("… and {} more VPCs", self.vpcs.len() - VPCS_SHOWN_MAX));
        }
        if !self.rest.is_empty() {
            lines.push(format!("for all: {}", self.rest.join(", ")));
        }
        lines
    }
}

impl fmt::Display for VpcChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.itself.map(|kind| {
            match kind {
                Kind::Added => "added",
                Kind::Changed => "its own keys",
                Kind::Removed => "removed",
            }
            .to_owned()
        }));
        let kinds = [
            ("zones", &self.zones),
            ("endpoints", &self.endpoints),
            ("inbound endpoints", &self.inbound_endpoints),
            ("rules", &self.rules),
        ];
        for (what, different) in kinds.into_iter().filter(|(_, different)| !different.counts.is_zero()) {
            parts.push(format!("{what} {}{}", different.counts, shown(&different.shown, different.counts)));
        }
        if !self.names.counts.is_zero() {
            parts.push(format!("names {}{}", self.names.counts, shown(&self.names.texts, self.names.counts)));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The first few, in brackets.
fn shown(texts: &[String], counts: Counts) -> String {
    let all = counts.added + counts.changed + counts.removed;
    match texts {
        [] => String::new(),
        texts => format!(" ({}{})", texts.join(" "), if texts.len() < all { " …" } else { "" }),
    }
}

/// Which VPCs, in order.
fn many(vpcs: &[VpcIndex]) -> Box<[u32]> {
    let mut vpcs: Vec<u32> = vpcs.iter().map(|vpc| vpc.0).collect();
    vpcs.sort_unstable();
    vpcs.into()
}

/// A number for a name.
fn name_hash(set: &RecordSet) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(set.owner.as_wire());
    hasher.finish()
}

/// A number for what a set says. There may be millions, so the usual kind is not written out for it.
fn set_digest(set: &RecordSet) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u16(set.rtype.0);
    match &set.data {
        RecordData::Records { ttl, rdatas } => {
            hasher.write_u32(ttl.seconds());
            hasher.write(rdatas);
        }
        alias => hasher.write_u64(digest(alias)),
    }
    if let Some(routing) = &set.routing {
        hasher.write_u64(digest(routing));
    }
    hasher.finish() as u32
}

/// A number for what a value says, by the way it is written out: two that differ anywhere have different ones.
fn digest(value: &impl Debug) -> u64 {
    let mut text = Digest(DefaultHasher::new());
    // Hashing cannot fail, and no `Debug` here does.
    let _ = write!(text, "{value:?}");
    text.0.finish()
}

struct Digest(DefaultHasher);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Surroundings};

    /// A model of these lines.
    fn model(lines: &str) -> Model {
        let text = format!("version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [] }}\n{lines}");
        let surroundings = Surroundings {
            read_file: &|_| Err("there is none".to_owned()),
            system_nameservers: &|| Ok(Vec::new()),
            is_own_address: &|_| false,
        };
        let loaded = config::load("test", &text, &surroundings);
        loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics))).model
    }

    /// What changes from one model to the next.
    fn changes(before: &str, after: &str) -> Changes {
        let after = model(after);
        Inventory::of(&model(before)).changes(&Inventory::of(&after), &after)
    }

    const VPCS: &str = "[[vpc]]\nid = \"vpc-a\"\nlisten = [\"127.0.0.1:1\"]\n[[vpc]]\nid = \"vpc-b\"\n";

    fn zone(id: &str, vpcs: &str, records: &[&str]) -> String {
        let records: Vec<String> = records
            .iter()
            .map(|record| {
                let (name, value) = record.split_once(' ').expect("a name and an address");
                format!("{{ name = \"{name}\", type = \"A\", values = [\"{value}\"] }}")
            })
            .collect();
        format!(
            "[[hosted_zone]]\nid = \"{id}\"\nname = \"{}.example\"\nvpcs = [{vpcs}]\nrecords = [{}]\n",
            id.to_lowercase(),
            records.join(", ")
        )
    }

    #[test]
    fn the_same_twice_is_no_change() {
        let text = format!("{VPCS}{}", zone("Z1", "\"vpc-a\"", &["www 10.0.0.1", "db 10.0.0.2"]));
        let same = changes(&text, &text);
        assert_eq!(same.lines(), [""; 0]);
        // Nor is another order of the records.
        let turned = format!("{VPCS}{}", zone("Z1", "\"vpc-a\"", &["db 10.0.0.2", "www 10.0.0.1"]));
        assert_eq!(changes(&text, &turned).lines(), [""; 0]);
    }

    #[test]
    fn names_are_counted_by_vpc_and_the_first_are_shown() {
        let before = zone("Z1", "\"vpc-a\", \"vpc-b\"", &["www 10.0.0.1", "db 10.0.0.2", "old 10.0.0.3"]);
        let after = zone("Z1", "\"vpc-a\", \"vpc-b\"", &["www 10.0.0.9", "db 10.0.0.2", "new 10.0.0.4"]);
        let found = changes(&format!("{VPCS}{before}"), &format!("{VPCS}{after}"));
        assert_eq!(found.names, Counts { added: 1, changed: 1, removed: 1 });
        let line = "zones +0 ~1 -0 (~Z1); names +1 ~1 -1 (www.z1.example. new.z1.example. …)";
        assert_eq!(found.lines(), [format!("vpc-a: {line}"), format!("vpc-b: {line}")]);
    }

    #[test]
    fn what_comes_to_a_vpc_or_leaves_it_counts_there() {
        let zone_in = |vpcs: &str| format!("{VPCS}{}", zone("Z1", vpcs, &["www 10.0.0.1", "db 10.0.0.2"]));
        let found = changes(&zone_in("\"vpc-a\""), &zone_in("\"vpc-b\""));
        assert_eq!(found.zones, Counts { changed: 1, ..Counts::default() });
        assert_eq!(
            found.lines(),
            ["vpc-a: zones +0 ~0 -1 (-Z1); names +0 ~0 -2", "vpc-b: zones +1 ~0 -0 (+Z1); names +2 ~0 -0"]
        );
        let rule = "[[resolver_rule]]\nid = \"rslvr-rr-1\"\ndomain = \"corp.example\"\naction = \"forward\"\n\
                    targets = [\"192.0.2.1\"]\nvpcs = [\"vpc-b\"]\n";
        let upstream = VPCS.replace("vpc-b", "vpc-c");
        let found = changes(VPCS, &format!("{VPCS}{rule}"));
        assert_eq!(found.lines(), ["vpc-b: rules +1 ~0 -0 (+rslvr-rr-1)"]);
        assert_eq!(changes(VPCS, &upstream).lines(), ["vpc-b: removed", "vpc-c: added"]);
    }

    #[test]
    fn a_report_has_an_end() {
        let vpcs = |count: usize| -> String {
            let vpc = |index| format!("[[vpc]]\nid = \"vpc-{index:03}\"\nlisten = [\"127.0.0.1:{}\"]\n", index + 1);
            (0..count).map(vpc).collect()
        };
        let names: Vec<String> = (0..1000).map(|name| format!("n{name} 10.0.0.1")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = changes(&vpcs(1), &format!("{}{}", vpcs(100), zone("Z1", "\"vpc-000\"", &names)));
        let lines = found.lines();
        assert_eq!(lines.len(), VPCS_SHOWN_MAX + 1, "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("… and 90 more VPCs"));
        assert!(lines.iter().all(|line| line.len() < 1000));
    }
}
