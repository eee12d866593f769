//! Health checks that monitor an endpoint: where it is, what it is asked, how often.

use super::super::Builder;
use super::super::document::HealthCheckTable;
use super::super::source::At;
use super::super::table::Text;
use crate::aws::endpoint::{INTERFACE_PROBE_SECONDS, INTERFACE_PROBE_THRESHOLD, INTERFACES_PROBED_MAX};
use crate::aws::health_check::{
    CHARACTERS_MAX, FAILURE_THRESHOLD, FAILURE_THRESHOLD_MAX, HTTP_PORT, HTTPS_PORT, REQUEST_INTERVAL_SECONDS,
    REQUEST_INTERVALS_SECONDS,
};
use crate::aws::{EndpointKind, InterfaceProbe, MonitoredEndpoint, MonitoredHost, MonitoringProtocol};
use crate::config::diagnostic::quoted;
use crate::dns::target::host_name;
use std::net::IpAddr;
use std::time::Duration;

/// What a type asks an endpoint for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Protocol {
    Tcp,
    Http { is_https: bool, is_searched: bool },
}

impl Protocol {
    /// Whether a check has a key, of those that monitor an endpoint.
    pub(super) fn has(self, key: &str) -> bool {
        match (key, self) {
            ("ip_address" | "fully_qualified_domain_name" | "port" | "request_interval" | "failure_threshold", _) => {
                true
            }
            ("resource_path", Self::Http { .. }) => true,
            ("enable_sni", Self::Http { is_https, .. }) => is_https,
            ("search_string", Self::Http { is_searched, .. }) => is_searched,
            _ => false,
        }
    }
}

