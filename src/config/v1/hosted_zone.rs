//! `[[hosted_zone]]`: its name, its VPCs, its file and records, its aliases, in this order.

use super::Builder;
use super::document::HostedZoneTable;
use super::endpoint::{EndpointNames, PrivateDnsClaim};
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::settings::word;
use super::table::Text;
use super::zone_file::{ZoneFiles, ZoneLine};
use super::zone_sets::{Origin, OriginKind, ZoneSets};
use crate::aws::delegation::delegations;
use crate::aws::{Delegation, HostedZone, RecordSet, RecordSets, VpcIndex};
use crate::config::ZoneOfFiles;
use crate::config::diagnostic::{Place, quoted};
use crate::dns::{Name, Rtype};
use std::collections::HashMap;
use std::sync::Arc;

/// A zone while its sets are gathered.
pub(super) struct ZoneInMaking<'z> {
    pub(super) apex: &'z Name,
    pub(super) label: &'z str,
    pub(super) sets: ZoneSets,
    /// What it is read from besides the configuration.
    pub(super) files: ZoneFiles,
    /// Sets that are aliases: which, where the target stands, and how the set is called.
    pub(super) aliases: Vec<(u32, usize, String)>,
    /// Sets with a routing policy: which, where each stands, and how it is called.
    pub(super) routed: Vec<(u32, usize, String)>,
    /// How many of one owner and type.
    pub(super) routed_counts: HashMap<(Name, Rtype), usize>,
    /// Whether the owner that the file names last lies outside.
    pub(super) is_outside: bool,
    /// Whether something that was written is not in the sets, so that what is missing proves nothing.
    pub(super) is_incomplete: bool,
}

impl ZoneInMaking<'_> {
    /// How its `records` are called.
    pub(super) fn records_label(&self) -> String {
        format!("{}, `records`", self.label)
    }

    /// A place in its files.
    pub(super) fn file_place(&self, line: ZoneLine, column: u32, label: impl Into<String>) -> Place {
        self.files.place(line, column, label.into())
    }

    /// The set that is added next.
    pub(super) fn next_set(&self) -> u32 {
        self.sets.len()
    }
}

/// The id and the file of a zone that has nothing beside its file.
fn files_alone<'a, 't>(table: &'a HostedZoneTable<'t>) -> Option<(&'a Text<'t>, &'a Text<'t>)> {
    Some((table.id.as_ref()?, table.file.as_ref()?)).filter(|_| table.records.is_empty())
}

