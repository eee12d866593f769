//! Names that every VPC with `enableDnsHostnames` serves locally (RFC 6303, RFC 6761, RFC 7686).

use super::zone::{EncodedRrset, ROUTE_53_SOA_TTL, ZoneHead, ZonesBuilder, route_53_soa};
use crate::dns::{Name, Rtype};
use crate::snapshot::{ZoneIndex, ZoneKind};

/// The TTL of built-in names; AWS documents none, a day is what RFC 6303 section 3 shows.
const BUILT_IN_TTL: u32 = 86_400;

/// One built-in zone: its apex, and whether everything in it is denied.
struct BuiltIn {
    apex: Name,
    names: Vec<(Name, Vec<(Rtype, EncodedRrset)>)>,
    denies_everything: bool,
}

/// Adds the built-in zones; returns their apexes.
pub(super) fn compile(zones: &mut ZonesBuilder) -> Vec<(Name, ZoneIndex)> {
    let soa = route_53_soa();
    let built_ins = [localhost(), reverse_ipv4(), reverse_ipv6(), denied(b"invalid"), denied(b"onion")];
    let add = |built_in: BuiltIn| {
        let head = ZoneHead {
            kind: ZoneKind::BuiltIn,
            apex: &built_in.apex,
            id: "built-in",
            soa: (ROUTE_53_SOA_TTL, &soa),
            denies_everything: built_in.denies_everything,
        };
        let names: Vec<_> = built_in.names.iter().map(|(name, rrsets)| (name, &**rrsets)).collect();
        let index = zones.add(&head, &names);
        (built_in.apex, index)
    };
    built_ins.into_iter().map(add).collect()
}

fn name<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Name {
    Name::from_labels(labels).expect("built-in names are well-formed")
}

/// `localhost` and everything below it is the loopback (RFC 6761 section 6.3).
fn localhost() -> BuiltIn {
    let apex = name([b"localhost".as_slice()]);
    let loopback = || {
        let ipv6 = std::net::Ipv6Addr::LOCALHOST.octets();
        vec![
            (Rtype::A, EncodedRrset::records(Rtype::A, BUILT_IN_TTL, [[127, 0, 0, 1].as_slice()])),
            (Rtype::AAAA, EncodedRrset::records(Rtype::AAAA, BUILT_IN_TTL, [ipv6.as_slice()])),
        ]
    };
    let below = apex.child(b"*").expect("short");
    BuiltIn { names: vec![(apex.clone(), loopback()), (below, loopback())], apex, denies_everything: false }
}

/// The PTR record of a loopback address.
fn localhost_ptr() -> Vec<(Rtype, EncodedRrset)> {
    vec![(Rtype::PTR, EncodedRrset::records(Rtype::PTR, BUILT_IN_TTL, [b"\x09localhost\x00".as_slice()]))]
}

/// `127.in-addr.arpa` (RFC 6303 section 4.2).
fn reverse_ipv4() -> BuiltIn {
    let apex = name([b"127".as_slice(), b"in-addr", b"arpa"]);
    let loopback = name([b"1".as_slice(), b"0", b"0", b"127", b"in-addr", b"arpa"]);
    BuiltIn { apex, names: vec![(loopback, localhost_ptr())], denies_everything: false }
}

/// The reverse zone of ::1 (RFC 6303 section 4.3).
fn reverse_ipv6() -> BuiltIn {
    let nibbles = std::iter::once(b"1".as_slice()).chain(std::iter::repeat_n(b"0".as_slice(), 31));
    let apex = name(nibbles.chain([b"ip6".as_slice(), b"arpa"]));
    BuiltIn { names: vec![(apex.clone(), localhost_ptr())], apex, denies_everything: false }
}

/// A top-level name that does not exist, itself included (`invalid`: RFC 6761 section 6.4; `onion`: RFC 7686 section 2).
fn denied(label: &[u8]) -> BuiltIn {
    BuiltIn { apex: name([label]), names: Vec::new(), denies_everything: true }
}
