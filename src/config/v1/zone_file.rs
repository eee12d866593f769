//! A zone's `file` and those that it includes: RFC 1035 master files, read through the surroundings.

use super::Builder;
use super::hosted_zone::ZoneInMaking;
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::record_set::{BESIDE_CNAME_HINT, BESIDE_CNAME_RULE, beside_cname, forbidden};
use super::table::Text;
use super::zone_sets::{Added, Origin, TOO_LARGE_RULE, records_max};
use crate::config::diagnostic::{Diagnostic, Place, quoted};
use crate::dns::text::{IncludedFile, ZoneFileUser, ZoneRecord, read_zone_file};
use crate::dns::{Name, Rtype};
use std::collections::HashSet;
use std::path::{Component, Path};
use std::sync::Arc;

impl<'t> Builder<'t, '_> {
    /// The text of a zone's own file, and the how-manieth further file it is; none if the path leads out of the
    /// configuration's folder or nothing can be read.
    pub(super) fn zone_file_text(&mut self, file: &Text<'t>, label: &str) -> Option<(String, u32)> {
        if !stays_inside(&file.value) {
            let problem = format!("`file` {} leads out of the configuration's folder", quoted(&file.value));
            self.reading.report(self.reading.error(file.at, label, problem).rule(INSIDE_RULE));
            return None;
        }
        let rank = self.further_files.name(&file.value, self.reading.place(file.at, label));
        match (self.surroundings.read_file)(&file.value) {
            Ok(text) if text.is_empty() => {
                let problem = format!("the zone file {} is empty", quoted(&file.value));
                let error = self.reading.error(file.at, label, problem).rule(EMPTY_RULE);
                self.reading.report(error.hint(EMPTY_HINT));
                None
            }
            Ok(text) => Some((text, rank)),
            Err(trouble) => {
                let problem = format!("the zone file {} cannot be read", quoted(&file.value));
                let error = self.reading.error(file.at, label, problem).rule(trouble);
                self.reading.report(error.hint("the path counts from the configuration's folder"));
                None
            }
        }
    }

    /// Adds the records of a zone's files to its sets.
    pub(super) fn add_zone_file(&mut self, zone: &mut ZoneInMaking<'_>, path: &str, text: &str) {
        let apex = zone.apex;
        let mut reader = ZoneFileReader {
            builder: self,
            zone,
            other_ttl: HashSet::new(),
            full: HashSet::new(),
            strange_types: Vec::new(),
        };
        for error in read_zone_file(path, text, apex, &mut reader) {
            let (line, error) = (zone.files.line(error.file, error.error.line), error.error);
            let place = zone.file_place(line, error.column, zone.label);
            self.reading.report(Diagnostic::error(place, error.message));
            zone.is_incomplete = true;
        }
    }
}

/// The files of one zone, in the order in which they were begun. Their lines are numbered on from file to file, so that
/// four octets say where a record stands.
#[derive(Default)]
pub(super) struct ZoneFiles {
    files: Vec<ZoneFile>,
    /// Lines of all of them.
    lines: u32,
}

/// A line of a zone's files, numbered on from file to file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZoneLine(pub(super) u32);

struct ZoneFile {
    path: Arc<str>,
    /// The how-manieth further file of the configuration it is.
    rank: u32,
    /// Lines of those before it.
    lines_before: u32,
    /// Where it is included; none for the zone's own.
    included_at: Option<ZoneLine>,
}

impl ZoneFiles {
    /// Adds a file that begins to be read.
    pub(super) fn push(&mut self, path: &str, rank: u32, text: &str, included_at: Option<ZoneLine>) {
        let newlines = text.bytes().filter(|&octet| octet == b'\n').count() as u32;
        self.files.push(ZoneFile { path: path.into(), rank, lines_before: self.lines, included_at });
        self.lines = self.lines.saturating_add(newlines).saturating_add(1);
    }

