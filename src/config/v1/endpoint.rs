//! `[[vpc_endpoint]]`.

use super::Builder;
use super::document::EndpointTable;
use super::settings::word;
use super::source::At;
use super::table::Text;
use crate::aws::endpoint::{ADDRESSES_MAX, zonal_name};
use crate::aws::service_name::is_region;
use crate::aws::{
    DnsRecordIpType, EndpointAssociation, EndpointKind, EndpointState, IpAddressType, ServiceName, VpcEndpoint,
    VpcIndex, ZonalAddresses, service_catalog,
};
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
    Lattice,
}

/// The words of `type` and what they mean; the last two are how AWS spells them.
const KIND_WORDS: [(&str, KindWord); 7] = [
    ("interface", KindWord::Interface),
    ("gateway", KindWord::Gateway),
    ("gateway_load_balancer", KindWord::GatewayLoadBalancer),
    ("resource", KindWord::Lattice),
    ("service_network", KindWord::Lattice),
    ("GatewayLoadBalancer", KindWord::GatewayLoadBalancer),
    ("ServiceNetwork", KindWord::Lattice),
];

/// What an endpoint says of its addresses and records.
struct WrittenTypes {
    record_type: Option<At<DnsRecordIpType>>,
    endpoint: Option<At<IpAddressType>>,
}

