//! Whom to forward to: `[upstream]` and the targets of rules.

use super::Builder;
use super::address::{DNS_PORT, parse_socket_address};
use super::document::Texts;
use super::table::{OneOrMany, Text};
use crate::config::diagnostic::quoted;
use crate::dns::TargetGroup;
use std::net::SocketAddr;

impl<'t> Builder<'t, '_> {
    /// `[upstream] targets`: a list, or "system", which is also what nothing means.
    pub(super) fn settle_upstream(&mut self, targets: Option<OneOrMany<'t>>) {
        let label = UPSTREAM;
        match targets {
            None => self.settle_system_upstream(0, "`[upstream] targets` is absent, which means \"system\""),
            Some(OneOrMany::One(word)) if is_system(&word) => self.settle_system_upstream(word.at, label),
            Some(OneOrMany::One(word)) => {
                let problem = format!("`targets` cannot be {}", quoted(&word.value));
                let hint = match parse_socket_address(&word.value) {
                    Some(_) => format!("write it as a list: [{:?}]", word.value),
                    None => "write \"system\", or a list of addresses: [\"192.0.2.1\"]".to_owned(),
                };
                self.reading.report(self.reading.error(word.at, label, problem).hint(hint));
            }
            Some(OneOrMany::Many(texts)) => {
                if let Some(word) = texts.value.iter().find(|text| is_system(text)) {
                    let error = self.reading.error(word.at, label, "\"system\" is one of several targets");
                    self.reading.report(error.hint("write targets = \"system\", or addresses only"));
                    return;
                }
                let what = "a name that nobody here owns";
                self.model.upstream = TargetGroup::do53(self.targets(&texts, UPSTREAM_TARGETS_MAX, label, what));
            }
        }
    }

    /// The nameservers of resolv.conf but for ourselves.
    fn settle_system_upstream(&mut self, at: usize, label: &str) {
        let (listed, trouble) = match (self.surroundings.system_nameservers)() {
            Ok(listed) => (listed, None),
            Err(trouble) => (Vec::new(), Some(trouble)),
        };
        let listed: Vec<SocketAddr> =
            listed.into_iter().map(|ip| SocketAddr::from((ip.to_canonical(), DNS_PORT))).collect();
        let others = listed.iter().filter(|target| self.doors.reached_at(**target).is_none());
        self.model.upstream = TargetGroup::do53(others.copied().take(UPSTREAM_TARGETS_MAX));
        self.model.upstream_is_system = self.model.upstream.is_empty();
        if self.model.upstream_is_system {
            let why = match (trouble, listed.is_empty()) {
                (Some(trouble), _) => trouble,
                (None, true) => "resolv.conf names no nameserver".to_owned(),
                (None, false) => "resolv.conf names only doors of this daemon".to_owned(),
            };
            let warning = self.reading.warning(at, label, "there is nobody to forward to").rule(why);
            let hint = "until there is, names that nobody here owns get SERVFAIL; name the resolvers in \
                        [upstream] targets, or write targets = [] to refuse such names";
            self.reading.report(warning.hint(hint));
        }
    }

    /// Reads targets; `what` is what is sent to them. One that is a door of ours is a loop.
    pub(super) fn targets(&mut self, texts: &Texts<'t>, most: usize, label: &str, what: &str) -> Vec<SocketAddr> {
        let mut targets: Vec<SocketAddr> = Vec::new();
        for text in &texts.value {
            let Some(target) = self.socket_address(text, label, "`targets`") else { continue };
            if target.port() == 0 || target.ip().is_unspecified() {
                let problem = format!("nobody can be asked at {}", quoted(&text.value));
                let hint = "write the address and port of a resolver";
                self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
            } else if targets.contains(&target) {
                let problem = format!("{} is a target twice", quoted(&text.value));
                self.reading.report(self.reading.warning(text.at, label, problem).hint("remove one"));
            } else {
                self.refuse_loop(text, target, label, what);
                targets.push(target);
            }
        }
        if targets.len() > most {
            let problem = format!("there are {} targets", targets.len());
            let rule = format!("at most {most} are asked in turn");
            let hint = "name fewer, or a load balancer before them";
            self.reading.report(self.reading.error(texts.at, label, problem).rule(rule).hint(hint));
        }
        targets
    }

    /// Refuses a target that is a door of ours, as AWS does with rules (RSLVR-00804).
    fn refuse_loop(&mut self, text: &Text<'t>, target: SocketAddr, label: &str, what: &str) {
        let Some(door) = self.doors.reached_at(target) else { return };
        let problem = format!("the target {} is a door of this daemon", quoted(&text.value));
        let rule =
            format!("loop: {what} -> {label} -> {target} -> door of {} -> {label} -> … (RSLVR-00804)", door.label);
        let also = self.reading.place(door.at, format!("{}, `listen`", door.label));
        let error = self.reading.error(text.at, label, problem).also(also).rule(rule);
        self.reading.report(error.hint("name a resolver that is somebody else"));
    }
}

fn is_system(text: &Text<'_>) -> bool {
    text.value.eq_ignore_ascii_case("system")
}

/// How the upstream is called in messages.
const UPSTREAM: &str = "[upstream]";
/// Targets of one FORWARD rule (Route 53 Developer Guide, DNSLimitations).
pub(super) const RULE_TARGETS_MAX: usize = 6;
/// Targets of `[upstream]`; of resolv.conf the first ones.
const UPSTREAM_TARGETS_MAX: usize = 16;
