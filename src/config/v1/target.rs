//! Whom to forward to: the targets of `[upstream]` and of rules.

use super::Builder;
use super::document::{TargetEntry, TargetTable};
use super::settings::word;
use super::source::At;
use super::table::Text;
use crate::config::diagnostic::{Diagnostic, nearest, quoted};
use crate::dns::target::{DOH_PATH, DOH_PATH_OCTETS_MAX, TARGET_SCHEMES, host_name, parse_socket_address};
use crate::dns::{Target, TargetError, TargetGroup, TargetHost, TargetOrder, TargetProtocol};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A target, how it is written, and where.
struct Written {
    target: Target,
    /// In backquotes.
    shown: String,
    at: usize,
}

impl<'t> Builder<'t, '_> {
    /// Reads targets and their order; `what` is what is sent to them. One that is a door of ours is a loop.
    pub(super) fn target_group(
        &mut self,
        entries: &At<Vec<TargetEntry<'t>>>,
        order: Option<&Text<'t>>,
        label: &str,
        what: &str,
    ) -> TargetGroup {
        let order = self.target_order(order, label);
        let mut found: Vec<Written> = Vec::new();
        for entry in &entries.value {
            let Some(written) = self.target(entry, label) else { continue };
            if let Some(other) = found.iter().find(|other| other.target == written.target) {
                self.warn_of_repeated_target(&written, other, label);
                continue;
            }
            if let Some(other) = found.iter().find(|other| is_tcp_of_the_other(&other.target, &written.target)) {
                self.warn_of_tcp_beside_udp(&written, other, label);
            }
            self.refuse_loop(&written, label, what);
            found.push(written);
        }
        if found.len() > TARGETS_MAX {
            let problem = format!("there are {} targets", found.len());
            let rule = format!(
                "at most {TARGETS_MAX} are asked in turn, as by a rule of AWS's (Developer Guide, DNSLimitations)"
            );
            let hint = "name fewer, or a load balancer before them";
            self.reading.report(self.reading.error(entries.at, label, problem).rule(rule).hint(hint));
        }
        TargetGroup { targets: found.into_iter().map(|written| written.target).collect(), order }
    }

    /// `order`: which target is asked first.
    pub(super) fn target_order(&mut self, order: Option<&Text<'t>>, label: &str) -> TargetOrder {
        order.and_then(|order| word(order, &TargetOrder::WORDS, label, "order", &mut self.reading)).unwrap_or_default()
    }

    /// Reads one target; says so where it is none, or one that nobody can be.
    fn target(&mut self, entry: &TargetEntry<'t>, label: &str) -> Option<Written> {
        let (target, shown, at) = match entry {
            TargetEntry::Text(text) => match text.value.parse::<Target>() {
                Ok(target) => {
                    self.warn_of_port_within_address(text, label);
                    (target, quoted(&text.value), text.at)
                }
                Err(error) => {
                    let problem = format!("the target {} {error}", quoted(&text.value));
                    let diagnostic = explained(self.reading.error(text.at, label, problem), &error);
                    self.reading.report(diagnostic.maybe_hint(text_hint(&text.value, &error)));
                    return None;
                }
            },
            TargetEntry::Table(table) => {
                let target = self.target_of_table(table)?;
                let shown = quoted(&target.to_string());
                (target, shown, table.at)
            }
        };
        if let TargetHost::Address(ip) = target.host
            && let Some(why) = why_nobody_is_at(ip)
        {
            let error = self.reading.error(at, label, format!("nobody can be asked at {shown}"));
            self.reading.report(error.rule(why).hint("write the address of a resolver"));
            return None;
        }
        Some(Written { target, shown, at })
    }

    /// AWS's TargetAddress as a table.
    fn target_of_table(&mut self, table: &TargetTable<'t>) -> Option<Target> {
        let label = &table.label;
        if table.addresses != 1 {
            let problem = match table.addresses {
                0 => "the target has neither `ip` nor `ipv6`",
                _ => "the target has both `ip` and `ipv6`",
            };
            let error = self.reading.error(table.at, label, problem);
            let rule = "a target is one address (Route 53 Resolver API: TargetAddress)";
            let hint = match table.addresses {
                0 => "add `ip = \"192.0.2.1\"`, or write a URL where there is only a host name: \"tls://dns.example\"",
                _ => "make two targets of it, or remove one",
            };
            self.reading.report(error.rule(rule).hint(hint));
        }
        let ip = table.ip.as_ref().and_then(|text| self.table_ip(text, label, "ip"));
        let ipv6 = table.ipv6.as_ref().and_then(|text| self.table_ip(text, label, "ipv6"));
        let protocol = match &table.protocol {
            Some(text) => self.table_protocol(text, label),
            None => Some(TargetProtocol::Do53),
        };
        let port = table.port.map(|port| self.table_port(port, protocol.as_ref(), label));
        let name = table.server_name_indication.as_ref();
        let server_name = name.map(|text| (text.at, host_name(&text.value).ok_or(text)));
        if let Some((at, Err(text))) = server_name {
            let problem = format!("`server_name_indication` {} is no host name", quoted(&text.value));
            self.reading.report(self.reading.error(at, label, problem).rule(HOST_NAME_RULE));
        }
        let is_whole = table.addresses == 1
            && !table.is_incomplete
            && port != Some(None)
            && !matches!(server_name, Some((_, Err(_))));
        let (Some(ip), Some(protocol), true) = (ip.or(ipv6), protocol, is_whole) else { return None };
        let server_name = server_name.and_then(|(at, name)| Some((at, name.ok()?)));
        let name_at = server_name.as_ref().map_or(table.at, |(at, _)| *at);
        let host = TargetHost::Address(ip.to_canonical());
        match Target::new(host, port.flatten(), protocol, server_name.map(|(_, name)| name)) {
            Ok(target) => Some(target),
            Err(error) => {
                let diagnostic = self.reading.error(name_at, label, format!("the target {error}"));
                let hint = "remove `server_name_indication`, or write protocol = \"DoT\", \"DoH\" or \"DoQ\"";
                self.reading.report(explained(diagnostic, &error).hint(hint));
                None
            }
        }
    }

    /// `ip` is an IPv4 address and `ipv6` an IPv6 address, both without port.
    fn table_ip(&mut self, text: &Text<'t>, label: &str, key: &str) -> Option<IpAddr> {
        let wants_v4 = key == "ip";
        let parsed = text.value.parse::<IpAddr>();
        if let Some(ip) = parsed.as_ref().ok().filter(|ip| ip.is_ipv4() == wants_v4) {
            return Some(*ip);
        }
        let version = if wants_v4 { "IPv4" } else { "IPv6" };
        let problem = format!("`{key}` {} is not an {version} address", quoted(&text.value));
        let hint = match (parsed, parse_socket_address(&text.value), wants_v4) {
            (Ok(ip), _, true) => format!("write ipv6 = \"{ip}\""),
            (Ok(ip), _, false) => format!("write ip = \"{ip}\""),
            (Err(_), Some(address), _) => format!("the port has a key of its own: write port = {}", address.port()),
            (Err(_), None, _) if host_name(&text.value).is_some() => {
                format!("a host name stands in a URL: \"tls://{}\"", text.value)
            }
            (Err(_), None, true) => "write ip = \"192.0.2.1\"".to_owned(),
            (Err(_), None, false) => "write ipv6 = \"2001:db8::1\"".to_owned(),
        };
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        None
    }

    fn table_port(&mut self, port: At<u64>, protocol: Option<&TargetProtocol>, label: &str) -> Option<u16> {
        let found = u16::try_from(port.value).ok().filter(|port| *port != 0);
        if found.is_none() {
            let default =
                protocol.map_or(String::new(), |protocol| format!("; the default is {}", protocol.default_port()));
            let error = self.reading.error(port.at, label, format!("`port = {}` is out of range", port.value));
            self.reading.report(error.hint(format!("write 1 to 65535{default}")));
        }
        found
    }

    /// A protocol as AWS calls it, or as those are called that AWS has not.
    fn table_protocol(&mut self, text: &Text<'t>, label: &str) -> Option<TargetProtocol> {
        if text.value.eq_ignore_ascii_case("DoH-FIPS") {
            let error = self.reading.error(text.at, label, format!("`protocol` cannot be {}", quoted(&text.value)));
            let rule = "only inbound endpoints speak DoH-FIPS (Route 53 Resolver API: ResolverEndpoint, Protocols)";
            self.reading.report(error.rule(rule).hint("write protocol = \"DoH\""));
            return None;
        }
        let index = word(text, &PROTOCOL_WORDS, label, "protocol", &mut self.reading)?;
        Some(match index {
            ProtocolWord::Do53 => TargetProtocol::Do53,
            ProtocolWord::Doh => TargetProtocol::Doh { path: DOH_PATH.into() },
            ProtocolWord::Dot => TargetProtocol::Dot,
            ProtocolWord::Doq => TargetProtocol::Doq,
            ProtocolWord::Tcp => TargetProtocol::Tcp,
        })
    }

    /// `2001:db8::1:53` is an address, and perhaps not what was meant.
    fn warn_of_port_within_address(&mut self, text: &Text<'t>, label: &str) {
        let Some((address, port)) = text.value.rsplit_once(':').filter(|(_, port)| USUAL_PORTS.contains(port)) else {
            return;
        };
        if text.value.parse::<Ipv6Addr>().is_ok() && address.parse::<Ipv6Addr>().is_ok() {
            let problem = format!("the target {} is an address without a port", quoted(&text.value));
            let hint = format!("write [{address}]:{port}, or [{}] if that is the address", text.value);
            self.reading.report(self.reading.warning(text.at, label, problem).hint(hint));
        }
    }

    fn warn_of_repeated_target(&mut self, written: &Written, other: &Written, label: &str) {
        let problem = format!("{} is a target twice", written.shown);
        let also = self.reading.place(other.at, "the first");
        let mut warning = self.reading.warning(written.at, label, problem).also(also);
        if written.shown != other.shown {
            warning = warning.rule(format!("{} is the same, {}", other.shown, written.target));
        }
        self.reading.report(warning.hint("remove one"));
    }

    fn warn_of_tcp_beside_udp(&mut self, written: &Written, other: &Written, label: &str) {
        let problem = format!("{} and {} are one server", other.shown, written.shown);
        let also = self.reading.place(other.at, "the first");
        let rule = "without tcp:// it is asked over TCP as well, where that has to be; when it is away, both are";
        let warning = self.reading.warning(written.at, label, problem).also(also).rule(rule);
        self.reading.report(warning.hint("remove one"));
    }

    /// Refuses a target that is a door of ours, as AWS does with rules (RSLVR-00804).
    fn refuse_loop(&mut self, written: &Written, label: &str, what: &str) {
        self.refuse_door(&written.target, &format!("the target {}", written.shown), written.at, label, what);
    }

    /// The same for whoever is called `shown`, for a reason that stands at `at`.
    pub(super) fn refuse_door(&mut self, target: &Target, shown: &str, at: usize, label: &str, what: &str) {
        let Some(door) = target.address().and_then(|address| self.door_reached_at(address)) else { return };
        let problem = format!("{shown} is a door of this daemon");
        let rule =
            format!("loop: {what} -> {label} -> {target} -> door of {} -> {label} -> … (RSLVR-00804)", door.label);
        let also = self.reading.place(door.at, format!("{}, `listen`", door.label));
        let error = self.reading.error(at, label, problem).also(also).rule(rule);
        self.reading.report(error.hint("name a resolver that is somebody else"));
    }
}

