//! Delegations: what a hosted zone leaves to the name servers of others.

use super::record_set::{RecordData, RecordSet, rdatas};
use crate::dns::{Name, Rtype, Target, TargetHost, TargetProtocol};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An NS set below the apex of a hosted zone. It is data like any other, unless a DELEGATE rule covers its name servers
/// (R53:outbound-delegation-tutorial).
#[derive(Clone, Debug)]
pub struct Delegation {
    /// Whose set it is: it and all below it is delegated.
    pub owner: Name,
    /// The name servers, in the order of the set.
    pub name_servers: Vec<NameServer>,
}

/// A name server of a delegation.
#[derive(Clone, Debug)]
pub struct NameServer {
    /// Its name.
    pub name: Name,
    /// Its addresses, as far as the zone itself has them: the glue.
    pub targets: Vec<Target>,
}

/// The delegations of a zone with this apex, in the order of its sets.
pub fn delegations(apex: &Name, record_sets: &[RecordSet]) -> Vec<Delegation> {
    let is_delegation = |set: &&RecordSet| set.rtype == Rtype::NS && set.owner != *apex;
    let mut found: Vec<Delegation> = Vec::new();
    let mut glue: HashMap<Name, Vec<Target>> = HashMap::new();
    for set in record_sets.iter().filter(is_delegation) {
        let RecordData::Records { rdatas: packed, .. } = &set.data else { continue };
        let names = rdatas(packed).filter_map(|rdata| Name::from_wire(rdata).ok());
        let name_servers: Vec<NameServer> = names.map(|name| NameServer { name, targets: Vec::new() }).collect();
        let names = name_servers.iter().map(|server| server.name.clone());
        glue.extend(names.filter(|name| name.is_at_or_below(apex)).map(|name| (name, Vec::new())));
        found.push(Delegation { owner: set.owner.clone(), name_servers });
    }
    if glue.is_empty() {
        return found;
    }
    for set in record_sets.iter().filter(|set| set.routing.is_none()) {
        let RecordData::Records { rdatas: packed, .. } = &set.data else { continue };
        if let Some(targets) = glue.get_mut(&set.owner) {
            targets.extend(rdatas(packed).filter_map(|rdata| target(set.rtype, rdata)));
        }
    }
    for server in found.iter_mut().flat_map(|delegation| &mut delegation.name_servers) {
        server.targets = glue.get(&server.name).cloned().unwrap_or_default();
    }
    found
}

/// The server at the address of an A or AAAA record.
fn target(rtype: Rtype, rdata: &[u8]) -> Option<Target> {
    let ip: IpAddr = match rtype {
        Rtype::A => Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).into(),
        Rtype::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).into(),
        _ => return None,
    };
    Target::new(TargetHost::Address(ip.to_canonical()), None, TargetProtocol::Do53, None).ok()
}
