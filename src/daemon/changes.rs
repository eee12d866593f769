//! What a reload changed, for the person who made the edit: VPC by VPC, in zones, names, endpoints and rules. What a
//! profile shares is said of the profile, once, however many VPCs have it.
//!
//! The model that was served is gone by then, for it is as large as all zone files. What stays of it is an inventory:
//! who is there, and a number for what it says; 12 octets for each name of a zone.

use crate::aws::{
    AliasTarget, HealthCheck, HealthCheckKind, Instance, LoggedVpcs, Model, NetworkInterface, PeeringSide,
    QueryLogConfig, RecordData, RecordSet, RecordSets, Routing, VpcIndex, VpcPeering,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Debug, Write as _};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

/// VPCs and profiles that a report shows at most.
pub(super) const HOLDERS_SHOWN_MAX: usize = 10;
/// Ids or names that a report shows at most of each kind.
pub(super) const SHOWN_MAX: usize = 5;

/// What a model holds, small enough to keep.
#[derive(Default)]
pub(super) struct Inventory {
    /// Who has something: the VPCs, and behind them the profiles.
    holders: Vec<Box<str>>,
    /// A number for each of them itself.
    holder_digests: Vec<u64>,
    vpcs: usize,
    zones: BTreeMap<Box<str>, Item>,
    endpoints: BTreeMap<Box<str>, Item>,
    inbound_endpoints: BTreeMap<Box<str>, Item>,
    rules: BTreeMap<Box<str>, Item>,
    names: BTreeMap<Box<str>, Arc<Names>>,
    /// Everything else that decides answers, by what it is called.
    rest: [(&'static str, u64); 6],
}

/// One thing that VPCs have, or profiles share.
struct Item {
    digest: u64,
    /// Which of the holders, in order.
    holders: Box<[u32]>,
}

/// The names of a zone, in the order of their hashes.
#[derive(Default)]
struct Names {
    hashes: Box<[u64]>,
    digests: Box<[u32]>,
    /// A number for all of them.
    digest: u64,
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
    /// What is in a model; the names of zones that are as they are served are those of what is.
    pub(super) fn of(model: &Model, served: Option<&Self>) -> Self {
        let (mut holders, mut holder_digests): (Vec<Box<str>>, Vec<u64>) =
            model.vpcs.iter().map(|vpc| (vpc.id.clone(), digest(vpc))).unzip();
        let in_profiles = Shared::of(model);
        for profile in &model.profiles {
            let associations = profile.associations.iter();
            let of: Vec<_> = associations.map(|found| (vpc_id(model, found.vpc), found.priority)).collect();
            holders.push(format!("profile {}", profile.id).into());
            holder_digests.push(digest(&of));
        }
        let shared_doors = &model.shared;
        let default_vpc = shared_doors.default_vpc.map(|vpc| vpc_id(model, vpc));
        let mut inventory = Self {
            holders,
            holder_digests,
            vpcs: model.vpcs.len(),
            rest: [
                ("upstream", digest(&(&model.upstream, model.upstream_is_system, &model.bootstrap))),
                ("shared doors", digest(&(&shared_doors.listen, &shared_doors.allow, default_vpc))),
                ("health checks", digest(&Each(model.health_checks.iter().map(|check| says_check(model, check))))),
                ("compat", digest(&model.compat)),
                ("query log", digest_query_log(model)),
                ("EC2", digest_ec2(model)),
            ],
            ..Self::default()
        };
        for (index, zone) in model.hosted_zones.iter().enumerate() {
            let names = match (&zone.record_sets, served.and_then(|served| served.names.get(&zone.id))) {
                (RecordSets::AsServed, Some(names)) => Arc::clone(names),
                (sets, _) => Arc::new(Names::of(model, sets.here())),
            };
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(names.digest);
            hasher.write_u64(digest(&(&zone.apex, &zone.delegations, zone.falls_through)));
            let item = Item { digest: hasher.finish(), holders: many(&zone.vpcs, in_profiles.zones.get(&index)) };
            inventory.zones.insert(zone.id.clone(), item);
            inventory.names.insert(zone.id.clone(), names);
        }
        for (index, endpoint) in model.endpoints.iter().enumerate() {
            let digest = digest(&(&endpoint.service, &endpoint.kind, &endpoint.state, &endpoint.interface_probe));
            let holders = many(&[endpoint.vpc], in_profiles.endpoints.get(&index));
            inventory.endpoints.insert(endpoint.id.clone(), Item { digest, holders });
        }
        for endpoint in &model.inbound_endpoints {
            let digest = digest(&(&endpoint.listen, &endpoint.allow, endpoint.dns64));
            let holders = many(&[endpoint.vpc], None);
            inventory.inbound_endpoints.insert(endpoint.id.clone(), Item { digest, holders });
        }
        for (index, rule) in model.resolver_rules.iter().enumerate() {
            let digest = digest(&(&rule.domain, &rule.action));
            let holders = many(&rule.vpcs, in_profiles.rules.get(&index));
            inventory.rules.insert(rule.id.clone(), Item { digest, holders });
        }
        inventory
    }

    /// How much of everything there is.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            vpcs: self.vpcs,
            zones: self.zones.len(),
            names: self.names.values().map(|names| names.hashes.len()).sum(),
            endpoints: self.endpoints.len(),
            inbound_endpoints: self.inbound_endpoints.len(),
            rules: self.rules.len(),
        }
    }

