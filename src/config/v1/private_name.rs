//! The private DNS names of an endpoint: what the operator lists, else what the service catalogue says.

use super::Builder;
use super::document::{EndpointTable, Texts};
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use crate::aws::service_catalog::{self, Confidence, PrivateNames};
use crate::aws::{PrivateName, ServiceName, ServiceOwner};
use crate::config::diagnostic::{Diagnostic, nearest, quoted};

impl<'t> Builder<'t, '_> {
    /// The private names of an endpoint whose private DNS is on (at `at`).
    pub(super) fn private_names(
        &mut self,
        table: &EndpointTable<'t>,
        at: usize,
        service: Option<ServiceName<'_>>,
    ) -> Vec<PrivateName> {
        match (&table.private_dns_names, service) {
            (Some(listed), service) => {
                // Whatever the operator calls it: it must be verified.
                service.and_then(|service| self.offered_private_names(service.text, at, &table.label));
                self.listed_private_names(table, listed, at)
            }
            (None, Some(service)) => match self.offered_private_names(service.text, at, &table.label) {
                Some(offered) => offered,
                None => self.catalogued_private_names(table, at, service),
            },
            (None, None) => Vec::new(),
        }
    }

    /// What the operator lists goes before the catalogue.
    fn listed_private_names(&mut self, table: &EndpointTable<'t>, listed: &Texts<'t>, at: usize) -> Vec<PrivateName> {
        let mut names = Vec::new();
        for text in &listed.value {
            let Some(name) = self.absolute_name(text, &table.label, "private_dns_names") else { continue };
            if has_literal_asterisk(&name) {
                let problem = format!("{} in `private_dns_names` has a `*` in it", quoted(&text.value));
                let warning = self.reading.warning(text.at, &table.label, problem);
                self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
            }
            PrivateName::add_to(&mut names, name);
        }
        if let (true, Some(service)) = (listed.value.is_empty(), &table.service) {
            let error = self.does_not_provide(at, &table.label, &service.value);
            self.reading.report(error.hint("set private_dns = false, or name them in `private_dns_names`"));
        }
        names
    }

    /// What the catalogue says, as far as it can be relied upon.
    fn catalogued_private_names(
        &mut self,
        table: &EndpointTable<'t>,
        at: usize,
        service: ServiceName<'_>,
    ) -> Vec<PrivateName> {
        let Some(entry) = service_catalog::find(&service) else {
            self.report_unknown_service(table, at, service);
            return Vec::new();
        };
        match entry.private_names() {
            PrivateNames::None => {
                let error = self.does_not_provide(at, &table.label, service.text);
                self.reading.report(error.maybe_hint(entry.note.map(str::to_owned)));
                Vec::new()
            }
            PrivateNames::NotKnown => {
                let problem = format!("the private DNS names of {} are not known", quoted(service.text));
                let error = self.reading.error(at, &table.label, problem).hint(LIST_THEM);
                self.reading.report(match entry.note {
                    Some(note) => error.rule(format!("the service catalogue says: {note}")),
                    None => error.rule("the service catalogue has no list for it"),
                });
                Vec::new()
            }
            PrivateNames::Names(texts) => {
                if entry.confidence == Confidence::Inferred {
                    let problem = format!("the private DNS name {} is inferred", quoted(&texts.join(", ")));
                    let rule = "nothing confirms that AWS gives the service this name";
                    self.reading.report(self.reading.warning(at, &table.label, problem).rule(rule).hint(LIST_THEM));
                }
                let mut names = Vec::new();
                for text in &texts {
                    let labels = text.split('.').map(str::as_bytes);
                    let name = crate::dns::Name::from_labels(labels).expect("names of the catalogue are names");
                    PrivateName::add_to(&mut names, name);
                }
                names
            }
        }
    }

    fn report_unknown_service(&mut self, table: &EndpointTable<'t>, at: usize, service: ServiceName<'_>) {
        let at = table.service.as_ref().map_or(at, |text| text.at);
        let (problem, hint) = match (service.owner, service.region) {
            (ServiceOwner::Provider, _) => (
                format!("the private DNS name of {} is its provider's to say", quoted(service.text)),
                format!("add an [[endpoint_service]] with its `private_dns_name`, or {LIST_THEM}"),
            ),
            (ServiceOwner::Aws, region) => {
                let is_crowded = self.reading.diagnostics.is_crowded();
                let known = service_catalog::service_names(region.unwrap_or_default()).filter(|_| !is_crowded);
                let known: Vec<String> = known.collect();
                let hint = match nearest(service.text, known.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean {meant}? Else {LIST_THEM}"),
                    None => LIST_THEM.to_owned(),
                };
                (format!("{} is not in the service catalogue", quoted(service.text)), hint)
            }
        };
        self.reading.report(self.reading.error(at, &table.label, problem).hint(hint));
    }

    /// In AWS's own words (EC2 API: CreateVpcEndpoint, InvalidParameter).
    pub(super) fn does_not_provide(&self, at: usize, label: &str, service: &str) -> Diagnostic {
        let problem =
            format!("Private DNS can't be enabled because the service {service} does not provide a private DNS name.");
        self.reading.error(at, label, problem).hint("set private_dns = false")
    }
}

/// How an operator finds out.
const LIST_THEM: &str = "list what `aws ec2 describe-vpc-endpoint-services` shows as PrivateDnsNames: \
                         private_dns_names = [\"…\"]";
