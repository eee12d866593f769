//! Resource and service-network endpoints: their `associations`, and which custom domain names they answer.

use super::Builder;
use super::document::EndpointTable;
use super::endpoint::INTERFACE_KEYS;
use super::endpoint_tables::EndpointAssociationTable;
use super::name::has_literal_asterisk;
use super::settings::word;
use super::table::Text;
use crate::aws::{EndpointAssociation, EndpointKind, PrivateDnsPreference, PrivateName, VpcIndex};
use crate::config::diagnostic::quoted;
use crate::dns::Name;
use std::collections::HashSet;
use std::net::IpAddr;

/// The states of the verification of a custom domain name (VPC Lattice API, GetResourceConfiguration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DomainVerification {
    Verified,
    Pending,
    TimedOut,
}

/// Every state and the word VPC Lattice has for it.
const VERIFICATION_WORDS: [(&str, DomainVerification); 3] = [
    ("VERIFIED", DomainVerification::Verified),
    ("PENDING", DomainVerification::Pending),
    ("VERIFICATION_TIMED_OUT", DomainVerification::TimedOut),
];

/// Which custom domain names an endpoint answers.
struct Preference {
    preference: PrivateDnsPreference,
    /// The domains that it specifies; those that were written with `*.` by what stands behind that.
    specified: Vec<(Name, bool)>,
}

impl Preference {
    fn is_specified(&self, name: &Name) -> bool {
        self.specified.iter().any(|(domain, is_wildcard)| match is_wildcard {
            true => std::iter::successors(name.parent(), Name::parent).any(|above| above == *domain),
            false => name == domain,
        })
    }
}

