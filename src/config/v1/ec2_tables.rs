//! What was written of EC2's things, table by table: network interfaces, instances, peering connections, and the
//! resolver configuration of VPCs.

use super::document::each;
use super::source::{At, Reading};
use super::table::{Table, Text};
use crate::config::diagnostic::quoted;

/// One `[[resolver_config]]`.
pub(super) struct ResolverConfigTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) autodefined_reverse: Option<Text<'t>>,
}

/// One `[[vpc_peering]]`.
pub(super) struct VpcPeeringTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) requester: Option<PeeringSideTable<'t>>,
    pub(super) accepter: Option<PeeringSideTable<'t>>,
    pub(super) status: Option<Text<'t>>,
}

/// `requester_vpc_info` or `accepter_vpc_info` of a peering connection.
pub(super) struct PeeringSideTable<'t> {
    pub(super) label: String,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) allow_dns_resolution_from_remote_vpc: Option<At<bool>>,
}

/// One `[[network_interface]]`.
pub(super) struct NetworkInterfaceTable<'t> {
    pub(super) label: String,
    pub(super) id: Option<Text<'t>>,
    pub(super) vpc: Option<Text<'t>>,
    /// The primary one, where it is written by itself; then those of the list.
    pub(super) private_ip_addresses: Vec<PrivateIpAddressTable<'t>>,
}

/// A private address and its association.
pub(super) struct PrivateIpAddressTable<'t> {
    pub(super) label: String,
    pub(super) private_ip_address: Option<Text<'t>>,
    pub(super) public_ip: Option<Text<'t>>,
}

/// One `[[instance]]`.
pub(super) struct InstanceTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) private_ip_address: Option<Text<'t>>,
    pub(super) public_ip_address: Option<Text<'t>>,
    pub(super) ipv6_address: Option<Text<'t>>,
    /// Whether one of the two private addresses is there, right or wrong.
    pub(super) has_address: bool,
    pub(super) options: PrivateDnsNameOptionsTable<'t>,
}

/// `private_dns_name_options` of an instance.
#[derive(Default)]
pub(super) struct PrivateDnsNameOptionsTable<'t> {
    pub(super) hostname_type: Option<Text<'t>>,
    pub(super) enable_resource_name_dns_a_record: Option<At<bool>>,
    pub(super) enable_resource_name_dns_aaaa_record: Option<At<bool>>,
}

pub(super) fn read_resolver_config<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> ResolverConfigTable<'t> {
    table.require(reading, "resource_id", "\"vpc-…\"");
    table.require(reading, "autodefined_reverse", "\"DISABLED\"");
    let vpc = table.text(reading, "resource_id");
    if let Some(vpc) = &vpc {
        table.label = format!("resolver configuration of {}", quoted(&vpc.value));
    }
    let config = ResolverConfigTable {
        label: table.label.clone(),
        at: table.at,
        vpc,
        autodefined_reverse: table.text(reading, "autodefined_reverse"),
    };
    table.finish(reading);
    config
}

pub(super) fn read_vpc_peering<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> VpcPeeringTable<'t> {
    let id = table.id(reading, "peering connection", "\"pcx-…\"");
    let side = |table: &mut Table<'t>, reading: &mut Reading<'t>, key: &'static str| {
        table.require(reading, key, "{ vpc_id = \"vpc-…\" }");
        let label = format!("{}, `{key}`", table.label);
        let mut side = table.table(reading, key, label)?;
        side.require(reading, "vpc_id", "\"vpc-…\"");
        let label = format!("{}, `peering_options`", side.label);
        let options = side.table(reading, "peering_options", label).map(|mut options| {
            let allows = options.boolean(reading, "allow_dns_resolution_from_remote_vpc");
            options.finish(reading);
            allows
        });
        let read = PeeringSideTable {
            label: side.label.clone(),
            vpc: side.text(reading, "vpc_id"),
            allow_dns_resolution_from_remote_vpc: options.flatten(),
        };
        side.finish(reading);
        Some(read)
    };
    let label = format!("{}, `status`", table.label);
    let status = table.table(reading, "status", label).and_then(|mut status| {
        status.require(reading, "code", "\"active\"");
        let code = status.text(reading, "code");
        status.finish(reading);
        code
    });
    let peering = VpcPeeringTable {
        label: table.label.clone(),
        at: table.at,
        id,
        requester: side(&mut table, reading, "requester_vpc_info"),
        accepter: side(&mut table, reading, "accepter_vpc_info"),
        status,
    };
    table.finish(reading);
    peering
}

pub(super) fn read_network_interface<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> NetworkInterfaceTable<'t> {
    let id = table.id(reading, "network interface", "\"eni-…\"");
    table.require(reading, "vpc", "\"vpc-…\"");
    let vpc = table.text(reading, "vpc");
    // The association that stands beside the list is that of the primary address.
    if table.has("association") || !table.has("private_ip_addresses") {
        table.require(reading, "private_ip_address", "\"10.0.1.5\"");
    }
    let has_primary = table.has("private_ip_address") || table.has("association");
    let primary = read_private_ip_address(&mut table, reading);
    let mut private_ip_addresses: Vec<_> = has_primary.then_some(primary).into_iter().collect();
    let label = format!("{}, `private_ip_addresses`", table.label);
    private_ip_addresses.extend(each(&mut table, reading, "private_ip_addresses", &label, |mut table, reading| {
        table.require(reading, "private_ip_address", "\"10.0.1.5\"");
        let address = read_private_ip_address(&mut table, reading);
        table.finish(reading);
        address
    }));
    let interface = NetworkInterfaceTable { label: table.label.clone(), id, vpc, private_ip_addresses };
    table.finish(reading);
    interface
}

fn read_private_ip_address<'t>(table: &mut Table<'t>, reading: &mut Reading<'t>) -> PrivateIpAddressTable<'t> {
    let private_ip_address = table.text(reading, "private_ip_address");
    let label = format!("{}, `association`", table.label);
    let association = table.table(reading, "association", label);
    let public_ip = association.and_then(|mut association| {
        association.require(reading, "public_ip", "\"203.0.113.25\"");
        let public_ip = association.text(reading, "public_ip");
        association.finish(reading);
        public_ip
    });
    PrivateIpAddressTable { label: table.label.clone(), private_ip_address, public_ip }
}

pub(super) fn read_instance<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> InstanceTable<'t> {
    let id = table.id(reading, "instance", "\"i-…\"");
    table.require(reading, "vpc", "\"vpc-…\"");
    let has_address = table.has("private_ip_address") || table.has("ipv6_address");
    let (vpc, private_ip_address) = (table.text(reading, "vpc"), table.text(reading, "private_ip_address"));
    let public_ip_address = table.text(reading, "public_ip_address");
    let ipv6_address = table.text(reading, "ipv6_address");
    let label = format!("{}, `private_dns_name_options`", table.label);
    let options = table.table(reading, "private_dns_name_options", label).map(|mut options| {
        let read = PrivateDnsNameOptionsTable {
            hostname_type: options.text(reading, "hostname_type"),
            enable_resource_name_dns_a_record: options.boolean(reading, "enable_resource_name_dns_a_record"),
            enable_resource_name_dns_aaaa_record: options.boolean(reading, "enable_resource_name_dns_aaaa_record"),
        };
        options.finish(reading);
        read
    });
    let instance = InstanceTable {
        label: table.label.clone(),
        at: table.at,
        id,
        vpc,
        private_ip_address,
        public_ip_address,
        ipv6_address,
        has_address,
        options: options.unwrap_or_default(),
    };
    table.finish(reading);
    instance
}
