//! What accepted configurations mean: the model that comes of them, value by value.

use plustwo::aws::record_set::rdatas;
use plustwo::aws::region::{self, Code, Continent, Coordinates};
use plustwo::aws::routing_policy::{Area, FailoverRole};
use plustwo::aws::{
    AliasTarget, Compat, EndpointKind, EndpointState, HealthCheckIndex, HealthCheckKind, HostedZone, HostnameType,
    LoggedVpcs, Model, MonitoredEndpoint, MonitoredHost, MonitoringProtocol, PeeringStatus, RecordData, RecordSet,
    Routing, RoutingPolicy, RuleAction, VpcIndex,
};
use plustwo::config::{
    self, Bootstrap, Configuration, DnstapSettings, Loaded, LogFilter, LogLevel, LogOutput, QueryLogSettings,
    Surroundings,
};
use plustwo::dns::cookie::CookieSecret;
use plustwo::dns::text::{DisplayRdata, Escapes, parse_folded_name};
use plustwo::dns::{Name, Rcode, Rtype, TargetGroup, TargetOrder, TargetProtocol};
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

/// Loads a text in the folder of the accepted cases, where resolv.conf names these.
fn load(text: &str, nameservers: &[&str]) -> Loaded {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/accepted");
    let surroundings = Surroundings {
        read_file: &|path| fs::read_to_string(below.join(path)).map_err(|error| error.to_string()),
        system_nameservers: &|| Ok(nameservers.iter().map(|ip| ip.parse::<IpAddr>().expect("an address")).collect()),
        is_own_address: &|_| false,
    };
    config::load("plustwo.toml", text, &surroundings)
}

fn configuration(text: &str, nameservers: &[&str]) -> Configuration {
    let loaded = load(text, nameservers);
    loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics)))
}

fn accepted(file: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/accepted");
    configuration(&fs::read_to_string(folder.join(file)).expect("readable"), &["192.0.2.53"]).model
}

fn name(text: &str) -> Name {
    parse_folded_name(text, Escapes::Decimal, None).expect("a name")
}

fn strings<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn set<'z>(zone: &'z HostedZone, owner: &str, rtype: Rtype) -> &'z RecordSet {
    let owner = name(owner);
    let found = zone.record_sets.here().iter().find(|set| set.owner == owner && set.rtype == rtype);
    found.unwrap_or_else(|| panic!("no {rtype} {owner}"))
}

/// TTL and values of a set, as a zone file shows them.
fn records(zone: &HostedZone, owner: &str, rtype: Rtype) -> (u32, Vec<String>) {
    let RecordData::Records { ttl, rdatas: packed } = &set(zone, owner, rtype).data else { panic!("an alias") };
    (ttl.seconds(), rdatas(packed).map(|rdata| DisplayRdata { rtype, rdata }.to_string()).collect())
}

fn alias<'z>(zone: &'z HostedZone, owner: &str, rtype: Rtype) -> &'z AliasTarget {
    let RecordData::Alias { target, .. } = &set(zone, owner, rtype).data else { panic!("no alias") };
    target
}

