//! What a VPC resolves without anybody having written it: EC2's names, and the reverse zones of its addresses
//! (R53:resolver-overview-forward-vpc-to-network-autodefined-rules).
//!
//! IP names and reverse names are computed when they are asked for; what stands here is the zones they are in, the
//! blocks whose addresses have names, and the few names that are stored: resource names, and public names that answer
//! with private addresses.

use super::authority::ClaimsByView;
use super::profile::is_reverse;
use super::zone::{EncodedRrset, ZoneHead, ZonesBuilder, route_53_soa};
use crate::aws::autodefined::{further_private_domain, private_domain, public_domain};
use crate::aws::{Instance, Model, NetworkInterface, VpcIndex};
use crate::dns::{FoldedName, HashSeed, Name, Rtype};
use crate::snapshot::autodefined::{COMPUTED_TTL_SECONDS, REVERSE_ZONE_OCTETS_MAX, reverse_zone_labels};
use crate::snapshot::{
    Authority, Contents, Network, Networks, NetworksIndex, ReverseName, StoredNames, ZoneIndex, ZoneKind,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Where instances find their metadata; its reverse zone is autodefined, and its name under the region's domain has been
/// seen in us-east-1 (`instance-data.ec2.internal`).
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The first label of its name.
const METADATA_LABEL: &[u8] = b"instance-data";

/// What of the autodefined names is neither a zone nor a claim.
pub(super) struct Autodefined {
    /// What the views see of VPCs, equal things once.
    pub(super) networks: Vec<Networks>,
    /// Which of them each VPC sees.
    pub(super) of_vpcs: Vec<NetworksIndex>,
    /// The reverse zones of blocks, by octets of an address in the apex.
    pub(super) reverse_zones: [ZoneIndex; REVERSE_ZONE_OCTETS_MAX + 1],
}

impl Autodefined {
    /// The reverse zone of a VPC's own blocks that has exactly this apex.
    pub(super) fn reverse_zone(&self, vpc: VpcIndex, apex: &Name) -> Option<Authority> {
        if !is_reverse(apex) {
            return None;
        }
        let mut folded = FoldedName::default();
        // What is asked is which zone, not where it stands in a table.
        folded.read(apex.as_wire(), HashSeed(0)).ok()?;
        let networks = &self.networks[self.of_vpcs[vpc.0 as usize].0 as usize];
        let octets = networks.reverse_zone_octets(&ReverseName::read(&folded)?)?;
        (reverse_zone_labels(octets) == folded.label_count()).then(|| Authority::Zone(self.reverse_zones[octets]))
    }
}

/// What all VPCs of a region have in common.
struct Region {
    private_domain: Name,
    private_zone: ZoneIndex,
    public_domain: Name,
    public_zone: ZoneIndex,
}

/// Addresses, and what they are called, of one VPC.
#[derive(Default)]
struct Addresses<'m> {
    instances: Vec<&'m Instance>,
    interfaces: Vec<&'m NetworkInterface>,
}

/// The zones in which the names of one VPC stand, if it has any.
#[derive(Default)]
struct NamesOfVpc {
    resource_names: Option<ZoneIndex>,
    public_names: Option<ZoneIndex>,
}

/// Adds the autodefined zones and claims.
pub(super) fn compile(model: &Model, zones: &mut ZonesBuilder<'_>, claims: &mut ClaimsByView<'_>) -> Autodefined {
    let reverse_zones = std::array::from_fn(|octets| add_reverse_zone(zones, octets));
    let private_reverse = add_private_reverse_zones(zones);
    let mut regions: BTreeMap<&str, Region> = BTreeMap::new();
    for vpc in &model.vpcs {
        regions.entry(&vpc.region).or_insert_with(|| add_region(&vpc.region, &private_reverse, zones, claims));
    }
    let names: Vec<NamesOfVpc> = addresses_by_vpc(model)
        .iter()
        .zip(&model.vpcs)
        .map(|(addresses, vpc)| match vpc.dns_hostnames {
            true => add_names(zones, &regions[&*vpc.region], addresses),
            false => NamesOfVpc::default(),
        })
        .collect();
    let mut networks = NetworksInterner::default();
    let mut of_vpcs = Vec::with_capacity(model.vpcs.len());
    for (index, seen) in (0..).map(VpcIndex).zip(&seen_by_vpc(model)) {
        of_vpcs.push(networks.index(model, seen, &names, &regions));
        if model.vpc(index).dns_hostnames {
            claim_domains(model, index, seen, &names, &regions, claims);
        }
    }
    Autodefined { networks: networks.made, of_vpcs, reverse_zones }
}

