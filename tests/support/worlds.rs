//! Worlds of any size made in memory, and queries for them: what the allocation test and the benches run on.

#![allow(dead_code, reason = "each test and bench takes the part it needs")]

mod asking;

use asking::{Asking, told};

use plustwo::aws::endpoint::PrivateName;
use plustwo::aws::record_set::push_rdata;
use plustwo::aws::routing_policy::FailoverRole;
use plustwo::aws::{
    AliasTarget, DnsRecordIpType, EndpointKind, EndpointState, HealthCheck, HealthCheckIndex, HealthCheckKind,
    HostedZone, Model, RecordData, RecordSet, RecordSets, ResolverRule, Routing, RoutingPolicy, RuleAction,
    SharedDoors, Vpc, VpcEndpoint, VpcIndex, ZonalAddresses,
};
use plustwo::compile::{Contexts, compile};
use plustwo::dns::{Class, HashSeed, Name, Rtype, TargetGroup, Ttl};
use plustwo::forward::cache::CacheLimits;
use plustwo::forward::clock::Clock;
use plustwo::forward::exchange::Options;
use plustwo::forward::lane::Lanes;
use plustwo::forward::reply::TtlLimits;
use plustwo::forward::{Ask, ForwardLimits, Forwarder, Millis};
use plustwo::serve::in_flight::{InFlight, InFlightLimits};
use plustwo::serve::server::Server;
use plustwo::snapshot::{Authority, HealthStates, Publisher, Snapshot};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;

/// The seed of every world here: figures repeat from run to run.
pub(crate) const SEED: HashSeed = HashSeed(0x5eed);
/// Names of one zone in worlds that are made by size.
pub(crate) const NAMES_PER_ZONE: usize = 1000;

/// Reads a name without escapes.
pub(crate) fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)).expect("a legal name")
}

/// The wire form of a name without escapes, in the case it is written in.
pub(crate) fn wire(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).expect("a short label"));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// A query as a client sends it, RD set; with EDNS it offers 1232 octets.
pub(crate) fn query(id: u16, qname: &str, qtype: Rtype, edns: bool) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    message.extend_from_slice(&wire(qname));
    message.extend_from_slice(&qtype.0.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if edns {
        message.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    }
    message
}

/// A record set with a TTL of 300 seconds.
pub(crate) fn records<'r>(owner: &str, rtype: Rtype, rdatas: impl IntoIterator<Item = &'r [u8]>) -> RecordSet {
    let mut packed = Vec::new();
    for rdata in rdatas {
        push_rdata(&mut packed, rdata);
    }
    let data = RecordData::Records { ttl: Ttl::DEFAULT, rdatas: packed.into() };
    RecordSet { owner: name(owner), rtype, data, routing: None }
}

/// A VPC that owns 10.x.y.0/24, by its number.
pub(crate) fn vpc(index: usize) -> Vpc {
    let block = format!("10.{}.{}.0/24", index >> 8, index & 0xff);
    Vpc {
        id: format!("vpc-{index:08x}").into(),
        name: None,
        region: "ap-northeast-2".into(),
        cidrs: vec![block.parse().expect("a prefix")],
        subnets: Vec::new(),
        clients: Vec::new(),
        listen: Vec::new(),
        allow: Vec::new(),
        dns_support: true,
        dns_hostnames: true,
        autodefined_reverse: true,
        dns64: false,
        owner_id: None,
    }
}

/// The client that asks as the VPC of this number.
pub(crate) fn client(vpc: usize) -> IpAddr {
    Ipv4Addr::new(10, (vpc >> 8) as u8, (vpc & 0xff) as u8, 7).into()
}

/// A model with one shared door and that many VPCs.
pub(crate) fn model(vpcs: usize, upstream: Vec<SocketAddr>) -> Model {
    Model {
        shared: SharedDoors { listen: vec![([127, 0, 0, 1], 0).into()], allow: Vec::new(), default_vpc: None },
        upstream: TargetGroup::do53(upstream),
        vpcs: (0..vpcs).map(vpc).collect(),
        ..Model::default()
    }
}

