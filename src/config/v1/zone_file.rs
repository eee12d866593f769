//! A zone's `file`: RFC 1035 master files, read through the surroundings.

use super::Builder;
use super::hosted_zone::ZoneInMaking;
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::record_set::{BESIDE_CNAME_HINT, BESIDE_CNAME_RULE, beside_cname, forbidden};
use super::table::Text;
use super::zone_sets::{Added, Origin, TOO_LARGE_RULE, records_max};
use crate::config::diagnostic::{Diagnostic, quoted};
use crate::dns::text::{ZoneRecord, read_zone_file};
use crate::dns::{Name, Rtype};
use std::collections::HashSet;
use std::path::{Component, Path};

impl<'t> Builder<'t, '_> {
    /// The text of a zone file; none if the path leads out of the configuration's folder or nothing can be read.
    pub(super) fn zone_file_text(&mut self, file: &Text<'t>, label: &str) -> Option<String> {
        if !stays_inside(&file.value) {
            let problem = format!("`file` {} leads out of the configuration's folder", quoted(&file.value));
            let rule = "a zone file is named by its path from there, without `..`";
            self.reading.report(self.reading.error(file.at, label, problem).rule(rule));
            return None;
        }
        match (self.surroundings.read_file)(&file.value) {
            Ok(text) => Some(text),
            Err(trouble) => {
                let problem = format!("the zone file {} cannot be read", quoted(&file.value));
                let error = self.reading.error(file.at, label, problem).rule(trouble);
                self.reading.report(error.hint("the path counts from the configuration's folder"));
                None
            }
        }
    }

    /// Adds the records of a zone file to the zone's sets.
    pub(super) fn add_zone_file(&mut self, zone: &mut ZoneInMaking<'_>, text: &str) {
        let apex = zone.apex;
        let mut reader = ZoneFileReader { builder: self, zone, other_ttl: HashSet::new(), full: HashSet::new() };
        let errors = read_zone_file(text, apex, &mut |record| reader.add(record));
        for error in errors {
            let place = zone.file_place(error.line, error.column, zone.label);
            self.reading.report(Diagnostic::error(place, error.message));
            zone.is_incomplete = true;
        }
    }
}

/// What a zone file's records become.
struct ZoneFileReader<'r, 'z, 't, 's> {
    builder: &'r mut Builder<'t, 's>,
    zone: &'r mut ZoneInMaking<'z>,
    /// Sets whose TTLs differ, which is told once.
    other_ttl: HashSet<u32>,
    /// Sets that are full, which is told once.
    full: HashSet<u32>,
}

impl ZoneFileReader<'_, '_, '_, '_> {
    fn add(&mut self, record: ZoneRecord<'_>) {
        // Most records are allowed by their type alone; whose they are is looked at once an owner.
        if self.is_refused(&record) {
            return;
        }
        let origin = Origin::line(record.line);
        match self.zone.sets.add_record(record.owner, record.rtype, record.ttl, record.rdata, origin) {
            Added::Fits => {}
            Added::BesideCname(other) => self.report_beside_cname(&record, other),
            Added::OtherTtl(set) => self.warn_of_other_ttl(&record, set),
            Added::Repeated(set) => {
                let warning = self.diagnostic(&record, set, Diagnostic::warning, "stands there twice");
                let rule = "a set has each record once (RFC 2181 section 5)";
                self.builder.reading.report(warning.rule(rule).hint("remove one"));
            }
            Added::Full(set) => self.report_full(&record, set),
            Added::TooLarge(set) => {
                if self.full.insert(set) {
                    let error = self.diagnostic(&record, set, Diagnostic::error, "is too large for any reply");
                    self.builder.reading.report(error.rule(TOO_LARGE_RULE).hint("remove some records"));
                }
            }
        }
    }

    /// Reports what may not be where it is.
    fn is_refused(&mut self, record: &ZoneRecord<'_>) -> bool {
        let is_usual = !matches!(record.rtype, Rtype::CNAME | Rtype::NS | Rtype::SOA);
        if is_usual && !record.owner_is_new && Rtype::ROUTE_53.contains(&record.rtype) && !self.zone.is_outside {
            return false;
        }
        let Ok(owner) = Name::from_wire(record.owner) else { return true };
        self.zone.is_outside = !owner.is_at_or_below(self.zone.apex);
        if record.owner_is_new && has_literal_asterisk(&owner) {
            let place = self.zone.file_place(record.line, 1, self.zone.label);
            let warning = Diagnostic::warning(place, format!("`{owner}` has a `*` in it"));
            self.builder.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        let Some(forbidden) = forbidden(&owner, record.rtype, self.zone.apex) else { return false };
        let place = self.zone.file_place(record.line, 1, self.zone.label);
        let error = Diagnostic::error(place, forbidden.problem).rule(forbidden.rule).hint(forbidden.hint);
        self.builder.reading.report(error);
        self.zone.is_incomplete = true;
        true
    }

    fn report_beside_cname(&mut self, record: &ZoneRecord<'_>, other: u32) {
        let set = self.zone.sets.set(other);
        let problem = beside_cname(&set.owner, record.rtype, set.rtype);
        let place = self.zone.file_place(record.line, 1, self.zone.label);
        let also = self.builder.record_place(self.zone, self.zone.sets.origin(other), "the other one");
        let error = Diagnostic::error(place, problem).also(also);
        self.builder.reading.report(error.rule(BESIDE_CNAME_RULE).hint(BESIDE_CNAME_HINT));
    }

    /// The TTLs of a set must be the same (RFC 2181 section 5.2); the lowest is the safe one.
    fn warn_of_other_ttl(&mut self, record: &ZoneRecord<'_>, set: u32) {
        if self.other_ttl.insert(set) {
            let warning = self.diagnostic(record, set, Diagnostic::warning, "has records with different TTLs");
            let rule = "the records of a set have one TTL (RFC 2181 section 5.2); the lowest is used";
            self.builder.reading.report(warning.rule(rule).hint("give them the same TTL"));
        }
    }

    fn report_full(&mut self, record: &ZoneRecord<'_>, set: u32) {
        if self.full.insert(set) {
            let most = records_max(record.rtype);
            let problem = format!("has more records than {most}");
            let error = self.diagnostic(record, set, Diagnostic::error, &problem);
            let rule = match most {
                1 => "RFC 2181 section 10.1 (CNAME), RFC 1035 section 5.2 (SOA)",
                _ => "Route 53 takes no more (Developer Guide, DNSLimitations)",
            };
            self.builder.reading.report(error.rule(rule).hint("remove some"));
        }
    }

    /// A diagnostic of a record and of the set that it is in.
    fn diagnostic(
        &self,
        record: &ZoneRecord<'_>,
        set: u32,
        severity: fn(crate::config::Place, String) -> Diagnostic,
        problem: &str,
    ) -> Diagnostic {
        let place = self.zone.file_place(record.line, 1, self.zone.label);
        let also = self.builder.record_place(self.zone, self.zone.sets.origin(set), "the first of the set");
        let owner = &self.zone.sets.set(set).owner;
        severity(place, format!("{} `{owner}` {problem}", record.rtype)).also(also)
    }
}

/// Whether a path is relative and never goes up.
pub(super) fn stays_inside(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_configuration() {
        for inside in ["corp.zone", "zones/corp.zone", "./zones/a..b"] {
            assert!(stays_inside(inside), "{inside}");
        }
        for outside in ["", "/", "/etc/passwd", "..", "zones/../../x", "a/..", "C:\\x", "x\0y"] {
            assert!(!stays_inside(outside), "{outside}");
        }
    }
}
