//! What a view knows of its own VPC and of peers that let it ask: their address blocks, and their stored names.
//!
//! EC2's IP names and the reverse names of blocks are computed: a block of 65,536 addresses has as many names, and none
//! of them is stored; a name is read as an address, and the address looked for in the blocks of the view. Names that are
//! stored stand once, with the VPC whose they are, however many peers see them; a view looks for a name with each VPC
//! that it sees. `config` takes 125 peering connections and 50 IPv4 blocks of a VPC, as AWS does.

use super::zone::ZoneIndex;
use crate::dns::FoldedName;
use ipnet::Ipv4Net;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The TTL of computed names in seconds (observed on VPC resolvers, for A and PTR).
pub const COMPUTED_TTL_SECONDS: u32 = 60;
/// Labels of `in-addr.arpa`, below which each octet of an address is a label.
const REVERSE_LABELS: usize = 2;
/// `in-addr.arpa` in wire form.
const REVERSE_SUFFIX: &[u8] = b"\x07in-addr\x04arpa\x00";
/// Octets of an address that the apex of a reverse zone has at most: one of all four would hold a single name.
pub const REVERSE_ZONE_OCTETS_MAX: usize = 3;

/// Which of [`super::Snapshot::networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworksIndex(pub u32);

/// What a view sees of its own VPC, then of peers that let it ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Networks {
    /// The blocks whose addresses have names.
    blocks: Box<[Network]>,
    /// Where their stored names are.
    stored: Box<[StoredNames]>,
}

/// The stored names of one VPC below one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredNames {
    /// The zone of the domain, as it answers for names in every view.
    pub domain: ZoneIndex,
    /// The zone that the VPC's names stand in, which answers for no name by itself.
    pub names: ZoneIndex,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The CIDR block.
    pub block: Ipv4Net,
    /// What its IP names end in, in folded wire form: `ap-northeast-2.compute.internal`.
    pub domain: Arc<[u8]>,
}

impl Network {
    /// Octets of an address in the apex of the most general zones, cut at octets, that cover the block: 10.0.0.0/23
    /// has two zones of three (KC).
    fn zone_octets(&self) -> usize {
        usize::from(self.block.prefix_len().div_ceil(8)).min(REVERSE_ZONE_OCTETS_MAX)
    }

    /// Whether an address of the block begins with these octets, of which the first `bits_max` bits count.
    fn meets(&self, octets: &[u8], bits_max: usize) -> bool {
        let bits = usize::from(self.block.prefix_len()).min(bits_max);
        first_bits(octets, bits) == first_bits(&self.block.network().octets(), bits)
    }

    /// Whether a name that begins with these octets is in a reverse zone of the block. A block smaller than a zone has
    /// the whole of it: 10.0.0.0/28 has 0.0.10.in-addr.arpa.
    fn has_zone_of(&self, octets: &[u8]) -> bool {
        octets.len() >= self.zone_octets() && self.meets(octets, self.zone_octets() * 8)
    }
}

/// The first bits of an address of which the first octets are known; at most 32.
fn first_bits(octets: &[u8], bits: usize) -> u64 {
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(octets);
    u64::from(u32::from_be_bytes(address)) >> (32 - bits)
}

impl Networks {
    /// Makes them, each in the order of precedence.
    pub fn new(blocks: Vec<Network>, stored: Vec<StoredNames>) -> Self {
        Self { blocks: blocks.into(), stored: stored.into() }
    }

    /// The zones in which names below a domain stand.
    pub fn names_below(&self, domain: ZoneIndex) -> impl Iterator<Item = ZoneIndex> {
        self.stored.iter().filter(move |stored| stored.domain == domain).map(|stored| stored.names)
    }

    /// Whether an address has an IP name that ends in this domain.
    pub fn hold(&self, address: Ipv4Addr, domain: &[u8]) -> bool {
        self.blocks.iter().any(|network| network.block.contains(&address) && *network.domain == *domain)
    }

    /// What the IP name of an address ends in.
    pub fn domain_of(&self, address: Ipv4Addr) -> Option<&[u8]> {
        self.blocks.iter().find(|network| network.block.contains(&address)).map(|network| &*network.domain)
    }