/// Whether one of two targets is the other one over TCP only.
fn is_tcp_of_the_other(one: &Target, other: &Target) -> bool {
    let protocols = [&one.protocol, &other.protocol];
    let both =
        matches!(protocols, [TargetProtocol::Do53, TargetProtocol::Tcp] | [TargetProtocol::Tcp, TargetProtocol::Do53]);
    both && one.host == other.host && one.port == other.port
}

/// Why no server can be at an address; none where one can.
pub(super) fn why_nobody_is_at(ip: IpAddr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("it stands for every address"),
        _ if ip.is_multicast() => Some("it is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("it is the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(SCOPE_RULE),
        _ => None,
    }
}

/// Says which rule a text breaks.
fn explained(diagnostic: Diagnostic, error: &TargetError) -> Diagnostic {
    match error {
        TargetError::NameUnencrypted(_) => diagnostic.rule(
            "an encrypted target proves its name with a certificate; over UDP and TCP nobody could tell whether the \
             right one answers",
        ),
        TargetError::ServerNameUnencrypted(_) => {
            diagnostic.rule("a server name is what a certificate must be for, and there is none over UDP and TCP")
        }
        TargetError::ServerName(_) | TargetError::Host(_) => diagnostic.rule(HOST_NAME_RULE),
        TargetError::Scope => diagnostic.rule(SCOPE_RULE),
        TargetError::PathUnexpected => diagnostic.rule("only https:// takes one"),
        TargetError::Path => diagnostic.rule(format!(
            "it has at most {DOH_PATH_OCTETS_MAX} octets: letters, digits, -._~!$&'()*+,;=:@/ and %XX (RFC 3986 \
             section 3.3)"
        )),
        TargetError::Query => diagnostic.rule("questions are sent with POST to the path alone"),
        TargetError::UserInfo => diagnostic.rule("nobody logs in at a resolver"),
        TargetError::Form | TargetError::Scheme(_) | TargetError::Brackets(_) | TargetError::Port(_) => diagnostic,
    }
}