impl<'t> Builder<'t, '_> {
    /// Settles every zone, and what zones and endpoints cannot both claim.
    pub(super) fn settle_hosted_zones(
        &mut self,
        tables: &[HostedZoneTable<'t>],
        names: &EndpointNames,
        claims: &[PrivateDnsClaim],
    ) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut settled: Vec<(HostedZone, &HostedZoneTable<'t>)> = Vec::with_capacity(tables.len());
        for table in tables {
            let is_shared = table.id.as_ref().is_some_and(|id| self.shared_ids.contains(id.value.as_ref()));
            let vpcs = self.associated_vpcs(table.vpcs.as_ref(), &table.label, is_shared);
            for vpc in &vpcs {
                let at = table.vpcs.as_ref().map_or(table.at, |vpcs| vpcs.at);
                self.warn_of_vpc_attributes(at, &table.label, "hosted_zone", *vpc);
            }
            let Some(apex) = self.zone_apex(table) else { continue };
            let (record_sets, delegations) = match self.served_zone(table, &apex) {
                Some(delegations) => (RecordSets::AsServed, delegations),
                None => self.read_zone(table, &apex, &vpcs, names),
            };
            let falls_through = self.falls_through(table);
            let Some(id) = &table.id else { continue };
            let id = id.value.as_ref().into();
            settled.push((HostedZone { id, apex, vpcs, record_sets, delegations, falls_through }, table));
        }
        self.refuse_same_zones(&settled);
        self.refuse_same_private_names(claims, &settled);
        self.model.hosted_zones = settled.into_iter().map(|(zone, _)| zone).collect();
    }

    /// The delegations of a zone that is what its file says, and so is served already.
    fn served_zone(&mut self, table: &HostedZoneTable<'t>, apex: &Name) -> Option<Vec<Delegation>> {
        let (before, (id, file)) = (self.before?, files_alone(table)?);
        let zone = before.zones.get(&*id.value)?;
        if zone.apex != *apex || *zone.file != *file.value || !(before.is_unchanged)(zone) {
            return None;
        }
        // Whoever writes files is told of them, and the ranks of those that follow go on behind them.
        self.further_files.name(&file.value, self.reading.place(file.at, &table.label));
        for (path, place) in &zone.included {
            self.further_files.name(path, place.clone());
        }
        self.zones_of_files.insert(id.value.as_ref().into(), Arc::clone(zone));
        Some(zone.delegations.clone())
    }

    /// The record sets of a zone, read and settled, and its delegations.
    fn read_zone(
        &mut self,
        table: &HostedZoneTable<'t>,
        apex: &Name,
        vpcs: &[VpcIndex],
        names: &EndpointNames,
    ) -> (RecordSets, Vec<Delegation>) {
        let (complaints, files) = (self.reading.diagnostics.count(), self.further_files.count());
        let record_sets = self.zone_record_sets(table, apex, vpcs, names);
        let delegations = delegations(apex, &record_sets);
        if let Some((id, file)) = files_alone(table)
            && self.reading.diagnostics.count() == complaints
            && let [_, included @ ..] = self.further_files.since(files)
        {
            let zone = ZoneOfFiles {
                apex: apex.clone(),
                file: file.value.as_ref().into(),
                included: included.to_vec(),
                delegations: delegations.clone(),
            };
            self.zones_of_files.insert(id.value.as_ref().into(), Arc::new(zone));
        }
        (RecordSets::Here(record_sets), delegations)
    }

    /// `fallthrough`: whether names that are not in the zone are asked as if it were not there; warns where they are.
    fn falls_through(&mut self, table: &HostedZoneTable<'t>) -> bool {
        let Some(text) = &table.fallthrough else { return false };
        let words = [("none", false), ("public", true)];
        if word(text, &words, &table.label, "fallthrough", &mut self.reading) != Some(true) {
            return false;
        }
        let problem = "names that are not in the zone are asked of others";
        let rule = "`fallthrough` is not AWS's: there they do not exist, and nobody else hears of them";
        let hint = "remove `fallthrough`, unless the zone is to cover only some names of a public one";
        self.reading.report(self.reading.warning(text.at, &table.label, problem).rule(rule).hint(hint));
        true
    }

    /// The name of a zone; Route 53 takes none that starts with `*`.
    fn zone_apex(&mut self, table: &HostedZoneTable<'t>) -> Option<Name> {
        let text = table.name.as_ref()?;
        let apex = self.absolute_name(text, &table.label, "name")?;
        if apex.is_wildcard() {
            let problem = format!("`name` {} starts with `*`", quoted(&text.value));
            let parent = apex.parent().unwrap_or_else(Name::root);
            let rule = "a hosted zone's name cannot (Route 53 Developer Guide, DomainNameFormat)";
            let hint = format!("write name = \"{parent}\" and a record set with the name `*`");
            self.reading.report(self.reading.error(text.at, &table.label, problem).rule(rule).hint(hint));
            return None;
        }
        if has_literal_asterisk(&apex) {
            let problem = format!("`name` {} has a `*` in it", quoted(&text.value));
            let warning = self.reading.warning(text.at, &table.label, problem);
            self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        Some(apex)
    }

    /// Everything a zone holds: first its file, then its records, then what its aliases point at and its policies say.
    fn zone_record_sets(
        &mut self,
        table: &HostedZoneTable<'t>,
        apex: &Name,
        vpcs: &[VpcIndex],
        names: &EndpointNames,
    ) -> Vec<RecordSet> {
        let mut files = ZoneFiles::default();
        let own = table.file.as_ref().and_then(|file| {
            let (text, rank) = self.zone_file_text(file, &table.label)?;
            files.push(&file.value, rank, &text, None);
            Some((&*file.value, text))
        });
        let mut zone = ZoneInMaking {
            apex,
            label: &table.label,
            sets: ZoneSets::with_capacity(files.lines() + table.records.len()),
            files,
            aliases: Vec::new(),
            routed: Vec::new(),
            routed_counts: HashMap::new(),
            is_outside: false,
            is_incomplete: table.file.is_some() && own.is_none(),
        };
        if let Some((path, text)) = own {
            self.add_zone_file(&mut zone, path, &text);
        }
        self.add_records(&mut zone, &table.records);
        self.settle_aliases(&mut zone, names);
        self.settle_routing(&mut zone, vpcs);
        zone.sets.into_sets()
    }

    /// The place of a set, in the zone's file or in its records.
    pub(super) fn record_place(&self, zone: &ZoneInMaking<'_>, origin: Origin, label: &str) -> Place {
        match origin.kind() {
            OriginKind::ZoneFile(line) => zone.file_place(line, 1, label),
            OriginKind::Configuration(at) => self.reading.place(at, label),
        }
    }
}
