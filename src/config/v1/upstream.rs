//! `[upstream]`: where names go that nobody here owns, and how all targets are asked.

use super::Builder;
use super::document::{TargetEntry, UPSTREAM, UpstreamTable};
use super::source::At;
use super::table::{OneOrMany, Text};
use super::target::{TARGETS_MAX, why_nobody_is_at};
use crate::aws::RuleAction;
use crate::config::diagnostic::quoted;
use crate::config::settings::{Bootstrap, CASE_RANDOMIZATION, COOKIES, UpstreamSettings};
use crate::dns::target::{DNS_PORT, parse_socket_address};
use crate::dns::{Target, TargetGroup, TargetHost};
use std::net::SocketAddr;

impl<'t> Builder<'t, '_> {
    /// `targets`: a list, or "system", which is also what nothing means.
    pub(super) fn settle_upstream(&mut self, table: &UpstreamTable<'t>) {
        let order = table.order.as_ref();
        match &table.targets {
            None => {
                self.settle_system_upstream(0, "`[upstream] targets` is absent, which means \"system\"");
                self.model.upstream.order = self.target_order(order, UPSTREAM);
            }
            Some(OneOrMany::One(word)) if is_system(word) => {
                self.settle_system_upstream(word.at, UPSTREAM);
                self.model.upstream.order = self.target_order(order, UPSTREAM);
            }
            Some(OneOrMany::One(word)) => {
                let problem = format!("`targets` cannot be {}", quoted(&word.value));
                let hint = match word.value.parse::<Target>() {
                    Ok(_) => format!("write it as a list: [{:?}]", word.value),
                    Err(_) => "write \"system\", or a list of targets: [\"192.0.2.1\"]".to_owned(),
                };
                self.reading.report(self.reading.error(word.at, UPSTREAM, problem).hint(hint));
            }
            Some(OneOrMany::Many(entries)) => {
                let mut texts = entries.value.iter().filter_map(TargetEntry::text);
                if let Some(word) = texts.find(|text| is_system(text)) {
                    let error = self.reading.error(word.at, UPSTREAM, "\"system\" is one of several targets");
                    self.reading.report(error.hint("write targets = \"system\", or addresses only"));
                    return;
                }
                let what = "a name that nobody here owns";
                self.model.upstream = self.target_group(entries, order, UPSTREAM, what);
            }
        }
    }

    /// The nameservers of resolv.conf but for ourselves.
    fn settle_system_upstream(&mut self, at: usize, label: &str) {
        let found = self.system_nameservers();
        self.model.upstream = TargetGroup::do53(found.as_ref().ok().into_iter().flatten().copied());
        self.model.upstream_is_system = self.model.upstream.is_empty();
        if let Err(why) = found {
            let warning = self.reading.warning(at, label, "there is nobody to forward to").rule(why);
            let hint = "until there is, names that nobody here owns get SERVFAIL; name the resolvers in \
                        [upstream] targets, or write targets = [] to refuse such names";
            self.reading.report(warning.hint(hint));
        }
    }

    /// The first nameservers of resolv.conf without our own doors; why there is none where there is none.
    fn system_nameservers(&self) -> Result<Vec<SocketAddr>, String> {
        let listed = (self.surroundings.system_nameservers)()?;
        let address = |ip: &std::net::IpAddr| SocketAddr::from((ip.to_canonical(), DNS_PORT));
        let others = listed.iter().map(address).filter(|server| self.door_reached_at(*server).is_none());
        let others: Vec<SocketAddr> = others.take(TARGETS_MAX).collect();
        match (others.is_empty(), listed.is_empty()) {
            (false, _) => Ok(others),
            (true, true) => Err("resolv.conf names no nameserver".to_owned()),
            (true, false) => Err("resolv.conf names only doors of this daemon".to_owned()),
        }
    }

    /// How all targets are asked. Comes last: what is said here is of no use to certain targets.
    pub(super) fn upstream_settings(&mut self, table: &UpstreamTable<'t>) -> UpstreamSettings {
        let rules = self.model.resolver_rules.iter().filter_map(|rule| match &rule.action {
            RuleAction::Forward(group) => Some(group),
            RuleAction::System | RuleAction::Delegate => None,
        });
        let targets = || std::iter::once(&self.model.upstream).chain(rules.clone()).flat_map(|group| &group.targets);
        let named = targets().find_map(|target| match &target.host {
            TargetHost::Name(name) => Some(name.clone()),
            TargetHost::Address(_) => None,
        });
        let is_any_encrypted = targets().any(Target::is_encrypted);
        let bootstrap = self.bootstrap(table.bootstrap.as_ref(), named.as_deref());
        let tls_roots = table.tls_roots.as_ref().and_then(|file| self.tls_roots(file));
        if let Some(file) = table.tls_roots.as_ref().filter(|_| !is_any_encrypted) {
            self.warn_of_idle_key("tls_roots", file.at, "no target is tls://, https:// or quic://");
        }
        UpstreamSettings {
            case_randomization: table.case_randomization.map_or(CASE_RANDOMIZATION, |on| on.value),
            cookies: table.cookies.map_or(COOKIES, |on| on.value),
            bootstrap,
            tls_roots,
        }
    }

    /// `bootstrap`: who is asked for the addresses of targets that are host names, of which `named` is one.
    fn bootstrap(&mut self, written: Option<&OneOrMany<'t, Text<'t>>>, named: Option<&str>) -> Bootstrap {
        match written {
            None => self.system_bootstrap(0, "`[upstream] bootstrap` is absent, which means \"system\"", named),
            Some(OneOrMany::One(word)) if is_system(word) => self.system_bootstrap(word.at, UPSTREAM, named),
            Some(OneOrMany::One(word)) => {
                let problem = format!("`bootstrap` cannot be {}", quoted(&word.value));
                let hint = match parse_socket_address(&word.value) {
                    Some(_) => format!("write it as a list: [{:?}]", word.value),
                    None => "write \"system\", or a list of addresses: [\"192.0.2.1\"]".to_owned(),
                };
                self.reading.report(self.reading.error(word.at, UPSTREAM, problem).hint(hint));
                Bootstrap::System
            }
            Some(OneOrMany::Many(texts)) => self.listed_bootstrap(texts, named),
        }
    }

    /// The system's nameservers, where anybody has to be asked.
    fn system_bootstrap(&mut self, at: usize, label: &str, named: Option<&str>) -> Bootstrap {
        let Some(named) = named else { return Bootstrap::System };
        match self.system_nameservers() {
            Ok(servers) => self.model.bootstrap = servers,
            Err(why) => {
                let problem = format!("nobody can be asked for the addresses of the target `{named}`");
                let warning = self.reading.warning(at, label, problem).rule(why);
                let hint = "until somebody can, it is away; write [upstream] bootstrap = [\"192.0.2.1\"], or its \
                            address: tls://192.0.2.1#dns.example";
                self.reading.report(warning.hint(hint));
            }
        }
        Bootstrap::System
    }

    fn listed_bootstrap(&mut self, texts: &At<Vec<Text<'t>>>, named: Option<&str>) -> Bootstrap {
        let mut servers: Vec<SocketAddr> = Vec::new();
        for text in &texts.value {
            let Some(server) = self.bootstrap_server(text) else { continue };
            if servers.contains(&server) {
                let problem = format!("{} is a bootstrap server twice", quoted(&text.value));
                self.reading.report(self.reading.warning(text.at, UPSTREAM, problem).hint("remove one"));
            } else {
                servers.push(server);
            }
        }
        if servers.len() > BOOTSTRAP_SERVERS_MAX {
            let problem = format!("there are {} bootstrap servers", servers.len());
            let rule = format!("at most {BOOTSTRAP_SERVERS_MAX} are asked in turn");
            self.reading.report(self.reading.error(texts.at, UPSTREAM, problem).rule(rule).hint("name fewer"));
        }
        match named {
            Some(named) if texts.value.is_empty() => {
                let problem = format!("nobody can be asked for the addresses of the target `{named}`");
                let error = self.reading.error(texts.at, UPSTREAM, problem);
                self.reading.report(error.hint("name a server in `bootstrap`, or write the address of the target"));
            }
            None if !texts.value.is_empty() => {
                self.warn_of_idle_key(
                    "bootstrap",
                    texts.at,
                    "no target is a host name, so that nobody has to be asked",
                );
            }
            _ => {}
        }
        self.model.bootstrap.clone_from(&servers);
        Bootstrap::Servers(servers)
    }

    /// One server that is asked for addresses: somebody else, at an address.
    fn bootstrap_server(&mut self, text: &Text<'t>) -> Option<SocketAddr> {
        let shown = quoted(&text.value);
        let problem = match parse_socket_address(&text.value) {
            None if is_system(text) => "\"system\" is one of several bootstrap servers".to_owned(),
            None => format!("{shown} in `bootstrap` is not an address"),
            Some(server) => match (why_nobody_is_at(server.ip()), server.port()) {
                (Some(why), _) => {
                    let error = self.reading.error(text.at, UPSTREAM, format!("nobody can be asked at {shown}"));
                    self.reading.report(error.rule(why).hint("write the address of a resolver"));
                    return None;
                }
                (None, 0) => format!("{shown} in `bootstrap` has the port 0"),
                (None, _) => {
                    self.refuse_bootstrap_loop(text, server);
                    return Some(server);
                }
            },
        };
        let error = self.reading.error(text.at, UPSTREAM, problem);
        let rule = "they are asked over UDP and TCP for the addresses of targets that are host names; the targets' \
                    certificates say whether the addresses were right";
        let hint = "write addresses, [\"192.0.2.1\", \"[2001:db8::1]:5300\"], or bootstrap = \"system\"";
        self.reading.report(error.rule(rule).hint(hint));
        None
    }

    /// A door of ours would ask the targets for their own addresses.
    fn refuse_bootstrap_loop(&mut self, text: &Text<'t>, server: SocketAddr) {
        let Some(door) = self.door_reached_at(server) else { return };
        let problem = format!("the bootstrap server {} is a door of this daemon", quoted(&text.value));
        let rule = format!(
            "loop: the address of a target -> {UPSTREAM} bootstrap -> {server} -> door of {} -> the target -> its \
             address -> …",
            door.label
        );
        let also = self.reading.place(door.at, format!("{}, `listen`", door.label));
        let error = self.reading.error(text.at, UPSTREAM, problem).also(also).rule(rule);
        self.reading.report(error.hint("name a resolver that is somebody else"));
    }

    fn warn_of_idle_key(&mut self, key: &str, at: usize, why: &str) {
        let warning = self.reading.warning(at, UPSTREAM, format!("`{key}` does nothing")).rule(why);
        self.reading.report(warning.hint("remove it"));
    }
}

fn is_system(text: &Text<'_>) -> bool {
    text.value.eq_ignore_ascii_case("system")
}

/// Bootstrap servers; of resolv.conf the first ones.
const BOOTSTRAP_SERVERS_MAX: usize = 6;
