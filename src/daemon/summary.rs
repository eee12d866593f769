//! What is served, in words: doors, VPCs, zones, endpoints, rules.

use crate::aws::{
    EndpointKind, HealthCheckKind, Model, MonitoredEndpoint, MonitoredHost, MonitoringProtocol, RuleAction, VpcIndex,
};
use crate::dns::{TargetGroup, TargetOrder};
use std::fmt::Write;
use std::net::SocketAddr;

/// Lines of one list at most; the rest is counted.
const LINES_MAX: usize = 20;

/// Says what is served and where.
pub(super) fn summary(model: &Model, addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    doors(&mut text, model, addresses);
    let vpcs = model.vpcs.iter().map(|vpc| {
        let name = vpc.name.as_deref().map_or(String::new(), |name| format!(" ({name})"));
        let clients = list(vpc.cidrs.iter().chain(&vpc.clients));
        format!("{}{name}, {}, {clients}{}", vpc.id, vpc.region, with_dns64(vpc.dns64))
    });
    section(&mut text, "VPCs", vpcs);
    let zones = model.hosted_zones.iter().map(|zone| {
        let falls_through = if zone.falls_through { ", falls through" } else { "" };
        let sets = zone.record_sets.here().len();
        format!("{} ({}), {sets} record sets, for {}{falls_through}", zone.apex, zone.id, ids(model, &zone.vpcs))
    });
    section(&mut text, "private hosted zones", zones);
    let checks = model.health_checks.iter().map(|check| {
        let what = match &check.kind {
            HealthCheckKind::Manual { healthy, routing_control_arn } => {
                let status = match healthy {
                    Some(true) => "set to healthy",
                    Some(false) => "set to unhealthy",
                    None => "as it was last, for want of data",
                };
                let arn = routing_control_arn.as_deref().map(|arn| format!(", in place of {arn}"));
                format!("{status}{}", arn.unwrap_or_default())
            }
            HealthCheckKind::Monitored(endpoint) => monitored(endpoint),
            HealthCheckKind::Calculated { health_threshold, children } => {
                let children = children.iter().map(|child| &model.health_check(*child).id);
                format!("healthy while {health_threshold} of {} are", list(children))
            }
        };
        let flags = [(check.disabled, ", disabled"), (check.inverted, ", inverted")];
        let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word).collect();
        format!("{} {what}{flags}", check.id)
    });
    section(&mut text, "health checks", checks);
    let endpoints = model.endpoints.iter().map(|endpoint| {
        let what = match &endpoint.kind {
            EndpointKind::Interface { .. } | EndpointKind::Lattice { .. } => match endpoint.private_names().count() {
                0 => "private DNS off".to_owned(),
                _ => format!("private DNS for {}", list(endpoint.private_names().map(|name| &name.apex))),
            },
            EndpointKind::Gateway => "gateway: no DNS".to_owned(),
            EndpointKind::GatewayLoadBalancer => "gateway load balancer: no DNS".to_owned(),
        };
        let service = if endpoint.service.is_empty() { "VPC Lattice" } else { &endpoint.service };
        let probe = endpoint.interface_probe.map(|probe| format!(", its addresses asked at port {}", probe.port));
        let probe = probe.unwrap_or_default();
        format!("{} in {}, {service}, {what}{probe}", endpoint.id, model.vpc(endpoint.vpc).id)
    });
    section(&mut text, "endpoints", endpoints);
    let interfaces = model.network_interfaces.iter().map(|interface| {
        let addresses = interface.private_ip_addresses.iter().map(|address| match address.public_ip {
            Some(public) => format!("{} (public {public})", address.private_ip_address),
            None => address.private_ip_address.to_string(),
        });
        format!("{} in {}, {}", interface.id, model.vpc(interface.vpc).id, list(addresses))
    });
    section(&mut text, "network interfaces", interfaces);
    let instances = model.instances.iter().map(|instance| {
        let addresses = [
            instance.private_ip_address.map(|address| address.to_string()),
            instance.public_ip_address.map(|address| format!("public {address}")),
            instance.ipv6_address.map(|address| address.to_string()),
        ];
        format!("{} in {}, {}", instance.id, model.vpc(instance.vpc).id, list(addresses.into_iter().flatten()))
    });
    section(&mut text, "instances", instances);
    let peerings = model.vpc_peerings.iter().map(|peering| {
        let seen =
            peering.resolutions(model).map(|(from, of)| format!("{} sees {}", model.vpc(from).id, model.vpc(of).id));
        format!("{}: {}", peering.id, list(seen))
    });
    section(&mut text, "peering connections, and whose names are seen over them", peerings);
    let rules = model.resolver_rules.iter().map(|rule| {
        let action = match &rule.action {
            RuleAction::Forward(group) => format!("forwarded to {}", targets(group)),
            RuleAction::System => "as AWS resolves it".to_owned(),
            RuleAction::Delegate => "and below: name servers whom zones delegate to".to_owned(),
        };
        format!("{} ({}) {action}, for {}", rule.domain, rule.id, ids(model, &rule.vpcs))
    });
    section(&mut text, "resolver rules", rules);
    let profiles = model.profiles.iter().map(|profile| {
        let zones = profile.hosted_zones.iter().map(|zone| &model.hosted_zones[*zone].id);
        let rules = profile.resolver_rules.iter().map(|rule| &model.resolver_rules[*rule].id);
        let endpoints = profile.endpoints.iter().map(|endpoint| &model.endpoints[*endpoint].id);
        let vpcs: Vec<VpcIndex> = profile.associations.iter().map(|association| association.vpc).collect();
        format!("{} shares {}, with {}", profile.id, list(zones.chain(rules).chain(endpoints)), ids(model, &vpcs))
    });
    section(&mut text, "profiles", profiles);
    let upstream = match (&*model.upstream.targets, model.upstream_is_system) {
        ([], false) => "nobody: names that nobody here owns are refused".to_owned(),
        ([], true) => "nobody: resolv.conf names no other nameserver".to_owned(),
        _ => targets(&model.upstream),
    };
    let _ = writeln!(text, "upstream\n  {upstream}");
    if !model.bootstrap.is_empty() {
        let _ = writeln!(text, "addresses of targets that are host names\n  asked of {}", list(&model.bootstrap));
    }
    text
}

