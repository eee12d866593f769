//! DNS64 (RFC 6147): IPv6 addresses made of IPv4 ones, for clients that have no others.
//!
//! It stands around the engine: the query is answered as ever, and where that gives no IPv6 address, answered again as if
//! it had asked for IPv4 addresses, out of which the reply is made. Where others have to be asked, each of the two is a
//! round of its own, as for a CNAME. What is ours and what is forwarded differ in nothing, and the cache knows only what
//! upstreams said.

use super::{Asked, Next, Outcome, Reply, STALE_TEXT, Scratch, Surroundings, Work, begin_reply, finish, refuse};
use crate::dns::edns::ExtendedError;
use crate::dns::message::{Message, Record, WireName};
use crate::dns::reply::{Owner, QNAME_AT, RecordHead, Section};
use crate::dns::{Class, ExtendedErrorCode, FoldedName, Query, Rcode, Rtype};
use crate::resolve::CNAME_CHAIN_MAX;
use crate::serve::refusal::Refusal;
use crate::snapshot::{Authority, Located, ViewIndex};

/// The Well-Known Prefix 64:ff9b::/96, which AWS's NAT gateways translate (RFC 6052 section 2.1,
/// VPC:nat-gateway-nat64-dns64). They do so for private addresses too, which RFC 6052 section 3.1 forbids.
const PREFIX: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
/// What reverse names of addresses with the prefix end in.
const PREFIX_REVERSE: &[u8] = b"\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\x010\
    \x01b\x019\x01f\x01f\x014\x016\x010\x010\x03ip6\x04arpa\x00";
/// Labels of that.
const PREFIX_REVERSE_LABELS: usize = 26;
/// Labels of a whole reverse name.
const REVERSE_LABELS: usize = 34;
/// IPv4 addresses in IPv6 form, ::ffff:0:0/96: they are no IPv6 addresses to connect to, and count as none (RFC 6147
/// section 5.1.4).
const EXCLUDED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// The longest TTL of a made address where nothing said for how long there is no other, and that of the CNAME of a reverse
/// name, in seconds (RFC 6147 section 5.1.7).
const TTL_MAX: u32 = 600;

/// Answers a query that DNS64 has to do with; none: it is answered as in any view.
#[inline(never)]
pub(super) fn complete(
    of: (&Query, ViewIndex, Located),
    scratch: &mut Scratch,
    around: &Surroundings<'_>,
    message: &[u8],
    out: &mut [u8],
) -> Option<Outcome> {
    let (query, ..) = of;
    // RFC 6147 section 5.5: who sets both validates, and can only do so with what there is.
    let validates = query.checking_disabled && query.edns.is_some_and(|edns| edns.dnssec_ok);
    match query.qtype {
        Rtype::AAAA if !validates => Some(complete_aaaa(of, scratch, around, message, out)),
        Rtype::PTR => Some(complete_ptr(embedded_in(&query.qname)?, of, scratch, around, message, out)),
        _ => None,
    }
}

/// Whether a query in a view with DNS64 is answered without asking anybody for the very name asked.
#[inline(never)]
pub(super) fn leads_elsewhere(query: &Query) -> bool {
    query.qtype == Rtype::PTR && embedded_in(&query.qname).is_some()
}