/// The zone of a name in a world made by size.
pub(crate) fn sized_zone(zone: usize) -> String {
    format!("zone{zone}.corp.example")
}

/// A name of a world made by size.
pub(crate) fn sized_name(index: usize) -> String {
    format!("host{}.{}", index % NAMES_PER_ZONE, sized_zone(index / NAMES_PER_ZONE))
}

/// A world of that many names with one address each, 1,000 a zone, every zone associated with every VPC; each zone has
/// a wildcard below `any`.
pub(crate) fn sized_model(names: usize, vpcs: usize) -> Model {
    let mut model = model(vpcs, Vec::new());
    let associated: Vec<VpcIndex> = (0..vpcs as u32).map(VpcIndex).collect();
    model.hosted_zones = (0..names.div_ceil(NAMES_PER_ZONE))
        .map(|zone| {
            let of_zone = zone * NAMES_PER_ZONE..names.min((zone + 1) * NAMES_PER_ZONE);
            let address = |index: usize| (index as u32).to_be_bytes();
            let mut record_sets: Vec<RecordSet> =
                of_zone.map(|index| records(&sized_name(index), Rtype::A, [address(index).as_slice()])).collect();
            let wildcard = format!("*.any.{}", sized_zone(zone));
            record_sets.push(records(&wildcard, Rtype::A, [[192, 0, 2, 1].as_slice()]));
            HostedZone {
                id: format!("Z{zone:08}").into(),
                apex: name(&sized_zone(zone)),
                vpcs: associated.clone(),
                record_sets: RecordSets::Here(record_sets),
                delegations: Vec::new(),
                falls_through: false,
            }
        })
        .collect();
    model
}

/// A world of one VPC whose view has that many hosted zones of one name each, and as many rules beside them.
pub(crate) fn authorities_model(zones: usize) -> Model {
    let mut model = model(1, Vec::new());
    let zone = |index: usize| HostedZone {
        id: format!("Z{index:08}").into(),
        apex: name(&sized_zone(index)),
        vpcs: vec![VpcIndex(0)],
        record_sets: RecordSets::Here(vec![records(&authority_name(index), Rtype::A, [[192, 0, 2, 1].as_slice()])]),
        delegations: Vec::new(),
        falls_through: false,
    };
    let rule = |index: usize| ResolverRule {
        id: format!("rslvr-rr-{index:017x}").into(),
        domain: name(&format!("rule{index}.corp.example")),
        action: RuleAction::Forward(TargetGroup::do53(vec![([192, 0, 2, 53], 53).into()])),
        vpcs: vec![VpcIndex(0)],
    };
    model.hosted_zones = (0..zones).map(zone).collect();
    model.resolver_rules = (0..zones).map(rule).collect();
    model
}

/// The name in a zone of such a world.
pub(crate) fn authority_name(index: usize) -> String {
    format!("host.{}", sized_zone(index))
}

/// The record sets of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sets {
    /// One with so many addresses.
    Values(u8),
    /// So many weighted ones with one address each and a health check.
    Weighted(u8),
    /// A healthy primary and a secondary.
    Failover,
    /// Four of different regions, none of them the VPC's, with health checks.
    Latency,
    /// Failover whose primary is an alias of a weighted name of three, health evaluated.
    Tree,
    /// So many multivalue ones with one address each and a health check.
    Multivalue(u8),
}

impl Sets {
    /// Records of an answer.
    pub(crate) fn answers(self) -> u16 {
        match self {
            Self::Values(count) => count.into(),
            Self::Weighted(_) | Self::Failover | Self::Latency | Self::Tree => 1,
            Self::Multivalue(count) => count.min(8).into(),
        }
    }

