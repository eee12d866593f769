//! Names that every VPC with `enableDnsHostnames` serves locally (RFC 6303, RFC 6761, RFC 7686).

use super::zone::{EncodedRrset, ROUTE_53_SOA_TTL, ZoneHead, ZonesBuilder, route_53_soa};
use crate::dns::{Name, Rtype};
use crate::snapshot::{Contents, ZoneIndex, ZoneKind};

/// The TTL of built-in names; AWS documents none, a day is what RFC 6303 section 3 shows.
const BUILT_IN_TTL: u32 = 86_400;

/// One built-in zone.
struct BuiltIn {
    apex: Name,
    names: Vec<(Name, Vec<(Rtype, EncodedRrset)>)>,
    contents: Contents,
}

/// Adds the built-in zones; returns their apexes.
pub(super) fn compile(zones: &mut ZonesBuilder<'_>) -> Vec<(Name, ZoneIndex)> {
    let soa = route_53_soa();
    let built_ins = [
        localhost(),
        localdomain(),
        reverse_ipv4(),
        reverse_loopback_ipv6(),
        reverse_unspecified_ipv6(),
        denied(b"invalid"),
        denied(b"onion"),
    ];
    let add = |built_in: BuiltIn| {
        let head = ZoneHead {
            kind: ZoneKind::BuiltIn,
            apex: &built_in.apex,
            id: "built-in",
            soa: (ROUTE_53_SOA_TTL, &soa),
            contents: built_in.contents,
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

/// The addresses of the loopback.
fn loopback() -> Vec<(Rtype, EncodedRrset)> {
    let ipv6 = std::net::Ipv6Addr::LOCALHOST.octets();
    vec![
        (Rtype::A, EncodedRrset::records(Rtype::A, BUILT_IN_TTL, [[127, 0, 0, 1].as_slice()])),
        (Rtype::AAAA, EncodedRrset::records(Rtype::AAAA, BUILT_IN_TTL, [ipv6.as_slice()])),
    ]
}

/// `localhost` and everything below it is the loopback (RFC 6761 section 6.3).
fn localhost() -> BuiltIn {
    let apex = name([b"localhost".as_slice()]);
    let below = apex.child(b"*").expect("short");
    BuiltIn { names: vec![(apex.clone(), loopback()), (below, loopback())], apex, contents: Contents::Stored }
}

/// `localdomain`, in which nothing is but `localhost`: what is in AWS's is not known, and this is what hosts files have.
fn localdomain() -> BuiltIn {
    let apex = name([b"localdomain".as_slice()]);
    let localhost = apex.child(b"localhost").expect("short");
    BuiltIn { names: vec![(localhost, loopback())], apex, contents: Contents::Stored }
}

/// The PTR record of a loopback address.
fn localhost_ptr() -> Vec<(Rtype, EncodedRrset)> {
    vec![(Rtype::PTR, EncodedRrset::records(Rtype::PTR, BUILT_IN_TTL, [b"\x09localhost\x00".as_slice()]))]
}

/// `127.in-addr.arpa` (RFC 6303 section 4.2).
fn reverse_ipv4() -> BuiltIn {
    let apex = name([b"127".as_slice(), b"in-addr", b"arpa"]);
    let loopback = name([b"1".as_slice(), b"0", b"0", b"127", b"in-addr", b"arpa"]);
    BuiltIn { apex, names: vec![(loopback, localhost_ptr())], contents: Contents::Stored }
}

/// The reverse zone of ::1 (RFC 6303 section 4.3).
fn reverse_loopback_ipv6() -> BuiltIn {
    let apex = reverse_ipv6(b"1");
    BuiltIn { names: vec![(apex.clone(), localhost_ptr())], apex, contents: Contents::Stored }
}

/// The reverse zone of ::, which is empty (RFC 6303 section 4.3).
fn reverse_unspecified_ipv6() -> BuiltIn {
    BuiltIn { apex: reverse_ipv6(b"0"), names: Vec::new(), contents: Contents::Stored }
}

/// The reverse name of an IPv6 address that is 0 but for its last four bits.
fn reverse_ipv6(last: &[u8]) -> Name {
    let nibbles = std::iter::once(last).chain(std::iter::repeat_n(b"0".as_slice(), 31));
    name(nibbles.chain([b"ip6".as_slice(), b"arpa"]))
}

/// A top-level name that does not exist, itself included (`invalid`: RFC 6761 section 6.4; `onion`: RFC 7686 section 2).
fn denied(label: &[u8]) -> BuiltIn {
    BuiltIn { apex: name([label]), names: Vec::new(), contents: Contents::Denied }
}