/// Targets as they are written, and who of them is asked first where that is not the fastest.
fn targets(group: &TargetGroup) -> String {
    let order = match group.order {
        TargetOrder::Fastest => "",
        TargetOrder::InOrder => " in this order",
        TargetOrder::Random => " in random order",
    };
    format!("{}{order}", list(&group.targets))
}

/// What a health check asks, and how often.
fn monitored(endpoint: &MonitoredEndpoint) -> String {
    let address = match &endpoint.host {
        MonitoredHost::Address { ip_address, .. } => SocketAddr::new(*ip_address, endpoint.port).to_string(),
        MonitoredHost::Name(name) => format!("{name}:{}", endpoint.port),
    };
    let what = match &endpoint.protocol {
        MonitoringProtocol::Tcp => format!("asks for a connection to {address}"),
        MonitoringProtocol::Http { is_https, resource_path, search_string, .. } => {
            let scheme = if *is_https { "https" } else { "http" };
            let name = match &endpoint.host {
                MonitoredHost::Address { name: Some(name), .. } => format!(" as {name}"),
                MonitoredHost::Address { name: None, .. } | MonitoredHost::Name(_) => String::new(),
            };
            let search = search_string.as_ref().map(|search| format!(" for {search:?}"));
            format!("asks {scheme}://{address}{resource_path}{name}{}", search.unwrap_or_default())
        }
    };
    let MonitoredEndpoint { request_interval, failure_threshold, .. } = endpoint;
    format!("{what}, every {} s, turned by {failure_threshold} in a row", request_interval.as_secs())
}