/// Endpoints whose private names are for inbound only, with their record types, by VPC.
type InboundOnly<'a, 't> = HashMap<VpcIndex, Vec<(&'a EndpointTable<'t>, DnsRecordIpType)>>;

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
    /// The endpoint, and which of its zonal names or associations; none for the regional name.
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
        let mut association_places: HashMap<Name, usize> = HashMap::new();
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
            if let EndpointKind::Lattice { associations, .. } = &endpoint.kind {
                self.refuse_repeated_associations(table, associations, &mut association_places);
                for (number, association) in associations.iter().enumerate() {
                    names.by_name.entry(association.dns_name.clone()).or_insert((index, Some(number)));
                }
            }
            names.by_id.insert(endpoint.id.to_ascii_lowercase(), Some(index));
            if let Some(private_dns) = table.private_dns.filter(|on| on.value) {
                let claim = PrivateDnsClaim { endpoint: index, at: private_dns.at, label: table.label.clone() };
                self.warn_of_vpc_attributes(claim.at, &claim.label, "private_dns", endpoint.vpc);
                claims.push(claim);
            }
            self.model.endpoints.push(endpoint);
        }
        let gateways = self.vpcs_with_s3_gateway();
        let inbound_only = self.inbound_only_record_types(tables);
        for table in tables {
            self.check_inbound_only(table, &gateways);
            self.check_gateway_record_type(table, &inbound_only);
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
        if kind.is_some_and(|kind| kind != KindWord::Lattice) && !table.has_service {
            let error = self.reading.error(table.at, &table.label, "`service` is missing");
            self.reading.report(error.hint("add `service = \"com.amazonaws.REGION.SERVICE\"`"));
        }
        let is_lattice = kind == Some(KindWord::Lattice);
        let kind = match (kind, service) {
            (Some(KindWord::Lattice), _) => self.lattice(table, vpc),
            (Some(KindWord::Interface), service) => self.interface(table, service, vpc),
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
            // A malformed one has been told, and nobody gets the model.
            service: service.map(|service| service.text).filter(|_| !is_lattice).unwrap_or_default().into(),
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
    fn interface(
        &mut self,
        table: &EndpointTable<'t>,
        service: Option<ServiceName<'_>>,
        vpc: Option<VpcIndex>,
    ) -> Option<EndpointKind> {
        self.refuse_keys(table, "an interface endpoint", &LATTICE_KEYS);
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
        let is_remote = self.is_remote(table, service, vpc);
        if let (Some(service), Some(zones)) = (service, &table.addresses) {
            self.warn_of_zones_not_served(service.text, &table.label, zones.value.iter().map(|(zone, _)| zone));
        }
        let (regional_name, is_wildcard) = regional?;
        let zonal = self.zonal_addresses(table, &regional_name, is_remote)?;
        let addresses = zonal.iter().flat_map(|zone| &zone.addresses).copied();
        let dns_record_ip_type = self.record_type(table, addresses)?;
        Some(EndpointKind::Interface {
            dns_record_ip_type,
            prefer_same_az: self.prefer_same_az(table),
            zonal,
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

    /// Whether the service is of another region than the VPC: its names keep its region
    /// (PL:aws-services-cross-region-privatelink-support).
    fn is_remote(
        &mut self,
        table: &EndpointTable<'t>,
        service: Option<ServiceName<'_>>,
        vpc: Option<VpcIndex>,
    ) -> bool {
        let in_name = service.and_then(|service| service.region);
        if let Some(written) = &table.service_region {
            if !is_region(&written.value) {
                let problem = format!("`service_region` {} is not a region", quoted(&written.value));
                let error = self.reading.error(written.at, &table.label, problem);
                self.reading.report(error.hint("write it as ap-northeast-2"));
            } else if let Some(region) = in_name.filter(|region| *region != written.value) {
                let problem = format!("`service_region` is {}, and `service` is of {region}", written.value);
                let also = table.service.as_ref().map(|service| self.reading.place(service.at, "`service`"));
                let rule = "the service's name keeps its region (PL:aws-services-cross-region-privatelink-support)";
                let mut error = self.reading.error(written.at, &table.label, problem).rule(rule);
                error.also.extend(also);
                self.reading.report(error.hint("correct one of the two"));
            }
        }
        let region = in_name.or_else(|| Some(table.service_region.as_ref()?.value.as_ref()));
        let (Some(region), Some(vpc)) = (region, vpc) else { return false };
        if is_region(region) {
            self.warn_of_region_in_name(table, region);
        }
        region != &*self.model.vpc(vpc).region
    }

    /// `vpce-ID-HASH.SERVICE.REGION.vpce.…` has the service's region.
    fn warn_of_region_in_name(&mut self, table: &EndpointTable<'t>, region: &str) {
        let Some(text) = &table.dns_name else { return };
        let labels: Vec<&str> = text.value.split('.').collect();
        let before = labels.iter().position(|label| *label == "vpce").and_then(|at| labels.get(at.checked_sub(1)?));
        if let Some(found) = before.filter(|found| is_region(found) && **found != region) {
            let problem = format!("`dns_name` is of {found}, and the service of {region}");
            let rule = "an endpoint's names carry the region of its service";
            let warning = self.reading.warning(text.at, &table.label, problem).rule(rule);
            self.reading.report(warning.hint("copy the first of DnsEntries as AWS shows it"));
        }
    }

    /// Which address records its names have: as written, else as its addresses are.
    pub(super) fn record_type(
        &mut self,
        table: &EndpointTable<'t>,
        addresses: impl Iterator<Item = IpAddr> + Clone,
    ) -> Option<DnsRecordIpType> {
        let WrittenTypes { record_type, endpoint } = self.written_types(table)?;
        let found = IpAddressType::of(addresses.clone());
        let endpoint = match endpoint {
            // That there are none has been told.
            Some(At { value: written, at }) if written != found && addresses.clone().next().is_some() => {
                let strange = addresses.clone().find(|address| !written.has(*address));
                let problem = match strange {
                    Some(address) => format!("the endpoint's `ip_address_type` does not take its address {address}"),
                    None => "`ip_address_type` is dualstack, and the addresses are of one family".to_owned(),
                };
                let error = self.reading.error(at, &table.label, problem);
                let hint = "write the type that AWS shows, or remove it: then it is that of the `addresses`";
                self.reading.report(error.hint(hint));
                found
            }
            Some(written) => written.value,
            None => found,
        };
        let Some(At { value: record_type, at }) = record_type else {
            return Some(DnsRecordIpType::of_endpoint(endpoint));
        };
        if !record_type.fits(endpoint) && addresses.clone().next().is_some() {
            let (word, _) = IpAddressType::WORDS.into_iter().find(|(_, of)| *of == endpoint)?;
            let problem = format!("`dns_record_ip_type` does not fit an endpoint whose `ip_address_type` is {word}");
            let rule = "with ipv4 or ipv6 it is the same, with dualstack any (PL:privatelink-access-aws-services)";
            let error = self.reading.error(at, &table.label, problem).rule(rule);
            self.reading.report(error.hint(format!("write \"{word}\", or remove it")));
        }
        Some(record_type)
    }

    /// `dns_record_ip_type` and `ip_address_type` as written; none: one has no meaning.
    fn written_types(&mut self, table: &EndpointTable<'t>) -> Option<WrittenTypes> {
        let label = &table.label;
        let record_type = table.dns_record_ip_type.as_ref().map(|text| {
            let words = &DnsRecordIpType::WORDS;
            Some(At { value: word(text, words, label, "dns_record_ip_type", &mut self.reading)?, at: text.at })
        });
        let endpoint = table.ip_address_type.as_ref().map(|text| {
            let words = &IpAddressType::WORDS;
            Some(At { value: word(text, words, label, "ip_address_type", &mut self.reading)?, at: text.at })
        });
        match (record_type, endpoint) {
            (Some(None), _) | (_, Some(None)) => None,
            (record_type, endpoint) => {
                Some(WrittenTypes { record_type: record_type.flatten(), endpoint: endpoint.flatten() })
            }
        }
    }

    /// Whether clients of a known zone get the addresses there.
    fn prefer_same_az(&mut self, table: &EndpointTable<'t>) -> bool {
        let Some(prefer) = table.prefer_same_az.filter(|prefer| prefer.value) else { return false };
        if self.model.vpcs.iter().all(|vpc| vpc.subnets.is_empty()) {
            let problem = "`prefer_same_az` does nothing";
            let rule = "no [[vpc]] has `subnets`, so that no client's Availability Zone is known";
            let warning = self.reading.warning(prefer.at, &table.label, problem).rule(rule);
            let hint = "add them to the VPCs: subnets = { ap-northeast-2a = [\"10.0.1.0/24\"] }";
            self.reading.report(warning.hint(hint));
        }
        true
    }

    /// Names of associations are of one each, and so are custom domain names that an endpoint answers.
    fn refuse_repeated_associations(
        &mut self,
        table: &EndpointTable<'t>,
        associations: &[EndpointAssociation],
        places: &mut HashMap<Name, usize>,
    ) {
        // Names that cannot be read have been told, and then there may be fewer.
        let mut domains: HashSet<&Name> = HashSet::new();
        for (association, written) in associations.iter().zip(&table.associations) {
            if let Some(private) = association.private_name.as_ref().filter(|private| !domains.insert(&private.apex)) {
                let at = written.private_dns_entry.as_ref().map_or(table.at, |text| text.at);
                let problem = format!("two associations answer at or below `{}`", private.apex);
                let error = self.reading.error(at, &written.label, problem);
                self.reading.report(error.hint("a custom domain name leads to one of them: remove it from the other"));
            }
            let at = written.dns_entry.as_ref().map_or(table.at, |text| text.at);
            if let Some(first) = places.insert(association.dns_name.clone(), at) {
                let problem = format!("two associations have the name `{}`", association.dns_name);
                let also = self.reading.place(first, "`dns_entry`");
                let error = self.reading.error(at, &written.label, problem).also(also);
                self.reading.report(error.hint("each has a name of its own"));
            }
        }
    }

    fn zonal_addresses(
        &mut self,
        table: &EndpointTable<'t>,
        regional_name: &Name,
        is_remote: bool,
    ) -> Option<Vec<ZonalAddresses>> {
        let written = table.addresses.as_ref()?;
        let mut zonal = Vec::with_capacity(written.value.len());
        let mut seen: HashSet<IpAddr> = HashSet::new();
        for (zone, texts) in &written.value {
            let Some(zonal_name) = self.zonal_name(table, zone, regional_name) else { continue };
            // Endpoints of services elsewhere have none (PL:aws-services-cross-region-privatelink-support).
            let zonal_name = (!is_remote).then_some(zonal_name);
            let addresses = self.distinct_addresses(texts, &table.label, &mut seen);
            zonal.push(ZonalAddresses { availability_zone: zone.value.as_ref().into(), zonal_name, addresses });
        }
        if written.value.iter().all(|(_, texts)| texts.is_empty()) {
            let error = self.reading.error(written.at, &table.label, "the endpoint has no address");
            self.reading
                .report(error.hint("add those of its network interfaces: { ap-northeast-2a = [\"10.0.0.65\"] }"));
        }
        self.refuse_too_many_addresses(seen.len(), written.at, &table.label);
        Some(zonal)
    }

    /// Addresses as written, each once: an answer has a record once (RFC 2181 section 5). `seen` takes in what there was.
    pub(super) fn distinct_addresses(
        &mut self,
        texts: &[Text<'t>],
        label: &str,
        seen: &mut HashSet<IpAddr>,
    ) -> Vec<IpAddr> {
        let mut addresses = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(address) = self.endpoint_address(text, label) else { continue };
            if seen.insert(address) {
                addresses.push(address);
                continue;
            }
            let problem = format!("the endpoint has the address {address} twice");
            let warning = self.reading.warning(text.at, label, problem);
            self.reading.report(warning.hint("remove one: each network interface has its own"));
        }
        addresses
    }

    /// All addresses of a name stand in one answer.
    pub(super) fn refuse_too_many_addresses(&mut self, count: usize, at: usize, label: &str) {
        if count > ADDRESSES_MAX {
            let error = self.reading.error(at, label, format!("{count} addresses of an endpoint"));
            let rule = format!("at most {ADDRESSES_MAX}, so that an answer has room for all");
            self.reading.report(error.rule(rule).hint("write those of its network interfaces and no others"));
        }
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
        self.refuse_keys(table, what, &["addresses", "private_dns"]);
        self.refuse_keys(table, what, &INTERFACE_KEYS);
        self.refuse_keys(table, what, &LATTICE_KEYS);
        self.written_types(table);
        let entry = service.as_ref().and_then(service_catalog::find);
        if let (Some(entry), Some(text)) = (entry, &table.service)
            && !entry.has_gateway
        {
            let problem = format!("there are no gateway endpoints for {}", quoted(&text.value));
            let error = self.reading.error(text.at, &label, problem);
            self.reading.report(error.rule("only S3 and DynamoDB have them").hint("write type = \"interface\""));
        }
    }

    /// Refuses keys that endpoints of this kind do not have.
    pub(super) fn refuse_keys(&mut self, table: &EndpointTable<'t>, what: &str, keys: &[&str]) {
        let has_no_dns = what.contains("ateway");
        for key in keys {
            let Some(at) = place_of(table, key) else { continue };
            let error = self.reading.error(at, &table.label, format!("{what} has no `{key}`"));
            let (rule, hint) = match (has_no_dns, LATTICE_KEYS.contains(key)) {
                (true, _) => ("it changes no DNS answer", "remove it, or write type = \"interface\""),
                (false, true) => (
                    "only resource and service-network endpoints have it",
                    "remove it, or write type = \"resource\" or \"service_network\"",
                ),
                (false, false) => ("only interface endpoints have it", "remove it, or write type = \"interface\""),
            };
            self.reading.report(error.rule(rule).hint(hint));
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

    /// The endpoints whose private names are for inbound only, with their record types, by VPC: looked up once, since a file
    /// may have a pair of S3 endpoints in each of a thousand VPCs.
    fn inbound_only_record_types<'a>(&self, tables: &'a [EndpointTable<'t>]) -> InboundOnly<'a, 't> {
        let settled: HashMap<&str, &VpcEndpoint> =
            self.model.endpoints.iter().map(|endpoint| (&*endpoint.id, endpoint)).collect();
        let mut found: InboundOnly<'a, 't> = HashMap::new();
        for table in tables.iter().filter(|table| table.private_dns_only_for_inbound.is_some_and(|only| only.value)) {
            let endpoint = table.id.as_ref().and_then(|id| settled.get(id.value.as_ref()));
            if let Some(VpcEndpoint { vpc, kind: EndpointKind::Interface { dns_record_ip_type, .. }, .. }) = endpoint {
                found.entry(*vpc).or_default().push((table, *dns_record_ip_type));
            }
        }
        found
    }

    /// The gateway endpoint beside an S3 endpoint whose private names are for inbound only has the same record type, or
    /// the service's (PL:gateway-endpoints).
    fn check_gateway_record_type(&mut self, table: &EndpointTable<'t>, inbound_only: &InboundOnly<'_, 't>) {
        let is_gateway = table.kind.as_ref().is_some_and(|kind| kind.value.eq_ignore_ascii_case("gateway"))
            && table.service.as_ref().is_some_and(|service| is_s3(&service.value));
        let Some(text) = table.dns_record_ip_type.as_ref().filter(|_| is_gateway) else { return };
        let found = DnsRecordIpType::WORDS.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(&text.value));
        let own = found.map(|(_, own)| own).filter(|own| *own != DnsRecordIpType::ServiceDefined);
        let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_indexes.get(vpc.value.as_ref()));
        let (Some(own), Some(beside)) = (own, vpc.and_then(|vpc| inbound_only.get(vpc))) else { return };
        let Some((other, _)) = beside.iter().find(|(_, record_type)| *record_type != own) else { return };
        let problem = "`dns_record_ip_type` is not that of the interface endpoint beside it";
        let also = self.reading.place(other.at, &other.label);
        let rule = "it is the same, or service-defined (PL:gateway-endpoints)";
        let error = self.reading.error(text.at, &table.label, problem).also(also).rule(rule);
        self.reading.report(error.hint("write \"service-defined\", or correct one of the two"));
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
    let zonal = zonal.iter().enumerate().filter_map(|(at, zonal)| Some((zonal.zonal_name.as_ref()?, Some(at))));
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

/// Where a key of an endpoint stands that says something; `false` says nothing.
fn place_of(table: &EndpointTable<'_>, key: &str) -> Option<usize> {
    let set = |on: Option<At<bool>>| on.filter(|on| on.value).map(|on| on.at);
    match key {
        "dns_name" => table.dns_name.as_ref().map(|text| text.at),
        "addresses" => table.addresses.as_ref().map(|list| list.at),
        "private_dns" => set(table.private_dns),
        "private_dns_names" => table.private_dns_names.as_ref().map(|list| list.at),
        "private_dns_only_for_inbound" => set(table.private_dns_only_for_inbound),
        "prefer_same_az" => set(table.prefer_same_az),
        "probe_port" => table.probe_port.map(|port| port.at),
        "service_region" => table.service_region.as_ref().map(|text| text.at),
        "private_dns_preference" => table.private_dns_preference.as_ref().map(|text| text.at),
        "private_dns_specified_domains" => table.private_dns_specified_domains.as_ref().map(|list| list.at),
        "associations" => table.associations_at,
        _ => None,
    }
}

/// Keys that only interface endpoints have, besides `addresses` and `private_dns`.
pub(super) const INTERFACE_KEYS: [&str; 6] =
    ["dns_name", "private_dns_names", "private_dns_only_for_inbound", "prefer_same_az", "service_region", "probe_port"];
/// Keys that only endpoints of VPC Lattice have.
const LATTICE_KEYS: [&str; 3] = ["private_dns_preference", "private_dns_specified_domains", "associations"];

/// Whether a first label begins with an endpoint's id and a hyphen.
fn is_of_endpoint(first_label: &[u8], id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    first_label.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'-'))
}

/// What a word is that stands where an Availability Zone's name belongs.
pub(super) enum ZoneWord {
    Name,
    Id,
    Neither,
}

/// Names end in a number and a letter (`us-east-2a`, `us-west-2-lax-1a`), ids in `-az` and a number (`use2-az1`).
pub(super) fn availability_zone(word: &str) -> ZoneWord {
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