/// Instances and network interfaces of each VPC.
fn addresses_by_vpc(model: &Model) -> Vec<Addresses<'_>> {
    let mut by_vpc: Vec<Addresses<'_>> = Vec::new();
    by_vpc.resize_with(model.vpcs.len(), Addresses::default);
    for instance in &model.instances {
        by_vpc[instance.vpc.0 as usize].instances.push(instance);
    }
    for interface in &model.network_interfaces {
        by_vpc[interface.vpc.0 as usize].interfaces.push(interface);
    }
    by_vpc
}

/// Whose names each VPC sees: its own first, then those of peers that let it ask.
fn seen_by_vpc(model: &Model) -> Vec<Vec<VpcIndex>> {
    let mut seen: Vec<Vec<VpcIndex>> = (0..model.vpcs.len() as u32).map(|index| vec![VpcIndex(index)]).collect();
    for (from, of) in model.vpc_peerings.iter().flat_map(|peering| peering.resolutions(model)) {
        seen[from.0 as usize].push(of);
    }
    seen
}

/// Adds the names of a VPC that are stored. They stand once, whoever sees them.
fn add_names(zones: &mut ZonesBuilder<'_>, region: &Region, addresses: &Addresses<'_>) -> NamesOfVpc {
    let mut add = |domain: &Name, names: Names| {
        let is_one = !names.is_empty();
        is_one.then(|| add_zone(zones, domain, Contents::Stored, names))
    };
    NamesOfVpc {
        resource_names: add(&region.private_domain, resource_names(&region.private_domain, addresses)),
        public_names: add(&region.public_domain, public_names(&region.public_domain, addresses)),
    }
}

/// Claims the domains of the names that a VPC sees, beyond what all of its region claim.
fn claim_domains(
    model: &Model,
    vpc: VpcIndex,
    seen: &[VpcIndex],
    names: &[NamesOfVpc],
    regions: &BTreeMap<&str, Region>,
    claims: &mut ClaimsByView<'_>,
) {
    // Whether a VPC that is seen has public names there.
    let mut has_public_names: BTreeMap<&str, bool> = BTreeMap::new();
    for of in seen {
        *has_public_names.entry(&model.vpc(*of).region).or_default() |= names[of.0 as usize].public_names.is_some();
    }
    for (name, has_public_names) in has_public_names {
        let region = &regions[name];
        if name != &*model.vpc(vpc).region {
            claims.autodefined(vpc, &region.private_domain, region.private_zone);
        }
        if has_public_names {
            claims.autodefined(vpc, &region.public_domain, region.public_zone);
        } else {
            claims.carved_out(vpc, &region.public_domain, region.public_zone);
        }
    }
}

/// The names of a zone, with their records.
type Names = BTreeMap<Name, Vec<(Rtype, EncodedRrset)>>;