    /// The sets themselves.
    fn of(self, owner: &str) -> Vec<RecordSet> {
        let address = |last: u8| [10, 1, 1, last];
        let routed = |last: u8, policy: RoutingPolicy| {
            let mut set = records(owner, Rtype::A, [address(last).as_slice()]);
            let (set_identifier, health_check) = (last.to_string().into(), Some(HealthCheckIndex(0)));
            set.routing = Some(Box::new(Routing { set_identifier, policy, health_check }));
            set
        };
        let weighted = |owner: &str, count: u8| -> Vec<RecordSet> {
            let sets = (1..=count).map(|weight| routed(weight, RoutingPolicy::Weighted(weight)));
            sets.map(|set| RecordSet { owner: name(owner), ..set }).collect()
        };
        let primary = || routed(1, RoutingPolicy::Failover(FailoverRole::Primary));
        let secondary = || routed(2, RoutingPolicy::Failover(FailoverRole::Secondary));
        match self {
            Self::Values(count) => {
                let addresses: Vec<[u8; 4]> = (1..=count).map(address).collect();
                vec![records(owner, Rtype::A, addresses.iter().map(<[u8; 4]>::as_slice))]
            }
            Self::Weighted(count) => weighted(owner, count),
            Self::Failover => vec![primary(), secondary()],
            Self::Latency => {
                let regions = ["us-west-2", "eu-west-1", "ap-southeast-1", "sa-east-1"];
                let sets = (1..).zip(regions);
                sets.map(|(last, name)| routed(last, RoutingPolicy::Latency(name.into()))).collect()
            }
            Self::Tree => {
                let below = format!("below-{owner}");
                let mut primary = primary();
                let target = AliasTarget::SameZone(name(&below));
                primary.data = RecordData::Alias { target, evaluate_target_health: true };
                weighted(&below, 3).into_iter().chain([primary, secondary()]).collect()
            }
            Self::Multivalue(count) => (1..=count).map(|last| routed(last, RoutingPolicy::Multivalue)).collect(),
        }
    }
}

/// A world of that many names with these sets, one VPC, and one health check, which is healthy.
pub(crate) fn routed_model(names: usize, sets: Sets) -> Model {
    let mut model = sized_model(names, 1);
    let kind = HealthCheckKind::Manual { healthy: Some(true), routing_control_arn: None };
    model.health_checks = vec![HealthCheck { id: "check".into(), kind, inverted: false, disabled: false }];
    for (zone, hosted_zone) in model.hosted_zones.iter_mut().enumerate() {
        let of_zone = zone * NAMES_PER_ZONE..names.min((zone + 1) * NAMES_PER_ZONE);
        hosted_zone.record_sets = RecordSets::Here(of_zone.flat_map(|index| sets.of(&sized_name(index))).collect());
    }
    model
}

/// A world with one of everything, one VPC, and an upstream where that is given.
pub(crate) fn small_model(upstream: Vec<SocketAddr>) -> Model {
    let mut model = model(1, upstream);
    let addresses: [[u8; 4]; 5] = [[10, 0, 1, 1], [10, 0, 1, 2], [10, 0, 1, 3], [10, 0, 1, 4], [10, 0, 1, 5]];
    let zone = |id: &str, apex: &str, record_sets| HostedZone {
        id: id.into(),
        apex: name(apex),
        vpcs: vec![VpcIndex(0)],
        record_sets: RecordSets::Here(record_sets),
        delegations: Vec::new(),
        falls_through: false,
    };
    model.hosted_zones = vec![
        zone(
            "Z1",
            "corp.example",
            vec![
                records("www.corp.example", Rtype::A, [addresses[0].as_slice()]),
                records("many.corp.example", Rtype::A, addresses.iter().map(<[u8; 4]>::as_slice)),
                records("*.wild.corp.example", Rtype::A, [addresses[1].as_slice()]),
                records("chain.corp.example", Rtype::CNAME, [wire("middle.other.example").as_slice()]),
                records("out.corp.example", Rtype::CNAME, [wire("www.outside.example").as_slice()]),
            ],
        ),
        zone(
            "Z2",
            "other.example",
            vec![records("middle.other.example", Rtype::CNAME, [wire("www.corp.example").as_slice()])],
        ),
    ];
    let regional_name = name("vpce-0123456789abcdef0-v5xcd2c1.ec2.ap-northeast-2.vpce.amazonaws.com");
    let zonal_name = name("vpce-0123456789abcdef0-v5xcd2c1-ap-northeast-2a.ec2.ap-northeast-2.vpce.amazonaws.com");
    let apex = name("ec2.ap-northeast-2.amazonaws.com");
    model.endpoints = vec![VpcEndpoint {
        id: "vpce-0123456789abcdef0".into(),
        vpc: VpcIndex(0),
        service: "com.amazonaws.ap-northeast-2.ec2".into(),
        kind: EndpointKind::Interface {
            regional_name,
            zonal: vec![ZonalAddresses {
                availability_zone: "ap-northeast-2a".into(),
                zonal_name: Some(zonal_name),
                addresses: vec![[10, 0, 0, 65].into(), [10, 0, 0, 66].into()],
            }],
            has_subdomains: false,
            private_names: vec![PrivateName { apex, at_apex: true, below_apex: false }],
            private_dns_only_for_inbound: false,
            dns_record_ip_type: DnsRecordIpType::Ipv4,
            prefer_same_az: false,
        },
        state: EndpointState::Available,
        interface_probe: None,
    }];
    model
}

