//! What was written, table by table: typed and placed, nothing settled yet.

use super::compat::{COMPAT, CompatTable, read_compat};
use super::ec2_tables::{
    InstanceTable, NetworkInterfaceTable, ResolverConfigTable, VpcPeeringTable, read_instance, read_network_interface,
    read_resolver_config, read_vpc_peering,
};
use super::endpoint_tables::{
    EndpointAssociationTable, EndpointServiceTable, read_endpoint_association, read_endpoint_service,
};
use super::query_log::{DNSTAP, DnstapTable, QUERY_LOG, QueryLogTable, read_dnstap, read_query_log};
use super::resolver_tables::{ProfileTable, ResolverRuleTable, read_profile, read_resolver_rule};
use super::source::{At, Reading};
use super::table::{Lists, OneOrMany, Table, Text, TextOrTable};

/// A list of texts and where it begins.
pub(super) type Texts<'t> = At<Vec<Text<'t>>>;

/// The whole file.
pub(super) struct Document<'t> {
    pub(super) region: Option<Text<'t>>,
    pub(super) server: ServerTable<'t>,
    pub(super) upstream: UpstreamTable<'t>,
    pub(super) compat: CompatTable<'t>,
    pub(super) settings: SettingsTables<'t>,
    pub(super) query_log: QueryLogTable<'t>,
    pub(super) dnstap: DnstapTable<'t>,
    pub(super) vpcs: Vec<VpcTable<'t>>,
    pub(super) resolver_configs: Vec<ResolverConfigTable<'t>>,
    pub(super) vpc_peerings: Vec<VpcPeeringTable<'t>>,
    pub(super) network_interfaces: Vec<NetworkInterfaceTable<'t>>,
    pub(super) instances: Vec<InstanceTable<'t>>,
    pub(super) inbound_endpoints: Vec<InboundEndpointTable<'t>>,
    pub(super) endpoint_services: Vec<EndpointServiceTable<'t>>,
    pub(super) endpoints: Vec<EndpointTable<'t>>,
    pub(super) health_checks: Vec<HealthCheckTable<'t>>,
    pub(super) hosted_zones: Vec<HostedZoneTable<'t>>,
    pub(super) resolver_rules: Vec<ResolverRuleTable<'t>>,
    pub(super) profiles: Vec<ProfileTable<'t>>,
}

/// `[server]` without `workers` and `watch`.
#[derive(Default)]
pub(super) struct ServerTable<'t> {
    pub(super) listen: Option<Texts<'t>>,
    pub(super) allow: Option<Texts<'t>>,
    pub(super) default_vpc: Option<Text<'t>>,
    pub(super) open_resolver: Option<At<bool>>,
}

/// `[upstream]`.
#[derive(Default)]
pub(super) struct UpstreamTable<'t> {
    pub(super) targets: Option<OneOrMany<'t, TargetEntry<'t>>>,
    pub(super) order: Option<Text<'t>>,
    pub(super) case_randomization: Option<At<bool>>,
    pub(super) cookies: Option<At<bool>>,
    pub(super) bootstrap: Option<OneOrMany<'t, Text<'t>>>,
    pub(super) tls_roots: Option<Text<'t>>,
}

/// One entry of `targets`: an address or URL, or AWS's TargetAddress.
pub(super) enum TargetEntry<'t> {
    Text(Text<'t>),
    Table(TargetTable<'t>),
}

impl<'t> TargetEntry<'t> {
    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&Text<'t>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Table(_) => None,
        }
    }
}

/// AWS's TargetAddress as a table.
pub(super) struct TargetTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) ip: Option<Text<'t>>,
    pub(super) ipv6: Option<Text<'t>>,
    /// How many of the two are there, right or wrong.
    pub(super) addresses: usize,
    pub(super) port: Option<At<u64>>,
    pub(super) protocol: Option<Text<'t>>,
    pub(super) server_name_indication: Option<Text<'t>>,
    /// Whether any key has a value of the wrong type.
    pub(super) is_incomplete: bool,
}

