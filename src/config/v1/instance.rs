//! `[[instance]]`.

use super::Builder;
use super::ec2_tables::InstanceTable;
use super::settings::word;
use super::source::At;
use super::table::Text;
use crate::aws::{HostnameType, Instance, PrivateDnsNameOptions, VpcIndex};
use crate::config::diagnostic::quoted;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl<'t> Builder<'t, '_> {
    /// Settles every instance.
    pub(super) fn settle_instances(&mut self, tables: &[InstanceTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        for table in tables {
            let id = table.id.as_ref().filter(|id| self.is_instance_id(id, &table.label));
            let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, &table.label));
            if !table.has_address {
                let error = self.reading.error(table.at, &table.label, "the instance has no address");
                self.reading.report(error.hint("add `private_ip_address = \"10.0.1.5\"`, or `ipv6_address`"));
            }
            let Some(vpc) = vpc else { continue };
            let private = table.private_ip_address.as_ref();
            let private = private.and_then(|text| self.private_ipv4(text, &table.label, vpc));
            if let Some(private) = private {
                let text = table.private_ip_address.as_ref();
                self.refuse_shared_address(text, &table.label, ("instances", vpc, private));
            }
            let public = self.instance_public_address(table, vpc, private);
            let ipv6 = table.ipv6_address.as_ref().and_then(|text| self.ipv6(text, &table.label, vpc));
            let options = self.private_dns_name_options(table);
            if let (Some(id), Some(options)) = (id, options) {
                self.warn_of_hidden_names(table, vpc);
                self.model.instances.push(Instance {
                    id: id.value.as_ref().into(),
                    vpc,
                    private_ip_address: private,
                    public_ip_address: public,
                    ipv6_address: ipv6,
                    private_dns_name_options: options,
                });
            }
        }
    }

    /// The first label of the resource name.
    fn is_instance_id(&mut self, id: &Text<'t>, label: &str) -> bool {
        let is_one = id.value.strip_prefix("i-").is_some_and(|digits| {
            (1..=INSTANCE_ID_DIGITS_MAX).contains(&digits.len())
                && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        });
        if !is_one {
            let problem = format!("`id` {} is not that of an instance", quoted(&id.value));
            let rule = "it is `i-` and hexadecimal digits in lower case: names begin with it";
            let hint = "write it as AWS shows it: i-0123456789abcdef0";
            self.reading.report(self.reading.error(id.at, label, problem).rule(rule).hint(hint));
        }
        is_one
    }

    fn ipv6(&mut self, text: &Text<'t>, label: &str, vpc: VpcIndex) -> Option<Ipv6Addr> {
        match self.address_in_blocks(text, label, vpc, "IPv6")? {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }

    fn instance_public_address(
        &mut self,
        table: &InstanceTable<'t>,
        vpc: VpcIndex,
        private: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let text = table.public_ip_address.as_ref()?;
        if table.private_ip_address.is_none() {
            let problem = "`public_ip_address` without `private_ip_address`";
            let error = self.reading.error(text.at, &table.label, problem);
            let rule = "a public IPv4 address is associated with a private one";
            self.reading.report(error.rule(rule).hint("add `private_ip_address`, or remove it"));
        }
        self.public_ipv4(text, &table.label, "public_ip_address", (vpc, private))
    }

    /// What is not said is as AWS has it: IP names, or resource names where there is no IPv4 address.
    fn private_dns_name_options(&mut self, table: &InstanceTable<'t>) -> Option<PrivateDnsNameOptions> {
        let written = &table.options;
        let is_ipv6_only = table.private_ip_address.is_none();
        let hostname_type = match &written.hostname_type {
            None if is_ipv6_only => HostnameType::ResourceName,
            None => HostnameType::IpName,
            Some(text) => word(text, &HostnameType::WORDS, &table.label, "hostname_type", &mut self.reading)?,
        };
        if let (Some(text), HostnameType::IpName, true) = (&written.hostname_type, hostname_type, is_ipv6_only) {
            let problem = "an instance without IPv4 address cannot have an IP name";
            let error = self.reading.error(text.at, &table.label, problem);
            let rule = "in IPv6-only subnets names are of the instance's id (EC2 user guide, ec2-instance-naming)";
            self.reading.report(error.rule(rule).hint("write \"resource-name\", or add `private_ip_address`"));
        }
        let (a, aaaa) = (written.enable_resource_name_dns_a_record, written.enable_resource_name_dns_aaaa_record);
        self.warn_of_record_without_address(table, a, "enable_resource_name_dns_a_record", is_ipv6_only);
        let has_no_ipv6 = table.ipv6_address.is_none();
        self.warn_of_record_without_address(table, aaaa, "enable_resource_name_dns_aaaa_record", has_no_ipv6);
        Some(PrivateDnsNameOptions {
            hostname_type,
            enable_resource_name_dns_a_record: a.is_some_and(|on| on.value),
            enable_resource_name_dns_aaaa_record: aaaa.is_some_and(|on| on.value),
        })
    }

    fn warn_of_record_without_address(
        &mut self,
        table: &InstanceTable<'t>,
        option: Option<At<bool>>,
        key: &str,
        has_no_address: bool,
    ) {
        if let Some(option) = option.filter(|option| option.value && has_no_address && table.has_address) {
            let problem = format!("`{key}` has nothing to answer with");
            let rule = "the instance has no address of that family";
            let warning = self.reading.warning(option.at, &table.label, problem).rule(rule);
            self.reading.report(warning.hint("add the address, or set it to false"));
        }
    }

    /// Names that nobody gets, for the VPC has none.
    fn warn_of_hidden_names(&mut self, table: &InstanceTable<'t>, vpc: VpcIndex) {
        let options = &table.options;
        let records = [options.enable_resource_name_dns_a_record, options.enable_resource_name_dns_aaaa_record];
        if let Some(record) = records.into_iter().flatten().find(|record| record.value) {
            self.warn_of_vpc_attributes(record.at, &table.label, "private_dns_name_options", vpc);
        }
    }
}

/// Hexadecimal digits of an instance's id; AWS's have 8 or 17, and a label takes 63 octets.
const INSTANCE_ID_DIGITS_MAX: usize = 61;
