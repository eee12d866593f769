//! Entries of a zone's `records`, and what Route 53 and DNS forbid of any record set.

use super::Builder;
use super::document::RecordTable;
use super::hosted_zone::ZoneInMaking;
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::routing_policy::Refused;
use super::table::Text;
use super::zone_sets::{Added, Origin, REPLY_OCTETS_OF_A_SET_MAX, TOO_LARGE_RULE, records_max, reply_octets};
use crate::aws::RecordSet;
use crate::aws::record_set::{AliasTarget, RecordData, push_rdata};
use crate::config::diagnostic::quoted;
use crate::dns::text::{Escapes, parse_folded_name, parse_rdata};
use crate::dns::{Name, Rtype, Ttl};
use std::collections::HashSet;

/// Why a record set may not be where it is.
pub(super) struct Forbidden {
    pub(super) problem: String,
    pub(super) rule: &'static str,
    pub(super) hint: &'static str,
}

/// What Route 53 and DNS forbid of an owner and a type in a zone.
pub(super) fn forbidden(owner: &Name, rtype: Rtype, apex: &Name) -> Option<Forbidden> {
    let is_apex = owner == apex;
    let (problem, rule, hint) = match rtype {
        _ if !owner.is_at_or_below(apex) => (
            format!("`{owner}` lies outside the zone `{apex}`"),
            "a zone holds its apex and what is below (RFC 1034 section 4.2)",
            "put it into the zone that it belongs to, or leave the final dot out",
        ),
        Rtype::CNAME if is_apex => (
            format!("a CNAME at the apex, `{owner}`"),
            "the apex has an SOA and NS, and a CNAME has no other data beside it (RFC 1034 section 3.6.2)",
            "write an alias of type A or AAAA, or the addresses",
        ),
        Rtype::NS | Rtype::SOA if owner.is_wildcard() => (
            format!("a wildcard {rtype}, `{owner}`"),
            "Route 53 refuses it (Developer Guide, DomainNameFormat), and RFC 4592 sections 4.1 and 4.2 leave it undefined",
            "remove it",
        ),
        Rtype::SOA if !is_apex => (
            format!("an SOA below the apex, `{owner}`"),
            "a zone has one SOA, at its apex (RFC 1035 section 5.2)",
            "remove it, or make a hosted zone of that name",
        ),
        _ => return None,
    };
    Some(Forbidden { problem, rule, hint })
}