/// What decides no answer.
#[derive(Default)]
pub(super) struct SettingsTables<'t> {
    pub(super) workers: Option<At<u64>>,
    pub(super) max_memory: Option<Text<'t>>,
    pub(super) max_ttl: Option<At<u64>>,
    pub(super) failure_ttl: Option<At<u64>>,
    pub(super) serve_stale: Option<At<u64>>,
    pub(super) prefetch: Option<At<bool>>,
    pub(super) cache_file: Option<Text<'t>>,
    pub(super) tcp_connections: Option<At<u64>>,
    pub(super) tcp_connections_per_client: Option<At<u64>>,
    pub(super) tcp_connections_per_prefix: Option<At<u64>>,
    pub(super) tcp_idle_seconds: Option<At<u64>>,
    pub(super) in_flight: Option<At<u64>>,
    pub(super) in_flight_per_client: Option<At<u64>>,
    pub(super) in_flight_per_prefix: Option<At<u64>>,
    pub(super) in_flight_per_target: Option<At<u64>>,
    pub(super) upstream_sockets: Option<At<u64>>,
    pub(super) query_log_memory: Option<Text<'t>>,
    pub(super) protection: ProtectionTable<'t>,
    pub(super) cookies_enabled: Option<At<bool>>,
    pub(super) cookie_secret_file: Option<Text<'t>>,
    pub(super) log_level: Option<Text<'t>>,
    pub(super) watch: Option<At<bool>>,
    pub(super) admin_socket: Option<Text<'t>>,
    pub(super) admin_http: Option<Text<'t>>,
}

/// `[protection]`.
#[derive(Default)]
pub(super) struct ProtectionTable<'t> {
    pub(super) responses_per_second: Option<At<u64>>,
    pub(super) errors_per_second: Option<At<u64>>,
    pub(super) slip: Option<At<u64>>,
    pub(super) ipv4_prefix: Option<At<u64>>,
    pub(super) ipv6_prefix: Option<At<u64>>,
    pub(super) exempt: Option<Texts<'t>>,
}

/// One `[[vpc]]`.
pub(super) struct VpcTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) name: Option<Text<'t>>,
    pub(super) region: Option<Text<'t>>,
    pub(super) owner_id: Option<Text<'t>>,
    pub(super) cidrs: Option<Texts<'t>>,
    /// By Availability Zone in the order of the file.
    pub(super) subnets: Option<At<Lists<'t>>>,
    pub(super) clients: Option<Texts<'t>>,
    pub(super) listen: Option<Texts<'t>>,
    pub(super) allow: Option<Texts<'t>>,
    pub(super) dns_support: Option<At<bool>>,
    pub(super) dns_hostnames: Option<At<bool>>,
    pub(super) enable_dns64: Option<At<bool>>,
}

/// One `[[inbound_endpoint]]`.
pub(super) struct InboundEndpointTable<'t> {
    pub(super) label: String,
    pub(super) id: Option<Text<'t>>,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) listen: Option<Texts<'t>>,
    pub(super) allow: Option<Texts<'t>>,
    pub(super) dns64_enabled: Option<At<bool>>,
}

/// One `[[vpc_endpoint]]`.
pub(super) struct EndpointTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) service: Option<Text<'t>>,
    pub(super) service_region: Option<Text<'t>>,
    pub(super) dns_name: Option<Text<'t>>,
    pub(super) private_dns: Option<At<bool>>,
    pub(super) private_dns_names: Option<Texts<'t>>,
    pub(super) private_dns_only_for_inbound: Option<At<bool>>,
    pub(super) kind: Option<Text<'t>>,
    pub(super) state: Option<Text<'t>>,
    pub(super) probe_port: Option<At<u64>>,
    /// None if the key is absent or unusable; by Availability Zone in the order of the file.
    pub(super) addresses: Option<At<Lists<'t>>>,
    pub(super) ip_address_type: Option<Text<'t>>,
    pub(super) dns_record_ip_type: Option<Text<'t>>,
    pub(super) prefer_same_az: Option<At<bool>>,
    pub(super) private_dns_preference: Option<Text<'t>>,
    pub(super) private_dns_specified_domains: Option<Texts<'t>>,
    pub(super) associations: Vec<EndpointAssociationTable<'t>>,
    /// Where `associations` begin; none if there are none.
    pub(super) associations_at: Option<usize>,
    /// Whether the key is there, right or wrong.
    pub(super) has_service: bool,
    pub(super) has_dns_name: bool,
    pub(super) has_addresses: bool,
}

