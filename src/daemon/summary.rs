//! What is served, in words: doors, VPCs, zones, endpoints, rules.

use crate::aws::{EndpointKind, HealthCheckKind, Model, RuleAction, VpcIndex};
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
        format!("{}{name}, {}, {}", vpc.id, vpc.region, list(vpc.cidrs.iter().chain(&vpc.clients)))
    });
    section(&mut text, "VPCs", vpcs);
    let zones = model.hosted_zones.iter().map(|zone| {
        format!("{} ({}), {} record sets, for {}", zone.apex, zone.id, zone.record_sets.len(), ids(model, &zone.vpcs))
    });
    section(&mut text, "private hosted zones", zones);
    let checks = model.health_checks.iter().map(|check| {
        let what = match &check.kind {
            HealthCheckKind::Manual { healthy: true } => "set to healthy".to_owned(),
            HealthCheckKind::Manual { healthy: false } => "set to unhealthy".to_owned(),
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
        format!("{} in {}, {service}, {what}", endpoint.id, model.vpc(endpoint.vpc).id)
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
        };
        format!("{} ({}) {action}, for {}", rule.domain, rule.id, ids(model, &rule.vpcs))
    });
    section(&mut text, "resolver rules", rules);
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

/// Doors, each with whose it is.
fn doors(text: &mut String, model: &Model, addresses: &[SocketAddr]) {
    let mut addresses = addresses.iter();
    let shared = model.shared.listen.iter().map(|_| "shared: the client's address picks the VPC".to_owned());
    let plus_two = model.vpcs.iter().flat_map(|vpc| vpc.listen.iter().map(|_| format!("plus-two door of {}", vpc.id)));
    let inbound = model.inbound_endpoints.iter().flat_map(|endpoint| {
        let of = format!("inbound endpoint {} of {}", endpoint.id, model.vpc(endpoint.vpc).id);
        endpoint.listen.iter().map(move |_| of.clone())
    });
    let doors = shared.chain(plus_two).chain(inbound);
    let lines = doors.filter_map(|whose| Some(format!("{} {whose}", addresses.next()?)));
    section(text, "listening on (UDP and TCP)", lines);
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
    use crate::aws::ResolverRule;
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
        model.upstream.order = TargetOrder::Random;
        assert!(summary(&model, &[]).contains("upstream\n  https://dns.example/dns-query in random order\n"));
    }
}
