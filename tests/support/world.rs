//! Worlds: configurations in the format that users write, their upstreams played by the test, their doors on ephemeral
//! ports of the loopback.

use super::case::DoorName;
use super::upstream::{Behaviour, Upstream, parse};
use plustwo::aws::{Model, RuleAction};
use plustwo::config::{self, Configuration, Surroundings};
use plustwo::daemon::Daemon;
use plustwo::dns::{Target, TargetHost};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the worlds are.
pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "worlds"].iter().collect()
}

/// A world: its configuration, with the placeholders of its upstreams replaced, and those upstreams.
#[derive(Clone)]
pub(crate) struct World {
    /// The configuration.
    pub(crate) configuration: Configuration,
    /// Upstreams by placeholder.
    pub(crate) upstreams: Arc<HashMap<Ipv4Addr, Upstream>>,
}

impl World {
    /// Loads `tests/worlds/NAME.toml` and starts what `NAME.upstream` describes.
    pub(crate) fn load(name: &str) -> Self {
        let path = folder().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let upstreams = std::fs::read_to_string(path.with_extension("upstream")).unwrap_or_default();
        Self::from_text(name, &text, &upstreams)
    }

    /// Loads a configuration and starts its upstreams, both from text.
    pub(crate) fn from_text(name: &str, text: &str, upstreams: &str) -> Self {
        let upstreams: HashMap<Ipv4Addr, Upstream> = parse(upstreams)
            .into_iter()
            .map(|(placeholder, behaviour, records)| (placeholder, Upstream::start(records, behaviour)))
            .collect();
        Self::with_upstreams(name, text, Arc::new(upstreams))
    }

    /// The same upstreams under another configuration.
    pub(crate) fn with_upstreams(name: &str, text: &str, upstreams: Arc<HashMap<Ipv4Addr, Upstream>>) -> Self {
        let read_file =
            |path: &str| std::fs::read_to_string(folder().join(path)).map_err(|error| format!("{path}: {error}"));
        let surroundings =
            Surroundings { read_file: &read_file, system_nameservers: &|| Ok(Vec::new()), is_own_address: &|_| false };
        let loaded = config::load(&format!("{name}.toml"), text, &surroundings);
        let Some(mut configuration) = loaded.configuration else {
            panic!("{name}.toml has errors:\n{}", config::render(&loaded.diagnostics));
        };
        replace_placeholders(name, &mut configuration.model, &upstreams);
        // One worker, so that what one client sends is answered in order.
        configuration.settings.workers = 1;
        Self { configuration, upstreams }
    }

    /// The upstream at a placeholder.
    pub(crate) fn upstream(&self, placeholder: &str) -> &Upstream {
        &self.upstreams[&placeholder.parse::<Ipv4Addr>().expect("an IPv4 address")]
    }

    /// The configuration with every door on an ephemeral port of an address.
    pub(crate) fn at(&self, address: IpAddr) -> Configuration {
        let mut configuration = self.configuration.clone();
        let model = &mut configuration.model;
        let vpcs = model.vpcs.iter_mut().map(|vpc| &mut vpc.listen);
        let inbound = model.inbound_endpoints.iter_mut().map(|endpoint| &mut endpoint.listen);
        for door in vpcs.chain(inbound).chain([&mut model.shared.listen]).flatten() {
            *door = SocketAddr::new(address, 0);
        }
        configuration
    }

    /// Serves it on an address.
    pub(crate) fn start(&self, address: IpAddr) -> Running {
        let configuration = self.at(address);
        let daemon = Daemon::start(&configuration).unwrap_or_else(|error| panic!("{error}"));
        Running { daemon, model: configuration.model, _upstreams: Arc::clone(&self.upstreams) }
    }
}

/// Sends what would go to a placeholder to the upstream that plays it.
fn replace_placeholders(name: &str, model: &mut Model, upstreams: &HashMap<Ipv4Addr, Upstream>) {
    let rules = model.resolver_rules.iter_mut().filter_map(|rule| match &mut rule.action {
        RuleAction::Forward(group) => Some(group),
        RuleAction::System | RuleAction::Delegate => None,
    });
    for target in rules.chain([&mut model.upstream]).flat_map(|group| &mut group.targets) {
        let TargetHost::Address(IpAddr::V4(placeholder)) = target.host else { continue };
        if placeholder.octets()[..3] == [192, 0, 2] {
            let upstream = upstreams.get(&placeholder);
            let upstream = upstream.unwrap_or_else(|| panic!("{name}.upstream has no {placeholder}"));
            *target = Target::do53(upstream.address());
        }
    }
    // Name servers of delegations are data too: not each is to be asked.
    let delegations = model.hosted_zones.iter_mut().flat_map(|zone| &mut zone.delegations);
    let name_servers = delegations.flat_map(|delegation| &mut delegation.name_servers);
    for target in name_servers.flat_map(|server| &mut server.targets) {
        if let TargetHost::Address(IpAddr::V4(placeholder)) = target.host
            && let Some(upstream) = upstreams.get(&placeholder)
        {
            *target = Target::do53(upstream.address());
        }
    }
}

/// A world that is being served.
pub(crate) struct Running {
    /// The daemon.
    pub(crate) daemon: Daemon,
    model: Model,
    /// As long as it is served, its upstreams are there.
    _upstreams: Arc<HashMap<Ipv4Addr, Upstream>>,
}

impl Running {
    /// Where a door is.
    pub(crate) fn door(&self, door: &DoorName) -> SocketAddr {
        self.daemon.door_addresses()[door_index(&self.model, door)]
    }

    /// The plus-two door of a VPC.
    pub(crate) fn plus_two(&self, vpc: &str) -> SocketAddr {
        self.door(&DoorName::From(vpc.to_owned()))
    }
}

/// Which door a case means, in the order of doors: shared ones, each VPC's, each inbound endpoint's.
pub(crate) fn door_index(model: &Model, door: &DoorName) -> usize {
    let shared = model.shared.listen.len();
    let of_vpcs: usize = model.vpcs.iter().map(|vpc| vpc.listen.len()).sum();
    match door {
        DoorName::Shared => {
            assert!(shared > 0, "no shared door");
            0
        }
        DoorName::From(name) => {
            let is_meant = |vpc: &plustwo::aws::Vpc| *vpc.id == **name || vpc.name.as_deref() == Some(name);
            let index = model.vpcs.iter().position(is_meant).unwrap_or_else(|| panic!("no VPC {name}"));
            assert!(!model.vpcs[index].listen.is_empty(), "VPC {name} has no door");
            shared + model.vpcs[..index].iter().map(|vpc| vpc.listen.len()).sum::<usize>()
        }
        DoorName::Via(id, number) => {
            let endpoints = &model.inbound_endpoints;
            let index = endpoints.iter().position(|endpoint| *endpoint.id == **id);
            let index = index.unwrap_or_else(|| panic!("no inbound endpoint {id}"));
            assert!(*number < endpoints[index].listen.len(), "{id} has no address number {number}");
            shared + of_vpcs + endpoints[..index].iter().map(|endpoint| endpoint.listen.len()).sum::<usize>() + number
        }
    }
}

/// An upstream that answers these records.
pub(crate) fn answering(records: &[&str]) -> Upstream {
    Upstream::start(records.iter().map(|record| super::upstream::parse_record(record)).collect(), Behaviour::Answers)
}