/// One `[[hosted_zone]]`.
pub(super) struct HostedZoneTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) name: Option<Text<'t>>,
    pub(super) vpcs: Option<Texts<'t>>,
    pub(super) fallthrough: Option<Text<'t>>,
    pub(super) file: Option<Text<'t>>,
    pub(super) records: Vec<RecordTable<'t>>,
}

impl HostedZoneTable<'_> {
    /// Where its name stands.
    pub(super) fn name_at(&self) -> usize {
        self.name.as_ref().map_or(self.at, |name| name.at)
    }
}

/// One entry of a zone's `records`.
pub(super) struct RecordTable<'t> {
    pub(super) at: usize,
    pub(super) name: Option<Text<'t>>,
    pub(super) rtype: Option<Text<'t>>,
    pub(super) ttl: Option<At<u64>>,
    pub(super) values: Option<Texts<'t>>,
    pub(super) alias: Option<Text<'t>>,
    /// Whether one of `values` and `alias` is there, right or wrong.
    pub(super) has_data: bool,
    pub(super) evaluate_target_health: Option<At<bool>>,
    pub(super) routing: RoutingTable<'t>,
}

/// What a record says of its routing policy.
pub(super) struct RoutingTable<'t> {
    pub(super) set_identifier: Option<Text<'t>>,
    pub(super) health_check: Option<Text<'t>>,
    pub(super) weight: Option<At<u64>>,
    pub(super) region: Option<Text<'t>>,
    pub(super) failover: Option<Text<'t>>,
    pub(super) geolocation: Option<At<GeolocationTable<'t>>>,
    pub(super) geoproximity: Option<At<GeoproximityTable<'t>>>,
    pub(super) multivalue: Option<At<bool>>,
    /// The keys of policies that are there, right or wrong.
    pub(super) policies: Vec<&'static str>,
    /// Whether it is IP-based, which is refused on the spot.
    pub(super) is_by_address: bool,
}

/// `geolocation`.
pub(super) struct GeolocationTable<'t> {
    pub(super) continent: Option<Text<'t>>,
    pub(super) country: Option<Text<'t>>,
    pub(super) subdivision: Option<Text<'t>>,
}

/// `geoproximity`.
pub(super) struct GeoproximityTable<'t> {
    pub(super) aws_region: Option<Text<'t>>,
    pub(super) local_zone_group: Option<Text<'t>>,
    pub(super) coordinates: Option<CoordinatesTable>,
    pub(super) bias: Option<At<i64>>,
    /// How many of the three places are there, right or wrong.
    pub(super) places: usize,
}

/// `coordinates`.
pub(super) struct CoordinatesTable {
    pub(super) latitude: Option<At<f64>>,
    pub(super) longitude: Option<At<f64>>,
}

/// One `[[health_check]]`.
pub(super) struct HealthCheckTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) kind: Option<Text<'t>>,
    pub(super) status: Option<Text<'t>>,
    pub(super) child_health_checks: Option<Texts<'t>>,
    pub(super) health_threshold: Option<At<u64>>,
    pub(super) insufficient_data_health_status: Option<Text<'t>>,
    pub(super) routing_control_arn: Option<Text<'t>>,
    pub(super) ip_address: Option<Text<'t>>,
    pub(super) fully_qualified_domain_name: Option<Text<'t>>,
    pub(super) port: Option<At<u64>>,
    pub(super) resource_path: Option<Text<'t>>,
    pub(super) search_string: Option<Text<'t>>,
    pub(super) enable_sni: Option<At<bool>>,
    pub(super) request_interval: Option<At<u64>>,
    pub(super) failure_threshold: Option<At<u64>>,
    pub(super) inverted: Option<At<bool>>,
    pub(super) disabled: Option<At<bool>>,
    /// Keys that belong to one type only, and are there, right or wrong.
    pub(super) of_types: Vec<&'static str>,
}

