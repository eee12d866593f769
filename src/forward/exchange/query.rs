//! The query that an upstream gets: ours, not the client's. EDNS is hop by hop (RFC 6891 section 6.1.1).

use crate::dns::edns::{OPT_OCTETS, UDP_PAYLOAD_OCTETS_MAX};
use crate::dns::query::HEADER_OCTETS;
use crate::dns::{Class, Rcode, Rtype};
use crate::forward::Ask;

/// The query, but for its id.
// Invariant: header, question, OPT.
#[derive(Debug)]
pub(super) struct QueryTemplate {
    octets: Vec<u8>,
    qtype: Rtype,
    class: Class,
}

impl QueryTemplate {
    /// RD set, CD and DO as asked, 1232 octets offered, no other option: no client subnet leaves the house.
    pub(super) fn new(ask: &Ask<'_>) -> Self {
        let mut octets = Vec::with_capacity(HEADER_OCTETS + ask.qname.len() + 4 + OPT_OCTETS);
        octets.extend_from_slice(&[0, 0, 0x01, u8::from(ask.checking_disabled) << 4, 0, 1, 0, 0, 0, 0, 0, 1]);
        octets.extend_from_slice(ask.qname);
        octets.extend_from_slice(&ask.qtype.0.to_be_bytes());
        octets.extend_from_slice(&ask.class.0.to_be_bytes());
        let [rtype_high, rtype_low] = Rtype::OPT.0.to_be_bytes();
        let [payload_high, payload_low] = (UDP_PAYLOAD_OCTETS_MAX as u16).to_be_bytes();
        let dnssec_ok = u8::from(ask.dnssec_ok) << 7;
        octets.extend_from_slice(&[0, rtype_high, rtype_low, payload_high, payload_low, 0, 0, dnssec_ok, 0, 0, 0]);
        Self { octets, qtype: ask.qtype, class: ask.class }
    }

    /// The query with this id.
    pub(super) fn write(&self, id: [u8; 2], with_edns: bool) -> Vec<u8> {
        let mut octets = if with_edns { self.octets.clone() } else { self.without_edns().to_vec() };
        octets[..2].copy_from_slice(&id);
        octets[11] = u8::from(with_edns);
        octets
    }

    /// A reply to this query that has this rcode and no records.
    pub(super) fn bare_reply(&self, rcode: Rcode) -> Vec<u8> {
        let mut octets = self.write([0; 2], false);
        octets[2] |= 0x80;
        octets[3] = 0x80 | octets[3] & 0x10 | (rcode.0 & 0x0f) as u8;
        octets
    }

    /// The name asked.
    pub(super) fn qname(&self) -> &[u8] {
        &self.without_edns()[HEADER_OCTETS..self.without_edns().len() - 4]
    }

    /// The type asked.
    pub(super) fn qtype(&self) -> Rtype {
        self.qtype
    }

    /// The class asked.
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Header and question.
    fn without_edns(&self) -> &[u8] {
        &self.octets[..self.octets.len() - OPT_OCTETS]
    }
}