    /// The numbers of the holders themselves.
    fn holders_by_name(&self) -> BTreeMap<&str, u64> {
        self.holders.iter().map(|holder| &**holder).zip(self.holder_digests.iter().copied()).collect()
    }

    /// What is different in the one that comes after this; `model` is the one that it was made of.
    pub(super) fn changes(&self, after: &Self, model: &Model) -> Changes {
        let mut changes = Changes::default();
        let mut named = Vec::new();
        let (was, is) = (self.holders_by_name(), after.holders_by_name());
        for (name, digest) in &was {
            match is.get(name) {
                None => changes.of(name).itself = Some(Kind::Removed),
                Some(now) if now != digest => changes.of(name).itself = Some(Kind::Changed),
                Some(_) => {}
            }
        }
        for name in is.keys().filter(|name| !was.contains_key(*name)) {
            changes.of(name).itself = Some(Kind::Added);
        }
        let mut of_kind = |before: &BTreeMap<Box<str>, Item>,
                           now: &BTreeMap<Box<str>, Item>,
                           list: fn(&mut HolderChanges) -> &mut Different,
                           total: fn(&mut Changes) -> &mut Counts| {
            let ids: BTreeSet<&str> = before.keys().chain(now.keys()).map(|id| &**id).collect();
            for id in ids {
                let (was, is) = (before.get(id), now.get(id));
                let is_other = was.map(|item| item.digest) != is.map(|item| item.digest);
                if let (Some(was), Some(is)) = (was, is)
                    && !is_other
                    && self.holders == after.holders
                    && was.holders == is.holders
                {
                    continue;
                }
                let of = |item: Option<&Item>, holders: &[Box<str>]| -> BTreeSet<Box<str>> {
                    let named = |holder: &u32| holders.get(*holder as usize).cloned();
                    item.into_iter().flat_map(|item| item.holders.iter().filter_map(named)).collect()
                };
                let (was_in, is_in) = (of(was, &self.holders), of(is, &after.holders));
                if !is_other && was_in == is_in {
                    continue;
                }
                let kind = match (was, is) {
                    (None, _) => Kind::Added,
                    (_, None) => Kind::Removed,
                    _ => Kind::Changed,
                };
                total(&mut changes).add(kind, 1);
                for holder in was_in.union(&is_in) {
                    let kind = match (was_in.contains(holder), is_in.contains(holder)) {
                        (false, _) => Kind::Added,
                        (_, false) => Kind::Removed,
                        _ if is_other => Kind::Changed,
                        _ => continue,
                    };
                    list(changes.of(holder)).add(kind, id);
                    named.push((holder.clone(), Box::<str>::from(id), kind));
                }
            }
            std::mem::take(&mut named)
        };
        let zones = of_kind(&self.zones, &after.zones, |own| &mut own.zones, |all| &mut all.zones);
        of_kind(&self.endpoints, &after.endpoints, |own| &mut own.endpoints, |all| &mut all.endpoints);
        of_kind(
            &self.inbound_endpoints,
            &after.inbound_endpoints,
            |own| &mut own.inbound_endpoints,
            |all| &mut all.inbound_endpoints,
        );
        of_kind(&self.rules, &after.rules, |own| &mut own.rules, |all| &mut all.rules);
        self.change_names(after, model, zones, &mut changes);
        let rest = self.rest.iter().zip(&after.rest).filter(|(before, now)| before != now);
        changes.rest = rest.map(|(_, (what, _))| *what).collect();
        changes
    }

