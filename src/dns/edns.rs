//! EDNS(0), hop by hop (RFC 6891): what a client's OPT said, and the OPT we answer with.

use super::number::ExtendedErrorCode;

/// The largest UDP reply, and what our OPT offers: small enough not to be fragmented (RFC 9715, DNS Flag Day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: usize = 1232;
/// The largest UDP reply to a client without EDNS; smaller offers count as this (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
pub const UDP_PAYLOAD_OCTETS_MIN: usize = 512;
/// Octets of an OPT without options.
pub const OPT_OCTETS: usize = 11;

/// What the OPT of a query said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP reply that the client takes, in octets; as offered.
    pub udp_payload: u16,
    /// The EDNS version; we serve 0 and answer the others with BADVERS (RFC 6891 section 6.1.3).
    pub version: u8,
    /// DNSSEC OK (RFC 3225); copied into the reply.
    pub dnssec_ok: bool,
}

/// An extended DNS error to send: code and a text for people (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The INFO-CODE.
    pub code: ExtendedErrorCode,
    /// The EXTRA-TEXT: what the person who reads it can do something about; may be empty.
    pub text: &'static str,
}

impl ExtendedError {
    /// Octets that the option takes inside an OPT, its code and length included.
    pub const fn option_octets(&self) -> usize {
        6 + self.text.len()
    }
}