impl<'t> Document<'t> {
    /// Reads every table; what cannot be used is reported and left out.
    pub(super) fn read(mut top: Table<'t>, reading: &mut Reading<'t>) -> Self {
        let mut settings = SettingsTables::default();
        let server = top.table(reading, "server", "[server]".into());
        let server = server.map(|table| read_server(table, reading, &mut settings)).unwrap_or_default();
        let upstream = top.table(reading, "upstream", UPSTREAM.into());
        let upstream = upstream.map(|table| read_upstream(table, reading)).unwrap_or_default();
        let compat = top.table(reading, "compat", COMPAT.into());
        let compat = compat.map(|table| read_compat(table, reading)).unwrap_or_default();
        read_settings(&mut top, reading, &mut settings);
        let query_log = top.table(reading, "query_log", QUERY_LOG.into());
        let query_log = query_log.map(|table| read_query_log(table, reading)).unwrap_or_default();
        let dnstap = top.table(reading, "dnstap", DNSTAP.into());
        let dnstap = dnstap.map(|table| read_dnstap(table, reading)).unwrap_or_default();
        let document = Self {
            region: top.text(reading, "region"),
            server,
            upstream,
            compat,
            settings,
            query_log,
            dnstap,
            vpcs: each(&mut top, reading, "vpc", "[[vpc]]", read_vpc),
            resolver_configs: each(&mut top, reading, "resolver_config", "[[resolver_config]]", read_resolver_config),
            vpc_peerings: each(&mut top, reading, "vpc_peering", "[[vpc_peering]]", read_vpc_peering),
            network_interfaces: each(
                &mut top,
                reading,
                "network_interface",
                "[[network_interface]]",
                read_network_interface,
            ),
            instances: each(&mut top, reading, "instance", "[[instance]]", read_instance),
            inbound_endpoints: each(
                &mut top,
                reading,
                "inbound_endpoint",
                "[[inbound_endpoint]]",
                read_inbound_endpoint,
            ),
            endpoint_services: each(
                &mut top,
                reading,
                "endpoint_service",
                "[[endpoint_service]]",
                read_endpoint_service,
            ),
            endpoints: each(&mut top, reading, "vpc_endpoint", "[[vpc_endpoint]]", read_endpoint),
            health_checks: each(&mut top, reading, "health_check", "[[health_check]]", read_health_check),
            hosted_zones: each(&mut top, reading, "hosted_zone", "[[hosted_zone]]", read_hosted_zone),
            resolver_rules: each(&mut top, reading, "resolver_rule", "[[resolver_rule]]", read_resolver_rule),
            profiles: each(&mut top, reading, "profile", "[[profile]]", read_profile),
        };
        top.finish(reading);
        document
    }
}

/// Reads each table of a list.
pub(super) fn each<'t, T>(
    top: &mut Table<'t>,
    reading: &mut Reading<'t>,
    key: &'static str,
    label: &str,
    read: impl Fn(Table<'t>, &mut Reading<'t>) -> T,
) -> Vec<T> {
    top.tables(reading, key, label).into_iter().map(|table| read(table, reading)).collect()
}

fn read_server<'t>(
    mut table: Table<'t>,
    reading: &mut Reading<'t>,
    settings: &mut SettingsTables<'t>,
) -> ServerTable<'t> {
    settings.workers = table.number(reading, "workers");
    settings.watch = table.boolean(reading, "watch");
    let server = ServerTable {
        listen: table.texts(reading, "listen"),
        allow: table.texts(reading, "allow"),
        default_vpc: table.text(reading, "default_vpc"),
        open_resolver: table.boolean(reading, "open_resolver"),
    };
    table.finish(reading);
    server
}

fn read_upstream<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> UpstreamTable<'t> {
    let upstream = UpstreamTable {
        targets: table.text_or_list(reading, "targets", TARGETS_WANTED, read_target),
        order: table.text(reading, "order"),
        case_randomization: table.boolean(reading, "case_randomization"),
        cookies: table.boolean(reading, "cookies"),
        bootstrap: table.text_or_texts(reading, "bootstrap"),
        tls_roots: table.text(reading, "tls_roots"),
    };
    table.finish(reading);
    upstream
}

/// Reads an entry of `targets`.
pub(super) fn read_target<'t>(item: TextOrTable<'t>, reading: &mut Reading<'t>) -> TargetEntry<'t> {
    let mut table = match item {
        TextOrTable::Text(text) => return TargetEntry::Text(text),
        TextOrTable::Table(table) => table,
    };
    let written = ["ip", "ipv6", "port", "protocol", "server_name_indication"].map(|key| table.has(key));
    let mut target = TargetTable {
        label: table.label.clone(),
        at: table.at,
        ip: table.text(reading, "ip"),
        ipv6: table.text(reading, "ipv6"),
        addresses: written[..2].iter().filter(|is_written| **is_written).count(),
        port: table.number(reading, "port"),
        protocol: table.text(reading, "protocol"),
        server_name_indication: table.text(reading, "server_name_indication"),
        is_incomplete: false,
    };
    let read = [
        target.ip.is_some(),
        target.ipv6.is_some(),
        target.port.is_some(),
        target.protocol.is_some(),
        target.server_name_indication.is_some(),
    ];
    target.is_incomplete = written != read;
    table.finish(reading);
    TargetEntry::Table(target)
}

