//! `[[vpc_endpoint]]`.

use super::Builder;
use super::document::EndpointTable;
use super::settings::word;
use super::table::Text;
use crate::aws::endpoint::zonal_name;
use crate::aws::{EndpointKind, EndpointState, ServiceName, VpcEndpoint, VpcIndex, ZonalAddresses, service_catalog};
use crate::config::diagnostic::quoted;
use crate::dns::Name;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The words of `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KindWord {
    Interface,
    Gateway,
    GatewayLoadBalancer,
}

/// The words of `type` and what they mean; the last one is how AWS spells it.
const KIND_WORDS: [(&str, KindWord); 4] = [
    ("interface", KindWord::Interface),
    ("gateway", KindWord::Gateway),
    ("gateway_load_balancer", KindWord::GatewayLoadBalancer),
    ("GatewayLoadBalancer", KindWord::GatewayLoadBalancer),
];

/// An endpoint's claim to its private names.
pub(super) struct PrivateDnsClaim {
    /// Index into the model's endpoints.
    pub(super) endpoint: usize,
    /// Where `private_dns` stands.
    pub(super) at: usize,
    pub(super) label: String,
}

/// The names of all endpoints: who each belongs to.
#[derive(Default)]
pub(super) struct EndpointNames {
    /// The endpoint, and which of its zonal names; none for the regional one.
    by_name: HashMap<Name, (usize, Option<usize>)>,
    /// Endpoints by id in lower case; none for one that could not be settled, of whose names nothing more is said.
    by_id: HashMap<String, Option<usize>>,
}

impl EndpointNames {
    /// Whose regional or zonal name it is.
    pub(super) fn find(&self, name: &Name) -> Option<(usize, Option<usize>)> {
        self.by_name.get(name).copied()
    }

    /// The endpoint here whose id one of the labels begins with, before a hyphen.
    pub(super) fn find_by_id(&self, name: &Name) -> Option<Option<usize>> {
        name.labels().filter(|label| label.starts_with(b"vpce-")).find_map(|label| {
            let label = std::str::from_utf8(label).ok()?;
            let mut ids = label.match_indices('-').map(|(at, _)| &label[..at]);
            ids.find_map(|id| self.by_id.get(id).copied())
        })
    }
}

impl<'t> Builder<'t, '_> {
    /// Settles every endpoint; returns all names, and who claims private names.
    pub(super) fn settle_endpoints(&mut self, tables: &[EndpointTable<'t>]) -> (EndpointNames, Vec<PrivateDnsClaim>) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut names = EndpointNames::default();
        let mut name_places: HashMap<usize, (usize, &str)> = HashMap::new();
        let mut claims = Vec::new();
        for table in tables {
            let Some(endpoint) = self.endpoint(table) else {
                names.by_id.extend(table.id.as_ref().map(|id| (id.value.to_ascii_lowercase(), None)));
                continue;
            };
            let index = self.model.endpoints.len();
            let name_at = table.dns_name.as_ref().map_or(table.at, |name| name.at);
            if let Some(other) = claim_names(&mut names.by_name, &endpoint, index) {
                let (at, label) = name_places.get(&other).copied().unwrap_or((table.at, ""));
                let problem = format!("two endpoints have the name `{}`", regional_name(&endpoint));
                let error = self.reading.error(name_at, &table.label, problem).also(self.reading.place(at, label));
                self.reading.report(error.hint("each endpoint has a name of its own, which begins with its id"));
            }
            name_places.insert(index, (name_at, &table.label));
            names.by_id.insert(endpoint.id.to_ascii_lowercase(), Some(index));
            if let Some(private_dns) = table.private_dns.filter(|on| on.value) {
                let claim = PrivateDnsClaim { endpoint: index, at: private_dns.at, label: table.label.clone() };
                self.warn_of_vpc_attributes(claim.at, &claim.label, "private_dns", endpoint.vpc);
                claims.push(claim);
            }
            self.model.endpoints.push(endpoint);
        }
        let gateways = self.vpcs_with_s3_gateway();
        for table in tables {
            self.check_inbound_only(table, &gateways);
        }
        (names, claims)
    }

    fn endpoint(&mut self, table: &EndpointTable<'t>) -> Option<VpcEndpoint> {
        let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, &table.label));
        let kind = match &table.kind {
            None => Some(KindWord::Interface),
            Some(text) => word(text, &KIND_WORDS, &table.label, "type", &mut self.reading),
        };
        let state = match &table.state {
            None => Some(EndpointState::Available),
            Some(text) => word(text, &EndpointState::WORDS, &table.label, "state", &mut self.reading),
        };
        let service = table.service.as_ref().and_then(|service| self.service(service, &table.label));
        let kind = match (kind, service) {
            (Some(KindWord::Interface), service) => self.interface(table, service),
            (Some(KindWord::Gateway), service) => {
                self.check_gateway(table, service, "a gateway endpoint");
                Some(EndpointKind::Gateway)
            }
            (Some(KindWord::GatewayLoadBalancer), _) => {
                self.check_gateway(table, None, "a Gateway Load Balancer endpoint");
                Some(EndpointKind::GatewayLoadBalancer)
            }
            (None, _) => None,
        };
        let interface_probe = match table.probe_port {
            None => Some(None),
            Some(port) => self.interface_probe(port, &table.label, kind.as_ref()).map(Some),
        };
        Some(VpcEndpoint {
            id: table.id.as_ref()?.value.as_ref().into(),
            vpc: vpc?,
            service: service?.text.into(),
            kind: kind?,
            state: state?,
            interface_probe: interface_probe?,
        })
    }

    /// Takes a service name apart.
    fn service<'n>(&mut self, text: &'n Text<'t>, label: &str) -> Option<ServiceName<'n>> {
        let service = ServiceName::parse(&text.value);
        if service.is_none() {
            let problem = format!("{} is not the name of an endpoint service", quoted(&text.value));
            let hint = "write com.amazonaws.REGION.SERVICE, or com.amazonaws.vpce.REGION.vpce-svc-ID, in lower case";
            self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        }
        service
    }

    /// What only interface endpoints have.
    fn interface(&mut self, table: &EndpointTable<'t>, service: Option<ServiceName<'_>>) -> Option<EndpointKind> {
        self.require_of_interface(table, "dns_name", table.has_dns_name);
        self.require_of_interface(table, "addresses", table.has_addresses);
        let is_s3 = service.is_some_and(|service| service.is_s3());
        let only_for_inbound = table.private_dns_only_for_inbound.filter(|only| only.value);
        if let Some(only) = only_for_inbound.filter(|_| service.is_some() && !is_s3) {
            let problem = "`private_dns_only_for_inbound` is for S3 only";
            let rule = "only a service with gateway and interface endpoints has it (EC2 API, DnsOptionsSpecification)";
            self.reading.report(self.reading.error(only.at, &table.label, problem).rule(rule).hint("remove it"));
        }
        let regional = table.dns_name.as_ref().and_then(|text| self.regional_name(table, text));
        let private_names = match table.private_dns.filter(|on| on.value) {
            Some(on) => self.private_names(table, on.at, service),
            None => Vec::new(),
        };
        let (regional_name, is_wildcard) = regional?;
        Some(EndpointKind::Interface {
            zonal: self.zonal_addresses(table, &regional_name)?,
            regional_name,
            // The names of S3's interface endpoints are wildcards, `*.vpce-…` (S3PL).
            has_subdomains: is_wildcard || is_s3,
            private_names,
            private_dns_only_for_inbound: only_for_inbound.is_some(),
        })
    }

    fn require_of_interface(&mut self, table: &EndpointTable<'t>, key: &str, is_there: bool) {
        if !is_there {
            let problem = format!("`{key}` is missing");
            let hint = match key {
                "addresses" => "add those of its network interfaces: addresses = { ap-northeast-2a = [\"10.0.0.65\"] }",
                _ => "add its regional name: \"vpce-ID-HASH.SERVICE.REGION.vpce.amazonaws.com\"",
            };
            let error = self.reading.error(table.at, &table.label, problem);
            self.reading.report(error.rule("an interface endpoint has it").hint(hint));
        }
    }

    /// The regional name, and whether it was written with `*.` before it, as S3's is shown.
    fn regional_name(&mut self, table: &EndpointTable<'t>, text: &Text<'t>) -> Option<(Name, bool)> {
        let name = self.absolute_name(text, &table.label, "dns_name")?;
        let (name, is_wildcard) = match name.parent() {
            Some(parent) if name.is_wildcard() => (parent, true),
            _ => (name, false),
        };
        let first = name.labels().next().unwrap_or_default();
        if !first.starts_with(b"vpce-") {
            let problem = format!("`dns_name` {} is not the name of an endpoint", quoted(&text.value));
            let hint = "write the regional name, \"vpce-ID-HASH.SERVICE.REGION.vpce.amazonaws.com\"; public names of \
                        the service are private_dns_names";
            self.reading.report(self.reading.error(text.at, &table.label, problem).hint(hint));
            return None;
        }
        if let Some(id) = table.id.as_ref().filter(|id| !is_of_endpoint(first, &id.value)) {
            let problem = format!("`dns_name` {} is not of {}", quoted(&text.value), quoted(&id.value));
            let rule = "an endpoint's names begin with its id";
            self.reading.report(self.reading.warning(text.at, &table.label, problem).rule(rule));
        }
        Some((name, is_wildcard))
    }

    fn zonal_addresses(&mut self, table: &EndpointTable<'t>, regional_name: &Name) -> Option<Vec<ZonalAddresses>> {
        let written = table.addresses.as_ref()?;
        let mut zonal = Vec::with_capacity(written.value.len());
        let mut seen: HashSet<IpAddr> = HashSet::new();
        for (zone, texts) in &written.value {
            let Some(zonal_name) = self.zonal_name(table, zone, regional_name) else { continue };
            let mut addresses = Vec::with_capacity(texts.len());
            for text in texts {
                let Some(address) = self.endpoint_address(text, &table.label) else { continue };
                match seen.insert(address) {
                    true => addresses.push(address),
                    false => {
                        let problem = format!("the endpoint has the address {address} twice");
                        let warning = self.reading.warning(text.at, &table.label, problem);
                        self.reading.report(warning.hint("remove one: each network interface has its own"));
                    }
                }
            }
            zonal.push(ZonalAddresses { availability_zone: zone.value.as_ref().into(), zonal_name, addresses });
        }
        if written.value.iter().all(|(_, texts)| texts.is_empty()) {
            let error = self.reading.error(written.at, &table.label, "the endpoint has no address");
            self.reading
                .report(error.hint("add those of its network interfaces: { ap-northeast-2a = [\"10.0.0.65\"] }"));
        }
        Some(zonal)
    }

    /// The zonal name of one Availability Zone.
    fn zonal_name(&mut self, table: &EndpointTable<'t>, zone: &Text<'t>, regional_name: &Name) -> Option<Name> {
        let (problem, hint) = match availability_zone(&zone.value) {
            ZoneWord::Name => match zonal_name(regional_name, &zone.value) {
                Ok(name) => return Some(name),
                Err(error) => (error.to_string(), String::new()),
            },
            ZoneWord::Id => (
                "that is an Availability Zone's id".to_owned(),
                "write the zone's name in the account, as ap-northeast-2a: the endpoint's names carry it".to_owned(),
            ),
            ZoneWord::Neither => ("it has no form that AWS gives".to_owned(), "write it as ap-northeast-2a".to_owned()),
        };
        let headline = format!("{} cannot be an Availability Zone here", quoted(&zone.value));
        let label = format!("{}, `addresses`", table.label);
        let error = self.reading.error(zone.at, label, headline).rule(problem);
        self.reading.report(error.maybe_hint((!hint.is_empty()).then_some(hint)));
        None
    }

    fn endpoint_address(&mut self, text: &Text<'t>, label: &str) -> Option<IpAddr> {
        match text.value.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Some(ip),
            _ => {
                let problem = format!("{} is not the address of a network interface", quoted(&text.value));
                let hint = "write an IPv4 or IPv6 address without port and prefix";
                self.reading.report(self.reading.error(text.at, format!("{label}, `addresses`"), problem).hint(hint));
                None
            }
        }
    }

    /// Endpoints that are routes have no names (PL:gateway-endpoints, PL:manage-dns-names).
    fn check_gateway(&mut self, table: &EndpointTable<'t>, service: Option<ServiceName<'_>>, what: &str) {
        let label = table.label.clone();
        let private_dns = table.private_dns.filter(|on| on.value).map(|on| on.at);
        let misplaced = [
            ("dns_name", table.dns_name.as_ref().map(|text| text.at)),
            ("addresses", table.addresses.as_ref().map(|list| list.at)),
            ("private_dns", private_dns),
            ("private_dns_names", table.private_dns_names.as_ref().map(|list| list.at)),
            ("private_dns_only_for_inbound", table.private_dns_only_for_inbound.filter(|on| on.value).map(|on| on.at)),
            ("probe_port", table.probe_port.map(|port| port.at)),
        ];
        for (key, at) in misplaced {
            let Some(at) = at else { continue };
            let error = self.reading.error(at, &label, format!("{what} has no `{key}`"));
            self.reading
                .report(error.rule("it changes no DNS answer").hint("remove it, or write type = \"interface\""));
        }
        let entry = service.as_ref().and_then(service_catalog::find);
        if let (Some(entry), Some(text)) = (entry, &table.service)
            && !entry.has_gateway
        {
            let problem = format!("there are no gateway endpoints for {}", quoted(&text.value));
            let error = self.reading.error(text.at, &label, problem);
            self.reading.report(error.rule("only S3 and DynamoDB have them").hint("write type = \"interface\""));
        }
    }

    /// VPCs that have a gateway endpoint for S3.
    fn vpcs_with_s3_gateway(&self) -> HashSet<VpcIndex> {
        let gateways = self.model.endpoints.iter().filter(|endpoint| {
            matches!(endpoint.kind, EndpointKind::Gateway) && endpoint.state.has_dns_names() && is_s3(&endpoint.service)
        });
        gateways.map(|endpoint| endpoint.vpc).collect()
    }

    /// "Private DNS only for inbound" needs private DNS, and an S3 gateway endpoint for those inside (S3PL).
    fn check_inbound_only(&mut self, table: &EndpointTable<'t>, gateways: &HashSet<VpcIndex>) {
        let is_private = table.private_dns.is_some_and(|on| on.value);
        if !table.service.as_ref().is_some_and(|service| is_s3(&service.value)) {
            return;
        }
        let Some(only) = table.private_dns_only_for_inbound else {
            // Not said: here it is off, and AWS turns it on together with private DNS.
            if let Some(private_dns) = table.private_dns.filter(|on| on.value) {
                let problem = "private DNS for S3 is on for everyone";
                let warning = self.reading.warning(private_dns.at, &table.label, problem);
                let rule = "AWS's own default for S3 is \"only for inbound\"; here it is off where nothing is written";
                self.reading.report(warning.rule(rule).hint("write private_dns_only_for_inbound = true or false"));
            }
            return;
        };
        if !only.value {
            return;
        }
        if !is_private {
            let problem = "`private_dns_only_for_inbound` without `private_dns` does nothing";
            self.reading.report(self.reading.warning(only.at, &table.label, problem).hint("set private_dns = true"));
            return;
        }
        let Some(vpc) = table.vpc.as_ref().and_then(|vpc| self.vpc_indexes.get(vpc.value.as_ref()).copied()) else {
            return;
        };
        if !gateways.contains(&vpc) {
            let id = &self.model.vpc(vpc).id;
            let problem = format!(
                "To set PrivateDnsOnlyForInboundResolverEndpoint to true, the VPC {id} must have a gateway endpoint \
                 for the service."
            );
            let error = self.reading.error(only.at, &table.label, problem);
            self.reading.report(error.hint("add a [[vpc_endpoint]] of type = \"gateway\" for S3, or set it to false"));
        }
    }

    /// A zone or private DNS in a VPC that has no use for it.
    pub(super) fn warn_of_vpc_attributes(&mut self, at: usize, label: &str, what: &str, vpc: VpcIndex) {
        let settled = self.model.vpc(vpc);
        let attribute = match (settled.dns_support, settled.dns_hostnames) {
            (false, _) => "dns_support",
            (true, false) => "dns_hostnames",
            (true, true) => return,
        };
        let problem = format!("`{what}` has no effect in {}", settled.id);
        let (vpc_at, vpc_label) = &self.vpc_places[vpc.0 as usize];
        let also = self.reading.place(*vpc_at, vpc_label);
        let rule = format!("its `{attribute}` is false, and both attributes must be true (VPC user guide, vpc-dns)");
        let warning = self.reading.warning(at, label, problem).also(also).rule(rule);
        self.reading.report(warning.hint(format!("set {attribute} = true there")));
    }
}

/// Enters an endpoint's names; returns another endpoint that has one of them already.
fn claim_names(
    names: &mut HashMap<Name, (usize, Option<usize>)>,
    endpoint: &VpcEndpoint,
    index: usize,
) -> Option<usize> {
    let EndpointKind::Interface { regional_name, zonal, .. } = &endpoint.kind else { return None };
    let zonal = zonal.iter().enumerate().map(|(at, zonal)| (&zonal.zonal_name, Some(at)));
    let mut other = None;
    for (name, at) in std::iter::once((regional_name, None)).chain(zonal) {
        match names.get(name) {
            Some((taken, _)) => other = other.or(Some(*taken)),
            None => {
                names.insert(name.clone(), (index, at));
            }
        }
    }
    other
}

fn regional_name(endpoint: &VpcEndpoint) -> String {
    match &endpoint.kind {
        EndpointKind::Interface { regional_name, .. } => regional_name.to_string(),
        _ => String::new(),
    }
}

fn is_s3(service: &str) -> bool {
    ServiceName::parse(service).is_some_and(|service| service.is_s3())
}

/// Whether a first label begins with an endpoint's id and a hyphen.
fn is_of_endpoint(first_label: &[u8], id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    first_label.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'-'))
}

/// What a word is that stands where an Availability Zone's name belongs.
enum ZoneWord {
    Name,
    Id,
    Neither,
}

/// Names end in a number and a letter (`us-east-2a`, `us-west-2-lax-1a`), ids in `-az` and a number (`use2-az1`).
fn availability_zone(word: &str) -> ZoneWord {
    let is_label = word.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-');
    let tail: Vec<u8> = word.bytes().rev().take(2).collect();
    match tail.as_slice() {
        [letter, digit] if is_label && letter.is_ascii_lowercase() && digit.is_ascii_digit() => ZoneWord::Name,
        _ if is_label && word.rsplit_once("-az").is_some_and(|(_, number)| number.parse::<u8>().is_ok()) => {
            ZoneWord::Id
        }
        _ => ZoneWord::Neither,
    }
}