impl<'t> Builder<'t, '_> {
    /// Adds the entries of a zone's `records` to its sets.
    pub(super) fn add_records(&mut self, zone: &mut ZoneInMaking<'_>, records: &[RecordTable<'t>]) {
        for record in records {
            let Some((owner, rtype)) = self.owner_and_type(zone, record) else {
                zone.is_incomplete = true;
                continue;
            };
            let mut label = format!("{}, {rtype} `{owner}`", zone.label);
            if let Some(identifier) = &record.routing.set_identifier {
                label = format!("{label}, set {}", quoted(&identifier.value));
            }
            let is_routed = record.routing.set_identifier.is_some() || !record.routing.policies.is_empty();
            if let Some(other) = zone.sets.find(&owner, rtype)
                && !(is_routed && zone.sets.set(other).routing.is_some())
            {
                self.report_second_set(zone, record.at, label, &owner, rtype, is_routed);
                continue;
            }
            let aliases_before = zone.aliases.len();
            let data = self.record_data(zone, record, rtype, &label);
            let routing = self.routing(record, rtype, &label);
            let has_room = routing.as_ref().is_ok_and(|routing| {
                routing
                    .as_ref()
                    .is_none_or(|routing| self.has_room_for(zone, (&owner, rtype), routing, record.at, &label))
            });
            match routing {
                Ok(routing) if has_room => {
                    if routing.is_some() {
                        zone.routed.push((zone.next_set(), record.at, label.clone()));
                    }
                    self.add_set(zone, RecordSet { owner, rtype, data, routing }, record.at, label);
                }
                Ok(_) | Err(Refused) => {
                    zone.aliases.truncate(aliases_before);
                    zone.is_incomplete = true;
                }
            }
        }
    }

    /// Says that a set of this owner and type is there, and that the two cannot be beside each other.
    fn report_second_set(
        &mut self,
        zone: &ZoneInMaking<'_>,
        at: usize,
        label: String,
        owner: &Name,
        rtype: Rtype,
        is_routed: bool,
    ) {
        let problem = format!("the zone has two record sets {rtype} `{owner}`");
        let Some(other) = zone.sets.find(owner, rtype) else { return };
        let other_is_routed = zone.sets.set(other).routing.is_some();
        let also = self.record_place(zone, zone.sets.origin(other), "the other one");
        let error = self.reading.error(at, label, problem).also(also);
        let (rule, hint) = if is_routed || other_is_routed {
            (
                "one of the two has a routing policy, and the sets of a name and type all have the same",
                "give both `set_identifier` and the same policy, or remove one",
            )
        } else {
            ("name and type say which set it is; the file and `records` are one", "put all values into one of them")
        };
        self.reading.report(error.rule(rule).hint(hint));
    }

    fn add_set(&mut self, zone: &mut ZoneInMaking<'_>, set: RecordSet, at: usize, label: String) {
        let (owner, rtype) = (set.owner.clone(), set.rtype);
        if let Added::BesideCname(other) = zone.sets.add_set(set, Origin::octet(at)) {
            let also = self.record_place(zone, zone.sets.origin(other), "the other one");
            let other = zone.sets.set(other).rtype;
            let error = self.reading.error(at, label, beside_cname(&owner, rtype, other)).also(also);
            self.reading.report(error.rule(BESIDE_CNAME_RULE).hint(BESIDE_CNAME_HINT));
        }
    }

    /// Whose records they are and of which type; none if either is missing or not allowed, which has been told.
    fn owner_and_type(&mut self, zone: &ZoneInMaking<'_>, record: &RecordTable<'t>) -> Option<(Name, Rtype)> {
        let owner = record.name.as_ref().and_then(|name| self.owner(zone, name));
        let rtype = record.rtype.as_ref().and_then(|text| match text.value.parse::<Rtype>() {
            Ok(rtype) => Some((rtype, text.at)),
            Err(_) => {
                let problem = format!("{} is not a record type", quoted(&text.value));
                let all: Vec<String> = Rtype::ROUTE_53.iter().map(Rtype::to_string).collect();
                let hint = format!("write one of {}", all.join(", "));
                self.reading.report(self.reading.error(text.at, zone.records_label(), problem).hint(hint));
                None
            }
        });
        let ((owner, owner_at), (rtype, type_at)) = (owner?, rtype?);
        if !Rtype::ROUTE_53.contains(&rtype) {
            let problem = format!("a hosted zone cannot hold {rtype} records");
            let error = self.reading.error(type_at, zone.records_label(), problem);
            let rule = "Route 53 knows 17 types (Developer Guide, ResourceRecordTypes)";
            self.reading.report(error.rule(rule).hint("remove it"));
            return None;
        }
        if let Some(forbidden) = forbidden(&owner, rtype, zone.apex) {
            let error = self.reading.error(owner_at, zone.records_label(), forbidden.problem);
            self.reading.report(error.rule(forbidden.rule).hint(forbidden.hint));
            return None;
        }
        if has_literal_asterisk(&owner) {
            let problem = format!("`{owner}` has a `*` in it");
            let warning = self.reading.warning(owner_at, zone.records_label(), problem);
            self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        Some((owner, rtype))
    }

    /// Reads an owner: relative to the zone, absolute with a final dot.
    fn owner(&mut self, zone: &ZoneInMaking<'_>, text: &Text<'t>) -> Option<(Name, usize)> {
        let name = match parse_folded_name(&text.value, Escapes::Octal, Some(zone.apex)) {
            Ok(name) => name,
            Err(error) => {
                let problem = format!("`name` {} is not a domain name", quoted(&text.value));
                let error = self.reading.error(text.at, zone.records_label(), problem).rule(error.to_string());
                let hint = text.value.is_empty().then(|| "write `@` for the apex".to_owned());
                self.reading.report(error.maybe_hint(hint));
                return None;
            }
        };
        // Read as absolute: the same text, unless it is relative.
        let absolute = parse_folded_name(&text.value, Escapes::Octal, None).ok();
        let is_relative = absolute.as_ref().is_some_and(|absolute| *absolute != name);
        match absolute {
            Some(absolute) if is_relative && !zone.apex.is_root() && absolute.is_at_or_below(zone.apex) => {
                let problem = format!("`name` {} can be read in two ways", quoted(&text.value));
                let labels = absolute.label_count() - zone.apex.label_count();
                let short = relative(&absolute, labels);
                let rule = "without a final dot a name is relative to the zone, and this one ends in the zone's name";
                let hint = format!("write `{short}` or `{absolute}` if that is meant; else `{name}`");
                let error = self.reading.error(text.at, zone.records_label(), problem).rule(rule);
                self.reading.report(error.hint(hint));
                None
            }
            _ => Some((name, text.at)),
        }
    }

    /// What a record set holds: values with a TTL, or an alias without.
    fn record_data(
        &mut self,
        zone: &mut ZoneInMaking<'_>,
        record: &RecordTable<'t>,
        rtype: Rtype,
        label: &str,
    ) -> RecordData {
        let records = RecordData::Records { ttl: Ttl::DEFAULT, rdatas: Box::default() };
        if let (None, Some(evaluate)) = (&record.alias, record.evaluate_target_health) {
            let error = self.reading.error(evaluate.at, label, "`evaluate_target_health` without an `alias`");
            let rule = "it asks for the health of what an alias points at (Route 53 API, AliasTarget)";
            self.reading.report(error.rule(rule).hint("remove it; a set with values has a `health_check`"));
        }
        let (problem, at, hint) = match (&record.values, &record.alias) {
            (Some(values), None) => {
                let ttl = self.record_ttl(record, label);
                return RecordData::Records { ttl, rdatas: self.values(&values.value, values.at, rtype, label) };
            }
            (None, Some(alias)) => {
                if let Some(ttl) = record.ttl {
                    let error = self.reading.error(ttl.at, label, "an alias has no `ttl`");
                    let rule = "it is answered with the target's (Route 53 Developer Guide, \
                                resource-record-sets-choosing-alias-non-alias)";
                    self.reading.report(error.rule(rule).hint("remove `ttl`"));
                }
                let evaluate_target_health = record.evaluate_target_health.is_some_and(|evaluate| evaluate.value);
                return self.alias(zone, alias, evaluate_target_health, rtype, label).unwrap_or(records);
            }
            (Some(_), Some(alias)) => ("the record set has `values` and an `alias`", alias.at, "remove one of them"),
            (None, None) if record.has_data => return records,
            (None, None) => ("the record set has no `values`", record.at, "add `values = […]`, or an `alias`"),
        };
        self.reading.report(self.reading.error(at, label, problem).hint(hint));
        records
    }

    /// An alias as it is written; what it points at is settled when the whole zone is known.
    fn alias(
        &mut self,
        zone: &mut ZoneInMaking<'_>,
        text: &Text<'t>,
        evaluate_target_health: bool,
        rtype: Rtype,
        label: &str,
    ) -> Option<RecordData> {
        if matches!(rtype, Rtype::NS | Rtype::SOA) {
            let error = self.reading.error(text.at, label, format!("an alias of type {rtype}"));
            let rule = "Route 53 has none (Developer Guide, resource-record-sets-values-alias-common)";
            self.reading.report(error.rule(rule).hint("write `values`"));
            return None;
        }
        let target = self.absolute_name(text, label, "alias")?;
        zone.aliases.push((zone.next_set(), text.at, label.to_owned()));
        Some(RecordData::Alias { target: AliasTarget::Forwarded(target), evaluate_target_health })
    }

    fn record_ttl(&mut self, record: &RecordTable<'t>, label: &str) -> Ttl {
        let Some(ttl) = record.ttl else { return Ttl::DEFAULT };
        let read = u32::try_from(ttl.value).ok().and_then(Ttl::from_seconds);
        if read.is_none() {
            let problem = format!("`ttl = {}` is too large", ttl.value);
            let rule = "a TTL is at most 2147483647 seconds (RFC 2181 section 8)";
            self.reading.report(self.reading.error(ttl.at, label, problem).rule(rule));
        }
        read.unwrap_or(Ttl::DEFAULT)
    }

    /// Reads values as Route 53 writes them, one record each.
    fn values(&mut self, values: &[Text<'t>], at: usize, rtype: Rtype, label: &str) -> Box<[u8]> {
        if values.is_empty() {
            let error = self.reading.error(at, label, "the record set has no values");
            self.reading.report(error.hint("add one, or remove the record set"));
        }
        let most = records_max(rtype);
        if values.len() > most {
            let problem = format!("the record set has {} values", values.len());
            let rule = match most {
                1 => format!("a {rtype} set holds one record (RFC 2181 section 10.1, RFC 1035 section 5.2)"),
                _ => format!("a set holds at most {most} (Route 53 Developer Guide, DNSLimitations)"),
            };
            self.reading.report(self.reading.error(at, label, problem).rule(rule).hint("remove some"));
        }
        let mut packed = Vec::new();
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for text in values {
            match parse_rdata(rtype, &text.value, Escapes::Octal, None) {
                Ok(rdata) if seen.contains(&rdata) => {
                    let problem = format!("the value {} stands there twice", quoted(&text.value));
                    self.reading.report(self.reading.warning(text.at, label, problem).hint("remove one"));
                }
                Ok(rdata) => {
                    push_rdata(&mut packed, &rdata);
                    seen.insert(rdata);
                }
                Err(error) => {
                    let problem = format!("bad {rtype} value {}", quoted(&text.value));
                    self.reading.report(self.reading.error(text.at, label, problem).rule(error.message));
                }
            }
        }
        let octets = reply_octets(&packed);
        if octets > REPLY_OCTETS_OF_A_SET_MAX {
            let problem = format!("the record set takes {octets} octets in a reply");
            let error = self.reading.error(at, label, problem);
            self.reading.report(error.rule(TOO_LARGE_RULE).hint("shorten or remove some values"));
        }
        packed.into()
    }
}

/// The first `labels` labels of a name in presentation form, `@` for none.
fn relative(name: &Name, labels: usize) -> String {
    match Name::from_labels(name.labels().take(labels)) {
        Ok(name) if !name.is_root() => name.to_string().trim_end_matches('.').to_owned(),
        _ => "@".to_owned(),
    }
}

/// Two sets of an owner, one of which is a CNAME.
pub(super) fn beside_cname(owner: &Name, rtype: Rtype, other: Rtype) -> String {
    format!("a CNAME beside other data: `{owner}` has {other} and {rtype}")
}

/// What is wrong with that.
pub(super) const BESIDE_CNAME_RULE: &str = "a name with a CNAME has no other data (RFC 1034 section 3.6.2)";
/// What to do about it.
pub(super) const BESIDE_CNAME_HINT: &str = "remove the CNAME, or move the other records to its target";