/// `i-….ap-northeast-2.compute.internal`: A and AAAA as the instance's options say (EC2 user guide,
/// ec2-instance-naming).
fn resource_names(domain: &Name, addresses: &Addresses<'_>) -> Names {
    let mut names = Names::new();
    for instance in &addresses.instances {
        let options = instance.private_dns_name_options;
        let a = instance.private_ip_address.filter(|_| options.enable_resource_name_dns_a_record);
        let aaaa = instance.ipv6_address.filter(|_| options.enable_resource_name_dns_aaaa_record);
        let a = a.map(|address| (Rtype::A, record(Rtype::A, &address.octets())));
        let aaaa = aaaa.map(|address| (Rtype::AAAA, record(Rtype::AAAA, &address.octets())));
        let rrsets: Vec<_> = a.into_iter().chain(aaaa).collect();
        if !rrsets.is_empty() {
            names.insert(domain.child(instance.id.as_bytes()).expect("an instance's id is a short label"), rrsets);
        }
    }
    names
}

/// `ec2-203-0-113-25.ap-northeast-2.compute.amazonaws.com`: the private address behind the public one (VPC user guide,
/// vpc-dns).
fn public_names(domain: &Name, addresses: &Addresses<'_>) -> Names {
    let of_instances = addresses.instances.iter();
    let of_instances = of_instances.map(|instance| (instance.public_ip_address, instance.private_ip_address));
    let of_interfaces = addresses.interfaces.iter().flat_map(|interface| &interface.private_ip_addresses);
    let of_interfaces = of_interfaces.map(|address| (address.public_ip, Some(address.private_ip_address)));
    let pairs = of_instances.chain(of_interfaces).filter_map(|(public, private)| public.zip(private));
    let name = |public: Ipv4Addr| {
        let [a, b, c, d] = public.octets();
        domain.child(format!("ec2-{a}-{b}-{c}-{d}").as_bytes()).expect("a short label")
    };
    pairs.map(|(public, private)| (name(public), vec![(Rtype::A, record(Rtype::A, &private.octets()))])).collect()
}

/// One record with the TTL of EC2's names.
fn record(rtype: Rtype, rdata: &[u8]) -> EncodedRrset {
    EncodedRrset::records(rtype, COMPUTED_TTL_SECONDS, [rdata])
}

/// Adds what all VPCs of a region have in common, and its claims.
fn add_region(
    name: &str,
    private_reverse: &[(Name, ZoneIndex)],
    zones: &mut ZonesBuilder<'_>,
    claims: &mut ClaimsByView<'_>,
) -> Region {
    let (private_domain, public_domain) = (private_domain(name), public_domain(name));
    let private_zone = add_private_zone(zones, &private_domain);
    let public_zone = add_zone(zones, &public_domain, Contents::PublicNames, Names::new());
    let mut forward = vec![(private_domain.clone(), private_zone)];
    if let Some(domain) = further_private_domain(name) {
        // Which names it has is not known.
        let zone = add_zone(zones, &domain, Contents::Stored, Names::new());
        forward.push((domain, zone));
    }
    let mut reverse = private_reverse.to_vec();
    reverse.push(add_metadata_reverse_zone(zones, &private_domain));
    claims.region(name, forward, reverse);
    Region { private_domain, private_zone, public_domain, public_zone }
}

/// Adds a zone of IP names, with the name of the metadata service.
fn add_private_zone(zones: &mut ZonesBuilder<'_>, domain: &Name) -> ZoneIndex {
    let metadata = domain.child(METADATA_LABEL).expect("a short label");
    let names = Names::from([(metadata, vec![(Rtype::A, record(Rtype::A, &METADATA_ADDRESS.octets()))])]);
    add_zone(zones, domain, Contents::IpNames, names)
}

/// Adds `254.169.254.169.in-addr.arpa`.
fn add_metadata_reverse_zone(zones: &mut ZonesBuilder<'_>, private_domain: &Name) -> (Name, ZoneIndex) {
    let apex = reverse_name(&METADATA_ADDRESS.octets());
    let target = private_domain.child(METADATA_LABEL).expect("a short label");
    let names = Names::from([(apex.clone(), vec![(Rtype::PTR, record(Rtype::PTR, target.as_wire()))])]);
    let zone = add_zone(zones, &apex, Contents::Stored, names);
    (apex, zone)
}