#[test]
fn the_sample_means_what_its_comments_say() {
    let model = accepted("every-key.toml");
    assert_eq!(strings(&model.shared.listen), ["127.0.0.1:5300"]);
    assert_eq!(strings(&model.shared.allow), ["127.0.0.0/8"]);
    assert_eq!(model.shared.default_vpc, Some(VpcIndex(0)));
    assert_eq!(
        (strings(&model.upstream.targets), model.upstream_is_system),
        (strings(["169.254.169.253:53", "tls://dns.example"]), false)
    );
    assert_eq!(strings(&model.bootstrap), ["192.0.2.53:53"]);
    assert_eq!(model.compat, Compat::default());
    let [hub, a] = &model.vpcs[..] else { panic!("two VPCs") };
    assert_eq!((&*hub.id, hub.name.as_deref(), &*hub.region), ("vpc-0hub", Some("hub"), "ap-northeast-2"));
    assert_eq!((&*a.id, a.name.as_deref(), &*a.region), ("vpc-0a", None, "ap-northeast-2"));
    assert_eq!(strings(hub.cidrs.iter().chain(&hub.clients)), ["10.0.0.0/16", "192.168.10.0/24"]);
    assert_eq!(strings(&hub.listen), ["127.0.0.12:5300"]);
    assert_eq!(strings(&hub.allow), ["10.0.0.0/16", "127.0.0.0/8"]);
    assert!(hub.dns_support && hub.dns_hostnames && a.dns_support && a.dns_hostnames);
    assert_eq!((hub.autodefined_reverse, a.autodefined_reverse), (true, false));
    let peering = &model.vpc_peerings[0];
    assert_eq!((&*peering.id, peering.status), ("pcx-0a1b2c3d4e5f60718", PeeringStatus::Active));
    assert_eq!(peering.resolutions(&model).collect::<Vec<_>>(), [(VpcIndex(1), VpcIndex(0))]);
    let interface = &model.network_interfaces[0];
    let addresses = interface.private_ip_addresses.iter();
    let addresses: Vec<String> = addresses
        .map(|address| format!("{} {}", address.private_ip_address, address.public_ip.expect("associated")))
        .collect();
    assert_eq!((&*interface.id, interface.vpc), ("eni-0a1b2c3d4e5f60718", VpcIndex(0)));
    assert_eq!(addresses, ["10.0.20.40 203.0.113.40", "10.0.20.41 203.0.113.41"]);
    let instance = &model.instances[0];
    assert_eq!((&*instance.id, instance.vpc), ("i-0123456789abcdef0", VpcIndex(1)));
    assert_eq!(instance.private_ip_address, Some([10, 1, 20, 42].into()));
    assert_eq!(instance.public_ip_address, Some([203, 0, 113, 42].into()));
    assert_eq!(instance.ipv6_address, "2001:db8:1::42".parse().ok());
    let options = instance.private_dns_name_options;
    assert_eq!(options.hostname_type, HostnameType::ResourceName);
    let enabled = (options.enable_resource_name_dns_a_record, options.enable_resource_name_dns_aaaa_record);
    assert_eq!(enabled, (true, false));
    let inbound = &model.inbound_endpoints[0];
    assert_eq!((&*inbound.id, inbound.vpc), ("rslvr-in-0a1", VpcIndex(0)));
    assert_eq!(strings(&inbound.listen), ["127.0.0.22:5300", "127.0.0.23:5300"]);
    assert_eq!(strings(&inbound.allow), ["192.168.0.0/16"]);
    let rule = &model.resolver_rules[0];
    assert_eq!((rule.domain.to_string().as_str(), rule.vpcs.as_slice()), ("corp.example.com.", &[VpcIndex(0)][..]));
    let RuleAction::Forward(TargetGroup { targets, order }) = &rule.action else { panic!("forward") };
    let tls = "tls://[fd00::1]#dns.corp.example.com";
    assert_eq!(
        (strings(targets), *order),
        (strings(["192.168.1.10:53", "192.168.1.11:5353", tls]), TargetOrder::Fastest)
    );
    let zone = &model.hosted_zones[0];
    assert_eq!((&*zone.id, zone.vpcs.as_slice()), ("Z0SECRETS", &[VpcIndex(1)][..]));
    let apex = "secretsmanager.ap-northeast-2.amazonaws.com";
    assert!(matches!(alias(zone, apex, Rtype::A), AliasTarget::Forwarded(target)
        if target.to_string() == "vpce-0123456789abcdef0-v5xcd2c1.secretsmanager.ap-northeast-2.vpce.amazonaws.com."));
    let www = records(zone, "www.secretsmanager.ap-northeast-2.amazonaws.com", Rtype::A);
    assert_eq!(www, (300, strings(["10.0.1.1", "10.0.1.2"])));
    let db = records(zone, "db.secretsmanager.ap-northeast-2.amazonaws.com", Rtype::A);
    assert_eq!(db, (60, strings(["10.1.4.7", "10.1.4.8"])));
}

