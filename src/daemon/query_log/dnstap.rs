//! dnstap (dnstap.proto of dnstap.info): a message of DNS, when it was, and between whom, in protocol buffers, each in a
//! frame. The schema is small and settled, and is written by hand: fields in the order of their numbers.

use crate::dns::reply::Transport;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What says who speaks.
pub(super) struct Speaker {
    /// The name of the machine.
    pub(super) identity: Box<[u8]>,
    /// The program and its version.
    pub(super) version: Box<[u8]>,
}

/// A message of DNS between a client and us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tapped<'m> {
    /// Which of the two.
    pub(super) kind: Kind,
    /// How it travelled.
    pub(super) transport: Transport,
    /// Who asked.
    pub(super) client: SocketAddr,
    /// Where it asked, if that is known.
    pub(super) server: Option<SocketAddr>,
    /// When the query came, since 1970.
    pub(super) query_time: Duration,
    /// When the reply left, since 1970.
    pub(super) response_time: Duration,
    /// Its octets.
    pub(super) message: &'m [u8],
}

/// Types of messages (`Message.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A query of a client.
    ClientQuery = 5,
    /// The reply to one.
    ClientResponse = 6,
}

/// How values are written (wire types of protocol buffers).
const VARINT: u32 = 0;
const OCTETS: u32 = 2;
const FIXED_32: u32 = 5;

/// `Dnstap.Type.MESSAGE`.
const TYPE_MESSAGE: u64 = 1;

/// Adds the frame of a message, its length before it.
pub(super) fn push_frame(out: &mut Vec<u8>, speaker: &Speaker, tapped: &Tapped<'_>) {
    let frame_at = out.len();
    out.extend([0; 4]);
    octets(out, 1, &speaker.identity);
    octets(out, 2, &speaker.version);
    let inner = inner_octets(tapped);
    tag(out, 14, OCTETS);
    varint(out, inner as u64);
    let inner_at = out.len();
    push_message(out, tapped);
    debug_assert_eq!(out.len() - inner_at, inner);
    number(out, 15, TYPE_MESSAGE);
    let frame = (out.len() - frame_at - 4) as u32;
    out[frame_at..frame_at + 4].copy_from_slice(&frame.to_be_bytes());
}

/// Octets of the inner message, which stand before it: found by writing it.
fn inner_octets(tapped: &Tapped<'_>) -> usize {
    let mut without = Vec::with_capacity(128);
    push_message(&mut without, &Tapped { message: &[], ..*tapped });
    let length = tapped.message.len();
    // The empty one's length takes one octet.
    without.len() - 1 + varint_octets(length as u64) + length
}

fn push_message(out: &mut Vec<u8>, tapped: &Tapped<'_>) {
    let Tapped { kind, transport, client, server, query_time, response_time, message } = *tapped;
    let address = |out: &mut Vec<u8>, field: u32, ip: IpAddr| match ip {
        IpAddr::V4(ip) => octets(out, field, &ip.octets()),
        IpAddr::V6(ip) => octets(out, field, &ip.octets()),
    };
    let client_ip = client.ip().to_canonical();
    number(out, 1, kind as u64);
    number(out, 2, if client_ip.is_ipv4() { 1 } else { 2 });
    number(out, 3, if transport == Transport::Udp { 1 } else { 2 });
    address(out, 4, client_ip);
    if let Some(server) = server {
        address(out, 5, server.ip().to_canonical());
    }
    number(out, 6, client.port().into());
    if let Some(server) = server {
        number(out, 7, server.port().into());
    }
    number(out, 8, query_time.as_secs());
    fixed(out, 9, query_time.subsec_nanos());
    if kind == Kind::ClientQuery {
        return octets(out, 10, message);
    }
    number(out, 12, response_time.as_secs());
    fixed(out, 13, response_time.subsec_nanos());
    octets(out, 14, message);
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u32, value: u32) {
    tag(out, field, FIXED_32);
    out.extend(value.to_le_bytes());
}

fn octets(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, OCTETS);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Seven bits an octet, the lowest first; the top bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Octets that [`varint`] writes.
fn varint_octets(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_seven_bits_an_octet() {
        for (value, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!((&out[..], varint_octets(value)), (expected, expected.len()));
        }
    }

    #[test]
    fn a_frame_is_as_the_schema_says() {
        let speaker = Speaker { identity: b"me".as_slice().into(), version: b"v".as_slice().into() };
        let tapped = Tapped {
            kind: Kind::ClientResponse,
            transport: Transport::Tcp,
            client: "[::ffff:192.0.2.1]:300".parse().expect("an address"),
            server: Some("192.0.2.53:53".parse().expect("an address")),
            query_time: Duration::new(1, 2),
            response_time: Duration::new(3, 4),
            message: &[7; 130],
        };
        let mut frame = vec![9];
        push_frame(&mut frame, &speaker, &tapped);
        let inner = [
            b"\x08\x06\x10\x01\x18\x02\x22\x04\xc0\x00\x02\x01\x2a\x04\xc0\x00\x02\x35\x30\xac\x02\x38\x35".as_slice(),
            b"\x40\x01\x4d\x02\0\0\0\x60\x03\x6d\x04\0\0\0\x72\x82\x01",
            &[7; 130],
        ]
        .concat();
        assert_eq!(inner.len(), 170);
        let expected = [b"\x09\0\0\0\xb6\x0a\x02me\x12\x01v\x72\xaa\x01".as_slice(), &inner, b"\x78\x01"].concat();
        assert_eq!(frame, expected);
        // Without a server's address, a query, over UDP.
        let mut query = Vec::new();
        push_frame(&mut query, &speaker, &Tapped { kind: Kind::ClientQuery, server: None, message: b"q", ..tapped });
        assert!(query.ends_with(b"\x40\x01\x4d\x02\0\0\0\x52\x01q\x78\x01"), "{query:?}");
        assert_eq!(u32::from_be_bytes([query[0], query[1], query[2], query[3]]) as usize, query.len() - 4);
    }
}
