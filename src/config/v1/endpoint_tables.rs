//! What was written of endpoint services and of what endpoints are associated with, table by table.

use super::document::Texts;
use super::source::Reading;
use super::table::{Table, Text};
use crate::config::diagnostic::quoted;

/// One `[[endpoint_service]]`.
pub(super) struct EndpointServiceTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) service_name: Option<Text<'t>>,
    pub(super) private_dns_name: Option<Text<'t>>,
    pub(super) configuration: Option<PrivateDnsNameConfigurationTable<'t>>,
    /// Whether that key is there, right or wrong.
    pub(super) has_configuration: bool,
    pub(super) availability_zones: Option<Texts<'t>>,
}

/// `private_dns_name_configuration` of an endpoint service.
pub(super) struct PrivateDnsNameConfigurationTable<'t> {
    pub(super) at: usize,
    pub(super) state: Option<Text<'t>>,
    /// What proves the domain: the name below it, and the value of that TXT record.
    pub(super) name: Option<Text<'t>>,
    pub(super) value: Option<Text<'t>>,
}

/// One entry of an endpoint's `associations`.
pub(super) struct EndpointAssociationTable<'t> {
    pub(super) label: String,
    pub(super) dns_entry: Option<Text<'t>>,
    pub(super) private_dns_entry: Option<Text<'t>>,
    pub(super) domain_verification_status: Option<Text<'t>>,
    pub(super) resource_gateway_vpc: Option<Text<'t>>,
    pub(super) addresses: Option<Texts<'t>>,
    /// Whether the key is there, right or wrong.
    pub(super) has_addresses: bool,
}

pub(super) fn read_endpoint_service<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> EndpointServiceTable<'t> {
    table.require(reading, "service_name", "\"com.amazonaws.vpce.REGION.vpce-svc-ID\"");
    let service_name = table.text(reading, "service_name");
    if let Some(name) = &service_name {
        table.label = format!("endpoint service {}", quoted(&name.value));
    }
    let label = format!("{}, `private_dns_name_configuration`", table.label);
    let service = EndpointServiceTable {
        label: table.label.clone(),
        at: table.at,
        service_name,
        private_dns_name: table.text(reading, "private_dns_name"),
        has_configuration: table.has("private_dns_name_configuration"),
        configuration: table.table(reading, "private_dns_name_configuration", label).map(|mut table| {
            table.require(reading, "state", "\"verified\"");
            let configuration = PrivateDnsNameConfigurationTable {
                at: table.at,
                state: table.text(reading, "state"),
                name: table.text(reading, "name"),
                value: table.text(reading, "value"),
            };
            // AWS shows it beside name and value; it is always a TXT record.
            table.text(reading, "type");
            table.finish(reading);
            configuration
        }),
        availability_zones: table.texts(reading, "availability_zones"),
    };
    table.finish(reading);
    service
}

pub(super) fn read_endpoint_association<'t>(
    mut table: Table<'t>,
    reading: &mut Reading<'t>,
) -> EndpointAssociationTable<'t> {
    table.require(reading, "dns_entry", "\"vpce-ID-snra-ID.rcfg-ID.HASH.vpc-lattice-rsc.REGION.on.aws\"");
    let association = EndpointAssociationTable {
        label: table.label.clone(),
        dns_entry: table.text(reading, "dns_entry"),
        private_dns_entry: table.text(reading, "private_dns_entry"),
        domain_verification_status: table.text(reading, "domain_verification_status"),
        resource_gateway_vpc: table.text(reading, "resource_gateway_vpc"),
        has_addresses: table.has("addresses"),
        addresses: table.texts(reading, "addresses"),
    };
    table.finish(reading);
    association
}
