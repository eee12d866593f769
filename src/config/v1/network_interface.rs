//! `[[network_interface]]`, and the addresses that interfaces and instances have.

use super::Builder;
use super::ec2_tables::{NetworkInterfaceTable, PrivateIpAddressTable};
use super::table::Text;
use crate::aws::{NetworkInterface, PrivateIpAddress, VpcIndex};
use crate::config::diagnostic::quoted;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// Who has which address, and where that is written.
#[derive(Default)]
pub(super) struct AddressOwners {
    /// Which private address a public one is associated with.
    public: HashMap<Ipv4Addr, (VpcIndex, Ipv4Addr, usize, String)>,
    /// Which public address a private one is associated with.
    associated: HashMap<(VpcIndex, Ipv4Addr), (Ipv4Addr, usize, String)>,
    /// Who has a private address, among things of one kind.
    private: HashMap<(&'static str, VpcIndex, Ipv4Addr), (usize, String)>,
}

impl<'t> Builder<'t, '_> {
    /// Settles every network interface.
    pub(super) fn settle_network_interfaces(&mut self, tables: &[NetworkInterfaceTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        for table in tables {
            let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, &table.label));
            let Some(vpc) = vpc else { continue };
            let mut addresses: Vec<PrivateIpAddress> = Vec::with_capacity(table.private_ip_addresses.len());
            let mut positions: HashMap<Ipv4Addr, usize> = HashMap::with_capacity(table.private_ip_addresses.len());
            for written in &table.private_ip_addresses {
                let Some(address) = self.private_ip_address(written, vpc) else { continue };
                // AWS's own list has the primary address in it again.
                match positions.get(&address.private_ip_address).map(|position| &mut addresses[*position]) {
                    Some(known) => known.public_ip = known.public_ip.or(address.public_ip),
                    None => {
                        positions.insert(address.private_ip_address, addresses.len());
                        let text = written.private_ip_address.as_ref();
                        self.refuse_shared_address(text, &written.label, (INTERFACES, vpc, address.private_ip_address));
                        addresses.push(address);
                    }
                }
            }
            let Some(id) = &table.id else { continue };
            let interface = NetworkInterface { id: id.value.as_ref().into(), vpc, private_ip_addresses: addresses };
            self.model.network_interfaces.push(interface);
        }
    }

    fn private_ip_address(&mut self, table: &PrivateIpAddressTable<'t>, vpc: VpcIndex) -> Option<PrivateIpAddress> {
        let written = table.private_ip_address.as_ref();
        let address = written.and_then(|text| self.private_ipv4(text, &table.label, vpc));
        let public = table.public_ip.as_ref();
        let public_ip = public.and_then(|text| self.public_ipv4(text, &table.label, "public_ip", (vpc, address)));
        Some(PrivateIpAddress { private_ip_address: address?, public_ip })
    }

    /// Two things of one kind have no address of a VPC in common.
    pub(super) fn refuse_shared_address(
        &mut self,
        text: Option<&Text<'t>>,
        label: &str,
        (kind, vpc, address): (&'static str, VpcIndex, Ipv4Addr),
    ) {
        let Some(text) = text else { return };
        let Some((other_at, other)) = self.address_owners.private.get(&(kind, vpc, address)) else {
            self.address_owners.private.insert((kind, vpc, address), (text.at, label.to_owned()));
            return;
        };
        let problem = format!("two {kind} of {} have the address {address}", self.model.vpc(vpc).id);
        let error = self.reading.error(text.at, label, problem).also(self.reading.place(*other_at, other));
        self.reading.report(error.hint("each has its own: correct one of them"));
    }

    /// Reads a private IPv4 address, which is in one of the VPC's CIDR blocks.
    pub(super) fn private_ipv4(&mut self, text: &Text<'t>, label: &str, vpc: VpcIndex) -> Option<Ipv4Addr> {
        match self.address_in_blocks(text, label, vpc, "IPv4")? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Reads an address of a family, which is in one of the VPC's CIDR blocks.
    pub(super) fn address_in_blocks(
        &mut self,
        text: &Text<'t>,
        label: &str,
        vpc: VpcIndex,
        family: &str,
    ) -> Option<IpAddr> {
        let address = text.value.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let Some(address) = address.filter(|address| address.is_ipv4() == (family == "IPv4")) else {
            let problem = format!("{} is not an {family} address", quoted(&text.value));
            let hint = "write it without port and prefix";
            self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
            return None;
        };
        let of = self.model.vpc(vpc);
        if of.cidrs.iter().any(|block| block.contains(&address)) {
            return Some(address);
        }
        let problem = format!("{} is in no CIDR block of {}", quoted(&text.value), of.id);
        let (vpc_at, vpc_label) = &self.vpc_places[vpc.0 as usize];
        let also = self.reading.place(*vpc_at, vpc_label);
        let error = self.reading.error(text.at, label, problem).also(also);
        self.reading.report(error.hint("correct the address, or add its block to the VPC's `cidrs`"));
        None
    }

    /// Reads the public IPv4 address of a private one: of no other private address, for it is a name of one, and with no
    /// other public address beside it.
    pub(super) fn public_ipv4(
        &mut self,
        text: &Text<'t>,
        label: &str,
        key: &str,
        (vpc, private): (VpcIndex, Option<Ipv4Addr>),
    ) -> Option<Ipv4Addr> {
        let Some(public) = text.value.parse::<Ipv4Addr>().ok().filter(|address| is_public(*address)) else {
            let problem = format!("{} is not a public IPv4 address", quoted(&text.value));
            let hint = "write the one that AWS associates with the private address, without port and prefix";
            self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
            return None;
        };
        self.warn_of_vpc_attributes(text.at, label, key, vpc);
        let private = private?;
        let associated = || (public, text.at, label.to_owned());
        let (first, at, other_label) = self.address_owners.associated.entry((vpc, private)).or_insert_with(associated);
        if *first != public {
            let problem = format!("{private} is associated with the public addresses {first} and {public}");
            let also = self.reading.place(*at, other_label.as_str());
            let error = self.reading.error(text.at, label, problem).also(also);
            let rule = "a private address has one public address (EC2 API, NetworkInterfacePrivateIpAddress)";
            self.reading.report(error.rule(rule).hint("remove one association"));
            return None;
        }
        let owner = (vpc, private, text.at, label.to_owned());
        let (other_vpc, other, at, other_label) = self.address_owners.public.entry(public).or_insert(owner);
        if (*other_vpc, *other) == (vpc, private) {
            return Some(public);
        }
        let problem = format!("the public address {public} is associated with {other} and with {private}");
        let also = self.reading.place(*at, other_label.as_str());
        let error = self.reading.error(text.at, label, problem).also(also);
        self.reading.report(error.rule("it is one private address's at a time").hint("remove one association"));
        None
    }
}

/// Network interfaces in messages.
const INTERFACES: &str = "network interfaces";

/// Whether an address can be one that AWS gives out to the Internet.
fn is_public(address: Ipv4Addr) -> bool {
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast())
}
