//! `[[health_check]]`, and references to health checks.

mod monitored;

use super::Builder;
use super::document::HealthCheckTable;
use super::settings::word;
use super::source::At;
use super::table::Text;
use crate::aws::health_check::CHILD_HEALTH_CHECKS_MAX;
use crate::aws::{HealthCheck, HealthCheckIndex, HealthCheckKind};
use crate::config::diagnostic::{nearest, quoted};
use monitored::Protocol;
use std::collections::HashMap;

/// Keys that belong to some types only.
pub(super) const KEYS_OF_TYPES: [&str; 13] = [
    "status",
    "insufficient_data_health_status",
    "routing_control_arn",
    "child_health_checks",
    "health_threshold",
    "ip_address",
    "fully_qualified_domain_name",
    "port",
    "resource_path",
    "search_string",
    "enable_sni",
    "request_interval",
    "failure_threshold",
];

/// How a check comes to its status.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    Manual,
    CloudwatchMetric,
    RecoveryControl,
    Calculated,
    Monitored(Protocol),
}

/// The types of health checks.
const TYPES: [(&str, Type); 9] = [
    ("manual", Type::Manual),
    ("calculated", Type::Calculated),
    ("HTTP", Type::Monitored(Protocol::Http { is_https: false, is_searched: false })),
    ("HTTPS", Type::Monitored(Protocol::Http { is_https: true, is_searched: false })),
    ("HTTP_STR_MATCH", Type::Monitored(Protocol::Http { is_https: false, is_searched: true })),
    ("HTTPS_STR_MATCH", Type::Monitored(Protocol::Http { is_https: true, is_searched: true })),
    ("TCP", Type::Monitored(Protocol::Tcp)),
    ("CLOUDWATCH_METRIC", Type::CloudwatchMetric),
    ("RECOVERY_CONTROL", Type::RecoveryControl),
];

impl Type {
    /// Whether a check of this type has a key of [`KEYS_OF_TYPES`].
    fn has(self, key: &str) -> bool {
        match (key, self) {
            ("status", Self::Manual | Self::CloudwatchMetric | Self::RecoveryControl) => true,
            ("insufficient_data_health_status", Self::CloudwatchMetric) => true,
            ("routing_control_arn", Self::RecoveryControl) => true,
            ("child_health_checks" | "health_threshold", Self::Calculated) => true,
            (key, Self::Monitored(protocol)) => protocol.has(key),
            _ => false,
        }
    }
}