/// What to write in place of a text that is no target.
fn text_hint(text: &str, error: &TargetError) -> Option<String> {
    let port_after_colon = |address: &str, port: &str| {
        let ip = address.parse::<IpAddr>().ok()?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        Some(SocketAddr::new(ip, port))
    };
    Some(match error {
        TargetError::Form => {
            // As unbound has it: ADDRESS@PORT, and #NAME behind that.
            let (address, rest) = text.split_once('@').unwrap_or_default();
            let (port, name) = rest.split_once('#').map_or((rest, None), |(port, name)| (port, host_name(name)));
            match (port_after_colon(address, port), name) {
                (Some(address), Some(name)) => format!("write tls://{address}#{name}"),
                (Some(address), None) => format!("write {address}"),
                (None, _) => "write 192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:5353, or a URL: tcp://192.0.2.1, \
                              tls://192.0.2.1#dns.example, https://dns.example/dns-query, quic://dns.example"
                    .to_owned(),
            }
        }
        TargetError::Scheme(scheme) => {
            let known = TARGET_SCHEMES.join(", ");
            let scheme = scheme.to_ascii_lowercase();
            let other = OTHER_SCHEMES.iter().find(|(other, _)| *other == scheme).map(|(_, meant)| *meant);
            match other.or_else(|| nearest(&scheme, TARGET_SCHEMES)) {
                Some("") => {
                    "write the address alone: it is asked over UDP, and over TCP where that has to be".to_owned()
                }
                Some(meant) => format!("did you mean `{meant}://`? It is one of {known}"),
                None => format!("write one of {known}, or an address alone for UDP"),
            }
        }
        TargetError::UserInfo => match port_after_at(text) {
            Some(meant) => format!("a port stands behind a colon: write {meant}"),
            None => "leave out what stands before the `@`".to_owned(),
        },
        TargetError::Host(host) if !host.is_ascii() => "write the name in its xn-- form".to_owned(),
        TargetError::Host(_) => {
            "write an address, an IPv6 one in brackets, or a host name: tls://dns.example".to_owned()
        }
        TargetError::Brackets(ip) => format!("write [{ip}]"),
        TargetError::Scope => "give the server an address that is not link-local, and write that".to_owned(),
        TargetError::Port(_) => "write a port from 1 to 65535, or none for the usual one".to_owned(),
        TargetError::NameUnencrypted(name) => format!("write its address, or tls://{name} if it speaks TLS"),
        TargetError::PathUnexpected => "leave it out".to_owned(),
        TargetError::Path => "encode other characters as %XX".to_owned(),
        TargetError::Query => "leave out what stands from the `?` or `{` on".to_owned(),
        TargetError::ServerName(_) => {
            "write the host name, or leave it out where the certificate is for the address itself".to_owned()
        }
        TargetError::ServerNameUnencrypted(name) => {
            let address = text.split_once('#').map_or("", |(address, _)| address);
            // As dnsmasq has it: ADDRESS#PORT.
            match (port_after_colon(address, name), host_name(name), parse_socket_address(address)) {
                (Some(address), _, _) => format!("a port stands behind a colon: write {address}"),
                (None, Some(name), Some(address)) => {
                    format!("write tls://{}#{name} if it speaks TLS", bracketed(address.ip()))
                }
                _ => "leave out what stands from the `#` on, or write tls://".to_owned(),
            }
        }
    })
}

