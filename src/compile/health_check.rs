//! Health checks: the entries of the health table that stand for them, and what is asked for them.

use super::endpoint::interface_probes;
use crate::aws::health_check::{HTTP_PORT, HTTPS_PORT};
use crate::aws::{HealthCheck, HealthCheckKind, Model, MonitoredEndpoint, MonitoredHost, MonitoringProtocol};
use crate::snapshot::{HealthIndex, HealthPlan, HttpRequest, Probe, ProbeHost, ProbeRequest, ProbeTls};
use std::net::IpAddr;

/// Enters every health check; the entries that say what they come to, in the order of the model.
pub(super) fn compile(model: &Model, plan: &mut HealthPlan) -> Vec<HealthIndex> {
    let mut checks: Vec<HealthIndex> = Vec::with_capacity(model.health_checks.len());
    for check in &model.health_checks {
        let seen = match &check.kind {
            // Disabled, it counts as healthy, whatever it was set to (Route 53 API, HealthCheckConfig: Disabled).
            _ if check.disabled => HealthIndex::ALWAYS,
            HealthCheckKind::Manual { healthy, .. } => plan.seen(&check.id, *healthy),
            HealthCheckKind::Monitored(_) => plan.seen(&check.id, None),
            HealthCheckKind::Calculated { health_threshold, children } => {
                let children: Vec<HealthIndex> = children.iter().map(|child| checks[child.0 as usize]).collect();
                plan.at_least(*health_threshold, &children, false)
            }
        };
        checks.push(if check.inverted { plan.at_least(1, &[seen], true) } else { seen });
    }
    checks
}

/// Everything that is to be asked whether it is healthy. Disabled checks ask nobody (HealthCheckConfig: Disabled).
pub fn probes(model: &Model) -> Vec<Probe> {
    let of_checks = model.health_checks.iter().filter(|check| !check.disabled).filter_map(probe);
    let of_endpoints = model.endpoints.iter().flat_map(interface_probes).map(|(_, probe)| probe);
    of_checks.chain(of_endpoints).collect()
}

/// What is asked for a check.
fn probe(check: &HealthCheck) -> Option<Probe> {
    let HealthCheckKind::Monitored(endpoint) = &check.kind else { return None };
    let request = match &endpoint.protocol {
        MonitoringProtocol::Tcp => ProbeRequest::Connect,
        MonitoringProtocol::Http { is_https, enable_sni, resource_path, search_string } => {
            let server_name = || endpoint.host.name().filter(|_| *enable_sni).map(Box::from);
            ProbeRequest::Http(HttpRequest {
                host: host_field(endpoint, if *is_https { HTTPS_PORT } else { HTTP_PORT }),
                path: resource_path.clone(),
                tls: is_https.then(|| ProbeTls { server_name: server_name() }),
                search: search_string.clone(),
            })
        }
    };
    Some(Probe {
        id: check.id.clone(),
        host: match &endpoint.host {
            MonitoredHost::Address { ip_address, .. } => ProbeHost::Address(*ip_address),
            MonitoredHost::Name(name) => ProbeHost::Name(name.clone()),
        },
        port: endpoint.port,
        request,
        interval: endpoint.request_interval,
        threshold: endpoint.failure_threshold,
    })
}

/// The Host field: the name, else the address; with the port where that is not the protocol's own (HealthCheckConfig:
/// FullyQualifiedDomainName).
fn host_field(endpoint: &MonitoredEndpoint, default_port: u16) -> Box<str> {
    let host = match &endpoint.host {
        MonitoredHost::Address { name: Some(name), .. } | MonitoredHost::Name(name) => name.to_string(),
        MonitoredHost::Address { ip_address: IpAddr::V4(ip), .. } => ip.to_string(),
        MonitoredHost::Address { ip_address: IpAddr::V6(ip), .. } => format!("[{ip}]"),
    };
    if endpoint.port == default_port { host.into() } else { format!("{host}:{}", endpoint.port).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn endpoint(ip: Option<&str>, name: Option<&str>, port: u16, is_https: bool, enable_sni: bool) -> HealthCheck {
        let name: Option<Box<str>> = name.map(Box::from);
        let host = match ip {
            Some(ip) => MonitoredHost::Address { ip_address: ip.parse().expect("an address"), name },
            None => MonitoredHost::Name(name.expect("one of both")),
        };
        let protocol =
            MonitoringProtocol::Http { is_https, enable_sni, resource_path: "/".into(), search_string: None };
        let endpoint =
            MonitoredEndpoint { host, port, protocol, request_interval: Duration::from_secs(30), failure_threshold: 3 };
        HealthCheck { id: "a".into(), kind: HealthCheckKind::Monitored(endpoint), inverted: false, disabled: false }
    }

    #[test]
    fn the_host_field_has_the_port_where_it_is_another() {
        for (ip, name, port, is_https, expected) in [
            (Some("10.0.0.1"), Some("web.example"), 80, false, "web.example"),
            (Some("10.0.0.1"), Some("web.example"), 443, false, "web.example:443"),
            (Some("10.0.0.1"), Some("web.example"), 443, true, "web.example"),
            (None, Some("web.example"), 80, true, "web.example:80"),
            (Some("10.0.0.1"), None, 80, false, "10.0.0.1"),
            (Some("10.0.0.1"), None, 8080, false, "10.0.0.1:8080"),
            (Some("2001:db8::1"), None, 80, false, "[2001:db8::1]"),
            (Some("2001:db8::1"), None, 8443, true, "[2001:db8::1]:8443"),
        ] {
            let probe = probe(&endpoint(ip, name, port, is_https, true)).expect("it asks");
            let ProbeRequest::Http(request) = probe.request else { panic!("{:?}", probe.request) };
            assert_eq!(&*request.host, expected);
        }
    }

    #[test]
    fn a_name_is_said_in_the_handshake_where_there_is_one_and_it_may() {
        for (name, is_https, enable_sni, expected) in [
            (Some("web.example"), true, true, Some(Some("web.example"))),
            (Some("web.example"), true, false, Some(None)),
            (None, true, true, Some(None)),
            (Some("web.example"), false, false, None),
        ] {
            let probe = probe(&endpoint(Some("10.0.0.1"), name, 443, is_https, enable_sni)).expect("it asks");
            let ProbeRequest::Http(request) = probe.request else { panic!("{:?}", probe.request) };
            assert_eq!(request.tls.as_ref().map(|tls| tls.server_name.as_deref()), expected);
        }
    }

    #[test]
    fn disabled_checks_ask_nobody() {
        let mut disabled = endpoint(None, Some("web.example"), 80, false, false);
        disabled.disabled = true;
        let model = Model { health_checks: vec![disabled], ..Model::default() };
        assert!(probes(&model).is_empty());
    }
}