    /// Counts the names of the zones that differ, each zone's once in all and once for each holder.
    fn change_names(&self, after: &Self, model: &Model, zones: Vec<(Box<str>, Box<str>, Kind)>, changes: &mut Changes) {
        let none = Arc::<Names>::default();
        let mut compared: BTreeMap<&str, NameChanges> = BTreeMap::new();
        for (holder, zone, kind) in &zones {
            let (was, is) = (self.names.get(zone).unwrap_or(&none), after.names.get(zone).unwrap_or(&none));
            let found = compared.entry(zone).or_insert_with(|| {
                let mut found = was.compare(is);
                found.find_texts(model, zone);
                changes.names += found.counts;
                found
            });
            let names = &mut changes.holders.entry(holder.clone()).or_default().names;
            match kind {
                Kind::Changed => names.add_all(found),
                // The zone came to this one, or left it, with all its names.
                Kind::Added => names.counts.add(Kind::Added, is.hashes.len()),
                Kind::Removed => names.counts.add(Kind::Removed, was.hashes.len()),
            }
        }
    }
}

impl Names {
    /// The names of a zone: one may have several sets, in any order.
    fn of(model: &Model, sets: &[RecordSet]) -> Self {
        let sets = sets.iter();
        let mut sets: Vec<(u64, u32)> = sets.map(|set| (name_hash(set), set_digest(model, set))).collect();
        sets.sort_unstable();
        sets.dedup_by(|next, first| {
            let is_one_name = next.0 == first.0;
            if is_one_name {
                first.1 = first.1.wrapping_mul(31).wrapping_add(next.1);
            }
            is_one_name
        });
        let mut hasher = DefaultHasher::new();
        for (hash, digest) in &sets {
            hasher.write_u64(*hash);
            hasher.write_u32(*digest);
        }
        let (hashes, digests): (Vec<u64>, Vec<u32>) = sets.into_iter().unzip();
        Self { hashes: hashes.into(), digests: digests.into(), digest: hasher.finish() }
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
    holders: BTreeMap<Box<str>, HolderChanges>,
    rest: Vec<&'static str>,
}

/// What changed for one VPC, or in one profile.
#[derive(Clone, Debug, Default)]
struct HolderChanges {
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
        for set in zone.into_iter().flat_map(|zone| zone.record_sets.here()) {
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
    fn of(&mut self, holder: &str) -> &mut HolderChanges {
        self.holders.entry(holder.into()).or_default()
    }

    /// A line for each VPC and profile, the first ones of them, and one for what belongs to none.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.holders.iter().take(HOLDERS_SHOWN_MAX).map(|(name, changes)| format!("{name}: {changes}")).collect();
        if self.holders.len() > HOLDERS_SHOWN_MAX {
            lines.push(format!("… and {} more", self.holders.len() - HOLDERS_SHOWN_MAX));
        }
        if !self.rest.is_empty() {
            lines.push(format!("for all: {}", self.rest.join(", ")));
        }
        lines
    }
}

impl fmt::Display for HolderChanges {
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

/// Which profiles share what, by the place of each thing in the model; profiles stand among the holders.
#[derive(Default)]
struct Shared {
    zones: HashMap<usize, Vec<u32>>,
    rules: HashMap<usize, Vec<u32>>,
    endpoints: HashMap<usize, Vec<u32>>,
}

impl Shared {
    fn of(model: &Model) -> Self {
        let mut shared = Self::default();
        for (holder, profile) in (model.vpcs.len() as u32..).zip(&model.profiles) {
            for (things, found) in [
                (&profile.hosted_zones, &mut shared.zones),
                (&profile.resolver_rules, &mut shared.rules),
                (&profile.endpoints, &mut shared.endpoints),
            ] {
                things.iter().for_each(|thing| found.entry(*thing).or_default().push(holder));
            }
        }
        shared
    }
}

/// Which holders, in order.
fn many(vpcs: &[VpcIndex], profiles: Option<&Vec<u32>>) -> Box<[u32]> {
    let mut holders: Vec<u32> = vpcs.iter().map(|vpc| vpc.0).chain(profiles.into_iter().flatten().copied()).collect();
    holders.sort_unstable();
    holders.into()
}

/// What a VPC is called: its place in the model is another where one is written before it.
fn vpc_id(model: &Model, vpc: VpcIndex) -> &str {
    &model.vpc(vpc).id
}

/// What a health check says, with others by their ids.
fn says_check<'m>(model: &'m Model, check: &'m HealthCheck) -> impl Debug + 'm {
    let HealthCheck { id, kind, inverted, disabled } = check;
    let (children, own) = match kind {
        HealthCheckKind::Calculated { health_threshold, children } => {
            let children: Vec<&str> = children.iter().map(|child| &*model.health_check(*child).id).collect();
            (Some((health_threshold, children)), None)
        }
        own => (None, Some(own)),
    };
    (id, children, own, inverted, disabled)
}

/// A number for what EC2 names are made of.
fn digest_ec2(model: &Model) -> u64 {
    let instances = model.instances.iter().map(|instance| {
        let Instance { id, vpc, private_ip_address, public_ip_address, ipv6_address, private_dns_name_options } =
            instance;
        (id, vpc_id(model, *vpc), private_ip_address, public_ip_address, ipv6_address, private_dns_name_options)
    });
    let interfaces = model.network_interfaces.iter().map(|interface| {
        let NetworkInterface { id, vpc, private_ip_addresses } = interface;
        (id, vpc_id(model, *vpc), private_ip_addresses)
    });
    let peerings = model.vpc_peerings.iter().map(|peering| {
        let VpcPeering { id, requester, accepter, status } = peering;
        let side = |side: &PeeringSide| (vpc_id(model, side.vpc), side.allow_dns_resolution_from_remote_vpc);
        (id, side(requester), side(accepter), status)
    });
    digest(&(Each(instances), Each(interfaces), Each(peerings)))
}

/// A number for what is logged of whom.
fn digest_query_log(model: &Model) -> u64 {
    let whose = |logged: &LoggedVpcs| match logged {
        LoggedVpcs::None => (false, Vec::new()),
        LoggedVpcs::All => (true, Vec::new()),
        LoggedVpcs::Some(vpcs) => (false, vpcs.iter().map(|vpc| vpc_id(model, *vpc)).collect()),
    };
    let logged = model.query_log.as_ref().map(|config| {
        let QueryLogConfig { account_id, query_log, dnstap } = config;
        (account_id, whose(query_log), whose(dnstap))
    });
    digest(&logged)
}

/// What is written out one by one.
struct Each<I>(I);

impl<I: Iterator<Item: Debug> + Clone> Debug for Each<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.clone()).finish()
    }
}

