//! Doors: which addresses are listened on, who may ask there, and that no two are the same.

use super::Builder;
use super::address::{NotANet, is_too_wide, parse_net};
use super::document::{ServerTable, Texts};
use super::source::At;
use super::table::Text;
use crate::aws::SharedDoors;
use crate::config::diagnostic::quoted;
use crate::config::settings::PRIVATE_NETWORKS;
use crate::dns::target::parse_socket_address;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One door and where it is written.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) at: usize,
    /// Whose it is: "vpc `vpc-0hub`".
    pub(super) label: String,
}

/// All doors, found by address.
#[derive(Default)]
pub(super) struct Doors {
    list: Vec<Door>,
    /// The first door of each address.
    by_address: HashMap<SocketAddr, usize>,
}

impl Doors {
    fn push(&mut self, door: Door) {
        self.by_address.entry(door.address).or_insert(self.list.len());
        self.list.push(door);
    }

    /// The door that a datagram to this address, sent from this machine, would come in by. `is_own` says whether an
    /// address is one of this machine's, on which a door for every address is open too.
    fn reached_at(&self, target: SocketAddr, is_own: &dyn Fn(IpAddr) -> bool) -> Option<&Door> {
        let door = |address: SocketAddr| self.by_address.get(&address).map(|door| &self.list[*door]);
        let every = match target.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let every = || {
            let door = door(SocketAddr::from((every, target.port())))?;
            (target.ip().is_loopback() || is_own(target.ip())).then_some(door)
        };
        door(target).or_else(every).filter(|_| target.port() != 0)
    }

    /// Doors that cannot be opened beside others, each with those.
    fn collisions(&self) -> Vec<(usize, Vec<usize>)> {
        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        let mut collisions = Vec::new();
        for (index, door) in self.list.iter().enumerate() {
            by_port.entry(door.address.port()).or_default().push(index);
            let first = self.by_address[&door.address];
            if first != index && self.list[first].collides_with(door) {
                collisions.push((index, vec![first]));
            }
        }
        // A door for every address collides with each other one of its port.
        for (index, door) in self.list.iter().enumerate().filter(|(_, door)| door.address.ip().is_unspecified()) {
            let others = by_port[&door.address.port()].iter().copied();
            let others = others
                .filter(|&other| self.list[other].address != door.address && self.list[other].collides_with(door));
            let others: Vec<usize> = others.collect();
            if !others.is_empty() {
                collisions.push((index, others));
            }
        }
        collisions
    }
}

impl Door {
    /// Whether both cannot be bound at once: the same address, or every address of the family and one of them.
    fn collides_with(&self, other: &Self) -> bool {
        let (ip, other_ip) = (self.address.ip(), other.address.ip());
        let overlaps = self.address == other.address
            || (is_same_family(ip, other_ip) && (ip.is_unspecified() || other_ip.is_unspecified()));
        // Port 0 is any free one, another for each.
        overlaps && self.address.port() == other.address.port() && self.address.port() != 0
    }
}

fn is_same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