    /// The line of a file.
    pub(super) fn line(&self, file: u32, line: u32) -> ZoneLine {
        ZoneLine(self.files[file as usize].lines_before + line)
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> usize {
        self.lines as usize
    }

    /// The place of a line. What a file is included by is part of its label: one file may be included twice.
    pub(super) fn place(&self, line: ZoneLine, column: u32, label: String) -> Place {
        let (file, line) = self.find(line);
        let label = match file.included_at {
            None => label,
            Some(at) => {
                let (by, line) = self.find(at);
                format!("{label}, included by {}:{line}", by.path)
            }
        };
        Place { file: file.path.clone(), rank: file.rank, line, column, label }
    }

    /// The file of a line, and the line's number there.
    fn find(&self, line: ZoneLine) -> (&ZoneFile, u32) {
        let file = self.files.partition_point(|file| file.lines_before < line.0).saturating_sub(1);
        let file = &self.files[file];
        (file, line.0 - file.lines_before)
    }
}

/// What the records of a zone's files become.
struct ZoneFileReader<'r, 'z, 't, 's> {
    builder: &'r mut Builder<'t, 's>,
    zone: &'r mut ZoneInMaking<'z>,
    /// Sets whose TTLs differ, which is told once.
    other_ttl: HashSet<u32>,
    /// Sets that are full, which is told once.
    full: HashSet<u32>,
    /// Types that Route 53 does not have, which is told once.
    strange_types: Vec<Rtype>,
}

impl ZoneFileUser for ZoneFileReader<'_, '_, '_, '_> {
    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String> {
        if !stays_inside(included.path) {
            return Err(format!("it leads out of the configuration's folder; {INSIDE_RULE}"));
        }
        let at = self.zone.files.line(included.file, included.line);
        let rank = self.builder.further_files.name(included.path, self.zone.file_place(at, 1, self.zone.label));
        let text = (self.builder.surroundings.read_file)(included.path)
            .map_err(|trouble| format!("{trouble}; the path counts from the configuration's folder"))?;
        if text.is_empty() {
            return Err(format!("it is empty: {EMPTY_RULE}; {EMPTY_HINT}"));
        }
        self.zone.files.push(included.path, rank, &text, Some(at));
        Ok(text)
    }

    fn record(&mut self, record: ZoneRecord<'_>) {
        // Most records are allowed by their type alone; whose they are is looked at once an owner.
        if self.is_refused(&record) {
            return;
        }
        let origin = Origin::line(self.line_of(&record));
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
}

impl ZoneFileReader<'_, '_, '_, '_> {
    fn line_of(&self, record: &ZoneRecord<'_>) -> ZoneLine {
        self.zone.files.line(record.file, record.line)
    }

    /// The place of a record.
    fn place_of(&self, record: &ZoneRecord<'_>) -> Place {
        self.zone.file_place(self.line_of(record), 1, self.zone.label)
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
            let place = self.place_of(record);
            let warning = Diagnostic::warning(place, format!("`{owner}` has a `*` in it"));
            self.builder.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        if !Rtype::ROUTE_53.contains(&record.rtype) && !self.strange_types.contains(&record.rtype) {
            self.strange_types.push(record.rtype);
            let warning = Diagnostic::warning(self.place_of(record), format!("`{owner}` has {} records", record.rtype));
            let rule = "Route 53 knows 17 types (Developer Guide, ResourceRecordTypes); here the octets are served as \
                        they stand";
            self.builder.reading.report(warning.rule(rule));
        }
        let Some(forbidden) = forbidden(&owner, record.rtype, self.zone.apex) else { return false };
        let place = self.place_of(record);
        let error = Diagnostic::error(place, forbidden.problem).rule(forbidden.rule).hint(forbidden.hint);
        self.builder.reading.report(error);
        self.zone.is_incomplete = true;
        true
    }

    fn report_beside_cname(&mut self, record: &ZoneRecord<'_>, other: u32) {
        let set = self.zone.sets.set(other);
        let problem = beside_cname(&set.owner, record.rtype, set.rtype);
        let place = self.place_of(record);
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
        severity: fn(Place, String) -> Diagnostic,
        problem: &str,
    ) -> Diagnostic {
        let place = self.place_of(record);
        let also = self.builder.record_place(self.zone, self.zone.sets.origin(set), "the first of the set");
        let owner = &self.zone.sets.set(set).owner;
        severity(place, format!("{} `{owner}` {problem}", record.rtype)).also(also)
    }
}

/// Where files lie that a zone is read from.
const INSIDE_RULE: &str = "a zone file is named by its path from there, without `..`";
/// Why a file without one octet is no zone: what made it broke off before the first, and its names would be gone.
const EMPTY_RULE: &str = "a file that was cut off, as by a full disk, looks like that";
/// What to do about it.
const EMPTY_HINT: &str = "write it again, or a comment (`; nothing yet`) if there is to be nothing in it";

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