impl<'t> Builder<'t, '_> {
    /// What is monitored; says so where that cannot be.
    pub(super) fn monitored(&mut self, table: &HealthCheckTable<'t>, protocol: Protocol) -> Option<MonitoredEndpoint> {
        // Each is read, so that all that is wrong is told.
        let host = self.monitored_host(table);
        let port = self.monitored_port(table, protocol);
        let protocol = match protocol {
            Protocol::Tcp => Some(MonitoringProtocol::Tcp),
            Protocol::Http { is_https, is_searched } => self.http(table, is_https, is_searched),
        };
        let request_interval = self.request_interval(table);
        let failure_threshold = self.failure_threshold(table);
        Some(MonitoredEndpoint {
            host: host?,
            port: port?,
            protocol: protocol?,
            request_interval: request_interval?,
            failure_threshold: failure_threshold?,
        })
    }

    fn monitored_host(&mut self, table: &HealthCheckTable<'t>) -> Option<MonitoredHost> {
        let is_written = |key| table.of_types.contains(&key);
        let name = table.fully_qualified_domain_name.as_ref().and_then(|text| self.monitored_name(text, &table.label));
        let ip_address = table.ip_address.as_ref().and_then(|text| self.monitored_address(text, &table.label));
        if name.is_none() && is_written("fully_qualified_domain_name")
            || ip_address.is_none() && is_written("ip_address")
        {
            return None;
        }
        match (ip_address, name) {
            (Some(ip_address), name) => Some(MonitoredHost::Address { ip_address, name }),
            (None, Some(name)) => Some(MonitoredHost::Name(name)),
            (None, None) => {
                let problem = "neither `ip_address` nor `fully_qualified_domain_name` says where the endpoint is";
                let error = self.reading.error(table.at, &table.label, problem);
                self.reading.report(error.hint("add `ip_address = \"10.0.1.10\"`"));
                None
            }
        }
    }

    fn monitored_name(&mut self, text: &Text<'t>, label: &str) -> Option<Box<str>> {
        let name = host_name(&text.value);
        if name.is_none() {
            let problem = format!("{} is no host name", quoted(&text.value));
            let rule = "labels of letters, digits and hyphens, the last of which is not a number";
            self.reading.report(self.reading.error(text.at, label, problem).rule(rule));
        }
        name
    }

    /// An address that somebody can have. Private ones, which AWS's checkers cannot reach, are what ours are for.
    fn monitored_address(&mut self, text: &Text<'t>, label: &str) -> Option<IpAddr> {
        let address = text.value.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_one_host = |address: &IpAddr| {
            let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
            !(address.is_unspecified() || address.is_multicast() || is_broadcast)
        };
        let problem = match address {
            Some(address) if is_one_host(&address) => return Some(address),
            Some(_) => "is not the address of one host",
            None => "is no IP address",
        };
        let error = self.reading.error(text.at, label, format!("{} {problem}", quoted(&text.value)));
        self.reading.report(error.hint("write an IPv4 or IPv6 address: \"10.0.1.10\""));
        None
    }

    fn monitored_port(&mut self, table: &HealthCheckTable<'t>, protocol: Protocol) -> Option<u16> {
        let default = match protocol {
            Protocol::Tcp => None,
            Protocol::Http { is_https: false, .. } => Some(HTTP_PORT),
            Protocol::Http { is_https: true, .. } => Some(HTTPS_PORT),
        };
        match (table.port, default) {
            (Some(port), _) => {
                self.number_in(&table.label, "port", port, (1, u64::from(u16::MAX))).map(|port| port as u16)
            }
            (None, _) if table.of_types.contains(&"port") => None,
            (None, Some(default)) => Some(default),
            (None, None) => {
                self.say_missing(table, "port", "443");
                None
            }
        }
    }

    fn http(&mut self, table: &HealthCheckTable<'t>, is_https: bool, is_searched: bool) -> Option<MonitoringProtocol> {
        let resource_path = self.resource_path(table);
        let search_string = match &table.search_string {
            Some(text) if is_searched => self.search_string(text, &table.label).map(Some),
            None if is_searched => {
                self.say_missing(table, "search_string", "\"OK\"");
                None
            }
            // Where it does not belong, that has been said.
            _ => Some(None),
        };
        if table.enable_sni.is_none() && table.of_types.contains(&"enable_sni") {
            return None;
        }
        let enable_sni = is_https && table.enable_sni.is_none_or(|sni| sni.value);
        Some(MonitoringProtocol::Http {
            is_https,
            enable_sni,
            resource_path: resource_path?,
            search_string: search_string?,
        })
    }

    /// The path, with the slash that AWS adds where it is left out (R53:health-checks-creating-values).
    fn resource_path(&mut self, table: &HealthCheckTable<'t>) -> Option<Box<str>> {
        let Some(text) = &table.resource_path else {
            return (!table.of_types.contains(&"resource_path")).then(|| "/".into());
        };
        let path = &text.value;
        let problem = match path.chars().count() {
            characters if characters > CHARACTERS_MAX => "is too long",
            // What would end the request line, or a character that no request line has.
            _ if !path.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') => "is no path",
            _ if path.starts_with('/') => return Some(path.as_ref().into()),
            _ => return Some(format!("/{path}").into()),
        };
        let error = self.reading.error(text.at, &table.label, format!("`resource_path` {} {problem}", quoted(path)));
        let rule = format!(
            "up to {CHARACTERS_MAX} printable characters of ASCII, without spaces and `#` (Route 53 API, ResourcePath)"
        );
        self.reading.report(error.rule(rule).hint("write others as %XX"));
        None
    }

    fn search_string(&mut self, text: &Text<'t>, label: &str) -> Option<Box<str>> {
        let characters = text.value.chars().count();
        if (1..=CHARACTERS_MAX).contains(&characters) {
            return Some(text.value.as_ref().into());
        }
        let problem = format!("`search_string` has {characters} characters");
        let rule = format!("1 to {CHARACTERS_MAX} (Route 53 API, SearchString)");
        self.reading.report(self.reading.error(text.at, label, problem).rule(rule));
        None
    }

    fn request_interval(&mut self, table: &HealthCheckTable<'t>) -> Option<Duration> {
        let Some(written) = table.request_interval else {
            let is_absent = !table.of_types.contains(&"request_interval");
            return is_absent.then_some(Duration::from_secs(REQUEST_INTERVAL_SECONDS));
        };
        if REQUEST_INTERVALS_SECONDS.contains(&written.value) {
            return Some(Duration::from_secs(written.value));
        }
        let problem = format!("`request_interval` is {}", written.value);
        let error = self.reading.error(written.at, &table.label, problem);
        let error = error.rule("10 or 30 seconds (Route 53 Developer Guide, health-checks-creating-values)");
        self.reading.report(error.hint(format!("write 10 or 30; the default is {REQUEST_INTERVAL_SECONDS}")));
        None
    }

    fn failure_threshold(&mut self, table: &HealthCheckTable<'t>) -> Option<u8> {
        let Some(written) = table.failure_threshold else {
            return (!table.of_types.contains(&"failure_threshold")).then_some(FAILURE_THRESHOLD);
        };
        self.number_in(&table.label, "failure_threshold", written, (1, FAILURE_THRESHOLD_MAX))
            .map(|number| number as u8)
    }

    /// How the network interfaces of an endpoint are asked.
    pub(in super::super) fn interface_probe(
        &mut self,
        port: At<u64>,
        label: &str,
        kind: Option<&EndpointKind>,
    ) -> Option<InterfaceProbe> {
        if let Some(EndpointKind::Interface { zonal, .. }) = kind {
            let interfaces = zonal.iter().map(|zone| zone.addresses.len()).sum::<usize>();
            if interfaces > INTERFACES_PROBED_MAX {
                let problem = format!("`probe_port` for {interfaces} network interfaces");
                let rule = format!("at most {INTERFACES_PROBED_MAX} of an endpoint are asked");
                self.reading.report(self.reading.error(port.at, label, problem).rule(rule).hint("remove `probe_port`"));
            }
        }
        let port = self.number_in(label, "probe_port", port, (1, u64::from(u16::MAX)))?;
        Some(InterfaceProbe {
            port: port as u16,
            request_interval: Duration::from_secs(INTERFACE_PROBE_SECONDS),
            failure_threshold: INTERFACE_PROBE_THRESHOLD,
        })
    }

    /// A number from the first of these to the last.
    fn number_in(&mut self, label: &str, key: &str, written: At<u64>, (first, last): (u64, u64)) -> Option<u64> {
        if (first..=last).contains(&written.value) {
            return Some(written.value);
        }
        let error = self.reading.error(written.at, label, format!("`{key}` is {}", written.value));
        self.reading.report(error.hint(format!("write {first} to {last}")));
        None
    }
}