#[test]
fn names_and_values_in_every_form() {
    let model = accepted("records.toml");
    let zone = &model.hosted_zones[0];
    assert_eq!(zone.apex.to_string(), "corp.example.com.");
    // Octal in TOML: \073 is `;`. One entry is one record; `ttl` absent is 300.
    let text = records(zone, "corp.example.com", Rtype::TXT);
    assert_eq!(text, (300, strings([r#""a b" "c;""#, r#""second""#])));
    assert_eq!(records(zone, "*.corp.example.com", Rtype::A), (0, strings(["10.0.0.9"])));
    assert_eq!(records(zone, "abs.corp.example.com", Rtype::CNAME), (300, strings(["target.example."])));
    // From the file: relative names, decimal escapes (\052 is `4`), SOA and NS as they stand, the lowest TTL of a set.
    assert_eq!(records(zone, "4.deep.corp.example.com", Rtype::A), (60, strings(["10.0.0.82"])));
    assert_eq!(records(zone, "corp.example.com", Rtype::NS), (60, strings(["ns.corp.example.com."])));
    assert_eq!(records(zone, "corp.example.com", Rtype::SOA).0, 900);
    assert_eq!(records(zone, "web.corp.example.com", Rtype::A), (30, strings(["10.0.0.80", "10.0.0.81"])));
    // Aliases: to an alias of the zone, to an endpoint's names, to another name of AWS's.
    assert!(matches!(alias(zone, "one.corp.example.com", Rtype::A),
        AliasTarget::SameZone(target) if *target == name("two.corp.example.com")));
    assert!(matches!(
        alias(zone, "regional.corp.example.com", Rtype::A),
        AliasTarget::Endpoint { endpoint: 0, zonal: None }
    ));
    assert!(matches!(
        alias(zone, "zonal.corp.example.com", Rtype::AAAA),
        AliasTarget::Endpoint { endpoint: 0, zonal: Some(1) }
    ));
    assert!(matches!(alias(zone, "lb.corp.example.com", Rtype::A), AliasTarget::Forwarded(target)
        if *target == name("dualstack.internal-lb-1.ap-northeast-2.elb.amazonaws.com")));
}

#[test]
fn endpoints_have_their_names() {
    let model = accepted("endpoints.toml");
    assert_eq!(strings(&model.vpcs[0].cidrs), ["10.0.0.0/16", "2001:db8::/56"]);
    let EndpointKind::Interface {
        regional_name,
        zonal,
        has_subdomains,
        private_names,
        private_dns_only_for_inbound,
        ..
    } = &model.endpoints[0].kind
    else {
        panic!("interface")
    };
    assert_eq!(regional_name.to_string(), "vpce-0916e80803286e2d6-s14qjhy6.s3.ap-northeast-2.vpce.amazonaws.com.");
    // In the order of the file.
    assert_eq!(strings(zonal.iter().map(|zone| &zone.availability_zone)), ["ap-northeast-2c", "ap-northeast-2a"]);
    assert_eq!(
        zonal[1].zonal_name.as_ref().map(ToString::to_string).as_deref(),
        Some("vpce-0916e80803286e2d6-s14qjhy6-ap-northeast-2a.s3.ap-northeast-2.vpce.amazonaws.com.")
    );
    assert_eq!(strings(&zonal[1].addresses), ["10.0.12.133", "2001:db8::133"]);
    assert!(*has_subdomains && *private_dns_only_for_inbound);
    assert_eq!(
        strings(private_names.iter().map(|name| &name.apex)),
        ["s3", "s3-control", "s3-accesspoint"].map(|host| format!("{host}.ap-northeast-2.amazonaws.com."))
    );
    assert!(private_names.iter().all(|name| name.at_apex && name.below_apex));
    assert!(matches!(model.endpoints[1].kind, EndpointKind::Gateway));
    assert!(matches!(model.endpoints[2].kind, EndpointKind::GatewayLoadBalancer));
    assert_eq!(model.endpoints[3].state, EndpointState::PendingAcceptance);
    let EndpointKind::Interface { private_names, has_subdomains, .. } = &model.endpoints[3].kind else {
        panic!("interface")
    };
    assert!(!has_subdomains);
    let [private] = &private_names[..] else { panic!("one private name") };
    assert_eq!(
        (private.apex.to_string().as_str(), private.at_apex, private.below_apex),
        ("company.example.", false, true)
    );
}

#[test]
fn doors_without_allow_let_in_own_networks() {
    let text = "version = 1\nregion = 'eu-west-1'\n[server]\nlisten = ['127.0.0.1:5300']\n\
                [[vpc]]\nid = 'v'\nlisten = ['127.0.0.2:5300']\ncidrs = ['203.0.113.0/24']\nclients = ['2001:db8::/48']\n\
                [[inbound_endpoint]]\nid = 'i'\nvpc = 'v'\nlisten = ['127.0.0.3']\n";
    let model = configuration(text, &["192.0.2.53"]).model;
    let own = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ];
    assert_eq!(strings(&model.shared.allow), own);
    let with_clients: Vec<&str> = own.into_iter().chain(["203.0.113.0/24", "2001:db8::/48"]).collect();
    assert_eq!(strings(&model.vpcs[0].allow), with_clients);
    assert_eq!(strings(&model.inbound_endpoints[0].allow), with_clients);
    assert_eq!(strings(&model.inbound_endpoints[0].listen), ["127.0.0.3:53"]);
}

#[test]
fn reverse_zones_are_there_until_they_are_turned_off_for_good() {
    let text = |state| {
        format!(
            "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n\
             [[resolver_config]]\nresource_id = 'v'\nautodefined_reverse = '{state}'\n"
        )
    };
    for (state, is_on) in [
        ("ENABLED", true),
        ("ENABLING", false),
        ("DISABLING", true),
        ("DISABLED", false),
        ("USE_LOCAL_RESOURCE_SETTING", true),
        ("UPDATING_TO_USE_LOCAL_RESOURCE_SETTING", true),
        ("disable", false),
    ] {
        assert_eq!(configuration(&text(state), &["192.0.2.53"]).model.vpcs[0].autodefined_reverse, is_on, "{state}");
    }
}

#[test]
fn an_instance_is_called_as_aws_does_where_nothing_is_said() {
    let text = |addresses| {
        format!(
            "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n\
             cidrs = ['10.0.0.0/16', '2001:db8::/56']\n[[instance]]\nid = 'i-0a'\nvpc = 'v'\n{addresses}\n"
        )
    };
    let options =
        |addresses| configuration(&text(addresses), &["192.0.2.53"]).model.instances[0].private_dns_name_options;
    let (ipv4, ipv6) = (options("private_ip_address = '10.0.0.5'"), options("ipv6_address = '2001:db8::5'"));
    assert_eq!((ipv4.hostname_type, ipv6.hostname_type), (HostnameType::IpName, HostnameType::ResourceName));
    for options in [ipv4, ipv6] {
        assert!(!options.enable_resource_name_dns_a_record && !options.enable_resource_name_dns_aaaa_record);
    }
}

#[test]
fn the_system_upstream_leaves_our_own_doors_out() {
    let text = "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n";
    let model = configuration(text, &["127.0.0.2", "192.0.2.53", "2001:db8::53", "::ffff:192.0.2.54"]).model;
    assert_eq!(strings(&model.upstream.targets), ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:53"]);
    assert!(!model.upstream_is_system);
    let model = configuration(text, &["127.0.0.2"]).model;
    assert!(model.upstream.is_empty() && model.upstream_is_system);
    let refusing = format!("upstream = {{ targets = [] }}\n{text}");
    let model = configuration(&refusing, &["192.0.2.53"]).model;
    assert!(model.upstream.is_empty() && !model.upstream_is_system);
}

#[test]
fn targets_in_every_form() {
    let model = accepted("targets.toml");
    let upstream = ["tls://192.0.2.1#dns.example", "192.0.2.1:53"].into_iter();
    let upstream = upstream.chain(["https://dns.example/dns-query", "https://192.0.2.3/dns-query#dns.example"]);
    assert_eq!(strings(&model.upstream.targets), strings(upstream));
    assert_eq!(model.upstream.order, TargetOrder::InOrder);
    let groups = model.resolver_rules.iter().map(|rule| match &rule.action {
        RuleAction::Forward(group) => (strings(&group.targets), group.order),
        RuleAction::System | RuleAction::Delegate => panic!("forward"),
    });
    let tables = [
        "192.0.2.1:53",
        "192.0.2.1:5300",
        "tcp://[2001:db8::1]:53",
        "tls://192.0.2.2",
        "quic://192.0.2.3:8853#dns.example",
        "https://192.0.2.4/dns-query",
    ];
    let urls = [
        "tcp://[2001:db8::1]:53",
        "tls://[2001:db8::1]:8853#dns.example",
        "quic://dns.example:8853",
        "https://dns.example:8443/q/%7E#other.example",
        "https://192.0.2.1/",
        "[2001:db8::1]:53",
    ];
    let expected = [(strings(tables), TargetOrder::Fastest), (strings(urls), TargetOrder::Random)];
    assert_eq!(groups.collect::<Vec<_>>(), expected);
    let doh = &model.upstream.targets[2];
    assert_eq!(doh.protocol, TargetProtocol::Doh { path: "/dns-query".into() });
    assert_eq!((doh.address(), doh.port, doh.certificate_name()), (None, 443, "dns.example".to_owned()));
    assert_eq!(model.upstream.targets[3].certificate_name(), "dns.example");
    assert_eq!(strings(&model.bootstrap), ["192.0.2.53:53", "[2001:db8::53]:5300"]);
}

#[test]
fn host_names_are_asked_of_the_system_unless_something_else_is_said() {
    let vpc = "[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n";
    let text = |upstream: &str| format!("version = 1\nupstream = {{ {upstream} }}\n{vpc}");
    let nameservers = ["127.0.0.2", "192.0.2.53", "192.0.2.54"];
    let bootstrap = |upstream: &str| {
        let Configuration { model, settings, .. } = configuration(&text(upstream), &nameservers);
        (strings(&model.bootstrap), settings.upstream.bootstrap)
    };
    let system = (strings(["192.0.2.53:53", "192.0.2.54:53"]), Bootstrap::System);
    assert_eq!(bootstrap("targets = ['tls://dns.example']"), system);
    assert_eq!(bootstrap("targets = ['tls://dns.example'], bootstrap = 'System'"), system);
    // Nobody needs to be asked.
    assert_eq!(bootstrap("targets = ['tls://192.0.2.1#dns.example']"), (Vec::new(), Bootstrap::System));
    let server = "192.0.2.9:5300".parse().expect("an address");
    let listed = (strings(["192.0.2.9:5300"]), Bootstrap::Servers(vec![server]));
    assert_eq!(bootstrap("targets = ['tls://dns.example'], bootstrap = ['192.0.2.9:5300']"), listed);
}

#[test]
fn the_order_holds_for_the_system_upstream_too() {
    let text = "version = 1\nupstream = { order = 'in_order' }\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\n\
                listen = ['127.0.0.2']\n";
    let upstream = configuration(text, &["192.0.2.54", "192.0.2.53"]).model.upstream;
    assert_eq!(
        (strings(&upstream.targets), upstream.order),
        (strings(["192.0.2.54:53", "192.0.2.53:53"]), TargetOrder::InOrder)
    );
    // The first six, as anywhere.
    let many: Vec<String> = (1..10).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(configuration(text, &many).model.upstream.targets.len(), 6);
}

#[test]
fn a_door_for_every_address_is_one_at_ours_only() {
    let load = |target: &str, own: &str| {
        let text = format!(
            "version = 1\nserver = {{ listen = ['0.0.0.0:5300', '[::]:5300'] }}\nupstream = {{ targets = ['{target}'] }}\n"
        );
        let surroundings = Surroundings {
            read_file: &|path| Err(path.to_owned()),
            system_nameservers: &|| Ok(Vec::new()),
            is_own_address: &|ip| ip.to_string() == own,
        };
        config::load("plustwo.toml", &text, &surroundings).configuration.is_some()
    };
    for target in ["192.0.2.9:5300", "tcp://192.0.2.9:5300", "tls://192.0.2.9:5300#dns.example"] {
        assert!(!load(target, "192.0.2.9"), "{target}");
        assert!(load(target, "192.0.2.8"), "{target}");
    }
    assert!(!load("quic://[2001:db8::9]:5300", "2001:db8::9"));
    assert!(!load("127.9.9.9:5300", "192.0.2.9"), "all of 127.0.0.0/8 is ours");
    assert!(load("192.0.2.9:53", "192.0.2.9"), "no door has this port");
}

#[test]
fn settings_are_read() {
    let text = "version = 1\n[server]\nworkers = 3\nwatch = false\n[upstream]\ntargets = ['tls://192.0.2.1']\n\
                case_randomization = true\ncookies = false\ntls_roots = './corp-ca.pem'\n\
                [cache]\nmax_memory = '1 GiB'\nmax_ttl = 600\nfailure_ttl = 30\nserve_stale = 259200\n\
                prefetch = false\nfile = 'state/cache'\n[limits]\n\
                tcp_connections = 10\ntcp_connections_per_client = 2\ntcp_idle_seconds = 3\nin_flight = 20\n\
                in_flight_per_client = 4\nin_flight_per_target = 5\nupstream_sockets = 16\nquery_log_memory = '2 MiB'\n[log]\nlevel = 'DEBUG'\n\
                [protection]\nresponses_per_second = 7\nerrors_per_second = 0\nslip = 3\nipv4_prefix = 32\nipv6_prefix = 48\n\
                exempt = ['192.0.2.0/24', '::ffff:10.0.0.0/104', '0.0.0.0/0']\n[cookies]\nsecret_file = 'cookie-secrets'\n\
                [admin]\nsocket = 'run/admin'\nhttp = '[::1]:9353'\n";
    let settings = configuration(text, &["192.0.2.53"]).settings;
    assert_eq!((settings.workers, settings.watch, settings.log_level), (3, false, LogLevel::Debug));
    assert_eq!(settings.admin.socket.as_deref(), Some(Path::new("run/admin")));
    assert_eq!(settings.admin.http, Some("[::1]:9353".parse().expect("an address")));
    let upstream = &settings.upstream;
    assert_eq!((upstream.case_randomization, upstream.cookies), (true, false));
    let roots = upstream.tls_roots.as_ref().expect("roots");
    assert_eq!((&*roots.file, roots.certificates.len()), ("./corp-ca.pem", 1));
    // A certificate in DER; what is in it is for others to read.
    assert!(roots.certificates[0].starts_with(&[0x30, 0x82]));
    let cache = &settings.cache;
    assert_eq!((cache.max_memory_octets, cache.prefetch), (1 << 30, false));
    assert_eq!((cache.max_ttl.seconds(), cache.negative_max_ttl.seconds()), (600, 600));
    assert_eq!((cache.failure_ttl.seconds(), cache.serve_stale.as_secs()), (30, 259_200));
    assert_eq!(cache.file.as_deref(), Some(Path::new("state/cache")));
    let limits = &settings.limits;
    assert_eq!((limits.tcp_connections, limits.tcp_connections_per_client, limits.tcp_idle.as_secs()), (10, 2, 3));
    assert_eq!((limits.in_flight, limits.in_flight_per_client), (20, 4));
    assert_eq!((limits.in_flight_per_target, limits.upstream_sockets), (5, 16));
    assert_eq!(limits.query_log_octets, 2 << 20);
    assert_eq!((limits.tcp_connections_per_prefix, limits.in_flight_per_prefix), (5, 10), "half of the whole");
    let protection = &settings.protection;
    assert_eq!((protection.responses_per_second, protection.errors_per_second, protection.slip), (7, 0, 3));
    assert_eq!((protection.ipv4_prefix, protection.ipv6_prefix), (32, 48));
    let exempt: Vec<String> = protection.exempt.iter().map(ToString::to_string).collect();
    assert_eq!(exempt, ["192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0"], "of any width: nobody is let in by it");
    assert!(settings.cookies.enabled);
    let secret = |first: u8, last: u8, secret: &CookieSecret| (secret.0[0], secret.0[15]) == (first, last);
    let [first, second] = &settings.cookies.secrets[..] else { panic!("{:?}", settings.cookies) };
    assert!(secret(0xe5, 0xcf, first) && secret(0x44, 0x62, second), "in the order of the file");
}

#[test]
fn logs_of_queries_are_read() {
    let vpcs = "[[vpc]]\nid = 'vpc-a'\nname = 'a'\nregion = 'us-west-2'\nowner_id = '444455556666'\nlisten = ['127.0.0.2']\n\
                [[vpc]]\nid = 'vpc-b'\nregion = 'us-west-2'\n";
    let read = |logs: &str| configuration(&format!("version = 1\n{logs}\n{vpcs}"), &["192.0.2.53"]);
    let Configuration { model, settings, .. } = read("");
    assert!(model.query_log.is_none() && settings.query_log.output.is_none() && settings.dnstap.socket.is_none());
    assert_eq!(model.vpcs[0].owner_id.as_deref(), Some("444455556666"));

    let Configuration { model, settings, .. } = read(
        "[query_log]\noutput = 'file:logs/q'\naccount_id = '111122223333'\nvpcs = ['a', 'vpc-b']\n\
         sources = ['STALE', 'forward']\nrcodes = ['servfail']\nnames = ['Corp.example']\nsample_rate = '0.25'\n",
    );
    let config = model.query_log.expect("it is on");
    assert_eq!((&*config.account_id, config.dnstap), ("111122223333", LoggedVpcs::None));
    assert_eq!(config.query_log, LoggedVpcs::Some(vec![VpcIndex(0), VpcIndex(1)]));
    let QueryLogSettings { output, filter } = settings.query_log;
    assert_eq!(output, Some(LogOutput::File("logs/q".into())));
    assert_eq!((filter.sources, filter.rcodes), (vec!["stale", "forward"], vec![Rcode::SERVFAIL]));
    assert_eq!((strings(&filter.names), filter.sample_rate.rate()), (vec!["corp.example.".to_owned()], 0.25));

    let Configuration { model, settings, .. } =
        read("query_log = { output = 'stdout' }\ndnstap = { output = 'unix:/run/d' }\n");
    let config = model.query_log.expect("it is on");
    assert_eq!(
        (&*config.account_id, config.query_log, config.dnstap),
        ("000000000000", LoggedVpcs::All, LoggedVpcs::All)
    );
    assert_eq!(settings.query_log.output, Some(LogOutput::Stdout));
    let DnstapSettings { socket, client_queries, client_responses, filter } = settings.dnstap;
    assert_eq!((socket, client_queries, client_responses), (Some("/run/d".into()), true, true));
    assert_eq!(filter, LogFilter::default());
    assert_eq!(filter.sample_rate.rate(), 1.0);

    let Configuration { settings, .. } = read("query_log = { output = 'unix:q', sample_rate = 0 }\n");
    assert_eq!(settings.query_log.output, Some(LogOutput::Socket("q".into())));
    assert_eq!(settings.query_log.filter.sample_rate.rate(), 0.0);
}

/// One client may have more than half; then its prefix has as much.
#[test]
fn a_prefix_has_half_of_the_whole_or_what_one_client_has() {
    let shares = |limits: &str| {
        let limits = configuration(&format!("version = 1\n[limits]\n{limits}\n"), &["192.0.2.53"]).settings.limits;
        (limits.tcp_connections_per_prefix, limits.in_flight_per_prefix)
    };
    assert_eq!(shares(""), (512, 5000));
    assert_eq!(shares("tcp_connections_per_client = 1000\nin_flight_per_client = 10000"), (1000, 10_000));
    assert_eq!(shares("tcp_connections = 9000\nin_flight = 100000"), (4500, 50_000));
    assert_eq!(shares("tcp_connections_per_prefix = 7\nin_flight_per_prefix = 8"), (7, 8));
}

#[test]
fn a_file_of_too_many_certificates_is_refused() {
    let load = |certificates: usize| {
        // The least that is DER: an empty SEQUENCE.
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".repeat(certificates);
        let surroundings = Surroundings {
            read_file: &|_| Ok(pem.clone()),
            system_nameservers: &|| Ok(Vec::new()),
            is_own_address: &|_| false,
        };
        let text = "version = 1\nupstream = { targets = ['tls://192.0.2.1'], tls_roots = 'all.pem' }\n";
        config::load("plustwo.toml", text, &surroundings)
    };
    assert!(load(1000).configuration.is_some());
    let said = config::render(&load(1001).diagnostics);
    assert!(said.contains("error: `all.pem` has 1001 certificates\n"), "{said}");
}

#[test]
fn defaults_are_what_the_readme_says() {
    let settings = configuration("version = 1\n", &["192.0.2.53"]).settings;
    assert_eq!(settings, config::Settings::default());
    let config::Settings { upstream, cache, limits, .. } = settings;
    assert_eq!((upstream.case_randomization, upstream.cookies), (false, true));
    assert_eq!((upstream.bootstrap, upstream.tls_roots), (Bootstrap::System, None));
    assert_eq!((cache.max_memory_octets, cache.max_ttl.seconds()), (64 << 20, 86_400));
    assert_eq!((cache.failure_ttl.seconds(), cache.serve_stale.as_secs()), (5, 86_400));
    assert_eq!((cache.prefetch, cache.file), (true, None));
    assert_eq!((limits.in_flight, limits.in_flight_per_client), (10_000, 1000));
    assert_eq!((limits.in_flight_per_target, limits.upstream_sockets), (5000, 1000));
}

#[test]
fn same_prefixes_are_fine_where_nobody_has_to_be_told_apart() {
    let vpcs = "[[vpc]]\nid = 'a'\nregion = 'eu-west-1'\ncidrs = ['10.0.0.0/16']\nlisten = ['127.0.0.2']\n\
                [[vpc]]\nid = 'b'\nregion = 'eu-west-1'\ncidrs = ['10.0.0.0/16']\nlisten = ['127.0.0.3']\n";
    assert!(load(&format!("version = 1\n{vpcs}"), &["192.0.2.53"]).configuration.is_some());
    let shared = format!("version = 1\nserver = {{ listen = ['127.0.0.1'] }}\n{vpcs}");
    assert!(load(&shared, &["192.0.2.53"]).configuration.is_none());
}

/// A count of records has 16 bits, an answer 64 KiB.
#[test]
fn an_endpoint_has_as_many_addresses_as_an_answer_has_room_for() {
    let address = |host: u32| Ipv6Addr::from(0xfd00 << 112 | u128::from(host));
    let addresses = |count: u32| -> String { (0..count).map(|host| format!("'{}',", address(host))).collect() };
    let vpc = "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n";
    let interface = |count| {
        format!(
            "{vpc}[[vpc_endpoint]]\nid = 'vpce-1'\nvpc = 'v'\nservice = 'com.amazonaws.eu-west-1.kms'\n\
             dns_name = 'vpce-1-x.kms.eu-west-1.vpce.amazonaws.com'\naddresses = {{ eu-west-1a = [{}] }}\n",
            addresses(count)
        )
    };
    let resource = |own, count| {
        let (shared, own) = if own { (1, count) } else { (count, 1) };
        let (shared, own) = (addresses(shared), addresses(own));
        let name = |number| format!("vpce-1-snra-{number}.rcfg-1.abcd.vpc-lattice-rsc.eu-west-1.on.aws");
        format!(
            "{vpc}[[vpc_endpoint]]\nid = 'vpce-1'\nvpc = 'v'\ntype = 'resource'\naddresses = {{ eu-west-1a = [{shared}] }}\n\
             associations = [{{ dns_entry = '{}' }}, {{ dns_entry = '{}', addresses = [{own}] }}]\n",
            name(1),
            name(2)
        )
    };
    let texts: [&dyn Fn(u32) -> String; 3] =
        [&interface, &|count| resource(false, count), &|count| resource(true, count)];
    for text in texts {
        assert!(load(&text(1000), &["192.0.2.53"]).configuration.is_some());
        for count in [1001, 70_000] {
            let loaded = load(&text(count), &["192.0.2.53"]);
            assert!(loaded.configuration.is_none());
            let said = config::render(&loaded.diagnostics);
            assert!(said.contains(&format!("{count} addresses of an endpoint")), "{said}");
        }
    }
}

/// One for every address, and each is held against the others: pair by pair that would be 10^9 times.
#[test]
fn a_vpc_may_have_a_subnet_for_every_address() {
    let subnets: String = (0..1 << 16).map(|host| format!("'10.0.{}.{}/32',", host >> 8, host & 0xff)).collect();
    let text = |more: &str| {
        format!(
            "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n\
             cidrs = ['10.0.0.0/16', 'fd00::/56']\nsubnets = {{ eu-west-1a = [{subnets} 'fd00::/64'], eu-west-1b = [{more}] }}\n"
        )
    };
    let found = configuration(&text("'fd00:0:0:1::/64'"), &["192.0.2.53"]);
    assert_eq!(found.model.vpcs[0].subnets.len(), (1 << 16) + 2);
    for more in ["10.0.0.0/24", "10.0.255.255/32", "fd00::/60", "fd00::1/128"] {
        let said = config::render(&load(&text(&format!("'{more}'")), &["192.0.2.53"]).diagnostics);
        assert!(said.contains(&format!("The CIDR '{more}' conflicts with another subnet")), "{said}");
    }
}

/// Record types are compared within a VPC: over all pairs of endpoints that would be 10^9 times.
#[test]
fn every_vpc_may_have_its_pair_of_endpoints_for_s3() {
    let vpc = |number: usize| {
        format!(
            "[[vpc]]\nid = 'v{number}'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2:{port}']\n\
             [[vpc_endpoint]]\nid = 'vpce-g{number}'\nvpc = 'v{number}'\ntype = 'gateway'\n\
             service = 'com.amazonaws.eu-west-1.s3'\ndns_record_ip_type = 'ipv4'\n\
             [[vpc_endpoint]]\nid = 'vpce-{number}'\nvpc = 'v{number}'\nservice = 'com.amazonaws.eu-west-1.s3'\n\
             dns_name = 'vpce-{number}-x.s3.eu-west-1.vpce.amazonaws.com'\nprivate_dns = true\n\
             private_dns_only_for_inbound = true\naddresses = {{ eu-west-1a = ['10.0.0.1'] }}\n",
            port = 1000 + number
        )
    };
    let text = (0..1000).fold("version = 1\n".to_owned(), |text, number| text + &vpc(number));
    assert_eq!(configuration(&text, &["192.0.2.53"]).model.endpoints.len(), 2000);
}

#[test]
fn an_endpoint_that_is_not_available_conflicts_with_nobody() {
    let endpoint = |id: &str, state: &str| {
        format!(
            "[[vpc_endpoint]]\nid = '{id}'\nvpc = 'v'\nservice = 'com.amazonaws.eu-west-1.kms'\n\
             dns_name = '{id}-x.kms.eu-west-1.vpce.amazonaws.com'\nprivate_dns = true\nstate = '{state}'\n\
             addresses = {{ eu-west-1a = ['10.0.0.1'] }}\n"
        )
    };
    let text = |state| {
        let vpc = "version = 1\n[[vpc]]\nid = 'v'\nregion = 'eu-west-1'\nlisten = ['127.0.0.2']\n";
        format!("{vpc}{}{}", endpoint("vpce-1", "available"), endpoint("vpce-2", state))
    };
    assert!(load(&text("pending"), &["192.0.2.53"]).configuration.is_some());
    assert!(load(&text("available"), &["192.0.2.53"]).configuration.is_none());
}

/// What a set with a routing policy says of it.
fn routing<'z>(zone: &'z HostedZone, owner: &str, rtype: Rtype, identifier: &str) -> &'z Routing {
    let owner = name(owner);
    let mut sets = zone.record_sets.here().iter().filter(|set| set.owner == owner && set.rtype == rtype);
    sets.find_map(|set| set.routing.as_deref().filter(|routing| &*routing.set_identifier == identifier))
        .unwrap_or_else(|| panic!("no {rtype} {owner}, {identifier}"))
}

#[test]
fn routing_policies_mean_what_they_say() {
    let model = accepted("routing.toml");
    let ids: Vec<&str> = model.health_checks.iter().map(|check| &*check.id).collect();
    assert_eq!(ids, ["web", "none", "all"], "each behind those that it looks at");
    let flags: Vec<(bool, bool)> = model.health_checks.iter().map(|check| (check.inverted, check.disabled)).collect();
    assert_eq!(flags, [(false, true), (false, false), (true, false)]);
    assert!(matches!(model.health_checks[0].kind, HealthCheckKind::Manual { healthy: Some(false), .. }));
    let HealthCheckKind::Calculated { health_threshold, children } = &model.health_checks[2].kind else { panic!() };
    assert_eq!((*health_threshold, &**children), (2, &[HealthCheckIndex(0), HealthCheckIndex(1)][..]));
    let zone = &model.hosted_zones[0];
    let policy = |owner: &str, rtype, identifier: &str| &routing(zone, owner, rtype, identifier).policy;
    assert_eq!(*policy("w.corp.example.com", Rtype::A, "a b"), RoutingPolicy::Weighted(255));
    assert_eq!(*policy("w.corp.example.com", Rtype::AAAA, "a b"), RoutingPolicy::Latency("eu-west-1".into()));
    assert_eq!(*policy("c.corp.example.com", Rtype::CNAME, "2"), RoutingPolicy::Weighted(2));
    let primary = routing(zone, "f.corp.example.com", Rtype::A, "1");
    assert_eq!(primary.policy, RoutingPolicy::Failover(FailoverRole::Primary));
    assert_eq!(primary.health_check, Some(HealthCheckIndex(2)));
    let secondary = routing(zone, "f.corp.example.com", Rtype::A, "2");
    assert_eq!(secondary.policy, RoutingPolicy::Failover(FailoverRole::Secondary));
    let code = |text| Code::parse(text).expect("two letters");
    let areas = ["1", "2", "3"].map(|identifier| policy("g.corp.example.com", Rtype::TXT, identifier).clone());
    let expected = [Area::Continent(Continent::Asia), Area::Subdivision(code("DC")), Area::Country(code("KR"))];
    assert_eq!(areas, expected.map(RoutingPolicy::Geolocation));
    let pole = Coordinates { latitude: -90.0, longitude: 180.0 };
    assert_eq!(
        *policy("p.corp.example.com", Rtype::A, "1"),
        RoutingPolicy::Geoproximity { coordinates: pole, bias: -99 }
    );
    let chicago = region::local_zone_group("us-east-1-chi-1").expect("in the table");
    assert_eq!(
        *policy("p.corp.example.com", Rtype::A, "2"),
        RoutingPolicy::Geoproximity { coordinates: chicago, bias: 99 }
    );
    assert!(set(zone, "s.corp.example.com", Rtype::A).routing.is_none());
    let evaluates = |owner: &str, rtype| {
        let alias = zone.record_sets.here().iter().filter(|set| set.owner == name(owner) && set.rtype == rtype);
        let alias = alias.filter_map(|set| match &set.data {
            RecordData::Alias { evaluate_target_health, .. } => Some(*evaluate_target_health),
            RecordData::Records { .. } => None,
        });
        alias.collect::<Vec<bool>>()
    };
    assert_eq!(evaluates("f.corp.example.com", Rtype::A), [true]);
    assert_eq!(evaluates("s.corp.example.com", Rtype::AAAA), [false]);
}

#[test]
fn health_checks_mean_what_they_say() {
    let model = accepted("health-checks.toml");
    let check = |id: &str| model.health_checks.iter().find(|check| &*check.id == id).expect("it is there");
    let monitored = |id: &str| match &check(id).kind {
        HealthCheckKind::Monitored(endpoint) => endpoint.clone(),
        other => panic!("{id}: {other:?}"),
    };
    let at = |text: &str, name: Option<&str>| MonitoredHost::Address {
        ip_address: text.parse().expect("an address"),
        name: name.map(Box::from),
    };
    let http = |is_https, enable_sni, path: &str, search: Option<&str>| MonitoringProtocol::Http {
        is_https,
        enable_sni,
        resource_path: path.into(),
        search_string: search.map(Box::from),
    };
    let expected = |host, port, protocol, seconds, failure_threshold| MonitoredEndpoint {
        host,
        port,
        protocol,
        request_interval: Duration::from_secs(seconds),
        failure_threshold,
    };
    assert_eq!(monitored("least"), expected(at("10.0.1.10", None), 80, http(false, false, "/", None), 30, 3));
    let path = "/welcome.html?language=jp&login=y";
    assert_eq!(
        monitored("most"),
        expected(at("2001:db8::10", Some("web.corp.example")), 8443, http(true, false, path, Some("fine")), 10, 10)
    );
    assert!(check("most").inverted && check("most").disabled);
    let name = MonitoredHost::Name("web.corp.example".into());
    assert_eq!(monitored("by-name"), expected(name, 443, http(true, true, "/", None), 30, 3));
    assert_eq!(monitored("db"), expected(at("10.0.1.10", None), 5432, MonitoringProtocol::Tcp, 30, 1));
    let switch = |id: &str| match &check(id).kind {
        HealthCheckKind::Manual { healthy, .. } => *healthy,
        other => panic!("{id}: {other:?}"),
    };
    let switches = ["alarm", "alarm-without-word", "alarm-that-is-quiet", "control"].map(switch);
    assert_eq!(switches, [Some(false), None, Some(true), Some(false)]);
}