/// A number for a name.
fn name_hash(set: &RecordSet) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(set.owner.as_wire());
    hasher.finish()
}

/// A number for what a set says. There may be millions, so the usual kind is not written out for it.
fn set_digest(model: &Model, set: &RecordSet) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u16(set.rtype.0);
    match &set.data {
        RecordData::Records { ttl, rdatas } => {
            hasher.write_u32(ttl.seconds());
            hasher.write(rdatas);
        }
        RecordData::Alias { target: AliasTarget::Endpoint { endpoint, zonal }, evaluate_target_health } => {
            let endpoint = model.endpoints.get(*endpoint).map(|endpoint| &endpoint.id);
            hasher.write_u64(digest(&(endpoint, zonal, evaluate_target_health)));
        }
        alias => hasher.write_u64(digest(alias)),
    }
    if let Some(Routing { set_identifier, policy, health_check }) = set.routing.as_deref() {
        let health_check = health_check.map(|check| &model.health_check(check).id);
        hasher.write_u64(digest(&(set_identifier, policy, health_check)));
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
    use crate::daemon::BUILT_IN_TEXT;

    /// A model of these lines.
    fn model(lines: &str) -> Model {
        parsed(&format!("version = 1\nregion = \"eu-central-1\"\nupstream = {{ targets = [] }}\n{lines}"))
    }

    /// A model of a whole text.
    fn parsed(text: &str) -> Model {
        let surroundings = Surroundings {
            read_file: &|_| Err("there is none".to_owned()),
            system_nameservers: &|| Ok(Vec::new()),
            is_own_address: &|_| false,
        };
        let loaded = config::load("test", text, &surroundings);
        loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics))).model
    }

    /// What changes from one model to the next.
    fn changes(before: &str, after: &str) -> Changes {
        let after = model(after);
        Inventory::of(&model(before), None).changes(&Inventory::of(&after, None), &after)
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
    fn what_a_profile_shares_is_said_of_the_profile() {
        let profile = |vpcs: &str| format!("[[profile]]\nid = \"rp-1\"\nhosted_zones = [\"Z1\"]\nvpcs = [{vpcs}]\n");
        let in_a = profile("{ vpc = \"vpc-a\", priority = 1 }");
        let text = |records: &[&str], profile: &str| format!("{VPCS}{}{profile}", zone("Z1", "", records));
        let found = changes(&text(&["www 10.0.0.1"], &in_a), &text(&["www 10.0.0.2"], &in_a));
        assert_eq!(found.names, Counts { changed: 1, ..Counts::default() });
        assert_eq!(found.lines(), ["profile rp-1: zones +0 ~1 -0 (~Z1); names +0 ~1 -0 (www.z1.example.)"]);
        let in_b = profile("{ vpc = \"vpc-b\", priority = 1 }");
        let found = changes(&text(&["www 10.0.0.1"], &in_a), &text(&["www 10.0.0.1"], &in_b));
        assert_eq!(found.lines(), ["profile rp-1: its own keys"]);
    }

    #[test]
    fn one_more_of_something_in_front_changes_nothing_of_the_rest() {
        let before = parsed(BUILT_IN_TEXT);
        // Each of what is told apart by its place in the model has another place then.
        for (table, lines, expected) in [
            ("[[vpc]]", "id = \"vpc-0\"", "vpc-0: added"),
            (
                "[[vpc_endpoint]]",
                "id = \"vpce-0\"\nvpc = \"hub\"\nservice = \"com.amazonaws.ap-northeast-2.sqs\"\naddresses = { ap-northeast-2a = [\"10.0.12.9\"] }\n\
                 dns_name = \"vpce-0-0.sqs.ap-northeast-2.vpce.amazonaws.com\"",
                "vpc-0hub: endpoints +1 ~0 -0 (+vpce-0)",
            ),
            ("[[health_check]]", "id = \"first\"\ntype = \"manual\"\nstatus = \"healthy\"", "for all: health checks"),
            ("[[hosted_zone]]", "id = \"Z0\"\nname = \"z0.example\"\nvpcs = []", ""),
            (
                "[[resolver_rule]]",
                "id = \"rslvr-rr-0\"\ndomain = \"rr0.example\"\naction = \"system\"\nvpcs = [\"hub\"]",
                "vpc-0hub: rules +1 ~0 -0 (+rslvr-rr-0)",
            ),
        ] {
            let after =
                parsed(&BUILT_IN_TEXT.replacen(&format!("\n{table}\n"), &format!("\n{table}\n{lines}\n{table}\n"), 1));
            let found = Inventory::of(&before, None).changes(&Inventory::of(&after, None), &after);
            assert_eq!(found.lines().join("\n"), expected, "{table}");
        }
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
        assert_eq!(lines.len(), HOLDERS_SHOWN_MAX + 1, "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("… and 90 more"));
        assert!(lines.iter().all(|line| line.len() < 1000));
    }
}