fn read_settings<'t>(top: &mut Table<'t>, reading: &mut Reading<'t>, settings: &mut SettingsTables<'t>) {
    if let Some(mut table) = top.table(reading, "cache", "[cache]".into()) {
        settings.max_memory = table.text(reading, "max_memory");
        settings.max_ttl = table.number(reading, "max_ttl");
        settings.failure_ttl = table.number(reading, "failure_ttl");
        settings.serve_stale = table.number(reading, "serve_stale");
        settings.prefetch = table.boolean(reading, "prefetch");
        settings.cache_file = table.text(reading, "file");
        table.finish(reading);
    }
    if let Some(mut table) = top.table(reading, "limits", "[limits]".into()) {
        settings.tcp_connections = table.number(reading, "tcp_connections");
        settings.tcp_connections_per_client = table.number(reading, "tcp_connections_per_client");
        settings.tcp_connections_per_prefix = table.number(reading, "tcp_connections_per_prefix");
        settings.tcp_idle_seconds = table.number(reading, "tcp_idle_seconds");
        settings.in_flight = table.number(reading, "in_flight");
        settings.in_flight_per_client = table.number(reading, "in_flight_per_client");
        settings.in_flight_per_prefix = table.number(reading, "in_flight_per_prefix");
        settings.in_flight_per_target = table.number(reading, "in_flight_per_target");
        settings.upstream_sockets = table.number(reading, "upstream_sockets");
        settings.query_log_memory = table.text(reading, "query_log_memory");
        table.finish(reading);
    }
    if let Some(mut table) = top.table(reading, "protection", "[protection]".into()) {
        settings.protection = ProtectionTable {
            responses_per_second: table.number(reading, "responses_per_second"),
            errors_per_second: table.number(reading, "errors_per_second"),
            slip: table.number(reading, "slip"),
            ipv4_prefix: table.number(reading, "ipv4_prefix"),
            ipv6_prefix: table.number(reading, "ipv6_prefix"),
            exempt: table.texts(reading, "exempt"),
        };
        table.finish(reading);
    }
    if let Some(mut table) = top.table(reading, "cookies", "[cookies]".into()) {
        settings.cookies_enabled = table.boolean(reading, "enabled");
        settings.cookie_secret_file = table.text(reading, "secret_file");
        table.finish(reading);
    }
    if let Some(mut table) = top.table(reading, "log", "[log]".into()) {
        settings.log_level = table.text(reading, "level");
        table.finish(reading);
    }
    if let Some(mut table) = top.table(reading, "admin", "[admin]".into()) {
        settings.admin_socket = table.text(reading, "socket");
        settings.admin_http = table.text(reading, "http");
        table.finish(reading);
    }
}

fn read_vpc<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> VpcTable<'t> {
    let id = table.id(reading, "vpc", "\"vpc-…\"");
    let name = table.text(reading, "name").filter(|name| table.check_id(reading, "name", name));
    let vpc = VpcTable {
        label: table.label.clone(),
        at: table.at,
        id,
        name,
        region: table.text(reading, "region"),
        owner_id: table.text(reading, "owner_id"),
        cidrs: table.texts(reading, "cidrs"),
        subnets: read_lists(&mut table, reading, "subnets"),
        clients: table.texts(reading, "clients"),
        listen: table.texts(reading, "listen"),
        allow: table.texts(reading, "allow"),
        dns_support: table.boolean(reading, "dns_support"),
        dns_hostnames: table.boolean(reading, "dns_hostnames"),
        enable_dns64: table.boolean(reading, "enable_dns64"),
    };
    table.finish(reading);
    vpc
}