/// A URL with a port that is written as unbound has it, `tls://ADDRESS@PORT`, with a colon; none where it is something
/// else.
fn port_after_at(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, rest) = rest.split_once('@')?;
    let at = rest.find(['/', '#']).unwrap_or(rest.len());
    let (port, behind) = rest.split_at(at);
    let host = host.parse().map_or_else(|_| host.to_owned(), bracketed);
    let meant = format!("{scheme}://{host}:{port}{behind}");
    meant.parse::<Target>().ok().map(|_| meant)
}

/// An address as a URL has it.
fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The words of `protocol`.
#[derive(Clone, Copy)]
enum ProtocolWord {
    Do53,
    Doh,
    Dot,
    Doq,
    Tcp,
}

/// AWS's two words for targets, and ours.
const PROTOCOL_WORDS: [(&str, ProtocolWord); 5] = [
    ("Do53", ProtocolWord::Do53),
    ("DoH", ProtocolWord::Doh),
    ("DoT", ProtocolWord::Dot),
    ("DoQ", ProtocolWord::Doq),
    ("TCP", ProtocolWord::Tcp),
];
/// Schemes that others have, each with ours; nothing: an address alone.
const OTHER_SCHEMES: [(&str, &str); 9] = [
    ("udp", ""),
    ("dns", ""),
    ("do53", ""),
    ("dot", "tls"),
    ("http", "https"),
    ("h2", "https"),
    ("doh", "https"),
    ("doq", "quic"),
    ("dns+tls", "tls"),
];
/// Ports that targets have mostly.
const USUAL_PORTS: [&str; 4] = ["53", "5353", "853", "443"];
/// What a host name is.
const HOST_NAME_RULE: &str =
    "a host name is letters, digits and hyphens between dots, with no number at its end (RFC 1123 section 2.1)";
/// Why link-local addresses of IPv6 are no targets.
const SCOPE_RULE: &str = "a link-local address is one only together with an interface, and targets have none";
/// Targets of one rule, or of the upstream; of resolv.conf the first ones (Route 53 Developer Guide, DNSLimitations).
pub(super) const TARGETS_MAX: usize = 6;