impl<'t> Builder<'t, '_> {
    /// Settles every health check, each behind those that it looks at.
    pub(super) fn settle_health_checks(&mut self, tables: &[HealthCheckTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            if let Some(id) = &table.id {
                by_id.entry(&id.value).or_insert(index);
                self.health_check_indexes.insert(id.value.clone().into_owned(), None);
            }
        }
        let mut states = vec![State::Ahead; tables.len()];
        for start in 0..tables.len() {
            let mut path = vec![(start, 0)];
            while let Some((at, next_child)) = path.pop() {
                if states[at] == State::Done {
                    continue;
                }
                states[at] = State::OnPath;
                let Some(child) = children(&tables[at]).get(next_child) else {
                    states[at] = State::Done;
                    self.add_health_check(&tables[at]);
                    continue;
                };
                path.push((at, next_child + 1));
                match by_id.get(child.value.as_ref()) {
                    Some(&child) if states[child] == State::Ahead => path.push((child, 0)),
                    Some(&child) if states[child] == State::OnPath => {
                        self.report_health_check_loop(tables, &path, child);
                        // Told once: what is left of the loop is refused with it.
                        states[child] = State::Done;
                    }
                    Some(_) | None => {}
                }
            }
        }
    }

    fn report_health_check_loop(&mut self, tables: &[HealthCheckTable<'t>], path: &[(usize, usize)], back_to: usize) {
        let start = path.iter().position(|(at, _)| *at == back_to).unwrap_or_default();
        let of_loop = || path[start..].iter().map(|(at, _)| &tables[*at]);
        let names = of_loop().chain([&tables[back_to]]).take(LOOP_NAMES_MAX);
        let names: Vec<&str> = names.filter_map(|table| table.id.as_ref().map(|id| id.value.as_ref())).collect();
        let table = &tables[back_to];
        let mut error = self.reading.error(table.at, &table.label, "the health check looks at itself");
        for other in of_loop().skip(1).take(LOOP_NAMES_MAX) {
            error = error.also(self.reading.place(other.at, &other.label));
        }
        let error = error.rule(format!("loop: {}", names.join(" -> ")));
        self.reading.report(error.hint("take one of them out of `child_health_checks`"));
    }

    fn add_health_check(&mut self, table: &HealthCheckTable<'t>) {
        let Some(kind) = self.health_check_kind(table) else { return };
        let Some(id) = &table.id else { return };
        let is_set = |flag: &Option<At<bool>>| flag.is_some_and(|flag| flag.value);
        let index = HealthCheckIndex(self.model.health_checks.len() as u32);
        self.model.health_checks.push(HealthCheck {
            id: id.value.as_ref().into(),
            kind,
            inverted: is_set(&table.inverted),
            disabled: is_set(&table.disabled),
        });
        self.health_check_indexes.insert(id.value.clone().into_owned(), Some(index));
    }

    /// What kind of check it is; says so where that cannot be.
    fn health_check_kind(&mut self, table: &HealthCheckTable<'t>) -> Option<HealthCheckKind> {
        let text = table.kind.as_ref()?;
        let Some((name, kind)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text.value)) else {
            let problem = format!("there are no health checks of type {} here", quoted(&text.value));
            let error = self.reading.error(text.at, &table.label, problem);
            let all = TYPES.map(|(name, _)| format!("\"{name}\"")).join(", ");
            self.reading.report(error.hint(format!("write one of {all}")));
            return None;
        };
        for key in table.of_types.iter().filter(|key| !kind.has(key)) {
            let problem = format!("a health check of type \"{name}\" has no `{key}`");
            self.reading.report(self.reading.error(text.at, &table.label, problem).hint(format!("remove `{key}`")));
        }
        match *kind {
            Type::Manual | Type::CloudwatchMetric | Type::RecoveryControl => self.switch(table, *kind),
            Type::Calculated => self.calculated(table),
            Type::Monitored(protocol) => self.monitored(table, protocol).map(HealthCheckKind::Monitored),
        }
    }

    /// A check whose status stands in the file.
    fn switch(&mut self, table: &HealthCheckTable<'t>, kind: Type) -> Option<HealthCheckKind> {
        let has_alarm = kind == Type::CloudwatchMetric;
        let insufficient = self.insufficient_data_health_status(table);
        let Some(status) = &table.status else {
            self.say_missing(table, "status", "\"healthy\"");
            return None;
        };
        let healthy = match status.value.to_ascii_lowercase().as_str() {
            "healthy" => Some(true),
            "unhealthy" => Some(false),
            "insufficient_data" if has_alarm => insufficient?,
            _ => {
                let problem = format!("{} is no status", quoted(&status.value));
                let error = self.reading.error(status.at, &table.label, problem);
                let hint = match has_alarm {
                    true => "write \"healthy\", \"unhealthy\" or \"insufficient_data\"",
                    false => "write \"healthy\" or \"unhealthy\"",
                };
                self.reading.report(error.hint(hint));
                return None;
            }
        };
        let routing_control_arn = table.routing_control_arn.as_ref().map(|arn| arn.value.as_ref().into());
        Some(HealthCheckKind::Manual { healthy, routing_control_arn })
    }

    /// What an alarm without enough data counts as; inner none: as it was last, which is also what is taken where nothing
    /// is written (Route 53 API, HealthCheckConfig: InsufficientDataHealthStatus).
    fn insufficient_data_health_status(&mut self, table: &HealthCheckTable<'t>) -> Option<Option<bool>> {
        let Some(text) = &table.insufficient_data_health_status else {
            return (!table.of_types.contains(&"insufficient_data_health_status")).then_some(None);
        };
        let words = [("Healthy", Some(true)), ("Unhealthy", Some(false)), ("LastKnownStatus", None)];
        word(text, &words, &table.label, "insufficient_data_health_status", &mut self.reading)
    }

    /// Says that a key of its type is missing, unless it is there and wrong, which has been said.
    fn say_missing(&mut self, table: &HealthCheckTable<'t>, key: &str, example: &str) {
        if !table.of_types.contains(&key) {
            let error = self.reading.error(table.at, &table.label, format!("`{key}` is missing"));
            self.reading.report(error.hint(format!("add `{key} = {example}`")));
        }
    }

    fn calculated(&mut self, table: &HealthCheckTable<'t>) -> Option<HealthCheckKind> {
        let Some(texts) = &table.child_health_checks else {
            self.say_missing(table, "child_health_checks", "[\"ID\"]");
            return None;
        };
        if texts.value.len() > CHILD_HEALTH_CHECKS_MAX {
            let problem = format!("the health check looks at {} others", texts.value.len());
            let rule = format!("at most {CHILD_HEALTH_CHECKS_MAX} (Route 53 Developer Guide, DNSLimitations)");
            self.reading.report(self.reading.error(texts.at, &table.label, problem).rule(rule).hint("remove some"));
        }
        let mut seen = std::collections::HashSet::new();
        let mut children = Vec::with_capacity(texts.value.len());
        for text in &texts.value {
            if !seen.insert(&text.value) {
                let problem = format!("{} is a child twice", quoted(&text.value));
                self.reading.report(self.reading.error(text.at, &table.label, problem).hint("remove one"));
                continue;
            }
            children.extend(self.health_check_index(text, &table.label));
        }
        // Absent, all must be healthy: the console's "all health checks are healthy" is what AWS calls its AND.
        let health_threshold = match table.health_threshold {
            Some(threshold) => u32::try_from(threshold.value).unwrap_or(u32::MAX),
            None => children.len() as u32,
        };
        Some(HealthCheckKind::Calculated { health_threshold, children })
    }

    /// The health check that an id stands for; says so where there is none.
    pub(super) fn health_check_index(&mut self, text: &Text<'t>, label: &str) -> Option<HealthCheckIndex> {
        if let Some(index) = self.health_check_indexes.get(text.value.as_ref()) {
            return *index;
        }
        let known = &self.health_check_indexes;
        let compared_max = if self.reading.diagnostics.is_crowded() { 0 } else { CHECKS_COMPARED_MAX };
        let hint = match nearest(&text.value, known.keys().take(compared_max).map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "there is no [[health_check]] in this file".to_owned(),
            None => "write the `id` of a [[health_check]]".to_owned(),
        };
        let problem = format!("no health check has the id {}", quoted(&text.value));
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        None
    }
}

/// How far a check has come, on the way from those that look at others to those that they look at.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Ahead,
    OnPath,
    Done,
}

/// The checks that a check looks at, as written.
fn children<'a, 't>(table: &'a HealthCheckTable<'t>) -> &'a [Text<'t>] {
    table.child_health_checks.as_ref().map_or(&[], |texts| &texts.value)
}

/// Ids that an unknown one is compared with, which takes a microsecond each.
const CHECKS_COMPARED_MAX: usize = 1000;
/// Names of a loop that a message shows.
const LOOP_NAMES_MAX: usize = 8;