fn read_inbound_endpoint<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> InboundEndpointTable<'t> {
    let id = table.id(reading, "inbound endpoint", "\"rslvr-in-…\"");
    table.require(reading, "vpc", "\"vpc-…\"");
    table.require(reading, "listen", "[\"ADDRESS\", \"ADDRESS\"]");
    let endpoint = InboundEndpointTable {
        label: table.label.clone(),
        id,
        vpc: table.text(reading, "vpc"),
        listen: table.texts(reading, "listen"),
        allow: table.texts(reading, "allow"),
        dns64_enabled: table.boolean(reading, "dns64_enabled"),
    };
    table.finish(reading);
    endpoint
}

fn read_endpoint<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> EndpointTable<'t> {
    let id = table.id(reading, "endpoint", "\"vpce-…\"");
    table.require(reading, "vpc", "\"vpc-…\"");
    let label = format!("{}, `associations`", table.label);
    let endpoint = EndpointTable {
        label: table.label.clone(),
        at: table.at,
        id,
        has_service: table.has("service"),
        has_dns_name: table.has("dns_name"),
        has_addresses: table.has("addresses"),
        vpc: table.text(reading, "vpc"),
        service: table.text(reading, "service"),
        service_region: table.text(reading, "service_region"),
        dns_name: table.text(reading, "dns_name"),
        private_dns: table.boolean(reading, "private_dns"),
        private_dns_names: table.texts(reading, "private_dns_names"),
        private_dns_only_for_inbound: table.boolean(reading, "private_dns_only_for_inbound"),
        kind: table.text(reading, "type"),
        state: table.text(reading, "state"),
        probe_port: table.number(reading, "probe_port"),
        addresses: read_lists(&mut table, reading, "addresses"),
        ip_address_type: table.text(reading, "ip_address_type"),
        dns_record_ip_type: table.text(reading, "dns_record_ip_type"),
        prefer_same_az: table.boolean(reading, "prefer_same_az"),
        private_dns_preference: table.text(reading, "private_dns_preference"),
        private_dns_specified_domains: table.texts(reading, "private_dns_specified_domains"),
        associations_at: table.place_of("associations"),
        associations: each(&mut table, reading, "associations", &label, read_endpoint_association),
    };
    table.finish(reading);
    endpoint
}

/// Reads a table whose keys are Availability Zones.
fn read_lists<'t>(table: &mut Table<'t>, reading: &mut Reading<'t>, key: &'static str) -> Option<At<Lists<'t>>> {
    let label = format!("{}, `{key}`", table.label);
    table.table(reading, key, label).map(|table| At { at: table.at, value: table.into_lists(reading) })
}

fn read_hosted_zone<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> HostedZoneTable<'t> {
    let id = table.id(reading, "hosted zone", "\"Z…\"");
    table.require(reading, "name", "\"corp.example.com\"");
    table.require(reading, "vpcs", "[\"vpc-…\"]");
    let record_label = format!("{}, `records`", table.label);
    let zone = HostedZoneTable {
        label: table.label.clone(),
        at: table.at,
        id,
        name: table.text(reading, "name"),
        vpcs: table.texts(reading, "vpcs"),
        fallthrough: table.text(reading, "fallthrough"),
        file: table.text(reading, "file"),
        records: each(&mut table, reading, "records", &record_label, read_record),
    };
    table.finish(reading);
    zone
}

fn read_record<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> RecordTable<'t> {
    table.require(reading, "name", "\"@\"");
    table.require(reading, "type", "\"A\"");
    let record = RecordTable {
        at: table.at,
        has_data: table.has("values") || table.has("alias"),
        name: table.text(reading, "name"),
        rtype: table.text(reading, "type"),
        ttl: table.number(reading, "ttl"),
        values: table.texts(reading, "values"),
        alias: table.text(reading, "alias"),
        evaluate_target_health: table.boolean(reading, "evaluate_target_health"),
        routing: read_routing(&mut table, reading),
    };
    let rule = "private hosted zones have every policy but this (Route 53 Developer Guide, \
                hosted-zone-private-considerations)";
    let hint = "use weight, failover, region, geolocation, geoproximity or multivalue";
    table.refuse(reading, BY_ADDRESS_KEY, "the record set has IP-based routing", rule, hint);
    table.finish(reading);
    record
}