    /// Whether any address begins with these octets.
    pub fn meet(&self, octets: &[u8]) -> bool {
        self.blocks.iter().any(|network| network.meets(octets, octets.len() * 8))
    }

    /// The longest reverse zone of a block that holds a name: octets of an address in its apex.
    pub fn reverse_zone_octets(&self, name: &ReverseName) -> Option<usize> {
        let zones = self.blocks.iter().filter(|network| network.has_zone_of(name.octets()));
        zones.map(Network::zone_octets).max()
    }
}

/// A name at or below `in-addr.arpa` read as the beginning of an address.
#[derive(Clone, Copy, Debug)]
pub struct ReverseName {
    octets: [u8; 4],
    /// Octets that could be read.
    count: usize,
    /// Whether these are all labels: none besides, and none that is no octet.
    is_whole: bool,
}

impl ReverseName {
    /// Reads a name; none if it is not at or below `in-addr.arpa`.
    pub fn read(name: &FoldedName) -> Option<Self> {
        let labels = name.label_count();
        if labels < REVERSE_LABELS || name.suffix(REVERSE_LABELS) != REVERSE_SUFFIX {
            return None;
        }
        let mut read = Self { octets: [0; 4], count: 0, is_whole: true };
        for depth in reverse_zone_labels(1)..=labels {
            let Some((place, value)) = read.octets.get_mut(read.count).zip(octet(name.label(depth))) else {
                read.is_whole = false;
                break;
            };
            *place = value;
            read.count += 1;
        }
        Some(read)
    }

    /// The first octets of the address, in its own order.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.count]
    }

    /// Whether the name has labels besides those octets.
    pub fn has_more(&self) -> bool {
        !self.is_whole
    }

    /// The address, where the name is that of one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        (self.is_whole && self.count == 4).then(|| self.octets.into())
    }
}

/// Labels of the apex of a reverse zone with that many octets of an address.
pub fn reverse_zone_labels(octets: usize) -> usize {
    REVERSE_LABELS + octets
}

/// Reads the first label of an IP name, `ip-10-0-1-5`.
pub fn parse_ip_label(label: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = label.strip_prefix(b"ip-")?.split(|&character| character == b'-').map(octet);
    let mut next = || parts.next().flatten();
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    parts.next().is_none().then_some(address)
}

/// Writes the IP name of an address in wire form; returns its octets, or none where there is too little room.
pub fn write_ip_name(address: Ipv4Addr, domain: &[u8], out: &mut [u8]) -> Option<usize> {
    let (length, mut rest) = out.split_first_mut()?;
    let room = rest.len();
    let [a, b, c, d] = address.octets();
    write!(rest, "ip-{a}-{b}-{c}-{d}").ok()?;
    let label_octets = room - rest.len();
    // At most `ip-255-255-255-255`: 18 octets.
    *length = label_octets as u8;
    rest.get_mut(..domain.len())?.copy_from_slice(domain);
    Some(1 + label_octets + domain.len())
}