impl<'t> Builder<'t, '_> {
    /// What only endpoints of VPC Lattice have.
    pub(super) fn lattice(&mut self, table: &EndpointTable<'t>, vpc: Option<VpcIndex>) -> Option<EndpointKind> {
        self.refuse_keys(table, "an endpoint of VPC Lattice", &INTERFACE_KEYS);
        if table.associations_at.is_none() {
            let problem = "`associations` is missing";
            let error = self.reading.error(table.at, &table.label, problem);
            let hint =
                "add what `aws ec2 describe-vpc-endpoint-associations` shows: associations = [{ dns_entry = \"…\" }]";
            self.reading.report(error.rule("its names are those of what it is associated with").hint(hint));
        }
        let shared = self.all_addresses(table);
        let record_type = self.record_type(table, shared.iter().copied());
        let preference = self.private_dns_preference(table);
        let is_private = table.private_dns.is_some_and(|on| on.value);
        let preference = preference.filter(|_| is_private);
        let mut associations: Vec<EndpointAssociation> = Vec::with_capacity(table.associations.len());
        for written in &table.associations {
            let own = written.addresses.as_ref().map(|texts| {
                let addresses = self.distinct_addresses(&texts.value, &written.label, &mut HashSet::new());
                self.refuse_too_many_addresses(addresses.len(), texts.at, &written.label);
                addresses
            });
            if written.addresses.as_ref().is_some_and(|texts| texts.value.is_empty())
                || (!written.has_addresses && !table.has_addresses)
            {
                let at = written.dns_entry.as_ref().map_or(table.at, |text| text.at);
                let error = self.reading.error(at, &written.label, "the association has no address");
                let hint = "add those of the endpoint's network interfaces: addresses = { us-west-2a = [\"10.0.0.65\"] }, or \
                            its own, as a list";
                self.reading.report(error.hint(hint));
            }
            let private_name = self.custom_domain(written, preference.as_ref(), vpc);
            let Some(dns_name) = written.dns_entry.as_ref().and_then(|text| self.lattice_name(written, text)) else {
                continue;
            };
            let addresses: Vec<IpAddr> = own.unwrap_or_else(|| shared.clone());
            associations.push(EndpointAssociation { dns_name, addresses, private_name });
        }
        Some(EndpointKind::Lattice { associations, dns_record_ip_type: record_type? })
    }

    /// All addresses of its network interfaces; the zones do not matter to Lattice's names.
    fn all_addresses(&mut self, table: &EndpointTable<'t>) -> Vec<IpAddr> {
        let Some(written) = &table.addresses else { return Vec::new() };
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for (_, texts) in &written.value {
            addresses.extend(self.distinct_addresses(texts, &table.label, &mut seen));
        }
        self.refuse_too_many_addresses(addresses.len(), written.at, &table.label);
        addresses
    }

    fn lattice_name(&mut self, written: &EndpointAssociationTable<'t>, text: &Text<'t>) -> Option<Name> {
        let name = self.absolute_name(text, &written.label, "dns_entry")?;
        let is_lattice = |label: &[u8]| label == b"vpc-lattice-rsc" || label == b"vpc-lattice-svcs";
        if !name.labels().next().is_some_and(|first| first.starts_with(b"vpce-")) || !name.labels().any(is_lattice) {
            let problem = format!("`dns_entry` {} is not the name of an association", quoted(&text.value));
            let hint = "write what AWS shows: \"vpce-ID-snra-ID.rcfg-ID.HASH.vpc-lattice-rsc.REGION.on.aws\", for service \
                        networks \"vpce-ID-snsa-ID.HASH.vpc-lattice-svcs.REGION.on.aws\"; a custom domain name is its \
                        `private_dns_entry`";
            self.reading.report(self.reading.error(text.at, &written.label, problem).hint(hint));
            return None;
        }
        Some(name)
    }

    /// `private_dns_preference` and `private_dns_specified_domains`.
    fn private_dns_preference(&mut self, table: &EndpointTable<'t>) -> Option<Preference> {
        let words = &PrivateDnsPreference::WORDS;
        let preference = match &table.private_dns_preference {
            // AWS's default.
            None => PrivateDnsPreference::VerifiedDomainsOnly,
            Some(text) => word(text, words, &table.label, "private_dns_preference", &mut self.reading)?,
        };
        if let Some(text) =
            table.private_dns_preference.as_ref().filter(|_| table.private_dns.is_none_or(|on| !on.value))
        {
            let problem = "`private_dns_preference` without `private_dns` does nothing";
            self.reading.report(self.reading.warning(text.at, &table.label, problem).hint("set private_dns = true"));
        }
        let mut specified = Vec::new();
        for text in table.private_dns_specified_domains.iter().flat_map(|texts| &texts.value) {
            let Some(name) = self.absolute_name(text, &table.label, "private_dns_specified_domains") else { continue };
            specified.push(match name.parent() {
                Some(parent) if name.is_wildcard() => (parent, true),
                _ => (name, false),
            });
        }
        match &table.private_dns_specified_domains {
            Some(domains) if !preference.has_specified_domains() => {
                let problem = "`private_dns_specified_domains` does nothing with this preference";
                let warning = self.reading.warning(domains.at, &table.label, problem);
                let hint = "write private_dns_preference = \"VERIFIED_DOMAINS_AND_SPECIFIED_DOMAINS\" or \
                            \"SPECIFIED_DOMAINS_ONLY\"";
                self.reading.report(warning.rule(PREFERENCE_RULE).hint(hint));
            }
            None if preference.has_specified_domains() => {
                let at = table.private_dns_preference.as_ref().map_or(table.at, |text| text.at);
                let problem = "`private_dns_specified_domains` is missing";
                let error = self.reading.error(at, &table.label, problem).rule(PREFERENCE_RULE);
                self.reading.report(error.hint("name the domains: [\"db.example.com\", \"*.apps.example.com\"]"));
            }
            _ => {}
        }
        Some(Preference { preference, specified })
    }

    /// The custom domain name of an association, if private DNS answers it.
    fn custom_domain(
        &mut self,
        written: &EndpointAssociationTable<'t>,
        preference: Option<&Preference>,
        vpc: Option<VpcIndex>,
    ) -> Option<PrivateName> {
        let gateway = written.resource_gateway_vpc.as_ref().map(|text| (text.at, self.vpc_index(text, &written.label)));
        let status = written.domain_verification_status.as_ref();
        let status = status.map(|text| {
            word(text, &VERIFICATION_WORDS, &written.label, "domain_verification_status", &mut self.reading)
        });
        let text = written.private_dns_entry.as_ref()?;
        let name = self.absolute_name(text, &written.label, "private_dns_entry")?;
        if has_literal_asterisk(&name) {
            let problem = format!("`private_dns_entry` {} has a `*` in it", quoted(&text.value));
            let hint = "a `*` is a wildcard only as the whole first label (RFC 4592 section 2.1.1)";
            self.reading.report(self.reading.error(text.at, &written.label, problem).hint(hint));
        }
        let preference = preference?;
        let is_verified = status == Some(Some(DomainVerification::Verified));
        let problem = format!("the custom domain name {} is not answered", quoted(&text.value));
        if let Some((at, of)) = gateway.filter(|(_, of)| of.is_some() && *of == vpc) {
            let id = of.map(|of| self.model.vpc(of).id.to_string()).unwrap_or_default();
            let also = self.reading.place(at, &written.label);
            let warning = self.reading.warning(text.at, &written.label, problem).also(also);
            let rule =
                format!("the resource gateway is in {id} too: AWS makes no zone there (PL:use-resource-endpoint)");
            self.reading.report(warning.rule(rule).hint("remove the entry, or correct the VPC"));
            return None;
        }
        // A status that cannot be read has been told.
        if !preference.preference.takes(is_verified, preference.is_specified(&name)) {
            if status != Some(None) {
                let (rule, hint) = match preference.preference {
                    PrivateDnsPreference::SpecifiedDomainsOnly => {
                        ("it is not among `private_dns_specified_domains`", "add it there, or remove the entry")
                    }
                    PrivateDnsPreference::VerifiedDomainsAndSpecifiedDomains => (
                        "it is neither verified nor among `private_dns_specified_domains`",
                        "add it there, or write domain_verification_status = \"VERIFIED\" if AWS shows it so",
                    ),
                    PrivateDnsPreference::VerifiedDomainsOnly | PrivateDnsPreference::AllDomains => (
                        "it is not verified, and the preference is VERIFIED_DOMAINS_ONLY",
                        "write domain_verification_status = \"VERIFIED\" if AWS shows it so, or choose another \
                         `private_dns_preference`",
                    ),
                };
                let warning = self.reading.warning(text.at, &written.label, problem).rule(rule);
                self.reading.report(warning.hint(hint));
            }
            return None;
        }
        let mut names = Vec::with_capacity(1);
        PrivateName::add_to(&mut names, name);
        names.pop()
    }
}

/// Which preferences look at the domains.
const PREFERENCE_RULE: &str =
    "only VERIFIED_DOMAINS_AND_SPECIFIED_DOMAINS and SPECIFIED_DOMAINS_ONLY look at them (VPC Lattice API, DnsOptions)";