/// Adds the reverse zones of RFC 1918's blocks, in which there is nothing but what blocks of VPCs have (RFC 6303 section
/// 4.1): what is above the zone of a block exists with it.
fn add_private_reverse_zones(zones: &mut ZonesBuilder<'_>) -> Vec<(Name, ZoneIndex)> {
    let of_172 = (16..=31).map(|second| reverse_name(&[172, second]));
    let apexes = std::iter::once(reverse_name(&[10])).chain(of_172).chain([reverse_name(&[192, 168])]);
    apexes.map(|apex| (apex.clone(), add_zone(zones, &apex, Contents::ReverseNames, Names::new()))).collect()
}

/// Adds the zone that stands for all reverse zones of blocks with so many octets of an address in the apex.
fn add_reverse_zone(zones: &mut ZonesBuilder<'_>, octets: usize) -> ZoneIndex {
    let apex = reverse_name(&[0; REVERSE_ZONE_OCTETS_MAX][..octets]);
    debug_assert_eq!(apex.label_count(), reverse_zone_labels(octets));
    add_zone(zones, &apex, Contents::ReverseNames, Names::new())
}

/// The reverse name of the first octets of an address.
fn reverse_name(octets: &[u8]) -> Name {
    let labels: Vec<String> = octets.iter().rev().map(u8::to_string).collect();
    let labels = labels.iter().map(String::as_bytes).chain([b"in-addr".as_slice(), b"arpa"]);
    Name::from_labels(labels).expect("octets are short labels")
}

/// Adds a zone of these names, with an SOA at its apex.
fn add_zone(zones: &mut ZonesBuilder<'_>, apex: &Name, contents: Contents, mut names: Names) -> ZoneIndex {
    let soa = route_53_soa();
    let at_apex = names.entry(apex.clone()).or_default();
    at_apex.push((Rtype::SOA, record(Rtype::SOA, &soa)));
    let names: Vec<_> = names.iter().map(|(name, rrsets)| (name, &**rrsets)).collect();
    let soa = (COMPUTED_TTL_SECONDS, &*soa);
    zones.add(&ZoneHead { kind: ZoneKind::Autodefined, apex, id: "autodefined", soa, contents }, &names)
}

/// What views see of VPCs, in the making.
#[derive(Default)]
struct NetworksInterner<'m> {
    made: Vec<Networks>,
    indexes: HashMap<(Vec<Network>, Vec<StoredNames>), NetworksIndex>,
    domains: HashMap<&'m str, Arc<[u8]>>,
}

impl<'m> NetworksInterner<'m> {
    /// What a view sees of these VPCs, made if no view saw the same before. IPv6 has no IP names, and no autodefined
    /// reverse zones.
    fn index(
        &mut self,
        model: &'m Model,
        vpcs: &[VpcIndex],
        names: &[NamesOfVpc],
        regions: &BTreeMap<&str, Region>,
    ) -> NetworksIndex {
        let (mut blocks, mut stored) = (Vec::new(), Vec::new());
        for index in vpcs {
            let (vpc, names) = (model.vpc(*index), &names[index.0 as usize]);
            let region = &regions[&*vpc.region];
            let domain = self.domains.entry(&vpc.region).or_insert_with(|| region.private_domain.as_wire().into());
            blocks.extend(vpc.cidrs.iter().filter_map(|block| match block {
                IpNet::V4(block) => Some(Network { block: *block, domain: Arc::clone(domain) }),
                IpNet::V6(_) => None,
            }));
            let zones = [(region.private_zone, names.resource_names), (region.public_zone, names.public_names)];
            stored.extend(
                zones.iter().filter_map(|(domain, names)| Some(StoredNames { domain: *domain, names: (*names)? })),
            );
        }
        let next = NetworksIndex(u32::try_from(self.made.len()).expect("fewer VPCs than 2^32"));
        let made = &mut self.made;
        *self.indexes.entry((blocks, stored)).or_insert_with_key(|(blocks, stored)| {
            made.push(Networks::new(blocks.clone(), stored.clone()));
            next
        })
    }
}