/// Doors, each with whose it is.
fn doors(text: &mut String, model: &Model, addresses: &[SocketAddr]) {
    let mut addresses = addresses.iter();
    let shared = model.shared.listen.iter().map(|_| "shared: the client's address picks the VPC".to_owned());
    let plus_two = model.vpcs.iter().flat_map(|vpc| vpc.listen.iter().map(|_| format!("plus-two door of {}", vpc.id)));
    let inbound = model.inbound_endpoints.iter().flat_map(|endpoint| {
        let vpc = &model.vpc(endpoint.vpc).id;
        let of = format!("inbound endpoint {} of {vpc}{}", endpoint.id, with_dns64(endpoint.dns64));
        endpoint.listen.iter().map(move |_| of.clone())
    });
    let doors = shared.chain(plus_two).chain(inbound);
    let lines = doors.filter_map(|whose| Some(format!("{} {whose}", addresses.next()?)));
    section(text, "listening on (UDP and TCP)", lines);
}

/// Whether there is DNS64, behind whatever it belongs to.
fn with_dns64(has_dns64: bool) -> &'static str {
    if has_dns64 { ", DNS64" } else { "" }
}

/// A heading and its lines, the first ones of them; nothing where there is none.
fn section(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "{heading}");
    for line in lines.iter().take(LINES_MAX) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > LINES_MAX {
        let _ = writeln!(text, "  … and {} more", lines.len() - LINES_MAX);
    }
}

/// The first few of a list.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN_MAX: usize = 6;
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = if items.len() > SHOWN_MAX { format!(" and {} more", items.len() - SHOWN_MAX) } else { String::new() };
    let shown = items.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if items.is_empty() { "none".to_owned() } else { format!("{shown}{more}") }
}

/// The ids of VPCs.
fn ids(model: &Model, vpcs: &[VpcIndex]) -> String {
    list(vpcs.iter().map(|vpc| &model.vpc(*vpc).id))
}

/// Three questions to try, as the head of the example world's file says them.
pub(super) fn questions() -> String {
    let lines = super::BUILT_IN_TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| line.starts_with("dig "));
    lines.fold("try\n".to_owned(), |text, line| format!("{text}  {line}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::profile::PROFILE_PRIORITY;
    use crate::aws::{Profile, ProfileAssociation, ResolverRule, Vpc};
    use crate::dns::Name;

    #[test]
    fn targets_are_shown_as_they_are_written_with_their_order() {
        let group = |targets: &[&str], order| TargetGroup {
            targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
            order,
        };
        let rule = ResolverRule {
            id: "rslvr-rr-a".into(),
            domain: Name::from_labels([&b"corp"[..]]).expect("a name"),
            action: RuleAction::Forward(group(&["tls://192.0.2.1#dns.example", "192.0.2.2"], TargetOrder::InOrder)),
            vpcs: Vec::new(),
        };
        let mut model = Model {
            resolver_rules: vec![rule],
            upstream: group(&["https://dns.example"], TargetOrder::Fastest),
            bootstrap: vec!["192.0.2.53:53".parse().expect("an address")],
            ..Model::default()
        };
        let expected = "resolver rules\n  corp. (rslvr-rr-a) forwarded to tls://192.0.2.1#dns.example, 192.0.2.2:53 in this \
                        order, for none\nupstream\n  https://dns.example/dns-query\n\
                        addresses of targets that are host names\n  asked of 192.0.2.53:53\n";
        assert_eq!(summary(&model, &[]), expected);
        let vpc = Vpc {
            id: "vpc-six".into(),
            name: None,
            region: "us-west-2".into(),
            cidrs: Vec::new(),
            subnets: Vec::new(),
            clients: Vec::new(),
            listen: Vec::new(),
            allow: Vec::new(),
            dns_support: true,
            dns_hostnames: true,
            autodefined_reverse: true,
            dns64: true,
            owner_id: None,
        };
        model.vpcs.push(vpc);
        model.profiles.push(Profile {
            id: "rp-a".into(),
            hosted_zones: Vec::new(),
            resolver_rules: vec![0],
            endpoints: Vec::new(),
            associations: vec![ProfileAssociation { vpc: VpcIndex(0), priority: PROFILE_PRIORITY }],
        });
        let said = summary(&model, &[]);
        assert!(said.contains("VPCs\n  vpc-six, us-west-2, none, DNS64\n"), "{said}");
        assert!(said.contains("profiles\n  rp-a shares rslvr-rr-a, with vpc-six\n"), "{said}");
        model.upstream.order = TargetOrder::Random;
        assert!(summary(&model, &[]).contains("upstream\n  https://dns.example/dns-query in random order\n"));
    }
}