/// The snapshot of a model.
pub(crate) fn snapshot(model: &Model) -> Snapshot {
    compile(model, &mut Contexts::default(), &HealthStates::default(), SEED)
}

/// A forwarder that has asked nothing yet.
pub(crate) fn forwarder() -> Forwarder {
    let ttls = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX, failure_ttl: Ttl::from_wire(5) };
    Forwarder::new(ForwardLimits {
        cache: CacheLimits { octets_max: 64 << 20, ttls, stale_seconds: 86_400, prefetch: true },
        in_flight_max: 1024,
        in_flight_per_target_max: 1024,
        sockets_max: 256,
        options: Options::default(),
    })
}

/// Asks the upstream of a snapshot for the A records of names, so that they are in the cache.
pub(crate) fn fill_cache(forwarder: &Forwarder, snapshot: &Snapshot, names: &[String]) {
    let Authority::Forward(context) = snapshot.views[0].otherwise else { panic!("the world has an upstream") };
    let context = snapshot.context(context);
    let asking = Asking::start(forwarder, 1, Millis(0));
    for names in names.chunks(64) {
        let waiting: Vec<_> = names
            .iter()
            .map(|qname| {
                let ask = Ask {
                    context: context.id,
                    qname: &wire(qname),
                    qtype: Rtype::A,
                    class: Class::IN,
                    dnssec_ok: false,
                    checking_disabled: false,
                };
                asking.ask(&ask, &context.group)
            })
            .collect();
        for waiting in &waiting {
            told(waiting).expect("the upstream answers");
        }
    }
}

/// A server with one worker, over a lane that does not run: for what is known already.
pub(crate) fn server(snapshot: Snapshot, forwarder: &Forwarder) -> Server {
    server_at(snapshot, forwarder, Millis(0))
}

/// The same at this moment.
pub(crate) fn server_at(snapshot: Snapshot, forwarder: &Forwarder, now: Millis) -> Server {
    let lanes = Lanes::new(forwarder, NonZeroUsize::MIN).expect("descriptors");
    let (publisher, in_flight) =
        (Publisher::new(snapshot), InFlight::new(InFlightLimits { total: 1, per_client: 1, per_prefix: 1 }));
    Server::new(publisher, forwarder.clone(), lanes, in_flight, 1, Clock::at(now))
}

/// An upstream on loopback that answers every question with one address and a TTL of an hour.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            let mut octets = [0; 1500];
            // A datagram without octets is the end.
            while let Ok((received @ 1.., from)) = socket.recv_from(&mut octets) {
                let _ = socket.send_to(&upstream_reply(&octets[..received]), from);
            }
        });
        Self { address, thread: Some(thread) }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.send_to(&[], self.address).expect("loopback takes it");
        let _ = self.thread.take().expect("dropped once").join();
    }
}

/// The question of a query, answered.
pub(crate) fn upstream_reply(query: &[u8]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let mut reply = query[..end + 5].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc6\x33\x64\x01");
    reply
}