/// An octet in decimal as it is printed: no sign, and no zero before it.
fn octet(text: &[u8]) -> Option<u8> {
    let is_printed_so = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    let text = is_printed_so.then(|| std::str::from_utf8(text).ok())??;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::HashSeed;
    use proptest::prelude::*;

    fn folded(labels: &str) -> FoldedName {
        let mut wire = Vec::new();
        for label in labels.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        let mut name = FoldedName::default();
        name.read(&wire, HashSeed(3)).expect("well-formed");
        name
    }

    fn networks(blocks: &[&str]) -> Networks {
        let network = |block: &&str| Network {
            block: block.parse().expect("a block"),
            domain: b"\x03ec2\x08internal\x00".as_slice().into(),
        };
        Networks::new(blocks.iter().map(network).collect(), Vec::new())
    }

    #[test]
    fn ip_labels_are_read_as_they_are_printed() {
        for (label, address) in [
            ("ip-10-0-1-5", Some([10, 0, 1, 5])),
            ("ip-255-255-255-255", Some([255; 4])),
            ("ip-0-0-0-0", Some([0; 4])),
            ("ip-010-0-1-5", None),
            ("ip-10-0-1-256", None),
            ("ip-10-0-1", None),
            ("ip-10-0-1-5-6", None),
            ("ip-10-0-1-5-", None),
            ("ip-10-0--5", None),
            ("ip-10-0-1-+5", None),
            ("ip-10-0-1-0x5", None),
            ("ip10-0-1-5", None),
            ("", None),
        ] {
            assert_eq!(parse_ip_label(label.as_bytes()), address.map(Ipv4Addr::from), "{label}");
        }
    }

    #[test]
    fn reverse_names_are_read_from_the_right() {
        let read = |text: &str| {
            let name = ReverseName::read(&folded(text))?;
            Some((name.octets().to_vec(), name.has_more(), name.address()))
        };
        assert_eq!(read("5.1.0.10.in-addr.arpa"), Some((vec![10, 0, 1, 5], false, Some([10, 0, 1, 5].into()))));
        assert_eq!(read("0.10.in-addr.arpa"), Some((vec![10, 0], false, None)));
        assert_eq!(read("in-addr.arpa"), Some((vec![], false, None)));
        assert_eq!(read("x.5.1.0.10.in-addr.arpa"), Some((vec![10, 0, 1, 5], true, None)));
        assert_eq!(read("5.01.0.10.in-addr.arpa"), Some((vec![10, 0], true, None)));
        assert_eq!(read("256.10.in-addr.arpa"), Some((vec![10], true, None)));
        assert_eq!(read("0.10.ip6.arpa"), None);
        assert_eq!(read("arpa"), None);
    }

    #[test]
    fn zones_are_the_most_general_ones_cut_at_octets() {
        let zone = |block: &str, name: &str| {
            networks(&[block]).reverse_zone_octets(&ReverseName::read(&folded(name)).expect("a reverse name"))
        };
        assert_eq!(zone("10.0.0.0/16", "5.1.0.10.in-addr.arpa"), Some(2));
        assert_eq!(zone("10.0.0.0/16", "0.10.in-addr.arpa"), Some(2));
        assert_eq!(zone("10.0.0.0/16", "10.in-addr.arpa"), None);
        assert_eq!(zone("10.0.0.0/16", "1.10.in-addr.arpa"), None);
        assert_eq!(zone("10.0.0.0/23", "5.1.0.10.in-addr.arpa"), Some(3));
        assert_eq!(zone("10.0.0.0/23", "5.2.0.10.in-addr.arpa"), None);
        assert_eq!(zone("10.0.0.0/23", "0.10.in-addr.arpa"), None);
        assert_eq!(zone("10.0.0.0/28", "200.0.0.10.in-addr.arpa"), Some(3));
        assert_eq!(zone("10.0.0.0/8", "9.10.in-addr.arpa"), Some(1));
        assert_eq!(zone("0.0.0.0/0", "in-addr.arpa"), Some(0));
        let several = networks(&["10.0.0.0/16", "10.0.4.0/24"]);
        let name = ReverseName::read(&folded("5.4.0.10.in-addr.arpa")).expect("a reverse name");
        assert_eq!(several.reverse_zone_octets(&name), Some(3));
    }

    #[test]
    fn what_is_above_an_address_exists() {
        let networks = networks(&["10.0.0.0/23", "192.168.7.16/28"]);
        for octets in [&[10][..], &[10, 0], &[10, 0, 1], &[10, 0, 1, 255], &[192, 168, 7], &[192, 168, 7, 31], &[]] {
            assert!(networks.meet(octets), "{octets:?}");
        }
        for octets in [&[11][..], &[10, 1], &[10, 0, 2], &[192, 168, 7, 32]] {
            assert!(!networks.meet(octets), "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn an_ip_name_leads_back_to_its_address(address in any::<u32>(), room in 0usize..40) {
            let address = Ipv4Addr::from(address);
            let domain = b"\x03ec2\x08internal\x00";
            let mut out = [0; 40];
            let label = format!("ip-{}", address.to_string().replace('.', "-"));
            let octets = 1 + label.len() + domain.len();
            match write_ip_name(address, domain, &mut out[..room]) {
                None => prop_assert!(room < octets),
                Some(written) => {
                    prop_assert_eq!(written, octets);
                    let name = folded(&format!("{label}.ec2.internal"));
                    prop_assert_eq!(&out[..written], name.as_wire());
                    prop_assert_eq!(parse_ip_label(name.label(3)), Some(address));
                }
            }
        }
    }
}
