//! `[[endpoint_service]]`: what a provider says of its own service.

use super::Builder;
use super::endpoint::{ZoneWord, availability_zone};
use super::endpoint_tables::{EndpointServiceTable, PrivateDnsNameConfigurationTable};
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::settings::word;
use super::table::Text;
use crate::aws::{DnsNameState, PrivateName, ServiceName, ServiceOwner};
use crate::config::diagnostic::quoted;
use crate::dns::Name;

/// An endpoint service, with the places to point at.
#[derive(Clone)]
pub(super) struct OfferedService {
    at: usize,
    label: String,
    private_dns_name: Option<OfferedName>,
    /// The Availability Zones that it is offered in, and where they stand; none: not said.
    availability_zones: Option<(Vec<String>, usize)>,
}

/// A provider's private DNS name.
#[derive(Clone)]
struct OfferedName {
    /// As written, with its `*` if it has one.
    name: Name,
    state: DnsNameState,
    /// Where the state stands.
    state_at: usize,
    /// How the domain is proved: the whole name of the TXT record and its value, where both are written.
    proof: Option<(String, String)>,
}

impl<'t> Builder<'t, '_> {
    /// Settles every endpoint service.
    pub(super) fn settle_endpoint_services(&mut self, tables: &[EndpointServiceTable<'t>]) {
        for table in tables {
            let Some(service) = table.service_name.as_ref().filter(|name| self.is_own_service(name, &table.label))
            else {
                continue;
            };
            let offered = OfferedService {
                at: service.at,
                label: table.label.clone(),
                private_dns_name: self.offered_name(table),
                availability_zones: table.availability_zones.as_ref().map(|zones| {
                    let names = zones.value.iter().filter(|zone| self.is_zone_name(zone, &table.label));
                    (names.map(|zone| zone.value.clone().into_owned()).collect(), zones.at)
                }),
            };
            if let Some(first) = self.endpoint_services.get(service.value.as_ref()) {
                let problem = format!("two endpoint services are called {}", quoted(&service.value));
                let also = self.reading.place(first.at, &first.label);
                let error = self.reading.error(service.at, &table.label, problem).also(also);
                self.reading.report(error.hint("remove one of them"));
                continue;
            }
            self.endpoint_services.insert(service.value.clone().into_owned(), offered);
        }
    }

    /// Only providers' services: what AWS's own are called the catalogue knows.
    fn is_own_service(&mut self, name: &Text<'t>, label: &str) -> bool {
        let is_own = ServiceName::parse(&name.value).is_some_and(|name| name.owner == ServiceOwner::Provider);
        if !is_own {
            let problem = format!("{} is not the name of an endpoint service of one's own", quoted(&name.value));
            let hint = "write com.amazonaws.vpce.REGION.vpce-svc-ID; what AWS's own services are called is known here, and \
                        `private_dns_names` of an endpoint says otherwise";
            self.reading.report(self.reading.error(name.at, label, problem).hint(hint));
        }
        is_own
    }

    fn is_zone_name(&mut self, zone: &Text<'t>, label: &str) -> bool {
        let is_name = matches!(availability_zone(&zone.value), ZoneWord::Name);
        if !is_name {
            let problem = format!("{} is not the name of an Availability Zone", quoted(&zone.value));
            let hint = "write the names that `aws ec2 describe-vpc-endpoint-services` shows in the endpoints' account, as \
                        ap-northeast-2a: they are compared with those of `addresses`";
            self.reading.report(self.reading.error(zone.at, label, problem).hint(hint));
        }
        is_name
    }

    fn offered_name(&mut self, table: &EndpointServiceTable<'t>) -> Option<OfferedName> {
        let configuration = table.configuration.as_ref();
        let Some(text) = &table.private_dns_name else {
            if let Some(configuration) = configuration {
                let problem = "`private_dns_name_configuration` without `private_dns_name`";
                let error = self.reading.error(configuration.at, &table.label, problem);
                self.reading.report(error.hint("add the name, or remove it"));
            }
            return None;
        };
        let name = self.absolute_name(text, &table.label, "private_dns_name");
        if let Some(name) = name.as_ref().filter(|name| has_literal_asterisk(name)) {
            let problem = format!("`private_dns_name` {} has a `*` in it", quoted(&name.to_string()));
            let warning = self.reading.warning(text.at, &table.label, problem);
            self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        if !table.has_configuration {
            let problem = "`private_dns_name_configuration` is missing";
            let rule = "consumers can use a private DNS name once its domain is verified (PL:manage-dns-names)";
            let error = self.reading.error(table.at, &table.label, problem).rule(rule);
            let hint = "add `private_dns_name_configuration = { state = \"verified\" }`, as \
                        `aws ec2 describe-vpc-endpoint-service-configurations` shows it";
            self.reading.report(error.hint(hint));
        }
        let state = configuration?.state.as_ref()?;
        let label = format!("{}, `private_dns_name_configuration`", table.label);
        let value = word(state, &DnsNameState::WORDS, &label, "state", &mut self.reading)?;
        let name = name?;
        Some(OfferedName { proof: proof(configuration?, &name), name, state: value, state_at: state.at })
    }

    /// The private name of a provider's service for one of its endpoints, whose private DNS is on; none: nobody has
    /// declared the service.
    pub(super) fn offered_private_names(&mut self, service: &str, at: usize, label: &str) -> Option<Vec<PrivateName>> {
        let offered = self.endpoint_services.get(service).cloned()?;
        let also = self.reading.place(offered.at, &offered.label);
        let Some(private) = offered.private_dns_name else {
            let error = self.does_not_provide(at, label, service).also(also);
            self.reading.report(error.hint("set private_dns = false, or give the service its `private_dns_name`"));
            return Some(Vec::new());
        };
        if private.state != DnsNameState::Verified {
            self.report_unverified_name(service, &private, (at, label), &offered.label);
        }
        let mut names = Vec::new();
        PrivateName::add_to(&mut names, private.name);
        Some(names)
    }

    /// Only a verified name can be enabled (PL:manage-dns-names).
    fn report_unverified_name(
        &mut self,
        service: &str,
        private: &OfferedName,
        (at, label): (usize, &str),
        other: &str,
    ) {
        let state = word_of(private.state);
        let name = private.name.to_string();
        let problem = format!(
            "Private DNS can't be enabled because the private DNS name {} of the service {service} is not verified.",
            name.trim_end_matches('.')
        );
        let also = self.reading.place(private.state_at, other);
        let rule = format!("its state is {state}, and consumers can use a name that is verified (PL:manage-dns-names)");
        let publish = match &private.proof {
            Some((name, value)) => format!("let its provider publish {name} TXT \"{value}\""),
            None => "let its provider publish the TXT record that `aws ec2 \
                     describe-vpc-endpoint-service-configurations` shows"
                .to_owned(),
        };
        let hint = format!("{publish}, then write state = \"verified\" there; or set private_dns = false here");
        self.reading.report(self.reading.error(at, label, problem).also(also).rule(rule).hint(hint));
    }

    /// Warns where an endpoint has network interfaces in Availability Zones that its service is not offered in: what goes
    /// there is not answered, unless the provider's load balancer balances across zones.
    pub(super) fn warn_of_zones_not_served<'z>(
        &mut self,
        service: &str,
        label: &str,
        zones: impl Iterator<Item = &'z Text<'t>>,
    ) where
        't: 'z,
    {
        let Some(offered) = self.endpoint_services.get(service) else { return };
        let Some((served, served_at)) = offered.availability_zones.clone() else { return };
        let offered_label = offered.label.clone();
        for zone in zones.filter(|zone| served.iter().all(|served| *served != *zone.value)) {
            let problem = format!("the service is not offered in {}, where the endpoint has addresses", zone.value);
            let warning = self.reading.warning(zone.at, format!("{label}, `addresses`"), problem);
            let served = match served.join(", ") {
                none if none.is_empty() => "no zone".to_owned(),
                served => served,
            };
            let rule = format!("it serves {served}: connections to these addresses end without a reply");
            let hint = "take the endpoint's subnet of that zone away, or let the provider serve it (targets there, or \
                        cross-zone load balancing), and add it to `availability_zones`";
            let also = self.reading.place(served_at, &offered_label);
            self.reading.report(warning.also(also).rule(rule).hint(hint));
        }
    }
}

/// The TXT record that proves the domain: `{Name}.{domain}` with `{Value}`.
fn proof(configuration: &PrivateDnsNameConfigurationTable<'_>, name: &Name) -> Option<(String, String)> {
    let domain = match name.parent() {
        Some(parent) if name.is_wildcard() => parent,
        _ => name.clone(),
    };
    let (name, value) = (configuration.name.as_ref()?, configuration.value.as_ref()?);
    Some((format!("{}.{domain}", name.value), value.value.clone().into_owned()))
}

/// The word for a state.
fn word_of(state: DnsNameState) -> &'static str {
    DnsNameState::WORDS.iter().find(|(_, of)| *of == state).map_or("", |(word, _)| word)
}