fn read_routing<'t>(table: &mut Table<'t>, reading: &mut Reading<'t>) -> RoutingTable<'t> {
    let policies = POLICY_KEYS.into_iter().filter(|key| table.has(key));
    let policies = policies.collect();
    let label = |key: &str| format!("{}, `{key}`", table.label);
    let (geolocation, geoproximity) = (label("geolocation"), label("geoproximity"));
    let mut routing = RoutingTable {
        set_identifier: table.text(reading, "set_identifier"),
        health_check: table.text(reading, "health_check"),
        weight: table.number(reading, "weight"),
        region: table.text(reading, "region"),
        failover: table.text(reading, "failover"),
        geolocation: table
            .table(reading, "geolocation", geolocation)
            .map(|table| At { at: table.at, value: read_geolocation(table, reading) }),
        geoproximity: table
            .table(reading, "geoproximity", geoproximity)
            .map(|table| At { at: table.at, value: read_geoproximity(table, reading) }),
        multivalue: table.boolean(reading, "multivalue"),
        policies,
        is_by_address: table.has(BY_ADDRESS_KEY),
    };
    if routing.multivalue.is_some_and(|multivalue| !multivalue.value) {
        // AWS takes no `false` at all; here it says what is so anyway.
        routing.policies.retain(|key| *key != "multivalue");
    }
    routing
}

/// The key of the policy that private hosted zones do not have (Route 53 API, CidrRoutingConfig).
const BY_ADDRESS_KEY: &str = "cidr_routing_config";
/// The keys that say which policy a record set has.
const POLICY_KEYS: [&str; 6] = ["weight", "region", "failover", "geolocation", "geoproximity", "multivalue"];

fn read_geolocation<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> GeolocationTable<'t> {
    let geolocation = GeolocationTable {
        continent: table.text(reading, "continent"),
        country: table.text(reading, "country"),
        subdivision: table.text(reading, "subdivision"),
    };
    table.finish(reading);
    geolocation
}

fn read_geoproximity<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> GeoproximityTable<'t> {
    let label = format!("{}, `coordinates`", table.label);
    let geoproximity = GeoproximityTable {
        places: ["aws_region", "local_zone_group", "coordinates"].into_iter().filter(|key| table.has(key)).count(),
        aws_region: table.text(reading, "aws_region"),
        local_zone_group: table.text(reading, "local_zone_group"),
        coordinates: table.table(reading, "coordinates", label).map(|mut table| {
            table.require(reading, "latitude", "37.57");
            table.require(reading, "longitude", "126.98");
            let coordinates = CoordinatesTable {
                latitude: table.decimal(reading, "latitude"),
                longitude: table.decimal(reading, "longitude"),
            };
            table.finish(reading);
            coordinates
        }),
        bias: table.signed(reading, "bias"),
    };
    table.finish(reading);
    geoproximity
}

fn read_health_check<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> HealthCheckTable<'t> {
    let id = table.id(reading, "health check", "\"web-1\"");
    table.require(reading, "type", "\"HTTP\"");
    let of_types = super::health_check::KEYS_OF_TYPES;
    let check = HealthCheckTable {
        label: table.label.clone(),
        at: table.at,
        id,
        kind: table.text(reading, "type"),
        of_types: of_types.into_iter().filter(|key| table.has(key)).collect(),
        status: table.text(reading, "status"),
        child_health_checks: table.texts(reading, "child_health_checks"),
        health_threshold: table.number(reading, "health_threshold"),
        insufficient_data_health_status: table.text(reading, "insufficient_data_health_status"),
        routing_control_arn: table.text(reading, "routing_control_arn"),
        ip_address: table.text(reading, "ip_address"),
        fully_qualified_domain_name: table.text(reading, "fully_qualified_domain_name"),
        port: table.number(reading, "port"),
        resource_path: table.text(reading, "resource_path"),
        search_string: table.text(reading, "search_string"),
        enable_sni: table.boolean(reading, "enable_sni"),
        request_interval: table.number(reading, "request_interval"),
        failure_threshold: table.number(reading, "failure_threshold"),
        inverted: table.boolean(reading, "inverted"),
        disabled: table.boolean(reading, "disabled"),
    };
    table.finish(reading);
    check
}

/// How `[upstream]` is called in messages.
pub(super) const UPSTREAM: &str = "[upstream]";
/// What `targets` is to be.
pub(super) const TARGETS_WANTED: &str = "a list of texts or tables";
