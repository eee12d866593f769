//! The query that an upstream gets: ours, not the client's. EDNS is hop by hop (RFC 6891 section 6.1.1).

use super::cookie::{CLIENT_COOKIE_OCTETS, COOKIE_OPTION, COOKIE_OPTION_OCTETS_MAX, Cookie};
use crate::dns::edns::OPT_OCTETS;
use crate::dns::name::NAME_OCTETS_MAX;
use crate::dns::query::HEADER_OCTETS;
use crate::dns::{Rcode, Rtype};
use crate::forward::Ask;

/// Octets of a query at most: header, question, OPT, cookie.
pub const QUERY_OCTETS_MAX: usize = HEADER_OCTETS + NAME_OCTETS_MAX + 4 + OPT_OCTETS + COOKIE_OPTION_OCTETS_MAX;

/// Which letters of a name are sent in upper case: a forger must guess it too (draft-vixie-dnsext-dns0x20).
///
/// Sixty-four bits, used again from the first one on where a name has more letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameCase(pub(super) u64);

impl NameCase {
    /// The octets of a folded name in this case.
    fn of(self, folded: &[u8]) -> impl Iterator<Item = u8> {
        let mut bits = self.0;
        folded.iter().map(move |&octet| {
            // Length octets are under 64 and no letters.
            if !octet.is_ascii_lowercase() {
                return octet;
            }
            let upper = bits & 1 == 1;
            bits = bits.rotate_right(1);
            if upper { octet.to_ascii_uppercase() } else { octet }
        })
    }

    /// Whether a name is this folded name in this case.
    pub(super) fn is_of(self, name: &[u8], folded: &[u8]) -> bool {
        self.of(folded).eq(name.iter().copied())
    }
}

/// AD in octet 3 of a header.
const AUTHENTIC_DATA: u8 = 0x20;

/// What an OPT says.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptFields<'c> {
    pub(super) udp_payload_octets: u16,
    pub(super) cookie: Option<&'c Cookie>,
}

/// Writes a query and returns its octets: RD set, CD and DO as asked, no option but the cookie: no client subnet leaves
/// the house. AD is set, so that the target says whether it validated the answer (RFC 6840 section 5.7): the reply is
/// kept for clients that want to know that and for others.
pub(super) fn write(
    ask: &Ask<'_>,
    id: [u8; 2],
    case: Option<NameCase>,
    opt: Option<OptFields<'_>>,
    out: &mut [u8; QUERY_OCTETS_MAX],
) -> usize {
    let mut writer = Writer { out, at: 0 };
    writer.put(&id);
    let flags = AUTHENTIC_DATA | u8::from(ask.checking_disabled) << 4;
    writer.put(&[0x01, flags, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
    match case {
        Some(case) => case.of(ask.qname).for_each(|octet| writer.put(&[octet])),
        None => writer.put(ask.qname),
    }
    writer.put(&ask.qtype.0.to_be_bytes());
    writer.put(&ask.class.0.to_be_bytes());
    if let Some(opt) = opt {
        writer.put(&[0]);
        writer.put(&Rtype::OPT.0.to_be_bytes());
        writer.put(&opt.udp_payload_octets.to_be_bytes());
        writer.put(&[0, 0, u8::from(ask.dnssec_ok) << 7, 0]);
        match opt.cookie {
            None => writer.put(&[0, 0]),
            Some(cookie) => {
                let server = cookie.server.as_octets();
                let octets = (CLIENT_COOKIE_OCTETS + server.len()) as u16;
                writer.put(&(4 + octets).to_be_bytes());
                writer.put(&COOKIE_OPTION.to_be_bytes());
                writer.put(&octets.to_be_bytes());
                writer.put(&cookie.client.0);
                writer.put(server);
            }
        }
    }
    writer.at
}

/// Octets put one behind the other.
struct Writer<'o> {
    out: &'o mut [u8; QUERY_OCTETS_MAX],
    at: usize,
}

impl Writer<'_> {
    /// Puts octets behind those that stand there. A name has at most 255, so there is room.
    fn put(&mut self, octets: &[u8]) {
        self.out[self.at..self.at + octets.len()].copy_from_slice(octets);
        self.at += octets.len();
    }
}

/// A reply to this question that has this rcode and no records.
pub(super) fn bare_reply(ask: &Ask<'_>, id: [u8; 2], rcode: Rcode) -> Vec<u8> {
    let mut octets = [0; QUERY_OCTETS_MAX];
    let count = write(ask, id, None, None, &mut octets);
    octets[2] |= 0x80;
    octets[3] = 0x80 | octets[3] & 0x10 | (rcode.0 & 0x0f) as u8;
    octets[..count].to_vec()
}