/// Begins to answer a query, which is to be a reply to what the client asked.
fn work<'a, 'b>(
    (query, view_index, located): (&'a Query, ViewIndex, Located),
    asked: Asked,
    around: &'a Surroundings<'a>,
    message: &[u8],
    out: &'b mut [u8],
) -> Work<'a, 'b> {
    // Only the type that the client asked for has been looked up before.
    let has_first_ask = query.qtype == Rtype::AAAA && matches!(located.authority, Authority::Forward(_));
    let writer = begin_reply(query, around, message, out);
    let view = around.snapshot.view(view_index);
    Work { query, view_index, view, around, has_first_ask, asked, writer, owner_at: QNAME_AT, cnames: 0, stale: None }
}

/// Answers with the IPv6 addresses that there are, else with made ones.
fn complete_aaaa(
    (query, view, located): (&Query, ViewIndex, Located),
    scratch: &mut Scratch,
    around: &Surroundings<'_>,
    message: &[u8],
    out: &mut [u8],
) -> Outcome {
    // Where there is no IPv6 address, the client hears nothing of that.
    let asked = |nodata_is_told| Asked { qtype: query.qtype, nodata_is_told };
    let outcome = work((query, view, located), asked(false), around, message, out).answer(scratch, located);
    let Outcome::Reply(of_aaaa) = outcome else { return outcome };
    let Some(ttl_max) = made_ttl_max(&of_aaaa, &out[..of_aaaa.octets]) else { return outcome };
    let for_a = Query { qtype: Rtype::A, ..query.clone() };
    let outcome = work((&for_a, view, located), asked(true), around, message, out).answer(scratch, located);
    let Outcome::Reply(of_a) = outcome else { return outcome };
    scratch.basis.clear();
    scratch.basis.extend_from_slice(&out[..of_a.octets]);
    let Ok(basis) = Message::parse(&scratch.basis) else {
        return refuse(query, around, message, out, Refusal::Internal);
    };
    // RFC 6147 section 5.1.6: that there is nothing, or a failure, is told as it stands.
    if !answers(&basis).any(|record| record.rtype == Rtype::A) {
        return outcome;
    }
    let mut writer = begin_reply(query, around, message, out);
    // Where the target of the last CNAME stands, there and here.
    let mut target: Option<(WireName, usize)> = None;
    for record in basis.records().filter(|record| record.section != Section::Additional) {
        // The signatures of what is not passed on (RFC 6147 section 5.5).
        if record.rtype == Rtype::RRSIG && basis.rdata(&record).starts_with(&Rtype::A.0.to_be_bytes()) {
            continue;
        }
        let Some(name) = basis.name(record.owner_at) else { continue };
        let owner = match &target {
            _ if name.is(query.qname.as_wire()) => Owner::At(QNAME_AT),
            Some((target, at)) if name.is(target.as_wire()) => Owner::At(*at),
            _ => Owner::Wire(name.as_wire()),
        };
        let rdata_at = match basis.rdata(&record).first_chunk::<4>().filter(|_| record.rtype == Rtype::A) {
            Some(ipv4) => {
                let ttl_seconds = record.ttl.seconds().min(ttl_max);
                let head = RecordHead { rtype: Rtype::AAAA, class: record.class, ttl_seconds };
                writer.push_with(record.section, owner, head, |out| {
                    let (prefix, rest) = out.split_first_chunk_mut::<12>()?;
                    *prefix = PREFIX;
                    rest.get_mut(..4)?.copy_from_slice(ipv4);
                    Some(16)
                })
            }
            None => {
                let ttl_seconds = record.ttl.seconds();
                let head = RecordHead { rtype: record.rtype, class: record.class, ttl_seconds };
                writer.push_with(record.section, owner, head, |out| basis.expand_rdata(&record, out))
            }
        };
        if record.rtype == Rtype::CNAME {
            target = basis.name(record.rdata_at).zip(rdata_at);
        }
    }
    if of_a.truncated {
        writer.set_truncated();
    }
    let stale = of_aaaa.stale || of_a.stale;
    let error = stale.then_some(ExtendedError { code: ExtendedErrorCode::STALE_ANSWER, text: STALE_TEXT });
    match finish(writer, query, of_a.rcode, error, of_a.source) {
        Outcome::Reply(reply) => Outcome::Reply(Reply { stale, ..reply }),
        outcome => outcome,
    }
}

/// For how long the IPv6 addresses that are made hold at most, in seconds, if some are to be made at all: where there is
/// no IPv6 address, but for a name that does not exist (RFC 6147 sections 5.1.1, 5.1.2 and 5.1.7).
fn made_ttl_max(reply: &Reply, octets: &[u8]) -> Option<u32> {
    if reply.rcode == Rcode::NXDOMAIN {
        return None;
    }
    let message = Message::parse(octets).ok()?;
    let mut of_type = answers(&message).filter(|record| record.rtype == Rtype::AAAA).peekable();
    // Of what was cut nobody knows what it would be.
    let is_any = reply.truncated || of_type.peek().is_some();
    // One that is excluded must not be told; that it takes the others of its set with it is left to us (section 5.1.4).
    let is_excluded = |record: Record| message.rdata(&record).starts_with(&EXCLUDED);
    if reply.rcode == Rcode::NOERROR && is_any && !of_type.any(is_excluded) {
        return None;
    }
    let soa = message.records().find(|record| record.section == Section::Authority && record.rtype == Rtype::SOA);
    Some(soa.map_or(TTL_MAX, |soa| soa.ttl.seconds()))
}

/// The records of the answer section.
fn answers(message: &Message<'_>) -> impl Iterator<Item = Record> {
    message.records().filter(|record| record.section == Section::Answer)
}

/// Answers the reverse name of a made address: a CNAME to that of the IPv4 address, and what is there (RFC 6147 section
/// 5.3.1, the second way).
fn complete_ptr(
    ipv4: [u8; 4],
    (query, view, located): (&Query, ViewIndex, Located),
    scratch: &mut Scratch,
    around: &Surroundings<'_>,
    message: &[u8],
    out: &mut [u8],
) -> Outcome {
    let asked = Asked { qtype: query.qtype, nodata_is_told: true };
    let mut work = work((query, view, located), asked, around, message, out);
    let head = RecordHead { rtype: Rtype::CNAME, class: Class::IN.0, ttl_seconds: TTL_MAX };
    let mut target_octets = 0;
    let written = work.writer.push_with(Section::Answer, Owner::At(QNAME_AT), head, |out| {
        target_octets = write_reverse_name(ipv4, out)?;
        Some(target_octets)
    });
    // A name of 72 octets and one of 29 at most: there is room for both in 512.
    let Some(target_at) = written else { return refuse(query, around, message, out, Refusal::Internal) };
    let target = &work.writer.written_mut()[target_at..target_at + target_octets];
    if scratch.current.read(target, around.snapshot.seed).is_err() {
        return refuse(query, around, message, out, Refusal::Internal);
    }
    (work.owner_at, work.cnames) = (target_at, 1);
    work.answer_onward(scratch, Next::Continue)
}

// There is a link left for the CNAME.
const _: () = assert!(CNAME_CHAIN_MAX > 1);

/// The IPv4 address in a reverse name of the prefix, if it is a whole one.
fn embedded_in(name: &FoldedName) -> Option<[u8; 4]> {
    if name.label_count() != REVERSE_LABELS || name.suffix(PREFIX_REVERSE_LABELS) != PREFIX_REVERSE {
        return None;
    }
    let mut ipv4 = [0; 4];
    // The lowest four bits stand first.
    for (position, labels) in (0..8).zip((PREFIX_REVERSE_LABELS + 1..=REVERSE_LABELS).rev()) {
        let [digit] = *name.label(labels) else { return None };
        let digit = char::from(digit).to_digit(16)? as u8;
        ipv4[3 - position / 2] |= digit << (4 * (position % 2));
    }
    Some(ipv4)
}

/// Writes the reverse name of an IPv4 address in wire form; returns its octets.
fn write_reverse_name(ipv4: [u8; 4], out: &mut [u8]) -> Option<usize> {
    use std::io::Write as _;
    let mut at = 0;
    for octet in ipv4.into_iter().rev() {
        let (length, mut rest) = out.get_mut(at..)?.split_first_mut()?;
        let room = rest.len();
        write!(rest, "{octet}").ok()?;
        let digits = room - rest.len();
        *length = digits as u8;
        at += 1 + digits;
    }
    let end = b"\x07in-addr\x04arpa\x00";
    out.get_mut(at..at + end.len())?.copy_from_slice(end);
    Some(at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::HashSeed;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The reverse name of an IPv6 address in wire form.
    fn reverse(address: Ipv6Addr) -> Vec<u8> {
        let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
        let digits = nibbles.map(|nibble| char::from_digit(nibble.into(), 16).expect("below 16"));
        let labels = digits.flat_map(|digit| [1, digit as u8]);
        labels.chain(*b"\x03ip6\x04arpa\x00").collect()
    }

    fn embedded(wire: &[u8]) -> Option<Ipv4Addr> {
        let mut name = FoldedName::default();
        name.read(wire, HashSeed(1)).expect("well-formed");
        embedded_in(&name).map(Ipv4Addr::from)
    }

    #[test]
    fn reverse_names_of_the_prefix_give_their_ipv4_address() {
        for ipv4 in [[192, 0, 2, 33], [10, 0, 1, 254], [0; 4], [255; 4]] {
            let octets: [u8; 16] = [&PREFIX[..], &ipv4].concat().try_into().expect("sixteen");
            assert_eq!(embedded(&reverse(octets.into())), Some(ipv4.into()));
        }
        for other in ["64:ff9b:0:0:0:1:a00:1", "64:ff9b:1::a00:1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert_eq!(embedded(&reverse(other.parse().expect("an address"))), None, "{other}");
        }
        let whole = reverse("64:ff9b::c000:221".parse().expect("an address"));
        assert_eq!(embedded(&whole[2..]), None, "one label short");
        assert_eq!(embedded(&[b"\x011", &*whole].concat()), None, "one label long");
        for digit in [&b"\x01g"[..], b"\x0211", b"\x01-"] {
            assert_eq!(embedded(&[digit, &whole[2..]].concat()), None, "{digit:?} is no digit");
        }
    }

    #[test]
    fn reverse_names_of_ipv4_addresses_are_written_as_far_as_they_fit() {
        let expected = b"\x0233\x012\x010\x03192\x07in-addr\x04arpa\x00";
        let mut out = [0; 40];
        assert_eq!(write_reverse_name([192, 0, 2, 33], &mut out), Some(expected.len()));
        assert_eq!(out[..expected.len()], *expected);
        for room in 0..expected.len() {
            assert_eq!(write_reverse_name([192, 0, 2, 33], &mut out[..room]), None);
        }
    }
}
