//! Resource record sets: AWS's unit inside a hosted zone.

use crate::dns::{Name, Rtype, Ttl};

/// One resource record set.
#[derive(Clone, Debug)]
pub struct RecordSet {
    /// Whose records they are; a wildcard is stored as its `*` label.
    pub owner: Name,
    /// Their type; never OPT or a query type.
    pub rtype: Rtype,
    /// The records, or what they are an alias of.
    pub data: RecordData,
}

/// What a record set holds.
#[derive(Clone, Debug)]
pub enum RecordData {
    /// Records of its own: the TTL they share, and each rdata in wire form behind its length (u16, big-endian).
    /// At least one. Names inside are uncompressed and keep their case.
    Records {
        /// The TTL of the whole set (RFC 2181 section 5.2).
        ttl: Ttl,
        /// Length-prefixed rdata, one after another.
        rdatas: Box<[u8]>,
    },
    /// An alias: answered under this set's own name with the target's records and TTL, no CNAME shown
    /// (Route 53 Developer Guide, resource-record-sets-choosing-alias-non-alias).
    Alias(AliasTarget),
}

/// What an alias points at, settled.
#[derive(Clone, Debug)]
pub enum AliasTarget {
    /// A record set of the same zone and of the alias's own type. It exists, and no loop leads back.
    SameZone(Name),
    /// The regional or zonal name of an endpoint in this configuration (index into `Model::endpoints`).
    Endpoint {
        /// Which endpoint.
        endpoint: usize,
        /// Which of its names: none for the regional one, else the index into its `zonal` list.
        zonal: Option<usize>,
    },
    /// Any other name under an AWS suffix (ELB, API Gateway, S3 website): asked from the view's forwarder.
    Forwarded(Name),
}

/// Walks length-prefixed rdata.
pub fn rdatas(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (octets, rest) = packed.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*octets)))?;
        packed = rest;
        Some(rdata)
    })
}

/// Appends one length-prefixed rdata (at most 65,535 octets).
pub fn push_rdata(packed: &mut Vec<u8>, rdata: &[u8]) {
    let octets = u16::try_from(rdata.len()).expect("rdata is at most 65,535 octets in every form that is read");
    packed.extend_from_slice(&octets.to_be_bytes());
    packed.extend_from_slice(rdata);
}