impl<'t> Builder<'t, '_> {
    /// `[server]`: doors that belong to no VPC, and who may ask there.
    pub(super) fn settle_shared_doors(&mut self, server: &ServerTable<'t>) {
        let label = "[server]";
        self.model.shared = SharedDoors {
            listen: self.listen(server.listen.as_ref(), label),
            allow: self.allow(server.allow.as_ref(), &[], label),
            default_vpc: server.default_vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, label)),
        };
        let unused = [
            ("allow", server.allow.as_ref().map(|allow| allow.at)),
            ("default_vpc", server.default_vpc.as_ref().map(|vpc| vpc.at)),
        ];
        for (key, at) in unused {
            let Some(at) = at.filter(|_| server.listen.is_none()) else { continue };
            let problem = format!("`{key}` without `listen` does nothing");
            let warning = self.reading.warning(at, label, problem).rule("it is about shared doors, and there is none");
            self.reading.report(warning.hint("add `listen` here, or remove it"));
        }
        if let Some(open) = server.open_resolver.filter(|open| open.value) {
            let rule = "whoever may send to a resolver may use it to flood others (RFC 5358 section 3)";
            let warning = self.reading.warning(open.at, label, "this is an open resolver").rule(rule);
            self.reading
                .report(warning.hint("remove `open_resolver` unless the network before it keeps strangers out"));
        }
    }

    /// Reads the addresses of a `listen` and keeps each as a door.
    pub(super) fn listen(&mut self, texts: Option<&Texts<'t>>, label: &str) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for text in texts.map_or(&[][..], |texts| &texts.value) {
            if let Some(address) = self.socket_address(text, label, "`listen`") {
                self.doors.push(Door { address, at: text.at, label: label.to_owned() });
                addresses.push(address);
            }
        }
        addresses
    }

    /// The door of ours that questions to this address would come in by.
    pub(super) fn door_reached_at(&self, target: SocketAddr) -> Option<&Door> {
        self.doors.reached_at(target, self.surroundings.is_own_address)
    }

    /// Reads one address and port; multicast can be no door.
    pub(super) fn socket_address(&mut self, text: &Text<'t>, label: &str, key: &str) -> Option<SocketAddr> {
        let problem = match parse_socket_address(&text.value) {
            Some(address) if !is_multicast_or_broadcast(address.ip()) => return Some(address),
            Some(_) => format!("{} in {key} is a multicast or broadcast address", quoted(&text.value)),
            None => format!("{} in {key} is not an address", quoted(&text.value)),
        };
        let hint = "write 192.0.2.1, 192.0.2.1:5300, 2001:db8::1 or [2001:db8::1]:5300; host names are not looked up";
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        None
    }

    /// Reads CIDR blocks that let somebody in.
    pub(super) fn nets(&mut self, texts: Option<&Texts<'t>>, label: &str, key: &str) -> Vec<At<IpNet>> {
        let nets = self.nets_of_any_width(texts, label, key);
        for (net, text) in &nets {
            self.check_width(net, text, label, key);
        }
        nets.into_iter().map(|(net, text)| At { value: net, at: text.at }).collect()
    }

    /// Reads CIDR blocks; each with its text.
    pub(super) fn nets_of_any_width<'l>(
        &mut self,
        texts: Option<&'l Texts<'t>>,
        label: &str,
        key: &str,
    ) -> Vec<(IpNet, &'l Text<'t>)> {
        let mut nets = Vec::new();
        for text in texts.map_or(&[][..], |texts| &texts.value) {
            match parse_net(&text.value) {
                Ok(net) => nets.push((net, text)),
                Err(error) => {
                    let (problem, hint) = match error {
                        NotANet::Form => ("is not a CIDR block", "write 10.0.0.0/16 or 2001:db8::/56".to_owned()),
                        NotANet::NoPrefix(net) => ("has no prefix length", format!("write {net}")),
                        NotANet::HostBits(net) => ("has bits beyond its prefix", format!("write {net}")),
                    };
                    let problem = format!("{} in `{key}` {problem}", quoted(&text.value));
                    self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
                }
            }
        }
        nets
    }

    /// Refuses blocks that make an open resolver of this, unless that is what the operator wants.
    fn check_width(&mut self, net: &IpNet, text: &Text<'t>, label: &str, key: &str) {
        if self.is_open_resolver || !is_too_wide(net) {
            return;
        }
        let problem = format!("{} in `{key}` lets in too many", quoted(&text.value));
        let rule = "a block wider than /8 (IPv4) or /16 (IPv6) makes an open resolver (RFC 5358 section 3)";
        let hint = "name your own networks, or set `[server] open_resolver = true`";
        self.reading.report(self.reading.error(text.at, label, problem).rule(rule).hint(hint));
    }

    /// Who may ask at a door: what its `allow` says, else the default and the clients of its VPC.
    pub(super) fn allow(&mut self, texts: Option<&Texts<'t>>, vpc_clients: &[IpNet], label: &str) -> Vec<IpNet> {
        match texts {
            Some(_) => self.nets(texts, label, "allow").into_iter().map(|net| net.value).collect(),
            None => PRIVATE_NETWORKS.iter().chain(vpc_clients).copied().collect(),
        }
    }

    /// Refuses two doors on one address, and warns where there is none at all.
    pub(super) fn settle_door_conflicts(&mut self) {
        if self.doors.list.is_empty() && !self.reading.diagnostics.has_errors() {
            let warning = self.reading.warning(0, "", "nothing listens");
            let hint = "give `listen` to [server], a [[vpc]] or an [[inbound_endpoint]]";
            self.reading.report(warning.rule("no door is open, so that nobody can ask").hint(hint));
        }
        for (index, others) in self.doors.collisions() {
            let (door, other) = (&self.doors.list[index], &self.doors.list[others[0]]);
            let problem = match door.address == other.address {
                true => format!("two doors on one address, {}", door.address),
                false => format!("the doors {} and {} cannot both be opened", door.address, other.address),
            };
            let rule = "a query's address decides whose door it came in by; 0.0.0.0 and [::] stand for every address";
            let mut error = self.reading.error(door.at, &door.label, problem).rule(rule);
            for other in others.iter().map(|other| &self.doors.list[*other]) {
                error = error.also(self.reading.place(other.at, &other.label));
            }
            self.reading.report(error.hint("give one of them another address or port"));
        }
    }
}

fn is_multicast_or_broadcast(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}
